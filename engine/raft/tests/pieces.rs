//! What a follower takes of entries that come again keeps no memory of those it has.

use raft::Options;
use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{Index, ReplicaId, Term};
use raft::membership::Membership;
use raft::message::{Body, Message};
use raft::payload::Pieces;
use raft::ready::Ready;
use raft::replica::{Replica, Restored};

const BYTES: usize = 100;

fn follower() -> Replica {
    let options = Options {
        id: ReplicaId(1),
        seed: 1,
        election_ticks: 10,
        heartbeat_ticks: 1,
        idle_ticks: 10,
        inflight_messages_max: 4,
        inflight_bytes_max: 1 << 20,
        append_bytes_max: 1 << 20,
        window_bytes_max: 1 << 20,
        uncommitted_bytes_max: 1 << 20,
        lease: 0,
        may_be_loyal: false,
        may_campaign: true,
    };
    let restored = Restored {
        hard_state: HardState { term: Term(1), vote: None },
        log_start: LogId::default(),
        membership: Membership::new(&[1, 2, 3].map(ReplicaId), &[]).expect("three voters"),
        terms: vec![],
        last: Index(0),
        memberships: vec![],
        tail: vec![],
        applied: Index(0),
    };
    Replica::new(options, restored)
}

/// Entries from the first one to `last`, as they come out of one message.
fn append(last: u64) -> Message {
    let bytes: Vec<u8> = (1..=last).flat_map(|index| [index as u8; BYTES]).collect();
    let mut pieces = Pieces::of(&bytes);
    let entry = |index: u64| {
        let end = index as usize * BYTES;
        let payload = pieces.payload(end - BYTES..end, (index + 1..=last).map(|index| index as usize * BYTES));
        Entry { term: Term(1), index: Index(index), kind: EntryKind::Command, payload }
    };
    let entries = (1..=last).map(entry).collect();
    let body = Body::Append { prev: LogId::default(), commit: Index(0), entries };
    Message { from: ReplicaId(2), to: ReplicaId(1), term: Term(1), body }
}

#[test]
fn entries_that_come_with_known_ones_keep_no_more_than_themselves() {
    let mut replica = follower();
    let mut step = |last| {
        let mut ready = Ready::default();
        replica.step(append(last), &mut ready);
        let kept = |entry: &Entry| (entry.payload.to_vec(), entry.payload.piece_bytes());
        ready.entries.iter().map(kept).collect::<Vec<_>>()
    };
    let all: Vec<Vec<u8>> = (1..=300).map(|index| vec![index as u8; BYTES]).collect();
    let together = |piece| move |payload: &Vec<u8>| (payload.clone(), piece);
    assert_eq!(step(40), all[..40].iter().map(together(40 * BYTES)).collect::<Vec<_>>());
    assert_eq!(step(43), all[40..43].iter().map(together(BYTES)).collect::<Vec<_>>());
    // The piece that begins behind what was known stays whole.
    let new = step(300);
    assert_eq!(new.iter().map(|(payload, _)| payload.clone()).collect::<Vec<_>>(), all[43..]);
    assert!(new[..163 - 43].iter().all(|(_, kept)| *kept == BYTES), "of the piece of the first 163");
    assert!(new[163 - 43..].iter().all(|(_, kept)| *kept == (300 - 163) * BYTES));
}
