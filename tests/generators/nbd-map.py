#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Prints the map of a server in the format of 'nbdinfo --map':
#
#     nbd-map.py [--short] URI
#     nbd-map.py --qemu IMAGE MAP [--raw RAW] QEMU-NBD-OPTION...
#
# With --short each line has only the three numbers.  The second form starts
# qemu-nbd for IMAGE and writes the map to the file MAP (- for stdout), and
# with --raw the image's content to RAW.  "-f auto" selects qcow or qcow2 by
# the version in the header.

import os
import sys

import nbd
from extents import runs_of

NAMES = {0: "data", 1: "hole", 2: "zero", 3: "hole,zero"}


def copy(h, size, runs, path):
    """Copy what is not zeros in the map to a sparse file."""
    with open(path, "wb", buffering=0) as f:
        f.truncate(size)
        for start, length, flags in runs:
            end = min(start + length, size)
            for at in [] if flags & 2 else range(start, end, 8 << 20):
                data = h.pread(min(8 << 20, end - at), at)
                if data.count(0) != len(data):
                    f.seek(at)
                    f.write(data)


def lines_of(runs):
    return "".join("%10d  %10d %4d  %s\n" % (start, length, flags,
                                             NAMES.get(flags, flags))
                   for start, length, flags in runs)


args = sys.argv[1:]
short = args[0] == "--short"
if short:
    args.pop(0)
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
if args[0] != "--qemu":
    h.connect_uri(args[0])
    if not h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION):
        sys.exit("the server has no map")
    runs = runs_of(h, h.get_size())
    if short:
        for run in runs:
            print(*run)
    else:
        sys.stdout.write(lines_of(runs))
    h.shutdown()
    sys.exit()

image, map_path, options = args[1], args[2], args[3:]
raw = None
if options[0] == "--raw":
    raw = options[1]
    del options[:2]
if options[:2] == ["-f", "auto"]:
    with open(image, "rb") as f:
        options[1] = "qcow" if f.read(8)[4:] == b"\0\0\0\1" else "qcow2"
for path in (map_path, raw):
    if path and path != "-" and os.path.lexists(path):
        os.unlink(path)
h.connect_systemd_socket_activation(["qemu-nbd", "-r"] + options)
size = h.get_size()
runs = runs_of(h, size)
if raw:
    copy(h, size, runs, raw)
if map_path == "-":
    sys.stdout.write(lines_of(runs))
else:
    with open(map_path, "w") as f:
        f.write(lines_of(runs))
h.shutdown()
