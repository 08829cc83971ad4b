"""A load generator and the bare ASGI server that it compares with, each a process of its own.

The bare server is uvicorn with the settings that zing gives it, under an application that reads the
body and answers with bytes of the same number: what any Python service pays at least.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle
from pathlib import Path
from typing import Any

import uvicorn

from bench.server import Call, Client

CONNECTIONS = 32
WARM_S = 0.5  # of each round, not counted
BETWEEN = b"\0"  # requests on the generator's standard input; no request holds one
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Told:
    """What a load generator saw: answers with 200 a second, and all of them by status."""

    rate: float
    answers: dict[str, int]

    @property
    def errors(self) -> int:
        """Answers other than 200, and connections that were closed."""
        return sum(count for status, count in self.answers.items() if status != "200")


def rate(port: int, key: str, call: Call, seconds: float) -> float:
    """Answers a second to a request that 32 connections repeat; only 200 counts as one."""
    told = asked(port, key, [call], seconds)
    if set(told.answers) != {"200"}:
        raise RuntimeError(f"{call.method} {call.path}: {told.answers}")
    return told.rate


def asked(port: int, key: str, calls: Sequence[Call], seconds: float) -> Told:
    """What came of requests that each of 32 connections repeats in turns."""
    command = [sys.executable, "-m", "bench.load", "load", str(port), str(seconds)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        input=BETWEEN.join(_bytes(key, call) for call in calls),
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
    )
    return Told(**json.loads(done.stdout))


def once(port: int, key: str, call: Call) -> bytes:
    """The body of one answer; raises RuntimeError where it is not 200."""
    status, body = Client(port, key).send(call)
    if status != HTTPStatus.OK:
        raise RuntimeError(f"{call.method} {call.path}: {status} {body.decode()}")
    return body


@contextmanager
def bare(body: bytes) -> Iterator[int]:
    """The port of a bare server that answers every request with this body."""
    command = [sys.executable, "-m", "bench.load", "bare"]
    pipe = subprocess.PIPE
    # A session of its own: Ctrl-C reaches the benchmark alone, which ends it.
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, start_new_session=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(body)
            process.stdin.close()
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _bytes(key: str, call: Call) -> bytes:
    """A request as it goes over the wire."""
    head = f"{call.method} {call.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}"
    if call.body:
        head += f"\r\nContent-Type: {call.media_type}\r\nContent-Length: {len(call.body)}"
    return f"{head}\r\n\r\n".encode() + call.body


class Line(asyncio.Protocol):
    """One kept-alive connection: the next request goes out when the answer is whole."""

    def __init__(self, requests: Sequence[bytes], answers: Counter[str]) -> None:
        self._requests = cycle(requests)
        self._answers = answers
        self._got = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = transport
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Count the answer once it is whole, and ask again."""
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].split()[0]):
            return
        self._answers[head[9:12].decode()] += 1
        self._got = b""
        self._transport.write(next(self._requests))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server hung up: that is told apart."""
        self._answers["closed"] += 1


async def _load(port: int, seconds: float, requests: Sequence[bytes]) -> dict[str, Any]:
    """The answers by status, and those with 200 a second after a little warming up."""
    answers: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Line(requests, answers), "127.0.0.1", port)
    await asyncio.sleep(WARM_S)
    before, started = answers["200"], time.perf_counter()
    await asyncio.sleep(seconds)
    counted = answers["200"] - before
    return {"answers": dict(+answers), "rate": counted / (time.perf_counter() - started)}


def _serve(body: bytes) -> None:
    """Answer every request with this body until killed; the port goes to standard output."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", b"0" * 32),
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    # Without it the second half of each answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listener.getsockname()[1], flush=True)
    settings = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", server_header=False
    )
    uvicorn.Server(settings).run(sockets=[listener])


if __name__ == "__main__":
    given = sys.stdin.buffer.read()
    if sys.argv[1] == "bare":
        _serve(given)
    else:
        told = _load(int(sys.argv[2]), float(sys.argv[3]), given.split(BETWEEN))
        print(json.dumps(asyncio.run(told)))
