#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Web servers that fail temporarily or permanently.  Temporary errors are
# retried, within bounds; permanent ones are not.  The client gets the right
# bytes or EIO, and the log has the reason.  Waiting for a server blocks
# neither other clients nor the exit of nbdkit.
#
# Each case has its own path; the cases run concurrently, since they mostly
# wait.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

# With this cluster size, all metadata is in the first 64 KiB blocks of the
# file.  The faults concern blocks further on, so that it does not matter how
# often the first ones are read.
mkdir www
text_source $((4 << 20)) disk.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=16k disk.raw image.qcow2
l2=$(($(peek image.qcow2 "$(peek image.qcow2 40 8)" 8) & 0xffffffffffffff))
first=$(($(peek image.qcow2 $l2 8) & 0xffffffffffffff))
is "the image has the expected layout" \
   "$first $(stat -c %s image.qcow2)" "$((0x14000)) $((0x14000 + (4 << 20)))"
reads="$python $gen/nbd-reads.py"

# at BLOCK...: print arguments for nbd-reads.py that read a part of each 64
# KiB block of the file.  (A part, so that nothing is read ahead.)
at ()
{
    local block
    for block; do
        echo "$((block * 65536 - first)):4096"
    done
}

# start_table SERVER NAME [PARAMETER...] < lines OUTCOME REQUESTS FAULTS
#
# Start to serve an image to a client that concurrently reads a block for each
# line.  FAULTS are those of the block (see fail= in web-server.py), OUTCOME
# is a regular expression for the read's result, REQUESTS the number of
# requests, or "-" for any.
declare -A rows=() row_blocks=() row_server=()
start_table ()
{
    local server=$1 name=$2 outcome requests faults block=62
    local settings=() blocks=() server_options=(-t 32)
    shift 2
    while read -r outcome requests faults; do
        # The pattern has the end of the range, which stays the same when the
        # rest of a block is requested.
        settings+=("/$name bytes=*-$((block * 65536 + 65535)) fail=$faults")
        rows[$name]+="$outcome $requests $faults"$'\n'
        blocks+=("$block")
        block=$((block - 2))
    done
    ln image.qcow2 "www/$name"
    set_web "$server" "${settings[@]}"
    row_blocks[$name]=${blocks[*]}
    row_server[$name]=$server
    # shellcheck disable=SC2086
    in_parallel "$name" "$reads --parallel --times \"\$uri\" disk.raw \
                         $(at "${blocks[@]}" | paste -sd' ')" \
                "url=${web[$server]}/$name" connections=32 "$@"
}

# requests_for NAME BLOCK: print the requests of a table for that block.
requests_for ()
{
    asked "${row_server[$1]}" "/$1 bytes=[0-9]*-$(($2 * 65536 + 65535)) "
}

