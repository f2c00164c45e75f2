//! Three nodes on a stage, each in a room and on a disk of its own.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use net::client::{Client, ClientOptions};
use net::status::{NodeStatus, ROLE_LEADER, ROLE_LEARNER};
use rustix::process::{Pid, Signal, kill_process};

use super::clock;
use super::disk::Disk;
use super::network::{Network, host};
use super::room::Room;
use super::stage::{Stage, text};
use crate::harness::{ELECTION_TIMEOUT, GROUPS, Janitor, START_PATIENCE, eventually, until};

const PORT: u16 = 7400;
/// How long one question for the status may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Below so many bytes of free room a node refuses writes.
pub const LOW_WATER: u64 = 48 << 20;

/// What is special about a cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Settings as `section.key=value`, stronger than those of every test.
    pub settings: Vec<String>,
    /// Let the nodes see a clock that can be moved, if the library for it is there.
    pub movable_clocks: bool,
    /// The most descriptors a node may have.
    pub descriptors_max: Option<u64>,
    /// How large the disk of a node is; 0 for one that holds what most tests write.
    pub disk_bytes: u64,
}

/// One node.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where clients and peers find it.
    pub address: String,
    /// Where it lives.
    pub room: Room,
    /// What its data is on.
    pub disk: Disk,
    /// Its data directory.
    pub data: PathBuf,
    clock: Option<PathBuf>,
    log: PathBuf,
    command: Vec<String>,
    process: Option<Child>,
}

impl Node {
    /// The id of its process.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

/// All of them.
pub struct Cluster {
    /// `n1` first.
    pub nodes: Vec<Node>,
    /// What is between them.
    pub network: Network,
    /// Whether the power of their disks can be cut here; why not.
    pub power: Result<(), String>,
    janitor: Janitor,
}

impl Cluster {
    /// Starts three nodes and waits until each group has a leader that all know. Why not, if this machine cannot.
    pub fn start(stage: &Stage, options: &Options) -> Result<Cluster, String> {
        let janitor = Janitor::start(None).map_err(|error| error.to_string())?;
        let rooms: Vec<Room> = (1..=3).map(|i| Room::open(&format!("room {i}"))).collect::<Result<_, _>>()?;
        let network = Network::build(&rooms)?;
        let addresses: Vec<String> = (0..rooms.len()).map(|i| format!("{}:{PORT}", host(i))).collect();
        let list: Vec<String> = addresses.iter().enumerate().map(|(i, at)| format!("n{}={at}", i + 1)).collect();
        let mut cluster = Cluster { nodes: Vec::new(), network, power: Ok(()), janitor };
        for (position, (room, address)) in rooms.into_iter().zip(addresses).enumerate() {
            let name = format!("n{}", position + 1);
            let disk = Disk::make(&stage.directory, &name, options.disk_bytes)?;
            if position == 0 {
                cluster.power = disk.can_lose_power();
            }
            let data = disk.path.join("data");
            let movable = options.movable_clocks && clock::preload().is_ok();
            let clock = movable.then(|| stage.directory.join(format!("{name}.clock")));
            let command = command(&name, &address, text(&data), &list.join(","), options, clock.as_deref());
            let log = stage.directory.join(format!("{name}.log"));
            cluster.nodes.push(Node { name, address, room, disk, data, clock, log, command, process: None });
            cluster.turn_clock(position, 0);
            cluster.start_node(position);
        }
        cluster.wait_healthy();
        Ok(cluster)
    }

    /// Starts a node that is not running.
    pub fn start_node(&mut self, position: usize) {
        let node = &mut self.nodes[position];
        assert!(node.process.is_none(), "{} is running", node.name);
        let log = OpenOptions::new().create(true).append(true).open(&node.log).expect("a log");
        let command = node.command.clone();
        let process = node.room.run(move || spawn(&command, log)).expect("a process");
        self.janitor.add(process.id()).expect("the janitor lives");
        node.process = Some(process);
    }

    /// Ends a node with SIGKILL; nothing happens if it has ended by itself.
    pub fn kill(&mut self, position: usize) {
        let Some(mut process) = self.nodes[position].process.take() else { return };
        process.kill().expect("the signal is sent");
        process.wait().expect("it ends");
        self.janitor.gone(process.id()).expect("the janitor lives");
    }

    /// Sends a signal to a node.
    pub fn signal(&self, position: usize, signal: Signal) {
        let process = self.nodes[position].process.as_ref().expect("a running node");
        let id = Pid::from_raw(i32::try_from(process.id()).expect("a process id")).expect("not 0");
        kill_process(id, signal).expect("the signal is sent");
    }

