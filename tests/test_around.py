"""What clients call around a picture: lists, batches, balances, fresh links, the operator's word.

Each address on a real service, in the words of dialects.md 2; what a reply looks like byte for byte
is in the golden files.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import requests, servers
from tests.requests import (
    JSON,
    LEAST,
    NAMES,
    SMALL,
    SUBMIT,
    Reply,
    check_refusal,
    check_reply,
    compact,
    task_id,
)
from zing.task import MICRO

PRICE = 0.026
LINE = """id model type status progress created_at duration has_results result_count has_error
credits_used""".split()

each_dialect = pytest.mark.parametrize("name", NAMES)


class Caller:
    """A client with a key of its own."""

    def __init__(self, server: servers.Server, key: str) -> None:
        self.server = server
        self.key = key

    def ask(self, method: str, path: str, fields: Any = None, **headers: str) -> Reply:
        body = None if fields is None else compact(fields)
        sent = JSON | {"Authorization": f"Bearer {self.key}"} | headers
        return requests.send(self.server.url, method, path, body, sent)

    def submit(self, name: str = "evolink", **fields: Any) -> str:
        asked = LEAST[name] | SMALL.get(name, {}) | fields
        return task_id(name, self.ask("POST", SUBMIT[name], asked))

    def look(self, name: str, identity: str) -> Any:
        method, path, body = requests.look(name, identity)
        return self.ask(method, path, None if body is None else json.loads(body)).json()

    def ended(self, identity: str) -> Any:
        def end() -> Any:
            body = self.look("evolink", identity)
            return body if body["status"] not in ("pending", "processing") else None

        return servers.until(end)


@pytest.fixture
def caller(server: servers.Server) -> Caller:
    """A client of an account that nobody else uses."""
    return Caller(server, servers.new_key(server))


@pytest.fixture
def stranger(server: servers.Server) -> Caller:
    return Caller(server, servers.new_key(server))


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A service that draws nothing, so that what is queued stays so."""
    folder = tmp_path_factory.mktemp("idle") / "data"
    with servers.serving(folder, "--no-worker") as running:
        yield running


@pytest.fixture
def waiting(idle: servers.Server) -> Caller:
    """A client of the service that draws nothing."""
    return Caller(idle, servers.new_key(idle))


# EvoLink: credits


def test_credits_are_what_is_left_and_what_was_used(caller: Caller) -> None:
    def credits() -> Any:
        reply = caller.ask("GET", "/v1/credits")
        check_reply(reply)
        assert reply.status == 200
        return reply.json()

    assert credits() == {
        "data": {
            "token": {"remaining_credits": 100, "unlimited_credits": False, "used_credits": 0},
            "user": {"remaining_credits": 100, "used_credits": 0},
        },
        "message": "",
        "success": True,
    }
    caller.ended(caller.submit())
    data = credits()["data"]
    assert data["user"] == {"remaining_credits": 100 - PRICE, "used_credits": PRICE}
    assert data["token"] == {"unlimited_credits": False, **data["user"]}


def test_what_is_held_is_not_left_and_what_is_released_is(waiting: Caller) -> None:
    def left() -> float:
        found: float = waiting.ask("GET", "/v1/credits").json()["data"]["user"]["remaining_credits"]
        return found

    identity = waiting.submit()
    assert left() == 100 - PRICE
    waiting.ask("POST", f"/v1/tasks/{identity}/cancel")
    assert left() == 100


# EvoLink: lists and batches


