//! The only writer of a store: one atomic batch for everything that several runs of entries do.

use super::batch::{Batch, BatchSpace, GroupState};
use super::install::Partial;
use super::records::Applied;
use super::replicas::{decode_applied, read_replica};
use super::sessions::SessionCache;
use super::{Store, StoreError, keys};
use engine_core::state_machine::{AppliedRun, ApplyRun, apply_run};
use raft::entry::{EntryKind, LogId};
use raft::ids::GroupId;
use rocksdb::DB;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Applies committed entries. Lives on the store thread of a core; there is one per store.
///
/// It remembers where each group stands and the sessions in use, so nobody else may change these.
pub struct Applier {
    pub(super) store: Store,
    groups: BTreeMap<GroupId, Standing>,
    sessions: SessionCache,
    /// Snapshots on their way in.
    pub(super) incoming: BTreeMap<GroupId, Partial>,
    /// Generations that snapshots have replaced, not deleted yet.
    pub(super) replaced: BTreeMap<GroupId, Vec<u64>>,
    /// A batch failed: what is remembered may not be what is stored.
    failed: bool,
}

/// Where a group stands.
struct Standing {
    applied: LogId,
    state: GroupState,
}

impl Applier {
    pub(super) fn new(store: Store) -> Applier {
        let sessions = SessionCache::new(store.shared.session_cache_bytes);
        Applier {
            store,
            groups: BTreeMap::new(),
            sessions,
            incoming: BTreeMap::new(),
            replaced: BTreeMap::new(),
            failed: false,
        }
    }

    pub(super) fn db(&self) -> &DB {
        &self.store.shared.db
    }

    /// Applies runs in their order, all or none, and answers each. Visible to reads when it returns; not synced. Each run
    /// continues where its group stands, and several may be of one group. After an error the node stops:
    /// an applier that has failed refuses to go on.
    pub fn apply(&mut self, runs: &[ApplyRun]) -> Result<Vec<AppliedRun>, StoreError> {
        assert!(!self.failed, "an applier is not used after an error");
        let result = self.apply_or_fail(runs);
        self.failed = result.is_err();
        result
    }

    fn apply_or_fail(&mut self, runs: &[ApplyRun]) -> Result<Vec<AppliedRun>, StoreError> {
        let entries = runs.iter().map(|run| run.entries.len()).sum();
        let bytes = runs.iter().map(|run| run.bytes.len()).sum();
        let mut batch = Batch::new(entries, bytes);
        let mut applied = Vec::with_capacity(runs.len());
        for run in runs {
            applied.push(self.apply_run(run, &mut batch)?);
        }
        self.write_standings(runs, &mut batch);
        self.sessions.write(&mut batch.writes);
        self.store.shared.db.write(batch.finish()).map_err(StoreError::of("write applied entries"))?;
        Ok(applied)
    }

    fn apply_run<'a>(&mut self, run: &'a ApplyRun, batch: &mut Batch<'a>) -> Result<AppliedRun, StoreError> {
        let db = &self.store.shared.db;
        let generation = self.store.generation(run.group)?;
        let standing = match self.groups.entry(run.group) {
            Entry::Vacant(vacant) => vacant.insert(load(&self.store, run.group, generation)?),
            Entry::Occupied(occupied) => {
                let standing = occupied.into_mut();
                if standing.state.generation != generation {
                    *standing = load(&self.store, run.group, generation)?;
                }
                standing
            }
        };
        // Memberships are rare, so the record they are part of is not kept in memory.
        let mut replica = None;
        if run.entries.iter().any(|entry| entry.kind == EntryKind::Membership) {
            replica = read_replica(db, run.group)?;
        }
        let mut space = BatchSpace {
            db,
            batch,
            sessions: &mut self.sessions,
            group: run.group,
            state: &mut standing.state,
            replica: &mut replica,
        };
        let done = apply_run(&mut space, run, standing.applied)?;
        standing.applied = done.applied;
        Ok(done)
    }

    /// Puts where the groups stand after all runs into the batch: once each, in the order of their keys.
    fn write_standings(&self, runs: &[ApplyRun], batch: &mut Batch) {
        let mut groups: Vec<GroupId> = runs.iter().map(|run| run.group).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let Standing { applied, state } = &self.groups[&group];
            let record = Applied { id: *applied, sessions: state.sessions };
            batch.writes.put(keys::applied(group), record.encode());
        }
    }
}

/// Where a group stands according to the database.
fn load(store: &Store, group: GroupId, generation: u64) -> Result<Standing, StoreError> {
    let record = store.shared.db.get_pinned(keys::applied(group)).map_err(StoreError::of("read an applied index"))?;
    let Applied { id, sessions } = decode_applied(record.as_deref())?;
    Ok(Standing { applied: id, state: GroupState { generation, sessions } })
}
