//! The cluster as its nodes describe it, group by group: what `status` and `group list` print and the demo waits for.
//!
//! A node that does not answer stands in it all the same, with its fields empty.

use engine_core::placement::map::GroupEntry;
use net::client::{ClusterStatus, NodeReport};
use net::status::{NodeStatus, ROLE_LEADER, ROLE_LEARNER, ReplicaStatus};
use serde_json::{Value, json};

/// The number of the group that holds the cluster map.
pub const MAP_GROUP: u32 = 0;

/// One group.
pub struct GroupView {
    pub id: u32,
    /// The name of the node that leads, as the leader itself says.
    pub leader: Option<String>,
    /// The highest term and commit index that any replica knows.
    pub term: Option<u64>,
    pub commit: Option<u64>,
    pub replicas: Vec<ReplicaView>,
}

/// One replica: the node's name, whether the node answers, and what it says of the replica if it has it.
pub struct ReplicaView {
    pub node: String,
    pub reachable: bool,
    pub status: Option<ReplicaStatus>,
    /// The name of the node that it takes for the leader.
    pub leader: Option<String>,
}

/// All of it.
pub struct View {
    pub nodes: Vec<NodeReport>,
    /// By ascending id; the map group first, if the cluster is formed.
    pub groups: Vec<GroupView>,
    /// Nodes that somebody waits for before there is a cluster.
    pub waiting_for: Vec<String>,
}

impl View {
    /// Sorts what the nodes said by groups.
    pub fn of(status: &ClusterStatus) -> View {
        let entries = status.map.iter().flat_map(|map| &map.groups);
        let groups = entries.map(|entry| group(entry, &status.nodes)).collect();
        View { nodes: status.nodes.clone(), groups, waiting_for: status.waiting_for.clone() }
    }

    /// The groups that hold keys.
    pub fn data_groups(&self) -> impl Iterator<Item = &GroupView> {
        self.groups.iter().filter(|group| group.id != MAP_GROUP)
    }

    /// Whether there is a cluster, every node answers, every group has a leader and every replica does its part.
    pub fn is_well(&self) -> bool {
        !self.groups.is_empty()
            && self.waiting_for.is_empty()
            && self.nodes.iter().all(NodeReport::reachable)
            && self.groups.iter().all(|group| group.leader.is_some())
            // A node that is starting answers before it serves its replicas.
            && self.groups.iter().flat_map(|group| &group.replicas).all(ReplicaView::is_well)
    }

    /// Whether it is well and every replica has applied everything that is committed.
    pub fn is_caught_up(&self) -> bool {
        self.is_well()
            && self.groups.iter().all(|group| {
                group
                    .replicas
                    .iter()
                    .all(|replica| replica.status.as_ref().map(|status| status.applied) == group.commit)
            })
    }

    /// The name of the node that leads most data groups, and which; `None` while there is no leader at all.
    pub fn busiest_leader(&self) -> Option<(String, Vec<u32>)> {
        let led = |name: &str| -> Vec<u32> {
            self.data_groups().filter(|group| group.leader.as_deref() == Some(name)).map(|group| group.id).collect()
        };
        let all = self.nodes.iter().map(|node| (node.name.clone(), led(&node.name)));
        all.max_by_key(|(_, groups)| groups.len()).filter(|(_, groups)| !groups.is_empty())
    }

    /// The contract of `status -o json`.
    pub fn json(&self) -> Value {
        let nodes: Vec<Value> = self.nodes.iter().map(node_json).collect();
        json!({
            "nodes": nodes,
            "groups": self.data_groups().map(GroupView::json).collect::<Vec<_>>(),
            "map_group": self.groups.iter().find(|group| group.id == MAP_GROUP).map(GroupView::json),
            "waiting_for": self.waiting_for,
            "healthy": self.is_well(),
        })
    }
}

/// Whether a node that answers is still reading what it has stored: it serves nothing yet, and waits for nobody.
pub fn is_starting(node: &NodeStatus) -> bool {
    node.epoch == 0 && node.waiting_for.is_empty()
}

fn node_json(node: &NodeReport) -> Value {
    let status = node.status.as_ref().ok();
    json!({
        "name": node.name,
        "address": node.address,
        "reachable": node.reachable(),
        "error": node.status.as_ref().err().map(ToString::to_string),
        "starting": status.map(is_starting),
        "shards": status.map(|status| status.shards),
        "epoch": status.map(|status| status.epoch),
        "forwarded": status.map(|status| status.forwarded),
        "waiting_for": status.map(|status| &status.waiting_for),
    })
}

impl GroupView {
    /// One group of `status` and `group list`.
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "leader": self.leader,
            "term": self.term,
            "commit": self.commit,
            "replicas": self.replicas.iter().map(ReplicaView::json).collect::<Vec<_>>(),
        })
    }
}

impl ReplicaView {
    /// Whether it is served, and counts: a node that comes back with an empty disk is a learner at first, and then one of members that
    /// change; one that has lost its store waits for a snapshot, and one that has lost what it knew listens to nobody. One that sleeps
    /// still knows its leader.
    fn is_well(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.whole && status.leader.is_some())
    }

    fn json(&self) -> Value {
        let field = |get: fn(&ReplicaStatus) -> u64| self.status.as_ref().map(get);
        json!({
            "node": self.node,
            "role": self.status.as_ref().map(|status| role(status.role)),
            "votes": self.status.as_ref().map(votes),
            "whole": self.status.as_ref().map(|status| status.whole),
            "leader": self.leader,
            "applied": field(|status| status.applied),
            "first_log_index": field(|status| status.first_log_index),
            "last_log_index": field(|status| status.last_log_index),
            "snapshots_installed": field(|status| status.snapshots_installed),
        })
    }
}

