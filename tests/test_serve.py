"""The service as processes: it starts, draws, drains, heals, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.servers import (
    EVOLINK,
    Server,
    alive,
    broken,
    children,
    ended,
    look,
    serving,
    submit,
    until,
)


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_the_service_process_has_no_torch_and_the_worker_has(server: Server) -> None:
    assert "libtorch" not in maps(server.process.pid)
    assert "libtorch" in maps(server.worker())


def test_the_api_answers_before_the_engine_is_ready_and_says_what_it_waits_for(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url, seen = f"http://127.0.0.1:{port}", dict[str, str]()
    command = [sys.executable, "-m", "zing", "serve", "--port", str(port), "--json"]
    settings = {"ZING_DATA": str(tmp_path / "data"), "ZING_THREADS": "1", "ZING_PORT": str(port)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=os.environ | settings, stdout=pipe, stderr=pipe) as process:

        def ready() -> bool:
            assert process.poll() is None
            with suppress(httpx2.HTTPError):
                assert httpx2.get(f"{url}/healthz").status_code == 200
                reply = httpx2.get(f"{url}/readyz")
                facts = reply.json()
                assert facts["ready"] == (reply.status_code == 200) == (facts["stage"] == "ready")
                seen[facts["stage"]] = facts["reason"]
            return "ready" in seen

        try:
            assert until(ready, 120.0)
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert list(seen) in (["starting", "loading", "ready"], ["loading", "ready"])
    assert seen.pop("ready") == ""
    assert all("worker" in reason for reason in seen.values())


def test_children_stay_in_the_process_group(server: Server) -> None:
    group = os.getpgid(server.process.pid)
    assert [os.getpgid(child) for child in server.children()] == [group]


def test_the_data_folder_is_for_its_owner_alone(server: Server) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in server.data.iterdir()}
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert modes["first-key"] == modes["secret"] == 0o600


def test_a_second_start_keeps_the_key_and_what_was_drawn(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as first:
        identity = submit(first)
        ended(first, identity)
        key = first.key
        assert first.end() == 0
    with serving(tmp_path / "data") as second:
        assert second.key == key
        (link,) = look(second, identity)["results"]
        path = link.removeprefix(second.url)
        assert second.http.get(path).status_code == 200
        said = second.log.with_suffix(".out").read_text()
        assert key not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains(tmp_path: Path, number: int) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        running = submit(server, size="1024x1024")
        waiting = [submit(server) for _ in range(6)]
        until(lambda: look(server, running)["status"] != "pending")
        worker = server.worker()
        assert server.end(number) == 0
        assert not alive(worker)
        states = task_states(data)
        assert states[running] == "succeeded"
        assert set(states.values()) == {"succeeded", "queued"}
        assert broken(data) == []
    with serving(data) as again:
        assert ended(again, waiting[-1])["status"] == "completed"


def task_states(data: Path) -> dict[str, str]:
    with sqlite3.connect(data / "zing.db") as connection:
        return dict(connection.execute("select public_id, state from task").fetchall())


def test_ctrl_c_in_a_terminal_reaches_the_whole_group_and_still_drains(tmp_path: Path) -> None:
    with serving(tmp_path / "data", group=True) as server:
        identity = submit(server, size="1536x1536")
        until(lambda: look(server, identity)["status"] == "processing")
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(60) == 0
        assert task_states(server.data)[identity] == "succeeded"


def test_a_second_signal_gives_back_what_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        identity = submit(server, size="1536x1536")
        until(lambda: look(server, identity)["status"] == "processing")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert task_states(data)[identity] in ("queued", "succeeded")
        assert broken(data) == []


def test_cancelling_a_running_task_ends_it_and_costs_nothing(server: Server) -> None:
    before = server.zing("credits", "show", "first")
    identity = submit(server, size="1536x1536")
    until(lambda: look(server, identity)["status"] == "processing")
    answer = server.http.post(f"/v1/tasks/{identity}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] in ("cancelled", "completed")
    again = server.http.post(f"/v1/tasks/{identity}/cancel")
    assert again.status_code == 409
    if answer.json()["status"] == "cancelled":
        assert server.zing("credits", "show", "first") == before


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve_and_end(tmp_path, "--port", str(port))
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "70000"],
        ["--port", "http"],
        ["--host", "256.1.1.1"],
        ["--model", "nothing-like-this"],
        ["--database", "mysql://secret@host/db"],
        ["--tls-cert", "only-one.pem"],
        ["--threads", "0"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_served_is_refused_in_one_sentence(
    options: list[str], tmp_path: Path
) -> None:
    done = serve_and_end(tmp_path, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("zing: ")
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_checkpoint_that_cannot_be_loaded_ends_the_service(tmp_path: Path, small: Path) -> None:
    folder = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(small), str(folder)], check=True)
    (next((folder / "transformer").glob("*.safetensors"))).write_bytes(b"no weights")
    done = serve_and_end(tmp_path, "--port", "0", "--model", str(folder))
    assert done.returncode == 2
    assert "transformer" in done.stderr


def serve_and_end(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zing", "serve", "--data", str(tmp_path / "data"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_https_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(certificate)], check=True, capture_output=True)
    options = ["--no-worker", "--tls-cert", str(certificate), "--tls-key", str(key)]
    with serving(tmp_path / "data", *options) as server:
        assert server.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=certificate)
        answer = httpx2.get(f"{server.url}/healthz", verify=trusted)
        assert answer.json() == {"ok": True}


def test_keys_made_while_it_runs_work_at_once(server: Server) -> None:
    made = server.zing("keys", "create", "shop", "--credits", "0.03")
    headers = {"Authorization": f"Bearer {made['key']}"}

    def ask() -> httpx2.Response:
        return server.http.post("/v1/images/generations", json=EVOLINK, headers=headers)

    assert ask().status_code == 200
    assert ask().json()["error"]["code"] == "insufficient_quota"
    server.zing("keys", "revoke", made["id"])
    assert ask().status_code == 401


def test_a_link_lives_as_long_as_it_says(tmp_path: Path) -> None:
    with serving(tmp_path / "data", ZING_LINK_TTL="3") as server:
        (link,) = ended(server, submit(server))["results"]
        assert server.http.get(link).status_code == 200
        until(lambda: server.http.get(link).status_code == 410)
        assert look(server, server.zing("tasks", "list")[0]["id"])["status"] == "completed"


def test_the_first_start_tells_the_key_once_and_a_person_what_to_type(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        lines = server.log.with_suffix(".out").read_text().splitlines()
        assert json.loads(lines[0])["key"] == server.key
        assert server.key not in server.log.read_text()
        assert len(children(server.process.pid)) == 1


def test_the_worker_draws_from_the_database_whose_url_no_command_line_shows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    with serving(tmp_path / "data", ZING_DATABASE=url) as server:
        assert ended(server, submit(server))["status"] == "completed"
        assert b"elsewhere" not in Path(f"/proc/{server.worker()}/cmdline").read_bytes()
    assert not (tmp_path / "data" / "zing.db").exists()
