#!/bin/sh
# All the tests, on a machine that may have nothing installed.
#
#   sh tests/run.sh                                          the whole gate
#   sh tests/run.sh --long                                   every suite with real processes at full length, 5,000 seeds
#   sh tests/run.sh --performance                            a loaded cluster: throughput and percentiles of every operation
#   KVD_SIM_SEEDS=FIRST..LAST sh tests/run.sh --simulation   these simulation seeds and nothing else
#
# The last line is `N passed, N failed`, with `, N skipped` if something could not run here; what was skipped is
# named above it. Exits with 0 only if nothing failed.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit 1
. "$root/cli/setup.sh"
# Where suites that go through a pipe print.
exec 4>&1

mode=gate
case ${1:-} in
'') ;;
--long) mode=long ;;
--performance) mode=performance ;;
--simulation) mode=simulation ;;
*)
    echo "usage: sh tests/run.sh [--long | --performance | --simulation]" >&2
    exit 2
    ;;
esac

passed=0 failed=0 skipped=0
log=
finish() {
    [ -z "$log" ] || rm -f "$log"
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ "$failed" -eq 0 ]
    exit
}

heading() { printf '\n== %s\n' "$*"; }

# check NAME COMMAND...: one command that passes or fails as a whole.
check() {
    name=$1
    shift
    heading "$name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
    fi
}

skip() {
    heading "$1"
    echo "SKIPPED: $1: $2"
    skipped=$((skipped + 1))
}

# suite NAME COMMAND...: a `cargo test`, whose tests count one by one, and every line `SKIPPED: name: why` of theirs.
suite() {
    name=$1
    shift
    heading "$name"
    # POSIX sh has no pipefail: the status takes a way around the pipe.
    status=$({ { "$@" 2>&1 3>&- 4>&-; echo $? >&3; } | tee "$log" >&4; } 3>&1)
    counts=$(awk '/^test result: / {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) p += $i
            if ($(i + 1) ~ /^failed/) f += $i
            if ($(i + 1) ~ /^ignored/) s += $i
        }
    } /^SKIPPED: / { s++ } END { print p + 0, f + 0, s + 0 }' "$log")
    set -- $counts
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    # A build that breaks or a test process that dies has no result line of its own.
    if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then
        failed=$((failed + 1))
        echo "FAILED: $name (exit status $status)"
    fi
}

simulation() { # FIRST..LAST
    # The workspace's own build: another set of features would compile RocksDB again.
    check "simulation, seeds $1" "$CARGO_TARGET_DIR/release/simulate" "$1"
}

# first..last of decimal numbers, at least one seed; compared as text, as they may exceed a shell's integers.
seeds_are_a_range() {
    case $1 in *..*) ;; *) return 1 ;; esac
    first=${1%%..*} last=${1#*..}
    case $first$last in *[!0-9]*) return 1 ;; esac
    [ -n "$first" ] && [ -n "$last" ] || return 1
    awk -v a="$first" -v b="$last" 'BEGIN {
        sub(/^0+/, "", a); sub(/^0+/, "", b)
        exit !(length(a) < length(b) || (length(a) == length(b) && ("x" a) <= ("x" b)))
    }'
}

setup_build
setup_target_dir
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ "$mode" = simulation ]; then
    seeds=${KVD_SIM_SEEDS:-0..499}
    if ! seeds_are_a_range "$seeds"; then
        echo "KVD_SIM_SEEDS=$seeds: FIRST..LAST is wanted, two numbers with at least one seed between them" >&2
        failed=1
        finish
    fi
    check "build" cargo build --release --workspace --quiet
    [ "$failed" -eq 0 ] && simulation "$seeds"
    finish
fi

if [ "$mode" = performance ]; then
    check "build" cargo build --release --workspace --quiet
    [ "$failed" -eq 0 ] && suite "performance" env KV_PERFORMANCE_LONG=1 \
        cargo test --release --workspace --test performance -- --nocapture
    finish
fi

setup_tests

if [ "$mode" = long ]; then
    check "build" cargo build --release --workspace --quiet
    [ "$failed" -eq 0 ] || finish
    suite "crash cycles" env KV_CRASH_CYCLES_ONE=100 KV_CRASH_CYCLES_ALL=30 \
        cargo test --release --workspace --test crash_cycles -- --nocapture --test-threads 1
    suite "availability" env KV_RELIABILITY_LONG=1 \
        cargo test --release --workspace --test availability -- --nocapture --test-threads 1
    suite "reliability" env KV_RELIABILITY_LONG=1 \
        cargo test --release --workspace --test reliability -- --nocapture --test-threads 1
    suite "nemesis" env KV_NEMESIS_ROUNDS=20 \
        cargo test --release --workspace --test linearizability -- --nocapture --test-threads 1
    simulation 0..4999
    finish
fi

if command -v cargo-fmt >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1; then
    check "format" cargo fmt --all --check
else
    skip "format" "cargo fmt is not installed"
fi
check "build" cargo build --release --workspace --quiet
if command -v cargo-clippy >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
    check "lints" cargo clippy --release --workspace --all-targets --quiet -- -D warnings
else
    skip "lints" "cargo clippy is not installed"
fi
if command -v promtool >/dev/null 2>&1; then
    check "alerts" sh -c 'cd config/prometheus && promtool check rules alerts.yml && promtool test rules alerts_test.yml'
else
    skip "alerts" "promtool is not installed (Debian package prometheus)"
fi
check "documentation" env RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --quiet
suite "tests" cargo test --release --workspace --no-fail-fast
simulation 0..499
finish
