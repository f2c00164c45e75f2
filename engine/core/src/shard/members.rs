//! Who should belong to a group, by the cluster map, and the steps that get it there (rules 6 and 7).
//!
//! The map names the replicas of every group; the membership in the group's own log is what counts. Wherever the two
//! differ, whoever leads takes one step at a time: a new replica is added as a learner, and once it has caught up, one
//! joint change puts it in and the lost one out. Every step is decided from what is there, so
//! a new leader goes on where the former one stopped. A change of the map itself is an entry of group 0, proposed
//! here by its leader when a node asks to come back with an empty disk.

use super::Shard;
use super::group::Group;
use super::liveness::Links;
use crate::command::{self, ClientId, Command, Operation, SessionRef};
use crate::placement::map::{ClusterMap, MAP_GROUP};
use crate::placement::petition::Petition;
use raft::ids::{Index, ReplicaId};
use raft::progress::{PeerState, PeerView};

/// Who lacks fewer entries than this has caught up.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

impl Shard {
    /// A newer map is in force: groups whose members it changes are moved there.
    pub(super) fn follow_map(&mut self, map: &ClusterMap) {
        if map.epoch <= self.map.epoch {
            return;
        }
        self.map = map.clone();
        self.want_members();
    }

    /// Tells every group whom the map wants in it.
    pub(super) fn want_members(&mut self) {
        let mut leading = Vec::new();
        for (id, group) in self.groups.iter_mut() {
            let Some(entry) = self.map.group(*id) else { continue };
            if !group.want(&entry.replicas) {
                self.unsettled.insert(*id);
                leading.extend(group.leads().then_some(*id));
            }
        }
        for id in leading {
            self.stir(id);
        }
    }

    /// One step in each group that is not yet as the map wants it.
    pub(super) fn move_members(&mut self) {
        let ids: Vec<_> = self.unsettled.iter().copied().collect();
        for id in ids {
            let group = self.groups.get_mut(&id).expect("an unsettled group exists");
            if group.has_wanted_members() {
                self.unsettled.remove(&id);
            } else if group.leads() && group.move_members() {
                self.touch(id);
            }
        }
    }

    /// A node asks to come back. If this core leads group 0, the map that takes it in is proposed. The petition is
    /// repeated until it is answered by a map, so what cannot be done now is not kept.
    pub(super) fn petition(&mut self, petition: &Petition) {
        let patience = u64::from(self.options.election_ticks);
        let (next, now) = (self.map.epoch + 1, self.ticks);
        let asked = self.map_asked.is_some_and(|(epoch, tick)| epoch == next && now - tick < patience);
        if asked || self.disk_full || !self.recovered || !self.groups.get(&MAP_GROUP).is_some_and(Group::leads) {
            return;
        }
        let Ok((number, next)) = self.map.admit(petition) else { return };
        // Whoever beats is no lost disk: two processes under one name, and the one with the data stays.
        if number == self.options.node || self.links.is_node_up(number) {
            return;
        }
        self.map_asked = Some((next.epoch, self.ticks));
        let command = Command {
            client: ClientId(0),
            sequence: 0,
            acknowledged: 0,
            session: SessionRef { group: MAP_GROUP, opened: Index(0) },
            operation: Operation::Map { epoch: next.epoch, map: next.encode() },
        };
        self.stir(MAP_GROUP).expect("it was just seen").propose(&command::encode(&command));
    }
}

impl Group {
    /// The map wants these replicas, the preferred leader first; whether they are the members already.
    fn want(&mut self, replicas: &[ReplicaId]) -> bool {
        self.preferred = replicas[0];
        self.wanted = replicas.to_vec();
        self.wanted.sort_unstable();
        self.has_wanted_members()
    }

    /// Whether the members are those that the map wants, and that is committed.
    pub(super) fn has_wanted_members(&self) -> bool {
        let there = self.replica.membership();
        there.voters == self.wanted && there.learners.is_empty() && !self.is_changing()
    }

