"""Two processes accept, four draw, and each may be killed at any moment: the money is right, and
what was acknowledged is drawn.
"""

import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import Connection, func, select

from tests import databases, dying
from tests.audit import audit
from tests.dying import DIE, SEED, Gates
from tests.pairs import PATIENCE_S, PRICE, launch, settings
from tests.receivers import Authority, Receiver, Sent
from tests.requests import LEAST, NAMES, SMALL, SUBMIT, Reply, task_id
from tests.servers import Server, until
from zing.data import Data
from zing.queue import ATTEMPTS_MAX
from zing.server import FIRST_CREDITS
from zing.store import Store
from zing.store.schema import account, file, outbox, task

FOR_S, FOR_MOST_S = 60.0, 240.0
KILLS_LEAST = 8
APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2", "worker-3", "worker-4")
POINTS = (*dying.API, *dying.WORKER, "reaping", "reaped")
CALLBACKS = {"evolink": "callback_url", "kie": "callBackUrl"}
SENT_AGAIN, CANCELLED = 0.2, 0.1  # parts of the requests


@dataclass
class Cluster:
    """Six processes on one database, those that accept and those that draw, by their names."""

    folder: Path
    url: str
    environment: dict[str, str]
    gates: Gates
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    apis: dict[str, Server] = field(default_factory=dict)
    starts: int = 0
    kills: int = 0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, *names: str) -> None:
        """Start processes; an API among them answers when this returns."""
        logs = {name: self._launch(name) for name in names}
        for name in sorted(logs.keys() & {*APIS}):
            self.apis[name] = Server(self.processes[name], self.data, logs[name])

    def _launch(self, name: str) -> Path:
        """Start a process; its log."""
        self.starts += 1
        log = self.folder / f"{name}-{self.starts}.log"
        api = ["serve", "--no-worker", "--port", "0", "--json"]
        environment = self.environment | {"ZING_DATABASE": self.url}
        self.processes[name] = launch(log, environment, *(api if name in APIS else ["work"]))
        return log

    def kill_one(self, pick: random.Random) -> None:
        """Kill a process at any moment, or whichever comes to some point first; start it again."""
        if pick.random() < 0.5:
            self.processes[pick.choice(APIS + WORKERS)].kill()
        else:
            self._kill_at(pick.choice(POINTS))
        dead = self.dead()
        assert {self.processes[name].returncode for name in dead} <= {-signal.SIGKILL}
        self.kills += len(dead)
        for name in {*dead} & {*APIS}:
            self.apis.pop(name).http.close()
        self.start(*dead)

    def dead(self) -> list[str]:
        """The processes that are not there."""
        time.sleep(0.05)  # who was killed is gone a moment later
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def end(self) -> None:
        """Kill what is left."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        for server in self.apis.values():
            server.http.close()

    def _kill_at(self, point: str) -> None:
        self.gates.close(point, DIE)
        with suppress(AssertionError):  # nobody came there
            until(lambda: self.gates.found(point), 3)
        self.gates.open(point)


@dataclass
class Client:
    """One who submits by one dialect and goes on until each request is acknowledged."""

    cluster: Cluster
    dialect: str
    receiver: str
    pick: random.Random
    over: threading.Event
    accepted: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Submit, send again and cancel until it is over."""
        while not self.over.wait(self.pick.uniform(0.5, 1.0)):
            try:
                self._one()
            except Exception as error:  # noqa: BLE001 - the test tells of it
                self.faults.append(repr(error))

    def _one(self) -> None:
        name = uuid4().hex
        identity = self.accepted[name] = self._submit(name)
        if self.pick.random() < SENT_AGAIN and self._submit(name) != identity:
            self.faults.append(f"{name} is two tasks")
        if self.pick.random() < CANCELLED:
            self.over.wait(self.pick.uniform(0, 0.2))
            self.cancelled.add(identity)
            with suppress(httpx2.TransportError, IndexError):
                self._post(f"/v1/tasks/{identity}/cancel")

    def _submit(self, name: str) -> str:
        """The id of the task, however often it is asked for, wherever somebody answers."""
        asked: dict[str, Any] = {**LEAST[self.dialect], **SMALL.get(self.dialect, {})}
        if self.dialect in CALLBACKS:
            asked |= {CALLBACKS[self.dialect]: f"{self.receiver}/{name}"}
        latest = time.monotonic() + PATIENCE_S
        while time.monotonic() < latest:
            with suppress(httpx2.TransportError, IndexError):
                return task_id(self.dialect, self._post(SUBMIT[self.dialect], asked, name))
            time.sleep(0.05)
        raise AssertionError(f"{name} is not acknowledged")

    def _post(self, path: str, asked: Any = None, name: str = "") -> Reply:
        server = self.pick.choice(list(self.cluster.apis.values()))
        headers = {"Authorization": f"Bearer {server.key}", "Idempotency-Key": name or uuid4().hex}
        url = f"{server.url}{path}"
        if self.dialect == "tensorslab" and asked is not None:
            files = {key: (None, value) for key, value in asked.items()}
            got = httpx2.post(url, files=files, headers=headers, timeout=20)
        else:
            got = httpx2.post(url, json=asked or {}, headers=headers, timeout=20)
        return Reply(got.status_code, dict(got.headers), got.content)


