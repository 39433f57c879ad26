#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Holes that NBD servers report: in images, raw backing files and data files;
# how often a server is asked; servers that are slow or report errors.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nbd.sh"

text_source $((4 << 20)) src0 src1

# asked NAME: print how many queries for extents the server has logged.
asked ()
{
    grep -c ' Extents id=' "$tmp/$1.log"
}

# logged NAME NBDKIT-ARGUMENT...: start a server that logs its requests.
logged ()
{
    rm -f "$1.log"
    server "$1" --filter=log "${@:2}" "logfile=$tmp/$1.log"
}

# map_of PARAMETER...: print our map.
map_of ()
{
    # shellcheck disable=SC2016
    with_qcow 'py "$gen/nbd-map.py" "$uri"' -- "$@"
}

# has_map NAME WANTED PARAMETER...: the map is in the file WANTED.
has_map ()
{
    map_of "${@:3}" > got.map 2> log || fail "$1: a map" "$(< log)"
    [ -s "$2" ] || fail "$1: an expected map"
    same_text "$1" got.map "$2"
}

# --- Which parts are holes --------------------------------------------

# The file of an image with preallocated metadata has holes for its clusters.
qemu-img create -q -f qcow2 -o preallocation=metadata image 64M
io image 'write -q -s src0 5M 1M' 'write -q -s src1 40M 300k' \
   'write -q -z 41M 1M'
cp --sparse=always image sparse && mv sparse image
py "$gen/expected-map.py" image > wanted.map
oracle image image.raw
logged file file image
has_map "clusters in holes of the server's file are zeros" wanted.map \
        "url=$(uri file)"
like "... as zeros, not as holes of the disk" "$(< got.map)" ' 2  zero'
is "... the server is asked once" "$(asked file)" 1
gives "... the content" image.raw "url=$(uri file)"

# Without extents.
server plain --no-sr file image
map_of "url=$(uri plain)" > got.map 2> log || fail "a map" "$(< log)"
unlike "without extents of the server, clusters are data" "$(< got.map)" \
       ' 2  zero'

# A raw backing file.
truncate -s 2600M base
dd if=src0 of=base bs=64k seek=7 count=3 conv=notrunc status=none
dd if=src1 of=base bs=64k seek=40000 count=1 conv=notrunc status=none
qemu-img create -q -f qcow2 -b base -F raw top 2600M
io top 'write -q -P 1 1M 70000'
dense top
qemu_map top > wanted.map
logged base file base
has_map "holes of a raw backing file are holes" wanted.map top \
        "backing=$(uri base)" backing-format=raw
is "... one query for 2 GiB" "$(asked base)" 2
rm -f base.log
server base --filter=stats file base "statsfile=$tmp/stats"
oracle top top.raw
with_qcow 'nbdcopy "$uri" copy.raw' -- top "backing=$(uri base)" \
          backing-format=raw > log 2>&1 || diag "$(< log)"
ok "a copy is equal" qemu-img compare -f raw -F raw copy.raw top.raw
is "... and sparse" $(($(stat -c %b copy.raw) < 8192)) 1
_end "${server_pid[base]}"
read=$(sed -n 's/^read: .* ops, .*, \([0-9.]* [A-Za-z]*\), .*/\1/p' stats)
like "... little of the backing file is read: $read" "$read" \
     '^([0-9]\.[0-9]* MiB|[0-9.]* KiB)$'

# A data file.
qemu-img create -q -f qcow2 -o data_file=data,preallocation=metadata \
         outer 16M
io outer 'write -q -s src0 3M 1M' 'write -q -s src1 8M 70000'
cp --sparse=always data sparse && mv sparse data
dense outer
map_of outer allow=image-dir > wanted.map
logged data file data
has_map "holes of a data file" wanted.map outer "data-file=$(uri data)"
like "... are zeros" "$(< got.map)" ' 2  zero'

