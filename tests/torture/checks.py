# SPDX-License-Identifier: BSD-3-Clause
"""Comparison of valid images with qemu: each view of each layer, deltas
between views, and bitmaps.

A difference raises Mismatch, which describes the first one.
"""

import os
import shutil

import nbd

import servers
from servers import (DATA, HOLE, ZERO, Mismatch, NoOracle, Ours,
                     Qemu, Refused, at_places, block_status, map_of, zeros)

# Disks up to this size are compared completely.
WHOLE = 16 << 20
IN_FLIGHT = 8
SECTOR = 512
# Offset of the autoclear feature bits, without which bitmaps are ignored.
AUTOCLEAR = 88


def windows(rng, size, *maps):
    """The ranges of a disk to compare: all of it, or the critical ones."""
    if size <= WHOLE:
        return [(0, size)] if size else []
    places = [(0, 64 << 10), (size - (64 << 10), size)]
    for _ in range(10):
        at = rng.randrange(size)
        places.append((at, at + 5000))
    total = 0
    for runs in maps:
        for start, end, flags in runs:
            if flags not in (DATA, ZERO) or total > 12 << 20:
                continue
            # Both ends of long extents.
            parts = [(start, end)] if end - start < 1 << 20 else \
                [(start, start + (1 << 19)), (end - (1 << 19), end)]
            for low, high in parts:
                places.append((low - 4096, high + 4096))
                total += high - low
    out = []
    for low, high in sorted(places):
        low, high = max(0, low), min(size, high)
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        elif low < high:
            out.append((low, high))
    return out


class Disk:
    """A state of a disk, as qemu sees it: its bytes in `windows`, its map,
    and its dirty bitmaps."""

    def __init__(self, rng, q, bitmaps=()):
        self.size = q.h.get_size()
        self.runs = map_of(q.h, self.size)
        self.dirty = {}
        for name in bitmaps:
            context = "qemu:dirty-bitmap:" + name
            if not q.h.can_meta_context(context):
                raise NoOracle("qemu-nbd does not know the bitmap " + name)
            self.dirty[name] = map_of(q.h, self.size, context)
        self.windows = windows(rng, self.size, self.runs)
        self.parts = []
        for start, end in self.windows:
            data = bytearray()
            while start + len(data) < end:
                at = start + len(data)
                data += q.plain.pread(min(8 << 20, end - at), at)
            self.parts.append(bytes(data))

    @classmethod
    def of_file(cls, path):
        """A raw backing file."""
        disk = cls.__new__(cls)
        with open(path, "rb") as f:
            disk.parts = [f.read()]
        disk.size = len(disk.parts[0])
        disk.windows = [(0, disk.size)]
        return disk

    def pieces(self, start, end):
        """(start, end, bytes) of the windows' parts in a range."""
        for (low, high), data in zip(self.windows, self.parts):
            a, b = max(start, low), min(end, high)
            if a < b:
                yield a, b, data[a - low:b - low]


def first_difference(a, b):
    return next((i for i in range(min(len(a), len(b))) if a[i] != b[i]),
                min(len(a), len(b)))


