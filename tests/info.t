#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# info=json: the same as 'qemu-img info' for images of every kind, from files,
# descriptors and URLs; valid JSON whatever names the image has; no file opened
# that the image names, no passphrase needed, no server started; an error where
# the image can't be served.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"
source "$top/tests/kinds.sh"

# info OUTPUT PARAMETER...: print the summary to the file OUTPUT, and messages
# to the file messages.  Returns nbdkit's exit status.
info ()
{
    local output=$1
    shift
    _choose_nbdkit
    "$nbdkit" "${options[@]}" "$plugin" "$@" info=json \
              > "$output" 2> messages < /dev/null
}
options=()

# same_info NAME IMAGE [IGNORED-FIELD...]
same_info ()
{
    local name=$1 image=$2 status
    shift 2
    qemu-img info -U --output=json "$image" > wanted.json || exit 1
    info got.json "$image"; status=$?
    is "$name: exit status" $status 0
    ok "$name: as qemu-img" \
       py "$gen/info-compare.py" wanted.json got.json "$@"
}

# no_info NAME REGEX PARAMETER...: passes if there is an error and no output.
no_info ()
{
    local name=$1 regex=$2 status
    shift 2
    info got.json "$@"; status=$?
    is "$name: exit status" $status 1
    like "$name: the message" "$(< messages)" "$regex"
    is "$name: no output" "$(< got.json)" ""
}

# field EXPRESSION: print a field of got.json.
field ()
{
    jq -r "$1" got.json
}

# --- All kinds of images ---

mkdir www
cd www || exit 1
make_kinds
cd ..

for image in www/*.img; do
    case $image in
        */data.img | */rawdata.img)
            # qemu-img opens the data file, and counts its size on disk.
            cd www || exit 1
            same_info "${image#www/}" "${image#www/}" actual-size
            cd .. ;;
        *)
            same_info "${image#www/}" "$image" ;;
    esac
done

# qemu counts sectors.  We serve, and report, the size in the header.
cp www/v3.img odd.img
poke odd.img 24 0000000000100001
info got.json odd.img
# shellcheck disable=SC2016
is "a size that is no multiple of 512: what is served" \
   "$(field '."virtual-size"')" "$(with_qcow 'nbdinfo --size "$uri"' -- odd.img)"

# --- Where the image is ---

