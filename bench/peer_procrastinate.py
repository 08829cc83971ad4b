"""An accept on Procrastinate and PostgreSQL: `python -m bench.peer_procrastinate CONNINFO`.

The hold and the job are one transaction on a connection of Procrastinate's own pool, given to
`configure(connection=...)` as its page "Using an external database connection" says; no worker
runs. Pools of 4, 8, 16 and 32 connections were measured: no difference beyond the noise.
"""

import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection

from bench import peer

CONNECTIONS = 8

connector = PsycopgConnector(conninfo=sys.argv[-1], min_size=CONNECTIONS, max_size=CONNECTIONS)
app = App(connector=connector)


@app.task(queue="pictures")
async def draw(task_id: str, wanted: dict[str, Any]) -> None:
    """What a worker would do."""


@asynccontextmanager
async def start(key_hash: str) -> AsyncIterator[tuple[peer.Accept, str]]:
    """Procrastinate on a new database with one account."""
    given = {"account": "one", "amount": peer.CREDITS, "hash": key_hash}
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        async with connector.pool.connection() as connection:
            for statement in (*peer.TABLES, peer.OPEN, peer.MINT):
                await connection.execute(_sql(statement), given)
            durable = await _durability(connection)
        yield accept, durable


async def accept(key_hash: str, task_id: str, wanted: dict[str, Any]) -> None:
    """The hold, its entry and the job, in one transaction."""
    async with connector.pool.connection() as connection:
        found = await (await connection.execute(WHOSE, {"hash": key_hash})).fetchone()
        if found is None:
            raise peer.Refused(401)
        given = {"account": found[0], "amount": peer.PRICE, "task": task_id, "now": time.time()}
        if (await connection.execute(HOLD, given)).rowcount != 1:
            raise peer.Refused(402)
        await connection.execute(ENTER, given)
        await draw.configure(connection=connection).defer_async(task_id=task_id, wanted=wanted)


def _sql(statement: str) -> Any:
    """A statement with psycopg's marks for parameters."""
    return re.sub(r":(\w+)", r"%(\1)s", statement)


WHOSE, HOLD, ENTER = (_sql(each) for each in (peer.WHOSE, peer.HOLD, peer.ENTER))


async def _durability(connection: AsyncConnection) -> str:
    said = []
    for name in ("fsync", "synchronous_commit"):
        row = await (await connection.execute(_sql(f"SHOW {name}"))).fetchone()
        said.append(f"{name}={row[0] if row else ''}")
    return " ".join(said)


if __name__ == "__main__":
    peer.serve(start)
