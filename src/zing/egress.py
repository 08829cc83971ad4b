"""What may be sent where: the operator's rules, and the one reading of URLs under them.

It resolves no name and opens no connection; `netguard` does, and asks here.
"""

import base64
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import SplitResult, quote, unquote, urlsplit

from zing import config
from zing.addresses import Address, is_public, read_host
from zing.errors import BadCallback, BadSetting, Forbidden

URL_MAX = 2048

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


@dataclass(frozen=True)
class Rules:
    """What the operator allows. Raises BadSetting where an entry is no host or the proxy none.

    ports       that may be connected to
    allow       if there are any: only these hosts and the names below them
    deny        never these hosts nor the names below them
    private     hosts, without names below, that may have any address and port, and plain http
    proxy       http://[user:password@]HOST:PORT, which leads to all but the private hosts
    https_only  https is asked of private hosts too
    """

    ports: frozenset[int] = frozenset({443})
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    proxy: str = field(default="", repr=False)  # it may hold a password
    https_only: bool = False

    def __post_init__(self) -> None:
        for entry in (*self.allow, *self.deny, *self.private):
            _plain(entry)
        if self.proxy:
            read_proxy(self.proxy)

    def is_private(self, host: str) -> bool:
        """Whether the operator named a host as one of the own network."""
        return host in map(_plain, self.private)

    def check_connect(self, host: str, port: int) -> None:
        """Refuse a connection by its host's name and its port: raises Forbidden."""
        if _is_listed(host, self.deny):
            raise Forbidden(f"The operator forbids sending to {host}; use another host.")
        if self.allow and not _is_listed(host, self.allow):
            raise Forbidden(
                f"{host} is not among the hosts that the operator sends to; use one of those."
            )
        if not self.is_private(host):
            self.check_port(port)

    def check_addresses(self, host: str, addresses: Iterable[Address]) -> None:
        """Refuse a host for its addresses: raises Forbidden.

        One that is not public is enough, for which of them is used is not for its owner to say.
        """
        if not self.is_private(host):
            for address in addresses:
                _check_address(address)

    def check_port(self, port: int) -> None:
        """Refuse a port of a host that is not private: raises Forbidden."""
        if port not in self.ports:
            taken = " or ".join(map(str, sorted(self.ports)))
            raise Forbidden(f"The URL names port {port}, to which nothing is sent; use {taken}.")


@dataclass(frozen=True)
class Target:
    """A URL that was read. `host` is a name as DNS has it or an address, without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        default = self.port == _DEFAULT_PORTS[self.scheme]
        return bracketed(self.host) + ("" if default else f":{self.port}")


@dataclass(frozen=True)
class Proxy:
    """The egress proxy. `credentials` is the Proxy-Authorization header, or nothing."""

    host: str
    port: int
    credentials: str = field(repr=False)


def callback_rules() -> Rules:
    """The operator's rules for callbacks; raises BadSetting."""
    return Rules(
        ports=_ports(config.CALLBACK_PORTS),
        allow=hosts(config.CALLBACK_ALLOW),
        deny=() if config.emptied(config.CALLBACK_DENY) else hosts(config.CALLBACK_DENY),
        private=hosts(config.CALLBACK_PRIVATE),
        proxy=config.read(config.EGRESS_PROXY),
        https_only=True,
    )


def check_url(url: str, rules: Rules = Rules()) -> None:
    """Refuse a callback URL that would never be called: raises BadCallback.

    https only; a port that is taken; a host that is an address, in any spelling that libc reads,
    must be public; unless the host is one of the operator's private ones. A name is not resolved,
    and the lists of hosts are not asked. The message never repeats the URL, which may hold a
    secret.
    """
    try:
        read_url(url, rules)
    except Forbidden as refused:
        raise BadCallback(str(refused)) from None


def host_of(url: str) -> str:
    """The host of a URL in the one form that is connected to; nothing where it cannot be read."""
    try:
        return str(_read(url)[1])
    except Forbidden:
        return ""


def read_url(url: str, rules: Rules) -> Target:
    """What a URL leads to. Raises Forbidden, without the URL, which may hold a secret.

    The one reading: what is refused here is never connected to, what comes out of it is.
    """
    parts, host, port = _read(url)
    private = rules.is_private(str(host))
    if parts.scheme != "https" and (rules.https_only or not private):
        raise Forbidden("The URL must start with https://.")
    if not private:
        _check_public(host, port, rules)
    path = quote(parts.path or "/", safe=_PLAIN)
    query = f"?{quote(parts.query, safe=_PLAIN)}" if parts.query else ""
    return Target(parts.scheme, str(host), port, path + query)


def _read(url: str) -> tuple[SplitResult, Address | str, int]:
    """A URL in its parts, its host and its port, before any rule is asked; raises Forbidden."""
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
    return parts, read_host(netloc), port


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


def _check_public(host: Address | str, port: int, rules: Rules) -> None:
    """Refuse what only a private host may be."""
    if not isinstance(host, str):
        _check_address(host)
    elif host in _LOCAL_NAMES or host.endswith(".localhost"):
        raise Forbidden("The URL names this machine; use a host of the public internet.")
    rules.check_port(port)


def _check_address(address: Address) -> None:
    if not is_public(address):
        raise Forbidden(
            f"The URL leads to {address}, which is not an address of the public internet; "
            "use one that is."
        )


def _is_listed(host: str, entries: Iterable[str]) -> bool:
    """Whether a host is one of a list or below one."""
    return any(host == name or host.endswith(f".{name}") for name in map(_plain, entries))


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


def hosts(setting: config.Setting) -> tuple[str, ...]:
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


def read_proxy(text: str) -> Proxy:
    """The egress proxy; raises BadSetting, without the text, which may hold a password."""
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
    if found["user"] is None:
        return Proxy(str(host), int(found["port"]), "")
    pair = f"{unquote(found['user'])}:{unquote(found['password'])}".encode()
    return Proxy(str(host), int(found["port"]), f"Basic {base64.b64encode(pair).decode('ascii')}")


def bracketed(host: str) -> str:
    """A host as URLs and headers have it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
