"""Idempotency keys (I4): sent again, a request is the same task, one charge, the first answer."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests import databases, requests, servers
from tests.audit import MODEL, NOW, PRICE, Clock, audit, funded
from tests.requests import JSON, LEAST, NAMES, SMALL, SUBMIT, Reply, check_refusal, compact, task_id
from tests.test_service import Shape
from zing import keys, ledger
from zing.blobs import Blobs, Links
from zing.errors import IdempotencyConflict, InsufficientCredits
from zing.service import Asking, Served, Service, Terms
from zing.store import Store
from zing.store.idem import KEEP_S, Sent
from zing.store.schema import idem
from zing.store.schema import task as task_table
from zing.task import ImageRequest

PEPPER = b"p" * 32
ASKED = ImageRequest("a cat", 64, 64)

each_dialect = pytest.mark.parametrize("name", NAMES)


# The use case, on both databases


@dataclass(frozen=True)
class Got:
    """An answer; `again` where it is the first request's."""

    answer: str
    again: bool


class Desk:
    """A service with one account, and requests with idempotency keys to it."""

    def __init__(self, store: Store, folder: Path, tasks: int = 1000) -> None:
        self.store = store
        self.clock = Clock()
        self.account_id = funded(store, tasks)
        minted = store.write(lambda tx: keys.mint(tx, PEPPER, "k", self.account_id, NOW))
        self.key = minted[1]
        self.service = Service(
            store=store,
            blobs=Blobs(folder),
            links=Links(PEPPER, "http://127.0.0.1:8000"),
            pepper=PEPPER,
            terms=Terms(PRICE, 86_400.0),
            served=Served(MODEL, strict=False),
            clock=self.clock,
            wake=lambda: None,
        )

    def send(self, key: str = "once", asked: str = "hash", route: str = "/submit") -> Got:
        sent = Sent(self.account_id, route, key, asked)
        answered = self.service.submit(Asking(self.key, Shape(), ASKED, {}, sent))
        return Got(answered.answer, again=answered.view is None)

    def tasks(self) -> int:
        count = select(func.count()).select_from(task_table)
        return int(self.store.read(lambda tx: tx.scalar(count)) or 0)

    def held(self) -> int:
        return self.store.read(lambda tx: ledger.balance(tx, self.account_id)).held


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Any:
    """A desk whose books are in order afterwards."""
    made = Desk(store, tmp_path / "pictures")
    yield made
    assert store.read(audit) == []


def test_a_request_sent_again_is_the_same_task_and_one_charge(desk: Desk) -> None:
    first, *others = [desk.send() for _ in range(5)]
    assert first == Got(first.answer, again=False)
    assert others == [Got(first.answer, again=True)] * 4
    assert (desk.tasks(), desk.held()) == (1, PRICE)


def test_another_key_address_or_account_is_another_task(desk: Desk, tmp_path: Path) -> None:
    other = Desk(desk.store, tmp_path / "other")
    answers = {
        desk.send().answer,
        desk.send(key="twice").answer,
        desk.send(route="/other").answer,
        other.send().answer,
    }
    assert len(answers) == 4


def test_the_same_key_with_another_request_is_a_conflict(desk: Desk) -> None:
    desk.send()
    with pytest.raises(IdempotencyConflict):
        desk.send(asked="another hash")
    with pytest.raises(IdempotencyConflict):
        desk.service.first_answer(Sent(desk.account_id, "/submit", "once", "another hash"))
    assert desk.tasks() == 1


def test_a_refused_request_leaves_its_key_free(store: Store, tmp_path: Path) -> None:
    poor = Desk(store, tmp_path / "pictures", tasks=0)
    for _ in range(2):
        with pytest.raises(InsufficientCredits):
            poor.send()
    store.write(lambda tx: ledger.grant(tx, poor.account_id, PRICE, NOW))
    assert not poor.send().again
    assert poor.send().again


def test_fifty_at_once_are_one_task(desk: Desk) -> None:
    start = threading.Barrier(50)

    def send(_: int) -> Got:
        start.wait()
        return desk.send()

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    assert len({each.answer for each in answers}) == 1
    assert [each.again for each in answers].count(False) == 1
    assert (desk.tasks(), desk.held()) == (1, PRICE)


def test_a_key_is_kept_for_a_day(desk: Desk) -> None:
    first = desk.send()
    desk.clock.now += KEEP_S - 1
    assert desk.send() == replace(first, again=True)
    desk.clock.now += 1
    later = desk.send()
    assert not later.again
    assert later.answer != first.answer
    assert desk.send() == replace(later, again=True)
    assert desk.tasks() == 2


def test_old_keys_are_swept_and_young_ones_are_not(desk: Desk) -> None:
    from zing.housekeeper import Housekeeper

    def kept() -> set[str]:
        return set(desk.store.read(lambda tx: tx.scalars(select(idem.c.key)).all()))

    desk.send("old")
    desk.clock.now += KEEP_S / 2
    desk.send("young")
    desk.clock.now += KEEP_S / 2
    Housekeeper(desk.store, desk.service.blobs, desk.clock).sweep()
    assert kept() == {"young"}


# Over HTTP, in every dialect


def ask(
    server: servers.Server, name: str, key: str, fields: Any = None, account: str = ""
) -> Reply:
    asked = compact(fields or LEAST[name] | SMALL.get(name, {}))
    headers = JSON | {"Authorization": f"Bearer {account or server.key}", "Idempotency-Key": key}
    return requests.send(server.url, "POST", SUBMIT[name], asked, headers)


