"""The admin API: each resource's whole life, who may come in, what is noted, what is refused."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
import pytest
import schemathesis
from sqlalchemy import select, update

from tests.audit import MODEL, NOW, Clock, accepted, audit, funded, kept_file, submission
from zing import admin_api, app, cli, dialects, documents, keys, ledger, queue
from zing.admin import Operator
from zing.admin_api import OPERATIONS, PREFIX, Operation
from zing.app import Wiring
from zing.blobs import Blobs, Links
from zing.cli.opened import opened
from zing.documents.admin import PLACES, SAMPLES
from zing.keys import Allowed, Key, Scope
from zing.queue import Outcome
from zing.service import Served, Service, Terms
from zing.store import Store, audit_log, outbox
from zing.store.schema import api_key
from zing.task import Attempt, DeliveryState, TaskState

PEPPER = b"p" * 32
ADDRESS = "192.0.2.7"
ADMIN = Allowed(scopes=frozenset({Scope.ADMIN}))
URL = "https://hooks.example.com/zing?token=secret"
DOCUMENT = json.loads(
    documents.Library(dialects.ALL, "https://x.example").read("/docs/admin.json")[1]
)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The code of a refusal, whose form is checked."""
        assert list(self.body) == ["error"]
        assert list(self.body["error"]) == ["code", "message"]
        assert self.body["error"]["message"]
        return str(self.body["error"]["code"])


