#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads an NBD server with requests of many offsets and lengths and compares
# the data with a raw file, byte by byte:
#
#     nbd-compare.py URI RAW [--cluster N] [--random N] [--seed N]
#                            [--max-length N] [--connections N]
#                            [--in-flight N] [--borders N] [--copy]
#                            [--map FILE]
#
# --map writes the map into a file, in the format of nbd-map.py.  --copy then
# reads the export as nbdcopy does: the ranges that the map does not report as
# zeros, in pieces of 256 KiB, 64 in-flight; the others must be zeros in RAW.
#
# Then it reads the first byte, the last byte, everything in 32 MiB requests,
# requests that cross the borders between clusters of --cluster bytes (at most
# --borders of them), and --random requests of unaligned offset and length.
# With --connections each connection has its own thread and does all of this
# in its own order, with --in-flight requests at a time.
#
# The size of the export must be that of the file.  On a difference it prints
# the request and how to repeat it, and exits with status 1.

import argparse
import os
import random
import sys
import threading

import nbd
from extents import runs_of

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
parser.add_argument("--copy", action="store_true")
parser.add_argument("--map")
args = parser.parse_args()

size = os.path.getsize(args.raw)
raw = os.open(args.raw, os.O_RDONLY)
problems = []
how = " ".join(["repeat with: nbd-compare.py"] + sys.argv[1:])


def requests(rng):
    """The (offset, length) pairs that one connection reads."""
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


def connect():
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(args.uri)
    if h.get_size() != size:
        raise RuntimeError("the size is %d instead of %d"
                           % (h.get_size(), size))
    return h


def read(h, who, todo, in_flight):
    """Read all ranges of TODO, IN_FLIGHT at a time, and compare each."""
    done = []
    flying = 0
    todo = iter(todo)
    more = True

    def submit(offset, length):
        buf = bytearray(length)

        def completion(error):
            done.append((buf, offset, length, error.value))
            return 1
        h.aio_pread(buf, offset, completion=completion)

    while (more or flying) and not problems:
        while more and flying < in_flight:
            request = next(todo, None)
            if request is None:
                more = False
            else:
                submit(*request)
                flying += 1
        if flying and not done:
            h.poll(-1)
        while done:
            buf, offset, length, error = done.pop()
            flying -= 1
            if error:
                raise RuntimeError("connection %d: %d bytes at %d: %s" % (
                    who, length, offset, os.strerror(error)))
            check(buf, offset, length, who)


def client(who, h):
    rng = random.Random(args.seed * 1000 + who)
    todo = requests(rng)
    if who > 0:
        rng.shuffle(todo)
    read(h or connect(), who, todo, args.in_flight)


def map_of(h):
    """Runs of [start, length, flags]."""
    if not h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION):
        return [[0, size, 0]]
    return runs_of(h, size)


def raw_has_data(at, end):
    while at < end:
        try:
            at = os.lseek(raw, at, os.SEEK_DATA)
        except OSError:             # a hole up to the end
            return False
        part = os.pread(raw, min(1 << 20, max(0, end - at)), at)
        if part.count(0) != len(part):
            return True
        at += len(part) or 1
    return False


def copy(h, runs):
    parts = []
    for start, length, flags in runs:
        end = min(start + length, size)
        if not flags & nbd.STATE_ZERO:
            parts += [(at, min(256 << 10, end - at))
                      for at in range(start, end, 256 << 10)]
        elif raw_has_data(start, end):
            problems.append("%d..%d is zeros in the map, but not in %s"
                            % (start, end, args.raw))
    read(h, 0, parts, 64)


def first_client():
    h = connect()
    if args.map or args.copy:
        runs = map_of(h)
    if args.map:
        with open(args.map, "w") as f:
            for start, length, flags in runs:
                f.write("%10d  %10d %4d  %s\n" % (
                    start, length, flags,
                    ("data", "hole", "zero", "hole,zero")[flags]))
    if args.copy:
        copy(h, runs)
    client(0, h)
    h.shutdown()


def run(what, *args):
    try:
        what(*args)
    except Exception as e:      # any exception fails the comparison
        problems.append(str(e))


threads = [threading.Thread(target=run, args=(client, i, None))
           for i in range(1, args.connections)]
for t in threads:
    t.start()
run(first_client)
for t in threads:
    t.join()
if problems:
    print("\n".join(problems[:10]))
    print(how)
    sys.exit(1)
