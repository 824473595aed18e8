#!/usr/bin/env bash
# The tree keeps its rules of inclusion, and the check that says so finds each kind of fault in a tree made for it.
set -euo pipefail

check=$TRI_SOURCE_DIR/.ci/check-includes
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
bad=0

# put FILE LINE...: a file of the tree, headed by a comment
put() {
    local file=$tree/$1
    shift
    mkdir -p "${file%/*}"
    printf '%s\n' '/* A file of a test. */' "$@" >"$file"
}

# expect_fault WORDS: the check fails and says these words; the tree is emptied for the next fault
expect_fault() {
    local said
    if said=$("$check" "$tree" 2>&1); then
        echo "not found: $1"
        bad=1
    elif ! grep -qF -- "$1" <<<"$said"; then
        printf 'expected: %s\nsaid:     %s\n' "$1" "$said"
        bad=1
    fi
    rm -rf "${tree:?}"/*
}

put include/tricolor/a.h '#pragma once' '#include <stddef.h>' '#include <sys/types.h>'
put include/tricolor/b.h '#pragma once' '#include "tricolor/a.h"'
put os/linux/vm.c '#include "os/vm.h"' '#include <linux/futex.h>' '#include "tricolor/a.h"'
put gc/mark.c '#include "mark.h"' '# include "heap/span.h"' '#include <barrier/barrier.h>' '// #include "runtime/x.h"'
put examples/hello.c '#include <tricolor/a.h>'
put tests/gc/mark.c '#include "inspect/dump.h"'
if ! "$check" "$tree"; then
    echo "a tree without fault was found faulty"
    bad=1
fi
rm -rf "${tree:?}"/*

put heap/span.c '#include "gc/mark.h"'
expect_fault 'heap/span.c:2: room heap includes gc/mark.h of the higher room gc'
put os/linux/vm.c '  #  include <inspect/dump.h>'
expect_fault 'os/linux/vm.c:2: room os includes inspect/dump.h'
put runtime/chan.h '#include "../gc/mark.h"'
expect_fault 'write the path from the root'
put gc/mark.c '#include "tests/support/heap.h"'
expect_fault 'room gc includes tests/support/heap.h'
put include/tricolor/a.h '#include "gc/mark.h"'
expect_fault 'a public header includes gc/mark.h'
put include/tricolor/a.h '#include <atomic_ops.h>'
expect_fault 'a public header includes atomic_ops.h'
put examples/hello.c '#include "gc/mark.h"'
expect_fault 'a user sees only tricolor/ headers'
put include/tricolor/a.h 'static inline size_t f(void) { return 0; }'
expect_fault 'does not compile alone in c11'
put include/tricolor/a.h 'static inline int *f(void *p) { return p; }'
expect_fault 'does not compile alone in c++17'
put heap/span_utils.h ''
expect_fault 'heap/span_utils.h: a file is named after its one idea'
put gc/common.c ''
expect_fault 'gc/common.c: a file is named after its one idea'
mkdir -p "$tree/gc" && echo 'int x;' >"$tree/gc/mark.c"
expect_fault 'gc/mark.c: does not begin with a comment'

"$check" "$TRI_SOURCE_DIR" || bad=1
exit $bad
