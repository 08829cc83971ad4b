"""Callbacks as receivers get them: real sockets on loopback, and every kind of bad endpoint.

Delays and limits are shortened where a test need not wait for the real ones; the order of things
is the same.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook, WebhookVerificationError

from tests import databases
from tests.audit import audit, funded, submission
from tests.receivers import (
    Answer,
    Authority,
    Certificate,
    Hooked,
    Receiver,
    Sent,
    answer,
    hang,
    in_turn,
    only_loopback,
)
from zing import __version__, queue
from zing.delivery import Courier, Pace, Sender, secret, signed
from zing.dialects import kie
from zing.errors import Unavailable, UnknownTask
from zing.netguard import Door, Reply, Rules
from zing.queue import Accepted
from zing.store import Store, outbox
from zing.store.outbox import Bounds
from zing.store.schema import account as account_table
from zing.store.schema import outbox as rows
from zing.task import Attempt, Delivery, DeliveryState

PEPPER = b"p" * 32
LIMIT_S = 60.0  # for what must happen; a busy machine is slow
HOST = "hooks.example.com"

# A tenth of the real delays.
QUICK = Pace(delays_s=(0.1, 0.2, 0.4), lease_s=4.0, idle_s=0.02, slow_s=0.1, grace_s=0.2)
TIMEOUT_S = 1.0


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.certificate("*.example.com", "example.com")


@dataclass
class Street:
    """Receivers under names of their own, and a door that leads to them.

    Each name has a public address of its own, whose connections are led to loopback.
    """

    authority: Authority
    certificate: Certificate
    hooked: Hooked = field(default_factory=Hooked)
    answers: dict[str, Iterator[list[str]]] = field(default_factory=dict)
    open: ExitStack = field(default_factory=ExitStack)

    def add(self, host: str, say: Answer | None, shows: Certificate | None = None) -> Receiver:
        """A receiver of this name; one that says nothing at all listens nowhere."""
        address = f"93.184.216.{len(self.answers) + 1}"
        self.answers[host] = iter(lambda: [address], None)
        receiver = Receiver(say, shows or self.certificate)
        if say is not None:
            self.open.enter_context(receiver)
            self.hooked.ports[address] = receiver.port
        return receiver

    def door(self) -> Door:
        return Door(Rules(), lambda host: next(self.answers[host]), self.hooked, self.trust())

    def trust(self) -> Any:
        return self.authority.trust()


@pytest.fixture
def street(authority: Authority, certificate: Certificate) -> Iterator[Street]:
    made = Street(authority, certificate)
    with made.open:
        yield made


def sender(door: Door, **changes: Any) -> Sender:
    return replace(Sender(door, PEPPER, time.time, no_headers, timeout_s=TIMEOUT_S), **changes)


def no_headers(*_: object) -> dict[str, str]:
    return {}


def render(delivery: Delivery) -> str:
    """A body that is another each time it is made."""
    return json.dumps({"id": delivery.public_id, "snow": "雪", "made": time.monotonic_ns()})


@contextmanager
def running(store: Store, by: Sender, pace: Pace = QUICK) -> Iterator[Courier]:
    courier = Courier(store, by, render, pace)
    courier.start()
    try:
        yield courier
    finally:
        courier.stop()


def owe(store: Store, account_id: str, urls: list[str], dialect: str = "evolink") -> list[Delivery]:
    """The callbacks of tasks that end now, one for each URL."""

    def act(tx: Any) -> list[Delivery]:
        found = []
        for url in urls:
            asked = submission(account_id, callback_url=url, dialect=dialect)
            (accepted,) = queue.accept(tx, [asked], time.time())
            assert isinstance(accepted, Accepted)
            queue.cancel(tx, asked.public_id, None, time.time())
            found.append(outbox.find(tx, asked.public_id))
        return found

    return store.write(act)


def owe_one(store: Store, url: str = f"https://{HOST}/done?token=hunter2") -> Delivery:
    return owe(store, funded(store), [url])[0]


def find(store: Store, delivery: Delivery) -> Delivery:
    return store.read(lambda tx: outbox.find(tx, delivery.id))


def attempts(store: Store, delivery: Delivery) -> list[Attempt]:
    return store.read(lambda tx: outbox.attempts_of(tx, delivery.id))


def when(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> None:
    """Wait until something is so."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def when_ended(store: Store, delivery: Delivery, limit_s: float = LIMIT_S) -> Delivery:
    when(lambda: find(store, delivery).state is not DeliveryState.DUE, limit_s)
    return find(store, delivery)


