#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Remote images (url=) on nginx: images of every kind, with their snapshots,
# deltas and bitmaps, have the content and map of the local file, with any
# cache size and number of connections, through filters and with many clients.
# Invalid images are refused with the same message as local ones.  URLs may
# have any spelling.  The server receives range requests only, and each byte is
# requested once.
#
# (Parameters for the server, TLS and HTTP/2 are in web-options.t, chains in
# web-chains.t.)
#
# QCOW_SEED=N selects other images.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"

seed=${QCOW_SEED:-8000}
start_nginx '
location /whole/ { alias '"$www"'/; max_ranges 0; }
location /zipped/ { alias '"$www"'/; gzip_static always; }
location /undated/ { alias '"$www"'/; etag off; }
'

# compare_web NAME FILE [NBD-COMPARE-OPTION...]: bytes and map of an image in
# $www equal qemu's.
compare_web ()
{
    local name=$1 file=$www/$2 at=url=$http/$2 format
    shift 2
    format=$(format_of "$file")
    dense "$file"
    oracle "$file" oracle.raw
    serves "$name" "$at" oracle.raw "$@"
    qemu_map "$file" > wanted.map 2> log || fail "$name: qemu's map" "$(cat log)"
    our_map "$at" > got.map 2> log || fail "$name: our map" "$(cat log)"
    same_text "$name: the map" got.map wanted.map
}

# asked NAME FILE: since forget_requests the client requested ranges of this
# file only, not beyond its end, and no byte twice, except the prefix, which
# is read once more to open the image.
cat > asked.py <<'END'
import collections, re, sys

size, uri = int(sys.argv[1]), sys.argv[2]
times = collections.Counter()
for line in sys.stdin:
    _, _, _, _, method, status, length, want, _, path = line.split()
    m = re.fullmatch(r"bytes=(\d+)-(\d+)", want)
    if method != "GET" or status != "206" or path != uri or not m:
        sys.exit(line)
    first, last = map(int, m.groups())
    # The client does not know the size before the first response.
    if (first, last) != (0, (256 << 10) - 1) and last >= size:
        sys.exit("beyond %d: %s" % (size, line))
    if int(length) != min(last + 1, size) - first:
        sys.exit("response not read to its end: " + line)
    times.update(range(first >> 9, (min(last + 1, size) + 511) >> 9))
times.subtract(range(min(size, 256 << 10) >> 9))
if not times or max(times.values()) > 1:
    sys.exit("sectors requested more than once: %s"
             % [s for s, n in times.items() if n > 1])
END
asked ()
{
    requests > log
    ok "$1" py --stdin asked.py "$(stat -c %s "$www/$2")" "/$2" < log
}

# --- Kinds of images --------------------------------------------------

n=0
for spec in plain:65536: v2:65536:compat=0.10 small:512: large:2097152: \
            zstd:65536:compression_type=zstd \
            ext:65536:extended_l2=on \
            both:16384:extended_l2=on,compression_type=zstd; do
    IFS=: read -r name cluster create <<< "$spec"
    n=$((n + 1))
    size=$((3 << 20))
    [ "$cluster" != 512 ] || size=$((1 << 20))
    [ "$cluster" != 2097152 ] || size=$((24 << 20))
    random_image "$www/$name.qcow2" $((seed + n)) $size "$cluster" 60 "$create"
    forget_requests
    compare_web "random: $name" $name.qcow2 --cluster "$cluster" --borders 40
done
text_source $((6 << 20)) disk.raw
for kind in zlib zstd; do
    qemu-img convert -c -f raw -O qcow2 -o compression_type=$kind disk.raw \
             "$www/all-$kind.qcow2"
    compare_web "compressed: $kind" all-$kind.qcow2 --cluster 65536
done
for options in '' -c; do
    # shellcheck disable=SC2086
    qemu-img convert $options -f raw -O qcow src0 "$www/old$options"
    compare_web "version 1 ${options:+compressed}" "old$options" --cluster 4096
done
for size in 0 1 512 66048; do
    qemu-img create -q -f qcow2 "$www/$size.qcow2" $size
    if [ $size -gt 1 ]; then
        io "$www/$size.qcow2" "write -q -P 5 0 $size"
    fi
    compare_web "a disk of $size bytes" $size.qcow2
