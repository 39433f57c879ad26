#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The content of backing chains: the patterns that qemu's iotests write to
# overlays and bases, up to four layers deep; and random chains of raw files
# and images of all versions, cluster sizes and lengths.  Bytes and map must
# equal qemu's.
#
# (backing.t tests lengths, names and refusals.)
#
# QCOW_SEED=N selects other random chains; a failure names its seed.

source "$(dirname "$0")/functions.sh"
seed=${QCOW_SEED:-3800}
params=(allow=image-dir)

text_source $((4 << 20)) src0 src1 src2 src3

# areas.py URI RAW OFFSET...: compare 1 MiB around each offset.
cat > areas.py <<'PY'
import os, sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
fd = os.open(sys.argv[2], os.O_RDONLY)
size = h.get_size()
if size != os.fstat(fd).st_size:
    sys.exit("the size is %d" % size)
for middle in map(int, sys.argv[3:]):
    at, end = max(0, middle - (1 << 19)), min(size, middle + (1 << 19))
    for step in (1 << 20, 65537, 4099):
        for o in range(at, end, step):
            n = min(step, end - o)
            if h.pread(n, o) != os.pread(fd, n, o):
                sys.exit("%d bytes at %d differ" % (n, o))
PY

# compare_large NAME IMAGE OFFSET...: like compare, for images of gigabytes.
compare_large ()
{
    local name=$1 image=$2 format
    shift 2
    format=$(format_of "$image")
    oracle "$image" oracle.raw
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'qemu-img compare -f raw -F raw oracle.raw "$uri" &&
        py areas.py "$uri" oracle.raw '"$*" -- "$image"
    same_map "$name" "$image"
}

# --- Patterns of qemu's iotests ---------------------------------------

# 028: the base ends 1 GiB before the overlay, inside a cluster.  Around its
# end every other sector is written in the overlay.
base=$(((3 << 30) + 1536))
for sort in v2 ext; do
    make_sort base.qcow2 v3 $base
    io base.qcow2 "write -q -P 42 $((base - 262656)) 262656"
    dense base.qcow2
    make_sort over.qcow2 $sort $((base + (1 << 30))) base.qcow2 qcow2
    for ((i = -16; i < 16; i += 2)); do
        echo "write -q -P $((i + 100)) $((base + i * 512)) 512"
    done > list
    io_script over.qcow2 < list
    dense over.qcow2
    compare_large "028: across the end of the base, $sort" over.qcow2 \
                  0 $base $((base + (1 << 30)))
    make_sort over.qcow2 $sort $((base + (1 << 30))) base.qcow2 qcow2
    compare_large "028: ... nothing written in the overlay" over.qcow2 $base
done
ok "028: 16 bytes of the base, then zeros" with_qcow \
   "qemu-io -r -f raw -c 'read -P 42 $((base - 16)) 16' \
            -c 'read -P 0 $base 16' \"\$uri\"" -- over.qcow2

# 017 and 018: groups of whole clusters, heads, tails and middles at 0 and at
# 4 GiB, in the base and, shifted, in the overlay; with an uncompressed and a
# compressed base.
group ()
{
    local i p=$((($2 / 512 + $5) % 256))
    for ((i = 0; i < $1; i++)); do
        echo "write -q -P $p $(($2 + i * $4)) $3"
    done
}
# groups SHIFT FAR SPAN: SPAN is the range of an L2 table.
groups ()
{
    local at c=65536
    for at in 0 "$2"; do
        at=$((at + $1))
        group 4 $at $c $c "$1"
        group 4 $((at + 4 * c + c / 2)) $((c / 2)) $c "$1"
        group 4 $((at + 8 * c)) $((c / 2)) $c "$1"
        group 4 $((at + 12 * c + c / 4)) $((c / 2)) $c "$1"
        group 2 $((at + 16 * c + c / 2)) $((c * 2)) $((c * 3)) "$1"
        group 1 $((at + $3 - c)) $((c * 3)) 0 "$1"
    done
}
make_sort plain.qcow2 v3 6G
io_script plain.qcow2 < <(groups 0 $((4 << 30)) $((512 << 20)))
qemu-img convert -c -O qcow2 -f qcow2 plain.qcow2 packed.qcow2
for base in plain packed; do
    dense $base.qcow2
    # (Version 1 has clusters of 512 bytes here, which are slow in qemu.)
    for spec in v1:40M:24:21 v2:6G:32:29 v3:6G:32:29 ext:6G:32:28; do
        IFS=: read -r sort size far span <<< "$spec"
        case $base$sort in plainv[12]) continue ;; esac
        far=$((1 << far)) span=$((1 << span))
        make_sort over.qcow2 "$sort" "$size" $base.qcow2 qcow2
        format=$(format_of over.qcow2) \
              io_script over.qcow2 < <(groups 98816 $far $span)
        dense over.qcow2
        params+=(backing-format=qcow)
        compare_large "017: $sort over a $base base" over.qcow2 \
                      0 $((1 << 20)) $span $far $((far + span))
        params=(allow=image-dir)
    done
