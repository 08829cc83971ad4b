"""What the peers' servers share: the same request checked, the same tables for keys and money.

It runs in the peers' own environment and imports nothing of zing's. uvicorn has zing's settings.
"""

import hashlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PRICE = 26_000  # micro-credits
CREDITS = 10**12
PROMPT_MAX = 2000
SIZES = ("1:1", "2:3", "3:2", "3:4", "4:3", "9:16", "16:9")
MODEL = "z-image-turbo"

TABLES = (
    "CREATE TABLE account (id TEXT PRIMARY KEY,"
    " available BIGINT NOT NULL CHECK (available >= 0), held BIGINT NOT NULL)",
    "CREATE TABLE api_key (hash TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES account)",
    "CREATE TABLE ledger (account_id TEXT NOT NULL REFERENCES account, task_id TEXT NOT NULL,"
    " kind TEXT NOT NULL, amount BIGINT NOT NULL, created_at DOUBLE PRECISION NOT NULL,"
    " PRIMARY KEY (task_id, kind))",
)
OPEN = "INSERT INTO account VALUES (:account, :amount, 0)"
MINT = "INSERT INTO api_key VALUES (:hash, :account)"
WHOSE = "SELECT account_id FROM api_key WHERE hash = :hash"
HOLD = (
    "UPDATE account SET available = available - :amount, held = held + :amount"
    " WHERE id = :account AND available >= :amount"
)
ENTER = "INSERT INTO ledger VALUES (:account, :task, 'hold', :amount, :now)"

# Of a key's hash, a task's id and a checked request: durable when it returns.
Accept = Callable[[str, str, dict[str, Any]], Awaitable[None]]


class Refused(Exception):
    """A request that is not accepted; the status of the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def serve(start: Callable[[str], AbstractAsyncContextManager[tuple[Accept, str]]]) -> None:
    """Serve until killed; says its port, its key and how durable it is on standard output.

    `start` is given the hash of the key, and yields how a request is accepted once it can be.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    # Without it the second half of each answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = secrets.token_urlsafe(32)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with start(hashed(key)) as (accept, durable):
            app.state.accept = accept
            told = {"port": listener.getsockname()[1], "key": key, "durable": durable}
            print(json.dumps(told), flush=True)
            yield

    route = Route("/v1/images/generations", _submit, methods=["POST"])
    app = Starlette(routes=[route], lifespan=lifespan)
    settings = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", server_header=False
    )
    uvicorn.Server(settings).run(sockets=[listener])


async def _submit(request: Request) -> Response:
    """The id of a new task, 401 for an unknown key, 402 without credits, 400 for a bad request."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme != "Bearer":
            raise Refused(401)
        wanted = _checked(await request.json())
        task_id = f"task-{secrets.token_hex(12)}"
        await request.app.state.accept(hashed(key), task_id, wanted)
    except Refused as refusal:
        return JSONResponse({"error": {"code": refusal.status}}, refusal.status)
    made = {"id": task_id, "object": "image.generation.task", "model": MODEL, "status": "pending"}
    return JSONResponse({**made, "created": int(time.time()), "progress": 0})


def _checked(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict) or fields.get("model") != MODEL:
        raise Refused(400)
    prompt, size = fields.get("prompt"), fields.get("size", "1:1")
    if not isinstance(prompt, str) or not 0 < len(prompt) <= PROMPT_MAX or size not in SIZES:
        raise Refused(400)
    return {"model": MODEL, "prompt": prompt, "size": size, "seed": secrets.randbelow(2**31)}
