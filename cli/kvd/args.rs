//! The grammar of the server's command line, and the help that says so.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// One node of a replicated key-value store.
#[derive(Debug, Parser)]
#[command(name = "kvd", version, arg_required_else_help = true, max_term_width = 100, after_help = TOP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be a node, until told to stop with SIGTERM or Ctrl-C
    #[command(after_help = RUN)]
    Run(Run),
    /// Look at settings: check, show, default
    #[command(subcommand, after_help = CONFIG)]
    Config(ConfigCommand),
    /// Print the version
    #[command(after_help = VERSION)]
    Version,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the settings can be meant, and what they mean; exits with 2 if not
    #[command(after_help = CHECK)]
    Check(Sources),
    /// Print the settings in force, and where each comes from
    #[command(after_help = SHOW)]
    Show(Sources),
    /// Print the annotated file of all defaults
    #[command(after_help = DEFAULT)]
    Default,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub sources: Sources,
    /// One node with temporary data, to try things out: NOT DURABLE, NOT SECURE
    #[arg(long, conflicts_with_all = ["config", "servers", "name", "nodes", "data", "replication", "cpus", "new"])]
    pub dev: bool,
    /// Come in as a new node with a new incarnation, after the disk was lost
    #[arg(long)]
    pub new: bool,
}

/// Where settings come from. The later is stronger: file, environment (KVD__SECTION__KEY), these options, --set.
#[derive(Debug, Default, Args)]
pub struct Sources {
    /// The file of settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// This node's name in the list
    #[arg(long)]
    pub name: Option<String>,
    /// Where clients and peers connect
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// The data directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Every founding node, in the same order on all of them
    #[arg(long, value_name = "NAME=HOST:PORT,...")]
    pub nodes: Option<String>,
    /// The number of cores to work on; fixed in the data directory
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,
    /// The number of data groups of the cluster; fixed at the founding
    #[arg(long, value_name = "N")]
    pub groups: Option<u32>,
    /// Replicas of each group: 1, 3 or 5; fixed at the founding
    #[arg(long, value_name = "N")]
    pub replication: Option<u16>,
    /// Where health and metrics are answered over HTTP; an empty value turns it off
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// The CPUs to pin the shards to, such as 0-3
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,
    /// Any setting of the file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// A plain list of servers, one host:port a line; every five lines are a replica set. The admin ports of the servers
    /// of one host count up from 9090, past ports of the list, unless --admin says another
    #[arg(long, value_name = "FILE", requires = "listen", conflicts_with_all = ["config", "name", "nodes", "groups", "replication"])]
    pub servers: Option<PathBuf>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("say section.key=value, such as raft.election_timeout=500ms")?;
    Ok((name.trim().into(), value.trim().into()))
}

const TOP: &str = "\
Examples:
  kvd run --dev                       a node to try things out; talk to it with kvctl
  kvd run --config /etc/kvd/kvd.toml  a node as its file says
  kvd config default > kvd.toml       a file to begin with";

const RUN: &str = "\
Logging: KVD_LOG=debug, or per module: KVD_LOG=info,engine::node=debug

Examples:
  kvd run --dev
  kvd run --config /etc/kvd/kvd.toml --set raft.election_timeout=500ms
  kvd run --name n1 --listen 127.0.0.1:7401 --data data/n1 --admin 127.0.0.1:9091 \\
      --nodes n1=127.0.0.1:7401,n2=127.0.0.1:7402,n3=127.0.0.1:7403 --groups 4 --replication 3
  kvd run --servers servers.txt --listen 127.0.0.1:7401";

const CONFIG: &str = "\
Examples:
  kvd config default > kvd.toml
  kvd config check --config kvd.toml
  kvd config show --config kvd.toml --set node.shards=4";

const CHECK: &str = "\
Examples:
  kvd config check --config kvd.toml
  kvd config check --config kvd.toml --shards 4 --cpus 0-3";

const SHOW: &str = "\
Examples:
  kvd config show
  KVD__RAFT__ELECTION_TIMEOUT=500ms kvd config show --config kvd.toml
  kvd config show --config kvd.toml --set journal.segment=128MiB";

const DEFAULT: &str = "\
Examples:
  kvd config default
  kvd config default > kvd.toml";

const VERSION: &str = "\
Examples:
  kvd version
  kvd --version";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_in_two_to_four_runnable_examples() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().unwrap_or_else(|| panic!("{} has no examples", command.get_name()));
            let help = help.to_string();
            let (_, examples) = help.split_once("Examples:\n").expect("a heading");
            let examples = examples.replace("\\\n      ", "");
            let count = examples.lines().count();
            assert!((2..=4).contains(&count), "{}: {count} examples", command.get_name());
            for example in examples.lines() {
                // What follows two spaces says what the command is for, what follows > is the shell's.
                let typed = example.trim().split("  ").next().and_then(|typed| typed.split(" > ").next());
                let words = typed.into_iter().flat_map(str::split_whitespace);
                let words: Vec<&str> = words.skip_while(|word| word.contains("__")).collect();
                let parsed = Cli::try_parse_from(&words).err();
                let shown = |error: &clap::Error| error.kind() == clap::error::ErrorKind::DisplayVersion;
                assert!(parsed.as_ref().is_none_or(shown), "{words:?}: {parsed:?}");
            }
            command.get_subcommands().filter(|command| command.get_name() != "help").for_each(check);
        }
        check(&Cli::command());
    }
}
