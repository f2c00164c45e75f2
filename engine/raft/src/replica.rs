//! One replica: what it keeps, how it takes what it is told, and the one place where its role changes.

use crate::anomalies::Anomalies;
use crate::candidate::{Candidate, PreCandidate};
use crate::entry::{Entry, EntryKind, HardState, LogId};
use crate::follower::Follower;
use crate::ids::{Index, ReplicaId, Term};
use crate::leader::Leader;
use crate::log::Log;
use crate::membership::{Membership, Memberships};
use crate::message::{Body, Message};
use crate::options::Options;
use crate::payload::Payload;
use crate::ready::Ready;
use crate::soundness;
use crate::terms::Terms;
use crate::timeouts::Timeouts;

pub use crate::leader::{NotLeader, ProposeError};
pub use crate::options::{Persisted, Restored};

/// One member of one group. See the crate's page for how to drive it.
///
/// What every entry needs comes first: a core has thousands of them.
#[derive(Debug)]
#[repr(C)]
pub struct Replica {
    pub(crate) state: State,
    pub(crate) hard_state: HardState,
    /// What the host was last told it may apply.
    pub(crate) announced: Index,
    /// Whether to stand for election; see [`Options::may_campaign`].
    pub(crate) may_campaign: bool,
    /// It counts no ticks and says nothing until something wakes it (rule 20).
    pub(crate) asleep: bool,
    /// Whether it may fall asleep, see [`Replica::set_may_sleep`].
    pub(crate) may_sleep: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) log: Log,
    pub(crate) options: Options,
    pub(crate) memberships: Memberships,
    pub(crate) durable_hard_state: HardState,
    /// The tick of the last sign of life of any leader, whatever has become of either since (rule 10).
    pub(crate) loyal_since: Option<u64>,
    pub(crate) anomalies: Anomalies,
}

/// What a role alone knows. Nothing of it outlives the role.
#[derive(Debug)]
pub(crate) enum State {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What a replica is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes entries from a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected (thesis 9.6).
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads its term.
    Leader,
    /// A follower that has no vote in the membership in force.
    Learner,
}

/// What to become.
#[derive(Debug)]
pub(crate) enum Become {
    Follower { term: Term, leader: Option<ReplicaId> },
    PreCandidate,
    Candidate { transfer: bool },
    Leader,
}

impl Replica {
    /// A replica as its disk remembers it, or a fresh one. It starts as a follower that knows no leader.
    ///
    /// # Panics
    /// If the settings are out of range, or what is restored contradicts itself: in particular if the store is ahead of
    /// the log (rule 14), a case that the host has to settle before.
    pub fn new(options: Options, restored: Restored) -> Replica {
        options.assert_valid();
        let terms = Terms::new(restored.log_start, restored.terms, restored.last);
        let mut hard_state = restored.hard_state;
        if terms.last().term > hard_state.term {
            // A crash kept the entries and lost the hard state that was written with them. Whatever was said
            // in that term waited for both, so nothing was.
            hard_state = HardState { term: terms.last().term, vote: None };
        }
        let log = Log::new(terms, restored.tail, restored.applied);
        Replica {
            hard_state,
            durable_hard_state: restored.hard_state,
            memberships: Memberships::new(restored.membership, restored.memberships),
            timeouts: Timeouts::new(options.seed, options.election_ticks),
            state: State::Follower(Follower::default()),
            // What an earlier process heard, it heard before this one began.
            loyal_since: options.may_be_loyal.then_some(0),
            may_campaign: options.may_campaign,
            asleep: false,
            may_sleep: false,
            announced: log.commit(),
            anomalies: Anomalies::default(),
            log,
            options,
        }
    }

    /// One tick of time passes. A replica that sleeps does not notice.
    pub fn tick(&mut self, ready: &mut Ready) {
        if self.asleep {
            return;
        }
        self.timeouts.advance();
        if matches!(self.state, State::Leader(_)) {
            self.tick_leader(ready);
        } else if self.timeouts.expired() {
            self.campaign(ready);
        }
    }

    /// A message has come. One that is meant for somebody else, or cannot be true, changes nothing but a counter.
    pub fn step(&mut self, message: Message, ready: &mut Ready) {
        if message.to != self.options.id || message.from == self.options.id {
            self.anomalies.misdirected += 1;
        } else if !soundness::is_sound(&message) {
            self.anomalies.malformed += 1;
        } else {
            if !matches!(message.body, Body::Sleep { .. } | Body::Asleep { .. }) {
                self.stir();
            }
            self.step_sound(message, ready);
            self.announce(ready);
        }
    }

