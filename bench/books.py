"""What a service's database says, read by nothing of zing's: SQLite's file, and read only."""

import hashlib
import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAL_HEADER, FRAME_HEADER = 32, 24
STILL_S = 0.2
ENDS = {"succeeded": "settle", "cancelled": "release"}

Rows = dict[str, Any]  # of tasks, by their public ids
Entries = dict[str, list[tuple[str, int]]]  # of the ledger: kind and amount, by task


@dataclass(frozen=True)
class Books:
    """What became of the tasks that were asked for; a line for each that went wrong.

    again       times that a task was claimed anew
    lost        not there, not ended as it may, or without the picture that its row promises
    charged     not exactly one hold and one settle (completed) or release (cancelled) of the price;
                tasks that nobody was told of are among them
    unbalanced  micro-credits that the account holds, or has used for no completed task
    """

    completed: int
    cancelled: int
    again: int
    lost: list[str]
    charged: list[str]
    unbalanced: int


def audit(data: Path, asked: Mapping[str, bool], price: int) -> Books:
    """The books of the tasks that were accepted, by id; True for one that was to be cancelled.

    Nothing may run any more.
    """
    with reading(data) as database:
        tasks = {row["public_id"]: row for row in database.execute("SELECT * FROM task")}
        pictures = _pictures(database, data)
        entries = _entries(database)
        (held,) = database.execute("SELECT sum(held) FROM account").fetchone()
    states = Counter(row["state"] for row in tasks.values())
    used = sum(amount for each in entries.values() for kind, amount in each if kind == "settle")
    return Books(
        completed=states["succeeded"],
        cancelled=states["cancelled"],
        again=sum(max(0, row["attempt"] - 1) for row in tasks.values()),
        lost=list(_lost(asked, tasks, pictures)),
        charged=list(_charged(asked, tasks, entries, price)),
        unbalanced=held + abs(used - price * states["succeeded"]),
    )


def drawn_at(data: Path) -> dict[str, float]:
    """When the engine was done with each picture, UTC seconds."""
    with reading(data) as database:
        rows = database.execute("SELECT public_id, result FROM task WHERE state = 'succeeded'")
        return {row["public_id"]: json.loads(row["result"])["drawn_at"] for row in rows}


@contextmanager
def counting(data: Path) -> Iterator[dict[str, int]]:
    """Counts what happens inside: `commits` that wrote something, and new `tasks`."""
    counts: dict[str, int] = {}
    # A reader keeps the write-ahead log from being started anew.
    with reading(data) as database:
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM task").fetchone()
        commits, tasks = _counts(data)
        yield counts
        after = _counts(data)
        counts.update(commits=after[0] - commits, tasks=after[1] - tasks)


@contextmanager
def reading(data: Path) -> Iterator[sqlite3.Connection]:
    """The database of a data folder."""
    url = f"file:{data / 'zing.db'}?mode=ro"
    with closing(sqlite3.connect(url, uri=True, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        yield database


def _lost(asked: Mapping[str, bool], tasks: Rows, pictures: dict[str, bool]) -> Iterator[str]:
    for public_id, cancelled in asked.items():
        row = tasks.get(public_id)
        if row is None:
            yield f"{public_id} is not there"
        elif row["state"] == "succeeded":
            if not pictures.get(row["id"]):
                yield f"{public_id} has no picture, or another one"
        elif not (cancelled and row["state"] == "cancelled"):
            said = f"{row['state']} after {row['attempt']} attempts: {row['error_message']}"
            yield f"{public_id} is {said}"


def _charged(asked: Mapping[str, bool], tasks: Rows, entries: Entries, price: int) -> Iterator[str]:
    for public_id, row in tasks.items():
        found = sorted(entries.get(row["id"], []))
        if public_id not in asked:
            yield f"{public_id} was never answered"
        elif found != [("hold", price), (ENDS.get(row["state"], ""), price)]:
            yield f"{public_id} is {row['state']} and has the entries {found}"
    for task_id in entries.keys() - {row["id"] for row in tasks.values()}:
        yield f"{task_id} has the entries {entries[task_id]} and is not there"


def _pictures(database: sqlite3.Connection, data: Path) -> dict[str, bool]:
    """By task: whether its picture is there, byte for byte."""
    paths = {path.name: path for path in (data / "pictures").rglob("*.*")}
    found = {}
    for row in database.execute("SELECT task_id, blob_key, sha256 FROM file"):
        path = paths.get(Path(row["blob_key"]).name)
        found[row["task_id"]] = path is not None and _sha256(path) == row["sha256"]
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _entries(database: sqlite3.Connection) -> Entries:
    found: Entries = defaultdict(list)
    rows = database.execute("SELECT task_id, kind, amount FROM ledger WHERE task_id IS NOT NULL")
    for row in rows:
        found[row["task_id"]].append((row["kind"], row["amount"]))
    return dict(found)


def _counts(data: Path) -> tuple[int, int]:
    """Commits in the write-ahead log and tasks, once what is under way has come to its end."""
    last = (-1, -1)
    while (now := (_commits(data), _tasks(data))) != last:
        last = now
        time.sleep(STILL_S)
    return now


def _tasks(data: Path) -> int:
    with reading(data) as database:
        return int(database.execute("SELECT count(*) FROM task").fetchone()[0])


def _commits(data: Path) -> int:
    """The frames of the write-ahead log that end a transaction: those with a database size."""
    log = (data / "zing.db-wal").read_bytes()
    page, salts = int.from_bytes(log[8:12], "big"), log[16:24]
    frames = range(WAL_HEADER, len(log) - page, FRAME_HEADER + page)
    return sum(log[at + 8 : at + 16] == salts and any(log[at + 4 : at + 8]) for at in frames)
