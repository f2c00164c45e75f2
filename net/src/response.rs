//! What a client is answered.
//!
//! Every refusal is typed and says by its name whether the request may have happened: only
//! [`Refusal::OutcomeUnknown`] may; all others were refused before anything was written.

use crate::archive;
use crate::frame::{self, BODY_BYTES_MAX, Kind};
use crate::request::BodyError;
use rkyv::rancor::Failure;

mod types;

pub use types::{ArchivedRefusal, ArchivedResponse, Refusal, Response};

impl Response {
    /// Appends the answer to request `id` to `out`, as a whole frame. An answer that no frame can hold leaves as
    /// [`Refusal::TooLarge`]: the asker hears of it and the connection lives.
    pub fn write(&self, out: &mut Vec<u8>, id: u64) {
        let begun = frame::begin(out, Kind::Response, 0, id);
        archive::append(out, self);
        if out.len() - begun.body_start() > BODY_BYTES_MAX {
            out.truncate(begun.body_start());
            archive::append(out, &Response::Refused(Refusal::TooLarge { limit: BODY_BYTES_MAX as u64 }));
        }
        frame::finish(out, begun);
    }

    /// Reads the body of a [`Kind::Response`] frame into values of its own.
    pub fn decode(body: &[u8]) -> Result<Response, BodyError> {
        let wrong = BodyError { what: "response" };
        let archived: &ArchivedResponse = archive::read(body).ok_or(wrong)?;
        rkyv::deserialize::<Response, Failure>(archived).map_err(|_| wrong)
    }
}
