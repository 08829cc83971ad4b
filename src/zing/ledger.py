"""Money: accounts and the entries that explain every balance. Integers of micro-credits only.

Each entry moves an account's three numbers by the signs in EFFECTS, in the same transaction, so
they are at any moment the sums over the account's entries.
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, Connection, Update, bindparam, insert, select, update

from zing.errors import BadSetting, InsufficientCredits, Internal, UnknownAccount
from zing.store.schema import account, lane, ledger

# Far below what a 64-bit column holds, so that no sum of two can overflow it.
BALANCE_MAX = 2**61


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


def _moving(kind: Kind) -> Update:
    """The statement that moves `moved` micro-credits of an `account`, built once."""
    moved = bindparam("moved", type_=BigInteger)
    numbers = (account.c.available, account.c.held, account.c.used)
    after = [number + sign * moved for number, sign in zip(numbers, EFFECTS[kind], strict=True)]
    bounds = after[0].between(0, BALANCE_MAX) & (after[1] >= 0) & (after[2] >= 0)
    statement = update(account).where(account.c.id == bindparam("account"), bounds)
    return statement.values(available=after[0], held=after[1], used=after[2])


_MOVES = {kind: _moving(kind) for kind in Kind}
_ENTRY = insert(ledger)
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
class Entry:
    """One line of the ledger."""

    id: int
    account_id: str
    task_id: str | None
    kind: Kind
    amount: int
    reason: str
    created_at: float


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
    """Give an account credits; raises UnknownAccount."""
    if not _move(connection, account_id, Kind.GRANT, amount):
        balance(connection, account_id)
        raise BadSetting("The account cannot hold that many credits.")
    _enter(connection, account_id, Kind.GRANT, amount, now, reason=reason)


def hold(connection: Connection, account_id: str, task_id: str, amount: int, now: float) -> None:
    """Take a task's price off what is available; raises InsufficientCredits and moves nothing."""
    if not _move(connection, account_id, Kind.HOLD, amount):
        raise InsufficientCredits
    _enter(connection, account_id, Kind.HOLD, amount, now, task_id)


def settle(connection: Connection, account_id: str, task_id: str, amount: int, now: float) -> None:
    """The held price is spent."""
    _unhold(connection, account_id, Kind.SETTLE, amount)
    _enter(connection, account_id, Kind.SETTLE, amount, now, task_id)


def release(connection: Connection, account_id: str, task_id: str, amount: int, now: float) -> None:
    """The held price is available again."""
    _unhold(connection, account_id, Kind.RELEASE, amount)
    _enter(connection, account_id, Kind.RELEASE, amount, now, task_id)


def balance(connection: Connection, account_id: str) -> Balance:
    """The balance of an account; raises UnknownAccount."""
    row = connection.execute(_BALANCE, {"account": account_id}).one_or_none()
    if row is None:
        raise UnknownAccount(f"There is no account {account_id!r}.")
    return Balance(account_id, row.available, row.held, row.used)


def entries(connection: Connection, account_id: str, limit: int) -> list[Entry]:
    """The last `limit` entries of an account, oldest first; raises UnknownAccount."""
    balance(connection, account_id)
    query = select(ledger).where(ledger.c.account_id == account_id)
    rows = connection.execute(query.order_by(ledger.c.id.desc()).limit(limit)).all()
    return [
        Entry(r.id, r.account_id, r.task_id, Kind(r.kind), r.amount, r.reason, r.created_at)
        for r in reversed(rows)
    ]


def _unhold(connection: Connection, account_id: str, kind: Kind, amount: int) -> None:
    if not _move(connection, account_id, kind, amount):
        raise Internal(f"The account {account_id} does not hold what this task was promised.")


def _move(connection: Connection, account_id: str, kind: Kind, amount: int) -> bool:
    """Change an account's three numbers as EFFECTS says; false where one would leave its bounds."""
    moved = connection.execute(_MOVES[kind], {"account": account_id, "moved": amount})
    return moved.rowcount == 1


def _enter(
    connection: Connection,
    account_id: str,
    kind: Kind,
    amount: int,
    now: float,
    task_id: str | None = None,
    reason: str = "",
) -> None:
    entry = {
        "account_id": account_id,
        "task_id": task_id,
        "kind": kind,
        "amount": amount,
        "reason": reason,
        "created_at": now,
    }
    connection.execute(_ENTRY, entry)
