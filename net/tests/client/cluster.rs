//! The map, scans over groups, questions to one node, and limits.

use super::world::{Asked, Refused, TIMEOUT, World, map};
use super::{MOMENT, options};
use net::client::{Answer, Checksum, ClientError, ClientOptions, Request, ScanOptions, Target};
use net::frame::{BODY_BYTES_MAX, Kind};
use net::hello::HelloRefusal;
use net::request;
use net::response::{Refusal, Response};
use net::status::NodeStatus;
use raft::ids::GroupId;
use std::collections::BTreeSet;

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
fn next_address_of_a_name_is_tried_after_one_that_says_nothing() {
    let mut world = World::new(options());
    world.refused.insert("n0:1".to_owned(), Refused::Silent);
    world.submit(Request::Map);
    let until = world.now + options().connect_timeout * 2 + MOMENT;
    while world.advance(until) {}
    assert_eq!(world.address_turns, [0, 1, 2]);
    world.refused.clear();
    world.some_within(options().connect_timeout + MOMENT);
    assert_eq!(world.address_turns[3..], [3]);
    // The one that was of use is the first again.
    world.cut_all("n0:1");
    world.some_within(MOMENT);
    assert_eq!(world.address_turns[4..], [3]);
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
fn map_comes_from_another_node_when_the_first_refuses_it() {
    let refusals = [
        Response::Refused(Refusal::Busy { retry_after_ms: 60_000 }),
        Response::Refused(Refusal::Forbidden),
        Response::Refused(Refusal::Unsupported),
        Response::Done,
    ];
    for refusal in refusals {
        let mut world = World::of(map(3, 1), &["n0:1", "n1:1"], options());
        let id = world.submit(Request::Map);
        let asked = world.one();
        world.answer(&asked, &refusal);
        let asked = world.one_within(MOMENT);
        assert_eq!((asked.kind, asked.address.as_str()), (Kind::Routing, "n1:1"));
        world.answer(&asked, &Response::Map(world.map.encode()));
        let (done, result) = world.completion().unwrap();
        assert!(done == id && result.is_ok(), "{result:?}");
    }
}

#[test]
fn node_of_another_cluster_is_asked_nothing_once_the_own_cluster_is_known() {
    let mut world = World::new(options());
    let group = (1..=4).find(|group| world.leader_of(*group) != 0).unwrap();
    let (key, leader) = (world.key_of(group), format!("n{}:1", world.leader_of(group)));
    world.refused.insert("n1:1".to_owned(), Refused::AsAnother);
    world.refused.insert("n2:1".to_owned(), Refused::AsAnother);
    // It may be asked for its status while no map is known.
    let id = world.submit(Request::Status(Target::Address(leader.clone())));
    let before = world.one();
    world.answer(&before, &Response::Status(NodeStatus::default()));
    assert_eq!(world.completion().map(|(done, _)| done), Some(id));
    world.get(&key);
    let mut asked = world.give_map();
    if asked.is_empty() {
        asked = world.some_within(MOMENT);
    }
    assert_eq!(asked[0].address, "n0:1", "neither over the connection from before nor over a new one");
    // The right node is there again.
    world.refused.clear();
    let mut again = asked.remove(0);
    while again.address != leader {
        world.refuse(&again, Refusal::NotLeader { leader: Some(world.leader_of(group)) });
        again = world.one_within(MOMENT);
    }
    assert_ne!(again.connection, before.connection);
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
    let waiting_for = vec!["n2".to_owned(), "n3".to_owned()];
    let error = never_formed(&waiting_for);
    assert_eq!(error.to_string(), "the cluster is not formed yet, it waits for n2, n3");
    assert_eq!(error, ClientError::NotFormed { waiting_for });
}

#[test]
fn node_that_is_starting_is_not_said_to_wait_for_anybody() {
    let error = never_formed(&[]);
    assert_eq!(error.to_string(), "the node is starting and serves nothing yet");
    assert_eq!(error, ClientError::NotFormed { waiting_for: vec![] });
}

#[test]
fn what_a_node_said_is_kept_when_it_ends_the_connection_after_it() {
    let waiting_for = vec!["n2".to_owned()];
    let mut world = World::new(options());
    world.put(b"key", b"value");
    let mut connections = BTreeSet::new();
    let error = world.error(|world, asked| {
        connections.insert(asked.connection);
        world.refuse(asked, Refusal::NotFormed { waiting_for: waiting_for.clone() });
        world.cut(asked.connection);
    });
    assert_eq!(error, ClientError::NotFormed { waiting_for });
    assert!(connections.len() > 3, "{} connections: it does not come again", connections.len());
}

/// How a write ends when no node is ever formed.
fn never_formed(waiting_for: &[String]) -> ClientError {
    let mut world = World::new(options());
    world.put(b"key", b"value");
    world.error(|world, asked| world.refuse(asked, Refusal::NotFormed { waiting_for: waiting_for.to_vec() }))
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
fn scan_merges_all_groups_in_key_order_and_asks_no_group_twice_for_the_same() {
    let mut world = World::new(options());
    let entry = |number: u32| (format!("{number:03}").into_bytes(), vec![number as u8]);
    // Group g holds the numbers that leave g - 1 when divided by four, and gives out three at a time.
    let share = |asked: &Asked| -> Response {
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
fn scan_does_not_go_on_from_a_key_that_no_request_can_name() {
    let mut world = World::new(options());
    world.submit(Request::Scan(ScanOptions::prefix(b"", 10)));
    let asked = world.give_map().remove(0);
    let entries = vec![(vec![7; BODY_BYTES_MAX - 200], vec![])];
    world.answer(&asked, &Response::Page { entries, more: true });
    let (_, result) = world.completion().unwrap();
    assert!(matches!(result, Err(ClientError::Protocol { .. })), "{result:?}");
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
fn node_that_says_nothing_to_a_stop_may_go_on() {
    for silence_timeout in [options().silence_timeout, TIMEOUT * 10] {
        let mut world = World::new(ClientOptions { silence_timeout, ..options() });
        world.dead.insert("n1:1".to_owned());
        let id = world.submit(Request::Stop { of: Target::Address("n1:1".to_owned()), clean: true });
        assert_eq!(world.one().kind, Kind::Stop);
        let (done, result) = world.completion_within(TIMEOUT);
        assert_eq!(done, id);
        assert!(matches!(&result, Err(ClientError::OutcomeUnknown { why }) if why.contains("n1:1")), "{result:?}");
    }
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
