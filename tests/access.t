#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The access rule: which files the server opens because an image names them.
# By default it opens none.  With allow= it opens those in the allowed
# directories, whatever the name, the links in its path, the type of the file
# or a race try.  A refusal names the parameter that would allow the file, and
# that parameter works.
#
# The test checks the bytes that are served, the messages, and by inotify the
# files that are opened.  The expected bytes come from qemu.

source "$(dirname "$0")/functions.sh"

real=$(realpath "$tmp")

# --- Images that contain any file name --------------------------------

# b.qcow2 has a backing file, d.qcow2 an external data file.  good.bin is in
# allowed directories, secret.bin in others.
declare -A what=([b]="backing file" [d]="data file")
mkdir -p in/sub in2 out/deeper
text_source $((1 << 20)) good.bin secret.bin
qemu-img create -q -f qcow2 -o data_file=data.bin d.qcow2 1M
io d.qcow2 'write -q -s good.bin 0 300k' 'write -q -s good.bin 512k 256k'
qemu-img create -q -f qcow2 -b good.bin -F raw b.qcow2 1M
io b.qcow2 'write -q -P 3 64k 64k'
for f in in/good.bin in/sub/good.bin; do cp good.bin $f; done
for f in in2 out out/deeper; do cp secret.bin $f/secret.bin; done

# name.py IMAGE SORT NAME [FORMAT]: store the name, of any bytes; \0 is a
# NUL.  (qemu-img rejects names that it can't parse.)
cat > name.py <<'END'
import os, struct, sys

path, sort, name = sys.argv[1:4]
name = os.fsencode(name).replace(b"\\0", b"\0")
def extension(kind, data):
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
with open(path, "r+b") as f:
    head = bytearray(f.read(112))
    assert struct.unpack_from(">I", head, 100) == (112,)
    if sort == "d":
        head += extension(0x44415441, name) + bytes(8)
    else:
        if len(sys.argv) > 4:
            head += extension(0xe2792aca, os.fsencode(sys.argv[4]))
        head += bytes(8)
        struct.pack_into(">QI", head, 8, len(head), len(name))
        head += name
    f.seek(0)
    f.write(head.ljust(16384, b"\0"))
END

# image SORT NAME [IMAGE [FORMAT]]: make an image that contains NAME.  SORT is
# b (backing file) or d (data file).  An empty FORMAT is not recorded.
image ()
{
    local format=${4-raw}
    holder=${3:-in/top.qcow2} stored=$2 sort=$1
    rm -f "$holder"
    cp "$1.qcow2" "$holder"
    "$python" -IS name.py "$holder" "$1" "$2" ${format:+"$format"} || exit 1
}

# The functions below serve $served; their messages must name the image made
# last ($holder), which is $served or a layer below it.
served=in/top.qcow2

title ()
{
    printf '%s ' "${what[$sort]}" "${stored@Q}" "${@##"$tmp"/}" |
        cut -c 1-200
}

