#!/usr/bin/env python3
"""Print what a notifier tells: listen.py tcp://127.0.0.1:5555 orders."""

import json
import sys

import zmq  # the package pyzmq; python3-zmq on Debian


def missed(last: dict, topic: str, message: dict) -> bool:
    """Say whether something may be missing before a message of a topic."""
    before = last.get(topic)
    last[topic] = (message["run"], message["topic_seq"])
    return (
        message["operation"] == "reset"
        or before is None
        or before != (message["run"], message["topic_seq"] - 1)
    )


def main(endpoint: str, *topics: str) -> None:
    socket = zmq.Context.instance().socket(zmq.SUB)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
    socket.connect(endpoint)
    last = {}
    while True:
        topic, body = socket.recv_multipart()
        topic, message = topic.decode(), json.loads(body)
        if missed(last, topic, message):
            print(topic, message["topic_seq"], "something may be missing before this: read everything", flush=True)
        else:
            key = message.get("key", message.get("key_base64"))
            print(topic, message["topic_seq"], message["operation"], "of", key, "at LSN", message["lsn"], flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
