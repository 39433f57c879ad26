#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Writes data that compresses and in which every place differs from every
# other: numbered lines, each file with a mark of its own.
#
#     text-source.py SIZE FILE...

import sys

size = int(sys.argv[1])
for number, path in enumerate(sys.argv[2:]):
    with open(path, "wb") as f:
        block = b"".join(b"%c%06x\n" % (ord("A") + number % 26, i)
                         for i in range(-(-size // 8)))
        f.write(block[:size])
