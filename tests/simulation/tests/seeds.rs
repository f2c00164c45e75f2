//! A few seeds in every `cargo test`; the binary runs as many as one likes.

use simulation::run::{parse_seeds, run_seed};
use simulation::totals::{ALWAYS, Totals};

#[test]
fn twenty_worlds_keep_every_promise() {
    let mut totals = Totals::default();
    for seed in 0..20 {
        let report = run_seed(seed);
        assert_eq!(report.failure, None, "seed {seed}");
        totals.merge(&report.totals);
    }
    assert_eq!(totals.missing(&ALWAYS), Vec::<&str>::new(), "what never happens is not tested");
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in [3, 4711, u64::MAX] {
        let (first, second) = (run_seed(seed), run_seed(seed));
        assert_eq!((first.hash, first.happenings), (second.hash, second.happenings), "seed {seed}");
    }
    assert_ne!(run_seed(1).hash, run_seed(2).hash);
}

#[test]
fn a_range_of_seeds_is_refused_when_it_is_empty_or_no_range() {
    assert_eq!(parse_seeds("7..7"), Ok((7, 7)));
    assert_eq!(parse_seeds("0..18446744073709551615"), Ok((0, u64::MAX)));
    for wrong in ["", "7", "8..7", "a..b", "1..", "-1..3", "0..18446744073709551616"] {
        assert!(parse_seeds(wrong).is_err(), "{wrong:?}");
    }
}
