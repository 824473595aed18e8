#!/usr/bin/env bash
# Each example compiles against the installed package alone, as a user who copies it would find.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$TRI_CMAKE" --install "$TRI_BUILD_DIR" --prefix "$work/prefix" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name tricolor.pc)")
export PKG_CONFIG_PATH
read -ra flags <<<"$(pkg-config --cflags --libs tricolor)"

for example in "$TRI_SOURCE_DIR"/examples/*.c; do
    "$TRI_CC" -std=gnu11 -Wall -Wextra -Werror "$example" -o "$work/$(basename "$example" .c)" "${flags[@]}"
done
