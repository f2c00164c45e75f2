//! The settings of a node: what they are, where they come from, and whether they can be meant.
//!
//! [`settings`] has one struct per section of the file, with the defaults. [`load`] lays the sources over
//! each other: default, file, environment, command line. [`check`] refuses what cannot work and says what to
//! do. Sizes are written `"64MiB"`, durations `"250ms"` ([`units`]). [`servers`] reads the plain list of
//! servers, and [`show`] writes settings as a file again. `kvd.toml` beside this crate is the annotated file of all defaults.
//!
//! Reads files; knows nothing of threads, sockets or what the settings do.

pub mod address;
pub mod check;
pub mod cpus;
pub mod load;
pub mod nodes;
pub mod servers;
pub mod settings;
pub mod show;
mod suggest;
pub mod units;

pub use settings::Settings;

/// The annotated file of all defaults, as `kvd config default` prints it.
pub const DEFAULT_FILE: &str = include_str!("../kvd.toml");
