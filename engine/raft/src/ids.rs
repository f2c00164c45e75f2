//! The numbers of the protocol, each its own type so that none stands in for another.

use std::fmt;

/// A Raft term (paper section 5.1): a logical clock that numbers elections. 0 is "before any election".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct Term(pub u64);

/// The position of an entry in a group's log. The first entry is 1; 0 is the empty log's end.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct Index(pub u64);

/// One member of one group, for its whole life. Never used again once its disk is lost (rule 7).
///
/// This crate compares it and nothing else. The host packs the number of the node into the low 16 bits
/// and how often that node has been replaced in the group into the bits above ([`ReplicaId::new`]).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct ReplicaId(pub u64);

/// One Raft group. This crate only carries it for its users' sake.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
)]
pub struct GroupId(pub u32);

impl Index {
    /// The position after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The position before this one; the empty log's end stays where it is.
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl ReplicaId {
    /// The replica that node number `node` holds, `generation` replacements after the founding.
    pub fn new(node: u16, generation: u32) -> ReplicaId {
        ReplicaId(u64::from(generation) << 16 | u64::from(node))
    }

    /// How many replicas of the group that node has lost before this one.
    pub fn generation(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The number of the node that holds this replica.
    pub fn node(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 16 {
            0 => write!(f, "r{}", self.node()),
            generation => write!(f, "r{}.{}", self.node(), generation),
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
