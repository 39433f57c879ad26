#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Stacks: images that name no backing file, as backup programs write full and
# incremental backups, put over each other with backing=.  Bytes and map equal
# those of qemu after 'qemu-img rebase -u' on copies of the images.  Parameters
# with numbers mean the same in any order.
#
# (backing.t tests chains whose images name their backing files, plugin.t the
# spelling of numbers.)
#
# QCOW_SEED=N selects other orders of parameters.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"
RANDOM=${QCOW_SEED:-1900}

text_source $((4 << 20)) src0 src1 src2 src3

# kind FILE: print raw, qcow or qcow2.
kind ()
{
    case $(head -c 8 "$1" | xxd -p) in
        514649fb00000001) echo qcow ;;
        514649fb*) echo qcow2 ;;
        *) echo raw ;;
    esac
}

# forget_name IMAGE...: remove the name of the backing file from the header.
# (A recorded format stays.)
forget_name ()
{
    local image
    for image; do
        poke "$image" 8 0000000000000000 00000000
    done
}

# link IMAGE BELOW...: copy the files to linked/, where qemu makes each the
# backing file of the one before.
link ()
{
    local end
    rm -rf linked
    mkdir linked
    cp --sparse=never "$@" linked || exit 1
    while [ $# -gt 1 ]; do
        if [ "$(kind "$1")" = qcow ]; then
            # qemu can't change version 1 images.
            end=$(stat -c %s "$1")
            printf %s "$2" >> "linked/$1"
            poke "linked/$1" 8 "$(printf %016x%08x "$end" ${#2})"
        else
            qemu-img rebase -u -f qcow2 -b "$2" -F "$(kind "$2")" \
                     "linked/$1" || exit 1
        fi
        shift
    done
}

# below FILE...: set $stack to the parameters that put the files below the
# image.
below ()
{
    local file n=0 same=yes
    stack=()
    for file; do
        stack+=("backing=$file")
        [ "$(kind "$file")" != raw ] || same=no
    done
    [ $# -gt 0 ] || return
    if [ $same = yes ]; then
        stack+=(backing-format=qcow)
        return
    fi
    for file; do
        n=$((n + 1))
        [ "$(kind "$file")" = raw ] || stack+=("backing-format.$n=qcow")
    done
}

# stacked NAME IMAGE BELOW...: passes if bytes and map equal qemu's.
stacked ()
{
    local name=$1 image=$2 opened=(-f auto "linked/$2") stack
    local saved=("${params[@]}")
    shift
    link "$@"
    below "${@:2}"
    params+=("${stack[@]}")
    _compare "$name" "$image" --borders 30 --random 50
    params=("${saved[@]}")
}

# shuffle PARAMETER...: set $list to the parameters in a random order.
shuffle ()
{
    local number=$RANDOM        # (Subshells don't advance it.)
    mapfile -t list < <(shuf --random-source=<(yes "$number") -e -- "$@")
}

# --- Backups ----------------------------------------------------------

# A disk and its backups: a full one, and three incremental ones, as
# blockdev-backup writes them.  state0.raw to state3.raw are what the disk
# contained.
disk_writes ()
{
    case $1 in
        0) disk_io 'write -q -s src0 0 2M' 'write -q -P 7 3M 200k' ;;
        1) disk_io 'write -q -s src1 100k 300k' 'write -q -P 1 3584k 64k' ;;
        2) disk_io 'write -q -z 256k 128k' 'write -q -s src2 1M 70000' \
                   'discard -q 3M 64k' ;;
        3) disk_io 'write -q -P 3 0 512' 'write -q -s src3 2500k 100k' ;;
    esac
}
cat > qmp.py <<'PY'
"""qmp.py SOCKET FILE [BITMAP]: back up the node "disk" to the image FILE, only
what is dirty in BITMAP, or everything to begin such a bitmap."""
import json, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
def run(command, **arguments):
    f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    f.flush()
    for line in f:
        reply = json.loads(line)
        if "error" in reply:
            sys.exit(line)
        if "return" in reply:
            return reply["return"]
f.readline()
run("qmp_capabilities")
run("blockdev-add", **{"driver": "qcow2", "node-name": "to",
                       "file": {"driver": "file", "filename": sys.argv[2]}})
