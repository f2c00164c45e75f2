//! What a bare connection may ask that no client library would: other cores' groups, and the same thing thousands of times.

use std::io::Write;
use std::time::Duration;

use engine_core::placement::cores::core_of;
use net::client::{Client, ClientOptions};
use net::frame::{self, Kind};
use net::response::{Refusal, Response};
use raft::ids::GroupId;

use super::metrics::{scrape, sum};
use crate::harness::{GROUPS, start};
use crate::wire::Wire;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn forwarded_requests_are_timed_and_counted_at_the_core_of_their_group() {
    const SHARDS: u16 = 2;
    let cluster = start("bare-forwarded", &[1, SHARDS, 1]);
    let node = &cluster.nodes[1].address;
    let mut client = Client::connect(&cluster.endpoints(), ClientOptions::default()).expect("a client");
    let ring = client.map().expect("a map").ring();
    let (mut wire, reply) = Wire::connect_as(node, true).expect("a connection");
    assert_eq!(reply.core, 0);
    let before = [scrape(&cluster, 1)];
    let (mut forwarded, mut values, mut refused) = (0.0, 0.0, 0.0);
    // Each key is asked for in each group, of which one has it and the others refuse.
    for key in (0..8).map(|number| format!("key:{number}").into_bytes()) {
        for group in (1..=GROUPS).filter(|group| core_of(GroupId(*group), SHARDS) != 0) {
            wire.send_read(group, &key, true).expect("a request");
            forwarded += 1.0;
            match wire.receive(PATIENCE).expect("a connection").expect("an answer").1 {
                Response::Value(None) => values += 1.0,
                Response::Refused(Refusal::NotOwner { .. }) if ring.group_of(&key).0 != group => refused += 1.0,
                other => panic!("group {group}: {other:?}"),
            }
        }
    }
    let after = [scrape(&cluster, 1)];
    let grown = |parts: &[&str]| sum(&after, parts) - sum(&before, parts);
    assert!(values > 0.0 && refused > 0.0, "{values} values, {refused} refused");
    assert_eq!(grown(&["kvd_forwarded_requests_total", "core=\"0\""]), forwarded);
    assert_eq!(grown(&["raft_request_latency_seconds_count", "core=\"1\"", "operation=\"get\""]), values);
    assert_eq!(grown(&["kvd_refused_requests_total", "core=\"1\"", "reason=\"not_owner\""]), refused);
    assert_eq!(grown(&["raft_request_latency_seconds_count", "core=\"0\"", "operation=\"get\""]), 0.0);
}

#[test]
fn a_flood_of_questions_for_the_status_is_answered_but_not_each_at_length() {
    const QUESTIONS: u64 = 2_000;
    let cluster = start("bare-status", &[1, 2, 1]);
    let (mut wire, _) = Wire::connect(&cluster.nodes[1].address).expect("a connection");
    let mut frames = Vec::new();
    for id in 1..=QUESTIONS {
        frame::write(&mut frames, Kind::Status, 0, id, &[]);
    }
    wire.stream.write_all(&frames).expect("questions");
    let (mut told, mut busy, mut ids) = (0, 0, Vec::new());
    for _ in 0..QUESTIONS {
        let (id, response) = wire.receive(PATIENCE).expect("a connection").expect("an answer to each");
        ids.push(id);
        match response {
            Response::Status(status) => {
                assert_eq!(status.groups.len(), GROUPS as usize + 1, "{status:?}");
                told += 1;
            }
            Response::Refused(Refusal::Busy { .. }) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=QUESTIONS).collect::<Vec<_>>());
    println!("{told} were told, {busy} were refused as busy");
    assert!(told > 0 && busy > 0, "{told} were told, {busy} were refused as busy");
    // Whoever asks once more is told.
    frames.clear();
    frame::write(&mut frames, Kind::Status, 0, 1, &[]);
    wire.stream.write_all(&frames).expect("a question");
    let answer = wire.receive(PATIENCE).expect("a connection").expect("an answer").1;
    assert!(matches!(answer, Response::Status(_)), "{answer:?}");
}
