//! SIGTERM and SIGINT: the first one drains the node, a second one ends it now.

use super::health::Health;
use super::last_words;
use super::mesh::ToCore;
use super::stage::Stage;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;

/// Exit code of a process that was told twice: as a shell shows a SIGTERM.
const EXIT_NOW: i32 = 143;

/// Starts the thread that waits for signals. Where it ends the process itself, `ends` goes first.
pub fn start(stage: Arc<Stage>, health: Arc<Health>, ends: Box<dyn Fn() + Send>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if health.is_draining() {
                tracing::warn!(signal, "told to stop again: ending now");
                last_words::are_said();
                ends();
                std::process::exit(EXIT_NOW);
            }
            health.drain();
            let Some((mesh, _)) = stage.serving() else {
                tracing::info!(signal, "told to stop before serving anything");
                last_words::are_said();
                ends();
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

/// Stops this node as an operator on this machine asked: drained, or as if it had been killed.
pub fn stop_this_process(clean: bool) {
    let signal = if clean { Signal::TERM } else { Signal::KILL };
    if let Err(error) = kill_process(getpid(), signal) {
        tracing::error!(%error, "cannot signal myself");
        std::process::abort();
    }
}
