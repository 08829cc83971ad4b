"""What dies is replaced, and nothing that was accepted is lost or charged twice."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers import Server, alive, broken, ended, look, serving, submit, until


def test_a_killed_worker_is_replaced_and_its_task_runs_again_for_one_price(tmp_path: Path) -> None:
    with serving(tmp_path / "data", ZING_LEASE="2") as server:
        identity = submit(server, size="1536x1536")
        until(lambda: look(server, identity)["status"] == "processing")
        killed = server.worker()
        os.kill(killed, signal.SIGKILL)
        assert ended(server, identity)["status"] == "completed"
        assert server.worker() != killed
        facts = server.zing("tasks", "show", identity)
        assert facts["attempt"] == 2
        kinds = [entry["kind"] for entry in server.zing("credits", "ledger", "first")]
        assert kinds == ["grant", "hold", "settle"]
        assert broken(server.data) == []


def test_a_task_whose_worker_dies_alone_runs_again_after_the_lease(tmp_path: Path) -> None:
    """A worker of nobody's: only its lease tells that it is dead."""
    data = tmp_path / "data"
    with serving(data, "--no-worker", ZING_LEASE="2") as server:
        identity = submit(server, size="1536x1536")
        assert look(server, identity)["status"] == "pending"
        first = work(data)
        until(lambda: look(server, identity)["status"] == "processing")
        first.kill()
        first.wait()
        second = work(data)
        assert ended(server, identity)["status"] == "completed"
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
        assert server.zing("tasks", "show", identity)["attempt"] == 2
        assert broken(data) == []


def work(data: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "zing", "work", "--data", str(data)]
    environment = os.environ | {"ZING_THREADS": "1", "ZING_LEASE": "2"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_no_child_outlives_a_killed_service(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        worker = server.worker()
        server.process.kill()
        until(lambda: not alive(worker))


def test_a_service_killed_whole_under_load_starts_again_and_draws_what_it_had(
    tmp_path: Path,
) -> None:
    """As by the power: all at once, with what was being written left as it was."""
    data = tmp_path / "data"
    with serving(data, group=True, ZING_LEASE="2") as server:
        key = server.key
        waiting = [submit(server, size="1024x1024") for _ in range(6)]
        until(lambda: look(server, waiting[1])["status"] != "pending")
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
    assert (data / "zing.db-wal").stat().st_size > 0
    cut = next((data / "pictures").iterdir()) / "half.png#1"
    for left in (cut, data / ".secret-0123", data / ".first-key-0123", data / ".copy-0123"):
        left.write_bytes(b"ha")
    os.utime(cut, (0, 0))
    with serving(data, ZING_LEASE="2") as again:
        assert again.key == key
        assert {ended(again, each)["status"] for each in waiting} == {"completed"}
        until(lambda: not cut.exists())
        attempts = [again.zing("tasks", "show", each)["attempt"] for each in waiting[:3]]
        assert max(attempts) <= 2
        assert broken(data) == []


def test_a_hundred_requests_survive_five_dead_workers(tmp_path: Path) -> None:
    """Every service's requests together, cancels among them, the worker killed five times."""
    with serving(tmp_path / "data", ZING_LEASE="2") as server:
        with ThreadPoolExecutor(8) as pool:
            identities = list(pool.map(lambda n: mixed(server, n), range(100)))
            for _ in range(5):
                os.kill(server.worker(), signal.SIGKILL)
                time.sleep(1.5)
            ends = list(pool.map(lambda each: ended(server, each, 300)["status"], identities))
        assert len(set(identities)) == 100
        assert set(ends) <= {"completed", "cancelled"}
        completed = ends.count("completed")
        assert completed >= 90
        balance = server.zing("credits", "show", "first")
        assert balance["held"] == 0
        assert round(balance["used"] / 0.026) == completed
        assert broken(server.data) == []


def mixed(server: Server, number: int) -> str:
    """The id of a task submitted by one service's API or another's; every 20th is cancelled."""
    prompt = f"a blue star {number}"
    http, ask = server.http, number % 4
    if ask == 0:
        identity = submit(server, prompt=prompt)
    elif ask == 1:
        body = {"model": "z-image", "input": {"prompt": prompt, "aspect_ratio": "1:1"}}
        identity = http.post("/api/v1/jobs/createTask", json=body).json()["data"]["taskId"]
    elif ask == 2:
        form = {"prompt": (None, prompt), "resolution": (None, "400x400")}
        identity = http.post("/v1/images/zimage", files=form).json()["data"]["taskid"]
    else:
        body = {"prompt": prompt, "aspect_ratio": "1:1", "size": "400*400"}
        identity = http.post("/api/generate", json=body).json()["data"]["task_id"]
    if number % 20 == 0:
        http.post(f"/v1/tasks/{identity}/cancel")
    return str(identity)