done
rm -f oracle.raw

# 037: writes at every sector of a cluster and of every length, over a base in
# which no two sectors are equal.
head -c 3M src0 > base.raw
for spec in v2:4096:1:8 v3:4096:1:8 v3:65536:8:16 ext:16384:1:32; do
    IFS=: read -r sort cluster unit n <<< "$spec"
    make_sort over.qcow2 "$sort" 3M base.raw raw -o cluster_size="$cluster"
    at=0
    for ((i = 0; i < n; i += 1 + n / 17)); do
        for ((j = 1; j <= n && at < 3 << 20; j += 1 + n / 17)); do
            echo "write -q -P $((i * 16 + j)) $((at + i * unit * 512))" \
                 $((j * unit * 512))
            at=$((at + cluster * (1 + (i + j + n - 1) / n)))
        done
    done > list
    io_script over.qcow2 < list
    compare "037: $sort, clusters of $cluster, $(wc -l < list) writes" \
            over.qcow2 --cluster "$cluster" --borders 100
done

# 033, 034, 154: zeros from every quarter of a cluster to every other one, with
# and without unmapping, over a base that has data everywhere, nowhere, only in
# that range, or only outside of it; with and without older data in the
# overlay.  The image ends inside a cluster.
zeros ()
{
    py - "$@" <<'PY'
import itertools, sys
quarter, which = int(sys.argv[1]), sys.argv[2]
at = 0
for i, (a, b) in enumerate(itertools.combinations(range(9), 2)):
    for base, top in itertools.product(range(4), range(2)):
        def say(what, low, high):
            if low < high:
                print(what, at + low * quarter, (high - low) * quarter)
        def data(low, high):
            say("write -q -s src%d" % (base * 2 + top & 3), low, high)
        if which == "base":
            for low, high in [[(0, 8)], [], [(a, b)], [(0, a), (b, 8)]][base]:
                data(low, high)
        else:
            if top:
                data((a + i) % 8, (a + i) % 8 + 1)
            say("write -q -z" + " -u" * (i + base & 1), a, b)
        at += 8 * quarter
PY
}
for spec in v2:1024 v3:1024 ext:4096; do
    IFS=: read -r sort quarter <<< "$spec"
    size=$((36 * 8 * 8 * quarter))
    make_sort base.qcow2 v3 $size '' '' -o cluster_size=$((quarter * 4))
    io_script base.qcow2 < <(zeros "$quarter" base)
    qemu-img resize -q --shrink base.qcow2 $((size - 5 * quarter))
    dense base.qcow2
    make_sort over.qcow2 "$sort" $size base.qcow2 qcow2 \
         -o cluster_size=$((quarter * 4))
    io_script over.qcow2 < <(zeros "$quarter" over)
    qemu-img resize -q --shrink over.qcow2 $((size - 3 * quarter))
    compare "154: $sort, zeros between any two quarters of clusters" \
            over.qcow2 --cluster "$quarter" --borders 150
done

