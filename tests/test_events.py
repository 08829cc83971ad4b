"""What happens to a task, told as it happens: by a stream of events, by a look that waits."""

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from starlette.requests import Request

from tests import requests, servers
from tests.audit import MODEL, NOW, accepted, funded, submission
from tests.requests import NAMES, check_refusal
from zing import app, events, queue
from zing.errors import EngineLost, Unavailable
from zing.events import Reader, Watch, end_number, moments
from zing.store import Store, tasks
from zing.store.schema import worker
from zing.store.tasks import Glance
from zing.task import Moment, Task, TaskState

STEPS = 8
PREVIEW = "data:image/webp;base64,UklGRg=="
LONG_S = 60.0
QUEUED = Glance(TaskState.QUEUED, 0, 0, STEPS, place=2)
RUNNING = Glance(TaskState.RUNNING, 1, 3, STEPS)
DONE = Glance(TaskState.SUCCEEDED, 1, 0, STEPS)


# Moments


def told(found: Sequence[Moment]) -> list[str]:
    """Moments in short."""
    return [
        f"{each.number} waits {each.place}"
        if each.state is TaskState.QUEUED
        else f"{each.number} {each.step}/{each.steps}{each.preview and ' preview'}"
        for each in found
    ]


@pytest.mark.parametrize(
    ("glance", "expected"),
    [
        (QUEUED, ["0 waits 2"]),
        (replace(QUEUED, attempt=2), ["2000 waits 2"]),
        (replace(RUNNING, step=0), ["0 waits 0", "1 0/8"]),
        (replace(RUNNING, step=2), ["0 waits 0", "1 0/8", "2 1/8", "3 2/8"]),
        (replace(RUNNING, step=1, attempt=2), ["1000 waits 0", "1001 0/8", "1002 1/8"]),
        (
            replace(RUNNING, step=1, preview=PREVIEW),
            ["0 waits 0", "1 0/8", "2 1/8 preview"],
        ),
        (DONE, ["0 waits 0", *(f"{step + 1} {step}/8" for step in range(9))]),
        (replace(DONE, state=TaskState.FAILED), ["0 waits 0"]),
        (replace(DONE, state=TaskState.CANCELLED, attempt=0), ["0 waits 0"]),
        (replace(DONE, state=TaskState.FAILED, attempt=3), ["2000 waits 0"]),
    ],
)
def test_a_glance_tells_what_has_happened_so_far(glance: Glance, expected: list[str]) -> None:
    assert told(moments(glance)) == expected


def test_progress_is_1_to_99_while_it_runs_and_never_falls() -> None:
    found = [each.progress for each in moments(DONE)]
    assert found[:2] == [0, 1]
    assert found == sorted(found)
    assert found[-1] == 99


# Any history of a task: what a worker, the reaper and callers may do to it, and who looks when.
DEEDS = ["claim", "step", "step", "step", "die", "give back", "move", "cancel", "succeed", "fail"]


def histories(deeds: Sequence[str]) -> list[Glance]:
    """A glance after each of these deeds that can be done; the last one ends the task."""
    found = [QUEUED]
    for deed in [*deeds, "cancel"]:
        after = _after(found[-1], deed)
        if after is not None:
            found.append(after)
        if found[-1].state.ended:
            break
    return found


def _after(now: Glance, deed: str) -> Glance | None:
    runs = now.state is TaskState.RUNNING
    match deed:
        case "claim" if not runs:
            return Glance(TaskState.RUNNING, now.attempt + 1, 0, STEPS)
        case "step" if runs and now.step < STEPS:
            return replace(now, step=now.step + 1)
        case "die" if runs and now.attempt < queue.ATTEMPTS_MAX:
            return Glance(TaskState.QUEUED, now.attempt, 0, STEPS, place=1)
        case "die" if runs:
            return Glance(TaskState.FAILED, now.attempt, 0, STEPS)
        case "give back" if runs:
            return Glance(TaskState.QUEUED, now.attempt - 1, 0, STEPS, place=1)
        case "move" if not runs:
            return replace(now, place=now.place + 1)
        case "succeed" if runs and now.step == STEPS:
            return Glance(TaskState.SUCCEEDED, now.attempt, 0, STEPS)
        case "fail" if runs:
            return Glance(TaskState.FAILED, now.attempt, 0, STEPS)
        case "cancel":
            return Glance(TaskState.CANCELLED, now.attempt, 0, STEPS)
    return None


