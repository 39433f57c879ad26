#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images in S3: s3://BUCKET/KEY with any characters in KEY, at a given
# endpoint and at Amazon's, signed or not, with keys from the command line,
# from files or from the environment; errors with the reason but without
# secrets; chains within a bucket.
#
# The server verifies AWS signatures.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

text_source $((2 << 20)) disk.raw
mkdir -p www/bucket
qemu-img convert -f raw -O qcow2 -o cluster_size=16k disk.raw www/bucket/image
# shellcheck disable=SC2016
copy='if nbdcopy "$uri" - | cmp - disk.raw; then echo same; else echo differs; fi'

log=log=authorization,x-amz-content-sha256,x-amz-security-token
access=AKIDEXAMPLE
secret_key=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
token=FwoGZXIvYXdzEJr//////////wEaD+S3CRET=
start_web web www $log "sigv4=$access:$secret_key" region=eu-west-3
endpoint=${web[web]}
keys=("access-key=$access" "secret-key=$secret_key")
there=("endpoint-url=$endpoint" region=eu-west-3)

# Check the test server's signature against an example in AWS's documentation
# ("GET Object").
is "the test server computes the signature of AWS's example" "$(py - <<'END'
import importlib.util, os
spec = importlib.util.spec_from_file_location(
    "web", os.environ["gen"] + "/web-server.py")
web = importlib.util.module_from_spec(spec)
spec.loader.exec_module(web)
headers = {
    "host": "examplebucket.s3.amazonaws.com",
    "range": "bytes=0-9",
    "x-amz-content-sha256":
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-amz-date": "20130524T000000Z",
}
print(web.signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "GET",
                    "/test.txt", "", headers, sorted(headers),
                    "20130524/us-east-1/s3/aws4_request"))
END
)" f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41

# sees NAME REGEX URL [PARAMETER...]: the result matches: "same", "differs" or
# "refused".  Sets $out and $messages.
sees ()
{
    local name=$1 wanted=$2 url=$3
    shift 3
    messages=$(with_qcow "$copy" -- "url=$url" "$@" 2>&1 > out)
    [ $? -ne 1 ] || echo refused > out
    out=$(cat out)
    if [[ $out =~ ^($wanted)$ ]]; then
        pass "$name: $out"
    else
        fail "$name" "got: $out" "wanted: $wanted" "$messages" \
             "$(asked web | tail -5)"
    fi
}

# says REGEX: the messages of the last sees match.
says ()
{
    like "... the message matches: $1" "$messages" "$1"
}

# --- Signed -----------------------------------------------------------

forget web
sees "signed requests" same s3://bucket/image "${keys[@]}" "${there[@]}"
is "... every request is signed" \
   "$(asked web | grep -vc " authorization=AWS4-HMAC-SHA256 ")" 0
is "... they have the object's path" "$(asked web | cut -d' ' -f2 | sort -u)" \
   /bucket/image
is "... no request is refused" "$(how_often web ' 206 ')" "$(how_often web)"
sees "endpoint-url= with a final slash" same s3://bucket/image "${keys[@]}" \
     "endpoint-url=$endpoint/" region=eu-west-3
sees "endpoint-url= with a host name" same s3://bucket/image "${keys[@]}" \
     "endpoint-url=${endpoint/127.0.0.1/storage.test}" region=eu-west-3 \
     "resolve=storage.test:${endpoint##*:}:127.0.0.1"

# Keys.  (File names allow most, not all, of the bytes that keys do.)
while IFS= read -r key; do
    mkdir -p "$(dirname "www/bucket/$key")"
    ln www/bucket/image "www/bucket/$key"
    forget web
    sees "the key '$key'" same "s3://bucket/$key" "${keys[@]}" "${there[@]}"
