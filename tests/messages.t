#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Error messages that a client can cause.  With nbdkit 1.42 and later, clients
# receive them.  So they name files and URLs by the last component only, and
# no export that the client did not name itself.  The full paths are in the
# debug messages at the start.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

mkdir -p hidden/below hidden/www
text_source $((4 << 20)) src0
head -c 4M src0 > disk.raw
qemu-img convert -f raw -O qcow2 disk.raw hidden/below/base.qcow2
cp hidden/below/base.qcow2 hidden/www/web.qcow2
qemu-img create -q -f qcow2 -b below/base.qcow2 -F qcow2 hidden/top.qcow2
io hidden/top.qcow2 'write -q -P 1 0 64k'
qemu-img snapshot -c private hidden/top.qcow2
qemu-img snapshot -c broken hidden/top.qcow2
qemu-img bitmap --add hidden/top.qcow2 secretive
io hidden/top.qcow2 'write -q -P 2 64k 64k'

# A minimal NBD client that prints the server's error texts: it negotiates an
# export and reads COUNT bytes at OFFSET.
cat > asks.py <<'END'
import os, struct, sys
sys.path.insert(0, os.environ["gen"])
from rawnbd import Refused, connect, receive, request

path, export, offset, count = sys.argv[1:]
try:
    s = connect(path, export.encode())
except Refused as e:
    print(e)
    sys.exit(1)
request(s, 0, int(offset), int(count))
flags = 0
while not flags & 1:            # NBD_REPLY_FLAG_DONE
    _, flags, kind, _, length = struct.unpack(">IHHQI", receive(s, 20))
    data = receive(s, length)
    if kind & 1 << 15:
        print(data[6:].decode())
        sys.exit(2)
END

# asks EXPORT [OFFSET COUNT]: run the client, which must receive an error.
asks ()
{
    text=$("$python" asks.py "$sock" "$1" "${2:-0}" "${3:-512}" 2>&1)
    failed=$?
    like "the client receives an error" "$failed" '^[12]$'
    unlike "... the client does not crash" "$text" Traceback
}

# said NAME REGEX [SECRET]: the log since the last call matches REGEX; neither
# the log nor the text for the client contains paths or exports that the
# client did not name.
told=0
said ()
{
    local new secret="hidden|below|$tmp|127\\.0\\.0|private|secretive${3:+|$3}"

    new=$(tail -n +$((told + 1)) "$log" | grep 'error:')
    told=$(wc -l < "$log")
    like "$1" "$new" "$2"
    unlike "... the log has no paths and no other exports" "$new" "$secret"
    if [ $sends_texts = yes ] && [ "$failed" = 1 ]; then
        like "... the client receives the message" "$text" "${2#error: }"
    fi
    unlike "... the client receives no paths and no other exports" \
           "$text" "$secret"
}

# nbdkit before 1.42 sends no text with an error.  Later versions send it only
# when they refuse an export.
sends_texts=no
[ "$(printf '%s\n' 1.42 "$(nbdkit --version | awk '{ print $2 }')" |
     sort -V | head -n 1)" != 1.42 ] || sends_texts=yes

# Damage the L2 entry of the base's cluster 32 and the L1 offset of the
# snapshot "broken".
l2=$(($(peek hidden/below/base.qcow2 "$(peek hidden/below/base.qcow2 40 8)" 8) & 0xffffffffffffff))
poke hidden/below/base.qcow2 $((l2 + 8 * 32)) 8000000000012345
py - <<'END'
data = bytearray(open("hidden/top.qcow2", "rb").read())
at = int.from_bytes(data[64:72], "big")
for _ in range(2):
    id_length = int.from_bytes(data[at + 12:at + 14], "big")
    name_length = int.from_bytes(data[at + 14:at + 16], "big")
    extra = int.from_bytes(data[at + 36:at + 40], "big")
    end = at + 40 + extra + id_length + name_length
    if data[end - name_length:end] == b"broken":
        data[at:at + 8] = (1 << 40).to_bytes(8, "big")
    at = (end + 7) & ~7
open("hidden/top.qcow2", "wb").write(data)
END

start_qcow -v -- hidden/top.qcow2 allow=image-dir
like "-v prints the path of the top layer" "$(cat "$log")" \
     "debug: hidden/top\\.qcow2: layer 0: image $tmp/hidden/top\\.qcow2, "
like "... and of the backing file" "$(cat "$log")" \
     "debug: hidden/below/base\\.qcow2: layer 1: image $tmp/hidden/below/base\\.qcow2, "
told=$(wc -l < "$log")

asks '' $((32 * 65536))
said "a damaged cluster" 'error: base\.qcow2: damaged cluster at guest offset 0x200000, host offset 0x'
asks unknown
said "an unknown export" "error: top\\.qcow2: there is no export 'unknown'" broken
asks bitmap:unknown
said "an unknown bitmap" "error: top\\.qcow2: there is no export 'bitmap:unknown'" broken
asks broken..unknown
said "an unknown delta" "error: top\\.qcow2: there is no export 'broken\\.\\.unknown'"
asks layer:7..
said "an unknown layer" \
     "error: top\\.qcow2: there is no export 'layer:7\\.\\.'" broken
asks broken
said "a snapshot without its L1 table" \
     "error: top\\.qcow2: the L1 table of snapshot 2 'broken' .*beyond the end"
truncate -s $((65536 * 6)) hidden/below/base.qcow2
asks '' $((3 << 20))
said "a file that was truncated" \
     "error: base\\.qcow2: the file was truncated while being served"
stop_qcow || fail "the server exits cleanly"

# snapshot= serves one view only.
start_qcow -- hidden/top.qcow2 backing=disk.raw backing-format=raw \
           snapshot=private
told=0
asks unknown
said "an unknown export with snapshot=" \
     "error: top\\.qcow2: there is no export 'unknown': only one view" broken
stop_qcow || fail "the server exits cleanly"

# A web server that responds with an error.
start_web web hidden/www
start_web gone hidden/www
set_web web to="${web[gone]}"
start_qcow -v -D qcow.http=1 -- "url=${web[web]}/web.qcow2" cache-size=0
like "-v prints the URL" "$(cat "$log")" \
     "debug: ${web[web]}/web\\.qcow2: layer 0: image ${web[web]}/web\\.qcow2, "
told=$(wc -l < "$log")
set_web gone fail=404*
set_web web fail=404*
asks '' $((3 << 20))
said "an error of the web server" \
     "error: web\\.qcow2: can't read [0-9]+ bytes at 0x[0-9a-f]+.*: the web server responded with 404"
stop_qcow || fail "the server exits cleanly"

# A web server that redirects endlessly.
set_web web
start_qcow -- "url=${web[web]}/web.qcow2" cache-size=0
told=0
set_web web to="${web[web]}"
asks '' $((3 << 20))
said "a redirect that is not followed" \
     'error: web\.qcow2: .* redirects to web\.qcow2, which is not followed'
stop_qcow || fail "the server exits cleanly"

done_testing
