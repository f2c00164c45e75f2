//! Many clients on one thread, which waits for all of their sockets at once.
//!
//! A thread for each client would wake for each answer, and one poll(2) over hundreds of sockets costs more than the few
//! answers it finds: the sockets are with the system once and for all (epoll(7)), and a client of which nothing is heard
//! costs a comparison.

use super::blocking::Client;
use super::error::ClientError;
use super::sockets;
use rustix::event::epoll::{self, CreateFlags, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Answers that are heard of at once; the others are heard of next time.
const EVENTS_MAX: usize = 256;

/// A wait of at least so long may end up to a millisecond late, as epoll_wait(2) counts.
const ROUGH: Duration = Duration::from_millis(100);

/// Without a next moment (no request in flight) a caller still gets its turn back.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// See the module.
pub struct Together {
    epoll: Rc<OwnedFd>,
    clients: u32,
    events: Vec<Event>,
}

impl Together {
    /// Nobody yet. Errors: the system has no descriptor left.
    pub fn new() -> Result<Together, ClientError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(unavailable)?;
        Ok(Together { epoll: Rc::new(epoll), clients: 0, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Takes a client in, as the next in the order of [`Together::poll`]. Errors: the system watches no more sockets.
    pub fn add(&mut self, client: &mut Client) -> Result<(), ClientError> {
        client.share(self.epoll.clone(), self.clients).map_err(unavailable)?;
        self.clients += 1;
        Ok(())
    }

    /// Moves all clients on, waiting up to `timeout` for the first that hears something; each then has its completions in
    /// [`Client::completed`]. `clients` are all that were added, in that order.
    pub fn poll<'a>(&mut self, clients: impl Iterator<Item = &'a mut Client>, timeout: Duration) {
        let mut clients: Vec<&mut Client> = clients.collect();
        assert_eq!(clients.len(), self.clients as usize, "all that were added, and nobody else");
        let now = Instant::now();
        let wait = clients.iter_mut().map(|client| client.before_wait(now)).min().unwrap_or(timeout);
        self.wait(wait.min(timeout).min(WAIT_MAX));
        for event in self.events.drain(..) {
            let (client, connection, happened) = sockets::heard(event);
            clients[client as usize].heard(connection, happened);
        }
    }

    fn wait(&mut self, wait: Duration) {
        let timespec = |wait: Duration| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let mut timeout = timespec(wait);
        if !wait.is_zero() && wait < ROUGH {
            // To the nanosecond. A signal ends it early, which does no harm.
            let _ = poll(&mut [PollFd::new(&*self.epoll, PollFlags::IN)], Some(&timeout));
            timeout = timespec(Duration::ZERO);
        }
        match epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll: {error}"),
        }
    }
}

fn unavailable(error: impl fmt::Display) -> ClientError {
    ClientError::Unavailable { why: format!("cannot wait for many connections: {error}") }
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").field("clients", &self.clients).finish_non_exhaustive()
    }
}
