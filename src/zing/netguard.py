"""The only door out: one POST, to an address that was checked.

A `Door` looks a host up once, checks every address that it has, and connects to one of those very
addresses; nothing that an answer or the environment says can lead it anywhere else. It knows
nothing of callbacks, signatures or second tries. What is allowed stands in `egress`.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpcore2

from zing.addresses import Address
from zing.egress import (
    Proxy,
    Rules,
    Target,
    bracketed,
    callback_rules,
    check_url,
    hosts,
    read_proxy,
    read_url,
)
from zing.errors import Unreachable

__all__ = ["Door", "Rules", "Reply", "callback_rules", "check_url", "hosts"]

# Of an answer's body, and of all that a connection brings: what HTTP and TLS put around a body has
# no end of its own.
READ_MAX = 65536
WIRE_MAX = 2 * READ_MAX
# At a time: of the smallest pieces that HTTP has, more would hold up the loop.
READ_AT_ONCE = 4096
# Look-ups at once, in all and of one group: a name server that hangs holds a thread for each,
# longer than the post that asked. No fewer than a courier sends at once, in all and of one account.
LOOK_UPS = 512
LOOK_UPS_OF_GROUP = 32
# Of a host with very many addresses, these are tried.
ADDRESSES_TRIED = 8

T = TypeVar("T")
Resolve = Callable[[str], Iterable[str]]

# Written by the door itself, whatever the caller gave.
_OURS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}
_BROKEN = (httpcore2.NetworkError, httpcore2.TimeoutException, OSError)
_FAILED = (*_BROKEN, httpcore2.ProtocolError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """An answer. `whole`: the body was not longer than what was to be read of it."""

    status: int
    body: bytes
    whole: bool


class _Overlong(httpcore2.ReadError):
    """More came than is read."""


class Door:
    """Posts to the outside under the operator's rules.

    `resolve` gives the addresses of a name and may block; `backend` opens the connections;
    `trust` says which certificates are good. The defaults are the system's. One event loop at a
    time may use it.
    """

    def __init__(
        self,
        rules: Rules,
        resolve: Resolve | None = None,
        backend: httpcore2.AsyncNetworkBackend | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._names = _Names(resolve or _system_addresses)
        self._backend = backend or httpcore2.AnyIOBackend()
        self._trust = trust or _system_trust()

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        group: str = "",
    ) -> Reply:
        """The answer to one POST; a redirect is an answer like any other.

        Host, length, connection and encoding are the door's own headers. `timeout_s` is for
        everything: look-up, connection, sending and reading. Of the answer's body the first
        READ_MAX bytes are read. Names that nobody answers for are counted to the `group`, an
        account's id, so that no other group's posts fail for them. Raises Forbidden (nothing was
        sent) or Unreachable; neither repeats the URL, which may hold a secret.
        """
        target = read_url(url, self._rules)
        request = _request(target, body, headers, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request, group)
        except (TimeoutError, httpcore2.TimeoutException):
            raise Unreachable(f"{target.host} did not answer within {timeout_s:g} s.") from None
        except _FAILED as error:
            raise Unreachable(f"{target.host} {_what_failed(error)}") from None

    async def _exchange(self, request: httpcore2.Request, group: str) -> Reply:
        # A connection of its own for every post, so none is ever used for another host.
        way = _Way(self._rules, self._names, self._backend, group)
        connection = httpcore2.AsyncHTTPConnection(
            request.url.origin, self._trust, network_backend=way
        )
        try:
            return await _reply(await connection.handle_async_request(request))
        finally:
            await way.aclose()


class _Way(httpcore2.AsyncNetworkBackend):
    """Where one post's HTTP connection gets its network from: what it asks for is checked here."""

    def __init__(
        self, rules: Rules, names: "_Names", backend: httpcore2.AsyncNetworkBackend, group: str
    ) -> None:
        self._rules = rules
        self._names = names
        self._backend = backend
        self._group = group
        self._opened: list[httpcore2.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self._rules.check_connect(host, port)
        addresses = await self._names.addresses(host, self._group)
        self._rules.check_addresses(host, addresses)
        if self._rules.proxy and not self._rules.is_private(host):
            return await self._tunnel(addresses, port, timeout)
        return await self._first(addresses, port, timeout)

    async def aclose(self) -> None:
        """Close every connection: the HTTP library leaves one open whose TLS was cut short."""
        for stream in self._opened:
            await stream.aclose()

    async def _first(
        self, addresses: list[Address], port: int, timeout_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first address that takes one."""
        tried = addresses[:ADDRESSES_TRIED]
        # One that swallows what it gets leaves time for the others.
        share_s = None if timeout_s is None else timeout_s / len(tried)
        for address in tried[:-1]:
            with suppress(*_BROKEN):
                return await self._open(address, port, share_s)
        return await self._open(tried[-1], port, share_s)

    async def _open(
        self, address: Address, port: int, timeout_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(str(address), port, timeout_s)
        self._opened.append(stream)
        return _Stream(stream)

    async def _tunnel(
        self, addresses: list[Address], port: int, timeout_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """A connection through the egress proxy to the first address that it can reach.

        The proxy is given the address that was checked, so its own look-up cannot differ.
        """
        proxy = read_proxy(self._rules.proxy)
        status = 0
        for address in addresses[:ADDRESSES_TRIED]:
            try:
                hops = await self._names.addresses(proxy.host)
                stream = await self._first(hops, proxy.port, timeout_s)
                answer = await _ask(stream, proxy, f"{bracketed(str(address))}:{port}")
            except _FAILED as error:
                raise Unreachable(f"The egress proxy {_what_failed(error)}") from None
            status = answer.status
            if 200 <= status < 300:
                tunnel: httpcore2.AsyncNetworkStream = answer.extensions["network_stream"]
                return tunnel
        raise Unreachable(f"The egress proxy opened no connection; it answered {status}.")


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection of which only so many bytes are read, a little at a time."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = WIRE_MAX

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._left:
            raise _Overlong
        data = await self._stream.read(min(max_bytes, READ_AT_ONCE, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        inside = _Tls(self, ssl_context, server_hostname)
        await inside.shake_hands()
        return inside

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Tls(httpcore2.AsyncNetworkStream):
    """TLS above a `_Stream`, which counts so what TLS needs too: a record can hold a single byte,
    and a server may send tickets for ever. The post's own deadline is the timeout.
    """

    def __init__(self, stream: _Stream, trust: ssl.SSLContext, name: str | None) -> None:
        self._stream = stream
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._arrived, self._leaving, server_hostname=name)

    async def shake_hands(self) -> None:
        """Agree on keys and check the certificate; raises SSLError."""
        await self._until_done(self._tls.do_handshake)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return await self._until_done(partial(self._tls.read, max_bytes))
        return b""  # whether it ended too soon, HTTP says

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        while buffer:
            buffer = buffer[await self._until_done(partial(self._tls.write, buffer)) :]

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else self._stream.get_extra_info(info)

    async def _until_done(self, step: Callable[[], T]) -> T:
        """The result of a step of TLS, after as much was sent and read as it needs."""
        while True:
            with suppress(ssl.SSLWantReadError):
                try:
                    return step()
                finally:
                    await self._send()
            data = await self._stream.read(READ_AT_ONCE)
            self._arrived.write(data) if data else self._arrived.write_eof()

    async def _send(self) -> None:
        if self._leaving.pending:
            await self._stream.write(self._leaving.read())


class _Names:
    """Addresses of names, looked up in threads of our own, for libc's look-up blocks.

    Where one hangs, nothing else of the service waits for it, not even its end.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        # By host: who asked first, and the answer to all who ask meanwhile.
        self._running: dict[str, tuple[str, asyncio.Future[list[str]]]] = {}

    async def addresses(self, host: str, group: str = "") -> list[Address]:
        """The addresses of a name, in the order of the answer; an address is its own."""
        with suppress(ValueError):
            return [ipaddress.ip_address(host)]
        try:
            answers = dict.fromkeys(map(ipaddress.ip_address, await self._look_up(host, group)))
        except ValueError:
            raise Unreachable(f"The look-up of {host} gave something that is no address.") from None
        if not answers:
            raise Unreachable(f"The name {host} has no address, or no name server answered.")
        return list(answers)

    async def _look_up(self, host: str, group: str) -> list[str]:
        """What the name server says, to everyone who asks for a host meanwhile."""
        if host not in self._running:
            self._check_room(host, group)
            self._running[host] = group, self._begin(host)
        # A post that gives up leaves the look-up to the others.
        return await asyncio.shield(self._running[host][1])

    def _check_room(self, host: str, group: str) -> None:
        """Refuse a thread to whom too many names hang already, also of posts that have ended."""
        if [each for each, _ in self._running.values()].count(group) >= LOOK_UPS_OF_GROUP:
            whose = "of this account's names"
        elif len(self._running) >= LOOK_UPS:
            whose = "of others' names"
        else:
            return
        raise Unreachable(
            f"{host} was not looked up: too many look-ups {whose} are still unanswered."
        )

    def _begin(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def end(found: list[str]) -> None:
            del self._running[host]
            answer.set_result(found)

        def look() -> None:
            found: list[str] = []
            try:
                with suppress(OSError, UnicodeError):
                    found = list(self._resolve(host))
            except Exception:  # a thread that ends without a word would hold its place for ever
                log.exception("the look-up of %s went wrong", host)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(end, found)

        try:
            threading.Thread(target=look, name="look-up", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            raise Unreachable(f"{host} was not looked up: {error}.") from None
        return answer


def _request(
    target: Target, body: bytes, given: Mapping[str, str], timeout_s: float
) -> httpcore2.Request:
    ours = {
        "Host": target.authority,
        "Content-Length": str(len(body)),
        "Connection": "close",
        # Nothing is unpacked here, so nothing can be packed to burst.
        "Accept-Encoding": "identity",
    }
    theirs = {name: value for name, value in given.items() if name.lower() not in _OURS}
    return httpcore2.Request(
        "POST",
        httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
        headers=list((ours | theirs).items()),
        content=body,
        extensions={"timeout": {"connect": timeout_s}},
    )


async def _ask(
    stream: httpcore2.AsyncNetworkStream, proxy: Proxy, authority: str
) -> httpcore2.Response:
    """The proxy's answer when it is asked for a tunnel."""
    headers = [("Host", authority)]
    if proxy.credentials:
        headers.append(("Proxy-Authorization", proxy.credentials))
    url = httpcore2.URL(scheme="http", host=proxy.host, port=proxy.port, target=authority)
    request = httpcore2.Request("CONNECT", url, headers=headers)
    connection = httpcore2.AsyncHTTP11Connection(url.origin, stream)
    return await connection.handle_async_request(request)


async def _reply(answer: httpcore2.Response) -> Reply:
    body = bytearray()
    with suppress(_Overlong):
        async with aclosing(answer.aiter_stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > READ_MAX:
                    break
            else:
                return Reply(answer.status, bytes(body), whole=True)
    return Reply(answer.status, bytes(body[:READ_MAX]), whole=False)


def _what_failed(error: BaseException) -> str:
    """How a connection failed, after the host's name; from the innermost cause that says it."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"showed a certificate that cannot be trusted: {cause.verify_message.rstrip('.')}."
            )
        if isinstance(cause, ssl.SSLError):
            return "does not speak TLS as it should."
        if isinstance(cause, ConnectionRefusedError):
            return "refused the connection."
    if isinstance(error, _Overlong):
        return "said too much before it answered."
    if isinstance(error, httpcore2.ProtocolError):
        return "did not answer in HTTP."
    if isinstance(error, httpcore2.ConnectTimeout):
        return "took no connection in time."
    if isinstance(error, httpcore2.ConnectError):
        return "could not be connected to."
    return "broke off the connection."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _system_addresses(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _system_trust() -> ssl.SSLContext:
    trust = httpcore2.default_ssl_context()
    # SSLKEYLOGFILE would write every session's keys to a file.
    trust.keylog_filename = None  # type: ignore[assignment]
    return trust
