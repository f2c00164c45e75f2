//! What a core waits for: its sockets, its timers, and the doorbell that other threads ring.
//!
//! The main task of a core goes to the back of the runtime's queue again and again. When it comes to the front and no
//! other task has run since, none can, as the queue is first in, first out; then it sleeps here, in one system call.
//! The runtime itself never sleeps: its three rings take eight system calls to lie down and to get up.

use super::doorbell::Doorbell;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// A core that is not out of tasks looks at its sockets and timers after so many passes, or so long a time.
const PASSES_MAX: u32 = 8;
const TIME_MAX: Duration = Duration::from_millis(1);

/// Sockets that one look finds ready at the most; the others are found by the next.
const EVENTS_MAX: usize = 256;

/// The doorbell, among the numbers of sockets.
const DOORBELL: u64 = u64::MAX;

thread_local! {
    static CURRENT: Cell<Option<&'static Reactor>> = const { Cell::new(None) };
    /// How often a task of this core has been run.
    static RAN: Cell<u64> = const { Cell::new(0) };
}

/// A task of this core is being run.
pub fn task_runs() {
    RAN.set(RAN.get() + 1);
}

/// See the module.
pub struct Reactor {
    epoll: OwnedFd,
    events: RefCell<Vec<epoll::Event>>,
    /// By number; a number is free again when its socket is gone.
    sources: RefCell<Vec<Option<Rc<Source>>>>,
    free: RefCell<Vec<usize>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    last_timer: Cell<u64>,
    doorbell: Doorbell,
    /// How often the doorbell was found rung, and who waits for the next time.
    rings: Cell<u64>,
    listeners: RefCell<Vec<Waker>>,
    /// As it was at the last pass.
    ran: Cell<u64>,
    /// Passes since the last look, and when that was.
    passes: Cell<u32>,
    looked: Cell<Instant>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reactor")
    }
}