def read(reader: Reader, glances: Sequence[Glance]) -> list[Moment]:
    return [moment for glance in glances for moment in reader.news(glance)]


@given(st.lists(st.sampled_from(DEEDS), max_size=60), st.randoms(use_true_random=False))
def test_numbers_only_grow_whatever_happens_and_whenever_one_looks(
    deeds: list[str], chance: Any
) -> None:
    *history, end = histories(deeds)
    seen = [each for each in history if chance.random() < 0.7] + [end]
    found = read(Reader(None), seen)
    numbers = [each.number for each in found]
    assert found[0].state is TaskState.QUEUED
    assert numbers == sorted(numbers)
    for before, after in pairwise(found):
        moved = before.state is after.state is TaskState.QUEUED and before.place != after.place
        assert before.number < after.number or moved
    assert end_number(end.attempt) > max(numbers)


@given(st.lists(st.sampled_from(DEEDS), max_size=60), st.data())
def test_who_comes_again_gets_what_is_missing_and_nothing_twice(
    deeds: list[str], data: st.DataObject
) -> None:
    history = histories(deeds)
    cut = data.draw(st.integers(0, len(history)))
    whole = [each.number for each in read(Reader(None), history)]
    first = [each.number for each in read(Reader(None), history[:cut])]
    again = Reader(str(first[-1]) if first else None)
    rest = [each.number for each in read(again, history[cut:])]
    assert {*first, *rest} == {*whole}
    assert all(number >= first[-1] for number in rest if first)
    running = {each.number for each in read(Reader(None), history) if each.steps}
    assert not {*first} & {*rest} & running


@given(st.lists(st.sampled_from(DEEDS), max_size=60))
def test_who_looks_all_the_time_sees_each_step_of_the_attempt_that_succeeded(
    deeds: list[str],
) -> None:
    history = histories([*deeds, "claim", *["step"] * STEPS, "succeed"])
    end = history[-1]
    if end.state is TaskState.SUCCEEDED:
        for seen in (history, [end]):
            found = {each.number for each in read(Reader(None), seen) if each.steps}
            assert {each.number for each in moments(end)[1:]} <= found


@pytest.mark.parametrize(
    ("last_event_id", "last"),
    [
        *(("0", 0), ("7", 7), ("1999", 1999), ("9" * 9, 999_999_999)),
        *((each, -1) for each in (None, "", "x", "-1", "1e3", "٣", "1 ", "9" * 10)),
    ],
)
def test_what_is_no_number_of_an_event_is_no_last_one(last_event_id: str | None, last: int) -> None:
    assert Reader(last_event_id).last == last


# Prefer


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ([], None),
        (["wait=5"], 5),
        (["wait=0"], 0),
        (["Wait=5"], 5),
        (["wait=99999"], app.WAIT_MAX_S),
        (["respond-async, wait=7"], 7),
        (["respond-async,wait=7; x=1"], 7),
        (["respond-async", "wait=7"], 7),
        (["wait=3, wait=4"], 3),
        *(([bad], None) for bad in ("", "wait", "wait=", "wait=x", "wait=-1", "wait=1.5")),
        *(
            ([bad], None)
            for bad in ("xwait=5", "a;wait=5", "wait=5x", "wait=٣", "wait=" + "9" * 99)
        ),
    ],
)
def test_a_wait_is_read_by_rfc_7240_and_what_is_none_is_ignored(
    headers: list[str], wait_s: int | None
) -> None:
    raw = [(b"prefer", each.encode()) for each in headers]
    assert app._wait_s(Request({"type": "http", "headers": raw})) == wait_s


# Watch


@dataclass
class Seen:
    """What a watch sees of tasks, changed by hand; `asked` has the ids of each glance."""

    glances: dict[str, Glance] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __call__(self, ids: Sequence[str]) -> Mapping[str, Glance]:
        self.asked.append([*ids])
        if self.broken:
            raise self.broken.pop()
        return {each: self.glances[each] for each in ids if each in self.glances}

    def watch(self) -> Watch:
        return Watch(self, self.stopping)


async def all_of(watch: Watch, name: str, pause_s: float = LONG_S) -> list[Glance | None]:
    async with aclosing(watch.changes(name, pause_s)) as changes:
        return [each async for each in changes]


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG_S):
        while not look():
            await asyncio.sleep(0.005)


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, LONG_S))


