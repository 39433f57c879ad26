#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Chains of images and data files, all or some of them on a web server.  Their
# content equals qemu's for the same local files.  By default, no name in an
# image is followed; with allow=, the names that it covers are, whatever
# tricks a name plays.  The message about a refused name suggests an allow=
# that works.
#
# The tests also check that the web server received no request for a refused
# name.

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

# chain_is NAME IMAGE URL [PARAMETER...]: bytes and map of a remote image
# equal qemu's for the local one.
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

# --- Content of chains ------------------------------------------------

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
    chain_is "300032 bytes over a raw file of $length" over "$img/over"
done
qemu-img convert -c -f raw -O qcow2 "$tmp/src2" packed
make_sort over v3 6M packed qcow2
io over 'write -q -s ../../src3 1M 1M'
dense over
chain_is "over compressed clusters" over "$img/over"
chain_is "... on a server without ETags" over "$http/undated/img/over"
chain_is "... on a server that redirects" over "$http/moved/over"
chain_is "... with TLS and HTTP/2" over "$https/img/over" \
         "cainfo=$ca" http-version=2.0
chain_is "... with cache-size=0 and one connection" \
         over "$img/over" cache-size=0 connections=1

# Data files of the top layer and of a lower one.
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
chain_is "a data file of a lower layer" over "$img/over"

# Deltas over a layer.
for view in backing.. layer:1..; do
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -e $view -- over > wanted.map
    # shellcheck disable=SC2016
    with_qcow 'nbdinfo --map "$uri"' -e $view -- "url=$img/over" > got.map
    same_text "$view: the map" got.map wanted.map
done
like "... the map has unchanged areas" "$(cat got.map)" ' 1 +hole$'
# qemu resolves the name of a data file from the current directory.
oracle over "$tmp/over.raw"
oracle split "$tmp/split.raw"
cd "$tmp" || exit 1

# Some files are local, some remote.
params=()
# serves_all NAME IMAGE [PARAMETER...]: the image is served, as over.raw.
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
serves_all "a local image, remote backing file" \
           alone "backing=$https/img/split" \
           "allow=$https/img" "cainfo=$ca"
serves_all "... remote data file by data-file=" alone \
           "backing=$img/split" "data-file=$img/data.bin"
serves_all "... local data file by data-file=" alone \
           "backing=$img/split" data-file=here/data.bin
serves_all "local images, remote data file" alone backing=alone-split \
           "data-file=$img/data.bin"
serves_all "a remote image, local backing file" "url=$img/over" \
           backing=here/split allow=here
serves_all "... remote data file" "url=$img/over" \
           backing=alone-split "data-file=$img/data.bin"
refused "a remote backing file whose data file is not allowed: refused" \
        "$img/split.*'data\\.bin'.*allow=$img" \
        -- alone "backing=$img/split"
refused "... allow=image-dir covers the image's directory only" \
        "$img/split.*'data\\.bin'.*allow=$img" \
        -- alone "backing=$img/split" allow=image-dir
serves_all "... served with allow=URL" alone "backing=$img/split" "allow=$img"
refused "a missing remote backing file: refused" "$img/none.*404" \
        -- alone "backing=$img/none"
refused "a missing remote data file: refused" "$img/none.*404" \
        -- alone-split "data-file=$img/none"

# --- Names ------------------------------------------------------------

# Each file begins with its own path.
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

# leads NAME FILE [PARAMETER...]: the image is served, with the content of
# FILE.
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

# denied NAME ADVICE FILE [PARAMETER...]: the image is refused without a
# request for the backing file.  The message has its name and suggests
# allow=ADVICE, with which the image is served with the content of FILE.  With
# an empty ADVICE, only the refusal counts.
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
        fail "$name: the message has both names" "$out"
        return
    elif requests | grep -v ' /img/top$'; then
        fail "$name: only the top layer is requested" "$out"
        return
    elif [ -n "$advice" ] && [ "${got%/}" != "allow=$advice" ]; then
        fail "$name: the message suggests allow=$advice" "$out"
        return
    fi
    pass "$name"
    [ -z "$advice" ] || leads "... served with $got" "$file" "$@" "$got"
}

# nowhere NAME [PARAMETER...]: the image is refused without a request for
# anything outside /img, in any spelling.
nowhere ()
{
    local name=$1 out rc
    shift
    forget_requests
    out=$(with_qcow true -- "url=$top" "$@" 2>&1); rc=$?
    if [ $rc -ne 1 ] || ! grep -q 'nbdkit: ' <<< "$out"; then
        fail "$name" "status $rc" "$out"
    elif headers | cut -d '|' -f 10 | grep -Ev '^/img(/|$)'; then
        fail "$name" "it was requested" "$out"
    elif requests | grep -Ev ' 127\.0\.0\.1 /img([/? ]|$)'; then
        fail "$name" "it was requested" "$out"
    else
        pass "$name"
    fi
}

