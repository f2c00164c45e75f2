//! The write-ahead logs that RocksDB keeps although it needs them no more, held to their limit at all times.
//!
//! RocksDB itself looks at its archive every ten minutes, when a memtable is dropped: under load that is many times the
//! limit, and a disk may be full by then of files that nobody will read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Deletes the oldest archived logs of the store in `path` until those that are left hold at most `bytes_max` bytes; returns
/// how many bytes that freed. RocksDB may do the same at the same time. Errors: the archive cannot be listed.
pub fn trim_archive(path: &Path, bytes_max: u64) -> io::Result<u64> {
    let listed = match fs::read_dir(path.join("archive")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        listed => listed?,
    };
    let mut logs: Vec<(u64, u64, PathBuf)> = Vec::new();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|number| number.parse().ok());
        // One that is gone meanwhile holds nothing.
        if let (Some(number), Ok(metadata)) = (number, entry.metadata()) {
            logs.push((number, metadata.len(), entry.path()));
        }
    }
    logs.sort_unstable();
    let mut held: u64 = logs.iter().map(|(_, bytes, _)| bytes).sum();
    let mut freed = 0;
    for (_, bytes, log) in logs {
        if held <= bytes_max {
            break;
        }
        held -= bytes;
        match fs::remove_file(&log) {
            Ok(()) => freed += bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, log = %log.display(), "cannot delete an archived log"),
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::trim_archive;
    use std::fs;

    #[test]
    fn the_oldest_logs_go_first_and_nothing_else_goes() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(trim_archive(store.path(), 0).unwrap(), 0, "there is no archive yet");
        let archive = store.path().join("archive");
        fs::create_dir(&archive).unwrap();
        for (name, bytes) in [("000009.log", 30), ("000010.log", 40), ("100000.log", 50), ("note", 1000)] {
            fs::write(archive.join(name), vec![0; bytes]).unwrap();
        }
        fs::write(store.path().join("000011.log"), "in use").unwrap();
        assert_eq!(trim_archive(store.path(), 120).unwrap(), 0);
        assert_eq!(trim_archive(store.path(), 60).unwrap(), 70);
        let left = |name: &str| archive.join(name).exists();
        assert!(!left("000009.log") && !left("000010.log") && left("100000.log") && left("note"));
        assert_eq!(trim_archive(store.path(), 0).unwrap(), 50);
        assert!(store.path().join("000011.log").exists());
    }
}
