"""A worker of the raw dialect that streams: many results for one task.

Text is answered word by word, as a language model would answer token by token; bytes
come back in chunks. Run as many of it as you like on the same queue.
"""

import argparse
import base64
import json
import signal
import sys
import time

import redis

CHUNK_BYTES = 1024
# The result channel of a session, unless its tasks name another.
CHANNEL = "asr_result_"


class Answer:
    """Publishes the results of one task, numbered, so that a second worker with the same
    task (a task is queued at least once) does no harm: the gateway drops what it has had."""

    def __init__(self, server: redis.Redis, task: dict) -> None:
        self.server = server
        self.task = task
        self.channel = task.get("reply_to") or CHANNEL + task["session_id"]
        self.number = 0

    def send(self, **fields: object) -> None:
        result = {
            "session_id": self.task["session_id"],
            "seq": self.task["seq"],
            "n": self.number,
            **fields,
        }
        self.number += 1
        self.server.publish(self.channel, json.dumps(result))


def perform(server: redis.Redis, task: dict, delay_s: float) -> None:
    answer = Answer(server, task)
    if task["kind"] == "text":
        for word in task["data"].split():
            time.sleep(delay_s)
            answer.send(data=word)
    else:
        data = base64.b64decode(task["data"])
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = data[start : start + CHUNK_BYTES]
            answer.send(data_base64=base64.b64encode(chunk).decode())
    answer.send(done=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True, metavar="URL", help="redis://HOST:PORT/DB")
    parser.add_argument("--queue", default="raw_stream", help="key of the route's queue")
    parser.add_argument("--delay-ms", type=float, default=5, help="time for each word")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    server = redis.Redis.from_url(options.redis)
    print(f"worker: waiting for tasks in {options.queue}", flush=True)
    while True:
        # Looks up once a second, so that it can be stopped.
        popped = server.blpop([options.queue], timeout=1)
        if popped is None:
            continue
        try:
            task = json.loads(popped[1])
            perform(server, task, options.delay_ms / 1000)
        except (ValueError, KeyError, TypeError) as error:
            # One bad task must not end a worker; its client is told at the deadline.
            print(f"worker: not a task: {error!r}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
