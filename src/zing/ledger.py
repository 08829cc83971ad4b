"""Money: accounts and the entries that explain every balance. Integers of micro-credits only.

Each entry moves an account's three numbers by the signs in EFFECTS, in the same transaction, so
they are at any moment the sums over the account's entries. Many entries are one set: so many
statements as for one.
"""

import math
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    Select,
    Update,
    bindparam,
    insert,
    select,
    update,
)

from zing.errors import BadSetting, Internal, UnknownAccount, UnknownTask
from zing.store.schema import account, api_key, lane, ledger, task
from zing.task import TaskState, show_credits

NUMBERS = ("available", "held", "used")
# Far below what a 64-bit column holds, so that no sum of two can overflow it.
BALANCE_MAX = 2**61
REASON_MAX = 200
READ_AT_ONCE = 1000


class Kind(StrEnum):
    """What an entry is for; refund is money back after a settle, never before."""

    GRANT = "grant"
    HOLD = "hold"
    SETTLE = "settle"
    RELEASE = "release"
    REFUND = "refund"
    ADJUST = "adjust"


# What one micro-credit of an entry does to (available, held, used).
EFFECTS: dict[Kind, tuple[int, int, int]] = {
    Kind.GRANT: (1, 0, 0),
    Kind.HOLD: (-1, 1, 0),
    Kind.SETTLE: (0, -1, 1),
    Kind.RELEASE: (1, -1, 0),
    Kind.REFUND: (1, 0, -1),
    Kind.ADJUST: (1, 0, 0),
}


def _moving() -> Update:
    """The statement that moves an `account`'s three numbers within their bounds, built once."""
    changes = [bindparam(f"moved_{name}", type_=BigInteger) for name in NUMBERS]
    after = [account.c[name] + moved for name, moved in zip(NUMBERS, changes, strict=True)]
    bounds = after[0].between(0, BALANCE_MAX) & (after[1] >= 0) & (after[2] >= 0)
    statement = update(account).where(account.c.id == bindparam("account"), bounds)
    return statement.values(dict(zip(NUMBERS, after, strict=True)))


_MOVE = _moving()
_ENTRY = insert(ledger)
_AVAILABLE = (
    select(account.c.id, account.c.available)
    .where(account.c.id.in_(bindparam("accounts", expanding=True)))
    .order_by(account.c.id)
    .with_for_update()
)
_TO_REFUND = (
    select(task.c.id, task.c.account_id, task.c.key_id, task.c.state, task.c.cost)
    .where(task.c.public_id == bindparam("task"))
    .with_for_update()
)
_REFUNDED = select(ledger.c.id).where(
    ledger.c.task_id == bindparam("task"), ledger.c.kind == Kind.REFUND
)
_FREE_KEY = (
    update(api_key)
    .where(api_key.c.id == bindparam("key"))
    .values(used=api_key.c.used - bindparam("back"))
)
_STATEMENT = (
    select(ledger, task.c.public_id)
    .join(task, task.c.id == ledger.c.task_id, isouter=True)
    .order_by(ledger.c.id)
)
_BALANCE = select(account.c.available, account.c.held, account.c.used).where(
    account.c.id == bindparam("account")
)


@dataclass(frozen=True)
class Balance:
    """An account's money: what it may spend, what open tasks hold, what was settled."""

    account_id: str
    available: int
    held: int
    used: int


@dataclass(frozen=True)
class Move:
    """An entry to be made: micro-credits of an account, for a task or for a reason."""

    account_id: str
    kind: Kind
    amount: int
    task_id: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    public_id  its task's, where it was asked for and the task is still there
    """

    id: int
    account_id: str
    task_id: str | None
    kind: Kind
    amount: int
    reason: str
    created_at: float
    public_id: str | None = None

    @property
    def effects(self) -> tuple[int, int, int]:
        """What it did to (available, held, used), in micro-credits."""
        available, held, used = (sign * self.amount for sign in EFFECTS[self.kind])
        return available, held, used


@dataclass(frozen=True)
class Span:
    """Entries of one account or, where none is named, of all: from one time to before another."""

    account_id: str | None = None
    since: float = 0.0
    until: float = math.inf


EVER = Span()


def open_account(connection: Connection, now: float) -> str:
    """A new account's id; it has nothing yet."""
    account_id = f"acct_{secrets.token_hex(6)}"
    connection.execute(insert(account).values(id=account_id, available=0, held=0, created_at=now))
    connection.execute(
        insert(lane).values(account_id=account_id, queued=0, running=0, weight=1, vtime=0.0)
    )
    return account_id


def grant(
    connection: Connection, account_id: str, amount: int, now: float, reason: str = ""
) -> None:
    """Give an account credits; raises UnknownAccount, and BadSetting as `adjust`."""
    balance(connection, account_id)
    given = [Move(account_id, Kind.GRANT, amount, reason=_checked(reason))]
    if not _moved(connection, given):
        raise BadSetting("The account cannot hold that many credits.")
    _enter(connection, given, now)


def adjust(
    connection: Connection, account_id: str, amount: int, now: float, reason: str
) -> Balance:
    """Give or take micro-credits, and the balance after it; the reason stays with the entry.

    Raises UnknownAccount, and BadSetting where it is nothing, has no reason, or would leave less
    than nothing available.
    """
    before = balance(connection, account_id)
    if amount == 0:
        raise BadSetting("Nothing to adjust: say by how many credits.")
    made = [Move(account_id, Kind.ADJUST, amount, reason=_required(reason))]
    if abs(amount) > BALANCE_MAX or not _moved(connection, made):
        has = show_credits(before.available)
        raise BadSetting(
            f"{account_id} has {has} credits available: {show_credits(amount)} cannot be added."
            if amount > 0
            else f"{account_id} has {has} credits available: {show_credits(-amount)} cannot be "
            "taken off."
        )
    _enter(connection, made, now)
    return balance(connection, account_id)


