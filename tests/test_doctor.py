"""`zing doctor` finds each fault, made here for real, says what to do, and changes nothing."""

import datetime
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests import checkpoints
from tests.audit import MODEL, NOW, funded, submission
from tests.servers import Server
from zing import disk, doctor, listeners, queue
from zing.data import Data, write_once
from zing.doctor import Check, Subject, examine
from zing.store import Store, inspection

NAMES = [
    "python",
    "torch",
    "device",
    "memory",
    "checkpoint",
    "data",
    "disk",
    "database",
    "clock",
    "port",
    "tls",
    "links",
]
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    """A service on this machine alone, with a data folder that was used."""
    data = Data(tmp_path / "da ta#1%20?")
    data.make()
    data.secret()
    write_once(data.first_key, "key\n")
    Store.of("", data).close()
    return Subject(
        data=data.root,
        database="",
        host="127.0.0.1",
        port=0,
        model="builtin",
        device="cpu",
        threads=1,
        tls_cert="",
        tls_key="",
        public_url="",
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What loads torch is looked at by the tests of it alone."""
    if "thorough" not in request.fixturenames:
        monkeypatch.setattr(doctor, "_device", lambda *_: Check("device", True, "cpu"))
        monkeypatch.setattr(doctor, "_checkpoint", lambda *_: Check("checkpoint", True, "it"))


@pytest.fixture
def thorough() -> None:
    """Asked for by the tests that look at the device and the checkpoint too."""


def found(subject: Subject, name: str) -> Check:
    """One finding; where it is not ok, it has a sentence that says what to do."""
    (check,) = [each for each in examine(subject) if each.name == name]
    assert check.ok or check.advice
    return check


def fault(subject: Subject, name: str) -> str:
    """What is said of a fault; nothing else is found wrong by it."""
    check = found(subject, name)
    assert not check.ok, check
    return f"{check.value}: {check.advice}"


def contents(folder: Path) -> dict[str, Any]:
    """All that a look could change."""
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.usefixtures("thorough")
def test_it_finds_nothing_wrong_here_and_changes_nothing(subject: Subject) -> None:
    before = contents(subject.data)
    checks = examine(subject)
    assert [check.name for check in checks] == NAMES
    # How much memory and room are free is not for a test to say.
    wrong = [each for each in checks if not each.ok and each.name not in ("memory", "disk")]
    assert wrong == []
    assert contents(subject.data) == before


def test_a_folder_that_is_not_there_is_made_by_the_start_and_not_by_a_look(
    subject: Subject, tmp_path: Path
) -> None:
    nowhere = replace(subject, data=tmp_path / "none" / "deep")
    for name in ("data", "disk", "database", "clock"):
        check = found(nowhere, name)
        assert check.ok or name == "disk"
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("thorough")
def test_a_device_and_a_model_that_are_not_there(subject: Subject) -> None:
    asked = replace(subject, device="cuda:9", model="nothing")
    assert "--device" in fault(asked, "device")
    assert "zing models list" in fault(asked, "checkpoint")


@pytest.mark.usefixtures("thorough")
def test_a_checkpoint_that_cannot_load(subject: Subject, tmp_path: Path, small: Path) -> None:
    copy = checkpoints.copy(small, tmp_path / "copy")
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    said = fault(replace(subject, model=str(copy)), "checkpoint")
    assert "diffusion_pytorch_model.safetensors" in said


# The data folder and its disk


def test_a_file_where_the_folder_should_be(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    asked = replace(subject, data=tmp_path / "file" / "data")
    assert "--data" in fault(asked, "data")
    assert "--data" in fault(asked, "disk")


@pytest.mark.parametrize("name", ["", "secret", "first-key", "zing.db", "pictures"])
def test_what_others_may_open(subject: Subject, name: str) -> None:
    path = subject.data / name
    if name == "pictures":
        path.mkdir()
    path.chmod(0o755)
    said = fault(subject, "data")
    assert f"others may open {path}" in said
    assert f"chmod {700 if path.is_dir() else 600}" in said
    path.chmod(0o700 if path.is_dir() else 0o600)
    assert found(subject, "data").ok


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user(subject: Subject) -> None:
    os.chown(subject.data / "secret", 12345, -1)
    said = fault(subject, "data")
    assert "user 12345" in said
    assert "chown" in said


def test_a_secret_that_is_damaged(subject: Subject) -> None:
    (subject.data / "secret").write_text("not what it was")
    assert "damaged" in fault(subject, "data")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, without room."""
    folder = tmp_path / "full"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(subject: Subject, full: Path) -> None:
    said = fault(replace(subject, data=full), "disk")
    assert "0.0 GiB free" in said
    filled = subprocess.run(
        ["dd", "if=/dev/zero", f"of={full / 'ballast'}", "bs=4096"],
        capture_output=True,
        check=False,
    )
    assert b"No space" in filled.stderr
    assert "No space" in fault(replace(subject, data=full), "disk")
    assert [path.name for path in full.iterdir()] == ["ballast"]


def test_a_disk_that_may_only_be_read(subject: Subject, full: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(full)], check=True)
    asked = replace(subject, data=full)
    assert "cannot be written" in fault(asked, "disk")
    assert "cannot be written" in fault(asked, "data")
    assert disk.room(full).trouble == "cannot be written"


