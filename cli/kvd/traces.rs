//! What a node leaves in its data directory for whoever starts and stops nodes of this machine.
//!
//! `args`: the arguments that start it again, each followed by a NUL. `pid`: the id of its process, in decimal.
//! Neither is read by kvd.

use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The data directory cannot be written.
#[derive(Debug)]
pub struct TracesError {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for TracesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write {} (node.data): {}", self.path.display(), self.error)
    }
}

/// Writes both, making the directory if it is not there. The traces of a running node, which holds the lock, and those of
/// another node than `name` with `shards` shards are left alone: this process will be refused.
pub fn leave(data: &Path, name: &str, shards: u16, arguments: &[OsString]) -> Result<(), TracesError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| TracesError { path, error }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed(data))?;
    if in_use(data) || is_anothers(data, name, shards) {
        return Ok(());
    }
    let mut bytes = Vec::new();
    for argument in arguments {
        bytes.extend_from_slice(argument.as_bytes());
        bytes.push(0);
    }
    for (name, content) in [("args", bytes), ("pid", format!("{}\n", std::process::id()).into_bytes())] {
        // Renamed into place, so that nobody reads half of it.
        let (path, aside) = (data.join(name), data.join(format!("{name}.new")));
        fs::write(&aside, content).and_then(|()| fs::rename(&aside, &path)).map_err(failed(&path))?;
    }
    Ok(())
}

/// Whether the directory has an identity, and not this one. The node itself will say so.
fn is_anothers(data: &Path, name: &str, shards: u16) -> bool {
    match fs::read_to_string(data.join("IDENTITY")) {
        Ok(text) => {
            let has = |line: String| text.lines().any(|found| found == line);
            !(has(format!("name={name}")) && has(format!("shards={shards}")))
        }
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn in_use(data: &Path) -> bool {
    let lock = File::open(data.join("LOCK"));
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_node_keeps_its_traces() {
        let data = tempfile::tempdir().unwrap();
        leave(data.path(), "n1", 1, &["run".into(), "--name".into(), "n1".into()]).unwrap();
        assert_eq!(fs::read(data.path().join("args")).unwrap(), b"run\0--name\0n1\0");
        let pid = fs::read_to_string(data.path().join("pid")).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());

        let lock = File::create(data.path().join("LOCK")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        leave(data.path(), "n1", 1, &["other".into()]).unwrap();
        assert_eq!(fs::read(data.path().join("args")).unwrap(), b"run\0--name\0n1\0");
    }

    #[test]
    fn another_node_leaves_no_traces() {
        let data = tempfile::tempdir().unwrap();
        let leave = |name, shards, argument: &str| leave(data.path(), name, shards, &[argument.into()]).unwrap();
        leave("n1", 2, "first");
        fs::write(data.path().join("IDENTITY"), "format=1\nname=n1\nincarnation=7\nshards=2\n").unwrap();
        leave("n2", 2, "other");
        leave("n1", 20, "other");
        assert_eq!(fs::read(data.path().join("args")).unwrap(), b"first\0");
        leave("n1", 2, "again");
        assert_eq!(fs::read(data.path().join("args")).unwrap(), b"again\0");
    }
}
