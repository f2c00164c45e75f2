//! What every replica's journal was told, and what of it was promised: kept beside the journal, not asked of it.

use crate::happening::Place;
use crate::world::{Checked, Violation};
use engine_core::journal::RecoveredReplica;
use engine_core::shard::effects::Persist;
use raft::entry::{Entry, HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::replica::Restored;
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
    durable: Entries,
    /// What is on its way, with the batch that brings it.
    pending: VecDeque<(u64, Change)>,
    /// What it was told of last, durable or not.
    term: Term,
    newest: Entries,
    /// What earlier lives were told and this one has not yet put behind it with a batch that is promised: a power
    /// cut may bring any of it to light.
    before: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    hard_state: Option<HardState>,
    /// The log is empty behind this.
    start: Option<LogId>,
    /// They replace everything from the first one on.
    entries: Vec<LogId>,
    /// They are what was recovered at a start: all of them, as some of them may have been promised before.
    recovered: bool,
}

/// The entries of a log. What is cut off at its beginning stays here.
#[derive(Clone, Debug, Default)]
struct Entries {
    start: LogId,
    terms: BTreeMap<Index, Term>,
}

impl Entries {
    fn change(&mut self, change: &Change) {
        if let Some(start) = change.start {
            *self = Entries { start, terms: BTreeMap::new() };
        }
        if let Some(first) = change.entries.first() {
            self.terms.split_off(&first.index);
        }
        self.terms.extend(change.entries.iter().map(|entry| (entry.index, entry.term)));
    }

    fn last(&self) -> LogId {
        self.terms.last_key_value().map_or(self.start, |(index, term)| LogId { index: *index, term: *term })
    }

    fn term_of(&self, index: Index) -> Option<Term> {
        if index == self.start.index { Some(self.start.term) } else { self.terms.get(&index).copied() }
    }

    fn contains(&self, id: LogId) -> bool {
        self.term_of(id.index) == Some(id.term)
    }
}

impl Change {
    fn contains(&self, id: LogId) -> bool {
        self.start == Some(id) || self.entries.contains(&id)
    }

    /// Whether a log may end there if no more of this came to the disk.
    fn may_end_in(&self, id: LogId) -> bool {
        match self.recovered {
            true => self.entries.last().copied().or(self.start) == Some(id),
            false => self.contains(id),
        }
    }
}

/// The entries of a log of these runs of terms.
fn entries(start: LogId, terms: &[(Index, Term)], last: Index) -> Vec<LogId> {
    let ends = terms.iter().skip(1).map(|run| run.0.0).chain([last.0 + 1]);
    let runs = terms.iter().zip(ends).flat_map(|(&(first, term), end)| {
        (first.0.max(start.index.0 + 1)..end).map(move |index| LogId { term, index: Index(index) })
    });
    runs.collect()
}

impl Account {
    /// A recovered replica must know everything that was promised, and nothing that was never told.
    pub fn kept(&self, node: u16, replica: &RecoveredReplica) -> Checked {
        let group = replica.state.group;
        let Some(told) = self.replicas.get(&(node, group)) else { return Ok(()) };
        let hard = replica.state.hard_state;
        let pending = || told.pending.iter().map(|(_, change)| change).chain(&told.before);
        let hard_is_known = hard == told.hard_state || pending().any(|change| change.hard_state == Some(hard));
        let last_is_known = replica.last == told.durable.last() || pending().any(|it| it.may_end_in(replica.last));
        let wrong = |what: &str| {
            Err(Violation(format!(
                "node {node} group {group} recovered {hard:?} and {:?}, but {:?} and {:?} were promised: {what}",
                replica.last,
                told.hard_state,
                told.durable.last(),
            )))
        };
        if !hard_is_known || !last_is_known {
            return wrong("another end");
        }
        let start = replica.state.log_start;
        if start.index < told.durable.start.index {
            return wrong("a log that restarted begins where it did before");
        }
        let known = |id: &LogId| told.durable.contains(*id) || pending().any(|change| change.contains(*id));
        let all = entries(start, &replica.terms, replica.last.index);
        match [start].iter().chain(&all).find(|id| !known(id)) {
            Some(id) => wrong(&format!("{id:?} was never told")),
            None => Ok(()),
        }
    }

    /// The journals of a node are gone.
    pub fn wiped(&mut self, node: u16) {
        self.replicas.retain(|(of, _), _| *of != node);
    }

    /// A replica starts from what was recovered, which `batch` promises.
    pub fn starts(&mut self, place: Place, group: GroupId, batch: u64, restored: &Restored) {
        let told = self.replicas.entry((place.node, group)).or_default();
        told.core = place.core;
        // What was promised before stays promised; what came to light beyond it waits for its batch.
        told.before.extend(told.pending.drain(..).map(|(_, change)| change));
        let start = restored.log_start;
        let change = Change {
            hard_state: Some(restored.hard_state),
            start: Some(start),
            entries: entries(start, &restored.terms, restored.last),
            recovered: true,
        };
        told.term = restored.hard_state.term;
        told.newest.change(&change);
        told.pending.push_back((batch, change));
    }

    /// A turn is about to tell the journal something. Says whether that cuts entries off.
    pub fn told(&mut self, place: Place, persist: &Persist) -> bool {
        let told = self.replicas.get_mut(&(place.node, persist.group)).expect("it has started");
        let start = persist.log_start.as_ref().map(|(start, _)| *start);
        let entries = persist.entries.iter().map(|entry| entry.id()).collect();
        let change = Change { hard_state: persist.hard_state, start, entries, recovered: false };
        let cut = persist.entries.first().is_some_and(|first| first.index <= told.newest.last().index);
        told.term = change.hard_state.map_or(told.term, |hard_state| hard_state.term);
        told.newest.change(&change);
        told.pending.push_back((u64::MAX, change));
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
                told.durable.change(&change);
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
        let Told { durable, newest, hard_state, term: now, .. } = &self.replicas[&(place.node, group)];
        let reaches = matched <= durable.last().index;
        // As long as it is in that term, what it was told last is what it acknowledges; or the beginning, which is committed.
        let begins = matched <= durable.start.index || matched < newest.start.index;
        let is_same = *now > term || begins || durable.term_of(matched) == newest.term_of(matched);
        if reaches && is_same || hard_state.term > term {
            return Ok(());
        }
        Err(Violation(format!(
            "node {} group {group} acknowledged entry {matched} of term {:?} in term {term}, and its journal has promised {:?} and the end {:?}",
            place.node,
            newest.term_of(matched),
            durable.term_of(matched),
            durable.last(),
        )))
    }

    /// Nothing is applied that is not committed and durable here.
    pub fn may_apply(&self, place: Place, group: GroupId, run: &[Entry], commit: Index) -> Checked {
        let durable = &self.replicas[&(place.node, group)].durable;
        match run.iter().map(Entry::id).find(|id| id.index > commit || !durable.contains(*id)) {
            None => Ok(()),
            Some(id) => Err(Violation(format!(
                "node {} group {group} applies {id:?}: committed is {commit}, its journal has promised {:?} there and the end {:?}",
                place.node,
                durable.term_of(id.index),
                durable.last(),
            ))),
        }
    }
}
