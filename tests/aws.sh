# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after web.sh by tests of temporary keys: a stand-in for the services
# of AWS that give them (see generators/aws-server.py).

aws_server=                     # http://127.0.0.1:PORT

# start_aws [SETTING...]: start it, once.  Sets $aws_server.
start_aws ()
{
    local i
    "$python" "$gen/aws-server.py" "$tmp/aws" "$@" < /dev/null \
              2>> "$tmp/web-aws.errors" &
    _helpers+=($!)
    for i in $(seq 600); do
        if [ -s "$tmp/aws.port" ]; then
            aws_server=http://127.0.0.1:$(< "$tmp/aws.port")
            return
        fi
        sleep 0.02
    done
    diag "the stand-in for AWS did not start" "$(cat "$tmp/web-aws.errors")"
    exit 1
}

# set_aws [SETTING...]: replace its settings.
set_aws ()
{
    printf '%s\n' "$@" > "$tmp/aws.new"
    mv "$tmp/aws.new" "$tmp/aws.control"
}

# asked_aws: print and empty its log.
asked_aws ()
{
    [ ! -e "$tmp/aws.log" ] || cat "$tmp/aws.log"
    : > "$tmp/aws.log"
}
