"""Every route of the application, whichever it has: who may not is told so, and no more."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.audit import MODEL, audit, kept_file
from tests.callers import NOW, Caller, Clock, run
from tests.requests import LEAST, SUBMIT, Reply, check_refusal, compact
from zing import dialects, documents, queue
from zing.app import SCOPES, Endpoint
from zing.blobs import LINK_PATH
from zing.keys import Allowed, Key, Scope
from zing.queue import Outcome
from zing.store import Store
from zing.store.schema import api_key, metadata
from zing.task import TaskState

# What needs no key. A route that is neither here nor behind the gate fails the tests below.
OPEN = {"/healthz", "/readyz", "/metrics", "/", LINK_PATH + "{link}", *documents.PATHS}
ALL_SCOPES = frozenset(Scope)
WRONG = f"zk_live_00000000_{'0' * 43}"
PLACES = [(each, route) for each in dialects.ALL for route in each.ROUTES]
SHUT = {
    "no key": "bad key",
    "nothing but Bearer": "bad key",
    "bad key": "bad key",
    "wrong secret": "bad key",
    "revoked": "key ended",
    "expired": "key ended",
    "disabled": "key disabled",
    "wrong scope": "key may not do this",
    "only admin": "key may not do this",
    "wrong dialect": "key may not do this",
}


@dataclass
class House:
    """An application with two accounts: one has a task that waits and one with a picture."""

    caller: Caller
    owner: str
    task_ids: tuple[str, str]
    link: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("routes")
    store = Store(f"sqlite:///{folder / 'zing.db'}")
    caller = Caller.of(store, folder, Clock(), rate=None)
    text, _ = caller.key()
    drawn = _submit(caller, text)
    link = _draw(caller)
    yield House(caller, text, (_submit(caller, text), drawn), link)
    store.close()


def _submit(caller: Caller, text: str) -> str:
    body = compact(LEAST["evolink"])
    reply = run(caller.ask("POST", SUBMIT["evolink"], f"Bearer {text}", body))
    identity: str = reply.json()["id"]
    return identity


def _draw(caller: Caller) -> str:
    """The link of a picture that the task which waits has now; nobody has its bytes."""
    store = caller.service.store
    store.write(lambda tx: queue.register(tx, "w1", "host", NOW, 60.0))
    (claim,) = store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))
    end = Outcome(TaskState.SUCCEEDED, file=kept_file(claim.task.id))
    store.write(lambda tx: queue.settle(tx, [(claim, end)], NOW))
    return caller.service.look(claim.task.public_id, None).links[0]


def request(route: Any, house: House, task_id: str, link: str = "") -> tuple[str, str, bytes]:
    """A request to a route that is right in everything but perhaps who sends it."""
    path = route.path.replace("{id}", task_id)
    name = next(each.NAME for each, own in PLACES if own is route)
    match route.use.value, route.reads.value:
        case "submit", _:
            return route.method, path, compact(LEAST[name])
        case "link", _:
            return route.method, path, compact({"url": link or house.link})
        case "batch", _:
            return route.method, path, compact({"task_ids": [task_id], "ids": [task_id]})
        case "delete", _:
            return route.method, path, compact({"taskids": [task_id]})
        case _, "json":
            return route.method, path, compact({"taskid": task_id, "task_id": task_id})
    return route.method, f"{path}?taskId={task_id}&task_id={task_id}", b""


def key_for(case: str, dialect: Any, route: Any, caller: Caller) -> str | None:
    """The Authorization header of a case, with a key that is right but for that."""
    needed = SCOPES.get(route.use, Scope.READ)
    other = next(each.NAME for each in dialects.ALL if each is not dialect)
    allowed = {
        "wrong scope": Allowed(scopes=ALL_SCOPES - {needed, Scope.ADMIN}),
        "only admin": Allowed(scopes=frozenset({Scope.ADMIN})),
        "wrong dialect": Allowed(dialects=frozenset({other})),
    }
    text, key = caller.key(allowed.get(case, Allowed()))
    _stop(case, key, caller)
    headers = {
        "no key": None,
        "nothing but Bearer": "Bearer" if dialect.NAME != "tensorslab" else "Bearer ",
        "bad key": f"Bearer {WRONG}",
        "wrong secret": f"Bearer {text[:-1]}{'a' if text[-1] != 'a' else 'b'}",
    }
    return headers.get(case, f"Bearer {text}")


def _stop(case: str, key: Key, caller: Caller) -> None:
    changes = {
        "revoked": {"revoked_at": NOW},
        "expired": {"expires_at": NOW},
        "disabled": {"disabled_at": NOW},
    }
    if case in changes:
        stopped = update(api_key).where(api_key.c.id == key.id).values(**changes[case])
        caller.service.store.write(lambda tx: tx.execute(stopped))


def kept(caller: Caller) -> dict[str, Any]:
    """All that is durable, but for what is written of who came."""
    own = {"audit_log", "api_key"}
    tables = [each for each in metadata.sorted_tables if each.name not in own]
    spent = select(api_key.c.id, api_key.c.used, api_key.c.held, api_key.c.day_spent)

    def read(tx: Any) -> dict[str, Any]:
        found = {each.name: sorted(map(repr, tx.execute(select(each)))) for each in tables}
        return found | {"spent": {repr(row) for row in tx.execute(spent) if row.held or row.used}}

    return caller.service.store.read(read)


def leaves(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every route with its whole path, those that are mounted below others too."""
    for route in routes:
        path, below = prefix + route.path, getattr(route, "routes", None)
        yield from leaves(below, path) if below else [(path, route)]


