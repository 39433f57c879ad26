#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs every nbdkit command of README, the man page and --help, and checks its
# result.  (Commands that only serve get a client.)

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"

# The files in the examples: a disk with a partition, snapshots of three days
# and a bitmap; an overlay; an image with a data file; encrypted images.
text_source $((4 << 20)) src0 src1
head -c 4M src0 > today.raw
# One partition of type 83 from sector 2048 to the end.
poke today.raw 446 00000000 83000000 00080000 00180000
poke today.raw 510 55aa
head -c 3M src1 > old.raw
qemu-img convert -f raw -O qcow2 old.raw disk.qcow2
qemu-img snapshot -c monday disk.qcow2
qemu-img resize -q disk.qcow2 4M
dd if=today.raw of=today.padded bs=4M conv=sync status=none
io disk.qcow2 'write -q -s today.padded 0 4M' 'write -q -z 2M 64k'
qemu-img snapshot -c tuesday disk.qcow2
io disk.qcow2 'write -q -P 3 3M 100k' 'write -q -z 1M 100k'
qemu-img snapshot -c wednesday disk.qcow2
for day in monday tuesday wednesday; do
    cp disk.qcow2 copy.qcow2
    qemu-img snapshot -a $day copy.qcow2
    oracle copy.qcow2 $day.wanted
done
qemu-img bitmap --add disk.qcow2 daily
io disk.qcow2 'write -q -P 4 2M 70k'
oracle disk.qcow2 today.raw
qemu-img convert -f raw -O qcow2 src1 base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
io overlay.qcow2 'write -q -P 7 100k 30k'
qemu-img create -q -f qcow2 -o data_file=moved.raw data.qcow2 1M
io data.qcow2 'write -q -P 8 200k 30k'
mv moved.raw data.raw
mkdir images
cp disk.qcow2 overlay.qcow2 base.qcow2 images
printf tiger > passphrase
printf lynx > password
printf lion > new-passphrase
luks_of src1 secret.qcow2 tiger
create_aes old.qcow2 v3 "$(stat -c %s src1)" lynx
secrets=(lynx)
encrypted_io old.qcow2 "write -q -s src1 0 $(stat -c %s src1)"
qemu-img convert -f raw -O qcow2 src0 full.qcow2
cp src0 full.raw
cp src0 restored.wanted
n=0
for image in inc1 inc2; do
    n=$((n + 1))
    qemu-img create -q -f qcow2 $image.qcow2 "$(stat -c %s src0)"
    io $image.qcow2 "write -q -P $n $((n * 128))k 192k"
    qemu-io -f raw -c "write -q -P $n $((n * 128))k 192k" restored.wanted > log
done
cp "$plugin" nbdkit-qcow-plugin.so
tar -cf vm.ova disk.qcow2
py -c 'import lzma
open("disk.qcow2.xz", "wb").write(lzma.compress(open("disk.qcow2", "rb").read()))'
printf 'alice:%064d\n' 7 > keys.psk
mkdir pki
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost \
        -keyout pki/server-key.pem -out pki/server-cert.pem 2> log
cp pki/server-cert.pem pki/ca-cert.pem
cp pki/server-cert.pem tls.crt
cp pki/server-cert.pem pki/client-cert.pem
cp pki/server-key.pem pki/client-key.pem

# A web server in place of those in the examples.
mkdir -p web/bucket
cp disk.qcow2 web
cp disk.qcow2 web/bucket
printf access > access
printf secret > secret
printf '#!/bin/sh\necho Authorization: Bearer t0ken\n' > token
chmod +x token
start_web example web
export example=${web[example]} AWS_ENDPOINT_URL=${web[example]}

