//! What a node says of itself, gathered from its cores: to clients, and to whoever scrapes.

use super::core::Core;
use super::mesh::{Reply, ToCore};
use super::metrics::{CoreMetrics, ReplicaMetrics};
use super::{owed, queue, runtime};
use engine_core::shard::{GroupView, Serving, Ticket};
use futures_lite::future;
use net::response::Response;
use net::status::{NodeStatus, ReplicaStatus};
use raft::replica::Role;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How long the other cores may take to say how they are.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

/// Clients of one core that may wait for the node's status; more are told to come back. It is long, on a node of many groups, and
/// a question is short.
const ASKED_MAX: usize = 64;

/// Clients of one core that ask how the node is. They are gathered while the cores are asked for those that came before, and
/// share the next answer: it is never older than a question.
#[derive(Debug, Default)]
pub struct Asked {
    waiting: Vec<Ticket>,
    /// The cores are being asked.
    under_way: bool,
}

impl Asked {
    /// Takes a question, unless too many wait.
    fn add(&mut self, ticket: Ticket) -> bool {
        let taken = self.waiting.len() < ASKED_MAX;
        if taken {
            self.waiting.push(ticket);
        }
        taken
    }

    /// Whether the cores must be asked by the caller, as nobody does.
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.under_way, true)
    }

    /// Those that share the next answer. None: nobody asks the cores any more.
    fn next(&mut self) -> Vec<Ticket> {
        self.under_way = !self.waiting.is_empty();
        std::mem::take(&mut self.waiting)
    }
}

/// One core's share of a node's status.
#[derive(Debug)]
pub struct CoreStatus {
    /// Its replicas, ascending by group.
    pub replicas: Vec<ReplicaStatus>,
    /// Requests it has forwarded.
    pub forwarded: u64,
    /// Whether its replicas are voters with all their data, know their leaders and have applied what was committed.
    pub ready: bool,
}

/// A replica as the wire shows it.
fn replica(view: &GroupView) -> ReplicaStatus {
    ReplicaStatus {
        group: view.group.0,
        role: match view.role {
            Role::Follower => 0,
            Role::PreCandidate => 1,
            Role::Candidate => 2,
            Role::Leader => net::status::ROLE_LEADER,
            Role::Learner => net::status::ROLE_LEARNER,
        },
        term: view.term.0,
        commit: view.commit.0,
        applied: view.applied.0,
        first_log_index: view.first.0,
        last_log_index: view.last.0,
        leader: view.leader.map(|leader| leader.node()),
        snapshots_installed: view.snapshots_installed,
        whole: is_whole(view),
    }
}

/// Whether a replica does its part in a group that stays as it is: as long as one does not, another node with a copy must not be taken away.
fn is_whole(view: &GroupView) -> bool {
    view.role != Role::Learner && view.serving == Serving::Whole && !view.changing
}

/// Whether a replica does its part: while it is still a learner, lacks its store or its log, or comes in by a change that the lost one has a
/// part in, another node with a copy must not be taken away. Those that stay serve all the while.
fn is_ready(view: &GroupView) -> bool {
    let votes = view.role != Role::Learner && !view.entering;
    view.leader.is_some() && votes && view.serving == Serving::Whole
}

/// Whether a replica that listens knows no leader. One whose log is lost hears nobody, whoever leads.
fn lacks_leader(view: &GroupView) -> bool {
    view.leader.is_none() && view.serving != Serving::Amnesiac
}

impl Core {
    /// A client asks how the node is.
    pub(super) fn ask_status(self: &Rc<Self>, ticket: Ticket) {
        let (taken, first) = {
            let asked = &mut self.state.borrow_mut().asked;
            (asked.add(ticket), asked.begin())
        };
        if !taken {
            self.answer(ticket, &owed::busy());
        }
        if first {
            let core = self.clone();
            runtime::spawn(async move { core.answer_asked().await });
        }
    }

    /// Asks the cores as long as clients ask.
    async fn answer_asked(&self) {
        loop {
            let tickets = self.state.borrow_mut().asked.next();
            if tickets.is_empty() {
                return;
            }
            let status = Response::Status(self.node_status().await);
            for ticket in tickets {
                self.answer(ticket, &status);
            }
        }
    }

    /// What all cores of this node say of themselves.
    async fn node_status(&self) -> NodeStatus {
        let (sender, inbox) = queue::inbox_here();
        for core in (0..self.mesh.len()).filter(|core| *core != self.index) {
            let sender = sender.clone();
            self.mesh.send(core, ToCore::Status(Reply::new(move |status| sender.send(status))));
        }
        drop(sender);
        let mut cores = vec![self.status()];
        // A core that has ended says nothing; its replicas are not served any more either.
        let late = async {
            runtime::sleep(STATUS_PATIENCE).await;
            None
        };
        let mut late = std::pin::pin!(late);
        while let Some(status) = future::or(inbox.receive(), &mut late).await {
            cores.push(status);
        }
        let forwarded = cores.iter().map(|core| core.forwarded).sum();
        let mut groups: Vec<_> = cores.into_iter().flat_map(|core| core.replicas).collect();
        groups.sort_unstable_by_key(|replica| replica.group);
        NodeStatus {
            node: self.facts.node,
            name: self.settings.node.name.clone(),
            shards: self.mesh.len(),
            epoch: self.map().epoch,
            forwarded,
            start: self.facts.start,
            groups,
            waiting_for: Vec::new(),
        }
    }

