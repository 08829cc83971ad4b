"""Money: accounts and the entries that explain every balance. Integers of micro-credits only.

Each entry moves an account's three numbers by the signs in EFFECTS, in the same transaction, so
they are at any moment the sums over the account's entries. Many entries are one set: so many
statements as for one.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, Connection, Update, bindparam, insert, select, update

from zing.errors import BadSetting, Internal, UnknownAccount
from zing.store.schema import account, lane, ledger

NUMBERS = ("available", "held", "used")
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
    balance(connection, account_id)
    given = [Move(account_id, Kind.GRANT, amount, reason=reason)]
    if not _moved(connection, given):
        raise BadSetting("The account cannot hold that many credits.")
    _enter(connection, given, now)


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


def entries(connection: Connection, account_id: str, limit: int) -> list[Entry]:
    """The last `limit` entries of an account, oldest first; raises UnknownAccount."""
    balance(connection, account_id)
    query = select(ledger).where(ledger.c.account_id == account_id)
    rows = connection.execute(query.order_by(ledger.c.id.desc()).limit(limit)).all()
    return [
        Entry(r.id, r.account_id, r.task_id, Kind(r.kind), r.amount, r.reason, r.created_at)
        for r in reversed(rows)
    ]


def page(
    connection: Connection, account_id: str, limit: int, after: int | None = None
) -> list[Entry]:
    """Entries of an account, the newest first, those after the one of an id; UnknownAccount."""
    balance(connection, account_id)
    query = select(ledger).where(ledger.c.account_id == account_id)
    if after is not None:
        query = query.where(ledger.c.id < after)
    rows = connection.execute(query.order_by(ledger.c.id.desc()).limit(limit))
    return [
        Entry(r.id, r.account_id, r.task_id, Kind(r.kind), r.amount, r.reason, r.created_at)
        for r in rows
    ]


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
