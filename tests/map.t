#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The map (block status) equals that of 'qemu-nbd -r' line by line, if the
# image file has no holes.  Data clusters in a hole of the file are "zero";
# qemu reports that only for images that seem to have only their metadata
# preallocated.
#
# Also: huge images with extents that do not fit in 32 bits, and requests for
# a single extent.

source "$(dirname "$0")/functions.sh"

# as_qemu NAME IMAGE: the map equals qemu-nbd's.
as_qemu ()
{
    qemu_map "$2" > wanted.map || { fail "$1: qemu-nbd"; return; }
    our_map "$2" > got.map || { fail "$1: our map"; return; }
    if [ -s wanted.map ]; then
        same_text "$1" got.map wanted.map
    else
        fail "$1: qemu's map is empty"
    fi
}

# as_file NAME IMAGE: the map follows from the image and the holes of its
# file.  The result of SEEK_HOLE for fallocated space changes when a page of
# it enters the page cache, which reading nearby metadata can cause: so repeat
# the comparison until it is stable.
as_file ()
{
    local try
    for try in 1 2 3 4; do
        our_map "$2" > got.map || { fail "$1: our map"; return; }
        py "$gen/expected-map.py" "$2" > wanted.map ||
            { fail "$1: expected-map.py"; return; }
        ! cmp -s got.map wanted.map || break
    done
    same_text "$1" got.map wanted.map
}

# Random images, with and without holes in the file.
seed=${QCOW_SEED:-777}
for spec in 512:1.1:700 512:0.10:700 4096:1.1:300 65536:1.1:100 \
            65536:0.10:100 1048576:1.1:12; do
    IFS=: read -r cluster compat clusters <<< "$spec"
    seed=$((seed + 1))
    random_image image.qcow2 $seed $((cluster * clusters)) "$cluster" \
                 $((clusters / 2 + 40)) compat="$compat"
    as_file "clusters of $cluster, compat $compat, seed $seed, with holes" \
            image.qcow2
    dense image.qcow2
    as_qemu "clusters of $cluster, compat $compat, seed $seed, dense" \
            image.qcow2
done

# Every step of iotest 179: zeros over everything, with and without unmap.
qemu-img create -q -f qcow2 image.qcow2 64M
io image.qcow2 'write -z -u 2M 2M' 'write -z 6M 2M' \
   'write -z -u 9M 1M' 'write -z 10M 2M' 'write -z -u 12M 1M' \
   'write 17M 1M' 'write -z -u 18M 1M' 'write 20M 1M' 'write -z 21M 1M' \
   'write 24M 4M' 'write -z -u 25M 1M' 'write -z 26M 1M' \
   'write -z -u 28M 1M' 'write 28M 512' 'write -z 30M 1M' \
   'discard 31M 512k' 'write -c -P 1 40M 128k' 'write 41M 64k' \
   'discard 41M 64k'
dense image.qcow2
as_qemu "iotest 179: zeros, with and without unmap" image.qcow2

# Preallocation.
for cluster in 512 4096 65536 2097152; do
    for mode in metadata falloc full; do
        size=20M
        [ $cluster -gt 512 ] || size=3M
        rm -f image.qcow2
        qemu-img create -q -f qcow2 \
                 -o cluster_size=$cluster,preallocation=$mode \
                 image.qcow2 $size
        io image.qcow2 'write -P 1 1M 64k' 'write -P 2 1500k 512' \
           'write -z 2M 64k'
        as_file "preallocation=$mode, clusters of $cluster" image.qcow2
        oracle image.qcow2 oracle.raw
        serves "preallocation=$mode, clusters of $cluster: same bytes" \
               image.qcow2 oracle.raw --cluster $cluster --borders 50
        # Here qemu checks for holes, too.
        [ $mode != metadata ] ||
            as_qemu "preallocation=$mode, clusters of $cluster, as qemu" \
                    image.qcow2
        dense image.qcow2
        as_qemu "preallocation=$mode, clusters of $cluster, dense" image.qcow2
    done
done

# A sparse copy of an image with clusters of zeros: these become holes.
rm -f disk.raw
truncate -s 8M disk.raw
dd if=src0 of=disk.raw bs=1M count=1 seek=2 conv=notrunc status=none
qemu-img convert -S 0 -f raw -O qcow2 disk.raw full.qcow2
cp --sparse=always full.qcow2 image.qcow2
as_file "a sparse copy of the file" image.qcow2
like "... some of it is zero but allocated" "$(our_map image.qcow2)" \
     ' 2  zero'
serves "... same bytes" image.qcow2 disk.raw