@dataclass
class Desk:
    """A service without a server or a worker, and an operator's key to it."""

    service: Service
    clock: Clock
    key: str = ""
    key_id: str = ""
    woken: list[int] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.service.store

    def send(
        self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> Reply:
        """Send a request; the answer is checked against the document."""
        text = body if isinstance(body, bytes) else b"" if body is None else compact(body)
        given = {"authorization": f"Bearer {self.key if key is None else key}", **headers}
        if headers.pop("headerless", ""):
            given = headers
        reply = asyncio.run(self._send(method, path, text, given))
        assert reply.headers["x-request-id"]
        assert reply.headers["cache-control"] == "no-store"
        check(method, path.partition("?")[0], reply)
        return reply

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": PREFIX + path,
            "query_string": query.encode(),
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in headers.items()
            ],
            "client": (ADDRESS, 1234),
        }
        sent: list[Any] = []

        came = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in came:
                return message
            await asyncio.Event().wait()  # the client stays and says no more
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await app.build(Wiring(self.service))(scope, receive, send)
        start, *rest = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, b"".join(each.get("body", b"") for each in rest))

    def get(self, path: str, **query: Any) -> Any:
        """What a GET that is answered says."""
        reply = self.send("GET", f"{path}?{urlencode(query)}" if query else path)
        assert reply.status == 200, reply.content
        return reply.body

    def do(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """What a request that is answered says."""
        reply = self.send(method, path, body)
        assert reply.status == status, reply.content
        return reply.body

    def mint(self, allowed: Allowed = ADMIN, name: str = "operator") -> tuple[str, Key]:
        """Another key, of an account of its own."""

        def make(tx: Any) -> tuple[str, Key]:
            owner = ledger.open_account(tx, NOW)
            return keys.mint(tx, PEPPER, name, owner, NOW, allowed)

        return self.store.write(make)

    def log(self, limit: int = 1) -> list[tuple[str, str, str, str]]:
        """The last lines of the audit log, the newest first: who, from where, what, to whom."""
        found = self.store.read(lambda tx: audit_log.last(tx, limit))
        return [(each.actor, each.address, each.action, each.target) for each in found]

    def noted(self, action: str, target: str) -> bool:
        """Whether the last line of the log is of this."""
        return self.log() == [(self.key_id, ADDRESS, action, target)]


def compact(value: Any) -> bytes:
    return json.dumps(value).encode()


def operation_of(method: str, path: str) -> Any:
    """What the document has of an address; None where it has none."""
    for template, methods in DOCUMENT["paths"].items():
        parts, said = template.split("/"), (PREFIX + path).split("/")
        same = len(parts) == len(said) and all(
            one == other or (one.startswith("{") and other)
            for one, other in zip(parts, said, strict=True)
        )
        if same and method.lower() in methods:
            return methods[method.lower()]
    return None


def check(method: str, path: str, reply: Reply) -> None:
    """The answer is one that the document has."""
    told = operation_of(method, path)
    if told is None:
        assert reply.status in (404, 405)
        return
    response = told["responses"][str(reply.status)]
    kind = reply.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        schema = {**response["content"][kind]["schema"], "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(reply.body)
    assert kind in response["content"]
    for name in ("retry-after", "allow"):
        assert name not in reply.headers or name.title() in response["headers"]


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    clock = Clock(NOW + 10)
    woken: list[int] = []
    service = Service(
        store=store,
        blobs=Blobs(tmp_path / "pictures"),
        links=Links(PEPPER, "https://zing.example"),
        pepper=PEPPER,
        terms=Terms(26_000, 86_400.0),
        served=Served(MODEL, strict=True),
        clock=clock,
        wake=lambda: woken.append(1),
    )
    made = Desk(service, clock, woken=woken)
    made.key, key = made.mint()
    made.key_id = key.id
    return made


@pytest.fixture
def account(desk: Desk) -> str:
    """An account with credits for 10 tasks."""
    return funded(desk.store, 10)


def draw(store: Store, count: int = 1, now: float = NOW) -> None:
    """A worker takes and draws that many of the tasks that wait."""
    name = f"w{queue.task_id(NOW)}"
    store.write(lambda tx: queue.register(tx, name, "host", now, 600.0))
    held = store.write(lambda tx: queue.claim(tx, name, MODEL, count, now + 1))
    ends = [(each, Outcome(TaskState.SUCCEEDED, file=kept_file(each.task.id))) for each in held]
    assert len(held) == count
    store.write(lambda tx: queue.settle(tx, ends, now + 3))


# Accounts and money


def test_an_account_is_opened_found_and_changed(desk: Desk) -> None:
    made = desk.do("POST", "/accounts", {"credits": "2.5", "reason": "paid"}, 201)
    assert (made["available"], made["available_micro"], made["weight"]) == (2.5, 2_500_000, 1)
    assert desk.log(2) == [
        (desk.key_id, ADDRESS, "credits granted", made["id"]),
        (desk.key_id, ADDRESS, "account opened", made["id"]),
    ]
    place = {"weight": 3, "max_running": 2, "max_open": 40}
    changed = desk.do("PATCH", f"/accounts/{made['id']}", place)
    assert {name: changed[name] for name in place} == place
    assert desk.noted("account changed", made["id"])
    again = desk.do("PATCH", f"/accounts/{made['id']}", {"max_running": None})
    assert (again["max_running"], again["weight"]) == (None, 3)
    assert desk.get(f"/accounts/{made['id']}") == again
    assert desk.do("PATCH", f"/accounts/{made['id']}", {}) == again
    assert again in desk.get("/accounts")["data"]


def pages(desk: Desk, path: str, **query: Any) -> Iterator[list[Any]]:
    """Every page of a list, followed by `next`."""
    page = desk.get(path, **query)
    while True:
        yield page["data"]
        if page["next"] is None:
            return
        page = desk.get(path, after=page["next"], **query)


def test_lists_come_by_pages_the_newest_first(desk: Desk, account: str) -> None:
    for number in range(5):
        desk.clock.now += 1
        desk.do("POST", "/keys", {"name": f"key {number}", "account": account}, 201)
        desk.do("POST", "/accounts", {}, 201)
        accepted(desk.store, submission(account, callback_url=URL), desk.clock.now)
    draw(desk.store, 4, desk.clock.now)
    lists = ("/accounts", "/keys", "/tasks", f"/accounts/{account}/ledger", "/audit-log")
    for path in (*lists, "/callbacks"):
        (whole,) = pages(desk, path, limit=500)
        by_two = list(pages(desk, path, limit=2))
        assert [each for page in by_two for each in page] == whole, path
        assert {len(page) for page in by_two[:-1]} == {2}
        assert len(whole) > 3
        times = [each.get("created_at", each.get("at")) for each in whole]
        assert times == sorted(times, reverse=True)


def test_a_ledger_shows_grants_adjustments_and_refunds(desk: Desk, account: str) -> None:
    task = accepted(desk.store, submission(account))
    draw(desk.store)
    path = f"/accounts/{account}"
    assert desk.do("POST", f"{path}/grants", {"credits": "1.5"}, 201)["available"] == 1.734
    assert desk.noted("credits granted", account)
    taken = desk.do("POST", f"{path}/adjustments", {"credits": -0.5, "reason": "typo"}, 201)
    assert taken["available_micro"] == 1_234_000
    assert desk.noted("credits adjusted", account)
    back = desk.do("POST", f"/tasks/{task.public_id}/refund", {"reason": "black"}, 201)
    assert (back["id"], back["available"], back["used"]) == (account, 1.26, 0)
    assert desk.noted("task refunded", task.public_id)
    entries = desk.get(f"{path}/ledger")["data"]
    kinds = [(each["kind"], each["credits_micro"], each["reason"]) for each in entries]
    assert kinds == [
        ("refund", 26_000, "black"),
        ("adjust", -500_000, "typo"),
        ("grant", 1_500_000, ""),
        ("settle", 26_000, ""),
        ("hold", 26_000, ""),
        ("grant", 260_000, ""),
    ]
    assert entries[0]["task"] == task.public_id
    assert desk.get(f"{path}/ledger", until=NOW)["data"] == []
    assert desk.store.read(audit) == []
    again = desk.send("POST", f"/tasks/{task.public_id}/refund", {"reason": "again"})
    assert (again.status, again.code) == (400, "refused")
    assert desk.noted("task refunded", task.public_id)


@pytest.mark.parametrize("by", ["?format=csv", "?format=csv&from=0&until=99999999999", ""])
def test_a_ledger_is_exported_as_csv(desk: Desk, account: str, by: str) -> None:
    desk.do("POST", f"/accounts/{account}/grants", {"credits": 1, "reason": "=1+1"}, 201)
    accept = {} if by else {"accept": "text/csv"}
    reply = desk.send("GET", f"/accounts/{account}/ledger{by}", **accept)
    assert reply.headers["content-type"].startswith("text/csv")
    lines = reply.content.decode().splitlines()
    assert lines[0].startswith("id,created_at,account")
    assert [line.split(",")[4] for line in lines[1:]] == ["grant", "grant"]
    assert lines[2].endswith(",'=1+1")


def test_what_cannot_be_taken_is_refused(desk: Desk, account: str) -> None:
    path = f"/accounts/{account}"
    more = desk.send("POST", f"{path}/adjustments", {"credits": -1, "reason": "x"})
    assert (more.status, more.code) == (400, "refused")
    much = {"credits": 999_999_999_999}
    for _ in range(2):
        desk.do("POST", f"{path}/grants", much, 201)
    assert desk.send("POST", f"{path}/grants", much).code == "refused"
    assert desk.get(path)["available"] == 2 * 999_999_999_999 + 0.26
    assert desk.store.read(audit) == []


# Keys


def test_a_keys_whole_life(desk: Desk) -> None:
    asked = {
        "name": "shop",
        "credits": 3,
        "scopes": ["create", "read"],
        "dialects": ["kie"],
        "models": [MODEL],
        "cap": 100,
        "daily_cap": "2.5",
        "rate": "20/10",
        "expires_at": NOW + 3600,
    }
    made = desk.do("POST", "/keys", asked, 201)
    assert desk.noted("key created", made["id"])
    text = made.pop("key")
    assert (made["scopes"], made["dialects"], made["models"]) == (
        ["create", "read"],
        ["kie"],
        [MODEL],
    )
    assert (made["cap"], made["daily_cap"], made["rate"]) == (100, 2.5, "20/10")
    assert desk.service.authenticate(text).id == made["id"]
    assert desk.get(f"/accounts/{made['account']}")["available"] == 3
    path = f"/keys/{made['id']}"
    assert desk.get(path) == made
    changed = desk.do("PATCH", path, {"name": "other", "cap": None, "models": [], "rate": None})
    assert changed == {
        **made,
        "name": "other",
        "cap": None,
        "models": [],
        "rate": None,
    }
    assert desk.noted("key changed", made["id"])
    assert desk.do("POST", f"{path}/disable")["state"] == "disabled"
    assert desk.noted("key disabled", made["id"])
    assert desk.do("POST", f"{path}/enable")["state"] == "active"
    rotated = desk.do("POST", f"{path}/rotate", None, 201)
    assert rotated["id"] != made["id"]
    assert rotated["account"] == made["account"]
    assert desk.noted("key rotated", made["id"])
    assert desk.do("POST", f"/keys/{rotated['id']}/revoke")["state"] == "revoked"
    assert desk.noted("key revoked", rotated["id"])
    listed = desk.get("/keys", account=made["account"])["data"]
    assert {each["id"] for each in listed} == {made["id"], rotated["id"]}
    assert text.rpartition("_")[2] not in json.dumps(desk.get("/keys"))
    assert text.rpartition("_")[2] not in json.dumps(desk.get("/audit-log"))


def test_the_last_admin_key_is_not_taken(desk: Desk) -> None:
    path = f"/keys/{desk.key_id}"
    for ending in ENDINGS:
        reply = desk.send(*[f"{path}{each}" if n == 1 else each for n, each in enumerate(ending)])
        assert (reply.status, reply.code) == (409, "last_admin_key"), ending
    assert desk.get(path)["state"] == "active"
    assert desk.log() == []
    text, other = desk.mint()
    desk.store.write(lambda tx: keys.disable(tx, other.id, NOW))
    assert desk.send("POST", f"{path}/revoke").status == 409
    desk.store.write(lambda tx: keys.enable(tx, other.id, NOW))
    assert desk.do("POST", f"{path}/revoke")["state"] == "revoked"
    assert desk.send("GET", "/keys").code == "key_ended"
    assert desk.send("GET", "/keys", key=text).status == 200


ENDINGS: list[list[Any]] = [
    ["POST", "/revoke"],
    ["POST", "/disable"],
    ["PATCH", "", {"scopes": ["read"]}],
    ["PATCH", "", {"expires_at": NOW}],
]


# Tasks and callbacks


def test_tasks_are_looked_for_shown_and_cancelled(desk: Desk, account: str) -> None:
    other = funded(desk.store)
    first = accepted(desk.store, submission(account))
    draw(desk.store)
    second = accepted(desk.store, submission(other, dialect="kie"), NOW + 4)
    for query, found in (
        ({}, [second, first]),
        ({"state": "queued"}, [second]),
        ({"state": "succeeded"}, [first]),
        ({"account": account}, [first]),
        ({"account": "acct_none"}, []),
        ({"dialect": "kie"}, [second]),
        ({"from": NOW + 1}, [second]),
        ({"until": NOW + 1}, [first]),
        ({"from": NOW, "until": NOW + 4}, [first]),
    ):
        ids = [each["id"] for each in desk.get("/tasks", **query)["data"]]
        assert ids == [each.public_id for each in found], query
    shown = desk.get(f"/tasks/{first.public_id}")
    assert (shown["state"], shown["progress"], len(shown["links"])) == ("succeeded", 100, 1)
    path = f"/tasks/{second.public_id}/cancel"
    assert desk.do("POST", path)["state"] == "cancelled"
    assert desk.noted("task cancelled", second.public_id)
    assert desk.woken
    again = desk.send("POST", path)
    assert (again.status, again.code) == (409, "task_has_ended")
    assert len(desk.log(10)) == 1


def test_callbacks_are_shown_with_their_attempts_and_sent_again(desk: Desk, account: str) -> None:
    task = accepted(desk.store, submission(account, callback_url=URL))
    draw(desk.store)
    (listed,) = desk.get("/callbacks")["data"]
    assert (listed["task"], listed["state"]) == (task.public_id, "due")
    assert "secret" not in listed["url"]

    def fail(tx: Any) -> None:
        (held,) = outbox.claim(tx, {listed["id"]: "{}"}, NOW + 4, NOW + 60)
        attempt = Attempt(1, NOW + 4, 0.5, 500, "It answered 500.")
        outbox.record(tx, [outbox.Record(held, attempt, DeliveryState.EXHAUSTED, NOW + 5)])

    desk.store.write(fail)
    shown = desk.get(f"/callbacks/{task.public_id}")
    assert (shown["state"], shown["attempts"][0]["status"]) == ("exhausted", 500)
    assert desk.get("/callbacks", state="due")["data"] == []
    assert desk.do("POST", f"/callbacks/{listed['id']}/resend")["state"] == "due"
    assert desk.noted("callback resent", listed["id"])
    assert len(desk.get("/callbacks", state="due", account=account)["data"]) == 1


# The server itself


def test_workers_and_their_progress_are_shown(desk: Desk, account: str) -> None:
    task = accepted(desk.store, submission(account))
    desk.store.write(lambda tx: queue.register(tx, "w1", "host-1", NOW, 60.0))
    desk.store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))
    said = {"model": MODEL, "pace": 0.5, task.id: [3, 8, "data:image/webp;base64,AAAA"]}
    desk.store.write(lambda tx: queue.beat(tx, "w1", "draining", said, NOW + 60))
    (shown,) = desk.get("/workers")["data"]
    assert (shown["host"], shown["draining"], shown["alive"]) == ("host-1", True, True)
    assert shown["model"] == MODEL
    assert shown["tasks"] == [{"task": task.id, "step": 3, "steps": 8}]
    desk.clock.now = NOW + 61
    assert desk.get("/workers")["data"][0]["alive"] is False


