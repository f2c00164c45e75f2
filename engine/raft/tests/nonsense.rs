//! No message can stop a replica, or make it take back what is committed, however mad its sender is (rule 26).

use raft::entry::{Entry, EntryKind, HardState, LogId};
use raft::ids::{Index, ReplicaId, Term};
use raft::membership::Membership;
use raft::message::{AppendReply, Body, Message};
use raft::ready::Ready;
use raft::replica::{Persisted, Replica, Restored, Role};
use raft::{Options, PeerState};

#[test]
fn no_message_can_stop_a_replica_or_take_back_a_commit() {
    let mut met = Met::default();
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut replica = start(seed, &mut random);
        let mut committed: Vec<(Index, Term)> = Vec::new();
        for _ in 0..600 {
            let mut ready = Ready::default();
            match random.below(10) {
                0 => replica.tick(&mut ready),
                4 if random.below(10) == 0 => replica.wake(random.below(5), &|node| u64::from(node) % 4),
                1 => {
                    let _ = replica.propose([1; 8].as_slice().into(), &mut ready);
                }
                2 => {
                    let _ = replica.read(1, &mut ready);
                }
                3 if random.below(10) == 0 => elect(&mut replica),
                _ => replica.step(message(&mut random, replica.term()), &mut ready),
            }
            if random.below(3) > 0 {
                replica.collect(&mut ready);
            }
            for (index, term) in &committed {
                let now = replica.term_of(*index);
                assert_eq!(now, Some(*term), "seed {seed}: entry {index} was committed and has changed");
            }
            let from = committed.last().map_or(replica.log_start().index, |last| last.0);
            let news = (from.0 + 1..=replica.commit().0).map(Index);
            committed.extend(news.map(|index| (index, replica.term_of(index).expect("what is committed is there"))));
            if ready.must_persist() {
                let last = ready.entries.last().map(Entry::id);
                let persisted = Persisted { last, hard_state: ready.hard_state, log_start: ready.log_start };
                replica.persisted(persisted, &mut Ready::default());
            }
            met.look(&replica);
        }
    }
    assert!(met.led > 50 && met.committed > 50 && met.probing > 50 && met.replicating > 50, "{met:?}");
    assert!(met.refused_conflicts > 10 && met.malformed > 10, "{met:?}");
}

/// What the replicas went through: mad messages that are all dropped at the door would prove little.
#[derive(Debug, Default)]
struct Met {
    led: u64,
    committed: u64,
    probing: u64,
    replicating: u64,
    refused_conflicts: u64,
    malformed: u64,
}

impl Met {
    fn look(&mut self, replica: &Replica) {
        self.led += u64::from(replica.role() == Role::Leader);
        self.committed += u64::from(replica.commit() > Index(5));
        self.probing += u64::from(replica.peers().any(|peer| peer.state == PeerState::Probe));
        self.replicating += u64::from(replica.peers().any(|peer| peer.state == PeerState::Replicate));
        self.refused_conflicts = self.refused_conflicts.max(replica.anomalies().committed_conflicts);
        self.malformed = self.malformed.max(replica.anomalies().malformed);
    }
}

/// Even a sound election, so that leaders meet nonsense, too.
fn elect(replica: &mut Replica) {
    let from = ReplicaId(2);
    let mut ready = Ready::default();
    // While it is loyal to a leader it would not stand.
    (0..4).for_each(|_| replica.tick(&mut ready));
    replica.campaign(&mut ready);
    let (to, term) = (replica.id(), Term(replica.term().0 + 1));
    replica.step(Message { from, to, term, body: Body::PreVoteReply { granted: true } }, &mut ready);
    let persisted = Persisted { hard_state: ready.hard_state, ..Persisted::default() };
    replica.persisted(persisted, &mut Ready::default());
    let mut ready = Ready::default();
    replica.step(Message { from, to, term, body: Body::VoteReply { granted: true } }, &mut ready);
    let last = ready.entries.last().map(Entry::id);
    replica.persisted(Persisted { last, hard_state: ready.hard_state, log_start: None }, &mut Ready::default());
}

