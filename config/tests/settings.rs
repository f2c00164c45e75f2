//! Settings as they are read, laid over each other, checked and refused.

use config::Settings;
use config::load::{ConfigError, Origin, load};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn with(overrides: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let overrides: Vec<_> = overrides.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Settings::load(None, [], &overrides)
}

/// A file of its own in Cargo's directory for such things.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

fn load_text(name: &str, text: &str) -> Result<Settings, String> {
    let path = file(name, text);
    let shown = format!("{}", path.display());
    Settings::load(Some(&path), [], &[]).map_err(|error| error.to_string().replace(&shown, "FILE"))
}

#[test]
fn the_annotated_file_has_every_setting_with_its_default() {
    let read: Settings = toml::from_str(config::DEFAULT_FILE).unwrap();
    assert_eq!(read, Settings::default());
    let defaults = toml::Table::try_from(Settings::default()).unwrap();
    let annotated: toml::Table = config::DEFAULT_FILE.parse().unwrap();
    for (section, values) in &defaults {
        for key in values.as_table().unwrap().keys() {
            assert!(annotated[section].get(key).is_some(), "{section}.{key} is not in kvd.toml");
        }
    }
}

#[test]
fn without_anything_a_node_is_alone_and_sound() {
    let settings = with(&[]).unwrap();
    assert_eq!(settings.node.nodes.len(), 1);
    assert_eq!((settings.node.listen.as_str(), settings.node.replication), ("127.0.0.1:7400", 1));
    assert_eq!((settings.number(), settings.blueprint().contradiction()), (0, None));
}

#[test]
fn settings_survive_being_written_and_read() {
    let nodes = "n1=127.0.0.1:7401,n2=[::1]:7402, n3=host:7403";
    let settings = with(&[("node.nodes", nodes), ("node.cpus", "0-1,5"), ("raft.election_timeout", "1500ms")]).unwrap();
    assert_eq!(settings.node.cpus, [0, 1, 5]);
    let written = toml::to_string(&settings).unwrap();
    assert_eq!(toml::from_str::<Settings>(&written).unwrap(), settings);
    assert!(
        written.contains("segment = \"64MiB\"") && written.contains("election_timeout = \"1s 500ms\""),
        "{written}"
    );
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file_beats_the_default() {
    let path = file(
        "precedence.toml",
        "[raft]\nelection_timeout = \"300ms\"\nsnapshot_entries = 300\ninflight_messages = 3\n[node]\nshards = 3\n",
    );
    let environment = [
        ("KVD__RAFT__ELECTION_TIMEOUT", "200ms"),
        ("KVD__RAFT__SNAPSHOT_ENTRIES", "200"),
        ("KVD_LOG", "debug"),
        ("HOME", "/"),
    ];
    let environment = environment.map(|(name, value)| (name.to_string(), value.to_string()));
    let overrides = [("raft.election_timeout".to_string(), "100ms".to_string())];
    let loaded = load(Settings::default(), Origin::Default, Some(&path), environment, &overrides).unwrap();
    let raft = &loaded.settings.raft;
    assert_eq!(raft.election_timeout, Duration::from_millis(100));
    assert_eq!((raft.snapshot_entries, raft.inflight_messages, raft.append_bytes), (200, 3, 256 << 10));
    assert_eq!(loaded.origins["raft.election_timeout"], Origin::CommandLine);
    assert_eq!(loaded.origins["raft.snapshot_entries"], Origin::Environment("KVD__RAFT__SNAPSHOT_ENTRIES".into()));
    assert_eq!(loaded.origins["node.shards"], Origin::File { path, line: 6 });
    assert!(!loaded.origins.contains_key("raft.append_bytes"));
}

#[test]
fn what_is_shown_reads_back_and_names_its_origins() {
    let overrides = [("node.nodes", "n1=h:1,n2=h:2,n3=h:3"), ("raft.election_timeout", "250ms")];
    let overrides = overrides.map(|(name, value)| (name.to_string(), value.to_string()));
    let loaded = load(Settings::default(), Origin::Default, None, [], &overrides).unwrap();
    let text = config::show::effective(&loaded);
    assert_eq!(toml::from_str::<Settings>(&text).unwrap(), loaded.settings);
    let line = text.lines().find(|line| line.starts_with("election_timeout")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), "election_timeout = \"250ms\" # command line");
    assert!(text.lines().any(|line| line.starts_with("segment = \"64MiB\"") && line.ends_with("# default")), "{text}");
}

