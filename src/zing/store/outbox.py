"""The rows of callbacks that are owed, and of each attempt to deliver one.

Whoever delivers holds a row by its lease; a dead process's rows are taken again when it is over.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from zing.errors import UnknownAccount, UnknownTask
from zing.store.schema import account, delivery_attempt, outbox, task
from zing.task import Attempt, Delivery, DeliveryState

# No row of a right clock is due or leased this far ahead, nor do two right clocks differ so much:
# the clock has jumped back, and waiting for it could be for ever.
FAR_S = 600.0
# How long the secret before the one in force signs too.
OLD_SECRET_S = 86_400.0

_COLUMNS = [column for column in outbox.c if column.name != "lease_until"]
_CLAIM = (
    update(outbox)
    .where(outbox.c.id == bindparam("identity"))
    .values(
        lease_until=bindparam("until"),
        # What was sent once is sent again.
        body=func.coalesce(outbox.c.body, bindparam("text", type_=outbox.c.body.type)),
    )
)


@dataclass(frozen=True)
class Bounds:
    """How many deliveries may be in one courier's hands: in all, of one host, of one account.

    of_doubtful  of one host that is not known to answer
    """

    in_all: int = 512
    of_host: int = 8
    of_account: int = 32
    of_doubtful: int = 1


@dataclass(frozen=True)
class Held:
    """A delivery that is ours to try until its lease is over.

    secrets  the numbers of the account's secrets that sign it, the one in force first
    """

    delivery: Delivery
    lease_until: float
    secrets: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """What came of an attempt: the state after it, and when it is tried next or has ended."""

    held: Held
    attempt: Attempt
    state: DeliveryState
    at: float


class Hands:
    """What a courier holds, counted against its bounds; of `doubtful` hosts it takes fewer."""

    def __init__(
        self,
        bounds: Bounds,
        held: Collection[Delivery] = (),
        doubtful: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._bounds = bounds
        self._doubtful = doubtful
        self.ids = [each.id for each in held]
        self._hosts = Counter(each.host for each in held)
        self._accounts = Counter(each.account_id for each in held)

    @property
    def room(self) -> int:
        """How many more there may be in all."""
        return self._bounds.in_all - len(self.ids)

    @property
    def full_hosts(self) -> list[str]:
        """The hosts of which there may be no more."""
        return [host for host in self._hosts if self._is_full(host)]

    @property
    def full_accounts(self) -> list[str]:
        """The accounts of which there may be no more."""
        most = self._bounds.of_account
        return [account_id for account_id, count in self._accounts.items() if count >= most]

    def take(self, delivery: Delivery) -> bool:
        """Count one more; false, and nothing is counted, where there is no room for it."""
        if self._is_full(delivery.host):
            return False
        if self._accounts[delivery.account_id] >= self._bounds.of_account:
            return False
        self.ids.append(delivery.id)
        self._hosts[delivery.host] += 1
        self._accounts[delivery.account_id] += 1
        return True

    def _is_full(self, host: str) -> bool:
        bounds = self._bounds
        most = bounds.of_doubtful if self._doubtful(host) else bounds.of_host
        return self._hosts[host] >= most


def due(connection: Connection, now: float, limit: int, hands: Hands) -> list[Delivery]:
    """Up to `limit` deliveries that `claim` may be asked for, the longest due first.

    `hands` is counted up. Hosts and accounts without room are left out by the query, so however
    much of theirs is due, it keeps nobody else's from being found. It costs no lock.
    """
    taken: list[Delivery] = []
    while (wanted := min(limit - len(taken), hands.room)) > 0:
        query = select(*_COLUMNS).where(outbox.c.state == DeliveryState.DUE)
        query = query.where(*_its_time(now), *_free(hands))
        query = query.order_by(outbox.c.next_at, outbox.c.id).limit(wanted)
        found = [_delivery(row) for row in connection.execute(query)]
        fitting = [each for each in found if hands.take(each)]
        taken += fitting
        if len(fitting) == len(found):
            break
    return taken


def claim(
    connection: Connection, bodies: Mapping[str, str | None], now: float, lease_until: float
) -> list[Held]:
    """Those of these deliveries that are due still, ours until the lease is over.

    `bodies` are what attempt 1 will send, by id, None where there is none; a body that was kept
    before stays. No row but theirs is looked at, for a claim holds what a submit waits for.
    """
    # Not the column alone: SQLite would go through all that is due instead of by the ids.
    due = outbox.c.state.concat("") == DeliveryState.DUE
    query = _with_account().where(outbox.c.id.in_(list(bodies)), due, *_its_time(now))
    query = query.order_by(outbox.c.next_at, outbox.c.id)
    rows = connection.execute(query.with_for_update(of=outbox, skip_locked=True)).all()
    if rows:
        ours = [{"identity": row.id, "until": lease_until, "text": bodies[row.id]} for row in rows]
        connection.execute(_CLAIM, ours)
    return [_held(row, bodies[row.id], now, lease_until) for row in rows]


def record(connection: Connection, records: Iterable[Record]) -> None:
    """Keep attempts, each with the state after it.

    An attempt whose lease another has taken meanwhile changes the state only where it succeeded:
    then nothing is left to send. Of a delivery that was purged nothing is kept, and nothing twice:
    whoever got no answer records again.
    """
    for each in records:
        query = select(outbox).where(outbox.c.id == each.held.delivery.id).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            continue
        mine = row.lease_until == each.held.lease_until
        if not mine and each.attempt in attempts_of(connection, row.id):
            continue
        _insert_attempt(connection, row.id, each.attempt)
        if mine or each.state is DeliveryState.DELIVERED:
            _move(connection, each)


def release(connection: Connection, held: Iterable[Held]) -> None:
    """Give deliveries back as if they had not been claimed, where they are still ours."""
    for each in held:
        mine = (outbox.c.id == each.delivery.id, outbox.c.lease_until == each.lease_until)
        connection.execute(update(outbox).where(*mine).values(lease_until=0.0))


def list_deliveries(
    connection: Connection,
    state: DeliveryState | None,
    account_id: str | None,
    limit: int,
    after: str = "",
) -> list[Delivery]:
    """Deliveries, those of the newest tasks first; those after the one of the task named."""
    query = select(*_COLUMNS).order_by(outbox.c.task_id.desc()).limit(limit)
    if state is not None:
        query = query.where(outbox.c.state == state)
    if account_id is not None:
        query = query.where(outbox.c.account_id == account_id)
    if after:
        query = query.where(outbox.c.task_id < after)
    return [_delivery(row) for row in connection.execute(query)]


def find(connection: Connection, text: str) -> Delivery:
    """The delivery that a person means by its id or by its task's id; raises UnknownTask."""
    of_task = select(task.c.id).where(task.c.public_id == text).scalar_subquery()
    meant = or_(outbox.c.id == text, outbox.c.task_id == of_task)
    # A database may choke on characters that no id has.
    row = connection.execute(select(*_COLUMNS).where(meant)).first() if text.isprintable() else None
    if row is None:
        raise UnknownTask(
            f"There is no callback {text[:40]!r}, nor one of a task of this id; "
            "`zing callbacks list` names them."
        )
    return _delivery(row)


