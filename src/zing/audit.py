"""What must hold at any moment, and what in a database breaks it: money, tasks, callbacks, files.

Each check is one statement that finds what is broken, by aggregates and joins along the indexes, so
that a million tasks are gone through and never loaded. It only reads, and all of it one moment, so
a service may run beside it. A worker that is silent is no finding: with the service stopped that is
as it must be.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from obstore.exceptions import BaseError
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    case,
    distinct,
    func,
    null,
    or_,
    select,
)
from sqlalchemy.sql.selectable import NamedFromClause

from zing.blobs import Blobs
from zing.ledger import EFFECTS, NUMBERS, Kind
from zing.limits import USUAL
from zing.queue import ATTEMPTS_MAX
from zing.store.schema import (
    account,
    api_key,
    delivery_attempt,
    file,
    idem,
    installation,
    lane,
    ledger,
    outbox,
    task,
    worker,
)
from zing.task import DeliveryState, TaskState

# What each name in a finding stands for.
INVARIANTS = {
    "I1": "balances are the sums of their entries, whole and never below zero",
    "I2": "a task is in one state, with all that belongs to it and nothing else",
    "I3": "a task's price is held once, and settled or released once, as its state says",
    "I4": "an idempotency key leads to a task of its account",
    "I5": "a callback is owed where an ended task asked for one, with all attempts on record",
    "I6": "a picture that was drawn is kept, byte for byte, until its time is over",
    "I9": "no more tasks were accepted than may wait",
    "keys": "what a key holds and has used is what its tasks cost",
    "lanes": "an account's place in the queue counts its open tasks",
}
SHOWN = 100  # findings of each check
PAGE = 500  # files whose bytes are looked at, at a time
# The bytes of a deleted picture go at once, or where a crash came between within two hours of a
# running service: see housekeeper.py.
GONE_AFTER_S = 2 * 3600.0 + 300.0

_ENDED = [each for each in TaskState if each.ended]
_OPEN = [each for each in TaskState if not each.ended]
_ENDS = (Kind.SETTLE, Kind.RELEASE)
_OF_TASKS = (Kind.HOLD, Kind.SETTLE, Kind.RELEASE, Kind.REFUND)

# What a query returns, of one moment; the bytes of a key, None where there are none.
Read = Callable[[Callable[[Connection], list[Row[Any]]]], list[Row[Any]]]
Get = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Finding:
    """Something that must not be; account and task are None where it is of none."""

    invariant: str
    what: str
    account: str | None = None
    task: str | None = None

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass(frozen=True)
class Report:
    """What an audit found, and how much it looked at: rows by their kind.

    cut  whether there may be more: of some check as many findings came as are shown
    """

    checked: dict[str, int]
    findings: list[Finding]
    took_s: float
    cut: bool

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __add__(self, other: "Report") -> "Report":
        """Both as one."""
        return Report(
            self.checked | other.checked,
            self.findings + other.findings,
            self.took_s + other.took_s,
            self.cut or other.cut,
        )

    def by_invariant(self) -> dict[str, int]:
        """How many findings there are of each invariant, also where there are none."""
        counted = Counter(each.invariant for each in self.findings)
        return {name: counted[name] for name in INVARIANTS}


@dataclass(frozen=True)
class Audited:
    """What the last audit of a running service found, by invariant, and how long ago."""

    findings: Mapping[str, int]
    age_s: float


@dataclass(frozen=True)
class Wrong:
    """One way to be broken: where it holds for a row, and how that is said with the row's facts."""

    invariant: str
    where: ColumnElement[bool]
    what: str


@dataclass(frozen=True)
class Check:
    """One pass over something: the ways in which a row of it may be wrong.

    rows  the columns `account` and `task` and all that the sentences name
    """

    rows: Select[Any]
    wrongs: tuple[Wrong, ...]

    @cached_property
    def query(self) -> Select[Any]:
        """The rows where anything is wrong, and what; built once."""
        flags = [each.where.label(f"wrong_{n}") for n, each in enumerate(self.wrongs)]
        wrong = or_(*(each.where for each in self.wrongs))
        return self.rows.add_columns(*flags).where(wrong).limit(bindparam("most"))

    def find(self, connection: Connection, most: int) -> Iterator[Finding]:
        """What is wrong, of `most` rows at most."""
        for row in connection.execute(self.query, {"most": most}):
            facts = dict(row._mapping)
            for n, wrong in enumerate(self.wrongs):
                if facts[f"wrong_{n}"]:
                    what = wrong.what.format(**facts)
                    yield Finding(wrong.invariant, what, row.account, row.task)


