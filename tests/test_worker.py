"""A worker with an engine that does as it is told: what it draws, keeps, settles and gives back."""

import errno
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from tests.audit import MODEL, PRICE, accepted, audit, funded, submission
from tests.servers import until
from zing import ledger, pictures, queue, worker
from zing.blobs import Blobs
from zing.engine.base import Order
from zing.errors import BadSetting, Blocked, EngineFailed, OutOfMemory, Unavailable
from zing.housekeeper import ORPHAN_AGE_S, Housekeeper
from zing.ledger import Balance
from zing.metadata import Description, describe
from zing.queue import Claim, Outcome
from zing.store import Store, files, tasks
from zing.store.files import File
from zing.store.schema import worker as workers
from zing.task import ImageRequest, Picture, Progress, Task, TaskState
from zing.worker import WARM_UP, Lease, Rules, Worker

RULES = Rules(lease_s=6.0, task_timeout_s=60.0, link_ttl_s=86_400.0)

Draw = Callable[[Order], Iterator[Progress | Picture]]


def pixels(order: Order) -> NDArray[np.uint8]:
    """Pixels that only this order has."""
    made = np.zeros((order.height, order.width, 3), np.uint8)
    made[...] = order.seed % 256
    return made


def picture(order: Order, made: Any = None) -> Picture:
    size = (order.width, order.height)
    return Picture(pixels(order) if made is None else made, size, 12, 12)


def well(order: Order) -> Iterator[Progress | Picture]:
    """Draw as an engine should."""
    for step in range(1, order.steps + 1):
        yield Progress(step, order.steps)
    yield picture(order)


def endless(order: Order) -> Iterator[Progress | Picture]:
    """Steps that never come to an end."""
    while True:
        time.sleep(0.005)
        yield Progress(1, order.steps)


@dataclass
class Fake:
    """An engine that draws as it is told, and remembers; the first pictures warm it up."""

    draw: Draw = well
    drawn: list[Order] = field(default_factory=list)

    def generate(self, order: Order) -> Iterator[Progress | Picture]:
        if order == WARM_UP:
            yield Picture(np.zeros((1, 1, 3), np.uint8), (1, 1), 1, 1)
            return
        self.drawn.append(order)
        yield from self.draw(order)


@dataclass
class UntilIdle:
    """Orders to work until there is nothing to do."""

    drain: bool = False
    stop: bool = False

    def wait(self, seconds: float) -> None:
        self.drain = True


@dataclass
class UntilTold(UntilIdle):
    """Orders to work until told otherwise."""

    def wait(self, seconds: float) -> None:
        time.sleep(0.005)


