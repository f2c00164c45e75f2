//! Reads without a round while nobody else can have been elected (thesis 6.4.1, rule 10).
//!
//! Who confirms a round stays loyal: it supports nobody else for E/2 of its own ticks from then on, whatever becomes of it.
//! A later leader needs a vote of somebody in the quorum that confirmed. So none is there before E/2 after that round *began*,
//! and the leader's clock tells when that was. The lease is shorter by two ticks: the first of a span may be nearly over
//! when the question comes, and clocks do not run alike.
//!
//! It ends with the leadership, and when a successor is told to stand without waiting: that word may arrive at any later
//! time, and voters follow it.

use std::collections::VecDeque;

/// Rounds whose beginnings are remembered. The oldest are forgotten first: a later one that is confirmed is worth more.
const ROUNDS_MAX: usize = 64;

/// The lease of one leader in one term. Times are of the host's clock, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// The round that began in this turn.
    fresh: Option<u64>,
    /// Rounds that are not confirmed yet, and when they began.
    begun: VecDeque<(u64, u64)>,
    until: u64,
    void: bool,
}

impl Lease {
    /// A round begins in this turn. It has been sent nowhere yet.
    pub(crate) fn begin(&mut self, round: u64) {
        self.fresh = Some(round);
    }

    /// The turn ends at `now`, 0 if that is not known: what began in it is sent from now on.
    pub(crate) fn stamp(&mut self, now: u64) {
        if let Some(round) = self.fresh.take()
            && now > 0
        {
            if self.begun.len() == ROUNDS_MAX {
                self.begun.pop_front();
            }
            self.begun.push_back((round, now));
        }
    }

    /// A quorum has confirmed `round`, and so every one before it: nobody else leads for `span` after it began.
    pub(crate) fn confirmed(&mut self, round: u64, span: u64) {
        while let Some(&(number, began)) = self.begun.front()
            && number <= round
        {
            self.until = self.until.max(began.saturating_add(span));
            self.begun.pop_front();
        }
    }

    /// Somebody may be elected at any time from now on, as long as this term lasts.
    pub(crate) fn give_up(&mut self) {
        self.void = true;
    }

    /// None holds, and no round that has begun brings one.
    pub(crate) fn forget(&mut self) {
        *self = Lease { void: self.void, ..Lease::default() };
    }

    /// Whether nobody else leads at `now`.
    pub(crate) fn holds(&self, now: u64) -> bool {
        !self.void && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(lease: &mut Lease, round: u64, now: u64) {
        lease.begin(round);
        lease.stamp(now);
    }

    #[test]
    fn a_lease_counts_from_the_beginning_of_a_confirmed_round() {
        let mut lease = Lease::default();
        assert!(!lease.holds(0));
        begin(&mut lease, 1, 1_000);
        lease.stamp(1_500);
        begin(&mut lease, 2, 2_000);
        assert!(!lease.holds(1_001), "nobody has confirmed anything");
        lease.confirmed(1, 100);
        assert!(lease.holds(1_099) && !lease.holds(1_100));
        lease.confirmed(1, 1_000_000);
        assert!(!lease.holds(1_100), "an answer counts once");
        lease.confirmed(9, 100);
        assert!(lease.holds(2_099) && !lease.holds(2_100));
    }

    #[test]
    fn a_round_without_a_time_counts_for_nothing() {
        let mut lease = Lease::default();
        begin(&mut lease, 1, 0);
        lease.stamp(1_000);
        lease.confirmed(1, 100);
        assert!(!lease.holds(1_001));
    }

    #[test]
    fn a_lease_that_was_given_up_never_holds_again() {
        let mut lease = Lease::default();
        begin(&mut lease, 1, 1_000);
        lease.confirmed(1, 100);
        lease.give_up();
        begin(&mut lease, 2, 1_050);
        lease.confirmed(2, 100);
        assert!(!lease.holds(1_060));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lease = Lease::default();
        (1..=1_000).for_each(|round| begin(&mut lease, round, round * 10));
        assert_eq!(lease.begun.len(), ROUNDS_MAX);
        lease.confirmed(1_000, 5);
        assert!(lease.holds(10_004) && !lease.holds(10_005));
    }
}