def examine(connection: Connection, queue_max: int = USUAL.queue_max, most: int = SHOWN) -> Report:
    """What does not hold at this moment, at most so many findings of each check.

    queue_max  tasks that may wait
    """
    started = time.perf_counter()
    found: list[Finding] = []
    cut = False
    for check in _checks(connection.dialect.name == "sqlite"):
        of_check = list(check.find(connection, most))
        cut = cut or len(of_check) >= most
        found += of_check[:most]
    found += _queue_bound(connection, queue_max)
    return Report(_counted(connection), found, time.perf_counter() - started, cut)


def found_in(pictures: Path, connection: Connection) -> Get:
    """What finds the bytes of a database's pictures in their folder; it makes none."""
    folder = pictures / str(connection.scalar(select(installation.c.id)))
    return Blobs(folder).get if folder.is_dir() else _nothing


def _nothing(_key: str) -> bytes | None:
    """There is no folder."""
    return None


def examine_pictures(read: Read, get: Get, now: float, most: int = SHOWN) -> Report:
    """What does not hold of the pictures' bytes, which `get` finds by their keys.

    It hashes every picture that is kept, some at a time, each lot as the database is then; what
    seems wrong is looked at again, for it may have been deleted meanwhile.
    """
    started = time.perf_counter()
    found: list[Finding] = []
    count, last = 0, ""
    while rows := read(partial(_files_after, last=last)):
        last = rows[-1].id
        for row in rows:
            count += row.deleted_at is None
            if len(found) < most and _of_bytes(row, get, now):
                found += _found_again(read, row, get, now)
    return Report({"pictures": count}, found, time.perf_counter() - started, len(found) >= most)


def _found_again(read: Read, row: Row[Any], get: Get, now: float) -> Iterator[Finding]:
    for each in read(partial(_kept, which=file.c.id == row.id, limit=1)):
        if what := _of_bytes(each, get, now):
            yield Finding("I6", what, each.account, each.task)


@cache
def _checks(sqlite: bool) -> tuple[Check, ...]:
    """Every check, in the order of the findings; SQLite alone takes what is no integer."""
    common = (
        _accounts(),
        _tasks(),
        _running(),
        _entries(),
        _entries_of_tasks(),
        _lost_holds(),
        _answers(),
        _deliveries(),
        _attempts(),
        _stray_attempts(),
        _files(),
        _file_counts(),
        _keys(),
        _keys_of_accounts(),
        _lanes(),
    )
    return (*common, *_integers()) if sqlite else common


def _accounts() -> Check:
    """I1: the three numbers are the sums over the entries; what is held is what is open."""
    sums = select(ledger.c.account_id, *(_sum(each) for each in NUMBERS))
    sums_of = sums.group_by(ledger.c.account_id).subquery("sums")
    open_ = select(task.c.account_id, func.sum(task.c.cost).label("cost"))
    open_of = open_.where(task.c.state.in_(_OPEN)).group_by(task.c.account_id).subquery("open")
    said = [func.coalesce(sums_of.c[each], 0) for each in NUMBERS]
    costs = func.coalesce(open_of.c.cost, 0)
    has = [account.c[each] for each in NUMBERS]
    source = account.outerjoin(sums_of, sums_of.c.account_id == account.c.id)
    source = source.outerjoin(open_of, open_of.c.account_id == account.c.id)
    rows = select(account.c.id.label("account"), null().label("task"), *has)
    rows = rows.add_columns(*(each.label(f"s{n}") for n, each in enumerate(said)))
    differs = or_(*(a != b for a, b in zip(has, said, strict=True)))
    numbers = "{available}/{held}/{used} micro-credits available/held/used"
    return Check(
        rows.add_columns(costs.label("costs")).select_from(source),
        (
            Wrong(
                "I1", differs, f"{{account}} has {numbers}, its entries say {{s0}}/{{s1}}/{{s2}}"
            ),
            Wrong("I1", or_(*(each < 0 for each in has)), f"{{account}} has {numbers}"),
            Wrong("I1", account.c.held != costs, "{account} holds {held}, its open tasks {costs}"),
        ),
    )


