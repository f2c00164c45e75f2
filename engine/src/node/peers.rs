//! This core's connections to the cores of other nodes that hold replicas of its groups.
//!
//! A core dials every such core once and says everything it has to say there; what the other has to
//! say comes in on the connection the other dialled. So each stream has one writer, no race over who
//! dials, and a restart of either side is seen by both. What finds no connection is dropped: Raft repeats.

use super::core::Core;
use super::queue;
use super::runtime;
use super::runtime::socket::{Reader, Socket};
use engine_core::exchange::Word;
use engine_core::placement::cores::core_of;
use engine_core::placement::map::ClusterMap;
use engine_core::shard::Event;
use net::hello::{HELLO_BYTES, Hello, HelloReply, Role};
use net::receive::RecvBuffer;
use net::{exchange, frame, peer};
use raft::entry::Entry;
use raft::ids::GroupId;
use raft::message::{Body, Message};
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

/// The first receive buffer of a peer stream: a full batch fits.
const RECEIVE_BYTES: usize = 512 << 10;

/// A stream whose bytes are not acknowledged for so many election timeouts is over.
const SILENCE_ELECTIONS: u32 = 4;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// The outgoing streams of one core, by the node and core they lead to.
#[derive(Debug, Default)]
pub struct Peers {
    links: BTreeMap<(u16, u16), Link>,
    /// How many shards each node has, by its number.
    shards: Vec<u16>,
    /// Bytes that may wait for one peer core; above it, entries are dropped, and sent again by Raft.
    queued_bytes_max: usize,
    /// The streams others have dialled, by the node and core they come from.
    incoming: Vec<((u16, u16), Socket)>,
}

#[derive(Debug, Default)]
struct Link {
    socket: Option<Socket>,
    words: Vec<Word>,
    urgent: Vec<(GroupId, Message)>,
    bulk: Vec<(GroupId, Message)>,
    /// Bytes of the entries in `bulk`.
    bulk_bytes: usize,
}

impl Link {
    /// Takes a message of this turn along, unless it brings entries and more than `queued_bytes_max` bytes wait already.
    fn add(&mut self, group: GroupId, message: Message, queued: usize, queued_bytes_max: usize) {
        let Body::Append { entries, .. } = &message.body else { return self.urgent.push((group, message)) };
        if queued + self.bulk_bytes <= queued_bytes_max {
            self.bulk_bytes += entries.iter().map(Entry::bytes).sum::<usize>();
            self.bulk.push((group, message));
        }
    }
}

impl Peers {
    /// The links that core `core` of node `node` needs under `map`.
    pub fn new(map: &ClusterMap, node: u16, core: u16, queued_bytes_max: usize) -> Peers {
        let shards: Vec<u16> = map.nodes.iter().map(|entry| entry.shards).collect();
        let mut links = BTreeMap::new();
        for group in &map.groups {
            let ours = group.replicas.iter().any(|replica| replica.node() == node);
            if !ours || core_of(group.id, shards[usize::from(node)]) != core {
                continue;
            }
            for other in group.replicas.iter().map(|replica| replica.node()).filter(|other| *other != node) {
                links.entry((other, core_of(group.id, shards[usize::from(other)]))).or_insert_with(Link::default);
            }
        }
        Peers { links, shards, queued_bytes_max, incoming: Vec::new() }
    }

