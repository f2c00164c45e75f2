//! What one client has in flight, and whether another of its requests may be read.
//!
//! Lives on the core of the connection. What is not read waits in the kernel's buffers, and then at the client.

use super::counters;
use engine_core::shard::Ticket;
use std::cell::Cell;

/// Requests of one connection that may be in flight, whatever their size.
const REQUESTS_MAX: usize = 16_384;

/// Scans among them: each may read a page of a megabyte, whatever its request took, and one thread of a core reads them all.
pub const SCANS_MAX: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub struct InFlight {
    requests: Cell<usize>,
    bytes: Cell<usize>,
    scans: Cell<usize>,
}

impl InFlight {
    /// Whether another request may be read, of whatever kind, if all may be charged with about `bytes_max` bytes.
    pub fn has_room(&self, bytes_max: usize) -> bool {
        self.requests.get() < REQUESTS_MAX && self.bytes.get() < bytes_max && self.scans.get() < SCANS_MAX
    }

    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.requests.get()
    }

    /// A request is in flight.
    pub fn charge(&self, ticket: Ticket) {
        self.requests.set(self.requests.get() + 1);
        self.bytes.set(self.bytes.get() + ticket.bytes as usize);
        self.scans.set(self.scans.get() + usize::from(counters::is_scan(ticket.mark)));
    }

    /// It is answered.
    pub fn discharge(&self, ticket: Ticket) {
        let (requests, bytes, scans) = (self.requests.get(), self.bytes.get(), self.scans.get());
        let (answered, scanned) = (ticket.bytes as usize, usize::from(counters::is_scan(ticket.mark)));
        assert!(
            requests > 0 && bytes >= answered && scans >= scanned,
            "{answered} bytes and {scanned} scans answered of {requests} requests with {bytes} bytes and {scans} scans"
        );
        self.requests.set(requests - 1);
        self.bytes.set(bytes - answered);
        self.scans.set(scans - scanned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::frame::Kind;

    const BYTES_MAX: usize = 1 << 20;

    fn ticket(kind: Kind, bytes: u32) -> Ticket {
        Ticket { connection: 1, request: 1, bytes, mark: counters::mark(kind as u8, &[], 7) }
    }

    #[test]
    fn a_few_scans_are_as_much_as_thousands_of_gets() {
        let (scan, get) = (ticket(Kind::Scan, 300), ticket(Kind::Read, 30));
        let in_flight = InFlight::default();
        for _ in 0..SCANS_MAX {
            assert!(in_flight.has_room(BYTES_MAX));
            in_flight.charge(scan);
        }
        assert!(!in_flight.has_room(BYTES_MAX), "{SCANS_MAX} scans");
        in_flight.discharge(scan);
        for _ in SCANS_MAX - 1..REQUESTS_MAX {
            assert!(in_flight.has_room(BYTES_MAX));
            in_flight.charge(get);
        }
        assert!(!in_flight.has_room(BYTES_MAX), "{REQUESTS_MAX} requests");
        in_flight.discharge(get);
        assert!(in_flight.has_room(BYTES_MAX));
    }

    #[test]
    fn what_is_answered_makes_room_for_as_many_bytes() {
        let put = ticket(Kind::Write, BYTES_MAX as u32);
        let in_flight = InFlight::default();
        in_flight.charge(put);
        assert!(!in_flight.has_room(BYTES_MAX) && in_flight.has_room(BYTES_MAX + 1));
        in_flight.discharge(put);
        assert!(in_flight.has_room(1) && in_flight.requests() == 0);
    }
}
