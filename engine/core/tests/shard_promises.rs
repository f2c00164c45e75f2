//! What a shard says and when: the scenes in which the simulation caught it saying too much.

#[path = "shard_support/lone.rs"]
mod lone;

use engine_core::command::{self, ClientId, Command, Operation, Outcome, SessionRef};
use engine_core::shard::effects::SnapshotStep;
use engine_core::shard::{Answer, Effects, Event, Query, RECOVERED, Refused, Shard, Ticket};
use engine_core::snapshot::End;
use engine_core::state_machine::{AppliedRun, ApplyRun};
use lone::{GROUP, elect, shard, snapshot, synced, tell};
use raft::entry::{Entry, EntryKind, LogId};
use raft::ids::{GroupId, Index, Term};
use raft::message::{AppendReply, Body, Message};
use raft::payload::Payload;
use raft::replica::Role;

#[test]
fn nothing_recovered_is_acknowledged_or_applied_before_its_batch_is_durable() {
    let (mut shard, others) = shard(2);
    let mut effects = Effects::default();
    let leads = others[0];
    let last = LogId { term: Term(1), index: Index(2) };
    let beat = Body::Append { prev: last, commit: Index(2), entries: Default::default() };
    tell(&mut shard, &mut effects, leads, Term(1), beat);
    shard.finish(&mut effects);
    assert!(effects.persist.is_empty() && effects.apply.is_empty());
    assert!(!effects.messages.iter().any(|(_, message)| accepts(message)), "{:?}", effects.messages);

    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    shard.finish(&mut effects);
    assert!(effects.messages.iter().any(|(_, message)| accepts(message)), "{:?}", effects.messages);
    assert!(effects.apply.is_empty(), "a follower keeps so little back");
    for ticks in 1..=4 {
        assert!(effects.apply.is_empty(), "after {ticks} ticks");
        shard.handle(Event::Tick, &mut effects);
        shard.finish(&mut effects);
    }
    assert_eq!(effects.apply.len(), 1, "but no longer than four ticks");
}

#[test]
fn a_write_of_a_term_that_began_and_ended_in_one_turn_is_unknown() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    shard.finish(&mut effects);
    tell(&mut shard, &mut effects, others[0], Term(1), Body::PreVoteReply { granted: true });
    shard.finish(&mut effects);
    let through = effects.persist_number;
    shard.handle(Event::Persisted { through }, &mut effects);
    shard.finish(&mut effects);

    let ticket = Ticket { connection: 7, request: 1, bytes: 0, mark: 0 };
    let session = SessionRef { group: GROUP, opened: Index(0) };
    let open = Command { client: ClientId(1), sequence: 0, acknowledged: 0, session, operation: Operation::Open };
    tell(&mut shard, &mut effects, others[0], Term(1), Body::VoteReply { granted: true });
    assert_eq!(shard.replica(GROUP).map(raft::Replica::role), Some(Role::Leader));
    shard.handle(Event::Write { ticket, group: GROUP, command: &command::encode(&open) }, &mut effects);
    let beat = Body::Heartbeat { commit: Index(0), round: 1, settled: Index(0) };
    tell(&mut shard, &mut effects, others[1], Term(2), beat);
    shard.finish(&mut effects);
    assert_eq!(effects.answers, [(ticket, Answer::Refused(Refused::OutcomeUnknown))]);
}

