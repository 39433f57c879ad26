#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# cache=none: a copy leaves little of the image's files in the page cache while
# it is served, and less afterwards; with cache=default they stay there.
# For images, backing files and data files; with file=, fd= and dir=.

source "$(dirname "$0")/functions.sh"

# (Debian 12 has it in util-linux, later releases in util-linux-extra.)
command -v fincore > /dev/null || { diag "fincore is missing"; exit 1; }

# cached FILE: print how many MiB of it are in the page cache.
cached ()
{
    local bytes
    bytes=$(fincore -n -b -o RES "$1")
    echo $((bytes >> 20))
}

# forget FILE...: write it to disk, and drop it from the page cache.
forget ()
{
    py -c '
import os, sys
for name in sys.argv[1:]:
    fd = os.open(name, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)' "$@"
}

size=240
text_source $((size / 2 << 20)) one two
cat one two > disk.raw
rm one two
forget disk.raw
if [ "$(cached disk.raw)" -ne 0 ]; then
    skip "cache=none" "this file system keeps its files in the page cache"
    done_testing
fi

qemu-img convert -f raw -O qcow2 disk.raw plain.qcow2
qemu-img convert -c -f raw -O qcow2 disk.raw zlib.qcow2
qemu-img create -q -f qcow2 -b plain.qcow2 -F qcow2 over.qcow2
io over.qcow2 'write -q -P 1 1M 64k'
qemu-img convert -f raw -O qcow2 -o data_file=data.raw disk.raw data.qcow2

# copied NAME LEFT FILES [NBDKIT-OPTION...] -- PARAMETER...: copy with
# cache=none, and check the bytes.  FILES are those that are read.  While the
# server runs, up to LEFT MiB of each may be cached: the plugin keeps up to 48,
# and the kernel reads ahead.  Afterwards what it reads ahead can be left.
copied ()
{
    local name=$1 left=$2 files=$3 file
    shift 3
    # shellcheck disable=SC2086
    forget $files
    # shellcheck disable=SC2016
    ok "$name: copied" with_qcow 'nbdcopy "$uri" copy.raw &&
        for file in '"$files"'; do cached $file; done > during' "$@" cache=none
    is "$name: no more than $left MiB are cached" \
       "$(awk -v left=$left '$1 > left' during)" ""
    for file in $files; do
        is "$name: little of $file is cached afterwards" $(($(cached "$file") <= 24)) 1
    done
    cmp -s copy.raw wanted.raw || fail "$name: the bytes"
    rm -f copy.raw
}

cp disk.raw wanted.raw
copied "file=" 96 plain.qcow2 -- plain.qcow2
copied "one connection" 96 plain.qcow2 -t 1 -- plain.qcow2
copied "compressed" 96 zlib.qcow2 -- zlib.qcow2
copied "fd=" 96 plain.qcow2 -- fd=9 9< plain.qcow2
copied "a data file" 96 data.raw -- data.qcow2 allow=image-dir
copied "a data file by the user" 96 data.raw -- data.qcow2 data-file=data.raw
qemu-img convert -f qcow2 -O raw over.qcow2 wanted.raw
copied "a backing file" 96 'over.qcow2 plain.qcow2' -- over.qcow2 allow=image-dir
copied "dir=" 96 'over.qcow2 plain.qcow2' -e over.qcow2 -- dir=. allow=image-dir

for parameter in '' cache=default; do
    forget plain.qcow2
    # shellcheck disable=SC2016
    with_qcow 'nbdcopy "$uri" null:' -- plain.qcow2 $parameter
    is "${parameter:-the default}: the image stays in the page cache" \
       $(($(cached plain.qcow2) >= size * 9 / 10)) 1
done

# What another process has read stays, where a client reads elsewhere.
cat plain.qcow2 > other
# shellcheck disable=SC2016
ok "random reads" with_qcow 'py -c "
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
for i in range(64):
    h.pread(4096, i << 20)" "$uri"' -- plain.qcow2 cache=none
is "... evict only what they read" $(($(cached plain.qcow2) >= size * 9 / 10)) 1

# A prefetch is for a read that follows.
forget plain.qcow2
# shellcheck disable=SC2016
with_qcow 'py -c "
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.cache(8 << 20, 16 << 20)" "$uri"; nap 0.5; cached plain.qcow2 > during' -- plain.qcow2 cache=none
is "a prefetch fills the page cache" $(($(< during) >= 8)) 1

refused "cache=x" 'cache=x: must be default or none' -- plain.qcow2 cache=x

done_testing
