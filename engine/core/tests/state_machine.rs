//! What commands do, and do once.

use engine_core::command::*;
use engine_core::sessions::{RUNS_MAX, SESSIONS_EVICTED_AT_ONCE, SESSIONS_MAX};
use engine_core::state_machine::model::Model;
use engine_core::state_machine::{ApplyRun, MapRecord};
use raft::entry::{EntryKind, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};

const GROUP: GroupId = GroupId(1);

/// One group whose log grows by one entry per call.
struct Log {
    model: Model,
    group: GroupId,
    last: u64,
}

/// A client with a session, numbering its commands.
#[derive(Clone)]
struct Client {
    id: ClientId,
    session: SessionRef,
    sequence: u64,
    acknowledged: u64,
}

impl Log {
    fn new(group: GroupId) -> Log {
        let mut model = Model::new();
        model.create_replica(group, ReplicaId(1), b"founders");
        Log { model, group, last: 0 }
    }

    fn apply(&mut self, kind: EntryKind, payload: &[u8]) -> Vec<(Index, Outcome)> {
        self.last += 1;
        let mut run = ApplyRun { group: self.group, answer: true, ..ApplyRun::default() };
        run.push(LogId { term: Term(1), index: Index(self.last) }, kind, payload);
        let done = self.model.apply(&[run]).remove(0);
        assert_eq!(done.applied.index, Index(self.last));
        done.outcomes
    }

    fn command(&mut self, command: &Command) -> Outcome {
        let mut outcomes = self.apply(EntryKind::Command, &encode(command));
        assert_eq!(outcomes.len(), 1);
        let (index, outcome) = outcomes.remove(0);
        assert_eq!(index, Index(self.last));
        outcome
    }

    fn open(&mut self, id: u128) -> Client {
        let command = open(id, self.group);
        match self.command(&command) {
            Outcome::Opened { session } => Client {
                id: ClientId(id),
                session: SessionRef { group: self.group, opened: session },
                sequence: 0,
                acknowledged: 0,
            },
            other => panic!("not opened: {other:?}"),
        }
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.model.get(self.group, key)
    }
}

impl Client {
    fn next(&mut self, operation: Operation) -> Command {
        self.sequence += 1;
        self.at(self.sequence, operation)
    }

    fn at(&self, sequence: u64, operation: Operation) -> Command {
        Command { client: self.id, sequence, acknowledged: self.acknowledged, session: self.session, operation }
    }
}

fn open(id: u128, group: GroupId) -> Command {
    Command {
        client: ClientId(id),
        sequence: 0,
        acknowledged: 0,
        session: SessionRef { group, opened: Index(0) },
        operation: Operation::Open,
    }
}

fn put(key: &[u8], value: &[u8]) -> Operation {
    Operation::Put { key: key.to_vec(), value: value.to_vec(), return_old: false }
}

fn swap(key: &[u8], expect: Option<&[u8]>, set: Option<&[u8]>) -> Operation {
    Operation::CompareAndSwap { key: key.to_vec(), expect: expect.map(<[u8]>::to_vec), set: set.map(<[u8]>::to_vec) }
}

#[test]
fn put_and_delete_answer_what_was_before_if_asked() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let put_old = |value: &[u8]| Operation::Put { key: b"k".to_vec(), value: value.to_vec(), return_old: true };
    let delete_old = || Operation::Delete { key: b"k".to_vec(), return_old: true };
    assert_eq!(log.command(&client.next(put_old(b"one"))), Outcome::Old(None));
    assert_eq!(log.command(&client.next(put_old(b""))), Outcome::Old(Some(b"one".to_vec())));
    assert_eq!(log.get(b"k"), Some(vec![]), "an empty value is a value");
    assert_eq!(log.command(&client.next(put(b"k", b"three"))), Outcome::Done);
    assert_eq!(log.command(&client.next(delete_old())), Outcome::Old(Some(b"three".to_vec())));
    assert_eq!(log.command(&client.next(delete_old())), Outcome::Old(None));
    let blind = Operation::Delete { key: b"k".to_vec(), return_old: false };
    assert_eq!(log.command(&client.next(blind)), Outcome::Done);
    assert_eq!(log.get(b"k"), None);
}

#[test]
fn empty_and_binary_keys_are_keys() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    for key in [&b""[..], &[0], &[0, 0], &[255; 9], &[0xc3, 0x28]] {
        assert_eq!(log.command(&client.next(put(key, key))), Outcome::Done);
        assert_eq!(log.get(key), Some(key.to_vec()));
    }
    let page = log.model.scan(GROUP, b"", None, 10, 1000);
    let keys: Vec<&[u8]> = page.entries.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(keys, [&b""[..], &[0], &[0, 0], &[0xc3, 0x28], &[255; 9]]);
}

