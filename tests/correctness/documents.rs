//! Every command in every format: one document, the shape that was promised, the exit code.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{GROUPS, Run, kvctl, kvctl_with_input, shared, unique};

const FORMATS: [&str; 3] = ["table", "plain", "json"];
const NOBODY: [&str; 1] = ["127.0.0.1:1"];

#[test]
fn every_command_answers_in_every_format() {
    let key = unique("formats");
    kvctl(shared(), &["put", &key, "1"]).exits(0);
    let rows = format!("{key}\t1\n");
    let commands: &[&[&str]] = &[
        &["get", &key],
        &["put", &key, "1"],
        &["cas", &key, "--expect", "1", "--set", "1"],
        &["scan", "--prefix", &key],
        &["status"],
        &["group", "list"],
        &["group", "locate", &key],
        &["group", "checksum", "--timeout", "20s"],
        &["data", "import", "-", "--format", "tsv"],
        &["bench", "run", "put", "--duration", "200ms", "--warmup", "0s", "--keys", "10"],
        &["bench", "run", "get", "--duration", "200ms", "--warmup", "0s", "--keys", "10"],
        &["bench", "load", "--keys", "10"],
        &["bench", "sweep", "get", "--rates", "50", "--duration", "200ms", "--warmup", "0s", "--keys", "10"],
        &["del", &key],
    ];
    for format in FORMATS {
        kvctl(shared(), &["put", &key, "1"]).exits(0);
        for command in commands {
            let run = kvctl_with_input(shared(), &[command, &["-o", format][..]].concat(), rows.as_bytes()).exits(0);
            let text = run.text();
            assert!(text.ends_with('\n'), "{command:?} {format}: {text:?}");
            match format {
                "json" => assert!(run.json().is_object(), "{command:?}: {text}"),
                "plain" => assert!(text.lines().next().is_some_and(|line| !line.contains("  ")), "{command:?}: {text}"),
                _ => assert!(text.lines().count() >= 2, "{command:?} has no header: {text}"),
            }
        }
    }
}

