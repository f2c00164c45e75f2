//! The blocking client over real loopback sockets, against a node that is a thread of the test.

mod fake_node;

use engine_core::command::{BatchOperation, Operation};
use fake_node::{Line, State};
use net::client::{Answer, CasResult, Client, ClientError, ClientOptions, Pipeline, Request, ScanOptions, Target};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Serves connections, each on a thread, until it is told to stop. Every `drop_every`-th receive ends its connection,
/// what it brought executed but not answered.
fn node(drop_every: Option<u64>) -> (String, JoinHandle<State>) {
    node_waiting_for(drop_every, &[])
}

fn node_waiting_for(drop_every: Option<u64>, waiting_for: &[&str]) -> (String, JoinHandle<State>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut state = State::new(&address);
    state.waiting_for = waiting_for.iter().map(|name| (*name).to_owned()).collect();
    let state = Arc::new(Mutex::new(state));
    let thread = std::thread::spawn(move || {
        let mut lines = Vec::new();
        while !state.lock().unwrap().stopped {
            let (stream, _) = listener.accept().unwrap();
            let (state, own) = (state.clone(), listener.local_addr().unwrap());
            lines.push(std::thread::spawn(move || serve(stream, &state, drop_every, own)));
        }
        lines.into_iter().for_each(|line| line.join().unwrap());
        Arc::into_inner(state).unwrap().into_inner().unwrap()
    });
    (address, thread)
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, drop_every: Option<u64>, own: SocketAddr) {
    stream.set_nodelay(true).unwrap();
    let (mut line, mut buffer, mut receives) = (Line::new(), vec![0; 64 << 10], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let (out, stopped) = {
            let mut state = state.lock().unwrap();
            (line.feed(&mut state, &buffer[..count]), state.stopped)
        };
        receives += 1;
        if stopped {
            let _ = stream.write_all(&out);
            // Wakes the thread that accepts, so that it sees it too.
            let _ = TcpStream::connect(own);
            break;
        }
        if drop_every.is_some_and(|every| receives % every == 0) || stream.write_all(&out).is_err() {
            break;
        }
    }
}

fn client(address: &str) -> Client {
    Client::connect(&[address.to_owned()], ClientOptions::default()).unwrap()
}