    /// Whether a change of the members is open or, as far as this replica knows, not committed.
    pub(super) fn is_changing(&self) -> bool {
        self.replica.membership().is_joint() || self.replica.membership_index() > self.replica.commit()
    }

    /// Whether this replica votes by a joint membership only. Whoever holds the entry that ends it knows that it was committed.
    pub(super) fn is_entering(&self) -> bool {
        let there = self.replica.membership();
        there.is_joint() && !there.outgoing.contains(&self.replica.id())
    }

    /// Leader: begins the next change on the way to the wanted members, if none is open and it can be begun.
    fn move_members(&mut self) -> bool {
        let there = self.replica.membership();
        if self.is_changing() || self.knows_newer() {
            return false;
        }
        // Learners first: a vote that cannot be given yet would only make quorums harder to reach.
        let new = self.wanted.iter().copied().filter(|id| !there.is_voter(*id));
        let usual = self.slowest_voter();
        let (ready, learners): (Vec<ReplicaId>, Vec<ReplicaId>) = new.partition(|id| self.has_nearly(*id, usual));
        let voters = if learners.is_empty() {
            self.wanted.clone()
        } else {
            // Who has caught up takes the place of its node's lost replica, whatever the others do.
            let lost = |id: &ReplicaId| ready.iter().any(|new| new.node() == id.node());
            there.voters.iter().copied().filter(|id| !lost(id)).chain(ready.iter().copied()).collect()
        };
        // Refused while leadership moves, while the term is new, and when all that is to be done is to wait.
        self.replica.change_membership(&voters, &learners, self.gathered.get()).is_ok()
    }

    /// Whether a member is newer than the one that the map of this node wants in its place: a newer map made it one, and
    /// will come here.
    fn knows_newer(&self) -> bool {
        let newer =
            |id: &ReplicaId, wanted: &ReplicaId| wanted.node() == id.node() && wanted.generation() < id.generation();
        self.replica.membership().members().iter().any(|id| self.wanted.iter().any(|wanted| newer(id, wanted)))
    }

    /// Leader: what the slowest of the voters that follow its log holds: under load nobody has all there is. A new leader counts everybody
    /// as heard of, also who is lost, and knows of nobody what it holds.
    fn slowest_voter(&self) -> Index {
        let follows = |peer: &PeerView| peer.active && !peer.learner && peer.state == PeerState::Replicate;
        let voters = self.replica.peers().filter(follows);
        voters.map(|peer| peer.matched).fold(self.replica.last().index, Index::min)
    }

    /// Leader: whether a peer is heard of, has a state to go on from, and holds nearly everything up to `index`.
    fn has_nearly(&self, id: ReplicaId, index: Index) -> bool {
        self.replica.peers().any(|peer| {
            let near = index.0 - peer.matched.0.min(index.0) < CAUGHT_UP_ENTRIES;
            peer.id == id && peer.active && !peer.hollow && peer.state == PeerState::Replicate && near
        })
    }

    /// Gives leadership back to the replica that placement prefers, when that is up to date.
    /// A core that does not claim to live gets nothing, its disk may be stuck, and neither does one that is about to end.
    pub(super) fn return_to_preferred(&mut self, links: &Links) {
        let up = links.may_lead(self.id, self.preferred.node());
        if !self.leads() || self.preferred == self.replica.id() || !up {
            return;
        }
        let fit = self.has_nearly(self.preferred, self.replica.last().index);
        if fit && self.replica.membership().is_voter(self.preferred) {
            // Refused while a change is open; the next round asks again.
            let _ = self.replica.transfer_leadership(self.preferred, self.gathered.get());
        }
    }

    /// An entry of the servers' own: nobody waits for it.
    fn propose(&mut self, command: &[u8]) {
        // Refused while leadership moves or the group is full; whoever wanted it asks again.
        let _ = self.replica.propose(command.into(), self.gathered.get());
    }
}
