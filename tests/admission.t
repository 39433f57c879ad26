#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Which images are accepted, over images of all kinds and those with a damaged
# field of mutations.tbl: info=json tells exactly which are served with default
# parameters, its fields are qemu-img's, and what OpenStack's format_inspector
# calls unsafe is not served.
#
# That module is too strict where it does not know the format; such images are
# served, and are listed here with the reason: see generators/admission.py.

source "$(dirname "$0")/functions.sh"
source "$top/tests/kinds.sh"

tool=$top/build/plain/tests/unit/mutations
[ -x "$tool" ] || { diag "$tool is missing: 'make unit' makes it"; exit 1; }
module=$top/build/format_inspector.py
[ -e "$module" ] || module=-
_choose_nbdkit

# judge NAME: judge the images of the file 'list'.  Sets the array 'counts' to
# the numbers of images, and of those that are served and unsafe.
judge ()
{
    local kind
    ok "$1: judged" bash -c '"$python" "$gen/admission.py" "$@" < list > verdicts' \
       - "$nbdkit" "$plugin" "$tmp/sockets/judge" "$module"
    for kind in invalid served qemu unsafe; do
        verdicts $kind > found
        is "$1: ${names[$kind]}" "$(< found)" ""
    done
    mapfile -t counts < <(tail -1 verdicts | grep -Eo '[0-9]+')
}
declare -A names=(
    [invalid]="info=json prints JSON, or fails without output"
    [served]="what has no file to open and no encryption is served, nothing else is"
    [qemu]="the fields are qemu-img's"
    [unsafe]="nothing that format_inspector calls unsafe is served"
)

# verdicts KIND: print the lines of this kind.
verdicts ()
{
    # Known differences from qemu: it prints the name of a data file that the
    # image does not use, and signed sizes.
    grep "^$1 " verdicts |
        grep -Ev '^qemu .* (ext\.features\.type 0x44415441|snapshot\[0\]\.vm_state_size_64 0xf{16}):'
}

mkdir kinds
cd kinds || exit 1
make_kinds
for image in *.img; do
    echo "$image $(format_of "$image") $image"
done > list
judge "all kinds"
is "... the number of images" "${counts[0]}" "$(ls -- *.img | wc -l)"
if [ $module = - ]; then
    skip "format_inspector" \
         "$(cat "$top/build/format_inspector.missing" 2> /dev/null ||
            echo "'make check' unpacks it from python3-glance")"
else
    is "it is too strict with extended L2 entries, and here with nothing else" \
       "$(verdicts harmless)" 'harmless ext.img: has_unknown_features'
fi

cd "$tmp" || exit 1
mkdir images
(cd "$top" && "$tool" "$tmp/images") > rows
# With sanitizers, a part of them.
every=1
[ -z "${QCOW_PRELOAD:-}${QCOW_VALGRIND:-}" ] || every=8
awk -v every=$every '$1 == "row" && NR % every == 0 {
        image = "images/" $2 "/image " $3; sub(/^row [^ ]+ [^ ]+ [^ ]+ /, ""); print image " " $0
    }' rows > list
judge "damaged fields"
is "... all images are judged" "${counts[0]}" "$(wc -l < list)"
if [ $module != - ]; then
    is "... some are served" $((counts[1] > counts[0] / 4)) 1
    is "... some are unsafe" $((counts[2] > counts[0] / 8)) 1
    diag "format_inspector is too strict with $(verdicts harmless | wc -l) of them"
fi

done_testing
