//! Sessions: sets of executed sequences, their bytes, and their union.

#![allow(clippy::disallowed_types)] // proptest's own macros share strategies.

use engine_core::command::Outcome;
use engine_core::sessions::{RESULT_BYTES_MAX, RUNS_MAX, Session, SessionError, header};
use proptest::prelude::*;
use raft::ids::Index;
use std::collections::BTreeMap;

fn session(executed: &[u64]) -> Session {
    let mut session = Session::new(Index(3));
    executed.iter().for_each(|&sequence| session.record(sequence, &Outcome::Done));
    session
}

fn reopened(session: &Session) -> Session {
    let mut bytes = Vec::new();
    session.encode(&mut bytes);
    assert_eq!(header(&bytes), Ok((session.opened(), session.last_used())));
    Session::decode(&bytes).expect("bytes just encoded")
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let value = || prop::collection::vec(any::<u8>(), 0..RESULT_BYTES_MAX + 10);
    prop_oneof![
        4 => Just(Outcome::Done),
        1 => Just(Outcome::Swapped),
        1 => Just(Outcome::Old(None)),
        1 => value().prop_map(|value| Outcome::Old(Some(value))),
        1 => Just(Outcome::Mismatch { current: None }),
        1 => value().prop_map(|value| Outcome::Mismatch { current: Some(value) }),
    ]
}

/// What a retry is told: the outcome itself unless it is large.
fn told(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Old(Some(value)) | Outcome::Mismatch { current: Some(value) } if value.len() > RESULT_BYTES_MAX => {
            Outcome::AlreadyApplied
        }
        outcome => outcome.clone(),
    }
}

#[test]
fn executed_is_a_set_and_not_a_maximum() {
    let session = session(&[9, 3, 4]);
    for sequence in [3, 4, 9] {
        assert_eq!(session.executed(sequence), Some(Outcome::Done), "{sequence}");
    }
    for sequence in [1, 2, 5, 8, 10] {
        assert_eq!(session.executed(sequence), None, "{sequence} was overtaken, not executed");
    }
}

#[test]
fn what_is_acknowledged_is_never_executed_again() {
    let mut session = session(&[1, 2, 3, 7]);
    session.acknowledge(5);
    for sequence in 0..=5 {
        assert_eq!(session.executed(sequence), Some(Outcome::AlreadyApplied), "{sequence}");
    }
    assert_eq!(session.executed(6), None);
    assert_eq!(session.executed(7), Some(Outcome::Done));
    session.acknowledge(2);
    assert_eq!(session.acknowledged(), 5, "a late message does not take the mark back");
    assert_eq!(session.executed(3), Some(Outcome::AlreadyApplied));
}

#[test]
fn a_mark_within_a_run_cuts_it() {
    let mut session = session(&[1, 2, 3, 4, 5]);
    session.acknowledge(3);
    assert_eq!(session.executed(4), Some(Outcome::Done));
    assert_eq!(reopened(&session), session);
    session.acknowledge(u64::MAX - 1);
    assert_eq!(session.executed(u64::MAX), None);
    session.record(u64::MAX, &Outcome::Swapped);
    assert_eq!(session.executed(u64::MAX), Some(Outcome::Swapped));
    assert_eq!(reopened(&session), session);
}

#[test]
fn results_up_to_64_bytes_are_kept_for_a_retry() {
    let mut session = Session::new(Index(1));
    let small = Outcome::Old(Some(vec![1; RESULT_BYTES_MAX]));
    session.record(1, &small);
    session.record(2, &Outcome::Old(Some(vec![1; RESULT_BYTES_MAX + 1])));
    session.record(3, &Outcome::Mismatch { current: Some(vec![2; RESULT_BYTES_MAX + 1]) });
    let session = reopened(&session);
    assert_eq!(session.executed(1), Some(small));
    assert_eq!(session.executed(2), Some(Outcome::AlreadyApplied));
    assert_eq!(session.executed(3), Some(Outcome::AlreadyApplied));
}

