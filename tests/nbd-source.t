#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Images on NBD servers: nbdkit with plugins and filters, also with TLS; chains,
# snapshots, and encryption; options of nbdkit.  (nbd-servers.t tests other
# servers, and nbd-faults.t servers that fail.)

source "$(dirname "$0")/functions.sh"
source "$top/tests/web.sh"
source "$top/tests/nbd.sh"

text_source $((4 << 20)) disk.raw
source_image
cp image odd
printf x >> odd
qemu-img convert -f raw -O qcow2 -o cluster_size=16k disk.raw plain
mkdir www
start_web web www

# served_by NAME NBDKIT-ARGUMENT...: the same, with a server of its own.
served_by ()
{
    local name=$1
    shift
    if server own "$@"; then
        source_gives "$name" "url=$(uri own)"
        _end "${server_pid[own]}"
    else
        fail "$name"
    fi
}

# --- Filters and plugins ----------------------------------------------

served_by "nbdkit's file plugin" file image
served_by "without structured replies" --no-sr file image
served_by "without extents" --filter=noextents file image
served_by "one thread" -t 1 file image
served_by "no parallel requests" --filter=noparallel file image
served_by "slow replies" --filter=delay file image delay-read=2ms
served_by "blocks of 512 bytes" --filter=blocksize-policy file image \
          blocksize-minimum=512 blocksize-error-policy=error
served_by "blocks of 4096 bytes" --filter=blocksize-policy file image \
          blocksize-minimum=4096 blocksize-error-policy=error
served_by "blocks of 64k, no larger requests" --filter=blocksize-policy file \
          image blocksize-minimum=64k blocksize-preferred=64k \
          blocksize-maximum=64k \
          blocksize-error-policy=error
served_by "requests of 4096 bytes at most" --filter=blocksize-policy file \
          image blocksize-maximum=4096 blocksize-error-policy=error
served_by "a size that is no multiple of blocks" \
          --filter=blocksize-policy file odd blocksize-minimum=512 \
          blocksize-preferred=4096
served_by "errors that the server's filter retries" \
          --filter=retry-request --filter=error file image \
          retry-request-delay=1 retry-request-retries=5 error-pread-rate=2%
gzip -k image
served_by "a .gz file" --filter=gzip file image.gz
if command -v xz > /dev/null; then
    xz -k --block-size=64KiB image
    served_by "a .xz file" --filter=xz file image.xz
else
    skip "a .xz file" "there is no xz"
fi
tar -cf image.tar disk.raw image
served_by "in a tar archive" --filter=tar file image.tar tar-entry=image
echo '<Envelope/>' > image.ovf
tar --format=ustar -cf image.ova image.ovf image
served_by "in an OVA" --filter=tar file image.ova tar-entry=image
cat disk.raw image disk.raw > parts
served_by "at an offset" --filter=offset file parts offset=4M \
          range="$(stat -c %s image)"
served_by "in a partition" --filter=partition partitioning image partition=1
served_by "in memory" data "<image" allocator=malloc

# --- TLS --------------------------------------------------------------

make_keys
if [ $has_tls = yes ]; then
    server tls --tls=require --tls-psk="$tmp/keys.psk" file image
    psk="nbds+unix://alice@/?socket=$tmp/tls.sock&tls-psk-file=$tmp"
    source_gives "TLS with a pre-shared key" "url=$psk/keys.psk"
    refused "... with a wrong key" "nbds\+unix:///\?socket=$tmp/tls\.sock: can't open it: " \
            -- "url=$psk/wrong.psk"
    no_secret "... the message has no secret" .refused
    refused "... with a missing file" "can't open it: " -- "url=$psk/pki.psk"
    no_secret "... the message has no secret" .refused
    refused "... without TLS" "can't open it: " -- "url=$(uri tls)"

    mkdir pki other-pki elsewhere client
    cat > openssl.cnf <<'END'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
[server]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
[elsewhere]
basicConstraints = CA:FALSE
subjectAltName = DNS:server.example.com
[client]
basicConstraints = CA:FALSE
END
    make_certificates ()
    {
        set -- openssl req -x509 -config openssl.cnf -nodes -days 2 \
            -newkey ec -pkeyopt ec_paramgen_curve:prime256v1
        for dir in pki other-pki; do
            "$@" -extensions ca -subj /CN=CA -keyout $dir/ca-key.pem \
                 -out $dir/ca-cert.pem || return
        done
        cp pki/ca-cert.pem elsewhere
        cp pki/ca-cert.pem client
        set -- "$@" -CA pki/ca-cert.pem -CAkey pki/ca-key.pem
        "$@" -extensions server -subj /CN=server \
             -keyout pki/server-key.pem -out pki/server-cert.pem &&
        "$@" -extensions elsewhere -subj /CN=server \
             -keyout elsewhere/server-key.pem \
             -out elsewhere/server-cert.pem &&
        "$@" -extensions client -subj /CN=client \
             -keyout client/client-key.pem -out client/client-cert.pem
    }
    if make_certificates > openssl.log 2>&1; then
        tcp_server --tls=require --tls-certificates="$tmp/pki" file image
        tls="nbds://localhost:$port/?tls-certificates=$tmp"
        source_gives "TLS with certificates" "url=$tls/pki"
        refused "... of another authority" "nbds://localhost:$port/: can't open it: " \
                -- "url=$tls/other-pki"
        no_secret "... the message has no secret" .refused
        _end "${server_pid[own]}"

        tcp_server --tls=require --tls-certificates="$tmp/elsewhere" file image
        refused "a certificate of another host" \
                "nbds://localhost:$port/: can't open it: " \
                -- "url=nbds://localhost:$port/?tls-certificates=$tmp/pki"
        _end "${server_pid[own]}"

        tcp_server --tls=require --tls-verify-peer \
                   --tls-certificates="$tmp/pki" file image
        tls="nbds://localhost:$port/?tls-certificates=$tmp"
        source_gives "a client's certificate" "url=$tls/client" connections=3
        refused "... a client without one" \
                "nbds://localhost:$port/: can't open it: " -- "url=$tls/pki"
        _end "${server_pid[own]}"
    else
        skip "TLS with certificates" "openssl: $(tail -1 openssl.log)"
    fi
