"""`zing accounts`: who pays, and their place in the fair queue."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.errors import BadSetting

NONE = "none"

app = typer.Typer(help="The accounts that keys belong to.", **PLAIN)

AccountArgument = Annotated[str, typer.Argument(help="An account's id.")]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="So many of the newest.")]
WeightOption = Annotated[
    str, typer.Option(help="Its share beside other accounts that wait: 1 to 1000.")
]
RunningOption = Annotated[
    str, typer.Option(help="So many of its tasks are drawn at once; none: any.")
]
OpenOption = Annotated[
    str, typer.Option(help="So many of its tasks wait or are drawn; none: as the settings say.")
]


@app.command("list")
def list_accounts(
    limit: LimitOption = 50,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List accounts, the newest first."""
    from zing.admin import Operator

    with opened(data, database) as service:
        found = Operator(service).accounts(limit)["data"]
    titles = ["id", "available", "held", "used", "queued", "running", "weight"]
    rows = [titles, *([str(each[title]) for title in titles] for each in found)]
    show(found, as_json, table(rows))


@app.command("show")
def show_account(
    account: AccountArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show an account: its money, its open tasks, its place in the queue."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).account(account), as_json)


@app.command("set")
def set_account(
    account: AccountArgument,
    weight: WeightOption = "",
    max_running: RunningOption = "",
    max_open: OpenOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Change an account's place in the queue; what waits or is drawn already stays."""
    from zing import accounts
    from zing.admin import Operator

    most = {"weight": accounts.WEIGHT_MAX, "max_running": accounts.RUNNING_MAX}
    most["max_open"] = accounts.OPEN_MAX
    said = {"weight": weight, "max_running": max_running, "max_open": max_open}
    values = {name: _number(name, text, most[name]) for name, text in said.items() if text}
    if not values:
        raise BadSetting("Nothing to set: say --weight, --max-running or --max-open.")
    with opened(data, database) as service:
        _show(Operator(service).change_account(account, values), as_json)


def _number(name: str, text: str, most: int) -> int | None:
    """The number in an option; None for `none`, where the account may have none."""
    from zing.fields import Whole

    if text == NONE and name != "weight":
        return None
    kind = Whole(1 if name == "weight" else 0, most)
    try:
        return kind.of_text(text)
    except ValueError:
        option = f"--{name.replace('_', '-')}"
        raise BadSetting(f"{option} {text[:40]!r} is not {kind.words}.") from None


def _show(facts: dict[str, Any], as_json: bool) -> None:
    told = {name: value for name, value in facts.items() if not name.endswith("_micro")}
    rows = [[name, str(value)] for name, value in told.items() if value is not None]
    show(facts, as_json, table(rows))
