#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/check-i386.sh: check gcc's and clang's warnings with a 32-bit size_t,
# in seconds and without libraries for i386.  clang also warns of misaligned
# 64-bit atomics.
#
# The headers in x86_64-linux-gnu work for i386, too, except for one that only
# lists missing functions.  On other architectures this checks nothing.

set -e -u
cd "$(dirname "$0")/.."

headers=/usr/include/x86_64-linux-gnu
if [ ! -d $headers/gnu ]; then
    echo "i386: skipped: no directory $headers"
    exit 0
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/qcow-i386.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/gnu"
touch "$dir/gnu/stubs-32.h"

for_i386 ()
{
    find ./*.c qcow tests/unit tests/faults.c -name "*.c" -print0 |
    xargs -0 -P2 -n8 "$@" -fsyntax-only -O2 -std=gnu11 -pthread \
          -isystem "$dir" -isystem $headers -I. -Iqcow -D_GNU_SOURCE \
          -D_FILE_OFFSET_BITS=64 -DVERSION='""' \
          -Wall -Wextra -Wshadow -Wvla -Wconversion -Werror
}
for_i386 gcc -m32
for_i386 clang --target=i686-linux-gnu