def test_the_limits_are_shown(desk: Desk) -> None:
    assert desk.get("/limits") == {
        "queue_max": 10_000,
        "open_max": 1000,
        "rates": {"kie": "20/10"},
        "price": 0.026,
        "price_micro": 26_000,
    }


def test_switches_are_turned(desk: Desk) -> None:
    assert desk.get("/maintenance") == {"maintenance": False}
    on = desk.do("PUT", "/maintenance", {"message": "Back at five."})
    assert on == {"maintenance": True, "since": NOW + 10, "message": "Back at five."}
    assert desk.noted("maintenance on", "")
    assert desk.get("/maintenance") == on
    assert desk.do("DELETE", "/maintenance") == {"maintenance": False}
    assert desk.do("DELETE", "/dialects/kie") == {
        "name": "kie",
        "enabled": False,
        "since": NOW + 10,
    }
    assert desk.noted("dialect disabled", "kie")
    states = {each["name"]: each["enabled"] for each in desk.get("/dialects")["data"]}
    assert states == {each.NAME: each.NAME != "kie" for each in dialects.ALL}
    assert desk.do("PUT", "/dialects/kie")["enabled"] is True
    assert desk.get("/dialects/kie")["since"] is None
    assert desk.send("GET", "/dialects/dall-e").code == "not_found"


