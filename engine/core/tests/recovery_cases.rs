//! The four cases of a start: what journal and store hold is compared, and each replica comes up as what it can prove.

use engine_core::journal::{self, Journal, RecoveredReplica, ReplicaState};
use engine_core::placement::founding::Blueprint;
use engine_core::placement::map::ClusterMap;
use engine_core::recovery::{self, Finding, Place, Starts};
use engine_core::shard::Serving;
use engine_core::state_machine::StoredReplica;
use raft::Membership;
use raft::entry::{HardState, LogId};
use raft::ids::{GroupId, Index, ReplicaId, Term};

const GROUP: GroupId = GroupId(1);

/// A log of the group: it starts after `start` and ends with `last`, all entries between of the last one's term.
fn log(start: LogId, last: LogId, sound: bool) -> impl Fn(ReplicaId, &[u8]) -> RecoveredReplica {
    move |replica, membership| RecoveredReplica {
        state: ReplicaState {
            group: GROUP,
            replica,
            hard_state: HardState { term: Term(7), vote: Some(replica) },
            log_start: start,
            membership: membership.to_vec(),
        },
        last,
        terms: (last != start).then_some((start.index.next(), last.term)).into_iter().collect(),
        memberships: vec![],
        tail: vec![],
        sound,
    }
}

/// Starts the core of node 0 with this log and a store that has applied `applied`.
fn start(
    log: impl Fn(ReplicaId, &[u8]) -> RecoveredReplica,
    applied: LogId,
    installed: Option<LogId>,
) -> (Starts, Journal) {
    let blueprint = Blueprint {
        nodes: (0..3).map(|node| (format!("n{node}"), format!("10.0.0.{node}:7400"))).collect(),
        groups: 1,
        replication: 3,
        set_size: None,
        virtual_nodes: 8,
    };
    let record = blueprint.record(&[(1, 1), (2, 1), (3, 1)]);
    let map = ClusterMap::founded(&record);
    let replica = map.replica_on(GROUP, 0).expect("it is a member");
    let membership =
        Membership::new(&map.group(GROUP).expect("it is there").replicas, &[]).expect("three voters").encode();
    let mut journal = journal::recover(journal::Options::default(), 1, vec![]).expect("an empty disk").journal;
    let log = log(replica, &membership);
    journal.create_replica(log.state.clone());
    let stored = StoredReplica { group: GROUP, replica, generation: 1, applied, membership, installed };
    let place = Place { map: &map, record: &record, node: 0, core: 0, created: true };
    let starts = recovery::start(place, &mut journal, vec![log], &[stored]).expect("memberships that can be read");
    (starts, journal)
}

/// What became of the group: what it may do, where its log starts and ends, what is applied, and what the operator hears.
fn outcome(starts: &Starts) -> (Serving, LogId, Index, Index, Option<Finding>) {
    let group = starts.groups.iter().find(|start| start.group == GROUP).expect("it starts");
    let finding = starts.findings.iter().find(|(group, _)| *group == GROUP).map(|(_, finding)| *finding);
    (group.serving, group.restored.log_start, group.restored.last, group.restored.applied, finding)
}

fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: Index(index) }
}

#[test]
fn a_store_within_its_log_is_whole() {
    let (starts, _) = start(log(id(3, 10), id(5, 20), true), id(5, 15), None);
    assert_eq!(outcome(&starts), (Serving::Whole, id(3, 10), Index(20), Index(15), None));
}

#[test]
fn a_store_ahead_by_a_snapshot_restarts_the_log_there() {
    let (starts, journal) = start(log(id(3, 10), id(5, 20), true), id(6, 90), Some(id(6, 90)));
    assert_eq!(outcome(&starts), (Serving::Whole, id(6, 90), Index(90), Index(90), None));
    let group = starts.groups.iter().find(|start| start.group == GROUP).expect("it starts");
    assert_eq!(group.restored.hard_state.term, Term(7), "term and vote are not forgotten");
    assert_eq!(journal.log_bytes(GROUP), 0);
    // Its end was cut off by another leader, and the snapshot holds what was committed there.
    let (starts, _) = start(log(id(3, 10), id(5, 20), true), id(6, 18), Some(id(6, 18)));
    assert_eq!(outcome(&starts), (Serving::Whole, id(6, 18), Index(18), Index(18), None));
}

#[test]
fn an_install_record_of_long_ago_explains_nothing() {
    let (starts, _) = start(log(id(3, 10), id(5, 20), true), id(6, 90), Some(id(6, 50)));
    let (serving, .., finding) = outcome(&starts);
    assert_eq!(serving, Serving::Amnesiac);
    assert_eq!(finding, Some(Finding::StoreAhead { applied: id(6, 90), last: id(5, 20) }));
    // Nor does one that the log agrees with change anything.
    let (starts, _) = start(log(id(3, 10), id(5, 20), true), id(5, 15), Some(id(5, 15)));
    assert_eq!(outcome(&starts), (Serving::Whole, id(3, 10), Index(20), Index(15), None));
}

#[test]
fn a_log_that_cannot_be_proved_complete_is_amnesiac_whatever_the_store_holds() {
    let (starts, _) = start(log(id(3, 10), id(5, 20), false), id(6, 90), Some(id(6, 90)));
    assert_eq!((outcome(&starts).0, outcome(&starts).4), (Serving::Amnesiac, Some(Finding::LogDoubtful)));
}

#[test]
fn a_store_behind_its_log_is_hollow() {
    let (starts, _) = start(log(id(3, 10), id(5, 20), true), id(2, 4), None);
    let behind = Finding::StoreBehind { applied: Index(4), start: Index(10) };
    assert_eq!(outcome(&starts), (Serving::Hollow, id(3, 10), Index(20), Index(10), Some(behind)));
}
