"""What happens though nobody asks: dead workers, pictures whose time is over, bytes of nobody."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from tests.audit import MODEL, Clock, accepted, audit, funded, kept_file, submission
from tests.servers import until
from zing import housekeeper, queue
from zing.blobs import Blobs
from zing.errors import Unavailable
from zing.housekeeper import (
    EXPIRE_EVERY_S,
    ORPHAN_AGE_S,
    ORPHANS_EVERY_S,
    REFUSALS_AGE_S,
    SWEEP_EVERY_S,
    Housekeeper,
    Rules,
)
from zing.queue import Outcome
from zing.store import Store, audit_log, files, tasks
from zing.store.audit_log import KEY_REFUSED, THROTTLED, Entry
from zing.store.files import File
from zing.store.schema import account, worker
from zing.task import Task, TaskState

DAY_S = 86_400.0


class House:
    """A database, a folder of pictures and who keeps them in order, by a clock of its own."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.blobs = Blobs(folder)
        self.clock = Clock(time.time())
        self.keeper = self.housekeeper()
        self.account_id = funded(store)

    def housekeeper(self, **rules: Any) -> Housekeeper:
        """One more housekeeper, whose both clocks are the house's."""
        return Housekeeper(self.store, self.blobs, self.clock, Rules(**rules), steady=self.clock)

    def worker(self, worker_id: str, lease_s: float = 6.0) -> None:
        now = self.clock()
        self.store.write(lambda tx: queue.register(tx, worker_id, "host", now, lease_s))

    def drawn(self, expires_at: float, put: bool = True) -> File:
        """A picture that was drawn, with its row and its bytes."""
        if not self.store.read(lambda tx: tasks.queue_state(tx, 0.0))[1]:
            self.worker(f"w{time.monotonic_ns()}", 10 * DAY_S)
        task = self.accept()
        (held,) = self.claim()
        file = replace(kept_file(task.id, expires_at), blob_key=f"day/{task.id}.png")
        if put:
            self.blobs.put(file.blob_key, b"bytes")
        outcome = Outcome(TaskState.SUCCEEDED, file=file)
        ends = [(held, outcome)]
        assert self.store.write(lambda tx: queue.settle(tx, ends, self.clock())) != [None]
        return file

    def accept(self) -> Task:
        asked = submission(self.account_id)
        return accepted(self.store, asked, self.clock())

    def claim(self) -> list[queue.Claim]:
        worker_id = self.last()
        return self.store.write(lambda tx: queue.claim(tx, worker_id, MODEL, 1, self.clock()))

    def last(self) -> str:
        """The worker that came last."""
        found = select(worker.c.id).order_by(worker.c.started_at.desc(), worker.c.id).limit(1)
        return str(self.store.read(lambda tx: tx.scalar(found)))

    def row(self, file: File) -> File | None:
        return self.store.read(lambda tx: files.get(tx, file.id))

    def age(self, file_or_key: File | str, seconds: float) -> None:
        """Make bytes as old as that."""
        key = file_or_key if isinstance(file_or_key, str) else file_or_key.blob_key
        then = self.clock() - seconds
        os.utime(self.folder / key, (then, then))

    def state(self, task: Task) -> TaskState:
        return self.store.read(lambda tx: tasks.find(tx, task.public_id, None)).state


@pytest.fixture
def house(store: Store, tmp_path: Path) -> House:
    """A house in order."""
    return House(store, tmp_path / "pictures")


def test_a_picture_goes_when_its_time_is_over_and_not_before(house: House) -> None:
    file = house.drawn(house.clock() + DAY_S)
    other = house.drawn(house.clock() + 2 * DAY_S)
    house.clock.now += DAY_S - 1
    assert house.keeper.sweep() == 0
    assert house.blobs.get(file.blob_key) == b"bytes"
    house.clock.now += 1
    assert house.keeper.sweep() == 1
    assert house.blobs.get(file.blob_key) is None
    row = house.row(file)
    assert row is not None
    assert row.deleted_at == house.clock()
    assert house.blobs.get(other.blob_key) == b"bytes"
    assert house.keeper.sweep() == 0
    assert house.store.read(audit) == []


def test_sweeping_goes_on_where_bytes_are_gone_already(house: House) -> None:
    gone = house.drawn(house.clock() + 1, put=False)
    there = house.drawn(house.clock() + 1)
    house.clock.now += 2
    assert house.keeper.sweep() == 2
    assert house.blobs.get(there.blob_key) is None
    row = house.row(gone)
    assert row is not None
    assert row.deleted_at is not None


