#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Build and install the project as a packager does, with Debian's hardening,
# link-time optimization and -Werror, in two different directories; both
# results must be identical.

set -e -u
cd "$(dirname "$0")/.."
top=$PWD
tmp=$(mktemp -d "${TMPDIR:-/tmp}/qcow-package.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

export DEB_BUILD_MAINT_OPTIONS='hardening=+all optimize=+lto reproducible=+all'
export SOURCE_DATE_EPOCH=1700000000

for copy in one another-directory; do
    mkdir "$tmp/$copy"
    cp -r Makefile ./*.[ch] ./*.pod qcow "$tmp/$copy"
    cd "$tmp/$copy"
    eval "$(dpkg-buildflags --export=sh)"
    make -s -j2 WERROR=yes
    make -s install DESTDIR="$tmp/$copy.installed" prefix=/usr
    cd "$top"
done

diff -r "$tmp/one.installed" "$tmp/another-directory.installed"
cd "$tmp/one.installed"
find . -type f | sort
