"""A client of the raw dialect: streams text and bytes, loses its connection, resumes.

Ends with 0 if everything came back whole and in order.
"""

import argparse
import asyncio
import json
import os

import websockets

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "ein zweiter Satz mit \u00dcml\u00e4uten und \U0001f600",
]
PATIENCE_S = 20


async def receive(socket):
    return await asyncio.wait_for(socket.recv(), PATIENCE_S)


async def opened(socket) -> dict:
    """The first frame of every connection."""
    message = json.loads(await receive(socket))
    assert message["type"] == "open", message
    return message


async def stream_text(socket) -> None:
    """Two tasks at once: a single worker answers one after the other, word by word."""
    for text in TEXTS:
        await socket.send(text)
    for text in TEXTS:
        for word in text.split():
            answer = await receive(socket)
            print(answer, end=" ", flush=True)
            assert answer == word, (answer, word)
        print()


async def stream_bytes(socket) -> None:
    sent = os.urandom(10_000)
    await socket.send(sent)
    heard, chunks = b"", 0
    while len(heard) < len(sent):
        chunk = await receive(socket)
        assert isinstance(chunk, bytes), chunk
        heard, chunks = heard + chunk, chunks + 1
    assert heard == sent
    print(f"{len(sent)} bytes came back in {chunks} binary frames")


async def resume(url: str) -> None:
    """What comes while nobody is connected waits for the client that names the session."""
    name = f"example-{os.getpid()}"
    words = [f"word{number}" for number in range(100)]
    socket = await websockets.connect(f"{url}?session={name}")
    await opened(socket)
    await socket.send(" ".join(words))
    heard = [await receive(socket) for _ in range(10)]
    # Without a close frame, as if the network had gone.
    socket.transport.abort()

    async with websockets.connect(f"{url}?session={name}") as socket:
        message = await opened(socket)
        assert message["resumed"] and message["next_seq"] == 1, message
        while not heard or heard[-1] != words[-1]:
            heard.append(await receive(socket))
    # What was on its way into the lost connection is gone; what came after it is not.
    missing = len(words) - len(heard)
    assert heard == [word for word in words if word in heard], "in order, none twice"
    print(f"resumed {name}: {len(heard)} of {len(words)} words, {missing} lost on the wire")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", metavar="URL", help="ws://HOST:PORT/ws/raw")
    url = parser.parse_args().url
    async with websockets.connect(url) as socket:
        message = await opened(socket)
        print(f"session {message['session_id']}")
        await stream_text(socket)
        await stream_bytes(socket)
    await resume(url)


asyncio.run(main())
