#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images made by random sequences of writes, compressed writes, zero writes
# with and without unmapping, and discards: the plugin serves what 'qemu-img
# convert' reads.
#
# QCOW_SEED=N selects another sequence; a failure names its seed.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-20240}
n=0
for spec in 512:1.1:zlib:600 512:0.10:zlib:600 512:1.1:zstd:600 \
            1024:1.1:zlib:500 2048:1.1:zstd:500 4096:1.1:zlib:500 \
            4096:0.10:zlib:500 8192:1.1:zstd:400 16384:1.1:zlib:400 \
            32768:1.1:zlib:300 65536:1.1:zlib:300 65536:0.10:zlib:300 \
            65536:1.1:zstd:300 131072:1.1:zlib:200 262144:1.1:zstd:150 \
            524288:1.1:zlib:80 1048576:1.1:zlib:40 \
            2097152:1.1:zlib:40 2097152:0.10:zlib:40 2097152:1.1:zstd:40
do
    IFS=: read -r cluster compat codec count <<< "$spec"
    n=$((n + 1))
    # At least two L2 tables for small clusters; else 90 or 12 clusters.
    clusters=90
    [ "$cluster" -gt 2048 ] || clusters=700
    [ "$cluster" -le 262144 ] || clusters=12
    size=$((cluster * clusters))
    create=compat=$compat
    [ "$compat" = 0.10 ] || create+=,compression_type=$codec
    random_image image.qcow2 $((seed + n)) $size "$cluster" "$count" "$create"
    oracle image.qcow2 oracle.raw
    serves "clusters of $cluster, compat $compat, $codec, seed $((seed + n))" \
           image.qcow2 oracle.raw --cluster "$cluster" --borders 100 \
           --random 150 --seed $((seed + n)) ||
        diag "repeat with QCOW_SEED=$seed"
    rm -f image.qcow2 oracle.raw
done

done_testing
