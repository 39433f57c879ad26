#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Checks the deltas that a server reports for each pair of a disk's states
# against the content of the states:
#
#     delta-check.py SOCKET CLUSTER VIEWS TOUCHED [SEED]
#
# VIEWS has a line for each state: "NAME STAGE RAW MAP".  NAME is the export,
# "-" for the active layer, which can only be the newer state.  RAW is the
# file with its bytes.  MAP is qemu-nbd's map as nbdinfo prints it, or "-" for
# a lower layer, which can only be the older state.  STAGE numbers the states
# in the order in which they were made.
#
# TOUCHED has a line for each stage: the numbers of the clusters that were
# written, discarded, cut off or added since the stage before.
#
# On errors it lists them and exits with status 1.  Otherwise it prints how
# many bytes of all pairs were unchanged, changed data and changed zeros.

import random
import sys

import nbd

sock, cluster = sys.argv[1], int(sys.argv[2])
seed = int(sys.argv[5]) if len(sys.argv) > 5 else 1
rng = random.Random(seed)
problems = []
DATA, HOLE, ZERO, HOLE_ZERO = 0, 1, 2, 3


class State:
    def __init__(self, name, stage, raw, mapfile):
        self.name = "" if name == "-" else name
        self.stage = int(stage)
        with open(raw, "rb") as f:
            self.bytes = f.read()
        self.map = None
        if mapfile != "-":
            self.map = []
            for line in open(mapfile):
                start, length, flags = map(int, line.split()[:3])
                self.map.append((start, start + length, flags))


def connect(export):
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_export_name(export)
    h.connect_unix(sock)
    return h


def block_status(h, count, offset, flags=0):
    got = []

    def callback(context, at, entries, error):
        assert at == offset
        got.extend(zip(entries[0::2], entries[1::2]))

    h.block_status(count, offset, callback, flags)
    return got


def whole_map(h, size):
    """All extents as (start, end, flags); each reply must be merged."""
    out, at = [], 0
    while at < size:
        got = block_status(h, min(size - at, 0xffff0000), at)
        if any(a[1] == b[1] for a, b in zip(got, got[1:])):
            raise ValueError("not merged: %s" % got[:9])
        for length, flags in got:
            if length == 0 or at + length > size:
                raise ValueError("an extent of %d bytes at %d" % (length, at))
            out.append((at, at + length, flags))
            at += length
    return out


def at_places(runs, start, end):
    """The parts of the runs within a range, with their flags."""
    for low, high, flags in runs:
        if low < end and high > start:
            yield max(low, start), min(high, end), flags


def zeros(data):
    return data.count(0) == len(data)


def check_extents(runs, old, new):
    """Unchanged ranges must be equal, changed ones must have been touched."""
    first, last = sorted((old.stage, new.stage))
    clusters = set()
    for stage in range(first + 1, last + 1):
        clusters |= touched[stage]
    common = min(len(old.bytes), len(new.bytes))
    for start, end, flags in runs:
        totals[flags] = totals.get(flags, 0) + end - start
        if flags == HOLE:
            if end > len(old.bytes):
                yield "%d..%d is new, but reported as unchanged" % (start, end)
            elif old.bytes[start:end] != new.bytes[start:end]:
                yield "%d..%d differs, but is reported as unchanged" % (
                    start, end)
            continue
        # Changed ranges have the flags of the newer state.
        for low, high, wanted in at_places(new.map, start, end):
            if flags != wanted:
                yield "%d..%d has flags %d instead of %d" % (
                    low, high, flags, wanted)
        if flags & ZERO and not zeros(new.bytes[start:end]):
            yield "%d..%d is zero, but has data" % (start, end)
        if start >= common:
            continue
        for c in range(start // cluster, -(-min(end, common) // cluster)):
            if c not in clusters:
                yield "cluster %d was never written, but has flags %d" % (
                    c, flags)
                break


def check_ranges(h, runs, size):
    """Extents of random ranges, with and without REQ_ONE."""
    places = [(0, size), (size - 1, 1)]
    for start, end, _ in rng.sample(runs, min(len(runs), 12)):
        places += [(start, end - start), (end - 1, min(size - end, 4096) + 1)]
    for _ in range(12):
        offset = rng.randrange(size)
        places.append((offset, rng.randrange(1, size - offset + 1)))
    for offset, count in places:
        wanted = [(high - low, flags) for low, high, flags
                  in at_places(runs, offset, offset + count)]
        got = block_status(h, count, offset)
        if got != wanted:
            yield "%d at %d: %s instead of %s" % (
                count, offset, got[:9], wanted[:9])
        one = block_status(h, count, offset, nbd.CMD_FLAG_REQ_ONE)
        if one != wanted[:1]:
            yield "one extent, %d at %d: %s instead of %s" % (
                count, offset, one, wanted[:1])


def check_reads(h, new):
    """Reads return the newer state's data, changed or not."""
    size, step = len(new.bytes), 32 << 20
    places = [(at, min(step, size - at)) for at in range(0, size, step)]
    for _ in range(5):
        offset = rng.randrange(size)
        places.append((offset, min(size - offset,
                                   rng.randrange(1, 3 * cluster))))
    for offset, count in places:
        if h.pread(count, offset) != new.bytes[offset:offset + count]:
            yield "a read of %d at %d" % (count, offset)


def check_delta(old, new):
    h = connect("%s..%s" % (old.name, new.name))
    size = len(new.bytes)
    if h.get_size() != size:
        yield "the size is %d instead of %d" % (h.get_size(), size)
        return
    runs = whole_map(h, size)
    yield from check_extents(runs, old, new)
    yield from check_ranges(h, runs, size)
    yield from check_reads(h, new)
    h.shutdown()


def check_full(new):
    h = connect(new.name)
    runs = whole_map(h, len(new.bytes))
    for start, end, flags in runs:
        if flags == HOLE:
            yield "%d..%d of a full view is a hole that is not zero" % (
                start, end)
    if runs != new.map:
        yield "the map of the full view differs from qemu's"
    h.shutdown()


def report(what, found):
    try:
        problems.extend("%s: %s" % (what, p) for p in found)
    except Exception as e:      # any exception fails the check
        problems.append("%s: %s" % (what, e))


states = [State(*line.split()) for line in open(sys.argv[3])]
touched = {stage: set(map(int, line.split()))
           for stage, line in enumerate(open(sys.argv[4]))}
totals = {}
newer = [s for s in states if s.map is not None]
for new in newer:
    report(new.name or "the active layer", check_full(new))
    for old in states:
        if old.name:
            report("%s..%s" % (old.name, new.name), check_delta(old, new))
if problems:
    print("\n".join(problems[:20]))
    print("%d problems; seed %d" % (len(problems), seed))
    sys.exit(1)
print(totals.get(HOLE, 0), totals.get(DATA, 0),
      totals.get(ZERO, 0) + totals.get(HOLE_ZERO, 0))
