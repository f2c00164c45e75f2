//! How far this node has come, for the threads that stand at its doors: front and admin.
//!
//! The lock is taken per connection and per admin request, never by a core and never on the data path.

use super::NodeFacts;
use super::mesh::Mesh;
use engine_core::placement::founding::Answer;
use engine_core::placement::map::ClusterMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub struct Stage {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    answer: Answer,
    waiting_for: Vec<String>,
    serving: Option<(Mesh, Arc<NodeFacts>)>,
    /// The newest cluster map, once there is one.
    map: Option<Arc<ClusterMap>>,
}

impl Stage {
    /// A node that answers `answer` to founding queries and serves nothing yet.
    pub fn new(answer: Answer) -> Stage {
        Stage { inner: Mutex::new(Inner { answer, waiting_for: Vec::new(), serving: None, map: None }) }
    }

    /// What the node says of itself to other nodes of its list.
    pub fn answer(&self) -> Answer {
        self.lock().answer.clone()
    }

    /// Whom the node waits for; empty once it serves.
    pub fn waiting_for(&self) -> Vec<String> {
        self.lock().waiting_for.clone()
    }

    /// The node has come further: what it says now, only after that was synced.
    pub fn set_answer(&self, answer: Answer) {
        self.lock().answer = answer;
    }

    /// The node waits for these.
    pub fn set_waiting(&self, waiting_for: Vec<String>) {
        self.lock().waiting_for = waiting_for;
    }

    /// The cores run.
    pub fn serve(&self, mesh: Mesh, facts: Arc<NodeFacts>) {
        let mut inner = self.lock();
        inner.waiting_for.clear();
        inner.map.get_or_insert_with(|| Arc::new(facts.map.clone()));
        inner.serving = Some((mesh, facts));
    }

    /// The cluster map has changed.
    pub fn set_map(&self, map: Arc<ClusterMap>) {
        self.lock().map = Some(map);
    }

    /// The newest cluster map, once the cores run.
    pub fn map(&self) -> Option<Arc<ClusterMap>> {
        self.lock().map.clone()
    }

    /// The cores and what they know, once they run.
    pub fn serving(&self) -> Option<(Mesh, Arc<NodeFacts>)> {
        self.lock().serving.clone()
    }

    /// The cores, or what the node waits for before it has any.
    pub fn mesh(&self) -> Result<Mesh, String> {
        let inner = self.lock();
        match &inner.serving {
            Some((mesh, _)) => Ok(mesh.clone()),
            None if inner.waiting_for.is_empty() => Err("starting".into()),
            None => Err(net::status::not_formed(&inner.waiting_for)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
