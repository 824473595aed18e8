# Medians over repetitions, ratios to the peers, and which targets are met, from the raw lines of a run.
#
#     awk -v mode=medians [-v only=WORKLOAD] -f compare.awk targets.txt RAW...
#     awk -v mode=ratios -f compare.awk targets.txt RAW...
#
# Repetitions of systems are interleaved, so a median is taken over each system's own values, and the ratio of two
# medians is what is reported: the machine's slow drift meets all systems alike.
#
# A run whose checksums differ, between repetitions or between systems, has measured different work: mode ratios then
# ends with status 1 and prints `differ` lines.

function sort(a, n,    i, j, v) {
    for (i = 2; i <= n; i++) {
        v = a[i]
        for (j = i - 1; j > 0 && a[j] > v; j--)
            a[j + 1] = a[j]
        a[j + 1] = v
    }
}

function median(key,    a, n, i) {
    n = count[key]
    for (i = 1; i <= n; i++)
        a[i] = value[key, i]
    sort(a, n)
    return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
}

function meets(v, bound) {
    if (bound == "-")
        return "-"
    if (substr(bound, 1, 2) == ">=")
        return v >= substr(bound, 3) + 0 ? "yes" : "no"
    return v <= bound + 0 ? "yes" : "no"
}

function print_medians(    i, f) {
    for (i = 1; i <= nkeys; i++) {
        split(keys[i], f, SUBSEP)
        if (only == "" || f[1] == only)
            printf "%s %s %s %.6g %s\n", f[1], f[2], f[3], median(keys[i]), unit[keys[i]]
    }
}

# Every metric that tricolor and a peer both have; the targets are beside those that have one.
function print_ratios(    i, f, mine, theirs, r, t, line) {
    for (i = 1; i <= nkeys; i++) {
        split(keys[i], f, SUBSEP)
        mine = f[1] SUBSEP "tricolor" SUBSEP f[3]
        if (f[2] == "tricolor" || !(mine in count))
            continue
        theirs = median(keys[i])
        if (theirs == 0)
            continue
        r = median(mine) / theirs
        line = sprintf("ratio %s %s tricolor %s %.4g", f[1], f[3], f[2], r)
        t = f[1] SUBSEP f[3] SUBSEP f[2]
        if (t in first)
            line = line sprintf(" first=%s:%s goal=%s:%s", first[t], meets(r, first[t]), goal[t], meets(r, goal[t]))
        print line
    }
}

function print_verdicts(    i, f, mine, other, v, why) {
    for (i = 1; i <= ntargets; i++) {
        split(targets[i], f, SUBSEP)
        mine = f[1] SUBSEP "tricolor" SUBSEP f[2]
        why = ""
        if (!(mine in count))
            why = "not measured"
        else if (f[3] == "-")
            v = median(mine)
        else {
            other = f[1] SUBSEP f[3] SUBSEP f[2]
            if (f[3] ~ /^self:/)
                other = substr(f[3], 6) SUBSEP "tricolor" SUBSEP f[2]
            if (!(other in count))
                why = "no " f[3] " to compare with"
            else if (median(other) == 0)
                why = f[3] " has 0"
            else
                v = median(mine) / median(other)
        }
        if (why == "")
            printf "target %s %s %s %.4g first=%s:%s goal=%s:%s\n", f[1], f[2], f[3], v,
                first[targets[i]], meets(v, first[targets[i]]), goal[targets[i]], meets(v, goal[targets[i]])
        else if (f[1] in ran)
            printf "target %s %s %s - %s\n", f[1], f[2], f[3], why
    }
}

function print_differences(    i, f, bad) {
    bad = 0
    for (i = 1; i <= nsums; i++) {
        split(sums[i], f, SUBSEP)
        if (nvalues[sums[i]] > 1) {
            printf "differ %s %s%s\n", f[1], f[2], said[sums[i]]
            bad = 1
        }
    }
    return bad
}

/^#/ || NF == 0 { next }

FILENAME == ARGV[1] {
    targets[++ntargets] = $1 SUBSEP $2 SUBSEP $3
    first[targets[ntargets]] = $4
    goal[targets[ntargets]] = $5
    next
}

/^(hist|info|missing|machine|run|discarded|absent|skipped|failed) / { next }

NF == 5 && $3 ~ /^checksum/ {
    sum = $1 SUBSEP $3
    if (!(sum in nvalues))
        sums[++nsums] = sum
    if (!((sum, $4) in seen)) {
        seen[sum, $4] = 1
        nvalues[sum]++
    }
    if (!((sum, $2, $4) in teller)) {
        teller[sum, $2, $4] = 1
        said[sum] = said[sum] " " $2 "=" $4
    }
    next
}

NF == 5 {
    key = $1 SUBSEP $2 SUBSEP $3
    if (!(key in count))
        keys[++nkeys] = key
    value[key, ++count[key]] = $4 + 0
    unit[key] = $5
    ran[$1] = 1
}

END {
    if (mode == "medians")
        print_medians()
    else {
        print_ratios()
        print_verdicts()
        if (print_differences())
            exit 1
    }
}
