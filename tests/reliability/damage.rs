//! Bits that flip on a disk.
//!
//! The damaged node starts cut off from the others, so that it can promise nobody anything before its copy is put back:
//! an old copy must never speak in a cluster.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine_core::placement::ring::Ring;
use net::response::{Refusal, Response};

use crate::harness::eventually;
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::random::Random;
use crate::nemesis::stage::{Stage, run, skip, text};
use crate::nemesis::wire::Wire;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, repeat};

/// How many keys there are.
pub const KEYS: usize = 1500;
const VALUE_BYTES: usize = 2000;
/// How long a damaged node may take to end, or to answer.
const START: Duration = Duration::from_secs(20);

/// How long a node that has closed a connection may take to be gone, if that is what it is about.
const LOBBY: Duration = Duration::from_secs(1);

/// What became of a node with a flipped bit.
#[derive(Debug, Default)]
struct Outcomes {
    harmless: usize,
    silent: usize,
    refused: usize,
    stopped: usize,
}

#[test]
fn a_flipped_bit_is_named_or_harmless_and_never_a_wrong_value() {
    on_cluster("bit-flips", Options::default(), |stage, mut cluster| {
        if let Err(why) = cluster.network.can_cut() {
            return skip("bit-flips", &why);
        }
        let mut random = Random::seeded();
        let mut client = cluster.client(PATIENCE);
        let ring = client.map().expect("a map").ring();
        for key in 0..KEYS {
            client.put_blind(&name(key), &value(key)).expect("a write");
        }
        wait_applied(&cluster);
        const VICTIM: usize = 2;
        let mut outcomes = Outcomes::default();
        for cycle in 1..=repeat(6, 200) {
            // Half of the time it has been killed, and half of the time it has flushed.
            cluster.wait_healthy();
            wait_applied(&cluster);
            stop(&mut cluster, VICTIM, cycle % 2 == 0);
            let copy = set_aside(stage, &cluster.nodes[VICTIM].data, VICTIM);
            let kind = random.below(3);
            let (file, byte) = flip(&cluster.nodes[VICTIM].data, kind, &mut random);
            (0..VICTIM).for_each(|other| cluster.network.cut_both(VICTIM, other));
            let log_before = cluster.log(VICTIM).len();
            cluster.start_node(VICTIM);
            let found = examine(&mut cluster, VICTIM, &ring);
            let said = cluster.log(VICTIM)[log_before..].to_owned();
            let is_rot = said.contains("damaged below what was durable");
            println!("cycle {cycle}: {file}, byte {byte}: {found}{}", if is_rot { ", named as rot" } else { "" });
            match found {
                "harmless" => outcomes.harmless += 1,
                "silent" => outcomes.silent += 1,
                "refused" => outcomes.refused += 1,
                _ => outcomes.stopped += 1,
            }
            let names_it = ["damage", "corrupt", "Corruption", "checksum", "journal", "store"];
            let is_named = names_it.iter().any(|word| said.contains(word));
            assert!(found == "harmless" || is_named, "{file}, byte {byte}: {found} without a reason:\n{said}");
            assert!(!said.contains("panicked"), "{file}, byte {byte}: a disk that lies is no panic:\n{said}");
            cluster.kill(VICTIM);
            put_back(&copy, &cluster.nodes[VICTIM].data);
            cluster.network.heal();
            cluster.start_node(VICTIM);
        }
        println!("{outcomes:?}, 0 wrong values");
        assert_replicas_agree(&cluster);
    });
}

/// Reads every key from the node itself, as stale as it likes: what it gives must be what was written.
pub fn examine(cluster: &mut Cluster, victim: usize, ring: &Ring) -> &'static str {
    let Some(mut wire) = connect(cluster, victim) else { return "refused" };
    let (mut given, mut lacking) = (0, None);
    for key in 0..KEYS {
        let group = ring.group_of(&name(key)).0;
        let ask = |wire: &mut Wire| wire.send_read(group, &name(key), true).and_then(|_| wire.receive(START));
        let mut answer = ask(&mut wire);
        if answer.is_err() && cluster.wait_end(victim, LOBBY).is_none() {
            // Whoever came while the node recovered is sent away, once it serves.
            let Some(again) = connect(cluster, victim) else { return "stopped" };
            wire = again;
            answer = ask(&mut wire);
        }
        let asked = Instant::now();
        while matches!(&answer, Ok(Some((_, Response::Refused(Refusal::NotFormed { .. }))))) && asked.elapsed() < START
        {
            // The front was still answering for it when this connection came.
            let Some(again) = connect(cluster, victim) else { return "stopped" };
            wire = again;
            answer = ask(&mut wire);
        }
        match answer {
            Ok(Some((_, said @ (Response::Value(None) | Response::Refused(_))))) => {
                lacking.get_or_insert((key, said));
            }
            Ok(Some((_, Response::Value(Some(found))))) => {
                assert!(found == value(key), "a wrong value for key {key}: {}", found.escape_ascii());
                given += 1;
            }
            Ok(other) => panic!("key {key}: {other:?}"),
            Err(_) if !cluster.is_running(victim) => return "stopped",
            Err(error) => panic!("n{} has closed a connection and lives on: {error}", victim + 1),
        }
    }
    if let Some((key, said)) = lacking {
        println!("n{} gave {given} of {KEYS} values, and of key {key} it said {said:?}", victim + 1);
    }
    if given == KEYS { "harmless" } else { "silent" }
}

