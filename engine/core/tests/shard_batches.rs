//! Writes that wait until others of their group are committed: none is lost, overtaken or promised too early.

#[allow(dead_code)] // each that shares it uses a part
#[path = "shard_support/lone.rs"]
mod lone;

use engine_core::command::{self, ClientId, Command, Operation, SessionRef};
use engine_core::shard::{Answer, Effects, Event, Refused, Serving, Shard, Ticket};
use lone::{GROUP, changed, elect, synced, tell};
use raft::entry::EntryKind;
use raft::ids::{Index, ReplicaId, Term};
use raft::message::{AppendReply, Body};

fn ticket(request: u64) -> Ticket {
    Ticket { connection: 7, request, bytes: 0, mark: 0 }
}

/// The command of a request.
fn command(request: u64) -> Vec<u8> {
    sized(request, 100)
}

/// The same with a value of so many bytes.
fn sized(request: u64, bytes: usize) -> Vec<u8> {
    command::encode(&Command {
        client: ClientId(1),
        sequence: request,
        acknowledged: 0,
        session: SessionRef { group: GROUP, opened: Index(1) },
        operation: Operation::Put { key: vec![1], value: vec![request as u8; bytes], return_old: false },
    })
}

fn write(shard: &mut Shard, effects: &mut Effects, request: u64) {
    shard.handle(Event::Write { ticket: ticket(request), group: GROUP, command: &command(request) }, effects);
}

/// A leader whose first entry is committed, and its peers.
fn leader(append_bytes_max: usize) -> (Shard, Effects, [ReplicaId; 2]) {
    leader_batching(1, append_bytes_max)
}

/// The same that batches from so many groups on.
fn leader_batching(batching_groups: usize, append_bytes_max: usize) -> (Shard, Effects, [ReplicaId; 2]) {
    let (mut shard, others) = changed(0, Serving::Whole, |options| {
        options.batching_groups = batching_groups;
        options.append_bytes_max = append_bytes_max;
    });
    let mut effects = Effects::default();
    elect(&mut shard, &mut effects, others[0]);
    synced(&mut shard, &mut effects);
    acknowledge(&mut shard, &mut effects, others, 1);
    proposed(&mut effects);
    (shard, effects, others)
}

/// Both peers have everything up to `matched`.
fn acknowledge(shard: &mut Shard, effects: &mut Effects, others: [ReplicaId; 2], matched: u64) {
    for other in others {
        let reply = AppendReply::Accepted { matched: Index(matched) };
        tell(shard, effects, other, Term(1), Body::AppendReply(reply));
    }
    shard.finish(effects);
}

/// The commands that went to the journal since this was asked last, one list for each step.
fn proposed(effects: &mut Effects) -> Vec<Vec<Vec<u8>>> {
    let commands = |persist: engine_core::shard::effects::Persist| {
        let commands = persist.entries.into_iter().filter(|entry| entry.kind == EntryKind::Command);
        commands.map(|entry| entry.payload.to_vec()).collect()
    };
    let steps = effects.persist.drain(..).map(commands);
    steps.filter(|step: &Vec<_>| !step.is_empty()).collect()
}

fn commands(requests: impl IntoIterator<Item = u64>) -> Vec<Vec<u8>> {
    requests.into_iter().map(command).collect()
}

#[test]
fn what_comes_while_a_step_is_under_way_is_the_next_one() {
    let (mut shard, mut effects, others) = leader(1 << 16);
    write(&mut shard, &mut effects, 1);
    write(&mut shard, &mut effects, 2);
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), [commands([1, 2])], "one turn is one step");
    for request in 3..6 {
        write(&mut shard, &mut effects, request);
        synced(&mut shard, &mut effects);
    }
    let reply = AppendReply::Accepted { matched: Index(2) };
    tell(&mut shard, &mut effects, others[0], Term(1), Body::AppendReply(reply));
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), Vec::<Vec<Vec<u8>>>::new(), "the second of them is not committed");
    acknowledge(&mut shard, &mut effects, others, 3);
    assert_eq!(proposed(&mut effects), [commands(3..6)]);
    // The turn that commits it begins the next step, with what has waited, and what else comes in this turn goes with it.
    synced(&mut shard, &mut effects);
    write(&mut shard, &mut effects, 6);
    let reply = AppendReply::Accepted { matched: Index(6) };
    tell(&mut shard, &mut effects, others[0], Term(1), Body::AppendReply(reply));
    write(&mut shard, &mut effects, 7);
    write(&mut shard, &mut effects, 8);
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), [commands(6..9)]);
    assert_eq!(effects.answers, [], "nothing of it is applied");
}

