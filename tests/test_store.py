"""The database: all of a transaction or nothing, again where others were in the way."""

import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from tests import databases
from tests.audit import NOW
from zing import ledger
from zing.data import Data
from zing.errors import BadSetting, Unavailable, ZingError
from zing.store import Store, database
from zing.store.schema import account, metadata

SECRET = "hunter2"


def add(tx: Connection) -> str:
    return ledger.open_account(tx, NOW)


def count(tx: Connection) -> int:
    return int(tx.scalar(select(func.count()).select_from(account)) or 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a SQLite database may be."""
    return tmp_path / "zing.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[Store]:
    """A new SQLite database that waits a moment only."""
    with opened(f"sqlite:///{path}") as store:
        yield store


@pytest.fixture
def postgres(postgresql: str) -> Iterator[Store]:
    """A new PostgreSQL database."""
    with databases.new_database(postgresql) as url, opened(url) as store:
        yield store


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that lose their patience soon."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(database, "RETRY_DELAYS_S", (0.01, 0.02))


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def written_by_another(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program is in the middle of writing to a SQLite database."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.close()


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    def fail(tx: Connection) -> None:
        ledger.grant(tx, add(tx), 5, NOW)
        assert count(tx) == 1
        raise KeyError("after the writes")

    with pytest.raises(KeyError, match="after the writes"):
        store.write(fail)
    assert store.read(count) == 0
    store.write(add)
    assert store.read(count) == 1


def test_what_was_written_is_there_for_whoever_opens_it_next(
    store: Store, database_url: str
) -> None:
    account_id = store.write(add)
    with opened(database_url) as other:
        assert other.read(lambda tx: ledger.balance(tx, account_id)).available == 0


def test_a_read_is_of_one_moment_whatever_is_written_meanwhile(store: Store) -> None:
    def look(tx: Connection) -> tuple[int, int]:
        before = count(tx)
        store.write(add)
        return before, count(tx)

    assert store.read(look) == (0, 0)
    assert store.read(count) == 1


def test_a_read_sees_nothing_that_is_not_written_to_the_end(store: Store) -> None:
    def write(tx: Connection) -> int:
        add(tx)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(store.read, count).result(10)

    assert store.write(write) == 0


def test_a_write_waits_for_the_writer_before_it(path: Path, hasty: None) -> None:
    with opened(f"sqlite:///{path}") as store, written_by_another(path) as other:
        calls = iter(range(9))

        def free_after_a_while(tx: Connection) -> str:
            next(calls)
            return add(tx)

        threading.Timer(0.08, other.rollback).start()
        store.write(free_after_a_while)
        assert store.read(count) == 1
        assert next(calls) == 1, "a transaction that cannot begin is not called"


def test_a_reader_does_not_wait_for_a_writer(sqlite: Store, path: Path) -> None:
    with written_by_another(path) as other:
        other.execute("DELETE FROM lane")
        assert sqlite.read(count) == 0


def test_reads_do_not_queue_behind_writers(store: Store) -> None:
    """As many writers as there may be connections wait for one another; who looks does not."""
    store.write(add)
    started, go = threading.Semaphore(0), threading.Event()

    def slow(tx: Connection) -> None:
        tx.execute(account.update().values(available=account.c.available))
        started.release()
        go.wait(20)

    with ThreadPoolExecutor(3 * database.READERS) as pool:
        writers = [pool.submit(store.write, slow) for _ in range(3 * database.READERS)]
        try:
            assert started.acquire(timeout=20)
            assert store.read(count) == 1
        finally:
            go.set()
        for each in writers:
            each.exception()


def test_a_database_that_stays_busy_is_unavailable_to_every_thread(path: Path, hasty: None) -> None:
    with opened(f"sqlite:///{path}") as store:
        with written_by_another(path), ThreadPoolExecutor(8) as pool:
            for ended in [pool.submit(store.write, add) for _ in range(8)]:
                error = ended.exception(30)
                assert isinstance(error, Unavailable), repr(error)
                assert error.retry_after_s > 0
        store.write(add)
        assert store.read(count) == 1


def test_two_stores_of_one_database_write_in_turns(store: Store, database_url: str) -> None:
    account_id = store.write(add)

    def give(giver: Store) -> None:
        for _ in range(25):
            giver.write(lambda tx: ledger.grant(tx, account_id, 1, NOW))

    with opened(database_url) as other, ThreadPoolExecutor(4) as pool:
        list(pool.map(give, [store, other, store, other]))
    assert store.read(lambda tx: ledger.balance(tx, account_id)).available == 100


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_a_write_that_postgresql_sends_back_is_done_again_from_the_start(
    postgres: Store, state: str
) -> None:
    calls = iter(range(9))

    def sent_back_twice(tx: Connection) -> str:
        account_id = add(tx)
        if next(calls) < 2:
            tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"))
        return account_id

    account_id = postgres.write(sent_back_twice)
    assert next(calls) == 3
    assert postgres.read(lambda tx: list(tx.scalars(select(account.c.id)))) == [account_id]


def test_two_writes_that_wait_for_each_other_both_end(postgres: Store) -> None:
    both = [postgres.write(add), postgres.write(add)]
    met = threading.Barrier(2)

    def give(order: list[str]) -> int:
        calls = 0

        def transaction(tx: Connection) -> None:
            nonlocal calls
            calls += 1
            tx.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            ledger.grant(tx, order[0], 1, NOW)
            if calls == 1:
                met.wait(10)
            ledger.grant(tx, order[1], 1, NOW)

        postgres.write(transaction)
        return calls

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(give, [both, both[::-1]])) >= 3
    for account_id in both:
        assert postgres.read(partial(ledger.balance, account_id=account_id)).available == 2


def cut(tx: Connection) -> None:
    tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def test_a_write_whose_connection_is_cut_is_not_done_twice(postgres: Store) -> None:
    """It may have been durable already: only who asked can look."""
    calls = iter(range(9))

    def cut_once(tx: Connection) -> None:
        add(tx)
        if next(calls) == 0:
            cut(tx)

    with pytest.raises(Unavailable):
        postgres.write(cut_once)
    assert postgres.read(count) == 0
    postgres.write(cut_once)
    assert postgres.read(count) == 1


def test_a_read_whose_connection_is_cut_is_done_again(postgres: Store) -> None:
    calls = iter(range(9))

    def cut_once(tx: Connection) -> int:
        if next(calls) == 0:
            cut(tx)
        return count(tx)

    assert postgres.read(cut_once) == 0


def test_a_connection_that_was_cut_while_it_was_idle_is_made_anew(postgres: Store) -> None:
    with pytest.raises(Unavailable):
        postgres.write(cut)
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    postgres.write(lambda tx: postgres.write(lambda inner: inner.execute(others) and None))
    postgres.write(add)
    assert postgres.read(count) == 1


@contextmanager
def shut(server: str, name: str) -> Iterator[None]:
    """A PostgreSQL database that answers nobody."""
    engine = create_engine(
        (server % "postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
    )
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        connection.execute(text(cut), {"name": name})
        yield
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    engine.dispose()


def test_a_database_that_went_away_is_unavailable_until_it_is_back(
    postgresql: str, hasty: None
) -> None:
    with databases.new_database(postgresql) as url, opened(url) as store:
        with shut(postgresql, store.url.database or ""):
            for use in (lambda: store.write(add), lambda: store.read(count)):
                with pytest.raises(ZingError) as refused:
                    use()
                assert isinstance(refused.value, Unavailable)
        store.write(add)
        assert store.read(count) == 1


def test_a_full_disk_is_unavailable_and_heals_when_there_is_room(
    sqlite: Store, hasty: None
) -> None:
    def grow(tx: Connection) -> None:
        tx.execute(text("CREATE TABLE big (filling TEXT)"))
        tx.execute(text("INSERT INTO big VALUES (:filling)"), {"filling": "x" * 10**6})

    def room(pages: int) -> None:
        sqlite.write(lambda tx: tx.execute(text(f"PRAGMA max_page_count = {pages}")).all())

    room(100)
    with pytest.raises(ZingError) as refused:
        sqlite.write(grow)
    assert isinstance(refused.value, Unavailable)
    assert sqlite.read(count) == 0
    room(10**6)
    sqlite.write(grow)


def test_an_error_of_the_database_does_not_tell_what_was_written(store: Store) -> None:
    with pytest.raises((DBAPIError, Unavailable)) as failed:
        store.write(lambda tx: tx.execute(text("SELECT :value FROM nowhere"), {"value": SECRET}))
    assert SECRET not in "".join(traceback.format_exception_only(failed.value))
    assert SECRET not in str(failed.value.__cause__)


def test_threads_that_open_a_fresh_database_at_once_all_can(tmp_path: Path) -> None:
    def use(url: str) -> None:
        ready.wait(10)
        with opened(url) as store:
            store.write(add)

    for turn in range(3):
        url = f"sqlite:///{tmp_path / str(turn)}.db"
        ready = threading.Barrier(6)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(use, [url] * 6))
        with opened(url) as store:
            assert store.read(count) == 6


def test_processes_that_open_a_fresh_database_at_once_all_can(database_url: str) -> None:
    program = (
        "import sys; from zing import ledger; from zing.store import Store; print(flush=True);"
        "sys.stdin.readline(); store = Store(sys.argv[1]);"
        "store.write(lambda tx: ledger.open_account(tx, 0.0))"
    )
    command = [sys.executable, "-c", program, database_url]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with opened(database_url) as store:
        assert store.read(count) == 3


def test_the_migrations_make_what_the_schema_says(store: Store) -> None:
    def differences(tx: Connection) -> list[object]:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    assert store.read(differences) == []


def test_the_migrations_make_the_checks_and_conditions_of_the_schema(store: Store) -> None:
    plain = store.url.set(database=f"{store.url.database}2") if store.sqlite else store.url
    schema = "other" if not store.sqlite else None

    def shape(tx: Connection, within: str | None = None) -> object:
        found = inspect(tx)
        return [
            (
                name,
                sorted(
                    (c["name"], c["sqltext"]) for c in found.get_check_constraints(name, within)
                ),
                sorted(
                    str((i["name"], i["column_names"], i["unique"], _where(i)))
                    for i in found.get_indexes(name, within)
                ),
                sorted(str(f["constrained_columns"]) for f in found.get_foreign_keys(name, within)),
            )
            for name in metadata.tables
        ]

    engine = create_engine(plain)
    with engine.begin() as tx:
        if schema:
            tx.execute(text(f"CREATE SCHEMA {schema}"))
            tx = tx.execution_options(schema_translate_map={None: schema})
        metadata.create_all(tx)
        expected = shape(tx, schema)
    engine.dispose()
    assert store.read(shape) == expected


def _where(index: object) -> str:
    options = index.get("dialect_options", {}) if isinstance(index, dict) else {}
    return " ".join(str(value) for name, value in options.items() if name.endswith("_where"))


def test_opening_again_changes_nothing(store: Store, database_url: str) -> None:
    store.write(add)
    for _ in range(2):
        with opened(database_url) as again:
            assert again.read(count) == 1


def test_a_database_of_a_newer_zing_is_refused_in_a_sentence(
    store: Store, database_url: str
) -> None:
    store.write(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(BadSetting, match=r"another version of zing") as refused:
        Store(database_url)
    assert "\n" not in str(refused.value)
    assert store.read(count) == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "zing.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///zing.db",
        "sqlite:////no/such/folder/zing.db",
        f"mysql://zing:{SECRET}@localhost/zing",
        f"oracle://zing:{SECRET}@localhost/zing",
        f"nosuch+driver://zing:{SECRET}@localhost/zing",
        f"postgresql://zing:{SECRET}@127.0.0.1:1/zing",
        f"postgresql://zing:{SECRET}@127.0.0.1:port/zing",
        f"postgresql://zing:{SECRET}/{SECRET}@127.0.0.1/zing",
        f"postgresql://zing:{SECRET}@127.0.0.1:99999/zing",
        f"postgresql://zing:{SECRET}@127.0.0.1:1/zing?nosuch=option",
    ],
)
def test_a_bad_url_is_refused_in_a_sentence_without_its_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSetting) as refused:
        Store(url)
    assert SECRET not in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_a_data_folder_has_a_database_of_its_own_unless_another_is_named(
    tmp_path: Path, database_url: str
) -> None:
    place = Data(tmp_path / "50% of?it#all")
    place.make()
    own, other = Store.of("", place), Store.of(database_url, place)
    own.write(add)
    assert (own.read(count), other.read(count)) == (1, 0)
    assert place.database.stat().st_mode & 0o777 == 0o600
    assert own.id != other.id
    for each in (own, other):
        each.close()
    again = Store.of("", place)
    assert again.id == own.id
    again.close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("not a database, though long enough to have been one " * 100)
    with pytest.raises(BadSetting, match="not a database"):
        Store(f"sqlite:///{path}")


def test_sqlite_is_durable_and_checks_its_keys_on_every_connection(sqlite: Store) -> None:
    def pragmas(tx: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return {name: tx.scalar(text(f"PRAGMA {name}")) for name in names}

    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert sqlite.write(pragmas) == expected
    assert sqlite.read(pragmas) == expected


def test_postgresql_is_durable(postgres: Store) -> None:
    assert postgres.write(lambda tx: tx.scalar(text("SHOW synchronous_commit"))) == "on"


def test_the_tables_are_ones_that_postgresql_can_have() -> None:
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    made = {
        name: str(CreateTable(table).compile(dialect=dialect))
        for name, table in metadata.tables.items()
    }
    assert "id BIGSERIAL" in made["ledger"]
    assert "amount BIGINT" in made["ledger"]
    assert "available BIGINT" in made["account"]
    assert "created_at DOUBLE PRECISION" in made["task"]
    (waiting,) = (i for i in metadata.tables["lane"].indexes if i.name == "lane_waiting")
    assert "WHERE queued > 0" in str(CreateIndex(waiting).compile(dialect=dialect))
