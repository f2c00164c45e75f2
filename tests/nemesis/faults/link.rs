//! Links between nodes that are cut, lossy or slow.

use std::time::Duration;

use super::{Fault, victim};
use crate::nemesis::cluster::Cluster;
use crate::nemesis::packets::{self, BadWeather};
use crate::nemesis::random::Random;

/// One node is cut off from all others.
pub struct Isolate;

impl Fault for Isolate {
    fn name(&self) -> &'static str {
        "isolate one node"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.network.can_cut()
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let one = victim(cluster, random);
        (0..cluster.nodes.len()).filter(|other| *other != one).for_each(|other| cluster.network.cut_both(one, other));
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.network.heal();
    }
}

/// One node no longer hears the others, or is no longer heard.
pub struct OneWay;

impl Fault for OneWay {
    fn name(&self) -> &'static str {
        "cut one direction"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.network.can_cut()
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let one = victim(cluster, random);
        let is_deaf = random.below(2) == 0;
        for other in (0..cluster.nodes.len()).filter(|other| *other != one) {
            let (from, to) = if is_deaf { (other, one) } else { (one, other) };
            cluster.network.cut(from, to);
        }
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.network.heal();
    }
}

/// Two nodes lose each other; the third hears both.
pub struct Partial;

impl Fault for Partial {
    fn name(&self) -> &'static str {
        "cut one pair"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.network.can_cut()
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let one = victim(cluster, random);
        let other = (one + 1 + random.below(cluster.nodes.len() - 1)) % cluster.nodes.len();
        cluster.network.cut_both(one, other);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.network.heal();
    }
}

/// Every packet to every node comes 20 to 50 ms late, and 5 of 100 never.
#[derive(Default)]
pub struct Weather(Vec<BadWeather>);

impl Weather {
    const BAD: packets::Weather =
        packets::Weather { delay: Duration::from_millis(20), jitter: Duration::from_millis(30), loss_percent: 5 };
}

impl Fault for Weather {
    fn name(&self) -> &'static str {
        "lose and delay packets"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        BadWeather::begin(&cluster.nodes[0].room, Weather::BAD, Random::new(0)).map(drop)
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        let begin = |node: &crate::nemesis::cluster::Node| BadWeather::begin(&node.room, Weather::BAD, random.fork());
        self.0 = cluster.nodes.iter().map(begin).collect::<Result<_, _>>().expect("it was possible before");
    }

    fn end(&mut self, _cluster: &mut Cluster) {
        self.0.clear();
    }
}
