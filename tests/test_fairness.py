"""Fair lanes: what an account gets by its weight, however much others have queued.

A turn is one task. While lanes wait, each is where its turns by its weight have brought it: none is
a turn ahead of another. So of n turns an account with the weight w of W has at most one more than
n w / W, and is behind by no more than the one turn that each other lane may be ahead.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update

from tests.audit import MODEL, NOW, audit, funded, submission
from zing import limits, queue
from zing.errors import BadPicture
from zing.queue import LANES_TRIED, PRIORITY, Claim, Outcome, failure
from zing.store import Store
from zing.store.schema import lane, metadata
from zing.store.schema import task as task_table

MANY = 2000
WEIGHTS = st.lists(st.integers(1, 10), min_size=2, max_size=6)
BATCH = 8
EVER_S = 1e9
BOUNDLESS = limits.Rules(queue_max=10**6, open_max=10**6)

# A database for all examples; each begins with empty tables.
few = settings(
    deadline=None,
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def audited(store: Store) -> Iterator[None]:
    """Afterwards the counters say what the tasks do."""
    yield
    assert store.read(audit) == []


def begin(store: Store) -> None:
    """Empty tables and a worker."""

    def clear(tx: Connection) -> None:
        for table in reversed(metadata.sorted_tables):
            if table.name != "installation":
                tx.execute(table.delete())
        queue.register(tx, "w", "host", NOW, EVER_S)

    store.write(clear)


def open_lane(store: Store, queued: int, weight: int = 1, **values: Any) -> str:
    """A new account with so many tasks queued."""
    account_id = funded(store, MANY)
    changed = update(lane).where(lane.c.account_id == account_id)
    store.write(lambda tx: tx.execute(changed.values(weight=weight, **values)))
    ask(store, account_id, queued)
    return account_id


def ask(store: Store, account_id: str, count: int, **changes: Any) -> None:
    """Queue so many tasks of an account."""
    asked = [submission(account_id, **changes) for _ in range(count)]
    store.write(lambda tx: queue.accept(tx, asked, NOW, BOUNDLESS))


def claim(store: Store, count: int = 1, worker: str = "w") -> list[Claim]:
    return store.write(lambda tx: queue.claim(tx, worker, MODEL, count, NOW))


def turns(store: Store, number: int, count: int = 1) -> list[str]:
    """Whose the next tasks are, claimed so many at a time."""
    taken: list[str] = []
    while len(taken) < number:
        claims = claim(store, count)
        assert len(claims) == count, "all lanes have tasks"
        taken += [held.task.account_id for held in claims]
    return taken


def end(store: Store, claims: Sequence[Claim]) -> None:
    """The claimed tasks run no more."""
    ends: list[tuple[Claim, Outcome]] = [(held, failure(BadPicture())) for held in claims]
    store.write(lambda tx: queue.settle(tx, ends, NOW))


def check_shares(taken: Sequence[str], weights: dict[str, int], each: int = 1) -> None:
    """In every prefix nobody is more than a turn ahead of anybody, nor of its own share."""
    had: Counter[str] = Counter()
    in_all = sum(weights.values())
    for number, account_id in enumerate(taken, 1):
        had[account_id] += 1
        if number % each:
            continue
        for one, two in combinations(weights, 2):
            apart = abs(had[one] / weights[one] - had[two] / weights[two])
            assert apart <= 1 / min(weights[one], weights[two]) + 1e-9
        for mine, weight in weights.items():
            share = number * weight / in_all
            behind = (len(weights) - 1) * weight / in_all
            assert share - behind - 1e-9 <= had[mine] <= share + 1 + 1e-9


@few
@given(weights=WEIGHTS)
@example(weights=[1, 1, 1, 1])
@example(weights=[10, 1, 1, 1, 1, 1])
def test_turns_are_by_weight_at_any_moment(store: Store, weights: list[int]) -> None:
    begin(store)
    lanes = {open_lane(store, 60, weight): weight for weight in weights}
    check_shares(turns(store, 60), lanes)


@few
@given(weights=WEIGHTS)
@example(weights=[1, 1])
def test_batches_are_by_weight_too(store: Store, weights: list[int]) -> None:
    begin(store)
    lanes = {open_lane(store, 80, weight): weight for weight in weights}
    check_shares(turns(store, 10 * BATCH, BATCH), lanes, each=BATCH)


def test_of_equal_accounts_none_is_a_turn_behind(store: Store) -> None:
    begin(store)
    lanes = [open_lane(store, 20) for _ in range(5)]
    taken = turns(store, 100)
    for start in range(0, 100, 5):
        assert sorted(taken[start : start + 5]) == sorted(lanes)


@pytest.mark.parametrize("count", [1, BATCH])
@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [5, 1], [1, 4, 3]], ids=str)
def test_two_thousand_tasks_delay_ten_by_their_share(
    store: Store, weights: list[int], count: int
) -> None:
    """The first weight is the newcomer's, the second that of the account with 2,000 tasks."""
    begin(store)
    mine, *others = weights
    for number, weight in enumerate(others):
        open_lane(store, 200 if number else MANY, weight)
    turns(store, 40, count)
    account_id = open_lane(store, 10, mine)
    latest = 9 * sum(weights) / mine + len(weights)  # by then it had its tenth turn
    taken: list[str] = []
    while len(taken) < latest:
        taken += turns(store, count, count)
    assert taken.count(account_id) == 10


