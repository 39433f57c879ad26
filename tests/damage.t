#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Damaged tables and truncated files: reads of damaged clusters return EIO,
# other clusters are read correctly, the server survives, and it prints one
# line about the damage, not thousands.  The map reports damaged clusters as
# data.
#
# qemu is the oracle unless it is stricter.  Beyond the end of the file the
# plugin deliberately differs: qemu reads zeros, the plugin returns EIO.  A
# cluster that is partly beyond the end is filled up with zeros.

source "$(dirname "$0")/functions.sh"

text_source $((16 << 20)) src0
head -c 1M src0 > disk.raw
qemu-img convert -f raw -O qcow2 disk.raw base.qcow2
l1=$(peek base.qcow2 40 8)
l2=$(($(peek base.qcow2 "$l1" 8) & 0xffffffffffffff))
size=$(stat -c %s base.qcow2)
hex16 () { printf '%016x' "$1"; }

# entry N: print the host offset of cluster N.
entry () { echo $(($(peek base.qcow2 $((l2 + 8 * $1)) 8) & 0xffffffffffffff)); }

# damaged NAME STATUS [OFFSET HEX]...: passes if a copy of the base image with
# these bytes reads as STATUS says, in steps of 64 KiB (see status_of).
damaged ()
{
    local name=$1 status=$2
    shift 2
    cp base.qcow2 image.qcow2
    while [ $# -gt 0 ]; do
        poke image.qcow2 "$1" "$2"
        shift 2
    done
    check "$name" "$status"
}

check ()
{
    is "$1: $2" "$(status_of image.qcow2 disk.raw 65536)" "$2"
    case $2 in
        *EIO*) like "$1: the message" "$(cat status.log)" \
                    'image\.qcow2: damaged .*guest offset 0x[0-9a-f]+.* host offset 0x[0-9a-f]+: ' ;;
        *) is "$1: no message" "$(cat status.log)" "" ;;
    esac
    map=$(our_map image.qcow2 2>&1) || fail "$1: the map failed" "$map"
}

# as_qemu NAME: passes if image.qcow2 reads as in qemu.
as_qemu ()
{
    oracle image.qcow2 oracle.raw
    serves "$1" image.qcow2 oracle.raw --cluster 65536 --random 50
}

is "the base image has 16 clusters of data" \
   "$(our_map base.qcow2 | awk '{ print $1, $2, $3 }')" "0 1048576 0"
cp base.qcow2 image.qcow2
as_qemu "an undamaged image"

# Unaligned entries (iotest 060 and more).
damaged "an unaligned L2 entry" "0 5 same; 5 1 EIO; 6 10 same" \
        $((l2 + 40)) "8000000000052a00"
is "... and the map says data" "$(awk '{ print $1, $2, $3 }' <<< "$map")" \
   "0 1048576 0"
damaged "an unaligned preallocated zero cluster" \
        "0 5 same; 5 1 EIO; 6 10 same" $((l2 + 40)) "8000000000052a01"
damaged "unaligned first and last entries" "0 1 EIO; 1 14 same; 15 1 EIO" \
        $((l2)) "8000000000052a00" $((l2 + 120)) "8000000000052a00"
damaged "an unaligned L1 entry" "0 16 EIO" \
        "$l1" "8000000000042a00"
is "... and the map says data" "$(awk '{ print $1, $2, $3 }' <<< "$map")" \
   "0 1048576 0"
for v in 2 3; do
    qemu-img convert -f raw -O qcow2 -o compat=0.10 disk.raw image.qcow2
    poke image.qcow2 4 0000000$v
    [ $v = 3 ] || status="0 3 same; 3 2 EIO; 5 11 same"
    poke image.qcow2 $((l2 + 24)) "0000000000000001"
    poke image.qcow2 $((l2 + 32)) "$(hex16 $(($(entry 4) | 1)))"
    [ $v = 3 ] || check "zero clusters in version 2" "$status"
done

# Reserved bits of entries are ignored, as in qemu.
cp base.qcow2 image.qcow2
poke image.qcow2 "$l1" "$(hex16 $(($(peek base.qcow2 "$l1" 8) | 0x7f000000000001ff)))"
poke image.qcow2 $((l2 + 16)) "$(hex16 $(($(entry 2) | 0x3f000000000001fe)))"
poke image.qcow2 $((l2 + 24)) "$(hex16 $(($(entry 3) | 0xbf000000000001fe)))"
poke image.qcow2 $((l2 + 32)) "3f000000000001fe"
poke image.qcow2 $((l2 + 40)) "bf000000000001ff"
as_qemu "reserved bits are ignored"

