//! The grammar of the command line: what can be typed, and the help that says so.
//!
//! Bare verbs for data, a noun and a verb for the rest. Knows nothing of what a command does.

mod bench;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::output::Format;
use crate::text::Encoding;

pub use bench::{Bench, BenchArrivals, BenchDistribution, BenchLoad, BenchRun, BenchSweep, BenchWork, BenchWorkload};

/// Talk to a kvd cluster.
#[derive(Debug, Parser)]
#[command(name = "kvctl", version, arg_required_else_help = true, after_help = examples::TOP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// Servers to ask first, host:port, separated by commas; one is enough
    #[arg(
        short,
        long,
        global = true,
        value_delimiter = ',',
        value_parser = endpoint,
        value_name = "HOST:PORT",
        env = "KVCTL_ENDPOINTS",
        default_value = "127.0.0.1:7400",
        hide_env_values = true
    )]
    pub endpoints: Vec<String>,
    /// How to print the answer [default: table on a terminal, plain otherwise]
    #[arg(short, long, global = true, value_enum, env = "KVCTL_OUTPUT", hide_env_values = true)]
    pub output: Option<Format>,
    /// Give up after this long, such as 500ms, 5s or 1m; per request in `bench` and `data import`, per page in `scan`
    #[arg(long, global = true, value_parser = bounded, value_name = "DURATION", default_value = "5s")]
    pub timeout: Duration,
    /// How keys and values are written on this command line
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub encoding: Encoding,
}

