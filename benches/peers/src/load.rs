//! One run: clients that ask, and a clock that says which answers count.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep_until;

use crate::etcd::{self, Client};
use crate::figures::{Busy, Figures};
use crate::{Args, Workload};

/// What the clients of a run share.
struct Run {
    workload: Workload,
    keys: u64,
    value: Vec<u8>,
    /// The first request leaves or is due.
    begin: Instant,
    /// Answers count from here.
    from: Instant,
    /// To here; `None`: until there is nothing left to do.
    to: Option<Instant>,
    /// How many requests clients have taken so far.
    taken: Cell<u64>,
    pace: Option<Pace>,
    random: Cell<u64>,
    figures: RefCell<Figures>,
}

/// An open loop.
struct Pace {
    rate: f64,
    /// A permit for each request that is due; closed at the end.
    due: Arc<Semaphore>,
}

pub async fn run(args: &Args) -> Result<Figures> {
    let endpoints = if args.leader { vec![etcd::leader(&args.endpoints).await?] } else { args.endpoints.clone() };
    let mut connections = Vec::new();
    for i in 0..args.connections.min(args.clients) as usize {
        connections.push(Client::connect(&endpoints[i % endpoints.len()]).await?);
    }
    let run = Rc::new(Run::of(args));
    LocalSet::new().run_until(run.all(args.clients as usize, &connections)).await;
    let taken = run.taken.get();
    let mut figures = run.figures.replace(Figures::new());
    figures.measured = run.to.map_or_else(|| run.begin.elapsed(), |to| to - run.from);
    figures.behind = match (&run.pace, run.to) {
        (Some(pace), Some(to)) => pace.due_by(to - run.begin).saturating_sub(taken),
        _ => 0,
    };
    Ok(figures)
}

impl Run {
    fn of(args: &Args) -> Run {
        let begin = Instant::now();
        let (from, to) = match args.workload {
            Workload::Load => (begin, None),
            _ => (begin + args.warmup(), Some(begin + args.warmup() + args.measured())),
        };
        Run {
            workload: args.workload,
            keys: args.keys,
            value: vec![b'v'; args.value_size],
            begin,
            from,
            to,
            taken: Cell::new(0),
            pace: args.rate.zip(to).map(|(rate, to)| Pace::start(begin, to, rate)),
            random: Cell::new(0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id())),
            figures: RefCell::new(Figures::new()),
        }
    }

    async fn all(self: &Rc<Run>, clients: usize, connections: &[Client]) {
        let mut tasks = JoinSet::new();
        for i in 0..clients {
            tasks.spawn_local(Rc::clone(self).client(connections[i % connections.len()].clone()));
        }
        sleep_until(self.from.into()).await;
        let (before, since) = (Busy::now(), Instant::now());
        match self.to {
            Some(to) => sleep_until(to.into()).await,
            None => while tasks.join_next().await.is_some() {},
        }
        let busy = Busy::now().since(before, since.elapsed());
        self.figures.borrow_mut().busy = busy;
        while tasks.join_next().await.is_some() {}
    }

    async fn client(self: Rc<Run>, mut client: Client) {
        while let Some((number, from)) = self.next().await {
            let result = match self.workload {
                Workload::Load => client.put(key(number), self.next_value()).await.map(|()| true),
                Workload::Put => client.put(key(self.random() % self.keys), self.next_value()).await.map(|()| true),
                Workload::Get => client.get(key(self.random() % self.keys)).await.map(|value| value.is_some()),
            };
            let now = Instant::now();
            if now >= self.from && self.to.is_none_or(|to| now < to) {
                match result {
                    Ok(found) => self.figures.borrow_mut().answered(now - from, found),
                    Err(error) => self.figures.borrow_mut().failed(&error),
                }
            }
        }
    }

    /// The next request's number and the moment that its latency counts from.
    async fn next(&self) -> Option<(u64, Instant)> {
        if let Some(pace) = &self.pace {
            pace.due.acquire().await.ok()?.forget();
        }
        let number = self.taken.get();
        let now = Instant::now();
        if self.to.is_some_and(|to| now >= to) || (self.workload == Workload::Load && number == self.keys) {
            return None;
        }
        self.taken.set(number + 1);
        Some((number, self.pace.as_ref().map_or(now, |pace| self.begin + pace.at(number))))
    }

    /// Another value each time.
    fn next_value(&self) -> Vec<u8> {
        let mut value = self.value.clone();
        let stamp = self.random().to_le_bytes();
        let length = stamp.len().min(value.len());
        value[..length].copy_from_slice(&stamp[..length]);
        value
    }

    /// Marsaglia's xorshift, with a multiplication behind it.
    fn random(&self) -> u64 {
        let mut bits = self.random.get();
        bits ^= bits >> 12;
        bits ^= bits << 25;
        bits ^= bits >> 27;
        self.random.set(bits);
        bits.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Pace {
    /// A thread of its own lets requests go: the runtime's timers know milliseconds only.
    fn start(begin: Instant, to: Instant, rate: f64) -> Pace {
        let due = Arc::new(Semaphore::new(0));
        let pace = Pace { rate, due: Arc::clone(&due) };
        thread::spawn(move || {
            let pace = Pace { rate, due };
            let mut given = 0;
            while Instant::now() < to {
                let now = begin.elapsed();
                let more = pace.due_by(now) - given;
                pace.due.add_permits(more as usize);
                given += more;
                thread::sleep(pace.at(given).saturating_sub(begin.elapsed()).min(Duration::from_millis(100)));
            }
            pace.due.close();
        });
        pace
    }

    /// When a request is due, after the beginning.
    fn at(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate)
    }

    fn due_by(&self, after: Duration) -> u64 {
        (after.as_secs_f64() * self.rate) as u64 + 1
    }
}

/// The key of a number, as long as those of `kvctl bench`; neighbours are far apart.
fn key(number: u64) -> Vec<u8> {
    const MASK: u64 = (1 << 48) - 1;
    let mixed = ((number ^ (number >> 24)).wrapping_mul(0x9e37_79b9_7f4b)) & MASK;
    format!("bench:{:012x}", mixed ^ (mixed >> 24)).into_bytes()
}
