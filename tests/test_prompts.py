"""Prompts that are not to be kept: forgotten when their task has ended and everybody was told."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.audit import MODEL, Clock, accepted, audit, funded, kept_file, submission
from tests.test_worker import Studio, picture
from zing import cli, queue, worker
from zing.blobs import Blobs
from zing.cli.opened import opened
from zing.config import KEEP_PROMPTS
from zing.dialects import evolink, kie, tensorslab, zimageturbo
from zing.errors import BadSetting, Blocked
from zing.housekeeper import SWEEP_EVERY_S, Housekeeper, Rules
from zing.queue import Claim, Outcome
from zing.service import Asking
from zing.store import Store, outbox, tasks
from zing.store import idem as keys_sent
from zing.store.schema import delivery_attempt, idem, ledger, task
from zing.store.schema import outbox as callbacks
from zing.task import Attempt, DeliveryState, ImageRequest, Task, TaskState

SAID = "一只 ocelot cat"
WORD = "ocelot"
URL = "https://hooks.example.com/told"


class House:
    """A database and a housekeeper, by one clock."""

    def __init__(self, store: Store, folder: Path, **rules: Any) -> None:
        self.store = store
        self.clock = Clock(time.time())
        made = Rules(keep_prompts=False, **rules)
        self.keeper = Housekeeper(store, Blobs(folder), self.clock, made, steady=self.clock)
        self.account_id = funded(store)
        now = self.clock()
        store.write(lambda tx: queue.register(tx, "w1", "host", now, 1e6))

    def accept(self, **changes: Any) -> Task:
        url = changes.pop("callback_url", None)
        asked = ImageRequest(SAID, 64, 64, callback_url=url, extend=True, extended=f"{SAID}!")
        made = submission(self.account_id, request=asked, fields={"prompt": SAID}, **changes)
        return accepted(self.store, made, self.clock())

    def end(self) -> None:
        """The next task is drawn."""
        now = self.clock()

        def draw(tx: Any) -> None:
            (held,) = queue.claim(tx, "w1", MODEL, 1, now)
            assert queue.settle(tx, [(held, self.outcome(held))], now) != [None]

        self.store.write(draw)

    def outcome(self, held: Claim) -> Outcome:
        file = kept_file(held.task.id, self.clock() + 86_400)
        return Outcome(TaskState.SUCCEEDED, result={"understood": [WORD], "seen": 3}, file=file)

    def find(self, made: Task) -> Task:
        return self.store.read(lambda tx: tasks.find(tx, made.public_id, None))

    def texts(self) -> str:
        """All that the database keeps, as text, but for who was paid."""
        tables = (task, callbacks, delivery_attempt, idem, ledger)
        return str(self.store.read(lambda tx: [tx.execute(select(each)).all() for each in tables]))

    def tell(self, made: Task) -> None:
        """The task's callback is delivered."""

        def deliver(tx: Any) -> None:
            owed = outbox.find(tx, made.public_id)
            now = self.clock()
            (held,) = outbox.claim(tx, {owed.id: f'{{"prompt":"{SAID}"}}'}, now, now + 9)
            attempt = Attempt(1, now, 0.1, 200, "")
            outbox.record(tx, [outbox.Record(held, attempt, DeliveryState.DELIVERED, now)])

        self.store.write(deliver)


@pytest.fixture
def house(store: Store, tmp_path: Path) -> House:
    return House(store, tmp_path / "pictures")


def test_words_stay_until_the_task_has_ended(house: House) -> None:
    made = house.accept()
    assert house.keeper.forget() == 0
    assert house.find(made).request.prompt == SAID
    house.end()
    assert house.keeper.forget() == 1
    assert house.keeper.forget() == 0
    found = house.find(made)
    assert (found.request.prompt, found.request.extended, found.fields) == ("", "", {})
    assert (found.request.width, found.seed) == (made.request.width, made.seed)
    assert found.result == {"understood": None, "seen": 3}
    assert WORD not in house.texts()
    assert house.store.read(audit) == []


def test_words_stay_until_the_receiver_was_told(house: House) -> None:
    made = house.accept(callback_url=URL)
    house.end()
    assert house.keeper.forget() == 0
    house.tell(made)
    assert WORD in house.texts()
    assert house.keeper.forget() == 1
    assert WORD not in house.texts()
    delivery = house.store.read(lambda tx: outbox.find(tx, made.public_id))
    assert (delivery.state, delivery.body) == (DeliveryState.DELIVERED, None)


def test_a_task_that_never_ran_is_forgotten_too(house: House) -> None:
    house.accept(refused=Blocked("The safety filter blocked this prompt: weapons."))
    cancelled = house.accept()
    house.store.write(lambda tx: queue.cancel(tx, cancelled.public_id, None, house.clock()))
    assert house.keeper.forget() == 2
    assert WORD not in house.texts()


def test_it_happens_by_itself_also_to_what_was_told_late(house: House) -> None:
    house.keeper.tick()
    late = house.accept(callback_url=URL)
    house.end()
    house.accept()
    house.end()
    house.clock.now += SWEEP_EVERY_S
    house.keeper.tick()
    assert house.find(late).request.prompt == SAID
    house.clock.now += 7200.0
    house.tell(late)
    house.keeper.tick()
    house.clock.now += 3600.0
    house.keeper.tick()
    assert WORD not in house.texts()