# gives RAW [PARAMETER...]: passes if the server starts and returns these bytes.
gives ()
{
    local want=$1 name out
    shift
    name="served: $(title "$@")"
    rm -f "$tmp/got.raw"
    if out=$(with_qcow "nbdcopy \"\$uri\" '$tmp/got.raw'" \
                       -- "$served" "$@" 2>&1) &&
            out=$(cmp "$tmp/got.raw" "$tmp/$want" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out"
    fi
}

# denied [TEXT...] -- [PARAMETER...]: passes if the server does not start and
# its message has the image's name, the name stored in the image, and each
# TEXT.  A TEXT allow=... must be the parameter that the message advises.
# Sets $advice to that parameter.
denied ()
{
    local name text texts=() rc
    while [ "$1" != -- ]; do
        texts+=("$1"); shift
    done
    shift
    name="denied: $(title "$@")"
    out=$(with_qcow true -- "$served" "$@" 2>&1); rc=$?
    advice=$(grep -Eo 'allow=[^ ,;]+' <<< "$out" | tail -1 | sed "s/[')\"]*$//")
    if [ $rc -ne 1 ]; then
        fail "$name" "status $rc instead of 1" "$out"
        return
    fi
    for text in "$holder" "$stored" "${texts[@]}"; do
        if [[ $text = allow=* ]]; then
            [ "$advice" = "$text" ]
        else
            [[ $out = *"$text"* ]]
        fi || {
            fail "$name" "got: $out" "missing: $text"
            return
        }
    done
    pass "$name"
}

# sane PARAMETER...: passes if the server starts or refuses, but does not crash
# or hang.
sane ()
{
    local out rc
    out=$(with_qcow true -- "$served" "$@" 2>&1); rc=$?
    if [ $rc -le 1 ]; then
        pass "no crash: $(title "$@")"
    else
        fail "no crash: $(title "$@")" "status $rc" "$out"
    fi
}

# 'watch FILE...' starts to watch whether these files are opened.
# 'opened NAME FILE...' ends that; passes if exactly these were opened.
# (inotify does not report O_PATH.)
cat > watch.py <<'END'
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(os.O_NONBLOCK)
names = {libc.inotify_add_watch(fd, os.fsencode(p), 0x20): p
         for p in sys.argv[1:]}
assert fd >= 0 and min(names) >= 0 and len(names) == len(sys.argv) - 1
print("ready", flush=True)
sys.stdin.readline()
opened = set()
try:
    while True:
        data = os.read(fd, 65536)
        while data:
            wd, _, _, length = struct.unpack_from("iIII", data)
            opened.add(names.get(wd, "?"))
            data = data[16 + length:]
except BlockingIOError:
    pass
print(*sorted(opened))
END
mkfifo watch.go
watch ()
{
    "$python" -IS watch.py "$@" < watch.go > watch.out &
    watcher=$!
    exec 8> watch.go
    until [ -s watch.out ]; do
        kill -0 $watcher || exit 1
        sleep 0.02
    done
}
opened ()
{
    echo >&8
    exec 8>&-
    wait $watcher || fail "watch.py exits cleanly"
    is "$1" "$(sed 1d watch.out)" "${*:2}"
}

# The content of images that open good.bin or secret.bin.
for s in b d; do
    for f in good secret; do
        image $s "$tmp/$f.bin" plain.qcow2
        oracle plain.qcow2 $s.$f
    done
    ! cmp -s $s.good $s.secret || fail "good and secret differ: ${what[$s]}"
done

# --- Without allow= ---------------------------------------------------

# Links into the image's directory and out of it.
ln -s sub/good.bin in/link-in
ln -s sub in/dir-in
ln -s ../out/secret.bin in/link-out
ln -s "$tmp/out" in/sub/dir-out
ln -s ../in out/back

# A name, the parameter that allows it, and the file that it leads to.  The
# fourth column is the parameter advised before the file system is examined,
# if a link makes it differ.
etc=$(dirname "$(realpath /etc/passwd)")
cat > references <<END
good.bin                          image-dir         good
sub/good.bin                      image-dir         good
.//sub/../good.bin                image-dir         good
../in/good.bin                    image-dir         good
$tmp/in/sub/good.bin              image-dir         good
$real/in/good.bin                 image-dir         good
link-in                           image-dir         good
dir-in/good.bin                   image-dir         good
../out/back/sub/good.bin          image-dir         good    $real/out/back/sub
sub/dir-out/back/good.bin         image-dir         good
../out/secret.bin                 $real/out         secret
sub/../../out/deeper/secret.bin   $real/out/deeper  secret
../in2/secret.bin                 $real/in2         secret
$tmp/out/secret.bin               $real/out         secret
link-out                          $real/out         secret  image-dir
sub/dir-out/secret.bin            $real/out         secret  image-dir
/etc/passwd                       $etc              passwd
nowhere                           image-dir         none
../out/nowhere                    $real/out         none
file:good.bin                     image-dir         good
file:$tmp/in/good.bin             image-dir         good
file:../out/secret.bin            $real/out         secret
file:///etc/passwd                $etc              passwd
END
files=(in/good.bin in/sub/good.bin in2/secret.bin out/deeper/secret.bin
       out/secret.bin)
watch "${files[@]}"
for s in b d; do
    while read -r name allow file guess; do
        # (A data file's name has no protocol.)
        [ $s = b ] || [[ $name != file:* ]] || continue
        image $s "$name"
        denied "allow=${guess:-$allow}" --
    done < references
done
opened "without allow= no file is opened"

# No system call uses a name from an image, not even to improve the message:
# under an automounter that would cause a mount.
mkdir trap
if [ -z "${QCOW_VALGRIND:-}${QCOW_PRELOAD:-}" ]; then
    export QCOW_VALGRIND="strace -f -qq -e trace=%file -o $tmp/trace"
    for s in b d; do
        for name in "$tmp/trap/x" ../trap/x /proc/self/cwd/trap/x; do
            for allow in '' http://localhost/; do
                image $s "$name"
                denied -- ${allow:+"allow=$allow"}
                is "... no system call uses the name" "$(grep trap trace)" ""
            done
        done
    done
    image b "$tmp/trap/x"
    denied -- allow=in
    like "(strace sees such system calls)" "$(< trace)" 'trap'
    unset QCOW_VALGRIND
fi

# --- allow=image-dir, and the advised parameter -----------------------

for s in b d; do
    watch "${files[@]:2}"
    while read -r name allow file _; do
        [ $s = b ] || [[ $name != file:* ]] || continue
        image $s "$name"
        case $allow:$file in
            *:none) denied -- allow=image-dir ;;
            image-dir:*) gives $s."$file" allow=image-dir ;;
            *) denied "allow=$allow" -- allow=image-dir ;;
        esac
    done < references
    for name in . .. / sub ./ ../in; do
        image $s "$name"
        denied -- allow=image-dir
    done
    opened "image-dir: no file outside is opened"
    watch "${files[@]}"
    while read -r name allow file _; do
        [ $s = b ] || [[ $name != file:* ]] || continue
        image $s "$name"
        case $file in
            none) denied 'No such file' -- "allow=$allow" ;;
            passwd) sane "allow=$allow" ;;
            *) gives $s."$file" "allow=$allow" ;;
        esac
    done < <(grep -v image-dir references; echo sub/good.bin . good
             echo good.bin image-dir good)
    opened "(inotify sees opened files)" "${files[@]}"
