"""The edge around a small application, in a thread, with limits short enough to meet."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.servers import until
from zing import edge
from zing.certificates import Certificate
from zing.edge import Limits
from zing.proxies import Behind, Proxies

SHORT = Limits(connections=64, head_s=0.5, tail_s=0.5, stall_s=1.0, keep_alive_s=30.0)
PART = b"p" * 65536
PARTS = 64


@dataclass
class Small:
    """Answers what it was asked; keeps what it saw."""

    scopes: list[Scope] = field(default_factory=list)
    parts: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        answer = getattr(self, scope["path"].strip("/") or "hello", self.hello)
        await answer(receive, send)

    async def hello(self, _receive: Receive, send: Send) -> None:
        await send(started(5))
        await send({"type": "http.response.body", "body": b"hello"})

    async def echo(self, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message.get("more_body"):
                break
        await send(started(len(body)))
        await send({"type": "http.response.body", "body": body})

    async def big(self, _receive: Receive, send: Send) -> None:
        """4 MB in parts."""
        await send(started(len(PART) * PARTS))
        for number in range(PARTS):
            await send(
                {"type": "http.response.body", "body": PART, "more_body": number < PARTS - 1}
            )
            self.parts += 1

    async def wait(self, _receive: Receive, send: Send) -> None:
        """Not before it is told to."""
        await self.go_on.wait()
        await self.hello(_receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


def started(length: int) -> dict[str, Any]:
    headers = [(b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


@dataclass
class Running:
    """A server that runs."""

    app: Small
    port: int
    loop: asyncio.AbstractEventLoop

    def peer(self, address: str = "127.0.0.1") -> socket.socket:
        """A new connection, from an address of loopback."""
        return connect(self.port, address)

    def go_on(self) -> None:
        """Let those that wait be answered."""
        self.loop.call_soon_threadsafe(self.app.go_on.set)


def connect(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A new connection to a port of loopback, from an address of it."""
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))


@contextmanager
def running(
    limits: Limits = SHORT,
    proxies: Proxies | None = None,
    certificate: Certificate | None = None,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> Iterator[Running]:
    """Such a server on a free port of loopback."""
    proxies = proxies or Proxies()
    app = Small()
    settings = edge.settings(around(Behind(app, proxies)), limits, hang_up_s=2)
    server = edge.Server(settings, limits, proxies, certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    edge.tune(listener)
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        until(lambda: server.started)
        yield Running(app, listener.getsockname()[1], loops[0])
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def request(path: str = "/", *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def reply(peer: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next reply on a connection: status, headers, body."""
    text = b""
    while b"\r\n\r\n" not in text:
        piece = peer.recv(1)
        assert piece, text
        text += piece
    first, *lines = text.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = b""
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        piece = peer.recv(min(65536, length - len(body)))
        assert piece, (headers, body)
        body += piece
    return int(first.split()[1]), headers, body


def rest(peer: socket.socket) -> bytes:
    """All that comes until the other end hangs up; fails where it does not for 10 s."""
    found = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while piece := peer.recv(65536):
            found += piece
    return found
