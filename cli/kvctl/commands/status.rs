//! `status` and `group list`.

use serde_json::json;

use super::view::{GroupView, View, role};
use crate::exit::Code;
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

/// What `group list` prints.
pub fn list(view: &View) -> Answer {
    let whole = view.json();
    Answer::new(json!({ "groups": whole["groups"], "map_group": whole["map_group"] }), groups(view))
}

fn nodes(view: &View) -> Section {
    let rows = view.nodes.iter().map(|node| {
        let (state, shards) = match &node.status {
            Ok(status) if !status.waiting_for.is_empty() => {
                (format!("waits for {}", status.waiting_for.join(", ")), status.shards.to_string())
            }
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
    let replicas: Vec<String> = group
        .replicas
        .iter()
        .map(|replica| match &replica.status {
            Some(status) => format!("{}:{}@{}", replica.node, role(status.role), status.applied),
            None => format!("{}:unreachable", replica.node),
        })
        .collect();
    vec![
        group.id.to_string(),
        group.leader.clone().unwrap_or("-".to_owned()),
        number(group.term),
        number(group.commit),
        replicas.join(" "),
    ]
}
