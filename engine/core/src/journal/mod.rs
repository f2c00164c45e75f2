//! The journal: one append-only log per core, of all its groups.
//!
//! It takes records in and gives aligned buffers and positions out; at a start it takes the bytes of all
//! segment files in and gives the state of every replica out. It knows no file, clock or thread: the rim
//! carries the writes out, the simulation does the same on a disk that lies.
//!
//! # The chain
//!
//! A *segment* is a file of fixed size, made ahead of need and used again later. A *batch* is one write: a header,
//! records, zeros up to a multiple of the block size. One write is in flight at a time, and the next is
//! given out only when it is synced, so a header proves that everything before it was synced. Each
//! header carries the crc of the header before it; each record carries the crc of the record before
//! it; the first record of a batch is chained to a seed made of life, segment, batch number and the
//! previous header's crc. What batches left in a recycled file names another segment, and what values left there that would pass
//! for a header is made zeros first ([`blank`]).
//!
//! Numbers of segments only grow. A segment begins with its *opening*: the list of the segments before it
//! that are still needed, each with where the chain leaves it and the crc there, and a table with a
//! row for every replica. So damage is bounded, and no vote is only in one place. No value that names
//! the segment is in the same batch: where the opening is torn, it could pass for a header of a life that nobody knows.
//!
//! Every start of the process is a *life*, with a random number. It begins with an opening in a fresh segment whose
//! list ends the old chain at the last durable position recorded in it; what lay above is in the same batch
//! again, behind the table, in a segment whose number no value there names. So it is synced once more, and nothing of an earlier life that
//! appears later is ever read.
//!
//! # Promises
//!
//! A batch of entries is promised when it is synced. A batch with a hard state, a replica's creation or removal, or a
//! restarted log is promised when the header after it is synced too: the next batch, or a *seal* (a header without
//! records), which goes out at once when nothing else waits. For only the very last batch could be taken for torn if
//! it rots, and votes must not depend on that.
//!
//! # Torn or rotten
//!
//! Recovery looks for the headers of every segment at every place where one can be. The *head* is the segment
//! with the highest number whose opening is whole; its batches are followed until one is not whole.
//!
//! * Nothing was synced behind that place: no header of the segment lies behind it but that of the broken batch
//!   itself, and no header of a higher segment records a durable position beyond. The broken
//!   batch was under way when the node died; it is cut ([`Torn`]).
//! * Otherwise it is rot ([`Damage`]), and no replica is sound: nobody knows what was lost.
//! * A segment above the head with nothing but the header of a broken opening was under way; with any
//!   other header of its own it is rot, and no replica is sound.
//! * The head's last header names a spare that was ready then. Its file missing is rot, no replica is sound.
//! * A segment of the head's list that is missing, or that does not lead to the end and crc the list gives,
//!   is rot. What can be followed of it is used. At the next table, each log that does not hold the last entry
//!   which the table names has a gap from then on; who loses the gap to a later log start or a later leader is
//!   sound, by Log Matching (paper section 5.3); who keeps it is not.
//! * Bytes behind the records of a synced batch that are not zero are reported, and harm nobody.
//!
//! A replica that is not sound is marked so in every table until its group is created anew.
//! If every file is gone, the journal is that of a fresh disk: only the host can know better.
//!
//! # Layout
//!
//! Little endian. Batches begin at multiples of 512 bytes at least. A crc is crc32 (IEEE).
//!
//! ```text
//! batch header, 96 bytes            record header, 24 bytes           bodies
//!  0 u32 magic "KVDJ"                0 u32 crc of bytes 4 .. length    1 life        0 u64 life
//!  4 u32 crc of bytes 8 .. 96        4 u32 length, header included     2 segments    32 bytes each:
//!  8 u16 version = 1                 8 u32 crc of the previous record                0 u64 segment
//! 10 u16 1: opening                 12 u8  kind                                      8 u64 life
//! 12 u32 block bytes                13 u8  version = 1                              16 u64 end
//! 16 u64 life                       14 u16 0                                        24 u32 crc at the end
//! 24 u64 segment                    16 u64 sequence                                 28 u32 0
//! 32 u64 batch number               24     body                       3 row, 7 created
//! 40 u64 sequence of first record                                                    0 u32 group
//! 48 u32 records                    bodies                                           4 u8  1: vote 2: unsound
//! 52 u32 bytes of records           4 entry       0 u32 group                        5 u8 0, u16 0
//! 56 u64 durable up to: segment                   4 u8  entry kind                   8 u64 replica
//! 64 u64 durable up to: offset                    5 u8  payload version = 1         16 u64 term, u64 vote
//! 72 u64 first segment needed                     6 u16 0                           32 u64 log start term, index
//! 80 u64 next segment, if ready                   8 u64 term                        48 u64 last term, index
//! 88 u32 crc of previous header                  16 u64 index                       64     membership at log start
//! 92 u32 crc of last record                      24     payload       6 log start    0 u32 group
//! 96     records                    5 hard state  0 u32 group                        4 u8  1: restart, empty
//!                                                 4 u8  1: vote                      5 u8 0, u16 0
//!                                                 5 u8 0, u16 0                      8 u64 term, index
//!                                                 8 u64 term, vote                  24     membership at log start
//!                                   8 removed     0 u32 group, u32 0
//! ```
//!
//! An entry's record can be checked by itself: its crc covers the crc of the record before it. A kind's layout
//! is frozen and pinned by golden files; a new layout is a new kind or version.

mod chain;
mod error;
mod files;
mod header;
#[cfg(test)]
mod impossible_tests;
#[allow(clippy::module_inception)] // `journal::Journal` is what callers know; the file is named for it.
mod journal;
mod log;
mod record;
mod recovery;
mod replay;
mod scan;
mod types;
mod writer;

pub use error::{Damage, RecoverError, Rot, Torn};
pub use files::Files;
pub use journal::Journal;
pub use recovery::{recover, recover_from};
pub use scan::blank;
pub use types::{Extent, Options, Recovered, RecoveredReplica, ReplicaState, SegmentId, Write};

use types::Place;
