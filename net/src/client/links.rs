//! Connections opening, greeting and failing.

use super::answer::REDIRECTS_MAX;
use super::connection::{Connection, ConnectionId, Effect, Stage, Trouble};
use super::core::Core;
use super::error::ClientError;
use super::pending::{Ask, Phase, Ticket, Work};
use super::request::Answer;
use crate::hello::{HELLO_BYTES, Hello, HelloRefusal, HelloReply};
use std::time::Duration;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The other side ended it, or did not take it.
    OtherSide,
    /// What the other side said made this side end it.
    ThisSide,
    /// The other side said nothing.
    Silence,
}

impl Core {
    /// The TCP connection that an [`Effect::Connect`] asked for is open. The core now says hello.
    pub fn connected(&mut self, connection: ConnectionId, now: Duration) {
        self.now = self.now.max(now);
        let cluster = self.routing.as_ref().map_or(0, |routing| routing.map.cluster);
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.stage = Stage::Greeting;
            let hello = Hello::client(connection.core, cluster);
            connection.out.buffer().extend_from_slice(&hello.encode());
        }
        self.has_written(connection);
    }

    /// Opening a connection failed, or an open one broke; `why` is for people. Its requests are retried.
    pub fn lost(&mut self, connection: ConnectionId, why: &str, now: Duration) {
        self.now = self.now.max(now);
        self.over(connection, Trouble::Broken(why.to_owned()), End::OtherSide);
    }

    /// The connection cannot be used any further.
    pub(super) fn broken(&mut self, connection: ConnectionId, trouble: Trouble) {
        self.effect(Effect::Close { connection });
        self.over(connection, trouble, End::ThisSide);
    }

    /// Nothing has come on the connection for too long.
    pub(super) fn silent(&mut self, connection: ConnectionId, why: &str) {
        self.effect(Effect::Close { connection });
        self.over(connection, Trouble::Broken(why.to_owned()), End::Silence);
    }

    /// The connection is no more, as the other side ended it or as this one did. What waited for it or for answers from it
    /// goes elsewhere.
    fn over(&mut self, connection: ConnectionId, trouble: Trouble, end: End) {
        let Some(lost) = self.connections.remove(&connection) else { return };
        self.to_be_sent.retain(|id| *id != connection);
        let host = &mut self.hosts.list[lost.host];
        host.connections.retain(|_, id| *id != connection);
        host.trouble = trouble;
        if lost.stage != Stage::Ready {
            host.failures += 1;
            // One failure of many connections moves it once.
            host.address_turn += usize::from(host.address_turn == lost.address_turn);
            host.retry_at = self.now + self.retry.pause(host.failures);
        }
        // Of several connections to a core one may be refused, or end: the others say that the node is there. Silence is a node's.
        let says_nothing_of_others = match end {
            End::OtherSide => true,
            End::ThisSide => lost.stage != Stage::Ready,
            End::Silence => false,
        };
        let one_of_several = says_nothing_of_others && self.ready_connection(lost.host, lost.core).is_some();
        for ticket in lost.held_back.iter().chain(&lost.queued) {
            if self.pending.get(*ticket).is_some_and(|pending| pending.phase == Phase::Queued(connection)) {
                self.goes_elsewhere(*ticket, one_of_several);
            }
        }
        let in_flight = self.pending.iter().filter(|(_, pending)| pending.phase == Phase::InFlight(connection));
        let in_flight: Vec<Ticket> = in_flight.map(|(ticket, _)| ticket).collect();
        for ticket in in_flight {
            self.unanswered(ticket, &lost, end == End::OtherSide, one_of_several);
        }
    }

    /// A request waited for a connection that is no more, or for its answer from there. One to a group goes to the same core
    /// again, if that is there, a few times; else the host could not be reached.
    fn goes_elsewhere(&mut self, ticket: Ticket, one_of_several: bool) {
        let Some(pending) = self.pending.get(ticket) else { return };
        let is_of_group = !matches!(pending.work, Work::Direct { .. } | Work::FetchMap { .. });
        if !one_of_several || !is_of_group || pending.redirects >= REDIRECTS_MAX {
            return self.unreachable(ticket);
        }
        let host = &self.hosts.list[pending.host];
        let why = format!("{}: {}", host.address, host.trouble.why());
        self.at_once(ticket, why);
    }

    /// A request was written to a connection that is no more. A frame of which not every byte was sent cannot have been
    /// read; one that was sent may have been.
    fn unanswered(&mut self, ticket: Ticket, lost: &Connection, by_other_side: bool, one_of_several: bool) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let sent = lost.out.sent_position() >= pending.frame_end;
        pending.maybe_applied |= sent && pending.is_write();
        if sent && matches!(pending.work, Work::Direct { ask: Ask::Stop { .. }, .. }) {
            // What was to stop may be gone before its answer: that is what was asked for. If it only said nothing, who knows.
            let host = &self.hosts.list[lost.host];
            let unknown = |why| ClientError::OutcomeUnknown { why: format!("no answer from {}: {why}", host.address) };
            let result = if by_other_side { Ok(Answer::Done) } else { Err(unknown(host.trouble.why())) };
            return self.finish(ticket, result);
        }
        self.goes_elsewhere(ticket, one_of_several);
    }

    /// Reads the reply to the hello, if it is there. `true`: frames may follow.
    pub(super) fn greeted(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let host = connection.host;
        let Some(bytes) = connection.recv.next_bytes(HELLO_BYTES).and_then(|bytes| bytes.try_into().ok()) else {
            return false;
        };
        let reply = match HelloReply::decode(bytes) {
            Ok(reply) => reply,
            Err(error) => {
                self.broken(id, error.into());
                return false;
            }
        };
        if reply.shards > 0 {
            self.hosts.list[host].shards = Some(reply.shards);
        }
        if let Err(refusal) = reply.status {
            self.broken(id, refusal.into());
            if refusal == HelloRefusal::NoSuchCore {
                // Now that the number of shards is known, the next attempt goes to a core that is there.
                self.hosts.list[host].retry_at = self.now;
            }
            return false;
        }
        let cluster = self.routing.as_ref().map_or(0, |routing| routing.map.cluster);
        if is_another(reply.cluster, cluster) {
            self.broken(id, HelloRefusal::WrongCluster.into());
            return false;
        }
        connection.stage = Stage::Ready;
        connection.cluster = reply.cluster;
        self.hosts.list[host].failures = 0;
        true
    }

    /// The cluster is known now: connections from before may be to another one's nodes.
    pub(super) fn leave_other_clusters(&mut self, cluster: u128) {
        let others = self.connections.iter().filter(|(_, connection)| is_another(connection.cluster, cluster));
        let others: Vec<ConnectionId> = others.map(|(id, _)| *id).collect();
        for id in others {
            self.broken(id, HelloRefusal::WrongCluster.into());
        }
    }
}

/// Whether a node of cluster `its` cannot be one of cluster `ours`; 0 is any, or none yet.
fn is_another(its: u128, ours: u128) -> bool {
    its != 0 && ours != 0 && its != ours
}
