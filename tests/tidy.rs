//! The house rules that a compiler does not know: who imports whom, what is absent, how large a file may be.
//!
//! A list below that names files gives each its reason; a file that no longer needs to be listed fails the test too,
//! so that the lists stay true.

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;

use source::{Source, sources};

/// More than this holds more than one idea.
const FILE_LINES_MAX: usize = 500;

/// Crates (by directory) and the crates of the workspace that their code may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("engine/raft", &[]),
    ("engine/core", &["raft"]),
    ("net", &["engine-core", "raft"]),
    ("config", &["engine-core"]),
    ("engine", &["config", "engine-core", "net", "raft"]),
];

/// Rooms (by path) and the rooms of the same crate and of `engine_core` that they may name.
const ROOMS: &[(&str, &[&str])] = &[
    ("engine/core/src/placement", &["placement"]),
    ("engine/core/src/exchange", &["exchange"]),
    ("engine/core/src/command", &["command"]),
    ("engine/core/src/sessions", &["sessions", "command"]),
    ("engine/core/src/snapshot", &["snapshot"]),
    ("engine/core/src/state_machine", &["state_machine", "sessions", "command", "placement", "snapshot"]),
    ("engine/core/src/group_map", &["group_map"]),
    ("engine/core/src/journal", &["journal", "command", "group_map"]),
    // Of the state machine, the shard knows only the runs that it hands to it, of sessions their names and limits.
    (
        "engine/core/src/shard",
        &["shard", "command", "exchange", "group_map", "placement", "sessions", "state_machine", "snapshot"],
    ),
    // Of placement, the store knows the number of the group that holds the map.
    ("engine/src/store", &["store", "state_machine", "sessions", "command", "snapshot", "placement", "group_map"]),
];

/// Files of `engine/` that share memory between threads, and why they must.
const SHARED: &[(&str, &str)] = &[
    ("engine/src/node/admin.rs", "the admin thread reads what the cores publish"),
    ("engine/src/node/core.rs", "the facts of the node, written once before the cores start"),
    ("engine/src/node/following.rs", "the cluster map, the same for all cores and doors, replaced as a whole"),
    ("engine/src/node/front.rs", "the front thread hands sockets over through the stage"),
    ("engine/src/node/health.rs", "one heartbeat a core, stored by it and read by the admin thread only"),
    ("engine/src/node/last_words.rs", "whoever fails after the node has ended must know that it has"),
    ("engine/src/node/lobby.rs", "callers before there is a cluster, counted against a limit"),
    ("engine/src/node/mesh.rs", "carries the cluster map to all cores when it changes"),
    ("engine/src/node/mod.rs", "makes what the threads share"),
    ("engine/src/node/queue.rs", "the lock-free queues between a core and its helpers"),
    ("engine/src/node/runtime/doorbell.rs", "other threads wake a core"),
    ("engine/src/node/signals.rs", "the signal thread sets the stage and the health"),
    ("engine/src/node/space.rs", "the thread that watches the disk tells the health"),
    ("engine/src/node/stage.rs", "what the node is up to, taken once for each connection, never for a request"),
    (
        "engine/src/store/front.rs",
        "the store thread writes back a table that nobody changes any more and the core still reads",
    ),
    ("engine/src/store/write_back.rs", "as front.rs"),
    ("engine/src/store/mod.rs", "RocksDB is shared by the threads of one core"),
];

/// Files that contain `unsafe`, and why they must.
const UNSAFE: &[(&str, &str)] = &[
    ("cli/kvd/checksums.rs", "RocksDB hands over bytes as C does"),
    ("cli/kvd/memory.rs", "the allocator is a C library, and so are its options"),
];

/// Packages that the project is built on, by the name their code is used under.
const FIXED: &[&str] = &["glommio", "rkyv", "rocksdb", "prometheus_client", "clap", "crc32fast", "futures_lite"];

#[test]
fn no_file_holds_more_than_one_idea() {
    let large: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines > FILE_LINES_MAX)
        .map(|source| format!("{}: {} lines", source.path, source.lines))
        .collect();
    assert!(large.is_empty(), "over {FILE_LINES_MAX} lines:\n{}", large.join("\n"));
}

#[test]
fn crates_depend_downward_only() {
    for (directory, allowed) in CRATES {
        let manifest = source::read(&format!("{directory}/Cargo.toml"));
        let dependencies = manifest.split("\n[").find(|part| part.starts_with("dependencies]")).unwrap_or("");
        for line in dependencies.lines().skip(1) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            let of_the_house = ["raft", "engine-core", "engine", "net", "config", "kv", "simulation"].contains(&name);
            assert!(!of_the_house || allowed.contains(&name), "{directory} must not depend on {name}");
        }
    }
}

