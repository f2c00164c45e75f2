//! Whether the cluster can do without what a node had that asks to be taken in with an empty directory.
//!
//! The former directory is refused from then on, whatever it holds. If its disk is lost, that is nothing; if it is only not mounted, it may be
//! what a group needs for its quorum. So whoever leads group 0 asks the other nodes of its groups first how their replicas are: a
//! connection says more than a beat, which does not know of learners, lost stores, or nodes of other sets.

use super::asking;
use super::mesh::{Mesh, Reply, ToCore};
use engine_core::placement::map::{ClusterMap, MAP_GROUP};
use net::frame::Kind;
use net::request;
use net::response::Response;
use net::status::{ROLE_LEADER, ReplicaStatus};
use raft::ids::GroupId;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// How long cores and nodes may take to say how their replicas are. Whoever petitions waits for twice as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the cores of this node say of their replicas. One that has ended says nothing.
pub fn replicas(mesh: &Mesh) -> Vec<ReplicaStatus> {
    let deadline = Instant::now() + PATIENCE;
    let asked: Vec<_> = (0..mesh.len())
        .map(|core| {
            let (reply, answer) = Reply::channel();
            mesh.send(core, ToCore::Status(reply));
            answer
        })
        .collect();
    asked.iter().filter_map(|answer| answer.recv_deadline(deadline).ok()).flat_map(|core| core.replicas).collect()
}

/// Whether this node leads group 0: nobody else acts on petitions.
pub fn decides(own: &[ReplicaStatus]) -> bool {
    own.iter().any(|replica| replica.group == MAP_GROUP.0 && replica.role == ROLE_LEADER)
}

/// A group that has no quorum without what node `number` had; `node` is this one, with the replicas `own`.
pub fn stranded(map: &ClusterMap, number: u16, node: u16, own: Vec<ReplicaStatus>) -> Option<GroupId> {
    let shared = map.groups.iter().filter(|entry| map.replica_on(entry.id, number).is_some());
    let members = shared.flat_map(|entry| &entry.replicas).map(|replica| replica.node());
    let others: BTreeSet<u16> = members.filter(|other| *other != number && *other != node).collect();
    // All at once: some may be gone without a word.
    let said: Vec<(u16, Vec<ReplicaStatus>)> = thread::scope(|scope| {
        let ask = |other: u16| (other, scope.spawn(move || status(&map.nodes[usize::from(other)].address)));
        let asked: Vec<_> = others.into_iter().map(ask).collect();
        asked.into_iter().map(|(other, asked)| (other, asked.join().unwrap_or_default())).collect()
    });
    let whole = |(node, replicas): (u16, Vec<ReplicaStatus>)| {
        replicas.into_iter().filter(|replica| replica.whole).map(move |replica| (GroupId(replica.group), node))
    };
    let whole: BTreeSet<(GroupId, u16)> = said.into_iter().chain([(node, own)]).flat_map(whole).collect();
    map.stranded_without(number, |group, node| whole.contains(&(group, node)))
}

/// What the node at `address` says of its replicas; nothing if it says nothing.
fn status(address: &str) -> Vec<ReplicaStatus> {
    let ask = |out: &mut Vec<u8>| request::write_empty(out, Kind::Status, 0, 1);
    match asking::ask_for(PATIENCE, address, Kind::Response, ask).map(|body| Response::decode(&body)) {
        Ok(Ok(Response::Status(status))) => status.groups,
        other => {
            tracing::debug!(address, ?other, "a node does not say how its replicas are");
            Vec::new()
        }
    }
}
