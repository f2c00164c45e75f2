//! What a leader knows of its peers, by their ids: few enough to be found by looking at each, and side by side in memory.
//!
//! What an entry needs of one is in two lines of memory: a leader of a thousand groups has two thousand peers.

use crate::ids::ReplicaId;
use crate::progress::Progress;

/// See the module. In the order of ids.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    list: Box<[Peer]>,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Peer {
    id: ReplicaId,
    progress: Progress,
}

impl Peers {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, id: &ReplicaId) -> Option<&Progress> {
        self.list.iter().find(|peer| peer.id == *id).map(|peer| &peer.progress)
    }

    pub(crate) fn get_mut(&mut self, id: &ReplicaId) -> Option<&mut Progress> {
        self.list.iter_mut().find(|peer| peer.id == *id).map(|peer| &mut peer.progress)
    }

    /// Leaves those named by `members`, and takes in those of them that are new as `new` makes them.
    pub(crate) fn follow(&mut self, members: &[ReplicaId], new: impl Fn() -> Progress) {
        let unknown: Vec<ReplicaId> = members.iter().filter(|id| self.get(id).is_none()).copied().collect();
        let mut list = std::mem::take(&mut self.list).into_vec();
        list.retain(|peer| members.contains(&peer.id));
        list.extend(unknown.into_iter().map(|id| Peer { id, progress: new() }));
        list.sort_unstable_by_key(|peer| peer.id);
        self.list = list.into();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ReplicaId, &Progress)> {
        self.list.iter().map(|peer| (&peer.id, &peer.progress))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&ReplicaId, &mut Progress)> {
        self.list.iter_mut().map(|peer| (&peer.id, &mut peer.progress))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ReplicaId> {
        self.list.iter().map(|peer| &peer.id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Progress> {
        self.list.iter().map(|peer| &peer.progress)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.list.iter_mut().map(|peer| &mut peer.progress)
    }
}