#[test]
fn every_command_works_over_a_socket() {
    let (address, thread) = node(None);
    let mut client = client(&address);
    assert_eq!(client.put(b"a", b"1"), Ok(None));
    assert_eq!(client.put(b"a", b"2"), Ok(Some(b"1".to_vec())));
    assert_eq!(client.put_blind(b"b", b""), Ok(()));
    assert_eq!(client.get(b"a"), Ok(Some(b"2".to_vec())));
    assert_eq!(client.get_stale(b"b"), Ok(Some(vec![])));
    assert_eq!(client.get(b"none"), Ok(None));
    assert_eq!(client.cas(b"a", Some(b"2"), Some(b"3")), Ok(CasResult::Swapped));
    assert_eq!(client.cas(b"a", None, Some(b"4")), Ok(CasResult::Mismatch { current: Some(b"3".to_vec()) }));
    assert_eq!(client.delete(b"a"), Ok(Some(b"3".to_vec())));
    assert_eq!(client.delete(b"a"), Ok(None));
    let batch = vec![
        BatchOperation::Put { key: b"a".to_vec(), value: b"5".to_vec() },
        BatchOperation::Delete { key: b"a".to_vec() },
    ];
    assert_eq!(client.batch(batch), Ok(()));
    for number in 0..100 {
        client.put_blind(format!("k{number:02}").as_bytes(), &[number]).unwrap();
    }
    let page = client.scan(ScanOptions::prefix(b"k", 60)).unwrap();
    assert_eq!(page.entries.len(), 60);
    assert!(page.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let rest = ScanOptions { start: page.next_start().unwrap(), ..ScanOptions::prefix(b"k", 60) };
    let page = client.scan(rest).unwrap();
    assert_eq!((page.entries.len(), page.more), (40, false));
    assert_eq!(client.map().unwrap().nodes[0].address, address);
    let status = client.status().unwrap();
    assert!(status.map.is_some() && status.nodes.len() == 1 && status.nodes[0].reachable());
    assert_eq!(client.stop("n2", true), Err(ClientError::BadInput { why: "no node is called n2".to_owned() }));
    assert_eq!(client.stop("n1", true), Ok(()));
    drop(client);
    assert!(thread.join().unwrap().stopped);
}

#[test]
fn a_client_of_several_connections_loses_nothing_when_they_break() {
    several_connections(Some(7), 10);
}

#[test]
fn a_client_of_several_connections_sends_more_than_the_system_takes_at_once() {
    several_connections(None, 3 << 20);
}

/// A client of five connections to a node of four groups writes 2,500 keys; 15 values, which are under way together, have
/// `large` bytes.
fn several_connections(drop_every: Option<u64>, large: usize) {
    const CONNECTIONS: u16 = 5;
    const TOTAL: u32 = 2_500;
    let (address, thread) = node(drop_every);
    let options = ClientOptions { connections: CONNECTIONS, ..ClientOptions::default() };
    let mut client = Client::connect(std::slice::from_ref(&address), options).unwrap();
    let mut pipeline = Pipeline::new(&mut client, 15);
    let (mut started, mut done) = (0, 0);
    while done < TOTAL {
        while started < TOTAL && pipeline.has_room() {
            let value = vec![started as u8; if (500..515).contains(&started) { large } else { 10 }];
            let put = Operation::Put { key: started.to_be_bytes().to_vec(), value, return_old: false };
            pipeline.submit(Request::Write(put));
            started += 1;
        }
        for completion in pipeline.wait() {
            assert_eq!(completion.result, Ok(Answer::Done));
            done += 1;
        }
    }
    for number in (0..TOTAL).step_by(100).filter(|number| *number != 500) {
        assert_eq!(client.get(&number.to_be_bytes()), Ok(Some(vec![number as u8; 10])));
    }
    client.stop("n1", true).unwrap();
    drop(client);
    let state = thread.join().unwrap();
    assert_eq!(state.writes, u64::from(TOTAL), "every write is executed exactly once");
    assert_eq!(state.below_mark, 0, "a mark never reaches what waits for its answer");
    assert!(drop_every.is_none() || state.duplicates > 0, "no retry ever met its first attempt");
    let greeted = state.greeted;
    assert!(if drop_every.is_some() { greeted > 5 } else { greeted == 5 }, "{greeted} connections");
}

#[test]
fn pipelined_writes_happen_once_over_connections_that_break() {
    let (address, thread) = node(Some(7));
    let mut client = client(&address);
    let mut pipeline = Pipeline::new(&mut client, 64);
    let (total, mut started, mut done) = (5_000u32, 0, 0);
    while done < total {
        while started < total && pipeline.has_room() {
            let (key, value) = (started.to_be_bytes().to_vec(), started.to_le_bytes().to_vec());
            pipeline.submit(Request::Write(Operation::Put { key, value, return_old: false }));
            started += 1;
        }
        for completion in pipeline.wait() {
            assert_eq!(completion.result, Ok(Answer::Done));
            done += 1;
        }
    }
    assert_eq!(pipeline.in_flight(), 0);
    for number in (0..total).step_by(100) {
        assert_eq!(client.get(&number.to_be_bytes()), Ok(Some(number.to_le_bytes().to_vec())));
    }
    client.stop(&address, false).unwrap();
    drop(client);
    let state = thread.join().unwrap();
    assert_eq!(state.writes, u64::from(total), "every write is executed exactly once");
    assert!(state.duplicates > 0, "no retry ever met its first attempt: the test tests nothing");
}

#[test]
fn cluster_that_is_not_formed_says_whom_it_waits_for() {
    let (address, thread) = node_waiting_for(None, &["n2", "n3"]);
    let mut client = client(&address);
    client.set_timeout(Duration::from_millis(200));
    let status = client.status().unwrap();
    assert_eq!((status.map.is_none(), status.waiting_for), (true, vec!["n2".to_owned(), "n3".to_owned()]));
    assert_eq!((status.nodes[0].name.as_str(), status.nodes[0].reachable()), ("n1", true));
    let waiting_for = vec!["n2".to_owned(), "n3".to_owned()];
    assert_eq!(client.put_blind(b"key", b"value"), Err(ClientError::NotFormed { waiting_for: waiting_for.clone() }));
    assert_eq!(client.get(b"key"), Err(ClientError::NotFormed { waiting_for }));
    client.set_timeout(Duration::from_secs(5));
    client.stop(&address, true).unwrap();
    drop(client);
    thread.join().unwrap();
}

#[test]
fn nobody_listening_is_an_error_within_the_timeout() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut client = client(&address);
    client.set_timeout(Duration::from_millis(200));
    let started = Instant::now();
    let result = client.put_blind(b"key", b"value");
    assert!(matches!(&result, Err(ClientError::NotApplied { why }) if why.contains("refused")), "{result:?}");
    let result = client.get(b"key");
    assert!(matches!(&result, Err(ClientError::Unavailable { why }) if why.contains("refused")), "{result:?}");
    assert!(matches!(client.status(), Err(ClientError::Unreachable { .. })));
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Answers the next bytes that come over `stream`: the answers are with the client's system then.
fn answer_once(stream: &mut TcpStream, line: &mut Line, state: &mut State) {
    let mut buffer = vec![0; 64 << 10];
    let count = stream.read(&mut buffer).unwrap();
    stream.write_all(&line.feed(state, &buffer[..count])).unwrap();
}

#[test]
fn answer_that_has_come_counts_however_late_it_is_looked_at() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mut client, mut state, mut line) = (client(&address), State::new(&address), Line::new());
    client.set_timeout(Duration::from_secs(2));
    // When the request's deadline and the connection's silence are over.
    let over = Instant::now() + client.timeout();
    client.submit(Request::Status(Target::Address(address)));
    assert!(client.poll(Duration::ZERO).is_empty());
    let (mut stream, _) = listener.accept().unwrap();
    // The connection is open: the hello is sent; then the reply is there: the request is.
    assert!(client.poll(Duration::ZERO).is_empty());
    answer_once(&mut stream, &mut line, &mut state);
    assert!(client.poll(Duration::ZERO).is_empty());
    assert!(client.poll(Duration::ZERO).is_empty());
    answer_once(&mut stream, &mut line, &mut state);
    std::thread::sleep(over.saturating_duration_since(Instant::now()));
    let completions = client.poll(Duration::ZERO);
    assert!(matches!(&completions[..], [one] if one.result.is_ok()), "{completions:?}");
}