def rows(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    reply = caller.ask("GET", f"/v1/tasks{query}")
    check_reply(reply)
    assert reply.status == 200, reply
    found: list[dict[str, Any]] = reply.json()["data"]
    return found


def test_a_list_has_the_accounts_tasks_of_every_dialect_the_newest_first(waiting: Caller) -> None:
    made = [waiting.submit(name) for name in NAMES]
    found = rows(waiting)
    assert [each["id"] for each in found] == made[::-1]
    assert {tuple(each) for each in found} == {tuple(each for each in LINE if each != "duration")}
    assert {each["status"] for each in found} == {"pending"}
    assert all(abs(each["created_at"] - time.time()) < 60 for each in found)


def test_a_line_of_a_picture_says_so_and_has_no_link(caller: Caller) -> None:
    body = caller.ended(caller.submit())
    (line,) = rows(caller)
    assert list(line) == LINE
    assert (line["id"], line["status"], line["progress"]) == (body["id"], "completed", 100)
    assert (line["has_results"], line["result_count"], line["has_error"]) == (True, 1, False)
    assert line["credits_used"] == PRICE
    assert line["duration"] == body["duration"]
    assert "http" not in json.dumps(line)


def test_a_list_is_filtered_by_status_type_and_model(waiting: Caller) -> None:
    queued, cancelled = waiting.submit(), waiting.submit()
    waiting.ask("POST", f"/v1/tasks/{cancelled}/cancel")
    expected = {
        "?status=pending": [queued],
        "?status=processing": [queued],
        "?status=completed": [],
        "?status=failed": [],
        "?status=cancelled": [cancelled],
        "?type=image": [cancelled, queued],
        "?type=video": [],
        "?model=z-image-turbo": [cancelled, queued],
        "?model=another": [],
        "?status=pending&type=image&model=z-image-turbo&page=1&page_size=1": [queued],
    }
    found = {query: [each["id"] for each in rows(waiting, query)] for query in expected}
    assert found == expected


def test_the_pages_of_a_list_are_the_whole_list_once(waiting: Caller) -> None:
    made = [waiting.submit() for _ in range(7)]
    pages = [waiting.ask("GET", f"/v1/tasks?page={n}&page_size=3").json() for n in (1, 2, 3, 4)]
    assert [[each["id"] for each in page["data"]] for page in pages] == [
        made[:3:-1],
        made[3:0:-1],
        made[:1],
        [],
    ]
    for number, page in enumerate(pages, 1):
        assert list(page) == ["data", "total", "page", "page_size"]
        assert (page["total"], page["page"], page["page_size"]) == (7, number, 3)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("page=-1", "page"),
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=99999999999999999999999", "page"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("status=queued", "status"),
        ("type=picture", "type"),
    ],
)
def test_a_list_that_cannot_be_is_refused_by_name(query: str, param: str, caller: Caller) -> None:
    reply = caller.ask("GET", f"/v1/tasks?{query}")
    check_refusal("evolink", reply, "bad input")
    assert reply.json()["error"]["param"] == param


def test_a_list_and_a_batch_have_nothing_of_another_account(
    waiting: Caller, idle: servers.Server
) -> None:
    other = Caller(idle, servers.new_key(idle))
    mine, theirs = waiting.submit(), other.submit()
    assert [each["id"] for each in rows(waiting)] == [mine]
    asked = {"task_ids": [theirs, mine, "task-unified-1-unknown0", "no id", "../x"]}
    reply = waiting.ask("POST", "/v1/tasks/batch", asked)
    check_reply(reply)
    assert [each["id"] for each in reply.json()["data"]] == [mine]


def test_a_batch_shows_each_task_as_a_look_does(caller: Caller) -> None:
    made = [caller.submit(name) for name in NAMES]
    looks = [caller.ended(each) for each in made]
    assert caller.ask("POST", "/v1/tasks/batch", {"task_ids": made}).json() == {"data": looks}


@pytest.mark.parametrize(
    "ids", [[], [f"t{n}" for n in range(51)], "t1", [1], [None], [""], {"0": "t1"}, None]
)
def test_a_batch_is_of_one_to_fifty_ids(ids: Any, caller: Caller) -> None:
    reply = caller.ask("POST", "/v1/tasks/batch", {"task_ids": ids})
    check_refusal("evolink", reply, "bad input")
    assert reply.json()["error"]["param"] == "task_ids"


