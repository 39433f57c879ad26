# SPDX-License-Identifier: BSD-3-Clause
"""Shared by bench and growth: the readers that are compared, their clients,
and a description of the machine.
"""

import json
import os
import platform
import resource
import subprocess
import time
from contextlib import contextmanager

from images import MIB, START_OFFSET, Images
from servers import Broken, WebServer, nbdkit, qemu_nbd
from shapes import KIB

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_DIR = "/var/tmp/nbdkit-qcow-plugin-bench"

# In seconds.  If a client takes longer, its server hangs: qemu's curl driver
# does for large concurrent requests.
CLIENT_LIMIT = 600

# An NBD handshake over TCP: connecting, the greeting, and the options for
# structured replies, block status, and the export.
HANDSHAKE_TRIPS = 5

# Threads per connection of a source with a delay.  A delayed request occupies
# one, so with fewer than a client has requests in flight the delay would add
# up.
SOURCE_THREADS = 64


class Readers:
    """Servers of the images, for each of the compared readers."""

    def __init__(self, plugin, directory, delay_server=None):
        self.images = Images(directory)
        self.plugin = os.path.abspath(plugin)
        self.delay_server = delay_server
        self.qcow2dec = os.environ.get("QCOW2DEC_NBDKIT")

    def image(self, name):
        return self.images.path(name)

    def ours(self, image, *parameters, **kind):
        return nbdkit(self.plugin, "file=" + self.image(image),
                      "allow=image-dir", *parameters, **kind)

    def file(self, image="content.raw", **kind):
        """nbdkit's file plugin over a raw image."""
        return nbdkit("file", "file=" + self.image(image), **kind)

    def qemu(self, image, **kind):
        return qemu_nbd(self.image(image), **kind)

    def null(self, size):
        return nbdkit("null", "size=%d" % size)

    def nothing(self, size):
        """A server that does nothing, and reports only data."""
        return nbdkit("--filter=noextents", "null", "size=%d" % size)

    def by_qcow2dec(self, image):
        """The qcow2dec filter of another nbdkit over its file plugin."""
        return nbdkit("--filter=qcow2dec", "file",
                      "file=" + self.image(image), program=self.qcow2dec)

    # The same over http.  The attribute web of the NBD server is the web
    # server.

    def web(self, round_trip, handshake=None):
        return WebServer(self.delay_server, self.images.directory,
                         round_trip, handshake)

    @contextmanager
    def over_http(self, image, reader, *times):
        """The server that reader makes for the URL of an image."""
        self.image(image)
        with self.web(*times) as web, reader(web.url(image)) as server:
            server.web = web
            yield server

    def http_ours(self, image, *times, **kind):
        return self.over_http(
            image, lambda url: nbdkit(self.plugin, "url=" + url, **kind),
            *times)

    def http_curl(self, image, *times):
        """nbdkit's curl plugin over a raw image."""
        return self.over_http(
            image, lambda url: nbdkit("curl", "url=" + url), *times)

    def http_qemu(self, image, *times):
        return self.over_http(image, qemu_nbd, *times)

    # The same over NBD: the server reads the image's file from another
    # server, nbdkit's file plugin.

    def nbd_source(self, image, round_trip=0):
        """A server of the bytes of an image's file.

        The delay is as in delay-server.c: a reply starts round_trip ms after
        its request was read, for all requests concurrently.
        """
        argv = ["file", "file=" + self.image(image)]
        if round_trip:
            argv = ["-t", "%d" % SOURCE_THREADS, "--filter=delay", *argv,
                    "delay-read=%dms" % round_trip,
                    "delay-extents=%dms" % round_trip,
                    "delay-open=%dms" % (HANDSHAKE_TRIPS * round_trip)]
        return nbdkit(*argv)

    @contextmanager
    def over_nbd(self, image, reader, *times):
        """The server that reader makes for the running source of an image."""
        with self.nbd_source(image, *times) as source, \
                reader(source) as server:
            yield server

    def nbd_ours(self, image, *times):
        return self.over_nbd(
            image, lambda source: nbdkit(self.plugin, "url=" + source.uri),
            *times)

    def nbd_passed_on(self, image):
        """nbdkit's nbd plugin, which passes on all requests as they are."""
        return self.over_nbd(
            image, lambda source: nbdkit("nbd", "uri=" + source.uri,
                                         "shared=true"))


