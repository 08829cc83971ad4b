"""The data folder: for its owner alone, its secret made once and whole."""

import os
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
