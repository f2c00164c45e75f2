//! The helper threads a core has for its store: the only one that writes RocksDB, and four readers for what is not in memory, one for
//! gets, one for scans, one for outgoing snapshots, one for entries that wait to be applied. A checksum has one of its own while it is made.
//!
//! All are plain, unpinned threads that may block. They answer into the core's inbox. A store that fails ends
//! the process: what it holds can no longer be trusted to grow, and the journal has everything (rule 12).

use super::last_words;
use super::mesh::{Mesh, ToCore};
use super::owed;
use super::queue::{self, Sender, Work};
use super::set_aside;
use crate::store::{Lack, ReceiveError, SnapshotReader, Store, StoreError, WriteBack};
use engine_core::placement::map::MAP_GROUP;
use engine_core::shard::effects::SnapshotStep;
use engine_core::shard::{Query, Ticket};
use engine_core::state_machine::MapRecord;
use net::response::{Refusal, Response};
use raft::entry::LogId;
use raft::ids::GroupId;
use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;

/// Bytes of entries in one response page of a scan: well below the largest frame.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// The threads that a core has for its store.
#[derive(Clone, Debug)]
pub struct Helpers {
    /// Writes RocksDB.
    pub writer: Sender<Write>,
    /// Reads values for clients.
    pub reader: Sender<Read>,
    /// Reads ranges for clients: a page takes as long as a hundred values, and who wants one wants many.
    pub scanner: Sender<Read>,
    /// Reads snapshots: a chunk may lie behind millions of deleted keys.
    pub snapshots: Sender<Read>,
    /// Reads what entries must know, which no long read may hold up.
    pub fetcher: Sender<Lack>,
}

/// Work for the writer.
#[derive(Debug)]
pub enum Write {
    /// Write this table back.
    Back(WriteBack),
    /// Make what is written back durable: so far each group has applied its log then.
    Sync(Vec<(GroupId, LogId)>),
    /// Group 0 has moved: tell which map it holds, if it holds one.
    TellMap,
    /// A chunk of a snapshot, the one before number `next`.
    SnapshotChunk {
        /// The group.
        group: GroupId,
        /// Which snapshot.
        id: u64,
        /// The number of the chunk behind it.
        next: u64,
        /// The bytes.
        chunk: Vec<u8>,
    },
    /// What the shard decided about a snapshot.
    Snapshot(SnapshotStep),
    /// Sync and end.
    Close,
}

/// Work for a reader.
#[derive(Debug)]
pub enum Read {
    /// A query the block cache could not answer.
    Query {
        /// For whom.
        ticket: Ticket,
        /// Of which group.
        group: GroupId,
        /// What.
        query: Query,
    },
    /// Take a snapshot of a group, to be read from its beginning.
    SnapshotOpen {
        /// Its number.
        id: u64,
        /// Of which group.
        group: GroupId,
    },
    /// Read its next chunk.
    SnapshotChunk {
        /// Its number.
        id: u64,
    },
    /// It is needed no more.
    SnapshotClose {
        /// Its number.
        id: u64,
    },
    /// The checksum of a replica.
    Checksum {
        /// For whom.
        ticket: Ticket,
        /// Of which group.
        group: GroupId,
    },
}

/// Starts the writer of core `core`. It ends after [`Write::Close`] or when every sender is gone.
///
/// When it is told to, and at first, `maps` gets the cluster map that group 0 holds here.
pub fn start_writer(
    core: u16,
    store: Store,
    mesh: Mesh,
    maps: flume::Sender<MapRecord>,
) -> io::Result<(Sender<Write>, JoinHandle<()>)> {
    // One table at a time, and chunks of snapshots as many as their window: the queue needs no limit of its own.
    queue::helper(format!("store-{core}"), move |work| write_loop(core, &store, &work, &mesh, &maps))
}

fn write_loop(core: u16, store: &Store, work: &Work<Write>, mesh: &Mesh, maps: &flume::Sender<MapRecord>) {
    let tell_map = || {
        if let Some(map) = store.map().unwrap_or_else(|error| fail(core, store, &error)) {
            // Whoever listens ends only with the node.
            let _ = maps.send(map);
        }
    };
    tell_map();
    let mut installer = store.installer();
    while let Some(write) = work.receive() {
        let result = match write {
            Write::Back(back) => store.write_back(&back).map(|records| {
                // The core's is the last reference, or the next table's end is this one's.
                drop(back);
                mesh.send(core, ToCore::WrittenBack { records });
            }),
            Write::Sync(durable) => store.sync().map(|()| mesh.send(core, ToCore::StoreSynced(durable))),
            Write::TellMap => {
                tell_map();
                Ok(())
            }
            Write::SnapshotChunk { group, id, next, chunk } => {
                match installer.receive(group, id, &chunk) {
                    Ok(()) => mesh.send(core, ToCore::SnapshotWritten { id, chunk: next }),
                    Err(ReceiveError::Stream(why)) => mesh.send(core, broken(core, group, id, &why)),
                    Err(ReceiveError::Store(error)) => fail(core, store, &error),
                }
                Ok(())
            }
            Write::Snapshot(SnapshotStep::Install { header, end }) => {
                let (group, id) = (header.group, header.id);
                let answer = match installer.install(&header, end) {
                    Ok(()) => {
                        if group == MAP_GROUP {
                            tell_map();
                        }
                        ToCore::SnapshotInstalled(header)
                    }
                    Err(ReceiveError::Stream(why)) => broken(core, group, id, &why),
                    Err(ReceiveError::Store(error)) => fail(core, store, &error),
                };
                mesh.send(core, answer);
                Ok(())
            }
            Write::Snapshot(SnapshotStep::Abandon { group }) => installer.abandon(group),
            Write::Snapshot(SnapshotStep::DropReplaced { group }) => installer.drop_replaced(group),
            Write::Close => {
                store.sync().unwrap_or_else(|error| fail(core, store, &error));
                return;
            }
        };
        result.unwrap_or_else(|error| fail(core, store, &error));
    }
}