@given(alone=st.integers(1, 40), weights=st.tuples(st.integers(1, 5), st.integers(1, 5)))
@settings(few, max_examples=4)
def test_who_was_idle_has_saved_up_nothing(
    store: Store, alone: int, weights: tuple[int, int]
) -> None:
    begin(store)
    idle = open_lane(store, 2, weights[0])
    turns(store, 2)
    busy = open_lane(store, alone + 40, weights[1])
    turns(store, alone)
    ask(store, idle, 40)
    check_shares(turns(store, 30), dict(zip((idle, busy), weights, strict=True)))


@pytest.mark.parametrize("why", ["of a model that nobody draws with", "may not run more"])
def test_who_cannot_be_served_gives_newcomers_no_start(store: Store, why: str) -> None:
    """A lane that waits and is passed over stays behind; who comes now does not start there."""
    begin(store)
    stuck = open_lane(store, 0)
    if why == "may not run more":
        change = update(lane).where(lane.c.account_id == stuck).values(max_running=1)
        store.write(lambda tx: tx.execute(change))
        ask(store, stuck, 5)
        claim(store)
    else:
        ask(store, stuck, 5, model="another")
    regular = open_lane(store, 150)
    turns(store, 100)
    newcomer = open_lane(store, 50)
    taken = turns(store, 40)
    for number in range(1, 41):
        had = Counter(taken[:number])
        assert -1 <= had[newcomer] - had[regular] <= 2, "it came between two turns of the other"


def test_lanes_of_unknown_models_hold_nobody_up(store: Store) -> None:
    """However many there are, and whichever turn is theirs."""
    begin(store)
    for _ in range(LANES_TRIED + 5):
        ask(store, funded(store, 1), 1, model="another")
    lanes = {open_lane(store, 20): 1 for _ in range(3)}
    check_shares(turns(store, 30), lanes)


def test_a_lanes_other_models_do_not_hold_up_its_own(store: Store) -> None:
    begin(store)
    mixed = funded(store)
    ask(store, mixed, 40, model="another")
    ask(store, mixed, 20)
    lanes = {mixed: 1, open_lane(store, 20): 1}
    check_shares(turns(store, 20), lanes)


def test_an_urgent_task_passes_its_own_lanes_only(store: Store) -> None:
    begin(store)
    pushy, other = open_lane(store, 20), open_lane(store, 20)
    urgent = update(task_table).where(task_table.c.account_id == pushy)
    ids = select(task_table.c.id).where(task_table.c.account_id == pushy)
    last = max(store.read(lambda tx: list(tx.scalars(ids))))
    store.write(lambda tx: tx.execute(urgent.values(priority=PRIORITY - 1)))
    first = urgent.where(task_table.c.id == last).values(priority=PRIORITY - 2)
    store.write(lambda tx: tx.execute(first))
    claims = [claim(store)[0] for _ in range(20)]
    check_shares([held.task.account_id for held in claims], {pushy: 1, other: 1})
    assert next(h.task.id for h in claims if h.task.account_id == pushy) == last


@pytest.mark.parametrize("count", [1, BATCH])
def test_four_claimers_never_run_more_of_an_account_than_may(store: Store, count: int) -> None:
    begin(store)
    caps = {open_lane(store, 60, max_running=cap): cap for cap in (1, 2, 3)}
    free = open_lane(store, 60)
    names = [f"claimer {number}" for number in range(4)]
    for name in names:
        store.write(lambda tx, name=name: queue.register(tx, name, "host", NOW, EVER_S))
    start, most, lock = threading.Barrier(4), Counter[str](), threading.Lock()

    def work(name: str) -> int:
        """Claim, see how many run, end what was claimed before."""
        before: list[Claim] = []
        done = 0
        start.wait(60)
        for _ in range(12):
            claims = claim(store, count, name)
            seen = store.read(lambda tx: tx.execute(select(lane)).all())
            with lock:
                for row in seen:
                    most[row.account_id] = max(most[row.account_id], row.running)
            end(store, before)
            before, done = claims, done + len(claims)
        end(store, before)
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, names)) > 0
    assert all(0 < most[account_id] <= cap for account_id, cap in caps.items())
    assert most[free] > 0
