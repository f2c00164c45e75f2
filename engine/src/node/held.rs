//! When the answers to a client wait for others to the same client.
//!
//! A send and its receipt cost several microseconds whatever they carry. A core that is busy with many requests sends
//! an answer or two to each of many connections at the end of a turn, and the rest of the same clients' answers a turn
//! or two later. So while most of what a client waits for is under way, what is ready waits for it, two turns at
//! the most, and a moment if no turn follows. A client with one request in flight never waits, nor does anyone on a core that has
//! little to do.

use std::cell::Cell;
use std::time::Duration;

/// Answers wait only on a core that has this many requests in flight.
const BUSY: usize = 32;

/// How many turns answers wait at the most.
const TURNS_MAX: u32 = 2;

/// How long answers wait at the most, and up to as long again, as timers count milliseconds; some turns of a busy core.
pub const TIME_MAX: Duration = Duration::from_millis(1);

/// With more bytes than this a send is worth its price.
const BYTES_MAX: usize = 16 << 10;

/// The answers to one client since the last send.
#[derive(Debug, Default)]
pub struct Held {
    answers: Cell<usize>,
    turns: Cell<u32>,
}

impl Held {
    /// Another answer is ready.
    pub fn add(&self) {
        self.answers.set(self.answers.get() + 1);
    }

    /// At the end of a turn: whether they wait for the end of the next. The core has `core` requests in flight, the client
    /// `client`, and `bytes` bytes are to be sent to it.
    pub fn wait(&self, core: usize, client: usize, bytes: usize) -> bool {
        let waits = core >= BUSY && client > self.answers.get() && bytes < BYTES_MAX && self.turns.get() < TURNS_MAX;
        self.turns.set(self.turns.get() + u32::from(waits));
        waits
    }

    /// All are sent.
    pub fn sent(&self) {
        self.answers.set(0);
        self.turns.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many answers that wait for a send.
    fn held(answers: usize) -> Held {
        let held = Held::default();
        (0..answers).for_each(|_| held.add());
        held
    }

    #[test]
    fn an_answer_waits_for_more_of_the_same_client() {
        assert!(held(1).wait(BUSY, 2, 300));
        assert!(held(7).wait(BUSY, 8, 300));
    }

    #[test]
    fn nobody_waits_for_nothing() {
        assert!(!held(1).wait(BUSY, 0, 300), "it is all the client waits for");
        assert!(!held(8).wait(BUSY, 8, 300), "half of its answers are ready");
        assert!(!held(1).wait(BUSY - 1, 15, 300), "the core has little to do");
        assert!(!held(1).wait(BUSY, 15, BYTES_MAX), "there is much to send");
    }

    #[test]
    fn answers_wait_two_turns_and_then_again_after_a_send() {
        let held = held(1);
        for _ in 0..2 {
            assert!(held.wait(BUSY, 15, 300));
            assert!(held.wait(BUSY, 15, 300));
            assert!(!held.wait(BUSY, 15, 300));
            held.sent();
            held.add();
        }
    }
}
