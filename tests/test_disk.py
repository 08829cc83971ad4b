"""A disk that says no: full, read-only, without names. All goes on when it says yes again."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests import requests
from tests.audit import NOW, audit, funded, submission
from tests.audit import accepted as audit_accepted
from tests.requests import JSON, LEAST, NAMES, SUBMIT, check_refusal, compact
from tests.servers import EVOLINK, Server, broken, ended, look, serving, submit, until
from zing import queue
from zing.errors import Unavailable
from zing.store import Store

# A disk and what fills or locks it: the folder, and how to say no and yes again to a service.
NoRoom = Callable[[Server], None]


class Limited:
    """A service that may write nothing, wherever it is: works on every machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, server: Server) -> None:
        self._limit(server, 0)

    def free(self, server: Server) -> None:
        self._limit(server, resource.RLIM_INFINITY)

    def _limit(self, server: Server, most: int) -> None:
        for pid in (server.process.pid, *server.children()):
            with suppress(ProcessLookupError):  # a worker that ended just now
                hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most if most == 0 else hard, hard))


class Small(Limited):
    """A file system in memory with little room."""

    def fill(self, server: Server) -> None:
        handle = os.open(self.folder / "ballast", os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while True:
                os.write(handle, bytes(4096))
        with suppress(OSError):
            os.close(handle)
        assert os.statvfs(self.folder).f_bavail == 0

    def free(self, server: Server) -> None:
        (self.folder / "ballast").unlink()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system of our own in memory; skipped where this process may not mount one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this process may not mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["limited", "small"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Limited]:
    """A disk that can be filled under a running service."""
    if request.param == "limited":
        yield Limited(tmp_path)
        return
    with mounted(tmp_path / "disk", "size=24m"):
        yield Small(tmp_path / "disk")


def ask(server: Server, name: str) -> requests.Reply:
    key = JSON | {"Authorization": f"Bearer {server.key}"}
    return requests.send(server.url, "POST", SUBMIT[name], compact(LEAST[name]), key)


def accepted(server: Server) -> str | None:
    """The id of a new task as soon as one is taken."""
    answer = server.http.post("/v1/images/generations", json=EVOLINK)
    assert answer.status_code in (200, 503), answer.text
    return str(answer.json()["id"]) if answer.status_code == 200 else None


def test_a_full_disk_refuses_shows_loses_nothing_and_heals(disk: Limited) -> None:
    """Also what was being drawn: its picture finds no room, nor does the news of that."""
    data = disk.folder / "data"
    with serving(data, ZING_DISK_FLOOR="0", ZING_LEASE="2") as server:
        drawn = submit(server)
        assert ended(server, drawn)["status"] == "completed"
        running = submit(server, size="1536x1536")
        until(lambda: look(server, running)["status"] == "processing")
        disk.fill(server)
        for name in NAMES:
            check_refusal(name, ask(server, name), "maintenance")
        for _ in range(3):
            assert accepted(server) is None
            assert look(server, drawn)["status"] == "completed"
            assert server.http.get(look(server, drawn)["results"][0]).status_code == 200
        disk.free(server)
        after = until(lambda: accepted(server))
        assert ended(server, after)["status"] == "completed"
        end = ended(server, running)["status"]
        assert end in ("completed", "failed")
        assert server.process.poll() is None
        spent = server.http.get("/v1/credits").json()["data"]["user"]["used_credits"]
        assert round(spent / 0.026) == (3 if end == "completed" else 2)
        assert broken(data) == []


def test_pictures_that_cannot_be_written_cost_nothing_and_the_worker_goes_on(
    tmp_path: Path,
) -> None:
    """The folder of the pictures becomes read-only while one is drawn."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    pictures = data / "pictures"
    with mounted(pictures, "size=24m"), serving(data, ZING_DISK_FLOOR="0") as server:
        worker = server.worker()
        running = submit(server, size="1536x1536")
        until(lambda: look(server, running)["status"] == "processing")
        remount(pictures, "ro")
        assert ended(server, running)["status"] == "failed"
        until(lambda: accepted(server) is None)
        for name in NAMES:
            check_refusal(name, ask(server, name), "maintenance")
        remount(pictures, "rw")
        after = until(lambda: accepted(server))
        assert ended(server, after)["status"] == "completed"
        assert server.worker() == worker
        assert broken(data) == []


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


@pytest.mark.long
def test_a_disk_without_names_fails_pictures_and_heals(tmp_path: Path) -> None:
    """Every picture is a file; where no more can be made the task fails, at no price."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    pictures = data / "pictures"
    with mounted(pictures, "size=24m,nr_inodes=120"), serving(data, ZING_DISK_FLOOR="0") as server:
        first = submit(server)
        assert ended(server, first)["status"] == "completed"
        for number in range(120):
            with suppress(OSError):
                (pictures / f"{number}.txt").touch()
        until(lambda: accepted(server) is None)
        for each in pictures.glob("*.txt"):
            each.unlink()
        after = until(lambda: accepted(server))
        assert ended(server, after)["status"] == "completed"
        assert broken(data) == []


# The database alone, with SQLite's own errors.


@contextmanager
def full(store: Store) -> Iterator[None]:
    """The database may not grow: SQLITE_FULL."""
    with tuned(store, "max_page_count", 1, 2**30):
        yield


@contextmanager
def read_only(store: Store) -> Iterator[None]:
    """The database may not be written: SQLITE_READONLY."""
    with tuned(store, "query_only", 1, 0):
        yield


@contextmanager
def failing(store: Store) -> Iterator[None]:
    """Writing a file fails: SQLITE_IOERR."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def tuned(store: Store, pragma: str, value: int, usual: int) -> Iterator[None]:
    """The one connection that writes, with a pragma."""
    store.write(lambda tx: tx.execute(text(f"PRAGMA {pragma}={value}")))
    try:
        yield
    finally:
        raw = store._writer.raw_connection()
        raw.cursor().execute(f"PRAGMA {pragma}={usual}")
        raw.close()


@pytest.mark.parametrize("trouble", [full, read_only, failing])
def test_a_database_that_cannot_be_written_is_unavailable_can_be_read_and_heals(
    tmp_path: Path, trouble: Any
) -> None:
    store = Store(f"sqlite:///{tmp_path / 'zing.db'}")
    account_id = funded(store)
    asked = submission(account_id)

    def accept_many(tx: Connection) -> None:
        for number in range(50):
            queue.accept(tx, [submission(account_id, f"task-{number}")], NOW)

    with trouble(store):
        for _ in range(2):
            with pytest.raises(Unavailable) as refusal:
                store.write(accept_many)
            assert refusal.value.retry_after_s > 0
        assert store.read(audit) == []
    assert store.read(audit) == []
    assert audit_accepted(store, asked).public_id == asked.public_id
    assert store.read(audit) == []
    store.close()
