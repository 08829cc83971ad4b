"""Prompt extension on a running service: a language model on this machine, and what is drawn."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from tests import requests, servers
from tests.receivers import Answer, Receiver, Sent, answer
from tests.requests import JSON, SMALL, SUBMIT, Reply, check_refusal, compact, task_id
from zing.store import Store
from zing.store.schema import task
from zing.store.tasks import to_task

EXTENDED = "a red barn on a green hill at dawn, soft light"
CHAT = {"choices": [{"message": {"role": "assistant", "content": EXTENDED}}]}
GOOD = answer(200, json.dumps(CHAT).encode())
FIELDS = {"prompt": "a red barn", "prompt_extend": "1", **SMALL["tensorslab"]}


class Model(Receiver):
    """A stand-in for the language model's server; what it says can be changed."""

    def __init__(self) -> None:
        super().__init__(GOOD)

    def says(self, say: Answer) -> None:
        self.say = say
        self.requests.clear()


@pytest.fixture(scope="module")
def listening() -> Iterator[Model]:
    with Model() as model:
        yield model


@pytest.fixture
def model(listening: Model) -> Model:
    listening.says(GOOD)
    return listening


@pytest.fixture(scope="module")
def server(listening: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    settings = {
        "ZING_EXTEND_URL": f"{listening.url}/v1",
        "ZING_EXTEND_MODEL": "stand-in",
        "ZING_EXTEND_KEY": "sk-model",
        "ZING_EXTEND_PRIVATE": "127.0.0.1",
        "ZING_EXTEND_TIMEOUT": "2",
    }
    with servers.serving(tmp_path_factory.mktemp("extended") / "data", **settings) as running:
        yield running


def submit(server: servers.Server, key: str = "", once: str = "", **fields: Any) -> Reply:
    headers = JSON | {"Authorization": key or server.key}
    headers |= {"Idempotency-Key": once} if once else {}
    body = compact(FIELDS | fields)
    return requests.send(server.url, "POST", SUBMIT["tensorslab"], body, headers)


def shown(server: servers.Server, identity: str) -> dict[str, Any]:
    body = compact({"taskid": identity})
    headers = JSON | {"Authorization": server.key}
    reply = requests.send(server.url, "POST", "/v1/images/infobytaskid", body, headers)
    data: dict[str, Any] = reply.json()["data"]
    return data


def drawn(server: servers.Server, identity: str) -> Any:
    store = Store(f"sqlite:///{server.data / 'zing.db'}")
    query = select(task).where(task.c.public_id == identity)
    found = to_task(store.read(lambda tx: tx.execute(query).one()))
    store.close()
    return found


def test_what_is_extended_is_drawn_and_shown(server: servers.Server, model: Model) -> None:
    reply = submit(server, seed="7")
    identity = task_id("tensorslab", reply)
    assert reply.headers["x-zing-prompt-extend"] == "done"
    data = shown(server, identity)
    assert (data["prompt"], data["actual_prompt"]) == ("a red barn", EXTENDED)
    assert server.zing("tasks", "show", identity)["extended"] == EXTENDED
    asked = json.loads(model.requests[0].body)
    assert asked["messages"][-1] == {"role": "user", "content": "a red barn"}
    assert model.requests[0].headers["authorization"] == "Bearer sk-model"
    plain = task_id("tensorslab", submit(server, seed="7", prompt=EXTENDED, prompt_extend="0"))
    for each in (identity, plain):
        assert servers.ended(server, each)["status"] == "completed"
    pictures = [drawn(server, each).result["sha256"] for each in (identity, plain)]
    assert pictures[0] == pictures[1]


def slow(connection: socket.socket, sent: Sent) -> None:
    threading.Event().wait(4)
    GOOD(connection, sent)


@pytest.mark.parametrize("say", [answer(500), answer(200, b"no"), slow], ids=["500", "no", "slow"])
def test_whatever_goes_wrong_the_prompt_itself_is_drawn(
    say: Answer, server: servers.Server, model: Model
) -> None:
    model.says(say)
    reply = submit(server)
    identity = task_id("tensorslab", reply)
    assert reply.headers["x-zing-prompt-extend"] == "failed"
    assert "actual_prompt" not in shown(server, identity)
    assert servers.ended(server, identity)["status"] == "completed"
    found = drawn(server, identity).request
    assert (found.extend, found.extended, found.drawn) == (True, None, "a red barn")


def test_nobody_is_asked_for_what_will_not_be_drawn(server: servers.Server, model: Model) -> None:
    for prompt in ("a naked child", ""):
        submit(server, prompt=prompt)
    poor = servers.new_key(server, 0)
    check_refusal("tensorslab", submit(server, poor), "insufficient credits")
    check_refusal("tensorslab", submit(server, "zk_live_x"), "bad key")
    submit(server, prompt_extend="0")
    for switch in (["maintenance", "on"], ["dialects", "disable", "tensorslab"]):
        server.zing(*switch)
    try:
        check_refusal("tensorslab", submit(server), "maintenance")
        server.zing("maintenance", "off")
        check_refusal("tensorslab", submit(server), "switched off")
    finally:
        server.zing("dialects", "enable", "tensorslab")
    assert model.requests == []


def test_while_the_first_is_answered_another_is_told_to_wait(
    server: servers.Server, model: Model
) -> None:
    go = threading.Event()

    def held(connection: socket.socket, sent: Sent) -> None:
        go.wait(10)
        GOOD(connection, sent)

    model.says(held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(submit, server, once="held")
        servers.until(lambda: model.requests)
        second = submit(server, once="held")
        go.set()
        identity = task_id("tensorslab", first.result())
    check_refusal("tensorslab", second, "idempotency in flight")
    assert second.headers["retry-after"] == "1"
    again = submit(server, once="held")
    assert again.body == first.result().body
    assert first.result().headers["x-zing-prompt-extend"] == "done"
    assert "x-zing-prompt-extend" not in again.headers
    assert task_id("tensorslab", again) == identity
    assert len(model.requests) == 1


def test_a_slow_model_holds_up_nobody_else(server: servers.Server, model: Model) -> None:
    go = threading.Event()

    def held(connection: socket.socket, sent: Sent) -> None:
        go.wait(10)
        GOOD(connection, sent)

    model.says(held)
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(submit, server) for _ in range(60)]
        servers.until(lambda: len(model.requests) >= 50)
        # More than there are threads for requests; none of them waits in one.
        assert task_id("tensorslab", submit(server, prompt_extend="0"))
        assert requests.send(server.url, "GET", "/readyz").status == 200
        go.set()
        assert all(task_id("tensorslab", each.result()) for each in waiting)
