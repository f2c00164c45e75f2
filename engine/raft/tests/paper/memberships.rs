//! Section 6 (cluster membership changes).

use super::{Group, id};
use raft::Role;

/// A group of a b c whose leader a has brought d, e and f up to date as learners.
fn prepared() -> Group {
    Group::new("group a b c leader=a; new d; new e; new f; member a a b c learns d e f; quiet settle")
}

/// Configurations are entries of the log; a server uses the latest one in its log, committed or not.
#[test]
fn a_membership_is_in_force_once_appended() {
    let mut group = prepared();
    group.play("member a a b d");
    assert!(group.at("a").membership().is_joint() && group.at("a").commit() < group.at("a").last().index);
    group.play("deliver a b");
    assert!(group.at("b").membership().is_joint());
}

/// The joint membership's entries go to all servers of both configurations.
#[test]
fn joint_entries_go_to_both_sets() {
    let mut group = prepared();
    let sent = group.messages("member a d e f");
    assert!(sent[0].starts_with("a@1 to b, c, d, e, f: Append"), "{sent:?}");
}

/// Any server of either configuration may lead.
#[test]
fn a_server_of_either_set_may_lead_a_joint_group() {
    for name in ["b", "d"] {
        let mut group = prepared();
        group.play("member a d e f; deliver a b; deliver a c; deliver a d; deliver a e; deliver a f; crash a");
        group.play(&format!("forge a {name} TimeoutNow term=1; drop b a; drop c a; drop d a; drop e a; drop f a"));
        for _ in 0..2 {
            for other in ["b", "c", "d", "e", "f"].iter().filter(|other| **other != name) {
                group.play(&format!("deliver {name} {other}; deliver {other} {name}"));
            }
        }
        assert_eq!(group.term(name), 2, "{name} was elected");
        assert!(group.commit(name) >= 4, "{name} leads the joint group");
        group.play("quiet settle");
    }
}

/// Agreement, on entries as in elections, takes separate majorities of both.
#[test]
fn joint_agreement_takes_both_majorities() {
    for away in [["b", "c"], ["e", "f"]] {
        let mut group = prepared();
        let before = group.commit("a");
        group.play(&format!("isolate {}; isolate {}; member a d e f; quiet settle", away[0], away[1]));
        assert_eq!(group.commit("a"), before, "without {away:?}");
        group.play("heal; quiet run 4");
        assert!(!group.at("d").membership().is_joint());
    }
}

/// Once the joint membership is committed, the new one follows; when that is committed, the change is over.
#[test]
fn the_new_membership_follows_the_joint_one() {
    let mut group = prepared();
    group.play("member a a d e; quiet settle");
    for name in ["a", "d", "e"] {
        let membership = group.at(name).membership();
        assert!(!membership.is_joint());
        assert_eq!(membership.voters, [id("a"), id("d"), id("e")]);
    }
    assert_eq!(group.commit("a"), 4);
}

/// A leader that crashes in between leaves a group that chooses among both kinds, and the change can go on.
#[test]
fn a_crash_during_the_change_does_not_stop_it() {
    let mut group = prepared();
    group.play("member a b c d; deliver a b; deliver a c; deliver a d; crash a; quiet run 100");
    for name in ["b", "c", "d"] {
        assert!(!group.at(name).membership().is_joint());
        assert_eq!(group.at(name).membership().voters, [id("b"), id("c"), id("d")]);
    }
}

/// New servers first receive the log without a vote, and do not count for majorities.
#[test]
fn new_servers_catch_up_without_a_vote() {
    let mut group = prepared();
    assert_eq!(group.log("d"), group.log("a"));
    group.play("isolate b; isolate c; propose a x=1; quiet settle");
    assert_eq!((group.log("d").len(), group.commit("a")), (3, 2));
}

/// A leader outside the new membership leads the change to its end, without counting itself, then steps down.
#[test]
fn a_removed_leader_leads_to_the_end_and_goes() {
    let mut group = prepared();
    group.play("member a b c; deliver a b; deliver b a; deliver a c; deliver c a");
    assert_eq!((group.role("a"), group.at("a").membership().is_voter(id("a"))), (Role::Leader, false));
    group.play("deliver a b; deliver b a");
    assert_eq!((group.role("a"), group.commit("a")), (Role::Leader, 3), "a and b are not two of b and c");
    group.play("deliver a c; deliver c a");
    assert_ne!(group.role("a"), Role::Leader);
    group.play("quiet settle; quiet run 40");
    assert!(group.role("b") == Role::Leader || group.role("c") == Role::Leader);
}

/// Removed servers do not disrupt: who hears a leader disregards their requests, and its term does not rise.
#[test]
fn removed_servers_do_not_disrupt() {
    let mut group = prepared();
    group.play("isolate c; member a a b d; quiet settle; heal; quiet tick c 200; quiet settle; quiet run 100");
    assert_eq!((group.role("a"), group.term("a")), (Role::Leader, 1));
    group.play("forge c b Vote term=9 last=9@8");
    assert_eq!((group.term("b"), group.at("b").leader()), (1, Some(id("a"))));
}

/// That does not hinder normal elections: who has waited a shortest timeout takes part.
#[test]
fn after_a_timeout_votes_are_considered() {
    let mut group = Group::new("group a b c leader=a; quiet tick b 10");
    group.play("forge c b Vote term=9 last=1@1");
    assert_eq!((group.term("b"), group.voted_for("b")), (9, Some(id("c"))));
}
