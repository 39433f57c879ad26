#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Many clients of several servers at once, some of which vanish: a short run
# of tests/soak over images of several kinds.
#
#   QCOW_LOAD_SECONDS   duration of the request mix (default 8); if set, the
#                       test prints figures
#   QCOW_LOAD_CLIENTS   number of connections (default 60)

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

seed=${QCOW_SEED:-17}

# Subclusters, many overwrites.  Also makes src0 and so on.
random_image sub.qcow2 "$seed" $((9 << 20)) 16384 200 extended_l2=on
oracle sub.qcow2 sub.raw

head -c 8M src0 > small.src
head -c 2M src3 | cat src1 src2 - > large.src

# zlib and snapshots.
qemu-img convert -c -f raw -O qcow2 large.src snap.qcow2
io snap.qcow2 'write -q -s small.src 1M 1M' 'write -q -z 20M 3M'
qemu-img snapshot -c mon snap.qcow2
io snap.qcow2 'write -q -s small.src 4M 300k' 'write -q -z 6M 2M'
qemu-img snapshot -c tue snap.qcow2
io snap.qcow2 'write -q -P 7 10M 100k' 'write -q -z 1M 200k'
for i in mon tue; do
    qemu-img convert -f qcow2 -l snapshot.name=$i -O raw snap.qcow2 $i.raw
done
oracle snap.qcow2 snap.raw

# LUKS.
luks_of small.src luks.qcow2 tiger

# A version 1 base below a version 3 overlay with zstd.
qemu-img convert -c -f raw -O qcow small.src base
make_sort chain.qcow2 v3 12M base qcow \
          -o cluster_size=16k,compression_type=zstd
io chain.qcow2 'write -q -c -s small.src 1M 1M' 'write -q -z 3M 1M' \
   'write -q -s small.src 7M 3M'
oracle chain.qcow2 chain.raw

start_web site "$tmp"

snap_exports ()
{
    printf 'export\t\tsnap.raw\n'
    printf 'export\tmon\tmon.raw\n'
    printf 'export\ttue\ttue.raw\n'
    printf 'export\tmon..tue\ttue.raw\tmon.raw\n'
    printf 'export\ttue..\tsnap.raw\ttue.raw\n'
}
{
    printf 'server\tsnapshots\tsnap.qcow2\n'
    snap_exports
    printf 'server\tsnapshots-serially\tsnap.qcow2\n'
    snap_exports
    printf 'server\tluks\tluks.qcow2\tpassphrase=tiger\n'
    printf 'export\t\tsmall.src\n'
    printf 'server\tchain\tchain.qcow2\tallow=image-dir\n'
    printf 'export\t\tchain.raw\n'
    printf 'server\tsubclusters\tsub.qcow2\n'
    printf 'export\t\tsub.raw\n'
    printf 'server\tweb\turl=%s/snap.qcow2\n' "${web[site]}"
    snap_exports
} > list

# Sanitizers and valgrind at least double the memory of each thread.
options=()
[ -z "${QCOW_PRELOAD:-}${QCOW_VALGRIND:-}" ] ||
    options=(--slow 5 --threads 4)
if out=$("$top/tests/soak" --seconds "${QCOW_LOAD_SECONDS:-8}" --seed "$seed" \
              --connections "${QCOW_LOAD_CLIENTS:-60}" "${options[@]}" \
              "$plugin" list 2>&1); then
    pass "many clients with a mix of requests"
    [ -z "${QCOW_LOAD_SECONDS:-}" ] || diag "$out"
else
    fail "many clients with a mix of requests" "$out"
fi
done_testing
