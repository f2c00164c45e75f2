//! What is to be seen of a group from outside: for status, metrics and checkers.

use super::group::{Group, Serving};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::replica::Role;

/// What is to be seen of a group from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// What it is now.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows.
    pub leader: Option<ReplicaId>,
    /// Its commit index.
    pub commit: Index,
    /// What its store has applied.
    pub applied: Index,
    /// The first index its log still holds.
    pub first: Index,
    /// The last index of its log.
    pub last: Index,
    /// What it may do.
    pub serving: Serving,
    /// A change of its members is not over, as far as this replica knows: a majority of those that it takes out may still be needed.
    pub changing: bool,
    /// It comes in by a change that is not over, as far as it knows: those that it takes the place of still count.
    pub entering: bool,
    /// Snapshots installed since the start.
    pub snapshots_installed: u64,
}

impl Group {
    pub(super) fn view(&self) -> GroupView {
        GroupView {
            group: self.id,
            replica: self.replica.id(),
            role: self.replica.role(),
            term: self.replica.term(),
            leader: self.replica.leader(),
            commit: self.replica.commit(),
            applied: self.applied.index,
            first: self.replica.log_start().index.next(),
            last: self.replica.last().index,
            serving: self.serving,
            changing: self.is_changing(),
            entering: self.is_entering(),
            snapshots_installed: self.snapshots_installed,
        }
    }
}
