"""The names that the service answers by: who comes by another one is refused.

A stranger's name that leads to this machine (DNS rebinding) makes the stranger's page one of the
service's own origin to a browser. An address in place of a name cannot be rebound. The Host header
counts for this alone: no link is made of it.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from zing import config
from zing.config import ALLOWED_HOSTS, PUBLIC_URL
from zing.errors import BadSetting

ANY = "*"
HEALTH = "/healthz"  # asked by whatever looks after the process, by whatever name
SHOWN = 100  # characters of a name that a refusal repeats

_HEADER = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[^\[\]:/@\s]{1,255})(?::[0-9]{0,5})?", re.ASCII)
_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)


@dataclass(frozen=True)
class Hosts:
    """The names that are answered by, in small letters.

    below  endings, dot first, of names that are answered by too
    """

    names: frozenset[str] = frozenset()
    below: tuple[str, ...] = (".localhost",)

    @classmethod
    def read(cls, listening: str, local: bool) -> "Hosts | None":
        """Those that the settings name beside this machine's own; None where all are answered by.

        listening  the host that is listened on, in the operator's words
        local      whether nobody but this machine reaches it
        """
        words = [word.strip().lower() for word in config.read(ALLOWED_HOSTS).split(",")]
        named = [_checked(word) for word in words if word]
        if ANY in named or not (named or local):
            return None
        own = ("localhost", listening.lower(), of(config.read(PUBLIC_URL)))
        exact = [word for word in named if not word.startswith("*.")]
        endings = [word[1:] for word in named if word.startswith("*.")]
        names = frozenset(name.rstrip(".") for name in (*own, *exact) if name)
        return cls(names, (*cls.below, *endings))

    def __contains__(self, name: str) -> bool:
        return name in self.names or name.endswith(self.below) or is_address(name)


class Called:
    """Answers 403 to who calls the service by another name than these; /healthz stays open."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts
        self._allows = lru_cache(256)(lambda header: called(header) in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        header = host_header(scope) if scope["type"] == "http" else b""
        if scope["type"] != "http" or scope["path"] == HEALTH or self._allows(header):
            await self._app(scope, receive, send)
            return
        await refused(_misnamed(called(header)))(scope, receive, send)


def host_header(scope: Scope) -> bytes:
    """The Host header of a request; there is at most one."""
    return next((value for name, value in scope["headers"] if name == b"host"), b"")


@lru_cache(256)
def called(header: bytes) -> str:
    """The name or address in a Host header: in small letters, without port, brackets or last dot.

    Empty where it is neither.
    """
    match = _HEADER.fullmatch(header.decode("latin-1").lower())
    return match[1].strip("[]").removesuffix(".") if match else ""


def of(url: str) -> str:
    """The host in a URL as browsers send it, without port and brackets; empty where it has none."""
    try:
        host = urlsplit(url).hostname or ""
        return host if is_address(host) else host.encode("idna").decode("ascii")
    except ValueError:  # what is no URL, or a name that is none
        return ""


def is_address(name: str) -> bool:
    """Whether a name is none, but an address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def refused(message: str) -> JSONResponse:
    """The reply to what no API has seen."""
    return JSONResponse({"error": {"message": message}}, 403)


def _misnamed(name: str) -> str:
    return (
        f"This service does not answer by the name {name[:SHOWN]!r}. Whoever runs it can put the "
        f"name into {ALLOWED_HOSTS.variable}, or the address that others know it by into "
        f"{PUBLIC_URL.variable}."
    )


def _checked(word: str) -> str:
    """A word of the setting: a name, `*.` before one, an address or `*`; raises BadSetting."""
    name = word.removesuffix(".")
    if word == ANY or _NAME.fullmatch(name) or is_address(name.strip("[]")):
        return name.strip("[]")
    raise BadSetting(
        f"{ALLOWED_HOSTS.variable}: {word!r} is no name; write such as zing.example.com or "
        "*.example.com, without scheme and port, or * for every name."
    )
