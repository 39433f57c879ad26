#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Remote files that change while they are served.  Whether the change shows in
# a strong or weak ETag, in Last-Modified or in the length, the client gets
# EIO, the log has one message, and no read mixes two versions.  If-Match is
# sent for strong ETags only.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

# Versions with the same metadata, which is in the first 256 KiB, but without
# an equal byte of data.  v2long also differs in length.
mkdir www
text_source $((4 << 20)) v1.raw v2.raw
for v in v1 v2; do
    qemu-img convert -f raw -O qcow2 -o cluster_size=16k $v.raw www/$v
done
cp www/v2 www/v2long
truncate -s +64k www/v2long
touch -d '2020-01-01 00:00:00' www/v1
touch -d '2020-01-01 00:00:01' www/v2 www/v2long
reads="$python $gen/nbd-reads.py"
words='changed while it was being served'

# How the versions differ -> settings; the file of the new version.
declare -A validators=(
    [strong]=''
    [weak]='etag=weak'
    [modified]='etag=none'
    [length]='etag=none;last-modified=no'
    [lax]='ignore=if-match'
)
declare -A newer=([strong]=v2 [weak]=v2 [modified]=v2 [length]=v2long
                  [lax]=v2)

start_web web www log=if-match

# add NAME KIND PLAN [SETTING...]: a file NAME whose versions differ as KIND
# says.  Requests for data get the versions of PLAN; those for the beginning
# of the file get v1.
settings=()
data=' bytes=???????-*'
add ()
{
    local name=$1 kind=$2 plan=$3 setting
    shift 3
    settings+=("/$name replace=v1*")
    while read -r -d ';' setting; do
        [ -z "$setting" ] || settings+=("/$name $setting")
    done <<< "${validators[$kind]};"
    settings+=("/$name$data replace=$plan")
    for setting; do
        case $setting in
            fail=*) settings+=("/$name$data $setting") ;;
            *) settings+=("/$name $setting") ;;
        esac
    done
}

# begin NAME COMMAND [PARAMETER...]
begin ()
{
    in_parallel "$1" "$2" "url=${web[web]}/$1" "${@:3}"
}

# --- One change, several readers --------------------------------------

# The first read gets the old version, the next one the new version.
for kind in "${!validators[@]}"; do
    add $kind $kind "v1,${newer[$kind]}*"
done
set_web web "${settings[@]}"
for kind in "${!validators[@]}"; do
    begin $kind "$reads \"\$uri\" v1.raw 0:65536 1000000:16384 \
2000000:16384 3000000:16384 3500000:16384 1000000:16384; \
                 $reads \"\$uri\" v1.raw 2500000:16384 2000000:16384"
done
for kind in "${!validators[@]}"; do
    outcome $kind
    like "$kind: EIO after the change, except for cached data" \
         "${out/$'\n'/; }" '^same same EIO EIO EIO (same|EIO); EIO EIO$'
    is "$kind: one message" "$(grep -c "$words" "$log")" 1
    like "... with the last component of the URL" "$(cat "$log")" \
         "error: ${kind}: .*$words"
    is "... no other message" "$(grep -vc "$words" "$log")" 0
    is "... no request after the one that detected the change" \
       "$(how_often web "/$kind bytes=.......-")" 2
    is "... the first request has no If-Match" \
       "$(asked web "/$kind " | head -1 | sed 's/.* //')" "if-match=-"
    case $kind in
        strong|lax) match='if-match="[0-9a-f]{32}"' ;;
        *) match=if-match=- ;;
    esac
    is "... the others have $match" \
       "$(asked web "/$kind " | sed 1d | grep -Evc " $match\$")" 0
done
is "strong: the server responds 412 to If-Match" \
   "$(asked web "/strong " | cut -d' ' -f4 | uniq | paste -sd' ')" "206 412"

# Concurrent reads: still one message.
settings=()
add several strong 'v2*' latency=0.1
set_web web "${settings[@]}"
many=
for i in $(seq 4 14); do
    many+=" $((i * 262144)):4096"
