//! Settings from all their sources, the later over the earlier: defaults, file, environment, command line.
//!
//! The environment's names are `KVD__SECTION__KEY`; the command line gives `section.key` and a value as text.
//! Every value is tried as it is laid on, so an error names where the value came from.

use crate::settings::Settings;
use crate::{check, suggest};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Spanned, Table, Value};

/// What environment variables that are settings begin with.
pub const ENVIRONMENT_PREFIX: &str = "KVD__";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// The list of servers.
    Servers(PathBuf),
    /// The file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// The command line.
    CommandLine,
}

/// Checked settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, with everything filled in.
    pub settings: Settings,
    /// Where `section.key` came from; what is not here is a default.
    pub origins: BTreeMap<String, Origin>,
}

/// Why there are no settings. Each says where and what to do; correct it and start again.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting {name}{}", suggested(.suggestion))]
    Unknown {
        /// Where it stands.
        origin: Origin,
        /// The name that was given.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A section is given a value.
    #[error("{origin}: {name} is a section of settings: name one of them, such as {name}.{example}")]
    Section {
        /// Where it stands.
        origin: Origin,
        /// The section.
        name: String,
        /// One of its settings.
        example: String,
    },
    /// The value is not of the setting's kind.
    #[error("{origin}: {name} = {value}: {why}")]
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// `section.key`.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The values are each of their kind, but cannot be meant.
    #[error("{origin}: {name}: {why}")]
    Refused {
        /// Where the value came from.
        origin: Origin,
        /// `section.key`.
        name: String,
        /// What cannot be, and what to do.
        why: String,
    },
}

fn suggested(suggestion: &Option<String>) -> String {
    let question = |name: &String| format!(", did you mean {name}?");
    suggestion.as_ref().map_or(" (kvd config default lists them all)".into(), question)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Servers(path) => write!(f, "list of servers {}", path.display()),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

impl Settings {
    /// The settings of a file (if one is given), the environment (other variables are passed over) and the
    /// command line (`section.key` and value), checked.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Settings, ConfigError> {
        load(Settings::default(), Origin::Default, file, environment, overrides).map(|loaded| loaded.settings)
    }
}

/// Like [`Settings::load`], over a base that may differ from the defaults, and with the origin of every value; what
/// the base has of its own comes from `base_origin`.
pub fn load(
    base: Settings,
    base_origin: Origin,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::over(base, base_origin);
    if let Some(path) = file {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        layers.lay_file(path, &text)?;
    }
    let ours = environment.into_iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
    // Sorted, so that of several wrong variables always the same one is named.
    for (variable, value) in ours.collect::<BTreeMap<_, _>>() {
        let name = variable[ENVIRONMENT_PREFIX.len()..].to_lowercase().replacen("__", ".", 1);
        layers.lay_text(Origin::Environment(variable), &name, &value)?;
    }
    for (name, value) in overrides {
        layers.lay_text(Origin::CommandLine, name, value)?;
    }
    let Layers { mut settings, origins, .. } = layers;
    match check::resolve(&mut settings).err().or_else(|| check::first_problem(&settings)) {
        None => Ok(Loaded { settings, origins }),
        Some((name, why)) => {
            let origin = origins.get(name).cloned().unwrap_or(Origin::Default);
            Err(ConfigError::Refused { origin, name: name.into(), why })
        }
    }
}

fn written(settings: &Settings) -> Table {
    Table::try_from(settings).expect("settings can be written as TOML")
}

/// The values so far, as a table and as what it means.
struct Layers {
    /// The defaults, which show what kind of value each setting has.
    kinds: Table,
    table: Table,
    settings: Settings,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    fn over(base: Settings, base_origin: Origin) -> Layers {
        let (table, kinds) = (written(&base), written(&Settings::default()));
        let mut origins = BTreeMap::new();
        for (section, values) in table.iter().filter_map(|(section, values)| Some((section, values.as_table()?))) {
            for (key, _) in values.iter().filter(|(key, value)| kinds[section].get(key) != Some(value)) {
                origins.insert(format!("{section}.{key}"), base_origin.clone());
            }
        }
        Layers { kinds, table, settings: base, origins }
    }

