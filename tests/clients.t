#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Standard clients with the same images: nbdcopy with many options, qemu-img
# convert, compare, map and dd, qemu-io, nbdinfo and nbdsh; and nbdkit's
# protocol options.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-4242}
for spec in 65536:400 4096:700; do
    IFS=: read -r cluster clusters <<< "$spec"
    size=$((cluster * clusters))
    image=image$cluster.qcow2
    random_image "$image" "$seed" $size "$cluster" 200
    dense "$image"
    oracle "$image" oracle$cluster.raw
done

# copies NAME COMMAND: passes if the command writes a copy.raw that equals the
# oracle.
copies ()
{
    local name=$1 cmd=$2 out
    rm -f copy.raw
    if out=$(with_qcow "$cmd" -- "$image" 2>&1); then
        same_bytes "$name" copy.raw "$oracle"
    else
        fail "$name" "$out"
    fi
}

for cluster in 65536 4096; do
    image=image$cluster.qcow2
    oracle=oracle$cluster.raw
    for options in '' '--synchronous' '-C 1' '-C 8 -T 2' '-R 1' '-C 4 -R 64' \
                   '--request-size=4096' '--request-size=65536' \
                   '--request-size=1048576' '--request-size=33554432' \
                   '--request-size=33554432 -C 4 -R 8' \
                   '--no-extents' '--no-extents --request-size=4096 -C 4' \
                   '--allocated' '-S 0' '-S 65536' '--queue-size=65536'; do
        copies "nbdcopy ${options:-(no options)}, clusters of $cluster" \
               "nbdcopy $options \"\$uri\" copy.raw"
    done
    copies "nbdcopy to a pipe, clusters of $cluster" \
           'nbdcopy "$uri" - > copy.raw'

    for options in '' '-m 1' '-m 16 -W' '-S 0' '-S 512'; do
        copies "qemu-img convert $options, clusters of $cluster" \
               "qemu-img convert -f raw -O raw $options \"\$uri\" copy.raw"
    done
    copies "qemu-img convert -c -O qcow2, clusters of $cluster" \
           'qemu-img convert -f raw -c -O qcow2 "$uri" copy.qcow2 &&
            qemu-img convert -f qcow2 -O raw copy.qcow2 copy.raw'
    copies "qemu-img dd, clusters of $cluster" \
           'qemu-img dd -f raw -O raw bs=1M if="$uri" of=copy.raw'
    copies "nbdcopy from an nbdkit started by socket activation" \
           'nbdcopy -- [ nbdkit -f "$plugin" '"$image"' ] copy.raw'
    ok "nbdcopy to null: succeeds" \
       with_qcow 'nbdcopy "$uri" null:' -- "$image"
    ok "qemu-img compare finds no difference" \
       with_qcow "qemu-img compare -f raw -F qcow2 \"\$uri\" $image" \
       -- "$image"

    # qemu-img's view of our map and of qemu-nbd's.
    ok "qemu-img map succeeds" \
       with_qcow 'qemu-img map -f raw --output=json "$uri" > got.json' \
       -- "$image"
    with_qemu 'qemu-img map -f raw --output=json "$uri" > wanted.json' "$image"
    same_text "... equals that of qemu-nbd" got.json wanted.json
done

image=image65536.qcow2
size=$(stat -c %s oracle65536.raw)

# Copies keep the holes.
qemu-img create -q -f qcow2 sparse.qcow2 1G
io sparse.qcow2 'write -q -s src0 0 64k' 'write -q -s src1 512M 1M' \
   'write -q -z 600M 64M' 'write -q -c -s src2 700M 64k'
oracle sparse.qcow2 sparse.raw
ok "a sparse disk: nbdcopy succeeds" \
   with_qcow 'nbdcopy "$uri" copy.raw' -- sparse.qcow2
ok "... the copy is equal" qemu-img compare -f raw -F raw copy.raw sparse.raw
used=$(stat -c %b copy.raw)
is "... keeps its holes" $((used <= 8192)) 1
rm -f copy.raw
ok "a sparse disk: qemu-img convert succeeds" \
   with_qcow 'qemu-img convert -f raw -O raw "$uri" copy.raw' \
   -- sparse.qcow2
used=$(stat -c %b copy.raw)
is "... keeps its holes" $((used <= 8192)) 1

