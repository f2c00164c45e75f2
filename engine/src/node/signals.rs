//! SIGTERM and SIGINT: the first one drains the node, a second one ends it now.

use super::NodeFacts;
use super::health::Health;
use super::last_words;
use super::mesh::{Mesh, ToCore};
use super::stage::Stage;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Exit code of a process that was told twice: as a shell shows a SIGTERM.
const EXIT_NOW: i32 = 143;

/// How long a start may go on that is told to stop.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at it.
const START_PAUSE: Duration = Duration::from_millis(10);

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
            let Some((mesh, _)) = serving_soon(&stage) else {
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

/// What serves, if it does now or in a moment: a start that is nearly over is better ended from there than under its feet.
fn serving_soon(stage: &Stage) -> Option<(Mesh, Arc<NodeFacts>)> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        match stage.serving() {
            None if Instant::now() < deadline => std::thread::sleep(START_PAUSE),
            serving => return serving,
        }
    }
}
