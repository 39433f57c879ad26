#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/install-packages.sh SET...: install the missing Debian packages of
# these sets.  Runs apt only if a package is missing, with sudo unless root.
# Sets: build, try, test, ci, analyze, bench, valgrind.

set -e -u

debian=$(. /etc/os-release && echo "${VERSION_ID:-}")
packages=
wanted=                         # installed if that is possible
for set in "$@"; do
    case $set in
        build) packages+=" gcc libc6-dev make pkg-config perl
                           nbdkit nbdkit-plugin-dev
                           libdeflate-dev zlib1g-dev libzstd-dev
                           libcurl4-openssl-dev libgcrypt20-dev libnbd-dev" ;;
        try)   packages+=" nbdkit qemu-utils libnbd-bin e2fsprogs" ;;
        test)  packages+=" nbdkit qemu-utils libnbd-bin python3 python3-libnbd
                           libcmocka-dev perl xxd strace util-linux
                           util-linux-extra jq
                           e2fsprogs fdisk procps file nginx-light openssl
                           ca-certificates xz-utils"
               wanted="awscli"
               # Debian 12 has qemu-storage-daemon here, later ones in qemu-utils.
               [ "$debian" != 12 ] || packages+=" qemu-system-common" ;;
        # (openssh-server also starts a server, which developers may not want.)
        ci)    packages+=" clang clang-format llvm libclang-rt-dev dpkg-dev
                           debootstrap git openssh-server" ;;
        analyze) packages+=" clang-tidy cppcheck" ;;
        valgrind) packages+=" valgrind" ;;
        bench) packages+=" nbdkit qemu-utils qemu-block-extra libnbd-bin
                           python3 fio e2fsprogs libdeflate-dev
                           gnuplot-nox" ;;
        *) echo "$0: no such set: $set" >&2; exit 1 ;;
    esac
done

is_missing ()
{
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" != installed ]
}

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
install=(apt-get install -y -q --no-install-recommends)

missing=()
for p in $packages; do
    ! is_missing "$p" || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$sudo" ] && ! command -v sudo > /dev/null; then
        echo "These packages are missing, and without sudo this script can't" \
             "install them: ${missing[*]}" >&2
        exit 1
    fi
    echo "Installing: ${missing[*]}"
    # A new machine has no package lists, or old ones.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q
    $sudo env DEBIAN_FRONTEND=noninteractive "${install[@]}" "${missing[@]}"
fi

# Tests omit a comparison if one of these is missing.
for p in $wanted; do
    if is_missing "$p" && "${install[@]}" --simulate "$p" > /dev/null 2>&1 &&
            { [ ! "$sudo" ] || command -v sudo > /dev/null; }; then
        echo "Installing: $p"
        $sudo env DEBIAN_FRONTEND=noninteractive "${install[@]}" "$p" ||
            echo "$p can't be installed" >&2
    fi
done

case " $* " in
    *' test '*) "$(dirname "$0")/format-inspector.sh" ;;
esac
