# SPDX-License-Identifier: BSD-3-Clause
"""Damage: fields of a valid image are changed at random.

The server may refuse the image (with status 1 and a message that names the
file), and reads may be EIO; all other data must be what qemu reads.  `Judge`
implements the intended differences from qemu.  The server must not die, hang
or cause a sanitizer's report.
"""

import os
import re
import shutil
import struct

import nbd

from checks import first_difference, windows
from images import passphrases
from servers import (HOLE, ZERO, Mismatch, NoOracle, Ours, Qemu, Refused,
                     at_places, map_of, zeros)

OFFSET_MASK = 0x00fffffffffffe00
COPIED = 1 << 63
# Of a disk that damage has made huge, only this many block status responses
# are read.
MOST_ANSWERS = 40
# The number of differing reads that are divided further, per view.
MOST_FAILURES = 1500
# The number of restarts of qemu, per view.
MOST_RESTARTS = 20

V1_HEADER = [("magic", 0, 4), ("version", 4, 4), ("backing_offset", 8, 8),
             ("backing_size", 16, 4), ("mtime", 20, 4), ("size", 24, 8),
             ("cluster_bits", 32, 1), ("l2_bits", 33, 1), ("padding", 34, 2),
             ("crypt_method", 36, 4), ("l1_offset", 40, 8)]
V2_HEADER = [("magic", 0, 4), ("version", 4, 4), ("backing_offset", 8, 8),
             ("backing_size", 16, 4), ("cluster_bits", 20, 4),
             ("size", 24, 8), ("crypt_method", 32, 4), ("l1_size", 36, 4),
             ("l1_offset", 40, 8), ("refcount_offset", 48, 8),
             ("refcount_clusters", 56, 4), ("nb_snapshots", 60, 4),
             ("snapshots_offset", 64, 8)]
V3_HEADER = V2_HEADER + [("incompatible", 72, 8), ("compatible", 80, 8),
                         ("autoclear", 88, 8), ("refcount_order", 96, 4),
                         ("header_length", 100, 4),
                         ("compression_type", 104, 1), ("padding", 105, 7)]
LUKS_HEADER = [("magic", 0, 6), ("version", 6, 2), ("cipher", 8, 32),
               ("mode", 40, 32), ("hash", 72, 32), ("payload", 104, 4),
               ("key_bytes", 108, 4), ("digest", 112, 20), ("salt", 132, 32),
               ("iterations", 164, 4)]
LUKS_SLOT = [("active", 0, 4), ("iterations", 4, 4), ("salt", 8, 32),
             ("material", 40, 4), ("stripes", 44, 4)]
SNAPSHOT = [("l1_offset", 0, 8), ("l1_size", 8, 4), ("id_size", 12, 2),
            ("name_size", 14, 2), ("date", 16, 8), ("vm_state", 32, 4),
            ("extra_size", 36, 4), ("vm_state64", 40, 8), ("disk_size", 48, 8)]
BITMAP = [("table", 0, 8), ("table_size", 8, 4), ("flags", 12, 4),
          ("type", 16, 1), ("granularity", 17, 1), ("name_size", 18, 2),
          ("extra_size", 20, 4)]


