//! Happenings in words and numbers, for the trace.

use crate::happening::{Happening, Inside, Reply, Request};
use crate::nemesis::Relief;
use crate::random::mix;
use crate::transfer::Word;
use engine_core::command::Outcome;
use engine_core::shard::Refused;
use xxhash_rust::xxh3::xxh3_64;

impl Happening {
    /// Where it happens, what it is, and what distinguishes it from its like.
    pub(crate) fn words(&self) -> ((u16, u16), &'static str, [u64; 3]) {
        match self {
            Happening::Inside(place, inside) => {
                let (what, numbers) = inside.words();
                ((place.node, place.core), what, numbers)
            }
            Happening::DiskWritten(place, batch) => {
                ((place.node, place.core), "disk written (batch, life)", [*batch, place.life, 0])
            }
            Happening::Frames { from, to, bytes, .. } => {
                (*to, "frames (from node, core, bytes)", [from.0.into(), from.1.into(), digest(bytes)])
            }
            Happening::Snapshot { to, thread, word, .. } => {
                let (what, number) = word.words();
                (*to, what, [thread.group.0.into(), thread.id, number])
            }
            Happening::Request { to, ticket, request } => match request {
                Request::Write(group, bytes) => {
                    (*to, "write (group, request, command)", [group.0.into(), ticket.request, digest(bytes)])
                }
                Request::Read(group, _) => (*to, "read (group, request)", [group.0.into(), ticket.request, 0]),
            },
            Happening::Reply { ticket, reply } => {
                let (what, number) = reply.words();
                ((0, 0), what, [ticket.connection, ticket.request, number])
            }
            Happening::Client { client, slot, step } => {
                ((0, 0), "client (number, slot, step)", [*client as u64, *slot as u64, *step])
            }
            Happening::Fault => ((0, 0), "fault", [0; 3]),
            Happening::Relief(relief) => match relief {
                Relief::Start(node) => ((*node, 0), "start", [0; 3]),
                Relief::Strike(node) => ((*node, 0), "strike", [0; 3]),
                Relief::Ambush(node) => ((*node, 0), "ambush", [0; 3]),
                Relief::Follow(node) => ((*node, 0), "follows the map", [0; 3]),
                Relief::Heal => ((0, 0), "heal", [0; 3]),
                Relief::Calm => ((0, 0), "calm", [0; 3]),
                Relief::Fast(node) => ((*node, 0), "fast disk", [0; 3]),
                Relief::Room(node) => ((*node, 0), "room on disk", [0; 3]),
            },
            Happening::Peace => ((0, 0), "peace", [0; 3]),
            Happening::FinalReads => ((0, 0), "final reads", [0; 3]),
            Happening::End => ((0, 0), "end", [0; 3]),
        }
    }
}

impl Inside {
    /// What it is, and what distinguishes it from its like.
    pub(crate) fn words(&self) -> (&'static str, [u64; 3]) {
        match self {
            Inside::Tick => ("tick", [0; 3]),
            Inside::Turn => ("turn", [0; 3]),
            Inside::WriteDone(batch) => ("write done (batch)", [*batch, 0, 0]),
            Inside::SealTime(stirred) => ("seal time", [*stirred, 0, 0]),
            Inside::SpareMade(id) => ("spare made (segment)", [id.0, 0, 0]),
            Inside::StoreApplied => ("store applied", [0; 3]),
            Inside::StoreSynced => ("store synced", [0; 3]),
            Inside::StoreSnapshot => ("store at a snapshot", [0; 3]),
            Inside::Fetched(group, peer, from, _) => ("fetched (group, peer, from)", [group.0.into(), peer.0, from.0]),
            Inside::Replay(replay) => ("replay (group, from)", [replay.group.0.into(), replay.from.0, 0]),
            Inside::Replayed(group, from, _) => ("replayed (group, from)", [group.0.into(), from.0, 0]),
            Inside::Read(read) => ("store read (group, request)", [read.group.0.into(), read.ticket.request, 0]),
            Inside::PeerLost(node) => ("peer lost (node)", [(*node).into(), 0, 0]),
            Inside::Drain => ("drain", [0; 3]),
            Inside::Petition(petition) => ("petition (incarnation)", [petition.incarnation, 0, 0]),
            Inside::MapStored => ("map stored", [0; 3]),
            Inside::DiskFull => ("disk looked at", [0; 3]),
        }
    }
}

impl Word {
    fn words(&self) -> (&'static str, u64) {
        match self {
            Word::Begin(header) => ("snapshot begins (group, id, last)", header.last.index.0),
            Word::Chunk(_, bytes) => ("snapshot chunk (group, id, bytes)", digest(bytes)),
            Word::End(end) => ("snapshot ends (group, id, digest)", end.digest),
            Word::From(chunk) => ("snapshot goes on (group, id, chunk)", *chunk),
            Word::Written(chunk) => ("snapshot written (group, id, chunk)", *chunk),
            Word::Done => ("snapshot done (group, id)", 0),
            Word::Refused => ("snapshot refused (group, id)", 0),
        }
    }
}

impl Reply {
    fn words(&self) -> (&'static str, u64) {
        match self {
            Reply::Outcome(outcome) => match outcome {
                Outcome::Opened { session } => ("opened (connection, request, session)", session.0),
                Outcome::Done => ("done (connection, request)", 0),
                Outcome::Old(value) => ("old (connection, request, value)", digest_of(value.as_deref())),
                Outcome::Swapped => ("swapped (connection, request)", 0),
                Outcome::Mismatch { current } => {
                    ("mismatch (connection, request, value)", digest_of(current.as_deref()))
                }
                Outcome::AlreadyApplied => ("already applied (connection, request)", 0),
                Outcome::SessionEvicted => ("session evicted (connection, request)", 0),
                Outcome::Refused(_) => ("refused by the group (connection, request)", 0),
            },
            Reply::Value(value) => ("value (connection, request, value)", digest_of(value.as_deref())),
            Reply::Page(entries) => ("page (connection, request, entries)", entries.len() as u64),
            Reply::Refused(refused) => match refused {
                Refused::NotLeader(leader) => {
                    ("not leader (connection, request, leader)", leader.map_or(u64::MAX, |leader| leader.0))
                }
                Refused::Busy => ("busy (connection, request)", 0),
                Refused::OutcomeUnknown => ("outcome unknown (connection, request)", 0),
                Refused::DiskFull => ("disk full (connection, request)", 0),
                _ => ("refused (connection, request)", 0),
            },
        }
    }
}

fn digest(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

fn digest_of(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| mix(xxh3_64(value)))
}
