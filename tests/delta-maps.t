#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The maps of deltas: the extents for each pair of cluster kinds, the deltas
# that export names select, and how little of the image is read to find them.
# (deltas.t tests their use.)

source "$(dirname "$0")/functions.sh"

params=(allow=image-dir)
text_source $((16 << 20)) src0 src1 src2 src3

# extents.py SOCKET UNIT < EXPORTS: print each export's extents in units:
# "FIRST+COUNT:FLAGS ...", or "refused".
cat > extents.py <<'PY'
import sys, nbd
unit = int(sys.argv[2])
for name in sys.stdin.read().splitlines():
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_export_name(name)
    try:
        h.connect_unix(sys.argv[1])
    except nbd.Error:
        print(name + ": refused")
        continue
    got, at, text = [], 0, name + ":"
    h.block_status(h.get_size(), 0, lambda m, o, e, err: got.extend(e))
    for length, flags in zip(got[::2], got[1::2]):
        text += " %g+%g:%d" % (at / unit, length / unit, flags)
        at += length
    print(text)
PY

# says NAME UNIT < LINES: passes if extents.py prints these lines.
says ()
{
    cat > wanted.txt
    sed 's/: .*//' wanted.txt |
        py --stdin extents.py "$sock" "$2" > got.txt 2>&1
    same_text "$1" got.txt wanted.txt
}

# Unchanged extents merge across the end of a backing file, also if it is
# within a sector.
head -c 576331 src0 > odd.raw
qemu-img create -q -f qcow2 -b odd.raw -F raw odd.qcow2 1M
qemu-img snapshot -c old odd.qcow2
qemu-img resize -q odd.qcow2 1536K
if start_qcow -- odd.qcow2; then
    says "unchanged extents merge across the end of a backing file" 512 <<'END'
old..: 0+2048:1 2048+1024:3
END
    stop_qcow || fail "the server exits cleanly"
fi

# Each kind of cluster in the older state with each kind in the newer one.
# Unchanged means the same host offset, or zeros in both.  Equal bytes at
# different host offsets are changed.
cat > kinds.py <<'PY'
import os, struct, sys
sys.path.insert(0, os.environ["gen"])
import qcow2

def add_snapshot(image, path, tables):
    """Add a snapshot "old" that shares the image's L2 tables except for
    TABLES: {index: {slot: entry}}, or None for no table.  Returns the
    offsets of these.
    """
    places = {}
    with open(path, "r+b") as f:
        end = image.align(f.seek(0, 2))
        l1 = [image.l2_offset + i * image.cluster
              for i in range(image.l1_size)]
        for i, entries in tables.items():
            l1[i] = 0
            if entries is not None:
                l1[i] = places[i] = end
                for slot, entry in entries.items():
                    f.seek(end + 8 * slot)
                    f.write(struct.pack(">Q", entry))
                end += image.cluster
        f.seek(end)
        f.write(struct.pack(">%dQ" % len(l1), *l1))
        at = image.align(f.tell())
        f.seek(at)
        f.write(struct.pack(">QIHHIIQIIQQ", end, len(l1), 1, 3, 0, 0, 0, 0,
                            16, 0, image.size) + b"1old")
        f.truncate(image.align(f.tell()))
        f.seek(60)
        f.write(struct.pack(">IQ", 1, at))
    return places

def name_backing(path, name, fmt):
    with open(path, "r+b") as f:
        f.seek(112)
        f.write(struct.pack(">II8s", 0xe2792aca, len(fmt), fmt.encode()))
        f.seek(1024)
        f.write(name.encode())
        f.seek(8)
        f.write(struct.pack(">QI", 1024, len(name)))

if __name__ == "__main__":
    version, backing, fmt = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    image = qcow2.Image(size=49 << 16, version=version)
    data = qcow2.text("same", 65536)
    one, two = image.append(data), image.append(data)
    stream = qcow2.deflate(data)
    kinds = {"none": 0, "one": one, "two": two}
    for name in "packed", "again":
        kinds[name] = image.compressed_entry(image.append(stream),
                                             len(stream))
    if version > 2:
        kinds.update({"zero": 1, "zero one": one | 1})
    pairs = [(old, new) for old in kinds for new in kinds]
    image.size = len(pairs) << 16
    for i, (_, new) in enumerate(pairs):
        copied = qcow2.OFLAG_COPIED if new in ("one", "zero one") else 0
        image.entry(i, kinds[new] | copied)
    image.save("image.qcow2")
    add_snapshot(image, "image.qcow2", {0: {
        i: kinds[old] for i, (old, _) in enumerate(pairs)}})
    if backing != "none":
        name_backing("image.qcow2", backing, fmt)
    zeros = {"zero", "zero one"}
    if backing != "full.raw":
        zeros.add("none")
    runs = []
    for i, (old, new) in enumerate(pairs):
        flags = 3 if new in zeros else 0
        if old == new or {old, new} <= zeros:
            flags = 1
        if runs and runs[-1][2] == flags:
            runs[-1][1] += 1
        else:
            runs.append([i, 1, flags])
    print("old..: " + " ".join("%d+%d:%d" % tuple(r) for r in runs))
    print("old..1: 0+%d:1" % len(pairs))
