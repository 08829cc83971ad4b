"""Money: every balance is explained by entries, and none is ever below zero."""

import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, inspect, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import BigInteger

from tests.audit import (
    MODEL,
    NOW,
    PRICE,
    accepted,
    audit,
    funded,
    kept_file,
    key_of,
    submission,
)
from zing import keys, ledger, queue
from zing.errors import BadSetting, InsufficientCredits, UnknownAccount, UnknownTask
from zing.ledger import BALANCE_MAX, EFFECTS, Balance, Entry, Kind, Move
from zing.store import Store
from zing.store.schema import account
from zing.task import MICRO, TaskState, credits_number, parse_credits, show_credits

STEPS = {"hold": Kind.HOLD, "settle": Kind.SETTLE, "release": Kind.RELEASE}


def step(tx: Connection, account_id: str, name: str, task_id: str, amount: int) -> None:
    """One step of a task's money; raises InsufficientCredits where it cannot be held."""
    move = Move(account_id, STEPS[name], amount, task_id)
    if name != "hold":
        ledger.move(tx, [move], NOW)
        return
    if ledger.lock(tx, [account_id]).get(account_id, 0) < amount:
        raise InsufficientCredits
    ledger.move(tx, [move], NOW)


def opened(store: Store, amount: int = 0) -> str:
    """A new account with that many micro-credits."""

    def both(tx: Connection) -> str:
        account_id = ledger.open_account(tx, NOW)
        if amount:
            ledger.grant(tx, account_id, amount, NOW, "to begin with")
        return account_id

    return store.write(both)


def balance(store: Store, account_id: str) -> Balance:
    return store.read(lambda tx: ledger.balance(tx, account_id))


def entries(store: Store, account_id: str, limit: int = 99) -> list[Entry]:
    return store.read(lambda tx: ledger.entries(tx, account_id, limit))


def do(store: Store, account_id: str, name: str, task_id: str, amount: int) -> None:
    store.write(lambda tx: step(tx, account_id, name, task_id, amount))


def numbers(store: Store, account_id: str) -> tuple[int, int, int]:
    has = balance(store, account_id)
    return has.available, has.held, has.used


def explained(store: Store, account_id: str) -> bool:
    """Whether the three numbers are what the entries say, and integers."""
    has, sums = balance(store, account_id), [0, 0, 0]
    for entry in entries(store, account_id, 10_000):
        assert type(entry.amount) is int
        for place, sign in enumerate(EFFECTS[entry.kind]):
            sums[place] += sign * entry.amount
    assert type(has.available) is type(has.held) is type(has.used) is int
    return [has.available, has.held, has.used] == sums


def test_a_new_account_has_nothing(store: Store) -> None:
    account_id = opened(store)
    assert account_id.startswith("acct_")
    assert balance(store, account_id) == Balance(account_id, 0, 0, 0)
    assert entries(store, account_id) == []
    assert opened(store) != account_id


def test_a_grant_is_available_and_says_why(store: Store) -> None:
    account_id = opened(store, 70)
    (entry,) = entries(store, account_id)
    assert numbers(store, account_id) == (70, 0, 0)
    assert (entry.kind, entry.amount, entry.reason) == (Kind.GRANT, 70, "to begin with")
    assert (entry.account_id, entry.task_id, entry.created_at) == (account_id, None, NOW)


def test_a_held_price_is_neither_available_nor_used(store: Store) -> None:
    account_id = opened(store, 70)
    do(store, account_id, "hold", "t1", 30)
    assert numbers(store, account_id) == (40, 30, 0)


def test_a_settled_price_is_used(store: Store) -> None:
    account_id = opened(store, 70)
    do(store, account_id, "hold", "t1", 30)
    do(store, account_id, "settle", "t1", 30)
    assert numbers(store, account_id) == (40, 0, 30)


def test_a_released_price_is_available_again(store: Store) -> None:
    account_id = opened(store, 70)
    do(store, account_id, "hold", "t1", 30)
    do(store, account_id, "release", "t1", 30)
    assert numbers(store, account_id) == (70, 0, 0)


def test_accounts_do_not_touch_each_other(store: Store) -> None:
    one, other = opened(store, 70), opened(store, 50)
    do(store, one, "hold", "t1", 30)
    assert numbers(store, other) == (50, 0, 0)
    assert [each.account_id for each in entries(store, other)] == [other]


