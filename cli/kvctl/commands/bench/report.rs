//! Results as they are printed: the JSON document that scripts and `compare` read, and rows for people.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::figures::{Figures, FiguresByKind};
use super::strain::Strain;
use crate::output::{Answer, Section, remark};

const HEADER: [&str; 9] =
    ["OPERATION", "OPS/S", "P50 US", "P90 US", "P99 US", "P99.9 US", "MAX US", "ERRORS", "MISSES"];
/// The quantiles of every result, with their names.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub figures: FiguresByKind,
    pub strain: Strain,
    /// How long was measured.
    pub measured: Duration,
}

impl Outcome {
    /// Operations answered per second, while it was measured.
    pub fn rate(&self, figures: &Figures) -> f64 {
        figures.in_time as f64 / self.measured.as_secs_f64().max(1e-6)
    }

    /// `operations` and `all`, as in every result.
    pub fn json(&self) -> Value {
        let operations: Map<String, Value> =
            self.figures.kinds.iter().map(|(kind, figures)| (kind.name().to_owned(), self.one(figures))).collect();
        json!({ "operations": operations, "all": self.one(&self.figures.all()), "generator": self.strain.json() })
    }

    fn one(&self, figures: &Figures) -> Value {
        let latency = &figures.latency_us;
        let mut latencies: Map<String, Value> =
            QUANTILES.iter().map(|(name, q)| (name.to_string(), latency.value_at_quantile(*q).into())).collect();
        latencies.insert("max".into(), latency.max().into());
        latencies.insert("mean".into(), ((latency.mean() * 10.0).round() / 10.0).into());
        json!({
            "ops_per_second": (self.rate(figures) * 10.0).round() / 10.0,
            "latency_us": latencies,
            "errors": figures.errors,
            "misses": figures.misses,
        })
    }

    /// A row for each kind, and one for all if they are several.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> =
            self.figures.kinds.iter().map(|(kind, figures)| self.row(kind.name(), figures)).collect();
        if rows.len() > 1 {
            rows.push(self.row("all", &self.figures.all()));
        }
        rows
    }

    fn row(&self, name: &str, figures: &Figures) -> Vec<String> {
        let latency = &figures.latency_us;
        let quantiles = QUANTILES.iter().map(|(_, quantile)| latency.value_at_quantile(*quantile));
        let numbers = quantiles.chain([latency.max(), figures.errors, figures.misses]);
        [name.to_owned(), format!("{:.0}", self.rate(figures))]
            .into_iter()
            .chain(numbers.map(|number| number.to_string()))
            .collect()
    }

    /// Says on standard error what casts doubt on the figures.
    pub fn warn(&self) {
        let errors: u64 = self.figures.kinds.values().map(|figures| figures.errors).sum();
        if let Some(error) = &self.figures.first_error {
            remark(format_args!("{errors} requests failed, the first with: {error}"));
        }
        for warning in self.strain.warnings() {
            remark(warning);
        }
    }

    /// The answer of a single run, which `run` describes.
    pub fn answer(&self, run: Value) -> Answer {
        self.warn();
        let mut json = self.json();
        json["run"] = run;
        Answer { code: self.figures.unanswered(), ..Answer::new(json, Section::new(&HEADER, self.rows())) }
    }
}

#[cfg(test)]
mod tests {
    use net::client::ClientError;

    use super::super::workload::Kind;
    use super::*;
    use crate::exit::Code;

    fn outcome() -> Outcome {
        let mut figures = FiguresByKind::of(&[Kind::Get, Kind::Put]);
        for ms in 1..=100 {
            figures.kind(Kind::Get).answered(Duration::from_millis(ms), ms > 10);
            figures.kind(Kind::Get).in_time += 1;
        }
        figures.kind(Kind::Put).answered(Duration::from_millis(5), true);
        figures.kind(Kind::Put).in_time += 1;
        figures.failed(Kind::Put, ClientError::Forbidden);
        Outcome { figures, strain: Strain::default(), measured: Duration::from_secs(2) }
    }

    #[test]
    fn the_document_has_the_promised_form() {
        let json = outcome().json();
        let get = &json["operations"]["get"];
        assert_eq!(get["ops_per_second"], 50.0);
        assert_eq!((&get["errors"], &get["misses"]), (&json!(0), &json!(10)));
        for (name, ms) in [("p50", 50), ("p90", 90), ("p99", 99), ("p999", 100), ("max", 100)] {
            let us = get["latency_us"][name].as_u64().unwrap();
            assert!(us.abs_diff(ms * 1_000) < 200, "{name}: {us}");
        }
        assert_eq!(json["operations"]["put"]["errors"], 1);
        assert_eq!(json["all"]["ops_per_second"], 50.5);
    }

    #[test]
    fn several_kinds_have_a_row_for_all() {
        let rows = outcome().rows();
        let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["get", "put", "all"]);
        assert!(rows.iter().all(|row| row.len() == HEADER.len()));
    }

    #[test]
    fn a_run_without_an_answer_ends_with_the_code_that_leaves_most_in_doubt() {
        let why = || "no answer".to_owned();
        let ended = |errors: &[ClientError]| {
            let mut all = FiguresByKind::of(&[Kind::Put]);
            for error in errors {
                let mut thread = FiguresByKind::of(&[]);
                thread.failed(Kind::Put, error.clone());
                all.add(&thread);
            }
            Outcome { figures: all, ..outcome() }.answer(json!({})).code
        };
        let too_large = ClientError::TooLarge { limit: 1 };
        let gone = ClientError::NotApplied { why: why() };
        assert_eq!(ended(&[]), Some(Code::Unavailable));
        assert_eq!(ended(&[too_large.clone(), too_large.clone()]), Some(Code::Error));
        assert_eq!(ended(&[too_large.clone(), gone.clone()]), Some(Code::Unavailable));
        assert_eq!(ended(&[gone, ClientError::OutcomeUnknown { why: why() }, too_large]), Some(Code::Unknown));
        assert_eq!(outcome().answer(json!({})).code, None, "something was measured");
    }
}
