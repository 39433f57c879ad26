#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fd=: the image is a file descriptor that nbdkit inherits.

source "$(dirname "$0")/functions.sh"

text_source $((1 << 20)) base.raw
qemu-img convert -f raw -O qcow2 base.raw disk.qcow2
exec {fd}< disk.qcow2

# shellcheck disable=SC2016 # the server's URI
compare_all='py "$gen/nbd-compare.py" --copy "$uri" base.raw'

ok "it is served" with_qcow "$compare_all" -- fd=$fd
ok "again: the descriptor of the shell is still open, and still at the start" \
   cmp disk.qcow2 /proc/self/fd/$fd

start_daemon fd=$fd
ok "in a daemon, after a fork" eval "$compare_all"
is "nbdkit has the file open once, and not as the inherited descriptor" \
   "$(find /proc/"$pid"/fd -lname "$tmp/disk.qcow2" -printf '%f\n' |
      grep -c -v -x $fd)" 1
end_daemon

# --- Locks ---

start_qcow -- fd=$fd
not_ok "no writer may open the image while it is served" \
       qemu-io -f qcow2 -c 'read 0 512' disk.qcow2
stop_qcow
ok "afterwards one may, though the shell has the descriptor" \
   qemu-io -f qcow2 -c 'read 0 512' disk.qcow2
writer_start -f qcow2 disk.qcow2
refused "an image that a writer has open" \
        "^nbdkit: error: fd=$fd: the image is open for writing" -- fd=$fd
ok "force-share=" with_qcow "$compare_all" -- fd=$fd force-share=true
writer_stop

# --- Files without a name, or that the server may not open ---

cp disk.qcow2 deleted.qcow2
exec {gone}< deleted.qcow2
rm deleted.qcow2
ok "a deleted file" with_qcow "$compare_all" -- fd=$gone
exec {gone}<&-

exec {both}<> disk.qcow2
ok "a descriptor for reading and writing" with_qcow "$compare_all" -- fd=$both
exec {both}<&-

if [ "$(id -u)" = 0 ]; then
    cp disk.qcow2 private.qcow2
    chmod 600 private.qcow2
    chmod 755 "$tmp"
    exec {private}< private.qcow2
    new_socket
    ok "a file that the user of the server may not open by its name" \
       setpriv --reuid=65534 --regid=65534 --clear-groups \
       nbdkit -U "$socket" "$plugin" fd=$private \
       --run "unset LD_PRELOAD; qemu-img compare -f raw -F raw \"\$uri\" '$tmp/base.raw'"
    ok "nbdkit -u, which changes the user after the image is open" \
       with_qcow 'nbdinfo --size "$uri"' -u nobody -- fd=$private
    exec {private}<&-
else
    skip "another user" "needs root"
fi

# --- Other files ---

mkdir dir
qemu-img create -q -f qcow2 -b base.raw -F raw relative.qcow2
qemu-img create -q -f qcow2 -b "$PWD/base.raw" -F raw absolute.qcow2
exec {relative}< relative.qcow2 {absolute}< absolute.qcow2
refused "a relative name, and nothing is allowed" \
        "^nbdkit: error: fd=$relative: the image names the backing file 'base.raw', but was passed as a file descriptor.*allow=DIR" \
        -- fd=$relative
refused "an absolute name, and nothing is allowed" \
        "fd=$absolute: the image names the backing file '$PWD/base.raw', which is not opened.*allow=$PWD" \
        -- fd=$absolute
refused "allow=image-dir" \
        "the image is a file descriptor, so its directory is not known" \
        -- fd=$relative allow=image-dir
refused "allow=any does not make a directory known" "allow=DIR" \
        -- fd=$relative allow=any
ok "an absolute name below allow=DIR" \
   with_qcow "$compare_all" -- fd=$absolute allow="$PWD"
ok "a relative name below allow=DIR" \
   with_qcow "$compare_all" -- fd=$relative allow="$PWD"
ok "the first allow=DIR" \
   with_qcow "$compare_all" -- fd=$relative allow=http://localhost/ allow=. allow=dir
refused "the first allow=DIR does not have it" "can't open the backing file" \
        -- fd=$relative allow=dir allow=.
ok "backing=" with_qcow "$compare_all" -- fd=$relative backing=base.raw

qemu-img convert -f raw -O qcow2 -o data_file=data.raw,data_file_raw=on \
         base.raw data.qcow2
exec {data}< data.qcow2
refused "a data file, and nothing is allowed" \
        "names the data file 'data.raw', but was passed" -- fd=$data
ok "a data file below allow=DIR" with_qcow "$compare_all" -- fd=$data allow=.
ok "data-file=" with_qcow "$compare_all" -- fd=$data data-file=data.raw

cd dir || exit 1
cp ../base.raw 'fd=9.raw'
qemu-img create -q -f qcow2 -b 'fd=9.raw' -F raw 'fd=9'
ok "a file that is called fd=9 has a directory" \
   with_qcow 'py "$gen/nbd-compare.py" --copy "$uri" ../base.raw' \
   -- file='fd=9' allow=image-dir
cd ..

# --- What is no image ---

exec {empty}< /dev/null
refused "a character device" "^nbdkit: error: fd=$empty: is a character device" \
        -- fd=$empty
exec {directory}< .
refused "a directory" "fd=$directory: is a directory" -- fd=$directory
exec {pipe}< <(cat disk.qcow2)
refused "a pipe" "fd=$pipe: is a FIFO" -- fd=$pipe
exec {writing}>> disk.qcow2
refused "a descriptor for writing" "fd=$writing: .* open only for writing" \
        -- fd=$writing
exec {writing}>&-
refused "a closed descriptor" \
        "^nbdkit: error: fd=$writing: the file descriptor is not open: Bad file" \
        -- fd=$writing
exec {raw}< base.raw
refused "a raw file" "fd=$raw: .*nbdkit's file plugin" -- fd=$raw
socket_and_path='import os, socket, sys
kind, plugin, path = sys.argv[1:]
a, b = socket.socketpair()
fd = a.fileno() if kind == "socket" else os.open("disk.qcow2", os.O_PATH)
os.set_inheritable(fd, True)
os.execvp("nbdkit", ["nbdkit", "-f", "-U", path, plugin, f"fd={fd}", "--run", ":"])'
for kind in socket path; do
    new_socket
    is "$kind: the server does not start" \
       "$("$python" -c "$socket_and_path" $kind "$plugin" "$socket" 2> log; echo $?)" 1
    case $kind in
        socket) like "a socket" "$(< log)" 'is a socket' ;;
        path) like "O_PATH" "$(< log)" 'was opened with O_PATH' ;;
    esac
done

# --- The parameter ---

refused "0" 'fd=0: must be greater than 2' -- fd=0
refused "2" 'fd=2: must be greater than 2' -- fd=2
refused "-1" 'fd=-1: must be greater than 2' -- fd=-1
refused "no number" 'fd' -- fd=three
refused "no value" 'fd' -- fd=
refused "twice" 'already given' -- fd=$fd fd=$fd
refused "with file=" 'file= and fd= are mutually exclusive' -- fd=$fd disk.qcow2
refused "with url=" 'url= and fd= are mutually exclusive' \
        -- fd=$fd url=http://localhost/x
refused "a parameter for web servers" 'user= has no effect' -- fd=$fd user=me

done_testing
