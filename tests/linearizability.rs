//! Every fault there is, one after another, under clients whose history is then judged.
//!
//! Short in the gate: every kind once. `KV_NEMESIS_ROUNDS=20` fires each kind 20 times (`sh tests/run.sh --long` does);
//! `KV_NEMESIS_SEED` repeats the choices of an earlier run, which prints its seed. In the long form the history must
//! hold at least 100,000 operations. Needs root and the tools that `nemesis` names; what is missing is skipped by name.
//!
//! Asserted: no key's history is without an explanation, none cannot be judged, clients were answered at least 50 times
//! a second on average and again within 10 s of each fault's end, and all replicas hold the same at the end.

mod harness;
mod nemesis;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{eventually, kvctl};
use nemesis::cluster::{Cluster, Options};
use nemesis::faults::{self, Fault};
use nemesis::history::{Asked, Event, Swapped, assert_linearizable, judge};
use nemesis::load::Load;
use nemesis::random::Random;
use nemesis::stage::{on_stage, skip};
use nemesis::{elections, setting};

/// A run with fewer answers a second says little about what would have gone wrong.
const RATE_MIN: f64 = 50.0;
/// How soon after a fault that rate must be there again.
const RECOVERY: Duration = Duration::from_secs(10);
/// No fault takes a group's writes for so long but one of all nodes.
const TIMEOUT: Duration = Duration::from_secs(10);
const LONG_ROUNDS: u64 = 20;
const LONG_OPERATIONS: usize = 100_000;

#[test]
fn one_order_explains_what_clients_saw_while_everything_failed() {
    on_stage("nemesis", |stage| {
        let mut random = Random::seeded();
        let options = Options { movable_clocks: true, ..Options::default() };
        let mut cluster = match Cluster::start(stage, &options) {
            Ok(cluster) => cluster,
            Err(why) => return skip("nemesis", &why),
        };
        let mut faults = possible(&cluster);
        let rounds = setting("KV_NEMESIS_ROUNDS", 1);
        let load = Load::start(&cluster.endpoints(), TIMEOUT, &mut random);
        let started = Instant::now();
        wait_for_pace(&load);
        let mut fired: BTreeMap<&str, u64> = BTreeMap::new();
        for round in 1..=rounds {
            random.shuffle(&mut faults);
            for fault in &mut faults {
                strike(fault.as_mut(), &mut cluster, &load, &mut random, round);
                *fired.entry(fault.name()).or_default() += 1;
            }
        }
        // The rest of the long form's operations, if the faults were over too soon.
        let wanted = if rounds >= LONG_ROUNDS { LONG_OPERATIONS } else { 0 };
        eventually(Duration::from_secs(3600), "enough operations", || (load.answered() >= wanted).then_some(()));
        let (answered, took) = (load.answered(), started.elapsed());
        let history = load.stop();
        cluster.wait_healthy();
        kvctl(&cluster.endpoints(), &["group", "checksum", "--timeout", "60s"]).exits(0);
        let verdict = assert_linearizable(&history);
        let rate = answered as f64 / took.as_secs_f64();
        println!("{verdict:?}");
        fired.iter().for_each(|(fault, times)| println!("{times:>4} times: {fault}"));
        println!("{answered} answers in {took:.1?}, {rate:.0}/s under {} kinds of faults", fired.len());
        assert!(rate >= RATE_MIN, "{rate:.0} operations a second: the run is void");
    });
}

/// The faults this machine can make.
fn possible(cluster: &Cluster) -> Vec<Box<dyn Fault>> {
    let mut faults = faults::all();
    faults.retain(|fault| match fault.is_possible(cluster) {
        Ok(()) => true,
        Err(why) => {
            skip(&format!("nemesis, {}", fault.name()), &why);
            false
        }
    });
    faults
}

fn strike(fault: &mut dyn Fault, cluster: &mut Cluster, load: &Load, random: &mut Random, round: u64) {
    let before = load.answered();
    let begun = Instant::now();
    fault.begin(cluster, random);
    // How long it lasts is part of the fault.
    let lasting = elections(2.0) + elections(3.0).mul_f64(random.below(100) as f64 / 100.0);
    std::thread::sleep(lasting);
    fault.end(cluster);
    let (during, lasted) = (load.answered() - before, begun.elapsed());
    let recovered = wait_for_pace(load);
    let name = fault.name();
    println!("round {round}: {name}: {during} answers in {lasted:.1?}, at pace again after {recovered:.1?}");
    assert!(recovered <= RECOVERY, "{name}: at pace only {recovered:.1?} after its end\n{}", cluster.log_tails());
    cluster.wait_healthy();
}

/// Waits until clients were answered as often as they must be for one second; gives when that second began.
fn wait_for_pace(load: &Load) -> Duration {
    let begun = Instant::now();
    let mut looks = vec![(Duration::ZERO, load.answered())];
    eventually(Duration::from_secs(60), "the load to come back to its pace", || {
        let now = begun.elapsed();
        looks.push((now, load.answered()));
        let answered = looks[looks.len() - 1].1;
        let from = looks.iter().rev().find(|look| now - look.0 >= Duration::from_secs(1))?;
        ((answered - from.1) as f64 >= RATE_MIN).then_some(from.0)
    })
}

#[test]
fn the_judge_finds_a_stale_read_a_lost_write_and_a_swap_that_was_none() {
    let event = |called: i64, answered: Option<i64>, asked: Asked| Event { client: 0, key: 1, called, answered, asked };
    let put = |at, value| event(at, Some(at + 1), Asked::Put { value, old: None });
    let get = |at, seen| event(at, Some(at + 1), Asked::Get { seen });
    let explained: &[Vec<Event>] = &[
        vec![put(0, 1), get(2, Some(1)), put(4, 2), get(6, Some(2))],
        // Unknown outcomes: one that happened late, one that never did.
        vec![put(0, 1), event(2, None, Asked::Put { value: 2, old: None }), get(4, Some(1)), get(6, Some(2))],
        vec![put(0, 1), event(2, None, Asked::Delete { old: None }), get(4, Some(1))],
        vec![
            put(0, 1),
            event(2, Some(3), Asked::Swap { expect: None, set: 2, outcome: Some(Swapped::Refused(Some(Some(1)))) }),
        ],
    ];
    for history in explained {
        let verdict = judge(history);
        assert!(verdict.illegal.is_empty() && verdict.unknown.is_empty(), "{verdict:?}: {history:?}");
    }
    let unexplained: &[Vec<Event>] = &[
        vec![put(0, 1), put(2, 2), get(4, Some(1))],
        vec![put(0, 1), get(2, None)],
        vec![get(0, Some(7))],
        vec![put(0, 1), event(2, Some(3), Asked::Swap { expect: Some(9), set: 2, outcome: Some(Swapped::Done) })],
        vec![put(0, 1), event(2, Some(3), Asked::Put { value: 2, old: Some(None) })],
        vec![put(0, 1), event(2, Some(3), Asked::Delete { old: None }), get(4, Some(1))],
    ];
    for history in unexplained {
        assert_eq!(judge(history).illegal, [1], "{history:?}");
    }
}
