//! What happens to a cluster: each fault is begun, lasts, and is ended.
//!
//! A fault chooses its victim itself and leaves the cluster as it found it. It asserts what must hold while it lasts;
//! what clients saw is judged elsewhere.

mod clock;
mod disk;
mod link;
mod process;

use super::cluster::Cluster;
use super::random::Random;

/// One kind of fault.
pub trait Fault {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether this machine can do it; why not.
    fn is_possible(&self, _cluster: &Cluster) -> Result<(), String> {
        Ok(())
    }

    /// It happens.
    fn begin(&mut self, cluster: &mut Cluster, random: &mut Random);

    /// It is over: everything that it broke works again, or is about to.
    fn end(&mut self, cluster: &mut Cluster);
}

/// All kinds there are.
pub fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::<process::Kill>::default(),
        Box::new(process::KillAll),
        Box::<process::Pause>::default(),
        Box::new(link::Isolate),
        Box::new(link::OneWay),
        Box::new(link::Partial),
        Box::<link::Weather>::default(),
        Box::<disk::PowerCut>::default(),
        Box::new(disk::PowerCutAll),
        Box::<disk::InputOutputError>::default(),
        Box::<disk::Lost>::default(),
        Box::<disk::Slow>::default(),
        Box::<disk::Full>::default(),
        Box::<clock::Jump>::default(),
    ]
}

/// Often the node that leads the most, as most goes wrong there.
fn victim(cluster: &Cluster, random: &mut Random) -> usize {
    match random.below(2) {
        0 => cluster.busiest_leader(),
        _ => random.below(cluster.nodes.len()),
    }
}
