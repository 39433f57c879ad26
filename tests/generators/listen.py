#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs a server at a port that was free:
#
#     listen.py [--inetd] tcp|vsock PORT-FILE COMMAND...
#
# Listens on the loopback address, writes the port to PORT-FILE, and executes
# COMMAND, which takes over the listening socket by socket activation.  With
# --inetd, COMMAND is executed for each connection instead, in a session of its
# own, with the connection as its stdin and stdout.
#
# The socket is never closed in between, so that no other program can get the
# port.  Exits with a message if the kernel has no such loopback.

import os
import random
import socket
import sys

args = sys.argv[1:]
inetd = args[0] == "--inetd"
if inetd:
    args.pop(0)
family, port_file, command = args[0], args[1], args[2:]

VMADDR_CID_LOCAL = 1            # Python has no name for it before 3.14


def listen_vsock():
    s = socket.socket(socket.AF_VSOCK)
    # The kernel would choose ports that are too big for a URI: libxml2 parses
    # at most 99999999.
    for port in random.sample(range(10000, 60000), 100):
        try:
            s.bind((socket.VMADDR_CID_ANY, port))
            break
        except OSError:
            pass
    s.listen(50)
    # Without the module vsock_loopback, the kernel asks the hypervisor, and
    # nothing may respond.
    with socket.socket(socket.AF_VSOCK) as client:
        client.settimeout(1)
        client.connect((VMADDR_CID_LOCAL, s.getsockname()[1]))
        s.accept()[0].close()
    return s


try:
    if family == "tcp":
        listener = socket.create_server(("127.0.0.1", 0), backlog=50)
    else:
        listener = listen_vsock()
except (OSError, AttributeError) as e:
    sys.exit(f"no {family} on the loopback address: {e}")
with open(port_file + ".new", "w") as f:
    f.write(str(listener.getsockname()[1]))
os.rename(port_file + ".new", port_file)

if not inetd:
    if listener.fileno() != 3:
        os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execvp(command[0], command)

while True:
    connection = listener.accept()[0]
    if os.fork() == 0:
        os.setsid()
        os.dup2(connection.fileno(), 0)
        os.dup2(connection.fileno(), 1)
        os.execvp(command[0], command)
    connection.close()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
