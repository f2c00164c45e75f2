//! What a shard does not do even when everything around it would let it: guards that no ordinary world runs into.

#[path = "shard_support/lone.rs"]
mod lone;

use engine_core::command::{self, ClientId, Command, Operation, SessionRef};
use engine_core::exchange::{Question, Round, Word};
use engine_core::shard::effects::SnapshotStep;
use engine_core::shard::{Answer, Effects, Event, Pressure, Query, RECOVERED, Refused, Serving, Shard, Ticket};
use engine_core::snapshot::{End, Header};
use engine_core::state_machine::AppliedRun;
use lone::{APPLY_BYTES_MAX, GROUP, WAITING_MAX, elect, serving, shard, snapshot, synced, tell};
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{Index, ReplicaId, Term};
use raft::message::{AppendReply, Body};

const TICKET: Ticket = Ticket { connection: 7, request: 1, bytes: 0, mark: 0 };

fn id(index: u64) -> LogId {
    LogId { term: Term(1), index: Index(index) }
}

/// A shard with so many entries that has granted a snapshot, and that snapshot.
fn granted(entries: u64) -> (Shard, Effects, [ReplicaId; 2], Header) {
    let (mut shard, others) = shard(entries);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    tell(&mut shard, &mut effects, others[0], Term(1), Body::SnapshotOffer { last: id(90) });
    shard.finish(&mut effects);
    let header = snapshot(others, id(90));
    assert!(shard.admits_snapshot(&header), "it was granted: {:?}", effects.messages);
    (shard, effects, others, header)
}

#[test]
fn the_log_is_cut_only_as_far_as_the_store_holds_it_durably() {
    let (mut shard, others) = shard(20);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let beat = Body::Append { prev: id(20), commit: Index(20), entries: Default::default() };
    tell(&mut shard, &mut effects, others[0], Term(1), beat);
    for _ in 0..4 {
        shard.handle(Event::Tick, &mut effects);
        shard.finish(&mut effects);
    }
    let run = effects.apply.pop().expect("all of it is committed");
    let bytes = run.charge();
    let run = AppliedRun { group: GROUP, applied: id(20), outcomes: Vec::new(), crowded: Vec::new() };
    shard.handle(Event::Applied { run, bytes }, &mut effects);
    // What came into the store behind its sync is not covered by that.
    shard.handle(Event::StoreSynced { durable: vec![(GROUP, id(12))], pressure: Pressure::Long }, &mut effects);
    shard.finish(&mut effects);
    let cut: Vec<LogId> = effects.compact.iter().map(|(_, start, _)| *start).collect();
    assert_eq!(cut, [id(12)]);
}

#[test]
fn a_write_of_a_term_that_was_lost_and_won_again_in_one_turn_is_unknown() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, others[0]);
    let session = SessionRef { group: GROUP, opened: Index(0) };
    let open = Command { client: ClientId(1), sequence: 0, acknowledged: 0, session, operation: Operation::Open };
    shard.handle(Event::Write { ticket: TICKET, group: GROUP, command: &command::encode(&open) }, &mut effects);
    synced(&mut shard, &mut effects);
    assert!(effects.answers.is_empty());

    // Its entry is at an index that the new term may give to somebody else's.
    tell(&mut shard, &mut effects, others[0], Term(2), Body::TimeoutNow);
    for other in others {
        tell(&mut shard, &mut effects, other, Term(3), Body::VoteReply { granted: true });
    }
    shard.finish(&mut effects);
    let replica = shard.replica(GROUP).expect("it is there");
    assert_eq!((replica.term(), replica.leader()), (Term(3), Some(replica.id())));
    assert_eq!(effects.answers, [(TICKET, Answer::Refused(Refused::OutcomeUnknown))]);
}

