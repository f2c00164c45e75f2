//! What the Rust client can ask beyond `kvctl`: old values, batches, errors by name.

use engine_core::command::BatchOperation;
use net::client::{CasResult, Client, ClientError, ClientOptions, ScanOptions};

use crate::harness::{shared, unique};

fn client() -> Client {
    Client::connect(shared(), ClientOptions::default()).expect("a client")
}

/// Keys of one group, and one of another.
fn keys(client: &mut Client, count: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let ring = client.map().expect("a map").ring();
    let names: Vec<Vec<u8>> = (0..200).map(|_| unique("batch").into_bytes()).collect();
    let group = ring.group_of(&names[0]);
    let (same, other): (Vec<_>, Vec<_>) = names.into_iter().partition(|key| ring.group_of(key) == group);
    assert!(same.len() >= count && !other.is_empty(), "200 keys in one group");
    (same[..count].to_vec(), other[0].clone())
}

fn put(key: &[u8], value: &[u8]) -> BatchOperation {
    BatchOperation::Put { key: key.to_vec(), value: value.to_vec() }
}

#[test]
fn a_put_and_a_delete_give_the_old_value() {
    let mut client = client();
    let key = unique("old").into_bytes();
    assert_eq!(client.put(&key, b"1"), Ok(None));
    assert_eq!(client.put(&key, b"2"), Ok(Some(b"1".to_vec())));
    assert_eq!(client.delete(&key), Ok(Some(b"2".to_vec())));
    assert_eq!(client.delete(&key), Ok(None));
    assert_eq!(client.get(&key), Ok(None));
}

#[test]
fn compare_and_swap_knows_absence_on_both_sides() {
    let mut client = client();
    let key = unique("cas-absent").into_bytes();
    assert_eq!(client.cas(&key, None, Some(b"1")), Ok(CasResult::Swapped));
    assert_eq!(client.cas(&key, None, Some(b"2")), Ok(CasResult::Mismatch { current: Some(b"1".to_vec()) }));
    assert_eq!(client.cas(&key, Some(b"1"), None), Ok(CasResult::Swapped));
    assert_eq!(client.get(&key), Ok(None));
    assert_eq!(client.cas(&key, Some(b"1"), Some(b"2")), Ok(CasResult::Mismatch { current: None }));
}

#[test]
fn a_batch_of_one_group_happens_as_one() {
    let mut client = client();
    let (keys, _) = keys(&mut client, 3);
    client.put_blind(&keys[2], b"goes").expect("written");
    let batch = vec![put(&keys[0], b"a"), put(&keys[1], b"b"), BatchOperation::Delete { key: keys[2].clone() }];
    client.batch(batch).expect("written");
    assert_eq!(client.get(&keys[0]), Ok(Some(b"a".to_vec())));
    assert_eq!(client.get(&keys[1]), Ok(Some(b"b".to_vec())));
    assert_eq!(client.get(&keys[2]), Ok(None));
}

#[test]
fn a_batch_over_two_groups_is_refused_by_name_and_writes_nothing() {
    let mut client = client();
    let (same, other) = keys(&mut client, 1);
    let refused = client.batch(vec![put(&same[0], b"a"), put(&other, b"b")]);
    assert!(matches!(refused, Err(ClientError::CrossGroupBatch { .. })), "{refused:?}");
    assert_eq!(client.get(&same[0]), Ok(None));
    assert_eq!(client.get(&other), Ok(None));
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let mut client = client();
    let key = unique("large").into_bytes();
    let refused = client.put_blind(&key, &vec![0; (1 << 20) + 1]);
    assert!(matches!(refused, Err(ClientError::TooLarge { .. })), "{refused:?}");
    let refused = client.put_blind(&vec![b'k'; 4097], b"v");
    assert!(matches!(refused, Err(ClientError::TooLarge { .. })), "{refused:?}");
    // The client and its connection go on as if nothing had been.
    client.put_blind(&key, b"v").expect("written");
}

#[test]
fn pages_of_a_scan_join_without_gap_or_overlap() {
    let mut client = client();
    let prefix = format!("{}:", unique("pages"));
    let keys: Vec<Vec<u8>> = (0..50).map(|i| format!("{prefix}{i:02}").into_bytes()).collect();
    for key in &keys {
        client.put_blind(key, b"v").expect("written");
    }
    let mut options = ScanOptions::prefix(prefix.as_bytes(), 7);
    let mut found = Vec::new();
    loop {
        let page = client.scan(options.clone()).expect("a page");
        found.extend(page.entries.iter().map(|(key, _)| key.clone()));
        match page.next_start() {
            Some(start) => options.start = start,
            None => break,
        }
    }
    assert_eq!(found, keys);
}

#[test]
fn a_client_that_knows_one_node_finds_the_others() {
    for node in shared() {
        let mut client = Client::connect(std::slice::from_ref(node), ClientOptions::default()).expect("a client");
        for _ in 0..20 {
            let key = unique("one-node").into_bytes();
            client.put_blind(&key, b"v").expect("written");
            assert_eq!(client.get(&key), Ok(Some(b"v".to_vec())));
        }
    }
}
