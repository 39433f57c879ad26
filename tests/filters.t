#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# nbdkit's filters on top of the plugin: cow, cache, readahead, partition,
# blocksize, noextents, retry, log and others that are useful for a read-only
# disk.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-99}
size=$((65536 * 100))
random_image image.qcow2 "$seed" $size 65536 120
dense image.qcow2
oracle image.qcow2 oracle.raw
before=$(sha256sum < image.qcow2)

# through NAME NBDKIT-OPTION... -- FILTER-PARAMETER...
# Passes if nbdcopy and nbd-compare.py read the right bytes.  Messages go to
# the file through.log.
through ()
{
    local name=$1 opts=() out
    shift
    while [ "$1" != -- ]; do
        opts+=("$1"); shift
    done
    shift
    rm -f got.raw
    # shellcheck disable=SC2016
    if out=$(with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw oracle.raw &&
             py "$gen/nbd-compare.py" "$uri" oracle.raw \
                 --cluster 65536 --borders 20 --connections 3' \
             "${opts[@]}" -- image.qcow2 "$@" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out"
    fi
    printf '%s\n' "$out" > through.log
}

through "cow" --filter=cow --
through "cache" --filter=cache --
through "cache, on read" --filter=cache -- cache-on-read=true
through "readahead" --filter=readahead --
unlike "... prints no warning: the plugin has what it needs" "$(cat through.log)" 'warning'
through "blocksize" --filter=blocksize -- \
        minblock=4096 maxdata=64K
through "blocksize-policy" --filter=blocksize-policy -- \
        blocksize-minimum=1 blocksize-preferred=4096 blocksize-maximum=32M
through "noextents" --filter=noextents --
through "retry" --filter=retry -- retries=2 retry-delay=1
through "retry-request" --filter=retry-request -- retry-request-retries=2
through "log" --filter=log -- logfile=nbd.log
like "... logs a read" "$(cat nbd.log)" ' Read '
like "... logs an extents request" "$(cat nbd.log)" ' Extents '
through "nocache" --filter=nocache -- cachemode=emulate
through "noparallel" --filter=noparallel -- serialize=requests
through "multi-conn" --filter=multi-conn -- multi-conn-mode=disable
through "stats" --filter=stats -- statsfile=stats.txt
through "rate" --filter=rate -- rate=10G
through "log, cow, cache and readahead at once" \
        --filter=log --filter=cow --filter=cache --filter=readahead \
        -- logfile=several.log
through "scan" --filter=scan -- scan-ahead=false

# noextents reports everything as data.
is "noextents: the map is all data" \
   "$(with_qcow 'nbdinfo --map "$uri"' --filter=noextents -- image.qcow2 |
          awk '{ print $1, $2, $3 }')" "0 $size 0"

# cow: written data is read back, the rest is unchanged, and the file is not
# modified.
cp oracle.raw written.raw
for c in 'write -P 7 1000 3000' 'write -z 200000 70000' \
         'write -P 8 6500000 53600'; do
    echo "$c"
done > writes
mapfile -t list < writes
args=()
for c in "${list[@]}"; do args+=(-c "$c"); done
qemu-io -f raw "${args[@]}" written.raw > /dev/null
# shellcheck disable=SC2016
ok "cow: writes and reads succeed" with_qcow \
   'qemu-io -f raw "$uri" < writes && nbdcopy "$uri" cow.raw' \
   --filter=cow -- image.qcow2
same_bytes "... the bytes are as written" cow.raw written.raw

# offset and truncate.
# shellcheck disable=SC2016
ok "offset: nbdcopy succeeds" with_qcow 'nbdcopy "$uri" offset.raw' --filter=offset \
   -- image.qcow2 offset=70001 range=300007
tail -c +70002 oracle.raw | head -c 300007 > wanted.raw
same_bytes "... the bytes are equal" offset.raw wanted.raw
# shellcheck disable=SC2016
ok "truncate: nbdcopy succeeds" with_qcow 'nbdcopy "$uri" truncate.raw' --filter=truncate \
   -- image.qcow2 truncate=7000001
cp oracle.raw wanted.raw
truncate -s 7000001 wanted.raw
same_bytes "... the bytes are equal" truncate.raw wanted.raw

