//! Whether the operations on one key can have happened one after another.
//!
//! Wing and Gong's search with Lowe's memory of configurations that led nowhere. A value is a number here,
//! unique to the write that made it; an operation whose outcome nobody learnt may have happened at any time after it
//! began, or never. Knows nothing of groups, sessions or logs.

use std::collections::BTreeSet;

/// The value of a key; `None`: there is none.
pub type Value = Option<u64>;

/// One operation on one key.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When it was first asked.
    pub begun: u64,
    /// When the answer was there; `None`: never.
    pub ended: Option<u64>,
    /// What it did, or would do.
    pub did: Did,
    /// The answer is known.
    pub happened: bool,
}

/// What an operation does to the value of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Nothing at all, it was not carried out.
    Nothing,
    /// Found this.
    Find(Value),
    /// Made it this, whatever it was.
    Make(Value),
    /// Made it `to`, and found `from`.
    Replace {
        /// What was there.
        from: Value,
        /// What is there now.
        to: Value,
    },
    /// It was `from` and became `to`.
    Swap {
        /// What was there.
        from: Value,
        /// What is there now.
        to: Value,
    },
    /// It was not this.
    Differ(Value),
    /// If it was `from`, it became `to`.
    MaybeSwap {
        /// What may have been there.
        from: Value,
        /// What it then became.
        to: Value,
    },
}

/// Configurations tried before the search gives up: far more than any history of ours needs.
const STEPS_MAX: usize = 2_000_000;

impl Did {
    /// The value after it, if it can happen at `value`.
    fn after(self, value: Value) -> Option<Value> {
        match self {
            Did::Nothing => Some(value),
            Did::Find(found) => (found == value).then_some(value),
            Did::Make(to) => Some(to),
            Did::Replace { from, to } | Did::Swap { from, to } => (from == value).then_some(to),
            Did::Differ(other) => (other != value).then_some(value),
            Did::MaybeSwap { from, to } => Some(if from == value { to } else { value }),
        }
    }

    /// The value it may leave behind that nothing else leaves.
    fn makes(self) -> Value {
        match self {
            Did::Make(to) | Did::Replace { to, .. } | Did::Swap { to, .. } | Did::MaybeSwap { to, .. } => to,
            _ => None,
        }
    }

    /// The value it may have seen.
    fn saw(self) -> Value {
        match self {
            Did::Find(value) | Did::Replace { from: value, .. } => value,
            Did::Swap { from, .. } | Did::MaybeSwap { from, .. } => from,
            _ => None,
        }
    }
}

/// Whether `calls`, in the order in which they began, are linearizable. If not, says how far they are.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let mut calls: Vec<Call> = calls.to_vec();
    loop {
        // An operation of unknown outcome whose value nobody ever saw explains nothing: it may as well not have happened.
        // Only who merely learnt what was not there may have met any value.
        if calls.iter().any(|call| matches!(call.did, Did::Differ(_))) {
            break;
        }
        let seen: BTreeSet<u64> = calls.iter().filter_map(|call| call.did.saw()).collect();
        let before = calls.len();
        calls.retain(|call| {
            let explains = call.did.makes().is_none_or(|value| seen.contains(&value));
            call.did != Did::Nothing && (call.happened || explains)
        });
        if calls.len() == before {
            break;
        }
    }
    calls.retain(|call| call.did != Did::Nothing);
    calls.sort_by_key(|call| call.begun);
    Search::new(&calls).run()
}

