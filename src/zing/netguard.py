"""The only door out: what may be sent where, and the sending.

A `Door` looks a host up once, checks every address that it has, and connects to one of those very
addresses; nothing that an answer or the environment says can lead it anywhere else. It knows
nothing of callbacks, signatures or second tries.
"""

import asyncio
import base64
import ipaddress
import re
import socket
import ssl
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httpcore2

from zing import config
from zing.addresses import Address, is_public, read_host
from zing.errors import BadCallback, BadSetting, Forbidden, Unreachable

URL_MAX = 2048
READ_MAX = 65536
# Look-ups at once: a name server that hangs holds a thread for each.
LOOK_UPS = 64
# Of a host with very many addresses, these are tried.
ADDRESSES_TRIED = 8

Resolve = Callable[[str], Iterable[str]]

_LOCAL_NAMES = {
    "localhost",
    "localhost.localdomain",
    # Debian's and Red Hat's /etc/hosts.
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
}
_DEFAULT_PORTS = {"https": 443, "http": 80}

# Controls, format characters, half characters and every kind of space.
_FORBIDDEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}
_PORT = re.compile(r"[0-9]{1,5}")
# What a path and a query hold as they are (RFC 3986, and brackets, as browsers do).
_PLAIN = "/?:@!$&'()*+,;=%[]"
_PROXY = re.compile(
    r"http://(?:(?P<user>[^:/@\s]*):(?P<password>[^:/@\s]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?#\s]+):(?P<port>[0-9]{1,5})/?"
)
# Written by the door itself, whatever the caller gave.
_OURS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


@dataclass(frozen=True)
class Rules:
    """What the operator allows. A host is a name or an address; names below it count too.

    ports    that may be connected to
    allow    if there are any: only these hosts
    deny     never these hosts
    private  hosts, without names below, that may have any address and port, and plain http
    proxy    http://[user:password@]HOST:PORT that connections to all other hosts go through
    """

    ports: frozenset[int] = frozenset({443})
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    proxy: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer. `whole`: the body was not longer than what was to be read of it."""

    status: int
    body: bytes
    whole: bool


@dataclass(frozen=True)
class _Target:
    """A URL that was read. `host`: a name as DNS has it or an address, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        default = self.port == _DEFAULT_PORTS[self.scheme]
        return _bracketed(self.host) + ("" if default else f":{self.port}")


@dataclass(frozen=True)
class _Proxy:
    host: str
    port: int
    headers: tuple[tuple[str, str], ...]


