#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# QCOW version 1: images made by qemu, with and without a backing file, of any
# geometry, plain and compressed; handmade images with tables, clusters and
# streams at offsets that qemu would not choose; damaged images; and invalid
# headers, which must be refused without using much memory.

source "$(dirname "$0")/functions.sh"
format=qcow
seed=${QCOW_SEED:-1100}

text_source $((1 << 20)) src0 src1 src2 src3

# holds NAME IMAGE RAW: its bytes equal those of RAW, and its map equals
# qemu's.
holds ()
{
    local out
    dense "$2"
    oracle "$2" oracle.raw
    out=$(cmp "$3" oracle.raw 2>&1) || fail "$1: qemu" "$out"
    qemu_map "$2" > wanted.map 2> log || fail "$1: qemu's map" "$(cat log)"
    # shellcheck disable=SC2016
    if out=$(with_qcow 'nbdcopy "$uri" got.raw && cmp "$RAW" got.raw &&
        nbdinfo --map "$uri" > got.map' -- "$2" 2>&1); then
        pass "$1"
    else
        fail "$1" "$out"
    fi
    same_text "$1: the map" got.map wanted.map
}

# --- Images by qemu-img and qemu-io -----------------------------------

# Sizes that are not a multiple of a cluster; the last cluster is partial,
# written, compressed, or unallocated.  (qemu-img rounds up to 512.)
for size in 512 1234 4096 5120 70000 2098176; do
    qemu-img create -q -f qcow image.qcow $size
    compare "$size bytes, empty" image.qcow
    size=$(peek image.qcow 24 8)
    last=$(((size - 1) / 4096 * 4096))
    io image.qcow "write -q -P 10 $((last + (size - last) / 1024 * 512)) 512"
    compare "$size bytes, the last cluster written in part" image.qcow \
            --cluster 4096
    # Iotest 053 is that with 512 bytes.
    qemu-img create -q -f qcow image.qcow $size
    io image.qcow "write -q -c -s src0 $last $((size - last))"
    [ $last = 0 ] || io image.qcow 'write -q -c -P 11 0 4096'
    compare "$size bytes, the last cluster compressed" image.qcow \
            --cluster 4096
done

# A whole disk, plain and compressed.  (With -c qemu-img 7.2 exits with status
# 1 although the image is complete.)
head -c 1000448 src1 > disk.raw
qemu-img convert -f raw -O qcow disk.raw image.qcow
compare "a converted disk" image.qcow --cluster 4096
same_bytes "... qemu reads the disk" oracle.raw disk.raw
qemu-img convert -c -f raw -O qcow disk.raw image.qcow 2> log || true
compare "a converted disk, compressed" image.qcow --cluster 4096
same_bytes "... qemu reads the disk" oracle.raw disk.raw
is "... the image is smaller than the disk" \
   $(($(stat -c %s image.qcow) < 700000)) 1

# The size is in bytes.  qemu serves whole sectors only, so the raw disk is
# the oracle.
for size in 2 511 513 4095 4097 1000000; do
    for how in plain compressed; do
        opt=
        [ $how = plain ] || opt=-c
        # shellcheck disable=SC2086
        qemu-img convert $opt -f raw -O qcow disk.raw image.qcow \
                 2> log || true
        poke image.qcow 24 "$(printf %016x "$size")"
        head -c "$size" disk.raw > cut.raw
        serves "a size of $size bytes, $how" image.qcow cut.raw \
               --cluster 4096 --borders 20
    done
done

py -c 'import random, sys
sys.stdout.buffer.write(random.Random(1).randbytes(1 << 19))' > noise

# Random histories, at the limits of the geometry and between.
n=0
for spec in 9:6:700 9:13:9000 12:9:600 13:6:150 16:6:100 16:13:40; do
    IFS=: read -r bits l2 clusters <<< "$spec"
    n=$((n + 1))
    cluster=$((1 << bits))
    size=$((clusters * cluster - 512 * (seed % (cluster / 512))))
    for backing in '' base.raw; do
        # The backing file ends before the end of the disk, or after it.
        rm -f base.raw
        head -c $((size - 1024 + n % 2 * 4096)) \
             <(while cat src3; do :; done) > base.raw
        py "$gen/qcow1.py" empty "$bits" "$l2" "$size" image.qcow \
                  $backing
        io_script image.qcow < <(py "$gen/qcow1.py" writes \
                                     $((seed + n)) "$size" "$cluster" 120)
        params=(allow=image-dir)
        compare "cluster_bits $bits, l2_bits $l2, ${backing:-no backing}" \
                image.qcow --cluster "$cluster" --borders 60 --random 100 \
                --seed $((seed + n)) ||
            diag "seed $((seed + n)): repeat with QCOW_SEED=$seed"
        params=()
    done
done

# Iotests 013 and 023: groups of whole clusters, heads, tails and middles,
# requests across clusters and tables, at 0 and at 4 GiB.
group ()
{
    local i p=$(($2 / 512 % 256))
    for ((i = 0; i < $1; i++)); do
        echo "write -q $5 -P $p $(($2 + i * $4)) $3"
    done
}
cat > areas.py <<'PY'
import os, sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
fd = os.open(sys.argv[2], os.O_RDONLY)
for start in (0, 4 << 30, h.get_size() - 1000):
    at = start
    while at < min(start + (4 << 20), h.get_size()):
        n = min(99_991, h.get_size() - at)
        if h.pread(n, at) != os.pread(fd, n, at):
            sys.exit("%d bytes at %d differ" % (n, at))
        at += n
PY
for bits in 12 16; do
    c=$((1 << bits))
    py "$gen/qcow1.py" empty $bits 9 $((6 << 30)) image.qcow
    for at in 0 $((4 << 30)); do
        group 8 $at $c $c -c
        group 8 $((at + 8 * c)) $c $c ''
        group 8 $((at + 16 * c + c / 2)) $((c / 2)) $c ''
        group 8 $((at + 24 * c)) $((c / 2)) $c ''
        group 8 $((at + 32 * c + c / 4)) $((c / 2)) $c ''
        group 4 $((at + 40 * c + c / 2)) $((c * 2)) $((c * 3)) ''
        group 1 $((at + 512 * c - c)) $((c * 3)) 0 ''
    done > list
    io_script image.qcow < list
    oracle image.qcow oracle.raw
    # shellcheck disable=SC2016
    ok "iotests 013 and 023, clusters of $c" \
       with_qcow 'qemu-img compare -f raw -F raw oracle.raw "$uri" &&
                  py areas.py "$uri" oracle.raw' -- image.qcow
done
rm -f oracle.raw

# --- Backing files ----------------------------------------------------

# Iotest 037: clusters of 512 bytes (qemu's choice with a backing file) at
# every position of a larger cluster; each sector of the base is different.
# One base ends in the middle of a sector.
params=(allow=image-dir)
py -c 'import sys
for i in range(400):
    sys.stdout.buffer.write(b"%03d base" % i * 64)' > sectors
for length in 204800 140000 140001 70144; do
    head -c $length sectors > base.raw
    qemu-img create -q -f qcow -b base.raw -F raw image.qcow 200k
    is "iotest 037: clusters of 512 bytes" "$(peek image.qcow 32 1)" 9
    for ((i = 0; i < 48; i++)); do
        echo "write -q -P $((i + 1)) $((i * 4096 + i % 8 * 512)) $((
            (i / 8 + 1) * 512))"
        echo "write -q -c -P $((i + 100)) $((i * 4096 + (i + 7) % 8 * 512)) 512"
    done > list
    io_script image.qcow < list
    oracle image.qcow oracle.raw
    serves "iotest 037, a base of $length bytes" image.qcow oracle.raw \
           --cluster 512
    dense base.raw
    dense image.qcow
    # If the base ends inside a sector, the maps differ.
    [ $((length % 512)) != 0 ] || same_map "iotest 037, $length" image.qcow
