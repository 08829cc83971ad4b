"""Authentication off: on this machine alone, and never for the pages of other sites."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges import connect, reply, request
from tests.servers import EVOLINK, Server, serving
from zing import keyless
from zing.config import ALLOWED_HOSTS, AUTH, CORS, PUBLIC_URL, TRUSTED_PROXIES
from zing.errors import BadSetting
from zing.hosts import Hosts

SHOP = "https://shop.example.com"
EVIL = "https://evil.example.com"
CREATE = "/v1/images/generations"


def start(tmp_path: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zing", "serve", "--port", "0", "--no-worker", *options]
    return subprocess.run(
        [*command, "--data", str(tmp_path / "data")],
        env=os.environ | {"ZING_AUTH": "off"} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_where_others_come_it_does_not_start(host: str, tmp_path: Path) -> None:
    done = start(tmp_path, "--host", host)
    assert done.returncode == 2
    assert AUTH.variable in done.stderr
    assert "listen on 127.0.0.1" in done.stderr
    assert not (tmp_path / "data").exists()


def read(listening: str = "127.0.0.1", local: bool = True) -> bool:
    return keyless.read(listening, local, Hosts.read(listening, local))


def test_a_key_is_asked_for_unless_it_is_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for local in (True, False):
        assert not read(local=local)
    monkeypatch.setenv(AUTH.variable, "off")
    assert read()
    with pytest.raises(BadSetting, match=r"192\.0\.2\.1 is reached by others"):
        read("192.0.2.1", local=False)
    monkeypatch.setenv(AUTH.variable, "no")
    with pytest.raises(BadSetting, match="on or off"):
        read()


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        (PUBLIC_URL, "https://zing.example.com", "proxy"),
        (PUBLIC_URL, "http://192.0.2.1:8000", "proxy"),
        (PUBLIC_URL, "nonsense", "proxy"),
        (TRUSTED_PROXIES, "127.0.0.1", "proxy"),
        (ALLOWED_HOSTS, "*", "name hosts"),
        (CORS, "*", "name origins"),
    ],
)
def test_with_settings_that_let_others_in_it_does_not_start(
    variable: object, value: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AUTH.variable, "off")
    monkeypatch.setenv(variable.variable, value)  # type: ignore[attr-defined]
    with pytest.raises(BadSetting, match=what):
        read()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]", "http://a.localhost"]
)
def test_a_public_url_of_this_machine_is_fine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTH.variable, "off")
    monkeypatch.setenv(PUBLIC_URL.variable, url)
    assert read()


def test_without_the_first_key_it_does_not_start(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "zing", "keys", "create", "a", "--data", str(tmp_path / "data")]
    subprocess.run(made, check=True, capture_output=True)
    done = start(tmp_path)
    assert done.returncode == 2
    assert "first-key" in done.stderr


@pytest.fixture(scope="module")
def open_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("open") / "data"
    with serving(data, "--no-worker", ZING_AUTH="off", ZING_CORS=SHOP) as server:
        yield server


def status(server: Server, path: str, *headers: str, method: str = "GET") -> int:
    key = f"Authorization: Bearer {server.key}"
    with connect(int(server.url.rpartition(":")[2])) as peer:
        peer.sendall(request(path, key, *headers, method=method))
        return reply(peer)[0]


def test_the_log_says_so(open_one: Server) -> None:
    assert "no key is asked for" in open_one.log.read_text()


@pytest.mark.parametrize(
    "headers",
    [
        (f"Origin: {EVIL}",),
        ("Origin: null",),
        ("Origin: http://localhost:1",),
        ("Origin: http://localhost.evil.com",),
        ("Origin: https://localhost",),
        (f"Origin: {SHOP}.evil.com",),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: anything",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
        ("Origin: http://localhost", "X-Forwarded-For: 192.0.2.1"),
        ("Forwarded: for=192.0.2.1",),
        ("Via: 1.1 proxy",),
    ],
)
def test_pages_of_other_sites_and_proxies_are_refused(
    headers: tuple[str, ...], open_one: Server
) -> None:
    for method, path in (
        ("GET", "/v1/credits"),
        ("POST", CREATE),
        ("GET", "/"),
        ("GET", "/metrics"),
    ):
        assert status(open_one, path, *headers, method=method) == 403
    assert status(open_one, "/healthz", *headers) == 200
    assert status(open_one, "/f/x", *headers) == 404


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Origin: http://localhost",),
        ("Origin: HTTP://LOCALHOST",),
        (f"Origin: {SHOP}", "Sec-Fetch-Site: cross-site"),
        ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"),
        ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"),
    ],
)
def test_its_own_pages_named_ones_and_programs_are_not(
    headers: tuple[str, ...], open_one: Server
) -> None:
    assert status(open_one, "/v1/credits", *headers) == 200
    assert status(open_one, "/docs", *headers) == 200


def test_a_form_of_another_site_makes_no_task(open_one: Server) -> None:
    sent = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
    assert open_one.http.post(CREATE, json=EVOLINK, headers=sent).status_code == 403
    asked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    asked |= {"Sec-Fetch-Dest": "document", "Origin": "null"}
    assert open_one.http.post(CREATE, json=EVOLINK, headers=asked).status_code == 403
    assert open_one.http.get("/v1/tasks").json()["total"] == 0


def test_with_keys_nothing_of_it_is_in_the_way(server: Server) -> None:
    for headers in ((f"Origin: {EVIL}",), ("Sec-Fetch-Site: cross-site",), ("Via: 1.1 proxy",)):
        assert status(server, "/v1/credits", *headers) == 200
