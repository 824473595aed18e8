#!/usr/bin/env bash
# What bench/run says about a run: medians and ratios are right, targets are marked, different work is noticed, and a peer
# or a run that is missing is told. The systems are scripts with known answers.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "$*"
    exit 1
}

# A bench folder of its own, so that neither results nor peers of the tree are touched.
mkdir -p "$work/bench/peers" "$work/build"
cp "$TRI_SOURCE_DIR"/bench/{run,compare.awk,targets.txt} "$work/bench/"
export TRI_BUILD_DIR=$work/build

# system NAME SCRIPT: what it does with $1, the workload, and $2, how often it has run before.
system() {
    local file=$work/bench/peers/$1/run counted
    if [ "$1" = tricolor ]; then file=$work/build/tricolor-bench; fi
    mkdir -p "$(dirname "$file")"
    counted=$work/$1.count
    {
        echo '#!/bin/bash'
        # shellcheck disable=SC2016
        if [ "$1" != tricolor ]; then echo '[ -e "$1/built" ] && shift || exit 9'; fi
        echo "set -- \"\$1\" \"\$(wc -l 2>/dev/null <$counted)\"; echo >>$counted"
        echo "$2"
    } >"$file"
    chmod +x "$file"
    if [ "$1" != tricolor ]; then
        # shellcheck disable=SC2016
        printf '#!/bin/bash\nmkdir -p "$1" && : >"$1/built"\n' >"$work/bench/peers/$1/build"
        chmod +x "$work/bench/peers/$1/build"
    fi
}

# Values 6, 2, 4: median 4. The peer's: 16, 8, 10: median 10. One ratio, 0.4, which is exactly the floor.
# shellcheck disable=SC2016 # they expand later
tricolor='set -- "$1" "${2:-0}"; values=(6 2 4)
echo "$1 tricolor alloc_cpu ${values[$2 % 3]} ns"; echo "$1 tricolor checksum 00000000000000aa -"'
# shellcheck disable=SC2016
go='set -- "$1" "${2:-0}"; values=(16 8 10)
echo "$1 go alloc_cpu ${values[$2 % 3]} ns"; echo "hist $1 go push 5 7"; echo "$1 go checksum SUM -"'

reset() {
    rm -rf "$work"/*.count "$work/bench/results" "$work/bench/peers"
    system tricolor "$tricolor"
    system go "${go/SUM/00000000000000aa}"
}
bench() { "$work/bench/run" "$@" >"$work/out" 2>"$work/err"; }
says() { grep -Fqx "$1" "$work/out" || { cat "$work/out" "$work/err" && fail "does not say '$1'"; }; }

reset
bench alloc.flat.16.t1 --peers go --reps 3 || fail "status $?"
says 'alloc.flat.16.t1 tricolor alloc_cpu 4 ns'
says 'alloc.flat.16.t1 go alloc_cpu 10 ns'
says 'ratio alloc.flat.16.t1 alloc_cpu tricolor go 0.4 first=0.4:yes goal=-:-'
says 'target alloc.flat.16.t1 alloc_cpu go 0.4 first=0.4:yes goal=-:-'
says 'target alloc.flat.16.t1 alloc_cpu tcmalloc - no tcmalloc to compare with'

# In turn: a repetition of all systems before the next.
order=$(sed -n 's/^run \([0-9]*\) [^ ]* /\1/p' "$work"/bench/results/raw/*.txt | tr '\n' ,)
[ "$order" = 1tricolor,1go,2tricolor,2go,3tricolor,3go, ] || fail "runs in the order $order"

# One repetition more changes the median and misses the floor: 4 and 10, of 6 2 4 6 and 16 8 10 16, become 5 and 13.
reset
bench alloc.flat.16.t1 --peers go --reps 2 || fail "status $?"
says 'ratio alloc.flat.16.t1 alloc_cpu tricolor go 0.3333 first=0.4:yes goal=-:-'
reset
system tricolor "${tricolor/6 2 4/9 9 9}"
bench alloc.flat.16.t1 --peers go --reps 3 || fail "status $?"
says 'target alloc.flat.16.t1 alloc_cpu go 0.9 first=0.4:no goal=-:-'

# Lower bounds are lower bounds.
reset
# shellcheck disable=SC2016
system tricolor 'echo "$1 tricolor ops 300 1/s"; echo "$1 tricolor op_max 1000000 ns"'
# shellcheck disable=SC2016
system go 'echo "$1 go ops 100 1/s"; echo "$1 go op_max 10000000 ns"'
bench table --peers go --reps 1 || fail "status $?"
says 'target table ops go 3 first=>=2:yes goal=-:-'
says 'target table op_max - 1e+06 first=-:- goal=2000000:yes'

# Different work.
reset
system go "${go/SUM/00000000000000ab}"
status=0
bench alloc.flat.16.t1 --peers go --reps 1 || status=$?
[ $status -eq 1 ] || fail "checksums differ: status $status, not 1"
says 'differ alloc.flat.16.t1 checksum tricolor=00000000000000aa go=00000000000000ab'

# Missing peers, workloads that a peer does not have, runs that fail or hang.
reset
printf '#!/bin/bash\necho there is no go >&2\nexit 77\n' >"$work/bench/peers/go/build"
bench alloc.flat.16.t1 --peers go,zgc --reps 1 || fail "status $?"
says 'absent go there is no go'
says 'absent zgc there is no bench/peers/zgc/build'

reset
system go 'echo no use >&2; exit 77'
bench alloc.flat.16.t1 --peers go --reps 2 || fail "status $?"
says 'skipped alloc.flat.16.t1 go no use'

reset
system go "${go/SUM/00000000000000aa}; exit 3"
status=0
bench alloc.flat.16.t1 --peers go --reps 1 || status=$?
[ $status -eq 1 ] || fail "a failed run: status $status, not 1"
says 'failed alloc.flat.16.t1 go status 3'
! grep -q '^ratio' "$work/out" || fail "a failed run is compared"

reset
system go 'sleep 100'
status=0
bench alloc.flat.16.t1 --peers go --reps 1 --timeout 1 || status=$?
[ $status -eq 1 ] || fail "a run that hangs: status $status, not 1"
says 'failed alloc.flat.16.t1 go not done after 1 s'

# ./dev bench installs what peers need, for those that are asked for.
echo libfoo-dev >"$work/bench/peers/go/packages"
[ "$("$work/bench/run" --packages alloc --peers go)" = libfoo-dev ] || fail "--packages does not tell"
[ -z "$("$work/bench/run" --packages alloc)" ] || fail "--packages tells of peers that nobody asked for"

# The slope of y = 3 x^2 is 2; a point without a logarithm does not count.
slope=$(printf 'point s %s m %s ns\n' 1 3 2 12 4 48 8 0 | awk -f "$TRI_SOURCE_DIR/bench/slope.awk")
[ "$slope" = 'slope s m 2.000 3' ] || fail "slope: $slope"
