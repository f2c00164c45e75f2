//! Applies committed entries, on the core itself: the only one that changes what its groups have applied.
//!
//! Nothing here waits for the disk. What an entry must know and memory does not is a [`Lack`]: its group stands still until
//! [`Store::fetch`] has been asked on a thread that may wait, the others go on.

use super::front::{Found, Front, Stop};
use super::lack::{Fetched, Lack};
use super::records::{Applied, Replica};
use super::replicas::decode_applied;
use super::sessions::SessionCache;
use super::space::{FrontSpace, GroupState};
use super::write_back::WriteBack;
use super::{Cached, Store, StoreError, keys};
use engine_core::group_map::GroupMap;
use engine_core::sessions::SessionKey;
use engine_core::state_machine::{AppliedRun, ApplyRun, Applying, EntryRead, OUTCOME_BYTES_MAX, apply_run, reads_of};
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index};
use std::collections::{BTreeMap, VecDeque};

/// So much of what a run reads is asked for at once when the disk is needed.
const PLACES_ASKED_MAX: usize = 256;

/// See the module. There is one per store.
pub struct Applier {
    front: Front,
    groups: GroupMap<Standing>,
    sessions: SessionCache,
    /// Groups that have applied something since the last table was frozen.
    moved: Vec<GroupId>,
    stalled: BTreeMap<GroupId, Stalled>,
    lacks: Vec<Lack>,
    /// Runs that find no memory, in order.
    held: VecDeque<ApplyRun>,
    /// Bytes of old values among outcomes, of runs that wait for the disk and of those that nobody has been told of.
    outcome_bytes: usize,
    /// An entry failed: what is in memory may not be what the log says.
    failed: bool,
}

/// Where a group stands.
struct Standing {
    applied: LogId,
    state: GroupState,
    moved: bool,
}

/// A group that waits for the disk.
struct Stalled {
    /// The first of them is being applied.
    runs: VecDeque<ApplyRun>,
    done: Applying,
    found: Found,
    uses: Option<Vec<(Index, SessionKey)>>,
}

/// Runs that are applied, each with what it was charged for.
pub type Done = Vec<(AppliedRun, usize)>;

impl Applier {
    pub(super) fn new(store: Store) -> Result<Applier, StoreError> {
        let sessions = SessionCache::new(store.shared.session_cache_bytes);
        let mut applier = Applier {
            front: Front::new(store.clone()),
            groups: GroupMap::default(),
            sessions,
            moved: Vec::new(),
            stalled: BTreeMap::new(),
            lacks: Vec::new(),
            held: VecDeque::new(),
            outcome_bytes: 0,
            failed: false,
        };
        for group in store.groups() {
            applier.standing(group)?;
        }
        Ok(applier)
    }

    /// Applies runs, those of a group in their order. Each continues where its group stands. Those that are applied to their ends are
    /// added to `done`; others wait for the disk ([`Applier::lacks`]) or for memory ([`Applier::is_full`]). After an error
    /// the node stops: an applier that has failed refuses to go on.
    pub fn apply(&mut self, runs: Vec<ApplyRun>, done: &mut Done) -> Result<(), StoreError> {
        for run in runs {
            if self.is_full() || !self.held.is_empty() {
                self.held.push_back(run);
            } else {
                self.take(run, done)?;
            }
        }
        Ok(())
    }

    /// Goes on with a group that has waited for this.
    pub fn fetched(&mut self, fetched: Fetched, done: &mut Done) -> Result<(), StoreError> {
        let (Fetched::Places(group, _) | Fetched::Sessions(group, _)) = fetched;
        let mut stalled = self.stalled.remove(&group).expect("a group waits for what it asked for");
        match fetched {
            Fetched::Places(_, places) => stalled.found.extend(places),
            Fetched::Sessions(_, uses) => stalled.uses = Some(uses),
        }
        self.go_on(stalled, done)
    }

