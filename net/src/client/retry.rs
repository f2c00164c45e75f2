//! When to try again: jittered exponential pauses, and a budget that keeps retries from drowning a sick cluster.

use super::options::ClientOptions;
use std::time::Duration;

/// Retries the budget holds when full: enough to move everything in flight to a new leader once.
const BUDGET_MAX: u32 = 10_000;

/// What an answered request pays in, in hundredths of a retry: at most one retry for five answers in the long run.
const PAID_PER_ANSWER: u32 = 20;

/// Decides how long to wait before a retry. Deterministic given its seed.
#[derive(Debug)]
pub(super) struct Retry {
    state: u64,
    backoff: Duration,
    backoff_max: Duration,
    /// In hundredths of a retry.
    budget: u32,
}

impl Retry {
    pub(super) fn new(options: &ClientOptions, seed: u64) -> Retry {
        let (backoff, backoff_max) = (options.backoff, options.backoff_max.max(options.backoff));
        Retry { state: seed, backoff, backoff_max, budget: BUDGET_MAX * 100 }
    }

    /// A request was answered: retries become affordable again.
    pub(super) fn answered(&mut self) {
        self.budget = (self.budget + PAID_PER_ANSWER).min(BUDGET_MAX * 100);
    }

    /// The pause before attempt number `attempt` (1 is the first retry). With the budget spent, every pause is the
    /// longest: the client goes on trying until its deadline, but slowly.
    pub(super) fn pause(&mut self, attempt: u32) -> Duration {
        let longest = if self.budget < 100 {
            self.backoff_max
        } else {
            self.budget -= 100;
            self.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.backoff_max)
        };
        let half = longest / 2;
        half + half.mul_f64(self.fraction())
    }

    /// A number below `bound`, which must not be 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
