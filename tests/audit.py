"""What the suites of the database share: rows to begin with, a clock, and the audit.

Nothing may be half done while it looks.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, insert

from zing import ledger, limits, queue
from zing.audit import examine
from zing.errors import Refused
from zing.queue import Submission
from zing.store import Store
from zing.store.files import File
from zing.store.schema import api_key
from zing.store.tasks import compat
from zing.task import ImageRequest, Task

NOW = 1_760_000_000.0
PRICE = 26_000
MODEL = "tiny"
# A key that nobody has the text of.
KEY = {"hash": "0" * 64, "name": "of a test", "created_at": NOW}


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
        tx.execute(insert(api_key).values(id=key_of(account_id), account_id=account_id, **KEY))
        return account_id

    return store.write(fund)


def key_of(account_id: str) -> str:
    """The id of the key that `funded` makes for an account."""
    return account_id.removeprefix("acct_")


def submission(account_id: str, public_id: str = "", **changes: Any) -> Submission:
    """A request of an account that may be accepted."""
    asked = ImageRequest("a cat", 64, 64, seed=7, callback_url=changes.pop("callback_url", None))
    usual = Submission(
        public_id=public_id or f"task-{queue.task_id(NOW)}",
        account_id=account_id,
        key_id=key_of(account_id),
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


def accepted(
    store: Store, asked: Submission, now: float = NOW, rules: limits.Rules = limits.USUAL
) -> Task:
    """The task that a request becomes; raises why it is refused."""
    (found,) = store.write(lambda tx: queue.accept(tx, [asked], now, rules))
    if isinstance(found, Refused):
        raise found
    return found.task


def kept_file(task_id: str, expires_at: float = NOW + 86_400) -> File:
    """The row of a picture whose bytes nobody asks for."""
    return File(f"f{task_id}", f"2025-10-09/{task_id}.png", "0" * 64, 3, ".png", expires_at)


def audit(connection: Connection) -> list[str]:
    """What does not hold, a line each; empty where everything is as it must be."""
    return [str(each) for each in examine(connection).findings]
