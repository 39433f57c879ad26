#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# dir=: each image of a directory is an export.

source "$(dirname "$0")/functions.sh"

# messages [BYTE]: print the messages of the server that was started last, from
# this byte of its log on.
messages ()
{
    tail -c +"${1:-1}" "$log" | grep -a -o 'error: .*'
}

# client EXPORT COMMAND...: run a command with the export's URI in place of {}.
client ()
{
    local u args=() a
    u=$(to "$1")
    shift
    for a; do
        args+=("${a//'{}'/$u}")
    done
    "${args[@]}"
}

# reads NAME EXPORT RAW
reads ()
{
    ok "$1" client "$2" "$python" "$gen/nbd-compare.py" '{}' "$3" --random 20
}

# closed NAME EXPORT REGEX: a client is refused with this message.
closed ()
{
    local before
    before=$(stat -c %s "$log")
    not_ok "$1: refused" client "$2" nbdinfo --size '{}'
    like "$1: why" "$(messages $((before + 1)))" "$3"
}

# open_files: print how many files of the directory the server has open.
open_files ()
{
    find "/proc/$pid/fd" -lname "$tmp/d/*" | wc -l
}

# all_closed: wait until the server has closed all images.
all_closed ()
{
    local i
    for ((i = 0; i < 100; i++)); do
        [ "$(open_files)" -gt 0 ] || return 0
        nap 0.1
    done
    return 1
}

# list [--names]: print the exports; see nbd-list.py.
list ()
{
    py "$gen/nbd-list.py" "$@" "$(to '')"
}

mkdir d d/sub
text_source $((2 << 20)) one.raw two.raw
qemu-img convert -f raw -O qcow2 one.raw d/one.qcow2
qemu-img convert -c -f raw -O qcow2 -o cluster_size=2M two.raw d/two
qemu-img convert -f raw -O qcow one.raw d/v1
qemu-img convert -f raw -O qcow2 one.raw d/snap.qcow2
qemu-img snapshot -c mon d/snap.qcow2
qemu-img snapshot -c a/b d/snap.qcow2
qemu-img bitmap --add d/snap.qcow2 daily
io d/snap.qcow2 'write -q -P 7 64k 64k'
oracle d/snap.qcow2 snap.raw
cp one.raw d/raw
: > d/empty
head -c 60 d/one.qcow2 > d/short
cp d/one.qcow2 d/.hidden
cp d/one.qcow2 d/sub/inside
cp d/one.qcow2 outside
ln -s sub/inside d/link-inside
ln -s ../outside d/link-outside
ln -s "$PWD/d/one.qcow2" d/link-absolute
ln -s nothing d/link-broken
mkfifo d/fifo
special=$'sp ace,%=+:\xc3\xa4'
cp d/two "d/$special"
cp d/one.qcow2 $'d/\001'
cp d/one.qcow2 $'d/\377'
gzip -c d/one.qcow2 > d/file.gz
cp d/one.qcow2 d/bad
poke d/bad 4 00000009           # an unknown version
cp d/one.qcow2 d/bad-l1
poke d/bad-l1 40 7fffffff00000000

# --- Exports ---

