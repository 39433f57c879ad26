# SPDX-License-Identifier: BSD-3-Clause
"""The programs that the torture test runs: nbdkit with the plugin, and qemu's
as the oracle.

A server inherits its listening socket, as with systemd's socket activation:
so a client can connect at once, and its connection is closed if the server
exits.  After TIMEOUT a server is killed, which `hung` records; then its
clients fail.

Environment, as in tests/functions.sh: QCOW_PLUGIN, QCOW_PRELOAD,
QCOW_VALGRIND and QCOW_TIMEOUT.
"""

import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import nbd

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PLUGIN = os.environ.get("QCOW_PLUGIN",
                        os.path.join(TOP, "nbdkit-qcow-plugin.so"))
TIMEOUT = int(os.environ.get("QCOW_TIMEOUT", "120"))
# In seconds.  A qemu that takes longer on a damaged image hangs.
QEMU_TIMEOUT = 30
# A damaged image can make qemu allocate any amount of memory.
QEMU_MEMORY = 4 << 30

SANITIZER = re.compile(r"(Address|Thread|Leak|UndefinedBehavior)Sanitizer"
                       r"|runtime error:|Assertion .* failed")
DATA, HOLE, ZERO, HOLE_ZERO = 0, 1, 2, 3


class Mismatch(Exception):
    """The plugin has failed the test."""


class Refused(Exception):
    """A server refused the image or the export, with a message."""


class NoOracle(Exception):
    """qemu can't read the image: there is nothing to compare with."""


def clean_environment():
    env = dict(os.environ, LC_ALL="C")
    env.pop("LD_PRELOAD", None)
    return env


ENVIRONMENT = clean_environment()


def secret_objects(secrets):
    """The options that define the passphrases s0, s1, ... for qemu."""
    out = []
    for i, secret in enumerate(secrets):
        out += ["--object", "secret,id=s%d,data=%s"
                % (i, secret.replace(",", ",,"))]
    return out


def qemu(*argv, cwd, preload=None):
    """Run one of qemu's programs.  Returns (status, output)."""
    env = ENVIRONMENT if preload is None else \
        dict(ENVIRONMENT, LD_PRELOAD=preload)
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, text=True,
                              errors="replace", timeout=TIMEOUT,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        raise NoOracle("%s hangs" % argv[0]) from None
    return done.returncode, done.stdout


def json_name(options):
    return "json:" + json.dumps(options, separators=(",", ":"))


class Watchdog(threading.Thread):
    """Kills servers after their deadlines.  (One thread for all: there are
    many short-lived servers.)"""

    def __init__(self):
        super().__init__(daemon=True)
        self.lock = threading.Lock()
        self.deadlines = {}     # by server

    def run(self):
        while True:
            time.sleep(1)
            now = time.monotonic()
            with self.lock:
                for server, deadline in list(self.deadlines.items()):
                    if now > deadline:
                        del self.deadlines[server]
                        server.hung = True
                        server.kill()

    def watch(self, server, seconds):
        with self.lock:
            self.deadlines[server] = time.monotonic() + seconds

    def forget(self, server):
        with self.lock:
            self.deadlines.pop(server, None)


watchdog = None


def start_watchdog():
    """To be called in the process that starts the servers: threads do not
    survive a fork."""
    global watchdog
    watchdog = Watchdog()
    watchdog.start()


