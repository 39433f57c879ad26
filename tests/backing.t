#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Backing files: layers that are longer or shorter than each other; how their
# names and formats are interpreted; and chains that must be refused: missing
# files, wrong types or formats, loops, too many layers, layers in use by a
# writer.
#
# (chains.t tests the content of chains.)

source "$(dirname "$0")/functions.sh"
params=(allow=image-dir)

text_source $((4 << 20)) src0 src1 src2 src3

# --- Lengths ----------------------------------------------------------

# 274: the middle layer is shorter than those above and below it, by whole
# clusters, by sectors, or has one sector.  Its end hides the layers below it.
for base in raw v3; do
    if [ $base = raw ]; then
        head -c 2M src1 > base
    else
        qemu-img convert -f raw -O qcow2 src1 base
        qemu-img resize -q --shrink base 2M
    fi
    dense base
    n=0
    for middle in v1 v2 v3 ext; do
        for length in 1048576 1049088 1000448 512; do
            n=$((n + 1))
            # (All lengths with all sorts would take too long.)
            [ $((n % 3)) = 0 ] || [ $length = 1000448 ] || continue
            format=raw
            [ $base = raw ] || format=qcow2
            make_sort middle $middle $length base $format
            format=$(format_of middle) io middle "write -q -P 33 0 512"
            format=$(format_of middle)
            dense middle
            make_sort top v3 2M middle "$format"
            [ $base$middle != v3v1 ] ||
                params+=(backing-format=qcow backing-format=qcow)
            format=qcow2
            compare "274: $middle of $length over $base of 2 MiB" top
            is "274: ... zeros beyond its end" \
               "$(tail -c +$((length + 1)) oracle.raw | tr -d '\0' | wc -c)" 0
            io top "write -q -P 44 $((length / 65536 * 65536 + 1024)) 70000"
            oracle top oracle.raw
            serves "274: ... written across the end" top oracle.raw
            params=(allow=image-dir)
        done
    done
done
# Shrunk and grown again: the data that was cut off stays hidden.
qemu-img convert -f raw -O qcow2 src1 base
dense base
make_sort middle v3 2M base qcow2
qemu-img resize -q --shrink middle 1M
qemu-img resize -q middle 3M
dense middle
make_sort top v2 4M middle qcow2
compare "274: shrunk and grown" top
is "274: ... the regrown part is zeros" "$(tail -c 3M oracle.raw | tr -d '\0' | wc -c)" 0

# Raw files of any length, also empty ones, below longer and shorter disks.
n=0
for length in 0 1 511 512 70001 131072 200000; do
    head -c $length src2 > base.raw
    for size in 512 66048 300032; do
        n=$((n + 1))
        sorts=(v1 v2 v3 ext)
        make_sort over "${sorts[n % 4]}" "$size" base.raw raw
        same=$((length < size ? length : size))
        { head -c $same src2; head -c $((size - same)) /dev/zero; } > over.raw
        serves "$size bytes of ${sorts[n % 4]} over $length of raw" over \
               over.raw --random 30
    done
done
# The map of a base that ends in the middle of a sector, and of a cluster.
head -c 70001 src2 > base.raw
for size in 66048 131072 300032; do
    make_sort over v3 $size base.raw raw
    compare "70001 bytes below $size" over
    io over 'write -q -P 1 60k 512' 'write -q -z 64k 512'
    compare "70001 bytes below $size, written" over
done
# The header's size counts to the byte.  (qemu rounds it down to sectors.)
cp src1 base.raw
make_sort middle v3 1M base.raw raw
poke middle 24 0000000000010001
make_sort top v3 128k middle qcow2
{ head -c 65537 src1; head -c 65535 /dev/zero; } > top.raw
serves "a layer of 65537 bytes in the middle" top top.raw --cluster 512

# Holes of a raw file are holes, also below several layers.
truncate -s 4M sparse
dd if=src3 of=sparse bs=64k seek=7 count=3 conv=notrunc status=none
dd if=src3 of=sparse bs=64k seek=40 count=1 conv=notrunc status=none
below=sparse format=raw
for n in 1 2 3 4; do
    make_sort layer$n v3 $((5 << 20)) $below $format
    below=layer$n format=qcow2
    format=qcow2 io layer$n "write -q -P $n $((n * 192))k 70000"
    dense layer$n
    compare "a sparse base, $n layers above it" layer$n