def test_everything_is_swept_some_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = files.sweep
    monkeypatch.setattr(files, "sweep", lambda tx, now: sweep(tx, now, limit=2))
    drawn = [house.drawn(house.clock() + 1) for _ in range(5)]
    house.clock.now += 2
    assert house.keeper.sweep() == 5
    assert [house.blobs.get(file.blob_key) for file in drawn] == [None] * 5


def test_old_bytes_that_no_row_knows_go_and_all_others_stay(house: House) -> None:
    known = house.drawn(house.clock() + 30 * DAY_S)
    house.age(known, 10 * ORPHAN_AGE_S)
    for key, age in (("day/old.png", ORPHAN_AGE_S + 60), ("day/new.png", ORPHAN_AGE_S - 60)):
        house.blobs.put(key, b"bytes")
        house.age(key, age)
    assert house.keeper.remove_orphans() == 1
    assert house.blobs.get("day/old.png") is None
    assert house.blobs.get("day/new.png") == b"bytes", "its worker may be about to write the row"
    assert house.blobs.get(known.blob_key) == b"bytes"


def test_a_crash_between_the_mark_and_the_delete_is_healed(house: House) -> None:
    """The row is marked first: bytes without a row are found, a row without bytes would not be."""
    file = house.drawn(house.clock() + 1)
    house.clock.now += 2
    marked = house.store.write(lambda tx: files.sweep(tx, house.clock()))
    assert [each.id for each in marked] == [file.id]
    assert house.keeper.sweep() == 0
    assert house.blobs.get(file.blob_key) == b"bytes"
    house.age(file, ORPHAN_AGE_S + 1)
    assert house.keeper.remove_orphans() == 1
    assert house.blobs.get(file.blob_key) is None


def test_what_a_killed_worker_wrote_in_part_goes_too(house: House) -> None:
    """obstore writes to `NAME#1` first and then renames it."""
    partial = house.folder / "day" / "half.png#1"
    house.blobs.put("day/other.png", b"bytes")
    partial.write_bytes(b"half")
    house.age("day/half.png#1", ORPHAN_AGE_S + 60)
    house.keeper.remove_orphans()
    assert not partial.exists()


def test_a_dead_workers_task_is_queued_again_and_that_is_said(house: House) -> None:
    house.worker("w1")
    task = house.accept()
    house.claim()
    assert not house.keeper.tick()
    house.clock.now += 7
    assert house.keeper.tick()
    assert house.state(task) == TaskState.QUEUED
    assert not house.keeper.tick()


def test_a_worker_known_to_be_dead_is_not_waited_for(house: House) -> None:
    house.worker("w1")
    task = house.accept()
    house.claim()
    assert house.keeper.reap("w1")
    assert house.state(task) == TaskState.QUEUED
    assert not house.keeper.reap("w1")
    assert not house.keeper.reap("nobody")


def test_what_waited_too_long_fails_however_many_there_are(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "EXPIRED_AT_ONCE", 2)
    late = [house.accept() for _ in range(5)]
    house.clock.now += DAY_S + 1
    waiting = house.accept()
    house.keeper.tick()
    assert {house.state(task) for task in late} == {TaskState.FAILED}
    assert house.state(waiting) == TaskState.QUEUED
    assert house.store.read(audit) == []


def test_after_an_outage_workers_have_a_minute_before_old_tasks_fail(house: House) -> None:
    task = house.accept()
    house.clock.now += 2 * DAY_S
    started = house.housekeeper()
    for seconds, state in ((EXPIRE_EVERY_S - 1, TaskState.QUEUED), (1, TaskState.FAILED)):
        started.tick()
        house.clock.now += seconds
        started.tick()
        assert house.state(task) == state


def test_how_long_a_task_may_wait_can_be_set(house: House) -> None:
    task = house.accept()
    keeper = house.housekeeper(queue_timeout_s=5.0)
    house.clock.now += 5
    assert keeper.expire() == 0
    house.clock.now += 1
    assert keeper.expire() == 1
    assert house.state(task) == TaskState.FAILED


