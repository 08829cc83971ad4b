"""What happened over time, in equal steps: for plots. Each query goes through its time alone.

By the tables as they are: tasks that were purged are in none of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    case,
    func,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from zing.store.schema import task
from zing.store.tasks import id_at
from zing.task import MICRO, TaskState

POINTS_MAX = 1000
ENDS = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)
OPEN = (TaskState.QUEUED, TaskState.RUNNING)

Values = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """From one time until another (UTC seconds, the second not in it) in steps of seconds."""

    start: float
    until: float
    step: float

    @property
    def count(self) -> int:
        """How many steps there are; the last one may be shorter."""
        return math.ceil((self.until - self.start) / self.step)


class whole(GenericFunction[int]):
    """A number that is not negative without its fraction."""

    type = BigInteger()
    inherit_cache = True


@compiles(whole)
def _floor(element: whole, compiler: SQLCompiler, **words: Any) -> str:
    return f"CAST(FLOOR({compiler.process(element.clauses, **words)}) AS BIGINT)"


@compiles(whole, "sqlite")
def _cast(element: whole, compiler: SQLCompiler, **words: Any) -> str:
    """SQLite has FLOOR only where it was built so; its CAST leaves the fraction out."""
    return f"CAST({compiler.process(element.clauses, **words)} AS INTEGER)"


def read(connection: Connection, name: str, span: Span) -> list[Values]:
    """The values of each step of a series, in their order."""
    return SERIES[name](connection, span)


def _tasks_ended(connection: Connection, span: Span) -> list[Values]:
    """How many tasks ended, by the state in which they did."""
    points: list[Values] = [{str(state): 0 for state in ENDS} for _ in range(span.count)]
    ended = _ended(span, ENDS, task.c.state)
    query = select(ended.c.step, ended.c.state, func.count().label("tasks"))
    for row in connection.execute(query.group_by(ended.c.step, ended.c.state)):
        points[row.step][row.state] += row.tasks
    return points


def _tasks_accepted(connection: Connection, span: Span) -> list[Values]:
    """How many tasks were accepted."""
    points = [0] * span.count
    # Ids begin with the time of the accept, so that their index finds it.
    within = (task.c.id >= id_at(span.start), task.c.id < id_at(span.until + 0.001))
    query = select(_step(task.c.created_at, span)).where(*within)
    accepted = query.where(*_within(task.c.created_at, span)).subquery()
    _count(connection, accepted, points)
    return [{"tasks": each} for each in points]


def _seconds(connection: Connection, span: Span) -> list[Values]:
    """Of tasks that succeeded: mean seconds that they waited and were drawn; null without one."""
    waited = (task.c.started_at - task.c.created_at).label("queued")
    drawn = (task.c.ended_at - task.c.started_at).label("drawn")
    ended = _ended(span, (TaskState.SUCCEEDED,), waited, drawn)
    sums = (func.sum(ended.c.queued).label("queued"), func.sum(ended.c.drawn).label("drawn"))
    found = _summed(connection, ended, span, func.count(ended.c.drawn).label("tasks"), *sums)
    return [
        {
            "queued": max(0.0, float(row.queued)) / row.tasks if row and row.tasks else None,
            "drawn": max(0.0, float(row.drawn)) / row.tasks if row and row.tasks else None,
        }
        for row in found
    ]


def _credits(connection: Connection, span: Span) -> list[Values]:
    """What tasks that succeeded were charged."""
    ended = _ended(span, (TaskState.SUCCEEDED,), task.c.cost)
    found = _summed(connection, ended, span, func.sum(ended.c.cost).label("micro"))
    sums = [int(row.micro) if row else 0 for row in found]
    return [{"credits": micro / MICRO, "credits_micro": micro} for micro in sums]


def _queue(connection: Connection, span: Span) -> list[Values]:
    """How many tasks waited at the end of each step.

    A task that was queued again by a worker's death counts as taken when it was taken last.
    """
    taken = func.coalesce(task.c.started_at, task.c.ended_at)
    # A clock that was set back meanwhile would let it go before it came.
    gone = case((taken < task.c.created_at, task.c.created_at), else_=taken).label("gone")
    columns = (task.c.created_at, gone)
    still = select(*columns).where(task.c.state.in_(OPEN))
    since = select(*columns).where(task.c.state.in_(ENDS), task.c.ended_at >= span.start)
    seen = union_all(still, since).subquery()
    before = select(func.count()).where(
        seen.c.created_at < span.start, seen.c.gone.is_(None) | (seen.c.gone >= span.start)
    )
    came, went = [0] * span.count, [0] * span.count
    for column, counts in ((seen.c.created_at, came), (seen.c.gone, went)):
        moved = select(_step(column, span)).where(*_within(column, span)).subquery()
        _count(connection, moved, counts)
    waiting = int(connection.scalar(before) or 0)
    points = []
    for more, less in zip(came, went, strict=True):
        waiting += more - less
        points.append({"queued": waiting})
    return points


SERIES: dict[str, Callable[[Connection, Span], list[Values]]] = {
    "tasks_accepted": _tasks_accepted,
    "tasks_ended": _tasks_ended,
    "seconds": _seconds,
    "credits": _credits,
    "queue": _queue,
}


def _step(column: ColumnElement[Any], span: Span) -> ColumnElement[int]:
    """The number of the step that a time is in; rounding may lead one too far."""
    number = whole((column - span.start) / span.step)
    return case((number >= span.count, span.count - 1), else_=number).label("step")


def _within(column: ColumnElement[Any], span: Span) -> tuple[ColumnElement[bool], ...]:
    return column >= span.start, column < span.until


def _ended(span: Span, states: Sequence[TaskState], *columns: ColumnElement[Any]) -> Subquery:
    """The tasks that ended in the time, each with its step; found by an index."""
    query = select(_step(task.c.ended_at, span), *columns)
    return query.where(task.c.state.in_(states), *_within(task.c.ended_at, span)).subquery()


def _count(connection: Connection, rows: Subquery, counts: list[int]) -> None:
    query: Select[Any] = select(rows.c.step, func.count().label("tasks")).group_by(rows.c.step)
    for row in connection.execute(query):
        counts[row.step] += row.tasks


def _summed(
    connection: Connection, rows: Subquery, span: Span, *sums: ColumnElement[Any]
) -> list[Row[Any] | None]:
    """Each step's sums; None where it has no row."""
    query = select(rows.c.step, *sums).group_by(rows.c.step)
    found = {row.step: row for row in connection.execute(query)}
    return [found.get(number) for number in range(span.count)]
