# SPDX-License-Identifier: BSD-3-Clause
"""Servers for the benchmark, and a minimal NBD client.

A Server is a context manager: inside the `with` it runs and has completed a
handshake; the end of the `with` stops it.  If it dies or exits with an
error, Broken is raised, with its output.

Every NBD server has a Unix socket in its own temporary directory, and every
server stays in the foreground, so that PID, CPU clock and memory are those
of the started process.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request


class Broken(Exception):
    """A measurement failed."""


# In seconds.
START_LIMIT = 30
STOP_LIMIT = 30


class Server:
    """In argv, SOCK stands for the path of the socket."""

    def __init__(self, argv):
        self.template = argv

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="qcow-bench.")
        self.socket = os.path.join(self.dir, "sock")
        self.uri = "nbd+unix:///?socket=" + self.socket
        self.log = open(os.path.join(self.dir, "log"), "w+")
        argv = [self.socket if a == "SOCK" else a for a in self.template]
        try:
            self.started = time.monotonic()
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                            stdout=self.log, stderr=self.log)
            self.wait_until_ready()
        except BaseException:
            self.discard()
            raise
        return self

    def wait_until_ready(self):
        with self.connect() as client:
            client.abort()

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self.stop()
            elif issubclass(kind, Broken):
                raise Broken("%s\n  %s" % (value, self.state())) from value
        finally:
            self.discard()

    def state(self):
        """The server's state, for the error message of a client."""
        try:
            return self.text("exited with status %d" % self.process.wait(1))
        except subprocess.TimeoutExpired:
            return self.text("still running")

    def connect(self):
        """Connect a client as soon as the server listens."""
        while True:
            try:
                return Client(self.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                self.wait_for_start()

    def wait_for_start(self):
        """Wait 0.2 ms.  Broken if the server does not start at all."""
        self.check_alive()
        if time.monotonic() - self.started > START_LIMIT:
            raise Broken(self.text("does not listen"))
        time.sleep(0.0002)

    def check_alive(self):
        if self.process.poll() is not None:
            raise Broken(self.text(
                "exited early with status %d" % self.process.returncode))

    def stop(self):
        self.check_alive()
        self.process.terminate()
        try:
            status = self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            raise Broken(self.text("did not exit on SIGTERM"))
        if status != 0:
            raise Broken(self.text("stopped with status %d" % status))

    def discard(self):
        """Kill the process, if necessary, and remove all files."""
        process = getattr(self, "process", None)
        if process and process.poll() is None:
            process.kill()
            process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def text(self, what):
        self.log.flush()
        self.log.seek(0)
        return "%s: %s: %s" % (" ".join(self.template), what,
                               self.log.read()[-2000:].strip() or "(silent)")

    def cpu_seconds(self):
        """User and system time so far, including threads that have exited.

        The CPU clock of another process (see clock_getcpuclockid(3)) has a
        resolution of nanoseconds; that of /proc/PID/stat is 10 ms.
        """
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def peak_memory(self):
        """VmHWM, the peak resident memory, in bytes."""
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise Broken(self.text("has no VmHWM"))


class NotWaited (Server):
    """A server for the start row: the `with` does not wait for it."""

    def wait_until_ready(self):
        pass


def nbdkit(*args, kind=Server, program="nbdkit"):
    """nbdkit as a user runs it, with its default of 16 threads per connection.

    -f and an explicit -U: nbdkit 1.32 would use TCP for --run.
    """
    return kind([program, "-f", "-U", "SOCK", *args])


def qemu_nbd(image, secret=None, kind=Server):
    """qemu-nbd as users run it: its default cache and aio modes (writeback,
    threads), several clients, persistent.  The image may be a URL, which it
    reads with its curl driver."""
    what = ["-f", "qcow2", image]
    if secret:
        what = ["--object", "secret,id=s,data=" + secret, "--image-opts",
                "driver=qcow2,encrypt.key-secret=s,file.filename=" + image]
    return kind(["qemu-nbd", "-r", "-k", "SOCK",
                 "--persistent", "--shared=32", *what])


class WebServer (Server):
    """delay-server.c over a directory.  The times are in milliseconds.  A
    handshake of None takes a round trip."""

    def __init__(self, program, directory, round_trip, handshake=None):
        times = [round_trip] if handshake is None else [round_trip, handshake]
        super().__init__([program, directory, *map(str, times)])

    def wait_until_ready(self):
        """The server prints its port when it listens."""
        while True:
            with open(self.log.name) as f:
                line = f.readline()
            if line.endswith("\n") and line.strip().isdigit():
                self.port = int(line)
                return
            self.wait_for_start()

    def url(self, name):
        return "http://127.0.0.1:%d/%s" % (self.port, name)

    def stats(self):
        """The number of requests, connections and bytes so far."""
        with urllib.request.urlopen(self.url(".stats"), timeout=30) as f:
            return json.load(f)


class Client:
    """One connection to the default export, without structured replies, for
    the ready test and the start row."""

    OPTION = b"IHAVEOPT"
    OPT_ABORT, OPT_LIST, OPT_GO = 2, 3, 7
    REPLY_MAGIC = 0x3e889045565a9
    REP_ACK, REP_SERVER = 1, 2

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(START_LIMIT)
            self.sock.connect(path)
            greeting = self.receive(18)
            if greeting[:16] != b"NBDMAGIC" + self.OPTION:
                raise Broken("%s: not an NBD server" % path)
            self.sock.sendall(struct.pack(">I", 3))
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def receive(self, length):
        parts = []
        while length:
            part = self.sock.recv(length)
            if not part:
                raise Broken("the server closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def option(self, number, data):
        """Send an option.  Returns the number of exports in the replies."""
        self.sock.sendall(self.OPTION
                          + struct.pack(">II", number, len(data)) + data)
        found = 0
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self.receive(20))
            text = self.receive(length)
            if magic != self.REPLY_MAGIC or kind & 0x80000000:
                raise Broken("NBD option %d refused: %r" % (number, text))
            if kind == self.REP_ACK:
                return found
            found += kind == self.REP_SERVER

    def list(self):
        return self.option(self.OPT_LIST, b"")

    def abort(self):
        self.option(self.OPT_ABORT, b"")

    def go(self):
        self.option(self.OPT_GO, struct.pack(">IH", 0, 0))

    def read(self, offset, length):
        self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1,
                                      offset, length))
        magic, error, _ = struct.unpack(">IIQ", self.receive(16))
        if magic != 0x67446698 or error:
            raise Broken("NBD read failed with error %d" % error)
        return self.receive(length)

    def disconnect(self):
        self.sock.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 2, 0, 0))
