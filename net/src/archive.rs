//! Writing and reading rkyv archives inside frames, in one place.
//!
//! An archive's root stands at its end and points backwards, so a body is written front to back into the
//! connection's own buffer, and read where it was received. Reading always checks; nothing here is unchecked.

use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Panic};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Portable, Serialize};

/// Appends the archive of `value` to `out`. Writing to memory cannot fail.
pub(crate) fn append<T>(out: &mut Vec<u8>, value: &T)
where
    T: for<'a, 'b> Serialize<HighSerializer<&'a mut Vec<u8>, ArenaHandle<'b>, Panic>>,
{
    let Ok(_) = rkyv::api::high::to_bytes_in::<_, Panic>(value, out);
}

/// The archive that fills `bytes`, checked; `None` if it is none. Never panics, whatever the bytes.
pub(crate) fn read<T>(bytes: &[u8]) -> Option<&T>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, Failure>>,
{
    rkyv::access::<T, Failure>(bytes).ok()
}
