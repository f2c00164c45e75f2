//! Sections 5.4 (safety) and 5.6 (timing). The world itself watches that no two nodes commit different entries
//! at one index (State Machine Safety), in every test here and elsewhere.

use super::{Group, id};
use raft::Role;

/// 5.4.1: a voter refuses a candidate whose log is less up-to-date: first by the last term, then by length.
#[test]
fn a_vote_goes_only_to_an_up_to_date_log() {
    for (own, asked, granted) in [
        ("1,1", "2@1", true),
        ("1,1", "3@1", true),
        ("1,1", "1@1", false),
        ("1,2", "5@1", false),
        ("1,1,1", "2@2", true),
        ("1,3,3", "2@3", false),
    ] {
        let mut group = Group::new(&format!("group a b c; restored a terms={own} term=3"));
        group.play(&format!("forge b a Vote term=4 last={asked}"));
        assert_eq!(group.voted_for("a"), granted.then(|| id("b")), "log {own}, candidate's log ends {asked}");
    }
}

/// 5.4.1: so a candidate without a committed entry cannot win: every majority has somebody who has the entry.
#[test]
fn without_every_committed_entry_nobody_wins() {
    let mut group = Group::new("group a b c d e leader=a; isolate d; isolate e; propose a x=1; quiet settle; crash a");
    group.play("heal; quiet tick b,c,d,e 10; quiet settle");
    for name in ["d", "e"] {
        group.play(&format!("forge a {name} TimeoutNow term={}; quiet settle", group.term(name)));
        assert_ne!(group.role(name), Role::Leader);
    }
}

/// 5.4.2: entries of former terms are not committed by counting copies (figure 8).
#[test]
fn old_entries_do_not_commit_by_counting() {
    let mut group = Group::new(
        "group a b c append-bytes=1
         restored a terms=1,2 term=2; restored b terms=1 term=2; restored c terms=1 term=2; isolate c
         campaign a; deliver a b; deliver b a; deliver a b; deliver b a
         deliver a b; deliver b a; deliver a b; deliver b a; deliver a b 1; deliver b a",
    );
    let matched = group.at("a").peers().find(|peer| peer.id == id("b")).map(|peer| peer.matched.0);
    assert_eq!((group.log("a"), matched, group.commit("a")), (vec![1, 2, 3], Some(2), 0));
    group.play("quiet settle");
    assert_eq!(group.commit("a"), 3);
}

/// 5.4.2: they keep their term when a later leader copies them.
#[test]
fn old_entries_keep_their_term() {
    let group = Group::new("group a b c; restored a terms=1,2 term=6; campaign a; quiet settle");
    assert_eq!(group.log("c"), [1, 2, 7]);
}

/// 5.4.3, Leader Completeness: whoever leads a later term has every entry committed before.
#[test]
fn later_leaders_have_all_committed_entries() {
    let mut group = Group::new("group a b c d e leader=a");
    for (number, (leader, away)) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d")].into_iter().enumerate() {
        group.play(&format!("elect {leader}; isolate {away}; propose {leader} x={number}; quiet settle; heal"));
        group.play("quiet run 4");
    }
    let committed = group.commands("e");
    for number in 0..4 {
        assert!(committed.contains(&format!("x={number}")), "{committed:?}");
    }
}

/// 5.4.3: what a node has applied is what every other applies there.
#[test]
fn all_apply_the_same() {
    let mut group = Group::new("group a b c leader=a; isolate a; propose a lost=1; elect b; propose b kept=1");
    group.play("quiet settle; heal; quiet run 6");
    for name in ["a", "b", "c"] {
        assert_eq!(group.commands(name), ["", "", "kept=1"]);
        assert_eq!(group.world.nodes[&id(name)].applied.0, 3);
    }
}

/// 5.6: safety does not rest on time. One whose clock runs wild asks in vain, one whose clock stands still is not
/// believed any more.
#[test]
fn wrong_clocks_do_no_harm() {
    let mut group = Group::new("group a b c leader=a");
    for _ in 0..20 {
        group.play("quiet tick c 20; quiet settle; quiet tick a 1; quiet tick b 1; quiet settle");
    }
    assert_eq!((group.role("a"), group.term("a")), (Role::Leader, 1));
    // From here on a's clock stands still, so it leads for ever in its own eyes.
    group.play("isolate a; elect b; propose b x=1; quiet settle; quiet tick b 100; quiet tick c 100");
    group.play("propose a stale=1; read a 1; quiet settle; heal a; quiet settle");
    assert_eq!((group.role("a"), group.commit("a"), group.at("a").reads_waiting()), (Role::Leader, 1, 1));
}

/// 5.6: with message delays far below the timeout, a leader stays.
#[test]
fn a_steady_leader_stays() {
    let mut group = Group::new("group a b c d e leader=c; run 1000");
    assert_eq!((group.role("c"), group.term("c")), (Role::Leader, 1));
    group.play("propose c x=1; quiet settle");
    assert_eq!(group.commit("c"), 2);
}
