//! Something for each group of a core, found by the group's number in one step and walked in the order of numbers.
//!
//! Every event names a group, and with thousands of them its place in a search tree is several lines of memory away.

use raft::ids::GroupId;

/// Groups with this number or a higher one are searched for; no founding gives any.
const TABLE_MAX: u32 = 1 << 16;

/// Stands for no group.
const NONE: u32 = u32::MAX;

/// See the module. Made for groups that come by ascending number and stay: others move all that are behind them.
#[derive(Clone, Debug)]
pub struct GroupMap<T> {
    /// By ascending number.
    list: Vec<(GroupId, T)>,
    /// Where in `list` each number is.
    places: Vec<u32>,
}

impl<T> GroupMap<T> {
    /// What belongs to a group.
    pub fn get(&self, id: &GroupId) -> Option<&T> {
        self.place(*id).map(|place| &self.list[place].1)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &GroupId) -> Option<&mut T> {
        self.place(*id).map(|place| &mut self.list[place].1)
    }

    /// Puts something in, and returns what was there for the group.
    pub fn insert(&mut self, id: GroupId, value: T) -> Option<T> {
        if let Some(there) = self.get_mut(&id) {
            return Some(std::mem::replace(there, value));
        }
        let at = self.list.partition_point(|(other, _)| *other < id);
        self.list.insert(at, (id, value));
        self.note_places(at);
        None
    }

    /// Takes out what is there for a group.
    pub fn remove(&mut self, id: &GroupId) -> Option<T> {
        let at = self.place(*id)?;
        let (_, removed) = self.list.remove(at);
        if let Some(place) = self.places.get_mut(id.0 as usize) {
            *place = NONE;
        }
        self.note_places(at);
        Some(removed)
    }

    /// How many groups have something here.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether no group has anything here.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&GroupId, &T)> {
        self.list.iter().map(|(id, value)| (id, value))
    }

    /// All of it, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&GroupId, &mut T)> {
        self.list.iter_mut().map(|(id, value)| (&*id, value))
    }

    /// The groups that have something here.
    pub fn keys(&self) -> impl Iterator<Item = &GroupId> {
        self.list.iter().map(|(id, _)| id)
    }

    /// What they have.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.list.iter().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.list.iter_mut().map(|(_, value)| value)
    }

    fn place(&self, id: GroupId) -> Option<usize> {
        match self.places.get(id.0 as usize) {
            Some(&NONE) => None,
            Some(&place) => Some(place as usize),
            None => self.list.binary_search_by_key(&id, |(id, _)| *id).ok(),
        }
    }

    /// Writes down where those from place `from` on are.
    fn note_places(&mut self, from: usize) {
        let moved = (from as u32..).zip(&self.list[from..]).take_while(|(_, (id, _))| id.0 < TABLE_MAX);
        for (place, (id, _)) in moved {
            let number = id.0 as usize;
            if self.places.len() <= number {
                self.places.resize(number + 1, NONE);
            }
            self.places[number] = place;
        }
    }
}

impl<T> Default for GroupMap<T> {
    fn default() -> GroupMap<T> {
        GroupMap { list: Vec::new(), places: Vec::new() }
    }
}

/// Of several with one number the last one counts.
impl<T> FromIterator<(GroupId, T)> for GroupMap<T> {
    fn from_iter<I: IntoIterator<Item = (GroupId, T)>>(all: I) -> GroupMap<T> {
        let mut map = GroupMap::default();
        all.into_iter().for_each(|(id, value)| drop(map.insert(id, value)));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_group_map_holds_what_a_map_holds(
            steps in prop::collection::vec((any::<bool>(), 0..3u8, any::<u32>()), 0..200)
        ) {
            let (mut groups, mut map) = (GroupMap::default(), BTreeMap::new());
            for (step, (insert, kind, number)) in steps.into_iter().enumerate() {
                let id = match kind {
                    0 => GroupId(number % 40),
                    1 => GroupId(TABLE_MAX - 2 + number % 4),
                    _ => GroupId(number),
                };
                match insert {
                    true => prop_assert_eq!(groups.insert(id, step), map.insert(id, step)),
                    false => prop_assert_eq!(groups.remove(&id), map.remove(&id)),
                }
                prop_assert_eq!(groups.get(&id), map.get(&id));
                prop_assert!(groups.iter().eq(map.iter()));
            }
            prop_assert!(map.iter().all(|(id, value)| groups.get(id) == Some(value)));
            prop_assert_eq!(groups.len(), map.len());
        }
    }
}
