//! How much is under way on one connection: what a node takes, and what the network takes.

use super::world::{Asked, TIMEOUT, World, map};
use super::{MOMENT, options};
use net::client::{Answer, ClientError, ClientOptions, Request, ScanOptions};
use net::frame::Kind;
use net::response::Response;

/// As large a value as a node takes by default.
const LARGE: usize = 1 << 20;

/// A frame of the largest value and what may wait before it.
const UNSENT_MAX: usize = LARGE + (512 << 10);

/// A client that takes no silence for the end of a connection.
fn patient() -> ClientOptions {
    ClientOptions { silence_timeout: TIMEOUT * 10, ..options() }
}

#[test]
fn request_waits_until_the_connection_has_room_for_it() {
    let mut world = World::with_session(patient(), 1);
    let key = world.key_of(1);
    let ids: Vec<_> = (0..5).map(|_| world.put(&key, &[7; LARGE])).collect();
    let first = world.asked();
    assert_eq!(first.len(), 3, "of 1 MiB each");
    assert_eq!(world.asked().len(), 0);
    world.done(&first[1]);
    assert_eq!(world.completion().map(|(id, _)| id), Some(ids[1]));
    let fourth = world.one();
    world.done(&first[0]);
    let fifth = world.one();
    assert_eq!((fourth.command().sequence, fifth.command().sequence), (5, 6), "in the order of their submission");
    for asked in [&first[2], &fourth, &fifth] {
        world.done(asked);
        assert!(world.completion().unwrap().1.is_ok());
    }
}

#[test]
fn request_that_found_no_room_by_its_deadline_was_not_applied() {
    let mut world = World::with_session(patient(), 1);
    let key = world.key_of(1);
    for _ in 0..5 {
        world.put(&key, &[7; LARGE]);
    }
    assert_eq!(world.asked().len(), 3);
    let results: Vec<_> = (0..5).map(|_| world.completion_within(TIMEOUT).1).collect();
    assert!(results[..3].iter().all(|result| matches!(result, Err(ClientError::OutcomeUnknown { .. }))), "{results:?}");
    assert!(results[3..].iter().all(|result| matches!(result, Err(ClientError::NotApplied { .. }))), "{results:?}");
    assert_eq!(world.asked().len(), 0);
}

#[test]
fn answers_after_the_deadline_make_room_again() {
    let mut world = World::with_session(patient(), 1);
    let key = world.key_of(1);
    for _ in 0..3 {
        world.put(&key, &[7; LARGE]);
    }
    let late = world.asked();
    for _ in 0..3 {
        assert!(world.completion_within(TIMEOUT).1.is_err());
    }
    let id = world.put(&key, b"value");
    assert_eq!(world.asked().len(), 0, "the node still has the first ones in flight");
    world.done(&late[0]);
    let asked = world.one();
    world.done(&asked);
    assert_eq!(world.completion().map(|(done, _)| done), Some(id));
}

#[test]
fn overload_of_a_slow_network_ends_with_it() {
    let mut world = World::with_session(patient(), 1);
    let (key, connection) = (world.key_of(1), world.get_and_answer());
    world.full.insert(connection);
    let writes = 2_000;
    for _ in 0..writes {
        world.put(&key, &[7; 10_000]);
    }
    world.settle();
    let unsent = world.core.output(connection).len();
    assert!(unsent < UNSENT_MAX, "{unsent} bytes wait to be sent");
    let results: Vec<_> = (0..writes).map(|_| world.completion_within(TIMEOUT).1).collect();
    let unknown = results.iter().filter(|result| matches!(result, Err(ClientError::OutcomeUnknown { .. }))).count();
    let not_applied = results.iter().filter(|result| matches!(result, Err(ClientError::NotApplied { .. }))).count();
    assert_eq!(unknown + not_applied, writes);
    assert!(unknown * 10_000 < UNSENT_MAX, "only what may still leave may happen: {unknown}");
    world.put(&key, b"value");
    world.full.clear();
    let asked = world.asked();
    assert_eq!(asked.len(), unknown + 1, "what has expired before it was encoded is never sent");
}

