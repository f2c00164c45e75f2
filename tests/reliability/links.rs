//! Partitions, loss and delay: who may answer, how soon the others go on, and how little is disturbed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use engine_core::command::Operation;
use net::client::Request;
use net::response::Response;

use crate::harness::GROUPS;
use crate::nemesis::cluster::{Cluster, Options};
use crate::nemesis::elections;
use crate::nemesis::packets::{BadWeather, Weather};
use crate::nemesis::random::Random;
use crate::nemesis::stage::skip;
use crate::nemesis::wire::Wire;
use crate::writer::Writer;
use crate::{PATIENCE, assert_replicas_agree, on_cluster, repeat};

/// Elections of one group that one episode may cost, and the one that gives it back to the node that is to lead it.
const ELECTIONS_MAX: u64 = 2 + 1;

#[test]
fn a_leader_without_a_majority_answers_nothing_while_the_others_go_on() {
    on_cluster("isolated", Options::default(), |_, mut cluster| {
        if let Err(why) = cluster.network.can_cut() {
            return skip("isolated", &why);
        }
        for _ in 0..repeat(2, 20) {
            let leader = cluster.busiest_leader();
            let gap = episode(&mut cluster, "isolated leader", |cluster| {
                let (mut wire, _) = Wire::connect(&cluster.nodes[leader].address).expect("a connection");
                (0..3).filter(|other| *other != leader).for_each(|other| cluster.network.cut_both(leader, other));
                let ended = Instant::now() + elections(4.0);
                let mut asked = 0;
                while Instant::now() < ended {
                    for group in 1..=GROUPS {
                        wire.send_read(group, b"any", false).expect("sent");
                        asked += 1;
                    }
                    while let Some((_, answer)) = wire.receive(elections(0.1)).expect("a sound connection") {
                        let refused = matches!(answer, Response::Refused(_));
                        assert!(refused, "a node without a majority answered {answer:?}");
                    }
                }
                assert!(asked > 0);
            });
            assert!(gap < 8.0, "the majority stood still for {gap:.1} E");
        }
        assert_replicas_agree(&cluster);
    });
}

#[test]
fn a_one_way_cut_costs_few_elections() {
    on_cluster("one-way", Options::default(), |_, mut cluster| {
        if let Err(why) = cluster.network.can_cut() {
            return skip("one-way", &why);
        }
        for round in 0..repeat(1, 10) {
            for (is_deaf, leads) in [(true, true), (false, true), (true, false), (false, false)] {
                let leader = cluster.busiest_leader();
                let one = if leads { leader } else { (leader + 1 + round as usize % 2) % 3 };
                let what = format!("n{} {}", one + 1, if is_deaf { "hears nobody" } else { "is not heard" });
                let gap = episode(&mut cluster, &what, |cluster| {
                    for other in (0..3).filter(|other| *other != one) {
                        let (from, to) = if is_deaf { (other, one) } else { (one, other) };
                        cluster.network.cut(from, to);
                    }
                    lasts(6.0);
                });
                assert!(gap < 10.0, "{what}: writes stalled for {gap:.1} E");
            }
        }
        assert_replicas_agree(&cluster);
    });
}

#[test]
fn two_nodes_that_lose_each_other_do_not_fight_over_the_third() {
    on_cluster("partial", Options::default(), |_, mut cluster| {
        if let Err(why) = cluster.network.can_cut() {
            return skip("partial", &why);
        }
        for round in 0..repeat(2, 10) {
            let leader = cluster.busiest_leader();
            let other = (leader + 1 + round as usize % 2) % 3;
            let length = repeat(8, 120) as f64;
            let gap = episode(&mut cluster, "cut pair", |cluster| {
                cluster.network.cut_both(leader, other);
                lasts(length);
            });
            assert!(gap < 10.0, "writes stalled for {gap:.1} E");
        }
        assert_replicas_agree(&cluster);
    });
}

