//! What a core counts while it works: plain numbers of its own, copied out when somebody scrapes.
//!
//! Nothing here is shared: the data path adds to a field of its own core and takes no lock and no atomic.

use engine_core::command::Kind as CommandKind;
use engine_core::shard::Ticket;
use net::frame::Kind;
use net::response::{Refusal, Response};

/// Powers of two a histogram tells apart: in microseconds up to 67 s, in bytes up to 64 MiB.
const BUCKETS: usize = 27;

/// Counts by powers of two: bucket `i` holds what is below `2^i` and not below `2^(i-1)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    over: u64,
    sum: u64,
}

impl Histogram {
    /// Counts `value`.
    pub fn record(&mut self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        match self.counts.get_mut(bucket) {
            Some(count) => *count += 1,
            None => self.over += 1,
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// The sum of everything recorded, and how much that was.
    pub fn totals(&self) -> (u64, u64) {
        (self.sum, self.counts.iter().sum::<u64>() + self.over)
    }

    /// Buckets from `2^first` on, each with its upper bound times `unit`; what is smaller counts in the first.
    pub fn buckets(&self, first: usize, unit: f64) -> Vec<(f64, u64)> {
        let mut buckets = vec![((1u64 << first) as f64 * unit, self.counts[..=first].iter().sum())];
        buckets.extend((first + 1..BUCKETS).map(|at| ((1u64 << at) as f64 * unit, self.counts[at])));
        buckets.push((f64::INFINITY, self.over));
        buckets
    }
}

/// The requests that are timed, as the label `operation` names them.
pub const OPERATIONS: [&str; 7] = ["get", "put", "delete", "cas", "batch", "open", "scan"];

/// Of them, the one that reads a range.
const SCAN: u8 = 6;

/// The mark of a ticket whose request is not timed.
const UNTIMED: u8 = u8::MAX;

/// The reasons to refuse a request, as the label `reason` names them.
pub const REASONS: [&str; 12] = [
    "not_leader",
    "wrong_core",
    "not_owner",
    "busy",
    "too_large",
    "disk_full",
    "not_applied",
    "outcome_unknown",
    "not_formed",
    "bad_request",
    "unsupported",
    "forbidden",
];

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// From the frame to the answer, in microseconds, by [`OPERATIONS`].
    pub latencies: [Histogram; OPERATIONS.len()],
    /// Requests refused, by [`REASONS`].
    pub refused: [u64; REASONS.len()],
    /// Length of turns, in microseconds.
    pub turns: Histogram,
    /// Bytes of journal batches.
    pub journal_batches: Histogram,
    /// Time to write and sync a journal batch, in microseconds.
    pub journal_syncs: Histogram,
    /// Entries handed to the journal.
    pub journal_entries: u64,
    /// Times a replica of this core became leader.
    pub became_leader: u64,
    /// Reads that a lease has confirmed.
    pub reads_leased: u64,
    /// Ticks that came more than 100 ms late.
    pub stalls: u64,
    /// Gets answered from memory.
    pub reads_in_memory: u64,
    /// Gets and scans that went to the threads that read RocksDB.
    pub reads_elsewhere: u64,
    /// Keys written back to RocksDB.
    pub written_back: u64,
}

impl Counters {
    /// A request is answered at `now`, in microseconds of the core's clock.
    pub fn answered(&mut self, ticket: Ticket, response: &Response, now: u64) {
        if let Response::Refused(refusal) = response {
            self.refused[reason(refusal)] += 1;
        } else if let Some(latencies) = self.latencies.get_mut((ticket.mark >> 56) as usize) {
            latencies.record(now.saturating_sub(ticket.mark & (u64::MAX >> 8)));
        }
    }
}

/// What a ticket remembers of its request: the operation, and when it came, in microseconds of the core's clock.
pub fn mark(kind: u8, body: &[u8], now: u64) -> u64 {
    let operation = match Kind::from_number(kind) {
        Some(Kind::Read) => 0,
        Some(Kind::Scan) => SCAN,
        Some(Kind::Write) => match body.first().and_then(|kind| CommandKind::from_number(*kind)) {
            Some(CommandKind::Put) => 1,
            Some(CommandKind::Delete) => 2,
            Some(CommandKind::CompareAndSwap) => 3,
            Some(CommandKind::Batch) => 4,
            Some(CommandKind::Open) => 5,
            _ => UNTIMED,
        },
        _ => UNTIMED,
    };
    u64::from(operation) << 56 | now & (u64::MAX >> 8)
}

/// Whether a mark is that of a scan.
pub fn is_scan(mark: u64) -> bool {
    mark >> 56 == u64::from(SCAN)
}

fn reason(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::NotLeader { .. } => 0,
        Refusal::WrongCore { .. } => 1,
        Refusal::NotOwner { .. } => 2,
        Refusal::Busy { .. } => 3,
        Refusal::TooLarge { .. } => 4,
        Refusal::DiskFull => 5,
        Refusal::NotApplied => 6,
        Refusal::OutcomeUnknown => 7,
        Refusal::NotFormed { .. } => 8,
        Refusal::BadRequest { .. } => 9,
        Refusal::Unsupported => 10,
        Refusal::Forbidden => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once_and_below_its_bound() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 15, 16, 17, 1 << 26, u64::MAX] {
            histogram.record(value);
        }
        let buckets = histogram.buckets(4, 1.0);
        assert_eq!(buckets[0], (16.0, 5));
        assert_eq!(buckets[1], (32.0, 2));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 2)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 9);
        assert_eq!(histogram.totals(), (u64::MAX, 9));
    }

    #[test]
    fn a_ticket_remembers_what_and_when() {
        let mut counters = Counters::default();
        let put = mark(Kind::Write as u8, &[CommandKind::Put as u8], 1_000);
        let ticket = Ticket { connection: 1, request: 1, bytes: 0, mark: put };
        counters.answered(ticket, &Response::Done, 1_500);
        counters.answered(ticket, &Response::Refused(Refusal::DiskFull), 1_500);
        assert_eq!(counters.latencies[1].totals(), (500, 1));
        assert_eq!(counters.refused[5], 1);
        let status = Ticket { mark: mark(Kind::Status as u8, &[], 1_000), ..ticket };
        counters.answered(status, &Response::Done, 1_500);
        assert_eq!(counters.latencies.iter().map(|of| of.totals().1).sum::<u64>(), 1);
    }
}
