"""What happens to tasks, told as it happens to those who wait: event streams and long polls.

All tasks that somebody waits for are looked at together, a few times a second, by a glance: one
statement, three where one of them is queued, however many they are.
"""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from contextvars import Context
from dataclasses import replace

from anyio import CapacityLimiter, to_thread

from zing.errors import Unavailable, ZingError
from zing.store.tasks import Glance
from zing.task import Moment, TaskState, TaskView

PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 0.25  # between glances: while a task runs, and at most
WATCHERS_MAX = 2000

# Numbers of moments: each attempt of a task has as many to give, so that they only grow.
_SPAN = 1000
_LATEST = re.compile(r"\d{1,9}", re.ASCII)

log = logging.getLogger(__name__)


class _Watched:
    """A task that is waited for: the last glance at it, and who waits for the next."""

    def __init__(self) -> None:
        self.glance: Glance | None = None
        self.gone = False
        self.changed = asyncio.Event()
        self.watchers = 0

    def wake(self) -> None:
        """Whoever waits looks again; and may wait again."""
        self.changed.set()
        self.changed = asyncio.Event()


class Watch:
    """Looks after the tasks that somebody waits for, on an event loop.

    glances   the tasks of some ids, at once; runs in a thread
    stopping  set when the service is to end: nobody waits any more
    """

    def __init__(
        self,
        glances: Callable[[Sequence[str]], Mapping[str, Glance]],
        stopping: threading.Event,
    ) -> None:
        self._glances = glances
        self._stopping = stopping
        self._watched: dict[str, _Watched] = {}
        self._task: asyncio.Task[None] | None = None
        self._new = asyncio.Event()
        self._thread = CapacityLimiter(1)
        self._failing = False

    @property
    def watchers(self) -> int:
        """How many wait for tasks."""
        return sum(each.watchers for each in self._watched.values())

    def check_room(self) -> None:
        """Raise Unavailable where too many wait for tasks already."""
        if self.watchers >= WATCHERS_MAX:
            raise Unavailable("Too many wait for tasks here; look at yours.", retry_after_s=5)

    async def changes(self, public_id: str, pause_s: float) -> AsyncGenerator[Glance | None]:
        """A task as it is, and again whenever it has changed, to its end or the service's.

        None where nothing has changed for so long. A task that was purged ends it too.
        """
        watched = self._watched.setdefault(public_id, _Watched())
        watched.watchers += 1
        self._start()
        seen: Glance | None = None
        try:
            while not (self._stopping.is_set() or watched.gone):
                changed = watched.changed
                if watched.glance != seen:
                    seen = watched.glance
                    yield seen
                    if seen is not None and seen.state.ended:
                        return
                    continue
                try:
                    async with asyncio.timeout(pause_s):
                        await changed.wait()
                except TimeoutError:
                    yield None
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                self._watched.pop(public_id, None)

    async def ended(self, public_id: str, wait_s: float) -> None:
        """Return when a task has ended, or after so long, or when the service is to end.

        At once where too many wait already.
        """
        if self.watchers >= WATCHERS_MAX:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                async with aclosing(self.changes(public_id, wait_s)) as changes:
                    async for _ in changes:
                        pass

    def _start(self) -> None:
        self._new.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        pause_s = PAUSE_MIN_S
        try:
            while self._watched and not self._stopping.is_set():
                self._new.clear()
                changed = await self._look()
                running = any(
                    each.glance is not None and each.glance.state is TaskState.RUNNING
                    for each in self._watched.values()
                )
                quiet = self._failing or not (changed or running)
                pause_s = min(PAUSE_MAX_S, 1.5 * pause_s) if quiet else PAUSE_MIN_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._new.wait()
        finally:
            self._task = None
            for each in self._watched.values():
                each.wake()

    async def _look(self) -> bool:
        """Glance at every task; whether one has changed."""
        ids = list(self._watched)
        try:
            found = await to_thread.run_sync(self._glances, ids, limiter=self._thread)
        except Exception as error:  # they wait on, also where nobody foresaw it
            if not self._failing:
                unforeseen = not isinstance(error, ZingError)
                log.warning("who waits for a task waits on: %s", error, exc_info=unforeseen)
            self._failing = True
            return False
        self._failing = False
        changed = [each for each in ids if self._note(each, found.get(each))]
        return bool(changed)

    def _note(self, public_id: str, glance: Glance | None) -> bool:
        """Tell those who wait for a task where it has changed; whether it has."""
        watched = self._watched.get(public_id)
        if watched is None or (glance is not None and watched.glance == glance):
            return False
        watched.glance, watched.gone = glance or watched.glance, glance is None
        watched.wake()
        return True


class Reader:
    """What one reader of a task's events has been told.

    last_event_id  of the last event that it had before, if it had one
    """

    def __init__(self, last_event_id: str | None) -> None:
        text = last_event_id or ""
        self.last = int(text) if _LATEST.fullmatch(text) else -1
        self._place = -1

    def news(self, glance: Glance) -> list[Moment]:
        """The moments that it lacks, in order, and its place in the queue whenever that is another.

        A task that is given back to the queue is not told: its attempt does not count, and of the
        next one only the steps beyond those that are told.
        """
        return [moment for moment in moments(glance) if self._lacks(moment, glance)]

    def _lacks(self, moment: Moment, glance: Glance) -> bool:
        waits = glance.state is TaskState.QUEUED
        moved = waits and moment.number == self.last and moment.place != self._place
        if moment.number <= self.last and not moved:
            return False
        self.last, self._place = moment.number, moment.place
        return True


def moments(glance: Glance) -> list[Moment]:
    """What has happened to a task, in order: it waited, each step was done. Its end is not here.

    Of an attempt that failed only the steps that were told are known, so none after its end.
    """
    if glance.state is TaskState.QUEUED:
        return [Moment(glance.attempt * _SPAN, TaskState.QUEUED, place=glance.place)]
    base = max(0, glance.attempt - 1) * _SPAN
    waited = Moment(base, TaskState.QUEUED)
    drawn = glance.state is TaskState.SUCCEEDED
    if not drawn and glance.state is not TaskState.RUNNING:
        return [waited]
    done = glance.steps if drawn else glance.step
    steps = [
        Moment(base + 1 + step, TaskState.RUNNING, step=step, steps=glance.steps)
        for step in range(done + 1)
    ]
    # The picture so far is that of the last step.
    return [waited, *steps[:-1], replace(steps[-1], preview=glance.preview)]


def end(glance: Glance, view: TaskView) -> Moment:
    """The moment of a task's end."""
    return Moment(end_number(glance.attempt), glance.state, view=view)


def end_number(attempt: int) -> int:
    """The number of the end of a task that was tried so often: beyond all others."""
    return attempt * _SPAN + _SPAN - 1
