"""Random histories keep the invariants, and histories of a service with a bug do not."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, reproduce_failure
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection, update

from tests import databases
from tests.histories import HAPPENED, History, World, chosen, quiet, run
from zing import ledger, queue
from zing.blobs import Blobs
from zing.errors import Cancelled, ZingError
from zing.ledger import Kind, Move
from zing.store import Store, files, idem, outbox, tasks
from zing.store.idem import Kept, Sent
from zing.store.schema import lane
from zing.store.schema import task as task_table
from zing.store.schema import worker as worker_table
from zing.task import TaskState

# So many histories on each kind of database, 500 in all: PostgreSQL takes three times as long.
FEW = {"sqlite": 460, "postgresql": 40}
TIMES = 20  # of these are 10,000


@pytest.fixture(params=databases.KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty database whose commits cost little, and a folder for pictures."""
    if request.param == "sqlite":
        yield request.getfixturevalue("small_world")
        return
    server = request.getfixturevalue("postgresql")
    with databases.quick_folder() as folder, databases.new_database(server) as url:
        yield from _world(url, folder, request.param)


@pytest.fixture
def small_world() -> Iterator[World]:
    """The same on SQLite."""
    with databases.quick_folder() as folder:
        yield from _world(f"sqlite:///{folder / 'zing.db'}", folder, "sqlite")


def _world(url: str, folder: Path, kind: str) -> Iterator[World]:
    store = Store(url)
    with quiet():
        yield World(store, folder / "pictures", kind)
    store.close()


def first_seed(config: pytest.Config) -> int:
    """The seed that was asked for, else any."""
    asked = config.getoption("--hypothesis-seed")
    return int(asked) if asked not in (None, "random") else random.randrange(2**31)


def test_whatever_happens_in_any_order_the_invariants_hold(
    world: World, pytestconfig: pytest.Config
) -> None:
    run(world, first_seed(pytestconfig), FEW[world.kind])
    if world.kind == "sqlite":
        assert {each for each in HAPPENED if not world.happened[each]} == set()


@pytest.mark.long
def test_whatever_happens_ten_thousand_times(world: World, pytestconfig: pytest.Config) -> None:
    first = first_seed(pytestconfig)
    for number in range(first, first + TIMES):
        run(world, number, FEW[world.kind])
    assert {each for each in HAPPENED if not world.happened[each]} == set()


# Planted bugs: each changes one thing that the code does right.

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, Plant] = {}


def plant(bug: Plant) -> Plant:
    PLANTS[bug.__name__] = bug
    return bug


@plant
def a_void_claim_settles(patch: pytest.MonkeyPatch) -> None:
    def locked(tx: Connection, claims: Any) -> Any:
        rows = queue._rows(tx, [held.task.id for held in claims])
        return {row.id: row for row in rows if row.state == TaskState.RUNNING}

    patch.setattr(queue, "_locked", locked)


@plant
def a_release_gives_twice(patch: pytest.MonkeyPatch) -> None:
    moved = ledger._moved

    def twice(tx: Connection, moves: Any) -> bool:
        released = [each for each in moves if each.kind is Kind.RELEASE]
        return moved(tx, [*moves, *(replace(each, kind=Kind.GRANT) for each in released)])

    patch.setattr(ledger, "_moved", twice)


@plant
def what_failed_is_charged(patch: pytest.MonkeyPatch) -> None:
    def charged(each: Move) -> Move:
        return replace(each, kind=Kind.SETTLE) if each.kind is Kind.RELEASE else each

    move = ledger.move
    patch.setattr(ledger, "move", lambda tx, moves, now: move(tx, [*map(charged, moves)], now))


@plant
def a_reap_forgets_the_lane(patch: pytest.MonkeyPatch) -> None:
    requeue = queue._requeue

    def without(tx: Connection, row: Any, attempt: int, now: float) -> None:
        requeue(tx, row, attempt, now)
        mine = update(lane).where(lane.c.account_id == row.account_id)
        tx.execute(mine.values(queued=lane.c.queued - 1, running=lane.c.running + 1))

    patch.setattr(queue, "_requeue", without)


@plant
def a_lost_attempt_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    requeue = queue._requeue
    patch.setattr(queue, "_requeue", lambda tx, row, _, now: requeue(tx, row, 0, now))


@plant
def a_fourth_attempt_is_made(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queue, "ATTEMPTS_MAX", queue.ATTEMPTS_MAX + 1)


@plant
def a_running_task_is_cancelled_at_once(patch: pytest.MonkeyPatch) -> None:
    cancel = queue.cancel

    def at_once(tx: Connection, public_id: str, account_id: str | None, now: float) -> Any:
        found = tasks.find(tx, public_id, account_id)
        if found.state is not TaskState.RUNNING:
            return cancel(tx, public_id, account_id, now)
        (row,) = queue._rows(tx, [found.id])
        return queue._end(tx, [(row, queue.failure(Cancelled()))], now)[0]

    patch.setattr(queue, "cancel", at_once)


@plant
def anybody_may_cancel(patch: pytest.MonkeyPatch) -> None:
    cancel = queue.cancel
    patch.setattr(queue, "cancel", lambda tx, public_id, _, now: cancel(tx, public_id, None, now))


