#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Extended L2 entries: clusters of 32 subclusters, each of which has data, is
# zero, or is unallocated.  The steps of qemu's iotest 271, one by one; random
# images over and under others; each ordered pair of kinds as neighbours;
# invalid entries; files that end inside a cluster.

source "$(dirname "$0")/functions.sh"
seed=${QCOW_SEED:-2710}
params=(allow=image-dir)

text_source $((16 << 20)) src0 src1 src2 src3
head -c 1M src0 > disk.raw

# create IMAGE SIZE [OPTION...]
create ()
{
    local image=$1 size=$2
    shift 2
    rm -f "$image"
    qemu-img create -q -f qcow2 -o extended_l2=on "$@" "$image" "$size" ||
        exit 1
}

# --- Iotest 271: after each command, bytes and map --------------------

# with_ff SIZE: create ff.raw, filled with 0xff.
with_ff ()
{
    rm -f ff.raw
    head -c "$1" /dev/zero | tr '\0' '\377' > ff.raw
}

# steps NAME SIZE BACKING STEP...: after each step, bytes and map equal
# qemu's.  A step is COMMAND:OFFSET:LENGTH; the command is (w)rite, write
# (c)ompressed, (z)ero, zero and (u)nmap, or (d)iscard.
steps ()
{
    local name=$1 size=$2 backing=$3 step rest command pattern=0
    local bad=() n=0
    shift 3
    create image.qcow2 "$size" ${backing:+-b "$backing" -F raw}
    : > bitmaps
    for step; do
        pattern=$((pattern + 1))
        rest=${step#*:}
        case $step in
            w*) command="write -q -P $pattern" ;;
            c*) command="write -q -c -P $pattern" ;;
            z*) command="write -q -z" ;;
            u*) command="write -q -z -u" ;;
            d*) command="discard -q" ;;
        esac
        io image.qcow2 "$command ${rest/:/ }"
        n=$((n + 1))
        # The map equals qemu's only if the file has no holes.
        cp --sparse=never image.qcow2 step.qcow2
        # shellcheck disable=SC2016
        with_qemu 'nbdcopy "$uri" wanted.raw && nbdinfo --map "$uri"' \
                  step.qcow2 > wanted.map 2> log ||
            { bad+=("step $n, $step: qemu: $(cat log)"); continue; }
        # shellcheck disable=SC2016
        with_qcow 'nbdcopy "$uri" got.raw && nbdinfo --map "$uri"' \
                  -- step.qcow2 > got.map 2> log &&
            cmp wanted.raw got.raw >> log 2>&1 &&
            diff wanted.map got.map >> log ||
            bad+=("step $n, $step: $(head -5 log)")
        dd if=image.qcow2 of=bitmaps bs=1 skip=$((0x40000)) count=528 \
           oflag=append conv=notrunc status=none
    done
    is "$name, ${backing:-no base}: $n steps" \
       "$(printf '%s\n' "${bad[@]}")" ""
}

