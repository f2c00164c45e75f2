//! Whether a message can be true at all. What passes here may still be late, repeated or out of order.

use crate::entry::{Entry, EntryKind, LogId};
use crate::ids::{Index, Term};
use crate::membership::Membership;
use crate::message::{AppendReply, Body, Message};

/// No term, index or round ever gets above this: at a million a second it takes more than a hundred thousand years. Sums of a few of
/// them do not overflow, and the journal takes what is above for damage.
pub(crate) const NUMBER_MAX: u64 = (1 << 62) - 1;

/// Whether the content of `message` contradicts neither itself nor reason.
pub(crate) fn is_sound(message: &Message) -> bool {
    message.term.0 >= 1
        && message.term.0 <= NUMBER_MAX
        && match &message.body {
            Body::PreVote { last } => last.is_sound() && last.term < message.term,
            Body::Vote { last, .. } => last.is_sound() && last.term < message.term,
            Body::Append { prev, commit, entries } => {
                prev.is_sound() && is_index(*commit) && follow(*prev, entries, message.term)
            }
            Body::AppendReply(AppendReply::Accepted { matched }) => is_index(*matched),
            Body::AppendReply(AppendReply::Rejected { prev, hint, last }) => {
                is_index(*prev) && hint.is_sound() && hint.index <= *prev && is_index(*last)
            }
            Body::Heartbeat { commit, round, settled } => {
                is_index(*commit) && is_index(*settled) && *round <= NUMBER_MAX
            }
            Body::Sleep { commit, attempt } => is_index(*commit) && *attempt <= NUMBER_MAX,
            Body::Asleep { attempt: number } | Body::HeartbeatReply { round: number } | Body::Ask { round: number } => {
                *number <= NUMBER_MAX
            }
            Body::SnapshotOffer { last } | Body::SnapshotGrant { last } => last.is_sound(),
            Body::SnapshotRequest { least } => is_index(*least),
            Body::PreVoteReply { .. } | Body::VoteReply { .. } => true,
            Body::SnapshotProgress { .. } | Body::TimeoutNow => true,
        }
}

/// Whether `entries` can stand behind `prev` in a log of a leader of `term`.
pub(crate) fn follow(prev: LogId, entries: &[Entry], term: Term) -> bool {
    let mut before = prev;
    let contiguous = entries.iter().all(|entry| {
        let follows = entry.index.0 == before.index.0 + 1 && entry.term >= before.term && entry.term.0 >= 1;
        before = entry.id();
        follows
    });
    contiguous && before.term <= term && is_index(before.index) && entries.iter().all(is_readable)
}

fn is_readable(entry: &Entry) -> bool {
    entry.kind != EntryKind::Membership || Membership::decode(&entry.payload).is_ok_and(|it| !it.voters.is_empty())
}

fn is_index(index: Index) -> bool {
    index.0 <= NUMBER_MAX
}

impl LogId {
    /// Whether any log can have an entry of this position, or can begin behind it.
    pub fn is_sound(self) -> bool {
        is_index(self.index) && self.term.0 <= NUMBER_MAX && (self.index.0 == 0) == (self.term.0 == 0)
    }
}