def _sum(name: str) -> ColumnElement[Any]:
    """What all entries of an account come to in one of its numbers."""
    place = NUMBERS.index(name)
    moved = [
        (ledger.c.kind == kind, ledger.c.amount if effect[place] > 0 else -ledger.c.amount)
        for kind, effect in EFFECTS.items()
        if effect[place]
    ]
    return func.sum(case(*moved, else_=0)).label(name)


def _tasks() -> Check:
    """I2, I3, I5 and I6 as far as they are told from a task: one pass over all of them."""
    entry = {kind: ledger.alias(str(kind)) for kind in _OF_TASKS}
    source: FromClause = task
    for kind, each in entry.items():
        source = source.outerjoin(each, and_(each.c.task_id == task.c.id, each.c.kind == kind))
    source = source.outerjoin(outbox, outbox.c.task_id == task.c.id)
    # Not the rows: one more of a task is found by its count.
    kept = select(file.c.id).where(file.c.task_id == task.c.id).exists()
    rows = select(task.c.account_id.label("account"), task.c.public_id.label("task"))
    rows = rows.add_columns(task.c.state, task.c.cost, task.c.attempt, task.c.worker_id)
    rows = rows.add_columns(task.c.started_at, task.c.ended_at)
    rows = rows.select_from(source)
    return Check(rows, (*_of_state(), *_of_money(entry), *_of_callback(), *_of_file(kept)))


def _of_state() -> Iterator[Wrong]:
    state, c = task.c.state, task.c
    running, ended = state == TaskState.RUNNING, state.in_(_ENDED)
    held = and_(c.worker_id.is_not(None), c.claim_token.is_not(None))
    free = and_(c.worker_id.is_(None), c.claim_token.is_(None))
    is_ = "{task} is {state}"
    yield Wrong("I2", state.not_in(list(TaskState)), f"{is_}, which is no state")
    yield Wrong("I2", and_(running, ~held), f"{is_} without a worker that has claimed it")
    yield Wrong("I2", and_(~running, ~free), f"{is_} and still claimed (worker {{worker_id}})")
    yield Wrong("I2", and_(ended, c.ended_at.is_(None)), f"{is_} and has no time of its end")
    yield Wrong("I2", and_(~ended, c.ended_at.is_not(None)), f"{is_} and ended at {{ended_at}}")
    begun = and_(running, c.started_at.is_(None))
    waits = and_(state == TaskState.QUEUED, c.started_at.is_not(None))
    yield Wrong("I2", or_(begun, waits), f"{is_} and started at {{started_at}}")
    drawn = state.in_([TaskState.RUNNING, TaskState.SUCCEEDED])
    tries = or_(c.attempt < 0, c.attempt > ATTEMPTS_MAX, and_(drawn, c.attempt < 1))
    yield Wrong("I2", tries, f"{is_} after {{attempt}} attempts")


def _of_money(entry: Mapping[Kind, NamedFromClause]) -> Iterator[Wrong]:
    """The price where a task succeeded, nothing where it ended otherwise, held until then."""
    hold, settle, release, refund = (entry[kind].c for kind in _OF_TASKS)
    succeeded = task.c.state == TaskState.SUCCEEDED
    undone = task.c.state.in_([each for each in _ENDED if each is not TaskState.SUCCEEDED])
    is_ = "{task} is {state} at {cost} micro-credits"
    yield Wrong("I3", hold.id.is_(None), f"{is_} and was never held")
    differs = or_(hold.amount != task.c.cost, hold.account_id != task.c.account_id)
    yield Wrong("I3", differs, f"{is_}; another amount or account was held")
    yield Wrong("I3", and_(succeeded, settle.id.is_(None)), f"{is_} and was never settled")
    yield Wrong("I3", and_(~succeeded, settle.id.is_not(None)), f"{is_} and was settled")
    yield Wrong("I3", and_(undone, release.id.is_(None)), f"{is_} and was never released")
    yield Wrong("I3", and_(~undone, release.id.is_not(None)), f"{is_} and was released")
    yield Wrong("I3", and_(~succeeded, refund.id.is_not(None)), f"{is_} and was refunded")


