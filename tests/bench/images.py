# SPDX-License-Identifier: BSD-3-Clause
"""The images that the benchmark reads.

Each is made when a row first uses it, and kept.  NAME.stamp beside it holds
its recipe and size.  It is written last: an image without it, or with
another recipe, is made again.  A recipe includes the source image.

To add an image: a function make_NAME (images, path) here, and a line in
RECIPES.
"""

import glob
import os
import shutil
import stat
import subprocess
import sys
import shapes
from servers import Broken
from shapes import CLUSTER, GIB, MIB, TIB, data_ranges

# The content is real files: the figures depend on how well, and how evenly,
# it compresses.  3 GiB is much larger than any cache, and fits in the page
# cache of a small machine together with its compressed forms.
CONTENT_FROM = "/usr"
CONTENT_SIZE = 3 * GIB
# For copies over a network with high latency: about 100 MiB compressed.
WEB_CONTENT_SIZE = 256 * MIB

CHANGED_TABLES = 1000

# The offset of the only data in the start images.
START_OFFSET = 4 * TIB


class Images:
    def __init__(self, directory):
        self.directory = directory
        self.warmed = set()

    def path(self, name):
        """The image's path; makes the image if necessary."""
        path = os.path.join(self.directory, name)
        text = self.recipe(name)
        if not is_complete(path, text):
            self.make(name, path, text)
        return path

    def recipe(self, name):
        text, parent, _ = RECIPES[name]
        if parent:
            st = os.stat(self.path(parent))
            text += "; of %s, %d bytes, %d" % (parent, st.st_size,
                                               st.st_mtime_ns)
        return text

    def make(self, name, path, text):
        os.makedirs(self.directory, exist_ok=True)
        say("making %s: %s" % (path, text))
        for old in (path, stamp_of(path)):
            if os.path.exists(old):
                os.unlink(old)
        RECIPES[name][2](self, path)
        with open(stamp_of(path), "w") as f:
            f.write(stamp_text(path, text))

    def files(self, name):
        """The image's files, opened one after the other."""
        for path in [self.path(name), *layers_below(self.path(name))]:
            with open(path, "rb", buffering=0) as f:
                yield f

    def cool(self, name):
        """Drop the image from the page cache."""
        for f in self.files(name):
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.warmed.discard(name)

    def warm(self, name):
        """Read the image into the page cache.

        The first time in a run it is dropped before: read-ahead lays pages
        out differently than writers do, and both sides of a row need the
        same layout.
        """
        if name not in self.warmed:
            self.cool(name)
        for f in self.files(name):
            for start, end in data_ranges(f.fileno()):
                read_range(f, start, end)
        self.warmed.add(name)


def stamp_of(path):
    return path + ".stamp"


def stamp_text(path, text):
    return "%s\n%d bytes\n" % (text, os.stat(path).st_size)


