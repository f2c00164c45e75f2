//! What a group looks like to its entries: the front, its sessions, and what the disk has said.

use super::front::{Found, Front, Stop};
use super::records::Replica;
use super::replicas::decode_map;
use super::sessions::SessionCache;
use super::{StoreError, keys};
use engine_core::command::CommandError;
use engine_core::sessions::{Session, SessionKey};
use engine_core::state_machine::{MapRecord, Space};
use raft::ids::{GroupId, Index};

/// Where a group stands, but for its last entry.
#[derive(Clone, Copy, Debug)]
pub struct GroupState {
    /// Under which number its data lie.
    pub generation: u64,
    /// How many sessions it has.
    pub sessions: u32,
}

/// One group.
pub struct FrontSpace<'s> {
    /// The core's front.
    pub front: &'s mut Front,
    /// The sessions in use.
    pub sessions: &'s mut SessionCache,
    /// Which group.
    pub group: GroupId,
    /// Its state.
    pub state: &'s mut GroupState,
    /// The replica's record; there if the run has a membership.
    pub replica: &'s mut Option<Replica>,
    /// What the disk has said.
    pub found: &'s Found,
    /// All sessions and their last uses, if the disk was asked.
    pub uses: &'s mut Option<Vec<(Index, SessionKey)>>,
}

impl<'a> Space<'a> for FrontSpace<'_> {
    type Error = Stop;

    fn unknown(&self, index: Index, why: CommandError) -> Stop {
        Stop::Failed(StoreError::UnknownCommand { group: self.group, index, why })
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let read = |place: &[u8]| self.front.with(place, self.found, |value| value.map(<[u8]>::to_vec));
        keys::with_data(self.state.generation, key, read)
    }

    fn put(&mut self, key: &'a [u8], value: &'a [u8]) {
        keys::with_data(self.state.generation, key, |place| self.front.set(place, Some(value)));
    }

    fn delete(&mut self, key: &'a [u8]) {
        keys::with_data(self.state.generation, key, |place| self.front.set(place, None));
    }

    fn session(&mut self, key: SessionKey) -> Result<Option<&mut Session>, Stop> {
        self.sessions.get(self.front, self.found, self.state.generation, key)
    }

    fn add_session(&mut self, key: SessionKey, session: Session) -> Result<(), Stop> {
        self.sessions.add(self.state.generation, key, session);
        self.state.sessions += 1;
        Ok(())
    }

    fn remove_session(&mut self, key: SessionKey) -> Result<(), Stop> {
        self.sessions.remove(self.state.generation, key);
        self.state.sessions -= 1;
        Ok(())
    }

    fn session_count(&self) -> usize {
        self.state.sessions as usize
    }

    fn session_uses(&mut self) -> Result<Vec<(Index, SessionKey)>, Stop> {
        // What the disk said holds for this entry alone: it is about to remove some.
        self.uses.take().ok_or(Stop::Sessions)
    }

    fn set_membership(&mut self, membership: &'a [u8]) {
        let replica = self.replica.as_mut().expect("the applier reads the record for a run that has a membership");
        replica.membership = membership.to_vec();
        self.front.set(&keys::replica(self.group), Some(&replica.encode()));
    }

    fn founding_record(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        self.front.with(keys::FOUNDING_RECORD, self.found, |record| record.map(<[u8]>::to_vec))
    }

    fn set_founding_record(&mut self, record: &'a [u8]) {
        self.front.set(keys::FOUNDING_RECORD, Some(record));
    }

    fn map_epoch(&mut self) -> Result<Option<u64>, Stop> {
        let map = self.front.with(keys::MAP, self.found, decode_map)??;
        Ok(map.map(|map| map.epoch))
    }

    fn set_map(&mut self, epoch: u64, map: &'a [u8]) {
        self.front.set(keys::MAP, Some(&MapRecord { epoch, map: map.to_vec() }.encode()));
    }
}
