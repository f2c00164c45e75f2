//! `kvctl bench` against a real cluster: every workload answers without errors, results have their form, and what
//! makes no sense is refused in words.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Run, kvctl, scratch, shared, start};

const NOBODY: [&str; 1] = ["127.0.0.1:1"];
/// Keys that every test here loads and reads.
const KEYS: &str = "400";

fn bench(arguments: &[&str]) -> Run {
    kvctl(shared(), &[&["bench"], arguments].concat())
}

fn load() {
    let loaded = bench(&["load", "--keys", KEYS, "--value-size", "20", "--connections", "3", "-o", "json"]).exits(0);
    let put = &loaded.json()["operations"]["put"];
    assert_eq!((&put["errors"], &put["misses"]), (&0.into(), &0.into()), "{put}");
}

/// A short run; `more` goes before the defaults here.
fn run(workload: &str, more: &[&str]) -> Value {
    let mut arguments = ["run", workload, "-o", "json"].to_vec();
    arguments.extend(more);
    let defaults =
        [("--keys", KEYS), ("--clients", "6"), ("--connections", "2"), ("--duration", "400ms"), ("--warmup", "0s")];
    for (option, value) in defaults {
        if !more.contains(&option) {
            arguments.extend([option, value]);
        }
    }
    bench(&arguments).exits(0).json()
}

fn operations(result: &Value) -> Vec<&str> {
    result["operations"].as_object().expect("operations").keys().map(String::as_str).collect()
}

#[test]
fn every_workload_runs_its_operations_and_finds_what_was_loaded() {
    load();
    let workloads: [(&str, &[&str]); 10] = [
        ("put", &["put"]),
        ("scan", &["scan"]),
        ("get", &["get"]),
        ("mixed", &["get", "put"]),
        ("ycsb-a", &["get", "put"]),
        ("ycsb-b", &["get", "put"]),
        ("ycsb-c", &["get"]),
        ("ycsb-d", &["get", "insert"]),
        ("ycsb-e", &["insert", "scan"]),
        ("ycsb-f", &["get", "read_modify_write"]),
    ];
    for (workload, wanted) in workloads {
        let result = run(workload, &[]);
        assert_eq!(operations(&result), wanted, "{workload}");
        assert_eq!(result["run"]["value_size"], if workload.starts_with("ycsb") { 1_000 } else { 100 });
        assert!(result["all"]["ops_per_second"].as_f64() > Some(0.0), "{workload}: {result}");
        for (name, figures) in result["operations"].as_object().expect("operations") {
            assert_eq!(figures["errors"], 0, "{name} of {workload}: {result}");
            assert_eq!(figures["misses"], 0, "{name} of {workload}: {result}");
            let latencies = ["p50", "p90", "p99", "p999", "max"].map(|figure| figures["latency_us"][figure].as_u64());
            assert!(latencies.iter().all(Option::is_some) && latencies.is_sorted(), "{name} of {workload}: {result}");
        }
        assert_eq!(result["generator"]["threads"], 2, "{workload}");
    }
}

#[test]
fn what_is_deleted_is_missed() {
    // A cluster of its own: other tests count on the keys of the shared one.
    let cluster = start("bench-delete", &[1, 1, 1]);
    let run = |workload: &str| {
        let short = ["--keys", "50", "--clients", "4", "--duration", "500ms", "--warmup", "0s", "-o", "json"];
        let result = kvctl(&cluster.endpoints(), &[&["bench", "run", workload], &short[..]].concat()).exits(0).json();
        result["operations"][workload].clone()
    };
    kvctl(&cluster.endpoints(), &["bench", "load", "--keys", "50"]).exits(0);
    assert_eq!(run("get")["misses"], 0);
    let deleted = run("delete");
    assert!(deleted["ops_per_second"].as_f64() > Some(0.0) && deleted["errors"] == 0, "{deleted}");
    let read = run("get");
    assert!(read["misses"].as_u64() > Some(0), "{read}");
}