def _of_callback() -> Iterator[Wrong]:
    wanted = func.coalesce(task.c.callback_url, "") != ""
    due = and_(task.c.state.in_(_ENDED), wanted)
    is_ = "{task} is {state}"
    yield Wrong("I5", and_(due, outbox.c.id.is_(None)), f"{is_} and its callback is not owed")
    yield Wrong("I5", and_(~due, outbox.c.id.is_not(None)), f"{is_} and a callback is owed")
    early = outbox.c.created_at < task.c.ended_at
    yield Wrong("I5", early, "the callback of {task} was owed before the task had ended")
    other = or_(outbox.c.account_id != task.c.account_id, outbox.c.url != task.c.callback_url)
    yield Wrong("I5", other, "the callback of {task} is of another account or for another address")


def _of_file(kept: ColumnElement[bool]) -> Iterator[Wrong]:
    succeeded = task.c.state == TaskState.SUCCEEDED
    yield Wrong("I6", and_(succeeded, ~kept), "{task} is {state} and has no file")
    yield Wrong("I6", and_(~succeeded, kept), "{task} is {state} and has a file")


def _running() -> Check:
    """I2: who runs has a worker that will be missed if it dies."""
    source = task.outerjoin(worker, worker.c.id == task.c.worker_id)
    rows = select(task.c.account_id.label("account"), task.c.public_id.label("task"))
    rows = rows.add_columns(task.c.worker_id).select_from(source)
    rows = rows.where(task.c.state == TaskState.RUNNING, task.c.worker_id.is_not(None))
    gone = Wrong("I2", worker.c.id.is_(None), "{task} runs on {worker_id}, which is not there")
    return Check(rows, (gone,))


def _entries() -> Check:
    """An entry is of a known kind, with a task where it is of one; adjustments alone may take."""
    kind, of_task = ledger.c.kind, ledger.c.task_id.is_not(None)
    rows = select(ledger.c.account_id.label("account"), ledger.c.task_id.label("task"))
    rows = rows.add_columns(ledger.c.id, kind, ledger.c.amount)
    below = and_(ledger.c.amount < 0, kind != Kind.ADJUST)
    strange = or_(
        and_(kind.in_(_OF_TASKS), ~of_task), and_(kind.in_([Kind.GRANT, Kind.ADJUST]), of_task)
    )
    return Check(
        rows,
        (
            Wrong("I1", kind.not_in(list(Kind)), "the entry {id} is of the kind {kind}"),
            Wrong("I1", below, "the entry {id} is a {kind} of {amount}"),
            Wrong("I3", strange, "the entry {id} is a {kind} and has the task {task}"),
        ),
    )


def _entries_of_tasks() -> Check:
    """I3, also of purged tasks: one hold, at most one end, all of one amount and account."""
    amount, owner = ledger.c.amount, ledger.c.account_id
    counts = [
        func.sum(case((ledger.c.kind == kind, 1), else_=0)).label(f"{kind}s") for kind in _OF_TASKS
    ]
    grouped = select(ledger.c.task_id.label("task"), func.min(owner).label("account"), *counts)
    grouped = grouped.add_columns(func.max(owner).label("other"))
    grouped = grouped.add_columns(func.min(amount).label("least"), func.max(amount).label("most"))
    # Read as it comes, in the order of an index: neither database keeps all groups.
    each = (
        grouped.where(ledger.c.task_id.is_not(None)).group_by(ledger.c.task_id).subquery("each").c
    )
    ends = each.settles + each.releases
    times = or_(each.holds != 1, ends > 1, each.refunds > 1, each.refunds > each.settles)
    said = "{holds} holds, {settles} settles, {releases} releases and {refunds} refunds"
    return Check(
        select(*each),
        (
            Wrong("I3", times, f"the task {{task}} has {said}"),
            Wrong(
                "I3", each.least != each.most, "the task {task} has entries of {least} to {most}"
            ),
            Wrong("I3", each.account != each.other, "the task {task} has entries of two accounts"),
        ),
    )


