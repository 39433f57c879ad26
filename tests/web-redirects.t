#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Redirects: which ones are followed, and how many; the redirect target is
# cached, and requested again when it expires; secrets are sent to the origin
# of the user's URL only.
#
# The servers 'web' and 'other' are different origins, since their ports
# differ.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

# With this cluster size, all metadata is in the first 256 KiB.
mkdir www
text_source $((4 << 20)) disk.raw new.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=16k disk.raw www/image
qemu-img convert -f raw -O qcow2 -o cluster_size=16k new.raw www/new
secret=log=authorization,cookie,x-key
start_web web www $secret
start_web other www $secret
mkdir tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -days 2 -subj /CN=test -keyout tls/key -out tls/cert \
        -addext subjectAltName=IP:127.0.0.1 2> tls/log || diag "$(cat tls/log)"
start_web tls www $secret --tls tls/cert tls/key
here=${web[web]} there=${web[other]} safe=${web[tls]}

# Four reads with one request each.  Requests for the beginning of the file
# are counted separately.
reads="$python $gen/nbd-reads.py"
four="$reads \"\$uri\" disk.raw 1000000:4096 2000000:4096 3000000:4096 \
4000000:4096"
two="$reads \"\$uri\" disk.raw 1000000:4096 2000000:4096"
client=$four
all="same same same same"

# sees NAME REGEX URL [PARAMETER...]: the client's results match; they are
# "refused" if nbdkit does not start.  Sets $log.
sees ()
{
    local name=$1 wanted=$2 url=$3
    shift 3
    in_parallel now "$client" "url=$url" "$@"
    outcome now
    [ "$rc" -ne 1 ] || out=refused
    if [[ $out =~ ^($wanted)$ ]]; then
        pass "$name: $out"
    else
        fail "$name" "got: $out" "wanted: $wanted" "$(cat "$log")" \
             "$(asked web | tail -20)" "$(asked other | tail -20)"
    fi
}

# says REGEX: a line of the log matches.
says ()
{
    like "... the message matches: $1" "$(cat "$log")" "$1"
}

# counts FIRST-WEB FIRST-OTHER WEB OTHER: the number of requests to each
# server to open the image, and for data.
first=' bytes=0-'
data=' bytes=.......-'
far='/* bytes=???????-*'
counts ()
{
    is "... requests to open it (web, other), for data (web, other)" \
       "$(how_often web "$first") $(how_often other "$first") \
$(how_often web "$data") $(how_often other "$data")" "$*"
    forget web
    forget other
}

# A redirect target vanishes, while the URL redirects to another one.
# Evaluated at the end.
start_web lost www
start_web found www
start_web slow www "to=${web[lost]}"
in_parallel lost "$reads \"\$uri\" disk.raw 0:4096
                  until [ -e go ]; do sleep 0.05; done
                  date +%s > lost.begin
                  $reads \"\$uri\" disk.raw 1000000:4096
                  date +%s > lost.end" \
            "url=${web[slow]}/image"
for i in $(seq 500); do
    [ ! -s job-lost.out ] || break
    sleep 0.02
done
stop_web lost
set_web slow "to=${web[found]}"
touch go

# --- Which redirects are followed -------------------------------------

for code in 301 302 303 307 308; do
    set_web web "to=$there" code=$code
    sees "status $code: followed" "$all" "$here/image"
    counts 1 1 0 4
done
set_web web hops=10
sees "ten relative redirects: followed" "$all" "$here/image"
is "... data is requested from the last target" \
   "$(asked web | cut -d' ' -f2,4 | sed -n '11,$p' | sort -u)" \
   "/image?hop=10 206"
counts 11 0 4 0
set_web web hops=11
sees "eleven redirects" refused "$here/image"
says "$here/image.*redirect"
counts 11 0 0 0
set_web web "to=$there"
set_web other "to=$here"
sees "a redirect loop" refused "$here/image"
says redirect
is "... ends after eleven requests" \
   "$(($(how_often web) + $(how_often other)))" 11
forget web
forget other
set_web other

