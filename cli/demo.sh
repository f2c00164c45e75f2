#!/bin/sh
# A cluster on this machine that loses its busiest leader and nothing else.
#
#   sh cli/demo.sh [--nodes 5] [--keep] [...]     options are those of `kvctl demo --help`
#
# Installs what the build needs, builds, and runs `kvctl demo`, which says what it does and exits non-zero if
# anything is amiss.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
. "$root/cli/setup.sh"
setup_build
setup_target_dir
# All packages at once, here and in tests/run.sh: other sets of features would compile RocksDB again.
cargo build --release --workspace --quiet --manifest-path "$root/Cargo.toml"
exec "$CARGO_TARGET_DIR/release/kvctl" demo "$@"
