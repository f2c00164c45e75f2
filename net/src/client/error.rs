//! Why the client could not do what it was asked, and what that says about the cluster's state.

use crate::status::not_formed;
use raft::ids::GroupId;

/// Why a request failed. Each variant says whether the request may have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A read, or a question to the cluster, got no answer in time. Ask again later.
    #[error("unavailable: {why}")]
    Unavailable {
        /// What stood in the way last.
        why: String,
    },
    /// A write did not happen, for sure: it was never sent, or every node that got it refused it. Ask again later.
    #[error("not applied: {why}")]
    NotApplied {
        /// What stood in the way last.
        why: String,
    },
    /// A write, or a stop, was sent and not answered in time: it may have happened, may still happen, or not. Look to find out.
    #[error("outcome unknown: {why}")]
    OutcomeUnknown {
        /// What stood in the way last.
        why: String,
    },
    /// The cluster does not exist yet, or the node that was asked is still starting; nothing happened. Start the nodes
    /// that are waited for; if there are none, ask again later.
    #[error("{}", not_formed(waiting_for))]
    NotFormed {
        /// Their names, or what else is in the way ([`crate::status::is_name`]); empty while the node that was asked is starting.
        waiting_for: Vec<String>,
    },
    /// One node could not be reached, and only that one could have answered. Nothing happened.
    #[error("{address} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What happened instead.
        why: String,
    },
    /// The keys of a batch belong to several groups; nothing happened. Make one batch a group.
    #[error("the keys of the batch belong to {} groups: {}", groups(keys), list(keys))]
    CrossGroupBatch {
        /// Every key with the group it belongs to.
        keys: Vec<(Vec<u8>, GroupId)>,
    },
    /// The cluster forgot this client's session, and with it whether an earlier attempt of this write had happened.
    /// Read to find out; the next write opens a new session by itself.
    #[error("the session was evicted: whether the write happened is not known any more")]
    SessionEvicted,
    /// It happened, but the old value is gone: a retry was needed, and results above 64 bytes are not kept.
    #[error("it was done, but its result is no longer known")]
    ResultGone,
    /// A key, value or batch is larger than the cluster takes; nothing happened.
    #[error("too large: the limit is {limit}")]
    TooLarge {
        /// The limit, in bytes (or operations, for a batch).
        limit: u64,
    },
    /// The request makes no sense; nothing happened. Asking again will not help.
    #[error("bad request: {why}")]
    BadInput {
        /// What is wrong with it.
        why: String,
    },
    /// This client may not ask for that, or not from here; nothing happened.
    #[error("the node does not allow that from here")]
    Forbidden,
    /// The node does not know this kind of request: it is older or newer than this client. Nothing happened.
    #[error("the node does not know this request")]
    Unsupported,
    /// A node answered something that is no answer to the question, or no node was found that speaks this version of
    /// the protocol. One of the two is broken, or must be updated.
    #[error("protocol error: {why}")]
    Protocol {
        /// What was wrong.
        why: String,
    },
}

impl ClientError {
    /// Whether the request may have happened all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, ClientError::OutcomeUnknown { .. } | ClientError::SessionEvicted | ClientError::ResultGone)
    }
}

fn groups(keys: &[(Vec<u8>, GroupId)]) -> usize {
    let mut groups: Vec<GroupId> = keys.iter().map(|(_, group)| *group).collect();
    groups.sort();
    groups.dedup();
    groups.len()
}

/// The first few keys, so that a large batch does not flood a terminal.
fn list(keys: &[(Vec<u8>, GroupId)]) -> String {
    let shown: Vec<String> =
        keys.iter().take(8).map(|(key, group)| format!("{} in group {group}", key.escape_ascii())).collect();
    let more = keys.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{}, and {more} more", shown.join(", ")) }
}
