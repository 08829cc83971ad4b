"""Accounts as their operator sees them: money, open tasks, and their place in the fair queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, tuple_, update

from zing.errors import UnknownAccount
from zing.ledger import Balance
from zing.store.schema import account, lane

WEIGHT_MAX = 1000
RUNNING_MAX = 1_000_000
OPEN_MAX = 10_000_000

_ALL = select(account, lane.c.queued, lane.c.running).add_columns(
    lane.c.weight, lane.c.max_running, lane.c.max_open
)
_ALL = _ALL.join(lane, lane.c.account_id == account.c.id)


@dataclass(frozen=True)
class Account:
    """An account.

    weight       its share of the workers beside other accounts that wait
    max_running  of its tasks, so many are drawn at once; None: any number
    max_open     so many may wait or be drawn; None: as the settings say
    """

    id: str
    created_at: float
    balance: Balance
    queued: int
    running: int
    weight: int
    max_running: int | None
    max_open: int | None


def page(connection: Connection, limit: int, after: str = "") -> list[Account]:
    """Accounts, the newest first; those after the one of an id."""
    query = _ALL.order_by(account.c.created_at.desc(), account.c.id.desc()).limit(limit)
    if after:
        last = select(account.c.created_at, account.c.id).where(account.c.id == after)
        place = tuple_(account.c.created_at, account.c.id)
        query = query.where(place < last.scalar_subquery())
    return [_account(row) for row in connection.execute(query)]


def find(connection: Connection, account_id: str) -> Account:
    """The account of an id; raises UnknownAccount."""
    row = connection.execute(_ALL.where(account.c.id == account_id)).one_or_none()
    if row is None:
        raise UnknownAccount(f"There is no account {account_id[:40]!r}.")
    return _account(row)


def change(connection: Connection, account_id: str, values: Mapping[str, int | None]) -> None:
    """Set some of `weight`, `max_running` and `max_open`; raises UnknownAccount.

    What runs or waits already stays as it is.
    """
    assert values.keys() <= {"weight", "max_running", "max_open"}
    changed = update(lane).where(lane.c.account_id == account_id).values(**values)
    if connection.execute(changed).rowcount == 0:
        raise UnknownAccount(f"There is no account {account_id[:40]!r}.")


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        created_at=row.created_at,
        balance=Balance(row.id, row.available, row.held, row.used),
        queued=row.queued,
        running=row.running,
        weight=row.weight,
        max_running=row.max_running,
        max_open=row.max_open,
    )