# 179: all kinds of zero writes, in units of 1 MiB, over data in the base; and
# in the base below other writes.
zero_steps=('write -z -u 2M 2M' 'write -z 6M 2M' 'write -z -u 9M 1M'
   'write -z 10M 2M' 'write -z -u 12M 1M' 'write 17M 1M'
   'write -z -u 18M 1M' 'write 20M 1M' 'write -z 21M 1M' 'write 24M 4M'
   'write -z -u 25M 1M' 'write -z 26M 1M' 'write -z -u 28M 1M'
   'write 28M 512' 'write -z 30M 1M' 'discard 31M 512k')
for sort in v2 v3 ext; do
    make_sort base.qcow2 v3 64M
    io base.qcow2 'write -P 17 0 8M' 'write -P 18 9M 500k' 'write 10M 6M' \
       'write 18M 512k' 'write -z 20M 512k' 'write 24M 9M' \
       'write -c 33M 128k'
    dense base.qcow2
    make_sort over.qcow2 $sort 32M base.qcow2 qcow2
    io over.qcow2 "${zero_steps[@]}"
    compare "179: $sort, zeros over a base" over.qcow2
    make_sort base.qcow2 $sort 32M
    io base.qcow2 "${zero_steps[@]}"
    dense base.qcow2
    make_sort over.qcow2 v3 40M base.qcow2 qcow2
    io over.qcow2 'write -z 1M 2M' 'write 11500k 700k' 'write -z -u 25500k 2M'
    compare "179: $sort, zeros in a base" over.qcow2
done

# 073: every ordered pair of adjacent clusters.  A cluster is of one of five
# kinds in the overlay and one of five in the base: normal, unallocated,
# compressed, zero, preallocated zero.  Also with two more layers in between,
# and, written backwards, without adjacent host clusters.
cat > pairs.py <<'PY'
import sys
cluster, layer, backwards = int(sys.argv[1]), sys.argv[2], sys.argv[3]
# A de Bruijn sequence of 25 letters: all pairs.
order, edges = [], {i: list(range(25)) for i in range(25)}
stack = [0]
while stack:
    if edges[stack[-1]]:
        stack.append(edges[stack[-1]].pop())
    else:
        order.append(stack.pop())
lines = []
for i, letter in enumerate(order):
    kind = letter // 5 if layer == "over" else letter % 5
    where = " %d %d" % (i * cluster, cluster)
    data = "-s src%d" % ((i + (layer == "over")) % 4) + where
    lines.append([["write -q " + data], [], ["write -q -c " + data],
                  ["write -q -z -u" + where],
                  ["write -q " + data, "write -q -z" + where]][kind])
if backwards == "yes":
    lines.reverse()
print("\n".join(sum(lines, [])))
PY
for spec in 512:v3:no 512:v3:yes 4096:v3:no 16384:ext:no; do
    IFS=: read -r cluster sort backwards <<< "$spec"
    size=$((626 * cluster))
    make_sort base.qcow2 v3 $size '' '' -o cluster_size="$cluster"
    io_script base.qcow2 < <(py pairs.py "$cluster" base no)
    dense base.qcow2
    make_sort over.qcow2 "$sort" $size base.qcow2 qcow2 -o cluster_size="$cluster"
    io_script over.qcow2 < <(py pairs.py "$cluster" over "$backwards")
    compare "073: clusters of $cluster, $sort, backwards: $backwards" \
            over.qcow2 --cluster "$cluster" --borders 700
    make_sort second.qcow2 v2 $size base.qcow2 qcow2
    make_sort third.qcow2 ext $size second.qcow2 qcow2
    qemu-img rebase -u -f qcow2 -b third.qcow2 -F qcow2 over.qcow2
    serves "073: ... with two layers between them" over.qcow2 oracle.raw \
           --cluster "$cluster" --borders 700
    same_map "073: ... with two layers between them" over.qcow2
done

# --- Random chains ----------------------------------------------------

