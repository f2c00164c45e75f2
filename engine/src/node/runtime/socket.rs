//! A TCP connection of a core: read by one task, written by whole turns.
//!
//! A turn appends to the out buffer and flushes once: one system call, no task switch. Only when the peer's
//! window is full does a writer task take over, until the buffer is empty again.

use super::bell::Bell;
use super::reactor::{Reactor, Watched};
use futures_lite::future;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};
use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// What a connection that has nothing to send keeps for what it sends next.
const REST_BYTES_MAX: usize = 64 << 10;

/// The writing half, shared by all who answer on this connection.
#[derive(Clone, Debug)]
pub struct Socket {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: Watched,
    out: RefCell<Vec<u8>>,
    /// Bytes that the writer task has taken and not sent.
    taken: Cell<usize>,
    /// The kernel's buffer is full; the writer task owns the order of bytes until `out` is empty.
    blocked: Cell<bool>,
    has_writer: Cell<bool>,
    closed: Cell<bool>,
    bell: Bell,
    room: Bell,
}

/// The reading half.
#[derive(Debug)]
pub struct Reader {
    shared: Rc<Shared>,
    filled: bool,
}

impl Socket {
    /// Takes over a connected socket that was accepted elsewhere.
    pub fn adopt(fd: OwnedFd) -> io::Result<(Socket, Reader)> {
        Socket::new(Reactor::current().watch(fd)?)
    }

    /// Connects to `address` within `timeout`.
    pub async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<(Socket, Reader)> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = Reactor::current().watch(fd)?;
        let connected = async {
            stream.writable().await;
            Ok(sockopt::socket_error(&stream)??)
        };
        let late = async {
            super::sleep(timeout).await;
            Err(io::Error::from(io::ErrorKind::TimedOut))
        };
        future::or(connected, late).await?;
        Socket::new(stream)
    }

    fn new(stream: Watched) -> io::Result<(Socket, Reader)> {
        sockopt::set_tcp_nodelay(&stream, true)?;
        let shared = Rc::new(Shared {
            stream,
            out: RefCell::default(),
            taken: Cell::new(0),
            blocked: Cell::new(false),
            has_writer: Cell::new(false),
            closed: Cell::new(false),
            bell: Bell::default(),
            room: Bell::default(),
        });
        Ok((Socket { shared: shared.clone() }, Reader { shared, filled: false }))
    }

    /// The bytes that wait to be sent; append whole frames.
    pub fn out(&self) -> RefMut<'_, Vec<u8>> {
        self.shared.out.borrow_mut()
    }

    /// How many bytes wait to be sent.
    pub fn queued(&self) -> usize {
        self.shared.out.borrow().len() + self.shared.taken.get()
    }

    /// Gives back the memory of a long answer that is sent. Not after each: who gets one after the other would have it made anew each time.
    pub fn rest(&self) {
        let mut out = self.shared.out.borrow_mut();
        if out.is_empty() && out.capacity() > REST_BYTES_MAX {
            *out = Vec::new();
        }
    }

    /// Rung whenever fewer bytes may wait than before, and when the connection is over.
    pub fn room(&self) -> &Bell {
        &self.shared.room
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    /// Sends what waits: at once if the kernel takes it, by the writer task if not.
    pub fn flush(&self) {
        let shared = &self.shared;
        if shared.closed.get() || shared.blocked.get() {
            return;
        }
        let mut out = shared.out.borrow_mut();
        if out.is_empty() {
            return;
        }
        match shared.send(&out) {
            Ok(sent) if sent == out.len() => {
                out.clear();
                return;
            }
            Ok(sent) => drop(out.drain(..sent)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                drop(out);
                self.close();
                return;
            }
        }
        drop(out);
        shared.blocked.set(true);
        if !shared.has_writer.replace(true) {
            self.start_writer();
        }
        shared.bell.ring();
    }

    /// Has the system ask now and then whether the other side is there, and end the connection when it does not say so, or takes nothing,
    /// for `silence`; in seconds.
    pub fn notice_silence(&self, silence: Duration) -> io::Result<()> {
        let stream = &self.shared.stream;
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, silence / 2)?;
        sockopt::set_tcp_keepintvl(stream, silence / 8)?;
        self.give_up_after(silence)
    }

    /// Has the system end the connection when sent bytes are not acknowledged for `silence`.
    pub fn give_up_after(&self, silence: Duration) -> io::Result<()> {
        let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
        Ok(sockopt::set_tcp_user_timeout(&self.shared.stream, milliseconds)?)
    }

    /// Ends the connection both ways; the reader sees the end of the stream.
    pub fn close(&self) {
        if !self.shared.closed.replace(true) {
            // The peer may have gone first: there is nothing left to shut then.
            let _ = rustix::net::shutdown(&self.shared.stream, Shutdown::Both);
            self.shared.bell.ring();
            self.shared.room.ring();
        }
    }

    fn start_writer(&self) {
        let socket = self.clone();
        super::spawn(async move {
            loop {
                let bytes = std::mem::take(&mut *socket.out());
                if socket.is_closed() {
                    return;
                }
                if bytes.is_empty() {
                    socket.shared.blocked.set(false);
                    socket.shared.bell.wait().await;
                    continue;
                }
                if socket.shared.send_all(&bytes).await.is_err() {
                    return socket.close();
                }
                socket.shared.room.ring();
            }
        });
    }
}

impl Shared {
    fn send(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        rustix::net::send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }

    async fn send_all(&self, mut bytes: &[u8]) -> rustix::io::Result<()> {
        while !bytes.is_empty() {
            self.taken.set(bytes.len());
            match self.send(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::AGAIN) => {
                    self.stream.filled();
                    self.stream.writable().await;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.taken.set(0);
        Ok(())
    }
}

impl Reader {
    /// Reads some bytes into `buffer`; 0 is the end of the stream. Suspends now and then, even if the peer never stops
    /// sending.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.filled {
            super::breathe().await;
        }
        let stream = &self.shared.stream;
        loop {
            stream.readable().await;
            match rustix::net::recv(stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    self.filled = count == buffer.len();
                    // A stream that gives less than it may has no more.
                    if !self.filled {
                        stream.drained();
                    }
                    return Ok(count);
                }
                Err(Errno::AGAIN) => stream.drained(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
