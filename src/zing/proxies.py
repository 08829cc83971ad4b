"""The proxies in front of the service, and what they are believed: a client's address and scheme.

Of the headers that proxies set only X-Forwarded-For and X-Forwarded-Proto are read, and only from
proxies that the operator names. `Forwarded` (RFC 7239) is not read: most proxies write the one and
pass the other on as the client sent it. X-Forwarded-Host is not read: no link is made of it.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from zing import config
from zing.addresses import Address
from zing.config import TRUSTED_PROXIES
from zing.errors import BadSetting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What stands for one client in X-Forwarded-For: an address, some proxies add its port.
_V4_PORT = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}", re.ASCII)
_V6_BRACKETS = re.compile(r"\[([0-9a-f:.]{2,45})\](?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


class Proxies:
    """The addresses whose word about their clients counts."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._trusted = lru_cache(4096)(self._look)

    @classmethod
    def read(cls) -> "Proxies":
        """Those that the settings name."""
        words = [word.strip() for word in config.read(TRUSTED_PROXIES).split(",")]
        return cls([_network(word) for word in words if word])

    def __contains__(self, host: str) -> bool:
        return bool(self._networks) and self._trusted(host)

    def client(self, peer: str, forwarded: str) -> str:
        """The address that a request came from: the rightmost that is no trusted proxy's.

        Each proxy adds at the right whom it was called by, so what stands left of the first address
        that is not trusted is anybody's invention. Where something else than an address stands, the
        proxy that passed it on is the last of which we know.
        """
        known = peer
        for word in reversed(forwarded.split(",")):
            address = _address(word.strip())
            if address is None:
                return known
            known = str(address)
            if known not in self:
                return known
        return known

    def _look(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)


class Behind:
    """Puts the client's address and scheme into a request's scope where a trusted proxy told them.

    The address of an IPv4 client is an IPv4 address there, also where IPv6 is listened on.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its client's address."""
        if scope["type"] == "http" and scope.get("client"):
            self._look(scope)
        await self._app(scope, receive, send)

    def _look(self, scope: Scope) -> None:
        peer, port = scope["client"]
        if ":" in peer:
            peer = plain(peer)
            scope["client"] = (peer, port)
        if peer not in self._proxies:
            return
        forwarded = _values(scope, b"x-forwarded-for")
        if forwarded:
            scope["client"] = (self._proxies.client(peer, forwarded), 0)
        scheme = _values(scope, b"x-forwarded-proto").rpartition(",")[2].strip()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme


def plain(host: str) -> str:
    """An address as it is written most plainly: an IPv4 address that came by IPv6 as IPv4."""
    return str(_address(host) or host)


def _values(scope: Scope, wanted: bytes) -> str:
    """All values of a header, in their order, with commas between."""
    found = [value for name, value in scope["headers"] if name == wanted]
    return b",".join(found).decode("latin-1")


def _address(word: str) -> Address | None:
    """The address that a word is, without port and brackets; None where it is none."""
    match = _V4_PORT.fullmatch(word) or _V6_BRACKETS.fullmatch(word)
    try:
        address = ipaddress.ip_address(match[1] if match else word)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _network(word: str) -> Network:
    try:
        return ipaddress.ip_network(word)
    except ValueError as error:
        raise BadSetting(
            f"{TRUSTED_PROXIES.variable}: {word!r} is no address or network ({error}); "
            "write such as 127.0.0.1 or 10.0.0.0/8."
        ) from None
