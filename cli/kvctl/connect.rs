//! The way to the cluster: a library client from the global options, and its errors as exit codes.

use net::client::blocking::Client;
use net::client::{ClientError, ClientOptions};
use net::status::is_name;

use crate::args::Globals;
use crate::exit::{Code, Failure};

/// A client of the cluster that the endpoints belong to.
pub fn connect(globals: &Globals) -> Result<Client, Failure> {
    connect_for_many(globals, 1, 0)
}

/// One that keeps `requests` under way, over `connections` to all nodes together.
pub fn connect_for_many(globals: &Globals, connections: u32, requests: usize) -> Result<Client, Failure> {
    let usual = ClientOptions::default();
    let options = ClientOptions {
        timeout: globals.timeout,
        connect_timeout: globals.timeout.min(usual.connect_timeout),
        connections: u16::try_from(connections).unwrap_or(u16::MAX),
        requests_max: requests.max(usual.requests_max),
        bytes_max: usual.bytes_max.saturating_mul(connections as usize),
        ..usual
    };
    Client::connect(&globals.endpoints, options).map_err(Failure::from)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let message = error.to_string();
        match error {
            ClientError::Unavailable { .. } | ClientError::NotApplied { .. } | ClientError::Unreachable { .. } => {
                Failure::new(Code::Unavailable, message).hint("kvctl status")
            }
            ClientError::NotFormed { waiting_for } if waiting_for.is_empty() => {
                Failure::new(Code::Unavailable, "the node is starting and serves nothing yet")
                    .hint("wait, or look at /readyz of its admin port")
            }
            ClientError::NotFormed { waiting_for } if waiting_for.iter().any(|entry| is_name(entry)) => {
                Failure::new(Code::Unavailable, message).hint("start the nodes it waits for")
            }
            // What is in the way says itself what to do.
            ClientError::NotFormed { .. } => Failure::new(Code::Unavailable, message),
            ClientError::OutcomeUnknown { .. } | ClientError::SessionEvicted | ClientError::ResultGone => {
                Failure::new(Code::Unknown, message).hint("read the key to find out")
            }
            ClientError::Protocol { .. } | ClientError::Unsupported => Failure::new(Code::Protocol, message),
            ClientError::CrossGroupBatch { .. }
            | ClientError::TooLarge { .. }
            | ClientError::BadInput { .. }
            | ClientError::Forbidden => Failure::error(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_start_nodes_that_nobody_waits_for() {
        let starting = Failure::from(ClientError::NotFormed { waiting_for: Vec::new() });
        assert!(starting.hint.as_ref().unwrap().contains("/readyz") && starting.message.contains("starting"));
        let forming = Failure::from(ClientError::NotFormed { waiting_for: vec!["n2".into()] });
        assert!(forming.hint.as_ref().unwrap().contains("start") && forming.message.contains("n2"));
        let why = "n1 is to come in as new (node.new), and no node of the list is a member of a cluster";
        let held_up = Failure::from(ClientError::NotFormed { waiting_for: vec![why.into()] });
        assert_eq!((held_up.message, held_up.hint), (format!("the cluster is not formed yet: {why}"), None));
        assert_eq!([starting.code, forming.code, held_up.code], [Code::Unavailable; 3]);
    }
}
