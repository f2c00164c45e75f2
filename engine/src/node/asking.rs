//! One question to another node of the list, over a connection of its own.
//!
//! For plain threads: it blocks, but for no more than a few seconds.

use net::frame::{BODY_BYTES_MAX, Kind};
use net::hello::{HELLO_BYTES, Hello, HelloReply, Role};
use net::receive::RecvBuffer;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends the frame that `write` appends to the node at `address`; gives the body of the answer, which must be of kind `wanted`.
pub fn ask(address: &str, wanted: Kind, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<Vec<u8>> {
    ask_member(None, PATIENCE, address, wanted, write)
}

/// The same of a node that may take as long as `patience` for each step, and whose hello must name the cluster and the incarnation of
/// `member`.
pub fn ask_member(
    member: Option<(u128, u64)>,
    patience: Duration,
    address: &str,
    wanted: Kind,
    write: impl FnOnce(&mut Vec<u8>),
) -> io::Result<Vec<u8>> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut out = Hello { role: Role::Founding, ..Hello::client(0, 0) }.encode().to_vec();
    write(&mut out);
    stream.write_all(&out)?;
    let mut reply = [0; HELLO_BYTES];
    stream.read_exact(&mut reply)?;
    let reply = HelloReply::decode(&reply).map_err(io::Error::other)?;
    reply.status.map_err(|refusal| io::Error::other(refusal.to_string()))?;
    if member.is_some_and(|member| member != (reply.cluster, reply.incarnation)) {
        return Err(io::Error::other("another data directory answers there"));
    }
    let mut buffer = RecvBuffer::new(4096, BODY_BYTES_MAX);
    loop {
        let count = stream.read(buffer.spare())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.filled(count);
        // Whoever sends a byte now and then would hold the asker for ever.
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if let Some(frame) = buffer.next_frame().map_err(io::Error::other)? {
            return match frame.header.kind() == Some(wanted) {
                true => Ok(frame.body.to_vec()),
                false => Err(io::ErrorKind::InvalidData.into()),
            };
        }
    }
}
