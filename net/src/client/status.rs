//! The state of a whole cluster, asked from any one of its nodes.

use super::blocking::Client;
use super::error::ClientError;
use super::request::{Answer, Request, RequestId, Target};
use crate::status::NodeStatus;
use engine_core::placement::map::ClusterMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What every node of the cluster said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStatus {
    /// The map; `None` while the cluster is not formed.
    pub map: Option<Rc<ClusterMap>>,
    /// Every node of the map, by number; while there is none, the endpoints that were given.
    pub nodes: Vec<NodeReport>,
    /// The names of the nodes the cluster waits for before it is formed; empty once it is.
    pub waiting_for: Vec<String>,
}

/// One node of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// Its name; while the cluster is not formed, what it calls itself, or its address.
    pub name: String,
    /// Its `host:port`.
    pub address: String,
    /// What it said, or why it did not answer within the timeout.
    pub status: Result<NodeStatus, ClientError>,
}

impl NodeReport {
    /// Whether it answered.
    pub fn reachable(&self) -> bool {
        self.status.is_ok()
    }
}

impl Client {
    /// Asks every node of the cluster for its status, from any one endpoint that answers. A node that does not answer
    /// within the timeout, which is that of all of it, is reported, not an error. Fails only if no endpoint answers at all.
    pub fn status(&mut self) -> Result<ClusterStatus, ClientError> {
        let timeout = self.timeout();
        let status = self.status_within(timeout);
        self.set_timeout(timeout);
        status
    }

    fn status_within(&mut self, timeout: Duration) -> Result<ClusterStatus, ClientError> {
        let begun = Instant::now();
        let endpoints: Vec<String> = self.endpoints().to_vec();
        let asked: Vec<Target> = endpoints.iter().map(|address| Target::Address(address.clone())).collect();
        // Any endpoint that belongs to a formed cluster is enough: the rest is not waited for.
        let formed = |answer: &Result<NodeStatus, ClientError>| answer.as_ref().is_ok_and(|status| status.epoch > 0);
        let answers = self.ask(asked, formed);
        if answers.iter().flatten().any(formed) {
            self.set_timeout(timeout.saturating_sub(begun.elapsed()));
            let map = self.map()?;
            self.set_timeout(timeout.saturating_sub(begun.elapsed()));
            let answers = self.ask((0..map.nodes.len()).map(|node| Target::Node(node as u16)).collect(), |_| false);
            let nodes = map.nodes.iter().zip(answers);
            let nodes = nodes.map(|(node, status)| report(&node.name, &node.address, status)).collect();
            return Ok(ClusterStatus { map: Some(map), nodes, waiting_for: Vec::new() });
        }
        if answers.iter().flatten().all(Result::is_err) {
            let error = answers.into_iter().flatten().find_map(Result::err);
            return Err(error.unwrap_or(ClientError::Unavailable { why: "no server answered".to_owned() }));
        }
        let waiting_for =
            answers.iter().flatten().flatten().map(|status| status.waiting_for.clone()).max_by_key(Vec::len);
        let nodes = endpoints.iter().zip(answers).map(|(address, status)| {
            let name = match &status {
                Some(Ok(status)) => status.name.clone(),
                _ => address.clone(),
            };
            report(&name, address, status)
        });
        Ok(ClusterStatus { map: None, nodes: nodes.collect(), waiting_for: waiting_for.unwrap_or_default() })
    }

    /// Asks each for its status until all have answered or failed, or one answer is `enough`. `None`: not waited for.
    fn ask(
        &mut self,
        targets: Vec<Target>,
        enough: impl Fn(&Result<NodeStatus, ClientError>) -> bool,
    ) -> Vec<Option<Result<NodeStatus, ClientError>>> {
        let mut answers: Vec<Option<Result<NodeStatus, ClientError>>> = targets.iter().map(|_| None).collect();
        let waiting = targets.into_iter().enumerate();
        let mut waiting: BTreeMap<RequestId, usize> =
            waiting.map(|(position, target)| (self.submit(Request::Status(target)), position)).collect();
        let mut others = Vec::new();
        while !waiting.is_empty() && !answers.iter().flatten().any(&enough) {
            for completion in self.poll(Duration::from_secs(1)) {
                let Some(position) = waiting.remove(&completion.id) else {
                    others.push(completion);
                    continue;
                };
                answers[position] = Some(completion.result.and_then(|answer| match answer {
                    Answer::Status(status) => Ok(status),
                    other => Err(ClientError::Protocol { why: format!("a status was answered {other:?}") }),
                }));
            }
        }
        self.keep(others, waiting.into_keys().collect());
        answers
    }
}

fn report(name: &str, address: &str, status: Option<Result<NodeStatus, ClientError>>) -> NodeReport {
    let unasked = || Err(ClientError::Unavailable { why: "it was not waited for".to_owned() });
    NodeReport { name: name.to_owned(), address: address.to_owned(), status: status.unwrap_or_else(unasked) }
}
