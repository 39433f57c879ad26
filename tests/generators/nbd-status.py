#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Prints which parts of an NBD export can be read correctly:
#
#     nbd-status.py [--reconnect] URI RAW STEP
#
# Reads STEP bytes at a time and prints one line for each run of equal
# outcomes: first step, number of steps, and "same" (as in RAW), "zero"
# (all zeros where RAW has other data), "different", or the errno.
# With --reconnect it treats a closed connection as EIO and connects again:
# qemu-nbd 7.2 disconnects after a read error.

import errno
import os
import sys

import nbd

args = sys.argv[1:]
reconnect = args[0] == "--reconnect"
if reconnect:
    args.pop(0)
uri, path, step = args[0], args[1], int(args[2])
raw = os.open(path, os.O_RDONLY)
h = nbd.NBD()
h.connect_uri(uri)


def outcome(offset, length):
    global h
    wanted = os.pread(raw, length, offset)
    try:
        got = h.pread(length, offset)
    except nbd.Error as e:
        if reconnect and e.errnum == errno.ENOTCONN:
            h = nbd.NBD()
            h.connect_uri(uri)
            return "EIO"
        return errno.errorcode.get(e.errnum, str(e.errnum))
    if got == wanted:
        return "same"
    if not any(got):
        return "zero"
    return "different"


size = h.get_size()
runs = []
for number, offset in enumerate(range(0, size, step)):
    what = outcome(offset, min(step, size - offset))
    if runs and runs[-1][2] == what:
        runs[-1][1] += 1
    else:
        runs.append([number, 1, what])
for first, count, what in runs:
    print(first, count, what)
h.shutdown()