done <<'END'
with space
a  b.qcow2
100%
a%20b
a%2Fb
%
plus+plus
a&b=c
what?
what?x=y&z
a#b
#
~tilde~
-_.~
über/größe ✓
(1) 'two' "three" [4] {5} <6> |7| \8 ^9 `0`
!$*,;:@=
a:b@c
prefix/of/several/parts.qcow2
prefix//twice
.hidden
..twice
END
printf -v key 'a\tb\177c\377d'
ln www/bucket/image "www/bucket/$key"
sees "a key with control characters and invalid UTF-8" 'same|refused' \
     "s3://bucket/$key" "${keys[@]}" "${there[@]}"

# Tenants of the RADOS Gateway.
for tenant in one '' under_score; do
    mkdir -p "www/$tenant:bucket"
    ln www/bucket/image "www/$tenant:bucket/image"
    forget web
    sees "the tenant '$tenant'" same "s3://$tenant:bucket/image" "${keys[@]}" \
         "${there[@]}"
    is "... is in the path" "$(asked web | cut -d' ' -f2 | sort -u)" \
       "/$tenant%3Abucket/image"
done
qemu-img create -q -f qcow2 -u -b image -F qcow2 www/one:bucket/top 2M
for allow in image-dir s3://one:bucket s3://one:bucket/; do
    sees "a chain in a tenant's bucket, allow=$allow" same s3://one:bucket/top \
         "${keys[@]}" "${there[@]}" "allow=$allow"
done
for allow in s3://bucket/ s3://two:bucket/; do
    sees "... not with allow=$allow" refused s3://one:bucket/top "${keys[@]}" \
         "${there[@]}" "allow=$allow"
    says "allow=image-dir"
done

# --- Refused ----------------------------------------------------------

# secretive: no message contains a secret.
secretive ()
{
    unlike "... no message contains a secret" \
           "$(grep -v ' config key=' <<< "$messages")" \
           "$secret_key|S3CRET|$access|Signature=[0-9a-f]|Credential="
}

forget web
sees "a wrong secret key" refused s3://bucket/image "${there[@]}" \
     "access-key=$access" secret-key=S3CRET
says 's3://bucket/image.*403.*SignatureDoesNotMatch|SignatureDoesNotMatch.*s3://bucket/image'
secretive
is "... it sends one request" "$(how_often web)" 1
sees "an unknown access key" refused s3://bucket/image "${there[@]}" \
     access-key=AKIDOTHER "secret-key=$secret_key"
says 's3://bucket/image.*403.*InvalidAccessKeyId'
secretive
sees "a wrong region" refused s3://bucket/image "${keys[@]}" \
     "endpoint-url=$endpoint" region=eu-west-1
says 's3://bucket/image.*403'
sees "no region" refused s3://bucket/image "${keys[@]}" "endpoint-url=$endpoint"
says 's3://bucket/image.*403'
sees "no keys" refused s3://bucket/image "${there[@]}"
says 's3://bucket/image.*403.*AccessDenied'
sees "a session token that the server does not expect" \
     refused s3://bucket/image "${keys[@]}" \
     "${there[@]}" session-token=S3CRET
secretive
sees "an access key without a secret key" \
     refused s3://bucket/image "${there[@]}" \
     "access-key=$access"
says secret-key
sees "a secret key without an access key" \
     refused s3://bucket/image "${there[@]}" \
     "secret-key=$secret_key"
says access-key
secretive
sees "a missing object" refused s3://bucket/nothing "${keys[@]}" "${there[@]}"
says 's3://bucket/nothing.*404'
for url in s3: s3:// s3:/// s3://bucket s3://bucket/ s3:///image s3:/bucket/image \
           s3://bu/../cket/image s3://bucket/../image s3://bucket/./image \
           's3://buc ket/image' 's3://bucket?/image' 's3://user@bucket/image' \
           s3://bucket:/image s3://bucket:80:80/image; do
    sees "$url" refused "$url" "${keys[@]}" "${there[@]}"
    shown=${url%%\?*}
    says "error: ${shown/user@/}.*: .*s3://|'\\.'"
