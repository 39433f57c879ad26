# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after functions.sh by tests of failing web servers: servers that
# fail on demand (see generators/web-server.py), the log of their requests,
# and clients that run in parallel.
#
# The servers listen on the loopback interface, on ports that the kernel
# chooses, and end with the test.  The test fails if one of them writes to
# stderr (a traceback), or gets a request that is not for an exact range.

# No proxies and no credentials from the environment.
export HOME=$tmp/home
mkdir "$HOME"
unset "${!AWS_@}" http_proxy https_proxy all_proxy no_proxy \
      HTTPS_PROXY ALL_PROXY NO_PROXY

declare -A web=()               # NAME -> http://127.0.0.1:PORT
declare -A _web_pids=()

# start_web NAME DIRECTORY [OPTION-OR-SETTING...]
# Start a server.  Sets ${web[NAME]} to its URL.
start_web ()
{
    local name=$1 dir=$2 i scheme=http
    shift 2
    rm -f "$tmp/web-$name.port"
    [[ " $* " != *' --tls '* || " $* " = *' --plain '* ]] || scheme=https
    "$python" "$gen/web-server.py" "$tmp/web-$name" "$dir" "$@" \
              < /dev/null 2>> "$tmp/web-$name.errors" &
    _web_pids[$name]=$!
    _helpers+=($!)
    for i in $(seq 600); do
        if [ -s "$tmp/web-$name.port" ]; then
            web[$name]=$scheme://127.0.0.1:$(cat "$tmp/web-$name.port")
            return
        fi
        kill -0 "${_web_pids[$name]}" 2>/dev/null || break
        sleep 0.02
    done
    diag "the web server $name did not start" \
         "$(cat "$tmp/web-$name.errors")"
    exit 1
}

# stop_web NAME: from now on its port refuses connections.
stop_web ()
{
    _end "${_web_pids[$1]}"
}

# restart_web NAME SECONDS DIRECTORY [OPTION-OR-SETTING...]
# Stop a server and start it again; its port refuses connections for SECONDS.
restart_web ()
{
    local name=$1 seconds=$2 port=${web[$1]##*:}
    stop_web "$name"
    shift 2
    start_web "$name" "$@" --port "$port" --refuse "$seconds"
}

# set_web NAME [SETTING...]: set the server's settings for all later requests:
# those it was started with and these.
set_web ()
{
    local name=$1
    shift
    printf '%s' "${@/%/$'\n'}" > "$tmp/web-$name.new"
    mv "$tmp/web-$name.new" "$tmp/web-$name.control"
}

# asked NAME [REGEX]: print the requests that the server got and that match.
asked ()
{
    grep -E -- "${2:-}" "$tmp/web-$1.log"
}

# how_often NAME [REGEX]: print their number.
how_often ()
{
    grep -Ec -- "${2:-}" "$tmp/web-$1.log"
}

# forget NAME: empty its log.
forget ()
{
    : > "$tmp/web-$1.log"
}

# wait_for NAME REGEX: wait until the server got a matching request.
wait_for ()
{
    local i
    for i in $(seq 1000); do
        ! asked "$@" > /dev/null || return 0
        sleep 0.01
    done
    fail "$1 gets a request for $2" "$(asked "$1")"
}

eval "_plain_$(declare -f done_testing)"
done_testing ()
{
    local file
    for file in "$tmp"/web-*.errors; do
        [ ! -s "$file" ] ||
            fail "the server ${file##*/} writes no errors" "$(cat "$file")"
    done
    is "all requests are GETs of exact ranges" \
       "$(grep -hEv '^(CONNECT |GET [^ ]+ bytes=[0-9]+-[0-9]+ )' \
               "$tmp"/web-*.log | head -5)" ""
    _plain_done_testing
}

# in_parallel NAME COMMAND [PARAMETER...]: run with_qcow in the background,
# with $server_options for nbdkit; 'outcome NAME' waits for it.  20 jobs at a
# time are little load, because they mostly wait for a server.
declare -A _jobs=()
server_options=()
in_parallel ()
{
    local job=$tmp/job-$1 cmd=$2
    shift 2
    while [ "$(jobs -pr | wc -l)" -ge 20 ]; do
        sleep 0.1
    done
    (
        began=$(now)
        with_qcow "$cmd" "${server_options[@]}" -- "$@" \
                  > "$job.out" 2> "$job.log"
        echo "$? $(($(now) - began))" > "$job.rc"
    ) &
    _jobs[${job##*/job-}]=$!
}

# now: print the time in milliseconds.
now ()
{
    local us=${EPOCHREALTIME/./}
    echo $((us / 1000))
}

# outcome NAME: wait for the job.  Sets $out (the command's output), $log (the
# file of the server's messages), $rc (the status) and $ms (the duration).
outcome ()
{
    local messages
    wait "${_jobs[$1]}" 2> /dev/null # bash forgets jobs that ended long ago
    log=$tmp/job-$1.log
    out=$(< "$tmp/job-$1.out")
    read -r rc ms < "$tmp/job-$1.rc"
    messages=$(< "$log")
    messages=${messages//"$nbdkits_assertion"/}
    if [ "$rc" -ge 124 ] || _sanitized "$messages"; then
        fail "$1: the server does not crash" "status $rc" "$(cat "$log")"
    fi
}
