//! The start of a core: its journal's files are read, and what they and the store hold is compared.
//!
//! What follows from it is decided in `engine_core::recovery`; here are the files, the store and the operator's words.

use super::NodeFacts;
use super::journal_files;
use crate::store::{Store, StoreError};
use engine_core::journal::{self, Journal, RecoverError};
use engine_core::recovery;
use engine_core::shard::GroupStart;
use std::io;
use std::path::Path;

/// Why a core cannot start. Nothing was promised, nothing was changed but what recovery itself writes.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The files cannot be read.
    #[error("cannot read the journal in {path}: {error}")]
    Io {
        /// The directory.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// The bytes make no journal.
    #[error("the journal in {path} cannot be recovered: {why}; {advice}")]
    Journal {
        /// The directory.
        path: String,
        /// What is wrong.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// For segments of this size, which the settings hold to what is possible.
fn options(segment_bytes: u64) -> journal::Options {
    let usual = journal::Options::default();
    let half = usize::try_from(segment_bytes / 2).unwrap_or(usize::MAX);
    journal::Options { segment_bytes, batch_bytes_max: usual.batch_bytes_max.min(half), ..usual }
}

/// What to do about a journal that is not what it was.
const LOST: &str = "restore the directory, or join as a new node with an empty one";

/// What to do: nobody shall give up a directory in which nothing is lost.
fn advice(error: &RecoverError) -> &'static str {
    match error {
        RecoverError::Options { .. } | RecoverError::SegmentTooSmall { .. } => {
            "nothing is lost: set journal.segment to what it was, or to more"
        }
        RecoverError::Unsupported { .. } => "nothing is lost: start the version of kvd that wrote it",
        RecoverError::Life { .. } => "nothing is lost: start again",
        RecoverError::Read { .. } => {
            "what the disk does not give may be promised: move the directory to a disk that does, or join as a new node with an empty one"
        }
        RecoverError::SegmentNumber(_) | RecoverError::Impossible { .. } => LOST,
    }
}

/// A core's state, ready to start.
#[derive(Debug)]
pub struct Recovered {
    /// The journal, its life record not yet written.
    pub journal: Journal,
    /// One start per replica of the core.
    pub starts: Vec<GroupStart>,
}

/// Recovers core `core`. `created`: its replicas have all been created before, so one that is missing is lost.
pub fn recover(
    facts: &NodeFacts,
    core: u16,
    directory: &Path,
    store: &Store,
    life: u64,
    created: bool,
) -> Result<Recovered, RecoveryError> {
    let path = directory.display().to_string();
    let files =
        journal_files::Found::look(directory).map_err(|error| RecoveryError::Io { path: path.clone(), error })?;
    let options = options(facts.settings.journal.segment);
    let recovered = journal::recover_from(options, life, &files).map_err(|error| RecoveryError::Journal {
        path: path.clone(),
        why: error.to_string(),
        advice: advice(&error),
    })?;
    if let Some(damage) = &recovered.damage {
        tracing::error!(core, path, ?damage, "the journal is damaged below what was durable");
    }
    let mut journal = recovered.journal;
    let (map, record, node) = (&facts.map, &facts.record, facts.node);
    let place = recovery::Place { map, record, node, core, created };
    let starts = recovery::start(place, &mut journal, recovered.replicas, &store.replicas()?)
        .map_err(|error| RecoveryError::Journal { path: path.clone(), why: error.to_string(), advice: LOST })?;
    for new in &starts.create {
        store.create_replica(new.group, new.replica, &new.membership)?;
    }
    for (group, finding) in &starts.findings {
        tracing::error!(core, %group, "{finding}");
    }
    let behind = |start: &GroupStart| start.restored.last.0.saturating_sub(start.restored.applied.0);
    let (groups, entries) = starts
        .groups
        .iter()
        .fold((0, 0), |(groups, entries), start| (groups + u64::from(behind(start) > 0), entries + behind(start)));
    if groups > 0 {
        // After a crash, some. After an orderly end, or many of them: the store has lost what it had, and gets it again.
        tracing::info!(core, groups, entries, "the store is behind the journal; what it lacks is applied again");
    }
    Ok(Recovered { journal, starts: starts.groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::journal::recover;

    #[test]
    fn every_segment_size_of_the_settings_makes_a_journal() {
        for segment in [1 << 20, 3 << 20, 64 << 20, 1 << 30] {
            assert!(recover(options(segment), 1, Vec::new()).is_ok(), "{segment}");
        }
    }

    #[test]
    fn nobody_is_told_to_give_up_what_is_not_lost() {
        let error = recover(journal::Options { segment_bytes: 4096, ..options(1 << 20) }, 1, Vec::new());
        assert!(advice(&error.expect_err("too small")).starts_with("nothing is lost"));
        assert!(advice(&RecoverError::Life { life: 1 }).starts_with("nothing is lost"));
        assert_eq!(advice(&RecoverError::SegmentNumber(journal::SegmentId(u64::MAX))), LOST);
    }
}