# seen: print the kinds of entries that qemu made in those steps.
seen ()
{
    py - <<'PY'
import struct
data = open("bitmaps", "rb").read()
kinds = set()
for at in range(0, len(data) // 16 * 16, 16):
    entry, zero, alloc = struct.unpack_from(">QII", data, at)
    if entry >> 62 & 1:
        kinds.add("compressed")
    elif entry:
        kinds |= {"data"} if alloc else set()
        kinds |= {"data,zero"} if alloc and zero else set()
        if alloc and (alloc | zero) != 0xffffffff:
            kinds.add("data,unallocated")
    elif zero:
        kinds.add("zero")
print(*sorted(kinds))
PY
}

write=(w:0:1k w:3k:512 w:5k:1k w:6k:2k w:8k:6k w:15k:4k w:32k:1k w:63k:4k
       z:2k:2k z:0:64k w:0:64k u:0:32k u:0:64k w:3k:512 w:0:64k d:0:64k
       c:0:64k w:3k:512)
over=(w:24k:40k w:90k:2k w:156k:2k z:156k:2k w:192k:34k w:24k:192k)
zero=(z:0:192k z:224k:128k z:415k:128k
      w:576k:576k z:576k:192k z:800k:128k z:991k:128k
      c:1152k:704k z:1152k:192k z:1376k:128k z:1567k:129k z:1759k:128k
      z:1951k:8k z:2048k:35k)
for base in ff.raw ''; do
    with_ff 1M
    steps "271: writes" 1M "$base" "${write[@]}"
    is "... qemu made all kinds of entries" "$(seen)" \
       "compressed data data,unallocated data,zero zero"
    with_ff 2083k
    steps "271: zeros" 2083k "$base" "${zero[@]}"
    steps "271: zeros, unmapped" 2083k "$base" "${zero[@]/#z/u}"
done
steps "271: writes of several clusters, some without copy-on-write" \
      1M '' "${over[@]}"

# Discards with nonempty bitmaps; shrinking and growing.
with_ff 1M
for base in ff.raw ''; do
    create image.qcow2 1M ${base:+-b $base -F raw}
    io image.qcow2 'write -q 0 128k' 'discard -q 0 128k'
    poke image.qcow2 $((0x40008)) 0000
    io image.qcow2 'discard -q 0 64k'
    qemu-img resize -q --shrink image.qcow2 64k
    qemu-img resize -q image.qcow2 1M
    compare "271: discards, ${base:-no base}" image.qcow2 --cluster 2048
done

# Preallocation at creation and when growing; the base is longer.
for mode in metadata falloc full; do
    for base in ff.raw ''; do
        create image.qcow2 512k -o preallocation=$mode ${base:+-b $base -F raw}
        qemu-img resize -q image.qcow2 1M
        compare "preallocation=$mode, ${base:-no base}" image.qcow2
        create image.qcow2 503k ${base:+-b $base -F raw}
        [ -n "$base" ] || io image.qcow2 'write -q -P 255 0 503k'
        qemu-img resize -q --preallocation=$mode image.qcow2 1013k
        compare "grown with preallocation=$mode, ${base:-no base}" \
                image.qcow2 --cluster 2048 --borders 20
    done
done

# Copy-on-write of clusters that belong to a snapshot.
create image.qcow2 1M
for ((c = 0; c < 10; c++)); do
    echo "write -q -z $((64 * c + 14))k 2k"
    echo "write -q -P $((0xd0 + c)) $((64 * c + 26))k 2k"
    echo "write -q -P $((0xe0 + c)) $((64 * c + 36))k 2k"
done > list
io_script image.qcow2 < list
qemu-img snapshot -c snap image.qcow2
io image.qcow2 'write -q -P 0xf0 30k 1k' 'write -q -P 0xf1 84k 1k' \
   'write -q -P 0xf2 168k 1k' 'write -q -P 0xf3 218k 1k' \
   'write -q -P 0xf4 270k 1k' 'write -q -P 0xf5 321k 1k' \
   'write -q -z 414k 3k' 'write -q -z 474k 2k' 'write -q -z 538k 1k' \
   'write -q -z 588k 1k'
compare "271: copy-on-write after a snapshot" image.qcow2 --cluster 2048

# --- Random images ----------------------------------------------------

# Without and with zstd, and with a data file.
random ()
{
    local cluster=$1 size=$2 more=$3
    seed=$((seed + 1))
    if [[ $more = *data_file* ]]; then
        # Images with a data file can't have compressed clusters.
        rm -f image.qcow2
        create image.qcow2 "$size" -o "cluster_size=$cluster,$more"
        py "$gen/random-writes.py" $seed "$size" "$cluster" 150 |
            sed 's/ -c / /; /^$/d' > list
        io_script image.qcow2 < list
        dense data.raw
    else
        random_image image.qcow2 $seed "$size" "$cluster" 150 \
                     extended_l2=on${more:+,$more}
    fi
    compare "clusters of $cluster, $more, seed $seed" image.qcow2 \
            --cluster $((cluster / 32)) --borders 200 --random 100 \
            --seed $seed || diag "repeat with QCOW_SEED=${QCOW_SEED:-2710}"
}
random 16384 $((1100 * 16384)) ''
random 65536 $((40 * 65536)) compression_type=zstd
random 2097152 $((9 << 20)) ''
random 65536 $((40 * 65536)) data_file=data.raw
random 16384 $((200 * 16384)) data_file=data.raw,data_file_raw=on

# Over and under standard images of other sizes; each layer is random.
mv image.qcow2 base.qcow2
layers=(65536:off:3000000 16384:on:2500000 4096:off:2700000
        65536:on:3300352 2097152:on:3145728)
below=
for i in "${!layers[@]}"; do
    IFS=: read -r cluster on size <<< "${layers[i]}"
    seed=$((seed + 1))
    random_image layer$i.qcow2 $seed $((size / 512 * 512)) "$cluster" 60 \
                 "extended_l2=$on$below"
    dense layer$i.qcow2
    below=,backing_file=layer$i.qcow2,backing_fmt=qcow2
    [ "$i" = 0 ] ||
        compare "layer $i, clusters of $cluster, extended: $on, seed $seed" \
                layer$i.qcow2 --cluster 2048 --borders 200 --random 100 ||
        diag "repeat with QCOW_SEED=${QCOW_SEED:-2710}"
done

# --- Neighbours -------------------------------------------------------

# neighbours.py CLUSTER_BITS BACKWARDS BASE IMAGE: subclusters with data (n),
# zero (z) and unallocated (u) in clusters with a host offset; zero (Z) and
# unallocated (U) in clusters without; compressed clusters (c).  Each ordered
# pair of these six meets at a cluster boundary; each triple of n, z, u and
# each quadruple of Z, U occurs within a cluster.  With BACKWARDS=yes, no host
# clusters are contiguous.
cat > neighbours.py <<'PY'
import os, struct, sys
sys.path.insert(0, os.environ["gen"])
from qcow2 import Image, deflate, text
bits, backwards, base, path = sys.argv[1:]
bits = int(bits)

def de_bruijn(k, n):
    a, out = [0] * k * n, []
    def db(t, p):
        if t > n:
            if n % p == 0:
                out.extend(a[1:p + 1])
            return
        a[t] = a[t - p]
        db(t + 1, p)
        for j in range(a[t - p] + 1, k):
            a[t] = j
            db(t + 1, t)
    db(1, 1)
    return out + out[:n - 1]

class Extended(Image):
    """Entries of two words."""
    def __init__(self, bits, clusters):
        super().__init__(bits, 2 * clusters << bits)
        self.size = clusters << bits
    def set(self, index, word, bitmap):
        self.entry(2 * index, word)
        self.entry(2 * index + 1, bitmap)
    def header(self):
        head = bytearray(super().header())
        head[79] |= 16
        if base:
            name = os.fsencode(base)
            struct.pack_into(">QI", head, 8, 160, len(name))
            head += struct.pack(">II3s5x", 0xe2792aca, 3, b"raw") \
                + bytes(160 - 112 - 16) + name
        return bytes(head)

kinds = ["nzuZUc"[i] for i in de_bruijn(6, 2)]
inner = ["nzu"[i] for i in de_bruijn(3, 3)]
outer = ["ZU"[i] for i in de_bruijn(2, 4)]
image = Extended(bits, len(kinds))
below = open(base, "rb").read() if base else b""
todo = []
raw = b""
for i, k in enumerate(kinds):
    middle = inner if k in "nzu" else outer
    s = [k] + (middle * 3)[i % len(middle):][:30] + [k]
    bitmap = sum(1 << j for j in range(32) if s[j] == "n") \
        + sum(1 << 32 + j for j in range(32) if s[j] in "zZ")
    data = text("cluster %d" % i, image.cluster)
    todo.append((i, k, bitmap, data))
    sub = image.cluster // 32
    for j in range(32):
        raw += data[j * sub:(j + 1) * sub] if k == "c" or s[j] == "n" \
            else bytes(sub) if s[j] in "zZ" or not below \
            else below[len(raw):len(raw) + sub].ljust(sub, b"\0")
open("image.raw", "wb").write(raw)
for i, k, bitmap, data in reversed(todo) if backwards == "yes" else todo:
    if k == "c":
        stream = deflate(data)
        at = image.append(stream, False)
        image.set(i, image.compressed_entry(at, len(stream)), bitmap)
    else:
        at = image.append(data) | 1 << 63 if k in "nzu" else 0
        image.set(i, at, bitmap)
image.save(path)
PY
head -c 2M src3 > base.raw
for spec in 14:no: 14:yes: 14:no:base.raw 14:yes:base.raw 16:no:base.raw; do
    IFS=: read -r bits backwards base <<< "$spec"
    py neighbours.py "$bits" "$backwards" "$base" image.qcow2 ||
        fail neighbours.py
    compare "neighbours, 2^$bits, backwards: $backwards, ${base:-no base}" \
            image.qcow2 --cluster $((1 << (bits - 5))) --borders 1200
    same_bytes "... qemu reads the intended bytes" oracle.raw image.raw
done

# --- Damage -----------------------------------------------------------

# damaged NAME WHO STATUS [OFFSET HEX]...: a copy of base.qcow2 (and its
# backing file, if any) with those bytes changed reads as STATUS, in steps of
# 2048 bytes; if WHO is both, also in qemu.
damaged ()
{
    local name=$1 who=$2 status=$3 wanted
    shift 3
    cp base.qcow2 image.qcow2
    while [ $# -gt 0 ]; do
        poke image.qcow2 "$1" "$2"
        shift 2
    done
    if [ "$who" = both ]; then
        wanted=$(with_qemu "py $gen/nbd-status.py --reconnect \
                            \"\$uri\" disk.raw 2048" image.qcow2 2> log |
                     paste -s -d ';' | sed 's/;/; /g')
        is "$name: qemu" "$wanted" "$status"
    fi
    is "$name" "$(status_of image.qcow2 disk.raw 2048)" "$status"
    case $status in
        *EIO*) like "$name: a message" "$(cat status.log)" 'image\.qcow2' ;;
        *) is "$name: no message" "$(cat status.log)" "" ;;
    esac
}

