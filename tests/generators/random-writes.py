#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Prints a random sequence of qemu-io commands for a qcow2 image:
#
#     random-writes.py SEED SIZE CLUSTER COUNT
#
# The commands are writes, compressed writes, zero writes with and without
# unmapping, and discards, of whole clusters and of parts.  The data comes
# from the files src0 to src3 (text-source.py), which do not repeat.
# Compressed writes go only to clusters that are not allocated: qemu-io
# refuses others.
#
# An empty line means: close and reopen the image.  Between two of them the
# compressed writes come first, because qemu 7.2 damages an image when
# compressed clusters are freed and others are written later.

import random
import sys

SESSIONS = 8

seed, size, cluster, count = map(int, sys.argv[1:5])
rng = random.Random(seed)
clusters = size // cluster
touched = set()


def covered(offset, length):
    return range(offset // cluster, -(-(offset + length) // cluster))


def odd_range():
    unit = 512
    most = min(size, 5 * cluster)
    length = rng.randrange(1, most // unit + 1) * unit
    if rng.random() < 0.3:
        length = min(length, cluster // 2 or unit)
        length = max(unit, length // unit * unit)
    offset = rng.randrange(0, (size - length) // unit + 1) * unit
    return offset, length


def whole_range():
    n = rng.randrange(1, min(6, clusters) + 1)
    first = rng.randrange(0, clusters - n + 1)
    return first * cluster, n * cluster


def source():
    return "src%d" % rng.randrange(4)


def compressed():
    free = [c for c in range(clusters) if c not in touched]
    if not free:
        return
    c = rng.choice(free)
    n = 1
    while n < 4 and c + n < clusters and c + n not in touched:
        n += 1
    print("write -q -c -s %s %d %d" % (source(), c * cluster, n * cluster))
    touched.update(range(c, c + n))


def other():
    what = rng.choice(("write", "whole", "zero", "zero", "unmap",
                       "discard", "discard"))
    if what == "write":
        offset, length = odd_range()
        print("write -q -s %s %d %d" % (source(), offset, length))
        touched.update(covered(offset, length))
    elif what == "whole":
        offset, length = whole_range()
        print("write -q -s %s %d %d" % (source(), offset, length))
        touched.update(covered(offset, length))
    elif what in ("zero", "unmap"):
        offset, length = odd_range() if rng.random() < 0.3 else whole_range()
        flags = "-z -u" if what == "unmap" else "-z"
        print("write -q %s %d %d" % (flags, offset, length))
        touched.update(covered(offset, length))
    else:
        offset, length = whole_range()
        print("discard -q %d %d" % (offset, length))
        touched.difference_update(covered(offset, length))


for session in range(SESSIONS):
    for _ in range(count // SESSIONS * 2 // 9):
        compressed()
    for _ in range(count // SESSIONS * 7 // 9):
        other()
    print()
