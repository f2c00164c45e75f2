//! The demo as a test: a cluster that loses its busiest leader under load and nothing else.

mod harness;

use std::fmt::Write;

use harness::{kvctl, scratch};

#[test]
fn the_demo_loses_a_leader_and_nothing_else() {
    // Not this machine's packages: another system may have none.
    let mut packages = String::new();
    for i in 0..300 {
        let filler = "a line of its description\n ".repeat(i % 17);
        writeln!(packages, "Package: p{i}\nArchitecture: all\nVersion: 1.{i}\nDescription: number {i}\n {filler}.\n")
            .expect("a string takes everything");
    }
    let file = scratch("demo").join("status");
    std::fs::write(&file, packages).expect("written");
    let path = file.to_str().expect("text");
    let none: [&str; 0] = [];
    let run = kvctl(&none, &["demo", "--packages", path, "--writes", "5000", "-o", "json"]).exits(0);
    let told = run.json();
    assert_eq!(told["acknowledged"].as_u64(), Some(5_300), "{told}");
    assert_eq!(told["lost"].as_u64(), Some(0));
    assert!(told["groups_led_by_killed"].as_array().is_some_and(|groups| !groups.is_empty()), "{told}");
    println!("{}", run.stderr);
}
