#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every cluster size, in versions 2 and 3, uncompressed, zlib and zstd: the
# served disk equals the one that 'qemu-img convert' made the image from.  It
# has text, random data, zeros and holes, so all kinds of clusters occur.

source "$(dirname "$0")/functions.sh"

# make_disk SIZE: write disk.raw, with holes, zeros, incompressible random
# bytes and compressible text, in pieces that start and end inside clusters.
make_disk ()
{
    py - "$1" disk.raw <<'END'
import random, sys
size, path = int(sys.argv[1]), sys.argv[2]
rng = random.Random(size)
with open(path, "wb") as f:
    f.truncate(size)
    at = 0
    while at < size:
        n = min(size - at, rng.randrange(1, max(2, size // 12)))
        kind = rng.choice(("hole", "zeros", "random", "text", "text"))
        f.seek(at)
        if kind == "zeros":
            f.write(bytes(n))
        elif kind == "random":
            f.write(rng.randbytes(n))
        elif kind == "text":
            f.write(b"".join(b"%09d\n" % (at + i)
                             for i in range(0, n + 9, 10))[:n])
        at += n
END
}

for bits in 9 10 11 12 13 14 15 16 17 18 19 20 21; do
    cluster=$((1 << bits))
    # At least 7 clusters, a partial last cluster, and more than one L2 table
    # if tables are small.
    size=$((cluster * 7))
    [ $size -ge 1500000 ] || size=1500000
    size=$((size / 512 * 512 + 512))
    make_disk $size
    for variant in v2 v2-zlib v3 v3-zlib v3-zstd; do
        case $variant in
            v2*) create=compat=0.10 ;;
            v3-zstd) create=compat=1.1,compression_type=zstd ;;
            v3*) create=compat=1.1 ;;
        esac
        case $variant in
            *-*) compress=-c ;;
            *) compress= ;;
        esac
        # shellcheck disable=SC2086
        qemu-img convert -f raw -O qcow2 $compress \
                 -o $create,cluster_size=$cluster disk.raw image.qcow2
        if [ -n "$compress" ]; then
            qemu-img check --output=json image.qcow2 > check.json
            [[ $(< check.json) =~ '"compressed-clusters": '[1-9] ]] ||
                { diag "$variant: no cluster is compressed"; exit 1; }
        fi
        serves "$variant, clusters of $cluster" image.qcow2 disk.raw \
               --cluster $cluster --borders 60 --random 100 --seed $bits
    done
done

done_testing
