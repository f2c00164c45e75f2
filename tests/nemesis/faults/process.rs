//! Processes that end or stand still.

use rustix::process::Signal;

use super::{Fault, victim};
use crate::nemesis::cluster::Cluster;
use crate::nemesis::random::Random;

/// SIGKILL of one node.
#[derive(Default)]
pub struct Kill(usize);

impl Fault for Kill {
    fn name(&self) -> &'static str {
        "kill one node"
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.kill(self.0);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.start_node(self.0);
    }
}

/// SIGKILL of all nodes; they start again at once.
pub struct KillAll;

impl Fault for KillAll {
    fn name(&self) -> &'static str {
        "kill all nodes"
    }

    fn begin(&mut self, cluster: &mut Cluster, _random: &mut Random) {
        (0..cluster.nodes.len()).for_each(|position| cluster.kill(position));
        (0..cluster.nodes.len()).for_each(|position| cluster.start_node(position));
    }

    fn end(&mut self, _cluster: &mut Cluster) {}
}

/// SIGSTOP of one node, which then does not know that time has passed.
#[derive(Default)]
pub struct Pause(usize);

impl Fault for Pause {
    fn name(&self) -> &'static str {
        "pause one node"
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.signal(self.0, Signal::STOP);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.signal(self.0, Signal::CONT);
    }
}
