#!/usr/bin/env python3
"""A speech worker for ringgate: spoken English digits, recognised with pocketsphinx.

It takes audio out of a Redis queue, a list or a stream, recognises it, and publishes the text;
the gateway brings it to the client. Ends after the task in hand on SIGTERM or SIGINT.
"""

import argparse
import array
import base64
import io
import json
import logging
import os
import signal
import socket
import threading
import time
import wave

import redis
from pocketsphinx import Decoder
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

RATE_HZ = 16_000
PART_BLOCKS_MIN, PART_BLOCKS_MAX = 20, 60  # of 0.1 s
POP_WAIT_S = 1  # also how soon an idle worker hears SIGTERM
TASKS_PER_READ = 5  # of a stream
RESULT_CACHE_TTL_S = 60
HEARTBEAT_EVERY_S, HEARTBEAT_TTL_S = 15, 30
REDIS_RETRIES = 8  # with up to 2 s between them, for a Redis that restarts
REDIS_PAUSE_S = 1  # after that many

GRAMMAR = """#JSGF V1.0;
grammar digits;
public <digits> = (zero | one | two | three | four | five | six | seven | eight | nine)+;
"""

log = logging.getLogger("worker")


class BadAudio(Exception):
    """The audio of a task is not what this worker reads; the text is for the client."""


class Recogniser:
    def __init__(self):
        # A likely silence and an expensive word, so that the noise around an utterance is taken
        # for silence and not for a short word.
        self.decoder = Decoder(lm=None, loglevel="FATAL", samprate=RATE_HZ, silprob=0.4, wip=3e-4)
        self.decoder.add_jsgf_string("digits", GRAMMAR)
        self.decoder.activate_search("digits")

    def text_of(self, pcm):
        """The words in `pcm` (16 kHz, mono, 16 bits); empty where there are none."""
        return " ".join(filter(None, map(self.text_of_part, parts(pcm))))

    def text_of_part(self, pcm):
        self.decoder.start_utt()
        # All at once, so that the levels are those of the whole part and a text does not
        # depend on what was recognised before it.
        self.decoder.process_raw(pcm, no_search=False, full_utt=True)
        self.decoder.end_utt()
        best = self.decoder.hyp()
        return best.hypstr if best else ""


def parts(pcm):
    """Cuts long audio at its quietest moments: the recogniser's time grows with the square of
    the length, and the heartbeat waits for it."""
    block_bytes = 2 * RATE_HZ // 10
    start = 0
    while len(pcm) - start > PART_BLOCKS_MAX * block_bytes:
        candidates = range(PART_BLOCKS_MIN, PART_BLOCKS_MAX)
        blocks = {n: start + n * block_bytes for n in candidates}
        loudness = lambda n: sum(map(abs, array.array("h", pcm[blocks[n]:blocks[n] + block_bytes])))
        end = blocks[min(candidates, key=loudness)] + block_bytes // 2
        yield pcm[start:end]
        start = end
    yield pcm[start:]


def pcm_of(audio_data):
    """Base64 of a complete WAV file or of raw PCM, as samples of 16 kHz, mono, 16 bits."""
    try:
        data = base64.b64decode(audio_data, validate=True)
        if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
            with wave.open(io.BytesIO(data)) as file:
                form = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
                if form != (RATE_HZ, 1, 16):
                    raise BadAudio("WAV of %d Hz, %d channels, %d bits: "
                                   "16000 Hz, 1 channel, 16 bits are taken" % form)
                data = file.readframes(file.getnframes())
    except (ValueError, TypeError, EOFError, wave.Error) as error:
        raise BadAudio(f"audio: {error}") from error
    if len(data) % 2:
        raise BadAudio(f"raw audio of {len(data)} bytes: 16-bit samples need an even number")
    return data


