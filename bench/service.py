"""`python -m bench service`: how soon a picture is seen, what kills cost, requests a second."""

import argparse
import math
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import books, frame, load, stop
from bench.frame import Row
from bench.server import APIS, EVOLINK, Api, Call, Client, Service, serving
from zing.config import PRICE
from zing.task import parse_credits

PACKAGES = ("uvicorn", "starlette", "sqlalchemy", "torch", "pillow")
PARTS = ("visible", "kills", "rates")
VISIBLE_POLL_S = 0.005
KILLS_POLL_S = 0.1
TASK_S = 300.0  # a task that has not ended by then is lost
THREADS = 8
OPEN = 5  # tasks that a thread submits before it looks
CANCELLED_EVERY = 24
SUBJECTS = ("a red circle on a blue background", "一只可爱的猫咪", "a green star", "黄色的三角形")


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON; status 1 where a task went wrong."""
    options = _options(arguments)
    stop.as_ctrl_c()
    facts = frame.machine(PACKAGES)
    facts |= {"sqlite": sqlite3.sqlite_version, "model": "builtin, float32"}
    rows: list[Row] = []
    if "visible" in options.parts:
        rows += _visible(options.pictures)
    if "kills" in options.parts:
        rows += _killed(options.tasks, options.kills)
    if "rates" in options.parts:
        rows += _rates(options.rounds, options.seconds)
    title = "zing bench service: reference: bare uvicorn; ratio: above 1 zing is faster"
    print(frame.card(title, facts, rows))
    print(frame.line(facts, rows))
    bad = [row.name for row in rows if row.name.startswith("kills: wrong") and row.ours]
    if bad:
        sys.exit(f"This must be 0: {', '.join(bad)}.")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='make bench ARGS="service …"', description=__doc__)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    add("--pictures", type=int, default=30, help="pictures an API, for how soon one is seen")
    add("--tasks", type=int, default=1000, help="requests while the worker is killed")
    add("--kills", type=int, default=5, help="times that it is killed")
    add("--rounds", type=int, default=5, help="alternating rounds a rate")
    add("--seconds", type=float, default=4.0, help="seconds a round")
    return parser.parse_args(arguments)


@contextmanager
def _data() -> Iterator[Path]:
    """A place for a data folder."""
    with TemporaryDirectory(prefix="zing-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


# How soon a picture is seen.


def _visible(pictures: int) -> list[Row]:
    """Milliseconds from the engine's end, and from the submit, until a client is told of it."""
    stop.say(f"measuring how soon {pictures} pictures of each API are seen ...")
    times: dict[str, tuple[Api, float, float]] = {}
    with _data() as data, serving(data) as service:
        client = service.client()
        for number in range(pictures):
            for api in APIS:
                started = time.time()
                task_id = client.submit(api, _prompt(number))
                state, seen = _follow(client, api, task_id, VISIBLE_POLL_S)
                if state != api.completed:
                    raise RuntimeError(f"{api.name} {task_id} ended as {state}")
                times[task_id] = api, started, seen
        done = books.drawn_at(data)
    rows = []
    for each in (*APIS, None):
        name = f"{each.name} {each.picture}" if each else "all"
        mine = {task_id: told for task_id, told in times.items() if each in (told[0], None)}
        rows += _spread(f"{name} drawn to seen", [t[2] - done[i] for i, t in mine.items()])
        rows += _spread(f"{name} asked to seen", [t[2] - t[1] for t in mine.values()])
    return rows


def _spread(name: str, seconds: list[float]) -> list[Row]:
    """The median and the 95th percentile, in milliseconds."""
    found = sorted(1000 * each for each in seconds)
    high = found[math.ceil(0.95 * len(found)) - 1]
    return [
        Row(f"{name}, median", "ms", median(found), pairs=len(found)),
        Row(f"{name}, p95", "ms", high, pairs=len(found)),
    ]


def _follow(
    client: Client, api: Api, task_id: str, pause_s: float, stop: threading.Event | None = None
) -> tuple[object, float]:
    """The state in which a task is first seen ended, and when, UTC seconds."""
    stop = stop or threading.Event()
    latest = time.monotonic() + TASK_S
    while True:
        asked = time.monotonic()
        state, seen = client.look(api, task_id), time.time()
        ended = state == api.completed or state in api.ended
        if ended or asked > latest or stop.wait(max(0.0, asked + pause_s - time.monotonic())):
            return state, seen


# What kills cost.


@dataclass
class Crowd:
    """What the threads of clients share.

    asked  the ids of accepted tasks; True where the task was to be cancelled
    ended  the ids of tasks that were followed to their end
    """

    asked: dict[str, bool] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def _killed(tasks: int, kills: int) -> list[Row]:
    """What became of requests of all four APIs while the worker was killed again and again."""
    stop.say(f"measuring {tasks} tasks and {kills} kills ...")
    with _data() as data:
        with serving(data) as service:
            started = time.perf_counter()
            crowd = _drive(service, tasks, kills)
            seconds = time.perf_counter() - started
        found = books.audit(data, crowd.asked, parse_credits(PRICE.default))
    for line in (*found.lost, *found.charged):
        stop.say(line)
    counted = {
        "kills: tasks": len(crowd.asked),
        "kills: workers killed": kills,
        "kills: drawn again": found.again,
        "kills: completed": found.completed,
        "kills: cancelled": found.cancelled,
        "kills: wrong, lost": tasks - len(crowd.asked) + len(found.lost),
        "kills: wrong, charged": len(found.charged),
        "kills: wrong, micro-credits": found.unbalanced,
    }
    rows = [Row(name, "", value) for name, value in counted.items()]
    rows.append(Row("kills: all of it", "s", seconds))
    rows.append(Row("kills: pictures", "/s", found.completed / seconds))
    return rows


