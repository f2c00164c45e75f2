//! Wall clocks that jump.

use super::Fault;
use crate::nemesis::clock::preload;
use crate::nemesis::cluster::Cluster;
use crate::nemesis::random::Random;

const HOUR: i64 = 3600;

/// The wall clock of one node jumps by an hour, forth or back.
#[derive(Default)]
pub struct Jump(usize);

impl Fault for Jump {
    fn name(&self) -> &'static str {
        "turn one clock"
    }

    fn is_possible(&self, _cluster: &Cluster) -> Result<(), String> {
        preload().map(drop).map_err(str::to_owned)
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = random.below(cluster.nodes.len());
        let seconds = if random.below(2) == 0 { HOUR } else { -HOUR };
        assert!(cluster.turn_clock(self.0, seconds), "a cluster with movable clocks");
        cluster.wait_clock(self.0, seconds);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.turn_clock(self.0, 0);
        cluster.wait_clock(self.0, 0);
    }
}
