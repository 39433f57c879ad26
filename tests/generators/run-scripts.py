#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs Python programs in turn in one process, because starting Python and
# importing nbd takes most of a small program's time:
#
#     run-scripts.py LOG
#
# A request on stdin is a sequence of fields, each terminated by NUL: a tag,
# the working directory, the text of stdin, the number of arguments, and the
# arguments for python3: FILE ARGUMENT..., or -c TEXT ARGUMENT...  The response
# is a line: the tag, the status, and what kind of output is in LOG.stdout and
# in LOG.stderr: "none", "text", or "binary" (with a NUL).
#
# Each program has its own globals and runs as "__main__".  Files and
# connections that it leaves open are closed.  Output of C code, and of
# programs that it starts, goes to LOG, and from there to LOG.stderr.

import argparse     # noqa: F401 (imported here so that programs start fast)
import errno        # noqa: F401
import gc
import importlib
import io
import os
import random       # noqa: F401
import struct       # noqa: F401
import sys
import threading    # noqa: F401
import traceback

import nbd          # noqa: F401

log_path = sys.argv[1]
requests = os.dup(0)
responses = os.dup(1)
null = os.open(os.devnull, os.O_RDONLY)
log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
os.dup2(null, 0)
os.dup2(log, 1)
os.dup2(log, 2)
first = max(requests, responses, null, log) + 1
compiled = {}
path = sys.path[:]
modules = set(sys.modules)


def fields():
    rest = b""
    while True:
        data = os.read(requests, 1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\0")
        for field in whole:
            yield os.fsdecode(field)


def code_of(name, text=None):
    if text is not None:
        return compile(text, name, "exec")
    stat = os.stat(name)
    key = name, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
    if key not in compiled:
        with open(name, "rb") as f:
            compiled[key] = compile(f.read(), name, "exec")
    return compiled[key]


def run(args):
    text = None
    if args[0] == "-c":
        text = args.pop(1)
    name = args[0]
    # As python3 does: the program's directory, or the current one for -c.
    sys.path[:] = [os.path.dirname(name) if text is None else ""] + path[1:]
    importlib.invalidate_caches()
    sys.argv = args
    scope = {"__name__": "__main__", "__builtins__": __builtins__}
    if text is None:
        scope["__file__"] = name
    try:
        exec(code_of(name, text), scope)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return (e.code or 0) & 255
        print(e.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def program(stdin, args):
    sys.stdin = io.StringIO(stdin)
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdout = io.TextIOWrapper(out, "utf-8", "surrogateescape",
                                  write_through=True)
    sys.stderr = io.TextIOWrapper(err, "utf-8", "backslashreplace",
                                  write_through=True)
    status = run(args)
    sys.stdout.flush()
    # The next program may have different modules with these names.
    for name in set(sys.modules) - modules:
        where = getattr(sys.modules[name], "__file__", None) or ""
        if not where.startswith("/usr/"):
            del sys.modules[name]
    gc.collect()
    os.closerange(first, 1 << 16)
    err = err.getvalue() + os.pread(log, 1 << 20, 0)
    os.ftruncate(log, 0)
    return status, keep("stdout", out.getvalue()), keep("stderr", err)


def keep(what, data):
    if not data:
        return "none"
    with open(log_path + "." + what, "wb") as f:
        f.write(data)
    return "binary" if b"\0" in data else "text"


def main():
    gc.collect()
    gc.freeze()
    source = fields()
    for tag in source:
        os.chdir(next(source))
        stdin = next(source)
        response = program(stdin, [next(source)
                                 for _ in range(int(next(source)))])
        os.write(responses, ("%s %d %s %s\n" % (tag, *response)).encode())


main()
