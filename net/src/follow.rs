//! How a node follows the cluster map, and how one with an empty disk asks to come back.
//!
//! Both are asked over a connection with a hello of [`crate::hello::Role::Founding`], which any node answers at any time,
//! whatever incarnation asks: what is told here is no secret among the nodes of a list, and nothing is promised by it.

use crate::archive;
use crate::frame::{self, Kind};
use crate::request::BodyError;
use engine_core::placement::petition::Petition;
use rkyv::rancor::Failure;
use rkyv::{Archived, deserialize};

/// Appends the question for a map newer than that of epoch `known`.
pub fn write_query(out: &mut Vec<u8>, id: u64, known: u64) {
    let begun = frame::begin(out, Kind::MapQuery, 0, id);
    out.extend_from_slice(&known.to_le_bytes());
    frame::finish(out, begun);
}

/// Reads the body of a [`Kind::MapQuery`] frame: the epoch the asker knows.
pub fn query(body: &[u8]) -> Result<u64, BodyError> {
    let known = body.try_into().map_err(|_| BodyError { what: "question for the cluster map" })?;
    Ok(u64::from_le_bytes(known))
}

/// Appends the answer: the bytes of a newer map, or none.
pub fn write_answer(out: &mut Vec<u8>, id: u64, map: Option<&[u8]>) {
    let begun = frame::begin(out, Kind::MapAnswer, 0, id);
    out.extend_from_slice(map.unwrap_or_default());
    frame::finish(out, begun);
}

/// Appends a petition.
pub fn write_petition(out: &mut Vec<u8>, id: u64, petition: &Petition) {
    let begun = frame::begin(out, Kind::Petition, 0, id);
    archive::append(out, petition);
    frame::finish(out, begun);
}

/// Reads the body of a [`Kind::Petition`] frame.
pub fn petition(body: &[u8]) -> Result<Petition, BodyError> {
    let wrong = BodyError { what: "petition" };
    let archived: &Archived<Petition> = archive::read(body).ok_or(wrong)?;
    deserialize::<Petition, Failure>(archived).map_err(|_| wrong)
}

/// Appends what a node says of a petition: why it is refused, in words, or nothing if it was passed on.
pub fn write_petition_answer(out: &mut Vec<u8>, id: u64, refused: Option<&str>) {
    let begun = frame::begin(out, Kind::PetitionAnswer, 0, id);
    out.extend_from_slice(refused.unwrap_or_default().as_bytes());
    frame::finish(out, begun);
}

/// Reads the body of a [`Kind::PetitionAnswer`] frame: why the petition is refused, if it is.
pub fn petition_answer(body: &[u8]) -> Option<String> {
    (!body.is_empty()).then(|| String::from_utf8_lossy(body).into_owned())
}
