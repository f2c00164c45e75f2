//! The sessions in use, in memory, and all of them, on the disk.
//!
//! A session is read from RocksDB when a command first names it, changed here by every command of a batch, and
//! written once when the batch is complete. Those that were not used lately are forgotten when memory is short.

use super::{StoreError, keys};
use engine_core::sessions::{Session, SessionKey, header};
use raft::ids::Index;
use rocksdb::{DB, IteratorMode, ReadOptions, WriteBatch};
use std::collections::{BTreeMap, HashMap, hash_map};

/// The sessions in use.
pub struct SessionCache {
    bytes_max: usize,
    sessions: HashMap<Place, Cached>,
    /// What the current batch has changed.
    changed: Vec<Place>,
    /// About what `sessions` takes, as of the last batch.
    bytes: usize,
    scratch: Vec<u8>,
}

/// The generation of the replica, and which of its sessions.
type Place = (u64, SessionKey);

struct Cached {
    /// `None`: removed by the current batch.
    session: Option<Session>,
    changed: bool,
    /// What it counts for in [`SessionCache::bytes`].
    bytes: usize,
}

impl SessionCache {
    /// Remembers nothing yet, and at most `bytes_max` bytes when a batch is complete.
    pub fn new(bytes_max: usize) -> SessionCache {
        SessionCache { bytes_max, sessions: HashMap::new(), changed: Vec::new(), bytes: 0, scratch: Vec::new() }
    }

    /// A session, to be changed; `None` if there is none.
    pub fn get(&mut self, db: &DB, generation: u64, key: SessionKey) -> Result<Option<&mut Session>, StoreError> {
        let place = (generation, key);
        let cached = match self.sessions.entry(place) {
            hash_map::Entry::Occupied(cached) => cached.into_mut(),
            hash_map::Entry::Vacant(vacant) => {
                let bytes = db.get_pinned(keys::session(generation, key)).map_err(StoreError::of("read a session"))?;
                let Some(bytes) = bytes else { return Ok(None) };
                let session = Session::decode(&bytes).map_err(|error| StoreError::corrupt("read a session", error))?;
                vacant.insert(Cached { session: Some(session), changed: false, bytes: 0 })
            }
        };
        if cached.session.is_some() && !cached.changed {
            cached.changed = true;
            self.changed.push(place);
        }
        Ok(cached.session.as_mut())
    }

    /// Adds a session that is not there.
    pub fn add(&mut self, generation: u64, key: SessionKey, session: Session) {
        let there = self.change(generation, key).session.replace(session);
        assert!(there.is_none(), "session {key:?} of generation {generation} is there already");
    }

    /// Removes a session that is there.
    pub fn remove(&mut self, generation: u64, key: SessionKey) {
        self.change(generation, key).session = None;
    }

    /// Every session of a replica with its last use: those on the disk, as the current batch leaves them.
    pub fn uses(&self, db: &DB, generation: u64) -> Result<Vec<(Index, SessionKey)>, StoreError> {
        let mut uses = BTreeMap::new();
        for_each(db, generation, |key, bytes| {
            let (_, last_used) = header(bytes).map_err(|error| StoreError::corrupt("read a session", error))?;
            uses.insert(key, last_used);
            Ok(())
        })?;
        for (of, key) in self.changed.iter().filter(|(of, _)| *of == generation) {
            match &self.sessions[&(*of, *key)].session {
                Some(session) => uses.insert(*key, session.last_used()),
                None => uses.remove(key),
            };
        }
        Ok(uses.into_iter().map(|(key, last_used)| (last_used, key)).collect())
    }

    /// Puts what has changed into the batch.
    pub fn write(&mut self, batch: &mut WriteBatch) {
        // As the data do, they find their places in the memtable along the same path.
        self.changed.sort_unstable();
        for place in self.changed.drain(..) {
            let hash_map::Entry::Occupied(mut entry) = self.sessions.entry(place) else {
                unreachable!("a changed session is in memory");
            };
            let cached = entry.get_mut();
            self.bytes -= cached.bytes;
            let key = keys::session(place.0, place.1);
            match &cached.session {
                Some(session) => {
                    self.scratch.clear();
                    session.encode(&mut self.scratch);
                    batch.put(key, &self.scratch);
                    cached.changed = false;
                    cached.bytes = session.memory_bytes() + size_of::<Cached>();
                    self.bytes += cached.bytes;
                }
                None => {
                    batch.delete(key);
                    entry.remove();
                }
            }
        }
        // All are written, so any may go. Forgetting everything is rare, and costs each active client one read.
        if self.bytes > self.bytes_max {
            self.sessions.clear();
            self.bytes = 0;
        }
    }

    /// The place of a session, marked as changed.
    fn change(&mut self, generation: u64, key: SessionKey) -> &mut Cached {
        let place = (generation, key);
        let cached = self.sessions.entry(place).or_insert(Cached { session: None, changed: false, bytes: 0 });
        if !cached.changed {
            cached.changed = true;
            self.changed.push(place);
        }
        cached
    }
}

/// All sessions of a replica, from the disk.
pub fn read_all(db: &DB, generation: u64) -> Result<Vec<(SessionKey, Session)>, StoreError> {
    let mut sessions = BTreeMap::new();
    for_each(db, generation, |key, bytes| {
        let session = Session::decode(bytes).map_err(|error| StoreError::corrupt("read a session", error))?;
        sessions.insert(key, session);
        Ok(())
    })?;
    Ok(sessions.into_iter().collect())
}

fn for_each(
    db: &DB,
    generation: u64,
    mut take: impl FnMut(SessionKey, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut options = ReadOptions::default();
    options.set_iterate_range(keys::sessions(generation));
    for record in db.iterator_opt(IteratorMode::Start, options) {
        let (key, bytes) = record.map_err(StoreError::of("read all sessions"))?;
        let key = keys::session_key(&key)
            .ok_or_else(|| StoreError::corrupt("read all sessions", "a key of the wrong length"))?;
        take(key, &bytes)?;
    }
    Ok(())
}
