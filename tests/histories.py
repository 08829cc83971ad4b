"""Histories: whatever may happen to some tasks, in any order, by a clock that is set.

Hypothesis picks what happens next. It happens to the real use cases, queue, ledger, outbox and
housekeeper, and to a model in plain Python that says what must come of it: I1 to I7, I9 and I10.
After every step the tasks are compared; at the end everything open is brought to its end, and then
the books must be in order and nobody may have paid for more than was drawn.

A failure names its seed, and `--hypothesis-seed` brings the same histories again.
"""

import asyncio
import json
import logging
import os
import random
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, select, update

from tests.audit import MODEL, NOW, PRICE, Clock, audit, funded
from tests.test_service import PEPPER, Shape
from zing import keys, ledger, limits, queue
from zing.blobs import Blobs, Links
from zing.delivery import Courier, Pace, Sender
from zing.errors import BadPicture, Forbidden, NotCancellable, Refused, UnknownTask, Unreachable
from zing.housekeeper import EVER, Housekeeper, Rules
from zing.keys import Key
from zing.ledger import Balance
from zing.netguard import Door, Reply
from zing.queue import ATTEMPTS_MAX, FAR_S, Claim, Outcome
from zing.service import Asking, Served, Service, Terms
from zing.store import Store, files, outbox, tasks
from zing.store.files import File
from zing.store.idem import KEEP_S, Sent
from zing.store.outbox import Held, Record
from zing.store.schema import file as file_table
from zing.store.schema import idem as idem_table
from zing.store.schema import lane, metadata
from zing.store.schema import outbox as outbox_table
from zing.store.schema import task as task_table
from zing.store.schema import worker as worker_table
from zing.store.tasks import compat
from zing.task import Delivery, DeliveryState, ImageRequest, Listing, TaskState

LEASE_S, WAIT_S, DAY_S = 60.0, 3600.0, 86_400.0
QUEUE_MAX = 5
STEPS = 30
MAX_RUNNING = 2  # of the second account
WEIGHTS = (1, 1, 3)
CREDITS_FOR = (9, 9, 1)
ATTEMPTS = len(Pace().delays_s) + 1  # of a delivery
PICK = st.integers(0, 99)

# An account, a prompt, a callback's address, a width, an idempotency key with a request's hash.
Asked = tuple[int, str, str | None, int, tuple[str, str] | None]
ASKED = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["a cat", "a cat", "a dog", "hardcore porn"]),
    st.sampled_from([None, "https://one.example.com/", "https://two.example.com/"]),
    st.sampled_from([64, 64, 128]),
    st.sampled_from([None, None, None, ("a", "x"), ("a", "y"), ("b", "x")]),
)

# What no set of histories may lack, or the model is not asked about it.
HAPPENED = {
    *("accepted", "blocked", "InsufficientCredits", "QueueFull", "IdempotencyConflict", "replayed"),
    *("claimed", "no claim", "succeeded", "failed", "late result", "given back"),
    *("cancelled queued", "cancelled running", "cancelled too late", "waited too long"),
    *("queued again", "lost for the last time", "late beat", "read", "read too late", "swept"),
    *("delivered", "exhausted", "refused", "recorded late", "sent again", "forgotten", "purged"),
    *("removed an orphan", "jumped"),
}


@dataclass
class World:
    """What all histories of a run share; `happened` counts what was in them."""

    store: Store
    folder: Path
    kind: str
    happened: Counter[str] = field(default_factory=Counter)
    histories: int = 0


@dataclass
class Kept:
    """A picture that was drawn: readable until its time is over or it is deleted."""

    task_id: str
    file: File
    link: str
    data: bytes
    drawn: float  # by the steady clock
    deleted: bool = False


@dataclass
class Owed:
    """A callback that is owed; `logged` are the numbers of its attempts since it was made due."""

    id: str = ""
    state: DeliveryState = DeliveryState.DUE
    attempt: int = 0
    lease_until: float = 0.0
    body: bytes | None = None
    logged: list[int] = field(default_factory=list)


@dataclass
class Known:
    """What must be true of a task."""

    id: str
    public_id: str
    account: int
    kind: str
    words: str
    url: str | None
    created_at: float
    accepted: float  # by the steady clock
    state: TaskState
    attempt: int = 0
    token: str | None = None
    worker: str = ""
    asked: bool = False
    ended_at: float | None = None
    error: str = ""
    kept: Kept | None = None
    owed: Owed | None = None

    @property
    def row(self) -> tuple[object, ...]:
        return (self.state, self.attempt, self.token, self.asked, self.ended_at, self.error)


