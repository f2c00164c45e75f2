//! Leases of a core: they rest on what the other cores promise (rule 10).

#[allow(dead_code)] // each that shares it uses a part
#[path = "shard_support/lone.rs"]
mod lone;

use engine_core::exchange::{Answer, Word};
use engine_core::shard::{Effects, Event, Query, Serving, Shard, Ticket};
use lone::{GROUP, elect, leasing, synced, tell};
use raft::ids::{Index, Term};
use raft::message::{AppendReply, Body};

/// Of a lease, in microseconds.
const LEASE: u64 = 100;

/// A core that leads its group.
fn leader() -> (Shard, Effects) {
    let (mut shard, [other, _]) = leasing(0, Serving::Whole, LEASE);
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, other);
    synced(&mut shard, &mut effects);
    tell(&mut shard, &mut effects, other, Term(1), Body::AppendReply(AppendReply::Accepted { matched: Index(1) }));
    synced(&mut shard, &mut effects);
    assert_eq!(shard.led(), 1, "of {:?}", shard.replica(GROUP));
    (shard, effects)
}

/// A get comes in a turn that ends at `now`; whether a lease answers it. Core 0 of node 1 confirms what is asked.
fn reads_by_lease(shard: &mut Shard, effects: &mut Effects, now: u64) -> bool {
    let ticket = Ticket { connection: 1, request: now, bytes: 100, mark: 0 };
    let query = Query::Get { key: b"key".to_vec() };
    shard.handle(Event::Read { ticket, group: GROUP, query, stale: false }, effects);
    shard.finish_at(now, effects);
    for (to, word) in std::mem::take(&mut effects.words) {
        if let Word::Round(round) = word
            && to.0 == 1
        {
            let answer = Answer { start: round.start, number: round.number, refused: Vec::new() };
            shard.handle(Event::Word { from: to, word: Word::Answer(answer) }, effects);
        }
    }
    shard.finish_at(now, effects);
    std::mem::take(&mut effects.leased) > 0
}

#[test]
fn no_lease_holds_while_a_core_promises_less_than_it_lasts() {
    let (mut shard, mut effects) = leader();
    assert!(!reads_by_lease(&mut shard, &mut effects, 1_000), "nobody has confirmed anything");
    assert!(reads_by_lease(&mut shard, &mut effects, 1_050));
    for core in [0, 1] {
        shard.handle(Event::PeerPromises { from: (2, core), enough: false }, &mut effects);
    }
    assert!(!reads_by_lease(&mut shard, &mut effects, 1_060), "the lease there was is given up");
    assert!(!reads_by_lease(&mut shard, &mut effects, 1_070), "none comes of a round that is confirmed now");
    shard.handle(Event::PeerPromises { from: (2, 1), enough: true }, &mut effects);
    assert!(!reads_by_lease(&mut shard, &mut effects, 1_080), "another core of it still promises less");
    shard.handle(Event::PeerPromises { from: (2, 0), enough: true }, &mut effects);
    assert!(!reads_by_lease(&mut shard, &mut effects, 1_090), "what was confirmed meanwhile counts for none");
    assert!(reads_by_lease(&mut shard, &mut effects, 1_100), "the next round is one as usual");
}
