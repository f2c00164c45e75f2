//! What happens because time has passed: pauses end, deadlines pass, silent connections are given up.

use super::answer::PING_ID;
use super::connection::{ConnectionId, Stage};
use super::core::Core;
use super::pending::{Phase, Ticket, Work};
use crate::frame::Kind;
use crate::request::write_empty;
use std::cmp::Reverse;
use std::time::Duration;

impl Core {
    /// The time is `now`. Call it once a turn, after everything else was reported.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if self.sweep_at <= self.now {
            self.sweep();
        }
        // A little early: connections that are busy put off the moment, and nobody is woken for them.
        if self.look_at <= self.now + self.options.silence_timeout / 8 {
            self.look_at_connections();
        }
        while let Some(Reverse((until, ticket))) = self.pausing.peek().copied() {
            if until > self.now {
                break;
            }
            self.pausing.pop();
            if self.pending.get(ticket).is_some_and(|pending| pending.phase == Phase::Pausing) && self.is_wanted(ticket)
            {
                self.dispatch(ticket);
            }
        }
        self.dispatch_held();
    }

    /// When [`Core::tick`] has something to do next; `None`: not before something else happens.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let pause = self.pausing.peek().map_or(Duration::MAX, |Reverse((until, _))| *until);
        let next = pause.min(self.sweep_at).min(self.look_at);
        if next == Duration::MAX { None } else { Some(next) }
    }

    /// Ends every request whose deadline has passed and finds the next deadline.
    fn sweep(&mut self) {
        let (mut next, mut expired) = (Duration::MAX, Vec::new());
        for (ticket, pending) in self.pending.iter() {
            if pending.deadline <= self.now {
                expired.push(ticket);
            } else {
                next = next.min(pending.deadline);
            }
        }
        // Serials grow: what was submitted first is reported first.
        expired.sort_by_key(|ticket| ticket.wire());
        for ticket in &expired {
            self.expired(*ticket);
        }
        self.sweep_at = next;
        if !expired.is_empty() {
            self.forget_expired();
        }
    }

    /// The lists that requests are parked in hold no dead ones for long.
    fn forget_expired(&mut self) {
        let pending = &self.pending;
        self.awaiting_map.retain(|ticket| pending.get(*ticket).is_some());
        for connection in self.connections.values_mut() {
            connection.queued.retain(|ticket| pending.get(*ticket).is_some());
            connection.held_back.retain(|ticket| pending.get(*ticket).is_some());
        }
        self.sessions.retain_waiting(|ticket| pending.get(ticket).is_some());
        self.pausing.retain(|Reverse((_, ticket))| pending.get(*ticket).is_some());
    }

    /// Whether anybody still wants what the client asks for its own sake; else it is dropped here.
    fn is_wanted(&mut self, ticket: Ticket) -> bool {
        let wanted = match self.pending.get(ticket).map(|pending| &pending.work) {
            Some(Work::FetchMap { .. }) => !self.awaiting_map.is_empty() || self.routing.is_some(),
            Some(Work::Open { group }) => self.sessions.is_waited_for(*group),
            _ => true,
        };
        if !wanted {
            let why = "nobody waits for it any more".to_owned();
            self.finish(ticket, Err(super::ClientError::Unavailable { why }));
        }
        wanted
    }

    /// Pings silent connections and gives up those that are late, and finds the next moment to do so.
    fn look_at_connections(&mut self) {
        let silence = self.options.silence_timeout;
        let mut late = Vec::new();
        self.look_at = Duration::MAX;
        for (id, connection) in &self.connections {
            match connection.late_at(silence) {
                at if at <= self.now => late.push((*id, connection.stage, connection.pinged_at)),
                at => self.look_at = self.look_at.min(at),
            }
        }
        for (id, stage, pinged_at) in late {
            let why = match (stage, pinged_at) {
                (Stage::Connecting, _) => "no connection in time",
                (Stage::Greeting, _) => "no reply to the hello in time",
                (Stage::Ready, Some(_)) => "it is silent",
                (Stage::Ready, None) => {
                    self.ping(id);
                    continue;
                }
            };
            self.silent(id, why);
        }
    }

    fn ping(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        write_empty(connection.out.buffer(), Kind::Ping, 0, PING_ID);
        connection.unanswered += 1;
        connection.pinged_at = Some(self.now);
        self.look_at = self.look_at.min(connection.late_at(self.options.silence_timeout));
        self.has_written(id);
    }
}
