//! `group locate` and `group checksum`.

use std::ffi::OsStr;
use std::thread;
use std::time::{Duration, Instant};

use engine_core::placement::ring::slot_of;
use net::client::blocking::Client;
use net::client::{Checksum, ClientError};
use raft::ids::GroupId;
use serde_json::{Value, json};

use super::view::{MAP_GROUP, View};
use crate::args::Globals;
use crate::connect::connect;
use crate::exit::{Code, Failure};
use crate::output::{Answer, Section};
use crate::text::{encode_all, escape};
use crate::value::key;

/// Between two looks at replicas that are at different indexes.
const PAUSE: Duration = Duration::from_millis(50);

pub fn locate(globals: &Globals, argument: &OsStr) -> Result<Answer, Failure> {
    let key = key(argument, globals.encoding)?;
    let mut client = connect(globals)?;
    let begun = Instant::now();
    let map = client.map()?;
    client.set_timeout(globals.timeout.saturating_sub(begun.elapsed()));
    let group = map.ring().group_of(&key);
    let slot = slot_of(&key);
    let view = View::of(&client.status()?);
    let leader = view.groups.iter().find(|seen| seen.id == group.0).and_then(|seen| seen.leader.clone());
    let (texts, enc) = encode_all(&[&key]);
    let json = json!({ "key": texts[0], "enc": enc, "slot": slot, "group": group.0, "leader": leader });
    let row = vec![escape(&key), slot.to_string(), group.to_string(), leader.unwrap_or("-".to_owned())];
    Ok(Answer::row(json, &["KEY", "SLOT", "GROUP", "LEADER"], row))
}

/// What a comparison of one group's replicas says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All hold the same at the same index.
    Agree,
    /// Two hold different things at the same index.
    Differ,
    /// One did not answer.
    Incomplete,
    /// They were never at the same index, as writes go on.
    Moving,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Agree => "agree",
            Verdict::Differ => "differ",
            Verdict::Incomplete => "incomplete",
            Verdict::Moving => "moving",
        }
    }
}

/// One group's replicas, by the names of their nodes, and what each holds.
pub struct Compared {
    pub group: u32,
    pub replicas: Vec<(String, Result<Checksum, ClientError>)>,
}

impl Compared {
    fn is_complete(&self) -> bool {
        self.replicas.iter().all(|(_, sum)| sum.is_ok())
    }

    fn sums(&self) -> impl Iterator<Item = &Checksum> {
        self.replicas.iter().filter_map(|(_, sum)| sum.as_ref().ok())
    }

    /// Two replicas hold different things at one index: the worst news, also while a third is missing.
    fn differs(&self) -> bool {
        let differ = |a: &Checksum, b: &Checksum| a.applied == b.applied && (a.entries, a.hash) != (b.entries, b.hash);
        self.sums().any(|a| self.sums().any(|b| differ(a, b)))
    }

    pub fn verdict(&self) -> Verdict {
        let first = self.sums().next().map(|sum| sum.applied);
        if self.differs() {
            Verdict::Differ
        } else if !self.is_complete() {
            Verdict::Incomplete
        } else if self.sums().any(|sum| Some(sum.applied) != first) {
            Verdict::Moving
        } else {
            Verdict::Agree
        }
    }
}

/// Asks every replica of every group, again while they are at different indexes, at most `patience` long: those that could
/// not be asked by then count as not answering.
pub fn compare(client: &mut Client, patience: Duration) -> Result<Vec<Compared>, Failure> {
    let (deadline, each) = (Instant::now() + patience, client.timeout());
    client.set_timeout(each.min(patience));
    let compared = compare_until(client, deadline);
    client.set_timeout(each);
    compared
}

fn compare_until(client: &mut Client, deadline: Instant) -> Result<Vec<Compared>, Failure> {
    let map = client.map()?;
    let mut compared = Vec::new();
    for group in &map.groups {
        loop {
            let nodes: Vec<u16> = group.replicas.iter().map(|replica| replica.node()).collect();
            let name = |node| map.node(node).map(|entry| entry.name.clone());
            let one = ask(client, deadline, group.id, &nodes, name);
            // Asked once more, they must have time to answer.
            if one.verdict() != Verdict::Moving || Instant::now() + PAUSE >= deadline {
                compared.push(one);
                break;
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(compared)
}

fn ask(
    client: &mut Client,
    deadline: Instant,
    group: GroupId,
    nodes: &[u16],
    name: impl Fn(u16) -> Option<String>,
) -> Compared {
    let mut checksum = |node| {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Unavailable { why: "there was no time left to ask it".to_owned() });
        }
        client.set_timeout(client.timeout().min(left));
        client.checksum(group, node)
    };
    let sum = |&node: &u16| (name(node).unwrap_or_else(|| format!("#{node}")), checksum(node));
    Compared { group: group.0, replicas: nodes.iter().map(sum).collect() }
}

pub fn checksum(globals: &Globals) -> Result<Answer, Failure> {
    let compared = compare(&mut connect(globals)?, globals.timeout)?;
    let has = |verdict| compared.iter().any(|one| one.verdict() == verdict);
    // Replicas that never stood at one index have not been compared, which is as good as a missing one.
    let code = match (has(Verdict::Differ), has(Verdict::Incomplete) || has(Verdict::Moving)) {
        (true, _) => Some(Code::Error),
        (false, true) => Some(Code::Unhealthy),
        (false, false) => None,
    };
    let (map_group, groups): (Vec<_>, Vec<_>) = compared.iter().partition(|one| one.group == MAP_GROUP);
    let json = json!({
        "agree": code.is_none(),
        "groups": groups.into_iter().map(json_of).collect::<Vec<_>>(),
        "map_group": map_group.into_iter().map(json_of).next(),
    });
    let rows = compared.iter().flat_map(rows_of).collect();
    let section = Section::new(&["GROUP", "VERDICT", "NODE", "APPLIED", "ENTRIES", "HASH"], rows);
    Ok(Answer { json, sections: vec![section], code })
}

fn json_of(one: &Compared) -> Value {
    let replica = |(node, sum): &(String, Result<Checksum, ClientError>)| match sum {
        Ok(sum) => json!({ "node": node, "applied": sum.applied, "entries": sum.entries, "hash": hash(sum) }),
        Err(error) => {
            json!({ "node": node, "applied": null, "entries": null, "hash": null, "error": error.to_string() })
        }
    };
    json!({
        "id": one.group,
        "verdict": one.verdict().name(),
        "replicas": one.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

fn rows_of(one: &Compared) -> Vec<Vec<String>> {
    let row = |(node, sum): &(String, Result<Checksum, ClientError>)| {
        let cells = match sum {
            Ok(sum) => [sum.applied.to_string(), sum.entries.to_string(), hash(sum)],
            Err(error) => ["-".to_owned(), "-".to_owned(), error.to_string()],
        };
        [one.group.to_string(), one.verdict().name().to_owned(), node.clone()].into_iter().chain(cells).collect()
    };
    one.replicas.iter().map(row).collect()
}

// As text: 64 bits do not survive every JSON reader's numbers.
fn hash(sum: &Checksum) -> String {
    format!("{:016x}", sum.hash)
}
