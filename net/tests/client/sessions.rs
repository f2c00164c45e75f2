//! Writes, their sessions and what their outcomes mean.

use super::world::World;
use super::{MOMENT, options};
use engine_core::command::{BatchOperation, Operation, Outcome};
use net::client::{Answer, CasResult, ClientError, Request};
use net::response::Response;
use raft::ids::{GroupId, Index};

#[test]
fn write_opens_a_session_first_and_only_once() {
    let mut world = World::new(options());
    let keys = world.keys_of(2, 3);
    let ids: Vec<_> = keys.iter().map(|key| world.put(key, b"value")).collect();
    let opens = world.give_map();
    assert_eq!((opens.len(), opens[0].is_open(), opens[0].group), (1, true, 2));
    assert_eq!(opens[0].address, format!("n{}:1", world.leader_of(2)));
    world.answer(&opens[0], &Response::Outcome(Outcome::Opened { session: Index(50) }));
    let writes = world.asked();
    let sequences: Vec<u64> = writes.iter().map(|write| write.command().sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    for write in &writes {
        let command = write.command();
        assert_eq!((command.session.group, command.session.opened), (GroupId(2), Index(50)));
        assert_eq!((command.client.0, command.acknowledged), (7, 0));
        world.done(write);
    }
    for id in ids {
        assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
    }
    let key = world.key_of(2);
    world.put(&key, b"again");
    let next = world.one().command();
    assert_eq!((next.sequence, next.acknowledged), (4, 3));
}

#[test]
fn acknowledged_mark_stays_below_what_is_outstanding_in_the_session() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let mut writes = Vec::new();
    for _ in 0..3 {
        world.put(&key, b"value");
        writes.push(world.one());
    }
    assert_eq!(writes.iter().map(|write| write.command().acknowledged).collect::<Vec<_>>(), [1, 1, 1]);
    world.done(&writes[2]);
    world.done(&writes[1]);
    world.put(&key, b"value");
    assert_eq!(world.one().command().acknowledged, 1, "2 is not answered yet");
    world.done(&writes[0]);
    world.put(&key, b"value");
    assert_eq!(world.one().command().acknowledged, 4);
}

#[test]
fn slow_group_does_not_hold_back_the_mark_of_another() {
    let mut world = World::with_session(options(), 1);
    let (one, two) = (world.key_of(1), world.key_of(2));
    world.put(&one, b"never answered");
    world.one();
    world.put(&two, b"value");
    let open = world.one();
    world.answer(&open, &Response::Outcome(Outcome::Opened { session: Index(60) }));
    let write = world.one();
    assert_eq!((write.command().sequence, write.command().acknowledged), (1, 0), "each group is counted for itself");
    world.done(&write);
    world.put(&two, b"value");
    let write = world.one();
    assert_eq!((write.command().sequence, write.command().acknowledged), (2, 1));
}

#[test]
fn evicted_session_is_opened_anew_if_nothing_can_have_happened() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.put(&key, b"value");
    let first = world.one();
    world.answer(&first, &Response::Outcome(Outcome::SessionEvicted));
    let open = world.one_within(MOMENT);
    assert!(open.is_open());
    world.answer(&open, &Response::Outcome(Outcome::Opened { session: Index(90) }));
    let second = world.one();
    assert_eq!(second.command().session.opened, Index(90));
    assert!(second.command().sequence > first.command().sequence);
    world.done(&second);
    assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
}

#[test]
fn evicted_session_is_an_error_of_its_own_if_an_attempt_may_have_happened() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.put(&key, b"value");
    let first = world.one();
    world.cut(first.connection);
    let second = world.one_within(MOMENT);
    world.answer(&second, &Response::Outcome(Outcome::SessionEvicted));
    assert_eq!(world.completion(), Some((id, Err(ClientError::SessionEvicted))));
    world.put(&key, b"next");
    assert!(world.one().is_open(), "the next write opens a new session");
}

#[test]
fn batch_over_several_groups_is_refused_with_its_keys() {
    let mut world = World::with_session(options(), 1);
    let (one, two) = (world.key_of(1), world.key_of(2));
    let operations =
        vec![BatchOperation::Put { key: one.clone(), value: vec![] }, BatchOperation::Delete { key: two.clone() }];
    let id = world.submit(Request::Write(Operation::Batch { operations }));
    let keys = vec![(one.clone(), GroupId(1)), (two, GroupId(2))];
    assert_eq!(world.completion(), Some((id, Err(ClientError::CrossGroupBatch { keys }))));
    assert_eq!(world.asked().len(), 0);
    let operations = vec![BatchOperation::Delete { key: one }];
    world.submit(Request::Write(Operation::Batch { operations: operations.clone() }));
    assert_eq!(world.one().command().operation, Operation::Batch { operations });
}

#[test]
fn write_without_a_key_is_bad_input() {
    let mut world = World::new(options());
    for operation in [Operation::Open, Operation::Found { record: vec![] }, Operation::Batch { operations: vec![] }] {
        let id = world.submit(Request::Write(operation));
        let (done, result) = world.completion().unwrap();
        assert!(done == id && matches!(result, Err(ClientError::BadInput { .. })), "{result:?}");
    }
}

#[test]
fn swap_whose_result_is_gone_was_a_mismatch() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let swap = Operation::CompareAndSwap { key, expect: None, set: Some(b"value".to_vec()) };
    for (outcome, expected) in [
        (Outcome::Swapped, CasResult::Swapped),
        (Outcome::Mismatch { current: Some(vec![1]) }, CasResult::Mismatch { current: Some(vec![1]) }),
        (Outcome::AlreadyApplied, CasResult::MismatchGone),
    ] {
        let id = world.submit(Request::Write(swap.clone()));
        let asked = world.one();
        world.answer(&asked, &Response::Outcome(outcome));
        assert_eq!(world.completion(), Some((id, Ok(Answer::Cas(expected)))));
    }
}

#[test]
fn write_that_is_answered_like_another_may_have_happened() {
    let (key, value) = (World::new(options()).key_of(1), b"value".to_vec());
    let put = |return_old| Operation::Put { key: key.clone(), value: value.clone(), return_old };
    let delete = |return_old| Operation::Delete { key: key.clone(), return_old };
    let swap = Operation::CompareAndSwap { key: key.clone(), expect: None, set: Some(value.clone()) };
    let batch = Operation::Batch { operations: vec![BatchOperation::Delete { key: key.clone() }] };
    for (operation, outcome) in [
        (put(false), Outcome::Swapped),
        (put(false), Outcome::Old(None)),
        (put(true), Outcome::Done),
        (delete(false), Outcome::Old(None)),
        (delete(true), Outcome::Mismatch { current: None }),
        (swap.clone(), Outcome::Done),
        (swap, Outcome::Old(None)),
        (batch, Outcome::Swapped),
    ] {
        let mut world = World::with_session(options(), 1);
        world.submit(Request::Write(operation));
        let asked = world.one();
        world.answer(&asked, &Response::Outcome(outcome));
        let (_, result) = world.completion().unwrap();
        assert!(matches!(result, Err(ClientError::OutcomeUnknown { .. })), "{result:?}");
    }
}
