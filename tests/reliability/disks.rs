//! Disks that fail, fill up or are slow.

use std::fs::DirEntry;
use std::path::Path;
use std::time::{Duration, Instant};

use net::client::{Client, ClientError};
use rustix::process::Signal;

use crate::harness::eventually;
use crate::nemesis::cluster::{Cluster, LOW_WATER, Options, was_ended_by};
use crate::nemesis::elections;
use crate::nemesis::random::Random;
use crate::writer::Writer;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, on_powered_cluster, repeat, settings};

/// Less than a segment of 32 MiB, and enough for what RocksDB sets aside when it opens, in bytes.
const LEFT: u64 = 24 << 20;

/// A node with work to do notices at its next write; the rest is a slow machine that writes a core dump.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_node_whose_disk_fails_stops_at_once_and_acknowledges_nothing_more() {
    failing("disk-fails", &[]);
}

#[test]
fn a_node_whose_disk_fails_with_a_buffered_journal_stops_at_once() {
    failing("disk-fails-buffered", &["journal.direct_io=false"]);
}

fn failing(name: &'static str, with: &[&str]) {
    on_powered_cluster(name, settings(with), |mut cluster| {
        let mut random = Random::seeded();
        for _ in 0..repeat(2, 20) {
            let victim = random.below(cluster.nodes.len());
            // One that still recovers ends in another way: it refuses to start.
            cluster.wait_healthy();
            let writer = Writer::start(&cluster.endpoints());
            writer.wait_for_more(200, PATIENCE);
            let failed = Instant::now();
            cluster.nodes[victim].disk.cut_power().expect("the disk fails");
            let status = cluster.wait_end(victim, ABORT_PATIENCE).expect("a node whose disk fails ends by itself");
            println!("n{} ended with {status} after {:.1?}", victim + 1, failed.elapsed());
            assert!(was_ended_by(status, Signal::ABORT), "{status}\n{}", cluster.log(victim));
            writer.wait_for_more(200, PATIENCE);
            cluster.restore_power(victim);
            writer.wait_for_more(200, PATIENCE);
            writer.stop().assert_all_there(&cluster.endpoints());
        }
        assert_replicas_agree(&cluster);
    });
}

