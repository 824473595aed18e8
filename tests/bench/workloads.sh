#!/usr/bin/env bash
# Every workload of tricolor-bench, very small, does the work that bench/README.md describes and prints what it must. The
# checksums are computed here anew, from that text, not from the program. ctest: timeout=600
set -euo pipefail

bench=$TRI_BUILD_DIR/tricolor-bench
[ -x "$bench" ] || { echo "there is no $bench" && exit 1; }
# ThreadSanitizer of gcc 12 needs a launcher, and what the workloads read without order is meant to race.
if grep -q __tsan_init < <(nm "$bench"); then exit 77; fi

scale=14
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "$*"
    exit 1
}

# ---- the arithmetic of the specification: 64 bits, modulo 2^64, shifts logical -------------------------------------

# Each leaves its result in R.
shift_right() { R=$(($1 >> $2 & (1 << (64 - $2)) - 1)); }

mix() {
    local x=$1
    shift_right "$x" 30
    x=$(((x ^ R) * 0xbf58476d1ce4e5b9))
    shift_right "$x" 27
    x=$(((x ^ R) * 0x94d049bb133111eb))
    shift_right "$x" 31
    R=$((x ^ R))
}

next() {
    S=$((S + 0x9e3779b97f4a7c15))
    mix "$S"
}

below() {
    next
    shift_right "$R" 32
    shift_right $((R * $1)) 32
}

S=0
next
[ "$(printf %016x "$R")" = e220a8397b1dcdaf ] || fail "this script's generator is wrong"

trees() { # N
    local n=$(($1 - scale > 6 ? $1 - scale : 6)) d
    R=$(((1 << (n + 2)) - 1 + (1 << (n + 1)) - 1))
    for ((d = 4; d <= n; d += 2)); do R=$((R + (1 << (n - d + 4)) * ((1 << (d + 1)) - 1))); done
}

window() {
    local slots=16 pushes=$((5000000 >> scale)) i sum=0 last
    for ((i = 0; i < slots; i++)); do
        last=$((pushes - 1 - (pushes - 1 - i) % slots))
        sum=$((sum * 31 + (last & 255) * 257))
    done
    R=$sum
}

alloc() { # KIND COUNT MUTATORS
    local n=$(($2 >> scale)) m sum=0
    for ((m = 0; m < $3; m++)); do
        if [ "$1" = flat ]; then
            sum=$((sum + 2 * (n * (n - 1) / 2 + n * m)))
        else
            sum=$((sum + n * (n - 1) / 2 + n * m + n))
        fi
    done
    R=$sum
}

graph() {
    local n=1024 i j k sum=0 x p=() to=()
    S=42
    for ((i = 0; i < n; i++)); do p[i]=$i; done
    for ((i = n - 1; i > 0; i--)); do
        below "$i"
        j=$R k=${p[i]}
        p[i]=${p[j]}
        p[j]=$k
    done
    for ((i = 0; i < n; i++)); do
        to[4 * i]=${p[i]}
        for k in 1 2 3; do
            next
            to[4 * i + k]=$((R & (n - 1)))
        done
    done
    S=43 x=0
    for ((i = 0; i < 1 << (20 - scale); i++)); do
        next
        x=${to[4 * x + (R & 3)]}
        sum=$((sum * 31 + x))
    done
    R=$sum
}

# In the order in which nodes are made, the last of a subtree is its root, right before it the root of its right half.
tree() {
    local depth=10 i d id sum=0
    S=43
    for ((i = 0; i < 1 << (16 - scale); i++)); do
        id=$(((2 << depth) - 2))
        for ((d = depth; d >= 0; d--)); do
            sum=$((sum * 31 + id))
            next
            if [ $((R & 1)) -eq 1 ]; then id=$((id - 1)); else id=$((id - (1 << d))); fi
        done
    done
    R=$sum
}

sum_of_mixes() { # COUNT
    local i sum=0
    for ((i = 0; i < $1; i++)); do mix "$i" && sum=$((sum + R)); done
    R=$sum
}

sum_below() { R=$(($1 * ($1 - 1) / 2)); }

# ---- the runs -------------------------------------------------------------------------------------------------------

run() { # WORKLOAD ARGUMENTS...
    workload=$1
    "$bench" "$@" --scale $scale >"$work/out" 2>"$work/err" || {
        cat "$work/err"
        fail "$*: status $?"
    }
    if grep -Ev '^(info tricolor|missing [^ ]+ tricolor [^ ]+) .|^hist [^ ]+ tricolor [a-z0-9_]+ [0-9]+ [0-9]+$' "$work/out" |
        grep -Evx '[^ ]+ tricolor ([a-z0-9_.]+ -?[0-9.e+-]+ (s|ns|MiB|B|count|1/s|%)|checksum[a-z0-9_.]* [0-9a-f]{16} -)'; then
        fail "$workload prints a line that is none"
    fi
    has gc_cycles:count gc_cpu:s gc_pause_p50:ns gc_pause_max:ns mutator_wait_count:count mutator_wait_max:ns \
        intr_all_count:count mmu_1ms:% mmu_10ms:% rss_peak:MiB
}

