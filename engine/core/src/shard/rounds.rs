//! Read rounds of all groups toward one peer core, gathered into one message (rule 9).
//!
//! Every replica counts rounds of its own. A turn's questions to one peer core leave as one [`Round`] under a fresh
//! number of this process; what each group asked under that number is kept here. An answer to that number was given
//! after the round left, so it answers exactly those questions: for every group it does not refuse, the replica hears
//! what the peer's replica would have said to its own question. A number is answered once; a repeated answer, a late one
//! and one to a former process of this node find nothing here.
//!
//! Bounded: so many rounds are open toward a core, the newest question of each group waits for the next, and what
//! finds no answer within an election timeout is forgotten. Nothing hangs on it: heartbeats carry the rounds, too.

use super::effects::Effects;
use crate::exchange::{Answer, Question, Round, Word};
use crate::placement::cores::core_of;
use raft::ids::{GroupId, ReplicaId, Term};
use raft::message::{Body, Message};
use std::collections::{BTreeMap, VecDeque};

/// Rounds toward one core that may wait for their answers. More would only be smaller.
const OPEN_MAX: usize = 32;

/// Groups in one round: 160 KiB of them.
const QUESTIONS_MAX: usize = 8192;

/// The rounds of one core.
#[derive(Debug)]
pub(super) struct Rounds {
    start: u64,
    number: u64,
    /// How many shards each node has.
    shards: Vec<u16>,
    peers: BTreeMap<(u16, u16), Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// What the next round asks: the newest question of each group, which stands for its earlier ones.
    waiting: BTreeMap<GroupId, Ask>,
    /// Rounds that are not answered yet, oldest first.
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    /// The tick it left at.
    tick: u64,
    asked: Vec<(GroupId, Ask)>,
}

/// What a replica asked.
#[derive(Clone, Copy, Debug)]
struct Ask {
    from: ReplicaId,
    to: ReplicaId,
    term: Term,
    round: u64,
}

impl Rounds {
    /// No rounds yet, of the process `start`, in a cluster whose nodes have so many `shards`.
    pub(super) fn new(start: u64, shards: Vec<u16>) -> Rounds {
        Rounds { start, number: 0, shards, peers: BTreeMap::new() }
    }

    /// Keeps a replica's question for the next round. Anything else is given back.
    pub(super) fn take(&mut self, group: GroupId, message: Message) -> Option<Message> {
        let Message { from, to, term, body: Body::Ask { round } } = message else { return Some(message) };
        let Some(shards) = self.shards.get(usize::from(to.node())) else { return Some(message) };
        let peer = self.peers.entry((to.node(), core_of(group, *shards))).or_default();
        peer.waiting.insert(group, Ask { from, to, term, round });
        None
    }

    /// Begins rounds for what waits, and forgets those that nobody answered for `patience` ticks.
    pub(super) fn begin(&mut self, tick: u64, patience: u64, effects: &mut Effects) {
        for (&to, peer) in &mut self.peers {
            while peer.open.front().is_some_and(|open| tick - open.tick >= patience) {
                peer.open.pop_front();
            }
            while !peer.waiting.is_empty() && peer.open.len() < OPEN_MAX {
                self.number += 1;
                let mut asked: Vec<(GroupId, Ask)> = Vec::new();
                while asked.len() < QUESTIONS_MAX
                    && let Some(first) = peer.waiting.pop_first()
                {
                    asked.push(first);
                }
                let question = |&(group, ask): &(GroupId, Ask)| Question { group, to: ask.to, term: ask.term };
                let questions = asked.iter().map(question).collect();
                let round = Round { start: self.start, number: self.number, questions };
                effects.words.push((to, Word::Round(round)));
                peer.open.push_back(Open { number: self.number, tick, asked });
            }
        }
    }

    /// What the replicas of core `from` have said with this answer.
    pub(super) fn answered(&mut self, from: (u16, u16), answer: &Answer) -> Vec<(GroupId, Message)> {
        let Some(peer) = self.peers.get_mut(&from) else { return Vec::new() };
        let Some(at) = peer.open.iter().position(|open| open.number == answer.number) else { return Vec::new() };
        if answer.start != self.start {
            return Vec::new();
        }
        let open = peer.open.remove(at).expect("it was just found");
        let refused: std::collections::BTreeSet<GroupId> = answer.refused.iter().copied().collect();
        let followed = open.asked.into_iter().filter(|(group, _)| !refused.contains(group));
        let reply = |(group, ask): (GroupId, Ask)| {
            let body = Body::HeartbeatReply { round: ask.round };
            (group, Message { from: ask.to, to: ask.from, term: ask.term, body })
        };
        followed.map(reply).collect()
    }

