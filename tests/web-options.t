#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images that a web server has: the parameters that say how it is to be
# talked to.  TLS with a private authority, HTTP/2, user and password,
# cookies, headers, other ways to the server, redirects that the user does
# not want, answers that are no; and a server that is in a hurry.  Secrets
# are told to the server of the image alone, and to no log.

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"

password='pa:ss "w%C3"& ä'
printf 'me:%s\n' "$(openssl passwd -apr1 "$password")" > users
start_nginx '
location /auth/ {
    alias '"$www"'/; auth_basic images; auth_basic_user_file '"$tmp"'/users;
}
location /cookie/ {
    alias '"$www"'/;
    if ($http_cookie != "session=s3cr3t; b=2") { return 403; }
}
location /header/ {
    alias '"$www"'/;
    if ($http_x_one != "uno") { return 403; }
}
location /denied/ { return 403; }
location /gone/ { return 410; }
location /teapot/ { return 418; }
location /to-https/ { rewrite ^/to-https/(.*) {https}/$1 redirect; }
location /to-http/ { rewrite ^/to-http/(.*) {http}/$1 redirect; }
location /to-other/ {
    rewrite ^/to-other/(.*) http://localhost:$server_port/$1 permanent;
}
location /near-auth/ { rewrite ^/near-auth/(.*) /auth/$1 redirect; }
location /near/ { rewrite ^/near/(.*) /$1 redirect; }
location /round/ { rewrite ^/round/(.*) /round/$1 redirect; }
location /signed/ { rewrite ^/signed/(.*) /$1?sig=s1gned redirect; }
location /to-ftp/ { return 302 ftp://me:S3CRET@127.0.0.1/x?S3CRET; }
location /to-file/ { return 302 file://'"$www"'/plain.qcow2; }
location /hasty/ { alias '"$www"'/; keepalive_requests 2; }
location /closing/ { alias '"$www"'/; keepalive_timeout 0; }
location /limited/ {
    alias '"$www"'/; limit_req zone=z burst=2 nodelay; limit_req_status 429;
}
' 'limit_req_zone all zone=z:64k rate=2r/s;
server { listen unix:'"$tmp"'/h2c http2; root '"$www"'; }'

# Three megabytes, so that there is more than the first request.
text_source $((3 << 20)) plain.raw
qemu-img convert -f raw -O qcow2 plain.raw "$www/plain.qcow2"

# gets NAME URL [PARAMETER...]: the server serves, from there.
gets ()
{
    local name=$1 url=$2
    shift 2
    rm -f got.raw
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw plain.raw' \
       -- "url=$url" "$@"
}

# --- TLS --------------------------------------------------------------

at=$https/plain.qcow2
refused "TLS, signed by nobody that is known" \
        "nbdkit: .*$at.*certificate" -- "url=$at"
# nginx has logged that by the time it answers the next request.  Newer
# versions of libcurl finish the handshake before they look at the certificate,
# and then just close the connection.
requests > /dev/null
is "... that is not tried again" \
   "$(grep -cE 'unknown ca|closed connection while waiting' "$nginx_log")" 1
like "... and the message says what would help" \
     "$(with_qcow true -- "url=$at" 2>&1)" 'cainfo='
gets "... with cainfo=" "$at" "cainfo=$ca"
is "... in HTTP/1.1" "$(requests | cut -d ' ' -f 3-4 | sort -u)" \
   "https HTTP/1.1"
mkdir cas
cp "$ca" cas/ours.pem
openssl rehash cas
gets "... with capath=" "$at" capath=cas
gets "... with sslverify=false" "$at" sslverify=false
gets "... with sslverify=0" "$at" sslverify=0
for options in sslverify=true sslverify=1 cainfo= capath=/nonexistent \
               "capath=$www"; do
    refused "... not with $options" "$at|${options%%=*}" -- "url=$at" "$options"
done
refused "... not with a cainfo= that is missing" "nowhere\.pem" \
        -- "url=$at" cainfo=nowhere.pem
refused "... not with a cainfo= that is none" '(cainfo|plain\.raw)' \
        -- "url=$at" cainfo=plain.raw
# Names of files count from where nbdkit was started, also when it has gone
# to the background, and to the directory /.
in_background ()
{
    local name=$1
    shift
    rm -f got.raw
    start_daemon cache-size=0 "$@"
    ok "$name" nbdcopy "$uri" got.raw
    same_bytes "... the bytes" got.raw plain.raw
    end_daemon
}
mkdir here
cp "$ca" here/ca.pem
in_background "a relative cainfo= in the background" "url=$at" \
              cainfo=here/ca.pem
in_background "a relative capath= in the background" "url=$at" capath=cas

# cainfo= and capath= replace the system's authorities.  The test needs a mount
# of its own, and so a user namespace.
mkdir store others
cp "$ca" store/ca-certificates.crt
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 2 \
        -keyout other.key -out others/other.pem 2> /dev/null ||
    fail "another authority"
openssl rehash store others
system_trusts_it ()
{
    local -x socket
    new_socket
    unshare -rm sh -c '
        mount --bind store /etc/ssl/certs &&
            exec nbdkit -U "$socket" "$@" --run "nbdinfo --size \"\$uri\""
        ' sh "$plugin" "url=$at" "$@"
}
if unshare -rm true 2> /dev/null; then
    ok "an authority of the system" system_trusts_it
    for options in cainfo=others/other.pem cainfo= capath=others; do
        not_ok "... which is not trusted with $options" \
               system_trusts_it $options
    done
    ok "... but with both" system_trusts_it "cainfo=$ca" capath=others
else
    skip "the system's authorities" \
         "no user namespaces here (in a chroot, or by sysctl)"
fi
refused "sslverify= of no sense" 'boolean|sslverify' \
        -- "url=$at" sslverify=maybe
gets "localhost, which is in the certificate" \
     "https://localhost:$https_port/plain.qcow2" "cainfo=$ca"
other=https://other.test:$https_port/plain.qcow2
elsewhere=resolve=other.test:$https_port:127.0.0.1
refused "a name that is not in the certificate" "$other" \
        -- "url=$other" "$elsewhere" "cainfo=$ca"
gets "... with sslverify=false" "$other" "$elsewhere" sslverify=false
refused "TLS with a server without" \
        "https://127\\.0\\.0\\.1:$http_port/.*does not speak TLS.*http" \
        -- "url=https://127.0.0.1:$http_port/plain.qcow2" "cainfo=$ca"
refused "no TLS with a server that wants it" \
        "http://127\\.0\\.0\\.1:$https_port/.*400 Bad Request.* https" \
        -- "url=http://127.0.0.1:$https_port/plain.qcow2"

# --- Versions of HTTP -------------------------------------------------

forget_requests
gets "HTTP/2" "$at" "cainfo=$ca" http-version=2.0
is "... it is" "$(requests | cut -d ' ' -f 3-5 | sort -u)" \
   "https HTTP/2.0 GET"
oracle=plain.raw
params=("cainfo=$ca" http-version=2.0)
serves "... with awkward requests" "url=$at" plain.raw --connections 3
params+=(cache-size=0 connections=3)
serves "... without a cache" "url=$at" plain.raw --connections 3
params=()
forget_requests
gets "HTTP/2 without TLS, which nginx does not offer there" \
     "$http/plain.qcow2" http-version=2.0
is "... is HTTP/1.1" "$(requests | cut -d ' ' -f 3-4 | sort -u)" \
   "http HTTP/1.1"
forget_requests
gets "HTTP/1.1, said" "$at" "cainfo=$ca" http-version=1.1
is "... it is" "$(requests | cut -d ' ' -f 3-4 | sort -u)" "https HTTP/1.1"
# There is no TLS to agree on HTTP/2; libcurl before 8.0 needs a connection for
# each request.
at=http://images.test/plain.qcow2
params=(http-version=2-prior-knowledge "unix-socket-path=$tmp/h2c")
forget_requests
gets "HTTP/2 with prior knowledge" "$at"
is "... it is" "$(requests | cut -d ' ' -f 3-6 | sort -u)" \
   "http HTTP/2.0 GET 206"
serves "... with awkward requests" "url=$at" plain.raw --connections 3
params=()
at=$https/plain.qcow2
forget_requests
gets "... and TLS" "$at" "cainfo=$ca" http-version=2-prior-knowledge
is "... it is" "$(requests | cut -d ' ' -f 3-6 | sort -u)" \
   "https HTTP/2.0 GET 206"
is "... over fewer connections than there are requests" \
   $(($(requests | cut -d ' ' -f 1 | sort -u | wc -l) <
      $(requests | wc -l))) 1

# With HTTP/3, libcurl falls back to another version where a server does not
# have it, as this one does not; without, it is refused.
forget_requests
if "$python" -c "
import ctypes
class Info(ctypes.Structure):
    _fields_ = [('age', ctypes.c_int), ('version', ctypes.c_char_p),
                ('number', ctypes.c_uint), ('host', ctypes.c_char_p),
                ('features', ctypes.c_int)]
curl = ctypes.CDLL('libcurl.so.4')
curl.curl_version_info.restype = ctypes.POINTER(Info)
raise SystemExit(not curl.curl_version_info(3).contents.features & 1 << 25)"
then
    gets "http-version=3, which nginx does not offer here" "$at" \
         "cainfo=$ca" http-version=3
    is "... is HTTP/2" "$(requests | cut -d ' ' -f 3-5 | sort -u)" \
       "https HTTP/2.0 GET"
else
    refused "http-version=3, which libcurl was built without" \
            "http-version=.*'3'.*libcurl" \
            -- "url=$at" "cainfo=$ca" http-version=3
    is "... nobody is asked" "$(requests)" ''
fi
for bad in 4 x 2. ''; do
    refused "http-version=$bad" 'http-version' \
            -- "url=$at" "cainfo=$ca" "http-version=$bad"
done

# --- Who asks ---------------------------------------------------------

at=$http/auth/plain.qcow2
forget_requests
refused "a password is needed" "$at.*401" -- "url=$at"
refused "... the right one" "$at.*401" -- "url=$at" user=me password=x
refused "... and the right user" "$at.*401" \
        -- "url=$at" user=you "password=$password"
is "... each is tried once" "$(requests | wc -l)" 3
forget_requests
gets "user= and password=" "$at" user=me "password=$password"
basic="Basic $(printf %s "me:$password" | base64)"
is "... are said in each request" "$(headers | cut -d '|' -f 4 | sort -u)" \
   "$basic"
unlike "... which is not answered by no" "$(requests)" ' 401 '
printf '%s' "$password" > secret
gets "password=+FILE" "$at" user=me password=+secret
printf '%s\n' "$password" > secret
gets "... with a newline" "$at" user=me password=+secret
exec 7< secret
gets "password=-FD" "$at" user=me password=-7
exec 7<&-
refused "password=+FILE that is missing" 'nowhere' \
        -- "url=$at" user=me password=+nowhere
# (In the URL it is escaped.)
gets "user and password in the URL" \
     "http://me:pa%3ass%20%22w%25C3%22%26%20%C3%A4@127.0.0.1:$http_port/auth/plain.qcow2"
gets "the user in the URL, but not the password" \
     "http://me@127.0.0.1:$http_port/auth/plain.qcow2" password=+secret
refused "... which is not another user's" '401' \
        -- "url=http://you@127.0.0.1:$http_port/auth/plain.qcow2" user=me \
        password=+secret
in_url=me:pa%3ass%20%22w%25C3%22%26%20%C3%A4
gets "those in the URL come before those beside it" \
     "http://$in_url@127.0.0.1:$http_port/auth/plain.qcow2" user=you password=x
gets "... also where the server redirects to itself" \
     "http://$in_url@127.0.0.1:$http_port/near-auth/plain.qcow2" user=you \
     password=x
qemu-img create -q -f qcow2 -u -b plain.qcow2 -F qcow2 "$www/over.qcow2" 3M
gets "... and of a backing file" "$http/over.qcow2" \
     "backing=http://$in_url@localhost:$http_port/near-auth/plain.qcow2"
forget_requests
gets "user= and password= over TLS and HTTP/2" "$https/auth/plain.qcow2" \
     user=me password=+secret "cainfo=$ca" http-version=2.0
# Taken away at run time.
start_qcow -- "url=$at" user=me password=+secret cache-size=0
cp users users.old
: > users
start=$SECONDS
# shellcheck disable=SC2154
not_ok "a password that is no longer right" nbdcopy "$uri" null:
is "... is not tried for long" "$((SECONDS - start < 10))" 1
like "... the server says why" "$(cat "$log")" "error: plain\\.qcow2: .*401"
cp users.old users
# (For a second after such an answer nobody is asked for the same.)
sleep 1.1
ok "... and right again" nbdcopy "$uri" null:
stop_qcow

at=$http/cookie/plain.qcow2
refused "a cookie is needed" "$at.*403" -- "url=$at"
gets "cookie=" "$at" 'cookie=session=s3cr3t; b=2'
echo 'session=s3cr3t; b=2' > cookie
gets "cookie=+FILE" "$at" cookie=+cookie
exec 7< cookie
gets "cookie=-FD" "$at" cookie=-7
exec 7<&-

at=$http/header/plain.qcow2
refused "a header is needed" "$at.*403" -- "url=$at"
forget_requests
gets "header=, twice" "$at" 'header=X-One: uno' 'header=X-Two: due, "tre"'
is "... in each request" "$(headers | cut -d '|' -f 6,7 | sort -u)" \
   'uno|due, \x22tre\x22'
refused "header= that is another" "$at.*403" -- "url=$at" 'header=X-One: due'

at=$http/plain.qcow2
forget_requests
gets "user-agent=" "$at" 'user-agent=Mozilla/5.0 (a test)'
is "... in each request" "$(headers | cut -d '|' -f 2 | sort -u)" \
   'Mozilla/5.0 (a test)'
gets "tcp-keepalive=true" "$at" tcp-keepalive=true
gets "tcp-keepalive=false" "$at" tcp-keepalive=false
gets "timeout=" "$at" timeout=30
gets "timeout=0" "$at" timeout=0
for bad in tcp-keepalive=x timeout=x timeout=-1 timeout=2147484 \
           followlocation=x; do
    refused "$bad" "${bad%%=*}|boolean" -- "url=$at" $bad
done
for bad in nonsense h:80 h:x:127.0.0.1 h:80: :80:127.0.0.1 h:80:nonsense; do
    out=$(with_qcow true -- "url=$at" "resolve=$bad" 2>&1)
    is "resolve=$bad: refused" $? 1
    like "... it is said why" "$out" 'resolve=.*HOST:PORT:ADDRESS'
    unlike "... without the value" "$out" "resolve=${bad}[^a-z]*\$|'$bad'"
done
for key in user user-agent cookie header proxy resolve protocols \
           unix-socket-path; do
    out=$(with_qcow true -- "url=$at" "$key=" 2>&1)
    case $? in
        0|1) pass "$key= of nothing does no harm" ;;
        *) fail "$key= of nothing does no harm" "$out" ;;
    esac
