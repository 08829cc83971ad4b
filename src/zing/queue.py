"""The life of a task in the database: accept, claim, settle, reap, cancel, each one transaction.

Accepting, claiming and settling take a set and need as many statements for it as for one: a
durable commit and a round trip cost the same for both. Rows are locked in the order task,
account, key, lane, each by its id; where two transactions still wait for each other, the database
ends one, and it is done again. Each function runs inside `Store.write` and takes the time as `now`.
"""

import json
import math
import secrets
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    String,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from zing import keys, ledger, logs
from zing.egress import host_of
from zing.errors import (
    Cancelled,
    EngineLost,
    InsufficientCredits,
    ModelGone,
    NotCancellable,
    QueueFull,
    Refused,
    TimedOut,
    UnknownTask,
    Unreadable,
    ZingError,
)
from zing.ledger import Kind, Move
from zing.limits import USUAL, Admission, Ask, Quota, Rules
from zing.store import files, switches
from zing.store.files import File
from zing.store.schema import api_key, lane, outbox, task, worker
from zing.store.tasks import dump_request, id_at, to_task
from zing.task import DeliveryState, Ended, ImageRequest, Task, TaskState

ATTEMPTS_MAX = 3
NEAR = 2000  # tasks; more than a few replicas accept before they see each other's
LANES_TRIED = 20  # where other workers have locked the first ones' tasks
KIND_WITHIN = 32  # so many tasks of a lane are looked at for those of a claim's kind
EXPIRED_AT_ONCE = 100
# No lease of a right clock ends this far ahead: the clock was set back since it was written.
FAR_S = 120.0
PRIORITY = 100  # lower is served first

_FREE = or_(lane.c.max_running.is_(None), lane.c.running < lane.c.max_running)

