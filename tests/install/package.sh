#!/usr/bin/env bash
# The installed library can be used: a program out of tree finds it with CMake and with pkg-config, links the shared
# and the static library, and runs.
set -euo pipefail

if [ ! -f "$TRI_SOURCE_DIR/include/tricolor/tricolor.h" ]; then
    echo "there is no public header yet"
    exit 77
fi

consumer=$TRI_SOURCE_DIR/tests/install/consumer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

"$TRI_CMAKE" --install "$TRI_BUILD_DIR" --prefix "$prefix" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name tricolor.pc)")
export PKG_CONFIG_PATH
libdir=${PKG_CONFIG_PATH%/pkgconfig}
version=$(pkg-config --modversion tricolor)

# runs PROGRAM shared|static: the program says the version, and is linked as it should be
runs() {
    local said needs=static
    said=$(LD_LIBRARY_PATH=$libdir "$1")
    if grep -q 'NEEDED.*libtricolor\.so\.0' <<<"$("$TRI_READELF" -dW "$1")"; then needs=shared; fi
    if [ "$said" != "$version" ] || [ "$needs" != "$2" ]; then
        echo "$(basename "$1"): printed '$said' and is linked $needs; expected '$version' and $2"
        exit 1
    fi
}

"$TRI_CMAKE" -S "$consumer" -B "$work/build" -G Ninja -D CMAKE_C_COMPILER="$TRI_CC" \
    -D CMAKE_PREFIX_PATH="$prefix" >/dev/null
"$TRI_CMAKE" --build "$work/build" -- --quiet
runs "$work/build/with_shared" shared
runs "$work/build/with_static" static

# pkg-config has no word for "this one static": a user names the archive instead.
read -ra cflags <<<"$(pkg-config --cflags tricolor)"
read -ra libs <<<"$(pkg-config --libs tricolor)"
read -ra static_libs <<<"$(pkg-config --static --libs tricolor)"
"$TRI_CC" "${cflags[@]}" "$consumer/main.c" -o "$work/pkg_shared" "${libs[@]}"
"$TRI_CC" "${cflags[@]}" "$consumer/main.c" -o "$work/pkg_static" "${static_libs[@]/#-ltricolor/-l:libtricolor.a}"
runs "$work/pkg_shared" shared
runs "$work/pkg_static" static

# Nothing of the machine that built it stands in what is installed.
if grep -rlF -e "$TRI_SOURCE_DIR" -e "$TRI_BUILD_DIR" "$libdir/pkgconfig" "$libdir/cmake"; then
    echo "the files above name the folder of the build"
    exit 1
fi
