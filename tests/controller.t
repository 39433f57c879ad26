#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Started by a program: the arguments that KubeVirt's CDI gives to nbdkit's
# curl plugin; the filters retry and readahead; limits of memory, CPU time and
# file systems; the end.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"
source "$top/tests/web.sh"

password='s3cr3t'
printf 'me:%s\n' "$(openssl passwd -apr1 "$password")" > users
start_nginx '
location /auth/ {
    alias '"$www"'/; auth_basic images; auth_basic_user_file '"$tmp"'/users;
}
'
text_source $((4 << 20)) src0 src1
random_image image 7 $((16 << 20)) 65536 80
qemu-img snapshot -c mon image
io image 'write -q -s src0 3M 1M'
oracle image image.raw
cp image "$www/image"

# --- CDI --------------------------------------------------------------

# cdi URL PARAMETER...: start nbdkit as CDI does, with qcow in place of curl;
# copy to 'out' as CDI does; stop it.  Messages go to cdi.log.  Sets $pid, $ended
# (its status) and $took (to stop it, in ms).
cdi ()
{
    local sock=$tmp/cdi.sock rc began
    rm -f "$sock" cdi.pid out
    _choose_nbdkit
    # shellcheck disable=SC2154
    "$nbdkit" --foreground --readonly --exit-with-parent -U "$sock" \
              --pidfile "$tmp/cdi.pid" --filter=readahead --filter=retry -r \
              "$plugin" "header=User-Agent: cdi" user=me password=-3 \
              "cainfo=$ca" retry-exponential=no "${@:2}" "url=$1" \
              3< <(printf %s "$password") > cdi.log 2>&1 &
    pid=$!
    while [ ! -s cdi.pid ]; do
        kill -0 $pid 2> /dev/null || return 1
        nap 0.01
    done
    qemu-img convert -t writeback -p -O raw "nbd+unix:///?socket=$sock" out \
             > convert.log 2>&1
    rc=$?
    began=${EPOCHREALTIME/./}
    kill $pid
    wait $pid
    ended=$?
    took=$(((${EPOCHREALTIME/./} - began) / 1000))
    return $rc
}

# shellcheck disable=SC2154
ok "CDI's arguments, https with a password" \
   cdi "https://localhost:$https_port/auth/image"
is "... the pid file has the pid" "$(< cdi.pid)" "$pid"
is "... SIGTERM: status 0" "$ended" 0
is "... within a second ($took ms)" $((took < 1000)) 1
ok "... an equal copy" qemu-img compare -f raw -F raw out image.raw
like "... with progress" "$(< convert.log)" '100.00/100%'
unlike "... no password in messages" "$(< cdi.log)" "$password"
is "... no other message than the filter's, that retry leaves no parallelism" \
   "$(grep -v 'readahead: warning: underlying plugin' cdi.log)" ""

# --- The filter retry -------------------------------------------------

# After an error it closes the export and opens it again, also for a snapshot.
# This reads no tables again.
start_web web "$www"
for export in '' mon; do
    touch broken
    forget web
    # shellcheck disable=SC2016
    with_qcow '
        nbdinfo --size "$uri" > size
        how_often web > first
        qemu-io -r -f raw -c "read 0 4k" "$uri" > after &
        sleep 0.3
        rm broken
        wait
        how_often web > second' \
        --filter=retry --filter=error ${export:+-e "$export"} -- \
        "url=${web[web]}/image" retries=5 retry-delay=1 error-pread=EIO \
        error-pread-rate=100% "error-file=$tmp/broken" > log 2>&1
    is "export \"$export\": the filter retry opens it again: status" $? 0
    like "... the read succeeds" "$(< after)" 'read 4096/4096'
    is "... with one request" $(($(< second) - $(< first))) 1
done

# --- Limits -----------------------------------------------------------

