"""One core behind four dialects: the same task by each is the same picture and the same money."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests import requests, servers
from tests.requests import JSON, NAMES, SUBMIT, compact, task_id
from zing.data import Data
from zing.sizes import RATIOS
from zing.store import Store
from zing.store.schema import ledger, task
from zing.store.tasks import to_task
from zing.task import SEED_MAX

TASKS = 100
ROUND = 20  # tasks of each dialect that are open at once
# What all four can ask for: kie.ai has ratios alone, five of them.
SHARED = ("1:1", "4:3", "3:4", "16:9", "9:16")
WORDS = """红色 a red blue 圆 circle star 星星 panda 🐼 cat 猫 green background tree, small <big>
'x'""".split()


def asked(name: str, prompt: str, ratio: str, seed: int) -> dict[str, Any]:
    """The same wish in each dialect's fields."""
    width, height = RATIOS[ratio]
    return {
        "evolink": {"model": "z-image-turbo", "prompt": prompt, "size": ratio, "seed": seed},
        "kie": {
            "model": "z-image",
            "input": {"prompt": prompt, "aspect_ratio": ratio, "seed": seed},
        },
        "tensorslab": {"prompt": prompt, "resolution": ratio, "seed": str(seed)},
        "zimageturbo": {"prompt": prompt, "size": f"{width}*{height}", "seed": seed},
    }[name]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.serving(tmp_path_factory.mktemp("differential") / "data") as running:
        yield running


def submit(server: servers.Server, name: str, fields: dict[str, Any]) -> str:
    headers = JSON | {"Authorization": f"Bearer {server.key}"}
    reply = requests.send(server.url, "POST", SUBMIT[name], compact(fields), headers)
    return task_id(name, reply)


def drawn(data: Path, identities: list[str]) -> dict[str, tuple[Any, list[tuple[str, int]]]]:
    """Of each task by its public id, what was drawn and the entries of the ledger."""
    store = Store(f"sqlite:///{Data(data).database}")

    def read(tx: Any) -> dict[str, tuple[Any, list[tuple[str, int]]]]:
        rows = tx.execute(select(task).where(task.c.public_id.in_(identities))).all()
        found = {}
        for row in rows:
            mine = select(ledger.c.kind, ledger.c.amount).where(ledger.c.task_id == row.id)
            entries = [(kind, amount) for kind, amount in tx.execute(mine.order_by(ledger.c.id))]
            one = to_task(row)
            picture = (one.state, one.seed, one.result.get("sha256"), one.result.get("rendered"))
            found[row.public_id] = picture, entries
        return found

    try:
        return store.read(read)
    finally:
        store.close()


@pytest.mark.parametrize("part", range(TASKS // ROUND))
def test_random_tasks_are_the_same_by_every_dialect(part: int, server: servers.Server) -> None:
    pick = random.Random(part)
    wishes = [
        (" ".join(pick.choices(WORDS, k=6)), pick.choice(SHARED), pick.randint(1, SEED_MAX))
        for _ in range(ROUND)
    ]
    made = [
        {name: submit(server, name, asked(name, *wish)) for name in pick.sample(NAMES, len(NAMES))}
        for wish in wishes
    ]
    for each in made:
        for identity in each.values():
            assert servers.ended(server, identity)["status"] == "completed"
    found = drawn(server.data, [identity for each in made for identity in each.values()])
    hashes = set()
    for wish, each in zip(wishes, made, strict=True):
        results = [found[each[name]] for name in NAMES]
        assert results == [results[0]] * len(NAMES), wish
        (state, seed, sha256, _), entries = results[0]
        assert (state, seed) == ("succeeded", wish[2])
        assert entries == [("hold", 26_000), ("settle", 26_000)]
        hashes.add(sha256)
    assert len(hashes) == ROUND
