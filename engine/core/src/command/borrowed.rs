//! A command whose keys and values are borrowed, for encoding without copying them first.
//!
//! It serializes to exactly the archive of [`Command`]: there is one layout, written here and read there.

use super::{
    ArchivedBatchOperation, ArchivedCommand, ArchivedOperation, BatchOperation, ClientId, Command, Kind, Operation,
    SessionRef, VERSION,
};
use rkyv::{
    Archive, Place, Serialize,
    rancor::{Fallible, Panic},
    ser::{Allocator, Writer},
    vec::{ArchivedVec, VecResolver},
    with::{self, ArchiveWith, SerializeWith},
};

/// A [`Command`] that owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize)]
#[rkyv(as = ArchivedCommand, serialize_bounds(__S: Allocator + Writer))]
pub struct CommandRef<'a> {
    /// As in [`Command`].
    pub client: ClientId,
    /// As in [`Command`].
    pub sequence: u64,
    /// As in [`Command`].
    pub acknowledged: u64,
    /// As in [`Command`].
    pub session: SessionRef,
    /// As in [`Command`].
    #[rkyv(omit_bounds)]
    pub operation: OperationRef<'a>,
}

/// An [`Operation`] that owns nothing; the variants and fields are those of [`Operation`], in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize)]
#[rkyv(as = ArchivedOperation)]
#[allow(missing_docs)]
pub enum OperationRef<'a> {
    Open,
    Put {
        #[rkyv(with = AsVec)]
        key: &'a [u8],
        #[rkyv(with = AsVec)]
        value: &'a [u8],
        return_old: bool,
    },
    Delete {
        #[rkyv(with = AsVec)]
        key: &'a [u8],
        return_old: bool,
    },
    CompareAndSwap {
        #[rkyv(with = AsVec)]
        key: &'a [u8],
        #[rkyv(with = with::Map<AsVec>)]
        expect: Option<&'a [u8]>,
        #[rkyv(with = with::Map<AsVec>)]
        set: Option<&'a [u8]>,
    },
    Batch {
        #[rkyv(with = AsVec)]
        operations: &'a [BatchOperation],
    },
    Found {
        #[rkyv(with = AsVec)]
        record: &'a [u8],
    },
    Map {
        epoch: u64,
        #[rkyv(with = AsVec)]
        map: &'a [u8],
    },
}

impl CommandRef<'_> {
    /// Appends the bytes of the command to `bytes`, growing it at most once.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.reserve(2 + size_of::<ArchivedCommand>() + self.operation.archived_bytes());
        bytes.extend_from_slice(&[self.operation.kind() as u8, VERSION]);
        // Writing to a vector cannot fail, and an archive of less than 2 GiB has no pointer out of range.
        rkyv::api::high::to_bytes_in::<_, Panic>(self, bytes).expect("a vector takes every byte");
    }
}

impl OperationRef<'_> {
    /// Its number.
    pub fn kind(&self) -> Kind {
        match self {
            OperationRef::Open => Kind::Open,
            OperationRef::Put { .. } => Kind::Put,
            OperationRef::Delete { .. } => Kind::Delete,
            OperationRef::CompareAndSwap { .. } => Kind::CompareAndSwap,
            OperationRef::Batch { .. } => Kind::Batch,
            OperationRef::Found { .. } => Kind::Found,
            OperationRef::Map { .. } => Kind::Map,
        }
    }

    /// What the archive needs beside its root, in bytes.
    fn archived_bytes(&self) -> usize {
        match self {
            OperationRef::Open => 0,
            OperationRef::Put { key, value, .. } => key.len() + value.len(),
            OperationRef::Delete { key, .. } => key.len(),
            OperationRef::CompareAndSwap { key, expect, set } => {
                key.len() + expect.map_or(0, <[u8]>::len) + set.map_or(0, <[u8]>::len)
            }
            OperationRef::Batch { operations } => operations
                .iter()
                .map(|operation| {
                    size_of::<ArchivedBatchOperation>()
                        + match operation {
                            BatchOperation::Put { key, value } => key.len() + value.len(),
                            BatchOperation::Delete { key } => key.len(),
                        }
                })
                .sum(),
            OperationRef::Found { record } => record.len(),
            OperationRef::Map { map, .. } => map.len(),
        }
    }
}

impl Command {
    /// The same command, borrowed.
    pub fn borrowed(&self) -> CommandRef<'_> {
        let operation = match &self.operation {
            Operation::Open => OperationRef::Open,
            Operation::Put { key, value, return_old } => OperationRef::Put { key, value, return_old: *return_old },
            Operation::Delete { key, return_old } => OperationRef::Delete { key, return_old: *return_old },
            Operation::CompareAndSwap { key, expect, set } => {
                OperationRef::CompareAndSwap { key, expect: expect.as_deref(), set: set.as_deref() }
            }
            Operation::Batch { operations } => OperationRef::Batch { operations },
            Operation::Found { record } => OperationRef::Found { record },
            Operation::Map { epoch, map } => OperationRef::Map { epoch: *epoch, map },
        };
        CommandRef {
            client: self.client,
            sequence: self.sequence,
            acknowledged: self.acknowledged,
            session: self.session,
            operation,
        }
    }
}

/// Archives a slice as the vector of its elements.
struct AsVec;

impl<T: Archive> ArchiveWith<&[T]> for AsVec {
    type Archived = ArchivedVec<T::Archived>;
    type Resolver = VecResolver;

    fn resolve_with(field: &&[T], resolver: VecResolver, out: Place<Self::Archived>) {
        ArchivedVec::resolve_from_len(field.len(), resolver, out);
    }
}

impl<T: Serialize<S>, S: Fallible + Allocator + Writer + ?Sized> SerializeWith<&[T], S> for AsVec {
    fn serialize_with(field: &&[T], serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<T::Archived>::serialize_from_slice(field, serializer)
    }
}
