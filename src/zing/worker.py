"""A worker: claims tasks, draws them with one engine, keeps the pictures and settles.

Threads: the caller's draws; one keeps the lease and reads who wants to cancel; some encode and keep
pictures; one settles what ends, in sets. So the engine draws the next picture meanwhile.
"""

from __future__ import annotations

import base64
import errno
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from zing import config, logs, pictures, queue
from zing.blobs import Blobs
from zing.config import KEEP_PROMPTS, LEASE, LINK_TTL, METADATA, TASK_TIMEOUT
from zing.engine.base import Engine, Order
from zing.engine.vocabulary import told
from zing.errors import (
    BadPicture,
    Cancelled,
    EngineFailed,
    Failed,
    NotEncoded,
    StorageFull,
    TimedOut,
    Unavailable,
    WrongSize,
    ZingError,
)
from zing.metadata import Metadata
from zing.queue import Claim, Outcome
from zing.store import Store, tasks
from zing.store.files import File
from zing.store.group import together
from zing.task import STEPS_DEFAULT, Ended, Picture, Progress, TaskState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEAT_S = 0.1  # how often a running worker tells its progress and looks for cancels
POLL_MIN_S, POLL_MAX_S = 0.02, 0.25
SETTLE_AGAIN_S = 0.5  # where the database is away or its disk full
HUNG_AFTER_S = 30.0  # beyond a task's time, which is looked at after every step
HUNG = 70  # exit status
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
ENCODERS = 4  # threads; Pillow's PNG, WebP and AVIF encoders let others run, JPEG's takes 6 ms
UNSETTLED_MAX = ENCODERS + 2  # tasks in hand: one is drawn, some are encoded, one is settled
WARM_UP = Order("a red circle", 1024, 1024, seed=1, steps=STEPS_DEFAULT, previews=True)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """Seconds of a worker's life, and what it may tell.

    metadata      whether the files it keeps say how they were made
    keep_prompts  whether its log may tell words of prompts
    """

    lease_s: float
    task_timeout_s: float
    link_ttl_s: float
    metadata: bool = False
    keep_prompts: bool = True

    @classmethod
    def read(cls) -> Rules:
        """The rules that the settings name."""
        lease_s, task_timeout_s, link_ttl_s = map(config.seconds, (LEASE, TASK_TIMEOUT, LINK_TTL))
        keep_prompts = config.choice(KEEP_PROMPTS, "yes", "no") == "yes"
        # A file outlives its task's row: where prompts are not kept, they are in no file.
        metadata = config.choice(METADATA, "off", "on") == "on" and keep_prompts
        return cls(lease_s, task_timeout_s, link_ttl_s, metadata, keep_prompts)


class LeaseLost(Exception):
    """The lease was over and the task is another worker's now."""


class Orders(Protocol):
    """How a worker is told what to do from outside."""

    def wait(self, seconds: float) -> None:
        """Wait that long, shorter where there may be something to do."""

    @property
    def drain(self) -> bool:
        """Whether to end when what runs is done."""

    @property
    def stop(self) -> bool:
        """Whether to end now and give back what runs."""


