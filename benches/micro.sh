#!/bin/sh
# What the parts of a put cost, each alone (criterion), and how often they allocate.
#
#   sh benches/micro.sh [FILTER]        for instance: sh benches/micro.sh shard
#
# Built with the whole workspace: other features would compile RocksDB again.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/kvd-target}
export CARGO_TARGET_DIR
cargo build --release --workspace --bench micro --bench count --quiet
# The newest of those that builds with other features may have left.
newest() { find "$CARGO_TARGET_DIR/release/deps" -name "$1-*" -perm -100 -type f -exec ls -t {} + | head -n 1; }
"$(newest micro)" --bench "$@"
[ $# -eq 0 ] || exit 0
echo
echo "heap allocations per operation, behind the part and the operations it does at a time:"
"$(newest count)"
