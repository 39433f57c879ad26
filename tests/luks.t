#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# LUKS images: bytes and map equal qemu's for cluster sizes, versions,
# subclusters, data files, snapshots, compressed clusters (which are not
# encrypted), chains in which each layer has its own passphrase, odd sizes and
# requests.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"
secrets=(tiger)
params=(passphrase=tiger)

text_source $((2 << 20)) src0 src1
head -c 1M src0 > disk.raw

# --- Shapes -----------------------------------------------------------

# Writes, zeros and discards that leave whole, partial and no clusters.
steps=('write -q -s src0 0 400k' 'write -q -z 64k 100k' 'write -q -s src1 70k 3k'
       'write -q -z -u 200k 30k' 'write -q -s src1 511k 1k' 'discard -q 300k 64k'
       'write -q -s src1 700k 200k' 'write -q -z 1023k 512'
       'write -q -P 9 1023k 512')
for spec in 512:compat=0.10 4096: 65536: 2097152: 16384:extended_l2=on \
            131072:extended_l2=on 65536:preallocation=metadata; do
    IFS=: read -r cluster option <<< "$spec"
    create_luks image $((1 << 20)) tiger -o "cluster_size=$cluster" \
                ${option:+-o "$option"}
    encrypted_io image "${steps[@]}"
    encrypted_compare "clusters of $cluster, $option" image \
                      --cluster "$cluster"
done

# Compressed clusters are not encrypted.
create_luks image $((1 << 20)) tiger -o cluster_size=4k
encrypted_io image 'write -q -s src0 0 100k' 'write -q -c -s src1 100k 100k' \
             'write -q -c -s src1 300k 4k' 'write -q -s src0 304k 4k' \
             'write -q -c -P 7 308k 4k' 'write -q -s src0 312k 40k' \
             'write -q -c -s src1 512k 200k' 'write -q -s src0 600k 500'
encrypted_compare "compressed among encrypted clusters" image --cluster 4096

# Snapshots have the image's key.
create_luks image $((1 << 20)) tiger -o cluster_size=4k
encrypted_io image "${steps[@]}"
_open_encrypted image
qemu-img snapshot -c one "${opened[@]}" "$spec_opened" ||
    fail "qemu-img snapshot"
encrypted_oracle image one.raw
encrypted_io image 'write -q -s src1 0 300k' 'write -q -z 500k 100k'
encrypted_compare "the disk after a snapshot" image --cluster 4096
params+=(snapshot=one)
serves "a snapshot" image one.raw --cluster 4096

# since= and bitmap=: what the map calls unchanged has not changed.
_open_encrypted image
qemu-img bitmap --add -g 4k "${opened[@]}" "$spec_opened" b ||
    fail "qemu-img bitmap"
encrypted_io image 'write -q -s src0 800k 10k'
encrypted_oracle image now.raw
for what in since=one bitmap=b; do
    params=(passphrase=tiger $what)
    serves "$what: the content" image now.raw --cluster 4096
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -- image > map 2> log
    "$python" - map one.raw now.raw $what <<'END' > log ||
import sys
old, new = (open(p, "rb").read() for p in sys.argv[2:4])
if sys.argv[4] == "bitmap=b":   # undo the only change since
    old = new[:800 << 10] + bytes(10 << 10) + new[810 << 10:]
clean = dirty = 0
for line in open(sys.argv[1]):
    at, length, kind = map(int, line.split()[:3])
    if kind == 1:               # a hole without zeros: unchanged
        clean += length
        if old[at:at + length] != new[at:at + length]:
            sys.exit("changed at %d" % at)
    else:
        dirty += length
sys.exit(not (clean > 0 and 0 < dirty < 500 << 10))
END
        fail "$what: the map is right" "$(cat map log)"
done
params=(passphrase=tiger)

# The file ends within its last cluster, and within a sector.
create_luks image $((1 << 20)) tiger -o cluster_size=64k
encrypted_io image 'write -q -s src0 300k 300k'
for bytes in 1 700 40000; do
    truncate -s -$bytes image
    encrypted_oracle image cut.raw
    serves "a file truncated by $bytes bytes" image cut.raw --cluster 65536
done

# The file ends within the key material.
luks=$(py - image <<'END'
import struct, sys
data = open(sys.argv[1], "rb").read(1024)
print(*struct.unpack_from(">Q", data, data.index(b"\x05\x37\xbe\x77") + 8))
END
)
cp image short
truncate -s $((luks + 4096 + 100000)) short
refused "a file truncated in the key material: refused" \
        'short: .*truncated' -- short

# In data files, the host offset equals the guest offset.
for spec in on: off:extended_l2=on off:cluster_size=512; do
    IFS=: read -r raw option <<< "$spec"
    rm -f data
    create_luks image $((1 << 20)) tiger -o data_file=data,data_file_raw=$raw \
                ${option:+-o "$option"}
    encrypted_io image "${steps[@]}"
    dense data
    params+=(allow=image-dir)
    encrypted_compare "a data file, data_file_raw=$raw, $option" \
                      image --cluster 65536
    params=(passphrase=tiger)
