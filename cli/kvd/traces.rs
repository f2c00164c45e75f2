//! What a node leaves in its data directory for whoever starts and stops nodes of this machine.
//!
//! `args`: the arguments that start it again, each followed by a NUL. `pid`: the id of its process, in decimal.
//! Neither is read by kvd. Only a node that stands leaves them: what was refused would be refused again.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
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

impl std::error::Error for TracesError {}

/// Writes both into a directory that is this node's.
pub fn leave(data: &Path, arguments: &[OsString]) -> Result<(), TracesError> {
    let mut bytes = Vec::new();
    for argument in arguments {
        bytes.extend_from_slice(argument.as_bytes());
        bytes.push(0);
    }
    for (name, content) in [("args", bytes), ("pid", format!("{}\n", std::process::id()).into_bytes())] {
        // Renamed into place, so that nobody reads half of it.
        let (path, aside) = (data.join(name), data.join(format!("{name}.new")));
        let written = fs::write(&aside, content).and_then(|()| fs::rename(&aside, &path));
        written.map_err(|error| TracesError { path, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_arguments_and_the_process_are_found() {
        let data = tempfile::tempdir().unwrap();
        leave(data.path(), &["run".into(), "--name".into(), "n0".into()]).unwrap();
        leave(data.path(), &["run".into(), "--name".into(), "n1".into()]).unwrap();
        assert_eq!(fs::read(data.path().join("args")).unwrap(), b"run\0--name\0n1\0");
        let pid = fs::read_to_string(data.path().join("pid")).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        let refused = leave(&data.path().join("none"), &[]).unwrap_err().to_string();
        assert!(refused.contains("none/args"), "{refused}");
    }
}
