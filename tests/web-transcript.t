#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Exact transcripts of the requests that web servers receive.  The first
# response has the size and the first bytes of the file, which are not
# requested again.  A cached byte is fetched once for all clients.  Contiguous
# blocks are one request, sequential reads large ones; random reads request no
# more than they need.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

# Clusters in the order of the disk: the L1 table at 192 KiB, an L2 table at
# 256 KiB, data from 320 KiB on.
mkdir web
text_source $((8 << 20)) disk.raw
qemu-img convert -f raw -O qcow2 disk.raw web/plain
first=$((0x50000))
is "the first L2 table is at 256 KiB" \
   $(($(peek web/plain $((0x30000)) 8) & 0xffffffffffffff)) $((0x40000))
is "the first cluster is at 320 KiB" \
   $(($(peek web/plain $((0x40000)) 8) & 0xffffffffffffff)) $first
text_source $((64 << 20)) large.raw
qemu-img convert -c -f raw -O qcow2 large.raw web/zlib
start_web web web latency=0.02

# requests COMMAND PARAMETER...: print the files and ranges that are requested
# while a libnbd command runs, sorted by name and offset.
requests ()
{
    local command=$1 out
    shift
    forget web
    if ! out=$(with_qcow "\"$python\" -m nbd -u \"\$uri\" -c '$command'" \
                         -- "$@" 2>&1); then
        echo "failed: $out"
    fi
    asked web | awk '{ sub("bytes=", "", $3); print $2, $3 }' |
        sort -s -k1,1 -k2n -t' ' | sed 's,^/,,' | paste -sd, | sed 's/,/, /g'
}

# at OFFSET LENGTH: print a range of the file.
at ()
{
    echo "$1-$(($1 + $2 - 1))"
}

url=url=${web[web]}
head="plain $(at 0 262144)"
l2="plain $(at 262144 65536)"

is "opening an image: one request" \
   "$(requests 'h.get_size()' "$url/plain")" "$head"
is "one byte: the L2 table and a block" \
   "$(requests 'h.pread(1, 70000)' "$url/plain")" \
   "$head, $l2, plain $(at $((first + 65536)) 65536)"
is "more bytes of that block: no other request" \
   "$(requests 'h.pread(1, 70000); h.pread(65536, 65536); h.pread(7, 131000)' \
               "$url/plain")" \
   "$head, $l2, plain $(at $((first + 65536)) 65536)"
is "a read of two blocks: one request" \
   "$(requests 'h.pread(100000, 70000)' "$url/plain")" \
   "$head, $l2, plain $(at $((first + 65536)) 131072)"
is "a large read: one request of exactly that range" \
   "$(requests 'h.pread(1000000, 65537)' "$url/plain")" \
   "$head, $l2, plain $(at $((first + 65537)) 1000000)"
is "2 MiB: concurrent requests for 1 MiB each" \
   "$(requests 'h.pread(2 << 20, 0)' "$url/plain")" \
   "$head, $l2, plain $(at $first 1048576), plain $(at $((first + 1048576)) 1048576)"
is "random reads: one block each" \
   "$(requests 'h.pread(4096, 0); h.pread(4096, 7 << 20); h.pread(4096, 3 << 20)' \
               "$url/plain")" \
   "$head, $l2, plain $(at $first 65536), plain $(at $((first + (3 << 20))) 65536), plain $(at $((first + (7 << 20))) 65536)"
forget web
# shellcheck disable=SC2016
ok "a map" with_qcow 'nbdinfo --map "$uri"' -- "$url/plain"
is "... requests no data" "$(asked web | awk '{ print $3 }' | paste -sd' ')" \
   "bytes=$(at 0 262144) bytes=$(at 262144 65536)"
is "NBD_CMD_CACHE, then reads: one request" \
   "$(requests 'h.cache(300000, 0); h.pread(300000, 0); h.pread(1, 299999)' \
               "$url/plain")" \
   "$head, $l2, plain $(at $first 327680)"

