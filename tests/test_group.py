"""Sets of calls: each gets its own answer, however many are done together."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from zing.errors import BadKey, Unavailable
from zing.store.group import Group, alone, together


class Work:
    """Doubles numbers in sets, and notes them; holds still while it is told to."""

    def __init__(self, refuse: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.sets: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self._refuse = refuse

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.go.wait(10)
        self.sets.append(list(items))
        return [self._refuse(item) or 2 * item for item in items]


def gathered(group: Group[int, int], items: Sequence[int]) -> list[Any]:
    """What many callers get who call at once."""

    async def call() -> list[Any]:
        return await asyncio.gather(*map(group, items), return_exceptions=True)

    return asyncio.run(call())


def test_calls_that_come_at_once_are_one_set_and_each_gets_its_own() -> None:
    work = Work()
    assert gathered(Group(work, 64), range(30)) == [2 * each for each in range(30)]
    assert work.sets == [list(range(30))]


def test_a_set_has_at_most_so_many() -> None:
    work = Work()
    assert gathered(Group(work, 8), range(20)) == [2 * each for each in range(20)]
    assert [len(each) for each in work.sets] == [8, 8, 4]


def test_calls_that_come_while_a_set_is_done_are_the_next() -> None:
    work = Work()
    group = Group(work, 64)

    async def call() -> list[int]:
        work.go.clear()
        first = asyncio.create_task(group(1))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(group(each)) for each in (2, 3, 4)]
        await asyncio.sleep(0.05)
        work.go.set()
        return [await each for each in (first, *rest)]

    assert asyncio.run(call()) == [2, 4, 6, 8]
    assert work.sets == [[1], [2, 3, 4]]


def test_after_a_set_of_several_the_next_waits_for_as_many() -> None:
    """Two that come one after the other, with room for others between, are one set."""
    work = Work()
    group = Group(work, 64, wait_s=0.3)

    async def call() -> None:
        await asyncio.gather(group(1), group(2))
        late = asyncio.create_task(group(3))
        await asyncio.sleep(0.01)
        await asyncio.gather(late, group(4))

    asyncio.run(call())
    assert work.sets == [[1, 2], [3, 4]]


def test_each_call_of_a_set_may_be_refused_alone() -> None:
    work = Work(lambda item: BadKey() if item == 2 else None)
    first, second, third = gathered(Group(work, 64), [1, 2, 3])
    assert (first, third) == (2, 6)
    assert isinstance(second, BadKey)


def test_one_item_that_spoils_its_set_spoils_nobody_elses() -> None:
    tried: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int | Exception]:
        tried.append(list(items))
        if 2 in items:
            raise ValueError("two")
        return [2 * item for item in items]

    first, second, third = gathered(Group(work, 64), [1, 2, 3])
    assert (first, third) == (2, 6)
    assert isinstance(second, ValueError)
    assert tried == [[1, 2, 3], [1], [2], [3]]


def test_where_the_database_is_away_a_set_is_not_tried_one_by_one() -> None:
    tried: list[int] = []

    def away(items: Sequence[int]) -> list[int | Exception]:
        tried.append(len(items))
        raise Unavailable

    assert all(isinstance(each, Unavailable) for each in gathered(Group(away, 64), range(5)))
    assert tried == [5]


def test_who_stops_waiting_leaves_the_others_their_answers() -> None:
    work = Work()
    group = Group(work, 64)

    async def call() -> list[int]:
        work.go.clear()
        calls = [asyncio.create_task(group(each)) for each in (1, 2, 3)]
        await asyncio.sleep(0.05)
        calls[1].cancel()
        await asyncio.sleep(0.05)
        work.go.set()
        return [await calls[0], await calls[2]]

    assert asyncio.run(call()) == [2, 6]


def test_a_group_goes_on_after_whatever_happened() -> None:
    troubles = [RuntimeError("once")]

    def work(items: Sequence[int]) -> list[int | Exception]:
        if troubles:
            raise troubles.pop()
        return [2 * item for item in items]

    group = Group(work, 64)

    async def call() -> list[int]:
        with pytest.raises(RuntimeError, match="once"):
            await group(1)
        return [await group(2), await group(3)]

    assert asyncio.run(call()) == [4, 6]


def test_alone_is_a_set_of_one_and_raises() -> None:
    assert alone(Work(), 4) == 8
    with pytest.raises(BadKey):
        alone(Work(lambda _: BadKey()), 4)
    assert together(Work(), []) == []
