//! The bytes of a session, as the store keeps them and a snapshot carries them.
//!
//! `[version u8][opened u64][last used u64][acknowledged u64]`, little endian, then per run: the distance from the
//! end of the run before (or from the acknowledged mark), its length less one, the number of its outcome, and for
//! outcomes with a value the value's length and bytes. Distances and lengths are LEB128: a session is written again
//! in every batch that uses it, and most runs are three bytes.

use super::runs::Run;
use super::{RESULT_BYTES_MAX, Session, SessionKey};
use crate::command::{ClientId, Outcome};
use raft::ids::{GroupId, Index};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 25;

const DONE: u8 = 0;
const SWAPPED: u8 = 1;
const OLD_NONE: u8 = 2;
const OLD: u8 = 3;
const MISMATCH_NONE: u8 = 4;
const MISMATCH: u8 = 5;
const GONE: u8 = 6;

/// The bytes of a session are not sound: the store holding them is corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a session are damaged")]
pub struct SessionError;

/// When a session was opened and used last, without reading the rest of its bytes.
pub fn header(bytes: &[u8]) -> Result<(Index, Index), SessionError> {
    if bytes.len() < HEADER_BYTES || bytes[0] != VERSION {
        return Err(SessionError);
    }
    Ok((Index(number(bytes, 1)), Index(number(bytes, 9))))
}

impl SessionKey {
    /// Its bytes, as a snapshot carries them: the group, then the client, big endian.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.origin.0.to_be_bytes());
        bytes[4..].copy_from_slice(&self.client.0.to_be_bytes());
        bytes
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<SessionKey, SessionError> {
        let (origin, client) = bytes.split_first_chunk().ok_or(SessionError)?;
        let client = u128::from_be_bytes(client.try_into().map_err(|_| SessionError)?);
        Ok(SessionKey { client: ClientId(client), origin: GroupId(u32::from_be_bytes(*origin)) })
    }
}

impl Session {
    /// Appends its bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(VERSION);
        for number in [self.opened.0, self.last_used.0, self.acknowledged] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut end = self.acknowledged;
        for run in self.runs.iter() {
            push(bytes, run.first - end);
            push(bytes, run.last - run.first);
            end = run.last;
            let (number, value) = match &run.outcome {
                Outcome::Done => (DONE, None),
                Outcome::Swapped => (SWAPPED, None),
                Outcome::Old(None) => (OLD_NONE, None),
                Outcome::Old(value) => (OLD, value.as_ref()),
                Outcome::Mismatch { current: None } => (MISMATCH_NONE, None),
                Outcome::Mismatch { current } => (MISMATCH, current.as_ref()),
                Outcome::AlreadyApplied => (GONE, None),
                outcome => unreachable!("{outcome:?} is no result of an executed command"),
            };
            bytes.push(number);
            if let Some(value) = value {
                push(bytes, value.len() as u64);
                bytes.extend_from_slice(value);
            }
        }
    }

    /// The session with these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Session, SessionError> {
        let (opened, last_used) = header(bytes)?;
        let mut session = Session { last_used, acknowledged: number(bytes, 17), ..Session::new(opened) };
        let mut rest = &bytes[HEADER_BYTES..];
        let mut end = session.acknowledged;
        while !rest.is_empty() {
            let distance = pull(&mut rest)?;
            if distance == 0 {
                return Err(SessionError);
            }
            let first = end.checked_add(distance).ok_or(SessionError)?;
            let last = first.checked_add(pull(&mut rest)?).ok_or(SessionError)?;
            let outcome = match *rest.split_off_first().ok_or(SessionError)? {
                DONE => Outcome::Done,
                SWAPPED => Outcome::Swapped,
                OLD_NONE => Outcome::Old(None),
                OLD => Outcome::Old(Some(value(&mut rest)?)),
                MISMATCH_NONE => Outcome::Mismatch { current: None },
                MISMATCH => Outcome::Mismatch { current: Some(value(&mut rest)?) },
                GONE => Outcome::AlreadyApplied,
                _ => return Err(SessionError),
            };
            session.runs.insert(session.runs.len(), Run { first, last, outcome });
            end = last;
        }
        Ok(session)
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn value(rest: &mut &[u8]) -> Result<Vec<u8>, SessionError> {
    let length = pull(rest)?;
    if length > RESULT_BYTES_MAX as u64 {
        return Err(SessionError);
    }
    Ok(rest.split_off(..length as usize).ok_or(SessionError)?.to_vec())
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn pull(rest: &mut &[u8]) -> Result<u64, SessionError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first().ok_or(SessionError)?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return Err(SessionError);
        }
        number |= part << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(SessionError)
}