def is_complete(path, text):
    try:
        with open(stamp_of(path)) as f:
            return f.read() == stamp_text(path, text)
    except FileNotFoundError:
        return False


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*argv):
    """Run a command that makes an image, at low priority, without limit."""
    done = subprocess.run(["nice", *argv], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Broken("%s: status %d: %s"
                     % (" ".join(argv), done.returncode,
                        done.stdout.decode(errors="replace")[-2000:].strip()))


def read_range(f, start, end):
    buffer = memoryview(bytearray(4 * MIB))
    f.seek(start)
    while start < end:
        n = f.readinto(buffer[:min(len(buffer), end - start)])
        if n == 0:
            return
        start += n


def densest_window(path, length, step=256 * MIB):
    """The offset, a multiple of step, of the window of that length with the
    most data: random reads of holes would measure nothing."""
    size = os.stat(path).st_size
    with open(path, "rb") as f:
        ranges = list(data_ranges(f.fileno()))

    def data_in(offset):
        return sum(max(0, min(e, offset + length) - max(s, offset))
                   for s, e in ranges)
    return max(range(0, max(size - length, 0) + 1, step), key=data_in)


# ---- real content

def wanted_files(top, limit):
    """(path, lstat) of files and links in sorted order, up to LIMIT bytes;
    directories precede their contents."""
    total = 0
    for where, dirs, files in os.walk(top):
        dirs.sort()
        yield where, os.lstat(where)
        links = [d for d in dirs if os.path.islink(os.path.join(where, d))]
        for name in sorted(files + links):
            path = os.path.join(where, name)
            st = os.lstat(path)
            if stat.S_ISREG(st.st_mode):
                if not os.access(path, os.R_OK):
                    continue
                total += st.st_size
            if total > limit:
                return
            yield path, st


def copy_tree(top, target, limit):
    for path, st in wanted_files(top, limit):
        to = os.path.join(target, os.path.relpath(path, top))
        if stat.S_ISDIR(st.st_mode):
            os.makedirs(to, exist_ok=True)
        elif stat.S_ISLNK(st.st_mode):
            os.symlink(os.readlink(path), to)
        elif stat.S_ISREG(st.st_mode):
            shutil.copyfile(path, to)


def tree_size(top):
    return sum(os.lstat(os.path.join(where, name)).st_size
               for where, _, files in os.walk(top) for name in files)


def data_clusters(path):
    """(offset, content) of the clusters of a sparse raw file that qemu-img
    would allocate: those that are not zeros."""
    zeros = bytes(CLUSTER)
    done = 0
    with open(path, "rb", buffering=0) as f:
        for start, end in data_ranges(f.fileno()):
            offset = max(done, start // CLUSTER * CLUSTER)
            while offset < end:
                block = os.pread(f.fileno(), CLUSTER, offset)
                if block != zeros:
                    yield offset, block
                offset += CLUSTER
            done = offset


def make_file_system(path, limit):
    """ext4 twice as large as its files, as a sparse file."""
    tree = path + ".tree"
    shutil.rmtree(tree, ignore_errors=True)
    try:
        copy_tree(CONTENT_FROM, tree, limit)
        with open(path, "wb") as f:
            f.truncate(-(-2 * tree_size(tree) // GIB) * GIB)
        run("mkfs.ext4", "-q", "-F", "-d", tree, path)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def raw_maker(limit, holes):
    """A raw image of a file system, with holes exactly where the QCOW2 images
    made from it have no clusters, so that both have the same amount of data.
    Or one without holes, with only the data of the former."""
    def make(images, path):
        made = path + ".made"
        try:
            make_file_system(made, limit)
            with open(path, "wb", buffering=0) as f:
                for offset, block in data_clusters(made):
                    if holes:
                        f.seek(offset)
                    f.write(block)
                if holes:
                    f.truncate(os.stat(made).st_size)
        finally:
            if os.path.exists(made):
                os.unlink(made)
    return make


def converter(*options, of="content.raw"):
    def make(images, path):
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options,
            images.path(of), path)
    return make


SECRET = "bench"


def make_luks(images, path):
    """aes-256-xts, qemu's default.  qemu-img 7.2 sometimes fails to measure
    its speed; then try again."""
    for attempt in range(10):
        try:
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                "--object", "secret,id=s,data=" + SECRET,
                "-o", "encrypt.format=luks,encrypt.key-secret=s,"
                "encrypt.iter-time=10", images.path("content.raw"), path)
            return
        except Broken as e:
            if attempt == 9 or "accurate CPU usage" not in str(e):
                raise


# ---- special shapes

def make_empty(images, path):
    run("qemu-img", "create", "-f", "qcow2", path, "16T")


def make_spread(images, path):
    run("qemu-img", "create", "-f", "qcow2", "-o", "preallocation=metadata",
        path, "128G")


def make_start(images, path):
    run("qemu-img", "create", "-f", "qcow2", path, "16T")
    run("qemu-io", "-f", "qcow2", "-c",
        "write -P 0x55 %d 64k" % START_OFFSET, path)


def make_start_raw(images, path):
    with open(path, "wb") as f:
        f.truncate(8 * TIB)     # ext4 has no room for a file of 16 TiB
        f.seek(START_OFFSET)
        f.write(b"\x55" * CLUSTER)


def make_changed(images, path):
    shapes.write_changed(path, images.path("scattered-1t.qcow2"),
                         CHANGED_TABLES)


def mapped_maker(size, run=1):
    return lambda images, path: shapes.write_mapped(path, size, run)


def snapshots_maker(count):
    return lambda images, path: shapes.write_snapshots(path, count)


def chain_maker(overlays, of):
    def make(images, path):
        for old in layers_below(path):
            os.unlink(old)
        shapes.write_chain(path, images.path(of), overlays)
    return make


def layers_below(path):
    """The other files of a chain, if any."""
    return sorted(glob.glob(glob.escape(path) + ".layer[0-9]*"))


# name: (recipe, the source image, the function that makes it)
RECIPES = {
    "content.raw":
        ("ext4 of the first %d MiB of %s, version 1"
         % (CONTENT_SIZE // MIB, CONTENT_FROM), None,
         raw_maker(CONTENT_SIZE, holes=True)),
    "plain.qcow2":
        ("qemu-img convert", "content.raw", converter()),
    "zlib.qcow2":
        ("qemu-img convert -c", "content.raw", converter("-c")),
    "zstd.qcow2":
        ("qemu-img convert -c -o compression_type=zstd", "content.raw",
         converter("-c", "-o", "compression_type=zstd")),
    "luks.qcow2":
        ("qemu-img convert -o encrypt.format=luks", "content.raw",
         make_luks),
    "chain.qcow2":
        ("64 overlays, version 3", "content.raw",
         chain_maker(64, "content.raw")),
    "zlib-2m.qcow2":
        ("qemu-img convert -c -o cluster_size=2M", "content.raw",
         converter("-c", "-o", "cluster_size=2M")),
    # Without holes, because HTTP does not report them.
    "web.raw":
        ("ext4 of the first %d MiB of %s without holes, version 1"
         % (WEB_CONTENT_SIZE // MIB, CONTENT_FROM), None,
         raw_maker(WEB_CONTENT_SIZE, holes=False)),
    "web-plain.qcow2":
        ("qemu-img convert", "web.raw", converter(of="web.raw")),
    "web-zlib.qcow2":
        ("qemu-img convert -c", "web.raw", converter("-c", of="web.raw")),
    "empty-16t.qcow2":
        ("qemu-img create, 16T", None, make_empty),
    # Its 256 L2 tables lie 512 MiB apart, as in an image that a guest filled.
    # Holes do not matter over http.
    "spread-128g.qcow2":
        ("qemu-img create -o preallocation=metadata, 128G", None,
         make_spread),
    "start-16t.qcow2":
        ("qemu-img create, 16T, 64 KiB at 4T", None, make_start),
    "start-8t.raw":
        ("8 TiB sparse, 64 KiB at 4T", None, make_start_raw),
    "scattered-1t.qcow2":
        ("1 TiB over %d clusters, version 1" % shapes.POOL, None,
         mapped_maker(TIB)),
    "changed-1t.qcow2":
        ("a snapshot, %d changed tables, version 1" % CHANGED_TABLES,
         "scattered-1t.qcow2", make_changed),
}

# For growth.

SIZES = [GIB << n for n in (0, 4, 8, 10, 12, 14)]
RUNS = [1, 4, 16, 64, 256]
DEPTHS = [1, 4, 16, 64, 256]
SNAPSHOTS = [1, 10, 100, 1000, 9000]

RECIPES.update(
    ("mapped-%dg.qcow2" % (size // GIB),
     ("%d GiB mapped over %d clusters" % (size // GIB, shapes.POOL), None,
      mapped_maker(size))) for size in SIZES)
RECIPES.update(
    ("runs-%d.qcow2" % run,
     ("1 TiB mapped in runs of %d clusters" % run, None,
      mapped_maker(TIB, run))) for run in RUNS)
RECIPES.update(
    ("depth-%d.qcow2" % depth,
     ("%d overlays, version 2" % (depth - 1), "web.raw",
      chain_maker(depth - 1, "web.raw"))) for depth in DEPTHS)
RECIPES.update(
    ("snapshots-%d.qcow2" % count,
     ("%d snapshots" % count, None, snapshots_maker(count)))
    for count in SNAPSHOTS)
