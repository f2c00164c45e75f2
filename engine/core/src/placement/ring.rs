//! The consistent-hash ring: a key's slot, and the group that owns a slot.
//!
//! A key hashes to one of 16,384 slots. Every group stands on a circle of 2^64 positions at as many points
//! as it has virtual nodes, and a slot belongs to the group of the first point at or after the slot's own
//! position. A group's share varies by about one part in the square root of its points, so a group that
//! already holds its part and [`HEADROOM_PERCENT`] more is passed over and the slot goes to the next point
//! ("consistent hashing with bounded loads", Mirrokni, Thorup and Zadimoghaddam, 2016). Adding a group
//! takes slots from all others and leaves nearly all the rest where they were.
//!
//! Both steps are frozen: another answer for any slot would make a running cluster's data unreachable.

use raft::ids::GroupId;
use xxhash_rust::xxh3::xxh3_64;

/// The number of slots, the unit of ownership.
pub const SLOTS: u16 = 16_384;

/// How many points a group has on the ring unless the founding settings say otherwise. Shares of 4 to 64
/// groups come out between -12 % and +5 % of the mean (128 points: -20 %), building takes milliseconds,
/// and of the slots that move when a group is added, nearly all move to that group.
pub const VIRTUAL_NODES: u32 = 512;

/// How much more than the mean a group may own, in per cent.
pub const HEADROOM_PERCENT: usize = 5;

/// The slot of a key.
pub fn slot_of(key: &[u8]) -> u16 {
    (xxh3_64(key) % u64::from(SLOTS)) as u16
}

/// Which group owns each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    owners: Vec<GroupId>,
}

impl Ring {
    /// The ring of these groups, each with `virtual_nodes` points. The order of `groups` does not matter.
    /// Groups must be at least one and at most [`SLOTS`], all different, and have at least one point each.
    pub fn build(groups: &[GroupId], virtual_nodes: u32) -> Ring {
        assert!(!groups.is_empty() && groups.len() <= usize::from(SLOTS), "{} groups on a ring", groups.len());
        assert!(virtual_nodes > 0, "a group has at least one point on the ring");
        let mut groups = groups.to_vec();
        groups.sort();
        assert!(groups.windows(2).all(|pair| pair[0] != pair[1]), "a group stands on the ring twice: {groups:?}");

        let points = points_of(&groups, virtual_nodes);
        let slots = usize::from(SLOTS);
        let capacity = (slots * (100 + HEADROOM_PERCENT)).div_ceil(100 * groups.len());
        let mut owned = vec![0usize; groups.len()];
        let mut owners = vec![groups[0]; slots];
        for slot in slots_in_turn() {
            let position = u64::from(slot) << (64 - SLOTS.trailing_zeros());
            let first = points.partition_point(|point| point.position < position);
            // Ends: all groups together have room for more than all slots.
            let point = points[first..].iter().chain(&points).find(|point| owned[point.group] < capacity);
            let group = point.expect("the groups have room for all slots").group;
            owned[group] += 1;
            owners[usize::from(slot)] = groups[group];
        }
        Ring { owners }
    }

    /// The group that owns a slot. `slot` must be below [`SLOTS`].
    pub fn group_of_slot(&self, slot: u16) -> GroupId {
        self.owners[usize::from(slot)]
    }

    /// The group that owns a key.
    pub fn group_of(&self, key: &[u8]) -> GroupId {
        self.group_of_slot(slot_of(key))
    }

    /// The slots of a group, ascending.
    pub fn slots_of(&self, group: GroupId) -> impl Iterator<Item = u16> + '_ {
        (0..SLOTS).filter(move |slot| self.group_of_slot(*slot) == group)
    }
}

/// One stand of one group on the circle. `group` counts in the ascending list of groups.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    position: u64,
    group: usize,
}

fn points_of(groups: &[GroupId], virtual_nodes: u32) -> Vec<Point> {
    let mut points = Vec::with_capacity(groups.len() * virtual_nodes as usize);
    for (number, group) in groups.iter().enumerate() {
        for virtual_node in 0..virtual_nodes {
            let mut name = [0; 8];
            name[..4].copy_from_slice(&group.0.to_le_bytes());
            name[4..].copy_from_slice(&virtual_node.to_le_bytes());
            points.push(Point { position: xxh3_64(&name), group: number });
        }
    }
    points.sort();
    points
}

/// All slots in a fixed order that jumps about the circle, so that those who find their group full and move
/// on are not all neighbours at its end.
fn slots_in_turn() -> impl Iterator<Item = u16> {
    // Odd, hence without a common factor with the number of slots: every slot comes once.
    const STRIDE: u32 = 10_127;
    (0..u32::from(SLOTS)).map(|turn| (turn * STRIDE % u32::from(SLOTS)) as u16)
}
