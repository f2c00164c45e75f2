//! The sessions in use, in memory, and all of them, on the disk.
//!
//! A session is read when a command first names it, changed here by every command that follows, and encoded once when a
//! table is frozen. Those that were not used lately are forgotten when memory is short.

use super::front::{Found, Front, Stop};
use super::hashing::Seed;
use super::{StoreError, keys};
use engine_core::sessions::{Session, SessionKey, header};
use raft::ids::Index;
use rocksdb::{DB, IteratorMode, ReadOptions};
use std::collections::{BTreeMap, HashMap, hash_map};

/// The sessions in use.
pub struct SessionCache {
    bytes_max: usize,
    sessions: HashMap<Place, Cached, Seed>,
    /// What has changed since the last table was frozen.
    changed: Vec<Place>,
    /// About what `sessions` takes.
    bytes: usize,
    scratch: Vec<u8>,
}

/// The generation of the replica, and which of its sessions.
type Place = (u64, SessionKey);

struct Cached {
    /// `None`: removed since the last table was frozen.
    session: Option<Session>,
    changed: bool,
    /// What it counts for in [`SessionCache::bytes`].
    bytes: usize,
}

impl SessionCache {
    /// Remembers nothing yet, and at most `bytes_max` bytes when a table is frozen.
    pub fn new(bytes_max: usize) -> SessionCache {
        let sessions = HashMap::with_hasher(Seed::random());
        SessionCache { bytes_max, sessions, changed: Vec::new(), bytes: 0, scratch: Vec::new() }
    }

    /// A session, to be changed; `None` if there is none.
    pub fn get(
        &mut self,
        front: &Front,
        found: &Found,
        generation: u64,
        key: SessionKey,
    ) -> Result<Option<&mut Session>, Stop> {
        let place = (generation, key);
        let cached = match self.sessions.entry(place) {
            hash_map::Entry::Occupied(cached) => cached.into_mut(),
            hash_map::Entry::Vacant(vacant) => {
                let decode = |bytes: Option<&[u8]>| bytes.map(Session::decode).transpose();
                let session = front.with(&keys::session(generation, key), found, decode)?;
                let session = session.map_err(|error| StoreError::corrupt("read a session", error))?;
                let Some(session) = session else { return Ok(None) };
                vacant.insert(Cached { session: Some(session), changed: false, bytes: 0 })
            }
        };
        if let Some(session) = &cached.session {
            // What it has grown by since it was looked at last.
            let bytes = session.memory_bytes() + size_of::<Cached>();
            self.bytes += bytes.saturating_sub(cached.bytes);
            cached.bytes = cached.bytes.max(bytes);
            if !cached.changed {
                cached.changed = true;
                self.changed.push(place);
            }
        }
        Ok(cached.session.as_mut())
    }

    /// Whether it is known without asking anybody if this session is there.
    pub fn holds(&self, generation: u64, key: SessionKey) -> bool {
        self.sessions.contains_key(&(generation, key))
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

    /// Whether there is so much that a table should be frozen: what has changed cannot be forgotten before.
    pub fn is_full(&self) -> bool {
        self.bytes + self.changed.len() * size_of::<Cached>() >= 2 * self.bytes_max
    }

    /// Puts what has changed into the front.
    pub fn write(&mut self, front: &mut Front) {
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
                    front.set(&key, Some(&self.scratch));
                    cached.changed = false;
                    cached.bytes = session.memory_bytes() + size_of::<Cached>();
                    self.bytes += cached.bytes;
                }
                None => {
                    front.set(&key, None);
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

/// Every session of a replica with its last use, from the disk.
pub fn uses(db: &DB, generation: u64) -> Result<Vec<(Index, SessionKey)>, StoreError> {
    let mut uses = Vec::new();
    for_each(db, generation, |key, bytes| {
        let (_, last_used) = header(bytes).map_err(|error| StoreError::corrupt("read a session", error))?;
        uses.push((last_used, key));
        Ok(())
    })?;
    Ok(uses)
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
