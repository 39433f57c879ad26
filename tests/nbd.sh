# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after functions.sh by tests of images on NBD servers: servers on Unix
# domain sockets, or on ports that the kernel chooses.  They end with the test.

chmod 755 "$tmp"                # other users come to the sockets
has_tls=no
[[ $("$_nbdkit" --dump-config) != *tls=yes* ]] || has_tls=yes
declare -A server_pid=() server_socket=()

# listens NAME: the server that was started last serves at a socket.
listens ()
{
    local deadline=$((SECONDS + start_timeout))
    server_pid[$1]=$!
    _helpers+=($!)
    disown                      # bash reports killed jobs
    until _listens "${server_socket[$1]}"; do
        if ! kill -0 "${server_pid[$1]}" 2>/dev/null ||
                [ $SECONDS -ge $deadline ]; then
            diag "the server $1 did not start" "$(< "$tmp/$1.server")"
            return 1
        fi
        nap 0.005
    done
    return 0
}

# server NAME NBDKIT-ARGUMENT...: start nbdkit.
server ()
{
    server_socket[$1]=$tmp/$1.sock
    rm -f "$tmp/$1.sock"
    "$_nbdkit" -f --exit-with-parent -U "$tmp/$1.sock" "${@:2}" < /dev/null \
               > "$tmp/$1.server" 2>&1 &
    listens "$1"
}

# port_server LISTEN-OPTION... -- COMMAND...: start the server "own" at a port (see
# listen.py).  Sets $port.  Fails if the server ends first; own.server tells why.
port_server ()
{
    local options=() i
    while [ "$1" != -- ]; do
        options+=("$1"); shift
    done
    shift
    rm -f port
    "$python" "$gen/listen.py" "${options[@]}" port "$@" < /dev/null \
              > own.server 2>&1 &
    server_pid[own]=$!
    _helpers+=($!)
    for ((i = 0; i < 2000; i++)); do
        if [ -s port ]; then
            port=$(< port)
            return 0
        fi
        kill -0 "${server_pid[own]}" 2>/dev/null || return 1
        nap 0.01
    done
    return 1
}

# tcp_server NBDKIT-ARGUMENT...: start nbdkit as the server "own" at a TCP port.
tcp_server ()
{
    port_server tcp -- "$_nbdkit" -f --exit-with-parent "$@" ||
        diag "the server did not start" "$(< own.server)"
}

# kill_server NAME: it can't say goodbye to its clients.
kill_server ()
{
    kill -9 "${server_pid[$1]}"
    while kill -0 "${server_pid[$1]}" 2>/dev/null; do
        nap 0.005
    done
}

# uri NAME [EXPORT [SCHEME]]: print the URI of an export.
uri ()
{
    echo "${3:-nbd+unix}:///${2:-}?socket=${server_socket[$1]}"
}

# gives NAME RAW PARAMETER...: the content is that of RAW.
gives ()
{
    local name=$1 raw=$2 out=$tmp/.gives
    shift 2
    # shellcheck disable=SC2016
    if with_qcow 'py "$gen/nbd-compare.py" --copy --borders 10 --random 30 \
                     "$uri" "$raw"' "${qcow_options[@]}" -- "$@" \
                 > "$out" 2>&1 && ! _sanitized "$(< "$out")"; then
        pass "$name"
    else
        fail "$name" "$(< "$out")"
    fi
}
qcow_options=()

# source_image: make the file "image", its content image.raw, and what
# source_gives compares with.
source_image ()
{
    random_image image 5 $((6 << 20)) 65536 60
    dense image
    truncate -s %64k image      # some servers need whole blocks
    oracle image image.raw
    qemu_map image > wanted.map
}

# source_gives NAME PARAMETER...: content and map are those of "image".
source_gives ()
{
    local name=$1 out=$tmp/.gives
    shift
    : > got.map
    # shellcheck disable=SC2016
    if with_qcow 'py "$gen/nbd-compare.py" --map got.map --copy --borders 10 \
                     --random 30 "$uri" image.raw' -- "$@" > "$out" 2>&1 &&
            ! _sanitized "$(< "$out")"; then
        pass "$name"
    else
        fail "$name" "$(< "$out")"
    fi
    same_text "... the map" got.map wanted.map
}

# errors FILE: print how many messages of the server are not warnings.
errors ()
{
    grep 'nbdkit: .*error:' "$1" | grep -vc warning
}

# make_keys: make keys.psk and wrong.psk for TLS, with the user alice.
make_keys ()
{
    printf 'alice:%s\n' 6f8b2c1d9e3a47505162738495a6b7c8 > keys.psk
    printf 'alice:%s\n' 00000000000000000000000000000000 > wrong.psk
}

# no_secret NAME FILE: the messages have neither user nor files with keys.
no_secret ()
{
    unlike "$1" "$(< "$2")" 'alice|keys\.psk|wrong\.psk|pki'
}
