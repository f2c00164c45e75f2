//! Runs of seeds, and what is said of them.

use crate::totals::Totals;
use crate::world::{Violation, World};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// Lines of the trace that a failure shows.
const LINES_SHOWN: usize = 60;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What became of a seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Everything that happened, in one number.
    pub hash: u64,
    /// How many things happened.
    pub happenings: u64,
    /// What happened how often.
    pub totals: Totals,
    /// What must not be and was, with the last lines of the trace.
    pub failure: Option<String>,
}

/// Runs one seed from beginning to end. A panic of the code under test is a failure of the seed.
pub fn run_seed(seed: u64) -> Report {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
            let text = panic.payload().downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.payload().downcast_ref::<&str>().copied()).unwrap_or("something");
            let words = format!("panic at {}: {text}", place.unwrap_or_default());
            PANIC.with(|last| *last.borrow_mut() = Some(words));
        }));
    });
    let mut world = World::new(seed);
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let why = match result {
        Ok(Ok(())) => None,
        Ok(Err(Violation(why))) => Some(why),
        Err(_) => Some(PANIC.with(|last| last.borrow_mut().take()).unwrap_or_default()),
    };
    let failure = why.map(|why| {
        let lines: Vec<String> = world.trace.last(LINES_SHOWN).map(ToString::to_string).collect();
        format!("{}\n{}", why, lines.join("\n"))
    });
    Report { seed, hash: world.trace.hash(), happenings: world.trace.count(), totals: world.totals, failure }
}

/// The seeds `FIRST..LAST`, both included, in these words; an error says what is wrong with them.
pub fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let wanted = || format!("{text:?}: FIRST..LAST is wanted, two numbers, the first not above the last");
    let (first, last) = text.split_once("..").ok_or_else(wanted)?;
    let (first, last) = (first.parse().map_err(|_| wanted())?, last.parse().map_err(|_| wanted())?);
    if first > last { Err(wanted()) } else { Ok((first, last)) }
}
