"""Room for pictures: a quota, a floor of the disk, and what waiting tasks were promised."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import requests
from tests.audit import NOW, Clock, accepted, funded, kept_file, submission
from tests.requests import JSON, LEAST, NAMES, SUBMIT, check_refusal, compact
from tests.servers import EVOLINK, Server, broken, ended, serving, submit, until
from zing import config, queue
from zing.blobs import Blobs
from zing.config import BLOBS_QUOTA, DISK_FLOOR
from zing.disk import FILES_FLOOR
from zing.errors import BadSetting, Unavailable
from zing.housekeeper import SWEEP_EVERY_S, Housekeeper
from zing.room import LOOK_EVERY_S, PICTURE_BYTES, RETRY_S, Bounds, Room
from zing.store import Store, files

GIB = 2**30


class Disk:
    """A disk that says what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.names, self.flags = 100 * GIB, 10**6, 0
        self.looks = 0
        monkeypatch.setattr(os, "statvfs", self.statvfs)

    def statvfs(self, folder: Path) -> os.statvfs_result:
        if not folder.exists():
            raise FileNotFoundError(folder)
        self.looks += 1
        blocks = self.free // 4096
        return os.statvfs_result(
            (
                4096,
                4096,
                blocks,
                blocks,
                blocks,
                self.names,
                self.names,
                self.names,
                self.flags,
                255,
            )
        )


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk with much room."""
    return Disk(monkeypatch)


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


def keep(store: Store, size: int, expires_at: float = NOW + 86_400) -> None:
    """The row of a picture of this size."""
    task_id = queue.task_id(NOW)
    kept = replace(kept_file(task_id, expires_at), bytes=size)
    store.write(lambda tx: files.add(tx, [(task_id, kept)]))


def count(made: Room, most: int = 50) -> int:
    """How many tasks there is room for, as asking tells."""
    for number in range(most):
        try:
            made.check()
        except Unavailable:
            return number
    return most


def test_tasks_are_taken_as_far_as_their_pictures_fit_in_the_quota(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    keep(store, 3 * PICTURE_BYTES)
    made = Room(store, [tmp_path], Bounds(10 * PICTURE_BYTES, 0), clock)
    assert count(made) == 7
    clock.now += LOOK_EVERY_S
    keep(store, 5 * PICTURE_BYTES)
    assert count(made) == 2
    clock.now += LOOK_EVERY_S
    assert not made.tight(), "what was asked for and not accepted takes nothing"
    clock.now += LOOK_EVERY_S
    keep(store, 3 * PICTURE_BYTES)
    with pytest.raises(Unavailable, match="no room for more pictures in their quota") as refusal:
        made.check()
    assert refusal.value.retry_after_s == RETRY_S
    assert made.tight()
    assert "quota" in made.why


def test_waiting_tasks_keep_the_room_that_they_were_promised(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    account_id = funded(store)
    for _ in range(4):
        accepted(store, submission(account_id))
    assert count(Room(store, [tmp_path], Bounds(10 * PICTURE_BYTES, 0), clock)) == 6
    disk.free = 256 * 2**20 + 5 * PICTURE_BYTES
    assert count(Room(store, [tmp_path], Bounds(None, 256 * 2**20), clock)) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        {"free": GIB + PICTURE_BYTES - 1},
        {"free": 0},
        {"names": FILES_FLOOR - 1},
        {"flags": os.ST_RDONLY},
    ],
    ids=str,
)
def test_a_disk_that_takes_no_more_is_seen_and_seen_again(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock, trouble: dict[str, int]
) -> None:
    made = Room(store, [tmp_path], Bounds(None, GIB), clock)
    made.check()
    well = dict(vars(disk))
    vars(disk).update(trouble)
    made.check()
    clock.now += LOOK_EVERY_S
    with pytest.raises(Unavailable, match="no room for more pictures on the disk"):
        made.check()
    vars(disk).update(well)
    with pytest.raises(Unavailable):
        made.check()
    clock.now += LOOK_EVERY_S
    made.check()
    assert made.why == ""


def test_every_folder_counts_and_one_that_is_gone_has_no_room(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    made = Room(store, [tmp_path, tmp_path / "gone"], Bounds(None, 0), clock)
    with pytest.raises(Unavailable):
        made.check()
    (tmp_path / "gone").mkdir()
    clock.now += LOOK_EVERY_S
    made.check()


def test_a_file_system_that_counts_no_names_has_enough(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    disk.names = 0
    Room(store, [tmp_path], Bounds(None, GIB), clock).check()


def test_asking_costs_no_look_but_one_a_second(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Room(store, [tmp_path], Bounds(None, 0), clock)
    reads: list[object] = []
    read = store.read

    def counted(query: Any) -> Any:
        reads.append(query)
        return read(query)

    monkeypatch.setattr(store, "read", counted)
    for _ in range(100):
        made.check()
    assert (disk.looks, reads) == (1, [])
    clock.now += LOOK_EVERY_S
    for _ in range(100):
        made.check()
    assert (disk.looks, len(reads)) == (2, 1)


def test_a_look_that_takes_long_comes_seldom(
    store: Store, tmp_path: Path, disk: Disk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding up a million rows must not be most of what the database does."""

    def slow(_: object) -> int:
        clock.now += 2.0
        return 0

    monkeypatch.setattr(files, "bytes_kept", slow)
    made = Room(store, [tmp_path], Bounds(GIB, 0), clock)
    clock.now += 39.0
    made.check()
    assert disk.looks == 1
    clock.now += 1.0
    made.check()
    assert disk.looks == 2


