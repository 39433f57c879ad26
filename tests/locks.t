#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu's image locks: we don't start on an image that somebody writes, and
# while we serve one nobody can start to write it; readers work beside us
# and beside each other.  force-share=true leaves all of that out.

source "$(dirname "$0")/functions.sh"

qemu-img create -q -f qcow2 image.qcow2 4M
io image.qcow2 'write -q -P 7 0 64k'

can_read ()
{
    ok "$1: qemu-img convert" qemu-img convert -f qcow2 -O raw image.qcow2 x.raw
    ok "$1: qemu-io -r" qemu-io -r -f qcow2 -c 'read -P 7 0 64k' image.qcow2
    ok "$1: qemu-nbd -r" nbdinfo --map -- [ qemu-nbd -r -f qcow2 image.qcow2 ]
    # shellcheck disable=SC2016
    ok "$1: a second server" with_qcow 'nbdcopy "$uri" null:' -- image.qcow2
    ok "$1: qemu-img info" qemu-img info -f qcow2 image.qcow2
}

cannot_write ()
{
    local out
    out=$(qemu-io -f qcow2 -c 'write -P 8 0 64k' image.qcow2 2>&1)
    like "$1: qemu-io can't write" "$out" 'lock'
    # (qemu-nbd in brackets would wait for its client.)
    out=$(timeout 20 qemu-nbd -f qcow2 -k "$tmp/w.sock" image.qcow2 2>&1)
    like "$1: qemu-nbd can't write" "$out" 'lock'
    not_ok "$1: qemu-img can't make a snapshot" \
           qemu-img snapshot -c s image.qcow2
    not_ok "$1: qemu-img can't resize it" qemu-img resize -q image.qcow2 8M
}

# A writer holds the image.
if writer_start -f qcow2 image.qcow2; then
    refused "a writer: refused, by the image's name" 'image\.qcow2' \
            -- image.qcow2
    refused "a writer: the way out is named" 'force-share' -- image.qcow2
    refused "a writer: force-share=false is the same" 'force-share' \
            -- image.qcow2 force-share=false
    # shellcheck disable=SC2016
    ok "a writer: force-share=true serves" with_qcow \
       'qemu-io -r -f raw -c "read -P 7 0 64k" "$uri"' \
       -- image.qcow2 force-share=true
    writer_stop
    is "the writer has ended" $? 0
    ok "after the writer: served" with_qcow true -- image.qcow2
else
    fail "a writer"
fi

# A writer that shares the image with other writers (a raw lock of bytes)
# is one, too; so is one that only says it resizes.
hold ()
{
    "$python" - image.qcow2 "$@" > held <<'END' &
import fcntl, os, struct, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
for byte in map(int, sys.argv[2:]):
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0))
print("held", flush=True)
time.sleep(600)
END
    holder=$!
    local i
    for i in $(seq 600); do
        [ ! -s held ] || return 0
        sleep 0.02
    done
}
for byte in 101 103 200; do
    hold $byte
    refused "byte $byte is locked" 'image\.qcow2' -- image.qcow2
    kill $holder; wait $holder 2>/dev/null
    rm -f held
done
for byte in 100 102 104 201 202 203 0 99 105 204; do
    hold $byte
    ok "byte $byte is locked: no writer" with_qcow true -- image.qcow2
    kill $holder; wait $holder 2>/dev/null
    rm -f held
done

# A reader holds it.
if writer_start -r -f qcow2 image.qcow2; then
    ok "a reader: served" with_qcow true -- image.qcow2
    writer_stop
else
    fail "a reader"
fi

# We hold it: which bytes, seen from outside.
cat > locks.py <<'END'
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
held = []
for byte in range(0, 300):
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, byte, 1, 0)
    got = fcntl.fcntl(fd, 36, lock)
    kind = struct.unpack("hhqqi4x", got)[0]
    if kind != fcntl.F_UNLCK:
        held.append("%d%s" % (byte, "r" if kind == fcntl.F_RDLCK else "w"))
print(" ".join(held))
END
is "nobody: no locks" "$(py locks.py image.qcow2)" ""
if start_qcow -- image.qcow2; then
    is "we hold read locks on 100, 201 and 203" \
       "$(py locks.py image.qcow2)" "100r 201r 203r"
    can_read "beside us"
    cannot_write "beside us"
    ok "a client connects" nbdinfo --size "$uri"
    cannot_write "after the first client"
    stop_qcow || fail "the server ended well"