has() { # METRIC:UNIT...
    local wanted
    for wanted in "$@"; do
        [ "$(grep -Ec "^$workload tricolor ${wanted%:*} [^ ]+ ${wanted#*:}\$" "$work/out")" -eq 1 ] ||
            fail "$workload does not print $wanted once"
    done
}

# METRIC of the checksum; R has what it must be.
checksum_is_R() {
    local expected
    expected=$(printf '%s tricolor %s %016x -' "$workload" "${1:-checksum}" "$R")
    grep -Fqx "$expected" "$work/out" || fail "not '$expected' but: $(grep " ${1:-checksum} " "$work/out")"
}

for n in 18 20; do
    run "trees.N$n"
    has wall:s cpu:s
    trees "$n" && checksum_is_R
done

tail_of() { echo "$1_p50:ns $1_p99:ns $1_p99.9:ns $1_p99.99:ns $1_max:ns"; }

run window
# shellcheck disable=SC2046 # several words
has wall:s cpu:s $(tail_of push)
window && checksum_is_R
[ "$(awk '$1 == "hist" && $4 == "push" { n += $6 } END { print n }' "$work/out")" -eq $((5000000 >> scale)) ] ||
    fail "window: a push is missing in the histogram"

for kind in flat ptrs; do
    for size in 16:26 64:25 256:24 1024:22; do
        for t in 1 2; do
            run "alloc.$kind.${size%:*}.t$t"
            has alloc:ns alloc_cpu:ns
            alloc $kind $((1 << ${size#*:})) $t && checksum_is_R
        done
    done
done

mark=(gc_wall:s per_object_wall:ns per_object_cpu:ns objects:count create:s)
run mark.graph22
has "${mark[@]}"
graph && checksum_is_R
run mark.tree24
has "${mark[@]}"
tree && checksum_is_R

for workload in table table.nogc; do
    run $workload --seconds 2
    # shellcheck disable=SC2046
    has ops:1/s create:s cpu:s $(tail_of op) $(tail_of tick_late)
    sum_of_mixes $((4 << (24 - scale))) && checksum_is_R
done
grep -qx 'table.nogc tricolor gc_cycles 0 count' "$work/out" || fail "table.nogc collects"

for workload in sched sched.1; do
    run $workload
    has yield:ns pingpong_roundtrip:ns chan128_1p1c:ns chan128_4p4c:ns spawn_join:ns mutex_uncontended:ns mutex_8:ns \
        sleep_late_p50:ns sleep_late_p99:ns skynet_cold:s skynet_warm:s
    R=$((8 * (500000 >> scale))) && checksum_is_R checksum.yield
    n=$((1000000 >> scale)) && R=$((n * (n + 1) / 2)) && checksum_is_R checksum.pingpong_roundtrip
    sum_below $((4000000 >> scale)) && checksum_is_R checksum.chan128_1p1c
    sum_below $((1000000 >> scale)) && R=$((4 * R)) && checksum_is_R checksum.chan128_4p4c
    sum_below 10000 && checksum_is_R checksum.spawn_join
    R=$((20000000 >> scale)) && checksum_is_R checksum.mutex_uncontended
    R=$((8 * (500000 >> scale))) && checksum_is_R checksum.mutex_8
    R=1 && checksum_is_R checksum.sleep_late
    sum_below 100 && R=$((4 * R)) && checksum_is_R checksum.skynet
done

for workload in parked parked.shared; do
    run $workload
    has rss_each:B create:s gc_wall:s wake_and_end:s
    sum_of_mixes $((1000000 >> scale)) && checksum_is_R
done

run mutate --seconds 1
has rate_off:1/s rate_on:1/s rate_share:%
run types
has live:B rss_per_live_byte:B inuse_per_live_byte:B
run threads64 --seconds 1
has allocs:1/s reach_p50:ns reach_max:ns
run deep --seconds 1
has stack:B intr_handshake_max:ns
for way in coroutines100000 heap16 stack64; do
    run "growth.$way"
    has gc_wall:s
done

# What it does not know it refuses.
for wrong in nonsense trees trees.20 trees.N20x alloc.flat.17.t1 alloc.flat.16.t3 mark.graph table.x window.x; do
    status=0
    "$bench" $wrong >/dev/null 2>&1 || status=$?
    [ $status -eq 2 ] || fail "$wrong: status $status, not 2"
done
