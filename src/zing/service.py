"""The use cases: submit, look, cancel, delete. No HTTP, no dialect's words, no tensors."""

import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from zing import config, keys, ledger, limits, logs, netguard, queue, readiness, safety
from zing.blobs import Blobs, Links
from zing.config import LINK_TTL, PRICE
from zing.errors import (
    BadField,
    Blocked,
    IdempotencyConflict,
    Internal,
    NotCancellable,
    Refused,
    Unavailable,
    UnknownTask,
    ZingError,
)
from zing.keys import Key
from zing.limits import Quota
from zing.queue import Accepted, Submission
from zing.readiness import Place
from zing.room import Room
from zing.store import Store, files, idem, tasks
from zing.store.files import File
from zing.store.group import alone
from zing.store.idem import Sent
from zing.store.tasks import Glance, Look
from zing.task import (
    SEED_MAX,
    Credits,
    Delivery,
    Ended,
    ImageRequest,
    Listing,
    Task,
    TaskPage,
    TaskState,
    TaskView,
    parse_credits,
    percent,
)

# Shown where nothing was measured yet, neither by a picture nor by a worker's start.
UNMEASURED_S = 10
ID_TRIES = 10
PICTURE_PART = 64 * 1024  # what a reader who does not read holds of a picture
_PICK = random.SystemRandom()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """What a picture costs (micro-credits) and how long it is kept."""

    price: int
    link_ttl_s: float

    @classmethod
    def read(cls) -> "Terms":
        """The terms that the settings name."""
        return cls(parse_credits(config.read(PRICE)), config.seconds(LINK_TTL))


@dataclass(frozen=True)
class Served:
    """What is served.

    name     the model's
    strict   whether the strict safety level can be kept with it
    workers  whether the service is ready only when a worker is
    """

    name: str
    strict: bool
    workers: bool = True


class Via(Protocol):
    """What submitting needs to know of the dialect that a request came by."""

    NAME: str
    SUFFIX: str

    def new_id(self, now: float, pick: random.Random) -> str:
        """A task id in the dialect's shape."""


@dataclass(frozen=True)
class Asking:
    """A request as it came: by whose key, in which dialect, with all its fields.

    sent   it and its idempotency key, where it has one
    words  the answer that is kept under that key
    """

    key: Key
    via: Via
    request: ImageRequest
    fields: dict[str, Any]
    sent: Sent | None = None
    words: Callable[[TaskView], str] = field(default=lambda view: view.task.public_id)


@dataclass(frozen=True)
class Answered:
    """What came of a request: its task, and the answer that its idempotency key keeps.

    view   none where the answer is that of the first request with the key
    quota  the rate that it was counted by, where there is one
    """

    view: TaskView | None
    answer: str = ""
    quota: Quota | None = None


