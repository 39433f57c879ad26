#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Exact transcripts of the server's reads from the image file: a 1 MiB read of
# contiguous clusters is one read of exactly that range; part of a cluster is
# read as a part; contiguous compressed clusters are read together; zeros need
# no read; a copy reads no byte twice.

# No sanitizer: strace would trace it too.
unset QCOW_PLUGIN QCOW_PRELOAD
source "$(dirname "$0")/functions.sh"

# The server runs under strace.
calls=read,pread64,readv,preadv,preadv2,lseek,mmap,io_uring_enter
export QCOW_VALGRIND="strace -f -qq -y -e trace=$calls -o $tmp/trace"

text_source $((4 << 20)) disk.raw
qemu-img convert -f raw -O qcow2 disk.raw plain.qcow2
qemu-img convert -c -f raw -O qcow2 disk.raw zlib.qcow2
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd \
         disk.raw zstd.qcow2
l1=$(peek plain.qcow2 40 8)
l2=$(($(peek plain.qcow2 "$l1" 8) & 0xffffffffffffff))
first=$(($(peek plain.qcow2 $l2 8) & 0xffffffffffffff))
is "the clusters are contiguous" \
   "$(($(peek plain.qcow2 $((l2 + 8 * 63)) 8) & 0xffffffffffffff))" \
   $((first + 63 * 65536))

# reads IMAGE COMMAND...: print "LENGTH@OFFSET" for each read of the image
# while a client runs the libnbd commands, or "unexpected: CALL" for other
# calls than pread.
reads ()
{
    local image=$1
    shift
    start_qcow -- "$image" > /dev/null || return 1
    # Skip the reads that open the image.
    local opened
    opened=$(wc -l < trace)
    "$python" -m nbd -u "$uri" "$@" || return 1
    stop_qcow > /dev/null || return 1
    tail -n +$((opened + 1)) trace | transcript "$image"
}

# transcript IMAGE: the same for the strace output on stdin.
transcript ()
{
    "$python" -c '
import re, sys
image = sys.argv[1]
pending = {}
for line in sys.stdin:
    thread, _, call = line.strip().partition(" ")
    call = call.strip()
    if "<unfinished ...>" in call:
        pending[thread] = call.split("<unfinished")[0]
        continue
    m = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
    if m:
        call = pending.pop(thread, "") + m.group(1)
    name = call.split("(")[0]
    if "/" + image + ">" not in call or name == "lseek":
        continue
    m = re.match(r"pread64\(.*, (\d+), (\d+)\) += (\d+)$", call)
    if m:
        print("%s@%s" % (m.group(3), m.group(2)))
    else:
        print("unexpected:", call)
' "$1"
}

# data_reads: like reads, in one line, without the reads of metadata, which
# precedes the clusters.
data_reads ()
{
    reads "$@" | awk -F@ -v first="$first" '
        /unexpected/ || $2 + $1 > first' | paste -sd' '
}

is "1 MiB: one read" "$(data_reads plain.qcow2 -c 'h.pread(1 << 20, 0)')" \
   "1048576@$first"
is "1 MiB from the middle of a cluster: one read" \
   "$(data_reads plain.qcow2 -c 'h.pread(1 << 20, 100000)')" \
   "1048576@$((first + 100000))"
is "the whole disk: one read" \
   "$(data_reads plain.qcow2 -c 'h.pread(4 << 20, 0)')" \
   "4194304@$first"
is "one byte: one byte is read" \
   "$(data_reads plain.qcow2 -c 'h.pread(1, 70000)')" \
   "1@$((first + 70000))"
is "part of a cluster: only that is read" \
   "$(data_reads plain.qcow2 -c 'h.pread(4096, 65536)')" \
   "4096@$((first + 65536))"
is "sequential reads: one read each, without read-ahead" \
   "$(data_reads plain.qcow2 -c 'h.pread(4096, 0); h.pread(8192, 4096)')" \
   "4096@$first 8192@$((first + 4096))"
is "the map reads no data" \
   "$(data_reads plain.qcow2 -c \
      'h.get_size()' -c 'h.block_status(4 << 20, 0, lambda *a: 0) if h.can_meta_context("base:allocation") else 0')" ""

# Metadata: the header, the L1 table and the needed part of the L2 table, each
# read once.
start_qcow -- plain.qcow2 > /dev/null
"$python" -m nbd -u "$uri" -c '
for i in range(0, 4 << 20, 65536):
    h.pread(65536, i)
for i in range(0, 4 << 20, 65536):
    h.pread(1, i)'
stop_qcow > /dev/null
transcript plain.qcow2 < trace > all.txt
n=$(awk -F@ -v l2=$l2 '$2 < l2 + 65536 && $2 + $1 > l2' all.txt | wc -l)
is "128 reads: the L2 table is read once" "$n" 1
is "no read past the end of the file" \
   "$(awk -F@ -v size="$(stat -c %s plain.qcow2)" '$1 + $2 > size' all.txt)" ""
is "no call but pread" "$(grep -c unexpected all.txt)" 0

# A copy reads each byte of the disk once.
start_qcow -- plain.qcow2 > /dev/null
nbdcopy "$uri" copy.raw
stop_qcow > /dev/null
same_bytes "a copy under strace" copy.raw disk.raw
transcript plain.qcow2 < trace > all.txt
is "a copy reads no byte twice" "$("$python" - all.txt "$first" <<'END'
import sys
ranges = sorted((int(o), int(o) + int(l)) for l, o in
                (line.split("@") for line in open(sys.argv[1])))
