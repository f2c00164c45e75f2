//! What a core still takes from leaders while its disk is full.
//!
//! None of what their clients write. But what a new leader begins its term with must go in, or nobody in the group could read, and before that
//! stands what former leaders had taken and this log lacks. It comes out of the room that is kept back on the disk, which belongs to the
//! whole node, so there is a limit to it.

use raft::entry::{EntryKind, LogId};
use raft::message::{Body, Message};

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    bytes_max: usize,
    taken: usize,
}

/// Commands of former leaders in a message, each with its bytes.
pub(super) type Former = Vec<(LogId, usize)>;

impl Reserve {
    /// So many bytes of such commands are taken until the disk has room again, and what the last of them has more.
    pub(super) fn new(bytes_max: usize) -> Reserve {
        Reserve { bytes_max, taken: 0 }
    }

    /// Leaves of a message to a replica, whose log holds what `holds` says, what may be taken of it; `None` if that is nothing.
    pub(super) fn admits(&self, message: &mut Message, holds: impl Fn(LogId) -> bool) -> Option<Former> {
        let mut former = Former::new();
        let Body::Append { entries, .. } = &mut message.body else { return Some(former) };
        let (mut admitted, mut taken) = (0, self.taken);
        for entry in entries.iter() {
            // What is there already takes no room.
            if entry.kind == EntryKind::Command && !holds(entry.id()) {
                let bytes = entry.bytes();
                if entry.term == message.term || taken >= self.bytes_max {
                    break;
                }
                taken += bytes;
                former.push((entry.id(), bytes));
            }
            admitted += 1;
        }
        let brought = entries.len();
        entries.truncate(admitted);
        (admitted > 0 || brought == 0).then_some(former)
    }

    /// Those of `former` that the log holds by now have been taken.
    pub(super) fn charge(&mut self, former: &Former, holds: impl Fn(LogId) -> bool) {
        self.taken += former.iter().filter(|(id, _)| holds(*id)).map(|(_, bytes)| bytes).sum::<usize>();
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
        let reserve = Reserve::new(4 * MIB);
        let mut message = append(&[(1, EntryKind::Command, 9), (2, EntryKind::Noop, 0), (2, EntryKind::Command, 9)]);
        assert_eq!(reserve.admits(&mut message, up_to(10)).map(|former| former.len()), Some(1));
        assert_eq!(left(&message), 2);
        let mut message = append(&[(2, EntryKind::Command, 9)]);
        assert_eq!(reserve.admits(&mut message, up_to(10)), None);
        let mut message = append(&[(2, EntryKind::Command, 9), (2, EntryKind::Command, 9)]);
        assert_eq!(reserve.admits(&mut message, up_to(11)), Some(vec![]), "the first is there already");
        assert_eq!(left(&message), 1);
        assert_eq!(reserve.admits(&mut append(&[]), up_to(10)), Some(vec![]), "it brings the commit index");
    }

    #[test]
    fn commands_of_former_leaders_take_so_much_of_the_reserve_and_no_more() {
        let mut reserve = Reserve::new(4 * MIB);
        let two = [(1, EntryKind::Command, MIB), (1, EntryKind::Command, MIB)];
        let mut offer = |log: u64, then: u64| {
            let mut message = append(&two);
            let former = reserve.admits(&mut message, up_to(log))?;
            reserve.charge(&former, up_to(then));
            Some(left(&message))
        };
        for _ in 0..9 {
            assert_eq!(offer(10, 10), Some(2), "who did not take it owes nothing for it");
        }
        assert_eq!(offer(10, 12), Some(2));
        assert_eq!(offer(12, 12), Some(2), "they are there already");
        assert_eq!(offer(10, 12), Some(2), "4 MiB, and what stands beside the payloads");
        assert_eq!(offer(10, 12), None);
        let begins = reserve.admits(&mut append(&[(2, EntryKind::Noop, 0)]), up_to(10));
        assert_eq!(begins, Some(vec![]));
        let large = Reserve::new(9).admits(&mut append(&[(1, EntryKind::Command, MIB)]), up_to(10));
        assert!(large.is_some(), "nobody else would take it either");
    }
}
