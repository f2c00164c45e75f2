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

        let points = Points::of(&groups, virtual_nodes);
        let slots = usize::from(SLOTS);
        let capacity = (slots * (100 + HEADROOM_PERCENT)).div_ceil(100 * groups.len());
        let mut owned = vec![0usize; groups.len()];
        let mut owners = vec![groups[0]; slots];
        for slot in slots_in_turn() {
            // Ends: all groups together have room for more than all slots.
            let group = points.from(slot).find(|group| owned[*group] < capacity);
            let group = group.expect("the groups have room for all slots");
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

/// Every stand of every group on the circle, in the order of their positions. A position is computed from its number
/// whenever it is asked for: a thousand groups stand at half a million points, and every core and client builds a ring.
struct Points<'a> {
    groups: &'a [GroupId],
    virtual_nodes: u32,
    /// Where in `numbers` the points at or after each slot's position begin.
    starts: Vec<u32>,
    /// The place of the group in `groups` times the number of virtual nodes, and the virtual node.
    numbers: Vec<u32>,
}

impl Points<'_> {
    fn of(groups: &[GroupId], virtual_nodes: u32) -> Points<'_> {
        let count = groups.len() as u64 * u64::from(virtual_nodes);
        let count = u32::try_from(count).expect("a map of so many points is refused before");
        let starts = vec![0; usize::from(SLOTS) + 1];
        let mut points = Points { groups, virtual_nodes, starts, numbers: vec![0; count as usize] };
        let slot = |position: u64| (position >> (64 - SLOTS.trailing_zeros())) as usize;
        for number in 0..count {
            let slot = slot(points.position(number));
            points.starts[slot + 1] += 1;
        }
        for slot in 0..usize::from(SLOTS) {
            points.starts[slot + 1] += points.starts[slot];
        }
        let mut free = points.starts.clone();
        for number in 0..count {
            let place = &mut free[slot(points.position(number))];
            points.numbers[*place as usize] = number;
            *place += 1;
        }
        let mut numbers = std::mem::take(&mut points.numbers);
        for bounds in points.starts.windows(2) {
            // Of two at one position the lower group comes first.
            let span = &mut numbers[bounds[0] as usize..bounds[1] as usize];
            span.sort_unstable_by_key(|number| (points.position(*number), *number));
        }
        points.numbers = numbers;
        points
    }

    fn position(&self, number: u32) -> u64 {
        let mut name = [0; 8];
        name[..4].copy_from_slice(&self.groups[(number / self.virtual_nodes) as usize].0.to_le_bytes());
        name[4..].copy_from_slice(&(number % self.virtual_nodes).to_le_bytes());
        xxh3_64(&name)
    }

    /// The groups whose points follow a slot's position, once around the circle: their places among the groups.
    fn from(&self, slot: u16) -> impl Iterator<Item = usize> + '_ {
        let first = self.starts[usize::from(slot)] as usize;
        let numbers = self.numbers[first..].iter().chain(&self.numbers[..first]);
        numbers.map(|number| (number / self.virtual_nodes) as usize)
    }
}

/// All slots in a fixed order that jumps about the circle, so that those who find their group full and move
/// on are not all neighbours at its end.
fn slots_in_turn() -> impl Iterator<Item = u16> {
    // Odd, hence without a common factor with the number of slots: every slot comes once.
    const STRIDE: u32 = 10_127;
    (0..u32::from(SLOTS)).map(|turn| (turn * STRIDE % u32::from(SLOTS)) as u16)
}
