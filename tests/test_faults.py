"""Every write, sync, put and send of a task's life fails once, and for as long as it may (T22).

A life is lived by the real parts: the application with a real key, a worker with an engine that
draws at once, the courier with a receiver on loopback, the housekeeper. It is lived again for each
operation of each kind until a life has none of that number, and each time everything adds up. The
service is never begun again, a worker that ends is, as its supervisor does it.
"""

import asyncio
import hashlib
import itertools
import json
import logging
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import func, select

from tests import faults
from tests.audit import MODEL, PRICE, audit, funded
from tests.faults import Faults, Kind, Plan
from tests.receivers import Receiver, Sent, answer
from tests.test_disk import mounted
from tests.test_worker import Fake, UntilIdle, well
from zing import app, delivery, housekeeper, keys, worker
from zing.blobs import Blobs, Links
from zing.delivery import Courier, Pace, Sender
from zing.egress import Rules as Egress
from zing.engine.base import Order
from zing.errors import BadSetting, Unavailable
from zing.housekeeper import ORPHAN_AGE_S, ORPHANS_EVERY_S, Housekeeper
from zing.netguard import Door
from zing.service import Served, Service, Terms
from zing.store import Store, outbox
from zing.store.schema import file as file_table
from zing.store.schema import task as task_table
from zing.store.schema import worker as worker_table
from zing.task import DeliveryState, TaskState
from zing.worker import Lease, Rules, Worker

PEPPER = b"p" * 32
DAY_S = 86_400.0
LEASE_S = 3600.0
RULES = Rules(lease_s=LEASE_S, task_timeout_s=60.0, link_ttl_s=DAY_S)
QUICK = Pace(delays_s=(0.01, 0.01, 0.01), lease_s=15.0, look_s=0.002, idle_s=0.02, grace_s=0.1)
# What a task must not wait for where nobody died; where somebody did, time is moved on.
LIMIT_S, STUCK_S = 20.0, 0.2
LASTS_S = 0.02
PAGE = 4096
SUBMIT = "/v1/images/generations"
BODY = {"model": "z-image-turbo", "prompt": "a red barn", "size": "376x376"}

# While these last, no task is taken: the disk or the database takes nothing.
NO_CREATES = {
    Kind.WRITE,
    Kind.SYNC,
    Kind.STATEMENT,
    Kind.COMMIT,
    Kind.CONNECT,
    Kind.PUT,
    Kind.FSYNC,
}
# A picture that cannot be kept fails its task, unpaid; where the disk stays full, by whatever.
MAY_FAIL = {Kind.PUT, Kind.PUT_DONE, Kind.FSYNC, Kind.PAGE}
MAY_FAIL_WHERE_IT_STAYS = {Kind.WRITE, Kind.SYNC}


class Clock:
    """A clock that goes, and can be moved on."""

    def __init__(self) -> None:
        self._moved = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._moved

    def move(self, seconds: float) -> None:
        self._moved += seconds


class Dated(Blobs):
    """Pictures that are as old as our clock says: bytes of nobody are told by their age."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder)
        self._places = folder
        self._clock = clock

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        now = self._clock()
        os.utime(self._places / key, (now, now))


class Alarm(logging.Handler):
    """What must not be: threads and processes that end by an error, errors that nobody foresaw."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(self.format(record))

    def process_ended(self, status: int) -> None:
        self.found.append(f"os._exit({status})")
        raise SystemExit(status)

    def thread_ended(self, about: Any) -> None:
        self.found.append(f"the thread {about.thread} ended by {about.exc_value!r}")