/// A connection to the node, once it serves; `None` if it ends first.
fn connect(cluster: &mut Cluster, victim: usize) -> Option<Wire> {
    let address = cluster.nodes[victim].address.clone();
    let begun = Instant::now();
    while cluster.is_running(victim) {
        // It listens before it has recovered; until then it says that there is no cluster.
        if let Ok((wire, reply)) = Wire::connect(&address)
            && reply.status.is_ok()
            && reply.cluster != 0
        {
            return Some(wire);
        }
        assert!(begun.elapsed() < START, "n{} neither ends nor answers\n{}", victim + 1, cluster.log(victim));
        std::thread::sleep(Duration::from_millis(10)); // the pause between two looks
    }
    None
}

/// Flips one bit in a random file of a kind (0: tables, 1: segments, 2: the rest); gives its name and the byte.
pub fn flip(data: &Path, kind: usize, random: &mut Random) -> (String, u64) {
    let mut files = Vec::new();
    collect(data, &mut files);
    files.sort();
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("segment-");
    let mut of_kind: Vec<PathBuf> = match kind {
        0 => files.iter().filter(|path| is_table(path)).cloned().collect(),
        1 => files.iter().filter(|path| is_segment(path)).cloned().collect(),
        _ => files.iter().filter(|path| !is_table(path) && !is_segment(path)).cloned().collect(),
    };
    if of_kind.is_empty() {
        of_kind = files;
    }
    let path = of_kind[random.below(of_kind.len())].clone();
    let mut bytes = std::fs::read(&path).expect("a file");
    // A segment is written with zeros ahead of need: what is used of it is more telling.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    let byte = random.below(used);
    bytes[byte] ^= 1 << random.below(8);
    std::fs::write(&path, bytes).expect("it is written back");
    (path.strip_prefix(data).unwrap_or(&path).display().to_string(), byte as u64)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        // Nothing is read from a log for people, and a lock has no content.
        let is_no_data = name.to_string_lossy().starts_with("LOG") || name.to_string_lossy() == "LOCK";
        match path.is_dir() {
            true => collect(&path, files),
            false if is_no_data || std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) => {}
            false => files.push(path),
        }
    }
}

/// Ends a node, with a flush or without.
pub fn stop(cluster: &mut Cluster, victim: usize, cleanly: bool) {
    if cleanly {
        cluster.signal(victim, rustix::process::Signal::TERM);
        assert!(cluster.wait_end(victim, PATIENCE).is_some_and(|status| status.success()), "a clean end");
    } else {
        cluster.kill(victim);
    }
}

/// Waits until every replica has applied what its group has committed.
pub fn wait_applied(cluster: &Cluster) {
    eventually(PATIENCE, "all replicas to have applied everything", || {
        let status: Option<Vec<_>> = cluster.status().into_iter().collect();
        let groups: Vec<Vec<u64>> =
            status?.iter().map(|node| node.groups.iter().map(|replica| replica.applied).collect()).collect();
        (groups.len() == 3 && groups.iter().all(|applied| *applied == groups[0])).then_some(())
    });
}

/// A copy of a node's data.
pub fn set_aside(stage: &Stage, data: &Path, node: usize) -> PathBuf {
    let copy = stage.directory.join(format!("copy {node}"));
    let _ = std::fs::remove_dir_all(&copy);
    run("cp", &["-a", text(data), text(&copy)]).expect("a copy");
    copy
}

/// Puts a copy back.
pub fn put_back(copy: &Path, data: &Path) {
    std::fs::remove_dir_all(data).expect("the damaged directory is removed");
    run("cp", &["-a", text(copy), text(data)]).expect("the copy is put back");
}

/// A key.
pub fn name(key: usize) -> Vec<u8> {
    format!("flip {key}").into_bytes()
}

/// Its value.
pub fn value(key: usize) -> Vec<u8> {
    let mut random = Random::new(key as u64);
    (0..VALUE_BYTES).map(|_| random.next() as u8).collect()
}
