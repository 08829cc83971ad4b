"""The audit log: what operators did, and who was refused for a key; added to, never changed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from zing.store.schema import audit_log

COMMAND_LINE = "command line"
KEY_REFUSED, THROTTLED = "key refused", "address throttled"
REFUSALS = (KEY_REFUSED, THROTTLED)  # what strangers cause, and what is forgotten one day
_ADD = insert(audit_log)


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    at       UTC seconds
    actor    the id of the key that did it, or COMMAND_LINE; empty where nobody is known
    address  where it came from; empty on this machine
    action   what was done, in a few words such as `key revoked`
    target   the id of what it was done to
    detail   what else a person wants to know of it; no secrets
    """

    at: float
    actor: str
    address: str
    action: str
    target: str = ""
    detail: str = ""


def add(connection: Connection, entries: Sequence[Entry]) -> None:
    """Note what was done, with the transaction that does it."""
    if entries:
        connection.execute(_ADD, [asdict(each) for each in entries])


def last(connection: Connection, limit: int, action: str = "") -> list[Entry]:
    """The newest first; of one action where it is named."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    if action:
        query = query.where(audit_log.c.action == action)
    return [
        Entry(row.at, row.actor, row.address, row.action, row.target, row.detail)
        for row in connection.execute(query)
    ]


def page(
    connection: Connection, limit: int, after: int | None, action: str = "", actor: str = ""
) -> list[tuple[int, Entry]]:
    """The newest first, each with its number; those after the one of a number."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(audit_log.c.id < after)
    if action:
        query = query.where(audit_log.c.action == action)
    if actor:
        query = query.where(audit_log.c.actor == actor)
    return [
        (row.id, Entry(row.at, row.actor, row.address, row.action, row.target, row.detail))
        for row in connection.execute(query)
    ]


def forget(connection: Connection, action: str, before: float) -> int:
    """Forget the entries of an action that are older than a time; how many."""
    old = delete(audit_log).where(audit_log.c.action == action, audit_log.c.at < before)
    return connection.execute(old).rowcount