struct Search<'a> {
    calls: &'a [Call],
    /// Which calls have happened, one bit each.
    done: Vec<u64>,
    /// Everything before this has happened.
    first: usize,
    /// The calls in the order tried, with the value before each.
    path: Vec<(usize, Value)>,
    failed: BTreeSet<(Vec<u64>, Value)>,
    longest: usize,
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Call]) -> Search<'a> {
        let done = vec![0; calls.len().div_ceil(64)];
        Search { calls, done, first: 0, path: Vec::new(), failed: BTreeSet::new(), longest: 0 }
    }

    fn run(mut self) -> Result<(), String> {
        let mut value = None;
        let mut from = 0;
        for _ in 0..STEPS_MAX {
            let Some(until) = self.earliest_end() else { return Ok(()) };
            match self.next(from, until, value) {
                Some((call, after)) => {
                    self.path.push((call, value));
                    self.longest = self.longest.max(self.path.len());
                    value = after;
                    from = self.first;
                }
                None => {
                    let Some((call, before)) = self.path.pop() else { return Err(self.report()) };
                    self.done[call / 64] &= !(1 << (call % 64));
                    self.first = self.first.min(call);
                    value = before;
                    from = call + 1;
                }
            }
        }
        Err(format!("undecided after {STEPS_MAX} steps over {} operations", self.calls.len()))
    }

    fn is_done(&self, call: usize) -> bool {
        self.done[call / 64] & 1 << (call % 64) != 0
    }

    /// The earliest end among those that must still happen; whatever begins later must wait. `None`: all have.
    fn earliest_end(&mut self) -> Option<u64> {
        while self.first < self.calls.len() && self.is_done(self.first) {
            self.first += 1;
        }
        let mut earliest: Option<u64> = None;
        for (number, call) in self.calls.iter().enumerate().skip(self.first) {
            if earliest.is_some_and(|earliest| call.begun > earliest) {
                break;
            }
            if let Some(ended) = call.ended.filter(|_| !self.is_done(number)) {
                earliest = Some(earliest.map_or(ended, |earliest| earliest.min(ended)));
            }
        }
        earliest
    }

    /// The next call from number `from` on that can happen now and leads somewhere new; it has happened then.
    fn next(&mut self, from: usize, until: u64, value: Value) -> Option<(usize, Value)> {
        for number in from.max(self.first)..self.calls.len() {
            let call = &self.calls[number];
            if call.begun > until {
                break;
            }
            let Some(after) = (!self.is_done(number)).then(|| call.did.after(value)).flatten() else { continue };
            // One that changes nothing and need not happen is no step.
            if !call.happened && after == value {
                continue;
            }
            self.done[number / 64] |= 1 << (number % 64);
            if self.failed.insert((self.done.clone(), after)) {
                return Some((number, after));
            }
            self.done[number / 64] &= !(1 << (number % 64));
        }
        None
    }

    fn report(&self) -> String {
        let stuck = self.calls.iter().enumerate().filter(|(number, _)| !self.is_done(*number)).take(12);
        let stuck: Vec<String> =
            stuck.map(|(_, call)| format!("{:?} from {} to {:?}", call.did, call.begun, call.ended)).collect();
        format!("at most {} of {} operations fit; the first are {}", self.longest, self.calls.len(), stuck.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begun: u64, ended: u64, did: Did) -> Call {
        Call { begun, ended: (ended > 0).then_some(ended), did, happened: ended > 0 }
    }

    #[test]
    fn overlapping_operations_may_take_either_order() {
        let calls = [call(1, 5, Did::Make(Some(1))), call(2, 6, Did::Make(Some(2))), call(7, 8, Did::Find(Some(1)))];
        assert_eq!(check(&calls), Ok(()));
    }

    #[test]
    fn a_lost_write_is_found() {
        let calls = [call(1, 2, Did::Make(Some(1))), call(3, 4, Did::Make(Some(2))), call(5, 6, Did::Find(Some(1)))];
        assert!(check(&calls).is_err());
    }

    #[test]
    fn a_stale_read_is_found() {
        let calls = [call(1, 2, Did::Make(Some(1))), call(3, 4, Did::Find(None))];
        assert!(check(&calls).is_err());
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never() {
        let late = [
            call(1, 0, Did::Make(Some(1))),
            call(2, 3, Did::Find(None)),
            call(4, 5, Did::Find(Some(1))),
            call(6, 7, Did::Find(Some(1))),
        ];
        assert_eq!(check(&late), Ok(()));
        assert_eq!(check(&late[..2]), Ok(()));
    }

    #[test]
    fn a_write_that_happens_twice_is_found() {
        let calls = [
            call(1, 2, Did::Make(Some(1))),
            call(3, 4, Did::Make(Some(2))),
            call(5, 6, Did::Find(Some(2))),
            call(7, 8, Did::Find(Some(1))),
        ];
        assert!(check(&calls).is_err());
    }

    #[test]
    fn a_swap_needs_what_it_expects() {
        let swap = Did::Swap { from: Some(1), to: Some(2) };
        let good = [call(1, 2, Did::Make(Some(1))), call(3, 4, swap), call(5, 6, Did::Find(Some(2)))];
        assert_eq!(check(&good), Ok(()));
        let bad = [call(1, 2, Did::Make(Some(3))), call(3, 4, swap)];
        assert!(check(&bad).is_err());
        let differ = [call(1, 2, Did::Make(Some(3))), call(3, 4, Did::Differ(Some(3)))];
        assert!(check(&differ).is_err());
    }

    /// Tries every order of every subset that holds what must have happened.
    fn possible(calls: &[Call], done: u32, value: Value) -> bool {
        let open = |number: &usize| done & 1 << number == 0;
        let must = (0..calls.len()).filter(open).filter(|number| calls[*number].happened);
        let Some(earliest) = must.filter_map(|number| calls[number].ended).min() else { return true };
        (0..calls.len()).filter(open).filter(|number| calls[*number].begun <= earliest).any(|number| {
            let after = calls[number].did.after(value);
            after.is_some_and(|after| possible(calls, done | 1 << number, after))
        })
    }

    #[test]
    fn the_search_agrees_with_trying_everything() {
        let mut random = crate::random::Random::new(7);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let mut calls: Vec<Call> = Vec::new();
            for number in 1..=random.between(1, 7) {
                let (some, to) = (Some(random.between(1, 7)).filter(|value| *value < 7), Some(number));
                let did = match random.below(7) {
                    0 | 1 => Did::Find(some),
                    2 => Did::Make(to),
                    3 => Did::Make(None),
                    4 => Did::Replace { from: some, to },
                    5 => Did::Swap { from: some, to },
                    _ => Did::Differ(some),
                };
                let begun = random.between(1, 20);
                let known = random.per_mille(750);
                let unknown = match did {
                    Did::Make(to) => Did::Make(to),
                    _ => Did::MaybeSwap { from: some, to },
                };
                calls.push(Call {
                    begun,
                    ended: known.then(|| begun + random.between(1, 9)),
                    did: if known { did } else { unknown },
                    happened: known,
                });
            }
            calls.sort_by_key(|call| call.begun);
            let expected = possible(&calls, 0, None);
            assert_eq!(check(&calls).is_ok(), expected, "{calls:?}");
            *(if expected { &mut good } else { &mut bad }) += 1;
        }
        assert!(good > 1_000 && bad > 1_000, "{good} good, {bad} bad");
    }
}
