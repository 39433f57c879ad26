#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/make-seeds.sh DIRECTORY: small images, one for each feature
# and version, with which the fuzzer starts.

set -e -u
dir=$1
mkdir -p "$dir"
cd "$dir"

make_image ()
{
    local name=$1 options=$2
    shift 2
    [ -e "$name" ] && return
    qemu-img create -q -f qcow2 -o "$options" "$name.tmp" 64k
    qemu-io -f qcow2 "$@" "$name.tmp" > /dev/null
    mv "$name.tmp" "$name"
}

writes=(-c 'write -P 1 0 3k' -c 'write -z 4k 1k' -c 'write -P 2 9000 100'
        -c 'write -z -u 20k 2k' -c 'write -P 3 63k 1k' -c 'write -z 63k 512')
packed=(-c 'write -c -P 4 32k 4k' -c 'write -c -P 5 40k 4k')

for bits in 9 10 12; do
    size=$((1 << bits))
    make_image "v3-$bits" "cluster_size=$size" "${writes[@]}"
    make_image "v3-$bits-zlib" "cluster_size=$size" "${writes[@]}" "${packed[@]}"
    make_image "v3-$bits-zstd" "cluster_size=$size,compression_type=zstd" \
               "${writes[@]}" "${packed[@]}"
done
make_image v2 "cluster_size=512,compat=0.10" -c 'write -P 1 0 3k' "${packed[@]}"
make_image preallocated "cluster_size=512,preallocation=metadata" \
           -c 'write -P 1 0 3k'
make_image dirty "cluster_size=512,lazy_refcounts=on" -c 'write -P 1 0 3k'
make_image extended "cluster_size=16k,extended_l2=on" "${writes[@]}" \
           -c 'write -c -P 5 32k 16k'
make_image data-file "cluster_size=512,data_file=data.raw.tmp" \
           -c 'write -P 1 0 3k' -c 'write -z 1k 1k' -c 'discard 2k 512'
rm -f data.raw.tmp
: > empty.tmp
make_image backing "cluster_size=512,backing_file=empty.tmp,backing_fmt=raw" \
           -c 'write -P 1 0 3k' -c 'write -z 4k 1k'
rm -f empty.tmp
if [ ! -e v1 ]; then
    qemu-img create -q -f qcow v1.tmp 64k
    qemu-io -f qcow -c 'write -P 1 0 3k' -c 'write -P 2 9000 1k' \
            -c 'write -c -P 4 32k 4k' v1.tmp > /dev/null
    mv v1.tmp v1
fi
secret=(--object "secret,id=s,data=fuzz")
if [ ! -e v1-aes ]; then
    qemu-img create -q -f qcow "${secret[@]}" \
             -o encryption=on,encrypt.key-secret=s v1-aes.tmp 64k
    qemu-io "${secret[@]}" -c 'write -P 1 0 3k' -c 'write -c -P 4 32k 4k' \
            --image-opts driver=qcow,encrypt.key-secret=s,file.filename=v1-aes.tmp \
            > /dev/null
    mv v1-aes.tmp v1-aes
fi
# A LUKS header with its key material has half a megabyte, of which the first
# slot will do: so a tiny image gets it appended.  What its clusters hold
# decrypts to something.  (qemu-img 7.2 can't always tell how fast the machine
# is; then again.)
for mode in cbc-plain64 cbc-essiv; do
    [ -e "luks-$mode" ] && continue
    iv=${mode#*-}
    for _ in 1 2 3 4 5 6; do
        rm -f luks.tmp
        ! qemu-img create -q -f qcow2 "${secret[@]}" \
          -o "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=${mode%-*},encrypt.ivgen-alg=$iv,encrypt.ivgen-hash-alg=sha256" \
          luks.tmp 64k || break
    done
    make_image plain.tmp.new "cluster_size=512" "${writes[@]}" "${packed[@]}"
    /usr/bin/python3 - luks.tmp plain.tmp.new "luks-$mode" <<'END'
import struct
import sys
luks, image = (bytearray(open(p, "rb").read()) for p in sys.argv[1:3])
kind, _, offset, length = struct.unpack_from(">IIQQ", luks, 112)
assert kind == 0x0537be77
end = -len(image) % 512
image += bytes(end)
struct.pack_into(">I", image, 32, 2)
struct.pack_into(">IIQQI", image, 112, kind, 16, len(image), length, 0)
key = struct.unpack_from(">I", luks, offset + 108)[0]
image += luks[offset:offset + 4096 + key * 4000]
open(sys.argv[3] + ".tmp", "wb").write(image)
END
    mv "luks-$mode.tmp" "luks-$mode"
    rm -f luks.tmp plain.tmp.new
done
if [ ! -e bitmap ]; then
    make_image bitmap.new "cluster_size=512" "${writes[@]}"
    qemu-img bitmap --add -g 512 bitmap.new b
    qemu-io -f qcow2 -c 'write -P 9 1k 9k' bitmap.new > /dev/null
    mv bitmap.new bitmap
fi
if [ ! -e snapshot ]; then
    make_image snapshot.new "cluster_size=512" "${writes[@]}"
    qemu-img snapshot -c one snapshot.new
    qemu-io -f qcow2 -c 'write -P 9 1k 9k' snapshot.new > /dev/null
    qemu-img snapshot -c two snapshot.new
    mv snapshot.new snapshot
fi