#[test]
fn compare_and_swap_writes_only_what_was_expected() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let mut run = |operation| log.command(&client.next(operation));
    let mismatch = |current: Option<&[u8]>| Outcome::Mismatch { current: current.map(<[u8]>::to_vec) };
    assert_eq!(run(swap(b"k", Some(b""), Some(b"x"))), mismatch(None), "an empty value is not an absent one");
    assert_eq!(run(swap(b"k", None, Some(b""))), Outcome::Swapped);
    assert_eq!(run(swap(b"k", None, Some(b"x"))), mismatch(Some(b"")));
    assert_eq!(run(swap(b"k", Some(b""), Some(b"x"))), Outcome::Swapped);
    assert_eq!(run(swap(b"k", Some(b"y"), None)), mismatch(Some(b"x")));
    assert_eq!(run(swap(b"k", Some(b"x"), None)), Outcome::Swapped);
    assert_eq!(run(swap(b"k", None, None)), Outcome::Swapped, "removing what is not there, as expected");
    assert_eq!(log.get(b"k"), None);
}

#[test]
fn a_batch_takes_effect_in_its_order() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let operations = vec![
        BatchOperation::Put { key: b"a".to_vec(), value: b"1".to_vec() },
        BatchOperation::Put { key: b"b".to_vec(), value: b"1".to_vec() },
        BatchOperation::Delete { key: b"a".to_vec() },
        BatchOperation::Put { key: b"b".to_vec(), value: b"2".to_vec() },
    ];
    assert_eq!(log.command(&client.next(Operation::Batch { operations })), Outcome::Done);
    assert_eq!((log.get(b"a"), log.get(b"b")), (None, Some(b"2".to_vec())));
}

#[test]
fn a_retry_gets_the_same_answer_and_does_nothing() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let first = client.next(Operation::Put { key: b"k".to_vec(), value: b"1".to_vec(), return_old: true });
    let second = client.next(swap(b"k", Some(b"1"), Some(b"2")));
    let third = client.next(swap(b"k", Some(b"1"), Some(b"3")));
    let answers = [Outcome::Old(None), Outcome::Swapped, Outcome::Mismatch { current: Some(b"2".to_vec()) }];
    for _ in 0..3 {
        for (command, answer) in [&first, &second, &third].into_iter().zip(&answers) {
            assert_eq!(log.command(command), *answer);
            assert_eq!(log.get(b"k"), Some(if *answer == answers[0] && log.last == 2 { b"1" } else { b"2" }.to_vec()));
        }
    }
}

#[test]
fn a_command_that_was_overtaken_still_happens() {
    let mut log = Log::new(GROUP);
    let client = log.open(1);
    assert_eq!(log.command(&client.at(5, put(b"k", b"five"))), Outcome::Done);
    assert_eq!(log.command(&client.at(2, put(b"k", b"two"))), Outcome::Done);
    assert_eq!(log.get(b"k"), Some(b"two".to_vec()));
    assert_eq!(log.command(&client.at(5, put(b"k", b"five"))), Outcome::Done, "the retry");
    assert_eq!(log.get(b"k"), Some(b"two".to_vec()));
}

#[test]
fn a_copy_of_an_acknowledged_command_does_nothing() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let late = client.next(put(b"k", b"late"));
    client.acknowledged = 1;
    assert_eq!(log.command(&client.next(put(b"k", b"2"))), Outcome::Done);
    assert_eq!(log.command(&late), Outcome::AlreadyApplied);
    assert_eq!(log.get(b"k"), Some(b"2".to_vec()));
}

#[test]
fn a_large_result_is_gone_for_a_retry() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    log.command(&client.next(put(b"k", &[7; 65])));
    let delete = client.next(Operation::Delete { key: b"k".to_vec(), return_old: true });
    assert_eq!(log.command(&delete), Outcome::Old(Some(vec![7; 65])));
    assert_eq!(log.command(&delete), Outcome::AlreadyApplied);
}

#[test]
fn a_command_without_its_session_does_nothing_and_opens_none() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let evicted = |log: &mut Log, command: &Command| assert_eq!(log.command(command), Outcome::SessionEvicted);
    let stranger = Client { id: ClientId(2), ..client.clone() };
    evicted(&mut log, &stranger.at(1, put(b"k", b"x")));
    evicted(&mut log, &stranger.at(1, put(b"k", b"x")));
    let session = SessionRef { opened: Index(7), ..client.session };
    evicted(&mut log, &Client { session, ..client.clone() }.at(1, put(b"k", b"x")));
    let session = SessionRef { group: GroupId(9), ..client.session };
    evicted(&mut log, &Client { session, ..client.clone() }.at(1, put(b"k", b"x")));
    assert_eq!(log.get(b"k"), None);
    assert_eq!(log.model.sessions(GROUP).len(), 1);
    assert_eq!(log.command(&client.next(put(b"k", b"mine"))), Outcome::Done);
}

