//! `status` and `group list`.

use net::client::ClientError;
use net::status::ROLE_LEARNER;
use serde_json::json;

use super::view::{GroupView, ReplicaView, View, is_starting, role};
use crate::exit::{Code, Failure};
use crate::output::{Answer, Section};

/// What `status` prints; asks for exit code 10 if something is not well.
pub fn status(view: &View) -> Answer {
    let mut sections = vec![nodes(view), groups(view)];
    if !view.waiting_for.is_empty() {
        let rows = view.waiting_for.iter().map(|name| vec!["waiting for".to_owned(), name.clone()]).collect();
        sections.push(Section::new(&["NOT FORMED", "NODE"], rows));
    }
    let code = (!view.is_well()).then_some(Code::Unhealthy);
    Answer { json: view.json(), sections, code }
}

/// What `group list` prints. Before there is a cluster it fails like all other requests.
pub fn list(view: &View) -> Result<Answer, Failure> {
    if view.groups.is_empty() {
        return Err(ClientError::NotFormed { waiting_for: view.waiting_for.clone() }.into());
    }
    let whole = view.json();
    Ok(Answer::new(json!({ "groups": whole["groups"], "map_group": whole["map_group"] }), groups(view)))
}

fn nodes(view: &View) -> Section {
    let rows = view.nodes.iter().map(|node| {
        let (state, shards) = match &node.status {
            Ok(status) if !status.waiting_for.is_empty() => {
                (format!("waits for {}", status.waiting_for.join(", ")), status.shards.to_string())
            }
            Ok(status) if is_starting(status) => ("starting".to_owned(), status.shards.to_string()),
            Ok(status) => ("up".to_owned(), status.shards.to_string()),
            Err(error) => (format!("unreachable: {error}"), "-".to_owned()),
        };
        vec![node.name.clone(), node.address.clone(), shards, state]
    });
    Section::new(&["NODE", "ADDRESS", "SHARDS", "STATE"], rows.collect())
}

fn groups(view: &View) -> Section {
    Section::new(&["GROUP", "LEADER", "TERM", "COMMIT", "REPLICAS"], view.groups.iter().map(row).collect())
}

fn row(group: &GroupView) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let replicas: Vec<String> = group.replicas.iter().map(replica).collect();
    vec![
        group.id.to_string(),
        group.leader.clone().unwrap_or("-".to_owned()),
        number(group.term),
        number(group.commit),
        replicas.join(" "),
    ]
}

fn replica(replica: &ReplicaView) -> String {
    let node = &replica.node;
    match &replica.status {
        Some(status) => {
            let lacks = match (status.leader, status.whole) {
                (None, _) => "(no-leader)",
                // Of a learner that is clear.
                (Some(_), false) if status.role != ROLE_LEARNER => "(incomplete)",
                _ => "",
            };
            format!("{node}:{}@{}{lacks}", role(status.role), status.applied)
        }
        None if replica.reachable => format!("{node}:absent"),
        None => format!("{node}:unreachable"),
    }
}

#[cfg(test)]
mod tests {
    use net::client::NodeReport;
    use net::status::{NodeStatus, ReplicaStatus};

    use super::*;

    #[test]
    fn a_node_that_answers_is_up_once_it_serves() {
        let node = |epoch, waiting_for: &[&str]| {
            let waiting_for = waiting_for.iter().map(|name| name.to_string()).collect();
            let status = NodeStatus { epoch, waiting_for, ..NodeStatus::default() };
            NodeReport { name: "n1".into(), address: "h:1".into(), status: Ok(status) }
        };
        let nodes = vec![node(0, &[]), node(0, &["n2"]), node(1, &[])];
        let view = View { nodes, groups: Vec::new(), waiting_for: Vec::new() };
        let answer = status(&view);
        let states: Vec<&str> = answer.sections[0].rows.iter().map(|row| row[3].as_str()).collect();
        assert_eq!(states, ["starting", "waits for n2", "up"]);
        let starting: Vec<_> = (0..3).map(|node| answer.json["nodes"][node]["starting"].as_bool()).collect();
        assert_eq!(starting, [Some(true), Some(false), Some(false)]);
        assert_eq!(answer.code, Some(Code::Unhealthy));
    }

    #[test]
    fn a_replica_that_is_not_well_says_why() {
        let followed = ReplicaStatus { leader: Some(0), applied: 7, whole: true, ..ReplicaStatus::default() };
        let shown = |reachable, status: Option<ReplicaStatus>| {
            replica(&ReplicaView { node: "n1".to_owned(), reachable, status, leader: None })
        };
        assert_eq!(shown(true, Some(followed.clone())), "n1:follower@7");
        assert_eq!(shown(true, Some(ReplicaStatus { whole: false, ..followed.clone() })), "n1:follower@7(incomplete)");
        assert_eq!(shown(true, Some(ReplicaStatus { leader: None, ..followed })), "n1:follower@7(no-leader)");
        assert_eq!(shown(true, None), "n1:absent");
        assert_eq!(shown(false, None), "n1:unreachable");
    }
}