done
like "... reports the holes of the base" "$(cat got.map)" ' 917504 +1703936 +3 '

# --- Names ------------------------------------------------------------

# Each file that a name may lead to has its own content.
mkdir -p dir/sub other links
place ()
{
    mkdir -p "$(dirname "$1")"
    { printf '%s\n' "$1"; cat "$tmp/src0"; } 2> log | head -c 65536 > "$1"
}
for file in base.raw outer.raw dir/base.raw dir/sub/base.raw \
            dir/sub/inner.raw other/base.raw links/base.raw; do
    place $file
done

# over IMAGE NAME [FORMAT]: make an image with that backing file name.
over ()
{
    make_sort "$1" v3 64k "$2" "${3:-raw}"
}

# leads NAME IMAGE FILE [PARAMETER...]: passes if the image is served with the
# content of FILE.  If the first parameter is "qemu", qemu must read the same.
leads ()
{
    local name=$1 image=$2 file=$3 out
    shift 3
    if [ "${1:-}" = qemu ]; then
        shift
        oracle "$image" oracle.raw
        cmp "$file" oracle.raw > log ||
            fail "$name: qemu reads the same file" "$(cat log)"
    fi
    rm -f got.raw
    # shellcheck disable=SC2016
    if out=$(with_qcow 'nbdcopy "$uri" got.raw' -- "$image" "$@" 2>&1) &&
       out=$(cmp got.raw "$file" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out" "$(head -1 got.raw 2>&1)"
    fi
}

# Names are relative to the image's directory, not to the current one.
for name in base.raw ./base.raw .//sub/../base.raw ../dir/base.raw \
            "$tmp/dir/base.raw" "$tmp/dir/../dir/./sub//../base.raw" \
            "file:$tmp/dir/base.raw" "file://$tmp/dir/base.raw"; do
    over dir/top "$name"
    leads "the name ${name/$tmp/TMP}" dir/top dir/base.raw qemu
    leads "... with an absolute name of the image" "$tmp/dir/top" \
          dir/base.raw
done
over dir/top sub/inner.raw
leads "a name in a subdirectory" dir/top dir/sub/inner.raw qemu
# (qemu opens such a name relative to the current directory.)
for name in file:base.raw file:./base.raw; do
    over dir/top $name
    leads "the name $name: relative to the image" dir/top dir/base.raw
    over top $name
    leads "... an image in the current directory" top base.raw qemu
done
# Names of unusual characters.
weird=(./a:b 'with blanks' 'quote"s'"'" 'back\slash' $'new\nline'
       $'\xff\xfe' größe %41%20 '*' '~' -x image-dir any 'a,b=c' '#1' '?a=b'
       ./json:{} ./nbd:unix:x ./file:x)
for name in "${weird[@]}"; do
    place "dir/$name"
    over dir/top "$name"
    leads "the name $(printf %q "$name")" dir/top "dir/$name" qemu
done
for name in a:b json:x:y; do
    place "dir/$name"
    over dir/top "file:$name"
    leads "the name file:$name" dir/top "dir/$name"
done
# The maximum length: 1023 bytes.
name=$(printf './%.0s' {1..507})/base.raw
over dir/top "$name"
is "a name of 1023 bytes" "$(peek dir/top 16 4)" 1023
leads "... is opened" dir/top dir/base.raw qemu
# A NUL ends the name, as in qemu.
over dir/top base.rawX
poke dir/top $(($(peek dir/top 8 8) + 8)) 00
leads "a NUL ends the name" dir/top dir/base.raw qemu

# Symbolic links: image-dir is the directory in the name that the user gives.
over dir/top base.raw
ln -s ../dir/top links/top
leads "the image is a link" links/top links/base.raw qemu
ln -s dir dirlink
leads "the image's directory is a link" dirlink/top dir/base.raw qemu
rm links/base.raw
refused "the image is a link without the base beside it: refused" \
        'links/top.*base\.raw|base\.raw.*links/' -- links/top
ln -s sub/inner.raw dir/alias
over dir/top alias
leads "the base is a link" dir/top dir/sub/inner.raw qemu

# The third layer's name is relative to the second one's directory.
over dir/sub/mid ../base.raw
over dir/top sub/mid qcow2
leads "a chain through two directories" dir/top dir/base.raw qemu
over dir/sub/mid base.raw
leads "... and back" dir/top dir/sub/base.raw qemu
# ... also when the user names the second layer.
over other/mid base.raw
params=()
leads "backing=: its own backing name is relative to its directory" dir/top \
      other/base.raw backing=other/mid allow=other
leads "backing= twice needs no allow" dir/top outer.raw backing=other/mid \
      backing=outer.raw
refused "backing= once: its own backing file needs allow=" \
        'other/mid.*base\.raw.*allow=' -- dir/top backing=other/mid
refused "... image-dir is the top image's directory" 'base\.raw.*allow=' \
        -- dir/top backing=other/mid allow=image-dir
# backing= is relative to the current directory, may contain a colon, and
# overrides a name that would be refused.
place ./a:b
over dir/top json:x
leads "backing=: relative to the current directory" dir/top base.raw \
      backing=base.raw backing-format=raw
leads "backing= with a colon in the name" dir/top ./a:b backing=a:b
leads "backing= with an absolute name" dir/top dir/base.raw \
      backing="$tmp/dir/base.raw"

# Files that images name need allow=.
over dir/top base.raw
refused "without allow: refused" "dir/top.*'base\\.raw'.*allow=image-dir" -- dir/top
over dir/top ../outer.raw
refused "a file outside of the image's directory: refused" \
        "dir/top.*outer\\.raw.*allow=$tmp" -- dir/top allow=image-dir
leads "... with allow=DIR" dir/top outer.raw allow=.
leads "... with allow=any" dir/top outer.raw allow=any
params=(allow=image-dir)
for name in ../outer.raw "$tmp/outer.raw"; do
    over dir/sub/mid "${name/#../../..}"
    over dir/top sub/mid qcow2
    refused "the third layer is outside, ${name/$tmp/TMP}: refused" \
            'dir/sub/mid.*outer\.raw.*allow=' -- dir/top
done
ln -s ../../outer.raw dir/sub/alias
over dir/sub/mid alias
refused "the third layer is outside through a link: refused" 'dir/sub/mid.*alias.*allow=' \
        -- dir/top

# --- Invalid backing files --------------------------------------------

cd dir || exit 1
over top gone.raw
refused "a missing file: refused" 'top.*gone\.raw.*No such file' -- top
refused "... the message suggests backing=" 'backing=' -- top
place moved.raw
leads "... replaced by backing=" top moved.raw backing=moved.raw
refused "backing= of a missing file: refused" 'nowhere.*No such file' \
        -- top backing=nowhere
over top no/such/dir/base.raw
refused "a missing directory: refused" 'top.*no/such/dir.*No such file' -- top
over top base.raw/x
refused "a file used as a directory: refused" 'top.*base\.raw/x.*Not a directory' -- top
mkfifo fifo
py -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
ln -s nowhere dangling
ln -s loop loop
for spec in sub:directory fifo:FIFO socket:s dangling:'No such file' \
            loop:'symbolic links' .:directory ..:directory /:directory; do
    over top "${spec%%:*}"
    refused "not a regular file, ${spec%%:*}: refused" "top.*(${spec#*:})" \
            -- top allow=any
    over top "${spec%%:*}"
    refused "... also with backing=: refused" "${spec%%:*}.*(${spec#*:})" \
            -- top backing="${spec%%:*}"
done
for device in /dev/null /dev/zero; do
    over top $device
    for allow in any /dev; do
        refused "a character device, $device, allow=$allow: refused" \
                "top.*$device.*character device" -- top allow=$allow
    done
done
over top base.raw
chmod 000 base.raw
chmod 755 "$tmp"
cp "$plugin" plugin.so
nobody=()
[ "$(id -u)" != 0 ] ||
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
new_socket
out=$("${nobody[@]}" nbdkit -f -U "$socket" ./plugin.so top allow=image-dir \
                     --run true 2>&1 < /dev/null)
is "a file without read permission: status 1" $? 1
like "... with a message" "$out" 'top.*base\.raw.*Permission denied'
chmod 644 base.raw

for name in nbd:unix:/tmp/x http://localhost/x ssh://h/x \
            fat:. blkdebug::base.raw a:b https:base.raw x:/y \
            'json:{"driver":"file","filename":"base.raw"}' 'json:' file: \
            :base.raw FILE:base.raw; do
    over top "$name"
    refused "an unsupported protocol, $name: refused" "top.*$(printf %s "${name%%:*}:" |
            sed 's/[^a-z]/./g').*" -- top allow=any
