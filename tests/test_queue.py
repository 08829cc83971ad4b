"""The life of a task in the database, alone and when many want the same at once."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError

from tests.audit import MODEL, NOW, PRICE, Clock, accepted, audit, funded, kept_file, submission
from zing import ledger, limits, queue
from zing.errors import (
    BadPicture,
    Blocked,
    InsufficientCredits,
    NotCancellable,
    QueueFull,
    UnknownTask,
)
from zing.ledger import Balance
from zing.queue import ATTEMPTS_MAX, Claim, Outcome
from zing.store import Store, tasks
from zing.store.files import File
from zing.store.schema import file, lane, metadata, outbox
from zing.store.schema import ledger as entries
from zing.store.schema import task as task_table
from zing.store.tasks import compat
from zing.task import ImageRequest, Task, TaskState

LEASE_S = 100.0
URL = "https://example.com/hook"


@pytest.fixture(autouse=True)
def audited(request: pytest.FixtureRequest) -> Any:
    """After every test on a database, what must hold at any moment holds."""
    store = request.getfixturevalue("store") if "store" in request.fixturenames else None
    yield
    if store is not None:
        assert store.read(audit) == []


@pytest.fixture
def account_id(store: Store) -> str:
    """An account with enough credits, and a worker that may claim."""
    register(store, "w1")
    return funded(store)


def register(store: Store, worker_id: str, now: float = NOW) -> None:
    store.write(lambda tx: queue.register(tx, worker_id, "host", now, LEASE_S))


def accept(store: Store, account_id: str, now: float = NOW, **changes: Any) -> Task:
    return accepted(store, submission(account_id, **changes), now)


def claim(store: Store, worker_id: str = "w1", count: int = 1, now: float = NOW) -> list[Claim]:
    return store.write(lambda tx: queue.claim(tx, worker_id, MODEL, count, now))


def drawn(held: Claim) -> Outcome:
    return Outcome(TaskState.SUCCEEDED, result={"n": 1}, file=kept_file(held.task.id))


def settle(store: Store, held: Claim, outcome: Outcome | None = None, now: float = NOW + 1) -> bool:
    ends = [(held, outcome or drawn(held))]
    return store.write(lambda tx: queue.settle(tx, ends, now)) != [None]


def give_back(store: Store, held: Claim, now: float = NOW + 1) -> bool:
    return bool(store.write(lambda tx: queue.give_back(tx, held, now)))


def cancel(store: Store, task: Task, account_id: str | None = None, now: float = NOW + 1) -> None:
    store.write(lambda tx: queue.cancel(tx, task.public_id, account_id, now))


def reap(store: Store, now: float, dead: str = "") -> list[str]:
    return store.write(lambda tx: queue.reap(tx, now, dead)).workers


def find(store: Store, task: Task) -> Task:
    return store.read(lambda tx: tasks.find(tx, task.public_id, None))


def balance(store: Store, account_id: str) -> Balance:
    return store.read(lambda tx: ledger.balance(tx, account_id))


def count(store: Store, table: Any) -> int:
    return int(store.read(lambda tx: tx.scalar(select(func.count()).select_from(table))) or 0)


def kinds(store: Store, task: Task) -> list[str]:
    query = select(entries.c.kind).where(entries.c.task_id == task.id).order_by(entries.c.id)
    return store.read(lambda tx: list(tx.scalars(query)))


def change_lane(store: Store, account_id: str, **values: Any) -> None:
    changed = update(lane).where(lane.c.account_id == account_id).values(**values)
    store.write(lambda tx: tx.execute(changed))


# One task, from accept to its end.


def test_an_accepted_task_is_queued_and_its_price_held(store: Store, account_id: str) -> None:
    task = accept(store, account_id, seed=41, suffix=".webp")
    assert (task.state, task.attempt, task.seed, task.cost) == (TaskState.QUEUED, 0, 41, PRICE)
    assert (task.created_at, task.started_at, task.ended_at) == (NOW, None, None)
    assert find(store, task) == task
    assert balance(store, account_id).held == PRICE


def test_what_was_asked_for_comes_back_as_it_was(store: Store, account_id: str) -> None:
    odd = "猫 😀 👨‍👩‍👧 \u202e\n'; DROP TABLE task; -- %s {0}"
    asked = ImageRequest(odd, 64, 48, seed=None, steps=3, strict=True, callback_url=URL)
    sent = {"prompt": odd, "n": [1, 2.5, None, True], "nul": "\0", "half": "\ud800"}
    task = find(store, accept(store, account_id, request=asked, fields=sent))
    assert task.request == asked
    assert task.fields == sent


def test_a_claimed_task_runs_for_one_worker(store: Store, account_id: str) -> None:
    accepted = accept(store, account_id)
    (held,) = claim(store, now=NOW + 2)
    assert held.task.id == accepted.id
    assert (held.task.state, held.task.attempt) == (TaskState.RUNNING, 1)
    assert (held.task.started_at, held.suffix) == (NOW + 2, ".png")
    assert claim(store) == []


def test_an_empty_queue_gives_nothing(store: Store, account_id: str) -> None:
    assert claim(store, count=5) == []


def test_a_drawn_task_costs_its_price_and_has_a_file(store: Store, account_id: str) -> None:
    accepted = accept(store, account_id)
    (held,) = claim(store)
    assert settle(store, held, now=NOW + 5)
    task = find(store, accepted)
    assert (task.state, task.ended_at, task.result) == (TaskState.SUCCEEDED, NOW + 5, {"n": 1})
    assert kinds(store, task) == ["hold", "settle"]
    has = balance(store, account_id)
    assert (has.available, has.held, has.used) == (999 * PRICE, 0, PRICE)
    assert count(store, file) == 1


def test_a_failed_task_costs_nothing_and_says_why(store: Store, account_id: str) -> None:
    accepted = accept(store, account_id)
    (held,) = claim(store)
    assert settle(store, held, queue.failure(BadPicture("Nothing came out.")))
    task = find(store, accepted)
    assert (task.state, task.error) == (TaskState.FAILED, "BadPicture")
    assert task.error_message == "Nothing came out."
    assert kinds(store, task) == ["hold", "release"]
    assert balance(store, account_id) == Balance(account_id, 1000 * PRICE, 0, 0)


def test_a_queued_task_that_is_cancelled_has_ended_at_once(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    cancel(store, task)
    assert find(store, task).state == TaskState.CANCELLED
    assert find(store, task).error == "Cancelled"
    assert balance(store, account_id).available == 1000 * PRICE
    assert claim(store) == []


def test_a_running_task_is_asked_to_stop_and_its_worker_told(store: Store, account_id: str) -> None:
    task = accept(store, account_id, now=NOW - 1)
    other = accept(store, account_id)
    held, _ = claim(store, count=2)
    for _ in range(2):
        cancel(store, task)
    assert (find(store, task).state, find(store, task).cancel_requested) == ("running", True)
    assert not find(store, task).can_cancel
    assert find(store, other).can_cancel
    assert store.read(lambda tx: queue.cancels(tx, "w1")) == {held.token}
    assert store.read(lambda tx: queue.cancels(tx, "w2")) == set()


def test_a_task_that_was_asked_to_stop_is_cancelled_whatever_comes_of_it(
    store: Store, account_id: str
) -> None:
    """A picture that came just after, a failure, and a worker that gives it back."""
    for number in range(3):
        task = accept(store, account_id)
        (held,) = claim(store)
        cancel(store, task)
        if number == 2:
            assert give_back(store, held)
        else:
            assert settle(store, held, queue.failure(BadPicture()) if number else None)
        assert (find(store, task).state, find(store, task).error) == ("cancelled", "Cancelled")
        assert kinds(store, task) == ["hold", "release"]
    assert balance(store, account_id) == Balance(account_id, 1000 * PRICE, 0, 0)
    assert count(store, file) == 0


def test_what_has_ended_cannot_be_cancelled(store: Store, account_id: str) -> None:
    done, gone = accept(store, account_id, now=NOW - 1), accept(store, account_id)
    settle(store, claim(store)[0])
    cancel(store, gone)
    for task in (done, gone):
        before = find(store, task)
        with pytest.raises(NotCancellable):
            cancel(store, task)
        assert find(store, task) == before


def test_only_its_account_and_an_operator_may_cancel_a_task(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    with pytest.raises(UnknownTask):
        cancel(store, task, funded(store))
    with pytest.raises(UnknownTask):
        cancel(store, replace(task, public_id="nothing"), account_id)
    assert find(store, task).state == TaskState.QUEUED
    cancel(store, task, account_id)
    assert find(store, task).state == TaskState.CANCELLED


def test_a_task_given_back_was_not_tried(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    (held,) = claim(store)
    assert give_back(store, held)
    found = find(store, task)
    assert (found.state, found.attempt, found.started_at) == (TaskState.QUEUED, 0, None)
    assert not give_back(store, held)
    (again,) = claim(store)
    assert (again.task.id, again.task.attempt) == (task.id, 1)


def test_a_claim_whose_answer_was_lost_is_queued_again_as_if_it_had_not_been(
    store: Store, account_id: str
) -> None:
    """Its worker knows of one of three; a task that was asked to be cancelled meanwhile ends."""
    made = {accept(store, account_id).id for _ in range(3)}
    known, lost, asked = (claim(store)[0] for _ in range(3))
    cancel(store, asked.task)
    ended = store.write(lambda tx: queue.disown(tx, "w1", [known.token], NOW + 1))
    assert [each.public_id for each in ended] == [asked.task.public_id]
    assert {known.task.id, lost.task.id, asked.task.id} == made
    assert find(store, known.task).state == TaskState.RUNNING
    assert (find(store, lost.task).state, find(store, lost.task).attempt) == ("queued", 0)
    assert find(store, asked.task).state == TaskState.CANCELLED
    assert store.write(lambda tx: queue.disown(tx, "w2", [], NOW + 1)) == []


def test_a_blocked_request_ends_at_once_and_costs_nothing(store: Store, account_id: str) -> None:
    blocked = Blocked("It was blocked for the protection of the young.")
    task = accept(store, account_id, refused=blocked, callback_url=URL)
    found = find(store, task)
    assert (found.state, found.error, found.error_message) == ("failed", "Blocked", str(blocked))
    assert (found.started_at, found.ended_at) == (None, NOW)
    assert kinds(store, task) == ["hold", "release"]
    assert count(store, outbox) == 1
    assert claim(store) == []


def test_a_blocked_request_needs_credits_all_the_same(store: Store) -> None:
    with pytest.raises(InsufficientCredits):
        accept(store, funded(store, 0), refused=Blocked())
    assert count(store, task_table) == 0


def test_who_cannot_pay_gets_no_task(store: Store) -> None:
    account_id = funded(store, 1)
    accept(store, account_id)
    with pytest.raises(InsufficientCredits):
        accept(store, account_id)
    assert count(store, task_table) == 1
    assert balance(store, account_id) == Balance(account_id, 0, PRICE, 0)


def test_an_id_that_is_taken_leaves_nothing(store: Store, account_id: str) -> None:
    accept(store, account_id, public_id="task-1")
    with pytest.raises(IntegrityError):
        accept(store, funded(store), public_id="task-1")
    assert count(store, task_table) == 1
    assert count(store, entries) == 3, "two grants and one hold"


def test_ids_sort_by_time() -> None:
    ids = [queue.task_id(NOW + number / 100) for number in range(100)]
    assert ids == sorted(ids)
    assert len({queue.task_id(NOW) for _ in range(1000)}) == 1000


# The queue's bound.


def test_a_full_queue_refuses_and_charges_nothing(store: Store, account_id: str) -> None:
    small = limits.Rules(queue_max=3)
    for _ in range(3):
        accepted(store, submission(account_id), rules=small)
    other = funded(store)
    with pytest.raises(QueueFull) as refused:
        accepted(store, submission(other), rules=small)
    assert refused.value.retry_after_s > 0
    assert balance(store, other).held == 0
    claim(store)
    accepted(store, submission(other), rules=small)


# Deliveries and files: once, at the end.


def ends(store: Store, task: Task) -> list[Callable[[], object]]:
    return [
        lambda: settle(store, claim(store)[0]),
        lambda: settle(store, claim(store)[0], queue.failure(BadPicture())),
        lambda: cancel(store, task),
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_delivery_is_due_once_the_task_has_ended_and_not_before(
    store: Store, account_id: str, number: int
) -> None:
    task = accept(store, account_id, callback_url=URL)
    assert count(store, outbox) == 0
    ends(store, task)[number]()
    row = store.read(lambda tx: tx.execute(select(outbox)).one())
    assert (row.task_id, row.url, row.state, row.attempt) == (task.id, URL, "due", 0)
    with suppress(NotCancellable):
        cancel(store, task)
    assert count(store, outbox) == 1


@pytest.mark.parametrize("number", range(3))
def test_who_gave_no_address_gets_no_delivery(store: Store, account_id: str, number: int) -> None:
    ends(store, accept(store, account_id))[number]()
    assert count(store, outbox) == 0


# Workers that die.


def test_a_beat_keeps_a_lease_and_a_missed_one_ends_it(store: Store) -> None:
    register(store, "w1")

    def beat(until: float) -> bool:
        return store.write(lambda tx: queue.beat(tx, "w1", "ready", {}, until))

    assert reap(store, NOW + LEASE_S) == []
    assert beat(NOW + 20)
    assert reap(store, NOW + 19) == []
    assert reap(store, NOW + 21) == ["w1"]
    assert not beat(NOW + 40)
    assert reap(store, NOW + 41) == []


def test_a_task_whose_worker_died_is_queued_again(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    claim(store)
    assert reap(store, NOW + LEASE_S - 1) == []
    assert find(store, task).state == TaskState.RUNNING
    assert reap(store, NOW + LEASE_S + 1) == ["w1"]
    found = find(store, task)
    assert (found.state, found.attempt, found.started_at) == (TaskState.QUEUED, 1, None)
    assert found.updated_at == NOW + LEASE_S + 1
    register(store, "w2")
    (again,) = claim(store, "w2")
    assert again.task.attempt == 2


def test_only_the_dead_workers_tasks_come_back(store: Store, account_id: str) -> None:
    mine, others = accept(store, account_id, now=NOW - 1), accept(store, account_id)
    register(store, "w2")
    claim(store, "w1")
    claim(store, "w2")
    assert reap(store, NOW, dead="w1") == ["w1"]
    assert find(store, mine).state == TaskState.QUEUED
    assert find(store, others).state == TaskState.RUNNING


def test_the_third_death_fails_the_task_and_costs_nothing(store: Store, account_id: str) -> None:
    task = accept(store, account_id, callback_url=URL)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        register(store, f"dying {attempt}")
        assert claim(store, f"dying {attempt}")[0].task.attempt == attempt
        reap(store, NOW, dead=f"dying {attempt}")
    found = find(store, task)
    assert (found.state, found.error) == (TaskState.FAILED, "EngineLost")
    assert "3 times" in found.error_message
    assert kinds(store, task) == ["hold", "release"]
    assert count(store, outbox) == 1


def test_a_cancelled_task_whose_worker_died_is_not_drawn_again(
    store: Store, account_id: str
) -> None:
    task = accept(store, account_id)
    claim(store)
    cancel(store, task)
    reap(store, NOW, dead="w1")
    assert find(store, task).state == TaskState.CANCELLED
    assert kinds(store, task) == ["hold", "release"]


def test_a_late_result_changes_nothing(store: Store, account_id: str) -> None:
    """I10: after a reap, while another draws, and after the other's end."""
    task = accept(store, account_id)
    (late,) = claim(store)
    reap(store, NOW, dead="w1")

    def changes_nothing() -> None:
        before = find(store, task), balance(store, account_id), count(store, file)
        assert not settle(store, late)
        assert not settle(store, late, queue.failure(BadPicture()))
        assert not give_back(store, late)
        assert (find(store, task), balance(store, account_id), count(store, file)) == before

    changes_nothing()
    register(store, "w2")
    (held,) = claim(store, "w2")
    changes_nothing()
    assert settle(store, held)
    changes_nothing()
    assert not settle(store, held)
    assert kinds(store, task) == ["hold", "settle"]


