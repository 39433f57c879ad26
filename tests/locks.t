#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu's image locks.  The plugin refuses an image that has a writer; while
# the plugin serves an image, no writer can open it; readers can.  With
# force-share=true the plugin neither checks nor takes locks.

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
    like "$1: a qemu-io writer is refused" "$out" 'lock'
    # In brackets, qemu-nbd would wait for its client.
    out=$(timeout 20 qemu-nbd -f qcow2 -k "$tmp/w.sock" image.qcow2 2>&1)
    like "$1: a qemu-nbd writer is refused" "$out" 'lock'
    not_ok "$1: qemu-img snapshot is refused" \
           qemu-img snapshot -c s image.qcow2
    not_ok "$1: qemu-img resize is refused" qemu-img resize -q image.qcow2 8M
}

# A writer has the image open.
if writer_start -f qcow2 image.qcow2; then
    refused "an image with a writer: refused, the message names the image" \
            'image\.qcow2' \
            -- image.qcow2
    refused "... the message suggests force-share" 'force-share' -- image.qcow2
    refused "... force-share=false is the default" 'force-share' \
            -- image.qcow2 force-share=false
    # shellcheck disable=SC2016
    ok "an image with a writer: served with force-share=true" with_qcow \
       'qemu-io -r -f raw -c "read -P 7 0 64k" "$uri"' \
       -- image.qcow2 force-share=true
    writer_stop
    is "the writer exits" $? 0
    ok "after the writer exits: served" with_qcow true -- image.qcow2
else
    fail "start a writer"
fi

# The plugin refuses an image with a writer's byte locks only, among them
# those of a writer that shares the image with other writers, or only resizes
# it.
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
    refused "a lock on byte $byte (writer): refused" \
            'image\.qcow2' -- image.qcow2
    kill $holder; wait $holder 2>/dev/null
    rm -f held
done
for byte in 100 102 104 201 202 203 0 99 105 204; do
    hold $byte
    ok "a lock on byte $byte (no writer): served" with_qcow true -- image.qcow2
    kill $holder; wait $holder 2>/dev/null
    rm -f held
done

# A reader has the image open.
if writer_start -r -f qcow2 image.qcow2; then
    ok "an image with a reader: served" with_qcow true -- image.qcow2
    writer_stop
else
    fail "start a reader"
fi

# locks.py FILE: print which bytes the plugin has locked, and how.
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
is "before the start: no locks" "$(py locks.py image.qcow2)" ""
if start_qcow -- image.qcow2; then
    is "the plugin holds read locks on 100, 201 and 203" \
       "$(py locks.py image.qcow2)" "100r 201r 203r"
    can_read "while served"
    cannot_write "while served"
    ok "a client connects and leaves" nbdinfo --size "$uri"
    cannot_write "after the first client leaves"
    stop_qcow || fail "the server exits cleanly"
fi
is "after the exit: no locks" "$(py locks.py image.qcow2)" ""
ok "after the exit: qemu-io can write" \
   qemu-io -f qcow2 -c 'write -P 7 0 64k' image.qcow2

# With force-share=true the plugin takes no locks.
if start_qcow -- image.qcow2 force-share=true; then
    is "force-share=true: no locks" "$(py locks.py image.qcow2)" ""
    ok "force-share=true: a writer can open the image" \
       qemu-io -f qcow2 -c 'write -P 7 0 64k' image.qcow2
    stop_qcow || fail "the server exits cleanly"
fi

# The locks survive the fork of a daemon.
start_daemon image.qcow2
is "a daemon holds the locks" "$(py locks.py image.qcow2)" \
   "100r 201r 203r"
cannot_write "a daemon"
end_daemon
is "after the daemon exits: no locks" "$(py locks.py image.qcow2)" ""

# A writer changes the file just before the plugin locks it: the plugin must
# not serve anything it read before that.  The writer is qemu-io, which would
# be refused if the plugin held locks already.
"${CC:-gcc}" -shared -fPIC -D_GNU_SOURCE -o before-lock.so \
             "$top/tests/before-lock.c" || exit 1

# written_before_lock NAME COMMAND WRITTEN TEST [PARAMETER...]: serve
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
written_before_lock "changed before the lock: appended clusters" \
    "qemu-io -f qcow2 -c 'write -P 9 1M 1M' late.qcow2" late.qcow2 "$shows"

late
# shellcheck disable=SC2016
written_before_lock "changed before the lock: appended compressed clusters" \
    "qemu-io -f qcow2 -c 'write -c -P 9 1M 64k' -c 'write -c -P 9 1088k 64k' late.qcow2" \
    late.qcow2 'qemu-io -r -f raw -c "read -q -P 9 1M 128k" "$uri"'

late
# shellcheck disable=SC2016
written_before_lock "changed before the lock: the disk grows" \
    "{ qemu-img resize late.qcow2 6M &&
       qemu-io -f qcow2 -c 'write -P 9 5M 1M' late.qcow2; }" late.qcow2 \
    'qemu-io -r -f raw -c "read -q -P 9 5M 1M" "$uri"'

late
head -c 64k /dev/zero > late.base
qemu-img rebase -q -u -b late.base -F raw late.qcow2
written_before_lock "changed before the lock: a raw backing file grows" \
    "{ qemu-img resize -f raw late.base 2M &&
       qemu-io -f raw -c 'write -P 9 1M 1M' late.base; }" late.base "$shows" \
    allow=image-dir

late -o data_file=late.data,data_file_raw=on
truncate -s 64k late.data
written_before_lock "changed before the lock: a data file grows" \
    "{ qemu-img resize -f raw late.data 2M &&
       qemu-io -f raw -c 'write -P 9 1M 1M' late.data; }" late.data "$shows" \
    allow=image-dir

late
io late.qcow2 'write -q -P 1 0 4M'
# shellcheck disable=SC2016
written_before_lock "changed before the lock: the disk shrinks" \
    "qemu-img resize --shrink late.qcow2 1M" late.qcow2 \
    '[ "$(nbdinfo --size "$uri")" = 1048576 ] && nbdcopy "$uri" null:'

# A refused image is left without locks.
poke image.qcow2 20 00000019
refused "a bad header: refused" 'cluster_bits' -- image.qcow2
is "... leaves no locks" "$(py locks.py image.qcow2)" ""

done_testing
