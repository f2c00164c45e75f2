//! The client's sessions: one in each group it writes to.
//!
//! A session is opened by a logged Open before the first write to a group. Sequence numbers are client-wide and
//! a write keeps its number and its session through all retries, so its effect happens once, whichever leader
//! takes it. Every command says up to which sequence *of its session* the client waits for no answer any more.

use super::pending::Ticket;
use engine_core::command::SessionRef;
use raft::ids::{GroupId, Index};
use std::collections::{HashMap, VecDeque};

/// How a group's session stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// None, or it was evicted. An Open is needed.
    Closed,
    /// An Open is on its way; these wait for it.
    Opening { open: Ticket, waiting: Vec<Ticket> },
    /// Use it.
    Open(SessionRef),
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions {
    standing: HashMap<GroupId, Standing>,
    /// Sequences given out under a session, ascending, with whether the client still waits for the answer.
    /// Answered ones at the front are dropped, so it is about as long as the writes in flight.
    outstanding: HashMap<SessionRef, VecDeque<(u64, bool)>>,
    last_sequence: u64,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        Sessions { standing: HashMap::new(), outstanding: HashMap::new(), last_sequence: 0 }
    }

    pub(super) fn standing(&mut self, group: GroupId) -> &mut Standing {
        self.standing.entry(group).or_insert(Standing::Closed)
    }

    /// The Open was answered. Gives back those who waited.
    pub(super) fn opened(&mut self, group: GroupId, opened: Index) -> Vec<Ticket> {
        let open = Standing::Open(SessionRef { group, opened });
        match self.standing.insert(group, open) {
            Some(Standing::Opening { waiting, .. }) => waiting,
            _ => Vec::new(),
        }
    }

    /// The Open failed for good. Gives back those who waited; the next write tries again.
    pub(super) fn failed(&mut self, group: GroupId) -> Vec<Ticket> {
        match self.standing.insert(group, Standing::Closed) {
            Some(Standing::Opening { waiting, .. }) => waiting,
            Some(other) => {
                self.standing.insert(group, other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Whether any write waits for the Open of `group`.
    pub(super) fn is_waited_for(&self, group: GroupId) -> bool {
        matches!(self.standing.get(&group), Some(Standing::Opening { waiting, .. }) if !waiting.is_empty())
    }

    /// The Open of `group` that is on its way.
    pub(super) fn open_of(&self, group: GroupId) -> Option<Ticket> {
        match self.standing.get(&group) {
            Some(Standing::Opening { open, .. }) => Some(*open),
            _ => None,
        }
    }

    /// Forgets those who wait for an Open and are not `alive`.
    pub(super) fn retain_waiting(&mut self, alive: impl Fn(Ticket) -> bool) {
        for standing in self.standing.values_mut() {
            if let Standing::Opening { waiting, .. } = standing {
                waiting.retain(|ticket| alive(*ticket));
            }
        }
    }

    /// The cluster no longer knows the session. A newer one of the same group stays.
    pub(super) fn evicted(&mut self, session: SessionRef) {
        if matches!(self.standing.get(&session.group), Some(Standing::Open(open)) if *open == session) {
            self.standing.insert(session.group, Standing::Closed);
        }
    }

    /// The next sequence, outstanding under `session` from now on.
    pub(super) fn sequence(&mut self, session: SessionRef) -> u64 {
        self.last_sequence += 1;
        self.outstanding.entry(session).or_default().push_back((self.last_sequence, true));
        self.last_sequence
    }

    /// What a command under `session` may call acknowledged: everything below the first outstanding sequence.
    pub(super) fn acknowledged(&self, session: SessionRef) -> u64 {
        match self.outstanding.get(&session).and_then(VecDeque::front) {
            Some((first, _)) => first - 1,
            None => self.last_sequence,
        }
    }

    /// Nobody waits for this sequence any more, answered or not.
    pub(super) fn done(&mut self, session: SessionRef, sequence: u64) {
        let Some(outstanding) = self.outstanding.get_mut(&session) else { return };
        if let Ok(position) = outstanding.binary_search_by_key(&sequence, |(sequence, _)| *sequence) {
            outstanding[position].1 = false;
        }
        while outstanding.front().is_some_and(|(_, waiting)| !waiting) {
            outstanding.pop_front();
        }
        let retired = !matches!(self.standing.get(&session.group), Some(Standing::Open(open)) if *open == session);
        if outstanding.is_empty() && retired {
            self.outstanding.remove(&session);
        }
    }
}
