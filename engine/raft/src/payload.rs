//! The bytes of an entry. Entries that come together lie together.
//!
//! A piece of memory for each entry costs a group that gets a dozen at once a dozen allocations, as many lines that have left the CPU's
//! caches when it takes them, and again when they are given back. So what comes in one message, or is proposed in one step, is copied in
//! as few pieces as [`PIECE_BYTES`] allows, and every payload is a part of one.

use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

/// A piece that several payloads are parts of has at most so many bytes: as long as any of them is held, all of it is.
pub const PIECE_BYTES: usize = 16 << 10;

/// Bytes that are shared, not copied, by all who hold them on one core.
#[derive(Clone)]
pub struct Payload {
    piece: Rc<[u8]>,
    from: u32,
    length: u32,
}

impl Payload {
    /// Whether it keeps the memory of the other one.
    pub fn lies_with(&self, other: &Payload) -> bool {
        Rc::ptr_eq(&self.piece, &other.piece)
    }

    /// What it keeps, in bytes.
    pub fn piece_bytes(&self) -> usize {
        self.piece.len()
    }
}

/// Makes payloads of parts of some bytes, which lie there one behind the other.
#[derive(Debug)]
pub struct Pieces<'a> {
    bytes: &'a [u8],
    /// What was copied last, and from where.
    piece: Option<(usize, Rc<[u8]>)>,
}

impl<'a> Pieces<'a> {
    /// Nothing is copied yet.
    pub fn of(bytes: &'a [u8]) -> Pieces<'a> {
        Pieces { bytes, piece: None }
    }

    /// The bytes at `part`, which must be there. `ends` says where the parts behind it end, which will be asked for next: those
    /// that fit are copied with it.
    pub fn payload(&mut self, part: Range<usize>, ends: impl IntoIterator<Item = usize>) -> Payload {
        if part.is_empty() {
            return Payload::from(&[][..]);
        }
        let holds = |(start, piece): &(usize, Rc<[u8]>)| *start <= part.start && part.end <= start + piece.len();
        if !self.piece.as_ref().is_some_and(holds) {
            let fit = ends.into_iter().take_while(|end| end - part.start <= PIECE_BYTES).last();
            self.piece = Some((part.start, self.bytes[part.start..fit.unwrap_or(part.end)].into()));
        }
        let (start, piece) = self.piece.as_ref().expect("it was just made");
        Payload { piece: piece.clone(), from: (part.start - start) as u32, length: part.len() as u32 }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.piece[self.from as usize..][..self.length as usize]
    }
}

impl From<Rc<[u8]>> for Payload {
    fn from(piece: Rc<[u8]>) -> Payload {
        let length = u32::try_from(piece.len()).expect("a payload of less than 4 GiB");
        Payload { piece, from: 0, length }
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Payload {
        Payload::from(Rc::<[u8]>::from(bytes))
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::from(Rc::<[u8]>::from(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Payload {
    fn from(bytes: [u8; N]) -> Payload {
        Payload::from(Rc::<[u8]>::from(bytes))
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What all of them keep.
    fn kept(payloads: &[Payload]) -> usize {
        let others = |at: usize| payloads[..at].iter().any(|before| before.lies_with(&payloads[at]));
        (0..payloads.len()).filter(|at| !others(*at)).map(|at| payloads[at].piece_bytes()).sum()
    }

    #[test]
    fn parts_that_fit_share_a_piece_and_nothing_is_copied_twice() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let mut pieces = Pieces::of(&bytes);
        let ends = [10, 10, 4_000, 16_000, 16_387, 16_388, 60_000, 60_001, 70_000, 99_000, 99_000, 100_000];
        let (mut start, mut made) = (3, Vec::<Payload>::new());
        for (at, end) in ends.into_iter().enumerate() {
            let payload = pieces.payload(start..end, ends[at + 1..].iter().copied());
            assert_eq!(*payload, bytes[start..end]);
            made.push(payload);
            start = end;
        }
        let shares: Vec<bool> = made.windows(2).map(|pair| pair[0].lies_with(&pair[1])).collect();
        assert_eq!(shares, [false, false, true, true, false, false, false, true, false, false, false]);
        assert!(made.iter().all(|payload| payload.piece_bytes() <= PIECE_BYTES.max(payload.len())));
        assert_eq!(kept(&made), 100_000 - 3);
        assert_eq!(Payload::from(vec![1, 2]), Payload::from([1, 2]));
        assert_ne!(Payload::from(vec![1, 2]), Payload::from([1]));
    }
}