done

# Chains of different versions.  Version 1 does not record the format of the
# backing file.
qemu-img create -q -f qcow -b base.raw -F raw one.qcow 150k
io one.qcow 'write -q -s src0 3k 5k' 'write -q -c -s src1 20k 512' \
   'write -q -s src2 60k 30k'
qemu-img create -q -f qcow -b one.qcow -F qcow two.qcow 190k
io two.qcow 'write -q -s src1 5k 4k' 'write -q -c -s src0 100k 512'
refused "version 1 over an image, without backing-format=: refused" \
        'one\.qcow.*backing-format=' -- two.qcow
params=(allow=image-dir backing-format.1=qcow)
dense one.qcow
compare "version 1 over version 1 over raw" two.qcow --cluster 512
params=(allow=image-dir backing-format=raw)
cp two.qcow over-raw.qcow
# The oracle sets the format with qemu's options.
qemu-img convert -O raw --image-opts "driver=qcow,file.filename=over-raw.qcow,\
backing.driver=raw,backing.file.filename=one.qcow" oracle.raw
serves "backing-format=raw: the backing image is read as raw" \
       over-raw.qcow oracle.raw \
       --cluster 512
params=(allow=image-dir backing-format.1=qcow)
qemu-img create -q -f qcow2 -b one.qcow -F qcow two.qcow2 120k
format=qcow2 io two.qcow2 'write -q -z 4k 4k' 'write -q -s src1 64k 1k'
params=(allow=image-dir)
dense two.qcow2
format=qcow2
compare "version 3, which records the format, over version 1" two.qcow2 \
        --cluster 512