# Entries that point to metadata are harmless to a reader.
cp base.qcow2 image.qcow2
poke image.qcow2 "$l2" "$(hex16 $((l1 | 1 << 63)))"
poke image.qcow2 $((l2 + 8)) "$(hex16 $((l2 | 1 << 63)))"
poke image.qcow2 $((l2 + 16)) 8000000000010000
poke image.qcow2 $((l2 + 24)) "$(hex16 "$(entry 9)")"
as_qemu "L2 entries that point to tables or to shared clusters"
cp base.qcow2 image.qcow2
poke image.qcow2 "$l1" "$(hex16 $((l1 | 1 << 63)))"
as_qemu "an L1 entry that points to the L1 table"
poke image.qcow2 "$l1" 8000000000010000
as_qemu "an L1 entry that points to the refcount table"

# The end of the file.
high=$(hex16 $((size | 1 << 63)))
damaged "a cluster that starts at the end of the file" \
        "0 5 same; 5 1 EIO; 6 10 same" $((l2 + 40)) "$high"
damaged "a cluster far beyond the end of the file" "0 5 same; 5 1 EIO; 6 10 same" \
        $((l2 + 40)) 80fffffffffe0000
damaged "a cluster at the largest offset" "0 5 same; 5 1 EIO; 6 10 same" \
        $((l2 + 40)) 80ffffffffff0000
damaged "a compressed cluster beyond the end of the file" "0 5 same; 5 1 EIO; 6 10 same" \
        $((l2 + 40)) 4000000100000000
damaged "a compressed cluster at the largest offset" \
        "0 5 same; 5 1 EIO; 6 10 same" $((l2 + 40)) 7fffffffffffffff
damaged "an L2 table that starts at the end of the file" "0 16 EIO" \
        "$l1" "$high"
damaged "an L2 table far beyond the end of the file" "0 16 EIO" "$l1" 80fffffffffe0000

# The data of a preallocated zero cluster is never read.
cp base.qcow2 image.qcow2
poke image.qcow2 $((l2 + 40)) "$(hex16 $((0x40000000 | 1 << 63 | 1)))"
as_qemu "a preallocated zero cluster beyond the end reads as zeros"

# Truncated in the middle of cluster 12, at its start, and one byte after it.
is "the clusters are stored in order" $(($(entry 12) - $(entry 0))) $((12 * 65536))
for spec in "$(($(entry 12) + 30000)):0 12 same; 12 1 different; 13 3 EIO" \
            "$(entry 12):0 12 same; 12 4 EIO" \
            "$(($(entry 12) + 1)):0 12 same; 12 1 different; 13 3 EIO" \
            "$((l2 + 80)):0 16 EIO"; do
    cp base.qcow2 image.qcow2
    truncate -s "${spec%%:*}" image.qcow2
    case $spec in
        $((l2 + 80)):*)
            # Clusters 0 to 9 are beyond the end; the entries of 10 to 15 are
            # missing.
            check "truncated in the middle of the L2 table" "0 10 EIO; 10 6 zero"
            continue ;;
    esac
    check "truncated to ${spec%%:*} bytes" "${spec#*:}"
done
cp base.qcow2 image.qcow2
truncate -s "$l2" image.qcow2
check "truncated at the start of the L2 table" "0 16 EIO"

# The rest of a partly missing cluster is zeros, as in qemu.
for cut in 1 511 512 30000 65535; do
    cp base.qcow2 image.qcow2
    truncate -s $(($(entry 15) + cut)) image.qcow2
    as_qemu "the last cluster has only $cut bytes"
done

# With clusters of 512 bytes each L2 table maps 32 KiB.
head -c 256K src0 > small.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=512 small.raw small.qcow2
table=$(peek small.qcow2 40 8)
ssize=$(stat -c %s small.qcow2)
cp small.qcow2 image.qcow2
poke image.qcow2 $((table + 8 * 3)) "$(hex16 $((ssize + 512)))"
poke image.qcow2 $((table + 8 * 5)) 8000000000000200
poke image.qcow2 $((table + 8 * 6)) 0000000000000000
status=$(status_of image.qcow2 small.raw 512)
like "L1 entries: beyond the end, to another table, unallocated" "$status" \
     '^0 192 same; 192 64 EIO; 256 64 same; 320 [0-9]+ different; .*zero; 448 64 same$'

# A file that ends within its L1 table: the missing entries are unallocated.
cp small.qcow2 image.qcow2
truncate -s $(((ssize + 511) / 512 * 512)) image.qcow2
last=$(stat -c %s image.qcow2)
dd if=small.qcow2 of=image.qcow2 bs=1 skip="$table" seek="$last" count=64 \
   conv=notrunc status=none
