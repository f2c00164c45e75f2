//! The groups of a core, found by their numbers in one step and walked in their order.
//!
//! Every event names a group, and with thousands of them its place in a search tree is several lines of memory away.

use super::group::Group;
use raft::ids::GroupId;

/// Groups with higher numbers than this are searched for; no founding gives any.
const TABLE_MAX: u32 = 1 << 16;

/// Stands for no group.
const NONE: u32 = u32::MAX;

/// See the module. They are those the core started with.
#[derive(Debug)]
pub(super) struct Groups {
    /// By ascending number.
    list: Vec<(GroupId, Group)>,
    /// Where in `list` each number is.
    places: Vec<u32>,
}

impl Groups {
    /// Of several with one number the last one counts.
    pub(super) fn new(groups: impl Iterator<Item = (GroupId, Group)>) -> Groups {
        let sorted: std::collections::BTreeMap<GroupId, Group> = groups.collect();
        let list: Vec<(GroupId, Group)> = sorted.into_iter().collect();
        let mut places = Vec::new();
        for (place, (id, _)) in (0..).zip(&list).take_while(|(_, (id, _))| id.0 < TABLE_MAX) {
            places.resize(id.0 as usize, NONE);
            places.push(place);
        }
        Groups { list, places }
    }

    pub(super) fn get(&self, id: &GroupId) -> Option<&Group> {
        self.place(*id).map(|place| &self.list[place].1)
    }

    pub(super) fn get_mut(&mut self, id: &GroupId) -> Option<&mut Group> {
        self.place(*id).map(|place| &mut self.list[place].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.list.iter().map(|(id, group)| (id, group))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&GroupId, &mut Group)> {
        self.list.iter_mut().map(|(id, group)| (&*id, group))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &GroupId> {
        self.list.iter().map(|(id, _)| id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Group> {
        self.list.iter().map(|(_, group)| group)
    }

    fn place(&self, id: GroupId) -> Option<usize> {
        match self.places.get(id.0 as usize) {
            Some(&NONE) => None,
            Some(&place) => Some(place as usize),
            None => self.list.binary_search_by_key(&id, |(id, _)| *id).ok(),
        }
    }
}
