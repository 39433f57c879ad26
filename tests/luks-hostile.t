#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# LUKS headers that break a rule: each stops the start with status 1 and a
# message with the file's name, the field and its value.  Where qemu refuses
# the same header it is asked, too.  And key slots that would take hours.

source "$(dirname "$0")/functions.sh"
secrets=(tiger)
params=(passphrase=tiger)

head -c 300K /dev/urandom > noise
luks_of noise good tiger

# The first extension is the LUKS header's: its offset and length, at 120.
[ "$(peek good 112 4)" = $((0x0537be77)) ] || fail "the extension is at 112"
luks=$(peek good 120 8)
is "the LUKS header is there" "$(peek good "$luks" 4)" $((0x4c554b53))

# change [OFFSET HEX]...: 'bad', with changes; +N is in the LUKS header.
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

# bad NAME REGEX [OFFSET HEX]...: refused by qemu and by us.
bad ()
{
    local name=$1 re=$2
    shift 2
    change "$@"
    qemu_refuses || fail "$name: qemu refuses it, too" "$(cat qemu.log)"
    refused "$name" "bad: .*($re)" -- bad
}

# ours NAME REGEX [OFFSET HEX]...: refused by us only.
ours ()
{
    local name=$1 re=$2
    shift 2
    change "$@"
    refused "$name" "bad: .*($re)" -- bad
}

# served NAME [OFFSET HEX]...: of no consequence.
served ()
{
    local name=$1
    shift
    change "$@"
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" copy && cmp noise copy' -- bad
}

name_32=6161616161616161616161616161616161616161616161616161616161616161

served "as it is"

# --- The extension ----------------------------------------------------

bad "no extension" 'LUKS' 112 12345678
bad "the extension although it is not LUKS" 'crypt_method is 0' 32 00000000
bad "the extension in an AES image" 'crypt_method is 1' 32 00000001
bad "an extension of 8 bytes" 'LUKS extension has 8 bytes' 116 00000008
bad "its offset is not aligned" 'offset of the LUKS header' \
    120 "$(printf %016x $((luks + 512)))"
bad "its offset is huge" 'offset of the LUKS header' 120 ffffffffffff0000
bad "its offset is beyond the file" 'LUKS header .*beyond the end' \
    120 0000100000000000
bad "its offset is elsewhere" 'magic' 120 0000000000010000
bad "its offset is 0" 'magic' 120 0000000000000000
bad "its length is 0" 'room for 0 bytes' 128 0000000000000000
bad "its length is 591" 'room for 591 bytes' 128 000000000000024f
ours "its length is that of the header" 'key slot 0' 128 0000000000000250
ours "its length is huge" 'LUKS header' 128 ffffffffffffffff

# --- The header -------------------------------------------------------

bad "magic" 'magic' +0 4d
bad "magic, the last byte" 'magic' +5 bf
bad "version 0" 'version is 0' +6 0000
bad "version 2" 'version is 2' +6 0002
bad "cipher_name without an end" 'cipher_name does not end' +8 $name_32
bad "cipher_mode without an end" 'cipher_mode does not end' +40 $name_32
bad "hash_spec without an end" 'hash_spec does not end' +72 $name_32
bad "cipher_name empty" "cipher_name is ''" +8 00
bad "cipher_name AES" "cipher_name is 'AES'" +8 41455300
bad "cipher_name with an escape" "cipher_name is '.x1b" +8 1b5b33316d00
bad "cipher_name another" 'key of 64 bytes|cast5|xts' +8 636173743500
bad "cipher_mode empty" "cipher_mode begins with ''" +40 00
bad "cipher_mode xts alone" "cipher_mode begins with 'xts'" +40 78747300
bad "cipher_mode lrw" "'lrw'" +40 6c72772d706c61696e363400
bad "an unknown IV generator" "generator 'null'" +40 7874732d6e756c6c00
bad "essiv without a hash" 'hash of essiv' +40 7874732d657373697600
bad "essiv with an unknown hash" "'foo'" +40 7874732d65737369763a666f6f00
bad "essiv with a hash that gives no key" 'essiv with sha1' \
    +40 7874732d65737369763a7368613100
bad "hash_spec empty" "hash_spec is ''" +72 00
bad "hash_spec unknown" "hash_spec is 'sha3'" +72 7368613300
for n in 0 1 16 63 65 128 2147483647 4294967295; do
    bad "$n key bytes" "key of $n bytes" +108 "$(printf %08x "$n")"
