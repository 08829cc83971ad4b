"""How much there is to do and who does it: few statements, each by an index, for those who watch.

Nothing here goes through all tasks: a database that keeps a million must answer as fast.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from zing.store.schema import lane, outbox, task, worker
from zing.task import DeliveryState, TaskState

ENDS = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)

_QUEUED = select(func.sum(lane.c.queued)).where(lane.c.queued > 0)
_RUNNING = select(func.count()).where(task.c.state == TaskState.RUNNING)
# The head of a lane is found within its index, so that a long queue costs no more than a short one.
_HEAD = (
    select(task.c.id)
    .where(task.c.account_id == lane.c.account_id, task.c.state == TaskState.QUEUED)
    .order_by(task.c.priority, task.c.id)
    .limit(1)
    .scalar_subquery()
)
_HEADS = select(_HEAD.label("id")).where(lane.c.queued > 0).subquery()
_OLDEST = select(task.c.created_at).where(
    task.c.id == select(func.min(_HEADS.c.id)).scalar_subquery()
)
_WORKERS = select(worker.c.state, worker.c.progress).where(worker.c.lease_until > bindparam("now"))
_DUE = select(func.count()).where(outbox.c.state == DeliveryState.DUE)
_ENDED = (
    select(
        task.c.state,
        func.count().label("tasks"),
        func.sum(task.c.started_at - task.c.created_at).label("queued_s"),
        func.sum(task.c.ended_at - task.c.started_at).label("drawn_s"),
    )
    .where(
        task.c.state.in_(ENDS),
        task.c.ended_at > bindparam("after"),
        task.c.ended_at <= bindparam("until"),
    )
    .group_by(task.c.state)
)


@dataclass(frozen=True)
class Standing:
    """What is to be done, and who is there to do it.

    workers  the state of each that is alive, and whether it has its model in memory
    """

    queued: int
    running: int
    workers: list[tuple[str, bool]]


@dataclass(frozen=True)
class Ends:
    """The tasks that ended in one state in some time; seconds of those that a worker had."""

    tasks: int
    queued_s: float
    drawn_s: float


def standing(connection: Connection, now: float) -> Standing:
    """What is to be done, and who is there to do it."""
    workers = connection.execute(_WORKERS, {"now": now})
    return Standing(
        queued=int(connection.scalar(_QUEUED) or 0),
        running=int(connection.scalar(_RUNNING) or 0),
        workers=[(row.state, "model" in json.loads(row.progress)) for row in workers],
    )


def oldest_queued(connection: Connection) -> float | None:
    """When the task that waits longest at the head of a lane was accepted; None without one."""
    found = connection.scalar(_OLDEST)
    return None if found is None else float(found)


def callbacks_due(connection: Connection) -> int:
    """How many callbacks are still to be sent."""
    return int(connection.scalar(_DUE) or 0)


def ended(connection: Connection, after: float, until: float) -> dict[TaskState, Ends]:
    """The tasks that ended after one time and until another, by their states."""
    rows = connection.execute(_ENDED, {"after": after, "until": until})
    return {
        TaskState(row.state): Ends(row.tasks, float(row.queued_s or 0), float(row.drawn_s or 0))
        for row in rows
    }
