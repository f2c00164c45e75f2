//! What a lease rests on: the loyalty of those who confirmed it, and a clock (rule 10).

use raft::ids::{Index, ReplicaId, Term};
use raft::membership::Membership;
use raft::message::{AppendReply, Body, Message};
use raft::ready::{ConfirmedRead, Ready};
use raft::replica::{Persisted, Replica, Restored, Role};
use raft::{HardState, LogId, Options};

const A: ReplicaId = ReplicaId(1);
const B: ReplicaId = ReplicaId(2);
const C: ReplicaId = ReplicaId(3);

/// E and the shortest wait, in ticks.
const E: u32 = 10;
const WAIT: u64 = 5;

/// Of a lease, in microseconds.
const LEASE: u64 = 100;

fn replica(id: ReplicaId, lease: u64, may_be_loyal: bool) -> Replica {
    let options = Options {
        id,
        seed: id.0,
        election_ticks: E,
        heartbeat_ticks: 1,
        idle_ticks: 1_000,
        inflight_messages_max: 10,
        inflight_bytes_max: 1_000,
        append_bytes_max: 1_000,
        window_bytes_max: 1_000,
        uncommitted_bytes_max: 1_000,
        lease,
        may_be_loyal,
        may_campaign: true,
    };
    let restored = Restored {
        hard_state: HardState { term: Term(1), vote: None },
        log_start: LogId::default(),
        membership: Membership::new(&[A, B, C], &[]).expect("three voters"),
        terms: vec![],
        last: Index(0),
        memberships: vec![],
        tail: vec![],
        applied: Index(0),
    };
    Replica::new(options, restored)
}

/// What `to` says to a message of `from`, with its disk working at once.
fn tell(to: &mut Replica, from: ReplicaId, term: u64, body: Body) -> Vec<Message> {
    let mut ready = Ready::default();
    to.step(Message { from, to: to.id(), term: Term(term), body }, &mut ready);
    write(to, &mut ready);
    ready.send
}

fn write(replica: &mut Replica, ready: &mut Ready) {
    if ready.must_persist() {
        let last = ready.entries.last().map(|entry| entry.id());
        let persisted = Persisted { last, hard_state: ready.hard_state.take(), log_start: None };
        ready.entries.clear();
        ready.send.extend(ready.send_after_persist.drain(..));
        replica.persisted(persisted, ready);
        write(replica, ready);
    }
    ready.send.extend(ready.send_after_persist.drain(..));
}

fn votes(replica: &mut Replica, from: ReplicaId, term: u64, transfer: bool) -> bool {
    let body = Body::Vote { last: LogId { term: Term(1), index: Index(99) }, transfer };
    tell(replica, from, term, body).iter().any(|it| matches!(it.body, Body::VoteReply { granted: true }))
}

fn beat(round: u64) -> Body {
    Body::Heartbeat { commit: Index(0), round, settled: Index(0) }
}

fn ticks(replica: &mut Replica, count: u64) {
    (0..count).for_each(|_| replica.tick(&mut Ready::default()));
}

/// A leads term 2, and nothing of it is committed yet.
fn leader(lease: u64) -> Replica {
    let mut a = replica(A, lease, false);
    let mut ready = Ready::default();
    a.campaign(&mut ready);
    write(&mut a, &mut ready);
    tell(&mut a, B, 2, Body::PreVoteReply { granted: true });
    tell(&mut a, B, 2, Body::VoteReply { granted: true });
    assert_eq!((a.role(), a.term()), (Role::Leader, Term(2)));
    a
}

fn commit(a: &mut Replica) {
    a.collect(&mut Ready::default());
    tell(a, B, 2, Body::AppendReply(AppendReply::Accepted { matched: Index(1) }));
    assert_eq!(a.commit(), Index(1));
}

/// Reads under `token`, and ends the turn at `now`: what is confirmed, and the round that was asked.
fn read(a: &mut Replica, token: u64, now: u64) -> (Vec<ConfirmedRead>, Option<u64>) {
    let mut ready = Ready::default();
    a.read(token, &mut ready).expect("it leads");
    a.collect_at(now, &mut ready);
    let asked = ready.send.iter().find_map(|message| match message.body {
        Body::Ask { round } => Some(round),
        _ => None,
    });
    (ready.reads, asked)
}

/// A lease from a round that began at `now`.
fn lease_from(a: &mut Replica, now: u64) {
    let (reads, asked) = read(a, 1, now);
    assert_eq!(reads, [], "nobody has confirmed anything");
    tell(a, B, 2, Body::HeartbeatReply { round: asked.expect("a round") });
}

#[test]
fn a_confirmed_round_makes_others_superfluous_for_a_while_from_its_beginning() {
    let mut a = leader(LEASE);
    commit(&mut a);
    lease_from(&mut a, 1_000);
    let leased = |token| ConfirmedRead { token, index: Index(1), leased: true };
    assert_eq!(read(&mut a, 2, 1_001), (vec![leased(2)], None));
    assert_eq!(read(&mut a, 3, 1_000 + LEASE - 1), (vec![leased(3)], None));
    assert!(a.holds_lease(1_000 + LEASE - 1) && !a.holds_lease(1_000 + LEASE));
    let (reads, asked) = read(&mut a, 4, 1_000 + LEASE);
    assert!(reads.is_empty() && asked.is_some());
}