#[test]
fn a_full_disk_takes_no_commands_but_what_a_new_leader_begins_with() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    shard.handle(Event::DiskFull(true), &mut effects);
    shard.finish(&mut effects);
    let append = |kind, prev: u64, commit| Body::Append {
        prev: LogId { term: Term(u64::from(prev > 0)), index: Index(prev) },
        commit,
        entries: vec![Entry { term: Term(1), index: Index(prev + 1), kind, payload: Payload::from([1]) }].into(),
    };
    tell(&mut shard, &mut effects, others[0], Term(1), append(EntryKind::Noop, 0, Index(0)));
    shard.finish(&mut effects);
    assert_eq!(shard.replica(GROUP).map(|replica| replica.last().index), Some(Index(1)));
    tell(&mut shard, &mut effects, others[0], Term(1), append(EntryKind::Command, 1, Index(1)));
    shard.finish(&mut effects);
    assert_eq!(shard.replica(GROUP).map(|replica| replica.last().index), Some(Index(1)));
    // A leader of a later term, which cannot commit what it begins with unless the command before it is taken.
    let entry = |term, index, kind| Entry { term: Term(term), index: Index(index), kind, payload: Payload::from([1]) };
    let entries = vec![entry(1, 2, EntryKind::Command), entry(2, 3, EntryKind::Noop), entry(2, 4, EntryKind::Command)];
    let begins =
        Body::Append { prev: LogId { term: Term(1), index: Index(1) }, commit: Index(1), entries: entries.into() };
    tell(&mut shard, &mut effects, others[1], Term(2), begins);
    shard.finish(&mut effects);
    assert_eq!(shard.replica(GROUP).map(|replica| replica.last().index), Some(Index(3)), "no more than that");

    shard.handle(Event::DiskFull(false), &mut effects);
    let body = append(EntryKind::Command, 1, Index(1));
    let Body::Append { entries, .. } = body else { unreachable!("it is one") };
    let entries = entries.into_iter().map(|entry| Entry { term: Term(2), index: Index(4), ..entry }).collect();
    let body = Body::Append { prev: LogId { term: Term(2), index: Index(3) }, commit: Index(1), entries };
    tell(&mut shard, &mut effects, others[1], Term(2), body);
    shard.finish(&mut effects);
    assert_eq!(shard.replica(GROUP).map(|replica| replica.last().index), Some(Index(4)));
}

#[test]
fn a_full_disk_gives_up_the_snapshot_that_comes_in() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let last = LogId { term: Term(1), index: Index(9) };
    tell(&mut shard, &mut effects, others[0], Term(1), Body::SnapshotOffer { last });
    shard.finish(&mut effects);
    let through = effects.persist_number;
    shard.handle(Event::Persisted { through }, &mut effects);
    shard.finish(&mut effects);
    let header = snapshot(others, last);
    assert!(shard.admits_snapshot(&header), "it was granted: {:?}", effects.messages);

    shard.handle(Event::DiskFull(true), &mut effects);
    shard.finish(&mut effects);
    assert!(!shard.admits_snapshot(&header));
    assert_eq!(effects.snapshot_steps, [SnapshotStep::Abandon { group: GROUP }]);
}

#[test]
fn a_grant_that_came_while_its_group_installed_a_snapshot_takes_no_slot() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    shard.handle(Event::Persisted { through: RECOVERED }, &mut effects);
    let last = LogId { term: Term(1), index: Index(9) };
    let offered = |shard: &mut Shard, effects: &mut Effects| {
        tell(shard, effects, others[0], Term(1), Body::SnapshotOffer { last });
        synced(shard, effects);
        let is_grant = |(_, message): &(GroupId, Message)| matches!(message.body, Body::SnapshotGrant { .. });
        effects.messages.drain(..).filter(is_grant).count()
    };
    assert_eq!(offered(&mut shard, &mut effects), 1);
    let header = snapshot(others, last);
    let end = End { chunks: 0, digest: 0 };
    shard.handle(Event::SnapshotWhole { header: header.clone(), end }, &mut effects);
    assert_eq!(offered(&mut shard, &mut effects), 0, "the slot is taken");
    shard.handle(Event::SnapshotInstalled { header }, &mut effects);
    synced(&mut shard, &mut effects);
    assert!(!effects.messages.iter().any(|(_, message)| matches!(message.body, Body::SnapshotGrant { .. })));
}

