#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# A stand-in for the services of AWS that give temporary keys.
#
#     aws-server.py STATE [SETTING...]
#
# serves on 127.0.0.1, on a port that the kernel chooses and that is written
# to the file STATE.port.  STATE.log gets one line for each request: METHOD
# PATH STATUS, and the access key that was given.  Settings in the file
# STATE.control, one per line, replace those of the command line at once.
#
#   issuer=SEED         what the keys are derived from: web-server.py with the
#                       same issuer accepts them until they expire
#   lifetime=S          of the keys, in seconds
#   claim=S             add this to the time in the response
#   fail=STATUS         respond with this status, and the error of a denial
#   body=TEXT           respond with 200 and this text
#   latency=S           respond after S seconds
#   token=TEXT          the web identity, or the container's authorization
#   role=ARN            the role that is assumed
#
# STS is at POST /; the keys of a container are at /container, and those of an
# instance where its metadata service, version 2, has them.

import argparse
import datetime
import http.server
import importlib.util
import json
import os
import sys
import threading
import time
from urllib.parse import parse_qsl

spec = importlib.util.spec_from_file_location(
    "web", os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        "web-server.py"))
web = importlib.util.module_from_spec(spec)
spec.loader.exec_module(web)

STS = """<AssumeRoleWithWebIdentityResponse
    xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/role/x</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:x</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>%(token)s</SessionToken>
      <SecretAccessKey>%(secret)s</SecretAccessKey>
      <Expiration>%(time)s</Expiration>
      <AccessKeyId>%(access)s</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>
"""

STS_ERROR = """<ErrorResponse
    xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>%s</Code><Message>No: %s</Message></Error>
</ErrorResponse>
"""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state, settings):
        super().__init__(("127.0.0.1", 0), Handler)
        self.state, self.first = state, settings
        self.lock = threading.Lock()
        self.keys = 0

    def settings(self):
        try:
            with open(self.state + ".control", encoding="utf-8") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            lines = self.first
        chosen = {"issuer": "seed", "lifetime": "3600", "claim": "0", "fail": "",
                  "body": "", "latency": "0", "token": "", "role": ""}
        for line in lines:
            key, _, value = line.partition("=")
            chosen[key] = value
        return chosen

    def log(self, line):
        with self.lock, open(self.state + ".log", "a", encoding="utf-8") as f:
            f.write(line + "\n")

    def new_keys(self, knobs):
        with self.lock:
            self.keys += 1
            number = self.keys
        end = time.time() + float(knobs["lifetime"])
        keys = web.issued_keys(knobs["issuer"],
                               "ASIA%dX%d" % (number, int(end * 1000)))
        keys["time"] = datetime.datetime.fromtimestamp(
            end + float(knobs["claim"]), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return keys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:     # the client disconnected
            pass

    def send(self, status, body, note="-"):
        self.server.log("%s %s %d %s" % (self.command, self.path, status,
                                         note))
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        try:
            self.end_headers()
            self.wfile.write(data)
        except OSError:         # the client disconnected
            self.close_connection = True

    def begin(self):
        """The settings, unless a response was sent already."""
        knobs = self.server.settings()
        time.sleep(float(knobs["latency"]))
        if knobs["body"]:
            self.send(200, knobs["body"])
        elif knobs["fail"]:
            self.send(int(knobs["fail"]),
                      STS_ERROR % ("AccessDenied", knobs["token"]))
        else:
            return knobs
        return None

    def keys_as_json(self, knobs, **more):
        keys = self.server.new_keys(knobs)
        self.send(200, json.dumps({
            "AccessKeyId": keys["access"], "SecretAccessKey": keys["secret"],
            "Token": keys["token"], "Expiration": keys["time"], **more},
            indent=2), keys["access"])

    def do_PUT(self):
        if not self.begin():
            return
        if (self.path != "/latest/api/token" or self.headers.get(
                "X-aws-ec2-metadata-token-ttl-seconds") != "21600"):
            self.send(403, "")
        else:
            self.send(200, "METATOKEN==")

    def do_GET(self):
        knobs = self.begin()
        roles = "/latest/meta-data/iam/security-credentials/"
        if not knobs:
            return
        if self.path == "/container":
            if self.headers.get("Authorization", "") != knobs["token"]:
                self.send(400, '{"code":"InvalidToken","message":"%s"}'
                          % knobs["token"])
            else:
                self.keys_as_json(knobs, RoleArn="x")
        elif self.headers.get("X-aws-ec2-metadata-token") != "METATOKEN==":
            self.send(401, "")
        elif self.path == roles and knobs["role"]:
            self.send(200, knobs["role"])
        elif self.path == roles + knobs["role"].replace(" ", "%20"):
            self.keys_as_json(knobs, Code="Success", Type="AWS-HMAC",
                              LastUpdated="x")
        else:
            self.send(404, "")

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        form = dict(parse_qsl(self.rfile.read(length).decode()))
        knobs = self.begin()
        if not knobs:
            return
        token = form.get("WebIdentityToken")
        if (form.get("Action") != "AssumeRoleWithWebIdentity"
                or form.get("Version") != "2011-06-15"
                or not form.get("RoleSessionName")):
            self.send(400, STS_ERROR % ("InvalidAction", token))
        elif token != knobs["token"] or form.get("RoleArn") != knobs["role"]:
            self.send(400, STS_ERROR % ("InvalidIdentityToken", token))
        else:
            keys = self.server.new_keys(knobs)
            self.send(200, STS % keys, keys["access"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("state")
    parser.add_argument("settings", nargs="*")
    args = parser.parse_args()
    server = Server(args.state, args.settings)
    with open(args.state + ".port.new", "w", encoding="utf-8") as f:
        print(server.server_address[1], file=f)
    os.rename(args.state + ".port.new", args.state + ".port")
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:   # ends with the test
            time.sleep(1)
        os._exit(0)
    threading.Thread(target=watch, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
