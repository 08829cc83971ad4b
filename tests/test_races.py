"""Races for money (I1, I4): of what many want at once nobody gets what is not there.

A round: 200 threads ask at once for a picture each, each by a transaction of its own, and the
account's credits are enough for 66. Several replicas are several stores on one database.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from tests import databases
from tests.audit import MODEL, NOW, PRICE, Clock, audit, funded
from tests.test_service import ASKED, PEPPER, Shape
from zing import keys, ledger
from zing.blobs import Blobs, Links
from zing.errors import Refused
from zing.keys import Key
from zing.service import Answered, Asking, Served, Service, Terms
from zing.store import Store
from zing.store.idem import Sent
from zing.store.schema import metadata
from zing.store.schema import task as task_table

THREADS, ENOUGH_FOR = 200, 66
CLEARED_EVERY = 25  # rounds: the queue is bounded

# Replicas and rounds. A round takes about 0.2 s on SQLite and 0.7 s on PostgreSQL.
FEW = {"sqlite": {1: 40, 2: 30, 4: 10}, "postgresql": {1: 10, 2: 6, 4: 4}}
MANY = {"sqlite": {1: 6000, 2: 2200, 4: 1300}, "postgresql": {1: 300, 2: 120, 4: 80}}


@dataclass(frozen=True)
class Replicas:
    """Services on one database, each with its own connections."""

    services: Sequence[Service]

    @property
    def store(self) -> Store:
        return self.services[0].store

    def account(self, tasks: int) -> Key:
        """The key of a new account whose credits are enough for that many tasks."""
        account_id = funded(self.store, tasks)
        return self.store.write(lambda tx: keys.mint(tx, PEPPER, "k", account_id, NOW))[1]

    def clear(self) -> None:
        self.store.write(_clear)


def _clear(tx: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if table.name != "installation":
            tx.execute(table.delete())


def _service(url: str, folder: Path) -> Service:
    return Service(
        store=Store(url),
        blobs=Blobs(folder),
        links=Links(PEPPER, "http://127.0.0.1:8000"),
        pepper=PEPPER,
        terms=Terms(PRICE, 86_400.0),
        served=Served(MODEL, strict=False),
        clock=Clock(),
        wake=lambda: None,
    )


@pytest.fixture
def url(database_kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new, empty database whose commits cost little."""
    if database_kind == "sqlite":
        with databases.quick_folder() as folder:
            yield f"sqlite:///{folder / 'zing.db'}"
        return
    with databases.new_database(request.getfixturevalue("postgresql")) as made:
        yield made


@pytest.fixture
def open_replicas(url: str, tmp_path: Path) -> Iterator[Callable[[int], Replicas]]:
    """Opens so many replicas; afterwards the books are in order."""
    opened: list[Service] = []

    def opening(count: int) -> Replicas:
        opened.extend(_service(url, tmp_path / "pictures") for _ in range(count))
        return Replicas(opened)

    yield opening
    assert opened[0].store.read(audit) == []
    for each in opened:
        each.store.close()


@pytest.fixture(params=databases.KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database."""
    return str(request.param)


def submit(service: Service, key: Key, idempotency: str = "") -> Answered | str:
    """What one request is answered, or the name of what refuses it."""
    sent = Sent(key.account_id, "/submit", idempotency, "hash") if idempotency else None
    try:
        return service.submit(Asking(key, Shape(), ASKED, {}, sent))
    except Refused as error:
        return type(error).__name__


def race(replicas: Replicas, rounds: int) -> None:
    """So many rounds, each on an account of its own."""
    start, services = threading.Barrier(THREADS), replicas.services
    with ThreadPoolExecutor(THREADS) as pool:

        def ask(number: int) -> str:
            start.wait(60)
            got = submit(services[number % len(services)], key)
            return got if isinstance(got, str) else "accepted"

        for number in range(rounds):
            key = replicas.account(ENOUGH_FOR)
            came = Counter(pool.map(ask, range(THREADS)))
            # A slow machine tells some that its database does not answer, and charges them nothing.
            asked = THREADS - came.pop("Unavailable", 0)
            paid = min(asked, ENOUGH_FOR)
            expected = Counter(accepted=paid, InsufficientCredits=asked - paid)
            assert came == expected, f"round {number}"
            has = replicas.store.read(lambda tx, of=key.account_id: ledger.balance(tx, of))
            assert (has.available, has.held) == ((ENOUGH_FOR - paid) * PRICE, paid * PRICE)
            if number % CLEARED_EVERY == CLEARED_EVERY - 1:
                assert replicas.store.read(audit) == []
                replicas.clear()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_two_hundred_threads_get_the_66_pictures_that_are_paid_for(
    open_replicas: Callable[[int], Replicas], database_kind: str, count: int
) -> None:
    race(open_replicas(count), FEW[database_kind][count])


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 4])
def test_in_10000_rounds_nobody_gets_a_67th_picture(
    open_replicas: Callable[[int], Replicas], database_kind: str, count: int
) -> None:
    race(open_replicas(count), MANY[database_kind][count])


def test_sets_that_are_accepted_together_get_no_more(
    open_replicas: Callable[[int], Replicas],
) -> None:
    """As the groups of an API process do: several requests of an account in one transaction."""
    replicas = open_replicas(2)
    start = threading.Barrier(40)
    for _ in range(3):
        key = replicas.account(ENOUGH_FOR)

        def ask(number: int, key: Key = key) -> Counter[str]:
            askings = [Asking(key, Shape(), ASKED, {}) for _ in range(5)]
            start.wait(60)
            answers = replicas.services[number % 2].submit_all(askings)
            return Counter(type(each).__name__ for each in answers)

        with ThreadPoolExecutor(40) as pool:
            came = sum(pool.map(ask, range(40)), Counter[str]())
        assert came == {"Answered": ENOUGH_FOR, "InsufficientCredits": 200 - ENOUGH_FOR}


@pytest.mark.parametrize("turn", range(3))
def test_fifty_with_one_idempotency_key_and_credits_for_one_get_that_one(
    open_replicas: Callable[[int], Replicas], turn: int
) -> None:
    """Who comes while the first is accepted is not told that the credits are spent: on it."""
    replicas = open_replicas(2)
    key, start = replicas.account(1), threading.Barrier(50)

    def ask(number: int) -> Answered | str:
        start.wait(60)
        return submit(replicas.services[number % 2], key, "once")

    with ThreadPoolExecutor(50) as pool:
        came = list(pool.map(ask, range(50)))
    (answer,) = {each if isinstance(each, str) else each.answer for each in came}
    assert answer.startswith("shape-")
    count = select(func.count()).select_from(task_table)
    assert replicas.store.read(lambda tx: tx.scalar(count)) == 1
