#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Virtual sizes: 0, 1, 512, 64 KiB, 1 MiB + 1, 16 TiB and others that are not
# a multiple of 512 or of the cluster size.  Checks the size, every byte, a
# map that covers exactly the disk, and an error beyond the end.
#
# qemu rounds sizes down to 512.  So for an odd size the test creates the
# image with the size rounded up, then pokes the size field; the oracle is
# qemu's output for the larger image, truncated.

source "$(dirname "$0")/functions.sh"

text_source $((2 << 20)) src0

# edges.py URI SIZE: reads that touch the end must succeed, reads beyond it
# must fail.
cat > edges.py <<'END'
import sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
size = int(sys.argv[2])
assert h.get_size() == size, "the size is %d" % h.get_size()
h.set_strict_mode(0)
for count, offset in ((1, size), (2, max(0, size - 1)), (512, size),
                      (512, size + (1 << 40)), (size % (1 << 20) + 1,
                      size - size % (1 << 20))):
    try:
        h.pread(count, offset)
    except nbd.Error:
        continue
    sys.exit("%d bytes at %d could be read" % (count, offset))
if size:
    h.pread(1, size - 1)
END

# check NAME SIZE [RAW]: the size, the edges, the map, and the bytes of RAW.
check ()
{
    local name=$1 size=$2 raw=${3:-}
    export size
    # shellcheck disable=SC2016
    ok "$name: reads at and past the end, length of the map" \
       with_qcow '"$python" edges.py "$uri" $size && nbdinfo --size "$uri" &&
           nbdinfo --map "$uri" |
           awk -v size="$size" "{ s += \$2 } END { exit s != size }"' \
       -- image.qcow2
    [ -z "$raw" ] ||
        serves "$name: same bytes" image.qcow2 "$raw" --cluster 512
}

# make SIZE CLUSTER KIND: create image.qcow2 of that exact size, full of data,
# and oracle.raw.
make ()
{
    local size=$1 cluster=$2 kind=$3 up=$((($1 + 511) / 512 * 512))
    rm -f image.qcow2
    head -c "$up" src0 > disk.raw
    case $kind in
        plain) qemu-img convert -f raw -O qcow2 -o cluster_size="$cluster" \
                        disk.raw image.qcow2 ;;
        zlib) qemu-img convert -c -f raw -O qcow2 -o cluster_size="$cluster" \
                        disk.raw image.qcow2 ;;
        zstd) qemu-img convert -c -f raw -O qcow2 \
                      -o cluster_size="$cluster",compression_type=zstd \
                      disk.raw image.qcow2 ;;
        zero) qemu-img create -q -f qcow2 -o cluster_size="$cluster" \
                      image.qcow2 $up
              [ $up -eq 0 ] || io image.qcow2 "write -q -z -u 0 $up" ;;
        empty) qemu-img create -q -f qcow2 -o cluster_size="$cluster" \
                      image.qcow2 $up ;;
    esac
    oracle image.qcow2 oracle.raw
    truncate -s "$size" oracle.raw
    poke image.qcow2 24 "$(printf %016x "$size")"
}

for kind in plain zlib zstd zero empty; do
    for spec in 0:65536 1:65536 511:512 512:65536 513:512 1000:65536 \
                65535:4096 65536:65536 65537:65536 1048577:65536 \
                1048577:512 1048575:4096; do
        IFS=: read -r size cluster <<< "$spec"
        [ "$size$kind" != 0zero ] || continue
        make "$size" "$cluster" $kind
        if [ $kind = plain ] || [ "$size" = 1048577 ]; then
            check "$kind, $size, clusters of $cluster" "$size" oracle.raw
        else
            serves "$kind, $size, clusters of $cluster" \
                   image.qcow2 oracle.raw --cluster "$cluster"
        fi
    done
done

# An image file smaller than the first read of it.
make 4096 512 plain
is "the image file is smaller than 16 KiB" \
   $(($(stat -c %s image.qcow2) < 16384)) 1
check "a small image file" 4096 oracle.raw

# More L1 entries than the size needs, as VM state leaves behind; here the
# size field is poked.
make 1048576 512 plain
poke image.qcow2 24 "$(printf %016x 100000)"
truncate -s 100000 oracle.raw
check "an L1 table longer than needed" 100000 oracle.raw

# 16 TiB, with data at each end, at 4 GiB and at 8 TiB.
tera=$((16 << 40))
for cluster in 65536 2097152; do
    qemu-img create -q -f qcow2 -o cluster_size=$cluster image.qcow2 16T
    io image.qcow2 "write -q -P 1 0 512" \
       "write -q -P 2 $(((4 << 30) - 512)) 1024" \
       "write -q -P 3 $(((8 << 40) - 512)) 1024" \
       "write -q -P 4 $((tera - 512)) 512"
    check "16 TiB, clusters of $cluster" $tera
    # shellcheck disable=SC2016
    out=$(with_qcow 'qemu-io -r -f raw "$uri" \
        -c "read -P 1 0 512" -c "read -P 0 512 4096" \
        -c "read -P 0 4294966272 512" -c "read -P 2 4294966784 1024" \
        -c "read -P 0 4294967808 1M" \
        -c "read -P 3 8796093021696 1024" -c "read -P 0 8796093022720 2M" \
        -c "read -P 0 17592186042880 1024" -c "read -P 4 17592186043904 512" \
        -c "read -P 4 17592186044415 1"' -- image.qcow2 2>&1); rc=$?
    is "16 TiB, clusters of $cluster: the reads succeed" $rc 0
    unlike "16 TiB, clusters of $cluster: the bytes are right" "$out" \
           'failed|Pattern|error'
done

done_testing
