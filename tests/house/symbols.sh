#!/usr/bin/env bash
# What the libraries show: the shared one exports names of the public interface alone, the static one defines only
# names with a prefix of ours, so that neither can collide with a user's. And nobody asks for an executable stack.
set -euo pipefail

bad=0

# Names that a sanitizer or the linker makes.
made_by_tools='^(__odr_asan|__asan_|__tsan_|__ubsan_|__sanitizer_|DW\.ref\.)'

exported=$("$TRI_NM" -D --defined-only "$TRI_SHARED_LIBRARY" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }')
if grep -vE "^tri_" <<<"$exported" | grep -v '^$'; then
    echo "the shared library exports the names above, which do not begin with tri_"
    bad=1
fi

defined=$("$TRI_NM" -g --defined-only "$TRI_STATIC_LIBRARY" 2>/dev/null | awk 'NF == 3 { print $3 }')
if grep -vE "^(tri|os|heap|barrier|gc|sched|inspect)_" <<<"$defined" | grep -vE "$made_by_tools" | grep -v '^$'; then
    echo "the static library defines the names above, which have none of the prefixes of the rooms"
    bad=1
fi

# Every function of the public headers that is built in is exported: a forgotten TRI_API shows only in a user's link.
hidden=$(comm -23 <(grep -E '^tri_' <<<"$defined" | sort -u) <(sort -u <<<"$exported"))
declared=$(cat "$TRI_SOURCE_DIR"/include/tricolor/*.h 2>/dev/null || true)
for name in $hidden; do
    if grep -qE "\\b$name\\b" <<<"$declared"; then
        echo "$name is declared in a public header but not exported"
        bad=1
    fi
done

stack=$("$TRI_READELF" -lW "$TRI_SHARED_LIBRARY" | grep GNU_STACK || true)
if grep -q 'RWE' <<<"$stack"; then
    echo "the shared library asks for an executable stack: an assembly file lacks its .note.GNU-stack section"
    bad=1
fi
soname=$("$TRI_READELF" -dW "$TRI_SHARED_LIBRARY" | grep SONAME)
if ! grep -qF '[libtricolor.so.0]' <<<"$soname"; then
    echo "unexpected: $soname"
    bad=1
fi
exit $bad
