"""What /metrics tells: what this process counted, and what the database holds at the moment.

Every label is one of few words that the code knows: no key, no account, no id, no path.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from zing import __version__
from zing.audit import Audited
from zing.disk import Room
from zing.errors import ZingError
from zing.limits import Rules
from zing.store import Store, counts
from zing.store.counts import ENDS, Ends, Standing
from zing.task import TaskState

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# A task's end has its time before it is durable, at most so much.
LATE_S = 10.0
# Whoever asks less often than this misses ends: no question goes through a whole day of them.
AT_MOST_S = 3600.0
WORKER_STATES = ("loading", "ready", "draining")

# Of the library, for all registries: a line with the time at which each counter was made.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Read:
    """What the database holds at one moment, and the tasks that ended since the last one."""

    standing: Standing
    oldest_queued_s: float
    callbacks_due: int
    ended: dict[TaskState, Ends]
    until: float


class Metrics:
    """What one process counted since it started."""

    def __init__(
        self, clock: Callable[[], float] = time.time, queue_max: int = Rules.queue_max
    ) -> None:
        self._queue_max = queue_max
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered.", "dialect use status")
        self._accepts = self._counter("accepts", "Tasks accepted.", "dialect")
        self._refusals = self._counter("refusals", "Requests refused.", "dialect error")
        self._errors = self._counter("log_errors", "Lines of the log that are errors.")
        self._seconds = Histogram(
            "zing_request_seconds",
            "Seconds from a request to the begin of its answer.",
            ["use"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        ProcessCollector(namespace="zing", registry=self.registry)
        # What `labels` finds again each time, several times slower.
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._tally = Tally(clock)
        self._last_audit: Callable[[], Audited | None] = _none_yet

    def answered(self, dialect: str, use: str, status: int, seconds: float) -> None:
        """Count a request that was answered; the server's own pages are of the dialect `none`."""
        known = self._known.get((dialect, use, status))
        if known is None:
            known = self._requests.labels(dialect, use, status), self._seconds.labels(use)
            self._known[dialect, use, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def accepted(self, dialect: str) -> None:
        """Count a task that was accepted."""
        self._accepts.labels(dialect).inc()

    def refused(self, dialect: str, error: str) -> None:
        """Count a request that was refused, by the name of the error."""
        self._refusals.labels(dialect, error).inc()

    def watch_log(self) -> None:
        """Count the errors in the log from now on."""
        logging.getLogger().addHandler(Errors(self._errors))

    def watch_audit(self, last: Callable[[], Audited | None]) -> None:
        """Tell from now on what the last audit found, and how long ago."""
        self._last_audit = last

    def tell(self, store: Store, rooms: Mapping[str, Room]) -> bytes:
        """All that is known, in Prometheus's text format; asks the database."""
        return self._written(rooms, self._tally.read(store))

    def tell_own(self, rooms: Mapping[str, Room]) -> bytes:
        """What is known without the database."""
        return self._written(rooms, None)

    def _written(self, rooms: Mapping[str, Room], read: Read | None) -> bytes:
        held = CollectorRegistry()
        audited = _of_audit(self._last_audit())
        limit = _gauge("tasks_queued_limit", "Tasks that may wait.", self._queue_max)
        held.register(Held([*_facts(rooms), limit, *audited, *self._tally.families(read)]))
        return bytes(generate_latest(self.registry) + generate_latest(held))

    def _counter(self, name: str, text: str, labels: str = "") -> Counter:
        return Counter(f"zing_{name}", text, labels.split(), registry=self.registry)


class Errors(logging.Handler):
    """Counts the lines of the log that are errors."""

    def __init__(self, counter: Counter) -> None:
        super().__init__(logging.ERROR)
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        """Count one more."""
        self._counter.inc()


class Tally:
    """What the database told, and the ends of tasks added up over each time that it was asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asking = threading.Lock()
        self._until = clock() - LATE_S
        self._ended = dict.fromkeys(ENDS, 0)
        self._queued_s = self._drawn_s = 0.0
        self._last: Read | None = None

    def read(self, store: Store) -> Read | None:
        """What the database holds; None where it does not answer.

        While one asks, others get what was told last: a database that hangs holds one thread.
        """
        if not self._asking.acquire(blocking=False):
            return self._last
        try:
            self._last = store.read(self._read)
            self._add(self._last)
        except (ZingError, SQLAlchemyError):
            self._last = None
        finally:
            self._asking.release()
        return self._last

    def _read(self, tx: Connection) -> Read:
        now = self._clock()
        until = now - LATE_S
        oldest = counts.oldest_queued(tx)
        return Read(
            standing=counts.standing(tx, now),
            oldest_queued_s=0.0 if oldest is None else max(0.0, now - oldest),
            callbacks_due=counts.callbacks_due(tx),
            ended=counts.ended(tx, max(self._until, until - AT_MOST_S), until),
            until=until,
        )

    def _add(self, read: Read) -> None:
        for state, ends in read.ended.items():
            self._ended[state] += ends.tasks
        if drawn := read.ended.get(TaskState.SUCCEEDED):
            self._queued_s += drawn.queued_s
            self._drawn_s += drawn.drawn_s
        # A clock that went back is followed, or nothing would be counted until it is there again.
        self._until = read.until

    def families(self, read: Read | None) -> Iterator[Metric]:
        """What was read and added up, as metrics."""
        yield _gauge("database_up", "Whether the database answered.", read is not None)
        if read is not None:
            yield from _of_queue(read)
        ended = CounterMetricFamily("zing_tasks_ended", "Tasks that ended.", labels=["state"])
        for state, number in self._ended.items():
            ended.add_metric([state], number)
        yield ended
        for name, text, seconds in (
            ("queued", "Seconds that drawn tasks waited.", self._queued_s),
            ("drawn", "Seconds from there to their ends.", self._drawn_s),
        ):
            yield CounterMetricFamily(f"zing_task_{name}_seconds", text, value=seconds)


class Held(Collector):
    """Metrics that are known already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        return self._families


def _of_queue(read: Read) -> Iterator[Metric]:
    yield _gauge("tasks_queued", "Tasks that wait.", read.standing.queued)
    yield _gauge("tasks_running", "Tasks that are drawn.", read.standing.running)
    yield _gauge("oldest_queued_seconds", "How long the oldest waits.", read.oldest_queued_s)
    yield _gauge("callbacks_due", "Callbacks to be sent.", read.callbacks_due)
    workers = GaugeMetricFamily("zing_workers", "Workers that are alive.", labels=["state"])
    states = [state for state, _ in read.standing.workers]
    for state in WORKER_STATES:
        workers.add_metric([state], states.count(state))
    yield workers


def _of_audit(audited: Audited | None) -> Iterator[Metric]:
    if audited is None:
        return
    findings = GaugeMetricFamily(
        "zing_audit_findings", "What the last audit found.", labels=["invariant"]
    )
    for invariant, number in audited.findings.items():
        findings.add_metric([invariant], number)
    yield findings
    yield _gauge("audit_age_seconds", "How long ago it was.", audited.age_s)


def _none_yet() -> None:
    """There was no audit."""


def _facts(rooms: Mapping[str, Room]) -> Iterator[Metric]:
    version = GaugeMetricFamily("zing_build_info", "This version of zing.", labels=["version"])
    version.add_metric([__version__], 1)
    yield version
    free = GaugeMetricFamily("zing_disk_free_bytes", "Room on the disk.", labels=["of"])
    for name, room in rooms.items():
        free.add_metric([name], room.free)
    yield free


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"zing_{name}", text, value=value)
