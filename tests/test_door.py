"""What the door sends, where to, and what it never does. No packet leaves the machine."""

import asyncio
import gzip
import itertools
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from tests.hosts import ALLOWED, FORBIDDEN_V4, FORBIDDEN_V6, ODD, SPELLINGS, forbidden, literal
from tests.receivers import (
    Answer,
    Authority,
    Certificate,
    Hooked,
    Receiver,
    Sent,
    answer,
    hang,
    in_turn,
    only_loopback,
    tunnel,
)
from zing.egress import Rules, callback_rules, host_of, read_proxy
from zing.errors import BadSetting, Forbidden, Unreachable
from zing.netguard import (
    LOOK_UPS,
    LOOK_UPS_OF_GROUP,
    READ_MAX,
    WIRE_MAX,
    Door,
    Reply,
)
from zing.store.outbox import Bounds

HOST = "hooks.example.com"
URL = f"https://{HOST}/hook?token=secret"
PUBLIC = "93.184.216.34"
OTHER = "2606:4700:4700::1111"
METADATA = "169.254.169.254"
INSIDE = "not an address of the public internet"
LOCAL = Rules(private=("127.0.0.1",))

# (URL, what its host has, what is connected to, the server name of TLS, the Host header)
GOOD = [
    ("https://hooks.example.com", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/", OTHER, OTHER, HOST, HOST),
    ("HTTPS://Hooks.Example.COM/Path", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com./", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com:443/", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com:8443/", PUBLIC, PUBLIC, HOST, f"{HOST}:8443"),
    ("https://hooks.example.com.:8443/", OTHER, OTHER, HOST, f"{HOST}:8443"),
    ("https://hooks.example.com?task=1&x=[a]", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com#part", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/@user", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/?to=user@127.0.0.1", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/#@127.0.0.1", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/?url=https://127.0.0.1/", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/a%20b%0d%0a", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/a:b;c=d,e!f$g'(h)*+~", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com//double//../dots", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/回调?名=值", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/{task}", PUBLIC, PUBLIC, HOST, HOST),
    ("https://hooks.example.com/", "64:ff9b::808:808", "64:ff9b::808:808", HOST, HOST),
    ("https://hooks.example.com/", "::ffff:8.8.8.8", "::ffff:808:808", HOST, HOST),
    ("https://hooks.example.com/", "2002:808:808::1", "2002:808:808::1", HOST, HOST),
    ("https://a.b.c.d.e.example.com/", PUBLIC, PUBLIC, "a.b.c.d.e.example.com", None),
    ("https://under_score.example.com/_", PUBLIC, PUBLIC, "under_score.example.com", None),
    ("https://123.example.com/", PUBLIC, PUBLIC, "123.example.com", None),
    ("https://127.0.0.1.example.com/", PUBLIC, PUBLIC, "127.0.0.1.example.com", None),
    ("https://localhost.example.com/", PUBLIC, PUBLIC, "localhost.example.com", None),
    ("https://notlocalhost/", PUBLIC, PUBLIC, "notlocalhost", None),
    ("https://r3---sn.example.com/", OTHER, OTHER, "r3---sn.example.com", None),
    ("https://0x7f.example/", PUBLIC, PUBLIC, "0x7f.example", None),
    ("https://xn--fiqs8s.example/", PUBLIC, PUBLIC, "xn--fiqs8s.example", None),
    ("https://bücher.example/", PUBLIC, PUBLIC, "xn--bcher-kva.example", None),
    ("https://BÜCHER.example./", PUBLIC, PUBLIC, "xn--bcher-kva.example", None),
    ("https://bu\u0308cher.example/", OTHER, OTHER, "xn--bcher-kva.example", None),
    ("https://straße.example/", PUBLIC, PUBLIC, "xn--strae-oqa.example", None),
    ("https://例子.测试/回调", PUBLIC, PUBLIC, "xn--fsqu00a.xn--0zwm56d", None),
    ("https://пример.испытание/", PUBLIC, PUBLIC, "xn--e1afmkfd.xn--80akhbyknj4f", None),
    ("https://उदाहरण.परीक्षा/", PUBLIC, PUBLIC, "xn--p1b6ci4b4b3a.xn--11b5bs3a9aj6g", None),
    ("https://8.8.8.8/", None, "8.8.8.8", "", "8.8.8.8"),
    ("https://8.8.8.8.:8443/hook", None, "8.8.8.8", "", "8.8.8.8:8443"),
    ("https://134744072/", None, "8.8.8.8", "", "8.8.8.8"),
    ("https://0x8.0x8.0x8.0x8/", None, "8.8.8.8", "", "8.8.8.8"),
    ("https://[2606:4700:4700::1111]/", None, OTHER, "", f"[{OTHER}]"),
    ("https://[2606:4700:4700:0::1111]:8443/a", None, OTHER, "", f"[{OTHER}]:8443"),
    ("https://[64:FF9B::8.8.8.8]/", None, "64:ff9b::808:808", "", "[64:ff9b::808:808]"),
]


@pytest.fixture(autouse=True)
def _guarded() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    names = dict.fromkeys(sni or connected for _, _, connected, sni, _ in GOOD)
    return authority.certificate(*names)


@pytest.fixture(scope="module")
def trust(authority: Authority) -> ssl.SSLContext:
    return authority.trust()


@pytest.fixture
def receiver(certificate: Certificate) -> Iterator[Receiver]:
    """A receiver that every good host's certificate fits."""
    with Receiver(certificate=certificate) as opened:
        yield opened


@pytest.fixture
def trap() -> Iterator[Receiver]:
    """A listener where nothing may arrive."""
    with Receiver() as opened:
        yield opened
        assert opened.connections == 0


def post(door: Door, url: str = URL, timeout_s: float = 30.0) -> Reply:
    return asyncio.run(door.post(url, b"{}", {"Content-Type": "application/json"}, timeout_s))


async def refused(door: Door, url: str) -> str:
    """The message of a post that the rules forbid."""
    try:
        reply = await door.post(url, b"{}", {}, 30.0)
    except Forbidden as forbidden:
        return str(forbidden)
    raise AssertionError(f"{url} answered {reply.status}")


def answers_of(*addresses: str) -> Callable[[str], list[str]]:
    return lambda _: list(addresses)


def private(receiver: Receiver, timeout_s: float = 30.0, path: str = "/") -> Reply:
    """The reply of a receiver that the operator has named."""
    return post(Door(LOCAL), receiver.url + path, timeout_s)


def reach(kind: socket.SocketKind, address: str) -> None:
    """Try to leave the machine, and say nothing of the failure."""
    with only_loopback(), socket.socket(type=kind) as opened, suppress(AssertionError):
        if kind == socket.SOCK_STREAM:
            opened.connect((address, 80))
        opened.sendto(b"x", (address, 80))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_guard_of_these_tests_lets_nothing_out_unseen(kind: socket.SocketKind) -> None:
    with pytest.raises(AssertionError, match=METADATA):
        reach(kind, METADATA)


# Where it goes


def test_a_post_arrives_as_it_was_given(receiver: Receiver, trust: ssl.SSLContext) -> None:
    receiver.say = answer(201, b"thanks")
    hooked = Hooked({PUBLIC: receiver.port})
    door = Door(Rules(), answers_of(PUBLIC), hooked, trust)
    headers = {"Content-Type": "text/plain", "webhook-id": "1", "HOST": "127.0.0.1"}
    reply = asyncio.run(door.post(URL, b"\x00\xff", headers, 30.0))
    assert reply == Reply(201, b"thanks", whole=True)
    assert hooked.asked == [(PUBLIC, 443)]
    [sent] = receiver.requests
    assert (sent.method, sent.path, sent.body) == ("POST", "/hook?token=secret", b"\x00\xff")
    assert sent.headers == {
        "host": HOST,
        "content-length": "2",
        "connection": "close",
        "accept-encoding": "identity",
        "content-type": "text/plain",
        "webhook-id": "1",
    }


@pytest.mark.parametrize(("url", "has", "connected", "sni", "host"), GOOD, ids=lambda each: each)
def test_a_public_host_is_reached_at_the_address_that_was_checked(
    url: str,
    has: str | None,
    connected: str,
    sni: str,
    host: str | None,
    receiver: Receiver,
    trust: ssl.SSLContext,
) -> None:
    looked_up: list[str] = []

    def resolve(name: str) -> list[str]:
        looked_up.append(name)
        return [has or METADATA]

    hooked = Hooked({connected: receiver.port})
    door = Door(Rules(ports=frozenset({443, 8443})), resolve, hooked, trust)
    assert post(door, url).status == 200
    assert looked_up == ([sni] if has else [])
    assert [address for address, _ in hooked.asked] == [connected]
    assert host_of(url) == (sni or connected)
    [sent] = receiver.requests
    assert sent.sni == sni
    assert sent.headers["host"] == (host or sni)


def test_the_path_is_sent_as_it_was_written() -> None:
    with Receiver() as receiver:
        for path in ("/a%2fb/../c//d?x=%20&y=[1]", "/猫{1}", "?q", "#f", "/;a=b@c:d"):
            private(receiver, path=path)
    paths = [sent.path for sent in receiver.requests]
    assert paths[:2] == ["/a%2fb/../c//d?x=%20&y=[1]", "/%E7%8C%AB%7B1%7D"]
    assert paths[2:] == ["/?q", "/", "/;a=b@c:d"]


def test_an_address_that_refuses_leaves_the_next_one(
    receiver: Receiver, trust: ssl.SSLContext
) -> None:
    hooked = Hooked({PUBLIC: receiver.port})
    door = Door(Rules(), answers_of(OTHER, PUBLIC), hooked, trust)
    assert post(door).status == 200
    assert hooked.asked == [(OTHER, 443), (PUBLIC, 443)]


def test_an_address_that_swallows_everything_leaves_time_for_the_next_one(
    receiver: Receiver, trust: ssl.SSLContext
) -> None:
    class Swallowing(Hooked):
        async def connect_tcp(
            self, host: str, port: int, timeout: float | None = None, *rest: Any, **named: Any
        ) -> httpcore2.AsyncNetworkStream:
            if host == OTHER:
                self.asked.append((host, port))
                async with asyncio.timeout(timeout):
                    await asyncio.Event().wait()
            return await super().connect_tcp(host, port, timeout)

    hooked = Swallowing({PUBLIC: receiver.port})
    door = Door(Rules(), answers_of(OTHER, PUBLIC), hooked, trust)
    assert post(door, timeout_s=4.0).status == 200
    assert hooked.asked == [(OTHER, 443), (PUBLIC, 443)]


# Where it never goes


def test_no_forbidden_address_is_connected_to(trap: Receiver) -> None:
    cases = forbidden()
    assert len(cases) >= 400
    hooked = Hooked(default=trap.port)

    async def each() -> None:
        for address in cases:
            literally = f"https://{literal(address)}/hook"
            door = Door(Rules(), answers_of(PUBLIC), hooked, trust)
            assert INSIDE in await refused(door, literally)
            for answers in ((address,), (address, PUBLIC), (PUBLIC, address)):
                door = Door(Rules(), answers_of(*answers), hooked, trust)
                assert INSIDE in await refused(door, URL)

    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asyncio.run(each())
    assert hooked.asked == []


PORTS = [0, 1, 22, 23, 25, 53, 80, 110, 444, 2375, 3306, 5432, 6379, 8080, 8443, 9200, 11211, 65535]
USERS = "user@ user:secret@ :@ @ 127.0.0.1@ a%40b@ secret:secret@secret@".split()


def spellings() -> list[str]:
    """URLs that are refused by reading alone, however their hosts would be looked up."""
    return [
        *ODD,
        *(f"https://{host}/hook" for host in SPELLINGS),
        *(f"https://{host}:443" for host in SPELLINGS),
        *(f"https://{HOST}:{port}/" for port in PORTS),
        *(f"https://{user}{HOST}/" for user in USERS),
        *(f"{scheme}://{HOST}:443/" for scheme in ("http", "HTTP", "ws", "wss", "ftp")),
        f"https://{HOST}/".ljust(2049, "a"),
    ]


def test_no_odd_spelling_is_connected_to(trap: Receiver) -> None:
    cases = spellings()
    assert len(set(cases)) >= 150
    hooked = Hooked(default=trap.port)
    door = Door(Rules(), answers_of(PUBLIC), hooked, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    async def each() -> None:
        for url in cases:
            assert "secret" not in await refused(door, url), url

    asyncio.run(each())
    assert hooked.asked == []


def test_no_name_that_leads_inside_is_connected_to(trap: Receiver) -> None:
    hooked = Hooked(default=trap.port)
    rules = Rules(ports=frozenset(range(1, 65536)))
    door = Door(rules, answers_of("127.0.0.1"), hooked, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    names = [url for url in ALLOWED if not url[8:].startswith(("8.", "[", "134", "0x8."))]
    assert len(names) > 40

    async def each() -> None:
        for url in names:
            assert "127.0.0.1" in await refused(door, url), url

    asyncio.run(each())
    assert hooked.asked == []


def test_an_answer_that_changes_is_not_looked_at_again(
    receiver: Receiver, trap: Receiver, trust: ssl.SSLContext
) -> None:
    bad = FORBIDDEN_V4 + FORBIDDEN_V6
    assert len(bad) >= 80
    hooked = Hooked({PUBLIC: receiver.port}, default=trap.port)

    async def each() -> None:
        for address in bad:
            turns = itertools.cycle([[PUBLIC], [address]])
            door = Door(Rules(), lambda _, turns=turns: next(turns), hooked, trust)
            assert (await door.post(URL, b"{}", {}, 30.0)).status == 200
            assert INSIDE in await refused(door, URL)

    asyncio.run(each())
    assert hooked.asked == [(PUBLIC, 443)] * len(bad)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer(
    status: int, receiver: Receiver, trap: Receiver, trust: ssl.SSLContext
) -> None:
    places = [
        f"http://127.0.0.1:{trap.port}/",
        f"https://127.0.0.1:{trap.port}/",
        f"//127.0.0.1:{trap.port}/",
        f"http://{METADATA}/latest/",
        f"https://{HOST}/other",
        "/other",
    ]
    said = [answer(status, b"moved", {"Location": place}) for place in places]
    said += [answer(200, b"", {"Refresh": f"0; url={places[0]}", "Content-Location": places[0]})]
    receiver.say = in_turn(*said)
    hooked = Hooked({PUBLIC: receiver.port}, default=trap.port)
    door = Door(Rules(), answers_of(PUBLIC), hooked, trust)
    assert [post(door).status for _ in said] == [status] * len(places) + [200]
    assert hooked.asked == [(PUBLIC, 443)] * len(said)
    assert {sent.path for sent in receiver.requests} == {"/hook?token=secret"}


def test_no_connection_and_no_cookie_is_used_again(
    receiver: Receiver, trap: Receiver, trust: ssl.SSLContext
) -> None:
    receiver.say = answer(
        200, b"ok", {"Connection": "keep-alive", "Keep-Alive": "timeout=60", "Set-Cookie": "a=b"}
    )
    hooked = Hooked({PUBLIC: receiver.port}, default=trap.port)
    answers = iter([[PUBLIC]] * 10 + [["10.0.0.1"]])
    door = Door(Rules(), lambda _: next(answers), hooked, trust)

    async def posts() -> None:
        for _ in range(10):
            assert (await door.post(URL, b"{}", {}, 30.0)).body == b"ok"
        assert "10.0.0.1" in await refused(door, URL)

    asyncio.run(posts())
    assert receiver.connections == len(hooked.asked) == 10
    assert not [sent for sent in receiver.requests if "cookie" in sent.headers]


VARIABLES = """
HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy FTP_PROXY SOCKS_PROXY SOCKS5_PROXY
socks_proxy REQUESTS_PROXY CGI_HTTP_PROXY
""".split()


@pytest.mark.parametrize("scheme", ["http://", "https://", "socks5://", ""])
def test_the_environment_leads_nowhere(
    scheme: str,
    receiver: Receiver,
    trap: Receiver,
    trust: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login secret password secret\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HOSTALIASES", str(netrc))
    (tmp_path / ".netrc").write_bytes(netrc.read_bytes())
    hooked = Hooked({PUBLIC: receiver.port}, default=trap.port)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{trap.port}")
        door = Door(Rules(), answers_of(PUBLIC), hooked, trust)
        assert post(door).status == 200
    assert hooked.asked == [(PUBLIC, 443)] * len(VARIABLES)
    assert not [sent for sent in receiver.requests if "authorization" in sent.headers]


def test_the_keys_of_a_session_are_written_nowhere(
    authority: Authority,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / "ca.pem"))
    door = Door(Rules(), answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}))
    assert post(door).status == 200
    assert not log.exists() or not log.read_text().count("TRAFFIC_SECRET")


@pytest.mark.parametrize(
    ("lists", "url"),
    [
        (Rules(deny=("proxy.kie.ai",)), "https://proxy.kie.ai/"),
        (Rules(deny=("proxy.kie.ai",)), "https://PROXY.kie.AI./"),
        (Rules(deny=("proxy.kie.ai",)), "https://a.b.proxy.kie.ai/"),
        (Rules(deny=("Proxy.KIE.ai.",)), "https://proxy.kie.ai/"),
        (Rules(deny=("bücher.example",)), "https://xn--bcher-kva.example/"),
        (Rules(deny=("xn--bcher-kva.example",)), "https://BÜCHER.example/"),
        (Rules(deny=("8.8.8.8",)), "https://134744072/"),
        (Rules(deny=("2606:4700:4700::1111",)), "https://[2606:4700:4700:0:0::1111]/"),
        (Rules(allow=("example.org",)), URL),
        (Rules(allow=("example.com",)), "https://example.com.example.org/"),
        (Rules(allow=("example.com",)), "https://notexample.com/"),
        (Rules(allow=("example.com",)), "https://8.8.8.8/"),
        (Rules(allow=(HOST,), deny=("example.com",)), URL),
    ],
    ids=str,
)
def test_a_host_that_the_lists_forbid_is_not_even_looked_up(lists: Rules, url: str) -> None:
    looked_up: list[str] = []
    hooked = Hooked(default=1)
    door = Door(lists, lambda name: looked_up.append(name) or [PUBLIC], hooked)
    assert "operator" in asyncio.run(refused(door, url))
    assert looked_up == hooked.asked == []


@pytest.mark.parametrize(
    "lists",
    [
        Rules(deny=("notexample.com", "oks.example.com", "a.hooks.example.com")),
        Rules(allow=("Hooks.Example.Com.",)),
        Rules(allow=("example.com", "example.org"), deny=("example.org",)),
    ],
    ids=str,
)
def test_a_host_that_the_lists_allow_is_reached(
    lists: Rules, receiver: Receiver, trust: ssl.SSLContext
) -> None:
    door = Door(lists, answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}), trust)
    assert post(door).status == 200


# Hosts of the operator's own network


def test_a_private_host_may_have_any_address_and_port_and_plain_http() -> None:
    with Receiver() as receiver:
        url = f"http://Receiver.internal.:{receiver.port}/x"
        rules = Rules(private=("receiver.internal",))
        assert post(Door(rules, answers_of("127.0.0.1")), url).status == 200
    assert receiver.requests[0].headers["host"] == f"receiver.internal:{receiver.port}"


def test_only_the_very_host_is_private(trap: Receiver) -> None:
    door = Door(Rules(private=("receiver.internal", "10.0.0.1")), answers_of("127.0.0.1"))
    for host in ("a.receiver.internal", "internal", "receiver.internal.example", "10.0.0.2"):
        asyncio.run(refused(door, f"https://{host}/"))
        asyncio.run(refused(door, f"http://{host}:{trap.port}/"))


def test_where_https_is_asked_of_all_a_private_host_is_not_sent_plain_http(trap: Receiver) -> None:
    door = Door(Rules(private=("127.0.0.1",), https_only=True))
    assert "https://" in asyncio.run(refused(door, trap.url))


# How it fails


def drip(head: bytes, piece: bytes) -> Answer:
    """Say something, then a little again and again until the other side goes away."""

    def say(connection: socket.socket, _: Sent) -> None:
        connection.sendall(head)
        gone = threading.Event()
        while not gone.wait(0.02):
            connection.sendall(piece)

    return say


SLOW = {
    "silence": hang,
    "headers in drips": drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "many interim answers": drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a body in drips": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"a"),
    "chunks in drips": drip(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"
    ),
    "a body without end": drip(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("say", SLOW.values(), ids=SLOW)
def test_whatever_is_slow_ends_at_the_deadline(say: Answer) -> None:
    with (
        Receiver(say) as receiver,
        pytest.raises(Unreachable, match=r"^127\.0\.0\.1 did not answer within 0\.3 s\.$"),
    ):
        private(receiver, timeout_s=0.3)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a listener that a thread serves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_a_handshake_that_hangs_ends_at_the_deadline_and_leaves_nothing_open() -> None:
    ended = threading.Event()

    def swallow(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while connection.recv(65536):
                pass
        ended.set()

    async def scene(port: int) -> bool:
        with pytest.raises(Unreachable, match=r"within 0\.3 s"):
            await Door(LOCAL).post(f"https://127.0.0.1:{port}/", b"{}", {}, 0.3)
        return await asyncio.to_thread(ended.wait, 20.0)

    with listening(swallow) as port:
        assert asyncio.run(scene(port))


class Names:
    """A name server that answers for `HOST` alone until `end`; `asked` is what was looked up."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.asked: list[str] = []

    def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        if name != HOST:
            self.end.wait(60)
        return [PUBLIC]


@pytest.fixture
def names() -> Iterator[Names]:
    hanging = Names()
    yield hanging
    hanging.end.set()


async def abandon(door: Door, names: Names, hosts: list[str], group: str) -> None:
    """Post to hosts whose names hang, and give up once all are looked up."""
    number = len(names.asked) + len(hosts)
    posts = [
        asyncio.create_task(door.post(f"https://{host}/", b"", {}, 60.0, group)) for host in hosts
    ]
    async with asyncio.timeout(20):
        while len(names.asked) < number:
            await asyncio.sleep(0.001)
    for each in posts:
        each.cancel()
    await asyncio.wait(posts)


def slow(number: int, group: str = "a") -> list[str]:
    return [f"slow{each}.{group}.example" for each in range(number)]


def test_the_names_of_a_group_that_hang_stop_no_other_group(
    names: Names, receiver: Receiver, trust: ssl.SSLContext
) -> None:
    door = Door(Rules(), names, Hooked({PUBLIC: receiver.port}), trust)

    async def scene() -> None:
        await abandon(door, names, slow(LOOK_UPS_OF_GROUP), "a")
        before = list(names.asked)
        with pytest.raises(Unreachable, match="this account's names are still unanswered"):
            await door.post("https://another.example/", b"", {}, 30.0, "a")
        assert names.asked == before
        assert (await door.post(URL, b"", {}, 30.0, "b")).status == 200

    asyncio.run(scene())


def test_a_group_whose_names_are_answered_at_last_is_looked_up_for_again(
    names: Names, receiver: Receiver, trust: ssl.SSLContext
) -> None:
    door = Door(Rules(), names, Hooked({PUBLIC: receiver.port}), trust)

    async def scene() -> None:
        await abandon(door, names, slow(LOOK_UPS_OF_GROUP), "a")
        names.end.set()
        async with asyncio.timeout(20):
            while names.asked[-1] != HOST:
                with suppress(Unreachable):
                    await door.post(URL, b"", {}, 30.0, "a")
                await asyncio.sleep(0.001)

    asyncio.run(scene())
    assert len(receiver.requests) == 1


def test_posts_to_one_host_wait_for_one_look_up(
    names: Names, receiver: Receiver, trust: ssl.SSLContext
) -> None:
    door = Door(Rules(), names, Hooked({PUBLIC: receiver.port}), trust)

    async def scene() -> None:
        host = "a.b.c.d.e.example.com"
        await abandon(door, names, [host], "a")
        posts = [door.post(f"https://{host}/", b"", {}, 0.2, str(group)) for group in range(9)]
        ends = await asyncio.gather(*posts, return_exceptions=True)
        assert {str(end) for end in ends} == {f"{host} did not answer within 0.2 s."}
        assert names.asked == [host]
        names.end.set()
        assert (await door.post(f"https://{host}/", b"", {}, 30.0, "a")).status == 200

    asyncio.run(scene())


def test_there_is_an_end_to_the_threads_of_look_ups(names: Names) -> None:
    door = Door(Rules(), names)
    groups = LOOK_UPS // LOOK_UPS_OF_GROUP

    async def scene() -> None:
        for group in map(str, range(groups)):
            await abandon(door, names, slow(LOOK_UPS_OF_GROUP, f"g{group}"), group)
        with pytest.raises(Unreachable, match="others' names are still unanswered"):
            await door.post(URL, b"", {}, 30.0, "one more")

    asyncio.run(scene())
    assert len(names.asked) == LOOK_UPS


def test_what_a_courier_sends_at_once_can_be_looked_up_at_once() -> None:
    assert Bounds().of_account <= LOOK_UPS_OF_GROUP
    assert Bounds().in_all <= LOOK_UPS


def test_a_look_up_that_goes_wrong_is_said_and_gives_its_place_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def resolve(name: str) -> list[str]:
        raise LookupError("a bug")

    door = Door(Rules(), resolve)

    async def scene() -> None:
        for number in range(LOOK_UPS_OF_GROUP + 1):
            with pytest.raises(Unreachable, match="has no address, or no name server answered"):
                await door.post(f"https://{number}.example.com/", b"", {}, 30.0)

    asyncio.run(scene())
    assert "a bug" in caplog.text


def test_a_machine_without_a_free_thread_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, trust: ssl.SSLContext
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scene() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            for _ in range(LOOK_UPS_OF_GROUP + 1):
                with pytest.raises(Unreachable, match="can't start new thread"):
                    await door.post(URL, b"", {}, 30.0)
        assert (await door.post(URL, b"", {}, 30.0)).status == 200

    door = Door(Rules(), answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}), trust)
    asyncio.run(scene())


def test_a_name_server_that_hangs_does_not_keep_the_process_alive() -> None:
    script = """
import asyncio, threading
from zing.errors import Unreachable
from zing.netguard import Door, Rules
door = Door(Rules(), lambda _: threading.Event().wait())
try:
    asyncio.run(door.post("https://hooks.example.com/", b"", {}, 0.1))
except Unreachable:
    print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "ended\n"
    assert not done.stderr


def lookup_fails(_: str) -> list[str]:
    raise socket.gaierror("no such name")


@pytest.mark.parametrize(
    ("resolve", "message"),
    [
        (lookup_fails, "has no address"),
        (answers_of(), "has no address"),
        (answers_of("nonsense"), "is no address"),
        (answers_of(PUBLIC, OTHER), "refused the connection"),
    ],
)
def test_a_host_without_a_connection_says_why(
    resolve: Callable[[str], list[str]], message: str
) -> None:
    with pytest.raises(Unreachable, match=message) as failed:
        post(Door(Rules(), resolve, Hooked()))
    assert HOST in str(failed.value)
    assert "secret" not in str(failed.value)


def said(data: bytes) -> Answer:
    return lambda connection, _: connection.sendall(data)


BROKEN = {
    "nothing": (said(b""), "did not answer in HTTP"),
    "no HTTP": (said(b"SSH-2.0-secret\r\n"), "did not answer in HTTP"),
    "half an answer": (said(b"HTTP/1.1 200 OK\r\nContent-"), "did not answer in HTTP"),
    "half a body": (
        said(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
        "did not answer in HTTP",
    ),
    "huge headers": (
        said(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n"),
        "did not answer in HTTP",
    ),
    "two lengths": (
        said(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        "did not answer in HTTP",
    ),
}


@pytest.mark.parametrize(("say", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_is_an_error_that_says_so(say: Answer, message: str) -> None:
    with Receiver(say) as receiver, pytest.raises(Unreachable, match=message) as failed:
        private(receiver, path="/secret")
    assert "secret" not in str(failed.value)


def test_a_reset_is_an_error_that_says_so() -> None:
    def reset(connection: socket.socket, _: Sent) -> None:
        linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with Receiver(reset) as receiver, pytest.raises(Unreachable, match="broke off"):
        private(receiver)


def test_a_closed_port_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="refused the connection"):
        post(Door(LOCAL), f"http://127.0.0.1:{port}/")


def test_a_certificate_that_is_not_good_is_not_taken(
    authority: Authority, tmp_path: Path, trust: ssl.SSLContext
) -> None:
    stranger = Authority(tmp_path)
    bad = {
        "issuer": stranger.certificate(HOST),
        "ostname mismatch": authority.certificate("other.example.com", file="other"),
        "expired": authority.certificate(HOST, file="old", days=-1),
    }
    for word, certificate in bad.items():
        with Receiver(certificate=certificate) as receiver:
            door = Door(Rules(), answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}), trust)
            with pytest.raises(Unreachable, match=f"certificate .*{word}"):
                post(door)
        assert receiver.requests == []


def test_a_private_host_must_show_a_good_certificate_too(certificate: Certificate) -> None:
    with (
        Receiver(certificate=certificate) as receiver,
        pytest.raises(Unreachable, match="certificate"),
    ):
        private(receiver)
    assert receiver.requests == []


def test_a_receiver_that_does_not_speak_tls_is_an_error_that_says_so() -> None:
    def speak(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65536)

    with listening(speak) as port, pytest.raises(Unreachable, match="does not speak TLS"):
        post(Door(LOCAL), f"https://127.0.0.1:{port}/")


def test_a_handshake_that_is_broken_off_is_an_error_that_says_so() -> None:
    def leave(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)

    with listening(leave) as port, pytest.raises(Unreachable, match="does not speak TLS"):
        post(Door(LOCAL), f"https://127.0.0.1:{port}/")


# How much is read


@pytest.mark.parametrize("head", [b"Content-Length: 104857600", b"X-Length: none"])
def test_of_a_giant_body_little_is_read(head: bytes) -> None:
    taken: list[int] = []

    def giant(connection: socket.socket, _: Sent) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        for _ in range(1600):
            connection.sendall(bytes(65536))
            taken.append(65536)

    with Receiver(giant) as receiver:
        reply = private(receiver)
    assert (reply.status, len(reply.body), reply.whole) == (200, READ_MAX, False)
    assert sum(taken) < 50_000_000  # what the machine's buffers hold, not what was to come


def test_a_body_of_the_very_length_is_whole() -> None:
    bodies = [bytes(READ_MAX - 1), bytes(READ_MAX), bytes(READ_MAX + 1)]
    with Receiver(in_turn(*(answer(200, body) for body in bodies))) as receiver:
        replies = [private(receiver) for _ in bodies]
    assert [reply.whole for reply in replies] == [True, True, False]
    assert [len(reply.body) for reply in replies] == [READ_MAX - 1, READ_MAX, READ_MAX]


def flood(head: bytes, piece: bytes, at_once: int = 65536) -> Answer:
    """Say something, then a little again and again, as fast as it is taken, 100 MB at most."""
    pieces = piece * max(1, at_once // len(piece))

    def say(connection: socket.socket, _: Sent) -> None:
        connection.sendall(head)
        for _ in range(100_000_000 // len(pieces)):
            connection.sendall(pieces)

    return say


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNANSWERED = {
    "interim answers": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "small interim answers": flood(b"", b"HTTP/1.1 100 \r\n\r\n"),
    "big interim answers": flood(b"", b"HTTP/1.1 103 \r\n" + b"a:b\r\n" * 9000 + b"\r\n"),
}
ANSWERED = {
    "extensions of chunks": flood(CHUNKED, b"1;" + b"x" * 60_000 + b"\r\na\r\n"),
    "small chunks": flood(CHUNKED, b"1\r\na\r\n"),
    "small pieces": flood(b"HTTP/1.1 200 OK\r\n\r\n", b"a", at_once=1),
}


@contextmanager
def secure(say: Answer, certificate: Certificate, trust: ssl.SSLContext) -> Iterator[Door]:
    """A door to a receiver at `URL`."""
    with Receiver(say, certificate) as receiver:
        yield Door(Rules(), answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}), trust)


@contextmanager
def plain(say: Answer) -> Iterator[Door]:
    """A door to a receiver at `PLAIN`, without TLS."""
    with Receiver(say) as receiver:
        rules = Rules(private=("receiver.internal",))
        yield Door(rules, answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}))


PLAIN = "http://receiver.internal:1234/"


@pytest.mark.parametrize("say", UNANSWERED.values(), ids=UNANSWERED)
def test_what_comes_before_an_answer_has_an_end(
    say: Answer, certificate: Certificate, trust: ssl.SSLContext
) -> None:
    with plain(say) as door, pytest.raises(Unreachable, match=r"^receiver\.internal said too"):
        post(door, PLAIN)
    with secure(say, certificate, trust) as door, pytest.raises(Unreachable, match="said too much"):
        post(door)


@pytest.mark.parametrize("say", ANSWERED.values(), ids=ANSWERED)
def test_what_is_around_a_body_counts_as_a_giant_body_does(
    say: Answer, certificate: Certificate, trust: ssl.SSLContext
) -> None:
    with plain(say) as door:
        reply = post(door, PLAIN)
    assert (reply.status, reply.whole) == (200, False)
    with secure(say, certificate, trust) as door:
        reply = post(door)
    assert (reply.status, reply.whole) == (200, False)


def test_of_records_of_one_byte_few_are_read(
    certificate: Certificate, trust: ssl.SSLContext
) -> None:
    say = flood(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"a", at_once=1)
    with secure(say, certificate, trust) as door:
        reply = post(door)
    assert (reply.status, reply.whole) == (200, False)
    assert 0 < len(reply.body) < WIRE_MAX // 20  # TLS needs 22 bytes for one


def test_tickets_of_tls_have_an_end(certificate: Certificate, trust: ssl.SSLContext) -> None:
    with Receiver(certificate=certificate) as receiver:
        assert receiver.tls
        receiver.tls.num_tickets = 100_000
        door = Door(Rules(), answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}), trust)
        with pytest.raises(Unreachable, match="said too much"):
            post(door)


class Ready(httpcore2.AsyncNetworkStream, httpcore2.AsyncNetworkBackend):
    """A connection on which something always waits to be read, as no real one surely does."""

    said = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000

    async def connect_tcp(self, *_: Any, **named: Any) -> httpcore2.AsyncNetworkStream:
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await asyncio.sleep(0)  # as a real one leaves others a turn
        data, self.said = self.said[:max_bytes], self.said[max_bytes:]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        pass

    async def aclose(self) -> None:
        pass


def test_a_flood_leaves_others_their_turns() -> None:
    turns: list[int] = []

    async def scene() -> None:
        sent = asyncio.create_task(
            Door(LOCAL, backend=Ready()).post("http://127.0.0.1/", b"", {}, 30.0)
        )
        while not sent.done():
            turns.append(1)
            await asyncio.sleep(0)
        with pytest.raises(Unreachable, match="said too much"):
            await sent

    asyncio.run(scene())
    assert len(turns) >= 32  # of no more than some milliseconds each


def test_a_body_may_end_with_the_connection_told_or_not(
    certificate: Certificate, trust: ssl.SSLContext
) -> None:
    def told(connection: socket.socket, _: Sent) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nbody")
        connection.unwrap()

    for say in (told, said(b"HTTP/1.1 200 OK\r\n\r\nbody")):
        with secure(say, certificate, trust) as door:
            assert post(door) == Reply(200, b"body", whole=True)


def test_a_long_body_is_sent_whole(receiver: Receiver, trust: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 4000
    door = Door(Rules(), answers_of(PUBLIC), Hooked({PUBLIC: receiver.port}), trust)
    assert asyncio.run(door.post(URL, body, {}, 30.0)).status == 200
    assert receiver.requests[0].body == body


def test_a_packed_body_stays_packed() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with Receiver(answer(200, bomb, {"Content-Encoding": "gzip"})) as receiver:
        assert private(receiver).body == bomb


def test_an_answer_may_have_no_body() -> None:
    with Receiver(said(b"HTTP/1.1 204 No Content\r\n\r\n")) as receiver:
        assert private(receiver) == Reply(204, b"", whole=True)


# Through an egress proxy


def test_a_proxy_is_given_the_address_that_was_checked(
    receiver: Receiver, trust: ssl.SSLContext
) -> None:
    reached = {f"{PUBLIC}:443": receiver.port, f"[{OTHER}]:443": receiver.port}
    with Receiver(tunnel(reached)) as proxy:
        rules = Rules(proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        for address in (PUBLIC, OTHER):
            assert post(Door(rules, answers_of(address), trust=trust)).status == 200
    assert [(each.method, each.path) for each in proxy.requests] == [
        ("CONNECT", f"{PUBLIC}:443"),
        ("CONNECT", f"[{OTHER}]:443"),
    ]
    assert {each.headers["proxy-authorization"] for each in proxy.requests} == {
        "Basic dXNlcjpwQHNz"
    }
    for sent in receiver.requests:
        assert (sent.sni, sent.headers["host"]) == (HOST, HOST)
        assert "proxy-authorization" not in sent.headers


def test_a_proxy_that_cannot_reach_an_address_is_asked_for_the_next(
    receiver: Receiver, trust: ssl.SSLContext
) -> None:
    with Receiver(tunnel({f"{PUBLIC}:443": receiver.port})) as proxy:
        rules = Rules(proxy=f"http://127.0.0.1:{proxy.port}")
        assert post(Door(rules, answers_of(OTHER, PUBLIC), trust=trust)).status == 200
    assert [each.path for each in proxy.requests] == [f"[{OTHER}]:443", f"{PUBLIC}:443"]
    assert "proxy-authorization" not in proxy.requests[0].headers


def test_a_proxy_sees_nothing_that_is_forbidden(trap: Receiver) -> None:
    rules = Rules(proxy=f"http://127.0.0.1:{trap.port}", deny=("proxy.kie.ai",))
    for address in FORBIDDEN_V4:
        asyncio.run(refused(Door(rules, answers_of(PUBLIC, address)), URL))
    asyncio.run(refused(Door(rules, answers_of(PUBLIC)), "https://proxy.kie.ai/"))


def test_a_private_host_is_reached_past_the_proxy(trap: Receiver) -> None:
    rules = Rules(private=("127.0.0.1",), proxy=f"http://127.0.0.1:{trap.port}")
    with Receiver() as receiver:
        assert post(Door(rules), receiver.url).status == 200


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (answer(407), "egress proxy .* 407"),
        (answer(502), "egress proxy .* 502"),
        (said(b"nonsense\r\n\r\n"), "egress proxy did not answer in HTTP"),
        (hang, r"within 0\.5 s"),
    ],
)
def test_a_proxy_that_does_not_work_is_an_error_that_says_so(say: Answer, message: str) -> None:
    with Receiver(say) as proxy:
        door = Door(Rules(proxy=f"http://u:secret@127.0.0.1:{proxy.port}"), answers_of(PUBLIC))
        with pytest.raises(Unreachable, match=message) as failed:
            post(door, timeout_s=0.5)
    assert "secret" not in str(failed.value)


def test_a_proxys_password_is_not_shown() -> None:
    url = "http://user:secret@127.0.0.1:3128"
    shown = f"{Rules(proxy=url)!r} {read_proxy(url)!r}"
    assert "secret" not in shown
    assert "dXNlcjpzZWNyZXQ=" not in shown


def test_a_proxy_that_is_down_is_an_error_that_says_so() -> None:
    with pytest.raises(Unreachable, match="The egress proxy refused the connection"):
        post(Door(Rules(proxy="http://10.0.0.1:3128"), answers_of(PUBLIC), Hooked()))


# The settings


def test_the_settings_become_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ZING_")]:
        monkeypatch.delenv(name)
    assert callback_rules() == Rules(deny=("proxy.kie.ai",), https_only=True)
    monkeypatch.setenv("ZING_CALLBACK_ALLOW", "Example.com., bücher.example")
    monkeypatch.setenv("ZING_CALLBACK_DENY", "8.8.8.8")
    monkeypatch.setenv("ZING_CALLBACK_PRIVATE", "receiver,10.0.0.1,::1,[fd00::1]")
    monkeypatch.setenv("ZING_CALLBACK_PORTS", "443, 8443")
    monkeypatch.setenv("ZING_EGRESS_PROXY", "http://proxy.internal:3128")
    assert callback_rules() == Rules(
        ports=frozenset({443, 8443}),
        allow=("example.com", "xn--bcher-kva.example"),
        deny=("8.8.8.8",),
        private=("receiver", "10.0.0.1", "::1", "fd00::1"),
        proxy="http://proxy.internal:3128",
        https_only=True,
    )


@pytest.mark.parametrize("text", ["", " ", "none"])
def test_the_list_of_denied_hosts_can_be_emptied(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZING_CALLBACK_DENY", text)
    assert callback_rules().deny == ()


BAD_HOSTS = """
https://a.example a.example:443 *.example .example a.example/x , a,,b a_b@c [::1 1.2.3.4.5
10.0.0.0/8
""".split()
BAD_PORTS = "0 65536 443;80 443, x 443,-1 ４４３ 1e3 99999".split()
BAD_PROXIES = """
proxy:3128 https://proxy:3128 socks5://proxy:3128 http://proxy http://proxy:0 http://proxy:70000
http://u:secret@pro$xy:1 http://secret@proxy:1 http://proxy:1/path http://u:secret@x@proxy:1
""".split()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(("ZING_CALLBACK_ALLOW", text) for text in BAD_HOSTS),
        *(("ZING_CALLBACK_DENY", text) for text in BAD_HOSTS),
        *(("ZING_CALLBACK_PRIVATE", text) for text in BAD_HOSTS),
        *(("ZING_CALLBACK_PORTS", text) for text in BAD_PORTS),
        *(("ZING_EGRESS_PROXY", text) for text in BAD_PROXIES),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(BadSetting, match=variable) as bad:
        callback_rules()
    assert "secret" not in str(bad.value)