def test_a_watch_tells_each_change_once_to_the_end() -> None:
    async def main() -> list[Glance | None]:
        seen = Seen({"a": QUEUED})
        watching = asyncio.create_task(all_of(seen.watch(), "a"))
        for glance in (RUNNING, replace(RUNNING, step=4), DONE):
            seen.asked.clear()
            await until(lambda: len(seen.asked) > 2)
            seen.glances["a"] = glance
        return await watching

    assert run(main()) == [QUEUED, RUNNING, replace(RUNNING, step=4), DONE]


def test_a_watch_says_when_nothing_has_changed_for_so_long() -> None:
    async def main() -> list[Glance | None]:
        seen = Seen({"a": QUEUED})
        async with aclosing(seen.watch().changes("a", 0.02)) as changes:
            found = [await anext(changes) for _ in range(20)]
        return [each for each in found if each is not None] or found

    assert run(main()) == [QUEUED]


def test_a_thousand_watchers_of_one_task_are_one_look() -> None:
    async def main() -> tuple[list[list[str]], list[Any]]:
        seen = Seen({"a": RUNNING, "b": DONE})
        watch = seen.watch()
        watching = [asyncio.create_task(all_of(watch, "a")) for _ in range(1000)]
        watching.append(asyncio.create_task(all_of(watch, "b")))
        await until(lambda: watch.watchers == 1000)
        seen.glances["a"] = DONE
        return seen.asked, await asyncio.gather(*watching)

    asked, found = run(main())
    assert all(sorted(ids) in (["a"], ["a", "b"]) for ids in asked)
    assert found[:-1] == [[RUNNING, DONE]] * 1000
    assert found[-1] == [DONE]


def test_nobody_is_looked_after_who_has_left() -> None:
    async def main() -> tuple[Seen, int]:
        seen, ours = Seen(dict.fromkeys("abc", RUNNING)), asyncio.all_tasks()
        watch = seen.watch()
        watching = [asyncio.create_task(all_of(watch, name)) for name in "aabbcc"]
        await until(lambda: len(seen.asked) > 2)
        for each in watching:
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await until(lambda: asyncio.all_tasks() == ours)
        seen.asked.clear()
        await asyncio.sleep(3 * events.PAUSE_MAX_S)
        return seen, watch.watchers

    seen, watchers = run(main())
    assert (seen.asked, watchers) == ([], 0)


def test_a_watch_that_nobody_needs_any_more_begins_again() -> None:
    async def main() -> list[Any]:
        seen = Seen({"a": DONE})
        watch = seen.watch()
        found = [await all_of(watch, "a")]
        await asyncio.sleep(2 * events.PAUSE_MIN_S)
        return [*found, await all_of(watch, "a")]

    assert run(main()) == [[DONE], [DONE]]


def test_who_waits_is_let_go_when_the_service_ends() -> None:
    async def main() -> float:
        seen = Seen({"a": QUEUED})
        watch = seen.watch()
        waiting = [asyncio.create_task(all_of(watch, "a")) for _ in range(10)]
        waiting.append(asyncio.create_task(watch.ended("a", LONG_S)))  # type: ignore[arg-type]
        await until(lambda: len(seen.asked) > 2)
        stopped = time.monotonic()
        seen.stopping.set()
        await asyncio.gather(*waiting)
        assert await all_of(watch, "a") == []
        return time.monotonic() - stopped

    assert run(main()) < 5


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("odd")])
def test_who_waits_waits_on_while_the_database_is_away_and_the_log_says_it_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[Glance | None]:
        seen = Seen({"a": RUNNING})
        watching = asyncio.create_task(all_of(seen.watch(), "a"))
        await until(lambda: len(seen.asked) > 2)
        seen.broken = [error] * 4
        await until(lambda: not seen.broken)
        seen.glances["a"] = DONE
        return await watching

    with caplog.at_level(logging.WARNING, logger="zing.events"):
        assert run(main()) == [RUNNING, DONE]
    assert len([each for each in caplog.records if str(error) in each.message]) == 1


