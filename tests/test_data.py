"""The data folder: for its owner alone, its secret made once and whole."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zing import data
from zing.data import Data, write_once
from zing.errors import BadSetting


@pytest.fixture
def place(tmp_path: Path) -> Data:
    """A data folder that is there."""
    made = Data(tmp_path / "deep" / "data")
    made.make()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_folder_and_what_is_in_it_is_for_its_owner_alone(place: Data) -> None:
    place.secret()
    write_once(place.first_key, "key")
    assert mode(place.root) == 0o700
    assert mode(place.first_key) == mode(place.root / "secret") == 0o600


def test_making_it_again_changes_nothing(place: Data) -> None:
    secret = place.secret()
    place.make()
    assert place.secret() == secret


@pytest.mark.parametrize("found", [0o755, 0o777, 0o750, 0o707, 0o1777, 0o2775])
@pytest.mark.parametrize("names", [[], ["secret"], ["models"], ["zing.db", "zing.db-wal"]])
def test_a_folder_of_its_own_that_others_may_open_is_closed(
    found: int, names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for name in names:
        (root / name).touch(0o644)
    root.chmod(found)
    Data(root).make()
    assert mode(root) == 0o700
    assert str(root) in caplog.text
    caplog.clear()
    Data(root).make()
    assert not caplog.text


def test_what_is_secret_in_it_is_closed_too(place: Data, caplog: pytest.LogCaptureFixture) -> None:
    place.secret()
    write_once(place.first_key, "key")
    place.pictures.mkdir()
    place.database.touch()
    for path, _ in place.private[1:]:
        path.chmod(0o777)
    place.make()
    for path, closed in place.private:
        assert mode(path) & 0o077 == 0
        assert mode(path) & closed == closed
        assert path == place.root or str(path) in caplog.text


@pytest.mark.parametrize("names", [["a.txt"], ["src", "pictures"], [".git"], ["secret", "x.log"]])
def test_a_folder_that_holds_other_things_stays_as_open_as_it_is(
    names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as the one that somebody stands in, or /srv; what is zing's in it is closed."""
    for name in names:
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)
    place = Data(tmp_path)
    for _ in range(2):
        caplog.clear()
        place.make()
        assert mode(tmp_path) == 0o755
        assert "holds other things" in caplog.text
        if "secret" not in names:
            place.secret()
    assert mode(tmp_path / "secret") == 0o600
    tmp_path.chmod(0o700)
    caplog.clear()
    place.make()
    assert not caplog.text


def test_what_a_link_leads_to_stays_as_it_is(place: Data, tmp_path: Path) -> None:
    """The pictures may be on another disk, beside what is somebody else's."""
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "disk").chmod(0o755)
    place.pictures.symlink_to(tmp_path / "disk")
    place.make()
    assert mode(tmp_path / "disk") == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_cannot_be_closed_is_told(tmp_path: Path) -> None:
    """A volume of another user's, writable for this one's group: the start goes on."""
    root = tmp_path / "data"
    root.mkdir()
    os.chown(root, 0, 12345)
    root.chmod(0o775)
    script = """import os
from pathlib import Path
from zing.data import Data
os.setgid(12345)
os.setuid(12345)
Data(Path()).make()"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "others may open ., and it cannot be closed" in done.stderr


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(BadSetting, match=str(tmp_path)):
            Data(root).make()


def test_its_database_is_in_it_wherever_one_stands(
    place: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.root.parent)
    assert Data(Path("data")).database == place.database == place.root / "zing.db"


def test_the_secret_has_256_bits_and_stays(place: Data) -> None:
    first = place.secret()
    assert len(first) == 32
    assert place.secret() == first
    assert Data(place.root).secret() == first


def test_every_folder_has_another_secret(place: Data, tmp_path: Path) -> None:
    other = Data(tmp_path / "other")
    other.make()
    assert other.secret() != place.secret()


def test_threads_that_ask_for_the_secret_at_once_get_the_same(place: Data) -> None:
    ready = threading.Barrier(8)

    def ask(_: int) -> bytes:
        ready.wait(10)
        return place.secret()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert [path.name for path in place.root.iterdir()] == ["secret"]


@pytest.mark.parametrize("damaged", ["", "\n", "00", "zz" * 32, "00" * 31, "00" * 33, "é" * 32])
def test_a_damaged_secret_is_refused_and_left_as_it_is(place: Data, damaged: str) -> None:
    """A shorter one would be a weaker one, an empty one none at all."""
    path = place.root / "secret"
    path.write_text(damaged)
    with pytest.raises(BadSetting, match="damaged"):
        place.secret()
    assert path.read_text() == damaged


def test_a_secret_that_cannot_be_read_is_refused(place: Data) -> None:
    (place.root / "secret").mkdir()
    with pytest.raises(BadSetting, match="secret"):
        place.secret()


def test_a_file_is_written_once_and_never_in_part(place: Data) -> None:
    path = place.root / "file"
    write_once(path, "first")
    write_once(path, "second")
    assert path.read_text() == "first"
    assert [each.name for each in place.root.iterdir()] == ["file"]


def test_a_file_is_replaced_whole(place: Data) -> None:
    path = place.root / "file"
    for written in ("first", "second"):
        data.replace(path, written)
        assert path.read_text() == written
        assert mode(path) == 0o600
    assert [each.name for each in place.root.iterdir()] == ["file"]


def test_what_could_not_be_written_leaves_nothing(
    place: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadSetting, match="No space left"):
        place.secret()
    assert list(place.root.iterdir()) == []
