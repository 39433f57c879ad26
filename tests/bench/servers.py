# SPDX-License-Identifier: BSD-3-Clause
"""Servers for the benchmark, and the smallest NBD client.

A Server is a context manager: inside the `with` it is up and has
answered a handshake, after it it has been stopped.  A server that dies
or that exits with an error raises Broken, with what it wrote.

Every NBD server gets a Unix socket in a temporary directory of its own,
and every server stays in the foreground, so that its process id, its CPU
clock and its memory are those of the process that was started here.
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
    """Something failed, so that there is no figure."""


# A server that is not up by then never will be.
START_LIMIT = 30
STOP_LIMIT = 30


class Server:
    """argv holds the word SOCK where the socket's path belongs."""

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
        """For the error of a client: it may be the server's fault."""
        try:
            return self.text("ended with status %d" % self.process.wait(1))
        except subprocess.TimeoutExpired:
            return self.text("still running")

    def connect(self):
        """A client as soon as the server listens."""
        while True:
            try:
                return Client(self.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                self.wait_for_start()

    def wait_for_start(self):
        """A moment; an error if it does not start at all."""
        self.check_alive()
        if time.monotonic() - self.started > START_LIMIT:
            raise Broken(self.text("does not listen"))
        time.sleep(0.0002)

    def check_alive(self):
        if self.process.poll() is not None:
            raise Broken(self.text(
                "ended by itself with status %d" % self.process.returncode))

    def stop(self):
        self.check_alive()
        self.process.terminate()
        try:
            status = self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            raise Broken(self.text("did not stop when asked to"))
        if status != 0:
            raise Broken(self.text("stopped with status %d" % status))

    def discard(self):
        """Whatever happened: no process and no file stays behind."""
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
        """User and system time so far, those of ended threads included.

        The CPU clock of another process (see clock_getcpuclockid(3)):
        nanoseconds, where /proc/PID/stat counts in steps of 10 ms.
        """
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def peak_memory(self):
        """VmHWM in bytes: the most that was ever resident."""
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise Broken(self.text("has no VmHWM"))


class NotWaited (Server):
    """A server for the start row: the `with` begins at once."""

    def wait_until_ready(self):
        pass


def nbdkit(*args, kind=Server, program="nbdkit"):
    """nbdkit as a user runs it: its defaults, 16 threads a connection.

    -f and an explicit -U: nbdkit 1.32 would use TCP for --run.
    """
    return kind([program, "-f", "-U", "SOCK", *args])


def qemu_nbd(image, secret=None, kind=Server):
    """qemu-nbd as a sensible user runs it: its own cache and aio modes
    (writeback, threads), more than one client, not ending with one.
    The image may be a URL, which it reads by its curl driver."""
    what = ["-f", "qcow2", image]
    if secret:
        what = ["--object", "secret,id=s,data=" + secret, "--image-opts",
                "driver=qcow2,encrypt.key-secret=s,file.filename=" + image]
    return kind(["qemu-nbd", "-r", "-k", "SOCK",
                 "--persistent", "--shared=32", *what])


class WebServer (Server):
    """delay-server.c over a directory.  The times are in milliseconds;
    the handshake's is a round trip if it is None."""

    def __init__(self, program, directory, round_trip, handshake=None):
        times = [round_trip] if handshake is None else [round_trip, handshake]
        super().__init__([program, directory, *map(str, times)])

    def wait_until_ready(self):
        """It prints its port when it listens."""
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
        """Its requests, connections and bytes so far."""
        with urllib.request.urlopen(self.url(".stats"), timeout=30) as f:
            return json.load(f)


class Client:
    """One connection to the default export, without structured replies:
    what the ready test and the start row need, and nothing more."""

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
        """How many exports the replies list."""
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