def test_a_batch_of_fifty_unknown_ids_is_an_empty_one(caller: Caller) -> None:
    ids = [f"task-unified-1-{n:08d}" for n in range(50)]
    assert caller.ask("POST", "/v1/tasks/batch", {"task_ids": ids}).json() == {"data": []}


# EvoLink: cancelling


@pytest.mark.parametrize(("method", "end"), [("POST", "/cancel"), ("DELETE", "")])
def test_a_task_is_cancelled_by_either_address(method: str, end: str, waiting: Caller) -> None:
    identity = waiting.submit()
    reply = waiting.ask(method, f"/v1/tasks/{identity}{end}")
    body = reply.json()
    assert (reply.status, body["id"], body["status"]) == (200, identity, "cancelled")
    assert body["error"]["code"] == "request_cancelled"
    assert body["usage"]["credits_used"] == 0
    assert waiting.look("evolink", identity) == body
    check_refusal("evolink", waiting.ask(method, f"/v1/tasks/{identity}{end}"), "not cancellable")


def test_two_cancels_at_once_cost_nothing_and_one_of_them_or_both_are_taken(
    waiting: Caller,
) -> None:
    for _ in range(10):
        identity = waiting.submit()
        with ThreadPoolExecutor(2) as pool:
            paths = [("DELETE", f"/v1/tasks/{identity}"), ("POST", f"/v1/tasks/{identity}/cancel")]
            found = list(pool.map(lambda each: waiting.ask(*each).status, paths))
        assert sorted(found) in ([200, 200], [200, 409])
    assert waiting.ask("GET", "/v1/credits").json()["data"]["user"]["remaining_credits"] == 100


def test_a_cancel_after_the_end_changes_nothing(caller: Caller) -> None:
    identity = caller.submit()
    before = caller.ended(identity)
    assert before["status"] == "completed"
    check_refusal("evolink", caller.ask("DELETE", f"/v1/tasks/{identity}"), "not cancellable")
    after = caller.look("evolink", identity)
    links = [each.pop("results")[0].partition("-")[0] for each in (before, after)]
    assert (before, links[0]) == (after, links[1])


def test_a_foreign_task_cannot_be_cancelled(waiting: Caller, idle: servers.Server) -> None:
    identity = waiting.submit()
    other = Caller(idle, servers.new_key(idle))
    check_refusal("evolink", other.ask("DELETE", f"/v1/tasks/{identity}"), "unknown task")
    assert waiting.look("evolink", identity)["status"] == "pending"


# kie.ai


def test_kies_balance_is_whole_pictures(server: servers.Server) -> None:
    for credits, pictures in ((0, 0), (1, 38), (100, 3846)):
        caller = Caller(server, servers.new_key(server, credits))
        reply = caller.ask("GET", "/api/v1/chat/credit")
        check_reply(reply)
        assert reply.body == compact({"code": 200, "msg": "success", "data": pictures})
        assert pictures == credits * MICRO // 26_000


def fresh(caller: Caller, url: Any) -> Reply:
    reply = caller.ask("POST", "/api/v1/common/download-url", {"url": url})
    check_reply(reply)
    return reply


def test_a_fresh_link_opens_the_same_picture(caller: Caller) -> None:
    (link,) = caller.ended(caller.submit("kie"))["results"]
    body = fresh(caller, link).json()
    assert (body["code"], body["msg"]) == (200, "success")
    pictures = [
        requests.send(caller.server.url, "GET", urlsplit(url).path) for url in (link, body["data"])
    ]
    assert [each.status for each in pictures] == [200, 200]
    assert pictures[0].body == pictures[1].body


def test_a_fresh_link_is_given_to_the_pictures_account_alone(
    caller: Caller, stranger: Caller
) -> None:
    (link,) = caller.ended(caller.submit("kie"))["results"]
    spoilt = link[:-5] + ("0" if link[-5] != "0" else "1") + link[-4:]
    for who, url in [(stranger, link), (caller, spoilt), (caller, "https://x.example/f/9b1.png")]:
        check_refusal("kie", fresh(who, url), "bad input")
    for url in (None, "", 7, [link], "http://[", "http://a\u2100b/x", "\x00", link + "/", "/" * 9):
        check_refusal("kie", fresh(caller, url), "bad input")