impl Reactor {
    /// Makes the reactor of the calling thread, which `doorbell` wakes. It is never dropped, nor are the tasks of a core that
    /// has ended, and they refer to each other.
    pub fn start(doorbell: Doorbell) -> io::Result<&'static Reactor> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &doorbell, EventData::new_u64(DOORBELL), EventFlags::IN | EventFlags::ET)?;
        let reactor = Box::leak(Box::new(Reactor {
            epoll,
            events: RefCell::new(Vec::with_capacity(EVENTS_MAX)),
            sources: RefCell::default(),
            free: RefCell::default(),
            timers: RefCell::default(),
            last_timer: Cell::new(0),
            doorbell,
            rings: Cell::new(0),
            listeners: RefCell::default(),
            ran: Cell::new(0),
            passes: Cell::new(0),
            looked: Cell::new(Instant::now()),
        }));
        CURRENT.set(Some(reactor));
        Ok(reactor)
    }

    /// The one of this core.
    pub fn current() -> &'static Reactor {
        CURRENT.get().expect("this is the thread of a core")
    }

    /// What wakes this core.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// One turn of the main task: sleeps if no other has run since the last one, looks at the sockets now and then if some have.
    pub fn pass(&self) {
        let ran = RAN.get();
        let idle = ran == self.ran.replace(ran);
        self.passes.set(self.passes.get() + 1);
        if idle || self.passes.get() >= PASSES_MAX || self.looked.get().elapsed() >= TIME_MAX {
            self.look(idle);
        } else if self.doorbell.is_rung() {
            self.answer_the_door();
        }
    }

    fn answer_the_door(&self) {
        if self.doorbell.look() {
            self.rings.set(self.rings.get() + 1);
            self.listeners.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// Wakes every task whose socket, timer or ring has come; waits for the first of them if it may.
    fn look(&self, may_wait: bool) {
        let first = self.timers.borrow().first_key_value().map(|((due, _), _)| *due);
        let patience = first.map(|due| due.saturating_duration_since(Instant::now()));
        let waits = may_wait && patience != Some(Duration::ZERO) && self.doorbell.lie_down();
        let patience = if waits { patience } else { Some(Duration::ZERO) };
        let timeout = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()) as _,
        });
        let mut events = self.events.borrow_mut();
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // The descriptor is ours, and so is the memory.
            Err(error) => panic!("epoll: {error}"),
        }
        self.answer_the_door();
        let sources = self.sources.borrow();
        for event in events.iter() {
            // No task runs in here: a number is that of the socket it was found ready for.
            if let Some(Some(source)) = sources.get(event.data.u64() as usize) {
                source.happened(event.flags);
            }
        }
        let now = Instant::now();
        self.fire(now);
        self.passes.set(0);
        self.looked.set(now);
    }

    fn fire(&self, now: Instant) {
        let mut timers = self.timers.borrow_mut();
        while let Some(timer) = timers.first_entry()
            && timer.key().0 <= now
        {
            timer.remove().wake();
        }
    }

    /// Waits until the doorbell rings.
    pub async fn rung(&self) {
        let mut before = None;
        poll_fn(|context| match before.replace(self.rings.get()) {
            Some(rings) if rings != self.rings.get() => Poll::Ready(()),
            _ => {
                self.listeners.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }

    /// Watches a socket from now on.
    pub fn watch(&'static self, fd: OwnedFd) -> io::Result<Watched> {
        let source = Rc::new(Source::default());
        let mut sources = self.sources.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or(sources.len());
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, &fd, EventData::new_u64(index as u64), interest) {
            if index < sources.len() {
                self.free.borrow_mut().push(index);
            }
            return Err(error.into());
        }
        if index == sources.len() {
            sources.push(None);
        }
        sources[index] = Some(source.clone());
        Ok(Watched { fd, source, index, reactor: self })
    }
}

/// One way through a socket.
#[derive(Debug, Default)]
struct Way {
    open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Way {
    fn open(&self) {
        self.open.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if self.open.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What is known of a socket.
#[derive(Debug, Default)]
struct Source {
    inward: Way,
    outward: Way,
    /// No more will come: there will be no further event about that.
    over: Cell<bool>,
}

impl Source {
    fn happened(&self, flags: EventFlags) {
        let end = EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(end | EventFlags::RDHUP) {
            self.over.set(true);
        }
        if flags.intersects(end | EventFlags::RDHUP | EventFlags::IN) {
            self.inward.open();
        }
        if flags.intersects(end | EventFlags::OUT) {
            self.outward.open();
        }
    }
}

/// A socket that is watched, and its descriptor. One task waits for each way at a time.
#[derive(Debug)]
pub struct Watched {
    fd: OwnedFd,
    source: Rc<Source>,
    index: usize,
    reactor: &'static Reactor,
}

impl Watched {
    /// Waits until there may be something to receive.
    pub async fn readable(&self) {
        self.source.inward.wait().await;
    }

    /// All that had come is received: [`Watched::readable`] waits for more, unless no more can come.
    pub fn drained(&self) {
        if !self.source.over.get() {
            self.source.inward.open.set(false);
        }
    }

    /// Waits until more may be sent.
    pub async fn writable(&self) {
        self.source.outward.wait().await;
    }

    /// The system takes no more: [`Watched::writable`] waits until it does.
    pub fn filled(&self) {
        self.source.outward.open.set(false);
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The descriptor is there until after this, so it is watched.
        let _ = epoll::delete(&self.reactor.epoll, &self.fd);
        self.reactor.sources.borrow_mut()[self.index] = None;
        self.reactor.free.borrow_mut().push(self.index);
    }
}

/// Ends at a time.
#[derive(Debug)]
pub struct Timer {
    due: Instant,
    number: u64,
    reactor: &'static Reactor,
}

impl Timer {
    /// One that ends after `duration`.
    pub fn after(duration: Duration) -> Timer {
        let reactor = Reactor::current();
        reactor.last_timer.set(reactor.last_timer.get() + 1);
        Timer { due: Instant::now() + duration, number: reactor.last_timer.get(), reactor }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        self.reactor.timers.borrow_mut().insert((self.due, self.number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.reactor.timers.borrow_mut().remove(&(self.due, self.number));
    }
}
