//! The zipfian distribution as the Yahoo! Cloud Serving Benchmark draws it.
//!
//! Rank k (from 1) is drawn with a probability of about 1 / k^0.99, by the inversion of Gray et al., "Quickly
//! Generating Billion-Record Synthetic Databases" (SIGMOD 1994): exact for the first two ranks, a smooth curve for the
//! rest. The benchmark scatters ranks over the keys with a hash, so that popular keys are not neighbours.

/// The skew of every workload of the benchmark.
pub const THETA: f64 = 0.99;
/// The benchmark draws ranks of this many items, however many keys there are, and folds them onto the keys.
const SCATTERED_ITEMS: u64 = 10_000_000_000;
/// Terms of a zeta sum that are added one by one; the rest is an integral.
const TERMS_ADDED: u64 = 1_000;

/// Draws ranks.
#[derive(Clone, Debug)]
pub struct Zipfian {
    items: u64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    /// Ranks of `items` items, at least 1.
    pub fn over(items: u64) -> Zipfian {
        assert!(items > 0, "a rank of nothing");
        Zipfian::with_zeta(items, zeta(items))
    }

    /// The ranks that are scattered over the keys.
    pub fn scattered() -> Zipfian {
        Zipfian::over(SCATTERED_ITEMS)
    }

    fn with_zeta(items: u64, zeta: f64) -> Zipfian {
        let two = 1.0 + 0.5_f64.powf(THETA);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - two / zeta);
        Zipfian { items, zeta, eta }
    }

    /// From now on ranks of so many items; not fewer than before.
    pub fn grow_to(&mut self, items: u64) {
        if items > self.items {
            let added: f64 = (self.items + 1..=items).map(|k| (k as f64).powf(-THETA)).sum();
            *self = Zipfian::with_zeta(items, self.zeta + added);
        }
    }

    /// The rank, from 0 on, that `fraction` (0 to 1) falls on.
    pub fn rank(&self, fraction: f64) -> u64 {
        let scaled = fraction * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * fraction - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.items - 1)
    }
}

/// The sum of 1 / k^0.99 for k from 1 to `n`: the first terms as they are, the rest by Euler and Maclaurin.
fn zeta(n: u64) -> f64 {
    let few = n.min(TERMS_ADDED);
    let sum: f64 = (1..=few).map(|k| (k as f64).powf(-THETA)).sum();
    if few == n {
        return sum;
    }
    let (m, n) = (few as f64, n as f64);
    let integral = (n.powf(1.0 - THETA) - m.powf(1.0 - THETA)) / (1.0 - THETA);
    let ends = (n.powf(-THETA) - m.powf(-THETA)) / 2.0;
    let slopes = THETA / 12.0 * (m.powf(-THETA - 1.0) - n.powf(-THETA - 1.0));
    sum + integral + ends + slopes
}

/// The FNV-1a hash of a number's eight bytes, lowest first, without its sign: how the benchmark scatters.
pub fn scatter(number: u64) -> u64 {
    let hash = number
        .to_le_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash as i64).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    /// The benchmark's own constant for ten billion items.
    const ZETA_SCATTERED: f64 = 26.469_028_201_783_02;

    #[test]
    fn the_sum_is_that_of_the_benchmark() {
        assert!((zeta(SCATTERED_ITEMS) - ZETA_SCATTERED).abs() < 1e-9, "{}", zeta(SCATTERED_ITEMS));
        let one_by_one: f64 = (1..=5_000u64).map(|k| (k as f64).powf(-THETA)).sum();
        assert!((zeta(5_000) - one_by_one).abs() < 1e-9, "{} {one_by_one}", zeta(5_000));
    }

    /// How often ranks up to `k` should be drawn of `items`.
    fn expected(k: u64, items: u64) -> f64 {
        zeta(k) / zeta(items)
    }

    #[test]
    fn ranks_follow_the_definition() {
        const DRAWS: usize = 1_000_000;
        for items in [10, 1_000, 100_000] {
            let (zipfian, mut random) = (Zipfian::over(items), Random::new(items));
            let mut seen = vec![0usize; items as usize];
            for _ in 0..DRAWS {
                seen[zipfian.rank(random.fraction()) as usize] += 1;
            }
            let (mut so_far, mut next) = (0, 1);
            for (rank, count) in seen.iter().enumerate() {
                so_far += count;
                if rank as u64 + 1 == next {
                    let share = so_far as f64 / DRAWS as f64;
                    // Exact up to the second rank; behind it the inversion is off by less than 2 in 100.
                    let tolerance = if next <= 2 { 0.002 } else { 0.02 };
                    assert!((share - expected(next, items)).abs() < tolerance, "{next} of {items}: {share}");
                    next *= 2;
                }
            }
        }
    }

    #[test]
    fn growing_is_the_same_as_starting_large() {
        let mut grown = Zipfian::over(900);
        grown.grow_to(1_100);
        grown.grow_to(50);
        let large = Zipfian::over(1_100);
        assert!((grown.zeta - large.zeta).abs() < 1e-9 && (grown.eta - large.eta).abs() < 1e-9, "{grown:?} {large:?}");
    }

    #[test]
    fn no_rank_lies_outside() {
        for items in 1..=20 {
            let zipfian = Zipfian::over(items);
            for step in 0..=1_000 {
                assert!(zipfian.rank(f64::from(step) / 1_000.0) < items, "{step} of {items}");
            }
        }
    }

    #[test]
    fn scattering_is_fnv_over_eight_bytes() {
        // Computed with another program from the published offset basis and prime.
        assert_eq!(scatter(0), FNV_OF_0);
        assert_eq!(scatter(1), FNV_OF_1);
        assert_eq!(scatter(9_999_999_999), FNV_OF_LARGE);
    }

    const FNV_OF_0: u64 = 6_284_781_860_667_377_211;
    const FNV_OF_1: u64 = 8_517_097_267_634_966_620;
    const FNV_OF_LARGE: u64 = 3_605_131_173_811_637_474;
}
