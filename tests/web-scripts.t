#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Scripts that print cookies and headers: when they run, what is sent to whom,
# renewals during a copy, failures, and that what they print is in no message.

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

mkdir www
text_source $((4 << 20)) disk.raw
qemu-img convert -f raw -O qcow2 -o cluster_size=16k disk.raw www/image
qemu-img create -q -f qcow2 -u -F qcow2 -b image www/over 4M
start_web web www log=cookie,authorization,x-key
start_web other www log=cookie,authorization,x-key
start_web slow www log=cookie latency=0.1
here=${web[web]} there=${web[other]}

# Print the next token.  From then on the server accepts no other.
cat > issue <<'EOF'
#!/bin/sh
echo "$iteration $url" >> runs
printf 'demand=Cookie: sid=T0KEN%s\n' "$iteration" > web-slow.new
mv web-slow.new web-slow.control
sleep "${1:-0}"
echo "sid=T0KEN$iteration"
EOF
# Print the next token, and no more.
cat > token <<'EOF'
#!/bin/sh
echo "$iteration $url" >> runs
[ ! -e broken ] || { cat broken >&2; exit 3; }
[ "$iteration" = 0 ] || sleep "${1:-0}"
echo "sid=T0KEN$iteration"
EOF
# Likewise, but it succeeds every second time only.
cat > lazy <<'EOF'
#!/bin/sh
echo "$iteration" >> runs
[ $((iteration % 2)) = 1 ] || { echo "not now" >&2; exit 1; }
echo "sid=T0KEN$iteration"
EOF
chmod +x issue token lazy

# fresh [SETTING...]: forget what has happened.
fresh ()
{
    rm -f runs broken
    set_web web "$@"
    forget web
    forget other
}
runs ()
{
    wc -l < runs
}

# copies NAME PARAMETER...: the content is right.
copies ()
{
    local name=$1
    shift
    rm -f got.raw
    # shellcheck disable=SC2016
    ok "$name" with_qcow 'nbdcopy "$uri" got.raw && cmp got.raw disk.raw' \
       -- "$@"
}

# sent NAME KEY: print the values of the header that a server was sent.
sent ()
{
    asked "$1" | grep -Eo " $2=[^ ]*( [^=]*)?\$| $2=[^ ]*" | sort -u
}

# reads OFFSET: read a block that is not in the cache.
reads ()
{
    "$python" "$gen/nbd-reads.py" "$uri" disk.raw "$1:4096"
}

# --- Output -----------------------------------------------------------

fresh
copies "cookie-script=" "url=$here/image" cookie-script=./token cache-size=0
is "... it runs once, with \$url and \$iteration" "$(cat runs)" "0 $here/image"
like "... each request has the cookie" "$(sent web cookie)" \
     '^ cookie=sid=T0KEN0$'
fresh
# shellcheck disable=SC2016
copies "... only its first line counts" "url=$here/image" \
       cookie-script='printf "a=b  \r\nc=d\n"'
like "... without trailing space" "$(sent web cookie)" '^ cookie=a=b$'
fresh
copies "... without output" "url=$here/image" cookie-script=true
is "... no cookie" "$(sent web cookie)" ' cookie=-'

fresh "demand=X-Key: k|Authorization: Bearer T0KEN"
# shellcheck disable=SC2016
copies "header-script=" "url=$here/image" cache-size=0 \
       header-script='echo "X-Key: k"; echo; echo "a line"
                      echo "Authorization: Bearer T0KEN"; echo 1 >> runs'
is "... it runs once" "$(runs)" 1
fresh
copies "... without output" "url=$here/image" header-script=:
fresh "demand=Cookie: a=b|X-Key: k"
copies "both scripts" "url=$here/image" cookie-script='echo a=b' \
       header-script='echo X-Key: k'
copies "cookie-script= and header=" "url=$here/image" cookie-script='echo a=b' \
       header='X-Key: k'
copies "cookie= and header-script=" "url=$here/image" cookie=a=b \
       header-script='echo X-Key: k'

fresh
start_daemon cache-size=0 "url=$here/image" "cookie-script=$tmp/token"
ok "a daemon uses what it got before it forked" nbdcopy "$uri" null:
end_daemon
is "... the script has run once" "$(runs)" 1

# nbdkit changes its directory when it forks.
fresh
start_daemon cache-size=0 "url=$here/image" cookie-script=./token \
             cookie-script-renew=1