    /// Sends a turn's words and messages: one frame, or a few, and one system call per peer core.
    pub fn send(&mut self, words: &mut Vec<((u16, u16), Word)>, messages: &mut Vec<(GroupId, Message)>) {
        if words.is_empty() && messages.is_empty() {
            return;
        }
        for (to, word) in words.drain(..) {
            if let Some(link) = self.links.get_mut(&to) {
                link.words.push(word);
            }
        }
        for (group, message) in messages.drain(..) {
            let node = message.to.node();
            let Some(shards) = self.shards.get(usize::from(node)) else { continue };
            let Some(link) = self.links.get_mut(&(node, core_of(group, *shards))) else { continue };
            let Some(socket) = &link.socket else { continue };
            let queued = socket.queued();
            link.add(group, message, queued, self.queued_bytes_max);
        }
        for link in self.links.values_mut() {
            if link.words.is_empty() && link.urgent.is_empty() && link.bulk.is_empty() {
                continue;
            }
            if let Some(socket) = &link.socket {
                for word in &link.words {
                    exchange::write(&mut socket.out(), word);
                }
                let all = link.urgent.iter().chain(&link.bulk).map(|(group, message)| (*group, message));
                peer::encode(&mut socket.out(), all);
                socket.flush();
                // Entries stop at the limit; if the rest goes on to pile up, nobody reads at the other end.
                if socket.queued() > 2 * self.queued_bytes_max {
                    socket.close();
                }
            }
            link.words.clear();
            link.urgent.clear();
            link.bulk.clear();
            link.bulk_bytes = 0;
        }
    }

    /// The nodes that links lead to, each with whether that stream stands.
    pub fn standing(&self) -> impl Iterator<Item = (u16, bool)> + '_ {
        self.links.iter().map(|((node, _), link)| (*node, link.socket.is_some()))
    }

    /// Ends the streams to and from a node.
    pub fn close(&self, node: u16) {
        let out = self.links.iter().filter(|((to, _), _)| *to == node).filter_map(|(_, link)| link.socket.as_ref());
        let incoming = self.incoming.iter().filter(|((from, _), _)| *from == node).map(|(_, socket)| socket);
        out.chain(incoming).for_each(Socket::close);
    }

    /// Ends all streams.
    pub fn close_all(&mut self) {
        self.links
            .values()
            .filter_map(|link| link.socket.as_ref())
            .chain(self.incoming.iter().map(|(_, socket)| socket))
            .for_each(Socket::close);
    }
}

/// Starts one task per link that keeps it connected.
pub fn start(core: &Rc<Core>) {
    let wanted: Vec<(u16, u16)> = core.state.borrow().peers.links.keys().copied().collect();
    for (node, peer_core) in wanted {
        let core = core.clone();
        runtime::spawn(async move { keep_connected(core, node, peer_core).await });
    }
}

