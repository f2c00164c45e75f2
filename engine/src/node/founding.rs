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

/// The file that says that the replicas of the first map have been created.
pub const CREATED: &str = "CREATED";

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
    /// Replicas were created here, and which cluster they belong to is not known any more.
    #[error(
        "{path} is lost, though this data directory has served: restore it from a copy, or set aside what is left there and come \
         in as new (`kvctl node start {name} --data DIR --new`, or remove all of it, directories too)"
    )]
    Lost {
        /// The file.
        path: String,
        /// The node.
        name: String,
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
    // A shard's files under a new identity would be taken for its own: nobody knows what they have promised (rule 7).
    if state == State::Empty && (directory.read(CREATED)?.is_some() || directory.has_cores()?) {
        return Err(FoundingError::Lost {
            path: directory.path().join(FORMED).display().to_string(),
            name: settings.node.name.clone(),
        });
    }
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
    if settings.node.new && state != State::Empty {
        tracing::warn!(
            "node.new changes nothing: this data directory belongs to a cluster already; `kvctl node start {} --data DIR --new` sets aside what it holds",
            settings.node.name
        );
    }
    let shards = settings.node.shards;
    let founding = Founding::new(settings.number(), directory.incarnation, shards, settings.blueprint(), state);
    Ok(if settings.node.new { founding.as_newcomer() } else { founding })
}

/// Goes on until the cluster is formed; says on the way whom it waits for.
pub fn complete(
    founding: &mut Founding,
    directory: &mut Directory,
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
                if !directory.is_fresh {
                    // An earlier process may have asked under that number, and been taken in. Nobody knows how far it came and what of
                    // it is lost, so nothing may ever be said under it again (rule 7).
                    directory.renew()?;
                    founding.renewed(directory.incarnation);
                    stage.set_answer(founding.answer());
                    tracing::info!("this data directory asks to be taken in under a number of its own");
                }
                match following::petition(&record, settings, directory.incarnation) {
                    Petitioned::TakenIn(map) => {
                        following::keep_first(directory, &record, &map)?;
                        founding.joined(record.clone());
                        tracing::info!(epoch = map.epoch, "the cluster has taken this data directory in");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::front;
    use config::nodes::NodeAddress;
    use engine_core::placement::petition::Petition;
    use net::follow;
    use net::frame::BODY_BYTES_MAX;
    use net::hello::HELLO_BYTES;
    use net::receive::RecvBuffer;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    /// The other node: a member of a cluster that has taken this one in before, which it hears of a question too late.
    struct Other {
        answer: Answer,
        stale: Option<ClusterMap>,
        map: ClusterMap,
    }

    impl Other {
        fn serve(mut self, listener: TcpListener) {
            for stream in listener.incoming() {
                // Whoever asks goes away when it has its answer.
                let _ = stream.and_then(|stream| self.answer(stream));
            }
        }

        fn answer(&mut self, mut stream: TcpStream) -> io::Result<()> {
            let mut hello = [0; HELLO_BYTES];
            stream.read_exact(&mut hello)?;
            let mut out = front::reply(&Stage::new(self.answer.clone()), Ok(())).encode().to_vec();
            let mut buffer = RecvBuffer::new(4096, BODY_BYTES_MAX);
            loop {
                let count = stream.read(buffer.spare())?;
                buffer.filled(count);
                let Some(frame) = buffer.next_frame().map_err(io::Error::other)? else { continue };
                match frame.header.kind() {
                    Some(Kind::FoundingQuery) => net::founding::write_answer(&mut out, 1, &self.answer),
                    Some(Kind::MapQuery) => {
                        let map = self.stale.take().unwrap_or_else(|| self.map.clone());
                        follow::write_answer(&mut out, 1, Some(&map.encode()));
                    }
                    _ => {
                        let petition = follow::petition(frame.body).map_err(io::Error::other)?;
                        if let Ok((_, next)) = self.map.admit(&petition) {
                            self.map = next;
                        }
                        follow::write_petition_answer(&mut out, 1, None);
                    }
                }
                return stream.write_all(&out);
            }
        }
    }

    fn settings(address: SocketAddr) -> Settings {
        let mut settings = Settings::default();
        (settings.node.name, settings.node.replication) = ("n2".into(), 1);
        let addresses = [("n1", address.to_string()), ("n2", "127.0.0.1:1".into())];
        settings.node.nodes = addresses.map(|(name, address)| NodeAddress { name: name.into(), address }).into();
        settings
    }

    #[test]
    fn nobody_comes_back_under_a_number_that_an_earlier_process_may_have_used() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let settings = settings(listener.local_addr().expect("an address"));
        let temp = tempfile::tempdir().expect("a directory");
        let open = || Directory::open(temp.path(), "n2", settings.node.shards).expect("a data directory");
        let before = open().incarnation;

        let record = settings.blueprint().record(&[(1, 1), (2, 1)]);
        let founded = ClusterMap::founded(&record);
        let petition = Petition { name: "n2".into(), incarnation: before, shards: 1, replaces: 2, insists: false };
        let (_, map) = founded.admit(&petition).expect("it was taken in");
        let answer = Founding::new(0, 1, 1, settings.blueprint(), State::Formed(record)).answer();
        let other = Other { answer, stale: Some(founded), map };
        std::thread::spawn(move || other.serve(listener));

        let mut directory = open();
        let mut founding = begin(&directory, &settings).expect("an empty directory");
        let stage = Stage::new(founding.answer());
        complete(&mut founding, &mut directory, &settings, &stage).expect("it is taken in");
        assert_ne!(directory.incarnation, before);
        let map = super::map(&directory).expect("a map").expect("one that takes it in");
        assert!(map.holds("n2", directory.incarnation));
    }

    #[test]
    fn a_directory_that_has_served_and_knows_no_cluster_is_no_empty_one() {
        let temp = tempfile::tempdir().expect("a directory");
        let settings = settings(([127, 0, 0, 1], 1).into());
        let directory = Directory::open(temp.path(), "n2", settings.node.shards).expect("a data directory");
        assert!(begin(&directory, &settings).is_ok());
        directory.write(CREATED, b"").expect("written");
        assert!(matches!(begin(&directory, &settings), Err(FoundingError::Lost { .. })));
    }

    #[test]
    fn a_directory_that_has_lost_its_files_and_kept_its_shards_is_no_empty_one() {
        let temp = tempfile::tempdir().expect("a directory");
        let settings = settings(([127, 0, 0, 1], 1).into());
        let directory = Directory::open(temp.path(), "n2", settings.node.shards).expect("a data directory");
        std::fs::create_dir(temp.path().join("lost+found")).expect("another's directory");
        std::fs::create_dir(temp.path().join("old-1")).expect("what was set aside");
        assert!(begin(&directory, &settings).is_ok());
        std::fs::create_dir(directory.core(0)).expect("a shard's directory");
        let refused = begin(&directory, &settings).expect_err("who has served is not new").to_string();
        assert!(
            refused.contains("FORMED is lost") && refused.contains("kvctl node start n2 --data DIR --new"),
            "{refused}"
        );
    }
}
