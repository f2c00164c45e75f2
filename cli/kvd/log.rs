//! What a node has to say, on its way to standard error.
//!
//! One thread writes. Everybody else leaves a line in a queue of limited length and goes on, so that a reader who is slow or
//! stuck holds up no core. A line is lost if the queue is full, which is said once there is room again, or if it cannot be
//! written. No line is worth a node.
//!
//! An error may be the last thing a process says: it waits until it has been written, if that is soon.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written: some hundred kilobytes.
const LINES_MAX: usize = 1024;

/// How long whoever says an error waits for it: less than the engine gives to last words.
const ERROR_PATIENCE: Duration = Duration::from_millis(300);

/// How long the end of the process waits for what was said before.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Between two complaints about lost lines.
const LOSS_PAUSE: Duration = Duration::from_secs(1);

/// Between two looks at a full queue.
const PAUSE: Duration = Duration::from_millis(1);

/// The way to standard error. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
    /// How many lines have been written.
    done: Arc<AtomicU64>,
    /// How many those were when somebody waited in vain: nobody else does until there are more.
    stuck_at: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Asks to be told that all before it is written.
    Mark(SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes, and has everything that is traced go there: for people on a terminal, one JSON object
    /// a line otherwise. `KVD_LOG` says how much.
    pub fn start() -> io::Result<Log> {
        let log = Log::over(io::stderr())?;
        let filter = tracing_subscriber::EnvFilter::builder().with_env_var("KVD_LOG");
        let filter = filter.with_default_directive(Level::INFO.into()).from_env_lossy();
        // Complaints about the log itself would go to standard error by a way that panics.
        let traced = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
        let traced = traced.with_writer(log.clone());
        if io::stderr().is_terminal() {
            traced.with_target(false).init();
        } else {
            traced.json().flatten_event(true).with_ansi(false).init();
        }
        let (print, before) = (std::panic::take_hook(), log.clone());
        std::panic::set_hook(Box::new(move |panic| {
            before.written(ERROR_PATIENCE);
            print(panic);
        }));
        Ok(log)
    }

    fn over(out: impl Write + Send + 'static) -> io::Result<Log> {
        let (queue, items) = sync_channel(LINES_MAX);
        let log =
            Log { queue, lost: Arc::default(), done: Arc::default(), stuck_at: Arc::new(AtomicU64::new(u64::MAX)) };
        let (lost, done) = (log.lost.clone(), log.done.clone());
        std::thread::Builder::new().name("log".into()).spawn(move || write(&items, &lost, &done, out))?;
        Ok(log)
    }

    /// Says something that is no event, such as why the process ends.
    pub fn say(&self, text: &str) {
        self.leave(text.as_bytes());
    }

    /// Waits until all that was said before is written, or the patience of an end is over.
    pub fn end(&self) {
        self.written(END_PATIENCE);
    }

    fn leave(&self, line: &[u8]) {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether all that was said before has been written or lost by then.
    fn written(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (mark, reached) = sync_channel(1);
        let mut item = Item::Mark(mark);
        while let Err(error) = self.queue.try_send(item) {
            item = match error {
                TrySendError::Full(item) if Instant::now() < deadline => item,
                _ => return false,
            };
            std::thread::sleep(PAUSE);
        }
        reached.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// What the thread does, for as long as there is a way to it.
fn write(items: &Receiver<Item>, lost: &AtomicU64, done: &AtomicU64, mut out: impl Write) {
    let mut said = None::<Instant>;
    for item in items {
        match item {
            // Nobody can be told that it could not be written.
            Item::Line(line) => {
                let _ = out.write_all(&line);
                done.fetch_add(1, Ordering::Relaxed);
            }
            // Whoever asked may have lost patience.
            Item::Mark(mark) => {
                let _ = mark.try_send(());
            }
        }
        // Said for each line that is written it would take the place of the next.
        let due = said.is_none_or(|said| said.elapsed() >= LOSS_PAUSE);
        let lines = if due { lost.swap(0, Ordering::Relaxed) } else { 0 };
        if lines > 0 {
            said = Some(Instant::now());
            // This goes into the queue, too.
            tracing::warn!(lines, "the log was not read fast enough: lines were lost");
        }
    }
}

/// One event on its way into the queue.
#[derive(Debug)]
pub struct Event<'a> {
    log: &'a Log,
    waits: bool,
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { log: self, waits: false }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Event<'a> {
        Event { log: self, waits: *meta.level() == Level::ERROR }
    }
}

impl Write for Event<'_> {
    /// Takes a whole line, as events are written in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.leave(line);
        let done = self.log.done.load(Ordering::Relaxed);
        if self.waits && self.log.stuck_at.load(Ordering::Relaxed) != done && !self.log.written(ERROR_PATIENCE) {
            self.log.stuck_at.store(done, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Somewhere to write that takes a line only when it is let.
    struct Gate {
        open: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.open.recv(); // open for good once nobody holds it
            let _ = self.written.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_is_stuck_holds_nobody_up_and_gets_the_oldest_lines() {
        let ((opener, open), (sender, written)) = (channel(), channel());
        let log = Log::over(Gate { open, written: sender }).unwrap();
        // One more than fit may be in the hands of the thread.
        for line in 0..LINES_MAX + 10 {
            log.say(&line.to_string());
        }
        let lost = log.lost.load(Ordering::Relaxed);
        assert!((9..=10).contains(&lost), "{lost} lost");
        assert!(!log.written(Duration::ZERO));
        drop(opener);
        assert!(log.written(Duration::from_secs(60)));
        assert_eq!(log.lost.load(Ordering::Relaxed), 0, "it has been said");
        let lines: Vec<String> = written.try_iter().collect();
        assert_eq!(lines.len() as u64, LINES_MAX as u64 + 10 - lost);
        assert!(lines.iter().enumerate().all(|(at, line)| *line == at.to_string()));
    }

    #[test]
    fn an_error_is_written_before_its_line_is_left() {
        let ((opener, open), (sender, written)) = (channel(), channel());
        drop(opener);
        let log = Log::over(Gate { open, written: sender }).unwrap();
        Event { log: &log, waits: true }.write_all(b"last words").unwrap();
        assert_eq!(written.try_recv().unwrap(), "last words");
    }

    #[test]
    fn what_cannot_be_written_is_lost_and_the_next_line_is_tried() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let log = Log::over(Full).unwrap();
        for _ in 0..3 {
            log.say("line");
            assert!(log.written(Duration::from_secs(60)));
        }
    }
}
