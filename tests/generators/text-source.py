#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Writes data that is compressible and does not repeat: numbered lines, with a
# different letter for each file.
#
#     text-source.py SIZE FILE...

import sys

size = int(sys.argv[1])
lines = -(-size // 8)
block = bytearray(b"\n") * (8 * lines)
# Column by column, which is a hundred times as fast as line by line.
digits = max(6, len("%x" % max(0, lines - 1)))
if digits > 6:
    sys.exit("no more than 128 MiB")
for column in range(6):
    each = 16 ** (5 - column)
    pattern = b"".join(b"%x" % digit * each for digit in range(16))
    block[1 + column::8] = (pattern * -(-lines // len(pattern)))[:lines]
for number, path in enumerate(sys.argv[2:]):
    block[0::8] = b"%c" % (ord("A") + number % 26) * lines
    with open(path, "wb") as f:
        f.write(memoryview(block)[:size])
