//! How long the slot of a snapshot is kept for a sender of which nothing comes.

#[allow(dead_code)] // each that shares it uses a part
mod shard_support;

use engine_core::shard::{Event, Pressure, Serving};
use engine_core::snapshot::Header;
use raft::ids::GroupId;
use raft::message::Body;
use shard_support::{Cluster, ELECTION_TICKS, SNAPSHOT_ENTRIES};

const GROUP: GroupId = GroupId(1);

/// Three nodes, of which one leads and one has granted a snapshot that begins so.
struct Scene {
    cluster: Cluster,
    leader: u16,
    receiver: u16,
    header: Header,
}

impl Scene {
    /// A follower that was away for so long that the log of its leader does not reach back to it.
    fn behind() -> Scene {
        let mut cluster = Cluster::new(1);
        cluster.run(ELECTION_TICKS);
        let leader = cluster.leader(GROUP);
        let receiver = (leader + 1) % 3;
        cluster.pause(receiver);
        for _ in 0..2 * SNAPSHOT_ENTRIES {
            cluster.write(leader, GROUP);
            cluster.settle();
        }
        cluster.run(3 * ELECTION_TICKS);
        let durable = vec![(GROUP, cluster.applied(leader, GROUP))];
        cluster.tell(leader, Event::StoreSynced { durable, pressure: Pressure::None });
        cluster.resume(receiver);
        Scene::granted(cluster, leader, receiver)
    }

    /// A follower that has lost its store.
    fn hollow() -> Scene {
        let mut cluster = Cluster::new(1);
        cluster.run(ELECTION_TICKS);
        let leader = cluster.leader(GROUP);
        let receiver = (leader + 1) % 3;
        cluster.restart_as(receiver, Serving::Hollow);
        Scene::granted(cluster, leader, receiver)
    }

    fn granted(mut cluster: Cluster, leader: u16, receiver: u16) -> Scene {
        let replica = |node| cluster.shard(node).replica(GROUP).expect("everybody has it");
        let header = Header {
            group: GROUP,
            from: replica(leader).id(),
            to: replica(receiver).id(),
            term: cluster.term(leader, GROUP),
            id: 5,
            last: cluster.applied(leader, GROUP),
            membership: cluster.membership(leader, GROUP).encode(),
        };
        cluster.run(3 * ELECTION_TICKS);
        let scene = Scene { cluster, leader, receiver, header };
        assert!(scene.is_admitted(), "it is offered a snapshot and takes it");
        scene
    }

    fn is_admitted(&self) -> bool {
        self.cluster.shard(self.receiver).admits_snapshot(&self.header)
    }

    /// Offers of the leader since the last count of messages began.
    fn offers(&self) -> usize {
        let of_leader = self.cluster.messages.iter().filter(|(from, ..)| *from == self.leader);
        of_leader.filter(|(_, _, message)| matches!(message.body, Body::SnapshotOffer { .. })).count()
    }
}

#[test]
fn a_slow_sender_whose_leader_offers_again_is_not_taken_for_a_dead_one() {
    for mut scene in [Scene::behind(), Scene::hollow()] {
        scene.cluster.forget();
        scene.cluster.run(50 * ELECTION_TICKS);
        assert_eq!(scene.cluster.abandoned(scene.receiver), 0, "what has come would be lost");
        assert!(scene.is_admitted());
        assert!(scene.offers() >= 40, "{} offers in 50 election timeouts", scene.offers());
    }
}

#[test]
fn a_slow_sender_is_not_called_off_because_its_receiver_asks_at_odd_times() {
    let mut scene = Scene::hollow();
    // Of two questions one comes a little before an election timeout of the leader is over, the next a little late.
    let without_a_tick = |scene: &mut Scene, node: u16| {
        scene.cluster.run(ELECTION_TICKS / 2);
        scene.cluster.pause(node);
        scene.cluster.run(1);
        scene.cluster.resume(node);
        scene.cluster.run(ELECTION_TICKS / 2 - 1);
    };
    for _ in 0..20 {
        let (leader, receiver) = (scene.leader, scene.receiver);
        without_a_tick(&mut scene, leader);
        without_a_tick(&mut scene, receiver);
        scene.cluster.run(1);
    }
    assert_eq!(scene.cluster.called_off(scene.leader), 0);
    assert!(scene.is_admitted());
}

#[test]
fn a_sender_that_is_stuck_does_not_keep_the_slot_for_ever() {
    // Of the one group alone is the follower behind, but both have lost their state with the store: the other waits for the slot.
    for (mut scene, gets_it_again) in [(Scene::behind(), true), (Scene::hollow(), false)] {
        scene.cluster.run(150 * ELECTION_TICKS);
        assert_eq!(scene.cluster.abandoned(scene.receiver), 1);
        assert_eq!(scene.is_admitted(), gets_it_again);
    }
}
