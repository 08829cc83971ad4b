"""The use cases: what a caller of any dialect gets, and what is theirs alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import func, select

from tests.audit import MODEL, NOW, PRICE, Clock, audit, funded
from zing import disk, keys, ledger, limits, queue
from zing.blobs import Blobs, Links
from zing.errors import (
    BadCallback,
    BadKey,
    BadPicture,
    BadSetting,
    InsufficientCredits,
    NotCancellable,
    QueueFull,
    Unavailable,
    UnknownTask,
)
from zing.keys import Key
from zing.queue import Claim, Outcome
from zing.room import Bounds, Room
from zing.service import UNMEASURED_S, Asking, Served, Service, Terms
from zing.store import Store, switches
from zing.store.files import File
from zing.store.schema import task as task_table
from zing.task import SEED_MAX, ImageRequest, TaskState, TaskView

DAY_S = 86_400.0
PEPPER = b"p" * 32
ASKED = ImageRequest("a cat", 64, 64)
NO_ROOM = Bounds(quota=0, floor=0)


@dataclass
class Shape:
    """A dialect, as much of it as submitting needs."""

    NAME: str = "shape"
    SUFFIX: str = ".webp"
    ids: Iterator[str] | None = None

    def new_id(self, now: float, pick: random.Random) -> str:
        return next(self.ids) if self.ids else f"shape-{int(now)}-{pick.getrandbits(64):x}"


@dataclass
class Desk:
    """A service with one account's key, and a worker's part done by hand."""

    service: Service
    clock: Clock
    key: Key
    text: str
    woken: list[float] = field(default_factory=list)
    via: Shape = field(default_factory=Shape)

    @property
    def store(self) -> Store:
        return self.service.store

    def submit(self, request: ImageRequest = ASKED, key: Key | None = None) -> TaskView:
        asking = Asking(key or self.key, self.via, request, {"prompt": request.prompt})
        view = self.service.submit(asking).view
        assert view is not None
        return view

    def look(self, view: TaskView) -> TaskView:
        return self.service.look(view.task.public_id, self.key.account_id)

    def other_key(self) -> Key:
        account_id = funded(self.store)
        return self.store.write(lambda tx: keys.mint(tx, PEPPER, "other", account_id, NOW))[1]

    def worker(self, worker_id: str = "w1", /, **progress: Any) -> None:
        """A worker that is ready, and what it says."""
        until = self.clock() + DAY_S

        def known(tx: Any) -> None:
            if not queue.beat(tx, worker_id, "ready", progress, until):
                queue.register(tx, worker_id, "host", self.clock(), DAY_S)
                queue.beat(tx, worker_id, "ready", progress, until)

        self.store.write(known)

    def claim(self) -> Claim:
        now, model = self.clock(), self.service.served.name
        (held,) = self.store.write(lambda tx: queue.claim(tx, "w1", model, 1, now))
        return held

    def draw(self, seconds: float = 2.0, data: bytes = b"picture") -> File:
        """The next task is drawn."""
        held = self.claim()
        self.clock.now += seconds
        key = f"day/{held.token}{held.suffix}"
        self.service.blobs.put(key, data)
        expires = self.clock() + self.service.terms.link_ttl_s
        file = File(f"f{held.token[:24]}", key, "0" * 64, len(data), held.suffix, expires)
        self.settle(held, Outcome(TaskState.SUCCEEDED, result={}, file=file))
        return file

    def settle(self, held: Claim, outcome: Outcome) -> None:
        ends = [(held, outcome)]
        assert self.store.write(lambda tx: queue.settle(tx, ends, self.clock())) != [None]

    def count(self) -> int:
        total = select(func.count()).select_from(task_table)
        return int(self.store.read(lambda tx: tx.scalar(total)) or 0)


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Iterator[Desk]:
    """A service that accepts; afterwards everything adds up."""
    clock, woken, account_id = Clock(), list[float](), funded(store)
    text, key = store.write(lambda tx: keys.mint(tx, PEPPER, "mine", account_id, NOW))
    service = Service(
        store=store,
        blobs=Blobs(tmp_path / "pictures"),
        links=Links(PEPPER, "http://127.0.0.1:8000"),
        pepper=PEPPER,
        terms=Terms(PRICE, DAY_S),
        served=Served(MODEL, strict=False),
        clock=clock,
        wake=lambda: woken.append(clock()),
    )
    yield Desk(service, clock, key, text, woken)
    assert store.read(audit) == []


def name_of(view: TaskView) -> str:
    return view.links[0].rpartition("/")[2]


# Submitting.


def test_a_submitted_task_is_queued_paid_for_and_the_workers_are_woken(desk: Desk) -> None:
    view = desk.submit()
    assert (view.task.state, view.progress, view.links) == (TaskState.QUEUED, 0, ())
    assert (view.task.cost, view.price, view.task.dialect) == (PRICE, PRICE, "shape")
    assert view.task.fields == {"prompt": "a cat"}
    assert desk.woken == [NOW]
    has = desk.store.read(lambda tx: ledger.balance(tx, desk.key.account_id))
    assert has.held == PRICE


def test_a_seed_is_kept_and_a_missing_one_is_drawn(desk: Desk) -> None:
    assert desk.submit(replace(ASKED, seed=41)).task.seed == 41
    drawn = {desk.submit().task.seed for _ in range(5)}
    assert len(drawn) == 5
    assert all(1 <= seed <= SEED_MAX for seed in drawn)
    assert desk.submit().task.request.seed is None


def test_an_id_that_is_taken_is_not_given_again(desk: Desk) -> None:
    desk.via.ids = iter(["id-1", "id-1", "id-1", "id-2"])
    views = [desk.submit(), desk.submit(key=desk.other_key())]
    assert [view.task.public_id for view in views] == ["id-1", "id-2"]
    assert desk.count() == 2


def test_a_strict_request_is_refused_where_it_cannot_be_kept(desk: Desk) -> None:
    with pytest.raises(Unavailable, match="tiny"):
        desk.submit(replace(ASKED, strict=True))
    assert desk.count() == 0
    assert desk.woken == []


def test_a_strict_request_is_taken_where_the_model_draws_no_people(desk: Desk) -> None:
    desk.service = replace(desk.service, served=Served(MODEL, strict=True))
    assert desk.submit(replace(ASKED, strict=True)).task.request.strict


def test_a_callback_that_will_not_be_called_is_refused(desk: Desk) -> None:
    for url in ("http://example.com", "https://127.0.0.1/x", "file:///etc/passwd"):
        with pytest.raises(BadCallback):
            desk.submit(replace(ASKED, callback_url=url))
    assert desk.count() == 0


def test_a_callback_that_can_be_called_is_kept(desk: Desk) -> None:
    url = "https://example.com/hook"
    assert desk.submit(replace(ASKED, callback_url=url)).task.request.callback_url == url


def test_who_cannot_pay_wakes_nobody(desk: Desk) -> None:
    account_id = funded(desk.store, 0)
    poor = desk.store.write(lambda tx: keys.mint(tx, PEPPER, "poor", account_id, NOW))[1]
    with pytest.raises(InsufficientCredits):
        desk.submit(key=poor)
    assert desk.count() == 0
    assert desk.woken == []


def test_a_full_queue_refuses(desk: Desk) -> None:
    desk.service = replace(desk.service, most=limits.Rules(queue_max=1))
    desk.submit()
    with pytest.raises(QueueFull):
        desk.submit()


def test_a_prompt_that_is_blocked_is_a_failed_task_and_costs_nothing(desk: Desk) -> None:
    view = desk.submit(replace(ASKED, prompt="hardcore porn"))
    assert (view.task.state, view.task.error) == (TaskState.FAILED, "Blocked")
    assert (view.progress, view.estimated_s, view.links) == (0, 0, ())
    assert "porn" not in view.task.error_message
    has = desk.store.read(lambda tx: ledger.balance(tx, desk.key.account_id))
    assert (has.available, has.held, has.used) == (1000 * PRICE, 0, 0)


def test_a_model_of_any_name_can_be_served(desk: Desk) -> None:
    """A model may be a folder, whose name has up to 255 bytes."""
    desk.service = replace(desk.service, served=Served("猫" * 85, strict=False))
    view = desk.submit()
    desk.worker()
    assert desk.claim().task.id == view.task.id


# Whose task it is.


def test_another_accounts_task_is_unknown(desk: Desk) -> None:
    """I7."""
    view, other = desk.submit(), desk.other_key()
    for use in (desk.service.look, desk.service.cancel, desk.service.delete):
        with pytest.raises(UnknownTask) as foreign:
            use(view.task.public_id, other.account_id)
        with pytest.raises(UnknownTask) as missing:
            use("shape-0-0", other.account_id)
        assert str(foreign.value) == str(missing.value)
    assert desk.look(view).task.state == TaskState.QUEUED


def test_another_key_of_the_account_sees_the_task(desk: Desk) -> None:
    view = desk.submit()
    mint = keys.mint
    second = desk.store.write(lambda tx: mint(tx, PEPPER, "2", desk.key.account_id, NOW))[1]
    assert desk.service.look(view.task.public_id, second.account_id).task.id == view.task.id


def test_an_operator_sees_every_task(desk: Desk) -> None:
    view = desk.submit()
    assert desk.service.look(view.task.public_id, None).task.id == view.task.id


def test_a_key_lets_in_and_garbage_does_not(desk: Desk) -> None:
    assert desk.service.authenticate(desk.text) == desk.key
    with pytest.raises(BadKey):
        desk.service.authenticate(desk.text + "x")


# Cancelling and deleting.


def test_a_cancelled_queued_task_has_ended(desk: Desk) -> None:
    view = desk.submit()
    cancelled = desk.service.cancel(view.task.public_id, desk.key.account_id)
    assert (cancelled.task.state, cancelled.progress, cancelled.estimated_s) == ("cancelled", 0, 0)
    with pytest.raises(NotCancellable):
        desk.service.cancel(view.task.public_id, desk.key.account_id)


def test_a_cancelled_running_task_is_asked_to_end(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    desk.claim()
    cancelled = desk.service.cancel(view.task.public_id, desk.key.account_id)
    assert cancelled.task.state == TaskState.RUNNING
    assert cancelled.task.cancel_requested


def test_deleting_a_picture_removes_its_bytes_and_ends_its_link(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    file = desk.draw()
    name = name_of(desk.look(view))
    assert desk.service.picture(name) is not None
    for _ in range(2):
        deleted = desk.service.delete(view.task.public_id, desk.key.account_id)
        assert deleted.task.state == TaskState.SUCCEEDED
    assert desk.service.blobs.get(file.blob_key) is None
    with pytest.raises(LookupError):
        desk.service.picture(name)


def test_deleting_an_open_task_cancels_it(desk: Desk) -> None:
    view = desk.submit()
    deleted = desk.service.delete(view.task.public_id, desk.key.account_id)
    assert deleted.task.state == TaskState.CANCELLED


# Links.


def test_a_picture_can_be_read_for_24_hours_and_not_a_moment_longer(desk: Desk) -> None:
    """I6."""
    view = desk.submit()
    desk.worker()
    desk.draw(data=b"the bytes")
    done = desk.look(view)
    assert done.task.ended_at is not None
    desk.clock.now = done.task.ended_at + DAY_S - 1
    found = desk.service.picture(name_of(desk.look(view)))
    assert found is not None
    assert found[1] == b"the bytes"
    assert found[0].suffix == ".webp"
    desk.clock.now = done.task.ended_at + DAY_S
    with pytest.raises(LookupError):
        desk.service.picture(name_of(done))
    assert name_of(desk.look(view)) == name_of(done), "a look does not make a link live longer"


def test_a_link_with_a_changed_time_opens_nothing(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    desk.draw()
    file_id, ends, rest = name_of(desk.look(view)).split("-")
    assert desk.service.picture(f"{file_id}-{int(ends) + 1}-{rest}") is None
    assert desk.service.picture("nonsense") is None


def test_a_signed_link_to_a_file_that_is_not_there_is_over(desk: Desk) -> None:
    name = desk.service.links.sign("f" + "0" * 24, NOW + DAY_S, ".png").rpartition("/")[2]
    with pytest.raises(LookupError):
        desk.service.picture(name)


def test_a_picture_whose_bytes_are_gone_is_over(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    desk.service.blobs.delete([desk.draw().blob_key])
    with pytest.raises(LookupError):
        desk.service.picture(name_of(desk.look(view)))


# Progress and estimates.


def test_progress_is_1_to_99_while_a_task_runs(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    held = desk.claim()
    assert desk.look(view).progress == 1
    for step, shown in ((0, 1), (1, 12), (4, 50), (8, 99)):
        desk.worker(**{held.task.id: [step, 8]})
        assert desk.look(view).progress == shown


def test_progress_is_100_when_a_task_has_succeeded(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    desk.draw()
    done = desk.look(view)
    assert (done.progress, done.estimated_s, len(done.links)) == (100, 0, 1)


def test_a_failed_task_shows_no_picture_and_nothing_to_wait_for(desk: Desk) -> None:
    view = desk.submit()
    desk.worker()
    desk.settle(desk.claim(), queue.failure(BadPicture()))
    failed = desk.look(view)
    assert (failed.task.state, failed.estimated_s, failed.links) == (TaskState.FAILED, 0, ())


def test_before_anything_was_measured_the_estimate_is_a_guess(desk: Desk) -> None:
    assert desk.submit().estimated_s == UNMEASURED_S


def test_the_first_estimate_is_the_pace_of_the_workers_start(desk: Desk) -> None:
    desk.worker(pace=3.2)
    assert desk.submit().estimated_s == 4


def test_an_estimate_is_what_pictures_of_its_kind_took(desk: Desk) -> None:
    desk.worker(pace=50.0)
    wide = replace(ASKED, width=128)
    for seconds in (2.0, 4.0):
        desk.submit()
        desk.draw(seconds)
    desk.submit(wide)
    desk.draw(20.0)
    assert desk.submit().estimated_s == 3
    desk.draw(3.0)
    assert desk.submit(wide).estimated_s == 20


def test_a_kind_never_drawn_is_estimated_by_the_others(desk: Desk) -> None:
    desk.worker()
    desk.submit()
    desk.draw(6.0)
    assert desk.submit(replace(ASKED, steps=3)).estimated_s == 6


def test_only_the_last_pictures_count(desk: Desk) -> None:
    desk.worker()
    for seconds in (900.0, *[1.0] * 20):
        desk.submit()
        desk.draw(seconds)
    assert desk.submit().estimated_s == 1


def test_who_is_in_front_is_waited_for_and_workers_share_it(desk: Desk) -> None:
    desk.worker()
    desk.submit()
    desk.draw(10.0)
    views = [desk.submit() for _ in range(5)]
    assert views[0].estimated_s == 10
    assert views[4].estimated_s == 50
    desk.worker("w2")
    assert desk.look(views[4]).estimated_s == 30


def test_a_running_task_needs_what_is_left_of_it_and_at_least_a_second(desk: Desk) -> None:
    desk.worker()
    desk.submit()
    desk.draw(10.0)
    view = desk.submit()
    held = desk.claim()
    desk.worker(**{held.task.id: [6, 8]})
    assert desk.look(view).estimated_s == 3
    desk.worker(**{held.task.id: [8, 8]})
    assert desk.look(view).estimated_s == 1, "0 is for tasks that have ended"


# The rest.


def test_it_says_that_there_is_no_room_and_is_ready_to_show_what_was_drawn(
    desk: Desk, tmp_path: Path
) -> None:
    desk.worker()
    full = replace(desk, service=replace(desk.service, room=Room(desk.store, [tmp_path], NO_ROOM)))
    with pytest.raises(Unavailable, match="no room"):
        full.submit()
    facts = full.service.ready()
    assert (facts["ready"], "no room" in facts["room"]) == (True, True)
    assert desk.count() == 0


def test_it_is_ready_when_a_worker_is(desk: Desk) -> None:
    facts = desk.service.ready()
    rooms = facts.pop("disk")
    assert facts == {
        "ready": False,
        "stage": "starting",
        "reason": "The worker is being started.",
        "model": "tiny",
        "database": "ok",
        "workers": 0,
        "open_tasks": 0,
        "queue": {"queued": 0, "limit": 10_000},
        "maintenance": False,
        "moderation": "basic",
        "room": "ok",
    }
    assert set(rooms) == {"pictures"} | ({"database"} if desk.store.sqlite else set())
    assert all(each["ok"] and each["free"] > 0 for each in rooms.values())
    desk.worker()
    desk.submit()
    ready = desk.service.ready()
    assert (ready["ready"], ready["workers"], ready["open_tasks"]) == (True, 1, 1)
    desk.clock.now += DAY_S + 1
    assert not desk.service.ready()["ready"]


def test_it_says_how_far_its_worker_is(desk: Desk) -> None:
    def stage(state: str, **progress: Any) -> tuple[str, str]:
        until = desk.clock() + DAY_S
        desk.store.write(lambda tx: queue.beat(tx, "w1", state, progress, until))
        facts = desk.service.ready()
        assert facts["ready"] == (state == "ready") == (facts["reason"] == "")
        return facts["stage"], facts["reason"]

    desk.worker()
    assert stage("loading") == ("loading", "The worker reads the model.")
    assert stage("loading", model=MODEL)[1] == "The worker draws a first picture, to be warm."
    assert stage("draining", model=MODEL)[0] == "draining"
    assert stage("ready", model=MODEL) == ("ready", "")
    ends = desk.service.ready(draining=True)
    assert (ends["ready"], ends["stage"]) == (False, "draining")


def test_the_worker_that_is_farthest_counts(desk: Desk) -> None:
    desk.worker("w1")
    desk.worker("w2")
    until = desk.clock() + DAY_S
    desk.store.write(lambda tx: queue.beat(tx, "w1", "loading", {}, until))
    assert (desk.service.ready()["stage"], desk.service.ready()["workers"]) == ("ready", 1)


def test_it_is_not_ready_without_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.worker()
    monkeypatch.setattr(disk, "FLOOR", 2**60)
    facts = desk.service.ready()
    assert (facts["ready"], facts["stage"]) == (False, "ready")
    assert "The folder of the pictures has only" in facts["reason"]
    desk.service.blobs.folder.rmdir()
    desk.service.blobs.folder.touch()
    assert "cannot be written" in desk.service.ready()["reason"]


def test_it_is_not_ready_without_its_database_and_says_what_it_knows(desk: Desk) -> None:
    desk.worker()

    def away(_: object) -> Any:
        raise Unavailable("The database does not answer; try again.")

    place = SimpleNamespace(read=away, sqlite=False)
    facts = replace(desk.service, store=cast(Store, place)).ready()
    assert (facts["ready"], facts["model"], facts["moderation"]) == (False, MODEL, "basic")
    assert facts["reason"].startswith("The database does not answer")
    assert (facts["maintenance"], facts["stage"]) == (None, "none")


def test_in_maintenance_it_is_ready_and_says_so(desk: Desk) -> None:
    """A load balancer goes on sending those who look their tasks up."""
    desk.worker()
    on = partial(switches.turn_on, name=switches.MAINTENANCE, now=desk.clock())
    desk.store.write(on)
    ready = desk.service.ready()
    assert (ready["ready"], ready["maintenance"]) == (True, True)


def test_a_service_without_workers_of_its_own_is_ready_without_them(desk: Desk) -> None:
    desk.service = replace(desk.service, served=Served(MODEL, strict=False, workers=False))
    assert desk.service.ready()["ready"]


def test_the_terms_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZING_PRICE", raising=False)
    monkeypatch.delenv("ZING_LINK_TTL", raising=False)
    assert Terms.read() == Terms(26_000, DAY_S)
    monkeypatch.setenv("ZING_PRICE", "1.5")
    monkeypatch.setenv("ZING_LINK_TTL", "60")
    assert Terms.read() == Terms(1_500_000, 60.0)
    for name, bad in (("ZING_PRICE", "-1"), ("ZING_LINK_TTL", "0"), ("ZING_LINK_TTL", "nan")):
        with monkeypatch.context() as changed:
            changed.setenv(name, bad)
            with pytest.raises(BadSetting):
                Terms.read()
