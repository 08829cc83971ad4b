"""The edge against slow, many and hostile peers: they end, and nobody else notices them."""

import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edges import PART, PARTS, SHORT, Running, connect, reply, request, rest, running
from tests.servers import Server, broken, ended, serving, submit, until
from zing import edge
from zing.edge import Limits
from zing.proxies import Proxies
from zing.proxies import _network as network


@pytest.fixture(scope="module", autouse=True)
def often() -> Iterator[None]:
    """The sweep comes at every tick, so that short limits are met soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "TICKS", 1)
        yield


@pytest.fixture(scope="module")
def site() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No peer makes the service log what broke."""
    with caplog.at_level(logging.INFO):
        yield
        broken = [
            each for each in caplog.records if each.exc_info or each.levelno > logging.WARNING
        ]
        assert not broken


@contextmanager
def healthy(
    site: Running, address: str = "127.0.0.1", fine: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """A client that asks on all the while, and is answered each time and soon.

    fine  after these it connects again and asks on
    """
    stop = threading.Event()
    faults: list[object] = []
    answered: list[int] = []

    def ask() -> None:
        with site.peer(address) as peer:
            while not stop.is_set():
                started = time.monotonic()
                peer.sendall(request("/echo", method="POST", body=b"how are you"))
                status, _, body = reply(peer)
                answered.append(status)
                if (status, body) != (200, b"how are you") or time.monotonic() - started > 5:
                    faults.append((status, body))
                stop.wait(0.02)

    def watched() -> None:
        while not (stop.is_set() or faults):
            try:
                ask()
            except fine:
                continue
            except Exception as error:  # noqa: BLE001 - told below, in the test's own thread
                faults.append(error)

    thread = threading.Thread(target=watched)
    thread.start()
    try:
        until(lambda: faults or len(answered) > 5)
        yield
    finally:
        stop.set()
        thread.join()
    assert not faults


# Heads


@pytest.mark.parametrize("first", [b"", request()], ids=["new", "kept"])
@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    first: bytes, begun: bytes, site: Running
) -> None:
    with healthy(site), site.peer() as peer:
        if first:
            peer.sendall(first)
            assert reply(peer)[0] == 200
        peer.sendall(begun)
        assert drip(peer, b"A") == b""


def test_a_connection_that_says_nothing_at_all_is_ended(site: Running) -> None:
    with healthy(site), site.peer() as peer:
        assert rest(peer) == b""


def test_a_kept_connection_may_think_of_another_request(site: Running) -> None:
    with site.peer() as peer:
        for _ in range(2):
            peer.sendall(request())
            assert reply(peer)[0] == 200
            time.sleep(3 * SHORT.head_s)


def drip(peer: socket.socket, byte: bytes) -> bytes:
    """Send a byte from time to time until the other end hangs up; what it said. 10 s at most."""
    latest = time.monotonic() + 10
    peer.settimeout(0.1)
    said = b""
    while time.monotonic() < latest:
        try:
            peer.sendall(byte)
            piece = peer.recv(65536)
            if not piece:
                return said
            said += piece
        except TimeoutError:
            continue
        except OSError:
            return said
    raise AssertionError("it is still open")


