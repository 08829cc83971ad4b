"""The names that a service answers by: all for a public one, its own for one on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.edges import connect, reply
from tests.servers import Server, serving
from zing import hosts
from zing.config import ALLOWED_HOSTS, PUBLIC_URL
from zing.errors import BadSetting
from zing.hosts import Hosts

OWN = """
127.0.0.1 127.0.0.1:8000 127.9.9.9 [::1] [::1]:8000 [::ffff:127.0.0.1] 192.0.2.7:1 [2001:db8::1]
0.0.0.0 localhost LOCALHOST localhost. localhost:8000 a.localhost a.b.localhost:1 localhost:
""".split()
FOREIGN = """
evil.example.com evil.example.com:8000 notlocalhost localhost.evil.com 127.0.0.1.evil.com a
2130706433 0x7f.1 127.1 0177.0.0.1 127.0.0.1.nip.io [::1 ::1 [::1]] [v1.a] localhost:x
localhost:1:2 a@localhost localhost@evil.com localhost/ http://localhost localhost,evil.com
localhost.. *.localhost@ xn--lcalhost-54a \u00e9 127.0.0.1:999999 localhost\u3002
""".split()


def read(local: bool, listening: str = "127.0.0.1") -> Hosts:
    found = Hosts.read(listening, local)
    assert found is not None
    return found


def answers(host: str, among: Hosts) -> bool:
    return hosts.called(host.encode()) in among


@pytest.mark.parametrize("host", OWN)
def test_a_service_on_this_machine_answers_by_its_own_names(host: str) -> None:
    assert answers(host, read(local=True))


@pytest.mark.parametrize(
    "host", [*FOREIGN, "", " ", "localhost evil.com", "localhost\t", "a" * 300]
)
def test_and_by_no_other_name(host: str) -> None:
    assert not answers(host, read(local=True))


def test_what_others_reach_answers_by_every_name_unless_it_is_told_which() -> None:
    assert Hosts.read("0.0.0.0", False) is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://zing.example.com", "zing.example.com"),
        ("https://Zing.Example.com:8443/pictures", "ZING.example.com.:8443"),
        ("https://b\u00fccher.example", "xn--bcher-kva.example"),
        ("http://user:pass@box:80", "box"),
    ],
)
def test_the_public_urls_host_is_its_own(
    url: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUBLIC_URL.variable, url)
    assert answers(host, read(local=True))
    assert not answers("other.example.com", read(local=True))


@pytest.mark.parametrize("url", ["nonsense", "https://[::1", "https://", f"https://{'a' * 70}.b"])
def test_a_public_url_that_is_none_is_no_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_URL.variable, url)
    assert not answers("", read(local=True))
    assert answers("localhost", read(local=True))


def test_the_name_that_is_listened_on_is_its_own() -> None:
    assert answers("box.lan:8000", read(True, "Box.lan"))


def test_named_hosts_are_answered_by_wherever_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED_HOSTS.variable, "Zing.example.com., *.internal, 192.0.2.1, [::1],")
    for local in (True, False):
        among = read(local)
        for host in ("zing.example.com", "a.internal:80", "a.b.internal", "localhost", "10.0.0.1"):
            assert answers(host, among)
        for host in ("internal", "a.zing.example.com", "ainternal", "example.com"):
            assert not answers(host, among)


def test_a_star_is_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED_HOSTS.variable, "zing.example.com,*")
    assert Hosts.read("127.0.0.1", True) is None


@pytest.mark.parametrize(
    "words",
    ["https://a.example", "a.example:80", "a b", "*a.example", "a.*", "**", "a/b", "\u00e9.b"],
)
def test_what_is_no_name_is_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED_HOSTS.variable, words)
    with pytest.raises(BadSetting, match=ALLOWED_HOSTS.variable):
        Hosts.read("127.0.0.1", True)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that a proxy calls by its domain."""
    told = {"ZING_PUBLIC_URL": "https://zing.example.com", "ZING_ALLOWED_HOSTS": "*.internal"}
    with serving(tmp_path_factory.mktemp("named") / "data", "--no-worker", **told) as running:
        yield running


def ask(server: Server, path: str, host: str) -> tuple[int, dict[str, str], bytes]:
    with connect(int(server.url.rpartition(":")[2])) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return reply(peer)


def test_another_name_is_refused_everywhere_and_told_what_to_set(named: Server) -> None:
    for path in ("/", "/v1/credits", "/api/v1/chat/credit", "/docs", "/f/x", "/nothing", "/readyz"):
        status, headers, body = ask(named, path, "evil.example.com")
        assert (status, headers["content-type"]) == (403, "application/json")
        message = json.loads(body)["error"]["message"]
        assert "'evil.example.com'" in message
        assert ALLOWED_HOSTS.variable in message
        assert headers["x-content-type-options"] == "nosniff"


def test_its_names_reach_it_and_health_is_told_to_all(named: Server) -> None:
    for host in ("zing.example.com", "a.internal:80", "127.0.0.1"):
        assert ask(named, "/v1/credits", host)[0] == 401
        assert ask(named, "/docs", host)[0] == 200
    for path in ("/healthz", "/healthz?a=b"):
        assert ask(named, path, "evil.example.com")[0] == 200
    assert ask(named, "/healthz/", "evil.example.com")[0] == 403


def test_a_request_without_a_host_is_refused(named: Server) -> None:
    """HTTP/1.0 allows it; no browser sends it, and some that look after a process do."""
    for path, status in (("/docs", b"403"), ("/healthz", b"200")):
        with connect(int(named.url.rpartition(":")[2])) as peer:
            peer.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert peer.recv(100).split()[1] == status


def test_a_service_for_others_answers_by_every_name(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--no-worker", "--host", "0.0.0.0") as server:
        port = server.url.rpartition(":")[2]
        for host in ("evil.example.com", "a b", ""):
            found = httpx2.get(f"http://127.0.0.1:{port}/docs", headers={"Host": host})
            assert found.status_code == 200


def test_a_setting_that_names_none_ends_the_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zing", "serve", "--port", "0", "--data", str(tmp_path / "data")],
        env=os.environ | {"ZING_ALLOWED_HOSTS": "http://a"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "ZING_ALLOWED_HOSTS" in done.stderr
    assert not (tmp_path / "data").exists()
