//! Follows the cluster map: one plain thread of a node, which keeps the newest one and tells everybody here.
//!
//! A node that holds group 0 hears of a change from its own store. All nodes also ask one other node a second, in turn,
//! so that those without group 0, and those that were away, learn of it. A map is kept in the data directory before any
//! core is told. Whatever comes from another node was committed by group 0, or that node would not have it.

use super::asking;
use super::directory::{Directory, DirectoryError};
use super::founding::{FORMED, MAP};
use super::journal_files::is_shortage;
use super::last_words;
use super::mesh::{Mesh, ToCore};
use super::stage::Stage;
use super::{NodeFacts, founding::FoundingError};
use ::config::Settings;
use engine_core::placement::founding::FoundingRecord;
use engine_core::placement::map::ClusterMap;
use engine_core::placement::petition::Petition;
use engine_core::state_machine::MapRecord;
use net::follow;
use net::frame::Kind;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);

/// Starts the thread; `stored` brings what the stores of this node hold.
pub fn start(
    facts: Arc<NodeFacts>,
    directory: Arc<Directory>,
    stage: Arc<Stage>,
    mesh: Mesh,
    stored: flume::Receiver<MapRecord>,
) -> io::Result<()> {
    std::thread::Builder::new().name("map".into()).spawn(move || {
        let mut newest = facts.map.clone();
        // A newer one that there was no room for yet.
        let mut waiting: Option<ClusterMap> = None;
        let others = (0..facts.map.nodes.len()).filter(|node| *node != usize::from(facts.node));
        let others: Vec<String> = others.map(|node| facts.map.nodes[node].address.clone()).collect();
        for turn in 0.. {
            let heard = match stored.recv_timeout(PERIOD) {
                Ok(record) => Some(record.map),
                Err(flume::RecvTimeoutError::Timeout) => {
                    let other = (!others.is_empty()).then(|| &others[turn % others.len()]);
                    other.and_then(|address| newer(address, newest.epoch))
                }
                Err(flume::RecvTimeoutError::Disconnected) => return,
            };
            waiting = heard.and_then(|bytes| read(&bytes)).or(waiting);
            let Some(map) = waiting.take_if(|map| map.comes_of(&newest)) else {
                waiting = None;
                continue;
            };
            match keep(&directory, &map) {
                Ok(()) => {}
                Err(DirectoryError::Io { error, .. }) if is_shortage(&error) => {
                    tracing::warn!("no room to keep the cluster map of epoch {}: waiting for some", map.epoch);
                    waiting = Some(map);
                    continue;
                }
                Err(error) => {
                    // What a failed write has left nobody knows (rule 12).
                    last_words::stop(|| tracing::error!(%error, "cannot keep the cluster map; stopping at once"));
                }
            }
            if !map.holds(&facts.settings.node.name, facts.incarnation) {
                let replaced = FoundingError::Replaced { name: facts.settings.node.name.clone() };
                last_words::stop(|| tracing::error!("{replaced}"));
            }
            tracing::info!(epoch = map.epoch, "the cluster map has changed");
            let map = Arc::new(map);
            stage.set_map(map.clone());
            for core in 0..mesh.len() {
                mesh.send(core, ToCore::Map(map.clone()));
            }
            newest = map.as_ref().clone();
        }
    })?;
    Ok(())
}

/// What came of a round of petitions.
#[derive(Debug)]
pub enum Petitioned {
    /// A map holds this incarnation.
    TakenIn(ClusterMap),
    /// Not yet, and why.
    Waits(String),
}

/// Asks every node of the cluster of `record` which map it has, and to take this node in. The incarnation was drawn by this process:
/// a map that holds it does so for one of its petitions.
pub fn petition(record: &FoundingRecord, settings: &Settings, incarnation: u64) -> Petitioned {
    let (name, cluster) = (&settings.node.name, record.cluster);
    let founded = ClusterMap::founded(record);
    let mut refused = None;
    for node in record.nodes.iter().filter(|node| node.name != *name) {
        let map = newer(&node.address, 0).and_then(|bytes| read(&bytes));
        let Some(map) = map.filter(|map| *map == founded || map.comes_of(&founded)) else { continue };
        if map.holds(name, incarnation) {
            return Petitioned::TakenIn(map);
        }
        let Some(replaces) = map.node_named(name).map(|number| map.nodes[usize::from(number)].incarnation) else {
            continue;
        };
        let (shards, insists) = (settings.node.shards, settings.node.new);
        let petition = Petition { name: name.clone(), incarnation, shards, replaces, insists };
        match asking::ask(&node.address, Kind::PetitionAnswer, |out| follow::write_petition(out, 1, &petition)) {
            Ok(body) => refused = follow::petition_answer(&body).or(refused),
            Err(error) => tracing::debug!(node = node.name, %error, "a node does not take the petition"),
        }
    }
    Petitioned::Waits(match refused {
        Some(why) => format!("cluster {cluster:032x} does not take this data directory in: {why}"),
        None => format!(
            "cluster {cluster:032x} is formed without this data directory: asking it to be taken in for the one that {name} had"
        ),
    })
}

/// The map a node has, if it is newer than that of epoch `known`.
fn newer(address: &str, known: u64) -> Option<Vec<u8>> {
    let ask = |out: &mut Vec<u8>| follow::write_query(out, 1, known);
    match asking::ask(address, Kind::MapAnswer, ask) {
        Ok(body) => Some(body).filter(|body| !body.is_empty()),
        Err(error) => {
            tracing::debug!(address, %error, "a node does not say which cluster map it has");
            None
        }
    }
}

fn read(bytes: &[u8]) -> Option<ClusterMap> {
    let map = ClusterMap::decode(bytes);
    map.inspect_err(|error| tracing::warn!(%error, "what came as a cluster map is none")).ok()
}

fn keep(directory: &Directory, map: &ClusterMap) -> Result<(), DirectoryError> {
    directory.write(MAP, &map.encode())
}

/// Keeps the map that takes this node in, and then that it is a member.
pub fn keep_first(directory: &Directory, record: &FoundingRecord, map: &ClusterMap) -> Result<(), DirectoryError> {
    keep(directory, map)?;
    directory.write(FORMED, &record.encode())
}
