"""Receive the webhooks of a namespace, with nothing but Python's standard library."""

# region verify
import hashlib
import hmac
import time


def verify(secret: str, header: str, body: bytes, now: float | None = None) -> bool:
    """Say whether a body comes from whoever knows the secret, and is recent."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    sent = next((value for name, value in parts if name == "t"), "")
    if not sent.isdigit() or abs((now or time.time()) - int(sent)) > 300:
        return False
    want = hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    return any(name == "v1" and hmac.compare_digest(value, want) for name, value in parts)
# endregion verify


import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


# region receive
class Receiver(BaseHTTPRequestHandler):
    """Answer 204 to what was taken, and 401 to what doesn't come from the node."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not verify(os.environ["HOOK_SECRET"], self.headers.get("X-Unisondb-Signature", ""), body):
            self.send_error(401)
            return
        for event in json.loads(body)["events"]:
            print(event["operation"], event.get("key"), "at", event.get("lsn"), flush=True)
        self.send_response(204)
        self.end_headers()
# endregion receive

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
