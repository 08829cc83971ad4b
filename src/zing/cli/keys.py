"""`zing keys`: who may use the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.task import parse_credits

if TYPE_CHECKING:
    from zing.keys import Key

app = typer.Typer(help="The keys that callers authenticate with.", **PLAIN)

NameArgument = Annotated[str, typer.Argument(help="What to call the key.")]
KeyArgument = Annotated[str, typer.Argument(help="A key's id or name, or the key itself.")]
CreditsOption = Annotated[str, typer.Option(help="Credits for the account, such as 10 or 0.5.")]
AccountOption = Annotated[str, typer.Option(help="An account that exists; a new one if not given.")]


@app.command()
def create(
    name: NameArgument,
    credits: CreditsOption = "0",
    account: AccountOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once: only a hash of it is kept."""
    from zing import keys, ledger

    amount = parse_credits(credits)
    with opened(data, database) as service:

        def make(tx: Any) -> tuple[str, Key]:
            now = service.clock()
            owner = account or ledger.open_account(tx, now)
            ledger.balance(tx, owner)
            if amount:
                ledger.grant(tx, owner, amount, now, f"with the key {name}"[: ledger.REASON_MAX])
            return keys.mint(tx, service.pepper, name, owner, now)

        text, key = service.store.write(make)
    show({"key": text, "id": key.id, "account": key.account_id}, as_json, text)


@app.command("list")
def list_keys(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """List the keys."""
    from zing import keys

    with opened(data, database) as service:
        found = [_facts(key, service.clock()) for key in service.store.read(keys.list_keys)]
    titles = ["id", "name", "account", "state"]
    rows = [titles, *([str(each[title]) for title in titles] for each in found)]
    show(found, as_json, table(rows))


@app.command()
def revoke(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """End a key for good."""
    from zing import keys

    _change(keys.revoke, key, data, database, as_json)


@app.command()
def disable(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Stop a key until it is enabled again."""
    from zing import keys

    _change(keys.disable, key, data, database, as_json)


@app.command()
def enable(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Let a disabled key work again."""
    from zing import keys

    _change(keys.enable, key, data, database, as_json)


@app.command()
def rotate(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Make a new key of the same name and account; the old one ends at once."""
    from zing import keys

    with opened(data, database) as service:
        text, made = service.store.write(
            lambda tx: keys.rotate(tx, service.pepper, keys.find(tx, key), service.clock())
        )
    show({"key": text, "id": made.id, "account": made.account_id}, as_json, text)


def _change(
    verb: Callable[[Any, str, float], None], text: str, data: str, database: str, as_json: bool
) -> None:
    from zing import keys

    with opened(data, database) as service:

        def change(tx: Any) -> Key:
            found = keys.find(tx, text)
            verb(tx, found.id, service.clock())
            return keys.find(tx, found.id)

        facts = _facts(service.store.write(change), service.clock())
    show(facts, as_json, f"{facts['id']} ({facts['name']}) is {facts['state']}")


def _facts(key: Key, now: float) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "account": key.account_id,
        "state": key.state(now),
        "created_at": key.created_at,
    }
