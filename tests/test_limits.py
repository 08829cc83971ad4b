"""Limits that hold however many ask at once: caps of keys, rates, open tasks, the queue."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.audit import MODEL, NOW, PRICE, accepted, audit, funded, kept_file, key_of, submission
from zing import keys, ledger, limits, queue
from zing.config import KIE_RATE, OPEN_MAX, QUEUE_MAX
from zing.errors import (
    BadKey,
    BadSetting,
    InsufficientCredits,
    KeyCapReached,
    KeyDailyCapReached,
    KeyDisabled,
    KeyEnded,
    ModelDenied,
    RateLimited,
    Refused,
)
from zing.keys import DAY_S, Allowed
from zing.limits import Rules
from zing.queue import Accepted, Outcome, Submission
from zing.rates import Rate
from zing.store import Store
from zing.store.schema import api_key, lane
from zing.task import TaskState

MIDNIGHT = NOW // DAY_S * DAY_S + DAY_S
FREE = Rules(rates={})


@pytest.fixture(autouse=True)
def audited(store: Store) -> Iterator[None]:
    """After every test, what must hold at any moment holds."""
    yield
    assert store.read(audit) == []


@pytest.fixture
def account_id(store: Store) -> str:
    """An account with enough credits, and a worker that may claim."""
    store.write(lambda tx: queue.register(tx, "w1", "host", NOW, 10 * DAY_S))
    return funded(store)


def allow(store: Store, account_id: str, **changes: Any) -> None:
    """Let the account's key do this."""
    values = Allowed(**changes).values()
    changed = update(api_key).where(api_key.c.id == key_of(account_id)).values(values)
    store.write(lambda tx: tx.execute(changed))


def settings(store: Store, account_id: str, **changes: Any) -> None:
    """Change the account's lane."""
    changed = update(lane).where(lane.c.account_id == account_id).values(changes)
    store.write(lambda tx: tx.execute(changed))


def spending(store: Store, account_id: str) -> tuple[int, int, int]:
    """Pictures that the account's key has settled, holds, and what counts of today."""
    query = select(api_key).where(api_key.c.id == key_of(account_id))
    row = store.read(lambda tx: tx.execute(query).one())
    return row.used // PRICE, row.held // PRICE, row.day_spent // PRICE


def outcomes(
    store: Store, asked: Sequence[Submission], now: float = NOW, rules: Rules = FREE
) -> list[str]:
    """What became of a set: `ok`, or the name of the error."""
    found = store.write(lambda tx: queue.accept(tx, asked, now, rules))
    return ["ok" if isinstance(each, Accepted) else type(each).__name__ for each in found]


def end(store: Store, outcome: Callable[[str], Outcome], now: float = NOW) -> None:
    """Claim the next task and end it."""
    (held,) = store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, now))
    assert store.write(lambda tx: queue.settle(tx, [(held, outcome(held.task.id))], now))[0]


def drawn(task_id: str) -> Outcome:
    return Outcome(TaskState.SUCCEEDED, file=kept_file(task_id))


def failed(_task_id: str) -> Outcome:
    return Outcome(TaskState.FAILED, "EngineFailed", "no")


# What a key may spend.


@pytest.mark.parametrize("at_once", [True, False])
def test_a_key_spends_its_cap_and_no_more(store: Store, account_id: str, at_once: bool) -> None:
    allow(store, account_id, cap=3 * PRICE + 1)
    asked = [submission(account_id) for _ in range(5)]
    sets = [asked] if at_once else [[each] for each in asked]
    found = [each for some in sets for each in outcomes(store, some)]
    assert found == ["ok"] * 3 + ["KeyCapReached"] * 2
    assert spending(store, account_id) == (0, 3, 3)


def test_what_came_of_nothing_does_not_count_against_the_cap(store: Store, account_id: str) -> None:
    allow(store, account_id, cap=2 * PRICE)
    accepted(store, submission(account_id))
    accepted(store, submission(account_id))
    end(store, drawn)
    end(store, failed)
    assert spending(store, account_id) == (1, 0, 1)
    accepted(store, submission(account_id))
    with pytest.raises(KeyCapReached):
        accepted(store, submission(account_id))


def test_a_blocked_task_leaves_the_cap_as_it_was(store: Store, account_id: str) -> None:
    allow(store, account_id, cap=PRICE, daily_cap=PRICE)
    accepted(store, submission(account_id, refused=queue.Unreadable()))
    assert spending(store, account_id) == (0, 0, 0)
    accepted(store, submission(account_id))


def test_the_daily_cap_begins_again_at_midnight(store: Store, account_id: str) -> None:
    allow(store, account_id, daily_cap=2 * PRICE)
    late = MIDNIGHT - 1.0
    for _ in range(2):
        accepted(store, submission(account_id), late)
    with pytest.raises(KeyDailyCapReached):
        accepted(store, submission(account_id), MIDNIGHT - 0.001)
    accepted(store, submission(account_id), MIDNIGHT)
    assert spending(store, account_id) == (0, 3, 1)


