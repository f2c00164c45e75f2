//! Which groups count ticks: those that are awake (rules 19 and 20).
//!
//! A group sleeps when its leader and every other member have agreed to; from then on no tick looks at it and it says
//! nothing. It wakes for a message, a request, a lost connection, and when a core that it rests on is given up
//! or has given up this one. What a core must do to be believed in is in `liveness`.

use super::Shard;
use super::effects::Effects;
use super::group::Group;
use crate::exchange::{Answer, Question, Round, Word};
use raft::ids::GroupId;
use std::collections::BTreeSet;

impl Shard {
    /// How many groups a tick looks at; the others sleep.
    pub fn awake(&self) -> usize {
        self.awake.len()
    }

    /// A group, which has something to do now and is awake.
    pub(super) fn stir(&mut self, id: GroupId) -> Option<&mut Group> {
        let group = self.groups.get_mut(&id)?;
        group.wake(self.ticks, &self.links);
        note_sleep(&mut self.awake, group, id);
        self.touched.add(id, group);
        Some(group)
    }

    /// Costs what the groups that are awake cost, and the peer cores.
    pub(super) fn tick(&mut self, effects: &mut Effects) {
        self.ticks += 1;
        // Who wakes now counts this tick with those it slept through, also if it fell asleep in this turn.
        let sleeps = |id: &&GroupId| self.groups.get(id).is_some_and(Group::is_asleep);
        let awake: Vec<GroupId> = self.awake.iter().filter(|id| !sleeps(id)).copied().collect();
        for core in self.links.silent(self.ticks) {
            self.wake_on(core);
        }
        let stuck = self.is_stuck();
        if self.ticks.is_multiple_of(u64::from(self.options.heartbeat_ticks)) && !stuck {
            self.links.say(self.declines(), effects);
        }
        let ask = self.ticks.is_multiple_of(u64::from(self.options.election_ticks));
        let balance =
            !self.draining && !self.disk_full && self.ticks.is_multiple_of(u64::from(self.options.election_ticks) * 4);
        for id in awake {
            let group = self.groups.get_mut(&id).expect("a group that is awake exists");
            let may_sleep = !self.draining && !stuck && self.recovered && group.may_sleep(&self.links);
            group.set_may_sleep(may_sleep);
            self.touched.lend(group);
            group.tick(self.ticks, ask);
            group.propose_next(effects);
            self.called_off.extend(group.call_off(&self.options).into_iter().map(|peer| (id, peer)));
            if balance {
                group.return_to_preferred(&self.links);
            }
            if group.has_to_do() {
                self.touched.add(id, group);
            }
            self.touched.release(group);
            self.sync_wanted |= group.wants_sync(&self.options);
            note_sleep(&mut self.awake, group, id);
        }
        if self.ticks.is_multiple_of(u64::from(self.options.heartbeat_ticks)) {
            self.move_members();
        }
        self.tick_slot();
        if self.draining || self.disk_full {
            self.hand_over();
        }
    }

    /// Whether this core takes no leadership. What it has just accepted it takes, and hands over then: were that called off while
    /// its vote is on the way, the log would have grown without it, and nobody would win.
    pub(super) fn declines(&self) -> bool {
        (self.draining || self.disk_full) && !self.groups.values().any(Group::stands)
    }

    /// Whether the disk has kept something waiting for half an election timeout: whoever leads here could acknowledge
    /// nothing, so this core does not claim to live (rule 23).
    pub fn is_stuck(&self) -> bool {
        self.has_waited((self.options.election_ticks / 2).max(1))
    }

    /// Whether something has waited for the disk for so many ticks.
    pub(super) fn has_waited(&self, ticks: u32) -> bool {
        self.held.front().is_some_and(|held| self.ticks - held.tick >= u64::from(ticks))
    }

    /// Wakes every group that rests on a core of another node.
    fn wake_on(&mut self, core: (u16, u16)) {
        let rests = |id: &GroupId, group: &Group| self.links.core(*id, core.0) == Some(core) && group.rests_on(core.0);
        let ids: Vec<GroupId> = self.groups.iter().filter(|(id, group)| rests(id, group)).map(|(id, _)| *id).collect();
        for id in ids {
            self.stir(id);
        }
    }

    /// Whether a group may sleep at the word of a member on `node`.
    pub(super) fn may_sleep(&self, id: GroupId, node: u16) -> bool {
        let group = self.groups.get(&id);
        let vouched = group.is_some_and(|group| match group.leads() {
            true => group.may_sleep(&self.links),
            false => group.is_quiet() && self.links.is_up(id, node),
        });
        vouched && !self.draining && self.recovered && !self.is_stuck()
    }

    /// Whether the replica that a leader on `node` asks follows it. If so it has heard its leader, as from a heartbeat.
    fn confirms(&mut self, node: u16, question: &Question) -> bool {
        let follows = |group: &Group| group.follows(node, question);
        if !self.recovered || !self.groups.get(&question.group).is_some_and(follows) {
            return false;
        }
        if self.groups.get(&question.group).is_some_and(Group::is_asleep) {
            self.stir(question.group);
        }
        if let Some(group) = self.groups.get_mut(&question.group) {
            group.hear_leader();
        }
        true
    }

    /// Another core said something that concerns many groups.
    pub(super) fn word(&mut self, from: (u16, u16), word: Word, effects: &mut Effects) {
        match word {
            Word::Round(Round { start, number, questions }) => {
                let refused = questions.iter().filter(|it| !self.confirms(from.0, it)).map(|it| it.group).collect();
                effects.words.push((from, Word::Answer(Answer { start, number, refused })));
            }
            Word::Beat(beat) => {
                if self.links.heard(from, beat, self.ticks) {
                    self.wake_on(from);
                }
                if beat.declines {
                    self.groups.iter_mut().for_each(|(_, group)| group.peer_declines(from.0));
                }
            }
            Word::Answer(answer) => {
                for (group, message) in self.rounds.answered(from, &answer) {
                    self.message(group, message);
                }
            }
        }
    }
}

/// Takes a group that has fallen asleep out of those that count ticks, or one that has woken in.
pub(super) fn note_sleep(awake: &mut BTreeSet<GroupId>, group: &mut Group, id: GroupId) {
    let is_awake = !group.is_asleep();
    // Told with every event and every turn of a group: the set is searched only when it changes.
    if std::mem::replace(&mut group.counts_ticks, is_awake) == is_awake {
        return;
    }
    if is_awake {
        awake.insert(id);
    } else {
        awake.remove(&id);
        group.rest();
    }
}