rm base.qcow2
qemu-img convert -f raw -O qcow2 -o extended_l2=on disk.raw base.qcow2
l2=$(($(peek base.qcow2 "$(peek base.qcow2 40 8)" 8) & 0xffffffffffffff))
# entry N: the offset of L2 entry N.  at N: its value.
entry () { echo $((l2 + 16 * $1)); }
at () { peek base.qcow2 "$(entry "$1")" 8; }
hex () { printf '%016x' "$1"; }
is "the 16 clusters are contiguous" $(($(at 15) - $(at 0))) $((15 * 65536))
end=$(hex $(($(stat -c %s base.qcow2) | 1 << 63)))

# Each invalid entry makes its whole cluster EIO, and no other: with data and
# zero at once, with data but no host offset, with both faults, and with an
# unaligned offset of data, of zeros, of an unallocated cluster.
bad=("$(($(entry 3) + 8))" 00000001ffffffff
     "$(entry 5)" 00000000000000000000000000000080
     "$(entry 7)" 00000000000000000000000100000001
     "$(entry 9)" "$(hex $(($(at 9) | 512)))"
     "$(entry 11)" "$(hex $(($(at 11) | 512)))ffffffff00000000"
     "$(entry 13)" "$(hex $(($(at 13) | 512)))0000000000000000"
     "$(entry 15)" "$(at 15 | xargs printf %016x)8000000080000000")
