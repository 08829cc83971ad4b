"""The whole application in this process, over a real database and without a worker, and callers."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from tests.audit import MODEL, PRICE
from tests.requests import Reply
from zing import app, keys, ledger
from zing.app import Wiring
from zing.blobs import Blobs, Links
from zing.keys import Allowed, Key
from zing.rates import Rate
from zing.service import Served, Service, Terms
from zing.store import Store, audit_log
from zing.store.audit_log import Entry

PEPPER = b"p" * 32
NOW = 1_760_000_000.0
# As usual, but that time passes while a test runs changes nothing.
FAILURES = Rate(20, 86_400.0)
ANYTHING = Allowed()

T = TypeVar("T")


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """Somebody at an address who sends requests to an application, one by one or many at once."""

    wiring: Wiring
    address: str = "192.0.2.1"
    app: Any = field(init=False)

    def __post_init__(self) -> None:
        self.app = app.build(self.wiring)

    @classmethod
    def of(cls, store: Store, folder: Path, clock: Clock, rate: Rate | None = FAILURES) -> "Caller":
        service = Service(
            store=store,
            blobs=Blobs(folder / "pictures"),
            links=Links(PEPPER, "http://127.0.0.1:8000"),
            pepper=PEPPER,
            terms=Terms(PRICE, 86_400.0),
            served=Served(MODEL, strict=False),
            clock=clock,
            wake=lambda: None,
        )
        return cls(Wiring(service, failures=rate))

    @property
    def service(self) -> Service:
        return self.wiring.service

    def key(self, allowed: Allowed = ANYTHING, account_id: str = "") -> tuple[str, Key]:
        """A new key, of a new account with credits for a hundred tasks where none is named."""

        def make(tx: Connection) -> tuple[str, Key]:
            owner = account_id or ledger.open_account(tx, NOW)
            if not account_id:
                ledger.grant(tx, owner, 100 * PRICE, NOW)
            return keys.mint(tx, PEPPER, "a key", owner, NOW, allowed)

        return self.service.store.write(make)

    def log(self) -> list[Entry]:
        """The audit log with all that was to be written, the oldest first."""
        self.wiring.gate.journal.write()
        return self.service.store.read(lambda tx: audit_log.last(tx, 10**6))[::-1]

    async def ask(
        self,
        method: str,
        path: str,
        header: str | None = None,
        body: bytes = b"",
        address: str = "",
    ) -> Reply:
        """What is answered to a request with this Authorization header."""
        path, _, query = path.partition("?")
        headers = [(b"content-type", b"application/json")]
        if header is not None:
            headers.append((b"authorization", header.encode("latin-1")))
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
            "client": (address or self.address, 1),
        }
        sent: list[Any] = []

        parts = iter([{"type": "http.request", "body": body}])

        async def receive() -> dict[str, Any]:
            part = next(parts, None)
            return part or await asyncio.Future()  # it stays, and has nothing more to say

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, b"".join(each.get("body", b"") for each in rest))


def run(work: Coroutine[Any, Any, T]) -> T:
    """What comes of some requests."""
    return asyncio.run(work)