def refund(connection: Connection, public_id: str, now: float, reason: str) -> Balance:
    """Give back what a task was charged, all of it and once; the balance of its account after it.

    The task stays as it is, with its picture. Its key may spend the price again, though not more on
    the same day. Raises UnknownTask, and BadSetting where there is nothing to give back.
    """
    why = _required(reason)
    # A database may choke on characters that no id has.
    asked = {"task": public_id} if public_id.isprintable() else {"task": ""}
    row = connection.execute(_TO_REFUND, asked).one_or_none()
    if row is None:
        raise UnknownTask(f"There is no task {public_id[:40]!r}; `zing tasks list` names them.")
    if row.state != TaskState.SUCCEEDED:
        raise BadSetting(f"{public_id} is {row.state}: nothing was charged for it.")
    if connection.scalar(_REFUNDED, {"task": row.id}) is not None:
        raise BadSetting(f"{public_id} was refunded already.")
    move(connection, [Move(row.account_id, Kind.REFUND, row.cost, row.id, why)], now)
    connection.execute(_FREE_KEY, {"key": row.key_id, "back": row.cost})
    return balance(connection, row.account_id)


def lock(connection: Connection, accounts: Collection[str]) -> dict[str, int]:
    """What accounts have available; nobody else changes it until this transaction ends."""
    rows = connection.execute(_AVAILABLE, {"accounts": sorted(accounts)})
    return {row.id: row.available for row in rows}


def move(connection: Connection, moves: Sequence[Move], now: float) -> None:
    """Make entries and what they do to the balances; raises Internal where one cannot be."""
    if moves:
        if not _moved(connection, moves):
            raise Internal("An account does not hold what its tasks were promised.")
        _enter(connection, moves, now)


def balance(connection: Connection, account_id: str) -> Balance:
    """The balance of an account; raises UnknownAccount."""
    row = connection.execute(_BALANCE, {"account": account_id}).one_or_none()
    if row is None:
        raise UnknownAccount(f"There is no account {account_id!r}.")
    return Balance(account_id, row.available, row.held, row.used)


def statement(connection: Connection, span: Span = EVER) -> Iterator[Entry]:
    """The entries of a span, oldest first, with their tasks' public ids; read bit by bit.

    Raises UnknownAccount. The connection is for nothing else until the last one came.
    """
    query = _of_span(connection, span)
    rows = connection.execute(query, execution_options={"yield_per": READ_AT_ONCE})
    return (_entry(row, row.public_id) for row in rows)


def _of_span(connection: Connection, span: Span) -> Select[Any]:
    query = _STATEMENT.where(ledger.c.created_at >= span.since, ledger.c.created_at < span.until)
    if span.account_id is None:
        return query
    balance(connection, span.account_id)
    return query.where(ledger.c.account_id == span.account_id)


def entries(connection: Connection, account_id: str, limit: int) -> list[Entry]:
    """The last `limit` entries of an account, oldest first; raises UnknownAccount."""
    return page(connection, Span(account_id), limit)[::-1]


def page(connection: Connection, span: Span, limit: int, after: int | None = None) -> list[Entry]:
    """Entries of a span, the newest first, with their tasks' public ids: those after the one of an
    id; raises UnknownAccount.
    """
    query = _of_span(connection, span)
    if after is not None:
        query = query.where(ledger.c.id < after)
    rows = connection.execute(query.order_by(None).order_by(ledger.c.id.desc()).limit(limit))
    return [_entry(row, row.public_id) for row in rows]


def _entry(row: Row[Any], public_id: str | None = None) -> Entry:
    return Entry(
        id=row.id,
        account_id=row.account_id,
        task_id=row.task_id,
        kind=Kind(row.kind),
        amount=row.amount,
        reason=row.reason,
        created_at=row.created_at,
        public_id=public_id,
    )


def _required(reason: str) -> str:
    """A reason that an entry can be kept with; raises BadSetting."""
    if not reason.strip():
        raise BadSetting("Say why: the reason stays with the entry.")
    return _checked(reason)


def _checked(reason: str) -> str:
    """The same, where there need be none."""
    if len(reason) > REASON_MAX or not reason.isprintable():
        raise BadSetting(f"A reason has at most {REASON_MAX} printable characters.")
    return reason


def _moved(connection: Connection, moves: Sequence[Move]) -> bool:
    """Change the accounts as EFFECTS says; false where one would leave its bounds."""
    sums: dict[str, list[int]] = {}
    for each in moves:
        mine = sums.setdefault(each.account_id, [0, 0, 0])
        for place, sign in enumerate(EFFECTS[each.kind]):
            mine[place] += sign * each.amount
    rows = [
        {"account": account_id}
        | {f"moved_{name}": change for name, change in zip(NUMBERS, mine, strict=True)}
        for account_id, mine in sorted(sums.items())  # locked in this order everywhere
    ]
    return connection.execute(_MOVE, rows).rowcount == len(rows)


def _enter(connection: Connection, moves: Sequence[Move], now: float) -> None:
    entries = [
        {
            "account_id": each.account_id,
            "task_id": each.task_id,
            "kind": each.kind,
            "amount": each.amount,
            "reason": each.reason,
            "created_at": now,
        }
        for each in moves
    ]
    connection.execute(_ENTRY, entries)
