#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images with the legacy AES encryption (qemu's iotests 134 and 158, and more):
# bytes and maps of versions 1, 2 and 3 equal qemu's; passwords of any length,
# of which a wrong one is not detected; chains.

source "$(dirname "$0")/functions.sh"

text_source $((2 << 20)) src0 src1
head -c 1M src0 > disk.raw
secrets=(astrochicken)
params=(passphrase=astrochicken)

# 134: write everything, then a sector.  (qemu-img 7.2 makes version 1 with
# clusters of 4 KiB, or of 512 bytes with a backing file.)
for sort in v1 v3; do
    create_aes image $sort 1M "${secrets[0]}"
    encrypted_io image 'write -q -P 10 0 1M' 'write -q -P 11 512 512' \
                 'write -q -s src1 5k 300k'
    encrypted_compare "$sort: all clusters allocated" image --cluster 4096
done
# Parts of clusters, and unallocated clusters between them.
for spec in v1: v2:cluster_size=512 v3:cluster_size=2M \
            v3:cluster_size=16k,extended_l2=on v3:preallocation=metadata; do
    IFS=: read -r sort option <<< "$spec"
    create_aes image "$sort" 1M "${secrets[0]}" ${option:+-o "$option"}
    encrypted_io image 'write -q -s src1 3k 30k' 'write -q -s src1 700k 512' \
                 'write -q -s src0 703k 100k'
    encrypted_compare "$sort, $option: partly allocated" image --cluster 4096
done

# Compressed clusters are not encrypted.
for sort in v1 v3; do
    create_aes image $sort 1M "${secrets[0]}"
    cluster=4k
    [ $sort = v1 ] || cluster=64k
    encrypted_io image "write -q -c -s src0 0 $cluster" \
                 'write -q -s src1 64k 50k' \
                 "write -q -c -s src0 128k $cluster" \
                 "write -q -c -P 3 192k $cluster" 'write -q -s src1 256k 64k'
    encrypted_compare "$sort: compressed and encrypted clusters" image \
                      --cluster 4096
done

# Snapshots.
create_aes image v3 1M "${secrets[0]}" -o cluster_size=4k
encrypted_io image 'write -q -s src0 0 500k'
encrypted_oracle image one.raw
_open_encrypted image
qemu-img snapshot -c one "${opened[@]}" "$spec_opened" || fail "qemu-img makes a snapshot"
encrypted_io image 'write -q -s src1 100k 600k'
encrypted_compare "the active layer, with a snapshot" image --cluster 4096
params+=(snapshot=one)
serves "the snapshot" image one.raw --cluster 4096
params=("passphrase=${secrets[0]}")

# A data file.
create_aes image v3 1M "${secrets[0]}" -o data_file=data
encrypted_io image 'write -q -s src0 0 300k' 'write -q -s src1 511k 100k'
params+=(allow=image-dir)
dense data
encrypted_compare "a plaintext data file" image --cluster 65536
params=("passphrase=${secrets[0]}")

# Sizes that are not a multiple of a sector.
for spec in v1:2 v1:511 v1:513 v1:66000 v3:1000000; do
    IFS=: read -r sort size <<< "$spec"
    create_aes image "$sort" 1M "${secrets[0]}"
    encrypted_io image 'write -q -s src0 0 1M'
    poke image 24 "$(printf %016x "$size")"
    head -c "$size" src0 > size.raw
    serves "$sort: a size of $size" image size.raw --cluster 4096 \
               --random 60
done

# --- Passwords --------------------------------------------------------

# Only the first 16 bytes are used.
for secret in '' x 0123456789abcdef 0123456789abcdefghi $'\303\244\303\266'; do
    create_aes image v3 1M "$secret"
    secrets=("$secret")
    encrypted_io image 'write -q -s src0 0 1M'
    params=("passphrase=$secret")
    serves "the password '$secret'" image disk.raw --random 10
done
create_aes image v3 1M 0123456789abcdef
secrets=(0123456789abcdef)
encrypted_io image 'write -q -s src0 0 1M'
params=(passphrase=0123456789abcdefXYZ)
serves "bytes after the 16th are ignored" image disk.raw --random 10

# A wrong password returns the same bytes as with qemu.
secrets=(wrong)
encrypted_oracle image oracle.raw
params=(passphrase=wrong)
serves "a wrong password: the same bytes as qemu" image oracle.raw --random 10
not_ok "... which are wrong" cmp -s oracle.raw disk.raw
params=()
refused "no password: refused" 'image: the image is encrypted \(AES\): it needs' -- image
create_aes image v1 1M x
refused "no password, version 1: refused" 'image: the image is encrypted \(AES\)' \
        -- image
# shellcheck disable=SC2016
like "the export's description mentions the encryption" \
     "$(with_qcow 'nbdinfo --json "$uri"' -- image passphrase=x |
            jq -r '.exports[0].description')" 'encrypted \(AES\)'

# --- Chains -----------------------------------------------------------

# 158: overlay and base, with one password for both, and with two, of which
# the first is for the upper layer.
for spec in v1:v1:one v1:v1:two v3:v1:two v2:v3:two; do
    IFS=: read -r upper lower second <<< "$spec"
    f=qcow2
    [ "$lower" != v1 ] || f=qcow
    create_aes base "$lower" 1M "$second"
    secrets=("$second")
    encrypted_io base 'write -q -s src0 0 700k'
    create_aes top "$upper" 1M one -b base -F $f -u
    secrets=(one "$second")
    encrypted_io top 'write -q -s src1 3k 100k' 'write -q -s src1 600k 200k'
    params=(allow=image-dir passphrase=one)
    [ "$upper" != v1 ] || params+=(backing-format=qcow)
    [ "$second" = one ] || params+=(passphrase=two)
    encrypted_compare "$upper over $lower, passwords one and $second" top \
                      --cluster 4096
done

# LUKS layers find their passphrase at any position.
luks_of disk.raw base lion
create_aes top v3 1M one -F qcow2 -b base -u
secrets=(one lion)
encrypted_io top 'write -q -s src1 3k 100k'
# LUKS takes its passphrase, so AES gets the other one, in either order.
params=(allow=image-dir passphrase=one passphrase=lion)
encrypted_compare "AES over LUKS" top --cluster 65536
create_aes base v3 1M one
secrets=(one)
encrypted_io base 'write -q -s src0 0 1M'
create_luks top 1M lion -F qcow2 -b base -u
secrets=(lion one)
encrypted_io top 'write -q -s src1 3k 100k'
encrypted_compare "LUKS over AES" top --cluster 65536
params=(allow=image-dir passphrase=lion passphrase=one)
encrypted_compare "... in the order of the layers" top --cluster 65536
params=(allow=image-dir passphrase=one passphrase=lion passphrase=two)
encrypted_compare "... with an unused passphrase" top --cluster 65536

done_testing