# Names are relative to the image's URL.
params=(allow=image-dir)
for name in base.raw ./base.raw .//sub/../base.raw ../img/base.raw \
            sub/../../img/./base.raw; do
    over $name
    leads "the name $name" "$www/img/base.raw"
done
over sub/inner.raw
leads "a name in a subdirectory" "$www/img/sub/inner.raw"
top="$img/top?signature=a/b/c#d/e"
leads "an image URL with a query string" "$www/img/sub/inner.raw"
top=$img/sub/../top
leads "an image URL with dot segments" "$www/img/sub/inner.raw"
top=$http/%69mg/top
leads "an image URL with escapes" "$www/img/sub/inner.raw"
top=$http/moved/top
leads "an image URL that redirects" "$www/img/sub/inner.raw"
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
# The name of the third layer is relative to the second one's URL.
make_sort "$www/img/sub/mid" v3 64k ../base.raw raw
over sub/mid qcow2
leads "a chain through two directories" "$www/img/base.raw"
make_sort "$www/img/sub/mid" v3 64k base.raw raw
leads "... the third layer beside the second" "$www/img/sub/base.raw"
params=()
leads "... with allow=URL" "$www/img/sub/base.raw" "allow=$img"
leads "backing= twice: no allow= needed" "$www/img2/base.raw" \
      "backing=$img/sub/mid" "backing=$http/img2/base.raw"
cp "$www/img/sub/mid" "$www/img2/mid"
refused "backing= once: the backing file's own backing file needs allow=" \
        "$http/img2/mid.*base\.raw.*allow=$http/img2" \
        -- "url=$top" "backing=$http/img2/mid"
leads "... served with allow=" "$www/img2/base.raw" "backing=$http/img2/mid" \
      "allow=$http/img2"
refused "... allow=image-dir covers the image's directory only" \
        "$http/img2/mid.*base\.raw.*allow=$http/img2" \
        -- "url=$top" "backing=$http/img2/mid" allow=image-dir

# --- allow= -----------------------------------------------------------

# A backing file beside the image.
over base.raw
denied "refused without allow=" image-dir "$www/img/base.raw"
for allow in "$img" "$img/" "$http" "$http/" "$img/base.raw" any \
             "HTTP://127.0.0.1:$http_port/img" "$http/x/../img"; do
    leads "served with allow=${allow/"$http"/HTTP}" "$www/img/base.raw" \
          "allow=$allow"
done
for allow in "$http/im" "$http/imgx" "$img/sub" "$img/base" "$img/base.rawx" \
             "$img/base.raw/x" "$https/img" "http://localhost:$http_port/img" \
             "http://127.0.0.1/img" "http://127.0.0.1:1/img" \
             "$http/IMG" . / "$www/img"
do
    denied "refused with allow=${allow/"$http"/HTTP}" image-dir \
           "$www/img/base.raw" "allow=$allow"
done
# Data files.
cp "$www/img/split" "$www/img/top"
stored=data.bin
denied "a data file without allow=: refused" image-dir split.raw
leads "... served with allow=URL" split.raw "allow=$img"

# Elsewhere on the same server.
params=(allow=image-dir)
for name in ../secret/base.raw sub/../../secret/base.raw \
            .././img/../secret/base.raw ../../../secret/base.raw; do
    over $name
    denied "the name $name: refused" "$http/secret" "$www/secret/base.raw"
done
for name in "$http/secret/base.raw" "$img/../secret/base.raw" \
            "$img/sub/../../secret/base.raw"; do
    over "$name"
    denied "the name ${name/"$http"/HTTP}: refused" "$http/secret" \
           "$www/secret/base.raw"
done
over "$http/img2/base.raw"
denied "a directory with the same prefix: refused" "$http/img2" \
       "$www/img2/base.raw"
denied "... also with allow=URL" "$http/img2" "$www/img2/base.raw" "allow=$img"
over ../imgx
denied "a file with the same prefix: refused" "$http" "$www/imgx" "allow=$img"
over "http://localhost:$http_port/img/base.raw"
denied "another host name of the same server: refused" \
       "http://localhost:$http_port/img" \
       "$www/img/base.raw"
over "$https/img/base.raw"
denied "https instead of http: refused" \
       "$https/img" "$www/img/base.raw" "cainfo=$ca"
over "$http/img/sub/inner.raw"
leads "a URL in the image's directory" "$www/img/sub/inner.raw"
params=()
denied "... refused without allow=" image-dir "$www/img/sub/inner.raw"
leads "... served with allow=any" "$www/img/sub/inner.raw" allow=any
params=(allow=image-dir)
make_sort "$www/img/sub/mid" v3 64k ../../secret/base.raw raw
over sub/mid qcow2
refused "a third layer outside the directory: refused" \
        "$img/sub/mid.*\.\./\.\./secret/base\.raw.*allow=$http/secret" \
        -- "url=$top"

