#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# LUKS with every cipher, mode, IV generator and hash that qemu-img 7.2 can
# create: the bytes are qemu-img's.  What libgcrypt lacks is refused.
# (qemu-img 7.2 aborts for 192-bit keys, except with xts.)

source "$(dirname "$0")/functions.sh"
secrets=('correct horse')
params=('passphrase=correct horse')

head -c 300K /dev/urandom > noise

# make_image CIPHER MODE IVGEN IV-HASH HASH
make_image ()
{
    luks_of noise image "${secrets[0]}" -o "encrypt.cipher-alg=$1,encrypt.cipher-mode=$2,encrypt.ivgen-alg=$3${4:+,encrypt.ivgen-hash-alg=$4},encrypt.hash-alg=$5"
}

# matrix CIPHER MODE IVGEN IV-HASH HASH
matrix ()
{
    make_image "$@"
    # shellcheck disable=SC2016
    ok "$*" with_qcow 'nbdcopy "$uri" copy.raw && cmp noise copy.raw' -- image
}

for cipher in aes-128 aes-256 serpent-128 serpent-256 twofish-128 twofish-256
do
    for mode in xts cbc ctr ecb; do
        matrix $cipher $mode plain64 '' sha256
    done
    matrix $cipher cbc essiv sha256 sha1
done
matrix aes-192 xts plain64 '' sha256
matrix serpent-192 xts plain '' sha256
for mode in cbc ctr ecb; do
    matrix cast5-128 $mode plain64 '' sha1
done
matrix cast5-128 cbc plain '' sha256
matrix cast5-128 cbc essiv md5 md5
matrix aes-256 ctr essiv sha256 sha256
matrix aes-256 xts essiv md5 sha512
for hash in md5 sha1 sha224 sha256 sha384 sha512 ripemd160; do
    matrix aes-256 xts plain64 '' $hash
done
# An IV hash that the IV generator ignores.
matrix aes-128 cbc plain sha1 sha1

make_image twofish-192 xts plain64 '' sha256
refused "twofish-192, which libgcrypt lacks: refused" \
        'image: LUKS header: twofish in xts mode with a 48-byte key' \
        -- image

# Sector numbers above 2^32, where 'plain' wraps.
for ivgen in plain plain64 essiv; do
    rm -f far.data
    create_luks far 3T "${secrets[0]}" -o cluster_size=2M,data_file=far.data \
                -o "encrypt.cipher-mode=cbc,encrypt.ivgen-alg=$ivgen" \
                -o encrypt.ivgen-hash-alg=sha256
    encrypted_io far 'write -q -s noise 2199023254528 2k' \
                 'write -q -s noise 2199023257600 3k'
    # 2 MiB around 2 TiB, as qemu reads them.
    _open_encrypted far
    qemu-img dd -U "${opened[@]}" "if=$spec_opened" of=far.raw bs=1M \
             skip=2097151 count=2097153 > /dev/null 2> log ||
        fail "qemu-img dd around 2 TiB" "$(cat log)"
    # shellcheck disable=SC2016
    ok "sector numbers around 2^32, $ivgen" \
       with_qcow 'py -c "
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
at = (1 << 41) - (1 << 20)
data = h.pread(2 << 20, at)
assert data == open(\"far.raw\", \"rb\").read()
assert any(data)
for length in 1, 511, 513, 2000:
    for offset in 2199023255552 - 700, 2199023255552 - 1, 2199023258000:
        got = h.pread(length, offset)
        assert got == data[offset - at:offset - at + length], (offset, length)
" "$uri"' -- far allow=image-dir
done

done_testing
