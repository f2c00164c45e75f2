//! What a leader knows of one peer, and how much it may send it.
//!
//! ```text
//!            first acknowledgement               window open: many messages in flight
//!   Probe ---------------------------> Replicate
//!     ^  <--- refused, lost or unreachable ---'
//!     |                                                    next <= log start
//!     '------ failed, or silent for E ---- Snapshot <--------- from either
//! ```

use crate::entry::LogId;
use crate::ids::{Index, ReplicaId};
use crate::options::Options;
use crate::queue::Queue;

/// How many probes a peer must deny before it is taken to have lost its log.
const DENIALS_MIN: u32 = 3;

/// How a leader sends to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// One message at a time: the leader does not know where the logs agree.
    Probe,
    /// Many messages in flight, one after the other.
    Replicate,
    /// The log does not reach back far enough: a snapshot is offered or on its way.
    Snapshot,
}

/// One peer, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who it is.
    pub id: ReplicaId,
    /// Its log equals the leader's up to here, durably.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// How it is sent to.
    pub state: PeerState,
    /// Whether it was heard within the election timeout.
    pub active: bool,
    /// Whether it has no vote.
    pub learner: bool,
    /// Whether it has asked for a snapshot, as its store lacks what its log starts from, and has not got it yet.
    pub hollow: bool,
}

/// What every entry needs comes first, see `peers`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Progress {
    pub(crate) matched: Index,
    pub(crate) next: Index,
    /// The tick of its last message.
    pub(crate) heard: u64,
    /// The tick of the last AppendEntries to it.
    pub(crate) sent: u64,
    /// The commit index it knows if nothing got lost.
    pub(crate) commit_told: Index,
    pub(crate) flow: Flow,
    pub(crate) fetching: Fetching,
    /// The last read round it answered.
    pub(crate) round: u64,
    /// The last attempt to put the group to sleep that it followed.
    pub(crate) asleep: Option<u64>,
    /// The snapshot it asked for. Its log is sound, so entries go on meanwhile and `flow` says how.
    pub(crate) asked: Option<Box<Asked>>,
    denials: Denials,
}

/// A snapshot that a peer has asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) offered: LogId,
    pub(crate) granted: bool,
    /// The tick of the last sign that it goes on.
    pub(crate) heard: u64,
    /// The tick at which the peer asked last, be an offer open or not.
    pub(crate) wanted: u64,
}

/// Probes in a row that the peer refused although it had acknowledged what they ask for.
#[derive(Debug, Default)]
struct Denials {
    count: u32,
    /// The tick at which the last of them was sent.
    sent: u64,
}

#[derive(Debug)]
pub(crate) enum Flow {
    /// `sent` is the tick of the probe that is not yet answered. After a refusal a probe goes `bare`, without
    /// entries, as it will probably be refused, too.
    Probe {
        sent: Option<u64>,
        bare: bool,
    },
    Replicate(Inflight),
    /// `heard` is the tick of the last sign that it goes on.
    Snapshot {
        offered: LogId,
        granted: bool,
        heard: u64,
    },
}

/// Whether old entries are being read from the journal for this peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetching {
    No,
    /// From this index on.
    Asked(Index),
    /// At this tick; tried again at a later one.
    Failed(u64),
}

/// Messages sent and not yet answered, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    messages: Queue<(Index, usize)>,
    bytes: usize,
    /// The tick of the last answer or question about them.
    pub(crate) moved: u64,
    /// The peer has refused something and has taken no entries since, as it may when its disk is full: it gets one entry, and the
    /// rest when that is acknowledged.
    unproved: bool,
}

impl Progress {
    /// A peer of which nothing is known but that it was worth a message at tick `now`.
    pub(crate) fn new(next: Index, now: u64) -> Progress {
        Progress {
            matched: Index(0),
            next,
            flow: Flow::Probe { sent: None, bare: false },
            fetching: Fetching::No,
            heard: now,
            sent: now,
            round: 0,
            asleep: None,
            commit_told: Index(0),
            asked: None,
            denials: Denials::default(),
        }
    }

    pub(crate) fn state(&self) -> PeerState {
        match self.flow {
            Flow::Probe { .. } => PeerState::Probe,
            Flow::Replicate(_) => PeerState::Replicate,
            Flow::Snapshot { .. } => PeerState::Snapshot,
        }
    }

    /// The peer's log equals ours up to `matched`: send as much as the window takes.
    pub(crate) fn acknowledge(&mut self, matched: Index, now: u64) {
        self.matched = self.matched.max(matched);
        match &mut self.flow {
            Flow::Replicate(inflight) => {
                inflight.acknowledge(matched, now);
                self.next = self.next.max(self.matched.next());
            }
            Flow::Probe { .. } | Flow::Snapshot { .. } => {
                self.next = self.matched.next();
                // Whoever is sent more than probes denies nothing, so none is counted before the next probe.
                self.denials = Denials::default();
                let unproved = matches!(self.flow, Flow::Probe { bare: true, .. });
                self.flow = Flow::Replicate(Inflight { moved: now, unproved, ..Inflight::default() });
            }
        }
    }

    /// The peer refuses what it once acknowledged. True if it insists: one refusal may be an old one that comes
    /// late or twice, three different probes are not all unlucky.
    pub(crate) fn denies(&mut self) -> bool {
        if let Flow::Probe { sent: Some(sent), .. } = self.flow
            && (self.denials.count == 0 || sent > self.denials.sent)
        {
            self.denials = Denials { count: self.denials.count + 1, sent };
            return self.denials.count >= DENIALS_MIN;
        }
        false
    }

    /// Back to one message at a time, from `next` on.
    pub(crate) fn probe(&mut self, next: Index, bare: bool) {
        self.next = next;
        self.commit_told = Index(0);
        self.flow = Flow::Probe { sent: None, bare };
    }

    /// What was in flight may be lost: start again from what is certain.
    pub(crate) fn start_again(&mut self) {
        match self.flow {
            Flow::Probe { bare, .. } => self.probe(self.next, bare),
            Flow::Replicate(_) | Flow::Snapshot { .. } => self.probe(self.matched.next(), false),
        }
    }
}

impl Inflight {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn is_unproved(&self) -> bool {
        self.unproved
    }

    pub(crate) fn shrink(&mut self) {
        self.messages.shrink();
    }

    pub(crate) fn is_full(&self, options: &Options) -> bool {
        let messages_max = if self.unproved { 1 } else { options.inflight_messages_max };
        self.messages.len() >= messages_max || !self.messages.is_empty() && self.bytes >= options.inflight_bytes_max
    }

    pub(crate) fn add(&mut self, last: Index, bytes: usize, now: u64) {
        if self.messages.is_empty() {
            self.moved = now;
        }
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn acknowledge(&mut self, matched: Index, now: u64) {
        while let Some(&(last, bytes)) = self.messages.front()
            && last <= matched
        {
            self.bytes -= bytes;
            self.messages.pop_front();
            self.moved = now;
            self.unproved = false;
        }
    }
}