def test_what_failed_is_given_back_to_its_own_day_alone(store: Store, account_id: str) -> None:
    allow(store, account_id, daily_cap=2 * PRICE)
    accepted(store, submission(account_id), MIDNIGHT - 2.0)
    accepted(store, submission(account_id), MIDNIGHT - 1.0)
    end(store, failed, MIDNIGHT - 0.5)
    assert spending(store, account_id) == (0, 1, 1)
    accepted(store, submission(account_id), MIDNIGHT)
    end(store, failed, MIDNIGHT + 1.0)  # yesterday's
    assert spending(store, account_id) == (0, 1, 1)


def test_a_key_that_may_spend_more_is_not_held_back_by_another_of_its_account(
    store: Store, account_id: str
) -> None:
    allow(store, account_id, cap=0)
    other = store.write(lambda tx: keys.mint(tx, b"p" * 32, "other", account_id, NOW))[1]
    ids = [key_of(account_id), other.id] * 2
    mixed = [submission(account_id, key_id=each) for each in ids]
    assert outcomes(store, mixed) == ["KeyCapReached", "ok"] * 2


def test_a_cap_of_nothing_does_not_stop_what_is_free(store: Store, account_id: str) -> None:
    allow(store, account_id, cap=0, daily_cap=0)
    assert outcomes(store, [submission(account_id, cost=0)]) == ["ok"]


# How often.


def test_an_account_creates_by_kies_api_as_often_as_kie_allows(
    store: Store, account_id: str
) -> None:
    asked = [submission(account_id, dialect="kie") for _ in range(22)]
    assert outcomes(store, asked, rules=limits.USUAL) == ["ok"] * 20 + ["RateLimited"] * 2
    with pytest.raises(RateLimited) as refused:
        accepted(store, submission(account_id, dialect="kie"))
    assert (refused.value.retry_after_s, refused.value.count, refused.value.seconds) == (1, 20, 10)
    accepted(store, submission(account_id))  # by another API
    accepted(store, submission(funded(store), dialect="kie"))  # another account
    again = [submission(account_id, dialect="kie") for _ in range(3)]
    assert outcomes(store, again, NOW + 1.0, limits.USUAL) == ["ok", "ok", "RateLimited"]


def test_a_keys_own_rate_is_told_with_what_is_left(store: Store, account_id: str) -> None:
    allow(store, account_id, rate=Rate(3, 60.0))
    lefts = []
    for _ in range(3):
        (found,) = store.write(lambda tx: queue.accept(tx, [submission(account_id)], NOW))
        assert isinstance(found, Accepted)
        assert found.quota is not None
        lefts.append((found.quota.left, round(found.quota.full_in_s)))
    assert lefts == [(2, 20), (1, 40), (0, 60)]
    with pytest.raises(RateLimited) as refused:
        accepted(store, submission(account_id))
    assert refused.value.retry_after_s == 20


def test_of_two_rates_the_tighter_one_holds_and_is_told(store: Store, account_id: str) -> None:
    allow(store, account_id, rate=Rate(2, 60.0))
    asked = [submission(account_id, dialect="kie") for _ in range(3)]
    found = store.write(lambda tx: queue.accept(tx, asked, NOW))
    quotas = [each.quota for each in found if isinstance(each, Accepted)]
    assert [each and each.rate for each in quotas] == [Rate(2, 60.0)] * 2
    assert isinstance(found[2], RateLimited)


def test_who_is_refused_uses_up_nothing(store: Store) -> None:
    account_id = funded(store, 2)
    allow(store, account_id, rate=Rate(2, 60.0))
    settings(store, account_id, max_open=1)

    def asked(count: int) -> list[Submission]:
        return [submission(account_id) for _ in range(count)]

    assert outcomes(store, asked(6)) == ["ok"] + ["RateLimited"] * 5
    settings(store, account_id, max_open=9)
    assert outcomes(store, asked(2)) == ["ok", "RateLimited"]
    assert outcomes(store, asked(2), NOW + 60.0) == ["InsufficientCredits"] * 2
    store.write(lambda tx: ledger.grant(tx, account_id, PRICE, NOW))
    assert outcomes(store, asked(1), NOW + 60.0) == ["ok"]


# How much is open.


def test_an_account_has_as_much_open_as_it_may(store: Store, account_id: str) -> None:
    rules = Rules(open_max=3, rates={})
    asked = [submission(account_id) for _ in range(4)]
    assert outcomes(store, asked, rules=rules) == ["ok"] * 3 + ["RateLimited"]
    with pytest.raises(RateLimited, match="3 open tasks") as refused:
        accepted(store, submission(account_id), rules=rules)
    assert refused.value.retry_after_s > 0
    (held,) = store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))
    assert outcomes(store, [submission(account_id)], rules=rules) == ["RateLimited"]
    store.write(lambda tx: queue.settle(tx, [(held, drawn(held.task.id))], NOW))
    again = [submission(account_id) for _ in range(2)]
    assert outcomes(store, again, rules=rules) == ["ok", "RateLimited"]
    assert outcomes(store, [submission(funded(store))], rules=rules) == ["ok"]


