#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Deltas between two snapshots, or from a lower layer: reads return the newer
# state; ranges that differ are reported as changed, ranges that were never
# written are not; a copy of the older state and the changes make the newer
# one, with the man page's 'qemu-img convert' commands.  The expected content
# of a state comes from 'qemu-img snapshot -a' on a copy.
#
# QCOW_SEED=N selects other histories; a failure names its seed.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-3300}
params=(allow=image-dir)
text_source $((16 << 20)) src0 src1 src2 src3

# history.py SEED SIZE CLUSTER STAGES RESIZE: prints a random history:
# commands for qemu-io, and between them "snapshot NAME" and "resize SIZE".
# Lists the clusters that each stage touches in the file "touched".
# Compressed writes come first in each stage and go to unallocated clusters:
# qemu 7.2 refuses others.
cat > history.py <<'PY'
import random, sys
seed, nominal, cluster, stages, resize = map(int, sys.argv[1:6])
rng = random.Random(seed)
size = nominal
used, touched = set(), [set()]

def touch(at, length):
    clusters = range(at // cluster, -(-(at + length) // cluster))
    touched[-1].update(clusters)
    used.update(clusters)

for stage in range(stages + 1):
    touched.append(set())
    # Grow or shrink the disk between snapshots.
    if resize and stage % 2:
        new = rng.randrange(nominal // 3, nominal * 3 // 2) // 512 * 512
        print("resize %d" % new)
        touch(min(size, new), abs(size - new))
        size = new
        used = {c for c in used if c < size // cluster}
    clusters = -(-size // cluster)
    for _ in range(5):
        first = rng.randrange(clusters)
        for c in range(first, min(first + rng.randrange(1, 5), clusters)):
            if c not in used:
                length = min(cluster, size - c * cluster)
                print("write -q -c -s src%d %d %d" % (
                    rng.randrange(4), c * cluster, length))
                touch(c * cluster, length)
    # Mostly in one half of the disk, so that the other stays unchanged.
    half = rng.randrange(2) * size // 2
    for _ in range(9):
        what = rng.choice(("write -q -s src%d" % rng.randrange(4),) * 4
                          + ("write -q -z", "write -q -z -u", "discard -q"))
        unit = 512 if "-s" in what or rng.random() < 0.3 else cluster
        length = rng.randrange(1, 5 * cluster // unit + 1) * unit
        length = min(length, size // 2 // unit * unit)
        at = (half + rng.randrange(size // 2 - length + 1)) // unit * unit
        if length:
            print(what, at, length)
            touch(at, length)
    if stage < stages:
        print("snapshot s%d" % stage)
with open("touched", "w") as f:
    for clusters in touched:
        print(*sorted(clusters), file=f)
PY

# state NAME STAGE IMAGE [ID]: write qemu's content and map of the active state
# or a snapshot to stateNAME.raw and stateNAME.map, and add a line for
# delta-check.py to the file views.
state ()
{
    cp "$3" applied.qcow2
    [ -z "${4:-}" ] || qemu-img snapshot -a "$4" applied.qcow2 || exit 1
    oracle applied.qcow2 "state$1.raw"
    qemu_map applied.qcow2 > "state$1.map" || exit 1
    echo "$1 $2 state$1.raw state$1.map" >> views
}

# older NAME STAGE RAW: add a lower layer to the file views.
older ()
{
    echo "$1 $2 $3 -" >> views
}

# true_deltas NAME CLUSTER: check the running server's deltas of each pair in
# views.
totals=(0 0 0)
true_deltas ()
{
    local out sums
    if out=$(py "$gen/delta-check.py" "$sock" "$2" views touched \
                       "$seed" 2>&1); then
        pass "$1"
        read -r -a sums <<< "$out"
        for i in 0 1 2; do
            totals[i]=$((totals[i] + sums[i]))
        done
    else
        fail "$1" "$out" "$(cat "$log")"
    fi
}

# in_overlay NAME OLD-RAW EXPORT NEW-RAW: copy the changes to an overlay over
# the older state; passes if it equals NEW-RAW.
in_overlay ()
{
    local out
    rm -f old.qcow2 new.qcow2 new.raw
    if out=$(qemu-img convert -f raw -O qcow2 "$2" old.qcow2 &&
             qemu-img convert -f raw -O qcow2 -B old.qcow2 -F qcow2 \
                      "$(to "$3")" new.qcow2 &&
             qemu-img convert -f qcow2 -O raw new.qcow2 new.raw 2>&1); then
        same_bytes "$1" new.raw "$4"
    else
        fail "$1" "$out"
    fi
}

# in_place NAME EXPORT NEW-RAW: copy the changes to the file target, which has
# the older state; passes if it then equals NEW-RAW.
in_place ()
{
    local out new old
    new=$(stat -c %s "$3") old=$(stat -c %s target)
    [ "$new" -le "$old" ] || truncate -s "$new" target
    # qemu-img does not open the file that -B names.
    if out=$(qemu-img convert -n -f raw -O raw -B none.raw -F raw \
                      "$(to "$2")" target 2>&1); then
        truncate -s "$new" target
        same_bytes "$1" target "$3"
    else
        fail "$1" "$out"
    fi
}

# Random histories: deltas from each state, and from the backing file, to each
# other state, by map and by both commands.  (v2 images can't be resized once
# they have a snapshot.)
head -c $((1171 * 512)) src3 > base.raw
make_history mid.qcow2 $((seed + 50)) $((3 << 20)) 65536 0 0 compat=1.1
oracle mid.qcow2 mid.raw
n=0 longer=0 shorter=0
for spec in 512:400:1:compat=1.1: 512:400:0:compat=0.10:base.raw \
            4096:250:1:compat=1.1:base.raw \
            16384:90:1:extended_l2=on:mid.qcow2 \
            65536:60:1:compat=1.1: 65536:30:0:compat=0.10:; do
    IFS=: read -r cluster clusters resize create backing <<< "$spec"
    n=$((n + 1))
    make_history image.qcow2 $((${QCOW_SEED:-3300} + n)) \
                 $((cluster * clusters)) "$cluster" 3 "$resize" "$create" \
                 $backing
    what="clusters of $cluster, $create${backing:+ over $backing}, seed $seed"
    : > views
    names=(s0 s1 s2)
    for id in 1 2 3; do state s$((id - 1)) $id image.qcow2 $id; done
    state - 4 image.qcow2
    if [ -n "$backing" ]; then
        older backing 0 "${backing%.*}.raw"
        cp "${backing%.*}.raw" statebacking.raw
        names+=(backing)
    fi
    start_qcow -- image.qcow2 || { fail "$what: start"; continue; }
    true_deltas "$what" "$cluster"
    # Some of the pairs by commands, each on its own and in sequence.
    for pair in s0..s1 s2..s0 "${names[-1]}.."; do
        new=${pair#*..}
        in_overlay "... $pair into an overlay" "state${pair%..*}.raw" "$pair" \
                   "state${new:--}.raw"
    done
    cp states0.raw target
    for pair in s0..s1 s1..s2 s2..s0 s0.. "${names[-1]}..s1"; do
        old=${pair%..*} new=${pair#*..}
        olds=$(stat -c %s "state$old.raw")
        news=$(stat -c %s "state${new:--}.raw")
        [ "$olds" -ge "$news" ] || longer=$((longer + 1))
        [ "$olds" -le "$news" ] || shorter=$((shorter + 1))
        [ "$new" != s1 ] || cp "state$old.raw" target
        in_place "... $pair in place" "$pair" "state${new:--}.raw"
    done
    stop_qcow || fail "$what: the server exits cleanly"
done
is "unchanged, data and zero bytes all occur: ${totals[*]}" \
   $((totals[0] > 0 && totals[1] > 0 && totals[2] > 0)) 1
is "some deltas grow ($longer) and shrink ($shorter) the disk" \
   $((longer > 3 && shorter > 3)) 1

# Layers: over a raw file that is shorter or longer, ends inside a cluster, or
# has holes; over v1; over a chain of three whose middle is shorter.  The top
# may be v1, or have an external data file.
while read -r options size sectors layers; do
    rm -f layer* data.raw
    : > views
    head -c $((sectors * 512)) src1 > layer0
    truncate -s $(((sectors + 128) * 512)) layer0
    cp layer0 held0.raw
    echo > touched
    fmt=raw last=0
    for layer in $layers qcow2:$options:$size; do
        IFS=: read -r f o s <<< "$layer"
        create=(-o "cluster_size=65536,$o")
        case $o in
            v1) f=qcow create=() ;;
            data) create=(-o data_file=data.raw) ;;
        esac
        below=layer$last
        last=$((last + 1))
        qemu-img create -q -f "$f" "${create[@]}" -b "$below" -F $fmt \
                 layer$last "$s" || exit 1
        fmt=$f
        # Of each four clusters one has data, one zeros, one is partly
        # written, one unallocated, shifted in each layer; nothing near the
        # end.  (v1 has no zeros.)  Clusters beyond the end count as touched.
        for ((c = 0; c < 64; c++)); do
            at=$((c * 65536))
            if [ $((at + 65536)) -gt "$s" ]; then
                echo -n "$c " >> touched
                continue
            fi
            [ $(((c | 3) * 65536 + 65536)) -le "$s" ] || continue
            case $(((c + last) % 4))$f in
                0*) echo "write -q -s src$((last % 3)) $at 64k" ;;
                1qcow2) echo "write -q -z $at 64k" ;;
                2*) echo "write -q -P $last $((at + 512)) 1024" ;;
                *) continue ;;
            esac
            echo -n "$c " >> touched
        done > list
        echo >> touched
        format=$f io_script layer$last < list
        [ -e data.raw ] || dense layer$last
        # The layer's content.
        format=$f oracle layer$last held$last.raw
    done
    (trap - EXIT; format=$fmt; qemu_map layer$last) > state-.map || exit 1
    mv held$last.raw state-.raw
    echo "- $last state-.raw state-.map" >> views
    for ((i = 0; i < last; i++)); do
        older layer:$((last - i)) $i held$i.raw
    done
    older backing $((last - 1)) held$((last - 1)).raw
    what="$options, $size, over $layers${layers:+ over }$sectors sectors"
    start_qcow -- layer$last || { fail "$what"; continue; }
    true_deltas "$what" 65536
    in_overlay "... backing.. into an overlay" held$((last - 1)).raw \
               backing.. state-.raw
    cp held0.raw target
    in_place "... layer:$last.. in place" layer:$last.. state-.raw
    stop_qcow || fail "the server exits cleanly"
done <<'LIST'
compat=1.1 1048576 300
compat=0.10 1048576 5003
data 1048576 300
v1 1000448 999
v1 1000448 2701
extended_l2=on 2097152 900 qcow2:compat=1.1:1000448
compat=1.1 2000384 5003 qcow2:extended_l2=on:865792
compat=1.1 2097152 700 qcow:v1:1572864
LIST

# An older state that ends within a sector: qemu-img copies whole sectors, and
# must get the rest of that sector.  (48 is the size in the snapshot's entry.)
rm -f odd.qcow2
qemu-img create -q -f qcow2 odd.qcow2 64k
io odd.qcow2 'write -q -s src0 0 64k'
qemu-img snapshot -c old odd.qcow2
qemu-img snapshot -c new odd.qcow2
oracle odd.qcow2 odd.raw
poke odd.qcow2 $(($(peek odd.qcow2 64 8) + 48)) 00000000000003e8
head -c 1000 odd.raw > odd-old.raw
start_qcow -- odd.qcow2 || fail "odd: start"
in_overlay "a delta from 1000 bytes to 64 KiB" odd-old.raw old..new odd.raw
stop_qcow || fail "odd: the server exits cleanly"

done_testing
