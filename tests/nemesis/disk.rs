//! A disk of one node: an ext4 image in memory that can lose its power, stall and fill up.
//!
//! The power goes by `EXT4_IOC_SHUTDOWN` without a flush of the log: whatever was not synced is gone after the next
//! mount, and every access until then is an I/O error. A stall is a frozen file system.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::ioctl::{Setter, ioctl, opcode};

use super::stage::{run, text};
use crate::harness::until;

/// Large enough for what a test writes, small enough for many in memory.
const BYTES: u64 = 384 << 20;
/// Processes that were just killed may hold a mount a little longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than the file system needs for its notes on one large file, in bytes.
const NOTES: u64 = 4 << 20;
/// Do not even write the file system's own log.
const NO_LOG_FLUSH: u32 = 2;

/// An image and where it is mounted.
pub struct Disk {
    /// The root of its file system.
    pub path: PathBuf,
    image: PathBuf,
    ballast: PathBuf,
    stalling: Option<Child>,
}

impl Disk {
    /// Makes an image of `bytes` bytes (0: as most tests need) in `directory`, with a file system, and mounts it.
    pub fn make(directory: &Path, name: &str, bytes: u64) -> Result<Disk, String> {
        let image = directory.join(format!("{name}.image"));
        let path = directory.join(name);
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(if bytes == 0 { BYTES } else { bytes }).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "nodiscard", text(&image)])?;
        let ballast = path.join("ballast");
        let disk = Disk { path, image, ballast, stalling: None };
        disk.mount()?;
        Ok(disk)
    }

    /// Whether this kernel can cut the power of a file system that nobody uses yet; why not.
    pub fn can_lose_power(&self) -> Result<(), String> {
        self.cut_power().map_err(|error| format!("EXT4_IOC_SHUTDOWN: {error}"))?;
        self.restore_power();
        Ok(())
    }

    /// From now on every access is an I/O error, and nothing reaches the disk any more.
    pub fn cut_power(&self) -> std::io::Result<()> {
        let root = File::open(&self.path)?;
        // SAFETY: the call reads one u32, which the setter owns, and changes nothing of this process.
        unsafe {
            let shutdown = Setter::<{ opcode::read::<u32>(b'X', 125) }, u32>::new(NO_LOG_FLUSH);
            ioctl(&root, shutdown)?;
        }
        Ok(())
    }

    /// Mounts the disk again as it is. Nobody may use it.
    pub fn restore_power(&self) {
        let deadline = Instant::now() + PATIENCE;
        until(deadline, format!("{} to be free", self.path.display()), || Ok(run("umount", &[text(&self.path)]).ok()))
            .unwrap_or_else(|error| panic!("{error}: {:?}", run("umount", &[text(&self.path)])));
        self.mount().expect("the disk is mounted again");
    }

    /// Until [`Disk::recover`], the disk stands still for `stall` again and again, with a short breath between.
    pub fn stall(&mut self, stall: Duration) {
        // A process of its own thaws what it froze, whatever becomes of this one: nobody could be killed otherwise. It
        // ends when it is told to, or when nobody is there any more to tell it.
        let script = "trap '' INT TERM HUP\n\
            while :; do\n\
            fsfreeze -f \"$1\" || exit 1; sleep \"$2\"; fsfreeze -u \"$1\"\n\
            [ -e \"$3\" ] && kill -0 \"$4\" || exit 0; sleep 0.05\n\
            done";
        let flag = self.flag();
        std::fs::write(&flag, "").expect("a flag");
        let seconds = format!("{:.3}", stall.as_secs_f64());
        let owner = std::process::id().to_string();
        let child = Command::new("sh")
            .args(["-c", script, "kv-stall", text(&self.path), &seconds, text(&flag), &owner])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.stalling = Some(child.expect("sh"));
    }

    /// Ends the stalls.
    pub fn recover(&mut self) {
        let Some(mut child) = self.stalling.take() else { return };
        let _ = std::fs::remove_file(self.flag());
        child.wait().expect("the stalls end");
    }

    /// Leaves about `left` bytes free.
    pub fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(&self.path).expect("a mounted disk");
        // Some of what is free goes to the file system's own notes on the rest.
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left.max(NOTES));
        run("fallocate", &["-l", &bytes.to_string(), text(&self.ballast)]).expect("the disk is filled");
        let mut ballast = OpenOptions::new().append(true).open(&self.ballast).expect("the ballast");
        while left == 0 && ballast.write_all(&[1; 4096]).is_ok() {}
    }

    /// Bytes that are left.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.path).expect("a mounted disk");
        stat.f_bavail * stat.f_frsize
    }

    /// Gives the room back.
    pub fn empty(&self) {
        std::fs::remove_file(&self.ballast).expect("there was a ballast");
        // A power cut must not bring it back.
        File::open(&self.path).and_then(|root| root.sync_all()).expect("it is gone for good");
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop,noatime", text(&self.image), text(&self.path)])
    }

    fn flag(&self) -> PathBuf {
        self.image.with_extension("stalling")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.recover();
    }
}
