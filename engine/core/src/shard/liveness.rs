//! Which cores of other nodes live: one exchange for each pair of cores, which stands for the heartbeats of all groups
//! that sleep (rule 19).
//!
//! A core says a [`Beat`] to every core it shares a group with, once per heartbeat interval, whatever its groups do. It
//! believes in a core whose beats come, and gives it up when none has come for half an election timeout, when the
//! connection is lost, or when the beats are suddenly those of another process. Then every sleeping group that rests on
//! that core is woken; and the next beat says so, as it counts how often its sender has given its receiver up, so the
//! receiver wakes the groups that rest on the sender, too.
//!
//! Beats carry no list of groups: which of them sleep is agreed on group by group, when it happens, in Raft's own
//! messages. So a lost, repeated or late beat can make nobody believe anything false of a group.

use super::effects::Effects;
use crate::exchange::{Beat, Word};
use crate::placement::cores::core_of;
use crate::placement::map::ClusterMap;
use raft::ids::GroupId;
use std::collections::BTreeMap;

/// The cores that this one shares groups with.
#[derive(Debug)]
pub(super) struct Links {
    start: u64,
    /// Beats said so far.
    said: u64,
    /// Ticks of silence after which a core is given up.
    patience: u64,
    /// How many shards each node has.
    shards: Vec<u16>,
    links: BTreeMap<(u16, u16), Link>,
}

#[derive(Debug, Default)]
struct Link {
    /// The newest beat.
    newest: Option<Beat>,
    /// The tick it came at.
    heard: u64,
    /// Whether the core is believed to live.
    up: bool,
    /// How often it was given up.
    given_up: u64,
}

impl Links {
    /// The links of a core of node `node` that holds `groups`; nobody has been heard yet.
    pub(super) fn new(
        start: u64,
        patience: u64,
        map: &ClusterMap,
        node: u16,
        groups: impl Iterator<Item = GroupId>,
    ) -> Links {
        let shards = map.nodes.iter().map(|node| node.shards).collect();
        let mut links = Links { start, said: 0, patience, shards, links: BTreeMap::new() };
        for group in groups {
            let members = map.group(group).into_iter().flat_map(|entry| &entry.replicas);
            for other in members.map(|replica| replica.node()).filter(|other| *other != node) {
                if let Some(core) = links.core(group, other) {
                    links.links.entry(core).or_default();
                }
            }
        }
        links
    }

    /// Says that this core lives, to everybody who may rest on it.
    pub(super) fn say(&mut self, declines: bool, effects: &mut Effects) {
        self.said += 1;
        for (to, link) in &self.links {
            let beat = Beat { start: self.start, sequence: self.said, given_up: link.given_up, declines };
            effects.words.push((*to, Word::Beat(beat)));
        }
    }

    /// A core says that it lives. True if what rests on it has to wake: it is another process than before, or has given
    /// this core up since.
    pub(super) fn heard(&mut self, from: (u16, u16), beat: Beat, tick: u64) -> bool {
        let Some(link) = self.links.get_mut(&from) else { return false };
        let news = match link.newest {
            // Late or repeated: no sign of life.
            Some(newest) if newest.start == beat.start && newest.sequence >= beat.sequence => return false,
            Some(newest) => (newest.start, newest.given_up) != (beat.start, beat.given_up),
            None => false,
        };
        (link.newest, link.heard, link.up) = (Some(beat), tick, true);
        news
    }

    /// The cores that have been silent for too long at this tick; they are given up.
    pub(super) fn silent(&mut self, tick: u64) -> Vec<(u16, u16)> {
        let patience = self.patience;
        let silent = self.links.iter_mut().filter(|(_, link)| link.up && tick - link.heard >= patience);
        silent.map(|(core, link)| give_up(*core, link)).collect()
    }

    /// The connection to a node is lost: its cores are given up.
    pub(super) fn lost(&mut self, node: u16) {
        for (core, link) in self.links.iter_mut().filter(|(core, link)| core.0 == node && link.up) {
            give_up(*core, link);
        }
    }

    /// Whether the core that holds `group` on `node` is believed to live.
    pub(super) fn is_up(&self, group: GroupId, node: u16) -> bool {
        self.link(group, node).is_some_and(|link| link.up)
    }

