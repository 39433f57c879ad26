#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Feature bits, and all other parts of an image that do not affect a reader.
# Unknown incompatible bits are refused with the name in the feature table.
# These are served: unknown compatible and autoclear bits, unknown header
# extensions, snapshots, VM state, bitmaps, refcounts of any width, resized and
# amended images; dirty and corrupt images with one warning.

source "$(dirname "$0")/functions.sh"

text_source $((1 << 20)) src0 src1
head -c 1M src0 > disk.raw
qemu-img convert -f raw -O qcow2 disk.raw base.qcow2

# served NAME [REGEX]: passes if image.qcow2 reads as in qemu and the server
# prints one matching warning, or nothing without REGEX.
served ()
{
    oracle image.qcow2 oracle.raw
    serves "$1" image.qcow2 oracle.raw --cluster 65536 --random 30
    with_qcow true -- image.qcow2 2> messages
    if [ $# -gt 1 ]; then
        is "$1: one warning" "$(grep -ci warning messages)" 1
        like "$1: the message" "$(cat messages)" "image\\.qcow2.*($2)"
    else
        is "$1: no message" "$(cat messages)" ""
    fi
}

# Find the feature table: the extension of type 0x6803f857.
at=112
while [ "$(peek base.qcow2 $at 4)" != $((0x6803f857)) ]; do
    at=$((at + 8 + ($(peek base.qcow2 $((at + 4)) 4) + 7) / 8 * 8))
    [ $at -lt 4000 ] || { diag "no feature table"; exit 1; }
done
table=$((at + 8))
hex () { printf %s "$1" | xxd -p; }

# Unknown incompatible bits, without a name (iotest 036).
for bit in 5 40 61 62 63; do
    cp base.qcow2 image.qcow2
    poke image.qcow2 72 "$(printf %016x $((1 << bit)))"
    refused "unknown incompatible bit $bit: refused" 'image\.qcow2.*incompatible.*' \
            -- image.qcow2
done
cp base.qcow2 image.qcow2
poke image.qcow2 72 e000000000000000
poke image.qcow2 $table 003f"$(hex 'Test feature')"00
poke image.qcow2 $((table + 48)) 003d"$(hex 'Another one')"00
refused "the message has the name from the table" 'image\.qcow2.*Test feature' -- image.qcow2
refused "... the second name, too" 'image\.qcow2.*Another one' -- image.qcow2
# Names of compatible or autoclear features are not used.
for kind in 01 02; do
    cp base.qcow2 image.qcow2
    poke image.qcow2 72 8000000000000000
    poke image.qcow2 $table ${kind}3f"$(hex 'Wrong feature')"00
    out=$(with_qcow true -- image.qcow2 2>&1)
    unlike "the name of kind $kind is not used" "$out" 'Wrong feature'
    like "... the image is refused" "$out" 'image\.qcow2.*incompatible'
done
# A name of the full 46 bytes; one with control characters.
cp base.qcow2 image.qcow2
poke image.qcow2 72 8000000000000000
name=$(printf 'x%.0s' {1..46})
poke image.qcow2 $table 003f"$(hex "$name")"
out=$(with_qcow true -- image.qcow2 2>&1)
like "a name without a NUL" "$out" "$name([^x]|\$)"
poke image.qcow2 $table 003f1b5b33316d
out=$(with_qcow true -- image.qcow2 2>&1)
is "an escape character in a name is not printed" \
   "$(tr -cd '\033' <<< "$out" | wc -c)" 0

# Bits that a reader may ignore.
cp base.qcow2 image.qcow2
poke image.qcow2 80 ffffffffffffffff
served "unknown compatible bits"
cp base.qcow2 image.qcow2
poke image.qcow2 88 fffffffffffffffc
served "unknown autoclear bits"
# Version 2 has no such fields: an extension starts there.
qemu-img convert -f raw -O qcow2 -o compat=0.10 disk.raw image.qcow2
poke image.qcow2 72 12345678000000105555555555555555aaaaaaaaaaaaaaaa
poke image.qcow2 96 0000000000000000
served "version 2: bytes from 72 on are not feature bits"

# Header extensions.
cp base.qcow2 image.qcow2
poke image.qcow2 $((table - 8)) 12345678
served "an unknown extension"
cp base.qcow2 image.qcow2
poke image.qcow2 $((table - 8)) 0000000000000000ffffffffffffffff
served "bytes after the last extension are ignored"

# Dirty (iotest 039) and corrupt (iotest 060).
qemu-img create -q -f qcow2 -o lazy_refcounts=on image.qcow2 1M
(qemu-io -f qcow2 -t writethrough -c 'write -P 0x5a 0 512' -c 'sigraise 9' \
         image.qcow2; true) > /dev/null 2>&1
is "qemu sets the dirty bit" "$(peek image.qcow2 79 1)" 1
served "dirty" 'dirty'
cp base.qcow2 image.qcow2
poke image.qcow2 79 02
served "corrupt" 'corrupt'
poke image.qcow2 79 03
oracle image.qcow2 oracle.raw
serves "dirty and corrupt: served" image.qcow2 oracle.raw --random 30

# Lazy refcounts and refcounts of every width (iotest 112).
qemu-img convert -f raw -O qcow2 -o lazy_refcounts=on disk.raw image.qcow2
served "lazy refcounts"
for bits in 1 2 4 8 16 32 64; do
    qemu-img convert -f raw -O qcow2 -o refcount_bits=$bits \
             disk.raw image.qcow2
    served "refcounts of $bits bits"
done

# Refcounts are ignored: an unaligned block (iotest 060), then garbage.
cp base.qcow2 image.qcow2
poke image.qcow2 $((0x10000)) 0000000000022a00
served "an unaligned refcount block"
cp base.qcow2 image.qcow2
head -c 64K /dev/urandom |
    dd of=image.qcow2 bs=64K seek=2 conv=notrunc status=none
served "refcounts of garbage"

# The active state is served, whatever the snapshots contain.
cp base.qcow2 image.qcow2
qemu-img snapshot -c one image.qcow2
io image.qcow2 'write -q -P 1 0 100k' 'discard -q 512k 64k' \
   'write -q -z 640k 64k'
qemu-img snapshot -c two image.qcow2
io image.qcow2 'write -q -P 2 50k 100k'
served "snapshots"
# VM state is mapped beyond the disk's end by the same tables.
qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 100K
io image.qcow2 'write -q -P 3 0 100k' 'write -q -b -P 9 0 64k'
qemu-img snapshot -c state image.qcow2
oracle image.qcow2 oracle.raw
serves "VM state is not visible" image.qcow2 oracle.raw --cluster 512
is "VM state does not affect the size" \
   "$(with_qcow 'nbdinfo --size "$uri"' -- image.qcow2)" 102400

# Bitmaps.
cp base.qcow2 image.qcow2
qemu-img bitmap --add image.qcow2 b0
qemu-img bitmap --add --disable -g 4k image.qcow2 b1
served "bitmaps"

# Images that were grown, shrunk, and downgraded with zero clusters (iotest
# 061).
cp base.qcow2 image.qcow2
qemu-img resize -q image.qcow2 100G
io image.qcow2 'write -q -P 5 99G 64k'
# shellcheck disable=SC2016
ok "grown: equal to qemu-img's view" with_qcow \
   'qemu-img compare -f raw -F qcow2 "$uri" image.qcow2' -- image.qcow2
qemu-img resize -q --shrink image.qcow2 300K
served "shrunk"
cp base.qcow2 image.qcow2
io image.qcow2 'write -q -z 0 128k' 'write -q -z -u 256k 128k'
qemu-img amend -f qcow2 -o compat=0.10 image.qcow2
is "amended: the header has version 2" "$(peek image.qcow2 4 4)" 2
served "amended to version 2"
qemu-img amend -f qcow2 -o compat=1.1 image.qcow2
served "amended to version 3"
qemu-img amend -f qcow2 -o lazy_refcounts=on,refcount_bits=64 image.qcow2
served "amended refcounts"

# File names with unusual characters.
for name in 'a:b.qcow2' 'file:x' 'with space.qcow2' ' lead' '-dash.qcow2' \
            'key=value.qcow2' $'new\nline' 'ünïcode.qcow2' 'json:{}'; do
    cp base.qcow2 "./$name"
    # shellcheck disable=SC2016
    ok "a file named $name" with_qcow \
       'nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw' \
       -- file="$name"
done

done_testing
