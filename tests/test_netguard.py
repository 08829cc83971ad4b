"""Which addresses are public, and which callback URLs are taken. Nothing here reaches a network."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hosts import (
    ALLOWED,
    FORBIDDEN_V4,
    FORBIDDEN_V6,
    ODD,
    PUBLIC,
    SPELLINGS,
    embeddings,
    literal,
)
from zing.addresses import is_public
from zing.egress import URL_MAX, Rules, check_url, host_of
from zing.errors import BadCallback

ANY_PORT = Rules(ports=frozenset(range(1, 65536)))


def refusal(url: str) -> str:
    with pytest.raises(BadCallback) as refused:
        check_url(url)
    return str(refused.value)


@pytest.mark.parametrize("address", FORBIDDEN_V4 + FORBIDDEN_V6)
def test_forbidden_address_is_not_public_and_its_url_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert "not an address of the public internet" in refusal(f"https://{literal(address)}/hook")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_public_and_its_url_is_taken(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    check_url(f"https://{literal(address)}/hook")


@pytest.mark.parametrize("address", FORBIDDEN_V4)
def test_forbidden_address_is_forbidden_inside_every_ipv6_that_carries_it(address: str) -> None:
    assert not any(map(is_public, embeddings(address)))


@pytest.mark.parametrize("address", FORBIDDEN_V4)
def test_forbidden_address_is_refused_as_one_number_and_in_hex(address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    parts = address.split(".")
    tail = number & 0xFFFFFF
    for spelled in (
        str(number),
        hex(number),
        f"{number:#X}",
        oct(number).replace("o", ""),
        ".".join(hex(int(part)) for part in parts),
        ".".join(f"0{int(part):o}" for part in parts),
        f"{parts[0]}.{tail}",
        f"{parts[0]}.{parts[1]}.{tail & 0xFFFF}",
        f"{parts[0]}.{parts[1]}.{parts[2]}.{hex(int(parts[3]))}",
    ):
        assert socket.inet_aton(spelled) == number.to_bytes(4, "big")
        refusal(f"https://{spelled}/")
        refusal(f"https://{spelled}:443/")


@pytest.mark.parametrize("host", SPELLINGS)
def test_other_spelling_of_a_forbidden_host_is_refused(host: str) -> None:
    for url in (f"https://{host}", f"https://{host}:8443/hook?x#y", f"HTTPS://{host.upper()}/"):
        refusal(url)


@pytest.mark.parametrize("url", ODD)
def test_odd_url_is_refused_in_one_sentence_that_does_not_repeat_it(url: str) -> None:
    message = refusal(url)
    assert message.endswith(".")
    assert message.isascii()
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize("url", ALLOWED)
def test_public_url_is_taken(url: str) -> None:
    check_url(url, ANY_PORT)


def test_longest_url_is_taken_and_one_more_is_refused() -> None:
    url = "https://hooks.example.com/".ljust(URL_MAX, "a")
    check_url(url)
    assert "2049 characters; at most 2048" in refusal(url + "a")


def test_refusal_says_what_can_be_used() -> None:
    assert "https://" in refusal("http://hooks.example.com/")
    assert "1 to 65535" in refusal("https://hooks.example.com:0/")
    assert "169.254.169.254" in refusal("https://0xa9fea9fe/")
    assert "user name" in refusal("https://a:b@hooks.example.com/")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.Example.COM.:443/x", "hooks.example.com"),
        ("https://134744072/", "8.8.8.8"),
        ("https://0x8.0x8.0x8.0x8/", "8.8.8.8"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://XN--bcher-KVA.example/", "xn--bcher-kva.example"),
        ("https://[2606:4700:4700:0:0::1111]:8443/", "2606:4700:4700::1111"),
        ("http://receiver.internal:9000/", "receiver.internal"),
        ("https://10.0.0.1/", "10.0.0.1"),
    ],
)
def test_a_host_has_one_form_however_it_is_written(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url", ["", "https://", "ftp://a.example/", "https://[::1", "https://a@b/"]
)
def test_a_url_that_cannot_be_read_has_no_host(url: str) -> None:
    assert host_of(url) == ""


def test_there_are_enough_cases() -> None:
    assert len(set(FORBIDDEN_V4 + FORBIDDEN_V6)) >= 63
    assert len(set(ODD)) >= 60
    assert len(set(ALLOWED)) >= 30


hosts = st.text("0123456789abcdefxX.:[]%@/\\#?-_。１é\u200b localhost", max_size=40)


@given(st.one_of(st.text(), st.text().map("https://".__add__), hosts.map("https://".__add__)))
def test_any_text_is_taken_or_refused(url: str) -> None:
    try:
        check_url(url)
    except BadCallback:
        return
    assert url[:8].lower() == "https://"
    assert len(url) <= URL_MAX


@given(hosts)
def test_what_libc_reads_as_an_address_is_taken_only_where_it_is_public(host: str) -> None:
    try:
        check_url(f"https://{host}/")
        address = socket.inet_aton(host)
    except (BadCallback, OSError, UnicodeError):
        return
    assert is_public(ipaddress.IPv4Address(address))


@given(st.ip_addresses())
def test_public_is_never_what_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address):
        assert not address.is_multicast
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_unspecified
    if isinstance(address, ipaddress.IPv4Address) and is_public(address):
        assert address.is_global
