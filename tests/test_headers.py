"""What every reply tells browsers, whoever gives it: pages, errors, pictures, events, the edge."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.edges import connect, reply, request, running
from tests.servers import Server, ended, submit
from zing import documents
from zing.headers import ALWAYS, POLICY, Headed

ADDED_MAX_US = 100.0  # far above the 3 us that were measured; see docs/security.md
NAMES = {name.decode() for name, _ in ALWAYS} | {"cross-origin-resource-policy"}


@pytest.fixture(scope="module")
def picture(server: Server) -> str:
    (link,) = ended(server, submit(server))["results"]
    return str(link).removeprefix(server.url)


def ask(server: Server, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    with connect(int(server.url.rpartition(":")[2])) as peer:
        peer.sendall(sent)
        return reply(peer)


def pages() -> Iterator[tuple[str, str, int]]:
    yield from (("GET", path, 200) for path in documents.PATHS)
    yield from (("GET", path, 200) for path in ("/", "/healthz", "/readyz", "/metrics"))
    yield from (
        ("GET", path, 404) for path in ("/nothing", "/v1/x", "/api/v1/x", "/f/x", "/docs/x")
    )
    yield from (("GET", path, 401) for path in ("/v1/tasks/x", "/v1/tasks/x/events", "/v1/credits"))
    yield from (("POST", path, 405) for path in ("/docs", "/v1/tasks", "/f/x"))
    yield "GET", "/f/f0123456789abcdef01234567-9999999999-" + "0" * 32 + ".png", 404
    yield "OPTIONS", "/v1/tasks", 405


@pytest.mark.parametrize(("method", "path", "status"), list(pages()))
def test_every_page_and_error_has_them(method: str, path: str, status: int, server: Server) -> None:
    found, headers, _ = ask(server, request(path, method=method))
    assert found == status
    assert headers.keys() >= NAMES
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    shown = "cross-origin" if path.startswith("/f/") else "same-origin"
    assert headers["cross-origin-resource-policy"] == shown
    own = path in documents.PATHS and method == "GET"
    policy = documents.HEADERS["Content-Security-Policy"] if own else POLICY.decode()
    assert headers["content-security-policy"] == policy
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers


def test_none_is_there_twice(server: Server, picture: str) -> None:
    for path in ("/docs", picture, "/v1/tasks/x"):
        headers = server.http.get(path).headers
        assert all(len(headers.get_list(name)) == 1 for name in NAMES)


def test_a_picture_may_be_shown_on_every_page_and_do_nothing_there(
    server: Server, picture: str
) -> None:
    whole = server.http.get(picture)
    known = server.http.get(picture, headers={"If-None-Match": whole.headers["ETag"]})
    assert (whole.status_code, known.status_code) == (200, 304)
    for headers in (whole.headers, known.headers):
        assert headers.keys() >= NAMES
        assert headers["cross-origin-resource-policy"] == "cross-origin"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert headers["cache-control"].startswith("private, max-age=")


def test_events_have_them(server: Server) -> None:
    identity = submit(server)
    with server.http.stream("GET", f"/v1/tasks/{identity}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers.keys() >= NAMES
        assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n"],
)
def test_what_the_edge_itself_writes_has_them(sent: bytes, server: Server) -> None:
    status, headers, _ = ask(server, sent)
    assert 400 <= status < 500
    assert headers.keys() >= NAMES


def failing(_request: Any) -> PlainTextResponse:
    raise RuntimeError("unforeseen")


def test_an_error_that_nobody_foresaw_has_them() -> None:
    failed = Starlette(routes=[Route("/", failing)])
    with running(around=lambda _: Headed(failed)) as server, server.peer() as peer:
        peer.sendall(request())
        status, headers, _ = reply(peer)
        assert status == 500
        assert headers.keys() >= NAMES


def headed(scheme: str, host: str) -> dict[str, str]:
    """The headers of an empty reply."""
    found: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def keep(message: Message) -> None:
        found.append(message)

    scope = {"type": "http", "scheme": scheme, "path": "/", "headers": [(b"host", host.encode())]}
    asyncio.run(Headed(app)(scope, None, keep))  # type: ignore[arg-type]
    return {name.decode(): value.decode() for name, value in found[0]["headers"]}


@pytest.mark.parametrize(
    ("scheme", "host", "stays"),
    [
        ("https", "zing.example.com", True),
        ("https", "Zing.Example.com.:8443", True),
        ("http", "zing.example.com", False),
        ("https", "127.0.0.1:8000", False),
        ("https", "[::1]:8000", False),
        ("https", "localhost:8000", False),
        ("https", "zing.localhost", False),
        ("https", "nas", False),
        ("https", "", False),
        ("https", "a b", False),
    ],
)
def test_a_name_stays_https_where_it_is(scheme: str, host: str, stays: bool) -> None:
    assert ("strict-transport-security" in headed(scheme, host)) is stays


def test_they_cost_a_request_next_to_nothing() -> None:
    """A bound against accidents alone: what one costs is in docs/security.md."""
    rounds = 2000

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": REPLY})

    async def drop(_message: Message) -> None:
        pass

    async def spent(served: ASGIApp) -> float:
        started = time.process_time()
        for _ in range(rounds):
            await served(SCOPE, None, drop)  # type: ignore[arg-type]
        return time.process_time() - started

    plain, with_them = (
        min(asyncio.run(spent(each)) for _ in range(3)) for each in (app, Headed(app))
    )
    assert 1e6 * (with_them - plain) / rounds < ADDED_MAX_US


REPLY = [(b"content-length", b"2"), (b"content-type", b"application/json")]
SCOPE = {
    "type": "http",
    "scheme": "https",
    "path": "/v1/tasks/x",
    "headers": [(b"user-agent", b"a"), (b"authorization", b"b"), (b"host", b"zing.example.com")],
}
