//! What is said of a request whose deadline has passed: whether it may have happened, and what stood in its way.

use super::connection::Stage;
use super::core::Core;
use super::error::ClientError;
use super::pending::{Ask, Pending, Phase, Ticket, Work};

impl Core {
    /// Ends a request whose deadline has passed, and says what is known of it.
    pub(super) fn expired(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get(ticket) else { return };
        if matches!(&pending.work, Work::Scan(scan) if scan.has_begun()) {
            // Its parts have the same deadline and know what stood in the way: the first one ends it, with its reason.
            return;
        }
        let why = self.obstacle(pending);
        let is_direct = matches!(pending.work, Work::Direct { .. }) && pending.phase != Phase::Parked;
        let address = &self.hosts.list[pending.host].address;
        let in_flight = matches!(pending.phase, Phase::InFlight(_));
        let is_stop = matches!(pending.work, Work::Direct { ask: Ask::Stop { .. }, .. });
        let error = if is_stop && in_flight {
            ClientError::OutcomeUnknown { why }
        } else if is_direct && pending.why.is_empty() {
            ClientError::Unreachable { address: address.clone(), why }
        } else if is_direct {
            // It could be reached: it refused.
            ClientError::Unavailable { why: format!("{address} answers: {}", pending.why) }
        } else if let Some(error) = self.no_map() {
            error
        } else if pending.is_write() && (in_flight || pending.maybe_applied) {
            // What is in a buffer may still leave.
            ClientError::OutcomeUnknown { why }
        } else if pending.is_write() {
            ClientError::NotApplied { why }
        } else {
            ClientError::Unavailable { why }
        };
        if let Phase::InFlight(id) = pending.phase
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.forsake(ticket.wire(), pending.charge);
        }
        self.finish(ticket, Err(error));
    }

    /// Why there is no map, if nobody who was asked speaks this version of the protocol, or there is no cluster yet.
    fn no_map(&self) -> Option<ClientError> {
        if self.routing.is_some() {
            return None;
        }
        if let Some(fetch) = self.map_fetch.and_then(|fetch| self.pending.get(fetch))
            && let Work::FetchMap { mismatches } = fetch.work
            && mismatches > 0
            && mismatches == fetch.attempts
        {
            return Some(ClientError::Protocol { why: fetch.why.clone() });
        }
        let waiting_for = self.not_formed.clone()?;
        Some(ClientError::NotFormed { waiting_for })
    }

    /// What stands in the way of a request, or of what it waits for.
    fn obstacle(&self, pending: &Pending) -> String {
        if let Some(awaited) = self.awaited(pending) {
            return self.obstacle(awaited);
        }
        let address = &self.hosts.list[pending.host].address;
        let is_ready = |id| self.connections.get(id).is_some_and(|connection| connection.stage == Stage::Ready);
        match &pending.phase {
            Phase::InFlight(_) => format!("no answer from {address} in time"),
            _ if !pending.why.is_empty() => pending.why.clone(),
            Phase::Queued(id) if is_ready(id) => format!("no room on the connection to {address} in time"),
            _ => format!("no connection to {address} in time"),
        }
    }

    /// What a parked request waits for: the Open of its group's session, or the map.
    fn awaited(&self, pending: &Pending) -> Option<&Pending> {
        if pending.phase != Phase::Parked {
            return None;
        }
        let ticket = match pending.group {
            Some(group) => self.sessions.open_of(group),
            None => self.map_fetch,
        };
        self.pending.get(ticket?)
    }
}