@dataclass
class Alive:
    """A worker's lease by the wall clock, and when it was renewed by the steady one."""

    lease_until: float
    renewed: float
    gone: bool = False


@dataclass(frozen=True)
class Answer:
    """An idempotency key's first request."""

    request_hash: str
    answer: str
    expires_at: float
    given: float  # by the steady clock


@dataclass
class Receiver:
    """In the place of the door: answers as it is told, and keeps what it was sent."""

    says: int = 200
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, group: str
    ) -> Reply:
        if self.says == -1:
            raise Forbidden
        self.sent.append((headers["webhook-id"], body))
        if self.says == 0:
            raise Unreachable
        return Reply(self.says, b"", True)


def _clear(tx: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if table.name != "installation":
            tx.execute(table.delete())


class History(RuleBasedStateMachine):
    """What happens, and the model of it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        world.histories += 1
        self.store, self.happened = world.store, world.happened
        self.folder = world.folder / str(world.histories)
        # Ids decide between what is equal: they are the same where the history is.
        secrets.token_hex = _Names().token_hex
        self.wall, self.steady = Clock(), Clock(0.0)
        self.slack = 0.0  # by so much the clock was corrected forward, bit by bit
        self.straight = True  # the clock was never set
        self.service = self._service()
        self.keeper = Housekeeper(
            self.store, self.service.blobs, self.wall, Rules(WAIT_S, LEASE_S), steady=self.steady
        )
        self.receiver = Receiver()
        sender = Sender(cast(Door, self.receiver), PEPPER, self.wall, lambda *_: {})
        self.courier = Courier(self.store, sender, self._render)
        self.loop = asyncio.new_event_loop()
        self.rendered = self.number = 0

        self.tasks: dict[str, Known] = {}
        self.kept: list[Kept] = []
        self.workers: dict[str, Alive] = {}
        self.claims: list[Claim] = []  # all there ever were
        self.answers: dict[tuple[int, str], Answer] = {}
        self.unrecorded: list[Record] = []
        self.store.write(_clear)
        self.keys = [self._account(number) for number in range(len(WEIGHTS))]
        self.granted = [tasks * PRICE for tasks in CREDITS_FOR]
        self.spent = [0] * len(WEIGHTS)
        self.start_worker()

    def _service(self) -> Service:
        return Service(
            store=self.store,
            blobs=Blobs(self.folder),
            links=Links(PEPPER, "http://127.0.0.1:8000"),
            pepper=PEPPER,
            terms=Terms(PRICE, DAY_S),
            served=Served(MODEL, strict=False),
            clock=self.wall,
            wake=lambda: None,
            most=limits.Rules(queue_max=QUEUE_MAX),
        )

    def _account(self, number: int) -> Key:
        account_id = funded(self.store, CREDITS_FOR[number])
        values: dict[str, Any] = {"weight": WEIGHTS[number]}
        if number == 1:
            values["max_running"] = MAX_RUNNING
        changed = update(lane).where(lane.c.account_id == account_id).values(**values)
        self.store.write(lambda tx: tx.execute(changed))
        return self.store.write(lambda tx: keys.mint(tx, PEPPER, "k", account_id, NOW))[1]

    def _render(self, owed: Delivery) -> str:
        """Another body each time it is made."""
        self.rendered += 1
        view, _ = self.service.owed(owed)
        return json.dumps({"id": view.task.id, "state": view.task.state, "n": self.rendered})

    # What the model says.

    def _in(self, *states: TaskState) -> list[Known]:
        return [each for each in self.tasks.values() if each.state in states]

    @property
    def queued(self) -> list[Known]:
        return self._in(TaskState.QUEUED)

    @property
    def running(self) -> list[Known]:
        return self._in(TaskState.RUNNING)

    @property
    def owed(self) -> dict[str, Owed]:
        return {each.id: each.owed for each in self.tasks.values() if each.owed is not None}

    def _available(self, account: int) -> int:
        still = [each for each in self.tasks.values() if each.account == account]
        held = PRICE * sum(not each.state.ended for each in still)
        return self.granted[account] - self.spent[account] - held

    def _room(self, account: int) -> int:
        """How many more of an account's tasks may run."""
        if account != 1:
            return 99
        return MAX_RUNNING - sum(each.account == account for each in self.running)

    def _any(self, things: Sequence[Any], pick: int) -> Any:
        return things[pick % len(things)]

    def _end(self, task: Known, state: TaskState, error: str) -> None:
        task.state, task.error, task.ended_at, task.token = state, error, self.wall(), None
        if task.url:
            task.owed = Owed()
        if state is TaskState.SUCCEEDED:
            self.spent[task.account] += PRICE

    # Requests.

    @initialize(asked=st.lists(ASKED, min_size=1, max_size=4))
    def accept_first(self, asked: list[Asked]) -> None:
        for each in asked:
            self._accept(*each)

    @rule(asked=ASKED)
    def accept(self, asked: Asked) -> None:
        self._accept(*asked)

    @rule(asked=ASKED)
    def accept_another(self, asked: Asked) -> None:
        self._accept(*asked)

    def _accept(
        self, account: int, words: str, url: str | None, width: int, sent: tuple[str, str] | None
    ) -> None:
        request = ImageRequest(words, width, 64, callback_url=url)
        key = self.keys[account]
        under = None if sent is None else Sent(key.account_id, "/submit", *sent)
        expected = self._expected(account, sent)
        asking = Asking(key, Shape(), request, {"prompt": words}, under)
        (came,) = self.service.submit_all([asking])
        if isinstance(came, Refused):
            assert expected == type(came).__name__
            self.happened[expected] += 1
            return
        if came.view is None:
            assert sent is not None
            assert expected == "replayed"
            assert came.answer == self.answers[account, sent[0]].answer
            self.happened[expected] += 1
            return
        assert expected == "accepted"
        task = self._accepted(account, request, came.view.task.id, came.view.task.public_id)
        self.happened["blocked" if task.state.ended else "accepted"] += 1
        if sent is not None:
            ends = self.wall() + KEEP_S
            self.answers[account, sent[0]] = Answer(sent[1], came.answer, ends, self.steady())

    def _expected(self, account: int, sent: tuple[str, str] | None) -> str:
        first = None if sent is None else self.answers.get((account, sent[0]))
        if first is not None and first.expires_at > self.wall():
            assert sent is not None
            return "replayed" if first.request_hash == sent[1] else "IdempotencyConflict"
        if len(self.queued) >= QUEUE_MAX:
            return "QueueFull"
        return "accepted" if self._available(account) >= PRICE else "InsufficientCredits"

    def _accepted(self, account: int, request: ImageRequest, task_id: str, public_id: str) -> Known:
        self.tasks[task_id] = task = Known(
            id=task_id,
            public_id=public_id,
            account=account,
            kind=compat(MODEL, request),
            words=request.prompt,
            url=request.callback_url,
            created_at=self.wall(),
            accepted=self.steady(),
            state=TaskState.QUEUED,
        )
        if "porn" in request.prompt:
            self._end(task, TaskState.FAILED, "Blocked")
        return task

    @precondition(lambda self: self.tasks)
    @rule(pick=PICK, delete=st.booleans())
    def cancel(self, pick: int, delete: bool) -> None:
        task = self._any(list(self.tasks.values()), pick)
        call = self.service.delete if delete else self.service.cancel
        if task.state.ended and not delete:
            with pytest.raises(NotCancellable):
                self.service.cancel(task.public_id, self._owner(task))
            self.happened["cancelled too late"] += 1
            return
        call(task.public_id, self._owner(task))
        if task.state is TaskState.QUEUED:
            self._end(task, TaskState.CANCELLED, "Cancelled")
            self.happened["cancelled queued"] += 1
        elif task.state is TaskState.RUNNING:
            task.asked = True
            self.happened["cancelled running"] += 1
        elif task.kept is not None:
            task.kept.deleted = True

    def _owner(self, task: Known) -> str:
        return self.keys[task.account].account_id

    @precondition(lambda self: self.tasks)
    @rule(pick=PICK)
    def look(self, pick: int) -> None:
        task = self._any(list(self.tasks.values()), pick)
        view = self.service.look(task.public_id, self._owner(task))
        assert view.task.request.prompt == task.words
        assert view.task.state == task.state
        assert view.links == ((task.kept.link,) if task.kept else ())
        assert (view.progress == 100) == (task.state is TaskState.SUCCEEDED)
        assert (1 <= view.progress <= 99) == (task.state is TaskState.RUNNING)

    @precondition(lambda self: self.tasks)
    @rule(pick=PICK, by=st.integers(1, 2))
    def look_at_anothers(self, pick: int, by: int) -> None:
        """I7."""
        task = self._any(list(self.tasks.values()), pick)
        other = self.keys[(task.account + by) % len(self.keys)].account_id
        for call in (self.service.look, self.service.cancel, self.service.delete):
            with pytest.raises(UnknownTask):
                call(task.public_id, other)
        page = self.service.list_tasks(other, Listing(tuple(TaskState), 1, 99))
        mine = {each.id for each in self.tasks.values() if self._owner(each) == other}
        assert {view.task.id for view in page.views} == mine

    @precondition(lambda self: self.kept)
    @rule(pick=PICK)
    def read(self, pick: int) -> None:
        """I6."""
        self._read(self._any(self.kept, pick))

    def _read(self, kept: Kept) -> None:
        if kept.deleted or kept.file.expires_at <= self.wall():
            with pytest.raises(LookupError):
                self.service.picture(kept.link.rpartition("/")[2])
            self.happened["read too late"] += 1
            return
        found = self.service.picture(kept.link.rpartition("/")[2])
        assert found is not None
        assert found[1] == kept.data
        self.happened["read"] += 1

    @rule(account=st.integers(0, 2))
    def grant(self, account: int) -> None:
        owner = self.keys[account].account_id
        self.store.write(lambda tx: ledger.grant(tx, owner, PRICE, self.wall()))
        self.granted[account] += PRICE

    # Workers.

    @rule()
    def start_worker(self) -> None:
        worker_id = f"w{len(self.workers)}"
        now = self.wall()
        self.store.write(lambda tx: queue.register(tx, worker_id, "host", now, LEASE_S))
        self.workers[worker_id] = Alive(now + LEASE_S, self.steady())

    @rule(pick=PICK, step=st.integers(0, 8))
    def beat(self, pick: int, step: int) -> None:
        worker_id = self._any(list(self.workers), pick)
        mine = [each for each in self.running if each.worker == worker_id]
        said = {"model": MODEL, **{each.id: [step, 8] for each in mine}}
        until, known = self.wall() + LEASE_S, self.workers[worker_id]
        beating = partial(queue.beat, worker_id=worker_id, state="ready", progress=said)
        assert self.store.write(partial(beating, lease_until=until)) != known.gone
        asked = self.store.read(lambda tx: queue.cancels(tx, worker_id))
        assert asked == {each.token for each in mine if each.asked}
        self.happened["late beat"] += known.gone
        known.lease_until, known.renewed = until, self.steady()

    @precondition(lambda self: self.queued)
    @rule(count=st.integers(1, 4))
    def claim(self, count: int) -> None:
        """By the worker that came last, or by one more where it is gone."""
        last = self.workers[list(self.workers)[-1]]
        if last.gone or last.lease_until <= self.wall():
            self.start_worker()
        self._claim(list(self.workers)[-1], count)

    @rule(pick=PICK, count=st.integers(1, 4))
    def claim_by_any(self, pick: int, count: int) -> None:
        """Also by those that are gone."""
        self._claim(self._any(list(self.workers), pick), count)

    def _claim(self, worker_id: str, count: int) -> int:
        now, worker = self.wall(), self.workers[worker_id]
        claims = self.store.write(lambda tx: queue.claim(tx, worker_id, MODEL, count, now))
        might = [each for each in self.queued if self._room(each.account) > 0]
        if worker.gone or worker.lease_until <= now or not might:
            assert claims == []
            self.happened["no claim"] += 1
            return 0
        assert claims
        assert self.tasks[claims[0].task.id] is self._first(claims[0], "")
        kind = self.tasks[claims[0].task.id].kind
        lanes = Counter(each.account for each in might if each.kind == kind)
        rooms = sum(min(self._room(account), lanes[account]) for account in lanes)
        assert len(claims) == min(count, rooms)
        for held in claims:
            task = self.tasks[held.task.id]
            assert task is self._first(held, kind)
            assert (task.state, held.task.request.prompt) == (TaskState.QUEUED, task.words)
            assert self._room(task.account) > 0
            task.state, task.token, task.worker = TaskState.RUNNING, held.token, worker_id
            task.attempt += 1
        self.claims += claims
        self.happened["claimed"] += 1
        return len(claims)

    def _first(self, held: Claim, kind: str) -> Known:
        """The first queued task of a claimed one's lane, of a kind if one is named."""
        account = self.tasks[held.task.id].account
        mine = [each for each in self.queued if each.account == account]
        return min((each for each in mine if kind in ("", each.kind)), key=lambda each: each.id)

    @precondition(lambda self: self.queued)
    @rule(count=st.integers(1, 4))
    def claim_more(self, count: int) -> None:
        self.claim(count)

    @precondition(lambda self: self.running)
    @rule(pick=PICK, picture=st.booleans())
    def settle_another(self, pick: int, picture: bool) -> None:
        self.settle(pick, picture)

    @precondition(lambda self: self.running)
    @rule(pick=PICK, picture=st.booleans())
    def settle(self, pick: int, picture: bool) -> None:
        token = self._any(self.running, pick).token
        self._settle(next(each for each in self.claims if each.token == token), picture)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK, picture=st.booleans())
    def settle_any(self, pick: int, picture: bool) -> None:
        """Also what was reaped, cancelled, given back or settled long ago."""
        self._settle(self._any(self.claims, pick), picture)

    @precondition(lambda self: self.running)
    @rule(pick=PICK, picture=st.booleans())
    def come_late(self, pick: int, picture: bool) -> None:
        """A worker that was taken for dead has drawn, while others draw the same."""
        token = self._any(self.running, pick).token
        self.lose_drawing_worker(pick)
        if self.queued:
            self.claim(4)
        self._settle(next(each for each in self.claims if each.token == token), picture)

    def _settle(self, held: Claim, picture: bool) -> None:
        kept = self._drawn(held) if picture else None
        outcome = queue.failure(BadPicture())
        if kept is not None:
            outcome = Outcome(TaskState.SUCCEEDED, result={"n": 1}, file=kept.file)
        task, before = self._holding(held), self._traces(held)
        now = self.wall()
        (ended,) = self.store.write(lambda tx: queue.settle(tx, [(held, outcome)], now))
        if task is None:
            assert ended is None
            assert self._traces(held) == before
            self.happened["late result"] += 1
            return
        assert ended is not None
        if task.asked:
            self._end(task, TaskState.CANCELLED, "Cancelled")
        else:
            self._end(task, outcome.state, outcome.error)
            task.kept = kept
            self.kept += [kept] if kept else []
            self.happened[outcome.state] += 1

    def _drawn(self, held: Claim) -> Kept:
        """A picture whose bytes are kept, and its row is not yet."""
        self.number += 1
        name, data = f"f{held.token[:20]}{self.number}", f"{held.token} {self.number}".encode()
        expires_at = self.wall() + DAY_S
        file = File(name, f"day/{name}.webp", "0" * 64, len(data), ".webp", expires_at)
        self.service.blobs.put(file.blob_key, data)
        link = self.service.links.sign(file.id, expires_at, file.suffix)
        return Kept(held.task.id, file, link, data, self.steady())

    def _holding(self, held: Claim) -> Known | None:
        """The task of a claim; None where the claim is void."""
        task = self.tasks.get(held.task.id)
        return task if task is not None and task.token == held.token else None

    def _traces(self, held: Claim) -> tuple[object, ...]:
        """All that a result could change."""

        def read(tx: Connection) -> tuple[object, ...]:
            row = tx.execute(select(task_table).where(task_table.c.id == held.task.id)).first()
            money = ledger.balance(tx, held.task.account_id)
            owed = tx.execute(select(outbox_table.c.task_id)).all()
            return row, money, files.find(tx, [held.task.id]), owed

        return self.store.read(read)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def give_back(self, pick: int) -> None:
        held, now = self._any(self.claims, pick), self.wall()
        task = self._holding(held)
        given = self.store.write(lambda tx: queue.give_back(tx, held, now))
        assert bool(given) == (task is not None)
        if task is not None:
            task.attempt -= 0 if task.asked else 1
            self._let_go(task)
            self.happened["given back"] += 1

    def _let_go(self, task: Known) -> None:
        if task.asked:
            self._end(task, TaskState.CANCELLED, "Cancelled")
        else:
            task.state, task.token = TaskState.QUEUED, None

    # What happens unasked.

    @rule(pick=PICK)
    def lose_worker(self, pick: int) -> None:
        worker_id = self._any(list(self.workers), pick)
        alive = not self.workers[worker_id].gone
        self.keeper.reap(dead=worker_id)
        assert self._buried() == ({worker_id} if alive else set())

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def lose_drawing_worker(self, pick: int) -> None:
        worker_id = self._any(self.running, pick).worker
        self.keeper.reap(dead=worker_id)
        assert self._buried() == {worker_id}

    @precondition(lambda self: self.queued)
    @rule()
    def lose_every_worker(self) -> None:
        """Each that draws the first task, until it is given up."""
        for _ in range(ATTEMPTS_MAX):
            if self.queued:
                self.claim(1)
            if self.running:
                self.lose_drawing_worker(-1)

    @rule()
    def reap(self) -> None:
        self.keeper.reap()
        for worker_id in self._buried():
            worker = self.workers[worker_id]
            assert self._is_over(worker)
            assert self.steady() - worker.renewed >= LEASE_S / 2

    @rule()
    def outlive(self) -> None:
        """All are silent until the housekeeper must know it."""
        for _ in range(2):
            self._pass_time(LEASE_S + 1)
            self.reap()
        assert not any(self._is_over(each) for each in self.workers.values() if not each.gone)

    def _is_over(self, worker: Alive) -> bool:
        return not self.wall() <= worker.lease_until <= self.wall() + FAR_S

    def _buried(self) -> set[str]:
        """Who was reaped just now; their tasks are queued again or have ended."""
        known = self.store.read(lambda tx: set(tx.scalars(select(worker_table.c.id))))
        gone = {each for each in self.workers if not self.workers[each].gone} - known
        for worker_id in gone:
            self.workers[worker_id].gone = True
        for task in [each for each in self.running if each.worker in gone]:
            if not task.asked and task.attempt >= ATTEMPTS_MAX:
                self._end(task, TaskState.FAILED, "EngineLost")
                self.happened["lost for the last time"] += 1
            else:
                self._let_go(task)
                self.happened["queued again"] += 1
        return gone

    @rule()
    def expire(self) -> None:
        self.keeper.expire()
        errors = select(task_table.c.id, task_table.c.error)
        found = self.store.read(lambda tx: dict(map(tuple, tx.execute(errors).all())))
        late = [each for each in self.queued if found[each.id]]
        for task in late:
            assert found[task.id] in ("TimedOut", "ModelGone")
            assert self.steady() - task.accepted + self.slack >= WAIT_S
            self._end(task, TaskState.FAILED, found[task.id])
            self.happened["waited too long"] += 1
        if self.straight:
            assert all(self.wall() - each.created_at <= WAIT_S for each in self.queued)

    @rule()
    def sweep(self) -> None:
        """Pictures and idempotency keys go when their time is over, and no sooner."""
        self.keeper.sweep()
        here = select(file_table.c.id).where(file_table.c.deleted_at.is_(None))
        still = self.store.read(lambda tx: set(tx.scalars(here)))
        for kept in [each for each in self.kept if not each.deleted]:
            kept.deleted = kept.file.id not in still
            if kept.deleted:
                assert self.steady() - kept.drawn + self.slack >= DAY_S
                assert self.service.blobs.get(kept.file.blob_key) is None
                self.happened["swept"] += 1
            elif self.straight:
                assert kept.file.expires_at > self.wall()
        self._forget_answers()

    def _forget_answers(self) -> None:
        query = select(idem_table.c.account_id, idem_table.c.key)
        still = self.store.read(lambda tx: set(map(tuple, tx.execute(query).all())))
        for place, answer in list(self.answers.items()):
            if (self.keys[place[0]].account_id, place[1]) not in still:
                assert self.steady() - answer.given + self.slack >= KEEP_S
                del self.answers[place]

    @precondition(lambda self: self.number)
    @rule()
    def remove_orphans(self) -> None:
        """Bytes that nobody's row points to go, and no others."""
        written = list(self.folder.rglob("*.webp"))
        for path in written:
            os.utime(path, (0.0, 0.0))
        self.happened["removed an orphan"] += self.keeper.remove_orphans()
        left = {f"day/{each.name}" for each in written if each.exists()}
        assert left == {each.file.blob_key for each in self.kept if not each.deleted}

    @precondition(lambda self: any(each.state.ended for each in self.tasks.values()))
    @rule()
    def forget_prompts(self) -> None:
        told = [
            each
            for each in self.tasks.values()
            if each.state.ended and each.words
            if each.owed is None or each.owed.state is not DeliveryState.DUE
        ]
        count = self.store.write(lambda tx: tasks.forget_prompts(tx, 0.0, EVER))
        assert count == len(told)
        for task in told:
            task.words = ""
            if task.owed is not None:
                task.owed.body = None
        self.happened["forgotten"] += count

    @precondition(lambda self: any(each.state.ended for each in self.tasks.values()))
    @rule(ago=st.sampled_from([0.0, 100.0, 5000.0]))
    def purge(self, ago: float) -> None:
        before = self.wall() - ago
        old = [e for e in self.tasks.values() if e.ended_at is not None and e.ended_at < before]
        count, gone = self.store.write(lambda tx: tasks.purge(tx, before))
        self.service.blobs.delete(each.blob_key for each in gone)
        assert count == len(old)
        for task in old:
            del self.tasks[task.id]
            if task.kept is not None:
                task.kept.deleted = True
        self.happened["purged"] += count

    # Callbacks.

    @precondition(lambda self: self.owed)
    @rule(
        says=st.sampled_from([200, 302, 500, 0, -1]),
        then=st.sampled_from(["record", "record", "record", "crash", "wait"]),
    )
    def deliver(self, says: int, then: str) -> None:
        made = self._attempts(says)
        if then == "record":
            self._record(made)
        elif then == "wait":
            self.unrecorded += made

    @precondition(lambda self: self.owed)
    @rule(says=st.sampled_from([500, 0]))
    def fail_to_deliver(self, says: int) -> None:
        """Until it is given up, where nobody else holds it."""
        for _ in range(ATTEMPTS):
            self._pass_time(20.0)
            self._record(self._attempts(says))

    @precondition(lambda self: self.owed)
    @rule(late=st.sampled_from([200, 500]), says=st.sampled_from([200, 500]))
    def deliver_twice(self, late: int, says: int) -> None:
        """Another takes it over, and then the first one's answer comes."""
        self.unrecorded += self._attempts(late)
        self._pass_time(Pace().lease_s + 1)
        self._record(self._attempts(says))
        self.record_late()

    def _attempts(self, says: int) -> list[Record]:
        """What comes of one attempt of each delivery that is due and has room."""
        self.receiver.says, self.receiver.sent = says, []
        held = self.courier._claim([])
        for each in held:
            self._held(each)
            self.loop.run_until_complete(self.courier._try(each))
        made, self.courier._made = self.courier._made, []
        assert [each.held for each in made] == held
        for record in made:
            assert record.state is _state(says, record.attempt.number)
        for delivery_id, body in self.receiver.sent:
            self._received(delivery_id, body)
        return made

    def _held(self, held: Held) -> None:
        owed = self.owed[held.delivery.task_id]
        assert owed.state is DeliveryState.DUE
        assert owed.attempt == held.delivery.attempt
        assert owed.id in ("", held.delivery.id)
        owed.id, owed.lease_until = held.delivery.id, held.lease_until
        body = (held.delivery.body or "").encode()
        assert owed.body in (None, body)
        owed.body = body

    def _received(self, delivery_id: str, body: bytes) -> None:
        """I5: once the task has ended, of one id, byte for byte what was sent before."""
        said = json.loads(body)
        task = self.tasks[said["id"]]
        assert said["state"] == task.state
        assert task.state.ended
        assert task.owed is not None
        assert (task.owed.id, task.owed.body) == (delivery_id, body)

    @precondition(lambda self: self.unrecorded)
    @rule()
    def record_late(self) -> None:
        self._record(self.unrecorded)
        self.happened["recorded late"] += len(self.unrecorded)
        self.unrecorded = []

    def _record(self, made: list[Record]) -> None:
        self.store.write(lambda tx: outbox.record(tx, made))
        for each in made:
            owed = self.owed.get(each.held.delivery.task_id)
            if owed is None:
                continue  # purged meanwhile
            owed.logged.append(each.attempt.number)
            mine = owed.lease_until == each.held.lease_until
            if mine or each.state is DeliveryState.DELIVERED:
                owed.state, owed.attempt = each.state, each.attempt.number
                owed.lease_until = 0.0
                self.happened[each.state] += 1
            if mine and each.state is DeliveryState.EXHAUSTED:
                assert set(owed.logged) >= set(range(1, ATTEMPTS + 1))

    @precondition(lambda self: any(each.id for each in self.owed.values()))
    @rule(pick=PICK)
    def resend(self, pick: int) -> None:
        owed = self._any([each for each in self.owed.values() if each.id], pick)
        self.store.write(lambda tx: outbox.resend(tx, owed.id, self.wall()))
        if owed.state is not DeliveryState.DUE:
            owed.state, owed.attempt, owed.lease_until = DeliveryState.DUE, 0, 0.0
            owed.logged = []
            self.happened["sent again"] += 1

    # Clocks.

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0, LEASE_S]))
    def pass_time(self, seconds: float) -> None:
        self._pass_time(seconds)

    @rule(seconds=st.sampled_from([WAIT_S + 1, DAY_S + 1]))
    def pass_much_time(self, seconds: float) -> None:
        self._pass_time(seconds)

    def _pass_time(self, seconds: float) -> None:
        self.wall.now += seconds
        self.steady.now += seconds
        self.keeper._jumps.ahead()

    @rule(seconds=st.sampled_from([20.0, 3600.0, -3600.0, 25 * 3600.0, -25 * 3600.0]))
    def jump(self, seconds: float) -> None:
        self.wall.now += seconds
        self.straight = False
        self.slack += seconds if abs(seconds) <= 30.0 else 0.0
        self.keeper._jumps.ahead()  # as it does twice a second
        self.happened["jumped"] += 1

    # What must hold.

    @invariant()
    def the_tasks_are_as_they_must_be(self) -> None:
        columns = "id state attempt claim_token cancel_requested ended_at error".split()
        query = select(*[task_table.c[each] for each in columns])
        rows = self.store.read(lambda tx: tx.execute(query).all())
        found = {row[0]: tuple(row[1:]) for row in rows}
        assert found == {each.id: each.row for each in self.tasks.values()}

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._bring_to_its_end()
        finally:
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _bring_to_its_end(self) -> None:
        """What was accepted ends and is told; then everything adds up."""
        self._check_books()
        for task in self.running:
            self._settle(next(each for each in self.claims if each.token == task.token), True)
        while self.queued:
            self.start_worker()
            assert self._claim(list(self.workers)[-1], 4)
            for task in self.running:
                self._settle(next(each for each in self.claims if each.token == task.token), True)
        self._pass_time(700.0)  # none is due or leased farther ahead
        while due := [each for each in self.owed.values() if each.state is DeliveryState.DUE]:
            self._record(self._attempts(200))
            assert len(due) > sum(each.state is DeliveryState.DUE for each in self.owed.values())
        assert all(each.state.ended for each in self.tasks.values())
        # What was drawn last has a quarter of an hour left then, and then none.
        for seconds in (0.0, DAY_S - 1600.0, 3600.0):
            self._pass_time(seconds)
            for kept in self.kept:
                self._read(kept)
            self.sweep()
            for kept in self.kept:
                self._read(kept)
        self.remove_orphans()
        self.the_tasks_are_as_they_must_be()
        self._check_books()

    def _check_books(self) -> None:
        """I1, I3, and I5's rows."""
        assert self.store.read(audit) == []
        for account, key in enumerate(self.keys):
            has = self.store.read(lambda tx, of=key.account_id: ledger.balance(tx, of))
            left, spent = self._available(account), self.spent[account]
            held = self.granted[account] - left - spent
            assert has == Balance(key.account_id, left, held, spent)
        columns = [outbox_table.c[each] for each in ("task_id", "state", "attempt")]
        rows = self.store.read(lambda tx: tx.execute(select(*columns)).all())
        found = {row[0]: (row[1], row[2]) for row in rows}
        assert found == {each: (owed.state, owed.attempt) for each, owed in self.owed.items()}