# Huge and empty: the map is one extent.
for size in 10T 16T; do
    for cluster in 65536 2097152; do
        qemu-img create -q -f qcow2 -o cluster_size=$cluster image.qcow2 $size
        as_qemu "$size, empty, clusters of $cluster" image.qcow2
    done
done
# 512-byte clusters: as large as the L1 table's limit allows.
qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 100G
as_qemu "100 GiB, empty, clusters of 512" image.qcow2

# Extents of 4 GiB and more of each kind: explicit zeros, and data clusters in
# holes of the file.
qemu-img create -q -f qcow2 -o cluster_size=2M,preallocation=metadata \
         image.qcow2 64G
as_qemu "64 GiB, metadata preallocated" image.qcow2
qemu-img create -q -f qcow2 -o cluster_size=2M image.qcow2 64G
io image.qcow2 'write -q -P 1 5G 4k' 'write -q -z -u -n 10G 20G'
dense image.qcow2
as_qemu "64 GiB, holes and explicit zeros in turn" image.qcow2

# The server survives such a map.
qemu-img create -q -f qcow2 image.qcow2 16T
io image.qcow2 'write -q -P 5 9T 64k'
if start_qcow -- image.qcow2; then
    ok "nbdinfo --map of 16 TiB" nbdinfo --map "$uri"
    ok "nbdinfo --map --totals" nbdinfo --map --totals "$uri"
    ok "... the server still responds" \
       qemu-io -r -f raw -c 'read -P 5 9T 64k' "$uri"
    stop_qcow || fail "the server exits cleanly"
fi

# Block status as clients may request it: any offset, any length, one extent
# or all.  Each response is compared with qemu-nbd's map.
cat > status.py <<'END'
import random, sys, nbd

uri, path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
runs = []
for line in open(path):
    start, length, flags = line.split()[:3]
    runs.append((int(start), int(length), int(flags)))
size = runs[-1][0] + runs[-1][1]

def wanted(offset, count):
    out = []
    for start, length, flags in runs:
        low, high = max(start, offset), min(start + length, offset + count)
        if low < high:
            out.append((high - low, flags))
    return out

def longest(offset):
    return next((s + l - offset, f) for s, l, f in runs
                if s <= offset < s + l)

h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(uri)

def ask(count, offset, flags):
    got = []
    def callback(context, at, entries, error):
        assert at == offset
        got.extend(zip(entries[0::2], entries[1::2]))
    h.block_status(count, offset, callback, flags)
    return got

def clip(entries, count):
    out = []
    for length, flags in entries:
        length = min(length, count)
        if length:
            out.append((length, flags))
        count -= length
    return out

def complain(*what):
    sys.exit(" ".join(map(str, what)) + "; seed %d" % seed)

rng = random.Random(seed)
places = [(0, size), (size - 1, 1), (0, 1)]
for start, length, _ in runs:
    places += [(start, length), (start, 1), (start + length - 1, 1)]
    if start:
        places += [(start - 1, 2), (start - 1, min(size - start, 4096) + 1)]
for _ in range(300):
    offset = rng.randrange(size)
    places.append((offset, rng.randrange(1, size - offset + 1)))
for offset, count in places:
    count = min(count, 0xffffffff)
    got = ask(count, offset, 0)
    # A response may be shorter than the request, or longer in its last
    # extent.  It must be correct and not empty.
    covered = sum(l for l, f in got)
    if not got or not covered:
        complain("no extent at", offset)
    if clip(got, count) != wanted(offset, min(count, covered)):
        complain(count, "at", offset, ": got", clip(got, count)[:9],
                 "wanted", wanted(offset, count)[:9])
    if len(got) > 1 and any(a[1] == b[1] for a, b in zip(got, got[1:])):
        complain(count, "at", offset, ": not merged:", got[:9])
    one = ask(count, offset, nbd.CMD_FLAG_REQ_ONE)
    if len(one) != 1:
        complain("REQ_ONE at", offset, "gave", len(one))
    length, flags = one[0]
    most, kind = longest(offset)
    if flags != kind or min(length, count) != min(most, count):
        complain("REQ_ONE", count, "at", offset, "gave", one,
                 "instead of", (most, kind))
END
for cluster in 512 65536; do
    seed=$((seed + 1))
    size=$((700 * cluster))
    random_image image.qcow2 $seed $size $cluster 150
    dense image.qcow2
    qemu_map image.qcow2 > wanted.map
    export seed
    # shellcheck disable=SC2016
    ok "block status at any offset and length, clusters of $cluster" \
       with_qcow 'py status.py "$uri" wanted.map $seed' -- image.qcow2
done

done_testing
