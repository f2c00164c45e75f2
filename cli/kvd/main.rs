//! The server: reads its command line and settings, then is one node of a cluster until it is told to stop.
//!
//! Exit codes: 0 stopped as asked, 1 could not go on, 2 a command line or settings that cannot be meant.

mod args;
mod checksums;
mod memory;
mod sources;
mod traces;

use args::{Cli, Command, ConfigCommand, Run};
use clap::Parser;
use sources::Prepared;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// A command line or settings that cannot be meant; clap uses the same number.
const EXIT_USAGE: u8 = 2;

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
    // Whoever reads may have seen enough and closed the pipe; that is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Is a node until told to stop.
fn start(run: &Run) -> ExitCode {
    memory::keep();
    log_to_stderr();
    let (prepared, _temporary) = match sources::prepare(run) {
        Ok(prepared) => prepared,
        Err(error) => return refused(&error),
    };
    let Prepared { loaded, remarks } = prepared;
    for remark in remarks {
        tracing::warn!("{remark}");
    }
    if !loaded.settings.journal.fsync {
        tracing::warn!("journal.fsync is off: a power cut may lose acknowledged writes");
    }
    let node = &loaded.settings.node;
    if !run.dev
        && let Err(error) =
            traces::leave(&node.data, &node.name, node.shards, &sources::arguments(&run.sources, &loaded))
    {
        return failed(&error);
    }
    match engine::node::run(loaded.settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
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
    eprintln!("kvd: {error}");
    ExitCode::from(EXIT_USAGE)
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("kvd: {error}");
    ExitCode::FAILURE
}

/// Sends what is logged to stderr: for people on a terminal, one JSON object a line otherwise. `KVD_LOG` says
/// how much.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::builder().with_env_var("KVD_LOG");
    let filter = filter.with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().flatten_event(true).with_ansi(false).init();
    }
}
