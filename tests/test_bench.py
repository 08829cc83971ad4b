"""The benchmarks' parts on made-up values, and the benchmarks themselves once, small."""

import hashlib
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from bench import books, claims, commits, disk, frame, load, memory, peers, stages, starts
from bench.server import Call
from tests import databases, servers
from zing.store import Store

ROOT = Path(__file__).parent.parent
DRAWN, STOPPED = {"task-drawn": False}, {"task-stopped": True}
SHA256 = hashlib.sha256(b"picture").hexdigest()
TABLES = """
CREATE TABLE account (held);
CREATE TABLE task (id, public_id, state, attempt, error_message, result);
CREATE TABLE ledger (task_id, kind, amount);
CREATE TABLE file (task_id, blob_key, sha256);
INSERT INTO account VALUES (0);
INSERT INTO task VALUES ('1', 'task-drawn', 'succeeded', 2, '', '{"drawn_at": 7.5}');
INSERT INTO task VALUES ('2', 'task-stopped', 'cancelled', 0, 'It was cancelled.', '{}');
INSERT INTO ledger VALUES (NULL, 'grant', 9), ('1', 'hold', 3), ('1', 'settle', 3),
                          ('2', 'hold', 3), ('2', 'release', 3);
"""


def measured(*arguments: str) -> dict[str, Any]:
    """The rows of `python -m bench`, by name."""
    command = [sys.executable, "-m", "bench", *arguments]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    rows = json.loads(finished.stdout.splitlines()[-1])["rows"]
    return {row["name"]: row for row in rows}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """As much as is audited of a database in which one task was drawn and one cancelled."""
    picture = tmp_path / "pictures" / "a-store" / "2026-11-20" / "f1.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"picture")
    with closing(sqlite3.connect(tmp_path / "zing.db", isolation_level=None)) as opened:
        opened.execute("PRAGMA journal_mode=WAL")
        opened.executescript(TABLES)
        opened.execute("INSERT INTO file VALUES ('1', '2026-11-20/f1.png', ?)", [SHA256])
        yield opened


def audited(tmp_path: Path, asked: dict[str, bool]) -> tuple[int, int, int]:
    """How many of these tasks are lost and how many wrongly charged, and what is unbalanced."""
    found = books.audit(tmp_path, asked, 3)
    return len(found.lost), len(found.charged), found.unbalanced


def test_ratio_is_the_median_of_pairs() -> None:
    row = frame.paired("decode", "s", [1.0, 2.0, 4.0], [2.0, 8.0, 4.0])
    assert (row.ours, row.reference, row.ratio, row.pairs) == (2.0, 4.0, 2.0, 3)


def test_card_and_line_hold_every_row() -> None:
    rows = [frame.paired("decode", "s", [1.0], [2.0]), frame.Row("alone", "MB", 7.0)]
    card = frame.card("title", {"cpu": "a cpu"}, rows)
    assert "2.00x" in card
    assert "alone" in card
    assert "a cpu" in card
    assert len(json.loads(frame.line({"cpu": "a cpu"}, rows))["rows"]) == 2


def test_another_picture_is_not_the_same() -> None:
    pixels = np.full((10, 10, 3), 100, np.uint8)
    assert stages.same(pixels, pixels + 1)
    assert not stages.same(pixels, pixels + 2)


def test_books_in_order_are_found_so(database: sqlite3.Connection, tmp_path: Path) -> None:
    assert books.audit(tmp_path, DRAWN | STOPPED, 3) == books.Books(1, 1, 1, [], [], 0)
    assert books.drawn_at(tmp_path) == {"task-drawn": 7.5}