    /// The connection to a node is gone: what was asked there is lost, or its answer is.
    pub(super) fn lost(&mut self, node: u16) {
        self.peers.retain(|(of, _), _| *of != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: (u16, u16) = (1, 0);

    fn ask(rounds: &mut Rounds, group: u32, term: u64, round: u64) {
        let (from, to) = (ReplicaId::new(0, 0), ReplicaId::new(1, 0));
        let message = Message { from, to, term: Term(term), body: Body::Ask { round } };
        assert_eq!(rounds.take(GroupId(group), message), None);
    }

    fn begin(rounds: &mut Rounds, tick: u64) -> Vec<Round> {
        let mut effects = Effects::default();
        rounds.begin(tick, 10, &mut effects);
        let round = |(to, word)| match word {
            Word::Round(round) if to == PEER => round,
            other => panic!("{other:?} to {to:?}"),
        };
        effects.words.into_iter().map(round).collect()
    }

    fn confirmed(rounds: &mut Rounds, start: u64, number: u64, refused: &[u32]) -> Vec<(u32, u64, u64)> {
        let refused = refused.iter().map(|group| GroupId(*group)).collect();
        let heard = rounds.answered(PEER, &Answer { start, number, refused });
        let round = |(group, message): (GroupId, Message)| match message.body {
            Body::HeartbeatReply { round } => (group.0, message.term.0, round),
            other => panic!("{other:?}"),
        };
        heard.into_iter().map(round).collect()
    }

    fn rounds() -> Rounds {
        Rounds::new(77, vec![1, 1, 1])
    }

    #[test]
    fn questions_of_a_turn_to_one_core_are_one_round() {
        let mut rounds = rounds();
        for group in 1..=1000 {
            ask(&mut rounds, group, 3, 1);
        }
        let sent = begin(&mut rounds, 0);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].questions.len(), 1000);
        let heard = confirmed(&mut rounds, 77, sent[0].number, &[7]);
        assert_eq!(heard.len(), 999);
        assert!(!heard.iter().any(|(group, ..)| *group == 7));
    }

    #[test]
    fn an_answer_counts_once_and_only_for_what_its_round_asked() {
        let mut rounds = rounds();
        ask(&mut rounds, 1, 3, 4);
        let first = begin(&mut rounds, 0)[0].number;
        ask(&mut rounds, 1, 3, 5);
        let second = begin(&mut rounds, 0)[0].number;
        assert!(second > first);
        assert_eq!(confirmed(&mut rounds, 77, first, &[]), [(1, 3, 4)]);
        assert_eq!(confirmed(&mut rounds, 77, first, &[]), []);
        assert_eq!(confirmed(&mut rounds, 77, second, &[]), [(1, 3, 5)]);
    }

    #[test]
    fn an_answer_to_a_former_process_or_an_unknown_number_is_nothing() {
        let mut rounds = rounds();
        ask(&mut rounds, 1, 3, 4);
        let number = begin(&mut rounds, 0)[0].number;
        assert_eq!(confirmed(&mut rounds, 76, number, &[]), []);
        assert_eq!(confirmed(&mut rounds, 77, number + 1, &[]), []);
        assert_eq!(confirmed(&mut rounds, 77, number, &[]), [(1, 3, 4)]);
    }

    #[test]
    fn open_rounds_are_bounded_and_the_newest_question_waits_for_room() {
        let mut rounds = rounds();
        for round in 1..=100 {
            ask(&mut rounds, 1, 3, round);
            begin(&mut rounds, 0);
        }
        assert_eq!(rounds.peers[&PEER].open.len(), OPEN_MAX);
        assert_eq!(confirmed(&mut rounds, 77, 1, &[]), [(1, 3, 1)]);
        let next = begin(&mut rounds, 0)[0].number;
        assert_eq!(confirmed(&mut rounds, 77, next, &[]), [(1, 3, 100)]);
    }

    #[test]
    fn rounds_that_nobody_answers_are_forgotten() {
        let mut rounds = rounds();
        ask(&mut rounds, 1, 3, 1);
        let number = begin(&mut rounds, 5)[0].number;
        begin(&mut rounds, 14);
        assert_eq!(rounds.peers[&PEER].open.len(), 1);
        begin(&mut rounds, 15);
        assert_eq!(confirmed(&mut rounds, 77, number, &[]), []);
        ask(&mut rounds, 1, 3, 2);
        let number = begin(&mut rounds, 15)[0].number;
        rounds.lost(PEER.0);
        assert_eq!(confirmed(&mut rounds, 77, number, &[]), []);
    }
}
