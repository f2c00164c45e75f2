//! What chaos has come across.

/// What a run has come across: a test that stopped meeting something tests less than it says.
#[derive(Debug, Default, Clone, Copy)]
pub struct Reached {
    pub elections: u64,
    pub commits: u64,
    pub crashes: u64,
    pub snapshots: u64,
    pub fetches: u64,
    pub memberships: u64,
    pub transfers: u64,
    pub reads: u64,
    pub reads_failed: u64,
    pub truncations: u64,
    /// Ticks at which a leader slept, and groups that slept at the end.
    pub sleeps: u64,
}

impl Reached {
    pub fn add(&mut self, other: &Reached) {
        self.elections += other.elections;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.snapshots += other.snapshots;
        self.fetches += other.fetches;
        self.memberships += other.memberships;
        self.transfers += other.transfers;
        self.reads += other.reads;
        self.reads_failed += other.reads_failed;
        self.truncations += other.truncations;
        self.sleeps += other.sleeps;
    }

    pub fn assert_everything_happened(&self) {
        let Reached { elections, commits, crashes, snapshots, fetches, memberships, transfers, reads, .. } = *self;
        let all = [elections, commits, crashes, snapshots, fetches, memberships, transfers, reads, self.reads_failed];
        assert!(all.iter().all(|times| *times > 100) && self.truncations > 10 && self.sleeps > 10, "{self:?}");
    }
}