def attempts_of(connection: Connection, delivery_id: str) -> list[Attempt]:
    """Every attempt of a delivery, the oldest first; numbers begin anew where it was sent again."""
    mine = select(delivery_attempt).where(delivery_attempt.c.delivery_id == delivery_id)
    return [
        Attempt(row.number, row.started_at, row.took_s, row.status, row.error)
        for row in connection.execute(mine.order_by(delivery_attempt.c.id))
    ]


def resend(connection: Connection, delivery_id: str, now: float) -> None:
    """Make a delivery that has ended due with all its attempts, one that is due due now."""
    mine = update(outbox).where(outbox.c.id == delivery_id)
    is_due = outbox.c.state == DeliveryState.DUE
    connection.execute(mine.where(is_due).values(next_at=now))
    anew = {"state": DeliveryState.DUE, "attempt": 0, "next_at": now, "ended_at": None}
    connection.execute(mine.where(~is_due).values(**anew, lease_until=0.0))


def remove(connection: Connection, task_ids: Sequence[str]) -> None:
    """Forget the deliveries of these tasks, with their attempts."""
    mine = select(outbox.c.id).where(outbox.c.task_id.in_(task_ids))
    # Locked before their attempts go, so that none is recorded in between.
    ids = list(connection.scalars(mine.with_for_update()))
    connection.execute(delete(delivery_attempt).where(delivery_attempt.c.delivery_id.in_(ids)))
    connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))


