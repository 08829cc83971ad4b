"""An accept on DBOS Transact and SQLite: `python -m bench.peer_dbos FOLDER JOURNAL_MODE`.

The hold and the workflow are one transaction by `DBOSClient.enqueue_in_transaction`, DBOS's
documented way; the workflow waits in a queue that nothing works on. DBOS leaves SQLite's journal
as it comes (a rollback journal, synchronous=FULL); WAL is set where it is asked for. SQLite has one
writer, so there is one connection: 5 and 20 were measured and are slower.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient

from bench import peer

QUEUE = "pictures"
WHOSE, HOLD, ENTER = (sa.text(each) for each in (peer.WHOSE, peer.HOLD, peer.ENTER))


@asynccontextmanager
async def start(key_hash: str) -> AsyncIterator[tuple[peer.Accept, str]]:
    """DBOS on a new database with one account."""
    url = f"sqlite:///{Path(sys.argv[1]) / 'dbos.sqlite'}"
    migrate = [str(Path(sys.executable).with_name("dbos")), "migrate", "--sys-db-url", url]
    subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
    engine = _engine(url, sys.argv[2])
    _open_account(engine, key_hash)
    client = DBOSClient(system_database_engine=engine)
    await client.register_queue_async(QUEUE)

    def accept(found: str, task_id: str, wanted: dict[str, Any]) -> None:
        with engine.begin() as connection:
            _hold(connection, found, task_id)
            options = {"workflow_name": "draw", "queue_name": QUEUE, "workflow_id": task_id}
            client.enqueue_in_transaction(connection, options, wanted)

    async def durably(found: str, task_id: str, wanted: dict[str, Any]) -> None:
        await asyncio.to_thread(accept, found, task_id, wanted)

    yield durably, _durability(engine)


def _engine(url: str, journal_mode: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=1, max_overflow=0)

    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(f"PRAGMA journal_mode={journal_mode}")

    sa.event.listen(engine, "connect", prepare)
    return engine


def _open_account(engine: sa.Engine, key_hash: str) -> None:
    given = {"account": "one", "amount": peer.CREDITS, "hash": key_hash}
    with engine.begin() as connection:
        for statement in (*peer.TABLES, peer.OPEN, peer.MINT):
            connection.execute(sa.text(statement), given)


def _hold(connection: sa.Connection, key_hash: str, task_id: str) -> None:
    account = connection.scalar(WHOSE, {"hash": key_hash})
    if account is None:
        raise peer.Refused(401)
    given = {"account": account, "amount": peer.PRICE, "task": task_id, "now": time.time()}
    if connection.execute(HOLD, given).rowcount != 1:
        raise peer.Refused(402)
    connection.execute(ENTER, given)


def _durability(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        journal, synchronous = (
            connection.exec_driver_sql(f"PRAGMA {each}").scalar()
            for each in ("journal_mode", "synchronous")
        )
    return f"journal_mode={journal} synchronous={synchronous}"


if __name__ == "__main__":
    peer.serve(start)