fn start(seed: u64, random: &mut Random) -> Replica {
    let options = Options {
        id: ReplicaId(1),
        seed,
        election_ticks: 8,
        heartbeat_ticks: 1,
        idle_ticks: 3,
        inflight_messages_max: 3,
        inflight_bytes_max: 500,
        append_bytes_max: 200,
        window_bytes_max: 200,
        uncommitted_bytes_max: 1_000,
        lease: 0,
        may_be_loyal: false,
        may_campaign: true,
    };
    let voters = [ReplicaId(1), ReplicaId(2), ReplicaId(3)];
    let restored = Restored {
        hard_state: HardState { term: Term(3), vote: None },
        log_start: LogId { term: Term(2), index: Index(3) },
        membership: Membership::new(&voters, &[]).expect("three voters"),
        terms: vec![(Index(4), Term(2)), (Index(5), Term(3))],
        last: Index(5 + random.below(3)),
        memberships: vec![],
        tail: vec![],
        applied: Index(3 + random.below(2)),
    };
    let mut replica = Replica::new(options, restored);
    replica.set_may_sleep(true);
    replica
}

/// Anything at all, mostly about the present and with small numbers, so that much of it is nearly true.
fn message(random: &mut Random, term: Term) -> Message {
    let term = Term((term.0 + random.below(4)).saturating_sub(if random.below(4) == 0 { 2 } else { 1 }));
    let body = match random.below(19) {
        0 => Body::PreVote { last: id(random) },
        1 => Body::PreVoteReply { granted: random.below(2) == 0 },
        2 => Body::Vote { last: id(random), transfer: random.below(2) == 0 },
        3..5 => Body::VoteReply { granted: random.below(3) > 0 },
        5..8 => append(random, term),
        8..10 => Body::AppendReply(AppendReply::Accepted { matched: index(random) }),
        10 => {
            let (prev, last) = (index(random), index(random));
            Body::AppendReply(AppendReply::Rejected { prev, hint: id(random), last })
        }
        11 => Body::Heartbeat { commit: index(random), round: random.number(), settled: index(random) },
        12 => Body::HeartbeatReply { round: random.below(3) },
        13 => Body::SnapshotOffer { last: id(random) },
        14 => Body::SnapshotGrant { last: id(random) },
        15 => Body::Ask { round: random.number() },
        16 => Body::Sleep { commit: index(random), attempt: random.below(8) },
        17 => Body::Asleep { attempt: random.below(8) },
        _ if random.below(3) == 0 => Body::SnapshotProgress { bytes: random.number() },
        _ if random.below(2) == 0 => Body::SnapshotRequest { least: Index(random.number()) },
        _ => Body::TimeoutNow,
    };
    Message { from: ReplicaId(1 + random.below(4)), to: ReplicaId(1 + random.below(20) / 19), term, body }
}

fn append(random: &mut Random, term: Term) -> Body {
    let prev = id(random);
    let mut of = prev.term.0;
    let mut entries = Vec::new();
    for position in 1..=random.below(5) {
        of = (of + random.below(6) / 4).min(term.0);
        let (kind, payload) = match random.below(8) {
            0 => (EntryKind::Membership, membership(random)),
            _ => (EntryKind::Command, vec![7; 8]),
        };
        let skipped = u64::from(random.below(60) == 0);
        let index = Index(prev.index.0.saturating_add(position + skipped));
        entries.push(Entry { term: Term(of), index, kind, payload: payload.into() });
    }
    Body::Append { prev, commit: index(random), entries: entries.into() }
}

fn membership(random: &mut Random) -> Vec<u8> {
    let voters: Vec<ReplicaId> = (1..=4).filter(|_| random.below(3) > 0).map(ReplicaId).collect();
    match Membership::new(&voters, &[]) {
        Ok(membership) => membership.encode(),
        Err(_) => vec![1, 2, 3],
    }
}

fn index(random: &mut Random) -> Index {
    Index(random.number())
}

fn id(random: &mut Random) -> LogId {
    LogId { term: Term(random.below(6)), index: index(random) }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Mostly small, now and then beyond reason.
    fn number(&mut self) -> u64 {
        match self.below(40) {
            0 => u64::MAX - self.below(3),
            1 => (1 << 62) + self.below(3),
            _ => self.below(12),
        }
    }
}