def test_who_cannot_pay_holds_nothing(store: Store) -> None:
    account_id = opened(store, 29)
    with pytest.raises(InsufficientCredits):
        do(store, account_id, "hold", "t1", 30)
    assert numbers(store, account_id) == (29, 0, 0)
    assert len(entries(store, account_id)) == 1


def test_the_last_micro_credit_can_be_spent(store: Store) -> None:
    account_id = opened(store, 30)
    do(store, account_id, "hold", "t1", 30)
    assert numbers(store, account_id) == (0, 30, 0)


@pytest.mark.parametrize("name", ["settle", "release"])
def test_what_is_not_held_cannot_be_ended(store: Store, name: str) -> None:
    """Whatever is raised, neither the numbers nor the entries move."""
    account_id = opened(store, 70)
    with pytest.raises(Exception):  # noqa: B017, PT011 - a mistake of ours, of no fixed kind
        do(store, account_id, name, "t1", 30)
    assert numbers(store, account_id) == (70, 0, 0)
    assert explained(store, account_id)


@pytest.mark.parametrize("name", STEPS)
def test_a_task_is_held_and_ended_once(store: Store, name: str) -> None:
    account_id = opened(store, 90)
    do(store, account_id, "hold", "t1", 30)
    do(store, account_id, "hold", "t2", 30)
    if name != "hold":
        do(store, account_id, name, "t1", 30)
    before = numbers(store, account_id)
    with pytest.raises(IntegrityError):
        do(store, account_id, name, "t1", 30)
    assert numbers(store, account_id) == before
    assert explained(store, account_id)


@pytest.mark.parametrize("column", ["available", "held"])
def test_the_database_itself_takes_no_number_below_zero(store: Store, column: str) -> None:
    account_id = opened(store, 70)
    worse = update(account).where(account.c.id == account_id).values({column: -1})
    with pytest.raises(IntegrityError):
        store.write(lambda tx: tx.execute(worse))
    assert numbers(store, account_id) == (70, 0, 0)


def test_a_grant_has_an_upper_bound(store: Store) -> None:
    account_id = opened(store, BALANCE_MAX - 5)
    with pytest.raises(BadSetting):
        store.write(lambda tx: ledger.grant(tx, account_id, 6, NOW))
    assert len(entries(store, account_id)) == 1
    store.write(lambda tx: ledger.grant(tx, account_id, 5, NOW))
    assert numbers(store, account_id) == (BALANCE_MAX, 0, 0)


# Adjustments and refunds


def adjusted(store: Store, account_id: str, amount: int, reason: str = "a mistake") -> Balance:
    return store.write(lambda tx: ledger.adjust(tx, account_id, amount, NOW, reason))


def refunded(store: Store, public_id: str, reason: str = "sorry") -> Balance:
    return store.write(lambda tx: ledger.refund(tx, public_id, NOW, reason))


def ended(store: Store, account_id: str, state: TaskState) -> str:
    """The public id of a task that ended so."""
    task = accepted(store, submission(account_id))
    (held,) = store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))
    file = kept_file(task.id) if state is TaskState.SUCCEEDED else None
    ends = [(held, queue.Outcome(state, file=file))]
    assert store.write(lambda tx: queue.settle(tx, ends, NOW)) != [None]
    return task.public_id


@pytest.fixture
def account_id(store: Store) -> str:
    """An account that can pay for three tasks, beside a worker."""
    store.write(lambda tx: queue.register(tx, "w1", "host", NOW, 10**6))
    return funded(store, 3)


def test_an_adjustment_gives_or_takes_and_says_why(store: Store) -> None:
    account_id = opened(store, 70)
    assert adjusted(store, account_id, 5) == Balance(account_id, 75, 0, 0)
    assert adjusted(store, account_id, -75, "=all of it") == Balance(account_id, 0, 0, 0)
    _, more, less = entries(store, account_id)
    assert (more.kind, more.amount, more.reason) == (Kind.ADJUST, 5, "a mistake")
    assert (less.kind, less.amount, less.reason) == (Kind.ADJUST, -75, "=all of it")
    assert explained(store, account_id)


