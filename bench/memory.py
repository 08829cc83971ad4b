"""`python -m bench memory`: resident memory of the API's process over 20,000 requests."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory

from bench import frame, load, stop
from bench.frame import Row
from bench.server import EVOLINK, Call, serving

PACKAGES = ("uvicorn", "starlette", "sqlalchemy", "python-multipart")
READS = 3  # of tasks, for each accept: the queue has room for 10,000
WARM = 2_000  # requests whose samples do not count for the slope
SLICE_S = 1.0  # of requests between two samples
DRAWN_S = 120.0
MB = 1024 * 1024


def main(arguments: Sequence[str]) -> None:
    """Measure, print the card, end with one line of JSON."""
    parser = argparse.ArgumentParser(prog='make bench ARGS="memory …"', description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="after 2,000 to warm up")
    options = parser.parse_args(arguments)
    stop.as_ctrl_c()
    samples = _sampled(WARM + options.requests)
    facts = frame.machine(PACKAGES)
    rows = sampled_rows(samples)
    print(frame.card("zing bench memory: the API's process, without a worker", facts, rows))
    print(frame.line(facts, rows))


def _sampled(requests: int) -> list[tuple[int, float]]:
    """Requests answered so far and megabytes resident, again and again until so many are."""
    with TemporaryDirectory(prefix="zing-bench-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        drawn = _drawn(data)
        with serving(data, "--no-worker") as service:
            submit = EVOLINK.submit("a red circle", False)
            queued = service.client().submit(EVOLINK, "a red circle")
            looks = [EVOLINK.look(each) for each in (queued, queued, drawn)]
            samples = [(0, _resident(service.pid))]
            while samples[-1][0] < requests:
                answered = samples[-1][0] + _asked(service.port, service.key, [submit, *looks])
                samples.append((answered, _resident(service.pid)))
                stop.say(f"{answered} requests, {samples[-1][1]:.1f} MB")
    return samples


def _drawn(data: Path) -> str:
    """The id of a task whose picture is there."""
    with serving(data) as service:
        client = service.client()
        task_id = client.submit(EVOLINK, "a red circle")
        latest = time.monotonic() + DRAWN_S
        while client.look(EVOLINK, task_id) != EVOLINK.completed:
            if time.monotonic() > latest:
                raise RuntimeError(f"{task_id} was not drawn within {DRAWN_S:g} s")
            time.sleep(0.1)
    return task_id


def _asked(port: int, key: str, calls: Sequence[Call]) -> int:
    told = load.asked(port, key, calls, SLICE_S)
    if told.errors:
        raise RuntimeError(f"not only 200: {told.answers}")
    return told.answers["200"]


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / MB


def sampled_rows(samples: list[tuple[int, float]]) -> list[Row]:
    """The rows of samples: requests so far and megabytes; the slope is of a least-squares line."""
    warm = [(requests, resident) for requests, resident in samples if requests >= WARM]
    per_request = linear_regression(*zip(*warm, strict=True)).slope
    return [
        Row("requests", "", samples[-1][0], pairs=1),
        Row("at the start", "MB", samples[0][1]),
        Row("after 2,000 requests", "MB", warm[0][1]),
        Row("at the end", "MB", warm[-1][1]),
        Row("slope after those, per 20,000", "MB", per_request * 20_000, pairs=len(warm)),
    ]
