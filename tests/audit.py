"""What the suites of the database share: rows to begin with, a clock, and the audit.

The audit asks what must hold at any moment (I1 to I3 and the counters that repeat what the tasks
say). Nothing may be half done while it looks.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from zing import ledger, limits, queue
from zing.errors import Refused
from zing.ledger import EFFECTS, Kind
from zing.queue import ATTEMPTS_MAX, Submission
from zing.store import Store
from zing.store.files import File
from zing.store.schema import account, api_key, file, lane, outbox, task, worker
from zing.store.schema import ledger as entries
from zing.store.tasks import compat
from zing.task import ImageRequest, Task, TaskState

NOW = 1_760_000_000.0
PRICE = 26_000
MODEL = "tiny"
# A key that nobody has the text of.
KEY = {"hash": "0" * 64, "name": "of a test", "created_at": NOW}

Rows = list[Row[Any]]


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


def funded(store: Store, tasks: int = 1000) -> str:
    """A new account whose credits are enough for that many tasks."""

    def fund(tx: Connection) -> str:
        account_id = ledger.open_account(tx, NOW)
        if tasks:
            ledger.grant(tx, account_id, tasks * PRICE, NOW)
        tx.execute(insert(api_key).values(id=key_of(account_id), account_id=account_id, **KEY))
        return account_id

    return store.write(fund)


def key_of(account_id: str) -> str:
    """The id of the key that `funded` makes for an account."""
    return account_id.removeprefix("acct_")


def submission(account_id: str, public_id: str = "", **changes: Any) -> Submission:
    """A request of an account that may be accepted."""
    asked = ImageRequest("a cat", 64, 64, seed=7, callback_url=changes.pop("callback_url", None))
    usual = Submission(
        public_id=public_id or f"task-{queue.task_id(NOW)}",
        account_id=account_id,
        key_id=key_of(account_id),
        dialect="evolink",
        request=asked,
        fields={"prompt": "a cat"},
        suffix=".png",
        seed=7,
        cost=PRICE,
        model=MODEL,
        compat=compat(MODEL, asked),
    )
    return replace(usual, **changes)


def accepted(
    store: Store, asked: Submission, now: float = NOW, rules: limits.Rules = limits.USUAL
) -> Task:
    """The task that a request becomes; raises why it is refused."""
    (found,) = store.write(lambda tx: queue.accept(tx, [asked], now, rules))
    if isinstance(found, Refused):
        raise found
    return found.task


def kept_file(task_id: str, expires_at: float = NOW + 86_400) -> File:
    """The row of a picture whose bytes nobody asks for."""
    return File(f"f{task_id}", f"2025-10-09/{task_id}.png", "0" * 64, 3, ".png", expires_at)


def audit(connection: Connection) -> list[str]:
    """What does not hold, a line each; empty where everything is as it must be."""
    rows = list(connection.execute(select(entries)))
    tasks = list(connection.execute(select(task)))
    return [
        *_of_accounts(list(connection.execute(select(account))), rows, tasks),
        *_of_entries(rows),
        *_of_money(tasks, rows),
        *_of_lanes(list(connection.execute(select(lane))), tasks),
        *_of_workers(tasks, set(connection.scalars(select(worker.c.id)))),
        *_of_files(tasks, Counter(connection.scalars(select(file.c.task_id)))),
        *_of_deliveries(tasks, set(connection.scalars(select(outbox.c.task_id)))),
    ]


def _of_accounts(accounts: Rows, rows: Rows, tasks: Rows) -> Iterator[str]:
    """I1: the two numbers are the sums over the ledger, and what is held is what is open."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        for place, sign in enumerate(EFFECTS[Kind(row.kind)]):
            sums[row.account_id][place] += sign * row.amount
    held: Counter[str] = Counter()
    for row in tasks:
        held[row.account_id] += 0 if TaskState(row.state).ended else row.cost
    for row in accounts:
        has = [row.available, row.held, row.used]
        if has != sums[row.id] or min(has) < 0 or not all(type(each) is int for each in has):
            yield f"account {row.id} has {has}, its entries say {sums[row.id]}"
        if row.held != held[row.id]:
            yield f"account {row.id} holds {row.held}, its open tasks cost {held[row.id]}"


def _of_entries(rows: Rows) -> Iterator[str]:
    """Each end of a task has its hold, of the same amount, and there is one end; also purged."""
    by_task: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        if type(row.amount) is not int:
            yield f"entry {row.id} is {row.amount!r}, no integer"
        if row.task_id is not None:
            by_task[row.task_id].append(row)
    for task_id, mine in by_task.items():
        kinds = Counter(row.kind for row in mine)
        if kinds["hold"] != 1 or kinds["settle"] + kinds["release"] > 1:
            yield f"task {task_id} has the entries {dict(kinds)}"
        if len({(row.amount, row.account_id) for row in mine}) != 1:
            yield f"task {task_id} has entries of several amounts or accounts"


def _of_money(tasks: Rows, rows: Rows) -> Iterator[str]:
    """I3: the price where a task succeeded, nothing where it ended otherwise, held until then."""
    found: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for row in rows:
        found[row.task_id].add((row.kind, row.amount))
    for row in tasks:
        expected = {("hold", row.cost)}
        if TaskState(row.state).ended:
            end = "settle" if row.state == TaskState.SUCCEEDED else "release"
            expected.add((end, row.cost))
        if found[row.id] != expected:
            yield f"task {row.id} is {row.state} and has the entries {sorted(found[row.id])}"


def _of_lanes(lanes: Rows, tasks: Rows) -> Iterator[str]:
    states = Counter((row.account_id, row.state) for row in tasks)
    for row in lanes:
        counted = tuple(states[row.account_id, state] for state in ("queued", "running"))
        if (row.queued, row.running) != counted:
            yield f"lane {row.account_id} says {(row.queued, row.running)}, there are {counted}"


def _of_workers(tasks: Rows, workers: set[str]) -> Iterator[str]:
    """I2: who runs has a worker that will be missed if it dies; who does not has none."""
    for row in tasks:
        running = row.state == TaskState.RUNNING
        if running != (row.worker_id is not None) or running != (row.claim_token is not None):
            yield f"task {row.id} is {row.state} with the worker {row.worker_id}"
        if running and row.worker_id not in workers:
            yield f"task {row.id} runs on {row.worker_id}, which is not there"
        if TaskState(row.state).ended != (row.ended_at is not None):
            yield f"task {row.id} is {row.state} and ended at {row.ended_at}"
        if not 0 <= row.attempt <= ATTEMPTS_MAX:
            yield f"task {row.id} was tried {row.attempt} times"


def _of_files(tasks: Rows, files: Counter[str]) -> Iterator[str]:
    for row in tasks:
        if files[row.id] != (row.state == TaskState.SUCCEEDED):
            yield f"task {row.id} is {row.state} and has {files[row.id]} files"
    for task_id in files.keys() - {row.id for row in tasks}:
        yield f"there is a file of the task {task_id}, which is not there"


def _of_deliveries(tasks: Rows, due: set[str]) -> Iterator[str]:
    """A delivery is due where an ended task asked for one, never before."""
    for row in tasks:
        wanted = bool(row.callback_url)
        if (TaskState(row.state).ended and wanted) != (row.id in due):
            yield f"task {row.id} is {row.state}; that a delivery is due: {row.id in due}"
