//! From the command line to checked settings.

use crate::args::{Run, Sources};
use config::Settings;
use config::load::{self, ConfigError, ENVIRONMENT_PREFIX, Loaded, Origin};
use config::servers::{self, ServersError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Settings, and what to say about them before anything starts.
pub struct Prepared {
    pub loaded: Loaded,
    pub remarks: Vec<String>,
}

/// Why there are no settings.
#[derive(Debug)]
pub enum SourcesError {
    Config(ConfigError),
    Servers(ServersError),
    Temporary(std::io::Error),
    /// An environment variable that would be a setting is no text.
    NotText(OsString),
    /// A temporary node is told to keep its data somewhere.
    DevData {
        data: PathBuf,
        origin: Option<Origin>,
    },
}

impl std::fmt::Display for SourcesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourcesError::Config(error) => error.fmt(f),
            SourcesError::Servers(error) => error.fmt(f),
            SourcesError::Temporary(error) => write!(f, "no temporary directory for --dev: {error}"),
            SourcesError::NotText(name) => {
                write!(
                    f,
                    "environment variable {}: neither its name nor its value may be anything but UTF-8",
                    name.display()
                )
            }
            SourcesError::DevData { data, origin } => {
                let origin = origin.as_ref().map_or(String::new(), |origin| format!("{origin}: "));
                write!(
                    f,
                    "{origin}node.data = {}: with --dev the data is temporary; leave one of them out",
                    data.display()
                )
            }
        }
    }
}

/// The settings of a node that is about to run. The directory is removed when dropped.
pub fn prepare(run: &Run) -> Result<(Prepared, Option<TempDir>), SourcesError> {
    let mut defaults = Settings::default();
    defaults.node.new = run.new;
    if !run.dev {
        return Ok((load_over(defaults, &run.sources)?, None));
    }
    let directory = tempfile::Builder::new().prefix("kvd-dev-").tempdir().map_err(SourcesError::Temporary)?;
    defaults.node.name = "dev".into();
    defaults.node.data = directory.path().into();
    let mut prepared = load_over(defaults, &run.sources)?;
    let Loaded { settings, origins } = &prepared.loaded;
    if settings.node.data != directory.path() {
        let (data, origin) = (settings.node.data.clone(), origins.get("node.data").cloned());
        return Err(SourcesError::DevData { data, origin });
    }
    prepared.remarks.push(format!(
        "--dev: NOT DURABLE (data in {} is removed at the end), NOT SECURE (no passwords, no encryption)",
        directory.path().display()
    ));
    Ok((prepared, Some(directory)))
}

/// The settings of a node that is only looked at.
pub fn load(sources: &Sources) -> Result<Prepared, SourcesError> {
    load_over(Settings::default(), sources)
}

fn load_over(defaults: Settings, sources: &Sources) -> Result<Prepared, SourcesError> {
    let (mut over, mut origin, mut remarks) = (defaults, Origin::CommandLine, Vec::new());
    if let (Some(path), Some(listen)) = (&sources.servers, &sources.listen) {
        let list = servers::read(path).map_err(SourcesError::Servers)?;
        let settings = servers::settings(path, &list, listen).map_err(SourcesError::Servers)?;
        over.node = config::settings::Node { new: over.node.new, ..settings.node };
        origin = Origin::Servers(path.clone());
        remarks = servers::described(&list, listen);
    }
    let environment = settings_of(std::env::vars_os())?;
    let overrides = overrides(sources).map_err(SourcesError::Config)?;
    let loaded = load::load(over, origin, sources.config.as_deref(), environment, &overrides);
    Ok(Prepared { loaded: loaded.map_err(SourcesError::Config)?, remarks })
}