poke image.qcow2 40 "$(hex16 "$last")"
truncate -s $((last + 32)) image.qcow2
oracle image.qcow2 oracle.raw
serves "an L1 table that is partly beyond the end of the file" image.qcow2 oracle.raw --cluster 512
truncate -s "$last" image.qcow2
refused "an L1 table that starts at the end of the file: refused" 'image\.qcow2.*L1|l1' \
        -- image.qcow2

# One message for a repeated error.
cp base.qcow2 image.qcow2
poke image.qcow2 $((l2 + 40)) "8000000000052a00"
cat > again.py <<'END'
import sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
for i in range(1000):
    try:
        h.pread(1, 5 * 65536 + i)
    except nbd.Error:
        continue
    sys.exit("a damaged cluster could be read")
END
# shellcheck disable=SC2016
out=$(with_qcow 'py again.py "$uri"' -- image.qcow2 2>&1)
is "the same error a thousand times: one message" "$(wc -l <<< "$out")" 1
like "... which names the image" "$out" 'image\.qcow2'

# A thousand clusters beyond the end of the file.
head -c 8M src0 > large.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=4096 large.raw image.qcow2
truncate -s 1M image.qcow2
# shellcheck disable=SC2016
out=$(with_qcow 'py "$gen/nbd-status.py" "$uri" large.raw 4096' \
                -- image.qcow2 2> messages)
like "a truncated file: the clusters before the end can be read" "$out" '^0 [0-9]+ same'
like "... those beyond it are EIO" "$out" 'EIO'
unlike "... no other results" "$out" 'different|zero|EINVAL'
lines=$(wc -l < messages)
is "... there are few messages ($lines)" $((lines >= 1 && lines <= 100)) 1

# nbdcopy and qemu-img fail on a damaged image, and the server survives.
# (One request at a time: nbdkit before 1.34 may fail an assertion when a
# client disconnects with several requests in-flight.)
cp base.qcow2 image.qcow2
poke image.qcow2 $((l2 + 40)) "8000000000052a00"
if start_qcow -- image.qcow2; then
    not_ok "nbdcopy of a damaged image fails" nbdcopy --synchronous "$uri" copy.raw
    not_ok "qemu-img convert of a damaged image fails" \
           qemu-img convert -m 1 -f raw -O raw "$uri" copy.raw
    ok "nbdinfo --map of a damaged image succeeds" nbdinfo --map "$uri"
    is "the undamaged clusters can still be read" \
       "$(py "$gen/nbd-status.py" "$uri" disk.raw 65536 | paste -sd,)" \
       "0 5 same,5 1 EIO,6 10 same"
    # A request over several clusters fails as a whole.
    not_ok "a request across the damaged cluster fails" qemu-io -r -f raw \
           -c "read 256k 256k" "$uri"
    ok "requests up to its edges succeed" qemu-io -r -f raw \
           -c "read 0 320k" -c "read 384k 640k" "$uri"
    stop_qcow || fail "the server exits cleanly"
fi

# The file is truncated while being served: EIO, no zeros; the server survives.
cp base.qcow2 image.qcow2
if start_qcow -- image.qcow2; then
    ok "before truncation: a read succeeds" qemu-io -r -f raw -c "read 0 64k" "$uri"
    truncate -s "$(entry 8)" image.qcow2
    is "after truncation: EIO beyond the new end" \
       "$(py "$gen/nbd-status.py" "$uri" disk.raw 65536 | paste -sd,)" \
       "0 8 same,8 8 EIO"
    like "... the message says so" "$(cat "$log")" \
         'image\.qcow2: the file was truncated while being served: its size was [0-9]+ bytes and is now at most [0-9]+$'
    is "... once" "$(wc -l < "$log")" 1
    stop_qcow || fail "the server exits cleanly"
fi

# Truncated before the first map request: the lost part must not be reported
# as a hole, which a copy would skip.
for where in "$(entry 8)" $(($(entry 8) + 1000)) "$(entry 0)"; do
    for client in 'nbdcopy --synchronous "$uri" copy.raw' \
                  'qemu-img convert -m 1 -f raw -O raw "$uri" copy.raw'; do
        cp base.qcow2 image.qcow2
        if start_qcow -- image.qcow2; then
            truncate -s "$where" image.qcow2
            export uri
            not_ok "a copy of a file truncated at $where fails: ${client%% *}" \
                   sh -c "$client"
            stop_qcow || fail "the server exits cleanly"
        fi
    done
done

done_testing