done
qemu-img create -q -f qcow2 "$www/empty.qcow2" 3T
is "an empty disk of 3 TiB: the map" "$(our_map "url=$http/empty.qcow2")" \
   "$(our_map "$www/empty.qcow2")"

# --- Requests ---------------------------------------------------------

for image in plain.qcow2 all-zlib.qcow2 large.qcow2; do
    format=qcow2 oracle "$www/$image" oracle.raw
    forget_requests
    serves "$image: reads of many kinds" "url=$http/$image" oracle.raw \
           --connections 3
    asked "... no byte is requested twice" $image
done
forget_requests
ok "the plugin starts" with_qcow true -- "url=$http/all-zstd.qcow2"
asked "... no byte is requested twice" all-zstd.qcow2
is "... at most two requests" "$(($(wc -l < log) <= 2))" 1
like "... the first one is for 256 KiB" "$(head -1 log)" \
     ' GET 206 262144 bytes=0-262143 127\.0\.0\.1 /all-zstd\.qcow2$'
# 16 MiB: read-ahead begins with small requests here, too.
text_source $((16 << 20)) large.raw
qemu-img convert -f raw -O qcow2 large.raw "$www/16M.qcow2"
forget_requests
# shellcheck disable=SC2016
ok "a copy by nbdcopy" with_qcow 'nbdcopy "$uri" null:' \
   -- "url=$http/16M.qcow2"
asked "... no byte is requested twice" 16M.qcow2
got=$(wc -l < log)
is "... at most 40 requests ($got)" "$((got <= 40))" 1
# One at the start, 16 of the driver, which stay open while idle, and 4 of
# readers that fetch for themselves.
got=$(cut -d ' ' -f 1 log | sort -u | wc -l)
is "... at most 21 connections ($got), which are reused" "$((got <= 21))" 1
unlike "every request but the first has If-Match" \
       "$(headers | tail -n +2)" '^([^|]*[|]){7}-[|]'
unlike "no request accepts a content encoding" \
       "$(headers)" '^([^|]*[|]){8}[^|]*(gzip|deflate|br|zstd)'

# --- Memory and connections -------------------------------------------

oracle "$www/plain.qcow2" plain.raw
oracle "$www/all-zlib.qcow2" zlib.raw
for options in 'cache-size=1M' 'cache-size=0' 'connections=1' \
               'connections=2 cache-size=1M' 'connections=1 cache-size=0' \
               'connections=64' 'cache-size=1G'; do
    read -ra params <<< "$options"
    for image in plain all-zlib; do
        serves "$image, $options" "url=$http/$image.qcow2" \
               "${image#all-}.raw" --connections 3 --random 50
    done
done
params=(connections=1)
forget_requests
# shellcheck disable=SC2016
ok "connections=1" with_qcow 'nbdcopy "$uri" null:' \
   -- "url=$http/all-zlib.qcow2"
# The connection from before the fork is a second one.
is "... uses one connection, and one to open the image" \
   "$(($(requests | cut -d ' ' -f 1 | sort -u | wc -l) <= 2))" 1
params=()
for options in connections=0 connections=x connections=-1 \
               connections=99999999999; do
    refused "$options: refused" \
            'connections' -- "url=$http/plain.qcow2" $options
done

# --- Snapshots, deltas, bitmaps ---------------------------------------

image=$www/history.qcow2
qemu-img create -q -f qcow2 "$image" 8M
io "$image" 'write -q -c -s src0 0 64k' 'write -q -s src1 64k 1M' \
   'write -q -s src2 4M 300k'
qemu-img snapshot -c mon "$image"
io "$image" 'write -q -s src3 100k 200k' 'write -q -z 4M 64k' \
   'write -q -c -s src3 6M 64k'
qemu-img snapshot -c tue "$image"
qemu-img bitmap --add -g 64k "$image" changes
io "$image" 'discard -q 6M 64k' 'write -q -s src0 7M 100k'
dense "$image"
for name in mon tue; do
    cp "$image" applied.qcow2
    qemu-img bitmap --remove applied.qcow2 changes
    qemu-img snapshot -a $name applied.qcow2
    oracle applied.qcow2 $name.raw
    qemu_map applied.qcow2 > $name.map
done
oracle "$image" now.raw
qemu_map "$image" > now.map

