//! Disks that are lost as a whole: the node comes back with an empty one, under a new incarnation, or not at all.

use std::path::PathBuf;
use std::time::Duration;

use net::status::ROLE_LEADER;

use crate::harness::eventually;
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::elections;
use crate::writer::Writer;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, repeat};

/// How long a node that was replaced may take to hear of it and end.
const REPLACED: Duration = Duration::from_secs(20);

#[test]
fn a_node_whose_disk_was_wiped_comes_back_and_its_vote_counts() {
    on_cluster("wiped", Options::default(), |_, mut cluster| {
        for cycle in 0..repeat(2, 10) as usize {
            let victim = cycle % 3;
            let writer = Writer::start(&cluster.endpoints());
            writer.wait_for_more(200, PATIENCE);
            cluster.kill(victim);
            let kept = set_aside(&cluster, victim);
            cluster.start_node(victim);
            wait_taken_in(&cluster, victim, cycle as u64 + 2);
            writer.wait_for_more(200, PATIENCE);
            // Now it makes a majority with one other.
            let other = (victim + 1) % 3;
            cluster.kill(other);
            writer.wait_for_more(200, PATIENCE);
            cluster.start_node(other);
            writer.stop().assert_all_there(&cluster.endpoints());
            assert_replicas_agree(&cluster);
            // The old disk is found again: the node with it hears that another one is in its place, and ends.
            if cycle == 0 {
                cluster.kill(victim);
                let new = set_aside(&cluster, victim);
                std::fs::rename(&kept, &cluster.nodes[victim].data).expect("put back");
                cluster.start_node(victim);
                let ended = cluster.wait_end(victim, REPLACED);
                assert!(ended.is_some_and(|status| !status.success()), "a replaced node ends: {ended:?}");
                assert!(cluster.log(victim).contains("has been replaced"), "it says why");
                // And does not start any more.
                cluster.start_node(victim);
                let ended = cluster.wait_end(victim, REPLACED);
                assert_eq!(ended.and_then(|status| status.code()), Some(1), "a refusal in words");
                std::fs::remove_dir_all(&cluster.nodes[victim].data).expect("the old disk is emptied");
                std::fs::rename(&new, &cluster.nodes[victim].data).expect("put back");
                cluster.start_node(victim);
                assert_replicas_agree(&cluster);
            } else {
                std::fs::remove_dir_all(&kept).expect("the old disk is emptied");
            }
        }
    });
}

#[test]
fn a_node_whose_disk_was_wiped_makes_no_majority_with_one_that_is_not_enough() {
    on_cluster("wiped-alone", Options::default(), |_, mut cluster| {
        let writer = Writer::start(&cluster.endpoints());
        writer.wait_for_more(200, PATIENCE);
        let written = writer.stop();
        let (victim, other) = (2, 1);
        cluster.kill(other);
        cluster.kill(victim);
        // While the one that is left believes to lead, it would write the newcomer into its log, to be taken in later.
        eventually(PATIENCE, "the one that is left to lead nothing", || {
            let status = cluster.status().into_iter().next()??;
            status.groups.iter().all(|replica| replica.role != ROLE_LEADER).then_some(())
        });
        let kept = set_aside(&cluster, victim);
        cluster.start_node(victim);
        let refused = cluster.client(elections(8.0)).put_blind(b"by one node and a wiped one", b"v");
        assert!(refused.is_err(), "a wiped node made a majority");
        // Nobody has taken it in, so its old disk is still its place.
        cluster.kill(victim);
        std::fs::remove_dir_all(&cluster.nodes[victim].data).expect("removed");
        std::fs::rename(&kept, &cluster.nodes[victim].data).expect("put back");
        cluster.start_node(victim);
        cluster.start_node(other);
        written.assert_all_there(&cluster.endpoints());
        assert_replicas_agree(&cluster);
    });
}

/// Moves what a node that does not run has on its disk out of its way.
fn set_aside(cluster: &Cluster, node: usize) -> PathBuf {
    let data = &cluster.nodes[node].data;
    let kept = (0..).map(|number| data.with_extension(format!("kept-{number}"))).find(|path| !path.exists());
    let kept = kept.expect("a free name");
    std::fs::rename(data, &kept).expect("set aside");
    kept
}

/// Waits until a node does its part in every group, under the map of `epoch`.
fn wait_taken_in(cluster: &Cluster, node: usize, epoch: u64) {
    eventually(PATIENCE, "the wiped node to be a member of every group", || {
        let status = cluster.status().into_iter().nth(node)??;
        let whole = status.groups.iter().all(|replica| replica.whole && replica.leader.is_some());
        (status.epoch == epoch && !status.groups.is_empty() && whole).then_some(())
    });
}
