"""A database that an older zing left is what this one needs, and nothing in it is lost."""

from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url

from tests.audit import NOW, PRICE, audit
from zing import ledger
from zing.store import Store, database, outbox
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
FILE = {"id": "f1", "task_id": "t1", "blob_key": "k", "sha256": "0", "bytes": 1, "suffix": ".png"}

# What version 0001 kept, in an order that its foreign keys allow.
OLD: list[tuple[str, dict[str, Any]]] = [
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


def old_database(url: str) -> None:
    """A database as version 0001 left it: a picture, its callback never sent, a task that waits."""
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    driver = make_url(url)
    if driver.get_backend_name() == "postgresql":
        driver = driver.set(drivername="postgresql+psycopg")
    engine = create_engine(driver)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, row in OLD:
            values = ", ".join(f":{name}" for name in row)
            connection.execute(
                text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row
            )
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
