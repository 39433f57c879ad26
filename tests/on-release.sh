#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/on-release.sh RELEASE [COMMAND [ARG...]]: run a command in a new clone
# of the last commit, on another Debian release (trixie, sid, ...).  Without a
# command: 'make try' as a user with sudo, then 'make check' as root.
#
# debootstrap installs the release in a chroot.  The chroot is kept for later
# runs, with the packages installed in it.  Each command runs in its own
# namespaces, so that its mounts and processes end with it.
#
# Needs root, git and debootstrap.  Environment:
#   CHROOTS   directory of the chroots (default: /var/tmp/nbdkit-qcow-plugin)
#   MIRROR    URL of the Debian mirror
#   ARCH      another architecture that this machine can run, like i386
#
# Exit status: that of the command, or 69 if the release's packages can't
# be installed at present.

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

# enter COMMAND [ARG...]: run a command in the release.  (pivot_root, because
# in a chroot the kernel refuses user namespaces.)
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

# Use this machine's apt settings for proxies and for clock differences.
apt-config dump | grep -E '^Acquire::(https?|Check-Date|Check-Valid-Until)\b' \
    > "$root/etc/apt/apt.conf.d/90-this-machine" || true

# Upgrade a kept chroot: sid changes every day.
{ enter apt-get update -q &&
  enter apt-get dist-upgrade -y -q &&
  enter apt-get install -y -q --no-install-recommends make git sudo
} > "$root.log" 2>&1 ||
    give_up "apt failed: $(grep '^E:' "$root.log" | head -n 1)"
rm "$root.log"

# --- The clone and the command ---

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

# Report 69 if the release is broken, not the project.
if [ $status -ne 0 ] &&
   ! enter tests/install-packages.sh build try test > "$root.log" 2>&1; then
    give_up "packages can't be installed: $(grep '^E:' "$root.log" | head -n 1)"
fi
exit $status
