//! The plain list of servers and what it means for each line.

use config::load::{Origin, load};
use config::servers::{ServersError, described, parse, settings};
use std::collections::BTreeSet;
use std::path::Path;

fn servers(text: &str) -> Result<Vec<String>, ServersError> {
    parse(Path::new("LIST"), text)
}

fn thirteen() -> Vec<String> {
    let line = |number: u16| format!("{}:{}", ["alpha", "beta"][usize::from(number % 2)], 7400 + number);
    (1..=13).map(line).collect()
}

#[test]
fn lines_are_servers_and_remarks_are_not() {
    let text = "# mine\n127.0.0.1:7401\n\n  db.example:7402  # the old one\n[::1]:7403\n";
    assert_eq!(servers(text).unwrap(), ["127.0.0.1:7401", "db.example:7402", "[::1]:7403"]);
}

#[test]
fn wrong_lists_are_refused_with_their_line() {
    let refused = |text: &str| servers(text).unwrap_err().to_string();
    assert!(refused("a:1\nb\n").starts_with("LIST:2: \"b\" is not host:port"));
    assert!(refused("a:1\nb:2\na:1").starts_with("LIST:3: a:1 is named twice"));
    assert!(refused("# nobody\n").contains("has 0 servers"));
    let list = servers("a:1\nb:2\nc:3").unwrap();
    assert!(settings(Path::new("LIST"), &list, "d:4").unwrap_err().to_string().contains("is not a line"));
}

#[test]
fn every_line_becomes_settings_that_hold() {
    let list = thirteen();
    for (own, line) in list.iter().enumerate() {
        let mut settings = settings(Path::new("LIST"), &list, line).unwrap();
        config::check::resolve(&mut settings).unwrap();
        assert_eq!(config::check::first_problem(&settings), None);
        assert_eq!((&settings.node.name, &settings.node.listen), (line, line));
        assert_eq!(usize::from(settings.number()), own);
        assert_eq!((settings.node.groups, settings.node.replication, settings.node.set_size), (8, 5, 5));
        assert_eq!(settings.node.data, Path::new("kvd-data").join(line.replace(':', "_")));
        let (host, _) = line.split_once(':').unwrap();
        assert_eq!(settings.node.admin, format!("{host}:{}", 9090 + own / 2));
    }
}

#[test]
fn an_admin_port_is_nobody_elses() {
    // Ports of another host do not count, nor does the order in which the list has them.
    let list = servers("h:9091\nh:9092\no:9090\nh:9090\n[::1]:9090\nh:9094\n[::1]:7400").unwrap();
    let admin = |line: &String| settings(Path::new("LIST"), &list, line).unwrap().node.admin;
    let ports: Vec<String> = list.iter().map(admin).collect();
    assert_eq!(ports, ["h:9093", "h:9095", "o:9091", "h:9096", "[::1]:9091", "h:9097", "[::1]:9092"]);
    let all: BTreeSet<&String> = list.iter().chain(&ports).collect();
    assert_eq!(all.len(), 2 * list.len(), "two listen on one port");
}

#[test]
fn what_a_list_says_is_said_to_come_from_it() {
    let path = Path::new("LIST");
    let list = servers("h:1\nh:2\nh:3").unwrap();
    let base = settings(path, &list, "h:2").unwrap();
    let loaded = load(base, Origin::Servers(path.into()), None, [], &[("node.groups".into(), "8".into())]).unwrap();
    assert_eq!(loaded.origins["node.nodes"], Origin::Servers(path.into()));
    assert_eq!((&loaded.origins["node.groups"], loaded.settings.node.groups), (&Origin::CommandLine, 8));
    assert!(!loaded.origins.contains_key("raft.election_timeout"));
}

#[test]
fn a_server_is_told_its_set() {
    let list = thirteen();
    assert_eq!(described(&list, &list[5]), ["alpha:7406 is in replica set 2 of 2: lines 6 to 10"]);
    assert_eq!(described(&list, &list[12]), ["beta:7413 is a spare of replica set 2: it holds no data yet"]);
    let four = &list[..4];
    assert_eq!(
        described(four, &four[3]),
        [
            "alpha:7404 is a spare of replica set 1: it holds no data yet",
            "the list has 4 servers, fewer than 5: 3 of them, the largest odd number, are the replica set"
        ]
    );
}
