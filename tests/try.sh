#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# make try: copy an image through the plugin with nbdcopy's progress bar,
# and compare the copy with the image as qemu-img reads it.
#
#   FILE=disk.qcow2   the image (default: a temporary sample, an ext4 file
#                     system in a compressed image)
#   TO=disk.raw       the copy (default: a temporary file)

set -e -u
export PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")/.."
tmp=$(mktemp -d "${TMPDIR:-/tmp}/qcow-try.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# quoted WORD: print WORD, quoted for a shell if necessary.
quoted ()
{
    if [[ $1 =~ ^[a-zA-Z0-9_./:=+-]+$ ]]; then
        printf '%s' "$1"
    else
        printf %s "'${1//\'/\'\\\'\'}'"
    fi
}

# run WORD...: print a command and run it as printed.
run ()
{
    local word command=
    for word; do
        command+=" $(quoted "$word")"
    done
    printf '\n$%s\n' "$command"
    eval "$command"
}

file=${FILE:-}
to=${TO:-$tmp/copy.raw}

if [ -z "$file" ]; then
    file=$tmp/sample.qcow2
    echo "Making a sample image: 1 GiB, ext4, some files of /usr."
    truncate -s 1G "$tmp/sample.raw"
    mkdir "$tmp/files"
    cp -a /usr/share/common-licenses /usr/share/doc/[l-p]* /usr/include \
       "$tmp/files/" 2>/dev/null || true
    mkfs.ext4 -q -F -d "$tmp/files" "$tmp/sample.raw"
    qemu-img convert -c -f raw -O qcow2 "$tmp/sample.raw" "$file"
    rm -rf "$tmp/sample.raw" "$tmp/files"
fi

run qemu-img info "$file"
run nbdkit -U - ./nbdkit-qcow-plugin.so "file=$file" \
    --run "nbdcopy -p \"\$uri\" $(quoted "$to")"

echo
echo "The copy's allocated and apparent size:"
run ls -lhs "$to"

echo
echo "Comparing it with the image as qemu-img reads it:"
run qemu-img compare -p -f raw -F qcow2 "$to" "$file"