class _Names:
    """In the place of the system's random names: the same ones in the same order."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def token_hex(self, nbytes: int | None = None) -> str:
        return self._random.randbytes(nbytes or 32).hex()


def _state(says: int, number: int) -> DeliveryState:
    """What a delivery is after this answer to its attempt of a number."""
    if 200 <= says < 300:
        return DeliveryState.DELIVERED
    if says == -1:
        return DeliveryState.REFUSED
    return DeliveryState.DUE if number < ATTEMPTS else DeliveryState.EXHAUSTED


def run(world: World, number: int, histories: int, **changes: Any) -> None:
    """So many histories of a seed, which a failure names."""
    machine = seed(number)(lambda: History(world))
    try:
        run_state_machine_as_test(machine, settings=chosen(histories, **changes))
    except (Exception, pytest.fail.Exception) as error:
        which = f"-k {world.kind} --hypothesis-seed={number}"
        error.add_note(f"The same again: make test ARGS='tests/test_histories.py {which}'")
        raise


def chosen(histories: int, **changes: Any) -> settings:
    """How histories are made; another number of them is others of the same seed."""
    usual: dict[str, Any] = {"deadline": None, "print_blob": True, "report_multiple_bugs": False}
    usual |= {"suppress_health_check": list(HealthCheck), "stateful_step_count": STEPS}
    return settings(max_examples=histories, **usual | changes)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged, and the random names are the system's again afterwards."""
    random_names = secrets.token_hex
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        secrets.token_hex = random_names
