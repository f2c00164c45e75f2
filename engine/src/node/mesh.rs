//! What reaches a core from other threads: one inbox each, emptied by one task.
//!
//! The inbox has no limit of its own because every sender has one: the front hands over at most
//! `limits.connections` sockets, the store's threads answer for one table, one sync and one lack of each group, the journal's
//! thread for one batch, reads and forwarded requests are bounded by the requests a connection may have in flight, questions
//! of the admin port by its connections, each of which waits for the answer, if need be for two seconds.

use super::metrics::CoreMetrics;
use super::queue::{self, Inbox, Sender};
use super::status::CoreStatus;
use crate::store::Fetched;
use engine_core::journal::SegmentId;
use engine_core::placement::map::ClusterMap;
use engine_core::placement::petition::Petition;
use engine_core::shard::Ticket;
use engine_core::snapshot::{End, Header};
use net::hello::Hello;
use raft::entry::LogId;
use raft::ids::GroupId;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::{fmt, io};

/// What is done with an answer of a core, on its thread: it is handed to whoever asked.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// Hands the answer over by `give`, which must not wait.
    pub fn new(give: impl FnOnce(T) + Send + 'static) -> Reply<T> {
        Reply(Box::new(give))
    }

    /// An answer that another thread than a core's waits for. Whether it still does is its own affair.
    pub fn channel() -> (Reply<T>, flume::Receiver<T>)
    where
        T: Send + 'static,
    {
        let (sender, receiver) = flume::bounded(1);
        (Reply::new(move |answer| drop(sender.send(answer))), receiver)
    }

    /// Here it is.
    pub fn give(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// One message to a core.
#[derive(Debug)]
pub enum ToCore {
    /// A connection whose hello named this core.
    Connection {
        /// The socket, with everything behind the hello unread.
        socket: OwnedFd,
        /// What it said.
        hello: Hello,
        /// Whether it comes from this machine.
        local: bool,
    },
    /// A request of a simple client that is connected to another core of this node.
    Forwarded {
        /// The core that holds the connection.
        from: u16,
        /// Connection and request there.
        ticket: Ticket,
        /// The kind of the frame.
        kind: u8,
        /// The group it names.
        target: u32,
        /// The body of the frame.
        body: Vec<u8>,
    },
    /// The whole response frame to a forwarded request, its id already right.
    Reply {
        /// Connection and request of the receiving core.
        ticket: Ticket,
        /// The frame.
        frame: Vec<u8>,
    },
    /// The table on its way is in RocksDB.
    WrittenBack {
        /// How many keys it held.
        records: u64,
    },
    /// What an entry must know.
    Fetched(Fetched),
    /// The store has synced.
    StoreSynced(Vec<(GroupId, LogId)>),
    /// The reader thread stands at the beginning of a snapshot; `None`: there is no replica of its group.
    SnapshotOpened {
        /// Which one.
        id: u64,
        /// The last entry it covers and the membership there.
        found: Option<(LogId, Vec<u8>)>,
    },
    /// The reader thread has read a chunk.
    SnapshotRead {
        /// Of which snapshot.
        id: u64,
        /// The bytes; may be empty at the end.
        chunk: Vec<u8>,
        /// What ends it.
        end: Option<End>,
    },
    /// The store thread has written chunks of the snapshot that comes in.
    SnapshotWritten {
        /// Which snapshot.
        id: u64,
        /// All before this one.
        chunk: u64,
    },
    /// The store has switched to a snapshot.
    SnapshotInstalled(Header),
    /// What came was no snapshot, and is dropped.
    SnapshotBroken {
        /// Its group.
        group: GroupId,
        /// Which snapshot.
        id: u64,
    },
    /// The reader thread has an answer.
    Answer {
        /// For whom.
        ticket: Ticket,
        /// What.
        response: net::response::Response,
    },
    /// The journal's thread has written a batch, and synced it if it was to: its buffer.
    JournalWritten(Vec<u8>),
    /// The journal's thread waits for a descriptor, not for the disk.
    JournalShort,
    /// A zero-written, synced segment file stands ready.
    SpareReady(SegmentId),
    /// Something ran out that the file of a segment needs.
    SpareFailed {
        /// The segment.
        id: SegmentId,
        /// What it was to be made of.
        old: Option<SegmentId>,
        /// It is room on the disk.
        full: bool,
    },
    /// What the replicas of this core look like.
    Status(Reply<CoreStatus>),
    /// What the core has counted, for a scrape.
    Metrics(Reply<CoreMetrics>),
    /// The disk has passed its low-water mark, or has room again.
    DiskFull(bool),
    /// The cluster map has changed.
    Map(Arc<ClusterMap>),
    /// A node with an empty disk asks to come back.
    Petition(Petition),
    /// Hand leaders over, flush, end.
    Drain,
}

/// The sending ends of all cores of a node.
#[derive(Clone, Debug)]
pub struct Mesh {
    cores: Vec<Sender<ToCore>>,
}

impl Mesh {
    /// A mesh of `cores` inboxes and their receiving ends. Errors: no descriptor is left.
    pub fn new(cores: u16) -> io::Result<(Mesh, Vec<Inbox<ToCore>>)> {
        let made: Vec<_> = (0..cores).map(|_| queue::inbox()).collect::<io::Result<_>>()?;
        let (cores, inboxes) = made.into_iter().unzip();
        Ok((Mesh { cores }, inboxes))
    }

    /// How many cores there are.
    pub fn len(&self) -> u16 {
        self.cores.len() as u16
    }

    /// Gives `message` to `core`. A core that has ended reads it no more.
    pub fn send(&self, core: u16, message: ToCore) {
        if let Some(inbox) = self.cores.get(usize::from(core)) {
            inbox.send(message);
        }
    }
}
