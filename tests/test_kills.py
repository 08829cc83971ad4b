"""SIGKILL of the API at each point of a task's life, and of the housekeeper in its duties: nothing
acknowledged is lost, nothing is charged twice, and it is ready again in 10 s.

The housekeeper and the courier of callbacks are threads of the API and die with it at every point.
Of workers: test_kills_worker.py; of many processes on one database: test_cluster.py.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import dying
from tests.dying import DIE, SEED
from tests.pairs import PATIENCE_S, Asked, Pair, change, expire, forget, meet, reap, restart, rows
from tests.servers import until

POINTS = ("validated", "inserted", "queued", *dying.WORKER, "enqueued", "answered")
# What is durable when a process is killed at a point; the other process may have gone on.
LEFT: dict[str, set[str]] = {
    "validated": {""},
    "inserted": {""},
    "queued": {"queued", "running", "succeeded"},
    "claiming": {"queued"},
    **{point: {"running"} for point in dying.WORKER[1:-1]},
    **{point: {"succeeded"} for point in ("settled", "enqueued", "answered")},
}
LANES = 2  # pairs of their own, killed beside each other
KILLS = "DYING_KILLS"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("kills")
    with Pair(folder, ZING_KEEP_PROMPTS="no").running() as running:
        yield running


@pytest.mark.parametrize("point", POINTS)
def test_the_api_is_killed_at(pair: Pair, point: str) -> None:
    pair.draws()
    asked, left = meet(pair, "api", point)
    assert left in LEFT[point]
    pair.check(asked)
    pair.audit()
    assert len(pair.posts(asked)) >= (2 if point == "answered" else 1)


@pytest.mark.parametrize(("point", "before"), [("reaping", "running"), ("reaped", "queued")])
def test_the_housekeeper_is_killed_when_it_reaps(pair: Pair, point: str, before: str) -> None:
    pair.draws()
    asked, left = reap(pair, point)
    assert left == before
    pair.check(asked)
    pair.audit()


def test_the_housekeeper_is_killed_while_it_fails_what_nobody_drew(pair: Pair) -> None:
    pair.draws()
    asked, left = expire(pair, "expiring")
    assert left == "queued"
    pair.check(asked, "failed")
    pair.audit()


def test_the_housekeeper_is_killed_while_it_forgets_a_prompt(pair: Pair) -> None:
    pair.draws()
    asked, left = forget(pair, "forgetting")
    assert left == "succeeded"
    pair.check(asked)
    kept = "select request like '%red circle%' from task where callback_url like ?"
    until(lambda: rows(pair.data, kept, f"%{asked.told_at}") == [(0,)], PATIENCE_S)
    pair.audit()


@pytest.mark.parametrize(("point", "marked"), [("sweeping", False), ("deleting", True)])
def test_the_housekeeper_is_killed_while_it_removes_a_picture(
    pair: Pair, point: str, marked: bool
) -> None:
    """Bytes that nothing points to any more go too: as old ones, as they are after a day."""
    pair.draws()
    asked = pair.ask()
    pair.check(asked)
    query = "select file.id, blob_key, deleted_at from file join task on task.id = task_id"
    ((file, key, _),) = rows(pair.data, f"{query} where callback_url like ?", f"%{asked.told_at}")
    (picture,) = (pair.data / "pictures").glob(f"*/{key}")
    os.utime(picture, (0, 0))
    pair.gates.close(point, DIE)
    change(pair.data, "update file set expires_at = ? where id = ?", time.time(), file)
    pair.killed("api")  # and restart() finds it so
    ((gone,),) = rows(pair.data, "select deleted_at is not null from file where id = ?", file)
    assert (bool(gone), picture.exists()) == (marked, True)
    restart(pair, point, asked)
    until(lambda: not picture.exists(), PATIENCE_S)
    pair.audit()


Event = Callable[[Pair, random.Random], tuple[Asked, int]]


def kill_api(pair: Pair, pick: random.Random) -> tuple[Asked, int]:
    return meet(pair, "api", pick.choice(POINTS))[0], 1


def kill_worker(pair: Pair, pick: random.Random) -> tuple[Asked, int]:
    return meet(pair, "worker", pick.choice(POINTS))[0], 1


def kill_housekeeper(pair: Pair, pick: random.Random) -> tuple[Asked, int]:
    """It dies as it reaps a worker that was killed, or alone."""
    if pick.random() < 0.5:
        return reap(pair, pick.choice(("reaping", "reaped")))[0], 2
    return forget(pair, "forgetting")[0], 1


EVENTS: tuple[Event, ...] = (kill_api, kill_worker, kill_housekeeper)


@pytest.mark.long
def test_twelve_hundred_random_kills(tmp_path: Path) -> None:
    """Several before things have come to rest, so that who recovers is killed too."""
    seed = os.environ.get(SEED) or str(random.SystemRandom().randrange(10**9))
    kills = int(os.environ.get(KILLS, "1200"))
    print(f"{SEED}={seed} repeats these kills")
    with ThreadPoolExecutor(LANES) as pool:
        lanes = [f"{seed}-{number}" for number in range(LANES)]
        done = list(
            pool.map(lambda each: kill_at_random(tmp_path / each, each, kills // LANES), lanes)
        )
    print(f"{sum(done)} kills")
    assert sum(done) >= kills


def kill_at_random(folder: Path, seed: str, kills: int) -> int:
    """One lane's kills, some in a row before all is looked at; how many."""
    pick, done = random.Random(seed), 0
    with Pair(folder, ZING_KEEP_PROMPTS="no").running() as pair:
        while done < kills:
            wanted = [pair.ask() for _ in range(pick.randint(0, 2))]
            for _ in range(pick.randint(1, 4)):
                asked, count = pick.choice(EVENTS)(pair, pick)
                wanted.append(asked)
                done += count
            for asked in wanted:
                pair.check(asked)
            pair.audit()
    return done
