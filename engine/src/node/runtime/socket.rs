//! A TCP connection of a core: read by one task, written by whole turns.
//!
//! A turn appends to the out buffer and flushes once: one system call, no task switch. Only when the peer's
//! window is full does a writer task take over, until the buffer is empty again.

use super::bell::Bell;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use rustix::net::{SendFlags, Shutdown};
use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// The writing half, shared by all who answer on this connection.
#[derive(Clone, Debug)]
pub struct Socket {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The stream's own descriptor: one for each connection, as there may be many thousands.
    fd: RawFd,
    /// Keeps the descriptor open as long as anybody may write.
    _stream: Rc<RefCell<TcpStream>>,
    out: RefCell<Vec<u8>>,
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
    stream: Rc<RefCell<TcpStream>>,
    filled: bool,
}

impl Socket {
    /// Takes over a connected socket that was accepted or connected elsewhere.
    pub fn adopt(fd: OwnedFd) -> io::Result<(Socket, Reader)> {
        Socket::new(stream_of(fd))
    }

    /// Connects to `address` within `timeout`.
    pub async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<(Socket, Reader)> {
        Socket::new(TcpStream::connect_timeout(address, timeout).await?)
    }

    fn new(stream: TcpStream) -> io::Result<(Socket, Reader)> {
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd();
        let stream = Rc::new(RefCell::new(stream));
        let shared = Shared {
            fd,
            _stream: stream.clone(),
            out: RefCell::default(),
            blocked: Cell::new(false),
            has_writer: Cell::new(false),
            closed: Cell::new(false),
            bell: Bell::default(),
            room: Bell::default(),
        };
        Ok((Socket { shared: Rc::new(shared) }, Reader { stream, filled: false }))
    }

    /// The bytes that wait to be sent; append whole frames.
    pub fn out(&self) -> RefMut<'_, Vec<u8>> {
        self.shared.out.borrow_mut()
    }

    /// How many bytes wait to be sent.
    pub fn queued(&self) -> usize {
        self.shared.out.borrow().len()
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
        match rustix::net::send(shared.fd(), &out, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) if sent == out.len() => {
                out.clear();
                return;
            }
            Ok(sent) => drop(out.drain(..sent)),
            Err(error) if error == rustix::io::Errno::AGAIN || error == rustix::io::Errno::INTR => {}
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

    /// Has the system end the connection when sent bytes are not acknowledged for `silence`.
    pub fn give_up_after(&self, silence: Duration) -> io::Result<()> {
        let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(self.shared.fd(), milliseconds)?)
    }

    /// Ends the connection both ways; the reader sees the end of the stream.
    pub fn close(&self) {
        if !self.shared.closed.replace(true) {
            // The peer may have gone first: there is nothing left to shut then.
            let _ = rustix::net::shutdown(self.shared.fd(), Shutdown::Both);
            self.shared.bell.ring();
            self.shared.room.ring();
        }
    }

    fn start_writer(&self) {
        let Ok(fd) = self.shared.fd().try_clone_to_owned() else { return self.close() };
        let socket = self.clone();
        super::spawn(async move {
            let mut stream = stream_of(fd);
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
                if stream.write_all(&bytes).await.is_err() {
                    return socket.close();
                }
                socket.shared.room.ring();
            }
        });
    }
}

impl Shared {
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor, nobody takes it out of its cell, and it lives as long as `self`.
        #[allow(unsafe_code)]
        unsafe {
            BorrowedFd::borrow_raw(self.fd)
        }
    }
}

impl Reader {
    /// Reads some bytes into `buffer`; 0 is the end of the stream. Really suspends now and then, even if
    /// the peer never stops sending.
    // Only this one task reads: nobody else borrows the stream, and `&mut self` keeps a second read out.
    #[allow(clippy::await_holding_refcell_ref)]
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.filled {
            super::breathe().await;
        }
        let count = self.stream.borrow_mut().read(buffer).await?;
        self.filled = count == buffer.len();
        Ok(count)
    }
}

fn stream_of(fd: OwnedFd) -> TcpStream {
    // SAFETY: the descriptor is a connected TCP socket, given up by its owner and owned by the stream alone.
    #[allow(unsafe_code)]
    unsafe {
        TcpStream::from_raw_fd(fd.into_raw_fd())
    }
}
