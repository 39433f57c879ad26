# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after functions.sh by tests of what goes wrong on the web: servers
# that fail as they are told (generators/web-server.py says how), what these
# have been asked, and clients that run side by side.
#
# The servers have ports of the loopback device that the kernel chose, and
# end with the test.  One that has something to say, a traceback, fails the
# test, and so does a client of theirs that asks for anything but exact
# ranges.

# Whatever the environment says, the servers are asked themselves.
unset "${!AWS_@}" http_proxy https_proxy all_proxy no_proxy \
      HTTPS_PROXY ALL_PROXY NO_PROXY

declare -A web=()               # NAME -> http://127.0.0.1:PORT
declare -A _web_pids=()

# start_web NAME DIRECTORY [OPTION-OR-SETTING...]
# Start a server.  ${web[NAME]} is its URL.
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
# Stop a server.  Its port refuses connections for so long, then it is back.
restart_web ()
{
    local name=$1 seconds=$2 port=${web[$1]##*:}
    stop_web "$name"
    shift 2
    start_web "$name" "$@" --port "$port" --refuse "$seconds"
}

# set_web NAME [SETTING...]: these, and no others but those that it was
# started with, hold for all requests that follow.
set_web ()
{
    local name=$1
    shift
    printf '%s' "${@/%/$'\n'}" > "$tmp/web-$name.new"
    mv "$tmp/web-$name.new" "$tmp/web-$name.control"
}

# asked NAME [REGEX]: the requests that it got, those that match.
asked ()
{
    grep -E -- "${2:-}" "$tmp/web-$1.log"
}

# how_often NAME [REGEX]: how many they are.
how_often ()
{
    grep -Ec -- "${2:-}" "$tmp/web-$1.log"
}

# forget NAME: empty its log.
forget ()
{
    : > "$tmp/web-$1.log"
}

# wait_for NAME REGEX: until it got such a request.
wait_for ()
{
    local i
    for i in $(seq 1000); do
        ! asked "$@" > /dev/null || return 0
        sleep 0.01
    done
    fail "$1 is asked for $2" "$(asked "$1")"
}

eval "_plain_$(declare -f done_testing)"
done_testing ()
{
    local file
    for file in "$tmp"/web-*.errors; do
        [ ! -s "$file" ] ||
            fail "the server ${file##*/} has no errors" "$(cat "$file")"
    done
    is "all requests are GETs of exact ranges" \
       "$(grep -hEv '^(CONNECT |GET [^ ]+ bytes=[0-9]+-[0-9]+ )' \
               "$tmp"/web-*.log | head -5)" ""
    _plain_done_testing
}

# in_parallel NAME COMMAND [PARAMETER...]: with_qcow in the background, with
# the $server_options for nbdkit; 'outcome NAME' waits for it.  Most of the
# time they wait for a server, so that some at once are no load.
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

# now: in milliseconds.
now ()
{
    local us=${EPOCHREALTIME/./}
    echo $((us / 1000))
}

# outcome NAME: sets $out (what the command wrote), $log (the file of what the
# server said), $rc (the status) and $ms (how long it took).
outcome ()
{
    local said
    wait "${_jobs[$1]}" 2> /dev/null # bash forgets those that ended long ago
    log=$tmp/job-$1.log
    out=$(< "$tmp/job-$1.out")
    read -r rc ms < "$tmp/job-$1.rc"
    said=$(< "$log")
    said=${said//"$nbdkits_assertion"/}
    if [ "$rc" -ge 124 ] || _sanitized "$said"; then
        fail "$1: the server is in order" "status $rc" "$(cat "$log")"
    fi
}
