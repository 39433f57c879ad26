#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/on-release.sh RELEASE [COMMAND [ARG...]]: run a command in a fresh
# clone of what is committed, on another Debian release (trixie, sid, ...).
# Without a command: 'make try' as a user with sudo, then 'make check' as
# root.
#
# The release lives in a chroot that debootstrap makes once and that is
# kept, with the packages that were installed in it.  Each command runs in
# namespaces of its own: its mounts and its processes end with it.
#
# Needs root, git and debootstrap.  From the environment:
#   CHROOTS   where the chroots are (default: /var/tmp/nbdkit-qcow-plugin)
#   MIRROR    where Debian's packages come from
#   ARCH      another architecture that this machine runs, such as i386
#
# Exit status: that of the command, or 69 if the release's own packages
# can't be installed today, whatever the command did.

set -e -u

unavailable=69                  # EX_UNAVAILABLE

if [ $# -eq 0 ]; then
    sed -n 's/^# \{0,1\}//; 4,/^$/p' "$0" >&2
    exit 2
fi
release=$1
shift
top=$(cd "$(dirname "$0")/.." && pwd)
chroots=${CHROOTS:-/var/tmp/nbdkit-qcow-plugin}
mirror=${MIRROR:-http://deb.debian.org/debian}
root=$chroots/$release${ARCH:+-$ARCH}
export PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

give_up ()
{
    echo "$release: $*"
    exit $unavailable
}

# enter COMMAND [ARG...]: run it in the release.  (In a mere chroot the kernel
# refuses user namespaces.)
enter ()
{
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive ${CI:+CI="$CI"} \
        unshare --mount --propagation private --pid --fork --kill-child \
        sh -e -c '
            mount --rbind "$1" "$1"
            cd "$1"
            shift
            mount -t proc proc proc
            mount -t sysfs -o ro sysfs sys
            mount --rbind /dev dev
            mount -t tmpfs tmpfs run
            pivot_root . mnt
            umount -l mnt
            cd /src
            exec "$@"
        ' sh "$root" "$@"
}

# --- The chroot ---

if [ ! -d "$root" ]; then
    mkdir -p "$chroots"
    rm -rf "$root.new"
    echo "$release: making $root"
    debootstrap --variant=minbase ${ARCH:+--arch="$ARCH"} "$release" \
                "$root.new" "$mirror" > "$root.log" 2>&1 ||
        give_up "debootstrap failed: $(tail -n 1 "$root.log")"
    rm "$root.log"
    mv "$root.new" "$root"
fi

mkdir -p "$root/src"
cp --remove-destination -L /etc/resolv.conf "$root/etc/resolv.conf"
echo "127.0.0.1 localhost $(hostname)" > "$root/etc/hosts"

# This machine's way to its mirror: proxies, and what to think of clocks.
apt-config dump | grep -E '^Acquire::(https?|Check-Date|Check-Valid-Until)\b' \
    > "$root/etc/apt/apt.conf.d/90-this-machine" || true

# sid moves every day; a kept chroot follows.
{ enter apt-get update -q &&
  enter apt-get dist-upgrade -y -q &&
  enter apt-get install -y -q --no-install-recommends make git sudo
} > "$root.log" 2>&1 ||
    give_up "apt failed: $(grep '^E:' "$root.log" | head -n 1)"
rm "$root.log"

# --- The clone, and the command in it ---

rm -rf "$root/src"
git clone -q --no-hardlinks "file://$top" "$root/src"
enter sh -c 'id tester > /dev/null 2>&1 || useradd -m tester
          echo "tester ALL=(ALL) NOPASSWD: ALL" > /etc/sudoers.d/tester
          chown -R tester: /src'

status=0
if [ $# -gt 0 ]; then
    enter "$@" || status=$?
else
    enter su tester -c "make try WERROR=yes" &&
        enter make check WERROR=yes || status=$?
fi

# Is it the release that is broken today, and not us?
if [ $status -ne 0 ] &&
   ! enter tests/install-packages.sh build try test > "$root.log" 2>&1; then
    give_up "packages can't be installed: $(grep '^E:' "$root.log" | head -n 1)"
fi
exit $status
