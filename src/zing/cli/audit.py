"""`zing audit`: whether everything holds that must, by the database and the pictures."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from zing import config
from zing.cli.options import DatabaseOption, DataOption, JsonOption
from zing.cli.terminal import plain
from zing.config import DATA, DATABASE

if TYPE_CHECKING:
    from zing.audit import Report

BROKEN = 1

PicturesOption = Annotated[
    bool, typer.Option("--pictures", help="Read every picture too, and compare its hash.")
]


def audit(
    pictures: PicturesOption = False,
    data: DataOption = DATA.default,
    database: DatabaseOption = DATABASE.default,
    as_json: JsonOption = False,
) -> None:
    """Examine whether money, tasks, callbacks and files are as they must be; change nothing.

    Also while a server runs. Exit status 0 where they are, 1 where something is broken, 2 where it
    cannot be told.
    """
    report = _examined(data, database, pictures)
    if as_json:
        from zing.facts import of_report

        print(json.dumps(of_report(report)))
    else:
        for each in report.findings:
            print(plain(str(each)))
        print(_summary(report))
    if not report.clean:
        raise typer.Exit(BROKEN)


def _examined(data: str, database: str, pictures: bool) -> Report:
    from zing.audit import examine, examine_pictures, found_in
    from zing.data import Data
    from zing.limits import Rules
    from zing.store import inspection

    place = Data(config.folder(data))
    read = partial(inspection.read, database, place.database)
    report = read(partial(examine, queue_max=Rules.read().queue_max))
    if pictures:
        report += examine_pictures(read, read(partial(found_in, place.pictures)), time.time())
    return report


def _summary(report: Report) -> str:
    counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in report.checked.items()]
    looked = f"Looked at {', '.join(counts)} in {report.took_s:.1f} s"
    if report.clean:
        return f"{looked}: everything holds."
    more = " and perhaps more" if report.cut else ""
    return f"{looked}: {len(report.findings)} findings{more}."
