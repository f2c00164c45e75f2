//! What a shard is told, one thing at a time.

use crate::exchange::Word;
use crate::placement::map::ClusterMap;
use crate::placement::petition::Petition;
use crate::snapshot::{End, Header};
use crate::state_machine::AppliedRun;
use raft::entry::Entries;
use raft::ids::{GroupId, ReplicaId};
use raft::message::Message;

/// Who waits for an answer: a connection of this core and the number it gave the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The connection, as the rim numbers it.
    pub connection: u64,
    /// The request, as the client numbered it.
    pub request: u64,
    /// What it was charged for while it is in flight, in bytes; the answer gives them back.
    pub bytes: u32,
    /// What the rim wants to find again with the answer; nothing to the shard.
    pub mark: u64,
}

/// How much the journal needs the logs of its groups to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Each log may be as long as it may be.
    None,
    /// It holds more segments than it should: short logs are cut, too, but not for who is about to need no snapshot.
    Long,
    /// The disk has no room: whoever lacks what is cut gets a snapshot. Were a log held for one that takes no more because its own
    /// disk is full, that one would fill the disks of all.
    NoRoom,
}

/// What a reader wants from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The value of one key.
    Get {
        /// The key.
        key: Vec<u8>,
    },
    /// Entries of one group in key order.
    Scan {
        /// First key wanted.
        start: Vec<u8>,
        /// First key not wanted; `None` is the end of the group.
        end: Option<Vec<u8>>,
        /// How many entries at most.
        limit: u32,
    },
}

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// One tick of the raft clock has passed.
    Tick,
    /// A peer said something to a replica of this core.
    Message {
        /// The group it belongs to.
        group: GroupId,
        /// What it said; the rim has checked that `from` lives on the node that sent it.
        message: Message,
    },
    /// Another core said something that concerns many groups.
    Word {
        /// Its node and core, as the rim knows them from the connection.
        from: (u16, u16),
        /// What it said.
        word: Word,
    },
    /// A client wants a command carried out.
    Write {
        /// Who waits.
        ticket: Ticket,
        /// The group the client believes responsible.
        group: GroupId,
        /// The command as the client encoded it, unchecked.
        command: &'a [u8],
    },
    /// A client wants to read.
    Read {
        /// Who waits.
        ticket: Ticket,
        /// The group the client believes responsible.
        group: GroupId,
        /// What to read.
        query: Query,
        /// Whether an old answer from this replica will do.
        stale: bool,
    },
    /// Everything handed out under persist numbers up to this one is durable.
    Persisted {
        /// The highest durable number.
        through: u64,
    },
    /// The store has applied a run.
    Applied {
        /// What it did.
        run: AppliedRun,
        /// The bytes the run was charged with when it was handed out.
        bytes: usize,
    },
    /// Old entries for a peer have been read from the journal; `None`: they could not be read now.
    Fetched {
        /// The group.
        group: GroupId,
        /// The peer they are for.
        peer: ReplicaId,
        /// The entries, contiguous from the one asked for.
        entries: Option<Entries>,
    },
    /// Old entries for this replica's own store have been read from the journal.
    Replayed {
        /// The group.
        group: GroupId,
        /// The entries, contiguous from the one asked for; none if a snapshot has replaced them meanwhile.
        entries: Entries,
    },
    /// The store has synced: what it had applied of each group by then is durable.
    StoreSynced {
        /// Per group the applied index that is durable now.
        durable: Vec<(GroupId, raft::entry::LogId)>,
        /// How much the journal needs logs to be cut.
        pressure: Pressure,
    },
    /// A snapshot that is being sent has been taken.
    SnapshotTaken {
        /// The group.
        group: GroupId,
        /// The receiver.
        peer: ReplicaId,
        /// The last entry it covers.
        last: raft::entry::LogId,
    },
    /// A snapshot has been sent and installed, or will not be.
    SnapshotSent {
        /// The group.
        group: GroupId,
        /// The receiver.
        peer: ReplicaId,
        /// Whether it was installed.
        ok: bool,
    },
    /// Bytes of the snapshot that was let in have come, or would if the store of this node did not take so long.
    SnapshotBytes {
        /// The group.
        group: GroupId,
        /// How many in all.
        bytes: u64,
    },
    /// All chunks of a snapshot have come, and were given to the store.
    SnapshotWhole {
        /// What it is.
        header: Header,
        /// What ends it.
        end: End,
    },
    /// The store has switched to a snapshot, durably.
    SnapshotInstalled {
        /// What it is.
        header: Header,
    },
    /// What came was no snapshot: the store has dropped it.
    SnapshotBroken {
        /// The group.
        group: GroupId,
    },
    /// The connection to a peer node was lost.
    PeerLost {
        /// Its number.
        node: u16,
    },
    /// A core of another node has opened its stream; everything it says comes after this. What its process promises to a leader lasts as
    /// long as the leases of this one need, or does not: nodes may have different election timeouts. Who has never said it, or whose stream
    /// has ended, confirms nothing and counts as one that promises enough.
    PeerPromises {
        /// The node and its core.
        from: (u16, u16),
        /// Whether it lasts as long.
        enough: bool,
    },
    /// The cluster map has changed: this one was committed by group 0, here or on the node it came from.
    Map(&'a ClusterMap),
    /// A node that has lost its disk asks to come back.
    Petition(&'a Petition),
    /// Hand every leadership over: the node is about to stop.
    Drain,
    /// The disk is nearly full (`true`) or has room again.
    DiskFull(bool),
}
