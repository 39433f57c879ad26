#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Clients of a server of many exports:
#
#     nbd-directory.py SOCKET [--threads N] [--rounds N] [--seed N]
#                      [--one] [--broken EXPORT]... EXPORT=RAW...
#
# Each thread connects --rounds times, each time to a random export, compares
# random ranges with the raw file, and disconnects.  With --one, all threads
# first connect to the first export at the same moment.  Connections to broken
# exports must be refused.  Prints what is wrong, and exits with status 1.

import argparse
import os
import random
import sys
import threading

import nbd

parser = argparse.ArgumentParser()
parser.add_argument("socket")
parser.add_argument("exports", nargs="+")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--one", action="store_true")
parser.add_argument("--broken", action="append", default=[])
args = parser.parse_args()

exports = [e.rsplit("=", 1) for e in args.exports]
contents = {}
for _, name in exports:
    if name not in contents:
        with open(name, "rb") as f:
            contents[name] = f.read()
problems = []


def connect(export):
    h = nbd.NBD()
    h.set_export_name(export)
    h.connect_unix(args.socket)
    return h


def compare(h, export, raw, rng):
    size = h.get_size()
    if size != len(raw):
        problems.append(f"{export}: {size} bytes instead of {len(raw)}")
        return
    for _ in range(4):
        offset = rng.randrange(size)
        length = min(size - offset, rng.randrange(1, 200_000))
        if h.pread(length, offset) != raw[offset:offset + length]:
            problems.append(f"{export}: wrong data at {offset}+{length}")
            return


def one_round(rng):
    if args.broken and rng.randrange(4) == 0:
        export = rng.choice(args.broken)
        try:
            connect(export)
            problems.append(f"{export}: not refused")
        except nbd.Error:
            pass
        return
    export, name = rng.choice(exports)
    h = connect(export)
    compare(h, export, contents[name], rng)
    h.shutdown()


def work(number, barrier):
    rng = random.Random(args.seed * 1000 + number)
    try:
        if args.one:
            barrier.wait()
            export, name = exports[0]
            h = connect(export)
            compare(h, export, contents[name], rng)
            barrier.wait()
            h.shutdown()
        for _ in range(args.rounds):
            one_round(rng)
    except Exception as e:  # also of libnbd
        problems.append(f"thread {number}: {e}")
        barrier.abort()


start = threading.Barrier(args.threads)
threads = [threading.Thread(target=work, args=(n, start))
           for n in range(args.threads)]
for t in threads:
    t.start()
for t in threads:
    t.join()
for p in problems[:10]:
    print(p)
sys.exit(1 if problems else 0)
