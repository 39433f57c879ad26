# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after functions.sh by tests with a real web server: starts nginx and
# reads its log of requests.
#
# Invariants: all files of the server are in $tmp/nginx; it runs as the user
# who runs the test; it listens only on the loopback interface, on ports that
# the kernel chooses; it is one process, which is killed at exit.

# No proxies from the environment.
unset http_proxy https_proxy all_proxy no_proxy
unset HTTPS_PROXY ALL_PROXY NO_PROXY

www=$tmp/web                    # the files that nginx serves
nginx_log=$tmp/nginx/error.log
mkdir -p "$www" "$tmp/nginx"

# make_certificates: make ca.pem and, signed with it, server.pem in $tmp/nginx,
# for 127.0.0.1, ::1, localhost and images.test.
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

# start_nginx [DIRECTIVES [OUTER-DIRECTIVES]]: serve the files in $www.  The
# directives are added to nginx's server block and to its http block.  In them
# {http} and {https} stand for $http and $https.  Sets
#   $http $https     URLs like http://127.0.0.1:12345; https supports HTTP/2
#   $http_port $https_port
#   $http6           like $http on ::1; empty without IPv6
#   $web_socket      a Unix domain socket of the same server
#   $ca              the certificate to trust
start_nginx ()
{
    local dir=$tmp/nginx i user=
    # Started as root, its workers would run as a user who can't read $tmp.
    [ "$(id -u)" != 0 ] || user="user root root;"
    web_socket=$dir/socket
    ca=$dir/ca.pem
    make_certificates > "$dir/openssl.log" 2>&1 || {
        diag "openssl" "$(cat "$dir/openssl.log")"
        exit 1
    }
    # Two logs with one line per request; see requests and headers below.
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
        # (nginx creates the socket last.)
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

# forget_requests: empty both logs.
forget_requests ()
{
    _requests_done && : > "$tmp/nginx/requests" && : > "$tmp/nginx/headers"
}

# requests: print the logged requests, in the order in which they finished:
#   CONNECTION NUMBER-ON-IT SCHEME PROTOCOL METHOD STATUS BYTES RANGE HOST URI
requests ()
{
    _requests_done && cat "$tmp/nginx/requests"
}

# headers: print their headers:
#   URI|USER-AGENT|COOKIE|AUTHORIZATION|PROXY-AUTHORIZATION|X-ONE|X-TWO|
#   IF-MATCH|ACCEPT-ENCODING|URI-AS-UNDERSTOOD|
headers ()
{
    _requests_done && cat "$tmp/nginx/headers"
}

# Wait until nginx has logged all finished requests.  It logs a request after
# sending its last byte, but its single worker logs before it serves the next.
_requests_done ()
{
    local response
    exec 9<> "/dev/tcp/127.0.0.1/$http_port" || return 1
    printf 'GET /.done HTTP/1.0\r\n\r\n' >&9
    IFS= read -r response <&9
    exec 9<&-
    [[ $response = HTTP/* ]]
}

# gets NAME URL [PARAMETER...]: the plugin serves the image at URL, whose
# disk is plain.raw.
gets ()
{
    local name=$1 url=$2
    shift 2
    rm -f got.raw
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw plain.raw' \
       -- "url=$url" "$@"
}
