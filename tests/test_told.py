"""Callbacks of a running service: what a receiver on this machine gets, and when."""

import base64
import hmac
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from tests import requests, servers
from tests.receivers import Authority, Receiver, Sent, answer
from tests.requests import JSON, LEAST, NAMES, SMALL, SUBMIT, check_refusal, compact, task_id
from zing.data import Data
from zing.delivery import secret
from zing.store import Store, outbox
from zing.store.schema import api_key
from zing.task import Delivery, DeliveryState

KIE = {"model": "z-image", "input": {"prompt": "a red barn", "aspect_ratio": "1:1"}}
CALLBACKS = {"evolink": "callback_url", "kie": "callBackUrl"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.Server]:
    """A service whose operator lets callbacks go to this machine."""
    settings = {
        "ZING_CALLBACK_ALLOW": "",  # so that the deny list is what counts
        "ZING_CALLBACK_PRIVATE": "127.0.0.1",
        "SSL_CERT_FILE": str(authority.folder / "ca.pem"),
    }
    with servers.serving(tmp_path_factory.mktemp("told") / "data", **settings) as running:
        yield running


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    with Receiver(certificate=authority.certificate("127.0.0.1")) as listening:
        yield listening


@pytest.fixture
def key(server: servers.Server) -> str:
    return servers.new_key(server)


def ask(server: servers.Server, key: str, method: str, path: str, fields: Any = None) -> Any:
    body = None if fields is None else compact(fields)
    headers = JSON | {"Authorization": f"Bearer {key}"}
    return requests.send(server.url, method, path, body, headers)


def submit(server: servers.Server, key: str, name: str, url: str, **fields: Any) -> str:
    asked = LEAST[name] | SMALL.get(name, {}) | {CALLBACKS[name]: url} | fields
    return task_id(name, ask(server, key, "POST", SUBMIT[name], asked))


def told(receiver: Receiver, count: int = 1) -> list[Sent]:
    return servers.until(
        lambda: receiver.requests if len(receiver.requests) >= count else None, 30 + count
    )


def store_of(server: servers.Server) -> Store:
    return Store(f"sqlite:///{Data(server.data).database}")


def account_of(server: servers.Server, key: str) -> str:
    store = store_of(server)
    query = select(api_key.c.account_id).where(api_key.c.id == key.split("_")[2])
    found = store.read(lambda tx: tx.scalar(query))
    store.close()
    return str(found)


def delivery_of(server: servers.Server, identity: str) -> Delivery:
    store = store_of(server)
    found = store.read(lambda tx: outbox.find(tx, identity))
    store.close()
    return found


def secret_of(server: servers.Server, key: str) -> str:
    return secret(Data(server.data).secret(), account_of(server, key), 1)


def test_evolinks_callback_is_the_status_answer_byte_for_byte(
    server: servers.Server, receiver: Receiver, key: str
) -> None:
    identity = submit(server, key, "evolink", f"{receiver.url}/hook?a=1")
    (sent,) = told(receiver)
    status = ask(server, key, "GET", f"/v1/tasks/{identity}")
    assert (sent.method, sent.path) == ("POST", "/hook?a=1")
    assert sent.body == status.body
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.body)["status"] == "completed"
    assert Webhook(secret_of(server, key)).verify(sent.body, sent.headers) == status.json()
    assert "x-webhook-signature" not in sent.headers


def test_kies_callback_has_its_own_shape_and_both_signatures(
    server: servers.Server, receiver: Receiver, key: str
) -> None:
    identity = submit(server, key, "kie", receiver.url, **KIE)
    (sent,) = told(receiver)
    body = json.loads(sent.body)
    data = body["data"]
    assert (body["code"], body["msg"]) == (200, "Playground task completed successfully.")
    assert (
        list(data)
        == (
            "taskId task_id model state param resultJson failCode failMsg consumeCredits "
            "remainedCredits costTime createTime completeTime updateTime"
        ).split()
    )
    assert data["taskId"] == data["task_id"] == identity
    assert json.loads(data["param"]) == KIE | {"callBackUrl": receiver.url}
    record = ask(server, key, "GET", f"/api/v1/jobs/recordInfo?taskId={identity}").json()["data"]
    assert {name: data[name] for name in ("resultJson", "state", "costTime", "completeTime")} == {
        name: record[name] for name in ("resultJson", "state", "costTime", "completeTime")
    }
    # 100 credits are 3846 pictures; this one was paid for before it was told.
    assert (data["consumeCredits"], data["remainedCredits"]) == (1, 3845)
    assert all(
        type(data[name]) is int for name in ("consumeCredits", "remainedCredits", "costTime")
    )
    whsec = secret_of(server, key)
    Webhook(whsec).verify(sent.body, sent.headers)
    signed = f"{identity}.{sent.headers['x-webhook-timestamp']}".encode()
    expected = base64.b64encode(hmac.digest(whsec.encode(), signed, "sha256")).decode()
    assert sent.headers["x-webhook-signature"] == expected