    /// Goes on with runs that found no memory, after something was frozen.
    pub fn resume(&mut self, done: &mut Done) -> Result<(), StoreError> {
        while !self.is_full()
            && let Some(run) = self.held.pop_front()
        {
            self.take(run, done)?;
        }
        Ok(())
    }

    /// What must be fetched for groups that have begun to wait since this was asked.
    pub fn lacks(&mut self) -> Vec<Lack> {
        std::mem::take(&mut self.lacks)
    }

    /// Everybody has been told what became of the runs that were done: their outcomes take no memory any more.
    pub fn answered(&mut self) {
        if self.outcome_bytes > 0 {
            self.outcome_bytes = self.stalled.values().map(|stalled| stalled.done.outcome_bytes).sum();
        }
    }

    /// The value of a key, from memory. Never touches the disk.
    pub fn get(&self, group: GroupId, key: &[u8]) -> Result<Cached, StoreError> {
        let front = &self.front;
        front.store.in_one_generation(group, |generation| {
            let read = |place: &[u8]| front.with(place, &Found::new(), |value| value.map(<[u8]>::to_vec));
            match keys::with_data(generation, key, read) {
                Ok(value) => Ok(Cached::Value(value)),
                Err(Stop::Failed(error)) => Err(error),
                Err(_) => Ok(Cached::NotInMemory),
            }
        })
    }

    /// Whether a group waits for the disk.
    pub fn is_stalled(&self, group: GroupId) -> bool {
        self.stalled.contains_key(&group) || self.held.iter().any(|run| run.group == group)
    }

    /// Whether a table is on its way into RocksDB.
    pub fn in_flight(&self) -> bool {
        self.front.in_flight()
    }

    /// Whether so much is in memory that it should be written back; nothing is applied until it is frozen.
    pub fn is_full(&self) -> bool {
        self.front.active_bytes() >= self.front.store.shared.table_bytes || self.sessions.is_full()
    }

