#!/bin/sh
# What a put and a get cost on three nodes of this machine, with fsync: medians of three runs.
#
#   sh benches/cluster.sh [SECONDS]        after a build; 5 seconds a run by default
#
# Prints a line a run: operation, clients x connections x depth, operations per second, p50 and p99 in microseconds,
# and the CPU time of all three servers per operation. Starts and ends its own nodes, in a directory of its own.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
seconds=${1:-5}
bin=${CARGO_TARGET_DIR:-$HOME/.cache/kvd-target}/release
[ -x "$bin/kvd" ] || { echo "build first: sh cli/demo.sh, or cargo build --release --workspace" >&2; exit 1; }
dir=$(mktemp -d)
pids=
stop() {
    for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM
nodes=n1=127.0.0.1:27401,n2=127.0.0.1:27402,n3=127.0.0.1:27403
for i in 1 2 3; do
    "$bin/kvd" run --name n$i --listen 127.0.0.1:2740$i --admin 127.0.0.1:2749$i --data "$dir/n$i" --nodes $nodes \
        --shards 1 --groups 4 --replication 3 >"$dir/n$i.log" 2>&1 &
    pids="$pids $!"
done
export KVCTL_ENDPOINTS=127.0.0.1:27401,127.0.0.1:27402,127.0.0.1:27403
tries=0
until "$bin/kvctl" put ready yes >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "the cluster does not come up, see $dir" >&2; trap - EXIT; exit 1; }
    sleep 0.1
done
# Clock ticks of user and system time of all servers, 100 a second.
cpu() { for pid in $pids; do awk '{ print $14 + $15 }' "/proc/$pid/stat"; done | awk '{ t += $1 } END { print t }'; }
run() { # OPERATION CLIENTS CONNECTIONS DEPTH
    for n in 1 2 3; do
        before=$(cpu)
        line=$("$bin/kvctl" bench run "$1" --clients "$2" --connections "$3" --depth "$4" --value-size 256 --keys 100000 \
            --duration "${seconds}s" --warmup 1s -o plain)
        after=$(cpu)
        echo "$line" | awk -v shape="$2x$3x$4" -v ticks=$((after - before)) -v s="$seconds" '{
            printf "%s %s %d/s p50 %d p99 %d us, %.1f us of server CPU\n", $1, shape, $2, $3, $5,
                ticks * 10000 / ($2 * (s + 1)) }'
    done | sort -t' ' -k3 -n | awk '{ line[NR] = $0 } END { print "median: " line[int((NR + 1) / 2)]; for (i = 1; i <= NR; i++) print "        " line[i] }'
}
run put 1 1 1
run put 256 16 1
run put 256 16 16
run get 1 1 1
run get 256 16 1
