#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Internal snapshots: each is an export, or the only one with snapshot=.
# Bytes, size and map of a snapshot equal those of a copy after 'qemu-img
# snapshot -a' ('qemu-img convert -l' uses the current size instead of the
# recorded one).  Also VM state, backing files, and many clients.
#
# QCOW_SEED=N selects other histories; a failure names its seed.

source "$(dirname "$0")/functions.sh"

first=${QCOW_SEED:-1400}
params=(allow=image-dir)
text_source $((16 << 20)) src0 src1 src2 src3

# history.py SEED SIZE CLUSTER STAGES RESIZE: print a random history: lines
# for qemu-io, and between them "snapshot NAME" and "resize SIZE".  Data comes
# from src0 to src3.  Compressed writes come first in each stage, to clusters
# that are unallocated: qemu 7.2 accepts no others.
cat > history.py <<'END'
import random, sys
seed, nominal, cluster, stages, resize = map(int, sys.argv[1:6])
rng = random.Random(seed)
size = nominal
touched = set()

def place(most, unit):
    length = min(rng.randrange(1, most // unit + 1) * unit, size)
    return rng.randrange((size - length) // unit + 1) * unit, length

for stage in range(stages):
    clusters = -(-size // cluster)
    for _ in range(8):
        c = rng.randrange(clusters)
        for c in range(c, min(c + rng.randrange(1, 5), clusters)):
            if c not in touched:
                print("write -q -c -s src%d %d %d" % (
                    rng.randrange(4), c * cluster,
                    min(cluster, size - c * cluster)))
                touched.add(c)
    for _ in range(16):
        what = rng.choice(("write -q -s src%d" % rng.randrange(4),) * 3
                          + ("write -q -z", "write -q -z -u", "discard -q"))
        unit = 512 if "-s" in what or rng.random() < 0.3 else cluster
        if size < unit:
            continue
        at, length = place(max(5 * cluster, unit), unit)
        print(what, at, length)
        touched.update(range(at // cluster, -(-(at + length) // cluster)))
    print("snapshot s%d" % stage)
    if resize:
        size = rng.randrange(nominal // 4, nominal * 3 // 2) // 512 * 512
        print("resize %d" % size)
        touched = {c for c in touched if c < -(-size // cluster)}
END

# go_back IMAGE ID RAW: put qemu's content and map of a snapshot in RAW and
# wanted.map.
go_back ()
{
    cp "$1" applied.qcow2
    qemu-img snapshot -a "$2" applied.qcow2 || exit 1

    oracle applied.qcow2 "$3"
    qemu_map applied.qcow2 > wanted.map || exit 1
}

ids ()
{
    qemu-img info -U --output=json "$1" | jq -r '.snapshots[]?.id'
}

# gives NAME EXPORT RAW: the export has exactly these bytes.
gives ()
{
    rm -f got.raw
    if timeout -k 5 "${QCOW_TIMEOUT:-120}" \
               nbdcopy "$(to "$2")" got.raw 2> copy.log; then
        same_bytes "$1" got.raw "$3"
    else
        fail "$1" "$(cat copy.log)"
    fi
}

# flags.py SOCKET EXPORT...: the map of a full view never has a hole without
# zero, which 'qemu-img convert -B' and other clients would take for "not in
# this layer".
cat > flags.py <<'END'
import sys, nbd
seen = set()
for name in sys.argv[2:]:
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_export_name(name)
    h.connect_unix(sys.argv[1])
    at, size = 0, h.get_size()
    while at < size:
        got = []
        h.block_status(min(size - at, 1 << 30), at,
                       lambda m, o, e, err: got.extend(e))
        for length, flags in zip(got[::2], got[1::2]):
            if flags not in (0, 2, 3):
                sys.exit("%s: flags %d at %d" % (name, flags, at))
            seen.add(flags)
            at += length
    h.shutdown()
if not {0, 3} <= seen:
    sys.exit("only flags %s" % seen)
END

# Random histories, with snapshots in between.  v2 images can't be resized
# once they have a snapshot.
head -c 3000001 src3 > base.raw
make_history base.qcow2 $((first + 100)) $((24 << 20)) 65536 1 0 compat=1.1
n=0 sizes=0 tables=0
for spec in 512:400:1:compat=1.1: 512:400:1:compat=1.1:base.raw \
            4096:300:0:compat=0.10:base.qcow2 \
            16384:2500:1:extended_l2=on:base.qcow2 \
            65536:90:1:compression_type=zstd: \
            65536:60:1:extended_l2=on:base.raw 2097152:9:1:compat=1.1:; do
    IFS=: read -r cluster clusters resize create backing <<< "$spec"
    n=$((n + 1))
    make_history image.qcow2 $((first + n)) $((cluster * clusters)) \
                 "$cluster" 5 "$resize" "$create" "$backing"
    what="clusters of $cluster, $create${backing:+ over $backing}, seed $seed"
    start_qcow -- image.qcow2 || { fail "$what: the server starts"; continue; }
    current=$(qemu-img info -U --output=json image.qcow2 |
              jq '."virtual-size"')
    mapfile -t all < <(ids image.qcow2)
    at=$(peek image.qcow2 64 8)
    [ "$(peek image.qcow2 $((at + 8)) 4)" = "$(peek image.qcow2 36 4)" ] ||
        tables=$((tables + 1))
    for id in "${all[@]}"; do
        go_back image.qcow2 "$id" "oracle$id.raw"
        [ "$(stat -c %s "oracle$id.raw")" = "$current" ] || sizes=$((sizes + 1))
        gives "$what, snapshot $id" "$id" "oracle$id.raw"
        ok "... unaligned requests" py "$gen/nbd-compare.py" \
           "$(to "$id")" "oracle$id.raw" --cluster "$cluster" --borders 40 \
           --random 60
        nbdinfo --map "$(to "$id")" > got.map
        same_text "... same map" got.map wanted.map
    done
    oracle image.qcow2 oracle.raw
    gives "... the disk" "" oracle.raw
    ok "... no map has a hole without zero" \
       py flags.py "$sock" "" "${all[@]}"
    stop_qcow || fail "$what: the server exits cleanly"
    params+=(snapshot=s2)
    serves "... snapshot=s2" image.qcow2 oracle3.raw --cluster "$cluster" \
           --borders 20 --random 20
    params=(allow=image-dir)
done
is "some snapshots ($sizes) have another size than the disk" \
   $((sizes > 10)) 1
is "some images ($tables) have an L1 table of another size" $((tables > 0)) 1

# Ten clients on ten snapshots of one server, with a large and a small cache.
# The chain is long enough for the server to cache lookups, which must not be
# used for another snapshot.
below=base.qcow2
for layer in mid1.qcow2 mid2.qcow2; do
    qemu-img create -q -f qcow2 -b $below -F qcow2 $layer 3M
    io $layer "write -q -s src1 $((${#below} * 64))k 100k"
    below=$layer
done
make_history ten.qcow2 $((first + 50)) $((4096 * 700)) 4096 10 1 compat=1.1 \
             mid2.qcow2
for id in $(ids ten.qcow2); do
    go_back ten.qcow2 "$id" "ten$id.raw"
done
for cache in 64M 64K; do
    start_qcow -- ten.qcow2 cache-size=$cache || fail "the server starts"
    jobs=() bad=
    for id in {1..10}; do
        { timeout -k 5 "${QCOW_TIMEOUT:-120}" \
                  nbdcopy "$(to "$id")" "copy$id.raw" &&
              cmp "copy$id.raw" "ten$id.raw" &&
              "$python" "$gen/nbd-compare.py" "$(to "$id")" "ten$id.raw" \
                        --cluster 4096 --borders 40 --random 40 --seed "$id"
        } > "client$id.log" 2>&1 & jobs+=($!)
    done
    for id in {1..10}; do
        wait "${jobs[id - 1]}" || bad+="$id: $(cat "client$id.log")"$'\n'
    done
    is "ten clients on ten snapshots, cache-size=$cache, seed $seed" "$bad" ""
    stop_qcow || fail "the server exits cleanly"
done

# iotests 057 and 058: a snapshot does not contain later writes.
qemu-img create -q -f qcow2 image.qcow2 64M
io image.qcow2 'write -q -P 0xa 0x1000 0x1000' 'write -q -P 0xb 0x2000 0x1000'
qemu-img snapshot -c sn1 image.qcow2
io image.qcow2 'write -q -P 0xc 0x1000 0x1000' 'write -q -P 0xd 0x2000 0x1000'
# shellcheck disable=SC2016
ok "iotest 058" with_qcow '
    check () { qemu-io -r -f raw -c "read -P $2 0x1000 0x1000" \
               -c "read -P $3 0x2000 0x1000" "$1" | grep -c "failed"; }
    [ "$(check "nbd+unix:///sn1?socket=$unixsocket" 0xa 0xb)" = 0 ] &&
    [ "$(check "$uri" 0xc 0xd)" = 0 ] && [ "$(check "$uri" 0xa 0xb)" != 0 ]' \
   -- image.qcow2

# iotests 062 and 066: zero clusters, allocated or not, in snapshots; a
# disk that ends one sector into a cluster.
for options in compat=1.1 extended_l2=on; do
    qemu-img create -q -f qcow2 -o $options image.qcow2 $(((64 << 20) + 512))
    io image.qcow2 'write -q -P 1 0 512k' 'write -q -z 0 256k' \
       'write -q -z -u 256k 128k' 'write -q -P 7 33M 64k' \
       'write -q -z 33M 64k' 'write -q -P 42 64k 100k' \
       'write -q -P 5 64M 512' 'write -q -z -u 63M 1M'
    qemu-img snapshot -c 1 image.qcow2
    io image.qcow2 'write -q -P 23 0 512k' 'write -q -P 24 33M 64k' \
       'write -q -z 64M 512' 'write -q -P 25 63M 1M'
    dense image.qcow2
    go_back image.qcow2 1 oracle.raw
    params=(snapshot=1)
    serves "zero clusters in a snapshot, $options" image.qcow2 oracle.raw \
           --cluster 65536 --borders 20
    our_map image.qcow2 > got.map
    same_text "... same map" got.map wanted.map
    params=()
done

# iotests 014 and 015: alternating allocated, compressed and unallocated
# clusters, more of them after each snapshot, so that the L1 table and the
# refcounts grow.
qemu-img create -q -f qcow2 -o cluster_size=1024 image.qcow2 12M
for part in 0 1 2 3; do
    for ((i = 0; i < 40; i++)); do
        at=$((part * 3145728 + i * 9 * 1024))
        echo "write -q -P 165 $at 2048"
        echo "write -q -P $((165 + part)) $((at + 3072)) 1024"
        echo "write -q -c -P 165 $((at + 4096)) 1024"
        echo "write -q -c -P $((100 + part)) $((at + 5120)) 1024"
        echo "write -q -P $((i + 1)) $((at + 8192)) 1024"
        [ $part -eq 0 ] || echo "write -q -P $((part + i)) $((i * 9216)) 2048"
    done > list
    io_script image.qcow2 < list
    qemu-img snapshot -c "part$part" image.qcow2
done
start_qcow -- image.qcow2 || fail "the server starts"
for id in 1 2 3 4; do
    go_back image.qcow2 $id oracle.raw
    gives "patterns of iotest 014 after part $id" "part$((id - 1))" oracle.raw
done
stop_qcow || fail "the server exits cleanly"

# iotest 029, last part: the disk is truncated to 512 bytes with one L1 entry,
# the snapshot's table is much larger.
qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 64M
io image.qcow2 'write -q -s src0 0 16k' 'write -q -s src1 40M 16k' \
   'write -q -s src2 67100672 8k'
qemu-img snapshot -c long image.qcow2
cp image.qcow2 before.qcow2
poke image.qcow2 24 0000000000000200
poke image.qcow2 36 00000001
go_back before.qcow2 1 oracle.raw
head -c 512 oracle.raw > short.raw
serves "a snapshot much larger than the disk: the disk" image.qcow2 short.raw
params=(snapshot=long)
serves "... the snapshot" image.qcow2 oracle.raw --cluster 512 --borders 20

# iotests 022, 068 and 286: VM state is stored behind the disk and is never
# served, even if the disk has grown over it since.
qemu-img create -q -f qcow2 -o cluster_size=4096 image.qcow2 3145728
io image.qcow2 'write -q -s src0 0 3M' 'write -q -b -s src1 0 3M' \
   'write -q -b -P 9 1T 4k'
qemu-img snapshot -c state image.qcow2
at=$(peek image.qcow2 64 8)
poke image.qcow2 $((at + 32)) 00300000
poke image.qcow2 $((at + 40)) 0000010000001000
qemu-img resize -q image.qcow2 40M
head -c 3M src0 > oracle.raw
params=(snapshot=state)
serves "a snapshot with VM state" \
       image.qcow2 oracle.raw --cluster 4096 --borders 20
is "... the map does not contain the VM state" \
   "$(our_map image.qcow2 | tr -s ' ')" \
   " 0 3145728 0 data"
like "... the description has its 64-bit size" \
     "$(with_qcow 'py "$gen/nbd-list.py" "$uri"' -- image.qcow2)" 1099511631872
params=()

# A snapshot reads from the current backing file, not from the one at the time
# of the snapshot, up to the snapshot's size, even if the disk is smaller.
head -c 3000000 src1 > then.raw
head -c 3000000 src2 > today.raw
qemu-img create -q -f qcow2 -b then.raw -F raw image.qcow2 4M
io image.qcow2 'write -q -s src0 0 64k'
qemu-img snapshot -c old image.qcow2
qemu-img resize -q --shrink image.qcow2 1M
qemu-img rebase -q -u -b today.raw -F raw image.qcow2
go_back image.qcow2 1 oracle.raw
{ head -c 64K src0; tail -c +65537 today.raw; } > wanted.raw
truncate -s 4M wanted.raw
same_bytes "qemu uses the current backing file" oracle.raw wanted.raw
params=(allow=image-dir snapshot=old)
serves "a snapshot over the current backing file" image.qcow2 wanted.raw
params=(backing=then.raw snapshot=old)
{ head -c 64K src0; tail -c +65537 then.raw; } > wanted.raw
truncate -s 4M wanted.raw
serves "... over the one that backing= names" image.qcow2 wanted.raw
params=()
refused "a snapshot over a backing file that is not allowed: refused" \
        'today\.raw' \
        -- image.qcow2 snapshot=old

done_testing