def test_no_more_is_taken_than_is_available(store: Store) -> None:
    account_id = opened(store, 70)
    do(store, account_id, "hold", "t1", 30)
    with pytest.raises(BadSetting, match=r"0\.00004 credits available: 0\.000041 cannot be taken"):
        adjusted(store, account_id, -41)
    with pytest.raises(BadSetting, match="cannot be added"):
        adjusted(store, account_id, BALANCE_MAX)
    for amount in (BALANCE_MAX + 1, -(10**30)):
        with pytest.raises(BadSetting):
            adjusted(store, account_id, amount)
    with pytest.raises(BadSetting, match="Nothing to adjust"):
        adjusted(store, account_id, 0)
    assert numbers(store, account_id) == (40, 30, 0)
    assert len(entries(store, account_id)) == 2


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 201, "nul\0", "\ud800"])
def test_a_reason_is_given_and_printable(store: Store, account_id: str, reason: str) -> None:
    task = ended(store, account_id, TaskState.SUCCEEDED)
    before = numbers(store, account_id)
    with pytest.raises(BadSetting):
        adjusted(store, account_id, 1, reason)
    with pytest.raises(BadSetting):
        refunded(store, task, reason)
    if reason.strip():
        with pytest.raises(BadSetting):
            store.write(lambda tx: ledger.grant(tx, account_id, 1, NOW, reason))
    assert numbers(store, account_id) == before
    assert adjusted(store, account_id, 1, "x" * ledger.REASON_MAX).available == before[0] + 1


def test_a_refund_gives_back_what_was_charged_once(store: Store, account_id: str) -> None:
    first, second = (ended(store, account_id, TaskState.SUCCEEDED) for _ in range(2))
    used = partial(keys.used, key_id=key_of(account_id))
    assert (numbers(store, account_id), store.read(used)) == ((PRICE, 0, 2 * PRICE), 2 * PRICE)
    assert refunded(store, first) == Balance(account_id, 2 * PRICE, 0, PRICE)
    assert store.read(used) == PRICE
    with pytest.raises(BadSetting, match="refunded already"):
        refunded(store, first)
    assert refunded(store, second).used == store.read(used) == 0
    last = entries(store, account_id)[-1]
    assert (last.kind, last.amount, last.reason) == (Kind.REFUND, PRICE, "sorry")
    assert store.read(audit) == []


def test_what_was_not_charged_is_not_refunded(store: Store, account_id: str) -> None:
    failed = ended(store, account_id, TaskState.FAILED)
    waiting = accepted(store, submission(account_id)).public_id
    for task in (failed, waiting):
        with pytest.raises(BadSetting, match="nothing was charged"):
            refunded(store, task)
    for nothing in ("task-none", "", "nul\0", "\ud800"):
        with pytest.raises(UnknownTask):
            refunded(store, nothing)
    assert numbers(store, account_id) == (2 * PRICE, PRICE, 0)


