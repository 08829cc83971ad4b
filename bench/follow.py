"""`python -m bench follow`: how far behind its step a progress event is, with many watchers.

The service runs alone. The worker is zing's own, in this process, around an engine that draws
nothing: it takes its time over each step, and notes when it was done.
"""

import argparse
import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import numpy as np

from bench import frame, stop
from bench.frame import Row
from bench.server import EVOLINK, Service, serving
from zing.blobs import Blobs
from zing.data import Data
from zing.engine.base import Order
from zing.store import Store
from zing.task import Picture, Progress
from zing.worker import Lease, Rules, Worker

PACKAGES = ("uvicorn", "starlette", "sqlalchemy")
STEP_S = 0.25
WORKER = "bench-follow"
STREAM_S = 300.0


@dataclass
class Paced:
    """An engine whose steps take their time; when each was done, by the seed of its task."""

    done: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def generate(self, order: Order) -> Iterator[Progress | Picture]:
        """A plain picture in as many steps as were asked for."""
        for step in range(1, order.steps + 1):
            time.sleep(STEP_S)
            self.done[order.seed][step] = time.time()
            yield Progress(step, order.steps)
        pixels = np.zeros((order.height, order.width, 3), np.uint8)
        yield Picture(pixels, (order.width, order.height), 1, 1)


class Told:
    """What the worker is told: to go on until it is to end; see worker.Orders."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self.stop = False

    @property
    def drain(self) -> bool:
        """Whether to end."""
        return self._end.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for that long."""
        self._end.wait(seconds)

    def end(self) -> None:
        """End when what runs is done."""
        self._end.set()


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog='make bench ARGS="follow …"', description=__doc__)
    parser.add_argument("--watchers", type=int, default=200, help="of all tasks together")
    parser.add_argument("--tasks", type=int, default=10, help="one is drawn after the other")
    options = parser.parse_args(arguments)
    stop.as_ctrl_c()
    stop.say(f"following {options.tasks} tasks with {options.watchers} watchers ...")
    facts = frame.machine(PACKAGES) | {"step": f"{STEP_S} s"}
    rows = _rows(_lags(options.tasks, options.watchers))
    print(frame.card("zing bench follow: from a step's end to its event", facts, rows))
    print(frame.line(facts, rows))


def _rows(lags: list[float]) -> list[Row]:
    found = [1000 * each for each in lags]
    twentieths = quantiles(found, n=20)
    count = len(found)
    return [
        Row("step to its event, median", "ms", median(found), pairs=count),
        Row("step to its event, p95", "ms", twentieths[-1], pairs=count),
        Row("step to its event, longest", "ms", max(found), pairs=count),
    ]


def _lags(tasks: int, watchers: int) -> list[float]:
    """Seconds from each step's end to its event, of every watcher."""
    with TemporaryDirectory(prefix="zing-bench-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        with serving(data, "--no-worker") as service:
            seeds = list(range(1, tasks + 1))
            ids = [_submit(service, seed) for seed in seeds]
            engine = Paced()
            followed = [(seeds[n % tasks], ids[n % tasks]) for n in range(watchers)]
            seen = asyncio.run(_follow(service, followed, lambda: _drawing(data, engine)))
    return [
        at - engine.done[seed][step]
        for seed, step, at in seen
        if step  # the start of the drawing is no step
    ]


def _submit(service: Service, seed: int) -> str:
    fields = {"model": "z-image-turbo", "prompt": "a cat", "size": "376x376", "seed": seed}
    call = EVOLINK.submit("a cat", True)._replace(body=json.dumps(fields).encode())
    return str(service.client().ask(EVOLINK, call)["id"])


async def _follow(
    service: Service, followed: list[tuple[int, str]], draw: Callable[[], Callable[[], None]]
) -> list[tuple[int, int, float]]:
    """Every step that a watcher was told of: its task's seed, its number, when."""
    streams = [asyncio.create_task(_watch(service, seed, each)) for seed, each in followed]
    await asyncio.sleep(1.0)  # all of them watch before anything is drawn
    end = draw()
    try:
        async with asyncio.timeout(STREAM_S):
            told = await asyncio.gather(*streams)
    finally:
        await asyncio.to_thread(end)
    return [each for one in told for each in one]


async def _watch(service: Service, seed: int, task_id: str) -> list[tuple[int, int, float]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"GET /v1/tasks/{task_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    writer.write(f"{head}Authorization: Bearer {service.key}\r\n\r\n".encode())
    told = []
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            continue
        event = json.loads(line[6:])
        if event["status"] == "completed":
            break
        if event["status"] == "processing":
            told.append((seed, int(event["step"]), time.time()))
    writer.close()
    return told


def _drawing(data: Path, engine: Paced) -> Callable[[], None]:
    """Start a worker; what ends it is returned."""
    place = Data(data)
    store = Store.of("", place)
    rules = Rules.read()
    lease = Lease(store, WORKER, rules, time.time)
    worker = Worker(store, Blobs(place.pictures / store.id), lease, rules, "builtin")
    told = Told()
    lease.start()
    thread = threading.Thread(target=worker.run, args=(engine, told))
    thread.start()

    def end() -> None:
        told.end()
        thread.join()
        lease.end()
        store.close()

    return end
