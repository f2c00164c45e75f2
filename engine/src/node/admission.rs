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

/// How long the cores of a node may take to say how their replicas are; less than their node may take to pass it on.
const CORES_PATIENCE: Duration = Duration::from_millis(400);

/// How long another node may take for each step of that. Both, one after the other, are less than whoever petitions waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the cores of this node say of their replicas. One that has ended says nothing.
pub fn replicas(mesh: &Mesh) -> Vec<ReplicaStatus> {
    let deadline = Instant::now() + CORES_PATIENCE;
    let asked: Vec<_> = (0..mesh.len())
        .map(|core| {
            let (reply, answer) = Reply::channel();
            mesh.send(core, ToCore::Status(reply));
            answer
        })
        .collect();
    asked.iter().filter_map(|answer| answer.recv_deadline(deadline).ok()).flat_map(|core| core.replicas).collect()
}

/// Whether this node leads group 0, as nobody else acts on petitions; an error if it holds a replica that knows no leader.
pub fn decides(own: &[ReplicaStatus]) -> Result<bool, String> {
    match own.iter().find(|replica| replica.group == MAP_GROUP.0) {
        Some(replica) if replica.leader.is_none() => {
            Err("group 0 has no leader, and without one nobody is taken in: start the nodes that hold it".to_owned())
        }
        replica => Ok(replica.is_some_and(|replica| replica.role == ROLE_LEADER)),
    }
}

/// A group that has no quorum without what node `number` had; `node` is this one, with the replicas `own`.
pub fn stranded(map: &ClusterMap, number: u16, node: u16, own: Vec<ReplicaStatus>) -> Option<GroupId> {
    let shared = map.groups.iter().filter(|entry| map.replica_on(entry.id, number).is_some());
    let members = shared.flat_map(|entry| &entry.replicas).map(|replica| replica.node());
    let others: BTreeSet<u16> = members.filter(|other| *other != number && *other != node).collect();
    // All at once: some may be gone without a word.
    let said: Vec<(u16, Vec<ReplicaStatus>)> = thread::scope(|scope| {
        let ask = |other: u16| {
            let spawned = thread::Builder::new().name("lobby".into()).spawn_scoped(scope, move || status(map, other));
            match spawned {
                Ok(asked) => Some((other, asked)),
                Err(error) => {
                    tracing::warn!(%error, "no thread to ask a node how its replicas are");
                    None
                }
            }
        };
        let asked: Vec<_> = others.into_iter().filter_map(ask).collect();
        asked.into_iter().map(|(other, asked)| (other, asked.join().unwrap_or_default())).collect()
    });
    let whole = |(node, replicas): (u16, Vec<ReplicaStatus>)| {
        replicas.into_iter().filter(|replica| replica.whole).map(move |replica| (GroupId(replica.group), node))
    };
    let whole: BTreeSet<(GroupId, u16)> = said.into_iter().chain([(node, own)]).flat_map(whole).collect();
    map.stranded_without(number, |group, node| whole.contains(&(group, node)))
}

/// What node `number` says of its replicas, if the directory that the map means is there; nothing if it says nothing.
fn status(map: &ClusterMap, number: u16) -> Vec<ReplicaStatus> {
    let node = &map.nodes[usize::from(number)];
    let member = Some((map.cluster, node.incarnation));
    let ask = |out: &mut Vec<u8>| request::write_empty(out, Kind::Status, 0, 1);
    let answered = asking::ask_member(member, PATIENCE, &node.address, Kind::Response, ask);
    match answered.map(|body| Response::decode(&body)) {
        Ok(Ok(Response::Status(status))) => status.groups,
        other => {
            tracing::debug!(node = node.name, ?other, "a node does not say how its replicas are");
            Vec::new()
        }
    }
}