@pytest.fixture
def alarm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Alarm]:
    made = Alarm()
    monkeypatch.setattr(os, "_exit", made.process_ended)
    monkeypatch.setattr(threading, "excepthook", made.thread_ended)
    logging.getLogger("zing").addHandler(made)
    yield made
    logging.getLogger("zing").removeHandler(made)


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are shorter than in life; their order is the same."""
    monkeypatch.setattr(worker, "BEAT_S", 0.02)
    monkeypatch.setattr(worker, "SETTLE_AGAIN_S", 0.01)
    monkeypatch.setattr(worker, "POLL_MIN_S", 0.002)
    monkeypatch.setattr(worker, "POLL_MAX_S", 0.01)
    monkeypatch.setattr(delivery, "OUTAGE_S", 0.01)
    monkeypatch.setattr(housekeeper, "TICK_S", 0.0)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def run(self, awaited: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaited, self._loop).result(LIMIT_S)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Round:
    """What stops a housekeeper after one round."""

    def __init__(self) -> None:
        self._rounds = 0

    def wait(self, seconds: float) -> bool:
        if seconds:  # who goes through the books waits for minutes; the observer does it here
            return True
        self._rounds += 1
        return self._rounds > 1


class Killed(BaseException):
    """As by SIGKILL: nothing of the process is tidied up."""


class UntilTold(UntilIdle):
    """Orders to work until told otherwise."""

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.005))


class House:
    """An installation: what `zing serve` has, workers, a client, a receiver, an observer.

    The observer's connection to the database never fails.
    """

    def __init__(self, url: str, folder: Path, made: Faults, watch: Store) -> None:
        self.url = url
        self.pictures = folder / "pictures"
        self.faults = made
        self.watch = watch
        self.clock = Clock()
        account_id = funded(watch, 1_000_000)
        mint = partial(keys.mint, pepper=PEPPER, name="mine", account_id=account_id)
        self.key, _ = watch.write(lambda tx: mint(tx, now=self.clock()))
        self.told: dict[str, list[tuple[str, bytes, bool]]] = defaultdict(list)
        self.receiver = Receiver(self._hear)
        self.loop = Loop()
        self.store = Store(url)
        faults.attach(made, self.store)
        self.workers = itertools.count(1)
        self.refusals = 0
        self._serve()

    def _serve(self) -> None:
        rules = Egress(private=("127.0.0.1",))
        service = Service(
            store=self.store,
            blobs=Blobs(self.pictures),
            links=Links(PEPPER, "http://127.0.0.1:8000"),
            pepper=PEPPER,
            terms=Terms(PRICE, DAY_S),
            served=Served(MODEL, strict=False),
            clock=self.clock,
            wake=lambda: None,
            rules=rules,
        )
        wiring = app.Wiring(service)
        built = httpx2.ASGITransport(app=app.build(wiring))
        headers = {"Authorization": f"Bearer {self.key}"}
        self.http = httpx2.AsyncClient(transport=built, base_url="http://zing", headers=headers)
        door = Door(rules, backend=faults.Line(self.faults))
        sender = Sender(door, PEPPER, self.clock, partial(app.sign, wiring))
        self.courier = Courier(self.store, sender, partial(app.tell, wiring), QUICK)
        kept = housekeeper.Rules(lease_s=LEASE_S)
        self.keeper = Housekeeper(self.store, service.blobs, self.clock, kept, steady=self.clock)

    def __enter__(self) -> "House":
        self.receiver.__enter__()
        self.courier.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.begin(None)
        self.courier.stop()
        self.receiver.__exit__()
        self.loop.run(self.http.aclose())
        self.loop.end()
        self.store.close()

    def _hear(self, line: socket.socket, sent: Sent) -> None:
        """A receiver that looks at once what became of the task."""
        identity = json.loads(sent.body)["id"]
        state = self.watch.read(
            lambda tx: tx.scalar(select(task_table.c.state).where(_is(identity)))
        )
        ended = TaskState(state).ended
        self.told[identity].append((sent.headers["webhook-id"], sent.body, ended))
        answer()(line, sent)

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        reply: httpx2.Response = self.loop.run(self.http.request(method, path, **more))
        return reply

    def keep_house(self) -> None:
        """One round of the housekeeper's."""
        self.keeper.run(Round(), lambda: None)  # type: ignore[arg-type]

    def read(self, query: Any) -> list[Any]:
        """What the observer sees."""
        return list(self.watch.read(lambda tx: tx.execute(query).all()))

    def open_tasks(self) -> bool:
        states = (TaskState.QUEUED, TaskState.RUNNING)
        query = select(func.count()).where(task_table.c.state.in_(states))
        return bool(self.read(query)[0][0])

    def cut_log(self) -> None:
        """Let SQLite's log begin with nothing."""
        with closing(self.watch._writer.raw_connection()) as raw:
            busy, *_ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy

    def bytes_kept(self) -> list[Path]:
        return [path for path in self.pictures.rglob("*") if path.is_file()]


