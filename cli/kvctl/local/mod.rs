//! A cluster of real `kvd` processes on this machine: started, killed, stopped, started again.
//!
//! The demo drives it, and the tests do (they include this directory by its path), so that what is shown and what is
//! tested is one thing. Nothing outlives its owner: a [`janitor`] kills what is left however this process ends.
//! Conditions are polled with a deadline ([`until`]); nothing here waits for a time to pass.

mod janitor;
mod node;
mod ports;

pub use janitor::Janitor;
pub use node::LocalNode;
pub use ports::free_port;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a cluster is made of.
pub struct Plan {
    /// The server's program.
    pub program: PathBuf,
    /// Where every node gets a directory and a log file of its name.
    pub root: PathBuf,
    /// The shards of each node; as many nodes as numbers.
    pub shards: Vec<u16>,
    /// Data groups.
    pub groups: u32,
    /// Replicas of each group.
    pub replication: u16,
    /// Settings as `section.key=value`.
    pub settings: Vec<String>,
}

/// The processes of one cluster.
pub struct LocalCluster {
    /// Its nodes, `n1` first.
    pub nodes: Vec<LocalNode>,
    janitor: Janitor,
}

impl LocalCluster {
    /// Starts all nodes; they may not be ready yet. With `remove`, the plan's root goes with the cluster.
    pub fn start(plan: &Plan, remove: bool) -> Result<LocalCluster> {
        std::fs::create_dir_all(&plan.root).with_context(|| plan.root.display().to_string())?;
        let addresses: Vec<String> = plan.shards.iter().map(|_| free_port().map(local)).collect::<Result<_>>()?;
        let named: Vec<String> = addresses.iter().enumerate().map(|(i, at)| format!("n{}={at}", i + 1)).collect();
        let mut cluster =
            LocalCluster { nodes: Vec::new(), janitor: Janitor::start(remove.then_some(plan.root.as_path()))? };
        for (i, (address, shards)) in addresses.iter().zip(&plan.shards).enumerate() {
            let name = format!("n{}", i + 1);
            let admin = local(free_port()?);
            let data = plan.root.join(&name);
            let mut arguments: Vec<String> = ["run", "--name", &name, "--listen", address, "--admin", &admin]
                .into_iter()
                .chain(["--data", path_text(&data)?, "--nodes", &named.join(",")])
                .chain(["--shards", &shards.to_string(), "--groups", &plan.groups.to_string()])
                .chain(["--replication", &plan.replication.to_string()])
                .map(str::to_owned)
                .collect();
            for setting in &plan.settings {
                arguments.extend(["--set".to_owned(), setting.clone()]);
            }
            let log = plan.root.join(format!("{name}.log"));
            let mut node = LocalNode::new(name, address.clone(), admin, data, log, plan.program.clone(), arguments);
            node.start(&mut cluster.janitor)?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    /// Waits until every running node says that it is ready.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        self.nodes.iter_mut().filter(|node| node.is_running()).try_for_each(|node| node.wait_ready(deadline))
    }

    /// The client addresses of all nodes, running or not.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// The position of the node of this name.
    pub fn position(&self, name: &str) -> Result<usize> {
        self.nodes.iter().position(|node| node.name == name).with_context(|| format!("there is no node {name}"))
    }

    /// Starts a node that is not running, with the arguments it had.
    pub fn restart(&mut self, position: usize) -> Result<()> {
        self.nodes[position].start(&mut self.janitor)
    }

    /// Kills a node with SIGKILL and waits until it is gone.
    pub fn kill(&mut self, position: usize) -> Result<()> {
        self.nodes[position].kill(&mut self.janitor)
    }

    /// Waits for a node to end by itself, as after a stop request; an exit status other than 0 is an error.
    pub fn wait_end(&mut self, position: usize, patience: Duration) -> Result<()> {
        self.nodes[position].wait_end(&mut self.janitor, patience)
    }

    /// Leaves every process running, and its data where it is, when this value goes.
    pub fn keep(mut self) {
        self.janitor.dismiss();
        self.nodes.iter_mut().for_each(LocalNode::forget);
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        // A node that cannot be killed here is left to the janitor.
        for node in self.nodes.iter_mut().filter(|node| node.is_running()) {
            let _ = node.kill(&mut self.janitor);
        }
    }
}

/// Polls `condition` until it gives a value. `what` completes "waiting for ..." in the error.
pub fn until<T>(deadline: Instant, what: impl Display, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("gave up waiting for {what}");
        }
        std::thread::sleep(Duration::from_millis(10)); // the pause between two looks, not a wait for anything
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))
}
