#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The plugin takes each parameter of nbdkit's curl plugin.  Those of TLS, proxies,
# cookies and TCP that web-options.t does not cover, on a real server.  (Scripts
# are in web-scripts.t.)

source "$(dirname "$0")/functions.sh"
source "$top/tests/nginx.sh"

tls_log=$tmp/nginx/tls
start_nginx '
location = /login {
    add_header Set-Cookie "sid=s3cr3t; Path=/";
    return 302 /session/plain.qcow2;
}
location /session/ {
    alias '"$www"'/;
    if ($http_cookie != "sid=s3cr3t") { return 302 /login; }
}
location /echo/ { return 302 /no/$http_cookie; }
' "ssl_protocols TLSv1.2 TLSv1.3;
log_format tls '\$ssl_protocol \$ssl_cipher';
access_log $tls_log tls;"

text_source $((3 << 20)) plain.raw
qemu-img convert -f raw -O qcow2 plain.raw "$www/plain.qcow2"

# --- The list of parameters -------------------------------------------

# keys PLUGIN: print the parameters in its --help.  (nbdkit 1.32 has a space
# before one of them.)
keys ()
{
    nbdkit "$1" --help 2>&1 | sed '1,/^plugin: /d' |
        grep -Eo '^ ?\[?[a-z][-_a-z0-9]+=' | tr -d '[= ' | sort -u
}
if nbdkit curl --version > /dev/null 2>&1; then
    keys curl > curl.keys
    keys "$plugin" > our.keys
    ok "the curl plugin lists its parameters" grep -qx cookie-script curl.keys
    is "each parameter of the curl plugin is one of ours" \
       "$(comm -23 curl.keys our.keys)" ""
else
    skip "the parameters of the curl plugin" "it is not installed"
fi
# Those of nbdkit 1.48, whatever is installed.
all='cainfo capath connections cookie cookie-script cookie-script-renew
     followlocation header header-script header-script-renew http-version
     ipresolve password protocols proxy proxy-cainfo proxy-capath
     proxy-password proxy-user resolve ssl-cipher-list ssl-version sslverify
     cookiefile cookiejar tcp-keepalive tcp-nodelay timeout tls13-ciphers unix-socket-path url user
     user-agent'
for key in $all; do
    like "$key= is in the help" "$(nbdkit "$plugin" --help 2>&1)" \
         "(^|\n)\[?$key="
done

# --- TLS --------------------------------------------------------------

# used NAME REGEX [PARAMETER...]: nginx logs this TLS version and cipher.
used ()
{
    local name=$1 regex=$2
    shift 2
    : > "$tls_log"
    gets "$name" "$https/plain.qcow2" "cainfo=$ca" "$@"
    requests > /dev/null
    like "... is used" "$(grep -v '^-' "$tls_log" | sort -u)" "^$regex\$"
}
used "ssl-version=default" 'TLSv1\.3 .*' ssl-version=default
used "ssl-version=tlsv1" 'TLSv1\.3 .*' ssl-version=tlsv1
used "ssl-version=max-default" 'TLSv1\.3 .*' ssl-version=max-default
used "ssl-version=tlsv1.3" 'TLSv1\.3 .*' ssl-version=tlsv1.3
used "ssl-version=tlsv1.2: or newer" 'TLSv1\.3 .*' ssl-version=tlsv1.2
used "ssl-version=max-tlsv1.2" 'TLSv1\.2 .*' ssl-version=max-tlsv1.2
cipher=ECDHE-ECDSA-AES128-GCM-SHA256
used "ssl-cipher-list=" "TLSv1\.2 $cipher" \
     "ssl-cipher-list=ECDHE-RSA-AES128-GCM-SHA256:$cipher" \
     ssl-version=max-tlsv1.2
used "... does not affect TLS 1.3" 'TLSv1\.3 .*' "ssl-cipher-list=$cipher"
for cipher in TLS_AES_128_GCM_SHA256 TLS_CHACHA20_POLY1305_SHA256; do
    used "tls13-ciphers=$cipher" "TLSv1\.3 $cipher" "tls13-ciphers=$cipher"
done
for bad in ssl-version=tlsv1.4 ssl-version=TLSv1.2 ssl-version=max-tlsv1 \
           ssl-version=sslv2 ssl-version=sslv3 ssl-version= ipresolve=v5 \
           ipresolve= ipresolve=V4 tcp-nodelay=maybe tls13-ciphers= \
           ssl-cipher-list= proxy-capath=; do
    refused "$bad: refused" "${bad%%=*}=" \
            -- "url=$https/plain.qcow2" "cainfo=$ca" "$bad"
done
forget_requests
for bad in ssl-cipher-list=nonsense tls13-ciphers=nonsense; do
    refused "$bad: refused" "$https/plain\\.qcow2: .*cipher" \
            -- "url=$https/plain.qcow2" "cainfo=$ca" "$bad"
done
is "... sends no request" "$(requests)" ""

# The server has no HTTP/3, and not every libcurl has.
refused "http-version=3only: refused" "http-version=|$https/plain\\.qcow2: " \
        -- "url=$https/plain.qcow2" "cainfo=$ca" http-version=3only

# --- Proxies with TLS -------------------------------------------------

# A proxy that is the server, too, as far as the client can see.
at=http://images.test/plain.qcow2
refused "a proxy with TLS, unknown CA: refused" "$at: .*certificate" \
        -- "url=$at" "proxy=$https"
refused "... cainfo= is not for proxies" "$at: .*certificate" \
        -- "url=$at" "proxy=$https" "cainfo=$ca"
refused "... sslverify=false neither" "$at: .*certificate" \
        -- "url=$at" "proxy=$https" sslverify=false
