//! The operations, and the numbers that precede them.

use rkyv::{Archive, Deserialize, Serialize};

/// What is to happen. Keys and values are any bytes, also none.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Deserialize)]
pub enum Operation {
    /// Open this client's session in this group. Answered [`super::Outcome::Opened`]; repeating it is harmless.
    Open,
    /// Set a key. Answered [`super::Outcome::Done`] or [`super::Outcome::Old`].
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
        /// Whether the answer carries the value before; costs a read.
        return_old: bool,
    },
    /// Remove a key, also one that is not there. Answered [`super::Outcome::Done`] or [`super::Outcome::Old`].
    Delete {
        /// The key.
        key: Vec<u8>,
        /// Whether the answer carries the value before; costs a read.
        return_old: bool,
    },
    /// Set or remove a key if its value is as expected. Answered [`super::Outcome::Swapped`] or [`super::Outcome::Mismatch`].
    CompareAndSwap {
        /// The key.
        key: Vec<u8>,
        /// The value it must have; `None`: it must not exist.
        expect: Option<Vec<u8>>,
        /// Its new value; `None`: remove it.
        set: Option<Vec<u8>>,
    },
    /// Several blind writes to one group, all or none, in this order. Answered [`super::Outcome::Done`].
    Batch {
        /// The writes, at least one.
        operations: Vec<BatchOperation>,
    },
    /// The founding record, first entry of group 0. Proposed by nodes only, needs no session. Answered [`super::Outcome::Done`].
    Found {
        /// The record, opaque here.
        record: Vec<u8>,
    },
    /// The next cluster map, in group 0. Proposed by nodes only, needs no session: it takes effect if `epoch` is one above that
    /// of the map in force. Answered [`super::Outcome::Done`].
    Map {
        /// The epoch of the map.
        epoch: u64,
        /// The map, opaque here.
        map: Vec<u8>,
    },
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum BatchOperation {
    /// Set a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Remove a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

/// The number of an operation: the first byte of a command. On the disk and on the wire: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Operation::Open`]
    Open = 1,
    /// [`Operation::Put`]
    Put = 2,
    /// [`Operation::Delete`]
    Delete = 3,
    /// [`Operation::CompareAndSwap`]
    CompareAndSwap = 4,
    /// [`Operation::Batch`]
    Batch = 5,
    /// [`Operation::Found`]
    Found = 6,
    /// [`Operation::Map`]
    Map = 7,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Open,
            2 => Kind::Put,
            3 => Kind::Delete,
            4 => Kind::CompareAndSwap,
            5 => Kind::Batch,
            6 => Kind::Found,
            7 => Kind::Map,
            _ => return None,
        })
    }
}
