//! The bytes of commands: frozen, checked, and refused by name.
//!
//! `KVD_REWRITE=1 cargo test -p engine-core --test command` rewrites the golden files. A changed golden file means that
//! commands already in a journal can no longer be read: only ever add files.

// proptest's own macros share strategies.
#![allow(clippy::disallowed_types)]

use engine_core::command::*;
use proptest::prelude::*;
use raft::ids::{GroupId, Index};
use std::{fs, path::PathBuf};

fn command(operation: Operation) -> Command {
    let opened = match operation {
        Operation::Open => Index(0),
        _ => Index(0x0102_0304_0506_0708),
    };
    Command {
        client: ClientId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        sequence: 77,
        acknowledged: 70,
        session: SessionRef { group: GroupId(5), opened },
        operation,
    }
}

fn examples() -> Vec<(&'static str, Operation)> {
    let (key, value) = (b"key".to_vec(), b"a value of more than eight bytes".to_vec());
    vec![
        ("open", Operation::Open),
        ("put", Operation::Put { key: key.clone(), value: value.clone(), return_old: false }),
        ("put_return_old", Operation::Put { key: key.clone(), value: value.clone(), return_old: true }),
        ("put_empty", Operation::Put { key: vec![], value: vec![], return_old: false }),
        ("delete", Operation::Delete { key: key.clone(), return_old: false }),
        ("delete_return_old", Operation::Delete { key: vec![0, 255, 0], return_old: true }),
        ("cas_create", Operation::CompareAndSwap { key: key.clone(), expect: None, set: Some(value.clone()) }),
        ("cas_replace", Operation::CompareAndSwap { key: key.clone(), expect: Some(vec![]), set: Some(vec![1]) }),
        ("cas_remove", Operation::CompareAndSwap { key: key.clone(), expect: Some(value.clone()), set: None }),
        (
            "batch",
            Operation::Batch {
                operations: vec![
                    BatchOperation::Put { key: key.clone(), value: value.clone() },
                    BatchOperation::Delete { key: b"gone".to_vec() },
                    BatchOperation::Put { key: vec![], value: vec![] },
                ],
            },
        ),
        ("found", Operation::Found { record: b"the founding record".to_vec() }),
        ("map", Operation::Map { epoch: 0x0102, map: b"the cluster map".to_vec() }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

fn owned(bytes: &[u8]) -> Command {
    rkyv::deserialize::<Command, rkyv::rancor::Error>(access(bytes).expect("sound bytes")).expect("plain data")
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let write = prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| BatchOperation::Put { key, value }),
        bytes().prop_map(|key| BatchOperation::Delete { key }),
    ];
    prop_oneof![
        Just(Operation::Open),
        (bytes(), bytes(), any::<bool>()).prop_map(|(key, value, return_old)| Operation::Put {
            key,
            value,
            return_old
        }),
        (bytes(), any::<bool>()).prop_map(|(key, return_old)| Operation::Delete { key, return_old }),
        (bytes(), prop::option::of(bytes()), prop::option::of(bytes()))
            .prop_map(|(key, expect, set)| Operation::CompareAndSwap { key, expect, set }),
        prop::collection::vec(write, 1..6).prop_map(|operations| Operation::Batch { operations }),
        bytes().prop_map(|record| Operation::Found { record }),
        (1u64.., bytes()).prop_map(|(epoch, map)| Operation::Map { epoch, map }),
    ]
}

#[test]
fn layout_of_every_kind_is_frozen() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/command");
    for (name, operation) in examples() {
        let command = command(operation);
        let (bytes, path) = (encode(&command), directory.join(format!("{name}.hex")));
        if std::env::var_os("KVD_REWRITE").is_some() {
            fs::create_dir_all(&directory).expect("the golden directory");
            fs::write(&path, hex(&bytes)).expect("a golden file");
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(hex(&bytes), golden, "{name}: the bytes changed");
        let read: Vec<u8> = golden.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
        assert_eq!(owned(&read), command, "{name}: the meaning changed");
        assert_eq!(read[0], command.borrowed().operation.kind() as u8);
    }
}

#[test]
fn encoding_grows_the_vector_once() {
    for (name, operation) in examples() {
        let command = command(operation);
        let exact = encode(&command).len();
        let mut bytes = Vec::new();
        encode_into(&command, &mut bytes);
        assert!(bytes.capacity() < 2 * exact + 8, "{name}: {} for {exact}", bytes.capacity());
        let mut bytes = b"frame header".to_vec();
        encode_into(&command, &mut bytes);
        assert_eq!(bytes[12..], encode(&command), "{name}: bytes depend on what stands before them");
    }
}

#[test]
fn keys_come_in_order() {
    let bytes = encode(&command(examples().remove(9).1));
    let found: Vec<&[u8]> = keys(access(&bytes).unwrap()).collect();
    assert_eq!(found, [&b"key"[..], b"gone", b""]);
    for name in ["open", "found"] {
        let operation = examples().into_iter().find(|(other, _)| *other == name).unwrap().1;
        let bytes = encode(&command(operation));
        assert_eq!(keys(access(&bytes).unwrap()).count(), 0, "{name}");
    }
    let put = Operation::Put { key: vec![7; 3], value: vec![0; 9], return_old: true };
    let bytes = encode(&command(put));
    assert_eq!(keys(access(&bytes).unwrap()).collect::<Vec<_>>(), [&[7; 3][..]]);
    assert_eq!(stored_bytes(access(&bytes).unwrap()), 12);
}

#[test]
fn what_is_over_a_limit_is_refused_by_name() {
    let limits = Limits { key_bytes_max: 4, value_bytes_max: 6, batch_operations_max: 2, command_bytes_max: 200 };
    let refused = |operation: Operation| check(&encode(&command(operation)), &limits).err();
    let put = |key: usize, value: usize| Operation::Put { key: vec![1; key], value: vec![2; value], return_old: false };
    let swap = |expect: usize, set: usize| Operation::CompareAndSwap {
        key: vec![1; 4],
        expect: Some(vec![0; expect]),
        set: Some(vec![0; set]),
    };
    let batch = |operations: Vec<BatchOperation>| Operation::Batch { operations };
    let delete = |key: usize| BatchOperation::Delete { key: vec![0; key] };

    assert_eq!(refused(put(4, 6)), None);
    assert_eq!(refused(put(0, 0)), None, "an empty key is a key");
    assert_eq!(refused(put(5, 0)), Some(CommandError::KeyTooLong { bytes: 5, limit: 4 }));
    assert_eq!(refused(put(4, 7)), Some(CommandError::ValueTooLong { bytes: 7, limit: 6 }));
    assert_eq!(
        refused(Operation::Delete { key: vec![0; 9], return_old: false }),
        Some(CommandError::KeyTooLong { bytes: 9, limit: 4 })
    );
    assert_eq!(refused(swap(6, 6)), None);
    assert_eq!(refused(swap(7, 0)), Some(CommandError::ValueTooLong { bytes: 7, limit: 6 }));
    assert_eq!(refused(swap(0, 8)), Some(CommandError::ValueTooLong { bytes: 8, limit: 6 }));
    assert_eq!(
        refused(Operation::Found { record: vec![0; 7] }),
        Some(CommandError::ValueTooLong { bytes: 7, limit: 6 })
    );
    assert_eq!(
        refused(Operation::Map { epoch: 2, map: vec![0; 7] }),
        Some(CommandError::ValueTooLong { bytes: 7, limit: 6 })
    );
    assert_eq!(refused(batch(vec![])), Some(CommandError::EmptyBatch));
    assert_eq!(refused(batch(vec![delete(4), delete(0)])), None);
    assert_eq!(refused(batch(vec![delete(0), delete(5)])), Some(CommandError::KeyTooLong { bytes: 5, limit: 4 }));
    assert_eq!(refused(batch(vec![delete(0); 3])), Some(CommandError::TooManyOperations { operations: 3, limit: 2 }));
    let long = encode(&command(put(4, 200)));
    assert_eq!(check(&long, &limits).err(), Some(CommandError::CommandTooLong { bytes: long.len(), limit: 200 }));
    let largest =
        Operation::CompareAndSwap { key: vec![0; 4096], expect: Some(vec![0; 1 << 20]), set: Some(vec![0; 1 << 20]) };
    assert!(check(&encode(&command(largest)), &Limits::default()).is_ok());
}

#[test]
fn what_no_sound_client_sends_is_refused() {
    let limits = Limits::default();
    let put = || command(Operation::Put { key: vec![1], value: vec![2], return_old: false });
    let refused = |command: Command| check(&encode(&command), &limits).err();
    let stale = Some(CommandError::StaleSequence { sequence: 70, acknowledged: 70 });
    assert_eq!(refused(Command { sequence: 70, ..put() }), stale);
    assert!(matches!(
        refused(Command { sequence: 0, acknowledged: 0, ..put() }),
        Some(CommandError::StaleSequence { .. })
    ));
    let none = SessionRef { group: GroupId(1), opened: Index(0) };
    assert_eq!(refused(Command { session: none, ..put() }), Some(CommandError::WrongSession));
    let open = Command { operation: Operation::Open, ..put() };
    assert_eq!(refused(open), Some(CommandError::WrongSession));

    let sound = encode(&put());
    assert_eq!(check(&[], &limits).err(), Some(CommandError::Truncated { bytes: 0 }));
    assert_eq!(check(&[2], &limits).err(), Some(CommandError::Truncated { bytes: 1 }));
    let changed = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        check(&bytes, &limits).err()
    };
    assert_eq!(changed(0, 0), Some(CommandError::UnknownKind { kind: 0 }));
    assert_eq!(changed(0, 8), Some(CommandError::UnknownKind { kind: 8 }));
    assert_eq!(changed(0, Kind::Delete as u8), Some(CommandError::Malformed), "the kind must be the operation's");
    assert_eq!(changed(1, 2), Some(CommandError::UnknownVersion { kind: 2, version: 2 }));
    assert_eq!(check(&sound[..10], &limits).err(), Some(CommandError::Malformed));
}

proptest! {
    #[test]
    fn every_command_reads_back(operation in any_operation()) {
        let command = command(operation);
        prop_assert_eq!(owned(&encode(&command)), command);
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_never_a_panic(
        operation in any_operation(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&command(operation));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(command) = check(&bytes, &Limits::default()) {
            prop_assert!(keys(command).map(<[u8]>::len).sum::<usize>() <= bytes.len());
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = check(&bytes, &Limits::default());
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..8) {
        let _ = check(&bytes, &Limits::default());
        let mut bytes = bytes;
        bytes.splice(0..0, [kind, VERSION]);
        let _ = check(&bytes, &Limits::default());
    }
}
