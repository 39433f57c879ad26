#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Parameters for images on a web server: TLS with a private CA, HTTP versions,
# user and password, cookies, headers, Unix domain sockets, resolve=, proxies
# and redirects; HTTP errors; servers that close connections or limit
# requests.  Secrets are sent to the image's server only and appear in no log.

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

# 3 MiB, so that the first request does not cover the image.
text_source $((3 << 20)) plain.raw
qemu-img convert -f raw -O qcow2 plain.raw "$www/plain.qcow2"

# --- TLS --------------------------------------------------------------

at=$https/plain.qcow2
refused "TLS, unknown CA: refused" \
        "nbdkit: .*$at.*certificate" -- "url=$at"
# nginx logs the failure before it responds to the next request.  Newer
# versions of libcurl check the certificate after the handshake, and then only
# close the connection.
requests > /dev/null
is "... no retry" \
   "$(grep -cE 'unknown ca|closed connection while waiting' "$nginx_log")" 1
like "... the message suggests cainfo=" \
     "$(with_qcow true -- "url=$at" 2>&1)" 'cainfo='
gets "TLS with cainfo=" "$at" "cainfo=$ca"
is "... uses HTTP/1.1" "$(requests | cut -d ' ' -f 3-4 | sort -u)" \
   "https HTTP/1.1"
mkdir cas
cp "$ca" cas/ours.pem
openssl rehash cas
gets "TLS with capath=" "$at" capath=cas
gets "TLS with sslverify=false" "$at" sslverify=false
gets "TLS with sslverify=0" "$at" sslverify=0
for options in sslverify=true sslverify=1 cainfo= capath=/nonexistent \
               "capath=$www"; do
    refused "TLS with $options: refused" \
            "$at|${options%%=*}" -- "url=$at" "$options"
done
refused "cainfo= names a missing file: refused" "nowhere\.pem" \
        -- "url=$at" cainfo=nowhere.pem
refused "cainfo= names a file without certificates: refused" \
        '(cainfo|plain\.raw)' \
        -- "url=$at" cainfo=plain.raw
# File names are relative to the directory in which nbdkit started, although a
# daemon changes to /.
in_background ()
{
    local name=$1
    shift
    rm -f got.raw
    start_daemon cache-size=0 "$@"
    ok "$name" nbdcopy "$uri" got.raw
    same_bytes "... same bytes" got.raw plain.raw
    end_daemon
}
mkdir here
cp "$ca" here/ca.pem
in_background "a daemon resolves a relative cainfo=" "url=$at" \
              cainfo=here/ca.pem
in_background "a daemon resolves a relative capath=" "url=$at" capath=cas

# cainfo= and capath= replace the system's CAs.  The test needs a mount
# namespace, and so a user namespace.
mkdir store others
cp "$ca" store/ca-certificates.crt
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 2 \
        -keyout other.key -out others/other.pem 2> /dev/null ||
    fail "create a second CA"
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
    ok "a CA of the system is trusted" system_trusts_it
    for options in cainfo=others/other.pem cainfo= capath=others; do
        not_ok "... not with $options" \
               system_trusts_it $options
    done
    ok "cainfo= and capath= together: both are trusted" \
       system_trusts_it "cainfo=$ca" capath=others
else
    skip "CAs of the system" \
         "no user namespaces (chroot or sysctl)"
fi
refused "sslverify=maybe: refused" 'boolean|sslverify' \
        -- "url=$at" sslverify=maybe
gets "localhost matches the certificate" \
     "https://localhost:$https_port/plain.qcow2" "cainfo=$ca"
other=https://other.test:$https_port/plain.qcow2
elsewhere=resolve=other.test:$https_port:127.0.0.1
refused "a host name not in the certificate: refused" "$other" \
        -- "url=$other" "$elsewhere" "cainfo=$ca"