# ---- running clients

def client(*argv):
    """Run a client.  Returns its output, and its time in seconds."""
    start = time.monotonic()
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=CLIENT_LIMIT)
    except subprocess.TimeoutExpired as e:
        raise Broken("%s: hangs" % " ".join(argv)) from e
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise Broken("%s: status %d: %s"
                     % (" ".join(argv), done.returncode,
                        done.stderr.decode(errors="replace")[-2000:].strip()))
    return done.stdout, seconds


def client_of(running, *argv):
    """The seconds that a client of a running server takes.  In argv, None
    stands for the server's URI."""
    return client(*[running.uri if a is None else a for a in argv])[1]


def client_seconds(server, *argv):
    with server as s:
        return client_of(s, *argv)


def client_and_cpu_seconds(server, *argv):
    """The time of a client, and the CPU time of it and the server."""
    def children():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    with server as s:
        before = s.cpu_seconds() + children()
        seconds = client_of(s, *argv)
        return seconds, s.cpu_seconds() + children() - before


def server_cpu_seconds(server, *argv):
    """The CPU time that the server spends on a client."""
    with server as s:
        before = s.cpu_seconds()
        client_of(s, *argv)
        time.sleep(0.05)        # for the threads of its connections to exit
        return s.cpu_seconds() - before


def iops_of(running, size, window, seconds):
    """fio's nbd engine, 4 KiB at queue depth 32 over one connection, in SIZE
    bytes from WINDOW on."""
    out, _ = client(
        "fio", "--name=random", "--ioengine=nbd", "--uri=" + running.uri,
        "--rw=randread", "--bs=4k", "--iodepth=32", "--norandommap",
        "--offset=%d" % window, "--size=%d" % size,
        "--time_based", "--runtime=%d" % seconds, "--output-format=json")
    job = json.loads(out[out.index(b"{"):])["jobs"][0]
    if job["error"] or not job["read"]["total_ios"]:
        raise Broken("fio: error %d" % job["error"])
    return job["read"]["iops"]


def iops(server, *where):
    with server as s:
        return iops_of(s, *where)


def first_byte_ms(server, offset=START_OFFSET, wanted=b"\x55"):
    """From exec to 4 KiB of data, by a client in this process that tries to
    connect every 0.2 ms."""
    with server as s, s.connect() as c:
        c.go()
        data = c.read(offset, 4 * KIB)
        ms = (time.monotonic() - s.started) * 1000
        if wanted and data != wanted * len(data):
            raise Broken("the first bytes read are wrong")
        c.disconnect()
        return ms


# Clients; None is the server's URI.
COPY = ("nbdcopy", None, "null:")
MAP = ("nbdinfo", "--map", "--totals", None)


def map_totals(server):
    """Bytes of each kind of extent, as reported by the server."""
    with server as s:
        out = client("nbdinfo", "--map", "--totals", "--json", s.uri)[0]
    return {e["description"]: e["size"] for e in json.loads(out)}


# ---- the machine

def cores():
    return len(os.sched_getaffinity(0))


def memory(key):
    """A line of /proc/meminfo, in bytes."""
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * KIB
    return 0


def cpu_model():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def version(*argv):
    return client(*argv, "--version")[0].decode().split("\n")[0]


def describe_machine(bench):
    return {
        "cores": cores(),
        "cpu": cpu_model(),
        "memory_mib": memory("MemTotal") // MIB,
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "versions": [version("nbdkit"), version("qemu-nbd"),
                     version("nbdcopy"), version("fio")],
        "plugin": bench.plugin,
        "images": bench.images.directory,
    }


def machine_text(m):
    return ("%d cores, %s, %d MiB, Linux %s, load %.2f at the start\n%s"
            % (m["cores"], m["cpu"], m["memory_mib"], m["kernel"],
               m["load"], ", ".join(m["versions"])))
