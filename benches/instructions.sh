#!/bin/sh
# Instructions of each pure part of a put, per operation, counted by callgrind: they repeat exactly, whatever else the
# machine does.
#
#   sh benches/instructions.sh [PART...]        after sh benches/micro.sh, or with COUNT=PATH of the program `count`
#
# Each part is run twice, so many times and three times as many: the difference is without what happens once.
set -eu
target=${CARGO_TARGET_DIR:-$HOME/.cache/kvd-target}
newest() { find "$target/release/deps" -name "$1-*" -perm -100 -type f -exec ls -t {} + | head -n 1; }
count=${COUNT:-$(newest count)}
[ -x "$count" ] || { echo "build first: sh benches/micro.sh" >&2; exit 1; }
command -v valgrind >/dev/null || { echo "no valgrind: apt-get install valgrind" >&2; exit 1; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
instructions() { # PART TIMES: prints operations at a time, and instructions
    line=$(valgrind --tool=callgrind --callgrind-out-file="$out" "$count" "$1" "$2" 2>/dev/null)
    echo "$line $(awk '/^(totals|summary):/ { n = $2 } END { print n }' "$out")" | awk '{ print $2, $4 }'
}
[ $# -gt 0 ] || set -- raft-1 raft-64 put-path-1 put-path-16 put-path-64 journal-1 journal-64 frame peer-frame store-64
for part; do
    echo "$part $(instructions "$part" 500) $(instructions "$part" 1500)"
done | awk '{ printf "%-12s %8.0f instructions an operation, %d at a time\n", $1, ($5 - $3) / ($2 * 1000), $2 }'
