//! What a request whose deadline has passed says stood in its way.

use super::options;
use super::world::{Refused, TIMEOUT, World};
use net::client::{ClientError, ClientOptions, Request, ScanOptions};
use net::response::{Refusal, Response};
use raft::ids::GroupId;

/// A client that takes no silence for the end of a connection.
fn patient() -> ClientOptions {
    ClientOptions { silence_timeout: TIMEOUT * 10, ..options() }
}

fn no_leader(group: u32) -> String {
    format!("group {group} has no leader that answers")
}

#[test]
fn first_write_of_a_group_says_what_its_session_waits_for() {
    let mut world = World::with_session(patient(), 1);
    let key = world.key_of(2);
    world.put(&key, b"value");
    let failed = world.error(|world, asked| world.refuse(asked, Refusal::NotLeader { leader: None }));
    assert_eq!(failed, ClientError::NotApplied { why: no_leader(2) });
}

#[test]
fn first_write_of_a_group_says_who_did_not_answer_its_session() {
    let mut world = World::with_session(patient(), 1);
    let key = world.key_of(2);
    world.put(&key, b"value");
    let failed = world.error(|_, _| {});
    let why = format!("no answer from n{}:1 in time", world.leader_of(2));
    assert_eq!(failed, ClientError::NotApplied { why });
}

#[test]
fn scan_says_which_group_did_not_answer() {
    let mut world = World::with_session(patient(), 1);
    let scan = || Request::Scan(ScanOptions::prefix(b"", 10));
    let page = Response::Page { entries: vec![], more: false };
    world.submit(scan());
    let failed = world.error(|world, asked| match asked.group {
        3 => world.refuse(asked, Refusal::NotLeader { leader: None }),
        _ => world.answer(asked, &page),
    });
    assert_eq!(failed, ClientError::Unavailable { why: no_leader(3) });
    world.submit(scan());
    let mut silent = String::new();
    let failed = world.error(|world, asked| match asked.group {
        2 => silent = asked.address.clone(),
        _ => world.answer(asked, &page),
    });
    assert_eq!(failed, ClientError::Unavailable { why: format!("no answer from {silent} in time") });
    assert_eq!(world.core.in_flight(), 0);
}

#[test]
fn node_that_refused_until_the_deadline_was_reached() {
    let mut world = World::with_session(patient(), 1);
    world.submit(Request::Checksum { group: GroupId(1), node: 1 });
    let map = Response::Map(world.map.encode());
    let failed = world.error(|world, asked| match asked.kind {
        net::frame::Kind::Routing => world.answer(asked, &map),
        _ => world.refuse(asked, Refusal::NotOwner { epoch: 1 }),
    });
    let why = "n1:1 answers: the group is not where the map says".to_owned();
    assert_eq!(failed, ClientError::Unavailable { why });
    world.submit(Request::Checksum { group: GroupId(1), node: 1 });
    let failed = world.error(|_, _| {});
    let (address, why) = ("n1:1".to_owned(), "no answer from n1:1 in time".to_owned());
    assert_eq!(failed, ClientError::Unreachable { address, why });
}

#[test]
fn node_of_a_map_that_does_not_come_is_not_blamed() {
    let mut world = World::new(options());
    world.refused.insert("n0:1".to_owned(), Refused::Connection);
    world.submit(Request::Checksum { group: GroupId(1), node: 1 });
    let failed = world.error(|_, _| {});
    assert_eq!(failed, ClientError::Unavailable { why: "n0:1: connection refused".to_owned() });
}
