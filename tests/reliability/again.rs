//! Writes that come twice: the same bytes sent again on other connections, to other leaders, after restarts.

use engine_core::command::{self, ClientId, Command, Operation, Outcome, SessionRef};
use net::response::Response;
use raft::ids::{GroupId, Index};

use crate::harness::{eventually, unique};
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::elections;
use crate::nemesis::random::Random;
use crate::nemesis::wire::Wire;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, repeat};

/// A write as somebody on the way captured it.
struct Captured {
    group: u32,
    key: Vec<u8>,
    bytes: Vec<u8>,
    outcome: Outcome,
}

#[test]
fn a_write_that_comes_again_happens_once_whatever_has_happened_since() {
    on_cluster("sent-again", Options::default(), |_, mut cluster| {
        let mut random = Random::seeded();
        let mut sent = 0;
        for round in 1..=repeat(1, 20) {
            let captured = write(&cluster, &mut random);
            let mut others = cluster.client(PATIENCE);
            for it in &captured {
                others.put_blind(&it.key, b"later").expect("a write");
            }
            sent += send_again(&cluster, &captured);
            let leader = cluster.busiest_leader();
            cluster.kill(leader);
            sent += send_again(&cluster, &captured);
            cluster.start_node(leader);
            (0..cluster.nodes.len()).for_each(|position| cluster.kill(position));
            (0..cluster.nodes.len()).for_each(|position| cluster.start_node(position));
            sent += send_again(&cluster, &captured);
            for it in &captured {
                let value = others.get(&it.key).expect("a read");
                assert_eq!(value.as_deref(), Some(&b"later"[..]), "round {round}: {:?} happened again", it.outcome);
            }
        }
        println!("{sent} writes sent again, 0 of them happened again");
        assert_replicas_agree(&cluster);
    });
}

/// A put, a swap that succeeds and one that does not in every group, under sessions of a client of its own.
fn write(cluster: &Cluster, random: &mut Random) -> Vec<Captured> {
    let map = cluster.client(PATIENCE).map().expect("a map");
    let ring = map.ring();
    let client = ClientId(u128::from(random.next()) << 64 | u128::from(random.next()));
    let mut captured = Vec::new();
    let mut sequence = 0;
    for group in map.groups.iter().map(|group| group.id).filter(|group| *group != GroupId(0)) {
        let mut send = |opened, operation| {
            sequence += 1;
            let session = SessionRef { group, opened: Index(opened) };
            let bytes = command::encode(&Command { client, sequence, acknowledged: 0, session, operation });
            let outcome = answer(cluster, group.0, &bytes);
            (bytes, outcome)
        };
        let (_, Outcome::Opened { session }) = send(0, Operation::Open) else { panic!("no session in group {group}") };
        let fresh = || loop {
            let key = unique("again").into_bytes();
            if ring.group_of(&key) == group {
                return key;
            }
        };
        let (put, swap, mismatch) = (fresh(), fresh(), fresh());
        let operations = [
            (put.clone(), Operation::Put { key: put, value: b"once".to_vec(), return_old: false }),
            (swap.clone(), Operation::CompareAndSwap { key: swap, expect: None, set: Some(b"once".to_vec()) }),
            // What comes later is what this one waits for: it must not find it the second time.
            (
                mismatch.clone(),
                Operation::CompareAndSwap {
                    key: mismatch,
                    expect: Some(b"later".to_vec()),
                    set: Some(b"again".to_vec()),
                },
            ),
        ];
        for (key, operation) in operations {
            let (bytes, outcome) = send(session.0, operation);
            captured.push(Captured { group: group.0, key, bytes, outcome });
        }
    }
    captured
}

/// Sends all of them again, each on a connection of its own, and asserts that each is answered as it was.
fn send_again(cluster: &Cluster, captured: &[Captured]) -> usize {
    for it in captured {
        assert_eq!(answer(cluster, it.group, &it.bytes), it.outcome, "the answer to a write that came again");
    }
    captured.len()
}

/// What becomes of a command, from whoever leads its group by now.
fn answer(cluster: &Cluster, group: u32, bytes: &[u8]) -> Outcome {
    eventually(PATIENCE, "a command to be answered", || {
        let asked = cluster.nodes.iter().filter_map(|node| {
            let (mut wire, reply) = Wire::connect(&node.address).ok()?;
            reply.status.ok()?;
            wire.send_write(group, bytes).ok()?;
            wire.receive(elections(4.0)).ok()?
        });
        asked.into_iter().find_map(|(_, response)| match response {
            Response::Outcome(outcome) => Some(outcome),
            Response::Refused(_) => None,
            other => panic!("{other:?}"),
        })
    })
}
