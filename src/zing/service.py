"""The use cases: submit, look, cancel, delete. No HTTP, no dialect's words, no tensors."""

import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from zing import config, keys, ledger, netguard, queue, safety
from zing.blobs import Blobs, Links
from zing.config import LINK_TTL, PRICE
from zing.errors import (
    BadField,
    Blocked,
    IdempotencyConflict,
    InsufficientCredits,
    Internal,
    NotCancellable,
    Unavailable,
    UnknownTask,
    ZingError,
)
from zing.keys import Key
from zing.queue import Submission
from zing.store import Store, files, idem, switches, tasks
from zing.store.files import File
from zing.store.idem import Sent
from zing.store.tasks import Look
from zing.task import (
    SEED_MAX,
    Credits,
    Delivery,
    ImageRequest,
    Listing,
    Task,
    TaskPage,
    TaskState,
    TaskView,
    parse_credits,
)

# Shown where nothing was measured yet, neither by a picture nor by a worker's start.
UNMEASURED_S = 10
ID_TRIES = 10
PICTURE_PART = 64 * 1024  # what a reader who does not read holds of a picture
_PICK = random.SystemRandom()

T = TypeVar("T")

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

    sent  it and its idempotency key, where it has one
    """

    key: Key
    via: Via
    request: ImageRequest
    fields: dict[str, Any]
    sent: Sent | None = None


@dataclass(frozen=True)
class Answered:
    """The answer to a request with an idempotency key; `again` where it is the first one's."""

    answer: str
    again: bool


@dataclass(frozen=True)
class Service:
    """The use cases over one database; `wake` tells the workers that there is something to do."""

    store: Store
    blobs: Blobs
    links: Links
    pepper: bytes = field(repr=False)
    terms: Terms
    served: Served
    clock: Callable[[], float]
    wake: Callable[[], None]
    rules: netguard.Rules = field(default_factory=netguard.Rules)

    def authenticate(self, text: str) -> Key:
        """The key that a text is; raises BadKey, KeyEnded or KeyDisabled."""
        now = self.clock()
        return self.store.read(lambda tx: keys.authenticate(tx, self.pepper, text, now))

    def submit(self, asking: Asking) -> TaskView:
        """Accept a request: once this returns, the task and the hold on its price are durable.

        Raises Refused, and then nothing was charged or queued.
        """
        return self._accept(asking, self._accepted)

    def submit_once(self, asking: Asking, words: Callable[[TaskView], str]) -> Answered:
        """As `submit`, and the answer is kept with the task: whoever sends the same again gets it.

        Raises IdempotencyConflict where the key came with another request before.
        """
        now, sent = self.clock(), asking.sent
        assert sent is not None

        def accept(submission: Submission, tx: Connection) -> Answered:
            first = _first_answer(tx, sent, now)
            if first is not None:
                return Answered(first, again=True)
            view = self._accepted(submission, tx)
            answer = words(view)
            idem.keep(tx, sent, view.task.id, answer, now)
            return Answered(answer, again=False)

        return self._accept(asking, accept)

    def first_answer(self, sent: Sent) -> str | None:
        """What the first request with an idempotency key was answered; None where this is it.

        Raises IdempotencyConflict.
        """
        now = self.clock()
        return self.store.read(lambda tx: _first_answer(tx, sent, now))

    def check_open(self, asking: Asking) -> None:
        """Refuse what accepting would refuse now, for whoever has work to do before that."""

        def check(tx: Connection) -> None:
            queue.check_open(tx, asking.via.NAME)
            if ledger.balance(tx, asking.key.account_id).available < self.terms.price:
                raise InsufficientCredits

        self._check(asking.request)
        self.store.read(check)

    def list_tasks(self, account_id: str, listing: Listing) -> TaskPage:
        """A page of an account's tasks, the newest first, without links."""
        found, total = self.store.read(lambda tx: tasks.page(tx, account_id, listing))
        looks = [Look(each, None, *steps, 0, 0, None) for each, steps in found]
        return TaskPage(tuple(map(self._view, looks)), total, listing)

    def batch(self, public_ids: Sequence[str], account_id: str) -> list[TaskView]:
        """Of these tasks the ones that are the account's, in the order of the ids."""
        now = self.clock()

        def look(tx: Connection) -> Iterator[Look]:
            for each in public_ids:
                with suppress(UnknownTask):
                    yield tasks.look(tx, each, account_id, now)

        return [self._view(each) for each in self.store.read(lambda tx: list(look(tx)))]

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
        now = self.clock()
        return self._view(self.store.read(lambda tx: tasks.look(tx, public_id, account_id, now)))

    def cancel(self, public_id: str, account_id: str | None) -> TaskView:
        """Ask for a task to end; a queued one has ended when this returns.

        Raises UnknownTask or NotCancellable.
        """
        now = self.clock()
        self.store.write(lambda tx: queue.cancel(tx, public_id, account_id, now))
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

    def ready(self) -> dict[str, Any]:
        """What /readyz says: whether pictures can be drawn now, and what each part does.

        Maintenance does not make it less ready: tasks are still drawn and looked up here.
        """
        now = self.clock()
        open_tasks, workers = self.store.read(lambda tx: tasks.queue_state(tx, now))
        switched = self.store.read(switches.list_switches)
        return {
            "ready": workers > 0 or not self.served.workers,
            "model": self.served.name,
            "database": "ok",
            "workers": workers,
            "open_tasks": open_tasks,
            "maintenance": switches.MAINTENANCE in switched,
            "moderation": safety.LEVEL,
        }

    def _check(self, request: ImageRequest) -> None:
        """Refuse what could never be served."""
        if request.callback_url:
            netguard.check_url(request.callback_url, self.rules)
        if request.strict and not self.served.strict:
            raise Unavailable(
                f"The model {self.served.name} may draw people and no picture check is installed, "
                "so the strict safety level cannot be kept; ask without it."
            )

    def _accept(self, asking: Asking, accept: Callable[[Submission, Connection], T]) -> T:
        """What accepting gives; ids of a dialect's shape may be taken, and then another is tried.

        So it is where another request with the same idempotency key was accepted meanwhile.
        """
        self._check(asking.request)
        for _ in range(ID_TRIES):
            submission = self._submission(asking)
            try:
                accepted = self.store.write(partial(accept, submission))
            except IntegrityError as error:
                log.warning("an accept is tried again: %s", str(error.orig).splitlines()[0])
                continue
            self.wake()
            return accepted
        raise Internal("No free task id was found.")

    def _accepted(self, submission: Submission, tx: Connection) -> TaskView:
        now = self.clock()
        task = queue.accept(tx, submission, now)
        return self._view(tasks.look(tx, task.public_id, task.account_id, now))

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


def _first_answer(tx: Connection, sent: Sent, now: float) -> str | None:
    kept = idem.find(tx, sent, now)
    if kept is not None and kept.request_hash != sent.request_hash:
        raise IdempotencyConflict
    return None if kept is None else kept.answer


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
    return min(99, max(1, round(100 * look.step / look.steps))) if look.steps else 1


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