done

# image-dir is the directory part of the name that the user gives.
image b good.bin
ln -s in by-link
mkdir elsewhere
ln -s ../in/top.qcow2 elsewhere/top.qcow2
for served in "$tmp/in/top.qcow2" in//top.qcow2 ./in/../in/top.qcow2 \
              by-link/top.qcow2 /proc/self/cwd/in/top.qcow2; do
    gives b.good allow=image-dir
done
cd in && served=top.qcow2 gives b.good allow=image-dir
cd / && served=${tmp#/}/in/top.qcow2 gives b.good allow=image-dir
cd "$tmp" || exit 1
served=elsewhere/top.qcow2 holder=elsewhere/top.qcow2
denied 'No such file' -- allow=image-dir
cp secret.bin elsewhere/good.bin
gives b.secret allow=image-dir
image b "$tmp/in/good.bin"
holder=elsewhere/top.qcow2
denied "allow=$real/in" -- allow=image-dir
served=in/top.qcow2

# Names and paths of the maximum length, and longer.
long=$(printf './%.0s' {1..507})/good.bin
part=$(printf '%0200d' 0)
deep=$tmp
while [ ${#deep} -lt 2800 ]; do deep+=/$part; done
deeper=$deep/$part/$part/$part/$part
mkdir -p "$deeper"
cp good.bin "$deep/good.bin"
(cd "$deeper" && mkdir -p $part/$part/$part/$part &&
     cd $part/$part/$part/$part && cp "$tmp/good.bin" file) || exit 1
for s in b d; do
    image $s "$long" "$deep/top.qcow2"
    served=$holder denied allow=image-dir --
    served=$holder gives $s.good allow=image-dir
    image $s "$part/$part/$part/$part/file" "$deeper/top.qcow2"
    served=$holder denied 'name too long' -- allow=image-dir
    image $s "$(printf 'a%.0s' {1..256})"
    denied 'name too long' -- allow=image-dir
done
image d "$(printf './%.0s' {1..2000})good.bin"
denied allow=image-dir --
gives d.good allow=image-dir

# image-dir is the top image's directory for the whole chain: a layer in sub/
# may name files beside the top.  If the third layer is outside, the message
# names the second one.
for s in b d; do
    image $s "$tmp/good.bin" mid.qcow2
    image b mid.qcow2 plain.qcow2 qcow2
    oracle plain.qcow2 over-$s.good
    image b sub/mid.qcow2 in/top.qcow2 qcow2
    for name in ../good.bin good.bin "$tmp/in/good.bin" ../link-in; do
        image $s "$name" in/sub/mid.qcow2
        gives over-$s.good allow=image-dir
    done
    for name in ../../out/secret.bin "$tmp/out/secret.bin" ../link-out \
                dir-out/secret.bin; do
        image $s "$name" in/sub/mid.qcow2
        denied in/sub/mid.qcow2: "allow=$real/out" -- allow=image-dir
    done
done
# Follow the advice step by step, through four directories.
image b sub/one.qcow2 in/top.qcow2 qcow2
image b ../../out/two.qcow2 in/sub/one.qcow2 qcow2
image b "$tmp/out/deeper/three.qcow2" out/two.qcow2 qcow2
image b ../../in2/secret.bin out/deeper/three.qcow2
holder='' stored=''
allow=()
while [ ${#allow[@]} -lt 6 ]; do
    denied -- "${allow[@]}" || break
    allow+=("$advice")
    ! with_qcow true -- "$served" "${allow[@]}" > log 2>&1 || break
done
is "the advice for a chain in four directories" "${allow[*]}" \
   "allow=image-dir allow=$real/out allow=$real/in2"
gives b.secret "${allow[@]}"

# --- allow=DIR --------------------------------------------------------

image b ../out/deeper/secret.bin
for allow in out out/ ./out//deeper/ "$tmp/out" "$real/out/deeper/" \
             in/../out in/sub/dir-out in/sub/dir-out/deeper . .. / any; do
    gives b.secret "allow=$allow"
done
gives b.secret allow=in allow=image-dir allow=in2 allow=out
gives b.secret allow=out/deeper allow=in
gives b.secret allow=any allow=out allow=out allow=out/deeper allow=/
# A directory covers the files below it, not names with the same prefix.
mkdir out/deep out/deeper/secret
for allow in out/deep out/deeper/secret out/back in in/sub in2 /etc; do
    denied "allow=$real/out/deeper" -- "allow=$allow"
done
mapfile -t many < <(printf 'allow=in%.0s\n' {1..500})
denied "allow=$real/out/deeper" -- "${many[@]}"
denied 'no allowed place contains it' -- allow=in allow=./in2
# allow=DIR is relative to the current directory.
cd elsewhere && served=../in/top.qcow2 gives b.secret allow=../out
cd "$tmp" || exit 1
# Directories with the names of keywords.
mkdir image-dir any Any
for f in image-dir any Any; do
    cp secret.bin $f/
    image b ../$f/secret.bin
    denied "allow=$real/$f" -- allow=image-dir
    gives b.secret allow=./$f
done
gives b.secret allow=Any
# Not a directory: refused, even for an image that names no file.
ln -s nowhere dangling
ln -s round round
mkfifo fifo
qemu-img create -q -f qcow2 alone.qcow2 1M
for f in nowhere dangling round fifo good.bin good.bin/ /dev/null ANY '' \
         "$tmp/nowhere/x" out/deeper/secret.bin; do
    for served in alone.qcow2 in/top.qcow2; do
        refused "allow=$f, not a directory, for $served: refused" "allow=$f" \
                -- $served "allow=$f"
    done
done
# For boolean values the message lists the valid values.
for f in yes true 1 on all; do
    refused "allow=$f: the message lists the valid values" \
            "allow=$f: there is no such directory .*image-dir.*URLs.*any" \
            -- alone.qcow2 "allow=$f"
done

# --- Types ------------------------------------------------------------

mkfifo in/fifo
mkdir in/directory
"$python" -IS -c 'import socket
socket.socket(socket.AF_UNIX).bind("in/socket")'
ln -s /dev/zero in/zero
watch in/fifo
for s in b d; do
    for name in fifo directory socket; do
        image $s $name
        for allow in image-dir any /; do denied -- allow=$allow; done
    done
    for name in zero /dev/null /dev/zero /dev/full /dev/tty /dev/stdin; do
        image $s $name
        for allow in image-dir any /dev; do denied -- allow=$allow; done
    done
done
opened "the FIFO is not opened"
# Block devices: only if allow= names a directory above them.
for device in /dev/loop[0-9] /dev/vd? /dev/sd? ''; do
    [ -b "$device" ] && head -c 0 "$device" 2> log && break
done
for s in b d; do
    [ -n "$device" ] || { pass "block devices # SKIP none here"; break; }
    image $s "$device"
    denied 'block device' -- allow=any
    ok "allow=/dev: $device" with_qcow true -- $served allow=/dev
    ln -sf "$device" in/disk
    image $s disk
    denied allow=/dev -- allow=image-dir
    # image-dir does not allow devices, even if the image is in /dev.
    image $s "${device#/dev/}"
    new_socket
    out=$(nbdkit -f -U "$socket" "$plugin" /dev/stdin allow=image-dir --run true \
                 2>&1 < $served)
    is "a block device beside the image: refused with status 1" $? 1
    like "... with a message" "$out" "$device.*block device"
done

# Links in /proc: their target decides.
for s in b d; do
    for f in /proc/self/cwd "/proc/self/root$real" \
             /proc/thread-self/cwd/in/..; do
        image $s "$f/in/good.bin"
        gives $s.good allow=image-dir
        image $s "$f/out/secret.bin"
        for allow in image-dir /proc /proc/self in; do
            denied "allow=$real/out" -- allow=$allow
        done
        gives $s.secret allow=any
    done
    image $s /proc/self/fd/0
    new_socket
    out=$(nbdkit -f -U "$socket" "$plugin" $served allow=/proc --run true \
                 2>&1 < out/secret.bin)
    is "/proc/self/fd/0 with allow=/proc: refused with status 1" $? 1
    like "... the message advises the file's directory" "$out" "allow=$real/out"
done
for f in fd/{0..9} fd environ mem exe root cwd ns/mnt task/self maps; do
    image b "/proc/self/$f"
    sane allow=any
    sane allow=/proc
done

# --- Names ------------------------------------------------------------

# Protocols are refused, even if a file of that name exists.
mkdir 'in/json:{}' in/nbd: in/http:
for f in a:b FILE:good.bin :good.bin good.bin: file: raw:good.bin fd:0 \
         vm:a=1; do
    cp good.bin "in/$f"
done
watch in/*:*
for name in 'json:{"driver":"file","filename":"/etc/passwd"}' 'json:{}' \
            nbd:unix:/no nbd://localhost/ nbd+unix:///no ftp://no/x \
            http://localhost/x https://localhost/x ssh://localhost/x \
            nbd+unix:///?socket=/no rbd:pool/image fat:sub fat:rw:sub \
            null-co:// fd:0 file: host_device:/dev/null blkdebug::good.bin \
            raw:good.bin a:b FILE:good.bin :good.bin good.bin:; do
    image b "$name"
    # (If the name may contain a secret, messages have only the protocol.)
    [[ $name != *[{?]* ]] || stored=${name%%:*}:
    denied -- allow=any
done
opened "no file of such a name is opened"
# A data file's name is always a file name.
for name in a:b FILE:good.bin :good.bin file: raw:good.bin vm:a=1; do
    image d "$name"
    gives d.good allow=image-dir
done
for name in file:good.bin 'json:{"driver":"null-co"}' nbd://localhost/; do
    image d "$name"
    [[ $name != *[{?]* ]] || stored=${name%%:*}:
    denied -- allow=any
done

# Unusual file names.  (U+009B, two bytes, is a control character.)
# shellcheck disable=SC2016
for f in $'\033[31mred\nnbdkit: error: no\r' '%s%n%99999d%m' "it's \"it\"" \
         $'\302\233\377' ' ' '*' '-f' $'tab\t' '$(touch x)'; do
    cp good.bin "in/$f"
    for s in b d; do
        image $s "./$f"
        stored=''
        denied allow=image-dir --
        # One line without control characters.
        out=${out//$'\302'[$'\200'-$'\237']/$'\t'}
        is "$(title): one line without control characters" \
           "$(tr -d '[:print:]\200-\377' <<< "$out" | od -An -c)" '  \n'
        gives $s.good allow=image-dir
    done
done
for s in b d; do
    # (A NUL ends a name.)
    for name in 'good.bin\0/../../out/secret.bin' 'good.bin\0' \
                .///././/good.bin; do
        image $s "$name"
        gives $s.good allow=image-dir
    done
    for name in good.bin/ good.bin/. good.bin/../good.bin \
                nowhere/../good.bin link-in/ ../round ../nowhere; do
        image $s "$name"
        for allow in image-dir any; do denied -- allow=$allow; done
    done
done
# An empty name is no name.
image b '\0x'
oracle in/top.qcow2 none.raw
gives none.raw
image d '\0x'
stored='' denied data-file= -- allow=any

# --- Files that the user names ----------------------------------------

mkdir user
cp good.bin user/
watch out/secret.bin
image b "$tmp/out/secret.bin"
gives b.good backing=user/good.bin
image d "$tmp/out/secret.bin"
gives d.good data-file=user/good.bin
opened "a name that a parameter replaces is not opened"
gives d.secret data-file=in/sub/dir-out/secret.bin
image b sub/mid.qcow2 in/top.qcow2 qcow2
gives b.secret backing=in/link-out backing-format=raw
# The user's backing file may name other files only with allow=; image-dir is
# the top image's directory.
for s in b d; do
    image $s good.bin user/mid.qcow2
    denied "allow=$real/user" -- backing=user/mid.qcow2
    denied "allow=$real/user" -- backing=user/mid.qcow2 allow=image-dir
    gives over-$s.good backing=user/mid.qcow2 allow=user
done
gives over-d.good backing=user/mid.qcow2 data-file=good.bin
image b good.bin user/mid.qcow2
gives over-b.good backing=user/mid.qcow2 backing=good.bin
# FIFOs and the like are refused from the user, too.
image d good.bin in/data.qcow2
holder='' stored=''
for f in in/fifo in/directory in/socket /dev/zero nbd://localhost:1/; do
    denied "$f" -- backing=$f
    served=in/data.qcow2 denied "$f" -- data-file=$f
done

# --- Formats ----------------------------------------------------------

image b good.bin in/top.qcow2 qcow2
holder=in/good.bin denied QCOW -- allow=image-dir
# An image that is read as raw names no files.
image b ../out/secret.bin in/inner.qcow2
watch out/secret.bin
for s in b d; do
    image $s "$tmp/in/inner.qcow2" plain.qcow2
    oracle plain.qcow2 wanted.raw
    image $s inner.qcow2
    gives wanted.raw allow=any
done
image b inner.qcow2 in/top.qcow2 ''
denied backing-format= -- allow=any
opened "a file that a raw image names is not opened"
# Images that name themselves.
image b top.qcow2 in/top.qcow2 qcow2
denied loop -- allow=image-dir
for s in b d; do
    image $s "$tmp/in/top.qcow2"
    oracle in/top.qcow2 wanted.raw
    gives wanted.raw allow=image-dir
done
# Version 1.
sort=b holder=in/v1.qcow stored=../out/secret.bin served=$holder
qemu-img create -q -f qcow -u -b $stored -F raw $holder 1M
denied "allow=$real/out" --
denied "allow=$real/out" -- allow=image-dir
gives secret.bin "$advice"
served=in/top.qcow2

# --- Files without read permission ------------------------------------

# Root can read all files, so root switches to another user.
nobody=()
[ "$(id -u)" != 0 ] ||
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
chmod 755 "$tmp"
cp "$plugin" plugin.so
mkdir in/locked
cp secret.bin in/unreadable
cp secret.bin in/locked/file
chmod 000 in/unreadable in/locked
for s in b d; do
    for name in unreadable locked/file; do
        image $s $name
        chmod 644 in/top.qcow2
        new_socket
        out=$("${nobody[@]}" nbdkit -f -U "$socket" ./plugin.so in/top.qcow2 \
                             allow=image-dir --run true 2>&1 < /dev/null)
        is "${what[$s]} $name without permission: status 1" $? 1
        like "... with a message" "$out" "top\\.qcow2.*$name.*Permission denied"
    done
done
chmod 755 in/locked

# --- Races ------------------------------------------------------------

# swap.py A B: exchange the two files until killed.
cat > swap.py <<'END'
import ctypes, os, sys
libc = ctypes.CDLL(None)
a, b = map(os.fsencode, sys.argv[1:])
while libc.renameat2(-100, a, -100, b, 2) == 0:
    pass
while True:
    os.rename(a, b"x"), os.rename(b, a), os.rename(b"x", b)
END
mkdir -p race/dir
for f in race/dir/good.bin race/good.bin race/file; do cp good.bin $f; done
cp secret.bin out/good.bin
ln -s ../out race/dir-link
ln -s ../out/good.bin race/file-link
mkfifo race/fifo
# race NAME FILE OTHER: passes if an image that names NAME is refused or has
# the good content, while FILE and OTHER are being exchanged.
race ()
{
    local swapper i n=40 kind
    local -A seen=([good]=0 [refused]=0)
    image b "$1" race/top.qcow2
    "$python" -IS swap.py race/"$2" race/"$3" & swapper=$!
    for ((i = 0; i < n; i++)); do
        rm -f got.raw
        # shellcheck disable=SC2016
        with_qcow 'nbdcopy "$uri" got.raw' -- race/top.qcow2 \
                  allow=image-dir > log 2>&1
        case $?:$(cmp got.raw b.good 2>&1) in
            0:) kind=good ;;
            1:*) kind=refused ;;
            *) kind=BAD; diag "$(cat log)" ;;
        esac
        seen[$kind]=$((${seen[$kind]:-0} + 1))
    done
    kill $swapper || fail "swap.py runs to the end"
    wait $swapper 2> log
    diag "${seen[good]} times good, ${seen[refused]} times refused"
    is "exchanging $2 and $3: refused or good" $((seen[good] + seen[refused])) $n
}
race dir/good.bin dir dir-link
race good.bin good.bin file-link
race file file fifo

done_testing