for threads in '' 1; do
    name="-t ${threads:-default}"
    start_qcow ${threads:+-t $threads} -- dir=d
    is "$name: nothing is open before there are clients" "$(open_files)" 0
    reads "$name: a file" one.qcow2 one.raw
    reads "$name: another, with large clusters" two two.raw
    reads "$name: version 1" v1 one.raw
    reads "$name: special characters" "$special" two.raw
    reads "$name: a link inside" link-inside one.raw
    reads "$name: a file with snapshots" snap.qcow2 snap.raw
    reads "$name: FILE/SNAPSHOT" snap.qcow2/mon one.raw
    reads "$name: a snapshot with a slash in its name" snap.qcow2/a/b one.raw
    reads "$name: FILE/bitmap:NAME" snap.qcow2/bitmap:daily snap.raw
    reads "$name: FILE/OLD..NEW" snap.qcow2/mon..a/b one.raw
    reads "$name: FILE/OLD.." snap.qcow2/mon.. snap.raw
    is "$name: the delta" \
       "$(client snap.qcow2/mon.. nbdinfo --map '{}' | awk '{ print $1, $2, $3 }')" \
       $'0 65536 1\n65536 65536 0\n131072 1966080 1'
    is "$name: the list is sorted, and has only QCOW images with usable names" \
       "$(list --names)" \
       "$(printf 'export="%s": ' bad bad-l1 link-inside one.qcow2 short \
                 snap.qcow2 "$special" two v1 | sed 's/ $//')"
    ok "$name: closed after a few seconds" all_closed
    like "$name: a warning of the names that can't be listed" "$(messages)" \
         'warning: list of exports: 2 images are omitted'

    closed "$name: no name" '' "export '': .* exports are FILE or FILE/NAME"
    closed "$name: no such file" nothing 'nothing: there is no such file'
    closed "$name: a hidden file" .hidden 'FILE does not begin with a dot'
    closed "$name: .." ../outside 'does not begin with a dot'
    closed "$name: /" /one.qcow2 'exports are FILE or FILE/NAME'
    closed "$name: a slash and nothing" one.qcow2/ 'exports are FILE or FILE'
    closed "$name: a directory" sub/inside 'sub: is a directory'
    closed "$name: no such snapshot" one.qcow2/x \
           "one.qcow2: there is no export 'x'"
    closed "$name: a link outside" link-outside \
           'link-outside: is a symbolic link that leads out of the directory'
    closed "$name: an absolute link" link-absolute 'leads out of the directory'
    closed "$name: a broken link" link-broken 'no such file'
    closed "$name: a fifo" fifo 'fifo: is a special file'
    closed "$name: a compressed file" file.gz \
           'file.gz: .*compressed with gzip \(unpack it first\)'
    closed "$name: a raw file" raw 'raw: not a QCOW image.*file plugin'
    closed "$name: an empty file" empty 'empty: the file is empty'
    closed "$name: a short file" short 'short: the file is 60 bytes'
    closed "$name: a broken image" bad 'bad: .*version'
    closed "$name: a broken table" bad-l1 'bad-l1: .*L1 table'
    closed "$name: a long name" "$(printf 'x%.0s' {1..300})" 'File name too long'
    ok "$name: nothing stays open" all_closed
    stop_qcow
done

# --- Sharing ---

# The broken ones don't disturb the others.
start_qcow -- dir=d
# shellcheck disable=SC2054
exports=(one.qcow2=one.raw two=two.raw v1=one.raw snap.qcow2=snap.raw
         snap.qcow2/mon=one.raw snap.qcow2/mon..=snap.raw "$special=two.raw")
ok "20 clients at once, of several images" \
   "$python" "$gen/nbd-directory.py" "$sock" --threads 20 --rounds 10 \
   --seed "${QCOW_SEED:-1}" --broken bad --broken bad-l1 --broken raw \
   --broken nothing --broken link-outside "${exports[@]}"
ok "all are closed" all_closed
stop_qcow
start_qcow -- dir=d cache-size=0
ok "with a tiny cache" \
   "$python" "$gen/nbd-directory.py" "$sock" --threads 8 --rounds 10 \
   --seed "${QCOW_SEED:-2}" "${exports[@]}"
stop_qcow

start_qcow -v -- dir=d
ok "20 clients of one image come at the same moment" \
   "$python" "$gen/nbd-directory.py" "$sock" --threads 20 --one --rounds 0 \
   two=two.raw
is "they open it once" "$(grep -c 'debug: .*layer 0: image' "$log")" 1
stop_qcow

luks_of one.raw d/luks tiger
luks_of two.raw d/luks2 lion
start_qcow -v -- dir=d passphrase=lion passphrase=tiger
ok "so do clients of an encrypted image, after a fork" \
   "$python" "$gen/nbd-directory.py" "$sock" --threads 20 --one --rounds 0 \
   luks=one.raw
is "which is unlocked once" "$(grep -c 'opens key slot' "$log")" 1
reads "another passphrase" luks2 two.raw
reads "an image that is not encrypted" one.qcow2 one.raw
stop_qcow
start_qcow -- dir=d
closed "no passphrase" luks 'luks: the image is encrypted \(LUKS\): it needs'
stop_qcow
start_qcow -- dir=d passphrase=cat
closed "a wrong passphrase" luks 'luks: .*the passphrase opens none'
reads "the others are served" one.qcow2 one.raw
stop_qcow
rm d/luks d/luks2

# --- Locks ---