    fn lay_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let line_at = |offset: usize| text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        let syntax = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| line_at(span.start));
            ConfigError::Syntax { path: path.into(), line, why: error.message().into() }
        };
        let file: BTreeMap<Spanned<String>, Spanned<Value>> = toml::from_str(text).map_err(syntax)?;
        let origin = |offset: usize| Origin::File { path: path.into(), line: line_at(offset) };
        for section in file.keys() {
            if !self.table.contains_key(section.get_ref()) {
                return Err(self.unknown(origin(section.span().start), section.get_ref()));
            }
        }
        // Only now, when every top-level key is known to be a section, are the sections read with their lines.
        let sections: BTreeMap<String, BTreeMap<Spanned<String>, Spanned<Value>>> =
            toml::from_str(text).map_err(syntax)?;
        for (section, values) in sections {
            for (key, value) in values {
                let name = format!("{section}.{}", key.get_ref());
                self.lay(origin(key.span().start), &name, value.into_inner())?;
            }
        }
        Ok(())
    }

    /// Lays a value given as text, which is read as the kind of value that the setting has.
    fn lay_text(&mut self, origin: Origin, name: &str, text: &str) -> Result<(), ConfigError> {
        let Some(kind) = self.kind(name) else { return Err(self.unknown(origin, name)) };
        let bad = |why: &str| ConfigError::BadValue {
            origin: origin.clone(),
            name: name.into(),
            value: text.into(),
            why: why.into(),
        };
        let value = match kind {
            Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| bad("say true or false"))?),
            // What is no number is refused as text, with the numbers that there are.
            Value::Integer(_) => {
                text.replace('_', "").parse().map_or_else(|_| Value::String(text.into()), Value::Integer)
            }
            _ => Value::String(text.into()),
        };
        self.lay(origin, name, value)
    }

    fn lay(&mut self, origin: Origin, name: &str, value: Value) -> Result<(), ConfigError> {
        if self.kind(name).is_none() {
            return Err(self.unknown(origin, name));
        }
        let written = value.to_string();
        let (section, key) = name.split_once('.').expect("a known setting has a section");
        let mut table = self.table.clone();
        let values = table.get_mut(section).and_then(Value::as_table_mut).expect("a section is a table");
        values.insert(key.into(), value);
        match Settings::deserialize(table.clone()) {
            Ok(settings) => self.settings = settings,
            Err(error) => {
                let why = error.message().trim().to_string();
                return Err(ConfigError::BadValue { origin, name: name.into(), value: written, why });
            }
        }
        self.table = table;
        self.origins.insert(name.into(), origin);
        Ok(())
    }

    /// The default of a setting, if there is such a setting.
    fn kind(&self, name: &str) -> Option<&Value> {
        let (section, key) = name.split_once('.')?;
        self.kinds.get(section)?.as_table()?.get(key)
    }

    fn unknown(&self, origin: Origin, name: &str) -> ConfigError {
        let example = self.table.get(name).and_then(Value::as_table).and_then(|section| section.keys().next());
        if let Some(example) = example {
            return ConfigError::Section { origin, name: name.into(), example: example.clone() };
        }
        let sections = || self.table.iter().filter_map(|(name, values)| Some((name, values.as_table()?)));
        let full = |section: &str, key: &str| format!("{section}.{key}");
        let all = sections().flat_map(|(section, values)| values.keys().map(move |key| full(section, key)));
        let all: Vec<String> = all.collect();
        // A key under the wrong section, or under none, is more likely than a slip.
        let bare = name.rsplit('.').next().unwrap_or(name);
        let elsewhere = all.iter().find(|known| known.rsplit('.').next() == Some(bare)).map(String::as_str);
        let section = sections().map(|(section, _)| section.as_str());
        let section = if name.contains('.') { None } else { suggest::nearest(name, section) };
        let nearest = elsewhere.or(section).or_else(|| suggest::nearest(name, all.iter().map(String::as_str)));
        ConfigError::Unknown { origin, name: name.into(), suggestion: nearest.map(String::from) }
    }
}