#[test]
fn opening_again_finds_the_session() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    log.command(&client.next(put(b"k", b"1")));
    let again = log.open(1);
    assert_eq!(again.session, client.session);
    assert_eq!(log.command(&client.at(1, put(b"k", b"2"))), Outcome::Done, "a retry, after the second Open");
    assert_eq!(log.get(b"k"), Some(b"1".to_vec()));
    let elsewhere = open(1, GroupId(2));
    assert_eq!(log.command(&elsewhere), Outcome::Refused(RefusedBecause::WrongGroup));
}

#[test]
fn the_sessions_used_longest_ago_make_room() {
    let mut log = Log::new(GROUP);
    let mut clients: Vec<Client> = (0..SESSIONS_MAX as u128).map(|id| log.open(id)).collect();
    // The first two are old but used.
    log.command(&clients[0].next(put(b"0", b"")));
    log.open(1);
    assert_eq!(log.model.sessions(GROUP).len(), SESSIONS_MAX);
    log.open(u128::MAX);
    assert_eq!(log.model.sessions(GROUP).len(), SESSIONS_MAX - SESSIONS_EVICTED_AT_ONCE + 1);
    let gone = 2..2 + SESSIONS_EVICTED_AT_ONCE;
    for (at, client) in clients.iter_mut().enumerate() {
        let expected = if gone.contains(&at) { Outcome::SessionEvicted } else { Outcome::Done };
        assert_eq!(log.command(&client.next(put(b"k", b"v"))), expected, "client {at}");
    }
    let reopened = log.open(2);
    assert_ne!(reopened.session, clients[2].session);
    let earlier = clients[2].at(1, put(b"k", b"w"));
    assert_eq!(log.command(&earlier), Outcome::SessionEvicted, "the new session knows nothing of the old one's");
    assert_eq!(log.get(b"k"), Some(b"v".to_vec()));
}

#[test]
fn a_client_that_never_acknowledges_loses_its_session() {
    let mut log = Log::new(GROUP);
    let client = log.open(1);
    let mut run = ApplyRun { group: GROUP, answer: true, ..ApplyRun::default() };
    for sequence in 1..=RUNS_MAX as u64 {
        log.last += 1;
        let id = LogId { term: Term(1), index: Index(log.last) };
        run.push(id, EntryKind::Command, &encode(&client.at(2 * sequence, put(b"k", b"v"))));
    }
    let outcomes = log.model.apply(&[run]).remove(0).outcomes;
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Done));
    let one_more = client.at(2 * RUNS_MAX as u64 + 2, put(b"k", b"one more"));
    assert_eq!(log.command(&client.at(2, put(b"k", b"x"))), Outcome::Done, "retries are still answered");
    assert_eq!(log.command(&one_more), Outcome::SessionEvicted);
    assert_eq!(log.command(&one_more), Outcome::SessionEvicted, "a copy of it does not happen either");
    assert_eq!(log.get(b"k"), Some(b"v".to_vec()));
    assert_eq!(log.model.sessions(GROUP), []);
}

#[test]
fn bytes_that_are_no_command_do_nothing() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let before = log.model.checksum(GROUP).hash;
    let sound = encode(&client.next(put(b"k", b"v")));
    let mut wrong_kind = sound.clone();
    wrong_kind[0] = 3;
    for broken in [&b""[..], b"\x02", b"\x02\x01rubbish", &sound[..sound.len() - 1], &wrong_kind] {
        let outcomes = log.apply(EntryKind::Command, broken);
        assert_eq!(outcomes[0].1, Outcome::Refused(RefusedBecause::Malformed), "{broken:?}");
    }
    assert_eq!(log.model.checksum(GROUP).hash, before);
}

#[test]
fn founding_happens_once_and_in_group_0_only() {
    let found = |record: &[u8]| Command {
        client: ClientId(0),
        sequence: 0,
        acknowledged: 0,
        session: SessionRef::default(),
        operation: Operation::Found { record: record.to_vec() },
    };
    let mut log = Log::new(GROUP);
    assert_eq!(log.command(&found(b"x")), Outcome::Refused(RefusedBecause::WrongGroup));
    assert_eq!(log.model.founding_record(), None);
    let mut log = Log::new(GroupId(0));
    assert_eq!(log.command(&found(b"record")), Outcome::Done);
    assert_eq!(log.command(&found(b"record")), Outcome::Done, "the same again");
    assert_eq!(log.command(&found(b"other")), Outcome::Refused(RefusedBecause::AlreadyFounded));
    assert_eq!(log.model.founding_record(), Some(&b"record"[..]));
}

