//! What was written and what was acknowledged, and so what a later read must find.
//!
//! A key has at most one write under way, so its versions are acknowledged in order. A write that was never
//! answered may have happened: until the next acknowledged one, the key may hold it as well.

use std::collections::BTreeMap;
use std::time::Instant;

/// What a kill meant for the groups it hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stall {
    /// The longest time around and after the kill in which no write to them was acknowledged.
    pub milliseconds: f64,
    /// Writes to them acknowledged before the kill.
    pub before: usize,
    /// And after the longest gap.
    pub after: usize,
}

struct Entry {
    key: String,
    base: String,
    group: u32,
    acknowledged: Option<u64>,
    /// Sent after the acknowledged one and never answered.
    possible: Vec<u64>,
    under_way: bool,
}

/// The books of one run.
pub struct Ledger {
    entries: Vec<Entry>,
    acknowledgements: Vec<(Instant, u32)>,
    unanswered: u64,
}

impl Ledger {
    /// Books for these keys and their first values; `group` says where a key lives.
    pub fn new(values: BTreeMap<String, String>, group: impl Fn(&[u8]) -> u32) -> Ledger {
        let entry = |(key, base): (String, String)| {
            let group = group(key.as_bytes());
            Entry { key, base, group, acknowledged: None, possible: Vec::new(), under_way: false }
        };
        Ledger { entries: values.into_iter().map(entry).collect(), acknowledgements: Vec::new(), unanswered: 0 }
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all keys and first values.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.key.len() + entry.base.len()).sum()
    }

    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledgements.len()
    }

    /// Writes that were not.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// The key at a position.
    pub fn key(&self, position: usize) -> &[u8] {
        self.entries[position].key.as_bytes()
    }

    /// The value of one version of the key at a position; version 0 is the value as it came, every other is unique.
    pub fn value(&self, position: usize, version: u64) -> Vec<u8> {
        let base = &self.entries[position].base;
        if version == 0 { base.clone().into_bytes() } else { format!("{base}\nDemo-Version: {version}\n").into_bytes() }
    }

    /// Takes the key at a position for a write; false while another write of it is under way.
    pub fn begin(&mut self, position: usize) -> bool {
        !std::mem::replace(&mut self.entries[position].under_way, true)
    }

    /// The write that was under way has been acknowledged.
    pub fn acknowledge(&mut self, position: usize, version: u64, now: Instant) {
        let entry = &mut self.entries[position];
        entry.acknowledged = Some(version);
        entry.possible.clear();
        entry.under_way = false;
        self.acknowledgements.push((now, entry.group));
    }

    /// The write that was under way has failed; `possible` if it may have happened all the same.
    pub fn give_up(&mut self, position: usize, version: u64, possible: bool) {
        let entry = &mut self.entries[position];
        entry.possible.extend(possible.then_some(version));
        entry.under_way = false;
        self.unanswered += 1;
    }

    /// Whether a read of the key at a position may find this.
    pub fn allows(&self, position: usize, found: Option<&[u8]>) -> bool {
        let entry = &self.entries[position];
        match found {
            None => entry.acknowledged.is_none(),
            Some(found) => {
                entry.acknowledged.iter().chain(&entry.possible).any(|version| self.value(position, *version) == found)
            }
        }
    }

    /// What a kill at `at` meant for writes to `groups`.
    pub fn stall(&self, groups: &[u32], at: Instant) -> Stall {
        let times: Vec<Instant> =
            self.acknowledgements.iter().filter(|(_, group)| groups.contains(group)).map(|(time, _)| *time).collect();
        let before = times.iter().filter(|time| **time < at).count();
        // An answer that was on its way when the node died may still come in: the stall is the longest gap from then on.
        let last = before.checked_sub(1).map_or(at, |last| times[last]);
        let (mut longest, mut resumed, mut previous) = (0.0, times.len(), last);
        for (position, time) in times.iter().enumerate().skip(before) {
            let gap = (*time - previous).as_secs_f64() * 1e3;
            if gap > longest {
                (longest, resumed) = (gap, position);
            }
            previous = *time;
        }
        Stall { milliseconds: longest, before, after: times.len() - resumed }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new(BTreeMap::from([("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())]), |_| 1)
    }

    #[test]
    fn a_lost_write_is_noticed() {
        let mut ledger = ledger();
        assert!(ledger.allows(0, None));
        ledger.acknowledge(0, 0, Instant::now());
        ledger.acknowledge(0, 7, Instant::now());
        assert!(ledger.allows(0, Some(&ledger.value(0, 7))));
        assert!(!ledger.allows(0, Some(&ledger.value(0, 0))), "an older version");
        assert!(!ledger.allows(0, None), "nothing");
        assert!(!ledger.allows(0, Some(&ledger.value(1, 7))), "another key's value");
    }

    #[test]
    fn an_unanswered_write_may_be_there_until_the_next_acknowledged_one() {
        let mut ledger = ledger();
        ledger.acknowledge(0, 1, Instant::now());
        ledger.give_up(0, 2, true);
        assert!(ledger.allows(0, Some(&ledger.value(0, 1))) && ledger.allows(0, Some(&ledger.value(0, 2))));
        ledger.acknowledge(0, 3, Instant::now());
        assert!(!ledger.allows(0, Some(&ledger.value(0, 2))));
    }

    #[test]
    fn the_stall_is_the_longest_gap_after_the_kill() {
        let mut ledger = ledger();
        let start = Instant::now();
        for at in [0, 500, 990, 1010, 2510, 2520] {
            ledger.acknowledge(0, 1, start + Duration::from_millis(at));
        }
        let stall = ledger.stall(&[1], start + Duration::from_millis(1000));
        assert_eq!((stall.milliseconds.round(), stall.before, stall.after), (1500.0, 3, 2));
    }
}
