//! What a replica is told when it starts.

use crate::entry::{Entry, HardState, LogId};
use crate::ids::{Index, ReplicaId, Term};
use crate::membership::Membership;

/// The settings of one replica. They do not change while it runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who this replica is.
    pub id: ReplicaId,
    /// Where its random waits come from: the same seed and the same events give the same run.
    pub seed: u64,
    /// E, the election timeout in ticks, at least 8: a wait is drawn from E/2..=E, anew for each attempt; a leader that
    /// has not heard a quorum for E steps down.
    pub election_ticks: u32,
    /// Ticks between two heartbeats, at least 1 and at most E/8: who is sent entries may hear nothing for two of them, and whoever
    /// waits shortest stands for election after E/2.
    pub heartbeat_ticks: u32,
    /// Ticks without anything to do after which a leader puts its group to sleep, if the host lets it (rule 20). At
    /// least 1.
    pub idle_ticks: u32,
    /// AppendEntries that one peer may leave unanswered, at least 1.
    pub inflight_messages_max: usize,
    /// Bytes that one peer may leave unanswered. One message may go beyond.
    pub inflight_bytes_max: usize,
    /// Bytes of entries in one AppendEntries. One entry goes in any case.
    pub append_bytes_max: usize,
    /// Bytes of entries, applied and durable, that stay in memory for peers that lack them.
    pub window_bytes_max: usize,
    /// Bytes of entries that may wait for their commit before proposals are refused as busy.
    pub uncommitted_bytes_max: usize,
    /// How long after the beginning of a round that a quorum has confirmed this replica, leading, answers reads without another
    /// (rule 10), in microseconds of the clock that [`crate::Replica::collect_at`] is told; 0: never. At most the time of E/2
    /// less two ticks, whatever the clocks do to each other.
    pub lease: u64,
    /// Whether an earlier process may have confirmed a leader under this replica's id: it supports nobody for E/2 then.
    pub may_be_loyal: bool,
    /// Whether this replica stands for election. A host whose store lacks what the log starts from says no: the
    /// replica is *hollow* until a snapshot has come. It grants any that covers its log's start.
    pub may_campaign: bool,
}

/// What the disk remembers of a replica. A replica that never ran has an empty log from index 0.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Term and vote.
    pub hard_state: HardState,
    /// The entry before the first of the log.
    pub log_start: LogId,
    /// The membership in force at `log_start`; empty if this replica joins a group that does not know it yet.
    pub membership: Membership,
    /// The first index of each run of one term above `log_start`, ascending.
    pub terms: Vec<(Index, Term)>,
    /// The last index; that of `log_start` if the log is empty.
    pub last: Index,
    /// The memberships above `log_start`, ascending.
    pub memberships: Vec<(Index, Membership)>,
    /// A suffix of the log, contiguous up to `last`; may be empty.
    pub tail: Vec<Entry>,
    /// What the store holds. Everything up to here is committed.
    pub applied: Index,
}

/// What has become durable: what one earlier [`crate::ready::Ready`] asked for, told in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Persisted {
    /// The last of `Ready::entries`, if there were any.
    pub last: Option<LogId>,
    /// `Ready::hard_state`.
    pub hard_state: Option<HardState>,
    /// `Ready::log_start`.
    pub log_start: Option<LogId>,
}

impl Options {
    /// # Panics
    /// If a setting is outside its range: the host reads settings, and checks them before it gets here.
    pub(crate) fn assert_valid(&self) {
        assert!(
            self.heartbeat_ticks >= 1 && self.heartbeat_ticks <= self.election_ticks / 8,
            "a heartbeat every {} ticks cannot hold off an election after {}",
            self.heartbeat_ticks,
            self.election_ticks,
        );
        assert!(self.election_ticks <= 1 << 24, "an election timeout of {} ticks", self.election_ticks);
        assert!(self.idle_ticks >= 1, "a group that sleeps as soon as it wakes");
        assert!(self.inflight_messages_max >= 1, "a window without room for a message");
    }
}