job = {"job-id": "j", "device": "disk", "target": "to",
       "auto-dismiss": False, "sync": "full"}
if len(sys.argv) > 3:
    job.update({"sync": "incremental", "bitmap": sys.argv[3]})
else:
    run("block-dirty-bitmap-add", node="disk", name="b")
run("blockdev-backup", **job)
while run("query-jobs")[0]["status"] != "concluded":
    time.sleep(0.02)
error = run("query-jobs")[0].get("error")
run("job-dismiss", id="j")
run("blockdev-del", **{"node-name": "to"})
sys.exit(error)
PY
images=(full.qcow2 inc1.qcow2 inc2.qcow2 inc3.qcow2)
if command -v qemu-storage-daemon > log; then
    qemu-img create -q -f qcow2 disk.qcow2 4M
    qemu-storage-daemon --chardev "socket,id=m,path=$tmp/qmp,server=on,wait=off" \
        --monitor chardev=m --nbd-server "addr.type=unix,addr.path=$tmp/nbd" \
        --blockdev driver=file,node-name=f,filename=disk.qcow2,discard=unmap \
        --blockdev driver=qcow2,node-name=disk,file=f,discard=unmap \
        --export type=nbd,id=e,node-name=disk,name=disk,writable=on \
        > storage.log 2>&1 < /dev/null &
    _helpers+=($!)
    for _ in {1..400}; do
        ! _listens "$tmp/nbd" || break
        nap 0.02
    done
    disk_io () { format=raw io "nbd+unix:///disk?socket=$tmp/nbd" "$@"; }
    for n in 0 1 2 3; do
        disk_writes $n
        qemu-img create -q -f qcow2 "${images[n]}" 4M
        bitmap=
        [ $n = 0 ] || bitmap=b
        "$python" qmp.py "$tmp/qmp" "${images[n]}" $bitmap > log 2>&1 ||
            fail "blockdev-backup" "$(cat log storage.log)"
        qemu-img convert -f raw -O raw "nbd+unix:///disk?socket=$tmp/nbd" \
                 state$n.raw
    done
    _end "${_helpers[-1]}"
else
    diag "there is no qemu-storage-daemon: qemu-img makes the backups"
    disk_io () { io "${images[n]}" "$@"; }
    options=()
    for n in 0 1 2 3; do
        qemu-img create -q -f qcow2 "${options[@]}" "${images[n]}" 4M
        disk_writes $n
        oracle ${images[n]} state$n.raw
        options=(-b ${images[n]} -F qcow2)
    done
    for n in 1 2 3; do
        qemu-img rebase -q -u -f qcow2 -b '' ${images[n]}
    done
fi
for image in "${images[@]}"; do
    dense $image
    unlike "$image names no backing file" "$(qemu-img info $image)" backing
done
files=()
for n in 0 1 2 3; do
    stacked "backups: ${images[n]}" ${images[n]} "${files[@]}"
    same_bytes "... as the disk was" oracle.raw state$n.raw
    files=(${images[n]} "${files[@]}")
done
files=(inc2.qcow2 inc1.qcow2 full.qcow2)
below "${files[@]}"
refused "without backing-format=: refused" \
        "inc3\\.qcow2: .*'inc2\\.qcow2' starts like a QCOW image, but its format is not recorded: .*backing-format=qcow or backing-format=raw" \
        -- inc3.qcow2 backing=inc2.qcow2 backing=inc1.qcow2 backing=full.qcow2
refused "with a number, for one of them only: refused" \
        "inc2\\.qcow2: .*'inc1\\.qcow2' .*backing-format\\.2=qcow" \
        -- inc3.qcow2 backing=inc2.qcow2 backing=inc1.qcow2 backing-format.1=qcow
# (What the image records about no file does not count.)
cp inc3.qcow2 odd.qcow2
qemu-img rebase -u -f qcow2 -b inc2.qcow2 -F qcow2 odd.qcow2
forget_name odd.qcow2
refused "a format is recorded, but no name: refused" \
        "odd\\.qcow2: .*its format is not recorded" \
        -- odd.qcow2 backing=inc2.qcow2
