//! What a node says about itself and its replicas.

/// One node's answer to a status request.
#[derive(Clone, Debug, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct NodeStatus {
    /// Its number in the map; 0 before the founding.
    pub node: u16,
    /// Its name.
    pub name: String,
    /// How many shards it has.
    pub shards: u16,
    /// The version of the map it follows; 0 before the founding.
    pub epoch: u64,
    /// Requests it has forwarded to another core or node since its start: 0 with clients that route.
    pub forwarded: u64,
    /// The start id of its process.
    pub start: u64,
    /// Its replicas, ascending by group.
    pub groups: Vec<ReplicaStatus>,
    /// The nodes it waits for before the cluster is formed, or a sentence that says what else is in the way ([`is_name`]);
    /// empty once it is formed.
    pub waiting_for: Vec<String>,
}

/// Whether an entry of what is waited for is the name of a node: these have no blanks, sentences do.
pub fn is_name(entry: &str) -> bool {
    !entry.contains(char::is_whitespace)
}

/// One replica on that node.
#[derive(Clone, Debug, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct ReplicaStatus {
    /// Its group.
    pub group: u32,
    /// What it is: 0 follower, 1 pre-candidate, 2 candidate, 3 leader, 4 learner.
    pub role: u8,
    /// Its term.
    pub term: u64,
    /// Its commit index.
    pub commit: u64,
    /// The last index its store holds.
    pub applied: u64,
    /// The first index its log still holds (last + 1 if it holds none).
    pub first_log_index: u64,
    /// The last index of its log.
    pub last_log_index: u64,
    /// The node it takes for the leader; `None` while an election runs.
    pub leader: Option<u16>,
    /// Snapshots it has installed since the process started.
    pub snapshots_installed: u64,
    /// Whether it does its part: it votes, its group's members do not change just now, and it has its log and its store,
    /// on a disk that answers. As long as one
    /// of a group does not, no other node with a copy may be taken away.
    pub whole: bool,
}

/// [`ReplicaStatus::role`] of a replica without a vote.
pub const ROLE_LEARNER: u8 = 4;

/// [`ReplicaStatus::role`] of a leader.
pub const ROLE_LEADER: u8 = 3;

/// What a node that serves nothing yet says of itself.
pub fn not_formed(waiting_for: &[String]) -> String {
    if waiting_for.is_empty() {
        return "the node is starting and serves nothing yet".to_owned();
    }
    let (names, others): (Vec<&str>, Vec<&str>) =
        waiting_for.iter().map(String::as_str).partition(|entry| is_name(entry));
    let waits = if names.is_empty() { String::new() } else { format!(", it waits for {}", names.join(", ")) };
    let others = if others.is_empty() { String::new() } else { format!(": {}", others.join("; ")) };
    format!("the cluster is not formed yet{waits}{others}")
}
