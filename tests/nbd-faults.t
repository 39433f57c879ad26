#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# NBD servers that fail: that are restarted, stay away, change, hang, or are
# none; URIs that are wrong; images that are cut off.
#
# What mostly waits runs in the background (see web.sh) from the beginning.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"
source "$top/tests/nbd.sh"

text_source $((4 << 20)) disk.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=16k disk.raw plain
reads="$python $gen/nbd-reads.py"
mkdir www dir
cp disk.raw dir/base.raw
start_web web www

# Servers that are none, or stop in the middle of the handshake.
cat > hostile.py <<'END'
import os, socket, sys, threading
MAGIC = b"NBDMAGICIHAVEOPT\0\3"
says = {"silent": b"", "rubbish": b"rubbish " * 4096, "half": MAGIC[:9],
        "options": MAGIC, "old": b"NBDMAGIC" + bytes(144), "closes": None}
held = []
def serve(s, text):
    while True:
        c = s.accept()[0]
        try:
            if text is None:
                c.close()
            else:
                c.sendall(text)
                held.append(c)
        except OSError:
            pass
for name, text in says.items():
    s = socket.socket(socket.AF_UNIX)
    s.bind(name + ".sock")
    s.listen(20)
    threading.Thread(target=serve, args=(s, text)).start()
open("hostile", "w").close()
END
"$python" hostile.py < /dev/null &
_helpers+=($!)
for name in silent rubbish half options old closes; do
    server_socket[$name]=$tmp/$name.sock
done
for ((i = 0; i < 2000; i++)); do
    [ ! -e hostile ] || break
    nap 0.005
done

# --- In the background ------------------------------------------------

# A server that stays away.
server away file plain
in_parallel away "kill -9 ${server_pid[away]}
                  $reads --times \"\$uri\" disk.raw 3145728:4096 3145728:4096 \
                  2097152:4096" \
            "url=$(uri away)"
# Servers that hang in the handshake, also a web server: an NBD client waits
# for the server to begin.
for name in silent half options; do
    in_parallel "$name" true "url=$(uri $name)"
done
in_parallel web true "url=nbd://${web[web]#http://}/image"

# --- Errors -----------------------------------------------------------

# A server that reports an error is not asked again.
for sr in '' --no-sr; do
    # shellcheck disable=SC2086
    server errs $sr --filter=error file plain error-pread-rate=100% \
           error-pread-file="$tmp/broken"
    if start_qcow -- "url=$(uri errs)"; then
        touch broken
        is "the server${sr:+ ($sr)} reports errors" \
           "$($reads "$uri" disk.raw $((3 << 20)):4096 $((2 << 20)):4096)" \
           "EIO EIO"
        rm broken
        is "... one message" "$(errors "$log")" 1
        like "... with the reason" "$(< "$log")" \
             "errs.sock: can't read .*the NBD server reports: "
        is "... later reads work" \
           "$($reads "$uri" disk.raw $((3 << 20)):4096)" same
        stop_qcow || fail "the server exits cleanly"
    fi
    _end "${server_pid[errs]}"
done

# --- Servers that go away ---------------------------------------------

# wait_for_reads NAME COUNT: until the server has got so many requests.
wait_for_reads ()
{
    local i
    for ((i = 0; i < 4000; i++)); do
        [ "$(grep -c ' Read ' "$1.requests" 2>/dev/null)" -lt "$2" ] || return 0
        nap 0.01
    done
    fail "the server $1 gets $2 requests"
}

# slow NAME FILE: start a server whose replies take a while.
slow ()
{
    rm -f "$1.requests"
    server "$1" --filter=log --filter=delay file "$2" delay-read=30ms \
           logfile="$1.requests"
}

for connections in 1 4; do
    slow slow plain
    if start_qcow -- "url=$(uri slow)" connections=$connections cache-size=0; then
        before=$(grep -c ' Read ' slow.requests)
        rm -f copy.raw
        nbdcopy --requests=4 --request-size=65536 "$uri" copy.raw 2> client.log &
        client=$!
        wait_for_reads slow $((before + 8))
        kill_server slow
        nap 0.3
        slow slow plain
        wait $client; status=$?
        is "a server that is restarted, connections=$connections: status" \
           $status 0
        same_bytes "... the copy" copy.raw disk.raw
        is "... no messages" "$(< "$log")" ''
        stop_qcow || fail "the server exits cleanly"
    fi
    _end "${server_pid[slow]}"
done

# changes NAME URI NBDKIT-OPTION...: the export changes while it is served.
changes ()
{
    local name=$1 image=$2
    shift 2
    cp plain changing
    server changing "$@" file changing || { fail "$name"; return; }
    if start_qcow -- "url=$image"; then
        kill_server changing
        truncate -s +64k changing
        server changing "$@" file changing
        is "$name: reads fail" \
           "$($reads "$uri" disk.raw $((3 << 20)):4096 $((2 << 20)):4096)" \
           "EIO EIO"
        is "... one message" "$(errors "$log")" 1
        like "... with the reason" "$(< "$log")" \
             'the export was changed .*: it has another size'
        stop_qcow || fail "the server exits cleanly"
    fi
    _end "${server_pid[changing]}"
}
changes "the export has another size" "nbd+unix:///?socket=$tmp/changing.sock"
if [ $has_tls = yes ]; then
    make_keys
    changes "... with TLS" \
            "nbds+unix://alice@/?socket=$tmp/changing.sock&tls-psk-file=$tmp/keys.psk" \
            --tls=require --tls-psk="$tmp/keys.psk"
    no_secret "... the message has no secret" "$log"
fi

