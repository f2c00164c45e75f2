//! Chance, the same for the same seed.

/// SplitMix64 (Steele, Lea and Flood, 2014): every draw of a world comes from one of these.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The draws that belong to `seed`.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Small numbers often, large ones seldom: a delay between `low` and `high`.
    pub fn tailed(&mut self, low: u64, high: u64) -> u64 {
        let (a, b, c) = (self.between(low, high), self.between(low, high), self.between(low, high));
        a.min(b).min(c)
    }

    /// True this often in a thousand.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// The finalizer of SplitMix64: one bit in changes half the bits out.
pub fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