done

# --- Ways to the server -----------------------------------------------

forget_requests
gets "a Unix domain socket" http://images.test/plain.qcow2 \
     "unix-socket-path=$web_socket"
is "... the name is told" "$(requests | cut -d ' ' -f 9 | sort -u)" images.test
ln -s "$web_socket" web.sock
in_background "a relative unix-socket-path= in the background" \
              url=http://images.test/plain.qcow2 unix-socket-path=web.sock
refused "a Unix domain socket that is missing" \
        "http://images\\.test/gone: .*socket '.*/nowhere'.*: No such file" \
        -- url=http://images.test/gone unix-socket-path=nowhere
forget_requests
gets "resolve=" "http://images.test:$http_port/plain.qcow2" \
     "resolve=images.test:$http_port:127.0.0.1"
is "... the name is told" "$(requests | cut -d ' ' -f 9 | sort -u)" images.test
gets "resolve=, twice, and TLS" \
     "https://images.test:$https_port/plain.qcow2" "cainfo=$ca" \
     "resolve=other.test:$https_port:127.0.0.1" \
     "resolve=images.test:$https_port:127.0.0.1"
# (A proxy is asked for the whole URL.)
forget_requests
gets "proxy=" http://images.test/plain.qcow2 "proxy=$http"
is "... the name is told" "$(requests | cut -d ' ' -f 9 | sort -u)" images.test
forget_requests
echo 'p:w' > secret2
gets "proxy-user= and proxy-password=" http://images.test/plain.qcow2 \
     "proxy=$http" proxy-user=you proxy-password=+secret2 \
     user=me password=+secret