done

# recorded FORMAT [NAME]: make the image top, which records FORMAT for its
# backing file.  (The format starts at 112 + 8, where qemu-img puts it.)
recorded ()
{
    over top "${2:-base.raw}" raw
    [ "$(peek top 112 4)" = $((0xe2792aca)) ] || fail "qemu-img writes the extension at 112"
    poke top 116 "$(printf %08x ${#1})"
    poke top 120 0000000000000000
    poke top 120 "$(printf %s "$1" | xxd -p)"
}

# Messages don't contain parts of a name that may be secrets.
for name in 'rbd:pool/image:id=admin:key=SECRET==:mon_host=a' \
            rbd:/pool/image:key=SECRET blkdebug::rbd:pool/image:key=SECRET \
            'blkdebug::json:{"driver":"rbd","key":"SECRET"}' \
            blkdebug::https://me:SECRET@h/x 'blkdebug::https://h/x?s=SECRET' \
            'ssh://me@h/x?k=SECRET' \
            'json:{"driver":"https","url":"https://h/","password":"SECRET"}' \
            'json: {"driver":"rbd","key":"SECRET"}'; do
    for f in raw vmdk; do
        over top "$name"
        [ $f = raw ] || recorded $f "$name"
        out=$(with_qcow true -- top allow=any 2>&1)
        like "a secret in a name, $f: refused" "$out" \
             "top: .*backing file '${name%%:*}:.*supported"
        unlike "... without the secret" "$out" SECRET
    done