# Raw full backups.
dense state0.raw
stacked "over a raw full backup" inc1.qcow2 state0.raw
stacked "... two increments" inc2.qcow2 inc1.qcow2 state0.raw
refused "below a raw file: refused" \
        "state0\\.raw: is raw, so it can't have a backing file: backing=inc1\\.qcow2 has no effect" \
        -- inc2.qcow2 backing=state0.raw backing=inc1.qcow2

# Deltas: the extents are those that qemu-img map finds in the upper layers.
cat > delta.py <<'PY'
import json, sys
runs = []
for run in json.load(sys.stdin):
    flags = 1 if run["depth"] >= int(sys.argv[1]) else 3 if run["zero"] else 0
    if runs and runs[-1][2] == flags:
        runs[-1][1] += run["length"]
    else:
        runs.append([run["start"], run["length"], flags])
for run in runs:
    print(*run)
PY
link inc3.qcow2 "${files[@]}"
start_qcow -- inc3.qcow2 "${stack[@]}"
for n in 1 2 3; do
    # (qemu can't tell a zero cluster from a hole of the lowest layer.)
    qemu-img map --output=json linked/inc3.qcow2 |
        py --stdin delta.py $n > wanted.map
    py "$gen/nbd-map.py" --short "$(to layer:$n..)" > got.map
    same_text "layer:$n..: the map" got.map wanted.map
    nbdcopy "$(to layer:$n..)" got.raw
    same_bytes "... the content" got.raw state3.raw
    # An overlay with the changes over the older state.
    rm -f delta.qcow2
    qemu-img convert -f raw -O qcow2 -B state$((3 - n)).raw -F raw \
             "$(to layer:$n..)" delta.qcow2
    oracle delta.qcow2 got.raw
    same_bytes "... over the state of layer $n" got.raw state3.raw
done
not_ok "layer:4..: refused" nbdinfo --size "$(to layer:4..)"
like "the description has the number of backing files" \
     "$(nbdinfo --json "$uri" | jq -r '.exports[0].description')" \
     'backing files: 3'
stop_qcow || fail "the server exits cleanly"
params=("${stack[@]}" since=layer:1)
serves "since=layer:1" inc3.qcow2 state3.raw
params=()

# Snapshots and bitmaps of the image are over the same stack.
cp inc3.qcow2 top.qcow2
qemu-img snapshot -c snap top.qcow2
qemu-img bitmap --add top.qcow2 b
io top.qcow2 'write -q -s src1 1M 200k' 'write -q -P 9 3M 64k'
dense top.qcow2
stacked "an image with a snapshot" top.qcow2 "${files[@]}"
params=("${stack[@]}" snapshot=snap)
serves "... the snapshot" top.qcow2 state3.raw
params=("${stack[@]}")
start_qcow -- top.qcow2
nbdcopy "$(to bitmap:b)" got.raw
same_bytes "... the bitmap: the content" got.raw oracle.raw
is "... the bitmap: the map" \
   "$(py "$gen/nbd-map.py" --short "$(to bitmap:b)" | paste -sd,)" \
   "0 1048576 1,1048576 262144 0,1310720 1835008 1,3145728 65536 0,3211264 983040 1"
stop_qcow || fail "the server exits cleanly"
params=()

# --- Sizes, versions and features -------------------------------------

# sort SIZE pairs, the top first.
while read -r layers; do
    files=() n=0
    for spec in $layers; do
        IFS=: read -r sort size <<< "$spec"
        n=$((n + 1)) file=layer$n size=$(numfmt --from=iec "$size")
        if [ $sort = raw ]; then
            head -c "$size" src$((n % 4)) > $file
        else
            make_sort $file $sort "$size"
            part=$((size / 3 / 512 * 512))
            format=$(format_of $file) \
                io $file "write -q -s src$((n % 4)) $((n * 512)) $part" \
                   "write -q -P $n $((size / 512 * 512 - 1024)) 1024"
            [ $sort = v1 ] || [ $sort = v2 ] ||
                io $file "write -q -z $((part / 2)) 70000"
        fi
        dense $file
        files+=("$file")
    done
    stacked "$layers" "${files[@]}"
