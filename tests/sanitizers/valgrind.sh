#!/usr/bin/env bash
# A representative part of the programs under Valgrind's memcheck, without a suppression: what the library
# reads conservatively, the stacks it makes, and the memory it hands out and takes back are no errors.
# That it does see errors is for tests/sanitizers/memory.c to show.
#
# ctest: build=debug timeout=1200
set -euo pipefail

command -v valgrind >/dev/null || exit 77

said=$(mktemp)
trap 'rm -f "$said"' EXIT
export TRI_STRESS_SECONDS=0.3
bad=0

# Criterion starts a program of its own for each test, which only --trace-children follows.
check() {
    local status=0
    valgrind -q --fair-sched=try --trace-children=yes --error-exitcode=9 "$@" >"$said" 2>&1 || status=$?
    if [ "$status" -eq 0 ] && ! grep -qE '^==[0-9]+==' "$said"; then return; fi
    echo "$*: exit status $status under Valgrind"
    head -n 100 "$said"
    bad=1
}

for example in coroutines threads vm lists nodes; do
    check "$TRI_BUILD_DIR/example_$example"
done
for test in gc_cycle heap_types runtime_channel runtime_thread stress_lists stress_stacks; do
    check "$TRI_BUILD_DIR/tests/test_$test" --jobs 1
done
# Not all of these: faults that are made on purpose are errors to Valgrind, and where threads wait for it long, turns
# cannot be counted.
check "$TRI_BUILD_DIR/tests/test_os_signal" --jobs 1 --filter 'os_altstack/*leaving*'
check "$TRI_BUILD_DIR/tests/test_runtime_coroutine" --jobs 1 --filter 'coroutine/!(those_that_yield*)'
exit "$bad"
