//! From a data directory to a member of a cluster: asks the nodes of the list until the rules decide.
//!
//! The rules are [`engine_core::placement::founding`]'s; here are the sockets, the files and the waiting. What a
//! step wants synced is synced before anybody is told.

use super::directory::{Directory, DirectoryError};
use super::stage::Stage;
use config::Settings;
use engine_core::placement::founding::decision::{Founding, Step};
use engine_core::placement::founding::{Answer, FoundingRecord, State};
use net::frame::{BODY_BYTES_MAX, Kind};
use net::hello::{HELLO_BYTES, Hello, HelloReply, Role};
use net::receive::RecvBuffer;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(200);

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// The settings do not describe the cluster this node is a member of.
    #[error("this node is a member of a cluster founded with other settings: {}; correct them", .differences.join("; "))]
    Changed {
        /// Every difference.
        differences: Vec<String>,
    },
}

/// What the directory says of the founding so far.
pub fn state(directory: &Directory) -> Result<State, FoundingError> {
    if let Some(record) = record(directory, "FORMED")? {
        return Ok(State::Formed(record));
    }
    Ok(record(directory, "PROPOSED")?.map_or(State::Empty, State::Proposed))
}

fn record(directory: &Directory, name: &str) -> Result<Option<FoundingRecord>, FoundingError> {
    let Some(bytes) = directory.read(name)? else { return Ok(None) };
    let path = directory.path().join(name).display().to_string();
    FoundingRecord::decode(&bytes).map(Some).map_err(|error| FoundingError::Record { path, why: error.to_string() })
}

/// The rules, as this node's settings and directory have them.
pub fn begin(directory: &Directory, settings: &Settings) -> Result<Founding, FoundingError> {
    let state = state(directory)?;
    if let State::Formed(record) | State::Proposed(record) = &state
        && !record.holds(&settings.node.name, directory.incarnation)
    {
        return Err(FoundingError::Stranger);
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
    directory: &Directory,
    settings: &Settings,
    stage: &Stage,
) -> Result<FoundingRecord, FoundingError> {
    let mut said = String::new();
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
                    directory.write("FORMED", &record.encode())?;
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
                let sentence = format!(
                    "cluster {:032x} is formed without this data directory: waiting for a membership change that admits \
                     it as a new node",
                    record.cluster
                );
                wait(founding, stage, vec![sentence.clone()], sentence, &mut said);
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
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = Hello { role: Role::Founding, ..Hello::client(0, 0) }.encode().to_vec();
    net::founding::write_query(&mut out, 1, &founding.query());
    stream.write_all(&out)?;
    let mut reply = [0; HELLO_BYTES];
    stream.read_exact(&mut reply)?;
    let reply = HelloReply::decode(&reply).map_err(io::Error::other)?;
    reply.status.map_err(|refusal| io::Error::other(refusal.to_string()))?;
    let mut buffer = RecvBuffer::new(4096, BODY_BYTES_MAX);
    loop {
        let count = stream.read(buffer.spare())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.filled(count);
        if let Some(frame) = buffer.next_frame().map_err(io::Error::other)? {
            return match frame.header.kind() {
                Some(Kind::FoundingAnswer) => net::founding::answer(frame.body).map_err(io::Error::other),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
    }
}