first, end, total = int(sys.argv[2]), 0, 0
for low, high in ranges:
    if low < end:
        print("%d..%d is read again" % (low, min(high, end)))
    end = max(end, high)
    total += max(0, high - max(low, first))
print(total)
END
)" 4194304

# Contiguous compressed clusters.
for codec in zlib zstd; do
    first=$((0x50000))
    n=$(data_reads $codec.qcow2 -c 'h.pread(1 << 20, 0)' | wc -w)
    is "$codec: 16 contiguous clusters: one read" "$n" 1
    n=$(data_reads $codec.qcow2 -c 'h.pread(100, 0); h.pread(100, 30000)
h.pread(65536, 0)' | wc -w)
    is "$codec: a decompressed cluster is cached: one read" "$n" 1
done

# Encrypted data is read into the client's buffer; partial sectors are read
# separately.
luks_of disk.raw luks.qcow2 tiger
l1=$(peek luks.qcow2 40 8)
l2=$(($(peek luks.qcow2 "$l1" 8) & 0xffffffffffffff))
first=$(($(peek luks.qcow2 $l2 8) & 0xffffffffffffff))
params=(passphrase=tiger)
is "LUKS: the whole disk: one read" \
   "$(data_reads luks.qcow2 -c 'h.pread(4 << 20, 0)')" \
   "4194304@$first"
is "LUKS: one byte: one sector is read" \
   "$(data_reads luks.qcow2 -c 'h.pread(1, 70000)')" \
   "512@$((first + 69632))"
is "LUKS: partial sectors at both ends: three reads" \
   "$(data_reads luks.qcow2 -c 'h.pread(1 << 20, 1000)')" \
   "512@$((first + 512)) 1048064@$((first + 1024)) 512@$((first + 1049088))"
params=()

# Zeros of all kinds need no read.
qemu-img create -q -f qcow2 zeros.qcow2 4M
io zeros.qcow2 'write -q 0 1M' 'write -q -z 0 1M' 'write -q -z -u 2M 1M'
first=$((0x50000))
is "zeros: no read" "$(data_reads zeros.qcow2 -c 'h.pread(4 << 20, 0)')" ""

# Holes of the file inside clusters do not need an lseek per cluster.
qemu-img create -q -f qcow2 -o preallocation=metadata meta.qcow2 64M
start_qcow -- meta.qcow2 > /dev/null
nbdinfo --map "$uri" > /dev/null
stop_qcow > /dev/null
n=$(grep -c 'lseek.*meta\.qcow2' trace)
is "1024 clusters in one hole: at most 20 calls of lseek ($n)" $((n <= 20)) 1

# The server opens only the files of the image, read-only, and writes nothing:
# tested with a chain with a data file, a snapshot and a bitmap.  (nbdkit
# itself writes its PID file and has a socket.)
calls=open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2
calls+=,truncate,ftruncate,fallocate,unlink,unlinkat,rename,renameat,renameat2
calls+=,mkdir,mkdirat,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat
export QCOW_VALGRIND="strace -f -qq -y -e trace=$calls -o $tmp/trace"
qemu-img create -q -f qcow2 -b zlib.qcow2 -F qcow2 -o data_file=data.raw \
         top.qcow2
io top.qcow2 'write -q -P 7 1M 64k'
qemu-img bitmap --add top.qcow2 b
qemu-img create -q -f qcow2 -b plain.qcow2 -F qcow2 snap.qcow2
io snap.qcow2 'write -q -P 7 1M 64k'
qemu-img snapshot -c s snap.qcow2

# opened: print the files that the server has opened, and the mode, except
# those that the libraries open in any process.
opened ()
{
    local libraries='/[^ ]*\.so(\.[0-9.]*|\.cache)?|/dev/null'
    libraries+='|/proc/(filesystems|sys/crypto/fips_enabled|sys/vm/overcommit_memory)'
    libraries+='|/sys/devices/system/cpu/[a-z]*|/etc/gcrypt/[^ ]*'
    libraries+='|/etc/localtime|/usr/share/zoneinfo/[^ ]*'
    # strace -y prints the path of a descriptor.  Flags that do not matter are
    # removed.
    grep -E "^[0-9]+ +(open|creat)" trace |
        sed -nE "s/[|]O_(NOCTTY|NONBLOCK|CLOEXEC|DIRECTORY|NOFOLLOW)//g
                 s,.*[ =](O_[A-Z_|]+).* = [0-9]+<(.*)>$,\\2 \\1,p" |
        sed "s,^$tmp/,," |
        grep -vE "^(pid[0-9]+|$libraries) O" | sort -u
}
while read -r image exports wanted; do
    start_qcow -- "$image" allow=image-dir || fail "the server starts"
    for export in ${exports//,/ }; do
        [ "$export" = - ] && export=
        ok "a copy of $image, '$export'" nbdcopy "$(to "$export")" null:
    done
    stop_qcow
    is "$image: only its files are opened, read-only" \
       "$(opened | grep -v 'O_PATH$' | sed 's/ O_RDONLY$//' | paste -sd' ')" \
       "$wanted"
    is "... nothing is written" \
       "$(grep -E '^[0-9]+ +(p?write|truncate|ftruncate|fallocate|unlink|rename|mk|link|symlink|chmod|fchmod)' trace |
              grep -Ev '(<(pipe|socket|UNIX|anon_inode|/dev/)[^>]*>|/(pid|log|sock)[0-9]*[>"])')" ""
done <<'END'
plain.qcow2 - plain.qcow2
top.qcow2 -,bitmap:b,backing.. data.raw top.qcow2 zlib.qcow2
snap.qcow2 -,s,s.. plain.qcow2 snap.qcow2
END

done_testing