#[test]
fn a_blind_write_is_answered_when_it_is_committed_once_the_store_has_vouched_for_its_session() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, others[0]);
    let session = |opened| SessionRef { group: GROUP, opened: Index(opened) };
    let put = |key, return_old| Operation::Put { key, value: vec![1], return_old };
    let write = |shard: &mut Shard, effects: &mut Effects, request, opened, operation| {
        let (client, session) = (ClientId(1), session(opened));
        let command = Command { client, sequence: request, acknowledged: 0, session, operation };
        let ticket = Ticket { connection: 7, request, bytes: 0, mark: 0 };
        shard.handle(Event::Write { ticket, group: GROUP, command: &command::encode(&command) }, effects);
        synced(shard, effects);
        let last = shard.replica(GROUP).unwrap().last();
        tell(shard, effects, others[0], Term(1), Body::AppendReply(AppendReply::Accepted { matched: last.index }));
        shard.finish(effects);
        (ticket, last)
    };
    let vouch = |shard: &mut Shard, effects: &mut Effects, run: ApplyRun, outcome| {
        let applied = run.entries.last().unwrap().id();
        let (bytes, outcomes) = (run.charge(), vec![(applied.index, outcome)]);
        let run = AppliedRun { group: GROUP, applied, outcomes, crowded: Vec::new() };
        shard.handle(Event::Applied { run, bytes }, effects);
        shard.finish(effects);
    };

    let (opens, at) = write(&mut shard, &mut effects, 1, 0, Operation::Open);
    assert!(effects.answers.is_empty(), "only the store knows the session");
    let run = effects.apply.pop().expect("somebody waits for it");
    assert!(run.answer);
    let opened = Outcome::Opened { session: at.index };
    vouch(&mut shard, &mut effects, run, opened.clone());
    assert_eq!(std::mem::take(&mut effects.answers), [(opens, Answer::Outcome(opened))]);

    let (blind, _) = write(&mut shard, &mut effects, 2, at.index.0, put(vec![2], false));
    assert_eq!(std::mem::take(&mut effects.answers), [(blind, Answer::Outcome(Outcome::Done))]);
    assert!(effects.apply.is_empty(), "nobody waits for the store");

    let (asks, _) = write(&mut shard, &mut effects, 3, at.index.0, put(vec![2], true));
    assert!(effects.answers.is_empty(), "only the store knows what was there");
    let run = effects.apply.pop().expect("somebody waits for it");
    assert_eq!((run.entries.len(), run.answer), (2, true));
    vouch(&mut shard, &mut effects, run, Outcome::Old(Some(vec![1])));
    assert_eq!(std::mem::take(&mut effects.answers), [(asks, Answer::Outcome(Outcome::Old(Some(vec![1]))))]);

    let (stranger, _) = write(&mut shard, &mut effects, 4, at.index.0 + 100, put(vec![2], false));
    assert!(effects.answers.is_empty(), "nobody has seen that session");
    let run = effects.apply.pop().expect("somebody waits for it");
    vouch(&mut shard, &mut effects, run, Outcome::SessionEvicted);
    assert_eq!(std::mem::take(&mut effects.answers), [(stranger, Answer::Outcome(Outcome::SessionEvicted))]);
}

#[test]
fn a_read_sends_what_was_kept_back_to_the_store_at_once() {
    let (mut shard, others) = shard(0);
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, others[0]);
    synced(&mut shard, &mut effects);
    tell(&mut shard, &mut effects, others[0], Term(1), Body::AppendReply(AppendReply::Accepted { matched: Index(1) }));
    shard.finish(&mut effects);
    assert!(effects.apply.is_empty(), "nobody waits for the store");
    let ticket = Ticket { connection: 7, request: 1, bytes: 0, mark: 0 };
    let query = Query::Get { key: vec![2] };
    shard.handle(Event::Read { ticket, group: GROUP, query, stale: false }, &mut effects);
    shard.finish(&mut effects);
    assert_eq!(effects.apply.len(), 1, "before its round is confirmed");
}

fn accepts(message: &Message) -> bool {
    matches!(message.body, Body::AppendReply(AppendReply::Accepted { .. }))
}
