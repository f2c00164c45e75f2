//! The fixed 64 bytes that open every connection, and the 64 bytes that answer them.
//!
//! The front thread of a node reads exactly the hello, under a deadline, and hands the connection to the core
//! that it names; that core answers. Plaintext, fixed size, no lengths: nothing is allocated for a stranger.
//!
//! ```text
//! hello   0 "KVDH"  4 version  5 role    6 flags (1 = forward)  7 zero
//!         8 core u16 (wanted)  10 node u16 (sender)  12 from_core u16 (sender's)  14 shards u16 (sender's)
//!        16 cluster u128  32 incarnation u64  40 start u64  48 election timeout u32 (sender's)  52 zero x 8
//!        60 crc32 of bytes 0..60
//! reply   0 "KVDR"  4 version  5 status  6 zero x 2
//!         8 core u16 (serving) 10 node u16 (answerer) 12 shards u16 (answerer's)  14 zero x 2
//!        16 cluster u128  32 incarnation u64  40 start u64  48 zero x 12  60 crc32 of bytes 0..60
//! ```
//!
//! Little endian. A cluster of 0 means "any" (a client that has not seen the map yet) or "none yet" (a node
//! before its founding). Peers also say incarnation (of the data directory) and start id (of the process): an
//! unknown incarnation is refused before any Raft message is read.

use std::fmt;

/// Bytes of a hello and of its reply.
pub const HELLO_BYTES: usize = 64;

/// The version this code speaks.
pub const HELLO_VERSION: u8 = 3;

const HELLO_MAGIC: [u8; 4] = *b"KVDH";
const REPLY_MAGIC: [u8; 4] = *b"KVDR";
const FLAG_FORWARD: u8 = 1;

/// Who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A client: requests and responses follow.
    Client = 1,
    /// A core of another node of the cluster: peer batches follow, both ways.
    Peer = 2,
    /// A node that looks for its cluster: founding queries and answers follow.
    Founding = 3,
    /// A core of another node that sends a snapshot: the frames of [`crate::snapshot`] follow.
    Snapshot = 4,
}

/// What the caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who is calling.
    pub role: Role,
    /// Requests for groups of other cores or nodes should be forwarded instead of refused (simple clients).
    pub forward: bool,
    /// The core that is wanted.
    pub core: u16,
    /// The number of the calling node; 0 for clients.
    pub node: u16,
    /// The core that calls; 0 for clients.
    pub from_core: u16,
    /// How many shards the calling node has; 0 for clients.
    pub shards: u16,
    /// The cluster the caller means; 0 = any, or none yet.
    pub cluster: u128,
    /// The incarnation of the calling node's data directory; 0 for clients.
    pub incarnation: u64,
    /// The start id of the calling process; 0 for clients.
    pub start: u64,
    /// The election timeout of the calling process in microseconds: half of it is what it promises to whoever it follows. 0 for
    /// clients.
    pub election_timeout: u32,
}

/// What the called node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloReply {
    /// Whether frames may follow. After a refusal the connection is closed.
    pub status: Result<(), HelloRefusal>,
    /// The core that serves this connection.
    pub core: u16,
    /// How many shards the answering node has: valid cores are below it.
    pub shards: u16,
    /// The number of the answering node; 0 before the founding.
    pub node: u16,
    /// Its cluster; 0 before the founding.
    pub cluster: u128,
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// The start id of its process.
    pub start: u64,
}

/// Why a connection was not accepted. The numbers are on the wire: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HelloRefusal {
    /// The bytes were no hello. Nothing the caller can do but be fixed.
    Malformed = 1,
    /// Another version of the hello. One of the two must be updated.
    Version = 2,
    /// The caller means another cluster. Its list of servers is wrong.
    WrongCluster = 3,
    /// A peer that is not in the map under that number and incarnation: a wiped disk, or a node not admitted yet.
    UnknownIncarnation = 4,
    /// There is no core of that number here. Ask again with a core below `shards`.
    NoSuchCore = 5,
    /// There are as many connections as there may be. Come back later.
    TooManyConnections = 6,
    /// The node is on its way out. Ask another.
    Stopping = 7,
    /// The node knows no cluster yet: peers wait for its founding.
    NotFormed = 8,
    /// The role may not be used from where the caller is.
    Forbidden = 9,
}

/// Why 64 bytes are no hello, or no reply. Close the connection; a hello may be answered with [`HelloError::refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else is talking.
    #[error("the peer does not speak this protocol")]
    Magic,
    /// Another version.
    #[error("the peer speaks version {version} of the hello, this side {HELLO_VERSION}")]
    Version {
        /// What it says.
        version: u8,
    },
    /// The bytes changed on their way.
    #[error("the hello's crc is wrong")]
    Crc,
    /// A role, flag, status or reserved field that this version does not know.
    #[error("the hello's {field} has the unknown value {value}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
}

impl HelloError {
    /// What to answer a caller whose hello could not be read.
    pub fn refusal(&self) -> HelloRefusal {
        match self {
            HelloError::Version { .. } => HelloRefusal::Version,
            HelloError::Magic | HelloError::Crc | HelloError::Field { .. } => HelloRefusal::Malformed,
        }
    }
}