done
begin several "$reads --parallel \"\$uri\" v1.raw $many"
outcome several
is "11 concurrent reads: EIO" "$(sort -u <<< "${out// /$'\n'}")" EIO
is "... one message" "$(grep -c "$words" "$log")" 1

# --- What counts as a change ------------------------------------------

# case_of NAME REGEX PLAN [SETTING...]: the results of two reads, with a
# request each, match REGEX.
settings=()
names=()
declare -A wanted=()
case_of ()
{
    names+=("$1")
    wanted[$1]=$2
    add "$1" strong "${@:3}"
}
qemu-img convert -f raw -O qcow2 v1.raw www/other
head -c 1500000 www/v1 > www/cut
cp -p www/v1 www/copy
case_of nothing-changes 'same same' 'v1*'
case_of total-changes 'same EIO' 'v1*' fail=ok,total:4276225
case_of total-is-smaller 'same EIO' 'v1*' fail=ok,total:3000000
case_of total-is-unknown 'same (same|EIO)' 'v1*' 'fail=ok,range:bytes 2097152-2162687/**'
case_of cut 'same EIO' 'v1,cut*' etag=none last-modified=no
case_of cut-416 'same EIO' 'v1*' fail=ok,416
case_of 412 'same EIO' 'v1*' fail=ok,412 etag=none
case_of vanished 'same EIO' 'v1,nowhere'
case_of copy-etag 'same EIO' 'v1,copy'
case_of copy-date 'same same' 'v1,copy' etag=none
case_of copy-etag-weak 'same EIO' 'v1,copy' etag=weak
# Only metadata changes, such as tags in S3.
cp www/v1 www/retagged
touch -d '2020-01-01 00:00:02' www/retagged
case_of new-date 'same same' 'v1,retagged*' 'etag="x"'
case_of new-date-weak 'same EIO' 'v1,retagged*' 'etag=W/"x"'
case_of new-date-no-etag 'same EIO' 'v1,retagged*' etag=none
case_of literal-weak 'same same' 'v1*' 'etag=W/"x"'
case_of literal 'same same' 'v1*' 'etag="a,b;W/\xfc=*"'
case_of unquoted '(same same|same EIO|EIO EIO)' 'v1*' etag=unquoted
case_of long-etag '(same same|refused)' 'v1*' "etag=\"$(printf 'x%.0s' {1..5000})\""
case_of empty-etag 'same same' 'v1*' 'etag=""'
set_web web "${settings[@]}"
for name in "${names[@]}"; do
    begin "$name" "$reads \"\$uri\" v1.raw $((1048576 - 81920)):65536 \
$((2097152 - 81920)):65536"
done
for name in "${names[@]}"; do
    outcome "$name"
    [ "$rc" -ne 1 ] || out=refused
    if [[ $out =~ ^(${wanted[$name]})$ ]]; then
        pass "$name: $out"
    else
        fail "$name: ${wanted[$name]}" "got: $out" "$(cat "$log")"
    fi
    case $name:$out in
        vanished:*) like "... the message" "$(cat "$log")" 404 ;;
        total-is-unknown:*) ;;
        *EIO) like "... the message" "$(cat "$log")" "$words" ;;
    esac
done
is "a weak ETag: no If-Match" \
   "$(asked web /literal-weak | grep -vc 'if-match=-$')" 0
is "If-Match has the ETag verbatim" \
   "$(asked web '/literal bytes=[^0]' | grep -vcF 'if-match="a,b;W/\xfc=*"')" 0

# --- No mix of versions -----------------------------------------------

# A copy during which the file changes, at each of its requests; also in the
# middle of a response, and with a request that is retried.
settings=()
names=()
data=
for kind in strong weak modified length; do
    for n in 0 1 2 9; do
        for how in plain close fail; do
            name=$kind-$n-$how
            names+=("$name")
            plan="v1*$n,${newer[$kind]}*" faults="ok*$((n - 1)),"
            [ $n -gt 0 ] || plan="${newer[$kind]}*"
            [ $n -gt 1 ] || faults=
            case $how in
                plain) add "$name" $kind "$plan" ;;
                close) add "$name" $kind "$plan" "fail=${faults}close:100000" ;;
                fail) add "$name" $kind "$plan" "fail=${faults}ok,503" ;;
            esac
            [ $n -lt 9 ] || break       # a copy has fewer requests
        done
    done
done
set_web web "${settings[@]}"
for name in "${names[@]}"; do
    begin "$name" "nbdcopy \"\$uri\" $name.raw"
done
one=0 failed=0
for name in "${names[@]}"; do
    outcome "$name"
    if [ "$rc" -ne 0 ]; then
        failed=$((failed + 1))
        grep -q "$words" "$log" ||
            fail "$name: the log has the reason" "$(cat "$log")"
    elif cmp -s "$name.raw" v1.raw || cmp -s "$name.raw" v2.raw; then
        one=$((one + 1))
    else
        fail "$name: a mix of versions" "$(cat "$log")" \
             "$(asked web "/$name ")"
    fi
    rm -f "$name.raw"
done
is "no copy of ${#names[@]} mixes versions: $failed failed, $one succeeded" \
   $((failed > 0 && one > 0 && one + failed == ${#names[@]})) 1

# A file that is replaced again and again, at any time.
for kind in strong modified; do
    cp -p www/v1 www/flips
    settings=()
    add flips $kind ok latency=0.02
    settings+=("/flips replace=ok")
    set_web web "${settings[@]}"
    names=()
    for n in $(seq 8); do
        [ $((n % 2)) = 0 ] && v=v1 || v=v2
        cp -p www/$v www/new
        names+=("flips-$kind-$n")
        in_parallel "flips-$kind-$n" "nbdcopy \"\$uri\" flips-$kind-$n.raw" \
                    "url=${web[web]}/flips"
        sleep 0.06
        mv www/new www/flips
    done
    bad=
    for name in "${names[@]}"; do
        outcome "$name"
        [ "$rc" -ne 0 ] || cmp -s "$name.raw" v1.raw ||
            cmp -s "$name.raw" v2.raw || bad+=" $name"
        rm -f "$name.raw"
    done
    is "$kind: no copy mixes versions while the file is replaced" "$bad" ""
done

# --- Layers -----------------------------------------------------------

# If the backing file changes, the overlay's clusters are still readable.
qemu-img create -q -f qcow2 -o cluster_size=16k -b v1 -F qcow2 www/top 4M
io www/top "write -q -P 7 3M 1M"
oracle www/top top.raw
forget web
set_web web "/base replace=v1*" "/base bytes=???????-* replace=v1,v2*"
in_parallel layers "$reads \"\$uri\" top.raw 1000000:16384 2000000:16384 \
3670016:65536 2500000:16384" \
            "url=${web[web]}/top" "backing=${web[web]}/base" \
            backing-format=qcow
outcome layers
is "the backing file changes: EIO for its clusters only" \
   "$out" "same EIO same EIO"
is "... one message" "$(grep -c "$words" "$log")" 1
like "... with the last component of its URL" \
     "$(cat "$log")" "error: base: .*$words"

done_testing