def _lost_holds() -> Check:
    """I3: what a task that is not there any more held was settled or released before it went."""
    end = ledger.alias("ended")
    source = ledger.outerjoin(task, task.c.id == ledger.c.task_id)
    source = source.outerjoin(end, and_(end.c.task_id == ledger.c.task_id, end.c.kind.in_(_ENDS)))
    rows = select(ledger.c.account_id.label("account"), ledger.c.task_id.label("task"))
    rows = rows.add_columns(ledger.c.amount).select_from(source)
    rows = rows.where(ledger.c.kind == Kind.HOLD, end.c.id.is_(None))
    lost = "{amount} micro-credits are held for the task {task}, which is not there"
    return Check(rows, (Wrong("I3", task.c.id.is_(None), lost),))


def _answers() -> Check:
    """I4: by the ledger, which still knows a task that was purged."""
    held = and_(ledger.c.task_id == idem.c.task_id, ledger.c.kind == Kind.HOLD)
    rows = select(idem.c.account_id.label("account"), idem.c.task_id.label("task"))
    rows = rows.select_from(idem.outerjoin(ledger, held))
    answer = "an idempotency key of {account} leads to the task {task}"
    return Check(
        rows,
        (
            Wrong("I4", ledger.c.id.is_(None), f"{answer}, which never was"),
            Wrong("I4", ledger.c.account_id != idem.c.account_id, f"{answer}, which is another's"),
        ),
    )


def _deliveries() -> Check:
    """I5: a callback belongs to a task, and has an end where its state says so."""
    source = outbox.outerjoin(task, task.c.id == outbox.c.task_id)
    rows = select(outbox.c.account_id.label("account"), outbox.c.public_id.label("task"))
    rows = rows.add_columns(outbox.c.id, outbox.c.state, outbox.c.ended_at).select_from(source)
    due = outbox.c.state == DeliveryState.DUE
    is_ = "the callback {id} is {state}"
    ends = or_(and_(due, outbox.c.ended_at.is_not(None)), and_(~due, outbox.c.ended_at.is_(None)))
    unknown = outbox.c.state.not_in(list(DeliveryState))
    return Check(
        rows,
        (
            Wrong("I5", task.c.id.is_(None), "the callback {id} is of a task that is not there"),
            Wrong("I5", unknown, f"{is_}, which is no state"),
            Wrong("I5", ends, f"{is_} and ended at {{ended_at}}"),
        ),
    )


def _attempts() -> Check:
    """I5: every attempt that a callback says was made is on record, the last as its state says.

    Numbers begin anew where it was sent again, and two couriers may have made one twice.
    """
    made = delivery_attempt
    mine = and_(made.c.delivery_id == outbox.c.id, made.c.number.between(1, outbox.c.attempt))
    taken = and_(made.c.number == outbox.c.attempt, made.c.status.between(200, 299))
    grouped = select(
        outbox.c.id,
        outbox.c.account_id.label("account"),
        outbox.c.public_id.label("task"),
        outbox.c.state,
        outbox.c.attempt,
        func.count(distinct(made.c.number)).label("made"),
        func.sum(case((taken, 1), else_=0)).label("taken"),
    )
    grouped = grouped.select_from(outbox.outerjoin(made, mine))
    each = grouped.group_by(outbox.c.id).subquery("each").c
    ended = each.state != DeliveryState.DUE
    delivered = each.state == DeliveryState.DELIVERED
    is_ = "the callback {id} is {state}"
    return Check(
        select(*each),
        (
            Wrong(
                "I5", each.made != each.attempt, f"{is_} at attempt {{attempt}}, {{made}} are kept"
            ),
            Wrong("I5", and_(ended, each.attempt < 1), f"{is_} without an attempt"),
            Wrong("I5", and_(delivered, each.taken < 1), f"{is_} and no attempt was taken"),
        ),
    )


