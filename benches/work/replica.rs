//! One replica of three that leads: proposals, what it sends, its own disk and the answers of both peers.

use raft::entry::{Entry, HardState, LogId};
use raft::ids::{Index, ReplicaId};
use raft::message::{AppendReply, Body, Message};
use raft::payload::Payload;
use raft::ready::Ready;
use raft::replica::{Persisted, Replica, Restored, Role};
use raft::{Membership, Options};

pub struct Leading {
    replica: Replica,
    ready: Ready,
    payload: Payload,
}

impl Leading {
    pub fn new() -> Leading {
        let members = [0, 1, 2].map(|node| ReplicaId::new(node, 0));
        let restored = Restored {
            hard_state: HardState::default(),
            log_start: LogId::default(),
            membership: Membership::new(&members, &[]).expect("three voters"),
            terms: Vec::new(),
            last: Index(0),
            memberships: Vec::new(),
            tail: Vec::new(),
            applied: Index(0),
        };
        let options = Options {
            id: members[0],
            seed: 7,
            election_ticks: 10,
            heartbeat_ticks: 1,
            idle_ticks: 10,
            inflight_messages_max: 256,
            inflight_bytes_max: 8 << 20,
            append_bytes_max: 256 << 10,
            window_bytes_max: 8 << 20,
            uncommitted_bytes_max: 16 << 20,
            lease: 0,
            may_be_loyal: false,
            may_campaign: true,
        };
        let mut leading = Leading {
            replica: Replica::new(options, restored),
            ready: Ready::default(),
            payload: vec![7; super::VALUE_BYTES + 80].into(),
        };
        leading.replica.campaign(&mut leading.ready);
        leading.settle();
        assert_eq!(leading.replica.role(), Role::Leader);
        leading
    }

    /// One turn: so many proposals, and everything that makes them committed and applied.
    pub fn turn(&mut self, proposals: usize) {
        for _ in 0..proposals {
            self.replica.propose(self.payload.clone(), &mut self.ready).expect("it leads, and nothing waits");
        }
        self.settle();
        let applicable = self.replica.applicable();
        self.replica.applied(applicable);
        if self.replica.last().index.0 - self.replica.log_start().index.0 > 10_000 {
            self.replica.compact(applicable);
        }
    }

    fn settle(&mut self) {
        loop {
            self.replica.collect(&mut self.ready);
            let mut turn = std::mem::take(&mut self.ready);
            if turn.is_empty() {
                return;
            }
            let last = turn.entries.last().map(Entry::id);
            if last.is_some() || turn.hard_state.is_some() {
                let persisted = Persisted { last, hard_state: turn.hard_state, log_start: None };
                self.replica.persisted(persisted, &mut self.ready);
            }
            for message in turn.send.drain(..).chain(turn.send_after_persist.drain(..)) {
                if let Some(answer) = answer(&message) {
                    self.replica.step(answer, &mut self.ready);
                }
            }
        }
    }
}

/// What a peer says that agrees with everything and has everything on its disk.
pub fn answer(message: &Message) -> Option<Message> {
    let body = match &message.body {
        Body::PreVote { .. } => Body::PreVoteReply { granted: true },
        Body::Vote { .. } => Body::VoteReply { granted: true },
        Body::Append { prev, entries, .. } => {
            Body::AppendReply(AppendReply::Accepted { matched: Index(prev.index.0 + entries.len() as u64) })
        }
        Body::Heartbeat { round, .. } | Body::Ask { round } => Body::HeartbeatReply { round: *round },
        Body::Sleep { attempt, .. } => Body::Asleep { attempt: *attempt },
        _ => return None,
    };
    Some(Message { from: message.to, to: message.from, term: message.term, body })
}
