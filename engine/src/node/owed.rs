//! How many bytes of answers may wait for the clients of a core.
//!
//! An answer is as long as the value it brings, whatever its request took, and a client may have thousands of requests in
//! flight. A client that is owed much, or a little on a core that owes all of them together too much, gets short answers until
//! it has read some: a read is refused as busy, and a write is answered without what was there before it. As answers that are
//! short add up, too, it is not read from while the core owes too much. Whoever reads what it
//! is sent is served whatever the others do.

use super::clients::RETRY_AFTER_MS;
use engine_core::sessions::{self, RESULT_BYTES_MAX};
use net::response::{Refusal, Response};
use std::cell::Cell;

/// What a client may be owed, in units of what its requests in flight may take: it is not read from long before.
const CLIENT_FACTOR: usize = 4;

/// Whoever is owed less than this reads its answers.
pub const LITTLE_BYTES: usize = 64 << 10;

/// What a core owes.
#[derive(Debug, Default)]
pub struct Owed {
    bytes: usize,
    bytes_max: usize,
    /// The turn in which everything was counted anew.
    counted: u64,
}

/// What one client is counted for.
#[derive(Debug, Default)]
pub struct Share(Cell<usize>);

impl Owed {
    /// Nothing is owed, and at most `bytes_max` bytes may be, about.
    pub fn new(bytes_max: usize) -> Owed {
        Owed { bytes: 0, bytes_max, counted: 0 }
    }

    /// A client is owed `bytes` bytes now.
    pub fn note(&mut self, share: &Share, bytes: usize) {
        self.bytes = self.bytes + bytes - share.0.replace(bytes);
    }

    /// Whether a client that is owed `bytes` bytes, and whose requests may take `inflight_max`, gets short answers. What clients
    /// have read meanwhile is not told: if it seems too much in `turn`, all `shares` are looked at once, with what they are owed.
    pub fn is_too_much<'a>(
        &mut self,
        bytes: usize,
        inflight_max: usize,
        turn: u64,
        shares: impl Iterator<Item = (&'a Share, usize)>,
    ) -> bool {
        if self.bytes >= self.bytes_max && self.counted != turn {
            self.counted = turn;
            shares.for_each(|(share, bytes)| self.note(share, bytes));
        }
        bytes >= CLIENT_FACTOR * inflight_max || (self.bytes >= self.bytes_max && bytes >= LITTLE_BYTES)
    }
}

/// What is answered in place of `response`, if that is long.
pub fn short(response: &Response) -> Option<Response> {
    match response {
        Response::Value(Some(value)) if value.len() > RESULT_BYTES_MAX => Some(busy()),
        Response::Page { .. } | Response::Status(_) => Some(busy()),
        Response::Outcome(outcome) => Some(Response::Outcome(sessions::kept(outcome))),
        _ => None,
    }
}

/// The same for a frame that another core has made, of which only its length is known. Whoever asked asks again, and is answered as a
/// retry if that was a write.
pub fn short_frame(frame: &[u8]) -> Option<Response> {
    (frame.len() > 4 * RESULT_BYTES_MAX).then_some(Response::Refused(Refusal::OutcomeUnknown))
}

/// What a read is answered that cannot be served now.
pub fn busy() -> Response {
    Response::Refused(Refusal::Busy { retry_after_ms: RETRY_AFTER_MS })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::command::Outcome;

    const MIB: usize = 1 << 20;

    #[test]
    fn one_client_is_owed_no_more_than_its_part() {
        let mut owed = Owed::new(1_000 * MIB);
        let share = Share::default();
        for bytes in [0, 31 * MIB, 33 * MIB, 5 * MIB] {
            owed.note(&share, bytes);
            assert_eq!(owed.is_too_much(bytes, 8 * MIB, 1, std::iter::empty()), bytes > 32 * MIB);
        }
        assert_eq!(owed.bytes, 5 * MIB);
    }

    #[test]
    fn all_clients_together_are_counted_anew_once_a_turn() {
        let mut owed = Owed::new(100 * MIB);
        let shares: Vec<Share> = (0..4).map(|_| Share::default()).collect();
        let looked = Cell::new(0);
        let all = |bytes: usize| {
            looked.set(looked.get() + 1);
            shares.iter().map(move |share| (share, bytes))
        };
        shares.iter().for_each(|share| owed.note(share, 30 * MIB));
        assert!(owed.is_too_much(MIB, 8 * MIB, 1, all(26 * MIB)), "104 MiB");
        assert!(!owed.is_too_much(LITTLE_BYTES - 1, 8 * MIB, 1, all(26 * MIB)), "it reads");
        assert_eq!(owed.bytes, 104 * MIB);
        assert!(owed.is_too_much(MIB, 8 * MIB, 1, all(0)), "once a turn");
        assert!(!owed.is_too_much(MIB, 8 * MIB, 2, all(20 * MIB)));
        assert!(!owed.is_too_much(MIB, 8 * MIB, 3, all(90 * MIB)), "there is no reason to look");
        assert_eq!(owed.bytes, 80 * MIB);
    }

    #[test]
    fn short_answers_say_nothing_false() {
        let long = vec![7; RESULT_BYTES_MAX + 1];
        assert_eq!(short(&Response::Value(Some(long.clone()))), Some(busy()));
        assert_eq!(short(&Response::Value(Some(vec![7]))), None);
        assert_eq!(short(&Response::Value(None)), None);
        assert_eq!(short(&Response::Done), None);
        let outcome = |outcome| short(&Response::Outcome(outcome));
        let gone = Some(Response::Outcome(Outcome::AlreadyApplied));
        assert_eq!(outcome(Outcome::Old(Some(long.clone()))), gone);
        assert_eq!(outcome(Outcome::Mismatch { current: Some(long) }), gone);
        assert_eq!(outcome(Outcome::Swapped), Some(Response::Outcome(Outcome::Swapped)));
        assert_eq!(short_frame(&[0; 100]), None);
        assert!(short_frame(&[0; 1_000]).is_some());
    }
}
