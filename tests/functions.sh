# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced by every tests/*.t: a little TAP, a temporary directory, and
# servers that are stopped and checked whatever way the test ends.
#
# A test sources this file, makes its own images in the current
# directory (a fresh temporary one), calls ok / is / like / same_bytes /
# serves / refused and so on, and ends with done_testing.  Each of those
# prints what differed.
#
# Most of what a test costs is the start of processes.  So the Python
# programs of a test run in one process (py), what the shell itself can do
# has no subshell, and a server is started and stopped without a helper.
#
# Invariants: nothing is written outside $tmp; no TCP ports but such as the
# kernel chooses (tests run beside each other); every nbdkit that start_qcow
# started is stopped at exit; and a test in which a sanitizer or valgrind found
# something, or a server died that start_qcow or with_qcow started, fails,
# whatever else it saw.
#
# From the environment:
#   QCOW_PLUGIN    the plugin to test (default: the one at the top)
#   QCOW_PRELOAD   libraries for LD_PRELOAD in nbdkit alone: sanitizers
#   QCOW_VALGRIND  a valgrind command line to run nbdkit under
#   QCOW_TIMEOUT   seconds after which a client and its server count as
#                  hanging (default 120)
#   QCOW_SEED      a number: other random images than the usual ones

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
plugin=${QCOW_PLUGIN:-$top/nbdkit-qcow-plugin.so}
gen=$top/tests/generators
export plugin gen
export PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# The one that Debian's packages extend, whatever else is in PATH.
export python=/usr/bin/python3
# Nothing is to be written beside what the programs import.
export PYTHONDONTWRITEBYTECODE=1

[ -e "$plugin" ] || {
    echo "Bail out! There is no $plugin: say 'make' first."
    exit 1
}

tmp=$(mktemp -d "${TMPDIR:-/tmp}/qcow-test.XXXXXX") || exit 1
cd "$tmp" || exit 1

# Sockets for "nbdkit -U", also of other users.  (With "-U -" nbdkit makes a
# directory in /tmp, which stays there if the plugin does not start.)
mkdir -m 1777 sockets
# new_socket: set $socket.
new_socket ()
{
    socket=$tmp/sockets/$BASHPID.${EPOCHREALTIME/./}
}

# Whoever starts nbdkit, also a client by socket activation, gets it with
# what the environment asks for at that time.  It is the same process in
# the end.  (Functions here start $_nbdkit if there is nothing to ask for.)
mkdir wrapped
_nbdkit=$(command -v nbdkit)
cat > wrapped/nbdkit <<END
#!/bin/sh
set -- \$QCOW_VALGRIND '$_nbdkit' "\$@"
[ -z "\$QCOW_PRELOAD" ] || set -- env LD_PRELOAD="\$QCOW_PRELOAD" "\$@"
exec "\$@"
END
chmod +x wrapped/nbdkit
PATH=$tmp/wrapped:$PATH

# What sanitizers and valgrind find goes to files, where it is not lost with
# what a server said, or with its status.  (Servers may run as another user.)
findings=$tmp/findings
mkdir -m 1777 "$findings"
[ -z "${QCOW_VALGRIND:-}" ] || QCOW_VALGRIND+=" --log-file=$findings/%p"
for _tool in ASAN UBSAN TSAN; do
    _tool+=_OPTIONS
    # (1 would be that of a refusal.)
    export $_tool="${!_tool:+${!_tool}:}exitcode=99:log_path=$findings/sanitizer"
done

# How long a server may take to start, and to end.
start_timeout=$((${QCOW_TIMEOUT:-120} / 4 + 1))
end_timeout=$((${QCOW_TIMEOUT:-120} / 12))

# What a test may set for all that follows: further parameters of the
# plugin, and the format in which qemu opens images.
params=()
format=qcow2

_count=0
_failed=0
_servers=()                     # what to wait for
_pids=()                        # nbdkit itself: another with strace
_helpers=()                     # other servers, which end by a signal
_finished=no

_cleanup ()
{
    local rc=$?
    trap - EXIT
    trap '' PIPE                # nobody may read what is said from here on
    local i
    for i in "${!_servers[@]}"; do
        _stop "$i"
    done
    for i in "${_helpers[@]}"; do
        _end "$i"
    done
    kill -9 "$_watcher" "$_python" 2>/dev/null
    [ ! -e "$tmp/.late" ] || cat "$tmp/.late"
    if [ "$_finished" = no ]; then
        _nothing_found
        echo "# the test ended early (status $rc)"
        rc=1
    elif [ "$_failed" -gt 0 ]; then
        rc=1
    fi
    cd /
    chmod -R u+rwX "$tmp" 2>/dev/null
    rm -rf "$tmp"
    exit $rc
}
trap _cleanup EXIT
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