PY
head -c $((49 << 16)) src0 > full.raw
qemu-img create -q -f qcow2 empty.qcow2 4M
qemu-img create -q -f qcow2 zeros.qcow2 4M
io zeros.qcow2 'write -q -z 0 4M'
for spec in 3:none:raw 2:none:raw 3:full.raw:raw 3:empty.qcow2:qcow2 \
            3:zeros.qcow2:qcow2; do
    IFS=: read -r version backing fmt <<< "$spec"
    py kinds.py "$version" "$backing" "$fmt" > kinds.txt || exit 1
    # qemu can read the image, too.
    oracle image.qcow2 oracle.raw
    start_qcow -- image.qcow2 || fail "start"
    says "all pairs of cluster kinds, version $version, backing: $backing" 65536 \
         < kinds.txt
    stop_qcow || fail "the server exits cleanly"
done

# Subclusters of one host cluster: allocated, zero or neither, in both states.
qemu-img create -q -f qcow2 -o extended_l2=on -b full.raw -F raw \
         image.qcow2 128k
io image.qcow2 'write -q -P 1 0 64k'
qemu-img snapshot -c old image.qcow2
io image.qcow2 'write -q -P 2 64k 2k'
offset=$(((1 << 56) - 1))
new=$(($(peek image.qcow2 "$(peek image.qcow2 40 8)" 8) & offset))
table=$(peek image.qcow2 64 8)
old=$(($(peek image.qcow2 "$(peek image.qcow2 "$table" 8)" 8) & offset))
is "both states have the same host cluster" \
   "$(($(peek image.qcow2 $new 8) & offset))" \
   "$(($(peek image.qcow2 $old 8) & offset))"
is "... but different L2 tables" $((new != old)) 1
# Zero bits, then allocation bits.  Old: aaazzz---; new: az-az-az-.
poke image.qcow2 $((old + 8)) 00000038 00000007
poke image.qcow2 $((new + 8)) 00000092 00000049
dense image.qcow2
start_qcow -- image.qcow2 || fail "start"
says "subclusters: allocated, zero or neither" 2048 <<'LIST'
old..: 0+1:1 1+1:3 2+2:0 4+1:1 5+2:0 7+1:3 8+24:1 32+1:0 33+31:1
LIST
stop_qcow || fail "the server exits cleanly"

