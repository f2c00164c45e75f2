//! Kills the nodes of this process however this process ends, SIGKILL and Ctrl-C included.
//!
//! A shell in a process group of its own reads the ids of the nodes from a pipe. The pipe closes when this process
//! is gone, and what is still on its list is killed. Only listed ids are, each of them a child of this process.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

const SCRIPT: &str = r#"
ids=
while read -r word id; do
    case $word in
    add) ids="$ids $id" ;;
    gone) left=; for i in $ids; do [ "$i" = "$id" ] || left="$left $i"; done; ids=$left ;;
    keep) exit 0 ;;
    esac
done
for i in $ids; do kill -9 "$i" 2>/dev/null; done
[ -z "$1" ] || rm -rf -- "$1"
"#;

/// The watcher of one cluster's processes.
pub struct Janitor(Child);

impl Janitor {
    /// Starts one. The directory, if any, is removed at the end too.
    pub fn start(remove: Option<&Path>) -> Result<Janitor> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "kv-janitor"])
            .arg(remove.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("sh")?;
        Ok(Janitor(shell))
    }

    /// From now on this process is killed at the end.
    pub fn add(&mut self, id: u32) -> Result<()> {
        self.tell(&format!("add {id}\n"))
    }

    /// This process has ended and its id may be given to another.
    pub fn gone(&mut self, id: u32) -> Result<()> {
        self.tell(&format!("gone {id}\n"))
    }

    /// Leave everything as it is.
    pub fn dismiss(&mut self) {
        let _ = self.tell("keep -\n"); // a janitor that is gone kills nobody either
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let pipe = self.0.stdin.as_mut().context("the janitor's pipe is closed")?;
        pipe.write_all(line.as_bytes()).context("the janitor is gone")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait(); // so that what it kills and removes is gone when the owner is
    }
}