# nap SECONDS: sleep, without a process.
exec {_never}<> <(:)
nap ()
{
    read -r -t "$1" -u "$_never"
}

# One process kills servers that take too long: "PID SECONDS" in a line arms
# it, "PID 0" disarms it.  Nothing of a test waits for ever: its clients end
# when their server does.
_watch ()
{
    local -A due=()
    local pid seconds status args text line=
    exec < /dev/null > /dev/null 2>&1
    while :; do
        # (It may be in the middle of a line when the second is over.)
        IFS= read -r -t 1 -u "$1" text; status=$?
        line+=$text
        [ $status -eq 0 ] || [ $status -gt 128 ] || break
        if [ $status -gt 128 ]; then
            for pid in "${!due[@]}"; do
                [ $SECONDS -ge "${due[$pid]}" ] || continue
                unset "due[$pid]"
                # Whoever armed it may be gone, and its number be another's.
                mapfile -d '' args < "/proc/$pid/cmdline"
                if [[ ${args[*]} = *"$tmp/"* ]]; then
                    echo "# took too long: ${args[*]}" >> "$tmp/.late"
                    kill -9 "$pid"
                fi
            done
            continue
        fi
        read -r pid seconds <<< "$line"
        line=
        if [ "$seconds" = 0 ]; then
            unset "due[$pid]"
        else
            due[$pid]=$((SECONDS + seconds))
        fi
    done
}
exec {_armed}> >(exec {_orders}<&0; _watch "$_orders")
_watcher=$!

# _arm PID SECONDS
_arm ()
{
    printf '%s %s\n' "$1" "$2" >&"$_armed"
}

# _end PID: end a process of ours that is not to be judged.
_end ()
{
    local i
    kill "$1" 2>/dev/null
    for ((i = 0; i < 400; i++)); do
        kill -0 "$1" 2>/dev/null || break
        nap 0.005
    done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# The process in which the Python programs of this test run.
coproc _py { exec "$python" "$gen/run-scripts.py" "$tmp/.py"; }
# (Those of the coprocess are no good in subshells.)
exec {_py_in}>&"${_py[1]}" {_py_out}<&"${_py[0]}"
# shellcheck disable=SC2154 # coproc sets it
_python=$_py_PID
disown "$_python"

# py FILE ARGUMENT... | py -c TEXT ARGUMENT... | py - ARGUMENT... < TEXT
# Like "$python", but a process for it is there already.  The programs get
# no environment of their own, no stdin but with --stdin as the first option,
# and run one at a time: a job in the background must take "$python".
py ()
{
    local text stdin='' tag=$BASHPID.$EPOCHREALTIME answer=() status
    if [ "$1" = --stdin ]; then
        IFS= read -r -d '' stdin
        shift
    fi
    if [ "$1" = - ]; then
        IFS= read -r -d '' text
        set -- -c "$text" "${@:2}"
    fi
    printf '%s\0' "$tag" "$PWD" "$stdin" $# "$@" >&"$_py_in"
    while [ "${answer[0]:-}" != "$tag" ]; do
        read -r -t "${QCOW_TIMEOUT:-120}" -u "$_py_out" -a answer || {
            status=$?
            kill -9 "$_python" 2>/dev/null
            echo "the Python process has failed (status $status): $*" >&2
            return 125
        }
    done
    _show "${answer[2]}" "$tmp/.py.stdout"
    _show "${answer[3]}" "$tmp/.py.stderr" >&2
    return "${answer[1]}"
}

# _show none|text|binary FILE
_show ()
{
    local text
    case $1 in
        text) IFS= read -r -d '' text < "$2"; printf '%s' "$text" ;;
        binary) cat "$2" ;;
    esac
}

# diag TEXT...: a comment in the TAP stream, each line marked.
diag ()
{
    printf '%s\n' "$*" | sed 's/^/# /' | head -60
}

pass ()
{
    _count=$((_count + 1))
    echo "ok $_count - ${1//#/}"
}

