//! Snapshots between cores: `engine::node`'s sender and receiver, without their sockets.
//!
//! A sending has a connection of its own that keeps its order. Whatever the network loses breaks it; the sender notices by
//! the silence, connects again, and goes on where the receiver says.

use crate::happening::{Happening, Place};
use crate::network::Fate;
use crate::node::StoreWork;
use crate::world::{Checked, World};
use engine_core::placement::cores::core_of;
use engine_core::shard::Event;
use engine_core::shard::effects::{SendSnapshot, SnapshotStep};
use engine_core::snapshot::incoming::Incoming;
use engine_core::snapshot::outgoing::{Outgoing, Send};
use engine_core::snapshot::{End, Header};
use raft::ids::{GroupId, ReplicaId};
use raft::membership::Membership;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Silence after which a sender takes its connection for lost.
const SILENCE: u64 = 300_000;

/// How long a snapshot is kept without a word of its receiver.
const PATIENCE: u64 = 4_000_000;

/// Added to the numbers of cores on connections of snapshots, which are not those of messages.
const APART: u16 = 1_000;

/// What a core sends and what comes in to it.
#[derive(Debug, Default)]
pub struct Transfers {
    sends: BTreeMap<(GroupId, ReplicaId), Sending>,
    last_id: u64,
    /// The snapshot that comes in.
    pub receiving: Option<Receiving>,
}

#[derive(Debug)]
struct Sending {
    wanted: SendSnapshot,
    stream: Outgoing,
    /// Chunks not read yet.
    chunks: VecDeque<Vec<u8>>,
    end: End,
    /// Which connection; words of others are not heard.
    connection: u64,
    broken: bool,
    /// When the last word arrives there.
    arrives: u64,
    /// When the receiver was last heard, and when it was last sent to or heard.
    heard: u64,
    stirred: u64,
}

/// What has come of a snapshot, and whom to answer.
#[derive(Debug)]
pub struct Receiving {
    incoming: Incoming,
    /// Chunks that the store has written.
    written: u64,
    connection: u64,
    arrives: u64,
}

/// One word on the connection of a snapshot.
#[derive(Clone, Debug)]
pub enum Word {
    /// A sender begins.
    Begin(Header),
    /// A chunk.
    Chunk(u64, Rc<[u8]>),
    /// All were sent.
    End(End),
    /// Go on at this chunk.
    From(u64),
    /// Everything before this chunk is written.
    Written(u64),
    /// It is installed.
    Done,
    /// It is not wanted.
    Refused,
}

/// Of which sending a word is.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// The group.
    pub group: GroupId,
    /// The receiver.
    pub to: ReplicaId,
    /// Which snapshot.
    pub id: u64,
    /// Which connection.
    pub connection: u64,
}

impl World {
    /// A peer has granted a snapshot.
    pub(crate) fn start_sending(&mut self, place: Place, wanted: SendSnapshot) {
        let SendSnapshot { group, from, to, term, least } = wanted;
        let now = self.now;
        if let Some(open) = self.core(place).transfers.sends.get(&(group, to))
            && open.wanted.term == term
            && open.stream.header.last.index >= least.index
        {
            return;
        }
        let chunk_bytes = self.random.between(40, 1_500) as usize;
        let (last, membership, chunks, end) = self.disks(place).store.snapshot(group, chunk_bytes);
        self.totals.count("snapshots begun");
        let transfers = &mut self.core(place).transfers;
        transfers.last_id += 1;
        // No two senders give the same, as real ones draw theirs.
        let id = u64::from(place.node) << 52 | u64::from(place.core) << 48 | place.life << 32 | transfers.last_id;
        let header = Header { group, from, to, term, id, last, membership };
        let sending = Sending {
            wanted,
            stream: Outgoing::new(header),
            chunks: chunks.into(),
            end,
            connection: 0,
            broken: true,
            arrives: 0,
            heard: now,
            stirred: 0,
        };
        transfers.sends.insert((group, to), sending);
        self.handle(place, Event::SnapshotTaken { group, peer: to, last });
        self.connect(place, (group, to));
    }

    /// A snapshot need not be sent any more.
    pub(crate) fn call_off(&mut self, place: Place, group: GroupId, peer: ReplicaId) {
        if self.core(place).transfers.sends.remove(&(group, peer)).is_some() {
            self.totals.count("snapshots called off");
        }
    }

    /// A tick: senders whose receivers are silent connect again, or give up.
    pub(crate) fn tick_sendings(&mut self, place: Place) {
        let now = self.now;
        let keys: Vec<(GroupId, ReplicaId)> = self.core(place).transfers.sends.keys().copied().collect();
        for key in keys {
            let sending = &self.core(place).transfers.sends[&key];
            if now - sending.heard > PATIENCE {
                self.finish_sending(place, key, false);
            } else if now - sending.stirred > SILENCE {
                self.connect(place, key);
            }
        }
    }

