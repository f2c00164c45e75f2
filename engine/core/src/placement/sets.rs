//! Replica sets read off a plain list of servers.
//!
//! The first five lines of the list are the first replica set, the next five the second, and so on; lines
//! left over are spares. A list of fewer than five makes one set of the largest odd number of lines, because
//! an even replica adds a way to fail and no majority.

use std::ops::Range;

/// The most replicas a set has.
pub const SET_SIZE_MAX: u16 = 5;

/// How many data groups each set holds.
pub const GROUPS_PER_SET: u32 = 4;

/// How a list of servers falls into replica sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSets {
    /// Servers in each set: 1, 3 or 5.
    pub set_size: u16,
    /// The number of full sets, at least 1.
    pub sets: u16,
    /// Lines behind the last set: members of the cluster that hold no replica yet.
    pub spares: u16,
}

impl ServerSets {
    /// The sets of a list of `servers` lines, of which there is at least one.
    pub fn of(servers: u16) -> ServerSets {
        assert!(servers > 0, "a list of servers has at least one line");
        let set_size = largest_odd(servers.min(SET_SIZE_MAX));
        let sets = sets_of(servers, set_size);
        ServerSets { set_size, sets, spares: servers - sets * set_size }
    }

    /// The set of the server on a line, both counted from 0; `None` for a spare.
    pub fn set_of(&self, line: u16) -> Option<u16> {
        Some(line / self.set_size).filter(|set| *set < self.sets)
    }

    /// The lines of a set, counted from 0.
    pub fn lines_of(&self, set: u16) -> Range<u16> {
        set * self.set_size..(set + 1) * self.set_size
    }
}

/// How many full sets a list of servers makes. Fewer than five are never more than one set: two servers are a
/// set of one and its spare.
pub fn sets_of(servers: u16, set_size: u16) -> u16 {
    if servers < SET_SIZE_MAX { 1 } else { servers / set_size }
}

/// The largest odd number that is not above `count`; `count` is at least 1.
pub fn largest_odd(count: u16) -> u16 {
    assert!(count > 0, "there is no odd number up to 0");
    (count - 1) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_odd_is_odd_and_not_above() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(largest_odd), [1, 1, 3, 3, 5, 5]);
    }

    #[test]
    fn five_lines_are_a_set_and_the_rest_are_spares() {
        let of = |servers| {
            let sets = ServerSets::of(servers);
            (sets.set_size, sets.sets, sets.spares)
        };
        assert_eq!([1, 2, 3, 4].map(of), [(1, 1, 0), (1, 1, 1), (3, 1, 0), (3, 1, 1)]);
        assert_eq!([5, 9, 10, 13].map(of), [(5, 1, 0), (5, 1, 4), (5, 2, 0), (5, 2, 3)]);
        let sets = ServerSets::of(13);
        assert_eq!(
            [0, 4, 5, 9, 10, 12].map(|line| sets.set_of(line)),
            [Some(0), Some(0), Some(1), Some(1), None, None]
        );
        assert_eq!(sets.lines_of(1), 5..10);
    }

    #[test]
    fn fewer_than_five_servers_are_one_set_however_small() {
        assert_eq!([2, 3, 4, 5, 6].map(|servers| sets_of(servers, 2)), [1, 1, 1, 2, 3]);
    }
}
