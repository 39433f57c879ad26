#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Every nbdkit command in README and in the man page does what the text
# says, as it stands there.  (Those that only serve get a client.)

source "$(dirname "$0")/functions.sh"

# What the examples talk about: a disk with a partition and a snapshot, an
# overlay, and an image with a data file.
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
oracle disk.qcow2 today.raw
head -c 3M src1 > monday.wanted
qemu-img convert -f raw -O qcow2 src1 base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
io overlay.qcow2 'write -q -P 7 100k 30k'
qemu-img create -q -f qcow2 -o data_file=moved.raw data.qcow2 1M
io data.qcow2 'write -q -P 8 200k 30k'
mv moved.raw data.raw
cp "$plugin" nbdkit-qcow-plugin.so

# nbdkit with an installed plugin of the name qcow, on a private socket.
mkdir installed
cat > installed/nbdkit <<'END_OF_SCRIPT'
#!/bin/bash
args=()
for a; do
    [ "$a" != qcow ] || a=$plugin
    args+=("$a")
done
exec "$wrapped/nbdkit" -f "${args[@]}"
END_OF_SCRIPT
chmod +x installed/nbdkit
export wrapped=$tmp/wrapped
PATH=$tmp/installed:$PATH

# examples FILE: its commands, each in one line.
examples ()
{
    sed -e ':a' -e '/\\$/N; s/\\\n */ /; ta' "$1" |
        grep -E '^ +nbdkit ' | sed -E 's/^ +//; s/ +#.*//' | sort -u
}

# run_example COMMAND
run_example ()
{
    local command=$1 out
    rm -f disk.raw disk.vmdk monday.raw
    # shellcheck disable=SC2016
    case $command in
        *' --run '*) ;;
        *) command="${command/-U \/tmp\/sock/} -U - --run 'nbdinfo \"\$uri\"'" ;;
    esac
    if [[ $command = *compare*'"$uri" monday.raw'* ]]; then
        # The two disks differ, which is what one wants to know.
        cp monday.wanted monday.raw
        command="$command || [ \$? -eq 1 ]"
    fi
    out=$(timeout -k 5 "${QCOW_TIMEOUT:-120}" \
          bash -c "unset LD_PRELOAD; $command" 2>&1 < /dev/null) ||
        { fail "$1" "$command" "$out"; return; }
    pass "$1"
    [ ! -e disk.raw ] || same_bytes "... and the copy" disk.raw today.raw
    if [ -e disk.vmdk ]; then
        ok "... and the conversion" \
           qemu-img compare -f vmdk -F raw disk.vmdk today.raw
    fi
    if [ -e monday.raw ]; then
        same_bytes "... and the snapshot" monday.raw monday.wanted
    fi
}

for text in README nbdkit-qcow-plugin.pod; do
    examples "$top/$text" > list
    is "$text has examples" "$(($(wc -l < list) >= 5))" 1
    while read -r command; do
        case $command in
            # The synopsis.
            *'[file=]'*) continue ;;
        esac
        run_example "$command"
    done < list
done

done_testing