# The database and the clock


def test_a_database_that_is_damaged(subject: Subject) -> None:
    file = Data(subject.data).database
    data = bytearray(file.read_bytes())
    data[4096:20_000] = os.urandom(20_000 - 4096)
    file.write_bytes(data)
    assert "backup" in fault(subject, "database")
    file.write_bytes(b"this is no database" * 100)
    assert "not a database" in fault(subject, "database")
    assert file.read_bytes() == b"this is no database" * 100


def test_a_database_of_a_newer_zing(subject: Subject) -> None:
    with sqlite3.connect(Data(subject.data).database) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    assert "newer zing" in fault(subject, "database")


def test_a_database_of_an_older_zing_is_upgraded_by_the_start_and_not_by_a_look(
    subject: Subject,
) -> None:
    with sqlite3.connect(Data(subject.data).database) as connection:
        connection.execute("update alembic_version set version_num = '0001'")
    check = found(subject, "database")
    assert check.ok
    assert "the next start upgrades it" in check.value
    with sqlite3.connect(Data(subject.data).database) as connection:
        assert connection.execute("select * from alembic_version").fetchall() == [("0001",)]


def test_a_database_that_is_in_use_or_was_left_by_a_crash_is_looked_at_as_it_is(
    subject: Subject, tmp_path: Path
) -> None:
    store = Store.of("", Data(subject.data))
    store.write(lambda tx: tx.execute(text("update installation set id = 'another'")))
    before = contents(subject.data)
    assert found(subject, "database").ok
    assert contents(subject.data).keys() == before.keys()
    left = tmp_path / "left"
    left.mkdir(0o700)
    for name in ("zing.db", "zing.db-wal"):
        shutil.copy(subject.data / name, left / name)
        (left / name).chmod(0o600)
    crashed = replace(subject, data=left)
    assert found(crashed, "database").ok
    assert {path.name for path in left.iterdir()} <= {"zing.db", "zing.db-wal", "zing.db-shm"}
    store.close()


@pytest.mark.parametrize("url", ["mysql://secret@host/db", "nonsense", "sqlite://"])
def test_a_database_of_no_known_kind(subject: Subject, url: str) -> None:
    said = fault(replace(subject, database=url), "database")
    assert "postgresql://" in said
    assert "secret" not in said


