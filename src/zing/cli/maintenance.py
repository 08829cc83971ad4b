"""`zing maintenance`: no new tasks for a while."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show
from zing.config import DATA, DATABASE

if TYPE_CHECKING:
    from zing.service import Service

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
    from zing.store import switches

    with opened(data, database) as service:
        now = service.clock()
        service.store.write(lambda tx: switches.turn_on(tx, switches.MAINTENANCE, now, message))
        _show(service, as_json)


@app.command()
def off(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Take new tasks again."""
    from zing.store import switches

    with opened(data, database) as service:
        service.store.write(lambda tx: switches.turn_off(tx, switches.MAINTENANCE))
        _show(service, as_json)


@app.command("show")
def show_maintenance(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show whether new tasks are refused, since when, and what callers are told."""
    with opened(data, database) as service:
        _show(service, as_json)


def _show(service: Service, as_json: bool) -> None:
    from zing.store import switches

    found = service.store.read(switches.list_switches).get(switches.MAINTENANCE)
    if found is None:
        show({"maintenance": False}, as_json, "Maintenance is off.")
        return
    message = found.message or switches.MAINTENANCE_MESSAGE
    since = datetime.fromtimestamp(found.since, UTC)
    facts = {"maintenance": True, "since": found.since, "message": message}
    show(facts, as_json, f"Maintenance is on since {since:%Y-%m-%d %H:%M:%S} UTC: {message}")
