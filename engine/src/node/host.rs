//! What the machine must offer before anything is started, each lack worded with its remedy.

use super::runtime;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs;

/// Why this machine cannot run a node as configured. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The runtime pins its rings' buffers.
    #[error(
        "the locked-memory limit is {have} bytes, and a node needs {need}: raise it (systemd: LimitMEMLOCK=infinity; \
         shell: ulimit -l unlimited; login: a memlock line in limits.conf)"
    )]
    Memlock {
        /// The soft limit.
        have: u64,
        /// What is needed.
        need: u64,
    },
    /// No ring, no node.
    #[error(
        "io_uring is not available ({why}): it needs Linux 5.8 or newer, kernel.io_uring_disabled = 0, and a sandbox \
         (container, seccomp) that allows it"
    )]
    IoUring {
        /// What the kernel or the runtime said.
        why: String,
    },
    /// A `cpus` entry that this process may not run on.
    #[error("cpu {cpu} cannot be used for a shard: this process may run on {allowed}")]
    Cpu {
        /// The CPU asked for.
        cpu: usize,
        /// The mask of the process.
        allowed: String,
    },
}

/// Checks limits and the kernel for shards on `cpus` (empty: not pinned), raising soft limits where it may.
pub fn check(cpus: &[usize]) -> Result<(), HostError> {
    raise(Resource::Nofile);
    raise(Resource::Memlock);
    let have = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    if have < runtime::MEMLOCK_BYTES_MIN {
        return Err(HostError::Memlock { have, need: runtime::MEMLOCK_BYTES_MIN });
    }
    if fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|value| value.trim() == "2") {
        return Err(HostError::IoUring { why: "kernel.io_uring_disabled is 2".into() });
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("").trim();
    for &cpu in cpus {
        if !in_list(allowed, cpu) {
            return Err(HostError::Cpu { cpu, allowed: allowed.into() });
        }
    }
    probe_ring()
}

/// How many clients may be connected at once before they take the descriptors that the journal and the store need: half
/// of all, less the `aside` that other doors than theirs may hold. Callers at their hello have an eighth more ([`callers`]).
pub fn places(aside: usize) -> u32 {
    (descriptors() / 2).saturating_sub(aside as u64).min(u64::from(u32::MAX)) as u32
}

/// How many callers may be at one door at once, of `most`: an eighth of all descriptors, if that is less.
pub fn callers(most: usize) -> usize {
    most.min((descriptors() / 8) as usize).max(1)
}

/// How many files each of the stores of `cores` cores may keep open: a quarter of all descriptors for all of them, as far as it goes.
pub fn store_files(cores: u16) -> u32 {
    store_files_of(descriptors(), cores)
}

fn store_files_of(descriptors: u64, cores: u16) -> u32 {
    (descriptors / 4 / u64::from(cores.max(1))).clamp(64, 1024) as u32
}

fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Makes one executor, as only that shows whether the kernel gives us rings.
fn probe_ring() -> Result<(), HostError> {
    let probe = std::thread::Builder::new()
        .name("probe".into())
        .spawn(|| std::panic::catch_unwind(|| runtime::probe("probe")))
        .map_err(|error| HostError::IoUring { why: error.to_string() })?;
    match probe.join() {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(HostError::IoUring { why: error.to_string() }),
        _ => Err(HostError::IoUring { why: "the kernel refused to set up a ring".into() }),
    }
}

/// Raises a soft limit to its hard one; being refused is no fault, the check that follows tells.
fn raise(resource: Resource) {
    let mut limit = getrlimit(resource);
    limit.current = limit.maximum;
    let _ = setrlimit(resource, limit);
}

fn in_list(list: &str, cpu: usize) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.trim().parse::<usize>(), last.trim().parse::<usize>()), (Ok(a), Ok(b)) if a <= cpu && cpu <= b)
    })
}

#[cfg(test)]
mod tests {
    use super::{in_list, store_files_of};

    #[test]
    fn stores_leave_descriptors_to_the_others() {
        assert_eq!(store_files_of(1024, 2), 128);
        assert_eq!(store_files_of(u64::MAX, 8), 1024);
        assert_eq!(store_files_of(256, 8), 64, "fewer would have it open a file for each read");
    }

    #[test]
    fn a_cpu_is_found_in_ranges_and_single_numbers() {
        assert!(in_list("0-3,8", 2) && in_list("0-3,8", 8));
        assert!(!in_list("0-3,8", 5) && !in_list("", 0));
    }
}
