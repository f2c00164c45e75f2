#!/bin/sh
# What many groups, shards and keys cost: two clusters of three nodes each beside one another on this machine, loaded in
# turns, as one start of a cluster differs from the next. Prints what each did in each round, the medians, and the median
# of the rounds' quotients.
#
#   sh benches/scale.sh [PART...]        after a build; about 15 minutes for all parts
#
#   groups    puts a second with 8 groups, and with 1,000
#   shards    CPU of all servers per put with one shard a node, and with two
#   keys      puts a second in an empty store, and in one with ten million keys (6 GB of disk)
#   batch     entries per sync at saturation, of one group and of four
#   idle      CPU and memory of a node with 8 idle groups, and with 1,000
#   allocs    heap allocations per put on the core of a leader: counted by the kernel, as root, with perf
#
#   ROUNDS=N SECONDS_EACH=N KEYS=N       instead of 3 rounds, 3 seconds and 10,000,000 keys
#
# All nodes listen on loopback only, and only what this script started is ended.
set -eu
target=${CARGO_TARGET_DIR:-$HOME/.cache/kvd-target}
kvd=$target/release/kvd
kvctl=$target/release/kvctl
rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-3}
[ -x "$kvd" ] || { echo "build first: sh cli/demo.sh, or cargo build --release --workspace" >&2; exit 1; }

dir=$(mktemp -d)
pids_a=
pids_b=
stop() { # Ends the servers that run, and waits until they are gone.
    for pid in $pids_a $pids_b; do kill -9 "$pid" 2>/dev/null || true; done
    for pid in $pids_a $pids_b; do wait "$pid" 2>/dev/null || true; done
    pids_a= pids_b=
    rm -rf "$dir"/[ab][123]
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

ask() { # NAME: kvctl speaks to that cluster from now on
    case $1 in a) port=2741 ;; *) port=2742 ;; esac
    export KVCTL_ENDPOINTS=127.0.0.1:${port}1,127.0.0.1:${port}2,127.0.0.1:${port}3
}
start() { # NAME GROUPS SHARDS
    ask "$1"
    nodes=n1=127.0.0.1:${port}1,n2=127.0.0.1:${port}2,n3=127.0.0.1:${port}3
    started=
    for i in 1 2 3; do
        "$kvd" run --name n$i --listen 127.0.0.1:${port}$i --admin 127.0.0.1:${port}$((i + 3)) --data "$dir/$1$i" \
            --nodes $nodes --groups "$2" --shards "$3" --replication 3 >"$dir/$1$i.log" 2>&1 &
        started="$started $!"
    done
    case $1 in a) pids_a=$started ;; *) pids_b=$started ;; esac
    tries=0
    until "$kvctl" put ready yes >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { cat "$dir/$1"*.log >&2; echo "the cluster does not come up" >&2; exit 1; }
        sleep 0.1
    done
}
put() { # CLIENTS SECONDS KEYS: prints puts a second
    "$kvctl" bench run put --clients "$1" --connections 16 --depth 1 --value-size 256 --keys "$3" --duration "${2}s" \
        --warmup 1s -o plain 2>/dev/null | awk '$2 > 0 { print $2; ok = 1 } END { if (!ok) print "failed" }'
}
servers() { case $1 in a) echo "$pids_a" ;; *) echo "$pids_b" ;; esac; }
# Clock ticks of user and system time of all servers of a cluster, 100 a second.
cpu() { for pid in $(servers "$1"); do awk '{ print $14 + $15 }' "/proc/$pid/stat"; done | awk '{ t += $1 } END { print t }'; }

measure() { # NAME CLIENTS KEYS WHAT: prints puts a second, or microseconds of server CPU for each
    ask "$1"
    before=$(cpu "$1")
    rate=$(put "$2" "$seconds" "$3")
    # The second of warming up counts as one like the others.
    case $4 in
    rate) echo "$rate" ;;
    cpu) awk -v t=$(($(cpu "$1") - before)) -v r="$rate" -v s="$seconds" 'BEGIN { printf "%.1f\n", t * 1e4 / (r * (s + 1)) }' ;;
    esac
}
compare() { # TITLE CLIENTS KEYS WHAT
    round=1
    while [ $round -le "$rounds" ]; do
        if [ $((round % 2)) = 1 ]; then
            a=$(measure a "$2" "$3" "$4") b=$(measure b "$2" "$3" "$4")
        else
            b=$(measure b "$2" "$3" "$4") a=$(measure a "$2" "$3" "$4")
        fi
        echo "$a $b"
        round=$((round + 1))
    done | awk -v title="$1" '
        function median(v, n,    i, j, t) {
            for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
            return v[int((n + 1) / 2)]
        }
        NF != 2 || /failed|nan|inf/ { print title ": a run failed"; failed = 1; exit }
        { a[NR] = $1; b[NR] = $2; q[NR] = $2 / $1; each = each "  " $1 " " $2 }
        END { if (!failed) printf "%s: %s to %s, %.2f times (%s )\n", title, median(a, NR), median(b, NR), median(q, NR), each }'
}
warm() { # CLIENTS SECONDS KEYS: a store has memory and segments that it uses in turn only after some seconds
    for name in a b; do ask $name; put "$1" "$2" "$3" >/dev/null; done
    sleep 2
}