format=qcow
qemu-img create -q -f qcow -b two.qcow2 -F qcow2 three.qcow 130k
io three.qcow 'write -q -s src3 1k 2k' 'write -q -c -P 9 65k 512'
params=(allow=image-dir backing-format.1=qcow)
compare "version 1 over 3 over 1 over raw" three.qcow --cluster 512
params=()
refused "a backing file, without allow=: refused" \
        'two\.qcow2.*allow=image-dir|allow=image-dir.*two\.qcow2' -- three.qcow

# --- Handmade images --------------------------------------------------

for bits in 9 10 11 12 13 14 15 16; do
    for l2 in 6 7 8 9 10 11 12 13; do
        case $bits:$l2 in
            9:*|16:*|*:6|*:13) ;;
            *) continue ;;
        esac
        py "$gen/qcow1.py" geometry $bits $l2 image.qcow image.raw ||
            fail "qcow1.py geometry $bits $l2"
        RAW=image.raw holds "handmade: cluster_bits $bits, l2_bits $l2" \
           image.qcow image.raw
    done
done

# Two equal L1 entries, a table inside another one, the L1 table at the end of
# the file.
py - <<'PY'
import os, sys
sys.path.insert(0, os.environ["gen"])
from qcow1 import Image
from qcow2 import text
image = Image(9, 6, 64 * 512 * 6)
for i in range(64):
    image.normal(i, text("t%d" % i, 512))
image.append(b"", 512, 3)
image.l1[0] = image.l1[1] = image.table(0, 1)
image.l1[4] = image.l1[0] + 80
image.append(bytes(600), 1)
image.l1_offset = image.append(bytes(8 * image.l1_size), 1)
image.save("image.qcow")
PY
compare "overlapping L2 tables" image.qcow --cluster 512
is "... qemu's map has the clusters of all three" \
   "$(qemu-img map --output=json -f qcow image.qcow |
          jq '[.[] | select(.data) | .length] | add')" $(((64 * 2 + 54) * 512))
# A missing end of an L1 table counts as empty, if shorter than a cluster.
truncate -s -12 image.qcow
poke image.qcow $(($(stat -c %s image.qcow) - 4)) 00000000
compare "a truncated L1 table" image.qcow --cluster 512

# --- Damage -----------------------------------------------------------

# damage WHAT: create image.qcow and image.raw, print the expected status.
damage ()
{
    py "$gen/qcow1.py" damage "$1" image.qcow image.raw
}

