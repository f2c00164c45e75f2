//! Which writes wait until others of their group are committed, so that a group with much to do does it in few steps.
//!
//! An entry of its own costs a group about as much as twenty in one step: a look at all its memory, two messages and their
//! answers, a write and a run for the store. Where few groups write, each gets many entries in every turn anyway, and more than one step under
//! way hides what the disk and the network take. But a core with many groups that write has others to go on with, so there a group has one
//! step under way, and what comes meanwhile is the next one: proposed when the former is committed, or when it is as large as one message may be,
//! or with the next tick. A write that is alone in its group never waits.
//!
//! What waits is in no log: it is refused, and not of unknown outcome, when leadership goes, at once or with the next tick, and when the disk is
//! full. Only a core that stops before leaves it without an answer.

use super::Shard;
use super::effects::{Answer, Effects, Refused};
use super::group::Group;
use super::waiting::Write;
use raft::ids::GroupId;

/// Of one group; above it a step is large enough.
const WRITES_MAX: usize = 1024;

impl Shard {
    /// Whether a write of a group waits for those under way. If so it is kept.
    pub(super) fn puts_off(&mut self, id: GroupId, write: Write, command: &[u8]) -> bool {
        if self.writing < self.options.batching_groups {
            return false;
        }
        let bytes_max = self.options.append_bytes_max;
        let Some(group) = self.groups.get_mut(&id) else { return false };
        let puts_off = group.puts_off(command.len(), bytes_max);
        if puts_off {
            group.waiting.put_off(write, command);
        }
        puts_off
    }

    /// Counts a group with those that have writes under way, or does so no more.
    pub(super) fn note_writes(writing: &mut usize, group: &mut Group) {
        let writes = group.waiting.last_proposed().is_some();
        match (std::mem::replace(&mut group.writes, writes), writes) {
            (false, true) => *writing += 1,
            (true, false) => *writing -= 1,
            _ => {}
        }
    }
}

impl Group {
    fn puts_off(&self, bytes: usize, bytes_max: usize) -> bool {
        let (there, count) = self.waiting.next_size();
        let fits = there + bytes <= bytes_max && count < WRITES_MAX;
        // Into a step that this turn has begun it goes for nothing.
        fits && self.leads() && self.is_under_way() && !self.gathered.has_entries()
    }

    /// Whether a write that was proposed here is not committed.
    fn is_under_way(&self) -> bool {
        self.waiting.last_proposed().is_some_and(|last| last.index > self.replica.commit())
    }

    /// Proposes what has waited, if nothing is under way any more.
    pub(super) fn propose_next_if_due(&mut self, effects: &mut Effects) {
        if self.waiting.has_next() && !(self.leads() && self.is_under_way()) {
            self.propose_next(effects);
        }
    }

    /// What has waited will not be proposed here.
    pub(super) fn refuse_next(&mut self, why: &Refused, effects: &mut Effects) {
        let refused = self.waiting.take_next();
        effects.answers.extend(refused.tickets().map(|ticket| (ticket, Answer::Refused(why.clone()))));
    }

    /// Proposes what has waited.
    pub(super) fn propose_next(&mut self, effects: &mut Effects) {
        if !self.waiting.has_next() {
            return;
        }
        let next = self.waiting.take_next();
        self.gathered.get().entries.reserve(next.tickets().count());
        next.each(|write, command| {
            if let Err(why) = self.write(write, command) {
                effects.answers.push((write.ticket, Answer::Refused(why)));
            }
        });
    }
}
