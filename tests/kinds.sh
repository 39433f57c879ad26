# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced after functions.sh by tests that need an image of each kind.

# at IMAGE HEX: print the offset of the first such bytes.
at ()
{
    py -c 'import sys
print(open(sys.argv[1], "rb").read().index(bytes.fromhex(sys.argv[2])))' "$@"
}

# make_kinds: make images of all kinds in the current directory, *.img, and their
# data files.  No backing file exists.  The passphrase is "secret".
make_kinds ()
{
    local sort name at
    text_source $((1 << 20)) disk.raw
    for sort in v1 v2 v3 ext; do
        make_sort $sort.img $sort 10M
    done
    qemu-img create -q -f qcow2 -o cluster_size=2M,refcount_bits=1 big.img 3G
    qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 small.img 1536
    qemu-img create -q -f qcow2 -o lazy_refcounts=on lazy.img 1M
    qemu-img convert -c -f raw -O qcow2 disk.raw zlib.img
    qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd disk.raw zstd.img
    create_aes aes1.img v1 1M secret
    create_aes aes2.img v2 1M secret
    create_aes aes3.img v3 1M secret
    create_luks luks.img 1M secret
    create_luks essiv.img 1M secret \
        -o encrypt.cipher-alg=serpent-128,encrypt.cipher-mode=cbc \
        -o encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha512
    quick_luks qemu-img amend -q --image-opts --object secret,id=s,data=secret \
        --object secret,id=t,data=other \
        -o encrypt.state=active,encrypt.new-secret=t,encrypt.iter-time=10,encrypt.keyslot=5 \
        driver=qcow2,file.filename=essiv.img,encrypt.key-secret=s || exit 1
    make_sort backed1.img v1 1M base.img qcow2
    make_sort backed2.img v2 1M base.img qcow2
    make_sort backed3.img v3 1M ../x/base.img raw
    make_sort absolute.img v3 1M /nowhere/base.img raw
    make_sort file.img v3 1M file:base.img qcow2
    make_sort json.img v3 1M 'json:{"driver": "null-co"}' raw
    make_sort nbd.img v3 1M nbd://127.0.0.1:1/x raw
    make_sort http.img v3 1M http://127.0.0.1:1/base.img qcow2
    # Without a format: the extension gets an unknown type.
    make_sort noformat.img v3 1M base.img qcow2
    poke noformat.img "$(at noformat.img e2792aca)" 11111111
    make_sort snapshots.img v3 1M
    for name in mon tue $'a "quoted" \\ name' 'größe €' $'\xff\x01' ''; do
        qemu-img snapshot -c "$name" snapshots.img
    done
    cp snapshots.img snapshots-and-bitmaps.img
    qemu-img bitmap --add -g 512 snapshots-and-bitmaps.img fine
    qemu-img bitmap --add --disable snapshots-and-bitmaps.img disabled
    qemu-img bitmap --add snapshots-and-bitmaps.img in-use
    qemu-img create -q -f qcow2 -o data_file=data.raw data.img 1M
    qemu-img create -q -f qcow2 -o data_file=data2.raw,data_file_raw=on rawdata.img 1M
    cp v3.img dirty.img
    poke dirty.img 72 0000000000000001
    cp v3.img corrupt.img
    poke corrupt.img 72 0000000000000002
    # A snapshot with a VM state, whose clock has run.
    cp snapshots.img clock.img
    at=$(peek clock.img 64 8)
    poke clock.img $((at + 24)) 0000000123456789
    poke clock.img $((at + 40)) 0000000000345678
}