done
bad "payload_offset 0" 'payload_offset is 0' +104 00000000
bad "payload_offset 7" 'payload_offset is 7' +104 00000007
bad "payload_offset within a key slot" 'key slot 0' +104 00000100
served "payload_offset elsewhere: there is nothing" +104 ffffffff
bad "mk_digest_iterations 0" 'mk_digest_iterations is 0' +164 00000000
bad "mk_digest_iterations another" 'fits none' +164 00000001
bad "another digest" 'fits none' +112 00000000
bad "another digest salt" 'fits none' +132 00000000
served "another UUID" +168 $name_32

# --- Key slots --------------------------------------------------------

bad "slot 0: an unknown state" 'slot 0: its state is 0x00000000' +208 00000000
bad "slot 7: an unknown state" 'slot 7: its state' +544 ffffffff
bad "no active slot" 'no key slot is active' +208 0000dead
bad "slot 0: no iterations" 'slot 0: iterations is 0' +212 00000000
bad "slot 0: other iterations" 'fits none' +212 00000001
bad "slot 0: another salt" 'fits none' +216 00000000
bad "slot 1: active without iterations" 'slot 1: iterations is 0' \
    +256 00ac71f3 +260 00000000
served "slot 1: active with nothing in it" +256 00ac71f3 +260 00000001
for n in 0 1 3999 4001 4294967295; do
    bad "slot 0: $n stripes" "slot 0: stripes is $n" \
        +252 "$(printf %08x "$n")"
done
bad "slot 5: stripes of an inactive slot" 'slot 5: stripes is 0' +492 00000000
bad "slot 0: material in the header" 'slot 0: its key material' +248 00000000
bad "slot 0: material at the header's end" 'slot 0: its key material' \
    +248 00000007
bad "slot 0: material beyond everything" 'slot 0: its key material' \
    +248 ffffffff
bad "slot 1: material on that of slot 0" 'slots 0 and 1 overlap' +296 00000008
bad "slot 1: material in that of slot 2" 'slots 1 and 2 overlap' \
    +296 "$(printf %08x $(($(peek good $((luks + 344)) 4) + 8)))"
change +4096 00000000
qemu_refuses || fail "qemu refuses other material"
refused "slot 0: other material" 'fits none' -- bad

# The file ends within the key material: nothing opens it, and zeros are
# nobody's key.
head -c $((luks + 4096 + 1000)) good > bad
refused "the file ends within the key material" 'bad: ' -- bad
head -c $((luks + 300)) good > bad
refused "the file ends within the LUKS header" 'bad: ' -- bad

# --- Hours ------------------------------------------------------------

# What is refused at once, would take longer than any test may.  (qemu is
# not asked.)
quickly ()
{
    refused "$1" "$2" -- bad
}

change +212 ffffffff
quickly "2^32 - 1 iterations" 'each of its active key slots \(1\).*no passphrase was tried.*luks-iterations=[0-9]{10}'
change +164 ffffffff
quickly "2^32 - 1 iterations of the digest" 'each of its active key slots \(1\)'
slots=()
for i in 1 2 3 4 5 6 7; do
    slots+=("+$((208 + 48 * i))" 00ac71f3ffffffff)
done
change +212 ffffffff "${slots[@]}"
quickly "in all slots" 'each of its active key slots \(8\)'
# The one that is right is tried, wherever it is.
change "${slots[@]}"
served "in all slots but one" "${slots[@]}"
change "${slots[@]}"
params=(passphrase=lion)
quickly "in all slots but one, another passphrase" '7 of 8 were not.*luks-iterations='
params=(passphrase=tiger)
# The key has 64 bytes: two hashes.
change +212 01e84801
quickly "more than 32 million of two hashes" 'each of its active key slots'

# The user may want to wait longer, or shorter.
change
params=(passphrase=tiger)
work=$((2 * $(peek good $((luks + 212)) 4) + $(peek good $((luks + 164)) 4)))
params=(passphrase=tiger luks-iterations=$work)
served "as many iterations as are allowed"
params=(passphrase=tiger "luks-iterations=$((work - 1))")
refused "one more" "each of .* \\(luks-iterations=$work would try all" -- bad
params=(passphrase=tiger "luks-iterations=$work")
refused "too many passphrases" 'not all of the passphrases were tried, .* more than 4 times' \
        -- bad passphrase=a passphrase=b passphrase=c passphrase=d \
        passphrase=e
params=()
refused "luks-iterations=0" 'luks-iterations=0: must be a number, at least 1' \
        -- bad luks-iterations=0
refused "luks-iterations=x" 'luks-iterations' -- bad luks-iterations=x

done_testing
