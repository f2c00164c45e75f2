//! Queues between threads of a node, without a lock: whoever sends never waits, whatever the other side is doing.
//!
//! A lock inside the queue between a core and its own helper would do no harm on a quiet machine; on a busy one the
//! helper is descheduled while it holds that lock, and the core stands still with all its groups. So items go through
//! a lock-free list, and a sender does no more than wake a receiver that sleeps: a thread by unparking it, a core
//! by its doorbell.
//!
//! No queue here has a limit of its own: whoever makes one says what bounds it.

use super::runtime::{self, doorbell::Doorbell};
use crossbeam_queue::SegQueue;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

/// What both ends see.
#[derive(Debug)]
struct Shared<T> {
    items: SegQueue<T>,
    senders: AtomicUsize,
}

impl<T> Shared<T> {
    fn is_closed(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }

    /// The next item; looks once more when all senders have gone, for what the last of them left.
    fn take(&self) -> Taken<T> {
        match self.items.pop() {
            Some(item) => Taken::Item(item),
            None if !self.is_closed() => Taken::Nothing,
            None => self.items.pop().map_or(Taken::Closed, Taken::Item),
        }
    }
}

enum Taken<T> {
    Item(T),
    Nothing,
    Closed,
}

/// How the receiver is woken.
#[derive(Clone, Debug)]
enum Wake {
    Thread(Thread),
    Core(Doorbell),
}

/// The sending end. The receiver learns when the last one is gone.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    wake: Wake,
}

impl<T> Sender<T> {
    /// Leaves `item` for the receiver, and wakes that if it sleeps. What a receiver that has ended is sent, nobody reads.
    pub fn send(&self, item: T) {
        self.shared.items.push(item);
        self.wake();
    }

    fn wake(&self) {
        match &self.wake {
            Wake::Thread(thread) => thread.unpark(),
            Wake::Core(doorbell) => doorbell.ring(),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender { shared: self.shared.clone(), wake: self.wake.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake();
        }
    }
}

/// The receiving end of a helper thread.
#[derive(Debug)]
pub struct Work<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Work<T> {
    /// The next item, waiting for it; `None` when every sender is gone and nothing is left.
    pub fn receive(&self) -> Option<T> {
        loop {
            match self.shared.take() {
                Taken::Item(item) => return Some(item),
                Taken::Closed => return None,
                // A wake between the look and the park makes the park return at once.
                Taken::Nothing => std::thread::park(),
            }
        }
    }
}

/// Starts a helper thread that works on what it is sent. Errors: the system refuses another thread.
pub fn helper<T: Send + 'static>(
    name: String,
    body: impl FnOnce(Work<T>) + Send + 'static,
) -> io::Result<(Sender<T>, JoinHandle<()>)> {
    let shared = Arc::new(Shared { items: SegQueue::new(), senders: AtomicUsize::new(1) });
    let work = Work { shared: shared.clone() };
    let thread = std::thread::Builder::new().name(name).spawn(move || body(work))?;
    let wake = Wake::Thread(thread.thread().clone());
    Ok((Sender { shared, wake }, thread))
}

/// The receiving end of a core.
#[derive(Debug)]
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
    doorbell: Doorbell,
}

impl<T> Inbox<T> {
    /// The next item, waiting for it; `None` when every sender is gone and nothing is left. Only on the core whose
    /// doorbell this is.
    pub async fn receive(&self) -> Option<T> {
        loop {
            match self.shared.take() {
                Taken::Item(item) => return Some(item),
                Taken::Closed => return None,
                // Whatever comes after the look rings, and the core has not looked at its doorbell since.
                Taken::Nothing => runtime::rung().await,
            }
        }
    }

    /// What senders ring.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }
}

/// The queue of a core that is yet to be started with this doorbell. Errors: no descriptor is left.
pub fn inbox<T>() -> io::Result<(Sender<T>, Inbox<T>)> {
    Ok(inbox_at(Doorbell::new()?))
}

/// Another queue of the core that calls.
pub fn inbox_here<T>() -> (Sender<T>, Inbox<T>) {
    inbox_at(runtime::doorbell())
}

fn inbox_at<T>(doorbell: Doorbell) -> (Sender<T>, Inbox<T>) {
    let shared = Arc::new(Shared { items: SegQueue::new(), senders: AtomicUsize::new(1) });
    (Sender { shared: shared.clone(), wake: Wake::Core(doorbell.clone()) }, Inbox { shared, doorbell })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_gets_everything_in_order_and_ends_with_its_last_sender() {
        const ITEMS: u64 = 100_000;
        let (told, heard) = std::sync::mpsc::channel();
        let (sender, thread) = helper("helper".into(), move |work: Work<u64>| {
            let mut seen = Vec::new();
            while let Some(item) = work.receive() {
                seen.push(item);
            }
            told.send(seen).unwrap();
        })
        .unwrap();
        let second = sender.clone();
        (0..ITEMS).for_each(|item| sender.send(item));
        drop(sender);
        second.send(ITEMS);
        drop(second);
        thread.join().unwrap();
        assert_eq!(heard.recv().unwrap(), (0..=ITEMS).collect::<Vec<_>>());
    }

    #[test]
    fn a_core_sleeps_until_something_comes() {
        let (sender, inbox) = inbox().unwrap();
        let thread = std::thread::spawn(move || {
            runtime::run("core", None, inbox.doorbell(), || async move {
                // Another queue wakes the same core, and a task that waits for it only.
                let (answer, answered) = inbox_here();
                runtime::spawn(async move {
                    let mut sum = 0;
                    while let Some(item) = inbox.receive().await {
                        sum += item;
                    }
                    answer.send(sum);
                });
                answered.receive().await
            })
        });
        for item in 1..=1000u64 {
            sender.send(item);
            if item % 100 == 0 {
                std::thread::yield_now();
            }
        }
        drop(sender);
        assert_eq!(thread.join().unwrap().unwrap(), Some(500_500));
    }
}