# ladder IMAGE NAME...: make an image with these snapshots.  Cluster 1 is
# written before the first one, cluster 2 before the second, and so on; one
# more after the last.  Sets $rungs to their number.
ladder ()
{
    local image=$1 i=0 name
    shift
    qemu-img create -q -f qcow2 ${over:+-b "$over" -F raw} "$image" \
             $((($# + 3) * 65536)) || exit 1
    for name; do
        i=$((i + 1))
        io "$image" "write -q -P $i $((i * 65536)) 64k"
        qemu-img snapshot -c "$name" "$image" || exit 1
    done
    io "$image" "write -q -P 255 $(((i + 1) * 65536)) 64k"
    dense "$image"
    rungs=$i
}

# expect < "EXPORT|OLD NEW" lines: print the input of says.  OLD and NEW are
# numbers of snapshots, 0 is the backing file, "now" the active layer; "full
# NEW" is a full view, "-" means refused.
expect ()
{
    local name old new low n flags
    while IFS='|' read -r name old; do
        read -r old new <<< "$old"
        [ "$new" != now ] || new=$((rungs + 1))
        if [ "$old" = - ]; then
            echo "$name: refused"
        elif [ "$old" = full ]; then
            echo "$name: 0+1:3 1+$new:0 $((new + 1))+$((rungs + 2 - new)):3"
        elif [ "$old" = "$new" ]; then
            echo "$name: 0+$((rungs + 3)):1"
        else
            low=$((old < new ? old : new))
            n=$((old < new ? new - old : old - new))
            flags=$((old < new || ${#over} > 0 ? 0 : 3))
            echo -n "$name: 0+$((low + 1)):1 $((low + 1))+$n:$flags "
            echo "$((low + n + 1))+$((rungs + 2 - low - n)):1"
        fi
    done
}

over=
ladder image.qcow2 mon tue a a..b b b..c c ..x mon..tue 2 'é x' a. .b x..
start_qcow -- image.qcow2 || fail "start"
says "export names: ids, names, deltas" 65536 < <(expect <<'LIST'
|full now
tue|full 2
mon..tue|full 9
1..2|1 2
tue..mon|2 1
tue..a|2 3
tue..3|2 3
1..tue|1 2
tue..|2 now
2..|2 now
mon..|1 now
mon..2|1 2
10..tue|10 2
a..b|full 4
4..b|4 5
a..c|3 7
a..b..c|3 6
a..b..a|4 3
a..b..|4 now
a...b|3 13
a....b|12 13
a...|12 now
a....|-
x....|14 now
x....a|14 3
..x|full 8
..x..|8 now
..x..tue|8 2
tue....x|2 8
mon..tue..a|9 3
a..mon..tue|3 9
é x..tue|11 2
tue..é x|2 11
tue..tue|2 2
..|-
...|-
..tue|-
..tue..|-
tue...|-
tue..nope|-
nope..tue|-
nope..|-
tue..15|-
15..|-
tue..mon..|-
tue.. |-
backing..|-
layer:0..|-
layer:1..|-
tue..backing|-
LIST
)
for name in ..tue tue..nope nope..tue backing.. layer:9..; do
    not_ok "$name is refused" nbdinfo --size "$(to "$name")"
    like "... the message has the name" "$(tail -1 "$log")" \
         "image\\.qcow2.*'${name//./\\.}'"
done
is "deltas are not listed" "$(nbdinfo --list "$uri" | grep -c '^export=')" 15
stop_qcow || fail "the server exits cleanly"

# With a raw backing file: the keywords, and snapshots with such names.
over=full.raw
ladder image.qcow2 mon tue wed
start_qcow -- image.qcow2 || fail "start"
says "backing and layer:N" 65536 < <(expect <<'LIST'
backing..|0 now
backing..tue|0 2
backing..1|0 1
layer:1..|0 now
layer:1..wed|0 3
tue..wed|2 3
wed..mon|3 1
layer:0..|-
layer:2..|-
layer:9..|-
layer:4294967297..|-
layer:-1..|-
layer:..|-
layer:1x..|-
backing|-
layer:1|-
mon..backing|-
mon..layer:1|-
backing..backing|-
..backing|-
LIST
)
stop_qcow || fail "the server exits cleanly"
ladder image.qcow2 mon backing layer:1 tue
start_qcow -- image.qcow2 || fail "start"
says "snapshots with the names of keywords" 65536 < <(expect <<'LIST'
backing..|2 now
backing..tue|2 4
layer:1..|3 now
mon..backing|1 2
tue..layer:1|4 3
LIST
)
stop_qcow || fail "the server exits cleanly"

# If an L2 table of the older state is damaged, the delta reports everything as
# changed.  The newer state can be read, and other deltas are not affected.
over=
ladder image.qcow2 mon tue wed
oracle image.qcow2 oracle.raw
table=$(peek image.qcow2 64 8)
poke image.qcow2 "$(peek image.qcow2 "$table" 8)" 0000010000000000
start_qcow -- image.qcow2 || fail "start"
says "the older state is damaged: all changed" 65536 < <(expect <<'LIST'
mon..|full now
mon..tue|full 2
tue..|2 now
wed..tue|3 2
LIST
)
rm -f got.raw
nbdcopy "$(to mon..)" got.raw
same_bytes "... the newer state can be read" got.raw oracle.raw
stop_qcow || fail "the server exits cleanly"

# since= and snapshot= select a delta and disable all other exports.
over=full.raw
ladder image.qcow2 mon tue wed backing..mon
while IFS='|' read -r set wanted; do
    read -r -a args <<< "$set"
    start_qcow -- image.qcow2 "${args[@]}" || { fail "$set"; continue; }
    says "$set" 65536 < <(
        { echo "|$wanted"
          for name in mon 1 mon.. backing.. tue..wed wed; do
              echo "$name|-"
          done; } | expect)
    is "... is the only export" "$(nbdinfo --list "$uri" | grep '^export=')" \
       'export="":'
    stop_qcow || fail "the server exits cleanly"
done <<'LIST'
since=tue|2 now
since=2|2 now
since=backing|0 now
since=layer:1|0 now
since=mon snapshot=wed|1 3
snapshot=mon since=wed|3 1
since=backing snapshot=2|0 2
since=backing..mon|4 now
LIST
while IFS='|' read -r set re; do
    read -r -a args <<< "$set"
    refused "$set: refused" "$re" -- image.qcow2 "${args[@]}"
done <<'LIST'
since=nope|image\.qcow2.*nope
since=layer:2|image\.qcow2.*layer:2
since=layer:0|image\.qcow2.*layer:0
since=tue..|image\.qcow2.*tue\.\.
since=mon..tue|image\.qcow2.*mon\.\.tue
since=|since
since=mon snapshot=nope|image\.qcow2.*nope
since=mon since=tue|since=tue
since=mon bitmap=b|since.*bitmap|bitmap.*since
LIST
over=
ladder image.qcow2 mon
refused "since=backing without a backing file: refused" \
        'image\.qcow2: since=backing: must be .*number of backing files, 0' \
        -- image.qcow2 since=backing
qemu-img create -q -f qcow2 alone.qcow2 1M
for point in backing layer:1 mon; do
    refused "since=$point without snapshots or backing file: refused" \
            "alone\.qcow2: since=$point: there is nothing to compare with" \
            -- alone.qcow2 since=$point
done

# A 1 TiB image whose two states share all but 1000 of 2048 L2 tables: only
# those are read to find the changes.  One of them is missing in the older
# state, another in the newer.
cat > large.py <<'PY'
import random
import kinds
from qcow2 import Image, text, OFLAG_COPIED
image = Image(size=1 << 40)
one, two = (image.append(text(t, 65536)) for t in ("one", "two"))
rng = random.Random(1)
changed = sorted(rng.sample(range(2048), 1000))
slots = [rng.randrange(8192) for _ in range(2048)]
for i, slot in enumerate(slots):
    image.entry(i * 8192 + slot, one | OFLAG_COPIED)
image.save("large.qcow2")
no_old, no_new = changed[300], changed[700]
tables = {i: {slots[i]: two} for i in changed}
tables[no_old] = None
places = kinds.add_snapshot(image, "large.qcow2", tables)
with open("large.qcow2", "r+b") as f:
    f.seek(image.l1_offset + 8 * no_new)
    f.write(bytes(8))
at = 0
with open("wanted.map", "w") as f:
    for i in changed:
        place = (i * 8192 + slots[i]) << 16
        if place > at:
            print(at, place - at, 1, file=f)
        print(place, 65536, 3 if i == no_new else 0, file=f)
        at = place + 65536
    print(at, (1 << 40) - at, 1, file=f)
own = [image.l2_offset + i * 65536 for i in changed if i != no_new]
with open("tables", "w") as f:
    print(image.l2_offset, *sorted(own + list(places.values())), file=f)
PY
py large.py || exit 1
# (No sanitizer: strace would see its reads.)
[ -z "${QCOW_PRELOAD:-}" ] || plugin=$top/nbdkit-qcow-plugin.so
calls=read,pread64,readv,preadv,preadv2,mmap,io_uring_enter
export QCOW_PRELOAD=
export QCOW_VALGRIND="strace -f -qq -y -e trace=$calls -o $tmp/trace"
start_qcow -- large.qcow2 || fail "start"
nbdinfo --map "$(to old..)" | awk '{ print $1, $2, $3 }' > got.map
stop_qcow || fail "the server exits cleanly"
same_text "1 TiB: the map has the changed clusters" got.map wanted.map
cat > tables.py <<'PY'
import re
first, *tables = map(int, open("tables").read().split())
read = dict.fromkeys(tables, 0)
pending = {}
for line in open("trace"):
    # strace splits a call that another thread interrupts into two lines.
    thread, _, call = line.strip().partition(" ")
    call = call.strip()
    if "<unfinished ...>" in call:
        pending[thread] = call.split("<unfinished")[0]
        continue
    call = re.sub(r"^<\.\.\. \w+ resumed>",
                  lambda m: pending.pop(thread, ""), call)
    if "/large.qcow2>" not in call:
        continue
    m = re.match(r"pread64\(.*, (\d+), (\d+)\) += (\d+)$", call)
    if not m:
        print("unexpected:", call[:200])
        continue
    at, got = int(m.group(2)), int(m.group(3))
    if at // 65536 * 65536 in read:
        read[at // 65536 * 65536] += got
    elif first <= at < max(tables):
        print("a read of %d at %d" % (got, at))
print(sum(n == 65536 for n in read.values()), "of", len(read), "once")
PY
is "only the differing tables are read, each once" \
   "$(py tables.py)" "1998 of 1998 once"

done_testing
