//! What happens because time has passed: pauses end, deadlines pass, silent connections are given up.

use super::answer::PING_ID;
use super::connection::{ConnectionId, Stage, Trouble};
use super::core::Core;
use super::pending::{Phase, Ticket, Work};
use crate::frame::Kind;
use crate::request::write_empty;
use std::cmp::Reverse;
use std::time::Duration;

/// What is to be done about a connection.
enum Verdict {
    Ping,
    GiveUp(&'static str),
}

impl Core {
    /// The time is `now`. Call it once a turn, after everything else was reported.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if self.sweep_at <= self.now {
            self.sweep();
        }
        self.look_at_connections();
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
    }

    /// When [`Core::tick`] has something to do next; `None`: not before something else happens.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let pause = self.pausing.peek().map_or(Duration::MAX, |Reverse((until, _))| *until);
        let mut next = pause.min(self.sweep_at);
        let half = self.options.silence_timeout / 2;
        for connection in self.connections.values() {
            next = next.min(match connection.stage {
                Stage::Connecting | Stage::Greeting => connection.ready_by,
                Stage::Ready if connection.unanswered == 0 => continue,
                Stage::Ready => match connection.pinged_at {
                    Some(pinged_at) => (connection.heard_at + self.options.silence_timeout).max(pinged_at + half),
                    None => connection.heard_at + half,
                },
            });
        }
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

    /// Silence counts against a node that was pinged and had its time to answer, not against one nobody listened to.
    fn look_at_connections(&mut self) {
        let (silence, now) = (self.options.silence_timeout, self.now);
        let half = silence / 2;
        let verdict = |id: &ConnectionId| {
            let connection = &self.connections[id];
            let silent = now.saturating_sub(connection.heard_at);
            match connection.stage {
                Stage::Connecting if now >= connection.ready_by => Some(Verdict::GiveUp("no connection in time")),
                Stage::Greeting if now >= connection.ready_by => Some(Verdict::GiveUp("no reply to the hello in time")),
                Stage::Ready if connection.unanswered > 0 => match connection.pinged_at {
                    None if silent >= half => Some(Verdict::Ping),
                    Some(pinged_at) if silent >= silence && now.saturating_sub(pinged_at) >= half => {
                        Some(Verdict::GiveUp("it is silent"))
                    }
                    _ => None,
                },
                _ => None,
            }
        };
        let due: Vec<(ConnectionId, Verdict)> =
            self.connections.keys().filter_map(|id| Some((*id, verdict(id)?))).collect();
        for (id, verdict) in due {
            match verdict {
                Verdict::GiveUp(why) => self.broken(id, Trouble::Broken(why.to_owned())),
                Verdict::Ping => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        write_empty(connection.out.buffer(), Kind::Ping, 0, PING_ID);
                        connection.unanswered += 1;
                        connection.pinged_at = Some(now);
                    }
                }
            }
        }
    }
}
