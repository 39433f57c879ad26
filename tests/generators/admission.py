# SPDX-License-Identifier: BSD-3-Clause
"""admission.py NBDKIT PLUGIN SOCKET MODULE < IMAGES

Judge images in four ways: info=json of the plugin, whether the plugin serves
them with default parameters, 'qemu-img info', and the safety check of
OpenStack's format_inspector, whose file is MODULE ('-': without it).  Each
line of stdin is "PATH DRIVER TITLE"; DRIVER is qemu's.

Prints a line "KIND TITLE: DETAILS" for each image on which they disagree:
    invalid   info=json prints no valid JSON, or something on failure
    served    info=json and the server disagree
    qemu      info=json and qemu-img print different fields
    unsafe    format_inspector calls the image unsafe, but it is served
    harmless  the same, where format_inspector is wrong: see 'harmless'
and at the end "judged N, served N, unsafe N".
"""

import importlib.util
import json
import logging
import os
import struct
import subprocess
import sys
import types

KNOWN_FEATURES = 0x1f

nbdkit, plugin, sock, module = sys.argv[1:]


def load_inspector():
    """Load the module, with a stand-in for the one that it imports."""
    log = types.ModuleType("oslo_log.log")
    log.getLogger = logging.getLogger
    oslo = types.ModuleType("oslo_log")
    oslo.log = log
    sys.modules["oslo_log"] = oslo
    sys.modules["oslo_log.log"] = log
    logging.disable(logging.CRITICAL)
    spec = importlib.util.spec_from_file_location("format_inspector", module)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


inspector = load_inspector() if module != "-" else None


def complaints(path):
    """Why format_inspector calls the image unsafe: "" if it does not."""
    try:
        image = inspector.QcowInspector.from_file(path)
    except inspector.ImageFormatError as e:
        return "error: %s" % e
    safe = image.safety_check()
    why = [name for name in ("has_backing_file", "has_data_file",
                             "has_unknown_features") if getattr(image, name)]
    assert safe == (not why)
    return " ".join(why)


def harmless(path, why):
    """True if each complaint is one of these:
    - an incompatible feature that is newer than format_inspector: extended L2
      entries (bit 4), which refer to no other file;
    - features of an image of version 1 or 2, where other data is at their
      offset;
    - a backing file whose name is empty, which is none.
    """
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    version, offset, length = struct.unpack_from(">IQI", start, 4)
    features = struct.unpack_from(">Q", start, 72)[0]
    reasons = {
        "has_unknown_features": version < 3 or not features & ~KNOWN_FEATURES,
        "has_data_file": version < 3,
        "has_backing_file": length == 0 or start[offset:offset + 1] == b"\0",
    }
    return all(reasons.get(w, False) for w in why.split())


def our_info(path):
    """Returns the fields or None, and the messages."""
    run = subprocess.run([nbdkit, plugin, path, "info=json"],
                         stdin=subprocess.DEVNULL, capture_output=True)
    if run.returncode == 0:
        fields = json.loads(run.stdout.decode("utf-8"))
        assert fields["filename"] == path
    else:
        assert run.returncode == 1 and run.stdout == b"", run
        fields = None
    return fields, run.stderr.decode()


def is_served(path):
    if os.path.exists(sock):
        os.unlink(sock)
    run = subprocess.run([nbdkit, "-U", sock, plugin, path,
                          "--run", "unset LD_PRELOAD; true"],
                         stdin=subprocess.DEVNULL, capture_output=True)
    assert run.returncode in (0, 1), run
    return run.returncode == 0, run.stderr.decode()


def is_self_contained(fields):
    return not ("backing-filename" in fields or "encrypted" in fields
                or "data-file" in fields.get("format-specific",
                                             {}).get("data", {}))


def qemu_info(path, driver):
    run = subprocess.run(["qemu-img", "info", "-U", "-f", driver,
                          "--output=json", path],
                         stdin=subprocess.DEVNULL, capture_output=True)
    return json.loads(run.stdout) if run.returncode == 0 else None


def different(ours, qemus):
    """The fields that differ: "NAME OURS QEMU'S; ..."."""
    for fields in ours, qemus:
        fields.pop("actual-size")   # qemu adds the data file's
        fields.pop("children", None)
        fields.get("format-specific", {}).get("data", {}).get(
            "encrypt", {}).pop("detached-header", None)
    # qemu rounds the size, up or down.
    if abs(ours["virtual-size"] - qemus["virtual-size"]) < 512:
        qemus["virtual-size"] = ours["virtual-size"]
    return "; ".join("%s %r %r" % (name, ours.get(name), qemus.get(name))
                     for name in sorted(ours.keys() | qemus.keys())
                     if ours.get(name) != qemus.get(name))


judged = served_in_all = unsafe_in_all = 0
for line in sys.stdin:
    path, driver, title = line.rstrip("\n").split(" ", 2)
    judged += 1
    try:
        fields, message = our_info(path)
    except (AssertionError, ValueError, KeyError) as e:
        print("invalid %s: %r" % (title, e))
        continue
    served, why = is_served(path)
    served_in_all += served
    if served != (fields is not None and is_self_contained(fields)):
        print("served %s: %s; info=json: %s %s"
              % (title, served, fields, message.strip()))
    if inspector:
        unsafe = complaints(path)
        unsafe_in_all += unsafe != ""
        if served and unsafe:
            kind = "harmless" if harmless(path, unsafe) else "unsafe"
            print("%s %s: %s" % (kind, title, unsafe))
    qemus = fields and qemu_info(path, driver)
    if qemus:
        difference = different(fields, qemus)
        if difference:
            print("qemu %s: %s" % (title, difference))
print("judged %d, served %d, unsafe %d"
      % (judged, served_in_all, unsafe_in_all))
