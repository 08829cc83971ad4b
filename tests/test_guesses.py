"""Guesses of keys, thousands of them: nobody comes in, and who guesses is slowed down."""

import asyncio
import ipaddress
import random
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.callers import Caller, Clock, run
from tests.requests import Reply
from zing import keys
from zing.keys import PREFIX
from zing.store import Store
from zing.store.audit_log import KEY_REFUSED, THROTTLED

COUNT = 10_000
MANY = 1_000_000
AT_ONCE = 64
ALLOWED = 20
HERE = "192.0.2.1"
GARBAGE = ["zk_live_", "é" * 51, "' OR 1=1 --", "zk_test_00000000_" + "0" * 43, "x" * 2000]

Asked = tuple[str, str]  # a text and the address that it comes from


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    store = Store(f"sqlite:///{tmp_path / 'zing.db'}")
    yield Caller.of(store, tmp_path, Clock())
    store.close()


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that the database was asked for."""
    seen: list[str] = []
    real = keys.authenticate

    def counted(tx: Any, pepper: bytes, texts: Sequence[str], now: float) -> Any:
        seen.extend(texts)
        return real(tx, pepper, texts, now)

    monkeypatch.setattr(keys, "authenticate", counted)
    return seen


def guesses(key: keys.Key, seed: int) -> Iterator[str]:
    """By turns: the right id with a wrong secret, an id that is not there, what is no key."""
    pick = random.Random(seed)
    ids, letters = keys._ID_LETTERS, string.digits + string.ascii_letters
    while True:
        secret = "".join(pick.choices(letters, k=43))
        yield f"{PREFIX}{key.id}_{secret}"
        yield f"{PREFIX}{''.join(pick.choices(ids, k=8))}_{secret}"
        yield pick.choice([*GARBAGE, secret, secret[:-1], f"{PREFIX}{key.id}_{secret}{secret}"])


def addresses() -> Iterator[str]:
    """Of both kinds, no two in one network."""
    for number in range(2**16):
        yield str(ipaddress.IPv4Address(0x0A000000 + number))
        yield str(ipaddress.IPv6Address((0x20010DB8 << 96) + (number << 64) + number))


def guess_all(caller: Caller, asked: Iterator[Asked]) -> Counter[str]:
    """How the guesses were answered, a set at a time."""

    async def one(text: str, address: str) -> Reply:
        return await caller.ask("GET", "/v1/credits", f"Bearer {text}", address=address)

    async def all_of_them() -> Counter[str]:
        answers: Counter[str] = Counter()
        while some := list(islice(asked, AT_ONCE)):
            answers.update(map(_word, await asyncio.gather(*(one(*each) for each in some))))
        return answers

    return run(all_of_them())


def _word(reply: Reply) -> str:
    """The answer's code; what says more than the code of a refusal fails."""
    code: str = reply.json()["error"]["code"] if reply.status != 200 else "came in"
    assert ("retry-after" in reply.headers) == (code == "rate_limit_exceeded")
    return code


def check_log(caller: Caller, key: keys.Key, texts: Sequence[str]) -> None:
    """Only ids that are there are named, and never what was guessed."""
    for entry in caller.log():
        assert entry.target in ("", key.id)
        assert not [text for text in texts if text in repr(entry) and len(text) > 8]


def test_guessing_from_one_address_is_stopped_and_its_good_key_goes_on(
    caller: Caller, looked_up: list[str]
) -> None:
    text, key = caller.key()
    source = guesses(key, 1)
    wrong = [next(source) for _ in range(COUNT // 2)]
    asked = [(each, HERE) for each in wrong]
    good = len(asked) // 100
    for place in range(good):
        asked.insert(place * 101, (text, HERE))
    answers = guess_all(caller, iter(asked))
    assert answers == {
        "came in": good,
        "unauthorized": ALLOWED,
        "rate_limit_exceeded": len(wrong) - ALLOWED,
    }
    assert Counter(each == text for each in looked_up) == {True: good, False: ALLOWED}
    log = caller.log()
    assert [each.action for each in log] == [KEY_REFUSED] * ALLOWED + [THROTTLED]
    assert {each.address for each in log} == {HERE}
    assert key.id in {each.target for each in log}
    check_log(caller, key, wrong)


def test_guessing_from_many_addresses_finds_nothing(caller: Caller, looked_up: list[str]) -> None:
    text, key = caller.key()
    count = COUNT // 2 // (ALLOWED + 5)
    source, places = guesses(key, 2), addresses()
    asked = [(next(source), place) for place in map(next, [places] * count) for _ in range(25)]
    random.Random(3).shuffle(asked)
    answers = guess_all(caller, iter(asked))
    assert answers == {"unauthorized": ALLOWED * count, "rate_limit_exceeded": 5 * count}
    assert len(looked_up) == ALLOWED * count
    assert guess_all(caller, iter([(text, "198.51.100.1")])) == {"came in": 1}
    log = caller.log()
    assert len(log) <= 1000
    check_log(caller, key, [each for each, _ in asked[:200]])


@pytest.mark.long
def test_a_million_guesses_find_nothing(caller: Caller, looked_up: list[str]) -> None:
    text, key = caller.key()
    guess_all(caller, iter([(text, HERE)]))
    source, places = guesses(key, 4), addresses()

    def asked() -> Iterator[Asked]:
        for number in range(MANY // 2):
            yield next(source), HERE
            if number % ALLOWED == 0:
                place = next(places)
            yield next(source), place
            if number % 1000 == 0:
                yield text, HERE

    answers = guess_all(caller, asked())
    assert answers == {
        "came in": MANY // 2000,
        "unauthorized": ALLOWED + MANY // 2,
        "rate_limit_exceeded": MANY // 2 - ALLOWED,
    }
    assert len(looked_up) == 1 + answers["came in"] + answers["unauthorized"]
    assert len(caller.log()) <= 1000
    found = caller.service.store.read(lambda tx: tx.exec_driver_sql("SELECT detail FROM audit_log"))
    assert not [row for row in found if re.search(PREFIX, row.detail)]