impl Hello {
    /// The hello of a client that wants `core`, of any cluster if `cluster` is 0.
    pub fn client(core: u16, cluster: u128) -> Hello {
        Hello {
            role: Role::Client,
            forward: false,
            core,
            node: 0,
            from_core: 0,
            shards: 0,
            cluster,
            incarnation: 0,
            start: 0,
            election_timeout: 0,
        }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&HELLO_MAGIC);
        bytes[4] = HELLO_VERSION;
        bytes[5] = self.role as u8;
        bytes[6] = if self.forward { FLAG_FORWARD } else { 0 };
        bytes[8..10].copy_from_slice(&self.core.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.node.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.from_core.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.shards.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.election_timeout.to_le_bytes());
        seal(&mut bytes, self.cluster, self.incarnation, self.start);
        bytes
    }

    /// Reads a hello. Every bit counts: what this version does not know is an error.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Hello, HelloError> {
        unseal(bytes, HELLO_MAGIC)?;
        let role = match bytes[5] {
            1 => Role::Client,
            2 => Role::Peer,
            3 => Role::Founding,
            4 => Role::Snapshot,
            value => return Err(HelloError::Field { field: "role", value }),
        };
        if bytes[6] & !FLAG_FORWARD != 0 {
            return Err(HelloError::Field { field: "flags", value: bytes[6] });
        }
        zero(bytes, 7..8)?;
        zero(bytes, 52..60)?;
        Ok(Hello {
            role,
            forward: bytes[6] & FLAG_FORWARD != 0,
            core: half(bytes, 8),
            node: half(bytes, 10),
            from_core: half(bytes, 12),
            shards: half(bytes, 14),
            cluster: u128::from_le_bytes(array(bytes, 16)),
            incarnation: u64::from_le_bytes(array(bytes, 32)),
            start: u64::from_le_bytes(array(bytes, 40)),
            election_timeout: u32::from_le_bytes(array(bytes, 48)),
        })
    }
}

impl HelloReply {
    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&REPLY_MAGIC);
        bytes[4] = HELLO_VERSION;
        bytes[5] = match self.status {
            Ok(()) => 0,
            Err(refusal) => refusal as u8,
        };
        bytes[8..10].copy_from_slice(&self.core.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.node.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.shards.to_le_bytes());
        seal(&mut bytes, self.cluster, self.incarnation, self.start);
        bytes
    }

    /// Reads a reply.
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<HelloReply, HelloError> {
        unseal(bytes, REPLY_MAGIC)?;
        let status = match bytes[5] {
            0 => Ok(()),
            1 => Err(HelloRefusal::Malformed),
            2 => Err(HelloRefusal::Version),
            3 => Err(HelloRefusal::WrongCluster),
            4 => Err(HelloRefusal::UnknownIncarnation),
            5 => Err(HelloRefusal::NoSuchCore),
            6 => Err(HelloRefusal::TooManyConnections),
            7 => Err(HelloRefusal::Stopping),
            8 => Err(HelloRefusal::NotFormed),
            9 => Err(HelloRefusal::Forbidden),
            value => return Err(HelloError::Field { field: "status", value }),
        };
        zero(bytes, 6..8)?;
        zero(bytes, 14..16)?;
        zero(bytes, 48..60)?;
        Ok(HelloReply {
            status,
            core: half(bytes, 8),
            node: half(bytes, 10),
            shards: half(bytes, 12),
            cluster: u128::from_le_bytes(array(bytes, 16)),
            incarnation: u64::from_le_bytes(array(bytes, 32)),
            start: u64::from_le_bytes(array(bytes, 40)),
        })
    }
}

impl fmt::Display for HelloRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HelloRefusal::Malformed => "the hello could not be read",
            HelloRefusal::Version => "the node speaks another version of this protocol",
            HelloRefusal::WrongCluster => "the node belongs to another cluster",
            HelloRefusal::UnknownIncarnation => "the node does not know this incarnation of the caller",
            HelloRefusal::NoSuchCore => "the node has no core of that number",
            HelloRefusal::TooManyConnections => "the node has as many connections as it may have",
            HelloRefusal::Stopping => "the node is stopping",
            HelloRefusal::NotFormed => "the node has not found its cluster yet",
            HelloRefusal::Forbidden => "the node does not take this role from this address",
        })
    }
}

/// Writes what hello and reply share, and the crc.
fn seal(bytes: &mut [u8; HELLO_BYTES], cluster: u128, incarnation: u64, start: u64) {
    bytes[16..32].copy_from_slice(&cluster.to_le_bytes());
    bytes[32..40].copy_from_slice(&incarnation.to_le_bytes());
    bytes[40..48].copy_from_slice(&start.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
}

/// Checks what hello and reply share. The version stands before the crc: another version may sum differently.
fn unseal(bytes: &[u8; HELLO_BYTES], magic: [u8; 4]) -> Result<(), HelloError> {
    if bytes[..4] != magic {
        return Err(HelloError::Magic);
    }
    if bytes[4] != HELLO_VERSION {
        return Err(HelloError::Version { version: bytes[4] });
    }
    if u32::from_le_bytes(array(bytes, 60)) != crc32fast::hash(&bytes[..60]) {
        return Err(HelloError::Crc);
    }
    Ok(())
}

fn zero(bytes: &[u8; HELLO_BYTES], range: std::ops::Range<usize>) -> Result<(), HelloError> {
    match bytes[range].iter().find(|byte| **byte != 0) {
        Some(value) => Err(HelloError::Field { field: "reserved field", value: *value }),
        None => Ok(()),
    }
}

fn half(bytes: &[u8; HELLO_BYTES], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8; HELLO_BYTES], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
