//! What clients asked and what they were told, key by key.

use crate::linear::{self, Call, Did};
use crate::world::{Checked, Violation};
use std::collections::BTreeMap;

/// An operation on one key that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Begun {
    key: usize,
    position: usize,
}

/// All operations of a world, by the number of their key.
#[derive(Debug, Default)]
pub struct History {
    keys: BTreeMap<usize, Vec<Call>>,
}

impl History {
    /// An operation begins at `now`.
    pub fn begin(&mut self, key: usize, now: u64, did: Did) -> Begun {
        let calls = self.keys.entry(key).or_default();
        calls.push(Call { begun: now, ended: None, did, happened: false });
        Begun { key, position: calls.len() - 1 }
    }

    /// The operation has ended at `now`, and this is what is known of it.
    pub fn end(&mut self, begun: Begun, now: u64, did: Did) {
        let call = self.call(begun);
        (call.ended, call.did, call.happened) = (Some(now), did, true);
    }

    /// The operation certainly did nothing.
    pub fn forget(&mut self, begun: Begun) {
        self.call(begun).did = Did::Nothing;
    }

    fn call(&mut self, begun: Begun) -> &mut Call {
        &mut self.keys.get_mut(&begun.key).expect("it has begun")[begun.position]
    }

    /// Whether each key's operations can have happened one after another, each between its begin and its end.
    pub fn check(&self, names: &[Vec<u8>]) -> Checked {
        for (key, calls) in &self.keys {
            if let Err(why) = linear::check(calls) {
                let name = String::from_utf8_lossy(&names[*key]);
                return Err(Violation(format!("key {key} ({name:?}) is not linearizable: {why}")));
            }
        }
        Ok(())
    }

    /// A counter goes up by one with every swap and by nothing else: `found` swaps have happened.
    pub fn check_counter(&self, key: usize, found: u64) -> Checked {
        let calls = self.keys.get(&key).map_or(&[][..], Vec::as_slice);
        let known = calls.iter().filter(|call| call.happened && matches!(call.did, Did::Swap { .. })).count() as u64;
        let unknown =
            calls.iter().filter(|call| !call.happened && matches!(call.did, Did::MaybeSwap { .. })).count() as u64;
        if found < known || found > known + unknown {
            return Err(Violation(format!(
                "counter {key} stands at {found}: {known} swaps were acknowledged, {unknown} unknown"
            )));
        }
        Ok(())
    }
}
