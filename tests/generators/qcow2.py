# SPDX-License-Identifier: BSD-3-Clause
#
# Makes qcow2 images that qemu-img can't make: entry by entry, with any
# compressed data.
#
# A test's Python program uses it like this:
#     from qcow2 import Image, deflate, frame_raw, frame_rle
#     image = Image(cluster_bits=16, size=1 << 20)
#     image.normal(0, data)
#     image.compressed(1, deflate(data))
#     image.save("image.qcow2")
# and compares with qemu.
#
# Layout: header, an empty refcount table, the L1 table, all L2 tables, and
# then the clusters in the order in which the test adds them.  Readers ignore
# the missing refcounts.

import struct
import zlib

OFLAG_COPIED = 1 << 63
OFLAG_COMPRESSED = 1 << 62
OFLAG_ZERO = 1


class Image:
    def __init__(self, cluster_bits=16, size=1 << 20, version=3, zstd=False):
        self.bits = cluster_bits
        self.cluster = 1 << cluster_bits
        self.size = size
        self.version = version
        self.zstd = zstd
        self.per_table = self.cluster // 8
        clusters = -(-size // self.cluster)
        self.l1_size = max(1, -(-clusters // self.per_table))
        self.l1_offset = 2 * self.cluster
        self.l2_offset = self.align(self.l1_offset + 8 * self.l1_size)
        self.data_offset = self.l2_offset + self.l1_size * self.cluster
        self.entries = {}
        self.parts = []
        self.end = self.data_offset

    def align(self, offset):
        return -(-offset // self.cluster) * self.cluster

    def append(self, data, aligned=True):
        """Append bytes to the file.  Returns their offset."""
        if aligned:
            self.end = self.align(self.end)
        offset = self.end
        self.parts.append((offset, bytes(data)))
        self.end += len(data)
        return offset

    def entry(self, index, value):
        self.entries[index] = value

    def normal(self, index, data):
        data = data.ljust(self.cluster, b"\0")
        self.entry(index, self.append(data) | OFLAG_COPIED)

    def zero(self, index):
        self.entry(index, OFLAG_ZERO)

    def zero_alloc(self, index, data):
        data = data.ljust(self.cluster, b"\0")
        self.entry(index, self.append(data) | OFLAG_COPIED | OFLAG_ZERO)

    def compressed_entry(self, offset, length, sectors=None):
        """The entry for LENGTH bytes at OFFSET; SECTORS overrides the
        number of sectors after the first."""
        if sectors is None:
            sectors = (offset + length - 1) // 512 - offset // 512
        shift = 62 - (self.bits - 8)
        assert offset < 1 << shift and sectors < 1 << (self.bits - 8)
        return OFLAG_COMPRESSED | sectors << shift | offset

    def compressed(self, index, stream, sectors=None, aligned=False):
        offset = self.append(stream, aligned)
        value = self.compressed_entry(offset, len(stream), sectors)
        self.entry(index, value)
        return offset

    def header(self):
        head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", self.version,
                           0, 0, self.bits, self.size, 0, self.l1_size,
                           self.l1_offset, self.cluster, 1, 0, 0)
        if self.version >= 3:
            head += struct.pack(">QQQIIB7x", 8 if self.zstd else 0, 0, 0, 4,
                                112, 1 if self.zstd else 0)
        return head

    def save(self, path):
        with open(path, "wb") as f:
            f.write(self.header())
            f.seek(self.l1_offset)
            for i in range(self.l1_size):
                table = self.l2_offset + i * self.cluster
                f.write(struct.pack(">Q", table | OFLAG_COPIED))
            for index, value in self.entries.items():
                f.seek(self.l2_offset + 8 * index)
                f.write(struct.pack(">Q", value))
            for offset, data in self.parts:
                f.seek(offset)
                f.write(data)
            f.truncate(max(self.end, self.data_offset))


def text(tag, size):
    """SIZE bytes that compress well and do not repeat."""
    lines = b"".join(b"%s %08d\n" % (tag.encode(), i)
                     for i in range(size // (len(tag) + 10) + 1))
    return lines[:size]


# Deflate streams, by default with qemu's window of 4 KiB.

def deflate(data, level=9, window=12):
    c = zlib.compressobj(level, zlib.DEFLATED, -window)
    return c.compress(data) + c.flush()


def deflate_unfinished(data):
    """All of the data, but no final block: the stream has no end."""
    c = zlib.compressobj(9, zlib.DEFLATED, -12)
    return c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH)


def deflate_stored(data, final=True):
    """Stored blocks of at most 65535 bytes."""
    out = b""
    for at in range(0, len(data), 65535):
        piece = data[at:at + 65535]
        last = final and at + 65535 >= len(data)
        out += struct.pack("<BHH", 1 if last else 0,
                           len(piece), len(piece) ^ 0xffff) + piece
    return out


# Zstandard frames of raw or RLE blocks.

BLOCK = 128 * 1024


def _frame(size, blocks, sized=True):
    # Single segment with a 4-byte size; or no size and a window of 128 KiB.
    head = struct.pack("<IBI", 0xfd2fb528, 0xa0, size) if sized \
        else struct.pack("<IBB", 0xfd2fb528, 0x00, 0x38)
    out = head
    for i, (kind, length, payload) in enumerate(blocks):
        last = 1 if i == len(blocks) - 1 else 0
        out += struct.pack("<I", length << 3 | kind << 1 | last)[:3] + payload
    return out


def frame_raw(data, sized=True):
    pieces = [data[i:i + BLOCK] for i in range(0, len(data), BLOCK)] or [b""]
    return _frame(len(data), [(0, len(p), p) for p in pieces], sized)


def frame_rle(byte, size, sized=True):
    lengths = [min(BLOCK, size - i) for i in range(0, size, BLOCK)]
    return _frame(size, [(1, n, bytes([byte])) for n in lengths], sized)


def frame_skippable(data):
    return struct.pack("<II", 0x184d2a53, len(data)) + data
