//! One connection to one core of one host, and what the client knows of hosts.

use super::pending::Ticket;
use crate::frame::{BODY_BYTES_MAX, FrameError};
use crate::hello::{HelloError, HelloRefusal};
use crate::receive::RecvBuffer;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bytes a connection receives into, to begin with.
const RECV_BYTES: usize = 64 << 10;

/// With so many bytes unanswered, the next request waits. A node reads no further with 8 MiB (by default) or 16,384
/// requests of a connection in flight, or [`SCANS_MAX`] scans and one; this and a frame of the largest size are less, so a
/// ping always finds a reader.
const WINDOW_BYTES: usize = 3 << 20;

/// With so many scans unanswered, the next one waits, and lets other requests pass.
const SCANS_MAX: usize = 7;

/// What a node charges a request beyond its body, and so does the window.
const REQUEST_BYTES: usize = 256;

/// With so many bytes unsent, the next request waits. What is encoded leaves, however late; what waits may expire.
const UNSENT_BYTES: usize = 256 << 10;

/// Names one connection of one client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The shell opens it.
    Connecting,
    /// The hello has been written.
    Greeting,
    /// Frames may be written.
    Ready,
}

/// What requests take of a connection's window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charge {
    bytes: usize,
    scans: usize,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) host: usize,
    pub(super) core: u16,
    pub(super) stage: Stage,
    /// The shell is to be told that there is something to send.
    pub(super) to_be_sent: bool,
    /// The cluster the node says it belongs to; 0: none yet.
    pub(super) cluster: u128,
    /// Until when it must be ready.
    pub(super) ready_by: Duration,
    /// Which address of its host it was opened to first, as [`Host::address_turn`] was then.
    pub(super) address_turn: usize,
    /// Requests to write once it is ready and has room.
    pub(super) queued: VecDeque<Ticket>,
    /// Scans that were held back meanwhile; the next ones to write when one is answered.
    pub(super) held_back: VecDeque<Ticket>,
    pub(super) out: Out,
    pub(super) recv: RecvBuffer,
    /// Frames written and not answered.
    pub(super) unanswered: u32,
    /// What their requests are charged, all together.
    charged: Charge,
    /// What each of them is charged that nobody waits for any more, by its id on the wire.
    forsaken: BTreeMap<u64, Charge>,
    /// When it last went from idle to waiting, or gave a sign of life.
    pub(super) heard_at: Duration,
    /// When it was pinged since.
    pub(super) pinged_at: Option<Duration>,
    /// The network did not take all of the last send.
    cut_short: bool,
}

impl Connection {
    pub(super) fn new(host: usize, core: u16, ready_by: Duration, address_turn: usize) -> Connection {
        Connection {
            host,
            core,
            stage: Stage::Connecting,
            to_be_sent: false,
            cluster: 0,
            ready_by,
            address_turn,
            queued: VecDeque::new(),
            held_back: VecDeque::new(),
            out: Out::default(),
            recv: RecvBuffer::new(RECV_BYTES, BODY_BYTES_MAX),
            unanswered: 0,
            charged: Charge::default(),
            forsaken: BTreeMap::new(),
            heard_at: Duration::ZERO,
            pinged_at: None,
            cut_short: false,
        }
    }

    /// `count` bytes have been handed to the network. If it was full, the other side has taken some: a sign of life. What
    /// a network takes that has room says nothing of the other side.
    pub(super) fn sent(&mut self, count: usize, now: Duration) {
        self.out.sent(count);
        if self.cut_short && count > 0 {
            self.heard_at = now;
        }
        self.cut_short = !self.out.unsent().is_empty();
    }

    /// When it is late, if nothing happens: not ready in time, or to be pinged, or silent too long. Silence counts against a
    /// node that was pinged and had its time to answer, not against one nobody listened to.
    pub(super) fn late_at(&self, silence: Duration) -> Duration {
        let half = silence / 2;
        match (self.stage, self.pinged_at) {
            (Stage::Connecting | Stage::Greeting, _) => self.ready_by,
            (Stage::Ready, _) if self.unanswered == 0 => Duration::MAX,
            (Stage::Ready, None) => self.heard_at + half,
            (Stage::Ready, Some(pinged_at)) => (self.heard_at + silence).max(pinged_at + half),
        }
    }

    /// Whether another request may be written, whatever its size.
    pub(super) fn has_room(&self) -> bool {
        self.stage == Stage::Ready && self.charged.bytes < WINDOW_BYTES && self.out.unsent().len() < UNSENT_BYTES
    }

    /// Whether another scan may be written, if any request may.
    pub(super) fn has_room_for_scan(&self) -> bool {
        self.charged.scans < SCANS_MAX
    }

    /// The next request to write, if it still waits.
    pub(super) fn next_queued(&mut self) -> Option<Ticket> {
        let held_back = if self.has_room_for_scan() { self.held_back.pop_front() } else { None };
        held_back.or_else(|| self.queued.pop_front())
    }