    fn step_sound(&mut self, message: Message, ready: &mut Ready) {
        let Message { from, term, body, .. } = message;
        match body {
            // These two speak of a term that nobody has entered yet.
            Body::PreVote { last } => return self.on_pre_vote(from, term, last, ready),
            Body::PreVoteReply { granted: true } => return self.on_pre_vote_granted(from, term, ready),
            _ => {}
        }
        if term < self.hard_state.term {
            return self.on_old_term(from, body, ready);
        }
        if term > self.hard_state.term {
            if matches!(body, Body::Vote { transfer: false, .. }) && self.hears_a_leader() {
                // A replica that was removed, or cannot hear, must not unseat a leader that works (thesis 4.2.3).
                self.anomalies.votes_ignored += 1;
                return;
            }
            self.change_role(Become::Follower { term, leader: None }, ready);
        }
        match body {
            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => {}
            Body::PreVoteReply { granted: false } => self.on_pre_vote_refused(from, ready),
            Body::Vote { last, transfer } => self.on_vote(from, last, transfer, ready),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted, ready),
            Body::Append { prev, commit, entries } => self.on_append(from, prev, commit, entries, ready),
            Body::Heartbeat { commit, round, settled } => self.on_heartbeat(from, commit, round, settled, ready),
            Body::Sleep { commit, attempt } => self.on_sleep(from, commit, attempt, ready),
            Body::Asleep { attempt } => self.on_asleep(from, attempt),
            Body::Ask { round } => self.on_ask(from, round, ready),
            Body::SnapshotOffer { last } => self.on_snapshot_offer(from, last, ready),
            Body::TimeoutNow => self.on_timeout_now(from, ready),
            Body::AppendReply(reply) => self.on_append_reply(from, reply, ready),
            Body::HeartbeatReply { round } => self.on_heartbeat_reply(from, round, ready),
            Body::SnapshotGrant { last } => self.on_snapshot_grant(from, last, ready),
            Body::SnapshotProgress { .. } => self.on_snapshot_progress(from),
            Body::SnapshotRequest { least } => self.on_snapshot_request(from, least, ready),
        }
    }

    /// Stands for election now instead of after the wait. The pre-vote still runs, and only a voter
    /// that may campaign and does not lead does anything.
    pub fn campaign(&mut self, ready: &mut Ready) {
        if matches!(self.state, State::Leader(_)) {
            return;
        }
        self.stir();
        if !self.can_lead() {
            self.timeouts.draw();
            return;
        }
        self.change_role(Become::PreCandidate, ready);
    }

    /// What an earlier `Ready` asked for is durable. Told in the order of the `Ready`s, once for each that had
    /// something to persist.
    pub fn persisted(&mut self, persisted: Persisted, ready: &mut Ready) {
        if let Some(hard_state) = persisted.hard_state {
            self.durable_hard_state = hard_state;
        }
        if let Some(id) = persisted.last.or(persisted.log_start)
            && !self.log.persisted(id)
        {
            self.anomalies.writes_unknown += 1;
        }
        self.count_own_vote(ready);
        self.advance_commit(ready);
        self.announce(ready);
    }

    /// The store holds the effects of everything up to `index`; memory for it may be freed.
    ///
    /// # Panics
    /// If that is more than [`Replica::applicable`].
    pub fn applied(&mut self, index: Index) {
        self.log.applied_to(index);
        self.trim();
    }

    /// Drops the log up to `upto` and returns its new start. The host has made the state up to there durable
    /// in the store, and records the new start in its journal.
    ///
    /// # Panics
    /// If `upto` is not applied yet (rule 14).
    pub fn compact(&mut self, upto: Index) -> crate::entry::LogId {
        let start = self.log.compact(upto);
        self.memberships.compact(start.index);
        start
    }

    /// Ends a turn: call it once, after everything of the turn was told and before the `Ready` is
    /// carried out. A leader sends here what the turn produced, in as few messages as possible.
    pub fn collect(&mut self, ready: &mut Ready) {
        self.collect_at(0, ready);
    }

    /// The same with a clock, which leases need: `now` is in microseconds, not 0, never goes back, goes on while the machine
    /// sleeps, and was read after everything of the turn was told and before anything of it is sent.
    pub fn collect_at(&mut self, now: u64, ready: &mut Ready) {
        if matches!(self.state, State::Leader(_)) {
            self.begin_read_round(now, ready);
            self.stamp_round(now);
            self.send_appends(ready);
            self.hand_over_if_ready(ready);
            self.resign_if_removed(ready);
        }
        self.trim();
    }

    /// The only place where role or term change.
    ///
    /// Whatever the former role waited for is given up, and what the new one begins with is sent.
    pub(crate) fn change_role(&mut self, next: Become, ready: &mut Ready) {
        let now = self.timeouts.now();
        let term = self.hard_state.term;
        let (hard_state, state) = match next {
            Become::Follower { term: new, leader } => {
                assert!(new >= term, "the term would fall from {term} to {new}");
                let vote = if new > term { None } else { self.hard_state.vote };
                (HardState { term: new, vote }, State::Follower(Follower { leader, settled: Index(0) }))
            }
            Become::PreCandidate => (self.hard_state, State::PreCandidate(PreCandidate::default())),
            Become::Candidate { transfer } => {
                assert!(self.can_lead(), "{} stands for election without a vote", self.options.id);
                let hard_state = HardState { term: Term(term.0 + 1), vote: Some(self.options.id) };
                (hard_state, State::Candidate(Candidate { transfer, ..Candidate::default() }))
            }
            Become::Leader => {
                assert!(
                    matches!(self.state, State::Candidate(_)),
                    "only a candidate is elected, not {:?}",
                    self.role()
                );
                let mut leader = Leader::new(now);
                leader.uncommitted_bytes = self.log.bytes_between(self.log.commit().next(), self.log.last().index);
                leader.follow_membership(
                    self.memberships.current(),
                    self.options.id,
                    self.log.last().index.next(),
                    now,
                );
                (self.hard_state, State::Leader(Box::new(leader)))
            }
        };
        if hard_state != self.hard_state {
            self.hard_state = hard_state;
            ready.hard_state = Some(hard_state);
        }
        self.asleep = false;
        ready.role_changed = true;
        self.timeouts.draw();
        if let State::Leader(former) = std::mem::replace(&mut self.state, state) {
            former.reads.fail(ready);
        }
        match &self.state {
            State::Follower(_) => {}
            State::PreCandidate(_) => self.ask_for_pre_votes(ready),
            State::Candidate(_) => self.ask_for_votes(ready),
            State::Leader(_) => {
                self.timeouts.supported();
                // Nothing of former terms commits before an entry of this one does (rule 3).
                self.append_own(EntryKind::Noop, [].into(), ready);
            }
        }
    }

    /// Appends an entry of this leader's term.
    pub(crate) fn append_own(&mut self, kind: EntryKind, payload: Payload, ready: &mut Ready) -> LogId {
        let entry = Entry { term: self.hard_state.term, index: self.log.last().index.next(), kind, payload };
        if let State::Leader(leader) = &mut self.state {
            leader.uncommitted_bytes += entry.bytes();
        }
        let id = entry.id();
        self.log.append_one(entry, ready);
        id
    }

    /// Puts a membership in force and the peers of a leader in step with it.
    pub(crate) fn adopt_membership(&mut self, index: Index, membership: Membership) {
        self.memberships.append(index, membership);
        let (now, next) = (self.timeouts.now(), self.log.last().index.next());
        if let State::Leader(leader) = &mut self.state {
            leader.follow_membership(self.memberships.current(), self.options.id, next, now);
        }
    }

    /// Whether this replica may stand for election.
    ///
    /// One that the newest membership gives no vote may still do so until that is committed, without counting
    /// itself (thesis 4.2.2): it can be the only one whose log is long enough to win.
    pub(crate) fn can_lead(&self) -> bool {
        let own = self.options.id;
        let commit = self.log.commit();
        let votes = self.membership().is_voter(own)
            || self.membership_index() > commit && self.memberships.at(commit).is_voter(own);
        votes && self.may_campaign && self.hard_state.term.0 < soundness::NUMBER_MAX
    }

    /// Whether a leader lives, as far as this replica knows: it was heard within the shortest election
    /// timeout, or is this replica, which a quorum heard.
    pub(crate) fn hears_a_leader(&self) -> bool {
        matches!(self.state, State::Leader(_)) || self.is_loyal()
    }

    /// Whether a leader was heard so lately that it may rest on it (rule 10). No change of role or term ends that; only a
    /// leader's own word to its successor does, see [`Body::TimeoutNow`].
    pub(crate) fn is_loyal(&self) -> bool {
        self.loyal_since.is_some_and(|heard| self.timeouts.now() - heard < self.timeouts.minimum())
    }

    pub(crate) fn message(&self, to: ReplicaId, body: Body) -> Message {
        Message { from: self.options.id, to, term: self.hard_state.term, body }
    }

    /// Tells the host when it may apply more.
    pub(crate) fn announce(&mut self, ready: &mut Ready) {
        let applicable = self.log.applicable();
        if applicable > self.announced {
            self.announced = applicable;
            ready.commit = Some(applicable);
        }
    }

    fn trim(&mut self) {
        let wanted_above = match &self.state {
            State::Leader(leader) => leader.matched_by_all().unwrap_or(self.log.last().index),
            _ => self.log.last().index,
        };
        self.log.trim(wanted_above, self.options.window_bytes_max);
    }
}