done <<'LIST'
v3:2M v3:1M
v3:1M v3:2M
v3:3M v3:1000448 v3:2M
v2:2M v2:1M v2:3M
v3:1M v1:2M
v1:2M v1:1M v3:3M
v1:2M ext:1M v2:3M v1:2M
ext:2M ext:2M
ext:2M v3:3M raw:3M
v2:2M v1:1M raw:70001
v3:2M raw:0
v3:1M raw:3M
LIST

# Some images name a backing file: it is replaced.
for n in 1 2 3; do
    make_sort named$n v3 2M
    io named$n "write -q -s src$n $((n * 100))k 300k"
    qemu-img rebase -u -f qcow2 -b gone.raw -F raw named$n
    dense named$n
done
make_sort nameless v3 2M
io nameless 'write -q -s src0 0 1M'
dense nameless
stacked "names are replaced" named1 nameless named2 named3 state0.raw
refused "a name is used where there is no backing=: refused" \
        "named2: .*gone\\.raw.*with backing=FILE" \
        -- named1 backing=nameless backing=named2 backing-format=qcow \
        backing-format=qcow allow=image-dir
head -c 2M src2 > gone.raw
link named1 nameless named2 gone.raw
oracle linked/named1 oracle.raw
params=(backing=nameless backing=named2 backing-format.1=qcow
        backing-format.2=qcow allow=image-dir)
serves "... and opened" named1 oracle.raw
params=()

# Encrypted layers.
luks_of state0.raw full.luks lion
create_luks inc.luks 4M tiger -b full.luks -F qcow2 -u
create_aes inc.aes v3 4M lynx -b inc.luks -F qcow2 -u
qemu-img create -q -f qcow2 -b inc.aes -F qcow2 -u plain.qcow2 4M
secrets=(tiger lion)
encrypted_io inc.luks 'write -q -s src1 100k 300k'
secrets=(lynx tiger lion)
encrypted_io inc.aes 'write -q -s src2 300k 300k' 'write -q -z 1M 64k'
secrets=(none "${secrets[@]}")
encrypted_io plain.qcow2 'write -q -P 5 50k 100k'
rm -rf linked
mkdir linked
for file in full.luks inc.luks inc.aes plain.qcow2; do
    dense $file
    cp $file linked
    forget_name $file
done
_open_encrypted linked/plain.qcow2
opened+=("$spec_opened")
below inc.aes inc.luks full.luks
# (The AES layer takes the passphrase that opens no LUKS layer.)
params=("${stack[@]}" passphrase={tiger,lynx,lion})
_compare "encrypted layers" plain.qcow2 --random 50
cp oracle.raw encrypted.raw
params=()
refused "... without passphrases: refused" '(inc|full)\.(luks|aes): .*passphrase' \
        -- plain.qcow2 "${stack[@]}"
refused "a passphrase, but nothing is encrypted: refused" \
        'inc1\.qcow2: is not encrypted, nor are its backing files' \
        -- inc1.qcow2 backing=state0.raw passphrase=x

# Data files in lower layers.
qemu-img create -q -f qcow2 -o data_file=data1 split1 4M
qemu-img create -q -f qcow2 -o data_file=data2 split2 4M
io split1 'write -q -s src1 100k 300k' 'write -q -z 2M 64k'
io split2 'write -q -s src2 0 3M'
dense data1
dense data2
dense split1
dense split2
cp inc3.qcow2 split0
files=(split0 inc2.qcow2 split1 split2)
for n in 0 1 2; do
    params=(allow=image-dir)
    [ $n != 1 ] || params=(data-file=data1 data-file=data2)
    [ $n != 2 ] || params=(data-file.3=data2 data-file.2=data1)
    # (qemu looks for data files in the current directory.)
    stacked "data files, ${params[*]}" "${files[@]}"
done
cp oracle.raw split.raw
params=()
below "${files[@]:1}"
refused "... that are not allowed: refused" "split1: .*'data1'.*allow=" \
        -- split0 "${stack[@]}"
mkdir elsewhere
mv data2 elsewhere
refused "... of which one is gone: refused" \
        "split2: .*'data2'.*with data-file\\.3=FILE" \
        -- split0 "${stack[@]}" allow=image-dir
