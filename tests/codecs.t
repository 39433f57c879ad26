#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Compressed clusters of other writers, and damaged ones: wrong sector counts
# (iotest 214); streams without an end, of stored blocks, with trailing junk,
# of several zstd frames; adjacent streams and streams that cross clusters.
# Each image is read cluster by cluster through qemu-nbd and the plugin.  Both
# must return the correct bytes, or EIO for the damaged cluster only.

source "$(dirname "$0")/functions.sh"

# as_qemu NAME IMAGE RAW CLUSTER STATUS: passes if qemu and the plugin return
# STATUS (see status_of).
as_qemu ()
{
    local wanted
    wanted=$(with_qemu "py $gen/nbd-status.py --reconnect \"\$uri\" $3 $4" \
                       "$2" 2> /dev/null |
                 paste -s -d ';' | sed 's/;/; /g')
    is "$1: status in qemu" "$wanted" "$5"
    is "$1: our status" "$(status_of "$2" "$3" "$4")" "$5"
}

# Iotest 214: two clusters of 2 MiB.
text_source $((4 << 20)) src0
qemu-img create -q -f qcow2 -o cluster_size=2M image.qcow2 4M
io image.qcow2 'write -q -c -s src0 0 4M'
oracle image.qcow2 two.raw
l2=$(($(peek image.qcow2 "$(peek image.qcow2 40 8)" 8) & 0xffffffffffffff))
cp image.qcow2 two.qcow2
as_qemu "iotest 214: undamaged" image.qcow2 two.raw 2097152 "0 2 same"
poke image.qcow2 $l2 4006
as_qemu "iotest 214: too few sectors" image.qcow2 two.raw 2097152 \
        "0 1 EIO; 1 1 same"
poke image.qcow2 $l2 7ffe
as_qemu "iotest 214: 8192 sectors, beyond the end of the file" \
        image.qcow2 two.raw 2097152 "0 2 same"
poke image.qcow2 $((l2 + 8)) 7ffe
as_qemu "iotest 214: ... for both clusters" image.qcow2 two.raw 2097152 "0 2 same"
cp two.qcow2 image.qcow2
poke image.qcow2 $((l2 + 8)) 4006
as_qemu "iotest 214: too few sectors for the second" image.qcow2 two.raw 2097152 \
        "0 1 same; 1 1 EIO"

# Crafted images: each case writes NAME.qcow2, NAME.raw and NAME.status.
cat > craft.py <<'END'
import os, random, sys
sys.path.insert(0, os.environ["gen"])
from qcow2 import *

rng = random.Random(20)


class Case:
    def __init__(self, name, zstd=False, bits=16):
        self.name, self.image = name, Image(bits, 50 << bits, zstd=zstd)
        self.raw, self.status = [], []

    def add(self, stream, data, status="same", **how):
        i = len(self.raw)
        self.image.compressed(i, stream, **how)
        self.raw.append(data)
        self.status.append(status)

    def save(self):
        self.image.size = len(self.raw) * self.image.cluster
        self.image.save(self.name + ".qcow2")
        with open(self.name + ".raw", "wb") as f:
            f.write(b"".join(self.raw))
        runs = []
        for i, s in enumerate(self.status):
            if runs and runs[-1][2] == s:
                runs[-1][1] += 1
            else:
                runs.append([i, 1, s])
        with open(self.name + ".status", "w") as f:
            f.write("; ".join("%d %d %s" % tuple(r) for r in runs))


def data(size):
    return text("%c%d" % (97 + rng.randrange(26), rng.randrange(1000)), size)


def noise(size):
    return rng.randbytes(size)


