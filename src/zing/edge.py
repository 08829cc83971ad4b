"""What lies between a socket and the application: no connection costs more than it should.

uvicorn and h11 speak HTTP. This adds what they leave open: how long a peer may take, how much it
may send before it is known what it wants, how many connections there may be. A connection is in
one of four stages, and once a second those that are too long in theirs are dropped.
"""

import asyncio
import ipaddress
import logging
import resource
import socket
import ssl
import struct
import sys
from asyncio import sslproto
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from http import HTTPStatus
from socket import SO_LINGER, SO_SNDBUF, SOL_SOCKET
from typing import Any

import h11
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from zing import config
from zing.certificates import Certificate
from zing.config import CONNECTIONS
from zing.headers import PRIVATE
from zing.proxies import Proxies, plain

HEAD_MAX = 16 * 1024  # bytes of a request's first line and headers
TARGET_MAX = 8 * 1024  # of them for the address; as many RFC 9110 (4.1) asks to be ready for
HEADERS_MAX = 100
PIECES_MAX = 1024  # of a body; each costs h11 some 10 us, be it of one byte
PIECE_MAX = 16 * 1024  # bytes that h11 is given at a time
STEP = 32 * 1024  # bytes; a peer that takes so many in `stall_s` is slow and not stuck
SEND_BUFFER = 128 * 1024  # bytes that the system holds of a reply; it takes twice as much itself
UNREAD_MS = 60_000
FILES_SPARE = 256  # for the database, the worker, the pictures being read
BACKLOG = 2048
TICKS = 10  # uvicorn's ticks in a second
CERTIFICATE_TICKS = 100
TELL_S = 60.0  # between two lines about the same trouble

log = logging.getLogger(__name__)

# asyncio takes a buffer of this size for each TLS connection, idle or not: 256 kB by default.
sslproto.SSLProtocol.max_size = 32 * 1024


