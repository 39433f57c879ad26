#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads from an NBD server and prints the result of each read in one line:
# "same" (as in RAW), "different", or the errno.
#
#     nbd-reads.py [--parallel] [--times] URI RAW OFFSET:LENGTH...
#
# --parallel issues all reads at once instead of in turn.  --times appends the
# duration in milliseconds: "same@12".

import argparse
import errno
import os
import time

import nbd

parser = argparse.ArgumentParser()
parser.add_argument("--parallel", action="store_true")
parser.add_argument("--times", action="store_true")
parser.add_argument("uri")
parser.add_argument("raw")
parser.add_argument("reads", nargs="+")
args = parser.parse_args()
raw = os.open(args.raw, os.O_RDONLY)
h = nbd.NBD()
h.connect_uri(args.uri)


class Read:
    def __init__(self, text):
        self.offset, self.length = map(int, text.split(":"))
        self.buf = bytearray(self.length)
        self.result = None
        self.began = time.monotonic()
        h.aio_pread(self.buf, self.offset, completion=self.completed)

    def completed(self, error):
        wanted = os.pread(raw, self.length, self.offset)
        if error.value:
            self.result = errno.errorcode.get(error.value, str(error.value))
        elif self.buf == wanted:
            self.result = "same"
        else:
            self.result = "different"
        if args.times:
            self.result += "@%d" % (1000 * (time.monotonic() - self.began))
        return 1

    def outcome(self):
        while self.result is None:
            h.poll(-1)
        return self.result


if args.parallel:
    print(*[read.outcome() for read in [Read(text) for text in args.reads]])
else:
    print(*[Read(text).outcome() for text in args.reads])
h.shutdown()