# Many clients read the same ranges at the same time.
forget web
start_qcow -- "$url/plain"
set_web web latency=0.3
for i in 1 2 3 4; do
    "$python" "$gen/nbd-reads.py" --parallel "$uri" disk.raw \
              100000:50000 120000:60000 131072:1 > same$i &
    clients[i]=$!
done
wait "${clients[@]}"
is "four clients read the same blocks" "$(sort -u same?)" "same same same"
# The number of requests depends on which client comes first.
is "... each byte is requested once" \
   "$(asked web | awk -F '[ =-]' '{ print $4, $5 }' | sort -n |
      awk 'NR > 1 && $1 == end + 1 { end = $2; next }
           NR > 1 { print start "-" end }
           { start = $1; end = $2 }
           END { print start "-" end }' | paste -sd' ')" \
   "0-$((262144 + 65536 - 1)) $((first + 65536))-$((first + 196607))"
stop_qcow || fail "the server exits cleanly"
set_web web

# overlap NAME: print how many bytes of the file were requested more than
# once.
overlap ()
{
    asked web "^GET /$1 " | py --stdin -c '
import re, sys
seen, twice = 0, 0
spans = sorted([int(a), int(b) + 1] for a, b in
               (re.search(r"bytes=(\d+)-(\d+)", l).groups() for l in sys.stdin))
for a, b in spans:
    twice += max(0, min(b, seen) - a)
    seen = max(seen, b)
print(twice)'
}

size=$(stat -c %s web/zlib)
forget web
# shellcheck disable=SC2016
ok "a copy of a compressed image" \
   with_qcow 'nbdcopy "$uri" copy.raw' -- "$url/zlib"
same_bytes "... same bytes" copy.raw large.raw
is "... requests no byte twice" "$(overlap zlib)" 0
n=$(how_often web)
mib=$(((size + (1 << 20) - 1) >> 20))
ok "... at most two requests per MiB ($n for $mib MiB)" \
   test "$n" -le $((2 * mib))

forget web
ok "sequential reads of 8 KiB" \
   with_qcow "\"$python\" -m nbd -u \"\$uri\" -c '
for i in range(0, 8 << 20, 8192):
    h.pread(8192, i)'" -- "$url/plain"
n=$(how_often web)
ok "... at most 20 requests for 8 MiB ($n)" test "$n" -le 20
is "... no byte is requested twice" "$(overlap plain)" 0

# An image with many L2 tables: one for each 2 MiB of the disk.
qemu-img create -q -f qcow2 -o cluster_size=4k,preallocation=metadata \
         web/tables 512M
forget web
# shellcheck disable=SC2016
ok "a map of an image with 256 L2 tables" \
   with_qcow 'nbdinfo --map "$uri" > map' -- "$url/tables"
# Each table lies among the clusters that it maps, 2 MiB from the next one.
n=$(how_often web)
ok "... at most 260 requests ($n)" test "$n" -le 260
is "... no byte is requested twice" "$(overlap tables)" 0
# This server logs how many requests are in flight.
start_web busy web latency=0.05 log=busy
# shellcheck disable=SC2016
ok "the same map from a server that counts requests in flight" \
   with_qcow 'nbdinfo --map "$uri" > map' -- "url=${web[busy]}/tables"
busiest=$(asked busy | sed 's/.*busy=//' | sort -n | tail -1)
ok "... at least 12 concurrent requests ($busiest)" test "$busiest" -ge 12

# A chain: the tables of all layers are requested concurrently.
backing=
for i in 1 2 3 4 5 6; do
    qemu-img create -q -f qcow2 ${backing:+-b $backing -F qcow2} \
             web/layer$i 8M
    io web/layer$i "write -q -s disk.raw $((i * 65536)) 64k"
    backing=layer$i
done
oracle web/layer6 chain.raw
forget busy
# shellcheck disable=SC2016
ok "a chain of six layers" \
   with_qcow 'nbdcopy "$uri" copy.raw' -- "url=${web[busy]}/layer6" \
             allow=image-dir
same_bytes "... same bytes" copy.raw chain.raw
busiest=$(asked busy | sed 's/.*busy=//' | sort -n | tail -1)
ok "... at least 5 concurrent requests ($busiest)" test "$busiest" -ge 5

done_testing