def _stray_attempts() -> Check:
    """I5: what was tried was tried for a callback."""
    made = delivery_attempt
    rows = select(null().label("account"), null().label("task"), made.c.id, made.c.delivery_id)
    rows = rows.select_from(made.outerjoin(outbox, outbox.c.id == made.c.delivery_id))
    what = "the attempt {id} is of the callback {delivery_id}, which is not there"
    return Check(rows, (Wrong("I5", outbox.c.id.is_(None), what),))


def _files() -> Check:
    """I6: a file is of a task, and what is recorded of it can be true."""
    source = file.outerjoin(task, task.c.id == file.c.task_id)
    rows = select(task.c.account_id.label("account"), task.c.public_id.label("task"))
    rows = rows.add_columns(file.c.id, file.c.task_id, file.c.bytes)
    rows = rows.select_from(source)
    early = file.c.expires_at < task.c.ended_at
    return Check(
        rows,
        (
            Wrong("I6", task.c.id.is_(None), "the file {id} is of the task {task_id}, not there"),
            Wrong("I6", file.c.bytes < 1, "the file {id} has {bytes} bytes"),
            Wrong("I6", early, "the file {id} was over before its task {task} had ended"),
        ),
    )


def _file_counts() -> Check:
    """I6: a task has one picture."""
    grouped = select(file.c.task_id.label("task"), func.count().label("files"))
    each = grouped.group_by(file.c.task_id).subquery("each").c
    rows = select(null().label("account"), each.task, each.files)
    return Check(rows, (Wrong("I6", each.files > 1, "the task {task} has {files} files"),))


def _keys() -> Check:
    """A key holds what its open tasks cost, and has used no less than those that are kept.

    What it spent in a day is not told by the tasks: they may be purged, and clocks are set.
    """
    refund = ledger.alias("refunded")
    back = and_(refund.c.task_id == task.c.id, refund.c.kind == Kind.REFUND)
    kept = and_(task.c.state == TaskState.SUCCEEDED, refund.c.id.is_(None))
    cost = task.c.cost
    of_tasks = select(
        task.c.key_id,
        func.sum(case((task.c.state.in_(_OPEN), cost), else_=0)).label("open"),
        func.sum(case((kept, cost), else_=0)).label("spent"),
    )
    grouped = of_tasks.select_from(task.outerjoin(refund, back)).group_by(task.c.key_id)
    of_key = grouped.subquery("of_key")
    source = api_key.outerjoin(of_key, of_key.c.key_id == api_key.c.id)
    open_, spent = (func.coalesce(each, 0) for each in (of_key.c.open, of_key.c.spent))
    rows = select(api_key.c.account_id.label("account"), null().label("task"), api_key.c.id)
    rows = rows.add_columns(api_key.c.used, api_key.c.held, open_.label("open"))
    used = or_(api_key.c.used < 0, api_key.c.used < spent)
    return Check(
        rows.add_columns(spent.label("spent")).select_from(source),
        (
            Wrong("keys", api_key.c.held != open_, "the key {id} holds {held}, its tasks {open}"),
            Wrong("keys", used, "the key {id} has used {used}, its tasks {spent}"),
        ),
    )


def _keys_of_accounts() -> Check:
    """The keys of an account have used no more than the account."""
    used = select(api_key.c.account_id, func.sum(api_key.c.used).label("used"))
    of_keys = used.group_by(api_key.c.account_id).subquery("used")
    source = account.join(of_keys, of_keys.c.account_id == account.c.id)
    rows = select(account.c.id.label("account"), null().label("task"), account.c.used)
    rows = rows.add_columns(of_keys.c.used.label("by_keys")).select_from(source)
    what = "the keys of {account} have used {by_keys}, the account {used}"
    return Check(rows, (Wrong("keys", of_keys.c.used > account.c.used, what),))


