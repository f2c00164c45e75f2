//! What a node asks the others of its list before there is a cluster, and what they answer.
//!
//! The words and the rules are [`engine_core::placement::founding`]'s; here they only become frames. The
//! connection is opened with a hello of [`crate::hello::Role::Founding`].

use crate::archive;
use crate::frame::{self, Kind};
use crate::request::BodyError;
use engine_core::placement::founding::{Answer, Query};
use rkyv::rancor::Failure;
use rkyv::{Archived, deserialize};

/// Appends a whole query frame to `out`.
pub fn write_query(out: &mut Vec<u8>, id: u64, query: &Query) {
    let begun = frame::begin(out, Kind::FoundingQuery, 0, id);
    archive::append(out, query);
    frame::finish(out, begun);
}

/// Appends a whole answer frame to `out`.
pub fn write_answer(out: &mut Vec<u8>, id: u64, answer: &Answer) {
    let begun = frame::begin(out, Kind::FoundingAnswer, 0, id);
    archive::append(out, answer);
    frame::finish(out, begun);
}

/// Reads the body of a [`Kind::FoundingQuery`] frame.
pub fn query(body: &[u8]) -> Result<Query, BodyError> {
    let wrong = BodyError { what: "founding query" };
    let archived: &Archived<Query> = archive::read(body).ok_or(wrong)?;
    deserialize::<Query, Failure>(archived).map_err(|_| wrong)
}

/// Reads the body of a [`Kind::FoundingAnswer`] frame. That it makes sense is for the founding's rules to judge.
pub fn answer(body: &[u8]) -> Result<Answer, BodyError> {
    let wrong = BodyError { what: "founding answer" };
    let archived: &Archived<Answer> = archive::read(body).ok_or(wrong)?;
    deserialize::<Answer, Failure>(archived).map_err(|_| wrong)
}
