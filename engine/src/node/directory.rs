//! The data directory: whose it is, and that only one process uses it.
//!
//! ```text
//! LOCK        flock by the running process
//! IDENTITY    format version, node name, incarnation, shard count: fixed at first start
//! PROPOSED    the founding record this node has proposed, until FORMED is there
//! FORMED      the founding record the cluster was formed with
//! MAP         the newest cluster map heard of, once it is not that of the founding
//! PATIENCE    the election timeout that this node has promised its support for
//! CREATED     the replicas of the first map have been created: from now on a missing one is a lost one (rule 7)
//! core-000/   journal/ and db/ of the first shard, and so on
//! args, pid   how to start it again, and its process: kvd leaves them for kvctl, without a checksum, and reads neither
//! ```
//!
//! Every other file is written aside, synced, renamed, and its directory synced (rule 15).

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// What the names of the directories of shards begin with.
const CORE: &str = "core-";

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process holds it.
    #[error(
        "the data directory {path} is in use by process {pid}: stop that one first, or give this node a directory of its own"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds it, if it said so.
        pid: String,
    },
    /// It was made for another node.
    #[error("the data directory {path} belongs to node {found:?}, not to {wanted:?}: correct node.name or node.data")]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// It was made for another number of shards.
    #[error(
        "the data directory {path} was made for {found} shards, the settings say {wanted}: the number is fixed at the first \
         start; set node.shards = {found}, or join as a new node with an empty directory"
    )]
    OtherShards {
        /// The directory.
        path: PathBuf,
        /// What it was made for.
        found: u16,
        /// What the settings say.
        wanted: u16,
    },
    /// A file that says who we are is damaged or of a later version.
    #[error("{path} cannot be read ({why}): restore it from a copy, or join as a new node with an empty directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file system refuses.
    #[error("cannot use {path}: {error}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// An open, locked data directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
    name: String,
    shards: u16,
    /// The random number this directory was born with. A wiped directory gets another (rule 7).
    pub incarnation: u64,
    /// Whether this process has drawn it: nobody has said anything under it before.
    pub is_fresh: bool,
}

impl Directory {
    /// Opens `path` for node `name` with `shards` shards, making it (mode 0700) if it is not there.
    pub fn open(path: &Path, name: &str, shards: u16) -> Result<Directory, DirectoryError> {
        let io_error = |error| DirectoryError::Io { path: path.to_path_buf(), error };
        make(path).map_err(io_error)?;
        let lock_path = path.join("LOCK");
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock_path).map_err(io_error)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            return Err(DirectoryError::InUse { path: path.to_path_buf(), pid: pid.trim().to_string() });
        }
        lock.set_len(0).map_err(io_error)?;
        writeln!(lock, "{}", std::process::id()).map_err(io_error)?;
        let mut directory = Directory {
            path: path.to_path_buf(),
            _lock: lock,
            name: name.into(),
            shards,
            incarnation: 0,
            is_fresh: false,
        };
        match directory.read("IDENTITY")? {
            Some(bytes) => directory.incarnation = directory.check_identity(&bytes, name, shards)?,
            None => directory.renew()?,
        }
        Ok(directory)
    }

    /// Draws an incarnation, which replaces the one there was: whatever was said under that is said by nobody any more.
    pub fn renew(&mut self) -> Result<(), DirectoryError> {
        let (incarnation, name, shards) = (random()?, &self.name, self.shards);
        let text = format!("format={FORMAT}\nname={name}\nincarnation={incarnation}\nshards={shards}\n");
        self.write("IDENTITY", text.as_bytes())?;
        (self.incarnation, self.is_fresh) = (incarnation, true);
        Ok(())
    }

    fn check_identity(&self, bytes: &[u8], name: &str, shards: u16) -> Result<u64, DirectoryError> {
        let damaged = |why: &str| DirectoryError::Damaged { path: self.path.join("IDENTITY"), why: why.into() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.ok_or_else(|| damaged(&format!("it has no line {name}=")))
        };
        let format: u32 = field("format")?.parse().map_err(|_| damaged("its format is no number"))?;
        if format != FORMAT {
            return Err(damaged(&format!("it has format {format}, this version knows {FORMAT}")));
        }
        let found = field("name")?;
        if found != name {
            let (path, found, wanted) = (self.path.clone(), found.into(), name.into());
            return Err(DirectoryError::OtherNode { path, found, wanted });
        }
        let found: u16 = field("shards")?.parse().map_err(|_| damaged("its shards is no number"))?;
        if found != shards {
            return Err(DirectoryError::OtherShards { path: self.path.clone(), found, wanted: shards });
        }
        field("incarnation")?.parse().map_err(|_| damaged("its incarnation is no number"))
    }

    /// Where the files of a shard live.
    pub fn core(&self, core: u16) -> PathBuf {
        self.path.join(format!("{CORE}{core:03}"))
    }

    /// Whether files of a shard are there, of any: some node has served from here, or was about to.
    pub fn has_cores(&self) -> Result<bool, DirectoryError> {
        let io_error = |error| DirectoryError::Io { path: self.path.clone(), error };
        for entry in fs::read_dir(&self.path).map_err(io_error)? {
            if entry.map_err(io_error)?.file_name().as_encoded_bytes().starts_with(CORE.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of one of the directory's small files; `None` if it is not there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        let path = self.path.join(name);
        let sealed = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DirectoryError::Io { path, error }),
        };
        // The last line is the crc of what stands before it.
        let damaged = || DirectoryError::Damaged { path: path.clone(), why: "its checksum is wrong".into() };
        let (content, crc) = sealed.split_at_checked(sealed.len().saturating_sub(9)).ok_or_else(damaged)?;
        match crc == format!("{:08x}\n", crc32fast::hash(content)).as_bytes() {
            true => Ok(Some(content.to_vec())),
            false => Err(damaged()),
        }
    }

    /// Replaces one of the directory's small files, durably.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let aside = self.path.join(format!("{name}.new"));
        let mut sealed = content.to_vec();
        sealed.extend_from_slice(format!("{:08x}\n", crc32fast::hash(content)).as_bytes());
        let write = || -> io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| DirectoryError::Io { path: path.clone(), error })
    }
}