class Lease:
    """A worker's row, kept alive by a thread: progress goes out, cancels come in."""

    def __init__(
        self, store: Store, worker_id: str, rules: Rules, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self.worker_id = worker_id
        self._rules = rules
        self.clock = clock
        self._lock = threading.Lock()
        self._progress: dict[str, Any] = {}
        self._cancels: set[str] = set()
        self._lost: set[str] = set()
        self._held: dict[str, tuple[Claim, float]] = {}
        self._state = "loading"
        self._ended = threading.Event()
        self._renew_at = 0.0
        self._told: tuple[str, dict[str, Any]] = ("", {})
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Make the worker known and keep it so."""
        self._register()
        self._thread.start()

    def end(self) -> None:
        """Stop, and take the row away: nothing is held any more."""
        self._ended.set()
        self._thread.join()
        reaped = self._store.write(partial(queue.reap, now=self.clock(), dead=self.worker_id))
        for ended in reaped.ended:
            logs.tell_end(ended)

    def say(self, state: str, **facts: Any) -> None:
        """Tell the worker's state with the next beat."""
        with self._lock:
            self._state = state
            self._progress.update(facts)

    def hold(self, claims: list[Claim]) -> None:
        """These claims are ours."""
        with self._lock:
            since = time.monotonic()
            self._held.update({held.token: (held, since) for held in claims})

    def tokens(self) -> list[str]:
        """The tokens of the claims that are ours."""
        with self._lock:
            return list(self._held)

    def drop(self, held: Claim) -> None:
        """This claim is settled or given back."""
        with self._lock:
            self._held.pop(held.token, None)
            self._progress.pop(held.task.id, None)
            self._lost.discard(held.token)
            self._cancels.discard(held.token)

    def step(self, held: Claim, progress: Progress) -> None:
        """Note a step; raises Cancelled or LeaseLost where the task is not to go on."""
        preview = None if progress.preview is None else _data_url(progress.preview)
        with self._lock:
            # Not every step has a picture of its own: the last one is shown until the next.
            *_, last = self._progress.get(held.task.id, [""])
            shown = last if preview is None else preview
            self._progress[held.task.id] = [progress.step, progress.steps, shown]
            if held.token in self._lost:
                raise LeaseLost
            if held.token in self._cancels:
                raise Cancelled

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._beat()
            except ZingError as error:
                log.warning("the lease waits: %s", error)
            except Exception:  # without a lease the worker must not go on for ever
                log.exception("the lease cannot be kept")
                os._exit(1)

    def _beat(self) -> None:
        with self._lock:
            said, holding = (self._state, dict(self._progress)), bool(self._held)
        if said != self._told or time.monotonic() >= self._renew_at:
            self._renew(*said)
            self._told = said
        if holding:
            self._end_hung()
            asked = self._store.read(partial(queue.cancels, worker_id=self.worker_id))
            with self._lock:
                self._cancels |= asked

    def _end_hung(self) -> None:
        """A step that never ends cannot be interrupted: its task fails and the process ends."""
        latest = time.monotonic() - self._rules.task_timeout_s - HUNG_AFTER_S
        with self._lock:
            hung = [held for held, since in self._held.values() if since < latest]
        for held in hung:
            log.error("task %s hangs; the worker ends", held.task.id)
            timed_out = queue.failure(TimedOut())
            settle = partial(queue.settle, ends=[(held, timed_out)], now=self.clock())
            for ended in filter(None, self._store.write(settle)):
                logs.tell_end(ended)
        if hung:
            os._exit(HUNG)

    def _renew(self, state: str, progress: dict[str, Any]) -> None:
        self._renew_at = time.monotonic() + self._rules.lease_s / 3
        until = self.clock() + self._rules.lease_s
        kept = self._store.write(lambda tx: queue.beat(tx, self.worker_id, state, progress, until))
        if not kept:
            log.warning("the lease was lost; starting a new one")
            with self._lock:
                self._lost |= self._held.keys()
            self._register()

    def _register(self) -> None:
        now, host = self.clock(), socket.gethostname()
        row = partial(queue.register, worker_id=self.worker_id, host=host)
        self._store.write(partial(row, now=now, lease_s=self._rules.lease_s))


class Worker:
    """One engine and the loop that feeds it."""

    def __init__(self, store: Store, blobs: Blobs, lease: Lease, rules: Rules, model: str) -> None:
        self._store = store
        self._model = model
        self._blobs = blobs
        self._lease = lease
        self._rules = rules
        self._clock = lease.clock
        self._encoders = ThreadPoolExecutor(ENCODERS, thread_name_prefix="encoder")
        self._ends: SimpleQueue[tuple[Claim, Outcome] | None] = SimpleQueue()
        self._settler = threading.Thread(target=self._settle, name="settler")
        self._room = threading.Semaphore(UNSETTLED_MAX)
        self._broken: BaseException | None = None
        self._unsure = False  # a claim had no answer, and may have been made
        self._stopped = threading.Event()  # whatever waits to be settled does not any longer

    def run(self, engine: Engine, orders: Orders) -> None:
        """Draw until told to drain or to stop; raises what broke the worker itself."""
        self._lease.say("loading", model=self._model)
        self._warm_up(engine, orders)
        self._lease.say("ready")
        self._settler.start()
        try:
            for held in self._claims(orders):
                self._serve(engine, held, orders)
            self._lease.say("draining")
        finally:
            self._encoders.shutdown()  # first: what they encoded is to be settled
            self._ends.put(None)
            while self._settler.is_alive():
                self._settler.join(SETTLE_AGAIN_S)
                if orders.stop:
                    self._stopped.set()
        if self._broken is not None:
            raise self._broken

    def _warm_up(self, engine: Engine, orders: Orders) -> None:
        """The first picture pays for what later ones do not, so nobody waits for it."""
        for _ in range(2):
            started = time.monotonic()
            for _ in engine.generate(WARM_UP):
                if orders.drain or orders.stop:
                    return
            self._lease.say("loading", pace=round(time.monotonic() - started, 3))

    def _claims(self, orders: Orders) -> Iterator[Claim]:
        """The next task, whenever there is one; waits are short after work and longer when idle."""
        pause_s = POLL_MIN_S
        while not (orders.drain or orders.stop or self._broken):
            claims = self._claim()
            yield from claims
            pause_s = POLL_MIN_S if claims else min(POLL_MAX_S, 2 * pause_s)
            if not claims:
                orders.wait(pause_s)

    def _claim(self) -> list[Claim]:
        """At most one claim: the lease holds it from the moment it is durable."""
        now, worker_id = self._clock(), self._lease.worker_id
        try:
            if self._unsure:
                self._disown(now)
            if not self._store.read(tasks.any_queued):
                return []
            claims = self._store.write(lambda tx: queue.claim(tx, worker_id, self._model, 1, now))
        except Unavailable as error:
            log.warning("nothing can be claimed: %s", error)
            self._unsure = True
            return []
        self._lease.hold(claims)
        return claims

    def _disown(self, now: float) -> None:
        """Nobody would draw what we were given and do not know of, as long as we live."""
        worker_id, held = self._lease.worker_id, self._lease.tokens()
        for ended in self._store.write(lambda tx: queue.disown(tx, worker_id, held, now)):
            logs.tell_end(ended)
        self._unsure = False

    def _serve(self, engine: Engine, held: Claim, orders: Orders) -> None:
        self._room.acquire()
        try:
            picture = self._draw(engine, held, orders)
        except Failed as error:
            self._ends.put((held, queue.failure(error)))
        except LeaseLost:
            self._lease.drop(held)
            self._room.release()
        except Stopped:
            self._give_back(held)
            self._room.release()
        except Exception as error:  # whatever an engine does, the task must end
            log.exception("the engine failed on task %s", held.task.id)
            self._broken = error
            self._ends.put((held, queue.failure(EngineFailed())))
        else:
            self._encoders.submit(self._encode, held, picture, self._clock())

    def _draw(self, engine: Engine, held: Claim, orders: Orders) -> Picture:
        """The picture; raises Failed, LeaseLost or Stopped between two steps."""
        request = held.task.request
        order = Order(
            prompt=request.drawn,
            width=request.width,
            height=request.height,
            seed=held.task.seed,
            steps=request.steps,
            previews=True,
        )
        deadline = time.monotonic() + self._rules.task_timeout_s
        self._lease.step(held, Progress(0, request.steps))
        for event in engine.generate(order):
            if isinstance(event, Picture):
                return _checked(event, order)
            self._lease.step(held, event)
            if time.monotonic() > deadline:
                raise TimedOut
            if orders.stop:
                self._stopped.set()
                raise Stopped
        raise BadPicture

    def _encode(self, held: Claim, picture: Picture, drawn_at: float) -> None:
        """Encode and keep the picture beside what is drawn; what came of it is to be settled."""
        try:
            outcome = self._kept(held, picture, drawn_at)
        except Failed as error:
            outcome = queue.failure(error)
        except Exception as error:  # the drawing thread ends with it
            log.exception("the picture of task %s cannot be kept", held.task.id)
            self._broken = error
            outcome = queue.failure(EngineFailed())
        self._ends.put((held, outcome))

    def _kept(self, held: Claim, picture: Picture, drawn_at: float) -> Outcome:
        """The end of a task whose bytes are on the disk; raises Failed.

        Bytes whose claim turns out to be void are left to the housekeeper, which knows for sure.
        """
        file = self._put(self._encoded(held, picture), held.suffix, drawn_at)
        result = {
            "sha256": pictures.sha256(picture.pixels),
            "rendered": list(picture.rendered),
            "prompt_tokens": picture.prompt_tokens,
            "prompt_tokens_used": picture.prompt_tokens_used,
            "understood": picture.understood,
            "drawn_at": drawn_at,
        }
        return Outcome(TaskState.SUCCEEDED, result=result, file=file)

    def _encoded(self, held: Claim, picture: Picture) -> bytes:
        """The picture's file; raises NotEncoded, for one odd picture must not stop the next."""
        try:
            said = _metadata(held, picture, self._model) if self._rules.metadata else None
            return pictures.encode(picture.pixels, held.suffix, said)
        except Exception:
            log.exception("the picture of task %s cannot be encoded", held.task.id)
            raise NotEncoded from None

    def _put(self, data: bytes, suffix: str, drawn_at: float) -> File:
        """The file of bytes that are on the disk; raises StorageFull or EngineFailed."""
        file_id = f"f{secrets.token_hex(12)}"
        key = f"{datetime.fromtimestamp(drawn_at, UTC):%Y-%m-%d}/{file_id}{suffix}"
        try:
            self._blobs.put(key, data)
        except OSError as error:
            log.error("%s cannot be kept: %s", key, error)
            if error.errno in NO_ROOM:
                raise StorageFull from None
            raise EngineFailed("The picture could not be kept; nothing was charged.") from None
        return File(
            id=file_id,
            blob_key=key,
            sha256=pictures.sha256_bytes(data),
            bytes=len(data),
            suffix=suffix,
            expires_at=drawn_at,
        )

    def _settle(self) -> None:
        """Settle what ends, as it ends: all that came meanwhile in one transaction."""
        while (first := self._ends.get()) is not None:
            ends = [first, *self._more()]
            for (held, _), result in zip(ends, self._settled(ends), strict=True):
                if isinstance(result, Exception):  # the drawing thread ends with it
                    log.error("task %s could not be settled", held.task.id, exc_info=result)
                    self._broken = result
                self._room.release()

    def _settled(self, ends: Sequence[tuple[Claim, Outcome]]) -> Sequence[Ended | Exception | None]:
        """What came of a set; while the database is away or full it waits, for it is drawn."""
        while True:
            results = together(self._settle_all, ends)
            away = isinstance(results[0], Unavailable)
            if not away or self._stopped.is_set():
                return results
            log.warning("%d tasks wait to be settled: %s", len(ends), results[0])
            self._stopped.wait(SETTLE_AGAIN_S)

    def _more(self) -> Iterator[tuple[Claim, Outcome]]:
        """The ends that are there already; the sign that no more come stays for the next."""
        with suppress(Empty):
            while (end := self._ends.get_nowait()) is not None:
                yield end
            self._ends.put(None)

    def _settle_all(self, given: Sequence[tuple[Claim, Outcome]]) -> list[Ended | None]:
        """End tasks; pictures are kept for the link's time from this moment on."""
        now = self._clock()
        until = now + self._rules.link_ttl_s
        ends = [(held, _until(outcome, until)) for held, outcome in given]
        settled = self._store.write(lambda tx: queue.settle(tx, ends, now))
        for (held, outcome), ended in zip(ends, settled, strict=True):
            self._lease.drop(held)
            if ended is None:
                log.warning("task %s came too late and changes nothing", held.task.id)
            else:
                self._tell(ended, outcome)
        return settled

    def _tell(self, ended: Ended, outcome: Outcome) -> None:
        """The line of the log: of a prompt's words only those of a known list."""
        may_tell = ended.state == TaskState.SUCCEEDED and self._rules.keep_prompts
        understood = outcome.result.get("understood") if may_tell else None
        logs.tell_end(ended, understood, told(understood, self._model))

    def _give_back(self, held: Claim) -> None:
        given = self._store.write(lambda tx: queue.give_back(tx, held, self._clock()))
        self._lease.drop(held)
        if isinstance(given, Ended):
            logs.tell_end(given)


class Stopped(Exception):
    """The worker was told to end now."""


def _until(outcome: Outcome, expires_at: float) -> Outcome:
    """The outcome, its picture kept until then."""
    if outcome.file is None:
        return outcome
    return replace(outcome, file=replace(outcome.file, expires_at=expires_at))


def _data_url(pixels: NDArray[np.uint8]) -> str:
    """A small picture as text that a page shows as it is."""
    data = base64.b64encode(pictures.preview_bytes(pixels)).decode()
    return f"data:image/webp;base64,{data}"


def _checked(picture: Picture, order: Order) -> Picture:
    """The picture, if it is one of the size that was asked for: engines are not trusted."""
    shape = picture.pixels.shape
    if len(shape) != 3 or shape[2] != 3 or picture.pixels.dtype != "uint8":
        raise BadPicture
    if shape[:2] != (order.height, order.width):
        raise WrongSize
    return picture


def _metadata(held: Claim, picture: Picture, model: str) -> Metadata:
    """How a picture was made; nothing of its task, its account or its key."""
    request = held.task.request
    return Metadata(
        prompt=request.drawn,
        width=request.width,
        height=request.height,
        seed=held.task.seed,
        steps=request.steps,
        model=model,
        prompt_tokens=picture.prompt_tokens,
        prompt_tokens_used=picture.prompt_tokens_used,
    )