is "... in each request, to whom they belong" \
   "$(headers | cut -d '|' -f 4,5 | sort -u)" \
   "$basic|Basic $(printf you:p:w | base64)"

# What can't be reached is named, and its password is not.
closed="http://us:S3CRET@127.0.0.1:1"
sees_proxy ()
{
    local name=$1 re=$2
    shift 2
    out=$(with_qcow true -- "$@" 2>&1)
    is "$name: refused" $? 1
    like "... the message" "$out" "$re"
    unlike "... has no secret" "$out" S3CRET
}
sees_proxy "a proxy that is not there" \
           'http://images\.test/x: .*the proxy 127\.0\.0\.1:1: Connection refused' \
           url=http://images.test/x "proxy=$closed"
sees_proxy "... for https" 'the proxy 127\.0\.0\.1:1: Connection refused' \
           url=https://images.test/x "proxy=$closed"
sees_proxy "... beside the server" \
           'the proxy 127\.0\.0\.1:1: Connection refused' \
           "url=$http/plain.qcow2" "proxy=$closed"
http_proxy=$closed sees_proxy "... of the environment" \
          'the proxy that the environment names .*: Connection refused' \
           url=http://images.test/x
sees_proxy "a proxy without an address" '[Cc]ould.* resolve proxy: proxy\.invalid' \
           url=http://images.test/x proxy=http://us:S3CRET@proxy.invalid:1
