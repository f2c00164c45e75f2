//! From a data directory to a member of a cluster: asks the nodes of the list until the rules decide.
//!
//! The rules are [`engine_core::placement::founding`]'s; here are the sockets, the files and the waiting. What a
//! step wants synced is synced before anybody is told.

use super::asking;
use super::directory::{Directory, DirectoryError};
use super::following::{self, Petitioned};
use super::stage::Stage;
use config::Settings;
use engine_core::placement::founding::decision::{Founding, Step};
use engine_core::placement::founding::{Answer, FoundingRecord, State};
use engine_core::placement::map::ClusterMap;
use net::frame::Kind;
use std::io;
use std::time::Duration;

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(200);

/// The file of the founding record of the cluster this node is a member of.
pub const FORMED: &str = "FORMED";

/// The file of the cluster map.
pub const MAP: &str = "MAP";

/// Why this node cannot be a member of the cluster its settings describe.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The directory could not be read or written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A record in the directory is damaged.
    #[error(
        "the founding record in {path} cannot be used ({why}): restore it, or join as a new node with an empty directory"
    )]
    Record {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The record is another directory's: this one was put together from parts.
    #[error(
        "the founding record in the data directory does not know this directory's incarnation: IDENTITY and the record come \
         from different directories; restore the directory as a whole, or join as a new node with an empty one"
    )]
    Stranger,
    /// The cluster has put another directory in the place of this one, which asked for it with the same name.
    #[error(
        "this data directory of {name} has been replaced by another one, which the cluster has taken in: use that one, or empty \
         this one to come in as new"
    )]
    Replaced {
        /// The node.
        name: String,
    },
    /// The settings do not describe the cluster this node is a member of.
    #[error("this node is a member of a cluster founded with other settings: {}; correct them", .differences.join("; "))]
    Changed {
        /// Every difference.
        differences: Vec<String>,
    },
}

/// What the directory says of the founding so far.
pub fn state(directory: &Directory) -> Result<State, FoundingError> {
    if let Some(record) = record(directory, FORMED)? {
        return Ok(State::Formed(record));
    }
    Ok(record(directory, "PROPOSED")?.map_or(State::Empty, State::Proposed))
}

fn record(directory: &Directory, name: &str) -> Result<Option<FoundingRecord>, FoundingError> {
    let Some(bytes) = directory.read(name)? else { return Ok(None) };
    let path = directory.path().join(name).display().to_string();
    FoundingRecord::decode(&bytes).map(Some).map_err(|error| FoundingError::Record { path, why: error.to_string() })
}

/// The newest cluster map that the directory knows; `None` while it is that of the founding.
pub fn map(directory: &Directory) -> Result<Option<ClusterMap>, FoundingError> {
    let Some(bytes) = directory.read(MAP)? else { return Ok(None) };
    let path = directory.path().join(MAP).display().to_string();
    ClusterMap::decode(&bytes).map(Some).map_err(|error| FoundingError::Record { path, why: error.to_string() })
}

/// The rules, as this node's settings and directory have them.
pub fn begin(directory: &Directory, settings: &Settings) -> Result<Founding, FoundingError> {
    let state = state(directory)?;
    if let State::Formed(record) | State::Proposed(record) = &state {
        let (name, incarnation) = (&settings.node.name, directory.incarnation);
        match map(directory)? {
            Some(map) if !map.holds(name, incarnation) => return Err(FoundingError::Replaced { name: name.clone() }),
            None if !record.holds(name, incarnation) => return Err(FoundingError::Stranger),
            _ => {}
        }
    }
    if let State::Formed(record) = &state {
        let differences = settings.blueprint().differences(&record.blueprint());
        if !differences.is_empty() {
            return Err(FoundingError::Changed { differences });
        }
    }
    let shards = settings.node.shards;
    Ok(Founding::new(settings.number(), directory.incarnation, shards, settings.blueprint(), state))
}

/// Goes on until the cluster is formed; says on the way whom it waits for.
pub fn complete(
    founding: &mut Founding,
    directory: &mut Directory,
    settings: &Settings,
    stage: &Stage,
) -> Result<FoundingRecord, FoundingError> {
    let (mut said, mut asked) = (String::new(), false);
    loop {
        match founding.step() {
            Step::Ask(positions) => {
                for position in positions {
                    match ask(founding, &settings.node.nodes[usize::from(position)].address) {
                        Ok(answer) => founding.answered(position, answer),
                        Err(error) => {
                            tracing::debug!(position, %error, "a node of the list does not answer");
                            founding.unreachable(position);
                        }
                    }
                }
            }
            Step::Propose(record) => {
                directory.write("PROPOSED", &record.encode())?;
                founding.proposed(record);
                stage.set_answer(founding.answer());
            }
            Step::Formed(record) => {
                if !matches!(founding.state(), State::Formed(_)) {
                    directory.write(FORMED, &record.encode())?;
                    founding.formed(record.clone());
                    tracing::info!(cluster = format!("{:032x}", record.cluster), "the cluster is formed");
                }
                stage.set_answer(founding.answer());
                return Ok(record);
            }
            Step::Wait { waiting_for } => {
                let sentence = format!("waiting for {}", waiting_for.join(", "));
                wait(founding, stage, waiting_for, sentence, &mut said);
            }
            Step::Conflict { why } => wait(founding, stage, vec![why.clone()], why, &mut said),
            Step::RefuseList { node, differences } => {
                let sentence = format!("{node} does not mean the same cluster: {}", differences.join("; "));
                wait(founding, stage, vec![sentence.clone()], sentence, &mut said);
            }
            Step::JoinAsNew { record } => {
                match following::petition(&record, settings, directory.incarnation, &mut asked) {
                    Petitioned::TakenIn(map) if asked => {
                        following::keep_first(directory, &record, &map)?;
                        founding.joined(record.clone());
                        tracing::info!(epoch = map.epoch, "the cluster has taken this data directory in");
                    }
                    Petitioned::TakenIn(_) => {
                        // An earlier process asked for that. Nobody knows how far it came and what of it is lost, so
                        // nothing may ever be said under that number again (rule 7).
                        directory.renew()?;
                        founding.renewed(directory.incarnation);
                        stage.set_answer(founding.answer());
                        tracing::warn!(
                            "this data directory was taken in once and knows nothing of it: it asks as another one"
                        );
                    }
                    Petitioned::Waits(sentence) => wait(founding, stage, vec![sentence.clone()], sentence, &mut said),
                }
            }
        }
    }
}

fn wait(founding: &mut Founding, stage: &Stage, waiting_for: Vec<String>, sentence: String, said: &mut String) {
    if *said != sentence {
        tracing::warn!("{sentence}");
        *said = sentence;
    }
    stage.set_waiting(waiting_for);
    std::thread::sleep(ROUND);
    founding.next_round();
}

fn ask(founding: &Founding, address: &str) -> io::Result<Answer> {
    let query = |out: &mut Vec<u8>| net::founding::write_query(out, 1, &founding.query());
    let body = asking::ask(address, Kind::FoundingAnswer, query)?;
    net::founding::answer(&body).map_err(io::Error::other)
}