def test_a_task_that_was_purged_is_not_waited_for() -> None:
    async def main() -> list[Glance | None]:
        seen = Seen({"a": RUNNING})
        watching = asyncio.create_task(all_of(seen.watch(), "a"))
        await until(lambda: len(seen.asked) > 2)
        seen.glances.clear()
        return await watching

    assert run(main()) == [RUNNING]


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> float:
        seen = Seen({"a": RUNNING})
        watch = seen.watch()
        watching = [asyncio.create_task(all_of(watch, "a")) for _ in range(3)]
        watch.check_room()
        await until(lambda: watch.watchers == 3)
        with pytest.raises(Unavailable):
            watch.check_room()
        asked_at = time.monotonic()
        await watch.ended("a", LONG_S)  # at once
        seen.glances["a"] = DONE
        await asyncio.gather(*watching)
        watch.check_room()
        return time.monotonic() - asked_at

    monkeypatch.setattr(events, "WATCHERS_MAX", 3)
    assert run(main()) < LONG_S / 2


def test_a_wait_is_over_when_the_task_has_ended_or_the_time_is() -> None:
    async def main() -> None:
        seen = Seen({"a": QUEUED})
        watch = seen.watch()
        await watch.ended("a", 0.1)
        waiting = asyncio.create_task(watch.ended("a", LONG_S))
        await until(lambda: watch.watchers == 1)
        seen.glances["a"] = DONE
        await waiting
        assert watch.watchers == 0

    run(main())


# Glances, on every database


def register(store: Store) -> None:
    store.write(lambda tx: queue.register(tx, "w1", "host", NOW, 600))


def accept(store: Store, account_id: str) -> Task:
    return accepted(store, submission(account_id))


def claim(store: Store) -> queue.Claim:
    (held,) = store.write(lambda tx: queue.claim(tx, "w1", MODEL, 1, NOW))
    return held


def say(store: Store, progress: Any) -> None:
    said = update(worker).values(progress=json.dumps(progress))
    store.write(lambda tx: tx.execute(said))


def glance(store: Store, *found: Task) -> list[Glance]:
    ids = [each.public_id for each in found]
    seen = store.read(lambda tx: tasks.glance(tx, ids))
    assert seen.keys() == set(ids)
    return [seen[each] for each in ids]


def test_a_glance_follows_a_task_through_its_life(store: Store) -> None:
    register(store)
    one, other = (accept(store, funded(store)) for _ in range(2))
    assert glance(store, one, other) == [replace(QUEUED, place=0)] * 2
    held = claim(store)
    (task,) = (each for each in (one, other) if each.id == held.task.id)
    assert glance(store, task) == [replace(RUNNING, step=0)]
    say(store, {"pace": 1.5, task.id: [3, STEPS]})
    assert glance(store, task) == [RUNNING]
    say(store, {task.id: [4, STEPS, PREVIEW], "elsewhere": [1, 2]})
    assert glance(store, task) == [replace(RUNNING, step=4, preview=PREVIEW)]
    store.write(lambda tx: queue.reap(tx, NOW, "w1"))
    assert glance(store, task) == [replace(QUEUED, attempt=1, place=0)]
    register(store)
    held = claim(store)
    lost = [(held, queue.failure(EngineLost()))]
    store.write(lambda tx: queue.settle(tx, lost, NOW))
    assert glance(store, held.task)[0].state is TaskState.FAILED
    (open_one,) = (each for each in (one, other) if each.id != held.task.id)
    store.write(lambda tx: queue.cancel(tx, open_one.public_id, None, NOW))
    states = {each.state for each in glance(store, one, other)}
    assert states == {TaskState.FAILED, TaskState.CANCELLED}


def test_what_is_no_task_is_not_glanced_at(store: Store) -> None:
    assert store.read(lambda tx: tasks.glance(tx, ["no-task"])) == {}


@pytest.mark.parametrize("counts", [(5,), (4, 4), (1, 2, 6), (7, 1, 3)])
def test_a_place_in_the_queue_is_how_many_are_drawn_before(
    counts: tuple[int, ...], store: Store
) -> None:
    register(store)
    queued = [
        accept(store, account) for n in counts for account in [funded(store)] for _ in range(n)
    ]
    places = {
        each.id: seen.place for each, seen in zip(queued, glance(store, *queued), strict=True)
    }
    for turn in range(len(queued)):
        place = places[claim(store).task.id]
        assert place <= turn <= place + len(counts) - 1


def test_a_place_counts_as_many_of_others_as_of_ones_own(store: Store) -> None:
    mine, others = funded(store), funded(store)
    queued = sorted((accept(store, mine) for _ in range(5)), key=lambda each: each.id)
    for _ in range(2):
        accept(store, others)
    assert [each.place for each in glance(store, *queued)] == [0, 2, 4, 5, 6]