@contextmanager
def cluster(folder: Path, url: str, authority: Authority) -> Iterator[Cluster]:
    """Six processes, ready; what is left of them at the end is killed."""
    gates = Gates(folder / "gates")
    running = Cluster(folder, url, settings(folder / "data", authority, gates), gates)
    try:
        running.start(APIS[0])  # the first key is the first one's
        running.start(*APIS[1:], *WORKERS)
        yield running
    finally:
        running.end()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "authority").mkdir()
    return Authority(tmp_path / "authority")


def test_random_kills_of_six_processes_on_postgresql(
    tmp_path: Path, postgresql: str, authority: Authority
) -> None:
    with databases.new_database(postgresql) as url:
        survive(tmp_path, url, authority)


@pytest.mark.long
def test_random_kills_of_six_processes_on_sqlite(tmp_path: Path, authority: Authority) -> None:
    survive(tmp_path, "", authority)


def survive(folder: Path, url: str, authority: Authority) -> None:
    """A minute of clients and kills, until everything has come to rest; then the books."""
    seed = os.environ.get(SEED) or str(random.SystemRandom().randrange(10**9))
    print(f"{SEED}={seed} repeats these choices")
    receiver = Receiver(certificate=authority.certificate("127.0.0.1"))
    with receiver, cluster(folder, url, authority) as running:
        clients = drive(running, receiver.url, seed)
        store = Store.of(url, Data(running.data))
        try:
            until(lambda: not store.read(waiting), PATIENCE_S)
            check(store, running, clients, receiver)
        finally:
            store.close()
        told = sum(len(each.accepted) for each in clients)
        print(f"{running.kills} kills, {told} tasks, {len(receiver.requests)} callbacks")
        assert running.kills >= KILLS_LEAST
        assert told >= 40


def drive(running: Cluster, receiver: str, seed: str) -> list[Client]:
    """Clients of every dialect, and kills, for FOR_S; what the clients were told."""
    over = threading.Event()
    pick = random.Random(seed)
    clients = [
        Client(running, each, receiver, random.Random(f"{seed} {each}"), over) for each in NAMES
    ]
    threads = [threading.Thread(target=each.run) for each in clients]
    for thread in threads:
        thread.start()
    try:
        began = time.monotonic()
        # On a busy machine a start takes long: then for longer, until enough has happened.
        while (passed_s := time.monotonic() - began) < FOR_S or (
            passed_s < FOR_MOST_S and running.kills < KILLS_LEAST
        ):
            time.sleep(pick.uniform(0, 1.5))
            running.kill_one(pick)
    finally:
        over.set()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
    assert not any(map(threading.Thread.is_alive, threads))
    assert [fault for each in clients for fault in each.faults] == []
    return clients


def waiting(tx: Connection) -> int:
    """The tasks that have not ended and the callbacks that are owed."""
    open_tasks = select(func.count()).where(task.c.state.in_(("queued", "running")))
    owed = select(func.count()).where(outbox.c.state == "due")
    return int(tx.scalar(open_tasks) or 0) + int(tx.scalar(owed) or 0)


def check(store: Store, running: Cluster, clients: list[Client], receiver: Receiver) -> None:
    """Each request is one task that ended as it may; the money, the pictures, the callbacks."""
    assert store.read(audit) == []
    rows = store.read(lambda tx: tx.execute(select(task)).all())
    ends = {row.public_id: row for row in rows}
    accepted = {identity for each in clients for identity in each.accepted.values()}
    assert accepted == ends.keys()
    cancelled = {identity for each in clients for identity in each.cancelled}
    for identity, row in ends.items():
        may = {"succeeded"} | ({"cancelled"} if identity in cancelled else set())
        lost = row.state == "failed" and row.attempt == ATTEMPTS_MAX
        assert row.state in may or lost, (identity, row.state, row.error_message)
    drawn = sum(row.state == "succeeded" for row in rows)
    (books,) = store.read(lambda tx: tx.execute(select(account)).all())
    used = drawn * PRICE
    assert (books.available, books.held, books.used) == (FIRST_CREDITS - used, 0, used)
    check_pictures(store, running.data)
    check_callbacks(store, receiver)


def check_pictures(store: Store, data: Path) -> None:
    """The bytes that a row points to are those that were written."""
    for row in store.read(lambda tx: tx.execute(select(file)).all()):
        kept = (data / "pictures" / store.id / row.blob_key).read_bytes()
        assert hashlib.sha256(kept).hexdigest() == row.sha256


def check_callbacks(store: Store, receiver: Receiver) -> None:
    """Each was delivered, as often as it may be, by one id and in the same bytes."""
    posts: dict[str, list[Sent]] = defaultdict(list)
    for sent in list(receiver.requests):
        posts[sent.path].append(sent)
    owed = store.read(lambda tx: tx.execute(select(outbox)).all())
    assert {row.url.removeprefix(receiver.url) for row in owed} == posts.keys()
    for row in owed:
        mine = posts[row.url.removeprefix(receiver.url)]
        assert row.state == "delivered"
        assert {sent.headers["webhook-id"] for sent in mine} == {row.id}
        assert len({sent.body for sent in mine}) == 1
