#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Chains of images and data files that a web server has, or some of them:
# they hold what qemu says of the same files in a directory; then how the
# names are understood, and which of them are followed: none, until the
# user allows it; then those below the addresses and directories that he
# allows, whatever tricks the name plays.  What is refused is refused with
# the parameter that would allow it, and that parameter works.
#
# What the web server was asked for counts as well as what is served.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"

start_nginx '
location /auth/ {
    alias '"$www"'/; auth_basic images; auth_basic_user_file '"$tmp"'/users;
}
location /moved/ { rewrite ^/moved/(.*) /img/$1 redirect; }
location ~ ^/deep/(er/)*image$ { try_files /img/deep =404; }
location /undated/ { alias '"$www"'/; etag off; }
'
printf 'me:{PLAIN}secret\n' > users

text_source $((4 << 20)) src0 src1 src2 src3
mkdir "$www/img"
img=$http/img
params=(allow=image-dir)

# chain_is NAME IMAGE URL [PARAMETER...]: bytes and map of an image on the
# web are what qemu says of a local one.
chain_is ()
{
    local name=$1 image=$2 url=$3 format saved=("${params[@]}")
    shift 3
    format=$(format_of "$image")
    params+=("$@")
    oracle "$image" oracle.raw
    serves "$name" "url=$url" oracle.raw --connections 2
    qemu_map "$image" > wanted.map 2> log || fail "$name: qemu's map" "$(cat log)"
    our_map "url=$url" > got.map 2> log || fail "$name: our map" "$(cat log)"
    same_text "$name: the map" got.map wanted.map
    params=("${saved[@]}")
}

# --- What chains hold -------------------------------------------------

cd "$www/img" || exit 1
head -c 3000000 "$tmp/src0" > base.raw
dense base.raw
below=base.raw format=raw n=0
for sort in v1 v2 ext v3; do
    n=$((n + 1))
    make_sort layer$n $sort $((4 << 20)) $below $format
    format=$(format_of layer$n)
    io layer$n "write -q -P $n $((n * 300))k 100k" \
       "write -q -s $tmp/src$((n % 4)) 2500k 700k"
    [ $sort = v1 ] ||
        io layer$n "write -q -z $((n * 100))k 64k" 'discard -q 1M 128k'
    dense layer$n
    below=layer$n
    chain_is "$n layers over a raw one: $sort" layer$n "$img/layer$n"
done
for length in 0 1 511 70001 262144 262145; do
    head -c $length "$tmp/src1" > short.raw
    make_sort over v3 300032 short.raw raw
    dense over
    chain_is "$length bytes of raw below 300032" over "$img/over"
done
qemu-img convert -c -f raw -O qcow2 "$tmp/src2" packed
make_sort over v3 6M packed qcow2
io over 'write -q -s ../../src3 1M 1M'
dense over
chain_is "over compressed clusters" over "$img/over"
chain_is "... of a server without ETags" over "$http/undated/img/over"
chain_is "... of one that redirects" over "$http/moved/over"
chain_is "... by TLS and HTTP/2" over "$https/img/over" \
         "cainfo=$ca" http-version=2.0
chain_is "... with little memory" over "$img/over" cache-size=0 connections=1

# Data files, at the top and below.
rm -f data.bin split
qemu-img create -q -f qcow2 -o data_file=data.bin split 4M
io split 'write -q -s ../../src0 0 1M' 'write -q -z 512k 64k' \
   'write -q -s ../../src1 2M 70000'
dense data.bin
make_sort over v3 4M split qcow2
io over 'write -q -P 8 100k 100k'
dense split
dense over
chain_is "a data file" split "$img/split"
chain_is "a data file below" over "$img/over"

# Deltas over a layer.
for view in backing.. layer:1..; do
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -e $view -- over > wanted.map
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -e $view -- "url=$img/over" > got.map
    same_text "$view: the map" got.map wanted.map
done
like "... is that of a delta" "$(cat got.map)" ' 1 +hole$'
# (qemu takes the name of a data file from the current directory.)
oracle over "$tmp/over.raw"
oracle split "$tmp/split.raw"
cd "$tmp" || exit 1