class Door:
    """Posts to the outside under the operator's rules.

    `resolve` gives the addresses of a name and may block; `backend` opens the connections;
    `trust` says which certificates are good. The defaults are the system's.
    """

    def __init__(
        self,
        rules: Rules,
        resolve: Resolve | None = None,
        backend: httpcore2.AsyncNetworkBackend | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = _checked(rules)
        self._proxy = _read_proxy(rules.proxy) if rules.proxy else None
        self._resolve = resolve or _system_addresses
        self._backend = backend or httpcore2.AnyIOBackend()
        self._trust = trust or _system_trust()
        self._look_ups = asyncio.Semaphore(LOOK_UPS)

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        read_max: int = READ_MAX,
    ) -> Reply:
        """The answer to one POST; redirects are not followed, they are answers.

        `timeout_s` is for everything: look-up, connection, sending and reading. Of the answer's
        body the first `read_max` bytes are read. Raises Forbidden (nothing was sent) or
        Unreachable; neither repeats the URL, which may hold a secret.
        """
        target = _read(url, self._rules)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._post(target, body, headers, timeout_s, read_max)
        except TimeoutError:
            raise Unreachable(f"{target.host} did not answer within {timeout_s:g} s.") from None
        except (*_BROKEN, *_NO_HTTP) as error:
            raise Unreachable(f"{target.host} {_what_failed(error)}") from None

    async def _post(
        self,
        target: _Target,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        read_max: int,
    ) -> Reply:
        scheme, host = target.scheme.encode("ascii"), target.host.encode("ascii")
        request = httpcore2.Request(
            "POST",
            httpcore2.URL(scheme=scheme, host=host, port=target.port, target=target.path),
            headers=_headers(target, headers, len(body)),
            content=body,
            extensions={"sni_hostname": target.host, "timeout": {"connect": timeout_s}},
        )
        # A connection of its own for every post, so none is ever used for another host.
        connection = httpcore2.AsyncHTTPConnection(
            httpcore2.Origin(scheme, host, target.port), self._trust, network_backend=_Checked(self)
        )
        try:
            answer = await connection.handle_async_request(request)
            return await _reply(answer, read_max)
        finally:
            await connection.aclose()

    async def connect(
        self, host: str, port: int, timeout_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to one of the host's addresses; every one of them has passed the rules."""
        private = _is_listed(host, self._rules.private)
        _check_lists(host, self._rules)
        if not private:
            _check_port(port, self._rules)
        addresses = await self._addresses(host)
        if not private:
            _check_all_public(host, addresses)
        if self._proxy is None or private:
            return await self._first(addresses, port, timeout_s)
        return await self._first_by_proxy(self._proxy, addresses, port, timeout_s)

    async def _first(
        self, addresses: list[Address], port: int, timeout_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first address that takes one."""
        tried = addresses[:ADDRESSES_TRIED]
        # One that swallows what it gets leaves time for the others.
        share_s = None if timeout_s is None else timeout_s / len(tried)
        for address in tried[:-1]:
            with suppress(*_BROKEN):
                return await self._backend.connect_tcp(str(address), port, share_s)
        return await self._backend.connect_tcp(str(tried[-1]), port, share_s)

    async def _first_by_proxy(
        self, proxy: _Proxy, addresses: list[Address], port: int, timeout_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        """A tunnel to the first address that the proxy can reach."""
        status = 0
        hops = await self._addresses(proxy.host)
        for address in addresses[:ADDRESSES_TRIED]:
            stream = await self._first(hops, proxy.port, timeout_s)
            answer = await _ask_for_tunnel(stream, proxy, f"{_bracketed(str(address))}:{port}")
            if 200 <= answer.status < 300:
                tunnel: httpcore2.AsyncNetworkStream = answer.extensions["network_stream"]
                return tunnel
            await stream.aclose()
            status = answer.status
        raise Unreachable(
            f"The egress proxy opened no connection; it answered {status}. "
            f"See {config.EGRESS_PROXY.variable}."
        )

    async def _addresses(self, host: str) -> list[Address]:
        """The addresses of a name, in the order of the answer; an address is its own."""
        with suppress(ValueError):
            return [ipaddress.ip_address(host)]
        try:
            answers = dict.fromkeys(map(ipaddress.ip_address, await self._look_up(host)))
        except ValueError:
            raise Unreachable(f"The look-up of {host} gave something that is no address.") from None
        if not answers:
            raise Unreachable(f"The name {host} has no address, or no name server answered.")
        return list(answers)

    async def _look_up(self, host: str) -> list[str]:
        # Threads of our own, for libc's look-up blocks: where one hangs, nothing else of the
        # service waits for it, not even its end.
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def end(found: list[str]) -> None:
            self._look_ups.release()
            if not answer.done():
                answer.set_result(found)

        def look() -> None:
            found: list[str] = []
            with suppress(OSError, UnicodeError):
                found = list(self._resolve(host))
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(end, found)

        await self._look_ups.acquire()
        threading.Thread(target=look, name="look-up", daemon=True).start()
        return await answer


class _Checked(httpcore2.AsyncNetworkBackend):
    """Where the HTTP library gets its connections: from the door alone."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return await self._door.connect(host, port, timeout)


def callback_rules() -> Rules:
    """The operator's rules for callbacks; raises BadSetting."""
    proxy = config.read(config.EGRESS_PROXY)
    rules = Rules(
        ports=_ports(config.CALLBACK_PORTS),
        allow=_hosts(config.CALLBACK_ALLOW),
        deny=_hosts(config.CALLBACK_DENY),
        private=_hosts(config.CALLBACK_PRIVATE),
        proxy=proxy,
    )
    if proxy:
        _read_proxy(proxy)
    return rules


def check_url(url: str, rules: Rules = Rules()) -> None:
    """Refuse a callback URL that would never be called: raises BadCallback.

    https only; a port that is taken; a host that is an address, in any spelling that libc reads,
    must be public; unless the host is one of the operator's private ones. A name is not resolved,
    and the lists of hosts are not asked. The message never repeats the URL, which may hold a
    secret.
    """
    try:
        _read(url, rules)
    except Forbidden as refused:
        raise BadCallback(str(refused)) from None


def host_of(url: str) -> str:
    """The host of a URL that was checked, in small letters, without the dot at its end."""
    return (urlsplit(url).hostname or "").removesuffix(".")


def _read(url: str, rules: Rules) -> _Target:
    """The one reading of a URL: what is refused when it is submitted and what is connected to."""
    if len(url) > URL_MAX:
        raise Forbidden(f"The URL has {len(url)} characters; at most {URL_MAX} are taken.")
    _check_characters(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Forbidden("The URL cannot be read; write it as https://host/path.") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise Forbidden("The URL must start with https://.")
    if "@" in parts.netloc:
        raise Forbidden("The URL holds a user name or a password before an @; leave them out.")
    netloc, port = _split_port(parts)
    host = read_host(netloc)
    if not _is_listed(str(host), rules.private):
        _check_public(host, parts.scheme, port, rules)
    path = quote(parts.path or "/", safe=_PLAIN)
    query = f"?{quote(parts.query, safe=_PLAIN)}" if parts.query else ""
    return _Target(parts.scheme, str(host), port, path + query)


def _check_characters(url: str) -> None:
    # Parsers drop, fold or split at these, each in its own way.
    for character in url:
        if character == "\\" or unicodedata.category(character) in _FORBIDDEN:
            raise Forbidden(
                f"The URL holds the character U+{ord(character):04X}; "
                "write it percent-encoded in the path, and leave it out of the host."
            )


def _split_port(parts: SplitResult) -> tuple[str, int]:
    """The host, brackets kept, and the port, the scheme's where the URL has none."""
    # An IPv6 host has colons of its own, inside the brackets.
    end = parts.netloc.rfind("]") + 1
    name, colon, port = parts.netloc[end:].partition(":")
    if not colon:
        return parts.netloc, _DEFAULT_PORTS[parts.scheme]
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= config.PORT_MAX:
        raise Forbidden(
            "The port of the URL is a number from 1 to 65535; without one, leave the colon out; "
            "an IPv6 address goes in brackets."
        )
    return parts.netloc[:end] + name, int(port)


def _check_public(host: Address | str, scheme: str, port: int, rules: Rules) -> None:
    """Refuse what only a private host may be."""
    if scheme != "https":
        raise Forbidden("The URL must start with https://.")
    if not isinstance(host, str):
        _check_address(host)
    elif host in _LOCAL_NAMES or host.endswith(".localhost"):
        raise Forbidden("The URL names this machine; use a host of the public internet.")
    _check_port(port, rules)


def _check_port(port: int, rules: Rules) -> None:
    if port not in rules.ports:
        taken = " or ".join(map(str, sorted(rules.ports)))
        raise Forbidden(f"The URL names port {port}, where nothing is sent to; use {taken}.")


def _check_address(address: Address) -> None:
    if not is_public(address):
        raise Forbidden(
            f"The URL leads to {address}, which is not an address of the public internet; "
            "use one that is."
        )


def _check_all_public(host: str, addresses: list[Address]) -> None:
    """One bad answer refuses the host: which of them is used is not for its owner to say."""
    for address in addresses:
        _check_address(address)


def _check_lists(host: str, rules: Rules) -> None:
    if _is_listed(host, rules.deny, below=True):
        raise Forbidden(f"The operator's list forbids sending to {host}.")
    if rules.allow and not _is_listed(host, rules.allow, below=True):
        raise Forbidden(f"{host} is not on the operator's list of hosts that are sent to.")


def _is_listed(host: str, entries: Iterable[str], below: bool = False) -> bool:
    names = map(_plain, entries)
    return any(host == name or (below and host.endswith(f".{name}")) for name in names)


@cache
def _plain(entry: str) -> str:
    """A host of a list in the one form that hosts are compared in; raises BadSetting."""
    try:
        return str(read_host(f"[{entry}]" if entry.count(":") > 1 and "[" not in entry else entry))
    except Forbidden:
        raise BadSetting(
            f"{entry!r} is not a host: write a name such as hooks.example.com or an address, "
            "without port, path or *."
        ) from None


def _checked(rules: Rules) -> Rules:
    for entry in (*rules.allow, *rules.deny, *rules.private):
        _plain(entry)
    return rules


def _hosts(setting: config.Setting) -> tuple[str, ...]:
    """The hosts that a setting names, in the form that hosts are compared in."""
    text = config.read(setting)
    try:
        return tuple(_plain(each.strip()) for each in text.split(",")) if text else ()
    except BadSetting as bad:
        raise BadSetting(f"{setting.variable}: {bad}") from None


def _ports(setting: config.Setting) -> frozenset[int]:
    text = config.read(setting)
    ports = [each.strip() for each in text.split(",")]
    if not all(_PORT.fullmatch(each) and 1 <= int(each) <= config.PORT_MAX for each in ports):
        raise BadSetting(
            f"{setting.variable}={text!r} is not a list of ports; write numbers from 1 to 65535 "
            "with commas, such as 443,8443."
        )
    return frozenset(map(int, ports))


def _read_proxy(text: str) -> _Proxy:
    """The egress proxy; the message never repeats the text, which may hold a password."""
    found = _PROXY.fullmatch(text)
    try:
        host = read_host(found["host"]) if found else ""
    except Forbidden:
        host = ""
    if not found or not host or not 1 <= int(found["port"]) <= config.PORT_MAX:
        raise BadSetting(
            f"{config.EGRESS_PROXY.variable} is not a proxy: write http://HOST:PORT or "
            "http://USER:PASSWORD@HOST:PORT, with odd characters percent-encoded."
        )
    headers: tuple[tuple[str, str], ...] = ()
    if found["user"] is not None:
        pair = f"{unquote(found['user'])}:{unquote(found['password'])}".encode()
        headers = (("Proxy-Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"),)
    return _Proxy(str(host), int(found["port"]), headers)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _headers(target: _Target, given: Mapping[str, str], length: int) -> list[tuple[str, str]]:
    # identity: nothing is unpacked here, so nothing can be packed to burst.
    ours = [
        ("Host", target.authority),
        ("Content-Length", str(length)),
        ("Connection", "close"),
        ("Accept-Encoding", "identity"),
    ]
    return ours + [(name, value) for name, value in given.items() if name.lower() not in _OURS]


async def _ask_for_tunnel(
    stream: httpcore2.AsyncNetworkStream, proxy: _Proxy, authority: str
) -> httpcore2.Response:
    origin = httpcore2.Origin(b"http", proxy.host.encode("ascii"), proxy.port)
    request = httpcore2.Request(
        "CONNECT",
        httpcore2.URL(scheme="http", host=proxy.host, port=proxy.port, target=authority),
        headers=[("Host", authority), *proxy.headers],
    )
    return await httpcore2.AsyncHTTP11Connection(origin, stream).handle_async_request(request)


async def _reply(answer: httpcore2.Response, read_max: int) -> Reply:
    body = bytearray()
    async with aclosing(answer.aiter_stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > read_max:
                return Reply(answer.status, bytes(body[:read_max]), whole=False)
    return Reply(answer.status, bytes(body), whole=True)


_BROKEN = (httpcore2.NetworkError, httpcore2.TimeoutException, OSError)
_NO_HTTP = (httpcore2.ProtocolError,)


def _what_failed(error: BaseException) -> str:
    """How a connection failed, after the host's name; from the innermost cause that says it."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"showed a certificate that cannot be trusted: {cause.verify_message}."
        if isinstance(cause, ssl.SSLError):
            return "does not speak TLS as it should."
        if isinstance(cause, ConnectionRefusedError):
            return "refused the connection."
    if isinstance(error, _NO_HTTP):
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
