#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Parameters, --help, --version and --dump-plugin, exports, debug flags, and
# the ways in which nbdkit starts and stops the plugin.

source "$(dirname "$0")/functions.sh"

text_source $((4 << 20)) disk.raw
qemu-img convert -f raw -O qcow2 disk.raw image.qcow2
# shellcheck disable=SC2016
copy='nbdcopy "$uri" copy.raw && cmp copy.raw disk.raw && rm copy.raw'

# No exported symbol can clash with another plugin.
is "no unexpected exported symbols" \
   "$(nm -D --defined-only "$plugin" | awk '{ print $3 }' |
          grep -Ev '^(plugin_init|(__odr_asan\.)?qcow_debug_[a-z0-9_]+)$')" ""
like "plugin_init is exported" "$(nm -D --defined-only "$plugin")" \
     ' T plugin_init$'

# The Makefile's default flags harden the plugin.
hardened=$top/build/plain/nbdkit-qcow-plugin.so
if [ -z "${CFLAGS+set}${CPPFLAGS+set}${LDFLAGS+set}" ]; then
    like "hardened: BIND_NOW" "$(readelf -dW "$hardened")" \
         '\(FLAGS\).*BIND_NOW'
    like "hardened: RELRO" "$(readelf -lW "$hardened")" GNU_RELRO
    for symbol in __stack_chk_fail __vsnprintf_chk; do
        like "hardened: $symbol" "$(readelf --dyn-syms -W "$hardened")" \
             " UND $symbol@"
    done
else
    skip "hardened by default" "the user sets the compiler flags"
fi

# --help and the man page document the same keys.
help=$(nbdkit "$plugin" --help 2>&1)
like "--help: file=" "$help" '^\[file=\]<FILENAME>'
like "--help: cache-size=" "$help" '^cache-size='
like "--help: force-share=" "$help" '^force-share='
grep -Eo '^\[?[-_A-Za-z0-9]+=' <<< "$help" | tr -d '[=' | sort -u > help.keys
grep -Eo '^=item (B<|\[B<)[-_A-Za-z0-9]+=' "$top/nbdkit-qcow-plugin.pod" |
    sed 's/.*<//; s/=$//' | sort -u > page.keys
same_text "--help and the man page document the same keys" help.keys page.keys
ok "the man page has no errors" podchecker "$top/nbdkit-qcow-plugin.pod"
is "--help fits in 79 columns" \
   "$(awk 'length > 79' <<< "$help" | grep -v "$top")" ""

# --version and --dump-plugin.
like "--version" "$(nbdkit "$plugin" --version)" '^qcow [0-9]+\.[0-9]+'
nbdkit "$plugin" --dump-plugin > dump
for line in name=qcow thread_model=parallel errno_is_preserved=1 \
            magic_config_key=file qcow_zlib=yes qcow_zstd=yes \
            qcow_aes=yes qcow_luks=yes qcow_url=yes qcow_nbd=yes; do
    like "--dump-plugin: $line" "$(cat dump)" "^$line\$"
done
like "--dump-plugin: the version of libnbd" "$(cat dump)" \
     '^qcow_libnbd_version=[0-9]+\.[0-9]+'
for has in open close get_size can_multi_conn can_extents can_cache \
           block_size pread extents cache; do
    like "--dump-plugin: has_$has" "$(cat dump)" "^has_$has=1\$"
done
unlike "--dump-plugin: no pwrite" "$(cat dump)" '^has_pwrite'
is "--dump-plugin: the plugin's own keys begin with qcow_" \
   "$(sed '1,/^has_/d' dump | grep -Ev '^(has_|qcow_[a-z0-9_]+=.)')" ""
like "--dump-plugin with a parameter" \
     "$(nbdkit "$plugin" image.qcow2 --dump-plugin)" '^name=qcow$'