/// The environment's settings. Other variables are not our business, whatever they hold.
fn settings_of(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, SourcesError> {
    let ours = variables.filter(|(name, _)| name.as_bytes().starts_with(ENVIRONMENT_PREFIX.as_bytes()));
    ours.map(|(name, value)| match (name.to_str(), value.to_str()) {
        (Some(name), Some(value)) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(SourcesError::NotText(name)),
    })
    .collect()
}

/// The options as settings, weaker ones first. A path that is no text would be another one as a setting.
fn overrides(sources: &Sources) -> Result<Vec<(String, String)>, ConfigError> {
    let data = sources.data.as_ref().map(|path| path.to_str().map(str::to_owned).ok_or_else(|| not_text(path)));
    let options = [
        ("node.name", sources.name.clone()),
        ("node.listen", sources.listen.clone()),
        ("node.data", data.transpose()?),
        ("node.nodes", sources.nodes.clone()),
        ("node.shards", sources.shards.map(|count| count.to_string())),
        ("node.groups", sources.groups.map(|count| count.to_string())),
        ("node.replication", sources.replication.map(|count| count.to_string())),
        ("node.admin", sources.admin.clone()),
        ("node.cpus", sources.cpus.clone()),
    ];
    let given = options.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
    Ok(given.chain(sources.settings.iter().cloned()).collect())
}

fn not_text(data: &Path) -> ConfigError {
    let why = format!("{} is not UTF-8: use a directory whose name is", data.display());
    ConfigError::Refused { origin: Origin::CommandLine, name: "node.data".into(), why }
}

/// Arguments that start this node again, from any directory and without this environment. They never ask for
/// a new incarnation: a node that came in as new is a member when it starts again.
pub fn arguments(sources: &Sources, loaded: &Loaded) -> Vec<OsString> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into()).into_os_string();
    let node = &loaded.settings.node;
    let mut arguments: Vec<OsString> = vec!["run".into()];
    let mut add = |option: &str, value: OsString| arguments.extend([option.into(), value]);
    match &sources.servers {
        Some(list) => {
            add("--servers", absolute(list));
            add("--listen", node.name.clone().into());
        }
        None => add("--name", node.name.clone().into()),
    }
    add("--data", absolute(&node.data));
    if let Some(file) = &sources.config {
        add("--config", absolute(file));
    }
    // Both were read before, or there would be no node.
    let environment =
        settings_of(std::env::vars_os()).unwrap_or_default().into_iter().filter_map(|(variable, value)| {
            let name = variable.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase().replacen("__", ".", 1);
            Some((name, value))
        });
    // Of several values the last one counts.
    let mut settings: BTreeMap<_, _> = environment.chain(overrides(sources).unwrap_or_default()).collect();
    for said in ["node.name", "node.data", "node.new"] {
        settings.remove(said);
    }
    // What --listen says of a server of a list; --set may have it listen elsewhere, such as on all addresses of its host.
    if sources.servers.is_some() && settings.get("node.listen") == Some(&node.name) {
        settings.remove("node.listen");
    }
    for (name, value) in settings {
        add("--set", format!("{name}={value}").into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use std::os::unix::ffi::OsStringExt;

    fn run(arguments: &[OsString]) -> Run {
        let program = OsString::from("kvd");
        match Cli::try_parse_from([&program].into_iter().chain(arguments)).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    /// What the arguments left in the data directory mean, given what these mean.
    fn again(arguments: &[&str]) -> (Settings, Settings) {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let first = run(&arguments);
        let loaded = prepare(&first).map_err(|error| error.to_string()).unwrap().0.loaded;
        let second = run(&super::arguments(&first.sources, &loaded));
        let again = prepare(&second).map_err(|error| error.to_string()).unwrap().0.loaded;
        (loaded.settings, again.settings)
    }

    #[test]
    fn the_arguments_left_behind_mean_the_same_node() {
        let nodes = "n1=127.0.0.1:7401,n2=127.0.0.1:7402,n3=127.0.0.1:7403";
        let (mut first, second) = again(&[
            "run",
            "--name",
            "n2",
            "--listen",
            "0.0.0.0:7402",
            "--data",
            "relative",
            "--nodes",
            nodes,
            "--shards",
            "2",
            "--groups",
            "8",
            "--replication",
            "3",
            "--admin",
            "",
            "--cpus",
            "1,0",
            "--set",
            "raft.election_timeout=70ms",
            "--set",
            "node.groups=16",
        ]);
        assert_eq!((first.node.groups, first.node.cpus.as_slice()), (16, [1, 0].as_slice()));
        first.node.data = std::path::absolute(&first.node.data).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn variables_that_are_no_text_matter_only_where_they_are_settings() {
        let no_text = OsString::from_vec(vec![b'a', 0xff]);
        let ours = ("KVD__NODE__SHARDS".into(), "3".into());
        let others = [(no_text.clone(), "x".into()), ("OTHER".into(), no_text.clone()), ours];
        let settings = settings_of(others.into_iter()).map_err(|error| error.to_string());
        assert_eq!(settings, Ok(vec![("KVD__NODE__SHARDS".to_owned(), "3".to_owned())]));
        let refused = settings_of([("KVD__NODE__NAME".into(), no_text)].into_iter()).unwrap_err().to_string();
        assert!(refused.contains("KVD__NODE__NAME"), "{refused}");
    }

    #[test]
    fn temporary_data_lies_nowhere_else() {
        let arguments = ["run", "--dev", "--set", "node.data=/d"].map(OsString::from);
        let refused = prepare(&run(&arguments)).err().map(|error| error.to_string());
        assert_eq!(
            refused.unwrap(),
            "command line: node.data = /d: with --dev the data is temporary; leave one of them out"
        );
        let (prepared, directory) = prepare(&run(&arguments[..2])).map_err(|error| error.to_string()).unwrap();
        assert_eq!(prepared.loaded.settings.node.data, directory.unwrap().path());
    }

    #[test]
    fn a_new_node_is_new_once() {
        let (first, second) = again(&["run", "--data", "/d", "--new"]);
        assert!(first.node.new && !second.node.new);
    }

    #[test]
    fn a_server_of_a_list_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("servers");
        std::fs::write(&list, "127.0.0.1:1\n127.0.0.1:2\n127.0.0.1:3\n").unwrap();
        let list = list.to_str().unwrap();
        let (mut first, second) = again(&["run", "--servers", list, "--listen", "127.0.0.1:2", "--shards", "3"]);
        assert_eq!((first.node.admin.as_str(), first.node.shards), ("127.0.0.1:9091", 3));
        first.node.data = std::path::absolute(&first.node.data).unwrap();
        assert_eq!(first, second);
        assert_eq!(second.node.listen, "127.0.0.1:2");
    }

    #[test]
    fn a_server_of_a_list_listens_where_set_says_however_often_it_is_started() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("servers");
        std::fs::write(&list, "127.0.0.1:1\n127.0.0.1:2\n127.0.0.1:3\n").unwrap();
        let arguments = ["run", "--servers", list.to_str().unwrap(), "--listen", "127.0.0.1:2", "--data", "/d"];
        let arguments = arguments.into_iter().chain(["--set", "node.listen=0.0.0.0:2"]);
        let mut arguments: Vec<OsString> = arguments.map(OsString::from).collect();
        for _ in 0..3 {
            let run = run(&arguments);
            let loaded = prepare(&run).map_err(|error| error.to_string()).unwrap().0.loaded;
            assert_eq!(
                (loaded.settings.node.name.as_str(), loaded.settings.node.listen.as_str()),
                ("127.0.0.1:2", "0.0.0.0:2")
            );
            arguments = super::arguments(&run.sources, &loaded);
            assert_eq!(arguments.iter().filter(|argument| *argument == "--set").count(), 1, "{arguments:?}");
        }
    }

    #[test]
    fn a_data_directory_that_is_no_text_is_refused_and_not_another_one_made() {
        let data = OsString::from_vec(b"d\xff6".to_vec());
        let refused = prepare(&run(&["run".into(), "--data".into(), data])).err().map(|error| error.to_string());
        let why = "command line: node.data: d\u{fffd}6 is not UTF-8: use a directory whose name is";
        assert_eq!(refused.as_deref(), Some(why));
    }
}