params=("${stack[@]}" allow=image-dir data-file.3=elsewhere/data2)
serves "... with that parameter" split0 split.raw
params=()
refused "... the second one, the first is given: refused" \
        "split2: .*'data2'.*with data-file=FILE" \
        -- split0 "${stack[@]}" allow=image-dir data-file=data1
mv elsewhere/data2 .
for n in 0 1; do
    refused "data-file.$n= for a layer without one: refused" \
            "split0: layer $n has no external data file, so data-file\\.$n=data1 has" \
            -- split0 "${stack[@]}" allow=image-dir data-file.$n=data1
done
refused "data-file.4= for a layer that does not exist: refused" \
        'split0: layer 4 does not exist, so data-file\.4=data1 has no effect' \
        -- split0 "${stack[@]}" allow=image-dir data-file.4=data1
# A data file that is a whole disk by itself: qemu adds no backing file.
qemu-img create -q -f qcow2 -o data_file=data3,data_file_raw=on whole 4M
not_ok "data_file_raw=on: qemu refuses" \
       qemu-img rebase -u -f qcow2 -b state0.raw -F raw whole
refused "... refused" "whole: .*data_file_raw.*can't have a backing file.*backing=state0\\.raw" \
        -- whole allow=image-dir backing=state0.raw
dense data3
params=(allow=image-dir)
stacked "data_file_raw=on, as the lowest layer" split0 whole
params=()

# --- Limits, loops and locks ------------------------------------------

for where in 1 2; do
    args=(inc2.qcow2 inc1.qcow2)
    args[where]=./inc2.qcow2
    below "${args[@]:1}"
    refused "the same image twice, $where: refused" 'inc2\.qcow2: .*loop' \
            -- inc2.qcow2 "${stack[@]}"
done
below inc1.qcow2 full.qcow2
if writer_start -f qcow2 full.qcow2; then
    refused "a writer has the lowest layer open: refused" \
            'full\.qcow2.*force-share' -- inc2.qcow2 "${stack[@]}"
    params=("${stack[@]}" force-share=true)
    serves "... with force-share=true" inc2.qcow2 state2.raw
    params=()
    writer_stop
else
    fail "a writer starts"
fi
if start_qcow -- inc2.qcow2 "${stack[@]}"; then
    for file in inc2 inc1 full; do
        like "while we serve $file, qemu can't open it for writing" \
             "$(qemu-io -f qcow2 -c 'write 0 512' $file.qcow2 2>&1)" lock
    done
    stop_qcow || fail "the server exits cleanly"
fi

# The largest number of layers, with and without names for qemu.
mkdir deep deep/linked
cat > deep.py <<'PY'
import os, struct, sys
sys.path.insert(0, os.environ["gen"])
from qcow2 import Image, text
class Overlay(Image):
    below = None
    def header(self):
        head = bytearray(super().header())
        if self.below is None:
            return bytes(head)
        name = self.below.encode()
        struct.pack_into(">QI", head, 8, 256, len(name))
        head += struct.pack(">II8s", 0xe2792aca, 5, b"qcow2")
        return bytes(head.ljust(256, b"\0") + name)
for i in range(258):
    image = Overlay(9, 300 * 512)
    for cluster in {i * 7 % 300, (i * 3 + 1) % 300}:
        image.normal(cluster, text("layer %d" % i, 512))
    image.save("%d" % i)
    if i < 257:
        image.below = "%d" % (i + 1) if i < 256 else None
        image.save("linked/%d" % i)
PY
cd deep || exit 1
"$python" ../deep.py || fail "deep.py"
for n in {1..256}; do
    params+=("backing.$n=$n")
done
params+=(backing-format=qcow)
shuffle "${params[@]}"
params=("${list[@]}")
opened=(-f qcow2 linked/0)
_compare "256 layers, numbered in any order" 0 --cluster 512 --random 100
refused "backing.257=: refused" 'backing\.257=: .* from 1 to 256' \
        -- 0 backing.257=257
below {1..257}
params=()
refused "257 layers: refused" '256: the backing chain has more than 256 backing files' \
        -- 0 "${stack[@]}"
cd ..

# --- The order of parameters ------------------------------------------

