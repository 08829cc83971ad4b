"""A database that an older zing left is what this one needs, and nothing in it is lost."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url

from tests.audit import NOW, PRICE, audit
from tests.servers import broken, ended, serving, submit
from zing import keys, ledger
from zing.blobs import Blobs, Links
from zing.data import Data
from zing.errors import BadSetting
from zing.store import Store, copies, database, outbox
from zing.store.schema import api_key
from zing.task import DeliveryState

REQUEST = (
    '{"prompt":"a cat","width":64,"height":64,"callback_url":"https://Hooks.Example.com/x?a=1"}'
)
TASK: dict[str, Any] = {
    "public_id": "task-unified-1763630000-k3v9x0ab",
    "account_id": "acct_1",
    "key_id": "k0000000",
    "dialect": "kie",
    "priority": 100,
    "model": "builtin",
    "compat": "builtin 64x64 8",
    "cost": PRICE,
    "not_before": 0.0,
    "attempt": 1,
    "cancel_requested": False,
    "request": REQUEST,
    "callback_url": "https://Hooks.Example.com/x?a=1",
    "fields": "{}",
    "suffix": ".png",
    "seed": 7,
    "error": "",
    "error_message": "",
    "result": "{}",
    "created_at": NOW,
    "updated_at": NOW,
}
ENDED = {"state": "succeeded", "ended_at": NOW, "id": "t1"}
QUEUED = {"state": "queued", "ended_at": None, "id": "t2", "public_id": "t2", "attempt": 0}
FILE = {"id": "f1", "task_id": "t1", "blob_key": "k", "sha256": "0", "bytes": 9, "suffix": ".png"}

Rows = list[tuple[str, dict[str, Any]]]

# What version 0001 kept, in an order that its foreign keys allow.
OLD: Rows = [
    ("account", {"id": "acct_1", "available": 8 * PRICE, "held": PRICE, "created_at": NOW}),
    ("ledger", {"account_id": "acct_1", "kind": "grant", "amount": 10 * PRICE, "created_at": NOW}),
    *(
        (
            "ledger",
            {
                "account_id": "acct_1",
                "task_id": of,
                "kind": kind,
                "amount": PRICE,
                "created_at": NOW,
            },
        )
        for of, kind in [("t1", "hold"), ("t1", "settle"), ("t2", "hold")]
    ),
    *(
        (
            "api_key",
            {"id": name, "hash": "0" * 64, "name": "k", "account_id": "acct_1", "created_at": NOW},
        )
        for name in ("k0000000", "k1111111")
    ),
    (
        "lane",
        {"account_id": "acct_1", "queued": 1, "running": 0, "weight": 1, "vtime": 0.0},
    ),
    ("task", TASK | ENDED),
    ("task", TASK | QUEUED),
    ("file", FILE | {"expires_at": NOW + 86_400}),
    (
        "outbox",
        {
            "id": "msg_1",
            "task_id": "t1",
            "url": TASK["callback_url"],
            "state": "due",
            "attempt": 0,
            "next_at": NOW,
            "created_at": NOW,
        },
    ),
]


def old_database(url: str, rows: Rows = OLD, version: str = "0001") -> None:
    """A database as a version left it whose rows are of 0001: a picture, its callback never sent,
    a task that waits.
    """
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    driver = make_url(url)
    if driver.get_backend_name() == "postgresql":
        driver = driver.set(drivername="postgresql+psycopg")
    engine = create_engine(driver)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, row in rows:
            values = ", ".join(f":{name}" for name in row)
            connection.execute(
                text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row
            )
        command.upgrade(config, version)
    engine.dispose()


def test_an_older_database_keeps_its_money_its_tasks_and_what_it_owes(database_url: str) -> None:
    old_database(database_url)
    store = Store(database_url)
    try:
        assert store.read(audit) == []
        balance = store.read(lambda tx: ledger.balance(tx, "acct_1"))
        assert (balance.available, balance.held, balance.used) == (8 * PRICE, PRICE, PRICE)
        used = store.read(lambda tx: dict(tx.execute(select(api_key.c.id, api_key.c.used)).all()))
        assert used == {"k0000000": PRICE, "k1111111": 0}
        owed = store.read(lambda tx: outbox.find(tx, "msg_1"))
        assert (owed.task_id, owed.account_id, owed.dialect) == ("t1", "acct_1", "kie")
        assert (owed.public_id, owed.host) == (TASK["public_id"], "hooks.example.com")
        assert (owed.state, owed.attempt, owed.next_at, owed.body) == (
            DeliveryState.DUE,
            0,
            NOW,
            None,
        )
        held = store.write(lambda tx: outbox.claim(tx, {"msg_1": None}, NOW, NOW + 15))
        assert [each.delivery.id for each in held] == ["msg_1"]
        assert held[0].secrets == (1,)
    finally:
        store.close()


# A data folder of an older zing, as a person has it.

OLDER = database.versions()[:-1]
SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


def old_folder(data: Data, version: str) -> tuple[str, str]:
    """A data folder of an older version; a key of it and the path of a picture's link."""
    data.make()
    pepper, now = data.secret(), time.time()
    key = {"hash": keys._hash(pepper, "k0000000", SECRET)}
    # Nobody is told: these callbacks would go to a host of the Internet.
    rows: Rows = []
    for table, row in OLD:
        if table == "outbox":
            continue
        mine = {name: now if value == NOW else value for name, value in row.items()}
        if table == "task":
            mine["callback_url"] = None
        if table == "file":
            mine |= {"id": "f" * 25, "expires_at": now + 86_400, "blob_key": "old.webp"}
        rows.append((table, mine | (key if row.get("id") == "k0000000" else {})))
    old_database(f"sqlite:///{data.database}", rows, version)
    ((name,),) = copies.rows(data.database, "SELECT id FROM installation")
    Blobs(data.pictures / name).put("old.webp", b"a picture")
    link = Links(pepper, "").sign("f" * 25, now + 86_400, ".webp")
    return f"{keys.PREFIX}k0000000_{SECRET}", link


