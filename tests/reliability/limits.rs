//! What clients may do to a node: take all its descriptors, send half a frame, lie about a length, do nothing at all.

use std::io::Write;
use std::time::{Duration, Instant};

use net::client::{Answer, Request};
use net::frame::{BODY_BYTES_MAX, HEADER_BYTES, Kind, VERSION};
use net::request::{ReadRequest, write_read};
use net::response::{Refusal, Response};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::harness::eventually;
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::stage::skip;
use crate::nemesis::wire::Wire;
use crate::writer::Writer;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, repeat, settings};

/// A frame must be whole after so long, and so much more for a slow machine.
const FRAME_PATIENCE: Duration = Duration::from_secs(10 + 5);
/// How soon a node that had no descriptors left takes clients again, and a slow machine's share.
const RECOVERY: Duration = Duration::from_secs(2 + 3);
/// What one idle connection may cost a node, in bytes.
const IDLE_BYTES_MAX: u64 = 16 << 10;

#[test]
fn a_node_out_of_descriptors_serves_on_and_recovers() {
    const DESCRIPTORS: u64 = 256;
    let options = Options { descriptors_max: Some(DESCRIPTORS), ..Options::default() };
    on_cluster("descriptors", options, |_, mut cluster| {
        for _ in 0..repeat(1, 10) {
            let writer = Writer::start(&cluster.endpoints());
            writer.wait_for_more(200, PATIENCE);
            let address = cluster.nodes[0].address.clone();
            // Those beyond the limit wait in the backlog; nobody answers them.
            let held: Vec<_> = (0..DESCRIPTORS).filter_map(|_| open(&address)).collect();
            // Enough to need new segments and tables meanwhile.
            writer.wait_for_more(20_000, PATIENCE);
            assert!(cluster.is_running(0), "the node has ended\n{}", cluster.log(0));
            drop(held);
            let freed = Instant::now();
            eventually(RECOVERY, "a new client to be served", || {
                Wire::connect(&address).is_ok_and(|(_, reply)| reply.status.is_ok()).then_some(())
            });
            println!("a new client was served {:.1?} after", freed.elapsed());
            writer.stop().assert_all_there(&cluster.endpoints());
        }
        assert_replicas_agree(&cluster);
    });
}

/// A connection that has sent its hello and waits for nothing.
fn open(address: &str) -> Option<std::net::TcpStream> {
    use net::hello::Hello;
    let address = address.parse().expect("an address");
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.write_all(&Hello::client(0, 0).encode()).ok()?;
    Some(stream)
}

#[test]
fn half_a_frame_is_waited_for_only_so_long() {
    on_cluster("half-frames", Options::default(), |_, cluster| {
        let address = &cluster.nodes[0].address;
        let count = repeat(20, 1000);
        let mut wires: Vec<Wire> = (0..count).map(|_| Wire::connect(address).expect("a connection").0).collect();
        let begun = Instant::now();
        for wire in &mut wires {
            let frame = header(Kind::Write, 1000);
            wire.stream.write_all(&frame[..HEADER_BYTES / 2]).expect("half a header");
        }
        let mut client = cluster.client(PATIENCE);
        client.put_blind(b"beside half frames", b"v").expect("others are served");
        // One byte now and then is not a frame either.
        for wire in &mut wires {
            let _ = wire.stream.write_all(&[0]);
        }
        for wire in &mut wires {
            let left = FRAME_PATIENCE.saturating_sub(begun.elapsed()).max(Duration::from_millis(100));
            assert!(wire.is_closed_within(left), "half a frame is waited for longer than {FRAME_PATIENCE:?}");
        }
        println!("{count} half frames: all closed after {:.1?}", begun.elapsed());
        // Who sends whole frames may take as long as they like between them.
        client.put_blind(b"beside half frames", b"w").expect("others are served");
    });
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_anything_is_allocated() {
    on_cluster("long-frames", Options::default(), |_, cluster| {
        let address = &cluster.nodes[0].address;
        let before = memory(&cluster, 0);
        for length in [u32::MAX, u32::MAX - 23, 1 << 31, BODY_BYTES_MAX as u32 + 1] {
            let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(address).expect("a connection").0).collect();
            for wire in &mut wires {
                // It may be closed before all of it is sent.
                let _ = wire.stream.write_all(&header(Kind::Write, length));
                let _ = wire.stream.write_all(&[0; 4096]);
            }
            for wire in &mut wires {
                assert!(wire.is_closed_within(Duration::from_secs(10)), "a frame of {length} bytes is waited for");
            }
        }
        let grown = memory(&cluster, 0).saturating_sub(before);
        assert!(grown < 32 << 20, "the node grew by {grown} bytes");
        cluster.client(PATIENCE).put_blind(b"beside long frames", b"v").expect("others are served");
    });
}

