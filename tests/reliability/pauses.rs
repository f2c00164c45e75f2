//! A leader that stood still for a while does not know it: it must not answer from what it remembers.

use std::time::{Duration, Instant};

use engine_core::placement::ring::Ring;
use net::client::Client;
use net::response::Response;
use rustix::process::Signal;

use crate::harness::eventually;
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::elections;
use crate::nemesis::wire::Wire;
use crate::{PATIENCE, on_cluster, repeat, settings};

/// How long a leader that was paused may take to say something.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_leader_that_was_paused_gives_no_stale_read() {
    pause_leaders("pauses", Options::default());
}

#[test]
fn a_leader_with_a_lease_that_was_paused_gives_no_stale_read() {
    pause_leaders("pauses-leases", settings(&["raft.leases=true"]));
}

fn pause_leaders(name: &str, options: Options) {
    on_cluster(name, options, |_, cluster| {
        let mut client = cluster.client(PATIENCE);
        let ring = client.map().expect("a map").ring();
        let (mut refused, mut fresh) = (0, 0);
        for cycle in 1..=repeat(5, 200) {
            match pause(&cluster, &mut client, &ring, cycle) {
                true => fresh += 1,
                false => refused += 1,
            }
        }
        println!(
            "{} pauses of leaders, 0 stale reads: {refused} refused, {fresh} with the newest value",
            refused + fresh
        );
    });
}

/// Pauses the leader of a key, writes elsewhere, and asks the leader as it wakes. Whether it knew the newest value;
/// else it refused.
fn pause(cluster: &Cluster, client: &mut Client, ring: &Ring, cycle: u64) -> bool {
    let key = format!("paused {cycle}");
    let group = ring.group_of(key.as_bytes()).0;
    client.put_blind(key.as_bytes(), b"old").expect("a write");
    cluster.wait_healthy();
    // It may be on its way to the node that is to lead it.
    let (leader, mut wire) = eventually(PATIENCE, "a leader that answers", || {
        let leader = leader_of(cluster, group);
        let (mut wire, reply) = Wire::connect(&cluster.nodes[leader].address).expect("a connection");
        reply.status.expect("it is accepted");
        wire.send_read(group, key.as_bytes(), false).expect("sent");
        match wire.receive(ANSWER_PATIENCE).expect("an answer") {
            Some((_, Response::Value(value))) => {
                assert_eq!(value.as_deref(), Some(&b"old"[..]), "n{} leads", leader + 1);
                Some((leader, wire))
            }
            Some((_, Response::Refused(_))) => None,
            other => panic!("cycle {cycle}: {other:?}"),
        }
    });

    let paused = Instant::now();
    cluster.signal(leader, Signal::STOP);
    client.put_blind(key.as_bytes(), b"new").expect("the others elect a leader");
    // These wait in the sockets of the paused process: it finds them before any message of its successor.
    let reads = [(); 3].map(|()| wire.send_read(group, key.as_bytes(), false).expect("sent"));
    // At most so long that the leader could still believe in itself, and some that it cannot.
    let rest = elections(2.0 + (cycle % 4) as f64).saturating_sub(paused.elapsed());
    std::thread::sleep(rest); // the length of the pause is the fault
    cluster.signal(leader, Signal::CONT);

    let mut knew = false;
    for _ in reads {
        match wire.receive(ANSWER_PATIENCE).expect("an answer") {
            Some((_, Response::Value(value))) => {
                let text = value.as_ref().map(|value| value.escape_ascii().to_string());
                assert_eq!(value.as_deref(), Some(&b"new"[..]), "cycle {cycle}: a stale read: {text:?}");
                knew = true;
            }
            Some((_, Response::Refused(_))) => {}
            other => panic!("cycle {cycle}: {other:?}"),
        }
    }
    knew
}

/// The position of the node that leads a group; all nodes agree on it.
pub fn leader_of(cluster: &Cluster, group: u32) -> usize {
    eventually(PATIENCE, "a leader", || {
        let status = cluster.status();
        let leaders: Vec<Option<u16>> = status
            .iter()
            .map(|node| node.as_ref()?.groups.iter().find(|replica| replica.group == group)?.leader)
            .collect();
        leaders[0].filter(|_| leaders.iter().all(|leader| *leader == leaders[0])).map(usize::from)
    })
}