# export_is NAME RAW MAP [NBDKIT-OPTION...] -- [PARAMETER...]
export_is ()
{
    local name=$1 raw=$2 map=$3
    shift 3
    rm -f got.raw got.map
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" got.raw &&
        nbdinfo --map "$uri" > got.map &&
        py "$gen/nbd-compare.py" "$uri" got.raw' \
       "$@" "url=$http/history.qcow2"
    same_bytes "... same bytes" got.raw $raw
    same_text "... same map" got.map $map
}
export_is "the current state" now.raw now.map --
export_is "a snapshot" mon.raw mon.map -e mon --
export_is "a snapshot by id" tue.raw tue.map -e 2 --
export_is "a snapshot by snapshot=" mon.raw mon.map -- snapshot=mon
# deltas.t and bitmaps.t compare the maps of local images with qemu.
for spec in mon..tue:tue mon..:now tue..:now bitmap:changes:now; do
    view=${spec%:*}
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -e "$view" -- "$image" > local.map
    export_is "$view" "${spec##*:}.raw" local.map -e "$view" --
done
export_is "since=" now.raw local.map -- since=tue
like "... the map has unchanged areas" "$(cat got.map)" ' 1 +hole$'
# shellcheck disable=SC2016
with_qcow 'nbdinfo --list "$uri"' -- "$image" > wanted.list
# shellcheck disable=SC2016
with_qcow 'nbdinfo --list "$uri"' -- "url=$http/history.qcow2" > got.list
sed -i '/uri: /d' wanted.list got.list
same_text "the list of exports equals that of the local image" \
          got.list wanted.list
# An incremental copy with standard tools.
qemu-img convert -f raw -O qcow2 mon.raw mon.qcow2
# shellcheck disable=SC2016
ok "an incremental copy" with_qcow \
   'qemu-img convert -f raw -O qcow2 -B mon.qcow2 -F qcow2 "$uri" tue.qcow2' \
   -e mon..tue -- "url=$http/history.qcow2"
oracle tue.qcow2 got.raw
same_bytes "... same bytes" got.raw tue.raw

# --- Data file --------------------------------------------------------

# web-chains.t tests how data files are found.
qemu-img create -q -f qcow2 -o data_file="$www/data.bin" "$www/split.qcow2" 4M
io "$www/split.qcow2" 'write -q -s src0 0 1M' 'write -q -z 512k 64k' \
   'write -q -s src1 2M 70000'
dense "$www/data.bin"
params=("data-file=$http/data.bin")
compare_web "an image with a data file" split.qcow2 \
            --cluster 65536
params=()

# --- Clients and filters ----------------------------------------------

start_qcow -- "url=$http/all-zlib.qcow2" cache-size=2M
pids=()
for i in 1 2 3 4; do
    nbdcopy "$uri" copy$i.raw &
    pids+=($!)
done
for i in 1 2 3 4; do
    wait "${pids[i - 1]}"
    is "concurrent copies: $i" $? 0
    same_bytes "... same bytes" copy$i.raw zlib.raw
    rm -f copy$i.raw
done
stop_qcow

# through NAME NBDKIT-OPTION... -- FILTER-PARAMETER...
through ()
{
    local name=$1 opts=()
    shift
    while [ "$1" != -- ]; do
        opts+=("$1"); shift
    done
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw plain.raw &&
        py "$gen/nbd-compare.py" "$uri" plain.raw --connections 2' \
       "${opts[@]}" "$@" "url=$http/plain.qcow2"
}
through "the filter cow" --filter=cow --
through "the filter cache" --filter=cache -- cache-on-read=true
through "the filter readahead" --filter=readahead --
through "the filter blocksize" --filter=blocksize -- maxdata=64K
through "the filter retry" --filter=retry -- retries=2 retry-delay=1
through "three filters" --filter=cow --filter=cache --filter=readahead --
cp plain.raw written.raw
echo 'write -P 7 1000 3000' > writes
qemu-io -f raw written.raw < writes > log
# shellcheck disable=SC2016
ok "cow: write and read" with_qcow \
   'qemu-io -f raw "$uri" < writes && nbdcopy "$uri" got.raw' \
   --filter=cow -- "url=$http/plain.qcow2"
same_bytes "... same bytes" got.raw written.raw

truncate -s 8M parted.raw
printf 'label: dos\nstart=2048, size=2048\nstart=5000, size=9001\n' |
    sfdisk -q parted.raw
dd if=disk.raw of=parted.raw bs=512 seek=5000 count=9001 conv=notrunc \
   status=none