# Tricks.  In a file name, every byte is literal.
place "$www/img/%2e%2e/secret/base.raw"
over %2e%2e/secret/base.raw
leads "the name %2e%2e/... is literal" "$www/img/%2e%2e/secret/base.raw"
for name in .//../secret/base.raw ..%2fsecret%2fbase.raw .%2e/secret/base.raw %2E./secret/base.raw \
            %252e%252e/secret/base.raw sub%2f..%2f..%2fsecret/base.raw \
            '..\secret\base.raw' '..;/secret/base.raw' ..../secret/base.raw \
            $'..\t/secret/base.raw' $'.\n./secret/base.raw' \
            '..?/secret/base.raw' '..#/secret/base.raw' \
            '?/../../secret/base.raw' '.. /secret/base.raw' \
            $'..\r\nHost: localhost\r\n\r\n/secret' ; do
    over "$name"
    nowhere "the name $(printf %q "$name"): refused"
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
        nowhere "the URL $path, allow=${allow/"$http"/HTTP}: refused"
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
        nowhere "URL ${url//"$http_port"/PORT}, allow=${allow/"$http"/HTTP}: refused"
    done
done
params=(allow=any)
for name in ftp://127.0.0.1/x "dict://127.0.0.1:$http_port/x" gopher://h/x \
            scp://h/x nbd://h/x nbd:unix:x file://localhost/x \
            "json:{\"file.driver\":\"http\",\"file.url\":\"$img/base.raw\"}" \
            "httpx://127.0.0.1:$http_port/img/base.raw" http: http:// s3: \
            "view-source:$img/base.raw" "url:$img/base.raw"; do
    over "$name"
    nowhere "the name ${name//"$http_port"/PORT}, allow=any: refused"
done

# Local files, which a remote image can name by absolute paths only.
params=()
over "$tmp/dir/base.raw"
denied "a local file: refused" "$(realpath dir)" dir/base.raw
denied "... also with allow=image-dir" "$(realpath dir)" dir/base.raw \
       allow=image-dir
denied "... also with allow=URL" "$(realpath dir)" dir/base.raw \
       "allow=$http" "allow=$img"
leads "... served with allow=any" dir/base.raw allow=any
leads "... served with allow=DIRECTORY" dir/base.raw allow=dir
for name in "file:$tmp/dir/base.raw" file:dir/base.raw; do
    over "$name"
    denied "${name/"$tmp"/TMP}: refused" \
           "$(realpath dir)" dir/base.raw allow=image-dir
done
over "$tmp/dir/../base.raw"
denied "... outside that directory: refused" "$(realpath .)" base.raw allow=dir
over "//127.0.0.1:$http_port/img/base.raw"
nowhere "two slashes: a local file, refused" allow=image-dir "allow=$http"
over /img/base.raw
nowhere "one slash: a local file, refused" allow=image-dir "allow=$http"
over dir/base.raw
mkdir -p "$www/img/dir"
nowhere "a relative name is never a local file" allow=any
over /etc/passwd
refused "/etc/passwd: refused" "$top.*'/etc/passwd'.*allow=/etc" -- "url=$top"
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
denied "a local data file: refused" "$(realpath dir)" split.raw
denied "... also with allow=image-dir" "$(realpath dir)" split.raw \
       allow=image-dir
denied "... also with allow=URL" "$(realpath dir)" split.raw "allow=$http"

# A local image that names a remote file.
make_sort here.qcow2 v3 64k "$img/base.raw" raw
cp "$www/img/base.raw" over.raw
for allow in '' allow=image-dir allow=. "allow=$http/im" "allow=$img/sub" \
             "allow=$https"; do
    forget_requests
    # shellcheck disable=SC2086
    refused "a local image that names a URL: refused ${allow/"$http"/HTTP}" \
            "here\\.qcow2.*'$img/base\\.raw'.*allow=$img/?([ ,]|\$)" \
            -- here.qcow2 $allow
    is "... sends no request" "$(requests)" ''
done
for allow in "$img" "$http" any; do
    serves_all "... served with allow=${allow/"$http"/HTTP}" \
               here.qcow2 "allow=$allow"
done
make_sort here.qcow2 v3 64k "$https/img/base.raw" raw
serves_all "... served with TLS" here.qcow2 "allow=$https" "cainfo=$ca"
serves_all "... served with backing=URL" here.qcow2 "backing=$img/base.raw"
serves_all "... served with a local backing=" \
           here.qcow2 "backing=$www/img/base.raw"

# Invalid values.
for bad in http:// http:///x "http://127.0.0.1:99999/" 'http://[::1/' ftp://h \
           file:///x; do
    refused "allow=$bad: refused" 'allow=' -- "url=$img/layer1" "allow=$bad"
