//! A client with several connections to a core: what shares them out, and what happens when one of them is of no use.

use super::world::{Asked, Refused, TIMEOUT, World};
use super::{MOMENT, options};
use engine_core::command::Outcome;
use engine_core::sessions::RUNS_CROWDED;
use net::client::{Answer, ClientError, ClientOptions};
use net::hello::HelloRefusal;
use net::response::Response;
use std::collections::BTreeSet;
use std::time::Duration;

/// Four to each of three nodes.
fn several() -> ClientOptions {
    ClientOptions { connections: 12, ..options() }
}

/// A world in which eight reads of group 1 are under way.
fn reading() -> (World, Vec<Asked>) {
    let mut world = World::with_session(several(), 1);
    let key = world.key_of(1);
    for _ in 0..8 {
        world.get(&key);
    }
    let asked = world.asked();
    (world, asked)
}

fn answer_all(world: &mut World, asked: &[Asked]) {
    for asked in asked {
        world.answer(asked, &Response::Value(None));
        assert!(matches!(world.completion(), Some((_, Ok(Answer::Value(None))))));
    }
}

#[test]
fn requests_of_one_group_share_the_connections_that_nobody_else_needs() {
    let (mut world, asked) = reading();
    let leader = format!("n{}:1", world.leader_of(1));
    let used: BTreeSet<_> = asked.iter().map(|asked| asked.connection).collect();
    assert!(asked.len() == 8 && asked.iter().all(|asked| asked.address == leader));
    assert!(used.len() == 2 || used.len() == 4, "{used:?}: the leader leads one group or two");
    answer_all(&mut world, &asked);
}

#[test]
fn where_no_more_connections_are_allowed_those_that_are_there_do() {
    let mut world = World::with_session(several(), 1);
    let key = world.key_of(1);
    let leader = format!("n{}:1", world.leader_of(1));
    world.refused.insert(leader.clone(), Refused::Hello(HelloRefusal::TooManyConnections));
    for _ in 0..20 {
        for _ in 0..8 {
            world.get(&key);
        }
        let asked = world.asked();
        assert!(asked.len() == 8 && asked.iter().all(|asked| asked.address == leader), "nobody else is asked");
        let used: BTreeSet<_> = asked.iter().map(|asked| asked.connection).collect();
        assert!(used.len() <= 2, "{used:?}: those of the first write");
        answer_all(&mut world, &asked);
        world.advance(world.now + Duration::from_millis(40));
    }
    assert!(world.connects.iter().filter(|(address, _)| *address == leader).count() > 4, "it is tried again");
}

#[test]
fn what_was_under_way_on_one_of_several_goes_to_the_same_node_again() {
    let (mut world, asked) = reading();
    let cut = asked[0].connection;
    let (lost, left): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| asked.connection == cut);
    world.cut(cut);
    let again = world.asked();
    assert_eq!(again.len(), lost.len());
    assert!(again.iter().all(|again| again.address == left[0].address && again.connection != cut));
    answer_all(&mut world, &left);
    answer_all(&mut world, &again);
}

#[test]
fn a_node_that_is_gone_is_left_whatever_connections_there_were() {
    let (mut world, asked) = reading();
    world.refused.insert(asked[0].address.clone(), Refused::Connection);
    world.cut_all(&asked[0].address);
    let again = world.some_within(MOMENT);
    assert!(again.iter().all(|again| again.address != asked[0].address));
}

#[test]
fn a_node_that_says_nothing_is_left_on_all_its_connections_at_once() {
    let (mut world, asked) = reading();
    answer_all(&mut world, &asked);
    let key = world.key_of(1);
    world.get(&key);
    let silent = world.one();
    world.dead.insert(silent.address.clone());
    let again = world.one_within(options().silence_timeout + MOMENT);
    assert_ne!(again.address, silent.address, "the connections that nothing is asked on are as silent");
}

#[test]
fn a_group_has_no_more_writes_on_their_way_than_its_session_takes() {
    let mut world = World::with_session(several(), 1);
    let key = world.key_of(1);
    let all = RUNS_CROWDED + 10;
    for _ in 0..all {
        world.put(&key, b"value");
    }
    let asked = world.asked();
    assert_eq!(asked.len(), RUNS_CROWDED);
    // The first is what the session waits for.
    world.done(&asked[5]);
    assert!(world.asked().is_empty());
    world.done(&asked[0]);
    let next = world.one();
    assert_eq!((next.command().sequence, next.command().acknowledged), (RUNS_CROWDED as u64 + 2, 2));
    // What waits goes under the next session if this one is gone.
    world.answer(&asked[1], &Response::Outcome(Outcome::SessionEvicted));
    let open = world.one_within(MOMENT);
    assert!(open.is_open());
    world.answer(&open, &Response::Outcome(Outcome::Opened { session: raft::ids::Index(90) }));
    assert_eq!(world.asked().len(), 9, "those that waited");
    assert_eq!(world.one_within(MOMENT).command().sequence, RUNS_CROWDED as u64 + 12, "the one that was refused");
}

#[test]
fn a_write_that_waited_for_others_to_its_end_was_not_applied() {
    let mut world = World::with_session(ClientOptions { silence_timeout: TIMEOUT * 2, ..several() }, 1);
    let key = world.key_of(1);
    for _ in 0..RUNS_CROWDED {
        world.put(&key, b"value");
    }
    let last = world.put(&key, b"value");
    assert_eq!(world.asked().len(), RUNS_CROWDED);
    world.advance(world.now + TIMEOUT);
    let mut results = std::iter::from_fn(|| world.completion()).collect::<Vec<_>>();
    let (id, result) = results.pop().unwrap();
    assert!(results.iter().all(|(_, result)| matches!(result, Err(ClientError::OutcomeUnknown { .. }))));
    assert!(matches!(&result, Err(ClientError::NotApplied { why }) if why.contains("on their way")), "{result:?}");
    assert_eq!((id, world.asked().len()), (last, 0));
}

#[test]
fn a_request_whose_connections_end_each_time_tries_another_node_in_the_end() {
    let (mut world, asked) = reading();
    let leader = asked[0].address.clone();
    answer_all(&mut world, &asked);
    let key = world.key_of(1);
    world.get(&key);
    let mut tries = 0;
    loop {
        let asked = world.one_within(MOMENT);
        if asked.address != leader {
            break;
        }
        tries += 1;
        assert!(tries < 10, "for ever");
        world.cut(asked.connection);
    }
    assert!(tries > 1);
}
