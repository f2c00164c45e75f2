//! What can happen in a world.

use crate::nemesis::Relief;
use crate::transfer::{Thread, Word};
use engine_core::command::Outcome;
use engine_core::journal::{Extent, SegmentId};
use engine_core::placement::petition::Petition;
use engine_core::shard::effects::{Replay, StoreRead};
use engine_core::shard::{Query, Refused, Ticket};
use raft::ids::{GroupId, Index, ReplicaId};
use std::rc::Rc;

/// A core of one life of a process. What was planned for an earlier life does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the node.
    pub node: u16,
    /// The number of the core.
    pub core: u16,
    /// Which process of the node, from 1.
    pub life: u64,
}

/// One thing that happens.
#[derive(Debug)]
pub enum Happening {
    /// Something inside a process. Waits while the process is paused.
    Inside(Place, Inside),
    /// The write under way on a core's disk reaches the platters, whether the process looks or not.
    DiskWritten(Place, u64),
    /// Frames arrive.
    Frames {
        /// The core that sent them.
        from: (u16, u16),
        /// The core they are for.
        to: (u16, u16),
        /// Of which connection; an older one is gone.
        connection: u64,
        /// The frames.
        bytes: Rc<[u8]>,
    },
    /// A word on the connection of a snapshot arrives.
    Snapshot {
        /// The core that said it.
        from: (u16, u16),
        /// The core it is for.
        to: (u16, u16),
        /// Of which sending.
        thread: Thread,
        /// What was said.
        word: Word,
    },
    /// A client's request arrives.
    Request {
        /// The node and core.
        to: (u16, u16),
        /// Who waits.
        ticket: Ticket,
        /// What is wanted.
        request: Request,
    },
    /// An answer arrives at a client.
    Reply {
        /// Who waits.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// A client's slot has something to do, unless it has moved on since `step`.
    Client {
        /// The number of the client.
        client: usize,
        /// The number of its slot.
        slot: usize,
        /// The step the slot was at.
        step: u64,
    },
    /// The next fault.
    Fault,
    /// A fault ends.
    Relief(Relief),
    /// All faults end: from now on the world is kind.
    Peace,
    /// Every key is read once more.
    FinalReads,
    /// The end.
    End,
}

/// One thing inside a process.
#[derive(Debug)]
pub enum Inside {
    /// One tick of the raft clock.
    Tick,
    /// The turn ends.
    Turn,
    /// The write of a batch has completed.
    WriteDone(u64),
    /// 10 ms without a batch, unless the journal has moved on since.
    SealTime(u64),
    /// A spare segment is ready.
    SpareMade(SegmentId),
    /// The store thread has applied.
    StoreApplied,
    /// The store thread has synced.
    StoreSynced,
    /// The store thread has done something for a snapshot.
    StoreSnapshot,
    /// Old entries have been read for a peer.
    Fetched(GroupId, ReplicaId, Index, Vec<Extent>),
    /// Old entries are to be read for the store.
    Replay(Replay),
    /// Old entries have been read for the store.
    Replayed(GroupId, Index, Vec<Extent>),
    /// The reader thread has come to a read.
    Read(StoreRead),
    /// The connection to a node was lost.
    PeerLost(u16),
    /// The node is to hand over its leaderships and stop.
    Drain,
    /// A node with an empty disk asks to come back.
    Petition(Petition),
    /// The store holds a cluster map that the node may not know yet.
    MapStored,
    /// The node looks whether its disk is nearly full.
    DiskFull,
}

/// What a client wants of a core.
#[derive(Clone, Debug)]
pub enum Request {
    /// Carry out a command.
    Write(GroupId, Rc<[u8]>),
    /// Read.
    Read(GroupId, Query),
}

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The command was carried out.
    Outcome(Outcome),
    /// The value of a key.
    Value(Option<Vec<u8>>),
    /// A group's entries.
    Page(Vec<(Vec<u8>, Vec<u8>)>),
    /// It was not.
    Refused(Refused),
}
