#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Prints the map that a server should report for a qcow2 image, in the format
# of 'nbdinfo --map':
#
#     expected-map.py IMAGE
#
# The clusters come from 'qemu-img map'.  Clusters that are stored
# uncompressed are split into data and holes of the image file by SEEK_HOLE.
# (qemu-nbd does so only for some of them.)

import json
import os
import subprocess
import sys

path = sys.argv[1]
out = subprocess.run(["qemu-img", "map", "-U", "--output=json",
                      "-f", "qcow2", path],
                     check=True, stdout=subprocess.PIPE).stdout
fd = os.open(path, os.O_RDONLY)
names = {0: "data", 2: "zero", 3: "hole,zero"}
runs = []


def add(start, length, flags):
    if runs and runs[-1][2] == flags:
        runs[-1][1] += length
    else:
        runs.append([start, length, flags])


def seek(offset, whence, end):
    try:
        return min(os.lseek(fd, offset, whence), end)
    except OSError:             # ENXIO: a hole up to the end
        return end


for e in json.loads(out):
    start, length = e["start"], e["length"]
    if e["zero"]:
        # Only a cluster with data can be "zero" without being a hole: then
        # qemu found a hole in the file.
        add(start, length, 2 if e["data"] else 3)
    elif "offset" not in e:
        add(start, length, 0)
    else:
        at, end = e["offset"], e["offset"] + length
        shift = start - at
        while at < end:
            data = seek(at, os.SEEK_DATA, end)
            if data > at:
                add(at + shift, data - at, 2)
            at = data
            if at < end:
                hole = seek(at, os.SEEK_HOLE, end)
                add(at + shift, hole - at, 0)
                at = hole
for start, length, flags in runs:
    print("%10d  %10d %4d  %s" % (start, length, flags, names[flags]))