#[test]
fn a_swap_that_is_overtaken_is_a_miss_and_the_rest_succeeds() {
    // Eight clients on one key: each swap fails all others that have read before it.
    let one = ["--keys", "1", "--clients", "8", "--duration", "500ms", "--warmup", "0s"];
    let swapped = bench(&[&["run", "cas", "-o", "json"], &one[..]].concat()).exits(0).json();
    let cas = &swapped["operations"]["cas"];
    assert_eq!(cas["errors"], 0, "{swapped}");
    let all = (cas["ops_per_second"].as_f64().expect("a rate") * 0.5).round() as u64;
    let misses = cas["misses"].as_u64().expect("misses");
    assert!(misses > 0 && misses < all, "{misses} of {all}");
}

#[test]
fn a_mix_of_reads_alone_has_no_writes() {
    load();
    let result = run("mixed", &["--read-share", "1", "--distribution", "zipfian"]);
    assert_eq!(operations(&result), ["get"]);
    assert_eq!(result["run"]["read_share"], 1.0);
}

#[test]
fn a_read_of_keys_that_were_never_written_is_a_miss() {
    // The first 400 of a billion keys may be there, and hardly one of them is drawn.
    let result = bench(&["run", "get", "--keys", "1000000000", "--duration", "300ms", "--warmup", "0s", "-o", "json"]);
    let get = &result.exits(0).json()["operations"]["get"];
    assert!(get["misses"].as_u64() > Some(0), "{get}");
}

#[test]
fn an_open_loop_sends_no_more_than_its_rate() {
    for arrivals in ["even", "poisson"] {
        let result = run("put", &["--rate", "200", "--arrivals", arrivals, "--duration", "2s"]);
        let rate = result["operations"]["put"]["ops_per_second"].as_f64().expect("a rate");
        // A hundred more than 400 would be ten deviations from the mean.
        assert!(rate > 0.0 && rate < 300.0, "{arrivals}: {result}");
        assert_eq!((&result["run"]["loop"], &result["run"]["arrivals"]), (&"open".into(), &arrivals.into()));
        assert!(result["generator"]["late"].is_u64() && result["generator"]["behind"].is_u64(), "{result}");
    }
}

#[test]
fn latency_in_an_open_loop_counts_from_the_moment_a_request_was_due() {
    // One client cannot keep up with this: requests wait for it, and their latency says so.
    let result = run("put", &["--rate", "1M", "--clients", "1", "--connections", "1", "--duration", "1s"]);
    let max = result["operations"]["put"]["latency_us"]["max"].as_u64();
    assert!(max > Some(500_000), "behind by most of a second at the end: {result}");
    assert!(result["generator"]["held_back"].as_u64() > Some(0), "{result}");
    assert!(result["generator"]["behind"].as_u64() > Some(100_000), "{result}");
    assert!(!result["generator"]["warnings"].as_array().expect("warnings").is_empty(), "{result}");
}

#[test]
fn a_sweep_measures_each_rate_and_draws_a_chart() {
    let svg = scratch("sweep").join("chart.svg");
    let path = svg.to_str().expect("text");
    let sweep = ["sweep", "mixed", "--rates", "200,0.1k", "--keys", KEYS, "--duration", "500ms", "--warmup", "0s"];
    let result = bench(&[&sweep[..], &["--svg", path, "-o", "json"]].concat()).exits(0).json();
    let steps = result["steps"].as_array().expect("steps");
    let offered: Vec<_> = steps.iter().filter_map(|step| step["offered_per_second"].as_f64()).collect();
    assert_eq!(offered, [100.0, 200.0]);
    for step in steps {
        assert_eq!(operations(step), ["get", "put"]);
        assert!(step["kept_up"].is_boolean() && step["achieved_per_second"].is_number(), "{step}");
    }
    let drawn = std::fs::read_to_string(&svg).expect("a chart");
    assert!(drawn.contains("<svg") && drawn.contains("put p99") && drawn.trim_end().ends_with("</svg>"), "{drawn}");
}

