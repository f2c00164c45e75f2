//! What whoever reaches an admin port may do to its node: lie about a body, send none, talk nonsense, say nothing at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::harness::{LocalCluster, LocalNode, STOP_PATIENCE, eventually, start};

/// How long a connection may last, and as much for a slow machine.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10 + 10);
/// How long a request may take that needs no core, on a slow machine.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// More connections than are served at once.
const MANY: usize = 200;

#[test]
fn a_lie_about_the_length_of_a_body_is_answered() {
    let cluster = start("admin-lengths", &[1, 1, 1]);
    let node = &cluster.nodes[0];
    let lengths = ["18446744073709551615", "9223372036854775808", "1000000000000", "-1", "1e3"];
    for length in lengths {
        for method in ["GET", "POST"] {
            let request = format!("{method} /version HTTP/1.1\r\nHost: n\r\nContent-Length: {length}\r\n\r\nbody");
            let answer = ask(node, request.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 "), "{request}\n{answer}");
        }
    }
    assert_lives(&cluster);
}

#[test]
fn a_body_that_never_comes_keeps_nobody_waiting() {
    let cluster = start("admin-bodies", &[1, 1, 1]);
    let node = &cluster.nodes[0];
    for (method, code) in [("GET", "200"), ("POST", "405"), ("PUT", "405")] {
        let request = format!("{method} /livez HTTP/1.1\r\nHost: n\r\nContent-Length: 1000000\r\n\r\n");
        let mut held: Vec<TcpStream> = (0..8).map(|_| connect(node)).collect();
        held.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).expect("a head"));
        assert_lives(&cluster);
        for stream in held {
            let answer = read(stream, ANSWER_PATIENCE);
            assert_eq!(answer.split(' ').nth(1), Some(code), "{answer}");
        }
    }
}

#[test]
fn only_a_bounded_head_in_http_is_understood() {
    let cluster = start("admin-garbage", &[1, 1, 1]);
    let node = &cluster.nodes[0];
    let long = format!("GET /livez HTTP/1.1\r\nHost: n\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(1_000));
    for request in [&b"\0\x16\x03\x01 no HTTP\r\n\r\n"[..], b"\r\n\r\n\r\n\r\n", long.as_bytes(), many.as_bytes()] {
        let answer = ask(node, request);
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    // A connection has one request: none can hide behind the body of another.
    let twice = ask(node, b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\nGET /livez HTTP/1.1\r\nHost: n\r\n\r\n");
    assert_eq!(twice.matches("200 OK").count(), 1, "{twice}");
    let head = ask(node, b"HEAD /version?x=1 HTTP/1.1\r\nHost: n\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
    assert_lives(&cluster);
}

#[test]
fn connections_that_say_nothing_end_and_let_others_in() {
    let cluster = start("admin-idle", &[1, 1, 1]);
    let node = &cluster.nodes[0];
    let begun = Instant::now();
    let mut held: Vec<TcpStream> = (0..MANY).map(|_| connect(node)).collect();
    let answer = ask(node, b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\n");
    assert!(answer.contains("200 OK"), "{answer}");
    println!("an answer behind {MANY} idle connections: {:.1?}", begun.elapsed());
    // A byte now and then is no request either.
    for stream in &mut held {
        let _ = stream.write_all(b"G");
    }
    for stream in held {
        read(stream, CONNECTION_PATIENCE);
    }
    assert_lives(&cluster);
}

#[test]
fn a_node_that_was_out_of_descriptors_answers_again() {
    let cluster = start("admin-descriptors", &[1, 1, 1]);
    let node = &cluster.nodes[0];
    let id = node.id().expect("a running node");
    let pid = Pid::from_raw(id as i32).expect("not 0");
    let lowest_free = (0..).find(|number| !std::path::Path::new(&format!("/proc/{id}/fd/{number}")).exists());
    // The node has inherited the hard limit of this process.
    let limit = Rlimit { current: lowest_free, maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
    let mut stream = connect(node);
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: n\r\n\r\n").expect("a request");
    let refused = "the admin port cannot accept a connection";
    eventually(STOP_PATIENCE, "accepting to fail", || node.log_tail().contains(refused).then_some(()));
    prlimit(Some(pid), Resource::Nofile, before).expect("the limit before");
    let answer = read(stream, ANSWER_PATIENCE);
    assert!(answer.contains("200 OK"), "{answer}");
    assert_lives(&cluster);
}

fn assert_lives(cluster: &LocalCluster) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let (code, body) = cluster.nodes[0].ask_admin(path).expect("an answer");
        assert_eq!(code, 200, "{path}: {body}");
    }
}

fn connect(node: &LocalNode) -> TcpStream {
    TcpStream::connect(&node.admin).expect("a connection")
}

/// What a request is answered, at the latest when its connection is over.
fn ask(node: &LocalNode, request: &[u8]) -> String {
    let mut stream = connect(node);
    // It may be closed before all of it is sent.
    let _ = stream.write_all(request);
    read(stream, CONNECTION_PATIENCE)
}

/// Everything that comes until the connection is over, which it must be in time.
fn read(mut stream: TcpStream, patience: Duration) -> String {
    let deadline = Instant::now() + patience;
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).expect("a timeout");
        match stream.read(&mut part) {
            Ok(count) if count > 0 => all.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("a connection lasts longer than {patience:?}");
            }
            // Closed, or reset as it had sent what nobody has read.
            _ => return String::from_utf8_lossy(&all).into_owned(),
        }
    }
}
