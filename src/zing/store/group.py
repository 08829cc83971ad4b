"""Sets of calls: what many ask for at once is done together, in one transaction.

A durable commit costs the same for one row as for thirty, and so does a turn through the threads.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from zing.errors import Unavailable

COMMIT_WAIT_S = 0.002
READ_MAX = 64  # keys or tasks that are looked up together, at most
READ_WAIT_S = 0.001  # where several come at once: sets of two or three cost more than it saves

In = TypeVar("In")
Out = TypeVar("Out")

log = logging.getLogger(__name__)


class Group(Generic[In, Out]):
    """Calls of one kind on an event loop: those that come while a set is done are the next set.

    work    does a set in a thread; for each item its result, or the exception that its call raises
    most    the greatest set
    wait_s  how long a set waits for as many as the one before it had; who is alone never waits
    """

    def __init__(
        self,
        work: Callable[[Sequence[In]], Sequence[Out | Exception]],
        most: int,
        wait_s: float = 0.0,
    ) -> None:
        self._work = work
        self._most = most
        self._wait_s = wait_s
        self._waiting: list[tuple[In, asyncio.Future[Out]]] = []
        self._last = 0
        self._task: asyncio.Task[None] | None = None
        # Of its own: whoever blocks the other threads must not stop this.
        self._thread = CapacityLimiter(1)

    async def __call__(self, item: In) -> Out:
        """The result for one item; raises what the work raises for it."""
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            # Not in the context of the first caller: what is done is not theirs alone.
            self._task = asyncio.create_task(self._run(), context=Context())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._wait_s and len(self._waiting) < min(self._last, self._most):
                    await asyncio.sleep(self._wait_s)
                calls = self._waiting[: self._most]
                del self._waiting[: self._most]
                self._last = len(calls)
                await self._do(calls)
        finally:
            self._task = None

    async def _do(self, calls: list[tuple[In, asyncio.Future[Out]]]) -> None:
        items = [item for item, _ in calls]
        work = partial(together, self._work, items)
        results = await to_thread.run_sync(work, limiter=self._thread)
        for (_, future), result in zip(calls, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def together(
    work: Callable[[Sequence[In]], Sequence[Out | Exception]], items: Sequence[In]
) -> Sequence[Out | Exception]:
    """The results of a set; where one item spoils it, each is done alone."""
    try:
        return work(items)
    except Unavailable as error:
        return [error] * len(items)
    except Exception as error:  # noqa: BLE001 - one bad item must not spoil the others
        if len(items) == 1:
            return [error]
        log.warning("a set of %d is done one by one: %s", len(items), type(error).__name__)
        return [result for item in items for result in together(work, [item])]


def alone(work: Callable[[Sequence[In]], Sequence[Out | Exception]], item: In) -> Out:
    """The result for one item, done at once; raises what the work raises for it."""
    (result,) = work([item])
    if isinstance(result, Exception):
        raise result
    return result