@pytest.mark.parametrize("version", OLDER)
def test_an_older_data_folder_starts_draws_what_it_had_and_keeps_a_copy(
    tmp_path: Path, version: str
) -> None:
    data = Data(tmp_path / "data")
    key, link = old_folder(data, version)
    data.first_key.write_text(key + "\n")
    with serving(data.root) as server:
        assert server.http.get(link).content == b"a picture"
        assert ended(server, "t2")["status"] == "completed"
        assert ended(server, submit(server, size="400x400"))["status"] == "completed"
        assert broken(data.root) == []
    kept = data.root / f"zing.db.{version}"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert copies.rows(kept, "SELECT version_num FROM alembic_version") == [(version,)]
    assert copies.rows(kept, "SELECT id, state FROM task ORDER BY id") == [
        ("t1", "succeeded"),
        ("t2", "queued"),
    ]


def test_an_upgrade_that_fails_changes_nothing_and_keeps_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zing.db"
    old_database(f"sqlite:///{path}")
    before = copies.rows(path, "SELECT * FROM task")
    steps = tmp_path / "migrations"
    shutil.copytree(database._MIGRATIONS, steps)
    newest = sorted(steps.glob("versions/v*.py"))[-1]
    newest.write_text(newest.read_text() + "\n    op.execute('INSERT INTO nowhere VALUES (1)')\n")
    with monkeypatch.context() as broken_step:
        broken_step.setattr(database, "_MIGRATIONS", steps)
        with pytest.raises(BadSetting, match="cannot be opened"):
            Store(f"sqlite:///{path}")
    assert copies.rows(path, "SELECT * FROM task") == before
    assert copies.rows(path, "SELECT version_num FROM alembic_version") == [("0001",)]
    assert copies.rows(tmp_path / "zing.db.0001", "SELECT * FROM task") == before
    store = Store(f"sqlite:///{path}")
    assert (store.found, store.kept) == ("0001", tmp_path / "zing.db.0001")
    assert store.read(audit) == []
    store.close()


def test_a_database_that_cannot_be_copied_first_is_not_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zing.db"
    old_database(f"sqlite:///{path}")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "copy", full)
    with pytest.raises(BadSetting, match="No space left on device"):
        Store(f"sqlite:///{path}")
    assert copies.rows(path, "SELECT version_num FROM alembic_version") == [("0001",)]


def test_what_was_written_and_not_yet_in_the_file_is_in_the_copy_too(tmp_path: Path) -> None:
    """A killed service leaves its last transactions in the -wal file."""
    path = tmp_path / "zing.db"
    old_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as left:
        left.execute("PRAGMA journal_mode=WAL")
        left.execute("UPDATE task SET seed = 41 WHERE id = 't2'")
        left.commit()
        Store(f"sqlite:///{path}").close()
    assert copies.rows(tmp_path / "zing.db.0001", "SELECT seed FROM task WHERE id = 't2'") == [
        (41,)
    ]


def test_a_new_database_and_one_of_today_keep_no_copy(database_url: str, tmp_path: Path) -> None:
    first = Store(database_url)
    again = Store(database_url)
    assert (first.found, first.kept) == (None, None)
    assert (again.found, again.kept) == (database.newest(), None)
    assert not list(tmp_path.glob("*.0*"))
    first.close()
    again.close()
