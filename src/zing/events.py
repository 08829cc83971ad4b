"""What happens to tasks, told as it happens to those who wait: event streams and long polls.

All tasks that somebody waits for are looked at together, a few times a second, by a glance: two or
three statements however many they are.
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

from zing.errors import Unavailable
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
        self.changed = asyncio.Event()
        self.watchers = 0


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

    def check_room(self) -> None:
        """Raise Unavailable where too many wait for tasks already."""
        if sum(each.watchers for each in self._watched.values()) >= WATCHERS_MAX:
            raise Unavailable("Too many wait for tasks here; look at yours.", retry_after_s=5)

    async def changes(self, public_id: str, pause_s: float) -> AsyncGenerator[Glance | None]:
        """A task as it is, and again whenever it has changed, to its end or the service's.

        None where nothing has changed for so long.
        """
        watched = self._watched.setdefault(public_id, _Watched())
        watched.watchers += 1
        self._start()
        seen: Glance | None = None
        try:
            while not self._stopping.is_set():
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
        """Return when a task has ended, or after so long, or when the service is to end."""
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
                quiet = not (changed or running)
                pause_s = min(PAUSE_MAX_S, 1.5 * pause_s) if quiet else PAUSE_MIN_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._new.wait()
        finally:
            self._task = None
            for each in self._watched.values():
                each.changed.set()

    async def _look(self) -> bool:
        """Glance at every task; whether one has changed."""
        ids = list(self._watched)
        try:
            found = await to_thread.run_sync(self._glances, ids, limiter=self._thread)
        except Unavailable as error:
            log.warning("those who wait for tasks wait on: %s", error)
            return False
        changed = False
        for public_id, glance in found.items():
            watched = self._watched.get(public_id)
            if watched is not None and watched.glance != glance:
                watched.glance, changed = glance, True
                watched.changed.set()
                watched.changed = asyncio.Event()
        return changed


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


def resumed(last_event_id: str | None) -> int:
    """The number of the last moment that a reader has, -1 where it has none."""
    text = last_event_id or ""
    return int(text) if _LATEST.fullmatch(text) else -1
