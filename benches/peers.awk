# Medians of what benches/peers.sh measured, and ratios: lines "system cell per-second p50 p99 cpu".

function median(values, count,    i, j, t, v) {
    for (i = 1; i <= count; i++) v[i] = values[i]
    for (i = 2; i <= count; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    lowest = v[1]
    highest = v[count]
    return v[int((count + 1) / 2)]
}
function of(who, cell, field) { return (who, cell, field) in figure ? figure[who, cell, field] : 0 }
# The best of a system's cells whose names begin alike.
function best(who, operation,    i, parts, most) {
    most = 0
    for (i = 1; i <= cells; i++) {
        split(order[i], parts, " ")
        if (parts[1] == who && parts[2] ~ "^" operation "-[0-9]+$" && of(who, parts[2], "rate") > most)
            most = of(who, parts[2], "rate")
    }
    return most
}
function larger(a, b) { return a > b ? a : b }
function smaller(a, b) { return !a ? b : !b ? a : a < b ? a : b }
function ratio(what, ours, theirs, demand) {
    if (ours && theirs) printf "%-72s %9d %9d %7.2f   %s\n", what, ours, theirs, ours / theirs, demand
    else printf "%-72s %9s %9s %7s   %s\n", what, ours ? ours : "-", theirs ? theirs : "-", "-", demand
}

{
    name = $1 " " $2
    if (!(name in count)) order[++cells] = name
    n = ++count[name]
    rate[name, n] = $3; p50[name, n] = $4; p99[name, n] = $5; cpu[name, n] = $6
}

END {
    printf "%-8s %-12s %9s %19s %9s %9s %9s\n", "system", "cell", "per s", "(lowest, highest)", "p50 us", "p99 us", "CPU us"
    for (i = 1; i <= cells; i++) {
        name = order[i]
        split(name, parts, " ")
        for (k = 1; k <= count[name]; k++) { a[k] = p50[name, k]; b[k] = p99[name, k]; c[k] = cpu[name, k]; r[k] = rate[name, k] }
        figure[parts[1], parts[2], "p50"] = median(a, count[name])
        figure[parts[1], parts[2], "p99"] = median(b, count[name])
        figure[parts[1], parts[2], "cpu"] = median(c, count[name])
        figure[parts[1], parts[2], "rate"] = median(r, count[name])
        printf "%-8s %-12s %9d %19s %9d %9d %9.1f\n", parts[1], parts[2], of(parts[1], parts[2], "rate"),
            sprintf("(%d, %d)", lowest, highest), of(parts[1], parts[2], "p50"), of(parts[1], parts[2], "p99"), of(parts[1], parts[2], "cpu")
    }
    ratios("kvd", "")
    ratios("kvd1", ", ours with one group")
}

function ratios(us, note) {
    if (!of(us, "put-256", "rate")) return
    print ""
    printf "%-72s %9s %9s %7s   %s\n", "figure" note, "ours", "theirs", "ratio", "demand"
    ratio("put/s, 256 clients over 16 connections, to etcd 3.5", of(us, "put-256", "rate"), of("etcd35", "put-256", "rate"), "8 or more")
    ratio("put/s, each at its best of 256 to 16,384 clients, to etcd 3.5", best(us, "put"), best("etcd35", "put"), "15 or more")
    ratio("linearizable get/s, 256 clients over 16 connections, to the better etcd", of(us, "get-256", "rate"),
        larger(of("etcd34", "get-256", "rate"), of("etcd35", "get-256", "rate")), "10 or more")
    ratio("the same, ours with leases", of(us == "kvd" ? "kvdl" : "kvdl1", "get-256", "rate"),
        larger(of("etcd34", "get-256", "rate"), of("etcd35", "get-256", "rate")), "10 or more")
    if (us == "kvd") {
        ratio("p99 in us of puts at the rate of etcd 3.5 with 256 clients", of(us, "open-full", "p99"), of("etcd35", "open-full", "p99"), "0.1 or less")
        ratio("p99 in us of puts at half of that rate", of(us, "open-half", "p99"), of("etcd35", "open-half", "p99"), "")
    }
    ratio("p50 in us of a put, one client, to the better etcd", of(us, "put-1", "p50"),
        smaller(of("etcd34", "put-1", "p50"), of("etcd35", "put-1", "p50")), "0.5 or less")
    ratio("put/s, 256 connections at depth 1, to one Redis", of(us, "put-256c", "rate"), of("redis", "put-256c", "rate"), "0.8 or more")
    ratio("put/s, 256 connections at depth 16, to one Redis", of(us, "put-256c-16", "rate"), of("redis", "put-256c-16", "rate"), "0.6 or more")
    ratio("us of server CPU per put, 256 clients over 16 connections, to etcd 3.5", of(us, "put-256", "cpu"), of("etcd35", "put-256", "cpu"), "")
}