# The properties that nbdinfo prints.
# shellcheck disable=SC2016
with_qcow 'nbdinfo --json "$uri"' -- "$image" > info.json
is "nbdinfo: the disk's size" "$(jq '.exports[0]."export-size"' info.json)" "$size"
is "nbdinfo: read-only" "$(jq '.exports[0].is_read_only' info.json)" true
is "nbdinfo: multi-conn" "$(jq '.exports[0].can_multi_conn' info.json)" true
is "nbdinfo: can_cache" "$(jq '.exports[0].can_cache' info.json)" true
is "nbdinfo: minimum block size" \
   "$(jq '.exports[0].block_size_minimum' info.json)" 1
is "nbdinfo: maximum block size" \
   "$(jq '.exports[0].block_size_maximum' info.json)" 4294967295
is "nbdinfo: only base:allocation" \
   "$(jq -c '.exports[0].contexts' info.json)" '["base:allocation"]'
for cluster in 512 4096 65536 1048576 2097152; do
    qemu-img create -q -f qcow2 -o cluster_size=$cluster empty.qcow2 8M
    # shellcheck disable=SC2016
    got=$(with_qcow 'nbdinfo --json "$uri"' -- empty.qcow2 |
              jq '.exports[0].block_size_preferred')
    most=$((cluster > 1048576 ? cluster : 1048576))
    right=$((got >= cluster && got <= most && (got & (got - 1)) == 0))
    is "preferred block size for clusters of $cluster: $got" $right 1
done
# shellcheck disable=SC2016
is "nbdinfo --list: one export without a name" \
   "$(with_qcow 'nbdinfo --list --json "$uri"' -- "$image" |
          jq -c '[.exports[]."export-name"]')" '[""]'
# shellcheck disable=SC2016
out=$(with_qcow 'nbdinfo "$uri"' -- "$image" 2>&1)
like "nbdinfo: the export has a description" "$out" 'description: .*[a-z]'

# nbdsh: cache requests, then reads of cached data; writes are refused.
cat > session.py <<'END'
import errno, os
raw = open("oracle65536.raw", "rb").read()
assert h.get_size() == len(raw)
assert h.can_cache() and h.can_multi_conn() and h.is_read_only()
h.cache(1 << 20, 0)
h.cache(len(raw) - 5, 5)
h.cache(1, len(raw) - 1)
for count, offset in ((1, 0), (70000, 1), (len(raw) - 4097, 4097),
                      (1, len(raw) - 1)):
    assert h.pread(count, offset) == raw[offset:offset + count]
h.set_strict_mode(0)
for f in (lambda: h.pwrite(b"x" * 512, 0), lambda: h.zero(512, 0),
          lambda: h.trim(512, 0)):
    try:
        f()
    except nbd.Error as e:
        assert e.errnum == errno.EPERM, e
    else:
        raise SystemExit("a write succeeded")
END
# (The nbdsh script runs the same, but perhaps with another Python.)
ok "nbdsh: cache and read succeed, writes fail" \
   with_qcow "$python -m nbd -u \"\$uri\" -c 'exec(open(\"session.py\").read())'" \
   -- "$image"
not_ok "qemu-io can't open it for writing" \
   with_qcow 'qemu-io -f raw -c "write 0 512" "$uri"' -- "$image"

# nbdkit's protocol variants.
oracle=oracle65536.raw
for option in --no-sr --mask-handshake=0; do
    rm -f copy.raw
    ok "nbdkit $option: nbdcopy succeeds" \
       with_qcow 'nbdcopy "$uri" copy.raw' $option -- "$image"
    same_bytes "... the copy is equal" copy.raw $oracle
done
rm -f copy.raw
# shellcheck disable=SC2016
ok "nbdkit -o: nbdcopy succeeds" with_qcow 'nbdcopy "$uri" copy.raw' -o -- "$image"
same_bytes "... the copy is equal" copy.raw $oracle
for threads in 1 2 64; do
    rm -f copy.raw
    ok "nbdkit -t $threads: nbdcopy succeeds" \
       with_qcow 'nbdcopy "$uri" copy.raw' -t $threads -- "$image"
    same_bytes "... the copy is equal" copy.raw $oracle
done

# A qcow2 file inside a qcow2 disk (iotest 072).
qemu-img convert -c -f raw -O qcow2 oracle4096.raw inner.qcow2
truncate -s %64k inner.qcow2
qemu-img convert -f raw -O qcow2 inner.qcow2 outer.qcow2
rm -f copy.raw
# shellcheck disable=SC2016
ok "a qcow2 file in a qcow2 disk: qemu-img convert succeeds" with_qcow \
   'qemu-img convert -f qcow2 -O raw "$uri" copy.raw' -- outer.qcow2
same_bytes "... the copy is equal" copy.raw oracle4096.raw

done_testing