def _drive(service: Service, tasks: int, kills: int) -> Crowd:
    """Eight clients ask for so many pictures, and the worker is killed at even distances."""
    crowd = Crowd()
    bounds = [tasks * each // THREADS for each in range(THREADS + 1)]
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            clients = [
                pool.submit(_ask, service, range(first, last), crowd)
                for first, last in pairwise(bounds)
            ]
            for kill in range(1, kills + 1):
                _wait(clients, crowd, kill * tasks // (kills + 1))
                _kill(service)
                stop.say(f"killed the worker after {len(crowd.ended)} tasks")
            for each in clients:
                each.result()
        finally:
            crowd.stop.set()
    return crowd


def _ask(service: Service, numbers: range, crowd: Crowd) -> None:
    """Submit a few, follow them to their end, and again; one in 24 is cancelled at once."""
    client = service.client()
    for first in range(0, len(numbers), OPEN):
        few: list[tuple[Api, str]] = []
        for number in numbers[first : first + OPEN]:
            api = APIS[number % len(APIS)]
            task_id = client.submit(api, _prompt(number), small=True)
            crowd.asked[task_id] = number % CANCELLED_EVERY == 0
            few.append((api, task_id))
            if crowd.asked[task_id]:
                _cancel(client, task_id)
        for api, task_id in few:
            _follow(client, api, task_id, KILLS_POLL_S, crowd.stop)
            crowd.ended.append(task_id)
        if crowd.stop.is_set():
            return


def _cancel(client: Client, task_id: str) -> None:
    """Ask an EvoLink task to end; it may have, or take its time."""
    status, answer = client.send(Call("POST", f"/v1/tasks/{task_id}/cancel"))
    if status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT):
        raise RuntimeError(f"{task_id} could not be cancelled: {status} {answer.decode()}")


def _wait(clients: list[Future[None]], crowd: Crowd, count: int) -> None:
    """Wait until so many tasks have ended; raises what broke a client."""
    while len(crowd.ended) < count:
        for each in clients:
            if each.done():
                each.result()
        time.sleep(0.005)


def _kill(service: Service) -> None:
    """Kill the worker, as soon as there is one."""
    latest = time.monotonic() + TASK_S
    while time.monotonic() < latest:
        worker = service.worker()
        if worker is not None:
            os.kill(worker, signal.SIGKILL)
            return
        time.sleep(0.005)
    raise RuntimeError("There is no worker to kill.")


# Requests a second.


def _rates(rounds: int, seconds: float) -> list[Row]:
    """Status reads and accepts a second beside a bare server's, and commits an accept."""
    with _data() as data:
        with serving(data) as service:
            client = service.client()
            drawn = client.submit(EVOLINK, _prompt(0))
            _follow(client, EVOLINK, drawn, KILLS_POLL_S)
        with serving(data, "--no-worker") as service:
            queued = service.client().submit(EVOLINK, _prompt(0))
            rows = [
                _reads(f"reads of a {state} task", service, task_id, rounds, seconds)
                for state, task_id in (("queued", queued), ("completed", drawn))
            ]
    return [*rows, *_accepts(rounds, seconds)]


def _reads(name: str, service: Service, task_id: str, rounds: int, seconds: float) -> Row:
    look = EVOLINK.look(task_id)
    _, answer = service.client().send(look)

    def read(port: int) -> float:
        return load.rate(port, service.key, look, seconds)

    with load.bare(answer) as port:
        return _alternating(name, lambda: read(service.port), lambda: read(port), rounds)


def _accepts(rounds: int, seconds: float) -> list[Row]:
    """Each round of zing's is one of a new service: nothing is queued there yet."""
    submit = EVOLINK.submit(_prompt(0), False)
    with _data() as data, serving(data, "--no-worker") as service:
        _, answer = service.client().send(submit)
        with books.counting(data) as counts:
            load.rate(service.port, service.key, submit, min(1.0, seconds))

    def accept() -> float:
        with _data() as data, serving(data, "--no-worker") as service:
            return load.rate(service.port, service.key, submit, seconds)

    def bare() -> float:
        return load.rate(port, service.key, submit, seconds)

    with load.bare(answer) as port:
        row = _alternating("accepts", accept, bare, rounds)
    return [row, Row("commits an accept", "", counts["commits"] / counts["tasks"])]


def _alternating(
    name: str, ours: Callable[[], float], bare: Callable[[], float], rounds: int
) -> Row:
    """Ours and the bare server's in turns; the ratio is the median of the rounds' ratios."""
    stop.say(f"measuring {name} a second ...")
    pairs = []
    for number in range(rounds):
        if number % 2:
            theirs, mine = bare(), ours()
        else:
            mine, theirs = ours(), bare()
        pairs.append((mine, theirs))
    mines, references = zip(*pairs, strict=True)
    ratio = median(mine / theirs for mine, theirs in pairs)
    return Row(name, "/s", median(mines), median(references), ratio, rounds)


def _prompt(number: int) -> str:
    return f"{SUBJECTS[number % len(SUBJECTS)]} {number}"