# shuffled NAME RAW PARAMETER...: the image is served, as RAW, whatever the
# order of the parameters.
shuffled ()
{
    local name=$1 raw=$2 out
    shift 2
    for _ in {1..8}; do
        shuffle "$@"
        rm -f got.raw
        # shellcheck disable=SC2016
        out=$(with_qcow 'nbdcopy "$uri" got.raw' -- "${list[@]}" 2>&1) &&
            cmp got.raw "$raw" > log 2>&1 ||
            { fail "$name" "${list[*]}" "$out" "$(cat log)"; return; }
    done
    pass "$name"
}
cp data1 elsewhere
shuffled "backups, in any order" state3.raw file=inc3.qcow2 \
         backing.1=inc2.qcow2 backing.2=inc1.qcow2 backing.3=full.qcow2 \
         backing-format=qcow cache-size=1M
shuffled "... each with its format" state3.raw file=inc3.qcow2 \
         backing.1=inc2.qcow2 backing.2=inc1.qcow2 backing.3=state0.raw \
         backing-format.1=qcow backing-format.2=qcow
shuffled "data files, in any order" split.raw file=split0 \
         backing.3=split2 backing.1=inc2.qcow2 backing.2=split1 \
         backing-format=qcow data-file.2=elsewhere/data1 data-file.3=data2
shuffled "... allowed in two directories" split.raw file=split0 \
         backing.3=split2 backing.1=inc2.qcow2 backing.2=split1 \
         backing-format=qcow allow.17=elsewhere allow.0=image-dir \
         force-share=true
# The order of passphrases counts for AES: the first that opens no LUKS layer.
shuffled "passphrases, in any order" encrypted.raw file=plain.qcow2 \
         backing.3=full.luks backing.2=inc.luks backing.1=inc.aes \
         backing-format=qcow passphrase.9999=wrong passphrase.0=tiger \
         passphrase.20=lynx passphrase.100=lion

# --- On the web -------------------------------------------------------

start_nginx
cp inc?.qcow2 full.qcow2 state0.raw "$www"
mkdir "$www/bucket"
cp full.qcow2 "$www/bucket"
top=$http/inc3.qcow2
shuffled "all on the web" state3.raw url="$top" \
         backing.1="$http/inc2.qcow2" backing.2="$http/inc1.qcow2" \
         backing.3="$http/full.qcow2" backing-format=qcow \
         header.20='X-Two: due' header.1='X-One: uno'
is "... with both headers" "$(headers | cut -d '|' -f 6,7 | sort -u)" "uno|due"
shuffled "local and on the web" state3.raw url="$top" \
         backing.1=inc2.qcow2 backing.2="$https/inc1.qcow2" cainfo="$ca" \
         backing.3=full.qcow2 backing-format=qcow
shuffled "a local image, a raw full backup on the web" state3.raw \
         file=inc3.qcow2 backing.1="$http/inc2.qcow2" backing.2=inc1.qcow2 \
         backing.3="$http/state0.raw" backing-format.1=qcow \
         backing-format.2=qcow connections=2
shuffled "the full backup in S3" state3.raw file=inc3.qcow2 \
         backing.1=inc2.qcow2 backing.2=inc1.qcow2 \
         backing.3=s3://bucket/full.qcow2 backing-format=qcow \
         endpoint-url="$http"
link inc3.qcow2 inc2.qcow2 inc1.qcow2 full.qcow2
params=(backing={"$http/inc2.qcow2","$http/inc1.qcow2","$http/full.qcow2"}
        backing-format=qcow)
opened=(-f qcow2 linked/inc3.qcow2)
_compare "on the web: bytes and map" inc3.qcow2 --random 50
params=()
refused "a missing layer on the web: refused" "$http/none.*404" \
        -- inc3.qcow2 backing="$http/none" backing-format=qcow
refused "a secret in a URL that has no effect is hidden: refused" \
        'state0\.raw: is raw, .* backing=http' \
        -- inc1.qcow2 backing=state0.raw backing='http://me:SECRET@h/x?k=SECRET'
unlike "... without the secret" "$(with_qcow true -- inc1.qcow2 \
       backing=state0.raw backing='http://me:SECRET@h/x?k=SECRET' 2>&1)" SECRET

done_testing