def test_a_postgresql_that_is_not_there(subject: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://zing:secret@127.0.0.1:{port}/zing"
    said = fault(replace(subject, database=url), "database")
    assert "refused" in said
    assert "secret" not in said


def test_a_database_is_described_as_it_is(subject: Subject, database_url: str) -> None:
    asked = replace(subject, database=database_url)
    assert "the first start makes its tables" in found(asked, "database").value
    Store(database_url).close()
    assert f"version {inspection.newest()}" in found(asked, "database").value


def test_a_clock_that_went_back_behind_the_database(subject: Subject, database_url: str) -> None:
    store = Store(database_url)
    account_id = funded(store)
    later = time.time() + 3600

    def accept(tx: Connection) -> None:
        queue.accept(tx, [submission(account_id)], later)

    asked = replace(subject, database=database_url)
    assert found(asked, "clock").ok
    store.write(accept)
    said = fault(asked, "clock")
    assert "before the last thing in the database" in said
    store.close()


def test_a_lease_that_no_right_clock_gave(subject: Subject, database_url: str) -> None:
    store = Store(database_url)
    soon, late = time.time(), time.time() + 7200
    store.write(lambda tx: queue.register(tx, "w1", "host", soon, 6.0))
    asked = replace(subject, database=database_url)
    assert found(asked, "clock").ok
    store.write(lambda tx: queue.beat(tx, "w1", "ready", {"model": MODEL}, late))
    assert "before the last thing" in fault(asked, "clock")
    store.close()


def test_a_clock_before_zing_was_installed(subject: Subject) -> None:
    (check,) = [each for each in examine(subject, lambda: NOW - 10**9) if each.name == "clock"]
    assert (check.ok, "before this zing was installed" in check.value) == (False, True)


# The address


def test_a_port_that_another_program_holds(subject: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = fault(replace(subject, port=port), "port")
        assert f"process {os.getpid()}" in said
        listener = listeners.on(port)
        assert listener is not None
        assert not listener.is_zing
    assert found(replace(subject, port=port), "port").ok
    assert listeners.on(port) is None


def test_a_port_that_a_zing_holds_is_as_it_should_be(subject: Subject, server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    check = found(replace(subject, port=port), "port")
    assert check.ok
    assert f"process {server.process.pid}" in check.value


def test_an_address_that_is_not_of_this_machine(subject: Subject) -> None:
    assert "--host" in fault(replace(subject, host="192.0.2.1"), "port")


def test_a_public_address_without_https(subject: Subject) -> None:
    asked = replace(subject, host="0.0.0.0")
    assert "--tls-cert" in fault(asked, "tls")
    assert "ZING_PUBLIC_URL" in fault(asked, "links")
    behind = replace(asked, public_url="https://pictures.example.com")
    assert found(behind, "tls").ok
    assert found(behind, "links").ok


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://localhost:8000"),
        ("::", "https://127.0.0.1"),
        ("0.0.0.0", "http://pictures.example.com"),
        ("127.0.0.1", "http://pictures.example.com"),
        ("127.0.0.1", "pictures.example.com"),
        ("127.0.0.1", "https://"),
        ("127.0.0.1", "http://user:secret@pictures.example.com/"),
    ],
)
def test_links_that_others_cannot_use(subject: Subject, host: str, url: str) -> None:
    said = fault(replace(subject, host=host, public_url=url), "links")
    assert "ZING_PUBLIC_URL" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", ""),
        ("localhost", ""),
        ("::1", ""),
        ("127.0.0.1", "http://localhost:8000"),
        ("127.0.0.1", "https://pictures.example.com/zing"),
    ],
)
def test_links_that_serve(subject: Subject, host: str, url: str) -> None:
    assert found(replace(subject, host=host, public_url=url), "links").ok
    assert found(replace(subject, host=host, public_url=url), "tls").ok


# Certificates


def certificate(folder: Path, days: int, since: datetime.datetime | None = None) -> dict[str, str]:
    """A certificate of one's own and its key, as the options of a subject."""
    cert, key = folder / f"cert{days}.pem", folder / f"key{days}.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost".split()
    command += ["-days", str(days), "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return {"tls_cert": str(cert), "tls_key": str(key)}


@OPENSSL
def test_a_certificate_and_how_long_it_lasts(subject: Subject, tmp_path: Path) -> None:
    lasting = replace(subject, host="0.0.0.0", **certificate(tmp_path, 90))
    assert found(lasting, "tls").ok
    assert "ends in 90 days" in found(lasting, "tls").value
    ending = replace(subject, **certificate(tmp_path, 13))
    assert "Renew it" in fault(ending, "tls")
    mixed = replace(lasting, tls_key=ending.tls_key)
    assert "belong together" in fault(mixed, "tls")


@OPENSSL
def test_a_certificate_that_has_ended(subject: Subject, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    openssl = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    request = tmp_path / "request.pem"
    subprocess.run(
        [*openssl, "-keyout", str(key), "-out", str(request)], check=True, capture_output=True
    )
    dates = ["-not_before", "20200101000000Z", "-not_after", "20200201000000Z"]
    sign = ["openssl", "x509", "-req", "-in", str(request), "-key", str(key), "-out", str(cert)]
    if subprocess.run([*sign, *dates], capture_output=True, check=False).returncode:
        subprocess.run([*sign, "-days", "-1"], check=True, capture_output=True)
    said = fault(replace(subject, tls_cert=str(cert), tls_key=str(key)), "tls")
    assert "expired" in said


def test_certificate_files_that_are_not_there_or_no_certificate(
    subject: Subject, tmp_path: Path
) -> None:
    assert "both" in fault(replace(subject, tls_cert="one.pem"), "tls")
    gone = str(tmp_path / "gone.pem")
    assert "is not there" in fault(replace(subject, tls_cert=gone, tls_key=gone), "tls")
    odd = tmp_path / "odd.pem"
    odd.write_text("no certificate")
    assert "cannot be used" in fault(replace(subject, tls_cert=str(odd), tls_key=str(odd)), "tls")


# The command


def test_the_command_says_what_it_finds_and_ends_with_1_where_something_is_wrong(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "zing", "doctor", "--data", str(tmp_path / "data")]
    environment = {name: value for name, value in os.environ.items() if "ZING" not in name}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*command, "--port", port, "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], done.stderr) == (1, False, "")
    assert [check["name"] for check in told["checks"]] == NAMES
    assert not next(each for each in told["checks"] if each["name"] == "port")["ok"]
    assert not (tmp_path / "data").exists()
