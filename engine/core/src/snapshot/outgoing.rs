//! The sender's side: chunks that were read from the store and that the receiver has not written yet.
//!
//! Only so many are kept; the next one is read when there is room. A broken connection loses nothing: what is
//! kept is what the receiver can still ask for.

use super::{End, Header};
use std::collections::VecDeque;
use std::rc::Rc;

/// Chunks that may be read and not yet written by the receiver: 1 MiB.
pub const WINDOW_CHUNKS: usize = 4;

/// The receiver asks for a chunk that is kept no more, or that never was: it has lost what it had. Take a new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver asks for chunk {asked}, those from {kept} to {read} are kept")]
pub struct CannotResume {
    /// What it asks for.
    pub asked: u64,
    /// The first chunk that is kept.
    pub kept: u64,
    /// The first chunk that was not read yet.
    pub read: u64,
}

/// What goes out next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// A chunk under its number.
    Chunk(u64, Rc<[u8]>),
    /// That was all.
    End(End),
}

/// One snapshot on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// What was said before the first chunk.
    pub header: Header,
    kept: VecDeque<Rc<[u8]>>,
    /// Chunks the receiver has written: the number of the first in `kept`.
    written: u64,
    /// What this connection sends next; `None` until the receiver has said where to go on.
    next: Option<u64>,
    reading: bool,
    end: Option<End>,
    end_sent: bool,
}

impl Outgoing {
    /// Nothing is read and nobody connected yet.
    pub fn new(header: Header) -> Outgoing {
        Outgoing { header, kept: VecDeque::new(), written: 0, next: None, reading: false, end: None, end_sent: false }
    }

    /// Whether the next chunk should be read from the store now. Saying so counts as having asked for it.
    pub fn wants_chunk(&mut self) -> bool {
        let wanted = !self.reading && self.end.is_none() && self.kept.len() < WINDOW_CHUNKS;
        self.reading |= wanted;
        wanted
    }

    /// A chunk has been read; `end` with the last one, which may be empty.
    pub fn read(&mut self, chunk: Vec<u8>, end: Option<End>) {
        assert!(std::mem::take(&mut self.reading), "a chunk of snapshot {} that nobody asked for", self.header.id);
        if !chunk.is_empty() {
            self.kept.push_back(chunk.into());
        }
        self.end = end;
    }

    /// A connection stands, and the receiver wants to go on at `chunk`.
    pub fn resume(&mut self, chunk: u64) -> Result<(), CannotResume> {
        let read = self.written + self.kept.len() as u64;
        if chunk < self.written || chunk > read {
            return Err(CannotResume { asked: chunk, kept: self.written, read });
        }
        self.next = Some(chunk);
        self.end_sent = false;
        Ok(())
    }

    /// The connection is lost.
    pub fn interrupted(&mut self) {
        self.next = None;
    }

    /// The receiver has written everything before `chunk`. What it cannot have written is ignored.
    pub fn written(&mut self, chunk: u64) {
        while self.written < chunk && self.next.is_some_and(|next| self.written < next) {
            self.kept.pop_front();
            self.written += 1;
        }
    }

    /// Whether the receiver has something to answer: where to go on, that it has written a chunk, or that all is installed. If not, it
    /// is silent because nothing more has been read.
    pub fn awaits_answer(&self) -> bool {
        self.next.is_none_or(|next| next > self.written) || self.end_sent
    }

    /// What may be sent now; `None` until something changes.
    pub fn next_to_send(&mut self) -> Option<Send> {
        let next = self.next?;
        if let Some(chunk) = self.kept.get((next - self.written) as usize) {
            self.next = Some(next + 1);
            return Some(Send::Chunk(next, chunk.clone()));
        }
        let end = self.end.filter(|_| !self.end_sent)?;
        self.end_sent = true;
        Some(Send::End(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::entry::LogId;
    use raft::ids::{GroupId, ReplicaId, Term};

    fn outgoing(chunks: u64) -> Outgoing {
        let header = Header {
            group: GroupId(1),
            from: ReplicaId(1),
            to: ReplicaId(2),
            term: Term(1),
            id: 7,
            last: LogId::default(),
            membership: vec![],
        };
        let mut outgoing = Outgoing::new(header);
        for chunk in 0..chunks {
            assert!(outgoing.wants_chunk());
            outgoing.read(vec![chunk as u8], None);
        }
        outgoing
    }

    fn number(sent: Option<Send>) -> Option<u64> {
        match sent {
            Some(Send::Chunk(number, _)) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn no_more_is_read_than_the_window_takes() {
        let mut outgoing = outgoing(WINDOW_CHUNKS as u64);
        assert!(!outgoing.wants_chunk());
        outgoing.resume(0).expect("a fresh receiver begins at 0");
        outgoing.written(1);
        assert!(!outgoing.wants_chunk(), "what was not sent cannot have been written");
        assert_eq!(number(outgoing.next_to_send()), Some(0));
        outgoing.written(1);
        assert!(outgoing.wants_chunk());
    }

    #[test]
    fn after_an_interruption_it_goes_on_where_the_receiver_is() {
        let mut outgoing = outgoing(3);
        outgoing.resume(0).expect("a fresh receiver begins at 0");
        assert_eq!([0, 1, 2].map(|_| number(outgoing.next_to_send())), [Some(0), Some(1), Some(2)]);
        outgoing.written(1);
        outgoing.interrupted();
        assert_eq!(outgoing.next_to_send(), None);
        outgoing.resume(2).expect("chunk 2 is kept");
        assert_eq!(number(outgoing.next_to_send()), Some(2));
        assert_eq!(outgoing.next_to_send(), None);
        assert!(outgoing.wants_chunk());
        let end = End { chunks: 3, digest: 5 };
        outgoing.read(vec![], Some(end));
        assert_eq!(outgoing.next_to_send(), Some(Send::End(end)));
        assert_eq!(outgoing.next_to_send(), None);
        outgoing.interrupted();
        outgoing.resume(3).expect("only the end is missing");
        assert_eq!(outgoing.next_to_send(), Some(Send::End(end)), "the end may have been lost, too");
    }

    #[test]
    fn a_receiver_owes_an_answer_to_what_was_sent_only() {
        let mut outgoing = outgoing(1);
        assert!(outgoing.awaits_answer(), "where shall it go on?");
        outgoing.resume(0).expect("a fresh receiver begins at 0");
        assert!(!outgoing.awaits_answer(), "nothing was sent yet");
        assert_eq!(number(outgoing.next_to_send()), Some(0));
        assert!(outgoing.awaits_answer());
        outgoing.written(1);
        assert!(outgoing.wants_chunk());
        assert!(!outgoing.awaits_answer(), "the store takes its time for the next chunk");
        let end = End { chunks: 1, digest: 5 };
        outgoing.read(vec![], Some(end));
        assert_eq!(outgoing.next_to_send(), Some(Send::End(end)));
        assert!(outgoing.awaits_answer(), "has it installed it?");
        outgoing.interrupted();
        outgoing.resume(1).expect("only the end is missing");
        assert!(!outgoing.awaits_answer());
    }

    #[test]
    fn a_receiver_that_lost_what_it_had_cannot_resume() {
        let mut outgoing = outgoing(3);
        outgoing.resume(0).expect("a fresh receiver begins at 0");
        while outgoing.next_to_send().is_some() {}
        outgoing.written(2);
        assert_eq!(outgoing.resume(0), Err(CannotResume { asked: 0, kept: 2, read: 3 }));
        assert_eq!(outgoing.resume(9), Err(CannotResume { asked: 9, kept: 2, read: 3 }));
    }
}
