#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# qemu behaves as tests/mutations.tbl says, for the same images.
# tests/unit/mutations.c, which also writes the images, checks the plugin's
# side.

source "$(dirname "$0")/functions.sh"

tool=$top/build/plain/tests/unit/mutations
[ -x "$tool" ] || { diag "$tool is missing: 'make unit' makes it"; exit 1; }

mkdir images
(cd "$top" && "$tool" "$tmp/images") > rows
is "the tool writes the images" $? 0
"$python" "$gen/mutations-qemu.py" images < rows > answers
is "qemu opens or refuses each image" $? 0

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
is "... one result per row" "$(grep -c '^\(not \)\?ok ' answers)" \
   "$(grep -c '^row ' rows)"
is "... for more than 150 rows" $(($(grep -c '^row ' rows) > 150)) 1

done_testing
