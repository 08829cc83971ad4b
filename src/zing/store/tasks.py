"""Reading tasks: rows to nouns, look-ups, lists, and what was measured of those that ended."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    select,
    update,
)

from zing.errors import UnknownTask
from zing.store import files, outbox
from zing.store.files import File
from zing.store.schema import lane, task, worker
from zing.store.schema import outbox as callbacks
from zing.task import STEPS_DEFAULT, DeliveryState, ImageRequest, Listing, Task, TaskState

MEASURED = 20  # so many of the last pictures of a kind are the measure for the next


def _mean_seconds(*conditions: ColumnElement[bool]) -> Select[Any]:
    last = (
        select((task.c.ended_at - task.c.started_at).label("seconds"))
        .where(*conditions, task.c.state == TaskState.SUCCEEDED)
        # A clock that was set back meanwhile would make it less than nothing.
        .where(task.c.ended_at >= task.c.started_at)
        .order_by(task.c.ended_at.desc())
        .limit(MEASURED)
        .subquery()
    )
    return select(func.avg(last.c.seconds))


# A status is asked for often, and building a statement takes longer than the database does.
_TASKS = select(task).where(task.c.public_id.in_(bindparam("ids", expanding=True)))
_OPEN = select(func.sum(lane.c.queued + lane.c.running))
_READY = select(func.count()).where(
    worker.c.lease_until > bindparam("now"), worker.c.state == "ready"
)
_PROGRESS = (
    select(task.c.id, worker.c.progress)
    .join(worker, worker.c.id == task.c.worker_id)
    .where(task.c.id.in_(bindparam("ids", expanding=True)), task.c.state == TaskState.RUNNING)
)
_GLANCE = (
    select(task.c.id, task.c.public_id, task.c.account_id, task.c.state, task.c.attempt)
    .add_columns(task.c.request, worker.c.progress)
    .join(worker, worker.c.id == task.c.worker_id, isouter=True)
    .where(task.c.public_id.in_(bindparam("ids", expanding=True)))
)
_LANES = select(lane.c.account_id, lane.c.queued).where(lane.c.queued > 0)
_IN_LINE = (
    select(
        task.c.id,
        func.row_number()
        .over(partition_by=task.c.account_id, order_by=(task.c.priority, task.c.id))
        .label("number"),
    )
    .where(task.c.account_id.in_(bindparam("accounts", expanding=True)))
    .where(task.c.state == TaskState.QUEUED)
    .subquery()
)
_LINE = select(_IN_LINE).where(_IN_LINE.c.id.in_(bindparam("ids", expanding=True)))
_A_WORKER = select(worker.c.progress).where(worker.c.state == "ready").limit(1)
_ENDED = [state for state in TaskState if state.ended]
# How a request is kept whose words were forgotten; no prompt that was taken is empty.
_WORDLESS = '{"prompt": ""'
_MEAN_OF_KIND = _mean_seconds(task.c.compat == bindparam("kind"))
_MEAN = _mean_seconds()


@dataclass(frozen=True)
class Look:
    """What one look at a task reads, all of one moment.

    step, steps   how far its worker is; 0, 0 where it has not said
    waiting       tasks in front of it or beside it in the queue, itself not counted
    workers       live workers
    mean_s        seconds that pictures of its kind took lately; None where none was drawn
    """

    task: Task
    file: File | None
    step: int
    steps: int
    waiting: int
    workers: int
    mean_s: float | None


@dataclass(frozen=True)
class Search:
    """Which tasks an operator looks for; what is None or empty does not count.

    since, until  UTC seconds of their accept
    after         the id, not the public one, that the last one found before had
    """

    state: TaskState | None = None
    account_id: str = ""
    dialect: str = ""
    since: float | None = None
    until: float | None = None
    after: str = ""


@dataclass(frozen=True)
class Glance:
    """The little of a task that changes while it is waited for; see Moment."""

    state: TaskState
    attempt: int
    step: int
    steps: int
    place: int = 0
    preview: str = ""


def compat(model: str, request: ImageRequest) -> str:
    """The class of tasks that can be drawn in one batch."""
    return f"{model} {request.width}x{request.height} {request.steps}"


def dump_request(request: ImageRequest) -> str:
    """A request as it is kept."""
    return json.dumps(asdict(request))


def to_task(row: Row[Any]) -> Task:
    """The task in a row of its table."""
    return Task(
        id=row.id,
        public_id=row.public_id,
        account_id=row.account_id,
        dialect=row.dialect,
        state=TaskState(row.state),
        request=ImageRequest(**json.loads(row.request)),
        fields=json.loads(row.fields),
        seed=row.seed,
        cost=row.cost,
        created_at=row.created_at,
        updated_at=row.updated_at,
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error,
        error_message=row.error_message,
        result=json.loads(row.result),
    )


def find(connection: Connection, public_id: str, account_id: str | None) -> Task:
    """The task of this id; raises UnknownTask, also for a task of another account than the one
    named. An operator names none.
    """
    row = connection.execute(_TASKS, {"ids": [public_id]}).one_or_none()
    if row is None or account_id not in (None, row.account_id):
        raise UnknownTask
    return to_task(row)


def look(
    connection: Connection, asked: Sequence[tuple[str, str | None]], now: float
) -> list[Look | UnknownTask]:
    """For each id, with the account that asks, all that showing the task needs; see `find`."""
    ids = sorted({public_id for public_id, _ in asked})
    rows = {row.public_id: row for row in connection.execute(_TASKS, {"ids": ids})}
    looks = looks_at(connection, [(to_task(row), row.compat) for row in rows.values()], now)
    found = {each.task.public_id: each for each in looks}
    return [
        found[public_id]
        if public_id in found and account_id in (None, rows[public_id].account_id)
        else UnknownTask()
        for public_id, account_id in asked
    ]


def looks_at(connection: Connection, found: Sequence[tuple[Task, str]], now: float) -> list[Look]:
    """What showing these tasks needs beside them, each given with its compatibility class."""
    pictures = files.find(connection, [each.id for each, _ in found if each.state.ended])
    steps = _steps(connection, [each.id for each, _ in found if each.state == TaskState.RUNNING])
    kinds = {kind for each, kind in found if not each.state.ended}
    means = _means(connection, kinds)
    waiting, workers = queue_state(connection, now) if kinds else (0, 0)
    return [
        Look(each, pictures.get(each.id), 0, 0, 0, 0, None)
        if each.state.ended
        else Look(
            each,
            None,
            *steps.get(each.id, (0, 0)),
            waiting=max(0, waiting - 1),
            workers=workers,
            mean_s=means[kind],
        )
        for each, kind in found
    ]


def glance(connection: Connection, public_ids: Sequence[str]) -> dict[str, Glance]:
    """What of these tasks changes while they are waited for, by their ids."""
    rows = connection.execute(_GLANCE, {"ids": public_ids}).all()
    queued = {row.id: row.account_id for row in rows if row.state == TaskState.QUEUED}
    places = _places(connection, queued) if queued else {}
    return {row.public_id: _glance(row, places.get(row.id, 0)) for row in rows}


def _glance(row: Row[Any], place: int) -> Glance:
    state = TaskState(row.state)
    said = json.loads(row.progress or "{}").get(row.id) if state is TaskState.RUNNING else None
    step, steps, *preview = said or (0, json.loads(row.request).get("steps", STEPS_DEFAULT))
    return Glance(state, row.attempt, step, steps, place, *preview)


def _places(connection: Connection, queued: Mapping[str, str]) -> dict[str, int]:
    """How many tasks are drawn before each of these queued ones, given with their accounts.

    As lanes take turns, those of its own before it and as many of each other lane. An estimate:
    weights, and those who come later, are not counted.
    """
    lanes = {row.account_id: row.queued for row in connection.execute(_LANES)}
    line = {"accounts": sorted(set(queued.values())), "ids": list(queued)}
    before = {row.id: row.number - 1 for row in connection.execute(_LINE, line)}
    of_all = {n: sum(min(each, n) for each in lanes.values()) for n in set(before.values())}
    own = {each: min(lanes[account_id], before[each]) for each, account_id in queued.items()}
    return {each: n + of_all[n] - own[each] for each, n in before.items()}


def queue_state(connection: Connection, now: float) -> tuple[int, int]:
    """How many tasks are queued or running, and how many workers are ready for them."""
    return open_tasks(connection), int(connection.scalar(_READY, {"now": now}) or 0)


def open_tasks(connection: Connection) -> int:
    """How many tasks are queued or running."""
    return int(connection.scalar(_OPEN) or 0)


def leases(connection: Connection) -> dict[str, float]:
    """The end of every worker's lease, by the worker's clock."""
    rows = connection.execute(select(worker.c.id, worker.c.lease_until))
    return {row.id: row.lease_until for row in rows}


def any_queued(connection: Connection) -> bool:
    """Whether a claim may find something; it is not told for sure, and costs no lock."""
    return connection.scalar(select(lane.c.account_id).where(lane.c.queued > 0)) is not None


def search(connection: Connection, wanted: Search, limit: int) -> list[Task]:
    """The newest tasks first, of those that are looked for."""
    query = select(task).where(*_wanted(wanted)).order_by(task.c.id.desc()).limit(limit)
    return [to_task(row) for row in connection.execute(query)]


def _wanted(wanted: Search) -> Iterator[ColumnElement[bool]]:
    if wanted.state is not None:
        yield task.c.state == wanted.state
    if wanted.account_id:
        yield task.c.account_id == wanted.account_id
    if wanted.dialect:
        yield task.c.dialect == wanted.dialect
    if wanted.since is not None:
        yield task.c.id >= id_at(wanted.since)
        yield task.c.created_at >= wanted.since
    if wanted.until is not None:
        yield task.c.id < id_at(wanted.until + 0.001)
        yield task.c.created_at < wanted.until
    if wanted.after:
        yield task.c.id < wanted.after


def id_at(seconds: float) -> str:
    """What the ids of tasks accepted at a time begin with: so a time is found by them."""
    return f"{int(seconds * 1000):012x}"


def page(
    connection: Connection, account_id: str, listing: Listing
) -> tuple[list[tuple[Task, tuple[int, int]]], int]:
    """The tasks of a page, each with the step and the steps of its worker, and how many in all."""
    mine = [task.c.account_id == account_id]
    if set(listing.states) != set(TaskState):  # without it the index alone can count
        mine.append(task.c.state.in_(listing.states))
    total = int(connection.scalar(select(func.count()).select_from(task).where(*mine)) or 0)
    rows = select(task).where(*mine).order_by(task.c.id.desc()).limit(listing.page_size)
    rows = rows.offset((listing.page - 1) * listing.page_size)
    found = [to_task(row) for row in connection.execute(rows)]
    steps = _steps(connection, [each.id for each in found if each.state == TaskState.RUNNING])
    return [(each, steps.get(each.id, (0, 0))) for each in found], total


def purge(connection: Connection, before: float, limit: int = 500) -> tuple[int, list[File]]:
    """Forget tasks that ended before a time, with files and callbacks; the ledger's entries stay.

    How many went, and the files whose bytes may go once this is durable.
    """
    old = select(task.c.id).where(task.c.ended_at < before).order_by(task.c.ended_at).limit(limit)
    ids = list(connection.scalars(old))
    gone = files.remove(connection, ids)
    outbox.remove(connection, ids)
    connection.execute(delete(task).where(task.c.id.in_(ids)))
    return len(ids), gone


def forget_prompts(connection: Connection, since: float, before: float, limit: int = 500) -> int:
    """Blank the words of tasks that ended in this time and whose callback, if any, has; how many.

    What was asked for in words, what it was extended to and which words were understood. The rest
    stays, and what a callback said is made anew where it is sent again.
    """
    told = select(callbacks.c.id).where(
        callbacks.c.task_id == task.c.id, callbacks.c.state == DeliveryState.DUE
    )
    query = select(task.c.id, task.c.request, task.c.result).where(
        task.c.state.in_(_ENDED),
        task.c.ended_at.between(since, before),
        task.c.request.not_like(f"{_WORDLESS}%"),
        ~told.exists(),
    )
    rows = connection.execute(query.limit(limit)).all()
    for row in rows:
        values = {"request": _wordless(row.request), "fields": "{}"}
        result = json.loads(row.result)
        if "understood" in result:
            values["result"] = json.dumps(result | {"understood": None})
        connection.execute(update(task).where(task.c.id == row.id).values(values))
    ids = [row.id for row in rows]
    connection.execute(update(callbacks).where(callbacks.c.task_id.in_(ids)).values(body=None))
    return len(rows)


def _wordless(request: str) -> str:
    """A kept request without its words; of one that cannot be read, nothing."""
    try:
        asked = json.loads(request)
        extended = None if asked.get("extended") is None else ""
        return json.dumps({"prompt": "", **asked} | {"prompt": "", "extended": extended})
    except (RecursionError, TypeError, ValueError, AttributeError):
        return _WORDLESS + "}"


def _steps(connection: Connection, running: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The step and the steps that the workers of running tasks have told, by the tasks' ids."""
    if not running:
        return {}
    rows = connection.execute(_PROGRESS, {"ids": running})
    told = {row.id: json.loads(row.progress).get(row.id) for row in rows}
    return {each: (said[0], said[1]) for each, said in told.items() if said}


def _means(connection: Connection, kinds: Iterable[str]) -> dict[str, float | None]:
    """For each kind the mean seconds of its last pictures, else of those of any kind."""
    means = {kind: connection.scalar(_MEAN_OF_KIND, {"kind": kind}) for kind in kinds}
    if None in means.values():
        other = connection.scalar(_MEAN)
        other = _pace(connection) if other is None else float(other)
        means = {kind: other if mean is None else mean for kind, mean in means.items()}
    return means


def _pace(connection: Connection) -> float | None:
    """Seconds that a worker's first picture took, drawn at its start."""
    said = connection.scalar(_A_WORKER)
    pace: float | None = json.loads(said or "{}").get("pace")
    return pace
