#!/usr/bin/env bash
# Every peer that can be built here does the same work as tricolor-bench (whose own work tests/bench/workloads.sh holds
# against the specification), prints what it must, and refuses what it does not know. A peer whose toolchain is absent is
# told; that of the C library is always there. ctest: timeout=600
set -euo pipefail

bench=$TRI_BUILD_DIR/tricolor-bench
[ -x "$bench" ] || { echo "there is no $bench" && exit 1; }
# Peers are the same in every build of the library: once without sanitizers is enough.
if grep -Eq '__(asan|tsan)_init|__ubsan_handle' < <(nm "$bench"); then exit 77; fi

scale=(--scale 14 --seconds 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
fault() {
    echo "$*"
    faults=$((faults + 1))
}

tail_of() { echo "$1_p50:ns $1_p99:ns $1_p99.9:ns $1_p99.99:ns $1_max:ns"; }

# METRIC:UNIT... that a workload prints.
metrics_of() {
    echo rss_peak:MiB
    case $1 in
        trees.*) echo wall:s cpu:s ;;
        window) echo wall:s cpu:s "$(tail_of push)" ;;
        alloc.*) echo alloc:ns alloc_cpu:ns ;;
        mark.*) echo create:s gc_wall:s per_object_wall:ns per_object_cpu:ns objects:count ;;
        table) echo create:s cpu:s ops:1/s "$(tail_of op)" "$(tail_of tick_late)" ;;
        sched*)
            echo yield:ns pingpong_roundtrip:ns chan128_1p1c:ns chan128_4p4c:ns select4_unbuffered:ns select4_ready:ns \
                spawn_join:ns mutex_uncontended:ns mutex_8:ns skynet_cold:s skynet_warm:s "$(tail_of sleep_late)"
            ;;
        parked*) echo rss_each:B create:s gc_wall:s wake_and_end:s ;;
    esac
}

collects() { [[ " go boehm boehm-inc zgc g1 " == *" $1 "* ]]; }

# Whether a workload makes sense for a peer.
can() { # PEER WORKLOAD
    case $2 in
        sched* | parked*) [ "$1" = go ] ;;
        mark.*) collects "$1" ;;
    esac
}

checksums_of() { awk '$3 ~ /^checksum/ && NF == 5 { print $1, $3, $4 }' "$1" | sort; }

check_run() { # PEER WORKLOAD
    local peer=$1 workload=$2 out=$work/out metric
    if grep -Ev "^(info $peer|missing [^ ]+ $peer [^ ]+) .|^hist [^ ]+ $peer [a-z0-9_]+ [0-9]+ [0-9]+\$" "$out" |
        grep -Evx "[^ ]+ $peer ([a-z0-9_.]+ -?[0-9.]+ (s|ns|MiB|B|count|1/s|%)|checksum[a-z0-9_.]* [0-9a-f]{16} -)"; then
        fault "$peer $workload prints a line that is none"
    fi
    checksums_of "$out" >"$work/sums"
    # Of the parts of sched, those that both have.
    if [ -z "$(join -o 1.2 <(sed 's/ /:/' "$work/tricolor.$workload") <(sed 's/ /:/' "$work/sums"))" ] ||
        [ -n "$(join -o 1.1,1.2,2.2 <(sed 's/ /:/' "$work/tricolor.$workload") <(sed 's/ /:/' "$work/sums") |
            awk '$2 != $3')" ]; then
        fault "$peer $workload did other work: $(cat "$work/sums") and not $(cat "$work/tricolor.$workload")"
    fi
    # shellcheck disable=SC2046 # several words
    set -- $(metrics_of "$workload")
    if collects "$peer"; then set -- "$@" gc_cycles:count gc_cpu:s gc_pause_p50:ns gc_pause_max:ns gc_all_stopped_max:ns; fi
    for metric in "$@"; do
        [ "$(grep -Ecx "$workload $peer ${metric%:*} [^ ]+ ${metric#*:}|missing $workload $peer ${metric%:*} .+" "$out")" -eq 1 ] ||
            fault "$peer $workload does not print $metric once"
    done
    grep -q "^info $peer version ." "$out" || fault "$peer $workload does not print its version"
}

check_workload() { # PEER WORKLOAD
    local status=0
    "bench/peers/$1/run" "$work/$1" "$2" "${scale[@]}" >"$work/out" 2>"$work/err" || status=$?
    if can "$1" "$2"; then
        if [ $status -eq 0 ]; then
            check_run "$1" "$2"
        else
            fault "$1 $2: status $status: $(cat "$work/err")"
        fi
    elif [ $status -ne 77 ] || [ "$(wc -l <"$work/err")" -ne 1 ]; then
        fault "$1 $2: status $status and not 77 with one line that says why: $(cat "$work/err")"
    fi
}

check_refusals() {
    local wrong status
    for wrong in nonsense trees.20 alloc.flat.17.t1 alloc.flat.16.t0 'trees.N18 --nonsense 1' 'window --scale x'; do
        status=0
        # shellcheck disable=SC2086 # several words
        "bench/peers/$1/run" "$work/$1" $wrong >/dev/null 2>&1 || status=$?
        [ $status -eq 2 ] || fault "$1 $wrong: status $status, not 2"
    done
}

workloads=(trees.N18 window alloc.flat.16.t1 mark.graph22 mark.tree24 table sched parked parked.shared)
for size in 16 64 256 1024; do workloads+=("alloc.flat.$size.t2" "alloc.ptrs.$size.t2"); done
cd "$TRI_SOURCE_DIR"
for workload in "${workloads[@]}"; do
    "$bench" "$workload" "${scale[@]}" >"$work/out"
    checksums_of "$work/out" >"$work/tricolor.$workload"
done

for build in bench/peers/*/build; do
    peer=$(basename "$(dirname "$build")")
    case $peer in _*) continue ;; esac
    status=0
    CC=$TRI_CC "$build" "$work/$peer" >"$work/err" 2>&1 || status=$?
    if [ $status -eq 77 ] && [ "$peer" != glibc ]; then
        echo "not here: $(cat "$work/err")"
        continue
    elif [ $status -ne 0 ]; then
        fault "$peer does not build: status $status: $(tail -n 3 "$work/err")"
        continue
    fi
    for workload in "${workloads[@]}"; do check_workload "$peer" "$workload"; done
    check_refusals "$peer"
done

# A malloc system that is not the one that it says would be the worst of all faults.
for peer in mimalloc jemalloc tcmalloc; do
    [ -x "$work/$peer/bench" ] || continue
    "bench/peers/$peer/run" "$work/$peer" trees.N18 "${scale[@]}" >"$work/out"
    grep -q "^info $peer settings malloc from .*/lib${peer}[^/]*\$" "$work/out" ||
        fault "$peer: malloc is another's: $(grep settings "$work/out")"
done

[ "$faults" -eq 0 ]
