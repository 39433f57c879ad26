#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# What tests/mutations.tbl says of qemu is true: it is given the same images.
# That we do what the table says is the business of tests/unit/mutations.c,
# which also writes the images.

source "$(dirname "$0")/functions.sh"

tool=$top/build/plain/tests/unit/mutations
[ -x "$tool" ] || { diag "$tool is missing: 'make unit' makes it"; exit 1; }

mkdir images
(cd "$top" && "$tool" "$tmp/images") > rows
is "the images are written" $? 0
"$python" "$gen/mutations-qemu.py" images < rows > answers
is "qemu has answered" $? 0

name=
details=
tell ()
{
    case $name in
        'ok '*) pass "${name#ok }" ;;
        'not ok '*) fail "${name#not ok }" "$details" ;;
    esac
    details=
}
while IFS= read -r line; do
    case $line in
        $'\t'*) details+=${line#?}$'\n' ;;
        *) tell; name=$line ;;
    esac
done < answers
tell
is "... of each of them" "$(grep -c '^\(not \)\?ok ' answers)" \
   "$(grep -c '^row ' rows)"
is "... which are many" $(($(grep -c '^row ' rows) > 150)) 1

done_testing
