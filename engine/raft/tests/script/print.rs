//! How things look in a scene. Names are letters; `3@2` is the entry with index 3 of term 2.

use super::node::{Node, Write};
use raft::ids::{Index, ReplicaId, Term};
use raft::{
    Anomalies, AppendReply, Body, Entry, EntryKind, HardState, LogId, Membership, MembershipError, Message, NotLeader,
    PeerState, PeerView, ProposeError, Replica, Role, TransferError,
};

/// `a` is replica 1, and so on.
pub fn name(id: ReplicaId) -> String {
    match u8::try_from(id.0) {
        Ok(number @ 1..=26) => char::from(b'a' + number - 1).to_string(),
        _ => id.to_string(),
    }
}

pub fn names(ids: &[ReplicaId]) -> String {
    ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(" ")
}

pub fn id(id: LogId) -> String {
    format!("{}@{}", id.index, id.term)
}

fn leader(leader: Option<ReplicaId>) -> String {
    leader.map_or("nobody known leads".into(), |leader| format!("{} leads", name(leader)))
}

pub fn membership(membership: &Membership) -> String {
    let mut text = match membership.voters.is_empty() {
        true => "nobody".to_string(),
        false => names(&membership.voters),
    };
    if membership.is_joint() {
        text += &format!(" (was {})", names(&membership.outgoing));
    }
    if !membership.learners.is_empty() {
        text += &format!(", learns {}", names(&membership.learners));
    }
    text
}

pub fn entry(entry: &Entry) -> String {
    let content = match entry.kind {
        EntryKind::Noop => "noop".into(),
        EntryKind::Membership => {
            Membership::decode(&entry.payload).map_or("?".into(), |it| format!("[{}]", membership(&it)))
        }
        EntryKind::Command => {
            let text = String::from_utf8_lossy(&entry.payload);
            match text.find("..") {
                Some(end) => format!("{}:{}", &text[..end], text.len()),
                None => text.into(),
            }
        }
    };
    format!("{} {content}", id(entry.id()))
}

pub fn entries(entries: &[Entry]) -> String {
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}

