//! What one thread does in a run, with a library client of its own: the requests it has under way, and what became of them.
//!
//! In a closed loop a request leaves as soon as one of the clients has its answer, so the load is the same as
//! with a thread for each client. In an open loop a request leaves when it is due, if a client is free, and its latency
//! counts from the moment it was due.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use engine_core::command::Operation;
use net::client::blocking::Client;
use net::client::{Answer, CasResult, ClientError, Completion, Request, RequestId, ScanOptions};

use super::arrivals::Arrivals;
use super::figures::FiguresByKind;
use super::keys::key;
use super::live::Pulse;
use super::random::Random;
use super::strain::{LATE, Strain, ThreadTime};
use super::workload::{Kind, Task, Tasks};

/// How long one wait for answers is; the client ends every request by its own timeout.
const POLL: Duration = Duration::from_secs(1);

/// When to begin and to end counting. What began in between counts, whenever it ends: else the slowest requests, and those
/// that fail after their timeout, would be missing.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Instant,
    /// `None`: until the tasks are at an end.
    pub to: Option<Instant>,
}

impl Window {
    fn counts(&self, now: Instant) -> bool {
        now >= self.from && !self.is_over(now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.to.is_some_and(|to| now >= to)
    }
}

/// When requests leave.
#[derive(Debug)]
pub enum Pace {
    Closed,
    /// Due at these moments after `start`.
    Open {
        start: Instant,
        arrivals: Arrivals,
    },
}

/// A request under way.
#[derive(Debug)]
struct Flight {
    task: Task,
    /// What its latency counts from.
    from: Instant,
    /// What was read, of a task that reads first.
    read: Option<Read>,
}

#[derive(Debug)]
struct Read {
    found: bool,
    value: Option<Vec<u8>>,
}

/// See the module.
#[derive(Debug)]
pub struct Generator<'a> {
    client: Client,
    tasks: Tasks<'a>,
    pace: Pace,
    window: Window,
    under_way: HashMap<RequestId, Flight>,
    under_way_max: usize,
    /// Those under way that have yet to read before they write.
    reading: usize,
    /// The most that one of them writes: its key, what it expects there and the new value.
    write_bytes_max: usize,
    value: Vec<u8>,
    random: Random,
    figures: FiguresByKind,
    strain: Strain,
    pulse: Option<Pulse>,
    /// Something was due when it was last looked, and all clients were waiting for answers.
    full: bool,
    /// There is nothing left to send.
    exhausted: bool,
}

