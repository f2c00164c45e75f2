//! Where a request goes next, and writing it there.

use super::connection::{Connection, ConnectionId, Effect, Stage, Trouble};
use super::core::Core;
use super::error::ClientError;
use super::pending::{Ask, Pending, Phase, ScanPart, Ticket, Work};
use super::request::{self, Target};
use super::sessions::{Standing, WRITES_MAX};
use crate::frame::{self, Kind};
use crate::request::{ReadRequest, ScanRequest, StopRequest, write_empty, write_read, write_scan, write_stop};
use engine_core::command::{self, Command, Operation, SessionRef};
use engine_core::placement::cores::core_of;
use raft::ids::{GroupId, Index};
use std::time::Duration;

impl Core {
    /// Sends a request on its way: onto a connection, or into the list of what it must wait for.
    pub(super) fn dispatch(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get(ticket) else { return };
        match &pending.work {
            Work::Get { .. } | Work::Write(_) | Work::Open { .. } | Work::ScanPart(_) => self.ask_group(ticket),
            Work::Scan(_) => self.advance_scan(ticket),
            Work::Map => self.await_map(ticket),
            Work::FetchMap { .. } => self.fetch_map(ticket),
            Work::Direct { .. } => self.ask_node(ticket),
        }
    }

    /// Fetches the map, unless that is under way. Whoever is in `awaiting_map` goes on when it has come.
    pub(super) fn want_map(&mut self) {
        if self.map_fetch.is_none() {
            let ticket = self.start(Pending::new(None, Work::FetchMap { mismatches: 0 }, Duration::MAX, 0));
            self.map_fetch = Some(ticket);
            self.dispatch(ticket);
        }
    }

    fn await_map(&mut self, ticket: Ticket) {
        if let Some(pending) = self.pending.get_mut(ticket) {
            pending.phase = Phase::Parked;
            self.awaiting_map.push(ticket);
            self.want_map();
        }
    }

    /// Asks the next endpoint, or node of the map in use, in turn.
    fn fetch_map(&mut self, ticket: Ticket) {
        let turn = self.map_turn % self.map_candidates();
        let host = if turn < self.endpoints { turn } else { self.node_hosts[turn - self.endpoints] };
        self.send_to(ticket, host, (0, 0));
    }

    /// How many can be asked for the map; a node that is an endpoint, too, counts twice.
    pub(super) fn map_candidates(&self) -> usize {
        self.endpoints + self.node_hosts.len()
    }

    fn ask_group(&mut self, ticket: Ticket) {
        let Some(routing) = &self.routing else { return self.await_map(ticket) };
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let mut stale = false;
        let group = match &pending.work {
            Work::Get { key, stale: old } => {
                stale = *old;
                routing.group_of(key)
            }
            Work::ScanPart(part) => {
                stale = part.stale;
                part.group
            }
            Work::Open { group } => *group,
            Work::Write(command) => {
                let Some(group) = request::keys(&command.operation).next().map(|key| routing.group_of(key)) else {
                    return;
                };
                if !request::keys(&command.operation).all(|key| routing.group_of(key) == group) {
                    let keys = request::keys(&command.operation);
                    let keys = keys.map(|key| (key.to_vec(), routing.group_of(key))).collect();
                    return self.finish(ticket, Err(ClientError::CrossGroupBatch { keys }));
                }
                group
            }
            _ => return,
        };
        pending.group = Some(group);
        if matches!(&pending.work, Work::Write(command) if command.sequence == 0) && !self.enter_session(ticket, group)
        {
            return;
        }
        let (Some(routing), Some(pending)) = (&self.routing, self.pending.get_mut(ticket)) else { return };
        // A read that any replica may answer goes round them all; what only the leader may answer goes to it.
        let node = if stale {
            routing.replica(group, self.retry.below(64) + pending.attempts as usize)
        } else {
            routing.leader(group)
        };
        let Some(node) = node else {
            let why = format!("the cluster has no group {group} any more");
            return self.finish(ticket, Err(ClientError::Unavailable { why }));
        };
        pending.node = Some(node);
        let host = self.node_hosts[usize::from(node)];
        let core = routing.core(node, group, self.hosts.list[host].shards);
        let lane = routing.lane(node, group, ticket.turn(), self.options.connections);
        self.send_to(ticket, host, (core, lane));
    }

    /// Gives a write its session and sequence. If the session is not open yet, the write waits for it: `false`.
    fn enter_session(&mut self, ticket: Ticket, group: GroupId) -> bool {
        let Some(pending) = self.pending.get_mut(ticket) else { return false };
        let Standing::Open(open) = *self.sessions.standing(group) else {
            pending.phase = Phase::Parked;
            if !self.sessions.wait(group, ticket) {
                let open = self.start(Pending::new(None, Work::Open { group }, Duration::MAX, 0));
                self.sessions.opening(group, open, ticket);
                self.dispatch(open);
            }
            return false;
        };
        if self.sessions.is_full(group) {
            pending.phase = Phase::Parked;
            pending.why = format!("{WRITES_MAX} writes to group {group} are on their way");
            self.sessions.hold(group, ticket);
            return false;
        }
        if let Work::Write(command) = &mut pending.work {
            command.session = open;
            command.sequence = self.sessions.sequence(open);
        }
        true
    }