def test_an_accounts_own_bound_goes_before_the_usual_one(store: Store, account_id: str) -> None:
    settings(store, account_id, max_open=1)
    assert outcomes(store, [submission(account_id)]) == ["ok"]
    assert outcomes(store, [submission(account_id)], rules=Rules(open_max=9)) == ["RateLimited"]


# Who asks.


def test_a_key_that_ended_between_the_door_and_the_accept_creates_nothing(
    store: Store, account_id: str
) -> None:
    key_id = key_of(account_id)
    for change, error in (
        (lambda tx: keys.disable(tx, key_id, NOW), KeyDisabled),
        (lambda tx: keys.revoke(tx, key_id, NOW), KeyEnded),
    ):
        store.write(change)
        with pytest.raises(error):
            accepted(store, submission(account_id))
    with pytest.raises(BadKey):
        accepted(store, submission(account_id, key_id="never"))
    with pytest.raises(BadKey):
        accepted(store, submission(account_id, key_id=key_of(funded(store))))


def test_a_key_for_some_models_draws_with_no_other(store: Store, account_id: str) -> None:
    allow(store, account_id, models=frozenset({"another one"}))
    with pytest.raises(ModelDenied):
        accepted(store, submission(account_id))
    allow(store, account_id, models=frozenset({"another one", MODEL}))
    accepted(store, submission(account_id))


def test_whoever_has_work_to_do_first_is_told_the_same_and_nothing_is_counted(
    store: Store, account_id: str
) -> None:
    def check(account_id: str, now: float = NOW, **changes: Any) -> None:
        ask = replace(submission(account_id).ask, **changes)
        store.read(lambda tx: queue.check_open(tx, ask, now))

    allow(store, account_id, rate=Rate(1, 60.0), cap=2 * PRICE)
    for _ in range(3):
        check(account_id)
    accepted(store, submission(account_id))
    with pytest.raises(RateLimited):
        check(account_id)
    accepted(store, submission(account_id), NOW + 60.0)
    with pytest.raises(KeyCapReached):
        check(account_id, NOW + 120.0)
    with pytest.raises(InsufficientCredits):
        check(funded(store, 0))


# Many at once.

ASKED = 40


def together(calls: Sequence[Callable[[], object]]) -> list[str]:
    """What came of calls that begin at the same moment, each in a thread of its own."""
    ready = threading.Barrier(len(calls))

    def call(one: Callable[[], object]) -> str:
        ready.wait(30)
        try:
            one()
        except Refused as error:
            return type(error).__name__
        return "ok"

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "cap": ({"cap": 7 * PRICE}, {}, "KeyCapReached"),
    "daily cap": ({"daily_cap": 7 * PRICE}, {}, "KeyDailyCapReached"),
    "rate": ({"rate": Rate(7, 3600.0)}, {}, "RateLimited"),
    "open": ({}, {"max_open": 7}, "RateLimited"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_holds_for_many_at_once_and_on_two_replicas(store: Store, name: str) -> None:
    allowed, of_lane, error = LIMITS[name]
    account_id = funded(store)
    allow(store, account_id, **allowed)
    if of_lane:
        settings(store, account_id, **of_lane)
    other = Store(store.url)
    try:
        found = together(
            [
                lambda one=one: accepted(one, submission(account_id))  # type: ignore[misc]
                for one in (store, other) * (ASKED // 2)
            ],
        )
    finally:
        other.close()
    assert (found.count("ok"), found.count(error)) == (7, ASKED - 7)


def test_the_queues_bound_holds_for_many_accounts_on_two_replicas(store: Store) -> None:
    few = Rules(queue_max=7, rates={})
    accounts = [funded(store) for _ in range(ASKED)]
    other = Store(store.url)
    try:
        found = together(
            [
                lambda one=one, mine=mine: accepted(one, submission(mine), rules=few)  # type: ignore[misc]
                for one, mine in zip((store, other) * (ASKED // 2), accounts, strict=True)
            ],
        )
    finally:
        other.close()
    assert (found.count("ok"), found.count("QueueFull")) == (7, ASKED - 7)


def test_a_clock_set_back_over_midnight_makes_no_day_negative(
    store: Store, account_id: str
) -> None:
    accepted(store, submission(account_id), MIDNIGHT - 1.0)
    accepted(store, submission(account_id), MIDNIGHT + 1.0)
    accepted(store, submission(account_id, cost=1), MIDNIGHT - 1.0)
    end(store, failed, MIDNIGHT)
    row = store.read(lambda tx: tx.scalar(select(api_key.c.day_spent).where(api_key.c.held > 0)))
    assert row == 0


# The settings.


def test_the_settings_name_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Rules.read() == Rules(10_000, 1_000, {"kie": Rate(20, 10.0)})
    monkeypatch.setenv(QUEUE_MAX.variable, "5")
    monkeypatch.setenv(OPEN_MAX.variable, "2")
    monkeypatch.setenv(KIE_RATE.variable, "none")
    assert Rules.read() == Rules(5, 2, {})
    monkeypatch.setenv(KIE_RATE.variable, "many")
    with pytest.raises(BadSetting, match="20/10"):
        Rules.read()
