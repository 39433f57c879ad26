#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Persistent dirty bitmaps: the export bitmap:NAME, or bitmap=NAME, returns the
# bytes of the disk.  Its map reports clean ranges as "hole" (flags 1, for
# 'qemu-img convert -B': the backing file has the data), and dirty ranges as
# in the full view.  The map must equal, extent by extent, the combination of
# the bitmap and the map of 'qemu-nbd -r -B NAME'.  Also: backups by bitmap with
# plain qemu-img, names, and bitmaps that are unusable.
#
# QCOW_SEED=N selects other images; a failure names its seed.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-16000}
text_source $((16 << 20)) src0 src1 src2 src3

# A client that hangs is a failure, too.
nbdinfo ()
{
    timeout -k 5 "${QCOW_TIMEOUT:-60}" nbdinfo "$@"
}

# asks URI MAP SEED [BAD-START BAD-END]: check block status (see asks.py).
asks ()
{
    py asks.py "$@"
}

# bm.py IMAGE where NAME: print the offsets of a bitmap's parts, for eval.
# bm.py IMAGE crowd NAME: fill a 64 MiB directory with bitmaps whose names are
# numbers of 1023 digits, all with the bits of this one.
# bm.py IMAGE fill NAME SEED: replace each entry of the bitmap's table: all
# clean, all dirty, or a cluster of ones, zeros, random bits, or bits around
# multiples of 65536.
cat > bm.py <<'END'
import random, struct, sys
path, command, name = sys.argv[1:4]
f = open(path, "r+b")

def number(at, size):
    f.seek(at)
    return int.from_bytes(f.read(size), "big")

def put(at, value, size):
    f.seek(at)
    f.write(value.to_bytes(size, "big"))

cluster, disk = 1 << number(20, 4), number(24, 8)
ext = number(100, 4)
while number(ext, 4) != 0x23852875:
    ext += 8 + (number(ext + 4, 4) + 7) // 8 * 8
directory, entry = number(ext + 24, 8), number(ext + 24, 8)
while True:
    length, extra = number(entry + 18, 2), number(entry + 20, 4)
    f.seek(entry + 24 + extra)
    if f.read(length) == name.encode():
        break
    entry += (24 + extra + length + 7) // 8 * 8
table, entries = number(entry, 8), number(entry + 8, 4)
if command == "where":
    print("ext=%d dir=%d entry=%d table=%d entries=%d" % (
        ext, directory, entry, table, entries))
    sys.exit()

