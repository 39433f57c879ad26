#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/format-inspector.sh: put OpenStack's module format_inspector into
# build/format_inspector.py, from Debian's package python3-glance, for
# tests/admission.t.  The package is not installed, because it depends on a
# hundred others, and the module on one.  If there is none, the reason is in
# build/format_inspector.missing.

set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p build
out=build/format_inspector
[ ! -e $out.py ] || exit 0
! grep -q 'has no' $out.missing 2> /dev/null || exit 0
rm -f $out.missing

# apt-get download needs a directory in which its own user can write.
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
package=$dir/python3-glance.deb
module=usr/lib/python3/dist-packages/glance/common/format_inspector.py

if ! (cd "$dir" && apt-get download -q python3-glance &&
      mv python3-glance_*.deb "$package") > "$dir/log" 2>&1; then
    echo "python3-glance can't be downloaded: $(tail -1 "$dir/log")" > $out.missing
elif dpkg-deb --fsys-tarfile "$package" |
        tar -xO "./$module" > "$dir/module.py" 2> /dev/null; then
    mv "$dir/module.py" $out.py
else
    echo "python3-glance $(dpkg-deb -f "$package" Version) has no" \
         "format_inspector" > $out.missing
fi
