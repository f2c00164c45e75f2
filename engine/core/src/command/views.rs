//! Looking at a command in place.

use super::{
    ArchivedBatchOperation, ArchivedCommand, ArchivedOperation, ArchivedSessionRef, ClientId, CommandError, Kind,
    Limits, SessionRef,
};
use raft::ids::{GroupId, Index};
use std::slice;

/// The keys a command touches, in order; none for an Open, a founding or a map.
pub fn keys(command: &ArchivedCommand) -> impl Iterator<Item = &[u8]> {
    let (single, batch) = match &command.operation {
        ArchivedOperation::Put { key, .. }
        | ArchivedOperation::Delete { key, .. }
        | ArchivedOperation::CompareAndSwap { key, .. } => (Some(key.as_slice()), slice::Iter::default()),
        ArchivedOperation::Batch { operations } => (None, operations.as_slice().iter()),
        ArchivedOperation::Open | ArchivedOperation::Found { .. } | ArchivedOperation::Map { .. } => {
            (None, slice::Iter::default())
        }
    };
    single.into_iter().chain(batch.map(|operation| match operation {
        ArchivedBatchOperation::Put { key, .. } | ArchivedBatchOperation::Delete { key } => key.as_slice(),
    }))
}

/// The bytes of keys and values a command would store: what it costs in a backlog.
pub fn stored_bytes(command: &ArchivedCommand) -> usize {
    match &command.operation {
        ArchivedOperation::Open => 0,
        ArchivedOperation::Put { key, value, .. } => key.len() + value.len(),
        ArchivedOperation::Delete { key, .. } => key.len(),
        ArchivedOperation::CompareAndSwap { key, set, .. } => key.len() + set.as_ref().map_or(0, |set| set.len()),
        ArchivedOperation::Batch { operations } => operations
            .iter()
            .map(|operation| match operation {
                ArchivedBatchOperation::Put { key, value } => key.len() + value.len(),
                ArchivedBatchOperation::Delete { key } => key.len(),
            })
            .sum(),
        ArchivedOperation::Found { record } => record.len(),
        ArchivedOperation::Map { map, .. } => map.len(),
    }
}

/// Whether only nodes propose it: a client that sends one is refused.
pub fn is_internal(command: &ArchivedCommand) -> bool {
    matches!(command.operation.kind(), Kind::Found | Kind::Map)
}

/// Whether its outcome depends on nothing but its session: it reads no data and returns none.
pub fn is_blind(command: &ArchivedCommand) -> bool {
    match &command.operation {
        ArchivedOperation::Put { return_old, .. } | ArchivedOperation::Delete { return_old, .. } => !return_old,
        ArchivedOperation::Batch { .. } => true,
        ArchivedOperation::CompareAndSwap { .. }
        | ArchivedOperation::Open
        | ArchivedOperation::Found { .. }
        | ArchivedOperation::Map { .. } => false,
    }
}

impl ArchivedCommand {
    /// Who asks.
    pub fn client(&self) -> ClientId {
        ClientId(self.client.0.to_native())
    }

    /// The session it was first sent under.
    pub fn session(&self) -> SessionRef {
        self.session.to_native()
    }
}

impl ArchivedSessionRef {
    /// The same in native numbers.
    pub fn to_native(&self) -> SessionRef {
        SessionRef { group: GroupId(self.group.0.to_native()), opened: Index(self.opened.0.to_native()) }
    }
}

impl ArchivedOperation {
    /// Its number.
    pub fn kind(&self) -> Kind {
        match self {
            ArchivedOperation::Open => Kind::Open,
            ArchivedOperation::Put { .. } => Kind::Put,
            ArchivedOperation::Delete { .. } => Kind::Delete,
            ArchivedOperation::CompareAndSwap { .. } => Kind::CompareAndSwap,
            ArchivedOperation::Batch { .. } => Kind::Batch,
            ArchivedOperation::Found { .. } => Kind::Found,
            ArchivedOperation::Map { .. } => Kind::Map,
        }
    }
}

/// Whether the session and the numbers can be those of a sound client.
pub(super) fn check_session(command: &ArchivedCommand) -> Result<(), CommandError> {
    let opened = command.session().opened != Index(0);
    match command.operation.kind() {
        Kind::Found | Kind::Map => return Ok(()),
        Kind::Open if opened => return Err(CommandError::WrongSession),
        Kind::Open => return Ok(()),
        _ if !opened => return Err(CommandError::WrongSession),
        _ => {}
    }
    let (sequence, acknowledged) = (command.sequence.to_native(), command.acknowledged.to_native());
    if sequence <= acknowledged {
        return Err(CommandError::StaleSequence { sequence, acknowledged });
    }
    Ok(())
}

/// Whether every part is within `limits`.
pub(super) fn check_limits(operation: &ArchivedOperation, limits: &Limits) -> Result<(), CommandError> {
    match operation {
        ArchivedOperation::Open => Ok(()),
        ArchivedOperation::Put { key, value, .. } => check_pair(key, value, limits),
        ArchivedOperation::Delete { key, .. } => check_pair(key, &[], limits),
        ArchivedOperation::CompareAndSwap { key, expect, set } => {
            let expect = expect.as_ref().map_or(&[][..], |expect| expect.as_slice());
            let set = set.as_ref().map_or(&[][..], |set| set.as_slice());
            check_pair(key, expect, limits)?;
            check_pair(key, set, limits)
        }
        ArchivedOperation::Batch { operations } if operations.is_empty() => Err(CommandError::EmptyBatch),
        ArchivedOperation::Batch { operations } => {
            let limit = limits.batch_operations_max;
            if operations.len() > limit {
                return Err(CommandError::TooManyOperations { operations: operations.len(), limit });
            }
            operations.iter().try_for_each(|operation| match operation {
                ArchivedBatchOperation::Put { key, value } => check_pair(key, value, limits),
                ArchivedBatchOperation::Delete { key } => check_pair(key, &[], limits),
            })
        }
        ArchivedOperation::Found { record } => check_pair(&[], record, limits),
        ArchivedOperation::Map { map, .. } => check_pair(&[], map, limits),
    }
}

fn check_pair(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), CommandError> {
    if key.len() > limits.key_bytes_max {
        return Err(CommandError::KeyTooLong { bytes: key.len(), limit: limits.key_bytes_max });
    }
    if value.len() > limits.value_bytes_max {
        return Err(CommandError::ValueTooLong { bytes: value.len(), limit: limits.value_bytes_max });
    }
    Ok(())
}
