//! Getting the log to the peers: AppendEntries out, their answers in (paper section 5.3).

use crate::entry::{Entries, Entry, LogId};
use crate::ids::{Index, ReplicaId, Term};
use crate::log::Log;
use crate::message::{AppendReply, Body, Message};
use crate::options::Options;
use crate::progress::{Fetching, Flow, Progress};
use crate::ready::{Fetch, Ready};
use crate::replica::{Replica, State};
use crate::soundness;

/// What sending needs to know of the leader besides the peer.
struct Sender<'a> {
    options: &'a Options,
    log: &'a Log,
    term: Term,
    now: u64,
}

impl Replica {
    /// Sends each peer what it lacks, as far as its window goes.
    pub(crate) fn send_appends(&mut self, ready: &mut Ready) {
        let term = self.hard_state.term;
        let State::Leader(leader) = &mut self.state else { return };
        let sender = Sender { options: &self.options, log: &self.log, term, now: self.timeouts.now() };
        for (&id, peer) in leader.peers.iter_mut() {
            sender.send_all(id, peer, ready);
        }
    }

    /// Leader, at a tick: tells the commit index to each peer that was sent nothing for a whole tick and does not know it. The next
    /// entries bring it for nothing, so it is not worth a message before.
    pub(crate) fn send_commit(&mut self, ready: &mut Ready) {
        let term = self.hard_state.term;
        let State::Leader(leader) = &mut self.state else { return };
        let sender = Sender { options: &self.options, log: &self.log, term, now: self.timeouts.now() };
        for (&id, peer) in leader.peers.iter_mut() {
            if sender.is_commit_due(peer) {
                sender.send_append(id, peer, Entries::new(), ready);
            }
        }
    }

    /// An AppendEntries without entries behind everything sent: it brings the commit index, and an answer that tells
    /// whether something was lost. It takes no room in the window.
    pub(crate) fn send_news(&mut self, to: ReplicaId, ready: &mut Ready) {
        let term = self.hard_state.term;
        let State::Leader(leader) = &mut self.state else { return };
        let sender = Sender { options: &self.options, log: &self.log, term, now: self.timeouts.now() };
        // If the log was compacted past what was sent, `collect` will offer a snapshot.
        if let Some(peer) = leader.peers.get_mut(&to)
            && peer.next > self.log.start().index
        {
            sender.send_append(to, peer, Entries::new(), ready);
        }
    }

    pub(crate) fn on_append_reply(&mut self, from: ReplicaId, reply: AppendReply, ready: &mut Ready) {
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        peer.heard = now;
        match reply {
            AppendReply::Accepted { matched } => {
                // Rule 7: this log has lost what the peer once got from it, or the peer is mad.
                if matched > self.log.last().index {
                    self.anomalies.regressed_peers += 1;
                    return;
                }
                // Until a snapshot has brought it to our start, nothing can be sent behind what it has.
                if matches!(peer.flow, Flow::Snapshot { .. }) && matched < self.log.start().index {
                    peer.matched = peer.matched.max(matched);
                    return;
                }
                peer.acknowledge(matched, now);
                if matched > self.log.commit() {
                    self.advance_commit(ready);
                }
            }
            AppendReply::Rejected { prev, hint, last } => {
                let asked = match peer.flow {
                    Flow::Probe { sent: Some(_), .. } => prev == peer.next.prev(),
                    Flow::Replicate(_) => prev > peer.matched,
                    _ => false,
                };
                if !asked || prev == Index(0) {
                    return;
                }
                if prev <= peer.matched && last < peer.matched {
                    // It does not have what it acknowledged: never a question of where to go on (rule 7).
                    self.anomalies.regressed_peers += u64::from(peer.denies());
                    return;
                }
                let next = where_logs_may_agree(&self.log, prev, hint).max(peer.matched).next();
                peer.probe(next, true);
            }
        }
    }

    /// Entries that were asked for in `Ready::fetch`, in answer to it; at least one. They are checked against
    /// the log and sent; what does not fit is counted and tried again.
    pub fn fetched(&mut self, peer: ReplicaId, entries: Entries, ready: &mut Ready) {
        let term = self.hard_state.term;
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(progress) = leader.peers.get_mut(&peer) else { return };
        let first = entries.first().map_or(Index(0), |entry| entry.index);
        if progress.fetching != Fetching::Asked(first) {
            self.anomalies.fetches_ignored += 1;
            return;
        }
        progress.fetching = Fetching::No;
        if first != progress.next || !matches!(progress.flow, Flow::Replicate(_)) {
            return; // The peer has moved on in the meantime.
        }
        // The log was cut in the meantime: what comes before these is gone, and a snapshot is the peer's way on.
        let Some(before) = self.log.term_of(first.prev()) else { return };
        let prev = LogId { term: before, index: first.prev() };
        let ours = entries.iter().all(|entry| self.log.contains(entry.id()));
        if !ours || !soundness::follow(prev, &entries, term) {
            progress.fetching = Fetching::Failed(now);
            self.anomalies.fetches_ignored += 1;
            return;
        }
        let sender = Sender { options: &self.options, log: &self.log, term, now };
        sender.send_append(peer, progress, entries, ready);
    }