for bits in (9, 12, 16, 21):
    size = 1 << bits
    c = Case("deflate-%d" % bits, bits=bits)
    d = data(size); c.add(deflate(d), d)
    d = data(size); c.add(deflate_unfinished(d), d)
    d = data(size); c.add(deflate(d), d)
    d = data(size); c.add(deflate(d) + b"junk after the stream", d)
    d = data(size); c.add(deflate(d, level=0), d)
    d = noise(size); c.add(deflate_stored(d), d)
    d = noise(size); c.add(deflate_stored(d, final=False), d)
    d = data(size); c.add(deflate(d + b"more than a cluster"), d)
    if bits > 9:
        d = data(size); c.add(deflate(d[:-1]), d, "EIO")
        # No end mark, the last byte missing, followed only by padding.
        d = data(size); s = deflate_unfinished(d[:-1])
        c.image.append(bytes(-(c.image.end + len(s)) % 512), False)
        c.add(s, d, "EIO")
    d = data(size); c.add(deflate(d), d)
    d = data(size); c.add(zlib.compress(d, 9), d, "EIO")
    d = data(size); c.add(noise(300), d, "EIO")
    d = data(size); c.add(b"", d, "EIO", sectors=0)
    d = data(size); c.add(bytes(400), d, "EIO")
    d = data(size); c.add(b"\xff" * 400, d, "EIO")
    d = data(size); c.add(deflate(d), d)
    # The same stream for two clusters.
    d = data(size); s = deflate(d); at = c.image.append(s, False)
    for _ in range(2):
        c.image.entry(len(c.raw), c.image.compressed_entry(at, len(s)))
        c.raw.append(d); c.status.append("same")
    # More sectors than needed, in the middle of the file.
    if bits > 9:
        d = data(size); s = deflate(d)
        at = c.image.append(s, False)
        c.image.entry(len(c.raw), c.image.compressed_entry(
            at, len(s), (1 << (bits - 8)) - 1))
        c.raw.append(d); c.status.append("same")
        # Too few sectors: half of those needed, if there are several.
        d = noise(size // 2) + bytes(size // 2); s = deflate(d)
        need = (c.image.end % 512 + len(s) - 1) // 512
        if need > 0:
            c.add(s, d, "EIO", sectors=need // 2)
        d = data(size); c.add(deflate(d), d)
    # COPIED has no meaning for compressed clusters.
    d = data(size); s = deflate(d); at = c.image.append(s, False)
    c.image.entry(len(c.raw),
                  c.image.compressed_entry(at, len(s)) | OFLAG_COPIED)
    c.raw.append(d); c.status.append("same")
    # The end of the file, unaligned.
    d = data(size); c.add(deflate(d), d)
    c.save()

for bits in (12, 16, 21):
    size = 1 << bits
    half = size // 2
    c = Case("zstd-%d" % bits, zstd=True, bits=bits)
    d = noise(size); c.add(frame_raw(d), d)
    d = noise(size); c.add(frame_raw(d, sized=False), d)
    d = b"x" * size; c.add(frame_rle(ord("x"), size), d)
    d = b"y" * size; c.add(frame_rle(ord("y"), size, sized=False), d)
    # More than one frame.
    d = noise(half) + b"z" * half
    c.add(frame_raw(d[:half]) + frame_rle(ord("z"), half), d)
    d = b"a" * half + noise(half)
    c.add(frame_rle(ord("a"), half, sized=False) + frame_raw(d[half:]), d)
    pieces = [bytes([i]) * (size // 16) for i in range(16)]
    c.add(b"".join(frame_rle(p[0], len(p)) for p in pieces), b"".join(pieces))
    d = b"s" * size
    c.add(frame_skippable(b"skipped") + frame_rle(ord("s"), size), d)
    d = b"t" * size
    c.add(frame_rle(ord("t"), half) + frame_skippable(b"in between") +
          frame_rle(ord("t"), half), d)
    d = b"e" * size
    c.add(frame_raw(b"") + frame_rle(ord("e"), size), d)
    # Trailing junk is ignored.
    d = b"j" * size
    c.add(frame_rle(ord("j"), size) + b"junk after the frame", d)
    # Damage.
    d = b"k" * size; c.add(frame_rle(ord("k"), size - 1), d, "EIO")
    d = b"l" * size; c.add(frame_rle(ord("l"), half), d, "EIO")
    d = b"m" * size; c.add(frame_rle(ord("m"), size + 1), d, "EIO")
    d = b"n" * size; c.add(b"\0" + frame_rle(ord("n"), size), d, "EIO")
    d = noise(size); c.add(noise(300), d, "EIO")
    d = noise(size); c.add(bytes(300), d, "EIO")
    d = b"o" * size; c.add(deflate(d), d, "EIO")
    d = b"p" * size; c.add(frame_rle(ord("p"), size), d)
    # Too few sectors; then a frame that ends at the end of the file.
    d = noise(size); s = frame_raw(d)
    c.add(s, d, "EIO", sectors=len(s) // 1024)
    d = b"q" * size; c.add(frame_rle(ord("q"), size), d)
    c.save()
END
py craft.py || exit 1
for image in deflate-9 deflate-12 deflate-16 deflate-21 zstd-12 zstd-16 zstd-21
do
    as_qemu "$image" $image.qcow2 $image.raw $((1 << ${image##*-})) \
            "$(cat $image.status)"
    is "$image: the map reports data" \
       "$(our_map $image.qcow2 | awk '{ print $3 }')" 0
done

# A deflate window of 32 KiB: qemu writes and reads only 4 KiB, other writers
# use more.  The oracle is the uncompressed data.
py - <<'END' || exit 1
import os, random, sys
sys.path.insert(0, os.environ["gen"])
from qcow2 import *
rng = random.Random(3)
block = rng.randbytes(20000)
data = (block * 4)[:65536]
image = Image(16, 131072)
image.compressed(0, deflate(data, window=15))
image.compressed(1, deflate(data[::-1], window=15))
image.save("window.qcow2")
open("window.raw", "wb").write(data + data[::-1])
END
serves "a deflate window of 32 KiB" window.qcow2 window.raw

# Adjacent streams (iotest 287), read in one request and across each cluster
# boundary.
for codec in zlib zstd; do
    for cluster in 512 4096 65536 2097152; do
        size=$((cluster * 24))
        [ $cluster -lt 2097152 ] || size=$((cluster * 5))
        py - $size $cluster <<'END'
import random, sys
size, cluster = map(int, sys.argv[1:])
rng = random.Random(5)
with open("disk.raw", "wb") as f:
    for at in range(0, size, cluster):
        n = rng.choice((0, cluster // 4, cluster // 2, cluster * 3 // 4))
        f.write(rng.randbytes(n))
        f.write(b"".join(b"%07d\n" % i for i in range((cluster - n) // 8)))
END
        qemu-img convert -c -f raw -O qcow2 \
                 -o cluster_size=$cluster,compression_type=$codec \
                 disk.raw image.qcow2
        serves "$codec, clusters of $cluster: adjacent streams" \
               image.qcow2 disk.raw --cluster $cluster --random 100
    done
done

# A disk smaller than its only cluster (iotest 053).
head -c 512 src0 > disk.raw
qemu-img convert -c -f raw -O qcow2 disk.raw image.qcow2
serves "512 bytes, compressed" image.qcow2 disk.raw

# Compressed data beyond 4 GiB of the file (iotest 272).
qemu-img create -q -f qcow2 -o cluster_size=2M,refcount_bits=2 image.qcow2 2M
truncate -s 5G image.qcow2
io image.qcow2 'write -q -c -s src0 0 2M'
l2=$(($(peek image.qcow2 "$(peek image.qcow2 40 8)" 8) & 0xffffffffffffff))
at=$(($(peek image.qcow2 $l2 8) & 0x1ffffffffffff))
oracle image.qcow2 oracle.raw
dd if=image.qcow2 of=image.qcow2 bs=1M skip=$((at >> 20)) iflag=fullblock \
   seek=4608 count=3 conv=notrunc status=none
poke image.qcow2 $l2 "$(printf %016x \
    $(($(peek image.qcow2 $l2 8) - at + (4608 << 20) + (at & 0xfffff))))"
poke image.qcow2 $at "$(printf '00%.0s' {1..64})"
oracle image.qcow2 again.raw
same_bytes "beyond 4 GiB: qemu reads the moved data" again.raw oracle.raw
serves "a compressed cluster beyond 4 GiB of the file" image.qcow2 oracle.raw

done_testing
