//! SIGTERM and SIGINT: the first one drains the node, a second one ends it now. SIGURG does nothing but end a core's wait.

use super::health::Health;
use super::mesh::ToCore;
use super::stage::Stage;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM, SIGURG};
use signal_hook::iterator::Signals;
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

/// Exit code of a process that was told twice: as a shell shows a SIGTERM.
const EXIT_NOW: i32 = 143;

/// Starts the thread that waits for signals.
pub fn start(stage: Arc<Stage>, health: Arc<Health>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if health.is_draining() {
                tracing::warn!(signal, "told to stop again: ending now");
                std::process::exit(EXIT_NOW);
            }
            health.drain();
            let Some((mesh, _)) = stage.serving() else {
                tracing::info!(signal, "told to stop before serving anything");
                std::process::exit(0);
            };
            tracing::info!(signal, "told to stop: handing leaders over");
            for core in 0..mesh.len() {
                mesh.send(core, ToCore::Drain);
            }
        }
    })?;
    Ok(())
}

/// From now on [`nudge`] may be called: the signal it sends has a handler, which nobody looks at.
pub fn allow_nudges() -> io::Result<()> {
    signal_hook::flag::register(SIGURG, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Ends the wait of a core that may have gone to sleep with a task to run.
///
/// The runtime does that when its preemption timer fires between being armed and the first look at the tasks: it takes
/// "none was run" for "there is none". Whatever happens next wakes it, but there may be nothing: one that begins has only that task,
/// and one whose tick is due, too, has its next tick behind a task that is not run, and its inbox and sockets as well. On a busy
/// machine about one start in a hundred hung for ever, and a core in some minutes of work since its journal has a thread of its own.
pub fn nudge(core: &JoinHandle<()>) {
    // One that has ended meanwhile needs none.
    let _ = nix::sys::pthread::pthread_kill(core.as_pthread_t(), nix::sys::signal::Signal::SIGURG);
}

/// Stops this node as an operator on this machine asked: drained, or as if it had been killed.
pub fn stop_this_process(clean: bool) {
    let signal = if clean { Signal::TERM } else { Signal::KILL };
    if let Err(error) = kill_process(getpid(), signal) {
        tracing::error!(%error, "cannot signal myself");
        std::process::abort();
    }
}