def test_a_deleted_picture_gets_no_fresh_link(caller: Caller) -> None:
    identity = caller.submit("tensorslab")
    (link,) = caller.ended(identity)["results"]
    caller.ask("POST", "/v1/images/deleteimagestask", {"taskids": [identity]})
    check_refusal("kie", fresh(caller, link), "bad input")


# zimageturbo.ai


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("?task_id={}", "", b""),
        ("?task_id={}", "application/json", b""),
        ("", "application/json", b'{{"task_id":"{}"}}'),
        ("", "application/x-www-form-urlencoded", b"task_id={}"),
        (
            "",
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="task_id"\r\n\r\n{}\r\n--x--\r\n',
        ),
        ("?task_id=other", "application/json", b'{{"task_id":"{}"}}'),
    ],
)
def test_a_status_can_be_posted_for(
    path: str, media_type: str, body: bytes, caller: Caller
) -> None:
    identity = caller.submit("zimageturbo")
    headers = {"Authorization": f"Bearer {caller.key}"}
    headers |= {"Content-Type": media_type} if media_type else {}
    sent = body.decode().format(identity).encode() or None
    asked = f"/api/status{path.format(identity)}"
    reply = requests.send(caller.server.url, "POST", asked, sent, headers)
    check_reply(reply)
    assert task_id("zimageturbo", reply) == identity


def test_a_posted_status_without_an_id_is_refused(caller: Caller) -> None:
    for fields in (None, {}, {"task_id": ""}, {"task_id": 7}):
        check_refusal("zimageturbo", caller.ask("POST", "/api/status", fields), "no task id")


# TensorsLab


FORM = [
    ("application/json", compact({"prompt": "a red barn", "resolution": "376*376", "seed": 7})),
    ("application/x-www-form-urlencoded", b"prompt=a+red+barn&resolution=376*376&seed=7"),
    (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red barn\r\n'
        b'--x\r\nContent-Disposition: form-data; name="resolution"\r\n\r\n376*376\r\n'
        b'--x\r\nContent-Disposition: form-data; name="seed"\r\n\r\n7\r\n--x--\r\n',
    ),
]


@pytest.mark.parametrize("scheme", ["", "Bearer "])
@pytest.mark.parametrize(("media_type", "body"), FORM, ids=lambda each: str(each)[:20])
def test_tensorslab_takes_three_kinds_of_body_and_two_of_key(
    media_type: str, body: bytes, scheme: str, waiting: Caller
) -> None:
    headers = {"Content-Type": media_type, "Authorization": f"{scheme}{waiting.key}"}
    reply = requests.send(waiting.server.url, "POST", SUBMIT["tensorslab"], body, headers)
    data = waiting.look("tensorslab", task_id("tensorslab", reply))["data"]
    assert (data["prompt"], data["width"], data["height"]) == ("a red barn", 376, 376)


@pytest.mark.parametrize(
    ("resolution", "size"),
    [
        ("1K", (1024, 1024)),
        ("2k", (1536, 1536)),
        ("4K", (1536, 1536)),
        ("2048*1024", (1536, 768)),
        ("3072X3072", (1536, 1536)),
        ("4096x512", (1536, 376)),
        ("2:3", (832, 1248)),
        ("", (1024, 1024)),
    ],
)
def test_a_resolution_is_fitted(resolution: str, size: tuple[int, int], waiting: Caller) -> None:
    identity = waiting.submit("tensorslab", resolution=resolution)
    data = waiting.look("tensorslab", identity)["data"]
    assert (data["width"], data["height"]) == size


