# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced by every tests/*.t: TAP output, a temporary directory, and
# servers that are stopped and checked however the test ends.
#
# A test sources this file, makes its images in the current directory (a
# new temporary one), calls checks such as ok, is, like, same_bytes, serves
# and refused, and ends with done_testing.  A failed check prints the
# difference.
#
# Starting processes is most of a test's run time.  So one process runs all
# Python programs of a test (py), functions avoid subshells, and no helper
# process starts or stops a server.
#
# Invariants: nothing is written outside $tmp; the kernel chooses all TCP
# ports, because tests run in parallel; every nbdkit that start_qcow started
# is stopped at exit; a test fails if a sanitizer or valgrind reported
# anything, or if a server that start_qcow or with_qcow started crashed.
#
# Environment:
#   QCOW_PLUGIN    the plugin to test (default: the one in the top directory)
#   QCOW_PRELOAD   libraries for LD_PRELOAD, in nbdkit only: sanitizers
#   QCOW_VALGRIND  a valgrind command line to run nbdkit under
#   QCOW_TIMEOUT   seconds before a client and its server are killed
#                  (default 120)
#   QCOW_SEED      a number: selects other random images than the default

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
plugin=${QCOW_PLUGIN:-$top/nbdkit-qcow-plugin.so}
gen=$top/tests/generators
export plugin gen
export PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
# Debian's Python modules are installed for this one, not for others in PATH.
export python=/usr/bin/python3
# No __pycache__ in the source tree.
export PYTHONDONTWRITEBYTECODE=1

[ -e "$plugin" ] || {
    echo "Bail out! There is no $plugin: run 'make' first."
    exit 1
}

tmp=$(mktemp -d "${TMPDIR:-/tmp}/qcow-test.XXXXXX") || exit 1
cd "$tmp" || exit 1

# Sockets for "nbdkit -U", writable by every user.  ("-U -" would leave a
# directory in /tmp behind if the plugin fails to start.)
mkdir -m 1777 sockets
# new_socket: set $socket.
new_socket ()
{
    socket=$tmp/sockets/$BASHPID.${EPOCHREALTIME/./}
}

# A wrapper in PATH, so that clients which start nbdkit themselves (socket
# activation) also run it under valgrind or a sanitizer.  It execs nbdkit, so
# the process ID stays the same.  (Without either, the functions below start
# $_nbdkit directly.)
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

# Sanitizers and valgrind report to files, because a test may discard a
# server's output and status.  (Servers may run as another user.)
findings=$tmp/findings
mkdir -m 1777 "$findings"
[ -z "${QCOW_VALGRIND:-}" ] || QCOW_VALGRIND+=" --log-file=$findings/%p"
for _tool in ASAN UBSAN TSAN; do
    _tool+=_OPTIONS
    # (nbdkit itself exits with 1 if the plugin refuses to start.)
    export $_tool="${!_tool:+${!_tool}:}exitcode=99:log_path=$findings/sanitizer"
done

# Seconds that a server may take to start, and to exit.
start_timeout=$((${QCOW_TIMEOUT:-120} / 4 + 1))
end_timeout=$((${QCOW_TIMEOUT:-120} / 12))

# A test may set these for all later servers and qemu programs: extra plugin
# parameters, and the image format for qemu.
params=()
format=qcow2

_count=0
_failed=0
_servers=()                     # children to wait for
_pids=()                        # the nbdkit processes: differ under strace
_helpers=()                     # other servers, ended by a signal
_finished=no