#[test]
fn a_replica_without_a_provable_log_says_nothing_whatever_it_is_told() {
    let (mut shard, others) = serving(0, Serving::Amnesiac);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let asked = [
        Body::PreVote { last: id(9) },
        Body::Vote { last: id(9), transfer: false },
        Body::Vote { last: id(9), transfer: true },
        Body::Append { prev: id(0), commit: Index(0), entries: Default::default() },
        Body::Heartbeat { commit: Index(0), round: 1, settled: Index(0) },
        Body::SnapshotOffer { last: id(9) },
        Body::TimeoutNow,
    ];
    for body in asked {
        tell(&mut shard, &mut effects, others[0], Term(5), body);
        synced(&mut shard, &mut effects);
    }
    let questions = vec![Question { group: GROUP, to: ReplicaId::new(0, 0), term: Term(5) }];
    let word = Word::Round(Round { start: 1, number: 1, questions });
    shard.handle(Event::Word { from: (1, 0), word }, &mut effects);
    for _ in 0..50 {
        shard.handle(Event::Tick, &mut effects);
        synced(&mut shard, &mut effects);
    }
    assert!(effects.messages.is_empty() && effects.persist.is_empty(), "{:?}", effects.messages);
    let confirms = |word: &Word| matches!(word, Word::Answer(answer) if !answer.refused.contains(&GROUP));
    assert!(!effects.words.iter().any(|(_, word)| confirms(word)), "{:?}", effects.words);
}

#[test]
fn a_member_confirms_a_round_of_its_leaders_term_only() {
    let (mut shard, others) = shard(2);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let beat = Body::Heartbeat { commit: Index(0), round: 0, settled: Index(0) };
    tell(&mut shard, &mut effects, others[0], Term(4), beat);
    let asked = [((1, 0), 3), ((1, 0), 4), ((1, 0), 5), ((2, 0), 4)];
    for (number, (from, term)) in (1..).zip(asked) {
        let questions = vec![Question { group: GROUP, to: ReplicaId::new(0, 0), term: Term(term) }];
        let word = Word::Round(Round { start: 1, number, questions });
        shard.handle(Event::Word { from, word }, &mut effects);
    }
    let confirmed = effects.words.iter().filter_map(|(_, word)| match word {
        Word::Answer(answer) if answer.refused.is_empty() => Some(answer.number),
        _ => None,
    });
    assert_eq!(confirmed.collect::<Vec<_>>(), [2], "term 4 of node 1, and nothing else");
}

#[test]
fn a_replica_without_its_store_serves_no_reads_and_does_not_stand() {
    for kind in [Serving::Hollow, Serving::Amnesiac] {
        let (mut shard, _) = serving(3, kind);
        let mut effects = Effects::default();
        shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
        for stale in [false, true] {
            let query = Query::Get { key: vec![2] };
            shard.handle(Event::Read { ticket: TICKET, group: GROUP, query, stale }, &mut effects);
        }
        for _ in 0..50 {
            shard.handle(Event::Tick, &mut effects);
            synced(&mut shard, &mut effects);
        }
        assert!(effects.reads.is_empty() && effects.messages.is_empty(), "{:?}", effects.messages);
        let refused = (TICKET, Answer::Refused(Refused::NotServing));
        assert_eq!(effects.answers, [refused.clone(), refused]);
    }
}

#[test]
fn a_snapshot_of_a_term_that_is_over_is_not_let_in() {
    let (mut shard, mut effects, others, header) = granted(2);
    // Before any tick looks at what is on its way.
    let beat = Body::Heartbeat { commit: Index(0), round: 0, settled: Index(0) };
    tell(&mut shard, &mut effects, others[1], Term(2), beat);
    assert!(!shard.admits_snapshot(&header));
}

#[test]
fn a_snapshot_that_waits_for_the_store_of_this_node_is_not_given_up() {
    let (mut shard, mut effects, _, header) = granted(2);
    let mut pass = |shard: &mut Shard, is_behind: bool| {
        for _ in 0..12 * 10 {
            if is_behind {
                shard.handle(Event::SnapshotBytes { group: GROUP, bytes: 5 }, &mut effects);
            }
            shard.handle(Event::Tick, &mut effects);
            synced(shard, &mut effects);
        }
        shard.admits_snapshot(&header)
    };
    assert!(pass(&mut shard, true));
    assert!(!pass(&mut shard, false), "its sender is gone");
}

