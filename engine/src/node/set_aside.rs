//! A damaged store is set aside, never served and never deleted: its replicas get their state from their peers.
//!
//! Damage that shows when the store is opened is dealt with at once. Damage that shows later, as a read or a compaction
//! finds it, stops the process, which leaves a mark beside the store; the next start finds that and sets the store aside. What was
//! found stands in `db.damaged-N.txt`, beside the directory `db.damaged-N` it was found in.

use crate::store::StoreError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Marks the store in `path` as damaged, if that is what `error` says. The process is about to end.
pub fn mark(path: &Path, error: &StoreError) {
    if let StoreError::Corrupt { .. } = error
        && let Err(why) = write(&mark_of(path), &error.to_string())
    {
        tracing::error!(path = %path.display(), %why, "the damaged store cannot be marked");
    }
}

/// Sets the store in `path` aside if the process before marked it.
pub fn marked(core: u16, path: &Path) -> io::Result<()> {
    let mark = mark_of(path);
    let found = match fs::read_to_string(&mark) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    now(core, path, &found)?;
    fs::remove_file(&mark)?;
    sync_parent(path)
}

/// Sets the store in `path` aside, as `why` was found in it.
pub fn now(core: u16, path: &Path, why: &dyn std::fmt::Display) -> io::Result<()> {
    let free = (1..).map(|number| path.with_extension(format!("damaged-{number}")));
    let aside = free.into_iter().find(|aside| !aside.exists()).expect("there is always another number");
    write(&aside.with_extension(extension(&aside, "txt")), &why.to_string())?;
    if path.exists() {
        fs::rename(path, &aside)?;
    }
    sync_parent(path)?;
    tracing::error!(
        core, %why, kept = %aside.display(),
        "the store of this core is damaged and set aside; its replicas wait for snapshots of their peers"
    );
    Ok(())
}

fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

fn extension(path: &Path, more: &str) -> String {
    let before = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    format!("{before}.{more}")
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_store_is_moved_away_and_what_was_found_is_kept() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("db");
        marked(0, &path).expect("nothing is marked");
        for number in 1..3 {
            fs::create_dir(&path).expect("a store");
            let error = StoreError::Corrupt { operation: "read a key", detail: "block 7 of 000123.sst".into() };
            mark(&path, &error);
            marked(0, &path).expect("it is set aside");
            assert!(!path.exists() && home.path().join(format!("db.damaged-{number}")).is_dir());
            let text = fs::read_to_string(home.path().join(format!("db.damaged-{number}.txt"))).expect("the text");
            assert!(text.contains("000123.sst"), "{text}");
        }
        fs::create_dir(&path).expect("a store");
        mark(&path, &StoreError::Io { operation: "write", detail: "error 5".into() });
        marked(0, &path).expect("nothing is marked");
        assert!(path.is_dir(), "a disk that failed is no damaged store");
    }
}