def test_pictures_whose_time_is_over_go_at_once_where_there_is_no_room_and_no_others(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    blobs, tight = Blobs(tmp_path / "pictures"), [False]
    wall = Clock(NOW)
    keeper = Housekeeper(store, blobs, wall, tight=lambda: tight[0], steady=clock)
    keeper.tick()
    keep(store, 7, NOW - 1)
    keep(store, 8, NOW + 1)
    clock.now += SWEEP_EVERY_S / 2
    keeper.tick()
    assert store.read(files.bytes_kept) == 15
    tight[0] = True
    keeper.tick()
    assert store.read(files.bytes_kept) == 8


def test_the_oldest_go_first(store: Store) -> None:
    for ago in (1, 3, 2):
        keep(store, ago, NOW - ago)
    gone = store.write(lambda tx: files.sweep(tx, NOW, limit=2))
    assert sorted(each.bytes for each in gone) == [2, 3]


@pytest.mark.parametrize(
    ("text", "quota"),
    [("", None), ("none", None), ("0", 0), ("1500", 1500), ("64K", 65_536), ("20G", 20 * GIB)],
)
def test_the_quota_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, text: str, quota: int | None
) -> None:
    monkeypatch.setenv(BLOBS_QUOTA.variable, text)
    monkeypatch.delenv(DISK_FLOOR.variable, raising=False)
    assert Bounds.read() == Bounds(quota, 256 * 2**20)


@pytest.mark.parametrize("text", ["much", "-1", "1.5G", "1GB", "1 G", "٣G", "9" * 16, "G"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(DISK_FLOOR.variable, text)
    with pytest.raises(BadSetting, match="ZING_DISK_FLOOR"):
        config.size(DISK_FLOOR)


def test_a_full_house_refuses_by_every_api_draws_what_it_has_and_opens_again(
    tmp_path: Path,
) -> None:
    """One picture and one promise fit; the first one's time is over after some seconds."""
    quota = str(PICTURE_BYTES + 1000)
    with serving(tmp_path / "data", ZING_BLOBS_QUOTA=quota, ZING_LINK_TTL="6") as server:
        first = submit(server)
        assert ended(server, first)["status"] == "completed"
        spent = server.http.get("/v1/credits").json()
        time.sleep(LOOK_EVERY_S)
        for name in NAMES:
            key = JSON | {"Authorization": f"Bearer {server.key}"}
            reply = requests.send(server.url, "POST", SUBMIT[name], compact(LEAST[name]), key)
            check_refusal(name, reply, "maintenance")
            assert int(reply.headers["retry-after"]) == RETRY_S
        assert server.http.get("/v1/credits").json() == spent
        assert server.http.get(f"/v1/tasks/{first}").status_code == 200
        until(lambda: taken(server))
        assert broken(server.data) == []


def taken(server: Server) -> bool:
    return server.http.post("/v1/images/generations", json=EVOLINK).status_code == 200
