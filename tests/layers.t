#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The folders of qcow/ are layers: a file includes headers of its own folder
# and of the folders below it, and no two files include each other, not even
# through others.

source "$(dirname "$0")/functions.sh"
cd "$top" || exit 1

# From the top down.  The public interface, qcow.h, is declared above all
# folders; disk/ defines a part of it.
layers="disk image source http codec format base"
declare -A may_include=(
    [qcow.c]="qcow.h $layers"
    [qcow.h]="base"
    [disk]="qcow.h"
)
below=$layers
for layer in $layers; do
    may_include[$layer]+=" $below"
    below=${below#* }
done

folders=$(find qcow -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
is "each folder of qcow/ is a layer" "$folders" "$(printf '%s\n' $layers | sort)"
is "each file of qcow/ is in one, but for the public interface" \
   "$(find qcow -maxdepth 1 -type f | sort)" $'qcow/qcow.c\nqcow/qcow.h'

# FILE HEADER, with paths below qcow/.  System headers are in <>.
includes ()
{
    grep -r '^ *# *include *"' qcow --include='*.[ch]' |
        sed -E 's|^qcow/([^:]*):.*"([^"]*)".*|\1 \2|'
}

unwanted=
while read -r file header; do
    allowed=" ${may_include[${file%%/*}]} "
    [[ $allowed == *" ${header%%/*} "* ]] || unwanted+="$file includes $header"$'\n'
done < <(includes)
is "no file includes what is above it" "$unwanted" ""
is "the plugin includes nothing of qcow/ but its public interface" \
   "$(grep -h '^#include "' qcow-plugin.c plugin-config.[ch] |
      grep -v '"plugin-config.h"' | sort -u)" '#include "qcow/qcow.h"'

# A .c file and its header are one, but qcow.h declares functions of several
# files.  tsort names the members of circles.
circles=$(includes | sed -E '/ qcow\.h$/d; s/\.[ch]( |$)/\1/g' | awk '$1 != $2' |
          tsort 2>&1 > /dev/null | sed 's/^tsort: //')
is "no circle of files" "$circles" ""

done_testing
