//! The Rust client: finds the cluster, routes, retries, and says truthfully what became of a request.
//!
//! [`Core`] decides everything and does no I/O. [`blocking`] drives it over non-blocking sockets of the standard
//! library from the caller's own thread; [`shell`] drives it over any async streams. The two offer the same requests
//! and answers.
//!
//! Writes happen once: each carries (client, sequence) of a session that is opened by a logged command, and keeps
//! them through every retry. What was never sent, or was refused by everyone who got it, is "not applied"; what was
//! sent and not answered in time is "outcome unknown".

mod answer;
pub mod blocking;
mod clock;
mod connection;
mod core;
mod deadline;
mod dispatch;
mod error;
mod links;
mod options;
mod pending;
mod request;
mod retry;
mod routing;
mod scan;
mod sessions;
pub mod shell;
mod sockets;
mod status;

pub use self::core::Core;
pub use blocking::{Client, Pipeline};
pub use connection::{ConnectionId, Effect};
pub use error::ClientError;
pub use options::ClientOptions;
pub use request::{Answer, CasResult, Checksum, Completion, Page, Request, RequestId, ScanOptions, Target};
pub use status::{ClusterStatus, NodeReport};
