"""`zing db`: backups and versions of the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zing import config
from zing.cli.options import PLAIN, DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import bar, show
from zing.config import DATA, DATABASE

if TYPE_CHECKING:
    from zing.backup import Backup
    from zing.data import Data

app = typer.Typer(help="The database: backups, also while a server runs, and upgrades.", **PLAIN)

ToArgument = Annotated[Path, typer.Argument(help="The file to make, with --whole the folder.")]
WholeOption = Annotated[
    bool, typer.Option("--whole", help="Make a data folder: secret and pictures too.")
]


@app.command()
def backup(
    to: ToArgument,
    whole: WholeOption = False,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Copy the database as it is at one moment, also while a server runs; nothing is overwritten.

    With --whole the copy is a data folder that `zing serve --data` starts from.
    """
    from zing import backup
    from zing.data import Data

    place = Data(config.folder(data))
    source = backup.source(database, place, to)
    with bar() as shown:
        bars: dict[str, int] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = shown.add_task(what)
            shown.update(bars[what], completed=done, total=total)  # type: ignore[arg-type]

        if whole:
            made = backup.make_folder(source, place, to, tell)
        else:
            made = backup.make_file(source, to, tell)
    facts = {"path": str(made.path), "bytes": made.bytes, "pictures": made.pictures}
    show(facts, as_json, _told_whole(made) if whole else _told(made, place))


@app.command()
def upgrade(
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Bring the tables to this version of zing, as `zing serve` does when it starts.

    Of an older SQLite database a copy is kept beside it first.
    """
    from zing.data import Data
    from zing.store import Store
    from zing.store.database import newest

    place = Data(config.folder(data))
    place.make()
    store = Store.of(database, place)
    store.close()
    before, kept = store.found, store.kept
    facts = {"before": before, "now": newest(), "kept": str(kept) if kept else None}
    show(facts, as_json, _told_upgrade(before, newest(), kept))


def _told(made: Backup, data: Data) -> str:
    return (
        f"The database is copied to {made.path} ({made.bytes / 1e6:.1f} MB). To start from it, put "
        f"it into a data folder as zing.db, beside a copy of {data.root / 'secret'}: without that "
        "every key and every link ends. Pictures are not in it; --whole copies everything."
    )


def _told_whole(made: Backup) -> str:
    return (
        f"{made.path} has the database, the secret and {made.pictures} pictures "
        f"({made.bytes / 1e6:.1f} MB); checkpoints of yours (models/) are not in it.\n"
        f"zing serve --data {made.path} starts from it."
    )


def _told_upgrade(before: str | None, now: str, kept: Path | None) -> str:
    if before == now:
        return f"The database is of version {now}, the newest."
    if before is None:
        return f"A new database of version {now} was made."
    told = f"The database was of version {before} and is of version {now} now."
    return told + (
        f" As it was it is kept in {kept}; delete that when all is well." if kept else ""
    )
