"""The gate: who comes in, who has to wait, what is written of it; and what a wrong key costs."""

import asyncio
import hmac
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import servers
from tests.callers import FAILURES, NOW, Caller, Clock, run
from tests.requests import Reply
from zing import authentication, keys
from zing.app import Wiring
from zing.authentication import Gate, Good, Throttle, network
from zing.errors import BadSetting, Unavailable
from zing.keys import Allowed, Key, Scope
from zing.rates import Rate
from zing.store import Store, audit_log
from zing.store.audit_log import KEY_REFUSED, THROTTLED

PLACE, OTHER = "192.0.2.1", "198.51.100.7"
WRONG = f"zk_live_00000000_{'0' * 43}"
REFUSED, WAIT, IN = 401, 429, 200


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caller(store: Store, tmp_path: Path, clock: Clock) -> Caller:
    return Caller.of(store, tmp_path, clock)


@pytest.fixture
def steady(caller: Caller) -> Clock:
    """The clock that a caller's gate waits by; it stands until it is moved."""
    stands = Clock(100.0)
    gate = Gate(caller.service, Rate(20, 600.0), stands)
    caller.wiring.__dict__["gate"] = gate
    return stands


def knock(caller: Caller, *texts: str, address: str = PLACE) -> list[int]:
    """The statuses of looks at the balance with these keys, all at once."""

    async def ask_all() -> list[Reply]:
        calls = (caller.ask("GET", "/v1/credits", f"Bearer {e}", address=address) for e in texts)
        return list(await asyncio.gather(*calls))

    return [reply.status for reply in run(ask_all())]


def test_an_address_may_fail_twenty_times_and_then_one_by_one(
    caller: Caller, steady: Clock
) -> None:
    assert knock(caller, *[WRONG] * 25) == [REFUSED] * 20 + [WAIT] * 5
    steady.now += 29
    assert knock(caller, WRONG) == [WAIT]
    steady.now += 1
    assert knock(caller, WRONG, WRONG) == [REFUSED, WAIT]
    steady.now += 600
    assert knock(caller, *[WRONG] * 21) == [REFUSED] * 20 + [WAIT]


def test_who_has_to_wait_is_told_how_long(caller: Caller, steady: Clock) -> None:
    knock(caller, *[WRONG] * 20)
    steady.now += 12.5
    reply = run(caller.ask("GET", "/v1/credits", f"Bearer {WRONG}", address=PLACE))
    assert (reply.status, reply.headers["retry-after"]) == (WAIT, "18")


def test_good_keys_pass_where_others_failed_and_new_ones_wait(
    caller: Caller, steady: Clock
) -> None:
    good, new = caller.key()[0], caller.key()[0]
    assert knock(caller, good) == [IN]
    knock(caller, *[WRONG] * 20)
    assert knock(caller, good, new, WRONG, good) == [IN, WAIT, WAIT, IN]
    assert knock(caller, new, address=OTHER) == [IN]
    assert knock(caller, new) == [IN]  # it was good lately, wherever it came from
    steady.now += 30
    assert knock(caller, WRONG) == [REFUSED]


def test_new_keys_come_in_by_the_dozen_where_none_is_wrong(caller: Caller, steady: Clock) -> None:
    made = [caller.key()[0] for _ in range(50)]
    assert knock(caller, *made) == [IN] * 50
    assert knock(caller, *[made[0]] * 100) == [IN] * 100


def test_a_good_key_that_has_ended_waits_like_any_other(caller: Caller, steady: Clock) -> None:
    text, key = caller.key()
    assert knock(caller, text) == [IN]
    caller.service.store.write(lambda tx: keys.revoke(tx, key.id, NOW))
    assert knock(caller, *[text] * 20) == [REFUSED] * 20
    assert knock(caller, text) == [WAIT]


def test_what_a_key_may_not_do_and_no_key_at_all_are_no_guesses(caller: Caller) -> None:
    reader = caller.key(Allowed(scopes=frozenset({Scope.CANCEL})))[0]
    assert knock(caller, *[reader] * 30) == [403] * 30

    async def ask_all() -> list[int]:
        replies = [await caller.ask("GET", "/v1/credits", header) for header in (None, "Basic a")]
        return [reply.status for reply in replies * 15]

    assert run(ask_all()) == [REFUSED] * 30
    assert knock(caller, caller.key()[0]) == [IN]
    assert caller.log() == []


