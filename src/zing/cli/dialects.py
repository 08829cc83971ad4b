"""`zing dialects`: which of the APIs take new tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.errors import BadSetting

if TYPE_CHECKING:
    from zing.service import Service

app = typer.Typer(help="The APIs that new tasks come by.", **PLAIN)

NameArgument = Annotated[str, typer.Argument(help="An API's name; `zing dialects list` has them.")]


@app.command("list")
def list_dialects(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List the APIs and whether each takes new tasks."""
    with opened(data, database) as service:
        found = [_facts(service, name) for name in _names()]
    rows = [[each["name"], _state(each)] for each in found]
    show(found, as_json, table([["name", "state"], *rows]))


@app.command()
def enable(
    name: NameArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Take new tasks by an API again."""
    from zing.store import switches

    _check(name)
    with opened(data, database) as service:
        service.store.write(lambda tx: switches.turn_off(tx, switches.without(name)))
        _show(service, name, as_json)


@app.command()
def disable(
    name: NameArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Refuse new tasks by an API, also on a running server; its tasks can still be looked up."""
    from zing.store import switches

    _check(name)
    with opened(data, database) as service:
        now = service.clock()
        service.store.write(lambda tx: switches.turn_on(tx, switches.without(name), now))
        _show(service, name, as_json)


def _names() -> list[str]:
    from zing.dialects import ALL

    return [each.NAME for each in ALL]


def _check(name: str) -> None:
    if name not in _names():
        raise BadSetting(f"There is no API {name!r}: {', '.join(_names())} are there.")


def _show(service: Service, name: str, as_json: bool) -> None:
    facts = _facts(service, name)
    show(facts, as_json, f"{name} is {_state(facts)}")


def _state(facts: dict[str, Any]) -> str:
    return "enabled" if facts["enabled"] else "disabled"


def _facts(service: Service, name: str) -> dict[str, Any]:
    from zing.store import switches

    found = service.store.read(switches.list_switches).get(switches.without(name))
    return {"name": name, "enabled": found is None, "since": None if found is None else found.since}
