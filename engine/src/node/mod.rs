//! The rim: turns the world into events of the shards and their effects into system calls.
//!
//! The only room of the server with await, threads, sockets and files. It decides nothing about consensus. Start
//! reading at [`run`], then `core.rs` for one turn of a core.

mod admin;
mod admission;
mod answers;
mod asking;
mod client;
mod clients;
mod core;
mod counters;
mod directory;
mod following;
mod founding;
mod front;
mod health;
mod held;
mod host;
mod in_flight;
mod journal_disk;
mod journal_files;
mod journal_past;
mod journal_task;
mod large_frames;
mod last_words;
mod lobby;
mod mesh;
mod metrics;
mod owed;
mod pace;
mod patience;
mod peers;
mod queue;
mod recovery;
mod runtime;
mod set_aside;
mod signals;
mod snapshot_in;
mod snapshot_out;
mod space;
mod spare_orders;
mod stage;
mod status;
mod store_threads;
mod storing;

use self::core::{Core, Parts};
use crate::store::{self, Store, StoreError};
use ::config::Settings;
use directory::{Directory, DirectoryError};
use engine_core::placement::founding::FoundingRecord;
use engine_core::placement::map::ClusterMap;
use engine_core::shard::{self, Shard};
use engine_core::state_machine::MapRecord;
use founding::FoundingError;
use health::{Connections, Health};
use host::HostError;
use mesh::{Mesh, ToCore};
use net::frame::BODY_BYTES_MAX;
use recovery::RecoveryError;
use stage::Stage;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use store_threads::Helpers;

/// Ticks of the Raft clock in one election timeout.
const ELECTION_TICKS: u32 = 20;

/// Ticks between two heartbeats: E/10.
const HEARTBEAT_TICKS: u32 = 2;

/// How long a lease lasts: what a follower waits at least, less a tick that may be nearly over when it is asked, and a tenth
/// for clocks that do not run alike.
const LEASE_TICKS: u64 = ELECTION_TICKS as u64 / 2 - 2;

/// Requests of one group that may wait for an answer.
const WAITING_MAX: usize = 65_536;

/// With steps under way in so many groups a core has enough to do while others gather the next one. Fewer groups have several under way
/// each, or the core would wait for the disk and the network.
const BATCHING_GROUPS: usize = 16;

