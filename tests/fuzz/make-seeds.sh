#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/make-seeds.sh DIRECTORY: write the fuzzers' seeds.
# DIRECTORY/disk/image gets small images, one for each feature and version;
# the directories of the other fuzzers get parts of these, cut out by
# seeds.py, or text.

set -e -u
seeds_py=$(cd "$(dirname "$0")" && pwd)/seeds.py
dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
mkdir -p "$dir"/{disk/image,disk/chain,image/access,url/url,http/response,http/credentials}
cd "$work"

seeds ()
{
    /usr/bin/python3 "$seeds_py" "$@"
}

# make_image NAME FORMAT OPTIONS QEMU-IO-ARGUMENTS...
make_image ()
{
    local name=$1 format=$2 options=$3
    shift 3
    qemu-img create -q -f "$format" ${options:+-o "$options"} "$name" 64k
    [ $# -eq 0 ] || qemu-io -f "$format" "$@" "$name" > /dev/null
}

# done_with IMAGE...: these are seeds.
done_with ()
{
    mv "$@" "$dir/disk/image"
}

writes=(-c 'write -P 1 0 3k' -c 'write -z 4k 1k' -c 'write -P 2 9000 100'
        -c 'write -z -u 20k 2k' -c 'write -P 3 63k 1k' -c 'write -z 63k 512')
packed=(-c 'write -c -P 4 32k 4k' -c 'write -c -P 5 40k 4k')

# The backing file at creation.  The fuzzer uses another one.
truncate -s 8k below

# --- Version 1 ---

make_image v1 qcow '' "${writes[0]}" "${writes[1]}" -c 'write -P 2 9000 1k'
make_image v1-zlib qcow '' -c 'write -P 1 0 3k' -c 'write -c -P 4 32k 4k'
# With a backing file, qemu uses clusters of 512 bytes.
make_image v1-backing qcow backing_file=below,backing_fmt=raw \
           -c 'write -P 1 0 3k' -c 'write -c -P 4 32k 512'
done_with v1 v1-*

# --- Version 2 and 3 ---

make_image v2 qcow2 cluster_size=512,compat=0.10 -c 'write -P 1 0 3k'
make_image v2-zlib qcow2 cluster_size=512,compat=0.10 -c 'write -P 1 0 3k' \
           "${packed[@]}"
make_image v2-backing qcow2 \
           cluster_size=512,compat=0.10,backing_file=below,backing_fmt=raw \
           -c 'write -P 1 0 3k'
for bits in 9 10 12; do
    size=$((1 << bits))
    make_image v3-$bits qcow2 cluster_size=$size "${writes[@]}"
    make_image v3-$bits-zlib qcow2 cluster_size=$size "${writes[@]}" \
               "${packed[@]}"
    make_image v3-$bits-zstd qcow2 cluster_size=$size,compression_type=zstd \
               "${writes[@]}" "${packed[@]}"
done
# Zero clusters, allocated or not.
make_image v3-zeros qcow2 cluster_size=512 -c 'write -P 1 0 3k' \
           -c 'write -z 1k 1k' -c 'write -z -u 2k 512' -c 'write -z 8k 1k'
make_image v3-preallocated qcow2 cluster_size=512,preallocation=metadata \
           -c 'write -P 1 0 3k'
make_image v3-dirty qcow2 cluster_size=512,lazy_refcounts=on \
           -c 'write -P 1 0 3k'
make_image v3-refcounts qcow2 cluster_size=512,refcount_bits=64 \
           -c 'write -P 1 0 3k'
make_image v3-backing qcow2 \
           cluster_size=512,backing_file=below,backing_fmt=raw \
           -c 'write -P 1 0 3k' -c 'write -z 4k 1k' "${packed[@]}"
seeds extensions v3-9 v3-extensions
seeds state v3-9 v3-corrupt
done_with v2 v2-* v3-*

# The minimum cluster size with subclusters is 16 KiB.
subclusters=(-c 'write -P 1 0 3k' -c 'write -z 4k 1k' -c 'write -P 3 63k 1k')
make_image subclusters qcow2 cluster_size=16k,extended_l2=on \
           "${subclusters[@]}"
make_image subclusters-zlib qcow2 cluster_size=16k,extended_l2=on \
           "${subclusters[@]}" -c 'write -c -P 5 32k 16k'
make_image subclusters-zstd qcow2 \
           cluster_size=16k,extended_l2=on,compression_type=zstd \
           "${subclusters[@]}" -c 'write -c -P 5 32k 16k'
make_image subclusters-backing qcow2 \
           cluster_size=16k,extended_l2=on,backing_file=below,backing_fmt=raw \
           "${subclusters[@]}"
done_with subclusters*

data=(-c 'write -P 1 0 3k' -c 'write -z 1k 1k' -c 'discard 2k 512')
make_image data-file qcow2 cluster_size=512,data_file=data.raw "${data[@]}"
make_image data-file-raw qcow2 \
           cluster_size=512,data_file=data2.raw,data_file_raw=on "${data[@]}"
make_image data-file-subclusters qcow2 \
           cluster_size=16k,data_file=data3.raw,extended_l2=on "${data[@]}"
done_with data-file*

# --- Snapshots and bitmaps ---

for compat in 0.10 1.1; do
    name=snapshots-$compat
    make_image $name qcow2 cluster_size=512,compat=$compat "${writes[0]}" \
               "${writes[1]}" "${packed[@]}"
    qemu-img snapshot -c one $name
    qemu-io -f qcow2 -c 'write -P 9 1k 9k' $name > /dev/null
    qemu-img snapshot -c two $name
    [ $compat = 0.10 ] || qemu-img resize -q $name 80k
    qemu-io -f qcow2 -c 'write -z 1k 9k' $name > /dev/null
    qemu-img snapshot -c three $name
done
# Entries with less and more extra data, as other programs write them.
seeds snapshot-table snapshots-1.1 snapshots-extra
make_image snapshot-backing qcow2 \
           cluster_size=512,backing_file=below,backing_fmt=raw "${writes[@]}"
qemu-img snapshot -c one snapshot-backing
qemu-io -f qcow2 -c 'write -P 9 1k 9k' snapshot-backing > /dev/null
make_image bitmaps qcow2 cluster_size=512 "${writes[@]}"
qemu-img bitmap --add -g 512 bitmaps b
qemu-io -f qcow2 -c 'write -P 9 1k 9k' bitmaps > /dev/null
qemu-img bitmap --add --disable -g 4096 bitmaps disabled
qemu-img snapshot -c one bitmaps
qemu-io -f qcow2 -c 'write -P 8 30k 1k' bitmaps > /dev/null
seeds all-ones bitmaps bitmap-ones
done_with snapshot* bitmap*

# --- Encryption ---

secret=(--object "secret,id=s,data=fuzz")
# make_aes NAME FORMAT OPTIONS
make_aes ()
{
    qemu-img create -q -f "$2" "${secret[@]}" -o "$3,encrypt.key-secret=s" \
             "$1" 64k
    qemu-io "${secret[@]}" -c 'write -P 1 0 3k' -c 'write -P 2 9000 100' \
            -c 'write -c -P 4 32k 4k' --image-opts \
            "driver=$2,encrypt.key-secret=s,file.filename=$1" > /dev/null
}
make_aes aes-v1 qcow encryption=on
make_aes aes-v2 qcow2 cluster_size=512,encrypt.format=aes,compat=0.10
make_aes aes-v3 qcow2 cluster_size=512,encrypt.format=aes
done_with aes-*

# A LUKS header with its key material has 512 KiB, of which the first slot
# suffices.  So it is appended to a tiny image, whose clusters then decrypt to
# arbitrary data.  (qemu-img 7.2 sometimes fails to measure the speed: then
# try again.)
make_image plain qcow2 cluster_size=512 "${writes[@]}" "${packed[@]}"
# make_luks CIPHER MODE IVGEN IV-HASH HASH
make_luks ()
{
    local options="encrypt.format=luks,encrypt.key-secret=s"
    options+=",encrypt.iter-time=10,encrypt.cipher-alg=$1,encrypt.cipher-mode=$2"
    options+=",encrypt.ivgen-alg=$3${4:+,encrypt.ivgen-hash-alg=$4},encrypt.hash-alg=$5"
    for _ in 1 2 3 4 5 6; do
        rm -f luks
        ! qemu-img create -q -f qcow2 "${secret[@]}" -o "$options" luks 64k ||
            break
    done
    seeds luks luks plain "luks-$1-$2-$3-$5"
}
make_luks aes-128 cbc plain64 '' sha256
make_luks aes-128 cbc essiv sha256 sha1
make_luks aes-128 xts plain64 '' sha256
make_luks aes-128 ctr plain '' sha512
make_luks aes-128 ecb plain64 '' md5
make_luks serpent-128 cbc plain64 '' ripemd160
make_luks twofish-128 cbc plain '' sha224
make_luks cast5-128 cbc plain64 '' sha384
done_with luks-*

# --- Chains ---

# Layers of different sizes.  The lower ones have data at different offsets.
head -c 20001 /dev/zero > raw
printf 'raw%.0s' {1..1000} | dd of=raw bs=1000 seek=7 conv=notrunc status=none
over=cluster_size=512,backing_file=below,backing_fmt=raw
lower=(-c 'write -P 6 2k 5k' -c 'write -z 12k 1k' -c 'write -c -P 7 36k 2k'
       -c 'write -P 8 60k 3k')
make_image bottom-v1 qcow backing_file=below,backing_fmt=raw \
           -c 'write -P 6 2k 5k' -c 'write -c -P 7 36k 512'
make_image bottom-v3 qcow2 "$over" "${lower[@]}"
make_image bottom-alone qcow2 cluster_size=512 "${lower[@]}"
qemu-img resize -q --shrink bottom-alone 40k
make_image bottom-subclusters qcow2 "${over/512/16k},extended_l2=on" \
           "${lower[@]:0:4}" -c 'write -c -P 7 32k 16k'
cp "$dir/disk/image/aes-v3" bottom-aes
# make_chain NAME IMAGES
make_chain ()
{
    seeds chain "${@:2}" raw "$dir/disk/chain/$1"
}
above=$dir/disk/image
make_chain v1 "$above/v1-backing" bottom-v3 bottom-alone
make_chain v2 "$above/v2-backing" bottom-v3 bottom-alone
make_chain v3 "$above/v3-backing" bottom-v3 "$above/v2-backing" bottom-v1
make_chain snapshot "$above/snapshot-backing" bottom-v3 "$above/v3-backing" \
           bottom-alone
make_chain same "$above/v3-backing" "$above/v3-backing" "$above/v3-backing" \
           "$above/v2-backing"
make_chain aes "$above/v3-backing" bottom-v3 bottom-aes
make_chain subclusters "$above/v3-backing" bottom-subclusters
make_chain below-subclusters "$above/subclusters-backing" bottom-v3

# --- The other fuzzers ---

seeds cut "$dir"

# url NAME URL FILE PREFIX ENDPOINT
url ()
{
    printf '%s\n%s\n%s\n%s' "$2" "$3" "$4" "$5" > "$dir/url/url/$1"
}
url nbd 'nbd://user@host:1/a/b?tls-psk-file=/f' ../x '' ''
url nbd-unix 'nbd+unix:///x?socket=/run/s' x '' ''
url plain http://example.com/images/disk.qcow2 base.qcow2 \
    http://example.com/images ''
url port HTTPS://Example.COM:8443/a/../b/./c ../x/./base http://example.com ''
url query 'https://u:p%40q@h/x?sig=a%2Bb&c=d#part' 'a b%?#é' https://h/ ''
url address 'http://[fe80::1%25eth0]:80/%2e%2e/x' '..\x' 'http://[fe80::1]' ''
url s3 's3://bucket.name/a key/with?odd#bytes' '../x' s3://bucket.name ''
url s3-endpoint s3://bucket/key base s3://bucket/ http://127.0.0.1:9000/

# access NAME ALLOW FILE: ALLOW is a byte in octal, see access.c.
access ()
{
    printf "\\$2%s" "$3" > "$dir/image/access/$1"
}

access beside 001 base
access linked 003 down/base
access leaves 001 leaves
access below 041 sub/around/in/same
access other 005 ../other/./base
access out 010 out/base
access data 101 sub/base
access data-out 104 ../other/deep/base
access none 000 base
access url 020 http://example.com/images/a/base
access url-dir 021 'https://h/dir/%2e%2e/base'

# response NAME OFFSET LENGTH LINES-OF-TWO-RESPONSES BODY
response ()
{
    printf '%s\n' "$2" "$3" "${@:4}" > "$dir/http/response/$1"
}
response good 0 100 \
       206 'bytes 0-99/1234' '' 100 'W/"abc"' 'Mon, 01 Jan 2024 00:00:00 GMT' \
       206 'bytes 0-99/*' identity 100 '"abc"' 'Mon, 01 Jan 2024 00:00:00 GMT'
response changed 10 5 \
       206 'bytes 10-14/20' '' 5 '"abc"' '' \
       206 'bytes 10-14/20' '' 5 '"def"' ''
response gone 10 5 \
       206 'Bytes 10-19/20' '' '' '' '' \
       412 '' '' '' '' ''
response empty 0 5 416 'bytes */0' '' 0 '' '' 503 '' '' '' '' ''
response all 0 5 200 '' gzip 0 '' '' 302 '' '' '' '' ''
response refused 0 5 403 '' '' '' '' '' 404 '' '' '' '' '' \
       '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'

# credentials NAME TEXT
credentials ()
{
    printf '%s\n' "$2" > "$dir/http/credentials/$1"
}
credentials metadata '{"Code":"Success","AccessKeyId":"ASIA",
"SecretAccessKey":"a\/b+c","Token":"t==","Expiration":"2030-01-02T03:04:05Z"}'
credentials process '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s"}'
credentials nested '{"a":{"b":[1,"]"]},"AccessKeyId":null}'
credentials error '{"code":"AccessDenied"}'
credentials sts '<R><Credentials><AccessKeyId>ASIA</AccessKeyId>
<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2030-01-02T03:04:05Z</Expiration></Credentials></R>'
credentials sts-error '<R><Error><Code>AccessDenied</Code></Error></R>'
credentials profile '[default]
aws_access_key_id = A
s3 =
  x = y
[profile "one"]
# no
region: eu-west-1'
printf '2030-01-02T03:04:05+01:00' > "$dir/http/credentials/time"