#[test]
fn a_core_waits_for_no_more_of_large_frames_than_it_has_room_for() {
    const LARGE: usize = 3 << 20;
    let with = settings(&["limits.core_inflight_bytes=4MiB", "limits.connection_inflight_bytes=4MiB"]);
    on_cluster("large-frames", with, |_, cluster| {
        let connect = || Wire::connect(&cluster.nodes[0].address).expect("a connection").0;
        let (mut half, mut whole, mut small) = (connect(), connect(), connect());
        let ping = |wire: &mut Wire| {
            let mut frame = Vec::new();
            net::frame::write(&mut frame, Kind::Ping, 0, 1, &[]);
            wire.stream.write_all(&frame).expect("a ping");
            wire.receive(PATIENCE).expect("a connection").expect("an answer");
        };
        let mut frame = Vec::new();
        net::frame::write(&mut frame, Kind::Ping, 0, 7, &vec![0; LARGE]);
        half.stream.write_all(&frame[..LARGE / 2]).expect("half a frame");
        // By then the node has come to it, as it comes to what other connections say.
        ping(&mut small);
        ping(&mut small);
        let mut stream = whole.stream.try_clone().expect("the same socket");
        let sending = std::thread::spawn(move || stream.write_all(&frame));
        assert_eq!(whole.receive(Duration::from_secs(1)).expect("a connection"), None, "there is room for one of them");
        ping(&mut small);
        drop(half);
        let answered = whole.receive(PATIENCE).expect("a connection").expect("an answer");
        assert_eq!(answered, (7, Response::Done));
        sending.join().expect("a thread").expect("the whole frame");
    });
}

#[test]
fn more_scans_than_a_connection_may_have_under_way_are_answered_all_the_same() {
    const SCANS: u64 = 1_000;
    on_cluster("many-scans", Options::default(), |_, cluster| {
        let mut client = cluster.client(PATIENCE);
        client.put_blind(b"key", b"v").expect("a write");
        let group = client.map().expect("a map").ring().group_of(b"key").0;
        let mut wire = Wire::connect(&cluster.nodes[0].address).expect("a connection").0;
        let last = (0..SCANS).map(|_| wire.send_scan(group, 10).expect("a request")).last();
        let answered: Vec<u64> = (0..SCANS)
            .map(|_| {
                let (id, response) = wire.receive(PATIENCE).expect("a connection").expect("an answer");
                assert!(matches!(response, Response::Page { .. }), "{response:?}");
                id
            })
            .collect();
        assert_eq!(answered.iter().max().copied(), last);
    });
}

#[test]
fn who_reads_its_answers_late_is_read_from_again() {
    late_readers("late-readers", Options::default());
}

#[test]
fn who_reads_late_on_a_core_that_owes_too_much_is_read_from_again() {
    let with = ["limits.core_inflight_bytes=4MiB", "limits.connection_inflight_bytes=4MiB"];
    late_readers("late-readers-owed", settings(&with));
}

fn late_readers(name: &str, with: Options) {
    const VALUE_BYTES: usize = 512 << 10;
    on_cluster(name, with, |_, cluster| {
        let key = b"large";
        let mut client = cluster.client(PATIENCE);
        client.put_blind(key, &vec![7; VALUE_BYTES]).expect("a write");
        let group = client.map().expect("a map").ring().group_of(key).0;
        let address = &cluster.nodes[0].address;
        let (mut late, mut other) =
            (Wire::connect(address).expect("one").0, Wire::connect(address).expect("another").0);
        let read = |wire: &mut Wire| {
            wire.send_read(group, key, true).expect("a request");
            wire.receive(PATIENCE).expect("a connection").expect("an answer").1
        };
        eventually(PATIENCE, "the value to be there", || {
            matches!(read(&mut other), Response::Value(Some(value)) if value.len() == VALUE_BYTES).then_some(())
        });
        // The first fill what the system holds, the next the place for answers; then another finds no room, and the last is left
        // where it is. Each time an answer to somebody else says that the node has come so far.
        for requests in [40, 60, 1, 1] {
            for _ in 0..requests {
                late.send_read(group, key, true).expect("a request");
            }
            read(&mut other);
        }
        for answer in 0..102 {
            let answered = late.receive(PATIENCE).expect("a connection");
            assert!(answered.is_some(), "answer {answer} never comes");
        }
    });
}