def verify(sent: Sent, delivery: Delivery, number: int = 1) -> None:
    """As a receiver does it, with the library and the account's secret."""
    text = secret(PEPPER, delivery.account_id, number)
    assert Webhook(text).verify(sent.body, sent.headers)["id"] == delivery.public_id
    assert sent.headers["webhook-id"] == delivery.id


# The zoo


def slow_body(connection: socket.socket, _: Sent) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    _drip(connection, b"x")


def slow_headers(connection: socket.socket, _: Sent) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    _drip(connection, b"X: y\r\n")


def _drip(connection: socket.socket, drop: bytes) -> None:
    with suppress(OSError):
        while True:
            connection.sendall(drop)
            connection.settimeout(0.1)
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return


def giant(connection: socket.socket, _: Sent) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"x" * 100_000)


def reset(connection: socket.socket, _: Sent) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close_early(_connection: socket.socket, _: Sent) -> None:
    """Close after the request, without a word."""


@dataclass(frozen=True)
class Kind:
    """A kind of endpoint: what it says, and what comes of four attempts."""

    say: Answer | None
    state: DeliveryState = DeliveryState.EXHAUSTED
    statuses: tuple[int | None, ...] = (None,) * 4
    error: str = ""
    heard: int = 4


TO_ELSEWHERE = {"Location": f"https://good.{HOST}/"}
ZOO = {
    "refuse": Kind(None, error="refused the connection", heard=0),
    "hang": Kind(hang, error="did not answer within"),
    "drip": Kind(slow_body, error="did not answer within"),
    "slow-headers": Kind(slow_headers, error="did not answer within"),
    "redirect": Kind(answer(302, headers=TO_ELSEWHERE), statuses=(302,) * 4),
    "not-found": Kind(answer(404), statuses=(404,) * 4),
    "gone": Kind(answer(410), statuses=(410,) * 4),
    "too-many": Kind(answer(429, headers={"Retry-After": "3600"}), statuses=(429,) * 4),
    "broken": Kind(answer(503), statuses=(503,) * 4),
    "giant": Kind(giant, DeliveryState.DELIVERED, (200,), heard=1),
    "bad-tls": Kind(answer(), error="certificate that cannot be trusted", heard=0),
    "reset": Kind(reset, error="broke off"),
    "close-early": Kind(close_early, error="in HTTP|broke off"),
    "flip": Kind(answer(500), DeliveryState.REFUSED, (500, None), "10.0.0.1", heard=1),
}
GOOD = 20


@dataclass(frozen=True)
class Seen:
    """What became of a delivery and what its receiver got."""

    delivery: Delivery
    attempts: list[Attempt]
    got: list[Sent]


@dataclass(frozen=True)
class Visit:
    """A visit to every kind of endpoint at once, with good ones beside them."""

    seen: dict[str, Seen]
    good_delays_s: list[float]
    logs: list[str]


@pytest.fixture(scope="module", params=databases.KINDS)
def visit(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    certificate: Certificate,
) -> Iterator[Visit]:
    street = Street(authority, certificate)
    with ExitStack() as stack:
        stack.enter_context(street.open)
        url = f"sqlite:///{tmp_path_factory.mktemp('zoo') / 'zing.db'}"
        if request.param == "postgresql":
            cluster = request.getfixturevalue("postgresql")
            url = stack.enter_context(databases.new_database(cluster))
        store = Store(url)
        stack.callback(store.close)
        yield _visit(store, street)