# A redirect without a location, or with an unknown status.
set_web web "to=$there" fail=302
sees "a redirect without Location" refused "$here/image"
says "$here/image"
for code in 300 304 305 306; do
    set_web web "to=$there" code=$code
    sees "status $code" refused "$here/image"
    says "$here/image.*$code"
done
for to in ftp://127.0.0.1 "file://$tmp/www" gopher://127.0.0.1 \
          dict://127.0.0.1 s3://bucket 'http://' 'http://[' "http://127.0.0.1:x" \
          javascript:; do
    set_web web "to=$to"
    sees "redirect to $to" refused "$here/image"
    says "$here/image"
done
forget web
forget other
set_web web "to=$there"
sees followlocation=false refused "$here/image" followlocation=false
says "$here/image.*followlocation"
counts 1 0 0 0

# --- TLS --------------------------------------------------------------

set_web web "to=$safe"
sees "http to https" "$all" "$here/image" cainfo=tls/cert
sees "http to https, unknown CA" refused "$here/image"
says certificate
sees "http to https, protocols=http" refused "$here/image" cainfo=tls/cert \
     protocols=http
sees "http, protocols=https" refused "$here/image" cainfo=tls/cert \
     protocols=https
says protocols
forget web
set_web tls "to=$there"
sees "https to http" refused "$safe/image" cainfo=tls/cert
says "$safe/image"
sees "https to http, protocols=http,https" refused "$safe/image" \
     cainfo=tls/cert protocols=http,https
sees "https to http, sslverify=false" refused "$safe/image" sslverify=false
counts 0 0 0 0
set_web web "to=$safe"
sees "http to https to http" refused "$here/image" cainfo=tls/cert
counts 1 0 0 0
set_web tls hops=1
sees "https to https" "$all" "$safe/image" cainfo=tls/cert
set_web tls

# --- Secrets ----------------------------------------------------------

printf 'S3CRET-pw' > password
printf 'id=S3CRET' > cookie
basic="Basic $(printf 'me:S3CRET-pw' | base64)"
mine=(user=me password=+password cookie=+cookie 'header=X-Key: S3CRET')
nothing="authorization=- cookie=- x-key=-"
everything="authorization=$basic cookie=id=S3CRET x-key=S3CRET"
demand="demand=Authorization: $basic|Cookie: id=S3CRET|X-Key: S3CRET"

# tells SERVER TEXT: the secrets in the requests to it, all of them.
tells ()
{
    is "... secrets sent to $1: $2" \
       "$(asked "$1" | grep -o 'authorization=.*' | sort -u)" "$2"
}

set_web web "$demand"
sees "no redirect" "$all" "$here/image" "${mine[@]}"
tells web "$everything"
set_web web "$demand" hops=2
sees "redirects within the origin" "$all" "$here/image" "${mine[@]}"
tells web "$everything"
counts 4 0 8 0
set_web web "$demand" "to=$there"
sees "redirect to another origin" "$all" "$here/image" "${mine[@]}"
tells web "$everything"
tells other "$nothing"
counts 1 1 0 4
sees "redirect to another origin, user and password in the URL" \
     'same.*|refused' \
     "${here/\/\//\/\/me:S3CRET-pw@}/image" cookie=+cookie \
     'header=X-Key: S3CRET'
tells other "$nothing"
forget other
set_web web "$demand" "to=${there/127.0.0.1/localhost}"
sees "redirect to another name of the host" "$all" "$here/image" "${mine[@]}"
tells other "$nothing"
forget other
set_web web "$demand" "to=$safe"
sees "redirect to another scheme" \
     "$all" "$here/image" cainfo=tls/cert "${mine[@]}"
tells tls "$nothing"
forget tls
# There and back again.
mkdir www/back
ln www/image www/back/image
set_web web "$demand" "/image to=$there"
set_web other "to=$here/back"
sees "redirect to another origin and back" "$all" "$here/image" "${mine[@]}"
tells web "$everything"
tells other "$nothing"
forget web
forget other
# Secrets in the redirect target are not logged either.
set_web web "to=${there/\/\//\/\/you:S3CRET-them@}"
set_web other
with_qcow "$four" -v -- "url=$here/image" > out 2> messages
unlike "a redirect target with user and password: not in messages" \
       "$(cat messages)" S3CRET
