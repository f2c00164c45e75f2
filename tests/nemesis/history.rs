//! What clients asked and were told, and whether one order of all of it explains every answer.
//!
//! Keys are independent, so each is judged alone, by `porcupine-rs`. An operation whose outcome is unknown may take
//! effect at any time after it was sent, or never: it stays open for ever. A key that cannot be judged in time counts
//! as a violation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

/// How long the judgement of one key may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value; none is written twice.
pub type Value = u64;

/// What was asked of a key, and what the client was told of it. `None` inside of `old` and `seen`: the key was absent.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A read, and what it saw.
    Get {
        /// The value.
        seen: Option<Value>,
    },
    /// A write.
    Put {
        /// The new value.
        value: Value,
        /// The value before, if the client knows it.
        old: Option<Option<Value>>,
    },
    /// A removal.
    Delete {
        /// The value before, if the client knows it.
        old: Option<Option<Value>>,
    },
    /// A compare-and-swap.
    Swap {
        /// What must be there.
        expect: Option<Value>,
        /// What shall be there.
        set: Value,
        /// What became of it, if the client knows.
        outcome: Option<Swapped>,
    },
}

/// What became of a compare-and-swap.
#[derive(Clone, Debug, PartialEq)]
pub enum Swapped {
    /// It was as expected.
    Done,
    /// There was something else: what, if the client knows.
    Refused(Option<Option<Value>>),
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which client.
    pub client: u32,
    /// Which key.
    pub key: u32,
    /// When it was asked, in nanoseconds.
    pub called: i64,
    /// When it was answered; `None`: it never was.
    pub answered: Option<i64>,
    /// What.
    pub asked: Asked,
}

#[derive(Clone, Debug)]
struct Register;

impl Model for Register {
    type State = Option<Value>;
    type Op = Asked;
    type Metadata = ();

    fn init() -> Option<Value> {
        None
    }

    fn step(state: &Option<Value>, asked: &Asked) -> (bool, Option<Value>) {
        let fits = |known: &Option<Option<Value>>| known.as_ref().is_none_or(|known| known == state);
        match asked {
            Asked::Get { seen } => (seen == state, *state),
            Asked::Put { value, old } => (fits(old), Some(*value)),
            Asked::Delete { old } => (fits(old), None),
            Asked::Swap { expect, set, outcome } => {
                let matches = expect == state;
                let after = if matches { Some(*set) } else { *state };
                match outcome {
                    None => (true, after),
                    Some(Swapped::Done) => (matches, after),
                    Some(Swapped::Refused(seen)) => (!matches && fits(seen), after),
                }
            }
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Operations judged.
    pub operations: usize,
    /// Keys judged.
    pub keys: usize,
    /// Operations without an answer.
    pub ambiguous: usize,
    /// Keys that no order explains.
    pub illegal: Vec<u32>,
    /// Keys that could not be judged in time.
    pub unknown: Vec<u32>,
}

/// Judges a history.
pub fn judge(history: &[Event]) -> Verdict {
    let mut keys: BTreeMap<u32, Vec<Operation<Register>>> = BTreeMap::new();
    let mut verdict = Verdict { operations: history.len(), ..Verdict::default() };
    for event in history {
        verdict.ambiguous += usize::from(event.answered.is_none());
        keys.entry(event.key).or_default().push(Operation {
            client_id: Some(event.client),
            call_time: event.called,
            return_time: event.answered.unwrap_or(i64::MAX),
            op: event.asked.clone(),
            metadata: None,
        });
    }
    verdict.keys = keys.len();
    for (key, operations) in keys {
        match check_operations_timeout(&operations, PATIENCE) {
            CheckResult::Ok => {}
            CheckResult::Illegal => verdict.illegal.push(key),
            CheckResult::Unknown => verdict.unknown.push(key),
        }
    }
    verdict
}

/// Judges a history and panics unless all of it is explained; the keys at fault are written to a file.
pub fn assert_linearizable(history: &[Event]) -> Verdict {
    let verdict = judge(history);
    let faulty: Vec<&u32> = verdict.illegal.iter().chain(&verdict.unknown).collect();
    if !faulty.is_empty() {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}.txt", std::process::id()));
        let mut events: Vec<&Event> = history.iter().filter(|event| faulty.contains(&&event.key)).collect();
        events.sort_by_key(|event| (event.key, event.called));
        let lines: String = events.iter().map(|event| format!("{event:?}\n")).collect();
        std::fs::write(&file, lines).expect("the history is written");
        panic!("not linearizable: {:?} illegal, {:?} unknown; {}", verdict.illegal, verdict.unknown, file.display());
    }
    verdict
}
