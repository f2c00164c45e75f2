//! Who belongs to a group, and which of them vote.
//!
//! A membership is in force from the moment its entry is appended, committed or not (rule 6). Going from
//! one set of voters to another passes through a *joint* membership, in which both sets must agree on everything
//! (paper section 6); so any set may follow any other in one change.

use crate::ids::{Index, ReplicaId};
use std::fmt;

/// The most members of one group, of all kinds together.
pub const MEMBERS_MAX: usize = 64;

/// The first byte of an encoded membership: the version of what follows.
const VERSION: u8 = 1;

/// The members of a group. All lists are sorted and name nobody twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Membership {
    /// Who votes. In a joint membership: who will vote once the change is over.
    pub voters: Vec<ReplicaId>,
    /// In a joint membership: who voted before the change, and must agree until it is over. Otherwise empty.
    pub outgoing: Vec<ReplicaId>,
    /// Who receives the log without a vote. One that is also in `outgoing` votes until the change is over.
    pub learners: Vec<ReplicaId>,
}

/// Why bytes are no membership. Whoever sent or stored them is broken; nothing is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// There are no bytes at all.
    Empty,
    /// The version byte is unknown: a newer program wrote it.
    Version(u8),
    /// The bytes behind the version are damaged.
    Damaged,
    /// The lists are not those of a membership.
    Invalid(Invalid),
}

/// Why lists of replicas are no membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// There is nobody to vote.
    NoVoters,
    /// A replica is named twice in a list, or is voter and learner at once.
    Twice(ReplicaId),
    /// More than [`MEMBERS_MAX`] members.
    TooMany,
    /// A list is not sorted.
    Unsorted,
}

impl Membership {
    /// A membership that is not joint. The order of the lists does not matter.
    pub fn new(voters: &[ReplicaId], learners: &[ReplicaId]) -> Result<Membership, Invalid> {
        let mut membership = Membership { voters: voters.to_vec(), outgoing: Vec::new(), learners: learners.to_vec() };
        membership.voters.sort_unstable();
        membership.learners.sort_unstable();
        membership.check()?;
        Ok(membership)
    }

    /// What to append now on the way from here to `target`: the joint membership, or `target` itself if
    /// nobody's vote changes.
    pub fn toward(&self, target: &Membership) -> Membership {
        let outgoing = if target.voters == self.voters { Vec::new() } else { self.voters.clone() };
        Membership { voters: target.voters.clone(), outgoing, learners: target.learners.clone() }
    }

    /// What follows a joint membership.
    pub fn without_outgoing(&self) -> Membership {
        Membership { voters: self.voters.clone(), outgoing: Vec::new(), learners: self.learners.clone() }
    }

    /// Whether its members are the replica that asks and its `peers` peers, and all of them vote in one set. The usual case.
    pub(crate) fn is_this_and(&self, peers: usize) -> bool {
        // A replica that is no member has all members for its peers.
        self.outgoing.is_empty() && self.voters.len() == peers + 1
    }

    /// Whether two sets of voters must agree.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` votes, in either set.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.binary_search(&id).is_ok() || self.outgoing.binary_search(&id).is_ok()
    }

    /// Whether `id` receives the log but does not vote.
    pub fn is_learner(&self, id: ReplicaId) -> bool {
        self.learners.binary_search(&id).is_ok() && !self.is_voter(id)
    }

    /// Whether `id` is in any list.
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.is_voter(id) || self.is_learner(id)
    }

    /// Everybody whose vote counts, in order, each once.
    pub fn all_voters(&self) -> Vec<ReplicaId> {
        merged(&[&self.voters, &self.outgoing])
    }

    /// Everybody who receives the log, in order, each once.
    pub fn members(&self) -> Vec<ReplicaId> {
        merged(&[&self.voters, &self.outgoing, &self.learners])
    }

    /// The payload of an entry of kind [`crate::entry::EntryKind::Membership`]: a version byte and an rkyv archive.
    pub fn encode(&self) -> Vec<u8> {
        let archive = rkyv::to_bytes::<rkyv::rancor::Error>(self).expect("memory is the only resource this needs");
        let mut bytes = Vec::with_capacity(1 + archive.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&archive);
        bytes
    }

    /// The membership in bytes from a disk or a peer.
    pub fn decode(bytes: &[u8]) -> Result<Membership, DecodeError> {
        let (version, archive) = bytes.split_first().ok_or(DecodeError::Empty)?;
        if *version != VERSION {
            return Err(DecodeError::Version(*version));
        }
        let membership =
            rkyv::from_bytes::<Membership, rkyv::rancor::Error>(archive).map_err(|_| DecodeError::Damaged)?;
        // A replica that joins knows nobody yet: nobody at all is a membership, too.
        if membership != Membership::default() {
            membership.check().map_err(DecodeError::Invalid)?;
        }
        Ok(membership)
    }

    /// Whether the lists can be a membership.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.voters.is_empty() {
            return Err(Invalid::NoVoters);
        }
        if self.voters.len() + self.outgoing.len() + self.learners.len() > MEMBERS_MAX {
            return Err(Invalid::TooMany);
        }
        for list in [&self.voters, &self.outgoing, &self.learners] {
            for pair in list.windows(2) {
                match pair[0].cmp(&pair[1]) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => return Err(Invalid::Twice(pair[0])),
                    std::cmp::Ordering::Greater => return Err(Invalid::Unsorted),
                }
            }
        }
        match self.learners.iter().find(|id| self.voters.binary_search(id).is_ok()) {
            Some(id) => Err(Invalid::Twice(*id)),
            None => Ok(()),
        }
    }
}

