"""The benchmarks' parts on made-up values, and the benchmarks themselves once, small."""

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import books, frame, load, stages
from bench.server import Call
from tests import servers

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
