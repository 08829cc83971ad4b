"""`zing log`: the audit log, what operators did and who was refused for a key."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from zing.cli.opened import opened
from zing.cli.options import DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE

if TYPE_CHECKING:
    from zing.store.audit_log import Entry

ActionOption = Annotated[str, typer.Option(help="Only entries of this action.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="So many of the last entries.")]


def log(
    action: ActionOption = "",
    limit: LimitOption = 50,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show what was done to keys and who was refused, the newest last."""
    from zing.store import audit_log

    with opened(data, database) as service:
        found = service.store.read(lambda tx: audit_log.last(tx, limit, action))[::-1]
    titles = ["time (UTC)", "actor", "address", "action", "target", "detail"]
    show([asdict(each) for each in found], as_json, table([titles, *map(_row, found)]))


def _row(entry: Entry) -> list[str]:
    at = f"{datetime.fromtimestamp(entry.at, UTC):%Y-%m-%d %H:%M:%S}"
    told = (entry.actor, entry.address, entry.action, entry.target, entry.detail)
    return [at, *(each or "-" for each in told)]