def test_however_many_there_are_and_whatever_is_in_them(house: House) -> None:
    for _ in range(12):
        house.accept()
        house.end()
    broken = house.accept()
    house.end()
    spoiled = task.update().where(task.c.id == broken.id).values(request=f'["{SAID}"')
    house.store.write(lambda tx: tx.execute(spoiled))
    now = house.clock()
    counts: list[int] = []
    while not counts or counts[-1]:
        counts.append(house.store.write(lambda tx: tasks.forget_prompts(tx, 0.0, now, limit=5)))
    assert counts == [5, 5, 3, 0]
    assert WORD not in house.texts()


def test_by_default_nothing_is_forgotten(store: Store, tmp_path: Path) -> None:
    clock = Clock(time.time())
    keeper = Housekeeper(store, Blobs(tmp_path), clock, steady=clock)
    house = House(store, tmp_path)
    made = house.accept()
    house.end()
    keeper.tick()
    assert keeper.forget() == 0
    assert house.find(made).request.prompt == SAID


# What callers see of it.


@pytest.fixture
def data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    cli.app(
        ["keys", "create", "shop", "--credits", "9", "--data", str(tmp_path / "data"), "--json"],
        standalone_mode=False,
    )
    (tmp_path / "key").write_text(json.loads(capsys.readouterr().out)["key"])
    return tmp_path / "data"


def test_every_dialect_still_shows_the_task_with_an_empty_prompt(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: dict[Any, dict[str, Any]] = {
        evolink: {"model": "z-image-turbo", "prompt": SAID},
        kie: {"model": "z-image", "input": {"prompt": SAID, "aspect_ratio": "1:1"}},
        tensorslab: {"prompt": SAID},
        zimageturbo: {"prompt": SAID, "aspect_ratio": "1:1"},
    }
    with opened(str(data), "") as service:
        key = service.authenticate((data.parent / "key").read_text())
        for dialect, fields in looks.items():
            asked = ImageRequest(SAID, 1024, 1024)
            view = service.submit(Asking(key, dialect, asked, fields)).view
            assert view is not None
            service.cancel(view.task.public_id, None)
        cli.app(
            ["tasks", "purge", "--days", "0", "--prompts", "--data", str(data), "--json"],
            standalone_mode=False,
        )
        assert json.loads(capsys.readouterr().out) == {"purged": 4}
        listed = service.store.read(lambda tx: tasks.search(tx, tasks.Search(), 9))
        views = [service.look(each.public_id, None) for each in listed]
        shown = {each: [each.shown(view).body for view in views] for each in looks}
    assert WORD not in str(shown)
    params = [json.loads(body["data"]["param"]) for body in shown[kie]]
    assert {json.dumps(each["input"]["prompt"]) for each in params} == {'""'}
    assert {body["data"]["prompt"] for body in shown[tensorslab]} == {""}
    assert {body["data"]["request"]["prompt"] for body in shown[zimageturbo]} == {""}


def test_the_answers_of_idempotency_keys_hold_no_prompt(house: House) -> None:
    """They stay a day whatever is purged, or a request sent again would be charged again."""
    sent = keys_sent.Sent(house.account_id, "/v1/images/generations", "key", "0" * 64)
    made = house.accept()
    view = {"id": made.public_id}
    house.store.write(lambda tx: keys_sent.keep(tx, sent, made.id, json.dumps(view), house.clock()))
    house.end()
    house.store.write(lambda tx: tasks.purge(tx, house.clock() + 1))
    assert house.store.read(lambda tx: keys_sent.find(tx, sent, house.clock())) is not None
    assert WORD not in house.texts()


def test_the_log_tells_no_word_where_none_is_kept(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zing.task")
    studio = Studio(store, tmp_path, worker.Rules(6.0, 60.0, 86_400.0, keep_prompts=False))
    made = studio.accept()

    def draw(order: Any) -> Any:
        yield replace(picture(order), understood=(WORD,))

    studio.run(draw)
    (said,) = [each.getMessage() for each in caplog.records if made.public_id in each.getMessage()]
    assert "understood" not in said
    assert WORD not in caplog.text


def test_prompts_that_are_not_kept_are_in_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZING_METADATA", "on")
    assert worker.Rules.read().metadata
    monkeypatch.setenv("ZING_KEEP_PROMPTS", "no")
    assert not worker.Rules.read().metadata


def test_forgotten_words_are_not_in_the_file_either(tmp_path: Path) -> None:
    path = tmp_path / "zing.db"
    store = Store(f"sqlite:///{path}")
    house = House(store, tmp_path)
    long = f"{WORD} " * 2000
    made = submission(house.account_id, request=ImageRequest(SAID, 64, 64), fields={"x": long})
    accepted(store, made, house.clock())
    house.end()
    house.keeper.forget()
    store.close()
    assert WORD.encode() not in path.read_bytes()


@pytest.mark.parametrize(("text", "keeps"), [("yes", True), ("no", False)])
def test_it_is_a_setting(monkeypatch: pytest.MonkeyPatch, text: str, keeps: bool) -> None:
    monkeypatch.setenv(KEEP_PROMPTS.variable, text)
    assert Rules.read().keep_prompts is keeps
    assert worker.Rules.read().keep_prompts is keeps
    monkeypatch.setenv(KEEP_PROMPTS.variable, "sometimes")
    with pytest.raises(BadSetting):
        Rules.read()
