#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Replaces the snapshot table of a qcow2 image:
#
#     snapshot-table.py IMAGE < LIST
#
# Each line of LIST is an entry, made of words KEY=VALUE:
#
#     id=TEXT name=TEXT    percent-encoded; {} is the number of the entry,
#                          from 1; default {} and empty
#     fill=N               pad the name to N bytes
#     like=N               L1 table, date and size of the image's present
#                          N-th snapshot
#     l1=OFFSET entries=N  its L1 table; default that of the active layer
#     step=N               with 'times': L1 tables are N bytes apart
#     size=N               virtual size; default that of the active layer
#     date=SECONDS vm=N    date and VM state size; default 0
#     extra=N              bytes of extra data; default 16
#     times=N              repeat the entry N times
#
# The table is appended to the file, aligned to 2 MiB; its offset and length
# are printed.  The refcounts are not updated; readers ignore them.

import os
import struct
import sys
from urllib.parse import unquote_to_bytes

path = sys.argv[1]
image = open(path, "r+b")
head = image.read(72)
size, = struct.unpack_from(">Q", head, 24)
l1_size, l1_offset = struct.unpack_from(">IQ", head, 36)
count, at = struct.unpack_from(">IQ", head, 60)


def pad(data):
    return data + bytes(-len(data) % 8)


def present():
    """The image's snapshots."""
    pos = at
    for _ in range(count):
        image.seek(pos)
        fixed = image.read(40)
        l1, entries, id_len, name_len, date = struct.unpack_from(
            ">QIHHI", fixed)
        extra, = struct.unpack_from(">I", fixed, 36)
        disk = size
        if extra >= 16:
            disk, = struct.unpack_from(">Q", image.read(16), 8)
        yield {"l1": l1, "entries": entries, "date": date, "size": disk}
        pos += -(-(40 + extra + id_len + name_len) // 8) * 8


def text(field, number):
    return unquote_to_bytes(field).replace(b"{}", b"%d" % number)


def entry(e, number, nth):
    name = text(e.get("name", ""), number)
    name = name.ljust(int(e.get("fill", 0)), b"x")
    ident = text(e.get("id", "{}"), number)
    vm = int(e.get("vm", 0))
    extra = struct.pack(">QQq", vm, e["size"], -1)
    length = int(e.get("extra", 16))
    extra = extra.ljust(length, b"\xee")[:length]
    return pad(struct.pack(
        ">QIHHIIQII", e["l1"] + nth * int(e.get("step", 0)), e["entries"],
        len(ident), len(name), e["date"], 0, 0, vm & 0xffffffff,
        length) + extra + ident + name)


snapshots = list(present())
table = []
for line in sys.stdin:
    given = dict(word.split("=", 1) for word in line.split())
    e = {"l1": l1_offset, "entries": l1_size, "date": 0, "size": size}
    if "like" in given:
        e = dict(snapshots[int(given["like"]) - 1])
    for key in "l1", "entries", "date", "size":
        if key in given:
            e[key] = int(given.pop(key), 0)
    e.update(given)
    for nth in range(int(e.get("times", 1))):
        table.append(entry(e, len(table) + 1, nth))
data = b"".join(table)
offset = -(-image.seek(0, os.SEEK_END) // (2 << 20)) * (2 << 20)
image.seek(offset)
image.write(data)
image.seek(60)
image.write(struct.pack(">IQ", len(table), offset))
image.close()
print(offset, len(data))