    /// What this core's replicas look like now.
    pub(super) fn status(&self) -> CoreStatus {
        let state = self.state.borrow();
        // What the disk does not take, it may not give back either.
        let stuck = state.shard.is_stuck();
        let shown = |view| ReplicaStatus { whole: is_whole(&view) && !stuck, ..replica(&view) };
        let replicas: Vec<_> = state.shard.views().map(shown).collect();
        let ready = state.shard.views().all(|view| is_ready(&view)) && state.shard.caught_up();
        CoreStatus { forwarded: state.clients.forwarded(), ready, replicas }
    }

    /// What this core has counted, and what its replicas look like to an operator.
    pub(super) fn metrics(&self) -> CoreMetrics {
        let state = self.state.borrow();
        let (connections, inflight_bytes) = state.clients.load();
        let replicas = state.shard.views().filter_map(|view| {
            let replica = state.shard.replica(view.group)?;
            let last = view.last.0;
            // While a lost replica is replaced its node has two: the newer one comes later.
            let lag: BTreeMap<u16, u64> =
                replica.peers().map(|peer| (peer.id.node(), last - peer.matched.0.min(last))).collect();
            Some(ReplicaMetrics {
                group: view.group.0,
                state: match view.role {
                    Role::Follower | Role::Learner => 0,
                    Role::PreCandidate | Role::Candidate => 1,
                    Role::Leader => 2,
                },
                term: view.term.0,
                log_entries: last + 1 - view.first.0,
                committed: view.commit.0,
                apply_lag: view.commit.0.saturating_sub(view.applied.0),
                lag: lag.into_iter().collect(),
            })
        });
        CoreMetrics {
            core: self.index,
            leaderless: state.shard.views().filter(lacks_leader).count() as u64,
            led: state.shard.led() as u64,
            counters: state.clients.counters.clone(),
            replicas: replicas.collect(),
            peers: state.peers.standing().collect(),
            connections,
            inflight_bytes,
            unapplied_bytes: state.shard.unapplied_bytes() as u64,
            table_bytes: state.storing.memory_bytes() as u64,
            forwarded: state.clients.forwarded(),
            journal_segments: state.journal.segments().count() as u64,
            store: self.store.gauges(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::ids::{GroupId, Index, ReplicaId, Term};

    fn view() -> GroupView {
        let replica = ReplicaId::new(1, 0);
        GroupView {
            group: GroupId(1),
            replica,
            role: Role::Follower,
            term: Term(1),
            leader: Some(replica),
            commit: Index(1),
            applied: Index(1),
            first: Index(1),
            last: Index(1),
            serving: Serving::Whole,
            changing: false,
            entering: false,
            snapshots_installed: 0,
        }
    }

    #[test]
    fn a_replica_without_its_data_is_not_ready() {
        assert!(is_ready(&view()));
        assert!(is_ready(&GroupView { role: Role::Leader, ..view() }));
        assert!(!is_ready(&GroupView { leader: None, ..view() }), "whom it follows is not known");
        assert!(!is_ready(&GroupView { role: Role::Learner, ..view() }), "it came in the place of a lost one");
        assert!(!is_ready(&GroupView { entering: true, changing: true, ..view() }), "the lost one still counts");
        assert!(is_ready(&GroupView { changing: true, ..view() }), "it serves while others come and go");
        assert!(is_whole(&view()) && !is_whole(&GroupView { changing: true, ..view() }), "no disk may go now");
        assert!(!is_ready(&GroupView { serving: Serving::Hollow, ..view() }), "its store is lost");
        assert!(!is_ready(&GroupView { serving: Serving::Amnesiac, ..view() }), "its log is lost");
    }

    #[test]
    fn who_asks_meanwhile_shares_the_next_answer() {
        let ticket = |request| Ticket { connection: 1, request, bytes: 0, mark: 0 };
        let mut asked = Asked::default();
        assert!(asked.add(ticket(1)) && asked.begin(), "somebody must ask the cores");
        assert_eq!(asked.next(), [ticket(1)]);
        // While they are asked, others come: the answer under way may be older than their questions.
        for request in 0..ASKED_MAX as u64 {
            assert!(asked.add(ticket(2 + request)) && !asked.begin(), "never twice at a time");
        }
        assert!(!asked.add(ticket(0)), "one too many");
        assert_eq!(asked.next().len(), ASKED_MAX);
        assert!(asked.add(ticket(0)) && !asked.begin());
        assert_eq!(asked.next(), [ticket(0)]);
        assert!(asked.next().is_empty());
        assert!(asked.add(ticket(3)) && asked.begin(), "all were answered, somebody must ask again");
    }

    #[test]
    fn only_who_listens_lacks_a_leader() {
        assert!(!lacks_leader(&view()));
        assert!(lacks_leader(&GroupView { leader: None, ..view() }));
        assert!(!lacks_leader(&GroupView { leader: None, serving: Serving::Amnesiac, ..view() }));
    }
}
