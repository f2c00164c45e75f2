//! Every call of the runtime library goes through here, so that its sharp edges are in one place.
//!
//! The library runs the tasks of a core, first in, first out; what they wait for is the reactor's ([`reactor`]). What the rest of
//! the rim relies on:
//! - whoever has much to do suspends now and then ([`breathe`]), so that others get their turn;
//! - a task is never cancelled: tasks end by themselves when what they wait on is closed;
//! - only what is here and in `queue.rs` wakes a task of another thread: a foreign waker would be kept until the core wakes
//!   by itself.

pub mod bell;
pub mod doorbell;
mod reactor;
pub mod socket;

use doorbell::Doorbell;
use futures_lite::future::yield_now;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use reactor::{Reactor, Timer};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Registered I/O memory of one core, in bytes; three rings register it each, against the user's memlock limit.
pub const IO_MEMORY_BYTES: usize = 256 << 10;

/// The least memlock limit a core starts with, in bytes: the runtime refuses less.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// The runtime never leaves its queue to look at its rings: nothing here uses them. When it does, and this time has passed just then,
/// it goes to sleep with tasks to run.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// Runs `main` on this thread as the core of a shard, pinned to `cpu` if one is named; other threads wake it by `doorbell`.
///
/// Tasks that are still pending when `main` ends are forgotten, never dropped, so whoever owns something
/// that must be closed ends before `main` does.
pub fn run<T: 'static, F: Future<Output = T> + 'static>(
    name: &str,
    cpu: Option<usize>,
    doorbell: Doorbell,
    main: impl FnOnce() -> F,
) -> io::Result<T> {
    let executor = make(name, cpu)?;
    let reactor = Reactor::start(doorbell)?;
    Ok(executor.run(async move {
        let ended = Rc::new(Cell::new(None));
        let (end, main) = (ended.clone(), main());
        spawn(async move { end.set(Some(main.await)) });
        loop {
            if let Some(value) = ended.take() {
                return value;
            }
            reactor.pass();
            yield_now().await;
        }
    }))
}

/// Whether [`run`] would get its rings.
pub fn probe(name: &str) -> io::Result<()> {
    make(name, None).map(drop)
}

fn make(name: &str, cpu: Option<usize>) -> io::Result<LocalExecutor> {
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .preempt_timer(NEVER)
        .io_memory(IO_MEMORY_BYTES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Starts a task on this core that runs until it ends by itself. Its first step is never taken inside this call.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let mut task = Box::pin(task);
    let mut begun = false;
    glommio::spawn_local(poll_fn(move |context| {
        reactor::task_runs();
        // The runtime polls a new task on the spot, in the middle of whatever state change its maker is in.
        if !std::mem::replace(&mut begun, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        task.as_mut().poll(context)
    }))
    .detach();
}

/// What wakes this core.
pub fn doorbell() -> Doorbell {
    Reactor::current().doorbell()
}

/// Suspends until another thread rings this core's doorbell.
pub async fn rung() {
    Reactor::current().rung().await;
}

/// The clock of leases, in microseconds: never set, never turned back, and it goes on while the machine sleeps.
pub fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000 + 1
}

/// Suspends for `duration`, and up to a millisecond more.
pub async fn sleep(duration: Duration) {
    Timer::after(duration).await;
}

/// Lets all others that can run have a turn.
pub async fn breathe() {
    yield_now().await;
}
