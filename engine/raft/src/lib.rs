//! One replica of one Raft group.
//!
//! # The protocol in a page
//!
//! A group keeps one log in several copies. Time is cut into *terms*; in each at most one replica leads. The leader
//! alone makes entries and sends them to the others in order ([`message::Body::Append`]). An
//! entry on the disks of a majority of voters is *committed*: no later leader can be without it, as a voter
//! refuses its vote to a log shorter than its own and two majorities share a voter. Every replica applies the same
//! committed entries in the same order, so their states are equal.
//!
//! Whoever hears no leader for a random span first asks whether it would be elected ([`message::Body::PreVote`]), and only
//! then enters a new term and stands ([`message::Body::Vote`]). Others refuse both while they hear a leader, and a leader
//! that hears no majority steps down; so a replica that is cut off, or was removed, unseats nobody.
//!
//! Who votes is itself an entry ([`membership::Membership`]). From one set of voters to another leads a joint
//! membership in which both must agree. A read costs no entry: the leader asks a majority whether it still leads, one
//! question for all reads that wait. A replica whose missing entries are compacted away gets a snapshot instead; its
//! bytes are the host's business.
//!
//! The papers: Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* ("paper" in
//! comments), and Ongaro's thesis *Consensus: Bridging Theory and Practice* ("thesis"). The rules that the
//! code cites by number are in this crate's `README.md`.
//!
//! # How to drive it
//!
//! ```
//! use raft::ids::{Index, ReplicaId};
//! use raft::membership::Membership;
//! use raft::ready::Ready;
//! use raft::replica::{Persisted, Replica, Restored};
//! use raft::{HardState, LogId, Options};
//!
//! let id = ReplicaId(1);
//! let options = Options {
//!     id,
//!     seed: 7,
//!     election_ticks: 10,
//!     heartbeat_ticks: 1,
//!     idle_ticks: 10,
//!     inflight_messages_max: 64,
//!     inflight_bytes_max: 4 << 20,
//!     append_bytes_max: 256 << 10,
//!     window_bytes_max: 1 << 20,
//!     uncommitted_bytes_max: 16 << 20,
//!     lease: 0,
//!     may_be_loyal: false,
//!     may_campaign: true,
//! };
//! let mut replica = Replica::new(options, Restored {
//!     hard_state: HardState::default(),
//!     log_start: LogId::default(),
//!     membership: Membership::new(&[id], &[])?,
//!     terms: vec![],
//!     last: Index(0),
//!     memberships: vec![],
//!     tail: vec![],
//!     applied: Index(0),
//! });
//!
//! let mut ready = Ready::default();
//! replica.campaign(&mut ready);
//! while !ready.is_empty() {
//!     replica.collect(&mut ready);
//!     let turn = std::mem::take(&mut ready);
//!     // Here: send `turn.send`; write `turn.hard_state` and `turn.entries` and sync them; then send
//!     // `turn.send_after_persist`, and say so:
//!     let persisted =
//!         Persisted { last: turn.entries.last().map(|entry| entry.id()), hard_state: turn.hard_state, log_start: None };
//!     if turn.must_persist() {
//!         replica.persisted(persisted, &mut ready);
//!     }
//! }
//! assert_eq!(replica.leader(), Some(id));
//! assert_eq!(replica.applicable(), Index(1), "the first entry of the leader is committed");
//! # Ok::<(), raft::membership::Invalid>(())
//! ```
//!
//! Everything a replica wants done is in the [`ready::Ready`] that it is handed with each event. The host may hand
//! it the same one for all events of a turn; it ends the turn with [`Replica::collect`] and takes the `Ready`
//! away to carry it out. While the disk works, further turns may come. The contract, field by field, is in
//! [`ready`] and in the README.
//!
//! # What it leaves to the host
//!
//! * *Time.* A tick is whatever the host makes of it. Nothing here is safe because of time, only lively; but for leases, if
//!   the host wants them, whose terms are in `lease`.
//! * *The journal.* Entries that are applied and durable leave the memory; the terms of all of them stay, so
//!   that no question about the log needs the disk. What a slow peer lacks is fetched.
//! * *When to compact*, and when a replica that falls behind is better served with a snapshot: compact past it.
//! * *Whether a disk is whole.* A replica whose log or vote went back must not be started under its id (rule 7).
//! * *How many reads wait*: each has a client of the host's.
//! * *Who may speak.* A message's sender is believed to be who it says.
//!
//! # Caveats
//!
//! * A proposal has an outcome only when its index is applied under its term; a leader that steps down
//!   leaves it open.
//! * A replica that was removed is not told. It asks for votes that nobody grants, until the host ends it.
//! * A leader that the new membership leaves out leads the change to its end and resigns then.
//! * Without a lease every confirmed read costs a round.
//! * Lives on one core. Nothing is shared with another, not even the payloads.

pub mod anomalies;
mod candidate;
pub mod change;
pub mod entry;
mod follower;
pub mod ids;
pub mod leader;
mod lease;
mod log;
pub mod membership;
pub mod message;
pub mod options;
pub mod payload;
mod peers;
pub mod progress;
mod queue;
pub mod quorum;
mod reads;
pub mod ready;
pub mod replica;
mod replicate;
mod sleep;
mod snapshot;
mod soundness;
mod terms;
mod timeouts;
mod views;

pub use anomalies::Anomalies;
pub use change::{MembershipError, TransferError};
pub use entry::{Entry, EntryKind, HardState, LogId};
pub use ids::{GroupId, Index, ReplicaId, Term};
pub use leader::{NotLeader, ProposeError};
pub use membership::Membership;
pub use message::{AppendReply, Body, Message, SnapshotInstalled};
pub use options::{Options, Persisted, Restored};
pub use progress::{PeerState, PeerView};
pub use ready::{ConfirmedRead, Fetch, Ready, SnapshotWanted};
pub use replica::{Replica, Role};