fail ()
{
    _count=$((_count + 1))
    _failed=$((_failed + 1))
    echo "not ok $_count - ${1//#/}"
    shift
    [ $# -eq 0 ] || diag "$@"
    return 1
}

# skip NAME REASON: what can't be tested here, and why.
skip ()
{
    _count=$((_count + 1))
    echo "ok $_count # SKIP ${1//#/}: $2"
    diag "skipped: $1: $2"
}

# ok NAME COMMAND...: passes if the command succeeds; its output is shown
# if not.
ok ()
{
    local name=$1 out=$tmp/.ok.$BASHPID
    shift
    if "$@" > "$out" 2>&1 < /dev/null; then
        pass "$name"
    else
        fail "$name" "failed: $*" "$(< "$out")"
    fi
}

# not_ok NAME COMMAND...: passes if the command fails in an orderly way:
# with a status that is neither 0 nor that of a signal.
not_ok ()
{
    local name=$1 out=$tmp/.ok.$BASHPID rc
    shift
    "$@" > "$out" 2>&1 < /dev/null; rc=$?
    if [ $rc -gt 0 ] && [ $rc -lt 125 ]; then
        pass "$name"
    else
        fail "$name" "should have failed, status $rc: $*" "$(< "$out")"
    fi
}

# is NAME GOT WANTED
is ()
{
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1" "got:    $2" "wanted: $3"
    fi
}

# matches TEXT REGEX: the extended regular expression occurs in a line of
# TEXT.  Status 2 if it is none.
matches ()
{
    local line status
    while IFS= read -r line; do
        [[ $line =~ $2 ]]; status=$?
        [ $status -eq 1 ] || return $status
    done <<< "$1"
    return 1
}

# like NAME TEXT REGEX: the extended regular expression occurs in TEXT.
like ()
{
    if matches "$2" "$3"; then
        pass "$1"
    else
        fail "$1" "got:    $2" "no match for: $3"
    fi
}

# unlike NAME TEXT REGEX
unlike ()
{
    matches "$2" "$3"
    if [ $? -eq 1 ]; then
        pass "$1"
    else
        fail "$1" "got:    $2" "has a match for: $3"
    fi
}

# same_bytes NAME FILE1 FILE2: equal in length and content.
same_bytes ()
{
    if py "$gen/file-bytes.py" same "$2" "$3" 2> "$tmp/.same"; then
        pass "$1"
    else
        fail "$1" "$(< "$tmp/.same")" "$(cmp -- "$2" "$3" 2>&1)" "$(stat -c '%n: %s bytes' -- "$2" "$3" 2>&1)" \
             "$(cmp -l -- "$2" "$3" 2>/dev/null | head -5)"
    fi
}

# same_text NAME FILE1 FILE2: like same_bytes, but shows a diff.
same_text ()
{
    local one two
    if mapfile -d '' one < "$2" && mapfile -d '' two < "$3" &&
            [ "${one[*]@Q}" = "${two[*]@Q}" ]; then
        pass "$1"
    else
        fail "$1" "$(diff -u -- "$2" "$3" 2>&1)"
    fi
}

# start_daemon PLUGIN-PARAMETER...: a server that goes to the background, one
# at a time.  Sets $uri and $pid.  The status is that of nbdkit.
start_daemon ()
{
    local status
    uri="nbd+unix:///?socket=$tmp/d.sock"
    rm -f "$tmp/d.sock" "$tmp/d.pid"
    nbdkit -U "$tmp/d.sock" -P "$tmp/d.pid" "$plugin" "$@" < /dev/null
    status=$?
    for _ in {1..600}; do
        [ ! -s "$tmp/d.pid" ] || break
        nap 0.02
    done
    read -r pid < "$tmp/d.pid"
    return $status
}

# end_daemon: end it.
end_daemon ()
{
    kill "$pid"
    for _ in {1..1500}; do
        kill -0 "$pid" 2>/dev/null || return 0
        nap 0.02
    done
    kill -9 "$pid"
    fail "the server in the background ends"
}

# _judge STATUS: with which a server has ended.  (gcc's sanitizer for undefined
# behaviour, next to that for addresses, can't write to a file, and valgrind
# does not say there that a program has aborted.)
_judge ()
{
    [ "$1" -eq 0 ] || echo "a server ended with status $1" >> "$findings/status"
}

# _nothing_found: no sanitizer has, and neither has valgrind.
_nothing_found ()
{
    local file found=
    for file in "$findings"/*; do
        # (Sanitizers also say there what they can't do.)
        [ ! -s "$file" ] || [[ $file = */sanitizer.* &&
                    $(< "$file") != *@(ERROR|SUMMARY|CHECK|FATAL|runtime error|nested bug)* ]] ||
            found+=$(< "$file")$'\n'
    done
    [ -n "$found" ] || return 0
    diag "$found"
    return 1
}

done_testing ()
{
    local i
    for i in "${!_servers[@]}"; do
        _stop "$i" || fail "server ${i} ended well"
    done
    _servers=()
    _nothing_found || fail "no server died, or had a finding of a sanitizer or valgrind"
    echo "1..$_count"
    _finished=yes
    exit 0
}

