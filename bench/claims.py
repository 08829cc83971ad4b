"""`python -m bench claims`: a claim of 8 tasks with 100,000 queued against 1,000 queued.

In this process, over the store and the queue alone; the tasks are inserted directly.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, insert, text, update

from bench import frame, stop
from bench.frame import Row
from tests import databases
from zing import queue
from zing.store import Store
from zing.store.schema import account, lane, task
from zing.store.tasks import compat, dump_request
from zing.task import ImageRequest, TaskState

PACKAGES = ("sqlalchemy", "psycopg")
MODEL = "builtin"
COUNT = 8
ACCOUNTS = 50
SIDES = (512, 768, 1024, 1536)
CHUNK = 5000
WORKER = "bench"
FAR = 1e12  # a time that never comes
MIXES = {"one size": SIDES[:1], "four sizes": SIDES}


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog='make bench ARGS="claims …"', description=__doc__)
    parser.add_argument("--few", type=int, default=1_000, help="tasks queued")
    parser.add_argument("--many", type=int, default=100_000, help="tasks queued")
    parser.add_argument("--claims", type=int, default=100, help="pairs of claims")
    options = parser.parse_args(arguments)
    stop.as_ctrl_c()
    facts = frame.machine(PACKAGES) | {"accounts": str(ACCOUNTS)}
    rows = []
    with _stores() as new:
        for kind in new:
            for mix, sides in MIXES.items():
                name = f"{kind}, {mix}"
                stop.say(f"measuring claims on {name} ...")
                with new[kind]() as many, new[kind]() as few:
                    fill(many, options.many, sides)
                    fill(few, options.few, sides)
                    rows.append(compared(f"{name}: claim of 8", many, few, options.claims))
    title = (
        f"zing bench claims: {options.many:,} queued; reference: {options.few:,}; ratio: to that"
    )
    print(frame.card(title, facts, rows, "many"))
    print(frame.line(facts, rows))


@contextmanager
def _stores() -> Iterator[dict[str, Callable[[], Any]]]:
    """How a new, empty database of each kind is made."""
    with ExitStack() as opened:
        found: dict[str, Callable[[], Any]] = {"SQLite": _sqlite}
        if databases.programs() is not None:
            server = opened.enter_context(databases.cluster(fsync="on"))
            found["PostgreSQL"] = lambda: _postgresql(server)
        yield found


@contextmanager
def _sqlite() -> Iterator[Store]:
    with (
        TemporaryDirectory(prefix="zing-bench-") as folder,
        closing(Store(f"sqlite:///{Path(folder) / 'zing.db'}")) as store,
    ):
        yield store


@contextmanager
def _postgresql(server: str) -> Iterator[Store]:
    with databases.new_database(server) as url, closing(Store(url)) as store:
        yield store


def fill(store: Store, count: int, sides: Sequence[int]) -> None:
    """So many queued tasks of 50 accounts, in random order, and a worker that may claim."""
    pick = random.Random(1)
    now = time.time()
    rows = [_row(number, pick.randrange(ACCOUNTS), pick.choice(sides)) for number in range(count)]
    queued = [sum(row["account_id"] == _account(each) for row in rows) for each in range(ACCOUNTS)]

    def accounts(tx: Connection) -> None:
        for number in range(ACCOUNTS):
            money = {"available": 0, "held": 0, "created_at": now}
            tx.execute(insert(account).values(id=_account(number), **money))
            turn = {"queued": queued[number], "running": 0, "weight": 1, "vtime": 0.0}
            tx.execute(insert(lane).values(account_id=_account(number), **turn))

    store.write(accounts)
    for first in range(0, count, CHUNK):
        store.write(partial(_insert, rows[first : first + CHUNK]))
    store.write(lambda tx: queue.register(tx, WORKER, "host", now, FAR))
    store.write(lambda tx: tx.execute(text("ANALYZE")))  # as PostgreSQL does by itself in time


def _insert(rows: list[dict[str, Any]], tx: Connection) -> None:
    tx.execute(insert(task), rows)


def _account(number: int) -> str:
    return f"acct_{number}"


def _row(number: int, owner: int, side: int) -> dict[str, Any]:
    request = ImageRequest(prompt="a red circle", width=side, height=side)
    now = time.time()
    return {
        "id": f"{number:040d}",
        "public_id": f"task-{number}",
        "account_id": _account(owner),
        "key_id": "bench",
        "dialect": "evolink",
        "state": TaskState.QUEUED,
        "priority": queue.PRIORITY,
        "model": MODEL,
        "compat": compat(MODEL, request),
        "cost": 26_000,
        "not_before": 0.0,
        "attempt": 0,
        "cancel_requested": False,
        "request": dump_request(request),
        "fields": json.dumps({}),
        "suffix": ".png",
        "seed": number,
        "error": "",
        "error_message": "",
        "result": "{}",
        "created_at": now,
        "updated_at": now,
    }


def compared(name: str, many: Store, few: Store, pairs: int) -> Row:
    """Milliseconds of a claim on each, in turns; the ratio is many to few: 1 where it is flat."""
    for store in (many, few):  # not counted
        _claim_ms(store)
    found = [(_claim_ms(many), _claim_ms(few)) for _ in range(pairs)]
    slow, fast = (median(each) for each in zip(*found, strict=True))
    return Row(name, "ms", slow, fast, median(one / other for one, other in found), pairs)


def _claim_ms(store: Store) -> float:
    """What a claim takes, its commit included; afterwards the tasks are queued again."""
    started = time.perf_counter()
    claims = store.write(lambda tx: queue.claim(tx, WORKER, MODEL, COUNT, time.time()))
    taken = 1000 * (time.perf_counter() - started)
    if len(claims) != COUNT:
        raise RuntimeError(f"{len(claims)} tasks were claimed, not {COUNT}")
    store.write(_queue_again)
    return taken


def _queue_again(tx: Connection) -> None:
    free = {"state": TaskState.QUEUED, "attempt": 0, "worker_id": None, "claim_token": None}
    tx.execute(update(task).where(task.c.worker_id == WORKER).values(started_at=None, **free))
    back = {"queued": lane.c.queued + lane.c.running, "running": 0}
    tx.execute(update(lane).where(lane.c.running > 0).values(back))
