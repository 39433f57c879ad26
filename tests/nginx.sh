# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after functions.sh by tests of images that a real web server
# has: start_nginx, and what that server was asked.
#
# Invariants: everything of the server is in $tmp/nginx, and it runs as
# whoever runs the test; it has only ports of the loopback device that the
# kernel chose; it is one process, which is killed at exit.

# Whatever the environment says, the server is asked itself.
unset http_proxy https_proxy all_proxy no_proxy
unset HTTPS_PROXY ALL_PROXY NO_PROXY

www=$tmp/web                    # what is served
nginx_log=$tmp/nginx/error.log
mkdir -p "$www" "$tmp/nginx"

# make_certificates: in $tmp/nginx, ca.pem with which server.pem is signed,
# for 127.0.0.1, ::1, localhost and images.test.  Nobody else trusts it.
make_certificates ()
{
    local dir=$tmp/nginx
    cat > "$dir/openssl.cnf" <<'END'
[req]
distinguished_name = name
prompt = no
[name]
CN = qcow test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, IP:::1, DNS:localhost, DNS:images.test
END
    set -- openssl req -x509 -config "$dir/openssl.cnf" -nodes -days 2 \
        -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
    "$@" -extensions ca -keyout "$dir/ca.key" -out "$dir/ca.pem" &&
    "$@" -extensions server -subj '/CN=a server of a qcow test' \
         -CA "$dir/ca.pem" -CAkey "$dir/ca.key" \
         -keyout "$dir/server.key" -out "$dir/server.pem"
}

# start_nginx [DIRECTIVES [OUTER-DIRECTIVES]]: serve what is in $www, from
# now on, with these directives in the block of the server, or around it, as
# well.  In them {http} and {https} stand for $http and $https.  Sets
#   $http $https     such as http://127.0.0.1:12345; TLS has HTTP/2, too
#   $http_port $https_port
#   $http6           the same as $http on ::1; empty if there is no IPv6
#   $web_socket      the same as $http, on a Unix domain socket
#   $ca              the certificate to trust
start_nginx ()
{
    local dir=$tmp/nginx i user=
    # As root it would answer as somebody who can't read $tmp.
    [ "$(id -u)" != 0 ] || user="user root root;"
    web_socket=$dir/socket
    ca=$dir/ca.pem
    make_certificates > "$dir/openssl.log" 2>&1 || {
        diag "openssl" "$(cat "$dir/openssl.log")"
        exit 1
    }
    # One line a request: what the connection is and which request on it,
    # how, what was asked and answered.
    cat > "$dir/template" <<END
daemon off;
$user
worker_processes 1;
pid $dir/pid;
error_log $nginx_log info;
events { worker_connections 256; }
http {
    log_format requests '\$connection \$connection_requests \$scheme '
                        '\$server_protocol \$request_method \$status '
                        '\$body_bytes_sent \$http_range \$host \$request_uri';
    log_format headers '\$request_uri|\$http_user_agent|\$http_cookie|'
                       '\$http_authorization|\$http_proxy_authorization|'
                       '\$http_x_one|\$http_x_two|\$http_if_match|'
                       '\$http_accept_encoding|\$uri|';
    access_log $dir/requests requests;
    access_log $dir/headers headers;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    ssl_certificate $dir/server.pem;
    ssl_certificate_key $dir/server.key;
    ${2:-}
    server {
        listen {listen-http};
        listen {listen-https} ssl http2;
        {if-http6} listen {listen-http6};
        listen unix:$web_socket;
        root $www;
        location = /.done { access_log off; return 204; }
        ${1:-}
    }
}
END
    "$python" "$gen/nginx.py" "$dir" > "$dir/start.log" 2>&1 < /dev/null &
    _helpers+=($!)
    for i in $(seq 200); do
        # (The socket is there when all others are.)
        [ ! -s "$dir/pid" ] || [ ! -S "$web_socket" ] || break
        kill -0 "${_helpers[-1]}" 2>/dev/null || break
        sleep 0.05
    done
    { read -r http; read -r https; read -r http6; } < "$dir/addresses"
    # shellcheck disable=SC2034
    http_port=${http##*:} https_port=${https##*:}
    if [ ! -S "$web_socket" ] || ! forget_requests; then
        diag "nginx" "$(cat "$dir/start.log" "$nginx_log")"
        exit 1
    fi
}

# forget_requests: what was asked so far is none of the requests.
forget_requests ()
{
    _requests_done && : > "$tmp/nginx/requests" && : > "$tmp/nginx/headers"
}

# requests: the requests since then, in the order in which they ended:
#   CONNECTION NUMBER-ON-IT SCHEME PROTOCOL METHOD STATUS BYTES RANGE HOST URI
requests ()
{
    _requests_done && cat "$tmp/nginx/requests"
}

# headers: the same of what they said of themselves:
#   URI|USER-AGENT|COOKIE|AUTHORIZATION|PROXY-AUTHORIZATION|X-ONE|X-TWO|
#   IF-MATCH|ACCEPT-ENCODING|URI-AS-UNDERSTOOD|
headers ()
{
    _requests_done && cat "$tmp/nginx/headers"
}

# nginx logs a request after its last byte; but with one process that
# answers, before it answers the next one.
_requests_done ()
{
    local answer
    exec 9<> "/dev/tcp/127.0.0.1/$http_port" || return 1
    printf 'GET /.done HTTP/1.0\r\n\r\n' >&9
    IFS= read -r answer <&9
    exec 9<&-
    [[ $answer = HTTP/* ]]
}
