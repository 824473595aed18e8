#!/usr/bin/env bash
# TRICOLOR_FAULTS: rules and a report for any program, before main, where faults are compiled in; elsewhere nothing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program=$TRI_BUILD_DIR/example_lists
bad=0
fault() {
    echo "$*"
    bad=1
}

# Prints the exit code; output and errors are in $work/out.
run() {
    local code=0
    TRICOLOR_FAULTS=$1 timeout 60 "$program" >"$work/out" 2>&1 || code=$?
    echo "$code"
}

if ! grep -q '^TRI_FAULTS:BOOL=ON$' "$TRI_BUILD_DIR/CMakeCache.txt"; then
    [ "$(run 'alloc:*')" = 0 ] || fault "without TRI_FAULTS the variable has an effect"
    exit $bad
fi

ulimit -c 0
[ "$(run "report=$work/sites")" = 0 ] || fault "a report alone makes the program fail"
grep -qE '^alloc@tri_heap_create [1-9]' "$work/sites" || fault "what was reached is not in the report"
grep -qE '^alloc@gc_verify_open 0$' "$work/sites" || fault "what was not reached is not in the report"

[ "$(run "report=$work/sites,vm.reserve_rw@open_page_table:1,none:1:EIO")" != 0 ] || fault "a rule has no effect"

for text in nonsense alloc:0 report= "report=$work/sites,x"; do
    [ "$(run "$text")" = 134 ] || fault "\"$text\" is not refused"
    grep -qE '^tricolor: fatal: TRICOLOR_FAULTS: ' "$work/out" || fault "\"$text\" is refused without a reason"
done
exit $bad
