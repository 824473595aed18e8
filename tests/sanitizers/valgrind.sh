#!/usr/bin/env bash
# A representative part of the programs under Valgrind's memcheck, without a suppression: what the library
# reads conservatively, the stacks it makes, and the memory it hands out and takes back are no errors.
# That it does see errors is for tests/sanitizers/memory.c to show.
#
# ctest: build=debug timeout=600
set -euo pipefail

command -v valgrind >/dev/null || exit 77

said=$(mktemp)
trap 'rm -f "$said"' EXIT
export TRI_STRESS_SECONDS=0.3
bad=0

# Child processes, which Criterion makes one of for each test, are followed, programs that they start are not.
check() {
    local status=0
    valgrind -q --fair-sched=try --error-exitcode=9 "$@" >"$said" 2>&1 || status=$?
    if [ "$status" -eq 0 ] && ! grep -qE '^==[0-9]+==' "$said"; then return; fi
    echo "$*: exit status $status under Valgrind"
    head -n 100 "$said"
    bad=1
}

for example in coroutines threads vm lists nodes; do
    check "$TRI_BUILD_DIR/example_$example"
done
for test in gc_cycle heap_types runtime_coroutine runtime_channel runtime_thread stress_lists stress_stacks; do
    check "$TRI_BUILD_DIR/tests/test_$test" --jobs 1
done
exit "$bad"