#[test]
fn a_sweep_without_rates_finds_them_by_a_closed_loop() {
    let sweep = ["sweep", "put", "--keys", KEYS, "--clients", "4", "--duration", "200ms", "--warmup", "0s"];
    let result = bench(&[&sweep[..], &["-o", "json"]].concat()).exits(0).json();
    let highest = result["closed_loop"]["all"]["ops_per_second"].as_f64().expect("a rate");
    let first = result["steps"][0]["offered_per_second"].as_f64().expect("a rate");
    assert!((first - highest / 16.0).abs() <= 1.0, "{first} of {highest}");
}

#[test]
fn two_results_are_compared() {
    load();
    let directory = scratch("compare");
    let write = |name: &str, result: &Value| {
        let path = directory.join(name);
        std::fs::write(&path, result.to_string()).expect("written");
        path
    };
    let (a, b) = (write("a.json", &run("ycsb-a", &[])), write("b.json", &run("ycsb-a", &["--clients", "2"])));
    let paths = |a: &Path, b: &Path| [a.to_str().expect("text").to_owned(), b.to_str().expect("text").to_owned()];
    let [a, b] = paths(&a, &b);
    let compared = kvctl(&NOBODY, &["bench", "compare", &a, &b, "-o", "json"]).exits(0);
    assert!(compared.stderr.contains("clients: 6 and 2"), "{}", compared.stderr);
    let compared = compared.json();
    for operation in ["get", "put"] {
        for figure in ["ops_per_second", "p50_us", "p99_us", "p999_us", "max_us"] {
            assert!(
                compared["operations"][operation][figure]["ratio"].is_number(),
                "{figure} of {operation}: {compared}"
            );
        }
    }
    let same = kvctl(&NOBODY, &["bench", "compare", &a, &a, "-o", "plain"]).exits(0);
    assert!(same.text().lines().all(|line| line.ends_with("\t1.00 x")), "{}", same.text());
    let broken = write("broken.json", &Value::Null);
    let refused = kvctl(&NOBODY, &["bench", "compare", &a, broken.to_str().expect("text")]).exits(1);
    assert!(refused.stderr.contains("broken.json: not a result of"), "{}", refused.stderr);
    kvctl(&NOBODY, &["bench", "compare", &a, "/nowhere.json"]).exits(1);
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let wrong: &[(&[&str], &str)] = &[
        (&["run"], "required"),
        (&["run", "dance"], "ycsb-a"),
        (&["run", "put", "--rate", "0"], "requests a second"),
        (&["run", "put", "--rate", "fast"], "requests a second"),
        (&["run", "put", "--arrivals", "poisson"], "--rate"),
        (&["run", "mixed", "--read-share", "2"], "from 0 to 1"),
        (&["run", "put", "--read-share", "0.5"], "--read-share is for mixed"),
        (&["run", "ycsb-a", "--distribution", "uniform"], "what ycsb-a sends is fixed"),
        (&["run", "put", "--duration", "0s"], "in no time"),
        (&["run", "put", "--duration", "soon"], "--duration"),
        (&["run", "put", "--clients", "0"], "--clients"),
        (&["run", "put", "--keys", "0"], "--keys"),
        (&["load", "--keys", "0"], "--keys"),
        (&["load", "--rate", "5"], "--rate"),
        (&["sweep", "put", "--rates", "1,,2"], "--rates"),
        (&["sweep", "put", "--rate", "5"], "--rate"),
        (&["compare", "only-one.json"], "<B>"),
    ];
    for (arguments, words) in wrong {
        let refused = kvctl(&NOBODY, &[&["bench"], *arguments].concat()).exits(2);
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
    let chart = kvctl(&NOBODY, &["bench", "sweep", "put", "--svg", "/nowhere/chart.svg"]).exits(1);
    assert!(chart.stderr.contains("/nowhere/chart.svg"), "{}", chart.stderr);
}

#[test]
fn without_a_cluster_nothing_is_measured() {
    let short = ["--timeout", "200ms", "--duration", "300ms", "--warmup", "0s", "--keys", "10"];
    kvctl(&NOBODY, &[&["bench", "run", "mixed"], &short[..]].concat()).exits(5);
    kvctl(&NOBODY, &[&["bench", "sweep", "put"], &short[..]].concat()).exits(5);
    kvctl(&NOBODY, &["bench", "load", "--timeout", "200ms", "--keys", "10"]).exits(5);
}