forget web
forget other

# --- Targets that expire ----------------------------------------------

for status in 401 403 404 410 400 200; do
    set_web web "to=$there" token=S3CRET-$status-
    set_web other "$far tokens=2" expired=$status
    sees "a target that expires after two requests, with $status" "$all" \
         "$here/image"
    counts 1 1 1 5
done
for status in 500 503; do
    ln www/image www/expired-$status
    set_web web "to=$there" token=S3CRET-$status-
    set_web other "$far tokens=3" "$far fail=ok*2,$status"
    sees "a target with one $status: retried" "$all" "$here/expired-$status"
    forget web
    forget other
done

# The target expires during many concurrent requests.
many=
for i in $(seq 2 15); do
    many+=" $((i * 262144)):4096"
done
set_web web "to=$there" token=S3CRET-
set_web other "$far tokens=5" latency=0.05
in_parallel many "$reads --parallel \"\$uri\" disk.raw $many" "url=$here/image"
outcome many
is "14 concurrent requests, the target expires after five" \
   "$(sort -u <<< "${out// /$'\n'}")" same
is "... at most 14 requests for a new target ($(how_often web "$data"))" \
   $(($(how_often web "$data") <= 14 && $(how_often other "$data") <= 42)) 1
forget web
forget other

# Debug messages about requests whose target expired.
set_web web "to=$there" token=S3CRET-said-
set_web other "$far tokens=5" latency=0.05
out=$(with_qcow "$reads --parallel \"\$uri\" disk.raw $many" \
                -t 32 -v -D qcow.http=1 -- "url=$here/image" 2> said)
is "... with debug messages" \
   "$(sort -u <<< "${out// /$'\n'}")" same
is "... they name the target that refused: $there" \
   "$(grep -c "$there/image: GET .*: status 403" said)" \
   "$(how_often other ' 403')"
unlike "... without the token" "$(grep -v 'config key' said)" S3CRET
forget web
forget other

# The user's URL expires as well, or the target always refuses.
set_web web "to=$there" token=S3CRET- fail=ok,403*
set_web other "$far tokens=1"
sees "the target and the URL expire" "same EIO EIO EIO" \
     "$here/image"
says 403
is "... at most four requests for the URL" $(($(how_often web) <= 4)) 1
forget web
forget other
set_web web "to=$there"
set_web other "$far fail=ok,403*"
client=$two
sees "the target refuses permanently" "same EIO" "$here/image"
says 403
# The second read requests the target, the URL, and the target again.
counts 1 1 1 3
client=$four
set_web other fail=404*
sees "the target refuses the first request" refused "$here/image"
says 404
counts 1 1 0 0

# The next target has another version.
set_web web "to=$there" token=S3CRET-
set_web other "$far tokens=1" "$far replace=image,new*"
sees "the next target has another version of the file" \
     "same EIO EIO EIO" "$here/image"
says 'changed while it was being served'
forget web
forget other

# The redirect target's signature appears in no message.
set_web web "to=$there" token=S3CRET-
flags=(-v)
for flag in $(nm -D --defined-only "$plugin" | awk '{ print $3 }' |
                  sed -n 's/^qcow_debug_//p'); do
    flags+=(-D "qcow.$flag=1")
done
for fault in ok 'ok,404*' 'ok,503,close:5' 'ok,whole*' '404*' whole; do
    set_web other tokens=2 "fail=$fault"
    with_qcow "$four" "${flags[@]}" -- "url=$here/image" > out 2> messages
    unlike "no message has the signature: $fault" "$(cat messages)" S3CRET
done

# --- The vanished target ---------------------------------------------

outcome lost
is "the target vanishes, the URL redirects to another one" \
   "${out/$'\n'/ }" "same same"
is "... the user's URL is requested again" "$(how_often slow)" 2
ok "... at once" test $(($(cat lost.end) - $(cat lost.begin))) -lt 10

done_testing