else
    skip "TLS" "this nbdkit has none"
fi

# --- Chains -----------------------------------------------------------

mkdir dir
cp disk.raw dir/base.raw
make_sort dir/top v3 4M base.raw raw
io dir/top 'write -P 7 1M 300k' 'write -z 2M 1M'
oracle dir/top top.raw
server files file dir=dir
server other file dir=dir
files="?socket=$tmp/files.sock"
other="?socket=$tmp/other.sock"
start="nbd\\+unix:///top\\?socket=$tmp/files\\.sock: "
names="${start}the image names the backing file 'base\\.raw'"
names+=" \\(nbd\\+unix:///base\\.raw\\?socket=$tmp/files\\.sock\\)"
refused "a backing file on the server: refused" \
        "$names.*add allow=image-dir, or name the file with backing=" \
        -- "url=$(uri files top)"
for allow in image-dir "nbd+unix:///$files" "nbd+unix:///base.raw$files" \
             "NBD+UNIX:///$files"; do
    gives "... served with allow=${allow/"$tmp"/TMP}" top.raw \
          "url=$(uri files top)" "allow=$allow"
done
for allow in any "nbd+unix:///$other" "nbd+unix:///base$files" \
             "nbd+unix:///top$files" "nbds+unix:///$files" nbd://localhost/ \
             http://localhost/ dir; do
    refused "... refused with allow=${allow/"$tmp"/TMP}" "$names" \
            -- "url=$(uri files top)" "allow=$allow"
done
refused "... the message says what allow=any covers" \
        'allow=any covers no sockets' -- "url=$(uri files top)" allow=any
refused "allow= without a socket: refused" 'allow=.*\?socket=/PATH' \
        -- "url=$(uri files top)" allow=nbd+unix:///
gives "backing= on the server" top.raw "url=$(uri files top)" \
      "backing=$(uri files base.raw)"
gives "backing= on another server" top.raw "url=$(uri files top)" \
      "backing=$(uri other base.raw)"
gives "a local backing=" top.raw "url=$(uri files top)" backing=dir/base.raw
gives "a local image, backing= on a server" top.raw dir/top \
      "backing=$(uri files base.raw)"

# The user's keys are for all exports of that server, and for no other server.
if [ $has_tls = yes ]; then
    server keys --tls=require --tls-psk="$tmp/keys.psk" file dir=dir
    server others --tls=require --tls-psk="$tmp/keys.psk" file dir=dir
    keys="?socket=$tmp/keys.sock"
    top_uri="nbds+unix://alice@/top$keys&tls-psk-file=$tmp/keys.psk"
    gives "a backing file on a server with a key" top.raw "url=$top_uri" \
          allow=image-dir
    make_sort absolute v3 4M "nbds+unix:///base.raw$keys" raw
    refused "a local image that names it: no key" "absolute: can't open the " \
            -- absolute allow=any
    make_sort over v3 4M absolute qcow2
    cp absolute dir/
    gives "... named by an image there" disk.raw over \
          "backing=${top_uri/top/absolute}" "allow=nbds+unix:///$keys"
    make_sort dir/absolute v3 4M \
              "nbds+unix:///base.raw?socket=$tmp/others.sock" raw
    refused "... another server: no key" "/absolute.*: can't open the " \
            -- "url=${top_uri/top/absolute}" allow=any \
            "allow=nbds+unix:///?socket=$tmp/others.sock"
    no_secret "... the message has no secret" .refused
fi

make_sort over v3 4M top qcow2
gives "two layers that the user names" top.raw over \
      "backing=$(uri files top)" "backing=$(uri other base.raw)"

# A local image with the URI of a server.
make_sort names v3 4M "$(uri files base.raw)" raw
io_names="the image names the backing file 'nbd\\+unix:///base.raw"
refused "a local image that names a socket: refused" \
        "names: $io_names.*add allow=nbd\\+unix:///\\?socket=$tmp/files" -- names