def test_every_route_is_a_dialects_or_open_by_name_or_asks_for_a_key(house: House) -> None:
    behind, caller = [], house.caller
    usual, _ = caller.key()
    for path, route in leaves(caller.app.routes):
        owner = getattr(route.endpoint, "__self__", None)
        if isinstance(owner, Endpoint):
            behind.append((owner.dialect, owner.address))
        elif path not in OPEN:
            place = re.sub(r"\{[^}]*\}", "x", path)
            for method in route.methods:
                headers = (None, f"Bearer {WRONG}", f"Bearer {usual}")
                statuses = [run(caller.ask(method, place, each, b"{}")).status for each in headers]
                assert statuses == [401, 401, 403], (method, path)
    assert behind == PLACES


@pytest.mark.parametrize("case", SHUT)
def test_who_may_not_is_told_so_by_every_route_and_nothing_changes(case: str, house: House) -> None:
    caller = house.caller
    asked = [
        (dialect, request(route, house, house.task_ids[0]), key_for(case, dialect, route, caller))
        for dialect, route in PLACES
    ]
    before = kept(caller)

    async def ask_all() -> list[Reply]:
        calls = (caller.ask(method, path, key, body) for _, (method, path, body), key in asked)
        return list(await asyncio.gather(*calls))

    for (dialect, place, _), reply in zip(asked, run(ask_all()), strict=True):
        check_refusal(dialect.NAME, reply, SHUT[case])
        for word in (*house.task_ids, house.link, "acct_", "zk_live", "pending", "sqlite"):
            assert word not in reply.body.decode(), place
    assert kept(caller) == before
    assert caller.service.store.read(audit) == []


@pytest.mark.parametrize(("dialect", "route"), PLACES, ids=lambda each: getattr(each, "path", ""))
def test_anothers_task_is_as_one_that_never_was(dialect: Any, route: Any, house: House) -> None:
    caller = house.caller
    text, _ = caller.key()
    before = kept(caller)
    never = caller.service.links.sign("f" + "0" * 24, NOW + 9e4, ".png")
    for mine in house.task_ids:
        if route.use.value == "submit":
            continue  # it asks for nobody's
        unknown = re.sub("[0-9a-z]{8}$", "00000000", mine)
        replies = [
            run(caller.ask(method, path, f"Bearer {text}", body))
            for method, path, body in (
                request(route, house, mine),
                request(route, house, unknown, never),
            )
        ]
        theirs, nobodys = (replace(each, headers={}) for each in replies)
        assert theirs == nobodys
        assert mine not in theirs.body.decode()
    assert kept(caller) == before


@pytest.mark.parametrize(("dialect", "route"), PLACES, ids=lambda each: getattr(each, "path", ""))
def test_the_one_scope_that_a_route_needs_is_enough(dialect: Any, route: Any, house: House) -> None:
    """So that what is refused above is refused for its key and nothing else."""
    caller = house.caller
    needed = SCOPES.get(route.use, Scope.READ)
    allowed = Allowed(scopes=frozenset({needed}), dialects=frozenset({dialect.NAME}))
    owner = caller.service.authenticate(house.owner).account_id
    text, _ = caller.key(allowed, owner)
    task_id = _submit(caller, house.owner) if needed is Scope.CANCEL else house.task_ids[1]
    method, path, body = request(route, house, task_id)
    reply = run(caller.ask(method, path, f"Bearer {text}", body))
    assert reply.status == 200, reply
    if route.use.value != "follow":
        code = json.loads(reply.body).get("code", 200)
        assert code in (200, 1000), reply


def test_what_is_open_answers_without_a_key_and_tells_nothing_of_tasks(house: House) -> None:
    account_id = house.caller.service.authenticate(house.owner).account_id
    for path in sorted(OPEN - {LINK_PATH + "{link}", "/readyz", "/metrics"}):
        reply = run(house.caller.ask("GET", path))
        assert reply.status == 200, path
        for word in (*house.task_ids, account_id):
            assert word not in reply.body.decode(), path
