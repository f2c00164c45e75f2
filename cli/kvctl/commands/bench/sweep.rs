//! `bench sweep`: an open loop at one rate after another, for the curve of latency against offered rate.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::chart::{Curve, chart};
use super::report::Outcome;
use super::run::{Load, Offered};
use super::workload::Kind;
use crate::args::{BenchSweep, Globals};
use crate::exit::{Code, Failure};
use crate::output::{Answer, Section};

const HEADER: [&str; 10] =
    ["OFFERED/S", "OPERATION", "OPS/S", "P50 US", "P99 US", "P99.9 US", "MAX US", "ERRORS", "LATE", "HELD BACK"];
/// Rates to try, as shares of what a closed loop reached: doubling, and closer together at the end.
const SHARES: [f64; 7] = [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 3.0 / 4.0, 9.0 / 10.0, 1.0];
/// Fewer answers than this share of the offered rate mean that the cluster does not keep up.
const KEPT_UP_SHARE: f64 = 0.95;

/// One rate and what came of it.
struct Step {
    offered: f64,
    outcome: Outcome,
}

impl Step {
    fn achieved(&self) -> f64 {
        self.outcome.rate(&self.outcome.figures.all())
    }

    fn kept_up(&self) -> bool {
        self.achieved() >= self.offered * KEPT_UP_SHARE
    }
}

pub fn sweep(globals: &Globals, sweep: &BenchSweep) -> Result<Answer, Failure> {
    if let Some(path) = &sweep.svg {
        // Not after minutes of measuring.
        writable(path).map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
    }
    let closed = match &sweep.rates[..] {
        [] => Some(highest(globals, sweep)?),
        _ => None,
    };
    let rates = match &closed {
        None => in_order(&sweep.rates),
        Some(closed) => found(closed.rate(&closed.figures.all())),
    };
    let mut steps: Vec<Step> = Vec::new();
    for (number, rate) in rates.iter().enumerate() {
        let load = Load::of(&sweep.work, Some(Offered { rate: *rate, arrivals: sweep.arrivals }))?;
        let outcome = load.measure(globals, &format!("rate {} of {}: {rate:.0}/s", number + 1, rates.len()))?;
        outcome.warn();
        let step = Step { offered: *rate, outcome };
        let go_on = step.kept_up() || closed.is_none();
        steps.push(step);
        if !go_on {
            break;
        }
    }
    if let Some(path) = &sweep.svg {
        let title = format!("{}: latency against offered rate", sweep.work.workload.name());
        let drawn = chart(&title, &curves(&steps)).map_err(Failure::error)?;
        fs::write(path, drawn).map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
    }
    answer(sweep, closed.as_ref(), &steps)
}

/// Whether a chart can be put there. What is there stays until it is drawn.
fn writable(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path).map(drop)
}

/// What a closed loop of the same clients reaches.
fn highest(globals: &Globals, sweep: &BenchSweep) -> Result<Outcome, Failure> {
    let outcome = Load::of_closed_with_many(&sweep.work)?.measure(globals, "closed loop")?;
    outcome.warn();
    match outcome.figures.unanswered() {
        None => Ok(outcome),
        Some(code) => {
            let why = outcome.figures.first_error.unwrap_or_else(|| "nothing was answered in time".to_owned());
            let failure = Failure::new(code, format!("no rate can be found: {why}"));
            let helps = matches!(code, Code::Unavailable | Code::Unknown);
            Err(if helps { failure.hint("kvctl status") } else { failure })
        }
    }
}

fn found(highest: f64) -> Vec<f64> {
    SHARES.iter().map(|share| (highest * share).round().max(1.0)).collect()
}

fn in_order(rates: &[f64]) -> Vec<f64> {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    rates
}

fn answer(sweep: &BenchSweep, closed: Option<&Outcome>, steps: &[Step]) -> Result<Answer, Failure> {
    let described = |step: &Step| {
        let mut json = step.outcome.json();
        json["offered_per_second"] = json!(step.offered);
        json["achieved_per_second"] = json!((step.achieved() * 10.0).round() / 10.0);
        json["kept_up"] = json!(step.kept_up());
        json
    };
    let offered = steps.first().map(|step| Offered { rate: step.offered, arrivals: sweep.arrivals });
    let mut run = Load::of(&sweep.work, offered)?.described();
    if let Some(run) = run.as_object_mut() {
        run.remove("offered_per_second");
    }
    let json = json!({
        "closed_loop": closed.map(Outcome::json),
        "steps": steps.iter().map(described).collect::<Vec<Value>>(),
        "run": run,
    });
    // None if one of them was answered.
    let codes: Option<Vec<Code>> = steps.iter().map(|step| step.outcome.figures.unanswered()).collect();
    let code = codes.and_then(Code::worst);
    Ok(Answer { code, ..Answer::new(json, Section::new(&HEADER, steps.iter().flat_map(rows).collect())) })
}

fn rows(step: &Step) -> Vec<Vec<String>> {
    let strain = &step.outcome.strain;
    let row = |(kind, figures): (&Kind, &super::figures::Figures)| {
        let latency = &figures.latency_us;
        let quantiles = [0.5, 0.99, 0.999].map(|quantile| latency.value_at_quantile(quantile));
        let rates = [step.offered, step.outcome.rate(figures)].map(|rate| format!("{rate:.0}"));
        let numbers = quantiles.into_iter().chain([latency.max(), figures.errors, strain.late, strain.held_back]);
        let [offered, achieved] = rates;
        [offered, kind.name().to_owned(), achieved].into_iter().chain(numbers.map(|n| n.to_string())).collect()
    };
    step.outcome.figures.kinds.iter().map(row).collect()
}

/// p50 and p99 of each kind, in milliseconds, at each rate.
fn curves(steps: &[Step]) -> Vec<Curve> {
    let kinds: Vec<Kind> =
        steps.first().map(|step| step.outcome.figures.kinds.keys().copied().collect()).unwrap_or_default();
    let mut curves = Vec::new();
    for kind in kinds {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let point = |step: &Step| {
                let figures = step.outcome.figures.kinds.get(&kind)?;
                let answered = !figures.latency_us.is_empty();
                answered.then(|| (step.offered, figures.latency_us.value_at_quantile(quantile) as f64 / 1e3))
            };
            curves.push(Curve {
                name: format!("{} {name}", kind.name()),
                points: steps.iter().filter_map(point).collect(),
            });
        }
    }
    curves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_rates_double_up_to_what_a_closed_loop_reached() {
        let rates = found(80_000.0);
        assert_eq!(rates, [5_000.0, 10_000.0, 20_000.0, 40_000.0, 60_000.0, 72_000.0, 80_000.0]);
        assert!(found(3.0).iter().all(|rate| *rate >= 1.0));
    }

    #[test]
    fn a_chart_stays_until_another_is_drawn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        fs::write(&path, "drawn before").unwrap();
        writable(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "drawn before");
        writable(&directory.path().join("new.svg")).unwrap();
        assert!(writable(directory.path()).is_err());
    }

    #[test]
    fn given_rates_are_offered_once_each_from_the_lowest_on() {
        assert_eq!(in_order(&[5.0, 1.0, 5.0, 2.0]), [1.0, 2.0, 5.0]);
    }
}
