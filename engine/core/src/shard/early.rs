//! Which writes may be answered as soon as they are committed.
//!
//! A put, delete or batch that returns nothing old has one outcome, [`Outcome::Done`], unless its session is not there
//! when its turn comes. What is committed will be applied, so the leader can answer it before the store has it, if it can
//! prove that the session will be there. The store's own answers are where the proofs start, and they extend:
//!
//! - A session that the entry i has used goes only if the group is full when another is opened, and then only if it is
//!   among the `SESSIONS_EVICTED_AT_ONCE` that were used longest ago, or when it holds `RUNS_MAX` runs.
//! - The first needs `SESSIONS_MAX - SESSIONS_EVICTED_AT_ONCE` sessions that were used after i, and an entry uses one. So
//!   within [`PROOF_ENTRIES_MAX`] entries behind i it is there.
//! - An entry adds at most one run. The store names the sessions with more than half of `RUNS_MAX` ([`AppliedRun::crowded`]),
//!   and these prove nothing; any other is not full within the other half of entries behind what is applied.
//! - An entry j that is answered by this rule uses the session itself, so it proves it from j on.
//!
//! A proof is about the committed log, not about who leads: it outlives a term. Lives in a group of a shard.

use crate::command::Outcome;
use crate::sessions::{RUNS_CROWDED, RUNS_MAX, SESSIONS_EVICTED_AT_ONCE, SESSIONS_MAX, SessionKey};
use raft::ids::Index;
use std::collections::BTreeMap;

#[cfg(doc)]
use crate::state_machine::AppliedRun;

/// So far a session reaches that was seen at an entry.
const PROOF_ENTRIES_MAX: u64 = (SESSIONS_MAX - SESSIONS_EVICTED_AT_ONCE) as u64 / 2;

/// So far what is committed may be ahead of what is applied.
const LAG_ENTRIES_MAX: u64 = (RUNS_MAX - RUNS_CROWDED) as u64;

/// A session as a command names it: the key, and the Open it relies on.
pub type Named = (SessionKey, Index);

/// The sessions of one group that are proved to be there, with the last entry that proves it. As many as were
/// used within the reach of a proof, about.
#[derive(Debug, Default)]
pub struct Early {
    seen: BTreeMap<Named, Index>,
    /// What the last sweep left; the next comes when there are twice as many.
    swept: usize,
}

impl Early {
    /// Whether the committed entry `index`, the next to be answered, a blind write under `session`, is sure to be done when
    /// the store comes to it, which has come to `applied`.
    pub fn is_sure(&mut self, session: Named, index: Index, applied: Index) -> bool {
        let Some(seen) = self.seen.get_mut(&session) else { return false };
        let sure =
            index.0.saturating_sub(seen.0) <= PROOF_ENTRIES_MAX && index.0.saturating_sub(applied.0) <= LAG_ENTRIES_MAX;
        if sure {
            *seen = index.max(*seen);
        }
        sure
    }

    /// The store has answered the entry `index`, which named `session`.
    pub fn answered(&mut self, session: Named, index: Index, outcome: &Outcome) {
        let named = match outcome {
            Outcome::Opened { session: opened } => (session.0, *opened),
            Outcome::SessionEvicted | Outcome::Refused(_) => {
                self.seen.remove(&session);
                return;
            }
            _ => session,
        };
        let seen = self.seen.entry(named).or_insert(index);
        *seen = index.max(*seen);
        if self.seen.len() > 2 * self.swept.max(64) {
            self.seen.retain(|_, seen| index.0.saturating_sub(seen.0) <= PROOF_ENTRIES_MAX);
            self.swept = self.seen.len();
        }
    }

    /// Sessions that may be full soon. To be told after the answers of the same run.
    pub fn crowded(&mut self, sessions: &[SessionKey]) {
        if !sessions.is_empty() {
            self.seen.retain(|(key, _), _| !sessions.contains(key));
        }
    }

