//! Stopping and starting nodes by command, and what a server refuses to start with.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Janitor, STOP_PATIENCE, free_port, kvctl, scratch, signal, start, terminate, until};

#[test]
fn a_stopped_node_is_started_again_by_its_data_directory() {
    let mut cluster = start("stop-start", &[1, 1, 1]);
    let nodes = cluster.endpoints();
    kvctl(&nodes, &["put", "k", "v"]).exits(0);
    for (name, now) in [("n2", false), ("n3", true)] {
        let position = cluster.position(name).expect("a node");
        let mut arguments = vec!["node", "stop", name, "--timeout", "20s"];
        arguments.extend(now.then_some("--now"));
        kvctl(&nodes, &arguments).exits(0);
        // A node that ends cleanly says so by its exit status; one that ends at once does as it likes.
        let ended = cluster.wait_end(position, STOP_PATIENCE);
        assert!(now || ended.is_ok(), "{ended:?}");
        let status = kvctl(&nodes, &["status", "-o", "json", "--timeout", "10s"]).exits(10).json();
        assert_eq!(status["nodes"][position]["reachable"], false);
        assert!(status["groups"][0]["replicas"].as_array().expect("replicas").len() == 3);
        kvctl(&nodes, &["get", "k", "--timeout", "10s"]).exits(0);

        let data = cluster.nodes[position].data.to_str().expect("text").to_owned();
        kvctl(&nodes, &["node", "start", "n1", "--data", &data]).exits(4);
        let started = kvctl(&nodes, &["node", "start", name, "--data", &data, "-o", "json", "--timeout", "20s"]);
        let id = started.exits(0).json()["pid"].as_u64().expect("a process") as u32;
        // It is nobody's child here, and must not outlive this test either.
        let mut janitor = Janitor::start(None).expect("a janitor");
        janitor.add(id).expect("it takes the process");
        until(Instant::now() + STOP_PATIENCE, "all to be well", || {
            Ok((kvctl(&nodes, &["status"]).code == 0).then_some(()))
        })
        .expect("well");
        kvctl(&nodes, &["node", "start", name, "--data", &data]).exits(4);
        // What has stopped can be started, with nothing to wait for between the two.
        let stopped = kvctl(&nodes, &["node", "stop", name, "-o", "json", "--timeout", "30s"]).exits(0).json();
        assert_eq!(stopped["stopped"], true, "{stopped}");
        let again = kvctl(&nodes, &["node", "start", name, "--data", &data, "-o", "json", "--timeout", "20s"]);
        janitor.gone(id).expect("it lets the process go");
        let id = again.exits(0).json()["pid"].as_u64().expect("a process") as u32;
        janitor.add(id).expect("it takes the process");
        // It may still be starting.
        let stopped = kvctl(&nodes, &["node", "stop", name, "--now", "-o", "json", "--timeout", "20s"]).exits(0).json();
        assert_eq!(stopped["stopped"], true, "{stopped}");
        let lock = std::fs::File::open(cluster.nodes[position].data.join("LOCK")).expect("a lock");
        let free = || rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
        until(Instant::now() + STOP_PATIENCE, "the process to be gone", || Ok(free().then_some(()))).expect("gone");
        drop(lock);
        janitor.gone(id).expect("it lets the process go");
        cluster.restart(position).expect("it starts");
        cluster.wait_ready(STOP_PATIENCE).expect("it is ready");
    }
    kvctl(&nodes, &["node", "stop", "n9"]).exits(1);
}

