#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# nbd-list.py [--names] URI: print a line for each export of the server,
# sorted: name, tab, description.  With --names print one line with the names
# in the server's order, each as 'export="NAME":'.

import sys, nbd
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri(sys.argv[-1])
found = []
def one(name, description):
    found.append("%s\t%s" % (name, description))
    return 0
if h.opt_list(one) != len(found):
    sys.exit("the count differs")
h.opt_abort()
if sys.argv[1] == "--names":
    print(*('export="%s":' % line.split("\t")[0] for line in found))
else:
    print("\n".join(sorted(found)))