gets "... accepted with sslverify=false" "$other" "$elsewhere" sslverify=false
refused "https:// to a server without TLS: refused" \
        "https://127\\.0\\.0\\.1:$http_port/.*does not speak TLS.*http" \
        -- "url=https://127.0.0.1:$http_port/plain.qcow2" "cainfo=$ca"
refused "http:// to a server with TLS: refused" \
        "http://127\\.0\\.0\\.1:$https_port/.*400 Bad Request.* https" \
        -- "url=http://127.0.0.1:$https_port/plain.qcow2"

# --- Versions of HTTP -------------------------------------------------

forget_requests
gets "HTTP/2" "$at" "cainfo=$ca" http-version=2.0
is "... the server sees HTTP/2" "$(requests | cut -d ' ' -f 3-5 | sort -u)" \
   "https HTTP/2.0 GET"
oracle=plain.raw
params=("cainfo=$ca" http-version=2.0)
serves "... unaligned requests" "url=$at" plain.raw --connections 3
params+=(cache-size=0 connections=3)
serves "... without a cache" "url=$at" plain.raw --connections 3
params=()
forget_requests
gets "http-version=2.0 without TLS, HTTP/1.1 server" \
     "$http/plain.qcow2" http-version=2.0
is "... falls back to HTTP/1.1" "$(requests | cut -d ' ' -f 3-4 | sort -u)" \
   "http HTTP/1.1"
forget_requests
gets "http-version=1.1" "$at" "cainfo=$ca" http-version=1.1
is "... the server sees HTTP/1.1" \
   "$(requests | cut -d ' ' -f 3-4 | sort -u)" "https HTTP/1.1"
# Without TLS there is no negotiation of HTTP/2.  libcurl before 8.0 needs a
# connection for each request.
at=http://images.test/plain.qcow2
params=(http-version=2-prior-knowledge "unix-socket-path=$tmp/h2c")
forget_requests
gets "HTTP/2 with prior knowledge" "$at"
is "... the server sees HTTP/2" "$(requests | cut -d ' ' -f 3-6 | sort -u)" \
   "http HTTP/2.0 GET 206"
serves "... unaligned requests" "url=$at" plain.raw --connections 3
params=()
at=$https/plain.qcow2
forget_requests
gets "HTTP/2 with prior knowledge and TLS" "$at" "cainfo=$ca" \
     http-version=2-prior-knowledge
is "... the server sees HTTP/2" "$(requests | cut -d ' ' -f 3-6 | sort -u)" \
   "https HTTP/2.0 GET 206"
is "... requests share connections" \
   $(($(requests | cut -d ' ' -f 1 | sort -u | wc -l) <
      $(requests | wc -l))) 1

# With http-version=3, libcurl falls back to an older version if the server
# has no HTTP/3 (this one has none).  A libcurl without HTTP/3 refuses the
# parameter.
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
    gets "http-version=3, HTTP/2 server" "$at" \
         "cainfo=$ca" http-version=3
    is "... falls back to HTTP/2" "$(requests | cut -d ' ' -f 3-5 | sort -u)" \
       "https HTTP/2.0 GET"
else
    refused "http-version=3, libcurl without HTTP/3: refused" \
            "http-version=.*'3'.*libcurl" \
            -- "url=$at" "cainfo=$ca" http-version=3
    is "... sends no request" "$(requests)" ''
fi
for bad in 4 x 2. ''; do
    refused "http-version=$bad: refused" 'http-version' \
            -- "url=$at" "cainfo=$ca" "http-version=$bad"
done

# --- Authentication ---------------------------------------------------

at=$http/auth/plain.qcow2
forget_requests
refused "no password: refused" "$at.*401" -- "url=$at"
refused "wrong password: refused" "$at.*401" -- "url=$at" user=me password=x
refused "wrong user: refused" "$at.*401" \
        -- "url=$at" user=you "password=$password"
is "... one request each" "$(requests | wc -l)" 3
forget_requests
gets "user= and password=" "$at" user=me "password=$password"
basic="Basic $(printf %s "me:$password" | base64)"
is "... are sent in each request" "$(headers | cut -d '|' -f 4 | sort -u)" \
   "$basic"
