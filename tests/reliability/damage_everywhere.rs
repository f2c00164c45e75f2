//! A flipped bit on every node: nobody has a sound copy to heal from, and nobody may pretend to.

use engine_core::placement::ring::Ring;

use crate::damage::{KEYS, examine, flip, name, put_back, set_aside, stop, value, wait_applied};
use crate::nemesis::cluster::Options;
use crate::nemesis::random::Random;
use crate::nemesis::stage::skip;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, repeat};

#[test]
fn bits_flipped_on_all_nodes_are_never_wrong_values() {
    on_cluster("bit-flips-all", Options::default(), |stage, mut cluster| {
        if let Err(why) = cluster.network.can_cut() {
            return skip("bit-flips-all", &why);
        }
        let mut random = Random::seeded();
        let mut client = cluster.client(PATIENCE);
        let ring: Ring = client.map().expect("a map").ring();
        for key in 0..KEYS {
            client.put_blind(&name(key), &value(key)).expect("a write");
        }
        wait_applied(&cluster);
        let nodes = cluster.nodes.len();
        for cycle in 1..=repeat(2, 30) {
            cluster.wait_healthy();
            wait_applied(&cluster);
            (0..nodes).for_each(|node| stop(&mut cluster, node, cycle % 2 == 0));
            let copies: Vec<_> = (0..nodes).map(|node| set_aside(stage, &cluster.nodes[node].data, node)).collect();
            // The same kind of file on each: what is the matter with one is the matter with all.
            let kind = random.below(3);
            let flipped: Vec<_> = (0..nodes).map(|node| flip(&cluster.nodes[node].data, kind, &mut random)).collect();
            let before: Vec<usize> = (0..nodes).map(|node| cluster.log(node).len()).collect();
            // Each on its own first: what it serves is what it has.
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                cluster.network.cut_both(one, other);
            }
            (0..nodes).for_each(|node| cluster.start_node(node));
            let found: Vec<_> = (0..nodes).map(|node| examine(&mut cluster, node, &ring)).collect();
            println!("cycle {cycle}: {flipped:?}: {found:?}");
            // Then together: what they heal of, they heal from each other.
            cluster.network.heal();
            let together: Vec<_> = (0..nodes).map(|node| examine(&mut cluster, node, &ring)).collect();
            println!("together: {together:?}");
            for node in 0..nodes {
                let said = cluster.log(node)[before[node]..].to_owned();
                assert!(!said.contains("panicked"), "{:?}: a disk that lies is no panic:\n{said}", flipped[node]);
                cluster.kill(node);
            }
            for (node, copy) in copies.iter().enumerate() {
                put_back(copy, &cluster.nodes[node].data);
                cluster.start_node(node);
            }
        }
        assert_replicas_agree(&cluster);
    });
}
