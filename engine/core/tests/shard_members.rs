//! How a node with an empty disk is taken in, and how its replicas take the places of the lost ones.

#[allow(dead_code)] // each that shares it uses a part
mod shard_support;

use engine_core::exchange::{Question, Round, Word};
use engine_core::placement::map::{ClusterMap, MAP_GROUP};
use engine_core::placement::petition::Petition;
use engine_core::shard::Event;
use raft::entry::LogId;
use raft::ids::{GroupId, Index, ReplicaId};
use raft::membership::Membership;
use raft::message::{AppendReply, Body, Message};
use raft::progress::PeerState;
use raft::replica::Role;
use shard_support::{Cluster, ELECTION_TICKS};

const GROUP: GroupId = GroupId(1);
const LOST: u16 = 2;

fn petition() -> Petition {
    Petition { name: format!("n{LOST}"), incarnation: 77, shards: 1, replaces: u64::from(LOST) + 1, insists: false }
}

/// A cluster that group 0 and the group of the test are led in by others, and its map with a newcomer in it.
fn cluster() -> (Cluster, ClusterMap) {
    let mut cluster = Cluster::new(1);
    cluster.run(2 * ELECTION_TICKS);
    let (_, next) = cluster.map().admit(&petition()).expect("it is another disk");
    (cluster, next)
}

fn last(cluster: &Cluster, node: u16) -> Index {
    cluster.last(node, MAP_GROUP)
}

#[test]
fn nobody_is_taken_in_while_the_former_process_beats() {
    let (mut cluster, _) = cluster();
    let leader = cluster.leader(MAP_GROUP);
    assert_ne!(leader, LOST, "it is led by others");
    let before = last(&cluster, leader);
    cluster.tell(leader, Event::Petition(&petition()));
    cluster.settle();
    assert_eq!(last(&cluster, leader), before, "a node that lives was replaced");

    cluster.pause(LOST);
    cluster.run(ELECTION_TICKS);
    cluster.tell(leader, Event::Petition(&petition()));
    cluster.settle();
    assert_eq!(last(&cluster, leader), before.next(), "the map that takes it in");
    // Repeated before anything came of it: once is enough.
    cluster.tell(leader, Event::Petition(&petition()));
    cluster.settle();
    assert_eq!(last(&cluster, leader), before.next());
    let follower = (0..2).find(|node| *node != leader).expect("another node");
    cluster.tell(follower, Event::Petition(&petition()));
    assert_eq!(last(&cluster, follower), before.next(), "only the leader proposes");
}

#[test]
fn a_new_leader_does_not_measure_learners_by_who_is_lost() {
    let (mut cluster, next) = cluster();
    let leader = cluster.leader(GROUP);
    assert_ne!(leader, LOST, "it is led by others");
    for _ in 0..1_100 {
        cluster.write(leader, GROUP);
        cluster.settle();
    }
    cluster.pause(LOST);
    cluster.run(4 * ELECTION_TICKS);
    for node in 0..LOST {
        cluster.tell(node, Event::Map(&next));
    }
    cluster.run(ELECTION_TICKS);
    let former = cluster.membership(leader, GROUP).voters.clone();
    let new = ReplicaId::new(LOST, 1);
    assert_eq!(cluster.membership(leader, GROUP).learners, [new]);

    let successor = (0..LOST).find(|node| *node != leader).expect("another node");
    cluster.tell(leader, Event::Drain);
    cluster.deliver_until(|cluster| cluster.role(successor, GROUP) == Role::Leader);
    cluster.settle();
    let (to, term) = (ReplicaId::new(successor, 0), cluster.term(successor, GROUP));
    let prev = cluster.last(successor, GROUP).prev();
    // It has next to nothing, and says so.
    for reply in [
        AppendReply::Rejected { prev, hint: LogId::default(), last: Index(0) },
        AppendReply::Accepted { matched: Index(0) },
    ] {
        let message = Message { from: new, to, term, body: Body::AppendReply(reply) };
        cluster.tell(successor, Event::Message { group: GROUP, message });
        cluster.settle();
    }
    let replica = cluster.shard(successor).replica(GROUP).expect("a replica");
    let learner = replica.peers().find(|peer| peer.id == new).expect("a learner");
    assert_eq!((learner.state, learner.matched), (PeerState::Replicate, Index(0)));
    let lost = replica.peers().find(|peer| peer.id == ReplicaId::new(LOST, 0)).expect("who is lost");
    assert!(lost.active, "as far as a new leader knows");
    cluster.run(4);
    assert_eq!(cluster.membership(successor, GROUP).voters, former, "it lacks more than a thousand entries");
    assert!(!cluster.membership(successor, GROUP).is_joint());
}

#[test]
fn a_new_replica_is_a_learner_before_it_votes() {
    let (mut cluster, next) = cluster();
    cluster.pause(LOST);
    cluster.run(4 * ELECTION_TICKS);
    for node in 0..LOST {
        cluster.tell(node, Event::Map(&next));
    }
    cluster.run(ELECTION_TICKS);
    let leader = cluster.leader(GROUP);
    let former: Vec<ReplicaId> = (0..3).map(|node| ReplicaId::new(node, 0)).collect();
    let new = ReplicaId::new(LOST, 1);
    assert_eq!(*cluster.membership(leader, GROUP), Membership::new(&former, &[new]).expect("a membership"));
    // It never answers, so nothing more happens, however long.
    cluster.run(20 * ELECTION_TICKS);
    assert_eq!(cluster.membership(leader, GROUP).voters, former);
}

#[test]
fn a_round_for_the_lost_replica_is_not_confirmed_by_the_new_one() {
    let (mut cluster, _) = cluster();
    let leader = cluster.leader(GROUP);
    let asked = (0..3).find(|node| *node != leader).expect("another node");
    let term = cluster.term(leader, GROUP);
    let mut refused = |to: ReplicaId| {
        cluster.forget();
        let round = Round { start: 9, number: 1, questions: vec![Question { group: GROUP, to, term }] };
        cluster.tell(asked, Event::Word { from: (leader, 0), word: Word::Round(round) });
        let mut answers = cluster.words.iter().filter_map(|(_, _, word)| match word {
            Word::Answer(answer) => Some(answer.refused.clone()),
            _ => None,
        });
        answers.next_back().expect("an answer")
    };
    assert_eq!(refused(ReplicaId::new(asked, 0)), []);
    assert_eq!(refused(ReplicaId::new(asked, 1)), [GROUP]);
}
