//! The groups that a turn has touched, and what they gather in it.
//!
//! What a group gathers lies in memory that the next turn's groups use again. A thousand groups with a place of their own for it would
//! each be further away from the CPU, and each turn would ask for all its vectors anew.

use super::group::Group;
use raft::ids::GroupId;
use raft::ready::Ready;

/// So many are kept for the next turns: as many groups as a busy turn touches.
const SPARES_MAX: usize = 512;

/// One with room for more messages or reads than this is not kept.
const SPARE_ROOM_MAX: usize = 64;

/// What a group has gathered since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Gathered(Option<Box<Ready>>);

impl Gathered {
    pub(super) fn get(&mut self) -> &mut Ready {
        self.0.get_or_insert_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|ready| ready.is_empty())
    }

    /// Whether the log has grown in this turn.
    pub(super) fn has_entries(&self) -> bool {
        self.0.as_ref().is_some_and(|ready| !ready.entries.is_empty())
    }

    pub(super) fn take(&mut self) -> Box<Ready> {
        self.0.take().unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Touched {
    groups: Vec<GroupId>,
    spares: Vec<Gathered>,
}

impl Touched {
    /// `group` will be looked at when the turn ends.
    pub(super) fn add(&mut self, id: GroupId, group: &mut Group) {
        if !std::mem::replace(&mut group.touched, true) {
            self.groups.push(id);
            self.lend(group);
        }
    }

    /// `group` will perhaps gather something: see [`Touched::release`].
    pub(super) fn lend(&mut self, group: &mut Group) {
        if group.gathered.0.is_none() {
            group.gathered = self.spares.pop().unwrap_or_default();
        }
    }

    /// `group` has gathered nothing.
    pub(super) fn release(&mut self, group: &mut Group) {
        if !group.touched && group.gathered.is_empty() {
            group.gathered.0.take().into_iter().for_each(|ready| self.spare(ready));
        }
    }

    /// All that were touched. Each is to be marked as looked at, and the list given back.
    pub(super) fn take(&mut self) -> Vec<GroupId> {
        std::mem::take(&mut self.groups)
    }

    pub(super) fn give_back(&mut self, mut groups: Vec<GroupId>) {
        assert!(self.groups.is_empty(), "{:?} were touched while a turn ended", self.groups);
        groups.clear();
        self.groups = groups;
    }

    /// What `ready` wanted is done, all of it: another group gets it next.
    pub(super) fn spare(&mut self, ready: Box<Ready>) {
        assert!(ready.is_empty(), "forgotten at the end of a turn: {ready:?}");
        let room = ready.send.capacity().max(ready.reads.capacity()).max(ready.reads_failed.capacity());
        if self.spares.len() < SPARES_MAX && room <= SPARE_ROOM_MAX {
            self.spares.push(Gathered(Some(ready)));
        }
    }
}
