//! What replicas of one group say to each other. Messages may be lost, repeated and reordered; none may be forged.

use crate::entry::{Entries, LogId};
use crate::ids::{Index, ReplicaId, Term};
use crate::membership::Membership;

/// One message from one replica to another of the same group.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who says it.
    pub from: ReplicaId,
    /// Who is meant.
    pub to: ReplicaId,
    /// The sender's term; for [`Body::PreVote`] and a granted [`Body::PreVoteReply`] the term it would campaign in.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// Messages that leave together. It is one nearly always, which lies in the list itself.
pub type Messages = smallvec::SmallVec<[Message; 1]>;

/// What is said. Each variant has exactly the fields it needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Would you vote for me? (thesis 9.6). Promises nothing, changes nobody's term.
    PreVote {
        /// The last entry of the asker's log.
        last: LogId,
    },
    /// The answer to [`Body::PreVote`].
    PreVoteReply {
        /// Whether a vote would be granted.
        granted: bool,
    },
    /// RequestVote (paper section 5.2).
    Vote {
        /// The last entry of the candidate's log.
        last: LogId,
        /// The leader itself asked for this election: skip the check for a live leader (thesis 3.10).
        transfer: bool,
    },
    /// The answer to [`Body::Vote`]; a grant leaves only when the vote is durable (rule 1).
    VoteReply {
        /// Whether the vote was granted.
        granted: bool,
    },
    /// AppendEntries (paper section 5.3).
    Append {
        /// The entry just before `entries`.
        prev: LogId,
        /// The leader's commit index.
        commit: Index,
        /// The entries, contiguous from `prev.index + 1`; empty for a probe.
        entries: Entries,
    },
    /// The answer to [`Body::Append`].
    AppendReply(AppendReply),
    /// The leader is alive. Carries the commit index, bounded by what the follower is known to have.
    Heartbeat {
        /// min(leader's commit index, match index of the receiver).
        commit: Index,
        /// The read round this beat belongs to (rule 9); rounds only grow within a term.
        round: u64,
        /// The lowest match index over all members, learners included: every member holds the log durably up to
        /// here, so nobody needs it from a peer. A follower keeps the highest it was told in the present term
        /// (`Replica::settled`; a leader computes its own); hosts compact no further.
        settled: Index,
    },
    /// The answer to [`Body::Heartbeat`] and to [`Body::Ask`].
    HeartbeatReply {
        /// The round of what is answered.
        round: u64,
    },
    /// The leader's log no longer reaches back to what you lack: may I send a snapshot? (rule 22)
    SnapshotOffer {
        /// The last entry the snapshot covers, at least.
        last: LogId,
    },
    /// The receiver has room for a snapshot; the host now moves the bytes on a connection of their own.
    SnapshotGrant {
        /// The `last` of the offer that is granted.
        last: LogId,
    },
    /// Bytes are still coming in: keep the peer in snapshot state.
    SnapshotProgress {
        /// Bytes received so far.
        bytes: u64,
    },
    /// Leader to its chosen successor: campaign now (thesis 3.10).
    TimeoutNow,
    /// My log is sound, my store is not: I vote and take entries, and want a snapshot.
    SnapshotRequest {
        /// The entry before my log's first: what the snapshot must cover at least.
        least: Index,
    },
    /// Do you still follow me? The question of a read round; the answer is [`Body::HeartbeatReply`]. It tells nothing
    /// else, so a host may put the questions of all its groups to one neighbour into one message.
    Ask {
        /// The round that asks (rule 9).
        round: u64,
    },
    /// A heartbeat of a leader that has nothing to say any more, to a group that has nothing to hear: sleep with me (rule 20).
    Sleep {
        /// The leader's commit index, which is the end of its log and of every other member's.
        commit: Index,
        /// Which of the leader's attempts to put the group to sleep this is; grows within a term.
        attempt: u64,
    },
    /// The answer to [`Body::Sleep`] of a replica that sleeps now. It promises nothing. Others answer as to a heartbeat.
    Asleep {
        /// The attempt that is answered.
        attempt: u64,
    },
}

/// Whether entries were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReply {
    /// Everything up to `matched` equals the leader's log and is durable here.
    /// It is `prev + number of entries` of the request that is answered, never "my last index" (rule 4).
    Accepted {
        /// The last index known to match.
        matched: Index,
    },
    /// `prev` is not in this log.
    Rejected {
        /// The `prev.index` that was refused.
        prev: Index,
        /// Where to try next: the last entry here at or before `prev` whose term is at most `prev`'s.
        hint: LogId,
        /// The last index of this log.
        last: Index,
    },
}

/// A snapshot that the host has made durable and that replaces the log up to `last`.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotInstalled {
    /// The last entry the snapshot covers.
    pub last: LogId,
    /// The membership in force at `last`.
    pub membership: Membership,
}
