//! Every call of the runtime library goes through here, so that its sharp edges are in one place.
//!
//! What the rest of the rim relies on:
//! - sockets are polled only when no task of the core is runnable, so whoever has much to do must really
//!   suspend ([`breathe`]), and a turn ends suspended;
//! - a task is never cancelled (that leaks it): tasks end by themselves when what they wait on is closed;
//! - a failed task takes the process with it: see [`run`];
//! - nothing here accepts, and nothing selects on a connect.

pub mod bell;
pub mod file;
pub mod socket;

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use std::future::Future;
use std::io;
use std::time::Duration;

/// Registered I/O memory of one core, in bytes; three rings register it each, against the user's memlock limit.
pub const IO_MEMORY_BYTES: usize = 256 << 10;

/// The least memlock limit a core starts with, in bytes: the runtime refuses less.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// Runs `main` on this thread as the core of a shard, pinned to `cpu` if one is named.
///
/// Detached tasks that are still pending when `main` ends are forgotten, never dropped, so whoever owns something
/// that must be closed ends before `main` does.
///
/// It may sleep before it has looked at `main` for the first time: whoever waits for it nudges it meanwhile.
pub fn run<T, F: Future<Output = T>>(name: &str, cpu: Option<usize>, main: impl FnOnce() -> F) -> io::Result<T> {
    let executor = make(name, cpu)?;
    Ok(executor.run(async move { main().await }))
}

/// Whether [`run`] would get its rings. Runs nothing: who would wake it?
pub fn probe(name: &str) -> io::Result<()> {
    make(name, None).map(drop)
}

fn make(name: &str, cpu: Option<usize>) -> io::Result<LocalExecutor> {
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .preempt_timer(Duration::from_millis(1))
        .io_memory(IO_MEMORY_BYTES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Starts a task on this core that runs until it ends by itself. Its first step is never taken inside this call.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    // The runtime polls a new task on the spot, in the middle of whatever state change its maker is in.
    glommio::spawn_local(async move {
        futures_lite::future::yield_now().await;
        task.await;
    })
    .detach();
}

/// The clock of leases, in microseconds: never set, never turned back, and it goes on while the machine sleeps.
pub fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000 + 1
}

/// Suspends for `duration`.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Suspends for a moment, so that the sockets of this core are polled.
pub async fn breathe() {
    // A timer that is due already would not suspend at all.
    glommio::timer::sleep(Duration::from_micros(5)).await;
}