# end_table NAME: each read has the outcome and number of requests.  Sets
# ${took[FAULTS]} to its duration in milliseconds.
declare -A took=()
end_table ()
{
    local name=$1 outcome requests faults i=0 results blocks seen
    outcome "$name"
    read -ra results <<< "$out"
    read -ra blocks <<< "${row_blocks[$name]}"
    while read -r outcome requests faults; do
        [ -n "$outcome" ] || continue
        seen=$(requests_for "$name" "${blocks[i]}")
        took[$faults]=${results[i]#*@}
        [ "$requests" != - ] || requests=$(grep -c . <<< "$seen")
        if [[ ${results[i]} =~ ^($outcome)@ ]] &&
               [ "$(grep -c . <<< "$seen")" = "$requests" ]; then
            pass "$name: $faults: $outcome after $requests requests"
        else
            fail "$name: $faults: $outcome after $requests requests" \
                 "got: ${results[i]}" "$seen" "$(cat "$log")"
        fi
        i=$((i + 1))
    done <<< "${rows[$name]}"
}

# says REGEX: the log has a line that matches, with the URL of the last table
# or case, or (while serving) its last component.
says ()
{
    like "... the message has the URL, and matches: $1" "$(cat "$log")" \
         "error: (http://127\\.0\\.0\\.1:[0-9]+/)?[^ /]+:? .*($1)"
}

# between MS LOW HIGH: the duration is in the range.
between ()
{
    is "... after $2 to $3 ms ($1)" $(($1 >= $2 && $1 <= $3)) 1
}

# at_first SERVER < lines OUTCOME REQUESTS FAULTS [TEXT]: the faults occur
# when nbdkit starts.  OUTCOME is "ok" or "refused", with a message that
# matches TEXT.
at_first ()
{
    local server=$1 outcome requests faults text i settings=()
    mapfile -t table
    for i in "${!table[@]}"; do
        read -r outcome requests faults text <<< "${table[i]}"
        ln -f image.qcow2 "www/first$i"
        settings+=("/first$i fail=${faults//_/ }")
    done
    set_web "$server" "${settings[@]}"
    forget "$server"
    for i in "${!table[@]}"; do
        in_parallel "first$i" 'echo ok' "url=${web[$server]}/first$i"
    done
    for i in "${!table[@]}"; do
        read -r outcome requests faults text <<< "${table[i]}"
        outcome "first$i"
        [ "$rc" -ne 1 ] || out=refused
        if [ "$out" != "$outcome" ] ||
               { [ "$requests" != - ] &&
                     [ "$(how_often "$server" "/first$i ")" != "$requests" ]; }
        then
            fail "at the start, ${faults//_/ }: $outcome, $requests requests" \
                 "$(asked "$server" "/first$i ")" "$(cat "$log")"
        else
            pass "at the start, ${faults//_/ }: $outcome, $requests requests"
        fi
        [ "$out" != refused ] || says "$text"
    done
}

# Slow cases have their own servers and are evaluated at the end.  Permanent
# errors take 45 seconds.
start_web slow www
start_table slow slow <<'END'
same 2 503:100000
same 2 503:9223372036854776
same 2 hang
same 2 hang:1000
same 1 ok
END
start_web slower www
start_table slower slower <<'END'
EIO - 503*
EIO - short:1*
END
# After a request has failed permanently, others are tried once, until one
# succeeds.
start_web once www
ln image.qcow2 www/one-try
set_web once '/one-try bytes=*-4128767 fail=503*' \
        '/one-try bytes=*-2686975 fail=503' \
        '/one-try bytes=*-2031615 fail=503'
in_parallel one-try "$reads \"\$uri\" disk.raw \
                     $(at 62 40 20 30 | paste -sd' ')" \
            "url=${web[once]}/one-try"
# A server is down for 30 seconds in the middle of a copy.
# shellcheck disable=SC2016
copy='if nbdcopy "$uri" - | cmp - disk.raw; then echo same; fi'
start_web gateway www rate=400000
ln image.qcow2 www/gateway
in_parallel gateway "$copy" "url=${web[gateway]}/gateway"
wait_for gateway 'bytes=[1-9]......-'
restart_web gateway 30 www
restarted=$(how_often gateway)
# A server vanishes.
start_web vanishes www
ln image.qcow2 www/vanishes
in_parallel vanishes "$reads \"\$uri\" disk.raw $(at 16)
                      kill ${_web_pids[vanishes]}
                      $reads --times \"\$uri\" disk.raw $(at 62)" \
            "url=${web[vanishes]}/vanishes"
start_web slow-first www
ln image.qcow2 www/slow-first
set_web slow-first 'fail=502*'
in_parallel slow-first true "url=${web[slow-first]}/slow-first"

# nbdkit-retry-filter reopens the export after a status that the plugin does
# not retry.
start_web forbids www
ln image.qcow2 www/forbids
# shellcheck disable=SC2016
out=$(with_qcow 'set_web forbids "fail=403*"
                 { sleep 1; set_web forbids; } &
                 nbdcopy "$uri" - | cmp - disk.raw && echo same' \
                --filter=retry -- "url=${web[forbids]}/forbids" \
                retry-delay=1 2>&1)
like "--filter=retry: an error of the web server" "$out" 'forbids: .*403'
like "... the copy succeeds" "$out" '^same$'

# --- Without faults ---------------------------------------------------

start_web web www
ln image.qcow2 www/well
well=${web[web]}/well
set_web web log=connection
in_parallel well "$reads \"\$uri\" disk.raw 0:512 \
                  $(at 16 48 32 | paste -sd' ')" "url=$well"
outcome well
is "four reads succeed" "$out" "same same same same"
is "... one request for 256 KiB opens the image" \
   "$(asked web | head -1 | cut -d' ' -f1-4)" "GET /well bytes=0-262143 206"
is "... one request per block" "$(how_often web 'bytes=.......-')" 3
# The connection that opens the image does not survive the fork.
is "... on one connection" \
   "$(asked web 'bytes=.......-' | grep -o 'connection=.*' | sort -u | wc -l)" 1

for limit in 2 16; do
    forget web
    set_web web latency=0.1 log=busy
    in_parallel well "$reads --parallel \"\$uri\" disk.raw \
                      $(at {10..36..2} | paste -sd' ')" \
                "url=$well" connections=$limit
    outcome well
    is "14 concurrent reads, connections=$limit" \
       "$(sort -u <<< "${out// /$'\n'}")" same
    most=$(asked web | sed 's/.*busy=//' | sort -n | tail -1)
    is "... at most $limit concurrent requests ($most)" \
       $((most > limit / 2 && most <= limit)) 1
done

# --- Temporary errors -------------------------------------------------

start_table web once <<'END'
same 2 408
same 2 425
same 2 429
same 2 500
same 2 502
same 2 503
same 2 504
same 2 522
same 3 500*2
same 2 503:1
same 2 503:soon
same 2 reset
same 2 reset:30000
same 2 close
same 2 close:30000
same 4 close:30000,close:0,close:5000
END
end_table once
between "${took[503:1]}" 1000 10000

# What was received before the connection broke is not requested again.
# goes_on NAME BLOCK FROM...: a request from each of these offsets in BLOCK.
goes_on ()
{
    local name=$1 block=$2 from wanted=
    shift 2
    for from; do
        wanted+="bytes=$((block * 65536 + from))-$((block * 65536 + 65535)) "
    done
    is "$name: the retry requests the rest only" \
       "$(requests_for "$name" "$block" | cut -d' ' -f3 | paste -sd' ') " \
       "$wanted"
}
goes_on once 34 0 30000
goes_on once 32 0 30000 30000 35000

start_table web late timeout=1 <<'END'
same 2 hang
same 2 hang:30000
END
end_table late
between "${took[hang]}" 1000 10000
goes_on late 60 0 30000

at_first web <<'END'
ok - 503
ok - 429:1
ok - close
ok - reset
ok - reset:1000
ok - close:1000,503,close:200000
END

# A server that does not listen yet.
start_web starting www --refuse 0.2
in_parallel starting "echo ok" "url=${web[starting]}/well"
outcome starting
is "a server that starts 0.2 s later: retried" "$out" ok

# A slow server.
set_web web '/slow-start latency=3' '/slow-start bytes=???????-* latency=0'
ln image.qcow2 www/slow-start
in_parallel slow-start "echo ok" \
            "url=${web[web]/\/\//\/\/me:S3CRET@}/slow-start?S3CRET"
outcome slow-start
is "a slow first response: nbdkit starts" "$out" ok
like "... with a warning" "$(cat "$log")" \
     "warning: ${web[web]}/slow-start: still waiting .*not responded"
is "... only one" "$(wc -l < "$log")" 1
unlike "... without secrets" "$(cat "$log")" S3CRET

# --- Tolerated responses ----------------------------------------------

start_table web fine <<'END'
same 1 long:1000
same 1 wide:1000
same 2 short:30000
same 1 chunked
END
end_table fine
goes_on fine 58 0 30000
at_first web <<'END'
ok 1 long:100000
ok 1 wide:100000
ok 2 short:100
ok 1 chunked
END
set_web web rate=4000000 latency=0.1 'fail=chunked*'
in_parallel leisurely "$copy" "url=$well" timeout=1
outcome leisurely
is "a slow server that keeps sending: no timeout" "$out" same

# --- Permanent errors -------------------------------------------------

start_table web never <<'END'
EIO 1 400*
EIO 1 401*
EIO 1 403*
EIO 1 404*
EIO 1 405*
EIO 1 410*
EIO 1 418*
EIO 1 451*
EIO 1 501*
EIO 1 200*
EIO 1 204*
EIO 1 205*
EIO 1 206*
EIO 1 300*
EIO 1 304*
EIO 1 305*
EIO 1 306*
END
end_table never
for status in 400 401 403 404 405 410 418 451 501; do
    says $status
done
at_first web <<'END'
refused 1 400* 400
refused 1 401* 401
refused 1 403* 403
refused 1 404* 404
refused 1 410* 410
refused 1 200* range
refused 1 204*
refused 1 304* 304
END

# A refusal applies to one range, for one second.
forget web
set_web web '/well bytes=1048576-* fail=404' '/well bytes=2097152-* fail=ok'
in_parallel well "for block in $(at 16) $(at 32) $(at 16); do
                      $reads \"\$uri\" disk.raw \$block; sleep 1.2
                  done" "url=$well"
outcome well
is "a range that was refused is requested again after a second" \
   "$(paste -sd' ' <<< "$out")" "EIO same same"

# Other ranges are requested immediately, the same one is not.
forget web
set_web web '/well bytes=1048576-* fail=404*'
in_parallel well "$reads \"\$uri\" disk.raw $(at 16 32 16 48 | paste -sd' ')" \
            "url=$well"
outcome well
is "other ranges than the refused one are served" "$out" "EIO same EIO same"
forget web
set_web web '/well bytes=1048576-* fail=404*' '/well latency=0.3'
in_parallel well "$reads --parallel \"\$uri\" disk.raw $(at 16 16 16 16 |
                                                        paste -sd' ')" \
            "url=$well"
outcome well
is "concurrent reads of a refused range fail together" "$out" "EIO EIO EIO EIO"
is "... with one request" "$(how_often web bytes=1048576-)" 1
# Ranges that were read ahead together with a refused one are retried
# separately.
forget web
set_web web '/well bytes=*-2097151 fail=404*' '/well latency=0.3'
blocks=()
for block in {10..16}; do
    blocks+=("$((block * 65536 - first)):65536")
done
in_parallel well "$reads --parallel \"\$uri\" disk.raw ${blocks[*]}" \
            "url=$well"
outcome well
is "reads of ranges that were refused as a part of a larger one" \
   "$out" "same same same same same same same"
like "... the larger one was refused" "$(asked web)" '-2097151 404'

# --- Invalid responses ------------------------------------------------

# In a table, "_" stands for a space.
cat > nonsense <<'END'
start:1
start:65536
range:
range:bytes_0-1
range:bytes_*/4276224
range:bytes=0-65535/4276224
range:lines_0-65535/4276224
range:bytes_65535-0/4276224
range:bytes_-1-65535/4276224
range:bytes_0-65535/-1
range:bytes_0-65535/99999999999999999999999
range:bytes_18446744073709551616-18446744073709617151/4276224
range:bytes_0-18446744073709551615/4276224
range:bytes_0-65535/1000
range:bytes_0-65535/0
range:bytes
range:/
range:bytes_0x0-0xffff/4276224
range:bytes_0-65535/4276224_or_so
gzip
whole
END
sed 's/^/EIO 1 /; s/$/*/; s/_/ /g' nonsense > rows
# web-changed.t tests those with another total length.
start_table web nonsense < <(grep -Ev '/(1000|0|-1|9{23})[*]$' rows)
end_table nonsense
says ''
at_first web <<'END'
refused 1 start:1*
refused 1 range:*
refused 1 range:bytes_*/4276224*
refused 1 range:bytes_0-262143/99999999999999999999999*
refused 1 range:bytes_0-262143/1000*
refused 1 range:bytes_0-262143/**
refused 1 gzip*
refused 1 whole* range
END
start_table web garbage <<'END'
same|EIO - garbage
END
end_table garbage

# Files that are not images, and invalid URLs.
set_web web
: > www/empty
mkdir www/directory
head -c 100000 disk.raw > www/text
head -c 50 image.qcow2 > www/cut
cp image.qcow2 www/image.gz
poke www/image.gz 0 1f8b0800
qemu-img create -q -f vpc -o subformat=fixed www/fixed.vpc 1M
while IFS='|' read -r what why; do
    refused "not an image, $what: refused" "${web[web]}/$what: $why" \
            -- "url=${web[web]}/$what"
done <<'END'
empty|the file is empty
directory|
text|not a QCOW image: it starts with
image.gz|not a QCOW image: it is a file compressed with gzip
fixed.vpc|not a QCOW image: it is a VHD image
cut|the file is 50 bytes, but a QCOW header needs 104
nothing|
END
for what in http:// http:/// https:// http:///x http://:80/ \
            http://127.0.0.1:99999/x http://127.0.0.1:x/ 'http://[::1/x' \
            ftp://127.0.0.1/x "file://$tmp/image.qcow2" http:image.qcow2 \
            image.qcow2 gopher://127.0.0.1/x $'http://127.0.0.1/x\ny' ''; do
    refused "url=${what@Q}: refused" 'url|URL|http' -- "url=$what"
done
for what in http://127.0.0.1:99999/x 'http://[::1/x' ftp://127.0.0.1/x \
            image.qcow2; do
    refused "url=$what: the message has the value" \
            "error: ${what/\[/\\[}: (it is not a valid URL|must begin with|ftp:// is not supported)" -- "url=$what"
done
refused "url= and file=: refused" url -- "url=$well" image.qcow2

# --- Servers that hang ------------------------------------------------

# ends_in_time NAME PID [SIGNAL]: nbdkit ends within a second after a signal;
# under valgrind, well before the timeouts.
ends_in_time ()
{
    local before took=0 limit=1000
    [ -z "${QCOW_VALGRIND:-}" ] || limit=5000
    before=$(now)
    kill "-${3:-TERM}" "$2"
    while kill -0 "$2" 2>/dev/null && [ $took -lt 20000 ]; do
        sleep 0.01
        took=$(($(now) - before))
    done
    is "$1: nbdkit ends within $limit ms ($took ms)" $((took < limit)) 1
}

while read -r fault signal; do
    forget web
    set_web web "/well bytes=???????-* fail=$fault"
    start_qcow -- "url=$well"
    # shellcheck disable=SC2046
    $reads --parallel "$uri" disk.raw $(at 16 32 48) > client.log 2>&1 &
    client=$!
    wait_for web bytes=1048576
    sleep 0.1
    ends_in_time "$fault, SIG$signal" "$pid" "$signal"
    wait $client
    unlike "... the client gets no data" "$(cat client.log)" 'same|different'
    ok "... nbdkit exits cleanly" stop_qcow
done <<'END'
hang* TERM
hang* INT
hang:1000* TERM
503:10* TERM
close* TERM
END

# The same while nbdkit starts.
for fault in 'hang*' 'hang:1000*' '503:10*' 'reset*'; do
    forget web
    set_web web "fail=$fault"
    nbdkit -f -U "$tmp/starting.sock" "$plugin" \
           "url=$well" < /dev/null > starting.log 2>&1 &
    starting=$!
    wait_for web bytes=0-
    sleep 0.2
    ends_in_time "$fault at the start" $starting
    # Before nbdkit serves, a signal kills it.
    wait $starting 2>/dev/null; rc=$?
    [ $rc -eq 143 ] || _judge $rc
done

# A client leaves while its request hangs, another one stays.
forget web
set_web web '/well bytes=1048576-* fail=hang*'
start_qcow -- "url=$well"
$reads "$uri" disk.raw "$(at 16)" > client.log 2>&1 &
client=$!
wait_for web bytes=1048576
is "another client is served while a request hangs" \
   "$($reads "$uri" disk.raw 0:65536 "$(at 48)")" "same same"
kill $client
wait $client 2>/dev/null
sleep 0.1
is "... also after the client of that request has left" \
   "$($reads "$uri" disk.raw "$(at 32)" "$(at 48)")" "same same"
ends_in_time "a hanging request without a client" "$pid"
ok "... nbdkit exits cleanly" stop_qcow

# A read needs only the tables for its own range, in a chain of any length:
# here the second L2 table of the base is not available.
qemu-img convert -f raw -O qcow2 -o cluster_size=4k disk.raw www/base4k
second=$(($(peek www/base4k "$(($(peek www/base4k 40 8) + 8))" 8) &
          0xffffffffffffff))
is "the second L2 table is outside the first request" $((second > 262144)) 1
below=${web[web]}/base4k
for i in 1 2 3 4; do
    make_sort above$i v3 4M "$below" qcow2
    below=above$i
done
bytes=bytes=$((second / 65536 * 65536))-
forget web
set_web web "/base4k $bytes* fail=403*"
start_qcow -- above4 allow=any
is "reads that do not need an unavailable table succeed" \
   "$($reads "$uri" disk.raw 1048576:512 1572864:512 65536:4096 0:1048576)" \
   "same same same same"
is "... without a request for it" "$(how_often web "$bytes")" 0
is "... a read that needs it fails" \
   "$($reads "$uri" disk.raw 3145728:512 1048576:512)" "EIO same"
ok "... nbdkit exits cleanly" stop_qcow

# A map returns what it has found after a second.  (Each L2 table maps 32 KiB
# of the disk, is empty, and takes 20 ms.)
cat > slow.py <<'PY'
import struct
count = 32768
l1 = 2048
first = l1 + 8 * count + -(l1 + 8 * count) % 65536
with open("www/slow-map", "wb") as f:
    f.write(struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 9,
                        count * 32768, 0, count, l1, 512, 1, 0, 0,
                        0, 0, 0, 4, 104))
    f.seek(l1)
    for i in range(count):
        f.write(struct.pack(">Q", 1 << 63 | first + i * 65536))
    f.truncate(first + count * 65536)
PY
py slow.py
start_web slow-map www latency=0.02
start_qcow -- "url=${web[slow-map]}/slow-map"
is "a slow map of one layer returns a part" \
   "$(timeout 100 "$python" "$gen/nbd-patience.py" "$uri" $((1 << 30)) 5)" \
   "[3] True True"
ok "... a prefetch returns in time" \
   timeout 8 "$python" -m nbd -u "$uri" -c 'h.cache(1 << 30, 0)'
ok "... nbdkit exits cleanly" stop_qcow

# hanging NAME SERVER READ PARAMETER...: 24 reads hang because of that server;
# they would fill all connections and all decompression buffers.  READ, which
# does not need the server, must still succeed promptly, and nbdkit must exit
# in time.
hanging ()
{
    local name=$1 server=$2 read=$3 list client said i
    shift 3
    forget "$server"
    for ((i = 0; i < 24; i++)); do
        list+=" $(((20 + i) * 65536)):4096"
    done
    start_qcow -t 64 -- "$@"
    # shellcheck disable=SC2086
    $reads --parallel "$uri" top.raw $list > client.log 2>&1 &
    client=$!
    for ((i = 0; i < 500; i++)); do
        [ "$(how_often "$server" 'bytes=([3-9].....|.......)-')" -lt 12 ] ||
            break
        sleep 0.01
    done
    sleep 0.3
    # A read that has to wait takes up to 15 seconds.
    said=$($reads --times "$uri" top.raw "$read")
    if [[ $said =~ ^same@([0-9]+)$ ]] && [ "${BASH_REMATCH[1]}" -lt 5000 ]; then
        pass "$name"
    else
        fail "$name" "$said" "$(asked "$server")"
    fi
    ends_in_time "... exit" "$pid"
    wait $client
    ok "... nbdkit exits cleanly" stop_qcow
}
text_source $((4 << 20)) text.raw
start_web hangs www latency=0.01 '/*-base bytes=[3-9]?????-* fail=hang*' \
          '/*-base bytes=???????-* fail=hang*'
start_web drips www latency=0.01 '/*-base bytes=[3-9]?????-* rate=300' \
          '/*-base bytes=???????-* rate=300'
for sort in plain compressed; do
    options=()
    [ $sort = plain ] || options=(-c)
    qemu-img convert "${options[@]}" -f raw -O qcow2 text.raw base.qcow2
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
    io top.qcow2 "write -q ${options[*]} -P 5 640k 64k"
    oracle top.qcow2 top.raw
    cp base.qcow2 www/$sort-base
    cp top.qcow2 www/$sort-top
    for server in hangs drips; do
        hanging "$sort: a remote image over a base that $server" $server \
                $((640 << 10)):4096 "url=${web[web]}/$sort-top" \
                "backing=${web[$server]}/$sort-base"
        hanging "$sort: a local image over a base that $server" \
                $server \
                $((640 << 10)):4096 top.qcow2 connections=64 \
                "backing=${web[$server]}/$sort-base"
    done
done

# Clients wait for an L2 table or compressed cluster that another client's
# thread loads, and leave first.  Their threads and descriptors must be freed
# soon, so that new clients can connect.
cat > leave.py <<'PY'
import os, sys, time
import nbd
uri, pid, clients, offset = sys.argv[1:]

def descriptors():
    return len(os.listdir("/proc/%s/fd" % pid))

def connect():
    h = nbd.NBD()
    h.connect_uri(uri)
    return h

def read(h):
    h.aio_pread(nbd.Buffer(512), int(offset))
    while h.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
        h.poll(100)

# The clients that leave must not be the loading ones.
stays = connect()
stays.pread(512, 0)
read(stays)
time.sleep(0.5)
before = descriptors()
leave = [connect() for i in range(int(clients))]
for h in leave:
    read(h)
time.sleep(1)
during = descriptors()
del h, leave
began = time.monotonic()
while descriptors() > before + 9 and time.monotonic() < began + 60:
    time.sleep(0.05)
took = time.monotonic() - began
connect().pread(512, 0)
print("%s %.1f" % (during - before >= int(clients), took))
PY

# leaving NAME IMAGE RANGES OFFSET: requests of IMAGE in RANGES hang.
leaving ()
{
    local said limit=4
    [ -z "${QCOW_PRELOAD:-}${QCOW_VALGRIND:-}" ] || limit=15
    set_web held "/$2 bytes=$3-* fail=hang*"
    start_qcow -t 2 -- "url=${web[held]}/$2"
    said=$("$python" leave.py "$uri" "$pid" 150 "$4" 2>&1)
    if [[ $said =~ ^True\ ([0-9]+)\.[0-9]$ ]] &&
           [ "${BASH_REMATCH[1]}" -lt $limit ]; then
        pass "clients that wait for $1 and leave are freed"
    else
        fail "clients that wait for $1 and leave are freed" "$said"
    fi
    ok "... nbdkit exits cleanly" stop_qcow
}
qemu-img convert -f raw -O qcow2 -o cluster_size=512 text.raw www/tables-base
start_web held www latency=0.01
leaving "an L2 table" tables-base '[1-9]??????' 3000000
leaving "a compressed cluster" compressed-base '1??????' 3000000

# --- Secrets ----------------------------------------------------------

# Secrets appear in no message, whatever fails, with all debug flags.
# (nbdkit's own debug messages repeat the parameters, so the secrets come from
# files.)
printf S3CRET-password > password
printf name=S3CRET-cookie > cookie
printf S3CRET-proxy > proxy
basic=$(printf me:S3CRET-password | base64)
from_proxy=$(printf us:S3CRET-proxy | base64)
secrets="[sS]3[cC][rR][eE][tT]|$basic|$from_proxy|${from_proxy,,}"
demand="demand=Authorization: Basic $basic|Cookie: name=S3CRET-cookie"
demand+="|X-Key: S3CRETheader|Proxy-Authorization: Basic $from_proxy"
far='/well bytes=???????-*'
one="$reads \"\$uri\" disk.raw $(at 16)"
flags=(-v)
for flag in $(nm -D --defined-only "$plugin" | awk '{ print $3 }' |
                  sed -n 's/^qcow_debug_//p'); do
    flags+=(-D "qcow.$flag=1")
done
secret=('url=http://127.0.0.1:1/well?key=S3CRET-query' user=me
        password=+password cookie=+cookie 'header=X-Key: S3CRETheader'
        "proxy=${web[web]}" proxy-user=us proxy-password=+proxy timeout=1)

# debugging NAME OUT SETTING...: the client prints OUT; no message has a secret.
debugging ()
{
    local name=$1 wanted=$2
    shift 2
    set_web web "$@"
    out=$(with_qcow "$one" "${flags[@]}" -- "${secret[@]}" 2> secret.log)
    [ $? -ne 1 ] || out=refused
    sed -i '/ config key=/d' secret.log
    if ! [[ $out =~ ^($wanted)$ ]]; then
        fail "$name" "got: $out" "wanted: $wanted" "$(cat secret.log)"
    elif grep -E "$secrets" secret.log > found; then
        fail "$name: no secrets in messages" "$(cat found)"
    else
        pass "$name: $wanted, no secrets in messages"
    fi
}

debugging "password, cookie, header, query and proxy" same \
          "$demand" query=key=S3CRET-query
for fault in 403 404 whole start:1 gzip; do
    debugging "... $fault at the start" refused "$demand" "fail=$fault*"
    debugging "... $fault" EIO "$demand" "$far fail=$fault*"
done
debugging "... several faults" EIO "$demand" \
          '/well bytes=0-* fail=503' "$far fail=reset,hang,close:100,401"
like "... the log has a timeout" "$(cat secret.log)" 'timed out.*next try'
unlike "... without blaming the proxy" "$(cat secret.log)" \
       'connect to the proxy'
debugging "... the file changes" EIO "$demand" "$far fail=total:5"
debugging "... garbage" 'same|EIO' "$demand" "$far fail=garbage"
debugging "... wrong password" refused \
          "demand=Authorization: Basic bWU6eW91Cg=="
# A server may repeat the secrets that it received.
for text in S3CRET-password s3cret-cookie S3CRETheader key=S3CRET-query \
            "Basic ${from_proxy,,}" "$basic"; do
    debugging "the server repeats $text as Content-Range at the start" refused \
              "$demand" "fail=range:bytes $text*"
    debugging "... as Content-Range" EIO "$demand" \
              "$far fail=range:bytes $text*"
    debugging "... as an ETag" EIO "$demand" ignore=if-match 'etag="1"' \
              "$far etag=\"$text\""
    debugging "... as an ETag that changes" EIO "$demand" ignore=if-match \
              "etag=\"$text\"" "$far etag=\"1\""
    # Only codes that are words are printed.
    debugging "... as an error code" EIO "$demand" \
              "body=<Code>$text</Code>" "$far fail=403*"
    debugging "... as a redirect target" refused "$demand" \
              "to=http://h/${text// /%20}"
done
debugging "an error code of the server" refused "$demand" fail=403 \
          'body=<Code>NothingSecret</Code>'
like "... is in the message" \
     "$(cat secret.log)" '403 Forbidden \(NothingSecret\)'
secret=("url=${web[web]/\/\//\/\/me:S3CRET-password@}/well")
demand="demand=Authorization: Basic $basic"
debugging "user and password in the URL" same "$demand"
for text in S3CRET-password "$basic"; do
    debugging "... which the server repeats" EIO "$demand" ignore=if-match \
              "etag=\"$text\"" "$far etag=\"1\""
done
secret=("url=${web[web]}/well" resolve=S3CRET)
debugging "an invalid resolve=" refused
like "... the message shows the syntax" \
     "$(cat secret.log)" 'resolve=.*HOST:PORT:ADDRESS'
secret=("url=${web[web]/\/\//\/\/me:S3CRET-password@}/well")
debugging "user and password in the URL, an error" EIO "$demand" "$far fail=404"
debugging "... an error at the start" refused "$demand" fail=404
secret=("url=http://me:S3CRET password@127.0.0.1/well?S3CRET")
debugging "an invalid URL" refused
secret=("url=http://me:S3CRET/password@127.0.0.1:x/well?S3CRET#S3CRET")
debugging "a URL with several errors" refused

# --- Slow cases -------------------------------------------------------

end_table slower
says 503
between "${took[503*]}" 36000 60000
outcome gateway
is "a server is down for 30 seconds in the middle of a copy: it succeeds" \
   "$out" same
is "... no message" "$(cat "$log")" ""
is "... the rest was read after that ($ms ms)" \
   $((ms > 30000 && $(how_often gateway) > restarted)) 1
outcome vanishes
like "a server that vanishes: EIO" "$(paste -sd' ' <<< "$out")" \
     '^same EIO@[0-9]+$'
between "${out##*@}" 36000 60000
says 'can.t connect|[Cc]onnect'
end_table slow
between "${took[503:100000]}" 5000 15000
between "${took[503:9223372036854776]}" 5000 15000
between "${took[hang]}" 10000 30000
between "${took[hang:1000]}" 10000 30000
outcome one-try
# Only for a second, which valgrind may exceed before the next request.
if [ -z "${QCOW_VALGRIND:-}" ]; then
    is "after a permanent failure, other reads are tried once" "$out" \
       "EIO EIO same same"
    for ask in 2686975=1 2031615=2; do
        is "... requests for the block that ends at ${ask%=*}" \
           "$(how_often once "[0-9]-${ask%=*}")" "${ask#*=}"
    done
else
    like "after a permanent failure" "$out" "EIO (EIO|same) same same"
fi
outcome slow-first
is "502 forever at the start: refused" "$rc" 1
is "... after seven attempts" "$(how_often slow-first)" 7
is "... one warning while waiting" \
   "$(grep -c 'warning: .*/slow-first: still waiting.* 502 Bad Gateway' "$log")" 1
is "... and the error, no other message" "$(wc -l < "$log")" 2
between "$ms" 3000 40000
says 502
refused "a server that refuses connections: refused" \
        '127\.0\.0\.1:1/x.*([Rr]efused|connect)' \
        -- url=http://127.0.0.1:1/x

done_testing
