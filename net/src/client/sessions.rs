//! The client's sessions: one in each group it writes to.
//!
//! A session is opened by a logged Open before the first write to a group. Sequence numbers are counted for each group, whatever
//! session of it they are given out under, and a write keeps its number and its session through all retries, so its effect
//! happens once, whichever leader takes it. Every command says up to which sequence *of its session* the client waits for no
//! answer any more. Of a client that counted over all groups a group would see gaps, and keep a run for each number.
//!
//! All that a write needs of its group is in one place: a client of a thousand groups has as many sessions, and uses them in turns.

use super::pending::Ticket;
use engine_core::command::SessionRef;
use engine_core::group_map::GroupMap;
use engine_core::sessions::RUNS_CROWDED;
use raft::ids::{GroupId, Index};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How a group's session stands.
#[derive(Debug, Default)]
pub(super) enum Standing {
    /// None, or it was evicted. An Open is needed.
    #[default]
    Closed,
    /// An Open is on its way.
    Opening(Box<Opening>),
    /// Use it.
    Open(SessionRef),
}

/// A session that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) open: Ticket,
    /// Writes that wait for it.
    pub(super) waiting: Vec<Ticket>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions {
    groups: GroupMap<OfGroup>,
    /// What is outstanding under sessions that are used no more.
    retired: HashMap<SessionRef, Outstanding>,
    /// Writes that wait, as their group has [`WRITES_MAX`] on their way. Hardly ever any.
    held: BTreeMap<GroupId, VecDeque<Ticket>>,
}

/// A group has no more numbers than this between the first that waits for its answer and the newest: each may be a run of its
/// own there, and a session with `RUNS_MAX` of them is dropped.
pub(super) const WRITES_MAX: u64 = RUNS_CROWDED as u64;

#[derive(Debug, Default)]
struct OfGroup {
    standing: Standing,
    /// The last one given out under any session of the group.
    last_sequence: u64,
    /// Under the session, if it is open.
    outstanding: Outstanding,
}

