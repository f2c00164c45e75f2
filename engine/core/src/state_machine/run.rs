//! Entries on their way to the store, and what comes back.

use crate::command::Outcome;
use crate::sessions::{SessionKey, kept};
use raft::entry::{Entries, Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index};

/// Bytes of old values among the outcomes of one core that nobody has been told of yet: entries are short, and what they replace need
/// not be.
pub const OUTCOME_BYTES_MAX: usize = 16 << 20;

/// Committed and durable entries of one group, in log order without a gap, to be applied together.
///
/// Their payloads are the log's own, shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyRun {
    /// Which group.
    pub group: GroupId,
    /// The entries.
    pub entries: Entries,
    /// Whether somebody waits for the outcomes: the leader. Followers build none.
    pub answer: bool,
}

/// A run that is applied: visible to reads, and atomic with its sessions, but in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRun {
    /// Which group.
    pub group: GroupId,
    /// Its last entry.
    pub applied: LogId,
    /// What became of its commands, in log order; empty unless [`ApplyRun::answer`].
    pub outcomes: Vec<(Index, Outcome)>,
    /// Sessions it has used that hold more than `RUNS_CROWDED` runs, whether or not there are outcomes; hardly ever any.
    pub crowded: Vec<SessionKey>,
}

/// How far a run is applied: what is needed from the disk may come in its middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applying {
    /// The last applied entry of the group.
    pub applied: LogId,
    /// How many entries of the run are applied.
    pub entries: usize,
    /// See [`AppliedRun::outcomes`].
    pub outcomes: Vec<(Index, Outcome)>,
    /// Bytes of the values among them, but for those that a retry hears, too.
    pub outcome_bytes: usize,
    /// How many more there may be. A core's runs share [`OUTCOME_BYTES_MAX`]: whoever applies several sees to that.
    pub outcome_room: usize,
    /// See [`AppliedRun::crowded`], with repetitions.
    pub crowded: Vec<SessionKey>,
}

impl Applying {
    /// The beginning of a run for a group that stands at `applied`.
    pub fn after(applied: LogId) -> Applying {
        Applying {
            applied,
            entries: 0,
            outcomes: Vec::new(),
            outcome_bytes: 0,
            outcome_room: OUTCOME_BYTES_MAX,
            crowded: Vec::new(),
        }
    }

    /// Somebody waits for the outcome of an entry. When such values take too much memory, it hears what a retry would.
    pub fn answer(&mut self, index: Index, outcome: Outcome) {
        let bytes = match &outcome {
            Outcome::Old(Some(value)) | Outcome::Mismatch { current: Some(value) } => value.len(),
            _ => 0,
        };
        if bytes > self.outcome_room {
            return self.outcomes.push((index, kept(&outcome)));
        }
        self.outcome_room -= bytes;
        self.outcome_bytes += bytes;
        self.outcomes.push((index, outcome));
    }

    /// The whole run of this group is applied.
    pub fn finish(self, group: GroupId) -> AppliedRun {
        let Applying { applied, outcomes, mut crowded, .. } = self;
        crowded.sort_unstable();
        crowded.dedup();
        AppliedRun { group, applied, outcomes, crowded }
    }
}

impl ApplyRun {
    /// What it costs in a queue or backlog, in bytes: the payloads and a fixed share per entry.
    pub fn charge(&self) -> usize {
        self.entries.iter().map(|entry| entry.payload.len() + 64).sum()
    }

    /// Appends an entry.
    pub fn push(&mut self, id: LogId, kind: EntryKind, payload: &[u8]) {
        self.entries.push(Entry { term: id.term, index: id.index, kind, payload: payload.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_run_beyond_their_room_are_not_kept_for_the_answer() {
        let mut done = Applying::after(LogId::default());
        let large = Outcome::Old(Some(vec![7; OUTCOME_BYTES_MAX / 2]));
        let small = Outcome::Mismatch { current: Some(vec![7; 10]) };
        for outcome in [&large, &large, &large, &small, &Outcome::Done] {
            done.answer(Index(1), outcome.clone());
        }
        let outcomes: Vec<Outcome> = done.outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(outcomes, [large.clone(), large, Outcome::AlreadyApplied, small, Outcome::Done]);
    }
}
