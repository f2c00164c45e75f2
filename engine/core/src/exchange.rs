//! What two cores of different nodes say to each other on behalf of all the groups they share.
//!
//! A core may hold thousands of groups, and mostly the same few nodes hold the other replicas of all of them. What is
//! true of many groups at once is said once for each pair of cores. Raft's own messages, each of one group,
//! are not here.
//!
//! Pure words: who says what and when is in `shard`, how it looks on the wire in `net`.

use raft::ids::{GroupId, ReplicaId, Term};

/// One thing that a core says to another.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub enum Word {
    /// A read round begins.
    Round(Round),
    /// The answer to [`Word::Round`].
    Answer(Answer),
    /// The core lives.
    Beat(Beat),
}

/// A sign of life of a core that has work to do and whose disk does it. It stands for the heartbeats of all groups that
/// the core leads and that sleep (rule 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Beat {
    /// The process that says it.
    pub start: u64,
    /// Grows with every beat of that process.
    pub sequence: u64,
    /// How often that process has given up the core it says this to, and has woken everything that rested on it.
    pub given_up: u64,
    /// It takes no leadership: it is about to end, or its disk is full.
    pub declines: bool,
}

/// Read rounds of many groups in one question: do you still follow me in these terms? (rule 9)
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Round {
    /// The process that asks, so that nobody takes an answer to a process that is gone for one to itself.
    pub start: u64,
    /// Grows with every round of that process.
    pub number: u64,
    /// The groups that wait.
    pub questions: Vec<Question>,
}

/// One group of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Question {
    /// The group.
    pub group: GroupId,
    /// The replica that is asked. A node whose disk was lost holds another one, which never speaks for the former (rule 7).
    pub to: ReplicaId,
    /// The term in which the asker leads it.
    pub term: Term,
}

/// What was found when a round arrived: its asker is followed in every group but those named.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Answer {
    /// `start` of the round.
    pub start: u64,
    /// `number` of the round.
    pub number: u64,
    /// Groups of the round that follow the asker not, or not in that term.
    pub refused: Vec<GroupId>,
}
