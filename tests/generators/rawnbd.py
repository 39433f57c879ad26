# SPDX-License-Identifier: BSD-3-Clause
"""Parts of an NBD client without libnbd, for tests of what is sent: error
texts, or replies that nobody reads to their end.

    from rawnbd import connect, option, receive
"""

import socket
import struct

STRUCTURED_REPLY, SET_META_CONTEXT, GO = 8, 10, 7


class Refused(Exception):
    """The server refuses an option.  The argument is its text."""


def receive(s, length):
    data = b""
    while len(data) < length:
        more = s.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def option(s, number, data):
    """Send an option, and wait until the server accepts it."""
    s.sendall(struct.pack(">8sII", b"IHAVEOPT", number, len(data)) + data)
    kind = 0
    while kind != 1:            # NBD_REP_ACK
        _, _, kind, length = struct.unpack(">QIII", receive(s, 20))
        text = receive(s, length)
        if kind >> 31:
            raise Refused(text.decode())


def connect(path, export=b"", context=None):
    """Connect to a socket and open an export, with structured replies, and
    with one metadata context if that is given."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    receive(s, 18)
    s.sendall(struct.pack(">I", 3))
    name = struct.pack(">I", len(export)) + export
    option(s, STRUCTURED_REPLY, b"")
    if context:
        option(s, SET_META_CONTEXT,
               name + struct.pack(">II", 1, len(context)) + context)
    option(s, GO, name + struct.pack(">H", 0))
    return s


def request(s, command, offset, count):
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, 1, offset, count))