def test_a_failure_and_a_cancel_are_told_too(
    server: servers.Server, receiver: Receiver, key: str
) -> None:
    blocked = {
        name: submit(server, key, name, receiver.url, **LEAST_BLOCKED[name]) for name in CALLBACKS
    }
    found = {
        json.loads(sent.body).get("id") or "kie": json.loads(sent.body)
        for sent in told(receiver, 2)
    }
    evolink, kie = found[blocked["evolink"]], found["kie"]
    assert (evolink["status"], evolink["error"]["code"]) == ("failed", "content_policy_violation")
    assert (kie["code"], kie["data"]["state"], kie["data"]["failCode"]) == (501, "fail", "422")
    assert (kie["data"]["consumeCredits"], "resultJson" in kie["data"]) == (0, False)
    # The first two keep the worker busy, so that the last is still queued.
    busy = [submit(server, key, "evolink", receiver.url, size="1024x1024") for _ in range(3)]
    ask(server, key, "DELETE", f"/v1/tasks/{busy[-1]}")
    ends = {json.loads(sent.body).get("id"): json.loads(sent.body) for sent in told(receiver, 5)}
    assert ends[busy[-1]]["status"] == "cancelled"
    assert {ends[each]["status"] for each in busy[:-1]} == {"completed"}


UNSAFE = "a naked child"
LEAST_BLOCKED: dict[str, dict[str, Any]] = {
    "evolink": {"prompt": UNSAFE},
    "kie": {"input": {"prompt": UNSAFE}},
}


def test_when_the_callback_comes_the_task_has_ended_and_is_paid_for(
    server: servers.Server, authority: Authority, key: str
) -> None:
    seen: list[tuple[str, float]] = []

    def look(connection: Any, sent: Sent) -> None:
        identity = json.loads(sent.body)["id"]
        status = ask(server, key, "GET", f"/v1/tasks/{identity}").json()["status"]
        credits = ask(server, key, "GET", "/v1/credits").json()["data"]["user"]
        seen.append((status, credits["used_credits"]))
        answer()(connection, sent)

    with Receiver(look, authority.certificate("127.0.0.1", file="looking")) as receiver:
        submit(server, key, "evolink", receiver.url)
        told(receiver)
        servers.until(lambda: seen)
    assert seen == [("completed", 0.026)]


def test_each_of_a_hundred_tasks_is_told_once(
    server: servers.Server, receiver: Receiver, key: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: submit(server, key, "evolink", receiver.url), range(100)))
    sent = told(receiver, 100)
    assert sorted(json.loads(each.body)["id"] for each in sent) == sorted(made)
    assert len({each.headers["webhook-id"] for each in sent}) == 100


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize(
    "url", ["https://proxy.kie.ai/x", "https://PROXY.kie.ai./x", "https://a.proxy.kie.ai/x"]
)
def test_a_denied_host_is_accepted_and_never_called(
    name: str, url: str, server: servers.Server, key: str
) -> None:
    identity = submit(server, key, name, url)

    def status() -> str:
        found: str = ask(server, key, "GET", f"/v1/tasks/{identity}").json()["status"]
        return found

    servers.until(lambda: status() == "completed")
    servers.until(lambda: delivery_of(server, identity).state is DeliveryState.REFUSED)


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://hooks.example.com:22/",
        "https://user:password@hooks.example.com/",
        "https://１２７.0.0.2/",
        "https://localhost/",
        "https://hooks.example.com/" + "a" * 2023,
        "hooks.example.com",
    ],
)
def test_a_url_that_is_never_called_is_refused_and_costs_nothing(
    name: str, url: str, server: servers.Server, key: str
) -> None:
    asked = LEAST[name] | {CALLBACKS[name]: url}
    reply = ask(server, key, "POST", SUBMIT[name], asked)
    check_refusal(name, reply, "bad input")
    assert "callback" in reply.body.decode().lower()
    assert b"password" not in reply.body.replace(b"a password", b"")
    assert ask(server, key, "GET", "/v1/tasks").json()["total"] == 0


def test_a_callback_outlives_the_service(tmp_path: Path, authority: Authority) -> None:
    settings = {
        "ZING_CALLBACK_PRIVATE": "127.0.0.1",
        "SSL_CERT_FILE": str(authority.folder / "ca.pem"),
    }
    refusing = Receiver(certificate=authority.certificate("127.0.0.1", file="later"))
    refusing.say = answer(503)
    with refusing as receiver:
        with servers.serving(tmp_path / "data", **settings) as first:
            identity = servers.submit(first, callback_url=receiver.url)
            told(receiver)
            first.process.kill()
            first.process.wait()
        receiver.say = answer()
        before = len(receiver.requests)
        with servers.serving(tmp_path / "data", "--no-worker", **settings) as second:
            again = told(receiver, before + 1)
            servers.until(lambda: delivery_of(second, identity).state is DeliveryState.DELIVERED)
    assert len({each.headers["webhook-id"] for each in again}) == 1
    assert len({each.body for each in again}) == 1


def test_every_dialect_is_asked_about() -> None:
    assert set(CALLBACKS) < set(NAMES)
