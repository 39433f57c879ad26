#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Binds ports that the kernel chooses, then execs nginx with them:
#
#     nginx.py DIRECTORY
#
# It makes DIRECTORY/nginx.conf from DIRECTORY/template by replacing
#
#     {http} {https} {http6}            URLs like http://127.0.0.1:12345
#     {listen-http} {listen-https} {listen-http6}    values for "listen"
#     {if-http6}     before a line that needs IPv6: nothing, or "#"
#
# and writes the first three to DIRECTORY/addresses, one per line; the third
# is empty without IPv6.

import os
import socket
import sys

directory = sys.argv[1]
words = {"http6": "", "listen-http6": "", "if-http6": "#"}
sockets = []


def listen(name, family, address):
    s = socket.socket(family)
    s.bind((address, 0))
    s.listen(64)
    s.setblocking(False)
    os.set_inheritable(s.fileno(), True)
    sockets.append(s)
    host = "[%s]" % address if family == socket.AF_INET6 else address
    words["listen-" + name] = "%s:%d" % (host, s.getsockname()[1])
    scheme = "https" if name == "https" else "http"
    words[name] = "%s://%s" % (scheme, words["listen-" + name])


listen("http", socket.AF_INET, "127.0.0.1")
listen("https", socket.AF_INET, "127.0.0.1")
try:
    listen("http6", socket.AF_INET6, "::1")
    words["if-http6"] = ""
except OSError:
    pass

with open(directory + "/template") as f:
    text = f.read()
for word, value in words.items():
    text = text.replace("{%s}" % word, value)
with open(directory + "/nginx.conf", "w") as f:
    f.write(text)
with open(directory + "/addresses", "w") as f:
    print(words["http"], words["https"], words["http6"], sep="\n", file=f)

# NGINX lists the descriptors of inherited sockets.  (nginx has it to upgrade
# its binary while running.)
os.environ["NGINX"] = "".join("%d;" % s.fileno() for s in sockets)
os.execvp("nginx", ["nginx", "-p", directory, "-e", directory + "/error.log",
                    "-c", directory + "/nginx.conf"])
