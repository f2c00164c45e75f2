//! The arithmetic of majorities against a model that tries every subset.

use proptest::prelude::*;
use raft::ids::ReplicaId;
use raft::membership::Membership;
use raft::quorum::{VoteResult, is_quorum, reached_by_quorum, vote_result};
use std::collections::{BTreeMap, BTreeSet};

const IDS: u64 = 12;

fn membership() -> impl Strategy<Value = Membership> {
    let set = || proptest::collection::btree_set(1..=IDS, 0..=7);
    (set(), set()).prop_map(|(voters, outgoing)| Membership {
        voters: voters.into_iter().map(ReplicaId).collect(),
        outgoing: outgoing.into_iter().map(ReplicaId).collect(),
        learners: Vec::new(),
    })
}

/// More than half of each set that is not empty, and there is somebody at all.
fn is_quorum_by_definition(membership: &Membership, agreed: &BTreeSet<ReplicaId>) -> bool {
    let half =
        |set: &[ReplicaId]| set.iter().filter(|id| agreed.contains(id)).count() * 2 > set.len() || set.is_empty();
    !membership.voters.is_empty() && half(&membership.voters) && half(&membership.outgoing)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_is_reached_exactly_if_a_quorum_has_come_so_far(
        membership in membership(),
        reached in proptest::collection::btree_map(1..=IDS, 0..9u64, 0..=12),
    ) {
        let of = |id: ReplicaId| reached.get(&id.0).copied().unwrap_or(0);
        let so_far = |index| (1..=IDS).map(ReplicaId).filter(|id| of(*id) >= index).collect::<BTreeSet<_>>();
        let expected = (0..9).rev().find(|index| is_quorum_by_definition(&membership, &so_far(*index))).unwrap_or(0);
        prop_assert_eq!(reached_by_quorum(&membership, &of), expected);
    }

    #[test]
    fn a_vote_is_won_or_lost_exactly_when_no_further_vote_can_change_it(
        membership in membership(),
        votes in proptest::collection::btree_map(1..=IDS, any::<bool>(), 0..=12),
    ) {
        let votes: BTreeMap<ReplicaId, bool> = votes.into_iter().map(|(id, vote)| (ReplicaId(id), vote)).collect();
        let agreed_if_open_say = |open: bool| {
            (1..=IDS).map(ReplicaId).filter(|id| votes.get(id).copied().unwrap_or(open)).collect::<BTreeSet<_>>()
        };
        let worst = is_quorum_by_definition(&membership, &agreed_if_open_say(false));
        let best = is_quorum_by_definition(&membership, &agreed_if_open_say(true));
        let expected = match (worst, best) {
            (true, _) => VoteResult::Won,
            (false, false) => VoteResult::Lost,
            (false, true) => VoteResult::Pending,
        };
        prop_assert_eq!(vote_result(&membership, &|id| votes.get(&id).copied()), expected);
    }

    #[test]
    fn two_quorums_always_share_a_voter(membership in membership(), one in 0u64..1 << IDS) {
        let holds = |id: ReplicaId| one >> (id.0 - 1) & 1 == 1;
        if is_quorum(&membership, &holds) {
            prop_assert!(!is_quorum(&membership, &|id| !holds(id)), "two disjoint quorums");
        }
    }

    #[test]
    fn quorums_before_during_and_after_a_change_share_voters(
        from in membership(),
        to in membership(),
        one in 0u64..1 << IDS,
    ) {
        let from = from.without_outgoing();
        let to = to.without_outgoing();
        prop_assume!(!from.voters.is_empty() && !to.voters.is_empty());
        let during = from.toward(&to);
        let holds = |id: ReplicaId| one >> (id.0 - 1) & 1 == 1;
        for (earlier, later) in [(&from, &during), (&during, &to), (&during, &from)] {
            if is_quorum(earlier, &holds) {
                prop_assert!(!is_quorum(later, &|id| !holds(id)), "{:?} and {:?} decide apart", earlier, later);
            }
        }
    }
}
