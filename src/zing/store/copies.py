"""Copies of an SQLite database while others write to it: of one moment, whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection, DatabaseError, connect
from typing import Any

PAGES_AT_ONCE = 500

# Told how many pages are copied, and of how many.
Tell = Callable[[int, int], object]


def copy(source: Path, target: Path, tell: Tell = lambda _done, _all: None) -> None:
    """Copy a database to a file for its owner alone, in place of one that is there.

    Raises OSError or sqlite3.Error, and then there is nothing new.
    """
    with partial(target) as made:
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_open(source)) as old, closing(_open(made)) as new:
            # What is written from here on is not part of the copy, and does not begin it anew.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            new.execute("PRAGMA journal_mode=OFF")
            old.backup(
                new,
                pages=PAGES_AT_ONCE,
                progress=lambda _status, left, all_of: tell(all_of - left, all_of),
            )
        check(made)
        made.replace(target)
        sync(target.parent)


def check(path: Path) -> None:
    """Raise sqlite3.DatabaseError where a database is damaged; it is on the disk afterwards."""
    with closing(_open(path)) as opened:
        found = opened.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise DatabaseError(f"the copy is damaged: {found}")
    sync(path)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in a database of any version."""
    with closing(_open(path)) as opened:
        return opened.execute(query).fetchall()


@contextmanager
def partial(target: Path) -> Iterator[Path]:
    """A new name beside a target; what is still there under it at the end is removed."""
    made = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
    try:
        yield made
    finally:
        for left in made.parent.iterdir():
            if not left.name.startswith(made.name):
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """A file, or a folder's names, are on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open(path: Path) -> Connection:
    """A connection to a file that is there."""
    return connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