head -c $((9001 * 512)) disk.raw > wanted.raw
qemu-img convert -c -f raw -O qcow2 parted.raw "$www/parted.qcow2"
# shellcheck disable=SC2016
ok "the filter partition" with_qcow 'nbdcopy "$uri" got.raw' \
   --filter=partition -- "url=$http/parted.qcow2" partition=2
same_bytes "... same bytes" got.raw wanted.raw

# NBD_CMD_CACHE.
# shellcheck disable=SC2016
ok "NBD_CMD_CACHE" \
   with_qcow '"$python" -m nbd -u "$uri" -c "h.cache (h.get_size (), 0)"' \
   -- "url=$http/plain.qcow2"

# --- Invalid images ---------------------------------------------------

# alike NAME FILE: refused with the same message as the local file.
alike ()
{
    local wanted got rc
    wanted=$(with_qcow true -- "$www/$2" 2>&1)
    got=$(with_qcow true -- "url=$http/$2" 2>&1); rc=$?
    is "$1: refused" $rc 1
    is "... same message as for the local file" \
       "${got//"$http"/WEB}" "${wanted//"$www"/WEB}"
}
: > "$www/none"
refused "an empty file: refused" \
        "nbdkit: .*$http/none.*empty" -- "url=$http/none"
for n in 1 3 4 20 71 72 103; do
    head -c $n "$www/plain.qcow2" > "$www/cut"
    alike "an image truncated to $n bytes" cut
done
head -c 100 disk.raw > "$www/text"
alike "100 bytes of text" text
cp disk.raw "$www/text"
alike "6 MiB of text" text
cp "$www/plain.qcow2" "$www/bad"
poke "$www/bad" 72 8000000000000000
alike "an unknown feature" bad
cp "$www/plain.qcow2" "$www/bad"
poke "$www/bad" 40 0000ffff00000000
alike "an L1 table beyond the end" bad

# A truncated file has the same readable clusters as a local one.
for length in 700000 262144 262145 65536; do
    head -c $length "$www/all-zlib.qcow2" > "$www/cut.qcow2"
    is "truncated to $length bytes: the same clusters are EIO as locally" \
       "$(status_of "url=$http/cut.qcow2" zlib.raw 65536)" \
       "$(status_of "$www/cut.qcow2" zlib.raw 65536)"
done

refused "a missing file: refused" \
        "nbdkit: .*$http/gone.*404" -- "url=$http/gone"
refused "a directory: refused" "nbdkit: .*$http/.*40[34]" -- "url=$http/"
is "... the message has one line" \
   "$(with_qcow true -- "url=$http/gone" 2>&1 | grep -c .)" 1
refused "a server without range support: refused" \
        "$http/whole/plain\\.qcow2.*does not support range requests" \
        -- "url=$http/whole/plain.qcow2"
gzip -c "$www/plain.qcow2" > "$www/plain.qcow2.gz"
# nginx does not support range requests of such files: either message is correct.
refused "a response with Content-Encoding: gzip: refused" \
        "$http/zipped/plain\\.qcow2.*(gzip|does not support range requests)" \
        -- "url=$http/zipped/plain.qcow2"
serves "a server without ETags" "url=$http/undated/plain.qcow2" plain.raw
for bad in '' x nonsense:// http:// http://127.0.0.1:99999/x \
           ftp://127.0.0.1/x file:///etc/passwd "file://$www/plain.qcow2" \
           scp://h/x 'http://[::1/x' "http://127.0.0.1:$http_port :80/x" \
           "dict://127.0.0.1:$http_port/x" "gopher://127.0.0.1:$http_port/x" \
           "HTTPX://127.0.0.1:$http_port/plain.qcow2"; do
    refused "url=$bad: refused" \
            'is not supported|must begin with|not a valid URL|host is missing|url=' \
            -- "url=$bad"
done
refused "url= twice: refused" \
        'url' -- "url=$http/plain.qcow2" "url=$http/plain.qcow2"
refused "url= and file=: refused" '(url|file)' \
        -- "url=$http/plain.qcow2" "$www/plain.qcow2"

# --- Files that change while they are served --------------------------

