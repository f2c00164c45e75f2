//! How patient a client is, and how much it may hold.

use std::time::Duration;

/// A client's settings. All have defaults that suit a network of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long one request may take, all retries together. 5 s.
    pub timeout: Duration,
    /// How long a connection may take to open, hello included. 1 s.
    pub connect_timeout: Duration,
    /// A connection with unanswered requests that stays silent this long is given up and its requests are retried
    /// elsewhere; at half the time the node is pinged, so that a slow answer alone does not count as silence. Nor does a
    /// slow network, as long as it goes on taking what is to be sent. 1 s.
    pub silence_timeout: Duration,
    /// The first pause before a retry; doubles up to `backoff_max`. Each pause is drawn from its upper half. 5 ms.
    pub backoff: Duration,
    /// The longest pause before a retry. 100 ms: a tenth of an election, so that a new leader is found soon.
    pub backoff_max: Duration,
    /// Requests that may be waiting for their answers; more are refused as not applied. 65,536.
    pub requests_max: usize,
    /// Bytes of keys and values that may be waiting for their answers; more are refused as not applied. 256 MiB.
    pub bytes_max: usize,
    /// How many connections requests to groups are spread over, those to all nodes that lead together; one to each of their cores
    /// is the least. A group's requests keep to as few of them as use all, about evenly: what is sent in order arrives in order,
    /// and a session holds few gaps. When leadership moves there may be more of them, as none is closed. 1.
    pub connections: u16,
    /// The seed of the jitter; `None` draws one. The client's identity never comes from it.
    pub seed: Option<u64>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            silence_timeout: Duration::from_secs(1),
            backoff: Duration::from_millis(5),
            backoff_max: Duration::from_millis(100),
            requests_max: 65_536,
            bytes_max: 256 << 20,
            connections: 1,
            seed: None,
        }
    }
}