def test_the_audit_finds_what_is_broken(desk: Desk, account: str) -> None:
    assert desk.get("/audit")["clean"] is True
    desk.store.write(
        lambda tx: tx.execute(update(api_key).where(api_key.c.id == desk.key_id).values(used=7))
    )
    found = desk.get("/audit")
    assert not found["clean"]
    assert found["findings"]


def test_the_audit_log_is_read_by_action_and_actor(desk: Desk) -> None:
    desk.do("PUT", "/maintenance")
    Operator(desk.service).end_maintenance()
    all_of_it = desk.get("/audit-log")["data"]
    assert [each["action"] for each in all_of_it] == ["maintenance off", "maintenance on"]
    assert desk.get("/audit-log", action="maintenance on")["data"] == all_of_it[1:]
    assert desk.get("/audit-log", actor="command line")["data"] == all_of_it[:1]
    assert all_of_it[0]["address"] == ""


# Who comes in


def address(operation: Operation) -> str:
    """The path of an operation's example, below the prefix."""
    path = operation.path.removeprefix(PREFIX)
    for name, (sample, _) in PLACES.items():
        path = path.replace(f"{{{name}}}", sample)
    return path


each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


def test_only_an_active_admin_key_comes_in(desk: Desk) -> None:
    user, _ = desk.mint(Allowed())
    revoked, one = desk.mint()
    disabled, two = desk.mint()
    expired, _ = desk.mint(Allowed(ADMIN.scopes, expires_at=NOW))
    desk.store.write(lambda tx: keys.revoke(tx, one.id, NOW))
    desk.store.write(lambda tx: keys.disable(tx, two.id, NOW))
    before = desk.store.read(lambda tx: tx.execute(select(api_key)).all())
    for operation in OPERATIONS:
        for key, refused in (
            ("", (401, "unauthorized")),
            (desk.key[:-1], (401, "unauthorized")),
            (user, (403, "permission_denied")),
            (revoked, (401, "key_ended")),
            (expired, (401, "key_ended")),
            (disabled, (403, "key_disabled")),
        ):
            reply = desk.send(operation.method, address(operation), key=key)
            assert (reply.status, reply.code) == refused, operation.name
    assert desk.store.read(lambda tx: tx.execute(select(api_key)).all()) == before
    assert desk.log() == []