unlike "... no response is 401" "$(requests)" ' 401 '
printf '%s' "$password" > secret
gets "password=+FILE" "$at" user=me password=+secret
printf '%s\n' "$password" > secret
gets "... with a final newline" "$at" user=me password=+secret
exec 7< secret
gets "password=-FD" "$at" user=me password=-7
exec 7<&-
refused "password=+FILE, missing file: refused" 'nowhere' \
        -- "url=$at" user=me password=+nowhere
# In a URL it is percent-encoded.
gets "user and password in the URL" \
     "http://me:pa%3ass%20%22w%25C3%22%26%20%C3%A4@127.0.0.1:$http_port/auth/plain.qcow2"
gets "user in the URL, password in password=" \
     "http://me@127.0.0.1:$http_port/auth/plain.qcow2" password=+secret
refused "... the user in the URL wins over user=" '401' \
        -- "url=http://you@127.0.0.1:$http_port/auth/plain.qcow2" user=me \
        password=+secret
in_url=me:pa%3ass%20%22w%25C3%22%26%20%C3%A4
gets "user and password in the URL win over user= and password=" \
     "http://$in_url@127.0.0.1:$http_port/auth/plain.qcow2" user=you password=x
gets "... also after a redirect to the same server" \
     "http://$in_url@127.0.0.1:$http_port/near-auth/plain.qcow2" user=you \
     password=x
qemu-img create -q -f qcow2 -u -b plain.qcow2 -F qcow2 "$www/over.qcow2" 3M
gets "... also for a backing file" "$http/over.qcow2" \
     "backing=http://$in_url@localhost:$http_port/near-auth/plain.qcow2"
forget_requests
gets "user= and password= over TLS and HTTP/2" "$https/auth/plain.qcow2" \
     user=me password=+secret "cainfo=$ca" http-version=2.0
# The password becomes invalid at run time.
start_qcow -- "url=$at" user=me password=+secret cache-size=0
cp users users.old
: > users
start=$SECONDS
# shellcheck disable=SC2154
not_ok "a password that became invalid: reads fail" nbdcopy "$uri" null:
is "... within 10 s" "$((SECONDS - start < 10))" 1
like "... the log has the reason" "$(cat "$log")" "error: plain\\.qcow2: .*401"
cp users.old users
# A range that was refused is not retried for one second.
sleep 1.1
ok "the password is valid again: reads succeed" nbdcopy "$uri" null:
stop_qcow

at=$http/cookie/plain.qcow2
refused "no cookie: refused" "$at.*403" -- "url=$at"
gets "cookie=" "$at" 'cookie=session=s3cr3t; b=2'
echo 'session=s3cr3t; b=2' > cookie
gets "cookie=+FILE" "$at" cookie=+cookie
exec 7< cookie
gets "cookie=-FD" "$at" cookie=-7
exec 7<&-

at=$http/header/plain.qcow2
refused "no header: refused" "$at.*403" -- "url=$at"
forget_requests
gets "header=, twice" "$at" 'header=X-One: uno' 'header=X-Two: due, "tre"'
is "... both are sent in each request" \
   "$(headers | cut -d '|' -f 6,7 | sort -u)" \
   'uno|due, \x22tre\x22'
refused "header= with a wrong value: refused" \
        "$at.*403" -- "url=$at" 'header=X-One: due'

at=$http/plain.qcow2
forget_requests
gets "user-agent=" "$at" 'user-agent=Mozilla/5.0 (a test)'
is "... is sent in each request" "$(headers | cut -d '|' -f 2 | sort -u)" \
   'Mozilla/5.0 (a test)'
