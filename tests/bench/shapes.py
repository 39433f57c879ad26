# SPDX-License-Identifier: BSD-3-Clause
"""Special images, written without qemu: chains, tables in random order, many
snapshots.

All are QCOW2, version 3, with clusters of 64 KiB.  `qemu-img check` finds no
errors in those that are documented to have correct refcounts.
"""

import os
import random
import struct
from array import array

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

CLUSTER = 64 * KIB
TABLE = CLUSTER // 8            # entries of an L2 table
COPIED = 1 << 63                # in an L1 or L2 entry: the refcount is 1

# Mapped images share a small pool of real data.
POOL = 1024


def packed(numbers):
    """Big-endian, 64 bits each."""
    a = array("Q", numbers)
    a.byteswap()
    return a.tobytes()


def header(size, l1_offset, l1_entries, refcount_table, backing="",
           snapshots=(0, 0), refcount_order=4):
    """The first cluster.  snapshots is (number, offset of the table)."""
    name = backing.encode()
    fixed = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3,
                        4 * KIB if name else 0, len(name), 16, size, 0,
                        l1_entries, l1_offset, refcount_table, 1, *snapshots,
                        0, 0, 0, refcount_order, 104)
    extension = struct.pack(">II8s", 0xe2792aca, 5, b"qcow2") if name else b""
    return ((fixed + extension).ljust(4 * KIB, b"\0") + name).ljust(CLUSTER,
                                                                    b"\0")


# ---- fully allocated images

