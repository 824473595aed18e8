#!/usr/bin/env bash
# The demo as a user starts it: wrong arguments end it with 2 and a reason, a short run of each kind
# ends with the table and 0. Whether its checks see anything is for the stress tests to show.
set -euo pipefail

demo=$TRI_BUILD_DIR/tricolor-demo
[ -x "$demo" ] || exit 77

fail() {
    echo "$*" >&2
    exit 1
}

refused() {
    local status=0
    errors=$("$demo" "$@" 2>&1 >/dev/null) || status=$?
    [ "$status" -eq 2 ] || fail "$*: exit status $status, not 2"
    [ -n "$errors" ] || fail "$*: no reason given"
}

refused --seconds
refused --seconds 0
refused --seconds 3x
refused --procs -1
refused --procs 1000
refused --live ''
refused --nonsense
refused nonsense
TRICOLOR=nonsense=1 refused --seconds 1

grep -q -- --seconds <<<"$("$demo" --help)" || fail "--help does not tell of --seconds"

# Its workers run for a second each; the sanitizers make all else slow.
run() {
    local said status=0
    said=$("$demo" --seconds 1 --live 8 "$@") || status=$?
    [ "$status" -eq 0 ] || fail "$*: exit status $status"
    case $said in
        *"all checksums agree"*"longest wait of a mutator for another: "*"resident memory"*) ;;
        *) fail "$*: no table" ;;
    esac
}

# ThreadSanitizer of gcc 12 needs a launcher, and the demo's plain reads are meant to race.
# (No `grep -q`: it would end before nm does, which is a failure of the pipe.)
if nm "$demo" | grep __tsan_init >/dev/null; then exit 77; fi
run
run --threads --procs 2
run --poll
run --trace 2>/dev/null
