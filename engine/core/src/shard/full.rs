//! What a core still takes from leaders while its disk is full.
//!
//! None of what their clients write. But what a new leader begins its term with must go in, or nobody in the group could read, and before that
//! stands what former leaders had taken and this log lacks. It comes out of the room that is kept back on the disk, which belongs to the
//! whole node, so there is a limit to it.

use raft::entry::{EntryKind, LogId};
use raft::message::{Body, Message};

/// Bytes of commands of former leaders that a core takes until its disk has room again.
const FORMER_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    taken: usize,
}

impl Reserve {
    /// Leaves of a message to a replica, whose log holds what `holds` says, what is taken of it. Whether anything is.
    pub(super) fn admits(&mut self, message: &mut Message, holds: impl Fn(LogId) -> bool) -> bool {
        let Body::Append { entries, .. } = &mut message.body else { return true };
        let mut admitted = 0;
        for entry in entries.iter() {
            // What is there already takes no room.
            if entry.kind == EntryKind::Command && !holds(entry.id()) {
                let taken = self.taken + entry.bytes();
                if entry.term == message.term || taken > FORMER_BYTES_MAX {
                    break;
                }
                self.taken = taken;
            }
            admitted += 1;
        }
        let brought = entries.len();
        entries.truncate(admitted);
        admitted > 0 || brought == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::entry::Entry;
    use raft::ids::{Index, ReplicaId, Term};

    const MIB: usize = 1 << 20;

    fn append(entries: &[(u64, EntryKind, usize)]) -> Message {
        let entry = |(at, &(term, kind, bytes)): (usize, &(u64, EntryKind, usize))| Entry {
            term: Term(term),
            index: Index(11 + at as u64),
            kind,
            payload: vec![0; bytes].into(),
        };
        let entries = entries.iter().enumerate().map(entry).collect();
        let body = Body::Append { prev: LogId { term: Term(1), index: Index(10) }, commit: Index(9), entries };
        Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(2), body }
    }

    /// A log that ends there and agrees.
    fn up_to(last: u64) -> impl Fn(LogId) -> bool {
        move |id| id.index <= Index(last)
    }

    fn left(message: &Message) -> usize {
        let Body::Append { entries, .. } = &message.body else { panic!("{message:?}") };
        entries.len()
    }

    #[test]
    fn a_message_is_taken_up_to_what_the_leader_has_taken_itself() {
        let mut reserve = Reserve::default();
        let mut message = append(&[(1, EntryKind::Command, 9), (2, EntryKind::Noop, 0), (2, EntryKind::Command, 9)]);
        assert!(reserve.admits(&mut message, up_to(10)));
        assert_eq!(left(&message), 2);
        let mut message = append(&[(2, EntryKind::Command, 9)]);
        assert!(!reserve.admits(&mut message, up_to(10)));
        let mut message = append(&[(2, EntryKind::Command, 9), (2, EntryKind::Command, 9)]);
        assert!(reserve.admits(&mut message, up_to(11)), "the first is there already");
        assert_eq!(left(&message), 1);
        assert!(reserve.admits(&mut append(&[]), up_to(10)), "it brings the commit index");
    }

    #[test]
    fn commands_of_former_leaders_take_so_much_of_the_reserve_and_no_more() {
        let mut reserve = Reserve::default();
        let two = [(1, EntryKind::Command, MIB), (1, EntryKind::Command, MIB)];
        assert!(reserve.admits(&mut append(&two), up_to(10)));
        assert!(reserve.admits(&mut append(&two), up_to(12)), "they are there already");
        let mut message = append(&two);
        assert!(reserve.admits(&mut message, up_to(10)));
        assert_eq!(left(&message), 1, "less than 4 MiB with what stands beside the payloads");
        assert!(!reserve.admits(&mut append(&two), up_to(10)));
        assert!(reserve.admits(&mut append(&[(2, EntryKind::Noop, 0)]), up_to(10)));
    }
}
