//! The bytes of keys: the only file that knows them.
//!
//! ```text
//! 0                                      format of the store
//! 1                                      the next generation
//! 2                                      founding record
//! 3  group u32                           replica: id, generation, membership
//! 4  group u32                           applied entry and number of sessions
//! 5  generation u64  origin u32  client u128    session
//! 6  generation u64  user key            data
//! 7  group u32                           installed: the entry that the last snapshot ended with
//! 8                                      cluster map, once it is not that of the founding
//! ```
//!
//! Numbers are big endian, so that keys sort by them. Data and sessions lie under the replica's local generation, not
//! under its group: a snapshot comes in beside the old data, and a replaced replica's data are one range.

use engine_core::command::ClientId;
use engine_core::sessions::SessionKey;
use raft::ids::GroupId;
use std::ops::Range;

/// The format of the store as a whole.
pub const FORMAT: &[u8] = &[0];
/// The generation the next replica gets.
pub const NEXT_GENERATION: &[u8] = &[1];
/// The founding record of the cluster.
pub const FOUNDING_RECORD: &[u8] = &[2];
/// The cluster map.
pub const MAP: &[u8] = &[8];

const REPLICA: u8 = 3;
const APPLIED: u8 = 4;
const SESSION: u8 = 5;
const DATA: u8 = 6;
const INSTALLED: u8 = 7;

/// Bytes of a data key before the user's key.
const DATA_PREFIX_BYTES: usize = 9;
/// Bytes of a session's key before what every node has the same.
const SESSION_PREFIX_BYTES: usize = 9;
/// Most keys are shorter than this and need no memory of their own to be looked up.
const STACK_BYTES: usize = 128;

/// Where the record of a group's replica is.
pub fn replica(group: GroupId) -> [u8; 5] {
    of_group(REPLICA, group)
}

/// Where the record of what a group has applied is.
pub fn applied(group: GroupId) -> [u8; 5] {
    of_group(APPLIED, group)
}

/// Where the record of a group's last snapshot is.
pub fn installed(group: GroupId) -> [u8; 5] {
    of_group(INSTALLED, group)
}

/// Where the records of all replicas are.
pub fn replicas() -> Range<Vec<u8>> {
    vec![REPLICA]..vec![REPLICA + 1]
}

/// The group whose replica record has this key.
pub fn group_of_replica(key: &[u8]) -> Option<GroupId> {
    let number = key.strip_prefix(&[REPLICA])?;
    Some(GroupId(u32::from_be_bytes(number.try_into().ok()?)))
}

/// Where a session is.
pub fn session(generation: u64, key: SessionKey) -> [u8; 29] {
    let mut bytes = [0; 29];
    bytes[0] = SESSION;
    bytes[1..9].copy_from_slice(&generation.to_be_bytes());
    bytes[9..13].copy_from_slice(&key.origin.0.to_be_bytes());
    bytes[13..].copy_from_slice(&key.client.0.to_be_bytes());
    bytes
}

/// Where all sessions of a generation are.
pub fn sessions(generation: u64) -> Range<Vec<u8>> {
    sessions_of(&(generation..generation + 1))
}

/// Where all sessions of some generations are.
pub fn sessions_of(generations: &Range<u64>) -> Range<Vec<u8>> {
    of_generations(SESSION, generations)
}

/// The session that has this key.
pub fn session_key(key: &[u8]) -> Option<SessionKey> {
    let key: &[u8; 29] = key.try_into().ok()?;
    let origin = u32::from_be_bytes(key[9..13].try_into().ok()?);
    let client = u128::from_be_bytes(key[13..].try_into().ok()?);
    Some(SessionKey { client: ClientId(client), origin: GroupId(origin) })
}

/// The part of a session's key that is the same on every node.
pub fn session_part(key: &[u8]) -> &[u8] {
    &key[SESSION_PREFIX_BYTES..]
}

/// Where the session with this part of a key is under a generation; `None` if that is no session's.
pub fn session_place(generation: u64, part: &[u8]) -> Option<[u8; 29]> {
    let part: &[u8; 20] = part.try_into().ok()?;
    let mut bytes = [0; 29];
    bytes[0] = SESSION;
    bytes[1..SESSION_PREFIX_BYTES].copy_from_slice(&generation.to_be_bytes());
    bytes[SESSION_PREFIX_BYTES..].copy_from_slice(part);
    Some(bytes)
}

/// Calls `f` with the place of a user's key.
pub fn with_data<T>(generation: u64, user_key: &[u8], f: impl FnOnce(&[u8]) -> T) -> T {
    let length = DATA_PREFIX_BYTES + user_key.len();
    let mut stack = [0; STACK_BYTES];
    let mut heap;
    let bytes = match stack.get_mut(..length) {
        Some(bytes) => bytes,
        None => {
            heap = vec![0; length];
            &mut heap[..]
        }
    };
    bytes[0] = DATA;
    bytes[1..DATA_PREFIX_BYTES].copy_from_slice(&generation.to_be_bytes());
    bytes[DATA_PREFIX_BYTES..].copy_from_slice(user_key);
    f(bytes)
}

/// Where a generation's data from the user's key `start` to before `end` are.
pub fn data_between(generation: u64, start: &[u8], end: Option<&[u8]>) -> Range<Vec<u8>> {
    let all = data(generation);
    let end = match end {
        Some(end) => with_data(generation, end, <[u8]>::to_vec),
        None => all.end,
    };
    with_data(generation, start, <[u8]>::to_vec)..end
}

/// Where all data of a generation are.
pub fn data(generation: u64) -> Range<Vec<u8>> {
    data_of(&(generation..generation + 1))
}

/// Where all data of some generations are.
pub fn data_of(generations: &Range<u64>) -> Range<Vec<u8>> {
    of_generations(DATA, generations)
}

/// Whether a place lies under a generation, as data and sessions do.
pub fn is_of_generation(place: &[u8]) -> bool {
    matches!(place.first(), Some(&(SESSION | DATA)))
}

/// The user's part of a data key.
pub fn user_key(key: &[u8]) -> &[u8] {
    &key[DATA_PREFIX_BYTES..]
}

fn of_group(kind: u8, group: GroupId) -> [u8; 5] {
    let mut bytes = [kind; 5];
    bytes[1..].copy_from_slice(&group.0.to_be_bytes());
    bytes
}

fn of_generations(kind: u8, generations: &Range<u64>) -> Range<Vec<u8>> {
    let key = |generation: u64| [&[kind][..], &generation.to_be_bytes()].concat();
    key(generations.start)..key(generations.end)
}