# limited NAME COMMAND...: a copy by nbdkit, run by the command, succeeds.
# shellcheck disable=SC2016
limited ()
{
    local name=$1 socket image
    shift
    for image in image "url=${web[web]}/image"; do
        new_socket
        rm -f copy.raw
        "$@" nbdkit -f -U "$socket" "$plugin" "$image" --run \
             'nbdcopy "$uri" - > copy.raw' < /dev/null > log 2>&1
        is "$name, ${image%%=*}: status" $? 0 || diag "$(< log)"
        same_bytes "... an equal copy" copy.raw image.raw
    done
}
if [ "${QCOW_VALGRIND:-}${QCOW_PRELOAD:-}" ]; then
    skip "limits" "sanitizers and valgrind need more"
else
    limited "prlimit --as=1073741824 --cpu=300" \
            prlimit --as=1073741824 --cpu=300
    limited "without HOME" env -u HOME

    # Memory as under MemoryMax=128M: twenty clients, and a cache of 64 MiB.
    # (Each of nbdkit's threads has a buffer for the largest request that it
    # got.)
    start_qcow -t 2 -- cache-size=64M "url=${web[web]}/image"
    clients=()
    for i in {1..20}; do
        nbdcopy "$uri" null: &
        clients+=($!)
    done
    wait "${clients[@]}"
    peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status")
    is "20 clients and a cache of 64 MiB: less than 128 MiB ($peak KiB)" \
       $((peak < 131072)) 1
    stop_qcow

    # in_namespace COMMAND...: run it as root of a user and mount namespace.
    if unshare -rm true 2> /dev/null; then
        # shellcheck disable=SC2016
        limited "a root that is read-only, but for sockets and the copy" \
            env "tmp=$tmp" unshare -rm sh -c '
                mount --bind "$tmp" "$tmp" && mount -o remount,ro,bind / &&
                    cd "$tmp" && ! touch / 2> touch.log && exec "$@"' sh
        # shellcheck disable=SC2016
        limited "without /proc" \
            unshare -rm sh -c 'mount -t tmpfs none /proc && exec "$@"' sh
        qemu-img create -q -f qcow2 -b image -F qcow2 overlay
        # shellcheck disable=SC2016
        out=$(new_socket
              unshare -rm sh -c 'mount -t tmpfs none /proc && exec "$@"' sh \
                      nbdkit -f -U "$socket" "$plugin" overlay allow=image-dir \
                             --run true 2>&1)
        like "... a backing file that must be allowed: one clear message" "$out" \
             "^nbdkit: error: overlay: can't open .*'image': /proc is not mounted\$"
    else
        skip "namespaces" "there are none for this user"
    fi

    if [ "$(id -u)" = 0 ]; then
        chmod 755 "$tmp"
        chmod 644 image
        mkdir -m 777 others
        # shellcheck disable=SC2016
        out=$(setpriv --reuid=65534 --regid=65534 --clear-groups \
                      env -u HOME nbdkit -f -U "$tmp/others/s" "$plugin" image \
                          --run 'nbdcopy "$uri" -' 2> log | cksum)
        is "as user 65534" "$out" "$(cksum < image.raw)"
    fi
fi

# --- The end ----------------------------------------------------------

# ends NAME SETTING PARAMETER...: SIGTERM in the middle of a copy.  The SETTING
# is for the web server, after the start.
ends ()
{
    local name=$1 i setting=$2
    shift 2
    set_web web
    start_qcow -- "$@"
    set_web web ${setting:+"$setting"}
    nbdcopy "$uri" null: > /dev/null 2>&1 &
    client=$!
    nap 0.3
    i=${EPOCHREALTIME/./}
    kill "$pid"
    while kill -0 "$pid" 2> /dev/null; do
        nap 0.01
        [ $((${EPOCHREALTIME/./} - i)) -lt 5000000 ] || break
    done
    i=$(((${EPOCHREALTIME/./} - i) / 1000))
    is "SIGTERM while $name: an end within a second ($i ms)" $((i < 1000)) 1
    stop_qcow > /dev/null 2>&1
    wait $client
}
ends "a local image is copied" '' image
ends "an image is copied from a slow server" rate=100000 \
     "url=${web[web]}/image"
ends "a server hangs" 'fail=hang*' "url=${web[web]}/image"

done_testing
