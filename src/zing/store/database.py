"""A database: reads, and writes that are each one transaction and are tried again when it asks.

SQLite: write-ahead log, synchronous=FULL, one writer connection a process, BEGIN IMMEDIATE.
PostgreSQL: the same code; rows are locked in the order task, account, lane.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from zing.data import Data
from zing.errors import BadSetting, Unavailable
from zing.store import copies
from zing.store.schema import installation

BUSY_TIMEOUT_S = 10
RETRY_DELAYS_S = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
READERS = 8

# PostgreSQL: serialization failure, deadlock, lock not available.
_AGAIN = {"40001", "40P01", "55P03"}
_MIGRATIONS = Path(__file__).parent / "migrations"

T = TypeVar("T")

log = logging.getLogger(__name__)


class Store:
    """One database. Opening it makes it what this version of zing needs.

    found  the version that it was of; None where it was empty
    kept   the copy of an older SQLite database as it was
    """

    def __init__(self, url: str | URL) -> None:
        self.url = parse(url)
        try:
            self._writer = _engine(self.url, writer=True)
            self._reader = self._reading()
            self.found, self.kept = _again(lambda: upgrade(self._writer))
            self.id = self.read(lambda tx: str(tx.scalar(select(installation.c.id))))
        except (DBAPIError, ImportError, OSError, sqlite3.Error, Unavailable) as error:
            why = _reason(error.__cause__ or error)
            raise BadSetting(f"The database cannot be opened: {why}.") from None

    @classmethod
    def of(cls, url: str, data: Data) -> "Store":
        """The database of a URL, or where it is empty the data folder's own."""
        return cls(url or URL.create("sqlite", database=str(data.database)))

    @property
    def sqlite(self) -> bool:
        """Whether this is SQLite."""
        return self.url.get_backend_name() == "sqlite"

    def write(self, transaction: Callable[[Connection], T]) -> T:
        """What `transaction` returns once all it did is durable; nothing of it where it raises.

        It may be called again from the start, so it changes nothing but the database.
        """

        def once() -> T:
            with self._writer.begin() as connection:
                return transaction(connection)

        return _again(once, _is_busy)

    def read(self, query: Callable[[Connection], T]) -> T:
        """What `query` returns, all of it from one moment of the database."""

        def once() -> T:
            with self._reader.begin() as connection:
                return query(connection)

        return _again(once, _is_busy_or_gone)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One moment of the database, for what is read bit by bit; it is not tried again.

        Raises Unavailable where the database does not answer.
        """
        try:
            with self._reader.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
            log.error("the database does not answer: %s", _reason(error))
            raise _unavailable() from error

    def _reading(self) -> Engine:
        if self.sqlite:
            return _engine(self.url, writer=False)
        # A pool of its own: who only looks must not queue behind those who write.
        return _engine(self.url, writer=False).execution_options(isolation_level="REPEATABLE READ")

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()


def upgrade(engine: Engine) -> tuple[str | None, Path | None]:
    """Bring the tables to this version; one process does it, others wait and find it done.

    The version that was found, and where an older SQLite database is kept as it was. Raises
    BadSetting where a newer zing has been here.
    """
    with engine.connect() as connection:
        if _version(connection) == newest():
            return newest(), None
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(2053730919)"))
        config.attributes["connection"] = connection
        found = _version(connection)
        kept = _keep(engine.url, found) if found in versions()[:-1] else None
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise BadSetting(f"The database is of another version of zing: {error}.") from None
    return found, kept


def _keep(url: URL, version: str | None) -> Path | None:
    """A copy of an SQLite database, while nobody may write to it; made anew where there is one."""
    if url.get_backend_name() != "sqlite":
        return None
    path = Path(url.database or "").absolute()
    kept = path.with_name(f"{path.name}.{version}")
    copies.copy(path, kept)
    return kept


def newest() -> str:
    """The version of this zing's tables: the number of the last file in migrations/versions."""
    return versions()[-1]


def versions() -> list[str]:
    """Every version that there was, the oldest first."""
    return sorted(path.name[1:5] for path in (_MIGRATIONS / "versions").glob("v[0-9]*.py"))


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def parse(url: str | URL) -> URL:
    """The URL of a database that zing can use; raises BadSetting."""
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        raise BadSetting("The database URL is sqlite:///FILE or postgresql://….") from None
    name = parsed.get_backend_name()
    if name not in ("sqlite", "postgresql") or (
        name == "sqlite" and parsed.database in (None, "", ":memory:")
    ):
        raise BadSetting("The database URL is sqlite:///FILE or postgresql://….")
    return parsed.set(drivername="postgresql+psycopg") if name == "postgresql" else parsed


def _engine(url: URL, writer: bool) -> Engine:
    # Parameters are prompts and hashes of keys: never part of an error's text.
    if url.get_backend_name() != "sqlite":
        sizes = {"pool_size": READERS, "max_overflow": READERS}
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, **sizes)
    _make_private(Path(url.database or ""))
    engine = create_engine(
        url,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=1 if writer else READERS,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
    )
    event.listen(engine, "connect", _prepare)
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _make_private(path: Path) -> None:
    """The file, for its owner alone; SQLite gives its companions the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)


def _prepare(connection: Any, _record: object) -> None:
    """One SQLite connection: our own BEGIN, so that DDL is part of the transaction too."""
    connection.isolation_level = None
    # secure_delete: what is forgotten is overwritten, for prompts are what people wrote.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _again(call: Callable[[], T], busy: Callable[[DBAPIError], bool] | None = None) -> T:
    """`call()`, again after a moment where the database says that others were in the way.

    Raises Unavailable where they stay there, and where the database does not answer.
    """
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return call()
        except IntegrityError:
            raise
        except (OperationalError, InterfaceError, InternalError) as error:
            if delay_s is None or not (busy or _is_busy)(error):
                log.error("the database does not answer: %s", _reason(error))
                raise _unavailable() from error
        except PoolTimeout as error:
            raise _unavailable() from error
        time.sleep(delay_s)
    raise AssertionError("the last round returns or raises")


def _unavailable() -> Unavailable:
    return Unavailable("The database does not answer; try again.", retry_after_s=1)


def _is_busy(error: DBAPIError) -> bool:
    """Whether nothing was done and it may be done again."""
    state = getattr(error.orig, "sqlstate", None)
    return state in _AGAIN or (state is None and "locked" in str(error.orig))


def _is_busy_or_gone(error: DBAPIError) -> bool:
    """The same of a read, for which a connection that broke does not matter either.

    A write whose connection broke while it was made durable may have been: it is not done again.
    """
    return _is_busy(error) or error.connection_invalidated


def _reason(error: BaseException) -> str:
    """Why, in the driver's words; the URL with its password is never part of it."""
    return str(getattr(error, "orig", error)).strip().splitlines()[0].rstrip(".")