# Built once: for each accept they would take longer to build than to run.
_WAITING = select(func.sum(lane.c.queued))
_ONE_BY_ONE = select(func.pg_advisory_xact_lock(2053730920))
_INSERT = insert(task)
_BY_IDS = (
    select(task)
    .where(task.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(task.c.id)
    .with_for_update()
)
# Where the lanes are: at the first one that waits, and no less than where a turn was taken lately,
# for a lane that waits and cannot be served stays behind.
_LATELY = (
    select(lane.c.vtime, lane.c.weight).order_by(lane.c.vtime.desc()).limit(LANES_TRIED).subquery()
)
_STARTS = union_all(
    select(func.min(lane.c.vtime).label("vtime")).where(lane.c.queued > 0),
    select(func.max(_LATELY.c.vtime - 1.0 / _LATELY.c.weight)),
    select(func.max(lane.c.vtime)).where(
        ~select(lane.c.account_id).where(lane.c.queued > 0).exists()
    ),
).subquery()
_START = select(func.max(_STARTS.c.vtime))
_MINE = lane.c.account_id == bindparam("account")
# A lane that was empty starts where the others are, not behind them.
_ENTER = (
    update(lane)
    .where(_MINE)
    .values(
        queued=lane.c.queued + bindparam("more"),
        vtime=case(
            ((lane.c.queued == 0) & (lane.c.vtime < bindparam("start")), bindparam("start")),
            else_=lane.c.vtime,
        ),
    )
)
_LEAVE = (
    update(lane)
    .where(_MINE)
    .values(
        queued=lane.c.queued - bindparam("waited"),
        running=lane.c.running - bindparam("ran"),
    )
)
_TAKE_TURNS = (
    update(lane)
    .where(
        _MINE,
        or_(
            lane.c.max_running.is_(None),
            lane.c.running + bindparam("turns") <= lane.c.max_running,
        ),
    )
    .values(
        queued=lane.c.queued - bindparam("turns"),
        running=lane.c.running + bindparam("turns"),
        vtime=lane.c.vtime + bindparam("passed"),
    )
)
_QUEUED = (
    task.c.state == TaskState.QUEUED,
    task.c.model == bindparam("model"),
    task.c.not_before <= bindparam("now"),
)
_HEAD = (
    select(task.c.id)
    .where(task.c.account_id == lane.c.account_id, *_QUEUED)
    .order_by(task.c.priority, task.c.id)
    .limit(1)
    .scalar_subquery()
)
_TURNS = (
    select(lane.c.account_id, lane.c.vtime, lane.c.weight, lane.c.running, lane.c.max_running)
    .add_columns(_HEAD.label("head"))
    .where(lane.c.queued > 0, _FREE, _HEAD.is_not(None))
    .order_by(lane.c.vtime, lane.c.account_id)
    .limit(LANES_TRIED)
)
_LOCK_QUEUED = (
    select(task.c.id, task.c.account_id, task.c.compat)
    .where(task.c.id.in_(bindparam("ids", expanding=True)), task.c.state == TaskState.QUEUED)
    .order_by(task.c.id)
    .with_for_update(skip_locked=True)
)
_CLAIMED = (
    update(task)
    .where(task.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        state=TaskState.RUNNING,
        attempt=task.c.attempt + 1,
        worker_id=bindparam("worker"),
        # One for each: the same random half, and the task's own.
        claim_token=bindparam("token", type_=String) + func.substr(task.c.id, 13, 16),
        started_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
    .returning(task)
)
_ENDED = (
    update(task)
    .where(task.c.id == bindparam("identity"))
    .values(
        state=bindparam("end"),
        worker_id=None,
        claim_token=None,
        error=bindparam("why"),
        error_message=bindparam("why_message"),
        result=bindparam("outcome"),
        updated_at=bindparam("now"),
        ended_at=bindparam("now"),
    )
)
# What came of nothing is given back to the day's cap, where it is still that day.
_SPENT = (
    update(api_key)
    .where(api_key.c.id == bindparam("key"))
    .values(
        held=api_key.c.held - bindparam("cost"),
        used=api_key.c.used + bindparam("spent"),
        day_spent=case(
            (api_key.c.day != bindparam("accepted"), api_key.c.day_spent),
            # A clock that was set back over midnight began the day's count anew.
            (api_key.c.day_spent < bindparam("back"), 0),
            else_=api_key.c.day_spent - bindparam("back"),
        ),
    )
)
_DELIVERY = insert(outbox)


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

    @property
    def ask(self) -> Ask:
        """What it is measured by."""
        return Ask(self.account_id, self.key_id, self.dialect, self.model, self.cost)


@dataclass(frozen=True)
class Accepted:
    """A new task, and the rate that it was counted by, where there is one."""

    task: Task
    quota: Quota | None


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


@dataclass(frozen=True)
class Reaped:
    """What a reap did: the workers that are gone, and of their tasks those that ended by it."""

    workers: list[str]
    ended: list[Ended]


def failure(error: ZingError) -> Outcome:
    """The outcome of a task that ended with this error."""
    state = TaskState.CANCELLED if isinstance(error, Cancelled) else TaskState.FAILED
    return Outcome(state, type(error).__name__, str(error))


def task_id(now: float) -> str:
    """A new id; ids sort by time."""
    return f"{id_at(now)}{secrets.token_hex(8)}"


def accept(
    connection: Connection, submissions: Sequence[Submission], now: float, rules: Rules = USUAL
) -> list[Accepted | Refused]:
    """For each the queued task, its price held, or why it is refused, in their order.

    InsufficientCredits, what limits say, QueueFull, or Unavailable or SwitchedOff where the
    operator takes no new tasks. A request that safety refuses is accepted, ended and released at
    once.
    """
    ids = sorted(task_id(now) for _ in submissions)
    wanted = dict(zip(ids, submissions, strict=True))
    refused: Mapping[str, Refused] = _closed(connection, wanted, rules.queue_max)
    asked = {identity: each for identity, each in wanted.items() if identity not in refused}
    quotas, denied = _admit(connection, asked, rules, now)
    accepted = {identity: wanted[identity] for identity in quotas}
    queued = _insert(connection, accepted, now) | _block(connection, accepted, now)
    taken = {each: Accepted(queued[each], quota) for each, quota in quotas.items()}
    outcomes: Mapping[str, Accepted | Refused] = {**refused, **denied, **taken}
    return [outcomes[identity] for identity in wanted]


def check_open(connection: Connection, ask: Ask, now: float, rules: Rules = USUAL) -> None:
    """Raise why a request would be refused now: for whoever has work to do before accepting."""
    switches.check(connection, ask.dialect)
    if _waiting(connection) >= rules.queue_max:
        raise QueueFull(retry_after_s=10)
    available = ledger.balance(connection, ask.account_id).available
    why = _refusal(Admission(connection, [ask], rules, now), ask, available)
    if why is not None:
        raise why


def claim(
    connection: Connection, worker_id: str, model: str, count: int, now: float
) -> list[Claim]:
    """Up to `count` tasks for a model, of one compatibility class, from the lanes whose turn it is.

    None for a worker whose lease is over: nobody would notice if it died.
    """
    alive = select(worker.c.id).where(worker.c.id == worker_id, worker.c.lease_until > now)
    if connection.scalar(alive.with_for_update()) is None:
        return []
    chosen = _take_turns(connection, _choose(connection, model, count, now))
    claimed = {"ids": chosen, "worker": worker_id, "token": secrets.token_hex(8), "now": now}
    rows = {row.id: row for row in connection.execute(_CLAIMED, claimed)} if chosen else {}
    claims, unreadable = [], []
    for row in (rows[identity] for identity in chosen):
        try:
            claims.append(Claim(to_task(row), row.claim_token, row.suffix))
        except (RecursionError, TypeError, ValueError):
            # One row that this version cannot read must not stop all others.
            unreadable.append((row, failure(Unreadable())))
    for each in _end(connection, unreadable, now):
        logs.tell_end(each)
    return claims


def settle(
    connection: Connection, ends: Sequence[tuple[Claim, Outcome]], now: float
) -> list[Ended | None]:
    """End claimed tasks, and how each did; None for one whose claim is void: nothing changes.

    A task that was asked to be cancelled is, also where its picture came just after.
    """
    rows = _locked(connection, [held for held, _ in ends])
    cancelled = failure(Cancelled())
    mine = [(rows[held.task.id], outcome) for held, outcome in ends if held.task.id in rows]
    mine = [(row, cancelled if row.cancel_requested else outcome) for row, outcome in mine]
    ended = dict(zip([row.id for row, _ in mine], _end(connection, mine, now), strict=True))
    return [ended.get(held.task.id) for held, _ in ends]


def give_back(connection: Connection, held: Claim, now: float) -> Ended | bool:
    """Queue a claimed task again as if it had not been claimed; False where the claim is void.

    A task that was asked to be cancelled ends: how it did.
    """
    row = _locked(connection, [held]).get(held.task.id)
    if row is None:
        return False
    if row.cancel_requested:
        return _end(connection, [(row, failure(Cancelled()))], now)[0]
    _requeue(connection, row, row.attempt - 1, now)
    return True


def disown(
    connection: Connection, worker_id: str, held: Collection[str], now: float
) -> list[Ended]:
    """Queue again what a worker was given and never got: a claim was durable, its answer lost.

    held  the tokens of the claims that it knows of. A task that was asked to be cancelled ends.
    """
    given = select(task).where(task.c.worker_id == worker_id, task.c.state == TaskState.RUNNING)
    lost = given.where(task.c.claim_token.not_in(held)).order_by(task.c.id)
    ended = []
    for row in connection.execute(lost.with_for_update()).all():
        if row.cancel_requested:
            ended += _end(connection, [(row, failure(Cancelled()))], now)
        else:
            _requeue(connection, row, row.attempt - 1, now)
    return ended


def cancel(
    connection: Connection, public_id: str, account_id: str | None, now: float
) -> Ended | None:
    """End a queued task, and how it did; ask for a running one to be stopped.

    Raises UnknownTask, and NotCancellable where it has ended. Asking twice is asking once.
    """
    query = select(task).where(task.c.public_id == public_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None or account_id not in (None, row.account_id):
        raise UnknownTask
    if TaskState(row.state).ended:
        raise NotCancellable
    if row.state == TaskState.QUEUED:
        return _end(connection, [(row, failure(Cancelled()))], now)[0]
    asked = update(task).where(task.c.id == row.id)
    connection.execute(asked.values(cancel_requested=True, updated_at=now))
    return None


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


def reap(connection: Connection, now: float, dead: str = "", heard: Collection[str] = ()) -> Reaped:
    """End the lease of the worker known to be dead, or where none is named those that are over.

    Not of the workers that were heard of lately: their lease is another clock's. Their tasks are
    queued again, or failed after the third attempt, or cancelled where that was asked.
    """
    ended = or_(worker.c.lease_until < now, worker.c.lease_until > now + FAR_S)
    over = worker.c.id == dead if dead else ended & worker.c.id.not_in(heard)
    ids = list(connection.scalars(select(worker.c.id).where(over).order_by(worker.c.id)))
    # The rows go first: a late beat or claim waits for us and then finds that the lease is over.
    if ids:
        connection.execute(delete(worker).where(worker.c.id.in_(ids), over))
    known = select(worker.c.id).where(worker.c.id == task.c.worker_id).exists()
    held = select(task).where(task.c.state == TaskState.RUNNING, ~known).order_by(task.c.id)
    rows = connection.execute(held.with_for_update()).all()
    ends = [_reclaim(connection, row, now) for row in rows]
    return Reaped(ids, [each for each in ends if each is not None])


def expire(
    connection: Connection, now: float, timeout_s: float, ahead_s: float = 0.0
) -> list[Ended]:
    """Fail the tasks that were accepted that long ago and are still queued: some of them.

    ahead_s  how far the clock has jumped forward since, which is no time that they have waited
    """
    latest = now - timeout_s - ahead_s
    old = select(task).where(task.c.state == TaskState.QUEUED, task.c.created_at < latest)
    rows = connection.execute(old.limit(EXPIRED_AT_ONCE).with_for_update(skip_locked=True)).all()
    drawn = _models_drawn(connection, now) if rows else set()
    late = TimedOut(f"Nobody drew this within {timeout_s:g} s; nothing was charged.")
    ends = [(row, failure(late if row.model in drawn else ModelGone())) for row in rows]
    return _end(connection, ends, now)


def _models_drawn(connection: Connection, now: float) -> set[str]:
    """The models that the workers alive have said they draw with."""
    said = connection.scalars(select(worker.c.progress).where(worker.c.lease_until > now))
    return {json.loads(each).get("model", "") for each in said}


def _closed(
    connection: Connection, wanted: Mapping[str, Submission], queue_max: int
) -> dict[str, Refused]:
    """Which of these tasks are not taken whoever asks, and why: switches, then a full queue."""
    switched = switches.list_switches(connection)
    found = {
        identity: switches.refusal(switched, each.dialect) for identity, each in wanted.items()
    }
    refused = {identity: why for identity, why in found.items() if why is not None}
    room = _room(connection, queue_max)
    beyond = [identity for identity in wanted if identity not in refused][room:]
    return refused | {identity: QueueFull(retry_after_s=10) for identity in beyond}


def _admit(
    connection: Connection, asked: Mapping[str, Submission], rules: Rules, now: float
) -> tuple[dict[str, Quota | None], dict[str, Refused]]:
    """Which of these tasks limits and credits allow, their prices held, and why others are not."""
    if not asked:
        return {}, {}
    asks = {identity: each.ask for identity, each in asked.items()}
    available = ledger.lock(connection, {ask.account_id for ask in asks.values()})
    admission = Admission(connection, asks.values(), rules, now)
    taken: dict[str, Quota | None] = {}
    denied: dict[str, Refused] = {}
    for identity, ask in asks.items():
        why = _refusal(admission, ask, available.get(ask.account_id, -1))
        if why is not None:
            denied[identity] = why
            continue
        available[ask.account_id] -= ask.cost
        taken[identity] = admission.take(ask)
    holds = [Move(asks[each].account_id, Kind.HOLD, asks[each].cost, each) for each in taken]
    ledger.move(connection, holds, now)
    admission.save(connection)
    return taken, denied


def _refusal(admission: Admission, ask: Ask, available: int) -> Refused | None:
    short = InsufficientCredits() if available < ask.cost else None
    return admission.refusal(ask) or short


def _room(connection: Connection, queue_max: int) -> int:
    """How many more may wait. Near the end of it replicas count one after the other."""
    waiting = _waiting(connection)
    if waiting > queue_max - NEAR and connection.dialect.name == "postgresql":
        connection.execute(_ONE_BY_ONE)
        waiting = _waiting(connection)
    return max(0, queue_max - waiting)


def _waiting(connection: Connection) -> int:
    return int(connection.scalar(_WAITING) or 0)


def _insert(
    connection: Connection, accepted: Mapping[str, Submission], now: float
) -> dict[str, Task]:
    """The tasks, kept and in their lanes, by their ids."""
    if not accepted:
        return {}
    rows = [_values(identity, each, now) for identity, each in accepted.items()]
    connection.execute(_INSERT, rows)
    start = connection.scalar(_START) or 0.0
    more = Counter(each.account_id for each in accepted.values())
    lanes = [{"account": each, "more": more[each], "start": start} for each in sorted(more)]
    connection.execute(_ENTER, lanes)
    return {identity: _task(identity, each, now) for identity, each in accepted.items()}


def _values(identity: str, submission: Submission, now: float) -> dict[str, Any]:
    return {
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


def _task(identity: str, submission: Submission, now: float) -> Task:
    """The queued task that these values are; reading it back would be a statement more."""
    return Task(
        id=identity,
        public_id=submission.public_id,
        account_id=submission.account_id,
        dialect=submission.dialect,
        state=TaskState.QUEUED,
        request=submission.request,
        fields=submission.fields,
        seed=submission.seed,
        cost=submission.cost,
        created_at=now,
        updated_at=now,
    )


def _block(
    connection: Connection, accepted: Mapping[str, Submission], now: float
) -> dict[str, Task]:
    """End those of the accepted tasks that safety refuses: these, ended, by their ids."""
    why = {identity: each.refused for identity, each in accepted.items() if each.refused}
    if not why:
        return {}
    rows = _rows(connection, list(why))
    _end(connection, [(row, failure(why[row.id])) for row in rows], now)
    return {row.id: to_task(row) for row in _rows(connection, list(why))}


def _choose(
    connection: Connection, model: str, count: int, now: float
) -> list[tuple[Row[Any], str]]:
    """The next tasks for a model, of one kind, locked, each with its lane."""
    queued = {"model": model, "now": now}
    lanes = connection.execute(_TURNS, queued).all()
    heads = (_lock(connection, [each.head]) for each in lanes)
    head = next((found[0] for found in heads if found), None)
    if head is None:
        return []
    waiting = {head.account_id: [head.id]}
    if count > 1:
        accounts = {f"account_{n}": each.account_id for n, each in enumerate(lanes)}
        of_kind = {"kind": head.compat, "count": count, **accounts, **queued}
        rows = connection.execute(_of_kind(len(lanes)), of_kind)
        for row in sorted(rows, key=lambda each: (each.priority, each.id)):
            if row.id != head.id:
                waiting.setdefault(row.account_id, []).append(row.id)
    chosen = _in_turn(lanes, waiting, head.account_id, count)
    rest = [identity for _, identity in chosen[1:]]
    locked = {head.id} | {row.id for row in (_lock(connection, rest) if rest else ())}
    return [(each, identity) for each, identity in chosen if identity in locked]


def _lock(connection: Connection, ids: list[str]) -> Sequence[Any]:
    """Those of these tasks that are queued and nobody else's, locked."""
    return connection.execute(_LOCK_QUEUED, {"ids": ids}).all()


@cache
def _of_kind(lanes: int) -> Select[Any]:
    """The first tasks of a kind in so many lanes."""
    each = []
    for number in range(lanes):
        mine = task.c.account_id == bindparam(f"account_{number}")
        front = select(task.c.id, task.c.account_id, task.c.compat, task.c.priority)
        front = front.where(mine, *_QUEUED).order_by(task.c.priority, task.c.id)
        first = front.limit(KIND_WITHIN).subquery()
        kind = select(first).where(first.c.compat == bindparam("kind"))
        kind = kind.order_by(first.c.priority, first.c.id).limit(bindparam("count"))
        each.append(select(kind.subquery()))
    return select(union_all(*each).subquery())


def _in_turn(
    lanes: Sequence[Row[Any]], waiting: Mapping[str, list[str]], first: str, count: int
) -> list[tuple[Row[Any], str]]:
    """Which of the waiting tasks are next, as if each lane took one turn after the other."""
    vtimes = {each.account_id: each.vtime for each in lanes}
    vtimes[first] = -math.inf  # its head is locked already
    rooms = {
        each.account_id: min(
            len(waiting.get(each.account_id, ())),
            math.inf if each.max_running is None else each.max_running - each.running,
        )
        for each in lanes
    }
    taken: Counter[str] = Counter()
    chosen: list[tuple[Row[Any], str]] = []
    while len(chosen) < count:
        able = [each for each in lanes if taken[each.account_id] < rooms[each.account_id]]
        if not able:
            break
        turn = min(able, key=lambda each: (vtimes[each.account_id], each.account_id))
        chosen.append((turn, waiting[turn.account_id][taken[turn.account_id]]))
        taken[turn.account_id] += 1
        vtimes[turn.account_id] = turn.vtime + taken[turn.account_id] / turn.weight
    return chosen


def _take_turns(connection: Connection, chosen: Sequence[tuple[Row[Any], str]]) -> list[str]:
    """The ids of the chosen tasks, without those of a lane whose room others took meanwhile."""
    lanes = {each.account_id: each for each, _ in chosen}
    turns = Counter(each.account_id for each, _ in chosen)
    taken = set()
    for account_id in sorted(turns):
        count = turns[account_id]
        step = {"account": account_id, "turns": count, "passed": count / lanes[account_id].weight}
        if connection.execute(_TAKE_TURNS, step).rowcount == 1:
            taken.add(account_id)
    return [identity for each, identity in chosen if each.account_id in taken]


def _end(
    connection: Connection, ends: Sequence[tuple[Row[Any], Outcome]], now: float
) -> list[Ended]:
    """The one way tasks end: their state, money, files, lanes and deliveries; how each did."""
    if not ends:
        return []
    connection.execute(_ENDED, [_ended(row, outcome, now) for row, outcome in ends])
    rows = [row for row, _ in ends]
    spent = {row.id for row, outcome in ends if outcome.state == TaskState.SUCCEEDED}
    moves = [
        Move(row.account_id, Kind.SETTLE if row.id in spent else Kind.RELEASE, row.cost, row.id)
        for row in rows
    ]
    ledger.move(connection, moves, now)
    _free_keys(connection, rows, spent)
    files.add(connection, [(row.id, outcome.file) for row, outcome in ends if outcome.file])
    _leave_lanes(connection, rows)
    owed = [_delivery(row, now) for row in rows if row.callback_url]
    if owed:
        connection.execute(_DELIVERY, owed)
    return [Ended.of(row, row.compat, end.state, end.error, now) for row, end in ends]


def _ended(row: Row[Any], outcome: Outcome, now: float) -> dict[str, Any]:
    return {
        "identity": row.id,
        "end": outcome.state,
        "why": outcome.error,
        "why_message": outcome.error_message,
        "outcome": json.dumps(outcome.result),
        "now": now,
    }


def _free_keys(connection: Connection, rows: Sequence[Row[Any]], spent: Collection[str]) -> None:
    """What the keys of these tasks held is spent, or theirs again."""
    held: Counter[tuple[str, int]] = Counter()
    used: Counter[tuple[str, int]] = Counter()
    for row in rows:
        place = row.key_id, keys.day(row.created_at)
        held[place] += row.cost
        used[place] += row.cost if row.id in spent else 0
    freed = [
        {
            "key": key_id,
            "accepted": accepted,
            "cost": held[key_id, accepted],
            "spent": used[key_id, accepted],
            "back": held[key_id, accepted] - used[key_id, accepted],
        }
        for key_id, accepted in sorted(held)
    ]
    connection.execute(_SPENT, freed)


def _leave_lanes(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    waited = Counter(row.account_id for row in rows if row.state == TaskState.QUEUED)
    ran = Counter(row.account_id for row in rows if row.state != TaskState.QUEUED)
    lanes = [
        {"account": each, "waited": waited[each], "ran": ran[each]}
        for each in sorted(waited.keys() | ran.keys())
    ]
    connection.execute(_LEAVE, lanes)


def _delivery(row: Row[Any], now: float) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "task_id": row.id,
        "account_id": row.account_id,
        "public_id": row.public_id,
        "dialect": row.dialect,
        "url": row.callback_url,
        "host": host_of(row.callback_url),
        "state": DeliveryState.DUE,
        "attempt": 0,
        "next_at": now,
        "lease_until": 0.0,
        "created_at": now,
    }


def _reclaim(connection: Connection, row: Row[Any], now: float) -> Ended | None:
    if row.cancel_requested:
        return _end(connection, [(row, failure(Cancelled()))], now)[0]
    if row.attempt >= ATTEMPTS_MAX:
        times = f"The engine stopped {row.attempt} times while it drew this; nothing was charged."
        return _end(connection, [(row, failure(EngineLost(times)))], now)[0]
    _requeue(connection, row, row.attempt, now)
    return None


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


def _locked(connection: Connection, claims: Sequence[Claim]) -> dict[str, Row[Any]]:
    """The claimed tasks by their ids, locked; without those whose claim is void."""
    tokens = {held.task.id: held.token for held in claims}
    return {
        row.id: row
        for row in _rows(connection, list(tokens))
        if row.state == TaskState.RUNNING and row.claim_token == tokens[row.id]
    }


def _rows(connection: Connection, ids: list[str]) -> Sequence[Row[Any]]:
    return connection.execute(_BY_IDS, {"ids": ids}).all()