# damaged NAME WHO STATUS: image.qcow reads as STATUS, in steps of 4096 bytes;
# if WHO is both, also in qemu.
damaged ()
{
    local wanted
    if [ "$2" = both ]; then
        wanted=$(with_qemu "py $gen/nbd-status.py --reconnect \
                            \"\$uri\" image.raw 4096" image.qcow 2> /dev/null |
                     paste -s -d ';' | sed 's/;/; /g')
        is "$1: qemu" "$wanted" "$3"
    fi
    is "$1" "$(status_of image.qcow image.raw 4096)" "$3"
    like "$1: a message" "$(cat status.log)" 'image\.qcow'
    is "$1: the map has only data" \
       "$(our_map image.qcow | awk '{ print $1, $2, $3 }')" \
       "0 $(stat -c %s image.raw) 0"
}

damaged "damaged entries" both "$(damage entries)"
damaged "entries beyond the end of the file" ours "$(damage end)"
for spec in 0x8000000000000000:both 0xffffffffffffffff:both \
            0x7fffffffffffffff:ours 0x10000000000:ours table-at-end:ours; do
    damaged "an L2 table at ${spec%:*}" "${spec#*:}" \
            "$(damage "${spec%:*}")"
done

# The file ends within the last cluster, or within the last L2 table.
damage none > log
end=$(stat -c %s image.qcow)
truncate -s $((end - 1000)) image.qcow
compare "a file that ends inside a cluster" image.qcow --cluster 4096
is "... the missing part is zeros" \
   "$(status_of image.qcow image.raw 4096)" "0 69 same; 69 1 different"
damage none > log
table=$(peek image.qcow 56 8)
dd if=image.qcow of=table bs=1 skip="$table" count=512 status=none
cat table >> image.qcow
truncate -s $((end + 24)) image.qcow
poke image.qcow 56 "$(printf %016x "$end")"
compare "a file that ends inside an L2 table" image.qcow --cluster 4096
is "... the missing entries are unallocated" \
   "$(status_of image.qcow image.raw 4096)" "0 67 same; 67 3 zero"
# An L2 table of 64 KiB with clusters of 512 bytes: it is unreadable if more
# than a cluster of it is missing.
py "$gen/qcow1.py" empty 9 13 4194304 image.qcow
io image.qcow 'write -q -P 5 0 512'
head -c 4194304 /dev/zero > image.raw
truncate -s $(($(peek image.qcow 48 8) + 65536 - 511)) image.qcow
poke image.qcow "$(peek image.qcow 48 8)" 0000000000000000
compare "a file that ends in the last cluster of an L2 table" image.qcow
truncate -s -1 image.qcow
is "a file that lacks a whole cluster of its L2 table: EIO" \
   "$(status_of image.qcow image.raw 4096)" "0 1024 EIO"

# --- Headers (iotest 092 and more) ------------------------------------

qemu-img convert -f raw -O qcow disk.raw good.qcow

# bad NAME REGEX [OFFSET HEX]...: qemu and the plugin refuse it.
bad ()
{
    ours "$@"
    ! qemu-io -r -f qcow -c 'read 0 512' bad.qcow > log 2>&1 ||
        fail "header: $1: refused by qemu" "$(cat log)"
}

