//! Nodes that speak another version of the protocol, or something else.

use super::world::{Refused, World, map};
use super::{MOMENT, options};
use net::client::{Answer, ClientError, Request, Target};
use net::hello::HelloRefusal;
use net::response::{Refusal, Response};
use raft::ids::GroupId;

/// What a node of another version says, before anything that this version knows.
const NEWER: Refused =
    Refused::Says(b"KVDR\x04..........................................................................");

/// What a server of another kind says.
const OTHER: Refused =
    Refused::Says(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n");

const OLDER: Refused = Refused::Hello(HelloRefusal::Version);

fn protocol(why: &str) -> ClientError {
    ClientError::Protocol { why: why.to_owned() }
}

#[test]
fn cluster_of_another_version_is_a_protocol_error() {
    for (refused, why) in [
        (NEWER, "n0:1: the peer speaks version 4 of the hello, this side 3"),
        (OTHER, "n0:1: the peer does not speak this protocol"),
        (OLDER, "n0:1: the node speaks another version of this protocol"),
    ] {
        let mut world = World::new(options());
        world.refused.insert("n0:1".to_owned(), refused);
        world.put(b"key", b"value");
        assert_eq!(world.error(|_, _| {}), protocol(why));
        // Hosts are left alone for a while after a failure: the reason stays.
        world.submit(Request::Checksum { group: GroupId(1), node: 1 });
        assert_eq!(world.error(|_, _| {}), protocol(why));
    }
}

#[test]
fn frame_of_another_version_is_a_protocol_error() {
    let mut world = World::new(options());
    world.get(b"key");
    let failed = world.error(|world, asked| {
        let mut bytes = Vec::new();
        Response::Done.write(&mut bytes, asked.id);
        bytes[9] = 2;
        world.feed(asked.connection, &bytes);
    });
    assert_eq!(failed, protocol("n0:1: a frame of version 2, this side speaks 1"));
}

#[test]
fn map_of_another_version_is_a_protocol_error() {
    let mut world = World::new(options());
    world.get(b"key");
    let failed = world.error(|world, asked| world.answer(asked, &Response::Map(vec![77, 0, 0])));
    assert_eq!(failed, protocol("n0:1: the cluster map has format version 77, this release reads version 1"));
}

#[test]
fn one_node_of_another_version_is_a_protocol_error_at_once() {
    for target in [Target::Address("n1:1".to_owned()), Target::Node(1)] {
        let mut world = World::with_session(options(), 1);
        world.refused.insert("n1:1".to_owned(), NEWER);
        world.cut_all("n1:1");
        for _ in 0..2 {
            let id = world.submit(Request::Status(target.clone()));
            let why = "n1:1: the peer speaks version 4 of the hello, this side 3";
            assert_eq!(world.completion(), Some((id, Err(protocol(why)))));
        }
    }
}

#[test]
fn other_reasons_count_for_more_than_a_node_of_another_version() {
    let mut world = World::of(map(3, 1), &["n0:1", "n1:1"], options());
    world.refused.insert("n0:1".to_owned(), NEWER);
    world.refused.insert("n1:1".to_owned(), Refused::Connection);
    world.put(b"key", b"value");
    let failed = world.error(|_, _| {});
    assert!(matches!(failed, ClientError::NotApplied { .. }), "{failed:?}");
    world.refused.remove("n1:1");
    world.put(b"key", b"value");
    let not_formed = Refusal::NotFormed { waiting_for: vec!["n2".to_owned()] };
    let failed = world.error(|world, asked| world.refuse(asked, not_formed.clone()));
    assert_eq!(failed, ClientError::NotFormed { waiting_for: vec!["n2".to_owned()] });
}

#[test]
fn node_of_another_version_hurts_nobody_while_others_serve() {
    let mut world = World::of(map(3, 1), &["n0:1", "n1:1", "n2:1"], options());
    let key = world.key_of(1);
    let leader = format!("n{}:1", world.leader_of(1));
    world.refused.insert("n0:1".to_owned(), NEWER);
    world.refused.insert(leader.clone(), NEWER);
    let id = world.get(&key);
    let fetch = world.one_within(MOMENT);
    world.answer(&fetch, &Response::Map(world.map.encode()));
    let asked = world.one_within(MOMENT);
    assert!(world.connects.iter().any(|(address, _)| *address == leader) && asked.address != leader);
    world.answer(&asked, &Response::Value(None));
    assert_eq!(world.completion(), Some((id, Ok(Answer::Value(None)))));
}
