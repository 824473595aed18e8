#!/usr/bin/env bash
# ctest: timeout=1200 build=release
# Stacks that are parked, resumed by other mutators, born and buried, and values that move between them: nothing that
# can be reached is freed, and each rule is needed (docs/model/README.md).
set -euo pipefail
check=$TRI_SOURCE_DIR/docs/model/check

holds() { "$check" holds cycle "$@"; }
fails() { "$check" fails unreachable cycle "$@"; }

holds -DPARK -DOPS=3
fails -DPARK -DOPS=4 -DM_RESUME_WITHOUT_SCAN
fails -DPARK -DOPS=4 -DM_SCANNED_KEPT_IN_BOTH
fails -DPARK -DOPS=4 -DM_PARKED_BEFORE_H1

holds -DPARK -DTRANSFER -DOPS=3
fails -DPARK -DTRANSFER -DOPS=4 -DM_NO_SHADE_ON_PUSH
fails -DPARK -DTRANSFER -DOPS=4 -DM_NO_SHADE_ON_PULL

holds -DPARK -DSPAWN -DOPS=3
fails -DPARK -DSPAWN -DOPS=4 -DM_BORN_SCANNED
fails -DPARK -DSPAWN -DOPS=4 -DM_BORN_SCANNED_IN_BOTH
