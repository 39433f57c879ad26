#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images on NBD servers other than nbdkit's file plugin on a Unix domain socket:
# qemu-nbd and qemu-storage-daemon, also with TLS and restarted; TCP and vsock;
# an image on an SSH server.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nbd.sh"

source_image
reads="$python $gen/nbd-reads.py"
make_keys
mapfile -t data < <(awk '$4 == "data" { print $1 }' wanted.map)
late="${data[-1]}:4096 ${data[-2]}:4096"

# survives NAME PARAMETER... -- COMMAND...: COMMAND runs between reads, and all
# are correct.  (The late ones are of what was not read before.)
survives ()
{
    local name=$1 parameters=()
    shift
    while [ "$1" != -- ]; do
        parameters+=("$1"); shift
    done
    shift
    start_qcow -- "${parameters[@]}" cache-size=0 || { fail "$name"; return; }
    is "$name: before" "$($reads "$uri" image.raw "${data[0]}:4096")" same
    "$@"
    # shellcheck disable=SC2086
    is "... after" "$($reads "$uri" image.raw $late)" "same same"
    is "... no messages" "$(< "$log")" ''
    ok "... it ends well" stop_qcow
}

# --- QEMU's servers ---------------------------------------------------

# The object with the keys, or empty: no TLS.
tls=

# start_qemu_nbd FORMAT OPTION...: start the server "own".
start_qemu_nbd ()
{
    server_socket[own]=$tmp/own.sock
    rm -f own.sock
    qemu-nbd -r -t -x disk -k "$tmp/own.sock" -f "$1" "${@:2}" \
             ${tls:+--object "$tls" --tls-creds tls} image \
             < /dev/null > own.server 2>&1 &
    listens own
}

# start_storage_daemon NODE: the same; NODE is file, or one above it.
start_storage_daemon ()
{
    server_socket[own]=$tmp/own.sock
    rm -f own.sock
    qemu-storage-daemon ${tls:+--object "$tls"} \
        --blockdev driver=file,node-name=file,filename=image,read-only=on \
        --blockdev driver=raw,node-name=raw,file=file,read-only=on \
        --blockdev driver=qcow2,node-name=qcow2,file=file,read-only=on \
        --nbd-server "addr.type=unix,addr.path=$tmp/own.sock${tls:+,tls-creds=tls}" \
        --export "type=nbd,id=e,node-name=$1,name=disk" \
        < /dev/null > own.server 2>&1 &
    listens own
}

# by NAME COMMAND...: COMMAND starts the server.
by ()
{
    "${@:2}" || { fail "$1"; return; }
    source_gives "$1" "url=$(uri own disk)" connections=3
    _end "${server_pid[own]}"
}

restart ()
{
    kill_server own
    "$@"
}

# With as many connections as the plugin wants.
qemu_nbd ()
{
    start_qemu_nbd "$@" -e 8
}
by "qemu-nbd" qemu_nbd raw
by "qemu-nbd, one connection" start_qemu_nbd raw -e 1
by "qemu-nbd, a description" start_qemu_nbd raw -e 4 -D 'a disk'
# (Not every filesystem has direct I/O.)
if start_qemu_nbd raw -e 4 --cache=none; then
    source_gives "qemu-nbd, direct I/O" "url=$(uri own disk)" connections=3
    _end "${server_pid[own]}"
else
    skip "qemu-nbd, direct I/O" "$(< own.server)"
fi

qemu_nbd raw -D monday
if start_qcow -- "url=$(uri own disk)"; then
    restart qemu_nbd raw -D tuesday
    # shellcheck disable=SC2086
    is "another description after a restart: reads fail" \
       "$($reads "$uri" image.raw $late)" "EIO EIO"
    is "... one message" "$(errors "$log")" 1
    like "... with the reason" "$(< "$log")" 'it has another description'
    stop_qcow || fail "the server exits cleanly"
else
    fail "another description after a restart"
fi
_end "${server_pid[own]}"

# tests_of_qemu NAME COMMAND: "COMMAND raw" and "COMMAND qcow2" start the server.
tests_of_qemu ()
{
    local name=$1 start=$2 psk
    $start raw
    survives "$name is restarted" "url=$(uri own disk)" -- restart $start raw
    _end "${server_pid[own]}"
    $start qcow2
    refused "$name decodes the image: refused" 'not a QCOW image' \
            -- "url=$(uri own disk)"
    _end "${server_pid[own]}"
    if [ $has_tls = no ]; then
        skip "$name with TLS" "this nbdkit has none"
        return
    fi
    tls=tls-creds-psk,id=tls,endpoint=server,dir=$tmp
    $start raw
    psk="nbds+unix://alice@/disk?socket=${server_socket[own]}&tls-psk-file=$tmp"
    source_gives "$name with TLS" "url=$psk/keys.psk"
    refused "... with a wrong key" "can't open it: " -- "url=$psk/wrong.psk"
    no_secret "... the message has no secret" .refused
    refused "... without TLS" "can't open it: " -- "url=$(uri own disk)"
    survives "... restarted" "url=$psk/keys.psk" -- restart $start raw
    _end "${server_pid[own]}"
    tls=
}

tests_of_qemu "qemu-nbd" qemu_nbd
if command -v qemu-storage-daemon > /dev/null; then
    by "qemu-storage-daemon" start_storage_daemon raw
    by "qemu-storage-daemon, the node of the file" start_storage_daemon file
    tests_of_qemu "qemu-storage-daemon" start_storage_daemon
