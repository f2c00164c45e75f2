//! The arithmetic of majorities, plain and joint. Nothing here knows what is counted.
//!
//! A membership in transition needs a majority of both of its sets of voters for everything
//! (paper section 6), so every question is asked of each set and the worse answer counts.

use crate::ids::ReplicaId;
use crate::membership::Membership;

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteResult {
    /// A majority said yes.
    Won,
    /// A majority can no longer say yes.
    Lost,
    /// Neither is certain yet.
    Pending,
}

/// The greatest number that a majority of every set of voters has reached, where `reached` tells how far each
/// has come. 0 if there are no voters at all.
pub fn reached_by_quorum(membership: &Membership, reached: &impl Fn(ReplicaId) -> u64) -> u64 {
    let incoming = reached_by_majority(&membership.voters, reached).unwrap_or(0);
    let outgoing = reached_by_majority(&membership.outgoing, reached).unwrap_or(u64::MAX);
    incoming.min(outgoing)
}

/// How an election stands, where `vote` tells what each voter said, or `None` as long as it has said nothing.
/// Lost if there are no voters at all.
pub fn vote_result(membership: &Membership, vote: &dyn Fn(ReplicaId) -> Option<bool>) -> VoteResult {
    if membership.voters.is_empty() {
        return VoteResult::Lost;
    }
    match (majority_vote(&membership.voters, vote), majority_vote(&membership.outgoing, vote)) {
        (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
        (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
        _ => VoteResult::Pending,
    }
}

/// Whether the voters of which `holds` is true are a quorum.
pub fn is_quorum(membership: &Membership, holds: &dyn Fn(ReplicaId) -> bool) -> bool {
    vote_result(membership, &|id| Some(holds(id))) == VoteResult::Won
}

/// The smallest number of voters that is more than half of them.
fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

fn reached_by_majority(voters: &[ReplicaId], reached: &impl Fn(ReplicaId) -> u64) -> Option<u64> {
    majority_of(voters.len(), voters.iter().map(|voter| reached(*voter)))
}

/// The greatest number that a majority of these `count` numbers has reached; `None` if there are none.
pub(crate) fn majority_of(count: usize, numbers: impl Iterator<Item = u64>) -> Option<u64> {
    if count == 0 {
        return None;
    }
    // Asked after every acknowledgement: groups have few voters, and those fit on the stack.
    let mut few = [0; 8];
    let mut many = Vec::new();
    let sorted = match few.get_mut(..count) {
        Some(few) => few,
        None => {
            many.resize(count, 0);
            &mut many[..]
        }
    };
    for (place, number) in numbers.enumerate() {
        let mut place = place;
        while place > 0 && sorted[place - 1] > number {
            sorted[place] = sorted[place - 1];
            place -= 1;
        }
        sorted[place] = number;
    }
    Some(sorted[count - majority(count)])
}

/// An empty set has nothing against anybody.
fn majority_vote(voters: &[ReplicaId], vote: &dyn Fn(ReplicaId) -> Option<bool>) -> VoteResult {
    let mut yes = 0;
    let mut open = 0;
    for voter in voters {
        match vote(*voter) {
            Some(true) => yes += 1,
            Some(false) => {}
            None => open += 1,
        }
    }
    if voters.is_empty() || yes >= majority(voters.len()) {
        VoteResult::Won
    } else if yes + open >= majority(voters.len()) {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}
