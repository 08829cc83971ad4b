"""What the operator switches: who is refused while it is on, and who is not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import servers
from tests.audit import NOW
from zing import dialects
from zing.errors import BadSetting, SwitchedOff, Unavailable
from zing.store import Store, switches
from zing.store.switches import MAINTENANCE, MAINTENANCE_MESSAGE, MESSAGE_MAX, Switch, without

NAMES = [each.NAME for each in dialects.ALL]


def turn_on(store: Store, name: str, now: float = NOW, message: str = "") -> None:
    store.write(lambda tx: switches.turn_on(tx, name, now, message))


def turn_off(store: Store, name: str) -> None:
    store.write(lambda tx: switches.turn_off(tx, name))


def refused(store: Store) -> dict[str, str]:
    """The dialects that take no new task, with the error."""
    found = {}
    for name in NAMES:
        try:
            store.write(lambda tx, name=name: switches.check(tx, name))
        except (SwitchedOff, Unavailable) as error:
            found[name] = type(error).__name__
    return found


def test_at_first_nothing_is_switched(store: Store) -> None:
    assert store.read(switches.list_switches) == {}
    assert refused(store) == {}


def test_maintenance_refuses_every_dialect_until_it_is_off(store: Store) -> None:
    turn_on(store, MAINTENANCE)
    assert refused(store) == dict.fromkeys(NAMES, "Unavailable")
    turn_off(store, MAINTENANCE)
    assert refused(store) == {}


@pytest.mark.parametrize(
    ("message", "told"), [("", MAINTENANCE_MESSAGE), ("升级中,五点回来。", "升级中,五点回来。")]
)
def test_callers_are_told_of_maintenance_and_when_to_try_again(
    store: Store, message: str, told: str
) -> None:
    turn_on(store, MAINTENANCE, message=message)
    with pytest.raises(Unavailable) as error:
        store.write(lambda tx: switches.check(tx, "kie"))
    assert (str(error.value), error.value.retry_after_s) == (told, 60)


@pytest.mark.parametrize("name", NAMES)
def test_a_dialect_that_is_off_is_refused_and_no_other(store: Store, name: str) -> None:
    turn_on(store, without(name))
    assert refused(store) == {name: "SwitchedOff"}
    turn_on(store, MAINTENANCE)
    assert refused(store) == dict.fromkeys(NAMES, "Unavailable")
    turn_off(store, MAINTENANCE)
    assert refused(store) == {name: "SwitchedOff"}
    turn_off(store, without(name))
    assert refused(store) == {}


def test_what_is_on_stays_since_when_it_was_with_the_new_message(store: Store) -> None:
    turn_on(store, MAINTENANCE, message="Until four.")
    turn_on(store, without("kie"), NOW + 1)
    turn_on(store, MAINTENANCE, NOW + 60, "Until five.")
    assert store.read(switches.list_switches) == {
        MAINTENANCE: Switch(MAINTENANCE, NOW, "Until five."),
        "without kie": Switch("without kie", NOW + 1, ""),
    }


def test_what_is_off_can_be_switched_off(store: Store) -> None:
    turn_off(store, MAINTENANCE)
    assert store.read(switches.list_switches) == {}


def test_several_may_switch_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: turn_on(store, MAINTENANCE, NOW + number), range(8)))
    assert done == [None] * 8
    assert list(store.read(switches.list_switches)) == [MAINTENANCE]


def test_a_running_server_refuses_at_once_and_still_shows_what_it_took(
    server: servers.Server,
) -> None:
    taken = servers.submit(server)
    server.zing("maintenance", "on", "--message", "Back at five.")
    try:
        answer = server.http.post("/v1/images/generations", json=servers.EVOLINK)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert "Back at five." in answer.text
        ready = server.http.get("/readyz")
        assert (ready.status_code, ready.json()["maintenance"]) == (200, True)
        assert servers.ended(server, taken)["status"] == "completed"
    finally:
        server.zing("maintenance", "off")
    assert servers.ended(server, servers.submit(server))["status"] == "completed"


@pytest.mark.parametrize("message", ["two\nlines", "\x1b[2J", "x" * (MESSAGE_MAX + 1)])
def test_a_message_is_one_short_line(store: Store, message: str) -> None:
    with pytest.raises(BadSetting, match="200"):
        turn_on(store, MAINTENANCE, message=message)
    assert refused(store) == {}
