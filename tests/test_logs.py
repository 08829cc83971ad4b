"""The log: text or JSON, each request's id, one line for each task, and nothing that is secret."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests import requests, servers
from tests.audit import MODEL, PRICE, Clock, accepted, submission
from tests.test_app import Asgi, Broken
from tests.test_service import Desk
from tests.test_service import desk as desk
from tests.test_worker import Studio, UntilIdle, UntilTold, endless, failing, well
from zing import logs, queue, worker
from zing.errors import BadPicture, BadSetting
from zing.housekeeper import Housekeeper
from zing.housekeeper import Rules as Duties
from zing.service import Asking
from zing.store import Store
from zing.store.idem import Sent
from zing.store.schema import task as tasks
from zing.task import Ended, ImageRequest, TaskState
from zing.worker import Rules

SECRET_PROMPT = "a kitten named Quixotl"
FACTS = {
    "task",
    "dialect",
    "state",
    "size",
    "steps",
    "queued_s",
    "drawn_s",
    "attempt",
    "credits",
}


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root of all loggers, put back as it was."""
    found = logging.getLogger()
    handlers, level = list(found.handlers), found.level
    hooks = sys.excepthook, threading.excepthook
    yield found
    found.handlers[:] = handlers
    found.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)
    logs.request_id.set("")