    fn connect(&mut self, place: Place, key: (GroupId, ReplicaId)) {
        let now = self.now;
        let sending = self.core(place).transfers.sends.get_mut(&key).expect("it was just there");
        sending.stream.interrupted();
        sending.connection += 1;
        (sending.broken, sending.stirred) = (false, now);
        let header = sending.stream.header.clone();
        self.say(place, key, Word::Begin(header));
    }

    /// Sends what may be sent.
    fn feed(&mut self, place: Place, key: (GroupId, ReplicaId)) {
        loop {
            let Some(sending) = self.core(place).transfers.sends.get_mut(&key) else { return };
            if sending.stream.wants_chunk() {
                let chunk = sending.chunks.pop_front().unwrap_or_default();
                let end = sending.chunks.is_empty().then_some(sending.end);
                sending.stream.read(chunk, end);
            }
            match sending.stream.next_to_send() {
                Some(Send::Chunk(number, chunk)) => self.say(place, key, Word::Chunk(number, chunk)),
                Some(Send::End(end)) => self.say(place, key, Word::End(end)),
                None => return,
            }
        }
    }

    fn say(&mut self, place: Place, (group, to): (GroupId, ReplicaId), word: Word) {
        let there = (to.node(), core_of(group, self.plan.shards(to.node())));
        let sending = &self.core(place).transfers.sends[&(group, to)];
        let thread = Thread { group, to, id: sending.stream.header.id, connection: sending.connection };
        if sending.broken {
            return;
        }
        let before = sending.arrives;
        let arrives = self.carry((place.node, place.core), there, before, thread, word);
        let sending = self.core(place).transfers.sends.get_mut(&(group, to)).expect("it was just there");
        match arrives {
            Some(at) => sending.arrives = at,
            None => sending.broken = true,
        }
    }

    fn answer_sender(&mut self, place: Place, word: Word) {
        let Some(receiving) = &self.core(place).transfers.receiving else { return };
        let Header { group, to, id, from, .. } = receiving.incoming.header;
        let (connection, before) = (receiving.connection, receiving.arrives);
        let there = (from.node(), core_of(group, self.plan.shards(from.node())));
        let thread = Thread { group, to, id, connection };
        if let Some(at) = self.carry((place.node, place.core), there, before, thread, word)
            && let Some(receiving) = &mut self.core(place).transfers.receiving
        {
            receiving.arrives = at;
        }
    }

    /// When a word arrives; `None`: it does not, and the connection is gone.
    fn carry(&mut self, from: (u16, u16), to: (u16, u16), after: u64, thread: Thread, word: Word) -> Option<u64> {
        let link = ((from.0, from.1 + APART), (to.0, to.1 + APART));
        if !self.peace && self.random.per_mille(15) {
            // Snapshots are rare, and few words each: their connections need more bad luck than others.
            return None;
        }
        match self.network.send(self.now, link, &mut self.random, &mut self.totals) {
            Fate::Lost | Fate::Broken => None,
            Fate::Arrives(_, times) => {
                let at = times[0].max(after + 1);
                self.queue.plan(at, Happening::Snapshot { from, to, thread, word });
                Some(at)
            }
        }
    }

    /// A word arrives.
    pub(crate) fn snapshot_word(&mut self, from: (u16, u16), to: (u16, u16), thread: Thread, word: Word) -> Checked {
        let link = ((from.0, from.1 + APART), (to.0, to.1 + APART));
        if self.network.is_cut(link, self.now) {
            return Ok(());
        }
        let paused_until = self.nodes[usize::from(to.0)].paused_until;
        if paused_until > self.now {
            self.queue.plan(paused_until, Happening::Snapshot { from, to, thread, word });
            return Ok(());
        }
        let Some(place) = self.open_core(to) else { return Ok(()) };
        match word {
            Word::Begin(header) => self.begins(place, thread, header),
            Word::Chunk(number, bytes) => self.chunk(place, thread, number, &bytes),
            Word::End(end) => {
                let receiving = self.core(place).transfers.receiving.as_ref();
                let whole =
                    receiving.filter(|it| it.incoming.header.id == thread.id && it.incoming.next() == end.chunks);
                if let Some(header) = whole.map(|receiving| receiving.incoming.header.clone()) {
                    self.handle(place, Event::SnapshotWhole { header, end });
                }
            }
            Word::From(_) | Word::Written(_) | Word::Done | Word::Refused => self.answered(place, thread, &word),
        }
        Ok(())
    }