no_proxy=127.0.0.1 gets "a proxy that is not used" "$http/plain.qcow2" \
        "proxy=$closed"
no_proxy=127.0.0.1 sees_proxy "a server that is not there, without its proxy" \
        "Failed to connect to 127\\.0\\.0\\.1" \
        url=http://127.0.0.1:1/x "proxy=$closed"
unlike "... which is not blamed" "$out" proxy
# (A queue of one connection, which is full.)
cat > full.py <<'END'
import socket, sys, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(0)
clients = []
for _ in range(3):
    c = socket.socket()
    c.setblocking(False)
    c.connect_ex(s.getsockname())
    clients.append(c)
with open("full.port.new", "w") as f:
    print(s.getsockname()[1], file=f)
import os
os.rename("full.port.new", "full.port")
time.sleep(100)
END
"$python" full.py < /dev/null &
_helpers+=($!)
for i in $(seq 100); do [ ! -s full.port ] || break; sleep 0.1; done
sees_proxy "a proxy that does not answer" \
           "the proxy 127\\.0\\.0\\.1:$(< full.port): [Tt]ime" \
           "url=$http/plain.qcow2" timeout=1 \
           "proxy=http://us:S3CRET@127.0.0.1:$(< full.port)"

# --- Redirects --------------------------------------------------------