#[test]
fn a_node_started_as_new_is_taken_in_and_holds_what_the_others_hold() {
    let mut cluster = start("start-new", &[1, 1, 1]);
    let nodes = cluster.endpoints();
    kvctl(&nodes, &["put", "k", "v"]).exits(0);
    kvctl(&nodes, &["node", "stop", "n3", "--timeout", "20s"]).exits(0);
    cluster.wait_end(2, STOP_PATIENCE).expect("a clean end");
    let data = cluster.nodes[2].data.clone();
    let identity = std::fs::read(data.join("IDENTITY")).expect("an identity");
    let arguments = ["node", "start", "n3", "--new", "--timeout", "20s", "-o", "json", "--data"];
    let started = kvctl(&nodes, &[&arguments[..], &[data.to_str().expect("text")]].concat()).exits(0).json();
    let mut janitor = Janitor::start(None).expect("a janitor");
    janitor.add(started["pid"].as_u64().expect("a process") as u32).expect("it takes the process");
    assert_ne!(std::fs::read(data.join("IDENTITY")).expect("an identity"), identity, "another disk is another member");
    assert!(Path::new(started["old_data"].as_str().expect("a path")).join("IDENTITY").exists(), "nothing is deleted");

    until(Instant::now() + STOP_PATIENCE, "the new node to be ready", || {
        let ready = matches!(cluster.nodes[2].ask_admin("/readyz"), Ok((200, _)));
        let status = kvctl(&nodes[..2], &["status", "-o", "json", "--timeout", "10s"]).json();
        let replicas =
            status["groups"].as_array().into_iter().flatten().filter_map(|group| group["replicas"].as_array());
        let mut own = replicas.flatten().filter(|replica| replica["node"] == "n3");
        assert!(!ready || own.all(|replica| replica["role"] != "learner"), "ready before its replicas vote: {status}");
        Ok(ready.then_some(()))
    })
    .expect("it is ready");
    until(Instant::now() + STOP_PATIENCE, "the new node to be a member", || {
        let status = kvctl(&nodes[..2], &["status", "-o", "json", "--timeout", "10s"]).json();
        let taken_in = status["nodes"][2]["epoch"] == 2 && status["nodes"][2]["reachable"] == true;
        Ok(taken_in.then_some(()))
    })
    .expect("it is taken in");
    until(Instant::now() + STOP_PATIENCE, "the replicas to agree", || {
        Ok((kvctl(&nodes, &["group", "checksum", "--timeout", "10s"]).code == 0).then_some(()))
    })
    .expect("they agree");
    assert_eq!(kvctl(&nodes[2..], &["get", "--raw", "k"]).exits(0).stdout, b"v");
    for i in 0..10 {
        kvctl(&nodes[..1], &["put", &format!("k{i}"), "v"]).exits(0);
        assert_eq!(kvctl(&nodes[2..], &["get", "--raw", &format!("k{i}")]).exits(0).stdout, b"v");
    }
}

