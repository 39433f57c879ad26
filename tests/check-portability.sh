#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/check-portability.sh: build in ways in which nobody builds every day.
#   - with link-time optimization, which makes gcc look across files
#   - for i386, syntax and warnings only, by gcc and clang: a size_t of 32
#     bits shows what does not fit into memory, and clang what is not atomic
#
# No libraries for i386 are needed: the headers in x86_64-linux-gnu are good
# for both, but for one that only lists missing functions.  Where these
# headers are not, that part is skipped.

set -e -u
cd "$(dirname "$0")/.."

make -s -j2 BUILD=build/lto \
     CFLAGS='-O2 -g -flto=auto -D_FORTIFY_SOURCE=2 -fstack-protector-strong' \
     build/lto/nbdkit-qcow-plugin.so unit

headers=/usr/include/x86_64-linux-gnu
if [ ! -d $headers/gnu ]; then
    echo "i386: skipped, there is no $headers"
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/gnu"
touch "$dir/gnu/stubs-32.h"

for_i386 ()
{
    printf '%s\0' ./*.c qcow/*.c tests/faults.c tests/unit/*.c |
    xargs -0 -P2 -n8 "$@" -fsyntax-only -O2 -std=gnu11 -pthread \
          -isystem "$dir" -isystem $headers -I. -D_GNU_SOURCE \
          -D_FILE_OFFSET_BITS=64 -DVERSION='""' \
          -Wall -Wextra -Wshadow -Wvla -Wconversion -Werror
}
for_i386 gcc -m32
for_i386 clang --target=i686-linux-gnu
