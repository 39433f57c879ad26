# SPDX-License-Identifier: BSD-3-Clause
"""Random valid images, made by qemu: chains of one to five layers of any
kind, each with a history of writes.

`Chain (rng, directory, luks_clock)` chooses and creates one; `describe ()`
lists its properties.  The same rng creates the same chain, except for the
keys and salts of encrypted images.

Some qemu-io commands may fail, for example a compressed write to an
allocated cluster.  That does not matter: the content is whatever qemu reads
afterwards.
"""

import math
import os
import random
import struct
import sys

import servers
from servers import NoOracle, json_name, secret_objects

sys.path.insert(0, os.path.join(servers.TOP, "tests", "generators"))
import qcow1  # noqa: E402

NAMES = ["tiger", "lynx", "a,b=c", "with space", "Löwe", "0"]
SNAPSHOT_NAMES = ["one", "two", "three", "a..b", "with space", "Ä", "2", "1"]
BITMAP_NAMES = ["daily", "b 2", "Ü"]
SOURCES = 12
SOURCE_SIZE = 256 << 10


def passphrases(layers):
    """The parameters for layers of (encryption, passphrase), the top first.
    LUKS uses the first one that fits, AES the others, in order."""
    layers = list(layers)
    luks = dict.fromkeys(text for kind, text in layers if kind == "luks")
    return ["passphrase=" + text for text in
            list(luks) + [text for kind, text in layers if kind == "aes"]]