#[test]
fn a_missing_key_is_exit_code_3_in_every_format() {
    let key = unique("missing");
    for format in FORMATS {
        let run = kvctl(shared(), &["get", &key, "-o", format]).exits(3);
        assert!(run.stderr.contains(&key));
        if format == "json" {
            let error = &run.json()["error"];
            assert_eq!((&error["code"], &error["exit"]), (&json!("not_found"), &json!(3)));
        } else {
            assert!(run.stdout.is_empty());
        }
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_code_2() {
    let wrong: &[&[&str]] = &[
        &["get"],
        &["fly"],
        &["put", "k"],
        &["scan", "--prefix", "a", "--start", "b"],
        &["scan", "--limit", "0"],
        &["get", "k", "-o", "yaml"],
        &["get", "k", "--timeout", "soon"],
        &["get", "--encoding", "escaped", "\\q"],
        &["data", "import", "rows.txt"],
        &["data", "import", "-"],
        &["bench", "run", "dance"],
        &["demo", "--replication", "4"],
        &["demo", "--replication", "5", "--nodes", "3"],
    ];
    for arguments in wrong {
        kvctl(shared(), arguments).exits(2);
    }
    let run = kvctl(shared(), &["get", "-o", "json"]).exits(2);
    assert_eq!(run.json()["error"]["code"], "usage");
    assert!(run.json()["error"]["message"].as_str().is_some_and(|message| message.contains("<KEY>")), "{run:?}");
}

#[test]
fn endpoints_that_cannot_be_meant_are_exit_code_2_and_name_the_option() {
    let refused = |wrong: &str, run: Run| {
        assert!(run.code == 2 && run.stderr.contains("--endpoints"), "{wrong:?}: {run:?}");
    };
    for wrong in ["foo", "127.0.0.1:1,", "127.0.0.1:0"] {
        refused(wrong, kvctl(&NOBODY, &["-e", wrong, "status"]));
        refused(wrong, kvctl(&[wrong], &["status"]));
    }
    refused("", kvctl(&NOBODY, &["-e", "", "status"]));
}

#[test]
fn an_empty_variable_counts_as_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command.env("KVCTL_ENDPOINTS", "").env("KVCTL_OUTPUT", "").args(["bench", "compare", "/nowhere/a", "/nowhere/b"]);
    let output = command.output().expect("kvctl ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("/nowhere/a"), "{}: {said}", output.status);
}

#[test]
fn a_cluster_that_is_not_there_is_exit_code_5() {
    for format in FORMATS {
        for command in [&["get", "k"][..], &["put", "k", "v"], &["status"], &["group", "checksum"], &["scan"]] {
            let arguments = [command, &["-o", format, "--timeout", "300ms"]].concat();
            let run = kvctl(&NOBODY, &arguments).exits(5);
            assert!(run.stderr.contains(NOBODY[0]), "{command:?} does not say who was asked: {}", run.stderr);
            let sent_back = command == ["status"] && run.stderr.contains("hint: kvctl status");
            assert!(run.stderr.contains("hint: ") && !sent_back, "{command:?}: {}", run.stderr);
            if format == "json" {
                assert_eq!(run.json()["error"]["exit"], 5);
            }
        }
    }
}

#[test]
fn a_remark_that_cannot_be_written_changes_no_exit_code() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command.args(["-e", NOBODY[0], "get", "k", "--timeout", "300ms"]).stdout(Stdio::null());
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("a disk that is always full");
    assert_eq!(command.stderr(full()).status().expect("kvctl ends").code(), Some(5));
}

#[test]
fn settings_that_cannot_be_written_out_are_exit_code_1() {
    let kvd = |arguments: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvd"));
        let run = command.args(arguments).stdout(out).stderr(Stdio::piped()).spawn().expect("kvd starts");
        run.wait_with_output().expect("kvd ends")
    };
    for arguments in [&["config", "default"][..], &["config", "show"], &["config", "check"], &["version"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a disk that is always full");
        let run = kvd(arguments, full.into());
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.code() == Some(1) && said.contains("standard output"), "{arguments:?}: {said}");
        // Nobody reads any more, as when `head` has seen enough.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = kvd(arguments, writer.into());
        assert!(run.status.success() && run.stderr.is_empty(), "{arguments:?}: {run:?}");
    }
}

#[test]
fn a_server_that_speaks_something_else_is_exit_code_8() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // Ends with the process of this test. No connection is closed: its end could come before what was said.
    std::thread::spawn(move || {
        let mut callers = Vec::new();
        for mut caller in listener.incoming().flatten() {
            let _ = caller.write_all(&[b'?'; 64]);
            callers.push(caller);
        }
    });
    for command in [&["get", "k"][..], &["put", "k", "v"], &["status"]] {
        let run = kvctl(&[&address], &[command, &["-o", "json", "--timeout", "500ms"]].concat()).exits(8);
        assert_eq!(run.json()["error"]["code"], "protocol", "{command:?}");
    }
}

#[test]
fn one_endpoint_of_many_is_enough() {
    let endpoints = [NOBODY[0], &shared()[0]];
    kvctl(&endpoints, &["status"]).exits(0);
    kvctl(&NOBODY, &["-e", &shared()[1], "status"]).exits(0);
}

