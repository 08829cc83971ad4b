"""The life of a task in the database: accept, claim, settle, reap, cancel, each one transaction.

Rows of one task are locked in the order task, account, lane. Where a transaction takes several
tasks, two may still wait for each other: the database ends one, and it is done again. Every
function runs inside `Store.write` and takes the time as `now`.
"""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, or_, select, update

from zing import ledger
from zing.egress import host_of
from zing.errors import (
    Cancelled,
    EngineLost,
    ModelGone,
    NotCancellable,
    QueueFull,
    TimedOut,
    UnknownTask,
    Unreadable,
    ZingError,
)
from zing.store import files, switches
from zing.store.files import File
from zing.store.schema import api_key, lane, outbox, task, worker
from zing.store.tasks import dump_request, to_task
from zing.task import DeliveryState, ImageRequest, Task, TaskState

ATTEMPTS_MAX = 3
QUEUE_MAX = 10_000
LANES_TRIED = 20  # where other workers have locked the first ones' tasks
EXPIRED_AT_ONCE = 100
# No lease of a right clock ends this far ahead: the clock was set back since it was written.
FAR_S = 120.0
PRIORITY = 100  # lower is served first

_FREE = or_(lane.c.max_running.is_(None), lane.c.running < lane.c.max_running)

# Built once: for each accept they would take longer to build than to run.
_WAITING = select(func.sum(lane.c.queued))
_INSERT = insert(task)
_BY_ID = select(task).where(task.c.id == bindparam("identity"))
_START = select(
    func.coalesce(
        select(func.min(lane.c.vtime)).where(lane.c.queued > 0).scalar_subquery(),
        select(func.max(lane.c.vtime)).scalar_subquery(),
    )
)
_MINE = lane.c.account_id == bindparam("account")
_ENTER_IDLE = (
    update(lane)
    .where(_MINE, lane.c.queued == 0, lane.c.vtime < bindparam("start"))
    .values(vtime=bindparam("start"))
)
_ENTER = update(lane).where(_MINE).values(queued=lane.c.queued + 1)


@dataclass(frozen=True)
class Submission:
    """A request that may be accepted; `refused` is why it must not reach an engine, if so."""

    public_id: str
    account_id: str
    key_id: str
    dialect: str
    request: ImageRequest
    fields: dict[str, Any]
    suffix: str
    seed: int
    cost: int
    model: str
    compat: str
    refused: ZingError | None = None


@dataclass(frozen=True)
class Claim:
    """A worker's right to a task until its lease is over; void when the token has changed."""

    task: Task
    token: str
    suffix: str


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with a picture's file, or with an error."""

    state: TaskState
    error: str = ""
    error_message: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    file: File | None = None


def failure(error: ZingError) -> Outcome:
    """The outcome of a task that ended with this error."""
    state = TaskState.CANCELLED if isinstance(error, Cancelled) else TaskState.FAILED
    return Outcome(state, type(error).__name__, str(error))


def task_id(now: float) -> str:
    """A new id; ids sort by time."""
    return f"{int(now * 1000):012x}{secrets.token_hex(8)}"


def accept(connection: Connection, submission: Submission, now: float) -> Task:
    """The queued task, its price held; raises InsufficientCredits or QueueFull.

    Unavailable or SwitchedOff where the operator takes no new tasks. A request that safety
    refuses is accepted, ended and released at once.
    """
    check_open(connection, submission.dialect)
    identity = task_id(now)
    _insert(connection, identity, submission, now)
    ledger.hold(connection, submission.account_id, identity, submission.cost, now)
    _enter_lane(connection, submission.account_id)
    accepted = _row(connection, identity)
    if submission.refused is not None:
        _end(connection, accepted, failure(submission.refused), now)
    return to_task(_row(connection, identity))


def check_open(connection: Connection, dialect: str) -> None:
    """Refuse a new task where there is no room for it: raises QueueFull, and what switches do."""
    switches.check(connection, dialect)
    waiting = connection.scalar(_WAITING) or 0
    if waiting >= QUEUE_MAX:
        raise QueueFull(retry_after_s=10)


