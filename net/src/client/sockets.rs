//! The blocking client's sockets: non-blocking, waited for all at once with epoll(7), which knows them from their opening to their
//! end. A wait costs what it finds, however many sockets there are.

use super::connection::ConnectionId;
use super::core::Core;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Sockets that are heard of at once; the others are heard of next time.
const EVENTS_MAX: usize = 256;

/// A wait of at least so long may end up to a millisecond late, as epoll_wait(2) counts.
const ROUGH: Duration = Duration::from_millis(100);

/// Without a next moment (no request in flight) a caller still gets its turn back.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The addresses of names, or why they have none.
pub(super) type Names = BTreeMap<String, Result<VecDeque<SocketAddr>, String>>;

/// All sockets of one client.
pub(super) struct Sockets {
    epoll: OwnedFd,
    open: BTreeMap<ConnectionId, Open>,
    events: Vec<Event>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("open", &self.open).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    /// Still connecting; addresses of the same name to try if this one fails.
    connecting: Option<VecDeque<SocketAddr>>,
    /// The last send took less than there was.
    full: bool,
}

impl Open {
    /// What it waits for.
    fn interest(&self) -> EventFlags {
        match (&self.connecting, self.full) {
            (Some(_), _) => EventFlags::OUT,
            (None, true) => EventFlags::IN | EventFlags::OUT,
            (None, false) => EventFlags::IN,
        }
    }

    /// Has `epoll` know its socket, which is new there.
    fn watch(&self, epoll: &OwnedFd, id: ConnectionId) -> io::Result<()> {
        Ok(epoll::add(epoll, &self.socket, EventData::new_u64(id.0), self.interest())?)
    }

    fn set_full(&mut self, epoll: &OwnedFd, id: ConnectionId, full: bool) {
        if std::mem::replace(&mut self.full, full) != full {
            self.interest_has_changed(epoll, id);
        }
    }

    fn interest_has_changed(&self, epoll: &OwnedFd, id: ConnectionId) {
        let changed = epoll::modify(epoll, &self.socket, EventData::new_u64(id.0), self.interest());
        changed.expect("the socket is open, and known there since it is");
    }
}

impl Sockets {
    /// None yet. Errors: the system has no descriptor left.
    pub(super) fn new() -> io::Result<Sockets> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Sockets { epoll, open: BTreeMap::new(), events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Starts to open a connection, with address number `turn`, counted around, of those the name has. Resolving it blocks, so
    /// that is done once for those that are opened together: `names`.
    pub(super) fn connect(
        &mut self,
        core: &mut Core,
        connection: ConnectionId,
        address: &str,
        turn: usize,
        names: &mut Names,
        now: Duration,
    ) {
        let resolve = || address.to_socket_addrs().map(Iterator::collect).map_err(|error| error.to_string());
        let addresses = match names.entry(address.to_owned()).or_insert_with(resolve) {
            Ok(addresses) => from_turn(addresses.clone(), turn),
            Err(error) => return core.lost(connection, &format!("{address} does not resolve: {error}"), now),
        };
        let started = start(addresses).and_then(|(socket, rest)| {
            let open = Open { socket, connecting: Some(rest), full: false };
            open.watch(&self.epoll, connection)?;
            Ok(open)
        });
        match started {
            Ok(open) => drop(self.open.insert(connection, open)),
            Err(error) => core.lost(connection, &format!("{address}: {error}"), now),
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
    }

    /// Sends what connections have to send, as far as the system takes it; whether all are still there.
    pub(super) fn send(&mut self, core: &mut Core, now: Duration) -> bool {
        let before = self.open.len();
        while let Some(id) = core.next_to_send() {
            if let Some(open) = self.open.get_mut(&id)
                && open.connecting.is_none()
                && !open.full
                && !send_one(open, &self.epoll, id, core, now)
            {
                self.open.remove(&id);
            }
        }
        self.open.len() == before
    }

    /// Waits up to `wait` for the network, receives what has come, sends where there is room again.
    pub(super) fn wait_and_receive(&mut self, core: &mut Core, wait: Duration, started: Instant) {
        self.wait(wait.min(WAIT_MAX));
        let now = started.elapsed();
        for event in self.events.drain(..) {
            let (id, happened) = (ConnectionId(event.data.u64()), event.flags);
            // One that is gone had nothing more to say.
            if let Some(open) = self.open.get_mut(&id)
                && !move_on(open, &self.epoll, id, core, happened, now)
            {
                self.open.remove(&id);
            }
        }
    }

    fn wait(&mut self, wait: Duration) {
        let timespec = |wait: Duration| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let mut timeout = timespec(wait);
        if !wait.is_zero() && wait < ROUGH {
            // To the nanosecond. A signal ends it early, which does no harm.
            let _ = poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout));
            timeout = timespec(Duration::ZERO);
        }
        // A signal ends the wait, but not without a look.
        let heard = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout));
        match heard {
            Ok(_) => {}
            Err(Errno::INTR) => self.wait(Duration::ZERO),
            Err(error) => panic!("epoll: {error}"),
        }
    }
}

