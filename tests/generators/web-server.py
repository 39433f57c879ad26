#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# A web server that fails on demand, for tests of url=.
#
#     web-server.py [OPTION...] STATE DIRECTORY [SETTING...]
#
# serves the files of DIRECTORY on 127.0.0.1, on a port that the kernel
# chooses and that is written to the file STATE.port.  STATE.log gets one
# line for each request.  The line is written before the response is sent, so
# that a client which has the response finds the line:
#
#     METHOD TARGET RANGE STATUS [NAME=VALUE...]
#
# A missing RANGE or VALUE is "-".  STATUS is "206/close" if a fault corrupts
# the response, "reset" if no response is sent.
#
# A SETTING is KEY=VALUE, or "/PATTERN KEY=VALUE".  The shell pattern selects
# paths, or paths with ranges ("/x bytes=0-*").  The last setting that matches
# wins.  Settings in the file STATE.control, one per line, follow those of the
# command line; when the file is replaced (by rename), it is read again and
# every PLAN starts again.
#
# A PLAN lists what happens to the first, the second ... request:
# ITEM[*COUNT],...  After "*" without COUNT the item holds forever; "..." at
# the end repeats the list; "ok", also implied after the list, is a normal
# response.
#
#   latency=S           respond after S seconds
#   rate=N              send N bytes per second on each connection
#   fail=PLAN           of FAULTs: see below
#   replace=PLAN        of other files to serve instead
#   etag=E              strong (default), weak, none, or a literal header value
#   last-modified=no
#   ignore=if-match
#   demand=NAME: VALUE|...    refuse requests without these headers
#   query=Q             refuse requests without this query string
#   to=URL code=302     redirect to URL with the path appended
#   token=PREFIX        ... and with ?token=PREFIX and a number
#   tokens=N expired=403    require a token, which is valid N times
#   hops=N              redirect N times to the same path
#   sigv4=ACCESS:SECRET[:TOKEN] region=us-east-1    require a signature
#   issuer=SEED         require a signature by the keys of aws-server.py, which
#                       expire; then expired= is the status
#   body=TEXT           the body of errors that are faults
#   log=NAME,...        what to log: names of headers, "connection" (its
#                       number), "busy" (number of requests in-flight)
#
# A FAULT is KIND[:ARGUMENT]:
#
#   STATUS[:RETRY-AFTER]    respond with this status, any three digits
#   reset[:K] close[:K] hang[:K]    before the response, or after K bytes
#                       of its body: close truncates; hang never ends
#   garbage             respond with something that is not HTTP
#   long:K              the body has K more bytes than Content-Range says
#   wide:K              the range has K more bytes than requested
#   short:K             the range has only the first K bytes
#   start:K             the start in Content-Range is K too high
#   total:K             the total in Content-Range is K
#   range:TEXT          Content-Range is TEXT, or missing without TEXT
#   whole               200 and the whole file
#   gzip                Content-Encoding: gzip
#   chunked             Transfer-Encoding: chunked (valid, not a fault)
#
# The response to HEAD is always 405.  For an absolute URL as TARGET, and for
# CONNECT with --tls --plain, this server acts as a proxy.

import argparse
import datetime
import email.utils
import fnmatch
import hashlib
import hmac
import http
import math
import os
import re
import socket
import ssl
import struct
import threading
import time
from urllib.parse import quote, unquote_to_bytes


class Plan:
    def __init__(self, text):
        self.lock = threading.Lock()
        items = text.split(",")
        self.again = items[-1] == "..."
        self.items = []
        for item in items[:-1] if self.again else items:
            name, count = re.fullmatch(r"(.*?)(?:\*(\d*))?", item).groups("1")
            self.items.append((name, int(count) if count else math.inf))
        self.index = self.used = 0

    def next(self):
        with self.lock:
            if self.index == len(self.items) and self.again:
                self.index = 0
            if self.index == len(self.items):
                return "ok"
            name, count = self.items[self.index]
            self.used += 1
            if self.used == count:
                self.index += 1
                self.used = 0
            return name


