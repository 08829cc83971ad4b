"""How many statements and commits the common work takes: as many for a set as for one."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests.audit import MODEL, NOW, PRICE, Clock, audit, funded, kept_file, submission
from zing import app, keys, queue
from zing.blobs import Blobs, Links
from zing.queue import Claim, Outcome
from zing.service import Served, Service, Terms
from zing.store import Store, tasks
from zing.task import TaskState

# Each transaction begins and ends with one more.
ACCEPT = 10
ACCEPT_LIMITED = ACCEPT + 2
ACCEPT_BLOCKED = ACCEPT + 7
CLAIM_ONE, CLAIM_SOME = 5, 7
SETTLE = 7
LOOK_OPEN, LOOK_ENDED = 5, 2
AUTHENTICATE = 1
PEPPER = b"p" * 32
CONNECTIONS, ROUNDS = 32, 5


@pytest.fixture(autouse=True)
def audited(store: Store) -> Iterator[None]:
    """After every test, what must hold at any moment holds."""
    yield
    assert store.read(audit) == []


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """The statements that the database is sent meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    engines = {store._writer, store._reader}
    for each in engines:
        event.listen(each, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        for each in engines:
            event.remove(each, "before_cursor_execute", note)


def accept(store: Store, account_id: str, count: int, **changes: Any) -> int:
    """How many statements accepting so many tasks takes."""
    asked = [submission(account_id, **changes) for _ in range(count)]
    with counted(store) as sent:
        store.write(lambda tx: queue.accept(tx, asked, NOW))
    return len(sent)


def claim(store: Store, count: int) -> tuple[list[Claim], int]:
    with counted(store) as sent:
        claims = store.write(lambda tx: queue.claim(tx, "w1", MODEL, count, NOW))
    return claims, len(sent)


def settle(store: Store, claims: list[Claim]) -> int:
    ends = [
        (held, Outcome(TaskState.SUCCEEDED, result={}, file=kept_file(held.task.id)))
        for held in claims
    ]
    with counted(store) as sent:
        assert all(store.write(lambda tx: queue.settle(tx, ends, NOW + 1)))
    return len(sent)


@pytest.fixture
def account_id(store: Store) -> str:
    """An account with enough credits, and a worker that may claim."""
    store.write(lambda tx: queue.register(tx, "w1", "host", NOW, 600.0))
    return funded(store)


def test_accepting_many_takes_as_many_statements_as_accepting_one(
    store: Store, account_id: str
) -> None:
    assert accept(store, account_id, 1) == ACCEPT
    assert accept(store, account_id, 32) == ACCEPT
    assert accept(store, account_id, 1, dialect="kie") == ACCEPT_LIMITED
    assert accept(store, account_id, 32, dialect="kie") == ACCEPT_LIMITED
    assert accept(store, account_id, 1, refused=queue.Unreadable()) == ACCEPT_BLOCKED
    assert accept(store, account_id, 8, refused=queue.Unreadable()) == ACCEPT_BLOCKED


def test_claiming_and_settling_many_take_as_many_as_a_few(store: Store, account_id: str) -> None:
    accept(store, account_id, 40)
    one, statements = claim(store, 1)
    assert (len(one), statements) == (1, CLAIM_ONE)
    for count in (2, 8, 16):
        some, statements = claim(store, count)
        assert (len(some), statements) == (count, CLAIM_SOME)
        assert settle(store, some) == SETTLE
    assert settle(store, one) == SETTLE


def test_looking_at_many_takes_as_many_as_looking_at_one(store: Store, account_id: str) -> None:
    asked = [submission(account_id) for _ in range(20)]
    store.write(lambda tx: queue.accept(tx, asked, NOW))
    ids = [(each.public_id, account_id) for each in asked]
    for some in (ids[:1], ids):
        with counted(store) as sent:
            found = store.read(lambda tx, some=some: tasks.look(tx, some, NOW))
        assert (len(found), len(sent)) == (len(some), LOOK_OPEN + 1)  # no picture was drawn yet
    claims, _ = claim(store, 20)
    settle(store, claims)
    for some in (ids[:1], ids):
        with counted(store) as sent:
            store.read(lambda tx, some=some: tasks.look(tx, some, NOW))
        assert len(sent) == LOOK_ENDED


def test_many_keys_are_one_statement(store: Store, account_id: str) -> None:
    made = [store.write(lambda tx: keys.mint(tx, PEPPER, "k", account_id, NOW)) for _ in range(9)]
    texts = [text for text, _ in made]
    with counted(store) as sent:
        found = store.read(lambda tx: keys.authenticate(tx, PEPPER, texts, NOW))
    assert [key.id for _, key in made] == [each.id for each in found if isinstance(each, keys.Key)]
    assert len(sent) == AUTHENTICATE


def test_requests_that_come_together_share_their_commits(
    store: Store, account_id: str, tmp_path: Path
) -> None:
    """32 connections, each with its next request when the last is answered."""
    text, _ = store.write(lambda tx: keys.mint(tx, PEPPER, "k", account_id, NOW))
    service = Service(
        store=store,
        blobs=Blobs(tmp_path / "pictures"),
        links=Links(PEPPER, "http://127.0.0.1:8000"),
        pepper=PEPPER,
        terms=Terms(PRICE, 86_400.0),
        served=Served(MODEL, strict=False),
        clock=Clock(),
        wake=lambda: None,
    )
    built = app.build(app.Wiring(service))
    body = json.dumps({"model": "z-image-turbo", "prompt": "a cat"}).encode()
    commits: list[object] = []
    event.listen(store._writer, "commit", commits.append)

    async def send() -> int:
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def answered(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/images/generations",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {text}".encode())],
        }
        await built(scope, receive, answered)
        return statuses[0]

    async def connection() -> list[int]:
        return [await send() for _ in range(ROUNDS)]

    async def all_of_them() -> list[list[int]]:
        return await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))

    answers = asyncio.run(all_of_them())
    assert answers == [[200] * ROUNDS] * CONNECTIONS
    assert len(commits) * 8 <= CONNECTIONS * ROUNDS