/// Makes a directory (mode 0700) if it is not there, and has it outlive a power cut, whoever made it (rule 15): it is synced, and
/// what it lies in, and what was made on the way to it.
pub fn make(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let made = path.ancestors().take_while(|above| !above.is_dir()).count();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    for (above, directory) in path.ancestors().take(made.max(1) + 1).enumerate() {
        match File::open(directory).and_then(|directory| directory.sync_all()) {
            // What was there before is somebody else's, who may not have it read, or keep it where nothing is ever written.
            Err(error) if above >= made.max(1) && error.raw_os_error() != Some(Errno::IO.raw_os_error()) => {}
            done => done?,
        }
    }
    Ok(())
}

/// A random number from the kernel: an incarnation, a start id, the name of a journal's life.
pub fn random() -> Result<u64, DirectoryError> {
    let mut bytes = [0; 8];
    let source = Path::new("/dev/urandom");
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| DirectoryError::Io { path: source.to_path_buf(), error })?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_keeps_its_incarnation_and_refuses_others() {
        let temp = tempfile::tempdir().unwrap();
        let first = Directory::open(temp.path(), "n1", 2).unwrap();
        assert!(matches!(Directory::open(temp.path(), "n1", 2), Err(DirectoryError::InUse { .. })));
        let incarnation = first.incarnation;
        drop(first);
        assert_eq!(Directory::open(temp.path(), "n1", 2).unwrap().incarnation, incarnation);
        assert!(matches!(Directory::open(temp.path(), "n2", 2), Err(DirectoryError::OtherNode { .. })));
        assert!(matches!(Directory::open(temp.path(), "n1", 1), Err(DirectoryError::OtherShards { found: 2, .. })));
    }

    #[test]
    fn a_directory_is_made_with_its_way_and_for_nobody_else() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        for _ in 0..2 {
            make(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(make(&temp.path().join("file/c")).is_err());
        // A file system on which directories cannot be synced is none for a data directory.
        assert!(make(Path::new("/proc/self")).is_err());
    }

    #[test]
    fn a_flipped_byte_in_a_small_file_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let directory = Directory::open(temp.path(), "n1", 1).unwrap();
        directory.write("FORMED", b"record").unwrap();
        assert_eq!(directory.read("FORMED").unwrap().unwrap(), b"record");
        let mut bytes = fs::read(temp.path().join("FORMED")).unwrap();
        bytes[2] ^= 1;
        fs::write(temp.path().join("FORMED"), bytes).unwrap();
        assert!(matches!(directory.read("FORMED"), Err(DirectoryError::Damaged { .. })));
        assert!(directory.read("PROPOSED").unwrap().is_none());
    }
}
