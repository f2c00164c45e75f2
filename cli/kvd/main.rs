//! The server: reads its command line and settings, then is one node of a cluster until it is told to stop.
//!
//! Exit codes: 0 stopped as asked, 1 could not go on, 2 a command line or settings that cannot be meant.

mod args;
mod checksums;
mod log;
mod memory;
mod sources;
mod traces;

use args::{Cli, Command, ConfigCommand, Run};
use clap::Parser;
use engine::node::{Around, NodeError, Turn};
use log::Log;
use sources::Prepared;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

/// A command line or settings that cannot be meant; clap uses the same number.
const EXIT_USAGE: u8 = 2;

/// How often it is tried to remove temporary data, and the pause between two tries.
const REMOVALS_MAX: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let text = match Cli::parse().command {
        Command::Run(run) => return start(&run),
        Command::Version => format!("kvd {}\n", env!("CARGO_PKG_VERSION")),
        Command::Config(ConfigCommand::Default) => config::DEFAULT_FILE.into(),
        Command::Config(ConfigCommand::Check(sources)) => match sources::load(&sources) {
            Ok(prepared) => summary(&prepared),
            Err(error) => return refused(&error),
        },
        Command::Config(ConfigCommand::Show(sources)) => match sources::load(&sources) {
            Ok(prepared) => config::show::effective(&prepared.loaded),
            Err(error) => return refused(&error),
        },
    };
    printed(std::io::stdout().lock(), &text)
}

/// Prints what was asked for. A file of settings that is not whole must not look like one.
fn printed(mut out: impl Write, text: &str) -> ExitCode {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads may have seen enough and closed the pipe; that is no error.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Is a node until told to stop.
fn start(run: &Run) -> ExitCode {
    memory::keep();
    let log = match Log::start() {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("cannot start the thread that writes the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = match sources::prepare(run) {
        Ok((prepared, temporary)) => match serve(run, prepared, temporary, &log) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log.say(&format!("kvd: {error}\n"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            log.say(&format!("kvd: {error}\n"));
            ExitCode::from(EXIT_USAGE)
        }
    };
    log.end();
    code
}

/// Is the node that was prepared. The data of a temporary one goes with it, however it is told to stop.
fn serve(run: &Run, prepared: Prepared, temporary: Option<TempDir>, log: &Log) -> Result<(), NodeError> {
    let Prepared { loaded, remarks } = prepared;
    for remark in remarks {
        tracing::warn!("{remark}");
    }
    if !loaded.settings.journal.fsync {
        tracing::warn!("journal.fsync is off: a power cut may lose acknowledged writes");
    }
    let data = loaded.settings.node.data.clone();
    let arguments = sources::arguments(&run.sources, &loaded);
    let stands: Turn = match run.dev {
        true => Box::new(|| Ok(())),
        false => Box::new(move || traces::leave(&data, &arguments).map_err(Into::into)),
    };
    let temporary = temporary.map(TempDir::keep);
    let (place, log) = (temporary.clone(), log.clone());
    let ends = Box::new(move || {
        log.end();
        place.iter().for_each(|place| remove(place));
    });
    let ended = engine::node::run(loaded.settings, Around { stands, ends });
    temporary.iter().for_each(|place| remove(place));
    ended
}

/// Removes temporary data. Threads that nobody waits for may still make a file there, which is then removed with the next try;
/// what cannot be removed is left: it lies where others clean up.
fn remove(place: &Path) {
    for _ in 0..REMOVALS_MAX {
        match std::fs::remove_dir_all(place) {
            Err(error) if error.kind() != ErrorKind::NotFound => std::thread::sleep(REMOVAL_PAUSE),
            _ => return,
        }
    }
}

/// What checked settings mean, in words.
fn summary(prepared: &Prepared) -> String {
    let node = &prepared.loaded.settings.node;
    let mut text = format!(
        "the settings hold: node {} of {}, at {}, data in {}\n{} shards here, {} groups of {} replicas in the cluster\n",
        node.name,
        node.nodes.len(),
        node.listen,
        node.data.display(),
        node.shards,
        node.groups,
        node.replication
    );
    prepared.remarks.iter().for_each(|remark| text += &format!("{remark}\n"));
    text
}

fn refused(error: &dyn std::fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::from(EXIT_USAGE)
}

/// Says on standard error what is wrong; where that cannot be written, the exit code still says it.
fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "kvd: {error}");
}
