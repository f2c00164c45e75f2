//! What every replica's journal was told, and what of it was promised: kept beside the journal, not asked of it.

use crate::happening::Place;
use crate::world::{Checked, Violation};
use engine_core::journal::RecoveredReplica;
use engine_core::shard::effects::Persist;
use raft::entry::{HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use std::collections::{BTreeMap, VecDeque};

/// See the module.
#[derive(Debug, Default)]
pub struct Account {
    replicas: BTreeMap<(u16, GroupId), Told>,
}

#[derive(Debug, Default)]
struct Told {
    core: u16,
    /// What is durable.
    hard_state: HardState,
    last: LogId,
    /// What is on its way, with the batch that brings it.
    pending: VecDeque<(u64, Change)>,
    /// The last entry it was ever told of.
    newest: LogId,
    /// What earlier lives were told and this one has not yet put behind it with a batch that is promised: a power
    /// cut may bring any of it to light.
    before: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    hard_state: Option<HardState>,
    last: Option<LogId>,
    entries: Vec<LogId>,
}

impl Account {
    /// A recovered replica must know everything that was promised, and nothing that was never told.
    pub fn kept(&self, node: u16, replica: &RecoveredReplica) -> Checked {
        let group = replica.state.group;
        let Some(told) = self.replicas.get(&(node, group)) else { return Ok(()) };
        let hard = replica.state.hard_state;
        let pending = || told.pending.iter().map(|(_, change)| change).chain(&told.before);
        let hard_is_known = hard == told.hard_state || pending().any(|change| change.hard_state == Some(hard));
        let last_is_known = replica.last == told.last || pending().any(|change| change.entries.contains(&replica.last));
        if !hard_is_known || !last_is_known {
            return Err(Violation(format!(
                "node {node} group {group} recovered {hard:?} and {:?}, but {:?} and {:?} were promised",
                replica.last, told.hard_state, told.last,
            )));
        }
        Ok(())
    }

    /// The journals of a node are gone.
    pub fn wiped(&mut self, node: u16) {
        self.replicas.retain(|(of, _), _| *of != node);
    }

    /// A replica starts from what was recovered, which `batch` promises.
    pub fn starts(&mut self, place: Place, group: GroupId, batch: u64, hard_state: HardState, last: LogId) {
        let told = self.replicas.entry((place.node, group)).or_default();
        told.core = place.core;
        told.newest = last;
        // What was promised before stays promised; what came to light beyond it waits for its batch.
        told.before.extend(told.pending.drain(..).map(|(_, change)| change));
        told.pending.push_back((batch, Change { hard_state: Some(hard_state), last: Some(last), entries: vec![last] }));
    }

    /// A turn is about to tell the journal something. Says whether that cuts entries off.
    pub fn told(&mut self, place: Place, persist: &Persist) -> bool {
        let told = self.replicas.get_mut(&(place.node, persist.group)).expect("it has started");
        let start = persist.log_start.as_ref().map(|(start, _)| *start);
        let last = persist.entries.last().map(|entry| entry.id()).or(start);
        let entries = start.into_iter().chain(persist.entries.iter().map(|entry| entry.id())).collect();
        told.pending.push_back((u64::MAX, Change { hard_state: persist.hard_state, last, entries }));
        let cut = persist.entries.first().is_some_and(|first| first.index <= told.newest.index);
        told.newest = last.unwrap_or(told.newest);
        cut
    }

    /// What was told last lies in `batch`, the journal says.
    pub fn lies_in(&mut self, place: Place, group: GroupId, batch: u64) {
        let told = self.replicas.get_mut(&(place.node, group)).expect("it has started");
        if let Some((number, _)) = told.pending.back_mut() {
            *number = batch;
        }
    }

    /// The journal of a core promises everything up to `batch`.
    pub fn promised(&mut self, place: Place, batch: u64) {
        for ((node, _), told) in &mut self.replicas {
            if *node != place.node || told.core != place.core {
                continue;
            }
            while told.pending.front().is_some_and(|(number, _)| *number <= batch) {
                let (_, change) = told.pending.pop_front().expect("there is a front");
                told.hard_state = change.hard_state.unwrap_or(told.hard_state);
                told.last = change.last.unwrap_or(told.last);
                told.before.clear();
            }
        }
    }

    /// A vote leaves only when it is durable.
    pub fn may_vote(&self, place: Place, group: GroupId, term: Term, candidate: ReplicaId) -> Checked {
        let told = &self.replicas[&(place.node, group)];
        let durable = told.hard_state;
        if durable.term > term || durable == (HardState { term, vote: Some(candidate) }) {
            return Ok(());
        }
        Err(Violation(format!(
            "node {} group {group} voted for {candidate} in term {term}, and its journal has promised {durable:?}",
            place.node
        )))
    }

    /// An acknowledgement in `term` leaves only when what it names is durable; or a later term is, whose leader may have cut
    /// that off again before it was ever written: nobody who has durably left a term is asked for its entries.
    pub fn may_accept(&self, place: Place, group: GroupId, term: Term, matched: Index) -> Checked {
        let Told { last, hard_state, .. } = &self.replicas[&(place.node, group)];
        if matched <= last.index || hard_state.term > term {
            return Ok(());
        }
        Err(Violation(format!(
            "node {} group {group} acknowledged entry {matched} in term {term}, and its journal has promised {last:?}",
            place.node
        )))
    }

    /// Nothing is applied that is not committed and durable here.
    pub fn may_apply(&self, place: Place, group: GroupId, last: Index, commit: Index) -> Checked {
        let durable = self.replicas[&(place.node, group)].last;
        if last <= commit && last <= durable.index {
            return Ok(());
        }
        Err(Violation(format!(
            "node {} group {group} applies {last}: committed is {commit}, its journal has promised {durable:?}",
            place.node
        )))
    }
}