    /// A request has been written, in a frame of `bytes` bytes. Gives back what it is charged.
    pub(super) fn charge(&mut self, bytes: usize, is_scan: bool) -> Charge {
        let charge = Charge { bytes: bytes + REQUEST_BYTES, scans: usize::from(is_scan) };
        self.charged.bytes += charge.bytes;
        self.charged.scans += charge.scans;
        charge
    }

    /// It is answered.
    pub(super) fn discharge(&mut self, charge: Charge) {
        let of = self.charged;
        assert!(of.bytes >= charge.bytes && of.scans >= charge.scans, "{charge:?} answered of {of:?}");
        self.charged = Charge { bytes: of.bytes - charge.bytes, scans: of.scans - charge.scans };
    }

    /// Nobody waits any more for the answer with this id; the node still owes it.
    pub(super) fn forsake(&mut self, id: u64, charge: Charge) {
        self.forsaken.insert(id, charge);
    }

    /// An answer came that nobody waits for.
    pub(super) fn discharge_forsaken(&mut self, id: u64) {
        let charge = self.forsaken.remove(&id).unwrap_or_default();
        self.discharge(charge);
    }
}

/// Bytes to send. Frames are encoded at its end; positions in the whole stream tell what has left.
#[derive(Debug, Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    start: usize,
    /// The position in the stream of `bytes[0]`.
    base: u64,
}

impl Out {
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Where frames are encoded. Only ever append.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn sent(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.start, "{count} bytes sent of {}", self.bytes.len() - self.start);
        self.start += count;
        // What has left goes when everything has, or when it is most of the buffer: moving the rest is then cheap.
        if self.start == self.bytes.len() || self.start > self.bytes.len() - self.bytes.len() / 4 {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(self.bytes.len() - self.start);
            self.base += self.start as u64;
            self.start = 0;
        }
    }

    /// The position up to which everything has left.
    pub(super) fn sent_position(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The position of the end of what has been written.
    pub(super) fn end_position(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }
}

/// One `host:port`, endpoint or node.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) address: String,
    /// Its number of shards, as it said itself.
    pub(super) shards: Option<u16>,
    /// By core and lane.
    pub(super) connections: BTreeMap<(u16, u16), ConnectionId>,
    /// Connections in a row that failed to open.
    pub(super) failures: u32,
    /// Whose turn it is of the addresses its name has: the next one's after one that was of no use.
    pub(super) address_turn: usize,
    /// Not before.
    pub(super) retry_at: Duration,
    /// Why a connection to it was of no use last.
    pub(super) trouble: Trouble,
}

impl Host {
    /// All connections to one of its cores.
    pub(super) fn to_core(&self, core: u16) -> impl Iterator<Item = ConnectionId> {
        self.connections.range((core, 0)..=(core, u16::MAX)).map(|(_, id)| *id)
    }
}

/// Why a connection was of no use.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It did not open, or broke. The next one may be better.
    Broken(String),
    /// The other side speaks another version of the protocol, or something else. So it will until it is replaced.
    Mismatch(String),
}

impl Trouble {
    /// For people.
    pub(super) fn why(&self) -> &str {
        match self {
            Trouble::Broken(why) | Trouble::Mismatch(why) => why,
        }
    }
}

impl From<HelloError> for Trouble {
    fn from(error: HelloError) -> Trouble {
        match error {
            HelloError::Magic | HelloError::Version { .. } | HelloError::Field { .. } => {
                Trouble::Mismatch(error.to_string())
            }
            HelloError::Crc => Trouble::Broken(error.to_string()),
        }
    }
}

impl From<HelloRefusal> for Trouble {
    fn from(refusal: HelloRefusal) -> Trouble {
        match refusal {
            HelloRefusal::Malformed | HelloRefusal::Version => Trouble::Mismatch(refusal.to_string()),
            _ => Trouble::Broken(refusal.to_string()),
        }
    }
}

impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Trouble {
        match error {
            FrameError::Version { .. } => Trouble::Mismatch(error.to_string()),
            FrameError::TooLarge { .. } | FrameError::Crc { .. } => Trouble::Broken(error.to_string()),
        }
    }
}

/// Every host the client has heard of, numbered in that order.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) list: Vec<Host>,
}

impl Hosts {
    /// The number of the host with this address, a new one if need be.
    pub(super) fn number(&mut self, address: &str) -> usize {
        if let Some(number) = self.list.iter().position(|host| host.address == address) {
            return number;
        }
        self.list.push(Host {
            address: address.to_owned(),
            shards: None,
            connections: BTreeMap::new(),
            failures: 0,
            address_turn: 0,
            retry_at: Duration::ZERO,
            trouble: Trouble::Broken(String::new()),
        });
        self.list.len() - 1
    }
}

/// One thing a shell must do for the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a TCP connection to `address` (resolve it anew, once for those opened together) and report `connected` or `lost`.
    Connect {
        /// Its name from now on.
        connection: ConnectionId,
        /// `host:port`.
        address: String,
        /// The core it will be for, as the hello that the core writes says.
        core: u16,
        /// Which of the addresses that the name has is to be tried first, counted around.
        address_turn: usize,
    },
    /// Close it; nothing is to be reported any more.
    Close {
        /// Which.
        connection: ConnectionId,
    },
}