# Parameters.
ok "FILENAME" with_qcow "$copy" -- image.qcow2
ok "file=FILENAME" with_qcow "$copy" -- file=image.qcow2
ok "an absolute path" with_qcow "$copy" -- "$tmp/image.qcow2"
ln -s image.qcow2 link
ok "a symbolic link" with_qcow "$copy" -- link
refused "no parameter: refused" 'file=' --
refused "an empty file name: refused" 'file' -- file=
refused "a URL as the file name: refused" \
        'error: ssh://host/x: is a URL, not a file .use url=' \
        -- ssh://me:s3cret@host/x
refused "connections=9999: refused" 'connections=: 9999 is not between 1 and 256' \
        -- url=http://127.0.0.1:1/x connections=9999
refused "the file twice: refused" 'file' -- image.qcow2 file=image.qcow2
refused "an unknown parameter: refused" "unknown parameter.*frobnicate" \
        -- image.qcow2 frobnicate=1
refused "a parameter in the wrong case: refused" \
        "unknown parameter.*Cache-Size" \
        -- image.qcow2 Cache-Size=1M
# 0x10 depends on nbdkit: 1.32 refuses it, 1.48 reads it as 16.
for value in '' x -1 1X 1.5M '1 M' 99999999999999999999; do
    refused "cache-size=$value: refused" "cache-size=$value: must be a size" \
            -- image.qcow2 cache-size="$value"
done
for bad in cache-size=abc force-share=maybe luks-iterations=x connections=0 \
           timeout=-1; do
    is "$bad: one message" \
       "$(with_qcow true -- image.qcow2 "$bad" 2>&1 | wc -l)" 1
done
# On 32 bits the limit is 1 GiB, on 64 bits 4 EiB.
refused "cache-size= beyond the address space: refused" \
        'cache-size=5E: must be at most .* bytes' -- image.qcow2 cache-size=5E
for value in 64K 1M 64M 1G; do
    ok "cache-size=$value" with_qcow "$copy" -- image.qcow2 cache-size=$value
done
for value in '' 2 maybe TRUEISH -1; do
    refused "force-share=$value: refused" \
            "force-share=$value: must be true or false" \
            -- image.qcow2 force-share="$value"
done
for key in sslverify followlocation tcp-keepalive; do
    refused "$key=maybe: refused" "$key=maybe: must be true or false" \
            -- url=http://127.0.0.1/x $key=maybe
done
for key in luks-iterations connections timeout; do
    refused "$key=x: refused" "$key" -- url=http://127.0.0.1/x $key=x
done
while read -r url wanted; do
    refused "url=$url: refused" "$wanted" -- url="$url"
done <<'END'
ssh://me:secret@host/x ssh:// is not supported: only http, https, s3 and nbd are
nbd+unix:///?socket=x socket= must have an absolute path
nbds://h/?tls-psk-file=x tls-psk-file= must have an absolute path
nbd+unix:///x must have the path of the socket: \?socket=/PATH
me:secret@host://x must begin with http://, https://, s3:// or nbd://
image.qcow2 must begin with http://, https://, s3:// or nbd://
END
for value in true false on off yes no 1 0; do
    ok "force-share=$value" with_qcow "$copy" -- image.qcow2 force-share=$value
done

# Parameters with numbers.
while read -r key first last; do
    for n in '' 0"$first" 00 01 $((first - 1)) -1 1x x 1.2 .1 0x1 \
             $((last + 1)) 10000 4294967297 18446744073709551617; do
        out=$(with_qcow true -- image.qcow2 "$key.$n=S3CRET" 2>&1)
        is "$key.$n=: refused" $? 1
        like "... the message" "$out" "error: $key\\.$n=: after '$key\\.' must be a number from $first to $last, without"
        unlike "... without the value" "$out" S3CRET
    done
    for set in "$key= $key.1=" "$key.1= $key=" "$key.2= $key.1= $key="; do
        read -r -a args <<< "${set//=/=S3CRET}"
        out=$(with_qcow true -- image.qcow2 "${args[@]}" 2>&1)
        is "$set: refused" $? 1
        like "... the message" "$out" \
             "error: $key= and $key\\.N= can't be combined: number all"
        unlike "... without the value" "$out" S3CRET
    done
    out=$(with_qcow true -- image.qcow2 "$key.$last=S3CRET" "$key.1=a" \
                    "$key.$last=S3CRET" 2>&1)
    is "$key.$last= twice: refused" $? 1
    like "... the message" "$out" "error: $key\\.$last= was already given"
    unlike "... without the value" "$out" S3CRET
    [ "$key" = passphrase ] ||
        refused "an empty $key.1=: refused" "error: $key\\.1= needs a value" \
                -- image.qcow2 "$key.1="
