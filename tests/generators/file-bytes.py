#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Reads, compares and changes the bytes of files:
#
#     file-bytes.py poke FILE OFFSET HEX...     overwrite bytes
#     file-bytes.py peek FILE OFFSET SIZE       print a big-endian number in hex
#     file-bytes.py same FILE1 FILE2            exit with 1 if they differ
#     file-bytes.py dense FILE                  replace by a copy without holes

import os
import sys

command, path, *args = sys.argv[1:]
if command == "poke":
    with open(path, "r+b" if os.path.exists(path) else "w+b") as f:
        f.seek(int(args[0]))
        f.write(bytes.fromhex("".join(args[1:])))
elif command == "peek":
    with open(path, "rb") as f:
        f.seek(int(args[0]))
        print("%x" % int.from_bytes(f.read(int(args[1])), "big"))
elif command == "same":
    with open(path, "rb", 0) as one, open(args[0], "rb", 0) as two:
        while True:
            data = one.read(1 << 20)
            if data != two.read(1 << 20):
                sys.exit(1)
            if not data:
                break
elif command == "dense":
    with open(path, "rb", 0) as f, open(path + ".dense", "wb", 0) as new:
        os.fchmod(new.fileno(), os.fstat(f.fileno()).st_mode & 0o7777)
        while data := f.read(1 << 20):
            new.write(data)
        # (Allocating is not enough: unwritten extents may count as holes.)
        size = os.fstat(new.fileno()).st_size
        if size > 0 and os.lseek(new.fileno(), 0, os.SEEK_HOLE) != size:
            sys.exit("%s has holes" % path)
    os.rename(path + ".dense", path)
else:
    sys.exit("what is %s?" % command)