# A running service


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A service without a worker: what is queued stays so."""
    with servers.serving(tmp_path_factory.mktemp("idle") / "data", "--no-worker") as running:
        yield running


def follow(server: servers.Server, identity: str, last: object = None) -> httpx2.Response:
    """The whole stream of a task."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    return server.http.get(f"/v1/tasks/{identity}/events", headers=headers, timeout=LONG_S)


class Following:
    """A stream that is read in a thread, line by line."""

    def __init__(self, server: servers.Server, identity: str) -> None:
        self.lines: list[str] = []
        self._place = (server, identity)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        server, identity = self._place
        with suppress(httpx2.TransportError):
            path = f"/v1/tasks/{identity}/events"
            with server.http.stream("GET", path, timeout=LONG_S) as answer:
                self.lines += [f"HTTP {answer.status_code}"]
                for line in answer.iter_lines():
                    self.lines.append(line)

    def has(self, events: int) -> bool:
        """Whether so many events are there."""
        return sum(line.startswith("data:") for line in self.lines) >= events

    def begun(self) -> bool:
        """Whether the first event is there."""
        return self.has(1)

    def end(self) -> list[tuple[int, dict[str, Any]]]:
        """The events, when the stream has ended."""
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()
        assert self.lines[0] == "HTTP 200"
        return servers.events("\n".join(self.lines[1:]) + "\n")


@pytest.fixture(scope="module")
def live(server: servers.Server) -> tuple[str, httpx2.Response]:
    """A task and its stream, followed from its beginning to its end."""
    identity = servers.submit(server)
    return identity, follow(server, identity)


def test_a_stream_tells_from_pending_to_the_status_itself(
    live: tuple[str, httpx2.Response], server: servers.Server
) -> None:
    identity, answer = live
    found = servers.events(answer.text)
    numbers = [number for number, data in found if data["status"] != "pending"]
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert found[0][1]["status"] == "pending"
    assert "queue_place" in found[0][1]
    assert numbers == sorted(set(numbers))
    steps = [(data["step"], data["steps"]) for _, data in found if "step" in data]
    assert steps == [(step, STEPS) for step in range(STEPS + 1)]
    progress = [data["progress"] for _, data in found]
    assert progress == sorted(progress)
    last = answer.text.split("\n\n")[-2].partition("data: ")[2]
    assert last == server.http.get(f"/v1/tasks/{identity}").text
    assert found[-1][1]["status"] == "completed"


def test_who_comes_late_is_told_all_of_it(
    live: tuple[str, httpx2.Response], server: servers.Server
) -> None:
    identity, answer = live
    late, before = servers.events(follow(server, identity).text), servers.events(answer.text)
    drawn = [event for event in before if event[1]["status"] != "pending"]
    assert [data["status"] for _, data in late[:2]] == ["pending", "processing"]
    assert [{**data, "preview": ""} for _, data in late[1:]] == [
        {**data, "preview": ""} for _, data in drawn
    ]
    for bad in ("x", "-1", "1.5", "9" * 30):
        assert servers.events(follow(server, identity, bad).text) == late


def test_who_comes_again_gets_what_came_after_and_204_after_the_end(
    live: tuple[str, httpx2.Response], server: servers.Server
) -> None:
    identity, _ = live
    whole = servers.events(follow(server, identity).text)
    for place, (number, _) in enumerate(whole[:-1]):
        assert servers.events(follow(server, identity, number).text) == whole[place + 1 :]
    over = follow(server, identity, whole[-1][0])
    assert (over.status_code, over.content) == (204, b"")


def test_the_stream_of_a_cancelled_task_ends_with_that(idle: servers.Server) -> None:
    identity = servers.submit(idle)
    following = Following(idle, identity)
    servers.until(following.begun)
    idle.http.delete(f"/v1/tasks/{identity}")
    found = following.end()
    assert [data["status"] for _, data in found] == ["pending", "cancelled"]
    assert found[-1][1] == servers.look(idle, identity)
    number, _ = found[0]
    assert servers.events(follow(idle, identity, number).text) == found[1:]
    assert follow(idle, identity, found[-1][0]).status_code == 204


def test_the_stream_of_a_prompt_that_safety_refuses_ends_at_once(idle: servers.Server) -> None:
    identity = servers.submit(idle, prompt="a nude woman")
    found = servers.events(follow(idle, identity).text)
    assert [data["status"] for _, data in found] == ["pending", "failed"]
    assert found[-1][1] == servers.look(idle, identity)
    assert found[-1][1]["error"]["code"] == "content_policy_violation"


