# SPDX-License-Identifier: BSD-3-Clause
"""What a server says of its extents, for the programs beside it."""

MOST = 0xffff0000       # what fits in 32 bits, and is aligned


def runs_of(h, size):
    """Runs of [start, length, flags], joined across the answers."""
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