done <<'END'
backing 1 256
backing-format 1 256
data-file 0 256
allow 0 9999
passphrase 0 9999
header 0 9999
resolve 0 9999
END
for key in cache-size snapshot file url password cookie proxy; do
    out=$(with_qcow true -- image.qcow2 $key.1=S3CRET 2>&1)
    is "$key.1=: refused" $? 1
    like "... the message" "$out" "error: $key\\.1=: $key= can't have a number"
    unlike "... without the value" "$out" S3CRET
done
for key in frobnicate.1 backings.1 back.1 b.1 backing1; do
    refused "$key=: refused" "unknown parameter '${key/./\\.}'" \
            -- image.qcow2 $key=x
done
ok "allow.N=" with_qcow "$copy" -- image.qcow2 allow.9999=any allow.0=image-dir
refused "passphrase.N= for an image without encryption: refused" \
        'image\.qcow2: is not encrypted' -- image.qcow2 passphrase.7=
out=$(with_qcow true -- image.qcow2 header.3=S3CRET header.1='X-Key: S3CRET' \
                2>&1)
like "header.N= for a local image: refused" "$out" 'header= has no effect|header='
unlike "... without the value" "$out" S3CRET

# Exports.
# shellcheck disable=SC2016
is "the list has one export, the unnamed one" \
   "$(with_qcow 'nbdinfo --list --json "$uri"' -- image.qcow2 |
          jq -c '[.exports[]."export-name"]')" '[""]'