#[test]
fn completions_of_others_are_kept_while_one_request_is_waited_for() {
    let (address, thread) = node(None);
    let mut client = client(&address);
    // No deadline is too far away.
    client.set_timeout(Duration::MAX);
    let ids: Vec<_> = (0..3).map(|_| client.submit(Request::Get { key: b"key".to_vec(), stale: false })).collect();
    let wrong = client.submit(Request::Write(Operation::Open));
    assert_eq!(client.get(b"key"), Ok(None));
    client.stop(&address, true).unwrap();
    assert_eq!(client.in_flight(), 4);
    let kept: Vec<_> = client.poll(Duration::ZERO).into_iter().map(|completion| completion.id).collect();
    assert_eq!(kept, [wrong, ids[0], ids[1], ids[2]]);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn names_are_resolved() {
    let (address, thread) = node(None);
    let port = address.rsplit_once(':').unwrap().1;
    let mut direct = client(&address);
    // A machine without a hosts file knows no name at all.
    if ("localhost", 0).to_socket_addrs().is_ok() {
        // Where the name has an IPv6 address too, nobody listens there: the next address is tried.
        let mut client = client(&format!("localhost:{port}"));
        assert_eq!(client.put_blind(b"key", b"value"), Ok(()));
    } else {
        println!("SKIPPED: names_are_resolved: this machine does not resolve localhost");
    }
    direct.stop(&address, true).unwrap();
    drop(direct);
    thread.join().unwrap();
}

#[test]
fn addresses_that_are_none_are_refused() {
    for bad in ["", "host", "host:", ":1", "host:port", "host:70000"] {
        let result = Client::connect(&[bad.to_owned()], ClientOptions::default());
        assert!(matches!(result, Err(ClientError::BadInput { .. })), "{bad}");
    }
    assert!(matches!(Client::connect(&[], ClientOptions::default()), Err(ClientError::BadInput { .. })));
}

/// Not a test of a claim: what one client thread reaches here. `cargo test --release -p net -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn pipelined_rate() {
    let (address, thread) = node(None);
    let mut client = client(&address);
    let mut pipeline = Pipeline::new(&mut client, 256);
    let (total, mut started, mut done) = (1_000_000u32, 0, 0);
    let before = Instant::now();
    while done < total {
        while started < total && pipeline.has_room() {
            let (key, value) = ((started % 1000).to_be_bytes().to_vec(), vec![7; 100]);
            pipeline.submit(Request::Write(Operation::Put { key, value, return_old: false }));
            started += 1;
        }
        for completion in pipeline.wait() {
            assert_eq!(completion.result, Ok(Answer::Done));
            done += 1;
        }
    }
    let rate = f64::from(total) / before.elapsed().as_secs_f64();
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted after the name: user and system time in hundredths of a second.
    let cpu: Vec<f64> =
        [11, 12].iter().map(|at| fields[*at].parse::<f64>().unwrap() * 1e4 / f64::from(total)).collect();
    println!("{rate:.0} puts/s; CPU of the client per put: {:.2} us user, {:.2} us system", cpu[0], cpu[1]);
    client.stop(&address, true).unwrap();
    drop(client);
    thread.join().unwrap();
}