def test_the_place_in_the_queue_is_told_whenever_it_is_another(idle: servers.Server) -> None:
    first, second, third = (servers.submit(idle) for _ in range(3))
    before = servers.look(idle, third)
    following = Following(idle, third)
    servers.until(following.begun)
    for event, each in enumerate((second, first, third), 2):
        idle.http.delete(f"/v1/tasks/{each}")
        servers.until(partial(following.has, event))
    found = following.end()
    places = [data["queue_place"] for _, data in found[:-1]]
    assert before["status"] == "pending"
    assert places == [places[0], places[0] - 1, places[0] - 2]
    assert {number for number, _ in found[:-1]} == {0}


def ask(server: servers.Server, path: str, key: str | None) -> requests.Reply:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return requests.send(server.url, "GET", path, headers=headers)


def test_a_stream_is_its_accounts_alone(idle: servers.Server) -> None:
    path = f"/v1/tasks/{servers.submit(idle)}/events"
    nowhere = "/v1/tasks/task-unified-1763630000-k3v9x0ab/events"
    another = servers.new_key(idle)
    check_refusal("evolink", ask(idle, path, another), "unknown task")
    check_refusal("evolink", ask(idle, nowhere, idle.key), "unknown task")
    for key in (None, "", "zk_live_no"):
        check_refusal("evolink", ask(idle, path, key), "bad key")


def test_head_of_a_stream_does_not_wait_for_it(idle: servers.Server) -> None:
    answer = idle.http.head(f"/v1/tasks/{servers.submit(idle)}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_clients_that_leave_early_harm_nothing(idle: servers.Server) -> None:
    identity = servers.submit(idle)
    for _ in range(30):
        with idle.http.stream("GET", f"/v1/tasks/{identity}/events") as answer:
            assert next(answer.iter_lines()) == "id: 0"
    following = Following(idle, identity)
    idle.http.delete(f"/v1/tasks/{identity}")
    assert following.end()[-1][1]["status"] == "cancelled"
    assert "Traceback" not in idle.log.read_text()


def test_the_end_of_the_service_ends_the_streams(tmp_path: Any) -> None:
    with servers.serving(tmp_path / "data", "--no-worker") as server:
        identity = servers.submit(server)
        following = [Following(server, identity) for _ in range(20)]
        servers.until(lambda: all(each.begun() for each in following))
        asked_at = time.monotonic()
        assert server.end(signal.SIGTERM) == 0
        assert time.monotonic() - asked_at < 5
        for each in following:
            assert [data["status"] for _, data in each.end()] == ["pending"]
        assert "Traceback" not in server.log.read_text()


# A look that waits


def wait(server: servers.Server, name: str, identity: str, prefer: str) -> requests.Reply:
    method, path, body = requests.look(name, identity)
    key = {"Authorization": f"Bearer {server.key}", "Prefer": prefer}
    return requests.send(server.url, method, path, body, requests.JSON | key)


ENDS = {
    "evolink": ("status", "completed"),
    "kie": ("state", "success"),
    "tensorslab": ("image_status", 3),
    "zimageturbo": ("status", "SUCCESS"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_look_that_waits_is_the_only_one_needed(name: str, server: servers.Server) -> None:
    reply = wait(server, name, servers.submit(server), "wait=25")
    body = reply.json()
    word, end = ENDS[name]
    assert reply.headers["preference-applied"] == "wait=25"
    assert (body if name == "evolink" else body["data"])[word] == end


def test_a_look_waits_no_longer_than_asked_and_for_what_is_no_wait_not_at_all(
    idle: servers.Server,
) -> None:
    identity = servers.submit(idle)
    began = time.monotonic()
    reply = wait(idle, "evolink", identity, "respond-async, wait=1")
    assert 1 <= time.monotonic() - began < 20
    assert reply.json()["status"] == "pending"
    assert reply.headers["preference-applied"] == "wait=1"
    for name in NAMES:
        for bad in ("wait=x", "wait=-5", "wait", "return=minimal", ""):
            reply = wait(idle, name, identity, bad)
            assert reply.status == 200
            assert "preference-applied" not in reply.headers


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_task_is_not_waited_for(name: str, idle: servers.Server) -> None:
    reply = wait(idle, name, "task-unified-1763630000-k3v9x0ab", "wait=30")
    check_refusal(name, reply, "unknown task")
