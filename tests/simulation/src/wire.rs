//! What cores say to each other, in the frames they really use.

use crate::happening::{Happening, Inside, Place};
use crate::network::Fate;
use crate::world::{Checked, Violation, World};
use engine_core::exchange::Word;
use engine_core::placement::cores::core_of;
use engine_core::shard::Event;
use net::{exchange, frame, peer};
use raft::ids::GroupId;
use raft::message::{Body, Message};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Messages for one link, in order.
type Queue = Vec<(GroupId, Message)>;

impl World {
    /// Sends a turn's words and messages: what is urgent first, the frames of one peer core together.
    pub(crate) fn send(&mut self, place: Place, words: &mut Vec<((u16, u16), Word)>, messages: &mut Queue) {
        let mut links: BTreeMap<(u16, u16), (Vec<u8>, [Queue; 2])> = BTreeMap::new();
        for (to, word) in words.drain(..) {
            self.count_word(&word);
            exchange::write(&mut links.entry(to).or_default().0, &word);
        }
        for (group, message) in messages.drain(..) {
            let node = message.to.node();
            let to = (node, core_of(group, self.plan.shards(node)));
            let bulk = matches!(message.body, Body::Append { .. });
            links.entry(to).or_default().1[usize::from(bulk)].push((group, message));
        }
        for (to, (mut bytes, [urgent, bulk])) in links {
            peer::encode(&mut bytes, urgent.iter().chain(&bulk).map(|(group, message)| (*group, message)));
            let from = (place.node, place.core);
            match self.network.send(self.now, (from, to), &mut self.random, &mut self.totals) {
                Fate::Lost => {}
                Fate::Broken => {
                    let noticed = self.random.tailed(100, 50_000);
                    self.plan_in(noticed, Happening::Inside(place, Inside::PeerLost(to.0)));
                }
                Fate::Arrives(connection, times) => {
                    let bytes: Rc<[u8]> = bytes.into();
                    for at in times {
                        self.queue.plan(at, Happening::Frames { from, to, connection, bytes: bytes.clone() });
                    }
                }
            }
        }
    }

    /// Frames arrive: whoever runs there now takes them, message by message.
    pub(crate) fn frames(&mut self, from: (u16, u16), to: (u16, u16), connection: u64, bytes: Rc<[u8]>) -> Checked {
        if !self.network.delivers((from, to), connection, self.now) {
            self.totals.count("frames cut off");
            return Ok(());
        }
        let paused_until = self.nodes[usize::from(to.0)].paused_until;
        if paused_until > self.now {
            self.queue.plan(paused_until, Happening::Frames { from, to, connection, bytes });
            return Ok(());
        }
        let Some(place) = self.open_core(to) else { return Ok(()) };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Ok(frame::Parsed::Frame { header, body }) = frame::parse(rest, frame::BODY_BYTES_MAX) else {
                return Err(Violation(format!("node {} sent frames that cannot be read", from.0)));
            };
            if header.kind() == Some(frame::Kind::Exchange) {
                let word = exchange::read(&rest[body.clone()]);
                let word = word.map_err(|error| Violation(format!("node {}: {error}", from.0)))?;
                self.handle(place, Event::Word { from, word });
                rest = &rest[body.end..];
                continue;
            }
            if header.kind() != Some(frame::Kind::PeerBatch) {
                return Err(Violation(format!("node {} sent a frame of kind {}", from.0, header.kind)));
            }
            for message in peer::decode(&rest[body.clone()]) {
                let (group, message) = message.map_err(|error| Violation(format!("node {}: {error}", from.0)))?;
                if message.from.node() != from.0 {
                    return Err(Violation(format!("node {} spoke for {}", from.0, message.from)));
                }
                self.handle(place, Event::Message { group, message });
            }
            rest = &rest[body.end..];
        }
        Ok(())
    }

    fn count_word(&mut self, word: &Word) {
        match word {
            Word::Round(round) => {
                self.totals.count("read rounds");
                self.totals.add("groups in read rounds", round.questions.len() as u64);
            }
            Word::Beat(_) => self.totals.count("beats"),
            Word::Answer(answer) => self.totals.add("groups that confirm no read", answer.refused.len() as u64),
        }
    }
}