# Snapshots of it: unchanged, and changed to a hole.
qemu-img snapshot -c mon image
io image 'write -q -z -u 5M 64k' 'write -q -s src1 20M 100k'
cp --sparse=always image sparse && mv sparse image
# shellcheck disable=SC2016
with_qcow 'py "$gen/nbd-map.py" "$uri"' -e mon.. -- image > wanted.map
server file2 file image
# shellcheck disable=SC2016
with_qcow 'py "$gen/nbd-map.py" "$uri"' -e mon.. -- "url=$(uri file2)" \
          > got.map
same_text "a delta" got.map wanted.map

# --- When the server is asked -----------------------------------------

logged quiet file image
# shellcheck disable=SC2016
with_qcow 'nbdcopy --no-extents "$uri" null:' -- "url=$(uri quiet)"
is "no client wants extents: no query" "$(asked quiet)" 0

io image 'write -q -s src1 25M 100k'
truncate -s 20G large
py - <<'PY'
with open("large", "r+b") as f:
    for i in range(3000):
        f.seek(i * 7000000 // 65536 * 65536)
        f.write(b"x" * 5000)
PY
qemu-img create -q -f qcow2 -b large -F raw over 20G
logged large file large
# shellcheck disable=SC2016
with_qcow 'nbdinfo --map --totals "$uri"' -- over "backing=$(uri large)" \
          backing-format=raw > totals 2> log || diag "$(< log)"
like "3,000 fragments" "$(< totals)" '24576000 .* data'
is "... 10 queries for 20 GiB" "$(asked large)" 10

# A server that takes long for each reply: a client gets what is known after a
# second, and the rest when it asks again.
server slow --filter=delay file large delay-extents=700ms
qemu_map over > wanted.map
start_qcow -- over "backing=$(uri slow)" backing-format=raw
py - "$uri" > got.map 2> log <<'PY' || diag "$(< log)"
import sys, time
import nbd
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
names = {0: "data", 3: "hole,zero"}
runs, at, slowest = [], 0, 0
while at < h.get_size():
    def extents(_, offset, entries, error):
        global at
        for length, flags in zip(entries[::2], entries[1::2]):
            if runs and runs[-1][2] == flags:
                runs[-1][1] += length
            else:
                runs.append([at, length, flags])
            at += length
    began = time.monotonic()
    h.block_status(min((4 << 30) - 65536, h.get_size() - at), at, extents)
    slowest = max(slowest, time.monotonic() - began)
for start, length, flags in runs:
    print("%10d  %10d %4d  %s" % (start, length, flags, names[flags]))
print("slowest call: %.1f s" % slowest, file=sys.stderr)
if slowest > 3:
    sys.exit("a call took too long")
PY
stop_qcow
like "a slow server: no call takes long" "$(< log)" '^slowest call: [12]\.'
same_text "... the map" got.map wanted.map

# How quickly it says where holes are does not make a server near: reads go
# through the cache.
rm -f reads.log
server far --filter=log --filter=delay file image delay-read=30ms \
       "logfile=$tmp/reads.log"
# shellcheck disable=SC2016
with_qcow 'nbdinfo --map "$uri" > got.map
           for i in 1 2 3; do
               for at in 5M 5124k 5126k 5130k; do
                   qemu-io -r -f raw -c "read -q $at 512" "$uri"
               done
           done' -- "url=$(uri far)" > log 2>&1 || diag "$(< log)"
like "a slow server with quick extents: reads are cached" \
     "$(grep -c ' Read id=' reads.log)" '^[1-8]$'

# --- Errors -----------------------------------------------------------

truncate -s 16M small
dd if=src0 of=small bs=64k seek=7 count=3 conv=notrunc status=none
server bad --filter=error file small error-extents=EIO error-extents-rate=1
qemu-img create -q -f qcow2 -b small -F raw on-small 16M
oracle on-small on-small.raw
# shellcheck disable=SC2016
with_qcow 'nbdcopy "$uri" copy.raw' -- on-small "backing=$(uri bad)" \
          backing-format=raw > log 2>&1
is "the server reports an error for each query: a copy" $? 0
same_bytes "... is equal" copy.raw on-small.raw
is "... one message" "$(errors log)" 1
like "... says why" "$(< log)" \
     "can't find the holes in [0-9]* bytes at 0x0: the NBD server reports"

done_testing
