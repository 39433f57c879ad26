#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Invalid LUKS headers: the plugin exits with status 1 and a message with the
# file's name, the field and its value.  Where qemu refuses the same header,
# the test checks that too.  Also key slots whose iterations would take hours.

source "$(dirname "$0")/functions.sh"
secrets=(tiger)
params=(passphrase=tiger)

head -c 300K /dev/urandom > noise
luks_of noise good tiger

# The first header extension has the offset and length of the LUKS header, at
# 120.
[ "$(peek good 112 4)" = $((0x0537be77)) ] ||
    fail "the first header extension is at 112"
luks=$(peek good 120 8)
is "the extension points to the LUKS header" \
   "$(peek good "$luks" 4)" $((0x4c554b53))

# change [OFFSET HEX]...: copy 'good' to 'bad', with changes; an offset +N is
# relative to the LUKS header.
change ()
{
    local at
    cp good bad
    while [ $# -gt 0 ]; do
        at=$1
        [ "${at#+}" = "$at" ] || at=$((luks + ${at#+}))
        poke bad "$at" "$2"
        shift 2
    done
}

qemu_refuses ()
{
    local opened spec_opened
    _open_encrypted bad
    ! qemu-io -r "${opened[@]}" "$spec_opened" -c 'read 0 512' > qemu.log 2>&1
}

# bad NAME REGEX [OFFSET HEX]...: qemu and the plugin refuse it.
bad ()
{
    local name=$1 re=$2
    shift 2
    change "$@"
    qemu_refuses || fail "$name: refused by qemu" "$(cat qemu.log)"
    refused "$name: refused" "bad: .*($re)" -- bad
}

# ours NAME REGEX [OFFSET HEX]...: only the plugin refuses it.
ours ()
{
    local name=$1 re=$2
    shift 2
    change "$@"
    refused "$name: refused" "bad: .*($re)" -- bad
}

# served NAME [OFFSET HEX]...: the change has no effect.
served ()
{
    local name=$1
    shift
    change "$@"
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" copy && cmp noise copy' -- bad
}

name_32=6161616161616161616161616161616161616161616161616161616161616161

served "unchanged: served"

# --- The extension ----------------------------------------------------

bad "no LUKS extension" 'LUKS' 112 12345678
bad "the LUKS extension in an unencrypted image" 'crypt_method is 0' 32 00000000
bad "the LUKS extension in an AES image" 'crypt_method is 1' 32 00000001
bad "a LUKS extension of 8 bytes" 'LUKS extension is 8 bytes' 116 00000008
bad "header offset: unaligned" 'offset of the LUKS header' \
    120 "$(printf %016x $((luks + 512)))"
bad "header offset: huge" 'offset of the LUKS header' 120 ffffffffffff0000
bad "header offset: beyond the end of the file" 'LUKS header .*beyond the end' \
    120 0000100000000000
bad "header offset: another cluster" 'magic' 120 0000000000010000
bad "header offset: 0" 'magic' 120 0000000000000000
bad "header length: 0" 'LUKS header is 0:' 128 0000000000000000
bad "header length: 591" 'LUKS header is 591:' 128 000000000000024f
ours "header length: no room for key material" 'key slot 0' 128 0000000000000250
ours "header length: huge" 'LUKS header' 128 ffffffffffffffff

# --- The header -------------------------------------------------------

bad "magic: first byte" 'magic' +0 4d
bad "magic: last byte" 'magic' +5 bf
bad "version 0" 'version is 0' +6 0000
bad "version 2" 'version is 2' +6 0002
bad "cipher_name: no terminating NUL" 'cipher_name is not NUL' +8 $name_32
bad "cipher_mode: no terminating NUL" 'cipher_mode is not NUL' +40 $name_32
bad "hash_spec: no terminating NUL" 'hash_spec is not NUL' +72 $name_32
bad "cipher_name: empty" "cipher_name is ''" +8 00
bad "cipher_name: AES" "cipher_name is 'AES'" +8 41455300
bad "cipher_name: an escape sequence" "cipher_name is '.x1b" +8 1b5b33316d00
bad "cipher_name: cast5 with a 64-byte key" \
    '64-byte key|cast5|xts' +8 636173743500
bad "cipher_mode: empty" "cipher_mode begins with ''" +40 00
bad "cipher_mode: xts without an IV generator" \
    "cipher_mode begins with 'xts'" +40 78747300
bad "cipher_mode: lrw" "'lrw'" +40 6c72772d706c61696e363400
bad "cipher_mode: unknown IV generator" \
    "generator 'null'" +40 7874732d6e756c6c00
bad "cipher_mode: essiv without a hash" 'essiv hash' +40 7874732d657373697600
bad "cipher_mode: essiv with an unknown hash" \
    "'foo'" +40 7874732d65737369763a666f6f00
bad "cipher_mode: essiv with a hash of the wrong size" 'essiv with sha1' \
    +40 7874732d65737369763a7368613100
bad "hash_spec: empty" "hash_spec is ''" +72 00
bad "hash_spec: unknown" "hash_spec is 'sha3'" +72 7368613300
for n in 0 65 128 2147483647 4294967295; do
    bad "key_bytes $n" "key_bytes is $n" +108 "$(printf %08x "$n")"
done
for n in 1 16 63; do
    bad "key_bytes $n" "$n-byte key" +108 "$(printf %08x "$n")"
done
bad "payload_offset 0" 'payload_offset is 0' +104 00000000
bad "payload_offset 7" 'payload_offset is 7' +104 00000007
bad "payload_offset in key slot 0" 'key slot 0' +104 00000100
served "payload_offset 2^32 - 1: ignored" +104 ffffffff
bad "mk_digest_iterations 0" 'mk_digest_iterations is 0' +164 00000000
bad "mk_digest_iterations 1" 'opens none' +164 00000001
bad "wrong digest" 'opens none' +112 00000000
bad "wrong digest salt" 'opens none' +132 00000000
served "another UUID: ignored" +168 $name_32

# --- Key slots --------------------------------------------------------

bad "slot 0: unknown state" 'slot 0: its state is 0x00000000' +208 00000000
bad "slot 7: unknown state" 'slot 7: its state' +544 ffffffff
bad "no active slot" 'no key slot is active' +208 0000dead
bad "slot 0: iterations 0" 'slot 0: iterations is 0' +212 00000000
bad "slot 0: iterations 1" 'opens none' +212 00000001
bad "slot 0: wrong salt" 'opens none' +216 00000000
bad "slot 1: active, iterations 0" 'slot 1: iterations is 0' \
    +256 00ac71f3 +260 00000000
served "slot 1: active, without a key: skipped" +256 00ac71f3 +260 00000001
for n in 0 1 3999 4001 4294967295; do
    bad "slot 0: stripes $n" "slot 0: stripes is $n" \
        +252 "$(printf %08x "$n")"
done
bad "slot 5: inactive, stripes 0" 'slot 5: stripes is 0' +492 00000000
bad "slot 0: key material in the header" \
    'slot 0: its key material' +248 00000000
bad "slot 0: key material in the last header sector" \
    'slot 0: its key material' \
    +248 00000007
bad "slot 0: key material beyond the LUKS area" 'slot 0: its key material' \
    +248 ffffffff
bad "slots 0 and 1: key material at the same offset" \
    'slots 0 and 1 overlap' +296 00000008
bad "slots 1 and 2: key material overlaps" 'slots 1 and 2 overlap' \
    +296 "$(printf %08x $(($(peek good $((luks + 344)) 4) + 8)))"
change +4096 00000000
qemu_refuses || fail "slot 0: wrong key material: refused by qemu"
refused "slot 0: wrong key material: refused" 'opens none' -- bad

# A truncated file is refused: missing key material must not count as zeros.
head -c $((luks + 4096 + 1000)) good > bad
refused "truncated in the key material: refused" 'bad: ' -- bad
head -c $((luks + 300)) good > bad
refused "truncated in the LUKS header: refused" 'bad: ' -- bad

# --- Iterations -------------------------------------------------------

# quickly NAME REGEX: 'bad' is refused without trying a passphrase that would
# take hours.  (qemu tries it, so the test does not run qemu.)
quickly ()
{
    refused "$1: refused" "$2" -- bad
}

change +212 ffffffff
quickly "2^32 - 1 iterations" 'each of its active key slots \(1\).*no passphrase was tried.*luks-iterations=[0-9]{10}'
change +164 ffffffff
quickly "2^32 - 1 iterations also of the digest" \
        'each of its active key slots \(1\)'
slots=()
for i in 1 2 3 4 5 6 7; do
    slots+=("+$((208 + 48 * i))" 00ac71f3ffffffff)
done
change +212 ffffffff "${slots[@]}"
quickly "2^32 - 1 iterations in all slots" 'each of its active key slots \(8\)'
# A slot with few iterations is tried, whatever the others have.
change "${slots[@]}"
served "2^32 - 1 iterations in all slots but one: served" "${slots[@]}"
change "${slots[@]}"
params=(passphrase=lion)
quickly "... with a wrong passphrase" '7 of 8 were not.*luks-iterations='
params=(passphrase=tiger)
# A 64-byte key takes two hashes per iteration.
change +212 01e84801
quickly "more than 64 million hashes" 'each of its active key slots'

# luks-iterations= changes the limit.
change
params=(passphrase=tiger)
work=$((2 * $(peek good $((luks + 212)) 4) + $(peek good $((luks + 164)) 4)))
params=(passphrase=tiger luks-iterations=$work)
served "luks-iterations= at the limit: served"
params=(passphrase=tiger "luks-iterations=$((work - 1))")
refused "luks-iterations= below the limit: refused" \
        "each of .* \\(luks-iterations=$work would try all" -- bad
params=(passphrase=tiger "luks-iterations=$work")
refused "passphrases that together exceed the limit: refused" \
        'not all passphrases were tried, .* more than 4 times' \
        -- bad passphrase=a passphrase=b passphrase=c passphrase=d \
        passphrase=e
params=()
refused "luks-iterations=0: refused" \
        'luks-iterations=0: must be at least 1' \
        -- bad luks-iterations=0
refused "luks-iterations=x: refused" 'luks-iterations' -- bad luks-iterations=x

done_testing