done

# Disk sizes that are not a multiple of a sector.
for size in 1 513 66000; do
    create_luks image $((1 << 20)) tiger -o cluster_size=4k
    encrypted_io image 'write -q -s src0 0 1M'
    poke image 24 "$(printf %016x $size)"
    head -c $size src0 > size.raw
    serves "a disk of $size bytes" image size.raw --cluster 4096 --random 60
done

# From a web server, with reads of cached blocks and large reads that bypass
# the cache.
mkdir www
luks_of disk.raw www/luks tiger -o cluster_size=4k
qemu-img convert -f raw -O qcow2 disk.raw www/plain
start_web web www
serves "a remote image" "url=${web[web]}/luks" disk.raw --cluster 4096
params=()
refused "... refused without a passphrase" \
        "^nbdkit: error: ${web[web]}/luks: .*passphrase" \
        -- "url=${web[web]}/luks"
refused "... refused with a wrong passphrase" \
        "^nbdkit: error: ${web[web]}/luks: .*opens none" \
        -- "url=${web[web]}/luks" passphrase=lion
refused "a passphrase for an unencrypted remote image: refused" \
        "^nbdkit: error: ${web[web]}/plain: is not encrypted" \
        -- "url=${web[web]}/plain" passphrase=tiger
params=(passphrase=tiger)

# --- Extents ----------------------------------------------------------

# A hole in the file decrypts to data, not to zeros.
create_luks image $((1 << 20)) tiger -o preallocation=metadata
truncate -s 8M image
encrypted_oracle image oracle.raw
serves "preallocated, mostly holes" image oracle.raw
is "... all of it is data in the map" \
   "$(our_map image | awk '{ print $1, $2, $3 }')" \
   '0 1048576 0'
# Holes of an unencrypted backing file are zeros.
truncate -s 1M base.raw
dd if=src0 of=base.raw bs=64k count=4 conv=notrunc status=none
create_luks image $((1 << 20)) tiger -F raw -b base.raw
secrets=(tiger)
encrypted_io image 'write -q -P 3 512k 128k'
params+=(allow=image-dir)
is "the map over a raw backing file with holes" \
   "$(our_map image | awk '{ print $1, $2, $3 }' | paste -s -d ,)" \
   '0 262144 0,262144 262144 3,524288 131072 0,655360 393216 3'

# --- Chains -----------------------------------------------------------

# chain NAME: 'top' over 'mid' over 'base', with the passphrases in $secrets.
chain ()
{
    encrypted_compare "$1" top --cluster 4096
}

luks_of disk.raw base lion -o cluster_size=64k
create_luks mid 1000K lynx -o cluster_size=512 -u -F qcow2 -b base
create_luks top 1M tiger -o cluster_size=4k -u -F qcow2 -b mid
# qemu-io opens each layer without its backing file.
for spec in mid:lynx top:tiger; do
    image=${spec%:*}
    qemu-io --object "$(secret_object s "${spec#*:}")" --image-opts \
            "driver=qcow2,encrypt.key-secret=s,backing=,file.filename=$image" \
            -c "write -q -s src1 ${#image}k 13k" -c "write -q -z 100k 64k" \
            -c "write -q -s src1 $((${#image} * 70))k 100k" > log 2>&1 ||
        diag "$(cat log)"
done
secrets=(tiger lynx lion)
params=(allow=image-dir passphrase=lion passphrase=tiger passphrase=lynx)
chain "three layers, three passphrases in any order"
params=(allow=image-dir passphrase=tiger passphrase=lynx)
refused "... one is missing: refused, the message names the layer" \
        'base: the image is encrypted \(LUKS\), and none of the passphrases' \
        -- top
params=(allow=image-dir passphrase=lion passphrase=tiger)
refused "... another is missing: refused" 'mid: the image is encrypted' -- top

# Unencrypted layers below and between encrypted ones.
qemu-img convert -f raw -O qcow2 disk.raw base
secrets=(tiger lynx none)
params=(allow=image-dir passphrase=tiger passphrase=lynx)
chain "an unencrypted base"
luks_of disk.raw base lion
qemu-img create -q -f qcow2 -u -F qcow2 -b base mid 1M
qemu-io -f qcow2 -c 'write -q -s src1 64k 100k' \
        --object "$(secret_object s lion)" --image-opts \
        'driver=qcow2,file.filename=mid,backing.encrypt.key-secret=s' \
        > log 2>&1
secrets=(tiger none lion)
params=(allow=image-dir passphrase=lion passphrase=tiger)
chain "an unencrypted layer between"

done_testing
