//! Messages that no replica of the scene has sent.

use super::parse::{log_id, number, payload, take_flag, take_setting};
use raft::{AppendReply, Body, Entry, EntryKind, Index, Message, ReplicaId, Term};

/// `Kind key=value ...`, as in `Append term=3 prev=2@1 commit=1 terms=3,3`.
pub fn message(from: ReplicaId, to: ReplicaId, mut words: Vec<&str>) -> Message {
    let mut setting = |key: &str| take_setting(&mut words, key);
    let term = Term(number(&setting("term").expect("a message has a term=")));
    let index = |word: Option<String>| Index(word.map_or(0, |word| number(&word)));
    let id = |word: Option<String>| word.map(|word| log_id(&word)).unwrap_or_default();
    let (last, prev, hint) = (setting("last"), setting("prev"), setting("hint"));
    let (commit, matched) = (setting("commit"), setting("matched"));
    let (round, terms) = (setting("round"), setting("terms"));
    let granted = !take_flag(&mut words, "no");
    let transfer = take_flag(&mut words, "transfer");
    let round = round.map_or(0, |word| number(&word));
    let body = match words[..] {
        ["PreVote"] => Body::PreVote { last: id(last) },
        ["PreVoteReply"] => Body::PreVoteReply { granted },
        ["Vote"] => Body::Vote { last: id(last), transfer },
        ["VoteReply"] => Body::VoteReply { granted },
        ["Append"] => {
            let prev = id(prev);
            let terms = terms.unwrap_or_default();
            let terms = terms.split(',').filter(|word| !word.is_empty()).map(number);
            let entry = |(term, index)| Entry {
                term: Term(term),
                index: Index(index),
                kind: EntryKind::Command,
                payload: payload("forged"),
            };
            Body::Append { prev, commit: index(commit), entries: terms.zip(prev.index.0 + 1..).map(entry).collect() }
        }
        ["AppendReply"] => match matched {
            Some(matched) => Body::AppendReply(AppendReply::Accepted { matched: index(Some(matched)) }),
            None => Body::AppendReply(AppendReply::Rejected { prev: index(prev), hint: id(hint), last: index(last) }),
        },
        ["Heartbeat"] => Body::Heartbeat { commit: index(commit), round, settled: Index(0) },
        ["HeartbeatReply"] => Body::HeartbeatReply { round },
        ["SnapshotOffer"] => Body::SnapshotOffer { last: id(last) },
        ["SnapshotGrant"] => Body::SnapshotGrant { last: id(last) },
        ["SnapshotRequest"] => Body::SnapshotRequest { least: index(last) },
        ["TimeoutNow"] => Body::TimeoutNow,
        ["Ask"] => Body::Ask { round },
        _ => panic!("no message {words:?}"),
    };
    Message { from, to, term, body }
}