class Layout:
    """The fields of an image: `fields` has a list of (name, offset, size) for
    each kind, as far as the image is valid."""

    def __init__(self, data):
        self.data = data
        self.fields = {}
        if data[:4] != b"QFI\xfb":
            return
        self.version = self.number(4, 4)
        if self.version == 1:
            self.look_at_v1()
        else:
            self.look_at_v2()
        for sort in list(self.fields):
            self.fields[sort] = [f for f in self.fields[sort]
                                 if f[1] + f[2] <= len(data)]
            if not self.fields[sort]:
                del self.fields[sort]

    def number(self, at, size):
        return int.from_bytes(self.data[at:at + size], "big")

    def look_at_v1(self):
        self.fields["header"] = V1_HEADER
        self.cluster = 1 << self.data[32]
        self.word = 8
        table = 8 << self.data[33]
        l1 = self.number(40, 8)
        span = self.cluster * (table // 8)
        self.look_at_l1("l1", l1, -(-self.number(24, 8) // span), table,
                        (1 << 63) - 1)
        self.backing_name()

    def look_at_v2(self):
        v3 = self.version >= 3
        self.fields["header"] = V3_HEADER if v3 else V2_HEADER
        self.cluster = 1 << min(21, self.number(20, 4))
        self.word = 16 if v3 and self.number(72, 8) & 16 else 8
        self.look_at_l1("l1", self.number(40, 8), self.number(36, 4),
                        self.cluster, OFFSET_MASK)
        self.backing_name()
        at = self.number(48, 8)
        self.fields["refcount"] = [("refcount[%d]" % i, at + 8 * i, 8)
                                   for i in range(8)]
        self.look_at_extensions(self.number(100, 4) if v3 else 72)
        self.look_at_snapshots()

    def backing_name(self):
        at, size = self.number(8, 8), self.number(16, 4)
        if at and 0 < size < 1024:
            self.fields["name"] = [("backing name", at, size)]

    def look_at_l1(self, name, at, count, table, mask):
        l1 = [(name + "[%d]" % i, at + 8 * i, 8)
              for i in range(min(count, 4096))]
        self.fields.setdefault("l1", []).extend(l1)
        l2 = self.fields.setdefault("l2", [])
        used = self.fields.setdefault("used l2", [])
        streams = self.fields.setdefault("stream", [])
        for entry, place, _ in l1:
            start = self.number(place, 8) & mask
            if not start or start >= len(self.data):
                continue
            for i in range(table // self.word):
                where = start + i * self.word
                field = ("%s.l2[%d]" % (entry, i), where, 8)
                l2.append(field)
                value = self.number(where, 8)
                if value:
                    used.append(field)
                if self.word == 16:
                    field = ("%s.bitmap[%d]" % (entry, i), where + 8, 8)
                    l2.append(field)
                    if self.number(where + 8, 8):
                        used.append(field)
                stream = self.stream(value)
                if stream:
                    streams.append((field[0] + " stream", stream, 16))

    def stream(self, value):
        """The host offset of a compressed cluster."""
        bits = self.cluster.bit_length() - 1
        if self.version == 1:
            return value & ((1 << 63 - bits) - 1) if value >> 63 else 0
        return value & ((1 << 70 - bits) - 1) if value >> 62 & 1 else 0

    def look_at_extensions(self, at):
        out = []
        while at + 8 <= self.cluster and at + 8 <= len(self.data):
            kind, size = self.number(at, 4), self.number(at + 4, 4)
            name = "extension %#x" % kind
            out += [(name + " type", at, 4), (name + " length", at + 4, 4)]
            if kind == 0 or size > self.cluster:
                break
            if 0 < size <= 64:
                out.append((name + " data", at + 8, size))
            if kind == 0x0537be77:
                self.look_at_luks(self.number(at + 8, 8))
                out += [(name + " offset", at + 8, 8),
                        (name + " size", at + 16, 8)] * 2
            elif kind == 0x23852875:
                self.look_at_bitmaps(self.number(at + 24, 8),
                                     self.number(at + 8, 4))
            at += 8 + (size + 7) // 8 * 8
        self.fields["extension"] = out

    def look_at_luks(self, at):
        out = [("luks." + n, at + o, s) for n, o, s in LUKS_HEADER]
        # The first slot has the key.
        for slot in 0, 0, 0, 1, 7:
            out += [("luks.slot[%d].%s" % (slot, n), at + 208 + 48 * slot + o,
                     s) for n, o, s in LUKS_SLOT]
        out.append(("luks.material", at + 4096, 4096))
        self.fields["luks"] = out

    def look_at_snapshots(self):
        at = self.number(64, 8)
        out = []
        for i in range(min(self.number(60, 4), 8)):
            out += [("snapshot[%d].%s" % (i, n), at + o, s)
                    for n, o, s in SNAPSHOT]
            self.look_at_l1("snapshot[%d].l1" % i, self.number(at, 8),
                            self.number(at + 8, 4), self.cluster, OFFSET_MASK)
            extra, ids = self.number(at + 36, 4), self.number(at + 12, 2)
            names = self.number(at + 14, 2)
            out.append(("snapshot[%d].id" % i, at + 40 + extra, ids))
            at = (at + 40 + extra + ids + names + 7) // 8 * 8
        self.fields["snapshot"] = out

    def look_at_bitmaps(self, at, count):
        out = []
        for i in range(min(count, 4)):
            out += [("bitmap[%d].%s" % (i, n), at + o, s)
                    for n, o, s in BITMAP]
            table, entries = self.number(at, 8), self.number(at + 8, 4)
            out += [("bitmap[%d][%d]" % (i, j), table + 8 * j, 8)
                    for j in range(min(entries, 20))]
            at += (24 + self.number(at + 20, 4) + self.number(at + 18, 2)
                   + 7) // 8 * 8
        self.fields["dirty"] = out


# The relative frequency of changes, by kind of field.
WEIGHTS = {"header": 3, "l1": 3, "l2": 2, "used l2": 10, "stream": 2,
           "extension": 2, "luks": 3, "snapshot": 3, "dirty": 2, "name": 1,
           "refcount": 0.2}


def another_number(rng, old, bits, length, cluster):
    """A number to replace OLD, often close to a valid one."""
    shift = cluster.bit_length() - 1
    choices = [
        lambda: old ^ 1 << rng.randrange(bits),
        lambda: old ^ 1 << rng.randrange(bits),
        lambda: old + rng.choice((-1, 1)),
        lambda: rng.choice((0, 0, 1, 2, 3, 511, 512, (1 << bits) - 1)),
        lambda: rng.getrandbits(rng.randrange(1, bits + 1)),
        lambda: rng.getrandbits(bits),
    ]
    if bits == 64:
        choices += [
            lambda: old ^ 1 << rng.randrange(9, shift + 8),
            lambda: old ^ 1 << 62,
            lambda: old ^ 1,
            lambda: rng.randrange(0, length + 3 * cluster, 512) | COPIED,
            lambda: rng.randrange(0, length + cluster, cluster) | COPIED,
            lambda: rng.randrange(0, length + cluster, cluster) | COPIED,
            # Near the end of the file.
            lambda: (length + rng.randrange(-2, 3) * cluster) // cluster
            * cluster | COPIED,
        ]
    return rng.choice(choices)() & (1 << bits) - 1


def change_field(rng, data, layout, field, kinds):
    """The new bytes of a field."""
    name, at, size = field
    old = bytes(data[at:at + size])
    if size > 8 or size == 0 or "magic" in name:
        new = bytearray(old)
        if new:
            new[rng.randrange(len(new))] ^= 1 << rng.randrange(8)
        return bytes(new)
    if kinds and rng.random() < 0.2:
        # The value of another field: entries then share a cluster.
        other = rng.choice(kinds)
        if other[2] == size:
            return bytes(data[other[1]:other[1] + size])
    number = int.from_bytes(old, "big")
    if name.startswith("luks") and "iterations" in name:
        # A number that is refused, or that takes little time.
        bit = rng.choice(list(range(12)) + [29, 30, 31])
        return (number ^ 1 << bit).to_bytes(size, "big")
    return another_number(rng, number, 8 * size, len(data),
                          layout.cluster).to_bytes(size, "big")


class Change:
    """New bytes at an offset of a file, or a new length."""

    def __init__(self, what, at, new=None):
        self.what, self.at, self.new = what, at, new

    def apply(self, data):
        if self.new is None:
            if self.at < len(data):
                del data[self.at:]
            else:
                data.extend(bytes(self.at - len(data)))
        else:
            data[self.at:self.at + len(self.new)] = self.new

    def makes_bitmaps(self):
        """True if it turns another header extension into that of bitmaps."""
        return self.new == BITMAPS and bool(EXTENSION_TYPE.match(self.what))

    def __str__(self):
        if self.new is None:
            return "length %d" % self.at
        return "%s at %d: %s" % (self.what, self.at, self.new.hex())


def choose_changes(rng, data):
    """Choose 1 to 20 changes of a file."""
    layout = Layout(data)
    fields = layout.fields
    sorts = [s for s in fields if s in WEIGHTS]
    count = rng.choice((1, 1, 1, 2, 2, 3, 5, 10, 20))
    out = []
    length = len(data)
    for _ in range(count):
        if not sorts or rng.random() < 0.07:
            length = rng.choice((rng.randrange(length + 1),
                                 rng.randrange(length * 3 // 4, length + 1),
                                 length // 512 * 512, length + 70000))
            out.append(Change("length", length))
            continue
        sort = rng.choices(sorts, [WEIGHTS[s] for s in sorts])[0]
        field = rng.choice(fields[sort])
        new = change_field(rng, data, layout, field, fields[sort])
        if new != data[field[1]:field[1] + field[2]]:
            out.append(Change(field[0], field[1], new))
    # Lengths last: the offsets refer to the original file.
    return sorted(out, key=lambda c: c.new is None)


# --- Comparison -------------------------------------------------------

# Reading the disk needs no refcounts, no bitmaps, and of the snapshots only
# the one that is read.  qemu loads all of them at once, and refuses the image
# if they are damaged.  So qemu gets the image without such damage.
NOT_NEEDED = re.compile(r"bitmap\[|refcount|"
                        r"extension 0x23852875 (data|length)")
EXTENSION_TYPE = re.compile(r"extension 0x\w+ type$")
BITMAPS = bytes.fromhex("23852875")
# With backing-format=, the plugin ignores the recorded formats.
FORMAT = re.compile(r"extension 0xe2792aca")
SNAPSHOT_TABLE = re.compile(r"snapshot\[\d+\]\.\w+$")
# The plugin does not read the snapshot table of backing files.
SNAPSHOTS = re.compile(r"nb_snapshots|snapshots_offset|snapshot\[")
LAST_OF_AUTOCLEAR = 95
# If the file is truncated, these may be missing altogether.
CUT_OFF = re.compile(r"[Bb]itmap|[Ss]napshot|refcount")
# Larger files are not changed.
LARGEST = 256 << 20
# The plugin accepts any version for the backing format "qcow".
ANY_VERSION = re.compile(r"qcow \(v1\) does not support qcow version|"
                         r"Unsupported qcow2 version 1\b")


class Case:
    """One damaged copy of a chain, or of its lower part."""

    def __init__(self, rng, chain, number):
        self.rng, self.chain = rng, chain
        layers = [layer for layer in chain.layers if layer.sort != "raw"]
        self.layer = chain.top if rng.random() < 0.85 else rng.choice(layers)
        victims = self.layer.files()
        self.victim = self.layer.path if rng.random() < 0.7 else \
            rng.choice(victims)
        if os.path.getsize(os.path.join(chain.dir, self.victim)) > LARGEST:
            # A data file, of which only the length is relevant.
            self.victim = self.layer.path
        with open(os.path.join(chain.dir, self.victim), "rb") as f:
            self.data = f.read()
        self.changes = choose_changes(rng, self.data)
        self.dir = os.path.join(chain.dir, "damaged%d" % number)
        self.make()

    def make(self):
        """Write the damaged file, and link the others."""
        shutil.rmtree(self.dir, ignore_errors=True)
        os.mkdir(self.dir)
        for name in self.layer.files():
            if name == self.victim:
                self.write(self.changes)
            else:
                os.link(os.path.join(self.chain.dir, name),
                        os.path.join(self.dir, name))

    def write(self, changes, bitmaps=True):
        data = bytearray(self.data)
        for change in changes:
            change.apply(data)
        if not bitmaps and len(data) > LAST_OF_AUTOCLEAR:
            # Without this bit, bitmaps are ignored.
            data[LAST_OF_AUTOCLEAR] &= ~1
        with open(os.path.join(self.dir, self.victim), "wb") as f:
            f.write(data)

    def describe(self):
        return "%s of %s: %s" % (
            self.victim, self.layer.path,
            "; ".join(str(change) for change in self.changes))

    def run(self, stats):
        try:
            self.examine(stats)
        except (Mismatch, nbd.Error) as e:
            raise Mismatch("damaged, %s: %s" % (self.describe(), e)) from e
        shutil.rmtree(self.dir)

    def reduce(self):
        """Drop the changes that are not needed for the mismatch."""
        for change in list(self.changes):
            left = [c for c in self.changes if c is not change]
            whole, self.changes = self.changes, left
            self.make()
            try:
                self.examine({})
            except Mismatch:
                continue
            except (NoOracle, nbd.Error):
                pass
            self.changes = whole
        self.make()

    def header(self, layer):
        """The present (version, name of the backing file, crypt_method)."""
        path = os.path.join(self.dir, layer.path)
        if layer.sort == "raw" or not os.path.exists(path):
            return 0, None, 0
        with open(path, "rb") as f:
            data = f.read(4096).ljust(48, b"\0")
            version, = struct.unpack_from(">I", data, 4)
            at, size = struct.unpack_from(">QI", data, 8)
            crypt, = struct.unpack_from(">I", data, 36 if version == 1 else 32)
            name = None
            if at and 0 < size < 1024 and at < 1 << 32:
                f.seek(at)
                # qemu and the plugin end it at a NUL byte.
                name = os.fsdecode(f.read(size).split(b"\0")[0])
        return version, name, crypt

    def sizes(self):
        """The present sizes of the layers that are images, the top first."""
        out = []
        for layer in self.layers():
            if layer.sort != "raw":
                with open(os.path.join(self.dir, layer.path), "rb") as f:
                    f.seek(24)
                    out += struct.unpack(">Q", f.read(8).rjust(8, b"\0"))
        return out

    def layers(self):
        """The present chain, of which damage may have removed a part."""
        known = {layer.path: layer for layer in self.layer.layers()}
        layer = self.layer
        while layer and layer.path in known:
            yield layer
            del known[layer.path]
            layer = known.get(self.header(layer)[1])

    def qemu_options(self):
        """Like Layer.qemu_options; also returns the passphrases."""
        secrets = []
        version = self.header(self.layer)[0]
        options = {"driver": "qcow" if version == 1 else "qcow2",
                   "file": {"driver": "file", "filename": self.layer.path}}
        node = options
        for layer in self.layers():
            crypt = self.header(layer)[2]
            if layer is not self.layer:
                node["backing"] = node = {}
            if crypt in (1, 2):
                node["encrypt"] = {"format": "aes" if crypt == 1 else "luks",
                                   "key-secret": "s%d" % len(secrets)}
                secrets.append(layer.secret or "tiger")
        return without_empty(options), secrets

    def our_parameters(self):
        """Like Layer.our_parameters."""
        out = ["allow=image-dir"]
        layers = list(self.layers())
        if any(layer.sort == "v1" for layer in layers):
            out += ["backing-format=" + ("raw" if layer.sort == "raw"
                                         else "qcow") for layer in layers[1:]]
        kinds = {1: "aes", 2: "luks"}
        return out + passphrases(
            (kinds.get(self.header(layer)[2]), layer.secret or "tiger")
            for layer in layers)

    def examine(self, stats):
        params = [self.layer.path] + self.our_parameters()
        try:
            with Ours(params, self.dir, self.layer.files()) as ours:
                self.examine_served(ours, stats)
        except Refused:
            count(stats, "damaged, refused")

    def examine_served(self, ours, stats):
        count(stats, "damaged, served")
        self.compare(ours.connect(""), stats)
        for number, _ in self.layer.snapshots:
            try:
                h = ours.connect(number)
            except Refused:
                continue
            self.compare(h, stats, number)
        self.examine_deltas(ours)
        self.examine_bitmaps(ours)

    def compare(self, h, stats, snapshot=None):
        """Compare a view with qemu's."""
        options, secrets = self.qemu_options()
        judge = Judge(self, h, stats, snapshot)
        try:
            with Qemu(options, self.dir, secrets, snapshot=snapshot) as theirs:
                judge.judge(theirs)
            return
        except Refused as e:
            why = str(e)
        count(stats, "damaged, refused by qemu only")
        if self.heal(snapshot):
            try:
                with Qemu(options, self.dir, secrets,
                          snapshot=snapshot) as theirs:
                    self.compare_healed(judge, theirs)
                return
            except Refused as e:
                why = str(e)
            finally:
                self.unheal()
        if self.is_cut() and CUT_OFF.search(why) or ANY_VERSION.search(why):
            return
        # The plugin accepts names of snapshots as well as ids.
        if snapshot is None or "napshot" not in why:
            raise Mismatch("qemu refuses what the plugin serves: " + why)

    def compare_healed(self, judge, theirs):
        """Compare a view of the damaged file with qemu's view of the file
        without the damage that matters only to qemu.  If an entry points to
        such damage, it is guest data too: then compare the plugin's view of
        that file."""
        try:
            judge.judge(theirs)
        except Mismatch:
            theirs.restart()
            with Ours([self.layer.path] + self.our_parameters(), self.dir,
                      self.layer.files()) as ours:
                Judge(self, ours.connect(judge.snapshot or ""), judge.stats,
                      judge.snapshot).judge(theirs)

    def heal(self, snapshot):
        """Replace the file by one without the damage that matters only to
        qemu.  Returns False if there is none."""
        harmless = [NOT_NEEDED]
        if snapshot is None:
            harmless.append(SNAPSHOT_TABLE)
        if self.victim != self.layer.path:
            harmless.append(SNAPSHOTS)
        if any(p.startswith("backing-format=")
               for p in self.our_parameters()):
            harmless.append(FORMAT)
        changes = [c for c in self.changes
                   if not any(h.match(c.what) for h in harmless)
                   and not c.makes_bitmaps()]
        bitmaps = any(layer.bitmaps for layer in self.layer.layers()
                      if layer.path == self.victim)
        if len(changes) == len(self.changes) and not bitmaps:
            return False
        path = os.path.join(self.dir, self.victim)
        os.rename(path, path + ".served")
        self.write(changes, not bitmaps)
        return True

    def unheal(self):
        path = os.path.join(self.dir, self.victim)
        os.rename(path + ".served", path)

    def is_cut(self):
        return any(c.new is None and c.at < len(self.data)
                   for c in self.changes)

    def eio_is_explained(self):
        """True if a read may be EIO where qemu has data.  Beyond the end of a
        file qemu reads zeros, but these can become data: by decryption, or,
        in a table, from the layer below; and a stream may be complete
        without the truncated part."""
        return (self.is_cut() or self.layer.below is not None
                or any(layer.encryption for layer in self.layer.layers()))

    def examine_deltas(self, ours):
        """Unchanged extents must be equal in both views of the plugin, each
        of which has been compared with qemu."""
        names = [number for number, _ in self.layer.snapshots]
        pairs = [(old, new) for old in names for new in names + [""]
                 if old != new]
        for old, new in self.rng.sample(pairs, min(len(pairs), 2)):
            try:
                before, after = ours.connect(old), ours.connect(new)
                h = ours.connect(old + ".." + new)
            except Refused:
                continue
            check_unchanged(self.rng, h, before, after)

    def examine_bitmaps(self, ours):
        """The server must survive it; nothing else is known."""
        for name in self.layer.bitmaps:
            try:
                h = ours.connect("bitmap:" + name)
            except Refused:
                continue
            try:
                map_of(h, h.get_size(), most=MOST_ANSWERS)
            except nbd.Error:
                ours.alive()


def without_empty(options):
    """Remove empty options of backing files: raw files accept none."""
    below = options.get("backing")
    if below is not None:
        if without_empty(below):
            options["backing"] = below
        else:
            del options["backing"]
    return options


def count(stats, what):
    stats[what] = stats.get(what, 0) + 1


def read(h, length, at):
    """Bytes, or None for EIO."""
    try:
        return h.pread(length, at)
    except nbd.Error as e:
        if e.errno != "EIO":
            raise
        return None


def check_unchanged(rng, h, before, after):
    """Check the map of a delta against both of its sides."""
    size = h.get_size()
    runs = map_of(h, size, most=MOST_ANSWERS)
    for start, end in windows(rng, size, runs):
        for low, high, flags in at_places(runs, start, end):
            for at in range(low, high, 1 << 16):
                length = min(1 << 16, high - at)
                new = read(after, length, at)
                if flags == HOLE:
                    # EIO on both sides counts as equal.
                    if new != read(before, length, at):
                        raise Mismatch("a delta: %d bytes at %d are unchanged "
                                       "in the map, but differ" % (length, at))
                elif flags & ZERO and (new is None or not zeros(new)):
                    raise Mismatch("a delta: %d bytes at %d are reported as "
                                   "zero, but have data" % (length, at))


class Judge:
    """Compares one view."""

    def __init__(self, case, h, stats, snapshot):
        self.rng, self.h, self.stats = case.rng, h, stats
        self.snapshot = snapshot
        self.eio_is_explained = case.eio_is_explained()
        # qemu's driver for version 1 caches the last decompressed cluster by
        # its offset alone, even if decompression failed, or if another entry
        # has another length for it.  So a different result must be confirmed
        # by a new qemu process.
        self.must_confirm = any(case.header(layer)[0] == 1
                                for layer in case.layers())
        self.odd_ends = {size // 512 for size in case.sizes()[1:]
                         if size % 512}
        self.failures = self.restarts = 0

    def judge(self, theirs):
        self.theirs = theirs
        size = self.h.get_size()
        common = self.common_size(size, self.theirs.h.get_size())
        self.runs = self.our_map(size)
        looks = windows(self.rng, common, self.runs, self.their_map(common))
        for start, end in looks:
            while start < end:
                length = min(end - start, self.rng.randrange(1, 1 << 18))
                self.compare(start, length)
                start += length

    def common_size(self, ours, theirs):
        # qemu shows a snapshot in the current size of the disk, and rounds
        # sizes down to whole sectors.
        if self.snapshot is None and ours // 512 != theirs // 512:
            raise Mismatch("the size is %d instead of %d" % (ours, theirs))
        return min(ours, theirs)

    def our_map(self, size):
        runs = map_of(self.h, size, most=MOST_ANSWERS)
        for start, end, flags in runs:
            if flags == HOLE:
                raise Mismatch("%d..%d is a hole that is not zero"
                               % (start, end))
        return runs

    def their_map(self, size):
        try:
            return map_of(self.theirs.h, size, most=MOST_ANSWERS)
        except nbd.Error:
            return []

    def compare(self, at, length):
        ours = read(self.h, length, at)
        theirs = read(self.theirs.plain, length, at)
        if ours is not None and ours == theirs:
            self.check_map(at, ours)
            return
        self.failures += 1
        middle = (at + length // 2 + 511) // 512 * 512
        if at < middle < at + length:
            if self.failures < MOST_FAILURES:
                self.compare(at, middle - at)
                self.compare(middle, at + length - middle)
            elif None not in (ours, theirs) and not self.must_confirm:
                self.differ(at, ours, theirs)
            return
        if self.must_confirm and ours != theirs:
            # EIO that is explained needs no confirmation.
            if ours is None and self.eio_is_explained:
                pass
            elif self.restarts == MOST_RESTARTS:
                count(self.stats, "sectors not compared, qemu restarts")
                return
            else:
                self.restarts += 1
                self.theirs.restart()
                theirs = read(self.theirs.plain, length, at)
        if ours is None:
            self.is_damaged(at, length, theirs)
        elif theirs is None:
            raise Mismatch("%d bytes at %d: unreadable in qemu, but read as %s"
                           % (length, at, ours[:8].hex()))
        elif ours == theirs or self.is_cut_down(at, theirs):
            self.check_map(at, ours)
        else:
            self.differ(at, ours, theirs)

    def is_cut_down(self, at, theirs):
        """True in the last sector of a backing file that ends within it: qemu
        rounds its size down, and reads zeros there."""
        return at // 512 in self.odd_ends and zeros(theirs)

    def differ(self, at, ours, theirs):
        n = first_difference(ours, theirs)
        raise Mismatch("%d bytes at %d: byte %d is %s instead of %s"
                       % (len(ours), at, at + n, ours[n:n + 8].hex(),
                          theirs[n:n + 8].hex()))

    def is_damaged(self, at, length, theirs):
        """EIO must not be zero in the map."""
        count(self.stats, "sectors EIO")
        if theirs is not None and not zeros(theirs):
            if not self.eio_is_explained:
                raise Mismatch("%d bytes at %d are EIO, qemu reads %s"
                               % (length, at, theirs[:8].hex()))
            count(self.stats, "sectors EIO, and data in qemu")
        for low, high, flags in at_places(self.runs, at, at + length):
            if flags & ZERO and high - low == length:
                raise Mismatch("%d bytes at %d are EIO, but reported as zero"
                               % (length, at))

    def check_map(self, at, data):
        for low, high, flags in at_places(self.runs, at, at + len(data)):
            if flags & ZERO and not zeros(data[low - at:high - at]):
                raise Mismatch("%d..%d is reported as zero, but has data"
                               % (low, high))