def test_where_requests_for_pictures_need_no_key_these_do(desk: Desk) -> None:
    desk.service = replace(desk.service, open_key=desk.key)
    assert desk.send("GET", "/keys").status == 200
    for key in ("", "Bearer", desk.key[:-1]):
        assert desk.send("GET", "/keys", key=key).status == 401
    assert desk.send("GET", "/keys", headerless="yes").status == 401


# What the command line says


def test_the_command_line_is_told_the_same(tmp_path: Path, capsys: Any) -> None:
    def zing(*arguments: str) -> Any:
        command = [*arguments, "--data", str(tmp_path / "data"), "--json"]
        cli.app(command, standalone_mode=False, prog_name="zing")
        return json.loads(capsys.readouterr().out)

    made = zing("keys", "create", "operator", "--scopes", "admin", "--credits", "5")
    account, key_id = made["account"], made["id"]
    zing("credits", "adjust", key_id, "--by", "-0.5", "--reason", "typo")
    zing("accounts", "set", account, "--weight", "3", "--max-running", "none")
    with opened(str(tmp_path / "data"), "") as service:
        desk = Desk(service, Clock(service.clock()), made["key"], key_id)
        task = accepted(service.store, submission(account, key_id=key_id, callback_url=URL))
        zing("maintenance", "on", "--message", "Back at five.")
        zing("dialects", "disable", "kie")
        same = [
            ("/accounts", ["accounts", "list"]),
            (f"/accounts/{account}", ["accounts", "show", account]),
            ("/tasks", ["tasks", "list"]),
            (f"/tasks/{task.public_id}", ["tasks", "show", task.public_id]),
            ("/callbacks", ["callbacks", "list"]),
            ("/maintenance", ["maintenance", "show"]),
            ("/dialects", ["dialects", "list"]),
        ]
        for path, command in same:
            told = desk.get(path)
            assert told.get("data", told) == zing(*command), path
        entries = desk.get(f"/accounts/{account}/ledger")["data"]
        assert entries[::-1] == zing("credits", "ledger", key_id)
        (listed,) = zing("keys", "list")
        assert listed | {"last_used_at": 0} == desk.get(f"/keys/{key_id}") | {"last_used_at": 0}
        actions = [each["action"] for each in desk.get("/audit-log")["data"]]
    assert actions == [
        "dialect disabled",
        "maintenance on",
        "account changed",
        "credits adjusted",
        "key created",
        "credits granted",
        "account opened",
    ]