gives "... served with allow=any" disk.raw names allow=any
gives "... served with allow=URI" disk.raw names "allow=nbd+unix:///$files"
refused "... not with another socket" "names: $io_names" \
        -- names "allow=nbd+unix:///$other"
refused "... not with allow=image-dir" "names: $io_names" -- names allow=image-dir

# An image from a web server must not reach sockets.
cp names www/names
make_sort over v3 4M "${web[web]}/names" qcow2
cp over dir/
for parameters in "url=${web[web]}/names" over "over backing=${web[web]}/names" \
                  "url=$(uri other over) backing=${web[web]}/names"; do
    # shellcheck disable=SC2086
    refused "from a web server (${parameters%%[ =]*}): refused, also with allow=any" \
            "/names: $io_names.*allow=any covers no sockets.*allow=nbd\\+unix" \
            -- $parameters allow=any
    # shellcheck disable=SC2086
    gives "... served with allow=URI" disk.raw $parameters allow=any \
          "allow=nbd+unix:///base.raw$files"
done

# Names with a user, or with a hidden "..".
for name in "nbd+unix://alice@/base.raw$files" \
            "nbd+unix:///%2e%2e/base.raw$files"; do
    make_sort odd-name v3 4M "$name" raw
    refused "the name ${name/"$tmp"/TMP}: refused" 'odd-name: the image names' \
            -- odd-name allow=any
done
# Files with keys are the user's business.
make_sort odd-name v3 4M "nbds+unix:///$files&tls-psk-file=$tmp/keys.psk" raw
refused "an image that names a file with keys: refused" \
        "error: odd-name: .*'nbds\\+unix:.*says how TLS is used" \
        -- odd-name allow=any
unlike "... the message has no secret" "$(< "$tmp/.refused")" 'keys\.psk'

# A data file.
qemu-img create -q -f qcow2 -o data_file=dir/data,data_file_raw=on \
         dir/split 4M
io dir/split 'write -P 9 1M 64k' 'write -P 8 3M 100k'
oracle dir/split split.raw
gives "a local image, data-file= on a server" split.raw dir/split \
      "data-file=$(uri files data)"
gives "image and data file on a server" split.raw "url=$(uri files split)" \
      "data-file=$(uri files data)"
refused "... the data file is refused without it" \
        "/split.*names the data file.*data-file=" -- "url=$(uri files split)"

# --- Snapshots, changes, encryption -----------------------------------

cp plain dir/history
qemu-img snapshot -c one dir/history
io dir/history 'write -P 5 512k 100k' 'write -z 2M 64k'
dense dir/history
qemu-img convert -f qcow2 -l snapshot.name=one -O raw dir/history one.raw
oracle dir/history now.raw
gives "an image with a snapshot" now.raw "url=$(uri files history)"
gives "the snapshot" one.raw "url=$(uri files history)" snapshot=one
# shellcheck disable=SC2016
for how in 'dir/history' "url=$(uri files history)"; do
    with_qcow 'py "$gen/nbd-map.py" "$uri"' -- "$how" since=one
done > changes 2> log
is "since=: the changes are known" $(($(wc -l < changes) >= 4)) 1
half=$(($(wc -l < changes) / 2))
is "... they are the same as of the local image" \
   "$(head -$half changes)" "$(tail -n +$((half + 1)) changes)"
gives "... the content" now.raw "url=$(uri files history)" since=one

luks_of disk.raw dir/luks tiger
gives "an encrypted image" disk.raw "url=$(uri files luks)" passphrase=tiger
refused "... with a wrong passphrase" 'passphrase' -- "url=$(uri files luks)" \
        passphrase=lion

# --- nbdkit's options -------------------------------------------------

cp plain dir/plain
qcow_options=(-t 1)
gives "one thread" disk.raw "url=$(uri files plain)"
gives "one thread, a chain" top.raw "url=$(uri files top)" allow=image-dir
qcow_options=(--filter=cow)
gives "below the cow filter" disk.raw "url=$(uri files plain)"
qcow_options=(--filter=cache)
gives "below the cache filter" disk.raw "url=$(uri files plain)"
qcow_options=()
if [ "$(id -u)" = 0 ]; then
    chmod 777 files.sock
    gives_as_nobody ()
    {
        with_qcow "nbdcopy \"\$uri\" - | cmp - disk.raw" "$@"
    }
    cp "$plugin" plugin.so
    ok "nbdkit -u nobody" gives_as_nobody -u nobody -- "url=$(uri files plain)"
    new_socket
    ok "started by another user" \
       setpriv --reuid=65534 --regid=65534 --clear-groups \
       nbdkit -f -U "$socket" ./plugin.so "url=$(uri files plain)" \
       --run "nbdcopy \"\$uri\" - | cmp - disk.raw"
    chmod 700 files.sock
    new_socket
    like "a socket that the user may not open" \
         "$(setpriv --reuid=65534 --regid=65534 --clear-groups \
            nbdkit -f -U "$socket" ./plugin.so "url=$(uri files plain)" \
            --run true 2>&1)" "can't open it: .*Permission denied"
else
    skip "other users" "needs root"
fi

done_testing