fn votes(replica: &ReplicaStatus) -> bool {
    replica.role != ROLE_LEARNER
}

fn group(entry: &GroupEntry, nodes: &[NodeReport]) -> GroupView {
    let id = entry.id.0;
    let members = entry.replicas.iter().filter_map(|replica| nodes.get(usize::from(replica.node())));
    let replicas: Vec<ReplicaView> = members
        .map(|node| {
            let status = node.status.as_ref().ok();
            let status = status.and_then(|status| status.groups.iter().find(|replica| replica.group == id)).cloned();
            let leader = status.as_ref().and_then(|replica: &ReplicaStatus| nodes.get(usize::from(replica.leader?)));
            let leader = leader.map(|leader| leader.name.clone());
            ReplicaView { node: node.name.clone(), reachable: node.reachable(), status, leader }
        })
        .collect();
    let known = || replicas.iter().filter_map(|replica| Some((replica, replica.status.as_ref()?)));
    let term = known().map(|(_, status)| status.term).max();
    // A leader that was deposed may not know it yet: only the newest term's leader counts.
    let leader = known()
        .filter(|(_, status)| status.role == ROLE_LEADER)
        .max_by_key(|(_, status)| status.term)
        .filter(|(_, status)| Some(status.term) == term)
        .map(|(replica, _)| replica.node.clone());
    let commit = known().map(|(_, status)| status.commit).max();
    GroupView { id, leader, term, commit, replicas }
}

/// The name of a replica's role.
pub fn role(role: u8) -> &'static str {
    match role {
        0 => "follower",
        1 => "pre-candidate",
        2 => "candidate",
        3 => "leader",
        4 => "learner",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use net::client::ClientError;
    use net::status::NodeStatus;
    use raft::ids::{GroupId, ReplicaId};

    use super::*;

    fn node(name: &str, replicas: &[(u32, u8, u64, u64)]) -> NodeReport {
        let replica = |&(group, role, term, applied): &(u32, u8, u64, u64)| ReplicaStatus {
            group,
            role,
            term,
            applied,
            commit: applied,
            leader: Some(0),
            whole: role != ROLE_LEARNER,
            ..ReplicaStatus::default()
        };
        let groups = replicas.iter().map(replica).collect();
        let status = NodeStatus { name: name.into(), groups, ..NodeStatus::default() };
        NodeReport { name: name.into(), address: String::new(), status: Ok(status) }
    }

    fn view(nodes: Vec<NodeReport>, groups: &[u32]) -> View {
        let replicas: Vec<ReplicaId> = (0..nodes.len()).map(|node| ReplicaId::new(node as u16, 0)).collect();
        let entry = |id: &u32| GroupEntry { id: GroupId(*id), replicas: replicas.clone() };
        let groups = groups.iter().map(|id| group(&entry(id), &nodes)).collect();
        View { nodes, groups, waiting_for: Vec::new() }
    }

    #[test]
    fn an_unreachable_node_stays_in_the_document_with_empty_fields() {
        let status = Err(ClientError::Unavailable { why: "connection refused".into() });
        let lost = NodeReport { name: "n2".into(), address: "h:2".into(), status };
        let view = view(vec![node("n1", &[(0, 3, 2, 9), (1, 3, 2, 7)]), lost], &[0, 1]);
        let json = view.json();
        assert_eq!(json["nodes"][1]["reachable"], false);
        assert_eq!(json["groups"].as_array().map(Vec::len), Some(1));
        assert_eq!(json["groups"][0]["leader"], "n1");
        let expected = json!({"node": "n2", "role": null, "votes": null, "leader": null, "applied": null,
            "first_log_index": null, "last_log_index": null, "snapshots_installed": null, "whole": null});
        assert_eq!(json["groups"][0]["replicas"][1], expected);
        let replica = &json["groups"][0]["replicas"][0];
        assert_eq!((&replica["votes"], &replica["leader"]), (&json!(true), &json!("n1")));
        assert_eq!(json["map_group"]["id"], 0);
        assert!(!view.is_well());
    }

    #[test]
    fn a_replica_that_listens_to_nobody_is_not_well() {
        let followed = || vec![node("n1", &[(0, 3, 2, 9)]), node("n2", &[(0, 0, 2, 9)])];
        assert!(view(followed(), &[0]).is_well());
        for (role, leader, whole) in [(0, None, true), (ROLE_LEARNER, Some(0), false), (0, Some(0), false)] {
            let mut nodes = followed();
            let replica = nodes[1].status.as_mut().map(|status| &mut status.groups[0]).expect("it answers");
            (replica.role, replica.leader, replica.whole) = (role, leader, whole);
            let view = view(nodes, &[0]);
            assert!(!view.is_well(), "role {role}, leader {leader:?}, whole {whole}");
            let replica = &view.json()["map_group"]["replicas"][1];
            assert_eq!(replica["votes"], json!(role != ROLE_LEARNER), "it says why");
            assert_eq!(replica["whole"], json!(whole), "it says why");
            assert_eq!(replica["leader"], leader.map_or(Value::Null, |_| json!("n1")), "it says why");
        }
    }

    #[test]
    fn a_deposed_leader_is_not_the_leader() {
        let before = view(vec![node("n1", &[(1, 3, 2, 7)]), node("n2", &[(1, 0, 3, 7)])], &[1]);
        assert_eq!((before.groups[0].leader.clone(), before.groups[0].term), (None, Some(3)));
        let after = view(vec![node("n1", &[(1, 3, 2, 7)]), node("n2", &[(1, 3, 3, 7)])], &[1]);
        assert_eq!(after.groups[0].leader.as_deref(), Some("n2"));
        assert_eq!(after.busiest_leader(), Some(("n2".into(), vec![1])));
    }
}
