//! From the command line to checked settings.

use crate::args::{Run, Sources};
use config::Settings;
use config::load::{ConfigError, ENVIRONMENT_PREFIX, Loaded, load as load_settings};
use config::servers::{self, ServersError};
use std::ffi::OsString;
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
}

impl std::fmt::Display for SourcesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourcesError::Config(error) => error.fmt(f),
            SourcesError::Servers(error) => error.fmt(f),
            SourcesError::Temporary(error) => write!(f, "no temporary directory for --dev: {error}"),
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
    let (mut over, mut remarks) = (defaults, Vec::new());
    if let (Some(path), Some(listen)) = (&sources.servers, &sources.listen) {
        let list = servers::read(path).map_err(SourcesError::Servers)?;
        let settings = servers::settings(path, &list, listen).map_err(SourcesError::Servers)?;
        over.node = config::settings::Node { new: over.node.new, ..settings.node };
        remarks = servers::described(&list, listen);
    }
    let loaded = load_settings(over, sources.config.as_deref(), std::env::vars(), &overrides(sources));
    Ok(Prepared { loaded: loaded.map_err(SourcesError::Config)?, remarks })
}

/// The options as settings, weaker ones first.
fn overrides(sources: &Sources) -> Vec<(String, String)> {
    let text = |path: &PathBuf| path.display().to_string();
    let options = [
        ("node.name", sources.name.clone()),
        ("node.listen", sources.listen.clone()),
        ("node.data", sources.data.as_ref().map(text)),
        ("node.nodes", sources.nodes.clone()),
        ("node.shards", sources.shards.map(|count| count.to_string())),
        ("node.groups", sources.groups.map(|count| count.to_string())),
        ("node.replication", sources.replication.map(|count| count.to_string())),
        ("node.admin", sources.admin.clone()),
        ("node.cpus", sources.cpus.clone()),
    ];
    let given = options.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
    given.chain(sources.settings.iter().cloned()).collect()
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
    let environment = std::env::vars().filter_map(|(variable, value)| {
        let name = variable.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase().replacen("__", ".", 1);
        Some((name, value))
    });
    let said = ["node.name", "node.data"];
    let said = |name: &str| said.contains(&name) || name == "node.listen" && sources.servers.is_some();
    for (name, value) in environment.chain(overrides(sources)).filter(|(name, _)| !said(name) && name != "node.new") {
        add("--set", format!("{name}={value}").into());
    }
    arguments
}
