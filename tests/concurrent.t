#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads from many connections at once, with many requests in-flight on each,
# every byte compared: over all kinds of clusters and many L2 tables, with
# large and tiny caches, while other clients request the map, connect and
# disconnect, or read damaged clusters.

source "$(dirname "$0")/functions.sh"

seed=${QCOW_SEED:-31}

# Images with several L2 tables and all kinds of clusters.
random_image small.qcow2 "$seed" $((512 * 6000)) 512 1500
random_image middle.qcow2 $((seed + 1)) $((4096 * 1200)) 4096 600 \
             compression_type=zstd
random_image large.qcow2 $((seed + 2)) $((65536 * 120)) 65536 300
for i in small middle large; do
    oracle $i.qcow2 $i.raw
done

for i in small:512 middle:4096 large:65536; do
    image=${i%:*}.qcow2 raw=${i%:*}.raw cluster=${i#*:}
    for cache in '' 64K 1M; do
        # shellcheck disable=SC2016
        ok "clusters of $cluster, 8 connections, cache-size=${cache:-default}" \
           with_qcow "$python $gen/nbd-compare.py \"\$uri\" $raw \
               --cluster $cluster --borders 60 --random 150 \
               --connections 8 --in-flight 16 --seed $seed" \
           -- $image ${cache:+cache-size=$cache}
    done
    # A tiny cache: correct bytes, or refused with a message.
    for cache in 0 1; do
        out=$(with_qcow "$python $gen/nbd-compare.py \"\$uri\" $raw \
                  --cluster $cluster --borders 20 --random 50 \
                  --connections 4 --in-flight 8" \
              -- $image cache-size=$cache 2>&1); rc=$?
        if [ $rc -eq 0 ] || { [ $rc -eq 1 ] && grep -q cache-size <<< "$out"; }
        then
            pass "clusters of $cluster, cache-size=$cache: served or refused"
        else
            fail "clusters of $cluster, cache-size=$cache: served or refused" "$out"
        fi
    done
done

# All kinds of clients at once on one server.
if start_qcow -- large.qcow2 cache-size=256K; then
    jobs=()
    for n in 1 2 3; do
        nbdcopy -C 4 -R 16 "$uri" copy$n.raw & jobs+=($!)
    done
    qemu-img convert -m 16 -W -f raw -O raw "$uri" copy4.raw & jobs+=($!)
    nbdinfo --map "$uri" > map1 & jobs+=($!)
    "$python" "$gen/nbd-compare.py" "$uri" large.raw --cluster 65536 \
              --connections 4 --in-flight 16 > compare.log & jobs+=($!)
    # Clients that connect and disconnect.  (They are not killed during a read,
    # because nbdkit before 1.34 may then fail an assertion with any plugin.)
    for n in 1 2 3 4 5 6; do
        nbdinfo --size "$uri" > /dev/null & jobs+=($!)
    done
    bad=0
    for j in "${jobs[@]}"; do
        wait "$j" || bad=$((bad + 1))
    done
    is "all clients at once: no failures" "$bad$(cat compare.log)" 0
    for n in 1 2 3 4; do
        same_bytes "... copy $n equals the disk" copy$n.raw large.raw
    done
    nbdinfo --map "$uri" > map2
    same_text "... the map is the same as later" map1 map2
    ok "... a later client can copy" nbdcopy "$uri" null:
    stop_qcow || fail "the server exits cleanly"
fi

# Four servers of one image at once.
jobs=()
for n in 1 2 3 4; do
    # shellcheck disable=SC2016
    with_qcow "nbdcopy \"\$uri\" copy$n.raw" -- middle.qcow2 & jobs+=($!)
done
for n in 1 2 3 4; do
    wait "${jobs[n - 1]}"
    same_bytes "four servers of one image: copy $n equals the disk" copy$n.raw middle.raw
done

# A damaged cluster among good ones, read by all connections at once: a failed
# load fails for all its waiters, and again for later requests.
cat > mixed.py <<'END'
import errno, os, random, sys, threading
import nbd
uri, path, bad, cluster = sys.argv[1], sys.argv[2], int(sys.argv[3]), \
    int(sys.argv[4])
raw = open(path, "rb").read()
problems = []
def client(n):
    h = nbd.NBD()
    h.connect_uri(uri)
    rng = random.Random(n)
    for _ in range(300):
        if rng.random() < 0.5:
            offset, count = bad * cluster + rng.randrange(cluster), 1
        else:
            offset = rng.randrange(len(raw))
            count = min(rng.randrange(1, 3 * cluster), len(raw) - offset)
        damaged = offset < (bad + 1) * cluster and \
            offset + count > bad * cluster
        try:
            got = h.pread(count, offset)
        except nbd.Error as e:
            if not damaged or e.errnum != errno.EIO:
                problems.append("%d at %d: %s" % (count, offset, e))
            continue
        if damaged:
            problems.append("%d at %d could be read" % (count, offset))
        elif got != raw[offset:offset + count]:
            problems.append("%d at %d differs" % (count, offset))
threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
sys.exit("\n".join(problems[:5]) or None)
END
text_source $((40 * 65536)) text
for codec in plain zlib zstd; do
    opts=()
    [ $codec = plain ] || opts=(-c -o compression_type=$codec)
    qemu-img convert "${opts[@]}" -f raw -O qcow2 text bad.qcow2
    l2=$(($(peek bad.qcow2 "$(peek bad.qcow2 40 8)" 8) & 0xffffffffffffff))
    if [ $codec = plain ]; then
        poke bad.qcow2 $((l2 + 8 * 17 + 6)) 12
    else
        # Corrupt the stream of cluster 17.
        at=$(($(peek bad.qcow2 $((l2 + 8 * 17)) 8) & 0x3fffffffffffff))
        poke bad.qcow2 $at ffffffffffffffffffffffff
    fi
    # shellcheck disable=SC2016
    ok "a damaged cluster among good ones, $codec: EIO, all others read" \
       with_qcow '"$python" mixed.py "$uri" text 17 65536' -- bad.qcow2
done

done_testing