#[test]
fn commands_of_all_sizes_wait_as_they_came() {
    let (mut shard, mut effects, others) = leader(1 << 16);
    write(&mut shard, &mut effects, 1);
    synced(&mut shard, &mut effects);
    let sizes = [0, 300, 4_000, 9_000, 100, 20_000, 1, 1, 5_000, 5_000, 5_000, 5_000, 0];
    let waiting: Vec<Vec<u8>> = (2..).zip(sizes).map(|(request, bytes)| sized(request, bytes)).collect();
    for (command, request) in waiting.iter().zip(2..) {
        shard.handle(Event::Write { ticket: ticket(request), group: GROUP, command }, &mut effects);
    }
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), [commands([1])]);
    acknowledge(&mut shard, &mut effects, others, 2);
    let steps: Vec<_> = effects.persist.iter().flat_map(|persist| &persist.entries).collect();
    let mut pieces = steps.clone();
    pieces.dedup_by(|later, former| later.payload.lies_with(&former.payload));
    let kept: Vec<usize> = pieces.iter().map(|entry| entry.payload.piece_bytes()).collect();
    assert!(kept.len() < waiting.len(), "those that fit are copied together: {kept:?}");
    assert!(kept.iter().sum::<usize>() <= waiting.iter().map(Vec::len).sum(), "each is copied once: {kept:?}");
    assert_eq!(proposed(&mut effects), [waiting]);
}

#[test]
fn with_few_groups_at_work_nothing_waits() {
    let (mut shard, mut effects, _) = leader_batching(2, 1 << 16);
    for request in 1..4 {
        write(&mut shard, &mut effects, request);
        synced(&mut shard, &mut effects);
        assert_eq!(proposed(&mut effects), [commands([request])]);
    }
}

#[test]
fn nothing_waits_for_longer_than_a_tick_or_for_more_than_a_message_takes() {
    let (mut shard, mut effects, _) = leader(3 * command(1).len());
    write(&mut shard, &mut effects, 1);
    synced(&mut shard, &mut effects);
    write(&mut shard, &mut effects, 2);
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), [commands([1])]);
    shard.handle(Event::Tick, &mut effects);
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), [commands([2])], "whatever its peers do");
    for request in 3..6 {
        write(&mut shard, &mut effects, request);
    }
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), Vec::<Vec<Vec<u8>>>::new());
    write(&mut shard, &mut effects, 6);
    synced(&mut shard, &mut effects);
    assert_eq!(proposed(&mut effects), [commands(3..7)], "in the order in which they came");
}

#[test]
fn what_was_never_proposed_is_refused_and_not_of_unknown_outcome() {
    let refused = |effects: &mut Effects| -> Vec<(u64, Refused)> {
        let refused = effects.answers.drain(..).map(|(ticket, answer)| match answer {
            Answer::Refused(why) => (ticket.request, why),
            other => panic!("{other:?}"),
        });
        refused.collect()
    };
    let (mut shard, mut effects, others) = leader(1 << 16);
    for request in 1..4 {
        write(&mut shard, &mut effects, request);
        synced(&mut shard, &mut effects);
    }
    let beat = Body::Heartbeat { commit: Index(0), round: 0, settled: Index(0) };
    tell(&mut shard, &mut effects, others[1], Term(2), beat);
    synced(&mut shard, &mut effects);
    let elsewhere = Refused::NotLeader(Some(others[1]));
    let expected = [(2, elsewhere.clone()), (3, elsewhere), (1, Refused::OutcomeUnknown)];
    assert_eq!(refused(&mut effects), expected);

    let (mut shard, mut effects, others) = leader(1 << 16);
    for request in 1..3 {
        write(&mut shard, &mut effects, request);
        synced(&mut shard, &mut effects);
    }
    shard.handle(Event::DiskFull(true), &mut effects);
    assert_eq!(refused(&mut effects), [(2, Refused::DiskFull)]);
    acknowledge(&mut shard, &mut effects, others, 2);
    assert_eq!(proposed(&mut effects), [commands([1])]);
}