#[test]
fn a_delay_of_a_tenth_of_an_election_causes_none() {
    let weather = Weather { delay: elections(0.04), jitter: elections(0.06), loss_percent: 0 };
    in_weather("delay", weather, |cluster| {
        let before = cluster.terms();
        let writer = Writer::start(&cluster.endpoints());
        lasts(repeat(8, 120) as f64);
        writer.wait_for_more(100, PATIENCE);
        let written = writer.stop();
        println!("{} writes, terms {before:?} before, {:?} after", written.count(), cluster.terms());
        assert_eq!(cluster.terms(), before, "there was an election");
    });
}

#[test]
fn with_five_percent_loss_at_least_half_is_answered_in_time() {
    let weather = Weather { delay: Duration::from_millis(20), jitter: Duration::from_millis(30), loss_percent: 5 };
    in_weather("loss", weather, |cluster| {
        let (offered, in_time) = offer(cluster, 500, Duration::from_secs(repeat(6, 60)));
        println!("{in_time} of {offered} answered within 2 s");
        assert!(2 * in_time >= offered, "only {in_time} of {offered} answered within 2 s");
    });
}

/// Writes around something that happens to links, which then heal: gives the longest wait for an acknowledgement in
/// units of E, and asserts that there were few elections and nothing was lost.
fn episode(cluster: &mut Cluster, what: &str, act: impl FnOnce(&mut Cluster)) -> f64 {
    cluster.wait_settled();
    let writer = Writer::start(&cluster.endpoints());
    writer.wait_for_more(200, PATIENCE);
    let (before, begun) = (cluster.terms(), Instant::now());
    act(cluster);
    writer.wait_for_more(200, PATIENCE);
    cluster.network.heal();
    let healed = Instant::now();
    cluster.wait_healthy();
    let healing = healed.elapsed().as_secs_f64() / elections(1.0).as_secs_f64();
    writer.wait_for_more(200, PATIENCE);
    let written = writer.stop();
    let gap = written.longest_gap_since(begun).as_secs_f64() / elections(1.0).as_secs_f64();
    let after = cluster.terms();
    println!("{what}: stalled {gap:.1} E, healed after {healing:.1} E, terms {before:?} then {after:?}");
    for (group, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(after - before <= ELECTIONS_MAX, "{what}: group {group} went from term {before} to {after}");
    }
    assert!(healing < 20.0, "{what}: healed only after {healing:.1} E");
    written.assert_all_there(&cluster.endpoints());
    gap
}

/// With this weather at every node.
fn in_weather(name: &'static str, weather: Weather, play: impl FnOnce(&Cluster) + Send + 'static) {
    on_cluster(name, Options::default(), move |_, cluster| {
        cluster.wait_settled();
        let mut random = Random::seeded();
        let begun: Result<Vec<BadWeather>, String> =
            cluster.nodes.iter().map(|node| BadWeather::begin(&node.room, weather, random.fork())).collect();
        match begun {
            Ok(begun) => {
                play(&cluster);
                drop(begun);
                assert_replicas_agree(&cluster);
            }
            Err(why) => skip(name, &why),
        }
    });
}

/// Offers `rate` writes a second, whatever is answered: gives how many, and how many were answered within 2 s.
fn offer(cluster: &Cluster, rate: u32, length: Duration) -> (usize, usize) {
    const IN_TIME: Duration = Duration::from_secs(2);
    let mut client = cluster.client(Duration::from_secs(20));
    let (mut sent, mut in_time) = (HashMap::new(), 0);
    let begun = Instant::now();
    let mut offered = 0;
    while begun.elapsed() < length || !sent.is_empty() {
        let due = (begun.elapsed().min(length).as_secs_f64() * f64::from(rate)) as usize;
        while offered < due {
            offered += 1;
            let key = format!("offered {offered}").into_bytes();
            let put = Operation::Put { key, value: b"v".to_vec(), return_old: false };
            sent.insert(client.submit(Request::Write(put)), Instant::now());
        }
        for completion in client.poll(Duration::from_millis(5)) {
            let since = sent.remove(&completion.id).expect("it was sent");
            in_time += usize::from(completion.result.is_ok() && since.elapsed() <= IN_TIME);
        }
    }
    (offered, in_time)
}

/// How long a fault lasts is part of it.
fn lasts(count: f64) {
    std::thread::sleep(elections(count));
}