pub fn body(message: &Message) -> String {
    match &message.body {
        Body::PreVote { last } => format!("PreVote for term {}, log ends {}", message.term, id(*last)),
        Body::PreVoteReply { granted } => format!("PreVoteReply {}", yes(*granted)),
        Body::Vote { last, transfer } => {
            format!("Vote, log ends {}{}", id(*last), if *transfer { ", by transfer" } else { "" })
        }
        Body::VoteReply { granted } => format!("VoteReply {}", yes(*granted)),
        Body::Append { prev, commit, entries: list } if list.is_empty() => {
            format!("Append after {}: nothing, commit {commit}", id(*prev))
        }
        Body::Append { prev, commit, entries: list } => {
            format!("Append after {}: {}, commit {commit}", id(*prev), entries(list))
        }
        Body::AppendReply(AppendReply::Accepted { matched }) => format!("AppendReply matched {matched}"),
        Body::AppendReply(AppendReply::Rejected { prev, hint, last }) => {
            format!("AppendReply refused after {prev}, try {}, last {last}", id(*hint))
        }
        Body::Heartbeat { commit, round, settled } => {
            format!("Heartbeat commit {commit}, round {round}, settled {settled}")
        }
        Body::HeartbeatReply { round } => format!("HeartbeatReply round {round}"),
        Body::SnapshotOffer { last } => format!("SnapshotOffer {}", id(*last)),
        Body::SnapshotGrant { last } => format!("SnapshotGrant {}", id(*last)),
        Body::SnapshotProgress { bytes } => format!("SnapshotProgress {bytes} bytes"),
        Body::SnapshotRequest { least } => format!("SnapshotRequest of {least} at least"),
        Body::TimeoutNow => "TimeoutNow".into(),
        Body::Ask { round } => format!("Ask round {round}"),
        Body::Sleep { commit, attempt } => format!("Sleep commit {commit}, attempt {attempt}"),
        Body::Asleep { attempt } => format!("Asleep attempt {attempt}"),
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

/// The first word of [`body`].
pub fn kind(body: &Body) -> &'static str {
    match body {
        Body::PreVote { .. } => "PreVote",
        Body::PreVoteReply { .. } => "PreVoteReply",
        Body::Vote { .. } => "Vote",
        Body::VoteReply { .. } => "VoteReply",
        Body::Append { .. } => "Append",
        Body::AppendReply(_) => "AppendReply",
        Body::Heartbeat { .. } => "Heartbeat",
        Body::HeartbeatReply { .. } => "HeartbeatReply",
        Body::SnapshotOffer { .. } => "SnapshotOffer",
        Body::SnapshotGrant { .. } => "SnapshotGrant",
        Body::SnapshotProgress { .. } => "SnapshotProgress",
        Body::SnapshotRequest { .. } => "SnapshotRequest",
        Body::TimeoutNow => "TimeoutNow",
        Body::Ask { .. } => "Ask",
        Body::Sleep { .. } => "Sleep",
        Body::Asleep { .. } => "Asleep",
    }
}

fn hard_state(hard_state: HardState) -> String {
    match hard_state.vote {
        Some(vote) => format!("term {}, vote for {}", hard_state.term, name(vote)),
        None => format!("term {}", hard_state.term),
    }
}

/// What a write holds, and what waits for it.
pub fn write(write: &Write) -> String {
    let mut parts = Vec::new();
    parts.extend(write.hard_state.map(hard_state));
    parts.extend(write.log_start.as_ref().map(|start| format!("log start {}", id(start.0))));
    if !write.entries.is_empty() {
        parts.push(entries(&write.entries));
    }
    let mut text = parts.join("; ");
    if text.is_empty() {
        text += "nothing new";
    }
    let then: Vec<String> =
        write.then.iter().map(|message| format!("{} to {}", body(message), name(message.to))).collect();
    if !then.is_empty() {
        text += &format!("; then {}", then.join(", "));
    }
    text
}

/// `(3@1) 4..5@2 6@3`: starts after entry 3 of term 1, has 4 and 5 of term 2 and 6 of term 3.
fn log(replica: &Replica) -> String {
    let mut parts = Vec::new();
    if replica.log_start().index > Index(0) {
        parts.push(format!("({})", id(replica.log_start())));
    }
    let mut runs: Vec<(u64, u64, Term)> = Vec::new();
    for index in replica.log_start().index.0 + 1..=replica.last().index.0 {
        let term = replica.term_of(Index(index)).expect("it is in the log");
        match runs.last_mut() {
            Some(run) if run.2 == term => run.1 = index,
            _ => runs.push((index, index, term)),
        }
    }
    parts.extend(runs.iter().map(|&(first, last, term)| match first == last {
        true => format!("{first}@{term}"),
        false => format!("{first}..{last}@{term}"),
    }));
    if runs.is_empty() {
        parts.push("empty".into());
    }
    parts.join(" ")
}

fn role(replica: &Replica) -> String {
    let of = replica.leader().map_or(String::new(), |leader| format!(" of {}", name(leader)));
    match replica.role() {
        Role::Follower => format!("follower{of}"),
        Role::Learner if replica.membership().is_learner(replica.id()) => format!("learner{of}"),
        Role::Learner => format!("outsider{of}"),
        Role::PreCandidate => "pre-candidate".into(),
        Role::Candidate => "candidate".into(),
        Role::Leader => "leader".into(),
    }
}

/// The members of the group as a node knows them, to stand behind [`state`].
pub fn members(node: &Node) -> String {
    match &node.replica {
        Some(replica) => format!(" | members {}", membership(replica.membership())),
        None => String::new(),
    }
}

/// All else of a node that a reader wants to know, in one line.
pub fn state(node: &Node) -> String {
    let name = name(node.id());
    let Some(replica) = &node.replica else { return format!("{name}: down") };
    let mut parts = vec![format!("{name}: {} in {}", role(replica), hard_state(replica.hard_state()))];
    parts.push(format!("log {}", log(replica)));
    if replica.durable() != replica.last().index {
        parts.push(format!("durable {}", replica.durable()));
    }
    parts.push(format!("commit {}", replica.commit()));
    if node.applied != replica.commit() {
        parts.push(format!("applied {}", node.applied));
    }
    if replica.is_asleep() {
        parts.push("asleep".into());
    }
    if let Some(to) = replica.transferring_to() {
        parts.push(format!("hands over to {}", self::name(to)));
    }
    match replica.reads_waiting() {
        0 => {}
        waiting => parts.push(format!("reads waiting {waiting}")),
    }
    parts.extend(anomalies(replica.anomalies()));
    parts.join(" | ")
}

fn anomalies(anomalies: Anomalies) -> Option<String> {
    // Votes ignored while a leader lives are the rule at work, not an anomaly: they are shown all the same.
    let counts = [
        ("regressed peers", anomalies.regressed_peers),
        ("committed conflicts", anomalies.committed_conflicts),
        ("second leaders", anomalies.second_leaders),
        ("misdirected", anomalies.misdirected),
        ("malformed", anomalies.malformed),
        ("votes ignored", anomalies.votes_ignored),
        ("fetches ignored", anomalies.fetches_ignored),
        ("writes unknown", anomalies.writes_unknown),
    ];
    let shown: Vec<String> =
        counts.iter().filter(|count| count.1 > 0).map(|(what, count)| format!("{what} {count}")).collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

pub fn peer(peer: &PeerView) -> String {
    let state = match peer.state {
        PeerState::Probe => "probe",
        PeerState::Replicate => "replicate",
        PeerState::Snapshot => "snapshot",
    };
    let learner = if peer.learner { ", learner" } else { "" };
    let silent = if peer.active { "" } else { ", silent" };
    format!("{}: {state}, matched {}, next {}{learner}{silent}", name(peer.id), peer.matched, peer.next)
}

pub fn not_leader(error: NotLeader) -> String {
    format!("refused, {}", leader(error.leader))
}

pub fn propose_error(error: ProposeError) -> String {
    match error {
        ProposeError::NotLeader { leader } => not_leader(NotLeader { leader }),
        ProposeError::Transferring => "refused, leadership is being handed over".into(),
        ProposeError::Busy { bytes } => format!("refused, {bytes} bytes wait"),
    }
}

pub fn membership_error(error: MembershipError) -> String {
    match error {
        MembershipError::NotLeader { leader } => not_leader(NotLeader { leader }),
        MembershipError::NotReady => "refused, nothing is committed in this term".into(),
        MembershipError::InProgress { index } => format!("refused, the change at {index} is not over"),
        MembershipError::Transferring => "refused, leadership is being handed over".into(),
        MembershipError::Unchanged => "refused, it is as wanted".into(),
        MembershipError::Invalid(invalid) => format!("refused, no membership: {invalid:?}"),
    }
}

pub fn transfer_error(error: TransferError) -> String {
    match error {
        TransferError::NotLeader { leader } => not_leader(NotLeader { leader }),
        TransferError::NotVoter => "refused, no voter".into(),
        TransferError::InProgress { to } => format!("refused, on its way to {}", name(to)),
    }
}