async fn keep_connected(core: Rc<Core>, node: u16, peer_core: u16) {
    let mut wait = RETRY_MIN;
    while !core.is_stopping() {
        match connect(&core, Role::Peer, node, peer_core).await {
            Ok((socket, reader)) => {
                wait = RETRY_MIN;
                tracing::debug!(core = core.index, node, peer_core, "connected to a peer");
                core.state.borrow_mut().peers.links.get_mut(&(node, peer_core)).expect("links are fixed").socket =
                    Some(socket.clone());
                until_closed(reader).await;
                socket.close();
                core.state.borrow_mut().peers.links.get_mut(&(node, peer_core)).expect("links are fixed").socket = None;
                core.handle(Event::PeerLost { node });
            }
            Err(why) => tracing::debug!(core = core.index, node, peer_core, %why, "cannot reach a peer"),
        }
        runtime::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Dials a core of another node in a role of its own.
pub(super) async fn connect(core: &Core, role: Role, node: u16, peer_core: u16) -> Result<(Socket, Reader), String> {
    let map = core.map();
    let address = resolve(core, &map.node(node).expect("links lead to nodes of the map").address).await?;
    let (socket, mut reader) = Socket::connect(address, CONNECT_TIMEOUT).await.map_err(|error| error.to_string())?;
    let hello = Hello {
        role,
        forward: false,
        core: peer_core,
        node: core.facts.node,
        from_core: core.index,
        shards: core.mesh.len(),
        cluster: map.cluster,
        incarnation: core.facts.incarnation,
        start: core.facts.start,
        election_timeout: core.settings.raft.election_timeout.as_micros() as u32,
    };
    // A node that is gone without a word is noticed when it acknowledges nothing, not after the system's quarter of an hour.
    socket.give_up_after(core.settings.raft.election_timeout * SILENCE_ELECTIONS).map_err(|error| error.to_string())?;
    socket.out().extend_from_slice(&hello.encode());
    socket.flush();
    let mut reply = [0; HELLO_BYTES];
    let answered = async {
        let mut filled = 0;
        while filled < HELLO_BYTES {
            match reader.read(&mut reply[filled..]).await {
                Ok(0) => return Err("it closed the connection".to_string()),
                Ok(count) => filled += count,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    };
    // Its system may have taken the hello, and the node be gone: nothing is unacknowledged then, and nothing ever comes.
    let late = async {
        runtime::sleep(CONNECT_TIMEOUT).await;
        Err("it does not answer the hello".to_string())
    };
    futures_lite::future::or(answered, late).await?;
    let reply = HelloReply::decode(&reply).map_err(|error| error.to_string())?;
    reply.status.map_err(|refusal| refusal.to_string())?;
    // By the map of now: it may have changed on the way here.
    let map = core.map();
    if reply.cluster != map.cluster || map.node(node).is_none_or(|entry| entry.incarnation != reply.incarnation) {
        return Err("another node answers at its address".into());
    }
    Ok((socket, reader))
}

/// The address of a peer. A name is looked up again at each reconnect, on a thread of its own, as that may block.
async fn resolve(core: &Core, address: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    let (sender, inbox) = queue::inbox_here();
    let name = address.to_string();
    std::thread::Builder::new()
        .name(format!("resolve-{}", core.index))
        .spawn(move || {
            let found = name.to_socket_addrs().map(|mut addresses| addresses.next());
            sender.send(found);
        })
        .map_err(|error| error.to_string())?;
    match inbox.receive().await {
        Some(Ok(Some(found))) => Ok(found),
        Some(Ok(None)) => Err(format!("{address} has no address")),
        Some(Err(error)) => Err(format!("{address}: {error}")),
        None => Err(format!("{address}: the resolver ended")),
    }
}

/// The other side never speaks here after its reply: whatever comes, the stream is over.
async fn until_closed(mut reader: Reader) {
    let mut byte = [0; 1];
    let _ = reader.read(&mut byte).await;
}

/// A stream that core `from` of another node has dialled is to be read. It was admitted by the front: node and incarnation are in
/// the map. `enough`: its process promises as much as leases need here.
pub fn admit(core: &Core, socket: &Socket, from: (u16, u16), enough: bool) {
    {
        // A core has one stream here. What a former one still holds is of the past, perhaps of a process that is gone.
        let incoming = &mut core.state.borrow_mut().peers.incoming;
        incoming.iter().filter(|(former, _)| *former == from).for_each(|(_, socket)| socket.close());
        incoming.push((from, socket.clone()));
    }
    // Before anything it says is read.
    core.handle(Event::PeerPromises { from, enough });
}

/// Reads the stream that core `from` of another node has dialled, see [`admit`].
pub async fn serve(core: Rc<Core>, socket: Socket, mut reader: Reader, from: (u16, u16)) {
    let node = from.0;
    let mut buffer = RecvBuffer::new(RECEIVE_BYTES, frame::BODY_BYTES_MAX);
    let mut told = false;
    'stream: while !core.is_stopping() {
        match reader.read(buffer.spare()).await {
            Ok(count) if count > 0 && !socket.is_closed() => buffer.filled(count),
            _ => break,
        }
        loop {
            let frame = match buffer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(core = core.index, node, %error, "a peer's stream is broken");
                    break 'stream;
                }
            };
            let taken = match frame.header.kind() {
                Some(frame::Kind::Exchange) => take_word(&core, from, frame.body),
                Some(frame::Kind::PeerBatch) => take_batch(&core, node, frame.body, &mut told),
                _ => break 'stream,
            };
            if !taken {
                break 'stream;
            }
        }
    }
    socket.close();
    let replaced = {
        let incoming = &mut core.state.borrow_mut().peers.incoming;
        incoming.retain(|(_, socket)| !socket.is_closed());
        incoming.iter().any(|(other, _)| *other == from)
    };
    if !replaced && !core.is_stopping() {
        // Nobody confirms anything there until the next stream says what its process promises.
        core.handle(Event::PeerPromises { from, enough: true });
    }
    // What it answered on the way here is lost, though the stream that leads there may stand.
    if !core.is_stopping() {
        core.handle(Event::PeerLost { node });
    }
}

/// Whether the stream is worth reading on.
fn take_word(core: &Core, from: (u16, u16), body: &[u8]) -> bool {
    match exchange::read(body) {
        Ok(word) => {
            core.handle(Event::Word { from, word });
            true
        }
        Err(error) => {
            tracing::warn!(core = core.index, node = from.0, %error, "a peer's stream is broken");
            false
        }
    }
}

/// Whether the stream is worth reading on. `told`: an entry that fits no segment has been reported.
fn take_batch(core: &Core, node: u16, body: &[u8], told: &mut bool) -> bool {
    let entry_bytes_max = core.state.borrow().journal.entry_bytes_max();
    for message in peer::decode(body) {
        match message {
            // Nobody speaks for a replica of another node.
            Ok((group, message)) if message.from.node() == node => {
                match entries_too_large(&message.body, entry_bytes_max) {
                    // Settings differ between nodes. This one lags, and says why: it must not end over it again and again.
                    Some(bytes) if !std::mem::replace(told, true) => tracing::error!(
                        core = core.index,
                        node,
                        %group,
                        bytes,
                        "an entry fits no segment here: make journal.segment as large as on the other nodes, and start again"
                    ),
                    Some(_) => {}
                    None => core.handle(Event::Message { group, message }),
                }
            }
            Ok(_) => tracing::warn!(core = core.index, node, "a peer spoke for another node's replica"),
            Err(error) => {
                tracing::warn!(core = core.index, node, %error, "a peer's batch cannot be read");
                return false;
            }
        }
    }
    true
}

/// The payload of the first entry that is larger than `bytes_max`, in bytes.
fn entries_too_large(body: &Body, bytes_max: u64) -> Option<u64> {
    let Body::Append { entries, .. } = body else { return None };
    entries.iter().map(|entry| entry.payload.len() as u64).find(|bytes| *bytes > bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::entry::{EntryKind, LogId};
    use raft::ids::{Index, ReplicaId, Term};

    const MIB: usize = 1 << 20;

    fn append(bytes: usize) -> Message {
        let payload = vec![0; bytes].into();
        let entry = Entry { term: Term(1), index: Index(2), kind: EntryKind::Command, payload };
        let body = Body::Append { prev: LogId::default(), commit: Index(1), entries: vec![entry].into() };
        Message { from: ReplicaId(1), to: ReplicaId(2), term: Term(1), body }
    }

    #[test]
    fn one_turn_brings_a_peer_no_more_entries_than_may_wait_for_it() {
        let mut link = Link::default();
        (0..17).for_each(|group| link.add(GroupId(group), append(8 * MIB), 0, 64 * MIB));
        assert_eq!(link.bulk.len(), 8, "the eighth begins below the limit");
        link.add(GroupId(17), append(0), 0, 64 * MIB);
        assert_eq!(link.bulk.len(), 8);
        link.add(GroupId(17), Message { body: Body::PreVote { last: LogId::default() }, ..append(0) }, 0, 64 * MIB);
        assert_eq!(link.urgent.len(), 1, "what is no entry is never dropped");
        let mut link = Link::default();
        link.add(GroupId(0), append(1), 64 * MIB + 1, 64 * MIB);
        assert!(link.bulk.is_empty(), "as much waits from former turns");
    }
}
