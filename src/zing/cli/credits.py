"""`zing credits`: the money of an account, named by one of its keys."""

from __future__ import annotations

import math
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from zing.cli.opened import opened
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import show, table
from zing.config import DATA, DATABASE
from zing.errors import BadFile, BadSetting
from zing.task import parse_credits, show_credits

if TYPE_CHECKING:
    from zing.ledger import Span
    from zing.service import Service

STDOUT = "-"

app = typer.Typer(help="The credits of the account that a key belongs to.", **PLAIN)

KeyArgument = Annotated[str, typer.Argument(help="A key's id or name, or the key itself.")]
AmountArgument = Annotated[str, typer.Argument(help="Credits, such as 10 or 0.5.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it is kept with the entry.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="So many of the last entries; usually 50.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print every entry as CSV.")]
ChangeArgument = Annotated[
    str | None, typer.Argument(help="Credits, such as 10 or 0.5; less than nothing after --.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="The same, also as --by -5.")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with the entry.")]
TaskArgument = Annotated[str, typer.Argument(help="A task's id.")]
AccountOption = Annotated[str, typer.Option(help="Only this account's entries.")]
FromOption = Annotated[
    str, typer.Option("--from", help="Entries from this time on: 2026-01-31, or with T14:00; UTC.")
]
UntilOption = Annotated[str, typer.Option("--until", help="Entries before this time.")]
OutputOption = Annotated[
    str, typer.Option("-o", "--output", help="The file, written whole or not at all; - prints.")
]


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
    from zing.admin import Operator

    amount = parse_credits(credits)
    if amount == 0:
        raise BadSetting("Nothing to grant: say how many credits.")
    with opened(data, database) as service:
        _show(Operator(service).grant(_account(service, key), amount, reason), as_json)


@app.command()
def adjust(
    key: KeyArgument,
    credits: ChangeArgument = None,
    by: ByOption = None,
    reason: WhyOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Give or take credits, for a reason; never more than are available."""
    from zing.admin import Operator

    amount = _change(credits, by)
    with opened(data, database) as service:
        _show(Operator(service).adjust(_account(service, key), amount, reason), as_json)


@app.command()
def refund(
    task_id: TaskArgument,
    reason: WhyOption = "",
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Give back what a task was charged that succeeded; once for each task."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).refund(task_id, reason), as_json)


@app.command("show")
def show_balance(
    key: KeyArgument,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show what is available, what open tasks hold and what was used."""
    from zing.admin import Operator

    with opened(data, database) as service:
        _show(Operator(service).account(_account(service, key)), as_json)


@app.command("ledger")
def show_ledger(
    key: KeyArgument,
    limit: LimitOption = None,
    as_csv: CsvOption = False,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Show the entries that explain the balance, the newest last."""
    from zing import facts, ledger

    if as_csv and (as_json or limit):
        raise BadSetting("--csv prints every entry: leave --json and --limit away.")
    with opened(data, database) as service:
        account_id = _account(service, key)
        if as_csv:
            _print(service, ledger.Span(account_id))
            return
        found = service.store.read(lambda tx: ledger.entries(tx, account_id, limit or 50))
    rows = [
        [e.kind, show_credits(e.amount), e.public_id or e.task_id or "-", e.reason] for e in found
    ]
    told = [facts.of_entry(each) for each in found]
    show(told, as_json, table([["kind", "credits", "task", "reason"], *rows]))


@app.command()
def export(
    account: AccountOption = "",
    since: FromOption = "",
    until: UntilOption = "",
    output: OutputOption = STDOUT,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Write the entries of all accounts as CSV, the oldest first, as they are at one moment."""
    from zing.ledger import Span

    if as_json and output == STDOUT:
        raise BadSetting("--json tells of a file: name one with -o.")
    span = Span(account or None, _moment(since, 0.0), _moment(until, math.inf))
    with opened(data, database) as service:
        if output == STDOUT:
            _print(service, span)
            return
        with _whole(Path(output)) as file:
            count = _export(service, span, file)
    facts = {"path": output, "entries": count}
    show(facts, as_json, f"{count} entries are in {output}.")


def _export(service: Service, span: Span, file: IO[bytes]) -> int:
    """Write the entries of a span; how many."""
    from zing import ledger, statement

    with service.store.snapshot() as tx:
        count = _written(statement.lines(ledger.statement(tx, span)), file)
    return count - 1


def _written(lines: Iterable[str], file: IO[bytes]) -> int:
    count = 0
    for line in lines:
        file.write(line.encode())
        count += 1
    file.flush()
    return count


def _print(service: Service, span: Span) -> None:
    """The same to standard output, until whoever reads it has enough."""
    try:
        _export(service, span, sys.stdout.buffer)
    except BrokenPipeError:
        # What is still to be flushed has nobody to go to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file (0600) that is there whole or not at all; raises BadFile."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            yield file
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise BadFile(f"{path} cannot be made: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _change(credits: str | None, by: str | None) -> int:
    """The micro-credits to give, less than nothing to take."""
    text = credits if by is None else by
    if text is None or None not in (credits, by):
        raise BadSetting("Say by how many credits once: `zing credits adjust shop --by -5`.")
    amount = parse_credits(text.removeprefix("-"))
    return -amount if text.startswith("-") else amount


def _moment(text: str, otherwise: float) -> float:
    """The time (UTC seconds) that a text names."""
    if not text:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadSetting(
            f"{text!r} is no time: write it like 2026-01-31 or 2026-01-31T14:00."
        ) from None


def _account(service: Service, key: str) -> str:
    from zing import keys

    return service.store.read(lambda tx: keys.find(tx, key).account_id)


def _show(account: dict[str, Any], as_json: bool) -> None:
    names = ("available", "held", "used")
    facts = {"account": account["id"], **{name: account[name] for name in names}}
    available, held, used = (show_credits(account[f"{name}_micro"]) for name in names)
    show(facts, as_json, f"{available} available, {held} held, {used} used")
