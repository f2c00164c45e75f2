//! The one listening port: reads a hello of fixed size and hands the socket to the core it names.
//!
//! A plain thread, so that no core ever accepts. A caller has 5 s for its 64 bytes, and only so many callers may
//! be at it at once; nothing is allocated for them but their place.

use super::mesh::ToCore;
use super::stage::Stage;
use super::{host, lobby};
use net::hello::{HELLO_BYTES, Hello, HelloRefusal, HelloReply, Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a caller may take for its hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// Callers that may be at their hello at once, if there are descriptors for so many; the next ones wait in the kernel's
/// backlog.
const CALLERS_MAX: usize = 1024;

/// After the process has run out of descriptors, or the like.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Between two warnings of it.
const WARN_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Caller {
    stream: TcpStream,
    bytes: [u8; HELLO_BYTES],
    filled: usize,
    deadline: Instant,
}

/// Starts the front thread over a bound listener.
pub fn start(listener: TcpListener, stage: Arc<Stage>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let callers_max = host::callers(CALLERS_MAX);
    std::thread::Builder::new().name("front".into()).spawn(move || {
        let mut callers: Vec<Caller> = Vec::new();
        let mut warned: Option<Instant> = None;
        loop {
            wait(&listener, &callers, callers_max);
            if let Err(error) = accept(&listener, &mut callers, callers_max) {
                if warned.is_none_or(|last| last.elapsed() >= WARN_PAUSE) {
                    tracing::warn!(%error, "cannot accept a connection");
                    warned = Some(Instant::now());
                }
                std::thread::sleep(ACCEPT_PAUSE);
            }
            let now = Instant::now();
            let mut kept = Vec::with_capacity(callers.len());
            for mut caller in callers.drain(..) {
                match caller.progress() {
                    Ok(true) => admit(caller, &stage),
                    Ok(false) if caller.deadline > now => kept.push(caller),
                    // Too slow, or gone: nobody to answer.
                    _ => {}
                }
            }
            callers = kept;
        }
    })?;
    Ok(())
}

fn wait(listener: &TcpListener, callers: &[Caller], callers_max: usize) {
    let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(callers.len() + 1);
    polled.extend(callers.iter().map(|caller| PollFd::new(&caller.stream, PollFlags::IN)));
    if callers.len() < callers_max {
        polled.push(PollFd::new(listener, PollFlags::IN));
    }
    // Deadlines are looked at once a second; without callers there is nothing to look at.
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let timeout = (!callers.is_empty()).then_some(&second);
    // Interrupted or refused: the sockets are looked at anyway.
    let _ = poll(&mut polled, timeout);
}

/// Takes all who wait and may come in. Errors: somebody waits whom the system does not let in.
fn accept(listener: &TcpListener, callers: &mut Vec<Caller>, callers_max: usize) -> io::Result<()> {
    while callers.len() < callers_max {
        match listener.accept() {
            // The standard library accepts with CLOEXEC.
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_ok() {
                    let deadline = Instant::now() + HELLO_PATIENCE;
                    callers.push(Caller { stream, bytes: [0; HELLO_BYTES], filled: 0, deadline });
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Caller {
    /// Reads what is there, never beyond the hello; whether the hello is whole.
    fn progress(&mut self) -> io::Result<bool> {
        while self.filled < HELLO_BYTES {
            match self.stream.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn admit(mut caller: Caller, stage: &Arc<Stage>) {
    let admitted = match Hello::decode(&caller.bytes) {
        Ok(hello) => check(&hello, &caller.stream, stage).map(|serving| (hello, serving)),
        Err(error) => Err(error.refusal()),
    };
    match admitted {
        Ok((hello, Some(core))) => {
            let local = is_local(&caller.stream);
            let Some((mesh, _)) = stage.serving() else { return };
            let socket = OwnedFd::from(caller.stream);
            mesh.send(core, ToCore::Connection { socket, hello, local });
        }
        Ok((hello, None)) => lobby::receive(caller.stream, &hello, stage),
        Err(refusal) => {
            let reply = reply(stage, Err(refusal)).encode();
            // A caller that is gone already misses its refusal.
            let _ = caller.stream.write_all(&reply);
        }
    }
}

/// Whether the caller is on this machine; one that is gone already counts as a stranger.
fn is_local(stream: &TcpStream) -> bool {
    let ends = stream.peer_addr().and_then(|peer| Ok((peer.ip(), stream.local_addr()?.ip())));
    ends.is_ok_and(|(peer, own)| comes_from_here(peer, own))
}

/// Whether a connection from `peer` to `own` begins and ends on one machine: over loopback, or from the very address it goes
/// to, which is how a machine speaks to an address of its own.
fn comes_from_here(peer: IpAddr, own: IpAddr) -> bool {
    // A socket that listens on `[::]` sees IPv4 callers as ::ffff:a.b.c.d.
    let (peer, own) = (peer.to_canonical(), own.to_canonical());
    peer.is_loopback() || peer == own
}

/// The core that takes the caller; `None` for the lobby.
fn check(hello: &Hello, stream: &TcpStream, stage: &Stage) -> Result<Option<u16>, HelloRefusal> {
    if hello.role == Role::Founding {
        return Ok(None);
    }
    let Some((mesh, facts)) = stage.serving() else {
        return match hello.role {
            Role::Peer | Role::Snapshot => Err(HelloRefusal::NotFormed),
            _ => Ok(None),
        };
    };
    if hello.cluster != facts.map.cluster && (hello.cluster != 0 || hello.role != Role::Client) {
        return Err(HelloRefusal::WrongCluster);
    }
    if hello.core >= mesh.len() {
        return Err(HelloRefusal::NoSuchCore);
    }
    match hello.role {
        Role::Peer | Role::Snapshot => {
            // A wiped disk has drawn another incarnation: it never speaks under its old name (rule 7).
            let map = stage.map();
            let entry = map.as_ref().and_then(|map| map.node(hello.node));
            let known = entry.is_some_and(|entry| entry.incarnation == hello.incarnation);
            if !known || hello.node == facts.node {
                let address = stream.peer_addr().ok();
                tracing::warn!(
                    node = hello.node,
                    ?address,
                    "refused a peer that is not in the map under its incarnation"
                );
                return Err(HelloRefusal::UnknownIncarnation);
            }
        }
        _ if facts.health.is_draining() => return Err(HelloRefusal::Stopping),
        _ if !facts.connections.acquire() => return Err(HelloRefusal::TooManyConnections),
        _ => {}
    }
    Ok(Some(hello.core))
}

/// What a caller is told before or instead of being handed to a core.
pub fn reply(stage: &Stage, status: Result<(), HelloRefusal>) -> HelloReply {
    let answer = stage.answer();
    let serving = stage.serving();
    HelloReply {
        status,
        core: 0,
        shards: answer.shards,
        node: serving.as_ref().map_or(0, |(_, facts)| facts.node),
        cluster: serving.as_ref().map_or(0, |(_, facts)| facts.map.cluster),
        incarnation: answer.incarnation,
        start: serving.as_ref().map_or(0, |(_, facts)| facts.start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_calls_from_this_machine_is_known_by_its_address() {
        let from_here = |peer: &str, own: &str| comes_from_here(peer.parse().unwrap(), own.parse().unwrap());
        for (peer, own) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.2"),
            ("::1", "::1"),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
            ("fd00::1", "fd00::1"),
        ] {
            assert!(from_here(peer, own), "{peer} -> {own}");
        }
        for (peer, own) in [
            ("10.0.0.2", "10.0.0.1"),
            ("::ffff:10.0.0.2", "::ffff:10.0.0.1"),
            ("fd00::2", "fd00::1"),
            ("::10.0.0.1", "::ffff:10.0.0.1"),
        ] {
            assert!(!from_here(peer, own), "{peer} -> {own}");
        }
    }
}
