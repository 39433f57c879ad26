#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Tests the deadline of block status: requests the extents of the first LENGTH
# bytes of a disk whose map takes longer to read.
#
#     nbd-patience.py URI LENGTH SECONDS
#
# Prints the reply without the first extent's length; whether that length is
# more than 0 and less than LENGTH; and whether the reply took less than
# SECONDS.

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