# ours NAME REGEX [OFFSET HEX]...: only the plugin refuses it.
ours ()
{
    local name=$1 re=$2
    shift 2
    cp good.qcow bad.qcow
    while [ $# -gt 0 ]; do
        poke bad.qcow "$1" "$2"
        shift 2
    done
    refused "header: $name: refused" "bad\\.qcow.*($re)" -- bad.qcow
}

bad "version 0" 'version.*0' 4 00000000
for n in 0 8 17 31 255; do
    bad "cluster_bits $n" "cluster_bits.*$n" 32 "$(printf %02x $n)"
done
for n in 0 5 14 27 255; do
    bad "l2_bits $n" "l2_bits.*$n" 33 "$(printf %02x $n)"
done
for n in 0000000000000000 0000000000000001 eeeeeeeeeeeeeeee \
         7fffffffffffffff 8000000000000000 ffffffffffffffff; do
    bad "size 0x$n" 'size' 24 $n
done
bad "crypt_method 1" 'AES|[Ee]ncrypt' 36 00000001
for n in 2 4294967295; do
    bad "crypt_method $n" "crypt_method.*$n" 36 "$(printf %08x $n)"
done
for n in 1024 2147483647 4294967295; do
    bad "backing_file_size $n" "backing_file_size.*$n|backing.*$n" \
        8 00000000000000ff 16 "$(printf %08x $n)"
done
end=$(printf %016x "$(stat -c %s good.qcow)")
for n in $end 0000000040000000 7ffffffffffffff8 ffffffffffffffff; do
    ours "l1_table_offset 0x$n" 'l1_table_offset|L1 table' 40 "$n"
done
ours "a size that needs a longer L1 table" 'size|L1 table' \
     24 0000010000000000
for n in 1 8 24 47 48; do
    head -c $n good.qcow > bad.qcow
    refused "truncated to $n bytes: refused" 'bad\.qcow' -- bad.qcow
done
# Fields that are ignored; backing_file_size 0 means no backing file.
cp good.qcow image.qcow
poke image.qcow 20 ffffffff
poke image.qcow 34 ffff
poke image.qcow 8 0000000000001000
serves "mtime, padding and an empty backing file name: ignored" \
       image.qcow disk.raw

# The longest name, at an odd offset in the file.
head -c 1M src2 > base.raw
qemu-img create -q -f qcow image.qcow 1M
io image.qcow 'write -q -s src0 0 64k'
at=$(($(stat -c %s image.qcow) + 77))
{ printf ./%.0s {1..507}; printf /base.raw; } > name
is "the name has 1023 bytes" "$(stat -c %s name)" 1023
dd if=name of=image.qcow bs=1 seek=$at status=none
poke image.qcow 8 "$(printf %016x $at)"
poke image.qcow 16 000003ff
printf junk >> image.qcow
params=(allow=image-dir)
compare "a backing file name of 1023 bytes" image.qcow --cluster 4096
params=()

# --- Memory -----------------------------------------------------------

# peak IMAGE: print the exit status and the peak memory, in KiB, of a server
# without clients.
peak ()
{
    new_socket
    "$python" - "$socket" "$plugin" "$1" <<'PY'
import resource, subprocess, sys
r = subprocess.run(["nbdkit", "-f", "-U", *sys.argv[1:], "--run", "true"],
                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
print(r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PY
}

# cheap NAME REGEX: bad.qcow is refused with less than 16 MiB more memory than
# a small image needs.
cheap ()
{
    local rc kib usual
    refused "$1: refused" "bad\\.qcow.*($2)" -- bad.qcow
    read -r rc usual < <(peak good.qcow)
    is "... a small image is served" "$rc" 0
    read -r rc kib < <(peak bad.qcow)
    is "... with less than 16 MiB more memory ($kib KiB, not $usual)" \
       "$rc $((kib < usual + 16384))" "1 1"
}

# An L1 table of 637 MB in a file of 516 bytes, and in a file with a hole
# there.
py "$gen/qcow1.py" empty 12 9 4096 bad.qcow
truncate -s 516 bad.qcow
poke bad.qcow 24 0000980000000000
cheap "152 TiB in 516 bytes" 'size|L1 table'
truncate -s 700M bad.qcow
cheap "152 TiB with an L1 table" 'size|L1'

# A valid large image: 16 TiB, an L1 table of 64 MiB.
py "$gen/qcow1.py" empty 12 9 $((16 << 40)) image.qcow
io image.qcow 'write -q -P 7 15T 8k'
if start_qcow -- image.qcow; then
    is "16 TiB: the size" "$(nbdinfo --size "$uri")" $((16 << 40))
    at=$((15 << 40))
    is "16 TiB: the map" \
       "$(nbdinfo --map "$uri" | awk '{ print $1, $2, $3 }')" \
       "0 $at 3"$'\n'"$at 8192 0"$'\n'"$((at + 8192)) $(((1 << 40) - 8192)) 3"
    ok "16 TiB: the bytes" qemu-io -r -f raw -c 'read -P 7 15T 8k' \
       -c 'read -P 0 16492674424832 1M' -c 'read -P 0 0 1M' \
       -c 'read -P 0 17592185995264 48k' "$uri"
    stop_qcow || fail "the server exits cleanly"
fi

done_testing
