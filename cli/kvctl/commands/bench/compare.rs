//! `bench compare`: two results side by side, and how many times one is the other.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::report::QUANTILES;
use crate::exit::Failure;
use crate::output::{Answer, Section, remark};

const HEADER: [&str; 5] = ["OPERATION", "FIGURE", "A", "B", "B / A"];

pub fn compare(a: &Path, b: &Path) -> Result<Answer, Failure> {
    let (a, b) = (read(a)?, read(b)?);
    for difference in differences(&a, &b) {
        remark(format_args!("not the same run: {difference}"));
    }
    let mut operations = Map::new();
    let mut rows = Vec::new();
    for name in names(&a, &b) {
        let mut figures = Map::new();
        for (figure, pointer) in figures_of_an_operation() {
            let number = |result: &Value| result["operations"][&name].pointer(&pointer).and_then(Value::as_f64);
            let (a, b) = (number(&a), number(&b));
            let ratio = ratio(a, b);
            rows.push(vec![name.clone(), figure.clone(), shown(a), shown(b), ratio.map_or("-".into(), times)]);
            figures.insert(figure, json!({ "a": a, "b": b, "ratio": ratio }));
        }
        operations.insert(name, Value::Object(figures));
    }
    let json = json!({ "operations": operations, "differences": differences(&a, &b) });
    Ok(Answer::new(json, Section::new(&HEADER, rows)))
}

fn read(path: &Path) -> Result<Value, Failure> {
    let failed = |why: String| Failure::error(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let result: Value = serde_json::from_str(&text).map_err(|error| failed(format!("not JSON: {error}")))?;
    match result["operations"].as_object() {
        Some(operations) if !operations.is_empty() => Ok(result),
        _ => Err(failed("not a result of `kvctl bench run -o json`: it has no operations".into())),
    }
}

/// The operations of either result, each once.
fn names(a: &Value, b: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        [a, b].iter().filter_map(|result| result["operations"].as_object()).flat_map(Map::keys).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// What is compared, with its place in an operation's figures.
fn figures_of_an_operation() -> Vec<(String, String)> {
    let mut figures = vec![("ops_per_second".to_owned(), "/ops_per_second".to_owned())];
    let latencies = QUANTILES.iter().map(|(name, _)| *name).chain(["max"]);
    figures.extend(latencies.map(|name| (format!("{name}_us"), format!("/latency_us/{name}"))));
    figures
}

/// How often `a` goes into `b`.
fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let (a, b) = (a?, b?);
    (a > 0.0).then(|| (b / a * 1e4).round() / 1e4)
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2} x")
}

fn shown(number: Option<f64>) -> String {
    number.map_or("-".into(), |number| number.to_string())
}

/// What was not the same in both runs, such as `clients: 16 and 256`.
pub(super) fn differences(a: &Value, b: &Value) -> Vec<String> {
    let (Some(of_a), Some(of_b)) = (a["run"].as_object(), b["run"].as_object()) else { return Vec::new() };
    let mut names: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |value: Option<&Value>| value.map_or("none".to_owned(), |value| value.to_string().replace('"', ""));
    names
        .into_iter()
        .filter(|name| of_a.get(*name) != of_b.get(*name))
        .map(|name| format!("{name}: {} and {}", shown(of_a.get(name)), shown(of_b.get(name))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn result(clients: u32, put: f64, p99: u64) -> Value {
        json!({
            "operations": { "put": { "ops_per_second": put, "latency_us": { "p50": 10, "p90": 0, "p99": p99, "p999": 400,
                "max": 500 }, "errors": 0, "misses": 0 } },
            "run": { "clients": clients, "loop": "closed" },
        })
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn ratios_are_b_to_a_for_each_operation_and_quantile() {
        let (a, b) = (file(&result(16, 1_000.0, 300).to_string()), file(&result(16, 2_500.0, 150).to_string()));
        let answer = compare(a.path(), b.path()).unwrap();
        let put = &answer.json["operations"]["put"];
        assert_eq!(put["ops_per_second"], json!({ "a": 1_000.0, "b": 2_500.0, "ratio": 2.5 }));
        assert_eq!(put["p99_us"]["ratio"], 0.5);
        assert_eq!(put["p90_us"]["ratio"], Value::Null, "nothing goes into 0");
        assert_eq!(answer.sections[0].rows.len(), 6);
        assert_eq!(answer.sections[0].rows[0], ["put", "ops_per_second", "1000", "2500", "2.50 x"]);
        assert_eq!(answer.json["differences"], json!([]));
        assert!(answer.code.is_none());
    }

    #[test]
    fn other_conditions_and_other_operations_are_named() {
        let mut b = result(256, 1.0, 1);
        b["operations"] = json!({ "get": { "ops_per_second": 5.0 } });
        let (a, b) = (file(&result(16, 1.0, 1).to_string()), file(&b.to_string()));
        let answer = compare(a.path(), b.path()).unwrap();
        assert_eq!(answer.json["differences"], json!(["clients: 16 and 256"]));
        assert_eq!(answer.json["operations"]["get"]["ops_per_second"], json!({ "a": null, "b": 5.0, "ratio": null }));
        assert_eq!(answer.json["operations"]["put"]["p50_us"]["b"], Value::Null);
    }

    #[test]
    fn what_is_no_result_is_refused_with_its_name() {
        let good = file(&result(16, 1.0, 1).to_string());
        for text in ["", "{", "[]", "{\"operations\":{}}", "{\"steps\":[]}"] {
            let bad = file(text);
            let failure = compare(good.path(), bad.path()).unwrap_err();
            assert!(failure.message.contains(&*bad.path().to_string_lossy()), "{text}: {}", failure.message);
        }
        assert!(compare(Path::new("/nowhere/a.json"), good.path()).is_err());
    }
}
