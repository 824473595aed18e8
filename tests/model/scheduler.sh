#!/usr/bin/env bash
# ctest: timeout=1200 build=release
# Run queues lose no coroutine and run none twice; a wake-up reaches its coroutine, once, although the machines are
# about to sleep; each of the rules behind that is needed (docs/model/README.md).
set -euo pipefail
check=$TRI_SOURCE_DIR/docs/model/check

"$check" holds runq
"$check" fails once runq -DM_TAIL_BEFORE_ENTRY
"$check" fails once runq -DM_READ_AFTER_CAS
"$check" fails once runq -DM_STEAL_WITHOUT_CAS
"$check" fails once runq -DM_GET_WITHOUT_CAS
"$check" fails once runq -DM_OVERFLOW_WITHOUT_CAS
"$check" fails once runq -DM_RUNNEXT_WITHOUT_CAS
"$check" fails once runq -DM_RUNNEXT_WITHOUT_EXCHANGE

"$check" holds park
"$check" holds park -DPS=2
"$check" fails claimed park -DM_TAKEN_TWICE
"$check" fails woken park -DM_WAKE_WITHOUT_CAS
"$check" fails claimed park -DM_FINDABLE_BEFORE_PARKING
"$check" fails resumable park -DPS=2 -DM_PUBLISH_BEFORE_SAVE
"$check" fails ended park -DM_PARK_WITHOUT_CAS
"$check" fails ended park -DM_IDLE_WITHOUT_LOOK
"$check" fails ended park -DM_LOOK_BEFORE_STOP_SPINNING
"$check" fails ended park -DM_NO_RECHECK
"$check" fails ended park -DM_RESET_WAKE_LATE
