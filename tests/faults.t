#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Injected faults: out of memory, read errors, out of descriptors.  faults.c
# repeats a small job with images of every kind; each time another allocation
# or system call fails.  Also: a server that runs out of descriptors, or whose
# file is replaced.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"

faults=$(dirname "$plugin")/tests/faults
[ -x "$faults" ] || faults=$top/build/plain/tests/faults

text_source $((1 << 20)) src0 src1

# A chain: compressed and zero clusters over version 1 over raw.
head -c 200K src0 > base.raw
make_sort mid v1 200K base.raw raw
format=qcow io mid 'write -q -s src1 20k 30k'
make_sort chain v3 256K mid qcow -o cluster_size=4k
io chain 'write -q -s src1 0 9k' 'write -q -c -s src0 16k 12k' \
   'write -q -z 100k 8k' 'write -q -s src1 150k 1k'

# Subclusters, zstd, a data file, bitmaps.
make_sort ext ext 256K '' '' -o cluster_size=16k,compression_type=zstd
io ext 'write -q -s src1 0 9k' 'write -q -c -s src0 32k 48k' \
   'write -q -z 100k 8k'
qemu-img bitmap --add -g 4k ext b
io ext 'write -q -s src1 200k 3k'
make_sort split v3 128K '' '' -o data_file=data,cluster_size=4k
io split 'write -q -s src1 0 9k' 'write -q -z 20k 4k' 'write -q -s src0 70k 9k'

# Snapshots.
make_sort snap v3 128K '' '' -o cluster_size=4k
io snap 'write -q -s src1 0 9k'
qemu-img snapshot -c one snap
io snap 'write -q -s src0 4k 20k'
qemu-img snapshot -c two snap

# Encrypted.
luks_of base.raw luks tiger -o cluster_size=4k,encrypt.cipher-alg=aes-128
create_aes aes v2 128K tiger -o cluster_size=4k
secrets=(tiger)
encrypted_io aes 'write -q -s src1 0 9k' 'write -q -c -s src1 16k 4k'

kinds="alloc exhausted eio cut eintr short files"
try ()
{
    local out kind name=$1
    shift
    for kind in $kinds; do
        if ! out=$("$faults" "$@" $kind "$name" 2>&1); then
            fail "$name: $kind" "$out"
        elif ! [[ $out =~ ^$kind:\ [1-9] ]]; then
            fail "$name: $kind: no fault was injected" "$out"
        else
            pass "$name: $out"
        fi
    done
}

try chain -v backing..
try ext -v bitmap:b
try split
try snap -v one.. -v one..two
try luks -p lion -p tiger
try aes -p tiger

# A directory.
mkdir images
cp chain mid snap images
cp base.raw images
try images -d -v snap/one..

# HTTP: through a redirect, and an object larger than the first read.
head -c 300K src0 > web/large.raw
cp chain mid base.raw web
qemu-img convert -f raw -O qcow2 -o cluster_size=4k web/large.raw web/large
start_nginx 'location /old { return 302 http://images.test/chain; }'
kinds="alloc exhausted"
try http://images.test/old -u "$web_socket"
try http://us%20er:pass%2dword@images.test/large -u "$web_socket"

# --- The server -------------------------------------------------------

qemu-img convert -O raw snap now.raw

# More clients than descriptors: some are refused, the others are served, and
# afterwards new clients are accepted again.
(ulimit -n 40; start_qcow -- snap && echo "$uri $sock $pid" > started; exec sleep 60) &
_helpers+=($!)
for i in $(seq 100); do [ ! -s started ] || break; sleep 0.1; done
read -r uri sock pid < started
cat > clients.py <<'END'
import socket, sys, nbd
raw = open(sys.argv[3], "rb").read()
h = nbd.NBD()
h.connect_uri(sys.argv[1])
others, refused = [], 0
for _ in range(60):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(0.3)
    others.append(s)
    try:
        s.connect(sys.argv[2])
        refused += not s.recv(18).startswith(b"NBDMAGIC")
    except OSError:
        refused += 1
    if refused == 3:
        break
if refused != 3:
    sys.exit("%d clients, %d refused" % (len(others), refused))
if h.pread(len(raw), 0) != raw:
    sys.exit("wrong bytes")
END
ok "more clients than descriptors: the first one is served" timeout 60 "$python" clients.py "$uri" \
   "$sock" now.raw
ok "... later clients are served" timeout 60 nbdcopy "$uri" copy.raw
same_bytes "... with the right bytes" copy.raw now.raw
kill "$pid"

# If the file is replaced, the server keeps serving the one that it opened.
start_qcow -- snap
qemu-img convert -f raw -O qcow2 src1 other
mv other snap
ok "the file is replaced: the server can be read" nbdcopy "$uri" copy.raw
same_bytes "... it serves the opened file" copy.raw now.raw
stop_qcow

done_testing
