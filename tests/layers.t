#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The folders of qcow/ are layers: a file includes headers of its own folder
# and of the folders below it only, and there are no include cycles.

source "$(dirname "$0")/functions.sh"
cd "$top" || exit 1

# From the top down.  The public interface, qcow.h, is above all folders;
# disk/ defines a part of it.
layers="disk image source http nbd url codec format base"
declare -A may_include=(
    [qcow.c]="qcow.h $layers"
    [qcow.h]="base"
    [directory.c]="directory.h $layers"
    [directory.h]="qcow.h"
    [disk]="qcow.h"
)
below=$layers
for layer in $layers; do
    may_include[$layer]+=" $below"
    below=${below#* }
done
# The transports are beside each other.
may_include[http]=${may_include[http]/ nbd / }

folders=$(find qcow -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
is "each folder of qcow/ is a layer" "$folders" "$(printf '%s\n' $layers | sort)"
is "only the public interface is directly in qcow/" \
   "$(find qcow -maxdepth 1 -type f | sort | paste -sd ' ')" \
   'qcow/directory.c qcow/directory.h qcow/qcow.c qcow/qcow.h'

# includes: print "FILE HEADER" lines, relative to qcow/.  System headers use
# <>.
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
is "no file includes a layer above it" "$unwanted" ""
is "the plugin includes only the public interface of qcow/" \
   "$(grep -h '^#include "' qcow-plugin.c plugin-*.[ch] |
      grep -v '"plugin-config.h"' | sort -u)" \
   $'#include "qcow/directory.h"\n#include "qcow/qcow.h"'

is "qcow/ includes no header of nbdkit" "$(grep -rn '#include <nbdkit' qcow)" ""

# A .c file and its header count as one, except qcow.h, which declares
# functions of several files.  tsort prints the members of cycles.
circles=$(includes | sed -E '/ qcow\.h$/d; s/\.[ch]( |$)/\1/g' | awk '$1 != $2' |
          tsort 2>&1 > /dev/null | sed 's/^tsort: //')
is "no include cycles" "$circles" ""

# A longer file has two purposes, and a longer function is more than a screen.
# (Tables are no functions.)
c_files=$(find qcow *.[ch] -name '*.[ch]')
is "no file has more than 650 lines" \
   "$(wc -l $c_files | awk '$1 > 650 && $2 != "total" { print $2, $1 }')" ""
is "no function has more than 60 lines" \
   "$(awk '/^{$/ { begin = FNR }
           /^}$/ && FNR - begin > 60 { print FILENAME ":" begin, FNR - begin }' \
          $c_files)" ""

done_testing