#[test]
fn answers_that_nobody_reads_take_no_more_than_their_room() {
    const VALUE_BYTES: usize = 1 << 20;
    const REQUESTS: usize = 600;
    // Ten times what a client may be owed, and half of what all of it would take.
    const GROWTH_MAX: u64 = 10 * 4 * (8 << 20);
    on_cluster("unread", Options::default(), |_, cluster| {
        let key = b"large";
        let mut client = cluster.client(PATIENCE);
        client.put_blind(key, &vec![7; VALUE_BYTES]).expect("a write");
        let group = client.map().expect("a map").ring().group_of(key).0;
        let address = &cluster.nodes[0].address;
        let mut other = Wire::connect(address).expect("a connection").0;
        let read = |wire: &mut Wire| {
            wire.send_read(group, key, true).expect("a request");
            wire.receive(PATIENCE).expect("a connection").expect("an answer").1
        };
        eventually(PATIENCE, "the value to be there", || {
            matches!(read(&mut other), Response::Value(Some(value)) if value.len() == VALUE_BYTES).then_some(())
        });
        let before = memory_of(&cluster, 0, "VmHWM:");
        // Short requests: hundreds are found by one look at the socket.
        let mut late = Wire::connect(address).expect("a connection").0;
        let mut frames = Vec::new();
        for id in 0..REQUESTS as u64 {
            write_read(&mut frames, group, id, &ReadRequest { key, stale: true });
        }
        late.stream.write_all(&frames).expect("requests");
        assert!(matches!(read(&mut other), Response::Value(Some(_))), "others are served");
        let (mut values, mut refused) = (0, 0);
        for answer in 0..REQUESTS {
            match late.receive(PATIENCE).expect("a connection") {
                Some((_, Response::Value(Some(value)))) if value.len() == VALUE_BYTES => values += 1,
                Some((_, Response::Refused(Refusal::Busy { .. }))) => refused += 1,
                other => panic!("answer {answer}: {other:?}"),
            }
        }
        let grown = memory_of(&cluster, 0, "VmHWM:").saturating_sub(before);
        println!("{values} values, {refused} refused as busy, {} MiB more memory", grown >> 20);
        assert!(values > 0 && grown < GROWTH_MAX, "the node grew by {grown} bytes");
        // A client of the library comes back for what was refused.
        for _ in 0..100 {
            client.submit(Request::Get { key: key.to_vec(), stale: false });
        }
        while client.in_flight() > 0 {
            for completion in client.poll(PATIENCE) {
                assert!(matches!(completion.result, Ok(Answer::Value(Some(value))) if value.len() == VALUE_BYTES));
            }
        }
    });
}

#[test]
fn ten_thousand_idle_connections_cost_next_to_nothing() {
    // Some of the 10,000 places that a node has are left for the others.
    const WANTED: usize = 9_900;
    on_cluster("idle", Options::default(), |_, cluster| {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit); // what there is must do
        // A node gives half of its descriptors to clients.
        let room = limit.maximum.map_or(usize::MAX, |most| most as usize / 2);
        let count = WANTED.min(room);
        if count < WANTED {
            skip("idle connections", &format!("only {count} of {WANTED}: the limit on descriptors is {room}"));
        }
        let address = &cluster.nodes[0].address;
        let before = (memory(&cluster, 0), latency(&cluster));
        let held: Vec<Wire> = (0..count)
            .map(|i| {
                let (wire, reply) = Wire::connect(address).unwrap_or_else(|error| panic!("connection {i}: {error}"));
                reply.status.unwrap_or_else(|refusal| panic!("connection {i}: {refusal:?}"));
                wire
            })
            .collect();
        let after = (memory(&cluster, 0), latency(&cluster));
        let each = after.0.saturating_sub(before.0) / count as u64;
        println!(
            "{} idle connections: {each} bytes each; p99 of a write {:.1?}, {:.1?} before",
            held.len(),
            after.1,
            before.1
        );
        assert!(each <= IDLE_BYTES_MAX, "an idle connection costs {each} bytes");
        let slowest = (before.1 * 4).max(Duration::from_millis(50));
        assert!(after.1 <= slowest, "p99 of a write went from {:.1?} to {:.1?}", before.1, after.1);
    });
}

/// The 99th percentile of a write's duration.
fn latency(cluster: &Cluster) -> Duration {
    let mut client = cluster.client(PATIENCE);
    let mut took: Vec<Duration> = (0..500)
        .map(|i: u32| {
            let begun = Instant::now();
            client.put_blind(&i.to_le_bytes(), b"v").expect("a write");
            begun.elapsed()
        })
        .collect();
    took.sort();
    took[took.len() * 99 / 100]
}

/// Resident memory of a node, in bytes.
pub fn memory(cluster: &Cluster, position: usize) -> u64 {
    memory_of(cluster, position, "VmRSS:")
}

fn memory_of(cluster: &Cluster, position: usize, which: &str) -> u64 {
    let id = cluster.nodes[position].id().expect("a running node");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(which)).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A frame's header with a length that may be a lie; its crc is of no content, as nothing of it is read yet.
fn header(kind: Kind, length: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[8] = kind as u8;
    header[9] = VERSION;
    header
}