/// What is longer than any patience, and short enough to be added to any moment.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration of a year at the most.
fn bounded(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > DURATION_MAX => Err("a year is the most".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// As many replicas as survive the loss of one.
fn three_or_five(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|replicas| [3, 5].contains(replicas)).ok_or_else(|| "3 or 5 is wanted".to_owned())
}

/// An address that can be asked; what its host stands for is seen later.
fn endpoint(text: &str) -> Result<String, String> {
    config::address::split(text).map(|_| text.to_owned())
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the value of a key
    #[command(after_help = examples::GET)]
    Get(Get),
    /// Write a value
    #[command(after_help = examples::PUT)]
    Put(Put),
    /// Delete a key; a key that is not there is no error
    #[command(after_help = examples::DEL)]
    Del(Del),
    /// Write a value only if the present one is as expected
    #[command(after_help = examples::CAS)]
    Cas(Cas),
    /// List keys and values in key order
    #[command(after_help = examples::SCAN)]
    Scan(Scan),
    /// Show nodes, groups and replicas; exits with 10 if something is not well
    #[command(after_help = examples::STATUS)]
    Status,
    /// Look at groups: list, locate, checksum
    #[command(subcommand, after_help = examples::GROUP)]
    Group(Group),
    /// Move data in bulk
    #[command(subcommand, after_help = examples::DATA)]
    Data(Data),
    /// Stop and start nodes
    #[command(subcommand, after_help = examples::NODE)]
    Node(Node),
    /// Measure a cluster
    #[command(subcommand, after_help = examples::BENCH)]
    Bench(Bench),
    /// Start a cluster on this machine, kill its busiest leader under load and check every answer
    #[command(after_help = examples::DEMO)]
    Demo(Demo),
}

#[derive(Debug, Args)]
pub struct Get {
    /// The key; write `--` before one that starts with a dash
    pub key: OsString,
    /// Print the exact bytes of the value, without a newline, in any output format
    #[arg(long)]
    pub raw: bool,
    /// Answer from any replica, without asking whether it is up to date
    #[arg(long)]
    pub stale: bool,
}

#[derive(Debug, Args)]
pub struct Put {
    /// The key; write `--` before one that starts with a dash
    pub key: OsString,
    /// The value, or `-` for standard input, or `@FILE` for the contents of a file
    #[arg(allow_negative_numbers = true)]
    pub value: OsString,
    /// Write only if the key does not exist; exits with 4 if it does
    #[arg(long)]
    pub if_absent: bool,
}

#[derive(Debug, Args)]
pub struct Del {
    /// The key; write `--` before one that starts with a dash
    pub key: OsString,
}

#[derive(Debug, Args)]
pub struct Cas {
    /// The key; write `--` before one that starts with a dash
    pub key: OsString,
    /// The value that must be there: text, `-` or `@FILE`
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub expect: OsString,
    /// The value to write: text, `-` or `@FILE`
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub set: OsString,
}

#[derive(Debug, Args)]
pub struct Scan {
    /// Only keys that start with this
    #[arg(long, conflicts_with_all = ["start", "end"], allow_hyphen_values = true)]
    pub prefix: Option<OsString>,
    /// From this key on (included)
    #[arg(long, allow_hyphen_values = true)]
    pub start: Option<OsString>,
    /// Up to this key (not included)
    #[arg(long, allow_hyphen_values = true)]
    pub end: Option<OsString>,
    /// At most this many entries; the answer says whether there are more
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Answer from any replica, without asking whether it is up to date
    #[arg(long)]
    pub stale: bool,
}

#[derive(Debug, Subcommand)]
pub enum Group {
    /// List all groups with their leaders and replicas
    #[command(after_help = examples::GROUP_LIST)]
    List,
    /// Say which group holds a key, and who leads it
    #[command(after_help = examples::GROUP_LOCATE)]
    Locate {
        /// The key; write `--` before one that starts with a dash
        key: OsString,
    },
    /// Hash what every replica holds on its disk and compare; exits with 1 if they differ, 10 if one is missing
    #[command(after_help = examples::GROUP_CHECKSUM)]
    Checksum,
}

#[derive(Debug, Subcommand)]
pub enum Data {
    /// Write every row of a file, many at once
    #[command(after_help = examples::DATA_IMPORT)]
    Import(Import),
}

#[derive(Debug, Args)]
pub struct Import {
    /// A .tsv or .jsonl file, or `-` for standard input (then with --format)
    pub file: PathBuf,
    /// What the file is, if its name does not say it
    #[arg(long, value_enum)]
    pub format: Option<ImportFormat>,
    /// Requests under way at once; fewer if they hold more than 256 MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub depth: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// KEY, a tab, VALUE; \t \n \r \\ and \xNN stand for bytes
    Tsv,
    /// One {"key": .., "value": .., "enc": "utf8" or "base64"} a line
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Ask a node to hand over its groups and end
    #[command(after_help = examples::NODE_STOP)]
    Stop {
        /// The node's name, as `kvctl status` shows it
        name: String,
        /// Let it end at once, without handing anything over
        #[arg(long)]
        now: bool,
    },
    /// Start a node of this machine again, with the arguments it left in its data directory
    #[command(after_help = examples::NODE_START)]
    Start {
        /// The node's name; the data directory must be its own
        name: String,
        /// Its data directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Start it empty, as a new node under a new incarnation; what it held is set aside (asks on a terminal)
        #[arg(long)]
        new: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// Nodes to start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=9))]
    pub nodes: u16,
    /// Shards (cores) of each node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: u16,
    /// Groups of the cluster
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub groups: u32,
    /// Replicas of each group: 3 or 5
    #[arg(long, default_value_t = 3, value_parser = three_or_five)]
    pub replication: u16,
    /// Versions to write while a node is killed
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub writes: u64,
    /// The package database to import [default: /var/lib/dpkg/status; made-up packages where that is not there]
    #[arg(long, value_name = "FILE")]
    pub packages: Option<PathBuf>,
    /// Where the nodes keep their data [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Leave the cluster running at the end
    #[arg(long)]
    pub keep: bool,
}

/// The end of each help text: lines that can be typed as they stand.
mod examples {
    pub const TOP: &str = "Examples:
  kvctl put greeting hello
  kvctl get greeting
  kvctl -e 127.0.0.1:7401 status
  kvctl scan --prefix user: -o json

Exit codes: 0 ok, 1 error, 2 usage, 3 key not found, 4 precondition failed, 5 unavailable (nothing was
applied), 6 timed out (outcome unknown), 8 protocol mismatch, 10 unhealthy or a replica missing";
    pub const GET: &str = "Examples:
  kvctl get greeting
  kvctl get --raw photo > photo.jpg
  kvctl get -o json greeting
  kvctl get -- -dashed-key

Without --raw, bytes that cannot be printed appear as \\xNN and a backslash as \\\\; in a table also blanks at either
end. Exits with 3 if the key is not there.";
    pub const PUT: &str = "Examples:
  kvctl put greeting hello
  kvctl put photo @photo.jpg
  date | kvctl put now -
  kvctl put --if-absent lock mine";
    pub const DEL: &str = "Examples:
  kvctl del greeting
  kvctl del -- -dashed-key";
    pub const CAS: &str = "Examples:
  kvctl cas counter --expect 1 --set 2
  kvctl cas config --expect @old.toml --set @new.toml

Exits with 4 if the key is not there or holds something else.";
    pub const SCAN: &str = "Examples:
  kvctl scan --prefix user:
  kvctl scan --start a --end b --limit 1000
  kvctl scan -o plain --limit 1000000 > all.tsv

Keys are spread over groups by their hash, so a scan asks every group and merges the answers. Each group's
share is linearizable; the page as a whole is not one instant.";
    pub const STATUS: &str = "Examples:
  kvctl status
  kvctl status -o json
  kvctl -e 127.0.0.1:7402 status --timeout 2s

Exits with 0 if every node answers, every group has a leader, and every replica is served, knows it, votes, has all
its data and belongs to a group whose members do not change: then the next disk may be replaced. Exits with 10 if
something of that is missing, and prints what there is; with 5, without an answer, if no node can be asked.";
    pub const GROUP: &str = "Examples:
  kvctl group list
  kvctl group locate greeting
  kvctl group checksum";
    pub const GROUP_LIST: &str = "Examples:
  kvctl group list
  kvctl group list -o json";
    pub const GROUP_LOCATE: &str = "Examples:
  kvctl group locate greeting
  kvctl group locate -o json -- -dashed-key";
    pub const GROUP_CHECKSUM: &str = "Examples:
  kvctl group checksum
  kvctl group checksum --timeout 30s -o json

Replicas are compared at one applied index. While writes are under way it asks again until the timeout.";
    pub const DATA: &str = "Examples:
  kvctl data import packages.tsv
  kvctl scan -o plain --limit 1000000 | kvctl -e other:7400 data import - --format tsv";
    pub const DATA_IMPORT: &str = "Examples:
  kvctl data import packages.tsv
  kvctl data import users.jsonl
  printf 'k1\\tv1\\nk2\\tv2\\n' | kvctl data import - --format tsv

A .tsv row is KEY, a tab, VALUE, where \\t \\n \\r \\\\ and \\xNN stand for bytes. A .jsonl row is
{\"key\":\"..\",\"value\":\"..\",\"enc\":\"utf8\"}, or \"base64\" for both. Empty lines are passed over. Each row is one
put of its own; rows of one key are written in the order of the file. Rows that fail are reported with their line.

A last .tsv line without a newline may have been cut: it is written and named if it comes from a file, and fails if it
comes through a pipe.";
    pub const NODE: &str = "Examples:
  kvctl node stop n2
  kvctl node start n2 --data ./kvd-data/n2";
    pub const NODE_STOP: &str = "Examples:
  kvctl node stop n2
  kvctl node stop n2 --now

A node takes this request from its own machine only.";
    pub const NODE_START: &str = "Examples:
  kvctl node start n2 --data ./kvd-data/n2
  kvctl node start n2 --data ./kvd-data/n2 --new";
    pub const BENCH: &str = "Examples:
  kvctl bench load
  kvctl bench run get --clients 256 --connections 16
  kvctl bench sweep put --connections 8 --svg put.svg";
    pub const BENCH_LOAD: &str = "Examples:
  kvctl bench load
  kvctl bench load --keys 1000000 --value-size 1000 --connections 8

Every number below --keys is one key, written once, so that every run with the same --keys finds them all.";
    pub const BENCH_RUN: &str = "Examples:
  kvctl bench run put --clients 256 --connections 16 --duration 30s
  kvctl bench run mixed --read-share 0.9 --distribution zipfian
  kvctl bench run ycsb-a --keys 1000000 -o json > a.json
  kvctl bench run put --rate 20k --connections 8 --arrivals poisson

Without --rate a closed loop: a slow answer delays the next request, so these latencies are those of a patient
client. With --rate an open loop: latency counts from the moment a request was due, also when it left late.
Latencies and errors are those of the requests that began in --duration, however late they end; OPS/S counts
the answers that came in it.

ycsb-a to ycsb-f are the workloads of the Yahoo! Cloud Serving Benchmark, with its shares, its zipfian (0.99,
scattered) and latest distributions and scans of 1 to 100 entries; one value of --value-size stands for the ten
fields of a record, and an update writes all of it. D and E add keys: load an empty cluster before each of them.
A scan asks every group, as keys are spread by their hash.";
    pub const BENCH_SWEEP: &str = "Examples:
  kvctl bench sweep put --connections 8
  kvctl bench sweep get --rates 5k,10k,20k,40k --duration 5s -o json > sweep.json
  kvctl bench sweep ycsb-b --connections 8 --svg ycsb-b.svg

Rates that were found, not given, end at the first that the cluster did not keep up with.";
    pub const BENCH_COMPARE: &str = "Examples:
  kvctl bench compare before.json after.json
  kvctl bench compare before.json after.json -o json

Both files hold what `kvctl bench run -o json` printed. The exit code says nothing about who was faster.";
    pub const DEMO: &str = "Examples:
  kvctl demo
  kvctl demo --nodes 5 --keep";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_can_be_added_to_any_moment() {
        assert_eq!(bounded("365d"), Ok(DURATION_MAX));
        assert!(std::time::Instant::now().checked_add(DURATION_MAX).is_some());
        for wrong in ["366d", "100000000000years", "soon", ""] {
            assert!(bounded(wrong).is_err(), "{wrong}");
        }
    }
}