def _visit(store: Store, street: Street) -> Visit:
    wrong = street.authority.certificate("other.example.org", file="other")
    receivers = {
        name: street.add(f"{name}.example.com", kind.say, wrong if name == "bad-tls" else None)
        for name, kind in ZOO.items()
    }
    street.answers["flip.example.com"] = flipping(next(street.answers["flip.example.com"]))
    arrived: dict[str, float] = {}
    note = street.add("good.example.com", lambda c, sent: _note(arrived, c, sent))
    assert note
    with heard_logs() as logs, running(store, sender(street.door())):
        urls = [f"https://{name}.example.com/done?token=hunter2" for name in ZOO]
        owed = owe(store, funded(store), urls)
        good = []
        for _ in range(GOOD):  # one after another, while the bad ones are tried
            good += owe(store, funded(store), ["https://good.example.com/"])
            when_ended(store, good[-1])
        for each in owed:
            when_ended(store, each)
    assert store.read(audit) == []
    seen = {
        name: Seen(find(store, each), attempts(store, each), receivers[name].requests)
        for name, each in zip(ZOO, owed, strict=True)
    }
    return Visit(seen, [arrived[each.id] - each.next_at for each in good], logs)


def _note(arrived: dict[str, float], connection: socket.socket, sent: Sent) -> None:
    arrived[sent.headers["webhook-id"]] = time.time()
    answer()(connection, sent)


def flipping(first: list[str]) -> Iterator[list[str]]:
    """Good at the first look-up, private at every later one."""
    yield first
    while True:
        yield ["10.0.0.1"]


