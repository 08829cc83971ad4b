"""`zing dialects`: which of the APIs take new tasks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE

app = typer.Typer(help="The APIs that new tasks come by.", **PLAIN)

NameArgument = Annotated[str, typer.Argument(help="An API's name; `zing dialects list` has them.")]


@app.command("list")
def list_dialects(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List the APIs and whether each takes new tasks."""
    from zing.admin import Operator

    with opened(data, database) as service:
        found = Operator(service).dialects()
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
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).enable_dialect(name), as_json)


@app.command()
def disable(
    name: NameArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Refuse new tasks by an API, also on a running server; its tasks can still be looked up."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).disable_dialect(name), as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    show(facts, as_json, f"{facts['name']} is {_state(facts)}")


def _state(facts: dict[str, Any]) -> str:
    return "enabled" if facts["enabled"] else "disabled"