start_qcow -- dir=d
ok "a client, and a writer while it is connected" "$python" - <<END
import subprocess, nbd
h = nbd.NBD()
h.set_export_name("one.qcow2")
h.connect_unix("$sock")
write = ["qemu-io", "-f", "qcow2", "-c", "read 0 512", "d/one.qcow2"]
assert subprocess.run(write, capture_output=True).returncode != 0
h.shutdown()
END
ok "the lock ends" all_closed
ok "a writer afterwards" qemu-io -f qcow2 -c 'read 0 512' d/one.qcow2
writer_start -f qcow2 d/one.qcow2
closed "while a writer has the image" one.qcow2 \
       'one.qcow2: the image is open for writing'
reads "others are served" two two.raw
writer_stop
reads "the writer is gone" one.qcow2 one.raw
stop_qcow

# --- Files that change ---

cat > replace.py <<END
import os, shutil, sys, nbd
socket, how = sys.argv[1:]
old, new = open("one.raw", "rb").read(), open("two.raw", "rb").read()
def connect():
    h = nbd.NBD()
    h.set_export_name("x")
    h.connect_unix(socket)
    return h
def read(h):
    return b"".join(h.pread(65536, i << 16) for i in range(32))
shutil.copy("d/one.qcow2", "d/x")
a = connect()
assert a.pread(65536, 0) == old[:65536]
if how == "idle":
    a.shutdown()
shutil.copy("d/two", "d/.x")
os.rename("d/.x", "d/x")
b, c = connect(), connect()
assert read(b) == new
if how != "idle":
    assert read(a) == old
    a.shutdown()
assert read(c) == new
b.shutdown()
c.shutdown()
os.unlink("d/x")
try:
    connect()
    sys.exit("a file that was removed")
except nbd.Error:
    pass
END
start_qcow -- dir=d
ok "a file is replaced while a client reads it" "$python" replace.py "$sock" busy
ok "a file is replaced when its client has left" "$python" replace.py "$sock" idle
cp d/one.qcow2 d/grows
reads "a file" grows one.raw
ok "its lock ends" all_closed
qemu-img resize -q d/grows 3M
is "its new size, after it was resized in place" \
   "$(client grows nbdinfo --size '{}')" 3145728
rm d/grows
ok "all are closed" all_closed
stop_qcow

# --- Many images ---

mkdir many
dd if=one.raw of=small.raw bs=64K count=2 status=none
qemu-img convert -c -f raw -O qcow2 small.raw many/0
py -c 'import shutil
for n in range(1, 1000):
    shutil.copy("many/0", f"many/{n}")'
cat > many.py <<END
import os, sys, nbd
socket, pid, check = sys.argv[1:]
raw = open("small.raw", "rb").read()
def rss():
    with open(f"/proc/{pid}/status") as f:
        return [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]
for n in range(1000):
    h = nbd.NBD()
    h.set_export_name(str(n))
    h.connect_unix(socket)
    assert h.pread(len(raw), 0) == raw, n
    h.shutdown()
    if n == 300:
        before = rss()
fds = len(os.listdir(f"/proc/{pid}/fd"))
print(f"# {before} KiB after 300 images, {rss()} after 1000; {fds} descriptors")
assert fds < 40, fds
assert check == "no" or rss() - before < 6 * 1024
END
check=yes
[ -z "${QCOW_VALGRIND:-}${QCOW_PRELOAD:-}" ] || check=no
start_qcow -- dir=many cache-size=4M
ok "1,000 images one after the other: no memory, no descriptors are left" \
   "$python" many.py "$sock" "$pid" $check
is "the list of 1,000" "$(list | wc -l)" 1000
stop_qcow

# --- Other files ---

mkdir d2 d2/lower "$tmp/elsewhere"
cp one.raw d2/lower/base.raw
cp one.raw elsewhere/far.raw
qemu-img create -q -f qcow2 -b lower/base.raw -F raw d2/overlay
qemu-img create -q -f qcow2 -b "$tmp/elsewhere/far.raw" -F raw d2/far
cp d/one.qcow2 d2/lower/q
qemu-img create -q -f qcow2 -u -b lower/q -F qcow2 d2/no-format 2M
poke d2/no-format 112 7f7f7f7f          # instead of "backing file format"
qemu-img create -q -f qcow2 -u -b http://localhost:1/x -F raw d2/web 2M
qemu-img create -q -f qcow2 -u -b "$tmp/elsewhere/gone" -F raw d2/gone 2M
qemu-img create -q -f qcow2 -u -b "nbd:unix:$tmp/elsewhere/s" -F raw d2/nbd 2M

