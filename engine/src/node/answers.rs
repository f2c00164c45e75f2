//! What the shard answers, as the wire has it.

use super::clients::RETRY_AFTER_MS;
use engine_core::placement::map::ClusterMap;
use engine_core::shard::{Answer, Refused};
use net::response::{Refusal, Response};

/// See the module; `map` is the one in force.
pub fn response(answer: Answer, map: &ClusterMap) -> Response {
    let refused = match answer {
        Answer::Outcome(outcome) => return Response::Outcome(outcome),
        Answer::Refused(refused) => refused,
    };
    Response::Refused(match refused {
        Refused::NotLeader(leader) => Refusal::NotLeader { leader: leader.map(|leader| leader.node()) },
        Refused::NotServing => Refusal::NotLeader { leader: None },
        Refused::UnknownGroup | Refused::NotOwner => Refusal::NotOwner { epoch: map.epoch },
        Refused::Busy => Refusal::Busy { retry_after_ms: RETRY_AFTER_MS },
        Refused::DiskFull => Refusal::DiskFull,
        Refused::BadCommand(why) => Refusal::BadRequest { why },
        Refused::TooLarge(limit) => Refusal::TooLarge { limit },
        Refused::OutcomeUnknown => Refusal::OutcomeUnknown,
    })
}
