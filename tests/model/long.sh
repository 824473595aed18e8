#!/usr/bin/env bash
# ctest: timeout=7200 build=release long
# More operations, three objects, and the mutations that take millions of states (docs/model/README.md).
set -euo pipefail
check=$TRI_SOURCE_DIR/docs/model/check
export MEMORY=3000

holds() { PAN_FLAGS=-DCOLLAPSE "$check" holds cycle "$@"; }

holds -DFIELDS=1 -DFILL
holds -DLOCALS=2 -DOPS=4
holds -DFILL -DOPS=4
holds -DRUNS -DSTALE -DINIT -DMAKE -DOPS=4
holds -DBITS -DSTALE -DOPS=4
holds -DTSO=1 -DOPS=3
holds -DTSO=2 -DOPS=2
holds -DPARK -DOPS=4
holds -DATTACH -DOPS=4
holds -DFINE -DFILL -DOPS=3
holds -DGUEST -DFINE -DFILL -DBLOCKS -DMUTATORS=1 -DOPS=3
holds -DOBJECTS=3 -DFIELDS=2 -DOPS=3

"$check" fails nobody_marked cycle -DFINE -DFILL -DOPS=4 -DM_NO_NOTE_BEFORE
"$check" fails unreachable cycle -DGUEST -DFINE -DFILL -DMUTATORS=1 -DOBJECTS=3 -DFIELDS=2 -DOPS=4 \
    -DM_ACTIVE_NOT_CHECKED_AFTER

"$check" holds runq -DRING=4 -DGS=5
"$check" holds park -DPS=2 -DWAITS=4