# ends_soon NAME PID SIGNAL: within two seconds.
ends_soon ()
{
    local before took=0
    before=$(now)
    kill "-$3" "$2"
    while kill -0 "$2" 2>/dev/null && [ $took -lt 20000 ]; do
        nap 0.01
        took=$(($(now) - before))
    done
    is "$1, SIG$3: within 2 s (took $took ms)" $((took < 2000)) 1
}

# The end while a read waits.
server stopped file plain
for signal in TERM INT; do
    if start_qcow -- "url=$(uri stopped)"; then
        kill -STOP "${server_pid[stopped]}"
        $reads "$uri" disk.raw $((3 << 20)):4096 > client.log 2>&1 &
        client=$!
        nap 0.3
        ends_soon "the end while a read waits" "$pid" $signal
        kill -CONT "${server_pid[stopped]}"
        wait $client
        ok "... it exits cleanly" stop_qcow
    fi
done
for name in silent half; do
    # (Bash starts background jobs with SIGINT ignored.)
    env --default-signal=INT nbdkit -f -U "$tmp/starting.sock" "$plugin" \
        "url=$(uri $name)" < /dev/null > starting.log 2>&1 &
    starting=$!
    nap 0.4
    ends_soon "a server that is $name at the start" $starting INT
    wait $starting 2>/dev/null
done

# --- Bad input --------------------------------------------------------

server files file dir=dir
while read -r name re value; do
    value=${value//TMP/$tmp}
    refused "$name" "${re//_/ }" -- "url=$value"
done <<'END'
no-socket nbd\+unix:///\?socket=.*/none:_can't_open_it:_.*No_such_file nbd+unix:///?socket=TMP/none
no-export can't_open_it:_.*no_export_named_'none' nbd+unix:///none?socket=TMP/files.sock
no-listener can't_open_it:_.*(refused|not_a_socket) nbd+unix:///?socket=TMP/plain
nothing-on-the-port can't_open_it:_.*[Cc]onnection_refused nbd://127.0.0.1:1/
rubbish can't_open_it:_.*magic nbd+unix:///?socket=TMP/rubbish.sock
ends-the-connection can't_open_it:_ nbd+unix:///?socket=TMP/closes.sock
the-old-protocol error:_nbd\+unix:///\?socket=.*/old\.sock:_ nbd+unix:///?socket=TMP/old.sock
no-image /base\.raw\?socket=.*not_a_QCOW_image nbd+unix:///base.raw?socket=TMP/files.sock
without-socket path_of_the_socket nbd+unix:///x
a-relative-socket socket=_must_have_an_absolute_path nbd+unix:///x?socket=files.sock
an-empty-socket socket=_must_have_an_absolute_path nbd+unix:///x?socket=
qemu's-old-form nbd:unix:.*must_begin_with nbd:unix:TMP/files.sock
no-slashes must_begin_with nbd:localhost
another-scheme nbd\+ssh://_is_not_supported nbd+ssh://localhost/
a-space-in-the-path can't_open_it:_.*URI nbd+unix:///a b?socket=TMP/files.sock
a-space-in-the-host can't_open_it:_.*URI nbd://local host/
a-bad-port can't_open_it:_ nbd://localhost:99999/
no-host can't_open_it:_ nbd://
END
make_sort gone v3 4M "nbd+unix:///base.raw?socket=$tmp/none" raw
refused "an image that names a missing server: the message has both" \
        "error: gone: can't open the backing file 'nbd\\+unix:///base\\.raw\\?socket=$tmp/none': .*No such file.*backing=" \
        -- gone allow=any
refused "a control character" 'contains a control character' \
        -- $'url=nbd://localhost/\001'
refused "a URI as the file" 'is a URL, not a file.*url=' -- "$(uri files plain)"
long=$(printf '%0200d' 0)
refused "a socket with a long name" "can't open it: " \
        -- "url=nbd+unix:///?socket=/$long"
refused "the user of a URI is not shown" 'nbds://127\.0\.0\.1:1/: ' \
        -- "url=nbds://alice@127.0.0.1:1/?tls-psk-file=$tmp/keys.psk"
no_secret "... nor the file with keys" .refused
for parameter in user=me password=word cookie=a=b 'header=X: y' \
                 region=eu cainfo=/dev/null; do
    refused "${parameter%%=*}= : refused" \
            "${parameter%%=*}= has no effect" -- "url=$(uri files plain)" \
            "$parameter"
done

# An export that is too short: the same as for a local file.
for size in 3M 100k 1000 20 0; do
    cp plain dir/short
    truncate -s $size dir/short
    local_says=$(with_qcow 'py "$gen/nbd-status.py" "$uri" disk.raw 65536' \
                           -- dir/short 2> log)
    is "an image of $size bytes: as a local file" \
       "$(with_qcow 'py "$gen/nbd-status.py" "$uri" disk.raw 65536' \
                    -- "url=$(uri files short)" 2> log)" "$local_says"
    [ -n "$local_says" ] ||
        like "... with a message" "$(< log)" "error: nbd\\+unix:///short"
done

# --- What ran in the background ---------------------------------------

for name in silent half options web; do
    outcome "$name"
    is "$name: status" "$rc" 1
    is "... one message" "$(errors "$log")" 1
    like "... with the reason" "$(< "$log")" \
         "can't open it: the NBD server does not respond"
    is "... after less than 25 s (took $ms ms)" $((ms < 25000)) 1
done
outcome away
like "a server that stays away: reads fail" "$out" '^EIO@[0-9]+ EIO@[0-9]+ EIO'
is "... one message" "$(errors "$log")" 1
like "... with the reason" "$(< "$log")" "can't read .*, after [0-9]+ tries"
is "... after less than 60 s (took $ms ms)" $((ms < 60000)) 1

done_testing
