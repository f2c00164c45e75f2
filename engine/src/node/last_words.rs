//! How a process ends that must not go on: it says why, if that can be said soon.
//!
//! Once the node has ended by itself, nothing depends any more on what some thread of it is still at, and the data directory may
//! be gone: whoever fails then only stops by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the last words may take.
const PATIENCE: Duration = Duration::from_millis(500);

static ENDED: AtomicBool = AtomicBool::new(false);

/// The node has ended, and the process is about to.
pub fn are_said() {
    ENDED.store(true, Ordering::Release);
}

/// Ends the process if there is still a node, once `say` has said why.
pub fn stop(say: impl FnOnce()) -> ! {
    while ENDED.load(Ordering::Acquire) {
        std::thread::park();
    }
    abort(say)
}

/// Ends the process once `say` has said why, or when that takes too long: whoever reads the log may be waiting for the very disk that
/// failed, and the log for the reader.
pub fn abort(say: impl FnOnce()) -> ! {
    // A system that refuses a thread now has the process wait for its log.
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(PATIENCE);
        std::process::abort();
    });
    say();
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::stop;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Says to the process that it is the one to end.
    const ENDS: &str = "KVD_TEST_LAST_WORDS";

    #[test]
    fn a_log_that_nobody_reads_stops_no_end() {
        if std::env::var_os(ENDS).is_some() {
            stop(|| {
                loop {
                    std::thread::park();
                }
            });
        }
        let name = "node::last_words::tests::a_log_that_nobody_reads_stops_no_end";
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", name]).env(ENDS, "1").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the same test");
        let id = rustix::process::Pid::from_child(&child);
        let (ended, when) = channel();
        std::thread::spawn(move || ended.send(child.wait()));
        let Ok(status) = when.recv_timeout(Duration::from_secs(60)) else {
            rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("it is there");
            panic!("it waits for its log");
        };
        let abort = rustix::process::Signal::ABORT.as_raw();
        assert_eq!(status.expect("it was waited for").signal(), Some(abort));
    }
}