def _is(identity: str) -> Any:
    return task_table.c.public_id == identity


class Life:
    """A life in a house, under a plan of what fails."""

    def __init__(self, house: House, plan: Plan | None, number: int) -> None:
        self.house = house
        self.plan = plan
        self.name = f"life-{number}"
        self.began = house.clock()
        self.taken: list[str] = []
        self.unanswered = 0
        self.died = False
        self.orders = UntilTold()
        self.killed = False
        self._thread = threading.Thread()

    # The client.

    def create(self, key: str = "", **fields: Any) -> str:
        """The id of a task that is taken at last, asked for with the same key each time."""
        headers = {"Idempotency-Key": f"{self.name}-{key}"} if key else {}
        for _ in range(10):
            reply = self.house.ask("POST", SUBMIT, json=BODY | fields, headers=headers)
            if reply.status_code == 200:
                self.taken.append(reply.json()["id"])
                return self.taken[-1]
            self.is_refused(reply)
            self.unanswered += not key
            self.bear()
        raise AssertionError("it was never taken")

    def is_refused(self, reply: httpx2.Response) -> None:
        self.house.refusals += 1
        assert reply.status_code == 503, reply.text
        assert reply.json()["error"]["code"] == "service_unavailable"
        assert int(reply.headers["retry-after"]) >= 1

    def cancel(self, identity: str) -> None:
        """A cancel that was not answered has worked or is asked for again."""
        for _ in range(10):
            reply = self.house.ask("POST", f"/v1/tasks/{identity}/cancel")
            if reply.status_code in (200, 409):
                return
            self.is_refused(reply)
            self.bear()
        raise AssertionError("it was never cancelled")

    def look(self, identity: str) -> dict[str, Any]:
        reply = self.house.ask("GET", f"/v1/tasks/{identity}")
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    # What fails, and what holds meanwhile.

    def bear(self) -> None:
        """While a fault lasts: a status answers, no task is taken, the housekeeper goes on.

        The fault ends with it.
        """
        if not self.house.faults.lasting:
            return
        for identity in self.taken:
            self.look(identity)
        self.house.keep_house()
        assert self.plan is not None
        if self.plan.kind in NO_CREATES:
            headers = {"Idempotency-Key": f"{self.name}-meanwhile"}
            self.is_refused(self.house.ask("POST", SUBMIT, json=BODY, headers=headers))
        time.sleep(LASTS_S)
        self.house.faults.lift()
        if self.plan.kind in NO_CREATES:
            self.create("meanwhile")

    # The worker's process, and who starts the next.

    def draw(self) -> None:
        """All that is open is drawn, by one worker or by the next."""
        self._start()
        since = time.monotonic()
        while self.house.open_tasks():
            self.bear()
            time.sleep(0.004)
            waited = time.monotonic() - since
            if self.died and waited > STUCK_S:
                self._end()
                self.let_leases_end()
                self._start()
                since = time.monotonic()
            assert waited < LIMIT_S, "a task is open for ever"
        self._end()
        if self.house.read(select(worker_table.c.id)):
            assert self.plan is not None, "a worker that ended is known still"
            self.let_leases_end()

    def let_leases_end(self) -> None:
        """As a worker whose end nobody saw is found out."""
        self.house.faults.lift()
        self.house.clock.move(LEASE_S + 1)
        self.house.keep_house()

    def _start(self) -> None:
        self.orders = UntilTold()
        self._thread = threading.Thread(target=self._supervise, name="worker", daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self.orders.drain = True
        while self._thread.is_alive():
            self.bear()
            self._thread.join(0.01)

    def _supervise(self) -> None:
        while not self.orders.drain:
            worker_id = f"w{next(self.house.workers)}"
            try:
                self._work(worker_id)
            except (Unavailable, BadSetting, Killed):
                self.died = True
                with suppress(Unavailable):
                    self.house.keeper.reap(worker_id)
                time.sleep(0.005)

    def _work(self, worker_id: str) -> None:
        """As `zing work`."""
        with closing(Store(self.house.url)) as store:
            faults.attach(self.house.faults, store)
            lease = Lease(store, worker_id, RULES, self.house.clock)
            lease.start()
            try:
                kept = Dated(self.house.pictures, self.house.clock)
                made = Worker(store, kept, lease, RULES, MODEL)
                made.run(Fake(self._draw), self.orders)
            except Killed:
                lease._ended.set()
                raise
            except BaseException:
                with suppress(Unavailable):
                    lease.end()
                raise
            with suppress(Unavailable):
                lease.end()

    def _draw(self, order: Order) -> Iterator[Any]:
        if self.killed:
            self.killed = False
            raise Killed
        return well(order)

    # The ends.

    def hear(self, identity: str) -> None:
        """The callback of a task arrives; where its attempts were used up, once more."""
        since = moved = time.monotonic()
        while (state := self._delivery(identity)) is not DeliveryState.DELIVERED:
            self.bear()
            time.sleep(0.002)
            if state is DeliveryState.EXHAUSTED:
                self._resend(identity)
            if time.monotonic() - moved > STUCK_S:
                self.house.clock.move(QUICK.lease_s)  # of a claim that was not answered
                moved = time.monotonic()
            assert time.monotonic() - since < LIMIT_S, "it was never told"
        made = self.house.watch.read(
            lambda tx: outbox.attempts_of(tx, outbox.find(tx, identity).id)
        )
        assert len({each.started_at for each in made}) == len(made), "an attempt is kept twice"
        heard = self.house.told[identity]
        assert len(heard) >= 1
        assert all(ended for _, _, ended in heard)
        assert len({(name, body) for name, body, _ in heard}) == 1

    def _delivery(self, identity: str) -> DeliveryState:
        return self.house.watch.read(lambda tx: outbox.find(tx, identity)).state

    def _resend(self, identity: str) -> None:
        def again(tx: Any) -> None:
            due = outbox.find(tx, identity)
            numbers = [each.number for each in outbox.attempts_of(tx, due.id)]
            assert numbers == [1, 2, 3, 4]
            outbox.resend(tx, due.id, self.house.clock())

        assert self.plan is not None
        assert self.plan.stays
        self.house.watch.write(again)

    def check(self) -> None:
        """Everything adds up, and nothing is left."""
        assert self.house.watch.read(audit) == []
        table = task_table.c
        rows = self.house.read(select(task_table).where(table.created_at >= self.began))
        unknown = {row.public_id for row in rows} - set(self.taken)
        assert {row.public_id for row in rows} >= set(self.taken)
        allowed = self.unanswered if self.plan and self.plan.kind is Kind.ANSWERED else 0
        assert len(unknown) <= allowed, "what was refused was taken"
        for row in rows:
            if row.state == TaskState.SUCCEEDED:
                self._check_picture(row)
        self._expire(rows)

    def _check_picture(self, row: Any) -> None:
        (kept,) = self.house.read(select(file_table).where(file_table.c.task_id == row.id))
        reply = self.house.ask("GET", self._path(row.public_id))
        assert reply.status_code == 200
        assert hashlib.sha256(reply.content).hexdigest() == kept.sha256

    def _path(self, identity: str) -> str:
        path: str = urlsplit(self.look(identity)["results"][0]).path
        return path

    def _expire(self, rows: list[Any]) -> None:
        """Pictures end with their time; bytes of nobody an hour later at most."""
        drawn = [row.public_id for row in rows if row.state == TaskState.SUCCEEDED]
        paths = [self._path(each) for each in drawn]
        self.house.clock.move(DAY_S + 1)
        for path in paths:
            assert self.house.ask("GET", path).status_code == 410
        for _ in range(5):
            self.house.keep_house()
            self.bear()
            if not self.house.bytes_kept():
                return
            self.house.clock.move(ORPHANS_EVERY_S + ORPHAN_AGE_S)
        raise AssertionError("bytes of nobody stay")

    @property
    def may_fail(self) -> bool:
        if self.plan is None:
            return False
        kind, stays = self.plan.kind, self.plan.stays
        return kind in MAY_FAIL or (stays and kind in MAY_FAIL_WHERE_IT_STAYS)

    def ended(self, identity: str, *states: TaskState) -> None:
        (row,) = self.house.read(select(task_table).where(_is(identity)))
        if self.may_fail:
            assert row.error in ("", "StorageFull", "EngineFailed", "Cancelled", "Blocked")
            return
        assert row.state in states, (row.state, row.error)


# Lives.


def drawn(life: Life) -> None:
    """Accepted with an idempotency key, drawn, told, expired."""
    identity = life.create("mine", callback_url=f"{life.house.receiver.url}/done")
    life.draw()
    life.ended(identity, TaskState.SUCCEEDED)
    life.hear(identity)


def cancelled(life: Life) -> None:
    """Accepted without a key, and cancelled while it waits."""
    identity = life.create(callback_url=f"{life.house.receiver.url}/done")
    life.cancel(identity)
    life.ended(identity, TaskState.CANCELLED)
    life.hear(identity)
    life.draw()


def retried(life: Life) -> None:
    """Its first worker is killed while it draws."""
    identity = life.create("mine")
    life.killed = True
    life.draw()
    life.ended(identity, TaskState.SUCCEEDED)


def blocked(life: Life) -> None:
    """Ended by safety as it is accepted."""
    fields = {"prompt": "hardcore porn", "callback_url": f"{life.house.receiver.url}/done"}
    identity = life.create("mine", **fields)
    life.ended(identity, TaskState.FAILED)
    life.hear(identity)
    life.draw()


def undrawn(life: Life) -> None:
    """Nobody draws it, until it has waited too long."""
    identity = life.create("mine", callback_url=f"{life.house.receiver.url}/done")
    life.house.clock.move(DAY_S + 1)
    while life.house.open_tasks():
        life.house.keep_house()
        life.bear()
        life.house.clock.move(60.0)
    life.ended(identity, TaskState.FAILED)
    life.hear(identity)


Way = Callable[[Life], None]


class Lives:
    """Lives of one house, one after the other."""

    def __init__(self, house: House, alarm: Alarm) -> None:
        self.house = house
        self.alarm = alarm
        self.count = 0

    def live(self, way: Way, plan: Plan | None) -> bool:
        """Live once; whether the plan has struck."""
        self.count += 1
        life = Life(self.house, plan, self.count)
        self.house.faults.begin(plan)
        try:
            way(life)
            life.check()
            assert self.alarm.found == []
        except BaseException as error:
            error.add_note(f"in a life that is {way.__name__}: {plan} fails")
            raise
        finally:
            self.house.faults.lift()
        return self.house.faults.hits > 0

    def live_on(self, way: Way, kind: Kind, stays: bool) -> None:
        """Let each operation of a kind fail, to the end: until a life has none of that number."""
        self.live(way, None)
        for number in itertools.count(1):
            if not self.live(way, Plan(kind, number, stays)):
                assert number > 1, "nothing of this kind is in this life"
                return


def _lives(url: str, folder: Path, made: Faults, alarm: Alarm) -> Iterator[Lives]:
    with ExitStack() as stack:
        watch = stack.enter_context(closing(Store(url)))
        if watch.sqlite:
            stack.enter_context(faults.files(made, folder))
        stack.enter_context(faults.pictures(made))
        yield Lives(stack.enter_context(House(url, folder, made, watch)), alarm)


@pytest.fixture
def lives(database_url: str, tmp_path: Path, alarm: Alarm) -> Iterator[Lives]:
    yield from _lives(database_url, tmp_path, Faults(), alarm)


def kinds(*some: Kind) -> Any:
    return pytest.mark.parametrize("kind", some, ids=lambda kind: kind.name.lower())


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
once_and_on = pytest.mark.parametrize("stays", [False, True], ids=["once", "on"])
other_ways = pytest.mark.parametrize("way", [cancelled, retried, blocked, undrawn])

# All that a life writes, from its accept to its sweep.
WRITTEN = {
    *("UPDATE account", "INSERT ledger", "INSERT task", "UPDATE lane", "INSERT idem"),
    *("INSERT worker", "UPDATE worker", "UPDATE task", "INSERT file", "UPDATE api_key"),
    *("INSERT outbox", "UPDATE outbox", "INSERT delivery_attempt", "DELETE worker"),
    *("UPDATE file", "DELETE idem"),
}


@once_and_on
def test_each_statement_fails(lives: Lives, stays: bool) -> None:
    """Threads take turns as they like: what a number missed, it meets in another round."""
    for _ in range(3):
        lives.live_on(drawn, Kind.STATEMENT, stays)
        struck = {what for kind, what in lives.house.faults.struck if kind is Kind.STATEMENT}
        if struck >= WRITTEN:
            return
    assert struck >= WRITTEN


@once_and_on
@kinds(Kind.COMMIT, Kind.ANSWERED)
def test_each_commit_fails_and_each_is_done_and_its_answer_lost(
    lives: Lives, kind: Kind, stays: bool
) -> None:
    lives.live_on(drawn, kind, stays)


@on_sqlite
@once_and_on
@kinds(Kind.WRITE, Kind.SYNC)
def test_each_write_and_each_sync_of_sqlites_files_fails(
    lives: Lives, kind: Kind, stays: bool
) -> None:
    lives.live_on(drawn, kind, stays)


@on_sqlite
@once_and_on
@kinds(Kind.PUT, Kind.PUT_DONE, Kind.FSYNC, Kind.DELETE)
def test_each_put_sync_and_delete_of_a_picture_fails(lives: Lives, kind: Kind, stays: bool) -> None:
    lives.live_on(drawn, kind, stays)


@on_sqlite
@once_and_on
@kinds(Kind.CALL, Kind.SEND, Kind.READ)
def test_each_send_of_a_callback_and_each_read_of_its_answer_fails(
    lives: Lives, kind: Kind, stays: bool
) -> None:
    lives.live_on(drawn, kind, stays)


@on_sqlite
@other_ways
def test_each_commit_of_other_lives_fails(lives: Lives, way: Way) -> None:
    lives.live_on(way, Kind.COMMIT, stays=False)


@pytest.mark.long
@once_and_on
@kinds(Kind.STATEMENT, Kind.COMMIT, Kind.ANSWERED)
@other_ways
def test_each_statement_and_commit_of_other_lives_fails(
    lives: Lives, way: Way, kind: Kind, stays: bool
) -> None:
    lives.live_on(way, kind, stays)


@pytest.mark.long
@on_sqlite
@once_and_on
@kinds(Kind.WRITE, Kind.SYNC)
@other_ways
def test_each_write_and_each_sync_of_other_lives_fails(
    lives: Lives, way: Way, kind: Kind, stays: bool
) -> None:
    lives.live_on(way, kind, stays)


# A disk that is really full.


class SmallDisk(Faults):
    """A small file system of which a plan's number of pages, less one, is free: then it is full."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._ballast = folder / "ballast"

    def begin(self, plan: Plan | None) -> None:
        super().begin(None)
        self.lift()
        if plan is not None:
            with suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
                while ballast.write(bytes(PAGE)):
                    pass
            os.truncate(self._ballast, self._ballast.stat().st_size - PAGE * (plan.number - 1))

    def lift(self) -> None:
        self._ballast.unlink(missing_ok=True)

    @property
    def lasting(self) -> bool:
        full = self._ballast.exists() and os.statvfs(self._folder).f_bavail == 0
        self.hits += full
        return full


@pytest.fixture
def filled(tmp_path: Path, alarm: Alarm) -> Iterator[Lives]:
    """Lives on a small file system, with the database's log cut before each."""
    with mounted(tmp_path / "disk", "size=8m"):
        disk = tmp_path / "disk"
        yield from _lives(f"sqlite:///{disk / 'zing.db'}", disk, SmallDisk(disk), alarm)


def test_a_disk_is_full_at_each_page_that_a_life_takes(filled: Lives) -> None:
    """Nothing stands in for the system here: SQLite, obstore and tmpfs say what they say."""
    number, filled_up = 0, True
    while filled_up:
        number += 1
        filled.house.cut_log()
        filled_up = filled.live(drawn, Plan(Kind.PAGE, number, stays=True))
    assert number > 20
    assert filled.house.refusals > 0