# changes NAME PATH COMMAND: COMMAND changes the file after the start.
changes ()
{
    local name=$1 path=$2 out
    start_qcow -- "url=$http/$path/changing.qcow2" cache-size=0
    sleep 0.1
    eval "$3"
    out=$(nbdcopy "$uri" null: 2>&1)
    is "$name: reads fail" $? 1
    like "... with EIO" "$out" 'Input/output error'
    like "... the log has the reason" "$(cat "$log")" \
         'changing\.qcow2.*changed while it was being served'
    is "... only once" "$(grep -c 'while it was being served' "$log")" 1
    stop_qcow
}
for path in . undated; do
    cp "$www/all-zlib.qcow2" "$www/changing.qcow2"
    touch -d '2020-01-01 12:00:00' "$www/changing.qcow2"
    changes "another file of the same length, /$path/" $path \
            'touch -d "2020-01-02 12:00:00" "$www/changing.qcow2"'
    # nginx builds ETags from time and length.
    changes "a longer file, /$path/" $path \
            'd=$(stat -c %y "$www/changing.qcow2")
             echo >> "$www/changing.qcow2"
             touch -d "$d" "$www/changing.qcow2"'
    changes "a file that was replaced by a shorter one, /$path/" $path \
            'head -c 300000 disk.raw > "$www/changing.qcow2"'
done

# --- URLs -------------------------------------------------------------

# named DESCRIPTION FILE URL: the plugin serves the file at URL.
named ()
{
    local out
    mkdir -p "$(dirname "$www/$2")"
    cp "$www/plain.qcow2" "$www/$2"
    rm -f got.raw
    # shellcheck disable=SC2016
    out=$(with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw plain.raw' \
                    -- "url=$3" 2>&1)
    is "$1" "$?$out" 0
    rm -r "${www:?}/${2%%/*}"
}
named "escaped spaces" 'a disk of mine' "$http/a%20disk%20of%20mine"
named "unescaped UTF-8" 'größe/диск.qcow2' "$http/größe/диск.qcow2"
named "escaped UTF-8" 'größe.qcow2' "$http/gr%C3%B6%c3%9fe.qcow2"
named "a percent sign" '100%41' "$http/100%2541"
named "a needless escape" 'ABC' "$http/%41BC"
named "punctuation" "+&=;,@:!\$'()*~[]" "$http/+&=;,@:!\$'()*~%5b%5d"
named "an escaped question mark and number sign" 'a?b#c' "$http/a%3fb%23c"
named "a query string" 'plain' "$http/plain?x=y/z&u=%20#part"
named "duplicate slashes" 'a/b' "$http//a//b"
named "dot segments" 'a/b' "$http/x/../a/./c/../b"
named "an upper-case scheme" 'a' "HTTP://127.0.0.1:$http_port/a"
named "localhost" 'a' "http://localhost:$http_port/a"
named "a query string without a path" 'index.html' "$http?x"
long=$(printf 'x%.0s' {1..200})
named "a long name" "$long/$long/$long" "$http/$long/$long/$long?$long$long"
if [ -n "$http6" ]; then
    named "IPv6" 'six' "$http6/six"
else
    skip "IPv6" "no IPv6 here"
fi
# Spaces and control characters have no defined meaning in a URL: the plugin
# may serve the file or refuse the URL, but must not truncate the URL.
for bad in 'bl ank' $'new\nline' $'tab\there' $'bell\a'; do
    cp "$www/plain.qcow2" "$www/$bad"
    cp "$www/old" "$www/${bad%%[ $'\n\t\a']*}"
    # shellcheck disable=SC2016
    out=$(with_qcow 'nbdcopy "$uri" - | cmp - plain.raw' \
                    -- "url=$http/$bad" 2>&1)
    case "$?:$out" in
        0:*|1:*'not a valid URL'*) pass "unescaped: $(printf %q "$bad")" ;;
        *) fail "unescaped: $(printf %q "$bad")" "$out" ;;
    esac
done
# No message contains the query string.  (With -v, nbdkit itself prints the
# command line.)
out=$(with_qcow true -v -- "url=$http/gone?sig=SECRET#SECRET" 2>&1 |
          grep -v 'config key=')
like "a signed URL that fails: the message has the URL" "$out" "$http/gone"
unlike "... but no signature" "$out" 'SECRET'
unlike "a signed URL that works: the debug output has no signature" \
       "$(with_qcow true -v -D qcow.http=1 \
                    -- "url=$http/plain.qcow2?sig=SECRET" 2>&1 |
              grep -v 'config key=')" SECRET

done_testing
