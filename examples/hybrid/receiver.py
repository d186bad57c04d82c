"""The billing system: takes webhooks, and prints each change whose signature is right."""

import hashlib
import hmac
import http.server
import json
import os
import sys
import time

SECRET = os.environ["HOOK_SECRET"]


def verify(secret: str, header: str, body: bytes, now: float | None = None) -> bool:
    """Say whether a body comes from whoever knows the secret, and is recent."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    sent = next((value for name, value in parts if name == "t"), "")
    if not sent.isdigit() or abs((now or time.time()) - int(sent)) > 300:
        return False
    want = hmac.new(secret.encode(), sent.encode() + b"." + body, hashlib.sha256).hexdigest()
    return any(name == "v1" and hmac.compare_digest(value, want) for name, value in parts)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers when the changes are noted: what it accepted doesn't come again."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        genuine = verify(SECRET, self.headers.get("X-Unisondb-Signature", ""), body)
        if genuine:
            for event in json.loads(body)["events"]:
                print(event["operation"], event["key"], "lsn", event["lsn"], flush=True)
        self.send_response(204 if genuine else 401)
        self.end_headers()

    def log_message(self, *_):
        """Keep the server's own lines out of the output."""


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
