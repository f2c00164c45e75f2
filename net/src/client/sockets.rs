//! The blocking client's sockets: non-blocking, waited for together with poll(2), or with those of others with epoll(7).

use super::connection::ConnectionId;
use super::core::Core;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// All sockets of one client.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Vec<Open>,
    shared: Option<Shared>,
}

/// A wait that is shared with other clients, and which of them this is there.
#[derive(Clone, Debug)]
struct Shared {
    epoll: Rc<OwnedFd>,
    client: u32,
}

#[derive(Debug)]
struct Open {
    connection: ConnectionId,
    socket: Socket,
    /// Still connecting; addresses of the same name to try if this one fails.
    connecting: Option<VecDeque<SocketAddr>>,
    /// The last send took less than there was.
    full: bool,
    shared: Option<Shared>,
}

/// Bits of an event's number that tell the connection; the ones above tell the client.
const CONNECTION_BITS: u32 = 40;

impl Open {
    /// What it waits for.
    fn interest(&self) -> PollFlags {
        match (&self.connecting, self.full) {
            (Some(_), _) => PollFlags::OUT,
            (None, true) => PollFlags::IN | PollFlags::OUT,
            (None, false) => PollFlags::IN,
        }
    }

    /// Has the shared wait know its socket, which is new there.
    fn watch(&self, Shared { epoll, client }: &Shared) -> io::Result<()> {
        let number = u64::from(*client) << CONNECTION_BITS | self.connection.0;
        Ok(epoll::add(epoll, &self.socket, EventData::new_u64(number), events(self.interest()))?)
    }

    fn set_full(&mut self, full: bool) {
        if std::mem::replace(&mut self.full, full) != full {
            self.interest_has_changed();
        }
    }

    fn interest_has_changed(&self) {
        let Some(Shared { epoll, client }) = &self.shared else { return };
        let number = u64::from(*client) << CONNECTION_BITS | self.connection.0;
        let changed = epoll::modify(epoll, &self.socket, EventData::new_u64(number), events(self.interest()));
        changed.expect("the socket is open, and known there since it is");
    }
}

fn events(flags: PollFlags) -> EventFlags {
    let mut events = EventFlags::empty();
    events.set(EventFlags::IN, flags.contains(PollFlags::IN));
    events.set(EventFlags::OUT, flags.contains(PollFlags::OUT));
    events
}

/// What an event of a shared wait says: which client, which connection, what has happened.
pub(super) fn heard(event: epoll::Event) -> (u32, ConnectionId, PollFlags) {
    let (number, flags) = (event.data.u64(), event.flags);
    let mut happened = PollFlags::empty();
    happened.set(PollFlags::IN, flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR));
    happened.set(PollFlags::OUT, flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR));
    let connection = number & ((1 << CONNECTION_BITS) - 1);
    ((number >> CONNECTION_BITS) as u32, ConnectionId(connection), happened)
}

impl Sockets {
    /// Starts to open a connection, with address number `turn`, counted around, of those the name has. Resolving it blocks.
    pub(super) fn connect(
        &mut self,
        core: &mut Core,
        connection: ConnectionId,
        address: &str,
        turn: usize,
        now: Duration,
    ) {
        let addresses = match address.to_socket_addrs() {
            Ok(addresses) => from_turn(addresses.collect(), turn),
            Err(error) => return core.lost(connection, &format!("{address} does not resolve: {error}"), now),
        };
        let started = start(addresses).and_then(|(socket, rest)| {
            let shared = self.shared.clone();
            let open = Open { connection, socket, connecting: Some(rest), full: false, shared };
            open.shared.as_ref().map_or(Ok(()), |shared| open.watch(shared))?;
            Ok(open)
        });
        match started {
            Ok(open) => self.open.push(open),
            Err(error) => core.lost(connection, &format!("{address}: {error}"), now),
        }
    }

    /// Waits with others from now on: the client `client` of those that share `epoll`.
    pub(super) fn share(&mut self, epoll: Rc<OwnedFd>, client: u32) -> io::Result<()> {
        let shared = Shared { epoll, client };
        for open in &mut self.open {
            open.watch(&shared)?;
            open.shared = Some(shared.clone());
        }
        self.shared = Some(shared);
        Ok(())
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.open.retain(|open| open.connection != connection);
    }

