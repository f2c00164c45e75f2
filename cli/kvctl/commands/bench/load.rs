//! `bench load`: every key once, for runs that read.

use std::ops::Range;
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::figures::FiguresByKind;
use super::generator::{self, Generator, Pace, Window};
use super::live::Live;
use super::run::{gathered, seed, share, threads};
use super::strain::Strain;
use super::workload::{Kind, Tasks};
use crate::args::{BenchLoad, Globals};
use crate::connect::connect_for_many;
use crate::exit::Failure;
use crate::output::Answer;

pub fn load(globals: &Globals, load: &BenchLoad) -> Result<Answer, Failure> {
    let connections = u64::from(load.connections).min(load.keys) as u32;
    let threads = threads(load.threads, connections);
    let live = Live::new("load", Some(load.keys));
    let begun = Instant::now();
    let results: Vec<Result<(FiguresByKind, Strain), Failure>> = thread::scope(|scope| {
        let one = |i: u32| {
            let pulse = live.as_ref().map(Live::pulse);
            scope.spawn(move || {
                let window = Window { from: begun, to: None };
                let tasks = Tasks::Each(part(load.keys, threads, i));
                let connections = share(connections, threads, i);
                let under_way_max = connections as usize * load.depth as usize;
                let client = connect_for_many(globals, connections, under_way_max)?;
                let mut generator =
                    Generator::new(client, tasks, Pace::Closed, window, under_way_max, load.value_size, seed(i));
                generator.report_to(pulse);
                Ok(generator::run(generator))
            })
        };
        let threads: Vec<_> = (0..threads).map(one).collect();
        if let Some(live) = live {
            live.draw();
        }
        threads.into_iter().map(|thread| thread.join().expect("a bench thread does not panic")).collect()
    });
    let outcome = gathered(results, FiguresByKind::of(&[Kind::Put]), begun.elapsed())?;
    let mut answer = outcome.answer(json!({
        "workload": "load",
        "loop": "closed",
        "connections": connections,
        "depth": load.depth,
        "value_size": load.value_size,
        "keys": load.keys,
        "duration_seconds": outcome.measured.as_secs_f64(),
    }));
    // Runs would miss the keys that failed.
    answer.code = answer.code.or(outcome.figures.worst);
    Ok(answer)
}

/// The numbers of the keys that thread `i` of `threads` writes.
fn part(keys: u64, threads: u32, i: u32) -> Range<u64> {
    let bound = |i: u32| (u128::from(keys) * u128::from(i) / u128::from(threads)) as u64;
    bound(i)..bound(i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_keys_once() {
        for (keys, threads) in [(10, 3), (5, 5), (1 << 47, 4_096), (100_000, 7)] {
            let parts: Vec<Range<u64>> = (0..threads).map(|i| part(keys, threads, i)).collect();
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, keys));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let lengths = parts.iter().map(|part| part.end - part.start);
            assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
        }
    }
}
