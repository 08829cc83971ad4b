"""Backups of a database that is written to, and what a person starts from one."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.audit import accepted, audit, funded, submission
from tests.servers import Server, broken, ended, serving, submit
from zing import backup
from zing.data import Data
from zing.errors import BadFile, BadSetting
from zing.store import Store, copies


def nobody(_what: str, _done: int, _all: int) -> None:
    """Nobody watches."""


def zing(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zing", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """A data folder with a database in it."""
    made = Data(tmp_path / "data")
    made.make()
    made.secret()
    return made


def test_a_copy_made_while_others_write_is_of_one_moment(data: Data, tmp_path: Path) -> None:
    store = Store.of("", data)
    account_id = funded(store, 100_000)
    stop, written = threading.Event(), list[int]()

    def write() -> None:
        while not stop.is_set():
            accepted(store, submission(account_id))
            written.append(1)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for each in writers:
        each.start()
    try:
        while len(written) < 300:
            time.sleep(0.01)
        copies.PAGES_AT_ONCE, usual = 1, copies.PAGES_AT_ONCE
        before = len(written)
        told: list[tuple[int, int]] = []
        copies.copy(data.database, tmp_path / "copy.db", lambda *pages: told.append(pages))
        meanwhile = len(written) - before
    finally:
        copies.PAGES_AT_ONCE = usual
        stop.set()
        for each in writers:
            each.join(10)
        store.close()
    assert meanwhile > 0, "nobody wrote while it was copied"
    done = [part for part, _ in told]
    assert done == sorted(done), "the copy began anew"
    assert told[-1][0] == told[-1][1] > 10
    copied = Store(f"sqlite:///{tmp_path / 'copy.db'}")
    assert copied.read(audit) == []
    tasks = copied.read(lambda tx: tx.exec_driver_sql("SELECT count(*) FROM task").scalar())
    assert before <= (tasks or 0) <= before + meanwhile + 3
    copied.close()


def test_a_backup_is_its_owners_alone_and_overwrites_nothing(data: Data, tmp_path: Path) -> None:
    Store.of("", data).close()
    target = tmp_path / "b[1] 备份.db"
    made = backup.make_file(data.database, target, nobody)
    assert (made.path, made.bytes) == (target, target.stat().st_size)
    assert mode(target) == 0o600
    for again in (backup.make_file, lambda f, t, n: backup.make_folder(f, data, t, n)):
        with pytest.raises(BadFile, match="is there already"):
            again(data.database, target, nobody)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="is there already"):
        backup.make_file(data.database, tmp_path / "link", nobody)
    with pytest.raises(BadFile, match="cannot be made: No such file"):
        backup.make_file(data.database, tmp_path / "no" / "folder.db", nobody)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, "data", "link"])


@pytest.mark.parametrize("whole", [False, True])
def test_a_backup_that_fails_leaves_nothing(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    Store.of("", data).close()

    def damaged(path: Path) -> None:
        raise sqlite3.DatabaseError("the copy is damaged")

    monkeypatch.setattr(copies, "check", damaged)
    target = tmp_path / "copy"
    make = (
        partial(backup.make_folder, data.database, data)
        if whole
        else partial(backup.make_file, data.database)
    )
    with pytest.raises(BadFile, match="cannot be made: the copy is damaged"):
        make(target, nobody)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_database_is_not_called_a_backup(data: Data, tmp_path: Path) -> None:
    store = Store.of("", data)
    funded(store)
    store.close()
    size = data.database.stat().st_size
    with data.database.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 4096)
    with pytest.raises(BadFile, match="cannot be made"):
        backup.make_file(data.database, tmp_path / "copy.db", nobody)
    assert not (tmp_path / "copy.db").exists()


def test_postgresql_is_told_how_without_the_password(data: Data) -> None:
    url = "postgresql://zing:s3cret@db.example:5433/pictures?sslmode=require&password=s3cret"
    with pytest.raises(BadSetting) as refusal:
        backup.source(url, data, Path("my backup.dump"))
    said = str(refusal.value)
    assert "s3cret" not in said
    assert (
        "pg_dump --format=custom '--file=my backup.dump' "
        "'--dbname=postgresql://zing@db.example:5433/pictures?sslmode=require'" in said
    )


def test_a_folder_without_a_database_is_not_filled_with_one(tmp_path: Path) -> None:
    done = zing("db", "backup", str(tmp_path / "copy.db"), "--data", str(tmp_path / "typo"))
    assert done.returncode == 2
    assert "There is no database" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that has drawn something and has something to draw."""
    with serving(tmp_path_factory.mktemp("busy") / "data") as running:
        yield running


def test_a_whole_backup_under_load_starts_and_has_everything(busy: Server, tmp_path: Path) -> None:
    drawn = submit(busy)
    link = ended(busy, drawn)["results"][0]
    waiting = [submit(busy, size="1024x1024") for _ in range(3)]
    target = tmp_path / "copy"
    made = busy.zing("db", "backup", str(target), "--whole")
    assert (made["path"], made["pictures"] >= 1) == (str(target), True)
    assert mode(target) == 0o700
    assert {mode(target / name) for name in ("zing.db", "secret", "first-key")} == {0o600}
    assert not list(tmp_path.glob(".copy*"))
    with serving(target) as restored:
        assert restored.key == busy.key
        assert restored.http.get(path_of(link)).status_code == 200
        for each in waiting:
            assert ended(restored, each)["status"] == "completed"
        assert broken(target) == []


@pytest.mark.long
def test_the_database_alone_and_the_secret_start_too_and_pictures_are_gone(
    busy: Server, tmp_path: Path
) -> None:
    drawn = submit(busy)
    link = ended(busy, drawn)["results"][0]
    copy = tmp_path / "copy.db"
    done = zing("db", "backup", str(copy), "--data", str(busy.data))
    assert done.returncode == 0, done.stderr
    assert str(busy.data / "secret") in done.stdout
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    shutil.copy(copy, data / "zing.db")
    for name in ("secret", "first-key"):
        shutil.copy(busy.data / name, data / name)
    with serving(data) as restored:
        assert restored.http.get(f"/v1/tasks/{drawn}").json()["status"] == "completed"
        assert restored.http.get(path_of(link)).status_code == 410
        assert ended(restored, submit(restored))["status"] == "completed"
        assert broken(data) == []


def path_of(link: str) -> str:
    """A link's path, for the same on another server."""
    return "/f/" + link.rpartition("/")[2]