    /// A snapshot has replaced what the store had: nobody has looked at the sessions on the way there.
    pub fn forget(&mut self) {
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{self, ClientId, Command, Operation, SessionRef};
    use crate::state_machine::ApplyRun;
    use crate::state_machine::model::Model;
    use raft::entry::{EntryKind, LogId};
    use raft::ids::{GroupId, ReplicaId, Term};

    const GROUP: GroupId = GroupId(1);

    /// A log, how far a store of maps has applied it, and what was promised of the rest.
    struct World {
        model: Model,
        early: Early,
        last: u64,
        applied: u64,
        /// Committed and not applied: the session named, and whether it was answered ahead of the store.
        ahead: Vec<(Vec<u8>, Named, bool)>,
        sure: u64,
        evicted: u64,
    }

    impl World {
        fn new() -> World {
            let mut model = Model::new();
            model.create_replica(GROUP, ReplicaId(1), b"founders");
            World { model, early: Early::default(), last: 0, applied: 0, ahead: Vec::new(), sure: 0, evicted: 0 }
        }

        fn commit(&mut self, client: u128, opened: u64, sequence: u64, acknowledged: u64) -> u64 {
            self.last += 1;
            let blind = opened > 0;
            let put = Operation::Put { key: vec![1], value: vec![2], return_old: false };
            let command = command::encode(&Command {
                client: ClientId(client),
                sequence,
                acknowledged,
                session: SessionRef { group: GROUP, opened: Index(opened) },
                operation: if blind { put } else { Operation::Open },
            });
            let named = (SessionKey { client: ClientId(client), origin: GROUP }, Index(opened));
            let sure = blind && self.early.is_sure(named, Index(self.last), Index(self.applied));
            self.sure += u64::from(sure);
            self.ahead.push((command, named, sure));
            self.last
        }

        /// The store comes to the first `entries` of those it lacks, and every promise is held against what it says.
        fn apply(&mut self, entries: usize) {
            let mut run = ApplyRun { group: GROUP, answer: true, ..ApplyRun::default() };
            let entries: Vec<_> = self.ahead.drain(..entries.min(self.ahead.len())).collect();
            for (command, ..) in &entries {
                self.applied += 1;
                run.push(LogId { term: Term(1), index: Index(self.applied) }, EntryKind::Command, command);
            }
            let done = self.model.apply(&[run]).remove(0);
            for ((index, outcome), (_, named, sure)) in done.outcomes.into_iter().zip(entries) {
                self.evicted += u64::from(outcome == Outcome::SessionEvicted);
                if sure {
                    assert!(matches!(outcome, Outcome::Done), "{named:?} at {index:?}: {outcome:?}");
                } else {
                    self.early.answered(named, index, &outcome);
                }
            }
            self.early.crowded(&done.crowded);
        }
    }

    #[test]
    fn what_is_answered_ahead_of_the_store_is_what_the_store_says() {
        let mut world = World::new();
        let mut seed = 1_u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        // Each writes at its own pace: often, or so seldom that newcomers push its session out.
        let mut writers: Vec<(u64, u64)> = (0..100).map(|client| (world.commit(client, 0, 0, 0), 0)).collect();
        let mut newcomers = 1_000_000;
        for step in 0..60_000_u64 {
            if draw(3) > 0 {
                newcomers += 1;
                world.commit(newcomers, 0, 0, 0);
            } else {
                let client = match draw(4) {
                    0 => draw(100),
                    _ => step / 5_000 % 100,
                };
                let (opened, sequence) = &mut writers[client as usize];
                *sequence += 1;
                world.commit(u128::from(client), *opened, *sequence, *sequence - 1);
            }
            if draw(2_000) == 0 || world.ahead.len() > 6_000 {
                world.apply(draw(6_000) as usize);
            }
        }
        world.apply(usize::MAX);
        assert!(world.sure > 5_000 && world.evicted > 100, "{} sure, {} evicted", world.sure, world.evicted);
    }

    #[test]
    fn a_session_that_may_be_full_promises_nothing() {
        let mut world = World::new();
        let opened = world.commit(1, 0, 0, 0);
        world.apply(1);
        // Every other sequence: no two are neighbours, and nothing is ever acknowledged.
        for sequence in 1..=2 * RUNS_MAX as u64 {
            world.commit(1, opened, 2 * sequence, 0);
            if world.ahead.len() == 3_000 {
                world.apply(3_000);
            }
        }
        world.apply(usize::MAX);
        assert!(world.sure > RUNS_CROWDED as u64 / 2 && world.evicted > 0, "{} {}", world.sure, world.evicted);
    }

    #[test]
    fn a_session_that_may_be_full_promises_nothing_after_an_open_or_a_retry_either() {
        for retries in [false, true] {
            let mut world = World::new();
            let opened = world.commit(1, 0, 0, 0);
            for sequence in 1..=RUNS_MAX as u64 {
                world.commit(1, opened, 2 * sequence, 0);
            }
            world.apply(usize::MAX);
            // Alone in its run, and of a leader that has heard of nothing else of this session.
            world.early.forget();
            match retries {
                true => world.commit(1, opened, 2, 0),
                false => world.commit(1, 0, 0, 0),
            };
            world.apply(1);
            world.commit(1, opened, 3 * RUNS_MAX as u64, 0);
            world.apply(1);
            assert_eq!(world.evicted, 1);
        }
    }

    #[test]
    fn a_snapshot_ends_every_proof() {
        let mut early = Early::default();
        let named = (SessionKey { client: ClientId(1), origin: GROUP }, Index(1));
        early.answered(named, Index(2), &Outcome::Done);
        assert!(early.is_sure(named, Index(3), Index(2)));
        early.forget();
        assert!(!early.is_sure(named, Index(4), Index(2)));
    }
}