def secrets_of(connection: Connection, account_id: str, now: float) -> tuple[int, ...]:
    """The numbers of an account's secrets that sign, the one in force first."""
    query = select(account.c.secret_number, account.c.old_secret_until)
    row = connection.execute(query.where(account.c.id == account_id)).one_or_none()
    if row is None:
        raise UnknownAccount
    return _secrets(row.secret_number, row.old_secret_until, now)


def rotate_secret(connection: Connection, account_id: str, now: float) -> None:
    """Put an account's next secret in force; the one before it signs too for another day."""
    mine = update(account).where(account.c.id == account_id)
    number = account.c.secret_number + 1
    connection.execute(mine.values(secret_number=number, old_secret_until=now + OLD_SECRET_S))


def _its_time(now: float) -> Iterator[ColumnElement[bool]]:
    """Deliveries whose time has come and that nobody holds."""
    yield or_(outbox.c.next_at <= now, outbox.c.next_at > now + FAR_S)
    yield or_(outbox.c.lease_until <= now, outbox.c.lease_until > now + FAR_S)


def _free(hands: Hands) -> Iterator[ColumnElement[bool]]:
    """Deliveries that there is room for."""
    if hands.ids:
        yield outbox.c.id.not_in(hands.ids)
    if hosts := hands.full_hosts:
        yield outbox.c.host.not_in(hosts)
    if accounts := hands.full_accounts:
        yield outbox.c.account_id.not_in(accounts)


def _with_account() -> Select[Any]:
    columns = (*_COLUMNS, account.c.secret_number, account.c.old_secret_until)
    return select(*columns).join(account, account.c.id == outbox.c.account_id)


def _held(row: Row[Any], body: str | None, now: float, lease_until: float) -> Held:
    delivery = _delivery(row)
    if delivery.body is None:
        delivery = replace(delivery, body=body)
    secrets = _secrets(row.secret_number, row.old_secret_until, now)
    return Held(delivery, lease_until, secrets)


def _move(connection: Connection, made: Record) -> None:
    """The state after an attempt; the lease is over."""
    due = made.state is DeliveryState.DUE
    values = {"next_at": made.at} if due else {"ended_at": made.at}
    connection.execute(
        update(outbox)
        .where(outbox.c.id == made.held.delivery.id)
        .values(state=made.state, attempt=made.attempt.number, lease_until=0.0, **values)
    )


def _insert_attempt(connection: Connection, delivery_id: str, attempt: Attempt) -> None:
    connection.execute(
        insert(delivery_attempt).values(
            delivery_id=delivery_id,
            number=attempt.number,
            started_at=attempt.started_at,
            took_s=attempt.took_s,
            status=attempt.status,
            error=attempt.error,
        )
    )


def _secrets(current: int, old_until: float | None, now: float) -> tuple[int, ...]:
    return (current,) if old_until is None or old_until <= now else (current, current - 1)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        task_id=row.task_id,
        account_id=row.account_id,
        public_id=row.public_id,
        dialect=row.dialect,
        url=row.url,
        host=row.host,
        state=DeliveryState(row.state),
        attempt=row.attempt,
        next_at=row.next_at,
        body=row.body,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
