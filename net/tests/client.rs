//! The sans-IO client against scripted nodes.

mod client_support;

use client_support::{Refused, TIMEOUT, World, map};
use engine_core::command::{BatchOperation, Operation, Outcome};
use net::client::{Answer, CasResult, Checksum, ClientError, ClientOptions, Request, ScanOptions, Target};
use net::frame::Kind;
use net::hello::HelloRefusal;
use net::request;
use net::response::{Refusal, Response};
use net::status::NodeStatus;
use raft::ids::{GroupId, Index};
use std::time::Duration;

fn options() -> ClientOptions {
    ClientOptions::default()
}

const MOMENT: Duration = Duration::from_millis(300);

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
    assert_eq!((write.command().sequence, write.command().acknowledged), (3, 2));
}

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
fn wrong_core_is_corrected() {
    let mut world = World::of(map(3, 2), &["n0:1"], options());
    let key = world.key_of(2);
    world.get(&key);
    let first = world.give_map().remove(0);
    assert_eq!(first.core, 1, "group 2 is on core 1 of 2");
    world.refuse(&first, Refusal::WrongCore { core: 0 });
    let second = world.one();
    assert_eq!((second.core, &second.address), (0, &first.address));
    world.answer(&second, &Response::Value(None));
    world.get(&key);
    assert_eq!(world.one().core, 0);
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
    let connection = {
        world.get(&key);
        let get = world.one();
        world.answer(&get, &Response::Value(None));
        assert!(world.completion().is_some());
        get.connection
    };
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
fn silent_connection_is_pinged_and_then_given_up() {
    let mut world = World::with_session(options(), 1);
    let (key, before) = (world.key_of(1), world.now);
    world.put(&key, b"value");
    let first = world.one();
    let second = world.one_within(options().silence_timeout + MOMENT);
    assert!(world.now >= before + options().silence_timeout);
    assert_ne!(second.address, first.address);
    assert_eq!(second.command(), first.command());
}

#[test]
fn server_that_accepts_and_says_nothing_is_passed_over() {
    let mut world = World::of(map(3, 1), &["n0:1", "n1:1"], options());
    world.refused.insert("n0:1".to_owned(), Refused::Silent);
    let submitted = world.now;
    world.submit(Request::Map);
    let asked = world.one_within(options().connect_timeout + MOMENT);
    assert_eq!((asked.kind, asked.address.as_str()), (Kind::Routing, "n1:1"));
    assert!(world.now >= submitted + options().connect_timeout);
}

#[test]
fn map_comes_from_any_endpoint_that_answers() {
    let mut world = World::of(map(3, 1), &["dead:1", "other:1", "n2:1"], options());
    world.refused.insert("dead:1".to_owned(), Refused::Connection);
    world.refused.insert("other:1".to_owned(), Refused::Hello(HelloRefusal::WrongCluster));
    let id = world.submit(Request::Map);
    let asked = world.one_within(MOMENT);
    assert_eq!(asked.address, "n2:1");
    world.answer(&asked, &Response::Map(world.map.encode()));
    let (done, result) = world.completion().unwrap();
    assert!(done == id && matches!(&result, Ok(Answer::Map(map)) if **map == world.map), "{result:?}");
}

#[test]
fn damaged_map_is_not_believed() {
    let mut world = World::of(map(3, 1), &["n0:1", "n1:1"], options());
    world.submit(Request::Map);
    let asked = world.one();
    world.answer(&asked, &Response::Map(b"\x01not a map".to_vec()));
    let asked = world.one_within(MOMENT);
    assert_eq!((asked.kind, asked.address.as_str()), (Kind::Routing, "n1:1"));
}

#[test]
fn cluster_that_is_not_formed_says_whom_it_waits_for() {
    let mut world = World::new(options());
    let id = world.put(b"key", b"value");
    let until = world.now + TIMEOUT + MOMENT;
    let result = loop {
        for asked in world.asked() {
            world.refuse(&asked, Refusal::NotFormed { waiting_for: vec!["n2".to_owned()] });
        }
        if let Some((done, result)) = world.completion() {
            assert_eq!(done, id);
            break result;
        }
        assert!(world.advance(until));
    };
    assert_eq!(result, Err(ClientError::NotFormed { waiting_for: vec!["n2".to_owned()] }));
}

#[test]
fn newer_map_is_fetched_when_a_group_is_not_where_it_was() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    world.put(&key, b"value");
    let first = world.one();
    world.refuse(&first, Refusal::NotOwner { epoch: 2 });
    let fetch = world.one();
    assert_eq!(fetch.kind, Kind::Routing);
    let mut newer = world.map.clone();
    newer.epoch = 2;
    world.answer(&fetch, &Response::Map(newer.encode()));
    let second = world.one_within(MOMENT);
    assert_eq!(second.command(), first.command(), "session and sequence stay through a move");
    assert_eq!(world.core.map().unwrap().epoch, 2);
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
fn scan_merges_all_groups_in_key_order_and_asks_no_group_twice_for_the_same() {
    let mut world = World::new(options());
    let entry = |number: u32| (format!("{number:03}").into_bytes(), vec![number as u8]);
    // Group g holds the numbers that leave g - 1 when divided by four, and gives out three at a time.
    let share = |asked: &client_support::Asked| -> Response {
        let scan = request::scan(&asked.body).expect("a scan");
        let mut entries: Vec<_> = (0..60).filter(|number| number % 4 == asked.group - 1).map(entry).collect();
        entries.retain(|(key, _)| **key >= *scan.start);
        let more = entries.len() > 3;
        entries.truncate(3);
        Response::Page { entries, more }
    };
    let id = world.submit(Request::Scan(ScanOptions { start: vec![], end: None, limit: 50, stale: false }));
    let mut waiting = world.give_map();
    assert_eq!(waiting.len(), 4, "all groups in parallel");
    let mut starts = Vec::new();
    let page = loop {
        for asked in waiting {
            let scan = request::scan(&asked.body).expect("a scan");
            starts.push((asked.group, scan.start.to_vec()));
            let page = share(&asked);
            world.answer(&asked, &page);
        }
        if let Some((done, result)) = world.completion() {
            assert_eq!(done, id);
            let Ok(Answer::Page(page)) = result else { panic!("{result:?}") };
            break page;
        }
        waiting = world.asked();
    };
    assert_eq!(page.entries, (0..50).map(entry).collect::<Vec<_>>());
    assert_eq!((page.more, page.next_start()), (true, Some(b"049\0".to_vec())));
    let count = starts.len();
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), count, "a group was asked twice for the same page");
}

