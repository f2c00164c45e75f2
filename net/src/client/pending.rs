//! Requests that are not done with yet, each under a ticket that is also its id on the wire.

use super::connection::{Charge, ConnectionId};
use super::request::{RequestId, Target};
use super::scan::Scan;
use engine_core::command::Command;
use raft::ids::GroupId;
use std::rc::Rc;
use std::time::Duration;

/// Names one pending request. The serial tells it from earlier ones in the same slot: a late answer finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    slot: u32,
    serial: u32,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    Get {
        key: Vec<u8>,
        stale: bool,
    },
    /// `sequence` is 0 until the command has a session and a sequence; both then stay.
    Write(Command),
    /// Opens the session of a group, for the writes that wait for it.
    Open {
        group: GroupId,
    },
    /// Waits for its parts.
    Scan(Box<Scan>),
    /// One group's next page, for a scan.
    ScanPart(ScanPart),
    /// Waits for the fetch that is under way.
    Map,
    /// Fetches the map, for whoever waits for it. So many attempts met another version of the protocol.
    FetchMap {
        mismatches: u32,
    },
    /// One node is asked, and nobody else can answer.
    Direct {
        target: Target,
        ask: Ask,
    },
}

#[derive(Debug)]
pub(super) struct ScanPart {
    pub(super) scan: Ticket,
    pub(super) part: usize,
    pub(super) group: GroupId,
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Rc<[u8]>>,
    pub(super) limit: u32,
    pub(super) stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Status,
    Checksum(GroupId),
    Stop { clean: bool },
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In somebody's list: waits for the map, a session or its parts.
    Parked,
    /// Waits for the connection to open, or to have room.
    Queued(ConnectionId),
    /// Written into the connection's buffer.
    InFlight(ConnectionId),
    /// Pauses before the next attempt.
    Pausing,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// `None` for what the client asks for its own sake.
    pub(super) id: Option<RequestId>,
    pub(super) work: Work,
    pub(super) deadline: Duration,
    pub(super) phase: Phase,
    /// Some attempt may have reached a leader's log.
    pub(super) maybe_applied: bool,
    /// Where its frame ends in the connection's stream.
    pub(super) frame_end: u64,
    /// What it takes of the connection's window while it is in flight.
    pub(super) charge: Charge,
    /// The host it was sent to last, and the node if it was sent to a group's replica.
    pub(super) host: usize,
    pub(super) node: Option<u16>,
    /// The group it was sent to last.
    pub(super) group: Option<GroupId>,
    pub(super) attempts: u32,
    /// Redirects followed without a pause.
    pub(super) redirects: u32,
    pub(super) bytes: usize,
    /// What stood in the way last.
    pub(super) why: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct PendingTable {
    slots: Vec<(u32, Option<Pending>)>,
    free: Vec<u32>,
    serial: u32,
}

impl Ticket {
    pub(super) fn wire(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.slot)
    }

    /// A number that no other pending request has, below the most there ever were at once.
    pub(super) fn turn(self) -> u32 {
        self.slot
    }

    pub(super) fn from_wire(id: u64) -> Ticket {
        Ticket { slot: id as u32, serial: (id >> 32) as u32 }
    }
}

impl Pending {
    pub(super) fn new(id: Option<RequestId>, work: Work, deadline: Duration, bytes: usize) -> Pending {
        Pending {
            id,
            work,
            deadline,
            phase: Phase::Parked,
            maybe_applied: false,
            frame_end: 0,
            charge: Charge::default(),
            host: 0,
            node: None,
            group: None,
            attempts: 0,
            redirects: 0,
            bytes,
            why: String::new(),
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.work, Work::Write(_))
    }

    pub(super) fn is_scan(&self) -> bool {
        matches!(self.work, Work::ScanPart(_))
    }
}

impl PendingTable {
    pub(super) fn insert(&mut self, pending: Pending) -> Ticket {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = (serial, Some(pending));
                slot
            }
            None => {
                self.slots.push((serial, Some(pending)));
                self.slots.len() as u32 - 1
            }
        };
        Ticket { slot, serial }
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Pending> {
        let (serial, pending) = self.slots.get(ticket.slot as usize)?;
        if *serial == ticket.serial { pending.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        let (serial, pending) = self.slots.get_mut(ticket.slot as usize)?;
        if *serial == ticket.serial { pending.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let (serial, pending) = self.slots.get_mut(ticket.slot as usize)?;
        if *serial != ticket.serial {
            return None;
        }
        let pending = pending.take()?;
        self.free.push(ticket.slot);
        Some(pending)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ticket, &Pending)> {
        self.slots.iter().enumerate().filter_map(|(slot, (serial, pending))| {
            Some((Ticket { slot: slot as u32, serial: *serial }, pending.as_ref()?))
        })
    }
}