    /// Memory of what lies before RocksDB, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.front.memory_bytes()
    }

    /// Takes what is applied and not written back, to be written back by [`Store::write_back`]; `None` if there is nothing. One at
    /// a time: [`Applier::written_back`] comes before the next.
    pub fn freeze(&mut self) -> Option<WriteBack> {
        for group in self.moved.drain(..) {
            let standing = self.groups.get_mut(&group).expect("a group that has moved");
            standing.moved = false;
            let record = Applied { id: standing.applied, sessions: standing.state.sessions };
            self.front.set(&keys::applied(group), Some(&record.encode()));
        }
        self.sessions.write(&mut self.front);
        self.front.freeze()
    }

    /// The table that was frozen is in RocksDB.
    pub fn written_back(&mut self) {
        self.front.written_back();
    }

    /// A snapshot has replaced the state of a group, whose next run may come when the disk would have to be asked where it stands.
    pub fn installed(&mut self, group: GroupId) -> Result<(), StoreError> {
        self.standing(group).map(drop)
    }

    /// How far each group has applied its log.
    pub fn positions(&self) -> Vec<(GroupId, LogId)> {
        self.groups.iter().map(|(group, standing)| (*group, standing.applied)).collect()
    }

    fn take(&mut self, run: ApplyRun, done: &mut Done) -> Result<(), StoreError> {
        if let Some(stalled) = self.stalled.get_mut(&run.group) {
            stalled.runs.push_back(run);
            return Ok(());
        }
        let applied = self.standing(run.group)?.applied;
        let (runs, found) = (VecDeque::from([run]), Found::new());
        self.go_on(Stalled { runs, done: Applying::after(applied), found, uses: None }, done)
    }

    /// Applies the runs of a group until it is done or lacks something.
    fn go_on(&mut self, mut at: Stalled, done: &mut Done) -> Result<(), StoreError> {
        assert!(!self.failed, "an applier is not used after an error");
        while let Some(run) = at.runs.front() {
            let before = at.done.outcome_bytes;
            at.done.outcome_room = OUTCOME_BYTES_MAX.saturating_sub(self.outcome_bytes);
            let result = self.entries(run, &mut at.done, &at.found, &mut at.uses);
            self.outcome_bytes += at.done.outcome_bytes - before;
            let lack = match result {
                Ok(()) => {
                    let run = at.runs.pop_front().expect("it was just looked at");
                    let next = Applying::after(at.done.applied);
                    let applied = std::mem::replace(&mut at.done, next);
                    done.push((applied.finish(run.group), run.charge()));
                    continue;
                }
                Err(Stop::Failed(error)) => {
                    self.failed = true;
                    return Err(error);
                }
                Err(Stop::Sessions) => Lack::Sessions(run.group),
                Err(Stop::Place(place)) => Lack::Places(run.group, self.all_lacking(run, &at.done, place)),
            };
            self.lacks.push(lack);
            // What the disk said before was right until the group wrote again: by the time it goes on, a table with something newer
            // may have come and gone.
            at.found.clear();
            self.stalled.insert(run.group, at);
            return Ok(());
        }
        Ok(())
    }

    fn entries(
        &mut self,
        run: &ApplyRun,
        done: &mut Applying,
        found: &Found,
        uses: &mut Option<Vec<(Index, SessionKey)>>,
    ) -> Result<(), Stop> {
        let group = run.group;
        // Memberships are rare, so the record they are part of is not kept.
        let mut replica = None;
        if run.entries[done.entries..].iter().any(|entry| entry.kind == EntryKind::Membership) {
            replica =
                self.front.with(&keys::replica(group), found, |record| record.map(Replica::decode).transpose())??;
        }
        let standing = self.groups.get_mut(&group).expect("the run was begun");
        let (front, sessions, state) = (&mut self.front, &mut self.sessions, &mut standing.state);
        let mut space = FrontSpace { front, sessions, group, state, replica: &mut replica, found, uses };
        let result = apply_run(&mut space, run, done);
        standing.applied = done.applied;
        if !std::mem::replace(&mut standing.moved, true) {
            self.moved.push(group);
        }
        result
    }

    /// `place`, and those places that the rest of the run reads and memory does not know either.
    fn all_lacking(&self, run: &ApplyRun, done: &Applying, place: Vec<u8>) -> Vec<Vec<u8>> {
        let generation = self.groups.get(&run.group).expect("the run was begun").state.generation;
        let mut places = vec![place];
        let mut ask = |place: &[u8]| {
            if places.len() < PLACES_ASKED_MAX
                && let Err(Stop::Place(place)) = self.front.with(place, &Found::new(), |_| ())
                && !places.contains(&place)
            {
                places.push(place);
            }
        };
        reads_of(run, done.entries, |read| match read {
            EntryRead::Key(key) => keys::with_data(generation, key, &mut ask),
            EntryRead::Session(key) if self.sessions.holds(generation, key) => {}
            EntryRead::Session(key) => ask(&keys::session(generation, key)),
        });
        places
    }

    /// Where a group stands. Read from RocksDB again when a snapshot has replaced its state: what was just written is in memory.
    fn standing(&mut self, group: GroupId) -> Result<&Standing, StoreError> {
        let store = &self.front.store;
        let generation = store.generation(group)?;
        if self.groups.get(&group).is_none_or(|standing| standing.state.generation != generation) {
            let record = store.shared.db.get_pinned(keys::applied(group));
            let record = record.map_err(StoreError::of("read an applied index"))?;
            let Applied { id, sessions } = decode_applied(record.as_deref())?;
            let standing = Standing { applied: id, state: GroupState { generation, sessions }, moved: false };
            self.groups.insert(group, standing);
            self.moved.retain(|moved| *moved != group);
        }
        Ok(self.groups.get(&group).expect("it is there by now"))
    }
}