for way in near to-https to-other; do
    forget_requests
    gets "/$way/" "$http/$way/plain.qcow2" "cainfo=$ca"
    is "... is asked once" "$(requests | grep -c " /$way/")" 1
    refused "... followlocation=false" "$http/$way/plain\\.qcow2.*followlocation=" \
            -- "url=$http/$way/plain.qcow2" "cainfo=$ca" followlocation=false
done
refused "/to-https/, with a certificate that nobody knows" \
        "certificate" -- "url=$http/to-https/plain.qcow2"
forget_requests
refused "/to-http/ from TLS" "$https/to-http/plain\\.qcow2.*http" \
        -- "url=$https/to-http/plain.qcow2" "cainfo=$ca"
unlike "... is not followed" "$(requests)" ' http HTTP'
gets "/to-http/ from there" "$http/to-http/plain.qcow2"
for way in to-ftp to-file round; do
    refused "/$way/" "$http/$way/x" -- "url=$http/$way/x"
done
said=$(with_qcow true -- "url=$http/to-ftp/x" 2>&1)
like "... names where it leads" "$said" 'redirects to ftp://127.0.0.1/x,'
unlike "... without secrets" "$said" S3CRET
# A redirect may lead to a signed URL.
forget_requests
gets "/signed/" "$http/signed/plain.qcow2"
is "... goes there" "$(requests | awk '{ print $NF }' | sort -u | paste -s)" \
   $'/plain.qcow2?sig=s1gned\t/signed/plain.qcow2'
