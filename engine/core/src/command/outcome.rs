//! What became of a command.

use raft::ids::Index;
use rkyv::{Archive, Deserialize, Serialize};

/// What became of a command, the same on every replica. Travels to the client inside a response.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Outcome {
    /// The client's session in this group: name it in every command from now on.
    Opened {
        /// The index of the Open that made it; an earlier one if the session was there already.
        session: Index,
    },
    /// It happened.
    Done,
    /// It happened, and this was the value before; `None`: there was none.
    Old(Option<Vec<u8>>),
    /// The value was as expected; it has been set or removed.
    Swapped,
    /// The value was not as expected; nothing was written.
    Mismatch {
        /// The value there was; `None`: there was none.
        current: Option<Vec<u8>>,
    },
    /// A retry of a command that was executed before, whose result is no longer known: it was above 64 bytes, or
    /// the client had acknowledged it. Nothing was written by the retry. A put, delete or batch had taken
    /// effect; a compare-and-swap that was not acknowledged had *not* (a swap's result is always kept).
    AlreadyApplied,
    /// The session is not there (any more): this attempt did nothing, earlier attempts may have happened.
    /// Open a new session; the fate of this sequence is then unknown if it had been sent before.
    SessionEvicted,
    /// It is in the log and can never take effect.
    Refused(RefusedBecause),
}

/// Why a committed command did nothing. A leader's checks keep all but the last from being proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Archive, Serialize, Deserialize)]
pub enum RefusedBecause {
    /// The bytes are not a command that this version knows.
    #[error("the bytes are not a command")]
    Malformed,
    /// An Open for another group's log, or a founding or a map outside group 0.
    #[error("it does not belong into this group")]
    WrongGroup,
    /// Group 0 holds another founding record already.
    #[error("the cluster is founded already")]
    AlreadyFounded,
    /// Another cluster map has come in between.
    #[error("the cluster map has changed meanwhile")]
    StaleMap,
}