def claim(
    connection: Connection, worker_id: str, model: str, count: int, now: float
) -> list[Claim]:
    """Up to `count` tasks for a model, of one compatibility class, from the lanes whose turn it is.

    None for a worker whose lease is over: nobody would notice if it died.
    """
    alive = select(worker.c.id).where(worker.c.id == worker_id, worker.c.lease_until > now)
    if connection.scalar(alive.with_for_update()) is None:
        return []
    claims: list[Claim] = []
    kind: str | None = None
    while len(claims) < count:
        head = _head(connection, model, kind, now)
        if head is None:
            break
        kind = head.compat
        held = _claim(connection, head, worker_id, now)
        try:
            claims.append(Claim(to_task(held), held.claim_token, held.suffix))
        except (RecursionError, TypeError, ValueError):
            # One row that this version cannot read must not stop all others.
            _end(connection, held, failure(Unreadable()), now)
    return claims


def settle(connection: Connection, held: Claim, outcome: Outcome, now: float) -> bool:
    """End a claimed task; False, and nothing changes, where the claim is void.

    A task that was asked to be cancelled is, also where its picture came just after.
    """
    row = _locked(connection, held)
    if row is None:
        return False
    _end(connection, row, failure(Cancelled()) if row.cancel_requested else outcome, now)
    return True


def give_back(connection: Connection, held: Claim, now: float) -> bool:
    """Queue a claimed task again as if it had not been claimed; False where the claim is void."""
    row = _locked(connection, held)
    if row is None:
        return False
    if row.cancel_requested:
        _end(connection, row, failure(Cancelled()), now)
    else:
        _requeue(connection, row, row.attempt - 1, now)
    return True


