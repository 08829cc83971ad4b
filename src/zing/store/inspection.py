"""A database looked at without being touched: nothing is made, upgraded or written."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from zing.errors import BadSetting
from zing.store.database import newest, parse
from zing.store.schema import ledger, task, worker

CONNECT_S = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Inspected:
    """What a database is.

    version     of its tables; empty where it has none yet
    trouble     why it cannot serve, empty where it can; advice says what to do then
    last_at     the latest time that its rows and leases know (UTC seconds); 0 where they know none
    """

    name: str
    version: str = ""
    trouble: str = ""
    advice: str = ""
    last_at: float = 0.0


def look(url: str, file: Path, lease_s: float) -> Inspected:
    """The database of a URL, or where that is empty, in a file of SQLite's."""
    try:
        parsed = make_url(url) if url else URL.create("sqlite", database=str(file))
        kind = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        parsed, kind = URL.create("sqlite"), ""
    if kind == "sqlite" and parsed.database:
        return _look_at_file(Path(parsed.database), lease_s)
    if kind == "postgresql":
        return _look_at_server(parsed, lease_s)
    advice = "Name it as sqlite:///FILE or postgresql://… with --database."
    return Inspected("database", trouble="its URL is of no known kind", advice=advice)


def read(url: str, file: Path, query: Callable[[Connection], T]) -> T:
    """What `query` returns, all of it from one moment of the database; see `look` for what is one.

    Raises BadSetting where there is none, none of this version, or none that answers.
    """
    parsed = parse(url) if url else URL.create("sqlite", database=str(file))
    if parsed.get_backend_name() == "postgresql":
        reads = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return _asked(_engine_of_server(parsed).execution_options(**reads), query)
    path = Path(parsed.database or "")
    if not path.is_file():
        raise BadSetting(f"There is no database {path}.")
    while True:
        before = _stamp(path)
        found = _asked(_engine_of_file(path), query)
        # What lay still and was written to meanwhile may have been read as it never was.
        if before is None or before == _stamp(path):
            return found


def _asked(engine: Engine, query: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            _refuse_other_versions(connection)
            return query(connection)
    except (SQLAlchemyError, ImportError) as error:
        raise BadSetting(f"The database cannot be read: {_why(error)}.") from None
    finally:
        engine.dispose()


def _refuse_other_versions(connection: Connection) -> None:
    known = inspect(connection).has_table("alembic_version")
    asked = text("SELECT version_num FROM alembic_version")
    version = str(connection.scalar(asked) or "") if known else "none"
    if version != newest():
        raise BadSetting(
            f"The tables are of version {version}, this zing reads {newest()}: bring them there "
            "with `zing db upgrade`, or take the zing that made them."
        )


def _look_at_file(path: Path, lease_s: float) -> Inspected:
    name = str(path)
    if not os.path.lexists(path):
        return Inspected(name)
    for each in (path, path.parent, *path.parent.glob(f"{path.name}-*")):
        if not os.access(each, os.R_OK | os.W_OK):
            advice = "Give it to the user who runs zing, and let that user read and write it."
            return Inspected(name, trouble=f"{each} cannot be written", advice=advice)
    return _look(_engine_of_file(path), name, lease_s)


def _engine_of_file(path: Path) -> Engine:
    """A file that nobody has open is read as it lies: even a look would make companions of it."""
    how = {"mode": "ro"} if _in_use(path) else {"immutable": "1"}
    uri = URL.create("sqlite", database=path.absolute().as_uri(), query={**how, "uri": "true"})
    engine = create_engine(
        uri,
        connect_args={"timeout": CONNECT_S},
        poolclass=NullPool,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _begin_ourselves)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _begin_ourselves(connection: Any, _record: object) -> None:
    """The driver begins no transaction to read, and then each statement has a moment of its own."""
    connection.isolation_level = None


def _in_use(path: Path) -> bool:
    return path.with_name(f"{path.name}-wal").exists()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written to; None of one that is in use."""
    facts = path.stat()
    return None if _in_use(path) else (facts.st_mtime_ns, facts.st_size)


def _look_at_server(url: URL, lease_s: float) -> Inspected:
    name = f"{url.database or ''} at {url.host or url.query.get('host') or 'this machine'}"
    try:
        engine = _engine_of_server(url)
    except ImportError:
        advice = "Install it with zing's extra: pip install 'zing[pg]'."
        return Inspected(name, trouble="psycopg is not installed", advice=advice)
    return _look(engine, name, lease_s)


def _engine_of_server(url: URL) -> Engine:
    """Raises ImportError where the driver is not installed."""
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": CONNECT_S},
        poolclass=NullPool,
        hide_parameters=True,
    )


def _look(engine: Engine, name: str, lease_s: float) -> Inspected:
    try:
        with engine.connect() as connection:
            return _inspect(connection, name, lease_s)
    except SQLAlchemyError as error:
        advice = (
            "Put back a backup of this file."
            if engine.dialect.name == "sqlite"
            else "Start PostgreSQL, or correct --database."
        )
        return Inspected(name, trouble=_why(error), advice=advice)
    finally:
        engine.dispose()


def _why(error: Exception) -> str:
    """In the driver's words; the URL with its password is never part of it."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")


def _inspect(connection: Connection, name: str, lease_s: float) -> Inspected:
    if wrong := _trouble(connection):
        return Inspected(name, trouble=wrong[0], advice=wrong[1])
    if not inspect(connection).has_table("alembic_version"):
        return Inspected(name)
    version = str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")
    if version > newest():
        trouble = f"its tables are of version {version}, this zing knows {newest()}"
        return Inspected(name, version, trouble, "Install the newer zing that made them.")
    return Inspected(name, version, last_at=_last(connection, lease_s))


def _trouble(connection: Connection) -> tuple[str, str] | None:
    """What is wrong with it, and what to do."""
    if connection.dialect.name == "sqlite":
        found = str(connection.scalar(text("PRAGMA quick_check(1)")))
        return (
            None if found == "ok" else (f"is damaged: {found}", "Put back a backup of this file.")
        )
    connection.execute(text("SET TRANSACTION READ ONLY"))
    if connection.scalar(text("SELECT pg_is_in_recovery()")):
        return "is a standby, which takes no writes", "Name the primary with --database."
    allowed = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")
    if not connection.scalar(allowed):
        return "its user may not make tables", "Grant CREATE on the schema to this user."
    return None


def _last(connection: Connection, lease_s: float) -> float:
    """The latest moment that somebody wrote down."""
    times = [
        select(task.c.created_at).order_by(task.c.id.desc()).limit(1),
        select(ledger.c.created_at).order_by(ledger.c.id.desc()).limit(1),
        select(func.max(worker.c.started_at)),
        select(func.max(worker.c.lease_until) - lease_s),
    ]
    return max(float(connection.scalar(each) or 0) for each in times)
