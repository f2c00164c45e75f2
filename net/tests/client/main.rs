//! The sans-IO client against scripted nodes, in virtual time.

mod cluster;
mod deadlines;
mod lanes;
mod retries;
mod sessions;
mod versions;
mod window;
mod world;

use net::client::ClientOptions;
use std::time::Duration;

/// Longer than any pause before a retry, much shorter than any timeout.
const MOMENT: Duration = Duration::from_millis(300);

fn options() -> ClientOptions {
    ClientOptions::default()
}