nap 1.2
ok "a daemon renews with a script in the directory where it was started" \
   nbdcopy "$uri" null:
end_daemon
ok "... the script has run again" test "$(runs)" -ge 2

# --- To whom it is sent -----------------------------------------------

fresh "to=$there"
copies "a redirect" "url=$here/image" cookie-script='echo a=b' \
       header-script='echo X-Key: k'
is "... the first server gets the output" \
   "$(sent web cookie)$(sent web x-key)" ' cookie=a=b x-key=k'
is "... the other does not" \
   "$(sent other cookie)$(sent other x-key)" ' cookie=- x-key=-'
fresh
copies "a backing file" "url=$here/over" "backing=$there/image" \
       cookie-script='echo a=b' header-script='echo X-Key: k'
is "... its server does not get the output" \
   "$(sent other cookie)$(sent other x-key)" ' cookie=- x-key=-'
fresh
ok "a script is not run for others" with_qcow true \
   -- www/image cookie-script='echo 1 >> runs' allow="$there/"
is "... indeed" "$(ls runs 2> /dev/null)" ""

# --- Renewals ---------------------------------------------------------

# Requests that are sent before the script has printed the new token get 403.
fresh
pieces=
for i in $(seq 63 -1 8); do
    pieces+=" $((i * 65536)):4096"
done
for way in '' --parallel; do
    rm -f runs
    forget slow
    # shellcheck disable=SC2016
    is "renewals during a copy: old tokens are refused $way" \
       "$(with_qcow '"$python" "$gen/nbd-reads.py" $way "$uri" disk.raw $pieces' \
                    -- "url=${web[slow]}/image" cookie-script='./issue 0.3' \
                       cookie-script-renew=1 cache-size=0 connections=2 |
          tr ' ' '\n' | sort | uniq -c)" "     56 same"
    is "... the script has run more than three times" "$(($(runs) > 2))" 1
    like "... requests were refused" "$(asked slow)" ' 403/Cookie '
done

fresh
start_qcow -- "url=$here/image" cookie-script='./token 3' \
           cookie-script-renew=1 cache-size=0
sleep 1.2
began=$(now)
is "the old output is used while the new one is made" "$(reads 1000000)" same
is "... without waiting" "$(($(now) - began < 1500))" 1
is "... the script runs" "$(runs)" 2
sleep 4
forget web
is "then the new one is" "$(reads 2000000)" same
like "... it is sent" "$(sent web cookie)" '^ cookie=sid=T0KEN[12]$'
stop_qcow

fresh
start_qcow -- "url=$here/image" cookie-script='./token 1' \
           cookie-script-renew=2 cache-size=0
sleep 5
forget web
is "output that is too old is not used" "$(reads 3000000)" same
is "... but only new output" "$(sent web cookie)" ' cookie=sid=T0KEN1'
is "... the script does not run without requests" "$(runs)" 2
stop_qcow

# The server does not accept it any more, long before its time.
for renew in 1000 0; do
    fresh "demand=Cookie: sid=T0KEN0"
    start_qcow -- "url=$here/image" cookie-script=./token \
               cookie-script-renew=$renew cache-size=0
    sleep 1.1
    set_web web "demand=Cookie: sid=T0KEN1"
    if [ $renew = 0 ]; then
        unlike "without renewals a token that is refused is an error" \
               "$(reads 3000000 2>&1)" same
        is "... the script has run once" "$(runs)" 1
    else
        is "a token that is refused is renewed" "$(reads 3000000)" same
        is "... the script has run twice" "$(runs)" 2
        set_web web "demand=Cookie: sid=never"
        unlike "a server that refuses all tokens" "$(reads 2000000 2>&1)" same
        is "... does not make the script run on and on" "$(($(runs) <= 4))" 1
        like "... the message says so" "$(cat "$log")" \
             'image: can.t read .*403 Forbidden'
    fi
    stop_qcow
done

# --- Failures ---------------------------------------------------------

fresh
copies "a script that fails is retried" "url=$here/image" cookie-script=./lazy
is "... once" "$(runs)" 2
fresh
# shellcheck disable=SC2016
refused "a script that fails twice: refused" \
        'error: cookie-script=: .*twice: exit status 3: no account$' \
        -- "url=$here/image" \
        cookie-script='echo 1 >> runs; printf "\nno account\nmore" >&2; exit 3'