#[test]
fn ping_finds_a_reader_however_much_is_in_flight() {
    for (requests, bytes) in [(30_000, 0), (10_000, 600), (300, 100_000), (9, LARGE)] {
        let mut world = World::with_session(options(), 1);
        let key = world.key_of(1);
        let ids: Vec<_> = (0..requests).map(|_| world.put(&key, &vec![7; bytes])).collect();
        let connects = world.connects.len();
        let mut asked = world.asked();
        let until = world.now + options().silence_timeout * 3;
        while world.advance(until) {}
        assert_eq!(world.connects.len(), connects, "a slow answer counts as silence: {requests} of {bytes} bytes");
        let mut done = 0;
        while !asked.is_empty() {
            done += asked.len();
            for asked in std::mem::take(&mut asked) {
                world.done(&asked);
            }
            asked = world.asked();
        }
        assert_eq!(done, requests, "each is asked once");
        assert!(ids.iter().all(|_| world.completion().is_some_and(|(_, result)| result.is_ok())));
    }
}

#[test]
fn ping_finds_a_reader_however_many_scans_are_slow() {
    // One node, so one connection, and four groups: twelve scans of a page.
    let mut world = World::of(map(1, 1), &["n0:1"], options());
    world.submit(Request::Map);
    world.give_map();
    assert!(world.completion().is_some());
    let connects = world.connects.len();
    for _ in 0..3 {
        world.submit(Request::Scan(ScanOptions::prefix(b"", 10)));
    }
    let mut scans = world.asked();
    assert!(scans.len() < 8, "{} scans: the node reads nothing more", scans.len());
    let until = world.now + options().silence_timeout * 3;
    while world.advance(until) {}
    let key = world.key_of(1);
    let get = world.get(&key);
    let asked = world.one();
    assert_eq!((asked.kind, world.connects.len()), (Kind::Read, connects), "others pass, over the same connection");
    world.answer(&asked, &Response::Value(None));
    assert_eq!(world.completion().map(|(id, _)| id), Some(get));
    let mut answered = 0;
    while !scans.is_empty() {
        for scan in &scans {
            world.answer(scan, &Response::Page { entries: vec![], more: false });
        }
        answered += scans.len();
        scans = world.asked();
    }
    assert_eq!(answered, 12);
    assert!((0..3).all(|_| world.completion().is_some_and(|(_, result)| result.is_ok())));
}

#[test]
fn slow_network_does_not_count_as_silence_while_it_takes_something() {
    let mut world = World::with_session(options(), 1);
    let (key, connection) = (world.key_of(1), world.get_and_answer());
    world.full.insert(connection);
    let id = world.put(&key, &[7; LARGE]);
    let pause = options().silence_timeout * 2 / 5;
    for _ in 0..10 {
        world.squeeze(connection, LARGE / 10);
        let until = world.now + pause;
        while world.advance(until) {}
    }
    world.full.clear();
    let asked = world.one();
    assert_eq!(asked.connection, connection);
    world.done(&asked);
    assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
}

#[test]
fn network_that_takes_nothing_more_is_silent() {
    let mut world = World::with_session(options(), 1);
    let (key, connection) = (world.key_of(1), world.get_and_answer());
    world.full.insert(connection);
    world.put(&key, &[7; LARGE]);
    world.squeeze(connection, LARGE / 2);
    let asked = world.one_within(options().silence_timeout + MOMENT);
    assert_ne!(asked.connection, connection);
}

#[test]
fn node_that_only_its_network_takes_requests_for_is_silent() {
    let mut world = World::with_session(options(), 1);
    let (key, connection) = (world.key_of(1), world.get_and_answer());
    let until = world.now + options().silence_timeout + MOMENT;
    world.dead.insert(format!("n{}:1", world.leader_of(1)));
    let mut asked = Vec::new();
    while asked.iter().all(|asked: &Asked| asked.connection == connection) {
        assert!(world.now < until, "it was not noticed");
        world.get(&key);
        asked.extend(world.asked());
        world.advance(world.now + MOMENT / 3);
    }
}