impl<'a> Generator<'a> {
    /// `seed` makes the values differ from those of other threads.
    pub fn new(
        client: Client,
        tasks: Tasks<'a>,
        pace: Pace,
        window: Window,
        under_way_max: usize,
        value_bytes: u32,
        seed: u64,
    ) -> Generator<'a> {
        // Bytes that do not compress to nothing.
        let mut random = Random::new(seed);
        let value = (0..value_bytes).map(|_| random.bits() as u8).collect();
        Generator {
            client,
            tasks,
            pace,
            window,
            under_way: HashMap::new(),
            under_way_max,
            reading: 0,
            write_bytes_max: key(0).len() + 2 * value_bytes as usize,
            value,
            random,
            figures: FiguresByKind::of(&[]),
            strain: Strain::default(),
            pulse: None,
            full: false,
            exhausted: false,
        }
    }

    /// Reports to a progress line from now on.
    pub fn report_to(&mut self, pulse: Option<Pulse>) {
        self.pulse = pulse;
    }

    /// Whether nothing more is to be sent.
    fn is_over(&self, now: Instant) -> bool {
        self.exhausted || self.window.is_over(now)
    }

    /// Sends what is due and there is room for, and gives back how long to wait for answers.
    fn send(&mut self, now: Instant) -> Duration {
        match &self.pace {
            Pace::Closed => self.send_closed(),
            Pace::Open { .. } => self.send_open(now),
        }
    }

    /// Whether the library client takes one more, whatever it is, and what those under way have yet to write.
    fn has_room(&self) -> bool {
        let takes = || self.client.has_room((self.reading + 1) * self.write_bytes_max);
        self.under_way.is_empty() || self.under_way.len() < self.under_way_max && takes()
    }

    fn send_closed(&mut self) -> Duration {
        while self.has_room() {
            let Some(task) = self.next_task() else { break };
            let from = Instant::now();
            self.start(Flight { task, from, read: None });
        }
        POLL
    }

    fn send_open(&mut self, now: Instant) -> Duration {
        loop {
            let has_room = self.has_room();
            let Pace::Open { start, arrivals } = &mut self.pace else { return POLL };
            let due = *start + arrivals.next();
            if due > now {
                self.full = false;
                return POLL.min(due - now);
            }
            if !has_room {
                self.full = true;
                return POLL;
            }
            arrivals.advance();
            let Some(task) = self.next_task() else { return POLL };
            if self.window.counts(now) {
                // What fell due until answers came had to wait for them, too.
                self.strain.sent += 1;
                self.strain.held_back += u64::from(self.full);
                self.strain.late += u64::from(!self.full && now - due > LATE);
            }
            self.start(Flight { task, from: due, read: None });
        }
    }

    fn next_task(&mut self) -> Option<Task> {
        let task = self.tasks.next();
        self.exhausted = task.is_none();
        task
    }

    fn start(&mut self, mut flight: Flight) {
        let key = key(flight.task.key);
        let request = match flight.task.kind {
            Kind::Get => Request::Get { key, stale: false },
            kind if kind.reads_first() && flight.read.is_none() => {
                self.reading += 1;
                Request::Get { key, stale: false }
            }
            Kind::Put | Kind::Insert | Kind::ReadModifyWrite => {
                Request::Write(Operation::Put { key, value: self.next_value(), return_old: false })
            }
            Kind::Cas => {
                let expect = flight.read.as_mut().and_then(|read| read.value.take());
                Request::Write(Operation::CompareAndSwap { key, expect, set: Some(self.next_value()) })
            }
            Kind::Delete => Request::Write(Operation::Delete { key, return_old: false }),
            Kind::Scan => {
                Request::Scan(ScanOptions { start: key, end: None, limit: flight.task.entries, stale: false })
            }
        };
        let id = self.client.submit(request);
        self.under_way.insert(id, flight);
    }

    /// Another value each time.
    fn next_value(&mut self) -> Vec<u8> {
        let stamp = self.random.bits().to_le_bytes();
        let length = stamp.len().min(self.value.len());
        self.value[..length].copy_from_slice(&stamp[..length]);
        self.value.clone()
    }

    /// Waits up to `wait` for answers.
    fn complete(&mut self, wait: Duration) {
        let completions = self.client.poll(wait);
        let now = Instant::now();
        for Completion { id, result } in completions {
            let Some(mut flight) = self.under_way.remove(&id) else { continue };
            let was_reading = flight.task.kind.reads_first() && flight.read.is_none();
            self.reading -= usize::from(was_reading);
            match result {
                Ok(Answer::Value(value)) if was_reading => {
                    flight.read = Some(Read { found: value.is_some(), value });
                    self.start(flight);
                }
                result => {
                    self.tasks.ended(&flight.task);
                    self.note(now, &flight, result);
                }
            }
        }
    }

    fn note(&mut self, now: Instant, flight: &Flight, result: Result<Answer, ClientError>) {
        let latency = now - flight.from;
        if let Some(pulse) = &mut self.pulse {
            pulse.beat(now, latency, result.is_ok());
        }
        if self.window.counts(now) && result.is_ok() {
            self.figures.kind(flight.task.kind).in_time += 1;
        }
        if !self.window.counts(flight.from) {
            return;
        }
        match result {
            Ok(answer) => {
                let found = found(&answer) && flight.read.as_ref().is_none_or(|read| read.found);
                self.figures.kind(flight.task.kind).answered(latency, found);
            }
            Err(error) => self.figures.failed(flight.task.kind, error),
        }
    }

    fn count_what_is_behind(&mut self) {
        if let (Pace::Open { start, arrivals }, Some(to)) = (&mut self.pace, self.window.to) {
            while *start + arrivals.next() < to {
                self.strain.behind += 1;
                arrivals.advance();
            }
        }
    }
}