done

# --- Invalid backing files --------------------------------------------

params=(allow=image-dir)
over gone.raw
refused "a missing file: refused" "$top.*gone\.raw.*404" -- "url=$top"
like "... the message suggests backing=" \
     "$(with_qcow true -- "url=$top" 2>&1)" 'backing='
over sub
refused "a directory: refused" "$top.*40[34]|sub.*40[34]" -- "url=$top"
over base.raw qcow2
refused "a raw file, recorded as qcow2: refused" \
        "$img/base\.raw.*([Mm]agic|not a QCOW)" -- "url=$top"
over base.raw vmdk
refused "an unsupported format: refused" "$top.*'vmdk'" -- "url=$top"
make_sort "$www/img/mid" v3 64k base.raw raw
over mid
poke "$www/img/top" 112 00000000
refused "an image without a recorded format: refused" \
        "$top.*mid.*backing-format=" \
        -- "url=$top"
leads "... with backing-format=qcow" "$www/img/base.raw" backing-format=qcow
head -c 65536 "$www/img/mid" > mid.raw
truncate -s 64k mid.raw
leads "... with backing-format=raw" mid.raw backing-format=raw

# Loops, also through other names.
over top qcow2
refused "a loop of one: refused" "$top.*loop" -- "url=$top"
over ./sub/../top qcow2
refused "a loop of one, with dot segments: refused" "$top.*loop" -- "url=$top"
over mid qcow2
make_sort "$www/img/mid" v3 64k top qcow2
refused "a loop of two: refused" "$img.*loop" -- "url=$top"
ln -s top "$www/img/alias"
over alias qcow2
refused "a loop through a symbolic link: refused" "$img.*loop" -- "url=$top"
over "$img/top?" qcow2
refused "a loop through a query string: refused" \
        "$img.*(loop|[?])" -- "url=$top"
make_sort "$www/img/deep" v3 64k er/image qcow2
refused "an endless chain: refused" "$http/deep/er/er/.*backing files" \
        -- "url=$http/deep/image"

# --- Secrets ----------------------------------------------------------

over base.raw
oracle "$www/img/top" over.raw
cp "$www/img/top" alone-top
secrets=(user=me password=secret cookie=a=b 'header=X-One: uno')
said="a=b|Basic $(printf me:secret | base64)|uno"
forget_requests
serves_all "a chain behind a password" "url=$http/auth/img/top" "${secrets[@]}"
is "... each request has all secrets" \
   "$(headers | cut -d '|' -f 3,4,6 | sort -u)" "$said"
serves_all "... password in the URL" \
           "url=http://me:secret@${http#*//}/auth/img/top"
serves_all "... for a file that the user names" alone-top \
           "backing=$http/auth/img/base.raw" user=me password=secret
serves_all "... password in its URL" alone-top \
           "backing=http://me:secret@${http#*//}/auth/img/base.raw"
over "http://localhost:$http_port/auth/img/base.raw"
forget_requests
refused "another server does not receive the password: refused" \
        "localhost:$http_port/auth/img/base\\.raw.*401" \
        -- "url=$http/auth/img/top" "${secrets[@]}" allow=any
is "... nor other secrets" \
   "$(grep '/base' "$tmp/nginx/headers" | cut -d '|' -f 3,4,6 | sort -u)" \
   "-|-|-"
over "http://localhost:$http_port/img/base.raw"
forget_requests
serves_all "another server without a password" \
           "url=$http/auth/img/top" "${secrets[@]}" allow=any
is "... receives no secrets" \
   "$(headers | grep '/base' | cut -d '|' -f 3,4,6 | sort -u)" "-|-|-"
forget_requests
serves_all "another server that the user names" \
           "url=$http/auth/img/top" "${secrets[@]}" \
           "backing=http://localhost:$http_port/img/base.raw"
is "... receives no secrets" \
   "$(headers | grep '/base' | cut -d '|' -f 3,4,6 | sort -u)" "-|-|-"

# --- Files that change while they are served --------------------------

# Each layer is checked for changes.
for file in base.raw top; do
    make_sort "$www/img/top" v3 2M base.raw raw
    head -c 2M src3 > "$www/img/base.raw"
    io "$www/img/top" 'write -q -s src1 0 1M'
    touch -d '2020-01-01 12:00:00' "$www/img/base.raw" "$www/img/top"
    start_qcow -- "url=$top" cache-size=0
    touch -d '2020-01-02 12:00:00' "$www/img/$file"
    # shellcheck disable=SC2154
    not_ok "$file changes: reads fail" nbdcopy "$uri" null:
    like "... the message" "$(cat "$log")" \
         "error: $file: the file was changed while it was being served"
    stop_qcow
done

done_testing
