//! The receiver's side: which snapshot is coming in, and which chunk it wants next.
//!
//! Chunks go to the store in their order; what comes twice is ignored. It outlives its connection, not its process.

use super::Header;

/// A chunk came before the one that is wanted. The sender is broken or not ours: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunk {got} came where {wanted} was wanted")]
pub struct Gap {
    /// What came.
    pub got: u64,
    /// What was wanted.
    pub wanted: u64,
}

/// One snapshot on its way in.
#[derive(Debug)]
pub struct Incoming {
    /// What the sender said before the first chunk.
    pub header: Header,
    next: u64,
    bytes: u64,
}

impl Incoming {
    /// Nothing has come yet.
    pub fn new(header: Header) -> Incoming {
        Incoming { header, next: 0, bytes: 0 }
    }

    /// The chunk that is wanted next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of chunks so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A chunk has come; whether it is the one that is wanted. If not, it came before.
    pub fn take(&mut self, number: u64, bytes: usize) -> Result<bool, Gap> {
        if number > self.next {
            return Err(Gap { got: number, wanted: self.next });
        }
        let wanted = number == self.next;
        if wanted {
            self.next += 1;
            self.bytes += bytes as u64;
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::entry::LogId;
    use raft::ids::{GroupId, ReplicaId, Term};

    #[test]
    fn chunks_are_taken_once_and_in_order() {
        let (group, from, to, term) = (GroupId(1), ReplicaId(1), ReplicaId(2), Term(1));
        let header = Header { group, from, to, term, id: 7, last: LogId::default(), membership: vec![] };
        let mut incoming = Incoming::new(header);
        assert_eq!(incoming.take(0, 10), Ok(true));
        assert_eq!(incoming.take(0, 10), Ok(false));
        assert_eq!(incoming.take(2, 10), Err(Gap { got: 2, wanted: 1 }));
        assert_eq!((incoming.next(), incoming.bytes()), (1, 10));
    }
}
