"""Deploying: the proxies' examples in front of a real service, the unit, the image's constraints.

What is skipped here for want of a program, `.ci/run` installs. Nothing leaves loopback.
"""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
import yaml

from tests.servers import EVOLINK, Server, alive, children, ended, serving, submit, until
from zing.config import DRAIN
from zing.server import HANG_UP_S
from zing.supervisor import STOP_S

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOMAIN = "zing.example.com"
EXPOSURE_MAX = 1.5  # of 10, by systemd-analyze security


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Upstream(BaseHTTPRequestHandler):
    """Stands where zing does: says what it was told, and sends events one by one on command."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._chunk(b"data: 1\n\n")
            self.go_on.wait(20)
            self._chunk(b"data: 2\n\n")
            self._chunk(b"")
            return
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Silent."""


class Proxy:
    """A running proxy, and clients of its https address."""

    named: ClassVar = {"sni_hostname": DOMAIN}

    def __init__(self, http: int, https: int, certificate: Path) -> None:
        self.http = http
        self.https = https
        self.trusted = ssl.create_default_context(cafile=certificate)

    def client(self, **headers: str) -> httpx2.Client:
        """A client that finds the domain on loopback and checks its certificate."""
        return httpx2.Client(
            base_url=f"https://127.0.0.1:{self.https}",
            verify=self.trusted,
            timeout=30,
            headers={"Host": DOMAIN, **headers},
        )

    def get(self, target: str, **headers: str) -> httpx2.Response:
        """The answer to a request for just this text, which no client has tidied up."""
        with self.client(**headers) as client:
            return client.get("/", extensions=self.named | {"target": target.encode()})

    def answers(self) -> bool:
        """Whether it is there and has its certificate."""
        try:
            return bool(self.get("/metrics").status_code)
        except httpx2.TransportError:
            return False


