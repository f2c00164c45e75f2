//! Which key comes next: numbers of keys by a distribution, and the keys of those numbers.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::random::Random;
use super::zipfian::{Zipfian, scatter};

/// The key of a number below 2^48. Neighbouring numbers are far apart in key order, as if inserted in hashed order.
pub fn key(number: u64) -> Vec<u8> {
    const MASK: u64 = (1 << 48) - 1;
    // Each step can be undone, so no two numbers share a key.
    let mixed = ((number ^ (number >> 24)).wrapping_mul(0x9e37_79b9_7f4b)) & MASK;
    let mixed = ((mixed ^ (mixed >> 24)).wrapping_mul(0xbf58_476d_1ce5)) & MASK;
    format!("bench:{:012x}", mixed ^ (mixed >> 24)).into_bytes()
}

/// The keys that exist, and those that a run adds. Shared by the threads of a run.
#[derive(Debug)]
pub struct Population {
    next: AtomicU64,
    /// All numbers below it are there.
    count: AtomicU64,
    /// Numbers that were added before one below them.
    ahead: Mutex<BTreeSet<u64>>,
}

impl Population {
    pub fn new(keys: u64) -> Population {
        Population { next: AtomicU64::new(keys), count: AtomicU64::new(keys), ahead: Mutex::new(BTreeSet::new()) }
    }

    /// How many keys may be asked for.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The number of a new key.
    pub fn add(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The new key has been written, or never will be: then a read of it is a miss, and the others are not held back.
    pub fn added(&self, number: u64) {
        let mut ahead = self.ahead.lock().expect("no thread of a run panics");
        ahead.insert(number);
        let mut count = self.count();
        while ahead.remove(&count) {
            count += 1;
        }
        self.count.store(count, Ordering::Relaxed);
    }
}

/// Draws numbers of existing keys.
#[derive(Clone, Debug)]
pub enum Chooser {
    /// Each of the keys there were at the beginning, equally often.
    Uniform { keys: u64 },
    /// Some much more often. They stay the same while keys are added: ranks fall on `space` numbers, of which those
    /// that are not there yet are drawn again.
    Zipfian { ranks: Zipfian, space: u64 },
    /// The newest most often.
    Latest { ranks: Zipfian },
}

impl Chooser {
    pub fn uniform(keys: u64) -> Chooser {
        Chooser::Uniform { keys }
    }

    /// Over `keys` keys now and at most `more` later.
    pub fn zipfian(keys: u64, more: u64) -> Chooser {
        Chooser::Zipfian { ranks: Zipfian::scattered(), space: keys + more }
    }

    pub fn latest(keys: u64) -> Chooser {
        Chooser::Latest { ranks: Zipfian::over(keys) }
    }

    pub fn draw(&mut self, random: &mut Random, population: &Population) -> u64 {
        match self {
            Chooser::Uniform { keys } => random.below(*keys),
            Chooser::Zipfian { ranks, space } => loop {
                let number = scatter(ranks.rank(random.fraction())) % *space;
                if number < population.count() {
                    return number;
                }
            },
            Chooser::Latest { ranks } => {
                let count = population.count();
                ranks.grow_to(count);
                count - 1 - ranks.rank(random.fraction())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_share_a_key_and_neighbours_are_apart() {
        let keys: Vec<Vec<u8>> = (0..50_000).map(key).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(keys.iter().all(|key| key.len() == 18));
        let ascending = keys.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!(ascending.abs_diff(keys.len() / 2) < keys.len() / 20, "{ascending}");
    }

    #[test]
    fn a_key_counts_when_all_before_it_have_come() {
        let population = Population::new(10);
        assert_eq!([population.add(), population.add(), population.add()], [10, 11, 12]);
        population.added(12);
        population.added(11);
        assert_eq!(population.count(), 10);
        population.added(10);
        assert_eq!(population.count(), 13);
    }

    /// Counts of `draws` drawn numbers of a population that stays as it is.
    fn drawn(mut chooser: Chooser, keys: u64, draws: usize) -> Vec<usize> {
        let (population, mut random) = (Population::new(keys), Random::new(7));
        let mut seen = vec![0; keys as usize];
        for _ in 0..draws {
            seen[chooser.draw(&mut random, &population) as usize] += 1;
        }
        seen
    }

    #[test]
    fn the_newest_key_is_the_most_read_under_latest() {
        let seen = drawn(Chooser::latest(1_000), 1_000, 200_000);
        // 1 / zeta(1000) of all draws.
        assert!(seen[999].abs_diff(25_870) < 1_000, "{}", seen[999]);
        assert!(seen[999] > seen[998] && seen[998] > seen[900], "{:?}", &seen[990..]);
    }

    #[test]
    fn latest_follows_the_keys_that_are_added() {
        let (population, mut random, mut chooser) = (Population::new(100), Random::new(3), Chooser::latest(100));
        for _ in 0..1_000 {
            population.added(population.add());
        }
        let newest = (0..10_000).filter(|_| chooser.draw(&mut random, &population) == 1_099).count();
        assert!(newest > 1_000, "{newest}");
    }

    #[test]
    fn zipfian_favours_few_keys_that_do_not_change_when_keys_are_added() {
        let most_read = |keys: u64| {
            let (population, mut random) = (Population::new(keys), Random::new(5));
            let mut chooser = Chooser::zipfian(1_000, 1_000);
            let mut seen = vec![0usize; 2_000];
            for _ in 0..100_000 {
                seen[chooser.draw(&mut random, &population) as usize] += 1;
            }
            assert!(seen[keys as usize..].iter().all(|count| *count == 0), "a key that is not there yet was drawn");
            let mut order: Vec<usize> = (0..1_000).collect();
            order.sort_by_key(|number| std::cmp::Reverse(seen[*number]));
            (order[0], seen[order[0]])
        };
        let ((before, count), (after, _)) = (most_read(1_000), most_read(1_500));
        assert_eq!(before, after);
        // The first rank alone is 1 of 26.5 draws.
        assert!(count > 3_500, "{count}");
    }

    #[test]
    fn uniform_knows_no_favourites() {
        let seen = drawn(Chooser::uniform(100), 100, 100_000);
        assert!(seen.iter().all(|count| count.abs_diff(1_000) < 200), "{seen:?}");
    }
}