@dataclass(frozen=True)
class Limits:
    """How many connections there may be, and how many seconds one may take.

    head_s        from its first byte, or from being opened, to a whole request head
    tail_s        to end, after its reply, a body that nobody waits for, or itself
    stall_s       to take the next 32 kB of a reply
    keep_alive_s  to think of another request; longer than proxies keep idle connections (nginx and
                  AWS 60 s, Caddy 120 s), or we would hang up while they send
    """

    connections: int = 4096
    head_s: float = 10.0
    tail_s: float = 5.0
    stall_s: float = 30.0
    keep_alive_s: float = 130.0

    @property
    def share(self) -> int:
        """How many connections one address may have."""
        return max(1, self.connections // 4)

    @classmethod
    def read(cls) -> "Limits":
        """As the settings say, and no more connections than the system allows open files."""
        wanted = config.whole_number(CONNECTIONS, 16, 100_000)
        files = raise_files(2 * wanted + FILES_SPARE)  # twice: TLS handshakes are not counted
        connections = max(1, min(wanted, files - FILES_SPARE))
        if connections < wanted:
            log.warning("%s open files are allowed: %s connections at most", files, connections)
        return replace(cls(), connections=connections)


def tune(listener: socket.socket) -> None:
    """Set what every connection of this listener is to have."""
    # asyncio leaves it to us, and without it a reply on a kept connection waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Left to itself the system takes up to 4 MB for one, and says only now and then what was read.
    listener.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # For what the system still holds of a reply when its connection is ours no more.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)


def raise_files(wanted: int) -> int:
    """Raise this process's limit of open files where it is lower; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else soft


class Stage(Enum):
    """What a connection is at."""

    HEAD = auto()  # a request's head is awaited or has begun
    BUSY = auto()  # the application answers, or what it answered is on its way
    TAIL = auto()  # the reply is out; what still comes is thrown away
    IDLE = auto()  # between two requests


class Strict(h11.Connection):
    """h11's reading, and nothing that another reader could read otherwise."""

    _pieces = 0

    def next_event(self) -> Any:
        """The next event; raises h11.RemoteProtocolError."""
        event: Any = super().next_event()
        kind = type(event)
        if kind is h11.Request:
            self._pieces = 0
            _check(event)
        elif kind is h11.Data:
            self._pieces += 1
            if self._pieces > PIECES_MAX:
                raise h11.RemoteProtocolError("too many pieces", 413)
        return event


def _check(request: h11.Request) -> None:
    """Refuse a head that is too large, or that leaves open where its body ends (RFC 9112 6.3)."""
    names = {name for name, _ in request.headers}
    if len(request.target) > TARGET_MAX:
        raise h11.RemoteProtocolError("the target is too long", 414)
    size = sum(len(name) + len(value) for name, value in request.headers)
    if size > HEAD_MAX or len(request.headers) > HEADERS_MAX:
        raise h11.RemoteProtocolError("the head is too large", 431)
    chunked = b"transfer-encoding" in names
    if chunked and (b"content-length" in names or request.http_version != b"1.1"):
        raise h11.RemoteProtocolError("two framings", 400)


class Connection(H11Protocol):
    """One client's connection."""

    def __init__(
        self,
        crowd: "Crowd",
        settings: uvicorn.Config,
        state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(settings, state, app_state)
        self.access_log = False  # uvicorn would ask the log at each request
        self.conn = Strict(h11.SERVER, HEAD_MAX)
        self.host = ""
        self.group = ""
        self.since = self.loop.time()
        self.replies = 0
        self._crowd = crowd
        self._seen = (Stage.HEAD, 0)
        self._unsent = 0
        self._moved = self.since
        self._ended = False  # the last word is said; what still comes is not read

    @property
    def stage(self) -> Stage:
        """What it is at."""
        if self.transport.get_write_buffer_size():
            return Stage.BUSY
        if self._ended or self.transport.is_closing():
            return Stage.TAIL
        if self.cycle is not None and not self.cycle.response_complete:
            return Stage.BUSY
        if self.conn.their_state is h11.SEND_BODY:
            return Stage.TAIL
        began = self.cycle is None or self.conn.trailing_data[0]
        return Stage.HEAD if began else Stage.IDLE

    def look(self, now: float, limits: Limits) -> None:
        """Drop the connection where its peer takes too long."""
        stage = self.stage
        if (stage, self.replies) != self._seen:
            self._seen, self.since = (stage, self.replies), now
        waited = {Stage.HEAD: limits.head_s, Stage.TAIL: limits.tail_s}.get(stage)
        if self._stuck(now, limits.stall_s):
            self._reset()
        elif waited and now - self.since > waited:
            self.transport.abort()

    def _stuck(self, now: float, stall_s: float) -> bool:
        """Whether the peer has long taken next to nothing of what is there for it."""
        unsent = self.transport.get_write_buffer_size()
        if self._unsent - STEP < unsent <= self._unsent and unsent:
            return now - self._moved > stall_s
        self._unsent, self._moved = unsent, now
        return False

    def _reset(self) -> None:
        """Hang up at once, or the system would go on offering what it holds for the peer."""
        inner = self.transport.get_extra_info("socket")
        with suppress(OSError):
            inner.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def turn_away(self, status: int) -> None:
        """Answer what never becomes a request of the application's, and end."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # as if it had hung up: the application waits for it
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_reply(status))
        self._end()

    def _end(self) -> None:
        """Hang up, reading on for a while: who is cut off while sending never sees the reply."""
        self._ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    # What uvicorn and asyncio call.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection is there; it is turned away where there are too many."""
        super().connection_made(transport)
        self.host = plain(self.client[0]) if self.client else ""
        self.group = _group(self.host)
        if not self._crowd.admit(self):
            self.turn_away(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._crowd.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, in pieces: h11 bounds a head by what is left over after each."""
        for start in range(0, len(data), PIECE_MAX):
            if self._ended or self.transport.is_closing():
                return
            super().data_received(data[start : start + PIECE_MAX])

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request of HTTP's; called while h11's error is handled."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", HTTPStatus.BAD_REQUEST)
        if self.conn.our_state is h11.IDLE and b"\n" not in self.conn.trailing_data[0]:
            status = 414 if status == 431 else status  # not even the first line came to its end
        self.turn_away(status)

    def on_response_complete(self) -> None:
        """A reply is out."""
        self.replies += 1
        super().on_response_complete()

    def resume_writing(self) -> None:
        """The peer took what was there for it."""
        self._unsent = 0
        super().resume_writing()

    def shutdown(self) -> None:
        """The service ends: answer what is being answered, and no more."""
        if self._ended:
            self.transport.abort()
            return
        with suppress(h11.LocalProtocolError):  # it is on its way out already
            super().shutdown()


class Crowd:
    """The connections that are open, in all and by address.

    Where there are too many, those that ask for nothing make room; it is made for a sixteenth at a
    time, or every new one would have to look through all. No share is counted for proxies that are
    trusted: many clients are behind them.
    """

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self._limits = limits
        self._proxies = proxies
        self._all: set[Connection] = set()
        self._of: dict[str, set[Connection]] = {}
        self._full_at = -TELL_S

    def admit(self, new: Connection) -> bool:
        """Whether there is room for this one."""
        self._all.add(new)
        neighbours = self._of.setdefault(new.group, set())
        neighbours.add(new)
        share = self._limits.connections if new.host in self._proxies else self._limits.share
        for crowd, most in ((neighbours, share), (self._all, self._limits.connections)):
            if len(crowd) > most and not self._make_room(crowd, new):
                self._tell(most)
                return False
        return True

    def forget(self, gone: Connection) -> None:
        """A connection has ended, or is being ended."""
        self._all.discard(gone)
        neighbours = self._of.get(gone.group, set())
        neighbours.discard(gone)
        if not neighbours:
            self._of.pop(gone.group, None)

    def sweep(self, now: float) -> None:
        """Drop the connections whose peers take too long; time is the loop's."""
        for each in list(self._all):
            each.look(now, self._limits)

    def make_room(self) -> None:
        """Drop some that ask for nothing."""
        self._make_room(self._all, None)

    def _make_room(self, crowd: Collection[Connection], new: Connection | None) -> bool:
        """Drop those that asked least, and of them those that were idle for longest."""
        idle = [each for each in crowd if each is not new and each.stage is not Stage.BUSY]
        idle.sort(key=lambda each: (each.replies, each.since))
        for each in idle[: max(1, len(crowd) // 16)]:
            self.forget(each)
            each.transport.abort()
        return bool(idle)

    def _tell(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._full_at > TELL_S:
            self._full_at = now
            log.warning("%s connections are busy; new ones are turned away", count)


class Server(uvicorn.Server):
    """uvicorn's server with these connections, and with a certificate of its own keeping."""

    def __init__(
        self,
        settings: uvicorn.Config,
        limits: Limits,
        proxies: Proxies,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(settings)
        self._limits = limits
        self._crowd = Crowd(limits, proxies)
        self._certificate = certificate
        self._short_at = -TELL_S

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen on these sockets, as soon as the application is up."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_trouble)
        tls = self._tls()
        self.servers = [
            await loop.create_server(self._connection, sock=each, backlog=BACKLOG, **tls)
            for each in sockets or []
        ]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """What is due ten times a second; whether to end."""
        if counter % TICKS == 0:
            self._crowd.sweep(asyncio.get_running_loop().time())
        if counter % CERTIFICATE_TICKS == 0 and self._certificate is not None:
            self._certificate.renew()
        return await super().on_tick(counter)

    def _connection(self) -> Connection:
        return Connection(self._crowd, self.config, self.server_state, self.lifespan.state)

    def _tls(self) -> dict[str, Any]:
        if self._certificate is None:
            return {}
        context: ssl.SSLContext = self._certificate.context
        return {
            "ssl": context,
            "ssl_handshake_timeout": self._limits.head_s,
            "ssl_shutdown_timeout": self._limits.tail_s,
        }

    def _on_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio tells of each connection that it has no file for, thousands in a second."""
        error = str(context.get("exception"))
        if self.should_exit and "Invalid file descriptor" in error:
            return  # asyncio comes back to listeners that were closed meanwhile
        if "out of system resource" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        self._crowd.make_room()
        if loop.time() - self._short_at > TELL_S:
            self._short_at = loop.time()
            log.warning("no connection is taken for a second: %s", error)


def settings(app: Any, limits: Limits, hang_up_s: int) -> uvicorn.Config:
    """How uvicorn serves an application here.

    Its own reading of proxies' headers is off: it would trust whoever calls from this machine. So
    are its lines about what peers do wrong: whoever likes could fill the disk with them.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.keep_alive_s),
        timeout_graceful_shutdown=hang_up_s,
    )


def _reply(status: int) -> bytes:
    """A whole reply of few words."""
    phrase = HTTPStatus(status).phrase
    again = "Retry-After: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n{again}"
    head += "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in PRIVATE)
    text = f"{phrase}.\n"
    return f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()


def _group(host: str) -> str:
    """Whom a connection is counted with: an IPv4 address, or the /64 that one IPv6 client has."""
    if ":" not in host:
        return host
    return str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False).network_address)
