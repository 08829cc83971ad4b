"""The use cases: submit, look, cancel, delete. No HTTP, no dialect's words, no tensors."""

import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sqlalchemy.exc import IntegrityError

from zing import config, keys, netguard, queue, safety
from zing.blobs import Blobs, Links
from zing.config import LINK_TTL, PRICE
from zing.errors import (
    Blocked,
    Internal,
    NotCancellable,
    Unavailable,
    ZingError,
)
from zing.keys import Key
from zing.queue import Submission
from zing.store import Store, files, switches, tasks
from zing.store.files import File
from zing.store.tasks import Look
from zing.task import SEED_MAX, ImageRequest, Task, TaskState, TaskView, parse_credits

# Shown where nothing was measured yet, neither by a picture nor by a worker's start.
UNMEASURED_S = 10
ID_TRIES = 10
_PICK = random.SystemRandom()


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
class Service:
    """The use cases over one database; `wake` tells the workers that there is something to do."""

    store: Store
    blobs: Blobs
    links: Links
    pepper: bytes
    terms: Terms
    served: Served
    clock: Callable[[], float]
    wake: Callable[[], None]

    def authenticate(self, text: str) -> Key:
        """The key that a text is; raises BadKey, KeyEnded or KeyDisabled."""
        now = self.clock()
        return self.store.read(lambda tx: keys.authenticate(tx, self.pepper, text, now))

    def submit(self, key: Key, via: Via, request: ImageRequest, fields: dict[str, Any]) -> TaskView:
        """Accept a request: once this returns, the task and the hold on its price are durable.

        Raises Refused, and then nothing was charged or queued.
        """
        if request.callback_url:
            netguard.check_url(request.callback_url)
        if request.strict and not self.served.strict:
            raise Unavailable(
                f"The model {self.served.name} may draw people and no picture check is installed, "
                "so the strict safety level cannot be kept; ask without it."
            )
        accepted = self._accept(key, via, request, fields)
        self.wake()
        return self.look(accepted.public_id, key.account_id)

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
        """What a link's last part opens: the file and its bytes.

        None where there is no such link; raises LookupError where it was one and its time is over.
        """
        checked = self.links.check(link)
        if checked is None:
            return None
        file_id, ends = checked
        found = self.store.read(lambda tx: files.get(tx, file_id))
        if found is None or found.deleted_at is not None:
            raise LookupError(file_id)
        data = self.blobs.get(found.blob_key)
        if data is None or min(ends, found.expires_at) <= self.clock():
            raise LookupError(file_id)
        return found, data

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

    def _accept(self, key: Key, via: Via, request: ImageRequest, fields: dict[str, Any]) -> Task:
        """The accepted task; ids of a dialect's shape may be taken, and then another is tried."""
        now = self.clock()
        for _ in range(ID_TRIES):
            submission = self._submission(key, via, request, fields, now)
            with suppress(IntegrityError):
                return self.store.write(partial(queue.accept, submission=submission, now=now))
        raise Internal("No free task id was found.")

    def _submission(
        self, key: Key, via: Via, request: ImageRequest, fields: dict[str, Any], now: float
    ) -> Submission:
        return Submission(
            public_id=via.new_id(now, _PICK),
            account_id=key.account_id,
            key_id=key.id,
            dialect=via.NAME,
            request=request,
            fields=fields,
            suffix=via.SUFFIX,
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
