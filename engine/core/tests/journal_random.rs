//! Ten thousand random histories of a journal on a disk that forgets what was not synced.

mod journal_support;

use engine_core::journal::{Journal, Options, Recovered, Write, recover};
use journal_support::*;
use raft::entry::{Entry, EntryKind, HardState};
use raft::ids::{GroupId, Index, ReplicaId, Term};
use raft::payload::Payload;

const HISTORIES: u64 = 10_000;

struct History {
    rng: Rng,
    options: Options,
    disk: Disk,
    journal: Journal,
    /// The state that is certainly on the disk, and what came after it, with the batch of its last part.
    base: Models,
    changes: Vec<(u64, Change)>,
    now: Models,
    in_flight: Option<Write>,
    /// Everything up to this batch has been written and synced.
    written: u64,
    /// A header is durable behind everything up to this batch; `None`: not even behind what the last life left.
    sealed: Option<u64>,
    lives: u64,
    next_replica: u64,
}

#[derive(Default)]
struct Counts {
    crashes: u64,
    torn: u64,
    recycled: u64,
    moved: u64,
    rot: u64,
    rot_harmless: u64,
    sound_despite_damage: u64,
}

#[test]
fn nothing_promised_is_lost_and_nothing_wrong_appears() {
    let seed = std::env::var("KVD_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut counts = Counts::default();
    for history in seed.map_or(0..HISTORIES, |seed: u64| seed..seed + 1) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(history, &mut counts)));
        assert!(result.is_ok(), "history failed: KVD_SEED={history}");
    }
    let Counts { crashes, torn, recycled, moved, rot, rot_harmless, sound_despite_damage } = counts;
    println!("{crashes} crashes, {torn} torn ends, {recycled} segments recycled, {moved} logs moved up");
    println!("{rot} flips, {rot_harmless} harmless, {sound_despite_damage} replicas sound in spite of damage");
    assert!(
        seed.is_some()
            || (crashes > HISTORIES && torn > HISTORIES / 10 && recycled > HISTORIES / 2 && moved > HISTORIES / 2)
    );
}

fn run(seed: u64, counts: &mut Counts) {
    let mut rng = Rng(seed);
    let options = options([4096, 8192, 16384][rng.below(3) as usize], [1024, 2048][rng.below(2) as usize]);
    let disk = Disk::default();
    let journal = disk.recover(options, 1).journal;
    let models = Models::new();
    let mut history = History {
        rng,
        options,
        disk,
        journal,
        base: models.clone(),
        changes: Vec::new(),
        now: models,
        in_flight: None,
        written: 0,
        sealed: Some(0),
        lives: 1,
        next_replica: 1,
    };
    let steps = 20 + history.rng.below(180);
    for _ in 0..steps {
        history.step(counts);
    }
    history.rot(counts);
}

impl History {
    fn step(&mut self, counts: &mut Counts) {
        match self.rng.below(40) {
            0..=1 if self.in_flight.is_some() || self.rng.one_in(4) => self.crash(counts),
            2 => self.create(),
            3 if self.rng.one_in(3) => self.remove(),
            4 => self.compact(),
            5 => self.move_up(counts),
            6..=7 if self.journal.wants_seal() => self.journal.seal(),
            8..=19 => self.write(),
            _ => self.append(),
        }
        if !self.rng.one_in(4) {
            self.disk.spares(&mut self.journal, self.options.segment_bytes);
        }
        if self.rng.one_in(3) {
            let before = self.disk.recycled.len();
            self.disk.reclaim(&mut self.journal);
            counts.recycled += (self.disk.recycled.len() - before) as u64;
        }
    }

    fn change(&mut self, batch: u64, changes: Vec<Change>) {
        for change in changes {
            apply(&mut self.now, &change);
            self.changes.push((batch, change));
        }
    }

    fn create(&mut self) {
        let state = replica(self.rng.below(4) as u32, self.next_replica);
        self.next_replica += 1;
        let batch = self.journal.create_replica(state.clone());
        self.change(batch, vec![Change::Create(state)]);
    }

    fn remove(&mut self) {
        if let Some(group) = self.pick() {
            let batch = self.journal.remove_replica(group);
            self.change(batch, vec![Change::Remove(group)]);
        }
    }

    fn pick(&mut self) -> Option<GroupId> {
        let at = self.rng.below(self.now.len().max(1) as u64) as usize;
        self.now.keys().nth(at).copied()
    }

