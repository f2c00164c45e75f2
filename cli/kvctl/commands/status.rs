//! `status` and `group list`.

use net::client::ClientError;
use net::status::{ROLE_LEARNER, is_name};
use serde_json::json;

use super::view::{GroupView, ReplicaView, View, is_starting, role};
use crate::args::Globals;
use crate::connect::connect;
use crate::exit::{Code, Failure};
use crate::output::{Answer, Section};

/// What the nodes say. If nobody can be asked, it is no help to hear that one should ask for the status.
pub fn asked(globals: &Globals) -> Result<View, Failure> {
    let status = connect(globals).and_then(|mut client| Ok(client.status()?));
    status.map(|status| View::of(&status)).map_err(|failure| match failure.code {
        Code::Unavailable => failure.hint("start a node there, or name one that runs with -e"),
        _ => failure,
    })
}

/// What `status` prints; asks for exit code 10 if something is not well.
pub fn status(view: &View) -> Answer {
    let mut sections = vec![nodes(view), groups(view)];
    if !view.waiting_for.is_empty() {
        let row = |entry: &String| {
            let what = if is_name(entry) { "waiting for" } else { "in the way" };
            vec![what.to_owned(), entry.clone()]
        };
        sections.push(Section::new(&["NOT FORMED", "NODE"], view.waiting_for.iter().map(row).collect()));
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
            Ok(status) if !status.waiting_for.is_empty() => (held_up(&status.waiting_for), status.shards.to_string()),
            Ok(status) if is_starting(status) => ("starting".to_owned(), status.shards.to_string()),
            Ok(status) => ("up".to_owned(), status.shards.to_string()),
            Err(error) => (format!("unreachable: {error}"), "-".to_owned()),
        };
        vec![node.name.clone(), node.address.clone(), shards, state]
    });
    Section::new(&["NODE", "ADDRESS", "SHARDS", "STATE"], rows.collect())
}

/// What keeps a node from founding the cluster.
fn held_up(waiting_for: &[String]) -> String {
    match waiting_for.iter().all(|entry| is_name(entry)) {
        true => format!("waits for {}", waiting_for.join(", ")),
        false => waiting_for.join("; "),
    }
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
        let alone = "n1 is to come in as new (node.new), and no node of the list is a member of a cluster";
        let nodes = vec![node(0, &[]), node(0, &["n2"]), node(1, &[]), node(0, &[alone])];
        let view = View { nodes, groups: Vec::new(), waiting_for: vec!["n2".to_owned(), alone.to_owned()] };
        let answer = status(&view);
        let states: Vec<&str> = answer.sections[0].rows.iter().map(|row| row[3].as_str()).collect();
        assert_eq!(states, ["starting", "waits for n2", "up", alone]);
        assert_eq!(answer.sections[2].rows, [["waiting for", "n2"], ["in the way", alone]]);
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
