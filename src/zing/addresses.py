"""Internet addresses: which are public, and what the host of a URL names.

It resolves no name and knows no rule of the operator's.
"""

import ipaddress
import re
import unicodedata

import idna

from zing.errors import Forbidden

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's special-purpose registries, what is multicast and what is reserved; where a small part of
# a range is public (192.0.0.9 in 192.0.0.0/24, say), it is refused with the rest. Our own table:
# those of `ipaddress` differ between Python versions and let NAT64 and multicast through.
_SPECIAL_V4 = [
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network, RFC 791 and RFC 1122
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # shared by carriers, RFC 6598; Alibaba's metadata is in it
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # Azure's host: in no registry, yet inside every Azure machine
        "169.254.0.0/16",  # link-local, RFC 3927; cloud metadata is in it
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # IETF protocols, RFC 6890; Oracle's metadata is in it
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved and broadcast, RFC 1112 and RFC 8190
    )
]
_SPECIAL_V6 = [
    ipaddress.IPv6Network(each)
    for each in (
        "::/8",  # unspecified, loopback, IPv4-translated: RFC 4291 and RFC 7915
        "64:ff9b:1::/48",  # local NAT64, RFC 8215: where the IPv4 address is, nobody can say
        "100::/64",  # discard, RFC 6666
        "100:0:0:1::/64",  # dummy prefix, RFC 9780
        "2001::/23",  # IETF protocols, RFC 2928: ORCHID, benchmarks, anycast of PCP and TURN
        "2001:db8::/32",  # documentation, RFC 3849
        "3ffe::/16",  # what was 6bone, RFC 3701
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
        "fc00::/7",  # unique local, RFC 4193
        "fe80::/10",  # link-local, RFC 4291
        "fec0::/10",  # site-local, RFC 3879
        "ff00::/8",  # multicast, RFC 4291
    )
]
# All that IANA gives out for unicast so far, RFC 4291; the rest is reserved.
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")

# An IPv4 address is the last 32 bits of these.
_CARRIES_V4 = [
    ipaddress.IPv6Network(each)
    for each in (
        "::/96",  # IPv4-compatible, RFC 4291
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291
        "64:ff9b::/96",  # NAT64, RFC 6052
    )
]

# IDNA reads these as dots (RFC 3490); NFKC alone leaves them.
_OTHER_DOTS = "\u3002\uff61"
# UTS 46 drops these: joiners of graphemes, selectors of variants, fillers.
_DROPPED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_BRACKETS = re.compile(r"\[([0-9a-f:.]+)\]", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_public(address: Address) -> bool:
    """Whether an address is a unicast address of the public internet.

    An IPv6 address that carries an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) is as
    public as what it carries.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    carried = _carried(address)
    if carried:
        return all(map(is_public, carried))
    return address in _UNICAST_V6 and not any(address in network for network in _SPECIAL_V6)


def read_host(host: str) -> Address | str:
    """What the host of a URL names: an address, or a name as DNS has it.

    A name comes back in small ASCII letters without the dot at its end. An IPv6 address stands in
    brackets. Whatever libc would read as an address is one here. Raises Forbidden.
    """
    if not host:
        raise Forbidden("The URL has no host; write it as https://host/path.")
    if "[" in host or "]" in host:
        return _ipv6(host)
    _check_mapping(host)
    labels = [_label(label) for label in host.removesuffix(".").lower().split(".")]
    # What ends in a number is read as an address or as nothing, by browsers (WHATWG) and by us.
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels)
    name = ".".join(labels)
    if len(name) > 253:  # the longest name of DNS, RFC 1035
        raise Forbidden("The host of the URL is too long; 253 characters is the most.")
    return name


def _carried(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 address that is a way to reach them."""
    if any(address in network for network in _CARRIES_V4):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:  # 2002::/16, RFC 3056
        return (address.sixtofour,)
    return address.teredo or ()  # 2001::/32, RFC 4380: the server and the client


def _check_mapping(host: str) -> None:
    """Refuse characters that become ASCII, a dot or nothing on the way to DNS: １ and 。 and ⓔ."""
    for character in host:
        if not character.isascii() and _is_mapped(character):
            raise Forbidden(
                f"The host of the URL holds the character U+{ord(character):04X}, which "
                "stands for another or for none; write plain letters, digits and dots."
            )


def _is_mapped(character: str) -> bool:
    mapped = unicodedata.normalize("NFKC", character)
    dropped = _DROPPED.match(character) is not None
    return dropped or character in _OTHER_DOTS or any(map(str.isascii, mapped))


def _label(label: str) -> str:
    """One label of a name as DNS has it; refuses what cannot be one."""
    try:
        plain = label if label.isascii() or len(label) > 63 else idna.encode(label, uts46=True)
    except idna.IDNAError:
        raise Forbidden(
            "The host of the URL holds a character that names no longer have (IDNA 2008); "
            "write that part of the name in its xn-- form."
        ) from None
    text = plain if isinstance(plain, str) else plain.decode("ascii")
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise Forbidden(
            "The host of the URL is not a name or an address; "
            "write letters, digits, hyphens and dots, such as hooks.example.com."
        )
    return text


def _ipv6(host: str) -> ipaddress.IPv6Address:
    """The address of a host in brackets; a zone is refused, as it means this machine's network."""
    inside = _BRACKETS.fullmatch(host)
    try:
        return ipaddress.IPv6Address(inside[1] if inside else "")
    except ValueError:
        raise Forbidden(
            "The URL holds brackets without a plain IPv6 address inside; "
            "write it such as https://[2606:4700:4700::1111]/."
        ) from None


def _ipv4(labels: list[str]) -> ipaddress.IPv4Address:
    """The address that inet_aton(3) reads in 1 to 4 numbers, decimal or 0x; 0-octal is refused.

    The last number fills what is left: 127.1 is 127.0.0.1. A leading zero is octal to libc and
    decimal to others, so no such address is taken.
    """
    numbers = [_number(label) for label in labels]
    *bytes_, rest = numbers
    if len(numbers) > 4 or max(bytes_, default=0) > 255 or rest >= 256 ** (5 - len(numbers)):
        raise _no_address()
    value = rest
    for place, byte in enumerate(bytes_):
        value += byte << (24 - 8 * place)
    return ipaddress.IPv4Address(value)


def _number(label: str) -> int:
    if re.fullmatch(r"0x[0-9a-f]{1,8}", label):
        return int(label, 16)
    if re.fullmatch(r"0|[1-9][0-9]{0,9}", label):
        return int(label)
    raise _no_address()


def _no_address() -> Forbidden:
    return Forbidden(
        "The host of the URL ends in a number and is no IPv4 address; "
        "write four numbers from 0 to 255 without leading zeros, or a name."
    )