fn merged(lists: &[&Vec<ReplicaId>]) -> Vec<ReplicaId> {
    let mut all: Vec<ReplicaId> = lists.iter().flat_map(|list| list.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The memberships of one log: the one at its start, and those of its entries.
#[derive(Debug)]
pub(crate) struct Memberships {
    start: Membership,
    entries: Vec<(Index, Membership)>,
}

impl Memberships {
    pub(crate) fn new(start: Membership, entries: Vec<(Index, Membership)>) -> Memberships {
        assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0), "memberships are not ascending: {entries:?}");
        Memberships { start, entries }
    }

    /// The one in force.
    pub(crate) fn current(&self) -> &Membership {
        self.entries.last().map_or(&self.start, |entry| &entry.1)
    }

    /// The index of the entry in force; 0 if it is the one from before the log.
    pub(crate) fn current_index(&self) -> Index {
        self.entries.last().map_or(Index(0), |entry| entry.0)
    }

    /// The one that an entry at `index` or before it put in force. `index` must not lie before the log.
    pub(crate) fn at(&self, index: Index) -> &Membership {
        let after = self.entries.partition_point(|entry| entry.0 <= index);
        if after == 0 { &self.start } else { &self.entries[after - 1].1 }
    }

    pub(crate) fn append(&mut self, index: Index, membership: Membership) {
        assert!(index > self.current_index(), "membership at {index} after one at {}", self.current_index());
        self.entries.push((index, membership));
    }

    /// The entries from `from` on are gone; the membership before them is in force again.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.entries.retain(|entry| entry.0 < from);
    }

    pub(crate) fn compact(&mut self, upto: Index) {
        self.start = self.at(upto).clone();
        self.entries.retain(|entry| entry.0 > upto);
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::NoVoters => write!(f, "there are no voters"),
            Invalid::Twice(id) => write!(f, "{id} is named twice"),
            Invalid::TooMany => write!(f, "there are more than {MEMBERS_MAX} members"),
            Invalid::Unsorted => write!(f, "a list is not sorted"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Empty => write!(f, "a membership without bytes"),
            DecodeError::Version(version) => write!(f, "a membership of version {version}, which is not known here"),
            DecodeError::Damaged => write!(f, "the bytes of a membership are damaged"),
            DecodeError::Invalid(invalid) => write!(f, "no membership: {invalid}"),
        }
    }
}

impl std::error::Error for Invalid {}
impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<ReplicaId> {
        numbers.iter().map(|number| ReplicaId(*number)).collect()
    }

    #[test]
    fn bytes_come_back_as_they_went() {
        let membership = Membership { voters: ids(&[1, 2, 3]), outgoing: ids(&[1, 4]), learners: ids(&[4, 9]) };
        assert_eq!(Membership::decode(&membership.encode()), Ok(membership));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = Membership::new(&ids(&[1, 2, 3]), &ids(&[7])).unwrap().encode();
        assert_eq!(Membership::decode(&[]), Err(DecodeError::Empty));
        assert_eq!(Membership::decode(&[9, 0, 0]), Err(DecodeError::Version(9)));
        for at in 0..bytes.len() {
            let _ = Membership::decode(&bytes[..at]);
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let _ = Membership::decode(&damaged);
            }
        }
    }

    #[test]
    fn impossible_lists_are_named() {
        assert_eq!(Membership::new(&[], &ids(&[1])), Err(Invalid::NoVoters));
        assert_eq!(Membership::new(&ids(&[1, 1]), &[]), Err(Invalid::Twice(ReplicaId(1))));
        assert_eq!(Membership::new(&ids(&[1, 2]), &ids(&[2])), Err(Invalid::Twice(ReplicaId(2))));
        let unsorted = Membership { voters: ids(&[2, 1]), ..Membership::default() };
        assert_eq!(Membership::decode(&unsorted.encode()), Err(DecodeError::Invalid(Invalid::Unsorted)));
    }

    #[test]
    fn only_a_change_of_voters_is_joint() {
        let from = Membership::new(&ids(&[1, 2, 3]), &[]).unwrap();
        let learner = from.toward(&Membership::new(&ids(&[1, 2, 3]), &ids(&[4])).unwrap());
        assert!(!learner.is_joint());
        let joint = learner.toward(&Membership::new(&ids(&[2, 3, 4]), &ids(&[1])).unwrap());
        assert!(joint.is_joint() && joint.is_voter(ReplicaId(1)) && !joint.is_learner(ReplicaId(1)));
        assert!(joint.without_outgoing().is_learner(ReplicaId(1)));
        assert_eq!(joint.members(), ids(&[1, 2, 3, 4]));
    }

    #[test]
    fn a_truncated_membership_gives_way_to_the_former() {
        let of = |number| Membership::new(&ids(&[number]), &[]).unwrap();
        let mut memberships = Memberships::new(of(1), vec![(Index(4), of(2))]);
        memberships.append(Index(7), of(3));
        assert_eq!(memberships.at(Index(6)), &of(2));
        memberships.truncate(Index(7));
        assert_eq!((memberships.current(), memberships.current_index()), (&of(2), Index(4)));
        memberships.compact(Index(5));
        assert_eq!((memberships.current(), memberships.current_index()), (&of(2), Index(0)));
    }
}