done
for url in s3://bucket s3://bucket/ s3://bucket/dir/ s3://bucket/dir//; do
    sees "$url" refused "$url" "${keys[@]}" "${there[@]}"
    case $url in
        *dir*) says "error: $url: .*folder" ;;
        */) says "error: $url: .*key is missing" ;;
    esac
done
for url in ftp://127.0.0.1 127.0.0.1 "${endpoint/http/s3}" http:// '' \
           "$endpoint/?x" "$endpoint#x" http://u:S3CRET@127.0.0.1:x; do
    sees "endpoint-url=$url" refused s3://bucket/image "${keys[@]}" \
         "endpoint-url=$url" region=eu-west-3
    shown=${url%[?#]x}
    says "endpoint-url=.*${shown/u:S3CRET@/}"
    secretive
done

# Empty objects.  Not all servers send a Content-Range with a 416 response.
: > www/bucket/empty
sees "an empty object" refused s3://bucket/empty "${keys[@]}" "${there[@]}"
says 's3://bucket/empty: .*empty'
set_web web fail=416
sees "an empty object, 416 without Content-Range" refused s3://bucket/empty \
     "${keys[@]}" "${there[@]}"
says 's3://bucket/empty: .*416.*empty'
set_web web

# Temporary errors, and a permanent one after the start.
set_web web fail=503,ok,500
sees "temporary errors are retried" \
     same s3://bucket/image "${keys[@]}" "${there[@]}"
set_web web 'fail=ok,403*'
sees "keys that expire after the start" \
     differs s3://bucket/image "${keys[@]}" "${there[@]}"
says 'error: image: .*403'
set_web web

# --- Session tokens ---------------------------------------------------

set_web web "sigv4=$access:$secret_key:$token"
sees "a session token" same s3://bucket/image "${keys[@]}" "${there[@]}" \
     "session-token=$token"
sees "a missing session token" \
     refused s3://bucket/image "${keys[@]}" "${there[@]}"
sees "a wrong session token" refused s3://bucket/image "${keys[@]}" \
     "${there[@]}" session-token=S3CRET
says 's3://bucket/image.*403.*InvalidToken'
secretive

# From files.  Debug messages contain no secrets either.
printf %s $access > access
printf %s $secret_key > secret
printf %s $token > token
files=(access-key=+access secret-key=+secret session-token=+token)
sees "keys from files" same s3://bucket/image "${files[@]}" "${there[@]}"
for file in access secret token; do
    sed 's/$/\r/' $file > $file.crlf
    sees "a line break in the $file" refused s3://bucket/image \
         "${files[@]/%+$file/+$file.crlf}" "${there[@]}"
    says 'error: s3: .*line break'
    secretive
done
for fault in ok 'ok,404*' 'ok,503,total:5' '403*' whole; do
    set_web web "sigv4=$access:$secret_key:$token" "fail=$fault"
    messages=$(with_qcow "$copy" -v -- url=s3://bucket/image "${files[@]}" \
                         "${there[@]}" 2>&1)
    like "the debug output, $fault" "$messages" debug
    secretive
done

# --- What is signed ---------------------------------------------------

# names: the headers that the last requests signed.
names ()
{
    asked web | sed -n 's/.*SignedHeaders=\([^,]*\),.*/\1/p' | sort -u
}

set_web web "sigv4=$access:$secret_key"
forget web
sees "header=" same s3://bucket/image "${keys[@]}" "${there[@]}" \
     header='X-Amz-Request-Payer:  requester ' header='x-b: two  words' \
     'header=x-amz-meta-none;' 'header=Accept:' 'header=User-Agent: me' \
     header='Via: 1.1 x' header='x-nothing: ' header='x-neither; '
like "... is signed, unless it is not sent or proxies change it" "$(names)" \
     '^host;(if-match;)?x-amz-content-sha256;x-amz-date;x-amz-meta-none;x-amz-request-payer;x-b$'
# The name of one header can begin with that of another.
sse=x-amz-server-side-encryption-customer
sees "header= for an object with a customer-provided key" \
     same s3://bucket/image "${keys[@]}" "${there[@]}" \
     "header=$sse-algorithm: AES256" "header=$sse-key: a2V5" \
     "header=$sse-key-MD5: bWQ1"
like "... each is signed" "$(names)" ";$sse-algorithm;$sse-key;$sse-key-md5\$"
for header in 'x-amz-date: 20130524T000000Z' 'X-Amz-Content-SHA256: 0' \
              'x-amz-date;' 'Host: other.test'; do
    sees "header=$header" same s3://bucket/image "${keys[@]}" "${there[@]}" \
         "header=$header"
done
set_web web sigv4= 'demand=Authorization: Bearer x'
sees "header=Authorization: replaces the signature" same s3://bucket/image \
     "${keys[@]}" "${there[@]}" header='authorization: Bearer x'
set_web web "sigv4=$access:$secret_key:$token"
sees "header=x-amz-security-token:" same s3://bucket/image \
     "${keys[@]}" "${there[@]}" "header=x-amz-security-token: $token"
sees "... session-token= replaces it" same s3://bucket/image "${keys[@]}" \
     "${there[@]}" "header=x-amz-security-token: S3CRET" \
     "session-token=$token"

# Each retry and each hop has its own signature.
set_web web "sigv4=$access:$secret_key" hops=2
forget web
sees "a redirect within the endpoint" same s3://bucket/image "${keys[@]}" \
     "${there[@]}"
is "... is signed for each hop" \
   "$(asked web | cut -d' ' -f2,4 | sort -u | tr '\n' ' ')" \
   "/bucket/image 302 /bucket/image?hop=1 302 /bucket/image?hop=2 206 "
set_web web "sigv4=$access:$secret_key" fail=503:1
forget web
sees "a retry" same s3://bucket/image "${keys[@]}" "${there[@]}"
tries=$(asked web | head -2 | sed 's/.*Signature=//')
is "... has a new signature" \
   "$(wc -l <<< "$tries") $(sort -u <<< "$tries" | wc -l)" \
   "2 2"
set_web web "sigv4=$access:$secret_key"

# Signatures are independent of proxies and Unix domain sockets.
sees "a proxy" same "s3://bucket/with space" "${keys[@]}" region=eu-west-3 \
     "proxy=$endpoint" endpoint-url=http://storage.test:9000
for port in '' :80; do
    sees "a proxy, endpoint-url= with the port '$port'" \
         same s3://bucket/image "${keys[@]}" \
         region=eu-west-3 "proxy=$endpoint" "endpoint-url=http://Storage.TEST$port"
done
"$python" - "$tmp/socket" "${endpoint##*:}" <<'END' &
import socket, sys, threading

def copy(source, target):
    while data := source.recv(1 << 16):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(99)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", sys.argv[2]))
    for pair in (client, server), (server, client):
        threading.Thread(target=copy, args=pair, daemon=True).start()
END
_helpers+=($!)
until [ -S "$tmp/socket" ]; do
    sleep 0.02
done
sees "unix-socket-path=" same s3://bucket/image "${keys[@]}" region=eu-west-3 \
     endpoint-url=http://storage.test "unix-socket-path=$tmp/socket"

# --- The environment --------------------------------------------------

set_web web "sigv4=$access:$secret_key:$token"
export AWS_ACCESS_KEY_ID=$access AWS_SECRET_ACCESS_KEY=$secret_key
export AWS_SESSION_TOKEN=$token AWS_REGION=eu-west-3
export AWS_ENDPOINT_URL=$endpoint
sees "all settings from the environment" same s3://bucket/image
export AWS_ENDPOINT_URL=http://127.0.0.1:1 AWS_ENDPOINT_URL_S3=$endpoint
sees "AWS_ENDPOINT_URL_S3 overrides AWS_ENDPOINT_URL" same s3://bucket/image
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:1
sees "endpoint-url= overrides both" same s3://bucket/image \
     "endpoint-url=$endpoint"
export AWS_ENDPOINT_URL=$endpoint
unset AWS_ENDPOINT_URL_S3
export AWS_REGION=eu-west-1
sees "region= overrides AWS_REGION" same s3://bucket/image region=eu-west-3
export AWS_DEFAULT_REGION=eu-west-3
sees "AWS_REGION overrides AWS_DEFAULT_REGION" refused s3://bucket/image
unset AWS_REGION
sees "AWS_DEFAULT_REGION" same s3://bucket/image
# Keys from one source are not combined with a token from another.
set_web web "sigv4=$access:$secret_key"
export AWS_ACCESS_KEY_ID=AKIDOTHER AWS_SECRET_ACCESS_KEY=S3CRET
unset AWS_SESSION_TOKEN
sees "keys on the command line override the environment's" same \
     s3://bucket/image "${keys[@]}"
export AWS_SESSION_TOKEN=S3CRET
sees "... and its session token" same s3://bucket/image \
     "${keys[@]}"
# These variables apply to s3:// URLs only.
forget web
set_web web sigv4=
sees "an http:// URL with keys in the environment" same "$endpoint/bucket/image"
is "... its requests are not signed" \
   "$(asked web | grep -vc ' authorization=- .*x-amz-security-token=-')" 0
unset "${!AWS_@}"

# --- Keys for http:// URLs --------------------------------------------

set_web web "sigv4=$access:$secret_key"
forget web
for key in "access-key=$access" "secret-key=$secret_key" "session-token=$token"; do
    sees "an http:// URL with ${key%%=*}=" \
         refused "$endpoint/bucket/image?x=S3CRET" \
         "$key" region=eu-west-3
    says "$endpoint/bucket/image: .*only used for s3:// URLs .*use url=s3://BUCKET/KEY"
    secretive
done
is "... sends no request" "$(how_often web)" 0
sees "an http:// URL with keys, backing=s3:// at the same server" \
     refused "$endpoint/bucket/image" \
     "${keys[@]}" "${there[@]}" backing=s3://bucket/image
says "$endpoint/bucket/image.*403"
sees "... backing=s3:// at another server" \
     refused "$endpoint/bucket/image" "${keys[@]}" \
     endpoint-url=http://127.0.0.1:1 backing=s3://bucket/image
says "$endpoint/bucket/image: access-key=.* only used for s3:// URLs of the server of url="
set_web web sigv4=

# --- Unsigned ---------------------------------------------------------

forget web
sees "a public bucket" same s3://bucket/image "${there[@]}"
is "... no request is signed" \
   "$(asked web | grep -vc ' authorization=- x-amz-content-sha256=- ')" 0

# A presigned URL permits everyone who has it to read the object.
query='X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20300101%2Feu-west-3%2Fs3%2Faws4_request&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=S3CRET0123456789abcdef'
set_web web sigv4= "query=$query"
sees "a presigned URL" same "$endpoint/bucket/image?$query"
sees "a presigned URL with a changed parameter" refused \
     "$endpoint/bucket/image?${query/600/700}"
says "$endpoint/bucket/image.*403"
unlike "... no message contains the query" "$messages" 'X-Amz|S3CRET'
set_web web sigv4= "query=$query" 'fail=ok,403*'
messages=$(with_qcow "$copy" -v -- "url=$endpoint/bucket/image?$query" 2>&1)
like "a presigned URL that expires: the message" \
     "$messages" 'error: image: .*403'
unlike "... no message contains the query" \
       "$(grep -v ' config key=' <<< "$messages")" 'X-Amz|S3CRET'
set_web web

# A redirect target receives the request without signature and token.
start_web elsewhere www $log
set_web web "sigv4=$access:$secret_key:$token" "to=${web[elsewhere]}"
forget web
sees "a redirect of signed requests to another server" \
     same s3://bucket/image "${keys[@]}" \
     "${there[@]}" session-token="$token"
like "... the requests to the endpoint are signed" "$(asked web)" \
     'authorization=AWS4-HMAC.*token=FwoG'
is "... those to the redirect target are not" \
   "$(asked elsewhere | sed 's/bytes=[0-9-]*/bytes/' | sort -u)" \
   "GET /bucket/image bytes 206 authorization=- x-amz-content-sha256=- x-amz-security-token=-"
set_web web

# --- Amazon's own hosts -----------------------------------------------

# A proxy that impersonates all of Amazon's hosts.
mkdir tls amazon
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -days 2 -subj /CN=test -keyout tls/key -out tls/cert -addext \
        'subjectAltName=DNS:*.s3.eu-west-3.amazonaws.com,DNS:s3.eu-west-3.amazonaws.com,DNS:*.s3.us-east-1.amazonaws.com' \
        2> tls/log || diag "$(cat tls/log)"
mkdir -p amazon/dotted.bucket
ln www/bucket/image "amazon/the image"
ln www/bucket/image amazon/dotted.bucket/image
start_web amazon amazon --tls tls/cert tls/key --plain log=host \
          'sigv4=AKID:SK' region=eu-west-3
amazon=(access-key=AKID secret-key=SK "proxy=${web[amazon]}" cainfo=tls/cert)

# hosts HOST PATH: all requests went there, through the proxy.
hosts ()
{
    is "... the host and the path" \
       "$(asked amazon ^GET | sed 's/ bytes=[0-9-]*//' | sort -u)" \
       "GET $2 206 host=$1"
    is "... through the proxy" \
       "$(asked amazon ^CONNECT | cut -d' ' -f2 | sort -u)" "$1:443"
    forget amazon
}

sees "Amazon: bucket in the host name" \
     same "s3://bucket/the image" "${amazon[@]}" \
     region=eu-west-3
hosts bucket.s3.eu-west-3.amazonaws.com /the%20image
sees "Amazon: bucket with a dot in the path" same s3://dotted.bucket/image \
     "${amazon[@]}" region=eu-west-3
hosts s3.eu-west-3.amazonaws.com /dotted.bucket/image
sees "Amazon: a tenant" refused s3://tenant:bucket/image "${amazon[@]}" \
     region=eu-west-3
says 'endpoint-url='
set_web amazon region=us-east-1
sees "Amazon: the default region" same "s3://bucket/the image" "${amazon[@]}"
hosts bucket.s3.us-east-1.amazonaws.com /the%20image

# --- Chains -----------------------------------------------------------

# p/top -> p/middle -> p/base.raw, and overlays of other names.
mkdir -p www/bucket/p www/bucket/q www/other
cd www/bucket/p || exit 1
cp "$tmp/disk.raw" ../q/base.raw
cp "$tmp/disk.raw" base.raw
cp "$tmp/disk.raw" ../../other/base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw middle 2M
io middle 'write -q -P 5 1M 64k'
qemu-img create -q -f qcow2 -b middle -F qcow2 top 2M
io top 'write -q -P 6 1536k 64k'
qemu-img convert -O raw top "$tmp/chain.raw"
for name in ../q/base.raw s3://bucket/p/base.raw s3://bucket/q/base.raw \
            s3://other/base.raw "$endpoint/bucket/p/base.raw"; do
    qemu-img create -q -f qcow2 -u -b "$name" -F raw "${name//[\/:]/_}" 2M
done
cd "$tmp" || exit 1
set_web web "sigv4=$access:$secret_key"
disk_copy=$copy copy=${copy/disk.raw/chain.raw}
for allow in image-dir s3://bucket/p s3://bucket/p/ s3://bucket/; do
    sees "a chain, allow=$allow" same s3://bucket/p/top "${keys[@]}" \
         "${there[@]}" "allow=$allow"
done
copy=$disk_copy
forget web
for allow in '' allow=s3://bucket/q allow=s3://buck/ allow=s3://bucket/p/t \
             allow=s3://other/ "allow=$tmp" allow=s3://bucket/p/middle/; do
    sees "a chain, ${allow:-nothing allowed}" refused s3://bucket/p/top \
         "${keys[@]}" "${there[@]}" ${allow:+"$allow"}
    says 's3://bucket/p/top.*middle.*allow='
done
is "... only the top layer is requested" \
   "$(asked web | cut -d' ' -f2 | sort -u)" /bucket/p/top

# An object has an s3:// and an http:// URL; allow= of one does not cover the
# other.
for allow in "$endpoint" "$endpoint/bucket/q/"; do
    sees "the image names s3://, allow=http" \
         refused s3://bucket/p/s3___bucket_q_base.raw \
         "${keys[@]}" "${there[@]}" "allow=$allow"
    says "no allowed place contains it; s3:// and http URLs are compared .*add allow=s3://bucket/q/,"
done
http_name=${endpoint//[\/:]/_}_bucket_p_base.raw
for allow in s3://bucket s3://bucket/p/; do
    sees "the image names http://, allow=$allow" \
         refused "s3://bucket/p/$http_name" \
         "${keys[@]}" "${there[@]}" allow=$allow
    says "no allowed place contains it; s3:// and http URLs are compared .*add allow=$endpoint/bucket/p/,"
done
for allow in '' s3://other/; do
    sees "the image names http://, ${allow:-nothing} allowed" refused \
         "s3://bucket/p/$http_name" "${keys[@]}" "${there[@]}" ${allow:+allow=$allow}
    says "add allow=$endpoint/bucket/p/,"
    sees "the image names s3://, ${allow:-nothing} allowed" refused \
         s3://bucket/p/s3___bucket_q_base.raw "${keys[@]}" "${there[@]}" ${allow:+allow=$allow}
    says "add allow=s3://bucket/q/,"
done
sees "the image names s3:// in its own folder, nothing allowed" \
     refused s3://bucket/p/s3___bucket_p_base.raw \
     "${keys[@]}" "${there[@]}"
says "add allow=image-dir, or"

# NAME ALLOW OUT
while read -r name allow wanted; do
    sees "the image names $name, allow=$allow" "$wanted" \
         "s3://bucket/p/${name//[\/:]/_}" "${keys[@]}" "${there[@]}" "allow=$allow"
done <<END
../q/base.raw s3://bucket/q/ same
../q/base.raw s3://bucket/ same
../q/base.raw image-dir refused
s3://bucket/p/base.raw image-dir same
s3://bucket/p/base.raw s3://bucket/p/ same
s3://bucket/p/base.raw s3://bucket/q/ refused
s3://bucket/q/base.raw image-dir refused
s3://bucket/q/base.raw s3://bucket/q/ same
s3://other/base.raw s3://other/ same
s3://other/base.raw image-dir refused
s3://other/base.raw s3://bucket/ refused
END

# The user names the backing file; and a local image with a backing file in
# S3.
sees "backing=s3://" same "s3://bucket/p/.._q_base.raw" "${keys[@]}" \
     "${there[@]}" backing=s3://bucket/q/base.raw backing-format=raw
qemu-img create -q -f qcow2 -u -b s3://bucket/q/base.raw -F raw local 2M
for how in backing allow; do
    rm -f out
    forget web
    messages=$(with_qcow "$copy" -- file=local "${keys[@]}" "${there[@]}" \
                         $how=s3://bucket/q/base.raw 2>&1 > out)
    case $how in
        backing)
            is "a local image, backing=s3://" \
               "$(cat out)$messages" same ;;
        allow)
            # Requests for names from an image are not signed, even if allow=
            # covers them: keys go only where the user sends them.
            is "a local image that names an object, allow=s3://: refused" \
               "$(cat out)" ""
            says 's3://bucket/q/base.raw.*403.*AccessDenied'
            is "... the request is not signed" \
               "$(asked web | grep -vc ' authorization=- ')" 0 ;;
    esac
done

done_testing