/// Sequences given out under a session whose answers the client waits for, or behind one that it waits for.
#[derive(Debug, Default)]
struct Outstanding {
    /// The first, which it waits for; 0 if there is none.
    first: u64,
    /// Those behind it, ascending, with whether it still waits for the answer. As long as what was sent since the first.
    rest: VecDeque<(u64, bool)>,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        Sessions { groups: GroupMap::default(), retired: HashMap::new(), held: BTreeMap::new() }
    }

    pub(super) fn standing(&self, group: GroupId) -> &Standing {
        self.groups.get(&group).map_or(&Standing::Closed, |there| &there.standing)
    }

    /// A write waits for the Open of `group` from now on; `false` if none is under way.
    pub(super) fn wait(&mut self, group: GroupId, write: Ticket) -> bool {
        match self.groups.get_mut(&group).map(|there| &mut there.standing) {
            Some(Standing::Opening(opening)) => {
                opening.waiting.push(write);
                true
            }
            _ => false,
        }
    }

    /// The Open of `group` is on its way; `write` waits for it.
    pub(super) fn opening(&mut self, group: GroupId, open: Ticket, write: Ticket) {
        self.stand(group, Standing::Opening(Box::new(Opening { open, waiting: vec![write] })));
    }

    /// The Open was answered. Gives back those who waited.
    pub(super) fn opened(&mut self, group: GroupId, opened: Index) -> Vec<Ticket> {
        match self.stand(group, Standing::Open(SessionRef { group, opened })) {
            Standing::Opening(opening) => opening.waiting,
            _ => Vec::new(),
        }
    }

    /// The Open failed for good. Gives back those who waited; the next write tries again.
    pub(super) fn failed(&mut self, group: GroupId) -> Vec<Ticket> {
        match self.standing(group) {
            Standing::Opening(_) => match self.stand(group, Standing::Closed) {
                Standing::Opening(opening) => opening.waiting,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Whether any write waits for the Open of `group`.
    pub(super) fn is_waited_for(&self, group: GroupId) -> bool {
        matches!(self.standing(group), Standing::Opening(opening) if !opening.waiting.is_empty())
    }

    /// The Open of `group` that is on its way.
    pub(super) fn open_of(&self, group: GroupId) -> Option<Ticket> {
        match self.standing(group) {
            Standing::Opening(opening) => Some(opening.open),
            _ => None,
        }
    }

    /// Whether `group` has as many writes on their way as it may.
    pub(super) fn is_full(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|there| {
            let first = there.outstanding.first;
            first > 0 && there.last_sequence - first + 1 >= WRITES_MAX
        })
    }

    /// A write waits until its group is not full any more.
    pub(super) fn hold(&mut self, group: GroupId, write: Ticket) {
        self.held.entry(group).or_default().push_back(write);
    }

    /// Whether any write to `group` is held.
    pub(super) fn holds(&self, group: GroupId) -> bool {
        !self.held.is_empty() && self.held.contains_key(&group)
    }

    /// The next write of those that were held, of a group that is not full.
    pub(super) fn next_held(&mut self, group: GroupId) -> Option<Ticket> {
        if self.held.is_empty() || self.is_full(group) {
            return None;
        }
        let held = self.held.get_mut(&group)?;
        let next = held.pop_front();
        if held.is_empty() {
            self.held.remove(&group);
        }
        next
    }

    /// Forgets those who wait for an Open, or for others, and are not `alive`.
    pub(super) fn retain_waiting(&mut self, alive: impl Fn(Ticket) -> bool) {
        self.held.values_mut().for_each(|held| held.retain(|ticket| alive(*ticket)));
        self.held.retain(|_, held| !held.is_empty());
        for (_, there) in self.groups.iter_mut() {
            if let Standing::Opening(opening) = &mut there.standing {
                opening.waiting.retain(|ticket| alive(*ticket));
            }
        }
    }

    /// The cluster no longer knows the session. A newer one of the same group stays.
    pub(super) fn evicted(&mut self, session: SessionRef) {
        if matches!(self.standing(session.group), Standing::Open(open) if *open == session) {
            self.stand(session.group, Standing::Closed);
        }
    }

    /// The next sequence, outstanding under `session` from now on.
    pub(super) fn sequence(&mut self, session: SessionRef) -> u64 {
        let there = self.groups.get_mut(&session.group).expect("a session that was opened");
        there.last_sequence += 1;
        let sequence = there.last_sequence;
        match self.in_use(session) {
            Some(there) => there.push(sequence),
            None => self.retired.entry(session).or_default().push(sequence),
        }
        sequence
    }

    /// What a command under `session` may call acknowledged: everything below the first outstanding sequence.
    pub(super) fn acknowledged(&mut self, session: SessionRef) -> u64 {
        let first = match self.in_use(session) {
            Some(there) => there.first,
            None => self.retired.get(&session).map_or(0, |there| there.first),
        };
        let last = || self.groups.get(&session.group).map_or(0, |there| there.last_sequence);
        first.checked_sub(1).unwrap_or_else(last)
    }

    /// Nobody waits for this sequence any more, answered or not.
    pub(super) fn done(&mut self, session: SessionRef, sequence: u64) {
        if let Some(there) = self.in_use(session) {
            return there.done(sequence);
        }
        if let Some(there) = self.retired.get_mut(&session) {
            there.done(sequence);
            if there.first == 0 {
                self.retired.remove(&session);
            }
        }
    }

    /// What is outstanding under `session`, if it is its group's.
    fn in_use(&mut self, session: SessionRef) -> Option<&mut Outstanding> {
        let there = self.groups.get_mut(&session.group)?;
        matches!(&there.standing, Standing::Open(open) if *open == session).then_some(&mut there.outstanding)
    }

    /// Gives a group another standing, and back the former one.
    fn stand(&mut self, group: GroupId, standing: Standing) -> Standing {
        if self.groups.get(&group).is_none() {
            self.groups.insert(group, OfGroup::default());
        }
        let there = self.groups.get_mut(&group).expect("it was just put there");
        let mut outstanding = std::mem::take(&mut there.outstanding);
        if let Standing::Open(session) = &there.standing
            && outstanding.first > 0
        {
            self.retired.insert(*session, outstanding);
        }
        if let Standing::Open(session) = &standing {
            outstanding = self.retired.remove(session).unwrap_or_default();
            there.outstanding = outstanding;
        }
        std::mem::replace(&mut there.standing, standing)
    }
}

impl Outstanding {
    fn push(&mut self, sequence: u64) {
        match self.first {
            0 => self.first = sequence,
            _ => self.rest.push_back((sequence, true)),
        }
    }

    fn done(&mut self, sequence: u64) {
        if sequence != self.first {
            if let Ok(position) = self.rest.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
                self.rest[position].1 = false;
            }
            return;
        }
        self.first = 0;
        while let Some((next, waiting)) = self.rest.pop_front() {
            if waiting {
                self.first = next;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(3);

    fn opened(sessions: &mut Sessions, at: u64) -> SessionRef {
        sessions.opened(GROUP, Index(at));
        SessionRef { group: GROUP, opened: Index(at) }
    }

    #[test]
    fn a_mark_stands_below_the_first_sequence_without_an_answer() {
        let mut sessions = Sessions::new();
        let session = opened(&mut sessions, 7);
        let other = SessionRef { group: GroupId(9), opened: Index(1) };
        sessions.opened(other.group, other.opened);
        let given: Vec<u64> = (0..4).map(|_| sessions.sequence(session)).collect();
        assert_eq!((given, sessions.sequence(other)), (vec![1, 2, 3, 4], 1));
        for (done, acknowledged) in [(2, 0), (3, 0), (3, 0), (1, 3), (9, 3), (4, 4)] {
            sessions.done(session, done);
            assert_eq!(sessions.acknowledged(session), acknowledged, "after {done}");
        }
        assert_eq!(sessions.acknowledged(other), 0, "a session of its own");
    }

    #[test]
    fn what_is_outstanding_under_a_former_session_stays_so() {
        let mut sessions = Sessions::new();
        let old = opened(&mut sessions, 7);
        for _ in 0..3 {
            sessions.sequence(old);
        }
        sessions.done(old, 2);
        sessions.evicted(old);
        let new = opened(&mut sessions, 8);
        sessions.evicted(old);
        assert!(matches!(sessions.standing(GROUP), Standing::Open(open) if *open == new));
        assert_eq!((sessions.sequence(new), sessions.acknowledged(new), sessions.acknowledged(old)), (4, 3, 0));
        sessions.done(old, 1);
        assert_eq!((sessions.acknowledged(old), sessions.acknowledged(new)), (2, 3));
        // The cluster knows it after all.
        sessions.evicted(new);
        opened(&mut sessions, 7);
        assert_eq!((sessions.sequence(old), sessions.acknowledged(old)), (5, 2));
        sessions.done(old, 3);
        assert_eq!((sessions.acknowledged(old), sessions.acknowledged(new)), (4, 3));
        sessions.done(new, 4);
        assert!(sessions.retired.is_empty());
        assert_eq!(sessions.acknowledged(new), 5);
    }

    #[test]
    fn whoever_waits_for_an_open_is_given_back_when_it_is_answered_or_fails() {
        let mut sessions = Sessions::new();
        let [open, one, two] = [1, 2, 3].map(Ticket::from_wire);
        assert!(!sessions.wait(GROUP, one), "there is no Open yet");
        sessions.opening(GROUP, open, one);
        assert!(sessions.wait(GROUP, two) && sessions.is_waited_for(GROUP));
        assert_eq!(sessions.open_of(GROUP), Some(open));
        assert_eq!(sessions.failed(GROUP), [one, two]);
        assert_eq!((sessions.failed(GROUP), sessions.open_of(GROUP)), (vec![], None));
        sessions.opening(GROUP, open, one);
        sessions.wait(GROUP, two);
        sessions.retain_waiting(|ticket| ticket == two);
        assert_eq!(sessions.opened(GROUP, Index(4)), [two]);
        assert_eq!(sessions.failed(GROUP), []);
        assert!(matches!(sessions.standing(GROUP), Standing::Open(_)), "a late failure changes nothing");
    }
}