LINE = "A" * 60
FLOODS: dict[str, tuple[bytes, int]] = {
    "a target of 1 MB": (b"GET /?" + b"q" * 2**20 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a target of 20 kB": (b"GET /?" + b"q" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a header of 1 MB": (request("/", "A: " + "a" * 2**20), 431),
    "a header of 17 kB": (request("/", "A: " + "a" * 17_000), 431),
    "101 headers": (request("/", *(f"A{n}: a" for n in range(100))), 431),
    "100,000 headers": (request("/", *(f"A{n}: a" for n in range(100_000))), 431),
    "one header 1,000 times": (request("/", *(["X-Forwarded-For: 1.2.3.4"] * 1000)), 431),
    "a header on 1,000 lines": (request("/", "A: a", *([" a"] * 9000)), 431),
    "a name of 1 MB": (request("/", "A" * 2**20 + ": a"), 431),
}


@pytest.mark.parametrize(("sent", "status"), FLOODS.values(), ids=FLOODS)
def test_a_flood_of_headers_is_told_so_and_hung_up_on(
    sent: bytes, status: int, site: Running
) -> None:
    seen = len(site.app.scopes)
    with site.peer() as peer:
        with suppress(OSError):  # it may be hung up on before all is out
            peer.sendall(sent)
        found, headers, _ = reply(peer)
        assert (found, headers["connection"]) == (status, "close")
        assert rest(peer) == b""
    assert len(site.app.scopes) == seen


def test_a_head_of_many_headers_and_a_long_target_is_taken(site: Running) -> None:
    many = [f"A{n}: {LINE}" for n in range(98)]
    with site.peer() as peer:
        peer.sendall(request("/?" + "q" * 8000, *many))
        assert reply(peer)[0] == 200


# Bodies


FRAMINGS: dict[str, tuple[bytes, int]] = {
    "a length and chunks": (
        request("/echo", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST")
        + b"0\r\n\r\n",
        400,
    ),
    "chunks and a length": (
        request("/echo", "Transfer-Encoding: chunked", "Content-Length: 5", method="POST")
        + b"0\r\n\r\n",
        400,
    ),
    "chunks in HTTP/1.0": (
        b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (request("/echo", "Content-Length: 5", "Content-Length: 6"), 400),
    "two lengths in one": (request("/echo", "Content-Length: 5, 6"), 400),
    "a length with a sign": (request("/echo", "Content-Length: +5"), 400),
    "chunks twice": (
        request("/echo", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        501,
    ),
    "chunks in chunks": (request("/echo", "Transfer-Encoding: chunked, chunked"), 501),
    "chunks by another name": (request("/echo", "Transfer-Encoding: xchunked"), 501),
    "a space before the colon": (request("/echo", "Transfer-Encoding : chunked"), 400),
    "a chunk of no length": (
        request("/echo", "Transfer-Encoding: chunked", method="POST") + b"-5\r\nhello\r\n",
        400,
    ),
    "a chunk that is longer than it says": (
        request("/echo", "Transfer-Encoding: chunked", method="POST") + b"2\r\nhello\r\n0\r\n\r\n",
        400,
    ),
    "a chunk whose extension has no end": (
        request("/echo", "Transfer-Encoding: chunked", method="POST") + b"5;" + b"a" * 100_000,
        431,
    ),
    "10,000 chunks of one byte": (
        request("/echo", "Transfer-Encoding: chunked", method="POST") + b"1\r\na\r\n" * 10_000,
        413,
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (request("/", "Host: b"), 400),
}


@pytest.mark.parametrize(("sent", "status"), FRAMINGS.values(), ids=FRAMINGS)
def test_what_two_readers_could_read_in_two_ways_is_refused(
    sent: bytes, status: int, site: Running
) -> None:
    with site.peer() as peer:
        with suppress(OSError):
            peer.sendall(sent + request("/smuggled"))
        found, headers, _ = reply(peer)
        assert (found, headers["connection"]) == (status, "close")
        assert rest(peer) == b""
    assert "/smuggled" not in [scope["path"] for scope in site.app.scopes]


def test_chunks_may_have_extensions_and_trailers(site: Running) -> None:
    with site.peer() as peer:
        head = request("/echo", "Transfer-Encoding: chunked", method="POST")
        peer.sendall(head + b'2;a=b\r\nhe\r\n3;c="d"\r\nllo\r\n0\r\nA: b\r\n\r\n')
        assert reply(peer)[2] == b"hello"
        peer.sendall(request())
        assert reply(peer)[0] == 200


def test_a_body_that_nobody_waits_for_ends_or_is_ended(site: Running) -> None:
    head = request("/hello", "Transfer-Encoding: chunked", method="POST")
    with healthy(site), site.peer() as peer:
        peer.sendall(head)
        assert reply(peer)[0] == 200
        assert drip(peer, b"1\r\na\r\n") == b""


def test_a_body_that_breaks_after_its_reply_is_the_connections_end(site: Running) -> None:
    with site.peer() as peer:
        peer.sendall(request("/hello", "Transfer-Encoding: chunked", method="POST"))
        assert reply(peer)[0] == 200
        peer.sendall(b"no chunk\r\n")
        assert rest(peer) == b""


def test_a_body_that_breaks_while_its_reply_is_thought_of_is_the_connections_end(
    site: Running,
) -> None:
    with site.peer() as peer:
        peer.sendall(
            request("/wait", "Transfer-Encoding: chunked", method="POST") + b"no chunk\r\n"
        )
        assert reply(peer)[0] == 400
    site.go_on()


# Manners of HTTP


def test_pipelined_requests_are_answered_in_their_order(site: Running) -> None:
    bodies = [b"one", b"two", b"three"]
    with site.peer() as peer:
        peer.sendall(b"".join(request("/echo", method="POST", body=each) for each in bodies))
        assert [reply(peer)[2] for _ in bodies] == bodies


def test_http_1_0_is_answered_and_hung_up_on(site: Running) -> None:
    with site.peer() as peer:
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert reply(peer)[::2] == (200, b"hello")
        assert rest(peer) == b""


def test_who_asks_whether_to_go_on_is_told(site: Running) -> None:
    with site.peer() as peer:
        peer.sendall(request("/echo", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        assert reply(peer)[0] == 100
        peer.sendall(b"hello")
        assert reply(peer)[::2] == (200, b"hello")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_another_protocol_is_not_begun(upgrade: str, site: Running) -> None:
    with site.peer() as peer:
        peer.sendall(request("/", "Connection: upgrade", f"Upgrade: {upgrade}"))
        assert reply(peer)[::2] == (200, b"hello")


def test_head_is_get_without_the_body(site: Running) -> None:
    with site.peer() as peer:
        peer.sendall(request(method="HEAD"))
        peer.shutdown(socket.SHUT_WR)
        assert rest(peer).endswith(b"content-length: 5\r\n\r\n")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_at_all_are_answered_or_hung_up_on(
    site: Running, noise: bytes, place: int
) -> None:
    whole = request("/echo", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\r\n0\r\n\r\n"
    with site.peer() as peer:
        with suppress(OSError):
            peer.sendall(whole[:place] + noise + whole[place:])
            peer.shutdown(socket.SHUT_WR)
        said = rest(peer)
    assert said == b"" or said.startswith(b"HTTP/1.1 "), said


# Readers


@pytest.mark.parametrize("bite", [0, 1], ids=["nothing", "a byte at a time"])
def test_a_reader_that_takes_next_to_nothing_is_ended_and_holds_little(
    bite: int, site: Running
) -> None:
    before = site.app.parts
    with healthy(site), narrow(site) as peer:
        peer.sendall(request("/big"))
        until(lambda: site.app.parts > before)
        time.sleep(SHORT.stall_s / 2)
        assert site.app.parts - before < PARTS / 2
        until(lambda: bitten(peer, bite), 10)


@contextmanager
def narrow(site: Running) -> Iterator[socket.socket]:
    """A connection whose reader's own buffer is small."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(10)
        peer.connect(("127.0.0.1", site.port))
        yield peer


def bitten(peer: socket.socket, bite: int) -> bool:
    """Whether a peer that reads so many bytes now and then has been hung up on."""
    time.sleep(0.05)
    try:
        peer.send(b"")
        if bite:
            peer.recv(bite)
        return peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 or gone(peer)
    except OSError:
        return True


def gone(peer: socket.socket) -> bool:
    """Whether the other end of a connection is closed: TCP_INFO's state is not ESTABLISHED."""
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1


def test_a_reader_that_is_slow_and_goes_on_gets_all(site: Running) -> None:
    with healthy(site), narrow(site) as peer:
        peer.sendall(request("/big"))
        taken = b""
        latest = time.monotonic() + 2.5 * SHORT.stall_s
        while time.monotonic() < latest:
            taken += peer.recv(65536)
            time.sleep(0.02)
        rest_of = len(PART) * PARTS - (len(taken) - taken.index(b"\r\n\r\n") - 4)
        while rest_of:
            piece = peer.recv(rest_of)
            assert piece
            rest_of -= len(piece)


# Crowds


@contextmanager
def crowd(site: Running, count: int, first: bytes = b"", addresses: int = 1) -> Iterator[None]:
    """So many connections that have sent something, from so many addresses."""
    with ExitStack() as stack:
        for number in range(count):
            peer = stack.enter_context(site.peer(f"127.0.1.{1 + number % addresses}"))
            with suppress(OSError):
                peer.sendall(first)
        yield


@pytest.mark.parametrize("first", [b"", b"GET /", request()], ids=["silent", "begun", "kept"])
@pytest.mark.parametrize("addresses", [1, 20])
def test_a_crowd_of_idle_connections_makes_room(first: bytes, addresses: int) -> None:
    patient = replace(SHORT, head_s=60.0, connections=64)
    with (
        running(patient) as site,
        # Where all others are being answered at that moment, it is the idle one that makes room.
        healthy(site, fine=(ConnectionResetError,)),
        crowd(site, 300, first, addresses),
        site.peer("127.0.0.2") as late,
    ):
        late.sendall(request())
        assert reply(late)[0] == 200


def test_one_address_makes_room_among_its_own_alone() -> None:
    patient = replace(SHORT, head_s=60.0, connections=64)
    with running(patient) as site, site.peer("127.0.0.2") as kept:
        kept.sendall(request())
        assert reply(kept)[0] == 200
        with crowd(site, 300, request()):
            kept.sendall(request())
            assert reply(kept)[0] == 200


def test_where_all_are_busy_a_new_one_is_told_to_come_again() -> None:
    with running(replace(SHORT, connections=40)) as site:
        share = 10
        with ExitStack() as stack:
            peers = [stack.enter_context(site.peer()) for _ in range(share)]
            for peer in peers:
                peer.sendall(request("/wait"))
            until(lambda: len(site.app.scopes) == share)
            with site.peer() as one_more:
                status, headers, _ = reply(one_more)
                assert (status, headers["retry-after"]) == (503, "1")
            with site.peer("127.0.0.2") as other:
                other.sendall(request())
                assert reply(other)[0] == 200
            site.go_on()
            assert [reply(peer)[0] for peer in peers] == [200] * share


def test_a_trusted_proxy_has_no_share() -> None:
    proxies = Proxies([network("127.0.0.1")])
    with running(replace(SHORT, connections=40), proxies) as site, ExitStack() as stack:
        peers = [stack.enter_context(site.peer()) for _ in range(30)]
        for peer in peers:
            peer.sendall(request("/wait"))
        until(lambda: len(site.app.scopes) == 30)
        site.go_on()
        assert [reply(peer)[0] for peer in peers] == [200] * 30


SHORT_OF_FILES = """
import asyncio, logging, resource, socket, sys
from tests.edges import Small
from zing import edge
from zing.edge import Limits
from zing.proxies import Proxies
logging.basicConfig(level=logging.INFO)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
limits = edge.Limits(connections=1000)
listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(listener.getsockname()[1], flush=True)
server = edge.Server(edge.settings(Small(), limits, 2), limits, Proxies())
server.run([listener])
"""


def test_no_file_for_a_connection_is_one_line_in_the_log_and_heals() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT_OF_FILES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        site = Running(None, int(process.stdout.readline()), None)  # type: ignore[arg-type]
        with crowd(site, 200), site.peer() as late:
            late.sendall(request())
            assert reply(late)[0] == 200
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 3, said


def test_the_limit_of_open_files_is_raised_as_far_as_needed_and_allowed() -> None:
    code = (
        "import resource as r; from zing.edge import Limits; "
        "print(Limits.read().connections, r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )

    def limited(soft: int, hard: int) -> list[str]:
        command = ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split()

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 10_000:
        pytest.skip("the limit of open files cannot be raised here")
    assert limited(256, hard) == ["4096", "8448"]
    assert limited(256, 1000) == ["744", "1000"]


# A real service


def ask(server: Server, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(sent)
        return reply(peer)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("CONNECT", "example.com:443", 404),
        ("CONNECT", "/healthz", 405),
        ("BREW", "/healthz", 405),
        ("TRACE", "/healthz", 405),
        ("OPTIONS", "*", 404),
        ("PRI", "*", 404),
        ("GET", "http://example.com/healthz", 404),
        ("GET", "//healthz", 404),
        ("GET", "/%2e%2e/healthz", 404),
        ("POST", "/v1/images/generations?" + "a=b&" * 2000, 401),
        ("get", "/healthz", 405),
    ],
)
def test_odd_methods_and_targets_are_refused(
    method: str, target: str, status: int, server: Server
) -> None:
    assert ask(server, request(target, method=method))[0] == status


@pytest.mark.parametrize("host", ["localhost.:99999", "a.LOCALHOST", "192.0.2.7", "[2001:db8::1]"])
def test_another_host_changes_no_link(host: str, server: Server, picture: str) -> None:
    name = host.encode()
    forwarded = b"X-Forwarded-Host: evil.example.com\r\nForwarded: host=evil.example.com\r\n"
    identity = server.http.get("/v1/tasks").json()["data"][0]["id"]
    key = f"Authorization: Bearer {server.key}\r\n".encode()
    path = f"GET /v1/tasks/{identity} HTTP/1.1\r\nHost: ".encode()
    status, _, body = ask(server, path + name + b"\r\n" + forwarded + key + b"\r\n")
    assert status == 200
    assert not any(each in body.lower() for each in (b"evil", b"localhost", b"192.0.2", b"2001"))
    assert server.url.encode() in body


@pytest.fixture(scope="module")
def picture(server: Server) -> str:
    """The path of a picture's link."""
    (link,) = ended(server, submit(server, size="1024x1024"))["results"]
    return str(link).removeprefix(server.url)


@pytest.mark.parametrize(
    "ranges",
    ["bytes=0-0", "bytes=-1", "bytes=5-", "bytes=9-2", "bytes=" + ",".join(["0-0"] * 3900), "x"],
    ids=lambda text: text[:9],
)
def test_whoever_asks_for_a_part_of_a_picture_gets_the_whole(
    ranges: str, server: Server, picture: str
) -> None:
    whole = server.http.get(picture)
    status, headers, body = ask(server, request(picture, f"Range: {ranges}", "If-Range: x"))
    assert (status, headers["accept-ranges"], body) == (200, "none", whole.content)


def test_a_range_of_10000_parts_is_a_flood(server: Server, picture: str) -> None:
    ranges = ",".join(f"{n}-{n}" for n in range(10_000))
    assert ask(server, request(picture, f"Range: bytes={ranges}"))[0] == 431


def test_a_picture_that_is_there_already_is_not_sent_again(server: Server, picture: str) -> None:
    tag = server.http.get(picture).headers["etag"]
    for said in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = server.http.get(picture, headers={"If-None-Match": said})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for said in ('"other"', tag.strip('"'), "", "W/"):
        other = server.http.get(picture, headers={"If-None-Match": said})
        assert other.status_code == 200


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process may open a few thousand files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if edge.raise_files(6000) < 6000:
        pytest.skip("the limit of open files is too low for the peers")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def memory(server: Server) -> int:
    """Bytes of memory that the service's process has."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def draws(server: Server) -> None:
    """All of a healthy client's requests are answered, each within 5 s."""
    server.http.timeout = httpx2.Timeout(5)
    (link,) = ended(server, submit(server))["results"]
    assert server.http.get(link).status_code == 200


@pytest.mark.long
@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\n", request("/healthz")])
def test_2000_idle_connections_are_not_noticed(
    first: bytes, tmp_path: Path, many_files: None
) -> None:
    with serving(tmp_path / "data") as server:
        draws(server)
        before = memory(server)
        with ExitStack() as stack:
            for number in range(2000):
                peer = stack.enter_context(connect(port_of(server), f"127.0.1.{1 + number % 9}"))
                peer.sendall(first)
            for _ in range(5):
                draws(server)
            grown = memory(server) - before
        assert grown < 100 * 2**20, grown
        draws(server)
        assert broken(server.data) == []


@pytest.mark.long
def test_500_readers_of_a_byte_a_second_are_not_noticed(tmp_path: Path, many_files: None) -> None:
    with serving(tmp_path / "data") as server, ExitStack() as stack:
        body = {"model": "z-image", "input": {"prompt": "a cat", "aspect_ratio": "1:1"}}
        made = server.http.post("/api/v1/jobs/createTask", json=body).json()["data"]["taskId"]
        link = ended(server, made)["results"][0].removeprefix(server.url)
        before = memory(server)
        peers = []
        for _ in range(500):
            peer = stack.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            peer.connect(("127.0.0.1", port_of(server)))
            peer.sendall(request(link))
            peers.append(peer)
        most = 0
        latest = time.monotonic() + Limits().stall_s + 15
        while time.monotonic() < latest:
            for peer in peers:
                with suppress(OSError):
                    peer.recv(1)
            draws(server)
            most = max(most, memory(server) - before)
        assert most < 100 * 2**20, most
        assert all(map(gone, peers))
        assert broken(server.data) == []


def test_the_services_log_tells_nothing_of_all_this(server: Server) -> None:
    ask(server, b"nonsense\r\n\r\n")
    assert "Traceback" not in server.log.read_text()
    assert "Invalid HTTP" not in server.log.read_text()