def test_what_nobody_asked_for_is_wrongly_charged(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    assert audited(tmp_path, DRAWN) == (0, 1, 0)


def test_a_task_that_is_not_there_or_was_not_to_be_cancelled_is_lost(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    assert audited(tmp_path, DRAWN | {"task-stopped": False, "task-none": False}) == (2, 0, 0)


def test_a_task_without_its_picture_is_lost(database: sqlite3.Connection, tmp_path: Path) -> None:
    (picture,) = tmp_path.rglob("*.png")
    picture.write_bytes(b"another")
    assert audited(tmp_path, DRAWN | STOPPED) == (1, 0, 0)
    picture.unlink()
    assert audited(tmp_path, DRAWN | STOPPED) == (1, 0, 0)


# Lost, wrongly charged, unbalanced.
SPOILT: dict[str, tuple[int, int, int]] = {
    "DELETE FROM task WHERE id = '1'": (1, 1, 3),
    "UPDATE task SET state = 'running' WHERE id = '1'": (1, 1, 3),
    "DELETE FROM ledger WHERE kind = 'settle'": (0, 1, 3),
    "DELETE FROM ledger WHERE kind = 'release'": (0, 1, 0),
    "INSERT INTO ledger VALUES ('1', 'settle', 3)": (0, 1, 3),
    "INSERT INTO ledger VALUES ('1', 'release', 3)": (0, 1, 0),
    "INSERT INTO ledger VALUES ('3', 'hold', 3)": (0, 1, 0),
    "UPDATE ledger SET amount = 4 WHERE kind = 'settle'": (0, 1, 1),
    "UPDATE account SET held = 5": (0, 0, 5),
}


@pytest.mark.parametrize("statement", SPOILT)
def test_books_in_disorder_are_found_so(
    database: sqlite3.Connection, tmp_path: Path, statement: str
) -> None:
    database.execute(statement)
    assert audited(tmp_path, DRAWN | STOPPED) == SPOILT[statement]


def test_commits_are_counted(database: sqlite3.Connection, tmp_path: Path) -> None:
    new = "INSERT INTO task (id) VALUES (3), (4)"
    with books.counting(tmp_path) as counts:
        for statement in (new, "BEGIN", new, "UPDATE account SET held = 1", "COMMIT"):
            database.execute(statement)
    assert counts == {"commits": 2, "tasks": 4}


def test_the_load_generator_counts_what_the_bare_server_answers() -> None:
    with load.bare(b"{}") as port:
        assert load.rate(port, "key", Call("POST", "/", b"{}"), 0.2) > 0


def test_the_load_generator_counts_what_is_not_200_as_errors() -> None:
    assert load.Told(1.0, {"200": 3, "503": 2, "closed": 1}).errors == 3
    assert load.Told(1.0, {"200": 3}).errors == 0


def test_the_load_generator_sends_requests_in_turns() -> None:
    with load.bare(b"{}") as port:
        calls = [Call("POST", "/", b"{}"), Call("GET", "/")]
        told = load.asked(port, "key", calls, 0.2)
    assert told.answers["200"] > 0
    assert told.errors == 0


def test_peers_are_compared_with_the_bare_server_of_the_same_round() -> None:
    seen = {
        "slow": peers.Seen([10.0, 30.0, 20.0], errors=2),
        peers.BARE: peers.Seen([100.0, 100.0, 400.0]),
    }
    rows = {row.name: row for row in peers.compared(seen)}
    assert (rows["slow"].ours, rows["slow"].ratio) == (20.0, 0.1)
    assert (rows["slow: errors"].ours, rows[f"{peers.BARE}: errors"].ours) == (2, 0)


def test_peers_run_on_the_same_libraries_as_zing() -> None:
    def pins(lock: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), flags=re.MULTILINE))

    ours, theirs = pins(ROOT / "requirements" / "run.txt"), pins(peers.LOCK)
    assert {"dbos", "procrastinate"} <= theirs.keys()
    assert {"starlette", "uvicorn", "sqlalchemy", "h11"} <= ours.keys() & theirs.keys()
    assert not {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}