_cleanup ()
{
    local rc=$?
    trap - EXIT
    trap '' PIPE                # the reader of stdout may be gone
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

# nap SECONDS: sleep without starting a process.
exec {_never}<> <(:)
nap ()
{
    read -r -t "$1" -u "$_never"
}

# One process kills servers that exceed their time: a line "PID SECONDS" sets
# the time, "PID 0" removes it.  This bounds the whole test, because clients
# exit when their server does.
_watch ()
{
    local -A due=()
    local pid seconds status args text line=
    exec < /dev/null > /dev/null 2>&1
    while :; do
        # (A timeout may return a part of a line.)
        IFS= read -r -t 1 -u "$1" text; status=$?
        line+=$text
        [ $status -eq 0 ] || [ $status -gt 128 ] || break
        if [ $status -gt 128 ]; then
            for pid in "${!due[@]}"; do
                [ $SECONDS -ge "${due[$pid]}" ] || continue
                unset "due[$pid]"
                # Another process may have got the ID by now.
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

# _arm PID SECONDS: set or remove a time; see _watch.
_arm ()
{
    printf '%s %s\n' "$1" "$2" >&"$_armed"
}

# _end PID: end a helper process; its exit status does not matter.
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

# The process that runs the Python programs of this test.
coproc _py { exec "$python" "$gen/run-scripts.py" "$tmp/.py"; }
# (Subshells can't use the coprocess's own descriptors.)
exec {_py_in}>&"${_py[1]}" {_py_out}<&"${_py[0]}"
# shellcheck disable=SC2154 # coproc sets it
_python=$_py_PID
disown "$_python"

# py FILE ARGUMENT... | py -c TEXT ARGUMENT... | py - ARGUMENT... < TEXT
# Like "$python", but uses the running process.  Programs don't see changes of
# the environment, have no stdin unless the first option is --stdin, and run
# one at a time: background jobs must use "$python".
py ()
{
    local text stdin='' tag=$BASHPID.$EPOCHREALTIME response=() status
    if [ "$1" = --stdin ]; then
        IFS= read -r -d '' stdin
        shift
    fi
    if [ "$1" = - ]; then
        IFS= read -r -d '' text
        set -- -c "$text" "${@:2}"
    fi
    printf '%s\0' "$tag" "$PWD" "$stdin" $# "$@" >&"$_py_in"
    while [ "${response[0]:-}" != "$tag" ]; do
        read -r -t "${QCOW_TIMEOUT:-120}" -u "$_py_out" -a response || {
            status=$?
            kill -9 "$_python" 2>/dev/null
            echo "the Python process has failed (status $status): $*" >&2
            return 125
        }
    done
    _show "${response[2]}" "$tmp/.py.stdout"
    _show "${response[3]}" "$tmp/.py.stderr" >&2
    return "${response[1]}"
}

# _show none|text|binary FILE: print the file.  Text needs no process.
_show ()
{
    local text
    case $1 in
        text) IFS= read -r -d '' text < "$2"; printf '%s' "$text" ;;
        binary) cat "$2" ;;
    esac
}

# diag TEXT...: print a TAP comment; every line gets a "# ".
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

# skip NAME REASON: a check that can't run here.
skip ()
{
    _count=$((_count + 1))
    echo "ok $_count # SKIP ${1//#/}: $2"
    diag "skipped: $1: $2"
}

# ok NAME COMMAND...: passes if the command succeeds, else prints its output.
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

# not_ok NAME COMMAND...: passes if the command fails without being killed:
# with a status that is neither 0 nor a signal's.
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

# is NAME GOT WANTED: passes if both are equal.
is ()
{
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1" "got:    $2" "wanted: $3"
    fi
}

# matches TEXT REGEX: succeeds if a line of TEXT matches the extended regular
# expression.  Status 2 if REGEX is invalid.
matches ()
{
    local line status
    while IFS= read -r line; do
        [[ $line =~ $2 ]]; status=$?
        [ $status -eq 1 ] || return $status
    done <<< "$1"
    return 1
}

# like NAME TEXT REGEX: passes if a line of TEXT matches.
like ()
{
    if matches "$2" "$3"; then
        pass "$1"
    else
        fail "$1" "got:    $2" "no match for: $3"
    fi
}

# unlike NAME TEXT REGEX: passes if no line of TEXT matches.
unlike ()
{
    matches "$2" "$3"
    if [ $? -eq 1 ]; then
        pass "$1"
    else
        fail "$1" "got:    $2" "has a match for: $3"
    fi
}

# same_bytes NAME FILE1 FILE2: passes if length and content are equal.
same_bytes ()
{
    if py "$gen/file-bytes.py" same "$2" "$3" 2> "$tmp/.same"; then
        pass "$1"
    else
        fail "$1" "$(< "$tmp/.same")" "$(cmp -- "$2" "$3" 2>&1)" "$(stat -c '%n: %s bytes' -- "$2" "$3" 2>&1)" \
             "$(cmp -l -- "$2" "$3" 2>/dev/null | head -5)"
    fi
}

