//! The blocking client's sockets: non-blocking, waited for together with poll(2).

use super::connection::ConnectionId;
use super::core::Core;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// All sockets of one client.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    connection: ConnectionId,
    socket: Socket,
    /// Still connecting; addresses of the same name to try if this one fails.
    connecting: Option<VecDeque<SocketAddr>>,
    /// The last send took less than there was.
    full: bool,
}

impl Sockets {
    /// Starts to open a connection. Resolving the name blocks.
    pub(super) fn connect(&mut self, core: &mut Core, connection: ConnectionId, address: &str, now: Duration) {
        let addresses = match address.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => return core.lost(connection, &format!("{address} does not resolve: {error}"), now),
        };
        match start(addresses) {
            Ok((socket, rest)) => {
                self.open.push(Open { connection, socket, connecting: Some(rest), full: false });
            }
            Err(error) => core.lost(connection, &format!("{address}: {error}"), now),
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.open.retain(|open| open.connection != connection);
    }

    /// Sends what every connection has to send, one send each.
    pub(super) fn send(&mut self, core: &mut Core, now: Duration) {
        self.open.retain_mut(|open| {
            if open.connecting.is_some() || open.full {
                return true;
            }
            send_one(open, core, now)
        });
    }

    /// Waits up to `wait` for the network, receives what has come, sends where there is room again.
    pub(super) fn wait_and_receive(&mut self, core: &mut Core, wait: Duration, started: Instant) {
        let mut watched = Vec::with_capacity(self.open.len());
        self.watch(&mut watched);
        let ready = wait_for(&mut watched, wait);
        self.receive(core, &ready, started);
    }

    /// Adds what it waits for on each socket.
    pub(super) fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        let flags = |open: &Open| match (&open.connecting, open.full) {
            (Some(_), _) => PollFlags::OUT,
            (None, true) => PollFlags::IN | PollFlags::OUT,
            (None, false) => PollFlags::IN,
        };
        watched.extend(self.open.iter().map(|open| PollFd::new(&open.socket, flags(open))));
    }

    /// How many sockets [`Sockets::watch`] adds.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Receives what has come and sends where there is room again. `ready` says what [`wait_for`] has seen of each socket.
    pub(super) fn receive(&mut self, core: &mut Core, ready: &[PollFlags], started: Instant) {
        let now = started.elapsed();
        let mut ready = ready.iter();
        self.open.retain_mut(|open| {
            let ready = ready.next().copied().unwrap_or(PollFlags::empty());
            if ready.is_empty() {
                return true;
            }
            if open.connecting.is_some() {
                return finish_connect(open, core, now);
            }
            if ready.contains(PollFlags::OUT) {
                open.full = false;
                if !send_one(open, core, now) {
                    return false;
                }
            }
            !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) || receive_one(open, core, now)
        });
    }
}

/// Waits up to `wait` for any of `watched`, and says what has happened to each.
pub(super) fn wait_for(watched: &mut [PollFd<'_>], wait: Duration) -> Vec<PollFlags> {
    // Without a next moment (no request in flight) a caller still gets its turn back.
    let wait = wait.min(Duration::from_secs(60));
    let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(watched, Some(&timeout)) {
        Ok(0) | Err(Errno::INTR) => Vec::new(),
        Ok(_) => watched.iter().map(PollFd::revents).collect(),
        Err(error) => panic!("poll of {} sockets: {error}", watched.len()),
    }
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
            core.connected(open.connection, now);
            return send_one(open, core, now);
        }
        Ok(Some(error)) | Err(error) => error,
    };
    match start(open.connecting.take().unwrap_or_default()) {
        Ok((socket, rest)) => {
            open.socket = socket;
            open.connecting = Some(rest);
            true
        }
        Err(_) => {
            core.lost(open.connection, &error.to_string(), now);
            false
        }
    }
}

fn send_one(open: &mut Open, core: &mut Core, now: Duration) -> bool {
    let output = core.output(open.connection);
    if output.is_empty() {
        return true;
    }
    let wanted = output.len();
    match (&open.socket).write(output) {
        Ok(count) => {
            open.full = count < wanted;
            core.sent(open.connection, count);
            true
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            open.full = true;
            true
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => true,
        Err(error) => {
            core.lost(open.connection, &error.to_string(), now);
            false
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
