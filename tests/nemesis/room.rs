//! A network namespace of one node: a thread that lives in it and does what it is told there.

#![allow(unsafe_code)]

use std::sync::mpsc::{Sender, channel};

use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own. Processes and threads started by its jobs are in it too.
pub struct Room {
    /// The id of the thread, by which `ip` finds the namespace.
    pub thread: i32,
    jobs: Sender<Job>,
}

impl Room {
    /// Makes one.
    pub fn open(name: &str) -> Result<Room, String> {
        let (jobs, work) = channel::<Job>();
        let (opened, is_open) = channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // SAFETY: only the network namespace is unshared; no descriptor or memory is.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            let unshared = unshared.map(|()| gettid().as_raw_nonzero().get());
            if opened.send(unshared.map_err(|error| format!("no network namespace: {error}"))).is_ok() {
                work.into_iter().for_each(|job| job());
            }
        });
        thread.map_err(|error| error.to_string())?;
        let thread = is_open.recv().map_err(|error| error.to_string())??;
        Ok(Room { thread, jobs })
    }

    /// Runs `job` in the room and waits for it.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = move || drop(done.send(job()));
        self.jobs.send(Box::new(job)).expect("the room is open");
        result.recv().expect("the job does not panic")
    }
}