def pool_block(rng, run):
    """Every cluster of the pool once, in runs of `run` contiguous clusters; no
    two consecutive runs are contiguous.

    The first cluster is always number 0, which has no predecessor: so two
    blocks are never contiguous either.
    """
    block = list(range(1, POOL // run))
    while True:
        rng.shuffle(block)
        full = [0] + block
        if len(full) <= 2 or all(a + 1 != b for a, b in zip(full, full[1:])):
            return [r * run + i for r in full for i in range(run)]


def pool_table(rng, pool_offset, run):
    """One L2 table, filled with blocks."""
    entries = []
    while len(entries) < TABLE:
        entries.extend(pool_offset + CLUSTER * n for n in pool_block(rng, run))
    return packed(entries)


def write_mapped(path, size, run=1):
    """Every cluster of the disk is data, in runs of `run` clusters that are
    contiguous in the file.  Refcounts are correct below 4 TiB; above, they
    do not fit.  16 different L2 tables are repeated, which is much quicker
    than different ones throughout.
    """
    rng = random.Random(1)
    tables = -(-size // CLUSTER // TABLE)
    l1_clusters = -(-8 * tables // CLUSTER)
    first = 3 + l1_clusters
    pool_offset = (first + tables) * CLUSTER
    shared = size // CLUSTER // POOL
    refcounts = (struct.pack(">H", 1) * (first + tables)
                 + struct.pack(">H", min(shared, 0xffff)) * POOL)
    with open(path, "wb") as f:
        f.write(header(size, 3 * CLUSTER, tables, CLUSTER))
        f.write(packed([2 * CLUSTER]).ljust(CLUSTER, b"\0"))
        f.write(refcounts[:CLUSTER].ljust(CLUSTER, b"\0"))
        f.write(packed(COPIED | (first + n) * CLUSTER for n in range(tables))
                .ljust(l1_clusters * CLUSTER, b"\0"))
        kinds = [pool_table(rng, pool_offset, run) for _ in range(16)]
        for n in range(tables):
            f.write(kinds[n % len(kinds)])
        for n in range(POOL):
            f.write(rng.randbytes(CLUSTER))


def write_changed(path, source, changed):
    """A mapped image with a snapshot "old", after which two clusters were
    swapped in each of `changed` L2 tables."""
    with open(source, "rb") as f:
        whole = f.read()
    size, = struct.unpack_from(">Q", whole, 24)
    tables, l1_offset = struct.unpack_from(">IQ", whole, 36)
    old_l1 = whole[l1_offset:l1_offset + 8 * tables]
    l1 = list(struct.unpack(">%dQ" % tables, old_l1))
    end = -(-len(whole) // CLUSTER) * CLUSTER
    with open(path, "wb") as f:
        f.write(whole)
        for n in range(changed):
            index = n * tables // changed
            place = l1[index] & ~COPIED
            l2 = bytearray(whole[place:place + CLUSTER])
            a, b = 8 * (n % TABLE), 8 * ((n + 1) % TABLE)
            l2[a:a + 8], l2[b:b + 8] = l2[b:b + 8], l2[a:a + 8]
            l1[index] = COPIED | (end + n * CLUSTER)
            f.seek(end + n * CLUSTER)
            f.write(l2)
        end += changed * CLUSTER
        # The snapshot's L1 table, and the snapshot table.
        f.seek(end)
        f.write(old_l1.ljust(CLUSTER, b"\0"))
        f.write(snapshot_entry(end, tables, "1", "old", size))
        f.seek(0)
        f.write(header(size, l1_offset, tables, CLUSTER,
                       snapshots=(1, end + CLUSTER)))
        f.seek(l1_offset)
        f.write(packed(l1))


# ---- snapshots

def snapshot_entry(l1_offset, l1_entries, ident, name, size):
    entry = struct.pack(">QIHHIIQIIQQ", l1_offset, l1_entries, len(ident),
                        len(name), 0, 0, 0, 0, 16, 0, size)
    entry += ident.encode() + name.encode()
    return entry.ljust(-(-len(entry) // 8) * 8, b"\0")


def write_snapshots(path, count):
    """A disk of 1 GiB with one allocated cluster, and `count` snapshots, each
    with its own L1 table."""
    size, l1, l2, data, table = GIB, 2, 3, 4, 5
    entries = b"".join(
        snapshot_entry((table + n) * CLUSTER, 2, str(n + 1),
                       "daily-%05d" % (n + 1), size) for n in range(count))
    with open(path, "wb") as f:
        f.write(header(size, l1 * CLUSTER, 2, CLUSTER,
                       snapshots=(count, (table + count) * CLUSTER)))
        for content in (b"", packed([l2 * CLUSTER]), packed([data * CLUSTER]),
                        b"\x55" * CLUSTER):
            f.write(content.ljust(CLUSTER, b"\0"))
        for _ in range(count):
            f.write(packed([l2 * CLUSTER]).ljust(CLUSTER, b"\0"))
        f.write(entries)


# ---- chains

# The size of contiguous areas of one layer.
CHAIN_PIECE = 1 * MIB


def data_ranges(fd):
    """The data ranges of a sparse file."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:         # ENXIO: no more data
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def write_layer(raw, path, size, backing, clusters):
    """An image with these clusters of an open raw image.  Its refcount table
    is empty: the image is only read."""
    tables = sorted({c // TABLE for c in clusters})
    where = {t: (3 + n) * CLUSTER for n, t in enumerate(tables)}
    data = (3 + len(tables)) * CLUSTER
    l2 = {t: array("Q", bytes(CLUSTER)) for t in tables}
    with open(path, "wb") as f:
        for n, c in enumerate(clusters):
            l2[c // TABLE][c % TABLE] = COPIED | (data + n * CLUSTER)
            f.seek(data + n * CLUSTER)
            f.write(os.pread(raw, CLUSTER, c * CLUSTER).ljust(CLUSTER, b"\0"))
        f.seek(0)
        l1_entries = -(-size // (CLUSTER * TABLE))
        f.write(header(size, 2 * CLUSTER, l1_entries, CLUSTER, backing))
        f.seek(2 * CLUSTER)
        f.write(bytes(8 * l1_entries))
        for t in tables:
            f.seek(2 * CLUSTER + 8 * t)
            f.write(struct.pack(">Q", COPIED | where[t]))
            f.seek(where[t])
            f.write(packed(l2[t]))


def layer_name(path, number):
    return "%s.layer%03d" % (path, number)


def write_chain(path, raw_path, overlays):
    """The content of a raw image, each piece of it in a random layer, like a
    disk with daily overlays."""
    with open(raw_path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        layers = [[] for _ in range(overlays + 1)]
        for start, end in data_ranges(f.fileno()):
            for c in range(start // CLUSTER, -(-end // CLUSTER)):
                piece = c * CLUSTER // CHAIN_PIECE
                layers[random.Random(piece).randrange(len(layers))].append(c)
        backing = ""
        for n, clusters in enumerate(layers):
            name = path if n == overlays else layer_name(path, n)
            write_layer(f.fileno(), name, size, backing, clusters)
            backing = os.path.basename(name)