/// Bytes of entries in one run for the store.
const RUN_BYTES_MAX: usize = 1 << 20;

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The machine lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The node is no member of the cluster its settings describe.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// A port cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {why}; stop what uses it, or choose another address")]
    Listen {
        /// The address.
        address: String,
        /// The setting it comes from.
        setting: &'static str,
        /// What the system said.
        why: String,
    },
    /// What should be listened on stands for no address.
    #[error("no address was found for {address} ({setting}): {why}; correct the name, or how names are looked up here")]
    Name {
        /// Host and port.
        address: String,
        /// The setting it comes from.
        setting: &'static str,
        /// What the system said.
        why: String,
    },
    /// The store of a core does not open.
    #[error("the store in {path} does not open: {error}")]
    Store {
        /// The directory.
        path: String,
        /// Why.
        error: StoreError,
    },
    /// A core could not be recovered.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The process that is the node could not do its part.
    #[error(transparent)]
    Around(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// A thread or executor could not be started.
    #[error("cannot start {what}: {error}")]
    Start {
        /// What.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

/// What the process around a node does at a turn of the node's life.
pub type Turn = Box<dyn FnOnce() -> Result<(), Box<dyn std::error::Error + Send + Sync>>>;

/// The process that is a node, as far as the node calls on it.
pub struct Around {
    /// The node stands: the directory, the founding and both ports are its own, and nobody has been answered yet.
    pub stands: Turn,
    /// The process is about to end without [`run`] returning, as it was told to: what must not be left behind goes now.
    pub ends: Box<dyn Fn() + Send>,
}

/// What every core and door of a running node knows. Never changes while it runs.
#[derive(Debug)]
pub struct NodeFacts {
    settings: Settings,
    record: FoundingRecord,
    /// The map it started with. Names, addresses and shard counts of nodes stay.
    map: ClusterMap,
    /// This node's number.
    node: u16,
    incarnation: u64,
    /// A random number drawn at this start.
    start: u64,
    /// One tick of the Raft clock.
    tick: Duration,
    health: Arc<Health>,
    connections: Connections,
}

/// Runs a node until it has been told to stop and everything is flushed.
///
/// The settings are loaded and checked. Blocks the calling thread, which must not be pinned: RocksDB's threads
/// inherit its affinity.
pub fn run(settings: Settings, around: Around) -> Result<(), NodeError> {
    abort_on_panic();
    host::check(&settings.node.cpus)?;
    let mut directory = Directory::open(&settings.node.data, &settings.node.name, settings.node.shards)?;
    let listener = listen(&settings.node.listen, "node.listen")?;
    let mut founding = founding::begin(&directory, &settings)?;
    let stage = Arc::new(Stage::new(founding.answer()));
    let health = Arc::new(Health::new(settings.node.shards));
    let start = |what: &str| {
        let what = what.to_string();
        move |error| NodeError::Start { what, error }
    };
    let admin = match settings.node.admin.as_str() {
        "" => None,
        address => Some(listen(address, "node.admin")?),
    };
    (around.stands)()?;
    signals::start(stage.clone(), health.clone(), around.ends).map_err(start("the signal thread"))?;
    if let Some(admin) = admin {
        admin::start(admin, health.clone(), stage.clone()).map_err(start("the admin thread"))?;
    }
    front::start(listener, stage.clone()).map_err(start("the front thread"))?;
    tracing::info!(name = settings.node.name, listen = settings.node.listen, "listening");
    let record = founding::complete(&mut founding, &mut directory, &settings, &stage)?;
    let directory = Arc::new(directory);
    let aside = if settings.node.admin.is_empty() { 0 } else { admin::connections_max() };
    let (wanted, places) = (settings.limits.connections_max, host::places(aside));
    if places < wanted {
        tracing::warn!(
            wanted,
            places,
            "the limit on descriptors leaves room for fewer clients than limits.connections_max"
        );
    }
    let facts = Arc::new(NodeFacts {
        map: founding::map(&directory)?.unwrap_or_else(|| ClusterMap::founded(&record)),
        record,
        node: settings.number(),
        incarnation: directory.incarnation,
        start: directory::random()?,
        tick: settings.raft.election_timeout / ELECTION_TICKS,
        health,
        connections: Connections::new(wanted.min(places)),
        settings,
    });
    let own = facts.settings.raft.election_timeout;
    if let Some(rest) = patience::owed(&directory, own)? {
        tracing::warn!(?rest, "raft.election_timeout has become shorter: what was promised before is waited for");
        std::thread::sleep(rest);
    }
    patience::promise(&directory, own)?;
    let ended = serve(&facts, &directory, &stage);
    last_words::are_said();
    ended
}

/// Opens the stores, starts the cores, and waits for them to end.
fn serve(facts: &Arc<NodeFacts>, directory: &Arc<Directory>, stage: &Arc<Stage>) -> Result<(), NodeError> {
    let created = directory.read(founding::CREATED)?.is_some();
    let shards = facts.settings.node.shards;
    let (mesh, inboxes) =
        Mesh::new(shards).map_err(|error| NodeError::Start { what: "the inboxes of the cores".into(), error })?;
    let (made, all_made) = flume::bounded(usize::from(shards));
    // Maps change when nodes come and go; each is a few kilobytes.
    let (stored, maps) = flume::unbounded();
    let mut threads = Vec::new();
    let mut writers = Vec::new();
    for (index, inbox) in (0..shards).zip(inboxes) {
        let (parts, writer) = prepare(facts, directory, index, &mesh, inbox, stored.clone())?;
        writers.push((parts.helpers.writer.clone(), writer));
        threads.push(start_core(parts, made.clone(), created)?);
    }
    drop((made, stored));
    for _ in 0..shards {
        match all_made.recv() {
            Ok(result) => result?,
            Err(_) => break,
        }
    }
    if !created {
        directory.write(founding::CREATED, b"all replicas of the first map\n")?;
    }
    let watched = space::Watched {
        path: directory.path().into(),
        low_water: facts.settings.journal.low_water,
        stores: (0..shards).map(|index| directory.core(index).join("db")).collect(),
        archive_bytes_max: facts.settings.store.wal_size_limit / u64::from(shards),
    };
    space::start(watched, mesh.clone(), facts.health.clone())
        .map_err(|error| NodeError::Start { what: "the watch on the disk".into(), error })?;
    stage.serve(mesh.clone(), facts.clone());
    following::start(facts.clone(), directory.clone(), stage.clone(), mesh, maps)
        .map_err(|error| NodeError::Start { what: "the thread that follows the cluster map".into(), error })?;
    tracing::info!(node = facts.node, shards, groups = facts.map.groups.len() - 1, "serving");
    for thread in threads {
        // A core that panics takes the process with it, so this is only ever an orderly end.
        let _ = thread.join();
    }
    for (sender, thread) in writers {
        sender.send(store_threads::Write::Close);
        let _ = thread.join();
    }
    tracing::info!("stopped; everything is flushed");
    Ok(())
}

/// Opens the store of a core and starts its helpers, from this unpinned thread.
fn prepare(
    facts: &Arc<NodeFacts>,
    directory: &Directory,
    index: u16,
    mesh: &Mesh,
    inbox: queue::Inbox<ToCore>,
    maps: flume::Sender<MapRecord>,
) -> Result<(Parts, JoinHandle<()>), NodeError> {
    let home = directory.core(index);
    let io_error = |error| NodeError::Directory(DirectoryError::Io { path: home.clone(), error });
    let journal_directory = home.join("journal");
    directory::make(&journal_directory)
        .and_then(|()| directory::make(&home))
        .and_then(|()| journal_files::drop_half_made(&journal_directory))
        .map_err(io_error)?;
    let path = home.join("db");
    let settings = &facts.settings;
    let options = store_options(settings, path.clone());
    let failed = |error| NodeError::Store { path: path.display().to_string(), error };
    set_aside::marked(index, &path).map_err(io_error)?;
    let store = match Store::open(&options) {
        Err(error @ StoreError::Damaged { .. }) => {
            // The log is elsewhere, and votes on: the replicas come up hollow, and get their state from their peers.
            set_aside::now(index, &path, &error).map_err(io_error)?;
            Store::open(&options).map_err(failed)?
        }
        opened => opened.map_err(failed)?,
    };
    let start = |error| NodeError::Start { what: format!("the helpers of core {index}"), error };
    let (writer, thread) = store_threads::start_writer(index, store.clone(), mesh.clone(), maps).map_err(start)?;
    let start_reader = |name| store_threads::start_reader(name, index, store.clone(), mesh.clone()).map_err(start);
    let (reader, scanner, snapshots) = (start_reader("reader")?, start_reader("scanner")?, start_reader("snapshots")?);
    let fetcher = store_threads::start_fetcher(index, store.clone(), mesh.clone()).map_err(start)?;
    let helpers = Helpers { writer, reader, scanner, snapshots, fetcher };
    let bytes = settings.journal.segment;
    let direct_io = settings.journal.direct_io && journal_files::direct_io_works(&journal_directory);
    if settings.journal.direct_io && !direct_io {
        tracing::warn!(
            core = index,
            "this file system takes no direct writes: the journal goes through the page cache"
        );
    }
    let spares = journal_files::start_helper(index, journal_directory.clone(), bytes, direct_io, mesh.clone());
    let spares = spares.map_err(start)?;
    let disk = journal_disk::start(index, journal_directory.clone(), direct_io, mesh.clone()).map_err(start)?;
    let past = journal_past::start(index, journal_directory.clone(), direct_io).map_err(start)?;
    let (facts, mesh) = (facts.clone(), mesh.clone());
    let parts = Parts { index, facts, mesh, inbox, store, helpers, disk, spares, past, journal_directory };
    Ok((parts, thread))
}

/// Starts the thread of a core: recovers, then runs. Reports once everything recovery wrote is durable.
fn start_core(parts: Parts, made: core::Report, created: bool) -> Result<JoinHandle<()>, NodeError> {
    let index = parts.index;
    let name = format!("core-{index}");
    let cpu = parts.facts.settings.node.cpus.get(usize::from(index)).copied();
    let main = move || {
        let recovered = directory::random().map_err(NodeError::from).and_then(|life| {
            let (facts, directory) = (&parts.facts, &parts.journal_directory);
            Ok(recovery::recover(facts, index, directory, &parts.store, life, created)?)
        });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            // Only a main that has given up no longer listens.
            Err(error) => return drop(made.send(Err(error))),
        };
        let options = shard_options(&parts.facts, index, recovered.starts.len());
        let shard = Shard::new(options, &parts.facts.map, recovered.starts);
        let reported = made.clone();
        let ran = runtime::run(&format!("core-{index}"), cpu, parts.inbox.doorbell(), move || {
            let (core, inbox) = Core::new(parts, shard, recovered.journal, reported);
            core.run(inbox)
        });
        if let Err(error) = ran {
            // As above.
            let what = format!("core {index}");
            drop(made.send(Err(NodeError::Start { what, error })));
        }
    };
    let what = name.clone();
    std::thread::Builder::new().name(name).spawn(main).map_err(|error| NodeError::Start { what, error })
}

fn listen(address: &str, setting: &'static str) -> Result<TcpListener, NodeError> {
    let unknown = |why: String| NodeError::Name { address: address.into(), setting, why };
    let resolved = address.to_socket_addrs().map_err(|error| unknown(error.to_string()))?.next();
    let resolved = resolved.ok_or_else(|| unknown("the name has no address".into()))?;
    let failed = |error: io::Error| NodeError::Listen { address: address.into(), setting, why: error.to_string() };
    TcpListener::bind(resolved).map_err(failed)
}

fn store_options(settings: &Settings, path: std::path::PathBuf) -> store::Options {
    let (store, shards) = (&settings.store, u64::from(settings.node.shards));
    let share = |bytes: u64| bytes / shards;
    store::Options {
        block_cache_bytes: share(store.block_cache) as usize,
        write_buffer_bytes: share(store.write_buffer) as usize,
        background_jobs: store.background_threads,
        wal_ttl_seconds: store.wal_ttl.as_secs(),
        wal_size_limit_mb: (share(store.wal_size_limit) >> 20).max(1),
        open_files_max: host::store_files(settings.node.shards),
        ..store::Options::new(path, settings.node.shards)
    }
}

/// What a message to a peer that carries one entry takes beside its command, rounded up: it must fit a frame, too.
const ENTRY_ALONE_BYTES: usize = 1 << 10;

/// What all groups of a core together keep in memory for slow followers, in bytes: with many groups each keeps less than it may.
const WINDOWS_BYTES_MAX: u64 = 512 << 20;

fn shard_options(facts: &NodeFacts, core: u16, groups: usize) -> shard::Options {
    let (raft, limits) = (&facts.settings.raft, &facts.settings.limits);
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    // What is let in goes into the journal and into the store, and other cores of the node have a share of the reserve.
    let reserve = facts.settings.journal.low_water / (4 * u64::from(facts.settings.node.shards));
    shard::Options {
        node: facts.node,
        start: facts.start,
        seed: facts.start ^ u64::from(core).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        election_ticks: ELECTION_TICKS,
        heartbeat_ticks: HEARTBEAT_TICKS,
        idle_ticks: ELECTION_TICKS,
        inflight_messages_max: raft.inflight_messages as usize,
        inflight_bytes_max: bytes(raft.inflight_bytes),
        append_bytes_max: bytes(raft.append_bytes),
        window_bytes_max: bytes(
            raft.window_bytes.min((WINDOWS_BYTES_MAX / groups.max(1) as u64).max(raft.append_bytes)),
        ),
        uncommitted_bytes_max: bytes(limits.group_uncommitted_bytes),
        full_disk_bytes_max: bytes(limits.group_uncommitted_bytes.min(reserve)),
        apply_bytes_max: bytes(limits.core_unapplied_bytes),
        run_bytes_max: RUN_BYTES_MAX,
        lease: if raft.leases { LEASE_TICKS * facts.tick.as_micros() as u64 } else { 0 },
        waiting_max: WAITING_MAX,
        batching_groups: BATCHING_GROUPS,
        snapshot_entries: raft.snapshot_entries,
        snapshot_log_bytes: raft.snapshot_log_bytes,
        limits: engine_core::command::Limits {
            key_bytes_max: bytes(limits.key_bytes_max),
            value_bytes_max: bytes(limits.value_bytes_max),
            batch_operations_max: limits.batch_operations_max as usize,
            command_bytes_max: bytes(limits.frame_bytes_max).min(BODY_BYTES_MAX - ENTRY_ALONE_BYTES),
        },
    }
}

/// A node with one dead thread must not keep its leaderships: any panic ends the process, after it is printed.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The probe for rings is the one place where a panic is an answer.
        match std::thread::current().name() {
            Some("probe") => print(panic),
            _ => last_words::abort(|| print(panic)),
        }
    }));
}
