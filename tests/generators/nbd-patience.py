#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# What is told of the beginning of a disk of which not all can be known soon.
#
#     nbd-patience.py URI LENGTH SECONDS
#
# Prints the extents of one request for so many bytes, but the length of the
# first; whether that is some, but not all of them; and whether it took less
# than so many seconds.

import sys
import time

import nbd

uri, length, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_uri(uri)
extents = []
began = time.monotonic()
h.block_status(length, 0, lambda c, o, e, err: extents.extend(e))
print(extents[1:], 0 < extents[0] < length,
      time.monotonic() - began < seconds)
h.shutdown()