# Bad input

CANNOT: list[tuple[str, str, Any, str]] = [
    ("GET", "/tasks?sate=queued", None, "sate"),
    ("GET", "/tasks?state=done", None, "state"),
    ("GET", "/tasks?limit=0", None, "limit"),
    ("GET", "/tasks?limit=501", None, "limit"),
    ("GET", "/tasks?limit=1e3", None, "limit"),
    ("GET", "/tasks?limit=٣", None, "limit"),
    ("GET", "/tasks?limit=1&limit=2", None, "twice"),
    ("GET", "/tasks?after=%00", None, "after"),
    ("GET", "/tasks?from=nan", None, "from"),
    ("GET", "/tasks?from=-1", None, "from"),
    ("GET", "/keys?account=%2e%2e%2f", None, "account"),
    ("GET", "/audit-log?after=x", None, "after"),
    ("GET", "/audit-log?after=9223372036854775808", None, "after"),
    ("GET", "/series", None, "name"),
    ("GET", "/series?name=nothing", None, "name"),
    ("GET", "/series?name=queue&step=0", None, "step"),
    ("GET", "/series?name=queue&from=5&until=5", None, "from"),
    ("GET", "/series?name=queue&from=0&until=1001&step=1", None, "step"),
    ("GET", "/workers?limit=1", None, "limit"),
    ("POST", "/accounts", {"credit": 1}, "credit"),
    ("POST", "/accounts", {"credits": -1}, "credits"),
    ("POST", "/accounts", {"credits": True}, "credits"),
    ("POST", "/accounts", {"credits": 10**12}, "credits"),
    ("POST", "/accounts", {"credits": 0.0000001}, "credits"),
    ("POST", "/accounts", {"credits": "1e3"}, "credits"),
    ("POST", "/accounts", {"credits": None}, "credits"),
    ("POST", "/accounts", {"reason": "x" * 201}, "reason"),
    ("POST", "/accounts", {"reason": "a\nb"}, "reason"),
    ("POST", "/accounts", {"reason": "\u0000"}, "reason"),
    ("PATCH", "/accounts/ACCOUNT", {"weight": 0}, "weight"),
    ("PATCH", "/accounts/ACCOUNT", {"weight": None}, "weight"),
    ("PATCH", "/accounts/ACCOUNT", {"weight": 1.0}, "weight"),
    ("PATCH", "/accounts/ACCOUNT", {"max_running": -1}, "max_running"),
    ("PATCH", "/accounts/ACCOUNT", {"max_open": 10**30}, "max_open"),
    ("PATCH", "/accounts/ACCOUNT", {"available": 5}, "available"),
    ("POST", "/accounts/ACCOUNT/grants", {}, "credits"),
    ("POST", "/accounts/ACCOUNT/grants", {"credits": 0}, "credits"),
    ("POST", "/accounts/ACCOUNT/adjustments", {"credits": 1}, "reason"),
    ("POST", "/keys", {}, "name"),
    ("POST", "/keys", {"name": ""}, "name"),
    ("POST", "/keys", {"name": "a\u202eb"}, "name"),
    ("POST", "/keys", {"name": "x", "scopes": []}, "scopes"),
    ("POST", "/keys", {"name": "x", "scopes": ["root"]}, "scopes"),
    ("POST", "/keys", {"name": "x", "scopes": "admin"}, "scopes"),
    ("POST", "/keys", {"name": "x", "scopes": [["read"]]}, "scopes"),
    ("POST", "/keys", {"name": "x", "dialects": ["kie", "kie"]}, "dialects"),
    ("POST", "/keys", {"name": "x", "models": ["m"] * 51}, "models"),
    ("POST", "/keys", {"name": "x", "rate": "0/10"}, "rate"),
    ("POST", "/keys", {"name": "x", "rate": 20}, "rate"),
    ("POST", "/keys", {"name": "x", "expires_at": "tomorrow"}, "expires_at"),
    ("POST", "/keys", {"name": "x", "expires_at": 1e300}, "expires_at"),
    ("PUT", "/maintenance", {"message": "two\nlines"}, "message"),
    ("PUT", "/dialects/kie", {"enabled": False}, "enabled"),
]