# start_qcow [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Start a server.  Sets $uri, $sock, $pid and $log (its stderr) and
# returns once it accepts connections; fails if it ends before.
start_qcow ()
{
    local n=${#_servers[@]} opts=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        opts+=("$1"); shift
    done
    [ $# -eq 0 ] || shift
    sock=$tmp/sock$n
    log=$tmp/log$n
    uri="nbd+unix:///?socket=$sock"
    _choose_nbdkit
    : > "$tmp/pid$n"
    # (In a subshell it may have been there before.)
    [ ! -e "$sock" ] || rm -f "$sock"
    "$nbdkit" -f -U "$sock" -P "$tmp/pid$n" "${opts[@]}" "$plugin" "$@" \
              "${params[@]}" < /dev/null > "$log" 2>&1 &
    _servers[n]=$!
    _pids[n]=$!
    if _await_server $! "$tmp/pid$n"; then
        _pids[n]=$pid
        return 0
    fi
    diag "the server did not start: $*" "$(< "$log")"
    return 1
}

# Set $nbdkit: as wrapped/nbdkit does it, or at once.
_choose_nbdkit ()
{
    nbdkit=$_nbdkit
    [ -z "${QCOW_VALGRIND:-}${QCOW_PRELOAD:-}" ] || nbdkit=$tmp/wrapped/nbdkit
}

# _await_server CHILD PIDFILE: until it accepts connections.  Sets $pid.
# Fails if it has ended, or does neither for half a minute ($start_timeout).
_await_server ()
{
    local deadline=$((SECONDS + start_timeout)) delay=0.02
    pid=$1
    while [ $SECONDS -lt $deadline ]; do
        if [ -s "$2" ]; then
            read -r pid < "$2"
            return 0
        fi
        kill -0 "$1" 2>/dev/null || return 1
        nap $delay
        delay=0.005
    done
    kill -9 "$1"
    return 1
}

# stop_qcow: stop the server that was started last, wait for it.
# Fails if it did not end in an orderly way.
stop_qcow ()
{
    local n=$((${#_servers[@]} - 1))
    _stop "$n"
}

_stop ()
{
    local n=$1 p=${_servers[$1]:-} rc bad=0 said
    [ -n "$p" ] || return 0
    _servers[n]=
    kill "${_pids[n]}" 2>/dev/null
    _arm "${_pids[n]}" "$end_timeout"
    _arm "$p" "$end_timeout"
    wait "$p" 2>/dev/null; rc=$?
    _arm "${_pids[n]}" 0
    _arm "$p" 0
    IFS= read -r -d '' said < "$tmp/log$n"
    if [ $rc -eq 134 ] && [[ $said = *"$nbdkits_assertion"* ]]; then
        rc=0
        said=${said//"$nbdkits_assertion"/}
    fi
    [ $rc -eq 0 ] || { diag "server $n ended with status $rc"; bad=1; }
    _judge $rc
    ! _sanitized "$said" || bad=1
    [ $bad -eq 0 ] || diag "$(tail -50 "$tmp/log$n")"
    return $bad
}

# nbdkit before 1.34 may fail this when a client leaves while replies to it
# are under way.
nbdkits_assertion='raw_send_socket: Assertion'

# _sanitized TEXT: it has a sanitizer's finding, or a failed assertion.
_sanitized ()
{
    [[ $1 = *Sanitizer* || $1 = *'runtime error:'* ||
           $1 =~ 'Assertion '.*' failed' ]]
}

# with_qcow COMMAND [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Run COMMAND (in this shell; it uses $uri or $unixsocket) against a server
# that lives as long as it.  The status is that of the command, or of nbdkit
# if it did not start.  Writes to stdout and stderr.
with_qcow ()
{
    local command=$1 opts=() nbdkit pidfile child pid rc ended
    local encoded socket
    local -x uri unixsocket
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        opts+=("$1"); shift
    done
    [ $# -eq 0 ] || shift
    _choose_nbdkit
    case " ${opts[*]} " in
        *' --tls'* | *' -U '* | *' -p '* | *' -u '*)
            # That makes another URI, or somebody who can't write there.
            new_socket
            timeout -k 5 "${QCOW_TIMEOUT:-120}" \
                    nbdkit -f -U "$socket" "${opts[@]}" "$plugin" "$@" "${params[@]}" \
                    --run "unset LD_PRELOAD; $command" < /dev/null
            return
            ;;
    esac
    # Also jobs in the background come here.  Nobody removes sockets.
    unixsocket=$tmp/run.$BASHPID.${EPOCHREALTIME/./}
    pidfile=$unixsocket.pid
    uri="nbd+unix:///?socket=$unixsocket"
    if [[ " ${opts[*]}" =~ ' -e '(.*) ]]; then
        encoded "${BASH_REMATCH[1]}"
        uri="nbd+unix:///$encoded?socket=$unixsocket"
    fi
    : > "$pidfile"
    "$nbdkit" -f --exit-with-parent -U "$unixsocket" -P "$pidfile" \
              "${opts[@]}" "$plugin" "$@" "${params[@]}" < /dev/null &
    child=$!
    if ! _await_server $child "$pidfile"; then
        wait $child; ended=$?
        [ $ended -eq 1 ] || _judge $ended
        return $ended
    fi
    _arm "$pid" "${QCOW_TIMEOUT:-120}"
    if [ "$command" = true ]; then
        rc=0
    elif [ "$BASH_SUBSHELL" -gt 0 ]; then
        eval "$command" < /dev/null; rc=$?
    else
        (eval "$command") < /dev/null; rc=$?
    fi
    kill "$pid" 2>/dev/null
    _arm "$pid" "$end_timeout"
    wait $child; ended=$?
    _arm "$pid" 0
    # (That may have been nbdkit's assertion: nobody has read what it said.)
    [ $ended -eq 134 ] || _judge $ended
    [ $rc -ne 0 ] || rc=$ended
    return $rc
}

# encoded NAME: set $encoded, the name of an export as a URI has it.
encoded ()
{
    local i byte
    encoded=$1
    [[ $1 = *[!a-zA-Z0-9:._-]* ]] || return 0
    encoded=
    for ((i = 0; i < ${#1}; i++)); do
        printf -v byte %d "'${1:i:1}"
        printf -v encoded '%s%%%02x' "$encoded" $((byte & 255))
    done
}

# to NAME: the URI of that export of the server that was started last.
to ()
{
    local encoded
    encoded "$1"
    echo "nbd+unix:///$encoded?socket=$sock"
}

# refused NAME REGEX [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# The server must not start, must say a text that matches, and must not
# die of it.
refused ()
{
    local name=$1 re=$2 out rc
    shift 2
    with_qcow true "$@" > "$tmp/.refused" 2>&1; rc=$?
    IFS= read -r -d '' out < "$tmp/.refused"
    if [ $rc -ne 1 ]; then
        fail "$name" "status $rc instead of 1" "$out"
    elif ! matches "$out" "$re"; then
        fail "$name" "got: $out" "no match for: $re"
    elif _sanitized "$out"; then
        fail "$name" "$out"
    else
        pass "$name"
    fi
}

# qemu_map IMAGE: the map of what a server that is started in
# brackets serves, as nbdinfo prints it.
qemu_map ()
{
    py "$gen/nbd-map.py" --qemu "$1" - -f "$format" "$1"
}

# writer_start QEMU-IO-ARGUMENT...: a qemu-io that has a file open, for
# writing unless it is told -r, until writer_stop.
writer_start ()
{
    local i
    rm -f "$tmp/.writer"
    mkfifo "$tmp/.writer"
    : > "$tmp/.writer.log"
    qemu-io "$@" < "$tmp/.writer" > "$tmp/.writer.log" 2>&1 &
    _writer=$!
    exec {_writer_in}> "$tmp/.writer"
    echo 'read 0 512' >&"$_writer_in"
    for ((i = 0; i < 2400; i++)); do
        ! grep -q 'read 512/512' "$tmp/.writer.log" || return 0
        kill -0 $_writer 2>/dev/null || break
        nap 0.005
    done
    diag "the writer did not start" "$(< "$tmp/.writer.log")"
    return 1
}

# Returns the writer's status, when it has closed the file.
writer_stop ()
{
    echo quit >&"$_writer_in"
    exec {_writer_in}>&-
    wait $_writer
}

# poke FILE OFFSET HEX...: overwrite bytes in a file.
poke ()
{
    local file=$1 offset=$2
    shift 2
    py "$gen/file-bytes.py" poke "$file" $((offset)) "$@"
}

# peek FILE OFFSET SIZE: a big-endian number in a file, in decimal.
peek ()
{
    echo $((0x$(py "$gen/file-bytes.py" peek "$1" $(($2)) "$3")))
}

# _listens SOCKET: somebody does.  (It has a name a moment before that.)
_listens ()
{
    [ -S "$1" ] && [[ $(< /proc/net/unix) =~ \
        " 00010000 0001 01 "\ *[0-9]+" $1"($'\n'|$) ]]
}

# with_qemu COMMAND IMAGE: like with_qcow, against qemu-nbd.
with_qemu ()
{
    local pid rc uri deadline=$((SECONDS + 30))
    [ ! -e "$tmp/qemu.sock" ] || rm -f "$tmp/qemu.sock"
    qemu-nbd -r -t -e 8 -f "$format" -k "$tmp/qemu.sock" "$2" < /dev/null &
    pid=$!
    until _listens "$tmp/qemu.sock"; do
        kill -0 $pid 2>/dev/null && [ $SECONDS -lt $deadline ] || return 1
        nap 0.005
    done
    _arm $pid "${QCOW_TIMEOUT:-120}"
    uri="nbd+unix:///?socket=$tmp/qemu.sock"
    (eval "$1") < /dev/null; rc=$?
    kill $pid
    wait $pid
    _arm $pid 0
    return $rc
}

# text_source SIZE FILE...: data that compresses and differs everywhere.
text_source ()
{
    py "$gen/text-source.py" "$@"
}

# io IMAGE COMMAND...: run qemu-io commands, all in one process, on an
# image of $format.  A command that fails ends the test: the image is not what
# the test means.  (Without -d unmap qemu-io ignores discards.)
io ()
{
    local image=$1 args=() c out=$tmp/.io.$BASHPID
    shift
    for c; do
        args+=(-c "$c")
    done
    qemu-io -d unmap -f "$format" "${args[@]}" "$image" \
            > "$out" 2>&1 < /dev/null || {
        diag "qemu-io $image: $*" "$(< "$out")"
        exit 1
    }
}

# io_script IMAGE < COMMANDS: the same from a list, one command a line.
# (Not behind a pipe: there it could not end the test.)
io_script ()
{
    local image=$1 list
    mapfile -t list
    io "$image" "${list[@]}"
}

# random_image IMAGE SEED SIZE CLUSTER COUNT [CREATE-OPTION]: an image with
# a history of COUNT random commands (random-writes.py).  Makes the files
# src0 .. src3 if they are not there.
random_image ()
{
    local image=$1 seed=$2 size=$3 cluster=$4 count=$5 create=${6:-}
    local c list commands=() open="open -d unmap -o driver=qcow2 $image"
    [ -e src3 ] || text_source $((16 << 20)) src0 src1 src2 src3
    rm -f "$image"
    qemu-img create -q -f qcow2 -o cluster_size="$cluster${create:+,$create}" \
             "$image" "$size" || exit 1
    py "$gen/random-writes.py" "$seed" "$size" "$cluster" "$count" \
       > "$tmp/.random"
    mapfile -t list < "$tmp/.random"
    # A session of its own: the image is closed and opened.
    for c in "${list[@]}"; do
        if [ -n "$c" ]; then
            commands+=("$c")
        else
            commands+=(close "$open")
        fi
    done
    io "$image" "${commands[@]}"
    qemu-img check -q -f qcow2 "$image" || [ $? -eq 3 ] || {
        diag "seed $seed: qemu has made a broken image"
        exit 1
    }
}

# oracle IMAGE RAW: what qemu says that the image holds.
oracle ()
{
    qemu-img convert -f "$format" -O raw "$1" "$2" > "$tmp/.oracle" 2>&1 || {
        diag "$(< "$tmp/.oracle")"
        exit 1
    }
}

# serves NAME IMAGE RAW [NBD-COMPARE-OPTION...]
# A server of the image gives exactly the bytes of RAW: as nbdcopy reads it,
# and in awkward requests.
serves ()
{
    local name=$1 image=$2 raw=$3 out=$tmp/.serves
    shift 3
    # shellcheck disable=SC2016
    if with_qcow 'py "$gen/nbd-compare.py" --copy "$uri" "$raw" '"$*" \
                 -- "$image" > "$out" 2>&1 && ! _sanitized "$(< "$out")"; then
        pass "$name"
    else
        fail "$name" "$(< "$out")" \
             "$(qemu-img info -U -f "$format" "$image" 2>&1)"
    fi
}

# status_of IMAGE RAW STEP: which steps can be read, as nbd-status.py
# says, in one line: "FIRST COUNT OUTCOME; ...".  The server's own
# messages go to the file status.log.
status_of ()
{
    local runs out=$tmp/.status
    with_qcow "py \"\$gen/nbd-status.py\" \"\$uri\" '$2' $3" -- "$1" \
              2> status.log > "$out"
    mapfile -t runs < "$out"
    printf -v out '; %s' "${runs[@]}"
    echo "${out:2}"
}

# our_map IMAGE: the map that we report.
our_map ()
{
    # shellcheck disable=SC2016
    with_qcow 'py "$gen/nbd-map.py" "$uri"' -- "$1"
}

# dense IMAGE: leave no hole in the file, so that every reader calls its
# clusters data.
dense ()
{
    py "$gen/file-bytes.py" dense "$1" || { diag "$1 has holes"; exit 1; }
}

# make_sort IMAGE SORT SIZE [BACKING FORMAT [OPTION...]]: an image of the SORT
# v1, v2, v3 or ext (with extended L2).
make_sort ()
{
    local image=$1 sort=$2 size=$3 backing=${4:-} format=${5:-} f=qcow2
    local options=()
    shift $(($# < 5 ? $# : 5))
    case $sort in
        v1) f=qcow ;;
        v2) options=(-o compat=0.10) ;;
        ext) options=(-o extended_l2=on) ;;
    esac
    rm -f "$image"
    # (-u: the backing file is not looked at.)
    qemu-img create -q -f $f "${options[@]}" "$@" \
             ${backing:+-u -b "$backing" -F "$format"} \
             "$image" "$size" || exit 1
}

# _replay IMAGE < HISTORY
_replay ()
{
    local image=$1 list=() line
    while read -r line; do
        case $line in
            snapshot*|resize*)
                [ ${#list[@]} -eq 0 ] || io "$image" "${list[@]}"
                list=() ;;
        esac
        case $line in
            snapshot*) qemu-img snapshot -c "${line#* }" "$image" ;;
            resize*) qemu-img resize -q --shrink "$image" "${line#* }" ;;
            *) list+=("$line") ;;
        esac || exit 1
    done
    [ ${#list[@]} -eq 0 ] || io "$image" "${list[@]}"
}

# make_history IMAGE SEED SIZE CLUSTER STAGES RESIZE CREATE-OPTIONS [BACKING]:
# an image with the history of writes, snapshots and resizes that the test's
# history.py prints.  Sets $seed to the one that was used.  (Where qemu itself
# stumbles, another history will do.)
make_history ()
{
    local image=$1 size=$3 cluster=$4 stages=$5 resize=$6 create=$7
    local backing=${8:-}
    seed=$2
    for _ in 1 2 3; do
        rm -f "$image"
        qemu-img create -q -f qcow2 -o "cluster_size=$cluster,$create" \
                 ${backing:+-b "$backing" -F "${backing##*.}"} \
                 "$image" "$size" || exit 1
        if (trap - EXIT
            _replay "$image" < <(py history.py "$seed" "$size" \
                                    "$cluster" "$stages" "$resize") &&
            { qemu-img check -q -f qcow2 "$image" || [ $? -eq 3 ]; }
           ) > qemu.log 2>&1
        then
            # No holes in the file, so that qemu's map is ours.
            dense "$image"
            return
        fi
        seed=$((seed + 1000))
    done
    diag "seed $seed: qemu has made a broken image" "$(cat qemu.log)"
    exit 1
}

# format_of IMAGE: the name of qemu's driver for it.
format_of ()
{
    if [ "$(peek "$1" 4 4)" = 1 ]; then echo qcow; else echo qcow2; fi
}

# compare NAME IMAGE [NBD-COMPARE-OPTION...]: bytes and map are qemu's.
# (The files of the other layers must be dense.)
compare ()
{
    local image=$2 opened=(-f auto "$2")
    dense "$image"
    _compare "$@"
}

# _compare NAME IMAGE [NBD-COMPARE-OPTION...]: what qemu-nbd says, with the
# options $opened, goes to oracle.raw and wanted.map.  Ours is one server,
# which is asked for its map first.
_compare ()
{
    local name=$1 image=$2 out=$tmp/.compare bad=0
    shift 2
    if ! py "$gen/nbd-map.py" --qemu "$image" wanted.map --raw oracle.raw \
            "${opened[@]}" 2> "$out" || [ ! -s wanted.map ]; then
        fail "$name: qemu's map" "$(< "$out")"
        return 1
    fi
    : > got.map
    # shellcheck disable=SC2016
    if with_qcow 'py "$gen/nbd-compare.py" --map got.map --copy "$uri" \
                     oracle.raw '"$*" -- "$image" > "$out" 2>&1 && ! _sanitized "$(< "$out")"; then
        pass "$name"
    else
        fail "$name" "$(< "$out")" "$(qemu-img info -U "$image" 2>&1)"
        bad=1
    fi
    same_text "$name: the map" got.map wanted.map || bad=1
    return $bad
}

# same_map NAME IMAGE: just the map.
same_map ()
{
    qemu_map "$2" > wanted.map 2> log || fail "$1: qemu's map" "$(< log)"
    our_map "$2" > got.map 2> log || fail "$1: our map" "$(< log)"
    [ -s wanted.map ] || fail "$1: qemu's map is empty"
    same_text "$1: the map" got.map wanted.map
}

# --- Encrypted images ---
#
# The array secrets has the passphrases of the layers, the top first; "none"
# is that of one that is not encrypted.

secrets=()

# quick_luks COMMAND...: a qemu-img command that makes key slots.
quick_luks ()
{
    [ -e "$tmp/luks-clock.so" ] ||
        ${CC:-gcc} -shared -fPIC -o "$tmp/luks-clock.so" \
                   "$top/tests/luks-clock.c" || exit 1
    LD_PRELOAD=$tmp/luks-clock.so "$@"
}

# secret_object ID SECRET: for --object
secret_object ()
{
    printf 'secret,id=%s,data=%s' "$1" "${2//,/,,}"
}

# _make_luks COMMAND SECRET ARGUMENT...: qemu-img COMMAND.
_make_luks ()
{
    local command=$1 secret=$2 format_option=-O out
    shift 2
    [ "$command" = convert ] || format_option=-f
    out=$(quick_luks qemu-img "$command" -q $format_option qcow2 \
              --object "$(secret_object s "$secret")" \
              -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
              "$@" 2>&1) || {
        diag "qemu-img $command $*" "$out"
        exit 1
    }
}

# create_luks IMAGE SIZE SECRET [QEMU-IMG-OPTION...]
create_luks ()
{
    local image=$1 size=$2 secret=$3
    shift 3
    rm -f "$image"
    _make_luks create "$secret" "$@" "$image" "$size"
}

# luks_of RAW IMAGE SECRET [QEMU-IMG-OPTION...]: with the content of RAW.
luks_of ()
{
    local raw=$1 image=$2 secret=$3
    shift 3
    rm -f "$image"
    _make_luks convert "$secret" -f raw "$@" "$raw" "$image"
}

# create_aes IMAGE SORT SIZE SECRET [QEMU-IMG-OPTION...]: of the SORT v1, v2
# or v3, with the encryption that was there before LUKS.
create_aes ()
{
    local image=$1 sort=$2 size=$3 secret=$4 f=qcow2
    local options=(-o encrypt.format=aes,encrypt.key-secret=s)
    shift 4
    case $sort in
        v1) f=qcow; options=(-o encryption=on,encrypt.key-secret=s) ;;
        v2) options+=(-o compat=0.10) ;;
    esac
    rm -f "$image"
    qemu-img create -q -f $f --object "$(secret_object s "$secret")" \
             "${options[@]}" "$@" "$image" "$size" || exit 1
}

# Set the array opened: what qemu's programs need to open IMAGE.
_open_encrypted ()
{
    local spec prefix='' i
    opened=()
    spec="driver=$(format_of "$1"),file.filename=$1"
    for i in "${!secrets[@]}"; do
        if [ "${secrets[i]}" != none ]; then
            opened+=(--object "$(secret_object "s$i" "${secrets[i]}")")
            spec+=",${prefix}encrypt.key-secret=s$i"
        fi
        prefix+=backing.
    done
    opened+=(--image-opts)
    spec_opened=$spec
}

# encrypted_io IMAGE COMMAND...: like io.
encrypted_io ()
{
    local image=$1 args=() c out opened spec_opened
    shift
    for c; do
        args+=(-c "$c")
    done
    _open_encrypted "$image"
    out=$(qemu-io -d unmap "${opened[@]}" "$spec_opened" "${args[@]}" \
                  2>&1 < /dev/null) || {
        diag "qemu-io $image: $*" "$out"
        exit 1
    }
}

# encrypted_oracle IMAGE RAW [QEMU-IMG-OPTION...]: like oracle.
encrypted_oracle ()
{
    local image=$1 raw=$2 out opened spec_opened
    shift 2
    _open_encrypted "$image"
    out=$(qemu-img convert "$@" "${opened[@]}" -O raw "$spec_opened" "$raw" \
                   2>&1) || {
        diag "$out"
        exit 1
    }
}

# encrypted_compare NAME IMAGE [NBD-COMPARE-OPTION...]: like compare, with the
# passphrases in params.
encrypted_compare ()
{
    local name=$1 image=$2 opened spec_opened
    shift 2
    dense "$image"
    _open_encrypted "$image"
    opened+=("$spec_opened")
    _compare "$name" "$image" --borders 30 --random 50 "$@"
}
