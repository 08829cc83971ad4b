"""Whom a request comes from: a proxy that is trusted is believed, nobody else."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edges import reply, request, running
from zing.config import TRUSTED_PROXIES
from zing.errors import BadSetting
from zing.proxies import Network, Proxies

TRUSTED = "127.0.0.1, 10.0.0.0/8,2001:db8:1::/48"


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Proxies:
    monkeypatch.setenv(TRUSTED_PROXIES.variable, TRUSTED)
    return Proxies.read()


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("198.51.100.1,203.0.113.9 ,10.1.2.3,  10.9.9.9", "203.0.113.9"),
        ("10.1.2.3, 10.9.9.9", "10.1.2.3"),
        ("203.0.113.9:52100", "203.0.113.9"),
        ("[2001:db8::7]:52100", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("203.0.113.9, 2001:db8:1::5", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
        # What is no address ends what is known.
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("203.0.113.9, unknown, 10.1.2.3", "10.1.2.3"),
        ("", "127.0.0.1"),
        (",", "127.0.0.1"),
        ("203.0.113.9,", "127.0.0.1"),
        ("_hidden", "127.0.0.1"),
        ("for=203.0.113.9", "127.0.0.1"),
        ("203.0.113.9 10.0.0.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("203.0.113.09", "127.0.0.1"),
        ("203.0.113.9\x1b[31m", "127.0.0.1"),
        ("[::1", "127.0.0.1"),
        ("203.0.113.0/24", "127.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(
    forwarded: str, client: str, proxies: Proxies
) -> None:
    assert proxies.client("127.0.0.1", forwarded) == client


@given(st.text(), st.lists(st.sampled_from(["10.1.2.3", "127.0.0.1"])))
def test_whatever_a_client_sends_its_proxy_tells_its_address(sent: str, through: list[str]) -> None:
    proxies = Proxies([*map(network, ("127.0.0.1", "10.0.0.0/8"))])
    forwarded = ", ".join([sent, "203.0.113.9", *through])
    assert proxies.client("127.0.0.1", forwarded) == "203.0.113.9"


def network(word: str) -> Network:
    return ipaddress.ip_network(word)


@pytest.mark.parametrize(
    "words", ["*", "localhost", "10.0.0.1/8", "10.0.0.0/33", "1.2.3", "10.0.0.0/8;1.1.1.1", "0x7f"]
)
def test_what_names_no_network_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_PROXIES.variable, words)
    with pytest.raises(BadSetting, match=TRUSTED_PROXIES.variable):
        Proxies.read()


def test_nobody_is_trusted_by_default() -> None:
    assert "127.0.0.1" not in Proxies.read()


FORGED = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test")


def test_headers_of_who_is_not_trusted_are_not_read() -> None:
    with running() as site, site.peer() as peer:
        peer.sendall(request("/", *FORGED, "Forwarded: for=203.0.113.9;proto=https"))
        assert reply(peer)[0] == 200
        (scope,) = site.app.scopes
        assert scope["client"] == ("127.0.0.1", peer.getsockname()[1])
        assert scope["scheme"] == "http"


def test_headers_of_a_trusted_proxy_say_who_asks_and_how(proxies: Proxies) -> None:
    with running(proxies=proxies) as site, site.peer() as peer:
        peer.sendall(request("/", *FORGED, "Forwarded: for=198.51.100.1"))
        assert reply(peer)[0] == 200
        (scope,) = site.app.scopes
        assert (scope["client"], scope["scheme"]) == (("203.0.113.9", 0), "https")
        assert dict(scope["headers"])[b"host"] == b"localhost"


@pytest.mark.parametrize(
    ("headers", "client", "scheme"),
    [
        (["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2"], "2.2.2.2", "http"),
        (["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: "], "127.0.0.1", "http"),
        (["X-Forwarded-Proto: ftp"], "127.0.0.1", "http"),
        (["X-Forwarded-Proto: http, https"], "127.0.0.1", "https"),
        (["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"], "127.0.0.1", "http"),
        (["X-Forwarded-For: " + "1.1.1.1," * 1000 + "2.2.2.2"], "2.2.2.2", "http"),
    ],
)
def test_odd_headers_of_a_trusted_proxy(
    headers: list[str], client: str, scheme: str, proxies: Proxies
) -> None:
    with running(proxies=proxies) as site, site.peer() as peer:
        peer.sendall(request("/", *headers))
        assert reply(peer)[0] == 200
        (scope,) = site.app.scopes
        assert (scope["client"][0], scope["scheme"]) == (client, scheme)
