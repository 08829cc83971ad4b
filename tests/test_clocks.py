"""Clocks that are set under a running house: leases, retention and waiting stay right."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.audit import MODEL, Clock, accepted, audit, funded, submission
from tests.servers import until
from tests.test_worker import Fake, Studio, endless, well
from zing import housekeeper, queue, worker
from zing.blobs import Blobs
from zing.clocks import JUMP_S, REMEMBERED_S, Jumps, Silence
from zing.engine.base import Order
from zing.errors import Unavailable
from zing.housekeeper import Housekeeper, Rules
from zing.queue import Claim, Outcome
from zing.store import Store, tasks
from zing.store.files import File
from zing.store.tasks import Look
from zing.task import Picture, Progress, Task, TaskState
from zing.worker import Lease, Worker

HOUR_S, DAY_S = 3600.0, 86_400.0
LEASE_S = 6.0
JUMPS_S = [HOUR_S, -HOUR_S, 25 * HOUR_S, -25 * HOUR_S]


@dataclass
class Clocks:
    """A wall clock that may be set and a steady one; both go on together."""

    wall: Clock
    steady: Clock

    def pass_time(self, seconds: float) -> None:
        self.wall.now += seconds
        self.steady.now += seconds

    def jump(self, seconds: float) -> None:
        self.wall.now += seconds


@pytest.fixture
def clocks() -> Clocks:
    """A right clock."""
    return Clocks(Clock(time.time()), Clock(0.0))


# What is known of a jump.


def test_a_jump_forward_is_known_until_it_is_set_back(clocks: Clocks) -> None:
    jumps = Jumps(clocks.wall, clocks.steady)
    assert jumps.ahead() == 0.0
    clocks.pass_time(DAY_S)
    assert jumps.ahead() == 0.0
    clocks.jump(HOUR_S)
    assert jumps.ahead() == pytest.approx(HOUR_S)
    clocks.pass_time(60.0)
    clocks.jump(2 * HOUR_S)
    assert jumps.ahead() == pytest.approx(3 * HOUR_S)
    clocks.jump(-HOUR_S)
    assert jumps.ahead() == pytest.approx(2 * HOUR_S)
    clocks.jump(-9 * HOUR_S)
    assert jumps.ahead() == 0.0


def test_a_clock_that_is_corrected_bit_by_bit_has_not_jumped(clocks: Clocks) -> None:
    jumps = Jumps(clocks.wall, clocks.steady)
    for _ in range(1000):
        clocks.pass_time(0.5)
        clocks.jump(JUMP_S / 2)
        assert jumps.ahead() == 0.0


def test_a_jump_is_forgotten_when_all_that_was_before_it_has_had_its_time(clocks: Clocks) -> None:
    """A machine that starts in 1970 and hears the time later still sweeps."""
    jumps = Jumps(clocks.wall, clocks.steady)
    clocks.jump(56 * 365 * DAY_S)
    assert jumps.ahead() > DAY_S
    clocks.pass_time(REMEMBERED_S - 1)
    assert jumps.ahead() > DAY_S
    clocks.pass_time(2)
    assert jumps.ahead() == 0.0


def test_who_says_something_new_is_heard_whatever_it_is(clocks: Clocks) -> None:
    silence = Silence(clocks.steady, 3.0)
    assert silence.broken({"a": 1.0, "b": 1.0}) == {"a", "b"}
    clocks.pass_time(2.0)
    assert silence.broken({"a": -5.0, "b": 1.0}) == {"a", "b"}
    clocks.pass_time(1.0)
    assert silence.broken({"a": -5.0, "b": 1.0}) == {"a"}
    assert silence.broken({"a": -5.0}) == {"a"}
    assert silence.broken({"a": -5.0, "b": 1.0}) == {"a", "b"}, "one that comes anew is listened to"
    clocks.pass_time(5.0)
    silence.forget()
    assert silence.broken({"a": -5.0}) == {"a"}


# A house whose clock is set.


class House:
    """A database with a worker that nobody runs, and a housekeeper with clocks of its own."""

    def __init__(self, store: Store, folder: Path, clocks: Clocks) -> None:
        self.store = store
        self.clocks = clocks
        self.clock = clocks.wall
        self.blobs = Blobs(folder)
        self.account_id = funded(store)
        rules = Rules(lease_s=LEASE_S)
        self.keeper = Housekeeper(store, self.blobs, self.clock, rules, steady=clocks.steady)
        self.register()

    def register(self) -> None:
        now = self.clock()
        self.store.write(lambda tx: queue.register(tx, "w1", "host", now, LEASE_S))

    def beat(self) -> None:
        """As a worker does it: one whose lease was ended begins anew."""
        until = self.clock() + LEASE_S
        if not self.store.write(lambda tx: queue.beat(tx, "w1", "ready", {}, until)):
            self.register()

    def accept(self) -> Task:
        asked = submission(self.account_id)
        return accepted(self.store, asked, self.clock())

    def claim(self) -> Claim:
        (held,) = self.store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, self.clock()))
        return held

    def drawn(self, ttl_s: float) -> File:
        """A picture that is kept for some time from now."""
        task = self.accept()
        held = self.claim()
        file = File(f"f{task.id}", f"day/{task.id}.png", "0" * 64, 5, ".png", self.clock() + ttl_s)
        self.blobs.put(file.blob_key, b"bytes")
        outcome = Outcome(TaskState.SUCCEEDED, file=file)
        ends = [(held, outcome)]
        assert self.store.write(lambda tx: queue.settle(tx, ends, self.clock())) != [None]
        return file

    def state(self, task: Task) -> TaskState:
        return self.store.read(lambda tx: tasks.find(tx, task.public_id, None)).state

    def live(self, seconds: float, beats: bool = True) -> None:
        """So many seconds pass, a tick each second and a beat every two."""
        for second in range(int(seconds)):
            self.clocks.pass_time(1.0)
            if beats and second % 2:
                self.beat()
            self.keeper.tick()


@pytest.fixture
def house(store: Store, tmp_path: Path, clocks: Clocks) -> Iterator[House]:
    """A house in order, before and after."""
    made = House(store, tmp_path / "pictures", clocks)
    made.keeper.tick()
    yield made
    assert store.read(audit) == []


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_living_workers_task_stays_its_own(house: House, jump_s: float) -> None:
    task = house.accept()
    house.claim()
    house.live(3)
    house.clocks.jump(jump_s)
    house.keeper.tick()
    house.live(30)
    assert house.state(task) == TaskState.RUNNING


@pytest.mark.parametrize("jump_s", [0.0, *JUMPS_S])
def test_a_dead_workers_task_comes_back_in_time(house: House, jump_s: float) -> None:
    task = house.accept()
    house.claim()
    house.live(3)
    house.clocks.jump(jump_s)
    house.live(LEASE_S + 1, beats=False)
    assert house.state(task) == TaskState.QUEUED


def test_what_a_dead_worker_of_before_a_restart_held_comes_back_soon(house: House) -> None:
    task = house.accept()
    house.claim()
    house.clocks.pass_time(LEASE_S + 1)
    new = Housekeeper(
        house.store, house.blobs, house.clock, Rules(lease_s=LEASE_S), steady=house.clocks.steady
    )
    new.tick()
    assert house.state(task) == TaskState.RUNNING, "it may live with its clock behind ours"
    house.clocks.pass_time(LEASE_S / 2)
    new.tick()
    assert house.state(task) == TaskState.QUEUED


def test_after_an_outage_each_worker_may_renew_its_lease(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = house.accept()
    house.claim()

    def unavailable(_: object) -> None:
        raise Unavailable

    with monkeypatch.context() as outage:
        outage.setattr(house.store, "write", unavailable)
        for _ in range(20):
            house.clocks.pass_time(1.0)
            with pytest.raises(Unavailable):
                house.keeper.tick()
    house.keeper.tick()
    house.beat()
    house.live(20)
    assert house.state(task) == TaskState.RUNNING


def test_no_picture_goes_sooner_because_the_clock_jumped_ahead(house: House) -> None:
    file = house.drawn(DAY_S)
    house.live(2)
    house.clocks.jump(25 * HOUR_S)
    house.live(40)
    assert house.blobs.get(file.blob_key) == b"bytes"
    house.clocks.jump(-25 * HOUR_S)
    house.live(40)
    assert house.blobs.get(file.blob_key) == b"bytes"
    house.clocks.pass_time(DAY_S)
    house.live(31)
    assert house.blobs.get(file.blob_key) is None


@pytest.mark.parametrize("jump_s", [HOUR_S, 25 * HOUR_S])
def test_a_picture_goes_when_its_real_time_is_over(house: House, jump_s: float) -> None:
    """The clock stays where it was set to, and the link ends by it; the bytes go a little later."""
    file = house.drawn(DAY_S)
    house.clocks.jump(jump_s)
    house.keeper.tick()
    house.clocks.pass_time(DAY_S - 100)
    house.live(31)
    assert house.blobs.get(file.blob_key) == b"bytes"
    house.clocks.pass_time(100)
    house.live(31)
    assert house.blobs.get(file.blob_key) is None


@pytest.mark.parametrize("jump_s", [-HOUR_S, -25 * HOUR_S])
def test_the_sweep_goes_on_after_the_clock_was_set_back(house: House, jump_s: float) -> None:
    house.live(2)
    house.clocks.jump(jump_s)
    file = house.drawn(10.0)
    house.live(60)
    assert house.blobs.get(file.blob_key) is None


def test_a_jump_is_no_time_that_a_task_has_waited(house: House) -> None:
    task = house.accept()
    house.live(2)
    house.clocks.jump(25 * HOUR_S)
    house.live(200)
    assert house.state(task) == TaskState.QUEUED
    house.clocks.pass_time(DAY_S)
    house.live(61)
    assert house.state(task) == TaskState.FAILED


def test_bytes_whose_row_is_about_to_be_written_survive_a_jump(house: House) -> None:
    house.blobs.put("day/new.png", b"bytes")
    house.live(2)
    house.clocks.jump(25 * HOUR_S)
    assert house.keeper.remove_orphans() == 0
    assert house.blobs.get("day/new.png") == b"bytes"


def test_a_clock_set_back_while_a_picture_was_drawn_spoils_no_estimate(house: House) -> None:
    slow = house.accept()
    held = house.claim()
    house.clocks.jump(-HOUR_S)
    house.beat()
    file = File("f1", "k.png", "0" * 64, 1, ".png", house.clock() + DAY_S)
    ends = [(held, Outcome(TaskState.SUCCEEDED, file=file))]
    house.store.write(lambda tx: queue.settle(tx, ends, house.clock()))
    assert house.state(slow) == TaskState.SUCCEEDED
    waiting = house.accept()
    asked = [(waiting.public_id, None)]
    (look,) = house.store.read(lambda tx: tasks.look(tx, asked, house.clock()))
    assert isinstance(look, Look)
    assert look.mean_s is None


# A worker that runs.


@pytest.mark.parametrize("jump_s", [HOUR_S, -25 * HOUR_S])
def test_a_running_worker_finishes_what_it_draws_while_its_clock_jumps(
    store: Store, tmp_path: Path, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker and housekeeper as they run, by one clock that is set while a picture is drawn."""
    monkeypatch.setattr(worker, "BEAT_S", 0.02)
    monkeypatch.setattr(housekeeper, "TICK_S", 0.02)
    shift = Clock(0.0)

    def clock() -> float:
        return time.time() + shift.now

    rules = worker.Rules(lease_s=1.5, task_timeout_s=60.0, link_ttl_s=DAY_S)
    studio = Studio(store, tmp_path / "pictures", rules)
    lease = Lease(store, "w2", rules, clock)
    keeper = Housekeeper(store, studio.blobs, clock, Rules(lease_s=1.5))
    stop, drawing = threading.Event(), threading.Event()
    keeping = threading.Thread(target=keeper.run, args=(stop, lambda: None))
    task = studio.accept()

    def draw(order: Order) -> Iterator[Progress | Picture]:
        latest = time.monotonic() + 2.0
        for event in endless(order):
            drawing.set()
            if time.monotonic() > latest:
                break
            yield event
        yield from well(order)

    orders = Orders()
    working = threading.Thread(
        target=Worker(store, studio.blobs, lease, rules, MODEL).run, args=(Fake(draw), orders)
    )
    lease.start()
    keeping.start()
    working.start()
    try:
        assert drawing.wait(10)
        shift.now = jump_s
        until(lambda: studio.find(task).state.ended)
    finally:
        orders.drain = True
        working.join(10)
        lease.end()
        stop.set()
        keeping.join(10)
    found = studio.find(task)
    assert (found.state, found.attempt) == (TaskState.SUCCEEDED, 1)
    assert studio.file(task).expires_at == pytest.approx(clock() + DAY_S, abs=60)
    assert store.read(audit) == []


@dataclass
class Orders:
    """Orders to work until told otherwise."""

    drain: bool = False
    stop: bool = False

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.01))
