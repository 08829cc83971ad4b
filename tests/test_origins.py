"""CORS: pages of named origins may call, others may not, and nobody has to show a key to ask."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.servers import EVOLINK, Server, ended, serving, submit
from zing import origins
from zing.config import CORS
from zing.errors import BadSetting
from zing.headers import SHOWN

SHOP = "https://shop.example.com"
SENT = "authorization,content-type,idempotency-key,last-event-id,prefer,x-stainless-os"
# What a page may read of every reply, by the Fetch standard.
READABLE = {
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
}
# What is of no use to a page.
LEFT = {"accept-ranges", "date", "vary"} | {name.decode() for name, _ in SHOWN}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("shared") / "data"
    with serving(data, ZING_CORS=f"{SHOP}, http://localhost:3000/") as server:
        yield server


def ask(server: Server, method: str, path: str, origin: str, **headers: str) -> httpx2.Response:
    return httpx2.request(method, server.url + path, headers={"Origin": origin} | headers)


def preflight(server: Server, path: str, origin: str, method: str) -> httpx2.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": SENT}
    return ask(server, "OPTIONS", path, origin, **asked)


@pytest.mark.parametrize("origin", [SHOP, "http://localhost:3000"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/images/generations"), ("DELETE", "/v1/tasks/x"), ("GET", "/f/x"), ("GET", "/x")],
)
def test_a_page_of_a_named_origin_may_ask_without_a_key_whether_it_may_call(
    origin: str, method: str, path: str, shared: Server
) -> None:
    reply = preflight(shared, path, origin, method)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == origin
    assert method in reply.headers["access-control-allow-methods"].split(", ")
    assert set(SENT.split(",")) <= set(reply.headers["access-control-allow-headers"].split(","))
    assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("origin", ["https://evil.example.com", f"{SHOP}.evil.com", "null", ""])
def test_a_page_of_another_origin_may_not(origin: str, shared: Server) -> None:
    refused = preflight(shared, "/v1/tasks", origin, "GET")
    assert "access-control-allow-origin" not in refused.headers
    reply = ask(shared, "GET", "/healthz", origin)
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_errors_are_for_these_pages_too(shared: Server) -> None:
    for method, path, status in (
        ("GET", "/v1/tasks/x", 401),
        ("GET", "/nothing", 404),
        ("DELETE", "/healthz", 405),
        ("GET", "/f/nothing", 404),
    ):
        reply = ask(shared, method, path, SHOP)
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (status, SHOP)


def test_a_page_draws_and_reads_all_that_is_told(shared: Server) -> None:
    identity = submit(shared)
    (link,) = ended(shared, identity)["results"]
    headers = {"Origin": SHOP, "Idempotency-Key": "once"}
    replies = [
        shared.http.post("/v1/images/generations", json=EVOLINK, headers=headers) for _ in range(2)
    ]
    replies += [
        shared.http.get(f"/v1/tasks/{identity}", headers=headers),
        shared.http.get(link, headers=headers),
    ]
    for reply in replies:
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == SHOP
        exposed = reply.headers["access-control-expose-headers"].lower().split(", ")
        told = {name.lower() for name in reply.headers if "access-control" not in name.lower()}
        assert told - READABLE - LEFT <= set(exposed)


def test_what_is_kept_for_one_reader_is_not_shown_to_another(shared: Server) -> None:
    """A browser that kept a picture without these headers would refuse it to the page."""
    for headers in ({}, {"Origin": SHOP}):
        assert "Origin" in httpx2.get(f"{shared.url}/healthz", headers=headers).headers["vary"]


def test_without_the_setting_there_is_none_of_it(server: Server) -> None:
    for reply in (
        preflight(server, "/v1/tasks", SHOP, "GET"),
        ask(server, "GET", "/healthz", SHOP),
    ):
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert "vary" not in reply.headers


def test_a_star_is_every_site(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--no-worker", ZING_CORS="*") as server:
        for reply in (
            preflight(server, "/v1/tasks", "https://any.example.com", "GET"),
            ask(server, "GET", "/v1/tasks/x", "null"),
        ):
            assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "words",
    [
        "shop.example.com",
        "https://",
        "https://shop.example.com/path",
        "https://*.example.com",
        "https://a b",
        "ftp://a",
        "null",
        "https://a,nonsense",
        "https://user@a",
    ],
)
def test_what_is_no_origin_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CORS.variable, words)
    with pytest.raises(BadSetting, match=CORS.variable):
        origins.read()


def test_an_origin_is_taken_as_people_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CORS.variable, "HTTPS://Shop.example.com/, http://[::1]:3000,")
    assert origins.read() == (SHOP, "http://[::1]:3000")