#[test]
fn status_names_every_node_and_every_group() {
    let status = kvctl(shared(), &["status", "-o", "json"]).exits(0).json();
    let nodes = status["nodes"].as_array().expect("nodes");
    let names: Vec<&Value> = nodes.iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    assert!(nodes.iter().all(|node| node["reachable"] == true && node["address"].is_string()));
    let groups = status["groups"].as_array().expect("groups");
    let ids: Vec<u64> = groups.iter().filter_map(|group| group["id"].as_u64()).collect();
    assert_eq!(ids, (1..=u64::from(GROUPS)).collect::<Vec<_>>());
    for group in groups.iter().chain([&status["map_group"]]) {
        assert!(names.contains(&&group["leader"]), "{group}");
        assert!(group["term"].as_u64() >= Some(1) && group["commit"].as_u64() >= Some(1), "{group}");
        let replicas = group["replicas"].as_array().expect("replicas");
        assert_eq!(replicas.len(), 3);
        for replica in replicas {
            for field in ["applied", "first_log_index", "last_log_index", "snapshots_installed"] {
                assert!(replica[field].is_u64(), "{field} of {replica}");
            }
            assert!(names.contains(&&replica["node"]), "{replica}");
        }
    }
    let list = kvctl(shared(), &["group", "list", "-o", "json"]).exits(0).json();
    assert_eq!(list["groups"].as_array().map(Vec::len), Some(groups.len()));
}

#[test]
fn locate_says_where_a_key_lives() {
    let located = kvctl(shared(), &["group", "locate", "user:42", "-o", "json"]).exits(0).json();
    assert_eq!(located["key"], "user:42");
    assert_eq!(located["slot"], xxhash_rust::xxh3::xxh3_64(b"user:42") % 16_384);
    assert!((1..=u64::from(GROUPS)).contains(&located["group"].as_u64().expect("a group")));
    assert!(located["leader"].is_string());
}

#[test]
fn checksums_of_all_replicas_agree() {
    let sums = kvctl(shared(), &["group", "checksum", "-o", "json", "--timeout", "30s"]).exits(0).json();
    assert_eq!(sums["agree"], true);
    let groups = sums["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), GROUPS as usize);
    for group in groups {
        let replicas = group["replicas"].as_array().expect("replicas");
        assert_eq!(replicas.len(), 3);
        assert!(replicas.iter().all(|replica| replica["hash"] == replicas[0]["hash"]), "{group}");
    }
}

#[test]
fn bench_reports_the_documented_figures() {
    let run = ["bench", "run", "put", "--clients", "8", "--connections", "2", "--depth", "2", "--value-size", "50"];
    let rest = ["--keys", "100", "--duration", "500ms", "--warmup", "100ms", "-o", "json"];
    let report = kvctl(shared(), &[&run[..], &rest].concat()).exits(0).json();
    let put = &report["operations"]["put"];
    assert!(put["ops_per_second"].as_f64() > Some(0.0), "{report}");
    assert_eq!((put["errors"].as_u64(), put["misses"].as_u64()), (Some(0), Some(0)));
    let figures: Vec<u64> = ["p50", "p90", "p99", "p999", "max"]
        .iter()
        .map(|name| put["latency_us"][name].as_u64().unwrap_or_else(|| panic!("{name} in {report}")))
        .collect();
    assert!(figures.is_sorted(), "{report}");
}

#[test]
fn the_lines_of_the_readme_work_as_they_stand() {
    let readme = include_str!("../../README.md");
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("kvctl ")).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    for line in lines {
        let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
        kvctl(shared(), &arguments).exits(0);
    }
}

#[test]
fn every_help_ends_in_examples() {
    let commands: &[&[&str]] = &[
        &[],
        &["get"],
        &["put"],
        &["del"],
        &["cas"],
        &["scan"],
        &["status"],
        &["group"],
        &["group", "list"],
        &["group", "locate"],
        &["group", "checksum"],
        &["data"],
        &["data", "import"],
        &["node"],
        &["node", "stop"],
        &["node", "start"],
        &["bench"],
        &["bench", "load"],
        &["bench", "run"],
        &["bench", "sweep"],
        &["bench", "compare"],
        &["demo"],
    ];
    for command in commands {
        let run = kvctl(&NOBODY, &[command, &["--help"][..]].concat()).exits(0);
        assert!(run.text().contains("Examples:\n  "), "{command:?}: {}", run.text());
    }
}