# partition: a disk with two partitions, the second at an odd sector.
py - <<'END'
import struct
size = 4 << 20
disk = bytearray(size)
parts = ((1, 2048), (2049 + 30, 5001))
for i, (start, count) in enumerate(parts):
    at = 446 + 16 * i
    disk[at:at + 16] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83,
                                   b"\xfe\xff\xff", start, count)
    for s in range(count):
        disk[(start + s) * 512:(start + s + 1) * 512] = \
            (b"%d %07d\n" % (i, s)).ljust(512, b"." if s % 3 else b"\0")
disk[510:512] = b"\x55\xaa"
open("disk.raw", "wb").write(disk)
start, count = parts[1]
open("wanted.raw", "wb").write(disk[start * 512:(start + count) * 512])
END
for options in '' -c; do
    # shellcheck disable=SC2086
    qemu-img convert $options -f raw -O qcow2 disk.raw disk.qcow2
    rm -f part.raw
    # shellcheck disable=SC2016
    ok "partition: nbdcopy succeeds" with_qcow 'nbdcopy "$uri" part.raw' --filter=partition \
       -- disk.qcow2 partition=2
    same_bytes "... the bytes are equal" part.raw wanted.raw
done

# tar: a file in an archive in the image.
mkdir inside
printf 'an image in an archive\n' > inside/a.txt
tar -cf disk.tar inside
truncate -s %512 disk.tar
qemu-img convert -c -f raw -O qcow2 disk.tar tar.qcow2
# shellcheck disable=SC2016
is "tar: the file in the archive can be read" "$(with_qcow 'nbdcopy "$uri" - 2>/dev/null' --filter=tar \
             -- tar.qcow2 tar-entry=inside/a.txt 2>/dev/null)" \
   "an image in an archive"

# The other way round: an image in a compressed file or archive.
gzip -c image.qcow2 > image.gzip
py -c 'import lzma
open("image.xz", "wb").write(lzma.compress(open("image.qcow2", "rb").read()))'
tar -cf image.tar image.qcow2
# packed FILTER PARAMETER...: serve the image in image.FILTER through the filter.
packed ()
{
    local server i
    refused "a $1 file: the message suggests the filter" \
            "--filter=$1 file .*url=nbd\+unix:///\?socket=/" -- "image.$1"
    "$_nbdkit" -f -U "$tmp/$1.sock" --filter="$1" file "image.$1" "${@:2}" \
               > packed.log 2>&1 &
    server=$!
    _helpers+=($server)
    for ((i = 0; i < 1000; i++)); do
        [ ! -S "$1.sock" ] || break
        kill -0 $server 2>/dev/null || break
        nap 0.02
    done
    serves "... and so the image is served" \
           "url=nbd+unix:///?socket=$tmp/$1.sock" oracle.raw
    _end $server
}
packed gzip
packed xz
packed tar tar-entry=image.qcow2

# A filter that opens the plugin by itself, as openonce does.  nbdkit 1.48
# passes the filter's export name to the plugin.  nbdkit 1.42 and older have no
# export name then, so the plugin must fail rather than guess one.
cat > once.c <<'END'
#include <nbdkit-filter.h>

static void *
once_open (nbdkit_next_open *next, nbdkit_context *context, int readonly,
           const char *exportname, int is_tls)
{
  nbdkit_next *plugin
    = nbdkit_next_context_open (nbdkit_context_get_backend (context), readonly,
                                exportname, 1);

  if (plugin == NULL)
    return NULL;
  nbdkit_context_set_next (context, plugin);
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static struct nbdkit_filter filter = { .name = "once", .open = once_open };
NBDKIT_REGISTER_FILTER (filter)
END
ok "a filter that opens the plugin by itself: compiles" \
   "${CC:-gcc}" -shared -fPIC -o once.so once.c
qemu-img create -q -f qcow2 once.qcow2 1M
qemu-img snapshot -c empty once.qcow2
io once.qcow2 'write -q -P 7 0 1M'
# shellcheck disable=SC2016
for export in '' empty; do
    out=$(with_qcow 'nbdinfo --map "$uri"' --filter=./once.so -e "$export" \
          -- once.qcow2 2>&1)
    case $export:$out in
        *'no connection in this thread'*)
            pass "... gets an error without an export name" ;;
        :*'  0  data'|empty:*'  3  hole,zero')
            pass "... serves the export '$export'" ;;
        *) fail "... serves the export '$export', or gets an error" "$out" ;;
    esac
done

is "the image file is not modified" "$(sha256sum < image.qcow2)" "$before"

done_testing
