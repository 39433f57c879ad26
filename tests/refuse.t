#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Invalid headers, unsupported features and files that are not images: the
# plugin exits with status 1 and a message with the file's name, the field and
# its value.  For each limit, the test also checks that a header just inside
# it is served.
#
# Where qemu refuses the same header, the test checks that too: a mutation
# that qemu accepts may be valid.

source "$(dirname "$0")/functions.sh"

text_source $((1 << 20)) src0
head -c 1M src0 > disk.raw
qemu-img convert -f raw -O qcow2 disk.raw v3.qcow2
qemu-img convert -f raw -O qcow2 -o compat=0.10 disk.raw v2.qcow2
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd \
         disk.raw zstd.qcow2
qemu-img convert -f raw -O qcow2 -o cluster_size=512 disk.raw small.qcow2

# qemu_refuses IMAGE
qemu_refuses ()
{
    ! qemu-io -r -f qcow2 -c 'read 0 512' "$1" > qemu.log 2>&1
}

# bad NAME BASE REGEX [OFFSET HEX]...: qemu and the plugin refuse it.
bad ()
{
    local name=$1 base=$2 re=$3
    shift 3
    cp "$base" bad.qcow2
    while [ $# -gt 0 ]; do
        poke bad.qcow2 "$1" "$2"
        shift 2
    done
    qemu_refuses bad.qcow2 || fail "$name: refused by qemu"
    refused "$name: refused" "bad\\.qcow2.*($re)" -- bad.qcow2
}

# ours NAME BASE REGEX [OFFSET HEX]...: only the plugin refuses it.
ours ()
{
    local name=$1 base=$2 re=$3
    shift 3
    cp "$base" bad.qcow2
    while [ $# -gt 0 ]; do
        poke bad.qcow2 "$1" "$2"
        shift 2
    done
    refused "$name: refused" "bad\\.qcow2.*($re)" -- bad.qcow2
}

# good NAME BASE [OFFSET HEX]...: served, with the same bytes as in qemu.
good ()
{
    local name=$1 base=$2
    shift 2
    cp "$base" good.qcow2
    while [ $# -gt 0 ]; do
        poke good.qcow2 "$1" "$2"
        shift 2
    done
    rm -f oracle.raw
    oracle good.qcow2 oracle.raw
    serves "$name: served" good.qcow2 oracle.raw --random 20
}

for v in v2 v3; do
    bad "$v: first byte of the magic" $v.qcow2 '[Mm]agic|not a QCOW' 0 00
    bad "$v: last byte of the magic" $v.qcow2 '[Mm]agic|not a QCOW' 3 00
    for n in 0 4 5 2147483647 4294967295; do
        bad "$v: version $n" $v.qcow2 "version.*$n" 4 "$(printf %08x $n)"
    done
    for n in 0 8 22 31 32 63 64 255 4294967295; do
        bad "$v: cluster_bits $n" $v.qcow2 "cluster_bits.*$n" \
            20 "$(printf %08x $n)"
    done
    # The L1 table is too short for these sizes.
    bad "$v: size one cluster beyond the L1 table" $v.qcow2 'l1_size|size' \
        24 0000000020010000
    for n in 0010000000000000 1000000000000000 7fffffffffffffff \
             8000000000000000 ffffffffffffffff; do
        bad "$v: size 0x$n" $v.qcow2 'size' 24 $n
    done
    bad "$v: crypt_method 1 (AES)" \
        $v.qcow2 'crypt_method|AES|[Ee]ncrypt' 32 00000001
    bad "$v: crypt_method 2 (LUKS)" \
        $v.qcow2 'crypt_method|LUKS|[Ee]ncrypt' 32 00000002
    bad "$v: crypt_method 3" $v.qcow2 'crypt_method.*3' 32 00000003
    bad "$v: crypt_method 2^32 - 1" $v.qcow2 'crypt_method.*4294967295' \
        32 ffffffff
    bad "$v: l1_size 0" $v.qcow2 'l1_size.*0' 36 00000000
    for n in 4194305 2147483648 4294967295; do
        bad "$v: l1_size $n" $v.qcow2 "l1_size.*$n" 36 "$(printf %08x $n)"
    done
    bad "$v: unaligned l1_table_offset" $v.qcow2 'l1_table_offset' \
        40 0000000000030200
    bad "$v: l1_table_offset 2^63" $v.qcow2 'l1_table_offset' \
        40 8000000000000000
    bad "$v: an L1 table that ends above 2^63" $v.qcow2 \
        'l1_table_offset' 40 7fffffffffff0000 36 00200000
    ours "$v: l1_table_offset beyond the end of the file" $v.qcow2 \
        'l1_table_offset|L1 table' \
        40 0000000040000000
    bad "$v: unaligned refcount_table_offset" $v.qcow2 \
        'refcount_table_offset' 48 0000000000010008
    bad "$v: huge refcount_table_offset" $v.qcow2 'refcount_table_offset' \
        48 ffffffffffff0000
    bad "$v: refcount_table_clusters 0" $v.qcow2 \
        'refcount_table_clusters.*0' 56 00000000
    bad "$v: refcount_table_clusters 129" $v.qcow2 \
        'refcount_table_clusters.*129' 56 00000081
    bad "$v: refcount_table_clusters 2^32 - 1" $v.qcow2 \
        'refcount_table_clusters.*4294967295' 56 ffffffff
    for n in 65537 4294967295; do
        bad "$v: nb_snapshots $n" $v.qcow2 "nb_snapshots.*$n" \
            60 "$(printf %08x $n)"
    done
    bad "$v: unaligned snapshots_offset, no snapshots" $v.qcow2 \
        'snapshots_offset' 64 0000000000000200
    bad "$v: huge snapshots_offset" $v.qcow2 'snapshots_offset' \
        60 00000001 64 ffffffffffff0000
    bad "$v: backing_file_offset beyond the first cluster" $v.qcow2 'backing' \
        8 0000000000010001 16 00000005
    bad "$v: backing_file_size 1024" $v.qcow2 'backing' \
        8 0000000000000400 16 00000400
    bad "$v: backing file name across the first cluster's end" \
        $v.qcow2 'backing' \
        8 000000000000fff0 16 00000011
    bad "$v: backing_file_size 2^32 - 1" $v.qcow2 'backing' \
        8 0000000000000400 16 ffffffff
    good "$v: backing_file_offset with backing_file_size 0" $v.qcow2 \
        8 0000000000000400 16 00000000
    good "$v: unchanged" $v.qcow2
done

# Version 3 only.
for n in 7 32 4294967295; do
    bad "refcount_order $n" v3.qcow2 "refcount_order.*$n" \
        96 "$(printf %08x $n)"
done
for n in 0 72 96 100 103; do
    bad "header_length $n" v3.qcow2 "header_length.*$n" \
        100 "$(printf %08x $n)"
done
for n in 65537 65544 4294967288 4294967295; do
    bad "header_length $n" v3.qcow2 "header_length.*$n" \
        100 "$(printf %08x $n)"
done
bad "header_length 520 with clusters of 512" small.qcow2 \
    'header_length.*520' 100 00000208
# Without the compression_type field, and with unknown fields.
good "header_length 104" v3.qcow2 100 00000068 104 0000000000000000
good "header_length 4096" v3.qcow2 100 00001000
good "header_length of a whole cluster" v3.qcow2 100 00010000
good "nonzero padding after compression_type" v3.qcow2 105 ffffffffffffff

bad "zstd without the compression feature bit" zstd.qcow2 'compression' \
    72 0000000000000000
bad "zlib with the compression feature bit" v3.qcow2 'compression' \
    72 0000000000000008
bad "compression_type 2" zstd.qcow2 'compression_type.*2' 104 02
bad "compression_type 255" zstd.qcow2 'compression_type.*255' 104 ff
bad "extended L2 entries with too small clusters" small.qcow2 \
    'L2|l1_size|cluster_bits|subcluster' 72 0000000000000010

# The L1 table at its limit: 32 MiB, mostly a hole.
cp v3.qcow2 long.qcow2
truncate -s 64M long.qcow2
good "l1_size 4194304" long.qcow2 36 00400000

# Header extensions beyond their area.  The first one is at 112.
bad "an extension longer than the cluster" v3.qcow2 'extension' \
    116 00010000
bad "an extension of 4 GiB" v3.qcow2 'extension' 116 ffffffff
bad "an unknown extension that ends beyond the cluster" v3.qcow2 'extension' \
    112 12345678 116 0000ff89

# Files that are not QCOW images.
: > empty
refused "an empty file: refused" 'empty: the file is empty' -- empty
printf 'This is not a disk image.\n' > text
printf 'QFI' > three
refused "a file of three bytes: refused" \
        'three: the file is 3 bytes, but a QCOW header needs' -- three
refused "a text file: refused" 'text.*([Mm]agic|not a QCOW)' -- text
refused "a raw disk: refused" \
        'disk\.raw: not a QCOW image: it starts with' -- disk.raw

# Truncated headers.
qemu-img create -q -f qcow v1.qcow 1M
for row in 'v1.qcow 47 48' 'v1.qcow 4 48' 'v2.qcow2 50 72' 'v2.qcow2 71 72' \
           'v3.qcow2 50 104' 'v3.qcow2 103 104' 'v3.qcow2 8 104'; do
    read -r file length wanted <<< "$row"
    head -c "$length" $file > short
    refused "$file, truncated to $length bytes: refused" \
            "short: the file is $length bytes, but a QCOW header needs $wanted: was the file truncated\?" \
            -- short
done
head -c 48 v1.qcow > short
refused "only a version 1 header: refused" 'short.*L1 table' -- short
for file in v2.qcow2 v3.qcow2; do
    head -c 200 $file > short
    refused "only a header, $file: refused" \
            'short.*(l1_table_offset|L1 table)' \
            -- short
done

# named FORMAT ADVICE FILE: FILE is refused; the message names its format, and
# a way to read it.
named ()
{
    refused "$3: refused" "$3: not a QCOW image: it is $1 \\(.*$2" -- "$3"
}
for row in vmdk:VMDK vdi:VDI vpc:VHD vhdx:VHDX qed:QED parallels:Parallels; do
    format=${row%:*}
    qemu-img create -q -f "$format" "other.$format" 1M
    named "a ${row#*:} image" 'qemu-img can convert it' "other.$format"
done
format=qcow2
qemu-img create -q -f vpc -o subformat=fixed fixed.vpc 1M
named 'a VHD image' 'qemu-img' fixed.vpc
for sub in monolithicFlat streamOptimized; do
    qemu-img create -q -f vmdk -o subformat=$sub $sub.vmdk 1M
    named 'a VMDK image' 'qemu-img' $sub.vmdk
done
printf '# an old tool'"'"'s\r\n\r\nversion=1\r\n' > text.vmdk
named 'a VMDK image' 'qemu-img' text.vmdk
quick_luks qemu-img create -q -f luks --object secret,id=s,data=x \
         -o key-secret=s,iter-time=10 disk.luks 64k
named 'a LUKS disk' 'nbdkit-luks-filter' disk.luks
poke disk.luks 6 0002
named 'a LUKS disk of a later version' 'nbdkit-file-plugin' disk.luks
gzip -c v3.qcow2 > disk.gz
named 'a file compressed with gzip' '--filter=gzip' disk.gz
py -c 'import bz2, lzma
data = open("v3.qcow2", "rb").read()
for name, compress in ("xz", lzma.compress), ("bz2", bz2.compress):
    with open("disk." + name, "wb") as f:
        f.write(compress(data))'
named 'a file compressed with xz' '--filter=xz' disk.xz
xxd -r -p <<< 28b52ffd240001000099e9d851 > disk.zst # of no bytes
named 'a file compressed with zstd' 'unpack' disk.zst
named 'a file compressed with bzip2' 'unpack' disk.bz2
tar -cf disk.tar v3.qcow2
named 'a tar archive' 'tar-entry=' disk.tar
# As sfdisk and genisoimage write them.
cp disk.raw mbr.raw
poke mbr.raw 510 55aa
named 'a raw disk with an MBR' 'nbdkit-file-plugin' mbr.raw
cp mbr.raw gpt.raw
poke gpt.raw 512 4546492050415254
named 'a raw disk with a GPT' 'nbdkit-file-plugin' gpt.raw
truncate -s 1M disk.iso
poke disk.iso 32768 014344303031
named 'an ISO 9660 image' 'nbdkit-file-plugin' disk.iso
truncate -s 1M disk.dmg
poke disk.dmg $(((1 << 20) - 512)) 6b6f6c79
named 'a DMG image' 'qemu-img' disk.dmg
mkdir directory
refused "a directory: refused" 'directory' -- directory
mkfifo fifo
refused "a FIFO: refused, without waiting for a writer" 'fifo' -- fifo
refused "/dev/null: refused" '/dev/null' -- /dev/null
refused "/dev/zero: refused" '/dev/zero' -- /dev/zero
"$python" -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("s")'
refused "a socket: refused" '(^|[^a-z])s:' -- s
refused "a missing file: refused" \
        'missing\.qcow2.*No such file' -- missing.qcow2
refused "a missing directory: refused" \
        'no/such/file.*No such file' -- no/such/file
ln -s nowhere dangling
refused "a dangling symbolic link: refused" 'dangling.*No such file' -- dangling
refused "a path through a file: refused" \
        'v3\.qcow2/x.*Not a directory' -- v3.qcow2/x

# A file name with terminal escape sequences.
name=$'odd\033[31mname\n.qcow2'
printf 'no image' > "$name"
out=$(with_qcow true -- "$name" 2>&1)
is "a message escapes control characters of a file name" \
   "$(tr -cd '\033' <<< "$out" | wc -c)" 0

# A file without read permission.  Root may read everything, so run as another
# user.
chmod 755 "$tmp"
cp "$plugin" plugin.so
cp v3.qcow2 secret.qcow2
chmod 000 secret.qcow2
if [ "$(id -u)" = 0 ]; then
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
else
    nobody=()
fi
new_socket
out=$("${nobody[@]}" nbdkit -f -U "$socket" ./plugin.so secret.qcow2 --run true \
                     2>&1 < /dev/null)
is "a file without read permission: refused" $? 1
like "... the message" "$out" 'secret\.qcow2.*Permission denied'

done_testing