@pytest.mark.parametrize("value", ["1", 1, True])
def test_without_an_extender_the_prompt_stays_and_it_is_said(value: Any, waiting: Caller) -> None:
    asked = LEAST["tensorslab"] | {"prompt_extend": value}
    reply = waiting.ask("POST", SUBMIT["tensorslab"], asked)
    assert reply.headers["x-zing-prompt-extend"] == "off"
    data = waiting.look("tensorslab", task_id("tensorslab", reply))["data"]
    assert data["prompt"] == "a red barn"
    assert "actual_prompt" not in data


def test_a_prompt_that_need_not_be_extended_is_not_spoken_of(waiting: Caller) -> None:
    for value in ("0", 0, False, None, ""):
        asked = LEAST["tensorslab"] | {"prompt_extend": value}
        reply = waiting.ask("POST", SUBMIT["tensorslab"], asked)
        assert "x-zing-prompt-extend" not in reply.headers


# The operator's switches, on a running service


def submits(caller: Caller) -> dict[str, Reply]:
    return {name: caller.ask("POST", SUBMIT[name], LEAST[name]) for name in NAMES}


def test_maintenance_refuses_new_tasks_and_shows_the_others(waiting: Caller) -> None:
    identity = waiting.submit()
    waiting.server.zing("maintenance", "on", "--message", "Back at noon.")
    try:
        for name, reply in submits(waiting).items():
            check_refusal(name, reply, "maintenance")
            assert b"Back at noon." in reply.body
            assert reply.headers["retry-after"] == "60"
        for name in NAMES:
            assert identity in json.dumps(waiting.look(name, identity))
        ready = requests.send(waiting.server.url, "GET", "/readyz").json()
        assert (ready["maintenance"], ready["ready"]) == (True, True)
    finally:
        waiting.server.zing("maintenance", "off")
    assert {
        name: bool(task_id(name, reply)) for name, reply in submits(waiting).items()
    } == dict.fromkeys(NAMES, True)
    credits = waiting.ask("GET", "/v1/credits").json()["data"]["user"]["remaining_credits"]
    assert credits == pytest.approx(100 - 5 * PRICE)


@each_dialect
def test_one_dialect_is_switched_off(name: str, waiting: Caller) -> None:
    identity = waiting.submit(name)
    waiting.server.zing("dialects", "disable", name)
    try:
        replies = submits(waiting)
        check_refusal(name, replies.pop(name), "switched off")
        assert all(task_id(other, reply) for other, reply in replies.items())
        assert identity in json.dumps(waiting.look(name, identity))
    finally:
        waiting.server.zing("dialects", "enable", name)
    assert task_id(name, waiting.ask("POST", SUBMIT[name], LEAST[name]))


# What every one of these addresses does with a key that is none

ADDRESSES: list[tuple[str, str, str, Any]] = [
    ("evolink", "GET", "/v1/credits", None),
    ("evolink", "GET", "/v1/tasks", None),
    ("evolink", "POST", "/v1/tasks/batch", {"task_ids": ["t1"]}),
    ("evolink", "DELETE", "/v1/tasks/t1", None),
    ("kie", "GET", "/api/v1/chat/credit", None),
    ("kie", "POST", "/api/v1/common/download-url", {"url": "https://x.example/f/x.png"}),
    ("zimageturbo", "POST", "/api/status", {"task_id": "t1"}),
]


@pytest.mark.parametrize(
    ("name", "method", "path", "fields"), ADDRESSES, ids=lambda each: str(each)
)
def test_no_key_no_answer(
    name: str, method: str, path: str, fields: Any, server: servers.Server
) -> None:
    for key in ("", "zk_live_" + "0" * 8 + "_" + "0" * 43):
        check_refusal(name, Caller(server, key).ask(method, path, fields), "bad key")


# The manners that settings ask for


