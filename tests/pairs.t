#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Each ordered pair of cluster kinds, read in one request across their
# boundary (qemu's iotest 073), and each triple: normal, unallocated,
# compressed, zero and preallocated zero clusters in an order that contains
# all triples.  A run must end where its kind ends, or where the host clusters
# are no longer contiguous.

source "$(dirname "$0")/functions.sh"

# order N: a de Bruijn sequence of the five kinds, which contains each
# sequence of N kinds once; its first N-1 kinds are repeated at the end.
order ()
{
    "$python" - "$1" <<'END'
import sys
n = int(sys.argv[1])
kinds = "nuczp"
sequence = []
a = [0] * (5 * n)
def db(t, p):
    if t > n:
        if n % p == 0:
            sequence.extend(a[1:p + 1])
    else:
        a[t] = a[t - p]
        db(t + 1, p)
        for j in range(a[t - p] + 1, 5):
            a[t] = j
            db(t + 1, t)
db(1, 1)
sequence += sequence[:n - 1]
print("".join(kinds[i] for i in sequence))
END
}

# commands KINDS CLUSTER BACKWARDS: the qemu-io commands that create them.
# With BACKWARDS=yes, no host clusters of a run are contiguous.
commands ()
{
    local kinds=$1 cluster=$2 backwards=$3 i at list=()
    for ((i = 0; i < ${#kinds}; i++)); do
        at=$((i * cluster))
        case ${kinds:i:1} in
            n) list+=("write -q -s src$((i % 4)) $at $cluster") ;;
            u) ;;
            c) list+=("write -q -c -s src$((i % 4)) $at $cluster") ;;
            z) list+=("write -q -z -u $at $cluster") ;;
            p) list+=("write -q -s src$((i % 4)) $at $cluster
write -q -z $at $cluster") ;;
        esac
    done
    if [ "$backwards" = yes ]; then
        for ((i = ${#list[@]} - 1; i >= 0; i--)); do
            echo "${list[i]}"
        done
    else
        printf '%s\n' "${list[@]}"
    fi
}

# count_kind CONDITION: the bytes of the image for which the jq condition on
# qemu's map holds.
count_kind ()
{
    qemu-img map --output=json -f qcow2 image.qcow2 | jq -r "
        [.[] | select($1) | .length] | add // 0"
}

text_source $((2 << 20)) src0 src1 src2 src3

for spec in 512:3:zlib 512:3:zstd 4096:3:zlib 65536:3:zlib 65536:3:zstd \
            2097152:2:zlib 2097152:2:zstd; do
    IFS=: read -r cluster n codec <<< "$spec"
    kinds=$(order "$n")
    for backwards in no yes; do
        [ "$cluster$backwards" != 2097152yes ] || continue
        size=$((cluster * ${#kinds}))
        qemu-img create -q -f qcow2 \
                 -o cluster_size="$cluster",compression_type=$codec \
                 image.qcow2 $size
        io_script image.qcow2 < <(commands "$kinds" "$cluster" $backwards)
        oracle image.qcow2 oracle.raw
        # With triples, n occurs 27 times; with pairs, 6 times.
        wanted=$(printf %s "$kinds" | tr -cd n | wc -c)
        is "clusters of $cluster, $codec: qemu's map has all normal clusters" \
           "$(count_kind '.data and has("offset")')" $((wanted * cluster))
        serves "clusters of $cluster, $codec, $n in a row, backwards: $backwards" \
               image.qcow2 oracle.raw --cluster "$cluster" --random 300
        qemu_map image.qcow2 > wanted.map
        our_map image.qcow2 > got.map
        same_text "... same map" got.map wanted.map
    done
done

done_testing
