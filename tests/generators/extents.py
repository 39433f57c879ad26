# SPDX-License-Identifier: BSD-3-Clause
"""Reads the extents of a server; used by the programs in this directory."""

MOST = 0xffff0000       # the largest aligned 32-bit length


def runs_of(h, size):
    """Runs of [start, length, flags], merged across replies."""
    runs, at = [], 0

    def extents(context, offset, entries, error):
        nonlocal at
        for length, flags in zip(entries[0::2], entries[1::2]):
            if runs and runs[-1][2] == flags:
                runs[-1][1] += length
            else:
                runs.append([at, length, flags])
            at += length

    while at < size:
        before = at
        h.block_status(min(size - at, MOST), at, extents)
        if at == before:
            raise RuntimeError("no block status at %d" % at)
    return runs