#[test]
fn neighbours_with_one_result_take_the_room_of_one() {
    let size = |executed: &[u64]| {
        let mut bytes = Vec::new();
        session(executed).encode(&mut bytes);
        bytes.len()
    };
    let ascending: Vec<u64> = (1..100).collect();
    let descending: Vec<u64> = (1..100).rev().collect();
    assert_eq!(size(&ascending), 25 + 3);
    assert_eq!(size(&descending), 25 + 3);
    assert_eq!(session(&ascending), session(&descending));
}

#[test]
fn a_client_that_never_acknowledges_fills_its_session() {
    let mut session = Session::new(Index(1));
    for sequence in 1..=RUNS_MAX as u64 {
        assert!(!session.is_full(), "{sequence}");
        session.record(2 * sequence, &Outcome::Done);
    }
    assert!(session.is_full());
    session.acknowledge(2);
    assert!(!session.is_full());
}

#[test]
fn the_bytes_are_frozen() {
    let mut session = Session::new(Index(0x0102));
    session.touch(Index(0x0203));
    session.acknowledge(10);
    session.record(12, &Outcome::Done);
    session.record(13, &Outcome::Done);
    session.record(200, &Outcome::Swapped);
    session.record(201, &Outcome::Old(None));
    session.record(202, &Outcome::Old(Some(vec![0xaa])));
    session.record(203, &Outcome::Mismatch { current: None });
    session.record(204, &Outcome::Mismatch { current: Some(vec![]) });
    session.record(205, &Outcome::AlreadyApplied);
    let mut bytes = Vec::new();
    session.encode(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = concat!(
        "01",
        "0201000000000000",
        "0302000000000000",
        "0a00000000000000",
        "020100",
        "bb010001",
        "010002",
        "01000301aa",
        "010004",
        "01000500",
        "010006",
    );
    assert_eq!(hex, golden);
    assert_eq!(reopened(&session), session);
}

#[test]
fn damaged_bytes_are_an_error() {
    let mut bytes = Vec::new();
    session(&[5, 9]).encode(&mut bytes);
    assert_eq!(Session::decode(&[]), Err(SessionError));
    assert_eq!(Session::decode(&bytes[..bytes.len() - 1]), Err(SessionError));
    let mut other = bytes.clone();
    other[0] = 2;
    assert_eq!(Session::decode(&other), Err(SessionError), "a later version");
    let last = bytes.len() - 1;
    bytes[last] = 9;
    assert_eq!(Session::decode(&bytes), Err(SessionError), "an unknown outcome");
    bytes[last] = 0;
    bytes[last - 2] = 0;
    assert_eq!(Session::decode(&bytes), Err(SessionError), "a run that does not come after the one before");
}

#[test]
fn union_keeps_what_either_copy_has_executed() {
    let mut here = session(&[1, 2, 6]);
    let mut there = session(&[2, 3, 4, 9]);
    there.acknowledge(1);
    here.merge(&there);
    let executed: Vec<u64> = (2..12).filter(|&sequence| here.executed(sequence).is_some()).collect();
    assert_eq!(executed, [2, 3, 4, 6, 9]);
    assert_eq!(here.acknowledged(), 1);
}

#[test]
fn union_of_different_opens_is_the_later_one() {
    let mut old = Session::new(Index(5));
    old.record(1, &Outcome::Done);
    let mut new = Session::new(Index(8));
    new.record(2, &Outcome::Done);
    let mut merged = old.clone();
    merged.merge(&new);
    assert_eq!((merged.opened(), merged.executed(1), merged.executed(2)), (Index(8), None, Some(Outcome::Done)));
    let mut merged = new.clone();
    merged.merge(&old);
    assert_eq!(merged, new);
}

#[test]
fn values_that_are_kept_count_as_memory_until_they_are_acknowledged() {
    const VALUES: usize = 1000;
    let value = Outcome::Old(Some(vec![7; RESULT_BYTES_MAX]));
    let (mut short, mut long) = (Session::new(Index(1)), Session::new(Index(1)));
    // With gaps, so that neither is a run.
    for sequence in (1..=2 * VALUES as u64).step_by(2) {
        short.record(sequence, &Outcome::Done);
        long.record(sequence, &value);
    }
    let beside = |short: &Session, long: &Session| long.memory_bytes() - short.memory_bytes();
    assert!(beside(&short, &long) >= VALUES * RESULT_BYTES_MAX, "{} bytes", beside(&short, &long));
    let opened = reopened(&long);
    assert!(opened.memory_bytes() >= VALUES * RESULT_BYTES_MAX, "{} bytes", opened.memory_bytes());
    // All but the last.
    short.acknowledge(2 * VALUES as u64 - 2);
    long.acknowledge(2 * VALUES as u64 - 2);
    assert!((1..2 * RESULT_BYTES_MAX).contains(&beside(&short, &long)), "{} bytes", beside(&short, &long));
    long.acknowledge(2 * VALUES as u64);
    assert_eq!(long.memory_bytes(), Session::new(Index(1)).memory_bytes());
}

proptest! {
    #[test]
    fn a_session_is_a_map_of_outcomes(
        steps in prop::collection::vec((1u64..60, any_outcome(), prop::option::weighted(0.2, 0u64..50)), 0..80),
    ) {
        let mut session = Session::new(Index(1));
        let (mut model, mut mark) = (BTreeMap::new(), 0);
        for (sequence, outcome, acknowledge) in steps {
            if let Some(acknowledged) = acknowledge {
                session.acknowledge(acknowledged);
                mark = mark.max(acknowledged);
            }
            let expected = match sequence <= mark {
                true => Some(Outcome::AlreadyApplied),
                false => model.get(&sequence).map(told),
            };
            prop_assert_eq!(session.executed(sequence), expected.clone());
            if expected.is_none() {
                session.record(sequence, &outcome);
                model.insert(sequence, outcome);
            }
            prop_assert_eq!(&reopened(&session), &session);
            let mut joined = session.clone();
            joined.merge(&session);
            prop_assert_eq!(&joined, &session, "neighbours that could be one run are one");
        }
        for sequence in mark + 1..62 {
            prop_assert_eq!(session.executed(sequence), model.get(&sequence).map(told), "{}", sequence);
        }
    }

    #[test]
    fn union_is_the_union(
        here in prop::collection::btree_set(1u64..60, 0..40),
        there in prop::collection::btree_set(1u64..60, 0..40),
        marks in (0u64..30, 0u64..30),
        outcomes in prop::collection::vec(any_outcome(), 60),
    ) {
        let build = |set: &std::collections::BTreeSet<u64>, mark: u64| {
            let mut session = Session::new(Index(1));
            set.iter().for_each(|&sequence| session.record(sequence, &outcomes[sequence as usize]));
            session.acknowledge(mark);
            session
        };
        let (a, b) = (build(&here, marks.0), build(&there, marks.1));
        let (mut left, mut right) = (a.clone(), b.clone());
        left.merge(&b);
        right.merge(&a);
        prop_assert_eq!(&left, &right, "the order does not matter");
        let again = { let mut again = left.clone(); again.merge(&b); again };
        prop_assert_eq!(&again, &left, "a second time changes nothing");
        let mark = marks.0.max(marks.1);
        prop_assert_eq!(left.acknowledged(), mark);
        for sequence in mark + 1..62 {
            let expected = (here.contains(&sequence) || there.contains(&sequence)).then(|| told(&outcomes[sequence as usize]));
            prop_assert_eq!(left.executed(sequence), expected, "{}", sequence);
        }
        prop_assert_eq!(&reopened(&left), &left);
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), sound in any::<bool>()) {
        let mut bytes = bytes;
        if sound && !bytes.is_empty() {
            bytes[0] = 1;
        }
        if let Ok(session) = Session::decode(&bytes) {
            let _ = (session.executed(7), reopened(&session));
        }
    }
}