@plant
def a_picture_is_kept_though_cancelled(patch: pytest.MonkeyPatch) -> None:
    settle = queue.settle

    def uncancelled(tx: Connection, ends: Any, now: float) -> Any:
        tx.execute(update(task_table).values(cancel_requested=False))
        return settle(tx, ends, now)

    patch.setattr(queue, "settle", uncancelled)


@plant
def who_is_cancelled_is_drawn_again(patch: pytest.MonkeyPatch) -> None:
    def reclaim(tx: Connection, row: Any, now: float) -> None:
        queue._requeue(tx, row, row.attempt, now)

    patch.setattr(queue, "_reclaim", reclaim)


@plant
def a_dead_worker_claims(patch: pytest.MonkeyPatch) -> None:
    claim = queue.claim

    def anyway(tx: Connection, worker_id: str, model: str, count: int, now: float) -> Any:
        mine = update(worker_table).where(worker_table.c.id == worker_id)
        tx.execute(mine.values(lease_until=now + 60))
        return claim(tx, worker_id, model, count, now)

    patch.setattr(queue, "claim", anyway)


@plant
def a_lane_may_run_any_number(patch: pytest.MonkeyPatch) -> None:
    claim = queue.claim

    def unbounded(tx: Connection, *asked: Any) -> Any:
        tx.execute(update(lane).values(max_running=None))
        return claim(tx, *asked)

    patch.setattr(queue, "claim", unbounded)


@plant
def the_queue_takes_one_more(patch: pytest.MonkeyPatch) -> None:
    waiting = queue._waiting
    patch.setattr(queue, "_waiting", lambda tx: waiting(tx) - 1)


@plant
def a_key_with_another_request_is_answered(patch: pytest.MonkeyPatch) -> None:
    find = idem.find

    def same(tx: Connection, sent: Sent, now: float) -> Kept | None:
        kept = find(tx, sent, now)
        return kept and Kept(sent.request_hash, kept.answer)

    patch.setattr(idem, "find", same)


@plant
def an_idempotency_key_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(idem, "keep", lambda *_: None)


@plant
def waiting_ends_by_a_clock_that_jumped(patch: pytest.MonkeyPatch) -> None:
    expire = queue.expire
    patch.setattr(queue, "expire", lambda tx, now, timeout_s, ahead_s: expire(tx, now, timeout_s))


@plant
def a_picture_goes_an_hour_early(patch: pytest.MonkeyPatch) -> None:
    sweep = files.sweep
    patch.setattr(files, "sweep", lambda tx, now: sweep(tx, now + 3600.0))


@plant
def a_link_opens_an_hour_longer(patch: pytest.MonkeyPatch) -> None:
    get = files.get

    def longer(tx: Connection, file_id: str) -> Any:
        found = get(tx, file_id)
        return found and replace(found, expires_at=found.expires_at + 3600.0)

    patch.setattr(files, "get", longer)
    patch.setattr("math.ceil", lambda number: int(number) + 3600)


@plant
def a_kept_picture_is_an_orphan(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(files, "known", lambda tx, blob_keys: set())


@plant
def an_orphan_is_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(files, "known", lambda tx, blob_keys: set(blob_keys))


@plant
def bytes_outlive_their_row(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Blobs, "delete", lambda *_: None)


@plant
def a_late_failure_ends_a_callback(patch: pytest.MonkeyPatch) -> None:
    def record(tx: Connection, records: Any) -> None:
        for each in records:
            outbox._insert_attempt(tx, each.held.delivery.id, each.attempt)
            outbox._move(tx, each)

    patch.setattr(outbox, "record", record)


@plant
def a_callback_that_failed_is_delivered(patch: pytest.MonkeyPatch) -> None:
    insert_attempt = outbox._insert_attempt
    patch.setattr(
        outbox,
        "_insert_attempt",
        lambda tx, identity, attempt: insert_attempt(tx, identity, replace(attempt, number=1)),
    )
    move = outbox._move
    patch.setattr(
        outbox,
        "_move",
        lambda tx, each: move(tx, replace(each, attempt=replace(each.attempt, number=1))),
    )


@plant
def a_purge_leaves_callbacks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outbox, "remove", lambda *_: None)


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(
    small_world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    PLANTS[name](monkeypatch)
    with pytest.raises((AssertionError, ZingError, pytest.fail.Exception)):
        run(small_world, 1, FEW["sqlite"], phases=[Phase.generate])


def test_a_failure_names_what_brings_it_again(
    small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seed, and the very history."""
    a_reap_forgets_the_lane(monkeypatch)
    found = []
    for _ in range(2):
        with pytest.raises(AssertionError) as failed:
            run(small_world, 41, FEW["sqlite"], phases=[Phase.generate, Phase.shrink])
        found.append((str(failed.value), failed.value.__notes__))
    assert found[0] == found[1]
    said = "\n".join(failed.value.__notes__)
    assert "--hypothesis-seed=41" in said
    assert "state.accept_first(asked=" in said, "what happened, step by step"
    blob = re.search(r"@reproduce_failure\('(.*)', b'(.*)'\)", said)
    assert blob is not None
    machine = reproduce_failure(blob[1], blob[2].encode())(lambda: History(small_world))
    with pytest.raises(AssertionError) as again:
        run_state_machine_as_test(machine, settings=chosen(1))
    assert str(again.value) == found[0][0]
