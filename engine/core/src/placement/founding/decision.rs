//! The rules of founding: what a node does next, given what the nodes of its list have answered.
//!
//! The host asks in rounds. A round begins with nothing known; the host feeds in what each node answered, or
//! that it did not, and calls [`Founding::step`] after each. What a step asks to have synced is synced and
//! then reported, and only from then on does [`Founding::answer`] tell others. Answers of an earlier round
//! are forgotten, because a node may have been wiped since.
//!
//! Lives where the host runs it, before any core has groups. Knows no sockets, disks or time.

use super::{Answer, Blueprint, FoundingRecord, Query, State};
use std::collections::BTreeMap;

/// What the host does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask these nodes (positions in the list), then feed in [`Founding::answered`] or
    /// [`Founding::unreachable`] for each.
    Ask(Vec<u16>),
    /// Nothing can be decided yet. Say so, wait a little, call [`Founding::next_round`].
    Wait {
        /// The names of the nodes that are missing, or have not proposed yet.
        waiting_for: Vec<String>,
    },
    /// Write this record beside the incarnation, sync it, then call [`Founding::proposed`].
    Propose(FoundingRecord),
    /// Write that the cluster of this record is formed, sync it, then call [`Founding::formed`]. After that
    /// the node votes, campaigns and serves.
    Formed(FoundingRecord),
    /// Nothing can be founded as things are, and nothing was lost. Say why; a later round may find it mended.
    Conflict {
        /// Who holds what, and what an operator can do, in words.
        why: String,
    },
    /// A cluster is formed without this node. Come in as new, by a membership change of that cluster.
    JoinAsNew {
        /// What that cluster was founded as.
        record: FoundingRecord,
    },
    /// Another node does not mean the same cluster. Say so and stop, or wait until one of the two is mended.
    RefuseList {
        /// The node, by the name in this node's list.
        node: String,
        /// Every difference, in words.
        differences: Vec<String>,
    },
}

/// One node's way to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Founding {
    own: u16,
    incarnation: u64,
    shards: u16,
    blueprint: Blueprint,
    state: State,
    /// It comes into a cluster that is there, and founds none.
    newcomer: bool,
    round: BTreeMap<u16, Heard>,
}

/// What came of asking a node in this round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Heard {
    Nothing,
    Answer(Answer),
}

impl Founding {
    /// The node at position `own` of the blueprint's list, with what its data directory holds. The blueprint
    /// must have no [`contradiction`](Blueprint::contradiction).
    pub fn new(own: u16, incarnation: u64, shards: u16, blueprint: Blueprint, state: State) -> Founding {
        assert_eq!(blueprint.contradiction(), None, "founding begins with a sound blueprint");
        assert!(usize::from(own) < blueprint.nodes.len(), "node {own} of {}", blueprint.nodes.len());
        assert!(shards > 0, "a node has at least one shard");
        Founding { own, incarnation, shards, blueprint, state, newcomer: false, round: BTreeMap::new() }
    }

    /// The same node, if it proposes nothing: it is to come into a cluster that is formed.
    pub fn as_newcomer(self) -> Founding {
        Founding { newcomer: true, ..self }
    }

    /// What this node tells whoever asks. Holds only what is synced.
    pub fn answer(&self) -> Answer {
        Answer {
            name: self.name(self.own).into(),
            incarnation: self.incarnation,
            shards: self.shards,
            blueprint: self.blueprint.clone(),
            state: self.state.clone(),
        }
    }

    /// What this node asks.
    pub fn query(&self) -> Query {
        Query { name: self.name(self.own).into(), incarnation: self.incarnation }
    }

    /// How far this node has come.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Forgets the answers: everybody is asked again.
    pub fn next_round(&mut self) {
        self.round.clear();
    }

    /// The node at a position of the list answered. An impossible record in it counts as no answer.
    pub fn answered(&mut self, position: u16, answer: Answer) {
        assert!(self.others().any(|other| other == position), "node {position} is not one that a step asks");
        let sound = match &answer.state {
            State::Empty => true,
            State::Proposed(record) | State::Formed(record) => record.contradiction().is_none(),
        };
        let heard = if sound && answer.shards > 0 { Heard::Answer(answer) } else { Heard::Nothing };
        self.round.insert(position, heard);
    }

    /// The node at a position of the list did not answer in this round.
    pub fn unreachable(&mut self, position: u16) {
        self.round.insert(position, Heard::Nothing);
    }

