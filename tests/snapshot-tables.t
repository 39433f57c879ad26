#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The table of internal snapshots: which name opens which snapshot, what is
# listed; then tables that qemu-img would not write: huge, damaged, or with
# damaged L1 tables.  Damage to one snapshot must not affect the others.

source "$(dirname "$0")/functions.sh"

# begins.py: print the first byte of the export of each URI on stdin.
cat > begins.py <<'END'
import sys, nbd
for uri in sys.stdin.read().split():
    h = nbd.NBD()
    h.connect_uri(uri)
    print(h.pread(1, 0)[0])
    h.shutdown()
END

# begins EXPORT...: print the first byte of each.
begins ()
{
    local n
    for n; do to "$n"; done | py --stdin begins.py | xargs
}

# table IMAGE LINE...: write the snapshot table that
# generators/snapshot-table.py makes of the lines to the image.  Sets $at and
# $bytes.
table ()
{
    local image=$1
    shift
    read -r at bytes < <(printf '%s\n' "$@" |
                             py --stdin "$gen/snapshot-table.py" "$image")
    [ -n "$bytes" ] || exit 1
}

# hex WIDTH NUMBER
hex ()
{
    printf "%0$1x" "$2"
}

# in_qemu: qemu opens image.qcow2.
in_qemu ()
{
    qemu-io -r -f qcow2 -c 'read 0 1' image.qcow2
}

# Which name opens which snapshot: ids take precedence over names; of equal
# names, the first counts.  Snapshot N begins with bytes N.
names=(mon dup dup 1 5 '' 'a/b/../c' .. 'two words' 'grün 日本' '%41&?#+;=\'
       $'tab\t' $'\e[31mred' $'\xff\xfe' 12 "$(printf 'x%.0s' {1..255})"
       mon..dup bitmap:b $'next\xc2\x85line' /)
qemu-img create -q -f qcow2 image.qcow2 1M
for n in "${!names[@]}"; do
    io image.qcow2 "write -q -P $((n + 1)) 0 64k"
    qemu-img snapshot -c "${names[n]}" image.qcow2
done
io image.qcow2 'write -q -P 200 0 64k'
is "the image has 20 snapshots" "$(peek image.qcow2 60 4)" 20
cp image.qcow2 named.qcow2
at=$(peek image.qcow2 64 8)
poke image.qcow2 $((at + 16)) 5e0be100   # 2020-01-01 00:00:00 UTC

start_qcow -- image.qcow2 || fail "the server starts"
# The name of the second dup opens the first; 1 and 12 are ids of others; ''
# is the disk itself.
wanted=({1..20})
wanted[2]=2 wanted[3]=1 wanted[5]=200 wanted[14]=12
is "each snapshot by its name" "$(begins "${names[@]}")" "${wanted[*]}"
is "each snapshot by its id" "$(begins {1..20})" "$(echo {1..20})"

# A snapshot is listed by its name if that opens it and is printable, else by
# its id.
listed=("${names[@]}" '')
listed[2]=3 listed[3]=4 listed[5]=6 listed[11]=12 listed[12]=13 \
    listed[13]=14 listed[14]=15 listed[18]=19
py "$gen/nbd-list.py" "$uri" > list
printf '%s\n' "${listed[@]}" | sort > wanted.list
cut -f 1 list | sort > got.list
same_text "the list of exports" got.list wanted.list
nbdinfo --list --json "$uri" | jq -r '.exports[]."export-name"' |
    sort > got.list
same_text "... with nbdinfo" got.list wanted.list
line=$(grep -P '^mon\t' list)
for re in '\b1\b.*\bmon\b' '2020-01-01 00:00' '\b1048576\b' 'VM state.*\b0\b'
do
    like "the description of a snapshot: $re" "${line#*$'\t'}" "$re"
done
like "the description escapes an unprintable name" "$(grep -P '^13\t' list)" \
     '\b13\b.*[^[:cntrl:]]\[31mred'
unlike "no description has control characters" "$(cut -f 2 list)" \
       $'[\x01-\x09\x0b-\x1f\x7f]|\xc2\x85'
is "a connection has the same description as the list" \
   "$(nbdinfo --json "$(to mon)" | jq -r '.exports[0].description')" \
   "${line#*$'\t'}"