# Some of it here, some there.
params=()
serves_all ()
{
    local name=$1 image=$2 out
    shift 2
    rm -f got.raw
    # shellcheck disable=SC2016
    if out=$(with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw over.raw' \
                       -- "$image" "$@" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out"
    fi
}
mkdir here
cp "$www/img/over" "$www/img/split" "$www/img/data.bin" here
cp "$www/img/over" alone
cp "$www/img/split" alone-split
serves_all "here, the backing file there" alone "backing=$https/img/split" \
           "allow=$https/img" "cainfo=$ca"
serves_all "... and its data file, which is named" alone \
           "backing=$img/split" "data-file=$img/data.bin"
serves_all "... and here, which is named" alone \
           "backing=$img/split" data-file=here/data.bin
serves_all "here, but the data file" alone backing=alone-split \
           "data-file=$img/data.bin"
serves_all "there, the backing file here" "url=$img/over" \
           backing=here/split allow=here
serves_all "... but its data file there" "url=$img/over" \
           backing=alone-split "data-file=$img/data.bin"
refused "here, the backing file there, whose data file is not allowed" \
        "$img/split.*'data\\.bin'.*allow=$img" \
        -- alone "backing=$img/split"
refused "... by image-dir, which is of the image" \
        "$img/split.*'data\\.bin'.*allow=$img" \
        -- alone "backing=$img/split" allow=image-dir
serves_all "... by the address it is" alone "backing=$img/split" "allow=$img"
refused "a backing file there that is missing" "$img/none.*404" \
        -- alone "backing=$img/none"
refused "a data file there that is missing" "$img/none.*404" \
        -- alone-split "data-file=$img/none"

# --- Names ------------------------------------------------------------

# The file that a name should lead to has its own content.
place ()
{
    mkdir -p "$(dirname "$1")"
    { printf '%s\n' "$1"; cat src0; } 2> log | head -c 65536 > "$1"
}
for file in img/base.raw img/sub/base.raw img/sub/inner.raw img2/base.raw \
            imgx secret/base.raw base.raw; do
    place "$www/$file"
done
mkdir -p dir
for file in base.raw dir/base.raw; do
    place "$file"
done

# over NAME [FORMAT]: "top", in $www/img, has that backing file.
over ()
{
    stored=$1
    make_sort "$www/img/top" v3 64k "$1" "${2:-raw}"
}
top=$img/top

# leads NAME FILE [PARAMETER...]: it is served, and is what the file is.
leads ()
{
    local name=$1 file=$2 out
    shift 2
    rm -f got.raw
    # shellcheck disable=SC2016
    if out=$(with_qcow 'nbdcopy "$uri" got.raw' -- "url=$top" "$@" 2>&1) &&
       out=$(cmp got.raw "$file" 2>&1); then
        pass "$name"
    else
        fail "$name" "$out" "$(head -1 got.raw 2>&1)"
    fi
}

# denied NAME ADVICE FILE [PARAMETER...]: the backing file is not asked for;
# the message has its name and advises allow=ADVICE, with which it is that
# FILE.  Without ADVICE it must be refused anyhow.
denied ()
{
    local name=$1 advice=$2 file=$3 out rc got
    shift 3
    forget_requests
    out=$(with_qcow true -- "url=$top" "$@" 2>&1); rc=$?
    got=$(grep -Eo 'allow=[^ ,;]+' <<< "$out" | tail -1 | sed "s/[')\"]*$//")
    if [ $rc -ne 1 ]; then
        fail "$name" "status $rc instead of 1" "$out"
        return
    elif [[ $out != *"$stored"* ]] || [[ $out != *"$top"* ]]; then
        fail "$name: the message has the names" "$out"
        return
    elif requests | grep -v ' /img/top$'; then
        fail "$name: nothing else is asked for" "$out"
        return
    elif [ -n "$advice" ] && [ "${got%/}" != "allow=$advice" ]; then
        fail "$name: the advice is allow=$advice" "$out"
        return
    fi
    pass "$name"
    [ -z "$advice" ] || leads "... with that" "$file" "$@" "$got"
}

# nowhere NAME [PARAMETER...]: it does not start, and nothing but what is
# below /img is asked for, in whatever spelling.
nowhere ()
{
    local name=$1 out rc
    shift
    forget_requests
    out=$(with_qcow true -- "url=$top" "$@" 2>&1); rc=$?
    if [ $rc -ne 1 ] || ! grep -q 'nbdkit: ' <<< "$out"; then
        fail "$name" "status $rc" "$out"
    elif headers | cut -d '|' -f 10 | grep -Ev '^/img(/|$)'; then
        fail "$name" "it was asked for" "$out"
    elif requests | grep -Ev ' 127\.0\.0\.1 /img([/? ]|$)'; then
        fail "$name" "it was asked for" "$out"
    else
        pass "$name"
    fi
}

# Beside the image, as file names are.
params=(allow=image-dir)
for name in base.raw ./base.raw .//sub/../base.raw ../img/base.raw \
            sub/../../img/./base.raw; do
    over $name
    leads "the name $name" "$www/img/base.raw"
done
over sub/inner.raw
leads "a name in a directory below" "$www/img/sub/inner.raw"
top="$img/top?signature=a/b/c#d/e"
leads "the query string is none of the directory" "$www/img/sub/inner.raw"
top=$img/sub/../top
leads "... dots in the URL" "$www/img/sub/inner.raw"
top=$http/%69mg/top
leads "... escapes in the URL" "$www/img/sub/inner.raw"
top=$http/moved/top
leads "... of a server that redirects" "$www/img/sub/inner.raw"
top=$img/top
weird=(./a:b 'with blanks' 'quote"s'"'" 'back\slash' $'new\nline'
       $'\xff\xfe' größe %41%20 '*' '~' -x image-dir any 'a,b=c' '#1'
       '?a=b' '&' '+' 'a;b' ./json:{} ./http:/x '[]' '{}' '|' '^' '...' '..a')
for name in "${weird[@]}"; do
    place "$www/img/$name" 2> log || continue
    over "$name"
    leads "the name $(printf %q "$name")" "$www/img/$name"
done
name=$(printf './%.0s' {1..507})/base.raw
over "$name"
leads "a name of 1023 bytes" "$www/img/base.raw"
# The third layer: its name counts from the second one's.
make_sort "$www/img/sub/mid" v3 64k ../base.raw raw
over sub/mid qcow2
leads "a chain through two directories" "$www/img/base.raw"
make_sort "$www/img/sub/mid" v3 64k base.raw raw
leads "... and back" "$www/img/sub/base.raw"
params=()
leads "... by its address" "$www/img/sub/base.raw" "allow=$img"
leads "backing= twice needs no allow" "$www/img2/base.raw" \
      "backing=$img/sub/mid" "backing=$http/img2/base.raw"
cp "$www/img/sub/mid" "$www/img2/mid"
refused "backing= once: what that names needs allow" \
        "$http/img2/mid.*base\.raw.*allow=$http/img2" \
        -- "url=$top" "backing=$http/img2/mid"
leads "... with allow" "$www/img2/base.raw" "backing=$http/img2/mid" \
      "allow=$http/img2"
refused "... but image-dir is that of the image" \
        "$http/img2/mid.*base\.raw.*allow=$http/img2" \
        -- "url=$top" "backing=$http/img2/mid" allow=image-dir

# --- What is allowed --------------------------------------------------

# Beside it.
over base.raw
denied "without allow" image-dir "$www/img/base.raw"
for allow in "$img" "$img/" "$http" "$http/" "$img/base.raw" any \
             "HTTP://127.0.0.1:$http_port/img" "$http/x/../img"; do
    leads "with allow=${allow/"$http"/HTTP}" "$www/img/base.raw" \
          "allow=$allow"
done
for allow in "$http/im" "$http/imgx" "$img/sub" "$img/base" "$img/base.rawx" \
             "$img/base.raw/x" "$https/img" "http://localhost:$http_port/img" \
             "http://127.0.0.1/img" "http://127.0.0.1:1/img" \
             "$http/IMG" . / "$www/img"
do
    denied "not with allow=${allow/"$http"/HTTP}" image-dir \
           "$www/img/base.raw" "allow=$allow"
done
# Data files.
cp "$www/img/split" "$www/img/top"
stored=data.bin
denied "a data file without allow" image-dir split.raw
leads "... with allow" split.raw "allow=$img"

# Elsewhere on that server.
params=(allow=image-dir)
for name in ../secret/base.raw sub/../../secret/base.raw \
            .././img/../secret/base.raw ../../../secret/base.raw; do
    over $name
    denied "the name $name" "$http/secret" "$www/secret/base.raw"
done
for name in "$http/secret/base.raw" "$img/../secret/base.raw" \
            "$img/sub/../../secret/base.raw"; do
    over "$name"
    denied "the name ${name/"$http"/HTTP}" "$http/secret" \
           "$www/secret/base.raw"
done
over "$http/img2/base.raw"
denied "a directory that only begins like it" "$http/img2" \
       "$www/img2/base.raw"
denied "... by an address" "$http/img2" "$www/img2/base.raw" "allow=$img"
over ../imgx
denied "a file that only begins like it" "$http" "$www/imgx" "allow=$img"
over "http://localhost:$http_port/img/base.raw"
denied "another name of the server" "http://localhost:$http_port/img" \
       "$www/img/base.raw"
over "$https/img/base.raw"
denied "the same with TLS" "$https/img" "$www/img/base.raw" "cainfo=$ca"
over "$http/img/sub/inner.raw"
leads "an address beside it" "$www/img/sub/inner.raw"
params=()
denied "... without allow" image-dir "$www/img/sub/inner.raw"
leads "... with any" "$www/img/sub/inner.raw" allow=any
params=(allow=image-dir)
make_sort "$www/img/sub/mid" v3 64k ../../secret/base.raw raw
over sub/mid qcow2
refused "the third layer leaves it" \
        "$img/sub/mid.*\.\./\.\./secret/base\.raw.*allow=$http/secret" \
        -- "url=$top"

# Tricks.  (Of a file name every byte means itself.)
place "$www/img/%2e%2e/secret/base.raw"
over %2e%2e/secret/base.raw
leads "the name %2e%2e/..., literally" "$www/img/%2e%2e/secret/base.raw"
for name in .//../secret/base.raw ..%2fsecret%2fbase.raw .%2e/secret/base.raw %2E./secret/base.raw \
            %252e%252e/secret/base.raw sub%2f..%2f..%2fsecret/base.raw \
            '..\secret\base.raw' '..;/secret/base.raw' ..../secret/base.raw \
            $'..\t/secret/base.raw' $'.\n./secret/base.raw' \
            '..?/secret/base.raw' '..#/secret/base.raw' \
            '?/../../secret/base.raw' '.. /secret/base.raw' \
            $'..\r\nHost: localhost\r\n\r\n/secret' ; do
    over "$name"
    nowhere "the name $(printf %q "$name")"
done
for allow in image-dir "$img"; do
    params=("allow=$allow")
    for path in img/%2e%2e/secret/base.raw img/%2E./secret/base.raw \
                img/..%2fsecret%2fbase.raw img/sub%2f..%2f..%2fsecret/base.raw \
                'img\..\secret\base.raw' img%2f..%2fsecret/base.raw \
                'img/..\secret\base.raw' img/.%2e%5csecret/base.raw \
                '%69mg/../secret/base.raw' img%00/../secret/base.raw \
                img2/base.raw imgx img%2fx 'img?/../secret/base.raw' \
                'img#/../secret/base.raw' ../img/../secret/base.raw \
                /img/../../secret/base.raw 'img;x/../secret/base.raw' \
                "$(printf 'img/\t../secret/base.raw')"; do
        over "$http/$path"
        nowhere "the address $path, allow=${allow/"$http"/HTTP}"
    done
    for url in "http://127.0.0.1:$http_port@localhost:$http_port/img/base.raw" \
               "http://127.0.0.1:$http_port\\@localhost:$http_port/img/x" \
               "http://127.0.0.1:$http_port#@localhost:$http_port/img/x" \
               "http://127.0.0.1:$http_port?@localhost:$http_port/img/x" \
               "http://localhost:$http_port#@127.0.0.1:$http_port/img/x" \
               "http://127.0.0.1:$http_port.localhost/img/x" \
               "http://127.0.0.1 :$http_port/img/x" \
               "http://127.0.0.1%00:$http_port/img/x" \
               "http:/127.0.0.1:$http_port/img/base.raw" \
               "http:127.0.0.1:$http_port/img/base.raw" \
               "http:base.raw" https:base.raw http:///img/base.raw \
               "http:////127.0.0.1:$http_port/img/base.raw"; do
        over "$url"
        nowhere "the address ${url//"$http_port"/PORT}, allow=${allow/"$http"/HTTP}"
    done
done
params=(allow=any)
for name in ftp://127.0.0.1/x "dict://127.0.0.1:$http_port/x" gopher://h/x \
            scp://h/x nbd://h/x nbd:unix:x file://localhost/x \
            "json:{\"file.driver\":\"http\",\"file.url\":\"$img/base.raw\"}" \
            "httpx://127.0.0.1:$http_port/img/base.raw" http: http:// s3: \
            "view-source:$img/base.raw" "url:$img/base.raw"; do
    over "$name"
    nowhere "the name ${name//"$http_port"/PORT}, allow=any"
done

# Local files, which an image on the web reaches by an absolute name only.
params=()
over "$tmp/dir/base.raw"
denied "a local file" "$(realpath dir)" dir/base.raw
denied "... that image-dir does not have" "$(realpath dir)" dir/base.raw \
       allow=image-dir
denied "... that no address has" "$(realpath dir)" dir/base.raw \
       "allow=$http" "allow=$img"
leads "... with any" dir/base.raw allow=any
leads "... with its directory" dir/base.raw allow=dir
for name in "file:$tmp/dir/base.raw" file:dir/base.raw; do
    over "$name"
    denied "${name/"$tmp"/TMP}" "$(realpath dir)" dir/base.raw allow=image-dir
done
over "$tmp/dir/../base.raw"
denied "... elsewhere" "$(realpath .)" base.raw allow=dir
over "//127.0.0.1:$http_port/img/base.raw"
nowhere "two slashes are a local file" allow=image-dir "allow=$http"
over /img/base.raw
nowhere "one slash as well" allow=image-dir "allow=$http"
over dir/base.raw
mkdir -p "$www/img/dir"
nowhere "a relative name is never local" allow=any
over /etc/passwd
refused "/etc/passwd" "$top.*'/etc/passwd'.*allow=/etc" -- "url=$top"
cp "$www/img/split" "$www/img/top"
"$python" - "$www/img/top" "$tmp/dir/x.bin" <<'END'
import os, struct, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(112)
    name = os.fsencode(sys.argv[2])
    f.write(struct.pack(">II", 0x44415441, len(name)) + name
            + bytes(-len(name) % 8 + 8))
END
cp "$www/img/data.bin" dir/x.bin
stored=$tmp/dir/x.bin
denied "a local data file" "$(realpath dir)" split.raw
denied "... that image-dir does not have" "$(realpath dir)" split.raw \
       allow=image-dir
denied "... that no address has" "$(realpath dir)" split.raw "allow=$http"

# A local image that names what is on the web.
make_sort here.qcow2 v3 64k "$img/base.raw" raw
cp "$www/img/base.raw" over.raw
for allow in '' allow=image-dir allow=. "allow=$http/im" "allow=$img/sub" \
             "allow=$https"; do
    forget_requests
    # shellcheck disable=SC2086
    refused "a local image, an address in it ${allow/"$http"/HTTP}" \
            "here\\.qcow2.*'$img/base\\.raw'.*allow=$img/?([ ,]|\$)" \
            -- here.qcow2 $allow
    is "... which is not asked for" "$(requests)" ''
done
for allow in "$img" "$http" any; do
    serves_all "... allow=${allow/"$http"/HTTP}" here.qcow2 "allow=$allow"
done
make_sort here.qcow2 v3 64k "$https/img/base.raw" raw
serves_all "... with TLS" here.qcow2 "allow=$https" "cainfo=$ca"
serves_all "... or by another name" here.qcow2 "backing=$img/base.raw"
serves_all "... or a local one" here.qcow2 "backing=$www/img/base.raw"

# What cannot be meant.
for bad in http:// http:///x "http://127.0.0.1:99999/" 'http://[::1/' ftp://h \
           file:///x; do
    refused "allow=$bad" 'allow=' -- "url=$img/layer1" "allow=$bad"
done

# --- What is no backing file ------------------------------------------

params=(allow=image-dir)
over gone.raw
refused "a file that is missing" "$top.*gone\.raw.*404" -- "url=$top"
like "... and what would help" "$(with_qcow true -- "url=$top" 2>&1)" 'backing='
over sub
refused "a directory" "$top.*40[34]|sub.*40[34]" -- "url=$top"
over base.raw qcow2
refused "a raw file that is recorded as an image" \
        "$img/base\.raw.*([Mm]agic|not a QCOW)" -- "url=$top"
over base.raw vmdk
refused "a format that we do not have" "$top.*'vmdk'" -- "url=$top"
make_sort "$www/img/mid" v3 64k base.raw raw
over mid
poke "$www/img/top" 112 00000000
refused "an image that is not recorded as one" "$top.*mid.*backing-format=" \
        -- "url=$top"
leads "... with backing-format=qcow" "$www/img/base.raw" backing-format=qcow
head -c 65536 "$www/img/mid" > mid.raw
truncate -s 64k mid.raw
leads "... with backing-format=raw" mid.raw backing-format=raw

# Loops, also by other names.
over top qcow2
refused "a loop of one" "$top.*loop" -- "url=$top"
over ./sub/../top qcow2
refused "a loop of one, with dots" "$top.*loop" -- "url=$top"
over mid qcow2
make_sort "$www/img/mid" v3 64k top qcow2
refused "a loop of two" "$img.*loop" -- "url=$top"
ln -s top "$www/img/alias"
over alias qcow2
refused "a loop through an alias" "$img.*loop" -- "url=$top"
over "$img/top?" qcow2
refused "a loop through a query string" "$img.*(loop|[?])" -- "url=$top"
make_sort "$www/img/deep" v3 64k er/image qcow2
refused "very many layers" "$http/deep/er/er/.*backing files" \
        -- "url=$http/deep/image"

# --- Who is told what -------------------------------------------------

over base.raw
oracle "$www/img/top" over.raw
cp "$www/img/top" alone-top
secrets=(user=me password=secret cookie=a=b 'header=X-One: uno')
said="a=b|Basic $(printf me:secret | base64)|uno"
forget_requests
serves_all "a chain behind a password" "url=$http/auth/img/top" "${secrets[@]}"
is "... which is told in each request" \
   "$(headers | cut -d '|' -f 3,4,6 | sort -u)" "$said"
serves_all "... that is in the URL" "url=http://me:secret@${http#*//}/auth/img/top"
serves_all "... of a file that the user names" alone-top \
           "backing=$http/auth/img/base.raw" user=me password=secret
serves_all "... in its URL" alone-top \
           "backing=http://me:secret@${http#*//}/auth/img/base.raw"
over "http://localhost:$http_port/auth/img/base.raw"
forget_requests
refused "a file on another server is not told the password" \
        "localhost:$http_port/auth/img/base\\.raw.*401" \
        -- "url=$http/auth/img/top" "${secrets[@]}" allow=any
is "... nor anything else" \
   "$(grep '/base' "$tmp/nginx/headers" | cut -d '|' -f 3,4,6 | sort -u)" \
   "-|-|-"
over "http://localhost:$http_port/img/base.raw"
forget_requests
serves_all "a file on another server that needs none" \
           "url=$http/auth/img/top" "${secrets[@]}" allow=any
is "... is not told either" \
   "$(headers | grep '/base' | cut -d '|' -f 3,4,6 | sort -u)" "-|-|-"
forget_requests
serves_all "a file that the user named on another server" \
           "url=$http/auth/img/top" "${secrets[@]}" \
           "backing=http://localhost:$http_port/img/base.raw"
is "... is not told either" \
   "$(headers | grep '/base' | cut -d '|' -f 3,4,6 | sort -u)" "-|-|-"

# --- Changed while it is served ---------------------------------------

# Each file is watched for itself.
for file in base.raw top; do
    make_sort "$www/img/top" v3 2M base.raw raw
    head -c 2M src3 > "$www/img/base.raw"
    io "$www/img/top" 'write -q -s src1 0 1M'
    touch -d '2020-01-01 12:00:00' "$www/img/base.raw" "$www/img/top"
    start_qcow -- "url=$top" cache-size=0
    touch -d '2020-01-02 12:00:00' "$www/img/$file"
    # shellcheck disable=SC2154
    not_ok "$file changes" nbdcopy "$uri" null:
    like "... which is said" "$(cat "$log")" \
         "error: $file: the file was changed while it was being served"
    stop_qcow
done

done_testing
