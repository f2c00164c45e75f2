//! Wall clocks that jump by an hour, forth and back: nothing here may depend on them.

use crate::nemesis::clock::preload;
use crate::nemesis::cluster::Options;
use crate::nemesis::elections;
use crate::nemesis::stage::skip;
use crate::writer::Writer;
use crate::{PATIENCE, assert_replicas_agree, is_long, on_cluster, repeat};

const HOUR: i64 = 3600;

#[test]
fn a_wall_clock_that_jumps_causes_no_election_and_loses_nothing() {
    on_cluster("clocks", Options { movable_clocks: true, ..Options::default() }, |_, cluster| {
        if let Err(why) = preload() {
            return skip("clocks", why);
        }
        cluster.wait_settled();
        let before = cluster.terms();
        let writer = Writer::start(&cluster.endpoints());
        let mut jumps = 0;
        for round in 0..repeat(1, 10) {
            for node in 0..cluster.nodes.len() {
                // Forth and back, the other way round the next time, and home.
                let first = if round % 2 == 0 { HOUR } else { -HOUR };
                for seconds in [first, -first, 0] {
                    writer.wait_for_more(50, PATIENCE);
                    assert!(cluster.turn_clock(node, seconds), "a clock that can be turned");
                    cluster.wait_clock(node, seconds);
                    std::thread::sleep(elections(2.0)); // in which an election would be
                    jumps += 1;
                }
            }
        }
        writer.wait_for_more(200, PATIENCE);
        let written = writer.stop();
        println!("{jumps} jumps, {} writes, terms {before:?} before, {:?} after", written.count(), cluster.terms());
        // In the gate a busy machine may have one for reasons of its own.
        assert!(!is_long() || cluster.terms() == before, "there was an election");
        written.assert_all_there(&cluster.endpoints());
        assert_replicas_agree(&cluster);
    });
}
