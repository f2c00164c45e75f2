//! How long a log is kept: until the store holds it durably, and a while longer for those who lack it.

use super::effects::Effects;
use super::event::Pressure;
use super::group::Group;
use super::{Options, Serving};
use raft::entry::LogId;
use raft::ids::Index;
use raft::progress::PeerState;

/// A log is held for a follower that is heard of and lacks up to so many times what a log may otherwise hold.
const LAGGING_FACTOR: u64 = 8;

/// And up to so many times for one that a snapshot is on its way to, or that has got one and takes in what came meanwhile:
/// cut sooner, it would need the next snapshot when it has this one, and so on for as long as the writes last.
const SENDING_FACTOR: u64 = 64;

impl Group {
    /// Whether the log is long enough that the store should make what it holds durable.
    pub(super) fn wants_sync(&mut self, options: &Options) -> bool {
        if self.serving != Serving::Whole {
            return false;
        }
        let entries = self.applied.index.0.saturating_sub(self.replica.log_start().index.0);
        let long = entries >= options.snapshot_entries || self.log_bytes >= options.snapshot_log_bytes;
        // Asking again makes sense only when at least a tenth more has been applied.
        let more = self.applied.index.0 - self.sync_asked_at.0;
        let grown = more >= (options.snapshot_entries.min(entries) / 10).max(1);
        if long && grown {
            self.sync_asked_at = self.applied.index;
            return true;
        }
        false
    }

    /// The store holds `durable` durably: drop what it and every follower have, and of a long log more than that.
    pub(super) fn store_synced(
        &mut self,
        durable: LogId,
        pressure: Pressure,
        options: &Options,
        effects: &mut Effects,
    ) {
        if self.serving != Serving::Whole {
            return;
        }
        self.store_durable = self.store_durable.max(durable);
        let before = self.replica.log_start().index;
        let upto = self.cut(pressure, options);
        if upto > before {
            let held = self.applied.index.0.saturating_sub(before.0).max(1);
            let left = self.applied.index.0.saturating_sub(upto.0);
            let start = self.replica.compact(upto);
            self.log_bytes = (u128::from(self.log_bytes) * u128::from(left) / u128::from(held)) as u64;
            effects.compact.push((self.id, start, self.membership_at(start.index)));
        }
    }

    /// How far the log may be dropped: never beyond what the store holds durably (rule 14).
    ///
    /// Up to what every member has, always. A log that has reached its limit is cut to half of it, whoever lacks the
    /// rest, and a follower that does gets a snapshot; but one that this leader hears of holds the log back while it lacks no more than several
    /// times the limit, and one to which a snapshot is on its way no more than many times: it is about to need no other. On a full disk
    /// nobody holds it back.
    fn cut(&self, pressure: Pressure, options: &Options) -> Index {
        let durable = self.store_durable.index.min(self.applied.index);
        let settled = durable.min(self.replica.settled());
        let start = self.replica.log_start().index;
        let held = durable.0.saturating_sub(start.0);
        let pressed = pressure > Pressure::None;
        if !pressed && held < options.snapshot_entries && self.log_bytes < options.snapshot_log_bytes {
            return settled;
        }
        let keep = match pressed {
            true => 0,
            false => (options.snapshot_entries / 2).min(held / 2),
        };
        let wanted = Index(durable.0 - keep.min(durable.0));
        let entries = u128::from(self.applied.index.0.saturating_sub(start.0).max(1));
        let waits_for = |matched: &Index, factor: u64| {
            // Of one that has not answered yet nobody knows: it may lack everything from the start of the log.
            let lacks = durable.0.saturating_sub(matched.0.max(start.0));
            let bytes = (u128::from(self.log_bytes) * u128::from(lacks) / entries) as u64;
            lacks < options.snapshot_entries.saturating_mul(factor)
                && bytes < options.snapshot_log_bytes.saturating_mul(factor)
        };
        let active = || self.replica.peers().filter(|peer| peer.active && peer.state != PeerState::Snapshot);
        let lagging = active().map(|peer| peer.matched).filter(|matched| waits_for(matched, LAGGING_FACTOR));
        let catching_up = active().filter(|peer| self.catching_up.contains(&peer.id)).map(|peer| peer.matched);
        let sending = self.sending.values().map(|sending| sending.last.index);
        let served = catching_up.chain(sending).filter(|matched| waits_for(matched, SENDING_FACTOR));
        let needed = lagging.chain(served).min().filter(|_| pressure < Pressure::NoRoom).unwrap_or(durable);
        settled.max(wanted.min(needed))
    }
}
