#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Makes the seeds that qemu-img can't write, for make-seeds.sh:
#
#     seeds.py extensions IMAGE NEW      header extensions of all kinds
#     seeds.py state IMAGE NEW           marked corrupt
#     seeds.py snapshot-table IMAGE NEW  entries with other extra data
#     seeds.py all-ones IMAGE NEW        bitmaps with all-ones entries
#     seeds.py luks LUKS IMAGE NEW       a LUKS header appended to an image
#     seeds.py chain IMAGES RAW NEW      all in one file, as in chain.c
#     seeds.py cut DIRECTORY             the seeds of other fuzzers, from the
#                                        images in DIRECTORY/disk/image
#
# All images, except for 'cut' and 'chain', have version 3 and clusters of 512
# bytes.

import os
import struct
import sys

CLUSTER = 512
LUKS, BITMAPS, FEATURES = 0x0537be77, 0x23852875, 0x6803f857
UNKNOWN, END = 0x12345678, 0
COMPRESSED = 1 << 62
OFFSET = 0x00fffffffffffe00


def read(path):
    with open(path, "rb") as f:
        return bytearray(f.read())


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def get(form, data, offset):
    return struct.unpack_from(">" + form, data, offset)


def append(image, data):
    """Append whole clusters.  Returns their offset."""
    image += bytes(-len(image) % CLUSTER)
    offset = len(image)
    image += data + bytes(-len(data) % CLUSTER)
    return offset


def extensions_of(image):
    """The header extensions: (type, offset of the data)."""
    version, = get("I", image, 4)
    pos = 72 if version == 2 else get("I", image, 100)[0]
    while version > 1 and pos + 8 <= len(image):
        kind, length = get("II", image, pos)
        if kind == END:
            return
        yield kind, pos + 8
        pos += 8 + -(-length // 8) * 8


def place_of(image, wanted):
    return next((at for kind, at in extensions_of(image) if kind == wanted),
                None)


# --- Images ---

def extension(kind, data):
    return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def feature(kind, bit, name):
    return struct.pack(">BB46s", kind, bit, name)


def extensions(image):
    table = feature(0, 0, b"dirty bit") + feature(1, 0, b"lazy refcounts")
    added = (extension(FEATURES, table + feature(2, 0, b"bitmaps"))
             + extension(UNKNOWN, b"hello") + extension(UNKNOWN, b"")
             + extension(END, b""))
    at, = get("I", image, 100)
    image[at:at + len(added)] = added
    return image


def state(image):
    struct.pack_into(">Q", image, 72, 1 << 1)
    return image


def snapshot_table_of(image):
    """The bytes of each entry of the snapshot table."""
    version, = get("I", image, 4)
    count, pos = get("IQ", image, 60) if version > 1 else (0, 0)
    for _ in range(count):
        id_length, name_length = get("HH", image, pos + 12)
        extra, = get("I", image, pos + 36)
        length = -(-(40 + extra + id_length + name_length) // 8) * 8
        yield bytes(image[pos:pos + length])
        pos += length


def snapshot_table(image):
    entries = []
    for entry, extra in zip(snapshot_table_of(image), (0, 8, 24)):
        id_length, name_length = get("HH", entry, 12)
        had, = get("I", entry, 36)
        names = entry[40 + had:40 + had + id_length + name_length]
        data = entry[40:40 + had].ljust(extra, b"\xff")[:extra]
        new = entry[:36] + struct.pack(">I", extra) + data + names
        entries.append(new + bytes(-len(new) % 8))
    offset = append(image, b"".join(entries))
    struct.pack_into(">IQ", image, 60, len(entries), offset)
    return image


def bitmap_directory_of(image):
    at = place_of(image, BITMAPS)
    if at is None:
        return None
    length, offset = get("QQ", image, at + 8)
    return offset, length


def all_ones(image):
    pos, length = bitmap_directory_of(image)
    end = pos + length
    while pos < end:
        table, entries = get("QI", image, pos)
        for i in range(entries):
            struct.pack_into(">Q", image, table + 8 * i, 1)
        name_length, extra = get("HI", image, pos + 18)
        pos += -(-(24 + extra + name_length) // 8) * 8
    return image


def luks(header, image):
    """Append the LUKS header with the first key slot, and few iterations.
    (This results in a different key, for which the fuzzer computes the
    digest.)"""
    offset, length = get("QQ", header, place_of(header, LUKS))
    for field in 164, 208 + 4:
        struct.pack_into(">I", header, offset + field, 10)
    key, = get("I", header, offset + 108)
    at = append(image, header[offset:offset + 4096 + key * 4000])
    struct.pack_into(">I", image, 32, 2)
    start, = get("I", image, 100)
    new = extension(LUKS, struct.pack(">QQ", at, length)) + extension(END, b"")
    image[start:start + len(new)] = new
    return image


def chain(*files):
    """Join a chain.  The lengths are in sectors; 0 ends it early."""
    images = [bytes(f) + bytes(-len(f) % 512) for f in files[:-1]]
    lengths = [len(i) // 512 for i in images] + [0] * (4 - len(images))
    return struct.pack(">4H", *lengths) + b"".join(images) + files[-1]


# --- Parts of images ---

def compressed_clusters(image):
    """(compression type, cluster_bits, stream) of each; not in version 1."""
    version, bits = get("I", image, 4)[0], get("I", image, 20)[0]
    if version == 1:
        return
    incompatible = get("Q", image, 72)[0] if version == 3 else 0
    step = 16 if incompatible & 1 << 4 else 8
    l1_size, l1 = get("IQ", image, 36)
    for i in range(l1_size):
        l2 = get("Q", image, l1 + 8 * i)[0] & OFFSET
        for at in range(l2, l2 + (1 << bits), step) if l2 else ():
            entry, = get("Q", image, at)
            if not entry & COMPRESSED:
                continue
            shift = 62 - (bits - 8)
            host = entry & ((1 << shift) - 1)
            sectors = (entry >> shift & ((1 << bits - 8) - 1)) + 1
            end = host // 512 * 512 + sectors * 512
            yield incompatible >> 3 & 1, bits, image[host:end]


def parts_of(image):
    """(fuzzer, seed) for the parts of the image."""
    version, bits = get("I", image, 4)[0], get("I", image, 20)[0]
    cluster = 512 if version == 1 else 1 << bits
    yield "format/header", image[:cluster].rstrip(b"\0")
    table = b"".join(snapshot_table_of(image))
    if table:
        yield "format/snapshot-entry", table
    if bitmap_directory_of(image):
        offset, length = bitmap_directory_of(image)
        yield "format/bitmap-entry", (image[24:32] + bytes([bits - 9])
                         + image[offset:offset + length])
    at = place_of(image, LUKS)
    if at is not None:
        offset, length = get("QQ", image, at)
        yield "image/luks", struct.pack(">Q", length) + image[offset:offset + 592]
    for kind, bits, stream in list(compressed_clusters(image))[:1]:
        yield "codec/inflate", bytes([kind | (bits - 9) << 1]) + stream


def cut(directory):
    images = os.path.join(directory, "disk", "image")
    for name in os.listdir(images):
        for fuzzer, data in parts_of(read(os.path.join(images, name))):
            os.makedirs(os.path.join(directory, fuzzer), exist_ok=True)
            write(os.path.join(directory, fuzzer, name), data)


command, args = sys.argv[1], sys.argv[2:]
if command == "cut":
    cut(*args)
else:
    make = {"extensions": extensions, "state": state,
            "snapshot-table": snapshot_table, "all-ones": all_ones,
            "luks": luks, "chain": chain}[command]
    write(args[-1], make(*map(read, args[:-1])))
