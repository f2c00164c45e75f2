//! `kvctl demo`: a cluster on this machine that loses its busiest leader under load, and nothing else.
//!
//! It says what it does as it does it, and every claim it makes it has checked: [`packages`] is the data,
//! [`ledger`] remembers what was acknowledged, [`drive`] sends it.

mod drive;
mod ledger;
mod packages;
mod story;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use net::client::blocking::Client;
use serde_json::json;

use crate::args::{Demo, Globals};
use crate::commands::{Verdict, View, compare, program};
use crate::connect::connect;
use crate::exit::Failure;
use crate::local::{LocalCluster, Plan, until};
use crate::output::{Answer, Format, Section};
use ledger::{Ledger, Stall};
use story::Story;

/// A cluster of this machine is there in a second or two; the rest is for machines that do other things too.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(60);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(120);
const CHECKSUM_PATIENCE: Duration = Duration::from_secs(30);
/// A write waits through an election; only a cluster that does not come back makes one fail.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests under way at once.
const DEPTH: usize = 64;

pub fn run(globals: &Globals, demo: &Demo, format: Format) -> Result<Answer, Failure> {
    if demo.replication > demo.nodes {
        let message = format!("--replication {} needs as many --nodes, and there are {}", demo.replication, demo.nodes);
        return Err(Failure::usage(message).hint("kvctl demo --help"));
    }
    let story = Story::new(format);
    let told = prepare(demo, &story).and_then(|(mut cluster, packages, source)| {
        let key = packages.keys().find(|key| key.starts_with("dpkg:")).or(packages.keys().next()).cloned();
        let answer = tell(globals, demo, &story, &mut cluster, packages, &source);
        let endpoints = cluster.endpoints();
        if demo.keep {
            cluster.keep(); // all the more if something is amiss
        } else if answer.is_ok() {
            stop(globals, cluster, &story)?;
        }
        story.end(&endpoints, demo.keep, &key.unwrap_or_default());
        answer
    });
    told.map_err(|error| Failure::error(format!("{error:#}")))
}

fn prepare(demo: &Demo, story: &Story) -> Result<(LocalCluster, BTreeMap<String, String>, String)> {
    let (packages, source) = packages::get(demo.packages.as_deref())?;
    Ok((start(demo, story)?, packages, source))
}

fn tell(
    globals: &Globals,
    demo: &Demo,
    story: &Story,
    cluster: &mut LocalCluster,
    packages: BTreeMap<String, String>,
    source: &str,
) -> Result<Answer> {
    let globals =
        Globals { endpoints: cluster.endpoints(), timeout: globals.timeout.max(REQUEST_TIMEOUT), ..globals.clone() };
    let mut client = open(&globals)?;
    let view = until(Instant::now() + START_PATIENCE, "every group to have a leader", || {
        Ok(Some(look(&mut client)?).filter(View::is_well))
    })?;
    story.step(format!("{} groups, each with a leader:", view.data_groups().count()));
    for group in view.data_groups() {
        let members: Vec<&str> = group.replicas.iter().map(|replica| replica.node.as_str()).collect();
        story.detail(format!(
            "group {}: {} leads {}",
            group.id,
            group.leader.as_deref().unwrap_or("-"),
            members.join(" ")
        ));
    }

    let ring = client.map()?.ring();
    let mut ledger = Ledger::new(packages, |key| ring.group_of(key).0);
    let bytes: usize = ledger.bytes();
    story.step(format!("importing {} packages, {:.1} MiB, from {source}", ledger.len(), mib(bytes)));
    let begun = Instant::now();
    drive::write(&mut client, &mut ledger, 0, DEPTH)?;
    story.detail(format!("{:.0} rows/s", ledger.len() as f64 / begun.elapsed().as_secs_f64()));
    drive::verify(&mut client, &ledger, DEPTH)?;
    story.detail("read everything back: equal");

    let (killed, groups, mut stall) = kill_under_load(demo, story, &globals, cluster, &mut client, &mut ledger)?;
    story.step(format!("starting {killed} again"));
    let begun = Instant::now();
    let position = cluster.position(&killed)?;
    cluster.restart(position)?;
    until(Instant::now() + CATCH_UP_PATIENCE, "every replica to catch up", || {
        Ok(look(&mut client)?.is_caught_up().then_some(()))
    })?;
    story.detail(format!("all replicas have applied everything after {:.1} s", begun.elapsed().as_secs_f64()));

    agree(&mut client)?;
    story.detail("the checksums of all replicas of every group agree");
    drive::verify(&mut client, &ledger, DEPTH)?;
    story.step(format!("verified: {} acknowledged writes, 0 lost", ledger.acknowledged()));
    ensure!(ledger.unanswered() == 0, "{} writes were not answered", ledger.unanswered());
    stall.milliseconds = (stall.milliseconds * 10.0).round() / 10.0;
    let json = json!({
        "nodes": demo.nodes, "groups": demo.groups, "packages": ledger.len(), "acknowledged": ledger.acknowledged(),
        "lost": 0, "killed": killed, "groups_led_by_killed": groups, "stall_ms": stall.milliseconds,
        "acknowledged_before_kill": stall.before, "acknowledged_after_election": stall.after,
        "endpoints": cluster.endpoints(), "kept": demo.keep,
    });
    let row = vec![ledger.acknowledged().to_string(), "0".to_owned(), format!("{:.0} ms", stall.milliseconds)];
    let mut answer = Answer::new(json, Section::new(&["ACKNOWLEDGED", "LOST", "STALL"], vec![row]));
    if !story.is_json() {
        answer.sections.clear(); // the story has said it all
    }
    Ok(answer)
}

