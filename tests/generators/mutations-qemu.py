#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Asks qemu about the images that 'mutations DIRECTORY' has written:
#
#     mutations-qemu.py DIRECTORY < WHAT-IT-PRINTED
#
# For each image a line: "ok TITLE", or "not ok TITLE" and lines that begin
# with a tab and say what differs.
#
# qemu-io opens many images one after the other in one process, since starting
# one for each would take the time.  What it says on stdout is parted by the
# answers to 'help quit'.  If an image kills it, that is the answer, and the
# next process goes on behind it.

import os
import re
import subprocess
import sys

MARK = "quit -- exit the program"
BATCH = 40
READ = 32


class View:
    """What is expected of an image, or of a snapshot in it."""
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
    """What qemu-io says of each: a list of lines.  Stops at its end."""
    args = ["qemu-io", "--object", "secret,id=s,data=tiger"]
    for row in rows:
        for c in commands(row):
            args += ["-c", c]
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, timeout=60)
    answers = p.stdout.decode().split(MARK + "\n")
    return [a.splitlines() for a in answers[:-1]], p.returncode


def size_of(text):
    """'30 KiB' and so on: qemu rounds to three digits."""
    number, unit = text.split()
    return float(number) * 1024 ** ("bytes KiB MiB GiB TiB PiB EiB".split()
                                    .index(unit))


def answer(lines):
    """The size, or None if it was not opened; what was read where."""
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
    """What differs."""
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
            out.append("at %d: qemu says %s, not %s" % (
                offset, shown(got), shown(wanted)))
    return out


def snapshot(row, view):
    """As qemu-img reads it."""
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
    answers, status = run(batch)
    for row, lines in zip(batch, answers):
        problems = compare(row.views[0], *answer(lines))
        for view in row.views[1:]:
            problems += ["snapshot %s: %s" % (view.name, p)
                         for p in snapshot(row, view)]
        report(row, problems)
    rows = rows[len(answers):]
    if len(answers) < len(batch):
        report(rows.pop(0), ["qemu-io ended with status %d" % status])