    fn append(&mut self) {
        let Some(group) = self.pick() else { return };
        let model = &self.now[&group];
        let rng = &mut self.rng;
        let mut changes = Vec::new();
        let mut hard_state = None;
        let now = model.state.hard_state;
        // Entries are replaced only by those of a later term (Log Matching, paper section 5.3).
        let replaces = rng.one_in(5) && !model.entries.is_empty();
        if replaces || rng.one_in(5) {
            let next = match now.vote {
                None if !replaces && rng.one_in(2) => HardState { term: now.term, vote: Some(ReplicaId(rng.below(3))) },
                _ => HardState { term: Term(now.term.0 + 1), vote: rng.one_in(2).then(|| ReplicaId(rng.below(3))) },
            };
            hard_state = Some(next);
            changes.push(Change::HardState(group, next));
        }
        let term = hard_state.unwrap_or(now).term.0.max(model.last().term.0);
        let mut next = model.last().index.0 + 1;
        let mut log_start = None;
        if rng.one_in(30) {
            next += rng.below(5);
            let start = (id(term, next), format!("snapshot at {next}").into_bytes());
            changes.push(Change::Restart(group, start.0, start.1.clone()));
            log_start = Some(start);
            next += 1;
        } else if replaces {
            next -= rng.below(model.entries.len().min(6) as u64 + 1);
        }
        let mut entries: Vec<Entry> = Vec::new();
        for at in 0..rng.below(5) {
            let longest = if rng.one_in(20) { 1400 } else { 200 };
            let payload: Vec<u8> = (0..rng.below(longest)).map(|_| rng.next() as u8).collect();
            let kind = if rng.one_in(8) { EntryKind::Membership } else { EntryKind::Command };
            entries.push(Entry { term: Term(term), index: Index(next + at), kind, payload: Payload::from(payload) });
        }
        changes.extend(entries.iter().map(|entry| Change::Append(group, entry.clone())));
        let log_start = log_start.as_ref().map(|(start, membership)| (*start, &membership[..]));
        let batch = self.journal.append(group, hard_state, log_start, &entries);
        self.change(batch, changes);
    }

    fn compact(&mut self) {
        let groups = if self.rng.one_in(2) { self.journal.cold() } else { self.pick().into_iter().collect() };
        for group in groups {
            let model = &self.now[&group];
            let index = model.state.log_start.index.0 + self.rng.below(model.entries.len() as u64 + 1);
            let (start, membership) = (model.id_at(index), format!("compacted at {index}").into_bytes());
            let batch = self.journal.compact(group, start, &membership);
            self.change(batch, vec![Change::Compact(group, start, membership)]);
        }
    }

    /// A whole log is written once more: nothing of it changes.
    fn move_up(&mut self, counts: &mut Counts) {
        let groups = if self.rng.one_in(2) { self.journal.cold() } else { self.pick().into_iter().collect() };
        for group in groups {
            counts.moved += u64::from(self.journal.move_up(group, &self.now[&group].entries));
        }
    }

    /// Begins a write, or ends the one that was begun.
    fn write(&mut self) {
        let Some(write) = self.in_flight.take() else {
            self.in_flight = self.journal.take_write();
            return;
        };
        self.disk.write(&write);
        let promised = self.journal.write_done(write.batch);
        assert!(promised == write.batch || promised + 1 == write.batch);
        self.written = write.batch;
        let is_seal = write.bytes[48..52] == [0; 4];
        let sealed = write.batch - u64::from(!is_seal);
        self.sealed = self.sealed.max((is_seal || write.offset > 0).then_some(sealed));
        self.journal.give_back(write.bytes);
    }

    /// Sectors of the write in flight are on the disk or not, each for itself.
    fn tear(&mut self) {
        let Some(mut write) = self.in_flight.take() else { return };
        let old = &self.disk.files[&write.segment][write.offset as usize..];
        let keep = self.rng.below(4);
        for (at, sector) in write.bytes.chunks_mut(512).enumerate() {
            let lost = match keep {
                0 => true,
                1 => false,
                _ => self.rng.one_in(2),
            };
            if lost {
                sector.copy_from_slice(&old[at * 512..][..sector.len()]);
            }
        }
        self.disk.write(&write);
    }

