#!/usr/bin/env bash
# What the documents say is so: every C block of README.md and docs/ compiles without a warning and, if it has a main(),
# links; the README's programs are those of examples/; its table of options is that of gc/options.c; links lead
# somewhere.
set -euo pipefail

cd "$TRI_SOURCE_DIR"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
fault() {
    echo "$*"
    faults=$((faults + 1))
}

"$TRI_CMAKE" --install "$TRI_BUILD_DIR" --prefix "$work/prefix" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name tricolor.pc)")
export PKG_CONFIG_PATH
read -ra cflags <<<"$(pkg-config --cflags tricolor)"
read -ra libs <<<"$(pkg-config --libs tricolor)"
warnings=(-std=gnu11 -O1 -Wall -Wextra -Wno-unused-function -Wno-unused-variable -Werror)

cat >"$work/prelude.h" <<'HEADERS'
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <tricolor/tricolor.h>
#include <unistd.h>
HEADERS

# Writes the C blocks of a document to $work/<name>.<line>.c, which report errors with the document's lines.
blocks_of() {
    awk -v document="$1" -v stem="$work/$(basename "$1" .md)" '
        /^```c$/ { out = stem "." FNR ".c"; printf "#line %d \"%s\"\n", FNR + 1, document >out; next }
        /^```/ { if (out) close(out); out = "" }
        out { print >out }' "$1"
}

for document in README.md docs/*.md; do blocks_of "$document"; done
blocks=0
for block in "$work"/*.c; do
    blocks=$((blocks + 1))
    command=("$TRI_CC" "${warnings[@]}" "${cflags[@]}" -include "$work/prelude.h" "$block")
    if grep -q '^int main' "$block"; then
        command+=(-o "${block%.c}" "${libs[@]}")
    else
        command+=(-c -o "${block%.c}.o")
    fi
    "${command[@]}" || fault "$(basename "$block"): does not compile"
done
[ "$blocks" -gt 10 ] || fault "only $blocks blocks of C were found"

for block in "$work"/README.*.c; do
    found=
    for example in examples/*.c; do
        if tail -n +2 "$block" | cmp -s - "$example"; then found=$example; fi
    done
    [ -n "$found" ] || fault "$(basename "$block"): is none of examples/*.c"
done

known=$(sed -n 's/^    {"\([a-z]*\)", OPTION_.*/\1/p' gc/options.c | sort)
told=$(awk -F '[|\140 ]+' '/<!-- options-table -->/ { on = 1 } /^$/ { on = 0 } on && /^\| \140/ { print $2 }' README.md | sort)
if [ -z "$known" ] || [ "$known" != "$told" ]; then
    fault "the options in gc/options.c (<) and README.md (>) differ:"
    diff <(echo "$known") <(echo "$told") || true
fi

for document in README.md docs/*.md ./*/README.md; do
    while IFS= read -r link; do
        case $link in http*:* | '#'*) continue ;; esac
        [ -e "$(dirname "$document")/${link%%#*}" ] || fault "$document: nothing at $link"
    done < <(grep -o '](\([^)]*\))' "$document" | sed 's/^](//; s/)$//')
done

[ "$faults" -eq 0 ]
