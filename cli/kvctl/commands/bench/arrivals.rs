//! When requests are due in an open loop, whatever becomes of those before them.

use std::time::Duration;

use super::random::Random;
use crate::args::BenchArrivals;

/// The moments at which one thread's requests are due, counted from the start of the run.
#[derive(Clone, Debug)]
pub struct Arrivals {
    gap_seconds: f64,
    pattern: Pattern,
}

#[derive(Clone, Debug)]
enum Pattern {
    /// The next is number `number`, `phase` of a gap behind the start of its gap.
    Even {
        number: u64,
        phase: f64,
    },
    Poisson {
        random: Random,
        next_seconds: f64,
    },
}

impl Arrivals {
    /// The arrivals of thread `thread` of `threads` that offer `rate` requests a second together.
    pub fn new(kind: BenchArrivals, rate: f64, thread: u32, threads: u32, seed: u64) -> Arrivals {
        let gap_seconds = f64::from(threads) / rate;
        let pattern = match kind {
            // The threads take turns, so that all of them together are even too.
            BenchArrivals::Even => Pattern::Even { number: 0, phase: f64::from(thread) / f64::from(threads) },
            BenchArrivals::Poisson => Pattern::Poisson { random: Random::new(seed), next_seconds: 0.0 },
        };
        let mut arrivals = Arrivals { gap_seconds, pattern };
        if kind == BenchArrivals::Poisson {
            arrivals.advance();
        }
        arrivals
    }

    /// When the next request is due.
    pub fn next(&self) -> Duration {
        let seconds = match &self.pattern {
            // From the number, not by adding up: rounding errors do not grow.
            Pattern::Even { number, phase } => (*number as f64 + phase) * self.gap_seconds,
            Pattern::Poisson { next_seconds, .. } => *next_seconds,
        };
        Duration::from_secs_f64(seconds)
    }

    /// It has been sent: on to the one behind it.
    pub fn advance(&mut self) {
        match &mut self.pattern {
            Pattern::Even { number, .. } => *number += 1,
            Pattern::Poisson { random, next_seconds } => {
                *next_seconds -= (1.0 - random.fraction()).ln() * self.gap_seconds;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn until(mut arrivals: Arrivals, end: Duration) -> Vec<Duration> {
        let mut due = Vec::new();
        while arrivals.next() < end {
            due.push(arrivals.next());
            arrivals.advance();
        }
        due
    }

    #[test]
    fn even_arrivals_of_all_threads_together_are_even() {
        let mut all: Vec<Duration> = (0..3)
            .flat_map(|thread| until(Arrivals::new(BenchArrivals::Even, 1_000.0, thread, 3, 0), Duration::from_secs(2)))
            .collect();
        all.sort();
        assert_eq!(all.len(), 2_000);
        for (number, due) in all.iter().enumerate() {
            let wanted = Duration::from_millis(number as u64);
            assert!(due.abs_diff(wanted) < Duration::from_nanos(10), "{number}: {due:?}");
        }
    }

    #[test]
    fn even_arrivals_do_not_drift() {
        let mut arrivals = Arrivals::new(BenchArrivals::Even, 3.0, 0, 1, 0);
        for _ in 0..3_000_000 {
            arrivals.advance();
        }
        assert!(arrivals.next().abs_diff(Duration::from_secs(1_000_000)) < Duration::from_micros(1));
    }

    #[test]
    fn the_first_arrivals_of_the_lowest_rate_are_moments_whatever_the_threads() {
        for kind in [BenchArrivals::Even, BenchArrivals::Poisson] {
            for thread in 0..4_096 {
                let mut arrivals = Arrivals::new(kind, 1e-6, thread, 4_096, u64::from(thread));
                for _ in 0..100 {
                    assert!(Instant::now().checked_add(arrivals.next()).is_some(), "{kind:?}: {arrivals:?}");
                    arrivals.advance();
                }
            }
        }
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_spread_as_poisson_says() {
        let due = until(Arrivals::new(BenchArrivals::Poisson, 4_000.0, 1, 2, 9), Duration::from_secs(50));
        assert!(due.is_sorted());
        assert!(due.len().abs_diff(100_000) < 1_500, "{}", due.len());
        // As many gaps above the mean as e says, and a variance of counts that equals their mean.
        let mean = 1.0 / 2_000.0;
        let long = due.windows(2).filter(|pair| (pair[1] - pair[0]).as_secs_f64() > mean).count();
        assert!((long as f64 / due.len() as f64 - (-1.0_f64).exp()).abs() < 0.01, "{long}");
        let mut counts = vec![0.0_f64; 5_000];
        due.iter().for_each(|due| counts[(due.as_millis() / 10) as usize] += 1.0);
        let average = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|count| (count - average).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((variance / average - 1.0).abs() < 0.1, "{variance} {average}");
    }
}
