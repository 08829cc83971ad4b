"""What the suites of the database share: rows to begin with, a clock, and the audit.

Nothing may be half done while it looks.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from zing import ledger, queue
from zing.audit import examine
from zing.errors import Refused
from zing.queue import Submission
from zing.store import Store
from zing.store.files import File
from zing.store.tasks import compat
from zing.task import ImageRequest, Task

NOW = 1_760_000_000.0
PRICE = 26_000
MODEL = "tiny"


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


def funded(store: Store, tasks: int = 1000) -> str:
    """A new account whose credits are enough for that many tasks."""

    def fund(tx: Connection) -> str:
        account_id = ledger.open_account(tx, NOW)
        if tasks:
            ledger.grant(tx, account_id, tasks * PRICE, NOW)
        return account_id

    return store.write(fund)


def submission(account_id: str, public_id: str = "", **changes: Any) -> Submission:
    """A request of an account that may be accepted."""
    asked = ImageRequest("a cat", 64, 64, seed=7, callback_url=changes.pop("callback_url", None))
    usual = Submission(
        public_id=public_id or f"task-{queue.task_id(NOW)}",
        account_id=account_id,
        key_id="k0000000",
        dialect="evolink",
        request=asked,
        fields={"prompt": "a cat"},
        suffix=".png",
        seed=7,
        cost=PRICE,
        model=MODEL,
        compat=compat(MODEL, asked),
    )
    return replace(usual, **changes)


def accepted(store: Store, asked: Submission, now: float = NOW) -> Task:
    """The task that a request becomes; raises why it is refused."""
    (task,) = store.write(lambda tx: queue.accept(tx, [asked], now))
    if isinstance(task, Refused):
        raise task
    return task


def kept_file(task_id: str, expires_at: float = NOW + 86_400) -> File:
    """The row of a picture whose bytes nobody asks for."""
    return File(f"f{task_id}", f"2025-10-09/{task_id}.png", "0" * 64, 3, ".png", expires_at)


def audit(connection: Connection) -> list[str]:
    """What does not hold, a line each; empty where everything is as it must be."""
    return [str(each) for each in examine(connection).findings]
