//! The ring: frozen vectors, even shares, few moves.
//!
//! NB: the golden files say where the data of running clusters lies. If a test against them fails, the code is
//! wrong. They were written once with KVD_REWRITE=1; a new file may be, an existing one never again.

use engine_core::placement::ring::{Ring, SLOTS, VIRTUAL_NODES, slot_of};
use raft::ids::GroupId;
use std::path::Path;

fn groups(count: u32) -> Vec<GroupId> {
    (1..=count).map(GroupId).collect()
}

fn check(name: &str, text: String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/placement").join(name);
    if std::env::var_os("KVD_REWRITE").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (line, (now, then)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(now, then, "{name}:{}: routing has changed", line + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{name}");
}

fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0xff; 16], b"a".to_vec(), "schlüssel".into()];
    keys.extend((0..40).map(|number| format!("key:{number}").into_bytes()));
    // Every length class of the hash: up to 3, 8, 16, 128, 240 and beyond.
    keys.extend([3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1024, 4096].map(|length| vec![b'k'; length]));
    keys
}

#[test]
fn a_key_never_changes_its_slot() {
    let mut text = String::from("# key in hex, slot\n");
    for key in keys() {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("{} {}\n", if hex.is_empty() { "-" } else { &hex }, slot_of(&key));
    }
    check("slots.txt", text);
}

#[test]
fn a_slot_never_changes_its_group() {
    for count in [1, 2, 3, 4, 5, 8, 12, 16, 64, 1000] {
        let ring = Ring::build(&groups(count), VIRTUAL_NODES);
        let mut text = String::from("# runs of slots: first slot, group\n");
        let mut last = None;
        for slot in 0..SLOTS {
            let group = ring.group_of_slot(slot);
            if last.replace(group) != Some(group) {
                text += &format!("{slot} {group}\n");
            }
        }
        // The large rings are pinned by a hash of the same lines; a difference shows in the small ones.
        if count > 8 {
            text = format!("{:016x}\n", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        }
        check(&format!("ring-{count}-groups.txt"), text);
    }
}

#[test]
fn the_number_of_points_is_frozen() {
    assert_eq!((SLOTS, VIRTUAL_NODES), (16_384, 512));
}

#[test]
fn shares_are_within_15_percent_of_the_mean() {
    for count in 2..=64 {
        let ring = Ring::build(&groups(count), VIRTUAL_NODES);
        let mean = f64::from(SLOTS) / f64::from(count);
        for group in groups(count) {
            let share = ring.slots_of(group).count() as f64;
            assert!((share / mean - 1.0).abs() < 0.15, "group {group} of {count} has {share} slots, mean {mean:.0}");
        }
    }
}

#[test]
fn every_group_has_slots_up_to_the_most_groups() {
    let count = engine_core::placement::founding::GROUPS_MAX;
    let ring = Ring::build(&groups(count), VIRTUAL_NODES);
    let mut shares = vec![0u32; count as usize + 1];
    (0..SLOTS).for_each(|slot| shares[ring.group_of_slot(slot).0 as usize] += 1);
    let most = *shares.iter().max().unwrap();
    let without = shares[1..].iter().filter(|share| **share == 0).count();
    assert!(most <= 5, "a group has {most} slots");
    assert!(without < count as usize / 4, "{without} groups of {count} have no slots");
}

#[test]
fn a_new_group_takes_slots_and_leaves_the_others_alone() {
    for count in 1..=32 {
        let (before, after) =
            (Ring::build(&groups(count), VIRTUAL_NODES), Ring::build(&groups(count + 1), VIRTUAL_NODES));
        let newcomer = GroupId(count + 1);
        let moved = |slot: &u16| before.group_of_slot(*slot) != after.group_of_slot(*slot);
        let strays = (0..SLOTS).filter(moved).filter(|slot| after.group_of_slot(*slot) != newcomer).count();
        assert!(strays <= usize::from(SLOTS) / 100, "{strays} slots moved between {count} old groups");
    }
}

#[test]
fn the_order_of_the_groups_does_not_matter() {
    let mut backwards = groups(9);
    backwards.reverse();
    assert_eq!(Ring::build(&backwards, 64), Ring::build(&groups(9), 64));
}

#[test]
fn a_key_is_in_the_group_of_its_slot() {
    let ring = Ring::build(&groups(7), VIRTUAL_NODES);
    for key in keys() {
        let group = ring.group_of(&key);
        assert_eq!(group, ring.group_of_slot(slot_of(&key)));
        assert!(ring.slots_of(group).any(|slot| slot == slot_of(&key)));
    }
}
