"""What /metrics tells: documented names, bounded labels, few reads, also without a database."""

import logging
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Select, event, text
from sqlalchemy.dialects import sqlite

from tests import requests, servers
from tests.audit import MODEL, NOW, Clock, accepted, funded, kept_file, submission
from tests.requests import JSON, SUBMIT, compact
from tests.test_app import Asgi
from zing import app, dialects, errors, queue
from zing.audit import INVARIANTS, Audited
from zing.dialects.base import Use
from zing.disk import Room
from zing.errors import BadPicture, Unavailable
from zing.metrics import AT_MOST_S, LATE_S, Metrics
from zing.queue import Outcome
from zing.readiness import Place
from zing.store import Store, counts
from zing.task import TaskState

PAGE = Path(__file__).parent.parent / "docs" / "running.md"
ROOMS = {"pictures": Room(5), "database": Room(7)}
PAGES = {"picture", "described", "healthz", "readyz", "metrics", "front", "nothing"}
LABELS = {
    "dialect": {"none", "admin", *(each.NAME for each in dialects.ALL)},
    "use": PAGES | {"read", "change"} | {use.value for use in Use},
    "error": {each.__name__ for each in errors.leaves()} | {"Refused"},
    "state": {"succeeded", "failed", "cancelled", "loading", "ready", "draining"},
    "of": {"pictures", "database"},
    "invariant": set(INVARIANTS),
}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(exposition: str) -> Samples:
    """Every line as its name and labels, and its value."""
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(exposition)
        for each in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def scrape(server: servers.Server) -> Samples:
    reply = requests.send(server.url, "GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(reply.body.decode())


def told(metrics: Metrics, store: Store) -> Samples:
    return samples(metrics.tell(store, ROOMS).decode())


def audited(found: int = 0) -> Metrics:
    """Metrics after an audit that found so much of everything."""
    metrics = Metrics()
    metrics.watch_audit(lambda: Audited(dict.fromkeys(INVARIANTS, found), 7.0))
    return metrics


def test_every_metric_is_on_the_page_about_running_and_the_other_way_round(store: Store) -> None:
    table = re.findall(r"^\| `(zing_\w+)(?:\{[\w, ]+\})?` \|", PAGE.read_text(), re.MULTILINE)
    exposition = audited().tell(store, ROOMS).decode()
    names = re.findall(r"^# TYPE (\S+)", exposition, re.MULTILINE)
    assert len(names) == len(set(names)) > 20
    assert sorted(table) == sorted(names)


def test_the_page_names_the_labels(store: Store) -> None:
    rows = re.findall(r"^\| `(zing_\w+)\{([\w, ]+)\}` \|", PAGE.read_text(), re.MULTILINE)
    metrics = audited()
    metrics.answered("kie", "submit", 200, 0.1)
    metrics.accepted("kie")
    metrics.refused("kie", "BadKey")
    labels: dict[str, set[str]] = {}
    for name, found in told(metrics, store):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        names = {label for label, _ in found} - {"le"}
        labels[base] = labels.get(base, set()) | names
    assert {name: set(named.split(", ")) for name, named in rows} == {
        name: names for name, names in labels.items() if names
    }


# What this process counts


def test_requests_accepts_and_refusals_are_counted(server: servers.Server) -> None:
    key = {"Authorization": f"Bearer {server.key}"}
    before = scrape(server)
    asked = compact({"model": "z-image-turbo", "prompt": "a red circle", "size": "376x376"})
    same = f"metrics-{time.monotonic_ns()}"
    for _ in range(2):
        sent = JSON | key | {"Idempotency-Key": same}
        assert requests.send(server.url, "POST", SUBMIT["evolink"], asked, sent).status == 200
    requests.send(server.url, "POST", SUBMIT["kie"], b"{}", JSON)
    requests.send(server.url, "POST", SUBMIT["kie"], b"{", JSON | key)
    requests.send(server.url, "GET", f"/secret/{server.key}")
    after = scrape(server)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    ok = {"dialect": "evolink", "use": "submit", "status": "200"}
    assert more("zing_requests_total", **ok) == 2
    assert more("zing_accepts_total", dialect="evolink") == 1, "an answer sent again is no accept"
    assert more("zing_refusals_total", dialect="kie", error="BadKey") == 1
    assert more("zing_refusals_total", dialect="kie", error="BadBody") == 1
    assert more("zing_accepts_total", dialect="kie") == 0
    assert more("zing_requests_total", dialect="none", use="nothing", status="404") == 1
    assert more("zing_request_seconds_count", use="submit") == 4
    assert value(after, "zing_workers", state="ready") == 1
    assert value(after, "zing_database_up") == 1
    assert value(after, "zing_process_resident_memory_bytes") > 10**7
    assert abs(value(after, "zing_process_start_time_seconds") - time.time()) < 3600


def test_every_label_is_one_of_few_words(server: servers.Server) -> None:
    key = JSON | {"Authorization": f"Bearer {server.key}"}
    for path in ("/v1/tasks/secret-id", "/f/secret-link", "/secret", "/docs/secret", "/api/secret"):
        for method in ("GET", "POST", "PUT", "BREW"):
            requests.send(server.url, method, path, b"{}", key)
    exposition = requests.send(server.url, "GET", "/metrics").body.decode()
    assert "secret" not in exposition
    assert server.key.split("_")[2] not in exposition
    for _, found in samples(exposition):
        for name, given in found:
            if name == "status":
                assert re.fullmatch(r"[2-5]\d\d", given)
            elif name not in ("le", "version"):
                assert given in LABELS[name], (name, given)


def test_errors_in_the_log_are_counted() -> None:
    metrics, root = Metrics(), logging.getLogger()
    handlers = list(root.handlers)
    metrics.watch_log()
    try:
        for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logging.getLogger("zing.x").log(level, "it is so")
    finally:
        root.handlers[:] = handlers
    assert value(samples(metrics.tell_own(ROOMS).decode()), "zing_log_errors_total") == 2


def test_what_the_last_audit_found_is_told_once_there_was_one() -> None:
    before = Metrics().tell_own(ROOMS).decode()
    assert "audit" not in before
    found = samples(audited(3).tell_own(ROOMS).decode())
    assert value(found, "zing_audit_age_seconds") == 7
    told = {name: value(found, "zing_audit_findings", invariant=name) for name in INVARIANTS}
    assert told == dict.fromkeys(INVARIANTS, 3)


def test_two_of_them_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.accepted("kie")
    found = [samples(each.tell_own(ROOMS).decode()) for each in (first, second)]
    assert [value(each, "zing_accepts_total", dialect="kie") for each in found] == [1, 0]


# What the database tells


class Shop:
    """A database with a worker, and a clock that stands."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.account_id = funded(store)
        self.metrics = Metrics(self.clock)
        self.worker("w1")

    def worker(self, name: str, state: str = "ready") -> None:
        now = self.clock()
        self.store.write(lambda tx: queue.register(tx, name, "host", now, 10**6))
        self.store.write(lambda tx: queue.beat(tx, name, state, {"model": MODEL}, now + 10**6))

    def accept(self, **changes: Any) -> Any:
        asked = submission(self.account_id, **changes)
        return accepted(self.store, asked, self.clock())

    def claim(self) -> queue.Claim:
        return self.store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, self.clock()))[0]

    def end(self, drawn: bool = True) -> None:
        held = self.claim()
        self.clock.now += 2
        file = kept_file(held.task.id)
        outcome = Outcome(TaskState.SUCCEEDED, file=file) if drawn else queue.failure(BadPicture())
        ends = [(held, outcome)]
        assert self.store.write(lambda tx: queue.settle(tx, ends, self.clock())) != [None]

    def ended(self) -> tuple[float, float, float]:
        found = told(self.metrics, self.store)
        states = ("succeeded", "failed", "cancelled")
        succeeded, failed, cancelled = (
            value(found, "zing_tasks_ended_total", state=state) for state in states
        )
        return succeeded, failed, cancelled


@pytest.fixture
def shop(store: Store) -> Shop:
    """An open shop."""
    return Shop(store)


def test_the_queue_and_the_workers_are_told_as_they_are(shop: Shop) -> None:
    empty = told(shop.metrics, shop.store)
    assert value(empty, "zing_tasks_queued") == value(empty, "zing_oldest_queued_seconds") == 0
    shop.accept(callback_url="https://hooks.example.com/")
    shop.end()
    for _ in range(3):
        shop.clock.now += 10
        shop.accept()
    other = funded(shop.store)
    late = submission(other)
    accepted(shop.store, late, shop.clock())
    shop.claim()
    shop.worker("w2", "loading")
    shop.worker("w3", "loading")
    found = told(shop.metrics, shop.store)
    assert value(found, "zing_tasks_queued") == 3
    assert value(found, "zing_tasks_queued_limit") == 10_000
    assert value(found, "zing_tasks_running") == 1
    oldest = value(found, "zing_oldest_queued_seconds")
    waiting = counts_of_waiting(shop)
    assert oldest == shop.clock() - min(waiting)
    assert value(found, "zing_workers", state="ready") == 1
    assert value(found, "zing_workers", state="loading") == 2
    assert value(found, "zing_workers", state="draining") == 0
    assert value(found, "zing_callbacks_due") == 1
    assert value(found, "zing_disk_free_bytes", of="pictures") == 5


def counts_of_waiting(shop: Shop) -> list[float]:
    query = text("select created_at from task where state = 'queued'")
    return shop.store.read(lambda tx: [float(each) for each in tx.scalars(query)])


def test_ends_are_counted_whoever_ended_the_task_and_once(shop: Shop) -> None:
    shop.accept()
    shop.end()
    shop.clock.now += LATE_S + 1
    shop.metrics = Metrics(shop.clock)
    for drawn in (True, True, False):
        shop.accept()
        shop.clock.now += 1
        shop.end(drawn)
    gone = shop.accept()
    shop.store.write(lambda tx: queue.cancel(tx, gone.public_id, None, shop.clock()))
    shop.clock.now += LATE_S
    assert shop.ended() == shop.ended() == (2, 1, 1), "those before it started are not its own"
    shop.clock.now += 5
    shop.accept()
    shop.end()
    assert shop.ended() == (2, 1, 1), "it may not be durable yet, so it is counted later"
    shop.clock.now += LATE_S
    assert shop.ended() == (3, 1, 1)
    found = told(shop.metrics, shop.store)
    assert value(found, "zing_task_drawn_seconds_total") == 6
    assert value(found, "zing_task_queued_seconds_total") == 2


def test_ends_are_counted_after_a_clock_went_back_and_none_of_long_ago(shop: Shop) -> None:
    shop.accept()
    shop.end()
    shop.clock.now += AT_MOST_S + LATE_S + 1
    assert shop.ended() == (0, 0, 0), "nobody asked for an hour"
    shop.clock.now -= 1800
    assert shop.ended() == (0, 0, 0)
    shop.accept()
    shop.end()
    shop.clock.now += LATE_S
    assert shop.ended() == (1, 0, 0)


def test_no_scrape_goes_through_all_tasks_or_callbacks(tmp_path: Path) -> None:
    """By SQLite's own word, in a database that knows nothing of its tables' sizes."""
    store = Store(f"sqlite:///{tmp_path / 'zing.db'}")
    asked = (counts._QUEUED, counts._RUNNING, counts._OLDEST, counts._DUE, counts._ENDED)
    found = [line for each in asked for line in plan(store, each)]
    store.close()
    assert len(found) > 5
    assert not [line for line in found if re.match(r"SCAN (task|outbox)\b", line)], found


def plan(store: Store, statement: Select[Any]) -> list[str]:
    """How SQLite finds what a statement asks for."""
    given = {name: NOW for name in ("after", "until") if f":{name}" in str(statement)}
    literal = {"literal_binds": True}
    compiled = statement.params(**given).compile(dialect=sqlite.dialect(), compile_kwargs=literal)
    rows = store.read(lambda tx: list(tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")))
    return [row[3] for row in rows]


def test_a_scrape_reads_in_one_transaction_with_few_statements(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(shop.store._reader, "before_cursor_execute", note)
    reads: list[int] = []
    read = shop.store.read

    def once(query: Any) -> Any:
        reads.append(1)
        return read(query)

    monkeypatch.setattr(shop.store, "read", once)
    shop.metrics.tell(shop.store, ROOMS)
    assert len(reads) == 1
    assert len([each for each in said if each.startswith("SELECT")]) == 6


# Without it


def take_away(store: Store) -> None:
    """The database is not what it was, or lets nobody in."""
    if store.sqlite:
        store.close()
        Path(store.url.database or "").write_bytes(b"no database" * 1000)
        return
    import psycopg

    url = store.url.set(drivername="postgresql", database="postgres")
    with psycopg.connect(url.render_as_string(False), autocommit=True) as connection:
        name = store.url.database
        connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )


def test_a_scrape_tells_what_is_known_while_the_database_is_away(shop: Shop) -> None:
    shop.metrics.accepted("kie")
    shop.accept()
    shop.end()
    shop.clock.now += LATE_S
    assert shop.ended() == (1, 0, 0)
    take_away(shop.store)
    found = told(shop.metrics, shop.store)
    assert value(found, "zing_database_up") == 0
    assert value(found, "zing_accepts_total", dialect="kie") == 1
    assert value(found, "zing_tasks_ended_total", state="succeeded") == 1
    assert "zing_tasks_queued" not in {name for name, _ in found}


class Hanging:
    """A database that does not answer until it is let go."""

    sqlite = False

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.let_go = threading.Event()

    def read(self, _query: Any) -> Any:
        self.asked.release()
        self.let_go.wait(30)
        raise Unavailable


def test_a_scrape_does_not_wait_for_a_database_that_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(app, "SCRAPE_S", 0.05)
    hanging = Hanging()
    freed = threading.Timer(1.0, hanging.let_go.set)
    freed.start()
    place = Place(cast(Store, hanging), tmp_path, MODEL, True)
    reply = Asgi(SimpleNamespace(place=place)).send("GET", "/metrics", None)
    freed.join()
    found = samples(reply.body.decode())
    assert (reply.status, value(found, "zing_database_up")) == (200, 0)
    assert hanging.asked.acquire(timeout=10)


def test_a_database_that_hangs_holds_one_thread(tmp_path: Path) -> None:
    metrics, hanging = Metrics(), Hanging()
    ask = threading.Thread(target=metrics.tell, args=(hanging, ROOMS))
    ask.start()
    assert hanging.asked.acquire(timeout=10)
    found = told(metrics, cast(Store, hanging))
    assert value(found, "zing_database_up") == 0
    assert not hanging.asked.acquire(blocking=False)
    hanging.let_go.set()
    ask.join(10)
    assert not ask.is_alive()