gets "tcp-keepalive=true" "$at" tcp-keepalive=true
gets "tcp-keepalive=false" "$at" tcp-keepalive=false
gets "timeout=" "$at" timeout=30
gets "timeout=0" "$at" timeout=0
for bad in tcp-keepalive=x timeout=x timeout=-1 timeout=2147484 \
           followlocation=x; do
    refused "$bad: refused" "${bad%%=*}|boolean" -- "url=$at" $bad
done
for bad in nonsense h:80 h:x:127.0.0.1 h:80: :80:127.0.0.1 h:80:nonsense; do
    out=$(with_qcow true -- "url=$at" "resolve=$bad" 2>&1)
    is "resolve=$bad: refused" $? 1
    like "... the message shows the syntax" "$out" 'resolve=.*HOST:PORT:ADDRESS'
    unlike "... and omits the value" "$out" "resolve=${bad}[^a-z]*\$|'$bad'"
done
for key in user user-agent cookie header proxy resolve protocols \
           unix-socket-path; do
    out=$(with_qcow true -- "url=$at" "$key=" 2>&1)
    case $? in
        0|1) pass "$key= with an empty value: no crash" ;;
        *) fail "$key= with an empty value: no crash" "$out" ;;
    esac
done

# --- Ways to the server -----------------------------------------------

forget_requests
gets "unix-socket-path=" http://images.test/plain.qcow2 \
     "unix-socket-path=$web_socket"
is "... sends the host name" \
   "$(requests | cut -d ' ' -f 9 | sort -u)" images.test
ln -s "$web_socket" web.sock
in_background "a daemon resolves a relative unix-socket-path=" \
              url=http://images.test/plain.qcow2 unix-socket-path=web.sock
refused "unix-socket-path= names a missing socket: refused" \
        "http://images\\.test/gone: .*socket '.*/nowhere'.*: No such file" \
        -- url=http://images.test/gone unix-socket-path=nowhere
forget_requests
gets "resolve=" "http://images.test:$http_port/plain.qcow2" \
     "resolve=images.test:$http_port:127.0.0.1"
is "... sends the host name" \
   "$(requests | cut -d ' ' -f 9 | sort -u)" images.test
gets "resolve=, twice, and TLS" \
     "https://images.test:$https_port/plain.qcow2" "cainfo=$ca" \
     "resolve=other.test:$https_port:127.0.0.1" \
     "resolve=images.test:$https_port:127.0.0.1"
# A proxy receives the absolute URL.
forget_requests
gets "proxy=" http://images.test/plain.qcow2 "proxy=$http"
is "... sends the host name" \
   "$(requests | cut -d ' ' -f 9 | sort -u)" images.test
forget_requests
echo 'p:w' > secret2
gets "proxy-user= and proxy-password=" http://images.test/plain.qcow2 \
     "proxy=$http" proxy-user=you proxy-password=+secret2 \
     user=me password=+secret
is "... each server receives its own, in each request" \
   "$(headers | cut -d '|' -f 4,5 | sort -u)" \
   "$basic|Basic $(printf you:p:w | base64)"

# The message names the proxy or server that can't be reached, without the
# proxy's password.
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
sees_proxy "a proxy that refuses connections" \
           'http://images\.test/x: .*the proxy 127\.0\.0\.1:1: Connection refused' \
           url=http://images.test/x "proxy=$closed"
sees_proxy "... for https" 'the proxy 127\.0\.0\.1:1: Connection refused' \
           url=https://images.test/x "proxy=$closed"
sees_proxy "... for a server that is reachable" \
           'the proxy 127\.0\.0\.1:1: Connection refused' \
           "url=$http/plain.qcow2" "proxy=$closed"
http_proxy=$closed sees_proxy "... from the environment" \
          'the proxy that the environment names .*: Connection refused' \
           url=http://images.test/x
sees_proxy "a proxy whose name does not resolve" \
           '[Cc]ould.* resolve proxy: proxy\.invalid' \
           url=http://images.test/x proxy=http://us:S3CRET@proxy.invalid:1
