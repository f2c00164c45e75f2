//! The switch between the nodes, whose links can be cut one way at a time.
//!
//! Clients are on the switch itself: they reach every node whatever is cut between the nodes, as a client would that
//! sits beside a node that the others have lost.

use std::collections::BTreeSet;

use super::room::Room;
use super::stage::{run, run_with_input};

/// The directed links that are cut, as positions of nodes: from, to.
#[derive(Debug, Default)]
pub struct Network {
    cuts: BTreeSet<(usize, usize)>,
}

/// The address of the node at a position.
pub fn host(position: usize) -> String {
    format!("10.77.0.{}", position + 1)
}

impl Network {
    /// Makes the switch, in the namespace of the calling thread, with one link to each room.
    pub fn build(rooms: &[Room]) -> Result<Network, String> {
        ip("link add br0 type bridge")?;
        ip("addr add 10.77.0.254/24 dev br0")?;
        ip("link set br0 up")?;
        for (position, room) in rooms.iter().enumerate() {
            let link = format!("sw{position}");
            ip(&format!("link add {link} type veth peer name eth0 netns {}", room.thread))?;
            ip(&format!("link set {link} master br0 up"))?;
            let host = host(position);
            room.run(move || {
                ip("link set lo up")?;
                ip(&format!("addr add {host}/24 dev eth0"))?;
                ip("link set eth0 up")
            })?;
        }
        Ok(Network::default())
    }

    /// Whether links can be cut here; why not.
    pub fn can_cut(&self) -> Result<(), String> {
        run_with_input("nft", &["-f", "-"], &rules(&BTreeSet::from([(0, 0)])))?;
        run_with_input("nft", &["-f", "-"], &rules(&BTreeSet::new()))
    }

    /// Nothing that `from` sends reaches `to`.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
        self.apply();
    }

    /// Neither of the two hears the other.
    pub fn cut_both(&mut self, one: usize, other: usize) {
        self.cuts.extend([(one, other), (other, one)]);
        self.apply();
    }

    /// All links work again.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.apply();
    }

    fn apply(&self) {
        run_with_input("nft", &["-f", "-"], &rules(&self.cuts)).expect("the links are cut");
    }
}

/// One transaction that replaces all rules.
fn rules(cuts: &BTreeSet<(usize, usize)>) -> String {
    let mut rules = String::from("table bridge nemesis\ndelete table bridge nemesis\ntable bridge nemesis {\n");
    rules.push_str("chain cut { type filter hook forward priority 0;\n");
    for (from, to) in cuts {
        rules.push_str(&format!("iifname \"sw{from}\" oifname \"sw{to}\" drop\n"));
    }
    rules.push_str("}\n}\n");
    rules
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}
