//! Sections 5.3 (log replication), 5.5 (crashes), 7 (log compaction) and 8 (client interaction).

use super::Group;
use raft::{PeerState, Role};

/// 5.3: the leader appends a command to its own log, then sends it to all others in parallel.
#[test]
fn a_command_goes_to_all_at_once() {
    let mut group = Group::new("group a b c leader=a");
    let sent = group.messages("propose a x=1");
    assert_eq!(sent, ["a@1 to b, c: Append after 1@1: 2@1 x=1, commit 1"]);
    assert_eq!(group.log("a"), [1, 1]);
}

/// 5.3: slow or lost followers are retried without end, even after the entry is committed.
#[test]
fn appends_are_retried_until_everybody_has_the_entry() {
    let mut group = Group::new("group a b c leader=a; isolate c; propose a x=1; run 200");
    assert_eq!((group.commit("a"), group.log("c")), (2, vec![1]));
    group.play("heal; run 4");
    assert_eq!(group.log("c"), [1, 1]);
}

/// 5.3: an entry is committed once the leader that made it has it on a majority.
#[test]
fn an_entry_on_a_majority_is_committed() {
    let mut group = Group::new("group a b c d e leader=a; propose a x=1; deliver a b; deliver b a");
    assert_eq!(group.commit("a"), 1, "two of five are no majority");
    group.play("deliver a c; deliver c a");
    assert_eq!(group.commit("a"), 2);
}

/// 5.3: that commits all entries before it, those of former leaders too.
#[test]
fn what_precedes_a_committed_entry_is_committed() {
    let group = Group::new(
        "group a b c; restored a terms=1,2 term=2; restored b terms=1,2 term=2; campaign a
         isolate c; quiet run 4",
    );
    assert_eq!((group.log("a"), group.commit("a"), group.commit("b")), (vec![1, 2, 3], 3, 3));
}

/// 5.3: followers learn the commit index from later messages, heartbeats included, and apply in order.
#[test]
fn followers_learn_what_is_committed() {
    let mut group = Group::new("group a b c leader=a; propose a x=1; deliver a b; deliver b a");
    assert_eq!((group.commit("a"), group.commit("b")), (2, 1));
    group.play("tick a 2; deliver a b");
    assert_eq!(group.commit("b"), 2);
}

/// 5.3, Log Matching: entries with the same index and term hold the same command.
#[test]
fn same_index_and_term_are_the_same_command() {
    let mut group = Group::new("group a b c leader=a; isolate a; propose a old=1; elect b; propose b new=1");
    group.play("quiet settle; heal; run 6");
    for name in ["a", "c"] {
        assert_eq!((group.log(name), group.commands(name)), (group.log("b"), group.commands("b")));
    }
}

/// 5.3, Log Matching: a follower refuses entries whose predecessor it has not, or has of another term.
#[test]
fn an_append_is_refused_without_its_predecessor() {
    let mut group = Group::new("group a b c; restored b terms=1,1 term=2");
    let gap = group.messages("forge a b Append term=3 prev=4@2 terms=3");
    assert_eq!(gap, ["b@3 to a: AppendReply refused after 4, try 2@1, last 2"]);
    let other = group.messages("forge a b Append term=3 prev=2@2 terms=3");
    assert_eq!(other, ["b@3 to a: AppendReply refused after 2, try 2@1, last 2"]);
    assert_eq!(group.log("b"), [1, 1]);
}

/// 5.3: conflicting entries of a follower are overwritten by the leader's, from the first conflict on.
#[test]
fn a_leader_makes_followers_repeat_its_log() {
    let mut group = Group::new("group a b c; restored a terms=1,1,3 term=3; restored b terms=1,1,3 term=3");
    group.play("restored c terms=1,1,2,2,2 term=3; campaign a; quiet settle");
    assert_eq!(group.log("c"), [1, 1, 3, 4]);
}

