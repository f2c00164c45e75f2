//! Whole groups in one process, in a world that loses, repeats and reorders messages, delays disks, crashes replicas
//! with what they have not yet persisted, changes memberships and hands leadership over; and what must hold anyway.
//!
//! Every run follows from its seed. A failure prints it; `CHAOS_SEED=n cargo test -p raft --test chaos`
//! runs that one alone, and `CHAOS_SEEDS=n` sets how many are run.

mod world;

use world::World;

#[test]
fn nothing_committed_is_lost_and_no_read_is_stale() {
    let seeds = match std::env::var("CHAOS_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("CHAOS_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("CHAOS_SEEDS").map_or(300, |seeds| seeds.parse().expect("CHAOS_SEEDS is a number")),
    };
    let mut reached = world::Reached::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..4_000 {
                world.act();
            }
            world.calm_down();
            world.reached
        });
        match run {
            Ok(of_run) => reached.add(&of_run),
            Err(panic) => {
                eprintln!("CHAOS_SEED={seed} fails");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{reached:?}");
    if seeds.end - seeds.start > 100 {
        reached.assert_everything_happened();
    }
}