for options in "/plain.qcow2 followlocation=false" "/none" "/plain.qcow2"; do
    read -ra args <<< "$http/signed$options"
    unlike "... which is not said: $options" \
           "$(with_qcow true -v -D qcow.http=1 -- "url=${args[0]}" \
                        "${args[@]:1}" 2>&1)" s1gned
done
# What is meant for the first server is not told to the second one.
secrets=('cookie=session=s3cr3t; b=2' 'header=X-One: uno' user=me
         password=+secret)
for way in to-https to-other; do
    forget_requests
    gets "/$way/ with secrets" "$http/$way/plain.qcow2" "cainfo=$ca" \
         "${secrets[@]}"
    is "... which the first server is told" \
       "$(headers | grep "^/$way/" | cut -d '|' -f 3,4,6 | sort -u)" \
       "session=s3cr3t; b=2|$basic|uno"
    is "... and not the second one" \
       "$(headers | grep -v "^/$way/" | cut -d '|' -f 3,4,6 | sort -u)" \
       "-|-|-"
done
forget_requests
gets "/near/ with secrets" "$http/near/plain.qcow2" "${secrets[@]}"
is "... which the server is told" \
   "$(headers | cut -d '|' -f 3,4,6 | sort -u)" \
   "session=s3cr3t; b=2|$basic|uno"

# protocols=
gets "protocols=http" "$http/plain.qcow2" protocols=http
gets "protocols=http,https" "$http/plain.qcow2" protocols=http,https
gets "protocols=https" "$https/plain.qcow2" protocols=https "cainfo=$ca"
forget_requests
refused "protocols=https for http" 'protocols=' \
        -- "url=$http/plain.qcow2" protocols=https
refused "protocols=http for https" 'protocols=' \
        -- "url=$https/plain.qcow2" protocols=http
is "... nobody is asked" "$(requests)" ''
refused "protocols=http, and a redirect to https" \
        "$http/to-https/plain\\.qcow2" \
        -- "url=$http/to-https/plain.qcow2" protocols=http "cainfo=$ca"
unlike "... nobody is asked" "$(requests)" ' https HTTP'
for bad in ftp http,ftp nonsense file; do
    refused "protocols=$bad" 'protocols' \
            -- "url=$http/plain.qcow2" protocols=$bad
done

# --- Answers that are no ----------------------------------------------