class Server:
    """A process that serves NBD on an inherited socket."""

    def __init__(self, argv, cwd, timeout, memory=None):
        self.dir = tempfile.mkdtemp(prefix="server.", dir=cwd)
        self.socket = os.path.join(self.dir, "sock")
        self.log = os.path.join(self.dir, "log")
        self.hung = False
        self.status = None
        listener = socket.socket(socket.AF_UNIX)
        # A path has at most 108 bytes, and TMPDIR may be long.
        listener.bind(self.socket)
        listener.listen(20)
        self.pid = self.start(argv, cwd, listener, memory)
        listener.close()
        self.pidfd = os.pidfd_open(self.pid)
        watchdog.watch(self, timeout)

    def start(self, argv, cwd, listener, memory):
        # LISTEN_PID must be the PID after the exec.
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(cwd)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            fd = os.open(self.log, os.O_WRONLY | os.O_CREAT)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            if listener.fileno() == 3:
                os.set_inheritable(3, True)
            else:
                os.dup2(listener.fileno(), 3)
            if memory:
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            env = dict(ENVIRONMENT, LISTEN_FDS="1",
                       LISTEN_PID=str(os.getpid()))
            os.execvpe(argv[0], argv, env)
        finally:
            os._exit(127)

    def kill(self):
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass                # it has exited

    def connect(self, export="", contexts=(), structured=True):
        h = nbd.NBD()
        # qemu-nbd accepts unaligned reads, whatever block size it advertises.
        h.set_strict_mode(h.get_strict_mode() & ~nbd.STRICT_ALIGN)
        h.set_export_name(export)
        for context in contexts:
            h.add_meta_context(context)
        h.set_request_structured_replies(structured)
        h.connect_unix(self.socket)
        return h

    def wait(self, seconds):
        """The status of the process if it exits in time, or None."""
        if self.status is None:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            if poll.poll(1000 * seconds):
                _, status = os.waitpid(self.pid, 0)
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def discard(self):
        """Kill it and remove its files.  (This may be called twice, if a
        restart fails.)"""
        if self.pidfd is None:
            return
        watchdog.forget(self)
        if self.wait(0) is None:
            self.kill()
            self.wait(60)
        os.close(self.pidfd)
        self.pidfd = None
        shutil.rmtree(self.dir, ignore_errors=True)


class Ours:
    """nbdkit with the plugin; a context manager.  Raises Refused if it does
    not start, with a message that names one of the FILES.  At the end, it must
    still run, and exit cleanly."""

    def __init__(self, params, cwd, files, options=()):
        self.params, self.cwd, self.files = params, cwd, files
        self.options = list(options)

    def __enter__(self):
        argv = os.environ.get("QCOW_VALGRIND", "").split() + \
            ["nbdkit", "-f"] + self.options + [PLUGIN] + self.params
        preload = os.environ.get("QCOW_PRELOAD")
        if preload:
            argv = ["env", "LD_PRELOAD=" + preload] + argv
        self.server = Server(argv, self.cwd, TIMEOUT)
        try:
            self.first = self.server.connect(
                "", [nbd.CONTEXT_BASE_ALLOCATION])
        except nbd.Error:
            try:
                self.not_started()
            finally:
                self.server.discard()
        except BaseException:
            self.server.discard()
            raise
        return self

    def not_started(self):
        if self.server.wait(30) is None:
            # It still runs: it refuses the export, not the image.
            self.check_log()
            raise Refused(self.names_a_file(self.server.text()))
        self.check_log()
        if self.server.hung:
            raise Mismatch("nbdkit did not start within %d s" % TIMEOUT)
        if self.server.status != 1:
            raise Mismatch(self.ended("at start"))
        raise Refused(self.names_a_file(self.server.text()))

    def names_a_file(self, text):
        for line in text.splitlines():
            if "error:" in line and any(name in line for name in self.files):
                return line
        raise Mismatch("a refusal without a file name: " + text[-3000:])

    def check_log(self):
        text = self.server.text()
        if SANITIZER.search(text):
            raise Mismatch("a sanitizer reports: " + text[-6000:])

    def connect(self, export):
        """Connect another client.  Raises Refused if the export is refused."""
        if export == "" and self.first:
            h, self.first = self.first, None
            return h
        before = len(self.server.text())
        try:
            return self.server.connect(export,
                                       [nbd.CONTEXT_BASE_ALLOCATION])
        except nbd.Error as e:
            self.alive()
            text = self.server.text()[before:]
            if not text.strip():
                raise Mismatch("the export %s is refused without a message: %s"
                               % (export, e)) from e
            raise Refused(text.strip().splitlines()[0]) from e

    def alive(self):
        # A process may still be exiting when its socket is already closed.
        if self.server.wait(0.01) is not None:
            self.check_log()
            if self.server.hung:
                raise Mismatch("nbdkit hangs: killed after %d s" % TIMEOUT)
            raise Mismatch(self.ended("while serving"))

    def ended(self, when):
        status = self.server.status
        out = "nbdkit exited %s with status %d" % (when, status)
        if status in (-signal.SIGTERM, -signal.SIGKILL):
            out += " (killed by another process, or out of memory)"
        return out + ": " + self.server.text()[-3000:]

    def __exit__(self, kind, value, traceback):
        self.first = None
        try:
            if kind is not None and not issubclass(kind, (nbd.Error,
                                                          Mismatch)):
                return
            try:
                self.alive()
            except Mismatch as e:
                # The error is only the consequence of this.
                raise e from value
            if kind is not None:
                return
            os.kill(self.server.pid, signal.SIGTERM)
            status = self.server.wait(TIMEOUT)
            self.check_log()
            if status is None or self.server.hung:
                raise Mismatch("nbdkit does not exit on SIGTERM")
            if status != 0:
                raise Mismatch(self.ended("at the end"))
        finally:
            self.server.discard()