fn broken(core: u16, group: GroupId, id: u64, why: &dyn std::fmt::Display) -> ToCore {
    tracing::warn!(core, %group, %why, "what came as a snapshot is none");
    ToCore::SnapshotBroken { group, id }
}

/// Ends the process: the store failed.
pub fn fail(core: u16, store: &Store, error: &StoreError) -> ! {
    // Only for a store that is damaged: its disk answers, so there is time for it.
    set_aside::mark(store.path(), error);
    last_words::stop(|| tracing::error!(core, %error, "the store failed; stopping at once, the journal has everything"))
}

/// Starts a reader of core `core`. It ends when every sender is gone.
pub fn start_reader(name: &str, core: u16, store: Store, mesh: Mesh) -> io::Result<Sender<Read>> {
    // Every item belongs to a request in flight, and those are limited per connection.
    let (sender, _) = queue::helper(format!("{name}-{core}"), move |work: Work<Read>| {
        // Chunks are read one at a time, so that a snapshot holds no other read up for long.
        let mut snapshots: BTreeMap<u64, SnapshotReader<'_>> = BTreeMap::new();
        // The whole of a group takes long to read: not here, and one at a time.
        let mut summing: Option<JoinHandle<()>> = None;
        while let Some(read) = work.receive() {
            let (ticket, response) = match read {
                Read::Query { ticket, group, query } => (ticket, answer(&store, group, &query)),
                Read::Checksum { ticket, group } => {
                    if summing.as_ref().is_none_or(JoinHandle::is_finished) {
                        summing = start_sum(core, &store, &mesh, ticket, group).ok();
                        if summing.is_some() {
                            continue;
                        }
                    }
                    (ticket, Ok(owed::busy()))
                }
                Read::SnapshotOpen { id, group } => {
                    let found = match store.snapshot(group) {
                        Ok(reader) => {
                            let found = (reader.last, reader.membership.clone());
                            snapshots.insert(id, reader);
                            Some(found)
                        }
                        Err(StoreError::NoReplica { .. }) => None,
                        Err(error) => fail(core, &store, &error),
                    };
                    mesh.send(core, ToCore::SnapshotOpened { id, found });
                    continue;
                }
                Read::SnapshotChunk { id } => {
                    if let Some(reader) = snapshots.get_mut(&id) {
                        let (chunk, end) = reader.chunk().unwrap_or_else(|error| fail(core, &store, &error));
                        mesh.send(core, ToCore::SnapshotRead { id, chunk, end });
                    }
                    continue;
                }
                Read::SnapshotClose { id } => {
                    snapshots.remove(&id);
                    continue;
                }
            };
            let response = response.unwrap_or_else(|error| fail(core, &store, &error));
            mesh.send(core, ToCore::Answer { ticket, response });
        }
    })?;
    Ok(sender)
}

/// Starts the thread of core `core` that fetches what entries must know. It ends when every sender is gone.
pub fn start_fetcher(core: u16, store: Store, mesh: Mesh) -> io::Result<Sender<Lack>> {
    // One item for each group that stands still.
    let (sender, _) = queue::helper(format!("fetcher-{core}"), move |work: Work<Lack>| {
        while let Some(lack) = work.receive() {
            let fetched = store.fetch(lack).unwrap_or_else(|error| fail(core, &store, &error));
            mesh.send(core, ToCore::Fetched(fetched));
        }
    })?;
    Ok(sender)
}

fn answer(store: &Store, group: GroupId, query: &Query) -> Result<Response, StoreError> {
    Ok(match query {
        Query::Get { key } => Response::Value(store.get(group, key)?),
        Query::Scan { start, end, limit } => {
            let page = store.scan(group, start, end.as_deref(), *limit as usize, PAGE_BYTES_MAX)?;
            Response::Page { entries: page.entries, more: page.more }
        }
    })
}

/// Starts a thread that sums up a group, answers, and ends.
fn start_sum(core: u16, store: &Store, mesh: &Mesh, ticket: Ticket, group: GroupId) -> io::Result<JoinHandle<()>> {
    let (store, mesh) = (store.clone(), mesh.clone());
    std::thread::Builder::new().name(format!("checksum-{core}")).spawn(move || {
        let response = checksum(&store, group).unwrap_or_else(|error| fail(core, &store, &error));
        mesh.send(core, ToCore::Answer { ticket, response });
    })
}

fn checksum(store: &Store, group: GroupId) -> Result<Response, StoreError> {
    let sum = match store.checksum(group) {
        // Its log was lost with its store: it has nothing to be compared.
        Err(StoreError::NoReplica { .. }) => return Ok(Response::Refused(Refusal::NotOwner { epoch: 0 })),
        sum => sum?,
    };
    Ok(Response::Checksum { applied: sum.applied.index.0, entries: sum.entries, hash: sum.hash })
}