#[test]
fn scan_that_reaches_the_end_says_so() {
    let mut world = World::new(options());
    world.submit(Request::Scan(ScanOptions::prefix(b"user", 10)));
    for asked in world.give_map() {
        let scan = request::scan(&asked.body).unwrap();
        assert_eq!((&*scan.start, scan.end.as_ref().map(|end| end.to_vec())), (&b"user"[..], Some(b"uses".to_vec())));
        let entries = if asked.group == 3 { vec![(b"user1".to_vec(), vec![])] } else { vec![] };
        world.answer(&asked, &Response::Page { entries, more: false });
    }
    let (_, result) = world.completion().unwrap();
    let Ok(Answer::Page(page)) = result else { panic!("{result:?}") };
    assert_eq!((page.entries.len(), page.more, page.next_start()), (1, false, None));
    assert_eq!(ScanOptions::prefix(b"\xff\xff", 1).end, None);
    assert_eq!(ScanOptions::prefix(b"a\xff", 1).end, Some(b"b".to_vec()));
}

#[test]
fn scan_believes_no_group_that_answers_out_of_order() {
    let lies = [
        (vec![(b"b".to_vec(), vec![]), (b"a".to_vec(), vec![])], false),
        (vec![(b"a".to_vec(), vec![]), (b"a".to_vec(), vec![])], false),
        (vec![], true),
        (vec![(b"zz".to_vec(), vec![])], false),
    ];
    for (entries, more) in lies {
        let mut world = World::new(options());
        let scan = ScanOptions { start: b"a".to_vec(), end: Some(b"z".to_vec()), limit: 5, stale: false };
        world.submit(Request::Scan(scan));
        let asked = world.give_map().remove(0);
        world.answer(&asked, &Response::Page { entries, more });
        let (_, result) = world.completion().unwrap();
        assert!(matches!(result, Err(ClientError::Protocol { .. })), "{result:?}");
    }
}