    /// Sends what every connection has to send, as far as the system takes it; whether all are still there.
    pub(super) fn send(&mut self, core: &mut Core, now: Duration) -> bool {
        let before = self.open.len();
        self.open.retain_mut(|open| {
            if open.connecting.is_some() || open.full {
                return true;
            }
            send_one(open, core, now)
        });
        self.open.len() == before
    }

    /// Waits up to `wait` for the network, receives what has come, sends where there is room again.
    pub(super) fn wait_and_receive(&mut self, core: &mut Core, wait: Duration, started: Instant) {
        let mut watched: Vec<_> = self.open.iter().map(|open| PollFd::new(&open.socket, open.interest())).collect();
        let ready = wait_for(&mut watched, wait);
        let now = started.elapsed();
        let mut ready = ready.iter();
        self.open.retain_mut(|open| ready.next().is_none_or(|ready| move_on(open, core, *ready, now)));
    }

    /// As [`Sockets::wait_and_receive`] does when `happened` has happened to one of them. One that is gone had nothing more to say.
    pub(super) fn receive(&mut self, core: &mut Core, connection: ConnectionId, happened: PollFlags, now: Duration) {
        if let Some(at) = self.open.iter().position(|open| open.connection == connection)
            && !move_on(&mut self.open[at], core, happened, now)
        {
            self.open.swap_remove(at);
        }
    }
}

/// Receives what has come and sends if there is room again. `false`: the socket is done with.
fn move_on(open: &mut Open, core: &mut Core, happened: PollFlags, now: Duration) -> bool {
    if happened.is_empty() {
        return true;
    }
    if open.connecting.is_some() {
        return finish_connect(open, core, now);
    }
    if happened.contains(PollFlags::OUT) {
        open.set_full(false);
        if !send_one(open, core, now) {
            return false;
        }
    }
    !happened.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) || receive_one(open, core, now)
}

/// Waits up to `wait` for any of `watched`, and says what has happened to each.
fn wait_for(watched: &mut [PollFd<'_>], wait: Duration) -> Vec<PollFlags> {
    // Without a next moment (no request in flight) a caller still gets its turn back.
    let wait = wait.min(Duration::from_secs(60));
    let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(watched, Some(&timeout)) {
        Ok(0) => Vec::new(),
        // A signal ends the wait, but not without a look.
        Err(Errno::INTR) => wait_for(watched, Duration::ZERO),
        Ok(_) => watched.iter().map(PollFd::revents).collect(),
        Err(error) => panic!("poll of {} sockets: {error}", watched.len()),
    }
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
fn finish_connect(open: &mut Open, core: &mut Core, now: Duration) -> bool {
    let error = match open.socket.take_error() {
        Ok(None) => {
            open.connecting = None;
            open.interest_has_changed();
            core.connected(open.connection, now);
            return send_one(open, core, now);
        }
        Ok(Some(error)) | Err(error) => error,
    };
    match start(open.connecting.take().unwrap_or_default()) {
        Ok((socket, rest)) => {
            open.socket = socket;
            open.connecting = Some(rest);
            if let Some(Err(error)) = open.shared.as_ref().map(|shared| open.watch(shared)) {
                core.lost(open.connection, &error.to_string(), now);
                return false;
            }
            true
        }
        Err(_) => {
            core.lost(open.connection, &error.to_string(), now);
            false
        }
    }
}

/// Sends until there is no more, or the system takes no more: what was sent makes room for what waits in the core.
fn send_one(open: &mut Open, core: &mut Core, now: Duration) -> bool {
    loop {
        let output = core.output(open.connection);
        if output.is_empty() {
            return true;
        }
        let wanted = output.len();
        match (&open.socket).write(output) {
            Ok(count) => {
                core.sent(open.connection, count);
                if count < wanted {
                    open.set_full(true);
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                open.set_full(true);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                core.lost(open.connection, &error.to_string(), now);
                return false;
            }
        }
    }
}

/// Receives until there is no more, or the buffer was not filled: then there is nothing more now.
fn receive_one(open: &mut Open, core: &mut Core, now: Duration) -> bool {
    loop {
        let Some(spare) = core.spare(open.connection) else { return false };
        let room = spare.len();
        match (&open.socket).read(spare) {
            Ok(0) => {
                core.lost(open.connection, "the node closed the connection", now);
                return false;
            }
            Ok(count) => {
                core.received(open.connection, count, now);
                if count < room {
                    return true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                core.lost(open.connection, &error.to_string(), now);
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