@each_dialect
def test_the_answer_comes_again_byte_for_byte_and_says_so(
    name: str, server: servers.Server
) -> None:
    first, again = (ask(server, name, f"again-{name}") for _ in range(2))
    assert task_id(name, first) == task_id(name, again)
    assert first.body == again.body
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    servers.ended(server, task_id(name, first))
    assert ask(server, name, f"again-{name}").body == first.body


@each_dialect
def test_another_body_under_the_same_key_is_refused(name: str, server: servers.Server) -> None:
    identity = task_id(name, ask(server, name, f"other-{name}"))
    body = json.loads(compact(LEAST[name]).replace(b"red barn", b"blue barn"))
    check_refusal(name, ask(server, name, f"other-{name}", body), "idempotency conflict")
    assert task_id(name, ask(server, name, f"other-{name}")) == identity


def test_the_headers_of_evolinks_own_client_are_taken(server: servers.Server) -> None:
    run = f"run_{'0' * 32}"
    headers = JSON | {"Authorization": f"Bearer {server.key}", "Idempotency-Key": run}
    headers |= {"X-Evo-Run-Id": run, "X-Evo-Client": "cli", "X-Evo-Tool": "image"}
    body = compact(LEAST["evolink"] | SMALL["evolink"])
    replies = [
        requests.send(server.url, "POST", SUBMIT["evolink"], body, headers) for _ in range(2)
    ]
    assert task_id("evolink", replies[0]) == task_id("evolink", replies[1])


def test_the_order_of_fields_is_not_another_body(server: servers.Server) -> None:
    fields = LEAST["evolink"] | SMALL["evolink"]
    turned = dict(reversed(fields.items()))
    replies = [ask(server, "evolink", "turned", each) for each in (fields, turned)]
    assert replies[0].body == replies[1].body


def test_the_same_key_of_two_accounts_is_two_tasks(server: servers.Server) -> None:
    other = servers.new_key(server)
    mine, theirs = ask(server, "evolink", "shared"), ask(server, "evolink", "shared", account=other)
    assert task_id("evolink", mine) != task_id("evolink", theirs)


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "键".encode().decode("latin-1")])
def test_a_key_that_is_none_is_refused_by_name(key: str, server: servers.Server) -> None:
    reply = ask(server, "evolink", key)
    check_refusal("evolink", reply, "bad input")
    assert reply.json()["error"]["param"] == "Idempotency-Key"


def test_the_longest_key_is_taken(server: servers.Server) -> None:
    first, again = (ask(server, "evolink", "~" * 255) for _ in range(2))
    assert first.body == again.body


def test_fifty_clients_at_once_get_one_task(server: servers.Server) -> None:
    account = servers.new_key(server)
    with ThreadPoolExecutor(50) as pool:
        replies = list(
            pool.map(lambda _: ask(server, "evolink", "fifty", account=account), range(50))
        )
    taken = [reply for reply in replies if reply.status == 200]
    assert len({reply.body for reply in taken}) == 1
    assert sum("idempotency-replayed" not in reply.headers for reply in taken) == 1
    for reply in replies:
        if reply.status != 200:
            check_refusal("evolink", reply, "idempotency in flight")
            assert int(reply.headers["retry-after"]) >= 1
    headers = {"Authorization": f"Bearer {account}"}
    listed = requests.send(server.url, "GET", "/v1/tasks", None, headers).json()
    assert listed["total"] == 1


def test_a_key_outlives_the_service(tmp_path: Path) -> None:
    with servers.serving(tmp_path / "data", "--no-worker") as first:
        answer = ask(first, "evolink", "kept")
        first.process.kill()
        first.process.wait()
    with servers.serving(tmp_path / "data", "--no-worker") as second:
        again = ask(second, "evolink", "kept")
        assert (again.status, again.body) == (200, answer.body)
        assert again.headers["idempotency-replayed"] == "true"
    assert servers.broken(tmp_path / "data") == []


def test_two_services_on_one_postgresql_make_one_task_and_one_charge(
    tmp_path: Path, postgresql: str
) -> None:
    data = tmp_path / "data"
    with databases.new_database(postgresql) as url:
        options = ("--no-worker", "--database", url)
        with servers.serving(data, *options) as one, servers.serving(data, *options) as two:
            with ThreadPoolExecutor(40) as pool:
                asked = [(server, f"key-{n % 5}") for n in range(20) for server in (one, two)]
                replies = list(pool.map(lambda each: ask(each[0], "evolink", each[1]), asked))
            by_key: dict[str, set[bytes]] = {}
            for (_, key), reply in zip(asked, replies, strict=True):
                if reply.status == 200:
                    by_key.setdefault(key, set()).add(reply.body)
                else:
                    check_refusal("evolink", reply, "idempotency in flight")
            assert {key: len(bodies) for key, bodies in by_key.items()} == {
                f"key-{n}": 1 for n in range(5)
            }
            again = [ask(server, "evolink", "key-0").body for server in (one, two)]
            assert {*again} == by_key["key-0"]
        store = Store(url)
        assert store.read(audit) == []
        count = select(func.count()).select_from(task_table)
        assert store.read(lambda tx: tx.scalar(count)) == 5
        store.close()