def _lanes() -> Check:
    """An account's counters are those of its open tasks, and it has them."""
    count = [
        func.sum(case((task.c.state == state, 1), else_=0)).label(state.value) for state in _OPEN
    ]
    open_ = select(task.c.account_id, *count).where(task.c.state.in_(_OPEN))
    open_of = open_.group_by(task.c.account_id).subquery("open")
    source = account.outerjoin(lane, lane.c.account_id == account.c.id)
    source = source.outerjoin(open_of, open_of.c.account_id == account.c.id)
    queued, running = (func.coalesce(open_of.c[state.value], 0) for state in _OPEN)
    rows = select(account.c.id.label("account"), null().label("task"), lane.c.queued)
    rows = rows.add_columns(lane.c.running, lane.c.weight, queued.label("q"), running.label("r"))
    differs = or_(lane.c.queued != queued, lane.c.running != running)
    counts = "{account} counts {queued} queued and {running} running, there are {q} and {r}"
    return Check(
        rows.select_from(source),
        (
            Wrong("lanes", lane.c.account_id.is_(None), "{account} has no place in the queue"),
            Wrong("lanes", differs, counts),
            Wrong("lanes", lane.c.weight < 1, "{account} has the weight {weight} in the queue"),
        ),
    )


def _integers() -> Iterator[Check]:
    """I1: SQLite takes what is no integer into a column of integers; PostgreSQL does not."""
    for table, name, owner, of_task in (
        (account, account.c.id, account.c.id, null()),
        (ledger, ledger.c.id, ledger.c.account_id, ledger.c.task_id),
        (task, task.c.id, task.c.account_id, task.c.public_id),
        (api_key, api_key.c.id, api_key.c.account_id, null()),
    ):
        money = [each for each in table.c if each.name in (*NUMBERS, "amount", "cost", "day_spent")]
        broken = or_(*(func.typeof(each) != "integer" for each in money))
        rows = select(owner.label("account"), of_task.label("task"), name.label("name"))
        what = f"the {table.name} {{name}} has an amount that is no integer"
        yield Check(rows, (Wrong("I1", broken, what),))


def _queue_bound(connection: Connection, queue_max: int) -> Iterator[Finding]:
    """I9: what went back to the queue when its worker died was let in before: not counted."""
    new = (task.c.state == TaskState.QUEUED, task.c.updated_at == task.c.created_at)
    waiting = int(connection.scalar(select(func.count()).where(*new)) or 0)
    if waiting > queue_max:
        yield Finding("I9", f"{waiting} tasks were let into a queue of {queue_max}")


def _counted(connection: Connection) -> dict[str, int]:
    tables = {
        "accounts": account,
        "entries": ledger,
        "keys": api_key,
        "tasks": task,
        "workers": worker,
        "files": file,
        "callbacks": outbox,
        "attempts": delivery_attempt,
        "idempotency_keys": idem,
    }
    count = {name: select(func.count()).select_from(each) for name, each in tables.items()}
    return {name: int(connection.scalar(query) or 0) for name, query in count.items()}


def _files_after(connection: Connection, last: str) -> list[Row[Any]]:
    return _kept(connection, file.c.id > last, PAGE)


def _kept(connection: Connection, which: ColumnElement[bool], limit: int) -> list[Row[Any]]:
    rows = select(file, task.c.account_id.label("account"), task.c.public_id.label("task"))
    rows = rows.select_from(file.outerjoin(task, task.c.id == file.c.task_id)).where(which)
    return list(connection.execute(rows.order_by(file.c.id).limit(limit)))


def _of_bytes(row: Row[Any], get: Callable[[str], bytes | None], now: float) -> str:
    """What is wrong with a picture's bytes; empty where nothing is."""
    if row.deleted_at is None and row.expires_at <= now:
        return ""  # nobody can read it any more
    try:
        data = get(row.blob_key)
    except (OSError, BaseError) as error:
        return f"the picture {row.id} of {row.task} cannot be read: {error}"
    if row.deleted_at is not None:
        late = data is not None and row.deleted_at < now - GONE_AFTER_S
        return f"the picture {row.id} of {row.task} was deleted and is there" if late else ""
    if data is None:
        return f"the picture {row.id} of {row.task} is not there"
    if len(data) != row.bytes or hashlib.sha256(data).hexdigest() != row.sha256:
        return f"the picture {row.id} of {row.task} is not the one that was drawn"
    return ""