/// 5.3: a leader starts by trying each follower at the end of its own log.
#[test]
fn a_new_leader_tries_the_end_of_its_log_first() {
    let mut group = Group::new("group a b c; restored a terms=1,1,1,1; restored b terms=1,1,1,1");
    group.play("campaign a; deliver a b; deliver b a; deliver a b; deliver b a");
    assert_eq!(group.role("a"), Role::Leader);
    for peer in group.at("a").peers() {
        assert_eq!((peer.next.0, peer.state), (5, PeerState::Probe));
    }
}

/// 5.3: after refusals it goes back, one term at a time, to where the logs agree.
#[test]
fn refusals_lead_back_to_where_the_logs_agree() {
    let mut group = Group::new("group a b c; restored a terms=1,1,2,2,3,3 term=5; restored b terms=1,1,2,2,3,3 term=5");
    group.play("restored c terms=1,1,2,4,4,4,4 term=5; isolate c; campaign a; quiet settle; heal; quiet run 2");
    assert_eq!(group.log("c"), [1, 1, 2, 2, 3, 3, 6]);
}

/// 5.3, Leader Append-Only: a leader never removes or replaces an entry of its own log.
#[test]
fn a_leader_only_appends() {
    let mut group = Group::new("group a b c leader=a; propose a x=1");
    group.play("forge b a Append term=1 prev=0@0 terms=1; forge b a AppendReply term=1 prev=1 hint=0@0 last=0");
    assert_eq!((group.role("a"), group.log("a")), (Role::Leader, vec![1, 1]));
}

/// 5.3: one slow follower does not slow the group down.
#[test]
fn a_slow_follower_does_not_matter() {
    let mut group = Group::new("group a b c leader=a; hold c disk");
    for number in 1..=5 {
        group.play(&format!("propose a x={number}; settle"));
        assert_eq!(group.commit("a"), 1 + number);
    }
}

/// 5.3: a command costs one round of messages to a majority in the normal case.
#[test]
fn one_round_commits() {
    let mut group = Group::new("group a b c leader=a; propose a x=1; deliver a b; deliver b a");
    assert_eq!(group.commit("a"), 2);
    group.play("quiet settle");
}

/// 5.5: requests to a crashed server are repeated until it is back, and then complete.
#[test]
fn a_crashed_follower_catches_up() {
    let mut group = Group::new("group a b c leader=a; crash c; propose a x=1; run 100; restart c; run 4");
    assert_eq!((group.log("c"), group.commit("c")), (vec![1, 1], 2));
    group.play("quiet settle");
}

/// 5.5: a server that crashed after it obeyed and before it answered gets the request again: that does no harm.
#[test]
fn requests_may_be_repeated() {
    let mut group = Group::new("group a b c leader=a; propose a x=1; duplicate a b; deliver a b; duplicate b a");
    group.play("quiet run 4");
    for name in ["a", "b", "c"] {
        assert_eq!((group.log(name), group.commit(name)), (vec![1, 1], 2));
    }
    let again = group.messages("forge c b Vote term=7 last=2@1 transfer; forge c b Vote term=7 last=2@1 transfer");
    assert_eq!(again, ["b@7 to c: VoteReply yes", "b@7 to c: VoteReply yes"]);
}

/// Section 5, figure 2: term, vote and log survive a crash, the commit index need not.
#[test]
fn term_vote_and_log_survive_a_crash() {
    let mut group = Group::new("group a b c leader=a; propose a x=1; quiet settle; crash b applied=0; restart b");
    assert_eq!((group.term("b"), group.voted_for("b"), group.log("b")), (1, group.voted_for("a"), vec![1, 1]));
    assert_eq!(group.commit("b"), 0);
    group.play("run 4");
    assert_eq!(group.commit("b"), 2);
}

/// Section 7: each server compacts on its own, and only what is committed.
#[test]
fn servers_compact_on_their_own() {
    let group = Group::new("group a b c leader=a; propose a x=1 y=2; quiet run 4; compact b 2");
    assert_eq!((group.at("b").log_start().index.0, group.log("b")), (2, vec![1]));
    assert_eq!((group.at("a").log_start().index.0, group.log("a")), (0, vec![1, 1, 1]));
}

