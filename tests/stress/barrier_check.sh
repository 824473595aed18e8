#!/usr/bin/env bash
# The stress tests store through the barrier alone, so the barrier checker finds nothing in any of them: neither a
# forgotten barrier in the tests and the library, nor a false report of its own. A build without the checker refuses
# the option.
#
# ctest: timeout=600
set -euo pipefail

export TRICOLOR=barriercheck=1 TRI_STRESS_SECONDS=0.2
launcher=()
if grep -q '^TRI_SANITIZE:STRING=thread' "$TRI_BUILD_DIR/CMakeCache.txt" && setarch -R true 2>/dev/null; then
    launcher=(setarch -R)
fi

if grep -q '^TRI_DEBUG:STRING=0' "$TRI_BUILD_DIR/CMakeCache.txt"; then
    if said=$("$TRI_BUILD_DIR/tests/test_stress_lists" --jobs 1 2>&1); then
        echo "the option was accepted"
        exit 1
    fi
    grep -q 'the barrier checker is not in this build' <<<"$said"
    exit
fi

bad=0
ran=0
for test in "$TRI_BUILD_DIR"/tests/test_stress_*; do
    # Its games choose their options themselves, and need the stores without a barrier to be fast.
    [ "${test##*/}" != test_stress_sabotage ] || continue
    ran=$((ran + 1))
    # Some want to have done a number of operations, or they say that they tested nothing.
    case ${test##*/} in
    test_stress_mesh | test_stress_attach) TRI_STRESS_SECONDS=1 ;;
    *) TRI_STRESS_SECONDS=0.2 ;;
    esac
    if ! said=$(timeout 120 "${launcher[@]}" "$test" --jobs 1 2>&1) ||
        grep -q 'stored without the write barrier' <<<"$said"; then
        printf '%s:\n%s\n' "$(basename "$test")" "$said"
        bad=1
    fi
done
[ "$ran" -ge 10 ] && [ "$bad" -eq 0 ]
