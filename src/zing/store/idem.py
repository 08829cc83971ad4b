"""Idempotency keys: a request that comes again gets the answer that it got the first time."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select

from zing.store.schema import idem

KEEP_S = 86_400.0

_MINE = (
    idem.c.account_id == bindparam("account"),
    idem.c.route == bindparam("at"),
    idem.c.key == bindparam("sent"),
)
_FIND = select(idem.c.request_hash, idem.c.answer).where(
    *_MINE, idem.c.expires_at > bindparam("now")
)
_CLEAR = delete(idem).where(*_MINE)


@dataclass(frozen=True)
class Sent:
    """A request with an idempotency key: whose, to which address, and the hash of what it asks."""

    account_id: str
    route: str
    key: str
    request_hash: str


@dataclass(frozen=True)
class Kept:
    """What is kept of the first request: the hash of what it asked, and its answer."""

    request_hash: str
    answer: str


def find(connection: Connection, sent: Sent, now: float) -> Kept | None:
    """What is kept under a key; None where nothing is, or no longer."""
    row = connection.execute(_FIND, _place(sent) | {"now": now}).one_or_none()
    return None if row is None else Kept(row.request_hash, row.answer)


def keep(connection: Connection, sent: Sent, task_id: str, answer: str, now: float) -> None:
    """Keep an answer for a day; raises IntegrityError where another request was quicker."""
    connection.execute(_CLEAR.where(idem.c.expires_at <= now), _place(sent))
    connection.execute(
        insert(idem).values(
            account_id=sent.account_id,
            route=sent.route,
            key=sent.key,
            request_hash=sent.request_hash,
            task_id=task_id,
            answer=answer,
            expires_at=now + KEEP_S,
        )
    )


def sweep(connection: Connection, now: float) -> int:
    """Forget the keys whose time is over; how many."""
    return connection.execute(delete(idem).where(idem.c.expires_at <= now)).rowcount


def _place(sent: Sent) -> dict[str, str]:
    return {"account": sent.account_id, "at": sent.route, "sent": sent.key}