# nbdkit that finds the plugin by the name qcow, and the web server.
mkdir installed
cat > installed/nbdkit <<'END_OF_SCRIPT'
#!/bin/bash
args=()
for a; do
    [ "$a" != qcow ] || a=$plugin
    a=${a//https:\/\/example.com/$example}
    a=${a//https:\/\/minio.example.com:9000/$example}
    args+=("$a")
done
exec "$wrapped/nbdkit" -f "${args[@]}"
END_OF_SCRIPT
# qemu-img without its PBKDF2 benchmark, and with a file in place of RBD.
cat > installed/qemu-img <<END_OF_SCRIPT
#!/bin/bash
[[ " \$* " != *encrypt.format=luks* ]] || export LD_PRELOAD=$tmp/luks-clock.so
exec $(command -v qemu-img) "\${@/#rbd:pool\/disk/rbd.raw}"
END_OF_SCRIPT
chmod +x installed/nbdkit installed/qemu-img
export wrapped=$tmp/wrapped
PATH=$tmp/installed:$PATH

# examples FILE: print its commands, one per line, in their order.
examples ()
{
    sed -e ':a' -e '/\\$/N; s/\\\n */ /; ta' "$1" |
        grep -E '^ +(nbdkit|qemu-nbd|truncate) ' | sed -E 's/^ +//; s/ +#.*//' |
        awk '!seen[$0]++'
}

# made_by COMMAND FILE WANTED: if the command writes FILE, passes if its
# content equals WANTED.
made_by ()
{
    [[ $1 = *" $2'" || $1 = *" $2\"'" ]] || return
    [ -e "$2" ] || { fail "... makes $2"; return; }
    nbdcopy -- [ qemu-nbd -r -f "${2##*.}" "$2" ] made.raw 2> log ||
        { fail "... makes $2" "$(cat log)"; return; }
    same_bytes "... makes $2" made.raw "$3"
}

# only_by_tls COMMAND: passes if the server accepts a client with a key or
# certificate and refuses one without.
only_by_tls ()
{
    local command="$1 -U - --run" tls=tls-certificates=$tmp/pki user=
    if [[ $1 = *--tls-psk=* ]]; then
        tls=tls-psk-file=$tmp/keys.psk
        user=alice@
    fi
    ok "$1" bash -c \
       "$command 'nbdinfo \"nbds+unix://$user/?socket=\$unixsocket&$tls\"'"
    not_ok "... refuses a client without TLS" bash -c \
           "$command 'nbdinfo \"nbd+unix:///?socket=\$unixsocket\"'"
}

# start_source COMMAND: start the server of an image file, which the next
# examples read.
start_source ()
{
    local command="${1/ --fork/}" sock server i
    command=${command//\/tmp\//$tmp/}
    [[ $command != *--tls* ]] || command+=" -U $tmp/tls"
    sock=$tmp/$(sed -E 's|.* -[Uk] [^ ]*/([^ /]+).*|\1|' <<< "$command")
    rm -f "$sock"
    bash -c "unset LD_PRELOAD; exec $command" > source.log 2>&1 &
    server=$!
    _helpers+=($server)
    for ((i = 0; i < 6000; i++)); do
        [ ! -S "$sock" ] || break
        kill -0 $server 2>/dev/null || break
        nap 0.02
    done
    ok "$1" test -S "$sock"
}

# run_example COMMAND: run it and check the files that it writes.
run_example ()
{
    local command=$1 run=$1 other out
    # shellcheck disable=SC2016
    case $command in
        truncate*|*' --run '*|*' info=json') ;;
        qemu-nbd*|*' file '*)
            start_source "$command"
            return ;;
        *--tls*)
            only_by_tls "$command"
            return ;;
        *dir=*) run="${command/-U \/tmp\/sock/} -U - --run 'nbdinfo --list \"\$uri\"'" ;;
        *) run="${command/-U \/tmp\/sock/} -U - --run 'nbdinfo \"\$uri\"'" ;;
    esac
    # The sockets and keys of this test; the other host is here, too.
    other='nbds://alice@server.example.com/disk.qcow2?'
    run=$(sed "s|/tmp/|$tmp/|g; s|/etc/keys.psk|$tmp/keys.psk|
               s|$other|nbds+unix://alice@/disk.qcow2?socket=$tmp/tls\&|" \
              <<< "$run")
    # The compared disks differ, so the command must fail.
    [[ $command != *'qemu-img compare'* ]] || run="! $command"
    if out=$(timeout -k 5 "${QCOW_TIMEOUT:-120}" \
             bash -c "unset LD_PRELOAD; $run" 2>&1 < /dev/null); then
        pass "$command"
    else
        fail "$command" "$run" "$out"
        return
    fi
    [[ $command != *' -n '* ]] || cp tuesday.wanted target.wanted
    made_by "$command" disk.raw today.raw
    made_by "$command" disk.vmdk today.raw
    made_by "$command" monday.raw monday.wanted
    made_by "$command" monday.qcow2 monday.wanted
    made_by "$command" tuesday.qcow2 tuesday.wanted
    made_by "$command" wednesday.qcow2 wednesday.wanted
    made_by "$command" target.raw target.wanted
    made_by "$command" restored.raw restored.wanted
    made_by "$command" today.qcow2 today.raw
    if [[ $command = *rbd:* ]]; then
        same_bytes "... makes rbd.raw" rbd.raw today.raw
        rm rbd.raw
    fi
    if [[ $command = *new.qcow2* ]]; then
        secrets=(lion)
        encrypted_oracle new.qcow2 made.raw
        same_bytes "... makes new.qcow2" made.raw src1
    fi
}

"$tmp/wrapped/nbdkit" "$plugin" --help > help
for text in README nbdkit-qcow-plugin.pod help; do
    [ $text = help ] ||
        rm -f {disk,monday,target,restored}.raw disk.vmdk \
           {monday,tuesday,wednesday,today}.qcow2
    cp monday.wanted target.wanted
    [ -e "$text" ] || cp "$top/$text" .
    examples "$text" > list
    is "$text has examples" "$(($(wc -l < list) >= 1))" 1
    while read -r command; do
        case $command in
            # The synopsis.
            *'[file=]'* | *' ['*' ...'*) continue ;;
        esac
        run_example "$command"
    done < list
done
# The overlay has only the changes.
is "the overlay of a delta is small" \
   "$(($(stat -c %s wednesday.qcow2) < 1024 * 1024))" 1

# make try.
name="odd 'name' \$x.qcow2"
cp disk.qcow2 "$name"
for file in disk.qcow2 "$name"; do
    rm -f "$file.raw"
    ok "make try: $file" env -u LD_PRELOAD PATH="${PATH#*:}" FILE="$tmp/$file" \
       TO="$tmp/$file.raw" bash -c '"$0" 2>&1 | tee try.log; exit ${PIPESTATUS[0]}' \
       "$top/tests/try.sh"
    same_bytes "... copies the disk" "$file.raw" today.raw
    rm -f "$file.raw"
    sed -n 's/^\$ nbdkit/nbdkit/p' try.log > try.command
    ok "... the command that it prints works" \
       env -u LD_PRELOAD PATH="${PATH#*:}" bash -c 'command=$(< try.command) &&
           cd "$0" && eval "$command"' "$top"
    same_bytes "... and copies the disk" "$file.raw" today.raw
done

done_testing