def test_commits_of_postgresql_are_counted(postgresql: str) -> None:
    new = "INSERT INTO task VALUES (3), (4)"
    with (
        databases.new_database(postgresql) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE task (id integer)")
        with commits.counted(url) as counts:
            connection.execute(new)
            connection.execute("SELECT * FROM task")
            with connection.transaction():
                connection.execute(new)
                connection.execute("UPDATE task SET id = 5")
    assert counts["tasks"] == 4
    assert counts["commits"] in (2, 3)  # PostgreSQL may vacuum meanwhile


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_slower_disk_is_slower(tmp_path: Path) -> None:
    assert disk.sqlite_commit_s(tmp_path, disk.slower(20)) >= 0.02


def test_claims_are_of_queued_tasks_and_these_are_queued_again(store: Store) -> None:
    claims.fill(store, 60, claims.SIDES[:1])
    row = claims.compared("claim", store, store, 2)
    assert row.pairs == 2
    assert row.ours > 0
    with_state = "SELECT state, count(*) FROM task GROUP BY state"
    assert store.read(lambda tx: tx.exec_driver_sql(with_state).all()) == [("queued", 60)]
    lanes = "SELECT sum(queued), sum(running) FROM lane"
    assert store.read(lambda tx: tx.exec_driver_sql(lanes).one()) == (60, 0)


def test_memory_is_judged_once_the_service_is_warm() -> None:
    samples = [(0, 10.0), (2_000, 50.0), (7_000, 51.0), (12_000, 52.0)]
    rows = {row.name: row.ours for row in memory.sampled_rows(samples)}
    assert rows["slope after those, per 20,000"] == pytest.approx(4.0)
    assert (rows["at the start"], rows["at the end"]) == (10.0, 52.0)


@pytest.mark.long
def test_peers_accept_what_zing_accepts() -> None:
    if not peers.ENVIRONMENT.is_dir():
        pytest.skip("the peers' environment has not been made: make bench ARGS=peers")
    rows = measured("peers", "--rounds", "1", "--seconds", "0.5")
    for name in ("zing, SQLite", "DBOS, SQLite WAL", "DBOS, SQLite as it comes"):
        assert 0 < rows[name]["ratio"] < 1
        assert rows[f"{name}: errors"]["ours"] == 0


@pytest.mark.long
def test_commits_are_counted_with_and_without_groups() -> None:
    rows = measured("commits", "--rounds", "1", "--seconds", "0.5", "--slower", "0")
    assert rows["SQLite, this disk: commits an accept"]["reference"] == 1
    assert 0 < rows["SQLite, this disk: commits an accept"]["ours"] <= 1
    assert rows["SQLite, this disk: accepts"]["ratio"] > 0


@pytest.mark.long
def test_small_benchmarks_end_with_one_line_of_json() -> None:
    claimed = measured("claims", "--few", "100", "--many", "200", "--claims", "2")
    assert claimed["SQLite, four sizes: claim of 8"]["ratio"] > 0
    assert measured("memory", "--requests", "500")["at the end"]["ours"] > 0
    started = measured("starts", "--starts", "1")
    answers, ready = (started[f"warm: {name}, median"]["ours"] for name in starts.PATHS)
    assert 0 < answers <= ready


@pytest.mark.long
def test_no_request_is_lost_where_the_worker_is_killed() -> None:
    rows = measured("service", "--parts", "kills", "--tasks", "8", "--kills", "1")
    counts = {name.removeprefix("kills: "): row["ours"] for name, row in rows.items()}
    assert counts["tasks"] == counts["completed"] + counts["cancelled"] == 8
    assert counts["workers killed"] == 1
    assert [counts[f"wrong, {what}"] for what in ("lost", "charged", "micro-credits")] == [0, 0, 0]
    assert counts["pictures"] > 0


@pytest.mark.long
def test_engine_benchmark_ends_with_one_line_of_json() -> None:
    rows = measured("--pairs", "1", "--sides", "256")
    for stage in ("encode", "denoise", "decode", "png", "all", "peak memory"):
        assert rows[f"256² {stage}"]["ratio"] > 0
    assert rows["256² as a user waits"]["ours"] > 0


@pytest.mark.long
def test_service_benchmark_ends_with_one_line_of_json() -> None:
    once = ("--pictures", "1", "--rounds", "1", "--seconds", "0.5")
    rows = measured("service", "--parts", "visible", "rates", *once)
    for name in ("evolink webp", "kie png", "tensorslab png", "zimageturbo jpeg", "all"):
        drawn, asked = (rows[f"{name} {since} to seen, p95"] for since in ("drawn", "asked"))
        assert 0 < drawn["ours"] < asked["ours"]
    for name in ("reads of a queued task", "reads of a completed task", "accepts"):
        assert 0 < rows[name]["ratio"] < 1
    assert 0 < rows["commits an accept"]["ours"] <= 1


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_service_benchmark_that_is_stopped_leaves_no_process(number: int) -> None:
    command = [sys.executable, "-m", "bench", "service", "--parts", "visible"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def family() -> list[int]:
        """The service and its worker, once there are both."""
        return [
            each
            for child in servers.children(process.pid)
            for worker in servers.children(child)
            for each in (child, worker)
        ]

    try:
        started = servers.until(family, servers.READY_S)
    finally:
        process.send_signal(number)
        assert process.wait(servers.END_S) != 0
    assert not any(map(servers.alive, started))