fn start(demo: &Demo, story: &Story) -> Result<LocalCluster> {
    let temporary = demo.data.is_none();
    let root = match &demo.data {
        Some(path) => std::path::absolute(path)?,
        None => tempfile::Builder::new().prefix("kvd-demo-").tempdir()?.keep(),
    };
    let plan = Plan {
        program: program().map_err(|failure| anyhow::anyhow!(failure.message))?,
        root: root.clone(),
        shards: vec![demo.shards; usize::from(demo.nodes)],
        groups: demo.groups,
        replication: demo.replication,
        settings: Vec::new(),
    };
    story.step(format!("starting {} nodes of {} shard(s), data in {}", demo.nodes, demo.shards, root.display()));
    let mut cluster = LocalCluster::start(&plan, temporary && !demo.keep)?;
    let begun = Instant::now();
    cluster.wait_ready(START_PATIENCE)?;
    for node in &cluster.nodes {
        let id = node.id().unwrap_or_default();
        story.detail(format!("{} at {}, process {id}, {}", node.name, node.address, shown(&node.data)));
    }
    story.detail(format!("ready after {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(cluster)
}

/// Writes new versions and kills the busiest leader after a quarter of them. The killed node's name, the groups it
/// led, and what that meant for writes to them.
fn kill_under_load(
    demo: &Demo,
    story: &Story,
    globals: &Globals,
    cluster: &mut LocalCluster,
    client: &mut Client,
    ledger: &mut Ledger,
) -> Result<(String, Vec<u32>, Stall)> {
    story.step(format!("writing {} new versions while a leader is killed", demo.writes));
    let progress = drive::Progress::default();
    let (killed, groups, at) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            let mut client = open(globals)?; // a client of its own, as a client belongs to one thread
            drive::versions(&mut client, ledger, demo.writes, DEPTH, &progress)
        });
        let killed = (|| {
            progress.wait_for(demo.writes / 4, START_PATIENCE)?;
            let (name, groups) = look(client)?.busiest_leader().context("no node leads anything")?;
            let position = cluster.position(&name)?;
            let at = Instant::now();
            cluster.kill(position)?;
            story.detail(format!("killed {name} with SIGKILL, the leader of groups {groups:?}"));
            Ok::<_, anyhow::Error>((name, groups, at))
        })();
        let written = writer.join().expect("the writer does not panic");
        let killed = killed?;
        written?;
        Ok::<_, anyhow::Error>(killed)
    })?;
    ensure!(!groups.is_empty(), "{killed} led nothing when it was killed");
    let stall = ledger.stall(&groups, at);
    ensure!(stall.before > 0, "no write to these groups was acknowledged before the kill");
    ensure!(stall.after > 0, "no write to these groups was acknowledged after the election");
    story.detail(format!("writes to these groups stalled for {:.0} ms", stall.milliseconds));
    story.detail(format!("acknowledged there: {} before the kill, {} after", stall.before, stall.after));
    Ok((killed, groups, stall))
}

/// Ends all nodes as an operator would, and not only by letting go of them.
fn stop(globals: &Globals, mut cluster: LocalCluster, story: &Story) -> Result<()> {
    let globals = Globals { endpoints: cluster.endpoints(), ..globals.clone() };
    let mut client = open(&globals)?;
    for position in 0..cluster.nodes.len() {
        client.stop(&cluster.nodes[position].address, true)?;
    }
    for position in 0..cluster.nodes.len() {
        cluster.wait_end(position, STOP_PATIENCE)?;
    }
    story.step("stopped all nodes cleanly");
    Ok(())
}

fn agree(client: &mut Client) -> Result<()> {
    for group in compare(client, CHECKSUM_PATIENCE).map_err(failed)? {
        let verdict = group.verdict();
        ensure!(verdict == Verdict::Agree, "the replicas of group {}: {verdict:?}", group.group);
    }
    Ok(())
}

fn open(globals: &Globals) -> Result<Client> {
    connect(globals).map_err(failed)
}

fn look(client: &mut Client) -> Result<View> {
    Ok(View::of(&client.status()?))
}

fn failed(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!(failure.message)
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn shown(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| format!("data in {}", name.to_string_lossy()))
}