    /// Entries that were asked for in `Ready::fetch` could not be read. They are asked for again at a later tick.
    pub fn fetch_failed(&mut self, peer: ReplicaId) {
        let now = self.timeouts.now();
        let State::Leader(leader) = &mut self.state else { return };
        if let Some(progress) = leader.peers.get_mut(&peer)
            && matches!(progress.fetching, Fetching::Asked(_))
        {
            progress.fetching = Fetching::Failed(now);
        }
    }

    /// The connection to `peer` broke: what was in flight may be lost. A snapshot that is being sent has a
    /// connection of its own, and its own [`Replica::snapshot_sent`].
    pub fn peer_unreachable(&mut self, peer: ReplicaId) {
        self.stir();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(progress) = leader.peers.get_mut(&peer) else { return };
        if !matches!(progress.flow, Flow::Snapshot { granted: true, .. }) {
            progress.start_again();
        }
        // From now on it is asked last. An answer of it that was no quorum yet is asked for again.
        progress.round = 0;
        leader.ask_again = true;
        self.call_off_transfer(peer);
    }
}

/// The last index at which the logs can be equal, given what a follower said when it refused `prev`.
///
/// Beyond its hint the follower has nothing of a term as old as ours there, and beyond our last entry of at most
/// the hint's term we have nothing as old as its. One round skips a whole term.
fn where_logs_may_agree(log: &Log, prev: Index, hint: LogId) -> Index {
    match log.last_at_most(hint.index.min(prev.prev()), hint.term) {
        Some(id) => id.index,
        // Before our start: only a snapshot can tell.
        None => log.start().index.prev(),
    }
}

impl Sender<'_> {
    fn send_all(&self, to: ReplicaId, peer: &mut Progress, ready: &mut Ready) {
        loop {
            let bare = match &peer.flow {
                Flow::Snapshot { .. } => return,
                _ if peer.next <= self.log.start().index => return self.offer_snapshot(to, peer, ready),
                Flow::Probe { sent: Some(_), .. } => return,
                Flow::Probe { bare, .. } => *bare || peer.next < self.log.window_start(),
                // Not even an empty one: what a peer that does not answer is sent must be bounded (rule 21).
                Flow::Replicate(inflight) if inflight.is_full(self.options) => return,
                Flow::Replicate(_) if peer.next > self.log.last().index => return,
                Flow::Replicate(_) => false,
            };
            let entries = if bare { Some(Entries::new()) } else { self.entries_for(peer) };
            match entries {
                Some(entries) => self.send_append(to, peer, entries, ready),
                None => return self.fetch(to, peer, ready),
            }
        }
    }

    fn is_commit_due(&self, peer: &Progress) -> bool {
        let Flow::Replicate(inflight) = &peer.flow else { return false };
        // Not to a peer that does not answer (rule 21), and nothing behind our start can be named.
        let may = !inflight.is_full(self.options) && peer.next > self.log.start().index;
        may && self.now - peer.sent >= 2 && self.commit_for(peer.next.prev()) > peer.commit_told
    }

    fn entries_for(&self, peer: &Progress) -> Option<Entries> {
        self.log.slice(peer.next, self.log.last().index, self.bytes_max(peer))
    }

    /// Of one AppendEntries, but for its first entry. One entry is enough to see whether a peer that refuses them takes them again.
    fn bytes_max(&self, peer: &Progress) -> usize {
        match &peer.flow {
            Flow::Replicate(inflight) if inflight.is_unproved() => 0,
            _ => self.options.append_bytes_max,
        }
    }

    /// The commit index as a log that ends at `last` can use it.
    fn commit_for(&self, last: Index) -> Index {
        self.log.commit().min(last)
    }

    /// One AppendEntries from `peer.next` on.
    fn send_append(&self, to: ReplicaId, peer: &mut Progress, entries: Entries, ready: &mut Ready) {
        let index = peer.next.prev();
        let Some(term) = self.log.term_of(index) else {
            panic!("entry {index}, before what {to} gets next, is not in the log from {:?}", self.log.start());
        };
        let last = Index(index.0 + entries.len() as u64);
        peer.sent = self.now;
        peer.commit_told = peer.commit_told.max(self.commit_for(last));
        match &mut peer.flow {
            Flow::Probe { sent, .. } => *sent = Some(self.now),
            Flow::Replicate(inflight) if !entries.is_empty() => {
                inflight.add(last, entries.iter().map(Entry::bytes).sum(), self.now);
                peer.next = last.next();
            }
            Flow::Replicate(_) | Flow::Snapshot { .. } => {}
        }
        let body = Body::Append { prev: LogId { term, index }, commit: self.log.commit(), entries };
        ready.send.push(Message { from: self.options.id, to, term: self.term, body });
    }

    fn fetch(&self, to: ReplicaId, peer: &mut Progress, ready: &mut Ready) {
        let due = match peer.fetching {
            Fetching::No => true,
            Fetching::Asked(_) => false,
            Fetching::Failed(at) => self.now > at,
        };
        if due {
            peer.fetching = Fetching::Asked(peer.next);
            let last = self.log.window_start().prev();
            let bytes_max = self.bytes_max(peer);
            ready.fetch.push(Fetch { peer: to, from: peer.next, last, bytes_max });
        }
    }

    fn offer_snapshot(&self, to: ReplicaId, peer: &mut Progress, ready: &mut Ready) {
        let last = self.log.start();
        peer.flow = Flow::Snapshot { offered: last, granted: false, heard: self.now };
        let body = Body::SnapshotOffer { last };
        ready.send.push(Message { from: self.options.id, to, term: self.term, body });
    }
}
