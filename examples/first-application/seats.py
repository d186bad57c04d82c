"""Sell a seat over HTTP, with nothing but Python's standard library."""

import base64
import json
import sys
import urllib.request

HUB = "http://127.0.0.1:4000/api/v1/default"
NEAR = "http://127.0.0.1:4010/api/v1/default"


def encode(text):
    """Give text as JSON carries values."""
    return base64.b64encode(text.encode()).decode()


# region sell
def sell(seat, buyer):
    """Sell a seat if it is free; return whether it was, and the position."""
    body = {
        "if": [{"key": f"seat:{seat}", "value": encode("free")}],
        "then": [
            {"op": "put", "type": "kv", "key": f"seat:{seat}", "value": encode("sold")},
            {"op": "put", "type": "row", "rowKey": f"ticket:{seat}", "columns": {"buyer": encode(buyer)}},
        ],
        "else": [],
    }
    request = urllib.request.Request(f"{HUB}/tx", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["succeeded"], answer.headers["X-Unisondb-Position"]
# endregion sell


# region buyer
def buyer_of(seat, position):
    """Read the ticket on the node close by, as of the position or later."""
    headers = {"X-Unisondb-At-Least": position}
    request = urllib.request.Request(f"{NEAR}/row/ticket:{seat}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return base64.b64decode(json.load(answer)["columns"]["buyer"]).decode()
# endregion buyer


if __name__ == "__main__":
    seat, buyer = sys.argv[1:]
    sold, position = sell(seat, buyer)
    if not sold:
        sys.exit(f"{seat} isn't free")
    print(f"{seat} is {buyer_of(seat, position)}'s")