done
# A long name does not truncate the message.
over top "nbd:$(printf %01000d 0)"
refused "a long name with a protocol: refused" 'top.*nbd:0.*backing=FILE' \
        -- top allow=any
over top $'odd\033[31mname\n'
out=$(with_qcow true -- top 2>&1)
is "an escape character in a name is not printed" \
   "$(tr -cd '\033' <<< "$out" | wc -c)" 0

# --- Formats ----------------------------------------------------------

make_sort image v3 64k
io image 'write -q -s ../src1 0 64k'
oracle image image.raw
make_sort old v1 64k
format=qcow io old 'write -q -s ../src2 0 64k'
format=qcow oracle old old.raw
for name in foo vmdk qed vdi vpc luks dmg nbd file Raw RAW qcow3 raw2 'raw '; do
    recorded "$name"
    refused "the recorded format '$name': refused" "top.*'$name'" -- top
    leads "... and backing-format=raw" top base.raw backing-format=raw
done
# Files of those formats, with and without a recorded format: real ones, and
# headers of others.  qemu probes the format.  The plugin refuses them unless
# the user sets backing-format=raw.
# probed FILE FORMAT [NAME]: NAME is the format's name in messages.
probed ()
{
    local file=$1 sort=$2 label=${3:-$2}
    cp "$file" probed
    unlike "$file: qemu does not detect it as raw" \
           "$(qemu-img info -U probed 2>&1)" 'file format: raw'
    over top "$file" "$sort"
    refused "$file, recorded: refused" "top.*$file.*$sort" -- top
    over top "$file"
    poke top 112 00000000
    refused "$file, not recorded: refused" "top.*$file.* $label .*backing-format=raw" \
            -- top
    refused "$file, by backing=: refused" \
            "top.*$file.* $label .*backing-format=raw" -- top "backing=$file"
    make_sort top v1 64k "$file" raw
    refused "$file below version 1: refused" "top.*$file.* $label .*backing-format=raw" \
            -- top
    # (The file's size differs from the disk's.)
    head -c 65536 "$file" > start.raw
    truncate -s 64k start.raw
    leads "... and backing-format=raw" top start.raw backing-format=raw
    over top "$file" raw
    leads "... and recorded as raw" top start.raw qemu
}
for name in vmdk vdi qed vpc vhdx parallels; do
    qemu-img create -q -f $name disk.$name 1M
