//! Disks that lose their power, fail, stall or fill up.

use std::time::Duration;

use rustix::process::Signal;

use super::{Fault, victim};
use crate::nemesis::cluster::{Cluster, LOW_WATER, was_ended_by};
use crate::nemesis::random::Random;
use crate::nemesis::stage::is_installed;

/// How long a node may go on after its disk has failed: it notices at its next write, which a heartbeat does not make.
const ABORT_PATIENCE: Duration = Duration::from_secs(20);
/// One stall: a disk that is slow, not dead.
const STALL: Duration = Duration::from_millis(250);

/// The power of one node is cut.
#[derive(Default)]
pub struct PowerCut(usize);

impl Fault for PowerCut {
    fn name(&self) -> &'static str {
        "cut the power of one node"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.power.clone()
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.cut_power(self.0);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.restore_power(self.0);
    }
}

/// The power of all nodes is cut at once; it comes back at once.
pub struct PowerCutAll;

impl Fault for PowerCutAll {
    fn name(&self) -> &'static str {
        "cut the power of all nodes"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.power.clone()
    }

    fn begin(&mut self, cluster: &mut Cluster, _random: &mut Random) {
        // All disks first: nothing may become durable on one that is acknowledged by none.
        cluster.nodes.iter().for_each(|node| node.disk.cut_power().expect("the power is cut"));
        (0..cluster.nodes.len()).for_each(|position| cluster.kill(position));
        (0..cluster.nodes.len()).for_each(|position| cluster.restore_power(position));
    }

    fn end(&mut self, _cluster: &mut Cluster) {}
}

/// The disk of one node answers everything with an error, and the node must end by itself.
#[derive(Default)]
pub struct InputOutputError(usize);

impl Fault for InputOutputError {
    fn name(&self) -> &'static str {
        "fail one disk"
    }

    fn is_possible(&self, cluster: &Cluster) -> Result<(), String> {
        cluster.power.clone()
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.nodes[self.0].disk.cut_power().expect("the disk fails");
        let status = cluster.wait_end(self.0, ABORT_PATIENCE).expect("a node without a disk ends by itself");
        assert!(was_ended_by(status, Signal::ABORT), "n{} ended with {status}", self.0 + 1);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.restore_power(self.0);
    }
}

/// The disk of one node is lost with everything on it; the node gets an empty one, and must be taken in again.
#[derive(Default)]
pub struct Lost(usize);

impl Fault for Lost {
    fn name(&self) -> &'static str {
        "lose one disk"
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.kill(self.0);
        std::fs::remove_dir_all(&cluster.nodes[self.0].data).expect("the disk is emptied");
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.start_node(self.0);
    }
}

/// The disk of one node stands still for a quarter of a second again and again.
#[derive(Default)]
pub struct Slow(usize);

impl Fault for Slow {
    fn name(&self) -> &'static str {
        "slow one disk"
    }

    fn is_possible(&self, _cluster: &Cluster) -> Result<(), String> {
        is_installed("fsfreeze").then_some(()).ok_or_else(|| "fsfreeze is not installed".to_owned())
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.nodes[self.0].disk.stall(STALL);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.nodes[self.0].disk.recover();
    }
}

/// The disk of one node is full up to half of the low-water mark.
#[derive(Default)]
pub struct Full(usize);

impl Fault for Full {
    fn name(&self) -> &'static str {
        "fill one disk"
    }

    fn is_possible(&self, _cluster: &Cluster) -> Result<(), String> {
        is_installed("fallocate").then_some(()).ok_or_else(|| "fallocate is not installed".to_owned())
    }

    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random) {
        self.0 = victim(cluster, random);
        cluster.nodes[self.0].disk.fill(LOW_WATER / 2);
    }

    fn end(&mut self, cluster: &mut Cluster) {
        cluster.nodes[self.0].disk.empty();
    }
}
