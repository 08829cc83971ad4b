"""Backups while a server runs: the database as a file, or a folder that a server starts from."""

import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from zing.data import Data
from zing.errors import BadFile, BadSetting
from zing.store import copies, database

# Told what is being copied, how much of it, and of how much.
Tell = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Backup:
    """A backup that was made: where it is, its bytes and the pictures in it."""

    path: Path
    bytes: int
    pictures: int


def source(url: str, data: Data, target: Path) -> Path:
    """The file of a data folder's database, or of a URL; raises BadSetting where it is none."""
    if not url:
        path = data.database
    else:
        parsed = database.parse(url)
        if parsed.get_backend_name() != "sqlite":
            raise BadSetting(f"PostgreSQL makes its own backups: {dump_command(parsed, target)}")
        path = Path(parsed.database or "").absolute()
    if not path.is_file():
        raise BadSetting(f"There is no database {path}.")
    return path


def dump_command(url: URL, target: Path) -> str:
    """The command that copies a PostgreSQL database; its password is not in it."""
    query = {name: value for name, value in url.query.items() if name != "password"}
    shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)
    words = ["pg_dump", "--format=custom", f"--file={target}", f"--dbname={shown}"]
    return shlex.join(words)


def make_file(database_file: Path, target: Path, tell: Tell) -> Backup:
    """Copy the database; raises BadFile where the target is there or cannot be written."""
    _refuse_existing(target)
    try:
        copies.copy(database_file, target, lambda *pages: tell("database", *pages))
    except (OSError, sqlite3.Error) as error:
        raise _not_made(target, error) from None
    return Backup(target, target.stat().st_size, 0)


def make_folder(database_file: Path, data: Data, target: Path, tell: Tell) -> Backup:
    """Copy all that is needed to a new data folder; raises BadFile as `make_file`.

    First the database, then the pictures that it knows: those are written before their rows and
    stay until their time is over.
    """
    _refuse_existing(target)
    try:
        with copies.partial(target) as made:
            made.mkdir(mode=0o700)
            copy = Data(made)
            copies.copy(database_file, copy.database, lambda *pages: tell("database", *pages))
            for kept in (data.root / "secret", data.first_key):
                with suppress(FileNotFoundError):
                    _copy_private(kept, made / kept.name)
            pictures = _copy_pictures(data, copy, tell)
            os.sync()
            made.rename(target)
            copies.sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise _not_made(target, error) from None
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return Backup(target, size, pictures)


def _copy_pictures(data: Data, copy: Data, tell: Tell) -> int:
    """How many of the pictures that the copied database knows were there to be copied."""
    ((name,),) = copies.rows(copy.database, "SELECT id FROM installation")
    known = copies.rows(copy.database, "SELECT blob_key FROM file WHERE deleted_at IS NULL")
    count = 0
    for number, (key,) in enumerate(known, start=1):
        place = copy.pictures / name / key
        copy.pictures.mkdir(mode=0o700, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # its time was over just now
            shutil.copyfile(data.pictures / name / key, place)
            count += 1
        tell("pictures", number, len(known))
    return count


def _copy_private(path: Path, target: Path) -> None:
    """Copy a file for its owner alone."""
    with path.open("rb") as old:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as new:
            shutil.copyfileobj(old, new)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise BadFile(f"{target} is there already; a backup takes a new name.")


def _not_made(target: Path, error: OSError | sqlite3.Error) -> BadFile:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return BadFile(f"{target} cannot be made: {why}.")