class Settings:
    DEFAULTS = {
        "latency": "0", "rate": "", "fail": Plan("ok"),
        "replace": Plan("ok"), "etag": "strong", "last-modified": "yes",
        "ignore": "", "demand": "", "query": "", "to": "", "code": "302",
        "token": "", "tokens": "", "expired": "403", "hops": "",
        "sigv4": "", "issuer": "", "region": "us-east-1", "log": "",
        "body": "injected error",
    }

    def __init__(self, lines, control):
        self.lock = threading.Lock()
        self.first = [self.parse(line) for line in lines]
        self.control = control
        self.more, self.version = [], None

    def parse(self, line):
        pattern, key, value = re.fullmatch(
            r"(?:(/\S*(?: bytes=\S*)?) )?([a-z0-9-]+)=(.*)", line).groups("*")
        return pattern, key, type(self.DEFAULTS[key])(value)

    def of(self, path, byte_range):
        both = path + " " + byte_range
        with self.lock:
            try:
                st = os.stat(self.control)
                version = st.st_ino, st.st_mtime_ns, st.st_size
            except FileNotFoundError:
                version = None
            if version != self.version:
                with open(self.control, encoding="utf-8") as f:
                    self.more = [self.parse(li.rstrip("\n")) for li in f]
                self.version = version
            chosen = dict(self.DEFAULTS)
            for pattern, key, value in self.first + self.more:
                if (fnmatch.fnmatchcase(path, pattern)
                        or fnmatch.fnmatchcase(both, pattern)):
                    chosen[key] = value
            return chosen


class Response:
    def __init__(self, status, text="", note="", **fields):
        self.status = status
        self.body = (text + "\n").encode()
        self.note = note        # for the log
        self.fields = {k.replace("_", "-"): v for k, v in fields.items()}

    def head(self):
        try:
            phrase = http.HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = ["HTTP/1.1 %d %s" % (self.status, phrase)]
        lines += ["%s: %s" % field for field in self.fields.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def signature(secret, method, path, query, headers, signed, scope):
    """The signature of AWS's version 4 for a request to S3.

    From 'Authenticating Requests (AWS Signature Version 4)' in the API
    reference of Amazon S3.  PATH and QUERY are as sent, SIGNED is the list
    of the names of the signed headers, SCOPE is DATE/REGION/s3/aws4_request.
    """
    def coded(text, safe=""):
        # Decode and encode again: the client may encode more than needed.
        return quote(unquote_to_bytes(text.encode("latin-1")), safe=safe)

    pairs = [item.partition("=") for item in query.split("&") if item]
    canonical = "\n".join(
        [method, coded(path, "/"),
         "&".join("%s=%s" % pair for pair in
                  sorted((coded(k), coded(v)) for k, _, v in pairs))]
        + ["%s:%s" % (n, " ".join(headers.get(n, "").split()))
           for n in signed]
        + ["", ";".join(signed), headers["x-amz-content-sha256"]])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for text in scope.split("/") + [to_sign]:
        key = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return key.hex()


def issued_keys(issuer, access):
    """The keys that belong to an access key ASIA<number>X<end in ms>."""
    def derive(what):
        return hmac.new((issuer + what).encode(), access.encode(),
                        hashlib.sha256).hexdigest()

    return {"access": access, "secret": "SECRET/" + derive("secret"),
            "token": "TOKEN+" + derive("token") + "=="}


def issued_problem(headers, issuer, check):
    """The error code for a request that the issuer's keys must sign, or None.
    CHECK is called with these keys, as in sigv4=.
    """
    m = re.search(r"Credential=(ASIA\d+X(\d+))/",
                  headers.get("authorization", ""))
    if not m:
        return "AccessDenied"
    problem = check("%(access)s:%(secret)s:%(token)s"
                    % issued_keys(issuer, m[1]))
    if not problem and time.time() * 1000 > int(m[2]):
        problem = "ExpiredToken"
    return problem


def signature_problem(method, path, query, headers, keys, region):
    """The error code of S3 for a request, or None."""
    access, secret, *token = keys.split(":")
    if "authorization" not in headers:
        return "AccessDenied"
    m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([^/, ]+)"
                     r"/s3/aws4_request, *SignedHeaders=([a-z0-9;-]+), *"
                     r"Signature=([0-9a-f]{64})", headers["authorization"])
    if not m or m.group(3) != region:
        return "AuthorizationHeaderMalformed"
    if m.group(1) != access:
        return "InvalidAccessKeyId"
    if headers.get("x-amz-content-sha256") not in (
            hashlib.sha256(b"").hexdigest(), "UNSIGNED-PAYLOAD"):
        return "MissingContentSHA256"
    if [headers[n] for n in headers if n == "x-amz-security-token"] != token:
        return "InvalidToken"
    signed = m.group(4).split(";")
    if signed != sorted(signed) or "host" not in signed or not all(
            n in signed for n in headers if n.startswith("x-amz-")):
        return "UnsignedHeaders"
    try:
        date = datetime.datetime.strptime(
            headers.get("x-amz-date", "") + "+0000", "%Y%m%dT%H%M%SZ%z")
    except ValueError:
        return "InvalidDate"
    if (abs(date.timestamp() - time.time()) > 900
            or date.strftime("%Y%m%d") != m.group(2)):
        return "RequestTimeTooSkewed"
    scope = "%s/%s/s3/aws4_request" % m.group(2, 3)
    if m.group(5) != signature(secret, method, path, query, headers, signed,
                               scope):
        return "SignatureDoesNotMatch"
    return None


