//! What a shard wants done. The rim empties this after every turn.

use super::event::{Query, Ticket};
use crate::command::Outcome;
use crate::exchange::Word;
use crate::snapshot::{End, Header};
use crate::state_machine::ApplyRun;
use raft::entry::{Entries, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::message::Message;

/// The effects of one turn. Vectors are drained, not dropped, so that a turn allocates nothing in steady state.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages that may leave now, in order.
    pub messages: Vec<(GroupId, Message)>,
    /// Words to other cores, each to a node and its core, that may leave now, in order and before the messages.
    pub words: Vec<((u16, u16), Word)>,
    /// What to make durable under the number `persist_number`, in order.
    pub persist: Vec<Persist>,
    /// The number of this turn's `persist`; meaningless while that is empty.
    pub persist_number: u64,
    /// Runs for the store, in order.
    pub apply: Vec<ApplyRun>,
    /// Answers for clients.
    pub answers: Vec<(Ticket, Answer)>,
    /// Reads that the store may answer now.
    pub reads: Vec<StoreRead>,
    /// Old entries wanted for peers.
    pub fetch: Vec<(GroupId, raft::ready::Fetch)>,
    /// Old entries wanted for this node's own store.
    pub replay: Vec<Replay>,
    /// Snapshots that peers have granted: to be taken and sent.
    pub snapshots: Vec<SendSnapshot>,
    /// Snapshots that need not be sent any more, by group and receiver.
    pub snapshots_over: Vec<(GroupId, ReplicaId)>,
    /// What the store does with snapshots that came in, in order and behind `apply`.
    pub snapshot_steps: Vec<SnapshotStep>,
    /// Log starts to raise in the journal, as the store and the followers have what lies below.
    pub compact: Vec<(GroupId, LogId, Vec<u8>)>,
    /// The store should sync: the group's log has grown past its limit.
    pub want_store_sync: bool,
    /// How many replicas became leader; whoever counts takes it.
    pub elected: u64,
    /// How many reads a lease has confirmed; likewise.
    pub leased: u64,
}

/// A snapshot that a peer has granted. The rim takes it, sends it, and says how that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSnapshot {
    /// The group.
    pub group: GroupId,
    /// The replica of this node, which leads it.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// The term it leads in.
    pub term: Term,
    /// What it must cover at least; the store holds that.
    pub least: LogId,
}

/// What the store does with a snapshot that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotStep {
    /// Everything has come: check it, and switch to it.
    Install {
        /// What it is.
        header: Header,
        /// What ends it.
        end: End,
    },
    /// Drop what has come, and end the connection it comes on.
    Abandon {
        /// Of this group.
        group: GroupId,
    },
    /// The journal knows of the switch: the state before may go.
    DropReplaced {
        /// Of this group.
        group: GroupId,
    },
}

/// One group's share of what a turn makes durable.
#[derive(Debug)]
pub struct Persist {
    /// The group.
    pub group: GroupId,
    /// Term and vote, if they changed.
    pub hard_state: Option<HardState>,
    /// A new log start with the membership in force there, after a snapshot was installed.
    pub log_start: Option<(LogId, Vec<u8>)>,
    /// Entries; they replace everything from the first one's index on.
    pub entries: Entries,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The command was applied, with this outcome.
    Outcome(Outcome),
    /// It was not taken, or its fate is unknown.
    Refused(Refused),
}

/// Why a request was not carried out here. The rim words it for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing was written: the group is led by this replica, or by nobody known.
    NotLeader(Option<ReplicaId>),
    /// This core has no replica of the group.
    UnknownGroup,
    /// A key of the request lies in a slot of another group.
    NotOwner,
    /// Nothing was written: a queue is full. Come back.
    Busy,
    /// Nothing was written: the disk is nearly full.
    DiskFull,
    /// Nothing was written: the bytes are not a command this server takes.
    BadCommand(String),
    /// Nothing was written: a key or value is above the limit, in bytes.
    TooLarge(u64),
    /// The entry may still be committed by a later leader, or not.
    OutcomeUnknown,
    /// The replica has no sound state to answer from.
    NotServing,
}

/// A read that may be answered from what the store holds now or later.
#[derive(Debug)]
pub struct StoreRead {
    /// Who waits.
    pub ticket: Ticket,
    /// The group.
    pub group: GroupId,
    /// What to read.
    pub query: Query,
}

/// A request for old entries for the own store.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// The group.
    pub group: GroupId,
    /// First index wanted.
    pub from: Index,
    /// Last index wanted.
    pub last: Index,
    /// Stop after so many bytes, but bring at least one entry.
    pub bytes_max: usize,
}