# Standard clients.
for n in 8 10; do
    ok "qemu-img convert of '${names[n]}'" qemu-img convert -f raw -O raw \
       "$(to "${names[n]}")" copy.raw
    cp image.qcow2 applied.qcow2
    qemu-img snapshot -a $((n + 1)) applied.qcow2
    oracle applied.qcow2 oracle.raw
    same_bytes "... same bytes" copy.raw oracle.raw
done
ok "qemu's nbd:unix: syntax" qemu-img compare -f raw -F raw \
   oracle.raw "nbd:unix:$sock:exportname=11"

# Unknown names are refused when a client connects; the log has the name.
for n in nosuch 21 mon/ MON 01 ' 1' 'mon..nope' $'\e[31mno' '../image.qcow2' \
         "$(printf 'y%.0s' {1..4000})"; do
    not_ok "unknown export '${n:0:20}': refused" nbdinfo --size "$(to "$n")"
done
is "... one message each" "$(wc -l < "$log")" 10
like "... with the name" "$(cat "$log")" "image\.qcow2.*nosuch"
unlike "... no message has control characters" "$(cat "$log")" \
       '[[:cntrl:]]'
is "the server still responds" "$(begins mon)" 1
stop_qcow || fail "the server exits cleanly"

# snapshot= accepts the same names and serves that snapshot only.
for spec in mon:1 dup:2 3:3 1:1 12:12 ..:8 'two words:9' $'\xff\xfe:14' /:20; do
    # shellcheck disable=SC2016
    is "snapshot=$(printf %q "${spec%:*}")" "${spec#*:}" \
       "$(with_qcow 'echo "$uri" | py --stdin begins.py' \
                    -- image.qcow2 snapshot="${spec%:*}")"
done
# shellcheck disable=SC2016
is "nbdkit -e" 9 "$(with_qcow 'echo "$uri" | py --stdin begins.py' \
                          -e 'two words' -- image.qcow2)"
start_qcow -- image.qcow2 snapshot=dup || fail "the server starts"
for n in mon dup 2 nosuch; do
    not_ok "with snapshot=dup, the export $n is refused" \
           nbdinfo --size "$(to "$n")"
    like "... the message" "$(tail -n 1 "$log")" "image\.qcow2.*\b$n\b"
done
is "... one message each" "$(wc -l < "$log")" 4
py "$gen/nbd-list.py" "$uri" > list
is "... the list has the default export only" "$(cut -f 1 list)" ""
like "... its description names the snapshot" \
     "$(cut -f 2 list)" '\b2\b.*\bdup\b'
stop_qcow || fail "the server exits cleanly"

refused "an unknown snapshot: refused" \
        'image\.qcow2.*nosuch.*(qemu-img snapshot|nbdinfo|mon)' \
        -- image.qcow2 snapshot=nosuch
refused "an empty snapshot=: refused" 'snapshot=' -- image.qcow2 snapshot=
refused "snapshot= twice: refused" \
        'snapshot=' -- image.qcow2 snapshot=1 snapshot=2
qemu-img create -q -f qcow2 none.qcow2 1M
refused "snapshot= for an image without snapshots: refused" \
        'none\.qcow2.*snapshot.*mon' \
        -- none.qcow2 snapshot=mon
is "... its list has the default export only" \
   "$(with_qcow 'py "$gen/nbd-list.py" "$uri" | cut -f 1 | wc -l' -- none.qcow2)" 1
qemu-img create -q -f qcow none.qcow 1M
refused "snapshot= for a version 1 image: refused" 'none\.qcow.*snapshot.*mon' \
        -- none.qcow snapshot=mon

# Ids are strings, too; other programs may write other tables.
cp named.qcow2 image.qcow2
table image.qcow2 'like=1 id=mon name=a' 'like=2 id=b name=mon' \
      'like=3 id=%c3%bc%20/ name=a' 'like=4 id= name=e' 'like=5 id= name=' \
      'like=6 id=twice name=f' 'like=7 id=twice name=g' \
      'like=8 id=%0a name=%00' 'like=9 id=i name=i%00' 'like=10 id=%00j name=j'
start_qcow -- image.qcow2 || fail "the server starts"
is "ids that are not numbers, and odd names" \
   "$(begins mon b 'ü /' e '' twice g $'\n' i j a f)" \
   "1 2 3 4 200 6 7 8 9 10 1 6"
# Two snapshots can't be listed: neither the id nor the name of the fifth
# opens it, and those of the eighth are unprintable.
printf '%s\n' '' a b 'ü /' e f g i j | sort > wanted.list
for n in 1 2 3; do
    py "$gen/nbd-list.py" "$uri" > list