def test_each_duty_has_its_own_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(house.keeper, "sweep", lambda: done.append("sweep"))
    monkeypatch.setattr(house.keeper, "remove_orphans", lambda: done.append("orphans"))
    house.keeper.tick()
    assert done == ["sweep", "orphans"]
    house.clock.now += SWEEP_EVERY_S - 1
    house.keeper.tick()
    assert done == ["sweep", "orphans"]
    house.clock.now += 1
    house.keeper.tick()
    assert done == ["sweep", "orphans", "sweep"]
    house.clock.now += ORPHANS_EVERY_S
    house.keeper.tick()
    assert done[3:] == ["sweep", "orphans"]


def test_two_housekeepers_do_not_disturb_each_other(house: House) -> None:
    drawn = [house.drawn(house.clock() + 1) for _ in range(6)]
    house.clock.now += 2
    keepers = [house.housekeeper() for _ in range(3)]
    threads = [threading.Thread(target=keeper.tick) for keeper in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [house.blobs.get(file.blob_key) for file in drawn] == [None] * 6
    assert house.store.read(audit) == []


def test_the_audit_tells_what_it_finds_and_how_long_ago_it_was(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    assert house.keeper.last_audit() is None
    house.accept()
    house.keeper.audit()
    house.clock.now += 60
    last = house.keeper.last_audit()
    assert last is not None
    assert (sum(last.findings.values()), last.age_s) == (0, 60)
    assert not caplog.records
    house.store.write(lambda tx: tx.execute(update(account).values(used=5)))
    house.keeper.audit()
    last = house.keeper.last_audit()
    assert last is not None
    assert (last.findings["I1"], last.findings["I2"], last.age_s) == (1, 0, 0)
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert f"I1: {house.account_id} has " in line.getMessage()
    assert line.__dict__["facts"]["account"] == house.account_id


def test_a_queue_beyond_its_own_bound_is_found(house: House) -> None:
    house.accept()
    keeper = house.housekeeper(queue_max=0)
    keeper.audit()
    last = keeper.last_audit()
    assert last is not None
    assert last.findings["I9"] == 1


def test_audits_go_on_beside_all_else_and_after_trouble(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeper, "AUDIT_FIRST_S", 0.01)
    monkeypatch.setattr(housekeeper, "AUDIT_EVERY_S", 0.01)
    done: list[str] = []

    def audit() -> None:
        done.append(threading.current_thread().name)
        if len(done) < 3:
            raise [Unavailable("Busy."), OSError(5, "Input/output error")][len(done) - 1]

    monkeypatch.setattr(house.keeper, "audit", audit)
    stop = threading.Event()
    thread = threading.Thread(target=house.keeper.run, args=(stop, print))
    thread.start()
    try:
        until(lambda: len(done) > 4)
    finally:
        stop.set()
        thread.join(10)
    assert set(done) == {"audit"}


@pytest.mark.parametrize(
    "trouble",
    [
        Unavailable("The database is busy; try again."),
        OperationalError("SELECT 1", {}, Exception("server closed the connection")),
        OSError(5, "Input/output error"),
    ],
)
def test_it_goes_on_after_trouble_and_wakes_the_workers(
    house: House, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    monkeypatch.setattr(housekeeper, "TICK_S", 0.01)
    troubles = [trouble, trouble]
    house.keeper = house.housekeeper(lease_s=0.0)
    tick = house.keeper.tick

    def troubled() -> bool:
        if troubles:
            raise troubles.pop()
        return tick()

    monkeypatch.setattr(house.keeper, "tick", troubled)
    house.worker("w1", lease_s=-1.0)
    stop, woken = threading.Event(), threading.Event()
    thread = threading.Thread(target=house.keeper.run, args=(stop, woken.set))
    thread.start()
    try:
        until(lambda: woken.is_set() or not thread.is_alive())
        assert woken.is_set(), "the housekeeper gave up"
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_who_was_refused_is_forgotten_and_what_operators_did_is_not(house: House) -> None:
    now = house.clock()
    actions = (KEY_REFUSED, THROTTLED, "key revoked")
    noted = [
        Entry(now + age, "", "192.0.2.1", each, "", f"{age:g}")
        for each in actions
        for age in (0, 5)
    ]
    house.store.write(lambda tx: audit_log.add(tx, noted))
    house.clock.now = now + REFUSALS_AGE_S + 3
    house.keeper.tick()
    left = house.store.read(lambda tx: audit_log.last(tx, 10))
    assert [each.detail for each in left] == ["5", "0", "5", "5"]
