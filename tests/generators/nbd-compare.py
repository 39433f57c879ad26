#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads an NBD server in awkward requests and compares each of them with
# a raw file, byte by byte:
#
#     nbd-compare.py URI RAW [--cluster N] [--random N] [--seed N]
#                            [--max-length N] [--connections N]
#                            [--in-flight N] [--borders N]
#
# First the edges (first byte, last byte, all of it in 32 MiB requests),
# then every border of two clusters of --cluster bytes, at most --borders
# of them, crossed in several ways, then --random requests of odd offset
# and length.  With --connections each connection has its own thread and
# does all of that in an order of its own, --in-flight at a time.
#
# The export must be exactly as long as the file.  Ends with status 1 and
# the request that differs, or how to repeat it.

import argparse
import os
import random
import sys
import threading

import nbd

parser = argparse.ArgumentParser()
parser.add_argument("uri")
parser.add_argument("raw")
parser.add_argument("--cluster", type=int, default=0)
parser.add_argument("--borders", type=int, default=256)
parser.add_argument("--random", type=int, default=200)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--max-length", type=int, default=300_000)
parser.add_argument("--connections", type=int, default=1)
parser.add_argument("--in-flight", type=int, default=8)
args = parser.parse_args()

size = os.path.getsize(args.raw)
raw = os.open(args.raw, os.O_RDONLY)
problems = []
how = " ".join(["repeat with: nbd-compare.py"] + sys.argv[1:])


def requests(rng):
    """The (offset, length) pairs that one connection asks for."""
    out = []
    if size == 0:
        return out
    out.append((0, 1))
    out.append((size - 1, 1))
    largest = 32 << 20
    if size <= 256 << 20:
        for at in range(0, size, largest):
            out.append((at, min(largest, size - at)))
    if args.cluster:
        borders = list(range(args.cluster, size, args.cluster))
        if len(borders) > args.borders:
            borders = rng.sample(borders, args.borders)
        half = args.cluster // 2
        for b in borders:
            for before, after in ((1, 1), (args.cluster, args.cluster),
                                  (half, 3), (3, half),
                                  (half + 1, args.cluster + 7)):
                low, high = max(0, b - before), min(size, b + after)
                out.append((low, high - low))
    for _ in range(args.random):
        offset = rng.randrange(size)
        length = rng.choice((1, 511, 512, 513, 4096, args.max_length))
        length = rng.randrange(1, length + 1)
        out.append((offset, min(length, size - offset)))
    return out


def check(got, offset, length, who):
    wanted = os.pread(raw, length, offset)
    if got == wanted:
        return
    n = next((i for i in range(min(len(got), len(wanted)))
              if got[i] != wanted[i]), min(len(got), len(wanted)))
    problems.append(
        "connection %d: %d bytes at %d: byte %d is %s instead of %s"
        % (who, length, offset, offset + n,
           got[n:n + 8].hex() or "missing", wanted[n:n + 8].hex()))


def client(who):
    h = nbd.NBD()
    h.connect_uri(args.uri)
    if h.get_size() != size:
        problems.append("the size is %d instead of %d" % (h.get_size(), size))
        return
    rng = random.Random(args.seed * 1000 + who)
    todo = requests(rng)
    if who > 0:
        rng.shuffle(todo)
    flying = []
    asked = 0
    while (asked < len(todo) or flying) and not problems:
        while asked < len(todo) and len(flying) < args.in_flight:
            offset, length = todo[asked]
            buf = nbd.Buffer(length)
            flying.append((h.aio_pread(buf, offset), buf, offset, length))
            asked += 1
        h.poll(-1)
        left = []
        for item in flying:
            cookie, buf, offset, length = item
            try:
                done = h.aio_command_completed(cookie)
            except nbd.Error as e:
                raise RuntimeError("connection %d: %d bytes at %d: %s" % (
                    who, length, offset, e)) from e
            if done:
                check(buf.to_bytearray(), offset, length, who)
            else:
                left.append(item)
        flying = left
    h.shutdown()


def run(who):
    try:
        client(who)
    except Exception as e:      # whatever it is, the comparison failed
        problems.append(str(e))


threads = [threading.Thread(target=run, args=(i,))
           for i in range(args.connections)]
for t in threads:
    t.start()
for t in threads:
    t.join()
if problems:
    print("\n".join(problems[:10]))
    print(how)
    sys.exit(1)
