//! When a replica loses patience with its leader.
//!
//! Time is a count of ticks. Each attempt at an election waits for a span drawn anew between half the
//! election timeout and the whole of it, so that two replicas seldom stand at once (paper section 5.2). A
//! replica whose pre-votes are refused again and again waits longer each time (rule 24): it
//! is behind or cut off, and asking more often would help nobody.

/// How often a wait may double after refusals: eight times the drawn span at most.
const DOUBLINGS_MAX: u32 = 3;

/// The patience of one replica. Seeded: the same seed waits the same spans.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Timeouts {
    now: u64,
    deadline: u64,
    span: u64,
    minimum: u64,
    maximum: u64,
    refusals: u32,
    random: u64,
}

impl Timeouts {
    /// Starts at tick 0 with a first span already drawn. `election_ticks` is the longest span.
    pub(crate) fn new(seed: u64, election_ticks: u32) -> Timeouts {
        let maximum = u64::from(election_ticks);
        let mut timeouts = Timeouts {
            now: 0,
            deadline: 0,
            span: 0,
            minimum: (maximum / 2).max(1),
            maximum,
            refusals: 0,
            random: seed,
        };
        timeouts.draw();
        timeouts
    }

    /// Ticks since this replica was started.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The shortest span that can be drawn. Within it after a sign of life no other leader is supported.
    pub(crate) fn minimum(&self) -> u64 {
        self.minimum
    }

    /// One tick passes.
    pub(crate) fn advance(&mut self) {
        self.now += 1;
    }

    /// So many ticks passed while nobody counted them.
    pub(crate) fn pass(&mut self, ticks: u64) {
        self.now += ticks;
    }

    /// Whether the span is over.
    pub(crate) fn expired(&self) -> bool {
        self.now >= self.deadline
    }

    /// A new span, from now on.
    pub(crate) fn draw(&mut self) {
        let drawn = self.minimum + self.next_random() % (self.maximum - self.minimum + 1);
        // The first refusal costs nothing: it is often only a beat that reached the others a moment later.
        self.span = drawn << self.refusals.saturating_sub(1).min(DOUBLINGS_MAX);
        self.deadline = self.now + self.span;
    }

    /// The leader lives: the same span again, from now on, and former refusals are forgotten.
    pub(crate) fn heard_leader(&mut self) {
        if self.refusals > 0 {
            self.refusals = 0;
            self.draw();
        }
        self.deadline = self.now + self.span;
    }

    /// The leader was last heard so many ticks ago: the rest of the span is left, a tick at least.
    pub(crate) fn silent_for(&mut self, ticks: u64) {
        self.deadline = (self.now + self.span).saturating_sub(ticks).max(self.now + 1);
    }

    /// A majority would not have voted for this replica.
    pub(crate) fn refused(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
    }

    /// A majority would have voted for this replica.
    pub(crate) fn supported(&mut self) {
        self.refusals = 0;
    }

    /// SplitMix64: small, even, and any seed will do.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_fill_the_range_and_never_leave_it() {
        let mut timeouts = Timeouts::new(7, 10);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            timeouts.draw();
            seen.insert(timeouts.span);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), vec![5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn refusals_lengthen_the_wait_up_to_a_limit_and_a_leader_ends_them() {
        let mut timeouts = Timeouts::new(7, 10);
        for _ in 0..100 {
            timeouts.refused();
            timeouts.draw();
            assert!(timeouts.span <= 80, "span {}", timeouts.span);
        }
        assert!(timeouts.span >= 40, "span {}", timeouts.span);
        timeouts.heard_leader();
        assert!(timeouts.span <= 10, "span {}", timeouts.span);
    }
}