done
cut -f 1 list | sort > got.list
same_text "... the list of exports" got.list wanted.list
is "... one warning about the snapshots that are not listed" \
   "$(grep -c '' "$log")" 1
like "... with their number" "$(cat "$log")" 'list of exports: 2 '
stop_qcow || fail "the server exits cleanly"

# Up to the limit of 65536 snapshots: 9,999 of them are listed, clients can
# open all of them, and the server takes little memory.

# peak: print the peak memory of the server, in KiB.
peak ()
{
    awk '/VmHWM/ { print $2 }' "/proc/$pid/status"
}
start_qcow -- named.qcow2 || fail "the server starts"
begins '' > /dev/null
least=$(peak)
stop_qcow || fail "the server exits cleanly"
for count in 1000 9999 10000 65536; do
    cp named.qcow2 image.qcow2
    table image.qcow2 "like=2 name=snap-{} times=$((count - 1))" \
          'like=7 name=last'
    start_qcow -- image.qcow2 || fail "the server starts"
    is "$count snapshots: the first and the last, by id and name" \
       "$(begins 1 snap-1 $count last)" "2 2 7 7"
    for n in 1 2; do
        py "$gen/nbd-list.py" "$uri" | cut -f 1 > got.list
    done
    listed=$((count < 9999 ? count : 9999))
    is "... the list has $listed of them, and the default export" \
       "$(wc -l < got.list)" \
       $((listed + 1))
    { echo; printf 'snap-%s\n' $(seq $((listed - (count < 10000))))
      [ $count -gt 9999 ] || echo last; } | sort > wanted.list
    same_text "... by name, the first ones of the table" got.list \
              wanted.list
    if [ $count -gt 9999 ]; then
        like "... a warning counts the others" "$(cat "$log")" \
             "list of exports: $((count - 9999)) "
        is "... only once" "$(wc -l < "$log")" 1
    else
        is "... no warning" "$(cat "$log")" ""
    fi
    if [ -z "$QCOW_VALGRIND$QCOW_PRELOAD" ]; then
        more=$(($(peak) - least))
        is "... takes less than 40000 KiB of memory ($more)" $((more < 40000)) 1
    fi
    stop_qcow || fail "the server exits cleanly"
done
ok "qemu opens the image with 65536 snapshots, too" in_qemu
poke image.qcow2 60 00010001
refused "65537 snapshots: refused" \
        'image\.qcow2.*nb_snapshots.*65537' -- image.qcow2
not_ok "... refused by qemu, too" in_qemu

# Long names: clients can't request one of more than 4096 bytes.
cp named.qcow2 image.qcow2
table image.qcow2 'like=1 name=a fill=4096' 'like=2 name=b fill=4097' \
      'like=3 name=c fill=65535' 'like=4 id=d name=d fill=4000'