#[test]
fn one_node_is_asked_and_nobody_else_can_answer() {
    let mut world = World::with_session(options(), 1);
    let id = world.submit(Request::Status(Target::Node(2)));
    let asked = world.one();
    assert_eq!((asked.kind, asked.address.as_str()), (Kind::Status, "n2:1"));
    world.answer(&asked, &Response::Status(NodeStatus::default()));
    assert_eq!(world.completion(), Some((id, Ok(Answer::Status(NodeStatus::default())))));

    let id = world.submit(Request::Checksum { group: GroupId(3), node: 1 });
    let asked = world.one();
    assert_eq!((asked.kind, asked.group, asked.address.as_str()), (Kind::Checksum, 3, "n1:1"));
    world.answer(&asked, &Response::Checksum { applied: 1, entries: 2, hash: 3 });
    let checksum = Checksum { applied: 1, entries: 2, hash: 3 };
    assert_eq!(world.completion(), Some((id, Ok(Answer::Checksum(checksum)))));

    world.refused.insert("n2:1".to_owned(), Refused::Connection);
    world.cut_all("n2:1");
    let id = world.submit(Request::Status(Target::Node(2)));
    let (done, result) = world.completion().unwrap();
    assert!(done == id && matches!(&result, Err(ClientError::Unreachable { address, .. }) if address == "n2:1"));
}

#[test]
fn node_that_is_gone_before_it_answers_a_stop_has_stopped() {
    let mut world = World::new(options());
    let id = world.submit(Request::Stop { of: Target::Address("n1:1".to_owned()), clean: false });
    let asked = world.one();
    assert_eq!((asked.kind, request::stop(&asked.body).unwrap().clean), (Kind::Stop, false));
    world.cut(asked.connection);
    assert_eq!(world.completion(), Some((id, Ok(Answer::Done))));
}

#[test]
fn stale_reads_go_round_the_replicas() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..30 {
        world.submit(Request::Get { key: key.clone(), stale: true });
        let asked = world.one();
        assert!(request::read(&asked.body).unwrap().stale);
        seen.push(asked.address.clone());
        world.answer(&asked, &Response::Value(None));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[test]
fn garbage_from_a_node_ends_its_connection_and_nothing_else() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    let id = world.get(&key);
    let asked = world.one();
    world.feed(asked.connection, &[0x55; 200]);
    let again = world.one_within(MOMENT);
    assert_ne!(again.connection, asked.connection);
    world.answer(&again, &Response::Value(Some(b"value".to_vec())));
    assert_eq!(world.completion(), Some((id, Ok(Answer::Value(Some(b"value".to_vec()))))));
}

#[test]
fn too_many_requests_are_refused_as_not_applied() {
    let mut world = World::new(ClientOptions { requests_max: 3, ..options() });
    let ids: Vec<_> = (0..3).map(|_| world.put(b"key", b"value")).collect();
    let (done, result) = world.completion().unwrap();
    assert_eq!(done, ids[2], "the fetch of the map counts too");
    assert!(matches!(result, Err(ClientError::NotApplied { .. })));
    let mut world = World::new(ClientOptions { bytes_max: 100, ..options() });
    world.put(b"key", &[0; 90]);
    let id = world.put(b"key", &[0; 90]);
    assert!(matches!(world.completion(), Some((done, Err(ClientError::NotApplied { .. }))) if done == id));
}

#[test]
fn requests_are_counted_until_their_completions_are_taken() {
    let mut world = World::with_session(options(), 1);
    let key = world.key_of(1);
    assert_eq!(world.core.in_flight(), 0);
    world.get(&key);
    world.submit(Request::Scan(ScanOptions::prefix(b"", 5)));
    assert_eq!(world.core.in_flight(), 2, "the parts of a scan are not counted");
    for asked in world.asked() {
        let page = Response::Page { entries: vec![], more: false };
        world.answer(&asked, if asked.kind == Kind::Read { &Response::Value(None) } else { &page });
    }
    assert_eq!(world.core.in_flight(), 2);
    assert!(world.completion().is_some() && world.completion().is_some());
    assert_eq!(world.core.in_flight(), 0);
}

#[test]
fn request_too_large_for_a_frame_is_refused_by_name() {
    let mut world = World::new(options());
    let id = world.put(b"key", &vec![0; 5 << 20]);
    assert!(matches!(world.completion(), Some((done, Err(ClientError::TooLarge { .. }))) if done == id));
}
