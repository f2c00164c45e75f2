//! Sections 5.1 (basics) and 5.2 (leader election).

use super::{Group, id};
use raft::Role;

/// 5.1: at any time a server is leader, follower or candidate; it starts as a follower.
#[test]
fn servers_start_as_followers() {
    let group = Group::new("group a b c");
    for name in ["a", "b", "c"] {
        assert_eq!((group.role(name), group.term(name)), (Role::Follower, 0));
    }
}

/// 5.1: in normal operation there is one leader and everybody else follows it.
#[test]
fn one_leads_and_the_others_follow() {
    let group = Group::new("group a b c leader=a");
    assert_eq!(group.role("a"), Role::Leader);
    for name in ["b", "c"] {
        assert_eq!((group.role(name), group.at(name).leader()), (Role::Follower, Some(id("a"))));
    }
}

/// 5.1: followers only answer; they send nothing on their own.
#[test]
fn followers_are_passive() {
    let mut group = Group::new("group a b c leader=a");
    assert!(group.messages("tick b 9; tick c 9").is_empty());
}

/// 5.1: a client that asks a follower is told who leads.
#[test]
fn followers_send_clients_to_the_leader() {
    let mut group = Group::new("group a b c leader=a");
    assert!(group.play("propose b x=1").contains(&"b: x=1 refused, a leads".into()));
}

/// 5.1: each term begins with an election, and has at most one leader; without one a new term follows.
#[test]
fn a_term_has_at_most_one_leader() {
    let mut group = Group::new("group a b c leader=a");
    for name in ["b", "c", "a", "c"] {
        // The world stops the test at a second leader of a term.
        group.play(&format!("elect {name}"));
    }
    assert_eq!(group.term("c"), 5);
}

/// 5.1: a server that hears of a later term enters it.
#[test]
fn a_later_term_is_entered() {
    let mut group = Group::new("group a b c leader=a");
    group.play("forge c b Heartbeat term=9");
    assert_eq!((group.term("b"), group.at("b").leader()), (9, Some(id("c"))));
}

/// 5.1: a leader or candidate that finds its term to be old becomes a follower at once.
#[test]
fn a_leader_of_an_old_term_becomes_a_follower() {
    let mut group = Group::new("group a b c leader=a");
    group.play("forge b a AppendReply term=9 matched=0");
    assert_eq!((group.role("a"), group.term("a")), (Role::Follower, 9));
}

/// The same for a candidate.
#[test]
fn a_candidate_of_an_old_term_becomes_a_follower() {
    let mut group = Group::new("group a b c; campaign a; deliver a b; deliver b a");
    assert_eq!(group.role("a"), Role::Candidate);
    group.play("forge b a VoteReply term=9 no");
    assert_eq!((group.role("a"), group.term("a")), (Role::Follower, 9));
}

/// 5.1: requests of an old term are refused, with the term of now.
#[test]
fn requests_of_an_old_term_are_refused() {
    let mut group = Group::new("group a b c; restored b terms=1 term=5");
    let refused = group.messages("forge a b Append term=4 prev=1@1 terms=4; forge a b Vote term=4 last=1@1");
    assert_eq!(refused, ["b@5 to a: AppendReply refused after 1, try 0@0, last 1", "b@5 to a: VoteReply no"]);
    assert_eq!((group.term("b"), group.log("b"), group.voted_for("b")), (5, vec![1], None));
}

/// 5.2: a follower stays one as long as it hears a leader: heartbeats prevent elections.
#[test]
fn heartbeats_prevent_elections() {
    let mut group = Group::new("group a b c leader=a");
    group.play("run 500");
    assert_eq!((group.role("a"), group.term("a")), (Role::Leader, 1));
}

/// 5.2: leaders send heartbeats periodically, to everybody.
#[test]
fn a_leader_sends_heartbeats_to_all() {
    let mut group = Group::new("group a b c leader=a");
    group.play("quiet run 4");
    let beats = group.messages("tick a 6");
    assert_eq!(beats.len(), 3);
    assert!(beats.iter().all(|beat| beat.starts_with("a@1 to b, c: Heartbeat")), "{beats:?}");
}

/// 5.2: who hears nothing for an election timeout begins an election. (Here: asks first, thesis 9.6.)
#[test]
fn silence_begins_an_election() {
    let mut group = Group::new("group a b c leader=a; crash a");
    group.play("quiet tick b 20");
    assert_eq!(group.role("b"), Role::PreCandidate);
}

/// 5.2: a candidate increments its term, votes for itself, and asks all others in parallel.
#[test]
fn a_candidate_votes_for_itself_and_asks_all_others() {
    let mut group = Group::new("group a b c d e");
    let votes = group.messages("campaign a; deliver a b; deliver b a; deliver a c; deliver c a");
    assert_eq!((group.role("a"), group.term("a"), group.voted_for("a")), (Role::Candidate, 1, Some(id("a"))));
    assert_eq!(votes.last().unwrap(), "a@1 to b, c, d, e: Vote, log ends 0@0");
}

