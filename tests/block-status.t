#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The number of extents in a block status reply, and clients that disconnect
# while one is being sent.  With nbdkit before 1.34 and one thread per
# connection a reply has one extent, because nbdkit would otherwise abort when
# such a client disconnects.

source "$(dirname "$0")/functions.sh"

# 16384 extents.
py -c 'open("disk.raw", "wb").write((b"x" * 512 + bytes(512)) * 8192)'
qemu-img convert -f raw -O qcow2 -S 512 -o cluster_size=512 disk.raw \
         image.qcow2

cat > extents.py <<'PY'
import sys
import nbd
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
h.block_status(8 << 20, 0, lambda name, at, pairs, err:
               print(len(pairs) // 2))
PY
serial=16384
IFS=' .' read -r _ _ minor _ < <(nbdkit --version)
[ "$minor" -ge 34 ] || serial=1
while read -r wanted options; do
    read -ra options <<< "$options"
    # shellcheck disable=SC2016
    is "nbdkit ${options[*]}: extents in a reply" \
       "$(with_qcow 'py extents.py "$uri"' "${options[@]}" -- image.qcow2)" \
       "$wanted"
    # shellcheck disable=SC2016
    is "... extents in the whole map" \
       "$(with_qcow 'nbdinfo --map "$uri" | wc -l' "${options[@]}" \
                    -- image.qcow2)" 16384
done <<END_OF_LIST
$serial -t 1
$serial --filter=noparallel
16384 -t 2
16384 -t 16
END_OF_LIST

# Clients that request the map and disconnect when the reply starts.
cat > leave.py <<'PY'
import os, sys
sys.path.insert(0, os.environ["gen"])
from rawnbd import connect, receive, request

path, clients = sys.argv[1], int(sys.argv[2])
for i in range(clients):
    s = connect(path, context=b"base:allocation")
    request(s, 7, 0, 8 << 20)
    receive(s, 20)
    s.close()
PY
clients=300
[ -z "${QCOW_VALGRIND:-}" ] || clients=30
start_qcow -t 1 -- image.qcow2
ok "$clients clients disconnect during the reply, with nbdkit -t 1" \
   py leave.py "$sock" $clients
# shellcheck disable=SC2016
is "... the next client gets the map" "$(nbdinfo --map "$uri" | wc -l)" 16384
ok "... nbdkit exits cleanly" stop_qcow

done_testing
