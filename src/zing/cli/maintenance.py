"""`zing maintenance`: no new tasks for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show
from zing.config import DATA, DATABASE

app = typer.Typer(
    help="Take no new tasks for a while; what was accepted is drawn and can be looked up.", **PLAIN
)

MessageOption = Annotated[str, typer.Option(help="What callers are told, in a sentence.")]


@app.command()
def on(
    message: MessageOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Refuse new tasks from now on, also on a running server."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).start_maintenance(message), as_json)


@app.command()
def off(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Take new tasks again."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).end_maintenance(), as_json)


@app.command("show")
def show_maintenance(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show whether new tasks are refused, since when, and what callers are told."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).maintenance(), as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    line = "Maintenance is off."
    if facts["maintenance"]:
        since = datetime.fromtimestamp(facts["since"], UTC)
        line = f"Maintenance is on since {since:%Y-%m-%d %H:%M:%S} UTC: {facts['message']}"
    show(facts, as_json, line)