#[test]
fn a_size_or_list_may_be_written_one_way_in_the_file_and_another_on_the_command_line() {
    let path = file("ways.toml", "[journal]\nsegment = 33554432\n[node]\nnodes = [\"n1=h:1\"]\n");
    let overrides = [("journal.segment", "128MiB"), ("node.nodes", "n1=h:2"), ("store.block_cache", "67108864")];
    let overrides = overrides.map(|(name, value)| (name.to_string(), value.to_string()));
    let settings = Settings::load(Some(&path), [], &overrides).unwrap();
    assert_eq!((settings.journal.segment, settings.store.block_cache), (128 << 20, 64 << 20));
    assert_eq!(settings.node.listen, "h:2");
    assert_eq!(Settings::load(Some(&path), [], &[]).unwrap().journal.segment, 32 << 20);
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_a_hint() {
    let cases = [
        (
            "[raft]\n\nelecton_timeout = \"1s\"",
            "FILE:3: there is no setting raft.electon_timeout, did you mean raft.election_timeout?",
        ),
        ("[rft]\nelection_timeout = \"1s\"", "FILE:1: there is no setting rft, did you mean raft?"),
        ("\nshards = 2", "FILE:2: there is no setting shards, did you mean node.shards?"),
        ("[raft]\nfsync = true", "FILE:2: there is no setting raft.fsync, did you mean journal.fsync?"),
        ("[raft]\ncolour = 1", "FILE:2: there is no setting raft.colour (kvd config default lists them all)"),
        ("[journal]\nsegment = \"64MiX\"", "FILE:2: journal.segment = \"64MiX\": "),
        ("[journal]\nfsync = 1", "FILE:2: journal.fsync = 1: "),
        ("[node]\nshards = 70000", "FILE:2: node.shards = 70000: "),
        ("[node]\nshards = -1", "FILE:2: node.shards = -1: "),
        ("[node]\nname = \"a b\"", "FILE:2: node.name: \"a b\" is no name: "),
        ("[node]\nnodes = [\"a b=h:1\"]", "FILE:2: node.nodes: \"a b\" is no name: "),
        ("[node]\nnodes = [\"n1\"]", "FILE:2: node.nodes = [\"n1\"]: \"n1\" is not name=host:port"),
        ("[node]\nname = \"a\"\nname = \"b\"", "FILE:3: "),
        ("[node\n", "FILE:1: "),
        ("raft = 3", "FILE:1: "),
        ("[node]\n\n\nshards = 0", "FILE:4: node.shards: 0: it is between 1 and 1024"),
    ];
    for (number, (text, expected)) in cases.into_iter().enumerate() {
        let error = load_text(&format!("wrong-{number}.toml"), text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?}\n     is: {error}\nwanted: {expected}");
    }
    let error = Settings::load(Some(Path::new("/no/such/file")), [], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
}

#[test]
fn wrong_overrides_are_refused_with_their_origin() {
    let error = with(&[("raft.snapshot_entries", "many")]).unwrap_err().to_string();
    let wanted = "expected a whole number from 0 to 9223372036854775807";
    assert_eq!(
        error,
        format!("command line: raft.snapshot_entries = \"many\": invalid type: string \"many\", {wanted}")
    );
    let error = with(&[("journal.fsnc", "false")]).unwrap_err().to_string();
    assert_eq!(error, "command line: there is no setting journal.fsnc, did you mean journal.fsync?");
    let environment = [("KVD__JOURNAL__FSYNC".to_string(), "maybe".to_string())];
    let error = Settings::load(None, environment, &[]).unwrap_err().to_string();
    assert_eq!(error, "environment variable KVD__JOURNAL__FSYNC: journal.fsync = maybe: say true or false");
    let environment = [("KVD__JOURNAL".to_string(), "1".to_string())];
    let error = Settings::load(None, environment, &[]).unwrap_err().to_string();
    let section =
        "environment variable KVD__JOURNAL: journal is a section of settings: name one of them, such as journal.";
    assert!(error.starts_with(section), "{error}");
}

#[test]
fn what_is_of_another_kind_is_refused_with_the_way_to_write_it() {
    let cases = [
        ("[raft]\nsnapshot_rate = -1", "expected a size such as \"64MiB\", or bytes"),
        ("[raft]\nsnapshot_rate = true", "expected a size such as \"64MiB\", or bytes"),
        ("[raft]\nsnapshot_rate = \"17EiB\"", "in no more than 64 bits"),
        ("[journal]\nsegment = \"64 megs\"", "expected a size such as \"64MiB\", or bytes"),
        ("[node]\nshards = 99999", "expected a whole number from 0 to 65535"),
        ("[node]\ngroups = -1", "expected a whole number from 0 to 4294967295"),
        ("[node]\nshards = \"two\"", "expected a whole number from 0 to 65535"),
        ("[raft]\nelection_timeout = 500", "expected a duration such as \"250ms\""),
        ("[raft]\nelection_timeout = \"500\"", "expected a duration such as \"250ms\""),
        ("[raft]\nelection_timeout = \"soon\"", "expected a duration such as \"250ms\""),
    ];
    for (number, (text, wanted)) in cases.into_iter().enumerate() {
        let error = load_text(&format!("kind-{number}.toml"), text).unwrap_err();
        assert!(
            error.starts_with("FILE:2: ") && error.contains(wanted),
            "{text:?}\n     is: {error}\nwanted: {wanted}"
        );
    }
    let error = with(&[("node.shards", "99999")]).unwrap_err().to_string();
    assert!(error.ends_with("expected a whole number from 0 to 65535"), "{error}");
    let error = with(&[("node.shards", "99999999999999999999")]).unwrap_err().to_string();
    assert!(error.ends_with("expected a whole number from 0 to 65535"), "{error}");
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let three = "n1=127.0.0.1:7401,n2=127.0.0.1:7402,n3=127.0.0.1:7403";
    let cases: [(&[(&str, &str)], &str); 25] = [
        (&[("node.nodes", three), ("node.name", "n4")], "node.name"),
        (&[("node.nodes", "n1=a:1,n1=b:2")], "node.nodes"),
        (&[("node.nodes", "n1=a:1,n2=a:1")], "node.nodes"),
        (&[("node.nodes", "n1=a")], "node.nodes"),
        (&[("node.nodes", three), ("node.listen", "127.0.0.1:7402")], "node.listen"),
        (&[("node.listen", "7400")], "node.listen"),
        (&[("node.admin", "127.0.0.1:7400")], "node.admin"),
        (&[("node.admin", "nowhere")], "node.admin"),
        (&[("node.data", "")], "node.data"),
        (&[("node.shards", "0")], "node.shards"),
        (&[("node.groups", "0")], "node.groups"),
        (&[("node.replication", "3")], "node.replication"),
        (&[("node.nodes", three), ("node.replication", "2")], "node.replication"),
        (&[("node.nodes", three), ("node.set_size", "4")], "node.set_size"),
        (&[("node.shards", "3"), ("node.cpus", "0-1")], "node.cpus"),
        (&[("raft.election_timeout", "10ms")], "raft.election_timeout"),
        (&[("raft.snapshot_entries", "1")], "raft.snapshot_entries"),
        (&[("raft.snapshot_rate", "127KiB"), ("raft.election_timeout", "200ms")], "raft.snapshot_rate"),
        (&[("journal.segment", "1000001")], "journal.segment"),
        (&[("journal.segment", "1MiB")], "journal.segment"),
        (&[("limits.value_bytes_max", "3MiB")], "limits.value_bytes_max"),
        (&[("limits.frame_bytes_max", "5MiB")], "limits.frame_bytes_max"),
        (&[("raft.append_bytes", "3MiB")], "raft.append_bytes"),
        (&[("limits.frame_bytes_max", "1MiB")], "limits.frame_bytes_max"),
        (&[("limits.connection_inflight_bytes", "1KiB")], "limits.connection_inflight_bytes"),
    ];
    for (overrides, expected) in cases {
        match with(overrides) {
            Err(ConfigError::Refused { name, why, .. }) => {
                assert_eq!(name, expected, "{overrides:?}: {why}");
                assert!(why.len() > 8, "{name}: {why}");
            }
            other => panic!("{overrides:?} gave {other:?}"),
        }
    }
}

#[test]
fn a_slow_network_may_be_spared_as_far_as_election_timeouts_allow() {
    for (election_timeout, rate) in [("50ms", "512KiB"), ("200ms", "128KiB"), ("1s", "64KiB"), ("1m", "64KiB")] {
        let sparing = with(&[("raft.election_timeout", election_timeout), ("raft.snapshot_rate", rate)]);
        assert!(sparing.is_ok(), "{election_timeout}, {rate}: {sparing:?}");
    }
}

/// Every setting in bytes, the most it may be, and what else must be larger then. Two have no end: what a snapshot may cost
/// is only ever compared with it.
const SIZES: [(&str, u64, &[&str]); 18] = [
    ("raft.snapshot_log_bytes", u64::MAX, &[]),
    ("raft.snapshot_rate", u64::MAX, &[]),
    ("raft.inflight_bytes", 4 << 30, &[]),
    ("raft.append_bytes", 2 << 20, &[]),
    ("raft.window_bytes", 4 << 30, &[]),
    ("journal.segment", 1 << 30, &[]),
    ("journal.low_water", 1 << 40, &[]),
    ("store.block_cache", 1 << 40, &[]),
    ("store.write_buffer", 1 << 40, &[]),
    ("store.wal_size_limit", 1 << 40, &[]),
    ("limits.key_bytes_max", 64 << 10, &[]),
    ("limits.value_bytes_max", 1984 << 10, &[]),
    ("limits.frame_bytes_max", 4 << 20, &[]),
    ("limits.connection_inflight_bytes", 1 << 40, &["limits.core_inflight_bytes"]),
    ("limits.core_inflight_bytes", 1 << 40, &[]),
    ("limits.group_uncommitted_bytes", 1 << 40, &[]),
    ("limits.core_unapplied_bytes", 1 << 40, &[]),
    ("limits.peer_queue_bytes", 1 << 40, &[]),
];

#[test]
fn every_size_has_an_end_that_is_accepted_and_what_is_beyond_is_refused() {
    let defaults = toml::Table::try_from(Settings::default()).unwrap();
    let sections = defaults.iter().map(|(section, values)| (section, values.as_table().unwrap()));
    let all = sections.flat_map(|(section, values)| values.iter().map(move |(key, value)| (section, key, value)));
    let sizes = all.filter(|(_, _, value)| value.as_str().is_some_and(|value| value.ends_with('B')));
    let sizes: BTreeSet<String> = sizes.map(|(section, key, _)| format!("{section}.{key}")).collect();
    assert_eq!(sizes, SIZES.map(|(name, ..)| name.to_owned()).into(), "a size is missing, or is none");
    for (name, most, with_it) in SIZES {
        let set = |bytes: u64| {
            let bytes = bytes.to_string();
            let others = with_it.iter().map(|other| (*other, "1TiB"));
            with(&others.chain([(name, bytes.as_str())]).collect::<Vec<_>>())
        };
        assert!(set(most).is_ok(), "{name} = {most}: {:?}", set(most));
        for beyond in [most.saturating_add(1), u64::MAX].into_iter().filter(|beyond| *beyond > most) {
            match set(beyond) {
                Err(ConfigError::Refused { why, .. }) => assert!(why.len() > 8, "{name}: {why}"),
                other => panic!("{name} = {beyond} gave {other:?}"),
            }
        }
    }
}

#[test]
fn what_is_accepted_can_be_founded() {
    for nodes in 1..=7u16 {
        let list: Vec<String> = (1..=nodes).map(|node| format!("n{node}=127.0.0.1:{}", 7400 + node)).collect();
        let settings = with(&[("node.nodes", &list.join(",")), ("node.groups", "8")]).unwrap();
        assert_eq!(settings.blueprint().contradiction(), None);
        assert_eq!(settings.node.replication, [1, 1, 3, 3, 3, 3, 3][usize::from(nodes) - 1]);
        assert_eq!(settings.node.listen, "127.0.0.1:7401");
    }
}

#[test]
fn the_example_clusters_are_sound() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for directory in std::fs::read_dir(examples).unwrap() {
        let mut blueprints = Vec::new();
        for path in std::fs::read_dir(directory.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "toml") {
                let settings = Settings::load(Some(&path), [], &[]);
                blueprints.push(settings.unwrap_or_else(|error| panic!("{error}")).blueprint());
                count += 1;
            }
        }
        assert!(blueprints.windows(2).all(|pair| pair[0] == pair[1]), "the nodes of an example disagree");
    }
    assert!(count >= 3, "{count} example files");
}