def cancel(connection: Connection, public_id: str, account_id: str | None, now: float) -> None:
    """End a queued task; ask for a running one to be stopped.

    Raises UnknownTask, and NotCancellable where it has ended. Asking twice is asking once.
    """
    query = select(task).where(task.c.public_id == public_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None or account_id not in (None, row.account_id):
        raise UnknownTask
    if TaskState(row.state).ended:
        raise NotCancellable
    if row.state == TaskState.QUEUED:
        _end(connection, row, failure(Cancelled()), now)
        return
    asked = update(task).where(task.c.id == row.id)
    connection.execute(asked.values(cancel_requested=True, updated_at=now))


def register(connection: Connection, worker_id: str, host: str, now: float, lease_s: float) -> None:
    """Make a worker known, not ready yet."""
    connection.execute(
        insert(worker).values(
            id=worker_id,
            host=host,
            state="loading",
            started_at=now,
            lease_until=now + lease_s,
            capacity=1,
            progress="{}",
            draining=False,
        )
    )


def beat(
    connection: Connection, worker_id: str, state: str, progress: dict[str, Any], lease_until: float
) -> bool:
    """Keep a lease; False where it was over and has been reaped."""
    kept = connection.execute(
        update(worker)
        .where(worker.c.id == worker_id)
        .values(
            state=state,
            draining=state == "draining",
            progress=json.dumps(progress),
            lease_until=lease_until,
        )
    )
    return kept.rowcount == 1


def cancels(connection: Connection, worker_id: str) -> set[str]:
    """The tokens of a worker's claims that somebody asked to cancel."""
    asked = select(task.c.claim_token).where(
        task.c.worker_id == worker_id,
        task.c.state == TaskState.RUNNING,
        task.c.cancel_requested.is_(True),
    )
    return set(connection.scalars(asked))


def reap(
    connection: Connection, now: float, dead: str = "", heard: Collection[str] = ()
) -> list[str]:
    """End the lease of the worker known to be dead, or where none is named those that are over.

    Not of the workers that were heard of lately: their lease is another clock's. Their tasks are
    queued again, or failed after the third attempt, or cancelled where that was asked; returns
    the workers' ids.
    """
    ended = or_(worker.c.lease_until < now, worker.c.lease_until > now + FAR_S)
    over = worker.c.id == dead if dead else ended & worker.c.id.not_in(heard)
    ids = list(connection.scalars(select(worker.c.id).where(over).order_by(worker.c.id)))
    # The rows go first: a late beat or claim waits for us and then finds that the lease is over.
    if ids:
        connection.execute(delete(worker).where(worker.c.id.in_(ids), over))
    known = select(worker.c.id).where(worker.c.id == task.c.worker_id).exists()
    held = select(task).where(task.c.state == TaskState.RUNNING, ~known).order_by(task.c.id)
    for row in connection.execute(held.with_for_update()).all():
        _reclaim(connection, row, now)
    return ids


def expire(connection: Connection, now: float, timeout_s: float, ahead_s: float = 0.0) -> int:
    """Fail the tasks that were accepted that long ago and are still queued; how many, of some.

    ahead_s  how far the clock has jumped forward since, which is no time that they have waited
    """
    latest = now - timeout_s - ahead_s
    old = select(task).where(task.c.state == TaskState.QUEUED, task.c.created_at < latest)
    rows = connection.execute(old.limit(EXPIRED_AT_ONCE).with_for_update(skip_locked=True)).all()
    drawn = _models_drawn(connection, now) if rows else set()
    for row in rows:
        late = TimedOut(f"Nobody drew this within {timeout_s:g} s; nothing was charged.")
        _end(connection, row, failure(late if row.model in drawn else ModelGone()), now)
    return len(rows)


def _models_drawn(connection: Connection, now: float) -> set[str]:
    """The models that the workers alive have said they draw with."""
    said = connection.scalars(select(worker.c.progress).where(worker.c.lease_until > now))
    return {json.loads(each).get("model", "") for each in said}


def _insert(connection: Connection, identity: str, submission: Submission, now: float) -> None:
    values = {
        "id": identity,
        "public_id": submission.public_id,
        "account_id": submission.account_id,
        "key_id": submission.key_id,
        "dialect": submission.dialect,
        "state": TaskState.QUEUED,
        "priority": PRIORITY,
        "model": submission.model,
        "compat": submission.compat,
        "cost": submission.cost,
        "not_before": 0.0,
        "attempt": 0,
        "cancel_requested": False,
        "request": dump_request(submission.request),
        "callback_url": submission.request.callback_url,
        "fields": json.dumps(submission.fields),
        "suffix": submission.suffix,
        "seed": submission.seed,
        "error": "",
        "error_message": "",
        "result": "{}",
        "created_at": now,
        "updated_at": now,
    }
    connection.execute(_INSERT, values)


def _enter_lane(connection: Connection, account_id: str) -> None:
    """One more is queued; a lane that was empty starts where the others are, not behind them."""
    start = connection.scalar(_START) or 0.0
    connection.execute(_ENTER_IDLE, {"account": account_id, "start": start})
    connection.execute(_ENTER, {"account": account_id})


def _head(connection: Connection, model: str, kind: str | None, now: float) -> Row[Any] | None:
    """The first task of the lane whose turn it is, locked; of one kind where a kind is given."""
    wanted = [
        task.c.state == TaskState.QUEUED,
        task.c.model == model,
        task.c.not_before <= now,
        *([] if kind is None else [task.c.compat == kind]),
    ]
    waits = select(task.c.id).where(task.c.account_id == lane.c.account_id, *wanted).exists()
    turns = select(lane.c.account_id).where(lane.c.queued > 0, _FREE, waits)
    turns = turns.order_by(lane.c.vtime, lane.c.account_id).limit(LANES_TRIED)
    for account_id in connection.scalars(turns).all():
        heads = select(task).where(task.c.account_id == account_id, *wanted)
        heads = heads.order_by(task.c.priority, task.c.id).limit(1)
        head = connection.execute(heads.with_for_update(skip_locked=True)).one_or_none()
        if head is not None and _take_turn(connection, account_id):
            return head
    return None


def _take_turn(connection: Connection, account_id: str) -> bool:
    """One turn of a lane; false where other workers took all that it may run at once."""
    taken = connection.execute(
        update(lane)
        .where(lane.c.account_id == account_id, _FREE)
        .values(
            queued=lane.c.queued - 1,
            running=lane.c.running + 1,
            vtime=lane.c.vtime + 1.0 / lane.c.weight,
        )
    )
    return taken.rowcount == 1


def _claim(connection: Connection, head: Row[Any], worker_id: str, now: float) -> Row[Any]:
    """The task in the worker's hands."""
    token = secrets.token_hex(16)
    connection.execute(
        update(task)
        .where(task.c.id == head.id)
        .values(
            state=TaskState.RUNNING,
            attempt=head.attempt + 1,
            worker_id=worker_id,
            claim_token=token,
            started_at=now,
            updated_at=now,
        )
    )
    return _row(connection, head.id)


def _end(connection: Connection, row: Row[Any], outcome: Outcome, now: float) -> None:
    """The one way a task ends: its state, its money, its file, its lane, its delivery."""
    succeeded = outcome.state == TaskState.SUCCEEDED
    connection.execute(
        update(task)
        .where(task.c.id == row.id)
        .values(
            state=outcome.state,
            worker_id=None,
            claim_token=None,
            error=outcome.error,
            error_message=outcome.error_message,
            result=json.dumps(outcome.result),
            updated_at=now,
            ended_at=now,
        )
    )
    money = ledger.settle if succeeded else ledger.release
    money(connection, row.account_id, row.id, row.cost, now)
    if succeeded:
        used = update(api_key).where(api_key.c.id == row.key_id)
        connection.execute(used.values(used=api_key.c.used + row.cost))
    if outcome.file is not None:
        files.add(connection, row.id, outcome.file)
    count = lane.c.queued if row.state == TaskState.QUEUED else lane.c.running
    leave = update(lane).where(lane.c.account_id == row.account_id)
    connection.execute(leave.values({count: count - 1}))
    if row.callback_url:
        _insert_delivery(connection, row, now)


def _insert_delivery(connection: Connection, row: Row[Any], now: float) -> None:
    connection.execute(
        insert(outbox).values(
            id=f"msg_{secrets.token_hex(12)}",
            task_id=row.id,
            account_id=row.account_id,
            public_id=row.public_id,
            dialect=row.dialect,
            url=row.callback_url,
            host=host_of(row.callback_url),
            state=DeliveryState.DUE,
            attempt=0,
            next_at=now,
            lease_until=0.0,
            created_at=now,
        )
    )


def _reclaim(connection: Connection, row: Row[Any], now: float) -> None:
    if row.cancel_requested:
        _end(connection, row, failure(Cancelled()), now)
    elif row.attempt >= ATTEMPTS_MAX:
        times = f"The engine stopped {row.attempt} times while it drew this; nothing was charged."
        _end(connection, row, failure(EngineLost(times)), now)
    else:
        _requeue(connection, row, row.attempt, now)


def _requeue(connection: Connection, row: Row[Any], attempt: int, now: float) -> None:
    connection.execute(
        update(task)
        .where(task.c.id == row.id)
        .values(
            state=TaskState.QUEUED,
            attempt=attempt,
            worker_id=None,
            claim_token=None,
            started_at=None,
            updated_at=now,
        )
    )
    connection.execute(
        update(lane)
        .where(lane.c.account_id == row.account_id)
        .values(queued=lane.c.queued + 1, running=lane.c.running - 1)
    )


def _locked(connection: Connection, held: Claim) -> Row[Any] | None:
    """The claimed task, locked; None where the claim is void."""
    mine = (
        task.c.id == held.task.id,
        task.c.state == TaskState.RUNNING,
        task.c.claim_token == held.token,
    )
    return connection.execute(select(task).where(*mine).with_for_update()).one_or_none()


def _row(connection: Connection, identity: str) -> Row[Any]:
    return connection.execute(_BY_ID, {"identity": identity}).one()