# same_text NAME FILE1 FILE2: like same_bytes, but prints a diff.
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

# start_daemon PLUGIN-PARAMETER...: start a server that daemonizes, one at a
# time.  Sets $uri and $pid.  Returns nbdkit's exit status.
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

# end_daemon: end the server of start_daemon.
end_daemon ()
{
    kill "$pid"
    for _ in {1..1500}; do
        kill -0 "$pid" 2>/dev/null || return 0
        nap 0.02
    done
    kill -9 "$pid"
    fail "the daemon exits"
}

# _judge STATUS: record a server's exit status as a finding unless it is 0.
# (Files in $findings are not enough: gcc's UBSan can't write one when ASan
# runs too, and valgrind does not report there that a program aborted.)
_judge ()
{
    [ "$1" -eq 0 ] || echo "a server exited with status $1" >> "$findings/status"
}

# _nothing_found: succeeds if sanitizers and valgrind reported nothing.
_nothing_found ()
{
    local file found=
    for file in "$findings"/*; do
        # (Sanitizers also write harmless warnings there.)
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
        _stop "$i" || fail "server $i exits cleanly"
    done
    _servers=()
    _nothing_found || fail "no server crashed, no sanitizer or valgrind report"
    echo "1..$_count"
    _finished=yes
    exit 0
}

# start_qcow [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Start a server and return once it accepts connections.  Sets $uri, $sock,
# $pid and $log (its stderr).  Fails if the server exits first.
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
    # (Subshells count their servers separately and may have used the name.)
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

# Set $nbdkit to the wrapper if valgrind or a sanitizer needs it.
_choose_nbdkit ()
{
    nbdkit=$_nbdkit
    [ -z "${QCOW_VALGRIND:-}${QCOW_PRELOAD:-}" ] || nbdkit=$tmp/wrapped/nbdkit
}

# _await_server CHILD PIDFILE: wait until the server accepts connections, at
# most $start_timeout seconds.  Sets $pid.  Fails if the server exits first.
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

# stop_qcow: stop the server that was started last and wait for it.
# Fails if its exit status is not 0 or a sanitizer reported something.
stop_qcow ()
{
    local n=$((${#_servers[@]} - 1))
    _stop "$n"
}

_stop ()
{
    local n=$1 p=${_servers[$1]:-} rc bad=0 messages
    [ -n "$p" ] || return 0
    _servers[n]=
    kill "${_pids[n]}" 2>/dev/null
    _arm "${_pids[n]}" "$end_timeout"
    _arm "$p" "$end_timeout"
    wait "$p" 2>/dev/null; rc=$?
    _arm "${_pids[n]}" 0
    _arm "$p" 0
    IFS= read -r -d '' messages < "$tmp/log$n"
    if [ $rc -eq 134 ] && [[ $messages = *"$nbdkits_assertion"* ]]; then
        rc=0
        messages=${messages//"$nbdkits_assertion"/}
    fi
    [ $rc -eq 0 ] || { diag "server $n exited with status $rc"; bad=1; }
    _judge $rc
    ! _sanitized "$messages" || bad=1
    [ $bad -eq 0 ] || diag "$(tail -50 "$tmp/log$n")"
    return $bad
}

# nbdkit before 1.34 may abort with this when a client disconnects while
# replies to it are being sent.
nbdkits_assertion='raw_send_socket: Assertion'

# _sanitized TEXT: succeeds if TEXT has a sanitizer's report or a failed
# assertion.
_sanitized ()
{
    [[ $1 = *Sanitizer* || $1 = *'runtime error:'* ||
           $1 =~ 'Assertion '.*' failed' ]]
}

# with_qcow COMMAND [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Run COMMAND in this shell while a server runs; it uses $uri or $unixsocket.
# Returns the command's status, or nbdkit's if that failed.  Output goes to
# stdout and stderr.
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
            # These options change the URI, or run nbdkit as a user who
            # can't write to $tmp.
            new_socket
            timeout -k 5 "${QCOW_TIMEOUT:-120}" \
                    nbdkit -f -U "$socket" "${opts[@]}" "$plugin" "$@" "${params[@]}" \
                    --run "unset LD_PRELOAD; $command" < /dev/null
            return
            ;;
    esac
    # The name is unique because background jobs also call this function, and
    # old sockets are not removed.
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
    # (134 may be $nbdkits_assertion: its text was not captured.)
    [ $ended -eq 134 ] || _judge $ended
    [ $rc -ne 0 ] || rc=$ended
    return $rc
}

# encoded NAME: set $encoded to the export name, percent-encoded for a URI.
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

# to NAME: print the URI of an export of the server that was started last.
to ()
{
    local encoded
    encoded "$1"
    echo "nbd+unix:///$encoded?socket=$sock"
}

# refused NAME REGEX [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Passes if the server fails to start with status 1, prints a matching
# message, and does not crash.
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

# qemu_map IMAGE: print qemu-nbd's map of the image, in nbdinfo's format.
qemu_map ()
{
    py "$gen/nbd-map.py" --qemu "$1" - -f "$format" "$1"
}

# writer_start QEMU-IO-ARGUMENT...: start a qemu-io that keeps a file open,
# for writing unless -r is given, until writer_stop.
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

# writer_stop: let the writer close the file and exit; returns its status.
writer_stop ()
{
    echo quit >&"$_writer_in"
    exec {_writer_in}>&-
    wait $_writer
}

# poke FILE OFFSET HEX...: overwrite bytes of a file.
poke ()
{
    local file=$1 offset=$2
    shift 2
    py "$gen/file-bytes.py" poke "$file" $((offset)) "$@"
}

# peek FILE OFFSET SIZE: print a big-endian number of a file in decimal.
peek ()
{
    echo $((0x$(py "$gen/file-bytes.py" peek "$1" $(($2)) "$3")))
}

# _listens SOCKET: succeeds if a process listens on it.  (The file exists a
# moment earlier.)
_listens ()
{
    [ -S "$1" ] && [[ $(< /proc/net/unix) =~ \
        " 00010000 0001 01 "\ *[0-9]+" $1"($'\n'|$) ]]
}

# with_qemu COMMAND IMAGE: like with_qcow, with qemu-nbd as the server.
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

# text_source SIZE FILE...: write files of data that is compressible and does
# not repeat.
text_source ()
{
    py "$gen/text-source.py" "$@"
}

# io IMAGE COMMAND...: run qemu-io commands in one process, on an image of
# $format.  A failed command ends the test, because the image would be wrong.
# (Without -d unmap qemu-io ignores discards.)
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

# io_script IMAGE < COMMANDS: the same with one command per line of stdin.
# (Don't use it in a pipeline: its exit would only end the subshell.)
io_script ()
{
    local image=$1 list
    mapfile -t list
    io "$image" "${list[@]}"
}

# random_image IMAGE SEED SIZE CLUSTER COUNT [CREATE-OPTION]: make an image by
# COUNT random commands (random-writes.py).  Makes the files src0 to src3 if
# they don't exist.
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
    # An empty line separates sessions: close the image and open it again.
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

# oracle IMAGE RAW: write the image's content as qemu reads it to RAW.
oracle ()
{
    qemu-img convert -f "$format" -O raw "$1" "$2" > "$tmp/.oracle" 2>&1 || {
        diag "$(< "$tmp/.oracle")"
        exit 1
    }
}

# serves NAME IMAGE RAW [NBD-COMPARE-OPTION...]
# Passes if a server of IMAGE returns exactly the bytes of RAW, both to
# sequential reads and to unaligned and random ones.
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

# status_of IMAGE RAW STEP: print which steps can be read, as nbd-status.py
# reports it, in one line: "FIRST COUNT OUTCOME; ...".  The server's messages
# go to the file status.log.
status_of ()
{
    local runs out=$tmp/.status
    with_qcow "py \"\$gen/nbd-status.py\" \"\$uri\" '$2' $3" -- "$1" \
              2> status.log > "$out"
    mapfile -t runs < "$out"
    printf -v out '; %s' "${runs[@]}"
    echo "${out:2}"
}

# our_map IMAGE: print our map, in the same format as qemu_map.
our_map ()
{
    # shellcheck disable=SC2016
    with_qcow 'py "$gen/nbd-map.py" "$uri"' -- "$1"
}

# dense IMAGE: fill the holes of the file, so that qemu and the plugin report
# its allocated clusters as data.
dense ()
{
    py "$gen/file-bytes.py" dense "$1" || { diag "$1 has holes"; exit 1; }
}

# make_sort IMAGE SORT SIZE [BACKING FORMAT [OPTION...]]: make an empty image.
# SORT is v1, v2, v3 or ext (v3 with extended L2 entries).
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
    # (-u: the backing file need not exist.)
    qemu-img create -q -f $f "${options[@]}" "$@" \
             ${backing:+-u -b "$backing" -F "$format"} \
             "$image" "$size" || exit 1
}

# _replay IMAGE < HISTORY: run the output of history.py (see make_history).
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
# make an image by the writes, snapshots and resizes that the test's history.py
# prints.  If qemu fails or makes a broken image, another seed is tried.  Sets
# $seed to the one used.
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
            dense "$image"
            return
        fi
        seed=$((seed + 1000))
    done
    diag "seed $seed: qemu has made a broken image" "$(cat qemu.log)"
    exit 1
}

# format_of IMAGE: print the name of qemu's driver for it.
format_of ()
{
    if [ "$(peek "$1" 4 4)" = 1 ]; then echo qcow; else echo qcow2; fi
}

# compare NAME IMAGE [NBD-COMPARE-OPTION...]: passes if bytes and map equal
# qemu's.  (The files of the other layers must be dense.)
compare ()
{
    local image=$2 opened=(-f auto "$2")
    dense "$image"
    _compare "$@"
}

# _compare NAME IMAGE [NBD-COMPARE-OPTION...]: writes oracle.raw and wanted.map
# from qemu-nbd, run with the options $opened.  One server of ours is compared
# with both, the map first.
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

# same_map NAME IMAGE: like compare, but only the map.
same_map ()
{
    qemu_map "$2" > wanted.map 2> log || fail "$1: qemu's map" "$(< log)"
    our_map "$2" > got.map 2> log || fail "$1: our map" "$(< log)"
    [ -s wanted.map ] || fail "$1: qemu's map is empty"
    same_text "$1: the map" got.map wanted.map
}

# --- Encrypted images ---
#
# The array secrets has one passphrase per layer, the top layer first; "none"
# means that the layer is not encrypted.

secrets=()

# quick_luks COMMAND...: run a qemu-img command that makes LUKS key slots, with
# few PBKDF2 iterations (luks-clock.c).
quick_luks ()
{
    [ -e "$tmp/luks-clock.so" ] ||
        ${CC:-gcc} -shared -fPIC -o "$tmp/luks-clock.so" \
                   "$top/tests/luks-clock.c" || exit 1
    LD_PRELOAD=$tmp/luks-clock.so "$@"
}

# secret_object ID SECRET: print the value for --object
secret_object ()
{
    printf 'secret,id=%s,data=%s' "$1" "${2//,/,,}"
}

# _make_luks COMMAND SECRET ARGUMENT...: run qemu-img create or convert.
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

# create_luks IMAGE SIZE SECRET [QEMU-IMG-OPTION...]: make an empty image.
create_luks ()
{
    local image=$1 size=$2 secret=$3
    shift 3
    rm -f "$image"
    _make_luks create "$secret" "$@" "$image" "$size"
}

# luks_of RAW IMAGE SECRET [QEMU-IMG-OPTION...]: encrypt the content of RAW.
luks_of ()
{
    local raw=$1 image=$2 secret=$3
    shift 3
    rm -f "$image"
    _make_luks convert "$secret" -f raw "$@" "$raw" "$image"
}

# create_aes IMAGE SORT SIZE SECRET [QEMU-IMG-OPTION...]: with the legacy AES
# encryption.  SORT is v1, v2 or v3.
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

# _open_encrypted IMAGE: set $opened and $spec_opened, the options and the
# filename with which qemu's programs open IMAGE.
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

# encrypted_compare NAME IMAGE [NBD-COMPARE-OPTION...]: like compare.  params
# must have the passphrases for the plugin.
encrypted_compare ()
{
    local name=$1 image=$2 opened spec_opened
    shift 2
    dense "$image"
    _open_encrypted "$image"
    opened+=("$spec_opened")
    _compare "$name" "$image" --borders 30 --random 50 "$@"
}