else
    skip "qemu-storage-daemon" "it is not installed"
fi
qemu_nbd raw
server proxy nbd "uri=$(uri own disk)"
source_gives "nbdkit's nbd plugin before qemu-nbd" "url=$(uri proxy)"
_end "${server_pid[proxy]}"
_end "${server_pid[own]}"

# --- TCP and vsock ----------------------------------------------------

tcp_server file image
source_gives "a server with TCP" "url=nbd://127.0.0.1:$port"
source_gives "... by name" "url=nbd://localhost:$port/"
# (A quick server can reply before the client waits for that.)
failed=0
for i in {1..20}; do
    QCOW_TIMEOUT=10 with_qcow true -- "url=nbd://127.0.0.1:$port/" > log 2>&1 &&
        [ ! -s log ] || { failed=$((failed + 1)); cat log; }
done
is "opened 20 times" $failed 0
_end "${server_pid[own]}"

mkdir dir
head -c 1M image.raw > dir/base.raw
make_sort dir/top v3 1M base.raw raw
io dir/top 'write -P 7 100k 300k'
oracle dir/top top.raw
cp image dir
if port_server vsock -- "$_nbdkit" -f --exit-with-parent file dir=dir; then
    vsock=nbd+vsock://1:$port
    source_gives "a server with vsock" "url=$vsock/image"
    names="$vsock/top: the image names the backing file"
    names=${names//+/\\+}
    refused "... a backing file: refused" "$names" -- "url=$vsock/top"
    refused "... also with allow=any" "$names" -- "url=$vsock/top" allow=any
    for allow in image-dir "$vsock/"; do
        gives "... served with allow=${allow/$port/PORT}" top.raw \
              "url=$vsock/top" "allow=$allow"
    done
    refused "... no such export" "^nbdkit: error: ${vsock/+/\\+}/none: can't open it" \
            -- "url=$vsock/none"
    _end "${server_pid[own]}"
    refused "... no server" "^nbdkit: error: ${vsock/+/\\+}/image: can't open it" \
            -- "url=$vsock/image"
else
    skip "a server with vsock" "$(< own.server)"
fi

# --- SSH --------------------------------------------------------------

# As root, sshd would need a directory in /run, and an account that is not
# locked.  So it always runs as an ordinary user, and serves only this one.
# (systemd says that nobody is locked.)
as_user=()
ssh_user=$(id -un)
if [ "$(id -u)" = 0 ]; then
    ssh_user=daemon
    as_user=(setpriv --reuid=$ssh_user --regid=$ssh_user --clear-groups)
fi

# prepare_ssh: make keys and files of settings.
prepare_ssh ()
{
    mkdir ssh
    chmod 644 image
    for key in host user stranger; do
        ssh-keygen -q -t ed25519 -N '' -C '' -f ssh/$key || return
    done
    cp ssh/user.pub ssh/authorized_keys
    [ ${#as_user[@]} -eq 0 ] || chown $ssh_user ssh/host
    cat > ssh/config <<END_OF_FILE
HostKey $tmp/ssh/host
AuthorizedKeysFile $tmp/ssh/authorized_keys
AuthenticationMethods publickey
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
END_OF_FILE
    ssh=(host=127.0.0.1 "user=$ssh_user" config= compression=false
         "known-hosts=$tmp/ssh/known_hosts" "$tmp/image")
    unset SSH_AUTH_SOCK
}

# cut_ssh: kill the processes of all connections.
cut_ssh ()
{
    accepted=$(grep -c '^Accepted ' own.server)
    pkill -KILL -s "$(pgrep -d , -P "${server_pid[own]}")"
}

if ! sshd=$(command -v sshd); then
    skip "an image on an SSH server" "there is no sshd"
elif ! "$_nbdkit" --dump-plugin ssh > /dev/null 2>&1; then
    skip "an image on an SSH server" "nbdkit has no ssh plugin"
elif ! prepare_ssh > ssh.log 2>&1 ||
        ! port_server --inetd tcp -- "${as_user[@]}" "$sshd" -i -e \
                      -f "$tmp/ssh/config"; then
    fail "an image on an SSH server" "$(cat ssh.log own.server)"
else
    echo "[127.0.0.1]:$port $(< ssh/host.pub)" > ssh/known_hosts
    ssh+=("port=$port")
    server ssh -r ssh "${ssh[@]}" "identity=$tmp/ssh/user"
    source_gives "an image on an SSH server" "url=$(uri ssh)"
    source_gives "... four connections" "url=$(uri ssh)" connections=4
    _end "${server_pid[ssh]}"
    server ssh -r --filter=retry ssh "${ssh[@]}" "identity=$tmp/ssh/user" \
           retry-delay=1
    # (A second connection could be made after the cut.)
    survives "... its connection is cut" "url=$(uri ssh)" connections=1 \
             -- cut_ssh
    is "... and made again" \
       $(($(grep -c '^Accepted ' own.server) > accepted)) 1
    _end "${server_pid[ssh]}"
    server ssh -r ssh "${ssh[@]}" "identity=$tmp/ssh/stranger"
    refused "... a wrong key" "error: nbd\\+unix:///\\?socket=$tmp/ssh.sock: can't open it: " \
            -- "url=$(uri ssh)"
    # (sshd says so after the client's end.)
    for ((i = 0; i < 1000; i++)); do
        ! grep -q "from authenticating user $ssh_user " own.server || break
        nap 0.01
    done
    is "... the SSH server was asked" $((i < 1000)) 1
    _end "${server_pid[own]}"
fi

done_testing