class Server:
    def __init__(self, args):
        self.root = args.directory
        self.settings = Settings(args.settings, args.state + ".control")
        self.log_file = open(args.state + ".log", "a", encoding="utf-8")
        self.lock = threading.Lock()
        self.busy = 0           # requests in-flight
        self.given = 0          # tokens issued
        self.tokens = {}        # how often each was used
        self.plain = args.plain or not args.tls
        self.tls = None
        if args.tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*args.tls)

    def log(self, line):
        with self.lock:
            self.log_file.write(line + "\n")
            self.log_file.flush()

    def count(self, change):
        with self.lock:
            self.busy += change
            return self.busy

    def new_token(self):
        with self.lock:
            self.given += 1
            return self.given

    def uses_of(self, token):
        with self.lock:
            self.tokens[token] = self.tokens.get(token, 0) + 1
            return self.tokens[token]


class Connection:
    """One connection, in its own thread."""

    def __init__(self, server, sock, number):
        self.server = server
        self.sock = sock
        self.number = number

    def run(self):
        try:
            self.begin(not self.server.plain)
            while self.request():
                pass
        except OSError:         # the client disconnected
            pass
        finally:
            self.sock.close()

    def begin(self, tls):
        if tls:
            self.sock = self.server.tls.wrap_socket(self.sock,
                                                    server_side=True)
        # makefile () would keep the socket open after close.
        self.pending = b""

    def head(self):
        """The lines of the next request, or None if there is none."""
        while b"\r\n\r\n" not in self.pending:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.pending += data
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        return head.decode("latin-1").split("\r\n")

    def request(self):
        lines = self.head()
        if lines is None:
            return False
        self.method, self.target, _ = lines[0].split(" ")
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if name in self.headers:
                value = self.headers[name] + ", " + value
            self.headers[name] = value
        rest = re.sub("^https?://[^/]*", "", self.target)
        self.raw_path, _, self.query = rest.partition("?")
        self.path = os.fsdecode(
            unquote_to_bytes(self.raw_path.encode("latin-1")))
        self.range = self.headers.get("range", "")
        self.knobs = self.server.settings.of(self.path, self.range)
        self.extra = {"connection": self.number,
                      "busy": self.server.count(1)}
        try:
            time.sleep(float(self.knobs["latency"]))
            return self.tunnel() if self.method == "CONNECT" else self.reply()
        finally:
            self.server.count(-1)

    def log(self, status):
        words = [self.method, self.target, self.range or "-", str(status)]
        for name in filter(None, self.knobs["log"].split(",")):
            value = self.extra.get(name, self.headers.get(name, "-"))
            words.append("%s=%s" % (name, value))
        self.server.log(" ".join(words))

    def tunnel(self):
        if not self.server.tls:
            return self.send(Response(501, "CONNECT needs --tls"))
        if self.missing_header():
            return self.send(self.missing_header())
        self.log(200)
        self.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self.begin(True)
        return True

    def reply(self):
        kind, _, argument = self.knobs["fail"].next().partition(":")
        if kind in ("reset", "close", "hang", "garbage") and not argument:
            self.log(kind)
            if kind == "hang":
                time.sleep(3600)
            if kind == "garbage":
                self.sock.sendall(b"\0\xff\r\nnot HTTP\r\n\r\n" * 10)
            self.drop(kind)
            return False
        if kind.isdigit():
            response = Response(int(kind), self.knobs["body"])
            if argument:
                response.fields["Retry-After"] = argument
            return self.send(response)
        response = self.refusal() or self.redirect() or self.file(kind)
        if kind == "ok" or response.status >= 300:
            return self.send(response)
        if kind in ("reset", "close", "hang"):
            return self.send(response, kind, int(argument))
        self.spoil(response, kind, argument)
        return self.send(response)

    def drop(self, kind):
        if kind == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))
        self.sock.close()

    @staticmethod
    def spoil(response, kind, argument):
        fields = response.fields
        response.note = kind
        if kind in ("long", "wide"):
            response.body += b"\xee" * int(argument)
        if kind == "short":
            response.body = response.body[:int(argument)]
        if kind == "gzip":
            fields["Content-Encoding"] = "gzip"
        if kind == "chunked":
            fields["Transfer-Encoding"] = "chunked"
        if response.status != 206:
            return
        first, last, total = map(int, re.findall(r"\d+",
                                                 fields["Content-Range"]))
        if kind == "wide":
            last += int(argument)
        if kind == "short":
            last = first + len(response.body) - 1
        if kind == "start":
            first += int(argument)
        if kind == "total":
            total = argument
        fields["Content-Range"] = "bytes %d-%d/%s" % (first, last, total)
        if kind == "range":
            fields["Content-Range"] = argument
            if not argument:
                del fields["Content-Range"]

    def missing_header(self):
        for item in filter(None, self.knobs["demand"].split("|")):
            name, _, value = item.partition(": ")
            if self.headers.get(name.lower()) == value:
                continue
            if name.lower() == "authorization":
                return Response(401, "authentication required", name,
                                WWW_Authenticate='Basic realm="test"')
            if name.lower() == "proxy-authorization":
                return Response(407, "authentication required", name,
                                Proxy_Authenticate='Basic realm="proxy"')
            return Response(403, "missing header", name)
        return None

    def refusal(self):
        """The response to a request that is not allowed, or None."""
        knobs = self.knobs
        if self.method != "GET":
            return Response(405, "only GET is allowed", Allow="GET")
        if self.missing_header():
            return self.missing_header()
        if knobs["query"] and self.query != knobs["query"]:
            return Response(403, "wrong query", "query")
        if knobs["tokens"]:
            token = re.search("(?:^|&)token=([^&]*)", self.query)
            if (not token or
                    self.server.uses_of(token[1]) > int(knobs["tokens"])):
                return Response(int(knobs["expired"]), "expired", "expired")
        def check(keys):
            return signature_problem(self.method, self.raw_path, self.query,
                                     self.headers, keys, knobs["region"])

        problem = None
        if knobs["sigv4"]:
            problem = check(knobs["sigv4"])
        elif knobs["issuer"]:
            problem = issued_problem(self.headers, knobs["issuer"], check)
        if problem:
            status = 403
            if problem == "ExpiredToken":
                status = int(knobs["expired"])
            return Response(status, '<?xml version="1.0" encoding="UTF-8"?>\n'
                            "<Error><Code>%s</Code><Message>Go away."
                            "</Message></Error>" % problem, problem,
                            Content_Type="application/xml")
        return None

    def redirect(self):
        knobs = self.knobs
        hop = int((self.query.partition("hop=")[2] or "0"))
        if knobs["to"]:
            location = knobs["to"] + self.raw_path
            if knobs["token"]:
                location += "?token=%s%d" % (knobs["token"],
                                             self.server.new_token())
        elif knobs["hops"] and hop < int(knobs["hops"]):
            location = "%s?hop=%d" % (self.raw_path, hop + 1)
        else:
            return None
        return Response(int(knobs["code"]), "moved", Location=location)

    def file(self, kind):
        path = self.path.lstrip("/")
        if ".." in path.split("/"):
            return Response(400, "bad path")
        other = self.knobs["replace"].next()
        try:
            fd = os.open(os.path.join(self.server.root,
                                      path if other == "ok" else other),
                         os.O_RDONLY)
        except OSError:
            return Response(404, "no such file")
        try:
            # Validators and bytes come from one version: the open file.
            return self.part(fd, os.fstat(fd), kind == "whole")
        except IsADirectoryError:
            return Response(404, "this is a directory")
        finally:
            os.close(fd)

    def part(self, fd, st, whole):
        etag = self.knobs["etag"]
        if etag in ("strong", "weak"):
            version = "%d %d %d" % (st.st_ino, st.st_mtime_ns, st.st_size)
            etag = '%s"%s"' % ("W/" if etag == "weak" else "",
                               hashlib.md5(version.encode()).hexdigest())
        match = self.headers.get("if-match", etag)
        if self.knobs["ignore"] != "if-match" and (
                match != etag or match.startswith("W/")
                and "if-match" in self.headers):
            return Response(412, "the file has changed")
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.range)
        first, last = 0, st.st_size - 1
        if wanted and not whole:
            first = int(wanted[1])
            last = min(int(wanted[2] or last), last)
            if first > last:
                return Response(416, "no such range",
                                Content_Range="bytes */%d" % st.st_size)
        response = Response(200, note="whole" if wanted else "")
        if wanted and not whole:
            response = Response(206, Content_Range="bytes %d-%d/%d"
                                % (first, last, st.st_size))
        if etag != "none":
            response.fields["ETag"] = etag
        if self.knobs["last-modified"] == "yes":
            response.fields["Last-Modified"] = email.utils.formatdate(
                st.st_mtime, usegmt=True)
        response.body = os.pread(fd, last + 1 - first, first)
        return response

    def send(self, response, kind=None, after=0):
        """Log and send a response.  With KIND send only AFTER bytes of its
        body and then fail.
        """
        note = kind or response.note
        self.log(str(response.status) + ("/" + note if note else ""))
        body = response.body
        if response.fields.get("Transfer-Encoding") == "chunked":
            parts = [body[i:i + 10000] for i in range(0, len(body), 10000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part)
                            for part in parts + [b""])
        elif response.status in (204, 304):
            body = b""
        else:
            response.fields["Content-Length"] = str(len(body))
        if self.method == "HEAD":
            body = b""
        data = response.head() + (body[:after] if kind else body)
        # With a rate limit send 20 pieces per second.
        rate = int(self.knobs["rate"] or 0)
        step = rate // 20 or len(data)
        for i in range(0, len(data), step):
            self.sock.sendall(data[i:i + step])
            if rate:
                time.sleep(len(data[i:i + step]) / rate)
        if kind == "hang":
            time.sleep(3600)
        if kind:
            self.drop(kind)
        return kind is None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--plain", action="store_true",
                        help="use TLS only in tunnels")
    parser.add_argument("--port", type=int, default=0,
                        help="listen on this port; no other process may use it")
    parser.add_argument("--refuse", type=float, metavar="S",
                        help="refuse connections for S seconds")
    parser.add_argument("state")
    parser.add_argument("directory")
    parser.add_argument("settings", nargs="*")
    args = parser.parse_intermixed_args()
    server = Server(args)
    parent = os.getppid()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", args.port))
    if not args.refuse:
        listener.listen(128)
    with open(args.state + ".port.new", "w", encoding="utf-8") as f:
        print(listener.getsockname()[1], file=f)
    os.rename(args.state + ".port.new", args.state + ".port")
    if args.refuse:
        time.sleep(args.refuse)
        listener.listen(128)
    listener.settimeout(1)
    number = 0
    while os.getppid() == parent:       # ends with the test
        try:
            sock, _ = listener.accept()
        except TimeoutError:
            continue
        number += 1
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(server, sock, number).run,
                         daemon=True).start()


if __name__ == "__main__":
    main()