start_qcow -- image.qcow2 || fail "the server starts"
name=$(printf '%04095d' 0)
is "snapshots with names of 4096 bytes and more" \
   "$(begins 1 "a${name//0/x}" 2 3 d)" \
   "1 1 2 3 4"
py "$gen/nbd-list.py" "$uri" > list
is "... the list has no name longer than 4096 bytes" \
   "$(cut -f 1 list | awk '{ print length ($0) }' | sort -nu | tail -1)" 4096
is "... the list has the others" "$(grep -Ec $'^(|ax*|dx*)\t' list)" 3
is "... no description is longer than 4096 bytes" \
   "$(cut -f 2 list | awk 'length ($0) > 4096' | wc -l)" 0
stop_qcow || fail "the server exits cleanly"

# A table of 64 MiB, the limit, and of 8 bytes more.
for more in 0 8; do
    cp named.qcow2 image.qcow2
    table image.qcow2 'like=1 id=x fill=65535 times=1023' \
          "like=2 id=y fill=$((8191 + more))"
    is "a table of 64 MiB + $more bytes" "$bytes" $(((64 << 20) + more))
    if [ $more -eq 0 ]; then
        ok "... qemu opens the image" in_qemu
        start_qcow -- image.qcow2 || fail "the server starts"
        is "... the plugin serves it" "$(begins x y)" "1 2"
        ok "... the exports can be listed" py "$gen/nbd-list.py" "$uri"
        stop_qcow || fail "the server exits cleanly"
    else
        not_ok "... qemu refuses it" in_qemu
        refused "... the plugin refuses it" \
                'image\.qcow2.*snapshot table.*64 MiB' \
                -- image.qcow2
    fi
done

# Extra data: a 64-bit VM state size and the disk size of the snapshot, if
# long enough.  Version 2 has the same table.
for compat in 1.1 0.10; do
    qemu-img create -q -f qcow2 -o compat=$compat image.qcow2 1M
    io image.qcow2 'write -q -P 1 0 1M'
    qemu-img snapshot -c one image.qcow2
    vm=$(((5 << 32) + 77))
    table image.qcow2 "like=1 size=512000 vm=$vm extra=0" \
          "like=1 size=512000 vm=$vm extra=8" \
          "like=1 size=512000 vm=$vm extra=15" \
          "like=1 size=512000 vm=$vm" "like=1 size=1024 vm=$vm extra=24" \
          "like=1 size=2097152 vm=$vm extra=1024"
    start_qcow -- image.qcow2 || fail "the server starts"
    is "extra data, compat $compat: the disk sizes" \
       "$(for n in {1..6}; do nbdinfo --size "$(to $n)"; done | xargs)" \
       "1048576 1048576 1048576 512000 1024 2097152"
    py "$gen/nbd-list.py" "$uri" | cut -f 2 > list
    is "... the VM state sizes" \
       "$(grep -Eo "\b(77|$vm)\b" list | xargs)" "77 $vm $vm $vm $vm $vm"
    qemu-img snapshot -l image.qcow2 > qemu.list
    is "... qemu prints the same" \
       "$(awk 'NR > 2 { print $2, $3 }' qemu.list | xargs)" \
       "77 B 20 GiB 20 GiB 20 GiB 20 GiB 20 GiB"
    is "... same bytes" "$(begins {1..6})" "1 1 1 1 1 1"
    stop_qcow || fail "the server exits cleanly"
    table image.qcow2 like=1 'like=1 extra=1025'
    refused "1025 bytes of extra data: refused" \
            'image\.qcow2.*snapshot.*2.*1025' \
            -- image.qcow2
    not_ok "... refused by qemu, too" in_qemu
    table image.qcow2 like=1 like=1 like=1
    poke image.qcow2 $((at + 36)) ffffffff
    refused "4 GiB of extra data: refused" \
            'image\.qcow2.*snapshot.*4294967295' -- image.qcow2
done

# Location of the table, and end of the file.  512-byte clusters: a file may
# end within its last cluster, here within the padding of the last entry.
qemu-img create -q -f qcow2 -o cluster_size=512 good.qcow2 1M
io good.qcow2 'write -q -P 1 0 1M'
qemu-img snapshot -c one good.qcow2
table good.qcow2 'like=1 name=a times=40' 'like=1 name=bb fill=3000'
cp good.qcow2 image.qcow2
truncate -s $((at + bytes - 7)) image.qcow2
start_qcow -- image.qcow2 || fail "the server starts"
is "the file ends within the padding of the last entry: served" \
   "$(begins 1 41)" "1 1"
stop_qcow || fail "the server exits cleanly"
for size in $((at + bytes - 600)) $((at + 100)) $((at - 1024)); do
    cp good.qcow2 image.qcow2
    truncate -s "$size" image.qcow2
    refused "a file truncated to $size bytes, table at $at: refused" \
            'image\.qcow2.*snapshot table.*end of the file' -- image.qcow2
done
for offset in $((at + 8)) $((at + 256)); do
    cp good.qcow2 image.qcow2
    poke image.qcow2 64 "$(hex 16 "$offset")"
    refused "snapshots_offset $offset, unaligned: refused" \
            "image\.qcow2.*snapshots_offset.*" \
            -- image.qcow2
    not_ok "... refused by qemu, too" in_qemu
done
for offset in 0000000040000000 7ffffffffffffe00 8000000000000000 \
              fffffffffffffe00; do
    cp good.qcow2 image.qcow2
    poke image.qcow2 64 $offset
    refused "snapshots_offset 0x$offset, beyond the file: refused" \
            'image\.qcow2.*snapshot' -- image.qcow2
done
# Entries beyond the end of the file: by the length of the id, of the name and
# of the extra data, and by their number.
for spec in 12:ffff 14:ffff 36:00000400; do
    cp good.qcow2 image.qcow2
    table image.qcow2 'like=1 name=a times=3'
    poke image.qcow2 $((at + bytes / 3 * 2 + ${spec%:*})) "${spec#*:}"
    refused "an entry beyond the file, ${spec#*:} at ${spec%:*}: refused" \
            'image\.qcow2.*snapshot table.*end of the file' -- image.qcow2
done
cp good.qcow2 image.qcow2
poke image.qcow2 60 "$(hex 8 60)"
refused "60 entries in a table of 41: refused" \
        'image\.qcow2.*snapshot table.*60 .*end of the file' -- image.qcow2

# Invalid L1 tables: opening a snapshot that has one fails; the disk and the
# other snapshots are served.
cp good.qcow2 image.qcow2
l1=$(peek good.qcow2 40 8)
table image.qcow2 'like=1' 'like=1 name=large entries=4194305' \
      'like=1 name=endless entries=4294967295' \
      "like=1 name=crooked l1=$((l1 + 256))" 'like=1 name=far l1=0x40000000' \
      'like=1 name=farther l1=0xfffffffffffffe00' \
      "like=1 name=cut entries=$(((at + bytes + (4 << 20)) / 8))" \
      'like=1 name=big size=0x8000000000000000' \
      'like=1 name=biggest size=0xffffffffffffffff' 'like=1 name=last'
cp image.qcow2 bad.qcow2
bad=(large endless crooked far farther cut big biggest)
start_qcow -- image.qcow2 || fail "the server starts"
for n in "${bad[@]}"; do
    before=$(wc -l < "$log")
    not_ok "an invalid L1 table, $n: opening the snapshot fails" \
           nbdinfo --size "$(to "$n")"
    like "... the message" "$(tail -n +$((before + 1)) "$log")" \
         "image\.qcow2.*snapshot.*$n"
    is "... it is the only one" $(($(wc -l < "$log") - before)) 1
    is "... the others are served" "$(begins '' 1 last)" "1 1 1"
done
is "... the list has all of them" "$(py "$gen/nbd-list.py" "$uri" | wc -l)" 11
stop_qcow || fail "the server exits cleanly"
like "... the message has the number of entries" \
     "$(cat "$log")" "large.*4194305"
like "... the message has the unaligned offset" \
     "$(cat "$log")" "crooked.*$(hex 0 $((l1 + 256)))"
like "... the message has the offset beyond the file" \
     "$(cat "$log")" "far.*0x40000000|far.*1073741824"
for n in "${bad[@]}"; do
    refused "snapshot=$n: refused" "image\.qcow2.*snapshot.*$n" \
            -- image.qcow2 snapshot="$n"
done

# Damaged entries of a snapshot's L1 table: EIO for their clusters only.
qemu-img create -q -f qcow2 -o cluster_size=1024 image.qcow2 1M
io image.qcow2 'write -q -P 1 0 1M'
qemu-img snapshot -c one image.qcow2
io image.qcow2 'write -q -P 2 0 1M'
oracle image.qcow2 active.raw
cp image.qcow2 applied.qcow2
qemu-img snapshot -a 1 applied.qcow2
oracle applied.qcow2 one.raw
at=$(peek image.qcow2 64 8)
l1=$(peek image.qcow2 "$at" 8)
poke image.qcow2 $((l1 + 16)) 8000000000000a00
poke image.qcow2 $((l1 + 24)) 8000000040000000
is "bad L1 entries of a snapshot: the disk is unaffected" \
   "$(status_of image.qcow2 active.raw 131072)" "0 8 same"
params=(snapshot=one)
is "... EIO in the snapshot" "$(status_of image.qcow2 one.raw 131072)" \
   "0 2 same; 2 2 EIO; 4 4 same"

# An L1 table shorter than the disk: the rest is zeros, or comes from the
# backing file.
params=(allow=image-dir snapshot=1)
head -c 900000 < <(yes "a line of the backing file") > base.raw
for backing in '' base.raw; do
    rm -f image.qcow2
    qemu-img create -q -f qcow2 -o cluster_size=512 \
             ${backing:+-b $backing -F raw} image.qcow2 1M
    io image.qcow2 'write -q -P 1 16k 500k' 'write -q -P 2 1000k 24k'
    qemu-img snapshot -c one image.qcow2
    dense image.qcow2
    at=$(peek image.qcow2 64 8)
    for entries in 0 1 10 31 64; do
        poke image.qcow2 $((at + 8)) "$(hex 8 $entries)"
        cp image.qcow2 applied.qcow2
        qemu-img snapshot -a 1 applied.qcow2 || exit 1
        oracle applied.qcow2 oracle.raw
        qemu_map applied.qcow2 > wanted.map
        serves "$entries L1 entries instead of 32${backing:+, over $backing}" \
               image.qcow2 oracle.raw --cluster 512 --borders 50 --random 50
        our_map image.qcow2 > got.map
        same_text "... same map" got.map wanted.map
    done
done
params=()
cp good.qcow2 image.qcow2
table image.qcow2 'like=1 size=0x7ffffffffffffe00 entries=32'
start_qcow -- image.qcow2 || fail "the server starts"
is "8 EiB with an L1 table for 1 MiB: the size" "$(nbdinfo --size "$(to 1)")" \
   9223372036854775296
py - "$(to 1)" > got <<'END'
import sys, nbd
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
end = h.get_size()
for at in 0, 1 << 20, 1 << 62, end - 65536:
    print(set(h.pread(65536, at)), end=" ")
    h.block_status(65536, at, lambda m, o, e, err: print(e[1], end="; "),
                   nbd.CMD_FLAG_REQ_ONE)
END
is "... data in the first MiB, zeros beyond it" "$(cat got)" \
   "{1} 0; {0} 3; {0} 3; {0} 3; "
stop_qcow || fail "the server exits cleanly"

# L1 tables in use take 512 MiB at most.  Another table of 32 MiB is refused
# while they are in use, and loaded after they are freed.
cp good.qcow2 image.qcow2
truncate -s 4M image.qcow2
table image.qcow2 \
      "like=1 l1=$((8 << 20)) entries=4194304 step=$((32 << 20)) times=40"
truncate -s $((41 * (32 << 20))) image.qcow2
cat > many.py <<'END'
import sys, threading, time, nbd
uri = sys.argv[1]

def connect(n):
    h = nbd.NBD()
    try:
        h.connect_uri(uri.replace("?", "%d?" % n) if n else uri)
    except nbd.Error:
        return None
    assert h.pread(512, 0) == bytes(512) if n else bytes([1]) * 512
    return h

def word(h):
    return "fine" if h else "refused"

def fill(first):
    """Connect to as many snapshots as fit."""
    held = []
    while len(held) < 30:
        held.append(connect(first + len(held)))
        if not held[-1]:
            return held[:-1]
    return held

def patiently(n):
    """Connect, with retries: the server needs time to free other tables."""
    for _ in range(400):
        h = connect(n)
        if h:
            return h
        time.sleep(0.025)

held = fill(1)
print(len(held))
print("the same again:", word(connect(1)))
print("the image:", word(connect(0)))
print("another:", word(connect(40)))
held.pop().shutdown()
last = patiently(40)
print("another, after one has gone:", word(last))
print("one more:", word(connect(39)))
for h in held + [last]:
    h.shutdown()

# All at once, twice each.
got = {}
start = threading.Barrier(40)
def client(i):
    start.wait()
    got[i] = connect(1 + i % 20)
threads = [threading.Thread(target=client, args=(i,)) for i in range(40)]
for t in threads:
    t.start()
for t in threads:
    t.join()
fine = {1 + i % 20 for i in got if got[i]}
print("all at once:", "too many" if len(got) != 40 or len(fine) > 16 or
      not fine else "some")
for h in got.values():
    if h:
        h.shutdown()
# No memory is leaked: in the end, as many fit as in the beginning.
for _ in range(100):
    again = fill(10)
    if len(again) >= len(held) + 1:
        break
    for h in again:
        h.shutdown()
    time.sleep(0.1)
print(len(again))
END
start_qcow -- image.qcow2 || fail "the server starts"
py many.py "$uri" > many.out 2>&1
fit=$(head -1 many.out)
is "$fit tables of 32 MiB fill 512 MiB" \
   "$((fit == 15 || fit == 16))" 1
is "... which connections succeed then" "$(paste -sd ';' many.out)" \
   "$fit;the same again: fine;the image: fine;another: refused;another, after \
one has gone: fine;one more: refused;all at once: some;$fit"
like "... the message" "$(cat "$log")" \
     'image\.qcow2.*snapshot 39 .*33554432 bytes.*512 MiB'
if [ -z "$QCOW_VALGRIND$QCOW_PRELOAD" ]; then
    is "... takes less than 576 MiB of memory ($(peak) KiB)" \
       $(($(peak) < (512 + 64) * 1024)) 1
fi
is "the server still responds" "$(begins '')" 1
stop_qcow || fail "the server exits cleanly"

done_testing
