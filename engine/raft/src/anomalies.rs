//! What was ignored because it must not happen.
//!
//! A message cannot make a replica panic (rule 26). What a sound group never sends is dropped and counted here, for
//! the host to show; the first three are alarms: somebody's disk or program has lied.

/// Counts since the replica was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Alarm: a peer acknowledged more than this leader's log holds, or lost what it had acknowledged (rule 7).
    pub regressed_peers: u64,
    /// Alarm: a leader's entries contradict committed ones (rule 4).
    pub committed_conflicts: u64,
    /// Alarm: a second replica claims to lead the same term (paper section 5.2).
    pub second_leaders: u64,
    /// Messages for another replica, or from this one.
    pub misdirected: u64,
    /// Messages whose content is impossible: gaps, falling terms, numbers beyond reason, an unreadable membership.
    pub malformed: u64,
    /// Votes asked for while a leader was heard within the shortest election timeout (thesis 4.2.3). Harmless.
    pub votes_ignored: u64,
    /// Fetched entries that nobody asked for, or that are not those of the log.
    pub fetches_ignored: u64,
    /// Reports of writes that were never asked for.
    pub writes_unknown: u64,
}
