//! A replica that has confirmed its leader supports nobody else for a while, whatever else its turn brings (rule 10).

#[allow(dead_code)] // each that shares it uses a part
#[path = "shard_support/lone.rs"]
mod lone;

use engine_core::exchange::{Answer, Beat, Question, Round, Word};
use engine_core::shard::{Effects, Event, Shard};
use lone::{GROUP, shard, synced, tell};
use raft::entry::LogId;
use raft::ids::{Index, ReplicaId, Term};
use raft::message::Body;

/// Half of the election timeout, in ticks.
const WAIT: u64 = 5;

fn asks_for_a_vote(shard: &mut Shard, effects: &mut Effects, from: ReplicaId) -> bool {
    let last = LogId { term: Term(2), index: Index(9) };
    tell(shard, effects, from, Term(3), Body::Vote { last, transfer: false });
    synced(shard, effects);
    effects.messages.drain(..).any(|(_, message)| message.body == Body::VoteReply { granted: true })
}

/// It follows the leader for forty ticks. That one's core is silent then for some, not for long enough to be given up, and says
/// everything at once: the group has confirmed its leader and sleeps.
fn asleep_after(silent: u64, shard: &mut Shard, effects: &mut Effects, leader: ReplicaId) {
    synced(shard, effects);
    for sequence in 1..=40 {
        shard.handle(Event::Tick, effects);
        let beat_of_core = Word::Beat(Beat { start: 7, sequence, given_up: 0, declines: false });
        shard.handle(Event::Word { from: (1, 0), word: beat_of_core }, effects);
        let beat = Body::Heartbeat { commit: Index(0), round: 0, settled: Index(0) };
        tell(shard, effects, leader, Term(2), beat);
        synced(shard, effects);
    }
    (0..silent).for_each(|_| shard.handle(Event::Tick, effects));
    effects.words.clear();
    let question = Question { group: GROUP, to: ReplicaId::new(0, 0), term: Term(2) };
    let round = Round { start: 7, number: 1, questions: vec![question] };
    shard.handle(Event::Word { from: (1, 0), word: Word::Round(round) }, effects);
    let confirmed = Word::Answer(Answer { start: 7, number: 1, refused: vec![] });
    assert!(effects.words.contains(&((1, 0), confirmed)), "{:?}", effects.words);
    tell(shard, effects, leader, Term(2), Body::Sleep { commit: Index(0), attempt: 1 });
    assert!(shard.replica(GROUP).is_some_and(raft::Replica::is_asleep));
}

#[test]
fn a_group_that_sleeps_and_wakes_in_one_turn_has_not_lived_through_all_former_ticks() {
    let (mut shard, [leader, other]) = shard(0);
    let mut effects = Effects::default();
    asleep_after(WAIT - 2, &mut shard, &mut effects, leader);
    tell(&mut shard, &mut effects, other, Term(3), Body::PreVote { last: LogId { term: Term(2), index: Index(9) } });
    synced(&mut shard, &mut effects);
    effects.messages.clear();
    for tick in 1..WAIT {
        shard.handle(Event::Tick, &mut effects);
        assert!(!asks_for_a_vote(&mut shard, &mut effects, other), "{tick} ticks after it has confirmed its leader");
    }
    shard.handle(Event::Tick, &mut effects);
    assert!(asks_for_a_vote(&mut shard, &mut effects, other));
}

#[test]
fn a_group_that_silence_wakes_counts_that_tick_once() {
    let (mut shard, [leader, other]) = shard(0);
    let mut effects = Effects::default();
    asleep_after(WAIT - 2, &mut shard, &mut effects, leader);
    let mut woken = 0;
    while shard.replica(GROUP).is_some_and(raft::Replica::is_asleep) {
        shard.handle(Event::Tick, &mut effects);
        synced(&mut shard, &mut effects);
        woken += 1;
    }
    assert!(woken < WAIT, "silence wakes it while it still supports its leader: after {woken}");
    for tick in woken..WAIT {
        assert!(!asks_for_a_vote(&mut shard, &mut effects, other), "{tick} ticks after it has confirmed its leader");
        shard.handle(Event::Tick, &mut effects);
    }
    assert!(asks_for_a_vote(&mut shard, &mut effects, other));
}

#[test]
fn a_group_that_falls_asleep_in_the_turn_of_the_tick_that_wakes_it_counts_that_once() {
    let (mut shard, [leader, other]) = shard(0);
    let mut effects = Effects::default();
    asleep_after(WAIT - 1, &mut shard, &mut effects, leader);
    for tick in 1..WAIT {
        // The first of them gives the leader's core up.
        shard.handle(Event::Tick, &mut effects);
        assert!(!shard.replica(GROUP).is_some_and(raft::Replica::is_asleep));
        assert!(!asks_for_a_vote(&mut shard, &mut effects, other), "{tick} ticks after it has confirmed its leader");
    }
    shard.handle(Event::Tick, &mut effects);
    assert!(asks_for_a_vote(&mut shard, &mut effects, other));
}