def test_of_many_refunds_at_once_one_counts(store: Store, account_id: str) -> None:
    task = ended(store, account_id, TaskState.SUCCEEDED)
    done: list[Balance | BadSetting] = []

    def again() -> None:
        try:
            done.append(refunded(store, task))
        except BadSetting as error:
            done.append(error)

    threads = [threading.Thread(target=again) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [each for each in done if isinstance(each, Balance)] == [
        Balance(account_id, 3 * PRICE, 0, 0)
    ]
    assert len(done) == 8
    assert store.read(audit) == []


def test_an_unknown_account_is_named(store: Store) -> None:
    uses: list[Callable[[Connection], object]] = [
        lambda tx: ledger.balance(tx, "acct_nobody"),
        lambda tx: ledger.entries(tx, "acct_nobody", 9),
        lambda tx: ledger.grant(tx, "acct_nobody", 9, NOW),
        lambda tx: ledger.adjust(tx, "acct_nobody", 9, NOW, "why"),
    ]
    for use in uses:
        with pytest.raises(UnknownAccount, match="acct_nobody"):
            store.write(use)
    with pytest.raises(InsufficientCredits):
        do(store, "acct_nobody", "hold", "t1", 9)


def test_the_last_entries_come_oldest_first(store: Store) -> None:
    account_id = opened(store)
    for amount in range(1, 6):
        store.write(partial(ledger.grant, account_id=account_id, amount=amount, now=NOW))
    assert [each.amount for each in entries(store, account_id, 3)] == [3, 4, 5]


def test_every_kind_of_entry_has_an_effect() -> None:
    assert set(EFFECTS) == set(Kind)
    assert EFFECTS[Kind.HOLD] == (-1, 1, 0)
    for end in (Kind.SETTLE, Kind.RELEASE):
        assert EFFECTS[end][1] == -1, "the held price goes"
    # Held and released is as if nothing had been; held and settled is spent.
    assert [a + b for a, b in zip(EFFECTS[Kind.HOLD], EFFECTS[Kind.RELEASE], strict=True)] == [
        0,
        0,
        0,
    ]
    assert [a + b for a, b in zip(EFFECTS[Kind.HOLD], EFFECTS[Kind.SETTLE], strict=True)] == [
        -1,
        0,
        1,
    ]


def test_money_is_kept_in_integers(store: Store) -> None:
    def kinds(tx: Connection) -> list[object]:
        money = {"available", "held", "amount", "cost"}
        return [
            column["type"]
            for table in ("account", "ledger", "task")
            for column in inspect(tx).get_columns(table)
            if column["name"] in money
        ]

    assert len(store.read(kinds)) == 4
    assert all(isinstance(kind, BigInteger) for kind in store.read(kinds))


AMOUNTS = st.integers(0, 10**12) | st.integers(0, 3)
MOVES = st.lists(
    st.tuples(st.sampled_from(["grant", *STEPS]), st.sampled_from("abcd"), AMOUNTS), max_size=25
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one database for many histories lies."""
    return tmp_path_factory.mktemp("ledger") / "zing.db"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves=MOVES)
def test_entries_explain_the_balance_whatever_is_done(
    shared: Path, moves: list[tuple[str, str, int]]
) -> None:
    """One transaction a history, and a savepoint a move: what is refused must leave nothing."""
    store = Store(f"sqlite:///{shared}")

    def history(tx: Connection) -> None:
        account_id, held, used = ledger.open_account(tx, NOW), dict[str, int](), 0
        for name, letter, drawn in moves:
            task_id = f"{account_id}-{letter}"
            amount = drawn if name in ("grant", "hold") else held.get(task_id, 0)
            if name in ("settle", "release") and task_id not in held:
                continue
            with tx.begin_nested() as nested:
                try:
                    if name == "grant":
                        ledger.grant(tx, account_id, amount, NOW)
                    else:
                        step(tx, account_id, name, task_id, amount)
                except (InsufficientCredits, IntegrityError):
                    nested.rollback()
                    continue
            if name == "hold":
                held[task_id] = amount
            elif name != "grant":
                held.pop(task_id)
                used += amount if name == "settle" else 0
            has = ledger.balance(tx, account_id)
            sums = [0, 0, 0]
            for entry in ledger.entries(tx, account_id, 999):
                for place, sign in enumerate(EFFECTS[entry.kind]):
                    sums[place] += sign * entry.amount
            assert [has.available, has.held, has.used] == sums
            assert min(sums) >= 0
            assert (has.held, has.used) == (sum(held.values()), used)

    try:
        store.write(history)
    finally:
        store.close()


def test_a_fund_of_tasks_is_theirs_to_the_last(store: Store) -> None:
    assert explained(store, funded(store, 3))


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("12", 12 * MICRO),
        ("0.026", 26_000),
        ("0.000001", 1),
        ("1.100000", 1_100_000),
        ("007", 7 * MICRO),
        ("999999999999.999999", 10**18 - 1),
    ],
)
def test_credits_are_read_to_the_last_micro_credit(text: str, micro: int) -> None:
    assert parse_credits(text) == micro


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", ".5", "1.", "1e3", "0.0000001", "1,5", " 1", "1\n", "1_0", "٤٢", "nan", "inf"],
)
def test_what_is_no_number_of_credits_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="credits"):
        parse_credits(text)


@pytest.mark.parametrize("text", ["0", "12", "100", "0.026", "1.1", "0.000001", "123456789.5"])
def test_credits_are_shown_as_they_are_written(text: str) -> None:
    assert show_credits(parse_credits(text)) == text


@given(st.integers(0, 10**18 - 1))
def test_credits_shown_are_read_as_the_same(micro: int) -> None:
    shown = show_credits(micro)
    assert parse_credits(shown) == micro
    assert "." not in shown or not shown.endswith("0")


@given(st.integers(0, 10**15))
def test_credits_in_json_are_the_same_number(micro: int) -> None:
    number = credits_number(micro)
    assert round(Decimal(repr(number)) * MICRO) == micro
    assert isinstance(number, int) == (micro % MICRO == 0)