start_qcow -- dir=d2
closed "a backing file, and nothing is allowed" overlay \
       "overlay: the image names the backing file 'base.raw', which .*\\(if you trust it, add allow=image-dir\\)"
closed "one elsewhere" far "'far.raw', which is not opened.* add allow=DIR\\)"
closed "a URL" web "names the backing file 'x', but .* can't reach URLs"
closed "an unknown protocol" nbd "far|nbd: the backing file 's'"
unlike "messages to clients have no path" "$(cat "$tmp"/log*)" "error: .*$tmp"
stop_qcow

# A daemon changes its directory.
start_daemon dir=d2 allow=image-dir allow=./elsewhere backing-format=qcow
sock=$tmp/d.sock
reads "allow=DIR, in a daemon" far one.raw
reads "backing-format= is for images that record none" no-format one.raw
reads "and not for others" overlay one.raw
end_daemon

start_qcow -- dir=d2 allow=any
reads "allow=any" far one.raw
closed "a URL, with allow=any" web "can't reach URLs"
closed "a backing file that is missing" gone "gone: can't open the backing file 'gone'"
closed "a format that is not recorded" no-format 'starts like a QCOW image'
unlike "messages to clients have no path" "$(cat "$log")" "error: .*$tmp"
stop_qcow
start_qcow -- dir=d2 allow=image-dir
closed "outside image-dir" far 'no allowed place contains it'
stop_qcow

# --- The directory ---

refused "no such directory" '^nbdkit: error: nothing: there is no such directory' \
        -- dir=nothing
refused "a file" 'd/raw: is not a directory' -- dir=d/raw
refused "no value" 'dir= needs a value' -- dir=
ok "a link to a directory" eval 'ln -s d link && with_qcow true -- dir=link'
start_qcow -- dir=/
is "/" "$(list)" ""
closed "a directory of /" etc/passwd 'etc: is a directory'
stop_qcow

mkdir gone
cp d/one.qcow2 gone
start_qcow -- dir=gone
reads "a directory" one.qcow2 one.raw
rm -r gone
closed "it has vanished" one.qcow2 'no such file'
not_ok "so has the list" list
like "why" "$(messages)" '^error: dir=: the directory was removed'
ok "the server is still there" kill -0 "$pid"
stop_qcow

if [ "$(id -u)" = 0 ]; then
    chmod 755 "$tmp"
    mkdir private
    chmod 711 private
    new_socket
    is "a directory that can't be read: the server does not start" \
       "$(setpriv --reuid=65534 --regid=65534 --clear-groups \
              nbdkit -U "$socket" "$plugin" dir=private --run : 2> log; echo $?)" 1
    like "why" "$(< log)" "private: can't read the directory: Permission denied"
    cp d/one.qcow2 private/
    cp d/one.qcow2 d/secret
    chmod 600 d/secret
    ok "nbdkit -u: a file that the user may read" \
       with_qcow 'nbdinfo --size "nbd+unix:///one.qcow2?socket=$unixsocket"' \
       -u nobody -- dir=d
    not_ok "and one that it may not" \
       with_qcow 'nbdinfo --size "nbd+unix:///secret?socket=$unixsocket"' \
       -u nobody -- dir=d
    chmod 700 private
    not_ok "a directory that it may not read" \
       with_qcow 'nbdinfo --size "nbd+unix:///one.qcow2?socket=$unixsocket"' \
       -u nobody -- dir=private
    rm d/secret
else
    skip "other users" "needs root"
fi

# --- Parameters ---

for p in file=d/one.qcow2 url=http://localhost/x fd=3 snapshot=mon since=mon \
         bitmap=daily backing=one.raw data-file=one.raw user=me \
         access-key=key connections=4; do
    refused "$p" "error: ${p%%=*}= and dir= can't be combined: " -- dir=d "$p"
done
refused "allow=URL" "allow=http://localhost/: .* can't reach URLs" \
        -- dir=d allow=http://localhost/
refused "allow=DIR that is missing" 'there is no such directory' \
        -- dir=d allow=nothing
refused "a wrong backing-format=" 'must be raw or qcow' \
        -- dir=d backing-format=vmdk
refused "twice" 'already given' -- dir=d dir=d
ok "luks-iterations= and force-share=" \
   with_qcow true -- dir=d luks-iterations=10 force-share=true

done_testing