def make_sources(directory):
    """Write the data files: unique sectors of varying compressibility."""
    rng = random.Random(1)
    for n in range(SOURCES):
        with open(os.path.join(directory, "src%d" % n), "wb") as f:
            for sector in range(SOURCE_SIZE // 512):
                mark = b"%d.%d." % (n, sector)
                # Text, noise, and both, for compressed lengths up to and
                # beyond that of the cluster.
                noise = (0, 0, 64, 512, rng.randrange(512))[
                    n % 5 if sector % 7 else 4]
                f.write((mark + rng.randbytes(noise) + mark * 512)[:512])


class Layer:
    def __init__(self, number, sort, below):
        self.number, self.sort, self.below = number, sort, below
        self.path = "layer%d" % number
        self.format = {"raw": "raw", "v1": "qcow"}.get(sort, "qcow2")
        self.size = self.cluster = 0
        self.encryption = self.secret = None
        self.data_file = None
        self.options = []
        self.stages = 1
        self.snapshots = []     # (id, number of stages before it)
        self.bitmaps = []
        self.touched = []       # a list of ranges for each stage
        self.log = []           # the commands, for debugging

    def layers(self):
        """This layer and those below it."""
        layer = self
        while layer:
            yield layer
            layer = layer.below

    def secrets(self):
        return [layer.secret for layer in self.layers() if layer.encryption]

    def files(self):
        """The names of the files of these layers."""
        out = []
        for layer in self.layers():
            out.append(layer.path)
            if layer.data_file:
                out.append(layer.data_file)
        return out

    def qemu_options(self, path=None):
        """qemu's options to open it; qemu finds other files by their recorded
        names.  PATH replaces the file of this layer."""
        number = 0

        def keys(layer):
            nonlocal number
            out = {}
            if layer.encryption:
                out["encrypt"] = {"format": layer.encryption,
                                  "key-secret": "s%d" % number}
                number += 1
            if layer.below and layer.below.format != "raw":
                below = keys(layer.below)
                if below:
                    out["backing"] = below
            return out

        options = {"driver": self.format,
                   "file": {"driver": "file",
                            "filename": path or self.path}}
        options.update(keys(self))
        return options

    def our_parameters(self):
        """The plugin's parameters, besides the file name."""
        out = ["allow=image-dir"]
        below = list(self.layers())[1:]
        # Version 1 does not record the format of its backing file.
        if any(layer.sort == "v1" for layer in self.layers()):
            out += ["backing-format=" + ("raw" if layer.format == "raw"
                                         else "qcow") for layer in below]
        return out + passphrases((layer.encryption, layer.secret)
                                 for layer in self.layers())

    def features(self):
        yield self.sort
        if self.encryption:
            yield self.encryption
        if self.data_file:
            yield "data file"
        if self.snapshots:
            yield "snapshots"
        if self.bitmaps:
            yield "bitmaps"
        yield from self.options

    def describe(self):
        out = "%s: %s, %d bytes" % (self.path, self.sort, self.size)
        if self.cluster:
            out += ", clusters of %d" % self.cluster
        for text in [self.encryption, self.data_file] + self.options:
            if text:
                out += ", " + text
        if self.snapshots:
            out += ", snapshots " + " ".join(i for i, _ in self.snapshots)
        if self.bitmaps:
            out += ", bitmaps " + " ".join(self.bitmaps)
        return out


class Chain:
    def __init__(self, rng, directory, luks_clock):
        self.rng, self.dir, self.luks_clock = rng, directory, luks_clock
        self.pending = []       # commands for qemu-io
        self.huge = rng.random() < 0.05
        if self.huge:
            self.nominal = int(2 ** rng.uniform(30, 42))
            self.hot = [0] + [rng.randrange(self.nominal) for _ in range(5)]
        else:
            self.nominal = int(2 ** rng.uniform(16, 22.6))
        self.choose()
        for layer in self.layers:
            self.create(layer)
        for layer in self.layers:
            self.history(layer)
        self.flush()
        for layer in self.layers:
            if layer.sort != "raw":
                # The status of qemu-io's truncate is not known.
                with open(os.path.join(self.dir, layer.path), "rb") as f:
                    layer.size, = struct.unpack_from(">Q", f.read(32), 24)
        self.top = self.layers[-1]
        self.dense = rng.random() < 0.6
        if self.dense:
            for name in self.top.files():
                self.make_dense(name)

    def describe(self):
        return "\n".join(layer.describe() for layer in reversed(self.layers)) \
            + "\n" + ("no holes in the files" if self.dense
                      else "holes as qemu left them")

    # --- Choice -------------------------------------------------------

    def choose(self):
        rng = self.rng
        count = rng.choice((1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5))
        self.layers = []
        below = None
        for number in range(count):
            sorts = ["v1", "v2", "v2", "v3", "v3", "v3", "ext", "ext"]
            if number == 0 and count > 1:
                sorts += ["raw"] * 5
            if self.huge:       # version 1 would need large tables
                sorts = [s for s in sorts if s not in ("v1", "raw")]
            layer = Layer(number, rng.choice(sorts), below)
            self.choose_shape(layer)
            self.choose_extras(layer, number == count - 1)
            self.layers.append(layer)
            below = layer

    def choose_shape(self, layer):
        rng = self.rng
        size = self.nominal
        if rng.random() < 0.5:
            size = int(size * rng.uniform(0.3, 1.5))
        if layer.sort == "raw":
            layer.size = size
            return
        low, high = {"v1": (9, 16), "ext": (14, 21)}.get(layer.sort, (9, 21))
        # Limit the number of clusters.
        while low < high and size >> low > 1500:
            low += 1
        if self.huge:
            low = max(low, 16)
        # Prefer small clusters: they are cheaper and have more boundaries.
        bits = min(rng.randint(low, high), rng.randint(low, high))
        layer.cluster = 1 << bits
        unit = rng.choice((512, 512, 512, 4096, layer.cluster))
        layer.size = max(512, size // unit * unit)

    def choose_extras(self, layer, is_top):
        rng = self.rng
        if layer.sort == "raw":
            return
        add = layer.options.append
        kind = rng.random()
        if kind < 0.13:
            layer.encryption = "aes"
        elif kind < 0.24 and layer.sort != "v1":
            layer.encryption = "luks"
        if layer.encryption:
            layer.secret = rng.choice(NAMES)
        if layer.sort == "v1":
            return
        if layer.sort in ("v3", "ext"):
            if rng.random() < 0.5:
                add("compression_type=zstd")
            if rng.random() < 0.1:
                add("lazy_refcounts=on")
            if rng.random() < 0.13:
                layer.data_file = "data%d" % layer.number
                if not layer.below and rng.random() < 0.5:
                    add("data_file_raw=on")
            elif rng.random() < 0.1:
                add("refcount_bits=%d" % rng.choice((8, 32, 64)))
        if not layer.below and not self.huge and rng.random() < 0.15:
            add("preallocation=" + rng.choice(("metadata", "metadata",
                                               "falloc", "full")))
        if not layer.data_file and rng.random() < (0.6 if is_top else 0.12):
            layer.stages += rng.randint(1, 3)
        if layer.sort in ("v3", "ext") and is_top and rng.random() < 0.25:
            layer.bitmaps = rng.sample(BITMAP_NAMES, rng.randint(1, 2))

    # --- Creation -----------------------------------------------------

    def run(self, *argv, may_fail=False, luks=False):
        status, text = servers.qemu(*argv, cwd=self.dir,
                                    preload=self.luks_clock if luks else None)
        if status and not may_fail:
            raise NoOracle("%s: %s" % (" ".join(argv), text.strip()))
        return status

    def create(self, layer):
        if layer.sort == "raw":
            self.create_raw(layer)
            return
        if layer.sort == "v1":
            self.create_v1(layer)
            return
        options = ["cluster_size=%d" % layer.cluster,
                   "compat=" + ("0.10" if layer.sort == "v2" else "1.1")]
        if layer.sort == "ext":
            options.append("extended_l2=on")
        options += layer.options
        if layer.data_file:
            options.append("data_file=" + layer.data_file)
        argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if layer.encryption:
            options += ["encrypt.format=" + layer.encryption,
                        "encrypt.key-secret=s0"]
            if layer.encryption == "luks":
                options.append("encrypt.iter-time=10")
            argv += secret_objects([layer.secret])
        argv += ["-o", ",".join(options)]
        if layer.below:
            argv += ["-u", "-b", layer.below.path, "-F", layer.below.format]
        argv += [layer.path, str(layer.size)]
        self.run(*argv, luks=layer.encryption == "luks")

    def create_raw(self, layer):
        rng = self.rng
        with open(os.path.join(self.dir, layer.path), "wb") as f:
            at = 0
            while at < layer.size:
                length = min(layer.size - at, rng.randrange(1, 200000))
                if rng.random() < 0.6:
                    f.seek(at)
                    f.write(self.source(length))
                at += length
            f.truncate(layer.size)

    def source(self, length):
        with open(os.path.join(self.dir, "..", "src%d"
                               % self.rng.randrange(SOURCES)), "rb") as f:
            data = f.read(length)
        return data * (length // len(data)) + data[:length % len(data)]

    def create_v1(self, layer):
        image = qcow1.Image(
            cluster_bits=int(math.log2(layer.cluster)),
            l2_bits=self.rng.randint(6, 13), size=layer.size,
            backing=os.fsencode(layer.below.path) if layer.below else b"")
        if layer.encryption:
            image.field(36, struct.pack(">I", 1))
        image.save(os.path.join(self.dir, layer.path))

    def make_dense(self, name):
        """Fill the holes of a file."""
        path = os.path.join(self.dir, name)
        if os.path.getsize(path) > 64 << 20:
            self.dense = False
            return
        with open(path, "rb") as f:
            data = f.read()
        with open(path, "r+b") as f:
            f.write(data)

    # --- History ------------------------------------------------------

    def opening(self, layer):
        """The name by which qemu-io opens it, with the numbers of the top's
        passphrases."""
        options = layer.qemu_options()
        names = {id(other): i for i, other in enumerate(
            other for other in reversed(self.layers) if other.encryption)}
        node = options
        for other in layer.layers():
            if other.encryption:
                node["encrypt"]["key-secret"] = "s%d" % names[id(other)]
            node = node.get("backing", {})
        return json_name(options)

    def all_secrets(self):
        return secret_objects([layer.secret
                               for layer in reversed(self.layers)
                               if layer.encryption])

    def flush(self):
        """Run the pending commands in qemu-io."""
        if not self.pending:
            return
        argv = ["qemu-io"] + self.all_secrets()
        for command in self.pending:
            argv += ["-c", command]
        status, text = servers.qemu(*argv, cwd=self.dir)
        if "can't open" in text or "Could not open" in text or status < 0:
            raise NoOracle("qemu-io: " + text[-2000:])
        self.pending = []

    def qemu_img(self, command, layer, *argv, may_fail=False):
        """Run qemu-img COMMAND ARGV...; in ARGV, None stands for the image."""
        self.flush()
        layer.log.append("qemu-img %s %s" % (command, " ".join(
            a or "IMAGE" for a in argv)))
        return self.run("qemu-img", command, *self.all_secrets(),
                        *[self.opening(layer) if a is None else a
                          for a in argv], may_fail=may_fail) == 0

    def history(self, layer):
        if layer.sort == "raw":
            return
        rng = self.rng
        size = layer.size
        bitmaps, layer.bitmaps = layer.bitmaps, []
        used = set()            # clusters for which write -c would fail
        for stage in range(layer.stages):
            touched = []
            layer.touched.append(touched)
            if bitmaps and rng.random() < 0.6:
                self.add_bitmap(layer, bitmaps.pop())
            commands = []
            if rng.random() < (0.5 if stage else 0.1):
                new = self.new_size(layer, size)
                touched.append((min(size, new), max(size, new)))
                commands.append("truncate %d" % new)
                size = new
            self.session(layer, size, used, touched, commands)
            if stage < layer.stages - 1:
                self.snapshot(layer, stage)
        while bitmaps:
            self.add_bitmap(layer, bitmaps.pop())
            touched = []
            self.session(layer, size, used, touched, [])
            layer.touched[-1] += touched
        layer.size = size

    def new_size(self, layer, size):
        # qemu can't resize v1 images, or v2 images with snapshots.
        if layer.sort == "v1" or layer.sort == "v2" and layer.snapshots:
            return size
        new = int(self.nominal * self.rng.uniform(0.3, 1.5))
        return max(512, new // 512 * 512)

    def snapshot(self, layer, stage):
        # Names may repeat, or equal the id of another snapshot.
        name = self.rng.choice(SNAPSHOT_NAMES)
        if self.qemu_img("snapshot", layer, "-q", "-c", name, None,
                         may_fail=True):
            layer.snapshots.append((str(len(layer.snapshots) + 1), stage + 1))

    def add_bitmap(self, layer, name):
        rng = self.rng
        argv = ["--add", "-g", str(1 << rng.randint(9, 20)), None, name]
        if rng.random() < 0.1:
            argv.insert(1, "--disable")
        if self.qemu_img("bitmap", layer, *argv, may_fail=True):
            layer.bitmaps.append(name)

    def session(self, layer, size, used, touched, commands):
        """Add random writes to these commands."""
        count = self.rng.choice((0, 2, 5, 10, 20, 40))
        # Compressed writes come first: qemu 7.2 corrupts an image if
        # compressed clusters are freed and others written later.
        if not layer.data_file:
            for _ in range(count // 2):
                commands += self.compressed(layer, size, used, touched)
        for _ in range(count):
            commands += self.other(layer, size, used, touched)
        layer.log += commands
        if commands:
            self.pending += ["open -t unsafe -d unmap " +
                             self.opening(layer)] + commands + ["close"]

    def anchor(self, layer, size):
        """A random offset, often at a boundary."""
        rng = self.rng
        if self.huge:
            at = rng.choice(self.hot) + rng.randrange(4 << 20)
            return at if at < size else rng.randrange(size)
        table = layer.cluster * (layer.cluster // (
            16 if layer.sort == "ext" else 8))
        candidates = [rng.randrange(size), rng.randrange(size), 0, size - 1,
                      rng.randrange(0, size, layer.cluster),
                      rng.randrange(0, size, table)]
        if layer.below and layer.below.size < size:
            candidates.append(layer.below.size)
        return rng.choice(candidates)

    def compressed(self, layer, size, used, touched):
        rng = self.rng
        cluster = layer.cluster
        out = []
        first = self.anchor(layer, size) // cluster
        for c in range(first, first + rng.randrange(1, 5)):
            length = min(cluster, size - c * cluster)
            if c in used or length <= 0:
                continue
            # One cluster per command: qemu may write several in any order.
            out.append("write -q -c -s ../src%d %d %d" % (
                rng.randrange(SOURCES), c * cluster, length))
            used.add(c)
            touched.append((c * cluster, c * cluster + length))
        return out

    def other(self, layer, size, used, touched):
        rng = self.rng
        cluster = layer.cluster
        sub = cluster // 32 if layer.sort == "ext" else 512
        unit = rng.choice((1, 512, 512, sub, cluster, cluster))
        at = self.anchor(layer, size) // unit * unit
        most = rng.choice((unit, cluster, 4 * cluster))
        most = min(max(unit, most), 2 << 20)
        length = rng.randrange(1, max(2, most // unit + 1)) * unit
        if rng.random() < 0.2:
            at = max(0, at - length // unit // 2 * unit)
        length = min(length, size - at)
        what = rng.choice(("write",) * 6 + ("pattern",) * 2 +
                          ("zero",) * 3 + ("unmap",) * 2 + ("discard",) * 3)
        touched.append((at, at + length))
        covered = range(at // cluster, -(-(at + length) // cluster))
        if what == "discard":
            used.difference_update(covered)
        elif length < 64 << 20:
            used.update(covered)
        if what == "write":
            return ["write -q -s ../src%d %d %d" % (
                rng.randrange(SOURCES), at, length)]
        if what == "pattern":
            return ["write -q -P %d %d %d" % (rng.choice((0, 1, 255)), at,
                                              length)]
        return [{"zero": "write -q -z", "unmap": "write -q -z -u",
                 "discard": "discard -q"}[what] + " %d %d" % (at, length)]
