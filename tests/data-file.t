#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images with an external data file (qemu's iotest 244 and more): bytes and map
# with and without raw=on, with stale data, short files and holes; invalid
# entries; finding the file by the name in the image and by data-file=; data
# files of lower layers; files that must not be opened.
#
# qemu resolves a relative name from the current directory, the plugin from the
# image's.  In comparisons with qemu both are the same.

source "$(dirname "$0")/functions.sh"
seed=${QCOW_SEED:-2440}
params=(allow=image-dir)

text_source $((4 << 20)) src0 src1 src2 src3
head -c 1M src0 > disk.raw

# create IMAGE DATA SIZE [OPTION...]: make an image and its data file.
create ()
{
    local image=$1 data=$2 size=$3
    shift 3
    rm -f "$image" "$data"
    qemu-img create -q -f qcow2 -o data_file="$data" "$@" "$image" "$size" ||
        exit 1
}

# named NAME [TARGET]: make 'image' with the data file name NAME; qemu-img does
# not see NAME.  The data file has the content of disk.raw and is at TARGET
# (default: NAME; empty: none).
named ()
{
    local target=${2-$1}
    create image placeholder 1M
    io image "write -q -s $tmp/disk.raw 0 1M"
    if [ -n "$target" ]; then
        mv -- placeholder "$target"
    else
        rm placeholder
    fi
    [ "$(peek image 112 4)" = $((0x44415441)) ] || fail "qemu-img writes the name at 112"
    # A long name overwrites the extensions after it.
    poke image 116 "$(printf %08x "${#1}")"
    head -c $(((${#1} + 7) / 8 * 8 + 16)) /dev/zero |
        dd of=image bs=1 seek=120 conv=notrunc status=none
    poke image 120 "$(printf %s "$1" | xxd -p)"
}

# compare_data NAME IMAGE DATA [NBD-COMPARE-OPTION...]: like compare, for an
# image with a data file.
compare_data ()
{
    dense "$3"
    compare "$1" "$2" "${@:4}"
}

# as_files NAME IMAGE DATA: passes if the map is that of the image, with data
# split into data and holes by SEEK_HOLE in the data file.  (qemu-nbd does so
# only for some of it.)  Retries, because reading fallocated space changes what
# SEEK_HOLE reports.
as_files ()
{
    local _
    for _ in 1 2 3 4; do
        our_map "$2" > got.map 2> log || fail "$1: our map" "$(cat log)"
        "$python" - "$2" "$3" > wanted.map <<'PY' || fail "$1: expected-map"
import os, runpy, sys
image, data = sys.argv[1:]
real = os.open
os.open = lambda path, *rest: real(data if path == image else path, *rest)
sys.argv[1:] = [image]
runpy.run_path(os.environ["gen"] + "/expected-map.py", run_name="__main__")
PY
        ! cmp -s got.map wanted.map || break
    done
    same_text "$1: the map, with the holes of the file" got.map wanted.map
}

# --- Content ----------------------------------------------------------

# 244: zeros and discards over data; the data stays in the file.
steps=('write -q -s disk.raw 0 1M' 'write -q -z 0 64k' 'write -q -z -u 64k 64k'
       'discard -q 192k 64k' 'write -q -z 330k 5k' 'write -q -z 448k 100k'
       'discard -q 640k 128k' 'write -q -s src1 700k 1k'
       'write -q -z -u 900k 124k' 'write -q -s src1 2M 70k')
for spec in no:off: yes:off: no:on: yes:off:65536 no:off:512 no:off:2097152; do
    IFS=: read -r raw extended cluster <<< "$spec"
    opts=(-o "data_file_raw=${raw/yes/on}" -o "extended_l2=$extended")
    opts[1]=${opts[1]/=no/=off}
    [ -z "$cluster" ] || opts+=(-o "cluster_size=$cluster")
    create image data $((3 << 20)) "${opts[@]}"
    io image "${steps[@]}"
    cp --sparse=always data sparse && mv sparse data
    as_files "244: zeros over data, raw: $raw, $extended, $cluster" image data
    compare_data "244: zeros over data, raw: $raw, $extended, $cluster" \
                 image data --cluster "${cluster:-65536}" --borders 60
    [ "$raw" = no ] ||
        same_bytes "244: ... the file equals the disk" oracle.raw data
    # Stale data where the image has no data must not be visible.
    { cat src3 src2 src1; } | head -c 3M > stale
    py - oracle.raw stale data <<'PY'
import sys
disk, stale, data = (open(p, "rb").read() for p in sys.argv[1:])
out = bytearray(data)
for at in range(0, len(disk), 512):
    if not any(disk[at:at + 512]) and not any(data[at:at + 512]):
        out[at:at + 512] = stale[at:at + 512]
open("data", "wb").write(out)
PY
    compare_data "244: ... with stale data everywhere else" image data --random 50
done
# A disk made by convert, with and without data_file_raw.
for raw in off on; do
    rm -f data image
    qemu-img convert -f raw -O qcow2 -o data_file=data,data_file_raw=$raw \
             disk.raw image
    compare_data "244: a converted disk, raw=$raw" image data --random 50
    same_bytes "... the file equals the disk" disk.raw data
done
# raw=on is information for other programs: unallocated clusters read as
# zeros, whatever the file contains.
l1=$(peek image 40 8)
poke image "$l1" 0000000000000000
compare_data "raw=on, without the L2 table" image data
is "... reads as zeros" "$(tr -d '\0' < oracle.raw | wc -c)" 0

# An entry of offset 0 is allocated with COPIED and unallocated without.
for extended in off on; do
    create image data 1M -o extended_l2=$extended
    io image 'write -q -s disk.raw 0 128k'
    l2=$(($(peek image "$(peek image 40 8)" 8) & 0xffffffffffffff))
    is "the first cluster's entry has only COPIED, extended: $extended" \
       "$(peek image $l2 4)" $((0x80000000))
    compare_data "... allocated" image data
    poke image $l2 0000000000000000
    [ $extended = off ] || poke image $((l2 + 8)) 0000000000000000
    compare_data "... without COPIED" image data
    is "... unallocated" \
       "$(status_of image disk.raw 65536)" "0 1 zero; 1 1 same; 2 14 zero"
done

# Random histories; the files with holes, then without.
for spec in 512:off:off:700 4096:off:on:300 65536:off:off:60 \
            16384:on:off:120 65536:on:on:40 1048576:on:off:5; do
    IFS=: read -r cluster extended raw clusters <<< "$spec"
    seed=$((seed + 1))
    size=$((cluster * clusters - 512 * (seed % (cluster / 512))))
    create image data $size -o cluster_size="$cluster" \
           -o extended_l2="$extended" -o data_file_raw="$raw"
    py "$gen/random-writes.py" $seed $size "$cluster" 120 |
        sed 's/ -c / /; /^$/d' > list
    io_script image < list
    as_files "random, clusters of $cluster, extended: $extended, raw: $raw" \
             image data
    compare_data "random, clusters of $cluster, extended: $extended, seed $seed" \
                 image data --cluster "$cluster" --borders 80 --random 100 \
                 --seed $seed || diag "repeat with QCOW_SEED=${QCOW_SEED:-2440}"
done

# Preallocated images: qemu reports holes of the file, too.
for mode in metadata falloc full; do
    create image data 4M -o preallocation=$mode
    io image 'write -q -s disk.raw 1M 100k' 'write -q -z 2M 100k'
    as_files "preallocation=$mode" image data
    compare_data "preallocation=$mode" image data
done

# A file shorter than the disk: zeros.  A longer file: the rest is ignored.
create image data 1M
io image 'write -q -s disk.raw 0 1M'
for length in 0 1 511 65536 70001 1000000 1048575 2000000; do
    head -c $length src1 > data
    oracle image oracle.raw
    serves "a data file of $length bytes" image oracle.raw --random 50
    as_files "a data file of $length bytes" image data
done
# A hole of terabytes, data at both ends.
create image data 4T -o cluster_size=2M
io image 'write -q -P 5 0 64k' 'write -q -P 6 4398046445568 64k'
as_files "4 TiB, sparse" image data
# shellcheck disable=SC2016
ok "4 TiB: data at both ends" with_qcow 'qemu-io -r -f raw -c "read -P 5 0 64k" \
   -c "read -P 0 64k 1M" -c "read -P 6 4398046445568 64k" "$uri"' -- image

# The data file is always raw: its format is not probed.
create image data 1M
io image 'write -q -s disk.raw 0 1M'
qemu-img create -q -f qcow2 -b nowhere -u -F raw inner.qcow2 64k
dd if=inner.qcow2 of=data conv=notrunc status=none
compare_data "a data file that starts with a QCOW header" image data
is "... it is served as data" "$(head -c 4 oracle.raw | xxd -p)" 514649fb

# --- Damage -----------------------------------------------------------

# damaged NAME WHO STATUS OFFSET HEX...: like damaged in damage.t.  If WHO is
# "both", qemu must return the same.
damaged ()
{
    local name=$1 who=$2 status=$3 wanted
    shift 3
    cp base.qcow2 image
    while [ $# -gt 0 ]; do
        poke image "$1" "$2"
        shift 2
    done
    if [ "$who" = both ]; then
        wanted=$(with_qemu "py $gen/nbd-status.py --reconnect \
                            \"\$uri\" disk.raw 65536" image 2> log |
                     paste -s -d ';' | sed 's/;/; /g')
        is "$name: $status in qemu" "$wanted" "$status"
    fi
    is "$name: $status" "$(status_of image disk.raw 65536)" "$status"
    like "$name: a message" "$(cat status.log)" 'image'
    is "$name: the map reports data" \
       "$(our_map image | awk '{ print $1, $2, $3 }')" "0 1048576 0"
}
for extended in off on; do
    create base.qcow2 data 1M -o extended_l2=$extended
    io base.qcow2 'write -q -s disk.raw 0 1M'
    dense data
    l2=$(($(peek base.qcow2 "$(peek base.qcow2 40 8)" 8) & 0xffffffffffffff))
    [ $extended = off ] && each=8 || each=16
    damaged "host offsets that differ from the guest's, extended: $extended" both \
        "0 1 EIO; 1 2 same; 3 1 EIO; 4 1 same; 5 1 EIO; 6 9 same; 15 1 EIO" \
        $l2 8000000000010000 $((l2 + 3 * each)) 8000000000000000 \
        $((l2 + 5 * each)) 8000000000060000 $((l2 + 15 * each)) \
        80000000000e0000
    damaged "... beyond the end of the disk, and unaligned" both \
        "0 7 same; 7 1 EIO; 8 1 same; 9 1 EIO; 10 6 same" \
        $((l2 + 7 * each)) 8000010000000000 $((l2 + 9 * each)) 8000000000090200
    damaged "compressed entries, extended: $extended" both \
        "0 1 EIO; 1 3 same; 4 1 EIO; 5 11 same" \
        $l2 4000000000000000 $((l2 + 4 * each)) 4000000000040000
done
# The file is truncated while being served: EIO, no zeros.
cp base.qcow2 image
if start_qcow -- image; then
    truncate -s 512K data
    is "the data file is truncated: EIO" "$(py "$gen/nbd-status.py" "$uri" \
        disk.raw 65536 | paste -sd,)" "0 8 same,8 8 EIO"
    like "... the message names it" "$(cat "$log")" 'data'
    stop_qcow || fail "the server exits cleanly"
fi
# The raw bit without a data file: refused, as in qemu.
qemu-img create -q -f qcow2 image 1M
poke image 88 0000000000000002
! qemu-io -r -f qcow2 -c 'read 0 512' image > log 2>&1 ||
    fail "raw=on without a data file: qemu refuses it, too"
refused "raw=on without a data file: refused" 'image.*(raw|autoclear)' -- image

# --- Names ------------------------------------------------------------

# leads NAME IMAGE [PARAMETER...]: passes if the served bytes equal disk.raw.
leads ()
{
    local name=$1 image=$2 out
    shift 2
    rm -f got.raw
    # shellcheck disable=SC2016
    if out=$(with_qcow 'nbdcopy "$uri" got.raw' -- "$image" "$@" 2>&1) &&
       out=$(cmp got.raw "$tmp/disk.raw" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out"
    fi
}

mkdir -p dir/sub links elsewhere
cd dir || exit 1
# A name is always a file name, relative to the image's directory, even if it
# looks like one of qemu's protocols.
for name in data.raw ./data.raw sub/data.raw sub/../data.raw file:data.raw \
            json:{} nbd:unix:x a:b host_device:x 'with blanks' 'quote"s' \
            $'new\nline' $'\xff' -x 'a,b' image-dir \
            'json:{"driver":"file"}'; do
    named "$name"
    oracle image oracle.raw
    same_bytes "the name $(printf %q "$name"): qemu" oracle.raw ../disk.raw
    leads "the name $(printf %q "$name")" image
    cd ..
    leads "... from another directory" dir/image
    cd dir || exit 1
    rm -f -- "$name"
done
# Messages don't contain parts of a name that may be secrets.
mkdir -p ssh:/me:SECRET@host
for name in ssh://me:SECRET@host/disk.raw 'json:{"password":"SECRET"}'; do
    named "$name"
    leads "the name ${name/SECRET/...}" image
    rm -f -- "$name"
    for allow in image-dir any ../elsewhere; do
        out=$(with_qcow true -- image "allow=$allow" 2>&1)
        like "... without the file, allow=$allow: a message with the protocol" "$out" \
             "image: .*data file '?${name%%:*}:"
        unlike "... without the secret" "$out" SECRET
    done
    out=$(params=(); with_qcow true -- image 2>&1)
    like "... with nothing allowed: a message with the protocol" "$out" "image: .*data file '${name%%:*}:"
    unlike "... without the secret" "$out" SECRET
done
rm -r ssh:
echo wrong > data.raw
named file:data.raw
leads "file: is a part of the name" image
rm -f file:data.raw data.raw
refused "... no file without it is opened" 'image.*file:data\.raw.*No such file' \
        -- image
named "$tmp/dir/data.raw"
leads "an absolute name" image
cd ..
leads "... from another directory" dir/image
# Neither the current directory nor that of a link's target is searched.
named data.raw
mv image data.raw dir
echo wrong > data.raw
leads "the file beside the image, not the one in the current directory" dir/image
leads "... with an absolute name of the image" "$tmp/dir/image"
rm data.raw
ln -s ../dir/image links/image
refused "the image is a link without the file beside it: refused" 'links/image.*data\.raw' -- links/image
ln dir/data.raw links/data.raw
leads "... with the file beside the link" links/image
mv dir/data.raw elsewhere
ln -s ../elsewhere/data.raw dir/data.raw
refused "a link out of the image's directory: refused" 'dir/image.*data\.raw.*allow=' \
        -- dir/image
leads "... with allow=DIR" dir/image allow=elsewhere
rm dir/data.raw
name=$(printf './%.0s' {1..1500})/data.raw
named "$name" elsewhere/data.raw
mv image elsewhere
leads "a name of 3009 bytes" elsewhere/image
named data.rawX data.raw
poke image 128 00
leads "a NUL ends the name" image

# data-file= replaces the name.  It is relative to the current directory and
# needs no allow=.
named gone.raw moved.raw
refused "a missing file: refused" 'image.*gone\.raw.*No such file' -- image
refused "... the message suggests data-file=" 'data-file=' -- image
params=()
leads "data-file=" image data-file=moved.raw
leads "data-file.0=" image data-file.0=moved.raw
mv image dir/image
leads "... relative to the current directory" dir/image data-file=moved.raw
leads "... with an absolute name" dir/image data-file="$tmp/moved.raw"
mv moved.raw file:moved
leads "... with a colon in the name" dir/image data-file=file:moved
refused "data-file= of a missing file: refused" 'nowhere.*No such file' \
        -- dir/image data-file=nowhere
for name in 'no name' 'an empty one'; do
    named '' data.raw
    # (Replaced by an unknown extension.)
    [ "$name" != 'no name' ] || poke image 112 12345678
    refused "$name in the image: refused" 'image.*data-file=' -- image allow=any
    leads "... with data-file=" image data-file=data.raw
done

# Files that images name need allow=.
named data.raw
refused "without allow: refused" "image.*'data\\.raw'.*allow=image-dir" -- image
refused "... the message suggests data-file=" "data-file=" -- image
leads "allow=image-dir" image allow=image-dir
named ../elsewhere/x.raw elsewhere/x.raw
mv image dir/image
refused "a file outside of the image's directory: refused" \
        "dir/image.*x\\.raw.*allow=$tmp/elsewhere" -- dir/image allow=image-dir
leads "... with allow=DIR" dir/image allow=elsewhere
leads "... with allow=any" dir/image allow=any
params=(allow=image-dir)

# An image without a data file.
qemu-img convert -f raw -O qcow2 disk.raw plain.qcow2
refused "data-file= for an image without a data file: refused" 'plain\.qcow2.*data file' \
        -- plain.qcow2 data-file=disk.raw
named data.raw
refused "data-file= twice, for one image: refused" 'image.*data-file=other' \
        -- image data-file=data.raw data-file=other
refused "data-file.1= for an image without backing files: refused" \
        'image: layer 1 does not exist, so data-file\.1=moved\.raw has no effect' \
        -- image data-file.1=moved.raw data-file.0=data.raw

# --- Invalid data files -----------------------------------------------

mkfifo fifo
py -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
ln -s nowhere dangling
ln -s loop loop
for spec in sub:directory dir:directory fifo:FIFO socket:s \
            dangling:'No such file' loop:'symbolic links' \
            plain.qcow2/x:'Not a directory' no/such/file:'No such file' \
            /dev/null:'character device' /dev/zero:'character device'; do
    mkdir -p sub
    name=${spec%%:*}
    named "$name" ''
    for allow in image-dir any; do
        case $name:$allow in /dev*:image-dir) continue ;; esac
        refused "not a regular file, $name, allow=$allow: refused" \
                "image.*$name.*(${spec#*:})" -- image allow=$allow
    done
    refused "... also with data-file=: refused" "$name.*(${spec#*:})" \
            -- image data-file="$name"
done
named data.raw
chmod 000 data.raw
chmod 755 "$tmp"
cp "$plugin" plugin.so
nobody=()
[ "$(id -u)" != 0 ] ||
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
new_socket
out=$("${nobody[@]}" nbdkit -f -U "$socket" ./plugin.so image allow=image-dir \
                     --run true 2>&1 < /dev/null)
is "a file without read permission: status 1" $? 1
like "... with a message" "$out" 'image.*data\.raw.*Permission denied'
chmod 644 data.raw

# --- In chains --------------------------------------------------------

# over IMAGE BACKING [OPTION...]: make an overlay.
over ()
{
    local image=$1 backing=$2
    shift 2
    rm -f "$image"
    qemu-img create -q -f qcow2 -b "$backing" -F qcow2 "$@" "$image" ||
        exit 1
}
create base.qcow2 base.data 3M
io base.qcow2 'write -q -s src0 0 2M' 'write -q -z 100k 200k'
dense base.data
over mid.qcow2 base.qcow2 -o extended_l2=on
io mid.qcow2 'write -q -s src1 500k 300k' 'write -q -z 1M 10k'
dense mid.qcow2
over top.qcow2 mid.qcow2 -o data_file=top.data,cluster_size=4k
io top.qcow2 'write -q -s src2 0 90k' 'write -q -s src3 700k 70k' \
   'write -q -z 760k 20k' 'write -q -s src2 2500k 5k'
over above.qcow2 top.qcow2
io above.qcow2 'write -q -s src1 50k 50k'
dense above.qcow2
for image in mid top above; do
    dense top.data
    compare_data "in a chain: $image" $image.qcow2 top.data --cluster 4096 \
                 --borders 100
done
mv base.data elsewhere
refused "a missing data file of the third layer: refused" \
        'base\.qcow2.*base\.data.*No such file.*with data-file\.3=FILE' \
        -- above.qcow2
params+=(data-file.3=elsewhere/base.data)
serves "... with that parameter" above.qcow2 oracle.raw
params=(allow=image-dir)
for n in 0 2; do
    refused "data-file.$n= for a layer without a data file: refused" \
            "above\\.qcow2: layer $n has no external data file, so data-file\\.$n=x" \
            -- above.qcow2 data-file.3=elsewhere/base.data data-file.$n=x
done
refused "... data-file= applies to the uppermost one: refused" \
        'base\.qcow2.*base\.data.*No such file.*with data-file=FILE' \
        -- above.qcow2 data-file=elsewhere/base.data
serves_params=("${params[@]}")
params+=(data-file=top.data data-file=elsewhere/base.data)
serves "data-file= for both layers" above.qcow2 oracle.raw
params=(allow=image-dir data-file.3=elsewhere/base.data data-file.1=top.data)
serves "... with numbers" above.qcow2 oracle.raw
params=("${serves_params[@]}")
refused "data-file= a third time: refused" 'data-file=third' -- above.qcow2 \
        data-file=top.data data-file=elsewhere/base.data data-file=third
mv elsewhere/base.data base.data
cp --sparse=always base.data sparse && mv sparse base.data
fallocate -p -o 1310720 -l 131072 base.data
like "holes of a lower layer's data file are zeros" "$(our_map mid.qcow2)" '1310720 +131072 +2 +zero'

# The data file is in use.
named data.raw
dense data.raw
if writer_start -f raw data.raw; then
    refused "a writer has the data file open: refused" 'data\.raw.*force-share' -- image
    leads "... with force-share=true" image force-share=true
    writer_stop
else
    fail "a writer starts"
fi
if start_qcow -- image; then
    like "while we serve it, qemu can't open it for writing" \
         "$(qemu-io -f raw -c 'write 0 512' data.raw 2>&1)" 'lock'
    stop_qcow || fail "the server exits cleanly"
fi

done_testing