#[test]
fn a_snapshot_of_what_no_log_can_have_is_not_let_in() {
    let (shard, _, _, header) = granted(2);
    let later = LogId { term: Term(2), index: Index(90) };
    for last in [id(u64::MAX), LogId { term: Term(0), index: Index(90) }, later, LogId::default()] {
        assert!(!shard.admits_snapshot(&Header { last, ..header.clone() }), "{last:?}");
    }
}

#[test]
fn a_snapshot_that_contradicts_what_is_committed_here_is_not_let_in() {
    let (mut shard, others) = shard(20);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let known = Body::Append { prev: id(20), commit: Index(20), entries: Default::default() };
    for body in [known, Body::SnapshotOffer { last: id(90) }] {
        tell(&mut shard, &mut effects, others[0], Term(2), body);
    }
    shard.finish(&mut effects);
    let header = Header { term: Term(2), last: id(15), ..snapshot(others, id(90)) };
    assert!(shard.admits_snapshot(&header), "it was granted: {:?}", effects.messages);
    let last = LogId { term: Term(2), index: Index(15) };
    assert!(!shard.admits_snapshot(&Header { last, ..header }));
}

#[test]
fn a_group_with_as_many_requests_as_it_may_have_is_busy_for_reads_too() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, others[0]);
    let key = b"k".to_vec();
    for request in 0..=WAITING_MAX as u64 {
        let ticket = Ticket { request, ..TICKET };
        shard.handle(
            Event::Read { ticket, group: GROUP, query: Query::Get { key: key.clone() }, stale: false },
            &mut effects,
        );
    }
    assert_eq!(effects.answers, [(Ticket { request: WAITING_MAX as u64, ..TICKET }, Answer::Refused(Refused::Busy))]);
}

/// Ten times as many as one group may have under way.
#[test]
fn a_group_whose_store_waits_for_the_disk_leaves_room_to_the_others() {
    let (mut shard, others) = shard(1);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let room = APPLY_BYTES_MAX / 8;
    let entry = |index| {
        let payload = vec![0; room / 10].into();
        Entry { term: Term(1), index: Index(index), kind: EntryKind::Command, payload }
    };
    let mut handed = 0;
    for from in (2..102).step_by(10) {
        let entries = (from..from + 10).map(entry).collect();
        let append = Body::Append { prev: id(from - 1), commit: Index(from + 9), entries };
        tell(&mut shard, &mut effects, others[0], Term(1), append);
        for _ in 0..5 {
            shard.handle(Event::Tick, &mut effects);
            synced(&mut shard, &mut effects);
        }
        handed += effects.apply.drain(..).map(|run| run.charge()).sum::<usize>();
    }
    assert!(handed >= room && handed <= 2 * room, "{handed} bytes of {APPLY_BYTES_MAX}");
    let run = AppliedRun { group: GROUP, applied: id(11), outcomes: Vec::new(), crowded: Vec::new() };
    shard.handle(Event::Applied { run, bytes: handed }, &mut effects);
    shard.finish(&mut effects);
    assert!(!effects.apply.is_empty(), "it goes on when the store has come after");
}

