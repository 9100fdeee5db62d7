#!/usr/bin/env python3
"""Reference client of ringgate's tasks route: streams a recording, prints what was said.

`transcribe` is all that a program needs; what follows it is the command.
"""

import array
import asyncio
import base64
import json
import random
import sys
import uuid
import wave
from collections import deque

from websockets.asyncio.client import connect
from websockets.exceptions import (ConnectionClosed, InvalidMessage, InvalidStatus,
                                   WebSocketException)

WINDOW = 8  # chunks that may be sent and not acknowledged
ATTEMPTS = 8  # in a row, without a new result
BACKOFF_MAX_S = 30
SILENCE_MAX_S = 90  # the gateway answers, or gives up, within 60 s
FINAL_CLOSES = {1002, 1003, 1007, 1008, 1009, 4009}  # trying again would end the same way


class Lost(Exception):
    """The connection or the session is gone, and may be had again."""


async def transcribe(url, chunks, on_result=lambda index, text: None, window=WINDOW):
    """Sends `chunks` (bytes: raw 16 kHz mono 16-bit PCM, or a WAV each) in one session.
    Returns the merged text and the gateway's `final_result`. Raises what can't be mended."""
    session_id, open_chunks, texts = str(uuid.uuid4()), dict(enumerate(chunks)), {}
    attempt = 0

    async def converse(socket):
        nonlocal attempt
        unacked, to_send, started, finishing = set(), deque(), False, False
        await socket.send(json.dumps({"action": "start", "session_id": session_id}))
        while True:
            message = json.loads(await asyncio.wait_for(socket.recv(), SILENCE_MAX_S))
            kind, index = message["type"], message["chunk_index"]
            if kind == "ack" and message["status"] == "session_started":
                started = True
                # All without an answer: what the gateway has, it only acknowledges again.
                to_send.extend(open_chunks)
            elif kind == "ack":
                unacked.discard(index)
            elif kind == "chunk_result":
                attempt = 1
                open_chunks.pop(index, None)
                texts[index] = message["text"]
                on_result(index, message["text"])
            elif kind == "final_result":
                # This side's merge: a gateway that was restarted has not seen every chunk.
                return " ".join(texts[i] for i in sorted(texts) if texts[i]), message
            elif "rejected_chunk" in message:  # not taken: the broker is busy or away
                unacked.discard(message["rejected_chunk"])
                to_send.append(message["rejected_chunk"])
                await asyncio.sleep(1)
            elif message["code"] in ("busy", "broker_unavailable", "session_not_found"):
                raise Lost(message["message"])
            else:
                raise RuntimeError(f"{message['code']}: {message['message']}")
            while to_send and len(unacked) < window:
                index = to_send.popleft()
                if index not in open_chunks:  # answered meanwhile
                    continue
                unacked.add(index)
                audio = base64.b64encode(open_chunks[index]).decode()
                await socket.send(json.dumps({"action": "chunk", "session_id": session_id,
                                              "chunk_index": index, "audio_data": audio}))
            if started and not (to_send or unacked or finishing):
                finishing = True
                await socket.send(json.dumps({"action": "finish", "session_id": session_id}))

    while True:
        wait_s = 0
        attempt += 1
        try:
            # A merged text may be 16 MiB; the package's own limit is 1.
            async with connect(url, compression=None, max_size=2**25) as socket:
                return await converse(socket)
        except InvalidStatus as refusal:
            reason, headers = refusal, refusal.response.headers
            if refusal.response.status_code not in (429, 503):
                raise
            wait_s = float(headers.get("Retry-After", 0))
        except ConnectionClosed as closed:
            reason = closed
            if closed.rcvd and closed.rcvd.code in FINAL_CLOSES:
                raise
        except (OSError, asyncio.TimeoutError, InvalidMessage, Lost) as lost:
            reason = lost
        if attempt >= ATTEMPTS:
            raise reason
        # Full jitter, so that clients that were lost together don't come back together.
        wait_s += random.uniform(0, min(BACKOFF_MAX_S, 0.5 * 2**attempt))
        print(f"{reason or type(reason).__name__}; again in {wait_s:.1f} s", file=sys.stderr)
        await asyncio.sleep(wait_s)


def utterances(pcm, quiet=600, pause_s=0.3):
    """Cuts 16 kHz 16-bit audio where at least `pause_s` are quiet, so that no word is cut."""
    frame, start, silent, heard = 640, 0, 0, False  # bytes of 20 ms
    for end in range(frame, len(pcm), frame):
        samples = array.array("h", pcm[end - frame:end])
        silent = silent + 1 if max(map(abs, samples)) < quiet else 0
        heard = heard or silent == 0
        if heard and silent * 0.02 >= pause_s:
            yield pcm[start:end]
            start, heard = end, False
    yield pcm[start:]


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: asr_client.py ws://HOST:PORT/ws/asr RECORDING.wav (16 kHz, mono, 16 bits)")
    with wave.open(sys.argv[2]) as file:
        pcm = file.readframes(file.getnframes())
    chunks = list(utterances(pcm))
    show = lambda index, text: print(f"{index}: {text}", flush=True)
    try:
        text, final = asyncio.run(transcribe(sys.argv[1], chunks, show))
    except (OSError, RuntimeError, Lost, WebSocketException) as error:
        sys.exit(f"failed: {error}")
    print(f"final: {text}")
    if not final["complete"]:
        sys.exit(f"without an answer: {final['missing_count']} chunks")


if __name__ == "__main__":
    main()
