//! The line on a terminal that says how a run is going.
//!
//! Each thread sends what it measured since the last time; one draws. Nothing of it happens where standard error is
//! no terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use super::figures::latencies;

/// How often a thread reports, and the line changes.
const PERIOD: Duration = Duration::from_millis(500);

/// What one thread measured in one period.
#[derive(Debug)]
struct Beat {
    latency_us: Histogram<u64>,
    errors: u64,
}

/// A thread's end of it.
#[derive(Debug)]
pub struct Pulse {
    beats: Sender<Beat>,
    latency_us: Histogram<u64>,
    errors: u64,
    next: Instant,
}

impl Pulse {
    /// A request was answered, or has failed.
    pub fn beat(&mut self, now: Instant, latency: Duration, well: bool) {
        self.latency_us.saturating_record(latency.as_micros() as u64);
        self.errors += u64::from(!well);
        if now >= self.next {
            self.next = now + PERIOD;
            let latency_us = std::mem::replace(&mut self.latency_us, latencies());
            // Whoever draws may have ended first.
            let _ = self.beats.send(Beat { latency_us, errors: std::mem::take(&mut self.errors) });
        }
    }
}

/// The end that draws.
#[derive(Debug)]
pub struct Live {
    title: String,
    /// How many requests there will be, if that is known.
    total: Option<u64>,
    beats: Receiver<Beat>,
    source: Sender<Beat>,
}

impl Live {
    /// A line that begins with `title`; `None` where nobody would see it.
    pub fn new(title: impl Into<String>, total: Option<u64>) -> Option<Live> {
        let (source, beats) = channel();
        io::stderr().is_terminal().then(|| Live { title: title.into(), total, beats, source })
    }

    /// A thread's end.
    pub fn pulse(&self) -> Pulse {
        let next = Instant::now() + PERIOD;
        Pulse { beats: self.source.clone(), latency_us: latencies(), errors: 0, next }
    }

    /// Draws until all threads have dropped their ends.
    pub fn draw(self) {
        let Live { title, total, beats, source } = self;
        drop(source);
        let bar = bar(total);
        let begun = Instant::now();
        let (mut since, mut latency_us, mut errors) = (begun, latencies(), 0);
        for beat in beats {
            bar.inc(beat.latency_us.len());
            latency_us.add(&beat.latency_us).expect("equal bounds");
            errors += beat.errors;
            if since.elapsed() >= PERIOD {
                let seconds = since.elapsed().as_secs_f64();
                bar.set_message(format!("{title} {}", line(begun.elapsed(), seconds, &latency_us, errors)));
                (since, latency_us) = (Instant::now(), latencies());
            }
        }
        bar.finish_and_clear();
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{wide_bar} {percent}% {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn line(since: Duration, seconds: f64, latency_us: &Histogram<u64>, errors: u64) -> String {
    let ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1e3;
    format!(
        "{:3} s  {:.0}/s  p50 {:.2} ms  p99 {:.2} ms  max {:.1} ms  errors {errors}",
        since.as_secs(),
        latency_us.len() as f64 / seconds,
        ms(0.5),
        ms(0.99),
        latency_us.max() as f64 / 1e3,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_rate_and_latency_of_the_last_moment() {
        let mut latency_us = latencies();
        (0..1_000).for_each(|_| latency_us.record(1_500).unwrap());
        let line = line(Duration::from_secs(7), 0.5, &latency_us, 3);
        assert_eq!(line, "  7 s  2000/s  p50 1.50 ms  p99 1.50 ms  max 1.5 ms  errors 3");
    }
}