#[test]
fn nothing_is_handed_to_a_store_that_switches_to_a_snapshot() {
    let (mut shard, mut effects, others, header) = granted(20);
    let end = End { chunks: 1, digest: 1 };
    shard.handle(Event::SnapshotWhole { header: header.clone(), end }, &mut effects);
    tell(
        &mut shard,
        &mut effects,
        others[0],
        Term(1),
        Body::Heartbeat { commit: Index(20), round: 0, settled: Index(0) },
    );
    shard.handle(Event::Tick, &mut effects);
    shard.finish(&mut effects);
    assert!(matches!(effects.snapshot_steps[..], [SnapshotStep::Install { .. }]), "{:?}", effects.snapshot_steps);
    assert!(effects.apply.is_empty() && effects.replay.is_empty(), "behind the switch these would be applied twice");

    shard.handle(Event::SnapshotInstalled { header }, &mut effects);
    shard.handle(Event::Tick, &mut effects);
    synced(&mut shard, &mut effects);
    assert!(effects.apply.is_empty() && effects.replay.is_empty());
    let steps = &effects.snapshot_steps[1..];
    assert!(matches!(steps, [SnapshotStep::DropReplaced { .. }]), "once the journal knows: {steps:?}");
}

#[test]
fn the_log_is_held_for_whom_a_snapshot_is_on_its_way_to() {
    let (mut shard, [one, other]) = shard(0);
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, one);
    let session = SessionRef { group: GROUP, opened: Index(0) };
    for client in 1..=30 {
        let client = ClientId(client);
        let open = Command { client, sequence: 0, acknowledged: 0, session, operation: Operation::Open };
        shard.handle(Event::Write { ticket: TICKET, group: GROUP, command: &command::encode(&open) }, &mut effects);
    }
    synced(&mut shard, &mut effects);
    // One takes everything, the other is away for so long that nobody waits for it.
    for _ in 0..20 {
        tell(&mut shard, &mut effects, one, Term(1), Body::AppendReply(AppendReply::Accepted { matched: Index(31) }));
        shard.handle(Event::Tick, &mut effects);
        synced(&mut shard, &mut effects);
    }
    let bytes = effects.apply.drain(..).map(|run| run.charge()).sum();
    let run = AppliedRun { group: GROUP, applied: id(31), outcomes: Vec::new(), crowded: Vec::new() };
    shard.handle(Event::Applied { run, bytes }, &mut effects);
    let synced_at = |shard: &mut Shard, effects: &mut Effects, index| {
        shard.handle(Event::StoreSynced { durable: vec![(GROUP, id(index))], pressure: Pressure::Long }, effects);
        shard.finish(effects);
        shard.replica(GROUP).expect("it is there").log_start().index
    };
    assert_eq!(synced_at(&mut shard, &mut effects, 20), Index(20));

    let refuses = AppendReply::Rejected { prev: Index(1), hint: LogId::default(), last: Index(0) };
    tell(&mut shard, &mut effects, other, Term(1), Body::AppendReply(refuses));
    synced(&mut shard, &mut effects);
    tell(&mut shard, &mut effects, other, Term(1), Body::SnapshotGrant { last: id(20) });
    shard.finish(&mut effects);
    assert_eq!(effects.snapshots.len(), 1, "{:?}", effects.messages);
    assert_eq!(synced_at(&mut shard, &mut effects, 31), Index(20), "it needs what follows");
}

/// Entries that did not fit one run for the store, and a tick before that has been applied.
#[test]
fn the_rest_of_a_run_is_not_kept_back_again() {
    let (mut shard, others) = shard(1);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let entry = |index| Entry {
        term: Term(1),
        index: Index(index),
        kind: EntryKind::Command,
        payload: vec![0; 400_000].into(),
    };
    let append = Body::Append { prev: id(1), commit: Index(4), entries: (2..=4).map(entry).collect() };
    tell(&mut shard, &mut effects, others[0], Term(1), append);
    synced(&mut shard, &mut effects);
    let run = effects.apply.pop().expect("more than one run is committed");
    assert_eq!(run.entries.last().map(|entry| entry.id()), Some(id(3)));
    shard.handle(Event::Tick, &mut effects);
    let (applied, bytes) = (id(3), run.charge());
    let applied = AppliedRun { group: GROUP, applied, outcomes: Vec::new(), crowded: Vec::new() };
    shard.handle(Event::Applied { run: applied, bytes }, &mut effects);
    shard.finish(&mut effects);
    assert_eq!(effects.apply.pop().expect("the rest").entries[0].id(), id(4));
}