#[test]
fn heartbeats_renew_a_lease_by_the_turn_they_are_sent_in() {
    let mut a = leader(LEASE);
    commit(&mut a);
    let mut ready = Ready::default();
    a.tick(&mut ready);
    a.collect_at(5_000, &mut ready);
    let round = ready.send.iter().find_map(|message| match message.body {
        Body::Heartbeat { round, .. } => Some(round),
        _ => None,
    });
    let round = round.expect("a heartbeat is due");
    // Whatever comes between, the beginning counts.
    a.collect_at(9_000, &mut Ready::default());
    tell(&mut a, C, 2, Body::HeartbeatReply { round });
    assert!(a.holds_lease(5_000 + LEASE - 1) && !a.holds_lease(5_000 + LEASE));
}

#[test]
fn no_lease_holds_without_the_wish_a_clock_or_a_commit_of_the_term() {
    let mut off = leader(0);
    commit(&mut off);
    lease_from(&mut off, 1_000);
    assert!(!off.holds_lease(1_001) && read(&mut off, 2, 1_001).0.is_empty());

    let mut blind = leader(LEASE);
    commit(&mut blind);
    lease_from(&mut blind, 0);
    assert!(read(&mut blind, 2, 1).0.is_empty());

    let mut new = leader(LEASE);
    let mut ready = Ready::default();
    new.tick(&mut ready);
    new.collect_at(1_000, &mut ready);
    tell(&mut new, B, 2, Body::HeartbeatReply { round: 1 });
    assert!(new.holds_lease(1_001), "nobody else leads");
    assert!(read(&mut new, 2, 1_001).0.is_empty(), "but it does not know what was committed before it (rule 8)");
}

#[test]
fn a_lease_ends_with_the_word_to_a_successor_and_stays_ended() {
    let mut a = leader(LEASE);
    commit(&mut a);
    lease_from(&mut a, 1_000);
    let mut ready = Ready::default();
    a.transfer_leadership(B, &mut ready).expect("B votes");
    assert!(ready.send.iter().any(|message| message.body == Body::TimeoutNow));
    assert!(!a.holds_lease(1_001));
    // The transfer is given up after a while, the word to B is not taken back.
    ticks(&mut a, WAIT);
    tell(&mut a, B, 2, Body::HeartbeatReply { round: 0 });
    ticks(&mut a, WAIT);
    let (_, asked) = read(&mut a, 2, 2_000);
    tell(&mut a, B, 2, Body::HeartbeatReply { round: asked.unwrap_or(2) });
    assert!(!a.holds_lease(2_001), "B may still stand without asking");
}

#[test]
fn who_has_heard_a_leader_votes_for_nobody_for_a_while_whatever_it_learns() {
    let mut b = replica(B, 0, false);
    tell(&mut b, A, 2, beat(1));
    ticks(&mut b, WAIT - 1);
    // The term of somebody who stands reaches it by another way than his question.
    tell(&mut b, C, 3, Body::AppendReply(AppendReply::Accepted { matched: Index(0) }));
    assert_eq!((b.term(), b.leader()), (Term(3), None));
    assert!(!votes(&mut b, C, 3, false), "A may rest on it");
    ticks(&mut b, 1);
    assert!(votes(&mut b, C, 3, false));
}

#[test]
fn a_successor_need_not_wait() {
    let mut b = replica(B, 0, false);
    tell(&mut b, A, 2, beat(1));
    assert!(votes(&mut b, C, 3, true));
}

#[test]
fn who_starts_again_votes_for_nobody_for_as_long() {
    let mut b = replica(B, 0, true);
    assert!(!votes(&mut b, C, 2, false));
    ticks(&mut b, WAIT - 1);
    assert!(!votes(&mut b, C, 2, false));
    ticks(&mut b, 1);
    assert!(votes(&mut b, C, 2, false));
    assert!(votes(&mut replica(B, 0, false), C, 2, false), "one that was just created owes nobody anything");
}

#[test]
fn who_wakes_remembers_the_last_word_it_heard() {
    let mut b = replica(B, 0, false);
    b.set_may_sleep(true);
    for _ in 0..50 {
        tell(&mut b, A, 2, beat(1));
        ticks(&mut b, 1);
    }
    tell(&mut b, A, 2, Body::Sleep { commit: Index(0), attempt: 1 });
    assert!(b.is_asleep());
    // Its host has heard nothing of A's for long, but A's last word here is two ticks old.
    b.wake(2, &|_| 100);
    assert!(!votes(&mut b, C, 3, false));
    ticks(&mut b, WAIT - 2);
    assert!(votes(&mut b, C, 3, false));
}
