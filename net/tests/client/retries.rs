//! Redirects, broken and silent connections, pauses, deadlines, and what is said of a write then.

use super::world::{Refused, TIMEOUT, World};
use super::{MOMENT, options};
use engine_core::command::Outcome;
use net::client::{Answer, ClientError, ClientOptions};
use net::response::{Refusal, Response};
use std::time::Duration;

#[test]
fn redirect_to_the_named_leader_is_followed_at_once_and_remembered() {
    let mut world = World::with_session(options(), 1);
    let (key, before) = (world.key_of(1), world.now);
    let leader = world.follower_of(1);
    let id = world.put(&key, b"value");
    let first = world.one();
    world.refuse(&first, Refusal::NotLeader { leader: Some(leader) });
    let second = world.one();
    assert_eq!((&second.address, world.now), (&format!("n{leader}:1"), before));
    assert_eq!(second.command(), first.command(), "a retry is the same command");
    world.done(&second);
    assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
    world.get(&key);
    assert_eq!(world.one().address, second.address);
}

#[test]
fn nodes_that_redirect_to_each_other_are_not_followed_without_a_pause() {
    let mut world = World::with_session(options(), 1);
    let (key, before) = (world.key_of(1), world.now);
    let (one, other) = (world.leader_of(1), world.follower_of(1));
    world.put(&key, b"value");
    for _ in 0..5 {
        let asked = world.one();
        let named = if asked.address == format!("n{one}:1") { other } else { one };
        world.refuse(&asked, Refusal::NotLeader { leader: Some(named) });
    }
    assert_eq!(world.asked().len(), 0);
    world.one_within(MOMENT);
    assert!(world.now > before);
}

#[test]
fn unknown_leader_is_looked_for_on_every_replica() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    world.put(&key, b"value");
    let mut seen = Vec::new();
    for _ in 0..6 {
        let asked = world.one_within(MOMENT);
        seen.push(asked.address.clone());
        world.refuse(&asked, Refusal::NotLeader { leader: None });
    }
    let mut different = seen.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 3, "{seen:?}");
}

#[test]
fn write_is_retried_with_its_sequence_at_another_node_after_its_connection_broke() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.put(&key, b"value");
    let first = world.one();
    world.refused.insert(first.address.clone(), Refused::Connection);
    world.cut_all(&first.address);
    let second = world.one_within(MOMENT);
    assert_ne!(second.address, first.address);
    assert_eq!((second.command(), second.group), (first.command(), first.group));
    world.answer(&second, &Response::Outcome(Outcome::AlreadyApplied));
    assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
}

#[test]
fn write_that_was_sent_and_never_answered_is_of_unknown_outcome() {
    let mut world = World::with_session(options(), 1);
    let (key, submitted) = (world.key_of(1), world.now);
    let id = world.put(&key, b"value");
    let first = world.one();
    for node in 0..3 {
        world.refused.insert(format!("n{node}:1"), Refused::Connection);
    }
    world.cut_all(&first.address);
    let (done, result) = world.completion_within(TIMEOUT + MOMENT);
    assert_eq!(done, id);
    assert!(matches!(result, Err(ClientError::OutcomeUnknown { .. })), "{result:?}");
    assert_eq!(world.now, submitted + TIMEOUT);
}

#[test]
fn write_without_an_answer_from_a_live_node_is_of_unknown_outcome_at_its_deadline() {
    let mut world = World::with_session(ClientOptions { silence_timeout: TIMEOUT * 2, ..options() }, 1);
    let (key, submitted) = (world.key_of(1), world.now);
    let id = world.put(&key, b"value");
    let late = world.one();
    let (done, result) = world.completion_within(TIMEOUT + MOMENT);
    assert_eq!((done, world.now), (id, submitted + TIMEOUT));
    assert!(matches!(&result, Err(ClientError::OutcomeUnknown { why }) if why.contains("in time")), "{result:?}");
    world.done(&late);
    assert_eq!(world.completion(), None, "an answer after the deadline finds nobody");
}

#[test]
fn late_answer_is_not_taken_for_that_of_a_later_request() {
    let mut world = World::with_session(ClientOptions { silence_timeout: TIMEOUT * 2, ..options() }, 1);
    let key = world.key_of(1);
    let first = world.get(&key);
    let late = world.one();
    let (done, result) = world.completion_within(TIMEOUT + MOMENT);
    assert!(done == first && matches!(result, Err(ClientError::Unavailable { .. })), "{result:?}");
    let second = world.get(&key);
    let asked = world.one();
    assert_eq!(asked.id as u32, late.id as u32, "it takes the slot of the first, on the same connection");
    assert_eq!(asked.connection, late.connection);
    world.answer(&late, &Response::Value(Some(b"late".to_vec())));
    assert_eq!(world.completion(), None);
    world.answer(&asked, &Response::Value(Some(b"right".to_vec())));
    assert_eq!(world.completion(), Some((second, Ok(Answer::Value(Some(b"right".to_vec()))))));
}