/// Receives what has come and sends if there is room again. `false`: the socket is done with.
fn move_on(
    open: &mut Open,
    epoll: &OwnedFd,
    id: ConnectionId,
    core: &mut Core,
    happened: EventFlags,
    now: Duration,
) -> bool {
    let over = EventFlags::HUP | EventFlags::ERR;
    if open.connecting.is_some() {
        return finish_connect(open, epoll, id, core, now);
    }
    if happened.intersects(EventFlags::OUT | over) {
        open.set_full(epoll, id, false);
        if !send_one(open, epoll, id, core, now) {
            return false;
        }
    }
    !happened.intersects(EventFlags::IN | over) || receive_one(open, id, core, now)
}

/// The addresses, from number `turn` on, counted around.
fn from_turn(mut addresses: VecDeque<SocketAddr>, turn: usize) -> VecDeque<SocketAddr> {
    if !addresses.is_empty() {
        addresses.rotate_left(turn % addresses.len());
    }
    addresses
}

/// Starts to connect to the first address that lets it; the rest is for later.
fn start(mut addresses: VecDeque<SocketAddr>) -> io::Result<(Socket, VecDeque<SocketAddr>)> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.pop_front() {
        match start_one(address) {
            Ok(socket) => return Ok((socket, addresses)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn start_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// The connection attempt has ended, one way or the other. `false`: the socket is done with.
fn finish_connect(open: &mut Open, epoll: &OwnedFd, id: ConnectionId, core: &mut Core, now: Duration) -> bool {
    let error = match open.socket.take_error() {
        Ok(None) => {
            open.connecting = None;
            open.interest_has_changed(epoll, id);
            core.connected(id, now);
            return send_one(open, epoll, id, core, now);
        }
        Ok(Some(error)) | Err(error) => error,
    };
    match start(open.connecting.take().unwrap_or_default()) {
        Ok((socket, rest)) => {
            open.socket = socket;
            open.connecting = Some(rest);
            if let Err(error) = open.watch(epoll, id) {
                core.lost(id, &error.to_string(), now);
                return false;
            }
            true
        }
        Err(_) => {
            core.lost(id, &error.to_string(), now);
            false
        }
    }
}

/// Sends until there is no more, or the system takes no more: what was sent makes room for what waits in the core.
fn send_one(open: &mut Open, epoll: &OwnedFd, id: ConnectionId, core: &mut Core, now: Duration) -> bool {
    loop {
        let output = core.output(id);
        if output.is_empty() {
            return true;
        }
        let wanted = output.len();
        match (&open.socket).write(output) {
            Ok(count) => {
                core.sent(id, count);
                if count < wanted {
                    open.set_full(epoll, id, true);
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                open.set_full(epoll, id, true);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                core.lost(id, &error.to_string(), now);
                return false;
            }
        }
    }
}

/// Receives until there is no more, or the buffer was not filled: then there is nothing more now.
fn receive_one(open: &mut Open, id: ConnectionId, core: &mut Core, now: Duration) -> bool {
    loop {
        let Some(spare) = core.spare(id) else { return false };
        let room = spare.len();
        match (&open.socket).read(spare) {
            Ok(0) => {
                core.lost(id, "the node closed the connection", now);
                return false;
            }
            Ok(count) => {
                core.received(id, count, now);
                if count < room {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                core.lost(id, &error.to_string(), now);
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_turn_to_be_the_first() {
        let addresses: VecDeque<SocketAddr> = (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let ports = |turn| from_turn(addresses.clone(), turn).iter().map(SocketAddr::port).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 3].map(ports), [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
        assert!(from_turn(VecDeque::new(), 1).is_empty());
    }
}