@pytest.fixture(scope="module")
def mannered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A service for clients that want other manners."""
    folder = tmp_path_factory.mktemp("mannered") / "data"
    settings = {
        "ZING_EVOLINK_CANCELLED": "failed",
        "ZING_KIE_HTTP": "mirror",
        "ZING_ZIT_WAIT_S": "30",
        "ZING_ZIT_PROMPT_MAX": "1500",
    }
    with servers.serving(folder, **settings) as running:
        yield running


@pytest.fixture
def other(mannered: servers.Server) -> Caller:
    """A client of that service."""
    return Caller(mannered, servers.new_key(mannered))


def test_old_pollers_see_a_cancelled_task_as_failed(other: Caller) -> None:
    made = [other.submit(size="1024x1024") for _ in range(4)]
    body = other.ask("POST", f"/v1/tasks/{made[-1]}/cancel").json()
    assert (body["status"], body["error"]["code"]) == ("failed", "request_cancelled")
    assert other.look("evolink", made[-1]) == body
    assert other.ask("POST", "/v1/tasks/batch", {"task_ids": made[-1:]}).json()["data"] == [body]
    assert [each["id"] for each in rows(other, "?status=failed")] == made[-1:]
    assert {each["status"] for each in rows(other)} <= {
        "pending",
        "processing",
        "completed",
        "failed",
    }


def test_kies_codes_are_in_http_where_that_is_asked(other: Caller) -> None:
    causes: list[tuple[int, Callable[[], Reply]]] = [
        (401, lambda: Caller(other.server, "x").ask("GET", "/api/v1/chat/credit")),
        (422, lambda: other.ask("POST", SUBMIT["kie"], {"model": "z-image"})),
        (422, lambda: other.ask("GET", "/api/v1/jobs/recordInfo?taskId=unknown")),
        (400, lambda: other.ask("GET", "/api/v1/jobs/recordInfo")),
        (404, lambda: other.ask("GET", "/api/v1/nothing")),
        (200, lambda: other.ask("GET", "/api/v1/chat/credit")),
    ]
    for code, ask in causes:
        reply = ask()
        check_reply(reply)
        assert (reply.status, reply.json()["code"]) == (code, code)
    other.server.zing("maintenance", "on")
    try:
        reply = other.ask("POST", SUBMIT["kie"], LEAST["kie"])
        assert (reply.status, reply.json()["code"]) == (455, 455)
    finally:
        other.server.zing("maintenance", "off")


def test_a_patient_submit_comes_back_with_the_picture(other: Caller) -> None:
    reply = other.ask("POST", "/api/generate", LEAST["zimageturbo"] | {"size": "376*376"})
    check_reply(reply)
    data = reply.json()["data"]
    assert list(data) == ["task_id", "status", "images"]
    assert data["status"] == "SUCCESS"
    (link,) = data["images"]
    assert re.search(r"\.jpeg$", link)
    assert requests.send(other.server.url, "GET", urlsplit(link).path).status == 200
    assert other.look("zimageturbo", data["task_id"])["data"]["status"] == "SUCCESS"


def test_a_submit_that_waits_is_answered_when_the_service_ends(tmp_path: Path) -> None:
    settings = {"ZING_ZIT_WAIT_S": "60"}
    with servers.serving(tmp_path / "data", "--no-worker", **settings) as running:
        caller = Caller(running, running.key)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(caller.ask, "POST", "/api/generate", LEAST["zimageturbo"])
            servers.until(lambda: rows(caller))
            assert running.end() == 0
            body = reply.result().json()
    assert (body["code"], body["data"]["status"]) == (200, "IN_PROGRESS")
    assert body["data"]["task_id"].startswith("task_")


def test_a_longer_prompt_is_taken_where_the_operator_says_so(other: Caller, caller: Caller) -> None:
    for prompt, taken in (("a" * 1500, True), ("a" * 1501, False)):
        reply = other.ask("POST", "/api/generate", {"prompt": prompt, "size": "376*376"})
        assert (reply.status == 200) == taken
    check_refusal(
        "zimageturbo", caller.ask("POST", "/api/generate", {"prompt": "a" * 1001}), "bad input"
    )
