//! What the Raft paper (extended version) says in its sections 5 to 8, claim by claim.
//!
//! Each test is named after one claim; the comment says where it stands, in our words. The nodes and
//! the commands are those of the scenes, see `script::commands`. What the paper leaves to the state machine (a client's
//! command is executed once, section 8) is tested where the state machine is.

// The scenes use all of it, these tests only some.
#[allow(dead_code)]
mod script;

#[path = "paper/elections.rs"]
mod elections;
#[path = "paper/logs.rs"]
mod logs;
#[path = "paper/memberships.rs"]
mod memberships;
#[path = "paper/safety.rs"]
mod safety;

use raft::{Index, Replica, Role};
use script::commands::id;
use script::world::World;

/// A group and what it says.
struct Group {
    world: World,
}

impl Group {
    /// Plays `commands`, one a line or parted by semicolons.
    fn new(commands: &str) -> Group {
        let mut group = Group { world: World::new() };
        group.play(commands);
        group
    }

    /// What the commands print.
    fn play(&mut self, commands: &str) -> Vec<String> {
        let commands: Vec<&str> = commands.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty()).collect();
        self.world.play(&commands)
    }

    /// Plays and returns only the messages, as `a@1 to b: ...`.
    fn messages(&mut self, commands: &str) -> Vec<String> {
        self.play(commands).into_iter().filter(|line| line.split(": ").next().unwrap().contains(" to ")).collect()
    }

    fn at(&self, name: &str) -> &Replica {
        self.world.nodes[&id(name)].live()
    }

    fn role(&self, name: &str) -> Role {
        self.at(name).role()
    }

    fn term(&self, name: &str) -> u64 {
        self.at(name).term().0
    }

    fn commit(&self, name: &str) -> u64 {
        self.at(name).commit().0
    }

    /// The term of each entry.
    fn log(&self, name: &str) -> Vec<u64> {
        let replica = self.at(name);
        let indexes = replica.log_start().index.0 + 1..=replica.last().index.0;
        indexes.map(|index| replica.term_of(Index(index)).expect("it is in the log").0).collect()
    }

    /// The commands in the log on the disk.
    fn commands(&self, name: &str) -> Vec<String> {
        let entries = self.world.nodes[&id(name)].disk.entries.values();
        entries.map(|entry| String::from_utf8_lossy(&entry.payload).into()).collect()
    }

    fn voted_for(&self, name: &str) -> Option<raft::ReplicaId> {
        self.at(name).hard_state().vote
    }
}
