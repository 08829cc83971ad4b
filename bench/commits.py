"""`python -m bench commits`: accepts that share a commit against one commit each.

Counted in what the databases log, not by zing: the frames of SQLite's write-ahead log that end a
transaction, the COMMIT records of PostgreSQL's.
"""

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psycopg

from bench import books, disk, frame, load, stop
from bench.frame import Row
from bench.peers import SUBMIT
from bench.server import Service, serving
from tests import databases

PACKAGES = ("uvicorn", "starlette", "sqlalchemy", "psycopg")
ALONE = {"ZING_GROUP_MAX": "1"}
COUNTED_S = 1.0  # seconds of accepts whose commits are counted
STILL_S = 0.3
PROBED = 50

# A service on a new database with these variables in its environment, and the database's URL.
Start = Callable[[Mapping[str, str]], AbstractContextManager[tuple[Service, str]]]


class Disk(NamedTuple):
    """A database on a disk: how a service is started on it, and milliseconds of one commit."""

    name: str
    start: Start
    commit_ms: float


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog='make bench ARGS="commits …"', description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds a round")
    parser.add_argument("--slower", type=float, nargs="+", default=[0, 2, 10], help="ms a sync")
    options = parser.parse_args(arguments)
    stop.as_ctrl_c()
    facts = frame.machine(PACKAGES)
    rows = []
    for slower in options.slower:
        variables = disk.slower(slower)
        name = f"sync {slower:g} ms slower" if slower else "this disk"
        with ExitStack() as opened:
            disks = [_sqlite(name, variables)]
            if databases.programs() is not None:
                server = opened.enter_context(databases.cluster(fsync="on", **variables))
                disks.append(_postgresql(name, server))
            for each in disks:
                rows += _compared(each, options.rounds, options.seconds)
    title = "zing bench commits: in groups; reference: one commit each (ZING_GROUP_MAX=1)"
    print(frame.card(title, facts, rows, "grouped"))
    print(frame.line(facts, rows))


def _sqlite(name: str, variables: dict[str, str]) -> Disk:
    @contextmanager
    def start(more: Mapping[str, str]) -> Iterator[tuple[Service, str]]:
        with _folder() as folder, _serving(folder, variables | dict(more)) as service:
            yield service, ""

    with _folder() as folder:
        return Disk(f"SQLite, {name}", start, 1000 * disk.sqlite_commit_s(folder, variables))


def _postgresql(name: str, server: str) -> Disk:
    @contextmanager
    def start(more: Mapping[str, str]) -> Iterator[tuple[Service, str]]:
        with (
            _folder() as folder,
            databases.new_database(server) as url,
            _serving(folder, {"ZING_DATABASE": url, **more}) as service,
        ):
            yield service, url

    return Disk(f"PostgreSQL, {name}", start, 1000 * _postgresql_commit_s(server))


def _serving(folder: Path, variables: Mapping[str, str]) -> AbstractContextManager[Service]:
    return serving(folder / "data", "--no-worker", **variables)


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="zing-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _compared(where: Disk, rounds: int, seconds: float) -> list[Row]:
    """Commits an accept and accepts a second, grouped beside one by one, in turns."""
    stop.say(f"measuring {where.name}: a commit takes {where.commit_ms:.2f} ms ...")
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for grouped in (True, False) if number % 2 else (False, True):
            with where.start({} if grouped else ALONE) as (service, _):
                found[grouped].append(load.rate(service.port, service.key, SUBMIT, seconds))
    ratio = median(mine / theirs for mine, theirs in zip(found[True], found[False], strict=True))
    shared, alone = (_commits_an_accept(partial(where.start, more)) for more in ({}, ALONE))
    return [
        Row(f"{where.name}: a commit", "ms", where.commit_ms, pairs=PROBED),
        Row(f"{where.name}: commits an accept", "", shared, alone, shared / alone),
        Row(
            f"{where.name}: accepts", "/s", median(found[True]), median(found[False]), ratio, rounds
        ),
    ]


def _commits_an_accept(start: Callable[[], AbstractContextManager[tuple[Service, str]]]) -> float:
    with start() as (service, url):
        counting = counted(url) if url else books.counting(service.data)
        with counting as counts:
            load.rate(service.port, service.key, SUBMIT, COUNTED_S)
    return counts["commits"] / counts["tasks"]


@contextmanager
def counted(url: str) -> Iterator[dict[str, int]]:
    """Counts what happens inside in a PostgreSQL: `commits` that wrote something, new `tasks`."""
    counts: dict[str, int] = {}
    with psycopg.connect(url, autocommit=True) as connection:
        since, tasks = _still(connection)
        yield counts
        until, after = _still(connection)
        (log,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        counts.update(commits=_commits(Path(log) / "pg_wal", since, until), tasks=after - tasks)


def _still(connection: psycopg.Connection) -> tuple[str, int]:
    """The end of the log and the number of tasks, once what is under way has come to its end."""
    last = ("", -1)
    query = "SELECT pg_current_wal_flush_lsn()::text, count(*) FROM task"
    while (now := connection.execute(query).fetchone() or last) != last:
        last = now
        time.sleep(STILL_S)
    return last


def _commits(log: Path, since: str, until: str) -> int:
    programs = databases.programs()
    assert programs is not None
    # Where the programs are found on the path there may be links to a few of them only.
    programs = (programs / "initdb").resolve().parent
    where = ["--path", str(log), "--start", since, "--end", until, "--rmgr", "Transaction"]
    command = [str(programs / "pg_waldump"), *where]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return said.count("desc: COMMIT")


def _postgresql_commit_s(server: str) -> float:
    """Seconds that PostgreSQL takes to make one row durable; the median of 50."""
    seconds = []
    with (
        databases.new_database(server) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE row (number integer)")
        for number in range(PROBED):
            started = time.perf_counter()
            connection.execute("INSERT INTO row VALUES (%s)", [number])
            seconds.append(time.perf_counter() - started)
    return median(seconds)
