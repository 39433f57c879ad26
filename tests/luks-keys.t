#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Passphrases of LUKS images: key slots, ways to pass them, wrong and missing
# ones, several; no passphrase appears in a message, the key is locked in
# memory.

source "$(dirname "$0")/functions.sh"

text_source $((1 << 20)) disk.raw

# --- Key slots --------------------------------------------------------

# amend IMAGE SECRET OPTION...: qemu-img amend, opening the image with SECRET;
# $new is the new passphrase.
amend ()
{
    local image=$1 secret=$2 out
    shift 2
    out=$(quick_luks qemu-img amend --object "$(secret_object s "$secret")" \
              --object "$(secret_object new "$new")" "$@" \
              --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=$image" \
              2>&1) || fail "qemu-img amend $*" "$out"
}

params=()
luks_of disk.raw slots first
for i in 1 2 3 4 5 6 7; do
    new=secret$i
    amend slots first -o "encrypt.state=active,encrypt.new-secret=new,encrypt.keyslot=$i,encrypt.iter-time=10"
done
for secret in first secret1 secret4 secret7; do
    params=("passphrase=$secret")
    serves "eight slots: $secret" slots disk.raw --random 20
done
params=(passphrase=secret8)
refused "eight slots: wrong passphrase: refused" \
        'active key slots \(8\)' -- slots
for slot in 0 3; do
    new=
    amend slots secret7 -o "encrypt.state=inactive,encrypt.keyslot=$slot"
done
for secret in first secret3; do
    params=("passphrase=$secret")
    refused "the passphrase of an erased slot, $secret: refused" \
            'active key slots \(6\)' -- slots
done
params=(passphrase=secret1)
serves "the other passphrases still open the image" slots disk.raw --random 20
params=(passphrase=first passphrase=secret3 passphrase=secret7)
serves "the last of several passphrases fits" slots disk.raw --random 20

# --- Passphrases ------------------------------------------------------

# shellcheck disable=SC2016
copy='nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw'
params=()
luks_of disk.raw image tiger
refused "no passphrase: refused" \
        'image: the image is encrypted \(LUKS\): it needs a passphrase' -- image
refused "a wrong passphrase: refused" \
        'image: the image is encrypted \(LUKS\), and the passphrase opens none' \
        -- image passphrase=Tiger
refused "several wrong passphrases: refused" \
        'image: the image is encrypted \(LUKS\), and none of the passphrases' \
        -- image passphrase=tige passphrase=tigers passphrase=
printf 'zebra\0zebu' > file
unlike "no message contains a passphrase" \
       "$(with_qcow true -- image passphrase=zebra 2>&1)" 'zeb'
# shellcheck disable=SC2016
unlike "... nor does the debug output contain one from a file" \
       "$(with_qcow 'nbdinfo --map "$uri"' -v -D qcow.runs=1 -D qcow.cache=1 \
              -- image passphrase=tiger passphrase=+file 2>&1)" 'zeb'
printf tiger > file
ok "passphrase=+FILE" with_qcow "$copy" -- image passphrase=+file
printf 'tiger\n' > file
ok "passphrase=+FILE, with a final newline" \
   with_qcow "$copy" -- image passphrase=+file
exec 9< file
ok "passphrase=-FD" with_qcow "$copy" -- image passphrase=-9
exec 9<&-
refused "passphrase=+FILE, missing file: refused" 'missing' \
        -- image passphrase=+missing
qemu-img create -q -f qcow2 plain 1M
refused "a passphrase for an unencrypted image: refused" \
        'plain: is not encrypted' \
        -- plain passphrase=tiger
for secret in '' ' ' 'a,b=c' $'gr\303\274n' "$(printf %0300d 7)"; do
    luks_of disk.raw image "$secret"
    ok "the passphrase '${secret:0:20}'" \
       with_qcow "$copy" -- image "passphrase=$secret"
done
luks_of disk.raw image tiger
like "the export's description mentions LUKS" \
     "$(with_qcow 'nbdinfo --json "$uri"' -- image passphrase=tiger |
            jq -r '.exports[0].description')" 'encrypted \(LUKS\)'
like "-v prints the key slot" \
     "$(with_qcow true -v -- image passphrase=x passphrase=tiger 2>&1)" \
     'image: passphrase 2 opens key slot 0'

# In a daemon, which forks.
start_daemon image passphrase=tiger
ok "a daemon serves the image" nbdcopy "$uri" copy.raw
same_bytes "... same bytes" copy.raw disk.raw
if [ "$(ulimit -l)" = unlimited ] || [ "$(ulimit -l)" -ge 64 ]; then
    [ -n "${QCOW_PRELOAD:-}" ] ||
        ok "... the key is locked in memory" \
           grep -Eq '^VmLck:[[:space:]]+[1-9]' "/proc/$pid/status"
fi
end_daemon

done_testing
