//! A thread in a mount and a network namespace of its own, with a small file system in memory.
//!
//! The namespaces have no name: the kernel takes them away with the last process in them, and with them every mount,
//! loop device, link and rule. So there is nothing to clean up after a panic or a SIGKILL but the nodes themselves,
//! which their janitor ends.

#![allow(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::harness::scratch;

/// One stage at a time: two would share two cores, and their bounds on time would mean nothing.
static TURN: Mutex<()> = Mutex::new(());

/// Where a test plays.
pub struct Stage {
    /// A file system in memory, seen from the stage only.
    pub directory: PathBuf,
}

/// Runs `play` on a stage of its own, or skips the test by `name` with the reason why there can be none.
pub fn on_stage(name: &str, play: impl FnOnce(&Stage) + Send + 'static) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = scratch(name);
    let made = directory.clone();
    let named = name.to_owned();
    let actor = std::thread::Builder::new().name(named.clone()).spawn(move || match enter(&directory) {
        Ok(()) => play(&Stage { directory }),
        Err(why) => skip(&named, &why),
    });
    let ended = actor.expect("a thread").join();
    // What was mounted there is not seen from here.
    let _ = std::fs::remove_dir_all(&made);
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// Says that something cannot be done here. Not through `eprintln`, which a passing test keeps to itself.
pub fn skip(name: &str, why: &str) {
    // A standard error that is closed has nobody to tell.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {name}: {}", why.trim().replace('\n', "; "));
}

fn enter(directory: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".to_owned());
    }
    for tool in ["ip", "mount", "mkfs.ext4"] {
        if !is_installed(tool) {
            return Err(format!("{tool} is not installed"));
        }
    }
    // SAFETY: only namespaces are unshared, and with the mounts the working directory, which nobody here changes. No
    // descriptor or memory is.
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) };
    unshared.map_err(|error| format!("no namespaces: {error}"))?;
    run("mount", &["--make-rprivate", "/"])?;
    run("mount", &["-t", "tmpfs", "-o", "size=6g", "nemesis", text(directory)])?;
    run("ip", &["link", "set", "lo", "up"])?;
    Ok(())
}

/// Whether a program of this name is on the path, or where only root looks for it.
pub fn is_installed(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|directory| Path::new(directory).join(tool).exists())
}

/// Runs a program to its end; what it said if that was no good.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    run_with_input(program, arguments, "")
}

/// The same with something on standard input.
pub fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let line = || format!("{program} {}", arguments.join(" "));
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", line()))?;
    // A program that does not read its input says so by its status.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| format!("{}: {error}", line()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", line(), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}
