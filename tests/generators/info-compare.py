# SPDX-License-Identifier: BSD-3-Clause
"""info-compare.py WANTED GOT [FIELD...]

Compare the output of 'qemu-img info --output=json' with ours.  Prints the
fields that differ, and fails if there are any.  Fields are given with their
path, as in "format-specific.data.compat", and left out of the comparison.
"""

import json
import sys

# From qemu 8 and 9 on: the protocol layer, which is no part of the image, and
# a kind of LUKS that no image has.
NOT_OURS = {"children", "format-specific.data.encrypt.detached-header"}


def flat(value, path=""):
    """Yield (PATH, VALUE) for all that is neither an object nor a list."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        # (The order of flags has no meaning.)
        if all(isinstance(v, str) for v in value):
            value = sorted(value)
        yield path + ".length", len(value)
        items = enumerate(value)
    else:
        yield path, value
        return
    for key, member in items:
        where = f"{path}.{key}" if path else str(key)
        if where not in ignored:
            yield from flat(member, where)


def load(name):
    with open(name, "rb") as file:
        # Strict: no control characters, no bytes that are not UTF-8.
        return dict(flat(json.loads(file.read().decode("utf-8"))))


ignored = NOT_OURS | set(sys.argv[3:])
wanted = load(sys.argv[1])
got = load(sys.argv[2])
different = [key for key in sorted(wanted.keys() | got.keys())
             if wanted.get(key) != got.get(key)]
for key in different:
    print(f"{key}: qemu says {wanted.get(key)!r}, we say {got.get(key)!r}")
sys.exit(bool(different))