@contextmanager
def heard_logs() -> Iterator[list[str]]:
    """What is logged, whole."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda entry: lines.append(logging.Formatter().format(entry))  # type: ignore[method-assign]
    log = logging.getLogger("zing")
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


@pytest.mark.parametrize("name", ZOO)
def test_each_kind_of_endpoint_is_tried_until_it_takes_it_or_four_times(
    visit: Visit, name: str
) -> None:
    kind, seen = ZOO[name], visit.seen[name]
    assert seen.delivery.state is kind.state
    assert tuple(each.status for each in seen.attempts) == kind.statuses
    numbers = list(range(1, len(kind.statuses) + 1))
    assert [each.number for each in seen.attempts] == numbers
    assert seen.delivery.attempt == len(numbers)
    assert len(seen.got) == kind.heard
    for each in seen.attempts:
        assert bool(each.error) == (each.status is None)
    assert re.search(kind.error, seen.attempts[-1].error)


@pytest.mark.parametrize("name", ZOO)
def test_the_next_attempt_comes_its_delay_after_the_end_of_a_failure(
    visit: Visit, name: str
) -> None:
    made = visit.seen[name].attempts
    pairs = zip(made, made[1:], QUICK.delays_s, strict=False)
    for before, after, delay_s in pairs:
        pause_s = after.started_at - (before.started_at + before.took_s)
        # Two clocks measure this, so a millisecond is nothing.
        assert delay_s - 0.005 <= pause_s < delay_s + 1.5
    ended_at = visit.seen[name].delivery.ended_at
    assert ended_at is not None
    assert ended_at >= made[-1].started_at + made[-1].took_s - 0.005


@pytest.mark.parametrize("name", ["hang", "drip", "slow-headers"])
def test_an_attempt_ends_at_its_limit(visit: Visit, name: str) -> None:
    for each in visit.seen[name].attempts:
        assert TIMEOUT_S - 0.05 <= each.took_s < TIMEOUT_S + 1.5


@pytest.mark.parametrize("name", [name for name, kind in ZOO.items() if kind.heard])
def test_every_attempt_is_signed_and_has_the_same_id_and_the_same_bytes(
    visit: Visit, name: str
) -> None:
    seen = visit.seen[name]
    assert {sent.body for sent in seen.got} == {(seen.delivery.body or "").encode()}
    for sent in seen.got:
        verify(sent, seen.delivery)
        assert sent.headers["content-type"] == "application/json"
        assert sent.headers["user-agent"] == f"zing/{__version__}"


def test_bad_endpoints_delay_no_good_one(visit: Visit) -> None:
    assert len(visit.good_delays_s) == GOOD
    assert max(visit.good_delays_s) < 2


def test_a_log_names_the_host_and_nothing_else_of_a_url_or_a_body(visit: Visit) -> None:
    given_up = [name for name, seen in visit.seen.items() if name != "giant"]
    for name in given_up:
        assert any(f"{name}.example.com" in line for line in visit.logs), name
    assert len(visit.logs) == len(given_up)
    assert not [line for line in visit.logs if "hunter2" in line or "done" in line or "雪" in line]


def test_the_real_pace_is_what_receivers_are_told() -> None:
    by = Sender(Door(Rules()), PEPPER, time.time, no_headers)
    assert Pace().delays_s == (1.0, 2.0, 4.0)
    assert by.timeout_s == 10.0
    # What a busy machine takes to record an attempt.
    assert Pace().lease_s >= by.timeout_s + 5


@pytest.mark.long
def test_the_real_schedule_is_kept(store: Store, street: Street) -> None:
    street.add("broken.example.com", answer(503))
    street.add("hang.example.com", hang)
    with running(store, Sender(street.door(), PEPPER, time.time, no_headers), Pace()):
        broken = owe_one(store, "https://broken.example.com/")
        hanging = owe_one(store, "https://hang.example.com/")
        when_ended(store, broken, 30)
        when_ended(store, hanging, 90)
    for delivery, took_s in ((broken, 0.0), (hanging, 10.0)):
        made = attempts(store, delivery)
        assert len(made) == 4
        assert all(took_s <= each.took_s < took_s + 1 for each in made)
        for before, after, delay_s in zip(made, made[1:], (1.0, 2.0, 4.0), strict=False):
            pause_s = after.started_at - (before.started_at + before.took_s)
            assert delay_s - 0.005 <= pause_s < delay_s + 1


# Many


@dataclass(frozen=True)
class Load:
    """A hundred callbacks a second for a time; the fewer seconds, the less room an account has.

    p95_s  of the delays: 2 s are promised, a machine that runs other tests too is slower; who
           waits for a receiver that hangs waits 10 s
    """

    seconds: float
    of_account: int
    p95_s: float


@pytest.mark.parametrize("account_count", [1, 10])
@pytest.mark.parametrize(
    "load",
    [Load(2.5, 16, 6.0), pytest.param(Load(8.0, Bounds.of_account, 2.0), marks=pytest.mark.long)],
)
def test_with_a_tenth_of_the_endpoints_dead_the_others_get_theirs_in_time(
    store: Store, account_count: int, load: Load
) -> None:
    arrived: dict[str, float] = {}
    with ExitStack() as stack:
        ports = [
            stack.enter_context(
                Receiver(hang if number == 0 else lambda c, sent: _note(arrived, c, sent))
            ).port
            for number in range(10)
        ]
        hosts = tuple(f"h{number}.example.com" for number in range(100))
        door = Door(Rules(private=hosts), lambda _: ["127.0.0.1"])
        urls = [f"http://{host}:{ports[number % 10]}/" for number, host in enumerate(hosts)]
        accounts = [funded(store) for _ in range(account_count)]
        owed: list[Delivery] = []
        pace = Pace(grace_s=0.1, bounds=Bounds(of_account=load.of_account))
        with running(store, sender(door, timeout_s=10.0), pace):
            start = time.monotonic()
            for number in range(int(load.seconds * 10)):
                some = [urls[(10 * number + place) % 100] for place in range(10)]
                owed += owe(store, accounts[number % account_count], some)
                time.sleep(max(0.0, start + (number + 1) / 10 - time.monotonic()))
            good = [each for each in owed if not each.url.endswith(f":{ports[0]}/")]
            assert len(good) == 0.9 * len(owed)
            when(lambda: len(arrived) == len(good))
    delays_s = sorted(arrived[each.id] - each.next_at for each in good)
    assert delays_s[math.ceil(0.95 * len(delays_s)) - 1] < load.p95_s


def test_of_a_host_that_hangs_or_fails_one_is_sent_at_once_until_it_takes_one(
    store: Store, street: Street
) -> None:
    asked = threading.Semaphore(0)
    go_on = threading.Event()

    def wait(connection: socket.socket, sent: Sent) -> None:
        asked.release()
        go_on.wait(LIMIT_S)
        answer()(connection, sent)

    receiver = street.add(HOST, wait)
    street.add("good.example.com", answer())
    account_id = funded(store)

    def owe_others() -> list[Delivery]:
        owed = owe(store, account_id, [f"https://{HOST}/"] * 3)
        (good,) = owe(store, account_id, ["https://good.example.com/"])
        when_ended(store, good)
        return owed

    with running(store, sender(street.door(), timeout_s=LIMIT_S)):
        owe_one(store)
        assert asked.acquire(timeout=LIMIT_S)
        owed = owe_others()
        assert len(receiver.requests) == 1  # nothing is known of it
        go_on.set()
        for each in owed:
            when_ended(store, each)
            assert asked.acquire(timeout=LIMIT_S)
        go_on.clear()
        owe_others()
        # It has taken some, so these go together; but then it hangs, and the next have to wait.
        for _ in range(3):
            assert asked.acquire(timeout=LIMIT_S)
        time.sleep(2 * QUICK.slow_s)
        owe_others()
        assert len(receiver.requests) == 7
        go_on.set()
        when(lambda: len(receiver.requests) == 10)


def test_the_door_is_told_whose_callback_it_is(street: Street) -> None:
    groups = []

    class Told(Door):
        async def post(self, *asked: Any) -> Reply:
            groups.append(asked[-1])
            return await super().post(*asked)

    street.add(HOST, answer())
    by = sender(Told(Rules(), lambda host: next(street.answers[host]), street.hooked))
    for account_id in ("acct_1", "acct_2"):
        asyncio.run(by.attempt(loose(f"https://{HOST}/", account_id=account_id), [1]))
    assert groups == ["acct_1", "acct_2"]


def test_a_receiver_that_answers_100_mb_costs_little_memory(
    authority: Authority, certificate: Certificate, street: Street
) -> None:
    street.add(HOST, giant)
    by = sender(street.door(), timeout_s=30.0)
    tracemalloc.start()
    try:
        made, state = asyncio.run(by.attempt(loose(f"https://{HOST}/"), [1]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (made.status, state) == (200, DeliveryState.DELIVERED)
    assert peak < 8_000_000


def loose(url: str, **changes: Any) -> Delivery:
    """A delivery that is in no database."""
    usual = Delivery(
        id="msg_1",
        task_id="t1",
        account_id="acct_1",
        public_id="task-1",
        dialect="evolink",
        url=url,
        host=HOST,
        state=DeliveryState.DUE,
        attempt=0,
        next_at=0.0,
        body='{"id": "task-1"}',
        created_at=0.0,
        ended_at=None,
    )
    return replace(usual, **changes)


def test_no_more_than_the_bounds_are_sent_at_once(store: Store, street: Street) -> None:
    busy = Counter[str]()
    most = Counter[str]()
    lock = threading.Lock()

    def count(connection: socket.socket, sent: Sent) -> None:
        host = sent.headers["host"]
        with lock:
            busy[host] += 1
            busy["all"] += 1
            for name in (host, "all"):
                most[name] = max(most[name], busy[name])
        time.sleep(0.05)
        with lock:
            busy[host] -= 1
            busy["all"] -= 1
        answer()(connection, sent)

    for host in ("a.example.com", "b.example.com", "c.example.com"):
        street.add(host, count)
    urls = [f"https://{host}.example.com/" for host in "abc" for _ in range(6)]
    pace = replace(QUICK, bounds=Bounds(in_all=5, of_host=2, of_account=4))
    with running(store, sender(street.door(), timeout_s=10.0), pace):
        owed = owe(store, funded(store), urls)
        for each in owed:
            assert when_ended(store, each).state is DeliveryState.DELIVERED
    assert max(most[f"{host}.example.com"] for host in "abc") == 2
    assert 2 < most["all"] <= 4


# Signatures


def test_a_receiver_knows_a_forged_and_an_old_callback() -> None:
    delivery = loose("https://hooks.example.com/")
    text = secret(PEPPER, "acct_1", 1)
    now = int(time.time())
    good = signed(delivery, [text], now)
    assert Webhook(text).verify(delivery.body or "", good)
    forged: list[tuple[str, Mapping[str, str]]] = [
        ("{}", good),
        (delivery.body or "", good | {"webhook-id": "msg_2"}),
        (delivery.body or "", good | {"webhook-timestamp": str(now + 1)}),
        (delivery.body or "", signed(delivery, [secret(PEPPER, "acct_2", 1)], now)),
        (delivery.body or "", signed(delivery, [text], now - 301)),
        (delivery.body or "", signed(delivery, [text], now + 302)),
    ]
    for body, headers in forged:
        with pytest.raises(WebhookVerificationError):
            Webhook(text).verify(body, dict(headers))


def test_what_the_page_tells_receivers_to_do_verifies() -> None:
    page = (Path(__file__).parent.parent / "docs" / "running.md").read_text()
    (code,) = re.findall(r"```python\n(from standardwebhooks.*?)```", page, re.DOTALL)
    delivery = loose("https://hooks.example.com/")
    text = secret(PEPPER, "acct_1", 1)
    headers = signed(delivery, [secret(PEPPER, "acct_1", 2), text], int(time.time()))
    names = {"secret": text, "body": delivery.body, "headers": headers}
    exec(code, names)
    assert names["told"] == {"id": "task-1"}
    with pytest.raises(WebhookVerificationError):
        exec(code, names | {"body": "{}"})


def test_a_senders_text_holds_no_secret(street: Street) -> None:
    assert "ppp" not in repr(sender(street.door()))


def test_a_secret_is_one_accounts_and_one_numbers() -> None:
    texts = {
        secret(pepper, account_id, number)
        for pepper in (PEPPER, b"q" * 32)
        for account_id in ("acct_1", "acct_11", "acct_2")
        for number in (1, 2, 12)
    }
    assert len(texts) == 18
    for text in texts:
        assert text.startswith("whsec_")
        assert len(base64.b64decode(text.removeprefix("whsec_"))) == 32
    assert secret(PEPPER, "acct_1", 1) == secret(PEPPER, "acct_1", 1)


def test_after_a_rotation_both_secrets_verify_until_the_old_ones_time_is_over(
    store: Store, street: Street
) -> None:
    receiver = street.add(HOST, answer())
    delivery = owe_one(store)
    account_id = delivery.account_id
    store.write(lambda tx: outbox.rotate_secret(tx, account_id, time.time()))
    with running(store, sender(street.door(), extra_headers=own_headers)):
        when_ended(store, delivery)
        for number in (1, 2):
            verify(receiver.requests[0], delivery, number)
        assert receiver.requests[0].headers["x-own"] == secret(PEPPER, account_id, 2)
        over = update(account_table).values(old_secret_until=time.time())
        store.write(lambda tx: tx.execute(over))
        store.write(lambda tx: outbox.resend(tx, delivery.id, time.time()))
        when(lambda: len(receiver.requests) == 2)
    verify(receiver.requests[1], delivery, 2)
    with pytest.raises(WebhookVerificationError):
        verify(receiver.requests[1], delivery, 1)


def own_headers(_delivery: Delivery, text: str, _now: int) -> dict[str, str]:
    return {"X-Own": text, "webhook-id": "forged"}


def test_kies_receivers_get_kies_signature_too(store: Store, street: Street) -> None:
    receiver = street.add(HOST, answer())
    by = sender(
        street.door(),
        extra_headers=lambda delivery, text, now: kie.signature(delivery.public_id, text, now),
    )
    with running(store, by):
        (delivery,) = owe(store, funded(store), [f"https://{HOST}/"], "kie")
        when_ended(store, delivery)
    headers = receiver.requests[0].headers
    key = secret(PEPPER, delivery.account_id, 1).encode()
    message = f"{delivery.public_id}.{headers['x-webhook-timestamp']}".encode()
    expected = base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()
    assert headers["x-webhook-signature"] == expected
    assert headers["x-webhook-timestamp"] == headers["webhook-timestamp"]
    verify(receiver.requests[0], delivery)


# What goes wrong on our side


def test_a_body_that_cannot_be_made_stops_no_other(store: Store, street: Street) -> None:
    receiver = street.add(HOST, answer())
    gone, odd, good = owe(store, funded(store), [f"https://{HOST}/"] * 3)

    def fail(delivery: Delivery) -> str:
        if delivery.id == gone.id:
            raise UnknownTask
        if delivery.id == odd.id:
            raise ValueError("a row of a later version")
        return render(delivery)

    courier = Courier(store, sender(street.door()), fail, QUICK)
    courier.start()
    try:
        assert when_ended(store, good).state is DeliveryState.DELIVERED
        for each in (gone, odd):
            assert when_ended(store, each).state is DeliveryState.EXHAUSTED
            assert "could not be read" in attempts(store, each)[0].error
    finally:
        courier.stop()
    assert len(receiver.requests) == 1


def test_headers_that_cannot_be_made_stop_no_other(store: Store, street: Street) -> None:
    street.add(HOST, answer())
    odd, good = owe(store, funded(store), [f"https://{HOST}/"] * 2)

    def fail(delivery: Delivery, _secret: str, _now: int) -> dict[str, str]:
        if delivery.id == odd.id:
            raise KeyError("a dialect of a later version")
        return {}

    with running(store, sender(street.door(), extra_headers=fail)):
        assert when_ended(store, good).state is DeliveryState.DELIVERED
        assert when_ended(store, odd).state is DeliveryState.EXHAUSTED


def test_bodies_that_are_slow_to_make_hold_up_none_that_is_made(
    store: Store, database_url: str
) -> None:
    """Nor does a lease run out over them, so that another courier would send the same."""
    made = 0
    made_at_first: list[int] = []

    def slow(delivery: Delivery) -> str:
        nonlocal made
        time.sleep(0.2)
        made += 1
        return render(delivery)

    def note(connection: socket.socket, sent: Sent) -> None:
        made_at_first.append(made)
        answer()(connection, sent)

    with Receiver(note) as receiver, closing(Store(database_url)) as other:
        hosts = tuple(f"h{number}.example.com" for number in range(16))
        door = Door(Rules(private=hosts), lambda _: ["127.0.0.1"])
        owed = owe(store, funded(store), [f"http://{host}:{receiver.port}/" for host in hosts])
        pace = replace(QUICK, lease_s=2.0)
        couriers = [Courier(each, sender(door), slow, pace) for each in (store, other)]
        for each in couriers:
            each.start()
        try:
            for delivery in owed:
                assert when_ended(store, delivery).state is DeliveryState.DELIVERED
        finally:
            for each in couriers:
                each.stop()
    assert made_at_first[0] < 8
    assert len(receiver.requests) == len(owed)


class Failing:
    """A database that does not answer some of the writes."""

    def __init__(self, store: Store, fails: Callable[[int], bool]) -> None:
        self._store = store
        self._fails = fails
        self.read = store.read
        self.writes = 0

    def write(self, transaction: Callable[[Any], Any]) -> Any:
        self.writes += 1
        if self._fails(self.writes):
            raise Unavailable
        return self._store.write(transaction)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_database_that_is_away_for_a_moment_loses_nothing(
    store: Store, street: Street, failing: int
) -> None:
    receiver = street.add(HOST, answer())
    delivery = owe_one(store)
    away: Any = Failing(store, lambda number: number == failing)
    with running(away, sender(street.door()), replace(QUICK, lease_s=2.0)):
        assert when_ended(store, delivery).state is DeliveryState.DELIVERED
    assert len(receiver.requests) == len(attempts(store, delivery)) == 1


COURIER = """
import os, sys, time
from zing.delivery import Courier, Pace, Sender
from zing.netguard import Door, Rules
from zing.store import Store
door = Door(Rules(private=("127.0.0.1",)))
sender = Sender(door, b"p" * 32, time.time, lambda *_: {})
render = lambda delivery: '{"id": "%s", "made": %d}' % (delivery.public_id, time.monotonic_ns())
Courier(Store(sys.argv[1]), sender, render, Pace(lease_s=2.0)).start()
time.sleep(60)
"""


def test_a_crash_between_the_answer_and_its_record_sends_the_same_again(
    store: Store, database_url: str
) -> None:
    with ExitStack() as stack:
        process: list[subprocess.Popen[bytes]] = []

        def kill(connection: socket.socket, sent: Sent) -> None:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()
            answer()(connection, sent)

        receiver = stack.enter_context(Receiver(in_turn(kill, answer())))
        delivery = owe_one(store, f"{receiver.url}/")
        command = [sys.executable, "-c", COURIER, database_url]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process.append(subprocess.Popen(command, env=environment))
        stack.callback(process[0].kill)
        when(lambda: receiver.requests)
        assert process[0].wait(LIMIT_S) == -signal.SIGKILL
        assert find(store, delivery).attempt == 0
        # Another courier takes it when the dead one's lease is over, and not before.
        with running(store, sender(Door(Rules(private=("127.0.0.1",))))):
            assert when_ended(store, delivery).state is DeliveryState.DELIVERED
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery.id
    (made,) = attempts(store, delivery)
    assert made.number == 1
    assert made.started_at >= int(first.headers["webhook-timestamp"]) + 1


def test_two_couriers_on_one_database_send_each_delivery_once(
    store: Store, street: Street, database_url: str
) -> None:
    receiver = street.add(HOST, answer())
    other = Store(database_url)
    try:
        with (
            running(store, sender(street.door(), timeout_s=10.0)),
            running(other, sender(street.door(), timeout_s=10.0)),
        ):
            account_id = funded(store)
            owed = [owe(store, account_id, [f"https://{HOST}/"])[0] for _ in range(40)]
            for each in owed:
                assert when_ended(store, each).state is DeliveryState.DELIVERED
    finally:
        other.close()
    got = Counter(sent.headers["webhook-id"] for sent in receiver.requests)
    assert got == Counter(each.id for each in owed)


def test_stopping_waits_for_no_hanging_receiver_and_gives_the_delivery_back(
    store: Store, street: Street
) -> None:
    receiver = street.add(HOST, in_turn(hang, answer()))
    delivery = owe_one(store)
    courier = Courier(store, sender(street.door(), timeout_s=30.0), render, QUICK)
    courier.start()
    when(lambda: receiver.requests)
    start = time.monotonic()
    courier.stop()
    assert time.monotonic() - start < 5
    assert attempts(store, delivery) == []
    lease = store.read(lambda tx: tx.scalar(rows.select().with_only_columns(rows.c.lease_until)))
    assert lease == 0
    with running(store, sender(street.door())):
        assert when_ended(store, delivery).state is DeliveryState.DELIVERED
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_stopping_records_what_was_answered(store: Store, street: Street) -> None:
    asked = threading.Event()

    def slow(connection: socket.socket, sent: Sent) -> None:
        asked.set()
        time.sleep(0.3)
        answer()(connection, sent)

    street.add(HOST, slow)
    delivery = owe_one(store)
    pace = replace(QUICK, grace_s=10.0)
    courier = Courier(store, sender(street.door(), timeout_s=10.0), render, pace)
    courier.start()
    assert asked.wait(LIMIT_S)
    courier.stop()
    assert find(store, delivery).state is DeliveryState.DELIVERED


def test_a_courier_that_never_started_stops(store: Store, street: Street) -> None:
    Courier(store, sender(street.door()), render).stop()


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 90_000.0])
def test_a_clock_that_jumps_stops_no_delivery(store: Store, street: Street, jump_s: float) -> None:
    street.add(HOST, in_turn(answer(500), answer(200)))
    jumped = threading.Event()

    def clock() -> float:
        return time.time() + (jump_s if jumped.is_set() else 0.0)

    pace = replace(QUICK, delays_s=(1.0, 2.0, 4.0))
    with running(store, sender(street.door(), clock=clock), pace):
        delivery = owe_one(store)
        when(lambda: find(store, delivery).attempt == 1)
        jumped.set()
        assert when_ended(store, delivery).state is DeliveryState.DELIVERED
