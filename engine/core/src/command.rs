//! What a client asks a group to do, as bytes.
//!
//! A command is encoded once, by the client. The same bytes are framed, validated by the leader
//! ([`check`]), replicated, journalled and applied in place ([`access`]); nothing re-encodes them.
//!
//! The bytes are `[kind u8][version u8][archive]`: the kind is the number of the operation, so it can be
//! told apart without looking further, and the archive is rkyv's, little endian, 32-bit pointers, no
//! alignment. The layout of a kind never changes; golden files pin it. A new operation gets a new kind.
//!
//! Lives on every core and in the clients. Knows nothing of sessions' states or of who owns a key.

use raft::ids::{GroupId, Index};
use rkyv::{Archive, Deserialize, Serialize, rancor::Failure};
use std::fmt;

mod borrowed;
// What rkyv derives for an enum with named fields has fields without a sentence.
#[allow(missing_docs)]
mod operation;
mod outcome;
mod views;

pub use borrowed::{CommandRef, OperationRef};
pub use operation::{ArchivedBatchOperation, ArchivedOperation, BatchOperation, Kind, Operation};
pub use outcome::{ArchivedOutcome, ArchivedRefusedBecause, Outcome, RefusedBecause};
pub use views::{is_blind, is_internal, keys, stored_bytes};

/// The version of the layout of every kind so far.
pub const VERSION: u8 = 1;

/// One client process, drawn at random by it. Never used by two processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct ClientId(pub u128);

/// The session a command was first sent under. It stays the same in every retry, also after a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
pub struct SessionRef {
    /// The group whose log holds the Open. In an Open: the group it is sent to.
    pub group: GroupId,
    /// The index of the Open in that log; 0 in an Open itself.
    pub opened: Index,
}

/// One command of one client. One command is one log entry.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Deserialize)]
pub struct Command {
    /// Who asks.
    pub client: ClientId,
    /// The client's number for this command among those of its sessions of one group, growing from 1, the same in every retry.
    /// Numbers may be left out: a client may count over all groups. An Open may use 0.
    pub sequence: u64,
    /// The client needs no answer any more to any sequence up to this one that it has sent *under this session*.
    /// Sequences sent under its other sessions do not hold this back: a mark per session keeps the
    /// session's set of executed sequences short while another group is slow. Always below `sequence`.
    pub acknowledged: u64,
    /// The session it was first sent under.
    pub session: SessionRef,
    /// What is to happen.
    pub operation: Operation,
}

/// What a group takes. They are settings of the node that proposes, never looked at when applying, so nodes may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest value, expectation or founding record, in bytes.
    pub value_bytes_max: usize,
    /// The most writes of one batch.
    pub batch_operations_max: usize,
    /// The longest command as encoded, in bytes: it must fit a frame and one batch of the journal.
    pub command_bytes_max: usize,
}

/// Why a command is not proposed. Nothing has happened; the same bytes will be refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too short for a kind and a version: the sender is broken.
    #[error("a command of {bytes} bytes has no kind and version")]
    Truncated {
        /// How many there are.
        bytes: usize,
    },
    /// A kind this version does not know: the sender is newer, or broken.
    #[error("unknown kind of command {kind}")]
    UnknownKind {
        /// The first byte.
        kind: u8,
    },
    /// A layout this version does not know: the sender is newer, or broken.
    #[error("version {version} of command kind {kind} is not known here")]
    UnknownVersion {
        /// The first byte.
        kind: u8,
        /// The second byte.
        version: u8,
    },
    /// The archive is not sound, or not of the kind it claims: the sender is broken.
    #[error("the bytes of the command are damaged")]
    Malformed,
    /// Shorten the key.
    #[error("key of {bytes} bytes, the limit is {limit}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
        /// [`Limits::key_bytes_max`].
        limit: usize,
    },
    /// Shorten the value.
    #[error("value of {bytes} bytes, the limit is {limit}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
        /// [`Limits::value_bytes_max`].
        limit: usize,
    },
    /// Split the batch.
    #[error("batch of {operations} writes, the limit is {limit}")]
    TooManyOperations {
        /// How many there are.
        operations: usize,
        /// [`Limits::batch_operations_max`].
        limit: usize,
    },
    /// Split the batch, or shorten its values.
    #[error("command of {bytes} bytes, the limit is {limit}")]
    CommandTooLong {
        /// Its length as encoded.
        bytes: usize,
        /// [`Limits::command_bytes_max`].
        limit: usize,
    },
    /// Send nothing instead.
    #[error("a batch without a write")]
    EmptyBatch,
    /// The sequence is 0 or among those the client itself calls answered: the client is broken.
    #[error("sequence {sequence} is not above the acknowledged {acknowledged}")]
    StaleSequence {
        /// The command's sequence.
        sequence: u64,
        /// The command's low-water mark.
        acknowledged: u64,
    },
    /// Open a session in the group first; in an Open: do not name one.
    #[error("the session does not fit the operation")]
    WrongSession,
}

/// The bytes of a command, in a vector of their own.
pub fn encode(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(command, &mut bytes);
    bytes
}

/// Appends the bytes of a command to `bytes`, growing it at most once.
pub fn encode_into(command: &Command, bytes: &mut Vec<u8>) {
    command.borrowed().encode_into(bytes);
}

/// The command in `bytes`, read in place after every check a leader owes its group: soundness, version and `limits`.
pub fn check<'a>(bytes: &'a [u8], limits: &Limits) -> Result<&'a ArchivedCommand, CommandError> {
    if bytes.len() > limits.command_bytes_max {
        return Err(CommandError::CommandTooLong { bytes: bytes.len(), limit: limits.command_bytes_max });
    }
    let command = access(bytes)?;
    views::check_session(command)?;
    views::check_limits(&command.operation, limits)?;
    Ok(command)
}

/// The command in `bytes`, read in place. Checks only what is the same on every node: soundness, kind and version.
pub fn access(bytes: &[u8]) -> Result<&ArchivedCommand, CommandError> {
    let &[kind, version, ref archive @ ..] = bytes else {
        return Err(CommandError::Truncated { bytes: bytes.len() });
    };
    let kind = Kind::from_number(kind).ok_or(CommandError::UnknownKind { kind })?;
    if version != VERSION {
        return Err(CommandError::UnknownVersion { kind: kind as u8, version });
    }
    let command = rkyv::access::<ArchivedCommand, Failure>(archive).map_err(|Failure| CommandError::Malformed)?;
    if command.operation.kind() != kind {
        return Err(CommandError::Malformed);
    }
    Ok(command)
}

impl CommandError {
    /// The limit that was passed, if it is about one: what to tell the client.
    pub fn limit(&self) -> Option<u64> {
        match *self {
            CommandError::KeyTooLong { limit, .. }
            | CommandError::ValueTooLong { limit, .. }
            | CommandError::TooManyOperations { limit, .. }
            | CommandError::CommandTooLong { limit, .. } => Some(limit as u64),
            _ => None,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: 4096,
            value_bytes_max: 1 << 20,
            batch_operations_max: 1024,
            // A compare-and-swap of two largest values, and room to spare in the journal's batch of 4 MiB.
            command_bytes_max: 3 << 20,
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
