#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The patterns of qemu's iotests 013, 014 and 023, fewer of each: groups of
# whole clusters, tails, heads, middles, requests across cluster and L2 table
# boundaries, at 0 and at 4 GiB of a 6 GiB disk; then the same disk
# compressed.  Each group writes the low byte of its sector number.

source "$(dirname "$0")/functions.sh"

four=$((4 << 30))

# group COUNT OFFSET SIZE STEP: print qemu-io writes.
group ()
{
    local i p=$(($2 / 512 % 256))
    for ((i = 0; i < $1; i++)); do
        echo "write -q -P $p $(($2 + i * $4)) $3"
    done
}

# patterns OFFSET CLUSTER: print all groups from OFFSET on.
patterns ()
{
    local at=$1 c=$2 h=$(($2 / 2)) n=24 l2
    # whole clusters
    group $n "$at" "$c" "$c"
    at=$((at + n * c))
    # from the middle of a cluster to its end
    group $n $((at + h)) $h "$c"
    at=$((at + n * c))
    # from its beginning to the middle
    group $n $at $h "$c"
    at=$((at + n * c))
    # the middle of each cluster
    group $n $((at + c / 4)) $h "$c"
    at=$((at + n * c))
    # across several clusters
    group 8 $((at + h)) $((c * 2)) $((c * 3))
    at=$((at + 8 * c * 3))
    # across L2 tables, if they are small
    l2=$((c * c / 8))
    if [ $l2 -le $((2 << 20)) ]; then
        group 4 $((at + h)) $((l2 * 2)) $((l2 * 2 + c * 5))
    fi
}

# compare NAME: read the image with a client that requests the map first, with
# one that does not, and at odd offsets in the two areas.
compare ()
{
    local out rc name=$1
    # shellcheck disable=SC2016
    out=$(with_qcow 'qemu-img compare -f raw -F raw oracle.raw "$uri" &&
        py "$gen/nbd-compare.py" "$uri" oracle.raw --random 20 &&
        "$python" ranges.py "$uri" oracle.raw' -- image.qcow2 2>&1); rc=$?
    if [ $rc -eq 0 ]; then
        pass "$name"
    else
        fail "$name" "$out"
    fi
}

# Read every byte of the two areas in requests of an odd length.
cat > ranges.py <<END
import os, sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
fd = os.open(sys.argv[2], os.O_RDONLY)
size = h.get_size()
for start in (0, $four):
    at, length = start, 0
    step = 99_991
    while at < start + int(os.environ["AREA"]):
        n = min(step, size - at)
        got, wanted = h.pread(n, at), os.pread(fd, n, at)
        if got != wanted:
            i = next(i for i in range(n) if got[i] != wanted[i])
            sys.exit("%d bytes at %d: byte %d is %02x instead of %02x"
                     % (n, at, at + i, got[i], wanted[i]))
        at += step
END

for cluster in 512 1024 4096 16384 65536; do
    qemu-img create -q -f qcow2 -o cluster_size=$cluster image.qcow2 6G
    { patterns 0 $cluster; patterns $four $cluster; } > script
    export AREA
    AREA=$(awk '$5 < 4294967296 { e = $5 + $6 } e > m { m = e }
                END { printf "%d", m + 65536 }' script)
    io_script image.qcow2 < script
    oracle image.qcow2 oracle.raw
    compare "clusters of $cluster"
    qemu-img convert -c -f qcow2 -O qcow2 -o cluster_size=$cluster \
             image.qcow2 compressed.qcow2
    mv compressed.qcow2 image.qcow2
    compare "clusters of $cluster, compressed"
    rm -f image.qcow2 oracle.raw
done

# Iotest 014: the cluster pattern data, data, unallocated, data, compressed,
# compressed, unallocated, unallocated, compressed.  A snapshot between the
# two halves: the active tables have clusters with and without COPIED.
qemu-img create -q -f qcow2 -o cluster_size=4096 image.qcow2 6G
nine ()
{
    local i at p=165
    for ((i = 0; i < 64; i++)); do
        at=$(($1 + i * 9 * 4096))
        echo "write -q -P $p $at 8192"
        echo "write -q -P $((p + 1)) $((at + 3 * 4096)) 4096"
        echo "write -q -c -P $((p + 2)) $((at + 4 * 4096)) 4096"
        echo "write -q -c -P $((p + 3)) $((at + 5 * 4096)) 4096"
        echo "write -q -c -P $((p + 4)) $((at + 8 * 4096)) 4096"
    done
}
io_script image.qcow2 < <(nine 0)
qemu-img snapshot -c one image.qcow2
io_script image.qcow2 < <(nine $four)
io_script image.qcow2 < <(group 32 2048 1024 8192)
qemu-img snapshot -c two image.qcow2
oracle image.qcow2 oracle.raw
AREA=$((64 * 9 * 4096 + 65536))
compare "alternating compressed and plain clusters, with snapshots"

done_testing