gets "... proxy-cainfo=" "$at" "proxy=$https" "proxy-cainfo=$ca"
mkdir cas
cp "$ca" cas/ours.pem
openssl rehash cas
gets "... proxy-capath=" "$at" "proxy=$https" proxy-capath=cas
start_daemon cache-size=0 "url=$at" "proxy=$https" proxy-capath=cas
ok "... a daemon resolves a relative proxy-capath=" nbdcopy "$uri" null:
end_daemon
for options in proxy-cainfo= proxy-capath=/nonexistent "proxy-capath=$www"; do
    refused "... $options: refused" "$at|${options%%=*}" \
            -- "url=$at" "proxy=$https" "$options"
done

# --- Cookies of the server --------------------------------------------

at=$http/session/plain.qcow2
refused "a server that wants its cookie back: refused" \
        "$at.*there were 10 redirects" -- "url=$at"
gets "... cookiefile=" "$at" cookiefile=
is "... cookiejar= is not written then" "$(ls ./*jar* 2> /dev/null)" ""
gets "... cookiejar=" "$at" cookiejar=jar
like "... is written" "$(cat jar)" $'\t/\tFALSE\t0\tsid\ts3cr3t'
is "... only the user can read it" "$(stat -c %a jar)" 600
forget_requests
gets "... cookiejar= is read" "$at" cookiejar=jar
gets "... cookiefile= is read" "$at" cookiefile=jar
unlike "... no login is needed" "$(requests)" /login
# Another domain's cookie is not sent.
sed 's/^127\.0\.0\.1/images.test/; s/s3cr3t/other/' jar > other
cat other >> jar
cp jar before
forget_requests
gets "... cookies of another domain" "$at" cookiefile=jar
is "... are not sent" "$(headers | cut -d '|' -f 3 | sort -u)" sid=s3cr3t
same_bytes "... the file of cookiefile= is not changed" jar before
gets "... cookiefile= and cookiejar=" "$at" cookiefile=jar cookiejar=jar2
is "... both domains' are written" \
   "$(grep -v '^#' jar2 | cut -f 1,7 | sort | paste -sd ' ')" \
   $'127.0.0.1\ts3cr3t images.test\tother'
# As a header of HTTP.
echo 'Set-Cookie: sid=s3cr3t; Domain=127.0.0.1; Path=/' > head
forget_requests
gets "... a file of headers" "$at" cookiefile=head
unlike "... no login is needed" "$(requests)" /login
forget_requests
gets "... cookie= is sent, too" "$http/plain.qcow2" cookie=a=b cookiefile=jar
is "... with that of the file" \
   "$(headers | cut -d '|' -f 3 | sort -u)" 'sid=s3cr3t; a=b'
mkdir there
start_daemon "url=$at" cookiejar=there/jar
ok "... a daemon resolves a relative cookiejar=" nbdcopy "$uri" null:
end_daemon
ok "... and writes it at the end" grep -q s3cr3t there/jar
for options in cookiefile=- cookiejar=- cookiejar=; do
    refused "$options: refused" "${options%%=*}=" -- "url=$at" "$options"
done
out=$(with_qcow true -- "url=$http/plain.qcow2" cookiefile=missing 2>&1)
like "cookiefile= that does not exist: a warning" "$out" \
     "cookiefile=: can't read cookies from '.*/missing': No such file"
out=$(with_qcow true -- "url=$http/plain.qcow2" cookiejar=missing/jar 2>&1)
like "cookiejar= that can't be written: a warning" "$out" \
     "cookiejar=: can't write cookies to '.*/missing/jar': No such file"
out=$(with_qcow true -v -D qcow.http=1 \
                -- "url=$http/echo/plain.qcow2" cookiefile=jar 2>&1)
is "cookies in a redirect: refused" $? 1
unlike "... no message has their values" "$out" s3cr3t

# --- TCP --------------------------------------------------------------

if [ -n "$http6" ]; then
    for spec in v4:$http_port:v6 4:$http_port:6 \
                v6:${http6##*:}:v4 6:${http6##*:}:4; do
        IFS=: read -r good port bad <<< "$spec"
        at=http://both.test:$port/plain.qcow2
        to="resolve=both.test:$port:127.0.0.1,[::1]"
        gets "ipresolve=$good" "$at" "$to" ipresolve="$good"
        gets "... any" "$at" "$to" ipresolve=any
        refused "... $bad: refused" "$at: " -- "url=$at" "$to" ipresolve="$bad"
    done
else
    skip "ipresolve=" "no IPv6"
fi
gets "unix_socket_path=, another name of unix-socket-path=" \
     http://images.test/plain.qcow2 "unix_socket_path=$web_socket"
gets "ipresolve=whatever" "$http/plain.qcow2" ipresolve=whatever

# nodelay VALUE [PARAMETER...]: TCP_NODELAY is set to that value; "": not set.
nodelay ()
{
    local wanted=$1
    shift
    rm -f strace.out
    strace -f -e trace=setsockopt -o strace.out \
           nbdkit -U "$socket" "$plugin" "url=$http/plain.qcow2" "$@" \
           --run true > /dev/null 2>&1
    is "TCP_NODELAY: $*" \
       "$(sed -En 's/.*TCP_NODELAY, \[([01])\].*/\1/p' strace.out | sort -u)" \
       "$wanted"
}
new_socket
if [ -z "${QCOW_PRELOAD:-}${QCOW_VALGRIND:-}" ] &&
       strace -o /dev/null true 2> /dev/null; then
    nodelay 1
    nodelay 1 tcp-nodelay=true
    nodelay "" tcp-nodelay=false
else
    skip "tcp-nodelay=" "strace can't trace here"
fi
gets "tcp-nodelay=false" "$http/plain.qcow2" tcp-nodelay=false

done_testing
