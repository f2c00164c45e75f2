//! Clients that put, get, swap and delete all the time and write down what they are told.
//!
//! Keys are few at a time, so that clients meet on them, and are given up for fresh ones before their history grows
//! too long to judge. Every value is written once.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_core::command::Operation;
use net::client::{Answer, CasResult, Client, ClientError, ClientOptions, Request};

use super::history::{Asked, Event, Swapped, Value};
use super::random::Random;

/// Clients at work.
pub const CLIENTS: u32 = 8;
/// Keys in use at once.
const KEYS: usize = 6;
/// A key is given up after so many operations, or so many whose outcome is unknown.
const OPERATIONS_MAX: u32 = 300;
const AMBIGUOUS_MAX: u32 = 5;
/// Between two operations of one client, at least: the load is not the point, and the cores are shared.
const PACE: Duration = Duration::from_millis(8);

/// What the clients share.
struct Shared {
    endpoints: Vec<String>,
    options: ClientOptions,
    started: Instant,
    keys: Mutex<Keys>,
    next_value: AtomicU64,
    answered: AtomicUsize,
    ending: AtomicBool,
}

/// The keys in use: number, operations, ambiguous ones.
struct Keys {
    in_use: Vec<(u32, u32, u32)>,
    fresh: u32,
}

/// A load that runs.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Event>>>,
}

impl Load {
    /// Starts it. An operation that has no answer within `timeout` has an unknown outcome.
    pub fn start(endpoints: &[String], timeout: Duration, random: &mut Random) -> Load {
        let shared = Arc::new(Shared {
            endpoints: endpoints.to_vec(),
            options: ClientOptions { timeout, ..ClientOptions::default() },
            started: Instant::now(),
            keys: Mutex::new(Keys { in_use: (0..KEYS as u32).map(|key| (key, 0, 0)).collect(), fresh: KEYS as u32 }),
            next_value: AtomicU64::new(1),
            answered: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        });
        let start = |client| {
            let (shared, random) = (shared.clone(), random.fork());
            std::thread::spawn(move || work(client, &shared, random))
        };
        let clients = (0..CLIENTS).map(start).collect();
        Load { shared, clients }
    }

    /// Operations answered so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Lets what is under way end, reads every key once more, and gives the history.
    pub fn stop(self) -> Vec<Event> {
        self.shared.ending.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for client in self.clients {
            history.extend(client.join().expect("a client does not panic"));
        }
        let fresh = self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner).fresh;
        let options = ClientOptions { timeout: Duration::from_secs(60), ..self.shared.options.clone() };
        let mut client = Client::connect(&self.shared.endpoints, options).expect("a client");
        for key in 0..fresh {
            let called = self.shared.now();
            let seen = client.get(&name(key)).expect("every key can be read at the end").map(|value| number(&value));
            let answered = Some(self.shared.now());
            history.push(Event { client: CLIENTS, key, called, answered, asked: Asked::Get { seen } });
        }
        history
    }
}

impl Shared {
    fn now(&self) -> i64 {
        self.started.elapsed().as_nanos() as i64
    }

    fn pick(&self, random: &mut Random) -> u32 {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = random.below(KEYS);
        if keys.in_use[slot].1 >= OPERATIONS_MAX || keys.in_use[slot].2 >= AMBIGUOUS_MAX {
            keys.in_use[slot] = (keys.fresh, 0, 0);
            keys.fresh += 1;
        }
        keys.in_use[slot].1 += 1;
        keys.in_use[slot].0
    }

    fn is_ambiguous(&self, key: u32) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.in_use.iter_mut().filter(|entry| entry.0 == key).for_each(|entry| entry.2 += 1);
    }
}

fn work(number: u32, shared: &Shared, mut random: Random) -> Vec<Event> {
    let mut client = Client::connect(&shared.endpoints, shared.options.clone()).expect("a client");
    let mut history: Vec<Event> = Vec::new();
    // What this client saw last, so that a swap has a chance.
    let mut last: (u32, Option<Value>) = (0, None);
    while !shared.ending.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let key = shared.pick(&mut random);
        let fresh = || shared.next_value.fetch_add(1, Ordering::Relaxed);
        let mut asked = match random.below(10) {
            0..4 => Asked::Get { seen: None },
            4..7 => Asked::Put { value: fresh(), old: None },
            7..9 => Asked::Swap { expect: last.1.filter(|_| last.0 == key), set: fresh(), outcome: None },
            _ => Asked::Delete { old: None },
        };
        let called = shared.now();
        let result = client.call(request(key, &asked));
        let answered = shared.now();
        let event = |asked, answered| Event { client: number, key, called, answered, asked };
        match result {
            Ok(answer) => {
                learn(&mut asked, answer);
                last = (key, after(&asked));
                shared.answered.fetch_add(1, Ordering::Relaxed);
                history.push(event(asked, Some(answered)));
            }
            // It happened, and what it saw is gone: nothing is known but that.
            Err(ClientError::ResultGone) => history.push(event(asked, Some(answered))),
            Err(error) if error.may_have_happened() => {
                shared.is_ambiguous(key);
                history.push(event(asked, None));
            }
            // The client vouches that it did not happen; if it lies, a value is seen that nobody wrote.
            Err(ClientError::NotApplied { .. } | ClientError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(PACE.saturating_sub(begun.elapsed())); // offers a load, waits for nothing
    }
    history
}

fn name(key: u32) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

fn bytes(value: Value) -> Vec<u8> {
    format!("value {value}").into_bytes()
}

fn number(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix("value "));
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("nobody wrote {}", bytes.escape_ascii()))
}

fn request(key: u32, asked: &Asked) -> Request {
    let key = name(key);
    match asked {
        Asked::Get { .. } => Request::Get { key, stale: false },
        // Half of them do not ask for the old value, which is another way through the store.
        Asked::Put { value, .. } => {
            Request::Write(Operation::Put { key, value: bytes(*value), return_old: value % 2 == 0 })
        }
        Asked::Delete { .. } => Request::Write(Operation::Delete { key, return_old: true }),
        Asked::Swap { expect, set, .. } => {
            Request::Write(Operation::CompareAndSwap { key, expect: expect.map(bytes), set: Some(bytes(*set)) })
        }
    }
}

/// Writes an answer down.
fn learn(asked: &mut Asked, answer: Answer) {
    let read = |value: Option<Vec<u8>>| value.map(|value| number(&value));
    match (asked, answer) {
        (Asked::Get { seen }, Answer::Value(value)) => *seen = read(value),
        (Asked::Put { old, .. } | Asked::Delete { old }, Answer::Old(value)) => *old = Some(read(value)),
        (Asked::Put { .. } | Asked::Delete { .. }, Answer::Done | Answer::OldGone) => {}
        (Asked::Swap { outcome, .. }, Answer::Cas(result)) => {
            *outcome = Some(match result {
                CasResult::Swapped => Swapped::Done,
                CasResult::Mismatch { current } => Swapped::Refused(Some(read(current))),
                CasResult::MismatchGone => Swapped::Refused(None),
            });
        }
        (asked, answer) => panic!("{asked:?} was answered {answer:?}"),
    }
}

/// The value after it, as far as the client knows.
fn after(asked: &Asked) -> Option<Value> {
    match asked {
        Asked::Get { seen } => *seen,
        Asked::Put { value, .. } => Some(*value),
        Asked::Delete { .. } => None,
        Asked::Swap { set, outcome: Some(Swapped::Done), .. } => Some(*set),
        Asked::Swap { outcome, .. } => match outcome {
            Some(Swapped::Refused(Some(seen))) => *seen,
            _ => None,
        },
    }
}