/// The same: what is not committed cannot be dropped.
#[test]
#[should_panic(expected = "cannot drop the log up to 2")]
fn only_committed_entries_are_compacted() {
    Group::new("group a b c leader=a; isolate a; propose a x=1; compact a 2");
}

/// Section 7: index and term of the last entry covered are kept for the check of the next append.
#[test]
fn the_entry_before_a_compacted_log_is_still_checked() {
    let mut group = Group::new("group a b c leader=a; propose a x=1; quiet run 4; compact b 2");
    group.play("propose a y=2; settle");
    assert_eq!((group.at("b").log_start().term.0, group.log("b")), (1, vec![1]));
    let refused = group.messages("forge c b Append term=5 prev=2@4 terms=5");
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(group.at("b").anomalies().committed_conflicts, 1);
}

/// Section 7: a snapshot holds the latest configuration up to its end.
#[test]
fn a_snapshot_holds_the_membership() {
    let group = Group::new(
        "group a b c leader=a; isolate c; new d; member a a b c learns d; quiet settle
         propose a x=1; settle; compact a 3; heal; run 3; stream a c; settle",
    );
    assert_eq!(group.at("c").log_start().index.0, 3);
    assert!(group.at("c").membership().is_learner(super::id("d")));
}

/// Section 7: a leader sends a snapshot when it has dropped the next entry a follower needs.
#[test]
fn a_follower_too_far_behind_gets_a_snapshot() {
    let mut group =
        Group::new("group a b c leader=a; isolate c; propose a x=1; quiet settle; compact a 2; heal; run 3");
    let peer = group.at("a").peers().find(|peer| peer.id == super::id("c")).expect("c is a member");
    assert_eq!(peer.state, PeerState::Snapshot);
    group.play("stream a c; propose a y=2; quiet run 4");
    assert_eq!((group.at("c").log_start().index.0, group.commit("c")), (2, 3));
}

/// Section 7: a snapshot with news replaces the whole log of the receiver, uncommitted entries and all.
#[test]
fn a_snapshot_with_news_replaces_the_log() {
    let mut group = Group::new("group a b c; restored a terms=1,2 start=2 term=2; restored b terms=1,2 start=2 term=2");
    group.play("restored c terms=1,1,1 term=2; elect a; heal; run 3; stream a c; settle");
    assert_eq!((group.at("c").log_start().index.0, group.log("c")), (3, vec![]));
}

/// Section 7: one that describes a prefix of the log leaves what follows in place.
#[test]
fn a_snapshot_of_a_prefix_keeps_what_follows() {
    let mut group = Group::new("group a b c leader=a; hold c apply; propose a x=1; quiet settle; take a early");
    group.play("propose a y=2; quiet settle; install c early");
    assert_eq!(group.log("c"), [1, 1, 1]);
}

/// Section 8: a leader begins its term with an entry without effect, to learn what is committed.
#[test]
fn a_leader_begins_with_an_empty_entry() {
    let mut group = Group::new("group a b c");
    let sent = group.messages("campaign a; settle loud");
    assert!(sent.iter().any(|line| line.contains("1@1 noop")), "{sent:?}");
    assert_eq!(group.commit("a"), 1);
}

/// Section 8: before it answers a read, a leader exchanges heartbeats with a majority.
#[test]
fn a_read_needs_a_round_of_questions() {
    let mut group = Group::new("group a b c leader=a");
    assert_eq!(group.messages("read a 1"), ["a@1 to b, c: Ask round 1"]);
    assert_eq!(group.at("a").reads_waiting(), 1);
    group.play("deliver a b; deliver b a");
    assert_eq!(group.at("a").reads_waiting(), 0);
}

/// Section 8: and it needs a committed entry of its own term.
#[test]
fn a_read_needs_a_commit_of_the_term() {
    let mut group = Group::new("group a b c leader=a; forge a c TimeoutNow term=1");
    group.play("deliver c b; deliver b c; read c 1");
    assert_eq!((group.role("c"), group.at("c").reads_waiting()), (Role::Leader, 1));
    group.play("quiet settle");
    assert_eq!(group.at("c").reads_waiting(), 0);
}
