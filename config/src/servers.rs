//! The plain list of servers: one `host:port` a line, and nothing else.
//!
//! Empty lines and what follows a `#` do not count. The lines make replica sets
//! ([`engine_core::placement::sets`]); a server's name is its line.

use crate::address;
use crate::nodes::NodeAddress;
use crate::settings::Settings;
use engine_core::placement::founding::NODES_MAX;
use engine_core::placement::sets::{GROUPS_PER_SET, ServerSets};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The admin port of the first server of a host; its next ones count up from here, past the ports that the list has there.
pub const ADMIN_PORT: u16 = 9090;

/// Why a list of servers cannot be used. Correct the list or the command line.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// The file cannot be read.
    #[error("cannot read the list of servers {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is not an address.
    #[error("{path}:{line}: {why}")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The list is empty or too long.
    #[error("the list of servers {path} has {count} servers; 1 to {NODES_MAX} are possible")]
    BadLength {
        /// The file.
        path: PathBuf,
        /// How many servers it names.
        count: usize,
    },
    /// This server is not in the list.
    #[error("{listen} is not a line of the list of servers {path}: give one of its lines with --listen")]
    NotListed {
        /// The file.
        path: PathBuf,
        /// What was given.
        listen: String,
    },
}

/// The servers of a file, in its order.
pub fn read(path: &Path) -> Result<Vec<String>, ServersError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ServersError::Unreadable { path: path.into(), source })?;
    parse(path, &text)
}

/// The servers of a file's text; `path` is for the error only.
pub fn parse(path: &Path, text: &str) -> Result<Vec<String>, ServersError> {
    let mut servers: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let server = line.split('#').next().unwrap_or_default().trim();
        if server.is_empty() {
            continue;
        }
        let bad = |why| ServersError::BadLine { path: path.into(), line: number + 1, why };
        address::split(server).map_err(bad)?;
        if servers.iter().any(|other| other == server) {
            return Err(bad(format!("{server} is named twice")));
        }
        servers.push(server.into());
    }
    match servers.len() {
        1..=NODES_MAX => Ok(servers),
        count => Err(ServersError::BadLength { path: path.into(), count }),
    }
}

/// The settings that a list means for the server that listens on one of its lines; the rest are defaults.
/// `path` is for the error only.
pub fn settings(path: &Path, servers: &[String], listen: &str) -> Result<Settings, ServersError> {
    let not_listed = || ServersError::NotListed { path: path.into(), listen: listen.into() };
    let own = servers.iter().position(|server| server == listen).ok_or_else(not_listed)?;
    let sets = ServerSets::of(servers.len() as u16);

    let mut settings = Settings::default();
    settings.node.name = listen.into();
    settings.node.listen = listen.into();
    settings.node.data = Path::new("kvd-data").join(directory(listen));
    settings.node.nodes =
        servers.iter().map(|server| NodeAddress { name: server.clone(), address: server.clone() }).collect();
    settings.node.groups = u32::from(sets.sets) * GROUPS_PER_SET;
    settings.node.replication = sets.set_size;
    settings.node.set_size = sets.set_size;
    let bracketed_host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    settings.node.admin = format!("{bracketed_host}:{}", admin_port(servers, own));
    Ok(settings)
}

/// The admin port of the server on line `own`, counted from 0: one that neither a server of its host listens on nor an
/// earlier one of them has.
fn admin_port(servers: &[String], own: usize) -> u16 {
    let address = |server: &str| address::split(server).map(|(host, port)| (host.to_owned(), port)).unwrap_or_default();
    let (host, _) = address(&servers[own]);
    let listens = |server: &String| Some(address(server)).filter(|(other, _)| *other == host).map(|(_, port)| port);
    let before = servers[..own].iter().filter_map(listens).count();
    let taken: BTreeSet<u16> = servers.iter().filter_map(listens).collect();
    let free = (ADMIN_PORT..=u16::MAX).filter(|port| !taken.contains(port)).nth(before);
    free.expect("a list is too short to take every port")
}

/// What to tell the operator: the set of this server, and what becomes of servers that are in none.
pub fn described(servers: &[String], listen: &str) -> Vec<String> {
    let sets = ServerSets::of(servers.len() as u16);
    let own = servers.iter().position(|server| server == listen).unwrap_or_default() as u16;
    let mut lines = Vec::new();
    lines.push(match sets.set_of(own) {
        Some(set) => format!(
            "{listen} is in replica set {} of {}: lines {} to {}",
            set + 1,
            sets.sets,
            sets.lines_of(set).start + 1,
            sets.lines_of(set).end
        ),
        None => format!("{listen} is a spare of replica set {}: it holds no data yet", sets.sets),
    });
    if sets.set_size < engine_core::placement::sets::SET_SIZE_MAX {
        lines.push(format!(
            "the list has {} servers, fewer than 5: {} of them, the largest odd number, are the replica set",
            servers.len(),
            sets.set_size
        ));
    }
    lines
}

/// `HOST_PORT`, with nothing in it that means something to a shell or a path.
fn directory(server: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || ".-".contains(letter) { letter } else { '_' };
    server.chars().map(plain).collect()
}
