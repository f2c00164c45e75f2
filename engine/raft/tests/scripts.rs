//! The scenes under `scripts/`: what the protocol does, one claim a file, in a form a person can check.
//!
//! A scene is commands, a line `----`, and what they must print; then a blank line and the next commands, if
//! there are more. `script::commands` lists the commands. After a change of behaviour run
//!
//! ```text
//! KVD_REWRITE=1 cargo test -p raft --test scripts
//! ```
//!
//! and read the difference as if you had written it by hand. Besides its text, every scene is held to what must never
//! happen: see `script::oath`.

mod script;

#[test]
fn elections_go_as_written() {
    script::play_all("election");
}

#[test]
fn logs_are_replicated_as_written() {
    script::play_all("replication");
}

#[test]
fn memberships_change_as_written() {
    script::play_all("membership");
}

#[test]
fn reads_are_confirmed_as_written() {
    script::play_all("reads");
}

#[test]
fn groups_sleep_as_written() {
    script::play_all("sleep");
}

#[test]
fn snapshots_go_as_written() {
    script::play_all("snapshot");
}

#[test]
fn restarts_go_as_written() {
    script::play_all("restart");
}
