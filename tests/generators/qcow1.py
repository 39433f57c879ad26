#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Makes version 1 images that qemu-img can't make: entry by entry, with any
# cluster and table size, and with tables, clusters and compressed data at any
# offset.
#
# A test's Python program uses it like this:
#     from qcow1 import Image
#     from qcow2 import deflate
#     image = Image(cluster_bits=9, l2_bits=13, size=1 << 20)
#     image.normal(0, data)
#     image.compressed(1, deflate(data), data)
#     image.save("image.qcow", "image.raw")
# and compares with qemu.  The second file has the expected content: the data
# given with each cluster, zeros elsewhere.
#
# Layout: header, backing file name, L1 table, and then clusters, compressed
# data and L2 tables in the order in which the test adds them.  L2 tables that
# the test does not place come last.
#
# As a program:
#     qcow1.py empty CLUSTER_BITS L2_BITS SIZE IMAGE [BACKING]
#     qcow1.py geometry CLUSTER_BITS L2_BITS IMAGE RAW
#     qcow1.py damage WHAT IMAGE RAW
#     qcow1.py writes SEED SIZE CLUSTER COUNT

import os
import random
import struct
import sys

OFLAG_COMPRESSED = 1 << 63
HEADER = 48


class Image:
    def __init__(self, cluster_bits=12, l2_bits=9, size=1 << 20,
                 l1_offset=None, backing=b""):
        self.bits = cluster_bits
        self.l2_bits = l2_bits
        self.cluster = 1 << cluster_bits
        self.per_table = 1 << l2_bits
        self.size = size
        self.backing = backing
        # As qemu lays out an image with a backing file name of that length.
        if l1_offset is None:
            l1_offset = HEADER + -(-len(backing) // 8) * 8
        self.l1_offset = l1_offset
        self.l1_size = -(-size // (self.cluster * self.per_table))
        self.end = l1_offset + -(-8 * self.l1_size // 512) * 512
        self.fields = {}
        self.l1 = {}            # L2 table number -> offset
        self.l1_entries = {}    # L1 entries that override l1
        self.entries = {}
        self.content = {}
        self.parts = []

    def append(self, data, align=512, shift=0):
        """Append bytes to the file, SHIFT bytes after a multiple of ALIGN.
        Returns their offset.
        """
        self.end += (shift - self.end) % align
        offset = self.end
        self.parts.append((offset, bytes(data)))
        self.end += len(data)
        return offset

    def table(self, number, align=512, shift=0):
        """Place an L2 table at the end of the file."""
        self.l1[number] = self.append(bytes(8 * self.per_table), align,
                                      shift)
        return self.l1[number]

    def entry(self, index, value):
        self.entries[index] = value

    def normal(self, index, data, align=512, shift=0):
        self.content[index] = data
        data = data.ljust(self.cluster, b"\0")
        offset = self.append(data, align, shift)
        self.entry(index, offset)
        return offset

    def compressed_entry(self, offset, length):
        shift = 63 - self.bits
        assert offset < 1 << shift and length < self.cluster
        return OFLAG_COMPRESSED | length << shift | offset

    def compressed(self, index, stream, data=b"", length=None):
        """Append compressed data; LENGTH overrides its length in the entry."""
        self.content[index] = data
        offset = self.append(stream, 1)
        self.entry(index, self.compressed_entry(
            offset, len(stream) if length is None else length))
        return offset

    def field(self, offset, value):
        """Overwrite bytes of the header."""
        self.fields[offset] = value

    def save(self, path, raw=None):
        for index in self.entries:
            number = index // self.per_table
            if number not in self.l1:
                self.table(number)
        with open(path, "wb") as f:
            f.write(struct.pack(">4sIQIIQBBHIQ", b"QFI\xfb", 1,
                                HEADER if self.backing else 0,
                                len(self.backing), 0, self.size, self.bits,
                                self.l2_bits, 0, 0, self.l1_offset))
            f.write(self.backing)
            for offset, value in self.fields.items():
                f.seek(offset)
                f.write(value)
            for offset, data in self.parts:
                f.seek(offset)
                f.write(data)
            for number, offset in {**self.l1, **self.l1_entries}.items():
                f.seek(self.l1_offset + 8 * number)
                f.write(struct.pack(">Q", offset))
            for index, value in self.entries.items():
                number, rest = divmod(index, self.per_table)
                f.seek(self.l1[number] + 8 * rest)
                f.write(struct.pack(">Q", value))
            f.truncate(self.end)
        if raw is not None:
            with open(raw, "wb") as f:
                for index, data in self.content.items():
                    f.seek(index * self.cluster)
                    f.write(data[:self.cluster])
                f.truncate(self.size)


def empty(cluster_bits, l2_bits, size, path, backing=""):
    """An empty image of any geometry, for qemu-io to write to."""
    Image(int(cluster_bits), int(l2_bits), int(size),
          backing=os.fsencode(backing)).save(path)


def geometry(cluster_bits, l2_bits, path, raw):
    """Normal and compressed clusters at the edges of L2 tables, one table
    empty; L1 table, L2 tables and clusters at unaligned offsets.
    """
    from qcow2 import deflate, text
    bits, l2_bits = int(cluster_bits), int(l2_bits)
    rng = random.Random(bits * 100 + l2_bits)
    cluster, table = 1 << bits, 1 << l2_bits
    # Only two large tables: qemu's map visits each cluster.
    last = 3 if bits + l2_bits < 26 else 1
    image = Image(bits, l2_bits,
                  (last * table + 5) * cluster - 512 * (bits > 9),
                  l1_offset=48 + rng.randrange(1000))
    edges = [0, 1, 2, 3, 4, table // 2, table - 2, table - 1]
    if last == 3:
        edges += [2 * table, 2 * table + 1, 3 * table - 1]
    edges += range(last * table, last * table + 5)
    for i in edges:
        data = text("cluster %d" % i, cluster)
        kind = rng.randrange(6)
        if kind == 0:
            image.normal(i, data, cluster, 512 * rng.randrange(cluster // 512))
        elif kind < 3:
            image.normal(i, data)
        elif kind < 5:
            image.compressed(i, deflate(data), data)
    for number, shift in {0: 0, 2: 8, last: 13}.items():
        if number <= last:
            image.table(number, 512, shift)
    image.save(path, raw)


def damage(what, path, raw):
    """70 clusters of 4096 bytes in two tables, some of them damaged or beyond
    the end of the file.  Prints the expected output of status_of.
    """
    from qcow2 import deflate, deflate_unfinished, text
    image = Image(12, 6, 70 * 4096)
    data = [text("cluster %d" % i, 4096) for i in range(70)]
    status = ["same"] * 70
    image.table(0)
    image.table(1)
    for i, d in enumerate(data):
        image.normal(i, d)

    def compressed(i, stream=None, outcome="same", length=None):
        stream = deflate(data[i]) if stream is None else stream
        image.compressed(i, stream, data[i], length)
        status[i] = outcome

    def bad(i, entry):
        image.entry(i, entry)
        status[i] = "EIO"

    half = len(deflate(data[0])) // 2
    if what == "entries":
        compressed(1)
        compressed(2, None, "EIO", 0)
        compressed(4, None, "EIO", 1)
        compressed(6, None, "EIO", half)
        compressed(8, deflate(data[8]) + b"junk")
        compressed(9, None, "same", len(deflate(data[9])) + 1)
        compressed(10, None, "same", 4095)
        compressed(11, deflate(data[11] + b"more"))
        compressed(12, deflate(data[12][:-1]), "EIO")
        compressed(14, deflate_unfinished(data[14]))
        compressed(15, b"\x78\xda" + deflate(data[15]), "EIO")
        compressed(17, b"\xff" * 100, "EIO")
        compressed(19, bytes(100), "EIO")
        for i, wrong in ((21, 1), (23, 8), (25, 256), (27, 511), (29, 4095),
                         (63, 1), (64, 1), (69, 1)):
            bad(i, image.entries[i] + wrong)
        bad(31, 1)
        # The length reaches beyond the end of the file, the stream does not.
        compressed(40, None, "same", 4000)
    elif what == "end":
        image.append(b"x", 1)
        end = -(-image.end // 512) * 512
        for i, entry in ((0, end), (2, end + 512), (6, 0x7ffffffffffffe00),
                         (4, image.entries[4] | 1 << 62), (8, 1 << 40),
                         (10, image.compressed_entry(image.end + 4096, 300)),
                         (12, image.compressed_entry((1 << 51) - 1, 4095)),
                         (69, end)):
            bad(i, entry)
        # The file ends in the middle of this stream.
        compressed(14, None, "EIO")
        image.end -= half
    elif what != "none":
        image.l1_entries[1] = image.end if what == "table-at-end" \
            else int(what, 0)
        status[64:] = ["EIO"] * 6
    image.save(path, raw)
    runs = []
    for i, s in enumerate(status):
        if runs and runs[-1][2] == s:
            runs[-1][1] += 1
        else:
            runs.append([i, 1, s])
    print("; ".join("%d %d %s" % tuple(r) for r in runs))


def writes(seed, size, cluster, count):
    """Random commands for qemu-io, with data from the files src0 to src3
    and noise.  Only unallocated clusters get compressed writes: over an
    allocated one qemu writes the compressed bytes as if they were data.
    """
    size, cluster = int(size), int(cluster)
    rng = random.Random(int(seed))
    clusters = -(-size // cluster)
    free = set(range(clusters))
    for _ in range(int(count)):
        source = "src%d" % rng.randrange(4) if rng.random() < 0.9 else "noise"
        if rng.random() < 0.4 and free:
            first = rng.choice(sorted(free))
            for i in range(first, min(clusters, first + rng.randrange(1, 4))):
                if i in free:
                    print("write -q -c -s %s %d %d" % (
                        source, i * cluster, min(cluster, size - i * cluster)))
                    free.discard(i)
            continue
        most = rng.choice((1, 8, 5 * cluster // 512))
        length = min(size, rng.randrange(1, most + 1) * 512)
        at = rng.randrange((size - length) // 512 + 1) * 512
        if rng.random() < 0.3:
            at = at // cluster * cluster
        print("write -q %s %d %d" % (
            "-z" if rng.random() < 0.05 else "-s " + source, at, length))
        free.difference_update(range(at // cluster,
                                     (at + length - 1) // cluster + 1))


if __name__ == "__main__":
    {"empty": empty, "geometry": geometry, "damage": damage,
     "writes": writes}[sys.argv[1]](*sys.argv[2:])