for name in x / .. image.qcow2 1 ' ' $'\303\274'; do
    export name
    # shellcheck disable=SC2016
    out=$(with_qcow '"$python" -c "
import os, sys, nbd
h = nbd.NBD()
h.set_export_name(os.environ[\"name\"])
try:
    h.connect_unix(\"$unixsocket\")
except nbd.Error as e:
    sys.exit(0)
sys.exit(\"connected\")"' -- image.qcow2 2>&1)
    is "the export '$name' is refused" $? 0
    like "... the log mentions the export" "$out" 'export'
done
# shellcheck disable=SC2016
like "the export has a description" \
     "$(with_qcow 'nbdinfo --json "$uri"' -- image.qcow2 |
            jq -r '.exports[0].description')" '[Qq][Cc][Oo][Ww]'
# nbdkit's -e changes the export in $uri.
not_ok "nbdkit -e other: refused" with_qcow "$copy" -e other -- image.qcow2

# Debug flags.
ok "verbose" with_qcow "$copy" -v -- image.qcow2
for flag in $(nm -D --defined-only "$plugin" | awk '{ print $3 }' |
                  sed -n 's/^qcow_debug_//p'); do
    ok "-D qcow.$flag=1" with_qcow "$copy" -D "qcow.$flag=1" -- image.qcow2
    like "the man page documents -D qcow.$flag" \
         "$(cat "$top/nbdkit-qcow-plugin.pod")" "-D qcow\\.$flag="
done

# A bad image is an error before nbdkit goes to the background, where a
# message would be lost.
printf 'no image' > bad
out=$(nbdkit -U "$tmp/bad.sock" "$plugin" bad 2>&1 < /dev/null)
is "a daemon with a bad image: status" $? 1
like "... the message" "$out" 'bad:'
is "... no socket" "$(ls "$tmp/bad.sock" 2>/dev/null)" ""

# A daemon changes to /: a relative name must still work, also from another
# directory.
mkdir sub
cd sub || exit 1
start_daemon ../image.qcow2
is "a daemon with a relative name: status" $? 0
cd ..
ok "... the image is read" nbdcopy "$uri" copy.raw
same_bytes "... same bytes" copy.raw disk.raw
# The file may be renamed while it is served.
mv image.qcow2 moved.qcow2
ok "an image that was renamed is still read" nbdcopy "$uri" copy.raw
same_bytes "... same bytes" copy.raw disk.raw
mv moved.qcow2 image.qcow2
end_daemon

# -s, on standard input and output.
cat > stdio.py <<'END'
import os, sys, nbd
h = nbd.NBD()
h.connect_command(["nbdkit", "-s", "--exit-with-parent",
                   os.environ["plugin"], "image.qcow2"])
raw = open("disk.raw", "rb").read()
assert h.get_size() == len(raw)
for offset in range(0, len(raw), 1 << 20):
    assert h.pread(1 << 20, offset) == raw[offset:offset + (1 << 20)]
h.shutdown()
END
ok "nbdkit -s" "$python" stdio.py

# Socket activation.
ok "socket activation" \
   nbdcopy -- [ nbdkit -f "$plugin" image.qcow2 ] copy.raw
same_bytes "... same bytes" copy.raw disk.raw

# nbdkit opens the image before it changes to another user.
if [ "$(id -u)" = 0 ]; then
    cp image.qcow2 mine.qcow2
    chmod 600 mine.qcow2
    chmod 711 "$tmp"
    # shellcheck disable=SC2016
    ok "nbdkit -u nobody" with_qcow "$copy" -u nobody -g nogroup \
       -- mine.qcow2
fi
# Parameters for web servers need a remote image, or permission to open remote
# files.
unset "${!AWS_@}"
for given in user=me password=S3CRET cookie=S3CRET 'header=X-Key: S3CRET' \
             cainfo=ca.pem capath=. proxy=http://us:S3CRET@h/ proxy-user=S3CRET \
             proxy-password=S3CRET protocols=https http-version=1.1 \
             user-agent=x unix-socket-path=x resolve=h:80:127.0.0.1 \
             connections=4 timeout=5 sslverify=true followlocation=true \
             tcp-keepalive=false access-key=S3CRET secret-key=S3CRET \
             session-token=S3CRET region=eu-central-1 \
             endpoint-url=http://us:S3CRET@h/; do
    out=$(with_qcow true -- image.qcow2 "$given" 2>&1)
    is "${given%%=*}= for a local image: refused" $? 1
    like "... the message" "$out" "image\\.qcow2: ${given%%=*}= has no effect"
    unlike "... has no secret" "$out" S3CRET
done
refused "of several such parameters, the message names the first" \
        'timeout= has no effect' \
        -- image.qcow2 timeout=1 user=me
refused "... also with allow=image-dir" 'user= has no effect' \
        -- image.qcow2 user=me allow=image-dir allow=.
for allow in any http://127.0.0.1/ s3://bucket; do
    ok "user= for a local image: accepted with allow=$allow" \
       with_qcow "$copy" -- image.qcow2 user=me allow=$allow
done
ok "such settings in the environment: accepted" \
   env AWS_REGION=x AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x \
       AWS_ENDPOINT_URL=x http_proxy=x \
       nbdkit -U - "$plugin" image.qcow2 --run "$copy"

# Invalid values are refused with any image.
for bad in connections=257 connections=9999 timeout=2147484 http-version=4 \
           protocols=ftp protocols=, header=nothing resolve=nothing; do
    for allow in image-dir any; do
        refused "$bad with allow=$allow: refused" \
                "${bad%%=*}=.*(must|between|allows)" \
                -- image.qcow2 "$bad" allow=$allow
    done
done

for bad in region=eu/west endpoint-url=ftp://host endpoint-url=http://host/?x \
           $'cookie=a=b\nc' $'user-agent=x\ry'; do
    refused "an invalid ${bad%%=*}= with allow=any: refused" \
            "${bad%%=*}=.*(must|is not)" \
            -- image.qcow2 "$bad" allow=any
done
refused "access-key= without secret-key=, with allow=any: refused" \
        'secret-key is missing' \
        -- image.qcow2 access-key=S3CRET allow=any
refused "secret-key= without access-key=, with allow=s3://: refused" \
        'access-key is missing' \
        -- image.qcow2 secret-key=S3CRET allow=s3://bucket
refused "a line break in a key, with allow=any: refused" 'contains a line break' \
        -- image.qcow2 access-key=x $'secret-key=S3\nCRET' allow=any
refused "an invalid region= with an http:// URL: refused" \
        'region=.*is not a region' \
        -- url=http://127.0.0.1:1/x region=eu/west
# Settings in the environment may be for other programs.
ok "invalid settings in the environment: accepted for a local image" \
   env AWS_REGION=eu/west AWS_ACCESS_KEY_ID=x AWS_ENDPOINT_URL=ftp://x \
       nbdkit -U - "$plugin" image.qcow2 allow=any user=me --run "$copy"

# libcurl is loaded only if a parameter must be checked with it.
loads_libcurl ()
{
    strace -f -e trace=openat -o strace.out nbdkit -U - "$plugin" image.qcow2 \
           allow=any "$@" --run true && grep -q 'libcurl.*= [0-9]' strace.out
}
if [ -z "${QCOW_VALGRIND:-}" ]; then
    not_ok "user= and http-version=1.1 do not load libcurl" \
           loads_libcurl user=me timeout=5 http-version=1.1 region=eu-west-3 \
           access-key=x secret-key=y
    ok "http-version=2.0 loads libcurl" loads_libcurl http-version=2.0
fi

# A file that nobody may write.  For root, it also belongs to another user.
cp image.qcow2 readonly.qcow2
chmod 444 readonly.qcow2
[ "$(id -u)" != 0 ] || chown 65534:65534 readonly.qcow2
ok "a read-only file, of another user for root" \
   with_qcow "$copy" -- readonly.qcow2
if [ "$(id -u)" = 0 ]; then
    # A normal user reads another user's file.
    cp "$plugin" plugin.so
    chmod 755 "$tmp"
    cp image.qcow2 roots.qcow2
    chmod 644 roots.qcow2
    new_socket
    ok "a normal user serves another user's read-only file" \
       setpriv --reuid=65534 --regid=65534 --clear-groups \
       nbdkit -f -U "$socket" ./plugin.so roots.qcow2 \
       --run 'nbdcopy "$uri" - | cmp - disk.raw'
fi

# Signals end nbdkit quickly, also with many large reads in flight.
cat > busy.py <<'END'
import sys, nbd
h = nbd.NBD()
h.connect_uri(sys.argv[1])
size = h.get_size()
buffers = []
print("busy", flush=True)
try:
    while True:
        while h.aio_in_flight() < 64:
            b = bytearray(size)
            buffers.append(b)
            h.aio_pread(b, 0, completion=lambda e: 1)
        h.poll(-1)
        del buffers[:-80]
except nbd.Error:
    pass
END
qemu-img convert -c -f raw -O qcow2 disk.raw zlib.qcow2
for signal in INT TERM; do
    if start_qcow -- zlib.qcow2 cache-size=64K; then
        "$python" busy.py "$uri" > busy.log 2>&1 &
        client=$!
        for i in $(seq 600); do [ ! -s busy.log ] || break; sleep 0.02; done
        sleep 0.3
        before=$(date +%s%N)
        kill -$signal "$pid"
        for i in $(seq 1000); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.02
        done
        took=$((($(date +%s%N) - before) / 1000000))
        is "SIG$signal under load: within 10 s (took $took ms)" \
           $((took < 10000)) 1
        kill $client 2>/dev/null
        wait $client 2>/dev/null
        stop_qcow || fail "the server exits cleanly"
    fi
done

done_testing
