//! One bare connection to one node: what a client library would never do, or would hide.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use net::frame::{BODY_BYTES_MAX, Kind};
use net::hello::{HELLO_BYTES, Hello, HelloReply};
use net::receive::RecvBuffer;
use net::request::{ReadRequest, ScanRequest, write_read, write_scan};
use net::response::Response;

/// How long a node may take to accept and to answer the hello.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection behind its hello.
pub struct Wire {
    /// The socket.
    pub stream: TcpStream,
    buffer: RecvBuffer,
    last: u64,
}

impl Wire {
    /// Connects as a client; also if the node refuses, which the reply says.
    pub fn connect(address: &str) -> std::io::Result<(Wire, HelloReply)> {
        Wire::connect_as(address, false)
    }

    /// The same; with `forward`, the core that takes it passes requests on to the cores of their groups.
    pub fn connect_as(address: &str, forward: bool) -> std::io::Result<(Wire, HelloReply)> {
        let address: SocketAddr = address.parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let hello = Hello { forward, ..Hello::client(0, 0) };
        stream.write_all(&hello.encode())?;
        let mut reply = [0; HELLO_BYTES];
        stream.read_exact(&mut reply)?;
        let reply = HelloReply::decode(&reply).map_err(std::io::Error::other)?;
        Ok((Wire { stream, buffer: RecvBuffer::new(64 << 10, BODY_BYTES_MAX), last: 0 }, reply))
    }

    /// Sends a read of a key of a group; gives the id that its answer will bear.
    pub fn send_read(&mut self, group: u32, key: &[u8], stale: bool) -> std::io::Result<u64> {
        self.last += 1;
        let mut frame = Vec::new();
        write_read(&mut frame, group, self.last, &ReadRequest { key, stale });
        self.stream.write_all(&frame)?;
        Ok(self.last)
    }

    /// Sends a scan of a whole group; gives the id that its answer will bear.
    pub fn send_scan(&mut self, group: u32, limit: u32) -> std::io::Result<u64> {
        self.last += 1;
        let mut frame = Vec::new();
        write_scan(&mut frame, group, self.last, &ScanRequest { start: b"", end: None, limit, stale: true });
        self.stream.write_all(&frame)?;
        Ok(self.last)
    }

    /// Sends a command, as bytes, to a group; gives the id that its answer will bear.
    pub fn send_write(&mut self, group: u32, command: &[u8]) -> std::io::Result<u64> {
        self.last += 1;
        let mut frame = Vec::new();
        net::frame::write(&mut frame, Kind::Write, group, self.last, command);
        self.stream.write_all(&frame)?;
        Ok(self.last)
    }

    /// The next answer and the id of its request; `None` if none comes in time.
    pub fn receive(&mut self, patience: Duration) -> std::io::Result<Option<(u64, Response)>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.buffer.next_frame().map_err(std::io::Error::other)? {
                let response = Response::decode(frame.body).map_err(std::io::Error::other)?;
                return Ok(Some((frame.header.id, response)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(self.buffer.spare()) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.filled(count),
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the node closes the connection within `patience`.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        loop {
            match self.receive(patience) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