/// 5.2: a candidate wins with the votes of a majority of the whole group.
#[test]
fn a_majority_of_votes_wins() {
    let mut group = Group::new("group a b c d e; quiet campaign a");
    for name in ["b", "c"] {
        group.play(&format!("deliver a {name} PreVote; deliver {name} a"));
    }
    group.play("deliver a b Vote; deliver b a");
    assert_eq!(group.role("a"), Role::Candidate, "two of five are no majority");
    group.play("deliver a c Vote; deliver c a");
    assert_eq!(group.role("a"), Role::Leader);
}

/// 5.2: the same vote twice is one vote.
#[test]
fn a_vote_counts_once() {
    let mut group = Group::new("group a b c d e; quiet campaign a");
    for name in ["b", "c"] {
        group.play(&format!("deliver a {name} PreVote; deliver {name} a"));
    }
    group.play("deliver a b Vote; duplicate b a; deliver b a");
    assert_eq!(group.role("a"), Role::Candidate);
}

/// 5.2: a server gives one vote a term, to whom asks first.
#[test]
fn first_come_first_served() {
    let mut group = Group::new("group a b c");
    let votes = group.messages("forge b a Vote term=1 last=0@0; forge c a Vote term=1 last=0@0");
    assert_eq!(votes, ["a@1 to b: VoteReply yes", "a@1 to c: VoteReply no"]);
}

/// 5.2: the winner tells everybody at once, so that no further elections begin.
#[test]
fn a_new_leader_makes_itself_known() {
    let mut group = Group::new("group a b c; campaign a; deliver a b; deliver b a");
    let told = group.messages("deliver a b; deliver b a");
    assert_eq!(told.last().unwrap(), "a@1 to b, c: Append after 0@0: 1@1 noop, commit 0");
}

/// 5.2: a candidate that hears a leader of its term or a later one follows it.
#[test]
fn a_candidate_gives_way_to_a_leader() {
    for term in [1, 2] {
        let mut group = Group::new("group a b c; campaign a; deliver a b; deliver b a");
        group.play(&format!("forge c a Heartbeat term={term}"));
        assert_eq!((group.role("a"), group.at("a").leader()), (Role::Follower, Some(id("c"))));
    }
}

/// 5.2: one of an older term is refused, and the candidacy goes on.
#[test]
fn a_candidate_ignores_a_leader_of_an_older_term() {
    let mut group = Group::new("group a b c; restored a terms= term=3; campaign a; deliver a b; deliver b a");
    let answer = group.messages("forge c a Append term=3 prev=0@0 terms=3");
    assert_eq!((group.role("a"), group.term("a")), (Role::Candidate, 4));
    assert_eq!(answer, ["a@4 to c: AppendReply refused after 0, try 0@0, last 0"]);
}

/// 5.2: with split votes nobody wins; the candidates time out and a new term begins.
#[test]
fn split_votes_lead_to_a_new_term() {
    let mut group = Group::new("group a b c d");
    for (candidate, voter) in [("a", "c"), ("b", "d")] {
        group.play(&format!("quiet campaign {candidate}"));
        for name in ["a", "b", "c", "d"].iter().filter(|name| **name != candidate) {
            group.play(&format!("forge {name} {candidate} PreVoteReply term=1"));
        }
        group.play(&format!("deliver {candidate} {voter}; deliver {voter} {candidate}"));
        assert_eq!((group.role(candidate), group.term(candidate)), (Role::Candidate, 1));
    }
    group.play("quiet settle");
    assert!(["a", "b", "c", "d"].iter().all(|name| group.role(name) != Role::Leader && group.term(name) == 1));
    group.play("run 100");
    assert_eq!(["a", "b", "c", "d"].iter().filter(|name| group.role(name) == Role::Leader).count(), 1);
    assert!(group.term("a") >= 2);
}

/// 5.2: timeouts are drawn at random from a fixed interval, anew for each election.
#[test]
fn timeouts_are_random_within_their_interval() {
    let mut group = Group::new("group a b c d e f g h i j");
    let mut waits = std::collections::BTreeSet::new();
    for tick in 1..=20 {
        group.play("quiet tick all 1");
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            if group.role(name) == Role::PreCandidate {
                waits.insert(tick);
            }
        }
    }
    // Each has lost its patience once by now, none before half the timeout.
    assert!(waits.first() >= Some(&10) && waits.len() > 3, "{waits:?}");
    assert!(["a", "e", "j"].iter().all(|name| group.role(name) == Role::PreCandidate));
}