class Studio:
    """A database, a folder of pictures and a worker over them."""

    def __init__(self, store: Store, folder: Path, rules: Rules = RULES) -> None:
        self.store = store
        self.folder = folder
        self.blobs = Blobs(folder)
        self.lease = Lease(store, "w1", rules, time.time)
        self.worker = Worker(store, self.blobs, self.lease, rules, MODEL)
        self.account_id = funded(store)

    def accept(self, **changes: Any) -> Task:
        asked = submission(self.account_id, **changes)
        return accepted(self.store, asked, time.time())

    def run(self, draw: Draw = well, orders: UntilIdle | None = None) -> Fake:
        """A worker's whole life."""
        return self.run_with(Fake(draw), orders)

    def run_with(self, engine: Fake, orders: UntilIdle | None = None) -> Fake:
        """The same with an engine that is there already."""
        self.lease.start()
        try:
            self.worker.run(engine, orders or UntilIdle())
        finally:
            self.lease.end()
        return engine

    def find(self, task: Task) -> Task:
        return self.store.read(lambda tx: tasks.find(tx, task.public_id, None))

    def file(self, task: Task) -> File:
        return self.store.read(lambda tx: files.find(tx, [task.id]))[task.id]

    def balance(self) -> Balance:
        return self.store.read(lambda tx: ledger.balance(tx, self.account_id))

    def bytes_kept(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def cancel(self, task: Task) -> None:
        self.store.write(lambda tx: queue.cancel(tx, task.public_id, None, time.time()))

    def lose(self) -> None:
        """The lease is ended by others, as if it had been over."""
        self.store.write(lambda tx: queue.reap(tx, time.time(), "w1"))

    def claim_as(self, worker_id: str) -> Claim:
        """Another worker claims the next task."""
        now = time.time()
        self.store.write(lambda tx: queue.register(tx, worker_id, "host", now, 60.0))
        return self.store.write(lambda tx: queue.claim(tx, worker_id, MODEL, 1, now))[0]


# WebP holds 16383 pixels a side.
TOO_WIDE = ImageRequest("a cat", 16_400, 8)


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats and polls that are looked for more often than in life."""
    monkeypatch.setattr(worker, "BEAT_S", 0.02)


@pytest.fixture
def studio(store: Store, tmp_path: Path) -> Iterator[Studio]:
    """A studio; afterwards everything adds up."""
    made = Studio(store, tmp_path / "pictures")
    yield made
    assert store.read(audit) == []


def released(studio: Studio) -> bool:
    """Whether nothing was charged and nothing kept."""
    untouched = Balance(studio.account_id, 1000 * PRICE, 0, 0)
    return studio.balance() == untouched and studio.bytes_kept() == []


# Drawing.


def test_a_task_is_drawn_kept_and_paid(studio: Studio) -> None:
    task = studio.accept(seed=41)
    started = time.time()
    engine = studio.run()
    done, file = studio.find(task), studio.file(task)
    assert engine.drawn == [Order("a cat", 64, 64, 41, 8, previews=True)]
    assert (done.state, done.attempt) == (TaskState.SUCCEEDED, 1)
    assert studio.balance().used == PRICE
    data = studio.blobs.get(file.blob_key)
    assert data is not None
    assert (file.sha256, file.bytes) == (pictures.sha256_bytes(data), len(data))
    assert data.startswith(b"\x89PNG")
    assert done.result["sha256"] == pictures.sha256(pixels(engine.drawn[0]))
    assert (done.result["rendered"], done.result["prompt_tokens"]) == ([64, 64], 12)
    assert started <= done.result["drawn_at"] <= (done.ended_at or 0)


@pytest.mark.parametrize(
    ("understood", "kept", "level", "said"),
    [
        (("猫", "Red"), ["猫", "Red"], logging.INFO, "; understood: 猫, Red"),
        (
            (),
            [],
            logging.WARNING,
            f"; the prompt has no word that {MODEL} knows; `zing models show {MODEL}` lists them",
        ),
        (None, None, logging.INFO, ""),
    ],
)
def test_words_that_were_understood_are_kept_and_logged(
    studio: Studio,
    caplog: pytest.LogCaptureFixture,
    understood: tuple[str, ...] | None,
    kept: list[str] | None,
    level: int,
    said: str,
) -> None:
    caplog.set_level(logging.INFO, "zing.task")
    task = studio.accept()
    studio.run(lambda order: iter([replace(picture(order), understood=understood)]))
    assert studio.find(task).result["understood"] == kept
    (record,) = [each for each in caplog.records if "is drawn" in each.getMessage()]
    shape = (
        rf"task {task.public_id} is drawn \(evolink, 64x64 in 8 steps, queued [\d.]+ s, "
        rf"drawn [\d.]+ s, attempt 1, 0.026 credits\){re.escape(said)}"
    )
    assert record.levelno == level
    assert re.fullmatch(shape, record.getMessage())


def test_a_task_without_a_picture_is_not_logged_as_drawn(
    studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zing.task")
    studio.accept()
    studio.run(failing(OutOfMemory()))
    assert "is drawn" not in caplog.text


def test_a_picture_is_kept_for_its_time_from_the_end_of_its_task(studio: Studio) -> None:
    task = studio.accept()
    studio.run()
    assert studio.file(task).expires_at == (studio.find(task).ended_at or 0) + RULES.link_ttl_s


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".png", b"\x89PNG"), (".webp", b"RIFF"), (".jpg", b"\xff\xd8")]
)
def test_a_picture_is_in_the_format_of_its_dialect(
    studio: Studio, suffix: str, begins: bytes
) -> None:
    task = studio.accept(suffix=suffix)
    studio.run()
    file = studio.file(task)
    assert file.blob_key.endswith(suffix)
    assert (studio.blobs.get(file.blob_key) or b"").startswith(begins)


def test_everything_that_waits_is_drawn(studio: Studio) -> None:
    made = [studio.accept(seed=seed) for seed in range(1, 8)]
    engine = studio.run()
    assert sorted(order.seed for order in engine.drawn) == list(range(1, 8))
    assert {studio.find(task).state for task in made} == {TaskState.SUCCEEDED}
    assert len(studio.bytes_kept()) == 7


def test_progress_and_the_first_pictures_pace_are_told(studio: Studio) -> None:
    task = studio.accept()

    def said() -> dict[str, Any]:
        asked = [(task.public_id, None)]
        (look,) = studio.store.read(lambda tx: tasks.look(tx, asked, time.time()))
        return {"step": (look.step, look.steps), "mean": look.mean_s, "workers": look.workers}

    def watched(order: Order) -> Iterator[Progress | Picture]:
        yield Progress(5, 8)
        assert until(lambda: said()["step"] == (5, 8))
        assert said()["workers"] == 1
        assert said()["mean"] is not None
        yield picture(order)

    studio.run(watched)
    assert studio.find(task).state == TaskState.SUCCEEDED


def test_it_is_not_ready_before_it_is_warm(studio: Studio) -> None:
    states: list[str] = []

    class Watched(Fake):
        def generate(self, order: Order) -> Iterator[Progress | Picture]:
            states.append(studio.store.read(lambda tx: tx.scalar(select(workers.c.state))) or "")
            return super().generate(order)

    studio.lease.start()
    studio.worker.run(Watched(), UntilIdle())
    studio.lease.end()
    assert states == ["loading", "loading"]


def test_a_worker_that_ended_is_known_no_more(studio: Studio) -> None:
    studio.run()
    assert studio.store.read(lambda tx: tx.execute(select(workers)).all()) == []


def test_a_worker_says_what_model_it_draws_with_before_it_is_ready(studio: Studio) -> None:
    def said() -> str:
        return studio.store.read(lambda tx: tx.scalar(select(workers.c.progress))) or "{}"

    class Watched(Fake):
        def generate(self, order: Order) -> Iterator[Progress | Picture]:
            assert until(lambda: json.loads(said()).get("model") == MODEL)
            return super().generate(order)

    studio.run_with(Watched())


def test_an_extended_prompt_is_what_is_drawn(studio: Studio) -> None:
    studio.accept(request=ImageRequest("a cat", 64, 64, extend=True, extended="a grey cat asleep"))
    (order,) = studio.run().drawn
    assert order.prompt == "a grey cat asleep"


# Failures of the engine.


def failing(error: Exception, after: int = 3) -> Draw:
    def draw(order: Order) -> Iterator[Progress | Picture]:
        for step in range(1, after + 1):
            yield Progress(step, order.steps)
        raise error

    return draw


def test_a_failure_fails_the_task_in_its_own_words_and_the_worker_goes_on(studio: Studio) -> None:
    errors = [OutOfMemory(), Blocked("No."), EngineFailed("It broke."), OutOfMemory("16 GB.")]
    failed = [studio.accept(seed=seed) for seed in range(len(errors))]
    good = studio.accept(seed=len(errors))

    def draw(order: Order) -> Iterator[Progress | Picture]:
        bad = order.seed < len(errors)
        return failing(errors[order.seed])(order) if bad else well(order)

    studio.run(draw)
    for error, task in zip(errors, map(studio.find, failed), strict=True):
        assert (task.state, task.error) == (TaskState.FAILED, type(error).__name__)
        assert task.error_message == str(error)
    assert studio.find(good).state == TaskState.SUCCEEDED
    assert (studio.balance().used, studio.balance().held) == (PRICE, 0)


def of_pixels(make: Callable[[Order], Any]) -> Draw:
    def draw(order: Order) -> Iterator[Progress | Picture]:
        yield picture(order, make(order))

    return draw


WRONG_SIZES: dict[str, Draw] = {
    "too small": of_pixels(lambda order: pixels(order)[1:]),
    "too large": of_pixels(lambda order: np.zeros((order.height, order.width + 1, 3), np.uint8)),
    "empty": of_pixels(lambda order: pixels(order)[:, :0]),
}
BAD_PICTURES: dict[str, Draw] = {
    "grey": of_pixels(lambda order: pixels(order)[..., 0]),
    "see-through": of_pixels(lambda order: np.zeros((order.height, order.width, 4), np.uint8)),
    "a batch": of_pixels(lambda order: pixels(order)[None]),
    "numbers": of_pixels(lambda order: pixels(order).astype(np.float32)),
    "not numbers": of_pixels(lambda order: np.full((order.height, order.width, 3), np.nan)),
    "wide numbers": of_pixels(lambda order: pixels(order).astype(np.int64)),
    "nothing": lambda order: iter([Progress(8, 8)]),
    "less than nothing": lambda order: iter(()),
}


@pytest.mark.parametrize(
    ("error", "cases"), [("BadPicture", BAD_PICTURES), ("WrongSize", WRONG_SIZES)]
)
def test_what_is_no_picture_of_the_size_fails_and_costs_nothing(
    studio: Studio, error: str, cases: dict[str, Draw]
) -> None:
    made = {case: studio.accept(seed=seed) for seed, case in enumerate(cases)}
    draws = list(cases.values())
    studio.run(lambda order: draws[order.seed](order))
    for case, task in made.items():
        found = studio.find(task)
        assert (found.state, found.error) == (TaskState.FAILED, error), case
    assert released(studio)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), MemoryError(), ValueError("secret")])
def test_an_engine_that_breaks_fails_its_task_and_ends_the_worker(
    studio: Studio, error: Exception
) -> None:
    task, waiting = studio.accept(seed=1), studio.accept(seed=2)
    with pytest.raises(type(error)):
        studio.run(failing(error))
    failed = next(each for each in map(studio.find, (task, waiting)) if each.state.ended)
    assert (failed.state, failed.error) == (TaskState.FAILED, "EngineFailed")
    assert str(error) not in failed.error_message or not str(error)
    assert sorted(studio.find(each).state for each in (task, waiting)) == ["failed", "queued"]
    assert (studio.balance().used, studio.balance().held) == (0, PRICE)


def test_a_task_that_takes_too_long_is_ended_between_two_steps(
    store: Store, tmp_path: Path
) -> None:
    studio = Studio(store, tmp_path / "pictures", Rules(6.0, 0.1, 86_400.0))
    task = studio.accept()
    studio.run(endless)
    assert (studio.find(task).state, studio.find(task).error) == (TaskState.FAILED, "TimedOut")
    assert released(studio)
    assert store.read(audit) == []


# Cancelling, draining, stopping.


def test_a_cancelled_task_ends_between_two_steps(studio: Studio) -> None:
    task = studio.accept()

    def draw(order: Order) -> Iterator[Progress | Picture]:
        studio.cancel(task)
        yield from endless(order)

    studio.run(draw)
    found = studio.find(task)
    assert (found.state, found.error) == (TaskState.CANCELLED, "Cancelled")
    assert released(studio)


def test_a_cancel_does_not_touch_the_next_task(studio: Studio) -> None:
    first, second = studio.accept(seed=1), studio.accept(seed=2)

    def draw(order: Order) -> Iterator[Progress | Picture]:
        if order.seed == 2:
            return well(order)
        studio.cancel(first)
        return endless(order)

    studio.run(draw)
    assert studio.find(first).state == TaskState.CANCELLED
    assert studio.find(second).state == TaskState.SUCCEEDED


def test_a_drained_worker_finishes_what_it_draws_and_claims_no_more(studio: Studio) -> None:
    made = [studio.accept() for _ in range(3)]
    orders = UntilTold()

    def draw(order: Order) -> Iterator[Progress | Picture]:
        orders.drain = True
        return well(order)

    engine = studio.run(draw, orders)
    assert len(engine.drawn) == 1
    states = sorted(studio.find(task).state for task in made)
    assert states == ["queued", "queued", "succeeded"]


def test_a_stopped_worker_gives_back_what_it_draws_as_if_it_had_not_begun(studio: Studio) -> None:
    task = studio.accept()
    orders = UntilTold()

    def draw(order: Order) -> Iterator[Progress | Picture]:
        orders.stop = True
        return endless(order)

    studio.run(draw, orders)
    found = studio.find(task)
    assert (found.state, found.attempt, found.started_at) == (TaskState.QUEUED, 0, None)
    assert studio.balance().held == PRICE
    assert studio.bytes_kept() == []


def succeeded(studio: Studio, task: Task) -> bool:
    return studio.find(task).state == TaskState.SUCCEEDED


def test_a_worker_waits_for_work_until_it_is_told_to_end(studio: Studio) -> None:
    orders = UntilTold()
    thread = threading.Thread(target=studio.run, args=(well, orders))
    thread.start()
    try:
        for _ in range(2):
            task = studio.accept()
            assert until(partial(succeeded, studio, task))
    finally:
        orders.drain = True
        thread.join(10)
    assert not thread.is_alive()


def test_a_worker_told_to_end_while_it_warms_up_draws_nothing(studio: Studio) -> None:
    task = studio.accept()
    assert studio.run(well, UntilIdle(drain=True)).drawn == []
    assert studio.find(task).state == TaskState.QUEUED


def test_a_worker_leaves_tasks_for_other_models(studio: Studio) -> None:
    task = studio.accept(model="other")
    assert studio.run().drawn == []
    assert studio.find(task).state == TaskState.QUEUED


def test_a_worker_waits_while_the_database_is_not_there(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, troubles = studio.accept(), [Unavailable(), Unavailable()]
    claim = queue.claim

    def troubled(*what: Any) -> list[Claim]:
        if troubles:
            raise troubles.pop()
        return claim(*what)

    class Patient(UntilIdle):
        def wait(self, seconds: float) -> None:
            self.drain = not troubles and studio.find(task).state.ended

    monkeypatch.setattr(queue, "claim", troubled)
    studio.run(well, Patient())
    assert studio.find(task).state == TaskState.SUCCEEDED


# A lease that was lost.


def test_a_task_that_was_taken_away_is_let_go(studio: Studio) -> None:
    """Another has it by now and ends it; ours ends between two steps and changes nothing."""
    task = studio.accept()
    theirs: list[Claim] = []

    def draw(order: Order) -> Iterator[Progress | Picture]:
        studio.lose()
        theirs.append(studio.claim_as("w2"))
        yield from endless(order)

    studio.run(draw)
    found = studio.find(task)
    assert (found.state, found.attempt) == (TaskState.RUNNING, 2)
    assert studio.balance().held == PRICE
    ended = queue.failure(EngineFailed("By the other."))
    ends = [(theirs[0], ended)]
    assert studio.store.write(lambda tx: queue.settle(tx, ends, time.time())) != [None]
    assert released(studio)


def test_a_picture_that_comes_too_late_is_thrown_away(studio: Studio) -> None:
    """I10: the other's picture stays, ours goes, and one price is paid."""
    task = studio.accept()
    kept: list[File] = []

    def draw(order: Order) -> Iterator[Progress | Picture]:
        studio.lose()
        held = studio.claim_as("w2")
        studio.blobs.put("theirs.png", b"theirs")
        kept.append(File("ftheirs", "theirs.png", "0" * 64, 6, ".png", time.time() + 9e4))
        ended = Outcome(TaskState.SUCCEEDED, file=kept[0])
        studio.store.write(lambda tx: queue.settle(tx, [(held, ended)], time.time()))
        yield picture(order)

    studio.run(draw)
    assert studio.file(task).id == "ftheirs"
    later = Housekeeper(studio.store, studio.blobs, lambda: time.time() + 2 * ORPHAN_AGE_S)
    later.remove_orphans()
    assert [path.name for path in studio.bytes_kept()] == ["theirs.png"]
    assert (studio.balance().used, studio.balance().held) == (PRICE, 0)


def test_a_worker_that_lost_its_lease_makes_a_new_one_and_goes_on(studio: Studio) -> None:
    task = studio.accept()
    orders = UntilTold()
    lost = threading.Event()

    def draw(order: Order) -> Iterator[Progress | Picture]:
        if lost.is_set():
            return well(order)
        lost.set()
        studio.lose()
        return endless(order)

    thread = threading.Thread(target=studio.run, args=(draw, orders))
    thread.start()
    try:
        assert until(lambda: studio.find(task).state == TaskState.SUCCEEDED)
    finally:
        orders.drain = True
        thread.join(10)
    assert studio.find(task).attempt == 2
    assert studio.balance().used == PRICE


def test_a_task_claimed_after_the_lease_was_lost_does_not_run_for_ever(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stood still, was given up, and claims before it hears of it."""
    monkeypatch.setattr(worker, "BEAT_S", 0.3)
    task = studio.accept()
    studio.lease.start()
    studio.lose()
    try:
        studio.worker.run(Fake(endless), UntilIdle())
        assert studio.find(task).state == TaskState.QUEUED
        assert studio.store.read(audit) == []
    finally:
        studio.lease.end()


def test_what_a_worker_still_holds_at_its_end_is_queued_again_now(studio: Studio) -> None:
    """Not in 1970, as its task would be shown and forgotten."""
    before = time.time() - 1
    again, asked = studio.accept(seed=1), studio.accept(seed=2)
    studio.lease.start()
    claims = studio.store.write(lambda tx: queue.claim(tx, "w1", MODEL, 2, time.time()))
    assert len(claims) == 2
    studio.cancel(asked)
    studio.lease.end()
    assert studio.find(again).state == TaskState.QUEUED
    assert studio.find(asked).state == TaskState.CANCELLED
    assert studio.find(again).updated_at > before
    assert (studio.find(asked).ended_at or 0) > before


def test_a_lease_is_kept_through_trouble_with_the_database(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, troubles = studio.accept(), [Unavailable(), Unavailable()]
    cancels = queue.cancels

    def troubled(tx: Any, worker_id: str) -> set[str]:
        if troubles:
            raise troubles.pop()
        return cancels(tx, worker_id)

    def draw(order: Order) -> Iterator[Progress | Picture]:
        studio.cancel(task)
        for _ in range(600):
            time.sleep(0.005)
            yield Progress(1, 8)
        yield picture(order)

    monkeypatch.setattr(queue, "cancels", troubled)
    studio.run(draw)
    assert studio.find(task).state == TaskState.CANCELLED, "who keeps the lease gave up"


# Encoding beside drawing.


def test_pictures_are_encoded_at_the_same_time(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(worker.ENCODERS)
    encode = pictures.encode

    def encode_together(*what: Any) -> bytes:
        together.wait(10)
        return encode(*what)

    monkeypatch.setattr(pictures, "encode", encode_together)
    made = [studio.accept(seed=seed) for seed in range(1, 2 * worker.ENCODERS + 1)]
    studio.run()
    assert {studio.find(task).state for task in made} == {TaskState.SUCCEEDED}
    assert studio.balance().used == len(made) * PRICE


def test_what_is_encoded_is_settled_while_another_still_is(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {seed: studio.accept(seed=seed) for seed in (1, 2)}
    encode, ended = pictures.encode, list[int]()

    def encode_slowly(drawn: NDArray[np.uint8], *what: Any) -> bytes:
        seed = int(drawn[0, 0, 0])
        if not ended:
            ended.append(3 - seed)
            assert until(lambda: studio.find(made[3 - seed]).state.ended)
        return encode(drawn, *what)

    monkeypatch.setattr(pictures, "encode", encode_slowly)
    studio.run()
    states = {studio.find(task).state for task in made.values()}
    assert (states, len(ended)) == ({TaskState.SUCCEEDED}, 1)


def test_only_so_many_pictures_wait_to_be_settled(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [studio.accept(seed=seed) for seed in range(1, 3 * worker.UNSETTLED_MAX)]
    encode, waiting = pictures.encode, list[int]()

    def encode_slowly(*what: Any) -> bytes:
        time.sleep(0.02)
        return encode(*what)

    def draw(order: Order) -> Iterator[Progress | Picture]:
        states = [studio.find(task).state for task in made]
        waiting.append(states.count(TaskState.RUNNING))
        return well(order)

    monkeypatch.setattr(pictures, "encode", encode_slowly)
    studio.run(draw)
    assert len(waiting) == len(made)
    assert 1 < max(waiting) <= worker.UNSETTLED_MAX


# What the file says.


def kept(studio: Studio, task: Task) -> Path:
    return studio.folder / studio.file(task).blob_key


@pytest.mark.parametrize("suffix", pictures.FORMATS)
def test_a_kept_file_says_how_it_was_made_where_the_operator_wants_it(
    store: Store, tmp_path: Path, suffix: str
) -> None:
    studio = Studio(store, tmp_path / "pictures", replace(RULES, metadata=True))
    asked = ImageRequest("猫 🐱", 65, 63, steps=5, callback_url="https://hooks.example.com/told")
    task = studio.accept(request=asked, seed=41, suffix=suffix, fields={"prompt": "猫", "x": "y"})
    studio.run()
    found = describe(kept(studio, task))
    assert (found.prompt, found.seed, found.steps, found.model) == ("猫 🐱", 41, 5, MODEL)
    assert (found.width, found.height, found.prompt_tokens) == (65, 63, 12)
    assert found.source_type == "trainedAlgorithmicMedia"
    data = kept(studio, task).read_bytes()
    for private in (task.id, task.public_id, task.account_id, "k0000000", "hooks.example.com"):
        assert private.encode() not in data
        assert private.encode("utf-16-be") not in data
    done = studio.find(task)
    assert done.result["sha256"] == pictures.sha256(pixels(Order("", 65, 63, 41, 5)))


def test_the_prompt_that_a_file_tells_is_the_one_that_was_drawn(
    store: Store, tmp_path: Path
) -> None:
    studio = Studio(store, tmp_path / "pictures", replace(RULES, metadata=True))
    task = studio.accept(request=ImageRequest("a cat", 64, 64, extended="a small grey cat"))
    studio.run()
    assert describe(kept(studio, task)).prompt == "a small grey cat"


@pytest.mark.parametrize("suffix", pictures.FORMATS)
def test_a_kept_file_says_nothing_where_nobody_asked_for_it(studio: Studio, suffix: str) -> None:
    task = studio.accept(suffix=suffix)
    studio.run()
    found = describe(kept(studio, task))
    assert found == Description(found.format, 64, 64, found.bytes)


# Pictures that cannot be kept.


def test_a_picture_that_cannot_be_encoded_fails_its_task_and_the_worker_goes_on(
    studio: Studio,
) -> None:
    odd, good = studio.accept(request=TOO_WIDE, suffix=".webp"), studio.accept()
    studio.run()
    assert (studio.find(odd).state, studio.find(odd).error) == (TaskState.FAILED, "NotEncoded")
    assert studio.find(good).state == TaskState.SUCCEEDED
    assert (studio.balance().used, studio.balance().held) == (PRICE, 0)


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (errno.ENOSPC, "StorageFull", "no room"),
        (errno.EDQUOT, "StorageFull", "no room"),
        (errno.EIO, "EngineFailed", "could not be kept"),
    ],
)
def test_a_picture_that_cannot_be_kept_fails_its_task_and_the_worker_goes_on(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, number: int, error: str, said: str
) -> None:
    put, troubles = studio.blobs.put, [OSError(number, f"{studio.folder}: no")]

    def put_or_not(key: str, data: bytes) -> None:
        if troubles:
            raise troubles.pop()
        put(key, data)

    monkeypatch.setattr(studio.blobs, "put", put_or_not)
    made = [studio.accept(), studio.accept()]
    studio.run()
    found = sorted(map(studio.find, made), key=lambda task: task.state)
    assert [task.state for task in found] == ["failed", "succeeded"]
    assert found[0].error == error
    assert said in found[0].error_message
    assert str(studio.folder) not in found[0].error_message
    assert (studio.balance().used, studio.balance().held) == (PRICE, 0)


def test_a_folder_that_cannot_be_written_fails_the_task_and_not_the_worker(
    studio: Studio,
) -> None:
    task = studio.accept()

    def draw(order: Order) -> Iterator[Progress | Picture]:
        studio.folder.rmdir()
        studio.folder.write_text("no folder any more")
        return well(order)

    studio.run(draw)
    assert (studio.find(task).state, studio.find(task).error) == (TaskState.FAILED, "EngineFailed")
    assert studio.balance() == Balance(studio.account_id, 1000 * PRICE, 0, 0)


def test_a_picture_that_is_drawn_waits_for_a_database_that_is_away(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn once and paid once, however often it had to be told."""
    monkeypatch.setattr(worker, "SETTLE_AGAIN_S", 0.01)
    task, troubles, settle = studio.accept(), [Unavailable()] * 3, queue.settle

    def troubled(*what: Any) -> list[Any]:
        if troubles:
            raise troubles.pop()
        return settle(*what)

    monkeypatch.setattr(queue, "settle", troubled)
    engine = studio.run()
    assert len(engine.drawn) == 1
    assert (studio.find(task).state, studio.find(task).attempt) == (TaskState.SUCCEEDED, 1)
    assert (studio.balance().used, troubles) == (PRICE, [])


def test_who_is_told_to_stop_waits_no_longer_for_the_database(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is queued again at the worker's end."""
    task, orders = studio.accept(), UntilIdle()

    def away(*_: Any) -> list[Any]:
        orders.drain = orders.stop = True
        raise Unavailable

    monkeypatch.setattr(queue, "settle", away)
    with pytest.raises(Unavailable):
        studio.run(orders=orders)
    assert studio.find(task).state == TaskState.QUEUED


def test_a_result_that_cannot_be_settled_ends_the_worker_and_loses_no_task(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = studio.accept()

    def broken(*_: Any, **__: Any) -> bool:
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(queue, "settle", broken)
    with pytest.raises(RuntimeError, match="is gone"):
        studio.run()
    assert studio.find(task).state == TaskState.QUEUED
    assert studio.balance().held == PRICE


def test_a_hung_step_fails_the_task_and_ends_the_process(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step cannot be interrupted, so the process is what ends."""
    ended, exits = threading.Event(), list[int]()

    def leave(status: int) -> None:
        exits.append(status)
        ended.set()

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(worker, "HUNG_AFTER_S", 0.2 - RULES.task_timeout_s)
    task = studio.accept()

    def hang(order: Order) -> Iterator[Progress | Picture]:
        assert ended.wait(10)
        yield picture(order)

    studio.run(hang)
    assert exits[0] == worker.HUNG
    assert (studio.find(task).state, studio.find(task).error) == (TaskState.FAILED, "TimedOut")
    assert (studio.balance().used, studio.balance().held) == (0, 0)


def test_several_workers_share_a_queue_and_draw_everything_once(
    store: Store, tmp_path: Path
) -> None:
    first = Studio(store, tmp_path / "pictures")
    made = [first.accept(seed=seed) for seed in range(1, 13)]
    lives = []
    for number in range(3):
        lease = Lease(store, f"worker {number}", RULES, time.time)
        lease.start()
        mine = Worker(store, first.blobs, lease, RULES, MODEL)
        engine = Fake()
        thread = threading.Thread(target=partial(mine.run, engine, UntilIdle()))
        lives.append((lease, engine, thread))
    for _, _, thread in lives:
        thread.start()
    for lease, _, thread in lives:
        thread.join(30)
        lease.end()
    drawn = sorted(order.seed for _, engine, _ in lives for order in engine.drawn)
    assert drawn == list(range(1, 13))
    assert {first.find(task).state for task in made} == {TaskState.SUCCEEDED}
    assert first.balance().used == 12 * PRICE
    assert store.read(audit) == []


def test_the_rules_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZING_LEASE", "ZING_TASK_TIMEOUT", "ZING_LINK_TTL", "ZING_METADATA"):
        monkeypatch.delenv(name, raising=False)
    assert Rules.read() == Rules(6.0, 600.0, 86_400.0, metadata=False)
    monkeypatch.setenv("ZING_LEASE", "1.5")
    monkeypatch.setenv("ZING_METADATA", "on")
    assert (Rules.read().lease_s, Rules.read().metadata) == (1.5, True)
    monkeypatch.setenv("ZING_METADATA", "true")
    with pytest.raises(BadSetting, match="off or on"):
        Rules.read()