    fn crash(&mut self, counts: &mut Counts) {
        counts.crashes += 1;
        self.tear();
        self.lives += 1;
        let recovered = self.disk.recover(self.options, self.lives);
        assert_eq!(recovered.damage, None);
        counts.torn += u64::from(recovered.torn.is_some());
        assert!(recovered.replicas.iter().all(|replica| replica.sound));
        let found = found(&recovered);
        let written = self.written;
        assert!(self.prefixes(written).any(|models| models == found), "{found:#?}\nbut should be {:#?}", self.now);
        (self.base, self.now) = (found.clone(), found);
        self.changes.clear();
        self.journal = recovered.journal;
        (self.written, self.sealed) = (0, None);
        if self.rng.one_in(2) {
            // Often the new life is crashed before its opening is on the disk.
            self.disk.flush(&mut self.journal, self.options.segment_bytes);
            read_back(&self.disk, &self.journal, &self.now);
            self.written = self.journal.open_batch() - 1;
            self.sealed = Some(self.written);
        }
    }

    /// The states that may be found: those after everything of batches up to `at_least`.
    fn prefixes(&self, at_least: u64) -> impl Iterator<Item = Models> {
        let mut models = self.base.clone();
        let sure = self.changes.partition_point(|(batch, _)| *batch <= at_least);
        self.changes[..sure].iter().for_each(|(_, change)| apply(&mut models, change));
        let mut rest = self.changes[sure..].iter();
        let mut next = Some(models);
        std::iter::from_fn(move || {
            let models = next.take()?;
            next = rest.next().map(|(_, change)| {
                let mut models = models.clone();
                apply(&mut models, change);
                models
            });
            Some(models)
        })
    }

    /// Damages what is synced: it is noticed, or it did no harm.
    fn rot(&mut self, counts: &mut Counts) {
        self.tear();
        // Where a crash has left the last life, its last batch may still be lost like a torn one.
        let Some(sealed) = self.sealed else { return };
        let files: Vec<_> = self.disk.files.keys().copied().collect();
        for _ in 0..3 {
            let mut disk = self.disk.clone();
            let segment = files[self.rng.below(files.len() as u64) as usize];
            match self.rng.below(8) {
                // The newest one's loss cannot always be known: no spare may have been ready when it began.
                0 if self.disk.newest_written().is_some_and(|newest| segment < newest) => {
                    disk.files.remove(&segment);
                }
                1 => {
                    let at = self.rng.below(self.options.segment_bytes / 512) as usize * 512;
                    disk.files.get_mut(&segment).unwrap()[at..at + 512].fill(0);
                }
                _ => {
                    let within = self.options.segment_bytes >> self.rng.below(3);
                    let at = self.rng.below(within) as usize;
                    disk.files.get_mut(&segment).unwrap()[at] ^= 1 << self.rng.below(8);
                }
            }
            counts.rot += 1;
            let Ok(recovered) = recover(self.options, 1 << 40, disk.contents()) else { continue };
            counts.rot_harmless += u64::from(recovered.damage.is_none());
            self.check_rot(&recovered, sealed, counts);
            self.check_memory(disk, recovered);
        }
    }

    fn check_rot(&self, recovered: &Recovered, sealed: u64, counts: &mut Counts) {
        let found = found(recovered);
        if recovered.damage.is_none() {
            assert!(recovered.replicas.iter().all(|replica| replica.sound));
            assert!(self.prefixes(sealed).any(|models| models == found), "lost without a word: {found:#?}");
            return;
        }
        for replica in recovered.replicas.iter().filter(|replica| replica.sound) {
            counts.sound_despite_damage += 1;
            let model = found.get(&replica.state.group);
            let mut prefixes = self.prefixes(sealed);
            assert!(prefixes.any(|models| models.get(&replica.state.group) == model), "not sound: {model:#?}");
        }
    }

    /// What is not sound stays so after another restart; the rest is as it was.
    fn check_memory(&self, mut disk: Disk, mut recovered: Recovered) {
        let sound = |recovered: &Recovered| {
            recovered.replicas.iter().map(|replica| (replica.state.clone(), replica.sound)).collect::<Vec<_>>()
        };
        disk.flush_and_seal(&mut recovered.journal, self.options.segment_bytes);
        let again = disk.recover(self.options, 1 << 41);
        assert_eq!(sound(&again), sound(&recovered));
        assert_eq!(found(&again), found(&recovered));
    }
}
