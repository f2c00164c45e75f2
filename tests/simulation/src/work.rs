//! What clients do: the operations, what they would do to each key, and what an answer says they did.

use crate::happening::Reply;
use crate::linear::{Did, Value};
use crate::plan::Plan;
use crate::random::Random;
use engine_core::command::{BatchOperation, Operation, Outcome};
use engine_core::shard::Query;
use raft::ids::GroupId;
use std::collections::BTreeMap;

/// One operation. Keys are positions in the plan's list.
#[derive(Clone, Debug)]
pub enum Work {
    /// Read a key.
    Get {
        /// Which.
        key: usize,
    },
    /// Read all keys of a group.
    Scan {
        /// Which these are.
        keys: Vec<usize>,
    },
    /// Write a key.
    Put {
        /// Which.
        key: usize,
        /// What.
        value: Vec<u8>,
        /// Whether to ask what was there.
        old: bool,
    },
    /// Remove a key.
    Delete {
        /// Which.
        key: usize,
        /// Whether to ask what was there.
        old: bool,
    },
    /// Compare and swap.
    Swap {
        /// Which key.
        key: usize,
        /// What must be there.
        expect: Option<Vec<u8>>,
        /// What shall be there.
        set: Option<Vec<u8>>,
    },
    /// Write several keys of a group at once.
    Batch {
        /// Which, and what.
        puts: Vec<(usize, Vec<u8>)>,
    },
}

/// What an answer says.
#[derive(Clone, Debug)]
pub struct Learnt {
    /// What was done to each key of the operation, in order.
    pub did: Vec<Did>,
    /// The values seen.
    pub seen: Vec<(usize, Option<Vec<u8>>)>,
}

/// The next operation of a client that has `seen` some values.
pub fn invent(plan: &Plan, seen: &BTreeMap<usize, Option<Vec<u8>>>, random: &mut Random) -> Work {
    let plain = plan.keys.len() - plan.counters;
    let last = |key: usize| seen.get(&key).cloned().flatten();
    if random.per_mille(150) {
        let key = plain + random.below(plan.counters as u64) as usize;
        if random.per_mille(250) {
            return Work::Get { key };
        }
        let expect = last(key);
        let count = expect.as_deref().map_or(0, count_of) + 1;
        return Work::Swap { key, expect, set: Some(value(count, random)) };
    }
    let key = random.below(plain as u64) as usize;
    let old = random.per_mille(400);
    match random.below(100) {
        0..38 => Work::Get { key },
        38..43 => Work::Scan { keys: neighbours(plan, key) },
        43..75 => Work::Put { key, value: value(0, random), old },
        75..82 => Work::Delete { key, old },
        82..95 => {
            let set = (!random.per_mille(150)).then(|| value(0, random));
            Work::Swap { key, expect: last(key), set }
        }
        _ => {
            let keys = neighbours(plan, key).into_iter().filter(|key| *key < plain).take(3);
            Work::Batch { puts: keys.map(|key| (key, value(0, random))).collect() }
        }
    }
}

/// All keys of a key's group.
fn neighbours(plan: &Plan, key: usize) -> Vec<usize> {
    let group = plan.ring.group_of(&plan.keys[key]);
    (0..plan.keys.len()).filter(|other| plan.ring.group_of(&plan.keys[*other]) == group).collect()
}

