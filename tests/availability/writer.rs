//! A client that writes all the time, remembers what was acknowledged and when, and reads all of it back later.
//!
//! Every write has a key and a value of its own, so none can hide behind a later one.

// Every suite includes this and uses its part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_core::command::Operation;
use net::client::{Answer, Client, ClientError, ClientOptions, Request};

use crate::harness::{eventually, unique};

/// Writes under way at once: enough to reach every group all the time.
const DEPTH: usize = 32;
/// Longer than any stall that a suite allows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one wait for answers is; the client ends every request by its own timeout.
const POLL: Duration = Duration::from_secs(1);

/// A writer at work.
pub struct Writer {
    acknowledged: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    abandoned: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

/// What a writer has written.
pub struct Written {
    run: String,
    /// The numbers of the acknowledged writes, and when they were.
    acknowledged: Vec<(u64, Instant)>,
}

impl Writer {
    /// Starts one with a client of its own.
    pub fn start(endpoints: &[String]) -> Writer {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let [stopping, abandoned] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (endpoints, count) = (endpoints.to_vec(), acknowledged.clone());
        let (stop, abandon) = (stopping.clone(), abandoned.clone());
        let thread = std::thread::spawn(move || write(&endpoints, &count, &stop, &abandon));
        Writer { acknowledged, stopping, abandoned, thread }
    }

    /// Writes acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more are.
    pub fn wait_for_more(&self, more: usize, patience: Duration) {
        let wanted = self.count() + more;
        eventually(patience, "acknowledged writes", || {
            assert!(!self.thread.is_finished(), "the writer has ended by itself");
            (self.count() >= wanted).then_some(())
        });
    }

    /// Lets what is under way be answered, and ends.
    pub fn stop(self) -> Written {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not panic")
    }

    /// Ends without waiting for answers: there is nobody to give them.
    pub fn abandon(self) -> Written {
        self.abandoned.store(true, Ordering::Relaxed);
        self.stop()
    }
}

fn write(endpoints: &[String], count: &AtomicUsize, stop: &AtomicBool, abandon: &AtomicBool) -> Written {
    let options = ClientOptions { timeout: REQUEST_TIMEOUT, ..ClientOptions::default() };
    let mut client = Client::connect(endpoints, options).expect("a client");
    let mut written = Written { run: unique("writer"), acknowledged: Vec::new() };
    let mut under_way = HashMap::new();
    let mut number = 0;
    loop {
        while under_way.len() < DEPTH && !stop.load(Ordering::Relaxed) {
            number += 1;
            let operation =
                Operation::Put { key: written.key(number), value: written.value(number), return_old: false };
            under_way.insert(client.submit(Request::Write(operation)), number);
        }
        if under_way.is_empty() || abandon.load(Ordering::Relaxed) {
            return written;
        }
        for completion in client.poll(POLL) {
            let Some(number) = under_way.remove(&completion.id) else { continue };
            // A write that was refused, or never answered, promises nothing.
            if completion.result.is_ok() {
                written.acknowledged.push((number, Instant::now()));
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Written {
    /// How many writes were acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// The longest time without an acknowledgement that ended at `since` or later.
    pub fn longest_gap_since(&self, since: Instant) -> Duration {
        let pairs = self.acknowledged.windows(2).filter(|pair| pair[1].1 >= since);
        pairs.map(|pair| pair[1].1 - pair[0].1).max().unwrap_or(Duration::MAX)
    }

    /// Reads every acknowledged write back, through a client that knows these endpoints only.
    pub fn assert_all_there(&self, endpoints: &[String]) {
        let lost = self.lost(endpoints, REQUEST_TIMEOUT, usize::MAX);
        let first = lost.first();
        assert!(lost.is_empty(), "{} acknowledged writes of {} are lost, the first: {first:?}", lost.len(), self.run);
    }

    /// The acknowledged writes that cannot be read back, each within `timeout`, and what was found instead; after `most`
    /// of them the rest is not looked for.
    pub fn lost(
        &self,
        endpoints: &[String],
        timeout: Duration,
        most: usize,
    ) -> Vec<(u64, Result<Answer, ClientError>)> {
        let options = ClientOptions { timeout, ..ClientOptions::default() };
        let mut client = Client::connect(endpoints, options).expect("a client");
        let mut under_way = HashMap::new();
        let mut numbers = self.acknowledged.iter().map(|(number, _)| *number);
        let mut lost = Vec::new();
        loop {
            while under_way.len() < DEPTH {
                let Some(number) = numbers.next() else { break };
                under_way.insert(client.submit(Request::Get { key: self.key(number), stale: false }), number);
            }
            if under_way.is_empty() || lost.len() >= most {
                return lost;
            }
            for completion in client.poll(POLL) {
                let Some(number) = under_way.remove(&completion.id) else { continue };
                match completion.result {
                    Ok(Answer::Value(Some(value))) if value == self.value(number) => {}
                    other => lost.push((number, other)),
                }
            }
        }
    }

    fn key(&self, number: u64) -> Vec<u8> {
        format!("{}:{number}", self.run).into_bytes()
    }

    fn value(&self, number: u64) -> Vec<u8> {
        format!("value {number} of {}", self.run).into_bytes()
    }
}
