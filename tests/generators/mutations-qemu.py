#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Compares qemu's reading of the images that 'mutations DIRECTORY' wrote with
# the expected content:
#
#     mutations-qemu.py DIRECTORY < OUTPUT-OF-MUTATIONS
#
# For each image it prints "ok TITLE", or "not ok TITLE" and a line with a tab
# for each difference.
#
# One qemu-io process opens many images in turn, because starting a process
# for each would take most of the time.  The output of 'help quit' marks the
# end of each image's output.  If an image crashes qemu-io, that row fails and
# a new process continues with the next image.

import os
import re
import subprocess
import sys

MARK = "quit -- exit the program"
BATCH = 40
READ = 32


class View:
    """The expected content of an image, or of one of its snapshots."""
    def __init__(self, name=None):
        self.name = name
        self.refused = False
        self.size = None
        self.units = []         # offset; bytes, EIO or EIO-or-zeros


class Row:
    def __init__(self, number, driver, secret, title):
        self.number, self.driver, self.secret = number, driver, secret
        self.title = title
        self.views = [View()]
        self.path = os.path.join(sys.argv[1], number, "image")

    def options(self):
        o = "driver=%s,file.driver=file,file.filename=%s" % (
            self.driver, self.path)
        if self.secret != "-":
            o += ",encrypt.format=%s,encrypt.key-secret=s" % self.secret
        data = os.path.join(os.path.dirname(self.path), "data.raw")
        if os.path.exists(data):
            o += ",data-file.driver=file,data-file.filename=" + data
        return o


def parse(lines):
    rows = []
    for line in lines:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "row":
            rows.append(Row(*rest.split(" ", 3)))
        elif word == "snapshot":
            rows[-1].views.append(View(rest))
        elif word == "refuse":
            rows[-1].views[-1].refused = True
        elif word == "size":
            rows[-1].views[-1].size = int(rest)
        elif word == "at":
            offset, data = rest.split()
            rows[-1].views[-1].units.append(
                (int(offset), data if data.startswith("EIO")
                 else bytes.fromhex(data)))
    return rows


def commands(row):
    view = row.views[0]
    out = ["open -r -o " + row.options(), "length"]
    for offset, data in view.units:
        out.append("read -v %d %d" % (
            offset, 1 if isinstance(data, str) else len(data)))
    return out + ["close", "help quit"]


def run(rows):
    """The lines that qemu-io prints for each row, up to a crash."""
    args = ["qemu-io", "--object", "secret,id=s,data=tiger"]
    for row in rows:
        for c in commands(row):
            args += ["-c", c]
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, timeout=60)
    outputs = p.stdout.decode().split(MARK + "\n")
    return [a.splitlines() for a in outputs[:-1]], p.returncode


def size_of(text):
    """The number for '30 KiB', which qemu rounds to three digits."""
    number, unit = text.split()
    return float(number) * 1024 ** ("bytes KiB MiB GiB TiB PiB EiB".split()
                                    .index(unit))


def result_of(lines):
    """The size, or None if qemu did not open it; the result of each read."""
    size, units, data = None, [], b""
    for line in lines:
        hexdump = re.match("[0-9a-f]{8,}:  ((?:[0-9a-f]{2} )+)", line)
        if hexdump:
            data += bytes.fromhex(hexdump[1])
        elif line.startswith("read failed"):
            units.append("EIO")
        elif re.match(r"read \d+/\d+ bytes", line):
            units.append(data)
            data = b""
        elif size is None and re.fullmatch(r"[\d.]+ ([KMGTPE]iB|bytes)", line):
            size = size_of(line)
    return size, units


def shown(data):
    return data if isinstance(data, str) else data.hex()


def agrees(wanted, got):
    if wanted == "EIO-or-zeros":
        return got == "EIO" or not any(got)
    return wanted == got


def compare(view, size, units):
    """The differences."""
    if view.refused or size is None:
        return [] if view.refused and size is None else \
            ["opened by qemu"] if view.refused else ["refused by qemu"]
    out = []
    if abs(size - view.size) > view.size * 0.01:
        out.append("size %d instead of %d" % (size, view.size))
    if len(units) != len(view.units):
        return out + ["%d units were read" % len(units)]
    for (offset, wanted), got in zip(view.units, units):
        if not agrees(wanted, got):
            out.append("at %d: qemu reads %s instead of %s" % (
                offset, shown(got), shown(wanted)))
    return out


def snapshot(row, view):
    """The differences of a snapshot as qemu-img reads it."""
    raw = os.path.join(sys.argv[1], "raw")
    p = subprocess.run(["qemu-img", "convert", "-f", row.driver, "-O", "raw",
                        "-l", "snapshot.name=" + view.name, row.path, raw],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    if p.returncode != 0:
        if view.refused or any(data == "EIO" for _, data in view.units):
            return []
        return ["refused by qemu"]
    with open(raw, "rb") as f:
        got = f.read()
    units = [got[offset:][:len(data)] for offset, data in view.units]
    return compare(view, len(got), units)


def report(row, problems):
    print("not ok" if problems else "ok", row.title)
    for p in problems[:20]:
        print("\t" + p)


rows = parse(sys.stdin)
while rows:
    batch = rows[:BATCH]
    outputs, status = run(batch)
    for row, lines in zip(batch, outputs):
        problems = compare(row.views[0], *result_of(lines))
        for view in row.views[1:]:
            problems += ["snapshot %s: %s" % (view.name, p)
                         for p in snapshot(row, view)]
        report(row, problems)
    rows = rows[len(outputs):]
    if len(outputs) < len(batch):
        report(rows.pop(0), ["qemu-io exited with status %d" % status])