#[test]
fn a_node_that_listens_elsewhere_than_on_loopback_is_stopped_from_its_machine() {
    // Where a packet to another network would come from; none is sent.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    // An address of this machine, and a socket that sees IPv4 callers under IPv6 addresses.
    let places = [own.ok().map(|own| (own.ip().to_string(), own.ip().to_string())), {
        TcpListener::bind("[::]:0").ok().map(|_| ("[::]".into(), "127.0.0.1".into()))
    }];
    for (listen, host) in places.into_iter().flatten() {
        let port = free_port().expect("a port");
        let [listen, address] = [listen, host].map(|host| format!("{host}:{port}"));
        let admin = format!("127.0.0.1:{}", free_port().expect("a port"));
        let mut node = Command::new(env!("CARGO_BIN_EXE_kvd"))
            .args(["run", "--name", "n1", "--listen", &listen, "--nodes", &format!("n1={address}"), "--admin", &admin])
            .args(["--shards", "1", "--data"])
            .arg(scratch("elsewhere").join("n1"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kvd starts");
        let mut janitor = Janitor::start(None).expect("a janitor");
        janitor.add(node.id()).expect("it takes the process");
        until(Instant::now() + STOP_PATIENCE, "the node to be well", || {
            Ok((kvctl(&[&address], &["status"]).code == 0).then_some(()))
        })
        .expect("well");
        kvctl(&[&address], &["node", "stop", "n1", "--timeout", "30s"]).exits(0);
        let ended = until(Instant::now() + STOP_PATIENCE, "the process to end", || Ok(node.try_wait()?));
        assert!(ended.expect("it ends").success(), "{listen}");
        janitor.gone(node.id()).expect("it lets the process go");
    }
}

#[test]
fn before_all_nodes_are_there_status_says_who_is_missing() {
    let port = free_port().expect("a port");
    let [second, third] = [(), ()].map(|()| free_port().expect("a port"));
    let data = scratch("forming-alone").join("n1");
    let list = format!("n1=127.0.0.1:{port},n2=127.0.0.1:{second},n3=127.0.0.1:{third}");
    let listen = format!("127.0.0.1:{port}");
    let admin = format!("127.0.0.1:{}", free_port().expect("a port"));
    let mut alone = Command::new(env!("CARGO_BIN_EXE_kvd"))
        .args(["run", "--name", "n1", "--listen", &listen, "--admin", &admin, "--nodes", &list, "--data"])
        .arg(&data)
        .args(["--shards", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kvd starts");
    let status = until(Instant::now() + STOP_PATIENCE, "the node to answer", || {
        let run = kvctl(&[&listen], &["status", "-o", "json"]);
        Ok((run.code == 10).then(|| run.json()))
    });
    let commands: [&[&str]; 3] = [&["put", "k", "v"], &["group", "locate", "k"], &["group", "list"]];
    let refused = commands.map(|command| kvctl(&[&listen], &[command, &["--timeout", "500ms"]].concat()));
    alone.kill().expect("killed");
    alone.wait().expect("ended");
    let status = status.expect("an answer");
    assert_eq!(status["waiting_for"], serde_json::json!(["n2", "n3"]), "{status}");
    for run in refused {
        assert!(run.code == 5 && run.stderr.contains("waits for n2, n3"), "{run:?}");
    }
}

#[test]
fn a_server_says_why_it_does_not_start() {
    let cluster = start("refusals", &[1, 1, 1]);
    let node = &cluster.nodes[0];
    let data = node.data.to_str().expect("text");
    let port = free_port().expect("a port");
    let listen = format!("127.0.0.1:{port}");
    let list = format!("n1={listen}");
    let admin = format!("127.0.0.1:{}", free_port().expect("a port"));
    let with = |rest: &[&str]| {
        let base =
            ["run", "--name", "n1", "--listen", &listen, "--admin", &admin, "--nodes", &list, "--replication", "1"];
        refused(&[&base[..], rest].concat())
    };

    let in_use = with(&["--data", data, "--shards", "1"]);
    assert!(in_use.contains("in use"), "{in_use}");

    let taken = scratch("refusals-port").join("n1");
    let taken = refused(&[
        "run",
        "--name",
        "n1",
        "--listen",
        &node.address,
        "--admin",
        &admin,
        "--nodes",
        &format!("n1={}", node.address),
        "--replication",
        "1",
        "--shards",
        "1",
        "--data",
        taken.to_str().expect("text"),
    ]);
    assert!(taken.contains(&node.address), "{taken}");

    let setting = with(&["--data", path("refusals-setting").as_str(), "--shards", "1", "--set", "raft.no_such=1"]);
    assert!(setting.contains("no_such"), "{setting}");
    let nodes = with(&["--data", path("refusals-replication").as_str(), "--shards", "1", "--replication", "3"]);
    assert!(!nodes.is_empty());
}

#[test]
fn the_number_of_shards_is_fixed_in_the_data_directory() {
    let mut cluster = start("shards-fixed", &[1, 1, 1]);
    terminate(&mut cluster, 0);
    let node = &cluster.nodes[0];
    let [_, second, third] = &cluster.nodes[..] else { panic!("three nodes") };
    let list = |names: [&str; 3]| {
        let nodes = names.iter().zip([node, second, third]);
        nodes.map(|(name, node)| format!("{name}={}", node.address)).collect::<Vec<_>>().join(",")
    };
    let base = ["run", "--listen", &node.address, "--admin", &node.admin, "--data", node.data.to_str().expect("text")];
    let rest = ["--groups", "4", "--replication", "3", "--nodes"];
    let own = list(["n1", "n2", "n3"]);
    let shards = refused(&[&base[..], &rest[..], &[&own, "--name", "n1", "--shards", "2"][..]].concat());
    assert!(shards.contains("shard"), "{shards}");
    let other = list(["n2", "n1", "n3"]);
    let name = refused(&[&base[..], &rest[..], &[&other, "--name", "n2", "--shards", "1"][..]].concat());
    assert!(name.contains("n1"), "it says whose the directory is: {name}");
}

fn path(name: &str) -> String {
    scratch(name).join("n1").to_str().expect("text").to_owned()
}

/// What kvd says when it ends by itself with an error, which it must within the patience.
fn refused(arguments: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvd"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kvd starts");
    let ended = until(Instant::now() + Duration::from_secs(20), "kvd to refuse", || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill().expect("killed");
    }
    let Output { status, stdout, stderr } = child.wait_with_output().expect("ended");
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ended.is_ok(), "it runs with {arguments:?}\n{said}");
    assert!(!status.success(), "{arguments:?}\n{said}");
    said
}

#[test]
fn a_comparison_does_not_wait_for_a_silent_node_once_for_each_group() {
    let cluster = start("checksum-silent", &[1, 1, 1]);
    signal(&cluster, 2, Signal::STOP);
    let compared =
        kvctl(&cluster.endpoints(), &["group", "checksum", "--timeout", "1s", "-o", "json"]).exits(10).json();
    let replicas = compared["map_group"]["replicas"].as_array().expect("replicas");
    let silent = replicas.iter().find(|replica| replica["node"] == "n3").expect("one on each node");
    assert!(silent["error"].is_string(), "{compared}");
    let last = compared["groups"].as_array().and_then(|groups| groups.last()).expect("a group");
    for replica in last["replicas"].as_array().expect("replicas") {
        assert!(replica["error"].as_str().is_some_and(|error| error.contains("no time left")), "{compared}");
    }
}
