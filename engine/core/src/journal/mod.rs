//! The journal: one append-only log per core, of all its groups.

mod chain;
mod error;
mod header;
#[allow(clippy::module_inception)]
mod journal;
mod log;
mod record;
mod recovery;
mod replay;
mod scan;
mod types;
mod writer;

pub use error::{Damage, RecoverError, Rot, Torn};
pub use journal::Journal;
pub use recovery::recover;
pub use types::{Extent, Options, Recovered, RecoveredReplica, ReplicaState, SegmentId, Write};

use types::Place;