groups() {
    start a 8 1
    start b 1000 1
    warm 4096 3 100000
    compare "puts/s, 8 and 1,000 groups, 65,536 clients" 65536 100000 rate
    compare "puts/s, 8 and 1,000 groups, 256 clients" 256 100000 rate
    stop
}
shards() {
    start a 8 1
    start b 8 2
    warm 16384 10 100000
    compare "us of server CPU a put, 1 and 2 shards, 16,384 clients" 16384 100000 cpu
    compare "us of server CPU a put, 1 and 2 shards, 256 clients" 256 100000 cpu
    stop
}
keys() {
    keys=${KEYS:-10000000}
    start a 4 1
    start b 4 1
    "$kvctl" bench load --keys "$keys" --value-size 256 --connections 16 --depth 256 -o plain 2>/dev/null |
        awk '{ print "loaded at " $2 " keys a second" }'
    ask a
    put 4096 5 100000 >/dev/null
    # What compaction owes from loading is not what a store with many keys costs.
    sleep 20
    compare "puts/s, an empty store and $keys keys, 256 clients" 256 "$keys" rate
    stop
}
metric() { # NAME: summed over the nodes of the cluster that is asked
    for i in 4 5 6; do curl -sf "http://127.0.0.1:${port}$i/metrics"; done |
        awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { printf "%d\n", sum }'
}
batch() {
    command -v curl >/dev/null || { echo "batch: needs curl" >&2; return; }
    start a 1 1
    start b 4 1
    warm 4096 3 100000
    for name in a b; do
        ask $name
        entries=$(metric kvd_journal_entries_total) syncs=$(metric kvd_journal_batch_bytes_count)
        put 4096 "$seconds" 100000 >/dev/null
        entries=$(($(metric kvd_journal_entries_total) - entries)) syncs=$(($(metric kvd_journal_batch_bytes_count) - syncs))
        case $name in a) groups="one group" ;; *) groups="4 groups" ;; esac
        echo "entries per sync, $groups, 4,096 clients: $((entries / syncs)) ($entries in $syncs)"
    done
    stop
}
memory() { # NAME: resident KiB of a node, of three the middle one
    for pid in $(servers "$1"); do awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; done | sort -n | sed -n 2p
}
idle() {
    start a 8 1
    start b 1000 1
    # Every group has found its leader, and sleeps.
    sleep 15
    cpu_a=$(cpu a) cpu_b=$(cpu b)
    sleep 20
    cpu_a=$(($(cpu a) - cpu_a)) cpu_b=$(($(cpu b) - cpu_b))
    awk -v a="$cpu_a" -v b="$cpu_b" -v x="$(memory a)" -v y="$(memory b)" 'BEGIN {
        printf "idle: %.2f %% of a core a node with 8 groups, %.2f %% with 1,000; %d and %d KiB, %.1f for each group\n",
            a / 60, b / 60, x, y, (y - x) / 992 }'
    stop
}
allocs() {
    probes=/sys/kernel/tracing/uprobe_events
    if [ ! -w $probes ] || ! command -v perf >/dev/null || ! command -v nm >/dev/null || ! command -v curl >/dev/null; then
        echo "allocs: needs root, perf (apt-get install linux-perf), nm (binutils) and curl" >&2
        return
    fi
    # Where the code lies in memory, and in the file.
    code=$(readelf -lW "$kvd" | awk '$1 == "LOAD" && $8 == "E" { print $3, $2 }')
    for function in malloc calloc realloc posix_memalign aligned_alloc memalign _Znwm; do
        at=$(nm "$kvd" | awk -v f="$function" '$3 == f { print "0x" $1 }')
        [ -z "$at" ] || printf 'p:kvd/%s %s:0x%x\n' $function "$kvd" $((at - ${code% *} + ${code#* })) >>$probes
    done
    for count in 1 4; do
        start a $count 1
        ask a
        put 4096 3 100000 >/dev/null
        put 4096 16 100000 >/dev/null &
        load=$!
        sleep 3
        node=4
        for pid in $pids_a; do
            # The core's thread, and one that its runtime keeps under the same name.
            tasks=$(grep -lx core-0 /proc/"$pid"/task/*/comm | cut -d / -f 5 | paste -s -d ,)
            # Being counted slows a core down, so what it did is asked for while it is counted. Each put is an entry in its journal.
            entries="curl -s 127.0.0.1:${port}$node/metrics | grep '^kvd_journal_entries_total' || echo 0 0"
            perf stat -e 'kvd:*' -t "$tasks" -x ' ' -o "$dir/counts" sh -c "$entries; sleep 3; $entries" >"$dir/entries"
            awk 'NR == FNR { puts = $2 - puts; next } { n += $1 } END { print n / puts, puts }' "$dir/entries" "$dir/counts"
            node=$((node + 1))
        done >"$dir/allocations"
        wait $load
        # Of one group one node leads all; of four each leads its part and follows in the others.
        awk -v groups=$count '{ most = $1 > most ? $1 : most; all += $1; puts += $2 } END {
            printf "heap allocations a put, groups: %d: %.2f on the core that makes most, %.2f on all three (%d puts)\n",
                groups, most, all, puts }' "$dir/allocations"
        stop
    done
    for function in $(cd /sys/kernel/tracing/events/kvd && ls -d ./*/); do
        echo "-:kvd/$(basename "$function")" >>$probes
    done
}

[ $# -gt 0 ] || set -- groups shards keys batch idle allocs
for part; do
    case $part in
    groups | shards | keys | batch | idle | allocs) "$part" ;;
    *) echo "no such part: $part (groups, shards, keys, batch, idle, allocs)" >&2; exit 2 ;;
    esac
done