no_proxy=127.0.0.1 gets "no_proxy bypasses an unreachable proxy" \
                        "$http/plain.qcow2" \
        "proxy=$closed"
no_proxy=127.0.0.1 sees_proxy "no_proxy, a server that refuses connections" \
        "Failed to connect to 127\\.0\\.0\\.1" \
        url=http://127.0.0.1:1/x "proxy=$closed"
unlike "... the message does not mention the proxy" "$out" proxy
# A listening socket whose queue of one connection is full.
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
sees_proxy "a proxy that does not respond" \
           "the proxy 127\\.0\\.0\\.1:$(< full.port): [Tt]ime" \
           "url=$http/plain.qcow2" timeout=1 \
           "proxy=http://us:S3CRET@127.0.0.1:$(< full.port)"

# --- Redirects --------------------------------------------------------

for way in near to-https to-other; do
    forget_requests
    gets "/$way/: redirect is followed" "$http/$way/plain.qcow2" "cainfo=$ca"
    is "... the redirect is requested once" "$(requests | grep -c " /$way/")" 1
    refused "... refused with followlocation=false" \
            "$http/$way/plain\\.qcow2.*followlocation=" \
            -- "url=$http/$way/plain.qcow2" "cainfo=$ca" followlocation=false
done
refused "/to-https/: unknown CA: refused" \
        "certificate" -- "url=$http/to-https/plain.qcow2"
forget_requests
refused "/to-http/ from https: refused" "$https/to-http/plain\\.qcow2.*http" \
        -- "url=$https/to-http/plain.qcow2" "cainfo=$ca"
unlike "... sends no request over http" "$(requests)" ' http HTTP'
gets "/to-http/ from http: redirect is followed" "$http/to-http/plain.qcow2"
for way in to-ftp to-file round; do
    refused "/$way/: refused" "$http/$way/x" -- "url=$http/$way/x"
done
said=$(with_qcow true -- "url=$http/to-ftp/x" 2>&1)
like "... the message names the redirect target" \
     "$said" 'redirects to ftp://127.0.0.1/x,'
unlike "... without secrets" "$said" S3CRET
# The redirect target may be a signed URL.
forget_requests
gets "a redirect to a signed URL" "$http/signed/plain.qcow2"
is "... requests the signed URL" \
   "$(requests | awk '{ print $NF }' | sort -u | paste -s)" \
   $'/plain.qcow2?sig=s1gned\t/signed/plain.qcow2'
for options in "/plain.qcow2 followlocation=false" "/none" "/plain.qcow2"; do
    read -ra args <<< "$http/signed$options"
    unlike "... the log omits the signature: $options" \
           "$(with_qcow true -v -D qcow.http=1 -- "url=${args[0]}" \
                        "${args[@]:1}" 2>&1)" s1gned
done
# Secrets for the first server are not sent to the redirect target.
secrets=('cookie=session=s3cr3t; b=2' 'header=X-One: uno' user=me
         password=+secret)
for way in to-https to-other; do
    forget_requests
    gets "/$way/ with secrets: redirect is followed" \
         "$http/$way/plain.qcow2" "cainfo=$ca" \
         "${secrets[@]}"
    is "... the first server receives them" \
       "$(headers | grep "^/$way/" | cut -d '|' -f 3,4,6 | sort -u)" \
       "session=s3cr3t; b=2|$basic|uno"
    is "... the redirect target does not" \
       "$(headers | grep -v "^/$way/" | cut -d '|' -f 3,4,6 | sort -u)" \
       "-|-|-"
done
forget_requests
gets "/near/ with secrets: redirect is followed" \
     "$http/near/plain.qcow2" "${secrets[@]}"
is "... the server receives them for both URLs" \
   "$(headers | cut -d '|' -f 3,4,6 | sort -u)" \
   "session=s3cr3t; b=2|$basic|uno"