#[test]
fn full_disks_refuse_writes_by_name_while_reads_go_on_and_recover_by_themselves() {
    on_cluster("disk-full", Options::default(), |_, cluster| {
        let mut client = cluster.client(Duration::from_secs(2));
        for round in 1..=repeat(1, 10) {
            put_all(&mut client, round);
            cluster.nodes.iter().for_each(|node| node.disk.fill(LOW_WATER / 2));
            let why = eventually(Duration::from_secs(10), "writes to be refused", || {
                match client.put_blind(b"refused", b"v") {
                    Err(ClientError::NotApplied { why }) => Some(why),
                    // One node may have noticed and another not yet.
                    Ok(()) | Err(ClientError::OutcomeUnknown { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            });
            assert!(why.contains("disk"), "the refusal does not say why: {why}");
            get_all(&mut client, round);
            cluster.nodes.iter().for_each(|node| node.disk.empty());
            let emptied = Instant::now();
            eventually(Duration::from_secs(10), "writes to work again", || client.put_blind(b"again", b"v").ok());
            println!("round {round}: refused with {why:?}; writes again {:.1?} after", emptied.elapsed());
        }
        assert_replicas_agree(&cluster);
    });
}

/// The others have room: what a node with a full disk leads goes to them, and comes back when it has room again.
#[test]
fn one_full_disk_stops_no_writes() {
    on_cluster("disk-full-one", Options::default(), |_, cluster| {
        for round in 1..=repeat(1, 10) {
            cluster.wait_settled();
            let writer = Writer::start(&cluster.endpoints());
            writer.wait_for_more(200, PATIENCE);
            let full = cluster.busiest_leader();
            let filled = Instant::now();
            cluster.nodes[full].disk.fill(LOW_WATER / 2);
            eventually(PATIENCE, "its groups to be led by others", || (cluster.led(full)? == 0).then_some(()));
            println!("round {round}: n{} leads nothing after {:.1?}", full + 1, filled.elapsed());
            put_all(&mut cluster.client(PATIENCE), round);
            writer.wait_for_more(200, PATIENCE);
            cluster.nodes[full].disk.empty();
            cluster.wait_settled();
            writer.stop().assert_all_there(&cluster.endpoints());
        }
        assert_replicas_agree(&cluster);
    });
}

/// A start makes a spare segment, which is larger than what is left: it must not take that, nor end because of it.
#[test]
fn a_node_starts_on_a_disk_without_room_for_a_segment_and_leaves_what_is_there() {
    on_cluster("disk-nearly-full", settings(&["journal.segment=32MiB"]), |_, mut cluster| {
        let mut client = cluster.client(PATIENCE);
        put_all(&mut client, 1);
        for node in &cluster.nodes {
            // Two spares behind the first segment: nothing takes room any more while the disk is filled.
            eventually(PATIENCE, "two spare segments", || (newest_segment(&node.data) >= 3).then_some(()));
            node.disk.fill(LEFT);
        }
        for starts in 1..=repeat(3, 10) {
            for node in 0..cluster.nodes.len() {
                cluster.kill(node);
                cluster.start_node(node);
                eventually(PATIENCE, "the node to serve again", || cluster.status().into_iter().nth(node)?);
                // Every start takes one, so the next one needs what this one uses again.
                eventually(PATIENCE, "a spare segment", || {
                    (newest_segment(&cluster.nodes[node].data) >= starts + 2).then_some(())
                });
            }
            get_all(&mut cluster.client(PATIENCE), 1);
        }
        for node in &cluster.nodes {
            let free = node.disk.free();
            assert!(free >= LEFT / 2, "{free} bytes are left of {LEFT}");
            node.disk.empty();
        }
        eventually(PATIENCE, "writes to work again", || client.put_blind(b"again", b"v").ok());
        assert_replicas_agree(&cluster);
    });
}

/// The low-water mark is there to prevent this; another program may still take the last byte at once.
#[test]
fn nodes_without_one_byte_left_lose_nothing() {
    on_cluster("disk-full-at-once", Options::default(), |_, mut cluster| {
        for round in 1..=repeat(1, 10) {
            let writer = Writer::start(&cluster.endpoints());
            writer.wait_for_more(200, PATIENCE);
            cluster.nodes.iter().for_each(|node| node.disk.fill(0));
            std::thread::sleep(elections(4.0)); // how long it lasts is part of the fault
            cluster.nodes.iter().for_each(|node| node.disk.empty());
            let mut restarted = 0;
            for position in 0..cluster.nodes.len() {
                if !cluster.is_running(position) {
                    restarted += 1;
                    cluster.kill(position);
                    cluster.start_node(position);
                }
            }
            writer.wait_for_more(200, PATIENCE);
            let written = writer.stop();
            written.assert_all_there(&cluster.endpoints());
            println!("round {round}: {} acknowledged writes, 0 lost; {restarted} nodes had ended", written.count());
        }
        assert_replicas_agree(&cluster);
    });
}

#[test]
fn one_slow_disk_does_not_stop_the_cluster() {
    on_cluster("disk-slow", Options::default(), |_, mut cluster| {
        for _ in 0..repeat(1, 10) {
            let leader = cluster.busiest_leader();
            let writer = Writer::start(&cluster.endpoints());
            writer.wait_for_more(200, PATIENCE);
            let (begun, before) = (Instant::now(), writer.count());
            cluster.nodes[leader].disk.stall(Duration::from_millis(250));
            std::thread::sleep(elections(8.0)); // how long it lasts is part of the fault
            let during = (writer.count() - before) as f64 / begun.elapsed().as_secs_f64();
            cluster.nodes[leader].disk.recover();
            writer.wait_for_more(200, PATIENCE);
            let written = writer.stop();
            let gap = written.longest_gap_since(begun).as_secs_f64() / elections(1.0).as_secs_f64();
            println!("n{} slow: {during:.0} writes/s, the longest wait {gap:.1} E", leader + 1);
            assert!(gap < 8.0, "writes stalled for {gap:.1} E");
            written.assert_all_there(&cluster.endpoints());
        }
        assert_replicas_agree(&cluster);
    });
}

#[test]
fn a_disk_that_stands_still_for_good_ends_its_node() {
    ended_by_its_disk("disk-hangs", |_, _| {});
}

#[test]
fn a_disk_that_stands_still_ends_a_node_that_is_leaving() {
    ended_by_its_disk("disk-hangs-leaving", |cluster, leader| cluster.signal(leader, Signal::TERM));
}

/// The disk of the busiest leader stands still, `then` happens, and the node ends by itself without a loss.
fn ended_by_its_disk(name: &str, then: fn(&mut Cluster, usize)) {
    on_cluster(name, settings(&["journal.sync_limit=2s"]), move |_, mut cluster| {
        let leader = cluster.busiest_leader();
        let writer = Writer::start(&cluster.endpoints());
        writer.wait_for_more(200, PATIENCE);
        cluster.nodes[leader].disk.stall(Duration::from_secs(10));
        then(&mut cluster, leader);
        let says = || cluster.log(leader).contains("the disk does not take the journal");
        eventually(PATIENCE, "the node to give its disk up", || says().then_some(()));
        writer.wait_for_more(200, PATIENCE);
        // The thread that waits for the disk holds the process until then.
        cluster.nodes[leader].disk.recover();
        let ended = cluster.wait_end(leader, PATIENCE).expect("its process ends");
        assert!(was_ended_by(ended, Signal::ABORT), "{ended}");
        cluster.start_node(leader);
        writer.wait_for_more(200, PATIENCE);
        writer.stop().assert_all_there(&cluster.endpoints());
        assert_replicas_agree(&cluster);
    });
}

/// The highest number of a segment of a node with one core.
fn newest_segment(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("core-000/journal")).expect("a journal");
    let number = |file: DirEntry| u64::from_str_radix(file.file_name().to_str()?.strip_prefix("segment-")?, 16).ok();
    files.filter_map(|file| number(file.ok()?)).max().unwrap_or(0)
}

const KEYS: u64 = 40;

fn put_all(client: &mut Client, round: u64) {
    client.set_timeout(PATIENCE);
    for key in 0..KEYS {
        client.put_blind(format!("full {key}").as_bytes(), &round.to_le_bytes()).expect("a write");
    }
    client.set_timeout(Duration::from_secs(2));
}

fn get_all(client: &mut Client, round: u64) {
    for key in 0..KEYS {
        let value = client.get(format!("full {key}").as_bytes()).expect("reads go on");
        assert_eq!(value.as_deref(), Some(&round.to_le_bytes()[..]), "key {key}");
    }
}