@pytest.fixture
def written(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Sets the log up in a form; gives what it wrote since."""

    def lines(form: str) -> list[str]:
        if form:
            monkeypatch.setenv("ZING_LOG", form)
            logs.set_up("zing")
        return capsys.readouterr().err.splitlines()

    return lines


def test_text_is_the_process_and_the_message(written: Any) -> None:
    written("text")
    logging.getLogger("zing.x").info("it is %s", "done")
    assert written("") == ["zing: it is done"]


def test_a_line_of_a_request_has_its_id(written: Any) -> None:
    written("text")
    logs.request_id.set("r-1")
    logging.getLogger("zing.x").warning("odd")
    logging.getLogger("zing.x").warning("odd (r-1)")
    assert written("") == ["zing: odd [request r-1]", "zing: odd (r-1)"]


def test_json_is_one_object_a_line_whatever_happens(written: Any) -> None:
    written("json")
    logs.request_id.set("r-1")
    log = logging.getLogger("zing.x")
    log.warning("two\nlines, 猫 and \x1b[2J")
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        log.exception("it failed", extra={"facts": {"n": 1, "odd": Path("/x")}})
    first, second = map(json.loads, written(""))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "warning",
        "process": "zing",
        "logger": "zing.x",
        "message": "two\nlines, 猫 and \x1b[2J",
        "request_id": "r-1",
    }
    assert (second["level"], second["n"], second["odd"]) == ("error", 1, "/x")
    assert "RuntimeError: two\nlines" in second["exception"]


def test_half_a_character_spoils_no_line() -> None:
    """Formatted here alone: what else collects lines of the log may not take it."""
    record = logging.LogRecord("zing.x", logging.INFO, "", 0, "half \ud800", None, None)
    line = logs.JsonLines("zing").format(record)
    assert json.loads(line.encode())["message"] == "half \ud800"


def test_setting_up_again_replaces_what_was(written: Any) -> None:
    written("text")
    written("json")
    logging.getLogger("zing.x").info("once")
    (line,) = written("")
    assert json.loads(line)["message"] == "once"


def test_another_form_is_refused(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZING_LOG", "xml")
    before = list(root.handlers)
    with pytest.raises(BadSetting, match="text or json"):
        logs.set_up("zing")
    assert root.handlers == before


def end(script: str) -> list[dict[str, Any]]:
    """The lines that a program with the log in JSON wrote until it ended."""
    done = subprocess.run(
        [sys.executable, "-c", f"from zing import logs\nlogs.set_up('zing')\n{script}"],
        env=os.environ | {"ZING_LOG": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_errors_that_nobody_caught_and_warnings_are_lines_too() -> None:
    thread, warned, main = end(
        "import threading, warnings\n"
        "def broken(): raise ValueError('in a\\nthread')\n"
        "each = threading.Thread(target=broken, name='t'); each.start(); each.join()\n"
        "warnings.warn('old')\n"
        "raise RuntimeError('at the\\nend')"
    )
    assert "ValueError: in a\nthread" in thread["exception"]
    assert "old" in warned["message"]
    assert (main["level"], main["message"]) == ("critical", "ended by an error")
    assert "RuntimeError: at the\nend" in main["exception"]


def test_a_refusal_of_the_command_line_is_a_line_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zing", "keys", "revoke", "none", "--data", str(tmp_path)]
    for form, code in (("json", 2), ("xml", 2)):
        done = subprocess.run(
            command,
            env=os.environ | {"ZING_LOG": form},
            capture_output=True,
            text=True,
            check=False,
        )
        (line,) = done.stderr.splitlines()
        assert done.returncode == code
        if form == "json":
            assert json.loads(line)["error"] == "UnknownKey"
        else:
            assert line.startswith("zing: ZING_LOG='xml'")


# Requests


@pytest.mark.parametrize("name", ["a", "my-request_1.2", "0" * 64])
def test_a_callers_own_request_id_is_kept(name: str, server: servers.Server) -> None:
    for path in ("/healthz", "/v1/tasks/none", "/nothing"):
        reply = requests.send(server.url, "GET", path, headers={"X-Request-Id": name})
        assert reply.headers["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "0" * 65, "a b", "a\tb", "ä".encode(), "a;b", "<b>", "a,b"])
def test_an_odd_request_id_is_not(name: str, server: servers.Server) -> None:
    reply = requests.send(server.url, "GET", "/healthz", headers={"X-Request-Id": name})
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])


def test_what_is_logged_in_a_request_has_its_id_also_in_threads(written: Any) -> None:
    written("json")
    broken = Asgi(Broken(RuntimeError("a bug")))
    path = requests.look("evolink", "task-1")[1]
    reply = broken.send("GET", path, None, {"X-Request-Id": "mine"})
    (line,) = map(json.loads, written(""))
    assert (line["request_id"], reply.headers["x-request-id"]) == ("mine", "mine")
    assert "a bug" in line["exception"]


# One line a task


class Kept(logging.Handler):
    """The lines of tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def facts(self) -> list[dict[str, Any]]:
        return [getattr(record, "facts", {}) for record in self.records]

    def ends(self) -> list[tuple[str, str, str]]:
        return [(each["task"], each["state"], each.get("error", "")) for each in self.facts]


@pytest.fixture
def ends() -> Iterator[Kept]:
    """The lines of tasks, as long as a test runs."""
    kept = Kept()
    logs.ENDS.addHandler(kept)
    before = logs.ENDS.level
    logs.ENDS.setLevel(logging.INFO)
    yield kept
    logs.ENDS.setLevel(before)
    logs.ENDS.removeHandler(kept)


@pytest.fixture
def studio(store: Store, tmp_path: Path, ends: Kept, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """A worker with an engine that does as it is told."""
    monkeypatch.setattr(worker, "BEAT_S", 0.02)
    return Studio(store, tmp_path / "pictures", Rules(6.0, 0.3, 86_400.0))


def test_a_task_that_is_drawn_is_one_line(studio: Studio, ends: Kept) -> None:
    task = studio.accept()
    studio.run()
    assert ends.ends() == [(task.public_id, "succeeded", "")]
    (facts,) = ends.facts
    assert set(facts) == FACTS
    assert (facts["dialect"], facts["size"], facts["steps"]) == ("evolink", "64x64", 8)
    assert (facts["attempt"], facts["credits"]) == (1, PRICE / 1e6)
    assert 0 <= facts["queued_s"] < 60
    assert 0 <= facts["drawn_s"] < 60


def test_a_task_that_fails_times_out_or_is_cancelled_is_one_line(
    studio: Studio, ends: Kept
) -> None:
    tasks = [studio.accept(seed=seed) for seed in range(1, 4)]

    def draw(order: Any) -> Any:
        if order.seed == 2:
            studio.cancel(tasks[1])
        return failing(BadPicture())(order) if order.seed == 1 else endless(order)

    studio.run(draw)
    assert sorted(ends.ends()) == sorted(
        [
            (tasks[0].public_id, "failed", "BadPicture"),
            (tasks[1].public_id, "cancelled", "Cancelled"),
            (tasks[2].public_id, "failed", "TimedOut"),
        ]
    )
    assert [facts["credits"] for facts in ends.facts] == [0, 0, 0]
    levels = {
        facts["state"]: record.levelname
        for facts, record in zip(ends.facts, ends.records, strict=True)
    }
    assert levels == {"failed": "WARNING", "cancelled": "INFO"}


def test_a_task_that_was_cancelled_as_its_worker_was_stopped_is_one_line(
    studio: Studio, ends: Kept
) -> None:
    task, orders = studio.accept(), UntilTold()

    def draw(order: Any) -> Any:
        orders.stop = orders.drain = True
        studio.cancel(task)
        return endless(order)

    studio.run(draw, orders)
    assert ends.ends() == [(task.public_id, "cancelled", "Cancelled")]


def test_a_claim_that_is_void_is_no_line(studio: Studio, ends: Kept) -> None:
    task = studio.accept()

    def draw(order: Any) -> Any:
        studio.lose()
        studio.claim_as("w2")
        return well(order)

    studio.run(draw, UntilIdle())
    assert ends.ends() == []
    studio.store.write(lambda tx: queue.reap(tx, 0.0, "w2"))
    assert studio.find(task).state == TaskState.QUEUED


def test_tasks_that_the_housekeeper_ends_are_one_line_each(studio: Studio, ends: Kept) -> None:
    clock = Clock()
    rules = Duties(queue_timeout_s=60.0)
    keeper = Housekeeper(studio.store, studio.blobs, clock, rules, steady=clock)
    asked = submission(studio.account_id)
    lost = accepted(studio.store, asked, clock())
    for number in range(queue.ATTEMPTS_MAX):
        name = f"w{number}"
        register = partial(queue.register, worker_id=name, host="host", now=clock(), lease_s=6.0)
        studio.store.write(register)
        studio.store.write(lambda tx, name=name: queue.claim(tx, name, MODEL, 1, clock()))
        keeper.reap()  # which has heard of the worker now
        clock.now += 7
        keeper.reap()
    asked = submission(studio.account_id)
    late = accepted(studio.store, asked, clock())
    clock.now += 61
    keeper.expire()
    keeper.expire()
    assert ends.ends() == [
        (lost.public_id, "failed", "EngineLost"),
        (late.public_id, "failed", "ModelGone"),
    ]
    assert [facts["drawn_s"] for facts in ends.facts] == [7.0, None]
    assert [facts["queued_s"] for facts in ends.facts] == [14.0, 61.0]
    assert [facts["attempt"] for facts in ends.facts] == [3, 0]


def test_a_task_that_cannot_be_read_is_one_line(studio: Studio, ends: Kept) -> None:
    task = studio.accept()
    spoilt = update(tasks).where(tasks.c.id == task.id).values(request="{")
    studio.store.write(lambda tx: tx.execute(spoilt))
    studio.run()
    assert ends.ends() == [(task.public_id, "failed", "Unreadable")]
    assert ends.facts[0]["size"] == "64x64"


def test_a_task_that_its_caller_cancels_is_one_line(desk: Desk, ends: Kept) -> None:
    view = desk.submit()
    desk.service.cancel(view.task.public_id, None)
    assert ends.ends() == [(view.task.public_id, "cancelled", "Cancelled")]
    desk.worker()
    held = desk.submit()
    desk.claim()
    desk.service.cancel(held.task.public_id, None)
    assert len(ends.records) == 1, "its worker ends it"
    desk.store.write(lambda tx: queue.reap(tx, desk.clock(), "w1"))


def test_a_task_that_safety_refuses_is_one_line_however_often_it_is_sent(
    desk: Desk, ends: Kept
) -> None:
    request = ImageRequest("hardcore porn", 64, 64)
    view = desk.submit(request)
    assert view.task.error == "Blocked"
    assert ends.ends() == [(view.task.public_id, "failed", "Blocked")]
    sent = Sent(desk.key.account_id, "/x", "key", "hash")
    asking = Asking(desk.key, desk.via, request, {}, sent)
    for _ in range(2):
        desk.service.submit(asking)
    assert len(ends.records) == 2
    assert ends.records[0].levelno == logging.INFO
    assert "porn" not in str([record.getMessage() for record in ends.records] + ends.facts)


def test_words_are_told_and_a_prompt_without_any_is_a_warning(ends: Kept) -> None:
    ended = Ended("t-1", "kie", TaskState.SUCCEEDED, "", "8x8", 8, 1, PRICE, 0.5, 1.25)
    logs.tell_end(ended, ("cat", "猫"), "understood: cat, 猫")
    logs.tell_end(ended, (), "the prompt has no word that tiny knows")
    first, second = ends.records
    assert first.getMessage() == (
        "task t-1 is drawn (kie, 8x8 in 8 steps, queued 0.50 s, drawn 1.25 s, attempt 1, "
        "0.026 credits); understood: cat, 猫"
    )
    assert ends.facts[0]["understood"] == ["cat", "猫"]
    assert (first.levelname, second.levelname) == ("INFO", "WARNING")


# A whole service


def test_a_service_with_its_worker_logs_json_and_nothing_secret(tmp_path: Path) -> None:
    settings = {
        "ZING_LOG": "json",
        "ZING_EGRESS_PROXY": "http://user:hushhush@127.0.0.1:9",
        "ZING_CALLBACK_PRIVATE": "127.0.0.1",
    }
    callback = "https://127.0.0.1:9/very-secret-path"
    with servers.serving(tmp_path / "data", **settings) as server:
        drawn = servers.submit(server, prompt=SECRET_PROMPT, callback_url=callback)
        servers.ended(server, drawn)
        cancelled = [servers.submit(server, prompt=SECRET_PROMPT) for _ in range(4)]
        for identity in cancelled:
            server.http.post(f"/v1/tasks/{identity}/cancel")
            servers.ended(server, identity)
        killed = server.worker()
        os.kill(killed, 9)
        servers.until(lambda: "the worker ended" in server.log.read_text())
        key = server.key
        assert server.end() == 0
        text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["process"] for line in lines} == {"zing", "zing worker"}
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    told = [line["task"] for line in lines if line["logger"] == "zing.task"]
    assert sorted(told) == sorted([drawn, *cancelled])
    for secret in ("Quixotl", key, key.rpartition("_")[2], "hushhush", "very-secret-path"):
        assert secret not in text