status="0 96 same; 96 32 EIO; 128 32 same; 160 32 EIO; 192 32 same;"
status+=" 224 32 EIO; 256 32 same; 288 32 EIO; 320 32 same; 352 32 EIO;"
status+=" 384 32 same; 416 32 EIO; 448 32 same; 480 32 EIO"
damaged "invalid entries" both "$status" "${bad[@]}"
is "... the map has only data" \
   "$(our_map image.qcow2 | awk '{ print $1, $2, $3 }')" "0 1048576 0"
# An invalid entry must not show the backing file.
cp base.qcow2 alone.qcow2
qemu-img rebase -q -u -f qcow2 -b disk.raw -F raw base.qcow2
damaged "... over a base" both "$status" "${bad[@]}"
mv alone.qcow2 base.qcow2

# Valid: bit 0 (the zero flag of standard entries), other reserved bits, and
# the bitmap of a compressed cluster.
cp base.qcow2 image.qcow2
poke image.qcow2 "$(entry 2)" "$(hex $(($(at 2) | 1)))"
poke image.qcow2 "$(entry 4)" 00000000000000010000000000000000
poke image.qcow2 "$(entry 6)" "$(hex $(($(at 6) | 0x3f000000000001ff)))"
poke image.qcow2 "$(entry 8)" 80000000000000010000000f00000000
compare "reserved bits: ignored" image.qcow2 --cluster 2048
is "... clusters with reserved bits" \
   "$(status_of image.qcow2 disk.raw 65536)" \
   "0 4 same; 4 1 zero; 5 3 same; 8 1 zero; 9 7 same"
