//! What may be asked of a client, and what it answers.

use crate::status::NodeStatus;
use engine_core::command::{BatchOperation, Operation};
use engine_core::placement::map::ClusterMap;
use raft::ids::GroupId;
use std::rc::Rc;

/// Names one submitted request of one client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The value of a key.
    Get {
        /// The key.
        key: Vec<u8>,
        /// Any replica's value will do; else the answer is linearizable.
        stale: bool,
    },
    /// A write to one group: put, delete, compare-and-swap or batch. Anything else is refused as bad input.
    Write(Operation),
    /// Keys and values in key order, over all groups. Not one instant: each group's share of each page is.
    Scan(ScanOptions),
    /// The cluster map, fetched anew.
    Map,
    /// One node's status.
    Status(Target),
    /// The checksum of the replica of `group` on node number `node`.
    Checksum {
        /// The group.
        group: GroupId,
        /// The node.
        node: u16,
    },
    /// The node shall stop, handing leaders over first if `clean`.
    Stop {
        /// The node.
        of: Target,
        /// Hand leaders over and flush; else as if killed.
        clean: bool,
    },
}

/// A node, by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its number in the map.
    Node(u16),
    /// Its `host:port`: needs no map.
    Address(String),
}

/// Which keys a scan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// The first key that counts; empty: from the start.
    pub start: Vec<u8>,
    /// The first key that counts no more; `None`: to the end.
    pub end: Option<Vec<u8>>,
    /// At most this many entries.
    pub limit: u32,
    /// Any replica's values will do.
    pub stale: bool,
}

impl ScanOptions {
    /// The keys that start with `prefix`.
    pub fn prefix(prefix: &[u8], limit: u32) -> ScanOptions {
        let mut end = prefix.to_vec();
        // The first key behind all with this prefix: the last byte that can grow, grown; none if all are 0xff.
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Some(end)
            }
            None => None,
        };
        ScanOptions { start: prefix.to_vec(), end, limit, stale: false }
    }
}

/// A scan's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values, ascending by key.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// There may be more in the range: scan on from the last key with a zero byte appended ([`Page::next_start`]).
    pub more: bool,
}

impl Page {
    /// Where the next page starts; `None` if this was the last.
    pub fn next_start(&self) -> Option<Vec<u8>> {
        let (last, _) = self.entries.last()?;
        if !self.more {
            return None;
        }
        let mut start = last.clone();
        start.push(0);
        Some(start)
    }
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CasResult {
    /// The value was as expected and is now as wanted.
    Swapped,
    /// The value was another; nothing was written.
    Mismatch {
        /// The value there was; `None`: there was none.
        current: Option<Vec<u8>>,
    },
    /// The value was another; nothing was written. What it was is no longer known, as a retry was needed.
    MismatchGone,
}

/// What one replica's store holds, as one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The applied index it is the sum of.
    pub applied: u64,
    /// How many entries.
    pub entries: u64,
    /// Over every key and value, in order.
    pub hash: u64,
}

/// What a request is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A get's: the value, `None` if the key is not there.
    Value(Option<Vec<u8>>),
    /// A write's, or a stop's: it happened.
    Done,
    /// A put's or delete's that wanted the old value.
    Old(Option<Vec<u8>>),
    /// A put's or delete's that wanted the old value: it happened, the old value is no longer known.
    OldGone,
    /// A compare-and-swap's.
    Cas(CasResult),
    /// A scan's.
    Page(Page),
    /// A map's.
    Map(Rc<ClusterMap>),
    /// A status's.
    Status(NodeStatus),
    /// A checksum's.
    Checksum(Checksum),
}

/// One request that is done with.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Which.
    pub id: RequestId,
    /// How it ended.
    pub result: Result<Answer, super::ClientError>,
}

/// The keys of a write.
pub(super) fn keys(operation: &Operation) -> impl Iterator<Item = &[u8]> {
    let (one, many): (Option<&[u8]>, &[BatchOperation]) = match operation {
        Operation::Put { key, .. } | Operation::Delete { key, .. } | Operation::CompareAndSwap { key, .. } => {
            (Some(key), &[])
        }
        Operation::Batch { operations } => (None, operations),
        Operation::Open | Operation::Found { .. } | Operation::Map { .. } => (None, &[]),
    };
    one.into_iter().chain(many.iter().map(|operation| match operation {
        BatchOperation::Put { key, .. } | BatchOperation::Delete { key } => key.as_slice(),
    }))
}

/// Bytes of keys and values a request holds while it waits.
pub(super) fn bytes(request: &Request) -> usize {
    let optional = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    match request {
        Request::Get { key, .. } => key.len(),
        Request::Write(Operation::Put { key, value, .. }) => key.len() + value.len(),
        Request::Write(Operation::Delete { key, .. }) => key.len(),
        Request::Write(Operation::CompareAndSwap { key, expect, set }) => key.len() + optional(expect) + optional(set),
        Request::Write(Operation::Batch { operations }) => operations
            .iter()
            .map(|operation| match operation {
                BatchOperation::Put { key, value } => key.len() + value.len(),
                BatchOperation::Delete { key } => key.len(),
            })
            .sum(),
        Request::Scan(options) => options.start.len() + optional(&options.end),
        _ => 0,
    }
}

/// What any request's frame holds beside its keys and values, in bytes, from above; a batch's holds more.
pub(super) const FRAME_OVERHEAD: usize = 256;

/// What a request's frame holds beside its keys and values, in bytes, from above.
pub(super) fn overhead(request: &Request) -> usize {
    let operations = if let Request::Write(Operation::Batch { operations }) = request { operations.len() } else { 0 };
    FRAME_OVERHEAD + 64 * operations
}
