//! What an answer means for the request it answers.

use super::connection::{ConnectionId, Stage, Trouble};
use super::core::Core;
use super::error::ClientError;
use super::pending::{Ask, Phase, Ticket, Work};
use super::request::{Answer, CasResult, Checksum};
use super::routing::Routing;
use crate::frame::Kind;
use crate::receive::{Frame, RecvBuffer};
use crate::response::{Refusal, Response};
use crate::status::not_formed;
use engine_core::command::{Operation, Outcome};
use engine_core::placement::map::{ClusterMap, MapError};
use std::time::Duration;

/// The id of pings, which belong to no request.
pub(super) const PING_ID: u64 = u64::MAX;

/// Redirects a request follows at once; the next one waits for its pause, as the nodes seem to disagree.
pub(super) const REDIRECTS_MAX: u32 = 4;

impl Core {
    /// `count` bytes have been received on `connection` into [`Core::spare`].
    pub fn received(&mut self, connection: ConnectionId, count: usize, now: Duration) {
        self.now = self.now.max(now);
        let Some(held) = self.connections.get_mut(&connection) else { return };
        held.heard_at = self.now;
        held.pinged_at = None;
        held.recv.filled(count);
        if held.stage != Stage::Ready && !self.greeted(connection) {
            return;
        }
        // Taken out while its frames are read: they borrow it, and answering borrows everything else.
        let Some(held) = self.connections.get_mut(&connection) else { return };
        let mut recv = std::mem::replace(&mut held.recv, RecvBuffer::new(0, 0));
        loop {
            match recv.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(why) = self.frame(connection, &frame) {
                        return self.broken(connection, Trouble::Mismatch(why));
                    }
                }
                Ok(None) => break,
                Err(error) => return self.broken(connection, error.into()),
            }
        }
        if let Some(held) = self.connections.get_mut(&connection) {
            held.recv = recv;
        }
        self.write_queued(connection);
    }

    fn frame(&mut self, id: ConnectionId, frame: &Frame<'_>) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if frame.header.kind() != Some(Kind::Response) {
            return Err(format!("a frame of kind {} where an answer was due", frame.header.kind));
        }
        connection.unanswered = connection.unanswered.saturating_sub(1);
        let response = Response::decode(frame.body).map_err(|error| error.to_string())?;
        let ticket = Ticket::from_wire(frame.header.id);
        match self.pending.get(ticket) {
            Some(pending) if pending.phase == Phase::InFlight(id) => {
                connection.discharge(pending.charge);
                self.retry.answered();
                self.answered(ticket, response);
            }
            // A ping's answer, or one that came after the deadline.
            _ => connection.discharge_forsaken(frame.header.id),
        }
        Ok(())
    }

    fn answered(&mut self, ticket: Ticket, response: Response) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let answer = match (&mut pending.work, response) {
            (_, Response::Refused(refusal)) => return self.refused(ticket, refusal),
            (Work::Get { .. }, Response::Value(value)) => Answer::Value(value),
            (Work::Write(_) | Work::Open { .. }, Response::Outcome(outcome)) => return self.outcome(ticket, outcome),
            (Work::ScanPart(part), Response::Page { entries, more }) => {
                let (scan, part) = (part.scan, part.part);
                return self.page(ticket, scan, part, entries, more);
            }
            (Work::FetchMap { .. }, Response::Map(bytes)) => return self.map_fetched(ticket, &bytes),
            (Work::Direct { ask: Ask::Status, .. }, Response::Status(status)) => Answer::Status(status),
            (Work::Direct { ask: Ask::Checksum(_), .. }, Response::Checksum { applied, entries, hash }) => {
                Answer::Checksum(Checksum { applied, entries, hash })
            }
            (Work::Direct { ask: Ask::Stop { .. }, .. }, Response::Done) => Answer::Done,
            (Work::FetchMap { mismatches }, response) => {
                *mismatches += 1;
                let why = format!("{} answered with a {}", self.hosts.list[pending.host].address, name(&response));
                return self.ask_another_for_the_map(ticket, why, Duration::ZERO);
            }
            (_, response) => {
                // It was answered, but with what? A write may have happened.
                pending.maybe_applied = true;
                let why = format!("the node answered with a {}", name(&response));
                return self.finish(ticket, Err(ClientError::Protocol { why }));
            }
        };
        self.finish(ticket, Ok(answer));
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let operation = match &mut pending.work {
            Work::Write(command) => &command.operation,
            Work::Open { group } => {
                let group = *group;
                return match outcome {
                    Outcome::Opened { session } => {
                        self.finish(ticket, Ok(Answer::Done));
                        for waiting in self.sessions.opened(group, session) {
                            self.dispatch(waiting);
                        }
                    }
                    outcome => {
                        let why = format!("opening a session was answered {outcome:?}");
                        self.finish(ticket, Err(ClientError::Protocol { why }));
                    }
                };
            }
            _ => return,
        };
        let result = match (outcome, operation) {
            (
                Outcome::Done,
                Operation::Put { return_old: false, .. }
                | Operation::Delete { return_old: false, .. }
                | Operation::Batch { .. },
            ) => Ok(Answer::Done),
            (
                Outcome::Old(value),
                Operation::Put { return_old: true, .. } | Operation::Delete { return_old: true, .. },
            ) => Ok(Answer::Old(value)),
            (Outcome::Swapped, Operation::CompareAndSwap { .. }) => Ok(Answer::Cas(CasResult::Swapped)),
            (Outcome::Mismatch { current }, Operation::CompareAndSwap { .. }) => {
                Ok(Answer::Cas(CasResult::Mismatch { current }))
            }
            // A swap's result is always kept, so one whose result is gone was a mismatch.
            (Outcome::AlreadyApplied, Operation::CompareAndSwap { .. }) => Ok(Answer::Cas(CasResult::MismatchGone)),
            (
                Outcome::AlreadyApplied,
                Operation::Put { return_old: true, .. } | Operation::Delete { return_old: true, .. },
            ) => Ok(Answer::OldGone),
            (Outcome::AlreadyApplied, _) => Ok(Answer::Done),
            (Outcome::SessionEvicted, _) => return self.evicted(ticket),
            (Outcome::Refused(because), _) => Err(ClientError::BadInput { why: because.to_string() }),
            // It was answered, but like another write.
            (
                Outcome::Done | Outcome::Old(_) | Outcome::Swapped | Outcome::Mismatch { .. } | Outcome::Opened { .. },
                _,
            ) => Err(ClientError::OutcomeUnknown { why: "a write was answered like another".to_owned() }),
        };
        self.finish(ticket, result);
    }

    /// The session is gone. If no earlier attempt can have happened, this write surely has not: it starts over under a
    /// new session and sequence. Else nobody knows any more, and the caller must hear that.
    fn evicted(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let maybe_applied = pending.maybe_applied;
        let Work::Write(command) = &mut pending.work else { return };
        let (session, sequence) = (command.session, command.sequence);
        self.sessions.evicted(session);
        if maybe_applied {
            return self.finish(ticket, Err(ClientError::SessionEvicted));
        }
        command.sequence = 0;
        self.release(session, sequence);
        self.pause(ticket, "the session was evicted".to_owned(), Duration::ZERO);
    }

    fn page(&mut self, ticket: Ticket, scan_ticket: Ticket, part: usize, entries: Vec<(Vec<u8>, Vec<u8>)>, more: bool) {
        self.finish(ticket, Ok(Answer::Done));
        let Some(pending) = self.pending.get_mut(scan_ticket) else { return };
        let Work::Scan(scan) = &mut pending.work else { return };
        match scan.arrived(part, entries, more) {
            Ok(()) => self.advance_scan(scan_ticket),
            Err(why) => self.finish(scan_ticket, Err(ClientError::Protocol { why })),
        }
    }

    fn map_fetched(&mut self, ticket: Ticket, bytes: &[u8]) {
        let map = match ClusterMap::decode(bytes) {
            Ok(map) => map,
            Err(error) => {
                let Some(pending) = self.pending.get_mut(ticket) else { return };
                if let (Work::FetchMap { mismatches }, MapError::Version { .. }) = (&mut pending.work, &error) {
                    *mismatches += 1;
                }
                let why = format!("{}: {error}", self.hosts.list[pending.host].address);
                return self.ask_another_for_the_map(ticket, why, Duration::ZERO);
            }
        };
        let cluster = self.routing.as_ref().map_or(map.cluster, |routing| routing.map.cluster);
        if map.cluster != cluster {
            let why = format!("cluster {:032x} answers where {cluster:032x} was", map.cluster);
            return self.ask_another_for_the_map(ticket, why, Duration::ZERO);
        }
        self.not_formed = None;
        if self.routing.as_ref().is_none_or(|routing| routing.map.epoch < map.epoch) {
            self.node_hosts = map.nodes.iter().map(|node| self.hosts.number(&node.address)).collect();
            self.routing = Some(Routing::new(map, self.routing.take()));
        }
        self.finish(ticket, Ok(Answer::Done));
        self.leave_other_clusters(cluster);
        let Some(routing) = &self.routing else { return };
        let map = routing.map.clone();
        for waiting in std::mem::take(&mut self.awaiting_map) {
            match self.pending.get(waiting).map(|pending| &pending.work) {
                Some(Work::Map) => self.finish(waiting, Ok(Answer::Map(map.clone()))),
                Some(_) => self.dispatch(waiting),
                None => {}
            }
        }
    }

    /// Whoever was asked for the map gave none: the next one's turn it is, after a pause, `at_least` so long if there is
    /// nobody else.
    fn ask_another_for_the_map(&mut self, ticket: Ticket, why: String, at_least: Duration) {
        self.map_turn += 1;
        let alone = self.map_candidates() == 1;
        self.pause(ticket, why, if alone { at_least } else { Duration::ZERO });
    }

    /// A node refused to give the map. It is not the only one that has it.
    fn map_refused(&mut self, ticket: Ticket, refusal: Refusal) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let address = &self.hosts.list[pending.host].address;
        let (why, at_least) = match refusal {
            Refusal::NotFormed { waiting_for } => {
                let why = not_formed(&waiting_for);
                self.not_formed = Some(waiting_for);
                (why, Duration::ZERO)
            }
            Refusal::Busy { retry_after_ms } => (format!("{address} is busy"), busy_pause(retry_after_ms)),
            refusal => {
                if let (Work::FetchMap { mismatches }, Refusal::Unsupported) = (&mut pending.work, &refusal) {
                    *mismatches += 1;
                }
                (format!("{address} does not give the map: {refusal:?}"), Duration::ZERO)
            }
        };
        self.ask_another_for_the_map(ticket, why, at_least);
    }

    fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        if matches!(pending.work, Work::FetchMap { .. }) {
            return self.map_refused(ticket, refusal);
        }
        let (group, node, redirects) = (pending.group, pending.node, pending.redirects);
        match refusal {
            Refusal::NotLeader { leader } => {
                let (Some(group), Some(node), Some(routing)) = (group, node, &mut self.routing) else {
                    return self.pause(ticket, "the node does not lead the group".to_owned(), Duration::ZERO);
                };
                let other = routing.not_leader(group, node, leader);
                let why = format!("group {group} has no leader that answers");
                // A named leader is asked at once; while nobody is known to lead, an election needs its time.
                if other && leader.is_some() && redirects < REDIRECTS_MAX {
                    self.at_once(ticket, why);
                } else {
                    self.pause(ticket, why, Duration::ZERO);
                }
            }
            Refusal::WrongCore { core } => {
                if let (Some(group), Some(node), Some(routing)) = (group, node, &mut self.routing) {
                    routing.learn_core(node, group, core);
                }
                let why = "the group moves between cores".to_owned();
                if redirects < REDIRECTS_MAX {
                    self.at_once(ticket, why)
                } else {
                    self.pause(ticket, why, Duration::ZERO)
                }
            }
            Refusal::NotOwner { epoch } => {
                let known = self.routing.as_ref().map_or(0, |routing| routing.map.epoch);
                if let (true, Some(group), Some(node), Some(routing)) = (epoch <= known, group, node, &mut self.routing)
                {
                    routing.not_leader(group, node, None);
                }
                self.pause(ticket, "the group is not where the map says".to_owned(), Duration::ZERO);
                self.want_map();
            }
            Refusal::Busy { retry_after_ms } => {
                self.pause(ticket, "the node is busy".to_owned(), busy_pause(retry_after_ms));
            }
            Refusal::DiskFull => self.pause(ticket, "the node's disk is full".to_owned(), Duration::ZERO),
            Refusal::NotApplied => self.pause(ticket, "the leader changed".to_owned(), Duration::ZERO),
            Refusal::OutcomeUnknown => {
                pending.maybe_applied = true;
                self.pause(ticket, "the leader changed while the write was in its log".to_owned(), Duration::ZERO);
            }
            Refusal::NotFormed { waiting_for } => {
                let why = not_formed(&waiting_for);
                if matches!(pending.work, Work::Direct { .. }) {
                    return self.finish(ticket, Err(ClientError::NotFormed { waiting_for }));
                }
                // A node that is starting, or waits to be let in, may stand where the map has a replica; others serve.
                if let (Some(group), Some(node), Some(routing)) = (group, node, &mut self.routing) {
                    routing.not_leader(group, node, None);
                }
                self.pause(ticket, why, Duration::ZERO);
            }
            Refusal::TooLarge { limit } => self.finish(ticket, Err(ClientError::TooLarge { limit })),
            Refusal::BadRequest { why } => self.finish(ticket, Err(ClientError::BadInput { why })),
            Refusal::Unsupported => self.finish(ticket, Err(ClientError::Unsupported)),
            Refusal::Forbidden => self.finish(ticket, Err(ClientError::Forbidden)),
        }
    }
}

/// How long a busy node is left alone.
fn busy_pause(retry_after_ms: u32) -> Duration {
    Duration::from_millis(u64::from(retry_after_ms)).min(Duration::from_secs(1))
}

fn name(response: &Response) -> &'static str {
    match response {
        Response::Value(_) => "value",
        Response::Outcome(_) => "write's outcome",
        Response::Page { .. } => "page",
        Response::Status(_) => "status",
        Response::Map(_) => "map",
        Response::Checksum { .. } => "checksum",
        Response::Done => "mere done",
        Response::Refused(_) => "refusal",
    }
}