def test_the_networks_of_ipv6_fail_as_one(caller: Caller) -> None:
    for number in range(20):
        assert knock(caller, WRONG, address=f"2001:db8:1:2::{number:x}") == [REFUSED]
    assert knock(caller, WRONG, address="2001:db8:1:2:ffff::1") == [WAIT]
    assert knock(caller, WRONG, address="2001:db8:1:3::1") == [REFUSED]


@given(st.ip_addresses())
def test_every_address_is_in_a_network(address: Any) -> None:
    assert network(str(address))
    assert network("no address") == "no address"
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") == "192.0.2.1"


def test_no_more_addresses_and_keys_are_remembered_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authentication, "ADDRESSES_MAX", 10)
    monkeypatch.setattr(authentication, "GOOD_MAX", 10)
    throttle, good = Throttle(FAILURES, Clock()), Good()
    for number in range(100):
        assert list(throttle.failed(str(number))) == [KEY_REFUSED]
        good.add(good.digest(str(number)))
    assert len(throttle._failures) == len(good._digests) == 10
    assert good.digest("99") in good
    assert good.digest("89") not in good


def test_keys_that_were_good_are_not_kept_and_no_other_process_knows_them() -> None:
    one, other = Good(), Good()
    assert one.digest("a key") != other.digest("a key")
    assert b"a key" not in one.digest("a key")


# The audit log


def test_who_was_refused_is_noted_with_address_and_the_key_that_was_meant(
    caller: Caller, steady: Clock
) -> None:
    text, key = caller.key()
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    ended, gone = caller.key()
    caller.service.store.write(lambda tx: keys.revoke(tx, gone.id, NOW))
    stopped, off = caller.key()
    caller.service.store.write(lambda tx: keys.disable(tx, off.id, NOW))
    knock(caller, wrong, ended, stopped, WRONG, "garbage")
    assert [(each.target, each.detail) for each in caller.log()] == [
        (key.id, "BadKey"),
        (gone.id, "KeyEnded"),
        (off.id, "KeyDisabled"),
        ("", "BadKey"),
        ("", "BadKey"),
    ]
    for entry in caller.log():
        assert (entry.at, entry.actor, entry.address) == (NOW, "", PLACE)
        assert entry.action == KEY_REFUSED
        assert wrong.rpartition("_")[2] not in repr(entry)


def test_an_address_fills_the_log_no_further_than_its_first_failures(
    caller: Caller, steady: Clock
) -> None:
    for _ in range(5):
        knock(caller, *[WRONG] * 30)
        steady.now += 100
    assert [each.action for each in caller.log()] == [KEY_REFUSED] * 20 + [THROTTLED]
    steady.now += 600
    knock(caller, WRONG)
    assert [each.action for each in caller.log()][21:] == [KEY_REFUSED]


def test_many_addresses_fill_the_log_no_further_than_its_bound(
    caller: Caller, steady: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "NOTES", Rate(10, 1000.0))
    for number in range(25):
        knock(caller, WRONG, address=f"192.0.2.{number}")
    assert len(caller.log()) == 10
    steady.now += 100
    knock(caller, WRONG, address=OTHER)
    assert caller.log()[-1].detail == "BadKey; 15 before it were not noted"


def test_a_log_that_cannot_be_written_changes_no_answer(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_work: object) -> None:
        raise Unavailable("The database is away.")

    good = caller.key()[0]
    monkeypatch.setattr(caller.service.store, "write", away)
    monkeypatch.setattr(authentication, "WRITE_AFTER_S", 0.0)
    assert knock(caller, WRONG, good) == [REFUSED, IN]
    caller.wiring.gate.journal.write()
    monkeypatch.undo()
    assert "entries of the audit log are left out: Unavailable" in caplog.text
    assert WRONG not in caplog.text
    assert caller.log() == []


def test_it_is_written_without_being_asked_for(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "WRITE_AFTER_S", 0.0)

    def count() -> int:
        return len(caller.service.store.read(lambda tx: audit_log.last(tx, 9)))

    async def ask() -> None:
        await caller.ask("GET", "/v1/credits", f"Bearer {WRONG}")
        for _ in range(2000):
            if count():
                return
            await asyncio.sleep(0.005)

    run(ask())
    assert count() == 1


# When a key was used