    /// The record of [`Step::Propose`] is on the disk.
    pub fn proposed(&mut self, record: FoundingRecord) {
        assert_eq!(self.state, State::Empty, "a node proposes once");
        self.state = State::Proposed(record);
    }

    /// That the cluster of [`Step::Formed`] is formed is on the disk.
    pub fn formed(&mut self, record: FoundingRecord) {
        match &self.state {
            State::Proposed(own) => assert_eq!(*own, record, "a node forms with what it proposed"),
            State::Formed(own) => assert_eq!(*own, record, "a node forms once"),
            State::Empty => panic!("a node forms with what it proposed, and has proposed nothing"),
        }
        self.state = State::Formed(record);
    }

    /// The data directory has drawn another number: what it was under the former one is forgotten.
    pub fn renewed(&mut self, incarnation: u64) {
        assert_eq!(self.state, State::Empty, "who has promised something keeps its name");
        self.incarnation = incarnation;
    }

    /// The cluster of [`Step::JoinAsNew`] has taken this node in, and that is on the disk.
    pub fn joined(&mut self, record: FoundingRecord) {
        assert_eq!(self.state, State::Empty, "who has proposed is no newcomer");
        self.state = State::Formed(record);
    }

    /// What to do now.
    pub fn step(&self) -> Step {
        if let State::Formed(record) = &self.state {
            return Step::Formed(record.clone());
        }
        if let Some(step) = self.changed_mind() {
            return step;
        }
        if let Some(step) = self.impostor().or_else(|| self.beside_a_formed_cluster()).or_else(|| self.other_list()) {
            return step;
        }
        let missing = |position: &u16| !matches!(self.round.get(position), Some(Heard::Answer(_)));
        let unasked: Vec<u16> = self.others().filter(|position| !self.round.contains_key(position)).collect();
        if !unasked.is_empty() {
            return Step::Ask(unasked);
        }
        let silent: Vec<String> = self.others().filter(missing).map(|position| self.name(position).into()).collect();
        if !silent.is_empty() {
            return Step::Wait { waiting_for: silent };
        }
        match &self.state {
            State::Empty if self.newcomer => Step::Conflict {
                why: format!(
                    "{} is to come in as new (node.new), and no node of the list is a member of a cluster: start it without that",
                    self.name(self.own)
                ),
            },
            State::Empty => self.propose(),
            State::Proposed(record) => self.form(record),
            State::Formed(_) => unreachable!("answered above"),
        }
    }

    /// Settings that were changed after this node proposed: what it means is no longer what it says.
    fn changed_mind(&self) -> Option<Step> {
        let State::Proposed(record) = &self.state else { return None };
        let differences = self.blueprint.differences(&record.blueprint());
        let refusal = Step::RefuseList { node: format!("{} (its founding record)", self.name(self.own)), differences };
        (record.blueprint() != self.blueprint).then_some(refusal)
    }

    /// An address at which another node answers than the list says.
    fn impostor(&self) -> Option<Step> {
        let (position, answer) = self.answers().find(|(position, answer)| answer.name != self.name(*position))?;
        let address = &self.blueprint.nodes[usize::from(position)].1;
        let difference = format!("at {address} answers {}", answer.name);
        Some(Step::RefuseList { node: self.name(position).into(), differences: vec![difference] })
    }

    /// What an already formed cluster means for this node.
    fn beside_a_formed_cluster(&self) -> Option<Step> {
        let mut formed = self.answers().filter_map(|(position, answer)| match &answer.state {
            State::Formed(record) => Some((position, record)),
            _ => None,
        });
        let (position, record) = formed.next()?;
        if let Some((other, _)) = formed.find(|(_, other)| *other != record) {
            let (one, other) = (self.name(position), self.name(other));
            let why = format!("{one} and {other} are members of different clusters: correct the list of nodes");
            return Some(Step::Conflict { why });
        }
        let (name, formed_by) = (self.name(self.own), self.name(position));
        Some(match &self.state {
            State::Proposed(own) if own == record => Step::Formed(record.clone()),
            State::Proposed(own) => Step::Conflict {
                why: format!(
                    "{name} has proposed cluster {:032x}, {formed_by} is a member of {:032x}: \
                     {name} has served nothing, empty its data directory to join",
                    own.cluster, record.cluster
                ),
            },
            // A cluster is formed only after each of its founders has synced the record.
            _ if record.holds(name, self.incarnation) => Step::Conflict {
                why: format!(
                    "{formed_by} knows this node as a founder, but its data directory has lost the founding \
                     record it had synced: set it aside and come in as new (`kvctl node start {name} --data DIR --new`), \
                     on a disk that keeps what it is told"
                ),
            },
            // Its number is its position in the list: another list would make it another node.
            _ if self.blueprint != record.blueprint() => {
                let differences = self.blueprint.differences(&record.blueprint());
                Step::RefuseList { node: format!("{formed_by} (its founding record)"), differences }
            }
            _ => Step::JoinAsNew { record: record.clone() },
        })
    }

