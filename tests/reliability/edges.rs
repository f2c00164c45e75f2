//! Frames as long as they may be: a command that fits one of a client must fit one to a peer, too.

use engine_core::command::{self, BatchOperation, ClientId, Command, Operation, SessionRef};
use net::frame::BODY_BYTES_MAX;
use net::response::{Refusal, Response};
use raft::ids::{GroupId, Index};

use crate::nemesis::cluster::Options;
use crate::nemesis::wire::Wire;
use crate::{PATIENCE, assert_replicas_agree, on_cluster};

/// A batch of one group whose encoding has so many bytes; its session is one that was never opened.
fn batch(keys: &[Vec<u8>], group: u32, bytes: usize) -> Vec<u8> {
    let encoded = |last: usize| {
        let value = |number: usize| vec![7; if number + 1 == keys.len() { last } else { 1 << 20 }];
        let put = |(number, key): (usize, &Vec<u8>)| BatchOperation::Put { key: key.clone(), value: value(number) };
        let session = SessionRef { group: GroupId(group), opened: Index(1) };
        let operation = Operation::Batch { operations: keys.iter().enumerate().map(put).collect() };
        command::encode(&Command { client: ClientId(99), sequence: 1, acknowledged: 0, session, operation })
    };
    let rest = bytes - encoded(0).len();
    // Encodings are padded to a multiple of some bytes.
    (0..16).map(|less| encoded(rest - less)).find(|encoded| encoded.len() <= bytes).expect("one fits")
}

#[test]
fn the_longest_frames_are_answered_and_end_no_node() {
    on_cluster("longest-frames", Options::default(), |_, mut cluster| {
        let mut client = cluster.client(PATIENCE);
        let ring = client.map().expect("a map").ring();
        let group = ring.group_of(b"key:0").0;
        let keys = (0..).map(|number| format!("key:{number}").into_bytes());
        let keys: Vec<Vec<u8>> = keys.filter(|key| ring.group_of(key).0 == group).take(4).collect();
        let (mut refused, mut taken) = (0, 0);
        for less in [0, 8, 56, 88, 96, 512, 1024, 1056, 2048] {
            let command = batch(&keys, group, BODY_BYTES_MAX - less);
            for node in 0..cluster.nodes.len() {
                let mut wire = Wire::connect(&cluster.nodes[node].address).expect("a connection").0;
                wire.send_write(group, &command).expect("a request");
                match wire.receive(PATIENCE).expect("a connection").expect("an answer").1 {
                    Response::Refused(Refusal::TooLarge { .. }) => refused += 1,
                    Response::Refused(Refusal::NotLeader { .. }) => {}
                    Response::Outcome(_) => taken += 1,
                    other => panic!("{} bytes: {other:?}", command.len()),
                }
                assert!(cluster.is_running(node), "the node has ended\n{}", cluster.log(node));
            }
        }
        println!("{refused} refused as too large, {taken} taken");
        assert!(refused > 0 && taken > 0);
        client.put_blind(b"behind long frames", b"v").expect("the cluster serves");
        assert_replicas_agree(&cluster);
    });
}