fi
is "after us: no locks" "$(py locks.py image.qcow2)" ""
ok "after us: qemu-io can write" \
   qemu-io -f qcow2 -c 'write -P 7 0 64k' image.qcow2

# With force-share nothing is held.
if start_qcow -- image.qcow2 force-share=true; then
    is "force-share=true: no locks" "$(py locks.py image.qcow2)" ""
    ok "force-share=true: a writer starts beside us" \
       qemu-io -f qcow2 -c 'write -P 7 0 64k' image.qcow2
    stop_qcow || fail "the server ended well"
fi

# The locks survive that nbdkit goes to the background.
start_daemon image.qcow2
is "in the background: the locks" "$(py locks.py image.qcow2)" \
   "100r 201r 203r"
cannot_write "in the background"
end_daemon
is "in the background, ended: no locks" "$(py locks.py image.qcow2)" ""

# A writer that holds the image until just before we lock it: nothing that
# was learned about the file by then may be served.  The writer is qemu-io,
# which would be refused if we had locks already.
"${CC:-gcc}" -shared -fPIC -D_GNU_SOURCE -o before-lock.so \
             "$top/tests/before-lock.c" || exit 1

# written_before_lock NAME COMMAND WRITTEN TEST [PARAMETER...]: start on
# late.qcow2, which COMMAND changes just before the file WRITTEN is locked,
# and run TEST.
written_before_lock ()
{
    local name=$1 command=$2 written=$3 test=$4 out
    local -x QCOW_PRELOAD="${QCOW_PRELOAD:+$QCOW_PRELOAD:}$PWD/before-lock.so"
    local -x BEFORE_LOCK="[ \"\$LOCKED\" != '$PWD/$written' ] || $command > written 2>&1"
    shift 4
    rm -f written
    out=$(with_qcow "$test" -- late.qcow2 "$@" 2>&1) &&
        [ -s written ]
    is "$name" "$?, $out" "0, "
}

late ()
{
    rm -f late.*
    qemu-img create -q -f qcow2 "$@" late.qcow2 4M
}
# shellcheck disable=SC2016
shows='qemu-io -r -f raw -c "read -q -P 9 1M 1M" "$uri"'

late
written_before_lock "a writer before the lock: clusters are appended" \
    "qemu-io -f qcow2 -c 'write -P 9 1M 1M' late.qcow2" late.qcow2 "$shows"

late
# shellcheck disable=SC2016
written_before_lock "... compressed ones" \
    "qemu-io -f qcow2 -c 'write -c -P 9 1M 64k' -c 'write -c -P 9 1088k 64k' late.qcow2" \
    late.qcow2 'qemu-io -r -f raw -c "read -q -P 9 1M 128k" "$uri"'

late
# shellcheck disable=SC2016
written_before_lock "... the disk grows" \
    "{ qemu-img resize late.qcow2 6M &&
       qemu-io -f qcow2 -c 'write -P 9 5M 1M' late.qcow2; }" late.qcow2 \
    'qemu-io -r -f raw -c "read -q -P 9 5M 1M" "$uri"'

late
head -c 64k /dev/zero > late.base
qemu-img rebase -q -u -b late.base -F raw late.qcow2
written_before_lock "... a raw backing file grows" \
    "{ qemu-img resize -f raw late.base 2M &&
       qemu-io -f raw -c 'write -P 9 1M 1M' late.base; }" late.base "$shows" \
    allow=image-dir

late -o data_file=late.data,data_file_raw=on
truncate -s 64k late.data
written_before_lock "... a data file grows" \
    "{ qemu-img resize -f raw late.data 2M &&
       qemu-io -f raw -c 'write -P 9 1M 1M' late.data; }" late.data "$shows" \
    allow=image-dir

late
io late.qcow2 'write -q -P 1 0 4M'
# shellcheck disable=SC2016
written_before_lock "... the disk shrinks" \
    "qemu-img resize --shrink late.qcow2 1M" late.qcow2 \
    '[ "$(nbdinfo --size "$uri")" = 1048576 ] && nbdcopy "$uri" null:'

# A refused start leaves none behind, and neither does a bad image.
poke image.qcow2 20 00000019
refused "a bad header" 'cluster_bits' -- image.qcow2
is "... no locks" "$(py locks.py image.qcow2)" ""

done_testing