    /// A write under `session` is on its way no more: those that waited for it go with the next tick.
    pub(super) fn release(&mut self, session: SessionRef, sequence: u64) {
        self.sessions.done(session, sequence);
        if self.sessions.holds(session.group) {
            self.to_release.push(session.group);
        }
    }

    /// Sends the writes that were held back on their way, as far as their groups take more.
    pub(super) fn dispatch_held(&mut self) {
        while let Some(group) = self.to_release.pop() {
            while let Some(held) = self.sessions.next_held(group) {
                if let Some(pending) = self.pending.get_mut(held) {
                    pending.why.clear();
                }
                self.dispatch(held);
            }
        }
    }

    fn ask_node(&mut self, ticket: Ticket) {
        let Some(Pending { work: Work::Direct { target, ask }, .. }) = self.pending.get(ticket) else { return };
        let (host, shards) = match target {
            Target::Address(address) => (self.hosts.number(address), 1),
            Target::Node(number) => {
                let Some(routing) = &self.routing else { return self.await_map(ticket) };
                let Some(node) = routing.map.node(*number) else {
                    let why = format!("there is no node number {number}");
                    return self.finish(ticket, Err(ClientError::BadInput { why }));
                };
                (self.node_hosts[usize::from(*number)], node.shards)
            }
        };
        let group = if let Ask::Checksum(group) = ask { Some(*group) } else { None };
        let shards = self.hosts.list[host].shards.unwrap_or(shards);
        let known = match (target, group, &self.routing) {
            (Target::Node(node), Some(group), Some(routing)) => Some(routing.core(*node, group, Some(shards))),
            _ => group.map(|group| core_of(group, shards)),
        };
        let node = if let Target::Node(node) = target { Some(*node) } else { None };
        if let Some(pending) = self.pending.get_mut(ticket) {
            pending.group = group;
            pending.node = node;
        }
        self.send_to(ticket, host, (known.unwrap_or(0), 0));
    }