# Prints the layers of the chains, the lowest first: SORT:CLUSTER_BITS:SIZE.
# Cluster sizes and lengths are random; those of raw files are unaligned.
cat > chains.py <<'PY'
import random, sys
rng = random.Random(int(sys.argv[1]))
for sorts in ("raw v3 ext", "v1 v2 v3", "ext v3 ext v3", "v3 v1 ext v2",
              "v2 ext v1 zstd ext", "raw v1 v1 v3", "v3 ext v2 zstd v1",
              "zstd ext ext v2 v3"):
    length = rng.randrange(300_000, 2_000_000)
    out = []
    for sort in sorts.split():
        bits = rng.choice({"raw": [0], "v1": range(9, 17),
                           "ext": range(14, 18)}.get(sort, range(9, 18)))
        size = int(length * rng.uniform(0.4, 1.3))
        if sort != "raw":
            size -= size % 512
        out.append("%s:%d:%d" % (sort, bits, size))
    print(*out)
PY
py -c 'import random, sys
sys.stdout.buffer.write(random.Random(1).randbytes(1 << 19))' > noise

while read -r -a layers <&3; do
    below='' below_format=raw formats=()
    for i in "${!layers[@]}"; do
        IFS=: read -r sort bits size <<< "${layers[i]}"
        seed=$((seed + 1)) name=layer$i format=qcow2
        rm -f "$name"
        case $sort in
            raw) head -c "$size" src$((seed % 4)) > "$name"; format=raw ;;
            v1) format=qcow
                py "$gen/qcow1.py" empty "$bits" $((6 + seed % 8)) \
                          "$size" "$name" ${below:+"$below"}
                io_script "$name" < <(py "$gen/qcow1.py" writes $seed \
                                          "$size" $((1 << bits)) 25) ;;
            *)  more=()
                [ "$sort" != zstd ] || more=(-o compression_type=zstd)
                make_sort "$name" "$sort" "$size" "$below" "$below_format" \
                     -o cluster_size=$((1 << bits)) "${more[@]}"
                # Only the first of eight sessions.
                count=$(((size >> bits) / 2))
                count=$((count < 14 ? 14 : count > 80 ? 80 : count))
                io_script "$name" < <(py "$gen/random-writes.py" \
                        $seed "$size" $((1 << bits)) $((8 * count)) |
                    sed '/^$/,$d')
                qemu-img check -q -f qcow2 "$name" || [ $? -eq 3 ] ||
                    fail "seed $seed: qemu has made a broken image" ;;
        esac
        dense "$name"
        [ -z "$below" ] || formats=("backing-format=$below_format"
                                    "${formats[@]}")
        below=$name below_format=$format
    done
    # Version 1 does not record the format of its backing file.
    params=(allow=image-dir)
    [[ " ${layers[*]:1} " != *' v1:'* ]] || params+=("${formats[@]}")
    compare "${layers[*]}, seed $seed" "$name" --cluster 4096 --borders 100 \
            --random 100 --seed "$seed" ||
        diag "repeat with QCOW_SEED=${QCOW_SEED:-3800}"
    params+=(cache-size=64K)
    serves "... with a small cache, over three connections" "$name" \
           oracle.raw --connections 3 --random 60 --seed "$seed"
done 3< <(py chains.py "$seed")
params=(allow=image-dir)

# One server, several views of one chain in turn: each has its own map of the
# lower layers.
seed=$((seed + 1))
cp "$name" top
for n in 1 2 3; do
    qemu-img snapshot -c s$n top
    io top "write -q -s src$n $((n * 20))k 90k" "write -q -z -u 0 $((n * 4))k"
done
for n in 1 2 3; do
    cp top copy
    qemu-img snapshot -a s$n copy
    oracle copy s$n.raw
done
oracle top oracle.raw
cat > views.sh <<'END_OF_SCRIPT'
for try in 1 2; do
    for n in 1 2 3; do
        view="nbd+unix:///s$n?socket=$unixsocket"
        rm -f got.raw
        nbdcopy "$view" got.raw && cmp got.raw s$n.raw || exit 1
        py "$gen/nbd-compare.py" "$view" s$n.raw --random 50 || exit 1
    done
    rm -f got.raw
    nbdcopy "$uri" got.raw && cmp got.raw oracle.raw || exit 1
done
END_OF_SCRIPT
ok "all snapshots of a chain from one server" with_qcow '. ./views.sh' -- top

done_testing