class Worker:
    def __init__(self, store, recogniser, stopping):
        self.store, self.recogniser, self.stopping = store, recogniser, stopping

    def perform(self, task):
        """Answers a task: publishes the result, then caches it for a client that is away."""
        session_id, index = task["session_id"], task["chunk_index"]
        start, text, error = time.monotonic(), "", ""
        try:
            pcm = pcm_of(task["audio_data"])
            text = self.recogniser.text_of(pcm) if pcm else ""
        except BadAudio as bad:
            error = str(bad)
        duration = time.monotonic() - start
        result = {"chunk_index": index, "text": text, "duration": duration, "error": error}
        reply_to = task.get("reply_to")
        published = {"session_id": session_id, **result} if reply_to else result
        self.store.publish(reply_to or f"asr_result_{session_id}", json.dumps(published))
        cache = self.store.pipeline(transaction=True)
        cache.rpush(f"asr:results:{session_id}", json.dumps(result))
        cache.expire(f"asr:results:{session_id}", RESULT_CACHE_TTL_S)
        cache.execute()
        log.info("%s %d: %r %s (%.0f ms)", session_id, index, text, error, duration * 1e3)

    def perform_raw(self, parse, raw):
        """The same for a task as it came. What is none is told and left: it has no client."""
        try:
            task = parse(raw)
            if not isinstance(task["session_id"], str) or not isinstance(task["chunk_index"], int):
                raise TypeError("session_id must be a text and chunk_index a number")
            if not isinstance(task["audio_data"], str):
                raise TypeError("audio_data must be a text")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("not a task: %s: %s", type(error).__name__, error)
            return
        self.perform(task)

    def serve_list(self, key):
        while not self.stopping.is_set():
            popped = self.store.blpop([key], timeout=POP_WAIT_S)
            if popped:
                self.perform_raw(json.loads, popped[1])

    def serve_stream(self, key, group, name):
        try:
            self.store.xgroup_create(key, group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # it exists: another worker or the gateway made it
                raise
        # First what a worker of this name was given and did not acknowledge, then what is new.
        after = "0"
        while not self.stopping.is_set():
            reply = self.store.xreadgroup(group, name, {key: after}, count=TASKS_PER_READ,
                                          block=POP_WAIT_S * 1000)
            entries = entries_of(reply)
            if not entries:
                after = ">"
            for entry_id, fields in entries:
                self.perform_raw(task_of_entry, fields)
                self.store.xack(key, group, entry_id)
                # The rest stays pending, for the next worker of this name or for the gateway.
                if self.stopping.is_set():
                    break


def entries_of(reply):
    """The entries in the answer to XREADGROUP of one stream: pairs, or a map with RESP3."""
    if isinstance(reply, dict):
        return [entry for batches in reply.values() for batch in batches for entry in batch]
    return [entry for _, entries in reply or [] for entry in entries]


def task_of_entry(fields):
    """A stream's entry as the task that a list would hold."""
    payload = json.loads(fields["payload"])
    task = {"session_id": fields["task_id"], **payload}
    return {"reply_to": fields["reply_to"], **task} if fields.get("reply_to") else task


def keep_heartbeat(store, name, stopping):
    """Tells every 15 s that the worker `name` is there, and at the end that it is gone."""
    key = f"worker:{name}:heartbeat"
    while True:
        beat = {"ts": time.time(), "worker": name, "status": "running", "load": {}}
        try:
            store.set(key, json.dumps(beat), ex=HEARTBEAT_TTL_S)
            if stopping.wait(HEARTBEAT_EVERY_S):
                store.delete(key)
                return
        except redis.RedisError as error:
            log.warning("no heartbeat: %s", error)
            if stopping.wait(REDIS_PAUSE_S):
                return


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0", metavar="URL")
    parser.add_argument("--mode", choices=("list", "stream"), default="list",
                        help="type of the queue; the gateway's route must have the same")
    parser.add_argument("--key", help="the queue [asr_chunk_queue for a list, asr_tasks]")
    parser.add_argument("--group", default="asr_workers", help="of the stream's readers")
    parser.add_argument("--name", default=f"{socket.gethostname()}-{os.getpid()}",
                        help="of this worker, unlike any other's [HOST-PID]")
    parser.add_argument("--log-level", default="info", type=str.upper,
                        choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args()


def main():
    options = arguments()
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # An answer is worth retrying for: its task is off the queue.
    store = redis.Redis.from_url(options.redis, decode_responses=True, socket_timeout=10,
                                 socket_connect_timeout=5,
                                 retry=Retry(ExponentialBackoff(cap=2, base=0.05), REDIS_RETRIES))
    worker = Worker(store, Recogniser(), stopping)
    key = options.key or {"list": "asr_chunk_queue", "stream": "asr_tasks"}[options.mode]
    heart = threading.Thread(target=keep_heartbeat, args=(store, options.name, stopping))
    if options.mode == "stream":
        heart.start()
    log.info("ready: %s %s as %s", options.mode, key, options.name)
    while not stopping.is_set():
        try:
            if options.mode == "list":
                worker.serve_list(key)
            else:
                worker.serve_stream(key, options.group, options.name)
        except redis.RedisError as error:
            log.warning("redis: %s; again in %d s", error, REDIS_PAUSE_S)
            stopping.wait(REDIS_PAUSE_S)
    if heart.is_alive():
        heart.join()
    log.info("stopped")


if __name__ == "__main__":
    main()