@dataclass(frozen=True)
class Service:
    """The use cases over one database.

    wake      tells the workers that there is something to do
    room      whether one more picture would find room; always where there is none
    most      how much is taken at most, and how often
    open_key  the key that requests without one act as; empty where a key is asked for
    """

    store: Store
    blobs: Blobs
    links: Links
    pepper: bytes = field(repr=False)
    terms: Terms
    served: Served
    clock: Callable[[], float]
    wake: Callable[[], None]
    rules: netguard.Rules = field(default_factory=netguard.Rules)
    room: Room | None = None
    most: limits.Rules = field(default_factory=limits.Rules)
    open_key: str = field(default="", repr=False)

    def authenticate(self, text: str) -> Key:
        """The key that a text is; raises BadKey, KeyEnded or KeyDisabled."""
        return alone(self.authenticate_all, text)

    def authenticate_all(self, texts: Sequence[str]) -> list[Key | Refused]:
        """For each text the key that it is, or why it is none."""
        now = self.clock()
        return self.store.read(lambda tx: keys.authenticate(tx, self.pepper, texts, now))

    def submit(self, asking: Asking) -> Answered:
        """Accept a request: once this returns, the task and the hold on its price are durable.

        Raises Refused, and then nothing was charged or queued. With an idempotency key the answer
        is kept with the task, and whoever sends the same again gets it; raises IdempotencyConflict
        where the key came with another request before.
        """
        answered = alone(self.submit_all, asking)
        self.tell_refused(answered)
        return answered

    def submit_all(self, askings: Sequence[Asking]) -> list[Answered | Refused]:
        """The same for each of a set, which is durable with one commit; see `tell_refused`."""
        checked = [self._refusal(each) for each in askings]
        open_ones = [each for each, no in zip(askings, checked, strict=True) if no is None]
        answers = self._accept(open_ones) if open_ones else []
        if any(isinstance(each, Answered) and each.view is not None for each in answers):
            self.wake()
        rest = iter(answers)
        return [next(rest) if no is None else no for no in checked]

    def tell_refused(self, answered: Answered) -> None:
        """The line of the log for a task that safety ended when it was accepted."""
        task = None if answered.view is None else answered.view.task
        if task is not None and task.state.ended:
            kind = tasks.compat(self.served.name, task.request)
            logs.tell_end(Ended.of(task, kind, task.state, task.error, task.updated_at))

    def first_answer(self, sent: Sent) -> str | None:
        """What the first request with an idempotency key was answered; None where this is it.

        Raises IdempotencyConflict.
        """
        now = self.clock()
        found = self.store.read(lambda tx: _first_answer(tx, sent, now))
        if isinstance(found, Refused):
            raise found
        return None if found is None else found.answer

    def check_open(self, asking: Asking) -> None:
        """Refuse what accepting would refuse now, for whoever has work to do before that."""

        self._check(asking.request)
        ask, now = self._submission(asking).ask, self.clock()
        self.store.read(lambda tx: queue.check_open(tx, ask, now, self.most))

    def list_tasks(self, account_id: str, listing: Listing) -> TaskPage:
        """A page of an account's tasks, the newest first, without links."""
        found, total = self.store.read(lambda tx: tasks.page(tx, account_id, listing))
        looks = [Look(each, None, *steps, 0, 0, None) for each, steps in found]
        return TaskPage(tuple(map(self._view, looks)), total, listing)

    def batch(self, public_ids: Sequence[str], account_id: str) -> list[TaskView]:
        """Of these tasks the ones that are the account's, in the order of the ids."""
        looks = self.look_all([(each, account_id) for each in public_ids])
        return [each for each in looks if isinstance(each, TaskView)]

    def credits(self, key: Key) -> Credits:
        """What the account of a key may spend, and what was used."""

        def read(tx: Connection) -> Credits:
            balance = ledger.balance(tx, key.account_id)
            by_key = keys.used(tx, key.id)
            return Credits(balance.available, balance.used, by_key, self.terms.price)

        return self.store.read(read)

    def fresh_link(self, url: str, account_id: str) -> str:
        """A link that works now to the picture that a link of ours opens; raises BadField."""
        checked = self.links.check(url.partition("?")[0].rpartition("/")[2])
        file_id = checked[0] if checked else ""
        found = self.store.read(lambda tx: files.owned(tx, file_id, account_id))
        if found is None or found.deleted_at is not None or found.expires_at <= self.clock():
            raise BadField("url is not of a picture of yours that is still kept.", field="url")
        return self.links.sign(found.id, found.expires_at, found.suffix)

    def owed(self, delivery: Delivery) -> tuple[TaskView, int]:
        """The task that a callback tells of, and what its account may spend now."""
        view = self.look(delivery.public_id, delivery.account_id)
        balance = self.store.read(lambda tx: ledger.balance(tx, delivery.account_id))
        return view, balance.available

    def look(self, public_id: str, account_id: str | None) -> TaskView:
        """A task as it is now; raises UnknownTask, also for another account's."""
        return alone(self.look_all, (public_id, account_id))

    def look_all(self, asked: Sequence[tuple[str, str | None]]) -> list[TaskView | UnknownTask]:
        """For each id, with the account that asks, the task as it is now, or UnknownTask."""
        now = self.clock()
        looks = self.store.read(lambda tx: tasks.look(tx, asked, now))
        return [each if isinstance(each, UnknownTask) else self._view(each) for each in looks]

    def glance_all(self, public_ids: Sequence[str]) -> dict[str, Glance]:
        """What of some tasks changes while they are waited for, by their ids."""
        return self.store.read(lambda tx: tasks.glance(tx, public_ids))

    def cancel(self, public_id: str, account_id: str | None) -> TaskView:
        """Ask for a task to end; a queued one has ended when this returns.

        Raises UnknownTask or NotCancellable.
        """
        now = self.clock()
        if ended := self.store.write(lambda tx: queue.cancel(tx, public_id, account_id, now)):
            logs.tell_end(ended)
        self.wake()
        return self.look(public_id, account_id)

    def delete(self, public_id: str, account_id: str | None) -> TaskView:
        """Cancel a task that is open, remove the pictures of one that has ended."""
        try:
            return self.cancel(public_id, account_id)
        except NotCancellable:
            found = self.look(public_id, account_id)
        now = self.clock()
        gone = self.store.write(lambda tx: files.delete_of(tx, found.task.id, now))
        self.blobs.delete(each.blob_key for each in gone)
        return found

    def picture(self, link: str) -> tuple[File, bytes] | None:
        """What a link's last part opens: the file and its first bytes.

        None where there is no such link; raises LookupError where it was one and its time is over.
        """
        checked = self.links.check(link)
        if checked is None:
            return None
        file_id, ends = checked
        found = self.store.read(lambda tx: files.get(tx, file_id))
        if found is None or found.deleted_at is not None:
            raise LookupError(file_id)
        data = self.picture_part(found, 0)
        if data is None or min(ends, found.expires_at) <= self.clock():
            raise LookupError(file_id)
        return found, data

    def picture_part(self, file: File, start: int) -> bytes | None:
        """Some of a picture's bytes from a place on; None where they are gone."""
        return self.blobs.part(file.blob_key, start, min(start + PICTURE_PART, file.bytes))

    @property
    def place(self) -> Place:
        """What readiness is of."""
        served = self.served
        queue_max = self.most.queue_max
        return Place(self.store, self.blobs.folder, served.name, served.workers, queue_max)

    def ready(self, draining: bool = False) -> dict[str, Any]:
        """What /readyz says: whether pictures can be drawn now, and what each part does."""
        room = (self.room and self.room.why) or "ok"
        return {**readiness.look(self.place, self.clock(), draining), "room": room}

    def _check(self, request: ImageRequest) -> None:
        """Refuse what could never be served."""
        if request.callback_url:
            netguard.check_url(request.callback_url, self.rules)
        if request.strict and not self.served.strict:
            raise Unavailable(
                f"The model {self.served.name} may draw people and no picture check is installed, "
                "so the strict safety level cannot be kept; ask without it."
            )
        if self.room is not None:
            self.room.check()

    def _refusal(self, asking: Asking) -> Refused | None:
        try:
            self._check(asking.request)
        except Refused as error:
            return error
        return None

    def _accept(self, askings: Sequence[Asking]) -> list[Answered | Refused]:
        """What accepting gives; ids of a dialect's shape may be taken, and then others are tried.

        So it is where another request with the same idempotency key was accepted meanwhile.
        """
        for _ in range(ID_TRIES):
            submissions = [self._submission(each) for each in askings]
            try:
                return self.store.write(partial(self._accepted, askings, submissions))
            except IntegrityError as error:
                log.warning("an accept is tried again: %s", str(error.orig).splitlines()[0])
        raise Internal("No free task id was found.")

    def _accepted(
        self, askings: Sequence[Asking], submissions: Sequence[Submission], tx: Connection
    ) -> list[Answered | Refused]:
        now = self.clock()
        first = {place: _first_answer(tx, each.sent, now) for place, each in enumerate(askings)}
        answers = {place: answer for place, answer in first.items() if answer is not None}
        new = [place for place in first if place not in answers]
        asked = [submissions[place] for place in new]
        accepted = dict(zip(new, queue.accept(tx, asked, now, self.most), strict=True))
        refused = {place: no for place, no in accepted.items() if isinstance(no, Refused)}
        # What refuses a request may be its own twin, accepted while we waited for the account.
        answers |= {p: _first_answer(tx, askings[p].sent, now) or no for p, no in refused.items()}
        queued = {place: each for place, each in accepted.items() if isinstance(each, Accepted)}
        found = [(each.task, submissions[place].compat) for place, each in queued.items()]
        for place, look in zip(queued, tasks.looks_at(tx, found, now), strict=True):
            answered = Answered(self._view(look), quota=queued[place].quota)
            answers[place] = _keep(tx, askings[place], answered, now)
        return [answers[place] for place in first]

    def _submission(self, asking: Asking) -> Submission:
        request = asking.request
        return Submission(
            public_id=asking.via.new_id(self.clock(), _PICK),
            account_id=asking.key.account_id,
            key_id=asking.key.id,
            dialect=asking.via.NAME,
            request=request,
            fields=asking.fields,
            suffix=asking.via.SUFFIX,
            seed=_PICK.randint(1, SEED_MAX) if request.seed is None else request.seed,
            cost=self.terms.price,
            model=self.served.name,
            compat=tasks.compat(self.served.name, request),
            refused=_refused(request.prompt),
        )

    def _view(self, look: Look) -> TaskView:
        task, file = look.task, look.file
        links = () if file is None else (self.links.sign(file.id, file.expires_at, file.suffix),)
        return TaskView(task, _progress(look), _estimate(look), links, self.terms.price)


