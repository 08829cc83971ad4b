"""The ledger as CSV: what was written is read back, adds up to the balance, and runs nowhere."""

import csv
import io
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from tests.audit import (
    KEY,
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
from zing import ledger, queue, statement
from zing.errors import Refused, UnknownAccount, ZingError
from zing.ledger import NUMBERS, Entry, Kind, Span
from zing.queue import Outcome
from zing.statement import TITLES
from zing.store import Store
from zing.store.schema import api_key
from zing.store.schema import ledger as entries
from zing.task import MICRO, Task, TaskState


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def exported(tx: Connection, span: Span = ledger.EVER) -> list[dict[str, str]]:
    return rows_of("".join(statement.lines(ledger.statement(tx, span))))


def entry(reason: str = "", amount: int = 26_000, **changes: str) -> Entry:
    known = {"account_id": "acct_1", "task_id": "t1", **changes}
    return Entry(7, known["account_id"], known["task_id"], Kind.SETTLE, amount, reason, NOW)


def test_a_line_says_all_of_an_entry() -> None:
    titles, line = statement.lines([entry("why")])
    assert titles == ",".join(TITLES) + "\r\n"
    assert line == (
        "7,2025-10-09T08:53:20.000Z,acct_1,t1,settle,0.026000,26000,0,-26000,26000,why\r\n"
    )


@pytest.mark.parametrize("amount", [0, 1, -1, 26_000, 10**18 - 1, 2**61, -(2**61)])
def test_amounts_are_exact(amount: int) -> None:
    (row,) = rows_of("".join(statement.lines([entry(amount=amount)])))
    assert Decimal(row["credits"]) * MICRO == int(row["micro_credits"]) == amount
    assert "E" not in row["credits"]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_what_a_spreadsheet_would_run_is_made_harmless(first: str) -> None:
    (row,) = rows_of("".join(statement.lines([entry(f"{first}cmd", account_id=f"{first}x")])))
    assert (row["reason"], row["account"]) == (f"'{first}cmd", f"'{first}x")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_read_back_as_it_was(reason: str) -> None:
    (row,) = rows_of("".join(statement.lines([entry(reason)])))
    assert row["reason"] == statement.harmless(reason)
    assert row["reason"].removeprefix("'") == reason.removeprefix("'")


def test_a_span_is_an_account_and_a_time(store: Store) -> None:
    one, other = funded(store, 0), funded(store, 0)
    for number, account_id in enumerate([one, other, one, one]):
        give = partial(ledger.grant, account_id=account_id, amount=number, now=NOW + number)
        store.write(give)

    def amounts(**span: float | str) -> list[int]:
        with store.snapshot() as tx:
            return [each.amount for each in ledger.statement(tx, Span(**span))]  # type: ignore[arg-type]

    assert amounts() == [0, 1, 2, 3]
    assert amounts(account_id=one) == [0, 2, 3]
    assert amounts(since=NOW + 1, until=NOW + 3) == [1, 2]
    assert amounts(account_id=one, since=NOW + 1, until=NOW + 3) == [2]
    with pytest.raises(UnknownAccount), store.snapshot() as tx:
        ledger.statement(tx, Span("acct_nobody"))


def test_an_entry_names_its_task_while_that_is_there(store: Store) -> None:
    task = accepted(store, submission(funded(store)))
    with store.snapshot() as tx:
        _, held = exported(tx)
        _, entry = ledger.statement(tx)
    assert held["task"] == task.public_id
    assert (entry.task_id, entry.public_id) == (task.id, task.public_id)


def test_a_statement_is_read_bit_by_bit(store: Store) -> None:
    """Ten times the entries take no more memory."""
    account_id = funded(store)
    made = {"account_id": account_id, "kind": "adjust", "amount": 0, "created_at": NOW}
    most = []
    for count in (3_000, 27_000):
        rows = [made | {"reason": "x" * 200}] * count
        store.write(partial(Connection.execute, statement=insert(entries), parameters=rows))
        tracemalloc.start()
        with store.snapshot() as tx:
            lines = sum(1 for _ in statement.lines(ledger.statement(tx)))
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert lines == 30_002
    assert most[1] < 2 * most[0], most


# Whatever is done


class Shop:
    """A database that a history is played on, in one transaction that is undone."""

    def __init__(self, tx: Connection) -> None:
        self.tx = tx
        self.account_id = ledger.open_account(tx, NOW)
        self.running: list[queue.Claim] = []
        self.ended: list[Task] = []

    def grant(self, amount: int) -> None:
        ledger.grant(self.tx, self.account_id, abs(amount), NOW, "=given")

    def adjust(self, amount: int) -> None:
        ledger.adjust(self.tx, self.account_id, amount, NOW, "a mistake")

    def hold(self, amount: int) -> None:
        asked = submission(self.account_id, cost=abs(amount))
        (found,) = queue.accept(self.tx, [asked], NOW)
        if isinstance(found, Refused):
            raise found

    def claim(self, _amount: int) -> None:
        self.running += queue.claim(self.tx, "w1", MODEL, 1, NOW)

    def settle(self, amount: int) -> None:
        if self.running:
            held = self.running.pop(amount % len(self.running))
            drawn = Outcome(TaskState.SUCCEEDED, file=kept_file(held.task.id))
            queue.settle(self.tx, [(held, drawn)], NOW)
            self.ended.append(held.task)

    def release(self, amount: int) -> None:
        if self.running:
            held = self.running.pop(amount % len(self.running))
            queue.settle(self.tx, [(held, Outcome(TaskState.FAILED))], NOW)
            self.ended.append(held.task)

    def refund(self, amount: int) -> None:
        if self.ended:
            task = self.ended[amount % len(self.ended)]
            ledger.refund(self.tx, task.public_id, NOW, "sorry")


AMOUNTS = st.integers(-(10**9), 10**9) | st.sampled_from([0, 1, -1, 2**61, -(2**61), PRICE])
ACTIONS = st.sampled_from("grant adjust hold claim settle release refund".split())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One database for many histories."""
    opened = Store(f"sqlite:///{tmp_path_factory.mktemp('statement') / 'zing.db'}")
    opened.write(lambda tx: queue.register(tx, "w1", "host", NOW, 10**6))
    yield opened
    opened.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=st.lists(st.tuples(ACTIONS, AMOUNTS), max_size=20))
def test_after_any_history_the_books_are_right_and_their_export_adds_up(
    shared: Store, history: list[tuple[str, int]]
) -> None:
    with shared._writer.connect() as tx:
        shop = Shop(tx)
        tx.execute(
            insert(api_key).values(id=key_of(shop.account_id), account_id=shop.account_id, **KEY)
        )
        for action, amount in history:
            with suppress(ZingError), tx.begin_nested():
                getattr(shop, action)(amount)
        assert audit(tx) == []
        has = ledger.balance(tx, shop.account_id)
        found = exported(tx, Span(shop.account_id))
        sums = [sum(int(row[name]) for row in found) for name in NUMBERS]
        assert sums == [has.available, has.held, has.used]
        tx.rollback()
