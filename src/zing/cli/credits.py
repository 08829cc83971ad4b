"""`zing credits`: the money of an account, named by one of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.task import credits_number, parse_credits, show_credits

if TYPE_CHECKING:
    from zing.ledger import Balance

app = typer.Typer(help="The credits of the account that a key belongs to.", **PLAIN)

KeyArgument = Annotated[str, typer.Argument(help="A key's id or name, or the key itself.")]
AmountArgument = Annotated[str, typer.Argument(help="Credits, such as 10 or 0.5.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it is kept with the entry.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="So many of the last entries.")]


@app.command()
def grant(
    key: KeyArgument,
    credits: AmountArgument,
    reason: ReasonOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Give credits."""
    from zing import keys, ledger
    from zing.errors import BadSetting

    amount = parse_credits(credits)
    if amount == 0:
        raise BadSetting("Nothing to grant: say how many credits.")
    with opened(data, database) as service:

        def give(tx: Any) -> Balance:
            account_id = keys.find(tx, key).account_id
            ledger.grant(tx, account_id, amount, service.clock(), reason)
            return ledger.balance(tx, account_id)

        _show(service.store.write(give), as_json)


@app.command("show")
def show_balance(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show what is available, what open tasks hold and what was used."""
    from zing import keys, ledger

    with opened(data, database) as service:
        balance = service.store.read(lambda tx: ledger.balance(tx, keys.find(tx, key).account_id))
    _show(balance, as_json)


@app.command("ledger")
def show_ledger(
    key: KeyArgument,
    limit: LimitOption = 50,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show the entries that explain the balance, the newest last."""
    from zing import keys, ledger

    with opened(data, database) as service:
        found = service.store.read(
            lambda tx: ledger.entries(tx, keys.find(tx, key).account_id, limit)
        )
    facts = [
        {
            "id": each.id,
            "created_at": each.created_at,
            "kind": str(each.kind),
            "credits": credits_number(each.amount),
            "task": each.task_id,
            "reason": each.reason,
        }
        for each in found
    ]
    rows = [[e.kind, show_credits(e.amount), e.task_id or "-", e.reason] for e in found]
    show(facts, as_json, table([["kind", "credits", "task", "reason"], *rows]))


def _show(balance: Balance, as_json: bool) -> None:
    facts = {
        "account": balance.account_id,
        "available": credits_number(balance.available),
        "held": credits_number(balance.held),
        "used": credits_number(balance.used),
    }
    amounts = (balance.available, balance.held, balance.used)
    available, held, used = map(show_credits, amounts)
    show(facts, as_json, f"{available} available, {held} held, {used} used")
