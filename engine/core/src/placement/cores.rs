//! Which core of a node owns a group.
//!
//! A group has the same core number on every node with the same number of shards, so a core talks to one
//! core of each peer over one stream.

use raft::ids::GroupId;

/// The shard that owns `group` on a node with `shards` shards: group 0, the map group, lives on shard 0,
/// the data groups 1, 2, 3.. go round the shards beginning with shard 0.
pub fn core_of(group: GroupId, shards: u16) -> u16 {
    assert!(shards > 0, "a node has at least one shard");
    let turn = group.0.saturating_sub(1) % u32::from(shards);
    turn as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_round_the_shards() {
        let cores: Vec<u16> = (0..8).map(|group| core_of(GroupId(group), 3)).collect();
        assert_eq!(cores, [0, 0, 1, 2, 0, 1, 2, 0]);
    }
}
