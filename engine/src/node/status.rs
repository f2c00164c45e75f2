//! What a node says of itself, gathered from its cores.

use engine_core::shard::GroupView;
use net::status::ReplicaStatus;
use raft::replica::Role;

/// One core's share of a node's status.
#[derive(Debug)]
pub struct CoreStatus {
    /// Its replicas, ascending by group.
    pub replicas: Vec<ReplicaStatus>,
    /// Requests it has forwarded.
    pub forwarded: u64,
    /// Whether its replicas know their leaders and have applied what was committed.
    pub ready: bool,
}

/// A replica as the wire shows it.
pub fn replica(view: &GroupView) -> ReplicaStatus {
    ReplicaStatus {
        group: view.group.0,
        role: match view.role {
            Role::Follower => 0,
            Role::PreCandidate => 1,
            Role::Candidate => 2,
            Role::Leader => net::status::ROLE_LEADER,
            Role::Learner => net::status::ROLE_LEARNER,
        },
        term: view.term.0,
        commit: view.commit.0,
        applied: view.applied.0,
        first_log_index: view.first.0,
        last_log_index: view.last.0,
        leader: view.leader.map(|leader| leader.node()),
        snapshots_installed: view.snapshots_installed,
    }
}