    /// A node that would found another cluster than this one.
    fn other_list(&self) -> Option<Step> {
        self.answers().find_map(|(position, answer)| {
            let differences = self.blueprint.differences(&answer.blueprint);
            let refusal = Step::RefuseList { node: self.name(position).into(), differences };
            (answer.blueprint != self.blueprint).then_some(refusal)
        })
    }

    /// Everybody has answered and nobody is formed: the record, unless somebody has proposed another.
    fn propose(&self) -> Step {
        let answers: BTreeMap<u16, &Answer> = self.answers().collect();
        let member = |position: u16| match answers.get(&position) {
            Some(answer) => (answer.incarnation, answer.shards),
            None => (self.incarnation, self.shards),
        };
        let members: Vec<(u64, u16)> = (0..self.blueprint.nodes.len() as u16).map(member).collect();
        for (position, (incarnation, _)) in members.iter().enumerate() {
            if let Some(twin) = members[..position].iter().position(|(other, _)| other == incarnation) {
                let (one, other) = (self.name(twin as u16), self.name(position as u16));
                let why = format!("the data directory of {one} is a copy of that of {other}: empty one of them");
                return Step::Conflict { why };
            }
        }
        let record = self.blueprint.record(&members);
        self.dissent(&record).unwrap_or(Step::Propose(record))
    }

    /// Everybody has answered and nobody is formed: formed, once all have proposed this record.
    fn form(&self, record: &FoundingRecord) -> Step {
        if let Some(conflict) = self.dissent(record) {
            return conflict;
        }
        let empty = self.answers().filter(|(_, answer)| answer.state == State::Empty);
        let waiting_for: Vec<String> = empty.map(|(position, _)| self.name(position).into()).collect();
        match waiting_for.is_empty() {
            true => Step::Formed(record.clone()),
            false => Step::Wait { waiting_for },
        }
    }

    /// Everyone who can never agree to `record`: has proposed another, or is not the founder it names.
    fn dissent(&self, record: &FoundingRecord) -> Option<Step> {
        let own = (self.name(self.own), self.incarnation);
        let mut reasons = Vec::new();
        if !record.holds(own.0, own.1) {
            reasons.push(format!("the record this node has proposed names another incarnation of {}", own.0));
        }
        for (position, answer) in self.answers() {
            let name = self.name(position);
            match &answer.state {
                State::Proposed(other) if !other.holds(own.0, own.1) => {
                    reasons.push(format!("{name} proposed before {} was emptied", own.0));
                }
                State::Proposed(other) if other != record => {
                    reasons.push(format!(
                        "{name} has proposed cluster {:032x}, not {:032x}",
                        other.cluster, record.cluster
                    ));
                }
                _ if !record.holds(name, answer.incarnation) => {
                    reasons.push(format!("{name} was emptied after {} proposed", own.0));
                }
                _ => {}
            }
        }
        let advice = "those who have proposed have served nothing, empty their data directories";
        let why = || format!("{}: {advice}", reasons.join("; "));
        (!reasons.is_empty()).then(|| Step::Conflict { why: why() })
    }

    fn answers(&self) -> impl Iterator<Item = (u16, &Answer)> {
        self.round.iter().filter_map(|(position, heard)| match heard {
            Heard::Answer(answer) => Some((*position, answer)),
            Heard::Nothing => None,
        })
    }

    fn others(&self) -> impl Iterator<Item = u16> + '_ {
        (0..self.blueprint.nodes.len() as u16).filter(|position| *position != self.own)
    }

    fn name(&self, position: u16) -> &str {
        &self.blueprint.nodes[usize::from(position)].0
    }
}
