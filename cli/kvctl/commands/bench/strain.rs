//! Whether the load generator itself held a run back.
//!
//! Its threads are busy, or want a CPU and get none, or wait for answers. A thread that never waits for answers
//! measures itself. In open loop a request may also leave late, although there was room for it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

/// A request that leaves later than this after it was due is late.
pub const LATE: Duration = Duration::from_millis(1);
/// Above this share of its time a thread has nothing left.
const SHARE_MAX: f64 = 0.9;
/// Above this share of late requests their lateness shows in the 99th percentile.
const LATE_SHARE_MAX: f64 = 0.01;

/// What the calling thread has used so far, as the scheduler counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadTime {
    pub running: Duration,
    /// Ready to run, and no CPU was free.
    pub waiting: Duration,
}

impl ThreadTime {
    /// `None` where the kernel does not count it.
    pub fn now() -> Option<ThreadTime> {
        ThreadTime::parse(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    /// What was used between `before` and this.
    pub fn since(self, before: ThreadTime) -> ThreadTime {
        ThreadTime {
            running: self.running.saturating_sub(before.running),
            waiting: self.waiting.saturating_sub(before.waiting),
        }
    }

    // Nanoseconds running, nanoseconds waiting, time slices.
    fn parse(text: &str) -> Option<ThreadTime> {
        let mut numbers = text.split_whitespace().map(|word| word.parse().ok().map(Duration::from_nanos));
        Some(ThreadTime { running: numbers.next()??, waiting: numbers.next()?? })
    }
}

/// How one thread, or all of them, fared while figures were counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strain {
    pub threads: u32,
    /// CPU time of all threads.
    pub cpu: Duration,
    /// The most of its time that any thread was running, and running or waiting for a CPU; unknown if not counted.
    pub running_max: Option<f64>,
    pub wanting_max: Option<f64>,
    /// Requests sent in open loop.
    pub sent: u64,
    /// Of them, late ones for which there was room.
    pub late: u64,
    /// Of them, those that were due while every client waited for its answers.
    pub held_back: u64,
    /// Requests due and not sent at the end.
    pub behind: u64,
}

impl Strain {
    /// One thread's, that used `used` while `elapsed` went by.
    pub fn of_thread(used: Option<ThreadTime>, elapsed: Duration) -> Strain {
        let share = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        Strain {
            threads: 1,
            cpu: used.map_or(Duration::ZERO, |used| used.running),
            running_max: used.map(|used| share(used.running)),
            wanting_max: used.map(|used| share(used.running + used.waiting)),
            ..Strain::default()
        }
    }

    pub fn add(&mut self, other: &Strain) {
        let higher = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(b.map_or(a, |b| a.max(b))));
        self.threads += other.threads;
        self.cpu += other.cpu;
        self.running_max = higher(self.running_max, other.running_max);
        self.wanting_max = higher(self.wanting_max, other.wanting_max);
        self.sent += other.sent;
        self.late += other.late;
        self.held_back += other.held_back;
        self.behind += other.behind;
    }

    /// Sentences about what makes the figures those of the generator, or of fewer requests than were wanted.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let (Some(running), Some(wanting)) = (self.running_max, self.wanting_max)
            && wanting > SHARE_MAX
        {
            let why = if running > SHARE_MAX {
                "more --threads and --connections would help where CPUs are free"
            } else {
                "it shares its CPUs with others that are as busy"
            };
            warnings.push(format!(
                "a thread of this load generator was busy {:.0} % of the time, {:.0} % with the wait for a CPU: the \
                 figures are its own too ({why})",
                running * 100.0,
                wanting * 100.0
            ));
        }
        if self.late as f64 > self.sent as f64 * LATE_SHARE_MAX {
            warnings.push(format!(
                "{} of {} requests left more than {} ms late because this load generator did not get to them; their \
                 latency counts it",
                self.late,
                self.sent,
                LATE.as_millis()
            ));
        }
        if self.held_back > 0 {
            warnings.push(format!(
                "{} of {} requests were due while all clients waited for answers; their latency counts the wait",
                self.held_back, self.sent
            ));
        }
        if self.behind > 0 {
            warnings.push(format!("{} requests were due and not sent when the run ended", self.behind));
        }
        warnings
    }

    pub fn json(&self) -> Value {
        let rounded = |share: Option<f64>| share.map(|share| (share * 1e4).round() / 1e4);
        json!({
            "threads": self.threads,
            "cpu_seconds": self.cpu.as_secs_f64(),
            "running_share_max": rounded(self.running_max),
            "running_or_waiting_share_max": rounded(self.wanting_max),
            "late": self.late,
            "held_back": self.held_back,
            "behind": self.behind,
            "warnings": self.warnings(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(running_ms: u64, waiting_ms: u64) -> Strain {
        let (running, waiting) = (Duration::from_millis(running_ms), Duration::from_millis(waiting_ms));
        Strain::of_thread(Some(ThreadTime { running, waiting }), Duration::from_secs(1))
    }

    #[test]
    fn the_kernels_line_is_understood() {
        let time = ThreadTime::parse("168981 7270976 2\n");
        let wanted = ThreadTime { running: Duration::from_nanos(168_981), waiting: Duration::from_nanos(7_270_976) };
        assert_eq!(time, Some(wanted));
        assert_eq!(ThreadTime::parse(""), None);
        assert_eq!(ThreadTime::parse("1 x 2"), None);
    }

    #[test]
    fn one_busy_thread_among_idle_ones_is_noticed() {
        let mut all = Strain::default();
        for one in [thread(100, 0), thread(950, 10), thread(200, 0)] {
            all.add(&one);
        }
        assert_eq!((all.threads, all.cpu), (3, Duration::from_millis(1_250)));
        let warnings = all.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("busy 95 %"), "{warnings:?}");
        assert!(warnings[0].contains("more --threads"), "{warnings:?}");
    }

    #[test]
    fn a_thread_that_gets_no_cpu_is_noticed_too() {
        assert!(thread(200, 750).warnings()[0].contains("shares its CPUs"));
        assert!(thread(200, 300).warnings().is_empty());
    }

    #[test]
    fn late_and_held_back_requests_are_told_apart() {
        let late = Strain { sent: 1_000, late: 11, ..thread(0, 0) };
        assert!(late.warnings()[0].contains("11 of 1000 requests left more than 1 ms late"), "{late:?}");
        let few = Strain { sent: 1_000, late: 10, ..thread(0, 0) };
        assert!(few.warnings().is_empty());
        let held = Strain { sent: 1_000, held_back: 1, behind: 2, ..thread(0, 0) };
        assert_eq!(held.warnings().len(), 2);
    }

    #[test]
    fn without_the_kernels_count_nothing_is_claimed() {
        let unknown = Strain::of_thread(None, Duration::from_secs(1));
        assert!(unknown.warnings().is_empty());
        assert!(unknown.json()["running_share_max"].is_null());
    }
}