def test_a_result_after_the_task_was_forgotten_changes_nothing(
    store: Store, account_id: str
) -> None:
    accept(store, account_id)
    (held,) = claim(store)
    settle(store, held)
    store.write(lambda tx: tasks.purge(tx, NOW + 99))
    assert not settle(store, held)


def test_a_worker_whose_lease_was_ended_claims_nothing(store: Store, account_id: str) -> None:
    """Nobody would miss it, and its task would run for ever."""
    task = accept(store, account_id)
    reap(store, NOW, dead="w1")
    assert claim(store, "w1") == []
    assert find(store, task).state == TaskState.QUEUED


def test_reaping_twice_is_reaping_once(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    claim(store)
    with ThreadPoolExecutor(4) as pool:
        reaped = list(pool.map(lambda _: reap(store, NOW + LEASE_S + 1), range(4)))
    assert ["w1"] in reaped
    assert (find(store, task).state, find(store, task).attempt) == (TaskState.QUEUED, 1)


# Tasks that nobody draws.

WAIT_S = 3600.0


def expire(store: Store, now: float) -> int:
    return len(store.write(lambda tx: queue.expire(tx, now, WAIT_S)))


def say(store: Store, lease_until: float, **progress: Any) -> None:
    """What the worker w1 tells with a beat."""
    assert store.write(lambda tx: queue.beat(tx, "w1", "ready", progress, lease_until))


def test_a_task_that_waits_too_long_fails_and_costs_nothing(store: Store, account_id: str) -> None:
    task = accept(store, account_id, callback_url=URL)
    later = accept(store, account_id, now=NOW + 1)
    say(store, NOW + 2 * WAIT_S, model=MODEL)
    assert expire(store, NOW + WAIT_S) == 0
    assert expire(store, NOW + WAIT_S + 0.5) == 1
    found = find(store, task)
    assert (found.state, found.error, found.ended_at) == ("failed", "TimedOut", NOW + WAIT_S + 0.5)
    assert "3600 s" in found.error_message
    assert kinds(store, task) == ["hold", "release"]
    assert count(store, outbox) == 1
    assert find(store, later).state == TaskState.QUEUED
    assert expire(store, NOW + WAIT_S + 0.5) == 0


@pytest.mark.parametrize(
    ("model", "alive"), [("other", True), (MODEL, False), (None, True)], ids=str
)
def test_a_task_whose_model_no_living_worker_draws_with_says_so(
    store: Store, account_id: str, model: str | None, alive: bool
) -> None:
    task = accept(store, account_id)
    say(store, NOW + 2 * WAIT_S if alive else NOW, **({"model": model} if model else {}))
    assert expire(store, NOW + WAIT_S + 1) == 1
    assert (find(store, task).state, find(store, task).error) == ("failed", "ModelGone")
    assert kinds(store, task) == ["hold", "release"]


def test_a_task_that_runs_has_not_waited_too_long(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    (held,) = claim(store)
    assert expire(store, NOW + 9 * WAIT_S) == 0
    assert settle(store, held)
    assert expire(store, NOW + 9 * WAIT_S) == 0
    assert find(store, task).state == TaskState.SUCCEEDED


def test_of_a_claim_and_the_end_of_waiting_one_wins(store: Store, account_id: str) -> None:
    for _ in range(10):
        task = accept(store, account_id, now=NOW - 9 * WAIT_S)
        with ThreadPoolExecutor(2) as pool:
            claimed = pool.submit(claim, store)
            ended = pool.submit(expire, store, NOW)
        claims = claimed.result()
        assert len(claims) + ended.result() == 1
        assert find(store, task).state == (TaskState.RUNNING if claims else TaskState.FAILED)
        for held in claims:
            settle(store, held)


# Whose turn it is.


def served(store: Store, number: int) -> list[str]:
    """The accounts of the next tasks, each settled before the next is claimed."""
    accounts = []
    for _ in range(number):
        (held,) = claim(store)
        settle(store, held)
        accounts.append(held.task.account_id)
    return accounts


def test_a_lane_is_served_in_order(store: Store, account_id: str) -> None:
    expected = [accept(store, account_id, now=NOW + number).id for number in range(5)]
    claims = [claim(store, now=NOW + 9)[0] for _ in range(5)]
    assert [held.task.id for held in claims] == expected


def test_two_accounts_take_turns_however_many_one_has(store: Store, account_id: str) -> None:
    other = funded(store)
    for _ in range(50):
        accept(store, account_id)
    for _ in range(5):
        accept(store, other)
    turns = served(store, 10)
    assert Counter(turns) == {account_id: 5, other: 5}
    assert all(one != two for one, two in pairwise(turns))


def test_an_idle_account_saves_up_no_turns(store: Store, account_id: str) -> None:
    """Ten pictures of one account alone do not owe the other ten in a row."""
    other = funded(store)
    for _ in range(20):
        accept(store, account_id)
    served(store, 10)
    for _ in range(10):
        accept(store, other)
    assert Counter(served(store, 6)) == {account_id: 3, other: 3}


def test_a_new_account_does_not_wait_for_what_old_ones_used(store: Store, account_id: str) -> None:
    for _ in range(10):
        accept(store, account_id)
    served(store, 10)
    late = funded(store)
    accept(store, account_id)
    for _ in range(3):
        accept(store, late)
    assert account_id in served(store, 2)


def test_twice_the_weight_is_twice_the_turns(store: Store, account_id: str) -> None:
    other = funded(store)
    change_lane(store, other, weight=2)
    for _ in range(9):
        accept(store, account_id)
        accept(store, other)
    assert Counter(served(store, 9)) == {account_id: 3, other: 6}


def test_no_more_run_than_a_lane_may(store: Store, account_id: str) -> None:
    change_lane(store, account_id, max_running=2)
    for _ in range(4):
        accept(store, account_id)
    other = accept(store, funded(store))
    held = claim(store, count=9)
    assert len(held) == 3
    assert other.id in [each.task.id for each in held]
    settle(store, next(each for each in held if each.task.account_id == account_id))
    assert len(claim(store, count=9)) == 1


def test_no_more_run_than_a_lane_may_when_many_claim(store: Store, account_id: str) -> None:
    change_lane(store, account_id, max_running=2)
    for _ in range(12):
        accept(store, account_id)
    ready = threading.Barrier(6)
    for number in range(6):
        register(store, f"one of many {number}")

    def one(number: int) -> int:
        ready.wait(10)
        return len(claim(store, f"one of many {number}"))

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(one, range(6))) <= 2


def test_a_lower_priority_number_is_served_first(store: Store, account_id: str) -> None:
    first, second = accept(store, account_id), accept(store, account_id, now=NOW + 1)
    urgent = update(task_table).where(task_table.c.id == second.id).values(priority=50)
    store.write(lambda tx: tx.execute(urgent))
    order = [claim(store, now=NOW + 9)[0].task.id for _ in range(2)]
    assert order == [second.id, first.id]


def test_a_task_is_not_served_before_its_time(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    later = update(task_table).where(task_table.c.id == task.id).values(not_before=NOW + 60)
    store.write(lambda tx: tx.execute(later))
    other = accept(store, account_id, now=NOW + 1)
    assert [held.task.id for held in claim(store, count=9, now=NOW + 59)] == [other.id]
    assert [held.task.id for held in claim(store, count=9, now=NOW + 60)] == [task.id]


def test_a_clock_that_is_set_back_delays_no_task(store: Store, account_id: str) -> None:
    task = accept(store, account_id)
    assert [held.task.id for held in claim(store, now=NOW - 3600)] == [task.id]


def test_a_batch_is_of_one_kind(store: Store, account_id: str) -> None:
    wide = compat(MODEL, ImageRequest("a cat", 128, 64))
    for number in range(6):
        accept(store, account_id, now=NOW + number, **({"compat": wide} if number % 2 else {}))
    other = accept(store, funded(store), compat=wide)
    first = claim(store, count=9, now=NOW + 9)
    assert len(first) == (4 if other.id in {held.task.id for held in first} else 3)
    second = claim(store, count=9, now=NOW + 9)
    assert len(first) + len(second) == 7
    assert claim(store, count=9, now=NOW + 9) == []


def test_a_worker_gets_tasks_for_its_model_only(store: Store, account_id: str) -> None:
    other = accept(store, account_id, now=NOW - 1, model="other")
    mine = accept(store, account_id)
    assert [held.task.id for held in claim(store, count=9)] == [mine.id]
    (held,) = store.write(lambda tx: queue.claim(tx, "w1", "other", 9, NOW))
    assert held.task.id == other.id


def test_other_models_tasks_do_not_hide_ours(
    store: Store, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many accounts wait for a model that nobody draws with."""
    monkeypatch.setattr(queue, "LANES_TRIED", 3)
    for _ in range(5):
        accept(store, funded(store, 1), model="other")
    change_lane(store, account_id, vtime=9.0)
    mine = accept(store, account_id)
    assert [held.task.id for held in claim(store)] == [mine.id]


def test_a_batch_has_no_more_than_was_asked_for(store: Store, account_id: str) -> None:
    for _ in range(5):
        accept(store, account_id)
    assert [len(claim(store, count=2)) for _ in range(4)] == [2, 2, 1, 0]


# What is forgotten.


@pytest.mark.parametrize("damage", ['{"of": "another version"}', '{"prompt": ', "[" * 5000])
def test_a_task_that_cannot_be_read_fails_and_stops_no_other(
    store: Store, account_id: str, damage: str
) -> None:
    unread, other = (accept(store, account_id) for _ in range(2))
    column = "fields" if damage.startswith("[") else "request"
    damaged = update(task_table).where(task_table.c.id == unread.id).values({column: damage})
    store.write(lambda tx: tx.execute(damaged))
    assert [held.task.id for held in [*claim(store), *claim(store)]] == [other.id]
    ended = select(task_table.c.state, task_table.c.error).where(task_table.c.id == unread.id)
    assert tuple(store.read(lambda tx: tx.execute(ended).one())) == ("failed", "Unreadable")
    assert balance(store, account_id).held == other.cost


def test_what_ended_long_ago_is_forgotten_and_its_money_is_not(
    store: Store, account_id: str
) -> None:
    old = accept(store, account_id, now=NOW - 2, callback_url=URL)
    accept(store, account_id, now=NOW - 1, callback_url=URL)
    waiting = accept(store, account_id)
    first, second = claim(store, count=2)
    settle(store, first, now=NOW + 10)
    settle(store, second, now=NOW + 20)
    number, gone = store.write(lambda tx: tasks.purge(tx, NOW + 20))
    assert number == 1
    assert [each.blob_key for each in gone] == [kept_file(first.task.id).blob_key]
    with pytest.raises(UnknownTask):
        find(store, old)
    assert find(store, waiting).state == TaskState.QUEUED
    assert kinds(store, old) == ["hold", "settle"]
    assert balance(store, account_id).used == 2 * PRICE
    assert count(store, file) == count(store, outbox) == 1


def test_tasks_are_listed_newest_first(store: Store, account_id: str) -> None:
    other = funded(store)
    made = [accept(store, account_id, now=NOW + number) for number in range(3)]
    accept(store, other, now=NOW + 9)
    cancel(store, made[0])

    def listed(limit: int = 9, **wanted: Any) -> list[str]:
        found = store.read(lambda tx: tasks.search(tx, tasks.Search(**wanted), limit))
        return [each.id for each in found]

    assert listed(account_id=account_id) == [each.id for each in reversed(made)]
    assert listed(state=TaskState.CANCELLED) == [made[0].id]
    assert len(listed()) == 4
    assert len(listed(2)) == 2


# Races.


@pytest.mark.parametrize("turn", range(2))
def test_a_balance_for_66_tasks_is_enough_for_66(store: Store, turn: int) -> None:
    account_id = funded(store, 66)
    ready = threading.Barrier(20)

    def ask(number: int) -> int:
        ready.wait(20)
        taken = 0
        for each in range(5):
            with suppress(InsufficientCredits):
                accept(store, account_id, public_id=f"task-{turn}-{number}-{each}")
                taken += 1
        return taken

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(ask, range(20))) == 66
    assert balance(store, account_id) == Balance(account_id, 0, 66 * PRICE, 0)


def test_every_task_is_claimed_once_by_workers_of_several_processes(
    store: Store, database_url: str
) -> None:
    accounts = [funded(store) for _ in range(3)]
    expected = {accept(store, accounts[number % 3]).id for number in range(60)}
    ready = threading.Barrier(4)

    def work(number: int) -> list[str]:
        mine, taken = Store(database_url), list[str]()
        register(mine, f"w{number}")
        ready.wait(20)
        while claims := claim(mine, f"w{number}", count=3):
            taken += [held.task.id for held in claims]
            for held in claims[1:]:
                assert settle(mine, held)
        mine.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [each for mine in pool.map(work, range(4)) for each in mine]
    # A claim may find a lane's tasks locked by another, and then ends before the queue is empty.
    register(store, "last")
    while claims := claim(store, "last", count=3):
        taken += [held.task.id for held in claims]
    assert sorted(taken) == sorted(expected)


def test_one_of_a_cancel_and_a_settle_wins(store: Store, account_id: str) -> None:
    for _ in range(10):
        task = accept(store, account_id)
        (held,) = claim(store)
        with ThreadPoolExecutor(2) as pool:
            won = pool.submit(settle, store, held)
            asked = pool.submit(cancel, store, task)
            assert won.result()
            assert isinstance(asked.exception(), NotCancellable | None)
        cancelled = find(store, task).state == TaskState.CANCELLED
        assert cancelled == (asked.exception() is None)
        assert kinds(store, task) == ["hold", "release" if cancelled else "settle"]


def test_several_results_of_one_claim_end_it_once(store: Store, account_id: str) -> None:
    for _ in range(5):
        task = accept(store, account_id)
        (held,) = claim(store)
        ready = threading.Barrier(4)

        def end(number: int, held: Claim = held, ready: threading.Barrier = ready) -> bool:
            ready.wait(10)
            return settle(store, held, None if number % 2 else queue.failure(BadPicture()))

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(end, range(4))) == 1
        assert len(kinds(store, task)) == 2


# Random histories.


class History:
    """Everything that may happen to some tasks, at random, and what should have come of it."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.pick = random.Random(seed)
        self.clock = Clock()
        self.accounts = [funded(store, 6) for _ in range(3)]
        self.leases: dict[str, float] = {}
        self.tasks: dict[str, Task] = {}
        self.state: dict[str, TaskState] = {}
        self.asked: set[str] = set()  # to be cancelled while they ran
        self.claims: list[Claim] = []  # every claim there ever was
        self.valid: dict[str, tuple[str, str]] = {}  # by task: token, worker
        self.number = 0

    def step(self) -> str:
        """One thing happens; its name."""
        acts = [self.accept] * 4 + [self.claim] * 4 + [self.settle] * 4
        acts += [self.late, self.cancel, self.cancel, self.give_back, self.beat, self.die]
        act = self.pick.choice([*acts, self.pass_time, self.reap])
        act()
        return act.__name__

    def accept(self) -> None:
        account_id = self.pick.choice(self.accounts)
        available = balance(self.store, account_id).available
        url = self.pick.choice([None, URL])
        kind = self.pick.choice(["a", "b"])
        refused = Blocked() if self.pick.random() < 0.1 else None
        try:
            task = accept(
                self.store,
                account_id,
                self.clock(),
                compat=kind,
                callback_url=url,
                refused=refused,
            )
        except InsufficientCredits:
            assert available < PRICE
            return
        assert available >= PRICE
        self.tasks[task.id] = task
        self.state[task.id] = TaskState.QUEUED if refused is None else TaskState.FAILED

    def claim(self) -> None:
        if not self.leases or self.pick.random() < 0.3:
            self.number += 1
            register(self.store, f"w{self.number}", self.clock())
            self.leases[f"w{self.number}"] = self.clock() + LEASE_S
        worker_id = self.pick.choice(sorted(self.leases))
        wanted = self.pick.randint(1, 3)
        queued = [each for each, state in self.state.items() if state == TaskState.QUEUED]
        claims = claim(self.store, worker_id, wanted, self.clock())
        assert len(claims) <= wanted
        assert bool(claims) == (bool(queued) and self.leases[worker_id] > self.clock())
        assert len({self.kind(held) for held in claims}) <= 1
        for held in claims:
            assert self.state[held.task.id] == TaskState.QUEUED
            self.state[held.task.id] = TaskState.RUNNING
            self.valid[held.task.id] = (held.token, worker_id)
        self.claims += claims

    def kind(self, held: Claim) -> str:
        query = select(task_table.c.compat).where(task_table.c.id == held.task.id)
        return str(self.store.read(lambda tx: tx.scalar(query)))

    def end(self, held: Claim) -> None:
        picture = File(f"f{held.token[:20]}", held.token, "0" * 64, 3, ".png", NOW + 9e4)
        outcome = self.pick.choice(
            [Outcome(TaskState.SUCCEEDED, file=picture), queue.failure(BadPicture())]
        )
        valid = self.valid.get(held.task.id, ("",))[0] == held.token
        assert settle(self.store, held, outcome, self.clock()) == valid
        if valid:
            self.valid.pop(held.task.id)
            asked = held.task.id in self.asked
            self.state[held.task.id] = TaskState.CANCELLED if asked else outcome.state

    def settle(self) -> None:
        running = [each for each in self.claims if each.task.id in self.valid]
        if running:
            self.end(self.pick.choice(running))

    def late(self) -> None:
        if self.claims:
            self.end(self.pick.choice(self.claims))

    def give_back(self) -> None:
        if not self.claims:
            return
        held = self.pick.choice(self.claims)
        valid = self.valid.get(held.task.id, ("",))[0] == held.token
        assert give_back(self.store, held, self.clock()) == valid
        if valid:
            self.valid.pop(held.task.id)
            asked = held.task.id in self.asked
            self.state[held.task.id] = TaskState.CANCELLED if asked else TaskState.QUEUED

    def cancel(self) -> None:
        if not self.tasks:
            return
        task = self.tasks[self.pick.choice(sorted(self.tasks))]
        state = self.state[task.id]
        try:
            cancel(self.store, task, task.account_id, self.clock())
        except NotCancellable:
            assert state.ended
            return
        assert not state.ended
        if state == TaskState.QUEUED:
            self.state[task.id] = TaskState.CANCELLED
        else:
            self.asked.add(task.id)

    def beat(self) -> None:
        if not self.leases:
            return
        worker_id, until = self.pick.choice(sorted(self.leases)), self.clock() + LEASE_S
        assert self.store.write(lambda tx: queue.beat(tx, worker_id, "ready", {}, until))
        self.leases[worker_id] = until

    def die(self) -> None:
        if self.leases:
            self.reaped(self.pick.choice(sorted(self.leases)))

    def reap(self) -> None:
        self.reaped("")

    def pass_time(self) -> None:
        self.clock.now += self.pick.choice([0.001, 1.0, LEASE_S / 2, LEASE_S + 1, -0.5])

    def reaped(self, dead: str) -> None:
        over = {each for each, until in self.leases.items() if until < self.clock()}
        gone = reap(self.store, self.clock(), dead)
        assert set(gone) == ({dead} if dead else over)
        for worker_id in gone:
            self.leases.pop(worker_id)
        for task_id, (_, worker_id) in list(self.valid.items()):
            if worker_id in gone:
                self.valid.pop(task_id)
                found = find(self.store, self.tasks[task_id])
                tried_enough = found.attempt >= ATTEMPTS_MAX
                expected = TaskState.FAILED if tried_enough else TaskState.QUEUED
                if task_id in self.asked:
                    expected = TaskState.CANCELLED
                self.state[task_id] = expected

    def check(self) -> None:
        """The invariants, and that every task is where the model says."""
        assert self.store.read(audit) == []
        query = select(task_table.c.id, task_table.c.state)
        found = self.store.read(lambda tx: dict(map(tuple, tx.execute(query).all())))
        assert found == {each: str(state) for each, state in self.state.items()}

    def check_charges(self) -> None:
        """Each account paid for what it got."""
        for account_id in self.accounts:
            done = [
                each
                for each, state in self.state.items()
                if state == TaskState.SUCCEEDED and self.tasks[each].account_id == account_id
            ]
            assert balance(self.store, account_id).used == len(done) * PRICE


def clear(tx: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if table.name != "installation":
            tx.execute(table.delete())


# A few: test_histories.py plays hundreds, and knows more.
HISTORIES = {"sqlite": 20, "postgresql": 5}
STEPS = 20


def test_whatever_happens_in_any_order_the_invariants_hold(store: Store) -> None:
    for seed in range(HISTORIES["sqlite" if store.sqlite else "postgresql"]):
        store.write(clear)
        history, happened = History(store, seed), list[str]()
        try:
            for _ in range(STEPS):
                happened.append(history.step())
                history.check()
            history.check_charges()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, after {happened}: {error}") from error