forget_requests
for spec in missing:404 denied:403 gone:410 teapot:418; do
    url=$http/${spec%:*}/plain.qcow2
    out=$(with_qcow true -- "url=$url?token=SECRET" 2>&1)
    is "status ${spec#*:}: refused" $? 1
    like "... names the URL and the status" "$out" \
         "^nbdkit: (error: )?$url: .*${spec#*:}"
    is "... in one line" "$(wc -l <<< "$out")" 1
    unlike "... without what may be secret" "$out" 'SECRET'
done
is "... each is tried once" "$(requests | wc -l)" 4

# --- Secrets are not said ---------------------------------------------

# (nbdkit itself says with -v what is on the command line.)
for way in auth to-other/auth near near/gone; do
    out=$(with_qcow 'nbdcopy "$uri" null:' -v -D qcow.cache=1 \
                    -- "url=$http/$way/plain.qcow2?sig=s1gnature" \
                    user=me password=+secret cookie=+cookie proxy="$http" \
                    proxy-user=you proxy-password=+secret2 2>&1)
    unlike "nothing secret is said: /$way/" \
           "$(grep -Ev 'config key=|^nbdkit .*url=' <<< "$out")" \
           "s3cr3t|s1gnature|p:w|$(cut -c 1-20 secret)|${basic#* }"
done

# Nor where what is wrong is the place that it is in.
qemu-img create -q -f qcow2 -u -b 'ftp://me:S3CRET@h/x?sig=S3CRET' -F raw \
         ftp.qcow2 1M
qemu-img create -q -f qcow2 -u -F raw \
         -b 'json:{"file.driver":"http","file.url":"http://me:S3CRET@h/"}' \
         json.qcow2 1M
while read -r -a options; do
    out=$(with_qcow true -- "${options[@]}" 2>&1); rc=$?
    is "refused: ${options[*]}" $rc 1
    unlike "... and what is secret is not said" "$out" S3CRET
done <<END
url=$http/plain.qcow2 allow=https://h/x?sig=S3CRET
url=$http/plain.qcow2 allow=https://me:S3CRET@h:x/y
url=$http/plain.qcow2 allow=ftp://me:S3CRET@h/
$www/over.qcow2 backing=ftp://me:S3CRET@h/
$www/over.qcow2 backing=htps://me:S3CRET@h/
https:/me:S3CRET@h/x
ftp.qcow2
json.qcow2
url=$http/plain.qcow2 endpoint-url=http://me:S3CRET@h endpoint-url=x
url=$http/plain.qcow2 endpoint-url=http://h endpoint-url=http://me:S3CRET@h
url=$http/plain.qcow2 proxy-user=me:S3CRET proxy-user=me:S3CRET
url=$http/plain.qcow2 proxy=http://us:S3CRET@127.0.0.1:99999
url=$http/plain.qcow2 proxy=socks9://us:S3CRET@127.0.0.1:1
END

# --- A server in a hurry ----------------------------------------------

for way in hasty closing; do
    for version in 1.1 2.0; do
        forget_requests
        params=("cainfo=$ca" "http-version=$version" cache-size=0)
        serves "/$way/, $version" "url=$https/$way/plain.qcow2" plain.raw \
               --random 60 --connections 2
    done
    params=(cache-size=0)
    serves "/$way/, without TLS" "url=$http/$way/plain.qcow2" plain.raw \
           --random 60 --connections 2
done
params=()
forget_requests
gets "a server that limits requests" "$http/limited/plain.qcow2"
like "... has said so" "$(requests)" ' 429 '

# Configuration that is read again, with all connections ended.
start_qcow -- "url=$http/plain.qcow2" cache-size=0
for i in 1 2 3 4 5; do
    kill -HUP "$(cat "$tmp/nginx/pid")"
    ok "while the web server starts anew: $i" nbdcopy "$uri" got.raw
    same_bytes "... the bytes" got.raw plain.raw
done
stop_qcow

done_testing