def _first_answer(tx: Connection, sent: Sent | None, now: float) -> Answered | Refused | None:
    """What an idempotency key keeps; None where the request has none or is its first."""
    kept = None if sent is None else idem.find(tx, sent, now)
    if sent is None or kept is None:
        return None
    same = kept.request_hash == sent.request_hash
    return Answered(None, kept.answer) if same else IdempotencyConflict()


def _keep(tx: Connection, asking: Asking, answered: Answered, now: float) -> Answered:
    """The answer for a new task, kept where the request has an idempotency key."""
    view = answered.view
    if asking.sent is None or view is None:
        return answered
    answer = asking.words(view)
    idem.keep(tx, asking.sent, view.task.id, answer, now)
    return replace(answered, answer=answer)


def _refused(prompt: str) -> ZingError | None:
    try:
        safety.check_prompt(prompt)
    except Blocked as error:
        return error
    return None


def _progress(look: Look) -> int:
    """0 to 100; 1 to 99 while the task runs, 0 where it did not succeed."""
    task: Task = look.task
    if task.state == TaskState.SUCCEEDED:
        return 100
    if task.state != TaskState.RUNNING:
        return 0
    return percent(look.step, look.steps)


def _estimate(look: Look) -> int:
    """Whole seconds until the task ends: what is left of it and what is in front of it."""
    if look.task.state.ended:
        return 0
    if look.mean_s is None:
        return UNMEASURED_S
    if look.task.state == TaskState.RUNNING:
        left = 1 - look.step / look.steps if look.steps else 1.0
        return max(1, math.ceil(look.mean_s * left))
    return math.ceil(look.mean_s * (1 + look.waiting / max(1, look.workers)))