end = -(-f.seek(0, 2) // cluster) * cluster

if command == "crowd":
    count = (64 << 20) // 1048
    f.seek(entry)
    like = f.read(18) + struct.pack(">HI", 1023, 0)
    f.seek(end)
    f.write(b"".join(like + b"%01023d\0" % i for i in range(count)))
    f.truncate(-(-f.tell() // cluster) * cluster)
    put(ext + 8, count, 4)
    put(ext + 16, count * 1048, 8)
    put(ext + 24, end, 8)
    f.close()
    sys.exit()

def append():
    global end
    end += cluster
    f.truncate(end)
    return end - cluster

def count_reference(at):
    index, per_block = at // cluster, cluster // 2
    slot = number(48, 8) + index // per_block * 8
    if number(slot, 8) == 0:
        put(slot, append(), 8)
        count_reference(number(slot, 8))
    put(number(slot, 8) + index % per_block * 2, 1, 2)

rng = random.Random(int(sys.argv[4]))
bits = cluster * 8
granules = -(-disk // (1 << number(entry + 17, 1)))
for i in range(entries):
    here = min(bits, granules - i * bits)
    kind = rng.choice(("clean", "dirty", "ones", "zeros", "random", "edges"))
    if i < 6:       # each kind once, first
        kind = ("dirty", "ones", "edges", "zeros", "clean", "random")[i]
    if kind in ("clean", "dirty"):
        put(table + 8 * i, kind == "dirty", 8)
        continue
    if kind == "random":
        value = rng.getrandbits(8) * 257 << rng.randrange(bits)
        for _ in range(200):
            value ^= (1 << rng.randrange(1, 3000)) - 1 << rng.randrange(bits)
    elif kind == "edges":
        value = 1 | 1 << bits - 1
        for border in range(65536, bits, 65536):
            value |= rng.randrange(1, 4) << border - 1
    else:
        value = 0 if kind == "zeros" else -1
    value &= (1 << here) - 1
    at = append()
    count_reference(at)
    put(table + 8 * i, at, 8)
    f.seek(at)
    f.write(value.to_bytes(cluster, "little"))
END

# expected.py IMAGE BITMAP: print the expected map, from qemu-nbd's replies.
cat > expected.py <<'END'
import sys, nbd
h = nbd.NBD()
contexts = "base:allocation", "qemu:dirty-bitmap:" + sys.argv[2]
for c in contexts:
    h.add_meta_context(c)
h.connect_systemd_socket_activation(
    ["qemu-nbd", "-r", "-f", "qcow2", "-B", sys.argv[2], sys.argv[1]])
assert h.can_meta_context(contexts[0]) and h.can_meta_context(contexts[1])
size = h.get_size()
runs = {c: [] for c in contexts}        # [end, flags]
for c in contexts:
    at = 0
    while at < size:
        found = {}
        h.block_status(min(size - at, 0xffff0000), at,
                       lambda c, o, e, err: found.update({c: e}))
        for length, flags in zip(found[c][::2], found[c][1::2]):
            at += length
            runs[c].append((at, flags))
h.shutdown()
base, dirty = runs[contexts[0]], runs[contexts[1]]
at, out = 0, []
while at < size:
    end = min(base[0][0], dirty[0][0], size)
    flags = base[0][1] if dirty[0][1] else 1
    if out and out[-1][2] == flags:
        out[-1][1] += end - at
    else:
        out.append([at, end - at, flags])
    at = end
    for r in base, dirty:
        if r[0][0] == at:
            r.pop(0)
for run in out:
    print(*run)
END

# asks.py URI MAP SEED [BAD-START BAD-END]: request block status of many
# ranges.  Each reply must agree with MAP; with REQ_ONE it must be one whole
# extent.  Requests that start in the bad range must fail with EIO; others must
# end before it.
cat > asks.py <<'END'
import bisect, errno, random, sys, nbd
uri, path, seed = sys.argv[1:4]
bad = range(*map(int, sys.argv[4:6])) if len(sys.argv) > 4 else range(0)
runs = [tuple(map(int, line.split())) for line in open(path)]
starts = [r[0] for r in runs]
size = runs[-1][0] + runs[-1][1]
rng = random.Random(int(seed))
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(uri)
if h.get_size() != size:
    sys.exit("size %d instead of %d" % (h.get_size(), size))
places = [(0, size), (size - 1, 1)]
for start, length, _ in rng.sample(runs, min(len(runs), 150)):
    places += [(start, length), (start + length - 1, size), (start + 1, 512)]
places += [(rng.randrange(size), rng.randrange(1, size + 1))
           for _ in range(200)]
places += [(rng.choice(bad), 512) for _ in range(20 * bool(bad))]
places += [(max(0, bad.start - 512), 1 << 20)] if bad else []
for at, count in places:
    count = min(count, size - at, 0xffff0000)
    if count < 1:
        continue
    for flag in 0, nbd.CMD_FLAG_REQ_ONE:
        got, where = [], "%d bytes at %d, flag %d: " % (count, at, flag)
        try:
            h.block_status(count, at, lambda c, o, e, err: got.extend(e), flag)
        except nbd.Error as e:
            if at in bad and e.errnum == errno.EIO:
                continue
            raise
        if at in bad:
            sys.exit(where + "no error")
        if flag and len(got) != 2:
            sys.exit(where + "%d extents" % (len(got) // 2))
        i, pos = bisect.bisect(starts, at) - 1, at
        for length, flags in zip(got[::2], got[1::2]):
            most = min(runs[i][0] + runs[i][1], at + count) - pos
            if bad and pos <= bad.start < pos + most:
                most = bad.start - pos
            if flags != runs[i][2] or min(length, at + count - pos) != most:
                sys.exit(where + "%d, %d at %d instead of %s" % (
                    length, flags, pos, runs[i]))
            pos += most
            i += 1
h.shutdown()
END

# connect.py URI: only connect.
cat > connect.py <<'END'
import sys, nbd
h = nbd.NBD()
try:
    h.connect_uri(sys.argv[1])
except nbd.Error as e:
    sys.exit(str(e))
h.shutdown()
END

# bytes NAME EXPORT RAW: passes if the export returns exactly these bytes.
bytes ()
{
    ok "$1" py "$gen/nbd-compare.py" --copy --random 0 "$(to "$2")" "$3"
}

# dirty NAME BITMAP: passes if the running server's map of the bitmap in $image
# equals the expected one.
dirty ()
{
    local text
    py expected.py "$image" "$2" > wanted.map ||
        { fail "$1: qemu-nbd"; return; }
    # (More than one line: the map has dirty and clean ranges.)
    text=$(< wanted.map)
    [[ $text != *$'\n'* ]] || mixed=$((mixed + 1))
    py "$gen/nbd-map.py" --short "$(to "bitmap:$2")" > got.map
    same_text "$1" got.map wanted.map
}
mixed=0

# exports URI: print the list of exports in one line.
exports ()
{
    py "$gen/nbd-list.py" --names "$1" 2>&1
}

# add GRANULARITY [NAME]: add a bitmap to $image.
add ()
{
    qemu-img bitmap --add -g "$1" "$image" "${2:-b$1}" || exit 1
}

# write_more SEED COUNT: make about COUNT / 2 random writes to $image.
write_more ()
{
    local list c commands=()
    py "$gen/random-writes.py" "$1" "$size" "$cluster" "$2" > list
    mapfile -t list < list
    for c in "${list[@]}"; do
        [[ -z $c || $c = *' -c '* ]] || commands+=("$c")
    done
    io "$image" "${commands[@]}"
}

# Random images with five bitmaps of different age, one of them disabled
# between writes.
image=image.qcow2
head -c 1000001 src3 > base.raw
for spec in 512:4001:0 4096:1000:512:-b,base.raw,-F,raw \
            16384:300:1536:-o,extended_l2=on 65536:100:33280 \
            2097152:7:512; do
    IFS=: read -r cluster clusters more create <<< "$spec"
    seed=$((seed + 1))
    size=$((cluster * clusters + more))
    random_image $image $seed $size "$cluster" 100 "compat=1.1"
    if [ -n "$create" ]; then
        IFS=, read -r -a create <<< "$create"
        qemu-img create -q -f qcow2 -o "cluster_size=$cluster" \
                 "${create[@]}" $image $size
        write_more $seed 30
    fi
    add 512
    add 64k
    write_more $((seed + 100)) 16
    add 4k
    add 2G
    add 1M
    write_more $((seed + 200)) 16
    qemu-img bitmap --disable $image b64k
    write_more $((seed + 300)) 16
    qemu-img bitmap --add --disable -g 32k $image clean
    dense $image
    oracle $image oracle.raw
    params=(allow=image-dir)
    what="clusters of $cluster, $size bytes, seed $seed"
    start_qcow -- $image || { fail "$what: start"; continue; }
    for b in b512 b4k b64k b1M b2G clean; do
        dirty "$what: $b" $b
        ok "... block status of any range" asks "$(to bitmap:$b)" wanted.map \
           $seed
    done
    bytes "... reads return the disk" bitmap:b4k oracle.raw
    stop_qcow || fail "$what: the server exits cleanly"
    params+=(bitmap=b64k)
    serves "... also with bitmap=" $image oracle.raw \
           --cluster "$cluster" --borders 20 --random 40
    py expected.py $image b64k > wanted.map
    # shellcheck disable=SC2016
    with_qcow 'py "$gen/nbd-map.py" --short "$uri"' -- $image \
              > got.map 2> log
    same_text "... bitmap= serves the same map" got.map wanted.map
    params=()
done
is "most maps have clean and dirty ranges ($mixed)" $((mixed > 15)) 1

# Bitmaps with many table entries, filled by hand, because qemu never writes
# "all dirty" entries.
for spec in 512:20M:512 4096:200M:512 65536:1700M:512 65536:1T:64k \
            65536:5001M:1k; do
    IFS=: read -r cluster size granularity <<< "$spec"
    seed=$((seed + 1))
    what="a bitmap by hand, clusters of $cluster, $size by $granularity"
    qemu-img create -q -f qcow2 -o cluster_size=$cluster $image "$size"
    io $image 'write -q -s src0 0 1M' 'write -q -c -s src1 15M 2M'
    [ $cluster -lt 65536 ] ||
        io $image 'write -q -s src2 64M 128k' 'write -q -P 1 250M 12M' \
           'write -q -z 255M 1M' 'write -q -P 1 511M 2M'
    add "$granularity" b
    py bm.py $image fill b $seed || fail "$what: writing it"
    ok "$what, seed $seed: qemu accepts it" qemu-img check -f qcow2 $image
    dense $image
    start_qcow -- $image || { fail "$what: start"; continue; }
    dirty "... the map equals the expected one" b
    ok "... of $(grep -c . wanted.map) extents: block status of any range" \
       asks "$(to bitmap:b)" wanted.map $seed
    stop_qcow || fail "$what: the server exits cleanly"
done

# After the image has been shrunk and grown.
qemu-img create -q -f qcow2 $image 10M
size=$((10 << 20)) cluster=65536
add 512
add 64k
add 2G
write_more $seed 20
for size in 5000K 7000K 20M 300M 299M; do
    qemu-img resize -q -f qcow2 --shrink $image $size
    dense $image
    start_qcow -- $image || { fail "resized to $size"; continue; }
    for b in b512 b64k b2G; do
        dirty "resized to $size: $b" $b
    done
    stop_qcow || fail "the server exits cleanly"
done

# An image that has only metadata and bitmaps; the data is in a raw file.
cluster=65536 size=$((7654912))
qemu-img create -q -f qcow2 -o data_file=disk.raw,data_file_raw=on \
         $image $size
head -c $size src0 > disk.raw
qemu-img convert -f raw -O qcow2 disk.raw full.qcow2
add 64k
add 4k
io $image 'write -q -s src1 1M 300k' 'write -q -z 3000k 4k' \
   'write -q -s src2 7652864 2k'
params=(allow=image-dir)
start_qcow -- $image || fail "start"
dirty "over a raw data file, by 64 KiB" b64k
is "... the written ranges are data" \
   "$(awk '$3 == 0 { n += $2 } END { print n }' wanted.map)" \
   $((5 * 65536 + 65536 + 52736))
dirty "over a raw data file, by 4 KiB" b4k
bytes "... reads return the disk" bitmap:b4k disk.raw
ok "... an incremental backup" qemu-img convert -f raw -O qcow2 \
   -B full.qcow2 -F qcow2 "$(to bitmap:b64k)" incr.qcow2
oracle incr.qcow2 got.raw
same_bytes "... is complete" got.raw disk.raw
stop_qcow || fail "the server exits cleanly"
params=()

# Backups by bitmap with qemu-img: a full one, two incremental ones in a
# chain, and a raw target that is updated in place.
for spec in 65536:23M:64k 65536:9999872:4k 4096:3M:1M 512:1M:512; do
    IFS=: read -r cluster size granularity <<< "$spec"
    seed=$((seed + 1))
    what="backup, clusters of $cluster, $size by $granularity, seed $seed"
    rm -f full.qcow2 incr*.qcow2
    random_image $image $seed "$(numfmt --from=iec "$size")" $cluster 60 \
                 compat=1.1
    size=$(numfmt --from=iec "$size")
    qemu-img convert -f qcow2 -O qcow2 $image full.qcow2
    oracle $image target.raw
    last=full.qcow2
    for turn in 1 2; do
        add "$granularity" turn$turn
        write_more $((seed + turn)) 16
        io $image 'write -q -z 128k 128k' 'discard -q 512k 64k'
        qemu-img bitmap --disable $image turn$turn
        dense $image
        rm -f oracle.raw
        oracle $image oracle.raw
        start_qcow -- $image || { fail "$what: start"; continue; }
        py expected.py $image turn$turn > wanted.map
        ok "$what, turn $turn" qemu-img convert -f raw -O qcow2 -B $last \
           -F qcow2 "$(to bitmap:turn$turn)" incr$turn.qcow2
        last=incr$turn.qcow2
        oracle $last got.raw
        same_bytes "... is complete" got.raw oracle.raw
        if [ $((cluster % 65536)) -eq 0 ] && [ "$granularity" = 64k ]; then
            is "... and has only the dirty ranges" \
               "$(qemu-img map --output=json $last | jq '[.[] |
                      select(.depth == 0).length] | add')" \
               "$(awk '$3 != 1 { n += $2 } END { print n }' wanted.map)"
        fi
        ok "... an update in place" qemu-img convert -n -f raw -O raw -B target.raw \
           -F raw "$(to bitmap:turn$turn)" target.raw
        same_bytes "... is complete" target.raw oracle.raw
        stop_qcow || fail "$what: the server exits cleanly"
    done
done

# Names.  Each bitmap marks a different range of the disk dirty.
qemu-img create -q -f qcow2 $image 4M
long=$(printf 'ä%.0s' {1..511})x
names=(plain 'with space' 'Käse ∂' "$long" mon a..b .. '50%20' 'a/b?c#d' 1
       bitmap:plain)
for i in "${!names[@]}"; do
    add 64k "${names[i]}"
    io $image "write -q -P $((i + 1)) $((i * 131072)) 64k"
    qemu-img bitmap --disable $image "${names[i]}"
done
oracle $image oracle.raw
io $image 'write -q -P 77 3M 64k'
oracle $image now.raw
qemu-img snapshot -c mon $image
io $image 'write -q -P 78 3M 64k'
oracle $image now.raw
dense $image
start_qcow -- $image || fail "start"
for i in "${!names[@]}"; do
    name=${names[i]}
    dirty "the bitmap '${name:0:40}'" "$name"
    is "... only its own range is dirty" "$(awk '$3 != 1 { print $1, $2 }' got.map)" \
       "$((i * 131072)) 65536"
done
bytes "a bitmap with the name of a snapshot" bitmap:mon now.raw
nbdinfo --list "$uri" > list 2>&1 || fail "nbdinfo --list" "$(cat list)"
grep '^export=' list | sort > got
{ echo 'export="":'; echo 'export="mon":'
  printf 'export="bitmap:%s":\n' "${names[@]}"; } | sort > wanted
same_text "the list has exactly these exports" got wanted
is "... with each granularity" \
   "$(grep -c 'description: .*bitmap.* 65536 ' list)" ${#names[@]}
stop_qcow || fail "the server exits cleanly"
for name in 'with space' "$long" a..b; do
    # shellcheck disable=SC2016
    is "bitmap=${name:0:40}: the only export" \
       "$(with_qcow 'nbdinfo --list "$uri"' -- $image bitmap="$name" \
              2> log | grep ^export=)" 'export="":'
done

# A snapshot takes precedence over a bitmap.
qemu-img snapshot -c bitmap:plain $image
io $image 'write -q -P 79 3M 64k'
start_qcow -- $image || fail "start"
bytes "a snapshot named bitmap:plain" bitmap:plain now.raw
is "... is a full view, not a delta" \
   "$(nbdinfo --map "$(to bitmap:plain)" | awk '$3 == 1' | grep -c .)" 0
is "... is listed once" \
   "$(nbdinfo --list "$uri" | grep -c '^export="bitmap:plain":')" 1
stop_qcow || fail "the server exits cleanly"

# Unusable bitmaps.  The image has the bitmaps b and c, and two lower layers
# with bitmaps of their own.
rm -f disk.raw
cluster=65536
for image in lower.qcow2 base.qcow2 good.qcow2; do
    case $image in
        lower*) qemu-img create -q -f qcow2 $image 2M ;;
        base*) qemu-img create -q -f qcow2 -b lower.qcow2 -F qcow2 $image ;;
        good*) qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 $image ;;
    esac
    add 64k "${image%.qcow2}"
    io $image 'write -q -s src1 512k 512k'
done
qemu-img bitmap --remove $image good
add 64k b
io $image 'write -q -P 1 64k 64k'
qemu-img bitmap --disable $image b
add 64k c
io $image 'write -q -P 2 256k 128k'
qemu-img snapshot -c snap $image
oracle $image oracle.raw
dense $image
eval "$(py bm.py $image where c)"
c=$entry
eval "$(py bm.py $image where b)"
py expected.py $image b > b.map
py expected.py $image c > c.map
params=(allow=image-dir)

# map_is NAME BITMAP MAP: passes if the running server's map equals the file.
map_is ()
{
    py "$gen/nbd-map.py" --short "$(to "bitmap:$2")" > got.map 2>&1
    same_text "$1" got.map "$3"
}

# refuses NAME BITMAP REGEX: passes if the running server refuses the export
# with a matching message.
refuses ()
{
    local line lines
    if py connect.py "$(to "bitmap:$2")" > client.log 2>&1; then
        fail "$1" "not refused"
        return
    fi
    mapfile -t lines < "$log"
    for line in "${!lines[@]}"; do
        [[ ${lines[line]} != *warning:* ]] || unset "lines[line]"
    done
    printf -v lines '%s\n' "${lines[@]}"
    like "$1" "$lines" "$3"
}

# mutate OFFSET HEX...: make bad.qcow2 with these bytes and start a server.
mutate ()
{
    cp good.qcow2 bad.qcow2
    while [ $# -gt 1 ]; do
        poke bad.qcow2 "$1" "$2"
        shift 2
    done
    start_qcow -- bad.qcow2 || fail "start"
}

# bad NAME WHO REGEX OFFSET HEX...: passes if b is refused with a matching
# message, while the disk and c can be read.  WHO is "both" if qemu refuses b,
# too, or "we".
bad ()
{
    local name=$1 who=$2 re=$3
    shift 3
    mutate "$@"
    [ "$who" = we ] ||
        not_ok "$name: refused by qemu" \
               py expected.py bad.qcow2 b
    refuses "$name: refused" b "bad\.qcow2.*($re)"
    bytes "... the disk" "" oracle.raw
    map_is "... the other bitmap can be used" c c.map
    stop_qcow || fail "$name: the server exits cleanly"
    refused "... bitmap=b is refused" "bad\.qcow2.*($re)" -- bad.qcow2 bitmap=b
}

# none NAME REGEX OFFSET HEX...: passes if no bitmap can be used, and a single
# matching warning is printed, whatever clients request.
none ()
{
    local name=$1 re=$2
    shift 2
    mutate "$@"
    refuses "$name: b is refused" b 'no export.*bitmap:b'
    refuses "... c is refused" c 'no export.*bitmap:c'
    bytes "... the disk" "" oracle.raw
    is "... none is listed" "$(exports "$uri")" 'export="": export="snap":'
    is "... there is one warning" "$(grep -c warning: "$log")" 1
    like "... with the reason" "$(grep warning: "$log")" \
         "bad\.qcow2.*bitmaps.*($re)"
    stop_qcow || fail "$name: the server exits cleanly"
    refused "... bitmap=b is refused" 'bad\.qcow2.*bitmap=b' -- bad.qcow2 bitmap=b
}

mutate
map_is "the undamaged image: b can be used" b b.map
map_is "... c, too" c c.map
for n in base lower nope '' snap B 'b ' bb; do
    refuses "a bitmap '$n' that does not exist: refused" "$n" "bad\.qcow2.*'bitmap:$n'"
done
is "bitmaps of lower layers are not listed" "$(exports "$uri")" \
   'export="": export="snap": export="bitmap:b": export="bitmap:c":'
stop_qcow || fail "the server exits cleanly"
for n in base lower nope snap bitmap:b; do
    refused "bitmap=$n, which does not exist: refused" "good\.qcow2.*bitmap=$n" -- good.qcow2 bitmap=$n
done
refused "bitmap= without a name: refused" 'bitmap=' -- good.qcow2 bitmap=
refused "bitmap= twice: refused" 'bitmap=c' -- good.qcow2 bitmap=b bitmap=c
for with in snapshot=snap since=snap since=backing since=layer:1; do
    refused "bitmap= with $with: refused" 'bitmap=' -- good.qcow2 bitmap=b $with
done
# shellcheck disable=SC2016
not_ok "bitmap=b: other exports are refused" \
       with_qcow 'nbdinfo --size "nbd+unix:///bitmap:c?socket=$unixsocket"' \
       -- good.qcow2 bitmap=b

size=$(stat -c %s good.qcow2)
bad "in use" both 'in use' $((entry + 15)) 01
bad "an unknown flag" both 'flags.*0x8' $((entry + 15)) 08
bad "type 2" both 'type.* 2' $((entry + 16)) 02
for n in 8 32 63; do
    bad "granularity_bits $n" both "granularity_bits.* $n" \
        $((entry + 17)) "$(printf %02x "$n")"
done
bad "the table at offset 0" both 'table.*(0x0|offset)' "$entry" 0000000000000000
bad "an unaligned table" both 'table.*0x' "$entry" \
    "$(printf %016x $((table + 512)))"
bad "the table beyond the end of the file" we 'table.*(end|beyond)' "$entry" \
    0000000010000000
bad "the table at the largest offset" both 'table' "$entry" \
    7fffffffffff0000
bad "a table of 0 entries" both 'table.* 0 entries' \
    $((entry + 8)) 00000000
bad "a table of two entries" both 'table.* 2 entries' \
    $((entry + 8)) 00000002

for n in 23 25; do
    none "an extension of $n bytes" 'extension' $((ext + 4)) \
         "$(printf %08x $n)"
done
# (Its former bytes become an unknown extension and the end mark.)
none "an extension of 0 bytes" 'extension' $((ext + 4)) 00000000 \
     $((ext + 16)) 0000000000000000
none "a non-zero reserved field" 'extension' $((ext + 12)) 00000001
none "nb_bitmaps 0" 'extension' $((ext + 8)) 00000000
none "nb_bitmaps 70000" 'nb_bitmaps.*70000' $((ext + 8)) 00011170
none "nb_bitmaps 3 for two bitmaps" 'directory' $((ext + 8)) 00000003
none "a directory of 0 bytes" 'directory' $((ext + 16)) 0000000000000000
none "a directory of 65 MiB" 'directory' $((ext + 16)) 0000000004100000
none "a directory that ends beyond the end of the file" 'directory' \
     $((ext + 24)) "$(printf %016x $((size - 16)))"
none "a directory at the largest offset" 'directory' \
     $((ext + 24)) ffffffffffff0000
none "a name beyond the directory" 'directory' $((entry + 18)) ffff
none "a second name beyond the directory" 'directory' $((c + 18)) 0009
none "extra data beyond the directory" 'directory' $((entry + 20)) 00010000

# Without the autoclear bit: a program without bitmap support wrote to the
# image, so all bitmaps are stale.
mutate 95 00
for n in b c; do
    not_ok "without the autoclear bit: qemu refuses $n" \
           py expected.py bad.qcow2 $n
    refuses "... the plugin, too" $n "'$n'.*(autoclear|know)"
done
bytes "... the disk" "" oracle.raw
is "... none is listed" "$(exports "$uri")" 'export="": export="snap":'
stop_qcow || fail "the server exits cleanly"
refused "... bitmap=c is refused" "'c'.*(autoclear|know)" -- bad.qcow2 bitmap=c

# Clients open every listed export, and some print nothing if one fails, so
# unusable bitmaps are not listed.
mutate $((entry + 15)) 01
for i in 1 2; do
    is "b is in use: only the others are listed, $i" "$(exports "$uri")" \
       'export="": export="snap": export="bitmap:c":'
done
like "... also by qemu-nbd" "$(qemu-nbd --list -k "$sock" 2>&1)" \
     "exports available: 3"
is "... with one warning" "$(grep -c 'warning: list of exports: 1 .* omitted' "$log")" 1
stop_qcow || fail "the server exits cleanly"

# Extra data that may be ignored, and extra data that must be understood.
for flags in 04 00; do
    # The first 7 of b's 8 name bytes (with padding) become extra data.
    mutate $((entry + 18)) 0001 $((entry + 20)) 00000007 \
           $((entry + 31)) 62 $((entry + 15)) $flags
    if [ $flags = 04 ]; then
        map_is "extra data that may be ignored: usable" b b.map
    else
        refuses "extra data that must be understood: refused" b "'b'.*extra data"
    fi
    stop_qcow || fail "the server exits cleanly"
done

# Two bitmaps of one name: the first one is used.
mutate $((c + 24)) 62
map_is "two bitmaps of one name: the first is served" b b.map
is "... is listed once" "$(exports "$uri")" \
   'export="": export="snap": export="bitmap:b":'
stop_qcow || fail "the server exits cleanly"

# While qemu has the image open for writing.
cp good.qcow2 bad.qcow2
writer_start -f qcow2 bad.qcow2 || fail "a writer starts"
refused "a bitmap in use by qemu: refused" 'in use' \
        -- bad.qcow2 force-share=true bitmap=b
writer_stop
start_qcow -- bad.qcow2 || fail "start"
map_is "... usable after qemu closed the image" b b.map
stop_qcow || fail "the server exits cleanly"

# Damaged table entries: EIO for the block status of their ranges.  Reads of
# the disk are not affected.
image=image.qcow2
rm -f $image
qemu-img create -q -f qcow2 -o cluster_size=4096 $image 40M
add 512 b
io $image 'write -q -s src0 0 256k' 'write -q -s src0 17M 1M' \
   'write -q -s src1 34M 256k'
dense $image
oracle $image oracle.raw
py expected.py $image b > wanted.map
eval "$(py bm.py $image where b)"
data=$(peek $image $((table + 8)) 8)
end=$((($(stat -c %s $image) + 4095) / 4096 * 4096))
for n in $((data + 512)) "$end" $((0x00fffffffffff000)) $((data + 1)) 2 \
         $((0x0200000000000000)); do
    cp $image bad.qcow2
    poke bad.qcow2 $((table + 8)) "$(printf %016x "$n")"
    start_qcow -- bad.qcow2 || fail "start"
    ok "a table entry of $n: EIO for its range" asks \
       "$(to bitmap:b)" wanted.map $seed $((16 << 20)) $((32 << 20))
    ok "... reads return the disk" py "$gen/nbd-compare.py" "$(to bitmap:b)" \
       oracle.raw --random 20
    not_ok "... a backup fails" qemu-img convert -n -f raw -O raw \
           -B oracle.raw -F raw "$(to bitmap:b)" got.raw
    is "... with one message" "$(grep -c 'bad.qcow2.*bitmap' "$log")" 1
    stop_qcow || fail "the server exits cleanly"
done

# A file truncated within a bitmap's bits: the missing ones are not clean.
qemu-img create -q -f qcow2 $image 1536M
add 512 b
py bm.py $image fill b $seed
dense $image
py expected.py $image b > wanted.map
truncate -s -32768 $image
start_qcow -- $image || fail "start"
ok "a file truncated within a bitmap: EIO for the missing bits" asks \
   "$(to bitmap:b)" wanted.map $seed $((1408 << 20)) $((1536 << 20))
stop_qcow || fail "the server exits cleanly"

# A file truncated within a bitmap's table: the last of six entries is missing.
eval "$(py bm.py $image where b)"
end=$((($(stat -c %s $image) + 65535) / 65536 * 65536))
cp $image bad.qcow2
dd if=$image bs=8 skip=$((table / 8)) count=5 status=none |
    dd of=bad.qcow2 bs=64k seek=$((end / 65536)) status=none
poke bad.qcow2 "$entry" "$(printf %016x $end)"
refused "a file truncated within a bitmap's table: refused" 'bad\.qcow2.*table.*end' \
        -- bad.qcow2 bitmap=b

# An unusable directory of 64 MiB (sparse) is not kept in memory.
memory ()
{
    awk '/RssAnon/ { print $2 }' "/proc/$pid/status"
}
# takes KIB: passes if the server uses less than KIB more than with one bitmap.
takes ()
{
    local more=$(($(memory) - least))
    [ -n "$QCOW_VALGRIND$QCOW_PRELOAD" ] ||
        is "... takes $more KiB of memory, less than $1" $((more < $1)) 1
}
rm -f $image
qemu-img create -q -f qcow2 $image 1M
add 64k b
start_qcow -- $image || fail "start"
least=$(memory)
stop_qcow || fail "the server exits cleanly"
cp $image one.qcow2
eval "$(py bm.py $image where b)"
truncate -s $(((entry & ~65535) + (65 << 20))) $image
poke $image $((ext + 16)) 0000000004000000
poke $image $((dir + 18)) ffffffffffff
start_qcow -- $image || fail "start"
like "an unusable large directory: a warning" "$(cat "$log")" \
     "bitmaps .* can't be used"
takes 10000
stop_qcow || fail "the server exits cleanly"

# A directory of the maximum size, all of it usable.
mv one.qcow2 $image
py bm.py $image crowd b
start_qcow -- $image || fail "start"
printf -v name %01023d 64034
ok "64035 bitmaps with long names: the last one can be opened" nbdinfo --size \
   "$(to "bitmap:$name")"
takes $(((64 + 6) * 1024))
stop_qcow || fail "the server exits cleanly"

# A disabled bitmap does not record later writes.
rm -f $image
qemu-img create -q -f qcow2 $image 4M
add 64k b
io $image 'write -q 0 64k'
qemu-img bitmap --disable $image b
io $image 'write -q 1M 64k'
like "a disabled bitmap: a warning" "$(with_qcow true -- $image bitmap=b 2>&1)" \
     "warning.*'b' is disabled"
# shellcheck disable=SC2016
like "... and a note in the list" \
     "$(with_qcow 'nbdinfo --list "$uri"' -- $image 2> log)" "'b', disabled"

done_testing