    /// Whether leadership of `group` may go to `node`: its core lives, and does not decline.
    pub(super) fn may_lead(&self, group: GroupId, node: u16) -> bool {
        let stays = |link: &Link| link.up && !link.newest.is_some_and(|beat| beat.declines);
        self.link(group, node).is_some_and(stays)
    }

    /// Whether any core of `node` is believed to live.
    pub(super) fn is_node_up(&self, node: u16) -> bool {
        self.links.iter().any(|((of, _), link)| *of == node && link.up)
    }

    /// For how many ticks the core that holds `group` on `node` has been silent.
    pub(super) fn silence(&self, group: GroupId, node: u16, tick: u64) -> u64 {
        self.link(group, node).map_or(tick, |link| tick - link.heard)
    }

    /// The core that holds `group` on `node`, if there is such a node.
    pub(super) fn core(&self, group: GroupId, node: u16) -> Option<(u16, u16)> {
        let shards = self.shards.get(usize::from(node))?;
        Some((node, core_of(group, *shards)))
    }

    fn link(&self, group: GroupId, node: u16) -> Option<&Link> {
        self.links.get(&self.core(group, node)?)
    }
}

fn give_up(core: (u16, u16), link: &mut Link) -> (u16, u16) {
    link.up = false;
    link.given_up += 1;
    core
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: (u16, u16) = (1, 0);
    const GROUP: GroupId = GroupId(1);

    fn links() -> Links {
        let link = |node| ((node, 0), Link::default());
        Links { start: 7, said: 0, patience: 5, shards: vec![1, 1, 1], links: [link(1), link(2)].into() }
    }

    fn beat(start: u64, sequence: u64, given_up: u64) -> Beat {
        Beat { start, sequence, given_up, declines: false }
    }

    fn said(links: &mut Links) -> Vec<Beat> {
        let mut effects = Effects::default();
        links.say(false, &mut effects);
        let beat = |(_, word)| match word {
            Word::Beat(beat) => beat,
            other => panic!("{other:?}"),
        };
        effects.words.into_iter().map(beat).collect()
    }

    #[test]
    fn a_core_lives_while_its_beats_come() {
        let mut links = links();
        assert!(!links.is_up(GROUP, 1));
        for tick in 1..=20 {
            assert!(!links.heard(PEER, beat(1, tick, 0), tick));
            assert_eq!(links.silent(tick), []);
            assert!(links.is_up(GROUP, 1) && !links.is_up(GROUP, 2));
        }
        assert_eq!(links.silent(24), []);
        assert_eq!(links.silent(25), [PEER]);
        assert_eq!((links.is_up(GROUP, 1), links.silence(GROUP, 1, 25)), (false, 5));
        assert_eq!(links.silent(26), []);
    }

    #[test]
    fn whoever_was_given_up_is_told_and_wakes_what_rests_on_the_teller() {
        let (mut one, mut other) = (links(), links());
        one.heard(PEER, beat(1, 1, 0), 1);
        other.heard(PEER, said(&mut one)[0], 1);
        one.silent(6);
        assert!(other.heard(PEER, said(&mut one)[0], 6));
        assert!(!other.heard(PEER, said(&mut one)[0], 7));
        one.heard(PEER, beat(1, 2, 0), 7);
        one.lost(PEER.0);
        assert!(other.heard(PEER, said(&mut one)[0], 8));
    }

    #[test]
    fn another_process_is_news_and_a_late_beat_no_sign_of_life() {
        let mut links = links();
        links.heard(PEER, beat(1, 3, 0), 3);
        assert!(!links.heard(PEER, beat(1, 3, 0), 4) && !links.heard(PEER, beat(1, 2, 9), 4));
        assert_eq!(links.silence(GROUP, 1, 4), 1);
        assert!(links.heard(PEER, beat(2, 1, 0), 5));
        assert_eq!(links.silence(GROUP, 1, 5), 0);
    }

    #[test]
    fn cores_without_a_common_group_are_nothing_to_each_other() {
        let mut links = links();
        assert!(!links.heard((9, 0), beat(1, 1, 0), 1));
        assert!(!links.is_up(GROUP, 9));
        assert_eq!(said(&mut links).len(), 2);
    }
}