#[test]
fn write_that_was_never_sent_was_not_applied() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(2);
    let leader = format!("n{}:1", world.leader_of(2));
    for node in 0..3 {
        world.refused.insert(format!("n{node}:1"), Refused::Connection);
    }
    for node in 0..3 {
        world.cut_all(&format!("n{node}:1"));
    }
    let id = world.put(&key, b"value");
    let (done, result) = world.completion_within(TIMEOUT + MOMENT);
    assert_eq!(done, id);
    assert!(matches!(&result, Err(ClientError::NotApplied { .. })), "{result:?}");
    assert!(world.connects.iter().any(|(address, _)| *address == leader));
}

#[test]
fn write_that_everyone_refused_was_not_applied() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.put(&key, b"value");
    let until = world.now + TIMEOUT;
    let result = loop {
        for asked in world.asked() {
            world.refuse(&asked, Refusal::NotApplied);
        }
        if let Some((done, result)) = world.completion() {
            assert_eq!(done, id);
            break result;
        }
        assert!(world.advance(until));
    };
    assert!(matches!(&result, Err(ClientError::NotApplied { why }) if why == "the leader changed"), "{result:?}");
}

#[test]
fn write_whose_frame_did_not_leave_whole_was_not_applied() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let connection = world.get_and_answer();
    let id = world.put(&key, &[7; 1000]);
    let length = world.core.output(connection).len();
    assert!(length > 1000);
    world.core.sent(connection, length - 1);
    for node in 0..3 {
        world.refused.insert(format!("n{node}:1"), Refused::Connection);
    }
    world.cut(connection);
    let (done, result) = world.completion_within(TIMEOUT + MOMENT);
    assert!(done == id && matches!(result, Err(ClientError::NotApplied { .. })), "{result:?}");
}

#[test]
fn refusal_after_an_attempt_that_may_have_happened_does_not_hide_it() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.put(&key, b"value");
    let first = world.one();
    world.refuse(&first, Refusal::OutcomeUnknown);
    let second = world.one_within(MOMENT);
    assert_eq!(second.command(), first.command());
    world.refuse(&second, Refusal::TooLarge { limit: 3 });
    let (done, result) = world.completion().unwrap();
    assert!(done == id && matches!(result, Err(ClientError::OutcomeUnknown { .. })), "{result:?}");
}

#[test]
fn busy_node_is_left_alone_for_as_long_as_it_asked() {
    let mut world = World::with_session(options(), 1);
    let (key, before) = (world.key_of(1), world.now);
    let id = world.put(&key, b"value");
    let first = world.one();
    world.refuse(&first, Refusal::Busy { retry_after_ms: 80 });
    let second = world.one_within(MOMENT);
    assert!(world.now >= before + Duration::from_millis(80));
    assert_eq!((second.command(), second.address.clone()), (first.command(), first.address));
    world.done(&second);
    assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
}

#[test]
fn pauses_grow_and_never_exceed_their_limit() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    world.put(&key, b"value");
    let mut last = world.now;
    let mut pauses = Vec::new();
    let mut asked = world.one();
    for _ in 0..12 {
        world.refuse(&asked, Refusal::Busy { retry_after_ms: 0 });
        asked = world.one_within(MOMENT);
        pauses.push(world.now - last);
        last = world.now;
    }
    for (number, pause) in pauses.iter().enumerate() {
        let longest = options().backoff_max.min(options().backoff * (1 << number));
        assert!(*pause <= longest + Duration::from_micros(1) && *pause >= longest / 2, "{number}: {pauses:?}");
    }
}

#[test]
fn same_seed_gives_the_same_requests_at_the_same_times() {
    let run = || {
        let mut world = World::with_session(options(), 1);
        let key = world.key_of(1);
        world.put(&key, b"value");
        let mut trace = Vec::new();
        for _ in 0..10 {
            let asked = world.one_within(MOMENT);
            trace.push((world.now, asked.address.clone(), asked.body.clone()));
            world.refuse(&asked, Refusal::NotLeader { leader: None });
        }
        trace
    };
    assert_eq!(run(), run());
}

#[test]
fn silent_connection_is_pinged_and_then_given_up() {
    let mut world = World::with_session(options(), 1);
    let (key, before) = (world.key_of(1), world.now);
    world.put(&key, b"value");
    let first = world.one();
    world.dead.insert(first.address.clone());
    let second = world.one_within(options().silence_timeout + MOMENT);
    assert!(world.now >= before + options().silence_timeout);
    assert_ne!(second.address, first.address);
    assert_eq!(second.command(), first.command());
}

#[test]
fn node_that_was_not_listened_to_is_pinged_before_it_is_given_up() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.get(&key);
    let (asked, connects) = (world.one(), world.connects.len());
    for _ in 0..3 {
        // The caller was busy with something else.
        world.now += options().silence_timeout * 11 / 10;
        world.settle();
    }
    assert_eq!(world.connects.len(), connects);
    world.answer(&asked, &Response::Value(None));
    assert_eq!(world.completion(), Some((id, Ok(Answer::Value(None)))));
}
