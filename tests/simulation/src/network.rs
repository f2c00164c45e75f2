//! The network between cores: late, lossy, repeating, overtaking, cut in one direction or both.

use crate::plan::NetworkPlan;
use crate::random::Random;
use crate::totals::Totals;
use std::collections::BTreeMap;

/// One direction between two cores.
pub type Link = ((u16, u16), (u16, u16));

/// See the module.
#[derive(Debug)]
pub struct Network {
    plan: NetworkPlan,
    /// Directions between nodes that carry nothing, and until when.
    cut: BTreeMap<(u16, u16), u64>,
    /// Extra losses out of a thousand, while a storm lasts.
    pub storm: u64,
    links: BTreeMap<Link, State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    connection: u64,
    /// When the last frame arrives.
    last: u64,
    /// Nothing is sent before this: the connection is being made again.
    down_until: u64,
}

/// What becomes of what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at these times, on this connection.
    Arrives(u64, Vec<u64>),
    /// It does not.
    Lost,
    /// It does not, and the connection is gone; the sender notices.
    Broken,
}

impl Network {
    /// A whole network.
    pub fn new(plan: NetworkPlan) -> Network {
        Network { plan, cut: BTreeMap::new(), storm: 0, links: BTreeMap::new() }
    }

    /// Frames are sent at `now`.
    pub fn send(&mut self, now: u64, link: Link, random: &mut Random, totals: &mut Totals) -> Fate {
        let lost = self.plan.lost + self.storm;
        let cut = self.is_cut(link, now);
        let state = self.links.entry(link).or_default();
        if cut {
            totals.count("frames cut off");
            return Fate::Lost;
        }
        if now < state.down_until {
            return Fate::Lost;
        }
        if random.per_mille(lost) {
            totals.count("frames lost");
            if !self.plan.ordered {
                return Fate::Lost;
            }
            state.connection += 1;
            state.down_until = now + random.between(1_000, 100_000);
            totals.count("connections lost");
            return Fate::Broken;
        }
        let mut at = now + random.tailed(self.plan.delay.0, self.plan.delay.1);
        if self.plan.ordered {
            if random.per_mille(self.plan.late) {
                at += random.tailed(10_000, 400_000);
            }
            at = at.max(state.last + 1);
            state.last = at;
            return Fate::Arrives(state.connection, vec![at]);
        }
        if random.per_mille(self.plan.late) {
            at += random.tailed(10_000, 2_500_000);
        }
        if at < state.last {
            totals.count("frames overtaken");
        }
        state.last = state.last.max(at);
        let mut times = vec![at];
        if random.per_mille(self.plan.repeated) {
            totals.count("frames repeated");
            times.push(at + random.tailed(1, 1_500_000));
        }
        Fate::Arrives(state.connection, times)
    }

    /// Whether frames of this connection still arrive.
    pub fn delivers(&self, link: Link, connection: u64, now: u64) -> bool {
        self.links.get(&link).is_none_or(|state| state.connection == connection) && !self.is_cut(link, now)
    }

    /// Whether a direction carries nothing.
    pub fn is_cut(&self, link: Link, now: u64) -> bool {
        self.cut.get(&(link.0.0, link.1.0)).is_some_and(|until| *until > now)
    }

    /// The process of a node is gone: what is on its way there finds nobody. What it has said still arrives, as its system
    /// sends what it holds; and without order among connections also beside what the next process says.
    pub fn disconnect(&mut self, node: u16, now: u64) {
        for (link, state) in &mut self.links {
            if link.1.0 == node {
                state.connection += 1;
                state.last = now;
            }
        }
    }

    /// Whether a client's words pass.
    pub fn client_delay(&mut self, random: &mut Random) -> Option<u64> {
        if random.per_mille(self.plan.lost / 2 + self.storm / 2) {
            return None;
        }
        Some(random.tailed(self.plan.delay.0, self.plan.delay.1))
    }

    /// Cuts one direction until then.
    pub fn cut(&mut self, from: u16, to: u16, until: u64) {
        let there = self.cut.entry((from, to)).or_default();
        *there = until.max(*there);
    }

    /// Takes the cuts that are over at `now`.
    pub fn healed(&mut self, now: u64) -> Vec<(u16, u16)> {
        let over: Vec<(u16, u16)> = self.cut.iter().filter(|(_, until)| **until <= now).map(|(cut, _)| *cut).collect();
        for cut in &over {
            self.cut.remove(cut);
        }
        over
    }

    /// From now on nothing is lost, repeated or very late.
    pub fn calm(&mut self) {
        self.plan.lost = 0;
        self.plan.repeated = 0;
        self.plan.late = 0;
        self.storm = 0;
    }
}
