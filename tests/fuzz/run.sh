#!/bin/sh
# Every fuzz target for so many seconds each, from the seeds in `corpus`:
#
#   sh tests/fuzz/run.sh SECONDS [TARGET...]
#
# Prints `decoder, commit, executions, seconds, seconds of CPU, coverage` for each, and exits with 1 if one of them found
# something: what it found is in $CARGO_TARGET_DIR/fuzz-findings, and `BINARY FILE` shows it again. What is found on the way (inputs
# that reach new code) stays beside it, out of the repository. Needs no nightly toolchain and no RocksDB.
set -u
directory=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$directory" || exit 1
seconds=${1:-}
case $seconds in '' | *[!0-9]*)
    echo "usage: sh tests/fuzz/run.sh SECONDS [TARGET...]" >&2
    exit 2
    ;;
esac
shift
[ $# -gt 0 ] || set -- $(sed -n 's,^path = "targets/\(.*\)\.rs"$,\1,p' Cargo.toml)

: "${CARGO_TARGET_DIR:=$directory/target}"
export CARGO_TARGET_DIR
# Explicit targets keep the counters out of build scripts.
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing" \
    cargo build --release --quiet --target "$triple" $(printf -- '--bin %s ' "$@") || exit 1

commit=$(git rev-parse --short=10 HEAD)
# Work that is not committed is no commit's.
[ -z "$(git status --porcelain -- ../../engine ../../net .)" ] || commit="$commit+"
findings=$CARGO_TARGET_DIR/fuzz-findings
log=$(mktemp) || exit 1
trap 'rm -f "$log" "$log.cpu"' EXIT
# Seconds of CPU that what this shell waited for has taken so far; `times` must not run in a pipe, whose shell waited for nothing.
spent() {
    times >"$log"
    awk 'NR == 2 { gsub(/[ms]/, " "); print int($1 * 60 + $2 + $3 * 60 + $4) }' "$log"
}
found=0
for target in "$@"; do
    grown=$CARGO_TARGET_DIR/fuzz-corpus/$target
    mkdir -p "$grown" "$findings"
    spent >"$log.cpu"
    before=$(cat "$log.cpu")
    "$CARGO_TARGET_DIR/$triple/release/$target" "$grown" "corpus/$target" -max_total_time="$seconds" \
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$findings/$target-" >"$log" 2>&1
    status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.*cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    last_lines=$(tail -n 30 "$log")
    spent >"$log.cpu"
    cpu=$(($(cat "$log.cpu") - before))
    echo "$target, $commit, ${executions:-?}, $seconds, $cpu, ${coverage:-?}"
    if [ "$status" -ne 0 ]; then
        found=1
        echo "FOUND by $target:"
        echo "$last_lines"
    fi
done
exit "$found"