#[test]
fn a_map_replaces_the_one_before_it_and_no_other() {
    let map = |epoch: u64, map: &[u8]| Command {
        client: ClientId(0),
        sequence: 0,
        acknowledged: 0,
        session: SessionRef::default(),
        operation: Operation::Map { epoch, map: map.to_vec() },
    };
    let mut log = Log::new(GROUP);
    assert_eq!(log.command(&map(2, b"x")), Outcome::Refused(RefusedBecause::WrongGroup));
    let mut log = Log::new(GroupId(0));
    for epoch in [0, 1, 3] {
        assert_eq!(log.command(&map(epoch, b"x")), Outcome::Refused(RefusedBecause::StaleMap), "after the founding's");
    }
    assert_eq!(log.model.map(), None);
    assert_eq!(log.command(&map(2, b"second")), Outcome::Done);
    assert_eq!(log.command(&map(2, b"also second")), Outcome::Refused(RefusedBecause::StaleMap));
    assert_eq!(log.command(&map(3, b"third")), Outcome::Done);
    assert_eq!(log.model.map(), Some(&MapRecord { epoch: 3, map: b"third".to_vec() }));
}

#[test]
fn noops_and_memberships_advance_and_answer_nothing() {
    let mut log = Log::new(GROUP);
    assert_eq!(log.apply(EntryKind::Noop, b""), []);
    assert_eq!(log.apply(EntryKind::Membership, b"others"), []);
    let replica = log.model.replicas().remove(0);
    assert_eq!((replica.applied.index, replica.membership), (Index(2), b"others".to_vec()));
}

#[test]
fn followers_do_the_same_and_answer_nothing() {
    let mut leader = Log::new(GROUP);
    let mut client = leader.open(1);
    let mut run = ApplyRun { group: GROUP, answer: false, ..ApplyRun::default() };
    let mut push = |command: &Command| {
        let index = Index(run.entries.len() as u64 + 1);
        run.push(LogId { term: Term(1), index }, EntryKind::Command, &encode(command));
    };
    push(&open(1, GROUP));
    for value in [b"1", b"2"] {
        let command = client.next(swap(b"k", None, Some(value)));
        leader.command(&command);
        push(&command);
    }
    let mut follower = Log::new(GROUP);
    assert_eq!(follower.model.apply(&[run])[0].outcomes, []);
    assert_eq!(follower.model.checksum(GROUP), leader.model.checksum(GROUP));
    assert_eq!(follower.model.sessions(GROUP), leader.model.sessions(GROUP));
}

#[test]
#[should_panic(expected = "cannot be applied after")]
fn a_gap_in_a_run_is_a_broken_invariant() {
    let mut log = Log::new(GROUP);
    log.last = 1;
    log.apply(EntryKind::Noop, b"");
}

#[test]
fn the_model_crashes_back_to_any_batch_since_its_sync() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    let mut history = vec![log.model.clone()];
    log.model.sync();
    for step in 0..20u8 {
        let operation = match step % 4 {
            0 => put(&[step % 3], &[step]),
            1 => swap(&[step % 3], None, Some(&[step])),
            2 => Operation::Delete { key: vec![step % 3], return_old: true },
            _ => Operation::Batch { operations: vec![BatchOperation::Put { key: vec![9], value: vec![step] }] },
        };
        client.acknowledged = client.sequence.saturating_sub(2);
        log.command(&client.next(operation));
        if step == 7 {
            log.apply(EntryKind::Membership, b"later");
        }
        if step == 9 {
            log.open(2);
        }
        history.push(log.model.clone());
    }
    let state = |model: &Model| (model.checksum(GROUP), model.sessions(GROUP), model.replicas());
    let whole: Vec<_> = history.iter().map(state).collect();
    for kept in 0..=log.model.unsynced_batches() {
        let mut model = log.model.clone();
        model.crash(kept);
        let applied = model.checksum(GROUP).applied;
        assert_eq!(applied.index, Index(1 + kept as u64), "one batch per entry here");
        if let Some(same) = whole.iter().find(|(checksum, ..)| checksum.applied == applied) {
            assert_eq!(state(&model), *same, "{kept} batches kept");
        }
        assert_eq!(model.unsynced_batches(), 0);
    }
}

#[test]
fn a_replaced_replica_starts_empty() {
    let mut log = Log::new(GROUP);
    let mut client = log.open(1);
    log.command(&client.next(put(b"k", b"v")));
    log.model.create_replica(GROUP, ReplicaId(2), b"new");
    assert_eq!(log.get(b"k"), None);
    assert_eq!(log.model.sessions(GROUP), []);
    let replica = log.model.replicas().remove(0);
    assert_eq!((replica.replica, replica.applied), (ReplicaId(2), LogId::default()));
    assert_eq!(replica.generation, 2);
}