class Qemu:
    """qemu-nbd with an image, read-only; a context manager.  Raises Refused if
    it does not start."""

    def __init__(self, options, cwd, secrets=(), bitmaps=(), snapshot=None):
        self.argv = ["qemu-nbd", "-r", "-t", "-e", "4"]
        self.argv += secret_objects(secrets)
        for name in bitmaps:
            self.argv += ["-B", name]
        if snapshot is not None:
            self.argv += ["-l", "snapshot.id=" + snapshot]
        self.argv.append(json_name(options))
        self.contexts = [nbd.CONTEXT_BASE_ALLOCATION] + \
            ["qemu:dirty-bitmap:" + name for name in bitmaps]
        self.cwd = cwd

    def __enter__(self):
        self.server = Server(self.argv, self.cwd, QEMU_TIMEOUT, QEMU_MEMORY)
        try:
            self.h = self.server.connect("", self.contexts)
            # With structured replies, qemu-nbd 7.2 closes the connection on a
            # read error.
            self.plain = self.server.connect("", structured=False)
        except nbd.Error:
            self.server.wait(30)
            hung, text = self.server.hung, self.server.text()
            self.server.discard()
            raise Refused("qemu hangs" if hung
                          else text.strip() or "qemu died") from None
        except BaseException:
            self.server.discard()
            raise
        return self

    def restart(self):
        self.__exit__(None, None, None)
        self.__enter__()

    def __exit__(self, kind, value, traceback):
        failed = kind is not None and issubclass(kind, nbd.Error)
        # Damaged images may fail its assertions.
        died = failed and self.server.wait(1) == -signal.SIGABRT
        hung = self.server.hung
        self.h = self.plain = None
        self.server.discard()
        if failed and (hung or died):
            raise NoOracle("qemu-nbd " + ("hangs" if hung else "dies")) \
                from value


# --- Requests ---------------------------------------------------------


def block_status(h, count, offset, context=nbd.CONTEXT_BASE_ALLOCATION,
                 flags=0):
    """The response, as [(length, flags)]."""
    got = []

    def callback(name, at, entries, error):
        if name == context:
            got.extend(zip(entries[0::2], entries[1::2]))

    h.block_status(count, offset, callback, flags)
    return got


def map_of(h, size, context=nbd.CONTEXT_BASE_ALLOCATION, most=None):
    """All extents, merged, as (start, end, flags); at most MOST requests."""
    out, at, asked = [], 0, 0
    while at < size and (most is None or asked < most):
        asked += 1
        got = block_status(h, min(size - at, 0xffff0000), at, context)
        if not got:
            raise Mismatch("no extent at %d" % at)
        for length, flags in got:
            if length == 0 or at + length > size:
                raise Mismatch("an extent of %d bytes at %d" % (length, at))
            if out and out[-1][2] == flags:
                out[-1] = (out[-1][0], at + length, flags)
            else:
                out.append((at, at + length, flags))
            at += length
    return out


def at_places(runs, start, end):
    """The parts of the runs in a range, with their flags."""
    for low, high, flags in runs:
        if low >= end:
            break
        if high > start:
            yield max(low, start), min(high, end), flags


def zeros(data):
    return data.count(0) == len(data)
