//! What the parts of a put cost, each alone, measured with criterion: `sh benches/micro.sh`.

mod work;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use work::frames::Wire;
use work::journal::Appending;
use work::leader::Leader;
use work::replica::Leading;
use work::store::Applying;

fn raft(c: &mut Criterion) {
    let mut group = c.benchmark_group("raft/turn of a leader");
    for proposals in [1, 16, 256] {
        // Made when it is wanted: a filter may leave it out.
        let mut leading = None;
        group.throughput(Throughput::Elements(proposals as u64));
        group.bench_function(BenchmarkId::new("proposals", proposals), |b| {
            let leading = leading.get_or_insert_with(Leading::new);
            b.iter(|| leading.turn(proposals));
        });
    }
}

fn shard(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/turn of 64 puts");
    group.throughput(Throughput::Elements(64));
    for groups in [1, 100, 10_000] {
        let mut leader = None;
        let mut turns = 0_u64;
        group.bench_function(BenchmarkId::new("groups", groups), |b| {
            let leader = leader.get_or_insert_with(|| Leader::new(groups));
            b.iter(|| {
                leader.turn(64);
                turns += 1;
                // A tick passes every fifty milliseconds, in which a busy core does some thousand puts.
                if turns.is_multiple_of(40) {
                    leader.tick();
                }
            });
        });
    }
}

fn journal(c: &mut Criterion) {
    let mut group = c.benchmark_group("journal/batch");
    for entries in [1, 64, 512] {
        let mut appending = None;
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::new("entries", entries), |b| {
            let appending = appending.get_or_insert_with(Appending::new);
            b.iter(|| appending.batch(entries));
        });
    }
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames");
    let mut wire = Wire::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("a put and its answer", |b| b.iter(|| wire.put_and_answer()));
    group.throughput(Throughput::Elements(16));
    group.bench_function("16 entries to a peer", |b| b.iter(|| wire.entries_to_peer()));
}

fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/apply");
    for puts in [1, 64, 2048] {
        let mut applying = None;
        group.throughput(Throughput::Elements(puts as u64));
        group.bench_function(BenchmarkId::new("puts", puts), |b| {
            let applying = applying.get_or_insert_with(Applying::new);
            b.iter(|| applying.apply(puts));
        });
    }
    drop(group);
    let mut group = c.benchmark_group("store/write back");
    for puts in [2_048, 20_480] {
        let mut applying = None;
        group.throughput(Throughput::Elements(puts as u64));
        group.bench_function(BenchmarkId::new("puts, applied before", puts), |b| {
            let applying = applying.get_or_insert_with(Applying::new);
            b.iter(|| {
                applying.apply(puts);
                applying.write_back();
            });
        });
    }
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = parts; config = config(); targets = raft, shard, journal, frames, store }
criterion_main!(parts);
