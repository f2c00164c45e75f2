//! Packets of one room that come late, in another order, or not at all.
//!
//! The kernel of the test machine may know neither netem nor a queue of nftables; what it must know is the queue of
//! iptables. Every packet that comes in is handed to a thread of this process, which holds it as long as it likes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};

use super::random::Random;
use super::room::Room;
use super::stage::run;

/// Between two looks at the queue: how late a packet may be beside its delay.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const RULE: [&str; 9] = ["INPUT", "-i", "eth0", "-j", "NFQUEUE", "--queue-num", "5", "--queue-bypass", "-w"];

/// What becomes of packets.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The shortest delay of a packet.
    pub delay: Duration,
    /// What is added to it at most; a packet may overtake another.
    pub jitter: Duration,
    /// How many packets of a hundred are dropped.
    pub loss_percent: u64,
}

/// Weather in one room, until it is dropped.
pub struct BadWeather {
    ending: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl BadWeather {
    /// Begins; or says why that cannot be done here.
    pub fn begin(room: &Room, weather: Weather, random: Random) -> Result<BadWeather, String> {
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        let thread = room.run(move || {
            let mut queue = Queue::open().map_err(|error| format!("no packet queue: {error}"))?;
            queue.bind(5).map_err(|error| format!("no packet queue: {error}"))?;
            queue.set_nonblocking(true);
            run("iptables", &[&["-A"], &RULE[..]].concat())?;
            Ok::<_, String>(std::thread::spawn(move || {
                hold(&mut queue, weather, random, &end);
                run("iptables", &[&["-D"], &RULE[..]].concat()).expect("the rule is removed");
                // What came in meanwhile waits for its verdict.
                while let Ok(message) = queue.recv() {
                    let _ = queue.verdict(message);
                }
            }))
        })?;
        Ok(BadWeather { ending, thread: Some(thread) })
    }
}

impl Drop for BadWeather {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}

fn hold(queue: &mut Queue, weather: Weather, mut random: Random, ending: &AtomicBool) {
    let mut held: BTreeMap<(Instant, u64), Message> = BTreeMap::new();
    let mut number = 0;
    while !ending.load(Ordering::Relaxed) {
        while let Ok(mut message) = queue.recv() {
            if random.next() % 100 < weather.loss_percent {
                message.set_verdict(Verdict::Drop);
                let _ = queue.verdict(message); // a packet that is gone needs no verdict
                continue;
            }
            number += 1;
            let jitter = random.next() % (weather.jitter.as_micros() as u64 + 1);
            held.insert((Instant::now() + weather.delay + Duration::from_micros(jitter), number), message);
        }
        while let Some(first) = held.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let mut message = first.remove();
            message.set_verdict(Verdict::Accept);
            let _ = queue.verdict(message);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    for (_, mut message) in held {
        message.set_verdict(Verdict::Accept);
        let _ = queue.verdict(message);
    }
}