#[test]
fn rooms_import_downward_only() {
    let mut wrong = Vec::new();
    let known: BTreeSet<&str> = ROOMS.iter().filter_map(|(room, _)| room.rsplit('/').next()).chain(["node"]).collect();
    for source in production() {
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| source.is_in(room)) else { continue };
        for root in ["crate", "engine_core"] {
            for name in source.named_under(root) {
                if known.contains(name.as_str()) && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{} names {root}::{name}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_that_has_a_rule_exists() {
    for (room, _) in ROOMS {
        assert!(production().iter().any(|source| source.is_in(room)), "{room} is gone; so should its rule be");
    }
}

#[test]
fn only_the_store_knows_rocksdb() {
    assert_only_in("rocksdb", &["engine/src/store"]);
}

#[test]
fn only_the_runtime_knows_glommio() {
    assert_only_in("glommio", &["engine/src/node/runtime"]);
}

#[test]
fn only_the_admin_port_knows_http_and_its_runtime() {
    for package in ["tokio", "hyper", "hyper_util"] {
        assert_only_in(package, &["engine/src/node/admin.rs"]);
    }
}

#[test]
fn a_state_change_is_never_half_done() {
    for word in ["await", "async"] {
        assert_absent(word, &["engine/raft", "engine/core"]);
    }
}

#[test]
fn what_is_pure_knows_no_clock_no_thread_and_no_file() {
    for path in ["time::Instant", "SystemTime", "std::thread", "std::fs", "std::net", "std::io::stdin", "std::env"] {
        assert_absent(path, &["engine/raft/src", "engine/core/src"]);
    }
    let pure = |source: &&Source| source.is_in("engine/raft/src") || source.is_in("engine/core/src");
    for source in production().into_iter().filter(pure) {
        let std = source.named_under("std");
        for module in ["time", "thread", "fs", "net", "process"] {
            assert!(!std.contains(module), "{} uses std::{module}", source.path);
        }
    }
}

#[test]
fn raft_has_no_trait_of_its_own() {
    for source in production().iter().filter(|source| source.is_in("engine/raft/src")) {
        let declares = source.code.lines().map(str::trim_start).any(|line| {
            line.starts_with("trait ") || line.starts_with("pub trait ") || line.starts_with("pub(crate) trait ")
        });
        assert!(!declares, "{} declares a trait", source.path);
    }
}

#[test]
fn cores_share_no_memory() {
    let words = [
        "Mutex",
        "RwLock",
        "Arc",
        "AtomicBool",
        "AtomicU8",
        "AtomicU16",
        "AtomicU32",
        "AtomicU64",
        "AtomicUsize",
        "OnceLock",
    ];
    assert_listed("shared memory", SHARED, |source| {
        source.is_in("engine") && words.iter().any(|word| source.has_word(word))
    });
}

#[test]
fn unsafe_says_why_it_is_safe() {
    assert_listed("unsafe", UNSAFE, |source| source.has_word("unsafe"));
    for source in production().iter().filter(|source| source.has_word("unsafe")) {
        assert!(source.text.contains("// SAFETY:"), "{} has no SAFETY comment", source.path);
    }
}

#[test]
fn nothing_is_printed_by_a_way_that_panics() {
    for word in ["print!", "println!", "eprint!", "eprintln!"] {
        // What a build script prints is read by cargo.
        assert_only_in(word, &["cli/kvd/build.rs"]);
    }
}

#[test]
fn every_fixed_package_does_real_work() {
    for package in FIXED {
        assert!(production().iter().any(|source| source.has_word(package)), "{package} is not used outside of tests");
    }
}

#[test]
fn no_committed_text_is_left_half_written() {
    for source in sources() {
        for mark in ["todo!", "unimplemented!", "FIXME", "XXX"] {
            let here = source.path == "tests/tidy.rs";
            assert!(here || !source.text.contains(mark), "{} contains {mark}", source.path);
        }
    }
}

/// The code that ships: everything outside of tests and benches.
fn production() -> Vec<&'static Source> {
    let aside =
        ["tests", "benches", "engine/raft/tests", "engine/core/tests", "engine/tests", "net/tests", "config/tests"];
    sources().iter().filter(|source| source.is_rust() && !aside.iter().any(|path| source.is_in(path))).collect()
}

fn assert_only_in(word: &str, rooms: &[&str]) {
    let wrong: Vec<String> = production()
        .into_iter()
        .filter(|source| source.has_word(word) && !rooms.iter().any(|room| source.is_in(room)))
        .map(|source| source.path.clone())
        .collect();
    assert!(wrong.is_empty(), "{word} is known outside of {rooms:?}: {wrong:?}");
}

fn assert_absent(words: &str, rooms: &[&str]) {
    let wrong: Vec<String> = production()
        .into_iter()
        .filter(|source| rooms.iter().any(|room| source.is_in(room)) && source.has_word(words))
        .map(|source| source.path.clone())
        .collect();
    assert!(wrong.is_empty(), "{words} in {wrong:?}");
}

fn assert_listed(what: &str, list: &[(&str, &str)], has: impl Fn(&Source) -> bool) {
    let found: BTreeSet<String> =
        production().into_iter().filter(|source| has(source)).map(|source| source.path.clone()).collect();
    let listed: BTreeSet<String> = list.iter().map(|(path, _)| path.to_string()).collect();
    assert!(list.iter().all(|(_, reason)| !reason.is_empty()), "every listed file has a reason");
    let unlisted: Vec<&String> = found.difference(&listed).collect();
    let stale: Vec<&String> = listed.difference(&found).collect();
    assert!(unlisted.is_empty(), "{what} in files that are not listed: {unlisted:?}");
    assert!(stale.is_empty(), "listed for {what} without need: {stale:?}");
}