def test_a_keys_last_use_is_noted_once_a_minute(caller: Caller, clock: Clock) -> None:
    text, key = caller.key()

    def noted() -> float | None:
        caller.wiring.gate.journal.write()
        return caller.service.store.read(lambda tx: keys.find(tx, key.id)).last_used_at

    assert noted() is None
    knock(caller, text, text)
    assert noted() == NOW
    for later, seen in ((59, NOW), (60, NOW + 60), (100, NOW + 60), (-500, NOW - 500)):
        clock.now = NOW + later
        knock(caller, text)
        assert noted() == seen


# Without keys


def test_who_sends_no_key_acts_as_the_open_one_where_there_is_one(caller: Caller) -> None:
    text, key = caller.key()
    service = replace(caller.service, open_key=text)
    opened = Caller(Wiring(service, failures=FAILURES))

    async def ask_all() -> list[Reply]:
        headers = (None, "", "Bearer", "Basic x", f"Bearer {WRONG}", f"Bearer {text}")
        return [await opened.ask("GET", "/v1/credits", header) for header in headers]

    first, *rest, last = run(ask_all())
    assert (first.status, first.body) == (last.status, last.body)
    assert first.status == IN
    assert [reply.status for reply in rest] == [REFUSED] * 4
    caller.service.store.write(lambda tx: keys.revoke(tx, key.id, NOW))
    assert run(opened.ask("GET", "/v1/credits")).status == REFUSED


def test_how_often_an_address_may_fail_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert authentication.failures() == authentication.USUAL == Rate(20, 600.0)
    monkeypatch.setenv("ZING_KEY_FAILURES", "5/60")
    assert authentication.failures() == Rate(5, 60.0)
    for nothing in ("none", ""):
        monkeypatch.setenv("ZING_KEY_FAILURES", nothing)
        assert authentication.failures() is None
    monkeypatch.setenv("ZING_KEY_FAILURES", "many")
    with pytest.raises(BadSetting):
        authentication.failures()


def test_a_server_slows_guessing_down_and_its_operator_reads_of_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with servers.serving(data, "--no-worker", ZING_KEY_FAILURES="3/600") as server:
        assert server.http.get("/v1/credits").status_code == IN
        wrong = {
            "Authorization": f"Bearer {server.key[:-1]}{'a' if server.key[-1] != 'a' else 'b'}"
        }
        answers = [server.http.get("/v1/credits", headers=wrong).status_code for _ in range(5)]
        assert answers == [REFUSED] * 3 + [WAIT] * 2
        assert server.http.get("/v1/credits").status_code == IN
        noted = servers.until(lambda: server.zing("log"))
        assert [each["action"] for each in noted] == [KEY_REFUSED] * 3 + [THROTTLED]
        first = server.zing("keys", "show", "first")
        assert {(each["address"], each["target"]) for each in noted} == {("127.0.0.1", first["id"])}
        assert first["last_used_at"] > 0


# What a wrong key costs


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each HMAC that is made and each comparison, in their order."""
    seen: list[str] = []
    make, compare = hmac.new, hmac.compare_digest

    def made(*arguments: Any) -> Any:
        seen.append("hmac")
        return make(*arguments)

    def compared(one: str, other: str) -> bool:
        seen.append("compare")
        assert len(one) == len(other) == 64
        return compare(one, other)

    monkeypatch.setattr(keys.hmac, "new", made)
    monkeypatch.setattr(keys.hmac, "compare_digest", compared)
    return seen


def cases(caller: Caller) -> Iterator[tuple[str, str]]:
    text, _ = caller.key()
    revoked, gone = caller.key()
    disabled, off = caller.key()
    expired, _ = caller.key(Allowed(expires_at=NOW))
    caller.service.store.write(lambda tx: keys.revoke(tx, gone.id, NOW))
    caller.service.store.write(lambda tx: keys.disable(tx, off.id, NOW))
    yield "good", text
    yield "unknown id", WRONG
    yield "wrong secret", text[:-1] + ("a" if text[-1] != "a" else "b")
    yield "wrong form", text[:-1]
    yield "garbage", "\ud800é"
    yield "revoked", revoked
    yield "revoked, wrong secret", revoked[:-1] + ("a" if revoked[-1] != "a" else "b")
    yield "disabled", disabled
    yield "expired", expired


def test_every_key_good_or_bad_costs_one_hash_and_one_comparison(
    caller: Caller, counted: list[str]
) -> None:
    found: dict[str, list[str]] = {}
    for name, text in cases(caller):
        counted.clear()
        answer = caller.service.authenticate_all([text])
        found[name] = list(counted)
        assert isinstance(answer[0], Key) == (name == "good"), name
    assert set(map(tuple, found.values())) == {("hmac", "compare")}, found
