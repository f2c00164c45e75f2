//! One node by itself: what its log may do to it, and what is left of a start.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Janitor, START_PATIENCE, STOP_PATIENCE, free_port, kvctl, scratch, until};

/// A node of one shard and its address, with the rest of its arguments.
struct Node {
    process: Child,
    address: String,
    _janitor: Janitor,
}

impl Node {
    fn start(arguments: &[&str], log: impl Into<Stdio>) -> Node {
        let address = format!("127.0.0.1:{}", free_port().expect("a port"));
        Node::at(address, arguments, log)
    }

    fn at(address: String, arguments: &[&str], log: impl Into<Stdio>) -> Node {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvd"));
        command.args(["run", "--listen", &address, "--admin", "", "--shards", "1"]).args(arguments);
        command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("kvd starts");
        let mut janitor = Janitor::start(None).expect("a janitor");
        janitor.add(process.id()).expect("it takes the process");
        Node { process, address, _janitor: janitor }
    }

    fn is_well(&mut self) {
        let address = self.address.clone();
        let well = until(Instant::now() + START_PATIENCE, "the node to be well", || {
            assert_eq!(self.process.try_wait()?, None, "it has ended");
            Ok((kvctl(&[&address], &["status"]).code == 0).then_some(()))
        });
        well.expect("well");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it is there");
    }

    #[track_caller]
    fn ends(self, code: i32) {
        let status = self.ended();
        assert_eq!(status.code(), Some(code), "{status}");
    }

    fn ended(mut self) -> ExitStatus {
        until(Instant::now() + STOP_PATIENCE, "the node to end", || Ok(self.process.try_wait()?)).expect("it ends")
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_no_node_and_stops_none() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a disk that is always full");
    let (reader, gone) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (_reader, mut stuck) = std::io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&stuck).expect("flags");
    fcntl_setfl(&stuck, flags | OFlags::NONBLOCK).expect("set");
    let full_now = loop {
        if let Err(error) = stuck.write(b"\n") {
            break error;
        }
    };
    assert_eq!(full_now.kind(), ErrorKind::WouldBlock);
    fcntl_setfl(&stuck, flags).expect("set");
    for log in [Stdio::from(full), Stdio::from(gone), Stdio::from(stuck)] {
        let mut node = Node::start(&["--dev"], log);
        node.is_well();
        kvctl(&[&node.address], &["put", "k", "v"]).exits(0);
        node.signal(Signal::TERM);
        node.ends(0);
    }
}

#[test]
fn the_last_lines_of_a_node_are_in_its_log() {
    let log = scratch("last-lines").join("log");
    let open = || OpenOptions::new().create(true).append(true).open(&log).expect("a file");
    let mut node = Node::start(&["--dev"], open());
    node.is_well();
    node.signal(Signal::TERM);
    node.ends(0);
    let said = fs::read_to_string(&log).expect("a log");
    assert!(
        said.trim_end().ends_with(r#""message":"stopped; everything is flushed","target":"engine::node"}"#),
        "{said}"
    );

    // With a second founding node that never comes, it serves nothing, and says so before it goes.
    let address = format!("127.0.0.1:{}", free_port().expect("a port"));
    let nodes = format!("n1={address},n2=127.0.0.1:1,n3=127.0.0.1:2");
    let data = scratch("last-lines-forming").join("n1");
    let arguments = ["--name", "n1", "--nodes", &nodes, "--data", data.to_str().expect("text")];
    let node = Node::at(address.clone(), &arguments, open());
    let waits = || Ok((kvctl(&[&address], &["status"]).code == 10).then_some(()));
    until(Instant::now() + START_PATIENCE, "the node to wait for others", waits).expect("it waits");
    node.signal(Signal::TERM);
    node.ends(0);
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.lines().last().is_some_and(|line| line.contains("before serving anything")), "{said}");
}

#[test]
fn a_refused_start_leaves_the_arguments_of_the_one_that_stood() {
    let data = scratch("refused-start").join("n1");
    let path = data.to_str().expect("text").to_owned();
    let address = format!("127.0.0.1:{}", free_port().expect("a port"));
    let nodes = format!("n1={address}");
    let base = ["--name", "n1", "--nodes", &nodes, "--data", &path];
    let mut node = Node::at(address.clone(), &base, Stdio::null());
    node.is_well();
    let left = || ["args", "pid"].map(|name| fs::read(Path::new(&path).join(name)).expect("a trace"));
    let stood = left();
    let refused = |arguments: &[&str], address: &str| {
        let node = Node::at(address.to_owned(), &[&base[..], arguments].concat(), Stdio::null());
        assert_eq!(node.ended().code(), Some(1), "{arguments:?}");
        assert_eq!(left(), stood, "{arguments:?}");
    };
    // While it runs, and while it does not: other settings than it was founded with, another address that is taken.
    refused(&["--groups", "9"], &address);
    node.signal(Signal::TERM);
    node.ends(0);
    refused(&["--groups", "9"], &address);
    refused(&["--set", "node.shards=2"], &address);
    let taken = std::net::TcpListener::bind(&address).expect("the port is free");
    refused(&["--set", "raft.election_timeout=3s"], &address);
    drop(taken);

    let started = kvctl(&[&address], &["node", "start", "n1", "--data", &path, "-o", "json", "--timeout", "20s"]);
    let id = started.exits(0).json()["pid"].as_u64().expect("a process") as u32;
    let mut janitor = Janitor::start(None).expect("a janitor");
    janitor.add(id).expect("it takes the process");
    kvctl(&[&address], &["node", "stop", "n1", "--timeout", "20s"]).exits(0);
}

#[test]
fn a_temporary_node_that_is_stopped_before_it_serves_leaves_no_data() {
    let scratch = scratch("dev-data");
    let log = scratch.join("log");
    let node = Node::start(&["--dev"], fs::File::create(&log).expect("a file"));
    let said = |word: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(word));
    let place = || -> Option<String> {
        let text = fs::read_to_string(&log).ok()?;
        Some(text.split_once("(data in ")?.1.split_once(" is removed")?.0.to_owned())
    };
    until(Instant::now() + START_PATIENCE, "the node to listen", || Ok(said("\"listening\"").then_some(())))
        .expect("it listens");
    node.signal(Signal::TERM);
    node.ends(0);
    let place = place().expect("it says where its data is");
    assert!(!Path::new(&place).exists(), "{place} is left; before serving: {}", said("before serving anything"));
}

#[test]
fn root_starts_no_node_of_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: root_starts_no_node_of_somebody_else: only root could");
        return;
    }
    let data = scratch("of-another");
    fs::write(data.join("args"), b"run\0--name\0n1\0--no-such-option\0").expect("written");
    let path = data.to_str().expect("text");
    std::os::unix::fs::chown(&data, Some(54_321), None).expect("root may");
    let run = kvctl(&["127.0.0.1:1"], &["node", "start", "n1", "--data", path]).exits(4);
    assert!(run.stderr.contains("sudo -u '#54321' kvctl node start n1 --data"), "{}", run.stderr);
    assert_eq!(fs::read_dir(&data).expect("a directory").count(), 1, "nothing was written");
}

#[test]
fn a_name_that_stands_for_no_address_is_not_said_to_be_in_use() {
    let log = scratch("no-address").join("log");
    let node = Node::at("no-such-host.invalid:7400".to_owned(), &["--dev"], fs::File::create(&log).expect("a file"));
    node.ends(1);
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.contains("correct the name") && !said.contains("stop what uses it"), "{said}");
}
