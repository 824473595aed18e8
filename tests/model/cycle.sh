#!/usr/bin/env bash
# ctest: timeout=1200 build=release
# The collection cycle never frees what can be reached, and each of its rules is needed: what breaks one of them
# fails (docs/model/README.md).
set -euo pipefail
check=$TRI_SOURCE_DIR/docs/model/check

holds() { "$check" holds cycle "$@"; }
fails() { "$check" fails unreachable cycle "$@"; }

holds -DLOCALS=2 -DOPS=3
base=(-DLOCALS=2 -DOPS=4)
fails "${base[@]}" -DM_BLACK_AT_H1
fails "${base[@]}" -DM_H1_AND_H2_IN_ONE
fails "${base[@]}" -DM_NO_H1B
fails "${base[@]}" -DM_NO_INSERTION
fails "${base[@]}" -DM_NO_DELETION
fails "${base[@]}" -DM_ONE_ROUND
fails "${base[@]}" -DM_ACK_IN_STORE
fails "${base[@]}" -DM_SWEEP_BEFORE_LAST_H5

# Full buffers, and a second marker.
holds -DFILL -DOPS=3
fails -DMAKE -DFILL -DOPS=3 -DM_SHADE_AFTER_DONE
holds -DFINE -DFILL -DOPS=2
holds -DGUEST -DFINE -DFILL -DMUTATORS=1 -DOPS=3
"$check" fails nobody_marked cycle -DGUEST -DFINE -DFILL -DMUTATORS=1 -DLOCALS=2 -DOPS=4 -DM_ACTIVE_NOT_CHECKED_BEFORE

# Buffers that are handed over.
holds -DFILL -DBLOCKS -DOPS=2
fails -DFILL -DBLOCKS -DOPS=3 -DM_BLOCKS_NOT_SHADED
holds -DGUEST -DFILL -DBLOCKS -DMUTATORS=1 -DOPS=3
"$check" fails nobody_marked cycle -DGUEST -DFILL -DBLOCKS -DMUTATORS=1 -DOPS=3 -DM_BLOCKS_TAKEN_IN_A_ROUND

# Reserved runs, two run tables, two bitmaps, initialising stores.
holds -DRUNS -DSTALE -DINIT -DMAKE -DOPS=3
fails -DRUNS -DOPS=4 -DM_NO_SWITCH
fails -DRUNS -DOPS=4 -DM_COLOUR_AT_ISSUE
holds -DBITS -DSTALE -DOPS=3
"$check" fails unread cycle -DBITS -DSTALE -DOPS=4 -DM_ALLOC_BIT_FIRST

# Store buffers.
holds -DTSO=1 -DOPS=2
fails -DTSO=1 -DOPS=3 -DM_NO_FENCE

# A thread that comes and goes.
holds -DATTACH -DOPS=3
fails -DATTACH -DOPS=4 -DM_ATTACHED_DOES_NOT_SHADE
fails -DATTACH -DOPS=4 -DM_BUFFER_LOST_AT_DETACH

# Marking before H2 is complete, which design allows and the implementation does not do.
holds -DLOCALS=2 -DEARLY -DSTALE -DINIT -DOPS=2
fails -DLOCALS=2 -DEARLY -DSTALE -DINIT -DOPS=3 -DM_INIT_WITHOUT_SHADING
fails -DLOCALS=2 -DEARLY -DSTALE -DMAKE -DOPS=3
