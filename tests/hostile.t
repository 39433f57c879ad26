#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Random damage to the header and tables of 100 images.  Each image is either
# refused with status 1 and a message, or served; then each cluster is either
# EIO or equals what qemu reads.  qemu reads zeros beyond the end of the file,
# where the plugin returns EIO; where qemu cannot read, the plugin must not
# either.
#
# QCOW_SEED=N selects other damage; a failure names its seed.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-5000}
rounds=100

for spec in base512:512:400 base4096:4096:100 base65536:65536:24; do
    IFS=: read -r base cluster clusters <<< "$spec"
    random_image $base.qcow2 "$seed" $((cluster * clusters)) "$cluster" 150
done

# damage.py SEED FROM TO: change a few bytes of the header or of the L1 and L2
# tables, or truncate the file.
cat > damage.py <<'END'
import random, struct, sys
rng = random.Random(int(sys.argv[1]))
data = bytearray(open(sys.argv[2], "rb").read())
bits, = struct.unpack_from(">I", data, 20)
cluster = 1 << bits
l1_size, l1 = struct.unpack_from(">IQ", data, 36)
tables = [struct.unpack_from(">Q", data, l1 + 8 * i)[0] & 0xfffffffffffe00
          for i in range(l1_size)]
tables = [t for t in tables if t]

def value(old):
    """Another 64-bit value for an entry, often close to a valid one."""
    return rng.choice((
        lambda: old ^ 1 << rng.randrange(64),
        lambda: old ^ 1 << rng.randrange(9, bits + 8),
        lambda: old ^ 1 << 62,
        lambda: old | 1,
        lambda: rng.randrange(0, len(data) + 3 * cluster, 512) | 1 << 63,
        lambda: rng.randrange(0, len(data) + cluster, cluster) | 1 << 63,
        lambda: rng.getrandbits(64),
        lambda: (len(data) + rng.randrange(-2, 3) * cluster) // cluster
        * cluster | 1 << 63,
        lambda: 0xffffffffffffffff,
    ))()

for _ in range(rng.choice((1, 1, 2, 5, 20))):
    where = rng.choice(("header", "l1", "l2", "l2", "l2", "l2", "cut"))
    if where == "header":
        # Not nb_snapshots: qemu reads the snapshot table when it opens the
        # image, the plugin only when a client opens a snapshot.
        at = rng.randrange(0, 112)
        if rng.random() < 0.3 and not 60 <= at < 64:
            data[at] ^= 1 << rng.randrange(8)
    elif where == "cut":
        if rng.random() < 0.2:
            del data[rng.randrange(len(data) // 2, len(data)):]
    else:
        at = l1 + 8 * rng.randrange(l1_size) if where == "l1" else \
            rng.choice(tables) + 8 * rng.randrange(cluster // 8)
        if at + 8 <= len(data):
            old, = struct.unpack_from(">Q", data, at)
            struct.pack_into(">Q", data, at, value(old) & (1 << 64) - 1)
open(sys.argv[3], "wb").write(data)
END

# read.py URI STEP [--reconnect]: print one line for each step: its number and
# "zero", its hash, or the error.
cat > read.py <<'END'
import errno, hashlib, sys, nbd
def connect():
    h = nbd.NBD()
    h.connect_uri(sys.argv[1])
    return h
h = connect()
size, step = h.get_size(), int(sys.argv[2])
for n, at in enumerate(range(0, size // 512 * 512, step)):
    count = min(step, size // 512 * 512 - at)
    try:
        got = h.pread(count, at)
        print(n, "zero" if not any(got) else hashlib.md5(got).hexdigest())
    except nbd.Error as e:
        if e.errnum == errno.ENOTCONN and "--reconnect" in sys.argv:
            h = connect()
            print(n, "EIO")
        else:
            print(n, errno.errorcode[e.errnum])
END

# judge.py CUT: print up to three differences (cluster, the plugin's result,
# qemu's) to stderr, and the number of the plugin's EIO clusters to stdout.
cat > judge.py <<'END'
import sys
cut = sys.argv[1] == "1"
ours, theirs = ([line.split() for line in open(name)]
                for name in ("ours", "theirs"))
bad = [(n, our, their) for (n, our), (_, their) in zip(ours, theirs)
       if our != their and not (our == "EIO" and (their == "zero" or cut))]
for line in bad[:3]:
    print(*line, file=sys.stderr)
if len(ours) != len(theirs):
    print(len(ours), "steps instead of", len(theirs), file=sys.stderr)
print(sum(our == "EIO" for _, our in ours))
END
served=0
refused=0
eio=0
problems=
for ((i = 0; i < rounds; i++)); do
    case $((i % 3)) in
        0) cluster=512 ;;
        1) cluster=4096 ;;
        2) cluster=65536 ;;
    esac
    s=$((seed + i))
    py damage.py $s base$cluster.qcow2 image.qcow2
    # shellcheck disable=SC2016
    with_qcow 'py read.py "$uri" $cluster > ours &&
               py "$gen/nbd-map.py" "$uri" > map' \
              -- image.qcow2 > log 2>&1; rc=$?
    said=$(< log)
    if [ $rc -eq 1 ] && [[ $said != *Traceback* && $said = *image.qcow2* ]]
    then
        refused=$((refused + 1))
        continue
    elif [ $rc -ne 0 ]; then
        problems+="seed $s: status $rc: ${said: -500}"$'\n'
        continue
    fi
    served=$((served + 1))
    if ! with_qemu "py read.py \"\$uri\" $cluster --reconnect > theirs" \
         image.qcow2 > qemu.log 2>&1; then
        # qemu refuses an image that the plugin serves.
        problems+="seed $s: qemu: $(tail -1 qemu.log)"$'\n'
        continue
    fi
    # If the file ends within a compressed stream, qemu inflates zeros in
    # place of the missing bytes, and may even succeed.
    cut=$(($(stat -c %s image.qcow2) < $(stat -c %s base$cluster.qcow2)))
    py judge.py $cut > count 2> bad
    read -r n < count
    eio=$((eio + n))
    bad=$(< bad)
    [ -z "$bad" ] || problems+="seed $s: cluster, ours, qemu's: $bad"$'\n'
done
is "random damage: refused, or EIO, or the same bytes as qemu" "$problems" ""
diag "$served served, $refused refused, $eio clusters EIO"
is "... some images are served, some refused, some clusters are EIO" \
   $((served > 20 && refused > 2 && eio > 20)) 1

done_testing