    /// Waits until a node has ended by itself.
    pub fn wait_end(&mut self, position: usize, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let process = self.nodes[position].process.as_mut().expect("a started node");
            if let Some(status) = process.try_wait().expect("a child") {
                let id = self.nodes[position].process.take().expect("it was there").id();
                self.janitor.gone(id).expect("the janitor lives");
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5)); // the pause between two looks
        }
    }

    /// Whether a node is running.
    pub fn is_running(&mut self, position: usize) -> bool {
        self.nodes[position].process.as_mut().is_some_and(|process| process.try_wait().expect("a child").is_none())
    }

    /// The power of a node's disk and of the node itself is gone, in this order and at once.
    pub fn cut_power(&mut self, position: usize) {
        self.nodes[position].disk.cut_power().expect("the power is cut");
        self.kill(position);
    }

    /// The power is back and the node is started.
    pub fn restore_power(&mut self, position: usize) {
        self.nodes[position].disk.restore_power();
        self.start_node(position);
    }

    /// Moves the wall clock of a node by so many seconds from the true time; whether it has one that can be moved.
    pub fn turn_clock(&self, position: usize, seconds: i64) -> bool {
        let Some(clock) = &self.nodes[position].clock else { return false };
        std::fs::write(clock, format!("{seconds:+}")).expect("the clock is turned");
        true
    }

    /// Waits until a node shows a wall clock that is so many seconds off.
    pub fn wait_clock(&self, position: usize, seconds: i64) {
        clock::wait_until_it_shows(&self.nodes[position].address, &|| self.log(position), seconds);
    }

    /// The addresses of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// A client of all nodes.
    pub fn client(&self, timeout: Duration) -> Client {
        let options = ClientOptions { timeout, ..ClientOptions::default() };
        Client::connect(&self.endpoints(), options).expect("a client")
    }

    /// What each node says of itself, if it answers.
    pub fn status(&self) -> Vec<Option<NodeStatus>> {
        match self.client(ASK_TIMEOUT).status() {
            Ok(status) => status.nodes.into_iter().map(|report| report.status.ok()).collect(),
            // Nobody answers, or there is no cluster yet.
            Err(_) => vec![None; self.nodes.len()],
        }
    }

    /// Waits until all nodes answer, vote in every group and agree on its leader.
    pub fn wait_healthy(&self) {
        let deadline = Instant::now() + START_PATIENCE;
        let healthy = until(deadline, "all nodes to follow leaders", || Ok(self.is_healthy().then_some(())));
        healthy.unwrap_or_else(|error| panic!("{error}; they say: {:#?}", self.status()));
    }

    fn is_healthy(&self) -> bool {
        let status = self.status();
        status.len() == self.nodes.len()
            && (0..=GROUPS as usize).all(|group| {
                let of = |node: &Option<NodeStatus>| {
                    let replica = node.as_ref()?.groups.get(group).filter(|replica| replica.role != ROLE_LEARNER)?;
                    replica.leader
                };
                let leaders: Vec<Option<u16>> = status.iter().map(of).collect();
                leaders[0].is_some() && leaders.iter().all(|leader| *leader == leaders[0])
            })
    }

    /// Waits until each group is led by the node that its map prefers, so that nothing is left to be moved.
    pub fn wait_settled(&self) {
        let map = self.client(START_PATIENCE).map().expect("a map");
        eventually(START_PATIENCE, "the preferred leaders", || {
            let status: Option<Vec<NodeStatus>> = self.status().into_iter().collect();
            let is_led = |node: &NodeStatus| {
                node.groups.iter().zip(&map.groups).all(|(replica, group)| {
                    replica
                        .leader
                        .is_some_and(|leader| group.replicas.first().is_some_and(|first| first.node() == leader))
                })
            };
            status?.iter().all(is_led).then_some(())
        });
    }

    /// The highest term of each group: it grows with every election.
    pub fn terms(&self) -> Vec<u64> {
        let status = self.status();
        let term = |group: usize| {
            let of = |node: &NodeStatus| node.groups.get(group).map_or(0, |replica| replica.term);
            status.iter().flatten().map(of).max().unwrap_or(0)
        };
        (0..=GROUPS as usize).map(term).collect()
    }

    /// The position of the node that leads the most groups.
    pub fn busiest_leader(&self) -> usize {
        let status = self.status();
        (0..self.nodes.len()).max_by_key(|position| status[*position].as_ref().map_or(0, led)).expect("a node")
    }

    /// How many groups a node leads, if it says so.
    pub fn led(&self, position: usize) -> Option<usize> {
        self.status()[position].as_ref().map(led)
    }

    /// The whole log of a node.
    pub fn log(&self, position: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.nodes[position].log).unwrap_or_default()).into_owned()
    }

    /// The last lines of every node's log, for an error.
    pub fn log_tails(&self) -> String {
        let tail = |position: usize| {
            let log = self.log(position);
            let lines: Vec<&str> = log.lines().collect();
            format!("-- n{}\n{}", position + 1, lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        (0..self.nodes.len()).map(tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.disk.recover());
        if std::thread::panicking() {
            println!("{}", self.log_tails());
        }
        (0..self.nodes.len()).for_each(|position| self.kill(position));
    }
}

/// Whether a process was ended by this signal.
pub fn was_ended_by(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal.as_raw())
}

fn command(name: &str, address: &str, data: &str, list: &str, options: &Options, clock: Option<&Path>) -> Vec<String> {
    let mut words: Vec<String> = vec!["env".into()];
    if let (Some(file), Ok(preload)) = (clock, clock::preload()) {
        words.extend(clock::environment(preload, file));
    }
    if let Some(max) = options.descriptors_max {
        words.extend(["prlimit".into(), format!("--nofile={max}")]);
    }
    words.push(env!("CARGO_BIN_EXE_kvd").into());
    let groups = GROUPS.to_string();
    let fixed = ["run", "--name", name, "--listen", address, "--admin", "", "--data", data, "--nodes", list];
    words.extend(
        fixed.into_iter().chain(["--shards", "1", "--groups", &groups, "--replication", "3"]).map(str::to_owned),
    );
    let settings = [
        format!("raft.election_timeout={}ms", ELECTION_TIMEOUT.as_millis()),
        // Small, so that segments are recycled and tables flushed while a test lasts.
        "journal.segment=8MiB".into(),
        "store.write_buffer=4MiB".into(),
        "store.block_cache=8MiB".into(),
        format!("journal.low_water={LOW_WATER}"),
    ];
    for setting in settings.into_iter().chain(options.settings.iter().cloned()) {
        words.extend(["--set".into(), setting]);
    }
    words
}

fn spawn(command: &[String], log: File) -> std::io::Result<Child> {
    Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

fn led(node: &NodeStatus) -> usize {
    node.groups.iter().filter(|replica| replica.role == ROLE_LEADER).count()
}