is "... it has run twice" "$(runs)" 2
is "... no request is sent" "$(asked web)" ""
refused "a script that does not exist: refused" \
        'header-script=: .*exit status 127: .*not found' \
        -- "url=$here/image" header-script=/nonexistent/script
# shellcheck disable=SC2016
refused "a script that prints too much: refused" \
        'header-script=: .*longer than 65536 bytes' \
        -- "url=$here/image" header-script='yes "X-Key: k"'
refused "a script that prints NUL: refused" 'cookie-script=: .*NUL' \
        -- "url=$here/image" cookie-script='printf "a=\\000"'

fresh
start_qcow -v -- "url=$here/image" cookie-script=./token \
           cookie-script-renew=1 cache-size=0
echo 'the account is locked, sid=T0KEN0 was the last' > broken
sleep 3.5
for i in 1 2 3; do
    unlike "a script that fails while serving: reads fail: $i" \
           "$(reads ${i}000000 2>&1)" same
done
is "... one message" "$(grep -c 'error: cookie-script=' "$log")" 1
unlike "... without a secret" "$(cat "$log")" T0KEN
rm broken
sleep 1.1
is "the script succeeds again: reads succeed" "$(reads 3000000)" same
stop_qcow

# --- Interruptions ----------------------------------------------------

# (nbdkit is killed then, and can't end the script.)
for way in cookie header; do
    nbdkit -f -U "$tmp/s.$way" "$plugin" "url=$here/image" \
           $way-script='echo $$ > script.pid; exec sleep 99' \
           < /dev/null > slow.log 2>&1 &
    pid=$!
    for i in $(seq 100); do
        ! grep -q 'still waiting' slow.log || break
        sleep 0.1
    done
    like "$way-script= that takes long: a warning" "$(cat slow.log)" \
         "still waiting for the web server: $way-script= has not ended"
    began=$(now)
    kill $pid
    wait $pid
    is "... SIGTERM ends the server" "$(($(now) - began < 1500))" 1
    kill "$(< script.pid)"
done
fresh
start_qcow -- "url=$here/image" cookie-script-renew=1 cache-size=0 \
           cookie-script='[ $iteration = 0 ] || { sleep 99 & echo $$ $! > pids; wait; }'
sleep 3.5
"$python" "$gen/nbd-reads.py" "$uri" disk.raw 1000000:4096 \
          > /dev/null 2>&1 < /dev/null &
client=$!
for i in $(seq 100); do
    [ ! -s pids ] || break
    sleep 0.1
done
began=$(now)
stop_qcow
is "while a client waits: SIGTERM ends the server" \
   "$(($(now) - began < 1500))" 1
read -r -a pids < pids
is "... and the script" "$(ps -o stat= -p "${pids[0]},${pids[1]}" | grep -v Z)" ""
kill $client 2> /dev/null
wait $client 2> /dev/null

# --- Parameters, and messages -----------------------------------------

fresh
while IFS='|' read -r wanted a b; do
    refused "$a $b: refused" "$wanted" -- "url=$here/image" "$a" "$b"
done <<'EOF'
cookie-script=: can't be combined with cookie=|cookie=a=b|cookie-script=true
header-script=: can't be combined with header=|header=X: y|header-script=true
cookie-script-renew=: can't be used without cookie-script=|cookie-script-renew=1|header-script=true
header-script-renew=: can't be used without header-script=|header-script-renew=1|cookie-script=true
cookie-script-renew|cookie-script-renew=-1|cookie-script=true
header-script-renew|header-script-renew=1m|header-script=true
cookie-script= needs a value|cookie-script=|header-script=true
EOF
refused "a script for a local image: refused" \
        'cookie-script= has no effect' -- www/image cookie-script=true

fresh
echo 'sid=S3CRET' > secret
for to in "$here/x?sig=S3CRET" "$there"; do
    set_web web "to=$to" "code=302"
    # shellcheck disable=SC2016
    out=$(with_qcow 'nbdcopy "$uri" null:' -v -D qcow.http=1 -D qcow.cache=1 \
                    -- "url=$here/image" cookie-script='cat secret' \
                    header-script='echo X-Key: $(cat secret)' 2>&1)
    unlike "no message has what scripts print: $to" "$out" S3CRET
done

done_testing
