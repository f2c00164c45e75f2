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

#[test]
fn a_group_that_sleeps_and_wakes_in_one_turn_has_not_lived_through_all_former_ticks() {
    let (mut shard, [leader, other]) = shard(0);
    let mut effects = Effects::default();
    synced(&mut shard, &mut effects);
    let beat = || Body::Heartbeat { commit: Index(0), round: 0, settled: Index(0) };
    for sequence in 1..=40 {
        shard.handle(Event::Tick, &mut effects);
        let beat_of_core = Word::Beat(Beat { start: 7, sequence, given_up: 0, leaving: false });
        shard.handle(Event::Word { from: (1, 0), word: beat_of_core }, &mut effects);
        tell(&mut shard, &mut effects, leader, Term(2), beat());
        synced(&mut shard, &mut effects);
    }
    // Its leader's core is silent, not for long enough to be given up, and then says everything at once.
    (0..WAIT - 2).for_each(|_| shard.handle(Event::Tick, &mut effects));
    effects.words.clear();
    let question = Question { group: GROUP, to: ReplicaId::new(0, 0), term: Term(2) };
    let round = Round { start: 7, number: 1, questions: vec![question] };
    shard.handle(Event::Word { from: (1, 0), word: Word::Round(round) }, &mut effects);
    let confirmed = Word::Answer(Answer { start: 7, number: 1, refused: vec![] });
    assert!(effects.words.contains(&((1, 0), confirmed)), "{:?}", effects.words);
    tell(&mut shard, &mut effects, leader, Term(2), Body::Sleep { commit: Index(0), attempt: 1 });
    assert!(shard.replica(GROUP).is_some_and(raft::Replica::is_asleep));
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