    fn begins(&mut self, place: Place, thread: Thread, header: Header) {
        let core = self.core(place);
        if !core.shard.admits_snapshot(&header) {
            self.totals.count("snapshots refused");
            // Nothing is kept of it, so the answer has a connection of its own.
            let there = (header.from.node(), core_of(header.group, self.plan.shards(header.from.node())));
            self.carry((place.node, place.core), there, 0, thread, Word::Refused);
            return;
        }
        match &mut core.transfers.receiving {
            Some(receiving) if receiving.incoming.header == header => receiving.connection = thread.connection,
            receiving => {
                let incoming = Incoming::new(header);
                *receiving = Some(Receiving { incoming, written: 0, connection: thread.connection, arrives: 0 });
            }
        }
        let receiving = core.transfers.receiving.as_ref().expect("it was just put there");
        let (next, written) = (receiving.incoming.next(), receiving.written);
        self.answer_sender(place, Word::From(next));
        // It may have been said on a connection that was lost.
        self.answer_sender(place, Word::Written(written));
    }

    fn chunk(&mut self, place: Place, thread: Thread, number: u64, chunk: &[u8]) {
        let core = self.core(place);
        let receiving = core.transfers.receiving.as_mut();
        let Some(receiving) =
            receiving.filter(|it| it.incoming.header.id == thread.id && it.connection == thread.connection)
        else {
            return;
        };
        if receiving.incoming.take(number, chunk.len()) == Ok(true) {
            let (group, bytes) = (thread.group, receiving.incoming.bytes());
            let work = StoreWork::Chunk { group, id: thread.id, next: number + 1, chunk: chunk.to_vec() };
            core.store_work.push_back(work);
            self.handle(place, Event::SnapshotBytes { group, bytes });
            self.start_store_work(place);
        }
    }

    /// The store thread has done something for a snapshot.
    pub(crate) fn store_did(&mut self, place: Place, work: StoreWork) {
        match work {
            StoreWork::Chunk { group, id, next, chunk } => {
                self.disks(place).store.receive(group, id, &chunk);
                self.strike_soon(place.node, 8);
                let receiving = self.core(place).transfers.receiving.as_mut();
                if let Some(receiving) = receiving.filter(|receiving| receiving.incoming.header.id == id) {
                    receiving.written = next;
                    self.answer_sender(place, Word::Written(next));
                }
            }
            StoreWork::Snapshot(SnapshotStep::Abandon { group }) => self.disks(place).store.abandon(group),
            // The model drops what was replaced at once: nobody can see it.
            StoreWork::Snapshot(SnapshotStep::DropReplaced { .. }) => {}
            StoreWork::Snapshot(SnapshotStep::Install { header, end }) => {
                self.disks(place).store.install(&header, end).expect("the stream is what was sent");
                self.totals.count("snapshots installed");
                self.checker.installed(place, &header);
                self.answer_sender(place, Word::Done);
                self.core(place).transfers.receiving = None;
                assert!(Membership::decode(&header.membership).is_ok());
                self.handle(place, Event::SnapshotInstalled { header });
                self.strike_soon(place.node, 250);
            }
            StoreWork::Apply(_) | StoreWork::Sync => unreachable!("these have their own ways"),
        }
    }

    /// The shard wants no more of what comes in for `group`.
    pub(crate) fn abandon_receiving(&mut self, place: Place, group: GroupId) {
        let receiving = self.core(place).transfers.receiving.as_ref();
        if receiving.is_some_and(|receiving| receiving.incoming.header.group == group) {
            self.totals.count("snapshots abandoned");
            self.answer_sender(place, Word::Refused);
            self.core(place).transfers.receiving = None;
        }
    }

    fn answered(&mut self, place: Place, thread: Thread, word: &Word) {
        let (now, key) = (self.now, (thread.group, thread.to));
        let Some(sending) = self.core(place).transfers.sends.get_mut(&key) else { return };
        let ours = sending.stream.header.id == thread.id;
        if !ours || sending.connection != thread.connection || sending.broken {
            return;
        }
        (sending.heard, sending.stirred) = (now, now);
        match word {
            Word::From(chunk) => match sending.stream.resume(*chunk) {
                Ok(()) => {
                    if *chunk > 0 {
                        self.totals.count("snapshots resumed");
                    }
                    self.feed(place, key);
                }
                Err(_) => self.finish_sending(place, key, false),
            },
            Word::Written(chunk) => {
                sending.stream.written(*chunk);
                self.feed(place, key);
            }
            Word::Done => {
                self.totals.count("snapshots sent");
                self.finish_sending(place, key, true);
            }
            _ => self.finish_sending(place, key, false),
        }
    }

    fn finish_sending(&mut self, place: Place, key: (GroupId, ReplicaId), ok: bool) {
        self.core(place).transfers.sends.remove(&key);
        self.handle(place, Event::SnapshotSent { group: key.0, peer: key.1, ok });
    }
}