start_web one www
for image in www/*.img; do
    name=${image#www/}
    info local.json "$image"
    info got.json "url=${web[one]}/$name"
    ok "url= $name" py "$gen/info-compare.py" local.json got.json \
       filename actual-size full-backing-filename
done
info got.json "url=${web[one]}/backed2.img"
is "a URL: the file name" "$(field .filename)" "${web[one]}/backed2.img"
is "... the backing file's" "$(field '."full-backing-filename"')" "${web[one]}/base.img"
is "... no size on disk" "$(field '."actual-size"')" null
info got.json "url=${web[one]/127/me:s3cr3t@127}/backed2.img?sig=s3cr3t"
unlike "a URL with secrets" "$(cat got.json messages)" s3cr3t
no_info "a missing file at a URL" 404 "url=${web[one]}/none.img"
info got.json fd=7 7< www/backed2.img
is "a descriptor: the file name" "$(field .filename)" fd=7
is "... no full name of the backing file" \
   "$(field '[."backing-filename", ."full-backing-filename"] | join(" ")')" "base.img "
no_info "a directory" 'info= and dir= can.t be combined' dir=www
_choose_nbdkit
not_ok "a wrong value" "$nbdkit" "$plugin" www/v3.img info=yaml

# --- Nothing else happens ---

# All images name files that do not exist, or a server that nobody runs; but
# qemu-img needs the data files.
is "no image's backing file exists" "$(ls -d www/base.img x /nowhere 2> /dev/null)" ""
mkdir alone
cp www/data.img www/rawdata.img alone
for name in data rawdata; do
    info got.json alone/$name.img
    like "$name: the data file is not needed" "$(field '."format-specific".data."data-file"')" \
         '^data2?\.raw$'
done
if [ -z "${QCOW_PRELOAD:-}${QCOW_VALGRIND:-}" ]; then
    cp www/data.raw www/data2.raw alone
    for image in alone/data.img www/backed3.img www/http.img www/luks.img; do
        strace -f -qq -e trace=open,openat,openat2,connect,socket,bind,clone,clone3,fork,vfork \
               -o trace nbdkit "$plugin" "$image" info=json > got.json
        is "$image: the only file that is opened in its directory" \
           "$(grep -Eo '(alone|www|x)/[^"]*"' trace | sort -u)" "$image\""
        unlike "... no socket, no process" "$(< trace)" \
               '(socket|connect|bind|clone3?|v?fork)\('
    done
fi
options=(-U "$tmp/no.sock" -P "$tmp/no.pid" --filter=readahead --filter=retry -r)
info got.json www/v3.img; status=$?
is "with a socket, a PID file and filters: exit status" $status 0
is "... neither file is made" "$(ls no.sock no.pid 2> /dev/null)" ""
options=(-s)
info got.json www/v3.img
is "with -s" "$(field .format)" qcow2
options=(--run 'echo run')
info got.json www/v3.img
unlike "with --run, no command" "$(< got.json)" '^run$'
options=(--dump-plugin)
info got.json www/v3.img
like "with --dump-plugin" "$(< got.json)" '^name=qcow$'
options=()
info got.json www/backed3.img allow=any backing=none passphrase=x snapshot=none
is "parameters for serving have no effect" "$(field .format)" qcow2
[ ! -e /dev/full ] || {
    _choose_nbdkit
    "$nbdkit" "$plugin" www/v3.img info=json > /dev/full 2> messages; status=$?
    is "a full disk: exit status" $status 1
    like "... the message" "$(< messages)" 'stdout.*No space'
}

# --- Hostile text ---

# named HEX: set the backing file's name of image.img to these bytes.
named ()
{
    make_sort image.img v3 1M x raw
    poke image.img 8 0000000000000400 "$(printf %08x $((${#1} / 2)))"
    poke image.img 1024 "$1"
}
for hex in 22 5c 0a 1b5b324a ff c080 eda080 e282 c285 7f 222c22783a \
              "$(printf '01%.0s' {1..1023})"; do
    named "$hex"
    info got.json image.img
    ok "the name ${hex:0:20}" py -c '
import json, sys
text = open("got.json", "rb").read()
name = json.loads(text.decode())["backing-filename"]
wanted = bytes.fromhex(sys.argv[1]).decode("utf-8", "replace")
# (How many U+FFFD an invalid sequence becomes is not standardized.)
assert name.replace("\ufffd", "") == wanted.replace("\ufffd", ""), name
assert "\ufffd" in name or "\ufffd" not in wanted
assert not any(b < 32 and b != 10 or b == 127 for b in text)
' "$hex"
done
# --- What can't be served ---

cp www/v3.img image.img
poke image.img 72 0000000000000020
no_info "an unknown incompatible feature" 'incompatible features: bit 5' image.img
cp www/snapshots.img image.img
truncate -s "$(peek image.img 64 8)" image.img
no_info "a snapshot table beyond the end" 'image\.img.*snapshot table' image.img
cp www/v3.img image.img
poke image.img 40 0000000000000200
no_info "an L1 table at a wrong place" 'l1_table_offset' image.img
cp www/luks.img image.img
poke image.img $(($(at image.img 4c554b53babe) + 6)) 0002
no_info "a LUKS header of version 2" 'LUKS header: version is 2' image.img
cp www/data.img image.img
poke image.img "$(at image.img 44415441)" 11111111
no_info "a data file without a name" 'external data file, but does not name it' image.img
no_info "no image" 'not a QCOW image' www/disk.raw
no_info "no file" 'none\.img.*No such file' none.img
writer_start -f qcow2 www/v3.img || exit 1
no_info "an image in use" 'force-share=true' www/v3.img
info got.json www/v3.img force-share=true
is "... with force-share=true" "$(field .format)" qcow2
writer_stop

cp www/snapshots-and-bitmaps.img image.img
poke image.img $(($(at image.img 2385287500000018) + 8)) 00000000
info got.json image.img
is "broken bitmaps, which are not needed" \
   "$(field '[."format-specific".data.bitmaps, (.snapshots | length)] | @json')" '[null,6]'
like "... a warning" "$(< messages)" 'warning:.*bitmaps'

done_testing