/// Runs to the end on this thread. What is still under way then is answered before the connections go, so that the next run
/// starts clean.
pub fn run(mut generator: Generator<'_>) -> (FiguresByKind, Strain) {
    if let Pace::Open { .. } = generator.pace {
        // Waits end on time, not up to 50 us behind it. Where this is refused they end a little late.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
    let mut counting: Option<(Instant, Option<ThreadTime>)> = None;
    loop {
        let now = Instant::now();
        if counting.is_none() && generator.window.counts(now) {
            counting = Some((now, ThreadTime::now()));
        }
        if generator.is_over(now) {
            break;
        }
        let wait = generator.send(now);
        generator.complete(wait);
    }
    if let Some((since, before)) = counting {
        let used = before.zip(ThreadTime::now()).map(|(before, after)| after.since(before));
        generator.strain.add(&Strain::of_thread(used, since.elapsed()));
    }
    while !generator.under_way.is_empty() {
        generator.complete(POLL);
    }
    generator.count_what_is_behind();
    (generator.figures, generator.strain)
}

/// Whether the answer is what was looked for; else it is a miss.
fn found(answer: &Answer) -> bool {
    match answer {
        Answer::Value(value) => value.is_some(),
        Answer::Page(page) => !page.entries.is_empty(),
        Answer::Cas(result) => *result == CasResult::Swapped,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use net::client::ClientOptions;

    use super::*;
    use crate::args::BenchArrivals;

    /// A client that finds nobody, and gives each request up after a moment.
    fn lonely(options: ClientOptions) -> Client {
        Client::connect(&["127.0.0.1:1".to_owned()], options).unwrap()
    }

    #[test]
    fn what_began_in_time_counts_however_late_it_ends() {
        let client = lonely(ClientOptions { timeout: Duration::from_millis(300), ..ClientOptions::default() });
        let from = Instant::now();
        let window = Window { from, to: Some(from + Duration::from_millis(100)) };
        let generator = Generator::new(client, Tasks::Each(0..1_000), Pace::Closed, window, 8, 100, 1);
        let (figures, _) = run(generator);
        let all = figures.all();
        assert_eq!((all.errors, all.in_time, all.latency_us.len()), (8, 0, 0));
    }

    #[test]
    fn what_fell_due_before_an_answer_made_room_was_held_back() {
        let start = Instant::now();
        let pace = Pace::Open { start, arrivals: Arrivals::new(BenchArrivals::Even, 1_000.0, 0, 1, 1) };
        let window = Window { from: start, to: None };
        let client = lonely(ClientOptions::default());
        let mut generator = Generator::new(client, Tasks::Each(0..1_000), pace, window, 8, 100, 1);
        let ms = |ms| start + Duration::from_millis(ms);
        // Eight of eleven leave, late as nobody was there to send them.
        generator.send(ms(10));
        let late = generator.strain.late;
        assert_eq!((generator.strain.sent, generator.strain.held_back, late > 0), (8, 0, true));
        generator.under_way.clear();
        generator.send(ms(15));
        generator.under_way.clear();
        generator.send(ms(17));
        let strain = &generator.strain;
        assert_eq!((strain.sent, strain.held_back, strain.late), (18, 8, late), "two of them in time");
    }

    #[test]
    fn no_more_leave_than_the_library_client_has_room_for() {
        let options =
            ClientOptions { timeout: Duration::from_millis(20), bytes_max: 1_000, ..ClientOptions::default() };
        let client = lonely(options);
        let from = Instant::now();
        let window = Window { from, to: None };
        let mut generator = Generator::new(client, Tasks::Each(0..8), Pace::Closed, window, 64, 200, 1);
        while generator.has_room() {
            let task = Task { kind: Kind::Cas, key: 100, entries: 0 };
            generator.start(Flight { task, from, read: None });
        }
        assert_eq!(generator.under_way.len(), 2, "each may write a key of 18 bytes and two values of 200");
        let (figures, _) = run(generator);
        assert_eq!(figures.all().errors, 10);
        assert!(!figures.first_error.as_ref().unwrap().contains("wait already"), "{:?}", figures.first_error);
    }
}