def found(program: str) -> str:
    """Where a program is, also where Debian keeps those for root; empty where it is not."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or ""


@contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Iterator[None]:
    """A program of ours, ended at the end."""
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[Proxy]:
    """Caddy with our Caddyfile and certificates of its own authority."""
    http, https = free_ports(2)
    options = f"http_port {http}\nhttps_port {https}\nadmin off\nlocal_certs\nskip_install_trust"
    options += "\ndefault_bind 127.0.0.1"
    (folder / "Caddyfile").write_text(f"{{\n{options}\n}}\nimport {DEPLOY / 'Caddyfile'}\n")
    command = ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    at = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with running(command, folder, ZING_UPSTREAM=f"127.0.0.1:{upstream}", **at):
        authority = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        until(lambda: authority.exists() and authority.read_text().endswith("\n"))
        proxy = Proxy(http, https, authority)
        until(proxy.answers)
        yield proxy


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[Proxy]:
    """nginx with our site and a certificate that it signed itself."""
    http, https = free_ports(2)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={DOMAIN}".split()
    make += ["-addext", f"subjectAltName=DNS:{DOMAIN}", "-keyout", str(key)]
    subprocess.run([*make, "-out", str(certificate)], check=True, capture_output=True)
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for ours, here in {
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ": f"listen 127.0.0.1:{https} ",
        f"/etc/letsencrypt/live/{DOMAIN}/fullchain.pem": str(certificate),
        f"/etc/letsencrypt/live/{DOMAIN}/privkey.pem": str(key),
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
    }.items():
        assert ours in site
        site = site.replace(ours, here)
    site = re.sub(r"listen \[::\]:.*\n", "", site)
    temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    paths = "".join(f"{name}_temp_path {folder}/{name};" for name in temporary)
    user = "user root;" if os.getuid() == 0 else ""  # or its workers could not read the folder
    whole = f"daemon off;pid {folder}/pid;error_log stderr;{user}events{{}}http{{{paths}\n{site}}}"
    (folder / "nginx.conf").write_text(whole)
    with running([found("nginx"), "-e", "stderr", "-c", str(folder / "nginx.conf")], folder):
        proxy = Proxy(http, https, certificate)
        until(proxy.answers)
        yield proxy


PROXIES = {"caddy": caddy, "nginx": nginx}


@pytest.fixture(scope="module", params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a proxy that this machine has."""
    for program in (request.param, "openssl"):
        if not found(program):
            pytest.skip(f"{program} is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def zing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service as it stands behind a proxy."""
    told = {"ZING_PUBLIC_URL": f"https://{DOMAIN}", "ZING_TRUSTED_PROXIES": "127.0.0.1"}
    with serving(tmp_path_factory.mktemp("zing") / "data", **told) as server:
        yield server


@pytest.fixture(scope="module")
def front(kind: str, zing: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy before the service."""
    with PROXIES[kind](tmp_path_factory.mktemp(kind), int(zing.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def mirror(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy before what tells us what reached it."""
    with standing() as port, PROXIES[kind](tmp_path_factory.mktemp(kind), port) as proxy:
        yield proxy


@contextmanager
def standing(port: int = 0) -> Iterator[int]:
    """The stand-in for zing; yields its port."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Upstream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_through_https_a_picture_is_asked_for_looked_at_and_loaded(
    front: Proxy, zing: Server
) -> None:
    with front.client(Authorization=f"Bearer {zing.key}") as client:
        made = client.post("/v1/images/generations", json=EVOLINK, extensions=front.named)
        assert made.status_code == 200, made.text
        (link,) = ended(zing, made.json()["id"])["results"]
        assert link.startswith(f"https://{DOMAIN}/")
    picture = front.get(link.removeprefix(f"https://{DOMAIN}"))
    assert picture.status_code == 200
    assert picture.headers["Content-Type"] == "image/webp"
    assert picture.content[:4] == b"RIFF"
    for reply in (picture, front.get("/nothing"), front.get("/metrics")):
        assert reply.headers.get_list("Strict-Transport-Security") == ["max-age=31536000"]


def test_http_leads_to_https(front: Proxy) -> None:
    answer = httpx2.get(f"http://127.0.0.1:{front.http}/docs?a=b", headers={"Host": DOMAIN})
    assert answer.status_code == 308
    assert re.fullmatch(rf"https://{DOMAIN}(:\d+)?/docs\?a=b", answer.headers["Location"])


def test_a_body_that_is_too_large_is_refused_in_an_apis_words_and_a_far_larger_one_too(
    front: Proxy, zing: Server
) -> None:
    def sent(size: int) -> tuple[int, bool]:
        """The status, and whether its body is an API's: of the body itself Caddy loses some."""
        to, fields = "/v1/images/generations", EVOLINK | {"prompt": "x" * size}
        with (
            front.client(Authorization=f"Bearer {zing.key}") as client,
            client.stream("POST", to, json=fields, extensions=front.named) as answer,
        ):
            return answer.status_code, answer.headers.get("Content-Type") == "application/json"

    assert sent(70_000) == (413, True)
    assert sent(1_000_000)[0] in (413, 502)  # mostly 502 behind Caddy
    assert front.get("/healthz").json() == {"ok": True}


@pytest.mark.parametrize(
    "target",
    "/metrics /metrics/ /metrics?a=1 /%6detrics /./metrics //metrics /a/../metrics".split(),
)
def test_metrics_stay_inside(mirror: Proxy, target: str) -> None:
    assert mirror.get("/v1/credits").status_code == 200
    assert mirror.get(target).status_code == 404


def test_what_a_caller_says_of_its_address_does_not_count(mirror: Proxy) -> None:
    lies = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "ftp"}
    told = mirror.get("/v1/tasks?page=2", **lies).json()
    assert told["path"] == "/v1/tasks?page=2"
    assert told["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert told["headers"]["X-Forwarded-Proto"] == "https"
    assert told["headers"]["Host"] == DOMAIN


def test_events_are_passed_on_as_they_come(mirror: Proxy) -> None:
    Upstream.go_on.clear()
    with (
        mirror.client() as client,
        client.stream("GET", "/v1/tasks/task-1/events", extensions=mirror.named) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "data: 1"
        Upstream.go_on.set()  # the second is sent only now that the first is here
        assert [line for line in lines if line] == ["data: 2"]


@pytest.mark.skipif(not found("caddy"), reason="caddy is not installed")
def test_callers_wait_behind_caddy_while_zing_starts_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    answers: list[int] = []
    with caddy(tmp_path, port) as proxy:
        asking = threading.Thread(target=lambda: answers.append(proxy.get("/").status_code))
        asking.start()
        asking.join(0.5)
        assert not answers
        with standing(port):
            asking.join(20)
    assert answers == [200]


def unit(folder: Path) -> Path:
    """Our unit with a program that is here, and its drop-in for GPUs."""
    program = Path(sys.executable).parent / "zing"
    text = (DEPLOY / "zing.service").read_text(encoding="utf-8")
    path = folder / "zing.service"
    path.write_text(text.replace("/opt/zing/.venv/bin/zing", str(program)))
    (folder / "zing.service.d").mkdir()
    shutil.copy(DEPLOY / "gpu.conf", folder / "zing.service.d")
    return path


def seconds(name: str, text: str) -> int:
    line = re.search(rf"^ *{name}[=:] *(\d+)", text, flags=re.MULTILINE)
    assert line
    return int(line[1])


@pytest.mark.skipif(not found("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_is_one_that_systemd_understands_and_finds_confined(tmp_path: Path) -> None:
    def analyze(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", *arguments],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    checked = analyze("verify", str(unit(tmp_path)), SYSTEMD_UNIT_PATH=f"{tmp_path}:")
    assert "zing" not in checked.stderr
    assert checked.returncode == 0, checked.stderr
    most = f"--threshold={round(10 * EXPOSURE_MAX)}"
    rated = analyze("security", "--offline=true", most, str(DEPLOY / "zing.service"))
    assert rated.returncode == 0, rated.stdout


@pytest.mark.parametrize(
    ("file", "name"), [("zing.service", "TimeoutStopSec"), ("compose.yaml", "stop_grace_period")]
)
def test_stopping_takes_longer_than_draining(file: str, name: str) -> None:
    allowed_s = seconds(name, (DEPLOY / file).read_text(encoding="utf-8"))
    assert allowed_s > float(DRAIN.default) + STOP_S + HANG_UP_S


def confines() -> bool:
    """Whether bubblewrap is there and may do its work, which not every container lets it."""
    if not found("bwrap"):
        return False
    tried = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--tmpfs", "/tmp"]
    tried += ["--unshare-user", "--uid", "10001", "--cap-drop", "ALL", "true"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not confines(), reason="bubblewrap is not installed, or may not confine here")
def test_nothing_is_written_but_the_data_folder_and_tmp(tmp_path: Path) -> None:
    """The image's constraints: all else read-only, no capabilities, another user, HOME in /tmp."""
    data = tmp_path / "data"
    data.mkdir()
    confined = ["bwrap", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev"]
    confined += ["--proc", "/proc", "--tmpfs", "/tmp", "--bind", str(data), str(data)]
    confined += ["--ro-bind", str(ROOT), str(ROOT)]  # which may be a checkout in /tmp
    confined += ["--unshare-user", "--uid", "10001", "--gid", "10001", "--cap-drop", "ALL"]
    with serving(data, inside=confined, HOME="/tmp") as server:
        (worker,) = until(lambda: children(server.children()[0]))
        refused = subprocess.run(
            [*confined, "touch", str(ROOT / "deploy" / "zing"), "/etc/zing"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.stderr.count("Read-only file system") == 2
        (link,) = ended(server, submit(server))["results"]
        assert server.http.get(link).status_code == 200
        assert alive(worker)
        assert "Read-only" not in server.log.read_text()


def compose(*names: str) -> dict[str, dict[str, Any]]:
    """The services of compose files, by name."""
    services: dict[str, dict[str, Any]] = {}
    for name in names:
        text = (DEPLOY / f"{name}.yaml").read_text(encoding="utf-8")
        for service, facts in yaml.safe_load(text)["services"].items():
            services[service] = services.get(service, {}) | facts
    return services


def test_every_container_is_confined_and_only_the_proxy_has_ports() -> None:
    services = compose("compose.postgresql", "compose")
    assert set(services) == {"zing", "caddy", "postgresql"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert [name for name, facts in services.items() if "ports" in facts] == ["caddy"]
    assert services["postgresql"]["network_mode"] == "none"


def test_the_address_that_zing_believes_in_compose_is_caddys() -> None:
    services = compose("compose")
    address = services["caddy"]["networks"]["inside"]["ipv4_address"]
    assert services["zing"]["environment"]["ZING_TRUSTED_PROXIES"] == address


def test_images_are_named_with_their_versions() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DEPLOY.glob("compose*.yaml"))
    text += (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("ARG PYTHON=", "image: p:")
    images = [image for image in re.findall(r"image: (\S+)", text) if image != "zing"]
    assert len(images) == 3
    assert all(re.fullmatch(r"\w+:\d+\.\d+(\.\d+)?-\w[\w-]*", image) for image in images), images


def test_all_that_the_image_is_made_of_reaches_its_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if re.match(r"COPY (?!--from)", line)]
    for name in chain.from_iterable(copied):
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_the_health_check_knows_whether_zing_answers(server: Server) -> None:
    def check(port: int | str) -> int:
        command = [sys.executable, str(DEPLOY / "health.py")]
        environment = os.environ | {"ZING_PORT": str(port)}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    assert check(server.url.rpartition(":")[2]) == 0
    assert check(free_ports(1)[0]) == 1


def test_commands_on_the_page_about_operating_are_a_shells_and_name_files_that_exist() -> None:
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    for block in blocks:
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)
    named = set(re.findall(r"(?<!/)\bdeploy/[\w.]+\w", page)) - {"deploy/.env"}
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).exists()]