# protocols=
gets "protocols=http" "$http/plain.qcow2" protocols=http
gets "protocols=http,https" "$http/plain.qcow2" protocols=http,https
gets "protocols=https" "$https/plain.qcow2" protocols=https "cainfo=$ca"
forget_requests
refused "protocols=https for an http URL: refused" 'protocols=' \
        -- "url=$http/plain.qcow2" protocols=https
refused "protocols=http for an https URL: refused" 'protocols=' \
        -- "url=$https/plain.qcow2" protocols=http
is "... sends no request" "$(requests)" ''
refused "protocols=http, redirect to https: refused" \
        "$http/to-https/plain\\.qcow2" \
        -- "url=$http/to-https/plain.qcow2" protocols=http "cainfo=$ca"
unlike "... sends no request over https" "$(requests)" ' https HTTP'
for bad in ftp http,ftp nonsense file; do
    refused "protocols=$bad: refused" 'protocols' \
            -- "url=$http/plain.qcow2" protocols=$bad
done

# --- HTTP errors ------------------------------------------------------

forget_requests
for spec in missing:404 denied:403 gone:410 teapot:418; do
    url=$http/${spec%:*}/plain.qcow2
    out=$(with_qcow true -- "url=$url?token=SECRET" 2>&1)
    is "status ${spec#*:}: refused" $? 1
    like "... the message names the URL and the status" "$out" \
         "^nbdkit: (error: )?$url: .*${spec#*:}"
    is "... it has one line" "$(wc -l <<< "$out")" 1
    unlike "... it omits the URL's query" "$out" 'SECRET'
done
is "... one request each" "$(requests | wc -l)" 4

# --- No secrets in messages -------------------------------------------

# With -v, nbdkit itself prints the command line.
for way in auth to-other/auth near near/gone; do
    out=$(with_qcow 'nbdcopy "$uri" null:' -v -D qcow.cache=1 \
                    -- "url=$http/$way/plain.qcow2?sig=s1gnature" \
                    user=me password=+secret cookie=+cookie proxy="$http" \
                    proxy-user=you proxy-password=+secret2 2>&1)
    unlike "no secrets in the debug output: /$way/" \
           "$(grep -Ev 'config key=|^nbdkit .*url=' <<< "$out")" \
           "s3cr3t|s1gnature|p:w|$(cut -c 1-20 secret)|${basic#* }"
done

# The same for messages about the parameter that contains the secret.
qemu-img create -q -f qcow2 -u -b 'ftp://me:S3CRET@h/x?sig=S3CRET' -F raw \
         ftp.qcow2 1M
qemu-img create -q -f qcow2 -u -F raw \
         -b 'json:{"file.driver":"http","file.url":"http://me:S3CRET@h/"}' \
         json.qcow2 1M
while read -r -a options; do
    out=$(with_qcow true -- "${options[@]}" 2>&1); rc=$?
    is "refused: ${options[*]}" $rc 1
    unlike "... the message omits the secret" "$out" S3CRET
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

# --- Servers that close connections or limit requests -----------------

for way in hasty closing; do
    for version in 1.1 2.0; do
        forget_requests
        params=("cainfo=$ca" "http-version=$version" cache-size=0)
        serves "/$way/, HTTP/$version" "url=$https/$way/plain.qcow2" plain.raw \
               --random 60 --connections 2
    done
    params=(cache-size=0)
    serves "/$way/, without TLS" "url=$http/$way/plain.qcow2" plain.raw \
           --random 60 --connections 2
done
params=()
forget_requests
gets "a server that limits requests" "$http/limited/plain.qcow2"
like "... has responded 429" "$(requests)" ' 429 '

# nginx reloads its configuration and closes all connections.
start_qcow -- "url=$http/plain.qcow2" cache-size=0
for i in 1 2 3 4 5; do
    kill -HUP "$(cat "$tmp/nginx/pid")"
    ok "reads during a reload of the web server: $i" nbdcopy "$uri" got.raw
    same_bytes "... same bytes" got.raw plain.raw
done
stop_qcow

done_testing