def test_what_cannot_be_said_is_refused_by_its_name(desk: Desk, account: str) -> None:
    for method, path, body, name in CANNOT:
        reply = desk.send(method, path.replace("ACCOUNT", account), body)
        assert (reply.status, reply.code) == (400, "invalid_field"), (path, body)
        assert name in reply.body["error"]["message"], (path, body)
    assert desk.log() == []


@pytest.mark.parametrize(
    ("body", "headers", "refused"),
    [
        (b"[]", {}, (400, "invalid_body")),
        (b'{"a":', {}, (400, "invalid_body")),
        (b'{"credits": NaN}', {}, (400, "invalid_body")),
        (b'{"credits": 1, "credits": 2}', {}, (400, "invalid_body")),
        (b"\xff", {}, (400, "invalid_body")),
        (b"{" + b" " * 65_536, {}, (413, "request_too_large")),
        (b"credits=1", {"content-type": "text/plain"}, (415, "unsupported_media_type")),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    desk: Desk, body: bytes, headers: dict[str, str], refused: tuple[int, str]
) -> None:
    reply = desk.send("POST", "/accounts", body, **headers)
    assert (reply.status, reply.code) == refused


def test_an_id_that_is_none_is_not_found(desk: Desk) -> None:
    for name, code in (("account", "account"), ("key", "key"), ("task", "task")):
        path = next(each.path for each in OPERATIONS if each.path.endswith(f"{{{name}}}"))
        for identity in ("nothing", "a b", "\x00", "é", "x" * 129, "%", "..", "'--"):
            asked = path.removeprefix(PREFIX).replace(f"{{{name}}}", identity)
            reply = desk.send("GET", asked)
            assert (reply.status, reply.code) == (404, f"{code}_not_found"), identity
    body = {"name": "x", "account": "acct_none"}
    assert desk.send("POST", "/keys", body).code == "account_not_found"
    for path in ("grants", "adjustments"):
        said = {"credits": 1, "reason": "x"}
        assert desk.send("POST", f"/accounts/acct_none/{path}", said).status == 404
    assert desk.send("PATCH", "/accounts/acct_none", {"weight": 1}).status == 404
    for each in ("cancel", "refund"):
        sent = {"reason": "x"} if each == "refund" else None
        assert desk.send("POST", f"/tasks/nothing/{each}", sent).code == "task_not_found"
    assert desk.send("POST", "/callbacks/nothing/resend").code == "task_not_found"


def test_unknown_addresses_and_methods_are_answered_in_the_same_words(desk: Desk) -> None:
    for path in ("", "/", "/nothing", "/keys/a/b/c", "/accounts/"):
        reply = desk.send("GET", path)
        assert (reply.status, reply.code) == (404, "not_found"), path
    reply = desk.send("PUT", "/keys")
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["allow"] == "GET, HEAD, POST"


# The document


def test_the_document_is_valid_and_has_every_address() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    described = {
        (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    assert described == {(each.method, each.path) for each in OPERATIONS}
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)


@each_operation
def test_every_sample_is_what_the_schema_says(operation: Operation) -> None:
    told = DOCUMENT["paths"][operation.path][operation.method.lower()]
    contents = [each["content"]["application/json"] for each in told["responses"].values()]
    if "requestBody" in told:
        contents.append(told["requestBody"]["content"]["application/json"])
    for content in contents:
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        checked = jsonschema_rs.Draft202012Validator(schema)
        for example in content["examples"].values():
            checked.validate(example["value"])
            assert not checked.is_valid({**example["value"], "more": 1})


def test_every_object_has_a_sample_and_is_used() -> None:
    used = {each.reply.removesuffix("[]") for each in OPERATIONS}
    assert SAMPLES.keys() == used
    assert DOCUMENT["components"]["schemas"].keys() == used | {"Refusal"}


def test_every_error_has_its_code() -> None:
    for kind, (status, code) in admin_api.ERRORS.items():
        assert admin_api.refusal(kind())[0] == status
        row = {"status": status, "code": code}
        rows = [{name: each[name] for name in row} for each in DOCUMENT["x-errors"]]
        assert row in rows or code in ("refused", "unavailable")