def check_reads(rng, h, disk):
    """Read all windows in pieces of any length, in any order, concurrently."""
    todo = []
    for (low, high), data in zip(disk.windows, disk.parts):
        at = low
        largest = rng.choice((700, 5000, 70000, 300000, 4 << 20))
        largest = max(largest, (high - low) // 500)
        while at < high:
            length = min(rng.randrange(1, largest + 1), high - at)
            todo.append((at, length, data[at - low:at - low + length]))
            at += length
        for _ in range(5):
            at = rng.randrange(low, high)
            length = min(rng.randrange(1, 100000), high - at)
            todo.append((at, length, data[at - low:at - low + length]))
    if rng.random() < 0.6:
        rng.shuffle(todo)
    flying = []
    while todo or flying:
        while todo and len(flying) < IN_FLIGHT:
            at, length, wanted = todo.pop()
            buf = bytearray(length)
            flying.append((h.aio_pread(buf, at), buf, at, length, wanted))
        h.poll(-1)
        left = []
        for item in flying:
            cookie, buf, at, length, wanted = item
            try:
                done = h.aio_command_completed(cookie)
            except nbd.Error as e:
                raise Mismatch("%d bytes at %d: %s" % (length, at, e)) from e
            if not done:
                left.append(item)
                continue
            if buf != wanted:
                n = first_difference(buf, wanted)
                raise Mismatch(
                    "%d bytes at %d: byte %d is %s instead of %s"
                    % (length, at, at + n, buf[n:n + 8].hex(),
                       wanted[n:n + 8].hex()))
        flying = left


def same_kinds(runs):
    """Remove differences that depend on the holes of the image's files."""
    out = []
    for start, end, flags in runs:
        if flags == ZERO:
            flags = DATA
        if out and out[-1][2] == flags:
            out[-1] = (out[-1][0], end, flags)
        else:
            out.append((start, end, flags))
    return out


def same_map(got, wanted, dense):
    """(If the files have holes, qemu does not always report them.)"""
    if not dense:
        got, wanted = same_kinds(got), same_kinds(wanted)
    if got != wanted:
        n = first_difference(got, wanted)
        raise Mismatch("the map: %s instead of %s" % (got[n:n + 3],
                                                      wanted[n:n + 3]))


def check_zeros(runs, disk):
    for start, end, flags in runs:
        if flags & ZERO:
            for a, b, data in disk.pieces(start, end):
                if not zeros(data):
                    raise Mismatch("%d..%d is reported as zero, but has data"
                                   % (a, b))


def check_questions(rng, h, runs, size, unit=1):
    """Request block status of any range, of one extent or all."""
    places = [(0, size), (size - 1, 1)]
    for start, end, _ in rng.sample(runs, min(len(runs), 6)):
        places += [(start, end - start), (end - 1, min(size - end, 4096) + 1)]
    for _ in range(6):
        offset = rng.randrange(size)
        places.append((offset, rng.randrange(1, size - offset + 1)))
    for offset, count in places:
        offset = offset // unit * unit
        count = min(-(-count // unit) * unit, size - offset, 0xffff0000)
        wanted = [(high - low, flags) for low, high, flags
                  in at_places(runs, offset, offset + count)]
        for flag in 0, nbd.CMD_FLAG_REQ_ONE:
            got = block_status(h, count, offset, flags=flag)
            covered = sum(length for length, _ in got)
            if got != clip(wanted, covered) or flag and len(got) != 1:
                raise Mismatch("block status of %d at %d, flag %d: %s "
                               "instead of %s" % (count, offset, flag,
                                                  got[:5], wanted[:5]))


def clip(entries, count):
    """The entries of the first COUNT bytes."""
    out = []
    for length, flags in entries:
        length = min(length, count)
        if length:
            out.append((length, flags))
        count -= length
    return out


def check_view(rng, h, disk, dense):
    """Compare a full view.  Returns its map."""
    if h.get_size() != disk.size:
        raise Mismatch("the size is %d instead of %d" % (h.get_size(),
                                                         disk.size))
    check_reads(rng, h, disk)
    runs = map_of(h, disk.size)
    if any(flags == HOLE for _, _, flags in runs):
        raise Mismatch("a full view has a hole that is not zero")
    same_map(runs, disk.runs, dense)
    check_zeros(runs, disk)
    if runs:
        check_questions(rng, h, runs, disk.size)
    return runs


# --- Deltas -----------------------------------------------------------


class State:
    """One side of a delta: the state after the first STAGES stages of its
    layer."""

    def __init__(self, name, layer, stages, disk):
        self.name, self.layer, self.stages = name, layer, stages
        self.disk = disk
        self.runs = None        # the plugin's map, if it is an export


def written(layer, stages):
    """The clusters written in some stages of a layer, as ranges."""
    for ranges in layer.touched[stages]:
        for start, end in ranges:
            yield (start // layer.cluster * layer.cluster,
                   -(-end // layer.cluster) * layer.cluster)


def may_differ(old, new):
    """The ranges in which the two states can differ."""
    # A partial last sector always counts as changed.
    end = list(new.layer.layers())[-1].size
    out = [(end // SECTOR * SECTOR, end)]
    if old.layer is new.layer:
        first, last = sorted((old.stages, new.stages))
        out += written(new.layer, slice(first, last))
        return out
    out += written(new.layer, slice(0, new.stages))
    between = new.layer.below
    while between is not old.layer:
        out += written(between, slice(None))
        # A layer's end hides everything below it.
        out.append((between.size, 1 << 63))
        between = between.below
    return out


def check_changes(runs, old, new):
    """Unchanged extents must be equal, others must have been written."""
    touched = may_differ(old, new)
    common = min(old.disk.size, new.disk.size)
    for start, end, flags in runs:
        if flags == HOLE:
            if end > old.disk.size:
                raise Mismatch("%d..%d is new, but reported as unchanged"
                               % (start, end))
            for a, b, data in new.disk.pieces(start, end):
                for c, d, before in old.disk.pieces(a, b):
                    if before != data[c - a:d - a]:
                        raise Mismatch("%d..%d differs, but is reported as "
                                       "unchanged" % (c, d))
            continue
        # Changed extents have the flags of the newer state.
        for low, high, wanted in at_places(new.runs, start, end):
            if flags != wanted:
                raise Mismatch("%d..%d has flags %d instead of %d"
                               % (low, high, flags, wanted))
        start, end = start, min(end, common)
        for low, high in sorted(touched):
            if low <= start < high:
                start = high
        if start < end:
            raise Mismatch("%d was never written, but has flags %d"
                           % (start, flags))
    check_zeros(runs, new.disk)


def check_delta(rng, server, old, new, name):
    h = server.connect(name)
    if h.get_size() != new.disk.size:
        raise Mismatch("the size is %d instead of %d" % (h.get_size(),
                                                         new.disk.size))
    runs = map_of(h, new.disk.size)
    check_changes(runs, old, new)
    if runs:
        check_questions(rng, h, runs, new.disk.size, SECTOR)
    # A delta serves all data, changed or not.
    check_reads(rng, h, new.disk)
    h.shutdown()


def check_recipe(directory, server, old, new, name):
    """An incremental copy with qemu-img, as in the man page, equals the newer
    state."""
    uri = "nbd+unix:///%s?socket=%s" % (
        name.replace(" ", "%20"), server.server.socket)
    for path, disk in ("old.raw", old.disk), ("new.raw", new.disk):
        with open(os.path.join(directory, path), "wb") as f:
            f.write(disk.parts[0] if disk.size else b"")
    for argv in (
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "old.raw",
             "old.qcow2"],
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B",
             "old.qcow2", "-F", "qcow2", uri, "new.qcow2"],
            ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "new.raw",
             "new.qcow2"]):
        status, text = servers.qemu(*argv, cwd=directory)
        if status or "size mismatch" in text:
            raise Mismatch("%s: %s" % (" ".join(argv), text))
    for path in "old.raw", "new.raw", "old.qcow2", "new.qcow2":
        os.unlink(os.path.join(directory, path))


# --- Bitmaps ----------------------------------------------------------


def by_bitmap(runs, dirty):
    """The map of an export for a bitmap: clean extents are holes."""
    out = []
    for start, end, flags in runs:
        for low, high, is_dirty in at_places(dirty, start, end):
            kind = flags if is_dirty else HOLE
            if out and out[-1][2] == kind:
                out[-1] = (out[-1][0], high, kind)
            else:
                out.append((low, high, kind))
    return out


def check_bitmap(rng, server, name, active, dense):
    h = server.connect("bitmap:" + name)
    disk = active.disk
    runs = map_of(h, disk.size)
    same_map(runs, by_bitmap(active.runs, disk.dirty[name]), True)
    same_map(runs, by_bitmap(disk.runs, disk.dirty[name]), dense)
    if runs:
        check_questions(rng, h, runs, disk.size)
    check_reads(rng, h, disk)
    h.shutdown()


# --- Layers -----------------------------------------------------------


def qemu_disk(chain, layer, path=None, bitmaps=()):
    try:
        with Qemu(layer.qemu_options(path), chain.dir, layer.secrets(),
                  bitmaps) as q:
            return Disk(chain.rng, q, bitmaps)
    except (Refused, nbd.Error) as e:
        raise NoOracle("qemu-nbd, %s: %s" % (layer.path, e)) from e


def snapshot_disk(chain, layer, number):
    """The disk after 'qemu-img snapshot -a' in a copy of the image."""
    path = layer.path + ".applied"
    full = os.path.join(chain.dir, path)
    shutil.copyfile(os.path.join(chain.dir, layer.path), full)
    if layer.bitmaps:
        # 'qemu-img snapshot -a' fails if the image has bitmaps.
        with open(full, "r+b") as f:
            f.seek(AUTOCLEAR)
            f.write(bytes(8))
    try:
        chain.run("qemu-img", "snapshot", "-q", "-a", number,
                  *servers.secret_objects(layer.secrets()),
                  servers.json_name(layer.qemu_options(path)))
        return qemu_disk(chain, layer, path)
    finally:
        os.unlink(full)


def states_of(chain, layer, lower):
    """The states to compare: the current one, the snapshots, and those layers
    below that are in LOWER."""
    active = State("", layer, len(layer.touched),
                   qemu_disk(chain, layer, bitmaps=layer.bitmaps))
    snapshots = []
    for number, stages in layer.snapshots:
        snapshots.append(State(number, layer, stages,
                               snapshot_disk(chain, layer, number)))
    below = []
    for depth, other in enumerate(list(layer.layers())[1:], 1):
        if other.number in lower:
            below.append(State("layer:%d" % depth, other, None,
                               lower[other.number]))
    return active, snapshots, below


def server_of(chain, layer):
    """A server with random settings that must not affect the data."""
    rng = chain.rng
    params = [layer.path] + layer.our_parameters()
    if rng.random() < 0.4:
        params.append("cache-size=" + rng.choice(("1", "100K", "1M", "4M")))
    options = ["-t", str(rng.choice((1, 2, 5)))] if rng.random() < 0.3 else []
    return Ours(params, chain.dir, layer.files(), options)


def describe(e, *what):
    return Mismatch(", ".join(what) + ": " + str(e))


def pairs_of(rng, active, snapshots, below):
    """A random choice of pairs of states for deltas."""
    pairs = [(old, new) for new in snapshots + [active]
             for old in snapshots + below if old is not new]
    return rng.sample(pairs, min(len(pairs), 5))


def check_layer(chain, layer, lower, stats):
    """Check a layer completely.  Adds its content to LOWER."""
    rng = chain.rng
    if layer.sort == "raw":
        lower[layer.number] = Disk.of_file(os.path.join(chain.dir, layer.path))
        return
    active, snapshots, below = states_of(chain, layer, lower)
    lower[layer.number] = active.disk
    what = [layer.path]
    try:
        with server_of(chain, layer) as server:
            for state in [active] + snapshots:
                what[1:] = ["export '%s'" % state.name]
                h = server.connect(state.name)
                state.runs = check_view(rng, h, state.disk, chain.dense)
                h.shutdown()
                stats["views"] += 1
            for old, new in pairs_of(rng, active, snapshots, below):
                name = old.name + ".." + new.name
                what[1:] = ["export '%s'" % name]
                check_delta(rng, server, old, new, name)
                stats["deltas"] += 1
                if rng.random() < 0.06 and max(old.disk.size,
                                               new.disk.size) <= WHOLE:
                    check_recipe(chain.dir, server, old, new, name)
                    stats["copies by delta"] += 1
            for name in layer.bitmaps:
                what[1:] = ["bitmap '%s'" % name]
                check_bitmap(rng, server, name, active, chain.dense)
                stats["bitmaps"] += 1
    except Refused as e:
        raise describe("refused: %s" % e, *what) from e
    except Mismatch as e:
        raise describe(e, *what) from e
    except nbd.Error as e:
        raise describe(e, *what) from e


def check_chain(chain, stats):
    """Check the layers from the base up, except some of those in between."""
    lower = {}
    for layer in chain.layers:
        if layer is chain.top or chain.rng.random() < 0.6:
            check_layer(chain, layer, lower, stats)