create image.qcow2 1M
io image.qcow2 'write -q -c -s src1 0 64k' 'write -q -s src2 64k 64k'
for bitmap in 8000000100000001 00000000ffffffff ffffffff00000000 \
              ffffffffffffffff; do
    poke image.qcow2 $((0x40008)) $bitmap
    compare "a compressed cluster with the bitmap $bitmap" image.qcow2
done

# --- The end of the file ----------------------------------------------

# Data beyond the end of the file is EIO; zero and unallocated subclusters are
# not.
damaged "clusters at the end of the file" ours \
        "0 96 same; 96 32 EIO; 128 64 zero; 192 320 same" \
        "$(entry 3)" "$end" "$(entry 4)" "${end}ffffffff00000000" \
        "$(entry 5)" "${end}0000000000000000"
damaged "clusters far beyond the end of the file" ours \
        "0 96 same; 96 32 EIO; 128 32 zero; 160 352 same" \
        "$(entry 3)" 80fffffffffe0000 \
        "$(entry 4)" 80fffffffffe0000ffffffff00000000
# Truncated within a cluster: the rest of the cluster is zeros, whole
# subclusters as well.
first=$(($(at 12) & ~(1 << 63)))
cp base.qcow2 whole.qcow2
for spec in "30000:0 398 same; 398 1 different; 399 17 zero; 416 96 EIO" \
            "28672:0 398 same; 398 18 zero; 416 96 EIO" \
            "1:0 384 same; 384 1 different; 385 31 zero; 416 96 EIO" \
            "0:0 384 same; 384 128 EIO"; do
    cp whole.qcow2 base.qcow2
    truncate -s $((first + ${spec%%:*})) base.qcow2
    damaged "a file that ends ${spec%%:*} bytes into a cluster" ours \
            "${spec#*:}"
done
# Truncated within the last cluster: qemu reads the same.
cp whole.qcow2 image.qcow2
truncate -s $(($(stat -c %s image.qcow2) - 40000)) image.qcow2
compare "a file that ends inside its last cluster" image.qcow2 --cluster 2048
head -c 1M src3 > base.raw
qemu-img rebase -q -u -f qcow2 -b base.raw -F raw whole.qcow2
cp whole.qcow2 image.qcow2
poke image.qcow2 $(($(entry 15) + 8)) 5555555500aa00aa
truncate -s $((first + 3 * 65536 + 3 * 2048)) image.qcow2
compare "... with subclusters of all kinds, over a base" image.qcow2 \
        --cluster 2048

# --- The header -------------------------------------------------------

qemu-img create -q -f qcow2 -o cluster_size=8k image.qcow2 1M
poke image.qcow2 72 0000000000000010
refused "subclusters of 256 bytes: refused" \
        'image\.qcow2.*([Ee]xtended|[Ss]ubcluster|cluster_bits)' -- image.qcow2
# An L2 table has half as many entries: 16 MiB with clusters of 16 KiB.
create image.qcow2 16M -o cluster_size=16k
io image.qcow2 'write -q -s src0 0 1M' 'write -q -s src1 15M 1M'
compare "a full L2 table" image.qcow2
poke image.qcow2 24 0000000001000200
not_ok "a disk one sector larger than its L1 table: refused by qemu" \
       qemu-io -r -f qcow2 -c 'read 0 512' image.qcow2
refused "a disk one sector larger than its L1 table: refused" \
        'image\.qcow2.*(size|L1)' \
        -- image.qcow2

done_testing
