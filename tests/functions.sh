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
# Invariants: nothing is written outside $tmp; no TCP ports but such as the
# kernel chooses (tests run beside each other); every nbdkit that start_qcow
# started is stopped at exit, and a test in which one of them died by a
# signal or reported a sanitizer's finding fails, whatever else it saw.
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

tmp=$(mktemp -d "${TMPDIR:-/tmp}/qcow-test.XXXXXX") || exit 1
cd "$tmp" || exit 1

# Whoever starts nbdkit, also a client by socket activation, gets it with
# what the environment asks for at that time.  It is the same process in
# the end.
mkdir wrapped
cat > wrapped/nbdkit <<END
#!/bin/sh
set -- \$QCOW_VALGRIND '$(command -v nbdkit)' "\$@"
[ -z "\$QCOW_PRELOAD" ] || set -- env LD_PRELOAD="\$QCOW_PRELOAD" "\$@"
exec "\$@"
END
chmod +x wrapped/nbdkit
PATH=$tmp/wrapped:$PATH

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
    if [ "$_finished" = no ]; then
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

# _end PID: end a process of ours that is not to be judged.
_end ()
{
    local i
    kill "$1" 2>/dev/null
    for i in $(seq 100); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.02
    done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
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

# ok NAME COMMAND...: passes if the command succeeds; its output is shown
# if not.
ok ()
{
    local name=$1 out
    shift
    if out=$("$@" 2>&1 < /dev/null); then
        pass "$name"
    else
        fail "$name" "failed: $*" "$out"
    fi
}

# not_ok NAME COMMAND...: passes if the command fails in an orderly way:
# with a status that is neither 0 nor that of a signal.
not_ok ()
{
    local name=$1 out rc
    shift
    out=$("$@" 2>&1 < /dev/null); rc=$?
    if [ $rc -gt 0 ] && [ $rc -lt 126 ]; then
        pass "$name"
    else
        fail "$name" "should have failed, status $rc: $*" "$out"
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

# like NAME TEXT REGEX: the extended regular expression occurs in TEXT.
like ()
{
    if grep -Eq -- "$3" <<< "$2"; then
        pass "$1"
    else
        fail "$1" "got:    $2" "no match for: $3"
    fi
}

# unlike NAME TEXT REGEX
unlike ()
{
    if grep -Eq -- "$3" <<< "$2"; then
        fail "$1" "got:    $2" "has a match for: $3"
    else
        pass "$1"
    fi
}

# same_bytes NAME FILE1 FILE2: equal in length and content.
same_bytes ()
{
    local out
    if out=$(cmp -- "$2" "$3" 2>&1); then
        pass "$1"
    else
        fail "$1" "$out" "$(stat -c '%n: %s bytes' -- "$2" "$3" 2>&1)" \
             "$(cmp -l -- "$2" "$3" 2>/dev/null | head -5)"
    fi
}

# same_text NAME FILE1 FILE2: like same_bytes, but shows a diff.
same_text ()
{
    local out
    if out=$(diff -u -- "$2" "$3" 2>&1); then
        pass "$1"
    else
        fail "$1" "$out"
    fi
}

done_testing ()
{
    local i
    for i in "${!_servers[@]}"; do
        _stop "$i" || fail "server ${i} ended well"
    done
    _servers=()
    echo "1..$_count"
    _finished=yes
    exit 0
}

# start_qcow [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Start a server.  Sets $uri, $sock, $pid and $log (its stderr) and
# returns once it accepts connections; fails if it ends before.
start_qcow ()
{
    local n=${#_servers[@]} opts=() i
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        opts+=("$1"); shift
    done
    [ $# -eq 0 ] || shift
    sock=$tmp/sock$n
    log=$tmp/log$n
    uri="nbd+unix:///?socket=$sock"
    rm -f "$tmp/pid$n" "$sock"
    nbdkit -f -U "$sock" -P "$tmp/pid$n" "${opts[@]}" "$plugin" "$@" \
           "${params[@]}" \
           < /dev/null > "$log" 2>&1 &
    pid=$!
    _servers[n]=$pid
    _pids[n]=$pid
    for i in $(seq 600); do
        if [ -s "$tmp/pid$n" ]; then
            pid=$(cat "$tmp/pid$n")
            _pids[n]=$pid
            return 0
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    diag "the server did not start: $*" "$(cat "$log")"
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
    local n=$1 p=${_servers[$1]:-} rc i bad=0
    [ -n "$p" ] || return 0
    _servers[n]=
    kill "${_pids[n]}" 2>/dev/null
    for i in $(seq 200); do
        kill -0 "$p" 2>/dev/null || break
        sleep 0.05
    done
    if kill -9 "${_pids[n]}" "$p" 2>/dev/null; then
        diag "server $n had to be killed"
        bad=1
    fi
    wait "$p" 2>/dev/null; rc=$?
    [ $rc -eq 0 ] || { diag "server $n ended with status $rc"; bad=1; }
    if grep -Eq '(Address|Thread|Leak|UndefinedBehavior)Sanitizer|runtime error:|Assertion .* failed' "$tmp/log$n"; then
        bad=1
    fi
    [ $bad -eq 0 ] || diag "$(tail -50 "$tmp/log$n")"
    return $bad
}

# with_qcow COMMAND [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# Run COMMAND (a shell command that uses $uri) against a server that
# lives as long as it.  The status is that of the command, or of nbdkit
# if it did not start.  Writes to stdout and stderr.
with_qcow ()
{
    local cmd=$1 opts=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        opts+=("$1"); shift
    done
    [ $# -eq 0 ] || shift
    # Clients run without sanitizers.
    timeout -k 5 "${QCOW_TIMEOUT:-120}" \
            nbdkit -f -U - "${opts[@]}" "$plugin" "$@" "${params[@]}" \
            --run "unset LD_PRELOAD; $cmd" < /dev/null
}

# refused NAME REGEX [NBDKIT-OPTION...] -- [PLUGIN-PARAMETER...]
# The server must not start, must say a text that matches, and must not
# die of it.
refused ()
{
    local name=$1 re=$2 out rc
    shift 2
    out=$(with_qcow 'true' "$@" 2>&1); rc=$?
    if [ $rc -ne 1 ]; then
        fail "$name" "status $rc instead of 1" "$out"
    elif ! grep -Eq -- "$re" <<< "$out"; then
        fail "$name" "got: $out" "no match for: $re"
    elif grep -Eq 'Sanitizer|runtime error:' <<< "$out"; then
        fail "$name" "$out"
    else
        pass "$name"
    fi
}

# qemu_map IMAGE: the map of what a server that is started in
# brackets serves, as nbdinfo prints it.
qemu_map ()
{
    nbdinfo --map -- [ qemu-nbd -r -f "$format" "$1" ]
}

# poke FILE OFFSET HEX...: overwrite bytes in a file.
poke ()
{
    local file=$1 offset=$2
    shift 2
    printf '%s' "$*" | tr -d ' ' | xxd -r -p |
        dd of="$file" bs=1 seek=$((offset)) conv=notrunc status=none
}

# peek FILE OFFSET SIZE: a big-endian number in a file, in decimal.
peek ()
{
    echo $((0x$(dd if="$1" bs=1 skip=$(($2)) count="$3" status=none |
                    od -An -v -tx1 | tr -d ' \n')))
}

# with_qemu COMMAND IMAGE: like with_qcow, against qemu-nbd.
with_qemu ()
{
    local pid rc i uri
    rm -f "$tmp/qemu.sock"
    qemu-nbd -r -t -e 8 -f "$format" -k "$tmp/qemu.sock" "$2" < /dev/null &
    pid=$!
    for i in $(seq 600); do
        [ ! -S "$tmp/qemu.sock" ] || break
        kill -0 $pid 2>/dev/null || return 1
        sleep 0.02
    done
    uri="nbd+unix:///?socket=$tmp/qemu.sock" \
        timeout -k 5 "${QCOW_TIMEOUT:-120}" sh -c "$1" < /dev/null; rc=$?
    kill $pid
    wait $pid
    return $rc
}

# text_source SIZE FILE...: data that compresses and differs everywhere.
text_source ()
{
    "$python" "$gen/text-source.py" "$@"
}

# io IMAGE COMMAND...: run qemu-io commands, all in one process, on an
# image of $format.  A command that fails ends the test: the image is not what
# the test means.  (Without -d unmap qemu-io ignores discards.)
io ()
{
    local image=$1 args=() c out
    shift
    for c; do
        args+=(-c "$c")
    done
    out=$(qemu-io -d unmap -f "$format" "${args[@]}" "$image" 2>&1 < /dev/null) || {
        diag "qemu-io $image: $*" "$out"
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
    local c list session=()
    [ -e src3 ] || text_source $((16 << 20)) src0 src1 src2 src3
    rm -f "$image"
    qemu-img create -q -f qcow2 -o cluster_size="$cluster${create:+,$create}" \
             "$image" "$size" || exit 1
    mapfile -t list < <("$python" "$gen/random-writes.py" \
                            "$seed" "$size" "$cluster" "$count")
    for c in "${list[@]}" ''; do
        if [ -n "$c" ]; then
            session+=("$c")
        elif [ ${#session[@]} -gt 0 ]; then
            io "$image" "${session[@]}"
            session=()
        fi
    done
    qemu-img check -q -f qcow2 "$image" || [ $? -eq 3 ] || {
        diag "seed $seed: qemu has made a broken image"
        exit 1
    }
}

# oracle IMAGE RAW: what qemu says that the image holds.
oracle ()
{
    local out
    out=$(qemu-img convert -f "$format" -O raw "$1" "$2" 2>&1) || {
        diag "$out"
        exit 1
    }
}

# serves NAME IMAGE RAW [NBD-COMPARE-OPTION...]
# A server of the image gives exactly the bytes of RAW: to nbdcopy, and
# in awkward requests.
serves ()
{
    local name=$1 image=$2 raw=$3 out cmd
    shift 3
    cmd="nbdcopy \"\$uri\" served.raw && cmp '$raw' served.raw &&"
    cmd+=" $python $gen/nbd-compare.py \"\$uri\" '$raw' $*"
    rm -f served.raw
    if out=$(with_qcow "$cmd" -- "$image" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out" "$(qemu-img info -U -f "$format" "$image" 2>&1)"
    fi
}

# status_of IMAGE RAW STEP: which steps can be read, as nbd-status.py
# says, in one line: "FIRST COUNT OUTCOME; ...".  The server's own
# messages go to the file status.log.
status_of ()
{
    with_qcow "$python $gen/nbd-status.py \"\$uri\" '$2' $3" -- "$1" \
              2> status.log | paste -s -d ';' | sed 's/;/; /g'
}

# our_map IMAGE: the map that we report.
our_map ()
{
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -- "$1"
}

# dense IMAGE: leave no hole in the file, so that every reader calls its
# clusters data.
dense ()
{
    cp --sparse=never "$1" "$1.dense" && mv "$1.dense" "$1" || exit 1
    "$python" - "$1" <<'END' || { diag "$1 has holes"; exit 1; }
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
sys.exit(size > 0 and os.lseek(fd, 0, os.SEEK_HOLE) != size)
END
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

# format_of IMAGE: the name of qemu's driver for it.
format_of ()
{
    if [ "$(peek "$1" 4 4)" = 1 ]; then echo qcow; else echo qcow2; fi
}

# compare NAME IMAGE [NBD-COMPARE-OPTION...]: bytes and map are qemu's.
# (The files of the other layers must be dense.)
compare ()
{
    local name=$1 image=$2 format
    shift 2
    format=$(format_of "$image")
    dense "$image"
    oracle "$image" oracle.raw
    serves "$name" "$image" oracle.raw "$@"
    same_map "$name" "$image"
}

same_map ()
{
    qemu_map "$2" > wanted.map 2> log || fail "$1: qemu's map" "$(cat log)"
    our_map "$2" > got.map 2> log || fail "$1: our map" "$(cat log)"
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
    encrypted_oracle "$image" oracle.raw
    serves "$name" "$image" oracle.raw --borders 30 --random 50 "$@"
    _open_encrypted "$image"
    nbdinfo --map -- [ qemu-nbd -r "${opened[@]}" "$spec_opened" ] \
            > wanted.map 2> log || fail "$name: qemu's map" "$(cat log)"
    our_map "$image" > got.map 2> log || fail "$name: our map" "$(cat log)"
    same_text "$name: the map" got.map wanted.map
}