/// A value nobody wrote before: a number drawn for it, a count, and bytes that follow from both.
fn value(count: u64, random: &mut Random) -> Vec<u8> {
    let number = random.number();
    let length = if random.per_mille(120) { random.between(60, 900) } else { random.between(16, 40) } as usize;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.resize(length, (number ^ count) as u8);
    bytes
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// The number of a value, if it is one of ours, unharmed.
fn number_of(bytes: &[u8]) -> Result<u64, String> {
    let (number, filler) = (word(bytes, 0), (word(bytes, 0) ^ word(bytes, 8)) as u8);
    let whole = bytes.len() >= 16 && bytes[16..].iter().all(|byte| *byte == filler);
    if whole { Ok(number) } else { Err(format!("a value of {} bytes that nobody wrote", bytes.len())) }
}

/// How far a counter has counted.
pub fn count_of(bytes: &[u8]) -> u64 {
    word(bytes, 8)
}

fn known(value: Option<&[u8]>) -> Result<Value, String> {
    value.map(number_of).transpose()
}

fn made(value: &[u8]) -> Value {
    Some(word(value, 0))
}

impl Work {
    /// The keys it is about.
    pub fn keys(&self) -> Vec<usize> {
        match self {
            Work::Get { key } | Work::Put { key, .. } | Work::Delete { key, .. } | Work::Swap { key, .. } => vec![*key],
            Work::Scan { keys } => keys.clone(),
            Work::Batch { puts } => puts.iter().map(|(key, _)| *key).collect(),
        }
    }

    /// What it may do to each of its keys, as long as nothing is known.
    pub fn begins(&self) -> Vec<(usize, Did)> {
        match self {
            Work::Get { key } => vec![(*key, Did::Nothing)],
            Work::Scan { keys } => keys.iter().map(|key| (*key, Did::Nothing)).collect(),
            Work::Put { key, value, .. } => vec![(*key, Did::Make(made(value)))],
            Work::Delete { key, .. } => vec![(*key, Did::Make(None))],
            Work::Swap { key, expect, set } => {
                let from = expect.as_deref().and_then(made);
                vec![(*key, Did::MaybeSwap { from, to: set.as_deref().and_then(made) })]
            }
            Work::Batch { puts } => puts.iter().map(|(key, value)| (*key, Did::Make(made(value)))).collect(),
        }
    }

    /// The command, if it is a write.
    pub fn operation(&self, keys: &[Vec<u8>]) -> Option<Operation> {
        Some(match self {
            Work::Get { .. } | Work::Scan { .. } => return None,
            Work::Put { key, value, old } => {
                Operation::Put { key: keys[*key].clone(), value: value.clone(), return_old: *old }
            }
            Work::Delete { key, old } => Operation::Delete { key: keys[*key].clone(), return_old: *old },
            Work::Swap { key, expect, set } => {
                Operation::CompareAndSwap { key: keys[*key].clone(), expect: expect.clone(), set: set.clone() }
            }
            Work::Batch { puts } => {
                let put = |(key, value): &(usize, Vec<u8>)| BatchOperation::Put {
                    key: keys[*key].clone(),
                    value: value.clone(),
                };
                Operation::Batch { operations: puts.iter().map(put).collect() }
            }
        })
    }

    /// The query, if it is a read.
    pub fn query(&self, keys: &[Vec<u8>]) -> Query {
        match self {
            Work::Get { key } => Query::Get { key: keys[*key].clone() },
            _ => Query::Scan { start: Vec::new(), end: None, limit: 1000 },
        }
    }

    /// What an answer says of it; an error if it is no answer to it at all.
    pub fn learn(&self, reply: &Reply, plan: &Plan) -> Result<Learnt, String> {
        let (mut did, mut seen) = (Vec::new(), Vec::new());
        match (self, reply) {
            (Work::Get { key }, Reply::Value(value)) => {
                did.push(Did::Find(known(value.as_deref())?));
                seen.push((*key, value.clone()));
            }
            (Work::Scan { keys }, Reply::Page(entries)) => {
                let group: Option<GroupId> = keys.first().map(|key| plan.ring.group_of(&plan.keys[*key]));
                if let Some((stray, _)) = entries.iter().find(|(key, _)| Some(plan.ring.group_of(key)) != group) {
                    return Err(format!("an entry of another group: {stray:?}"));
                }
                for key in keys {
                    let found = entries.iter().find(|(name, _)| *name == plan.keys[*key]);
                    let value = found.map(|(_, value)| value.clone());
                    did.push(Did::Find(known(value.as_deref())?));
                    seen.push((*key, value));
                }
            }
            (Work::Swap { key, expect, set }, Reply::Outcome(outcome)) => {
                let from = expect.as_deref().and_then(made);
                match outcome {
                    Outcome::Swapped => {
                        did.push(Did::Swap { from, to: set.as_deref().and_then(made) });
                        seen.push((*key, set.clone()));
                    }
                    Outcome::Mismatch { current } => {
                        let found = known(current.as_deref())?;
                        if found == from {
                            return Err("a mismatch of what matches".into());
                        }
                        did.push(Did::Find(found));
                        seen.push((*key, current.clone()));
                    }
                    // A swap's result is always kept: this one had not swapped.
                    Outcome::AlreadyApplied => did.push(Did::Differ(from)),
                    other => return Err(format!("{other:?}")),
                }
            }
            (Work::Put { old, .. } | Work::Delete { old, .. }, Reply::Outcome(outcome)) => {
                let to = self.begins()[0].1;
                did.push(match (outcome, to) {
                    (Outcome::Old(from), Did::Make(to)) if *old => Did::Replace { from: known(from.as_deref())?, to },
                    (Outcome::Done, to) if !*old => to,
                    (Outcome::AlreadyApplied, to) => to,
                    (other, _) => return Err(format!("{other:?}")),
                });
            }
            (Work::Batch { .. }, Reply::Outcome(Outcome::Done | Outcome::AlreadyApplied)) => {
                did.extend(self.begins().into_iter().map(|(_, did)| did));
            }
            (_, other) => return Err(format!("{other:?}")),
        }
        Ok(Learnt { did, seen })
    }
}