    /// `place` is the core of the host, and which of the connections to it.
    fn send_to(&mut self, ticket: Ticket, host: usize, place: (u16, u16)) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        pending.host = host;
        let id = match self.hosts.list[host].connections.get(&place) {
            Some(id) => *id,
            // While no new one is tried, one that is there will do, or that comes: the node may allow no more.
            None if self.now < self.hosts.list[host].retry_at => {
                let ready = self.ready_connection(host, place.0);
                match ready.or_else(|| self.hosts.list[host].to_core(place.0).next()) {
                    Some(id) => id,
                    None => return self.unreachable(ticket),
                }
            }
            None => self.connect(host, place),
        };
        let (Some(connection), Some(pending)) = (self.connections.get_mut(&id), self.pending.get_mut(ticket)) else {
            return;
        };
        if connection.queued.is_empty() && connection.has_room() && !pending.is_scan() {
            self.write(ticket, id);
        } else {
            pending.phase = Phase::Queued(id);
            connection.queued.push_back(ticket);
            self.write_queued(id);
        }
    }

    /// A connection to a core of a host that can be used, if there is one.
    pub(super) fn ready_connection(&self, host: usize, core: u16) -> Option<ConnectionId> {
        let is_ready = |id: &ConnectionId| self.connections.get(id).is_some_and(|it| it.stage == Stage::Ready);
        self.hosts.list[host].to_core(core).find(is_ready)
    }

    /// Writes the requests that wait for a connection, as far as it has room.
    pub(super) fn write_queued(&mut self, id: ConnectionId) {
        while let Some(connection) = self.connections.get_mut(&id)
            && connection.has_room()
            && let Some(ticket) = connection.next_queued()
        {
            match self.pending.get(ticket) {
                Some(pending) if pending.phase != Phase::Queued(id) => {}
                Some(pending) if pending.is_scan() && !connection.has_room_for_scan() => {
                    connection.held_back.push_back(ticket);
                }
                Some(_) => self.write(ticket, id),
                None => {}
            }
        }
    }

    fn connect(&mut self, host: usize, place: (u16, u16)) -> ConnectionId {
        let connection = self.next_connection_id();
        let ready_by = self.now + self.options.connect_timeout;
        let of = &mut self.hosts.list[host];
        of.connections.insert(place, connection);
        let (address, address_turn) = (of.address.clone(), of.address_turn);
        let core = place.0;
        self.connections.insert(connection, Connection::new(host, core, ready_by, address_turn));
        self.look_at = self.look_at.min(ready_by);
        self.effect(Effect::Connect { connection, address, core, address_turn });
        connection
    }

    /// The host could not be reached, or not for this request. One that only it can answer fails; others go elsewhere after a pause.
    pub(super) fn unreachable(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let (first, attempts) = (pending.attempts == 0, pending.attempts as usize);
        let host = &self.hosts.list[pending.host];
        let address = host.address.clone();
        let mismatch = matches!(host.trouble, Trouble::Mismatch(_));
        let bare = host.trouble.why().to_owned();
        let why = format!("{address}: {bare}");
        match (&mut pending.work, pending.group, pending.node) {
            (Work::Direct { .. }, _, _) if mismatch => self.finish(ticket, Err(ClientError::Protocol { why })),
            (Work::Direct { .. }, _, _) => self.finish(ticket, Err(ClientError::Unreachable { address, why: bare })),
            (Work::FetchMap { mismatches }, _, _) => {
                *mismatches += u32::from(mismatch);
                self.map_turn += 1;
                if attempts < self.endpoints {
                    self.next_turn(ticket, why)
                } else {
                    self.pause(ticket, why, Duration::ZERO)
                }
            }
            (_, Some(group), Some(node)) => {
                let other = self.routing.as_mut().is_some_and(|routing| routing.not_leader(group, node, None));
                if first && other { self.next_turn(ticket, why) } else { self.pause(ticket, why, Duration::ZERO) }
            }
            _ => self.pause(ticket, why, Duration::ZERO),
        }
    }

    fn next_turn(&mut self, ticket: Ticket, why: String) {
        if let Some(pending) = self.pending.get_mut(ticket) {
            pending.attempts += 1;
        }
        self.at_once(ticket, why);
    }

    /// Encodes a request into a ready connection's buffer.
    fn write(&mut self, ticket: Ticket, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let begin = connection.out.end_position();
        let (out, wire) = (connection.out.buffer(), ticket.wire());
        let target = pending.group.map_or(0, |group| group.0);
        match &mut pending.work {
            Work::Get { key, stale } => write_read(out, target, wire, &ReadRequest { key, stale: *stale }),
            Work::Write(command) => {
                command.acknowledged = self.sessions.acknowledged(command.session);
                write_command(out, target, wire, command);
            }
            Work::Open { group } => {
                let session = SessionRef { group: *group, opened: Index(0) };
                let client = self.client;
                let open = Command { client, sequence: 0, acknowledged: 0, session, operation: Operation::Open };
                write_command(out, target, wire, &open);
            }
            Work::ScanPart(ScanPart { start, end, limit, stale, .. }) => {
                let scan = ScanRequest { start, end: end.as_deref(), limit: *limit, stale: *stale };
                write_scan(out, target, wire, &scan);
            }
            Work::FetchMap { .. } => write_empty(out, Kind::Routing, 0, wire),
            Work::Direct { ask: Ask::Status, .. } => write_empty(out, Kind::Status, 0, wire),
            Work::Direct { ask: Ask::Checksum(group), .. } => write_empty(out, Kind::Checksum, group.0, wire),
            Work::Direct { ask: Ask::Stop { clean }, .. } => write_stop(out, wire, StopRequest { clean: *clean }),
            Work::Scan(_) | Work::Map => return,
        }
        pending.phase = Phase::InFlight(id);
        pending.frame_end = connection.out.end_position();
        pending.charge = connection.charge((pending.frame_end - begin) as usize, pending.is_scan());
        if connection.unanswered == 0 {
            connection.heard_at = self.now;
            connection.pinged_at = None;
            self.look_at = self.look_at.min(self.now + self.options.silence_timeout / 2);
        }
        connection.unanswered += 1;
        self.has_written(id);
    }

    /// Begins a scan, or moves it on: merges what is there and asks for what is missing.
    pub(super) fn advance_scan(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get_mut(ticket) else { return };
        let deadline = pending.deadline;
        let Work::Scan(scan) = &mut pending.work else { return };
        if !scan.has_begun() {
            let Some(routing) = &self.routing else { return self.await_map(ticket) };
            pending.phase = Phase::Parked;
            scan.begin(routing.data_groups());
        }
        if let Some(page) = scan.merge() {
            return self.finish(ticket, Ok(super::Answer::Page(page)));
        }
        for wanted in scan.wanted() {
            let super::scan::Wanted { part, group, start, end, limit, stale } = wanted;
            let work = Work::ScanPart(ScanPart { scan: ticket, part, group, start, end, limit, stale });
            let part = self.start(Pending::new(None, work, deadline, 0));
            self.dispatch(part);
        }
    }
}

fn write_command(out: &mut Vec<u8>, target: u32, id: u64, command: &Command) {
    let begun = frame::begin(out, Kind::Write, target, id);
    command::encode_into(command, out);
    frame::finish(out, begun);
}