done
quick_luks qemu-img create -q -f luks --object secret,id=s,data=x \
         -o key-secret=s,iter-time=10 disk.luks 64k
probed disk.vmdk vmdk VMDK
probed disk.vdi vdi VDI
probed disk.qed qed QED
probed disk.vpc vpc VHD
probed disk.vhdx vhdx VHDX
probed disk.parallels parallels Parallels
probed disk.luks luks LUKS
qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 64k
probed flat.vmdk vmdk VMDK
# text_file FILE [OFFSET TEXT]...: make a file of 8 KiB with those texts.
text_file ()
{
    local file=$1
    shift
    truncate -s 8k "$file"
    while [ $# -gt 0 ]; do
        poke "$file" "$1" "$(printf %b "$2" | xxd -p | tr -d '\n')"
        shift 2
    done
}
text_file old.vmdk 0 'COWD\01'
probed old.vmdk vmdk VMDK
text_file old.parallels 0 'WithoutFreeSpace\02'
probed old.parallels parallels Parallels
text_file disk.bochs 0 'Bochs Virtual HD Image' 32 Redolog 48 Growing 66 '\02'
probed disk.bochs bochs Bochs
# shellcheck disable=SC2016
text_file disk.cloop 0 '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && '\
'mount -r -t iso9660 /dev/cloop $1\n'
probed disk.cloop cloop
# qemu detects LUKS version 2 as raw: it is a disk that its guest encrypts.
cp disk.luks two.luks
poke two.luks 6 0002
head -c 65536 two.luks > start.raw
over top two.luks
poke top 112 00000000
leads "LUKS version 2, not recorded" top start.raw qemu
# If the path differs from the recorded name, the message has both.
over top disk.vdi
poke top 112 00000000
refused "the message has the name" "the backing file 'disk\\.vdi' starts" -- top
refused "... the user's name" "the backing file './disk\\.qed' starts" \
        -- top backing=./disk.qed
mkdir -p dir
over dir/top ../disk.vdi
poke dir/top 112 00000000
refused "... the recorded name and the path" \
        "the backing file '\\.\\./disk\\.vdi' \\(dir/\\.\\./disk\\.vdi\\) starts" \
        -- dir/top allow=.
over dir/top ../gone.raw
refused "... also of a missing file" \
        "can't open the backing file '\\.\\./gone\\.raw' \\(dir/\\.\\./gone\\.raw\\): No such" \
        -- dir/top allow=.
over top gone.raw
refused "... once if both are equal" \
        "can't open the backing file 'gone\\.raw': No such" -- top
# qemu detects these as raw, too.
cp base.raw mbr.raw
poke mbr.raw 510 55aa
cp base.raw disk.gz
poke disk.gz 0 1f8b08
for file in mbr.raw disk.gz; do
    over top $file
    poke top 112 00000000
    leads "$file, not recorded" top $file qemu
done
for name in qcow qcow2; do
    recorded $name
    refused "a raw file that is recorded as $name: refused" \
            "top: the backing file 'base\\.raw' is recorded as $name, but is not a QCOW image .*backing-format=raw" \
            -- top
    refused "... a VDI image by backing=: refused" \
            "top: the backing file 'disk\\.vdi' is recorded as $name, but is not a QCOW image: it looks like a VDI image, and only raw" \
            -- top backing=disk.vdi
    refused "... a disk with an MBR by backing=: refused" \
            "'mbr\\.raw' .*: it looks like a raw disk with an MBR .*backing-format=raw" \
            -- top backing=mbr.raw
    recorded $name image
    leads "an image that is recorded as $name" top image.raw
    recorded $name old
    leads "a version 1 image that is recorded as $name" top old.raw
done
for file in image old; do
    recorded raw $file
    head -c 65536 $file > start.raw
    truncate -s 64k start.raw
    leads "$file, recorded as raw: the file's bytes" top start.raw qemu
    for f in qcow qcow2; do
        leads "... and backing-format=$f" top $file.raw backing-format=$f
    done
    over top $file
    poke top 112 00000000
    refused "$file, without a format: refused" "top.*$file.*backing-format=" -- top
    leads "... and backing-format=raw" top start.raw backing-format=raw
    leads "... and backing-format=qcow" top $file.raw backing-format=qcow
done
over top base.raw
poke top 112 00000000
leads "a raw file, without a format" top base.raw qemu
make_sort top v1 64k base.raw raw
format=qcow leads "a raw file below version 1" top base.raw qemu
refused "backing-format=qcow for a raw file: refused" \
        "'base\\.raw' is given as backing-format=qcow, but is not a QCOW" \
        -- top backing-format=qcow
refused "backing-format=foo: refused" 'backing-format.*foo' -- top backing-format=foo
refused "an empty backing-format=: refused" 'backing-format' -- top backing-format=

# The n-th backing-format= is for the n-th layer below the top; a single one is
# also for all that record no format.
make_sort mid v1 64k old qcow
over top mid qcow2
refused "two layers, the second without a recorded format: refused" \
        "mid: .*'old' starts like a QCOW image, but its format is not recorded: .*backing-format\.2=qcow or backing-format\.2=raw" \
        -- top
head -c 65536 old > start.raw
truncate -s 64k start.raw
leads "... with that parameter" top old.raw backing-format.2=qcow
leads "... or that one" top start.raw backing-format.2=raw
leads "... with one backing-format=" top old.raw backing-format=qcow
leads "... with two" top old.raw backing-format=qcow backing-format=qcow
leads "... in their order" top start.raw backing-format=qcow \
      backing-format=raw
leads "... with numbers, in any order" top start.raw backing-format.2=raw \
      backing-format.1=qcow
refused "a number makes it count for that layer only: refused" \
        "mid: .*'old' starts like .*backing-format\.2=qcow" \
        -- top backing-format.1=qcow
make_sort mid v3 64k old raw
leads "a recorded format counts, not that of the layer above" top start.raw \
      backing-format=qcow
make_sort low v1 64k base.raw raw
make_sort mid v1 64k low qcow
over top mid qcow2
refused "one backing-format=, but a deeper layer is raw: refused" \
        "low: .*'base\.raw' is given as backing-format=qcow, but is not a QCOW image .*use backing-format\.3=raw" \
        -- top backing-format=qcow
refused "... added to one without a number: refused" \
        'backing-format= and backing-format\.N= .*number all of them' \
        -- top backing-format=qcow backing-format.3=raw
leads "... with numbers" top base.raw backing-format.2=qcow backing-format.3=raw
refused "... wrong with a number: refused" \
        "'base\.raw' is given as backing-format\.3=qcow, .*use backing-format\.3=raw" \
        -- top backing-format.2=qcow backing-format.3=qcow
over top low qcow2
refused "... the second layer: refused" 'low: .*use backing-format=raw' \
        -- top backing-format=qcow
leads "... with a second parameter" top base.raw backing-format=qcow \
      backing-format=raw
refused "backing-format.2=foo: refused" 'top: backing-format\.2=foo: must be' \
        -- top backing-format.2=foo
for name in vmdk foo; do
    recorded $name
    refused "$name is recorded for a file that backing= replaces: refused" \
            "top: .*'base\.raw' has the format '$name': .*backing-format=raw or" \
            -- top backing=base.raw
done

# More parameters than layers.
refused "backing-format= for an image without a backing file: refused" 'image.*backing-format=raw' \
        -- image backing-format=raw
over top base.raw
refused "backing= below a raw file: refused" \
        "base\.raw: is raw, so it can't have a backing file: backing=other has" \
        -- top backing=base.raw backing=other
refused "... with a number: refused" \
        "base\.raw: is raw, so it can't have a backing file: backing\.4=other" \
        -- top backing.4=other
refused "backing-format= twice, for one layer: refused" 'backing-format=qcow' \
        -- top backing-format=raw backing-format=qcow
over mid base.raw
refused "backing= a third time: refused" "base\.raw: is raw.*backing=third" \
        -- top backing=mid backing-format=qcow backing=base.raw backing=third
refused "a number below a gap: refused" \
        "image: has no backing file, so backing\.2=x has no effect" \
        -- image backing.2=x
refused "a format below the lowest layer: refused" \
        'image: has no backing file, so backing-format\.1=raw has no effect' \
        -- image backing-format.1=raw
# The hint in a message names the layer.
over mid gone.raw
over top mid qcow2
refused "a missing file of the second layer: refused" \
        'mid: .*gone\.raw.*with backing\.2=FILE' -- top
leads "... with that parameter" top base.raw backing.2=base.raw
refused "... after backing=: refused" 'mid: .*gone\.raw.*with backing=FILE' \
        -- top backing=mid
leads "... with a second one" top base.raw backing=mid backing=base.raw
refused "... after backing.1=: refused" 'mid: .*gone\.raw.*with backing\.2=FILE' \
        -- top backing.1=mid
over mid nbd:x
refused "an unsupported protocol in the second layer: refused" \
        'mid: .*nbd:x.*with backing\.2=FILE' -- top
cd ..

# --- Loops and depth --------------------------------------------------

# Loops are refused at once, from whichever layer they start.
export QCOW_TIMEOUT=20
# ring IMAGE SORT NAME: make an image with that backing file name.  (qemu-img
# refuses to make an image over itself, so it makes another one to copy.)
ring () { make_sort ring.tmp "$2" 1M "$3" qcow2 && cat ring.tmp > "$1"; }
ring a v3 c
ring b v3 a
ring c v1 b
params=(allow=image-dir backing-format={qcow,qcow,qcow,qcow})
for image in a b c; do
    refused "a loop of three, from $image: refused" "$image.*loop" -- $image
done
ring top v3 b
refused "a loop of three, from above it: refused" 'b.*loop' -- top
ring a v3 b
for image in a b; do
    refused "a loop of two, from $image: refused" "$image.*loop" -- $image
done
for name in a ./a "$tmp/a" sub/../a; do
    mkdir -p sub
    ring a v3 "$name"
    refused "a loop of one, ${name/$tmp/TMP}: refused" 'a.*loop' -- a
done
ln -s a alias
ln a hard
for name in alias hard; do
    ring a v3 $name
    refused "a loop of one through another name, $name: refused" 'loop' -- a
done
refused "a loop by backing=: refused" 'loop' -- a backing=a
unset QCOW_TIMEOUT
params=(allow=image-dir)
# An image over its own file as raw is not a loop.
make_sort ring.tmp v3 64k a raw
cat ring.tmp > a
compare "an image over its own file as raw" a

# The maximum depth, each layer with data of its own; then one more.
cat > deep.py <<'PY'
import os, struct, sys
sys.path.insert(0, os.environ["gen"])
from qcow2 import Image, text
depth = 256
class Overlay(Image):
    def header(self):
        name = self.below.encode()
        head = bytearray(super().header())
        struct.pack_into(">QI", head, 8, 256, len(name))
        kind = b"raw" if self.below == "base" else b"qcow2"
        head += struct.pack(">II8s", 0xe2792aca, len(kind), kind)
        return bytes(head.ljust(256, b"\0") + name)
size = (depth + 40) * 512
disk = bytearray(text("base", size))
open("base", "wb").write(disk)
for i in range(depth, -1, -1):
    # layer256 is the lowest one, and layer0 is one too many.
    image = Overlay(9, size)
    image.below = "layer%d" % (i + 1) if i < depth else "base"
    for cluster in {(i * 7) % (depth + 40), (i * 3 + 1) % (depth + 40)}:
        data = text("layer %d" % i, 512)
        image.normal(cluster, data)
        disk[cluster * 512:cluster * 512 + 512] = data
    image.save("layer%d" % i)
    if i == 1:
        open("deep.raw", "wb").write(disk)
PY
mkdir deep
cd deep || exit 1
"$python" ../deep.py || fail "deep.py"
serves "256 layers below the top" layer1 deep.raw --cluster 512 --random 100
oracle layer1 oracle.raw
same_bytes "... as qemu reads it" oracle.raw deep.raw
same_map "256 layers below the top" layer1
params+=(cache-size=64K)
serves "... with a small cache" layer1 deep.raw --cluster 512 --connections 2
params=(allow=image-dir)
refused "257 layers below the top: refused" 'layer[0-9]+.*256' -- layer0
cd ..

# An empty chain whose map takes long to read: a block status request returns
# after about a second with the extents known by then, so that neither the
# client nor the server's shutdown waits for the rest.
mkdir slow
cd slow || exit 1
qemu-img create -q -f qcow2 -o cluster_size=512 layer0 4G
cat > slow.py <<'PY'
import struct
with open("layer0", "rb") as f:
    data = bytearray(f.read())
l1_size, l1 = struct.unpack_from(">IQ", data, 36)
data += bytes(-len(data) % 512)
# All L1 entries name the same L2 table, which is empty.
struct.pack_into(">%dQ" % l1_size, data, l1,
                 *[len(data) | 1 << 63] * l1_size)
data += bytes(512)
data[112:136] = struct.pack(">II8sII", 0xe2792aca, 5, b"qcow2", 0, 0)
for i in range(1, 129):
    with open("layer%d" % (i - 1), "wb") as f:
        f.write(data)
    name = b"layer%d" % (i - 1)
    data[136:512] = name + bytes(512 - 136 - len(name))
    struct.pack_into(">QI", data, 8, 136, len(name))
PY
py slow.py
if start_qcow -- layer127; then
    is "extents of a slow chain: a partial reply in time" \
       "$(timeout 100 "$python" "$gen/nbd-patience.py" "$uri" $((0xffff0000)) 15)" \
       "[3] True True"
    stop_qcow || fail "the server exits cleanly"
fi
cd ..
rm -rf slow

# --- Layers in use, and damaged layers --------------------------------

qemu-img convert -f raw -O qcow2 src1 base.qcow2
make_sort mid v3 4M base.qcow2 qcow2
make_sort top v3 4M mid qcow2
head -c 4M src1 > disk.raw
if writer_start -f qcow2 base.qcow2; then
    refused "a writer has the lowest layer open: refused" 'base\.qcow2.*force-share' \
            -- top
    params=(allow=image-dir force-share=true)
    serves "... with force-share=true" top disk.raw --random 20
    params=(allow=image-dir)
    writer_stop
else
    fail "a writer starts"
fi
if start_qcow -- top; then
    for file in top mid base.qcow2; do
        like "while we serve $file, qemu can't open it for writing" \
             "$(qemu-io -f qcow2 -c 'write 0 512' $file 2>&1)" 'lock'
    done
    stop_qcow || fail "the server exits cleanly"
fi

# Damage in a layer: EIO only where no layer above it hides it.
l2=$(($(peek base.qcow2 "$(peek base.qcow2 40 8)" 8) & 0xffffffffffffff))
poke base.qcow2 $((l2 + 40)) 8000000000052a00
poke base.qcow2 $((l2 + 56)) 8000000000052a00
io top 'write -q -s src1 0 300k'
dd if=src1 of=part bs=64k skip=7 count=1 status=none
io mid "write -q -s part 448k 64k"
is "damage in the lowest layer: EIO only where it is visible" \
   "$(status_of top disk.raw 65536)" "0 5 same; 5 1 EIO; 6 58 same"
like "... the message names the layer" "$(cat status.log)" 'base\.qcow2'
poke mid 0 00
refused "a layer without the QCOW magic: refused" 'mid.*([Mm]agic|not a QCOW)' -- top
poke mid 0 51
poke base.qcow2 79 20
refused "a layer with an unknown feature: refused" 'base\.qcow2.*incompatible' -- top
poke base.qcow2 79 00
poke base.qcow2 32 00000001
refused "a layer that is encrypted: refused" 'base\.qcow2.*(AES|[Ee]ncrypt)' -- top

done_testing
